#!/usr/bin/perl

# The event of a request becomes its row, column by column, from a key that
# usherctl made, through all of Usher.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;
$t->postgres;
$t->redis;
$t->usherd;

$t->ctl('org create name=acme');
$t->ctl('plan create name=pro');
$t->ctl('plan policy_set plan=pro policy=pace quota=3 window=3600 burst=3');
my $made = $t->ctl('key create org=acme plan=pro scope=read');
my $key = $made->{key};

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_node "edge\t1";
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=16m segment=1m window=4m;

    server {
        listen 127.0.0.1:%%PORT%%;
        listen 127.0.0.1:%%PORT_h2%% http2;
        listen unix:%%DIR%%/nginx.sock;

        location /v1/ {
            usher_auth on;
            usher_limit plan;
            usher_route v1;
            add_header X-Id $usher_request_id;
        }

        location /named/ {
            usher_auth optional;
            usher_request_id $http_x_request_id;
            usher_route "r-$arg_r";
        }

        location /errors/ {
            usher_auth optional;
            usher_event errors;
        }

        location /off/ {
            usher_auth optional;
            usher_event off;
        }

        location /plain/ {
        }

        location /parts/ {
            usher_auth on;
            ssi on;
            log_subrequest on;
        }

        location ~ ^/re(gex)?/ {
            usher_auth optional;
        }
    }
CONF

mkdir $t->dir . "/edge1/html/$_" for qw(v1 named errors off plain re parts);
$t->write_file("edge1/html/$_/x", 'content')
    for qw(v1 named errors off plain re);

sub row {
    my ($where) = @_;
    my $r = $t->db->selectrow_hashref(
        "select *, event_time > now() - interval '1 hour' as recent,"
        . " host(address) as address from usher.request where $where");
    return $r;
}

my $r = $t->get('/v1/x?secret=1', 'X-API-Key' => $key, 'User-Agent' => "a\\b\tc",
                Referer => 'http://from.test/page?key=secret');
my $id = $r->header('X-Id');

is($r->status, 200, 'admitted');
like($id, qr/^[0-9a-f]{32}$/, 'request id');
$t->get('/v1/x', 'X-API-Key' => $key) for 1 .. 2;
$t->write_file('edge1/html/parts/whole.html',
               '<!--#include virtual="x" -->' x 3);
$t->write_file('edge1/html/parts/x', 'part');
is($t->get('/parts/whole.html', 'X-API-Key' => $key)->body, 'part' x 3, 'parts');
is($t->get('/v1/x?last', 'X-API-Key' => $key)->status, 429, 'over the limit');
$t->get('/v1/missing');
$t->get('/named/x?r=one', 'X-Request-Id' => 'mine', Host => 'Named.test');
$t->get("/named/x?r=bad%00", 'X-Request-Id' => "x\xff" . 'y' x 100);
$t->get('/named/' . 'u' x 3000, 'X-Request-Id' => 'long');
$t->get('/errors/x');
$t->get('/errors/none');
$t->get('/off/none');
$t->get('/plain/x');
$t->get('/re/x');
$t->head('/v1/x');
$t->http("BREW /v1/x HTTP/1.0\r\n\r\n");
system("curl -s -o /dev/null --unix-socket $t->{dir}/edge1/nginx.sock http://a/re/x");
system('curl -s -o /dev/null --http2-prior-knowledge http://127.0.0.1:'
       . $t->port('edge1_h2') . '/re/x?h2');

$t->wait_for(sub { $t->sql('select count(*) from usher.request') >= 15 },
             'rows', 30);

my $row = row("request_id = '$id'");
my %want = (key_id => $made->{id}, route => 'v1', status => 200, units => 1,
            node => "edge\t1", method => 'GET', host => 'localhost',
            uri => '/v1/x', address => '127.0.0.1', user_agent => "a\\b\tc",
            referer => 'http://from.test/page', auth_status => 'ok',
            limit_status => 'passed', protocol => 'HTTP/1.1', flags => 0,
            recent => 1);

is($row->{$_}, $want{$_}, $_) for sort keys %want;
cmp_ok($row->{org_id}, '>', 0, 'org_id');
cmp_ok($row->{bytes_sent}, '>', 200, 'bytes_sent');
cmp_ok($row->{duration_ms}, '>=', 0, 'duration_ms');

$row = row('status = 429');
is($row->{limit_status}, 'rejected', 'rejected');
is($row->{units}, 0, 'a refused request has no units');
is($row->{key_id}, $made->{id}, 'and its key');

$row = row("uri = '/v1/missing'");
is("$row->{status} $row->{auth_status}", '401 missing', 'refused by auth');
ok(!$row->{key_id}, 'without a key');

$row = row("request_id = 'mine'");
is($row->{route}, 'r-one', 'usher_route with a variable');
is($row->{host}, 'named.test', 'host');
is($row->{auth_status}, 'anonymous', 'anonymous');

$row = row("request_id like 'x%'");
is(length $row->{request_id}, 62, 'an id that is too long is cut');
is($row->{flags}, 7, 'mangled and cut, and not ours');

$row = row("request_id = 'long'");
is(length $row->{uri}, 960, 'a long URI is cut');

is($t->sql("select count(*) from usher.request where uri like '/errors/%'"), 1,
   'usher_event errors');
is($t->sql("select count(*) from usher.request where uri like '/off/%'"), 0,
   'usher_event off');
is($t->sql("select count(*) from usher.request where uri like '/plain/%'"), 0,
   'no usher directive');
is($t->sql("select count(*) from usher.request where uri like '/parts/%'"), 1,
   'logged subrequests are no events');
is($t->sql("select count(distinct route) from usher.request "
           . "where uri = '/re/x' and route = '^/re(gex)?/'"), 1,
   'route: the location by default');
is($t->sql("select count(*) from usher.request where uri = '/re/x' "
           . 'and address is null'), 1, 'no address of a unix socket');
is($t->sql("select count(*) from usher.request where protocol = 'HTTP/2.0'"),
   1, 'HTTP/2');
is($t->sql("select count(*) from usher.request where method = 'BREW' "
           . "and protocol = 'HTTP/1.0'"), 1, 'any method');
is($t->sql("select count(*) from usher.request where method = 'HEAD'"), 1,
   'HEAD');
is($t->sql('select count(*) - count(distinct request_id) from usher.request'),
   0, 'ids are unique');

done_testing();
