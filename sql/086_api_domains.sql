-- 086_api_domains.sql - noun domain, and what URLs and lists of words are.

create function usher.url_ok(argument text, url text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    whose  text := lower(substring(url from '^[^:]*://([^/?#:]*)')
                         collate "C");
begin
    if url is null or not usher.target_ok(url) then
        perform usher.fail('400',
            format('%s="%s" cannot be', argument, left(url, 200)),
            'A URL is http:// or https:// and a host, without a user, at '
            'most 2048 bytes. What must not stand in a URL is written as '
            '%XX. Macros stand behind the host: {click_id}, {link}, {slug}, '
            '{sub1} to {sub5}, {country}, {device}, {os}, {lang}, '
            '{referrer_host}, {time}, {campaign}, {product}, {program}, '
            '{network}, {partner}.');
    end if;

    if exists (select from usher.domain d where d.host = whose) then
        perform usher.fail('400',
            format('%s="%s" leads to a host of links', argument,
                   left(url, 200)),
            'A link that leads to a link goes round, or counts twice: give '
            'the URL that the other one leads to.');
    end if;
end
$$;

comment on function usher.url_ok(text, text) is
    'Raises, naming the argument, unless a link may lead to its value';


create function usher.words(argument text, list text, form text, hint text)
returns text[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    words  text[];
begin
    if coalesce(list, '') = '' then
        return null;
    end if;

    select array_agg(w order by w) into words
    from (select distinct w from regexp_split_to_table(list, '[\s,]+') w
          where w <> '') d;

    if not usher.conditions_ok(words, form) then
        perform usher.fail('400',
            format('%s="%s" cannot be', argument, left(list, 60)), hint);
    end if;

    return words;
end
$$;

comment on function usher.words(text, text, text, text) is
    'The words of a list, separated by blanks or commas; raises, naming the '
    'argument, unless all have the form; null if there are none';


-- Domains.

create function usher.domain_for(function text, host text)
returns usher.domain
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    d  usher.domain;
begin
    select * into d from usher.domain x
    where x.host = lower(domain_for.host collate "C");

    perform usher.authorize(function, d.org_id);

    if d.host is null then
        perform usher.fail('404', format('there is no host "%s"', host),
            'domain_list shows all, domain_add adds one.');
    end if;

    return d;
end
$$;

comment on function usher.domain_for(text, text) is
    'The host of this name, if the actor may call the function for it';


create function usher.domain_json(d usher.domain)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'host', d.host,
        'org', (select o.name from usher.org o where o.id = d.org_id),
        'fallback', coalesce(d.fallback_url, ''),
        'links', (select count(*) from usher.link l where l.host = d.host),
        'created', d.created_at)
$$;

comment on function usher.domain_json(usher.domain) is
    'A host as the catalogue shows it';


-- Looks at all links: hosts are added rarely.

create function usher.domain_unled_ok(host text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    leads  text;
begin
    select l.host || '/' || l.slug into leads
    from usher.link l
    where domain_unled_ok.host in (usher.url_host(l.url),
                                   usher.url_host(l.fallback_url),
                                   usher.url_host(l.overflow_url))
          or l.id in (select t.link_id from usher.link_target t
                      where usher.url_host(t.url) = domain_unled_ok.host)
    order by l.host, l.slug
    limit 1;

    if leads is not null then
        perform usher.fail('409',
            format('link %s leads to host "%s"', leads, host),
            'A link that leads to a link goes round, or counts twice: '
            'link_update and link_target_set give it another URL.');
    end if;
end
$$;

comment on function usher.domain_unled_ok(text) is
    'Raises if a link leads to this host, which is to be one of links';


create function api.domain_add(host text, org text, fallback text default '')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('domain_add', org);
    d  usher.domain;
begin
    if host is null or not usher.host_ok(lower(host collate "C")) then
        perform usher.fail('400', format('host="%s" cannot be', host),
            'A host is a name as go.example.com, at most 190 bytes, without '
            'port; a name with other letters is written as xn--...');
    end if;

    if fallback <> '' then
        perform usher.url_ok('fallback', fallback);
    end if;

    perform usher.domain_unled_ok(lower(host collate "C"));

    insert into usher.domain as x (host, org_id, fallback_url)
    values (lower(domain_add.host collate "C"), o.id, nullif(fallback, ''))
    returning x.* into d;

    perform usher.note('domain_add', o.id, jsonb_build_object(
        'host', d.host, 'org', org, 'fallback', fallback));

    return usher.domain_json(d);

exception
    when unique_violation then
        perform usher.fail('409', format('there is a host "%s"', host),
            'Each host belongs to one org; domain_show says whose it is.');
    when check_violation then
        perform usher.fail('400', format('fallback="%s" cannot be', fallback),
            'Where everybody falls back to has no macros.');
end
$$;

comment on function api.domain_add(text, text, text) is
'Adds a host for links, to which no link leads so far; requests for other hosts
are answered 404.
host: name of the host, without port
org: whose links it has
fallback: where a slug leads that is no link; by default nowhere: 404';


create function api.domain_list(org text default null,
    "limit" integer default 1000, after text default '')
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    whose  bigint;
    size   integer := usher.page("limit");
begin
    if org is null then
        perform usher.authorize('domain_list', null);

    else
        whose := (usher.org_for('domain_list', org)).id;
    end if;

    return (select coalesce(jsonb_agg(usher.domain_json(l) order by l.host),
                            '[]')
            from (select d.* from usher.domain d
                  where (whose is null or d.org_id = whose)
                        and d.host > after
                  order by d.host
                  limit size) l);
end
$$;

comment on function api.domain_list(text, integer, text) is
'Lists the hosts for links.
org: only of this org; the operator may leave it out
limit: at most so many
after: go on after this host';


create function api.domain_show(host text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.domain_json(usher.domain_for('domain_show', host))
$$;

comment on function api.domain_show(text) is
'Shows a host, and how many links it has.
host: name of the host';


create function api.domain_update(host text, fallback text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    d  usher.domain := usher.domain_for('domain_update', host);
begin
    if fallback <> '' then
        perform usher.url_ok('fallback', fallback);
    end if;

    update usher.domain x set fallback_url = nullif(fallback, '')
    where x.host = d.host
    returning x.* into d;

    perform usher.note('domain_update', d.org_id,
        jsonb_build_object('host', d.host, 'fallback', fallback));

    return usher.domain_json(d);

exception
    when check_violation then
        perform usher.fail('400', format('fallback="%s" cannot be', fallback),
            'Where everybody falls back to has no macros.');
end
$$;

comment on function api.domain_update(text, text) is
'Changes where slugs lead that are no links.
host: name of the host
fallback: the URL; empty: nowhere, 404';


create function api.domain_drop(host text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    d  usher.domain := usher.domain_for('domain_drop', host);
begin
    delete from usher.domain x where x.host = d.host;

    perform usher.note('domain_drop', d.org_id,
        jsonb_build_object('host', d.host));

    return jsonb_build_object('host', d.host, 'dropped', true);

exception
    when foreign_key_violation then
        perform usher.fail('409', format('host "%s" has links', host),
            'link_list shows them; a host with links stays.');
end
$$;

comment on function api.domain_drop(text) is
'Drops a host that has no links.
host: name of the host';


insert into usher.right (function, role)
select f, r
from (values
    ('domain_list', array['owner', 'admin', 'analyst']),
    ('domain_show', array['owner', 'admin', 'analyst']),
    ('domain_update', array['owner', 'admin'])
) as v (f, roles), unnest(roles) r;
