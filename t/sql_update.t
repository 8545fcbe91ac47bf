# What changes a thing changes what it is given, and leaves all else in the
# database as it was: each function that updates, argument by argument.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

for my $plan (qw(pro max)) {
    $t->ctl("plan create name=$plan");
    $t->ctl("plan policy set plan=$plan policy=$_ rate=20/m burst=40 scope=org")
        for qw(other rps);
}

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org kind=person title=old");
    $t->ctl("member set actor=ann org=$org role=analyst");
    $t->ctl('key', 'create', "org=$org", 'name=one', 'scope=read write',
            'allow=10.0.0.0/8 ::1', 'expires=2100-01-01', 'env=test',
            'brand=shop', 'plan=max');
}

$t->ctl("subscription start org=$_ plan=pro starts=2026-01-01 ends=2100-01-01")
    for qw(acme beta);


# Every column of every row by its place: "key 1 name".

sub world {
    my %id = (org => 'name', plan => 'name', key => 'id', subscription => 'id',
              plan_policy => "plan_id || ' ' || name",
              member => "actor || ' ' || org_id");

    return map { my $table = $_;
                 map { ("$table $_->[0]" => $_->[1]) }
                 $t->rows("select $id{$table} || ' ' || c.key, c.value
                           from usher.$table r, jsonb_each_text(to_jsonb(r)) c")
           } sort keys %id;
}


# What a call changes: { place => new value }; the call is undone.

sub changes {
    my ($function, %args) = @_;

    $t->db->begin_work;

    my %was = world();
    my @names = sort keys %args;

    $t->sql("select api.$function("
            . join(', ', map { qq{"$_" => \$} } @names) =~ s/\$/?/gr . ')',
            @args{@names});

    my %is = world();

    $t->db->rollback;

    return { map { my ($old, $new) = ($was{$_} // 'null', $is{$_} // 'null');
                   $old eq $new ? () : ($_ => $new) } keys %was, keys %is };
}


my $at = '2090-01-01T00:00:00+00:00';

for my $case (
    [ 'org_update', { org => 'acme' }, {
        title => [ 'new', 'org acme title' ],
        scope => [ 'read', 'org acme scopes', '["read"]' ] } ],
    [ 'key_update', { key => 1 }, {
        name => [ 'new', 'key 1 name' ],
        scope => [ 'admin', 'key 1 scopes', '["admin"]' ],
        allow => [ '::2', 'key 1 allow', '["::2/128"]' ],
        expires => [ $at, 'key 1 expires_at' ],
        plan => [ 'pro', 'key 1 plan_id', 1 ] } ],
    [ 'key_update', { key => 1 }, {
        name => [ '', 'key 1 name' ],
        scope => [ '', 'key 1 scopes', '[]' ],
        allow => [ '', 'key 1 allow', '[]' ],
        expires => [ 'infinity', 'key 1 expires_at', 'null' ],
        plan => [ '', 'key 1 plan_id', 'null' ] } ],
    [ 'plan_policy_set', { plan => 'pro', policy => 'rps' }, {
        quota => [ 30, 'plan_policy 1 rps quota' ],
        window => [ 90, 'plan_policy 1 rps window_s' ],
        burst => [ 50, 'plan_policy 1 rps burst' ] } ],
    [ 'member_set', { org => 'acme', actor => 'ann' }, {
        role => [ 'admin', 'member ann 1 role' ] } ],
    [ 'subscription_end', { org => 'acme' }, {
        at => [ $at, 'subscription 1 ends_at' ] } ],
) {
    my ($function, $what, $args) = @$case;

    for my $arg (sort keys %$args) {
        my ($value, $place, $new) = @{ $args->{$arg} };

        is_deeply(changes($function, %$what, $arg => $value),
                  { $place => $new // $value }, "$function $arg=$value");
    }
}

is_deeply(changes('key_update', key => 1), {}, 'nothing given, nothing changed');
is_deeply(changes('plan_policy_set', plan => 'pro', policy => 'rps'), {},
          'nor of a policy');

my $rps = 'plan_policy 1 rps';
is_deeply(changes('plan_policy_set', plan => 'pro', policy => 'rps',
                  rate => '5/h'),
          { "$rps quota" => 5, "$rps window_s" => 3600 },
          'a rate is quota and window');
is_deeply(changes('plan_policy_set', plan => 'pro', policy => 'rps',
                  scope => 'key'),
          { "$rps scope" => 'key', "$rps bucket" => 0 },
          'a new scope, in a bucket of that scope');

# the other way round

is_deeply([ sort keys %{ changes('org_disable', org => 'acme') } ],
          [ 'org acme disabled_at' ], 'an org is disabled, as it is');
$t->ctl('org disable org=acme');
is_deeply(changes('org_disable', org => 'acme'), {}, 'once');
is_deeply(changes('org_enable', org => 'acme'),
          { 'org acme disabled_at' => 'null' }, 'and enabled, as it was');
is_deeply([ sort keys %{ changes('key_revoke', key => 1) } ],
          [ 'key 1 revoked_at' ], 'a key is revoked, as it is');

# a successor: all that the old key is, which goes on as it is

for my $case ([ {}, 'inherits all' ],
              [ { expires => $at, grace => '0' }, 'but its end, if one is given' ])
{
    my ($args, $what) = @$case;
    my %old = map { $_->[0] => $_->[1] } $t->rows(
        'select c.key, c.value from usher.key k, jsonb_each_text(to_jsonb(k)) c
         where k.id = 1 and c.value is not null');
    my $new = changes('key_rotate', key => 1, %$args);
    my ($id) = map { /^key (\d+) digest/ } keys %$new;

    isnt($id, 1, 'a key of its own');
    delete @old{qw(id digest display created_at)};
    delete @$new{map { "key $id $_" } qw(id digest display created_at)};
    ok(delete $new->{'key 1 grace_until'}, 'the old one is in grace');
    $old{expires_at} = $at if $args->{expires};

    is_deeply($new, { 'key 1 successor_id' => $id,
                      map { ("key $id $_" => $old{$_}) } keys %old }, $what);
}

# one plan at a time

my $now = changes('subscription_start', org => 'acme', plan => 'max');
my ($end) = delete @$now{'subscription 1 ends_at'};
ok($end && $end lt $at, 'a new subscription ends the one that runs');
is($now->{'subscription 3 starts_at'}, $end, 'where it starts');
is_deeply([ grep { !/^subscription 3 / } keys %$now ], [],
          'and nobody else\'s');

$t->ctl("subscription start org=acme plan=max starts=$at");
is_deeply([ map { "$_->{plan} $_->{ends}" }
            @{ $t->ctl('subscription list org=acme') }[0] ], [ "pro $at" ],
          'one to come ends it when it comes');
is($t->ctl('org show org=acme')->{plan}, 'pro', 'and not before');

done_testing();
