# Tables for people: aligned by width, nothing dangerous reaches a terminal.

use lib 't/lib';
use Usher::Test;

use Encode qw(decode);


my $t = Usher::Test->new;

$t->postgres;
$t->sql(q{
    set role usher_owner;
    create function api.echo_show(value jsonb) returns jsonb
    language sql as 'select value';
    reset role });


sub table {
    my ($json, @options) = @_;

    my ($code, $out, $err) = $t->ctl_run('--table', 'echo', 'show',
                                         "value=$json", @options);
    is($code, 0, 'a table') or diag($err);

    return decode('UTF-8', $out);
}


is(table('[{"id": 1, "name": "a", "n": 10}, {"id": 22, "name": "bcd", "n": 9}]'),
   "id  name   n\n 1  a     10\n22  bcd    9\n",
   'numbers to the right, texts to the left, ids first');

my $wide = table('[{"id": 1, "x": "Gr\u00f6\u00dfe", "z": "|"},
                   {"id": 2, "x": "\u65e5\u672c", "z": "|"},
                   {"id": 3, "x": "e\u0301x", "z": "|"},
                   {"id": 4, "x": "abcde", "z": "|"}]');
my @lines = split /\n/, $wide;


# Columns by Unicode's own tables, not by wcwidth.

sub width {
    my $n = 0;

    for my $c (split //, shift) {
        $n += $c =~ /\p{Mn}/ ? 0 : $c =~ /\p{East_Asian_Width: Wide}/ ? 2 : 1;
    }

    return $n;
}


is(join(' ', map { width(/^(.*)\|$/) } @lines[1 .. 4]), '11 11 11 11',
   'aligned by width, not by bytes');

my $sparse = table('[{"a": 1, "b": null, "c": ""}, {"a": 2, "d": true}]');
like($sparse, qr/^a  d/, 'columns that are empty everywhere are left out');
unlike($sparse, qr/null|[bc]/, 'null is nothing');

is(table('[{"at": "2026-11-20T11:56:57.751654+00:00"}]'),
   "at\n2026-11-20 11:56:57\n", 'moments as people write them');
is(table('[{"at": "2026-11-20T11:56:57.7x+00:00"}]'),
   "at\n2026-11-20T11:56:57.7x+00:00\n", 'but only moments');

for my $case ([ '\u001b[31mred', '\x1b[31mred', 'an escape' ],
              [ 'a\nb\tc', 'a\x0ab\x09c', 'lines and tabs' ],
              [ '\u009bx', '\xc2\x9bx', 'a C1 control' ],
              [ 'a\u202eb', 'a\xe2\x80\xaeb', 'the direction of writing' ],
              [ '\u007f', '\x7f', 'DEL' ])
{
    is(table(qq([{"a": "$case->[0]"}])), "a\n$case->[1]\n",
       "$case->[2] is shown, not sent");
    is(table(qq({"a": "$case->[0]"})), "a  $case->[1]\n", '... in objects');
}

is(table(qq([{"x\\u001by": 1}])), "x\\x1by\n     1\n", '... in names');

is(table('{"ok": true, "list": [{"id": 1}, {"id": 2}], "n": [1, 2],
           "o": {"p": "q", "r": 1}}'),
   "ok  true\nn   1, 2\no   p q r 1\n\nlist:\nid\n 1\n 2\n",
   'an object: values, and tables below');
is(table('[]'), "(none)\n", 'nothing');
is(table('"text"'), "text\n", 'a text');
is(table('17'), "17\n", 'a number');
is(table('9223372036854775807'), "9223372036854775807\n", 'a large one');
is(table('[1, 2]'), "1, 2\n", 'a list');
is(table('{}'), '', 'an empty object');
is(table('[{}]'), "", 'empty rows');
is(table('null'), "\n", 'null');

my $many = JSON::PP->new->encode([ { map { ("c$_", $_) } 1 .. 100 } ]);
like(table($many), qr/^c1 /, 'more columns than there can be');

# on a terminal: its width, and tables by default; script(1) makes one

SKIP: {
    skip 'no terminal to be had', 4
        if system('script -qec true /dev/null < /dev/null > /dev/null 2>&1');

    local %ENV = (%ENV, %{ $t->san_env },
                  USHER_DATABASE => $t->dsn('usherctl'));
    my $ctl = $t->dir . '/bin/usherctl';
    my $file = $t->write_file('value', JSON::PP->new->ascii->encode(
        [ { id => 1, x => chr(0xfc) x 100, y => 'end' } ]));

    my $run = "$ctl echo show value=\@$file";
    my $shown = decode('UTF-8', scalar
        `script -qec "stty cols 40; $run" /dev/null < /dev/null`);
    $shown =~ s/\r//g;

    my @rows = split /\n/, $shown;
    is(scalar @rows, 2, 'a table by default') or diag($shown);
    ok(!grep({ width($_) > 40 } @rows), 'not wider than the terminal');
    like($rows[1], qr/\x{fc}\x{2026}  end$/, 'the longest column is cut');

    $shown = `script -qec "$ctl --json org list" /dev/null < /dev/null`;
    like($shown, qr/^\[\]\s*$/, 'JSON where it is asked for');
}

done_testing();
