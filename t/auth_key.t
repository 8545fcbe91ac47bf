#!/usr/bin/perl

# usher_auth: where a key may stand, what is refused and how it is said.

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
    log_format test "$uri auth=$usher_auth_status org=$usher_org "
                    "$usher_org_id key=$usher_key_id scope=$usher_scope "
                    "limit=$usher_limit_status";

    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/access.log test;

        location / {
            usher_auth on;
        }

        location /read {
            usher_auth on "scope=read list" scope=write;
            usher_auth_realm 'the "inner" \ realm';
        }

        location /optional {
            usher_auth optional;
        }

        location /off {
            usher_auth off;
        }

        location /dry {
            usher_auth on scope=read;
            usher_auth_dry_run on;
        }

        location /options {
            usher_auth on preflight=pass;
        }
    }
CONF

$t->write_file("edge1/html$_", 'content')
    for qw(/index.html /read /optional /off /dry /options);

my $key = $d->key(scope => 'read list write', id => 17);
my $other = $d->key;
my ($r, $problem);

is($t->get('/', 'X-API-Key' => $key)->status, 200, 'X-API-Key');
is($t->get('/', Authorization => "Bearer $key")->status, 200, 'Bearer');
is($t->get('/', Authorization => "bEARER   $key ")->status, 200,
   'scheme in any case, spaces');
is($t->get('/', 'X-API-Key' => $key, Authorization => "Bearer $key")->status,
   200, 'the same key twice');
is($t->get('/', 'X-API-Key' => $key, Authorization => 'Basic dTpw')->status,
   200, 'another scheme is not ours');

$r = $t->get('/', 'X-API-Key' => $key, Authorization => "Bearer $other");
is($r->status, 400, 'two different keys');
is($r->header('WWW-Authenticate'), 'Bearer realm="api", '
   . 'error="invalid_request", '
   . 'error_description="two different keys were sent"', 'challenge of 400');
is($r->json->{reason}, 'conflict', 'reason of 400');

$r = $t->get('/');
is($r->status, 401, 'no key');
is($r->header('WWW-Authenticate'), 'Bearer realm="api"', 'no error attribute');
is($r->header('Content-Type'), 'application/problem+json', 'problem');
is($r->header('Cache-Control'), 'no-store', 'no-store');

$problem = $r->json;
is($problem->{status}, 401, 'status in the problem');
is($problem->{type}, 'about:blank', 'type');
is($problem->{reason}, 'missing', 'reason');
like($problem->{instance}, qr/^urn:usher:request:[0-9a-f]{32}$/, 'instance');

is($t->get('/', Authorization => $_)->json->{reason}, 'missing', "'$_'")
    for 'Bearer', 'Bearer ';

for ("ApiKey $key", $key, 'Basic dTpw', 'Bearerx', "Bearer: $key") {
    my $name = s/\Q$key\E/KEY/r;

    $r = $t->get('/', Authorization => $_);
    is($r->json->{reason}, 'scheme', "no Bearer: '$name'");
    like($r->json->{detail}, qr/must be Bearer/, 'is said');
    is($r->header('WWW-Authenticate'), 'Bearer realm="api"', 'challenge');
}

is($t->get('/optional', Authorization => "ApiKey $key")->status, 200,
   'optional, no Bearer');

my $typo = $key;
substr($typo, 20, 1) = substr($typo, 20, 1) eq 'x' ? 'y' : 'x';

my %bad = (
    'a typing error' => [$typo, 'bad_checksum'],
    'garbage' => ['garbage', 'malformed'],
    'not ASCII' => ["us_live_\xff\x80" . 'x' x 34, 'malformed'],
    'oversized' => ['us_live_' . 'x' x 7000, 'malformed'],
    'unknown' => [Usher::Key::text(), 'unknown'],
    'expired' => [$d->key(exp => time - 1), 'expired'],
    'revoked' => [$d->key(state => 'revoked'), 'revoked'],
    'rotated' => [$d->key(exp => time - 1, rot => 1), 'rotated'],
    'disabled' => [$d->key(state => 'disabled'), 'org_disabled'],
);

for my $name (sort keys %bad) {
    $r = $t->get('/', 'X-API-Key' => $bad{$name}[0]);
    is($r->status, 401, $name);
    is($r->json->{reason}, $bad{$name}[1], "$name: reason");
    like($r->header('WWW-Authenticate'),
         qr/^Bearer realm="api", error="invalid_token", error_description="[ -~]+"$/,
         "$name: challenge");
}

is($t->get('/', 'X-API-Key' => $d->key(exp => time + 60))->status, 200,
   'not expired yet');
is($t->get('/', 'X-API-Key' => $d->key(exp => time + 60, rot => 1))->status,
   200, 'rotated, in its grace period');

is($t->get('/read', 'X-API-Key' => $key)->status, 200, 'scopes');
$r = $t->get('/read', 'X-API-Key' => $d->key(scope => 'read lists write'));
is($r->status, 403, 'a scope is missing');
is($r->header('WWW-Authenticate'), 'Bearer realm="the \\"inner\\" \\\\ realm", '
   . 'error="insufficient_scope", '
   . 'error_description="the key lacks a scope", scope="read list write"',
   'challenge of a scope');
is($r->json->{reason}, 'scope', 'reason of a scope');

is($t->get('/optional')->status, 200, 'optional without a key');
is($t->get('/optional', 'X-API-Key' => $key)->status, 200, 'optional, good');
is($t->get('/optional', 'X-API-Key' => $typo)->status, 401, 'optional, bad');
is($t->get('/off', 'X-API-Key' => $typo)->status, 200, 'off');
is($t->get('/dry')->status, 200, 'dry run without a key');
is($t->get('/dry', 'X-API-Key' => $other)->status, 200, 'dry run, no scope');

my @cors = (Origin => 'https://a.test',
            'Access-Control-Request-Method' => 'GET');

is($t->request('OPTIONS', '/options', undef, @cors)->status, 405, 'preflight');
is($t->request('OPTIONS', '/options')->status, 401, 'plain OPTIONS');
is($t->request('OPTIONS', '/', undef, @cors)->status, 401,
   'a preflight is a request like any, unless told otherwise');

$r = $t->head('/');
is($r->status, 401, 'HEAD');
is($r->body, '', 'HEAD has no body');
cmp_ok($r->header('Content-Length'), '>', 100, 'but its length');

$d->change($key, state => 'revoked');
$t->wait_for(sub { $t->get('/', 'X-API-Key' => $key)->status == 401 },
             'revoked');

my $log = $t->slurp($t->dir . '/edge1/access.log');

like($log, qr{^/index.html auth=ok org=acme 5 key=17 scope=read list write}m,
     'variables');
like($log, qr{^/optional auth=anonymous org=- - key=- scope=- limit=-}m,
     'variables without a key');
like($log, qr{^/dry auth=missing_dry_run}m, 'dry run in the status');
like($log, qr{^/dry auth=scope_dry_run org=acme}m, 'dry run with a key');
unlike($log . $t->error_log, qr/\Q$key\E|\Q$typo\E/, 'no key in a log');

done_testing();
