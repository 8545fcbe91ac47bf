#!/usr/bin/perl

# Entries of a list: where each kind fits, which of several counts, and that a
# reload takes what has changed.

use lib 't/lib';
use Usher::Test;
use Usher::Agent;

my $t = Usher::Test->new;

$t->write_file('one.list', <<'LIST');
# what fits first counts
literal  words  "Two Words";
literal  other  Words;          # comments, as everywhere
prefix   begin  Begin;
suffix   end    end;
literal  two    a; literal three "b;c";
regex    digits "x(\d+)y"       with=x;
regex    any    "^q[^q]*q$";
regex    back   "(.)#\1"        with=#;
regex    waits  "^never"         "with=its word";
literal  wanted Roku;
literal  quoted "\"quoted\" \\d \t";
LIST

$t->write_file('two.list', "literal second Second;\nliteral late Words;\n");

my $http = <<"CONF";
    usher_bots file=$t->{dir}/one.list;
    usher_bots file=$t->{dir}/two.list;

    server {
        listen 127.0.0.1:%%PORT%%;

        location /agent {
            return 200 "\$usher_bot \$usher_device \$usher_bot_tag\\n";
        }
    }
CONF

$t->nginx($http);


sub tag {
    my ($said) = asked($t, "User-Agent: $_[0]");

    return $said =~ s/^1 bot //r =~ s/^0 \w+ $/none/r;
}

is(tag('some Two Words here'), 'words', 'literal: anywhere');
is(tag('Words'), 'other', 'literal: all of it');
is(tag('words'), 'none', 'in its case only');
is(tag('Words and Two Words'), 'words', 'the first line counts');
is(tag('Begin with it'), 'begin', 'prefix');
is(tag('no Begin'), 'none', 'and only there');
is(tag('at the end'), 'end', 'suffix');
is(tag('end, not'), 'none', 'and only there');
is(tag('Begin and end'), 'begin', 'both: the first line');
is(tag('a'), 'two', 'two entries on a line');
is(tag('xb;c'), 'three', 'a quoted semicolon');
is(tag('x42y'), 'digits', 'regex');
is(tag('xy x1 1y'), 'none', 'with its word alone it does not fit');
is(tag('qq'), 'any', 'regex without a word');
is(tag('qqq'), 'none', 'which is held to the edges');
is(tag('e#e'), 'back', 'groups are each regex\'s own');
is(tag('Roku/9'), 'wanted', 'a word that tells a device as well');
is(tag("\"quoted\" \\d \t."), 'quoted', 'quotes and backslashes');
is(tag('never'), 'none', 'a regex waits for its word');
is(tag('never its word'), 'waits', 'and is tried with it');
is(tag('x7y a'), 'two', 'a literal comes before a regex');
is(tag('the Second'), 'second', 'of another list');
is(tag('x' x 600 . ' x1y'), 'none', 'a regex sees 512 bytes');
is(tag('z' x 600 . 'Words'), 'other', 'a literal sees all');

# who sends what others sent is what they are, and who does not is not

sub among { '.' x $_[1] . $_[0] . '-' x (90 - $_[1]) }

is((grep { tag(among('Words', $_)) ne 'other'
           || tag(among('Wyrds', 90 - $_)) ne 'none' } (0 .. 90) x 2), 0,
   'each is told by all that it sends');

# another list, which old workers do not know

sub reloaded {
    my %old = map { $_ => 1 } $t->workers;

    $t->reload;
    $t->wait_for(sub { !grep { $old{$_} } $t->workers }, 'a reload');
}

$t->write_file('one.list', "literal fresh Fresh;\n");
reloaded();
is(tag('Fresh'), 'fresh', 'takes what is new');
is(tag('some Two Words here'), 'late', 'and forgets what is not');

$t->expect_alerts(qr/an entry needs/);
$t->write_file('one.list', "literal fresh;\n");
ok(!$t->reload, 'a reload with a bad list fails');
is(tag('Fresh'), 'fresh', 'and changes nothing');

$t->write_file('one.list', '');
reloaded();
is(tag('Fresh'), 'none', 'an empty list has no bots');

done_testing();
