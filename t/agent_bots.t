#!/usr/bin/perl

# The list that is installed: every sample agent of the package is a bot, and
# no browser is.

use lib 't/lib';
use Usher::Test;
use Usher::Agent;

my $t = Usher::Test->new;

$t->write_file('bots.list', $t->slurp($t->top . '/conf/bots.list'));
$t->nginx(<<"CONF");
    usher_bots file=$t->{dir}/bots.list;

    server {
        listen 127.0.0.1:%%PORT%%;

        location /agent {
            return 200 "\$usher_bot \$usher_device \$usher_bot_tag\\n";
        }
    }
CONF

my @agents = agents($t);
my @said = asked($t, map { "User-Agent: $_" } @agents);

cmp_ok(scalar @agents, '>', 2000, 'samples');
is(scalar @said, scalar @agents, 'as many answers');
is(join("\n", map { $agents[$_] } grep { $said[$_] !~ /^1 bot [a-z-]+$/ }
              0 .. $#said),
   '', 'each of them is a bot, with a tag');

my @browsers = browsers($t);

@said = asked($t, map { "User-Agent: $_->[2]" } @browsers);

cmp_ok(scalar @browsers, '>', 150, 'browsers');
is(scalar @said, scalar @browsers, 'as many answers');
is(join("\n", map { $browsers[$_][2] } grep { $said[$_] !~ /^0 \w+ $/ }
              0 .. $#said),
   '', 'none of them is a bot');

my %tag = (
    'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)'
        => 'search-engine',
    'curl/7.88.1' => 'http-library',
    'facebookexternalhit/1.1' => 'social-preview',
    'Mozilla/5.0 (compatible; GPTBot/1.2; +https://openai.com/gptbot)'
        => 'ai-crawler',
);

for (sort keys %tag) {
    is((asked($t, "User-Agent: $_"))[0], "1 bot $tag{$_}", $_);
}

# who says nothing

is((asked($t, ''))[0], '1 unknown ', 'no User-Agent');
is((asked($t, 'User-Agent:'))[0], '1 unknown ', 'an empty one');
is((asked($t, 'User-Agent:   '))[0], '1 unknown ', 'only spaces');

# what a request may have, and more than nginx lets it

is((asked($t, 'User-Agent: ' . 'x' x 6000 . ' Googlebot/2.1'))[0],
   '1 bot search-engine', 'however far behind');
is((asked($t, "User-Agent: a\xff\x01Googlebot/2.1"))[0],
   '1 bot search-engine', 'among any bytes');

done_testing();
