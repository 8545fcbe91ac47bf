# Random bytes through the encoder into PostgreSQL: no row fails, and what
# arrives is what a reader of the Unicode standard would have made of it.

use lib 't/lib';
use Usher::Test;


my $tail = '[\x80-\xbf]';

# well-formed UTF-8 without NUL, and the longest beginnings of such

my $whole = qr{
    [\x01-\x7f] | [\xc2-\xdf] $tail | \xe0 [\xa0-\xbf] $tail
    | [\xe1-\xec\xee\xef] $tail{2} | \xed [\x80-\x9f] $tail
    | \xf0 [\x90-\xbf] $tail{2} | [\xf1-\xf3] $tail{3}
    | \xf4 [\x80-\x8f] $tail{2}
}x;

my $part = qr{
    \xe0 [\xa0-\xbf] | [\xe1-\xec\xee\xef] $tail | \xed [\x80-\x9f]
    | \xf0 [\x90-\xbf] $tail? | [\xf1-\xf3] $tail{1,2}
    | \xf4 [\x80-\x8f] $tail? | .
}xs;


my $t = Usher::Test->new;
$t->postgres;

my $seed = $ENV{USHER_SEED} // time;
note("USHER_SEED=$seed");
srand $seed;

my (@in, $stream);
my @pieces = ("\\", "\\.", "\\N", "\t", "\n", "\r\n", "\0", "\b\f\x0b",
              "plain text of some length ", "\xc3\xbc", "\xe2\x82\xac",
              "\xf0\x9f\x98\x80", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90",
              "\xe2\x82", "\xff", "\\x41", "\\101", "\x7f", "\x1f");

for my $n (0 .. 9999) {
    my $text = '';

    while (rand() > 0.12) {
        $text .= rand() < 0.6 ? $pieces[rand @pieces]
                              : pack 'C*', map { int rand 256 } 1 .. rand 9;
    }

    my $limit = int rand($n % 2 ? 300 : 24);
    my $msec = int rand 253402300800000;

    push @in, { text => $text, limit => $limit, msec => $msec };
    $stream .= pack('LLq', $limit, length $text, $msec) . $text;
}

$t->write_file('in', $stream);

my $lines = `$t->{build}/encode < $t->{dir}/in`;
is($?, 0, 'the encoder ran');
ok(utf8::decode($lines), 'and wrote UTF-8');

my $db = $t->db;
$db->do('create table fuzz (n int, text text, data bytea, at timestamptz,'
        . ' flags int)');
$db->do('copy fuzz from stdin');
$db->pg_putcopydata($lines);
ok(eval { $db->pg_putcopyend }, 'COPY takes every row') or diag($@);

my $rows = $db->selectall_arrayref("
    select n, convert_to(text, 'UTF8') as text, data,
           (extract(epoch from at) * 1000)::bigint as msec, flags
    from fuzz order by n", { Slice => {} });

is(scalar @$rows, scalar @in, 'as many rows as events');

my %bad = map { $_ => 0 } qw(data time text flags);

for my $row (@$rows) {
    my $in = $in[$row->{n}];
    my ($text, $flags) = mended($in->{text}, $in->{limit});

    $bad{data}++ if $row->{data} ne $in->{text};
    $bad{time}++ if $row->{msec} != $in->{msec};
    $bad{flags}++ if $row->{flags} != $flags;

    if ($row->{text} ne $text) {
        diag(map { unpack('H*', $_) . "\n" } $in->{text}, $text, $row->{text})
            unless $bad{text}++;
    }
}

is($bad{$_}, 0, "$_ as sent") for sort keys %bad;

diag("USHER_SEED=$seed") unless Test::More->builder->is_passing;
done_testing();


sub mended {
    my ($in, $limit) = @_;

    my ($out, $flags) = ('', 0);

    while ($in =~ /\G(?:($whole)|$part)/gs) {
        my $char = $1 // "\xef\xbf\xbd";

        return ($out, $flags | 2) if length($out) + length($char) > $limit;

        $flags |= 1 unless defined $1;
        $out .= $char;
    }

    return ($out, $flags);
}
