# Answers that say how to draw them: bars below the table, and a PNG where
# there is gnuplot.

use lib 't/lib';
use Usher::Test;

use Encode 'decode';
use JSON::PP;

my $t = Usher::Test->new;

$t->postgres;
$t->sql(q{
    set role usher_owner;
    create function api.echo_show(value jsonb) returns jsonb
    language sql stable as 'select value';
    create function api.echo_set(value jsonb) returns jsonb
    language sql as 'select value';
    reset role });

sub answer {
    my @rows = @_;

    return encode_json({
        gross => 5, days => [ map { { day => $_->[0], net => $_->[1],
                                      gross => $_->[2] } } @rows ],
        chart => { rows => 'days', label => 'day', bars => [ qw(net gross) ] }
    });
}

my $answer = answer([ 'mon', 40, 80 ], [ 'tuesday', 10, 10 ], [ '', 0, 0 ],
                    [ "a\e[2Jb", 80, 80 ]);

sub ctl {
    my ($code, $out, $err) = $t->ctl_run(@_);

    return ($code, decode('UTF-8', $out), $err);
}

# bars

my ($code, $out) = ctl('--table', 'echo', 'show', "value=$answer");
my @line = grep { / [\x{2588}\x{2591}]|^-/ } split /\n/, $out;

is($code, 0, 'bars');
is($line[0], "day \x{2588} net \x{2591} of gross", 'what they are');
is($line[1], 'mon       ' . "\x{2588}" x 34 . "\x{2591}" x 34, 'a part');
is($line[2], 'tuesday   ' . "\x{2588}" x 9, 'all of it');
is($line[3], '-         ', 'nothing');
is($line[4], 'a\x1b[2Jb ' . "\x{2588}" x 68, 'controls are shown');
unlike($out, qr/chart/, 'not how it is drawn');
is((ctl('--json', 'echo', 'show', "value=$answer"))[1] =~ /"chart"/, 1,
   'which is for programs');
unlike((ctl('--table', 'echo', 'show', 'value={"chart": 5, "a": [1]}'))[1],
       qr/\x{2588}/, 'nor what is nothing of the sort');

# bars beside each other, of amounts

my $money = encode_json({ rows => [ map { { link => $_->[0], cost => $_->[1],
                                            revenue => $_->[2] } }
    [ 'a', '0.50', '1.00' ], [ 'bc', '0.75', '-0.25' ], [ 'd', undef, '0.00' ] ],
    chart => { rows => 'rows', label => 'link', bars => [ qw(cost revenue) ],
               beside => JSON::PP::true } });

@line = split /\n/, (ctl('--table', 'echo', 'show', "value=$money"))[1];
@line = @line[-7 .. -1];

is($line[0], "link \x{2588} cost \x{2591} revenue", 'what they are');
is($line[1], 'a  ' . "\x{2588}" x 38, 'half of the most');
is($line[2], '   ' . "\x{2591}" x 75, 'which is as wide as there is room');
is($line[3], 'bc ' . "\x{2588}" x 56, 'of another');
is($line[4], '   ' . '-' x 19, 'below 0');
is("$line[5]$line[6]", 'd     ', 'what is not known, and nothing');

my $tty = do {
    local %ENV = (%ENV, %{ $t->san_env },
                  USHER_DATABASE => $t->dsn('usherctl'));
    my $run = $t->dir . "/bin/usherctl echo show value=@" . $t->write_file(
        'answer', $answer);
    decode('UTF-8', scalar `script -qec "stty cols 40; $run" /dev/null \\
                            < /dev/null`);
};

like($tty, qr/^a\\x1b\[2Jb \x{2588}{28}\r?$/m, 'on a terminal, as wide as it');

# a PNG

my $png = $t->dir . '/a "b" \\n.png';

{
    mkdir $t->dir . '/none';
    local $ENV{PATH} = $t->dir . '/none';
    my ($code, undef, $err) = do {
        open my $fh, '-|', '/bin/sh', '-c', 'exec "$@" 2>"$0"',
            $t->dir . '/err', $t->dir . '/bin/usherctl', '--database',
            $t->dsn('usherctl'), '--png', $png, 'echo', 'show',
            "value=$answer" or die;
        1 while <$fh>;
        close $fh;
        ($? >> 8, '', $t->slurp($t->dir . '/err'));
    };

    is($code, 1, 'without gnuplot');
    like($err, qr/needs gnuplot.*\nhint: Install gnuplot-nox/, 'which is said');
    ok(!-e $png, 'and nothing is written');
}

($code, undef, my $err) = ctl('--png', $png, 'echo', 'set', "value=$answer");
is($code, 2, 'what changes something is not called');
like($err, qr/not for what changes/, 'and why');
($code, undef, $err) = ctl('--png', $png, 'echo', 'show', 'value={"a": 1}');
is($code, 2, 'nothing to draw');
($code, undef, $err) = ctl('--png', $png, 'echo', 'show', 'value=' . answer());
is($code, 1, 'no rows');
like($err, qr/nothing of that time to draw/, 'and why');
is((ctl('--png'))[0], 2, 'no file');

SKIP: {
    skip 'gnuplot is not here (util/install ci)', 7
        unless grep { -x "$_/gnuplot" } split /:/, $ENV{PATH};

    my $trap = answer([ '`touch ' . $t->dir . '/trap`', 1, 2 ],
                      [ "x\nend_of_data\nsystem 'touch " . $t->dir
                        . "/trap'\n", 1, 1 ], [ '"\\', 1, 1 ]);

    ($code, undef, $err) = ctl('--png', $png, 'echo', 'show', "value=$answer");
    is($code, 0, 'with gnuplot') or diag($err);
    is(substr($t->slurp($png), 0, 8), "\x89PNG\r\n\x1a\n", 'a PNG');
    is((ctl('--png', "$png.2", 'echo', 'show', "value=$money"))[0], 0,
       'amounts');
    is(substr($t->slurp("$png.2"), 0, 8), "\x89PNG\r\n\x1a\n", 'are a PNG');
    is((ctl('--png', $png, 'echo', 'show', "value=$trap"))[0], 0, 'a label');
    ok(!-e $t->dir . '/trap', 'is no command');
    is((ctl('--png', '/no/such/dir/x.png', 'echo', 'show',
            "value=$answer"))[0], 1, 'a file that cannot be');
}

done_testing();
