-- 086_api_stats.sql - link_stats, and groups of links with theirs.

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


-- Groups.

create function usher.link_group_for(function text, org text, name text)
returns usher.link_group
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    o  usher.org := usher.org_for(function, org);
    g  usher.link_group;
begin
    select x.* into g
    from usher.link_group x
    where x.org_id = o.id and x.name = link_group_for.name;

    if g.id is null then
        perform usher.fail('404',
            format('org "%s" has no link group "%s"', org, name),
            'link_group_list shows all.');
    end if;

    return g;
end
$$;

comment on function usher.link_group_for(text, text, text) is
    'The group of this name, if the actor may call the function for it';


create function usher.link_group_json(g usher.link_group)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'group', g.name,
        'org', (select o.name from usher.org o where o.id = g.org_id),
        'title', g.title,
        'links', (select count(*) from usher.link_group_member m
                  where m.group_id = g.id),
        'created', g.created_at)
$$;

comment on function usher.link_group_json(usher.link_group) is
    'A group as the catalogue shows it';


create function api.link_group_create(org text, "group" text,
    title text default '')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('link_group_create', org);
    g  usher.link_group;
begin
    perform usher.text_ok('group', "group", '^[a-z0-9][a-z0-9_-]{0,31}$',
        'The name of a group is 1 to 32 of a-z, 0-9, _ and -.');
    perform usher.title_ok(title);

    insert into usher.link_group as x (org_id, name, title)
    values (o.id, "group", link_group_create.title)
    returning x.* into g;

    perform usher.note('link_group_create', o.id, jsonb_build_object(
        'org', org, 'group', "group", 'title', title));

    return usher.link_group_json(g);

exception
    when unique_violation then
        perform usher.fail('409',
            format('org "%s" has a link group "%s"', org, "group"),
            'link_group_list shows all.');
end
$$;

comment on function api.link_group_create(text, text, text) is
'Makes a group of links, to look at their clicks together.
org: whose links
group: name of the group
title: name for people';


create function api.link_group_list(org text)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('link_group_list', org);
begin
    return (select coalesce(jsonb_agg(usher.link_group_json(g)
                                      order by g.name), '[]')
            from usher.link_group g
            where g.org_id = o.id);
end
$$;

comment on function api.link_group_list(text) is
'Lists the groups of links.
org: of this org';


create function api.link_group_show(org text, "group" text,
    "limit" integer default 1000, after text default '')
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    g     usher.link_group := usher.link_group_for('link_group_show', org,
                                                   "group");
    size  integer := usher.page("limit");
begin
    return (select coalesce(jsonb_agg(jsonb_build_object(
                                'host', p.host, 'slug', p.slug,
                                'title', p.title)
                            order by p.host, p.slug), '[]')
            from (select l.host, l.slug, l.title
                  from usher.link_group_member m
                  join usher.link l on l.id = m.link_id
                  where m.group_id = g.id and l.host || '/' || l.slug > after
                  order by l.host || '/' || l.slug
                  limit size) p);
end
$$;

comment on function api.link_group_show(text, text, integer, text) is
'Lists the links of a group.
org: whose group
group: name of the group
limit: at most so many
after: go on after this host/slug';


create function api.link_group_add(org text, "group" text, host text,
    slug text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    g  usher.link_group := usher.link_group_for('link_group_add', org,
                                                "group");
    l  usher.link := usher.link_for('link_group_add', host, slug);
begin
    if l.org_id <> g.org_id then
        perform usher.fail('404',
            format('org "%s" has no link "%s" of "%s"', org, slug, host),
            'A group has links of its org.');
    end if;

    insert into usher.link_group_member (group_id, link_id, org_id)
    values (g.id, l.id, g.org_id)
    on conflict do nothing;

    perform usher.note('link_group_add', g.org_id, jsonb_build_object(
        'org', org, 'group', "group", 'host', l.host, 'slug', l.slug));

    return usher.link_group_json(g);
end
$$;

comment on function api.link_group_add(text, text, text, text) is
'Adds a link to a group; where it is in it already nothing changes.
org: whose group
group: name of the group
host: host of the link
slug: slug of the link';


create function api.link_group_remove(org text, "group" text, host text,
    slug text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    g  usher.link_group := usher.link_group_for('link_group_remove', org,
                                                "group");
    l  usher.link := usher.link_for('link_group_remove', host, slug);
begin
    delete from usher.link_group_member m
    where m.group_id = g.id and m.link_id = l.id;

    if not found then
        perform usher.fail('404',
            format('group "%s" has no link "%s" of "%s"', "group", slug, host),
            'link_group_show shows its links.');
    end if;

    perform usher.note('link_group_remove', g.org_id, jsonb_build_object(
        'org', org, 'group', "group", 'host', l.host, 'slug', l.slug));

    return usher.link_group_json(g);
end
$$;

comment on function api.link_group_remove(text, text, text, text) is
'Takes a link out of a group.  The link stays.
org: whose group
group: name of the group
host: host of the link
slug: slug of the link';


create function api.link_group_drop(org text, "group" text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    g  usher.link_group := usher.link_group_for('link_group_drop', org,
                                                "group");
begin
    perform usher.note('link_group_drop', g.org_id, jsonb_build_object(
        'org', org, 'group', "group"));

    delete from usher.link_group x where x.id = g.id;

    return jsonb_build_object('group', g.name, 'dropped', true);
end
$$;

comment on function api.link_group_drop(text, text) is
'Drops a group.  Its links stay.
org: whose group
group: name of the group';


create function api.link_group_stats(org text, "group" text,
    "from" timestamptz default null, "to" timestamptz default null,
    by text default 'day')
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    g  usher.link_group := usher.link_group_for('link_group_stats', org,
                                                "group");
begin
    return jsonb_build_object('org', org, 'group', g.name)
           || usher.stats(array(select m.link_id
                                from usher.link_group_member m
                                where m.group_id = g.id), "from", "to", by);
end
$$;

comment on function api.link_group_stats(text, text, timestamptz,
    timestamptz, text) is
'Shows the clicks of the links of a group, as link stats does; who clicked on
two of them is two visitors.
org: whose group
group: name of the group
from: from the hour of this moment on, by default the last 31 days
to: before this moment
by: hour, day, country, device, reason or sub1; the 1000 largest';


insert into usher.right (function, role)
select f, r
from (values
    ('link_stats', array['owner', 'admin', 'analyst']),
    ('link_group_create', array['owner', 'admin']),
    ('link_group_list', array['owner', 'admin', 'analyst']),
    ('link_group_show', array['owner', 'admin', 'analyst']),
    ('link_group_add', array['owner', 'admin']),
    ('link_group_remove', array['owner', 'admin']),
    ('link_group_drop', array['owner', 'admin']),
    ('link_group_stats', array['owner', 'admin', 'analyst'])
) as v (f, roles), unnest(roles) r;
