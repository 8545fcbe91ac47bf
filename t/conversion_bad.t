# Bad input, and what is not there: a defined answer with a reason; and what a
# configuration must have.

use lib 't/lib';
use Usher::Postback;
use Usher::Test;


my $t = Usher::Test->new;

world($t, http => 'large_client_header_buffers 4 32k;', server => <<'CONF');
        location = /page {
            error_page 400 403 404 = /sorry;
            usher_conversion $arg_t;
        }
        location = /sorry { return 200 "sorry $usher_conversion_status"; }
        location = /if {
            if ($arg_x) { set $y 1; }
            limit_except GET { deny all; }
            usher_conversion;
        }
        location = /other { error_page 412 = @told; return 200 other; }
        location = /passed {
            proxy_request_buffering off;
            proxy_pass http://127.0.0.1:1;
            error_page 502 @told;
        }
        location @told { usher_conversion; }
CONF

my $net = postback($t, 'name=net network=net');
my ($q) = $net =~ /\?(.*)/;
my $form = 'application/x-www-form-urlencoded';

sub sent {
    my ($body, $type) = @_;

    return said($t->post($net, $body, defined $type ? ('Content-Type' => $type) : ()));
}

# what postback

is(said($t->get("/postback?postback=$_")), '404 unknown', "no postback $_")
    for '', 'x', 'a' x 26, 'A' x 26, 'a' x 27, '1' x 26, 'a' x 25 . '%00', 'x' x 9000;
is(said($t->get('/postback')), '404 unknown', 'none named');
is(said($t->request($_, $net)), '405 none', "no $_") for qw(PUT DELETE OPTIONS);
like($t->request('PUT', $net)->header('Allow'), qr/^GET, POST$/, 'but these');

# parameters

is(said($t->get($net)), '400 no_transaction', 'nothing');
is(said($t->get("$net&transaction_id=&click_id=")), '400 no_transaction', 'empty');
is(said($t->get("$net&$_")), '400 ambiguous', "twice: $_")
    for 'transaction_id=1&transaction_id=1', 'transaction_id=1&amount=&amount=2',
        'transaction_id=1&status=a&%73tatus=b';
is(said($t->get("$net&transaction_id=u1&x=1&x=2")), '200 OK',
   'but what nobody asks for');
is(said($t->post("$net&transaction_id=1", 'transaction_id=1', 'Content-Type' => $form)),
   '400 ambiguous', 'in query and form');
is(said($t->get("$net&transaction_id=" . 'x' x 129)), '400 too_long',
   'a transaction of 129 bytes');
is(said($t->get("$net&transaction_id=" . '%ff' x 43)), '400 too_long',
   'or of as many when mended');
is(said($t->get("$net&transaction_id=" . 'x' x 128)), '200 OK', 'of 128');
is(said($t->get("$net&click_id=" . 'x' x 129)), '400 too_long',
   'a click that would be one');
is(said($t->get("$net&transaction_id=c1&click_id=" . 'x' x 129)), '200 OK',
   'but not as a click');
is_deeply(event($t, 'click_status, click_id, flags', 'c1'), [ 2, 'x' x 64, 2 ],
          '... which is cut');

my $odd = 'a%0d%0ab%09%5c%2e%00%ff%f0%9f%98%80';

is(said($t->get("$net&transaction_id=$odd&amount=$odd&customer=$odd")), '200 OK',
   'controls, NUL, what is no text');
is_deeply(event($t, 'amount', "a\r\nb\t\\.\x{fffd}\x{fffd}\x{1f600}"),
          [ "a\r\nb\t\\.\x{fffd}\x{fffd}\x{1f600}" ], '... are a row');
is(said($t->get("$net&transaction_id=q1&x=" . 'y' x 8192)), '200 OK', 'a query of 8 KB');
is_deeply(event($t, 'length(query), flags', 'q1'), [ 2048, 2 ], '... is cut');

# bodies

is(sent('{"transaction_id":1', 'application/json'), '400 malformed', 'no JSON');
is(sent('[]', 'application/json'), '400 malformed', 'no object');
is(sent('{"transaction_id":1,"transaction_id":1}', 'application/json'),
   '400 ambiguous', 'a member twice');
is(sent("{\"transaction_id\":\"j1\",\"x\":" . '[' x 40 . ']' x 40 . '}',
        'application/json'), '400 malformed', 'too deep');
