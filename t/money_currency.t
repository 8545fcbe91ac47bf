# Currencies, and amounts as people write them: the decimals of each, nothing
# rounded unless it is said, nothing beyond what is stored.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

# the decimals of ISO 4217; every other has two

my %decimals = (
    map({ $_ => 0 } qw(BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF
                       XOF XPF)),
    map({ $_ => 3 } qw(BHD IQD JOD KWD LYD OMR TND)),
    map({ $_ => 4 } qw(CLF UYW)));

my @list = @{ $t->ctl('currency list') };
my %has = map { $_->{currency} => $_->{decimals} } @list;

is(scalar @list, 157, 'the currencies of ISO 4217');
is(join(' ', map { "$_=$has{$_}" } grep { $has{$_} != 2 } sort keys %has),
   join(' ', map { "$_=$decimals{$_}" } sort keys %decimals),
   'those that have not two decimals');
is(join(' ', grep { !$has{$_} } qw(EUR USD GBP CHF XCD XCG SLE ZWG VED VES)), '',
   'old and new ones');
is(join(' ', grep { exists $has{$_} } qw(XAU XXX XTS XDR BOV CHE USN DEM HRK ANG
                                         BGN CUC SLL ZWL eur)), '',
   'no metals, no funds, none that is history');


# What comes of a call: its value, or the message and the hint.

sub value {
    my ($sql, @bind) = @_;

    return eval { $t->sql("select $sql", @bind) } // $t->db->errstr;
}


for my $case (
    [ '12.34', 'EUR', 1234, '12.34' ], [ '12.3', 'EUR', 1230, '12.30' ],
    [ '12.3000', 'EUR', 1230, '12.30' ], [ '-0.05', 'EUR', -5, '-0.05' ],
    [ '0', 'EUR', 0, '0.00' ], [ '1000', 'JPY', 1000, '1000' ],
    [ '-0.001', 'KWD', -1, '-0.001' ], [ '1.2345', 'CLF', 12345, '1.2345' ],
    [ '92233720368547758.07', 'EUR', '9223372036854775807',
      '92233720368547758.07' ],
    [ '-9223372036854775808', 'JPY', '-9223372036854775808',
      '-9223372036854775808' ],
) {
    my ($amount, $currency, $minor, $text) = @$case;

    is(value('usher.money_of(?, ?)', $amount, $currency), $minor,
       "$amount $currency");
    is(value('usher.money_text(?, ?)', $minor, $currency), $text, '... as text');
}

is(value('usher.money_of(12.345, ?, true)', 'EUR'), 1234, 'rounded if it is said');
is(value('usher.money_of(-0.5, ?, true)', 'JPY'), 0, 'half to even');

for my $case (
    [ '12.345', 'EUR', qr/12.345 EUR cannot be.*EUR has 2 decimals/s ],
    [ '0.5', 'JPY', qr/JPY has 0 decimals/ ],
    [ '92233720368547758.08', 'EUR', qr/9223372036854775808.* is out of bounds.*18 digits/s ],
    [ 'NaN', 'EUR', qr/NaN is out of bounds/ ],
    [ 'Infinity', 'EUR', qr/Infinity is out of bounds/ ],
    [ '1', 'EURO', qr/currency="EURO" cannot be.*currency_list/s ],
    [ '1', 'eur', qr/currency="eur" cannot be/ ],
) {
    my ($amount, $currency, $message) = @$case;

    like(value('usher.money_of(?, ?)', $amount, $currency), $message,
         "not $amount $currency");
}

# what the table holds, whoever writes

$t->sql('set role usher_owner');
like(value("1 from (select 1) x where exists (select usher.money_of(1, null))"),
     qr/^1$/, 'no currency, no amount');

for my $row ([ "'EU', 2", 'code' ], [ "'eur', 2", 'code' ], [ "'ABC', 5", 'exponent' ],
             [ "'ABC', -1", 'exponent' ])
{
    eval { $t->sql("insert into usher.currency values ($row->[0], 'x')") };
    like($@, qr/currency_$row->[1]_check/, "no currency $row->[0]");
}

done_testing();
