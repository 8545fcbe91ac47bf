#!/usr/bin/perl

# A key in a header is not logged, wherever its request ends: before access,
# in another location than it came to, or before there is a location.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    limit_req_zone $server_port zone=req:1m rate=1r/m;
    log_format test "$request_uri $status $http_x_api_key|$http_x_own|"
                    "$http_authorization|";

    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/access.log test;

        location / {
            usher_auth on;
        }

        location /early/ {
            usher_limit before rate=1r/d key=all early;
            usher_auth on;
        }

        location /page/ {
            usher_limit page rate=1r/d key=all early;
            usher_auth on;
            usher_credential $http_x_own;
            error_page 429 /open/page;
        }

        location /req/ {
            limit_req zone=req;
            usher_auth on;
        }

        location /return/ {
            usher_auth on;
            return 301 /;
        }

        location /large/ {
            usher_auth on;
            client_max_body_size 10;
        }

        location /slash/ {
            usher_auth on;
            proxy_pass http://127.0.0.1:1;
        }

        location /open/ {
        }

        location /other/ {
            usher_auth on;
            usher_credential $http_x_own;
            try_files /none /inner/x;
        }

        location /inner/ {
            usher_auth optional;
            usher_credential $http_x_own $arg_key;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_alien%%;
        access_log %%DIR%%/alien.log test;
        location / {
        }
    }
CONF

$t->write_file("edge1/html/$_/x", 'content')
    for qw(. early req open inner page large);
$t->write_file('edge1/html/open/page', 'slow down');

my $key = $d->key;
my $own = $d->key;
my @usual = ('X-API-Key' => $key, Authorization => "Bearer $key");
my @all = (@usual, 'X-Own' => $own);
my $raw = "X-API-Key: $key\r\nX-Own: $own\r\nAuthorization: Bearer $key\r\n";

sub statuses {
    my ($uri, $n, @headers) = @_;
    return join ' ', map { $t->get($uri, @headers)->status } 1 .. $n;
}

is(statuses('/x', 1, @usual), '200', 'an admitted request');
is(statuses('/early/x', 2, @usual), '200 429', 'an early limit');
is(statuses('/page/x', 2, 'X-Own' => $own), '200 429',
   'and its error page in an open location');
is(statuses('/req/x', 2, @usual), '200 503', 'limit_req');
is(statuses('/return/x', 1, @all), '301', 'a return');
is($t->post('/large/x', 'x' x 100, @all)->status, 413, 'a large body');
is(statuses('/slash', 1, @all), '301', 'a location without its slash');
is(statuses('/open/none', 1, @all), '404', 'a location without a key');
is(statuses('/other/x', 1, 'X-Own' => $own), '200', 'an inner location');
like($t->http("GET /bad HTTP/1.1\r\n${raw}Content-Length: x\r\n\r\n"),
     qr{ 400 }, 'a header that is refused');
like($t->http("GET /host HTTP/1.1\r\n$raw\r\n"), qr{ 400 }, 'no Host');

my $s = $t->connect;
print $s "GET /gone HTTP/1.1\r\nHost: a\r\n$raw";
close $s;

my $log = $t->dir . '/edge1/access.log';
my $text;

$t->wait_for(sub { ($text = $t->slurp($log)) =~ m{^/gone 400 }m },
             'a client that went away');

is(scalar(() = $text =~ /\n/g), 15, 'all of them are logged');

for ($key, $own) {
    my $part = substr $_, 0, -4;
    unlike($text, qr/^.*\Q$part\E/m, 'no key in the access log');
}

# a server without usher_auth is none of our business

is($t->http("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n$raw\r\n",
            port => $t->port('edge1_alien')) =~ / (\d+) /, 1, 'another server');
like($t->slurp($t->dir . '/edge1/alien.log'),
     qr{^/x 200 \Q$key|$own|Bearer $key\E\|$}m, 'logs as it did');

done_testing();
