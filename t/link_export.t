# Links into a file, byte by byte what they were when they come back.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");
    $t->ctl("domain add host=$_.$org.example org=$org") for qw(go a);
    $t->ctl("campaign create org=$org name=spring");
    $t->ctl("program create org=$org name=books side=own currency=EUR");
    $t->ctl("partner create org=$org name=ann");
    $t->ctl("partner join org=$org partner=ann program=books");
}

my $go = 'go.acme.example';
my $shop = 'https://shop.example/';

sub export_of { ($t->ctl_run('link', 'export', @_))[1] }

is(export_of(), "host,slug,url,title,fallback,overflow,expires,query,utm,plain,status,"
    . "referrer_policy,disabled,program,product,campaign,partner,dead,untracked,cap,cap_day\n",
   'of nothing');

$t->ctl('link', 'add', "host=$go", "slug=t$_->[0]", "url=$shop,?a=1", "title=$_->[1]")
    for [ 1, 'a, "b"' ], [ 2, ' blanks ' ], [ 3, "two\r\nlines\n" ], [ 4, "\x{e4}\x{20ac}" =~ s/(.)/$1/r ],
        [ 5, '"' ], [ 6, "\ttab" ];
$t->ctl("link add host=$go slug=A url=$shop fallback=${shop}f overflow=${shop}o "
    . 'expires=2030-01-02T03:04:05.678901Z query=true utm=utm_source=a&utm_medium=b '
    . 'plain=true status=307 referrer_policy=origin program=books campaign=spring partner=ann '
    . 'dead=fallback cap=5000 cap_day=100');
$t->ctl("link add host=a.acme.example slug=z url=$shop expires=infinity");
$t->ctl("link disable host=$go slug=t1");
$t->ctl("link add host=go.beta.example slug=b url=$shop");
$t->sql("insert into usher.link (org_id, host, slug, url)
         select 1, ?, 'm' || i, 'https://shop.example/' || i from generate_series(1, 25000) i", $go);

my $csv = export_of('org=acme');

is($csv =~ tr/\n//, 1 + 25_000 + 8 + 2, 'a line for each');
like($csv, qr/^a\.acme\.example,z,.*\ngo\.acme\.example,A,/m, 'in the order of hosts and slugs');
like($csv, qr/^$go,A,$shop,,${shop}f,${shop}o,2030-01-02 03:04:05.678901\+00,true,utm_source=a&utm_medium=b,true,307,origin,false,books,,spring,ann,fallback,false,5000,100$/m,
     'with all that link add says');
like($csv, qr/^$go,t1,"$shop,\?a=1","a, ""b""",,,,false,,false,302,no-referrer-when-downgrade,true,,,,,list,false,,$/m,
     'in quotes where it needs them');
unlike($csv, qr/beta/, 'of this org');
is(export_of("host=$go"), $csv =~ s/^a\.acme.*\n//mr, 'or of a host');
is(export_of(), $csv . "go.beta.example,b,$shop,,,,,false,,false,302,no-referrer-when-downgrade,false,,,,,list,false,,\n",
   'or all');

# there and back

$t->ctl('link', 'import', 'csv=@' . $t->write_file('acme.csv', $csv));

$t->write_file('beta.csv', $csv =~ s/acme/beta/gr);
is($t->ctl("link import csv=\@$t->{dir}/beta.csv")->{added}, 25_008, 'into another org');
is(export_of('org=beta') =~ s/^go\.beta\.example,b,.*\n//mr =~ s/beta/acme/gr, $csv,
   'which then writes the same');
is($t->ctl("link import csv=\@$t->{dir}/acme.csv")->{unchanged}, 25_008, 'and it is what is there');

($csv) = ($t->ctl_run('--actor', 'nobody', 'link', 'export', 'org=acme'));
is($csv, 1, 'not for everybody');

done_testing();
