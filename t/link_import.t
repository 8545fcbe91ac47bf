# Links from a file: all or nothing, again and again the same, what is wrong
# named by line and reason; a file of any length, in parts.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl("org create name=$_") for qw(acme beta);
$t->ctl("domain add host=go.$_.example org=$_") for qw(acme beta);
$t->ctl('campaign create org=acme name=spring');
$t->ctl('network create org=acme name=awin preset=awin');
$t->ctl('program create org=acme name=shoes side=network network=awin currency=EUR');
$t->ctl('product create org=acme program=shoes name=boot');
$t->ctl('program create org=acme name=books side=own currency=EUR');
$t->ctl('partner create org=acme name=ann');
$t->ctl('partner join org=acme partner=ann program=books');

my $go = 'go.acme.example';
my $shop = 'https://shop.example/';

sub file { 'csv=@' . $t->write_file('links.csv', join '', map { "$_\n" } @_) }

sub import_of { $t->ctl('link', 'import', file(@_)) }

sub counts { join ' ', map { $_[0]{$_} } qw(added changed unchanged skipped) }

sub link_of { $t->ctl("link show host=$go slug=$_[0]") }

sub outbox { join ' ', map { "@$_" } $t->rows('select cardinality(ids), urgent::int,
    inserted::int from usher.directory_outbox order by id') }

# what is there is compared

my @file = ("slug,HOST,url,title,expires,query,status,program,product,campaign,partner",
    "one,$go,${shop}1?clickref={click_id},\"a \"\"b\"\", c\",2030-01-02 03:04:05+01,yes,307,shoes,boot,spring,",
    " two , GO.acme.example,\"${shop}2\",,,,,books,,,ann", '',
    "three,go.beta.example,${shop}3?a=1,\"two\nlines\",,,,,,,");

is(counts(import_of(@file)), '3 0 0 0', 'added');
is(counts(import_of(@file)), '0 0 3 0', 'again: unchanged');

my $one = link_of('one');

is(join('|', map { $one->{$_} } qw(title expires query status program product campaign)),
   'a "b", c|2030-01-02T02:04:05+00:00|' . JSON::PP::true . '|307|shoes|boot|spring',
   'with all that it belongs to');
is(link_of('two')->{partner}, 'ann', 'without blanks around a cell');
is($t->ctl('link show host=go.beta.example slug=three')->{title}, "two\nlines",
   'a cell of two lines');
is(join(' ', map { $_->[0] } $t->rows("select o.name || (a.arguments->>'added')
    from usher.audit a join usher.org o on o.id = a.org_id
    where function = 'link_import' and a.arguments->>'unchanged' = '0' order by 1")), 'acme2 beta1',
   'an audit row for each org');

# what is there otherwise

my $new = "${shop}new?clickref={click_id}";
my @other = ('host,slug,url', "$go,one,$new", "$go,four,${shop}4");

like($t->ctl_fails('link', 'import', file(@other)),
     qr/^usherctl: csv= line 2: host "$go" has another link "one"\nhint: on_conflict=update/,
     'fails');
is(counts($t->ctl('link', 'import', 'on_conflict=skip', file(@other))), '1 0 0 1',
   'or is left');
is(counts($t->ctl('link', 'import', 'on_conflict=update', file(@other))), '0 1 1 0',
   'or is changed');
is(link_of('one')->{url} . link_of('one')->{campaign}, "${new}spring",
   'but for what the file does not have');
is(counts($t->ctl('link', 'import', 'on_conflict=update',
    file('host,slug,url,campaign,disabled', "$go,one,$new,,true"))), '0 1 0 0',
   'an empty cell is a value');
is(join('|', map { $_ // 'none' } @{ link_of('one') }{qw(campaign state)}),
   'none|disabled', 'the default');

# caps

is(counts(import_of('host,slug,url,cap,cap_day', "$go,cap,${shop},7,", "$go,cap2,${shop},0,9")),
   '2 0 0 0', 'with caps');
is(join('|', map { link_of($_)->{cap} // '', link_of($_)->{cap_day} // '' } qw(cap cap2)), '7|||9',
   'or without one');
is(counts(import_of('host,slug,url', "$go,cap,${shop}")), '0 0 1 0', 'without the column they stay');
is(counts($t->ctl('link', 'import', 'on_conflict=update',
    file('host,slug,url,cap,cap_day', "$go,cap,${shop},,3"))), '0 1 0 0', 'with it they change');
is(join('|', map { link_of('cap')->{$_} // '' } qw(cap cap_day)), '|3', 'to what is there');
like($t->ctl_fails('link', 'import', file('host,slug,url,cap', "$go,c1,$shop,1", "$go,c2,$shop,$_")),
     qr/csv= line 3: cap="$_" cannot be\nhint: A cap is a number of clicks/, "no cap $_")
    for '-1', 'x', '1.5', '1000000000';

# a click id only where the network takes it

$t->ctl('network create org=acme name=amazon preset=amazon');
$t->ctl('program create org=acme name=tagged side=network network=amazon currency=EUR');
like($t->ctl_fails('link', 'import', file('host,slug,url,program',
         "$go,t1,${shop}?tag=a,tagged", "$go,t2,${shop}?tag={click_id},tagged")),
     qr/csv= line 3: a link of program "tagged" cannot be tracked\nhint: Network "amazon"/,
     'no click id for who takes none');

# a line is taken after those before it

my @twice = ('host,slug,url', map { "$go,same,$shop$_" } 1, 1, 2);

like($t->ctl_fails('link', 'import', file(@twice)), qr/csv= line 4: .*another link "same"/,
     'a slug that comes again otherwise');
is(counts($t->ctl('link', 'import', 'on_conflict=update', file(@twice))), '1 1 1 0',
   'the last one counts');
is(link_of('same')->{url}, "${shop}2", 'and stays');

# all or nothing

my $there = $t->sql('select count(*) from usher.link');

for my $case (
    [ "$go,a b,$shop,,,,", 'slug="a b" cannot be\nhint: A slug is 1 to 64' ],
    [ ",a,$shop,,,,", 'there is no host ""' ],
    [ "go.nope.example,a,$shop,,,,", 'there is no host "go.nope.example"' ],
    [ "$go,a,ftp://x,,,,", 'url="ftp://x" cannot be' ],
    [ "$go,a,,,,,", 'url="" cannot be' ],
    [ "$go,a,https://$go/x,,,,", "url=.* leads to a host of links" ],
    [ "$go,a,$shop,${shop}{foo},,,", 'fallback=.*cannot be' ],
    [ "$go,a,$shop,https://$go:80,,,", 'fallback=.*leads to a host of links' ],
    [ "$go,a,$shop,,303,,", 'status=303 cannot be' ],
    [ "$go,a,$shop,,x,,", 'status=0 cannot be' ],
    [ "$go,a,$shop,,,2026-02-30,", 'expires="2026-02-30" cannot be\nhint: A moment' ],
    [ "$go,a,$shop,,,soon,", 'expires="soon" cannot be' ],
    [ "$go,a,$shop,,,,nope", 'there is no campaign "nope"' ],
    [ "$go,a,$shop", 'has 3 cells, the first line has 7' ],
    [ "$go,a,\"$shop\"x,,,,", 'a quote is out of place' ],
    [ "$go,a,\"$shop,,,,", 'a quote is out of place' ],
    [ "$go,a,$shop\xff,,,,", 'it is not UTF-8' ],
) {
    my ($line, $said) = @$case;

    like($t->ctl_fails('link', 'import', file('host,slug,url,fallback,status,expires,campaign',
         "$go,new,$shop,,,,", $line)), qr/^usherctl: csv= line 3:? $said/, 'not ' . substr $line, 0, 60);
}

like($t->ctl_fails('link', 'import', file("host,slug,url$_->[0]")), qr/^usherctl: csv= $_->[1]/,
     "no columns $_->[0]")
    for [ ',url', 'has column "url" twice' ], [ ',colour', 'has a column "colour"' ];
like($t->ctl_fails('link', 'import', 'csv=host,slug'), qr/csv= has no column "url"/, 'nor two');
like($t->ctl_fails('link import csv='), qr/csv= is empty/, 'nor none');
is(($t->ctl_run('link', 'import', 'csv=@/nowhere'))[0], 2, 'no file');
is(($t->ctl_run('link', 'import', 'csv=host,slug,url', 'after={}'))[0], 2,
   'after= is made by usherctl');

my $long = $shop . 'x' x 1500;

like($t->ctl_fails('link', 'import', file('host,slug,url,fallback,overflow', "$go,a,$long,$long,$long")),
     qr/csv= line 2: the link is too long/, 'nor too long a link');
is($t->sql('select count(*) from usher.link'), $there, 'nothing was added');

# of any length: what comes first in the file is not in the part that is bad

my @many = map { "$go,m$_,$shop$_,\"\nnumber $_, " . 'x' x 180 . '"' } 1 .. 12_000;

$t->sql('delete from usher.directory_outbox');
like($t->ctl_fails('link', 'import', file('host,slug,url,title', @many, "$go,m,x,")),
     qr/csv= line 24002: url="x"/, 'the last line is bad');
is($t->sql('select count(*) from usher.link'), $there, 'and none was added');
is(counts($t->ctl('--dry-run', 'link', 'import', file('host,slug,url,title', @many))),
   '12000 0 0 0', 'a dry run');
is($t->sql('select count(*) from usher.link'), $there, 'adds none either');
is(counts(import_of('host,slug,url,title', @many)), '12000 0 0 0', 'in parts');
cmp_ok($t->sql("select count(*) from usher.audit where arguments->>'to' > '20000'"), '>', 0,
       'which the audit has');
like(outbox(), qr/^(\d+ 0 1 ?)+$/, 'edges hear that there are new ones');
cmp_ok($t->sql('select count(*) from usher.directory_outbox'), '<', 40, 'in few words');

$t->sql('delete from usher.directory_outbox');
is(counts($t->ctl('link', 'import', 'on_conflict=update',
    file('host,slug,url,status', map { "$go,m$_,$shop$_,308" } 1 .. 2000))), '0 2000 0 0',
   'many are changed');
is(outbox(), '1000 0 0 1000 0 0', 'which is no reason to let others wait');
is(counts($t->ctl('link', 'import', 'on_conflict=update',
    file('host,slug,url,status', "$go,m1,${shop}1,307"))), '0 1 0 0', 'one is');
is(outbox(), '1000 0 0 1000 0 0 1 1 0', 'which is urgent');

# a quick look at a URL lets in nothing that a thorough one would not

is($t->sql(q{select count(*)
    from (select setseed(0.5)) s,
         lateral (select string_agg((array['a', 'B', '-', '.', '1', '0x', '/', '?', '#', '%4', '41',
                      '{sub1}', '{slug', '}', ':', '@', '"', '&', 'https://', '~', ' ', E'\n', '['])
                          [1 + floor(random() * 23)], '') as x
                  from generate_series(1, 20000) i, generate_series(1, 1 + i % 9) group by i) r,
         lateral (values ('http://' || x), ('HTTPS://a.b' || x)) u (url)
    where usher.target_ok(url) and not usher.target_exact(url)}), 0, 'of 40,000 URLs');

done_testing();
