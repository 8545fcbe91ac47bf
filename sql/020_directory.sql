-- 020_directory.sql - what the edge knows: outbox, records, state, leases.
--
-- Statement triggers write the ids of changed records to directory_outbox, at
-- most 1,000 a row, in the transaction of the change.  The directory duty
-- takes rows by FOR UPDATE SKIP LOCKED, reads the records from the tables at
-- that moment and deletes the rows when the records are in Redis.  NOTIFY
-- usher_directory is a hint; polling is the guarantee.
--
-- A change by the clock alone (a subscription starts or ends, a click key is
-- known no longer) is put there by directory_due(), which keep calls.  Expiry
-- is the edge's: it is part of the record.

create table usher.directory_outbox (
    id          bigint generated always as identity primary key,
    kind        text not null,
    ids         text[] not null check (cardinality(ids) between 1 and 1000),
    urgent      boolean not null,
    inserted    boolean not null,
    created_at  timestamptz not null default clock_timestamp()
);

comment on table usher.directory_outbox is
    'Records to be written to Redis; taken by the directory duty';
comment on column usher.directory_outbox.id is 'Order of making';
comment on column usher.directory_outbox.kind is
    'key, plan, link, domain, click_key or postback';
comment on column usher.directory_outbox.ids is
    'Ids of records: hexadecimal digests of keys, numbers of plans, host and '
    'slug of links, hosts, tokens of postbacks; all, of click keys';
comment on column usher.directory_outbox.urgent is
    'Something was taken away (revoked, disabled, narrowed): goes first';
comment on column usher.directory_outbox.inserted is
    'New records only: nobody can hold them, just their absence';
comment on column usher.directory_outbox.created_at is
    'When, for measuring the lag';
comment on sequence usher.directory_outbox_id_seq is
    'Numbers of usher.directory_outbox';


create sequence usher.directory_version;

comment on sequence usher.directory_version is
    'Versions of records; taken before the record is read';


create table usher.directory_state (
    one         boolean primary key default true check (one),
    lineage     text check (lineage ~ '^[0-9a-f]{16}$'),
    nonce       text check (nonce ~ '^[0-9a-f]{16}$'),
    last_nonce  text check (last_nonce ~ '^[0-9a-f]{16}$'),
    change_id   bigint not null default 0,
    run_id      text,
    due_until   timestamptz not null default now()
);

insert into usher.directory_state default values;

comment on table usher.directory_state is
    'The one row of what the directory duty and Redis agree on';
comment on column usher.directory_state.one is 'True: there is one row';
comment on column usher.directory_state.lineage is
    'Names this history of versions; a new one begins when Redis or '
    'PostgreSQL went back';
comment on column usher.directory_state.nonce is 'Nonce of the last batch';
comment on column usher.directory_state.last_nonce is
    'Nonce of the batch before';
comment on column usher.directory_state.change_id is
    'Last id of usher:changes that is known to be there; 0: in a rebuild';
comment on column usher.directory_state.run_id is
    'Of the Redis that has it, until that is started anew';
comment on column usher.directory_state.due_until is
    'Up to when directory_due has looked';


create function usher.directory_put(kind text, ids text[], urgent boolean,
    inserted boolean)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(cardinality(ids), 0) = 0 then
        return;
    end if;

    insert into usher.directory_outbox (kind, ids, urgent, inserted)
    select directory_put.kind, array_agg(u.id order by u.n),
           directory_put.urgent, directory_put.inserted
    from unnest(directory_put.ids) with ordinality as u (id, n)
    group by (u.n - 1) / 1000
    order by (u.n - 1) / 1000;

    perform pg_notify('usher_directory', '');
end
$$;

comment on function usher.directory_put(text, text[], boolean, boolean) is
    'Puts ids into the outbox, at most 1,000 a row';


-- Keys.

create function usher.key_inserted()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.directory_put('key',
        (select array_agg(encode(n.digest, 'hex')) from new_rows n),
        false, true);
    return null;
end
$$;

comment on function usher.key_inserted() is 'Trigger: new keys to the outbox';


