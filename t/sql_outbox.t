# Changes reach the outbox in their own transaction: which ids, how urgent.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->sql('set role usher_owner');


# Runs it and returns what it put into the outbox: "kind count flags" each.

sub outbox {
    my ($sql) = @_;

    $t->sql('delete from usher.directory_outbox');
    $t->sql($sql);

    return join ', ', map { $_->[0] } $t->rows(q{
        select kind || ' ' || cardinality(ids)
               || case when urgent then ' urgent' else '' end
               || case when inserted then ' new' else '' end
        from usher.directory_outbox order by id });
}


is(outbox("insert into usher.org (name) values ('acme'), ('beta')"), '',
   'an org is no record');
is(outbox("insert into usher.plan (name) values ('pro'), ('max')"),
   'plan 2 new', 'new plans');
is(outbox("insert into usher.plan_policy values
           (1, 'rps', 20, 1, 20, 'key', 0), (1, 'day', 9, 9, 9, 'key', 1)"),
   'plan 1', 'a policy changes its plan');
is(outbox("update usher.plan_policy set burst = 9"), 'plan 1', 'live');
is(outbox("delete from usher.plan_policy where name = 'day'"), 'plan 1',
   'a policy goes');
is(outbox("update usher.plan set title = 'x' where name = 'max'"), 'plan 1',
   'a plan changes');

is(outbox("insert into usher.key (org_id, digest)
           select 1 + (i > 2100)::int, sha256(i::text::bytea)
           from generate_series(1, 2500) i"),
   'key 1000 new, key 1000 new, key 500 new',
   'a bulk insert: a row for 1,000 keys');

is($t->sql("select bool_and(u.id ~ '^[0-9a-f]{64}\$')
            from usher.directory_outbox, unnest(ids) u (id)"), 1,
   'ids are digests');

is(outbox("update usher.key set name = 'x'"), '',
   'what the record does not hold does not matter');
is(outbox("update usher.key set plan_id = 1 where id <= 2"), 'key 2',
   'a plan of its own can wait');
is(outbox("update usher.key set plan_id = null where id <= 2"), 'key 2',
   'as can its end');

for my $set ("revoked_at = now()", "expires_at = now()", "scopes = '{a}'",
             "allow = '{10.0.0.0/8}'", "successor_id = 9, grace_until = now()")
{
    is(outbox("update usher.key set $set where id = 3"), 'key 1 urgent',
       "urgent: $set");
}

is(outbox("update usher.key set digest = sha256('new') where id = 4"),
   'key 2 urgent', 'another digest: both are told');
is(outbox("update usher.key k set revoked_at = case when id = 5 then now() end,
           plan_id = 1 where id in (5, 6)"), 'key 1 urgent, key 1',
   'the urgent ones of a statement go first');
is(outbox('delete from usher.key where id = 8'), 'key 1 urgent',
   'a deleted key becomes a tombstone');

is(outbox("update usher.org set title = 'x'"), '', 'a title');
is(outbox("update usher.org set disabled_at = now() where id = 2"),
   'key 400 urgent', 'a disabled org: its keys, urgent');
is(outbox("update usher.org set disabled_at = null where id = 2"), 'key 400',
   'enabled');
is(outbox("update usher.org set name = 'gamma' where id = 2"), 'key 400',
   'renamed');

$t->sql("update usher.key set plan_id = 2 where id between 2101 and 2200");
is(outbox("insert into usher.subscription (org_id, plan_id) values (2, 1)"),
   'key 300', 'a subscription: the keys without a plan of their own');
is(outbox("update usher.subscription set ends_at = now() + interval '1 day'"),
   'key 300', 'its end is set');

# by the clock alone

$t->sql('select usher.keep_due()');
is(outbox('select usher.keep_due()'), '', 'nothing is due');
is(outbox("update usher.subscription set starts_at = now() - interval '1 day',
           ends_at = clock_timestamp() + interval '50 ms'"), 'key 300',
   'soon at its end');
$t->wait_for(sub { outbox('select usher.keep_due()') eq 'key 300' },
             'is told when it has ended');
is(outbox('select usher.keep_due()'), '', 'once');

# with the change or not at all

$t->sql('delete from usher.directory_outbox');
$t->db->begin_work;
$t->sql("update usher.key set revoked_at = now() where id = 10");
is($t->sql('select count(*) from usher.directory_outbox'), 1, 'in the same');
$t->db->rollback;
is($t->sql('select count(*) from usher.directory_outbox'), 0, 'transaction');

$t->sql('listen usher_directory');
1 while $t->db->pg_notifies;
$t->sql("update usher.key set revoked_at = now() where id = 10");
$t->wait_for(sub { my $n = $t->db->pg_notifies;
                   $n && $n->[0] eq 'usher_directory' }, 'NOTIFY');

done_testing();
