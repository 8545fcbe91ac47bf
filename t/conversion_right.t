# Conversions and coupons: who may call what, for its own org and no other;
# what an analyst does not see; values that cannot be; an audit row for every
# change.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);

$t->ctl("member set actor=$_ org=acme role=$_")
    for qw(owner admin analyst partner);
$t->ctl('org create name=beta');
$t->ctl('network create org=beta name=net preset=generic');
$t->ctl('coupon add org=acme program=books code=spare host=go.acme.example '
        . 'slug=b');
tell($t, 'net', 't1', status => 'approved', amount => '1', customer => 'Joe');
tell($t, 'shop', 't2', status => 'sale', sale_amount => '1');
$t->sql("insert into usher.conversion (org_id, side, network_id, origin,
             transaction_id, occurred_at)
         select org_id, 'network', id, 'postback', 't1', now()
         from usher.network where org_id = 2");

my $change = 'owner admin';
my $read = 'owner admin analyst';
my $code = 'org=acme program=books code';
my %call = (
    conversion_list   => [ 'org=acme', $read ],
    conversion_show   => [ 'org=acme network=net transaction=t1', $read ],
    conversion_forget => [ 'org=acme customer=Jane', $change ],
    conversion_import => [ 'org=acme network=net csv=transaction_id', $change ],
    coupon_add        => [ "$code=x host=go.acme.example slug=a", $change ],
    coupon_list       => [ 'org=acme program=books', $read ],
    coupon_drop       => [ "$code=spare", $change ],
);

is(join(' ', sort keys %call),
   join(' ', sort keys %{ functions($t, qr/^(conversion|coupon)_/) }),
   'every function of these nouns is held against its roles here');

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
    is(state_of('owner', $function, $args =~ s/acme /beta /r =~ s/=acme$/=beta/r),
       'US403', '... of its own org');
}

is(state_of('owner', 'conversion_list', ''), 'US403', 'nor of all orgs');

# the rows of an org, and nothing of its customers

my @mine = map { "$_->{org} $_->{transaction}" }
           @{ ask($t, 'analyst', 'conversion_list', org => 'acme') };
is("@mine", 'acme t2 acme t1', 'who may read an org reads its rows');
is(scalar @{ ask($t, '', 'conversion_list') }, 3, 'the operator all');
is(scalar @{ ask($t, '', 'conversion_show', org => 'beta', network => 'net',
                 transaction => 't1')->{history} // [] }, 0,
   'of two of one name the one that is meant');

my $shown = JSON::PP->new->encode(ask($t, 'owner', 'conversion_show',
    org => 'acme', network => 'net', transaction => 't1'));
unlike($shown, qr/Joe/, 'who bought it is not shown');
is($t->sql("select count(*) from usher.conversion where customer = 'Joe'"), 1,
   'but known');

# values that cannot be

my $add = 'coupon add org=acme program=books host=go.acme.example slug=a';

like($t->ctl_fails($_->[0]), qr/^usherctl:[^\n]*${\ $_->[1]}.*\nhint:/, $_->[0])
    for [ "$add code=", 'code="" cannot be' ],
        [ "$add code=" . 'x' x 65, 'code="X+" cannot be' ],
        [ "$add code=SPARE", 'code "SPARE" is there already' ],
        [ $add =~ s/books/shoes/r . ' code=x', '"shoes" is a network' ],
        [ $add =~ s/slug=a/slug=s/r . ' code=x', 'not of that program' ],
        [ $add =~ s/slug=a/slug=z/r . ' code=x', 'no link "z"' ],
        [ 'coupon drop org=acme program=books code=z', 'no code "Z"' ],
        [ 'conversion list org=acme state=x', 'state="x" cannot be' ],
        [ 'conversion list org=acme limit=0', 'limit=0 cannot be' ],
        [ 'conversion show org=acme network=net transaction=z',
          'no transaction "z"' ],
        [ 'conversion show org=acme transaction=t1', 'network= or program=' ];

# audit

$t->ctl("$add code=x");
$t->ctl("coupon drop $code=x");
$t->ctl('conversion', 'import', 'org=acme', 'network=net',
        "csv=transaction_id,status,customer\nz,approved,Jim\n");
is_deeply([ map { $_->{function} } reverse @{ $t->ctl('audit list org=acme '
                                                      . 'limit=3') } ],
          [ qw(coupon_add coupon_drop conversion_import) ], 'audit rows');
is($t->sql("select count(*) from usher.audit where arguments::text ~ 'Jim'"), 0,
   'without customers');

done_testing();
