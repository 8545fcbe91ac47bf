#!/usr/bin/perl

# Whatever a client sends becomes one row, over a killed worker and usherd
# too: also requests that nginx refuses before any handler of ours has run.

use lib 't/lib';
use Usher::Test;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });
$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=4m segment=256k sync=50ms;
    usher_auth_failures off;
    usher_auth optional;
    usher_request_id $http_x_id;

    server {
        listen 127.0.0.1:%%PORT%%;
        listen unix:%%DIR%%/nginx.sock;

        location / { return 204; }
        location /off { usher_event off; return 204; }
        location /errors { usher_event errors; return 204; }
        location /errors/bad { usher_event errors; return 404; }
        location /named { usher_route "shop $arg_r"; return 204; }
    }
CONF


sub rows { $t->sql('select count(*) from usher.request') }
sub ask { $t->http("$_[0]Connection: close\r\n\r\n") }
sub row { ($t->rows("select $_[1] from usher.request where request_id = ?",
                    $_[0]))[0] }


# bytes that no column would take as they are

my %odd = (
    agent => "User-Agent: a\tb\\.\\N\r\n",
    latin => "User-Agent: caf\xe9 \xff\xfe\xc0\x80\r\n",
    surrogate => "User-Agent: \xed\xa0\x80\r\n",
    long => 'User-Agent: ' . "\xe2\x82\xac" x 1500 . "\r\n",
    referer => "Referer: http://a/\x01\x7f\\\r\n",
);

$t->get('/', 'X-Id' => 'plain');
ask("GET / HTTP/1.1\r\nHost: a\r\nX-Id: $_\r\n$odd{$_}") for sort keys %odd;
ask("GET /%fe%ff\xff/\\.?q HTTP/1.1\r\nHost: a\r\nX-Id: uri\r\n");
ask("GET / HTTP/1.1\r\nHost: a\r\nX-Id: \xff\\.\r\n");
system("curl -s -o /dev/null --unix-socket $t->{dir}/edge1/nginx.sock "
       . "-H 'X-Id: unix' http://a/");
$t->get('/named?r=%09x', 'X-Id' => 'named');
$t->get('/off', 'X-Id' => 'off');
$t->get('/errors', 'X-Id' => 'good');
$t->get('/errors/bad', 'X-Id' => 'bad');

# nginx answers these by itself, without any phase

$t->http("nonsense\r\n\r\n");
$t->http("GET / HTTP/9.9\r\n\r\n");
ask("GET / HTTP/1.1\r\n");
ask("GET / HTTP/1.1\r\nHost: a\r\nX-Long: " . 'x' x 40000 . "\r\n");
ask("GET / HTTP/1.1\r\nHost: a\r\nX-Id: twice\r\n"
    . "Authorization: Bearer x\r\n" x 2);

my ($worker) = $t->workers;
$t->get('/', 'X-Id' => 'last');
is(($t->workers)[0], $worker, 'none of it has killed the worker');

$t->wait_for(sub { row('last', 'status') }, 'all are rows', 20);
is(row($_, 'count(*)')->[0], 1, "$_: one row")
    for 'plain', sort(keys %odd), qw(uri unix named bad);
is(row($_, 'count(*)')->[0], 0, "$_: none") for qw(off good);
is($t->sql('select count(*) from usher.quarantine'), 0, 'no poison');
is($t->sql("select count(*) from usher.request where status >= 400
            and request_id <> 'bad'"), 5,
   'what nginx refused is there as well');

is(row('twice', "status || ' ' || auth_status")->[0], '400 ',
   'two Authorization lines: by nginx, and no reason');

is(row('agent', 'user_agent')->[0], "a\tb\\.\\N", 'as it was');
like(row('latin', 'user_agent')->[0], qr/^caf\x{fffd}/,
     'what is no UTF-8 is replaced');
is(row('plain', 'flags')->[0] & 1, 0, 'which has a flag');
is(row('latin', 'flags')->[0] & 1, 1, 'mangled');
cmp_ok(length row('long', 'user_agent')->[0], '<', 1500, 'cut');
is(row('unix', 'address')->[0], undef, 'no address of a unix socket');
is(row('plain', 'host(address)')->[0], '127.0.0.1', 'but of others');
is(row('named', 'route')->[0], 'shop %09x', 'usher_route');
is(row('plain', 'route')->[0], '/', 'by default the location');

# killed in between: answered requests are rows, once

my @ids;

for my $round (1 .. 4) {
    for (1 .. 5) {
        my $id = "kill-$round-$_";
        push @ids, $id if $t->get('/', 'X-Id' => $id)->status == 204;
    }

    $t->kill9($round % 2 ? 'flush' : 'worker');
    $t->wait_for(sub { $t->get('/')->status == 204 }, "round $round: back");
}

$t->wait_for(sub { my $n = $t->sql("select count(distinct request_id) from "
                       . "usher.request where request_id like 'kill-%'");
                   $n == @ids }, 'all are there', 30);
is($t->sql("select count(*) from usher.request where request_id like 'kill-%'"),
   scalar @ids, 'once');
is($t->sql('select count(*) from usher.journal_gap'), 0, 'without a gap');

done_testing();
