# Who may tell a conversion: by secret, HMAC, address.  Who is not proven is
# answered 403 with the reason and leaves no row; no secret is in a log.

use lib 't/lib';
use Digest::SHA qw(hmac_sha1_base64 hmac_sha256_hex hmac_sha512_hex);
use MIME::Base64 qw(encode_base64url);
use Usher::Postback;
use Usher::Secret;
use Usher::Test;


my $t = Usher::Test->new;

world($t, server => 'listen 127.0.0.1:%%PORT_h2%% http2;
                     location = /other { return 204; }');

# a secret in the URL

my $net = postback($t, 'name=net network=net');
my ($token, $secret) = $net =~ /postback=(\w+)&usher_secret=(\w+)/;
my $bare = "/postback?postback=$token";
my $wrong = $secret =~ s/^./1/r;

is(said($t->get("$bare&transaction_id=s1")), '403 no_secret', 'no secret');
is(said($t->get("$bare&usher_secret=&transaction_id=s1")), '403 no_secret',
   'an empty one');
is(said($t->get("$bare&usher_secret=$_&transaction_id=s1")), '403 secret',
   "not $_") for $wrong, substr($secret, 1), "${secret}a", 'x' x 2000;
is(said($t->get("$net&usher_secret=$secret&transaction_id=s1")), '400 ambiguous',
   'twice');
is(said($t->post($bare, "usher_secret=$secret&transaction_id=s1",
                 'Content-Type' => 'application/x-www-form-urlencoded')),
   '403 no_secret', 'not in a body');
is(said($t->get("$bare&usher%5fsecret=$secret&transaction_id=s1")), '200 OK',
   'as an escape');
is(event($t, 'query', 's1')->[0], 'transaction_id=s1', '... which no row has');

my $escaped = 'e';

for my $name (qw(%75sher_secret usheR%5Fsecret usher_secre%74)) {
    is(said($t->get("$bare&$name=$secret&transaction_id=" . ++$escaped)),
       '200 OK', "as $name");
    is(event($t, 'query', $escaped)->[0], "transaction_id=$escaped",
       '... as little');
}

like($t->get("$bare&transaction_id=s1")->header('Content-Type'), qr/problem\+json/,
     'a refusal is a problem');
like($t->get("$bare&transaction_id=s1")->json->{detail}, qr/usher_secret/,
     '... that says what to do');

my $new = $t->ctl('postback rotate secret org=acme postback=net')->{secret};

$t->wait_for(sub { said($t->get("$net&transaction_id=s2")) eq '403 secret' },
             'the old one is refused');
is(said($t->get("$bare&usher_secret=$new&transaction_id=s2")), '200 OK',
   'and the new one taken');

my $h2 = 'http://127.0.0.1:' . $t->port('edge1_h2') . $bare;

is(`curl -s --http2-prior-knowledge -d '{"transaction_id":"s3"}' \\
    -H 'Content-Type: application/json' '$h2&usher_secret=$new'`, 'OK', 'over HTTP/2');
is(event($t, 'query', 's3')->[0], '', '... as well');

$t->ctl('postback disable org=acme postback=net');
$t->wait_for(sub { said($t->get($net)) eq '404 unknown' }, 'disabled: unknown');

# addresses

my $from = postback($t, 'name=from network=net allow=10.0.0.0/8,2001:db8::/32');

is(said($t->get("$from&transaction_id=a1")), '403 address', 'not from here');
$t->ctl('postback update org=acme postback=from allow=127.0.0.0/8,2001:db8::/32');
$t->wait_for(sub { said($t->get("$from&transaction_id=a1")) eq '200 OK' },
             'but if it is allowed');

# HMAC: the query as it came, less the signature and an &

put($t, 'network/acme/sign', 'geheim');

my $hex = postback($t, 'name=hex network=net hmac=sha256 key=sign');
my ($q) = $hex =~ /\?(.*)/;
my $data = "$q&transaction_id=h1&amount=%31";
my $sign = hmac_sha256_hex($data, 'geheim');

is(said($t->get("/postback?$data&signature=$sign")), '200 OK', 'signed');
is(said($t->get("/postback?signature=\U$sign\E&$data")), '200 OK',
   'in front, in capitals');
is(said($t->get("/postback?$q&signature=$sign&transaction_id=h1&amount=%31")),
   '200 OK', 'in between');
is(said($t->get("/postback?$data")), '403 unsigned', 'not');
is(said($t->get("/postback?$data&signature=")), '403 signature', 'by nothing');
is(said($t->get("/postback?$data&signature=" . hmac_sha256_hex($data, 'g'))),
   '403 signature', 'by another secret');
is(said($t->get("/postback?$q&transaction_id=h1&amount=1&signature=$sign")),
   '403 signature', 'nor what says the same');
is(said($t->get("/postback?$data&x=1&signature=$sign")), '403 signature',
   'nor more');
is(said($t->get("/postback?$data&signature=$sign&signature=$sign")),
   '400 ambiguous', 'twice');

my $form = 'application/x-www-form-urlencoded';

is(said($t->post("/postback?$data&signature=$sign",
                 'transaction_id=forged&coupon=x', 'Content-Type' => $form)),
   '200 OK', 'what is not signed');
is(said($t->post("/postback?$data&signature=$sign", '{"transaction_id":"forged"}',
                 'Content-Type' => 'application/json')), '200 OK', '... either');
is($t->sql("select count(*) from usher.conversion_event
            where transaction_id = 'forged'"), 0, '... is not read');

my $body = 'transaction_id=h2&amount=2';

is(said($t->post("/postback?$q&transaction_id=forged", "$body&signature="
                 . hmac_sha256_hex($body, 'geheim'), 'Content-Type' => $form)),
   '200 OK', 'a form that is signed');
is_deeply(event($t, 'amount', 'h2'), [ 2 ], '... is what counts');

my $b64 = postback($t, 'name=b64 network=net hmac=sha1 encoding=base64 '
                   . 'signature=sig key=sign');
my $d64 = ($b64 =~ s/.*\?//r) . '&transaction_id=b1';
my $s64 = hmac_sha1_base64($d64, 'geheim');

is(said($t->get("/postback?$d64&sig=$s64=")), '200 OK', 'base64');
is(said($t->get("/postback?$d64&sig=" . ($s64 =~ tr{+/}{-_}r))), '200 OK',
   '... of URLs');

for my $hash (qw(sha512 md5)) {
    my $at = postback($t, "name=$hash network=net hmac=$hash key=sign");
    my $text = ($at =~ s/.*\?//r) . "&transaction_id=$hash";
    my $file = $t->write_file('signed', $text);
    my ($mac) = `openssl dgst -$hash -hmac geheim '$file'` =~ /= (\w+)/;

    is(said($t->get("/postback?$text&signature=$mac")), '200 OK', $hash);
}

# another secret counts at once, and one that cannot be opened is said once

put($t, 'network/acme/sign', 'neu');
$t->wait_for(sub { said($t->get("/postback?$data&signature=$sign"))
                   eq '403 signature' }, 'another secret');
$sign = hmac_sha256_hex($data, 'neu');
is(said($t->get("/postback?$data&signature=$sign")), '200 OK', '... signs');

$t->expect_alerts(qr/secret "network\/acme\/sign" of postback \d+ cannot be opened/);
key_file($t, 'other', 'keys');
put($t, 'network/acme/sign', 'neu');
$t->wait_for(sub { said($t->get("/postback?$data&signature=$sign"))
                   eq '503 no_key' }, 'one by a key that the edge has not');
is(said($t->get("/postback?$data&signature=$sign")), '503 no_key', 'again');
is(scalar(() = $t->error_log =~ /of postback \d+ cannot be opened/g), 1,
   '... is said once');

$t->sql("select setval('usher.postback_id_seq', id + 15) from usher.postback
         where name = 'hex'");

my $beside = postback($t, 'name=beside network=net hmac=sha256 key=sign');

for (1 .. 5) {
    is(said($t->get("$beside&signature=00")), '503 no_key', 'another in its place');
    is(said($t->get("/postback?$data&signature=$sign")), '503 no_key', '... and it');
}

cmp_ok(scalar(() = $t->error_log =~ /of postback \d+ cannot be opened/g), '<=', 3,
       '... are not said each time');

edge_keys($t);
$t->reload;
$t->wait_for(sub { said($t->get("/postback?$data&signature=$sign")) eq '200 OK' },
             'until the edge has it');

# what was refused left nothing

is($t->sql("select count(*) from usher.conversion_event
            where transaction_id in ('s1', 'forged')"), 1, 'no row');
cmp_ok(counter($t, 'conversions_refused'), '>=', 18, 'but counted');

# logs, of all locations of the server, and of what nginx itself refuses: that
# it may have written to the error log before it was ours to hide

my $errors = $t->error_log;

$t->get("/other?usher_secret=$new");
$t->http("GET /other?usher_secret=$new HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
$t->http("GET /other?usher_secret=$new HTTP/9.9\r\n\r\n");

my $log;

$t->wait_for(sub {
    $log = $t->slurp($t->dir . '/edge1/said.log');
    3 == (() = $log =~ m{^GET /other\?usher_secret=x{32} }mg);
}, 'a secret is overwritten');
ok("$log$errors" !~ /usher(_|%5f)secret=[^x&]|$secret|$new/i, 'none is in a log');
ok("$log$errors" !~ /geheim/, 'nor what signs');

done_testing();
