# Two histories of one slot: forked, and the edge is told how far they agree.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });


# A slot with a mark at each of its four commits, and where they are.

sub history {
    my $slot = Usher::Slot->new($t);
    my @at;

    for (1 .. 4) {
        $slot->append($slot->requests(3))->ship;
        $t->wait_for(sub { $slot->stored }, "commit $_");
        push @at, $slot->end;
    }

    return $slot, @at;
}


# Another history of the same slot, the same up to a position.

sub other {
    my ($slot, $position) = @_;

    my $copy = Usher::Slot->new($t, id => $slot->id, unregistered => 1);

    $copy->{bytes} = substr $slot->{bytes}, 0, $position;
    $copy->append($copy->requests(14));

    return $copy;
}


# the stream shows where they part

my ($slot, @at) = history();
my $copy = other($slot, $at[1]);

$copy->takeup(0);
$t->wait_for(sub { $slot->state eq 'forked' }, 'another history: forked');
$t->wait_for(sub { $slot->ack_is($at[1], 'f') },
             'common up to the last mark that agrees');
is($slot->once, '', 'nothing of the other history was stored');

# it is not forgotten

$t->kill9('flush');
$slot->redis->del('usher:ack:' . $slot->id);
$t->wait_for(sub { $slot->ack_is($at[1], 'f') },
             'a new flush tells the same');


# the stream begins above: what is below is asked for

($slot, @at) = history();
$copy = other($slot, $at[0]);

my $line = $at[3];
$line = 1 + index $copy->{bytes}, "\n", $line;
$copy->takeup($line, from => $line);
$t->wait_for(sub { $slot->ack_is($at[3], 'r') }, 'a gap first');
$line = 1 + rindex $copy->{bytes}, "\n", $at[3];
$copy->takeup($line);
$t->wait_for(sub { my @ack = $slot->ack; $ack[2] eq 'r' && $ack[0] < $at[3] },
             'then what would tell is asked for');

for (1 .. 50) {
    my ($from, $nonce, $state) = $slot->ack;
    last if $state eq 'f';
    my $start = 1 + rindex $copy->{bytes}, "\n", $from - 1;
    $copy->takeup($from > 0 ? $start : 0);
    select undef, undef, undef, 0.1;
}

$t->wait_for(sub { $slot->ack_is($at[0], 'f') }, 'until the mark is found');
is($slot->once, '', 'nothing of the other history was stored');


# others go on

my $third = Usher::Slot->new($t);
$third->append($third->requests(2))->ship;
$t->wait_for(sub { $third->stored }, 'another slot goes on');
is($t->sql("select count(*) from usher.journal where state = 'forked'"), 2,
   'two slots are forked');
like($t->log_of('usherd'), qr/\[alert\].*is forked/, 'the log says so');

# the edge is through with it: its acknowledgement goes

$slot->redis->hdel('usher:slots', $slot->id);
$t->wait_for(sub { !$slot->redis->exists('usher:ack:' . $slot->id) },
             'a mended fork leaves no key', 15);
is($slot->state, 'forked', 'but a row');

done_testing();
