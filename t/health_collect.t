# What is asked: where enabled links lead, each URL once, one of a host at a
# time; never a host of our own.

use lib 't/lib';
use Usher::Test;
use Usher::Health;

my $t = Usher::Test->new;

$t->postgres;
$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'go.example', org => 'acme')");
$t->sql("select api.program_create(org => 'acme', name => 'shop', "
    . "side => 'own', currency => 'EUR')");
$t->sql("select api.campaign_create(org => 'acme', name => 'spring')");

sub call {
    my ($function, %with) = @_;
    my @names = sort keys %with;

    return scalar $t->sql("select api.$function(host => 'go.example', "
        . join(', ', map { "$_ => ?" } @names) . ')', @with{@names});
}

sub urls { join ' ', map { $_->[0] } $t->rows(
    "select replace(url, 'https://', '') from usher.health order by 1") }

my $in = 'https://in.example';

call('link_add', slug => 'one', url => "$in/#top", utm => 'utm_source=x');
call('link_add', slug => 'two', url => "$in/");
call('link_add', slug => 'a/b', program => 'shop', campaign => 'spring',
     url => "$in/{slug}/{program}/{campaign}/{product}?c={click_id}&s={sub1}"
            . '&k={country}&t={time}&d={device}&o={os}&l={lang}'
            . '&r={referrer_host}&p={partner}&n={network}');
call('link_add', slug => 'all', url => "$in/url", fallback => "$in/fallback",
     overflow => "$in/overflow", expires => '2100-01-01');
call('link_target_set', slug => 'all', target => 't', url => "$in/t");
call('link_target_set', slug => 'all', target => 'nobody', weight => 0,
     url => "$in/weight");
call('link_target_set', slug => 'all', target => 'past', ends => '2020-01-01',
     url => "$in/past");
call('link_add', slug => 'ended', url => "$in/ended", expires => '2020-01-01',
     overflow => "$in/over");
call('link_add', slug => 'off', url => "$in/off");
call('link_disable', slug => 'off');
call('link_add', slug => 'ignored', url => "$in/ignored", dead => 'ignore');

collect($t);

is(urls(), join(' ', map { "in.example/$_" } sort '',
    'a%2Fb/shop/spring/?c=health&s=&k=US&t=0&d=desktop&o=windows&l=en&r=&p=&n=',
    'url', 'fallback', 'overflow', 't', 'over'), 'where links may lead');
is($t->sql('select count(*) from usher.health_target'), 8, 'and which');

# what changes is found within the hour, what is new at once

call('link_update', slug => 'all', url => "$in/changed");
collect($t);
unlike(urls(), qr/changed/, 'a change is not looked for all the time');
call('link_add', slug => 'new', url => "$in/new");
collect($t);
like(urls(), qr/new/, 'what is new is');
hours($t, 1.1);
collect($t);
$t->sql('select usher.health_collect()');
like(urls(), qr/changed/, 'an hour later it is');
unlike(urls(), qr/url/, 'and what it was is gone');
$t->sql('delete from usher.link');
hours($t, 1.1);
collect($t) for 1 .. 2;
is(urls(), '', 'nothing is left without links');
is($t->sql('select count(*) from usher.health_host'), 0, 'nor any host');

# one of a host at a time, and one in a second

sub due { join ' ', sort map { $_->[0] =~ s{https://}{}r }
          $t->rows('select url from usher.health_due(?)', $_[0] // 10) }

call('link_add', slug => "$_", url => "https://$_/")
    for qw(one.example/a two.example/a three.example/a one.example/b);
collect($t);

my $first = due();
like($first, qr{^one.example/[ab]/ three.example/a/ two.example/a/$},
     'of each host one');
is(due(), '', 'which are somebody\'s for a while');
seen($t, 'https://' . $first =~ s/ .*//r, 200);
is(due(), '', 'the next is not asked at once');
hours($t, 1 / 3600);
my $second = due();
like($second, qr{^one.example/[ab]/$}, 'but in a second');
isnt($second, $first =~ s/ .*//r, 'and is another');
hours($t, 301 / 3600);
is(due(), join(' ', sort $second, 'three.example/a/', 'two.example/a/'),
   'what nobody told of is due again');
is(due(1), '', 'not more than that');
hours($t, 301 / 3600);
is(scalar(split ' ', due(2)), 2, 'at most so many');

# a host that is never done keeps no others from being asked

call('link_add', slug => "busy$_", url => "https://busy.example/$_")
    for 1 .. 50;
collect($t);
$t->sql("update usher.health set next_at = now() - interval '9 days'
         where host = 'busy.example'");
$t->sql("update usher.health_host set due_at = now() - interval '9 days'
         where host = 'busy.example'");
hours($t, 1);
like(due(), qr/one.example.* three.example.* two.example/, 'all have their turn');

# a loop: a host of links, by hand

hours($t, 48);
$t->sql("insert into usher.domain (host, org_id) values ('two.example', 1)");
unlike(due(), qr/two.example/, 'a host of our own is not asked');
collect($t) for 1 .. 2;
hours($t, 1.1);
collect($t) for 1 .. 2;
unlike(urls(), qr/two.example/, 'nor kept');

# a clock that was ahead

hours($t, 48);
seen($t, 'https://three.example/a/', 404);
hours($t, -24 * 365);
is(due(), '', 'what was put down ahead of the clock');
collect($t);
like(due(), qr{three.example/a/}, 'holds nothing back');
is($t->sql("select count(*) from usher.health
            where greatest(next_at, checked_at, failed_at, alive_at)
                  > now() + interval '1 minute'"), 0, 'nor keeps it from counting');
is($t->sql('select count(*) from usher.health_state
            where greatest(began_at, cleaned_at, answered_at) > now()'), 0,
   'nor an outage from being one');

# at once

$t->sql('update usher.health_host set due_at = \'infinity\'');
$t->sql('update usher.health set next_at = \'infinity\'');
hours($t, 1);
is(due(), '', 'nothing is due');
call('link_check', slug => 'three.example/a');
is(due(), 'three.example/a/', 'link check has one asked at once');

done_testing();
