# Whose rows a reader sees: each reading function, as the operator and as the
# admin and the analyst of each of two orgs, held against what was planted.

use lib 't/lib';
use Usher::Test;
use Usher::Secret qw(key_file);


my $t = Usher::Test->new;
my $json = JSON::PP->new->canonical->allow_nonref;

$t->postgres;
key_file($t, 'keys');

my @orgs = qw(acme beta);
my @org_of = (undef, @orgs, @orgs);                 # of key 1 to 4

$t->ctl("plan create name=$_") for qw(old pro);

for my $org (@orgs) {
    $t->ctl("org create name=$org");
    $t->ctl("subscription start org=$org plan=$_->[0] starts=$_->[1]-01-01")
        for [ old => 2025 ], [ pro => 2026 ];
    $t->ctl("member set actor=$_-$org org=$org role=$_") for qw(admin analyst);
}

$t->ctl("key create org=$_ name=of-$_") for @org_of[1 .. 4];
$t->ctl("secret put org=$_ kind=source name=x value=random:32") for @orgs;
$t->ctl("member set actor=both org=$_->[0] role=$_->[1]")
    for [ acme => 'owner' ], [ beta => 'analyst' ];

# Requests of nobody and of the keys in turn, at 0:30, 2:30, ...; of their sums
# half are folded.

my @events = map { { n => $_, key => $_ % 5, org => $org_of[$_ % 5],
                     time => sprintf('2026-03-%02dT%02d:30:00+00:00',
                                     1 + $_ / 12, $_ % 12 * 2),
                     route => $_ % 3 ? '/v1' : '/v2',
                     status => (200, 429, 500)[$_ % 4 % 3] } } 0 .. 29;

for my $e (@events) {
    my @what = ($e->{time}, $e->{key}, $e->{org}, @$e{qw(route status n)});

    $t->sql("with e as (
                 select v.*, (select o.id from usher.org o where o.name = v.org)
                             as org_id
                 from (values (?::timestamptz, ?::bigint, ?::text, ?::text,
                               ?::smallint, ?::int))
                      v (time, key, org, route, status, n)),
             r as (insert into usher.request (event_time, key_id, route, status,
                       units, bytes_sent, duration_ms, org_id, request_id, node,
                       method, host, uri, user_agent, referer, auth_status,
                       limit_status, protocol, flags)
                   select time, nullif(key, 0), route, status, n, 10 * n,
                          100 * n, org_id, 'id-' || n, 'edge1', 'GET', 'h',
                          '/u', '', '', 'ok', 'passed', 'HTTP/1.1', 0
                   from e)
             insert into usher.$_
             select date_trunc('hour', time, 'UTC'), key, coalesce(org_id, 0),
                    route, status, 1, n, 10 * n, 100 * n
             from e", @what)
        for $e->{n} < 15 ? 'usage' : 'usage_delta';
}


# The answer to a caller, or the SQLSTATE.

sub ask {
    my ($actor, $function, %args) = @_;

    my @names = sort keys %args;

    $t->db->begin_work;
    $t->sql("select set_config('usher.actor', ?, true)", $actor);

    my $answer = eval { $json->decode($t->sql("select api.$function("
        . join(', ', map { qq{"$_" => ?} } @names) . ')', @args{@names})) };
    my $state = $t->db->state;

    $t->db->rollback;

    return $answer // $state;
}


# The rows that a question is about, or the SQLSTATE it must be refused with.

