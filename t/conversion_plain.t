# Postbacks that are taken: by query, form and JSON, pixels; what is said of a
# conversion is a row as it was said, and the same again is no second one.

use lib 't/lib';
use IO::Socket::INET;
use Usher::Postback;
use Usher::Test;


my $t = Usher::Test->new;

world($t, journal => 'size=64m segment=1m sync=1h');

my $net = postback($t, 'name=net network=net');
my $id = click($t);
my ($token, $secret) = $net =~ /postback=(\w+)&usher_secret=(\w+)/;

# a query

my $ok = $t->get("$net&click_id=$id&transaction_id=t1&amount=12.30"
                 . '&sale_amount=100,00&currency=eur&status=Sale&x=%20y');

is(said($ok), '200 OK', 'taken');
my $slot = $t->get('/status')->json->{workers}[0];
is($slot->{synced}, $slot->{position}, '... when it is on the disk');
is($ok->header('Content-Type'), 'text/plain', 'a text');
is($ok->header('Cache-Control'), 'no-store', 'which nobody keeps');
is_deeply(event($t, 'postback_id, org_id, origin, click_status, click_id, '
                . 'status, amount, sale_amount, currency, customer, coupon, '
                . 'address, query, flags, node', 't1'),
          [ 1, 1, 'postback', 0, $id, 'Sale', '12.30', '100,00', 'eur', '', '',
            '127.0.0.1', "click_id=$id&transaction_id=t1&amount=12.30"
            . '&sale_amount=100,00&currency=eur&status=Sale&x=%20y', 0,
            $t->sql('select node from usher.click limit 1') ],
          'a row, as it was said; without token and secret');

# the same again, and something else of it

is(said($t->get("$net&click_id=$id&transaction_id=t1&amount=12.30"
                . '&sale_amount=100,00&currency=eur&status=Sale&again=1')),
   '200 OK', 'again');
is(said($t->get("$net&click_id=$id&transaction_id=t1&status=refund")),
   '200 OK', 'and a refund');
is(join(' ', map { $_->[0] } events($t, 'status', 't1', 2)), 'Sale refund',
   'two rows: once each');
