# Deep links: a click names a page, and is sent there as the link's network
# asks, with the sub-id of the link, where its program allows it.

use lib 't/lib';
use Usher::Test;
use Usher::Secret 'click_key';

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;
click_key($t);

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => '$_', org => 'acme')")
    for qw(localhost go.wild.example);

sub call {
    my ($function, %with) = @_;

    my @names = sort keys %with;

    return $t->sql("select api.$function("
        . join(', ', map { "$_ => ?" } @names) . ')', @with{@names});
}

my $hosts = 'www.shop.example *.wild.example';
my %sub_id = (awin => 'clickref', impact => 'subId1', cj => 'sid',
              rakuten => 'u1', clickbank => 'tid', amazon => '');

for my $name (sort keys %sub_id) {
    call('network_create', org => 'acme', name => $name, preset => $name);
    call('program_create', org => 'acme', name => $name, side => 'network',
         network => $name, currency => 'EUR',
         hosts => $name eq 'clickbank' ? '' : $hosts);

    my $sub_id = $sub_id{$name} ? "$sub_id{$name}={click_id}" : 'tag=us';

    call('link_add', host => 'localhost', slug => $name, program => $name,
         url => "https://$name.example/c?m=1&$sub_id#top",
         utm => 'utm_source={sub1}', fallback => 'https://acme.example/');
}

call('program_create', org => 'acme', name => $_, side => 'own',
     currency => 'EUR', hosts => $_ eq 'own' ? $hosts : '')
    for qw(own closed);

sub own {
    my ($slug, %with) = @_;

    call('link_add', host => 'localhost', slug => $slug,
         program => 'own', url => 'https://www.shop.example/?ref={click_id}',
         %with);
}

own('own', query => 'true', utm => 'utm_source=us');
own('mark', query => 'true', url => 'https://www.shop.example/?');
own('and', query => 'true', url => 'https://www.shop.example/?a&#top');
own('full', url => 'https://awin.example/?ued=old&s={sub1}&UED=x',
    program => 'awin', untracked => 'true');
own('closed', program => 'closed');
own('self', host => 'go.wild.example');
own('ended', expires => '2026-01-01', overflow => 'https://acme.example/over');
own('split', program => 'awin', untracked => 'true');
call('link_target_set', host => 'localhost', slug => 'split', target => 'a',
     url => 'https://awin.example/a?clickref={click_id}');

$t->nginx(<<'CONF');
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_key_file %%DIR%%/keys;
    usher_journal %%DIR%%/journal size=16m segment=1m;

    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-IP;

    server {
        listen 127.0.0.1:%%PORT%%;

        location ~ ^/go/(?<slug>.*)$ {
            usher_link $slug;
        }
    }
CONF

# no two clicks are of one visitor

my $visitor = 0;

sub answer {
    my ($uri, @headers) = @_;
    my $location = $t->get("/go/$uri", 'User-Agent' => 'Mozilla/5.0 (X11) x',
                           'X-Real-IP' => '10.0.0.' . ++$visitor, @headers)
        ->header('Location') // '';

    return $location =~ s/\b[a-z0-9]{32}\b/ID/r;
}

sub answers {
    my ($uri, $location, $what) = @_;
    $t->wait_for(sub { answer($uri) eq $location }, $what);
}

my $page = 'https%3A%2F%2Fwww.shop.example%2Fp%3Fa%3D%2520b%26c%23d';
my $to = "to=$page";
my $tail = 'utm_source=x';

answers('split', 'https://awin.example/a?clickref=ID', 'links are known');

# where the network takes it

is(answer("$_->[0]?sub1=x&$to"),
   "https://$_->[0].example/c?m=1&$sub_id{$_->[0]}=ID&$tail&$_->[1]=$page#top",
   "$_->[0]: $_->[1]")
    for ['awin', 'ued'], ['impact', 'u'], ['cj', 'url'], ['rakuten', 'murl'];

is(answer("full?sub1=y&$to"), "https://awin.example/?s=y&UED=x&ued=$page",
   'in place of the one that stands there');
is(answer("split?$to"), "https://awin.example/a?clickref=ID&ued=$page",
   'in a target');
is(answer('awin?to=http://a.wild.example'), 'https://awin.example/c?m=1'
   . '&clickref=ID&utm_source=&ued=http%3A%2F%2Fa.wild.example#top',
   'given as it is');

# where nobody does

is(answer("amazon?sub1=x&$to"),
   "https://www.shop.example/p?a=%20b&c&m=1&tag=us&$tail#d",
   'no parameter: the page itself, with its tag');