sub expected {
    my ($function, $actor, $args, @rows) = @_;

    my ($mine) = $actor =~ /-(\w+)/;
    my ($org, $key) = @$args{qw(org key)};
    my @about = grep { defined } $org, $key && $org_of[$key];

    return 'US403' if $mine && (!@about || grep { $_ ne $mine } @about);
    return 'US403' if $function =~ /^secret/ && $actor =~ /^analyst/;
    return 'US400' if @about == 2 && $about[0] ne $about[1];

    return [ grep { (!$org || ($_->{org} // '') eq $org)
                    && (!$key || $_->{key} == $key) } @rows ];
}


sub events {
    my ($args, $rows) = @_;

    my @rows = grep { $_->{time} ge ($args->{since} // '')
                      && $_->{time} lt ($args->{until} // '3')
                      && "id-$_->{n}" eq ($args->{request} // "id-$_->{n}") }
               reverse @$rows;
    splice @rows, $args->{limit} // 50 if @rows > ($args->{limit} // 50);

    return [ map { { time => $_->{time}, request => "id-$_->{n}", org => $_->{org},
                     key => $_->{key} || undef, method => 'GET', host => 'h',
                     uri => '/u', route => $_->{route}, status => $_->{status},
                     auth => 'ok', limit => 'passed', units => $_->{n},
                     bytes => 10 * $_->{n}, ms => 100 * $_->{n},
                     address => undef, node => 'edge1' } } @rows ];
}


sub usage {
    my ($args, $rows) = @_;

    my %length = (month => 7, day => 10, hour => 13);
    my ($by, %sum) = $args->{by};

    for my $e (grep { $_->{time} ge ($args->{from} // '')
                      && $_->{time} lt ($args->{to} // '3') } @$rows)
    {
        my $part = $e->{$by};
        $part = substr($e->{time}, 0, $length{$by})
              . substr('2026-01-01T00:00:00+00:00', $length{$by})
            if $length{$by};

        my $s = $sum{$e->{org} // ''}{$part} //= {
            org => $e->{org}, $by => $part,
            map { $_ => 0 } qw(requests units bytes ms) };

        $s->{requests}++;
        $s->{units} += $e->{n};
        $s->{bytes} += 10 * $e->{n};
        $s->{ms} += 100 * $e->{n};
    }

    return [ map { values %$_ } values %sum ];
}


sub total {
    my ($args, $rows) = @_;

    my $of = sub { usage({ %$args, by => 'all' },
                         [ map { { %$_, org => '', all => 1 } } @_ ])->[0]
                   // { map { $_ => 0 } qw(requests units bytes ms) } };
    my $sums = $of->(@$rows);

    return { map({ $_ => $sums->{$_} } qw(requests units bytes ms)),
             errors => $of->(grep { $_->{status} == 500 } @$rows)->{requests},
             refused => $of->(grep { $_->{status} == 429 } @$rows)->{requests} };
}


# What anybody is told, as text; sums are in no order.

my %told;

# of what has numbers and moments of its own, what tells whose it is

my %short = (
    ledger_list => sub { [ map { "$_->{id} $_->{what} $_->{org} "
                                 . $_->{postings}[0]{amount} } @{ $_[0] } ] },
    account_list => sub { [ map { "$_->{org} $_->{kind} $_->{balance}" } @{ $_[0] } ] },
);

sub is_told {
    my ($function, $args, $what, @rows) = @_;

    $told{$function}++;

    my @wrong;

    for my $actor ('', map { ("admin-$_", "analyst-$_") } @orgs) {
        my $rows = expected($function, $actor, $args, @rows);
        my $want = ref $rows ? $what->($args, $rows) : $rows;
        my $got = ask($actor, $function, %$args);

        $got = $short{$function}->($got) if $short{$function} && ref $got;

        $_ = $json->encode($function eq 'usage_show' && ref $_
                           ? [ sort map { $json->encode($_) } @$_ ] : $_)
            for $want, $got;
        $_ =~ s/(":)"(\d+)"/$1$2/g for $want, $got;
        push @wrong, "$actor:\n  $got\nnot $want" if $got ne $want;
    }

    is("@wrong", '', join ' ', $function, map { "$_=$args->{$_}" }
                                          sort keys %$args);
}


my @about = ({}, map({ { org => $_ } } @orgs), { key => 1 }, { key => 2 },
             { org => 'acme', key => 3 }, { org => 'acme', key => 2 });
my @from = ('2026-03-01T09:00:00+00:00', '2026-03-02T11:00:00+00:00');

for my $about (@about) {
    my $since = { %$about, since => $from[0] };

    is_told('event_list', $_, \&events, @events)
        for $since, { %$since, until => $from[1] }, { %$since, limit => 2 },
            map { { %$about, since => '2026-01-01', request => "id-$_" } } 1, 2;

    for my $by (qw(hour day month key route status)) {
        is_told('usage_show', $_, \&usage, @events)
            for { %$about, by => $by, from => '2026-03-01' },
                { %$about, by => $by, from => $from[0], to => $from[1] };
    }

    is_told('usage_total', $_, \&total, @events)
        for $about, { %$about, from => $from[0], to => $from[1] };
}

# Money: for each org two days of cost and revenue, two entries of the ledger.

my %book = map { $_ => [] } qw(cost revenue);
my @entries;

for my $n (1 .. 4) {
    my $org = $org_of[$n];
    my $id = 1 + ($org eq 'beta');

    for my $noun (qw(cost revenue)) {
        my $amount = "$n." . ($noun eq 'cost' ? '00' : '50');

        $t->ctl($noun, 'import', "org=$org", 'source=s',
                "csv=id,day,amount,currency\n$n,2026-03-0$n,$amount,EUR");
        unshift @{ $book{$noun} }, { org => $org, n => $n, amount => $amount,
                                     day => "2026-03-0$n" };
    }

    unshift @entries, { n => $n, org => $org, amount => "0.0$n", id => $t->sql(
        "select usher.ledger_post('w$n', array[
             usher.account_ensure($id, 'asset', 'a', 'EUR'),
             usher.account_ensure($id, 'revenue', 'b', 'EUR')],
             array[$n, -$n])") };
}


sub amounts {
    my ($args, $rows) = @_;

    my @none = qw(campaign product link sub_id country changed);

    return [ map { +{ org => $_->{org}, day => $_->{day}, amount => $_->{amount},
                      currency => 'EUR', source => 's', id => "$_->{n}",
                      map { $_ => undef } @none } }
        grep { $_->{day} ge ($args->{from} // '') } @$rows ];
}


sub sum_of {
    my ($args, $rows) = @_;
    my $sum = 0;

    $sum += $_->{amount} for @$rows;
    return { amount => sprintf('%.2f', $sum), currency => 'EUR',
             rows => scalar @$rows };
}


sub entries {
    my ($args, $rows) = @_;

    return [ map { my $org = $_->{org}; "$_->{id} w$_->{n} $org $_->{amount}" }
             grep { "w$_->{n}" eq ($args->{what} // "w$_->{n}") } @$rows ];
}


sub accounts {
    my ($args, $rows) = @_;
    my %sum;

    $sum{ $_->{org} } += 100 * $_->{amount} for @$rows;
    return [ map { my $org = $_; map { "$org $_ " . sprintf '%.2f', $_ eq 'asset'
             ? $sum{$org} / 100 : -$sum{$org} / 100 } qw(asset revenue) } sort keys %sum ];
}


$t->sql("set timezone = 'UTC'");

my $same = sub { $_[1] };
my @keys = map { ask('', 'key_show', key => $_) } 1 .. 4;
my @secrets = map { ask('', 'secret_show', org => $_, kind => 'source', name => 'x') }
              @orgs;
my @audit = map { $json->decode($_->[0]) } $t->rows(q{
    select jsonb_build_object('id', a.id, 'at', a.at,
                              'actor', a.actor, 'function', a.function,
                              'arguments', a.arguments, 'org', o.name)
    from usher.audit a left join usher.org o on o.id = a.org_id
    order by a.id desc });

my @subscriptions = map { my $org = $_; map { {
    id => $_->[0] + 2 * ($org eq 'beta'), org => $org, plan => $_->[1],
    state => $_->[2], starts => "$_->[3]-01-01T00:00:00+00:00",
    ends => $_->[4] && "$_->[4]-01-01T00:00:00+00:00" } }
    [ 1, 'old', 'ended', 2025, 2026 ], [ 2, 'pro', 'current', 2026 ] } @orgs;

my %org = map { $_->{name} => $_ } @{ ask('', 'org_list') };
my %members = map { my $org = $_; $org => [ map { $json->decode($_->[0]) }
    $t->rows("select jsonb_build_object('actor', actor, 'role', role,
                                        'created', created_at)
              from usher.member
              where actor ~ ? or actor = 'both' and role = ?
              order by actor", "-$org\$", $org eq 'acme' ? 'owner' : 'analyst')
    ] } @orgs;

for my $about (@about[0 .. 2]) {
    is_told('key_list', $about, $same, @keys);
    is_told('key_list', { %$about, limit => 1, after => 1 },
            sub { [ (grep { $_->{id} > 1 } @{ $_[1] })[0] ] }, @keys);
    is_told('audit_list', $about, $same, @audit);
    is_told('audit_list', { %$about, limit => 2, before => $audit[2]{id} },
            sub { [ (grep { $_->{id} < $audit[2]{id} } @{ $_[1] })[0, 1] ] },
            @audit);
    is_told('subscription_list', $about, $same, @subscriptions);
    is_told('account_list', $about, \&accounts, @entries);

    is_told('ledger_list', $_, \&entries, @entries)
        for $about, { %$about, what => 'w1' }, { %$about, what => 'w2' };

    for my $noun (qw(cost revenue)) {
        is_told("${noun}_list", $_, \&amounts, @{ $book{$noun} })
            for $about, { %$about, from => '2026-03-02' };
        is_told("${noun}_total", $about, \&sum_of, @{ $book{$noun} });
    }

    is_told('secret_list', $about, $same, @secrets);
    is_told('secret_list', { %$about, limit => 1, after => 1 },
            sub { [ (grep { $_->{id} > 1 } @{ $_[1] })[0] // () ] }, @secrets);

    next if !%$about;

    my ($org) = $about->{org};

    is_told('member_list', $about, sub { $members{$org} });
    is_told('org_show', $about, sub { $org{$org} });
}

is_told('key_show', { key => $_ }, sub { $keys[$_ - 1] }) for 1, 2;
is_told('secret_show', { %{ $about[$_] }, kind => 'source', name => 'x' },
        sub { $_[1][0] }, $secrets[$_ - 1]) for 1, 2;

# these nouns are held against what was planted in t/program_tenant.t,
# link_right.t, click_key.t, postback_right.t and roi_right.t

my $elsewhere = qr/^(preset|network|program|product|campaign|partner
                    |domain|link|click_key|postback|conversion|coupon
                    |roi|commission|payout)_/x;

is(join(' ', grep { $_ !~ $elsewhere } map { $_->[0] } $t->rows(q{
       select f->>'name' from jsonb_array_elements(api.catalogue()) f
       where f->>'changes' = 'false' and f->'roles' <> '[]'
             and f->>'name' <> 'org_list' order by 1 })),
   join(' ', sort keys %told), 'each other function that a customer may read by');

for my $actor (map { ("admin-$_", "analyst-$_") } @orgs) {
    is(join(' ', map { $_->{name} } @{ ask($actor, 'org_list') }),
       $actor =~ s/.*-//r, "orgs of $actor");
}

# a role is dropped where it was said

is(ask('', 'member_drop', actor => 'admin-beta', org => 'acme'), 'US404',
   'who has a role elsewhere');
is($t->ctl('member drop actor=both org=acme')->{was}, 'owner', 'dropped');
is_deeply([ map { [ @$_{qw(org role)} ] }
            @{ ask('both', 'actor_show')->{roles} } ], [ [ qw(beta analyst) ] ],
          'there, and not elsewhere');

done_testing();
