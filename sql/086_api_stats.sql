-- 086_api_stats.sql - link stats.

-- What is not counted yet: the clicks of some links of the open hours, as
-- they would be judged now.

create function usher.click_open(links bigint[])
returns table (hour timestamptz, link_id bigint, country text, device text,
               sub1 text, reason smallint, clicks bigint, uniques bigint)
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
        select j.hour, j.link_id, j.country, j.device, j.sub1, j.final,
               count(*), count(*) filter (where j.first)
        from judged j
        group by j.hour, j.link_id, j.country, j.device, j.sub1, j.final$sql$
    using links, c.done_until, since, c.part, c.parts;
end
$$;

comment on function usher.click_open(bigint[]) is
    'The clicks of some links that are not counted yet, as they stand now';


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
    answer  jsonb;
begin
    if by is null
       or by not in ('hour', 'day', 'country', 'device', 'reason', 'sub1')
    then
        perform usher.fail('400', format('by="%s" cannot be', left(by, 60)),
            'Clicks are by hour, day, country, device, reason or sub1.');
    end if;

    if t0 >= t1 then
        perform usher.fail('400',
            format('to=%s is not after from=%s', t1, t0),
            'The last 31 days are shown where nothing is given.');
    end if;

    with open as materialized (
        select o.*, r.counted, r.word
        from usher.click_open(links) o
        join usher.click_reason r on r.reason = o.reason
        where o.hour >= t0 and o.hour < t1
    ), click as (
        select h.hour, h.country, h.device, r.word, h.clicks as gross,
               case when r.counted then h.clicks else 0 end as net, h.uniques
        from usher.click_hour h
        join usher.click_reason r on r.reason = h.reason
        where h.link_id = any (links) and h.hour >= t0 and h.hour < t1
        union all
        select o.hour, o.country, o.device, o.word, o.clicks,
               case when o.counted then o.clicks else 0 end, o.uniques
        from open o
    ), sub as (
        select s.sub1, s.gross, s.net, s.uniques
        from usher.click_sub s
        where by = 'sub1' and s.link_id = any (links)
              and s.hour >= t0 and s.hour < t1
        union all
        select o.sub1, o.clicks, case when o.counted then o.clicks else 0 end,
               o.uniques
        from open o
        where by = 'sub1' and o.sub1 <> ''
    ), part as (
        select case by
                   when 'hour' then to_char(c.hour, 'YYYY-MM-DD"T"HH24:00"Z"')
                   when 'day' then to_char(c.hour, 'YYYY-MM-DD')
                   when 'country' then c.country
                   when 'device' then c.device
                   when 'reason' then c.word end as name,
               c.gross, c.net, c.uniques
        from click c
        where by <> 'sub1'
        union all
        select s.sub1, s.gross, s.net, s.uniques from sub s
        union all

        -- Those without a sub1 are what the others leave.
        select '', c.gross - coalesce(s.gross, 0), c.net - coalesce(s.net, 0),
               c.uniques - coalesce(s.uniques, 0)
        from (select sum(k.gross) as gross, sum(k.net) as net,
                     sum(k.uniques) as uniques from click k) c,
             (select sum(k.gross) as gross, sum(k.net) as net,
                     sum(k.uniques) as uniques from sub k) s
        where by = 'sub1' and c.gross > coalesce(s.gross, 0)
    ), line as (
        select p.name, sum(p.gross)::bigint as gross,
               sum(p.net)::bigint as net, sum(p.uniques)::bigint as uniques
        from part p
        group by p.name
    ), shown as (
        select l.*, row_number() over (
                   order by case when by in ('hour', 'day') then l.name end,
                            l.gross desc, l.name) as n
        from line l
    )
    select jsonb_build_object(
        'gross', (select coalesce(sum(c.gross), 0) from click c),
        'net', (select coalesce(sum(c.net), 0) from click c),
        'uniques', (select coalesce(sum(c.uniques), 0) from click c),
        'reasons', (select coalesce(jsonb_object_agg(w.word, w.gross), '{}')
                    from (select c.word, sum(c.gross) as gross
                          from click c group by c.word) w),
        'final_until', (select x.done_until from usher.click_close x),
        'rows', (select coalesce(jsonb_agg(jsonb_build_object(
                            by, s.name, 'gross', s.gross, 'net', s.net,
                            'uniques', s.uniques) order by s.n), '[]')
                 from shown s
                 where s.n <= 1000),
        'chart', jsonb_build_object('rows', 'rows', 'label', by,
                                    'bars', jsonb_build_array('net', 'gross')))
    into answer;

    return answer;
end
$$;

comment on function usher.stats(bigint[], timestamptz, timestamptz, text) is
    'The clicks of some links, counted or not yet; "chart" says how to draw '
    'them';


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
visitors of each day.  What is before final_until stays as it is.
slug: slug of the link
host: host of the link; may be left out where only one has that slug
from: from the hour of this moment on, by default the last 31 days
to: before this moment
by: hour, day, country, device, reason or sub1; the 1000 largest';


insert into usher.right (function, role)
values ('link_stats', 'owner'), ('link_stats', 'admin'),
       ('link_stats', 'analyst');
