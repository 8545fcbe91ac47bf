# Imports of cost, revenue and rates: again and again the same, all or nothing,
# what is wrong named by line and column; sums of several currencies.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl("org create name=$_") for qw(acme beta cent);


sub import_of {
    my ($noun, $csv, @args) = @_;

    return $t->ctl($noun, 'import', @args, 'csv=@' . $t->write_file('x.csv', $csv));
}


sub counts { join ' ', map { $_[0]{$_} } qw(added unchanged changed) }

sub fails {
    my ($noun, $csv, @args) = @_;

    return $t->ctl_fails($noun, 'import', @args,
                         'csv=@' . $t->write_file('x.csv', $csv));
}


my @ads = ('org=acme', 'source=ads');

for my $noun (qw(cost revenue)) {
    my $csv = "day,amount,currency,id,campaign,product,link,sub_id,country\n"
            . "2026-03-02,12.34,EUR,a1,spring,book,go,s-1,DE\n"
            . "2026-03-03,1000,JPY,a2,\"spring, late\",,,,\n"
            . "2026-03-06,-0.05,USD,a3,,,,,\n";

    is(counts(import_of($noun, $csv, @ads)), '3 0 0', "$noun: added");
    is(counts(import_of($noun, $csv, @ads)), '0 3 0', 'again: unchanged');
    $csv =~ s/12\.34/12.35/;
    is(counts(import_of($noun, $csv, @ads)), '0 2 1', 'one is changed');
    is(counts(import_of($noun, $csv, 'org=acme', 'source=other')), '3 0 0',
       'ids are of their source');
    is(counts(import_of($noun, $csv, 'org=beta', 'source=ads')), '3 0 0',
       'and of their org');

    my @list = @{ $t->ctl("$noun list org=acme source=ads") };
    is(join(' ', map { "$_->{day} $_->{amount} $_->{currency} $_->{id}" } @list),
       '2026-03-06 -0.05 USD a3 2026-03-03 1000 JPY a2 2026-03-02 12.35 EUR a1',
       'the newest first');
    is(join(' ', map { $list[2]{$_} } qw(org campaign product link sub_id country source)),
       'acme spring book go s-1 DE ads', 'with all that it belongs to');
    ok($list[2]{changed} && !$list[1]{changed}, 'what was changed says so');
    is(join(' ', map { $_->{id} } @{ $t->ctl("$noun list org=acme source=ads $_->[0]") }),
       $_->[1], $_->[0])
        for [ 'from=2026-03-03', 'a3 a2' ], [ 'to=2026-03-03', 'a1' ],
            [ 'campaign=spring', 'a1' ], [ 'limit=1', 'a3' ];

    # without an id a line is its day and what it belongs to

    my $plain = "day,amount,currency,campaign\n2026-04-01,1,EUR,x\n2026-04-01,2,EUR,\n";
    is(counts(import_of($noun, $plain, @ads)), '2 0 0', 'without ids');
    is(counts(import_of($noun, $plain =~ s/,2,/,3,/r, @ads)), '0 1 1',
       'the amount may change');
    $plain =~ s/,2,/,3,/;
    is(counts(import_of($noun, $plain =~ s/,x/,y/r, @ads)), '1 1 0',
       'of another campaign it is another');

    # all or nothing

    my $there = $t->sql("select count(*) from usher.$noun");
    my $head = "id,day,amount,currency,country,campaign\nn1,2026-05-01,1,EUR,DE,x\n";

    for my $case (
        [ 'n2,2026-05-32,1,EUR,DE,x', 'line 3: day="2026-05-32" cannot be' ],
        [ 'n2,,1,EUR,DE,x', 'line 3: day is empty' ],
        [ 'n2,2026-05-01,"1,5",EUR,DE,x', 'line 3: amount="1,5" cannot be' ],
        [ 'n2,2026-05-01,1.005,EUR,DE,x', 'line 3: amount="1.005".*EUR has 2 decimals' ],
        [ 'n2,2026-05-01,1,EURO,DE,x', 'line 3: currency="EURO".*usherctl currency list' ],
        [ 'n2,2026-05-01,1,EUR,Germany,x', 'line 3: country="Germany".*ISO 3166' ],
        [ 'n2,2026-05-01,1,EUR,DE,' . 'x' x 201, 'line 3: campaign="x{60}".*200 char' ],
        [ 'x' x 201 . ',2026-05-01,1,EUR,DE,x', 'line 3: id="x{60}".*200 char' ],
        [ 'n1,2026-05-02,2,EUR,DE,y', 'line 3 is the same as line 2.*column id' ],
        [ 'n2,2026-05-01,1,EUR', 'line 3 has 4 cells' ],
    ) {
        like(fails($noun, "$head$case->[0]\n", @ads), qr/^usherctl: csv= $case->[1]/s,
             "not $case->[1]" =~ s/\.\*.*//r);
    }

    is($t->sql("select count(*) from usher.$noun"), $there, 'nothing was added');
    like(fails($noun, $head, 'org=acme', 'source=My Ads'), qr/source="My Ads" cannot be/,
         'a source is a name');

    # dropped

    is($t->ctl("$noun drop org=acme source=other id=a1")->{dropped}, 1, 'one of them');
    is($t->ctl("$noun drop org=acme source=other")->{dropped}, 2, 'the others');
    is(scalar @{ $t->ctl("$noun list org=beta") }, 3, 'and none of another org');
    like($t->ctl_fails("$noun drop org=acme source=other"),
         qr/no such $noun of source "other".*usherctl $noun list/s, 'once');
}

is(join(' ', map { $_->[0] } $t->rows(
       "select arguments->>'changed' from usher.audit where function = 'cost_import'
        order by id limit 3")), '0 0 1', 'audit rows say what came of it');
is($t->sql("select count(*) from usher.audit where arguments::text ~ '12.3'"), 0,
   'and do not hold the file');

# rates: a table of the ECB as it is, columns of old and a last comma included

my $ecb = "Date,USD,JPY,CYP,CHF,\n2026-03-03,1.2000,160.5,N/A,0.9500,\n"
        . "2026-03-02,1.2500,160,N/A,N/A,\n";
my $told = import_of('fx', $ecb);
is(counts($told), '5 0 0', 'of the ECB');
is("$told->{skipped} $told->{from} $told->{to}", 'CYP 2026-03-02 2026-03-03',
   'and what was left out');
is(counts(import_of('fx', $ecb)), '0 5 0', 'again: unchanged');
is(counts(import_of('fx', $ecb =~ s/1\.2500/1.26/r)), '0 4 1', 'corrected');
is(join(' ', map { "$_->{base} $_->{quote} $_->{rate}" }
             @{ $t->ctl('fx list to=2026-03-03') }), 'EUR JPY 160 EUR USD 1.26',
   'as they are stored');

my $head = "day,base,quote,rate\n2026-03-04,EUR,USD,1.1\n";

for my $case (
    [ '2026-03-04,EUR,XAU,1', 'line 3: quote="XAU"' ],
    [ '2026-03-04,EUR,EUR,1', 'line 3: quote="EUR"' ],
    [ '2026-03-04,USD,EUR,0.0', 'line 3: rate="0.0"' ],
    [ '2026-03-04,USD,EUR,-1', 'line 3: rate="-1"' ],
    [ '2026-03-04,USD,EUR,', 'line 3: rate is empty' ],
    [ 'x,USD,EUR,1', 'line 3: day="x"' ],
    [ '2026-03-04,EUR,USD,1.2', 'line 3: EUR to USD on 2026-03-04 is on line 2' ],
) {
    like(fails('fx', "$head$case->[0]\n"), qr/^usherctl: csv= $case->[1].*hint: /s,
         "not $case->[0]");
}

like(fails('fx', "Date,USD\n2026-03-04,x\n"), qr/csv= line 2: USD="x" cannot be/,
     'nor in the table of the ECB');
is($t->sql('select count(*) from usher.fx'), 5, 'nothing was added');

# sums: 3 EUR of April, by rates of the day; 7 days are too far from March

like($t->ctl_fails('cost total org=acme currency=USD'),
     qr/no rate from EUR to USD on 2026-04-01/, 'no sum without a rate');
is_deeply($t->ctl('cost total org=acme to=2026-04-01'),
          { amount => '18.54', currency => 'EUR', rows => 3 },
          '12.35 + 1000 / 160.5 - 0.05 / 1.2');
is($t->ctl('cost total org=acme to=2026-04-01 currency=JPY')->{amount}, '2969',
   'in yen: 1976 + 1000 - 6.6875, rounded once');
import_of('cost', "day,amount,currency\n2026-03-02,0.02,USD\n2026-03-03,0.02,USD\n",
          'org=cent', 'source=ads');
is($t->ctl('cost total org=cent')->{amount}, '0.03', '1.587 and 1.667 cents are 3');
is($t->ctl('revenue total org=beta from=2027-01-01')->{amount}, '0.00', 'of nothing');
like($t->ctl_fails('cost total currency=EURO'), qr/currency="EURO" cannot be/,
     'in what is a currency');

done_testing();
