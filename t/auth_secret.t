#!/usr/bin/perl

# A key never appears in a log and is not proxied: headers are stripped,
# arguments overwritten, whatever else is in the request.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    large_client_header_buffers 8 16k;
    log_format test "$request|$request_uri|$args|$http_x_api_key|"
                    "$http_authorization|$http_x_own|$arg_key|$arg_q|$seen|"
                    "$uri|$usher_auth_status|$http_last";

    server {
        listen 127.0.0.1:%%PORT%% http2;
        listen 127.0.0.1:%%PORT_plain%%;
        access_log %%DIR%%/access.log test;
        set $seen "";

        location / {
            usher_auth on;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /seen {
            if ($http_x_api_key) {
                set $seen yes;
            }
            usher_auth on;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /keep {
            usher_auth on;
            usher_credential_strip off;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /own {
            usher_auth on;
            usher_credential $http_x_own $arg_key $cookie_key;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        add_header X-Got "$http_x_api_key|$http_authorization|$http_x_own";
        add_header X-Args "$args";
        add_header X-Last "$http_last";
        location / {
            return 200 "ok";
        }
    }
CONF

my $key = $d->key;
my $other = $d->key;
my $plain = $t->port('edge1_plain');
my $log = $t->dir . '/edge1/access.log';

# the port given to get() is the HTTP/2 one's

sub ask {
    my ($uri, @headers) = @_;

    my $raw = "GET $uri HTTP/1.1\r\nHost: a\r\n";

    while (my ($name, $value) = splice @headers, 0, 2) {
        $raw .= "$name: $value\r\n";
    }

    return Usher::Test::Response->new(
        $t->http($raw . "Connection: close\r\n\r\n", port => $plain));
}

my $r = ask('/', 'X-API-Key' => $key, Last => 'last');
is($r->status, 200, 'X-API-Key');
is($r->header('X-Got'), '||', 'is not proxied');
is($r->header('X-Last'), 'last', 'what comes after it is');

is(ask('/', Authorization => "Bearer $key")->header('X-Got'), '||', 'Bearer');
is(ask('/', Authorization => 'Basic dTpw', 'X-API-Key' => $key)
   ->header('X-Got'), '|Basic dTpw|', 'another scheme passes');
is(ask('/keep', 'X-API-Key' => $key)->header('X-Got'), "$key||", 'strip off');
is(ask('/seen', 'X-API-Key' => $key)->header('X-Got'), '||',
   'a variable that a rewrite had read');

for my $n (0, 1, 17, 18, 19, 20, 21, 40, 60) {
    my @before = map { ("B-$_" => $_) } 1 .. $n;
    my @after = map { ("A-$_" => $_) } 1 .. 30;

    $r = ask('/', @before, 'X-API-Key' => $key, @after,
             Authorization => "Bearer $key", 'X-API-Key' => $key, Last => $n);
    is($r->header('X-Got') . $r->header('X-Last'), "||$n",
       "among many headers, after $n");
}

is(ask('/own', 'X-Own' => $key)->header('X-Got'), '||', 'usher_credential');
is(ask('/own', 'X-API-Key' => Usher::Key::text())->status, 401,
   'replaces the defaults');
is(ask('/own', Cookie => $_)->status, 200, 'a cookie')
    for "key=$key", "a=b; KEY = $key ; c", "key=$key;key=$key", "a;;key=$key";
like(ask('/own', Cookie => "key=$_"), qr/^HTTP.1.1 400 .*"conflict"/s,
     'two cookies')
    for "$key; key=$other", "$key; a=b;key=$other ", "$key; key=x";
is(ask('/own', Cookie => "key=$key", Cookie => "a=b; key=$other")->status, 400,
   'in two lines');
like(ask('/own', Cookie => $_), qr/^HTTP.1.1 401 .*"missing"/s,
     'none of that name')
    for "akey=$key; keys=$key; key", 'key=', 'key; =', ';';
is(ask('/own', Cookie => "key=$key", 'X-Own' => $other)->status, 400,
   'cookie and header');

$r = ask("/own?q=1&key=$key&r=2");
is($r->status, 200, 'an argument');
is($r->header('X-Args'), 'q=1&key=' . 'x' x length($key) . '&r=2',
   'is overwritten');
is($r->header('Cache-Control'), 'private', 'and its answer is private');
is(ask('/own', 'X-Own' => $key)->header('Cache-Control'), undef,
   'which that to a header need not be');

(my $escaped = $key) =~ s/_/%5F/g;
is(ask("/own?KEY=$escaped")->status, 200, 'an argument, escaped');
is(ask("/own?key=$key&key=$other")->status, 400, 'two arguments');
is(ask("/own?key=$key&key=$key")->status, 200, 'the same twice');
is(ask("/own?key=$key", 'X-Own' => $other)->status, 400,
   'argument and header');
is(ask('/own?key=short')->header('X-Args'), undef, 'not a key');
is(ask("/own?key=short&q=$plain")->status, 401, 'no key');
ask("/own?key=${key}x");
ask("/?key=$key");
ask("/nothing?q=1&key=$key", 'X-API-Key' => $other);

my $url = 'http://127.0.0.1:' . $t->port('edge1');
my $curl = `curl -s --http2-prior-knowledge -D - '$url/own?a=1&key=$key'`;

like($curl, qr{^HTTP/2 200}, 'HTTP/2');
like($curl, qr{^x-args: a=1&key=x+\r$}m, 'HTTP/2: overwritten');
like(`curl -s --http2-prior-knowledge -D - -H 'X-API-Key: $key' $url/`,
     qr{^x-got: \|\|\r$}mi, 'HTTP/2: stripped');
like(`curl -s --http2-prior-knowledge -D - $url/`,
     qr{^HTTP/2 401.*^\{"type":"about:blank".*"reason":"missing"}ms,
     'HTTP/2: problem');

# refused while it was read, before any of our phases; the error log has it

my $early = Usher::Key::text();

$t->http("GET /own?key=$early$_", port => $plain)
    for " HTTP/1.1\r\n\r\n", " HTTP/9.9\r\nHost: a\r\n\r\n", "\n",
        " HTTP/1.1\r\nHost: a/b\r\n\r\n";

my $gone = $t->connect(port => $plain);
print $gone "GET /own?early&key=$early HTTP/1.1\r\nHost: a\r\n";
close $gone;
`curl -s --http2-prior-knowledge -H 'Host: a/b' '$url/own?key=$early'`;
$t->wait_for(sub { $t->slurp($log) =~ m{^GET /own\?early}m }, 'all are logged');

my $text = $t->slurp($log);

like($text, qr{^GET /own\?key=x+ HTTP/9.9}m, 'a line that is not understood');
unlike($text, qr/\Q$early\E/, 'is logged without its key');

like($text, qr{^GET /own\?a=1&key=x+ HTTP/2}m, 'log of HTTP/2');
like($text, qr/\|yes\|/, 'the variable was read');

for my $secret ($key, $other, $escaped) {
    my $part = substr $secret, 0, -4;

    unlike($text, qr/\Q$part\E/, 'no key in access_log');
    unlike($t->error_log, qr/\Q$part\E/, 'no key in error_log');
}

done_testing();
