#!/usr/bin/perl

# What nginx -t says of usher_bots and of a list.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;
my $file = "$t->{dir}/a.list";

$t->write_file('a.list', '');


sub said {
    my ($http) = @_;

    my ($code, $text) = $t->nginx_test("$http\n");

    return $code ? $text : 'accepted';
}

# the directive

like(said("usher_bots $file;"), qr/invalid parameter "\Q$file"/, 'no file=');
like(said('usher_bots file=;'), qr/invalid parameter "file="/, 'no name');
like(said('usher_bots;'), qr/invalid number of arguments/, 'nothing');
like(said("server { usher_bots file=$file; }"), qr/not allowed here/,
     'of a server');
like(said("usher_bots file=$t->{dir}/none;"),
     qr/open\(\) "\Q$t->{dir}\E\/none" failed/, 'no such file');
is(said("usher_bots file=$file; usher_bots file=$file;"), 'accepted',
   'several');

# who asks for bots needs a list

my $server = 'server { listen 127.0.0.1:%%PORT%%; location /';

for my $name ('usher_bot', 'usher_bot_tag') {
    like(said("$server { return 200 \$$name; } }"),
         qr/"\$$name" requires "usher_bots"/, "$name without a list");
    is(said("usher_bots file=$file; $server { return 200 \$$name; } }"),
       'accepted', 'with one');
}

is(said("map \$uri \$usher_bottle { default 1; } "
        . "$server { return 200 \$usher_bottle; } }"),
   'accepted', 'nor what somebody else calls so');

is(said("$server { return 200 \$usher_device\$usher_os; } }"), 'accepted',
   'device and system need none');

# lists: the third line is wrong

for (
    ['word a b', 'unknown kind of entry "word"'],
    ['literal', 'an entry needs a kind, a tag and a text'],
    ['literal a', 'an entry needs a kind, a tag and a text'],
    ['literal a ""', 'an entry has an empty text'],
    ['literal "" b', 'invalid tag ""'],
    ['literal A b', 'invalid tag "A"'],
    ['literal "a b" b', 'invalid tag "a b"'],
    ['literal ' . 'a' x 33 . ' b', 'invalid tag "a{33}": 1 to 32'],
    ['literal a b c', 'invalid parameter "c"'],
    ['prefix a b with=b', 'invalid parameter "with=b"'],
    ['suffix a b with=b', 'invalid parameter "with=b"'],
    ['regex a b word', 'invalid parameter "word"'],
    ['regex a b with=', 'invalid parameter "with="'],
    ['regex a b with=b with=c', 'invalid parameter "with=c"'],
    ['regex a "(b"', 'pcre2?_compile\(\) failed: .*"\(b"'],
    ['regex a ""', 'an entry has an empty text'],
) {
    my ($line, $why) = @$_;

    $t->write_file('a.list', "# a list\nliteral a b;\n$line;\n");
    like(said("usher_bots file=$file;"), qr/\[emerg\] $why.* in \Q$file\E:3$/m,
         $line);
}

# and what is no entry at all

for (
    ['literal a b', 'unexpected end of file, expecting ";"'],
    ['literal a b }', 'unexpected "}"'],
    ['literal a b { }', 'unexpected "{"'],
    ['literal a "b', 'unexpected end of file'],
    ['literal a "b"c;', 'unexpected "c"'],
) {
    my ($line, $why) = @$_;

    $t->write_file('a.list', "$line\n");
    like(said("usher_bots file=$file;"), qr/\Q$why\E.* in \Q$file\E:[12]$/m,
         $line);
}

# how many

$t->write_file('a.list', join '', map { "regex a x$_ with=x;\n" } 1 .. 256);
is(said("usher_bots file=$file;"), 'accepted', 'as many regexes');
$t->write_file('a.list', join '', map { "regex a x$_ with=x;\n" } 1 .. 257);
like(said("usher_bots file=$file;"), qr/more than 256 .* in \Q$file\E:257$/m,
     'and no more');

done_testing();
