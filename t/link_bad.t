# What is no link, and what leads nowhere: a defined answer, and a row with
# the reason.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");

sub refused {
    my ($url) = @_;

    eval { $t->sql("select api.link_add(host => 'localhost', url => ?)", $url) };
    return $@ =~ /"\Q$url\E" (cannot be|leads to a host of links)/ ? $1 : $@;
}

is(refused($_), 'cannot be', "not to $_") for
    'javascript:alert(1)', 'data:text/html,x', '//shop.example/',
    'https:shop.example', 'https://user@shop.example/', 'https://shop.example\\x',
    'https://shop.example/a b', "https://shop.example/\x{e4}",
    'https://shop.example/%zz', 'https://{sub1}/', 'https://shop.example/{foo}',
    'https://shop.example/{sub1', 'https://1.2.3/', 'https://shop.example:0/',
    'https://shop.example:080/', 'https://shop.0x1f/', 'https://0x/',
    'https://shop.example/%{sub1}41', 'https://shop.example/%4{sub1}1',
    'https://shop.example/"x', "https://shop.example/\r\nSet-Cookie: a=b";
is(refused('https://LOCALHOST:8080/x'), 'leads to a host of links',
   'not to itself');

# nor does a host that links lead to become one of links

$t->ctl('link add host=localhost slug=to url=https://URL.example:8080/x '
        . 'fallback=http://fallback.example?a overflow=https://overflow.example');
$t->ctl('link target set host=localhost slug=to target=a url=https://target.example/');
like($t->ctl_fails("domain add org=acme host=$_.example"),
     qr/link localhost\/to leads to host "$_\.example"\nhint: .*"usherctl link update"/,
     "not what is its $_") for qw(url fallback overflow target);
$t->ctl('link update host=localhost slug=to url=https://other.example/');
is($t->ctl('domain add org=acme host=url.example')->{links}, 0, 'until it leads elsewhere');

# by hand, past the catalogue

$t->sql("insert into usher.link (org_id, host, slug, url, fallback_url, "
    . "pass_query) "
    . "select 1, 'localhost', v.* from (values "
    . "('loop', 'http://localhost/loop', 'https://shop.example/fallback', false), "
    . "('tls', 'https://LocalHost:8443', 'https://shop.example/fallback', false), "
    . "('ring', 'http://localhost', 'http://localhost/ring', false), "
    . "('long', 'https://shop.example/{sub1}{sub1}{sub1}', null, true)) v");

# a checkout may be where the server's user must not read

$t->write_file('bots.list', $t->slurp($t->top . '/conf/bots.list'));
$t->nginx(<<'CONF');
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=16m segment=1m;
    usher_bots file=%%DIR%%/../bots.list;
    large_client_header_buffers 4 32k;

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /status { usher_status; }

        location ~ ^/set/(?<text>(?s:.*)) {
            set $args $text;
            usher_link long;
        }

        location ~ ^/(?<slug>.*)$ {
            usher_link $slug;
        }
    }
CONF

sub misses { $t->get('/status')->json->{counters}{directory_misses} }

sub answer {
    my ($uri) = @_;
    my $response = $t->get($uri, 'User-Agent' => 'Mozilla/5.0 (Macintosh) x');

    return $response->status . ' ' . ($response->header('Location') // '');
}

$t->wait_for(sub { answer('/loop') eq '302 https://shop.example/fallback' },
             'a loop falls back');
is(answer('/tls'), '302 https://shop.example/fallback', 'of https as well');
is(answer('/ring'), '404 ', 'or nowhere');
is(answer('/long?' . 'x' x 7990), '404 ', 'a query that is too long');
is(answer('/long?sub1=' . 'a' x 2600), '404 ', 'a macro that is');
is(answer('/long?sub1=%0d%0aX:y'),
   '302 https://shop.example/' . '%0D%0AX%3Ay' x 3 . '?sub1=%0d%0aX:y',
   'no line ends where one must not');
is(answer('/no-such'), '404 ', 'a slug that is none');

is(answer('/set/a%0d%0aX-Evil:1'), '302 https://shop.example/',
   'nor by "set"');
$t->get('/ring', 'User-Agent' => 'Googlebot/2.1');

my $misses = misses();

is(answer('/no%20such'), '404 ', 'a slug that cannot be');
is(answer('/no%0d%0asuch'), '404 ', 'nor with line ends');
is(answer('/%ff%fe%5c'), '404 ', 'nor with other bytes');
is(answer('/' . 'x' x 65), '404 ', 'nor a longer one');
is(answer('/'), '404 ', 'nor none');
is(misses(), $misses, 'nobody was asked for these');

$t->wait_for(sub {
    $t->sql("select count(*) from usher.click where slug = ''");
}, 'all are rows');

sub rows {
    my ($where) = @_;
    return $t->sql("select string_agg(distinct reason || ' ' || target, ',') "
        . "from usher.click where $where");
}

is(rows("slug = 'ring'"), '11 -3,32 -3', 'a loop, for a bot as well');
is(rows("slug = 'long' and status = 404"), '33 -3', 'too long');
is(rows("slug like 'no_such'"), '31 -3', 'unknown');
is(rows('flags & 1 = 1'), '31 -3', 'mended');
is(rows('flags & 2 = 2 and length(slug) = 64'), '31 -3', 'cut');

# a record that cannot be read is none that is not there

my $record = 'usher:d:link:localhost/long';
my $text = $t->redis_cli('get', $record);

$t->stop('edge1');
$t->redis_cli('set', $record, $text =~ s/https:/ftp:/r);
$t->start('edge1');
is(answer('/long'), '503 ', 'corrupt: it cannot be known');
unlike($t->error_log, qr{request count is zero}, "answered once");
like($t->error_log, qr{record link:localhost/long .* cannot be read}, 'said');
$t->wait_for(sub { answer('/long') =~ /^302/ }, 'usherd writes it again');

done_testing();
