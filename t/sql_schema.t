# What holds for every object of the schema: comments, owners, rights.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;


sub none {
    my ($what, $sql) = @_;

    is(join(', ', map { $_->[0] } $t->rows($sql)), '', $what);
}


none('every table, view and sequence has a comment', q{
    select c.relname from pg_class c
    where c.relnamespace in ('usher'::regnamespace, 'api'::regnamespace)
          and c.relkind in ('r', 'p', 'v', 'S')
          and obj_description(c.oid, 'pg_class') is null });

none('every column has a comment', q{
    select c.relname || '.' || a.attname
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'usher'::regnamespace and a.attnum > 0
          and c.relkind in ('r', 'p', 'v') and not c.relispartition
          and not a.attisdropped
          and col_description(c.oid, a.attnum) is null });

none('every index has a comment that is not a constraint', q{
    select c.relname from pg_class c
    where c.relnamespace = 'usher'::regnamespace and c.relkind in ('i', 'I')
          and not c.relispartition
          and not exists (select from pg_constraint k where k.conindid = c.oid)
          and obj_description(c.oid, 'pg_class') is null });

none('every rule between columns or rows has a comment', q{
    select k.conname from pg_constraint k join pg_class c on c.oid = k.conrelid
    where k.connamespace = 'usher'::regnamespace and not c.relispartition
          and (k.contype = 'x'
               or (k.contype = 'c' and cardinality(k.conkey) > 1))
          and obj_description(k.oid, 'pg_constraint') is null });

none('every trigger has a comment', q{
    select g.tgname from pg_trigger g join pg_class c on c.oid = g.tgrelid
    where c.relnamespace = 'usher'::regnamespace and not g.tgisinternal
          and obj_description(g.oid, 'pg_trigger') is null });

none('every schema and role has a comment', q{
    select nspname from pg_namespace
    where nspname in ('usher', 'api')
          and obj_description(oid, 'pg_namespace') is null
    union all
    select rolname from pg_roles
    where rolname ~ '^usher_'
          and shobj_description(oid, 'pg_authid') is null });

none('every type of its own has a comment', q{
    select t.typname from pg_type t
    left join pg_class c on c.oid = t.typrelid
    where t.typnamespace = 'usher'::regnamespace
          and (t.typtype = 'd' or c.relkind = 'c')
          and obj_description(t.oid, 'pg_type') is null });

none('every function has a comment', q{
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace in ('usher'::regnamespace, 'api'::regnamespace)
          and obj_description(p.oid, 'pg_proc') is null });

none('every argument of the catalogue is described', q{
    select f->>'name' || ' ' || (a->>'name')
    from jsonb_array_elements(api.catalogue()) f,
         jsonb_array_elements(f->'arguments') a
    where coalesce(a->>'help', '') = '' });

none('no help describes an argument that is not there', q{
    select p.proname || ' ' || m[1]
    from pg_proc p,
         regexp_matches(obj_description(p.oid, 'pg_proc'),
                        '\n([a-z_]+): ', 'g') m
    where p.pronamespace = 'api'::regnamespace
          and not m[1] = any (p.proargnames) });

none('every function of the catalogue returns jsonb', q{
    select p.proname from pg_proc p
    where p.pronamespace = 'api'::regnamespace
          and p.prorettype <> 'jsonb'::regtype });

none('and is called by name alone: none has two forms', q{
    select p.proname from pg_proc p
    where p.pronamespace = 'api'::regnamespace
    group by 1 having count(*) > 1 });

none('functions that run as their owner pin the search path', q{
    select p.proname from pg_proc p
    where p.pronamespace in ('usher'::regnamespace, 'api'::regnamespace)
          and (p.prosecdef or p.pronamespace = 'api'::regnamespace)
          and not coalesce(p.proconfig, '{}')
                  @> array['search_path=pg_catalog, pg_temp'] });

none('everything belongs to usher_owner', q{
    select p.proname from pg_proc p
    where p.pronamespace in ('usher'::regnamespace, 'api'::regnamespace)
          and p.proowner <> 'usher_owner'::regrole
    union all
    select c.relname from pg_class c
    where c.relnamespace in ('usher'::regnamespace, 'api'::regnamespace)
          and c.relowner <> 'usher_owner'::regrole });

none('PUBLIC may call nothing', q{
    select p.proname
    from pg_proc p, aclexplode(coalesce(p.proacl,
                                        acldefault('f', p.proowner))) a
    where p.pronamespace in ('usher'::regnamespace, 'api'::regnamespace)
          and a.grantee = 0 });

none('usher_api touches no table', q{
    select c.relname from pg_class c
    where c.relnamespace = 'usher'::regnamespace
          and c.relkind in ('r', 'p', 'v')
          and has_table_privilege('usher_api', c.oid,
                  'select, insert, update, delete, truncate') });

none('and calls only the catalogue', q{
    select p.proname from pg_proc p
    where p.pronamespace = 'usher'::regnamespace
          and has_function_privilege('usher_api', p.oid, 'execute') });

none('reports see no key, no secret, no member', q{
    select n from unnest(array['key', 'secret', 'member', 'audit', 'lease']) n
    where has_table_privilege('usher_report', 'usher.' || n, 'select') });

none('the daemon changes no customer and no money', q{
    select n
    from unnest(array['org', 'plan', 'plan_policy', 'subscription', 'key',
                      'secret', 'member', 'audit', 'usage', 'currency', 'fx', 'account',
                      'ledger_entry', 'ledger_posting', 'cost', 'revenue',
                      'commission_rule', 'commission_line', 'payout_batch', 'payout',
                      'payout_part', 'payout_left']) n
    where has_table_privilege('usher_daemon', 'usher.' || n,
                              'insert, update, delete, truncate') });

none('rights are of functions that exist', q{
    select r.function from usher.right r
    where not exists (select from pg_proc p
                      where p.pronamespace = 'api'::regnamespace
                            and p.proname = r.function) });

done_testing();
