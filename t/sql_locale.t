# A database whose small letters are not those of ASCII: what is written in
# capitals means the same there.

use lib 't/lib';
use Usher::Test;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->sql("create database turkish template template0 encoding 'UTF8'
         locale 'C.UTF-8' locale_provider icu icu_locale 'tr-TR'");

my $where = 'host=' . $t->dir . ' dbname=turkish user=postgres';

is(system("USHER_DATABASE='$where' @{[ $t->top ]}/util/migrate > /dev/null"), 0,
   'a schema');

my $db = DBI->connect('dbi:Pg:' . $where =~ tr/ /;/r, '', '', { RaiseError => 1 });

# what a call answers by this name

sub answer {
    my ($name, $call) = @_;
    return $db->selectrow_array("select api.$call ->> ?", undef, $name);
}

sub refused { eval { answer('', @_) }; return $@ }


is($db->selectrow_array("select lower('I')"), "\x{131}", 'I is not the capital of i');

answer(name => "org_create('acme')");

is(answer(added => "cost_import('acme', E'DAY,AMOUNT,CURRENCY,ID\n2026-01-01,1,EUR,7',
                                'ads')"), 1, 'columns of a file');
is(answer(added => "fx_import(E'Date,USD,idr,Sit\n2026-01-01,1.1,18000,2')"), 2,
   'rates by currency');
is(answer(skipped => "fx_import(E'Date,usd,idr,Sit\n2026-01-02,1.1,18000,2')"),
   'Sit', 'and what is none');
is(answer(hosts => "program_create('acme', 'shop', 'own', 'EUR',
                                   hosts => 'WWW.INSIDE.EXAMPLE')"),
   'www.inside.example', 'hosts');

# hosts, conditions and words of links and conversions

is(answer(host => "domain_add('GO.INSIDE.EXAMPLE', 'acme')"),
   'go.inside.example', 'a host of links');
is(answer(slug => "link_add('Go.Inside.Example', slug => 'win',
                            url => 'HTTPS://WWW.INSIDE.EXAMPLE/',
                            program => 'shop')"),
   'win', 'where a link leads');
like(refused("link_add('go.inside.example', slug => 'loop',
                       url => 'https://GO.INSIDE.EXAMPLE/')"),
     qr/leads to a host of links/, 'which is no host of links');
is($db->selectrow_array(
       "select concat_ws(' ', t->>'country', t->>'os', t->>'referrer')
        from api.link_target_set('go.inside.example', 'win', 't',
                 'https://x.example/', country => 'ie', os => 'IOS',
                 referrer => 'INSIDE.EXAMPLE') l,
             jsonb_array_elements(l->'targets') t"), 'IE ios inside.example',
   'conditions');
$db->do('select usher.health_collect()');
is($db->selectrow_array(
       "select string_agg(host, ' ' order by host) from usher.health"),
   'www.inside.example x.example', 'hosts that are asked');
is($db->selectrow_array(
       "select jsonb_array_length(api.link_health(host => 'GO.INSIDE.EXAMPLE',
                                                  state => 'all'))"), 2,
   'and shown');
is(answer(code => "coupon_add('acme', 'shop', 'win', 'go.inside.example',
                              'win')"), 'WIN', 'a code');
is(answer(code => "coupon_drop('acme', 'shop', 'WiN')"), 'WIN',
   'by whatever letters');
answer(name => "network_create('acme', 'net', 'clickbank')");
is($db->selectrow_array(
       "select api.postback_add('acme', 'p', program => 'shop',
                   statuses => 'PAID=approved')->'statuses'->>'paid'"),
   'approved', 'a word');
is(answer(missing => "conversion_import('acme',
       E'RECEIPT,TRANSACTIONTYPE,TOTALACCOUNTAMOUNT,currency\n1,BILL,1,eur',
       network => 'net')"), 1, 'words and columns of a report');

$db->disconnect;

done_testing();