create function usher.key_updated()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    r  record;
begin
    -- Whatever may narrow what a key can do is urgent; its plan is not.  The
    -- old digest becomes a tombstone.
    for r in
        select c.urgent, array_agg(distinct encode(c.digest, 'hex')) as ids
        from (
            select unnest(array[o.digest, n.digest]) as digest,
                   (o.digest, o.org_id, o.scopes, o.allow, o.expires_at,
                    o.revoked_at, o.grace_until)
                   is distinct from
                   (n.digest, n.org_id, n.scopes, n.allow, n.expires_at,
                    n.revoked_at, n.grace_until) as urgent
            from old_rows o
            join new_rows n on n.id = o.id
            where (o.digest, o.org_id, o.scopes, o.allow, o.expires_at,
                   o.revoked_at, o.grace_until, o.successor_id, o.plan_id)
                  is distinct from
                  (n.digest, n.org_id, n.scopes, n.allow, n.expires_at,
                   n.revoked_at, n.grace_until, n.successor_id, n.plan_id)
        ) c
        group by c.urgent
        order by c.urgent desc
    loop
        perform usher.directory_put('key', r.ids, r.urgent, false);
    end loop;

    return null;
end
$$;

comment on function usher.key_updated() is
    'Trigger: changed keys to the outbox, if their records changed';


create function usher.key_deleted()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.directory_put('key',
        (select array_agg(encode(o.digest, 'hex')) from old_rows o),
        true, false);
    return null;
end
$$;

comment on function usher.key_deleted() is
    'Trigger: deleted keys to the outbox, for tombstones';


create trigger key_inserted
    after insert on usher.key
    referencing new table as new_rows
    for each statement execute function usher.key_inserted();

create trigger key_updated
    after update on usher.key
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.key_updated();

create trigger key_deleted
    after delete on usher.key
    referencing old table as old_rows
    for each statement execute function usher.key_deleted();

comment on trigger key_inserted on usher.key is 'New keys to the outbox';
comment on trigger key_updated on usher.key is 'Changed keys to the outbox';
comment on trigger key_deleted on usher.key is 'Deleted keys to the outbox';


-- Orgs.

create function usher.org_updated()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    r  record;
begin
    for r in
        select c.urgent, array_agg(encode(k.digest, 'hex')) as ids
        from (
            select n.id, n.disabled_at is not null
                         and o.disabled_at is null as urgent
            from old_rows o
            join new_rows n on n.id = o.id
            where o.name <> n.name
                  or (o.disabled_at is null) <> (n.disabled_at is null)
        ) c
        join usher.key k on k.org_id = c.id
        group by c.urgent
        order by c.urgent desc
    loop
        perform usher.directory_put('key', r.ids, r.urgent, false);
    end loop;

    return null;
end
$$;

comment on function usher.org_updated() is
    'Trigger: all keys of a renamed, disabled or enabled org to the outbox';

create trigger org_updated
    after update on usher.org
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.org_updated();

comment on trigger org_updated on usher.org is
    'Its keys to the outbox when it is disabled or renamed';


-- Plans and their policies.

create function usher.plan_inserted()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.directory_put('plan',
        (select array_agg(n.id::text) from new_rows n), false, true);
    return null;
end
$$;

comment on function usher.plan_inserted() is
    'Trigger: new plans to the outbox';


create function usher.plan_updated()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.directory_put('plan',
        (select array_agg(n.id::text) from new_rows n), false, false);
    return null;
end
$$;

comment on function usher.plan_updated() is
    'Trigger: changed plans to the outbox';


create function usher.plan_deleted()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.directory_put('plan',
        (select array_agg(o.id::text) from old_rows o), false, false);
    return null;
end
$$;

comment on function usher.plan_deleted() is
    'Trigger: deleted plans to the outbox, for tombstones';


create trigger plan_inserted
    after insert on usher.plan
    referencing new table as new_rows
    for each statement execute function usher.plan_inserted();

create trigger plan_updated
    after update on usher.plan
    referencing new table as new_rows
    for each statement execute function usher.plan_updated();

create trigger plan_deleted
    after delete on usher.plan
    referencing old table as old_rows
    for each statement execute function usher.plan_deleted();

comment on trigger plan_inserted on usher.plan is 'New plans to the outbox';
comment on trigger plan_updated on usher.plan is 'Changed plans to the outbox';
comment on trigger plan_deleted on usher.plan is 'Deleted plans to the outbox';


create function usher.plan_policy_changed()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    ids  text[];
begin
    if tg_op = 'INSERT' then
        select array_agg(distinct n.plan_id::text) into ids from new_rows n;

    elsif tg_op = 'DELETE' then
        select array_agg(distinct o.plan_id::text) into ids from old_rows o;

    else
        select array_agg(distinct c.plan_id::text) into ids
        from (select n.plan_id from new_rows n
              union select o.plan_id from old_rows o) c;
    end if;

    perform usher.directory_put('plan', ids, false, false);
    return null;
end
$$;

