# Commissions: who may call what, for its own org and no other; values that
# cannot be; an audit row for every change.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);

$t->ctl("member set actor=$_ org=acme role=$_")
    for qw(owner admin analyst partner);
$t->ctl($_) for split /\n/, <<'END';
product create org=acme program=books name=atlas
org create name=beta
program create org=beta name=books side=own currency=EUR
commission rule add org=acme program=books percent=10 starts=2026-01-01
commission rule add org=beta program=books percent=10
END
tell($t, 'shop', 't1', status => 'sale', sale_amount => '10',
     click_id => click($link{a}, day(99)));

my $change = 'owner admin';
my $read = 'owner admin analyst';
my %call = (
    commission_rule_add  => [ 'org=acme program=books percent=1 partner=ann',
                              $change ],
    commission_rule_list => [ 'org=acme', $read ],
    commission_rule_end  => [ 'org=acme rule=1', $change ],
    commission_list      => [ 'org=acme', $read ],
);

is(join(' ', sort keys %call),
   join(' ', sort keys %{ functions($t, qr/^commission_/) }),
   'every function of this noun is held against its roles here');

sub state_of {
    my ($actor, $function, $args) = @_;

    my $answer = ask($t, $actor, $function, map { split /=/, $_, 2 }
                                            split ' ', $args);

    return ref $answer ? 'ok' : $answer;
}

