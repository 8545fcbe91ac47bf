# What ClickBank encrypts and Digistore24 signs, made by the openssl program
# and Digest::SHA: taken as the network's, or refused in one way.

use lib 't/lib';
use Digest::SHA qw(sha1_hex sha512_hex);
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use Usher::Postback;
use Usher::Secret;
use Usher::Test;


my $t = Usher::Test->new;
my $json = JSON::PP->new->canonical;

world($t);

my $id = click($t);

put($t, 'network/acme/ins', 'INS KEY');
put($t, 'network/acme/ipn', "gehe\xc3\xafm");

# ClickBank INS

my $cb = postback($t, 'name=cb network=clickbank key=ins');

sub encrypted {
    my ($text, $secret, $iv) = @_;

    my $in = $t->write_file('plain', $text);
    my $key = unpack 'H*', substr sha1_hex($secret), 0, 32;
    my $sealed = `openssl enc -aes-256-cbc -K $key -iv $iv -in '$in'`;

    return $json->encode({ notification => encode_base64($sealed, ''),
                           iv => encode_base64(pack('H*', $iv), '') });
}

sub ins {
    my ($body, $type) = @_;

    return said($t->post($cb, $body, 'Content-Type' => $type // 'application/json'));
}

my $iv = '00112233445566778899aabbccddeeff';
my $sale = '{"receipt":"CWOGBLFN","transactionType":"SALE",'
    . '"transactionTime":"2026-09-05T13:47:51-06:00","totalOrderAmount":19.90,"totalAccountAmount":13.70,"currency":"USD",'
    . qq("trackingCodes":["\U$id\E"],"version":6.0,"vendor":"x",)
    . '"customer":{"billing":{"fullName":"J\u00fcrgen","email":"j@x.example"}},'
    . '"lineItems":[{"itemNo":"1","productTitle":"a \"b\""}]}';

is(ins(encrypted($sale, 'INS KEY', $iv)), '200 OK', 'a notification');
is_deeply(event($t, 'click_status, click_id, status, amount, sale_amount, '
                . 'currency, customer, query, status_time', 'CWOGBLFN'),
          [ 0, $id, 'SALE', '13.70', '19.90', 'USD', '', '',
            '2026-09-05T13:47:51-06:00' ],
          'a row, without whose it was; the click though in capitals');
is(ins(encrypted("$sale\0\0\n", 'INS KEY', $iv), 'text/plain'), '200 OK',
   'of another type, with what may be behind it');
is($t->sql('select count(*) from usher.conversion_event'), 1, 'the same');

is(ins(encrypted($sale, 'INS KEX', $iv)), '403 signature', 'by another secret');
is(ins(encrypted($_, 'INS KEY', $iv)), '403 signature', 'no object: ' . substr $_, 0, 9)
    for '[]', 'no', "$sale}", substr($sale, 0, 100), '';
is(ins($_), '403 unsigned', 'no notification: ' . substr $_, 0, 20)
    for '', '{}', 'x', '{"notification":"AAAA","iv":"AAAA"}',
        encrypted($sale, 'INS KEY', $iv) =~ s/"iv"/"vi"/r,
        encrypted($sale, 'INS KEY', $iv) =~ s/"notification":"..../"notification":"/r;
is(said($t->get($cb)), '403 unsigned', 'nor by GET');
is(ins(encrypted($sale =~ s/"SALE"/"TEST_SALE"/r =~ s/CWOG/CWTE/r, 'INS KEY', $iv)), '200 OK',
   'a test of it, which is no row');

my $bad = encrypted($sale, 'INS KEY', $iv);

substr($bad, 200, 4) = 'AAAA';
is(ins($bad), '403 signature', 'changed on its way');

# the answer does not tell how it failed, whatever the padding looks like

my %said;

for my $byte (0 .. 46, 255) {
    my $last = sprintf '%s%02x', substr($iv, 0, 30), $byte;
    my $short = encrypted('{"receipt":"x"}', 'INS KEY', $iv);

    $short =~ s/"iv":"[^"]+"/'"iv":"' . encode_base64(pack('H*', $last), '') . '"'/e;
    $said{ins($short)}++;
}

is_deeply(\%said, { '403 signature' => 47, '200 OK' => 1 }, 'in one way') or diag explain \%said;

# Digistore24 IPN

my $ds = postback($t, 'name=ds network=digistore24 form=digistore24 key=ipn');

sub form {
    my (%with) = @_;

    return join '&', map { my $v = $with{$_} =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ger;
                           "$_=$v" } sort { $b cmp $a } keys %with;
}

sub signed {
    my ($passphrase, %with) = @_;

    return form(%with, sha_sign => uc sha512_hex(join '',
        map { "$_=$with{$_}$passphrase" } grep { $with{$_} ne '' } sort keys %with));
}

sub ipn {
    my ($body) = @_;

    return said($t->post($ds, $body,
                         'Content-Type' => 'application/x-www-form-urlencoded'));
}

my %paid = (event => 'on_payment', transaction_type => 'payment',
            transaction_id => '70001', cid => $id, amount_affiliate => '10.50',
            amount_brutto => '21.00', currency => 'EUR', empty => '', zero => 0,
            Upper => 'x', address_last_name => "M\xc3\xbcller & Co. = +1");
my $pass = "gehe\xc3\xafm";

is(ipn(signed($pass, %paid)), '200 OK', 'an IPN');
is_deeply(event($t, 'click_status, click_id, status, amount, sale_amount, currency',
                '70001'), [ 0, $id, 'payment', '10.50', '21.00', 'EUR' ], 'a row');
is(ipn(signed($pass, %paid, event => 'on_refund', transaction_type => 'refund',
              transaction_id => '70002', parent_transaction_id => '70001')), '200 OK',
   'a refund, which is a transaction');
is(join(', ', sort map { join ' ', @$_ } events($t, 'status, event_id', '70001', 2)),
   'payment , refund 70002', '... is said of what it takes back');
is(ipn(signed('geheim', %paid)), '403 signature', 'by another passphrase');
is(ipn(signed($pass, %paid) . '&amount=1'), '403 signature', 'one more');
is(ipn(signed($pass, %paid) =~ s/10\.50/90.50/r), '403 signature', 'another amount');
is(ipn(form(%paid)), '403 unsigned', 'not signed');
is(ipn(signed($pass, %paid) . '&currency=EUR'), '400 ambiguous', 'one twice');
is(ipn(signed($pass, map { +"a$_" => $_ } 1 .. 600)), '400 malformed', 'too many');
is(ipn(signed($pass, event => 'connection_test', api_mode => 'test')), '200 OK',
   'its test of the connection');
is(ipn(signed('geheim', event => 'connection_test')), '403 signature',
   '... which has to be signed');
is(ipn(signed($pass, %paid, transaction_id => '70009', api_mode => 'test')), '200 OK',
   'an order that nobody pays, which is no row');
is(ipn(signed($pass, event => 'on_rebill_cancelled', order_id => 'X')), '200 OK',
   'what is no transaction, and to be ignored');
is(ipn(signed($pass, event => 'on_payment', order_id => 'X')), '400 no_transaction',
   'a payment without one');
is(said($t->get("$ds&" . signed($pass, %paid))), '403 unsigned', 'not by GET');
is(ipn(signed($pass, %paid, transaction_id => '70010')), '200 OK', 'the last one');
is(scalar events($t, 'status', '70010'), 1, '... comes behind the others');
is($t->sql('select count(*) from usher.conversion_event'), 5,
   'five rows of all that');

my $log = $t->slurp($t->dir . '/edge1/said.log') . $t->error_log;

ok($log !~ /INS KEY|gehe|rgen/, 'no secret, and nobody, is in a log');

done_testing();
