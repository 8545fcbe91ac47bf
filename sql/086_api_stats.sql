-- 086_api_stats.sql - link stats.

-- What is not counted yet: the clicks of some links of the open hours, as
-- they would be judged now.

create function usher.click_open(links bigint[])
returns table (hour timestamptz, link_id bigint, country text, device text,
               fields text[], reason smallint, clicks bigint, uniques bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set jit = off
as $$
declare
    c      usher.click_close;
    since  timestamptz;
begin
    select * into c from usher.click_close x;

    select min(b.received_at) into since
    from usher.click_batch b
    where b.open_hour >= c.done_until
          or b.received_at >= c.done_until - interval '1 hour';

    return query execute 'with ' || usher.click_judge($sql$
        c.link_id = any ($1) and c.received_at >= $3
        and usher.click_booked(c.event_time, c.received_at, b.open_hour) >= $2
        and (usher.click_booked(c.event_time, c.received_at, b.open_hour) > $2
             or strpos('0123456789abcdef', left(c.visitor, 1)) % $5 >= $4)
        $sql$) || $sql$
        select j.hour, j.link_id, j.country, j.device, j.fields, j.final,
               count(*), count(*) filter (where j.first)
        from judged j
        group by j.hour, j.link_id, j.country, j.device, j.fields,
                 j.final$sql$
    using links, c.done_until, since, c.part, c.parts;
end
$$;

comment on function usher.click_open(bigint[]) is
    'The clicks of some links that are not counted yet, as they stand now';


-- What clicks and conversions are told by alike.

create function usher.stats_moment(moment timestamptz, by text)
returns text
language sql stable parallel safe
return case by
    when 'hour' then to_char(moment at time zone 'UTC',
                             'YYYY-MM-DD"T"HH24:00"Z"')
    when 'day' then to_char(moment at time zone 'UTC', 'YYYY-MM-DD') end;

comment on function usher.stats_moment(timestamptz, text) is
    'An hour or a day as it is told; null: time is not asked for.  It is '
    'called for each row, and so is plain enough to be inlined';


create function usher.stats_links(links bigint[], by text)
returns table (link_id bigint, name text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select l.id,
           case by when 'campaign' then (select c.name from usher.campaign c
                                         where c.id = l.campaign_id)
                   when 'product' then (select p.name from usher.product p
                                        where p.id = l.product_id)
                   when 'program' then (select p.name from usher.program p
                                        where p.id = l.program_id)
                   when 'partner' then (select p.name from usher.partner p
                                        where p.id = l.partner_id) end
    from usher.link l
    where l.id = any (links)
$$;

comment on function usher.stats_links(bigint[], text) is
    'What each link belongs to; null: nothing, or that is not asked for';


create function usher.stats_conversions(links bigint[], t0 timestamptz,
    t1 timestamptz, by text)
returns table (name text, conversions bigint, approved jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with told as materialized (
        select coalesce(usher.stats_moment(c.occurred_at, by), l.name, '')
                   as name,
               c.state, c.currency,
               case c.side when 'network' then c.amount
                           else c.sale_amount end as amount
        from usher.conversion c
        join usher.stats_links(links, by) l on l.link_id = c.link_id
        where c.occurred_at >= t0 and c.occurred_at < t1
              and c.state in ('pending', 'approved')
    ), money as (
        select t.name, t.currency, sum(t.amount) as amount
        from told t
        where t.state = 'approved' and t.amount is not null
        group by t.name, t.currency
    )
    select t.name, count(*),
           coalesce((select jsonb_object_agg(m.currency,
                                usher.money_text(m.amount, m.currency))
                     from money m
                     where m.name = t.name), '{}')
    from told t
    group by t.name
$$;

comment on function usher.stats_conversions(bigint[], timestamptz,
    timestamptz, text) is
    'Conversions of some links, by when they were; approved is what a network '
    'pays, or of our own programs the sale';


-- A part has a name, or is of all: then it has a reason.

create function usher.stats_parts(links bigint[], t0 timestamptz,
    t1 timestamptz, by text)
returns table (word text, name text, gross numeric, net numeric,
               uniques numeric)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with open as materialized (
        select o.*, case when r.counted then o.clicks else 0 end as net,
               r.word, o.fields[array_position(usher.click_fields(), by)]
                   as value
        from usher.click_open(links) o
        join usher.click_reason r on r.reason = o.reason
        where o.hour >= t0 and o.hour < t1
    ), click as materialized (
        select h.hour, h.link_id, h.country, h.device, r.word,
               h.clicks as gross,
               case when r.counted then h.clicks else 0 end as net, h.uniques
        from usher.click_hour h
        join usher.click_reason r on r.reason = h.reason
        where h.link_id = any (links) and h.hour >= t0 and h.hour < t1
        union all
        select o.hour, o.link_id, o.country, o.device, o.word, o.clicks,
               o.net, o.uniques
        from open o
    ), field as materialized (
        select f.link_id, f.value, f.gross, f.net, f.uniques
        from usher.click_field f
        where f.field = by and f.link_id = any (links)
              and f.hour >= t0 and f.hour < t1
        union all
        select o.link_id, o.value, o.clicks, o.net, o.uniques
        from open o
        where o.value <> ''
    )
    select null, case by when 'country' then c.country
                         when 'device' then c.device
                         when 'reason' then c.word
                         else coalesce(usher.stats_moment(c.hour, by), l.name,
                                       '') end,
           c.gross, c.net, c.uniques
    from click c
    left join usher.stats_links(links, by) l on l.link_id = c.link_id
    where by <> all (usher.click_fields())
    union all
    select null, case by when 'target'
                         then usher.target_name(f.link_id, f.value::integer)
                         else f.value end,
           f.gross, f.net, f.uniques
    from field f
    union all

    -- Those that have none are what the others leave.
    select null, case by when 'target' then 'url' else '' end,
           sum(p.gross), sum(p.net), sum(p.uniques)
    from (select c.gross, c.net, c.uniques from click c
          union all
          select -f.gross, -f.net, -f.uniques from field f) p
    where by = any (usher.click_fields())
    having sum(p.gross) > 0
    union all
    select c.word, null, sum(c.gross), sum(c.net), sum(c.uniques)
    from click c
    group by c.word
$$;

comment on function usher.stats_parts(bigint[], timestamptz, timestamptz,
    text) is
    'The clicks of some links, counted or not yet, in parts: by what is asked '
    'for, and once more by their reasons';


create function usher.stats(links bigint[], "from" timestamptz,
    "to" timestamptz, by text)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    t0      timestamptz := date_trunc('hour', coalesce("from",
                               now() - interval '31 days'), 'UTC');
    t1      timestamptz := coalesce("to", 'infinity');
    -- Those of the others would have to be looked up click by click.
    told    boolean := by in ('hour', 'day', 'campaign', 'product', 'program',
                              'partner');
    answer  jsonb;
begin
    if by is null
       or not (told or by in ('country', 'device', 'reason')
               or by = any (usher.click_fields()))
    then
        perform usher.fail('400', format('by="%s" cannot be', left(by, 60)),
            'Clicks are by hour, day, country, device, reason, target, sub1 '
            'to sub5, campaign, product, program or partner.');
    end if;

    if t0 >= t1 then
        perform usher.fail('400',
            format('to=%s is not after from=%s', t1, t0),
            'The last 31 days are shown where nothing is given.');
    end if;

    with part as materialized (
        select * from usher.stats_parts(links, t0, t1, by)
    ), conversion as materialized (
        select * from usher.stats_conversions(links, t0, t1, by) where told
    ), line as (
        select p.name, sum(p.gross) as gross, sum(p.net) as net,
               sum(p.uniques) as uniques
        from (select p.name, p.gross, p.net, p.uniques from part p
              where p.name is not null
              union all
              select c.name, 0, 0, 0 from conversion c) p
        group by p.name
    ), shown as (
        select l.*, coalesce(c.conversions, 0) as conversions,
               coalesce(c.approved, '{}') as approved,
               row_number() over (
                   order by case when by in ('hour', 'day') then l.name end,
                            l.gross desc, l.name) as n
        from line l
        left join conversion c on c.name = l.name
    )
    select jsonb_build_object(
        'gross', coalesce(sum(p.gross), 0),
        'net', coalesce(sum(p.net), 0),
        'uniques', coalesce(sum(p.uniques), 0),
        'reasons', coalesce(jsonb_object_agg(p.word, p.gross), '{}'),
        'final_until', (select x.done_until from usher.click_close x),
        'rows', (select coalesce(jsonb_agg(jsonb_build_object(
                            by, s.name, 'gross', s.gross, 'net', s.net,
                            'uniques', s.uniques)
                            || case when told then jsonb_build_object(
                                   'conversions', s.conversions,
                                   'approved', s.approved) else '{}' end
                            order by s.n), '[]')
                 from shown s
                 where s.n <= 1000),
        'chart', jsonb_build_object('rows', 'rows', 'label', by,
                                    'bars', jsonb_build_array('net', 'gross')))
    into answer
    from part p
    where p.word is not null;

    return answer || coalesce(
        (select jsonb_build_object('conversions', c.conversions,
                                   'approved', c.approved)
         from usher.stats_conversions(links, t0, t1, null) c),
        jsonb_build_object('conversions', 0, 'approved', '{}'::jsonb));
end
$$;

comment on function usher.stats(bigint[], timestamptz, timestamptz, text) is
    'The clicks of some links, counted or not yet, and their conversions; '
    '"chart" says how to draw them';


-- Where no host is given, the one with this slug of those that the actor sees.

create function usher.link_named(function text, host text, slug text)
returns usher.link
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    hosts  text[];
begin
    if host is not null then
        return usher.link_for(function, host, slug);
    end if;

    select array_agg(l.host order by l.host) into hosts
    from usher.domain d
    join usher.link l on l.host = d.host and l.slug = link_named.slug
    where usher.actor() is null
          or exists (select from usher.member m
                     join usher.right r on r.role = m.role
                     where m.actor = usher.actor() and m.org_id = d.org_id
                           and r.function = link_named.function);

    if cardinality(hosts) = 1 then
        return usher.link_for(function, hosts[1], slug);
    end if;

    if hosts is null then
        perform usher.authorize(function, (select min(m.org_id)
                                           from usher.member m
                                           join usher.right r
                                                on r.role = m.role
                                           where m.actor = usher.actor()
                                                 and r.function
                                                     = link_named.function));
        perform usher.fail('404', format('there is no link "%s"', slug),
            'link_list shows the links of a host; capital letters matter.');
    end if;

    perform usher.fail('400',
        format('%s hosts have a link "%s"', cardinality(hosts), slug),
        format('Say which: host=%s',
               array_to_string(hosts[1:10], ', or host=')));
end
$$;

comment on function usher.link_named(text, text, text) is
    'The link of this name, at this host or the only one that has it';


create function api.link_stats(slug text, host text default null,
    "from" timestamptz default null, "to" timestamptz default null,
    by text default 'day')
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    l  usher.link := usher.link_named('link_stats', host, slug);
begin
    return jsonb_build_object('host', l.host, 'slug', l.slug)
           || usher.stats(array[l.id], "from", "to", by);
end
$$;

comment on function api.link_stats(text, text, timestamptz, timestamptz,
    text) is
'Shows the clicks of a link: gross is all, net those that count, uniques the
visitors of each day.  What is before final_until stays as it is.  Conversions
are those that are pending or approved, by when they were; approved is what a
network pays for them, or of a program of our own the sale.  Of a link by its
campaign, product, program and partner there is one row, of a group one each;
the 1000 largest are shown.
slug: slug of the link
host: host of the link; may be left out where only one has that slug
from: from the hour of this moment on, by default the last 31 days
to: before this moment
by: hour, day, country, device, reason, target, sub1 to sub5, campaign etc.';


insert into usher.right (function, role)
values ('link_stats', 'owner'), ('link_stats', 'admin'),
       ('link_stats', 'analyst');
