-- 043_react.sql - what is still to be done about what happened.
--
-- A statement that stores events puts an item for each into usher.todo, in
-- its own transaction: so none is forgotten and none is there twice.  Duty
-- react takes items and calls their handlers, which are functions
-- usher.react_<handler>(reference jsonb).  What a handler did and the end of
-- its item are one transaction, each item in a savepoint of its own: one that
-- fails is left for later, and the others go on.
--
-- A handler may be called again for what it did: after a restored backup, or
-- by an operator.  So it is idempotent by what it writes.

create table usher.todo (
    id          bigint generated always as identity primary key,
    handler     text not null check (handler ~ '^[a-z][a-z_]{0,31}$'),
    reference   jsonb not null check (jsonb_typeof(reference) = 'object'),
    created_at  timestamptz not null default clock_timestamp(),
    next_at     timestamptz not null default clock_timestamp(),
    attempts    integer not null default 0 check (attempts >= 0),
    failed_at   timestamptz,
    sqlstate    text,
    error       text check (char_length(error) <= 500),
    constraint todo_failed check ((attempts > 0) = (failed_at is not null))
) with (autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_scale_factor = 0);

create index todo_next on usher.todo (next_at, id);
create index todo_failing on usher.todo (id) where attempts > 0;

comment on table usher.todo is
    'What is to be done about events and the like; what is done goes';
comment on column usher.todo.id is 'Number, in order of making';
comment on column usher.todo.handler is
    'Who does it: the function usher.react_<handler>';
comment on column usher.todo.reference is 'What it is about';
comment on column usher.todo.created_at is 'When it was put here';
comment on column usher.todo.next_at is
    'Not before; infinity: it was given up, until somebody says retry';
comment on column usher.todo.attempts is 'How often it failed';
comment on column usher.todo.failed_at is 'When it last did';
comment on column usher.todo.sqlstate is 'SQLSTATE of that';
comment on column usher.todo.error is 'What it failed for, cut';
comment on constraint todo_failed on usher.todo is
    'What failed did so at some moment';
comment on sequence usher.todo_id_seq is 'Numbers of usher.todo';
comment on index usher.todo_next is 'What is due';
comment on index usher.todo_failing is 'What failed';


