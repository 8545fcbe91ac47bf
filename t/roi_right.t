# ROI: who may see it, what cannot be asked, what has no rate, and nothing.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");
    $t->ctl($_, 'import', "org=$org", 'source=ads', 'csv=' . join "\n",
            'id,day,amount,currency,campaign', '1,2026-03-02,2.00,EUR,spring',
            '2,2026-03-02,1.00,EUR,autumn') for qw(cost revenue);
}

$t->ctl("member set actor=$_ org=acme role=$_")
    for qw(owner admin analyst partner);

# rights

is(join(' ', keys %{ functions($t, qr/^roi_/) }), 'roi_show', 'all there is');

my @is = (by => 'day', from => '2026-03-01');

is(ask($t, $_, 'roi_show', @is, org => 'acme')->{cost}, '3.00', "$_ sees it")
    for '', qw(owner admin analyst);
is(ask($t, $_, 'roi_show', @is, org => 'acme'), 'US403', "$_ does not")
    for qw(partner stranger);
is(ask($t, 'owner', 'roi_show', @is, org => $_), 'US403', "nobody sees $_")
    for qw(beta nobody);
is(ask($t, '', 'roi_show', @is, org => 'nobody'), 'US404', 'which is not there');

# arguments

my $show = 'roi show org=acme';

like($t->ctl_fails("$show $_->[0]"), qr/^usherctl: $_->[1].*\nhint: .*$_->[2]/,
     $_->[0])
    for [ 'by=week', 'by="week" cannot be', 'day or source' ],
        [ 'by=', 'by="" cannot be', 'day or source' ],
        [ 'currency=EURO', 'currency="EURO" cannot be', 'ISO 4217' ],
        [ 'country=Germany', 'country="Germany" cannot be', 'ISO 3166' ],
        [ 'country=de', 'country="de" cannot be', 'ISO 3166' ],
        [ 'from=2026-03-02 to=2026-03-02', 'to=2026-03-02 is not after', '31 days' ],
        [ 'from=yesteryear', 'from="yesteryear" is not of type date', 'from=' ];
like($t->ctl_fails('roi show'), qr/org/, 'an org has to be named');

# nothing

my $none = $t->ctl("$show from=2027-01-01 to=2027-01-02");

is(join(' ', map { $none->{$_} // 'null' }
             qw(cost revenue profit roi clicks epc groups)),
   '0.00 0.00 0.00 null 0 null 0', 'of nothing');
is_deeply($none->{rows}, [], 'no rows');
ok($none->{ok}, 'which is well');
is($t->ctl("$show campaign=winter")->{groups}, 0, 'a campaign that is none');

# the last 31 days, today among them; once more if that ended meanwhile

sub today { $t->sql("select (now() at time zone 'UTC')::date") }

my $late;

{
    my $today = today();

    $t->ctl('cost', 'import', 'org=acme', 'source=now', 'csv=' . join "\n",
        'id,day,amount,currency', map { "$_->[0]," . $t->sql(
            'select ?::date - ?::integer', $today, $_->[0]) . ",$_->[1],EUR" }
        [ 0, 1 ], [ 30, 10 ], [ 31, 100 ]);
    $late = $t->ctl($show);
    redo if today() ne $today;
}

is($late->{cost}, '11.00', 'the last 31 days');
is($t->ctl("$show to=2026-03-20")->{from}, '2026-02-17', 'or 31 before a day');

# of days all are told, of others the largest

$t->sql("insert into usher.cost (org_id, day, amount, currency, campaign, source,
                                 external_id)
         select 1, '2020-01-01'::date + n, n, 'EUR', 'c' || n, 'old', n
         from generate_series(0, 1000) n");

my %told = map { $_ => $t->ctl("$show by=$_ from=2020-01-01 to=2024-01-01") }
           qw(day campaign);

is("$told{$_}{groups} " . @{ $told{$_}{rows} }, $_ eq 'day' ? '1001 1001' : '1001 1000',
   "by $_") for qw(day campaign);
is(join(' ', map { $told{campaign}{rows}[$_]{campaign} } 0, -1), 'c1000 c1',
   'the largest of them');

# what has no rate

$t->ctl('revenue', 'import', 'org=acme', 'source=far', 'csv=' . join "\n",
    'id,day,amount,currency,campaign', '1,2026-03-02,5.00,CHF,spring',
    '2,2026-03-03,2.50,CHF,spring', '3,2026-03-03,-1,JPY,spring');
$t->ctl('cost', 'import', 'org=acme', 'source=far', 'csv=' . join "\n",
    'id,day,amount,currency,campaign', '1,2026-03-04,9.00,CHF,winter');

my ($code, $out) = $t->ctl_run(split ' ', "$show by=campaign from=2026-03-01 "
                                          . 'to=2026-04-01');
my $all = JSON::PP->new->decode($out);
my %row = map { ($_->{campaign} // 'total') => join ' ', map { $_ // 'null' }
                @$_{qw(cost revenue profit roi)} } $all, @{ $all->{rows} };

is($code, 3, 'no good news');
is($row{total}, 'null null null null', 'no total');
is($row{spring}, '2.00 null null null', 'what is known of a group');
is($row{winter}, 'null 0.00 null null', 'of another');
is($row{autumn}, '1.00 1.00 0.00 0.0000', 'all of one that has rates');
is_deeply($all->{unconverted},
    [ { currency => 'CHF', amounts => 3, cost => '9.00', revenue => '7.50',
        first => '2026-03-02', last => '2026-03-04' },
      { currency => 'JPY', amounts => 1, cost => undef, revenue => '-1',
        first => '2026-03-03', last => '2026-03-03' } ],
    'what there is, as it is');
like($all->{problems}[0], qr/CHF to EUR, first on 2026-03-02; "fx import" brings/,
     'and what to do');
ok($t->ctl("$show by=campaign from=2026-03-01 to=2026-04-01 campaign=autumn")->{ok},
   'nothing is missing where nothing is of it');
$t->ctl('fx', 'import', 'csv=' . join "\n", 'day,base,quote,rate',
        '2026-03-02,EUR,CHF,0.5', '2026-03-02,EUR,JPY,100');
$all = $t->ctl("$show by=campaign from=2026-03-01 to=2026-04-01");
is("$all->{ok} $all->{revenue} $all->{cost}", '1 17.99 21.00', 'then all is there');

done_testing();
