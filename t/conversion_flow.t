# From the journal to the revenue, with usherd itself: postbacks that come
# twice, in several slots, while flush and react are killed, are each one
# change, and money is booked once.

use lib 't/lib';
use Usher::Conversion;
use Usher::Slot;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;

my %link = world($t);
my %postback = map { $_->[0] => $_->[1] }
               $t->rows('select name, id from usher.postback');

$t->usherd(duties => 'flush,react', conf => { usherd => {
    batch_age_ms => 5, batch_rows => 7, lease_s => 2 } });
$t->usherd(name => 'usherd2', duties => 'flush,react', conf => { usherd => {
    batch_age_ms => 5, batch_rows => 5, lease_s => 2 } });

my @slots = map { Usher::Slot->new($t) } 1 .. 3;
my $n = 60;

sub word {
    my ($slot, $i, $status, $amount, $second) = @_;

    return $slot->conversion("t$i", postback_id => $postback{net},
        status => $status, amount => $amount, currency => 'EUR',
        customer => 'c' . $i % 5, click_id => $link{"c$i"},
        event_time => sprintf '2026-02-01 10:%02d:%02d.000+00', $second / 60,
        $second % 60);
}

$link{"c$_"} = click($link{s}, day(30)) for 1 .. $n;

# each transaction is pending, approved, and a third of them reversed; each
# word is said twice, by different slots, in no order

my @said;

for my $i (1 .. $n) {
    push @said, [ $i, pending => '1.00', $i ],
                [ $i, approved => '2.50', $i + 100 ],
                $i % 3 ? () : [ $i, reversed => '-2.50', $i + 200 ];
}

srand 11;

for my $w (sort { $a->[-1] <=> $b->[-1] } map { [ @$_, rand ] } @said, @said) {
    my $slot = $slots[rand 3];

    $slot->append(word($slot, @$w[0 .. 3]))->ship;

    if (rand() < 0.02) {
        $t->kill9(rand() < 0.5 ? 'flush' : 'react');
    }
}

$t->wait_for(sub { 3 == grep { $_->stored } @slots }, 'all is stored', 60);
$t->wait_for(sub { !$t->sql('select count(*) from usher.todo') },
             'and reacted to', 60);

is($t->sql('select count(*) from usher.conversion_event'), scalar @said,
   'each word is one row');
is($t->sql('select sum(losers) from usher.journal'), scalar @said,
   'said twice');
is($t->sql('select count(*) from usher.conversion_change'), scalar @said,
   'each is one change');
is_deeply([ $t->rows('select state, count(*), sum(amount), count(link_id)
                      from usher.conversion group by 1 order by 1') ],
          [ [ 'approved', 40, 10000, 40 ], [ 'reversed', 20, 5000, 20 ] ],
          'the last word of each holds');
is($t->sql('select sum(amount) from usher.revenue'), 10000,
   'money is booked once');
is($t->sql("select balance from usher.account_balance where kind = 'asset'"),
   10000, 'in the ledger, too');
is($t->sql('select count(*) from usher.revenue r where not exists (
            select from usher.ledger_entry e where e.what = $$conversion:$$
            || split_part(r.external_id, $$:$$, 2))'), 0,
   'for each row an entry');

my $v = $t->ctl('journal verify');
ok($v->{ok}, 'and the journal adds up') or diag("@{ $v->{problems} }");

done_testing();
