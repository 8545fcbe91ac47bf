# Networks, programs, products, campaigns, partners: who may call what, for its
# own org and no other; what is personal, and who sees it; an audit row for
# every change.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my ($email, $tax) = ('ann@example.com', 'DE123456789');

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");
    $t->ctl("network create org=$org name=$_ preset=awin") for qw(awin spare);
    $t->ctl("program create org=$org name=shop side=own currency=EUR");
    $t->ctl("program create org=$org name=spare side=own currency=EUR");
    $t->ctl("product create org=$org program=shop name=book");
    $t->ctl("campaign create org=$org name=spring");
    $t->ctl("partner create org=$org name=$_ email=$email tax_id=$tax")
        for qw(ann spare);
    $t->ctl("partner join org=$org partner=ann program=shop");
}

$t->ctl("member set actor=$_ org=acme role=$_")
    for qw(owner admin analyst partner);
$t->ctl('member set actor=both org=acme role=analyst');
$t->ctl('member set actor=both org=beta role=admin');

# every function, with arguments that the operator could use

my $change = 'owner admin';
my $read = 'owner admin analyst';
my %call = (
    preset_list     => [ '', 'any' ],
    preset_show     => [ 'preset=awin', 'any' ],
    network_create  => [ 'org=acme name=new preset=cj', $change ],
    network_list    => [ 'org=acme', $read ],
    network_show    => [ 'org=acme network=awin', $read ],
    network_update  => [ 'org=acme network=awin title=x', $change ],
    network_drop    => [ 'org=acme network=spare', $change ],
    program_create  => [ 'org=acme name=new side=own currency=EUR', $change ],
    program_list    => [ 'org=acme', $read ],
    program_show    => [ 'org=acme program=shop', $read ],
    program_update  => [ 'org=acme program=shop title=x', $change ],
    program_disable => [ 'org=acme program=shop', $change ],
    program_enable  => [ 'org=acme program=shop', $change ],
    program_drop    => [ 'org=acme program=spare', $change ],
    product_create  => [ 'org=acme program=shop name=new', $change ],
    product_list    => [ 'org=acme', $read ],
    product_show    => [ 'org=acme program=shop product=book', $read ],
    product_update  => [ 'org=acme program=shop product=book sku=1', $change ],
    product_drop    => [ 'org=acme program=shop product=book', $change ],
    campaign_create => [ 'org=acme name=new', $change ],
    campaign_list   => [ 'org=acme', $read ],
    campaign_show   => [ 'org=acme campaign=spring', $read ],
    campaign_update => [ 'org=acme campaign=spring title=x', $change ],
    campaign_drop   => [ 'org=acme campaign=spring', $change ],
    partner_create  => [ "org=acme name=new email=$email tax_id=$tax", $change ],
    partner_list    => [ 'org=acme', $read ],
    partner_show    => [ 'org=acme partner=ann', $read ],
    partner_update  => [ "org=acme partner=ann email=a\@b tax_id=$tax", $change ],
    partner_disable => [ 'org=acme partner=ann', $change ],
    partner_enable  => [ 'org=acme partner=ann', $change ],
    partner_join    => [ 'org=acme partner=spare program=shop', $change ],
    partner_leave   => [ 'org=acme partner=ann program=shop', $change ],
    partner_drop    => [ 'org=acme partner=spare', $change ],
);

my $functions = functions($t, qr/^(preset|network|program|product|campaign|partner)_/);

is(join(' ', sort keys %call), join(' ', sort keys %$functions),
   'every function of these nouns is held against its roles here');


# undef if it was done, else the SQLSTATE

sub state_of {
    my ($actor, $function, $args) = @_;

    my $answer = ask($t, $actor, $function, map { split /=/, $_, 2 }
                                            split ' ', $args);

    return ref $answer ? undef : $answer;
}


