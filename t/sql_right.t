# Rights: what each role may call, for its own org and for no other; and an
# audit row for every change, without secrets.

use lib 't/lib';
use Usher::Test;
use Usher::Secret qw(key_file);


my $t = Usher::Test->new;

$t->postgres;
key_file($t, 'keys');

$t->ctl("org create name=$_") for qw(acme beta);
$t->ctl('plan create name=pro');
$t->ctl("key create org=$_") for qw(acme acme beta);
$t->ctl("member set actor=$_ org=acme role=$_")
    for qw(owner admin analyst partner);
$t->ctl('member set actor=both org=acme role=analyst');
$t->ctl('member set actor=both org=beta role=admin');

# every function, with arguments that the operator could use; what is not
# here is found out below

my %call = (
    actor_show          => [ '', 'any' ],
    plan_list           => [ '', 'any' ],
    plan_show           => [ 'plan=pro', 'any' ],
    currency_list       => [ '', 'any' ],
    fx_list             => [ '', 'any' ],
    fx_show             => [ 'from=EUR to=EUR', 'any' ],
    org_list            => [ '', 'any' ],
    org_show            => [ 'org=acme', 'owner admin analyst partner' ],
    org_update          => [ 'org=acme title=x', 'owner' ],
    member_list         => [ 'org=acme', 'owner admin analyst' ],
    member_set          => [ 'actor=x org=acme role=partner', 'owner' ],
    member_drop         => [ 'actor=x org=acme', 'owner' ],
    subscription_list   => [ 'org=acme', 'owner admin analyst' ],
    key_create          => [ 'org=acme', 'owner admin' ],
    key_import          => [ 'org=acme digest=%', 'owner admin' ],
    key_list            => [ 'org=acme', 'owner admin analyst' ],
    key_show            => [ 'key=1', 'owner admin analyst' ],
    key_update          => [ 'key=1 name=x', 'owner admin' ],
    key_rotate          => [ 'key=%', 'owner admin' ],
    key_revoke          => [ 'key=%', 'owner admin' ],
    event_list          => [ 'org=acme', 'owner admin analyst' ],
    usage_show          => [ 'org=acme', 'owner admin analyst' ],
    usage_total         => [ 'key=1', 'owner admin analyst' ],
    audit_list          => [ 'org=acme', 'owner admin analyst' ],
    secret_put          => [ 'kind=source name=x value=random:32 org=acme',
                             'owner admin' ],
    secret_list         => [ 'org=acme', 'owner admin' ],
    secret_show         => [ 'kind=source name=x org=acme', 'owner admin' ],
    secret_retire       => [ 'kind=source name=x org=acme', 'owner admin' ],
    secret_drop         => [ 'kind=source name=x org=acme', 'owner admin' ],
    secret_recrypt      => [ '', '' ],
    account_list        => [ 'org=acme', 'owner admin analyst' ],
    ledger_list         => [ 'org=acme', 'owner admin analyst' ],
    map({ ("${_}_import" => [ 'org=acme csv=day,amount,currency source=x',
                              'owner admin' ],
           "${_}_list"   => [ 'org=acme', 'owner admin analyst' ],
           "${_}_total"  => [ 'org=acme', 'owner admin analyst' ],
           "${_}_drop"   => [ 'org=acme source=y', 'owner admin' ]) }
        qw(cost revenue)),
    org_create          => [ 'name=%', '' ],
    org_disable         => [ 'org=acme', '' ],
    org_enable          => [ 'org=acme', '' ],
    plan_create         => [ 'name=%', '' ],
    plan_policy_set     => [ 'plan=pro policy=rps rate=1/s', '' ],
    plan_drop           => [ 'plan=%', '' ],
    plan_policy_drop    => [ 'plan=pro policy=rps', '' ],
    subscription_start  => [ 'org=acme plan=pro', '' ],
    subscription_end    => [ 'org=acme', '' ],
    journal_list        => [ '', '' ],
    journal_verify      => [ '', '' ],
    journal_gaps        => [ '', '' ],
    journal_skip        => [ 'slot=x to=1 reason=x', '' ],
    journal_resume      => [ 'slot=x reason=x', '' ],
    journal_end         => [ 'slot=x reason=x', '' ],
    journal_gap_accept  => [ 'gap=1 reason=x', '' ],
    journal_fork_accept => [ 'slot=f0 reason=x', '' ],
    quarantine_list     => [ '', '' ],
    quarantine_retry    => [ 'id=1', '' ],
    quarantine_settle   => [ 'id=2 reason=x', '' ],
    todo_list           => [ '', '' ],
    todo_retry          => [ 'handler=x', '' ],
    todo_drop           => [ 'id=1 reason=x', '' ],
    directory_show      => [ '', '' ],
    fx_import           => [ 'csv=day,base,quote,rate', '' ],
    ledger_reverse      => [ 'what=sale reason=x', '' ],
    lease_list          => [ '', '' ],
);

