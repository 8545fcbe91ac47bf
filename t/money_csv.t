# CSV as the imports take it: quotes, line ends, empty lines; what is wrong is
# named by line and column.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;


# The rows as "line: a b", '-' for an empty cell; or the message and the hint.

sub rows {
    my ($csv) = @_;

    my @rows = eval { $t->rows(q{select line, coalesce(cells->>'a', '-'),
        coalesce(cells->>'b', '-') from usher.csv_rows($1, '{a}', '{b}')}, $csv) };

    return $@ ? $t->db->errstr : join "\n", map { "$_->[0]: $_->[1] $_->[2]" } @rows;
}


for my $case (
    [ "a,b\n1,2\n", '2: 1 2', 'a row' ],
    [ "a,b\n1,2", '2: 1 2', 'without a last line end' ],
    [ "a,b\r\n1,2\r\n", '2: 1 2', 'lines of Windows' ],
    [ "\x{feff}a,b\n1,2\n", '2: 1 2', 'a byte order mark' ],
    [ "b,a\n1,2\n", '2: 2 1', 'columns in any order' ],
    [ "A, b \n 1 ,\t2\n", '2: 1 2', 'blanks and capitals' ],
    [ "a\n1\n", '2: 1 -', 'a column that may be left out' ],
    [ "a,b,\n1,2,\n", '2: 1 2', 'a last comma' ],
    [ "a,b\n\n1,2\n  \n,,\n3,4\n\n", "3: 1 2\n6: 3 4", 'empty lines' ],
    [ "a,b\n,2\n", '2: - 2', 'an empty cell' ],
    [ qq{a,b\n"1,5","say ""x"""\n}, '2: 1,5 say "x"', 'quotes' ],
    [ qq{a,b\n"1\n2",3\n4,5\n}, "2: 1\n2 3\n4: 4 5", 'a cell of two lines' ],
    [ qq{"a","b"\n"","2"\n}, '2: - 2', 'quotes around nothing' ],
    [ qq{a,b\n "1" , "2" \n}, '2: 1 2', 'blanks around quotes' ],
    [ "a,b\nü,日本\n", '2: ü 日本', 'text of all sorts' ],
    [ '', qr/csv= is empty.*first line names the columns: a; it may also have b\./s,
      'nothing' ],
    [ "\n\n", qr/csv= is empty/, 'empty lines only' ],
    [ "b\n1\n", qr/csv= has no column "a"/, 'without a column that is needed' ],
    [ "a,c\n1,2\n", qr/csv= has a column "c"/, 'an unknown column' ],
    [ "a,b,a\n1,2,3\n", qr/csv= has column "a" twice/, 'a column twice' ],
    [ "a,b\n1,2\n3\n", qr/csv= line 3 has 1 cells, the first line has 2/,
      'a cell less' ],
    [ "a,b\n1,2,3\n", qr/csv= line 2 has 3 cells/, 'a cell more' ],
    [ "a;b\n1;2\n", qr/csv= has no column "a"/, 'semicolons' ],
    [ qq{a,b\n1,2\n1,x"y"\n}, qr/csv= line 3: a quote is out of place/,
      'a quote within' ],
    [ qq{a,b\n1,"2\n3,4\n}, qr/csv= line 2: a quote is out of place/,
      'a quote that does not end' ],
    [ qq{a,b\n1,"2"x\n}, qr/csv= line 2: a quote is out of place/,
      'text behind a quote' ],
) {
    my ($csv, $want, $name) = @$case;

    utf8::decode($csv) unless $csv =~ /\x{feff}/;
    utf8::decode($want) unless ref $want;
    ref $want ? like(rows($csv), $want, $name) : is(rows($csv), $want, $name);
}


# cells: what they are read as, or why not

sub cell {
    my ($call, @bind) = @_;

    return eval { $t->sql("select usher.csv_$call", @bind) } // $t->db->errstr;
}


for my $day (qw(2026-01-31 2024-02-29 1999-12-31 2199-01-01)) {
    is(cell("day(7, 'day', ?)", $day), $day, "the day $day");
}

for my $day (qw(2026-02-29 2026-13-01 2026-00-10 2026-01-32 2026-01-00 26-01-01
                01.02.2026 2026-1-2 20260102 today infinity 1026-01-01), undef, '')
{
    like(cell("day(7, 'day', ?)", $day), qr/line 7: day.*2026-11-28/s,
         'no day: ' . ($day // 'nothing'));
}

for my $case ([ '12.34', 'EUR', 1234 ], [ '+1', 'EUR', 100 ], [ '-0.05', 'EUR', -5 ],
              [ '007', 'JPY', 7 ], [ '1.50', 'EUR', 150 ], [ '1.000', 'JPY', 1 ],
              [ '0', 'EUR', 0 ], [ '9999999999999999.99', 'EUR', '999999999999999999' ])
{
    is(cell("amount(7, 'amount', ?, ?)", @$case[0, 1]), $case->[2],
       "the amount $case->[0] $case->[1]");
}

for my $case ([ '12,34', 'EUR', 'a point' ], [ '1 000', 'EUR', 'no blanks' ],
              [ '1e3', 'EUR', 'a point' ], [ '.5', 'EUR', 'a point' ],
              [ '5.', 'EUR', 'a point' ], [ 'NaN', 'EUR', 'a point' ],
              [ '', 'EUR', 'a point' ], [ undef, 'EUR', 'a point' ],
              [ '0x10', 'EUR', 'a point' ], [ '12.345', 'EUR', '2 decimals' ],
              [ '1.5', 'JPY', '0 decimals' ],
              [ '10000000000000000', 'EUR', '18 digits' ],
              [ '-' . '9' x 30, 'EUR', 'a point' ])
{
    like(cell("amount(7, 'amount', ?, ?)", @$case[0, 1]),
         qr/csv= line 7: amount.*$case->[2]/s, 'no amount: ' . ($case->[0] // 'nothing'));
}

done_testing();
