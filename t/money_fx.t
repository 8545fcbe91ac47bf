# Rates: which is taken, how far back, and where none is known; there and back.

use lib 't/lib';
use Usher::Test;

use Math::BigFloat;


my $t = Usher::Test->new;

$t->postgres;

# what a rate is: the day and the number, or the message

sub rate {
    my ($day, $from, $to) = @_;

    my $r = eval { $t->ctl("fx show from=$from to=$to day=$day") }
        or return $t->ctl_fails("fx show from=$from to=$to day=$day");

    return "$r->{rated} $r->{rate}";
}


$t->ctl('fx', 'import', 'csv=' . join "\n", 'day,base,quote,rate',
    '2026-03-02,EUR,USD,1.25', '2026-03-02,EUR,JPY,160', '2026-03-02,USD,THB,32',
    '2026-03-03,GBP,USD,1.3', '2026-03-03,EUR,USD,1.2', '2026-03-03,EUR,GBP,0.9',
    '2026-03-03,USD,CHF,0.8', '2026-03-03,CHF,USD,1.3',
    '2026-03-04,EUR,SEK,11', '2026-03-04,USD,SEK,10', '2026-03-04,EUR,NOK,12',
    '2026-03-04,USD,NOK,9', '2026-03-05,EUR,CHF,0.8', '2026-03-05,EUR,USD,1',
    '2026-03-06,GBP,USD,1.4');

for my $case (
    [ 'EUR', 'EUR', '03-09', '03-09 1', 'of itself' ],
    [ 'EUR', 'USD', '03-02', '03-02 1.25', 'as it is stored' ],
    [ 'USD', 'EUR', '03-02', '03-02 0.8', 'turned round' ],
    [ 'USD', 'JPY', '03-02', '03-02 128', 'through EUR' ],
    [ 'JPY', 'USD', '03-02', '03-02 0.0078125', 'and back' ],
    [ 'EUR', 'THB', '03-02', '03-02 40', 'through USD' ],
    [ 'THB', 'EUR', '03-02', '03-02 0.025', 'and back' ],
    [ 'GBP', 'USD', '03-03', '03-03 1.3', 'the pair before EUR' ],
    [ 'CHF', 'USD', '03-03', '03-03 1.3', 'as stored before turned round' ],
    [ 'NOK', 'SEK', '03-04', '03-04 0.916666666666666667', 'EUR before USD' ],
    [ 'GBP', 'USD', '03-05', '03-03 1.3', 'of the day before that has one' ],
    [ 'CHF', 'USD', '03-06', '03-05 1.25', 'the newest, whichever way' ],
    [ 'GBP', 'USD', '03-06', '03-06 1.4', 'of the day' ],
    [ 'GBP', 'USD', '03-13', '03-06 1.4', 'seven days before' ],
) {
    my ($from, $to, $day, $want, $name) = @$case;

    is(rate("2026-$day", $from, $to), "2026-$want", "$from to $to: $name");
}

like(rate('2026-03-14', 'GBP', 'USD'),
     qr/no rate from GBP to USD on 2026-03-14.*usherctl fx import.*eurofxref/s,
     'eight days before is too old');
like(rate('2026-03-01', 'EUR', 'USD'), qr/no rate from EUR to USD/,
     'and none is of a day to come');
like(rate('2026-03-04', 'GBP', 'JPY'), qr/no rate from GBP to JPY/,
     'two legs are of one day');
like(rate('2026-03-03', 'EUR', 'XXX'), qr/currency="XXX" cannot be/,
     'what is no currency has none');
is($t->ctl('fx show from=EUR to=EUR')->{rate}, 1, 'of today, if no day is said');

# there and back, over decimals of all sorts

my $seed = $ENV{SEED} // time;
srand $seed;
$t->sql("insert into usher.fx (base, quote, day, rate, source)
         select 'EUR', c, '2026-05-01', r, 'test'
         from unnest(?::text[], ?::numeric[]) v (c, r)", [ qw(USD JPY KWD CLF IRR) ],
        [ map { sprintf '%.6f', $_ } 0.5 + rand, 100 + rand 100, 0.3 + rand,
                                     0.02 + rand 0.05, 1e6 + rand 1e6 ]);
my (@rates, @moved);

for my $pair (map { my $a = $_; map { [ $a, $_ ] } qw(EUR USD JPY KWD CLF IRR) }
              qw(EUR USD JPY KWD CLF IRR))
{
    my ($to, $back, $worth) = map { @$_ } $t->rows(
        "select usher.fx_rate(d, a, b), usher.fx_rate(d, b, a), usher.round_half_even(
                usher.money_worth(usher.money_worth(9e17, d, a, b), d, b, a))
         from (values ('2026-05-01'::date, ?, ?)) v (d, a, b)", @$pair);
    my $off = Math::BigFloat->new($to)->bmul($back)->bsub(1)->babs;

    push @rates, "@$pair: $off" if $off->bcmp('1e-25') > 0;
    push @moved, "@$pair: $worth" if $worth ne '900000000000000000';
}

is("@rates", '', "a rate and its way back are 1, seed $seed");
is("@moved", '', 'and an amount is what it was, to the last cent');

cmp_ok($t->sql("select usher.money_worth(100, '2026-03-02', 'EUR', 'JPY')"),
       '==', 160, '1.00 EUR is 160 JPY');
cmp_ok($t->sql("select usher.money_worth(160, '2026-03-02', 'JPY', 'EUR')"),
       '==', 100, 'and 160 JPY are 1.00 EUR');

# what the table holds, whoever writes

for my $row ([ "'EUR', 'EUR', 1", 'fx_pair' ], [ "'EUR', 'USD', 0", 'rate_check' ],
             [ "'EUR', 'USD', -1", 'rate_check' ], [ "'EUR', 'USD', 'NaN'", 'rate_check' ],
             [ "'EUR', 'XAU', 1", 'quote_fkey' ])
{
    eval { $t->sql("insert into usher.fx (base, quote, rate, day, source)
                    values ($row->[0], '2026-01-01', 'x')") };
    like($@, qr/$row->[1]/, "no rate $row->[0]");
}

done_testing();
