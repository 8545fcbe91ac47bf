#!/usr/bin/perl

# What a refusal looks like to a client that is not the usual one (HEAD,
# HTTP/1.0), what its instance says, and an error page that asks for a key.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    log_format test "$uri $usher_request_id";

    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/access.log test;

        location /limited {
            usher_limit few rate=1r/d key=$arg_who;
        }

        location /away {
            usher_auth on;
        }

        location /id {
            usher_auth on;
            usher_request_id $http_x_id;
        }

        location /page/ {
            usher_auth on scope=read;
            usher_limit page rate=1r/d key=all;
            error_page 401 403 429 503 @asked;
        }

        location @asked {
            usher_auth on scope=read,write;
            usher_limit page rate=1r/d key=all;
            usher_limit asked rate=100r/d key=all;
            root %%DIR%%/asked;
        }
    }
CONF

$t->write_file("edge1/$_/page/x", $_) for qw(html asked);
$t->write_file('edge1/html/limited', 'content');

# GET, HEAD and HTTP/1.0 of one refusal

sub same {
    my ($uri, $status, $headers, $what) = @_;

    my $get = $t->get($uri, @$headers);
    my $head = $t->head($uri, @$headers);
    my $old = $t->http("GET $uri HTTP/1.0\r\n"
                       . join(': ', @$headers) . "\r\n\r\n");
    my $stay = $t->http("HEAD $uri HTTP/1.0\r\nConnection: keep-alive\r\n"
                        . join(': ', @$headers) . "\r\n\r\n"
                        . "HEAD $uri HTTP/1.0\r\nA: b\r\n"
                        . join(': ', @$headers) . "\r\n\r\n");

    is($get->status, $status, $what);
    is($get->header('Content-Length'), length $get->body, "$what: length");
    ok($get->header('Retry-After'), "$what: Retry-After");

    is($head->status . $head->body, $status, "$what: HEAD has no body");
    is($head->header($_), $get->header($_), "$what: HEAD has the same $_")
        for qw(Content-Type Content-Length Cache-Control RateLimit-Policy);
    ok($head->header('Retry-After'), "$what: HEAD has Retry-After");

    $old = Usher::Test::Response->new($old);
    is($old->status, $status, "$what: HTTP/1.0");
    is($old->header('Transfer-Encoding'), undef, "$what: HTTP/1.0, whole");
    is($old->header('Connection'), 'close', "$what: HTTP/1.0, closed");
    is($old->json->{status}, $status, "$what: HTTP/1.0, the problem");

    is(scalar(() = $stay =~ m{^HTTP/1.1 $status }mg), 2,
       "$what: HTTP/1.0, two on one connection");
}

$t->get('/limited?who=all');
same('/limited?who=all', 429, [A => 'b'], 'over a limit');

$t->signal('redis', 'STOP');
same('/away', 503, ['X-API-Key' => Usher::Key::text()], 'cannot be known');
$t->signal('redis', 'CONT');

# the instance is the request's id, whoever gave it

my $own = 'Straße "5"/%41' . 'x' x 60;
my $part = substr $own, 0, 64;

$part =~ s/([^\w.~-])/sprintf '%%%02X', ord $1/gea;

is($t->get('/id', 'X-Id' => 'abc-1')->json->{instance},
   'urn:usher:request:abc-1', "a client's id");
is($t->get('/id', 'X-Id' => $own)->json->{instance},
   "urn:usher:request:$part", 'escaped, and as long as in its event');

my $instance = $t->get('/id')->json->{instance};
my $log = $t->slurp($t->dir . '/edge1/access.log');

like($log, qr{^/id abc-1$}m, 'which is $usher_request_id');
like($instance, qr/^urn:usher:request:[0-9a-f]{32}$/, 'or one of our own');
like($log, qr{^/id \Q@{[ substr $instance, 18 ]}\E$}m, 'likewise');

# an error page that asks for a key itself

my @reader = ('X-API-Key' => $d->key(scope => 'read'));
my @writer = ('X-API-Key' => $d->key(scope => 'read write'));
my $r;

$t->wait_for(sub { $t->get('/away', @reader)->status == 404 },
             'keys can be known');

$r = $t->get('/page/x');
is($r->status, 401, 'no key, and an error page for which it has none');
is(scalar(my @all = $r->header($_)), 1, "one $_")
    for qw(WWW-Authenticate Cache-Control);

is($t->get('/page/x', @reader)->body, 'html', 'a key that is admitted');

$r = $t->get('/page/x', @reader);
is($r->status, 403, 'over the limit, and not admitted to its page');
like($r->header('WWW-Authenticate'), qr/scope="read write"/, 'which says why');

$r = $t->get('/page/x', @writer);
is($r->status . $r->body, '429asked', 'over the limit, and its page');
is(scalar(@all = $r->header($_)), 1, "one $_")
    for qw(Retry-After RateLimit RateLimit-Policy);
like($r->header('RateLimit'), qr/^"page";r=0;t=\d+$/,
     'of the limit that refused: the page has none');

done_testing();
