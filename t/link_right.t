# Hosts and links: who may call what, for its own org and no other; what each
# sees; an audit row for every change; errors with a hint.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");
    $t->ctl("domain add host=$_.$org.example org=$org") for qw(go spare);
    $t->ctl("link add host=go.$org.example slug=a url=https://shop.example/");
    $t->ctl("link target set host=go.$org.example slug=a target=$_ "
        . 'url=https://shop.example/') for qw(de spare);
    $t->ctl("campaign create org=$org name=spring");
}

$t->ctl("member set actor=$_ org=acme role=$_")
    for qw(owner admin analyst partner);

my $change = 'owner admin';
my $read = 'owner admin analyst';
my $a = 'host=go.acme.example slug=a';
my %call = (
    domain_add       => [ 'org=acme host=new.acme.example', '' ],
    domain_list      => [ 'org=acme', $read ],
    domain_show      => [ 'host=go.acme.example', $read ],
    domain_update    => [ 'host=go.acme.example fallback=https://x.example',
                          $change ],
    domain_drop      => [ 'host=spare.acme.example', '' ],
    link_add         => [ 'host=go.acme.example url=https://x.example/',
                          $change ],
    link_import      => [ 'csv=host,slug,url~go.acme.example,b,https://x.example/',
                          $change ],
    link_export      => [ 'org=acme', $read ],
    link_list        => [ 'host=go.acme.example', $read ],
    link_show        => [ $a, $read ],
    link_update      => [ "$a title=x", $change ],
    link_disable     => [ $a, $change ],
    link_health      => [ 'org=acme', $read ],
    link_check       => [ $a, $change ],
    link_enable      => [ $a, $change ],
    link_target_set  => [ "$a target=de url=https://x.example/", $change ],
    link_target_drop => [ "$a target=spare", $change ],
    link_target_import =>
        [ 'csv=host,slug,target,url~go.acme.example,a,b,https://x.example/',
          $change ],
    link_target_export => [ 'org=acme', $read ],
);

# the others are in t/link_stats.t
my $here = qr/^(domain|link)_(?!group|stats)/;

is(join(' ', sort keys %call),
   join(' ', sort keys %{ functions($t, $here) }),
   'every function of these nouns is held against its roles here');


# undef if it was done, else the SQLSTATE

sub state_of {
    my ($actor, $function, $args) = @_;

    my $answer = ask($t, $actor, $function,
                     map { split /=/, tr/~/\n/r, 2 } split ' ', $args);

    return ref $answer ? undef : $answer;
}


for my $function (sort keys %call) {
    my ($args, $roles) = @{ $call{$function} };
    my @wrong;

    for my $actor (qw(owner admin analyst partner stranger)) {
        my $state = state_of($actor, $function, $args) // 'ok';

        push @wrong, "$actor: $state"
            if ($state eq 'ok') != ($roles =~ /\b$actor\b/)
               || ($state ne 'ok' && $state ne 'US403');
    }

    is("@wrong", '', "$function: $roles");
    is(state_of('owner', $function, $args =~ s/acme/beta/gr), 'US403',
       '... of its own org');
    is(state_of('owner', $function, $args =~ s/acme/nope/gr), 'US403',
       '... as if that were not there');
}

is(state_of('owner', $_, ''), 'US403', "$_ of all orgs")
    for qw(domain_list link_export link_health link_target_export);
is(state_of('owner', 'link_export', 'org=acme host=go.beta.example'), 'US403',
   'nor a host that is not its own');
is(state_of('owner', 'link_health', 'host=go.beta.example'), 'US403',
   'nor of a host of another');
is(state_of('', 'link_health', 'org=acme state=ill'), 'US400', 'no such state');
is(state_of('', 'domain_drop', 'host=go.acme.example'), 'US409',
   'a host with links stays');
is(state_of('', 'domain_add', 'org=beta host=GO.acme.example'), 'US409',
   'a host has one org');
is(state_of('', 'link_add', 'host=go.acme.example slug=a url=https://x.example'),
   'US409', 'a slug has one link');
is(state_of('', 'link_add', "host=go.acme.example slug=$_ url=https://x.example"),
   'US400', "no slug $_") for 'a//b', '/a', 'a?b', 'a%20', 'x' x 65;
is(state_of('', 'link_add', 'host=go.acme.example url=https://x.example '
            . 'campaign=autumn'), 'US404', 'no such campaign');
is(state_of('', 'link_add', 'host=go.acme.example url=https://x.example '
            . 'product=book'), 'US400', 'a product is of a program');
is(state_of('', 'link_add', 'host=go.acme.example url=https://x.example '
            . "$_->[0]=$_->[1]"), 'US400', "no $_->[0] $_->[1]")
    for [ status => 303 ], [ utm => 'a=b' ], [ referrer_policy => 'none' ],
        [ fallback => 'ftp://x' ], [ overflow => 'x' ], [ dead => 'alive' ],
        [ cap => -1 ], [ cap_day => 1_000_000_000 ];
is(state_of('', 'link_target_set', "$a target=x url=https://x.example $_->[0]="
            . $_->[1]), 'US400', "no $_->[0] $_->[1]")
    for [ country => 'DEU' ], [ language => 'DE' ], [ referrer => 'x' ],
        [ step => 0 ], [ weight => 10001 ], [ os => 'i-os' ],
        [ cap => 1_000_000_000 ], [ cap_day => -1 ];
is(state_of('', 'link_update', "$a $_->[0]=$_->[1]"), 'US400',
   "no $_->[0] $_->[1]")
    for [ cap => -1 ], [ cap_day => 1_000_000_000 ];

$t->ctl("link target set $a target=t$_ url=https://x.example") for 3 .. 16;
is(state_of('', 'link_target_set', "$a target=t17 url=https://x.example"),
   'US409', 'and no more');

# constraints hold whoever writes

for my $row ("1, 'go.beta.example', 'x', 'https://x.example/'",
             "1, 'go.acme.example', 'x y', 'https://x.example/'",
             "1, 'go.acme.example', 'x', 'gopher://x.example/'")
{
    eval { $t->sql("insert into usher.link (org_id, host, slug, url) "
                   . "values ($row)") };
    like($@, qr/violates (check|foreign key) constraint/, "not $row");
}

is($t->sql("select count(*) from usher.audit "
           . "where function = 'link_target_set'"), 18, 'audit rows');

done_testing();
