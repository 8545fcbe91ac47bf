# What a network is given, by its preset, and what edges are told of it: the
# record, and when it changes.

use lib 't/lib';
use Digest::SHA qw(sha256_hex);
use Usher::Secret;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
key_file($t, 'keys');
$t->ctl('org create name=acme');
$t->ctl("network create org=acme name=$_ preset=$_")
    for qw(awin generic clickbank digistore24 amazon);
$t->ctl('program create org=acme name=shop side=own currency=EUR');
put($t, "network/acme/$_", 'geheim') for qw(sign mac);


sub add { return $t->ctl("postback add org=acme name=@_") }

sub record {
    my ($token) = $_[0]{url} =~ /([a-z2-7]{26})/;
    my $text = $t->sql("select usher.directory_record('postback', ?)", $token);

    return $text && JSON::PP->new->decode($text);
}

# Runs it and returns what it put into the outbox.

sub outbox {
    my ($sql) = @_;

    $t->sql('delete from usher.directory_outbox');
    $t->sql($sql);

    return join ', ', map { $_->[0] } $t->rows(q{
        select kind || ' ' || cardinality(ids)
               || case when urgent then ' urgent' else '' end
               || case when inserted then ' new' else '' end
        from usher.directory_outbox where kind = 'postback' order by id });
}


like($t->ctl_fails('postback add org=acme name=x network=awin'),
     qr/endpoint=/, 'no host, no default');
$t->ctl('domain add host=go.acme.example org=acme');

# URLs

my $awin = add('awin network=awin');
my $secret = $awin->{secret};

like($secret, qr/^[a-z2-7]{32}$/, 'a secret');
like($awin->{url}, qr{^https://go\.acme\.example/postback
     \?postback=[a-z2-7]{26}&usher_secret=$secret&clickRef=!!!clickRef!!!
     &transactionId=!!!transactionId!!!&commission=!!!commission!!!
     &transactionAmount=!!!transactionAmount!!!
     &transactionCurrency=!!!transactionCurrency!!!$}x, 'macros of the preset');
is($t->ctl('postback show org=acme postback=awin')->{url},
   $awin->{url} =~ s/$secret/{secret}/r, 'later without the secret');

my $shop = add('shop program=shop pixel=true '
               . 'endpoint=https://x.example/p/{postback}.gif');

like($shop->{url}, qr{^https://x\.example/p/[a-z2-7]{26}\.gif
     \?click_id=\{click_id\}&.*&customer=\{customer\}&coupon=\{coupon\}
     &status_time=\{status_time\}&event_id=\{event_id\}
     &subscription=\{subscription\}$}x,
     'a token in the path; of ours all that there is');
is($shop->{secret}, undef, 'a pixel has no secret');

my $ins = add('ins network=clickbank key=sign');

like($ins->{url}, qr{/postback\?postback=[a-z2-7]{26}$}, 'a form of its own');
is($ins->{form}, 'ins', 'which is its preset\'s');
is(add('own', 'network=amazon', "parameters='click_id=sid transaction_id=tid'")
   ->{url} =~ s/.*&(?=sid)//r, 'sid={click_id}&tid={transaction_id}',
   'a network without a preset for it');
like(add('less', 'network=generic', "parameters='currency= amount=payout'")->{url},
     qr/&payout=\{amount\}&sale_amount=\{sale_amount\}&status=/,
     'one by another name, one less');

# records

is_deeply(record($awin), { id => 1, org_id => 1, form => 'query',
    secret => sha256_hex($secret), params => {
        click_id => 'clickRef', transaction_id => 'transactionId',
        amount => 'commission', sale_amount => 'transactionAmount',
        currency => 'transactionCurrency' } }, 'a record');
is(record($shop)->{pixel}, 1, 'of a pixel');
is(record($shop)->{params}{coupon}, 'coupon', '... of ours');
is(record($ins)->{params}{status_time}, 'transactionTime', 'of a preset');

my $r = record($ins);

is($r->{row}, 'network/acme/sign', 'a secret\'s name');
is(plain($t, $r->{row}, $r->{sealed}), 'geheim', '... which opens by it');

$r = record(add('mac', 'network=generic hmac=sha1 encoding=base64 '
                . 'signature=sig key=mac allow=10.0.0.0/8,::1'));
is(join(' ', @$r{qw(hmac encoding signature allow)}),
   'sha1 base64 sig 10.0.0.0/8 ::1/128', 'a signature, and addresses');

put($t, 'network/acme/sign', 'x' x 1025);
is(record($ins)->{sealed}, undef, 'a secret too long for edges');
put($t, 'network/acme/sign', 'geheim');

$t->ctl('postback disable org=acme postback=ins');
is(record($ins), undef, 'disabled: none');
$t->ctl('postback enable org=acme postback=ins');

my $old = record($awin)->{secret};
my $new = $t->ctl('postback rotate secret org=acme postback=awin');

like($new->{url}, qr/usher_secret=$new->{secret}&/, 'another secret');
is(record($awin)->{secret}, sha256_hex($new->{secret}), '... in its place');
isnt($old, record($awin)->{secret}, '... which is another');

$t->ctl('postback update org=acme postback=awin parameters=coupon=code');
is(record($awin)->{params}{coupon}, 'code', 'a parameter more');
$t->ctl('postback update org=acme postback=awin parameters=');
is(record($awin)->{params}{coupon}, undef, 'and as the preset says');

is($t->ctl('postback update org=acme postback=awin statuses=Paid=approved,=rejected')
   ->{statuses}{paid}, 'approved', 'words in lower case');

# the outbox

$t->sql('set role usher_owner');

is(outbox("insert into usher.postback (org_id, name, endpoint, network_id)
           values (1, 'x', 'https://x.example', 1)"), 'postback 1 new', 'new');
is(outbox("update usher.postback set name = name"), '', 'as it was');
is(outbox("update usher.postback set addresses = '{::1}' where name = 'x'"),
   'postback 1 urgent', 'changed');
is(outbox("update usher.postback set token = usher.random_base32(26)
           where name = 'x'"), 'postback 2 urgent', 'another token: both');
is(outbox("delete from usher.postback where name = 'x'"),
   'postback 1 urgent', 'deleted');
is(outbox("update usher.secret set ciphertext = ciphertext || '\\x00'"),
   'postback 2 urgent', 'another secret');
is(outbox("update usher.secret set retired_at = now()"), '',
   'what stands in none');
is(outbox("update usher.network set preset = 'generic' where name = 'awin'"),
   'postback 1 urgent', 'another preset');
is(outbox("update usher.network set title = 'x'"), '', 'another title');
is(outbox(q{update usher.network_preset
            set parameters = parameters || '{"amount": "x"}'
            where name = 'generic'}), 'postback 4 urgent',
   'a preset: networks by it, and what is ours');
is(outbox("update usher.org set name = 'acne'"), 'postback 6 urgent',
   'a secret is named by its org');
is(outbox("update usher.org set title = 'x'"), '', 'not by its title');
ok(!eval { $t->sql('truncate usher.postback cascade'); 1 }, 'no TRUNCATE');

done_testing();