comment on function usher.plan_policy_changed() is
    'Trigger: plans whose policies changed to the outbox';

create trigger plan_policy_inserted
    after insert on usher.plan_policy
    referencing new table as new_rows
    for each statement execute function usher.plan_policy_changed();

create trigger plan_policy_updated
    after update on usher.plan_policy
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.plan_policy_changed();

create trigger plan_policy_deleted
    after delete on usher.plan_policy
    referencing old table as old_rows
    for each statement execute function usher.plan_policy_changed();

comment on trigger plan_policy_inserted on usher.plan_policy is
    'Plans with a new policy to the outbox';
comment on trigger plan_policy_updated on usher.plan_policy is
    'Plans with a changed policy to the outbox';
comment on trigger plan_policy_deleted on usher.plan_policy is
    'Plans with a policy less to the outbox';


-- Subscriptions.

create function usher.directory_put_orgs(orgs bigint[])
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    select usher.directory_put('key', array_agg(encode(k.digest, 'hex')),
                               false, false)
    from usher.key k
    where k.org_id = any (orgs) and k.plan_id is null
$$;

comment on function usher.directory_put_orgs(bigint[]) is
    'Puts the keys of these orgs that have no plan of their own into the '
    'outbox';


create function usher.subscription_changed()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    orgs  bigint[];
begin
    if tg_op = 'INSERT' then
        select array_agg(distinct n.org_id) into orgs from new_rows n;

    elsif tg_op = 'DELETE' then
        select array_agg(distinct o.org_id) into orgs from old_rows o;

    else
        select array_agg(distinct c.org_id) into orgs
        from (select n.org_id from new_rows n
              union select o.org_id from old_rows o) c;
    end if;

    perform usher.directory_put_orgs(orgs);
    return null;
end
$$;

comment on function usher.subscription_changed() is
    'Trigger: keys of orgs whose subscription changed to the outbox';

create trigger subscription_inserted
    after insert on usher.subscription
    referencing new table as new_rows
    for each statement execute function usher.subscription_changed();

create trigger subscription_updated
    after update on usher.subscription
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.subscription_changed();

create trigger subscription_deleted
    after delete on usher.subscription
    referencing old table as old_rows
    for each statement execute function usher.subscription_changed();

comment on trigger subscription_inserted on usher.subscription is
    'Keys of an org with a new subscription to the outbox';
comment on trigger subscription_updated on usher.subscription is
    'Keys of an org with a changed one to the outbox';
comment on trigger subscription_deleted on usher.subscription is
    'Keys of an org with one less to the outbox';


-- TRUNCATE shows a trigger no rows.

create function usher.directory_no_truncate()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'usher.% cannot be truncated: the edges would not hear',
        tg_table_name
        using hint = 'Use DELETE.';
end
$$;

comment on function usher.directory_no_truncate() is
    'Trigger: refuses TRUNCATE of what the edges know';

create trigger no_truncate before truncate on usher.org
    for each statement execute function usher.directory_no_truncate();
create trigger no_truncate before truncate on usher.plan
    for each statement execute function usher.directory_no_truncate();
create trigger no_truncate before truncate on usher.plan_policy
    for each statement execute function usher.directory_no_truncate();
create trigger no_truncate before truncate on usher.subscription
    for each statement execute function usher.directory_no_truncate();
create trigger no_truncate before truncate on usher.key
    for each statement execute function usher.directory_no_truncate();

comment on trigger no_truncate on usher.org is
    'Refuses what the edges would not hear of';
comment on trigger no_truncate on usher.plan is
    'Refuses what the edges would not hear of';
comment on trigger no_truncate on usher.plan_policy is
    'Refuses what the edges would not hear of';
comment on trigger no_truncate on usher.subscription is
    'Refuses what the edges would not hear of';
comment on trigger no_truncate on usher.key is
    'Refuses what the edges would not hear of';


create function usher.directory_due()
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    since  timestamptz;
    till   timestamptz;
    orgs   bigint[];
begin
    -- The clock is read under the row's lock, so moments are seen once.
    select s.due_until into since from usher.directory_state s for update;
    till := clock_timestamp();

    select array_agg(distinct s.org_id) into orgs
    from usher.subscription s
    where (s.starts_at > since and s.starts_at <= till)
          or (s.ends_at > since and s.ends_at <= till);

    if orgs is not null then
        perform usher.directory_put_orgs(orgs);
    end if;

    if exists (select from usher.secret s
               where s.kind = 'click'
                     and usher.click_key_until(s.retired_at) > since
                     and usher.click_key_until(s.retired_at) <= till)
    then
        perform usher.directory_put('click_key', array['all'], true, false);
    end if;

    update usher.directory_state set due_until = till;

    return coalesce(cardinality(orgs), 0);
