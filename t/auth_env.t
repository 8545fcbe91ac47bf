#!/usr/bin/perl

# Live and test keys: $usher_env, and locations that take only one of them.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    log_format test "$uri $usher_auth_status env=$usher_env";

    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/access.log test;
        add_header X-Env "$usher_env";
        usher_auth on env=live;

        location /live {
            location /live/inner {
                ssi on;
                ssi_types *;
            }
            location /live/all {
                usher_auth on;
            }
        }

        location /test {
            usher_auth on scope=read env=test;
        }

        location /part {
            usher_auth on env=test;
        }

        location /optional {
            usher_auth optional env=test;
        }

        location /dry {
            usher_auth_dry_run on;
        }
    }
CONF

mkdir $t->dir . '/edge1/html/live';
$t->write_file("edge1/html/$_", 'content') for qw(test part optional dry live/all);
$t->write_file('edge1/html/live/inner',
               'a <!--# include virtual="/part" --> b');

my $live = $d->key(scope => 'read');
my $test = $d->key(scope => 'read', env => 'test');
my $none = $d->key(env => 'test');

like($test, qr/^us_test_/, 'a test key');

sub ask {
    my ($uri, $key) = @_;

    my $r = $t->get($uri, $key ? ('X-API-Key' => $key) : ());

    return $r->status == 200 ? '200 ' . ($r->header('X-Env') // '')
                             : $r->status . ' ' . $r->json->{reason};
}

is(ask('/live/all', $live), '200 live', 'no env: live');
is(ask('/live/all', $test), '200 test', 'no env: test');
is(ask('/live/inner', $live), '200 live', 'env=live, inherited: live');
is(ask('/live/inner', $test), '403 env', 'test');
is(ask('/test', $test), '200 test', 'env=test: test');
is(ask('/test', $live), '403 env', 'live');
is(ask('/test', $none), '403 scope', 'and its scope');
is(ask('/optional'), '200 ', 'optional: no key has no environment');
is(ask('/optional', $live), '403 env', 'a live one is refused all the same');
is(ask('/dry', $test), '200 test', 'a dry run');

my $r = $t->get('/test', 'X-API-Key' => $live);
is($r->header('WWW-Authenticate'), undef, 'no challenge: no key would do');
like($r->json->{detail}, qr/other environment/, 'it is said');
unlike($t->get('/live/inner', 'X-API-Key' => $live)->body, qr/content/,
       'a part for test keys is refused in a page for live ones');

$d->change($live, state => 'revoked');
$t->wait_for(sub { ask('/test', $live) eq '401 revoked' },
             'what is wrong with the key comes first');

my $log = $t->slurp($t->dir . '/edge1/access.log');

like($log, qr{^/dry env_dry_run env=test$}m, 'the dry run is logged');
like($log, qr{^/test env env=-$}m, 'nothing is said of who was refused');

done_testing();
