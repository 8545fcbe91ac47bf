-- 050_keep.sql - what duty keep calls, each as a transaction of its own.

create function usher.keep_partitions()
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    made     integer := usher.partitions_ahead();
    dropped  integer;
begin
    -- Whatever becomes of the old, the coming days stay made.
    begin
        dropped := usher.partition_retention();
    exception
        when query_canceled or others then
            raise warning 'retention waits: %', sqlerrm;
    end;

    return jsonb_build_object('made', made, 'dropped', dropped);
end
$$;

comment on function usher.keep_partitions() is
    'Makes partitions ahead and drops those past retention';


-- A part comes before the event that closes it, from the same slot.  Without
-- one it waits as long as usher.retention says, and longer while its slot
-- stands where that part was the last thing stored: the event may be next.

create function usher.keep_parts()
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    until    timestamptz := clock_timestamp() + usher.call_time();
    old      timestamptz := usher.moment() - (select t.keep
                                              from usher.retention t
                                              where t.table_name = 'part');
    taken    bigint;
    dropped  bigint := 0;
    r        record;
begin
    for r in
        select b.id, b.first, b.last
        from (select p.id, min(p.received_at) as first,
                     max(p.received_at) as last
              from usher.part p
              group by p.id) b
        where b.last < old
              and not exists (select from usher.hook h
                              where h.id = b.id and h.parts > 0)
              and not exists (select from usher.journal j
                              where j.moved_at = b.last
                                    and j.state <> 'ended')
              and not exists (select from usher.partition_count c
                              where c.table_name = 'part'
                                    and c.day between b.first::date
                                                  and b.last::date)
    loop
        with gone as (
            delete from usher.part p
            where p.id = r.id and p.received_at between r.first and r.last
            returning p.received_at::date as day
        ), noted as (
            insert into usher.partition_gone as g (table_name, day, rows)
            select 'part', d.day, count(*) from gone d group by d.day
            on conflict on constraint partition_gone_pkey do update
                set rows = g.rows + excluded.rows, at = excluded.at
        )
        select count(*) into taken from gone;

        dropped := dropped + taken;
        exit when clock_timestamp() > until;
    end loop;

    return jsonb_build_object('dropped', dropped);
end
$$;

comment on function usher.keep_parts() is
    'Removes parts whose event never came, for some seconds; what is left is '
    'the next call''s';


-- An hour is closed when every live slot has stored an event of a later hour,
-- or after 24 h.  Slots of which flush has not heard yet cannot be asked: the
-- ten minutes are theirs.  Whatever comes later is booked in the first open
-- hour, so a sum is never wrong, only an hour late.

create function usher.usage_closable(moment timestamptz)
returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select greatest(
        date_trunc('hour', m.now - interval '24 hours', 'UTC'),
        date_trunc('hour',
                   least(m.now - interval '10 minutes',
                         (select min(coalesce(j.last_event, '-infinity'))
                          from usher.journal j
                          where j.state = 'live')),
                   'UTC'))
    from usher.moment(moment) as m (now)
$$;

comment on function usher.usage_closable(timestamptz) is
    'The first hour that must stay open at this moment';


create function usher.keep_fold()
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set work_mem = '64MB'
as $$
declare
    since   timestamptz := clock_timestamp();
    closed  timestamptz;
    next    timestamptz;
    taken   bigint;
    folded  bigint := 0;
