-- 045_click_rollup.sql - clicks are counted when their hour closes.
--
-- Hours are those of usage_close: once closed_until has moved past one,
-- nothing more can be booked in it.  Each click belongs to one hour, which
-- follows from its row alone: from when it was, when it was stored, and what
-- was then the first open hour (click_batch).  So a call that dies leaves
-- nothing, and the next one counts the same.
--
-- Whether a click is a duplicate is judged once more, over all nodes, by the
-- visitor's hash: there is another of the same link and visitor within the
-- hour before it.  An edge that found that by itself is right but for what
-- never became a row.  Only clicks that count otherwise take part.

create table usher.click_batch (
    received_at  timestamptz primary key,
    open_hour    timestamptz not null
);

comment on table usher.click_batch is
    'Transactions that stored clicks, until their hours are counted';
comment on column usher.click_batch.received_at is 'That of their rows';
comment on column usher.click_batch.open_hour is
    'The first open hour then: what was late is booked there';


create table usher.click_close (
    one         boolean primary key default true check (one),
    done_until  timestamptz not null
                check (done_until = date_trunc('hour', done_until, 'UTC')),
    part        smallint not null default 0,
    parts       smallint not null default 1,
    constraint click_close_part check (part between 0 and parts - 1)
);

insert into usher.click_close (done_until)
select c.closed_until from usher.usage_close c;

comment on table usher.click_close is
    'The one row that says which clicks are counted, and so are final';
comment on column usher.click_close.one is 'True: there is one row';
comment on column usher.click_close.done_until is
    'The first hour that is not';
comment on column usher.click_close.part is
    'The first part of this hour that is not';
comment on column usher.click_close.parts is
    'How many parts it has; each is some visitors';
comment on constraint click_close_part on usher.click_close is
    'There is one part to go on with';


create table usher.click_visitor (
    link_id  bigint not null,
    visitor  text collate "C" not null,
    hour     timestamptz not null,
    seen     tstzmultirange not null,
    primary key (link_id, visitor)
);

create index click_visitor_hour on usher.click_visitor (hour);

comment on table usher.click_visitor is
    'Who clicked on what, of the hours of the last day that are counted';
comment on column usher.click_visitor.link_id is 'The link';
comment on column usher.click_visitor.visitor is
    'The visitor, who is another one each day';
comment on column usher.click_visitor.hour is 'Hour of the last click';
comment on column usher.click_visitor.seen is
    'Of each hour with clicks the time from the first to the last';
comment on index usher.click_visitor_hour is 'What may go';


create table usher.click_hour (
    hour     timestamptz not null,
    link_id  bigint not null,
    org_id   bigint not null,
    country  text not null,
    device   text not null,
    reason   smallint not null,
    clicks   bigint not null,
    uniques  bigint not null,
    primary key (hour, link_id, org_id, country, device, reason)
);

create index click_hour_link on usher.click_hour (link_id, hour);
create index click_hour_org on usher.click_hour (org_id, hour);

comment on table usher.click_hour is 'Clicks of closed hours';
comment on column usher.click_hour.hour is
    'Hour of the clicks; a late one counts in the first open hour';
comment on column usher.click_hour.link_id is 'The link; 0: none';
comment on column usher.click_hour.org_id is 'Org of the host; 0: unknown';
comment on column usher.click_hour.country is 'Country; empty: unknown';
comment on column usher.click_hour.device is 'Device; empty: unknown';
comment on column usher.click_hour.reason is
    'Final reason: of usher.click relabelled, or else reason';
comment on column usher.click_hour.clicks is 'Number of clicks';
comment on column usher.click_hour.uniques is
    'Of these, the first of their visitor and link that day (UTC)';
comment on index usher.click_hour_link is 'Counts of a link, by hour';
comment on index usher.click_hour_org is 'Counts of an org, by hour';


