# What usher_status and usher_metrics say of the journal: positions that grow,
# are shipped, and become rows.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;
$t->nginx(<<'EOF', workers => 1);
    usher_zone 2m;
    usher_node edge9;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=16m segment=1m window=4m sync=50ms;
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /status { usher_status; }
        location = /metrics { usher_metrics; }
        location / { usher_event on; usher_limit all rate=100r/s burst=100 key=x; }
    }
EOF

sub worker { $t->get('/status')->json->{workers}[0] }

sub metric {
    my ($name) = @_;

    return ($t->get('/metrics')->body =~ /^usher_journal_${name}_bytes
                                          \{worker="\d+"\}[ ](\d+)$/mx)[0];
}

$t->get("/page/$_") for 1 .. 20;

$t->wait_for(sub { (worker()->{position} // 0) > 20 * 100 },
             'the position grows with what is appended', 10);

my $position = worker()->{position};

$t->wait_for(sub { worker()->{shipped} >= $position }, 'it is shipped', 10);
$t->wait_for(sub { worker()->{synced} >= $position }, 'it is on disk', 10);
$t->wait_for(sub { worker()->{acked} >= $position }, 'it is acknowledged', 20);

my $w = worker();

like($w->{slot}, qr/^[0-9a-f]{32}$/, 'the slot');
is($w->{redis}{stream}, 'ready', 'its Redis');
is($t->sql('select position from usher.journal where slot::text = '
           . "regexp_replace('$w->{slot}', '(.{8})(.{4})(.{4})(.{4})(.*)', "
           . "'\\1-\\2-\\3-\\4-\\5')"), $w->{acked},
   'the same position as in PostgreSQL');
is($t->sql('select count(*) from usher.request'), 20, 'and the rows are there');

my $s = $t->get('/status')->json;

is($s->{node}, 'edge9', 'node');
is($s->{journal}{slots}, 1, 'one slot');
is($s->{journal}{window}, 0, 'nothing of it is on the way, seen at once');
is($s->{journal}{full}, JSON::PP::false(), 'not full');
cmp_ok($s->{journal}{bytes}, '>=', 1024 * 1024, 'a segment at least');
is($s->{counters}{journal_events}, 20, 'events');

for my $what (qw(position synced_position shipped_position acked_position)) {
    my $name = $what =~ s/_position//r;

    is(metric($what), $w->{$name}, "$name is the same in the metrics");
}

done_testing();
