-- 086_api_health.sql - link health, link check.

create function usher.health_state(h usher.health)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select case when h.dead_at is not null then 'dead'
                when h.failures > 0 then 'failing'
                else coalesce(h.verdict, 'new') end
$$;

comment on function usher.health_state(usher.health) is
    'How a target is: dead, failing, unknown, alive or new';


create function usher.health_json(l usher.link, target integer,
    h usher.health)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'host', l.host, 'slug', l.slug,
        'target', usher.target_name(l.id, target),
        'state', usher.health_state(h), 'since', h.dead_at,
        'status', h.status, 'error', h.error, 'failures', h.failures,
        'dead', l.dead, 'checked', h.checked_at, 'next', h.next_at,
        'url', h.url)
$$;

comment on function usher.health_json(usher.link, integer, usher.health) is
    'The health of a link''s target as the catalogue shows it';


create function api.link_health(org text default null,
    host text default null, slug text default null,
    state text default 'dead', "limit" integer default 1000,
    after text default '')
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    whose  bigint;
    size   integer := usher.page("limit");
begin
    if host is not null then
        whose := (usher.domain_for('link_health', host)).org_id;

    elsif org is not null then
        whose := (usher.org_for('link_health', org)).id;

    else
        perform usher.authorize('link_health', null);
    end if;

    perform usher.text_ok('state', state,
        '^(dead|failing|unknown|alive|new|all)$',
        'It is dead, failing, unknown, alive, new or all.');

    return (select coalesce(jsonb_agg(usher.health_json(p.link, p.target,
                                                        p.health)
                                      order by p.id, p.target), '[]')
            from (select usher.link_id(l.host, l.slug) as id, t.target,
                         l as link, h as health,
                         dense_rank() over (order by l.host, l.slug) as n
                  from usher.health h
                  join usher.health_target t on t.digest = h.digest
                  join usher.link l on l.id = t.link_id
                  where (whose is null or l.org_id = whose)
                        and (link_health.host is null
                             or l.host = lower(link_health.host
                                               collate "C"))
                        and (link_health.slug is null
                             or l.slug = link_health.slug)
                        and l.disabled_at is null
                        and (state <> 'dead' or h.dead_at is not null)
                        and state in ('all', usher.health_state(h))
                        and (after = ''
                             or (l.host, l.slug)
                                > (split_part(after, '/', 1),
                                   substr(after, strpos(after, '/') + 1)))
                 ) p
            where p.n <= size);
end
$$;

comment on function api.link_health(text, text, text, text, integer, text) is
'Lists targets of links that do not answer.  Duty health asks each once a day:
the third failure in a row is death, one good answer is life.  See link update
dead=.
org: only of this org; the operator may leave it out
host: only of this host
slug: only of this link
state: dead, failing, unknown (as 403: robots are turned away), alive, new, all
limit: of at most so many links
after: go on after this host/slug';


create function api.link_check(host text, slug text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    l  usher.link := usher.link_for('link_check', host, slug);
begin
    perform usher.health_take(array[l.id]);

    update usher.health h set next_at = least(h.next_at, now())
    where h.digest in (select t.digest from usher.health_target t
                       where t.link_id = l.id);

    update usher.health_host o set due_at = least(o.due_at, now())
    where o.host in (select h.host
                     from usher.health_target t
                     join usher.health h on h.digest = t.digest
                     where t.link_id = l.id);

    perform usher.note('link_check', l.org_id,
        jsonb_build_object('host', l.host, 'slug', l.slug));

    return (select coalesce(jsonb_agg(usher.health_json(l, t.target, h)
                                      order by t.target), '[]')
            from usher.health_target t
            join usher.health h on h.digest = t.digest
            where t.link_id = l.id);
end
$$;

comment on function api.link_check(text, text) is
'Has the targets of a link asked at once, not when they are due.  link health
state=all shows what came of it.
host: host of the link
slug: slug of the link';


insert into usher.right (function, role)
select f, r
from (values
    ('link_health', array['owner', 'admin', 'analyst']),
    ('link_check', array['owner', 'admin'])
) as v (f, roles), unnest(roles) r;
