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

$db->disconnect;

done_testing();
