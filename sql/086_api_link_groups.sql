-- 086_api_link_groups.sql - noun link group: links whose clicks are looked at
-- together.

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


create function usher.link_group_change(function text, org text,
    "group" text, host text, slug text)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    g  usher.link_group := usher.link_group_for(function, org, "group");
    l  usher.link := usher.link_for(function, host, slug);
begin
    if function = 'link_group_remove' then
        delete from usher.link_group_member m
        where m.group_id = g.id and m.link_id = l.id;

        if not found then
            perform usher.fail('404',
                format('group "%s" has no link "%s" of "%s"', "group", slug,
                       host),
                'link_group_show shows its links.');
        end if;

    elsif l.org_id <> g.org_id then
        perform usher.fail('404',
            format('org "%s" has no link "%s" of "%s"', org, slug, host),
            'A group has links of its org.');

    else
        insert into usher.link_group_member (group_id, link_id, org_id)
        values (g.id, l.id, g.org_id)
        on conflict do nothing;
    end if;

    perform usher.note(function, g.org_id, jsonb_build_object(
        'org', org, 'group', "group", 'host', l.host, 'slug', l.slug));

    return usher.link_group_json(g);
end
$$;

comment on function usher.link_group_change(text, text, text, text, text) is
    'Adds a link to a group, or takes it out, for the function that does';


create function api.link_group_add(org text, "group" text, host text,
    slug text)
returns jsonb
language sql volatile security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.link_group_change('link_group_add', org, "group", host, slug)
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
language sql volatile security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.link_group_change('link_group_remove', org, "group", host,
                                   slug)
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
two of them is two visitors.  by= may be campaign, product, program or partner.
org: whose group
group: name of the group
from: from the hour of this moment on, by default the last 31 days
to: before this moment
by: hour, day, country, device, reason, target, sub1 to sub5, campaign etc.';


insert into usher.right (function, role)
select f, r
from (values
    ('link_group_create', array['owner', 'admin']),
    ('link_group_list', array['owner', 'admin', 'analyst']),
    ('link_group_show', array['owner', 'admin', 'analyst']),
    ('link_group_add', array['owner', 'admin']),
    ('link_group_remove', array['owner', 'admin']),
    ('link_group_drop', array['owner', 'admin']),
    ('link_group_stats', array['owner', 'admin', 'analyst'])
) as v (f, roles), unnest(roles) r;
