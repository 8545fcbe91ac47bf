# What the edge says of its journal and zone, value by value, as it is
# written, shipped, taken up, sent back, freed and adopted.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=512k segment=64k retain=1h window=256k sync=50ms',
    server => 'location = /metrics { usher_metrics; }
               location = /bad {
                   usher_auth on;
                   usher_event off;
                   usher_auth_failures rate=1r/d burst=2;
               }'), test_module => 1);

sub value {
    return ($t->get('/metrics')->body
            =~ /^usher_\Q$_[0]\E(?:\{[^\n]*\})? (\d+)$/m)[0] // -1;
}

sub becomes {
    my ($name, $want, $what) = @_;

    $t->wait_for(sub { value($name) == $want }, $what // "$name is $want", 30)
        or diag(value($name));
}

# written, synced, shipped, acknowledged

is(value($_), 0, "no $_")
    for qw(journal_slots journal_events_total journal_takeups_total
           journal_rewinds_total journal_holes_total journal_adopted_total
           journal_retain_shortened_total);
$d->feed(10, 100);
becomes('journal_slots', 1);
becomes('journal_events_total', 10);
becomes('journal_bytes_total', 1000);
becomes('journal_shipped_bytes_total', 1000);
becomes("journal_${_}_bytes", 1000)
    for qw(position synced_position shipped_position window unacked);
becomes('journal_acked_position_bytes', 0);
cmp_ok(value('journal_syncs_total'), '>', 0, 'synced');
is(value('journal_disk_bytes') % 65536, 0, 'whole segments');
cmp_ok(value('journal_room_bytes'), '>', 60000, 'room in the segment');
ok($d->drain(sub { $d->lines == 10 }), 'taken');
becomes('journal_acked_position_bytes', 1000);
becomes("journal_${_}_bytes", 0) for qw(window unacked);

# taken up, sent back

$d->feed(5, 100);
becomes('journal_shipped_bytes_total', 1500);
$t->redis_cli('del', 'usher:ev:' . ($d->known)[0]);
becomes('journal_takeups_total', 1);
becomes('journal_shipped_bytes_total', 2000, 'its bytes are sent again');
$d->ack(state => 'r');
becomes('journal_rewinds_total', 1);
becomes('journal_takeups_total', 2);

# more than the disk may have: retain yields, and then something is missing

for (1 .. 40) {
    $d->feed(20, 1000);
    $d->drain(sub { 1 });
}

cmp_ok(value('journal_retain_shortened_total'), '>', 0, 'retain yields');
ok($d->drain(sub { $d->lines == 815 }), 'all of it comes');
$d->ack(at => 0);
$t->wait_for(sub { $d->pull; value('journal_holes_total') == 1 },
             'PostgreSQL has none of it: a hole');

# another worker takes over

$t->kill9('worker');
becomes('journal_adopted_total', 1);
becomes('journal_adopted_slots', 1);
becomes('journal_slots', 0, 'nobody writes yet');

# bad keys beyond their rate, and the zone

$t->get('/bad', 'X-API-Key' => 'x') for 1 .. 5;
becomes('auth_failures_limited_total', 3);
like($t->get('/metrics')->body, qr/^usher_$_\{part="keys"\} [1-9]/m, $_)
    for qw(zone_bytes zone_cells);

done_testing();
