# Postbacks: who may call what, for its own org and no other; an audit row for
# every change, and no secret in it; what rows may not say, whoever writes.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Secret;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
key_file($t, 'keys');

my %made;

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");
    $t->ctl("network create org=$org name=net preset=generic");
    $t->ctl("program create org=$org name=shop side=own currency=EUR");
    put($t, "network/$org/$_", 'geheim') for qw(sign spare);
    $made{$org} = $t->ctl("postback add org=$org name=$_ network=net "
        . 'endpoint=https://go.example/postback') for qw(off main);
    $t->ctl("postback disable org=$org postback=off");
    $t->ctl("postback add org=$org name=signed network=net hmac=sha256 "
        . 'key=sign endpoint=https://go.example/postback');
}

$t->ctl("member set actor=$_ org=acme role=$_")
    for qw(owner admin analyst partner);

my $change = 'owner admin';
my $read = 'owner admin analyst';
my %call = (
    postback_add     => [ 'org=acme name=new program=shop '
                          . 'endpoint=https://x.example', $change ],
    postback_list    => [ 'org=acme', $read ],
    postback_show    => [ 'org=acme postback=main', $read ],
    postback_update  => [ 'org=acme postback=main allow=::1', $change ],
    postback_disable => [ 'org=acme postback=main', $change ],
    postback_enable  => [ 'org=acme postback=off', $change ],
    postback_rotate_secret => [ 'org=acme postback=main', $change ],
);

is(join(' ', sort keys %call),
   join(' ', sort keys %{ functions($t, qr/^postback_/) }),
   'every function of the noun is held against its roles here');


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

is(state_of('owner', 'postback_list', ''), 'US403', 'not those of all orgs');
is(join(' ', map { $_->{org} } @{ ask($t, 'owner', 'postback_list',
                                      org => 'acme') }), 'acme acme acme',
   'its own');

# what is secret

my $all = join "\n", map { $_->[0] // "" } $t->rows(
    'select a::text from usher.audit a union all '
    . 'select p::text from usher.postback p union all '
    . "select usher.directory_record('postback', token)::text "
    . 'from usher.postback');

unlike($all, qr/$made{$_}{secret}|geheim/, "the secret of $_ is nowhere")
    for qw(acme beta);
unlike($t->sql("select string_agg(arguments::text, '') from usher.audit"),
       qr/[a-z2-7]{26}/, 'nor a token in the audit');
is($t->sql("select count(*) from usher.audit where function ~ '^postback'"), 8,
   'an audit row for each change');
is(join(' ', map { $_->[0] } $t->rows(
       "select n from unnest(array['token', 'secret']) n
        where has_column_privilege('usher_report', 'usher.postback', n,
                                   'select')")), '',
   'reports see neither');

# rules hold whoever writes: org, program and secret are one org's, and what
# is signed has a secret

my %row = (org_id => 1, name => "'x'", endpoint => "'https://x.example'",
           network_id => 1);

for my $case ([ network_id => 2 ], [ network_id => 'null' ],
              [ program_id => 1 ], [ network_id => 'null', program_id => 2 ],
              [ form => "'ins'" ], [ form => "'ins'", secret_id => 3 ],
              [ secret_id => 1 ], [ hmac => "'sha256'", secret_id => 1 ],
              [ pixel => 'true', secret => "sha256('')" ],
              [ form => "'ins'", secret_id => 1, pixel => 'true' ],
              [ token => "'x'" ], [ secret => "'x'" ],
              [ addresses => "array(select '2001:db8::/32'::cidr
                                    from generate_series(1, 40))" ],
              [ parameters => q('{"x": "y"}') ],
              [ parameters => q('{"amount": "a b"}') ],
              [ statuses => q('{"paid": "done"}') ],
              [ endpoint => "'https://a\@x.example'" ])
{
    my %with = (%row, @$case);
    my @names = sort keys %with;

    like(refused($t, 'insert into usher.postback (' . join(', ', @names)
                 . ') values (' . join(', ', @with{@names}) . ')'),
         qr/violates (check|foreign key) constraint/, "not @$case");
}

is(refused($t, "insert into usher.postback (org_id, name, endpoint, network_id,
           form, secret_id) values (1, 'x', 'https://x.example', 1, 'ins', 1)"),
   '', 'but its own');

done_testing();