is($t->sql("select count(*) from usher.conversion_key
            where transaction_id = 't1'"), 2, 'and two keys');

# the same words, of another time or another message

$t->ctl('postback', 'update', 'org=acme', 'postback=net',
        'parameters=status_time=when event_id=msg');
$t->wait_for(sub { $t->redis_cli('get', "usher:d:postback:$token") =~ /"when"/ },
             'a time and an id have parameters');
$t->wait_for(sub {
    $t->get("$net&transaction_id=probe&msg=1");
    $t->sql("select max(event_id) from usher.conversion_event
             where transaction_id = 'probe'") }, 'which the edge knows');
is(said($t->get("$net&transaction_id=t2&status=ok&$_")), '200 OK', "... $_")
    for qw(msg=1 msg=2 msg=1 when=2026-01-02 when=2026-01-03%2B01 msg=1&when=3);
is(join(', ', sort map { join ' ', @$_ } events($t, 'status_time, event_id',
                                                't2', 5)),
   ' 1,  2, 2026-01-02 , 2026-01-03+01 , 3 1', 'each is a row, and the same none');

# conditions are for pages

is(said($t->get("$net&transaction_id=if", 'If-Match' => '"x"',
                'If-Unmodified-Since' => 'Sun, 06 Nov 1994 08:49:37 GMT')),
   '200 OK', 'on a condition');

# clicks

my %click = (good => [ $id, 0 ], capitals => [ uc $id, 0 ],
             none => [ '', 1 ], short => [ substr($id, 0, 31), 2 ],
             other => [ 'partner-7', 2 ],
             key => [ $id =~ s/^(.)./$1e/r, 3 ],
             forged => [ $id =~ s/(.)$/$1 eq 'a' ? 'b' : 'a'/er, 4 ]);

for my $case (sort keys %click) {
    my ($given, $status) = @{ $click{$case} };

    is(said($t->get("$net&transaction_id=$case&click_id=$given")), '200 OK',
       "a click, $case");
    is_deeply(event($t, 'click_status, click_id', $case),
              [ $status, $status ? $given : $id ], '... as what it is');
}

is(said($t->get("$net&click_id=$id")), '200 OK', 'without a transaction');
is_deeply(event($t, 'transaction_id, click_status', $id), [ $id, 0 ],
          'the click is it');

# amounts are not judged here

for my $amount ('-1', '1e999', 'NaN', '', '12.30 EUR', '9' x 32) {
    my $n = $t->sql('select count(*) from usher.conversion_event');
    my $name = 'amount ' . length($amount) . substr $amount, 0, 2;

    is(said($t->get("$net&transaction_id=" . $name =~ s/ /%20/gr . '&amount='
                    . $amount =~ s/ /+/gr)), '200 OK', "amount $amount");
    is(event($t, 'amount', $name)->[0], $amount, '... as it is');
}

is(said($t->get("$net&transaction_id=long&amount=" . '1' x 40
                . "&status=%ff%00x&currency=" . 'e' x 17)), '200 OK',
   'what is too long, or no text');
is_deeply(event($t, 'amount, status, currency, flags', 'long'),
          [ '1' x 32, "\x{fffd}\x{fffd}x", 'e' x 16, 3 ], '... is cut and mended');

# forms and JSON

is(said($t->post($net, 'transaction_id=form&amount=1+2&status=%53',
                 'Content-Type' => 'application/x-www-form-urlencoded')),
   '200 OK', 'a form');
is_deeply(event($t, 'amount, status, query', 'form'), [ '1 2', 'S', '' ],
          '... of which the row has the fields only');
is(said($t->post("$net&click_id=$id", 'transaction_id=both',
                 'Content-Type' => 'Application/X-www-form-urlencoded; charset=utf-8')),
   '200 OK', 'a query and a form');
is_deeply(event($t, 'click_id, query', 'both'), [ $id, "click_id=$id" ],
          '... together');
is(said($t->post($net, 'transaction_id=large&x=' . 'y' x 60000,
                 'Content-Type' => 'application/x-www-form-urlencoded')),
   '200 OK', 'a form that is a file');
is(said($t->post($net, '{"transaction_id":"js\u006fn","amount":12.50,'
                 . '"status":["sale"],"currency":null}',
                 'Content-Type' => 'application/json')), '200 OK', 'JSON');
is_deeply(event($t, 'amount, status, currency', 'json'), [ '12.50', 'sale', '' ],
          '... a number to its last zero, of a list the first');
is(said($t->post("$net&transaction_id=empty", '')), '200 OK', 'an empty POST');

# a pixel

my $pixel = $t->ctl('postback add org=acme name=pixel program=shop pixel=true '
                    . 'endpoint=https://go.example/p/{postback}')->{url};
my ($path) = $pixel =~ m{^https://go\.example(/p/[a-z2-7]{26})\?};

known($t, $path);

my $gif = $t->get("$path?transaction_id=p1&click_id=$id&customer=k7&coupon=SAVE"
                  . '&amount=5');

is($gif->status . ' ' . $gif->header('Content-Type'), '200 image/gif', 'a pixel');
is(length $gif->body, 43, '... of 43 bytes');
like($gif->body, qr/^GIF89a\x01\0\x01\0.*;$/s, '... and one dot');
is($gif->header('Cache-Control'), 'no-store', '... asked for each time');
is_deeply(event($t, 'origin, customer, coupon, address, click_status', 'p1'),
          [ 'pixel', 'k7', 'SAVE', '127.0.0.0/24', 0 ],
          'a row; whose it was, in general');
is(said($t->request('HEAD', "$path?transaction_id=p2")), '405 none', 'no HEAD');

is(counter($t, 'conversions_taken'),
   scalar(() = $t->slurp($t->dir . '/edge1/said.log') =~ /\|ok$/mg), 'counted');

# an edge that knows nothing yet: it waits for the postback, for a body that
# comes later, for the keys of clicks and for the disk

$t->stop('nginx');
$t->start('nginx');
$t->wait_for(sub { $t->get('/status')->json->{directory}{ready} }, 'an edge anew');

my $late = IO::Socket::INET->new('127.0.0.1:' . $t->port('edge1'));
my $form = "transaction_id=late&click_id=$id";

print $late "POST $net HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    . "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
    . length($form) . "\r\n\r\n";
select undef, undef, undef, 0.2;
print $late $form;
like(join('', <$late>), qr/^HTTP\/1.1 200 .*\r\n\r\nOK$/s, 'a body that comes late');
is_deeply(event($t, 'click_status', 'late'), [ 0 ], '... is a row');

my $gone = IO::Socket::INET->new('127.0.0.1:' . $t->port('edge1'));

print $gone "POST $net HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx";
close $gone;
$t->wait_for(sub { $t->slurp($t->dir . '/edge1/said.log') =~ /\|-$/m },
             'one that never comes is not said to be taken');

# logs, counters

my $log = $t->slurp($t->dir . '/edge1/said.log') . $t->error_log;

unlike($log, qr/$secret/, 'the secret is in no log');
like($log, qr/usher_secret=x{32}&/, 'but overwritten');
like($log, qr/transaction_id=p1[^|]*\|.*\|ok$/m, '$usher_conversion_status');
$t->wait_for(sub { $t->sql("select api.journal_verify()->>'ok'") eq 'true' },
             'the books balance');

done_testing();
