#!/usr/bin/perl

# Access first, then the limit, then all else: what access refused is charged
# nowhere, what a limit refused is not mirrored; and under satisfy any no
# reason of ours ends a request that another module would admit.

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
    log_format uri '$uri';

    server {
        listen 127.0.0.1:%%PORT%%;

        location /limited/ {
            usher_auth on;
            usher_limit few rate=3r/d key=all;
            mirror /mirror;
        }

        location = /mirror {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /any/ {
            satisfy any;
            usher_auth on scope=read;
            auth_basic "closed";
            auth_basic_user_file %%DIR%%/html/users;
            usher_limit any rate=1000r/d key=all;
        }

        location /return/ {
            usher_auth on;
            return 200 "open";
        }

        location /answer/ {
            usher_auth on;
            try_files /none @answer;
        }

        location @answer {
            return 200 "closed";
        }

        location /deny/ {
            satisfy any;
            usher_auth on scope=read;
            deny all;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        access_log %%DIR%%/mirror.log uri;
        return 204;
    }
CONF

my $html = 'edge1/html';

$t->write_file("$html/users", "u:{PLAIN}p\n");
$t->write_file("$html/$_/x", 'content') for qw(limited any deny);

my @reader = ('X-API-Key' => $d->key(scope => 'read'));
my @other = ('X-API-Key' => $d->key(scope => 'write'));
my @basic = (Authorization => 'Basic dTpw');
my @two = (@other, 'X-API-Key' => $d->key);

$t->wait_for(sub { $t->get('/deny/x', @reader)->status == 200 },
             'keys can be known');

# nginx returns before it asks for access, unless that leads there

is($t->get('/return/x')->body, 'open', 'return needs no key');
is($t->get('/answer/x')->status, 401, 'behind try_files it does');
is($t->get('/answer/x', @reader)->body, 'closed', 'and answers who has one');

# refused by auth: the limit never hears of it

is($t->get('/limited/x')->status, 401, 'no key') for 1 .. 5;
is($t->get('/limited/x', 'X-API-Key' => Usher::Key::text())->status, 401,
   'an unknown key') for 1 .. 5;
is($t->get('/limited/x', @reader)->header('RateLimit'), '"few";r=2',
   'those were not charged');

# refused by the limit: nothing after it runs

my @got = map { $t->get('/limited/x', @reader)->status } 1 .. 6;

is("@got", '200 200 429 429 429 429', 'the limit');
$t->wait_for(sub { 3 <= (() = $t->slurp("$t->{dir}/edge1/mirror.log")
                              =~ /\n/g) }, 'what was admitted is mirrored');
is($t->get('/any/x', @reader)->status, 200, 'a while later');
is(scalar(() = $t->slurp("$t->{dir}/edge1/mirror.log") =~ /\n/g), 3,
   'and nothing else');

# satisfy any

is($t->get('/any/x', @basic)->header('RateLimit'), '"any";r=998',
   'any: a password is limited');
is($t->get('/any/x', @reader)->header('RateLimit'), '"any";r=997',
   'any: as is a key');
is($t->get('/any/x', @two, @basic)->status, 200,
   'any: two keys (400), and a password');
is($t->get('/deny/x', @reader)->status, 200, 'any: a key, and deny');
is($t->get('/deny/x', @two)->status, 403, 'any: two keys, and deny');
is($t->get('/deny/x', @other)->status, 403, 'any: no scope, and deny');

$t->kill9('redis');
my @unknown = ('X-API-Key' => Usher::Key::text());
is($t->get('/any/x', @unknown, @basic)->status, 200,
   'any: cannot be known (503), and a password');
is($t->get('/deny/x', @unknown)->status, 403, 'any: cannot be known, and deny');
is($t->get('/limited/x', @unknown)->status, 503, 'alone it is 503');

done_testing();