create table usher.click_field (
    hour     timestamptz not null,
    link_id  bigint not null,
    field    text not null
             check (field in ('target', 'sub1', 'sub2', 'sub3', 'sub4',
                              'sub5')),
    value    text collate "C" not null check (value <> ''),
    gross    bigint not null,
    net      bigint not null,
    uniques  bigint not null,
    primary key (link_id, field, hour, value)
);

comment on table usher.click_field is
    'Clicks of closed hours by target and sub-ids, where they have one';
comment on column usher.click_field.hour is 'As in click_hour';
comment on column usher.click_field.link_id is 'The link';
comment on column usher.click_field.field is 'Column of usher.click';
comment on column usher.click_field.value is
    'What it is: of a target the number, but 0, which is the link''s own '
    'URL; "...": all but the thousand most frequent of the hour';
comment on column usher.click_field.gross is 'All clicks';
comment on column usher.click_field.net is 'Those that count';
comment on column usher.click_field.uniques is 'Visitors of the day';


create function usher.click_fields()
returns text[]
language sql immutable parallel safe
return array['target', 'sub1', 'sub2', 'sub3', 'sub4', 'sub5'];

comment on function usher.click_fields() is
    'The fields that clicks are counted by, in the order of those that '
    'click_judge() finds';


create view usher.click_sum as
select h.hour, h.link_id, h.org_id, h.country, h.device, h.reason,
       h.clicks as gross,
       case when r.counted then h.clicks else 0 end as net,
       h.uniques
from usher.click_hour h
join usher.click_reason r on r.reason = h.reason;

comment on view usher.click_sum is
    'Clicks of closed hours, gross and net: these are final';
comment on column usher.click_sum.hour is 'Hour';
comment on column usher.click_sum.link_id is 'The link; 0: none';
comment on column usher.click_sum.org_id is 'Org of the host; 0: unknown';
comment on column usher.click_sum.country is 'Country; empty: unknown';
comment on column usher.click_sum.device is 'Device; empty: unknown';
comment on column usher.click_sum.reason is 'Final reason';
comment on column usher.click_sum.gross is 'All clicks';
comment on column usher.click_sum.net is 'Those that count';
comment on column usher.click_sum.uniques is 'Visitors of the day, per link';


create table usher.cap_count (
    link_id  bigint not null,
    target   smallint not null,
    since    timestamptz not null,
    day      date not null,
    clicks   bigint not null,
    primary key (link_id, target, since, day)
);

comment on table usher.cap_count is
    'What caps counted in closed hours';
comment on column usher.cap_count.link_id is 'The link';
comment on column usher.cap_count.target is
    'Number of the target; 0: the link as a whole';
comment on column usher.cap_count.since is
    'When the cap was given: one that was given again counts anew';
comment on column usher.cap_count.day is 'Day of the clicks (UTC)';
comment on column usher.cap_count.clicks is
    'Net clicks that were sent to the link''s own URL or a target';


-- What is stored from now on belongs to this hour or a later one.  The lock
-- is flush's: closed_until cannot move before this transaction has ended.

create function usher.click_noted()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    open  timestamptz;
    said  timestamptz;
begin
    select c.closed_until into open from usher.usage_close c for share;

    -- A clock that was ahead may have had hours counted that are open again.
    select greatest(open, c.done_until) into open from usher.click_close c;

    insert into usher.click_batch as b (received_at, open_hour)
    values (now(), open)
    on conflict (received_at) do nothing;

    if not found then
        select b.open_hour into said
        from usher.click_batch b
        where b.received_at = now();

        -- Two in one microsecond, and an hour closed between: once more.
        if said is distinct from open then
            raise exception 'clicks of two hours were stored at %', now()
                using errcode = 'serialization_failure';
        end if;
    end if;

    return null;
end
$$;

comment on function usher.click_noted() is
    'Notes which was the first open hour when clicks were stored';

create trigger click_noted after insert on usher.click
    for each statement execute function usher.click_noted();

