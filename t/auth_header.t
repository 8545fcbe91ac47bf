#!/usr/bin/perl

# How a client may write the header of its key: case, blanks, underscores,
# and what is no way to write it, but carries a key all the same.

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
    log_format test "$request_uri $status|$http_authorization|$http_x_api_key";

    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/access.log test;
        usher_auth optional;

        location / {
            add_header X-Auth $usher_auth_status;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /query {
            usher_credential $arg_key;
            add_header X-Auth $usher_auth_status;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_under%%;
        underscores_in_headers on;
        access_log %%DIR%%/access.log test;

        location / {
            usher_auth on;
            add_header X-Auth $usher_auth_status;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        underscores_in_headers on;
        return 200 "got $http_authorization|$http_x_api_key|$args";
    }
CONF

my $key = $d->key;

# the header as it is, and what became of it: its verdict and what was proxied

sub got {
    my ($header, %opt) = @_;

    my $r = Usher::Test::Response->new($t->http(
        'GET ' . ($opt{uri} // '/') . " HTTP/1.1\r\nHost: a\r\n$header\r\n"
        . "Connection: close\r\n\r\n", port => $opt{port}));

    return ($r->header('X-Auth') // $r->status) . ' ' . $r->body;
}

for ("Authorization: Bearer $key", "AUTHORIZATION: BEARER $key",
     "authorization: bearer  $key ", "Authorization: Bearer\t$key",
     "Authorization:\tBearer \t $key\t", "X-API-Key: $key",
     "x-api-key: $key", "X-Api-KEY:\t$key\t")
{
    my $name = s/\t/<tab>/gr =~ s/\Q$key\E/KEY/r;
    is(got($_), 'ok got ||', "\"$name\"");
}

for ("Authorization: $key", "Authorization: Token $key",
     "Authorization: Bearer: $key", "Authorization:\t$key")
{
    my $name = s/\t/<tab>/gr =~ s/\Q$key\E/KEY/r;
    is(got($_), 'anonymous got ||', "no credential, not proxied: \"$name\"");
}

is(got('Authorization: Basic dTpw'), 'anonymous got Basic dTpw||',
   'another scheme');
is(got('Authorization: Digest username="a_live_b", uri="/"'),
   'anonymous got Digest username="a_live_b", uri="/"||',
   'whose parameters may look like anything');

is(got("X_API_Key: $key"), 'anonymous got ||',
   'underscores are no header to nginx');
my $under = $t->port('edge1_under');
is(got("X_API_Key: $key", port => $under), 'ok got ||',
   'unless it is told so: a key');
like(got("X_API_Key: $key\r\nX-API-Key: " . $d->key, port => $under),
     qr/^400 .*"reason":"conflict"/, 'and a second one');

# an argument whose name is escaped

my $x = 'x' x length $key;

for ("k%65y=$key", "%4B%45%59=$key", "a=1&ke%79=$key") {
    is(got('A: b', uri => "/query?$_"),
       'ok got ||' . s/\Q$key\E/$x/r, 'an argument: ' . s/=us_.*/=KEY/r);
}

is(got('A: b', uri => "/query?k%65=$key"), "anonymous got ||k%65=$key",
   'another name');
is(got('A: b', uri => "/query?key%3=$key"), "anonymous got ||key%3=$key",
   'an escape that is none');

my $log = $t->slurp($t->dir . '/edge1/access.log')
          =~ s/^.*(k%65|key%3)=\Q$key\E.*\n//mgr;

is(scalar(() = $log =~ /\n/g), 20, 'all of them are logged');
unlike($log, qr/^.*\Q$key\E/m, 'without the key');

done_testing();