is(sent('transaction_id=1', $_), '415 content_type', 'of type ' . ($_ // 'none'))
    for undef, '', 'text/plain', 'multipart/form-data; boundary=x',
        'application/json2', "${form}2";
is(sent('transaction_id=1&x=' . 'y' x 65536, $form), '413 too_large', '64 KB and more');

my $chunk = sprintf "%x\r\n%s\r\n", 40000, 'transaction_id=1&x=' . 'y' x 39981;
my $answer = $t->http("POST $net HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    . "Content-Type: $form\r\nTransfer-Encoding: chunked\r\n\r\n$chunk$chunk"
    . "0\r\n\r\n");

like($answer, qr/^HTTP\/1.1 413 .*"reason":"too_large"/s, '... in chunks');
is(sent('transaction_id=k1&x=' . 'y' x (65536 - 20), $form), '200 OK', 'just 64 KB');

# where it is asked

is($t->get("/page?t=" . 'a' x 26)->body, 'sorry unknown', 'an error page');
is(said($t->get("/if?$q&transaction_id=i1&x=1")), '200 OK', 'an "if"');
is($t->post("/if?$q&transaction_id=i1", '')->status, 403, 'limit_except');


my ($worker) = $t->workers;

$t->http("POST /other?$q&transaction_id=d1 HTTP/1.1\r\nHost: a\r\nIf-Match: x\r\n"
         . "Connection: close\r\nContent-Length: 9\r\n\r\n");
$t->wait_for(sub { $t->slurp($t->dir . '/edge1/said.log') =~ /=d1\|failed$/m },
             'from who has discarded its body');
is(($t->workers)[0], $worker, '... which harms nobody');
like($t->http("POST /passed?$q HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: "
              . "$form\r\nContent-Length: 28\r\n\r\ntransaction_id=d2&amount=1"),
     qr/^HTTP\/1.1 500 .*"reason":"failed"/s, 'from who passes it on as it comes');
is(said($t->get("/passed?$q&transaction_id=d3")), '200 OK', '... but without one, though it led here by 502');

# Redis away: what is known is taken, what is not cannot be

$t->stop('redis');
is(said($t->get("$net&transaction_id=r1")), '200 OK', 'known');
my $unknown = $t->get('/postback?postback=' . 'b' x 26);
is(said($unknown), '503 unavailable', 'not known');
like($unknown->header('Retry-After'), qr/^\d+$/, '... ask again');
$t->start('redis');
is_deeply(event($t, 'click_status', 'r1'), [ 1 ], 'a row all the same');

cmp_ok(counter($t, 'conversions_invalid'), '>', 20, 'counted');
cmp_ok(counter($t, 'conversions_unavailable'), '>=', 1, 'as is what cannot be told');

my %ends;

$ends{$_}++ for $t->slurp($t->dir . '/edge1/said.log') =~ /\|(\w+)$/mg;

my $counted = $t->get('/status')->json->{conversions};

is_deeply({ map { $counted->{$_} ? ($_ => $counted->{$_}) : () } keys %$counted },
          \%ends, 'each by how it ended');
$t->wait_for(sub { $t->sql("select api.journal_verify()->>'ok'") eq 'true' },
             'the books balance');

# configurations

my $base = 'usher_zone 4m; usher_redis %%REDIS%%;';

sub at { return "server { listen 127.0.0.1:%%PORT%%; location / { usher_conversion; $_[0] } }" }

my $journal = 'usher_journal %%DIR%%/j size=1m segment=64k window=64k;';

for my $case ([ 'no journal', $base . at(''), qr/usher_journal/ ],
              [ 'no sync', "$base usher_journal %%DIR%%/j sync=off;" . at(''),
                qr/sync=off/ ],
              [ 'no zone', "usher_redis %%REDIS%%; $journal" . at(''),
                qr/usher_zone/ ],
              [ 'no Redis', "usher_zone 4m; $journal" . at(''),
                qr/usher_redis/ ],
              [ 'twice', "$base $journal" . at('usher_conversion;'),
                qr/"usher_conversion" directive is duplicate/ ],
              [ 'three words', "$base $journal" . at('usher_conversion a b c;'),
                qr/invalid number of arguments/ ],
              [ 'a server', "$base $journal server { usher_conversion; }",
                qr/is not allowed here/ ])
{
    my ($code, $text) = $t->nginx_test($case->[1]);

    isnt($code, 0, "refused: $case->[0]");
    like($text, $case->[2], '... says why');
}

my ($code, $text) = $t->nginx_test("$base $journal" . at(''));

is($code, 0, 'and all of it is fine') or diag $text;

done_testing();