end
$$;

comment on function usher.directory_due() is
    'Puts keys into the outbox whose org''s subscription began or ended by '
    'the clock since the last call, and the click keys if one is known no '
    'longer; returns how many orgs';


-- Records.  The clock is that of the moment: a transaction that began before
-- a subscription did must not write the record of before.

create function usher.directory_records(kind text, ids text[])
returns table (id text, record jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    moment  timestamptz := clock_timestamp();
begin
    if kind = 'key' then
        return query
        select u.id,
               jsonb_build_object(
                   'id', k.id,
                   'org', o.name,
                   'org_id', o.id,
                   'plan_id', coalesce(k.plan_id, s.plan_id),
                   'scope', array_to_string(k.scopes, ' '),
                   'allow', array_to_string(k.allow, ' '),
                   'exp', case when e.ends < 'epoch' then 0
                               when e.ends <= moment
                                   then floor(extract(epoch
                                                      from e.ends))::bigint
                               else ceil(extract(epoch from e.ends))::bigint
                          end,
                   'state', case when k.revoked_at is not null then 'revoked'
                                 when o.disabled_at is not null
                                     then 'disabled'
                                 when k.grace_until <= moment then 'rotated'
                                 else 'active' end)
               || case when k.grace_until <= coalesce(k.expires_at,
                                                      'infinity')
                       then '{"rot": 1}'::jsonb else '{}'::jsonb end
        from unnest(ids) as u (id)
        join usher.key k
             on u.id ~ '^[0-9a-f]{64}$'
             and k.digest = decode(case when u.id ~ '^[0-9a-f]{64}$'
                                        then u.id else '' end, 'hex')
        join usher.org o on o.id = k.org_id
        -- Whole seconds: a key ends no sooner than it should, but what has
        -- ended does not live to the end of its second.  Infinity is no
        -- number: it would stop the records of all.
        cross join lateral (
            select nullif(least(k.expires_at, k.grace_until), 'infinity')
        ) as e (ends)
        left join usher.subscription s
             on k.plan_id is null and s.org_id = o.id
             and s.starts_at <= moment
             and (s.ends_at > moment or s.ends_at is null);

    elsif kind = 'plan' then
        return query
        select u.id,
               jsonb_build_object('id', p.id, 'name', p.name, 'policies',
                   coalesce(
                       (select jsonb_agg(jsonb_build_object(
                                   'name', y.name, 'quota', y.quota,
                                   'window', y.window_s, 'burst', y.burst,
                                   'scope', y.scope, 'bucket', y.bucket)
                               order by y.scope, y.bucket)
                        from usher.plan_policy y where y.plan_id = p.id),
                       '[]'::jsonb))
        from unnest(ids) as u (id)
        join usher.plan p
             on u.id ~ '^[0-9]{1,18}$'
             and p.id = case when u.id ~ '^[0-9]{1,18}$'
                             then u.id::bigint end;

    elsif kind = 'link' then
        return query select * from usher.link_records(ids);

    elsif kind = 'domain' then
        return query select * from usher.domain_records(ids);

    elsif kind = 'click_key' then
        return query select * from usher.click_key_records(ids);

    elsif kind = 'postback' then
        return query select * from usher.postback_records(ids);

    else
        raise exception 'no records of kind "%"', kind
            using hint = 'Kinds are key, plan, link, domain, click_key and '
                         'postback.';
    end if;
end
$$;

comment on function usher.directory_records(text, text[]) is
    'The records of these ids as they are at this moment, without version '
    'and lineage; an id without a row here has no record';


create function usher.directory_slice(kind text, rows bigint[],
    first integer, last integer)
returns table (id text, urgent integer, inserted integer, record text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    with changed as materialized (
        select i as id, bool_or(o.urgent)::integer as urgent,
               bool_and(o.inserted)::integer as inserted
        from usher.directory_outbox o, unnest(o.ids[first : last]) i
        where o.id = any (rows) and o.kind = directory_slice.kind
        group by i
    )
    select c.id, c.urgent, c.inserted, r.record::text
    from changed c
    left join usher.directory_records(directory_slice.kind,
                  array(select x.id from changed x)) r on r.id = c.id;
end
$$;

comment on function usher.directory_slice(text, bigint[], integer, integer) is
    'Of these rows of the outbox the records of a kind whose ids have such a '
    'place there; null: it is gone';


create function usher.directory_record(kind text, id text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select r.record from usher.directory_records(kind, array[id]) r
$$;

comment on function usher.directory_record(text, text) is
    'One record, or null if there is none';


create function usher.directory_ids(kind text)
returns setof text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if kind = 'key' then
        return query select encode(k.digest, 'hex') from usher.key k;

    elsif kind = 'plan' then
        return query select p.id::text from usher.plan p;

    elsif kind = 'link' then
        return query
        select usher.link_id(l.host, l.slug) from usher.link l;

    elsif kind = 'domain' then
        return query select d.host from usher.domain d;

    elsif kind = 'click_key' then
        return query select 'all';

    elsif kind = 'postback' then
        return query select p.token from usher.postback p;

    else
        raise exception 'no records of kind "%"', kind
            using hint = 'Kinds are key, plan, link, domain, click_key and '
                         'postback.';
    end if;
end
$$;

comment on function usher.directory_ids(text) is
    'All ids of a kind, for a full rebuild';


create function usher.directory_page(kind text, after text)
returns setof text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if kind = 'key' then
        return query
        select encode(k.digest, 'hex') from usher.key k
        where k.digest > decode(coalesce(after, ''), 'hex')
        order by k.digest limit 1000;

    elsif kind = 'plan' then
        return query
        select p.id::text from usher.plan p
        where p.id > coalesce(after, '0')::bigint
        order by p.id limit 1000;

    elsif kind = 'link' then
        return query
        select usher.link_id(l.host, l.slug) from usher.link l
        where (l.host, l.slug)
              > (split_part(coalesce(after, '/'), '/', 1),
                 substr(coalesce(after, '/'),
                        strpos(coalesce(after, '/'), '/') + 1))
        order by l.host, l.slug limit 1000;

    elsif kind = 'domain' then
        return query
        select d.host from usher.domain d
        where d.host > coalesce(after, '')
        order by d.host limit 1000;

    elsif kind = 'click_key' then
        return query select 'all' where after is null;

    elsif kind = 'postback' then
        return query
        select p.token from usher.postback p
        where p.token > coalesce(after, '')
        order by p.token limit 1000;

    else
        raise exception 'no records of kind "%"', kind
            using hint = 'Kinds are key, plan, link, domain, click_key and '
                         'postback.';
    end if;
end
$$;

comment on function usher.directory_page(text, text) is
    'The next ids of a kind behind one, at most 1,000: to look for records '
    'that are missing';


-- Leases.

create table usher.lease (
    name     text primary key,
    owner    text not null,
    until    timestamptz not null,
    seconds  integer not null check (seconds >= 0),
    attempt  bigint not null
) with (fillfactor = 50);

comment on table usher.lease is 'Who does what, until when';
comment on column usher.lease.name is 'What is claimed: flush:<slot>, ...';
comment on column usher.lease.owner is 'Which process; empty: given back';
comment on column usher.lease.until is 'When the claim ends by itself';
comment on column usher.lease.seconds is 'For how long it was claimed';
comment on column usher.lease.attempt is
    'Grows with every change of owner: the fencing token';


create function usher.lease_take(name text, owner text, seconds integer)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
    -- A lease that lies further ahead than it was claimed for is of a clock
    -- that has gone back since; twice, as a small step back takes none away
    -- from who holds it.
    insert into usher.lease as l (name, owner, until, seconds, attempt)
    values (lease_take.name, lease_take.owner,
            clock_timestamp() + make_interval(secs => lease_take.seconds),
            lease_take.seconds, 1)
    on conflict on constraint lease_pkey do update
        set owner = excluded.owner,
            until = clock_timestamp()
                    + make_interval(secs => excluded.seconds),
            seconds = excluded.seconds,
            attempt = l.attempt + (l.owner <> excluded.owner)::integer
        where l.owner in ('', excluded.owner) or l.until < clock_timestamp()
              or l.until > clock_timestamp()
                           + make_interval(secs => 2 * l.seconds)
    returning l.attempt
$$;

comment on function usher.lease_take(text, text, integer) is
    'Claims or extends a lease; returns the fencing token, or null if '
    'somebody else holds it';


create function usher.lease_drop(name text, owner text)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
    with given as (
        update usher.lease l
        set owner = '', until = clock_timestamp()
        where l.name = lease_drop.name and l.owner = lease_drop.owner
        returning 1
    )
    select exists (select from given)
$$;

comment on function usher.lease_drop(text, text) is
    'Gives a lease back; false if it was not held';
