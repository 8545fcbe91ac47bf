# The clicks of links by sub-ids, target and what links are of, before and after
# their hours have closed; and the conversions beside them.

use lib 't/lib';
use Usher::Conversion qw(click day tell world);
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->sql('select usher.keep_partitions()');

my %id = world($t);

$t->ctl("link group create org=acme group=all");
$t->ctl("link group add org=acme group=all host=go.acme.example slug=$_") for qw(s a b);
$t->ctl("product create org=acme program=shoes name=boot");
$t->sql("update usher.link set product_id = (select id from usher.product)
         where slug = 's'");
$t->ctl("link target set host=go.acme.example slug=s target=$_ "
        . 'url=https://x.example/?subid={click_id}') for qw(one two gone);

# Clicks: half of a link's have a field; every visitor is another one, but for
# some that come twice at once.

my $seed = $ENV{SEED} // time;
srand $seed;

my $h = $t->sql("select date_trunc('day', now() - interval '2 days', 'UTC')
                        + interval '22 hours'");
my (@clicks, @rows);

for my $n (1 .. 150) {
    my %c = (slug => (qw(s a b))[rand 3], reason => (0, 0, 41, 11)[rand 4],
             target => (0, 0, 1, 2, 3, -1, -2, -3)[rand 8],
             visitor => rand() < 0.8 ? "v$n" : '', minute => rand 170);

    $c{"sub$_"} = ('', '', "x$_", 'y, "z"')[rand 4] for 1 .. 5;
    $c{target} = 0 if $c{slug} ne 's' && $c{target} > 0;
    push @clicks, { %c, net => $c{reason} != 11,
                    first => $c{reason} != 11 && $c{visitor} ne '' };
    push @clicks, { %c, minute => $c{minute} + 0.1, net => 0, first => 0 }
        if $n % 10 == 0 && $c{reason} != 11 && $c{visitor} ne '';
}

$t->sql('update usher.usage_close set closed_until = ?', $h);
$t->sql('update usher.click_close set done_until = ?', $h);
$t->sql("insert into usher.click values (now(),
         ?::timestamptz + ? * interval '1 minute', ?, ?, ?, 1, '', 'edge1',
         'go.acme.example', ?, 'AT', '', '', '', '', ?, ?, ?, ?, ?, ?, null,
         302, 0)", $h, $_->{minute}, $id{$_->{slug}},
        @$_{qw(reason target slug sub1 sub2 sub3 sub4 sub5 visitor)}) for @clicks;
$t->ctl('link target drop host=go.acme.example slug=s target=gone');

my %of = (campaign => { s => 'spring' }, product => { s => 'boot' },
          program => { s => 'shoes', a => 'books', b => 'books' },
          partner => { a => 'ann', b => 'bob' });
my %target = (0 => 'url', 1 => 'one', 2 => 'two', 3 => '#3', -1 => 'fallback',
              -2 => 'overflow', -3 => 'nowhere');

sub name_of {
    my ($by, $c) = @_;

    return $target{$c->{target}} if $by eq 'target';
    return $c->{$by} if $by =~ /^sub/;
    return $of{$by}{$c->{slug}} // '';
}

sub expected {
    my ($by, @slugs) = @_;
    my %sum;

    for my $c (@clicks) {
        next if !grep { $_ eq $c->{slug} } @slugs;

        for my $name (name_of($by, $c), ' all') {
            $sum{$name}[0]++;
            $sum{$name}[1] += $c->{net};
            $sum{$name}[2] += $c->{first};
        }
    }

    return { map { $_ => join ' ', @{ $sum{$_} } } keys %sum };
}

sub told {
    my ($by, $what) = @_;
    my $s = $t->ctl("$what by=$by from=2026-01-01");

    return { ' all' => "$s->{gross} $s->{net} $s->{uniques}", map {
        $_->{$by} => "$_->{gross} $_->{net} $_->{uniques}" } @{ $s->{rows} } };
}

my @by = ((map { "sub$_" } 1 .. 5), qw(target campaign product program partner));

for my $hours (0 .. 3) {
    for my $by (@by) {
        is_deeply(told($by, 'link stats host=go.acme.example slug=s'),
                  expected($by, 's'), "$hours hours closed: by $by, seed $seed");
        is_deeply(told($by, 'link group stats org=acme group=all'),
                  expected($by, qw(s a b)), '... of a group');
    }

    $t->sql("update usher.usage_close set closed_until = closed_until
             + interval '1 hour'");
    $t->sql('select usher.keep_clicks()');
}

is($t->sql('select sum(clicks) from usher.click_hour'), scalar @clicks,
   'all are final');

# conversions

tell($t, 'net', $_->[0], at => day(51), click_id => click($id{s}, day(50)),
     status => $_->[1], amount => $_->[2], currency => $_->[3])
    for [ 't1', 'approved', '12', 'EUR' ], [ 't2', 'approved', '0.50', 'EUR' ],
        [ 't3', 'approved', '7', 'JPY' ], [ 't4', 'pending', '100', 'EUR' ],
        [ 't5', 'rejected', '1000', 'EUR' ];
tell($t, 'shop', 't6', at => day(52), click_id => click($id{a}, day(50)),
     status => 'sale', amount => '5', sale_amount => '50', currency => 'EUR');
tell($t, 'net', 't7', at => day(51), status => 'approved', amount => '3',
     currency => 'EUR');

sub money {
    my ($by, $args) = @_;
    my $s = $t->ctl('link', 'group', 'stats', 'org=acme', 'group=all',
                    "by=$by", split ' ', $args // 'from=2026-01-01');

    return join ', ', map { my $r = $_; join ' ', $r->{$by} // 'all',
        $r->{conversions} // 'none', map { "$_ $r->{approved}{$_}" }
                                     sort keys %{ $r->{approved} } }
        $s, grep { !defined $_->{conversions} || $_->{conversions} }
            @{ $s->{rows} };
}

my $all = 'all 5 EUR 62.50 JPY 7';

like(money('program'), qr/^$all, .*shoes 4 EUR 12.50 JPY 7/,
     'what a network pays, pending and approved');
like(money('partner'), qr/^$all, .*ann 1 EUR 50.00/, 'of our own what was sold');
is(money('day', 'from=2026-02-20 to=2026-02-23'),
   "$all, 2026-02-21 4 EUR 12.50 JPY 7, 2026-02-22 1 EUR 50.00",
   'by day, without clicks');
is(money('day', 'from=2026-02-22 to=2026-02-23'),
   'all 1 EUR 50.00, 2026-02-22 1 EUR 50.00', 'of those days only');
like(money('sub1'), qr/^$all, .* none/, 'not by what they do not have');

done_testing();
