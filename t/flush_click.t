# The newest click of a slot is its newest event: an edge with links only lets
# hours close as any other does.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush');

sub click {
    my ($time, $reason) = @_;

    return join("\t", 'c1', "2026-11-20 $time+00", 0, $reason, -3, 0, '', 'e',
                'go.example', 'a', ('') x 10, '', '\N', 404, 0) . "\n";
}

sub newest {
    my ($slot) = @_;

    return $t->sql("select to_char(last_event at time zone 'UTC',
                    'HH24:MI:SS.MS') from usher.journal where slot = ?",
                   $slot->{id});
}

my $slot = Usher::Slot->new($t);

$slot->append(click('10:00:00.000', 31), click('11:00:00.500', 31),
              click('10:30:00.000', 31))->ship;
$t->wait_for(sub { $slot->stored }, 'clicks are stored');
is(newest($slot), '11:00:00.500', 'the newest of them');

my $other = Usher::Slot->new($t);

$other->append((map { click("12:00:00.$_", 31) } 100 .. 300),
               click('13:00:00.000', 'none'),
               click('12:30:00.000', 31))->ship;
$t->wait_for(sub { $other->stored }, 'and others, of which one is poison');
is($t->sql('select count(*) from usher.quarantine'), 1, 'put aside');
is(newest($other), '12:30:00.000', 'the newest of what was stored');

done_testing();