create function usher.todo_put(handler text, "references" jsonb[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(cardinality("references"), 0) = 0 then
        return;
    end if;

    insert into usher.todo (handler, reference)
    select todo_put.handler, r.reference
    from unnest("references") with ordinality r (reference, n)
    order by r.n;

    perform pg_notify('usher_react', '');
end
$$;

comment on function usher.todo_put(text, jsonb[]) is
    'Puts an item for each reference, and wakes duty react at the commit';


create function usher.conversion_event_inserted()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    -- With the time of receipt only one day is looked into.
    perform usher.todo_put('conversion',
        (select array_agg(jsonb_build_object(
                              'received_at', n.received_at,
                              'postback_id', n.postback_id,
                              'transaction_id', n.transaction_id,
                              'digest', encode(n.digest, 'hex'))
                          order by n.event_time)
         from new_rows n));
    return null;
end
$$;

comment on function usher.conversion_event_inserted() is
    'Trigger: an item for each new event';

create trigger conversion_event_inserted
    after insert on usher.conversion_event
    referencing new table as new_rows
    for each statement execute function usher.conversion_event_inserted();

comment on trigger conversion_event_inserted on usher.conversion_event is
    'An item for each new event';


-- Mostly the same is said again because the answer was lost; then nothing else
-- was said.  But what is stored may be the repeat, and this what it repeats.  A
-- second later, for what was said first may be in this batch.

create function usher.conversion_again(postback_id bigint,
    transaction_id text, digest bytea, event_time timestamptz)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    stored_at  timestamptz;
begin
    if transaction_id = '' then
        return false;
    end if;

    select k.received_at into stored_at
    from usher.conversion_key k
    where k.postback_id = conversion_again.postback_id
          and k.transaction_id = conversion_again.transaction_id
          and k.digest = conversion_again.digest;

    -- With the time of receipt only one day is looked into.
    if not exists (
           select
           from usher.conversion_key k
           where k.postback_id = conversion_again.postback_id
                 and k.transaction_id = conversion_again.transaction_id
                 and k.digest <> conversion_again.digest)
       and not exists (
           select
           from usher.conversion_event e
           where e.received_at = stored_at
                 and e.postback_id = conversion_again.postback_id
                 and e.transaction_id = conversion_again.transaction_id
                 and e.digest = conversion_again.digest
                 and e.event_time > conversion_again.event_time)
       and not exists (
           select
           from usher.postback p
           join usher.conversion c
                on c.scope = usher.conversion_scope(p.network_id,
                                                    p.program_id)
                   and c.transaction_id = conversion_again.transaction_id
           join usher.conversion_change h on h.conversion_id = c.id
           where p.id = conversion_again.postback_id
                 and split_part(h.key, ':', 3)
                     <> encode(conversion_again.digest, 'hex'))
    then
        return false;
    end if;

    insert into usher.todo (handler, reference, next_at)
    values ('again', jsonb_build_object('postback_id', postback_id,
                'transaction_id', transaction_id,
                'digest', encode(digest, 'hex'), 'at', event_time),
            clock_timestamp() + interval '1 second');

    return true;
end
$$;

comment on function usher.conversion_again(bigint, text, bytea,
    timestamptz) is
    'Puts an item for what is no new event, if anything else was said of its '
    'transaction, or it was said before what is stored: whether it did';


-- What people are to be told of.

create table usher.notification (
    id          bigint generated always as identity primary key,
    org_id      bigint references usher.org,
    what        text not null check (what ~ '^[a-z]+(\.[a-z_]+)+$'),
    payload     jsonb not null check (jsonb_typeof(payload) = 'object'),
    created_at  timestamptz not null default clock_timestamp(),
    sent_at     timestamptz
);

create index notification_unsent on usher.notification (id)
    where sent_at is null;

comment on table usher.notification is
    'The outbox of duty notify: what is to be told to whom, written in the '
    'transaction in which it became so';
comment on column usher.notification.id is 'Number, in order of making';
comment on column usher.notification.org_id is
    'Who is to know; null: the operator';
comment on column usher.notification.what is 'What happened, as todo.given_up';
comment on column usher.notification.payload is 'The particulars';
comment on column usher.notification.created_at is 'When it was written';
comment on column usher.notification.sent_at is
    'When it was sent; null: not yet';
comment on sequence usher.notification_id_seq is
    'Numbers of usher.notification';
comment on index usher.notification_unsent is 'What waits to be sent';


-- Attempts are 1 s, 2 s, 4 s, ... and at last an hour apart: five hours and a
-- half until an item is given up.

create function usher.todo_failed(item bigint, state text, message text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    moment  timestamptz := clock_timestamp();
    t       usher.todo;
begin
    -- It was somebody else's fault: a deadlock, or a lock that was held.
    if state ~ '^(40|55)' then
        update usher.todo u
        set next_at = moment + interval '5 seconds'
        where u.id = item;
        return false;
    end if;

    update usher.todo u
    set attempts = u.attempts + 1, failed_at = moment,
        sqlstate = state, error = left(message, 500),
        next_at = case when u.attempts >= 15 then 'infinity'
                       else moment + make_interval(
                                secs => least(2 ^ u.attempts, 3600)) end
    where u.id = item
    returning * into t;

    if t.next_at < 'infinity' then
        return false;
    end if;

    insert into usher.notification (what, payload)
    values ('todo.given_up',
            jsonb_build_object('id', t.id, 'handler', t.handler,
                'reference', t.reference, 'error', t.error));
    return true;
end
$$;

comment on function usher.todo_failed(bigint, text, text) is
    'Leaves an item for later, or gives it up at the 16th failure: true';


create function usher.react(size integer, out taken bigint,
    out handled bigint, out failed bigint, out given_up bigint,
    out why text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '500ms'
as $$
declare
    until    timestamptz := clock_timestamp() + usher.call_time();
    t        usher.todo;
    state    text;
    message  text;
begin
    taken := 0;
    handled := 0;
    failed := 0;
    given_up := 0;

    for t in
        select u.*
        from usher.todo u
        where u.next_at <= now()
        order by u.next_at, u.id
        limit size
        for update skip locked
    loop
        taken := taken + 1;
        state := '';

        begin
            execute format('select usher.%I($1)', 'react_' || t.handler)
                using t.reference;

            -- What is looked at only at the commit would fail all of them.
            set constraints all immediate;
            set constraints all deferred;

            delete from usher.todo u where u.id = t.id;
            handled := handled + 1;

        exception
            when query_canceled or others then
                get stacked diagnostics state = returned_sqlstate,
                                        message = message_text;
                failed := failed + 1;
                why := format('%s of item %s: %s %s', t.handler, t.id, state,
                              message);
        end;

        if state <> '' then
            given_up := given_up
                        + usher.todo_failed(t.id, state, message)::integer;
        end if;

        -- A statement is timed out but once: the next one would take for ever.
        exit when state = '57014' or clock_timestamp() > until;
    end loop;
end
$$;

comment on function usher.react(integer) is
    'Does what is due, at most so many items, and for some seconds: how many '
    'were taken, were done, failed, were given up, and why the last one '
    'failed.  Several may run at once';


-- It is asked each second, and most of all when there is much to do.

create function usher.react_state(out waiting bigint, out failing bigint,
    out given_up bigint, out lag_ms bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    with failed as (
        select count(*) filter (where t.next_at < 'infinity') as failing,
               count(*) filter (where t.next_at = 'infinity') as given_up
        from (select u.next_at from usher.todo u
              where u.attempts > 0
              limit 100000) t
    ), here as (
        select count(*) as n
        from (select from usher.todo u limit 100000) t
    )
    select case when h.n < 100000 then h.n
                else greatest(h.n, (select c.reltuples::bigint
                                    from pg_class c
                                    where c.oid = 'usher.todo'::regclass))
           end - f.failing - f.given_up,
           f.failing, f.given_up,
           coalesce((select greatest(0, extract(epoch from
                                clock_timestamp() - t.next_at) * 1000)::bigint
                     from usher.todo t
                     where t.next_at < 'infinity'
                     order by t.next_at
                     limit 1), 0)
    from failed f, here h
$$;

comment on function usher.react_state() is
    'Items that nobody has tried, that failed and are tried again, that were '
    'given up; and how long the first is due, in ms.  Of more than 100000 the '
    'first is as the table was last analyzed, and at least that; the others '
    'are no more than that';
