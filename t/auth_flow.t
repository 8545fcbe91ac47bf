#!/usr/bin/perl

# usher_auth and usher_limit among nginx's other ways: satisfy, internal
# redirects, error pages, subrequests, realip, allow lists.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_auth_failures off;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-IP;
    log_format test "$uri|$usher_auth_status|$usher_limit_status";

    server {
        listen 127.0.0.1:%%PORT%%;
        listen unix:%%DIR%%/nginx.sock;
        access_log %%DIR%%/access.log test;

        location / {
            usher_auth on;
        }

        location /any/ {
            satisfy any;
            usher_auth on scope=read;
            auth_basic "closed";
            auth_basic_user_file %%DIR%%/html/users;
            usher_limit any rate=1000r/s key=all;

            location /any/deny/ {
                deny all;
            }
        }

        location /all/ {
            satisfy all;
            usher_auth on;
            auth_basic "closed";
            auth_basic_user_file %%DIR%%/html/users;
        }

        location /page/ {
            usher_auth on;
            usher_limit page rate=2r/h key=all;
            error_page 401 /errors/401;
            error_page 429 =430 @limited;
        }

        location /errors/ {
            return 200 "custom $status $usher_auth_status";
        }

        location @limited {
            add_header X-Named "$usher_limit_status" always;
            return 430 "named";
        }

        location /try/ {
            usher_auth on;
            usher_limit once rate=5r/h key=all;
            try_files $uri.none $uri /inner/target;
        }

        location /inner/ {
            internal;
            usher_auth on scope=read;
            usher_limit once rate=5r/h key=all;
        }

        location /accel/ {
            usher_auth on;
            usher_limit once rate=5r/h key=all;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /ssi/ {
            ssi on;
            usher_auth on;
            usher_limit once rate=5r/h key=all;
        }

        location /open/ {
            ssi on;
        }

        location /sub/ {
            usher_auth on;
            usher_limit sub rate=1r/h key=all;
        }

        location /scoped/ {
            usher_auth on scope=read;
        }

        location /request/ {
            usher_auth on;
            auth_request /sub/ok;
            mirror /sub/ok;
        }

        location /add/ {
            usher_auth on;
            addition_types *;
            add_after_body /scoped/in;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        location / {
            add_header X-Accel-Redirect /inner/target;
            return 200;
        }
    }
CONF

my $html = 'edge1/html';

mkdir $t->dir . "/$html/$_"
    for qw(any any/deny all page try inner ssi open sub scoped request add);
$t->write_file("$html/users", "u:{PLAIN}p\n");
$t->write_file("$html/$_", "content of $_")
    for qw(index.html any/x any/deny/x all/x page/x try/there inner/target
           sub/ok scoped/in request/x add/x);
$t->write_file("$html/$_/$_.html", '<!--#include virtual="/sub/ok" -->'
               . '<!--#include virtual="/scoped/in" -->') for qw(ssi open);

my $key = $d->key(scope => '');
my $reader = $d->key(scope => 'read');
my @key = ('X-API-Key' => $key);
my @basic = (Authorization => 'Basic dTpw');
my @wrong = (Authorization => 'Basic dTp4');
my $r;

is($t->get('/any/x', 'X-API-Key' => $reader)->status, 200, 'any: key');
is($t->get('/any/x', @basic)->status, 200, 'any: password');
is($t->get('/any/x')->status, 401, 'any: neither');
is($t->get('/any/x', @key)->status, 401, 'any: no scope, no password');
is($t->get('/any/x', @key, @basic)->status, 200, 'any: no scope, password');
is($t->get('/any/x', @key, @wrong)->status, 401, 'any: no scope, bad one');

$r = $t->get('/any/x', @basic);
is($r->header('WWW-Authenticate'), undef, 'any: no challenge when admitted');
like($r->header('RateLimit'), qr/"any";r=/, 'any: limited all the same');
is($t->get('/any/deny/x', @key)->status, 401, 'any: all three refuse');
is($t->get('/any/deny/x', 'X-API-Key' => $reader)->status, 200,
   'any: two refuse');
is($t->get('/any/x', @key, Authorization => "Bearer $reader")->status, 401,
   'any: two keys are no way in');
like($t->get('/any/x')->header('WWW-Authenticate'), qr/^(Bearer|Basic)/,
     'any: a challenge');

is($t->get('/all/x', @key, @basic)->status, 200, 'all: both');
is($t->get('/all/x', @key)->status, 401, 'all: key only');
is($t->get('/all/x', @basic)->status, 401, 'all: password only');

$r = $t->get('/page/x');
is($r->status . $r->body, '401custom 401 missing', 'error_page of 401');
is($r->header('WWW-Authenticate'), 'Bearer realm="api"', 'keeps the challenge');
$t->get('/page/x', @key) for 1 .. 2;
$r = $t->get('/page/x', @key);
is($r->status . $r->body, '430named', 'error_page of 429, named');
is($r->header('X-Named'), 'rejected', 'state survives the redirect');
like($r->header('RateLimit'), qr/"page";r=0;t=/, 'so do the fields');
ok($r->header('Retry-After'), 'and Retry-After');

is($t->get('/try/there', @key)->body, 'content of try/there', 'try_files');
is($t->get('/try/gone', @key)->status, 403, 'rules of the new location');
$r = $t->get('/try/gone', 'X-API-Key' => $reader);
is($r->body, 'content of inner/target', 'which hold');
is($r->header('RateLimit'), '"once";r=2', 'charged once per request');
is($t->get('/accel/x', 'X-API-Key' => $reader)->body,
   'content of inner/target', 'X-Accel-Redirect');
is($t->get('/accel/x', @key)->status, 403, 'X-Accel-Redirect, no scope');

$r = $t->get('/open/open.html');
is($r->status, 200, 'SSI from an open location');
unlike($r->body, qr/content of/, 'its parts that want a key are refused');

$r = $t->get('/add/x', @key);
unlike($r->body, qr/content of scoped/, 'addition of another scope is refused');
$r = $t->get('/request/x', @key);
is($r->status, 200, 'auth_request and mirror with the same rules');
is($t->get('/sub/ok', @key)->status, 200, 'subrequests were not charged');

my $home = $d->key(allow => '10.0.0.0/8 2001:db8::/32 192.0.2.1');

for (['10.1.2.3', 200], ['11.1.2.3', 403], ['2001:db8:1::1', 200],
     ['2001:db9::1', 403], ['192.0.2.1', 200], ['192.0.2.2', 403],
     ['::ffff:10.0.0.1', 200])
{
    is($t->get('/', 'X-API-Key' => $home, 'X-Real-IP' => $_->[0])->status,
       $_->[1], "address $_->[0]");
}

$r = $t->get('/', 'X-API-Key' => $home);
is($r->json->{reason}, 'address', 'reason of an address');

my $unix = "curl -s -o /dev/null -w '%{http_code}' "
           . "--unix-socket $t->{dir}/edge1/nginx.sock http://a/ -H 'X-API-Key:";
is(`$unix $home'`, '403', 'a unix socket is in no list');
is(`$unix $key'`, '200', 'which is fine without one');

my $log = $t->slurp($t->dir . '/edge1/access.log');

like($log, qr{^\@?/page/x\|ok\|rejected}m, 'state in the log');

done_testing();