is(answer("clickbank?$to"), 'https://acme.example/',
   'but not past the links of a network that counts only those');
is(answer("own?$to"),
   'https://www.shop.example/p?a=%20b&c&ref=ID&utm_source=us#d',
   'a program of our own');
is(answer('own?to=https://www.shop.example/?ref=evil%26r%2565f=evil'),
   'https://www.shop.example/?ref=ID&utm_source=us',
   'a page brings no sub-id along');

# the query that is passed on is what it was, but for the page

is(answer("own?x=%5b1%5D&$to&&y"), 'https://www.shop.example/p?a=%20b&c'
   . '&ref=ID&utm_source=us&x=%5b1%5D&&y#d', 'it is not passed on');
is(answer('own?to=x&y'),
   'https://www.shop.example/?ref=ID&utm_source=us&y', 'nor is what is none');
is(answer('mark?x'), 'https://www.shop.example/?x', 'behind a question mark');
is(answer('and?x=1'), 'https://www.shop.example/?a&x=1#top', 'and an &');
is(answer('mark?to=x'), 'https://www.shop.example/?', 'nothing is left');

# where it may not be

is(answer('awin?to=https://evil.example/'), 'https://acme.example/',
   'another host: the fallback');
is(answer('own?to=https://evil.example/'),
   'https://www.shop.example/?ref=ID&utm_source=us', 'or the own target');
is(answer("closed?$to"), 'https://www.shop.example/?ref=ID', 'no hosts at all');
is(answer("ended?$to"), 'https://acme.example/over', 'a link that has ended');
is(answer('awin?to=https://www.shop.example/' . 'x' x 2024),
   'https://acme.example/', 'longer than a URL may be');
is(answer('awin?to=https://www.shop.example/' . '/' x 1900 . '&sub1='
   . 'y' x 2200), 'https://acme.example/', 'longer than a Location may be');
is(answer('awin?to='), 'https://acme.example/', 'none');
is(answer("self?to=https://$_/go/own", Host => 'go.wild.example'),
   'https://www.shop.example/?ref=ID', "not to a link of its host: $_")
    for qw(go.wild.example GO.wild.example.);
is(answer("self?to=https://to.wild.example/", Host => 'go.wild.example'),
   'https://to.wild.example/?ref=ID', 'but beside it');

sub rows {
    my ($slug) = @_;
    return $t->sql("select string_agg(distinct reason || ' ' || target, ',' "
        . "order by reason || ' ' || target) from usher.click where slug = ?",
        $slug);
}

$t->wait_for(sub {
    $t->sql("select count(*) from usher.click where slug = 'self'") == 3;
}, 'all are rows');
is(rows('awin'), '0 0,33 -1,45 -1,46 -1', 'with the reason');
is(rows('own'), '0 0,45 0,46 0', 'as have those that went on');
is(rows('closed'), '46 0', 'no hosts');
is(rows('clickbank'), '46 -1', 'nor where none would count');
is(rows('ended'), '42 -2', 'ended');
like(rows('split'), qr/\b0 1\b/, 'the target');

# what changes

my $fallback = 'https://acme.example/';

call('program_update', org => 'acme', program => 'awin',
     hosts => 'other.example');
answers("awin?$to", $fallback, 'a host is listed no more');
call('program_update', org => 'acme', program => 'closed', hosts => $hosts);
answers("closed?$to", 'https://www.shop.example/p?a=%20b&c&ref=ID#d',
        'hosts are listed');
call('network_update', org => 'acme', network => 'cj', deep_link => 'page');
answers("cj?$to",
        "https://cj.example/c?m=1&sid=ID&utm_source=&page=$page#top",
        'a network says another parameter');
call('network_update', org => 'acme', network => 'cj', deep_link => '');
answers("cj?$to", "https://cj.example/c?m=1&sid=ID&utm_source=&url=$page#top",
        'none any more');
$t->sql("update usher.network_preset set deep_link = 'goto' where name = 'cj'");
answers("cj?$to",
        "https://cj.example/c?m=1&sid=ID&utm_source=&goto=$page#top",
        'as does its preset');
call('network_update', org => 'acme', network => 'clickbank',
     deep_link => 'page');
call('program_update', org => 'acme', program => 'clickbank',
     hosts => $hosts);
answers("clickbank?$to", 'https://clickbank.example/c?m=1&tid=ID&utm_source='
        . "&page=$page#top", 'one that had none');
call('network_update', org => 'acme', network => 'clickbank',
     deep_link => '');
answers("clickbank?$to", $fallback, 'and has none again, whatever is listed');

done_testing();
