# What an operator may do about a stream, and what not even he can: only a
# hole or his word passes a gap, and none begins in the middle of a line.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });


# Lines in Redis whose predecessors were lost before usherd had read them.

sub cut_off {
    my $slot = Usher::Slot->new($t);

    $slot->append($slot->requests(3))->ship;
    $t->wait_for(sub { $slot->stored }, 'a beginning');
    $slot->append($slot->requests(4));
    splice @{ $slot->{ids} }, -4;

    my $lost = $slot->end;

    $slot->append($slot->requests(5));
    $slot->takeup($lost);
    $t->wait_for(sub { (($slot->ack)[2] // '') eq 'r' },
                 'what is missing is asked for');

    return $slot, $lost;
}


# his word, through the duty's death

my ($slot, $lost) = cut_off();
my $from = $slot->position;

$t->kill9('flush');
$t->wait_for(sub { $t->duties('flush') }, 'another flush');
$t->redis_cli('del', 'usher:ack:' . $slot->id);
$t->wait_for(sub { (($slot->ack)[2] // '') eq 'r' }, 'it asks as well');
is($slot->position, $from, 'and stands where the other stood');

$t->ctl('journal', 'skip', 'slot=' . $slot->id, "to=$lost", 'reason=disk died');
$t->wait_for(sub { $slot->stored }, 'the operator passes the gap');
is($slot->once, '', 'what lies above is there once');
is_deeply([ $t->rows('select from_position, to_position, reason '
                     . 'from usher.journal_gap where slot = ?', $slot->id) ],
          [ [ $from, $lost, 'disk died' ] ], 'the gap is a row');
$slot->append($slot->requests(2))->ship;
$t->wait_for(sub { $slot->stored }, 'and the slot goes on');
is($slot->once, '', 'each event is one row');


# a place in the middle of a line

($slot, $lost) = cut_off();

$t->ctl('journal', 'skip', 'slot=' . $slot->id, 'to=' . ($lost + 20),
        'reason=a slip');
$t->wait_for(sub { $slot->state eq 'stopped' || $slot->takeup($lost) && 0 },
             'the middle of a line: stopped', 20);
is($slot->position, $lost + 20, 'nothing was taken');
like($t->sql('select reason from usher.journal where slot = ?', $slot->id),
     qr/no line ends at @{[ $lost + 20 ]}/, 'with the reason');
is($t->sql('select count(*) from usher.quarantine'), 0,
   'no half of a line became an event');

done_testing();
