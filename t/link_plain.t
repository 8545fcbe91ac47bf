# A link leads where its record says: through PostgreSQL, usherd, Redis and
# nginx; each click is a row, whatever it is worth.

use lib 't/lib';
use Usher::Test;
use Usher::Secret;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;
click_key($t);

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'go.example', org => 'acme')");
$t->sql("select api.domain_add(host => 'to.example', org => 'acme', "
    . "fallback => 'https://acme.example/')");

$t->sql("select api.network_create(org => 'acme', name => 'net', "
    . "preset => 'awin')");
$t->sql("select api.program_create(org => 'acme', name => 'shop', "
    . "side => 'network', network => 'net', currency => 'EUR')");
$t->sql("select api.campaign_create(org => 'acme', name => 'spring')");

sub link_add {
    my (%with) = @_;

    $with{host} //= 'go.example';
    $t->sql('select api.link_add('
        . join(', ', map { "$_ => '$with{$_}'" } sort keys %with) . ')');
}

link_add(slug => 'plain', url => 'https://shop.example/p?a=%20b#here');
link_add(slug => 'macro', url => 'https://shop.example/{slug}?c={click_id}'
    . '&s={sub1}&l={lang}', query => 'true', utm => 'utm_source={sub2}');
link_add(slug => 'ended', url => 'https://shop.example/old',
    expires => '2026-01-01');
link_add(slug => 'over', url => 'https://shop.example/old',
    overflow => 'https://shop.example/new', expires => '2026-01-01');
link_add(slug => 'moved', url => 'https://shop.example/', status => 308,
    referrer_policy => 'no-referrer');
link_add(slug => 'named', program => 'shop', campaign => 'spring',
    untracked => 'true',
    url => 'https://shop.example/{campaign}/{program}/{network}/{product}');
link_add(slug => 'amazon', url => 'https://shop.example/', plain => 'true');

# a checkout may be where the server's user must not read

$t->write_file('bots.list', $t->slurp($t->top . '/conf/bots.list'));
$t->nginx(<<'CONF');
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_key_file %%DIR%%/keys;
    usher_bots file=%%DIR%%/../bots.list;
    usher_journal %%DIR%%/journal size=16m segment=1m;

    server {
        listen 127.0.0.1:%%PORT%%;
        server_name _;

        location ~ ^/go/(?<slug>.*)$ {
            usher_link $slug;
        }
    }
CONF

my $browser = 'Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 '
    . 'Firefox/130.0';

sub click {
    my ($slug, %header) = @_;

    $header{Host} //= 'go.example';
    $header{'User-Agent'} //= $browser;

    return $t->get("/go/$slug", %header);
}

sub field { my ($slug, $name) = @_; click($slug)->header($name) }

$t->wait_for(sub { click('plain')->status == 302 }, 'a link is known');
is(field('plain', 'Location'), 'https://shop.example/p?a=%20b#here',
   'where it leads');
is(field('plain', 'Cache-Control'), 'private, no-store', 'kept by nobody');
is(field('plain', 'X-Robots-Tag'), 'noindex', 'found by nobody');
is(field('plain', 'Referrer-Policy'), 'no-referrer-when-downgrade', 'policy');
is(field('amazon', 'Referrer-Policy'), undef, 'none where it is plain');
is(field('moved', 'Referrer-Policy'), 'no-referrer', 'its own');
is(click('moved')->status, 308, 'its own status');

like(click('macro?sub1=a%26b&sub2=x', 'Accept-Language' => 'fr;q=0.5, de-at')
         ->header('Location'),
     qr{^https://shop\.example/macro\?c=[a-z2-7]{32}&s=a%26b&l=de-AT
        &utm_source=x&sub1=a%26b&sub2=x$}x, 'macros');
like(click('macro?xsub1=a&sub1=&sub1=b&SUB2=c&sub2=d&sub6=e')->header('Location'),
     qr{&s=&l=\w*&utm_source=c&}, 'sub-ids: the first of each');

is(field('named', 'Location'), 'https://shop.example/spring/shop/net/',
   'names');

is(click('ended')->status, 404, 'one that ended leads nowhere');
is(field('over', 'Location'), 'https://shop.example/new', 'or overflows');
is(click('PLAIN')->status, 404, 'capital letters matter');
is(click('plain', Host => 'GO.example:80')->status, 302, 'not in hosts');
is(click('none', Host => 'to.example')->header('Location'),
   'https://acme.example/', 'a host has its fallback');
is(click('plain', Host => 'other.example')->status, 404, 'an unknown host');
is($t->post('/go/plain', '', Host => 'go.example')->status, 405, 'no POST');
is($t->head('/go/plain', Host => 'go.example', 'User-Agent' => $browser)
       ->status, 302, 'HEAD is answered');
is(click('plain', 'User-Agent' => 'curl/8.0')->status, 302, 'a bot is, too');
is(click('plain', 'User-Agent' => '')->status, 302, 'and nobody');
is(click('plain', 'Sec-Purpose' => 'prefetch;prerender')->status, 302,
   'as is a prefetch');

# each of them is a row

$t->wait_for(sub {
    $t->sql("select count(*) from usher.click where reason = 14") == 1;
}, 'the last is stored');

my %rows = map { $_->[0] => $_->[1] } @{ $t->db->selectall_arrayref(
    'select slug || reason || target, count(*) from usher.click group by 1') };

is($rows{'plain140'}, 1, 'labelled: prefetch');
is($rows{'plain150'}, 1, 'HEAD');
is($rows{'plain110'}, 1, 'bot');
is($rows{'plain120'}, 1, 'no agent');
is($t->sql("select distinct device || ' ' || os from usher.click "
    . "where reason = 0"), 'desktop linux', 'device and system');
is($rows{'ended42-3'}, 1, 'ended');
is($rows{'over42-2'}, 1, 'overflow');
is($rows{'none31-1'}, 1, 'fallback');
is($t->sql("select org_id from usher.click where host = 'other.example'"), 0,
   'a host of nobody');
is($t->sql("select distinct address from usher.click"), '127.0.0.0/24',
   'no whole address');
is($t->sql("select count(distinct click_id) = count(*) from usher.click "
    . "where link_id <> 0"), 1, 'each has its id');
is($t->sql("select api.journal_verify()->>'ok'"), 'true', 'the books balance');

# changes

$t->sql("update usher.campaign set name = 'autumn'");
$t->wait_for(sub { field('named', 'Location') =~ /autumn/ }, 'a new name');
$t->sql("select api.program_update(org => 'acme', program => 'shop', "
    . "mode => 'plain')");
$t->wait_for(sub { !defined field('named', 'Referrer-Policy') },
             'a program that forbids cloaking');

$t->sql("select api.link_update(host => 'go.example', slug => 'plain', "
    . "url => 'https://shop.example/2')");
$t->wait_for(sub { field('plain', 'Location') eq 'https://shop.example/2' },
             'a new URL');
$t->sql("select api.link_disable(host => 'go.example', slug => 'plain')");
$t->wait_for(sub { click('plain')->status == 404 }, 'disabled');
$t->sql("select api.link_enable(host => 'go.example', slug => 'plain')");
$t->wait_for(sub { click('plain')->status == 302 }, 'enabled');

done_testing();
