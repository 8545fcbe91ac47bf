# A zone with room for few buckets: a flood of names whose buckets are idle
# again at once does not push out one that is empty; where every bucket is
# above idle some are forgotten, and counted.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->nginx(<<'EOF');
    usher_zone 1m buckets=1%;
    keepalive_requests 100000;
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /status { usher_status; }
        location /slow { usher_limit slow rate=1r/h burst=3 key=$arg_who; }
        location /fast { usher_limit fast rate=1000000r/s key=$arg_who; }
    }
EOF

sub taken {
    my ($who) = @_;

    return scalar grep { $t->get("/slow?who=$who")->status != 429 } 1 .. 8;
}

# n requests of n names, in one connection.

sub flood {
    my ($where, $n) = @_;

    my $raw = join '', map { "GET $where?who=$where$_ HTTP/1.1\r\n"
                             . "Host: x\r\n\r\n" } 1 .. $n;

    $raw .= "GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    my @answers = $t->http($raw) =~ m{^HTTP/1\.1 (\d+)}mg;

    return scalar @answers;
}

sub status { $t->get('/status')->json }

my $cells = status()->{zone}{buckets}{cells};

cmp_ok($cells, '>', 100, 'room for some buckets');
cmp_ok($cells, '<', 1000, 'not for many');

is(taken('victim'), 3, 'a bucket is emptied');

is(flood('/fast', 3000), 3001, 'a flood of names with idle buckets');

my $s = status();

cmp_ok($s->{zone}{buckets}{used}, '>', $cells * 0.9, 'the buckets are full');
cmp_ok($s->{counters}{zone_evicted}, '>', 1000, 'idle ones were evicted');
is($s->{counters}{zone_forgotten}, 0, 'none above idle was forgotten');
is(taken('victim'), 0, 'the empty bucket is still empty');

is(flood('/slow', 3000), 3001, 'a flood of names that all are above idle');
cmp_ok(status()->{counters}{zone_forgotten}, '>', 1000,
       'what had to be forgotten is counted');

done_testing();
