# Cost, revenue, profit and ROI by what they are of, held against sums that are
# made here of the files that were imported, in fractions.

use lib 't/lib';
use Usher::Test;

use Math::BigRat;


my $t = Usher::Test->new;

$t->postgres;
$t->sql("do 'begin execute format(''alter database %I set timezone = %L'',
                    current_database(), ''America/New_York''); end'");
$t->db->disconnect;

my $seed = $ENV{SEED} // time;
srand $seed;

sub big { Math::BigRat->new($_[0]) }
sub any { $_[rand @_] }

# Rates whose reciprocals end, so that sums come to halves.

my %decimals = (EUR => 2, USD => 2, GBP => 2, JPY => 0, KWD => 3);
my %rate = ('2026-03-01' => { EUR => 1, USD => 1.25, GBP => 0.5, JPY => 160,
                              KWD => 0.4 },
            '2026-03-06' => { EUR => 1, USD => 1.6, GBP => 0.8, JPY => 128,
                              KWD => 0.32 });

$t->ctl('fx', 'import', 'csv=' . join "\n", 'day,base,quote,rate', map {
    my $day = $_;
    map { "$day,EUR,$_,$rate{$day}{$_}" } grep { $_ ne 'EUR' } sort keys %decimals
} sort keys %rate);

# what is imported

my @fields = qw(link campaign product sub_id country);
my @lines = map { { book => any(qw(cost revenue)), day => sprintf('2026-03-%02d',
    1 + rand 12), currency => any(sort keys %decimals),
    minor => int(rand 3000) - 300, source => any(qw(ads net)),
    link => any('', 'go.acme.example/a', 'go.acme.example/b', 'banner'),
    campaign => any('', qw(spring autumn)), product => any('', 'book'),
    sub_id => any('', 'm1', 'a, "b"'), country => any('', 'AT', 'DE') } } 1 .. 400;

sub line {
    my ($book, $campaign, $minor, $currency, $day) = @_;

    push @lines, { book => $book, campaign => $campaign, minor => $minor,
                   currency => $currency, day => $day // '2026-03-02',
                   source => 'ads', map { $_ => '' } grep { $_ ne 'campaign' }
                                                     @fields };
}

line(revenue => $_->[0], $_->[1], $_->[2])
    for [ 'half', 4, 'JPY' ], [ 'half3', 12, 'JPY' ], [ 'lost', -4, 'JPY' ],
        [ 'gift', 700, 'EUR' ], [ 'none', 100, 'USD' ], [ 'exact', 20001, 'EUR' ],
        [ 'exact3', 20003, 'EUR' ];
line(cost => $_->[0], $_->[1], 'EUR')
    for [ 'none', 5 ], [ 'none', -5 ], [ 'back', -5 ], [ 'waste', 900 ],
        [ 'exact', 20000 ], [ 'exact3', 20000 ];

sub amount {
    my ($minor, $decimals) = @_;
    my $text = sprintf '%0*s', $decimals + 1, abs $minor;

    $text =~ s/(?=.{$decimals}$)/./ if $decimals;
    return ($minor < 0 ? '-' : '') . $text;
}

