# A value that an argument cannot have is refused by the argument's name, with
# what it may be, and nothing is done: each argument of each function that
# changes something.

use lib 't/lib';
use Usher::Test;
use Usher::Secret qw(key_file);


my $t = Usher::Test->new;

$t->postgres;
key_file($t, 'keys');

my $slot = 'ab' x 16;

$t->ctl("org create name=acme");
$t->ctl('plan create name=pro');
$t->ctl('plan policy set plan=pro policy=rps rate=1/s');
$t->ctl('key create org=acme');
$t->sql("insert into usher.journal (slot, state, position, announced_at)
         values ('$slot', 'stopped', 10, now() - interval '1 day'),
                (gen_random_uuid(), 'live', 0, now())");

my $long = 'x' x 201;
my $name = qr/1 to 32 of a-z, 0-9/;
my $title = qr/at most 200 characters/;
my $list = qr/separated by spaces or commas/;
my $reason = qr/200 characters/;
my $source = [ 'A b', qr/1 to 32 of a-z, 0-9 and -/ ];
my $day = 'day,amount,currency';

my %key = (name => [ $long, qr/at most 100 characters/ ],
           scope => [ 'a"b', $list ], allow => [ '10.0.0.0/33', $list ],
           expires => [ '2020-01-01', qr/to come, or infinity/ ]);
my %made = (%key, env => [ 'prod', qr/env is live or test/ ],
            brand => [ 'A b', qr/1 to 16 of a-z and 0-9/ ]);

# how to call it, and for each argument a value and the hint

my %call = (
    org_create => [ 'name=new', { name => [ 'A b', $name ],
                    kind => [ 'club', qr/company or person/ ],
                    title => [ $long, $title ] } ],
    org_update => [ 'org=acme', { title => [ $long, $title ],
                                  scope => [ 'a"b', $list ] } ],
    org_disable => [ 'org=acme', { reason => [ $long, $reason ] } ],
    plan_create => [ 'name=new', { name => [ '-x', $name ],
                                   title => [ $long, $title ] } ],
    plan_policy_set => [ 'plan=pro policy=rps', {
        policy => [ 'A b', qr/1 to 32 of a-z, 0-9, _ and -/ ],
        rate => [ '20/y', qr/Write 20\/s/ ], quota => [ 0, qr/1 to 1000000000/ ],
        window => [ 86401, qr/1 to 86400/ ],
        burst => [ 1_000_000_001, qr/1 to 1000000000/ ],
        scope => [ 'node', qr/key .* or org/ ] } ],
    subscription_start => [ 'org=acme plan=pro', {
        ends => [ '2020-01-01', qr/ends after it starts/ ] } ],
    member_set => [ 'org=acme actor=ann role=admin', {
        actor => [ 'a b', qr/1 to 100 printable ASCII/ ],
        role => [ 'king', qr/owner, admin, analyst or partner/ ] } ],
    key_create => [ 'org=acme', \%made ],
    key_import => [ 'org=acme digest=' . 'a' x 64,
                    { %made, digest => [ 'abc', qr/64 hexadecimal digits/ ] } ],
    key_update => [ 'key=1', { map { $_ => $key{$_} } qw(name scope allow) } ],
    key_rotate => [ 'key=1', { grace => [ '-1s', qr/0 to 366 days/ ],
                    expires => [ '2020-01-01', qr/to come, or infinity/ ] } ],
    key_revoke => [ 'key=1', { reason => [ $long, $reason ] } ],
    journal_skip => [ "slot=$slot to=20 reason=x", {
        to => [ 10, qr/position behind it/ ], reason => [ $long, $reason ] } ],
    journal_resume => [ "slot=$slot reason=x", { reason => [ $long, $reason ] } ],
    journal_end => [ "slot=$slot reason=x", { reason => [ $long, $reason ] } ],
    journal_gap_accept => [ 'gap=1 reason=x', { reason => [ $long, $reason ] } ],
    journal_fork_accept => [ "slot=$slot reason=x",
                             { reason => [ $long, $reason ] } ],
    secret_put => [ 'kind=source name=x value=random:32', {
        kind => [ 'spy', qr/account, click, network or source/ ],
        name => [ 'A b', $name ],
        value => [ 'plain', qr/value=\@file, value=- .*value=random:32/ ] } ],
    secret_recrypt => [ '', { resealed => [ '{}', qr/Leave it out/ ],
                              limit => [ 0, qr/1 to 10000/ ] } ],
    quarantine_settle => [ 'id=1 reason=x', { reason => [ $long, $reason ] } ],
    todo_drop => [ 'id=1 reason=x', { reason => [ $long, $reason ] } ],
    fx_import => [ 'csv=day,base,quote,rate', {
        csv => [ 'x', qr/names the columns: day, base, quote, rate/ ],
        source => $source } ],
    map({ ("${_}_import" => [ "org=acme csv=$day source=x", {
               csv => [ 'x', qr/names the columns: day, amount, currency;/ ],
               source => $source } ],
           "${_}_drop" => [ 'org=acme source=x', { source => $source } ]) }
        qw(cost revenue)),
    ledger_reverse => [ 'what=x reason=x', { reason => [ $long, $reason ] } ],
);

# what is looked for, and moments that may be any

my %other = map { $_ => 1 } qw(org plan key slot gap id starts at what
    key_update=expires todo_retry=handler member_drop=actor plan_policy_drop=policy
    secret_retire=kind secret_retire=name secret_drop=kind secret_drop=name);

# these nouns are held against their values in t/program_argument.t,
# link_right.t, click_key.t and postback_argument.t

my $elsewhere = qr/^(preset|network|program|product|campaign|partner
                    |domain|link|click_key|postback|conversion|coupon
                    |commission|payout)_/x;

for my $row ($t->rows("select f->>'name', a->>'name'
        from jsonb_array_elements(api.catalogue()) f,
             jsonb_array_elements(f->'arguments') a
        where (f->>'changes')::boolean order by 1, 2"))
{
    my ($function, $arg) = @$row;

    next if $function =~ $elsewhere;

    my ($with, $args) = @{ $call{$function} || [] };

    next if $other{$arg} || $other{"$function=$arg"};

    if (!$args->{$arg}) {
        fail("$function $arg= is held against its values here");
        next;
    }

    my ($value, $hint) = @{ $args->{$arg} };
    my @args = (grep({ !/^$arg=/ } split ' ', $with), "$arg=$value");
    my ($code, $out, $err) = $t->ctl_run($function, @args);

    like($err, qr/^usherctl:[^\n]*\b\Q$arg\E=?[^\n]*\nhint:[^\n]*$hint/,
         "$function $arg=" . substr $value, 0, 20);
    unlike($err, qr/violates|constraint/, '... in words of ours');
}

is($t->sql('select count(*) from usher.audit'), 4, 'nothing was done');
is($t->sql("select count(*) from usher.key where expires_at is null
            and successor_id is null and revoked_at is null"), 1, 'nor to the key');

# what only together cannot be

like($t->ctl_fails('plan policy set plan=pro policy=rps quota=1 window=86400 '
                   . 'burst=1000'), qr/burst=1000 cannot be.*within a year/s,
     'a bucket that is not full again within a year');

# readers

like($t->ctl_fails($_->[0]), qr/^usherctl: $_->[1] cannot be/, $_->[0])
    for [ 'key list state=x', 'state="x"' ], [ 'org list limit=0', 'limit=0' ],
        [ 'journal list state=x', 'state="x"' ], [ 'usage show by=x', 'by="x"' ];

# lists may have commas, blanks or both

is($t->ctl('key', 'update', 'key=1', "scope=$_")->{scope}, 'read write',
   "scope=$_")
    for 'read,write', 'write, read', 'read write', ',read,,write,';
is($t->ctl('key', 'update', 'key=1', "allow=$_")->{allow}, '10.0.0.0/8 ::1/128',
   "allow=$_")
    for '10.0.0.0/8,::1', '10.0.0.0/8, ::1', '::1 10.0.0.0/8';
is($t->ctl('key create org=acme scope=a,b')->{scope}, 'a b', 'a new key');
is($t->ctl('key create org=acme expires=infinity')->{expires}, undef, 'for ever');

done_testing();
