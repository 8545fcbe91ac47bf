#!/usr/bin/perl

# Bad input: directives that nginx -t refuses, and requests that are odd.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $zone = "usher_zone 1m; usher_redis %%REDIS%%;\n";
my $server = "server { listen 127.0.0.1:%%PORT%%;\n";

for (
    ['usher_auth maybe;', 'invalid value "maybe" in "usher_auth"'],
    ['usher_auth on scope=;', 'empty "scope"'],
    ['usher_auth on "scope=a\\"";', 'invalid character in "scope"'],
    ['usher_auth on env=prod;', 'invalid parameter "env=prod"'],
    ['usher_auth on foo=1;', 'invalid parameter "foo=1"'],
    ['usher_auth off scope=a;', 'no parameters after "off"'],
    ['usher_auth on; usher_auth on;', 'is duplicate'],
    ["usher_auth_realm \"a\tb\";", 'not printable ASCII'],
    ['usher_auth_dry_run maybe;', 'invalid value "maybe"'],
    ['usher_auth_log_level loud;', 'invalid value "loud"'],
    ['usher_auth_log_level debug;', 'invalid value "debug"'],
    ['usher_auth_log_level info; usher_auth_log_level info;', 'is duplicate'],
    ['usher_auth_failures 10r/s;', 'must begin with "rate="'],
    ['usher_auth_failures rate=10;', 'invalid rate "rate=10"'],
    ['usher_auth_failures rate=1r/s burst=0;', 'invalid burst "burst=0"'],
    ['usher_credential x_key;', '"x_key" is not a variable'],
    ['usher_credential $nothing_like_it;', 'unknown "nothing_like_it"'],
    ['usher_credential_strip maybe;', 'invalid value "maybe"'],
    ['usher_limit a;', 'limit "a" must have "rate" parameter'],
    ['usher_limit a rate=0r/s;', 'invalid rate "rate=0r/s"'],
    ['usher_limit a rate=-1r/s;', 'invalid rate'],
    ['usher_limit a rate=1r/y;', 'invalid rate'],
    ['usher_limit a rate=1r/s burst=0;', 'invalid burst'],
    ['usher_limit a rate=1r/s burst=x;', 'invalid burst'],
    ['usher_limit a rate=1r/d burst=999999999999;', 'too large a burst'],
    ['usher_limit a rate=1r/s cost=x;', 'invalid cost "x"'],
    ['usher_limit a rate=1r/s key=;', 'empty key'],
    ['usher_limit a rate=1r/s key=$nothing_like_it;', 'unknown'],
    ['usher_limit a rate=1r/s foo;', 'invalid parameter "foo"'],
    ['usher_limit "a b" rate=1r/s;', 'invalid name "a b"'],
    ['usher_limit ' . 'a' x 33 . ' rate=1r/s;', 'invalid name'],
    ['usher_limit a rate=1r/s; usher_limit a rate=1r/s;', 'given twice'],
    ['usher_limit a rate=1r/s; location /b { usher_limit a rate=2r/s; }',
     'share their buckets'],
    ['usher_limit plan early;', 'cannot be "early"'],
    ['usher_limit plan rate=1r/s;', 'invalid parameter "rate=1r/s"'],
    ['usher_limit off; usher_limit a rate=1r/s; usher_limit off;',
     '"off" must stand alone'],
    ['usher_limit off; usher_limit a rate=1r/s;', '"off" must stand alone'],
    ['usher_limit a rate=1r/s; usher_limit off;', '"off" must stand alone'],
    ['usher_limit a rate=1r/s early key=$usher_key_id;',
     'limit "a" cannot be "early": "$usher_key_id" is not known then'],
    ['usher_limit a early rate=1r/s key=a$remote_addr${USHER_ORG}b;',
     '"$usher_org" is not known then'],
    ['usher_limit a early rate=1r/s cost=1$usher_scope;',
     '"$usher_scope" is not known then'],
    ['usher_limit a early rate=1r/s key=$usher_env;',
     '"$usher_env" is not known then'],
    ['usher_limit_status 200;', 'value must be between 400 and 599'],
    ['usher_limit_headers maybe;', 'invalid value "maybe"'],
    ['usher_limit_log_level loud;', 'invalid value "loud"'],
    ['usher_event sometimes;', 'invalid value "sometimes"'],
    ['usher_route "";', 'empty value'],
    ['usher_request_id $nothing_like_it;', 'unknown'],
    ['usher_node a;', '"usher_node" directive is not allowed here'],
) {
    my ($code, $text) = $t->nginx_test("$zone$server\n$_->[0] } ");

    isnt($code, 0, "refused: $_->[0]");
    like($text, qr/\Q$_->[1]\E.* in \S+:\d+|unknown "nothing_like_it"/,
         'with reason and line');      # nginx's own for variables has none
}

is(($t->nginx_test("$zone$server usher_limit a rate=1r/s early "
                   . 'key=$usher_request_id$usher_orgs; } map $host '
                   . '$usher_orgs { default a; }'))[0], 0,
   'early with what is known then');

for ('usher_auth on;', 'usher_limit a rate=1r/s;', 'usher_limit plan;') {
    my ($code, $text) = $t->nginx_test("$server $_ }");
    isnt($code, 0, "$_ without a zone");
    like($text, qr/"usher_\w+" requires "usher_zone" in \S+:\d+/, 'said so');
}

