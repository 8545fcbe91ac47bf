# Postings by chance, right and wrong: what is taken is what a model takes, and
# at no moment is anything unbalanced.

use lib 't/lib';
use Usher::Test;

use Math::BigInt;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');

my $seed = $ENV{SEED} // time;
srand $seed;

my @currencies = qw(EUR JPY KWD);
my %currency_of;

for my $currency (@currencies) {
    for my $kind (qw(asset liability revenue expense)) {
        my $id = $t->sql('select usher.account_ensure(1, ?, ?, ?)', $kind, 'x',
                         $currency);
        $currency_of{$id} = $currency;
    }
}

my @ids = sort { $a <=> $b } keys %currency_of;
my (%balance, %posted, @wrong);


sub amount {
    my $most = (10, 1000, 1e6, 9e15)[rand 4];
    return Math::BigInt->new(int(rand 2 * $most) - $most);
}


# Lines that balance, unless one is then moved by a little.

sub lines {
    my @lines;

    for my $currency (grep { rand() < 0.6 } @currencies) {
        my @of = grep { $currency_of{$_} eq $currency } @ids;
        my $sum = Math::BigInt->new(0);

        for (1 .. 1 + rand 4) {
            push @lines, [ $of[rand @of], amount() ];
            $sum += $lines[-1][1];
        }

        push @lines, [ $of[rand @of], -$sum ];
    }

    $lines[rand @lines][1] += (-1, 1)[rand 2] if @lines && rand() < 0.3;
    return @lines;
}


for my $n (1 .. 400) {
    my $what = 'w' . int rand 300;
    my @lines = lines();
    my %sum;

    $sum{ $currency_of{$_->[0]} } += $_->[1] for @lines;

    my $good = @lines >= 2 && !grep({ $_->[1] == 0 } @lines)
               && !grep { $_ != 0 } values %sum;
    my $key = join ' ', sort map { "@$_" } @lines;

    $good &&= ($posted{$what} // $key) eq $key;

    my $taken = eval {
        $t->sql('select usher.ledger_post(?, ?, ?)', $what,
                [ map { $_->[0] } @lines ], [ map { "$_->[1]" } @lines ]);
        1;
    };

    push @wrong, "$n: $what $key" if !$taken != !$good;
    next if !$taken || $posted{$what};

    $posted{$what} = $key;
    $balance{$_->[0]} = ($balance{$_->[0]} // 0) + $_->[1] for @lines;

    next if rand() > 0.1;

    $t->sql('select usher.ledger_reverse(?)', $what) for 1, 2;
    $balance{$_->[0]} -= $_->[1] for @lines;
}

is("@wrong", '', "what balances is taken and nothing else, seed $seed");
cmp_ok(scalar keys %posted, '>', 50, 'many were');
is($t->sql('select count(*) from (select entry_id, currency from
            usher.ledger_posting group by 1, 2 having sum(amount) <> 0) x'), 0,
   'every entry balances');
is($t->sql('select count(*) from (select currency from usher.account_balance
            group by 1 having sum(balance) <> 0) x'), 0, 'and so do all together');
is_deeply({ map { $_->[0] => $_->[1] } $t->rows('select account_id, balance from
                                                 usher.account_balance') },
          { map { $_ => '' . ($balance{$_} // 0) } @ids },
          'each account stands where the model has it');

done_testing();
