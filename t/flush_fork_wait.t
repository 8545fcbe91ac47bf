# A fork is placed while the edge sends bit by bit: an answer is not guessed
# from what has come so far, and nothing of it is trimmed meanwhile.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });


# Two commits, so one mark below the position.

my $calm = Usher::Slot->new($t);
my $slot = Usher::Slot->new($t);
my @at;

for (1 .. 2) {
    $slot->append($slot->requests(20))->ship;
    $t->wait_for(sub { $slot->stored }, "commit $_");
    push @at, $slot->end;
}

$calm->append($calm->requests(5))->ship;
$t->wait_for(sub { $calm->stored }, 'another slot');


# The acknowledgements are restated, twice: the first is done by then.

sub restated {
    for (1, 2) {
        $calm->redis->del('usher:ack:' . $calm->id);
        $t->wait_for(sub { $calm->ack }, 'restated', 20);
    }
}


# The other history parts behind the twelfth line; only its last is there.

my @same = split /^/, $slot->{bytes};
my $copy = Usher::Slot->new($t, id => $slot->id, unregistered => 1);

$copy->append(@same[0 .. 11]);
my $common = $copy->end;
$copy->append($copy->requests(40));

my @line = (0);
push @line, $line[-1] + length for split /^/, $copy->{bytes};
my ($above) = grep { $_ > $at[0] } @line;
my ($below) = reverse grep { $_ < $at[1] } @line;

$slot->redis->multi;
$slot->redis->del($slot->key);
$slot->redis->xadd($slot->key, $copy->entry(from => $above, to => $below));
$slot->redis->xadd($slot->key, $copy->entry(from => $below));
$slot->redis->exec;
$t->wait_for(sub { $slot->ack_is($at[0], 'r') },
             'two histories: what would tell is asked for');
restated();
is($slot->redis->xlen($slot->key), 2, 'nothing is trimmed while it is open');

# it comes, and does not tell: further back

my ($before) = reverse grep { $_ <= $at[0] } @line;
$copy->takeup($before);
$t->wait_for(sub { $slot->ack_is(0, 'r') }, 'from further back');

# the first lines agree, as far as they go

$copy->takeup(0, to => $line[5]);
$t->wait_for(sub { $slot->ack_is($line[5], 'r') }, 'no guess at what follows');
is($slot->state, 'live', 'it is not forked yet');
$copy->ship(from => $line[5], to => $line[8]);
$t->wait_for(sub { $slot->ack_is($line[8], 'r') }, 'nor at the next');
$copy->ship(from => $line[8]);
$t->wait_for(sub { $slot->ack_is($common, 'f') }, 'common to the line');
is($slot->once, '', 'nothing of the other history was stored');

$copy->takeup(0, to => $line[5]);
restated();
is($slot->redis->xlen($slot->key), 1, 'and nothing of its stream is trimmed');

done_testing();