for (
    ['usher_stale asset 1m;', 'unknown kind "asset" of records'],
    ['usher_stale key never;', 'invalid time "never"'],
    ['usher_stale key -1;', 'invalid time "-1"'],
    ['usher_stale key 5x;', 'invalid time "5x"'],
    ['usher_stale key "";', 'invalid time ""'],
    ['usher_stale key;', 'invalid number of arguments in "usher_stale"'],
    ['usher_stale key 1m; usher_stale plan 1m; usher_stale key 1m;',
     'is duplicate'],
) {
    my ($code, $text) = $t->nginx_test("$zone$_->[0]\n$server }");

    isnt($code, 0, "refused: $_->[0]");
    like($text, qr/\Q$_->[1]\E.* in \S+:\d+/, 'with reason and line');
}

is(($t->nginx_test("$zone usher_stale key 0; usher_stale plan forever; "
                   . "$server }"))[0], 0, 'usher_stale, both');

my ($code, $text) = $t->nginx_test(
    "usher_zone 1m; usher_redis %%REDIS%% role=stream; $server usher_auth on; }");
like($text, qr/"usher_auth" requires "usher_redis" .*"directory" in \S+:\d+/,
     'usher_auth without a directory');

($code, $text) = $t->nginx_test("$zone usher_node ''; $server }");
like($text, qr/empty name/, 'usher_node, empty');
($code, $text) = $t->nginx_test("$zone usher_node " . 'n' x 65 . "; $server }");
like($text, qr/longer than 64 bytes/, 'usher_node, long');

my $d = Usher::Key->new($t);
my $key = $d->key;

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;
        usher_auth on;
        usher_auth_failures rate=1r/h burst=3;
        usher_limit slow rate=1000r/s key=all;

        location /post {
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        return 200 "ok";
    }
CONF

my $auth = "X-API-Key: $key\r\n";

like($t->http("GET / HTTP/1.0\r\n\r\n"),
     qr{^HTTP/1.1 401 .*\r\nConnection: close.*"reason":"missing"}s,
     'HTTP/1.0');
like($t->http("GET /none HTTP/1.0\r\n$auth\r\n"), qr{^HTTP/1.1 404 },
     'HTTP/1.0 with a key');
like($t->http("GET /\r\n"), qr{"reason":"missing"}, 'HTTP/0.9');
like($t->http("nonsense\r\n\r\n"), qr{^HTTP/1.1 400 |^<html>}, 'no request');
like($t->http("GET / HTTP/1.1\r\nHost: a\r\n" . 'X-A: ' . 'a' x 40000 . "\r\n"),
     qr{^HTTP/1.1 400 }, 'header flood');

my $s = $t->connect;
print $s "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: ", Usher::Key::text(),
    "\r\n\r\n";
close $s;

is($t->get('/none', 'X-API-Key' => $key)->status, 404, 'after an aborted one');

like($t->http("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
              . "GET /none HTTP/1.1\r\nHost: a\r\n${auth}Connection: close\r\n"
              . "\r\n"),
     qr{^HTTP/1.1 401.*HTTP/1.1 404 }s, 'a refused body is read away');
is($t->post('/post', 'x' x 100000, 'X-API-Key' => $key)->status, 200,
   'a body that is admitted');

for (['application/json', 'json'], ['*/*', 'json'], ['text/html', 'html'],
     ['text/html,application/xhtml+xml,*/*;q=0.8', 'html'],
     ['text/html;q=0.5, application/problem+json', 'json'],
     ['application/json;q=0.1, text/html;q=0.9', 'html'],
     ['image/png', 'empty'], ['application/*, text/html;q=0', 'json'])
{
    my $r = $t->get('/', Accept => $_->[0]);
    my $type = $r->header('Content-Type') // '';

    is($r->status, 401, "Accept: $_->[0]");
    is($type =~ /html/ ? 'html' : $type =~ /json/ ? 'json' : 'empty', $_->[1],
       'is honoured');
    ok($r->header('WWW-Authenticate'), 'challenged all the same');
}

# bad keys from one address: first 401, then 429; a good one always passes

my @got = map { $t->get('/', 'X-API-Key' => 'x' x 20)->status } 1 .. 5;

is($got[-1], 429, "failure limiter: @got");

my $r = $t->get('/', 'X-API-Key' => Usher::Key::text());
is($r->status, 429, 'an unknown key');
is($r->json->{reason}, 'throttled', 'reason');
like($r->json->{type}, qr/#abnormal-usage-detected$/, 'type');
ok($r->header('Retry-After'), 'Retry-After');
is($t->get('/none', 'X-API-Key' => $key)->status, 404, 'a good key passes');
is($t->get('/none', 'X-API-Key' => $d->key)->status, 404,
   'and one that was never seen');
is($t->get('/')->status, 401, 'no key is no failure');

$t->stop('redis');
$r = $t->get('/', 'X-API-Key' => Usher::Key::text());
like($r->status, qr/503|429/, 'Redis away: an unknown key cannot be known');
is($t->get('/none', 'X-API-Key' => $key)->status, 404,
   'Redis away: a known one is');

done_testing();