for my $function (sort keys %call) {
    my ($args, $roles) = @{ $call{$function} };
    my @wrong;

    for my $actor (qw(owner admin analyst partner stranger)) {
        my $state = state_of($actor, $function, $args);
        my $may = $roles eq 'any' || $roles =~ /\b$actor\b/;

        push @wrong, "$actor: " . ($state // 'ok')
            if ($state // '') ne ($may ? '' : 'US403');
    }

    is("@wrong", '', "$function: $roles");

    next if $roles eq 'any';

    is(state_of('owner', $function, $args =~ s/org=acme/org=beta/r), 'US403',
       '... of its own org');
    is(state_of('owner', $function, $args =~ s/org=acme/org=nope/r), 'US403',
       '... as if that were not there');
    is(state_of('', $function, $args), undef, '... and the operator');

    # both is admin of beta: that must not help in acme

    is(state_of('both', $function, $args), 'US403', '... of that org')
        if $roles eq $change;
}

is(state_of('owner', "${_}_list", ''), 'US403', "$_ list of all orgs")
    for qw(network program product campaign partner);

# what is personal

for my $case ([ '', 1 ], [ 'owner', 1 ], [ 'admin', 1 ], [ 'analyst', 0 ],
              [ 'both', 0 ])
{
    my ($actor, $sees) = @$case;
    my $one = ask($t, $actor, 'partner_show', org => 'acme', partner => 'ann');
    my $list = ask($t, $actor, 'partner_list', org => 'acme');

    for my $p ($one, @$list) {
        is(join(' ', map { "$_=" . ($p->{$_} // '') }
                     grep { exists $p->{$_} } qw(email tax_id)),
           $sees ? "email=$email tax_id=$tax" : '',
           ($actor || 'operator') . " sees of $p->{name}");
    }
}

is(ask($t, 'both', 'partner_show', org => 'beta', partner => 'ann')->{email},
   $email, 'by the role there');

# an audit row for every change, in which nothing is personal

for my $function (sort keys %call) {
    my $last = $t->sql('select coalesce(max(id), 0) from usher.audit');

    $t->ctl("$function $call{$function}[0]");

    is_deeply([ $t->rows('select function, actor from usher.audit
                          where id > ?', $last) ],
              $functions->{$function}{changes}
              ? [ [ $function, 'operator:usherctl' ] ] : [],
              "$function leaves " . ($functions->{$function}{changes}
                                     ? 'a row' : 'none'));

    $t->ctl('product create org=acme program=shop name=book')
        if $function eq 'product_drop';
    $t->ctl('campaign create org=acme name=spring')
        if $function eq 'campaign_drop';
    $t->ctl('partner leave org=acme partner=spare program=shop')
        if $function eq 'partner_join';
    $t->ctl('partner join org=acme partner=ann program=shop')
        if $function eq 'partner_leave';
    $t->ctl('partner create org=acme name=spare') if $function eq 'partner_drop';
}

is($t->sql("select count(*) from usher.audit where arguments::text ~ ?",
           "$tax|a\@b|$email"), 0, 'what is personal is in none');
is($t->sql("select arguments->>'personal' from usher.audit
            where function = 'partner_update'"), 'email tax_id',
   'that it was given is');

# nor do the database's other users see it

is($t->sql("select has_column_privilege(?, 'usher.partner', ?, 'select')",
           $_->[0], $_->[1]), $_->[2], "$_->[0] and $_->[1]")
    for [ qw(usher_report email 0) ], [ qw(usher_report tax_id 0) ],
        [ qw(usher_daemon email 0) ], [ qw(usher_daemon tax_id 0) ],
        [ qw(usher_report name 1) ], [ qw(usher_daemon name 1) ];

is(join(' ', map { $_->[0] } $t->rows(q{
    select n from unnest(array['network_preset', 'network', 'program',
                               'product', 'campaign', 'partner',
                               'program_partner']) n
    where has_table_privilege('usher_daemon', 'usher.' || n,
                              'insert, update, delete, truncate') })), '',
   'usherd changes none of it');

done_testing();
