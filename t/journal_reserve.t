#!/usr/bin/perl

# Where "usher_full request deny" says so, a request that could not be written
# down is refused before any work is done for it; where it does not, it is
# served, and counted as dropped.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=256k segment=64k window=64k sync=off retain=0',
    server => <<'CONF') . <<'BACK', test_module => 1);
        usher_limit all rate=100000r/s key=all;

        location = /status { usher_status; usher_event off; usher_limit off; }
        location = /metrics { usher_metrics; usher_event off; usher_limit off; }

        location /deny/ {
            usher_full request deny;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /drop/ {
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }
CONF
    log_format uri '$uri';

    server {
        listen 127.0.0.1:%%PORT_back%%;
        access_log %%DIR%%/back.log uri;
        return 204;
    }
BACK


sub worked { scalar(() = $t->slurp("$t->{dir}/edge1/back.log") =~ /^$_[0]/gm) }
sub requests {
    return { $t->get('/metrics')->body
             =~ /^usher_requests_(\w+)_total ([1-9]\d*)$/mg };
}


sub counter { $t->get('/status')->json->{counters}{$_[0]} }

is($t->get('/deny/a')->status, 204, 'there is room: served');
is($t->get('/drop/a')->status, 204, 'as is the other');

# Redis dies, and the journal is filled up

$t->kill9('redis');
my $n = 2;

for my $size (1000, 100, 20) {
    while (my @new = $d->feed(10, $size)) {
        $n += @new;
        sleep 0.01;
        die 'it is never full' if $n > 20000;
    }
}

my $before = worked('/deny/');
my $was = requests();

for (1 .. 5) {
    my $r = $t->get('/deny/b');

    is($r->status, 503, 'full: denied');
    is($r->json->{reason}, 'journal_full', 'with the reason');
    ok($r->header('Retry-After'), 'and when to come again');
}

is(worked('/deny/'), $before, 'and no work was done');
is_deeply(requests(), { %$was, denied => 5 },
          'usher_metrics has each by its verdict');

my $dropped = counter('journal_dropped');

is($t->get('/drop/b')->status, 204, 'requests are served by default')
    for 1 .. 3;
cmp_ok(counter('journal_dropped'), '>=', $dropped + 3,
       'and counted as dropped');
cmp_ok(counter('journal_denied'), '>=', 5, 'as those are that were denied');

# Redis is back, and usherd

$t->start('redis');
$t->wait_for(sub { eval { $d->pull; $d->ack };
                   $t->get('/deny/c')->status == 204 }, 'served again', 20);
$t->wait_for(sub { $d->pull; $d->ack; grep { m{\t/deny/c\t} } $d->lines },
             'and written down', 20);

done_testing();