for my $function (sort keys %call) {
    my ($args, $roles) = @{ $call{$function} };
    my @wrong;

    for my $actor (qw(owner admin analyst partner stranger)) {
        my $state = state_of($actor, $function, $args);

        push @wrong, "$actor: $state"
            if $state ne ($roles =~ /\b$actor\b/ ? 'ok' : 'US403');
    }

    is("@wrong", '', "$function: $roles");
    is(state_of('owner', $function, $args =~ s/org=acme/org=beta/r), 'US403',
       '... of its own org');
    is(state_of('owner', $function, $args =~ s/org=acme ?//r),
       $function =~ /list/ ? 'US403' : '42883', '... and of no other');
}

is(state_of('owner', 'commission_rule_end', 'org=acme rule=2'), 'US404',
   'a rule of another is not there');

my $rules = ask($t, 'analyst', 'commission_rule_list', org => 'acme');
is(join(' ', map { "$_->{org} $_->{rate}" } @$rules), 'acme 10 %',
   'who may read an org reads its rules');
my ($line) = @{ ask($t, 'analyst', 'commission_list', org => 'acme',
                    partner => 'ann') };
is("$line->{partner} $line->{transaction} $line->{amount} $line->{currency}",
   'ann t1 1.00 EUR', 'and its lines');
is(scalar @{ ask($t, '', 'commission_list', partner => 'bob', org => 'acme') },
   0, 'of a partner');
is(scalar @{ ask($t, '', 'commission_list', payable => $_) }, !!$_ + 0,
   "payable: $_") for 1, 0;

# values that cannot be

my $rows = $t->sql('select count(*) from usher.audit');
my $add = 'commission rule add org=acme partner=bob program=books';

like($t->ctl_fails(map { tr/+/ /r } split ' ', $_->[0]),
     qr/^usherctl:[^\n]*${\ $_->[1]}.*\nhint:[^\n]*${\ $_->[2]}/s, $_->[0])
    for [ $add, 'percent= or fixed= is needed', 'percent=10' ],
        [ "$add percent=1 fixed=1", 'not both', 'fixed=2.50' ],
        [ "$add percent=101", 'percent="101" cannot be', '0 to 100' ],
        [ "$add percent=100.01", 'cannot be', '0 to 100' ],
        [ "$add percent=-1", 'cannot be', '0 to 100' ],
        [ "$add percent=NaN", 'cannot be', '0 to 100' ],
        [ "$add percent=", 'percent="" cannot be', '0 to 100' ],
        [ "$add fixed=", 'fixed="" cannot be', 'above 0' ],
        [ "$add fixed=1.005", 'more decimals than EUR', 'like 2.50' ],
        [ "$add fixed=-1", 'is negative', 'like 2.50' ],
        [ "$add fixed=99999999999999999", 'is absurd', 'like 2.50' ],
        [ "$add percent=1 max=0", 'max=0 cannot be', 'above 0' ],
        [ "$add percent=1 max=x", 'max="x" cannot be read', 'like 2.50' ],
        [ "$add percent=1 max_month=0", 'max_month=0', 'above 0' ],
        [ "$add percent=1 renewal=200", 'renewal="200"', '0 to 100' ],
        [ "$add percent=1 renewals=-1", 'renewals=-1', '0 to 1000' ],
        [ "$add percent=1 tiers=5:2", 'without by=', 'by=count' ],
        [ "$add percent=1 by=count", 'without tiers=', '10:12.5' ],
        [ "$add percent=1 by=year tiers=5:2", 'by="year"', 'by=count' ],
        [ "$add percent=1 by=count tiers=5", 'tiers="5" cannot', '10:12.5' ],
        [ "$add percent=1 by=count tiers=0:2", 'does not rise', 'rising' ],
        [ "$add percent=1 by=count tiers=5:2+5:3", 'does not rise', 'rising' ],
        [ "$add percent=1 by=sales tiers=9:2+8.99:3", 'does not rise',
          'rising' ],
        [ "$add percent=1 by=count tiers=1.5:2", 'tiers="1.5:2"', '10:12.5' ],
        [ "$add percent=1 by=count tiers=5:101", 'tiers="101"', '0 to 100' ],
        [ "$add percent=1 by=count tiers=" . join('+', map { "$_:1" } 1 .. 21),
          'tiers="21:1"', 'at most 20' ],
        [ "$add percent=1 starts=infinity", 'starts= cannot be', 'moment' ],
        [ "$add percent=1 starts=2026-02-01 ends=2026-01-01", 'ends=',
          'after' ],
        [ $add =~ s/books/none/r . ' percent=1', 'no program "none"',
          'program list' ],
        [ $add =~ s/books/shoes/r . ' percent=1', 'is of side network',
          'side own' ],
        [ $add =~ s/bob/joe/r . ' percent=1', 'no partner "joe"',
          'partner list' ],
        [ "$add percent=1 product=x", 'no product "x"', 'product list' ],
        [ "$add percent=1 campaign=x", 'no campaign "x"', 'campaign list' ],
        [ $add =~ s/partner=bob //r . ' percent=1', 'has a rule of this scope',
          'rule end' ],
        [ 'commission rule end org=acme rule=9', 'no rule 9', 'rule list' ],
        [ 'commission rule end org=acme rule=1 at=2026-01-02', 'at=',
          'to come' ],
        [ 'commission list org=acme limit=0', 'limit=0', '1 to 10000' ];

is($t->sql('select count(*) from usher.audit'), $rows, 'nothing was done');

# a rule that is ended, and one that follows

$t->ctl('commission rule end org=acme rule=1');
like($t->ctl_fails('commission rule end org=acme rule=1'), qr/has ended/,
     'one that has ended');
$t->ctl('commission rule add org=acme program=books percent=12.5 '
        . 'starts=2100-01-01');
my $between = $t->ctl('commission rule add org=acme program=books fixed=3 '
                      . 'ends=2099-01-01');
is("$between->{rate} $between->{ends}", '3.00 EUR 2099-01-01T00:00:00+00:00',
   'rules follow each other');
like($t->ctl_fails("commission rule end org=acme rule=$between->{rule} "
                   . 'at=2101-01-01'),
     qr/followed by another/, 'and do not overlap');
is(scalar @{ $t->ctl('commission rule list org=acme active=true') }, 2,
   'those that hold');
is_deeply([ map { $_->{function} } reverse @{ $t->ctl('audit list org=acme '
                                                      . 'limit=3') } ],
          [ qw(commission_rule_end commission_rule_add commission_rule_add) ],
          'audit rows');

# a rule is of one org, whoever writes it

my $insert = 'insert into usher.commission_rule (org_id, program_id, kind,
              rate, %s) select o.id, p.id, %s from usher.org o, usher.program p
              where o.name = \'beta\' and p.name = %s';

for my $case ([ 'partner_id', "'percent', 1, 1", "'books' and p.org_id = o.id",
                'rule_partner' ],
              [ 'renewals', "'percent', 1, 1", "'shoes'", 'rule_program' ],
              [ 'renewals', "'percent', 101, 1", "'books'", 'rule_rates' ],
              [ 'renewals', "'fixed', 0.5, 1", "'books'", 'rule_rates' ],
              [ 'tier_above', "'percent', 1, '{1}'", "'books'", 'rule_rates' ])
{
    my ($column, $values, $where, $by) = @$case;

    like(refused($t, sprintf $insert, $column, $values, $where), qr/$by/,
         "not $column $values");
}

done_testing();
