-- 082_api_journal.sql - nouns journal, event, usage, audit, directory, lease.
-- What settles a gap, a fork or a quarantined line is in 083_api_settle.sql.

create function usher.slot_for(slot text)
returns uuid
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found_slot  uuid;
begin
    if slot ~* '^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$'
    then
        select j.slot into found_slot from usher.journal j
        where j.slot = slot_for.slot::uuid;
    end if;

    if found_slot is null then
        perform usher.fail('404', format('there is no slot "%s"', slot),
            'journal_list shows all.');
    end if;

    return found_slot;
end
$$;

comment on function usher.slot_for(text) is 'The slot of this id';


create function usher.slot_text(slot uuid)
returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select replace(slot::text, '-', '')
$$;

comment on function usher.slot_text(uuid) is
    'A slot as the journal''s directory and the stream are named';


create function api.journal_list(state text default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
    perform usher.authorize('journal_list', null);

    perform usher.text_ok('state', coalesce(state, 'live'),
        '^(live|ended|forked|stopped)$',
        'States are live, ended, forked and stopped.');

    return (select coalesce(jsonb_agg(jsonb_build_object(
                                'slot', usher.slot_text(j.slot),
                                'node', j.node, 'state', j.state,
                                'reason', j.reason, 'position', j.position,
                                'lines', j.lines, 'last_event', j.last_event,
                                'first_seen', j.first_seen,
                                'moved', j.moved_at,
                                'announced', j.announced_at)
                            order by j.first_seen, j.slot), '[]')
            from usher.journal j
            where journal_list.state is null
                  or j.state = journal_list.state);
end
$$;

comment on function api.journal_list(text) is
'Lists the slots of the edges'' journals, and how far each is stored.
state: only live, ended, forked or stopped ones';


-- The proof.  Being one statement it sees one moment, so flush may go on.
--
-- An id that the edge made is there once.  One that usher_request_id names may
-- be a client's, who may repeat it as often as it likes: rows that have it
-- again are suspected only where there are more rows than events.

create function api.journal_verify(since timestamptz default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    v         jsonb;
    problems  text[] := '{}';
begin
    perform usher.authorize('journal_verify', null);

    with slots as (
        select j.slot, j.node, j.state, j.reason, j.position, j.lines,
               j.losers,
               (select count(*) from usher.journal_gap g
                where g.slot = j.slot
                      and not exists (select from usher.settled d
                                      where d.gap_id = g.id)) as gaps,
               (select count(*) from usher.quarantine q
                where q.slot = j.slot
                      and not exists (select from usher.settled d
                                      where d.quarantine_id = q.id))
               as quarantined,
               j.state = 'forked'
               and not exists (select from usher.settled d
                               where d.slot = j.slot) as forked
        from usher.journal j
    ), stored as (
        select (select count(*) from usher.request) as request,
               (select count(*) from usher.click) as click,
               (select count(*) from usher.hook) as hook,
               (select count(*) from usher.conversion_event) as conversion,
               (select count(*) from usher.part) as part,
               (select coalesce(sum(p.rows), 0)::bigint
                from usher.partition_gone p
                where p.table_name <> 'conversion_key') as dropped,
               (select coalesce(sum(p.rows), 0)::bigint
                from usher.partition_gone p
                where p.table_name = 'request') as dropped_requests,
               (select count(*) from usher.quarantine)
               - (select count(*) from usher.settled d where d.stored)
               as quarantined
    ), settled as (
        select count(d.gap_id) as gaps,
               coalesce(sum(g.to_position - g.from_position), 0)::bigint
               as gap_bytes,
               count(*) filter (where d.stored) as stored,
               count(d.quarantine_id) filter (where not d.stored) as given_up,
               count(d.slot) as forked
        from usher.settled d
        left join usher.journal_gap g on g.id = d.gap_id
    ), again as (
        select r.request_id, r.flags & 4 = 0 as ours, count(*) as n
        from usher.request r
        where r.request_id <> ''
              and r.received_at >= coalesce(since, '-infinity')
        group by r.request_id, r.node, r.event_time, r.flags & 4
        having count(*) > 1
        union all
        select c.click_id, true, count(*)
        from usher.click c
        where c.click_id <> ''
              and c.received_at >= coalesce(since, '-infinity')
        group by c.click_id
        having count(*) > 1
        union all
        -- Long after, what comes again is a row again: its key is gone.
        select v.transaction_id, true, count(*) + 1
        from (select e.postback_id, e.transaction_id, e.digest,
                     e.received_at - lag(e.received_at)
                         over (partition by e.postback_id, e.transaction_id,
                                            e.digest
                               order by e.received_at) as later
              from usher.conversion_event e
              where e.received_at >= coalesce(since, '-infinity')) v
        where v.later < usher.repeat_time()
        group by v.postback_id, v.transaction_id, v.digest
    ), sums as (
        select coalesce(sum(u.requests), 0)::bigint as requests
        from (select d.requests from usher.usage_delta d
              union all
              select f.requests from usher.usage f) u
    ), journal as (
        select coalesce(sum(s.lines), 0)::bigint as lines,
               coalesce(sum(s.losers), 0)::bigint as losers
        from slots s
    ), books as (
        select j.lines - j.losers - t.quarantined - t.request - t.click
               - t.hook - t.conversion - t.part - t.dropped as missing
        from stored t, journal j
    ), twice as (
        select a.request_id, a.n
        from again a, books b
        where a.ours or b.missing < 0
    )
    select jsonb_build_object(
        'events', j.lines,
        'rows', to_jsonb(t),
        'unique_losers', j.losers,
        'missing', b.missing,
        'duplicates', (select coalesce(sum(w.n - 1), 0) from twice w),
        'duplicate_ids', (select coalesce(jsonb_agg(x.request_id), '[]')
                          from (select w.request_id from twice w
                                order by w.request_id limit 20) x),
        'repeated', (select coalesce(sum(a.n - 1), 0) from again a
                     where not a.ours),
        'summed', u.requests,
        'sum_difference', t.request + t.dropped_requests - u.requests,
        'hook_difference', (select count(*) from usher.hook_key) - t.hook
            - (select coalesce(sum(p.rows), 0)::bigint
               from usher.partition_gone p where p.table_name = 'hook'),
        'conversion_difference',
            (select count(*) from usher.conversion_key) - t.conversion
            + (select coalesce(sum(case p.table_name
                                       when 'conversion_key' then p.rows
                                       else -p.rows end), 0)::bigint
               from usher.partition_gone p
               where p.table_name in ('conversion_key', 'conversion_event')),
        'gaps', (select coalesce(sum(s.gaps), 0) from slots s),
        'gap_bytes', (select coalesce(sum(g.to_position - g.from_position), 0)
                      from usher.journal_gap g) - d.gap_bytes,
        'quarantined', (select coalesce(sum(s.quarantined), 0) from slots s),
        'forked', (select count(*) from slots s where s.forked),
        'settled', to_jsonb(d),
        'stopped', (select count(*) from slots s where s.state = 'stopped'),
        'silent', (select coalesce(jsonb_agg(usher.slot_text(l.slot)
                                             order by l.slot), '[]')
                   from usher.journal_silent l),
        'slots', (select coalesce(jsonb_agg(jsonb_build_object(
                             'slot', usher.slot_text(s.slot),
                             'node', s.node, 'state', s.state,
                             'reason', s.reason, 'position', s.position,
                             'events', s.lines, 'gaps', s.gaps,
                             'quarantined', s.quarantined)
                         order by s.slot), '[]')
                  from slots s))
    into v
    from stored t, journal j, books b, sums u, settled d;

    problems := array_remove(array[
        case when (v->>'missing')::bigint > 0
             then format('%s events have no row', v->>'missing') end,
        case when (v->>'missing')::bigint < 0
             then format('%s rows have no event',
                         -(v->>'missing')::bigint) end,
        case when (v->>'duplicates')::bigint > 0
             then format('%s rows are there again', v->>'duplicates') end,
        case when (v->>'sum_difference')::bigint <> 0
             then format('sums differ from rows by %s',
                         v->>'sum_difference') end,
        case when (v->>'hook_difference')::bigint <> 0
             then format('keys of hooks differ from rows by %s',
                         v->>'hook_difference') end,
        case when (v->>'conversion_difference')::bigint <> 0
             then format('keys of conversions differ from rows by %s',
                         v->>'conversion_difference') end,
        case when (v->>'gaps')::bigint > 0
             then format('%s gaps, %s bytes', v->>'gaps',
                         v->>'gap_bytes') end,
        case when (v->>'quarantined')::bigint > 0
             then format('%s events in quarantine', v->>'quarantined') end,
        case when (v->>'forked')::bigint > 0
             then format('%s slots are forked', v->>'forked') end,
        case when (v->>'stopped')::bigint > 0
             then format('%s slots are stopped', v->>'stopped') end,
        case when jsonb_array_length(v->'silent') > 0
             then format('%s live slots were not announced for an hour',
                         jsonb_array_length(v->'silent')) end
        ]::text[], null);

    return jsonb_build_object('ok', cardinality(problems) = 0,
                              'problems', to_jsonb(problems))
           || v;
end
$$;

comment on function api.journal_verify(timestamptz) is
'Proves that every event taken from a journal is one row, once: events are
held against rows, quarantine and dropped days, rows against their sums, and
no row is there twice.  ok is true if nothing is wrong; problems says what is,
settled what was and is settled, repeated how many rows have an id again that
usher_request_id took from a client.  Reads every row.
since: look for rows that are there twice only among those stored since';


create function api.journal_skip(slot text, "to" bigint, reason text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    j  usher.journal;
begin
    perform usher.authorize('journal_skip', null);

    select l.* into j from usher.journal l
    where l.slot = usher.slot_for(journal_skip.slot)
    for update;

    if j.state in ('forked', 'ended') then
        perform usher.fail('409', format('the slot is %s', j.state),
            'Only a live or a stopped slot can go on behind a loss.');
    end if;

    if "to" is null or "to" <= j.position then
        perform usher.fail('400',
            format('to=%s cannot be: the slot is stored up to %s', "to",
                   j.position),
            'Give a position behind it; the alert names the next good one.');
    end if;

    perform usher.reason_ok(reason);

    insert into usher.journal_gap (slot, from_position, to_position, reason)
    values (j.slot, j.position, "to", reason);

    update usher.journal u
    set position = "to", rechain = true, state = 'live', reason = null,
        moved_at = now()
    where u.slot = j.slot;

    perform usher.note('journal_skip', null,
        jsonb_build_object('slot', usher.slot_text(j.slot),
            'from', j.position, 'to', "to", 'reason', reason));

    return jsonb_build_object('slot', usher.slot_text(j.slot),
                              'from', j.position, 'to', "to");
end
$$;

comment on function api.journal_skip(text, bigint, text) is
'Gives up a part of a slot that cannot be stored, and lets it go on behind it.
The loss is recorded as a gap.
slot: id of the slot
to: position to go on from: where a line begins
reason: why, kept with the gap';


create function api.journal_resume(slot text, reason text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted  uuid;
    was     text;
begin
    perform usher.authorize('journal_resume', null);
    perform usher.reason_ok(reason);

    wanted := usher.slot_for(slot);

    select j.state into was from usher.journal j
    where j.slot = wanted for update;

    if was <> 'stopped' then
        perform usher.fail('409', format('the slot is %s', was),
            'Only a stopped slot can be resumed.');
    end if;

    update usher.journal u set state = 'live', reason = null
    where u.slot = wanted;

    perform usher.note('journal_resume', null,
        jsonb_build_object('slot', usher.slot_text(wanted),
                           'reason', reason));

    return jsonb_build_object('slot', usher.slot_text(wanted),
                              'state', 'live');
end
$$;

comment on function api.journal_resume(text, text) is
'Lets a stopped slot go on where it stopped, once its cause is gone.
slot: id of the slot
reason: why, for the audit row';


create function api.journal_end(slot text, reason text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    j  usher.journal;
begin
    perform usher.authorize('journal_end', null);
    perform usher.reason_ok(reason);

    select l.* into j from usher.journal l
    where l.slot = usher.slot_for(journal_end.slot)
    for update;

    if not exists (select from usher.journal_silent s where s.slot = j.slot)
    then
        perform usher.fail('409',
            format('the slot is %s, announced at %s', j.state,
                   j.announced_at),
            'Only a live slot that no edge has announced for an hour can be '
            'given up; journal_verify lists these as silent.');
    end if;

    insert into usher.journal_gap (slot, from_position, reason)
    values (j.slot, j.position, journal_end.reason);

    update usher.journal u set state = 'ended' where u.slot = j.slot;

    perform usher.note('journal_end', null,
        jsonb_build_object('slot', usher.slot_text(j.slot),
            'from', j.position, 'reason', reason));

    return jsonb_build_object('slot', usher.slot_text(j.slot),
                              'from', j.position, 'state', 'ended');
end
$$;

comment on function api.journal_end(text, text) is
'Gives up what a live slot may still have held, once no edge has announced it
for an hour: its disk is gone, or it was removed after the moment to which the
database was restored.  The loss is recorded as a gap without end.  Should the
slot be announced again, it goes on.
slot: id of the slot
reason: why, kept with the gap';


-- Events and sums.

create function usher.whose(function text, org text, key text,
    out org_id bigint, out key_id bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if key is not null then
        select k.id, k.org_id into whose.key_id, whose.org_id
        from usher.key_for(function, key) k;

        if org is not null
           and (usher.org_for(function, org)).id <> whose.org_id
        then
            perform usher.fail('400', 'the key is another org''s',
                'Leave out org=.');
        end if;

    elsif org is not null then
        whose.org_id := (usher.org_for(function, org)).id;

    else
        perform usher.authorize(function, null);
    end if;
end
$$;

comment on function usher.whose(text, text, text) is
    'Org and key that are asked about, if the actor may; null: all';


create function api.event_list(org text default null, key text default null,
    request text default null, since timestamptz default null,
    until timestamptz default null, "limit" integer default 50)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    w     record;
    size  integer := usher.page("limit");
    t0    timestamptz := coalesce(since, now() - interval '1 day');
    t1    timestamptz := coalesce(until, 'infinity');
begin
    select * into w from usher.whose('event_list', org, key);

    -- A row is stored after its event; the hour is for clocks that differ.
    return (select coalesce(jsonb_agg(l.shown
                                      order by l.event_time desc), '[]')
            from (select r.event_time, jsonb_build_object(
                             'time', r.event_time, 'request', r.request_id,
                             'org', o.name, 'key', r.key_id,
                             'method', r.method, 'host', r.host,
                             'uri', r.uri, 'route', r.route,
                             'status', r.status, 'auth', r.auth_status,
                             'limit', r.limit_status, 'units', r.units,
                             'bytes', r.bytes_sent, 'ms', r.duration_ms,
                             'address', host(r.address), 'node', r.node)
                         as shown
                  from usher.request r
                  left join usher.org o on o.id = r.org_id
                  where r.received_at >= t0 - interval '1 hour'
                        and r.event_time >= t0 and r.event_time < t1
                        and (w.key_id is null or r.key_id = w.key_id)
                        and (w.org_id is null or r.org_id = w.org_id)
                        and (request is null or r.request_id = request)
                  order by r.event_time desc
                  limit size) l);
end
$$;

comment on function api.event_list(text, text, text, timestamptz,
    timestamptz, integer) is
'Lists requests, the newest first.
org: only of this org; the operator may leave it out
key: only of this key: its id, display, digest, or the key itself
request: only the one of this request id
since: from this moment on, by default the last day
until: before this moment
limit: at most so many';


create function api.usage_show(org text default null, key text default null,
    "from" timestamptz default null, "to" timestamptz default null,
    by text default 'day')
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    w   record;
    t0  timestamptz := coalesce("from", now() - interval '31 days');
    t1  timestamptz := coalesce("to", 'infinity');
begin
    if by not in ('hour', 'day', 'month', 'key', 'route', 'status')
       or by is null
    then
        perform usher.fail('400',
            format('by="%s" cannot be', left(by, 60)),
            'Sums are by hour, day, month, key, route or status.');
    end if;

    select * into w from usher.whose('usage_show', org, key);

    return (select coalesce(jsonb_agg(jsonb_build_object(
                                'org', o.name, by, g.part,
                                'requests', g.requests, 'units', g.units,
                                'bytes', g.bytes, 'ms', g.ms)
                            order by o.name, g.part), '[]')
            from (select u.org_id,
                         case when by in ('hour', 'day', 'month')
                              then to_jsonb(date_trunc(by, u.hour, 'UTC'))
                              when by = 'key' then to_jsonb(u.key_id)
                              when by = 'route' then to_jsonb(u.route)
                              else to_jsonb(u.status) end as part,
                         sum(u.requests)::bigint as requests,
                         sum(u.units)::bigint as units,
                         sum(u.bytes_sent)::bigint as bytes,
                         sum(u.duration_ms)::bigint as ms
                  from usher.usage_total u
                  where u.hour >= date_trunc('hour', t0, 'UTC')
                        and u.hour < t1
                        and (w.key_id is null or u.key_id = w.key_id)
                        and (w.org_id is null or u.org_id = w.org_id)
                  group by 1, 2) g
            left join usher.org o on o.id = g.org_id);
end
$$;

comment on function api.usage_show(text, text, timestamptz, timestamptz,
    text) is
'Shows sums of requests, units, bytes and time, per org.
org: only of this org; the operator may leave it out
key: only of this key: its id, display, digest, or the key itself
from: from the hour of this moment on, by default the last 31 days
to: before this moment
by: hour, day, month, key, route or status';


create function api.usage_total(org text default null,
    key text default null, "from" timestamptz default null,
    "to" timestamptz default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    w   record;
    t0  timestamptz := coalesce("from", '-infinity');
    t1  timestamptz := coalesce("to", 'infinity');
begin
    select * into w from usher.whose('usage_total', org, key);

    return (select jsonb_build_object(
                       'requests', coalesce(sum(u.requests), 0),
                       'units', coalesce(sum(u.units), 0),
                       'bytes', coalesce(sum(u.bytes_sent), 0),
                       'ms', coalesce(sum(u.duration_ms), 0),
                       'errors', coalesce(sum(u.requests)
                                          filter (where u.status >= 500), 0),
                       'refused', coalesce(sum(u.requests)
                                           filter (where u.status
                                                   in (401, 403, 429)), 0))
            from usher.usage_total u
            where u.hour >= date_trunc('hour', t0, 'UTC') and u.hour < t1
                  and (w.key_id is null or u.key_id = w.key_id)
                  and (w.org_id is null or u.org_id = w.org_id));
end
$$;

comment on function api.usage_total(text, text, timestamptz, timestamptz) is
'Shows the sums over a time, by default over all that is kept.
org: only of this org; the operator may leave it out
key: only of this key: its id, display, digest, or the key itself
from: from the hour of this moment on
to: before this moment';


-- Audit, and the machinery's state.

create function api.audit_list(org text default null,
    "limit" integer default 100, before bigint default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org;
begin
    if org is null then
        perform usher.authorize('audit_list', null);
    else
        o := usher.org_for('audit_list', org);
    end if;

    return (select coalesce(jsonb_agg(l.shown order by l.id desc), '[]')
            from (select a.id, jsonb_build_object(
                             'id', a.id, 'at', a.at, 'actor', a.actor,
                             'function', a.function, 'org', n.name,
                             'arguments', a.arguments) as shown
                  from usher.audit a
                  left join usher.org n on n.id = a.org_id
                  where (before is null or a.id < before)
                        and (o.id is null or a.org_id = o.id)
                  order by a.id desc
                  limit usher.page("limit")) l);
end
$$;

comment on function api.audit_list(text, integer, bigint) is
'Lists who changed what, the newest first.
org: only of this org; the operator may leave it out
limit: at most so many
before: go on before this id';


create function api.directory_show()
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
    perform usher.authorize('directory_show', null);

    return (select jsonb_build_object(
                       'lineage', s.lineage, 'change', s.change_id,
                       'waiting', o.rows, 'oldest', o.oldest,
                       'urgent', o.urgent)
            from usher.directory_state s,
                 (select count(*) as rows, min(q.created_at) as oldest,
                         count(*) filter (where q.urgent) as urgent
                  from usher.directory_outbox q) o);
end
$$;

comment on function api.directory_show() is
'Shows how far the edges'' directory is: changes that wait to be written.';


create function api.lease_list()
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
    perform usher.authorize('lease_list', null);

    return (select coalesce(jsonb_agg(jsonb_build_object(
                                'name', l.name, 'owner', l.owner,
                                'until', l.until, 'attempt', l.attempt)
                            order by l.name), '[]')
            from usher.lease l
            where l.until > clock_timestamp());
end
$$;

comment on function api.lease_list() is
'Lists which process of usherd does what.';


insert into usher.right (function, role)
select f, r
from (values
    ('event_list', array['owner', 'admin', 'analyst']),
    ('usage_show', array['owner', 'admin', 'analyst']),
    ('usage_total', array['owner', 'admin', 'analyst']),
    ('audit_list', array['owner', 'admin', 'analyst'])
) as v (f, roles), unnest(roles) r;
