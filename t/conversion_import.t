# The report of a network is the truth: what it tells is compared with what is
# known, and what differs is changed, once.

use lib 't/lib';
use Usher::Conversion;
use Usher::Race;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);

sub import_csv {
    my ($csv, @args) = @_;

    my $told = $t->ctl('conversion', 'import', 'org=acme',
                       @args ? @args : 'network=net', "csv=$csv");

    return "$told->{matched} $told->{missing} $told->{changed}";
}

sub refused {
    my ($csv, @args) = @_;

    return $t->ctl_fails('conversion', 'import', 'org=acme',
                         @args ? @args : 'network=net', "csv=$csv");
}

# How often a query looks into an index; few rows are read without one.

sub scans {
    my ($index, @query) = @_;

    $t->db->begin_work;
    $t->sql('set local enable_seqscan = off');

    my @n = map {
        $t->sql(@query) if $_;
        $t->sql('select sum(pg_stat_get_xact_numscans(i))
                 from (select ?::regclass union
                       select relid from pg_partition_tree(?)) p (i)',
                $index, $index)
    } 0, 1;

    $t->db->rollback;

    return $n[1] - $n[0];
}

tell($t, 'net', 'p1', at => day(10), status => 'pending', amount => '10');
tell($t, 'net', 'p2', at => day(10), status => 'approved', amount => '5');
tell($t, 'netpixel', 'p3', at => day(10), amount => '70');

my $report = <<'END';
transaction_id,status,amount,currency,remark
p1,Approved,12.50,EUR,"x, y"
p2,approved,5.00,,
p3,pending,7,EUR,
p4,approved,3.00,EUR,
END

is(import_csv($report), '1 1 2', 'matched, missing, changed');
my ($p1, $p3, $p4) = map { truth($t, $_) } qw(p1 p3 p4);
is("$p1->{state} $p1->{amount}", 'approved 1250', 'changed');
is("$p3->{confirmed} $p3->{amount}", '1 700', 'what a pixel told is confirmed');
is("$p4->{state} $p4->{amount} $p4->{link}", 'approved 300 none', 'added');
is(import_csv($report), '4 0 0', 'imported again nothing changes');
is($t->sql('select sum(amount) from usher.revenue'), 1250 + 500 + 300,
   'and all is earned once');

# whatever was told before, even from ahead of the clock; and not what comes
# later but is older

my $ahead = $t->sql('select extract(epoch from now())::bigint + 86400');
tell($t, 'net', 'p1', at => $ahead, status => 'reversed');
is(import_csv($report), '3 0 1', 'the report is newer than what is known');
is(truth($t, 'p1')->{state}, 'approved', 'and true');
is(import_csv("transaction_id,status,amount\np1,rejected,0\n"), '0 0 1',
   'another report');
