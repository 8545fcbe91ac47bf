# Amounts as networks write them: what can be read is exact, and what cannot
# is not known, listed, until something newer is told; each for itself.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
world($t);

my $hour = 0;

sub amount_of {
    my ($transaction, %col) = @_;

    tell($t, 'net', $transaction, at => day(40, ++$hour),
         status => 'approved', %col);
    my $c = truth($t, $transaction);

    return $c->{amount_problem}
        // join ' ', map { $_ // '-' } @$c{qw(amount currency)};
}

my $n = 0;

is(amount_of('r' . ++$n, amount => $_->[0], currency => $_->[1]), $_->[2],
   "$_->[0] $_->[1]")
    for [ '12', EUR => '1200 EUR' ], [ '12.3', eur => '1230 EUR' ],
        [ '0.07', USD => '7 USD' ], [ '0', EUR => '0 EUR' ],
        [ '1.5000', EUR => '150 EUR' ], [ '007.10', EUR => '710 EUR' ],
        [ '1200', JPY => '1200 JPY' ], [ '1.234', KWD => '1234 KWD' ],
        [ '10000000000000.00', EUR => '1000000000000000 EUR' ];

is(amount_of('b' . ++$n, amount => $_->[0], currency => $_->[1]),
   $_->[2] // qq(amount="$_->[0]" cannot be read), "$_->[0] $_->[1]: refused")
    for [ '1.234,56', 'EUR' ], [ '1,234.56', 'EUR' ], [ '12,5', 'EUR' ],
        [ '1e3', 'EUR' ], [ ' 1', 'EUR' ], [ '+1', 'EUR' ], [ '.5', 'EUR' ],
        [ '5.', 'EUR' ], [ 'NaN', 'EUR' ], [ '0x10', 'EUR' ], [ '-', 'EUR' ],
        [ "1\n", 'EUR' ], [ 'EUR 5', 'EUR' ], [ '5-', 'EUR' ],
        [ '-5', EUR => 'amount="-5" is negative' ],
        [ '10000000000000.01', EUR => 'amount="10000000000000.01" is absurd' ],
        [ '9' x 32, EUR => 'amount="' . '9' x 32 . '" is absurd' ],
        [ '1.005', EUR => 'amount="1.005" has more decimals than EUR' ],
        [ '1.5', JPY => 'amount="1.5" has more decimals than JPY' ],
        [ '1', XYZ => 'currency="XYZ" is none' ],
        [ '1', 'DOLLARS' => 'currency="DOLLARS" is none' ];

is(truth($t, 'b10')->{state}, 'approved', 'its state is known nevertheless');
my $listed = $t->ctl('conversion list problem=true');
is(scalar @$listed, 21, 'what cannot be read is listed');
is($listed->[0]{problem}, 'currency="DOLLARS" is none', 'with the problem');

# what was known before is not taken for what was told now; and is mended

is(amount_of('m', amount => '5', currency => 'EUR'), '500 EUR', 'read');
is(amount_of('m', amount => '6,00', currency => 'EUR'),
   'amount="6,00" cannot be read', 'not read');
is(truth($t, 'm')->{amount}, undef, 'and 5 is not true any more');
is(amount_of('m', sale_amount => '60', amount => '6.00', currency => 'EUR'),
   '600 EUR', 'mended');
is(amount_of('m', sale_amount => '-1', amount => '7.00', currency => 'EUR'),
   'sale_amount="-1" is negative', 'each for itself');
is(truth($t, 'm')->{amount}, 700, 'the other is read');
is(truth($t, 'm')->{sale_amount}, undef, 'and this is not known any more');
is(amount_of('m', sale_amount => '80', currency => 'EUR'), '700 EUR',
   'until it is told');
is(amount_of('m', amount => '7', currency => 'USD'), '700 USD',
   'another currency');
is(truth($t, 'm')->{sale_amount}, undef, 'of all that is known');
is(amount_of('m', amount => '9', currency => 'EUR'), '900 EUR', 'and back');
is(truth($t, 'm')->{sale_amount}, 8000, 'as it was');

# currencies that are not named

is(amount_of('c', amount => '5'), '500 EUR', 'that of the programs');
$t->ctl('program create org=acme name=boots side=network network=net '
        . 'currency=USD');
is(amount_of('d', amount => '5'), 'amount="5" has no currency', 'they differ');
tell($t, 'shop', 'e', at => day(41), status => 'sale', sale_amount => '5');
is(truth($t, 'e')->{currency}, 'EUR', 'that of the program');

# words

tell($t, 'net', 'w', at => day(42), status => 'Refund');
is(truth($t, 'w')->{state}, 'reversed', 'words of the preset, as they come');
tell($t, 'net', 'w', at => day(43), status => 'what');
is(truth($t, 'w')->{state_problem}, 'status="what" means nothing here',
   'a word that is none');
is(truth($t, 'w')->{state}, 'reversed', 'changes nothing');
amount_of('u', amount => '5', sale_amount => '50', currency => 'EUR');
amount_of('u', status => 'partial', amount => '2', sale_amount => '20',
          currency => 'EUR');
is(join(' ', map { $_ // '-' } @{ truth($t, 'u') }{qw(state amount
                                                      sale_amount)}),
   'approved 500 5000', 'with amounts either');
is($t->sql("select sum(r.amount) from usher.revenue r
            join usher.conversion c on c.id = r.conversion_id
            where c.transaction_id = 'u'"), 500, 'nor what is earned');
is(truth($t, 'u')->{state_problem}, 'status="partial" means nothing here',
   'but is listed');
$t->sql(q{update usher.postback set statuses = '{"what": "approved"}'
          where name = 'net'});
tell($t, 'net', 'w', at => day(44), status => 'What');
is(truth($t, 'w')->{state}, 'approved', 'until it means something');
is(truth($t, 'w')->{state_problem}, undef, 'and is no problem');

done_testing();
