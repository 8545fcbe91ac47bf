# How full the journal is can be seen before it is full: while Redis is away
# free falls and what is no row yet grows, through a worker's death as well;
# when it is back all of it is free again, whatever retain keeps on disk.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;
my $size = 2 * 1024 * 1024;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush');
$t->nginx(<<'EOF2', workers => 1);
    usher_zone 2m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=2m segment=128k retain=1h;
    server {
        listen 127.0.0.1:%%PORT%%;
        location /feed { usher_limit all rate=100000r/s key=x; return 204; }
        location = /status { usher_status; }
        location = /metrics { usher_metrics; }
    }
EOF2

my $sent = 0;

sub feed {
    my $request = join "\r\n", 'GET /feed/' . 'x' x 900 . ' HTTP/1.1',
                  'Host: a', 'User-Agent: ' . 'y' x 100;

    $t->http("$request\r\n\r\n" x 99 . "$request\r\nConnection: close\r\n\r\n");
    $sent += 100;
}

sub metric {
    return ($t->get('/metrics')->body =~ /^usher_\Q$_[0]\E(?:\{.*\})? (\d+)$/m)[0];
}

sub journal { metric("journal_$_[0]") }

# The last figures are a second old at most: until it holds.

sub becomes { my ($check, $name) = @_; $t->wait_for($check, $name, 30) }

sub calm {
    becomes(sub { $sent - journal('dropped_total')
                  == $t->sql('select count(*) from usher.request') },
            "$_[0]: all are rows");
    becomes(sub { journal('unacked_bytes') == 0 }, "$_[0]: none is missing");
    becomes(sub { journal('free_bytes') >= $size - 2 * 128 * 1024 },
            "$_[0]: nearly all is free");
}

feed();
calm('at first');
is(journal('size_bytes'), $size, 'the size that is configured');

# Redis is away: it fills, and in the end is full

$t->stop('redis');
feed() for 1 .. 5;
becomes(sub { journal('unacked_bytes') > 400_000 }, 'Redis away: unacked grows');
my ($free, $unacked) = map { journal("${_}_bytes") } qw(free unacked);
cmp_ok($free, '<', $size - 400_000, 'free falls');
cmp_ok($free, '>', $size / 4, 'long before it is full');
is(journal('full'), 0, 'it is not yet');
feed() for 1 .. 5;
becomes(sub { journal('unacked_bytes') > $unacked + 400_000
              && journal('free_bytes') < $free - 400_000 }, 'both go on');

# another worker takes the slot over

$unacked = journal('unacked_bytes');
$t->kill9('worker');
becomes(sub { journal('adopted_slots') == 1
              && journal('unacked_bytes') >= $unacked },
        'adopted: what is in it counts');

becomes(sub { feed(); journal('full') == 1 && journal('dropped_total') },
        'full: events are dropped');
becomes(sub { journal('free_bytes') < 128 * 1024 }, 'nothing is free');

my $s = $t->get('/status')->json->{journal};
is_deeply([ @$s{qw(size free unacked bytes)} ],
          [ map { journal("${_}_bytes") } qw(size free unacked disk) ],
          'the status says so, too');

# Redis is back: free, though retain keeps most of it on disk

$t->start('redis');
calm('Redis back');
cmp_ok(journal('disk_bytes'), '>', $size / 2, 'retained, and yet free');
feed() for 1 .. 12;
becomes(sub { journal('full') == 0 }, 'not full any more');
calm('in the end');
is($t->ctl('journal verify')->{ok}, JSON::PP::true(), 'verified');

done_testing();
