#!/usr/bin/perl

# Credentials that are sent more than once, up to what nginx's buffers hold:
# one answer for all that are equal, another for those that differ.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$t->nginx(<<'CONF', log => 'notice');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_auth_failures off;
    log_format test "$status $usher_auth_status|$http_x_api_key|"
                    "$http_authorization|";

    server {
        listen 127.0.0.1:%%PORT%%;
        listen 127.0.0.1:%%PORT_h2%% http2;
        access_log %%DIR%%/access.log test;
        usher_auth on;

        location / {
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /cookie {
            usher_credential $cookie_key $http_x_api_key;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        return 200 "got $http_x_api_key|$http_authorization|$http_last|";
    }
CONF

my $key = $d->key;
my @keys = map { Usher::Key::text() } 1 .. 500;


# "status reason", or what the backend got

sub ask {
    my ($uri, @lines) = @_;

    my $r = Usher::Test::Response->new($t->http(
        join "\r\n", "GET $uri HTTP/1.1", 'Host: a', @lines, 'Last: last',
        'Connection: close', '', ''));

    return answer($r->status, $r->body);
}

sub answer {
    my ($status, $body) = @_;

    return $status . ' ' . ($body =~ /"reason":"(\w+)"/ ? $1
                            : $body =~ /^got (.*)/ ? $1
                            : $body =~ /<center>nginx/ ? 'nginx' : '-');
}

sub ask_h2 {
    my (@lines) = @_;

    my $file = $t->write_file('headers', join '', map { "$_\n" } @lines);
    my $text = `curl -s --http2-prior-knowledge -w '\\n%{http_code}' \\
                -H \@$file http://127.0.0.1:${ \$t->port('edge1_h2') }/`;
    my ($body, $status) = $text =~ /^(.*)\n(\d+)$/s;

    return answer($status, $body);
}


like(ask('/none'), qr/^401 missing/, 'no key');

my ($worker) = $t->workers;
my @equal = ("X-API-Key: $key") x 500;
my @different = ("X-API-Key: $key", map { "X-API-Key: $_" } @keys[1 .. 499]);

is(ask('/', @equal), '200 ||last|', 'X-API-Key, 500 times: one, and stripped');
is(ask('/', @different), '400 conflict', '500 different ones: none');
is(ask('/', @equal[1 .. 499], $different[-1]), '400 conflict',
   'the last one differs');
is(ask('/', @equal[1 .. 400], "Authorization: Bearer $key"), '200 ||last|',
   'and an Authorization');
is(ask('/', @equal, "Authorization: Bearer $keys[0]"), '400 conflict',
   'that differs');

is(ask_h2(@equal[1 .. 100]), '200 |||', 'HTTP/2: 100 times');
is(ask_h2(@different[0 .. 99]), '400 conflict', 'HTTP/2: 100 different ones');

is(ask('/', ("Authorization: Bearer $key") x 2), '400 nginx',
   'Authorization twice is nginx\'s');
is(ask('/', ("Authorization: Bearer $key") x 400), '400 nginx', '400 times');
is(ask('/', map { "Authorization: Bearer $_" } @keys[0 .. 399]), '400 nginx',
   '400 different ones');

is(ask('/cookie', ("Cookie: key=$key") x 400), '200 ||last|', '400 cookies');
is(ask('/cookie', 'Cookie: ' . join '; ', map { "key=$_" } $key, @keys[0 .. 99]),
   '400 conflict', 'different ones in one line');
is(ask('/cookie', 'Cookie: ' . join '; ', ("key=$key") x 100), '200 ||last|',
   'equal ones');
is(ask('/cookie', "Cookie: key=$key", @different), '400 conflict',
   'and a header');

# more than nginx has room for

is(ask('/', map { "X-API-Key: $_" } @keys, @keys), '400 nginx',
   'too many for its buffers');

is(($t->workers)[0], $worker, 'the worker lives');
is(ask('/', "X-API-Key: $key"), '200 ||last|', 'and answers');

my $log = $t->slurp($t->dir . '/edge1/access.log');

like($log, qr/^400 conflict\|-?\|/m, 'they are logged');
unlike($log . $t->error_log, qr/\Q$_\E/, 'no key in a log')
    for $key, $keys[0], $keys[1], $keys[-1];

done_testing();
