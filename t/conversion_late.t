# Slots come in any order: what repeats a word may be stored before the word
# itself.  A word counts from when it was said first, whichever comes first.

use lib 't/lib';
use Usher::Conversion;
use Usher::Slot;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
world($t);

my @order = ([ 0, 1, 2 ], [ 0, 2, 1 ], [ 1, 0, 2 ], [ 1, 2, 0 ], [ 2, 0, 1 ],
             [ 2, 1, 0 ]);

sub booked {
    return $t->sql("select coalesce(sum(r.amount), 0) from usher.$_[1] r
                    join usher.conversion c on c.id = r.conversion_id
                    where c.transaction_id = ?", $_[0]);
}

sub truth_of {
    my ($transaction) = @_;

    my $c = truth($t, $transaction);
    return join ' ', $c->{state}, $c->{amount} // '-', $c->{sale_amount} // '-',
           booked($transaction, 'revenue'), booked($transaction, 'cost'),
           $c->{state_problem} ? 'listed' : 'good';
}

sub said {
    my ($postback, $transaction, $hour, %said) = @_;

    return ($postback, $transaction, at => day(9 + $hour, 1),
            currency => 'EUR', %said);
}

# Three words, the third as the first; each by itself.  What is said again is
# held against what was said by then, so that it is no problem where what was
# said in between comes after it.

my @pending = (status => 'pending', amount => '5', sale_amount => '50');
my @life = (
    [ 'net', 'approved 500 5000 500 0 good', [ @pending ],
      [ status => 'approved' ] ],
    [ 'net', 'approved 600 - 600 0 good', [ status => 'pending' ],
      [ status => 'approved', amount => '6' ] ],
    [ 'net', 'reversed 500 - 0 0 listed',
      [ status => 'approved', amount => '5' ], [ status => 'reversed' ] ],
    [ 'net', 'approved 600 - 600 0 listed',
      [ status => 'approved', amount => '5' ],
      [ status => 'approved', amount => '6' ] ],
    [ 'net', 'pending 500 - 0 0 good', [ status => 'what' ],
      [ status => 'pending', amount => '5' ] ],
    [ 'pixel', 'pending - 600 0 0 good', [ sale_amount => '5' ],
      [ sale_amount => '6' ] ]);

for my $life (0 .. $#life) {
    my ($postback, $want, $first, $second) = @{ $life[$life] };
    my %occurred;

    for my $order (@order) {
        my $transaction = "life-$life-@$order";

        tell($t, said($postback, $transaction, 1 + $_,
                      @{ ($first, $second, $first)[$_] }))
            for @$order;
        is(truth_of($transaction),
           $order->[2] == 1 ? $want =~ s/listed/good/r : $want,
           "life $life in the order @$order");
        $occurred{ $t->sql('select occurred_at from usher.conversion
                            where transaction_id = ?', $transaction) }++;
    }

    is(join(',', keys %occurred), '2026-01-11 01:00:00+00',
       'and it was when it was first told of');
}

is($t->sql("select count(*)
            from (select r.conversion_id, r.day
                  from usher.revenue r
                  join usher.conversion c on c.id = r.conversion_id
                  where c.transaction_id like 'life-1-%'
                  group by r.conversion_id, r.day having sum(r.amount) < 0) d"),
   0, 'what was taken back wrongly is booked again on that day');

# a partner is paid once

$t->ctl('commission', 'rule', 'add', 'org=acme', 'program=books',
        'percent=10', 'starts=2026-01-01');
my $a = $t->sql("select id from usher.link where slug = 'a'");

for my $order (@order) {
    my $click = click($a, day(9));

    tell($t, said('shop', "own-@$order", 1 + $_, click_id => $click,
                  status => $_ == 1 ? 'approved' : 'pending',
                  sale_amount => '50'))
        for @$order;
    is(truth_of("own-@$order"), 'approved - 5000 5000 500 good',
       "of our own in the order @$order");
}

# it is done once, and waits for what it repeats

my $changes = $t->sql('select count(*) from usher.conversion_change');

sub late { hear($t, said('net', $_[0], $_[1], status => 'pending')) }
sub approved { hear($t, said('net', $_[0], 2, status => 'approved')) }

late('once', 3);
approved('once');
react($t);
late('once', 1) for 1, 2;
react($t);
is(truth($t, 'once')->{state}, 'approved', 'a word that comes twice');
late('once', 1);
react($t);
is($t->sql('select count(*) from usher.conversion_change') - $changes, 3,
   'is told once');

late('waits', 3);
approved('waits');
$t->sql("update usher.todo set next_at = now() + interval '1 hour'");
late('waits', 1);
$t->sql("update usher.todo set next_at = now() where handler = 'again'");
$t->rows('select usher.react(100)');
is($t->sql("select handler from usher.todo where attempts = 1"), 'again',
   'what came before the word it is of waits');
$t->sql('update usher.todo set next_at = now()');
react($t);
is(truth($t, 'waits')->{state}, 'approved', 'and is not lost');

# a report has the last word all the same, also where it changes nothing

sub report { $t->ctl('conversion', 'import', 'org=acme', 'network=net',
                     "csv=transaction_id,status\n$_[0],$_[1]\n") }

for (qw(pending rejected)) {
    late("report-$_", 3);
    approved("report-$_");
    react($t);
    report("report-$_", $_);
    late("report-$_", 1);
    react($t);
    is(truth($t, "report-$_")->{state}, $_, "it stays $_ as reported");
}

is($t->sql('select count(*)
            from usher.conversion c, usher.conversion_refold(c, null) n
            where (n.state, n.state_at, n.amount, n.amount_told, n.sale_amount,
                   n.sale_told, n.currency)
                  is distinct from
                  (c.state, c.state_at, c.amount, c.amount_told, c.sale_amount,
                   c.sale_told, c.currency)'), 0,
   'what is found anew from the history is what is true');

# by slots

$t->usherd(duties => 'flush,react', conf => { usherd => {
    batch_age_ms => 20 } });

my $net = $t->sql("select id from usher.postback where name = 'net'");

sub line {
    my ($hour, $status) = @_;

    return Usher::Slot->new($t)->conversion('slots', postback_id => $net,
        event_time => "2026-02-01 0$hour:00:00.000+00", status => $status,
        currency => 'EUR');
}

for ([ line(3, 'pending') ], [ line(2, 'approved') ], [ line(1, 'pending') ]) {
    my $slot = Usher::Slot->new($t)->append(@$_)->ship;

    $t->wait_for(sub { $slot->stored && !$t->sql('select count(*)
        from usher.todo') }, 'a slot is stored and reacted to', 30);
}

is(truth($t, 'slots')->{state}, 'approved', 'slots that come the last first');

done_testing();
