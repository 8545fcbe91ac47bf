# The rules that the tables keep, whoever writes.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->sql('set role usher_owner');


# The constraint or the message that refuses, '' if nothing does.

sub refused {
    my ($sql) = @_;

    return eval { $t->sql($sql); 1 } ? '' : $@;
}


$t->sql("insert into usher.org (name) values ('acme')");
$t->sql("insert into usher.plan (name) values ('pro')");

for my $name ('', 'Acme', '-a', 'a_b', 'a' x 33, "a\n", 'ü') {
    (my $shown = $name) =~ s/\n/\\n/;
    like(refused("insert into usher.org (name) values ('$name')"),
         qr/org_name_check/, "an org is not called '$shown'");
}

is(refused("insert into usher.org (name) values ('" . 'a' x 32 . "')"), '',
   '32 letters are a name');
like(refused("insert into usher.org (name) values ('acme')"),
     qr/org_name_key/, 'names are unique');

# keys

sub key {
    my (%column) = @_;

    my %all = (org_id => 1, digest => "sha256('k')", %column);

    return sprintf 'insert into usher.key (%s) values (%s)',
        join(', ', sort keys %all), join(', ', map { $all{$_} } sort keys %all);
}


is(refused(key()), '', 'a key');
like(refused(key()), qr/key_digest_key/, 'is there once');
like(refused(key(digest => "'\\x00'")), qr/key_digest_check/, '32 bytes');
like(refused(key(digest => "sha256('2')", env => "'prod'")),
     qr/key_env_check/, 'live or test');
like(refused(key(digest => "sha256('2')", revoke_reason => "'x'")),
     qr/key_revoked/, 'no reason without a revocation');
like(refused(key(digest => "sha256('2')", successor_id => 1)),
     qr/key_rotated/, 'no successor without a grace period');

for my $scopes (q('{"a b"}'), q('{""}'), q('{NULL}'), q('{"a\"b"}'), q('{ü}'),
                q('{{a},{b}}'), "array['" . 'a' x 513 . "']")
{
    like(refused(key(digest => "sha256('2')", scopes => $scopes)),
         qr/key_scopes_check/, 'not scopes: ' . substr($scopes, 0, 20));
}

is(refused(key(digest => "sha256('2')", scopes => q('{a:b,c/d,!}'))), '',
   'scopes');
like(refused(key(digest => "sha256('3')", allow => q('{10.0.0.1/8}'))),
     qr/invalid cidr/, 'no bits right of the mask');
like(refused(key(digest => "sha256('3')",
                 allow => "array_fill('10.0.0.0/8'::cidr, array[60])")),
     qr/key_allow_check/, 'an allow list fits the edge');

# policies

sub policy {
    my ($name, $quota, $window, $burst, $scope, $bucket) = @_;

    return refused("insert into usher.plan_policy values
        (1, '$name', $quota, $window, $burst, '$scope', $bucket)");
}


is(policy('a', 20, 1, 40, 'key', 0), '', 'a policy');
like(policy('b', 20, 1, 40, 'key', 0), qr/plan_id_scope_bucket/,
     'a bucket has one policy');
is(policy('b', 20, 1, 40, 'org', 0), '', 'per scope');
like(policy('c', 20, 1, 40, 'key', 4), qr/bucket_check/, 'four buckets');
like(policy('c', 0, 1, 40, 'key', 1), qr/quota_check|fill/, 'a quota is above 0');
like(policy('c', 1, 86401, 1, 'key', 1), qr/window_s_check/,
     'a window is at most a day');
like(policy('c', 1, 86400, 400, 'key', 1), qr/plan_policy_fill/,
     'a burst is full again within a year');

# subscriptions

sub subscribed {
    my ($starts, $ends) = @_;

    return refused("insert into usher.subscription
        (org_id, plan_id, starts_at, ends_at)
        values (1, 1, $starts, $ends)");
}


is(subscribed("'2026-01-01'", "'2026-02-01'"), '', 'January');
is(subscribed("'2026-02-01'", 'null'), '', 'from February on');
like(subscribed("'2026-03-01'", 'null'), qr/one_at_a_time/,
     'one subscription at a time');
like(subscribed("'2025-12-01'", "'2026-01-02'"), qr/one_at_a_time/,
     'not for a day');
like(subscribed("'2020-01-02'", "'2020-01-01'"), qr/lower bound|order/,
     'it ends after it starts');

# what may not be done at all

like(refused('truncate usher.key cascade'), qr/cannot be truncated/,
     'TRUNCATE hides changes from the edges');
$t->sql("insert into usher.audit (actor, function, arguments)
         values ('a', 'f', '{}')");
like(refused('update usher.audit set actor = $$b$$'), qr/never changed/,
     'audit rows are not updated');
like(refused('delete from usher.audit'), qr/never changed/, 'nor deleted');
like(refused('insert into usher.usage_close (one, closed_until)
              values (false, date_trunc($$hour$$, now()))'), qr/one_check/,
     'one row says which hours are closed');
like(refused('update usher.usage_close set closed_until =
              $$2026-01-01 00:30+00$$'), qr/closed_until_check/,
     'and it is a full hour');

done_testing();
