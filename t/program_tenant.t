# Whose networks, programs, products, campaigns and partners a reader sees: each
# list and each show, as the operator and by the roles in two orgs; and pages.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my @orgs = qw(acme beta);
my @nouns = qw(network program product campaign partner);

# the same names in both orgs, made in turn

$t->ctl("org create name=$_") for @orgs;

for my $org (@orgs) {
    $t->ctl("member set actor=$_-$org org=$org role=$_") for qw(admin analyst);
}

$t->ctl("member set actor=both org=$_->[0] role=$_->[1]")
    for [ acme => 'analyst' ], [ beta => 'admin' ];

for my $n (1, 2) {
    for my $org (@orgs) {
        $t->ctl("network create org=$org name=n$n preset=awin title=$org-$n");
        $t->ctl("program create org=$org name=p$n currency=EUR title=$org-$n "
                . ($n == 1 ? 'side=own' : 'side=network network=n2'));
        $t->ctl("product create org=$org program=p$n name=d title=$org-$n");
        $t->ctl("campaign create org=$org name=c$n title=$org-$n "
                . ($n == 1 ? 'starts=2026-01-01 ends=2026-02-01'
                           : 'starts=2100-01-01'));
        $t->ctl("partner create org=$org name=a$n terms=$org-$n");
    }
}

$t->ctl("partner join org=$_ partner=a1 program=p1") for @orgs;


# What identifies the rows of an answer: org and number.

sub seen {
    my ($actor, $function, %args) = @_;

    my $answer = ask($t, $actor, $function, %args);

    return $answer unless ref $answer;
    return join ' ', map { $_->{title} // $_->{terms} }
                     ref $answer eq 'ARRAY' ? @$answer : $answer;
}


my %mine = (acme => 'acme-1 acme-2', beta => 'beta-1 beta-2');

for my $noun (@nouns) {
    is(seen('', "${noun}_list"), 'acme-1 beta-1 acme-2 beta-2',
       "$noun list: the operator sees all");
    is(seen('', "${noun}_list", org => $_), $mine{$_}, '... or one org\'s')
        for @orgs;

    for my $actor (map { ("admin-$_", "analyst-$_") } @orgs) {
        my ($own) = $actor =~ /-(.*)/;

        is(seen($actor, "${noun}_list", org => $_),
           $_ eq $own ? $mine{$_} : 'US403', "... $actor of $_") for @orgs;
        is(seen($actor, "${noun}_list"), 'US403', '... and never all');
    }

    is(seen('both', "${noun}_list", org => $_), $mine{$_}, "... both of $_")
        for @orgs;

    # pages

    my $first = $t->ctl("$noun list limit=3");

    is(scalar @$first, 3, '... a page');
    is(seen('', "${noun}_list", after => $first->[2]{id}), 'beta-2',
       '... and the next');
    is(seen('', "${noun}_list", org => 'acme', limit => 1,
            after => $first->[0]{id}), 'acme-2', '... of one org');
}

my %one = (network => [ network => 'n1' ], program => [ program => 'p1' ],
           product => [ program => 'p1', product => 'd' ],
           campaign => [ campaign => 'c1' ], partner => [ partner => 'a1' ]);

for my $noun (@nouns) {
    my @args = @{ $one{$noun} };

    is(seen($_->[0], "${noun}_show", org => $_->[1], @args), $_->[2],
       "$noun show: " . ($_->[0] || 'operator') . " of $_->[1]")
        for [ '', 'acme', 'acme-1' ], [ '', 'beta', 'beta-1' ],
            [ 'analyst-acme', 'acme', 'acme-1' ],
            [ 'analyst-acme', 'beta', 'US403' ],
            [ 'both', 'beta', 'beta-1' ], [ 'stranger', 'acme', 'US403' ];
}

# parts of a list

is(seen('', 'program_list', org => 'acme', side => 'own'), 'acme-1', 'own');
is(seen('', 'program_list', side => 'network'), 'acme-2 beta-2', 'of networks');
is(seen('', 'product_list', org => 'acme', program => 'p2'), 'acme-2',
   'products of a program');
is(seen('', 'campaign_list', state => 'ended'), 'acme-1 beta-1', 'ended');
is(seen('', 'campaign_list', org => 'beta', state => 'coming'), 'beta-2',
   'to come');
is(seen('', 'campaign_list', state => 'current'), '', 'none now');
is(seen('', 'partner_list', org => 'acme', program => 'p1'), 'acme-1',
   'partners of a program');
is(seen('', 'partner_list', org => 'acme', program => 'p2'), '', 'of none');
is(seen('analyst-acme', 'partner_list', org => 'beta', program => 'p1'), 'US403',
   'nor of another org\'s');

# and what is counted is its own

is($t->ctl('network show org=acme network=n2')->{programs}, 1, 'programs');
is($t->ctl('program show org=acme program=p1')->{$_}, 1, $_)
    for qw(products partners);
is($t->ctl('program show org=acme program=p2')->{partners}, 0, 'no partners');
is($t->ctl("partner show org=beta partner=$_->[0]")->{programs}, $_->[1],
   "programs of $_->[0]") for [ a1 => 'p1' ], [ a2 => '' ];

done_testing();
