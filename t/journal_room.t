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
        location /denied { usher_auth optional; usher_full request deny; }
        location /feed { usher_limit all rate=100000r/s key=x; return 204; }
        location = /status { usher_status; }
        location = /metrics { usher_metrics; }
    }
EOF2

my $sent = 0;

sub feed {
    my $request = join "\r\n", 'GET /feed/' . 'x' x 900 . ' HTTP/1.1',
                  'Host: a', 'User-Agent: ' . 'y' x 100;

    $t->http("$request\r\n\r\n" x 99
             . "$request\r\nConnection: close\r\n\r\n");
    $sent += 100;
}

sub metric {
    return ($t->get('/metrics')->body
            =~ /^usher_\Q$_[0]\E(?:\{.*\})? (\d+)$/m)[0];
}

# The last figures are a second old at most: until it holds.

sub becomes { my ($check, $name) = @_; $t->wait_for($check, $name, 30) }

sub calm {
    becomes(sub { $sent - metric('journal_dropped_total')
                  == $t->sql('select count(*) from usher.request') },
            "$_[0]: all are rows");
    becomes(sub { metric('journal_unacked_bytes') == 0 },
            "$_[0]: none is missing");
    becomes(sub { metric('journal_free_bytes') >= $size - 2 * 128 * 1024 },
            "$_[0]: nearly all is free");
}

feed();
calm('at first');
is(metric('journal_size_bytes'), $size, 'the size that is configured');

# Redis is away: it fills, and in the end is full

$t->stop('redis');
feed() for 1 .. 5;
becomes(sub { metric('journal_unacked_bytes') > 400_000 },
        'Redis away: unacked grows');
my ($free, $unacked) = map { metric($_) } qw(journal_free_bytes
                                             journal_unacked_bytes);
cmp_ok($free, '<', $size - 400_000, 'free falls');
cmp_ok($free, '>', $size / 4, 'long before it is full');
is(metric('journal_full'), 0, 'it is not yet');
feed() for 1 .. 5;
becomes(sub { metric('journal_unacked_bytes') > $unacked + 400_000
              && metric('journal_free_bytes') < $free - 400_000 },
        'both go on');

# another worker takes the slot over

$unacked = metric('journal_unacked_bytes');
$t->kill9('worker');
becomes(sub { metric('journal_adopted_slots') == 1
              && metric('journal_unacked_bytes') >= $unacked },
        'adopted: what is in it counts');

becomes(sub { feed();
              metric('journal_full') == 1 && metric('journal_dropped_total') },
        'full: events are dropped');
becomes(sub { metric('journal_free_bytes') < 128 * 1024 }, 'nothing is free');

is($t->get('/denied')->status, 503, 'who needs room is denied');
is(metric('requests_denied_total'), 1, 'which is counted');
$sent++;

my $s = $t->get('/status')->json->{journal};
is_deeply([ @$s{qw(size free unacked bytes)} ],
          [ map { metric($_) } qw(journal_size_bytes journal_free_bytes
                                  journal_unacked_bytes journal_disk_bytes) ],
          'the status says so, too');

# Redis is back: free, though retain keeps most of it on disk

$t->start('redis');
calm('Redis back');
cmp_ok(metric('journal_disk_bytes'), '>', $size / 2, 'retained, and yet free');
feed() for 1 .. 12;
becomes(sub { metric('journal_full') == 0 }, 'not full any more');
calm('in the end');
is($t->ctl('journal verify')->{ok}, JSON::PP::true(), 'verified');

done_testing();
