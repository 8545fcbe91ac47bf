#!/usr/bin/perl

# A worker that was killed while it wrote a record leaves its blocks torn.
# Here a byte of one is written through /proc: the record is a miss, never
# believed, and fetched again.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$d->plan(7, 'plan-that-tears', map {
    { name => "policy-number-$_", quota => 100_000, window => 3600,
      burst => 100_000 } } 1 .. 4);

$t->nginx(<<'CONF');
    usher_zone 2m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /status { usher_status; }

        location / {
            usher_auth on;
            usher_limit plan;
            add_header X-Plan $usher_plan;
        }
    }
CONF

$t->write_file('edge1/html/x', 'content');

my $key = $d->key(plan_id => 7);

sub ask { $t->get('/x', 'X-API-Key' => $key) }
sub is_plan { (ask()->header('X-Plan') // '') eq 'plan-that-tears' }
sub misses { $t->get('/status')->json->{counters}{directory_misses} }

$t->wait_for(\&is_plan, 'a plan is known');


# Writes another byte wherever the text stands in the zone; how many times.

sub tear {
    my ($text, $byte) = @_;
    my ($worker) = $t->workers;
    my $n = 0;

    open(my $mem, '+<', "/proc/$worker/mem") or return 0;
    open(my $maps, '<', "/proc/$worker/maps") or return 0;

    while (my $line = <$maps>) {
        my ($from, $to) = $line =~ /^(\w+)-(\w+) rw-s .*zero/ or next;

        no warnings 'portable';

        for (my $at = hex $from; $at < hex $to; $at += 4096) {
            sysseek($mem, $at, 0);
            sysread($mem, my $page, 4096) or last;

            while ($page =~ /\Q$text\E/g) {
                sysseek($mem, $at + $-[0], 0);
                $n += syswrite($mem, $byte);
            }
        }
    }

    return $n;
}

SKIP: {
    my $before;

    # a machine that stands still for a moment has the edge ask once more

    $t->wait_for(sub { $before = misses();
                       is_plan() && misses() == $before },
                 'from the zone, without a fetch');

    my $n = tear('plan-that-tears', 'X');
    skip('/proc/<pid>/mem cannot be written', 6) unless $n;

    is($n, 1, 'a byte of its name is torn');

    # a worker remembers what it has read for a moment

    my %said;

    $t->wait_for(sub { $said{ask()->header('X-Plan')} = 1;
                       misses() > $before }, 'it is fetched again');
    is(join(' ', keys %said), 'plan-that-tears', 'and was never believed');

    # a name may lie in two blocks, and is not found then

    my ($torn) = grep { tear("policy-number-$_", 'Y') == 1 } 4, 3, 2;

    ok($torn, 'a byte of a policy further on');
    $before = misses();
    %said = ();
    $t->wait_for(sub { $said{ask()->header('RateLimit-Policy') =~ /Y/} = 1;
                       misses() > $before }, 'the same');
    is(join(' ', keys %said), '', 'and never believed');
}

is(ask()->status, 200, 'it goes on');

done_testing();