comment on trigger click_noted on usher.click is
    'Each transaction that stores clicks is a click_batch';


create function usher.click_booked(event_time timestamptz,
    received_at timestamptz, open_hour timestamptz)
returns timestamptz
language sql immutable parallel safe
as $$
    select greatest(open_hour,
                    date_bin('1 hour', least(event_time,
                                             received_at + interval '1 hour'),
                             'epoch'))
$$;

comment on function usher.click_booked(timestamptz, timestamptz,
    timestamptz) is
    'The hour that a click counts in: its own, or the first open one; of an '
    'edge whose clock is ahead at most an hour from when it was stored';


-- The judgement, as text, since clicks are found in two ways: those of an
-- hour, and those of some links that are not counted yet.  Two clicks of one
-- hour are less than an hour apart, so of each that is counted the time from
-- the first to the last is enough to know whether another one is near.

create function usher.click_judge(candidates text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select $sql$
    candidate as (
        select c.tableoid as part_of, c.ctid as place, c.received_at,
               c.event_time, c.link_id, c.org_id, c.country, c.device,
               c.target,
               nullif(array[coalesce(nullif(c.target, 0)::text, ''), c.sub1,
                            c.sub2, c.sub3, c.sub4, c.sub5],
                      '{"","","","","",""}') as fields,
               c.visitor, c.reason, r.counted,
               usher.click_booked(c.event_time, c.received_at, b.open_hour)
                   as hour,
               c.visitor <> '' and c.link_id <> 0
                   and (r.counted or r.reason = 21) as seen
        from usher.click c
        join usher.click_batch b on b.received_at = c.received_at
        join usher.click_reason r on r.reason = c.reason
        where $sql$ || candidates || $sql$
    ), turn as (
        select c.*,
               row_number() over w as n,
               c.event_time - lag(c.event_time) over w as since
        from candidate c
        where c.seen
        window w as (partition by c.link_id, c.visitor
                     order by c.event_time, c.reason, c.part_of, c.place)
    ), judged as materialized (
        select t.part_of, t.place, t.received_at, t.event_time, t.link_id,
               t.org_id, t.country, t.device, t.target, t.fields, t.visitor,
               t.hour,
               t.reason, true as seen,
               case when t.since < interval '1 hour'
                         or coalesce(v.seen
                                && tstzrange(t.event_time - interval '1 hour',
                                             t.event_time + interval '1 hour',
                                             '()'), false)
                    then 21::smallint
                    when t.counted then t.reason
                    else 0::smallint end as final,
               t.n = 1 and v.visitor is null as first
        from turn t
        left join usher.click_visitor v
             on v.link_id = t.link_id and v.visitor = t.visitor
        union all
        select c.part_of, c.place, c.received_at, c.event_time, c.link_id,
               c.org_id, c.country, c.device, c.target, c.fields, c.visitor,
               c.hour,
               c.reason, false, c.reason, false
        from candidate c
        where not c.seen
    )$sql$
$$;

comment on function usher.click_judge(text) is
    'Queries (for WITH) that judge the clicks c of batches b for which a '
    'condition holds: "judged" has their final reason and hour';


create function usher.click_book(hour timestamptz, part integer,
    parts integer)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set work_mem = '64MB'
set enable_nestloop = off
set jit = off
as $$
declare
    since  timestamptz := hour - interval '1 hour';
    till   timestamptz := hour + interval '1 hour';
    late   timestamptz;
    n      bigint;
    links  bigint[];
begin
    select min(b.received_at) into late
    from usher.click_batch b
    where b.open_hour = hour;

    -- By ranges that the indices know: most of them by their own time; what
    -- was late, by the transactions that had this as the first open hour.
    execute 'with ' || usher.click_judge($sql$
        c.received_at >= $6 and b.open_hour <= $1
        and ((c.event_time >= $1 and c.event_time < $3)
             or (c.event_time < $1 and c.received_at >= $7)
             or (c.event_time >= $3 and c.received_at < $1)
             or c.received_at < $2)
        and usher.click_booked(c.event_time, c.received_at, b.open_hour) = $1
        and ($5 = 1
             or strpos('0123456789abcdef', left(c.visitor, 1)) % $5 = $4)
        $sql$) || $sql$, relabelled as (
            update usher.click c
            set relabelled = j.final
            from judged j
            where j.final <> j.reason
                  and c.received_at >= $6
                  and c.received_at = j.received_at
                  and c.link_id = j.link_id
                  and c.event_time = j.event_time
                  and c.tableoid = j.part_of and c.ctid = j.place
        ), visitors as (
            insert into usher.click_visitor as v
            select s.link_id, s.visitor, max(s.hour), range_agg(s.seen)
            from (select j.link_id, j.visitor,
                         date_bin('1 hour', j.event_time, 'epoch') as hour,
                         tstzrange(min(j.event_time), max(j.event_time), '[]')
                             as seen
                  from judged j
                  where j.seen
                  group by 1, 2, 3) s
            group by s.link_id, s.visitor
            on conflict on constraint click_visitor_pkey do update
                set hour = greatest(v.hour, excluded.hour),
                    seen = v.seen + excluded.seen
        ), hours as (
            insert into usher.click_hour as h
            select j.hour, j.link_id, j.org_id, j.country, j.device, j.final,
                   count(*), count(*) filter (where j.first)
            from judged j
            group by j.hour, j.link_id, j.org_id, j.country, j.device,
                     j.final
            on conflict on constraint click_hour_pkey do update
                set clicks = h.clicks + excluded.clicks,
                    uniques = h.uniques + excluded.uniques
        ), field as (
            select j.hour, j.link_id, f.field, f.value, count(*) as gross,
                   count(*) filter (where r.counted) as net,
                   count(*) filter (where j.first) as uniques,
                   row_number() over (partition by j.link_id, f.field
                                      order by count(*) desc, f.value)
                       as place
            from judged j
            join usher.click_reason r on r.reason = j.final
            cross join lateral unnest(usher.click_fields(), j.fields)
                 f (field, value)
            where j.fields is not null and f.value <> '' and j.link_id <> 0
            group by j.hour, j.link_id, f.field, f.value
        ), fields as (
            insert into usher.click_field as u
            select s.hour, s.link_id, s.field,
                   case when s.place <= 1000 then s.value else '...' end
                       as name,
                   sum(s.gross), sum(s.net), sum(s.uniques)
            from field s
            group by s.hour, s.link_id, s.field, name
            on conflict on constraint click_field_pkey do update
                set gross = u.gross + excluded.gross,
                    net = u.net + excluded.net,
                    uniques = u.uniques + excluded.uniques
        ), capped as (
            select l.id, 0 as target, l.cap_since from usher.link l
            where l.cap_since is not null
            union all
            select t.link_id, t.number, t.cap_since from usher.link_target t
            where t.cap_since is not null
        ), caps as (
            insert into usher.cap_count as k
            select c.id, c.target, c.cap_since,
                   (j.event_time at time zone 'UTC')::date, count(*)
            from judged j
            join usher.click_reason r on r.reason = j.final and r.counted
            join capped c on c.id = j.link_id
                             and (c.target = 0 or c.target = j.target)
            where j.target >= 0 and j.event_time >= c.cap_since
            group by 1, 2, 3, 4
            on conflict on constraint cap_count_pkey do update
                set clicks = k.clicks + excluded.clicks
            returning k.link_id
        )
        select (select count(*) from judged),
               (select array_agg(distinct k.link_id) from caps k)$sql$
    into n, links
    using hour, since, till, part, parts, least(since, late),
          coalesce(late, 'infinity');

    -- A node that has lost its count, as Redis has, hears of it again.
    perform usher.directory_put('link',
        (select array_agg(usher.link_id(l.host, l.slug))
         from usher.link l where l.id = any (links)), false, false);

    return n;
end
$$;

comment on function usher.click_book(timestamptz, integer, integer) is
    'Counts the clicks of a closed hour, or a part of them';


create function usher.keep_clicks()
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
as $$
declare
    until   timestamptz := clock_timestamp() + usher.call_time();
    closed  timestamptz;
    c       usher.click_close;
    n       bigint := 0;
    gone    bigint;
begin
    -- Nobody opens an hour again while it is counted.
    select u.closed_until into closed from usher.usage_close u for share;
    select * into c from usher.click_close x for update;

    while c.done_until < closed loop
        if c.part = 0 then
            select least(16, 1 + count(*) / 250000) into c.parts
            from usher.click k
            where k.event_time >= c.done_until
                  and k.event_time < c.done_until + interval '1 hour'
                  and k.received_at >= c.done_until - interval '1 hour';
        end if;

        n := n + usher.click_book(c.done_until, c.part, c.parts);
        c.part := c.part + 1;

        if c.part = c.parts then
            c.part := 0;
            c.parts := 1;
            c.done_until := c.done_until + interval '1 hour';
        end if;

        exit when clock_timestamp() > until;
    end loop;

    update usher.click_close x
    set done_until = c.done_until, part = c.part, parts = c.parts
    where x.done_until <> c.done_until or x.part <> c.part;

    delete from usher.click_batch b
    where b.open_hour < c.done_until
          and b.received_at < c.done_until - interval '1 hour';

    -- A day, and what may come late.
    delete from usher.click_visitor v
    where v.ctid = any (array(
        select o.ctid from usher.click_visitor o
        where o.hour < c.done_until - interval '26 hours'
        limit 300000));
    get diagnostics gone = row_count;

    return jsonb_build_object('counted', n, 'visitors_gone', gone,
                              'done_until', c.done_until);
end
$$;

comment on function usher.keep_clicks() is
    'Counts the clicks of hours that are closed, for some seconds; what is '
    'left is the next call''s';


-- The clicks of open hours as they were labelled: no more than the edges
-- counted, which know nothing of each other's visitors.

create function usher.cap_counted(link_id bigint, target smallint,
    since timestamptz, day date, most bigint)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    c       usher.click_close;
    from_   timestamptz;
    until   timestamptz := coalesce((day + 1)::timestamp at time zone 'UTC',
                                    'infinity');
    closed  bigint;
    open    bigint;
begin
    select coalesce(sum(k.clicks), 0) into closed
    from usher.cap_count k
    where k.link_id = cap_counted.link_id and k.target = cap_counted.target
          and k.since = cap_counted.since
          and (cap_counted.day is null or k.day = cap_counted.day);

    if closed >= most then
        return most;
    end if;

    select * into c from usher.click_close x;

    from_ := greatest(since, c.done_until, day::timestamp at time zone 'UTC');

    select count(*) into open
    from (select
          from usher.click k
          join usher.click_reason r
               on r.reason = coalesce(k.relabelled, k.reason) and r.counted
          where k.link_id = cap_counted.link_id
                and k.event_time >= from_ and k.event_time < until
                and k.received_at >= c.done_until - interval '1 hour'
                and case when cap_counted.target = 0 then k.target >= 0
                         else k.target = cap_counted.target end
                and (c.part = 0
                     or k.event_time >= c.done_until + interval '1 hour'
                     or strpos('0123456789abcdef', left(k.visitor, 1))
                        % c.parts >= c.part)
          limit most - closed) o;

    return closed + open;
end
$$;

comment on function usher.cap_counted(bigint, smallint, timestamptz, date,
    bigint) is
    'What a cap has counted, in all or on a day, as far as it is stored, and '
    'no more than most; null: everything';