begin
    -- Two steps, the second first seen by the next call: folding takes long
    -- and must not hold the row that every flush reads; and since the move
    -- of closed_until waited for all that had read it before, nothing can
    -- come to the hours that are folded here.
    select c.closed_until into closed from usher.usage_close c;

    -- A share at a time, for some seconds: what is left after a long outage
    -- is the next call's.
    loop
        with gone as (
            delete from usher.usage_delta d
            where d.ctid in (select c.ctid from usher.usage_delta c
                             where c.hour < closed
                             limit 500000)
            returning d.*
        ), sums as (
            insert into usher.usage as u
            select g.hour, g.key_id, g.org_id, g.route, g.status,
                   sum(g.requests), sum(g.units), sum(g.bytes_sent),
                   sum(g.duration_ms)
            from gone g
            group by g.hour, g.key_id, g.org_id, g.route, g.status
            order by g.hour, g.key_id, g.org_id, g.route, g.status
            on conflict (hour, key_id, org_id, route, status) do update
                set requests = u.requests + excluded.requests,
                    units = u.units + excluded.units,
                    bytes_sent = u.bytes_sent + excluded.bytes_sent,
                    duration_ms = u.duration_ms + excluded.duration_ms
        )
        select count(*) into taken from gone;

        folded := folded + taken;
        exit when taken = 0
                  or clock_timestamp() > since + interval '10 seconds';
    end loop;

    next := usher.usage_closable(clock_timestamp());

    -- What a clock closed that was ahead is opened again: hours are folded
    -- into what is there, so those that were folded already add up.
    if next > closed or closed > clock_timestamp() then
        begin
            update usher.usage_close c
            set closed_until = next
            where c.closed_until = closed;

            closed := next;
        exception
            when lock_not_available then
                -- Flush is busy; the hour closes at the next call.
                null;
        end;
    end if;

    return jsonb_build_object('folded', folded, 'closed_until', closed);
end
$$;

comment on function usher.keep_fold() is
    'Folds the sums of closed hours into usher.usage, then closes what can '
    'be closed (folded by the next call)';


create function usher.keep_due()
returns jsonb
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object('orgs', usher.directory_due())
$$;

comment on function usher.keep_due() is
    'Tells the directory of subscriptions that began or ended by the clock';


create function usher.keep_prune()
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    moment   timestamptz := usher.moment();
    thinned  bigint;
    expired  bigint;
    ahead    bigint;
    clicks   bigint;
    keys     bigint;
begin
    -- Of marks older than an hour one a minute is kept, of those older than
    -- a week none but each slot's newest.  What lies between two of them, a
    -- fork looks for among the rows.  A clock that jumped ahead makes none of
    -- them a week old.
    with ranked as (
        select m.slot, m.position, m.at,
               row_number() over (partition by m.slot,
                                               date_trunc('minute', m.at)
                                  order by m.position desc) as n
        from usher.journal_mark m
        where m.at < moment - interval '1 hour'
    )
    delete from usher.journal_mark m
    using ranked r
    where m.slot = r.slot and m.position = r.position
          and (r.n > 1 or r.at < moment - interval '7 days')
          and exists (select from usher.journal_mark later
                      where later.slot = m.slot
                            and later.position > m.position);
    get diagnostics thinned = row_count;

    delete from usher.lease l where l.until < now() - interval '1 day';
    get diagnostics expired = row_count;

    -- As in lease_take; some ask only for what has run out.
    update usher.lease l set owner = '', until = clock_timestamp()
    where l.until > clock_timestamp() + make_interval(secs => 2 * l.seconds);

    -- Nothing waits longer than an hour to be tried again.
    update usher.todo t set next_at = clock_timestamp()
    where t.next_at > clock_timestamp() + interval '2 hours'
          and t.next_at < 'infinity';
    get diagnostics ahead = row_count;

    -- No program's window is longer than 366 days.
    delete from usher.customer_click k
    where k.clicked_at < moment - interval '400 days';
    get diagnostics clicks = row_count;

    -- A share at a time; what went is noted, so that the journal adds up.
    with gone as (
        delete from usher.conversion_key k
        where k.ctid in (select c.ctid from usher.conversion_key c
                         where c.received_at < moment - usher.repeat_time()
                         limit 100000)
        returning (k.received_at at time zone 'UTC')::date as day
    ), noted as (
        insert into usher.partition_gone as g (table_name, day, rows)
        select 'conversion_key', d.day, count(*) from gone d group by d.day
        on conflict on constraint partition_gone_pkey do update
            set rows = g.rows + excluded.rows, at = excluded.at
    )
    select count(*) into keys from gone;

    return jsonb_build_object('marks', thinned, 'leases', expired,
                              'todo', ahead, 'clicks', clicks, 'keys', keys);
end
$$;

comment on function usher.keep_prune() is
    'Thins journal marks, removes leases long run out, gives back those '
    'that a clock left ahead, has done what one put off, and forgets clicks '
    'of customers past every window and keys past every repeat';
