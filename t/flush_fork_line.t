# Two histories that part between marks: they are told apart to the line, so
# that what the edge sends again is never a second row.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });


# Stored at once, with lines of all sorts: its only mark is its position.

sub history {
    my $slot = Usher::Slot->new($t);
    my @nowhere = $slot->requests(1, address => 'nowhere');

    pop @{ $slot->{ids} };
    $slot->append($slot->requests(10), $slot->hook('shop', $slot->id),
                  "p1\t$slot->{id}\t1\t1\t\\\\x00\n", "r1\t\\.\n", @nowhere,
                  $slot->requests(10))->ship;
    $t->wait_for(sub { $slot->stored }, 'one history is stored');

    return $slot;
}


# Another one, which has the first lines of that, then lines of its own.

sub parts_behind {
    my ($what, $n, @lines) = @_;

    differ($what, history(), $n, @lines);
}


sub differ {
    my ($what, $slot, $n, @lines) = @_;

    my $copy = Usher::Slot->new($t, id => $slot->id, unregistered => 1);
    my @same = split /^/, $slot->{bytes};

    $copy->append(@same[0 .. $n - 1]);

    my $common = $copy->end;

    $copy->append(@lines, $copy->requests(30))->takeup(0);
    $t->wait_for(sub { ($slot->ack)[2] eq 'f' }, "$what: forked");
    is(($slot->ack)[0], $common, "$what: to the line");
    is($slot->once, '', "$what: nothing of the other was stored");

    # the edge appends what lies above to a slot of its own

    my $own = Usher::Slot->new($t);

    $own->append(substr $copy->{bytes}, ($slot->ack)[0])->ship;
    $t->wait_for(sub { $own->stored }, "$what: the rest is stored");
    push @{ $slot->{ids} }, @{ $copy->{ids} };
    is($slot->once, '', "$what: each event is one row");
}


parts_behind('at once', 0);
parts_behind('among requests', 7);
parts_behind('behind a hook', 11);
parts_behind('behind a part', 12);
parts_behind('behind poison', 14);
parts_behind('among the last', 20);
parts_behind('at a hook', 3, Usher::Slot->hook('shop', 'new'));
parts_behind('at a part', 3, "p1\tx\t9\t9\t\\\\x00\n");
parts_behind('at a line that ends COPY', 3, "r1\t\\.\n");
parts_behind('at a line that COPY refuses', 5, "r1\tnonsense\n");

# the clock was ahead when the last mark before that was made

my $slot = Usher::Slot->new($t);

$slot->append($slot->requests(5))->ship;
$t->wait_for(sub { $slot->stored }, 'a mark');
$t->sql("update usher.journal_mark set at = at + interval '1 year'
         where slot = ?", $slot->id);
$slot->append($slot->requests(10))->ship;
$t->wait_for(sub { $slot->stored }, 'and more');
differ('a clock ahead', $slot, 8);

is($t->sql('select count(*) from usher.quarantine'), 2 * 10 + 2,
   'poison of both is in quarantine');
is($t->sql('select sum(requests) from usher.usage_total'),
   $t->sql('select count(*) from usher.request'), 'sums are of the rows');
is($t->ctl('journal verify')->{duplicates}, 0, 'nothing is there twice');

done_testing();
