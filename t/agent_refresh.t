#!/usr/bin/perl

# util/bots: what becomes of a pattern, what it refuses, and --check.

use v5.36;

use File::Path qw(make_path);
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;

my $dir = tempdir('/tmp/usher-test-XXXXXX', CLEANUP => 1);

make_path("$dir/package", "$dir/conf", "$dir/t/data");


sub spew ($path, $text) {
    open my $file, '>', "$dir/$path" or die "$path: $!\n";
    print $file $text;
    close $file or die "$path: $!\n";
}


sub slurp ($path) {
    open my $file, '<', $path or die "$path: $!\n";
    local $/;
    return scalar <$file>;
}


# A package of these patterns, each with its sample: the code, and what is said.

sub made ($license, %sample) {
    my @entries = map { { pattern => $_, tags => ['seo', 'other'],
                          instances => [$sample{$_}] } } sort keys %sample;

    spew('package/package.json',
         encode_json({ version => '9.9.9', license => $license }));
    spew('package/LICENSE', "Whoever may.\n\n  As it is.\n");
    spew('package/crawler-user-agents.json', encode_json(\@entries));

    my $said = `util/bots --from $dir/package --into $dir 2>&1`;

    return ($? >> 8, $said);
}


sub lines ($path) { return grep { !/^(#|$)/ } split /\n/, slurp("$dir/$path") }

my ($code, $said) = made('MIT',
    'Plain\/' => 'Plain/1', '[wW]get' => 'Wget', '^curl' => 'curl/8',
    'Labs$' => 'SSL Labs', '(^| )PT\/' => 'x PT/1', 'A(b|cc)[de]' => 'Accd',
    'Uno|Two\.' => 'Two.', '^all of it$' => 'all of it',
    'Some\d+ longer[\s\S]*(x|y)' => 'Some1 longer y',
    'Optional?s' => 'Optionals',
    '[a-z]{3}bot' => 'abcbot', 'be"hind\\\\' => 'be"hind\\',
    'AP3A\.240617\.008' => 'Android AP3A.240617.008', 'Viber' => 'Viber');

is($code, 0, 'a list is made') or diag($said);
like($said, qr{^/Fluid/ is in %instead, and not in the package$}m,
     'what the package has no more is said');

is_deeply([lines('conf/bots.list')], [split /\n/, <<'END'], 'its lines');
literal seo                " PT/";
literal seo                "Abd";
literal seo                "Abe";
literal seo                "Accd";
literal seo                "Acce";
literal seo                "Plain/";
literal seo                "Two.";
literal seo                "Uno";
literal seo                "Wget";
literal seo                "be\"hind\\";
literal seo                "wget";
prefix  seo                "PT/";
prefix  seo                "Viber";
prefix  seo                "curl";
regex   seo                "Optional?s" "with=Optiona";
regex   seo                "Some\d+ longer[\s\S]*(x|y)" "with= longer";
regex   seo                "[a-z]{3}bot";
regex   seo                "^all of it$" "with=all of it";
suffix  seo                "Labs";
END

my $list = slurp("$dir/conf/bots.list");

like($list, qr/package crawler-user-agents 9\.9\.9:\n#\n# Whoever may\.\n/,
     'its version and licence');
unlike($list, qr/ $/m, 'no line ends with a space');
is(scalar(lines('t/data/agents-bots.txt')), 13,
   'samples but of what was left out');
unlike(slurp("$dir/t/data/agents-bots.txt"), qr/AP3A/, 'which is not there');

made('MIT', 'Plain\/' => 'Plain/1');
made('MIT', 'Plain\/' => 'Plain/1');
is(scalar(lines('conf/bots.list')), 1, 'made again, nothing is left');

# refused, and nothing written

my $before = slurp("$dir/conf/bots.list");

for (
    ['a browser as bot', 'MIT', { 'Firefox' => 'Firefox' },
     qr/^a browser by literal "Firefox": Mozilla/m],
    ['a sample that is none', 'MIT', { 'abc' => 'abd' }, qr/^not found: abd$/m],
    ['another licence', 'GPL', { 'abc' => 'abc' }, qr/licence is GPL/],
    ['a pattern of other letters', 'MIT', { "ab\xe9" => "ab\xe9" },
     qr/what is/],
) {
    my ($what, $license, $patterns, $why) = @$_;

    ($code, $said) = made($license, %$patterns);
    isnt($code, 0, $what);
    like($said, $why, 'is refused');
}

is(slurp("$dir/conf/bots.list"), $before, 'the list is as it was');

# --check

is(system('util/bots --check conf/bots.list'), 0, 'the list that is installed');

spew('bad.list', <<'END');
literal seo "good";
literal seo good2; # by itself
word seo "bad";
literal SEO "bad";
literal seo "good";
regex seo "(bad";
prefix seo "bad" with=x;
literal seo "bad"
END

$said = `util/bots --check $dir/bad.list 2>&1`;
is($? >> 8, 1, 'a bad one');
is(join(' ', $said =~ /^\Q$dir\E\/bad.list:(\d+): /mg), '3 4 5 6 7 8',
   'line by line');

spew('bad.list', "literal seo Chrome;\n");
$said = `util/bots --check $dir/bad.list 2>&1`;
is($? >> 8, 1, 'one that takes browsers for bots');
like($said, qr/^a browser by literal "Chrome"/, 'says so');

`util/bots --check a b 2>&1`;
is($? >> 8, 2, 'called wrongly');

done_testing();
