#!/usr/bin/perl

# A plan whose record cannot be read: a limit that depends on it is answered
# 503, usherd is told and writes it again, and the limit holds.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');
$t->ctl("plan create name=$_") for 'pro', 'other';
$t->ctl("plan policy_set plan=$_ policy=pace quota=3 window=86400")
    for 'pro', 'other';

my $key = $t->ctl('key create org=acme plan=pro');
my $other = $t->ctl('key create org=acme plan=other');
my $none = key_new($t);
my $id = 'plan:' . $t->sql("select id from usher.plan where name = 'pro'");

$t->wait_for(sub { record($t, $id) && record($t, key_id($_->{key})) },
             'a record')
    for $key, $other, $none;

my $good = $t->redis_cli('get', "usher:d:$id");
like($good, qr/"quota": ?3\b/, 'as it is written');

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;
        usher_auth on;
        location / { }
        location /plan/ {
            usher_limit plan;
            alias %%DIR%%/html/;
        }
    }
CONF

$t->write_file('edge1/html/file', 'content');
$t->wait_for(sub { status($t, $key) == 200 }, 'the key is known');


sub limited { $t->get('/plan/file', 'X-API-Key' => $_[0]{key}) }

my $long = 'x' x 600;
my %corrupt = (
    'not JSON' => 'nonsense',
    'empty' => '',
    'cut' => substr($good, 0, -1),
    'no version' => $good =~ s/"v":\d+,//r,
    'no policies' => $good =~ s/"policies"/"polices"/r,
    'policies that are text' => $good =~ s/"policies": ?\[.*\]/"policies":"x"/r,
    'a quota that is text' => $good =~ s/"quota": ?3/"quota":"3"/r,
    'a negative quota' => $good =~ s/"quota": ?3/"quota":-3/r,
    'no window' => $good =~ s/, "window": 86400//r,
    'a name too long' => $good =~ s/"pro"/"$long"/r,
    'an unknown scope' => $good =~ s/"scope": ?"key"/"scope":"all"/r,
);

$t->signal('directory', 'STOP');

for my $how (sort keys %corrupt) {
    isnt($corrupt{$how}, $good, "$how differs");
    $t->redis_cli('set', "usher:d:$id", $corrupt{$how});

    my $r = limited($key);
    is($r->status, 503, $how);
    is($r->json->{reason}, 'unavailable', 'says so');
    ok($r->header('Retry-After'), 'Retry-After');
}

is(() = $t->error_log =~ /record $id of the directory cannot be read/g, 1,
   'said once');
is($t->redis_cli('smembers usher:d:bad'), $id, 'usherd is told');
is(status($t, $key), 200, 'what needs no plan is served');
is(limited($none)->status, 200, 'as is a key without one');
is(limited($other)->status, 200, 'and one of another plan');

$t->signal('directory', 'CONT');
$t->wait_for(sub { $t->redis_cli('get', "usher:d:$id") =~ /"policies": ?\[\{/ },
             'usherd wrote it again');

my @got;

$t->wait_for(sub { push @got, limited($key)->status; $got[-1] == 429 },
             'and its limit holds');
is((grep { $_ == 200 } @got), 3, 'from its first unit on');
like($t->error_log, qr/\Q$id\E of the directory can be read again/, 'said');
is($t->redis_cli('scard usher:d:bad'), 0, 'nothing is bad any more');

done_testing();
