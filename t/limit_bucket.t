#!/usr/bin/perl

# usher_limit: buckets, their fields and refusals, alone and by plan.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$d->plan(3, 'pro', { name => 'rps', quota => 2, window => 3600, burst => 3 },
         { name => 'team', quota => 100, window => 3600, burst => 5,
           scope => 'org' });

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    log_format test "$uri $status plan=$usher_plan limit=$usher_limit_status "
                    "violated=$usher_limit_violated";

    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/access.log test;

        location /plan {
            usher_auth optional;
            usher_limit plan;
        }

        location /three {
            usher_limit three rate=3r/h key=all;
        }

        location /again {
            usher_limit three rate=3r/h key=all;
        }

        location /both {
            usher_limit wide rate=100r/h key=all;
            usher_limit narrow rate=2r/h key=all;
        }

        location /dry {
            usher_limit dry rate=1r/h key=all dry_run;
            usher_limit wet rate=5r/h key=all;
        }

        location /deep {
            usher_limit deep rate=2r/h burst=5 key=all;
        }

        location /quiet {
            usher_limit quiet rate=1r/h key=all;
            usher_limit_headers off;
            usher_limit_status 503;
        }

        location /early {
            usher_limit before rate=1r/h key=all early;
            usher_auth on;
        }

        location /inherit {
            usher_limit outer rate=1r/h key=all;
            location /inherit/off {
                usher_limit off;
            }
            location /inherit/same {
                usher_limit_status 420;
            }
        }
    }
CONF

mkdir $t->dir . '/edge1/html/inherit';
$t->write_file("edge1/html/$_", 'content')
    for qw(plan three again both dry deep quiet early inherit/off inherit/same);

sub statuses {
    my ($uri, $n, @headers) = @_;
    return join ' ', map { $t->get($uri, @headers)->status } 1 .. $n;
}

my $r = $t->get('/three');
is($r->status, 200, 'admitted');
is($r->header('RateLimit-Policy'), '"three";q=3;w=3600', 'RateLimit-Policy');
is($r->header('RateLimit'), '"three";r=2', 'RateLimit');
is($r->header('Retry-After'), undef, 'no Retry-After');

is(statuses('/again', 2), '200 200', 'a limit of the same name');
$r = $t->get('/three');
is($r->status, 429, 'shares its bucket');
like($r->header('RateLimit'), qr/^"three";r=0;t=1(19\d|200)$/, 't');

my ($wait) = $r->header('RateLimit') =~ /t=(\d+)/;
cmp_ok($r->header('Retry-After'), '>=', $wait, 'Retry-After is not before t');
cmp_ok($r->header('Retry-After'), '<=', $wait * 1.1 + 1, 'nor long after');

is($r->header('Content-Type'), 'application/problem+json', 'problem');
is($r->header('Cache-Control'), 'no-store', 'no-store');
is($r->json->{type}, 'https://iana.org/assignments/http-problem-types'
   . '#quota-exceeded', 'type');
is_deeply($r->json->{'violated-policies'}, ['three'], 'violated-policies');
is($r->json->{status}, 429, 'status');

is(statuses('/both', 4), '200 200 429 429', 'two limits');
$r = $t->get('/both');
is_deeply($r->json->{'violated-policies'}, ['narrow'], 'one is violated');
like($r->header('RateLimit'), qr/^"wide";r=98, "narrow";r=0;t=\d+$/,
     'all or none: the other was not charged');

is(statuses('/dry', 3), '200 200 200', 'dry run refuses nothing');
is($t->get('/dry')->header('RateLimit'), '"wet";r=1', 'and is not shown');

is(join(' ', map { $t->get('/deep')->header('RateLimit') =~ /(r=\d+)/ } 1 .. 5),
   'r=2 r=2 r=2 r=1 r=0', 'a deep bucket: what is left of the quota');

$t->get('/quiet');
$r = $t->get('/quiet');
is($r->status, 503, 'usher_limit_status');
is($r->header('RateLimit'), undef, 'usher_limit_headers off');
ok($r->header('Retry-After'), 'Retry-After is kept');

is(statuses('/early', 2), '401 429', 'early comes before auth');

is($t->get('/inherit/same')->status, 200, 'inherited');
is($t->get('/inherit/same')->status, 420, 'inherited, its bucket too');
is(statuses('/inherit/off', 3), '200 200 200', 'off');

my $key = $d->key(plan_id => 3);
my $second = $d->key(plan_id => 3);
my $none = $d->key;

$r = $t->get('/plan', 'X-API-Key' => $key);
is($r->header('RateLimit-Policy'), '"rps";q=2;w=3600, "team";q=100;w=3600',
   'policies of the plan');
is($r->header('RateLimit'), '"rps";r=2, "team";r=4', 'their state');
is(statuses('/plan', 3, 'X-API-Key' => $key), '200 200 429', 'scope key');
is(statuses('/plan', 3, 'X-API-Key' => $second), '200 200 429', 'scope org');
is($t->get('/plan', 'X-API-Key' => $none)->header('RateLimit'), undef,
   'no plan');
is($t->get('/plan')->header('RateLimit'), undef, 'no key');

$d->plan(3, 'pro', { name => 'rps', quota => 7200, window => 3600,
                     burst => 8 });
$t->wait_for(sub {
    my $r = $t->get('/plan', 'X-API-Key' => $second);
    return $r->status == 200
           && $r->header('RateLimit-Policy') eq '"rps";q=7200;w=3600';
}, 'a plan changed live');

my $log = $t->slurp($t->dir . '/edge1/access.log');

like($log, qr{^/plan 200 plan=pro limit=passed violated=-}m, 'passed');
like($log, qr{^/plan 429 plan=pro limit=rejected violated=rps}m, 'rejected');
like($log, qr{^/dry 200 plan=- limit=rejected_dry_run violated=dry}m,
     'dry run');

done_testing();