is(import_csv($report), '3 0 1', 'and the first again');
tell($t, 'net', 'p2', at => day(11), status => 'reversed');
is(truth($t, 'p2')->{state}, 'approved', 'an older postback undoes nothing');
is($t->sql("select string_agg(origin || ' ' || effect, ', ' order by h.id)
            from (select h.* from usher.conversion_change h
                  join usher.conversion c on c.id = h.conversion_id
                  where transaction_id = 'p1') h"),
   'postback new, import changed, postback changed, import changed, '
   . 'import changed, import changed', 'all of it is in the history');

# columns and words as the preset has them

$t->ctl('network create org=acme name=cb preset=clickbank');
$t->ctl('program create org=acme name=cb side=network network=cb currency=USD');
$t->ctl('link add host=go.acme.example slug=cb url=https://x.example/?tid={click_id} program=cb');
my $cb = $t->sql("select id from usher.link where slug = 'cb'");
my ($good, $other) = map { click($cb, day(19)) } 1 .. 2;
$t->sql("select usher.partition_ensure('click', '2026-01-20')");
$t->sql("insert into usher.click values ('2026-01-20 12:01+00',
         '2026-01-20 12:00+00', $cb, 0, 0, 1, '$good', 'e', 'h', 's',
         'DE', '', '', '', '', '', '', '', '', '', '', null, 302, 0)");
is(import_csv("Receipt,transactionType,totalAccountAmount,currency,trackingCodes,time\n"
              . 'A1,SALE,9.99,USD,' . uc($good) . ",2026-01-21 10:00\n"
              . "A2,RFND,-5.00,USD,$other,2026-01-21\n"
              . "A3,SALE,1,USD,$good,2026-12-21\n", 'network=cb'), '0 3 0',
   'a report of ClickBank');
is(join(' ', map { my $c = truth($t, $_);
                   "$c->{state}/" . ($c->{amount} // '-') . "/$c->{link}" }
             qw(A1 A2 A3)),
   'approved/999/cb reversed/-/unverified approved/100/out_of_window',
   'a click that is stored, one that is not, one too long ago');

# by the index: a report has many lines, and there are many clicks

ok(scans('usher.click_number', 'select usher.click_stored(?)', $good) > 0,
   'a click is found by its id');

# the shop's own list

tell($t, 'pixel', 'o1', at => day(100), sale_amount => '1',
     click_id => click($link{a}, day(99)));
is(import_csv("transaction_id,status,sale_amount\no1,sale,40\no2,sale,50\n",
              'program=books'), '0 1 1', 'a shop of ours');
my $o1 = truth($t, 'o1');
is("$o1->{state} $o1->{sale_amount} $o1->{link} $o1->{partner}",
   'approved 4000 a ann', 'confirms what a pixel told, with its click');

# alone with its source: it takes few locks, waits for who was first, and who
# comes meanwhile comes again

my $shop = "api.conversion_import('acme', program => 'books', csv => ";

$t->db->begin_work;
$t->sql("select $shop E'transaction_id,status,customer\n'
         || string_agg(format('m%s,sale,c%s', i, i), E'\n'))
         from generate_series(1, 50) i");
is($t->sql("select count(*) < 5 from pg_locks where locktype = 'advisory'"), 1,
   'a report takes no lock of each customer');
$t->db->rollback;

hear($t, 'shop', 'o3', at => day(100), status => 'sale', customer => 'c3');
my ($imported, $failed) = both($t, 'commit', 'select usher.react(9)',
    "select $shop E'transaction_id,status\no3,refund')->>'changed'");
is("$imported $failed", '(1,1,0,0,) 1', 'a report waits for what came first');

my $session = DBI->connect('dbi:Pg:' . $t->dsn =~ tr/ /;/r, '', '',
                         { RaiseError => 1 });
$session->begin_work;
$session->do("select $shop E'transaction_id,status\no9,refund')");
hear($t, 'shop', 'o4', at => day(100), status => 'sale');
hear($t, 'net', 'n4', at => day(100), status => 'approved');
is($t->sql('select (handled, failed) from usher.react(9)'), '(1,1)',
   'what comes meanwhile waits, and nothing of another source');
is($t->sql('select sum(attempts) from usher.todo'), 0, 'and has not failed');
$session->rollback;
$session->disconnect;

# a line that is bad, and nothing is imported

my $n = $t->sql('select count(*) from usher.conversion_change');
my $head = 'transaction_id,status,amount,currency,time';

like(refused("$head\nz1,approved,1,EUR,\n$_->[0]\n"), $_->[1], $_->[0])
    for [ ',approved,1,EUR,' => qr/line 3: transaction_id is empty/ ],
        [ 'x' x 129 . ',approved,1,EUR,' => qr/line 3: transaction_id="xxx/ ],
        [ 'z2,wat,1,EUR,' => qr/line 3: status="wat".*approved, chargeback/s ],
        [ 'z2,approved,"1,5",EUR,' => qr/line 3: amount="1,5" cannot be/ ],
        [ 'z2,approved,-1,EUR,' => qr/line 3: amount="-1".*is negative/s ],
        [ 'z2,approved,1,XXX,' => qr/line 3: amount="1".*currency="XXX" is none/s ],
        [ 'z2,approved,1,EUR,yesterday' => qr/line 3: time="yesterday"/ ],
        [ 'z2,approved,1,EUR,2026-13-01' => qr/line 3: time="2026-13-01"/ ],
        [ 'z1,rejected,1,EUR,' => qr/transaction "z1" twice/ ];
like(refused("status,amount\napproved,1\n"), qr/transaction_id is empty/,
     'no transactions');
like(refused('', 'network=net'), qr/csv= is empty/, 'nothing');
like(refused($report, $_->[0]), $_->[1], $_->[0])
    for [ 'program=shoes' => qr/program "shoes" is a network's/ ],
        [ 'network=x' => qr/no network "x"/ ];
like($t->ctl_fails('conversion', 'import', 'org=acme', "csv=$report"),
     qr/network= or program= is needed/, 'whose');
is($t->sql('select count(*) from usher.conversion_change'), $n,
   'nothing was imported');

# as people see it; one is found by its name

ok(scans('usher.conversion_transaction',
         "select api.conversion_show('acme', 'p1', network => 'net')") > 0,
   'a conversion is found by its name');

my $shown = $t->ctl('conversion show org=acme network=net transaction=p1');
is("$shown->{state} $shown->{amount} $shown->{currency} $shown->{unattributed}",
   'approved 12.50 EUR none', 'one is shown');
is(scalar @{ $shown->{history} }, 6, 'with its history');
is(join(' ', map { $_->{transaction} }
             @{ $t->ctl("conversion list org=acme $_->[0]") }), $_->[1],
   "conversion list $_->[0]")
    for [ 'network=cb state=approved' => 'A3 A1' ],
        [ 'program=books limit=1' => 'o3' ],
        [ 'program=books unattributed=true' => 'o3 o2' ],
        [ 'from=2026-01-21 to=2026-01-22' => 'A2 A1' ];

done_testing();