# these nouns are held against theirs in t/program_right.t, link_right.t,
# click_key.t, postback_right.t and roi_right.t

my $elsewhere = qr/^(preset|network|program|product|campaign|partner
                    |domain|link|click_key|postback|conversion|coupon
                    |roi|commission|payout)_/x;

my @all = grep { $_ !~ $elsewhere } map { $_->[0] }
          $t->rows("select f->>'name' from jsonb_array_elements(
                    api.catalogue()) f order by 1");
is_deeply([ sort keys %call ], [ sort @all ],
          'every other function of the catalogue is held against its roles');

$t->sql('insert into usher.journal (slot) values (?)', '0123456789abcdef' x 2);
$t->sql("insert into usher.journal_gap (slot, from_position, to_position, reason)
         select slot, 0, 1, 'freed' from usher.journal");
$t->sql("insert into usher.quarantine (slot, position, kind, line, reason)
         select slot, 0, 'x1', '', 'bad' from usher.journal,
                generate_series(1, 2)");

$t->sql("insert into usher.todo (handler, reference, attempts, failed_at)
         values ('x', '{}', 1, now())");
$t->sql("select usher.ledger_post('sale', array[usher.account_ensure(1, 'asset',
                'a', 'EUR'), usher.account_ensure(1, 'revenue', 'b', 'EUR')],
                array[5, -5])");
$t->ctl($_, 'import', 'org=acme', 'source=y',
        "csv=day,amount,currency\n2026-01-02,1,EUR\n") for qw(cost revenue);

my $slot = '0123456789abcdef' x 2;
my $n = 0;


# Called in a database session as usherctl does it, and undone.

sub call {
    my ($actor, $function, $args) = @_;

    my $db = $t->db;
    my @args = map { [ split /=/, $_, 2 ] } split ' ', $args;

    $db->begin_work;
    $t->sql("select set_config('usher.actor', ?, true)", $actor);

    for my $arg (@args) {
        $arg->[1] = 'AQ' . 'A' x 42 if $arg->[0] eq 'value';
        next unless $arg->[1] eq '%';
        $n++;
        $arg->[1] = $function eq 'key_import' ? sprintf '%064x', $n
                  : $arg->[0] eq 'key' ? 2 : "n$n";
    }

    my $sql = sprintf 'select api.%s(%s)', $function,
        join ', ', map { qq{"$_->[0]" => ?} } @args;
    my $ok = eval { $t->sql($sql, map { $_->[1] } @args); 1 };
    my $state = $ok ? '' : $db->state;

    $db->rollback;

    return $state;
}


for my $function (sort keys %call) {
    my ($args, $roles) = @{ $call{$function} };
    my @wrong;

    for my $actor (qw(owner admin analyst partner stranger)) {
        my $may = $roles eq 'any' || $roles =~ /\b$actor\b/;
        my $state = call($actor, $function, $args);

        push @wrong, "$actor: " . ($state || 'ok')
            if $may ? $state =~ /^(US403|42501)/ : $state ne 'US403';
    }

    is("@wrong", '', "$function: " . ($roles || 'the operator'));

    next if $args !~ /org=acme|key=/;

    # both is admin of beta: that must not help in acme

    next if $roles !~ /admin/ || $roles =~ /analyst/;
    is(call('both', $function, $args), 'US403', '... of that org');
}

# where an org may be left out, only the operator may

is(call('owner', $_, ''), 'US403', "$_ of all orgs")
    for qw(key_list event_list usage_show usage_total audit_list
           subscription_list secret_list account_list ledger_list cost_list
           cost_total revenue_list revenue_total);
is(call('owner', 'secret_put', 'kind=source name=x value=random:32'), 'US403',
   'a secret of nobody\'s');
is(call('both', 'event_list', 'org=acme key=3'), 'US400',
   'a key of another org');

# what is absent and what is not theirs look the same

is(call('owner', 'org_show', "org=$_"), 'US403', "org $_") for qw(beta nope);
is(call('owner', 'key_show', "key=$_"), 'US403', "key $_") for 3, 999;
is(call('', 'key_show', 'key=999'), 'US404', 'the operator is told');

is_deeply([ map { $_->{name} } @{ $t->ctl('--actor', 'owner', 'org', 'list') } ],
          [ 'acme' ], 'an actor sees its orgs');
is(call('admin', 'key_create', 'org=acme plan=pro'), 'US403',
   'a customer does not choose the plan of its key');
is(call('admin', 'key_update', 'key=1 plan='), 'US403', 'nor takes it off');

# what scopes an org has is the operator's to say; its admin gives of these

is(call('admin', 'key_create', 'org=acme scope=admin'), '', 'any, at first');
$t->ctl('org update org=acme scope=read,write');

for my $case ([ 'org=acme scope=read', '' ], [ 'org=acme scope=write,read', '' ],
              [ 'org=acme', '' ], [ 'org=acme scope=read,admin', 'US403' ])
{
    is(call('admin', 'key_create', $case->[0]), $case->[1], "a key: $case->[0]");
    is(call('admin', 'key_import', "$case->[0] digest=%"), $case->[1],
       '... imported');
}

is(call('admin', 'key_update', "key=1 scope=$_->[0]"), $_->[1],
   "scope=$_->[0] of a key")
    for [ read => '' ], [ admin => 'US403' ];
is(call('both', 'key_create', 'org=beta scope=admin'), '', 'of that org only');
is(call('', 'key_create', 'org=acme scope=admin'), '', 'the operator gives any');
is(call('owner', 'org_update', 'org=acme scope=*'), 'US403',
   'who owns the org does not choose');
$t->ctl('org update org=acme scope=*');
is(call('admin', 'key_create', 'org=acme scope=admin'), '', 'any again');

is(scalar @{ $t->ctl('org list limit=1') }, 1, 'a page of orgs');
is($t->ctl('org list limit=1 after=acme')->[0]{name}, 'beta', 'the next');

# audit

my %reads = map { $_->[0] => 1 } $t->rows(q{
    select f->>'name' from jsonb_array_elements(api.catalogue()) f
    where f->>'changes' = 'false' });

for my $function (sort keys %call) {
    my ($args) = @{ $call{$function} };

    # slots in the state that each needs: announced by nobody, the one to end

    $t->sql("update usher.journal set state = ?", $function =~ /resume/
            ? 'stopped' : $function =~ /fork/ ? 'forked' : 'live');
    $t->sql("insert into usher.journal (slot, announced_at)
             values (gen_random_uuid(), now() + interval '1 day')")
        if $function eq 'journal_end';
    $args =~ s/slot=\w+/slot=$slot/;

    $t->ctl("plan create name=m" . ($n + 1)) if $function eq 'plan_drop';
    $t->sql('select api.plan_policy_set($1, $2, $3)', 'pro', 'rps', '1/s')
        if $function eq 'plan_policy_drop';
    $t->ctl('member set actor=x org=acme role=partner')
        if $function eq 'member_drop';
    $t->ctl('subscription start org=acme plan=pro')
        if $function eq 'subscription_end';
    $t->ctl('secret put kind=source name=x value=random:32 org=acme')
        if $function =~ /^secret_(?:drop|re)/;
    key_file($t, 'new', 'keys') if $function eq 'secret_recrypt';
    my $fresh = $args =~ /key=%/ && $t->ctl('key create org=acme')->{id};
    my $digest = sprintf '%064x', ++$n;

    $args =~ s/key=%/key=$fresh/;
    $args =~ s/digest=%/digest=$digest/;
    $args =~ s/%/m$n/;

    my $last = $t->sql('select coalesce(max(id), 0) from usher.audit');
    $t->ctl('--actor', 'root', 'actor', 'show');
    $t->ctl($function, split ' ', $args);

    my @rows = $t->rows('select function, actor from usher.audit
                         where id > ?', $last);
    is_deeply(\@rows, $reads{$function} ? []
                      : [ [ $function, 'operator:usherctl' ] ],
              $reads{$function} ? "$function leaves none"
                                : "$function leaves a row");
}

my $made = $t->ctl('--actor=owner', 'key', 'create', 'org=acme', 'name=secret');
my $row = $t->ctl('audit list limit=1')->[0];
is($row->{actor}, 'owner', 'the actor is named');
is($row->{org}, 'acme', 'and the org');
is($row->{arguments}{name}, 'secret', 'and what was asked for');
is($t->sql('select count(*) from usher.audit where arguments::text like ?',
           '%' . substr($made->{key}, -36) . '%'), 0, 'but never a key');
$t->ctl("key revoke key=$made->{key} reason=leaked");
is($t->sql('select count(*) from usher.audit where arguments::text like ?',
           '%' . substr($made->{key}, -36) . '%'), 0,
   'not even where one was named');

like($t->ctl_fails('member set actor=operator:root org=acme role=admin'),
     qr/actor="operator:root" cannot be/, 'no actor is called as the operator is');
like($t->ctl_fails('--actor', '', 'org', 'list'), qr/needs a value/,
     'an empty actor is not the operator');

done_testing();
