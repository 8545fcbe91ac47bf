# However much has piled up while usherd was away, a transaction is bounded in
# rows and in bytes; and what a killed duty had in its hands comes again.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;


# The largest number of bytes between two marks, or two commits, of a slot.

sub widest {
    my ($slot, $group) = @_;

    return $t->sql('select max(position - before) from (select position, '
        . 'coalesce(lag(position) over (order by position), 0) as before '
        . 'from (select max(position) as position from usher.journal_mark '
        . "where slot = ? group by $group) c) m", $slot->id);
}

sub largest { widest($_[0], 'at') }


sub pile {
    my $slot = Usher::Slot->new($t);

    $slot->append($slot->requests(30))->ship for 1 .. 60;

    return $slot;
}


my ($slot, $entry);

$slot = pile();
$entry = $slot->end / 60;
$t->usherd(duties => 'flush', conf => { usherd => {
    batch_rows => 100, batch_age_ms => 5000 } });
$t->wait_for(sub { $slot->position > 0 }, 'it begins', 20);
$t->kill9('flush');
$t->wait_for(sub { $slot->stored }, 'all of the pile', 30);
is($slot->once, '', 'each event is one row');
cmp_ok(largest($slot), '<=', 4 * $entry * 1.2,
       'no more than 100 rows at once, to the next entry');
$t->stop('usherd');

$slot = pile();
$t->usherd(name => 'usherd2', duties => 'flush', conf => { usherd => {
    batch_bytes => 65536, batch_age_ms => 5000 } });
$t->wait_for(sub { $slot->stored }, 'another pile', 30);
is($slot->once, '', 'each event is one row');
cmp_ok(largest($slot), '<=', 65536 + 2 * $entry, 'no more than 64 KB at once');
$t->stop('usherd2');

# so that two histories can be compared, there are marks within a commit

$slot = pile();
$t->usherd(name => 'usherd3', duties => 'flush');
$t->wait_for(sub { $slot->stored }, 'a third', 30);
cmp_ok(largest($slot), '>', 100_000, 'much at once');
cmp_ok(widest($slot, 'position'), '<=', 32768 + $entry * 1.2,
       'a mark each 32 KB');

done_testing();