sub cell { $_[0] =~ /[",]/ ? '"' . $_[0] =~ s/"/""/gr . '"' : $_[0] }

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");

    for my $file (map { my $b = $_; map { [ $b, $_ ] } qw(ads net) }
                  qw(cost revenue))
    {
        my ($book, $source) = @$file;
        my $id = 0;

        $t->ctl($book, 'import', "org=$org", "source=$source", 'csv=@'
            . $t->write_file('x.csv', join "\n", join(',', 'id', 'day',
                'currency', 'amount', @fields), map { my $l = $_;
                join ',', ++$id, @$l{qw(day currency)},
                     amount($l->{minor}, $decimals{$l->{currency}}),
                     map { cell($l->{$_}) } @fields }
                grep { $_->{book} eq $book && $_->{source} eq $source } @lines));
    }
}

# clicks, by hour, of which those of March are asked for

$t->ctl($_) for 'campaign create org=acme name=spring',
    'program create org=acme name=shop side=own currency=EUR',
    'product create org=acme program=shop name=book',
    map({ "domain add org=$_ host=go.$_.example" } qw(acme beta)),
    'link add host=go.acme.example slug=a url=https://x.example/ campaign=spring',
    'link add host=go.acme.example slug=b url=https://x.example/ program=shop '
    . 'product=book',
    'link add host=go.beta.example slug=a url=https://x.example/';

my @clicks = ([ 'a', '2026-02-28 23', 'AT', 0, 50 ], [ 'a', '2026-03-01 00', 'AT', 0, 3 ],
              [ 'a', '2026-03-01 23', 'AT', 0, 40 ], [ 'a', '2026-03-02 00', 'DE', 0, 7 ],
              [ 'a', '2026-03-02 00', 'DE', 11, 100 ], [ 'b', '2026-03-04 12', '', 41, 9 ],
              [ 'b', '2026-03-13 00', 'AT', 0, 1 ]);

$t->sql("insert into usher.click_hour
         select ?::timestamptz, l.id, l.org_id, ?, '', ?, ?, 0 from usher.link l
         where l.slug = ?", "$_->[1]:00+00", @$_[2, 3, 4, 0]) for @clicks;

my @net = map { { link => "go.acme.example/$_->[0]", day => substr($_->[1], 0, 10),
                  country => $_->[2], campaign => $_->[0] eq 'a' ? 'spring' : '',
                  product => $_->[0] eq 'b' ? 'book' : '', n => $_->[4] } }
          grep { $_->[3] != 11 } @clicks;

# the same once more, in fractions

sub even {
    my ($x, $decimals) = @_;
    my $n = big($x)->bmul(big(10) ** $decimals);
    my $whole = $n->copy->bfloor;
    my $rest = $n->copy->bsub($whole)->bmul(2);

    $whole->binc if $rest > 1 || ($rest == 1 && $whole->as_int->is_odd);
    return amount($whole->bstr, $decimals);
}

sub worth {
    my ($line, $to) = @_;
    my $on = $line->{day} lt '2026-03-06' ? '2026-03-01' : '2026-03-06';

    return big($line->{minor}) / big(10) ** $decimals{$line->{currency}}
           / big($rate{$on}{$line->{currency}}) * big($rate{$on}{$to});
}

sub figures {
    my ($currency, $counted, $lines, $clicks) = @_;
    my %sum = map { $_ => big(0) } qw(cost revenue);
    my $n = big(0);

    $sum{$_->{book}} += worth($_, $currency) for @$lines;
    $n += $_->{n} for @$clicks;

    my $d = $decimals{$currency};
    my ($cost, $profit) = ($sum{cost}, $sum{revenue} - $sum{cost});
    my $each = sub { $counted && $n > 0 ? even($_[0] / $n, $d + 2) : undef };

    return { cost => even($cost, $d), revenue => even($sum{revenue}, $d),
             profit => even($profit, $d),
             roi => $cost > 0 ? even($profit / $cost, 4) : undef,
             clicks => $counted ? $n->numify : undef,
             epc => $each->($sum{revenue}), cpc => $each->($cost) };
}

sub expected {
    my ($by, $currency, %only) = @_;
    my $counted = !grep { /^(source|sub_id)$/ } $by, keys %only;
    my $wanted = sub { my $r = shift;
        $r->{day} ge '2026-03-01' && $r->{day} lt '2026-03-13'
        && !grep { $r->{$_} ne $only{$_} } keys %only };
    my @l = grep { $wanted->($_) } @lines;
    my @c = $counted ? grep { $wanted->($_) } @net : ();
    my %names = map { $_->{$by} => 1 } @l, @c;

    return { total => figures($currency, $counted, \@l, \@c), map {
        my $name = $_;
        ("=$name" => figures($currency, $counted,
            [ grep { $_->{$by} eq $name } @l ], [ grep { $_->{$by} eq $name } @c ]))
    } keys %names };
}

sub told {
    my ($by, @args) = @_;
    my $all = $t->ctl('roi', 'show', 'org=acme', "by=$by", 'from=2026-03-01',
                    'to=2026-03-13', @args);
    my $pick = sub { my $r = shift;
        +{ map { $_ => $r->{$_} } qw(cost revenue profit roi clicks epc cpc) } };

    return { total => $pick->($all),
             map { ('=' . $_->{$by} => $pick->($_)) } @{ $all->{rows} } };
}

for my $currency (sort keys %decimals) {
    is_deeply(told($_, "currency=$currency"), expected($_, $currency),
              "by $_ in $currency, seed $seed") for @fields, qw(day source);
}

for my $only ([ campaign => 'spring' ], [ link => 'go.acme.example/b' ],
              [ product => 'book' ], [ sub_id => 'm1' ], [ country => 'AT' ],
              [ source => 'net' ], map { [ $_ => '' ] } @fields)
{
    is_deeply(told('day', "$only->[0]=$only->[1]"), expected('day', 'EUR', @$only),
              "of $only->[0] '$only->[1]', seed $seed");
}

# and what is plain

my $by = told('campaign');

is(join(' ', map { $by->{"=$_"}{revenue} } qw(half half3 lost)), '0.02 0.08 -0.02',
   '2.5 cents are 2, 7.5 are 8');
is(join(' ', map { $by->{"=$_"}{roi} } qw(exact exact3)), '0.0000 0.0002',
   '0.00005 is 0, 0.00015 is 0.0002');
is($by->{"=$_"}{roi}, undef, "no ROI of cost $by->{qq(=$_)}{cost}")
    for qw(gift none back half);
is($by->{'=waste'}{roi}, '-1.0000', 'nothing came of it');
is($by->{'=spring'}{clicks}, 50, 'clicks of its links');

my @rows = @{ $t->ctl('roi show org=acme from=2026-03-01 to=2026-03-13')->{rows} };

is(join(' ', map { $_->{day} } @rows), join(' ', sort map { $_->{day} } @rows),
   'days in their order');
@rows = @{ $t->ctl('roi show org=acme from=2026-03-01 to=2026-03-13 by=campaign '
                   . 'source=ads')->{rows} };
is(join(' ', map { $_->{campaign} } @rows[-4 .. -1]), 'half3 back half lost',
   'of others the largest first');

done_testing();
