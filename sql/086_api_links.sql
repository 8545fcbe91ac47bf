-- 086_api_links.sql - noun link: links and their targets.  Their hosts are in
-- 086_api_domains.sql.

create function usher.link_for(function text, host text, slug text)
returns usher.link
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    d  usher.domain := usher.domain_for(function, host);
    l  usher.link;
begin
    select * into l from usher.link x
    where x.host = d.host and x.slug = link_for.slug;

    if l.id is null then
        perform usher.fail('404',
            format('host "%s" has no link "%s"', d.host, slug),
            'link_list shows all; capital letters matter.');
    end if;

    return l;
end
$$;

comment on function usher.link_for(text, text, text) is
    'The link of this name, if the actor may call the function for it';


create function usher.target_json(t usher.link_target)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'name', t.name, 'number', t.number, 'step', t.step,
        'weight', t.weight, 'url', t.url,
        'country', coalesce(array_to_string(t.countries, ' '), ''),
        'device', coalesce(array_to_string(t.devices, ' '), ''),
        'os', coalesce(array_to_string(t.systems, ' '), ''),
        'language', coalesce(array_to_string(t.languages, ' '), ''),
        'referrer', coalesce(array_to_string(t.referrers, ' '), ''),
        'starts', t.starts_at, 'ends', t.ends_at,
        'cap', t.cap, 'cap_day', t.cap_day)
$$;

comment on function usher.target_json(usher.link_target) is
    'A target of a link as the catalogue shows it';


create function usher.link_json(l usher.link)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', l.id, 'host', l.host, 'slug', l.slug, 'title', l.title,
        'url', l.url, 'fallback', coalesce(l.fallback_url, ''),
        'overflow', coalesce(l.overflow_url, ''),
        'status', l.status, 'plain', l.plain, 'query', l.pass_query,
        'utm', coalesce(l.utm, ''), 'referrer_policy', l.referrer_policy,
        'program', (select p.name from usher.program p
                    where p.id = l.program_id),
        'product', (select p.name from usher.product p
                    where p.id = l.product_id),
        'campaign', (select c.name from usher.campaign c
                     where c.id = l.campaign_id),
        'partner', (select p.name from usher.partner p
                    where p.id = l.partner_id),
        'expires', l.expires_at, 'dead', l.dead,
        'untracked', l.untracked,
        'cap', l.cap, 'cap_day', l.cap_day,
        'state', case when l.disabled_at is not null then 'disabled'
                      when l.expires_at <= now() then 'expired'
                      else 'enabled' end,
        'targets', coalesce((select jsonb_agg(usher.target_json(t)
                                              order by t.step, t.number)
                             from usher.link_target t
                             where t.link_id = l.id), '[]'),
        'created', l.created_at)
$$;

comment on function usher.link_json(usher.link) is
    'A link as the catalogue shows it';


create function usher.cap_json(link_id bigint, target smallint, cap integer,
    cap_day integer, since timestamptz)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'counted', case when cap is not null then
             usher.cap_counted(link_id, target, since, null, null) end,
        'counted_today', case when cap_day is not null then
             usher.cap_counted(link_id, target, since,
                               (now() at time zone 'UTC')::date, null) end))
$$;

comment on function usher.cap_json(bigint, smallint, integer, integer,
    timestamptz) is
    'What the caps of a link or a target have counted, as far as it is stored';


create function usher.link_counted(l usher.link)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select usher.link_json(l)
           || usher.cap_json(l.id, 0::smallint, l.cap, l.cap_day, l.cap_since)
           || jsonb_build_object('targets', coalesce(
                  (select jsonb_agg(usher.target_json(t)
                                    || usher.cap_json(l.id, t.number, t.cap,
                                           t.cap_day, t.cap_since)
                                    order by t.step, t.number)
                   from usher.link_target t
                   where t.link_id = l.id), '[]'))
$$;

comment on function usher.link_counted(usher.link) is
    'A link with what its caps have counted';


-- Seven characters that are not mistaken for each other.

create function usher.slug()
returns text
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
    select string_agg(substr('23456789abcdefghjkmnpqrstuvwxyz',
                             1 + floor(random() * 31)::integer, 1), '')
    from generate_series(1, 7)
$$;

comment on function usher.slug() is 'A slug by chance';


create function usher.link_slug_ok(slug text)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.text_ok('slug', slug,
        '^(?=.{1,64}$)[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$',
        'A slug is 1 to 64 of letters, digits and . _ ~ -, with / between.')
$$;

comment on function usher.link_slug_ok(text) is
    'Raises unless it can be the slug of a link';


create type usher.link_of as (
    program_id   bigint,
    product_id   bigint,
    campaign_id  bigint,
    partner_id   bigint
);

comment on type usher.link_of is 'What a link belongs to';


create function usher.link_of(org_id bigint, program text, product text,
    campaign text, partner text)
returns usher.link_of
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    o  usher.link_of;
begin
    if program is null and (product is not null or partner is not null) then
        perform usher.fail('400', 'no program was named',
            'A product and a partner are of a program: give program=<name>.');
    end if;

    select p.id into o.program_id from usher.program p
    where p.org_id = link_of.org_id and p.name = link_of.program;

    if program is not null and o.program_id is null then
        perform usher.fail('404', format('there is no program "%s"', program),
            'program_list shows all.');
    end if;

    select p.id into o.product_id from usher.product p
    where p.program_id = o.program_id and p.name = link_of.product;

    if product is not null and o.product_id is null then
        perform usher.fail('404',
            format('program "%s" has no product "%s"', program, product),
            'product_list shows all.');
    end if;

    select c.id into o.campaign_id from usher.campaign c
    where c.org_id = link_of.org_id and c.name = link_of.campaign;

    if campaign is not null and o.campaign_id is null then
        perform usher.fail('404',
            format('there is no campaign "%s"', campaign),
            'campaign_list shows all.');
    end if;

    select q.id into o.partner_id
    from usher.partner q
    join usher.program_partner j on j.partner_id = q.id
    where q.org_id = link_of.org_id and q.name = link_of.partner
          and j.program_id = o.program_id;

    if partner is not null and o.partner_id is null then
        perform usher.fail('404',
            format('partner "%s" is not in program "%s"', partner, program),
            'partner_join lets one take part; partner_list shows all.');
    end if;

    return o;
end
$$;

comment on function usher.link_of(bigint, text, text, text, text) is
    'What these names are in an org; raises if one is nothing';


create function usher.link_arguments_ok(fallback text, overflow text,
    utm text, status integer, referrer_policy text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if fallback <> '' then
        perform usher.url_ok('fallback', fallback);
    end if;

    if overflow <> '' then
        perform usher.url_ok('overflow', overflow);
    end if;

    if utm <> '' then
        perform usher.text_ok('utm', utm,
            '^utm_[a-z_]+=[A-Za-z0-9._~%{}-]*(&utm_[a-z_]+=[A-Za-z0-9._~%{}-]*)*$',
            'UTM parameters are utm_source=...&utm_medium=...; values are '
            'macros, or text with %XX for what is no letter or digit.');

        if not usher.target_ok('http://a/?' || utm) then
            perform usher.fail('400', format('utm="%s" cannot be', utm),
                'Its values have macros that there are, and two hexadecimal '
                'digits behind each %.');
        end if;
    end if;

    if status not in (301, 302, 307, 308) then
        perform usher.fail('400', format('status=%s cannot be', status),
            'A link answers 302, or 307, 301, 308: the last two are kept by '
            'browsers, whose next clicks nobody sees.');
    end if;

    perform usher.text_ok('referrer_policy', coalesce(referrer_policy,
                                                      'origin'),
        '^(no-referrer|no-referrer-when-downgrade|origin|origin-when-cross-origin|same-origin|strict-origin|strict-origin-when-cross-origin|unsafe-url)$',
        'It is one of the values of Referrer-Policy (W3C).');
end
$$;

comment on function usher.link_arguments_ok(text, text, text, integer, text)
    is 'Raises unless a link may have these; null is not looked at';


create function usher.url_tracked(url text, parameter text)
returns text
language sql immutable parallel safe
return case
    when url ~ ('^[^?#]*\?([^#]*&)?' || parameter || '=')
        then regexp_replace(url, '^([^?#]*\?([^#]*&)?' || parameter
                                 || '=)[^&#]*', '\1{click_id}')
    else usher.url_with(url, parameter || '={click_id}') end;

comment on function usher.url_tracked(text, text) is
    'The URL with the click id in this parameter of its query';


create function usher.link_dead_ok(dead text)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.text_ok('dead', dead, '^(list|fallback|ignore)$',
        'Targets that are dead are listed, or left out (fallback); of some '
        'nobody asks whether they are (ignore).')
$$;

comment on function usher.link_dead_ok(text) is
    'Raises unless this can become of dead targets';


create function usher.caps_ok(cap integer, cap_day integer)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.number_ok('cap', coalesce(cap, 0), 0, 999999999);
    perform usher.number_ok('cap_day', coalesce(cap_day, 0), 0, 999999999);
end
$$;

comment on function usher.caps_ok(integer, integer) is
    'Raises unless these can be caps; 0: none, null is not looked at';


create function usher.link_tracked_ok(program_id bigint, untracked boolean,
    url text, overflow text default null)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    p     usher.program;
    name  text;
    ids   text[];
begin
    select * into p from usher.program x
    where x.id = link_tracked_ok.program_id;

    if position('{click_id}' in concat(url, overflow)) > 0 then
        perform usher.tracked_ok(p);
    end if;

    if untracked or url is null then
        return;
    end if;

    select n.name, s.sub_ids into name, ids
    from usher.network_setup s
    join usher.network n on n.id = s.id
    where s.id = p.network_id and s.trackable and p.mode <> 'plain'
          and not usher.click_id_returns(url, s);

    if ids is not null then
        perform usher.fail('400',
            format('a link of program "%s" has %s', p.name,
                   case when position('{click_id}' in url) > 0
                        then '{click_id} where its network does not look'
                        else 'no {click_id}' end),
            format('Network "%s" gives back what stands in %s: %s. '
                   'untracked=true of link_add and link_update lets it be '
                   'without: then none of its conversions finds a click.',
                   name, array_to_string(ids, ', '),
                   case when length(url) > 500 then 'write it there'
                        else format('url="%s"',
                                 usher.url_tracked(url, ids[1])) end));
    end if;
end
$$;

comment on function usher.link_tracked_ok(bigint, boolean, text, text) is
    'Raises if one of these URLs gives a click id to a program whose network '
    'does not take it, or where that has to be asked for the URL gives none '
    'to one that does, where it looks; null is not looked at';


create function api.link_add(host text, url text, slug text default null,
    title text default '', fallback text default '',
    overflow text default '', expires timestamptz default null,
    query boolean default false, utm text default '',
    plain boolean default false, status integer default 302,
    referrer_policy text default 'no-referrer-when-downgrade',
    program text default null, product text default null,
    campaign text default null, partner text default null,
    dead text default 'list', untracked boolean default false,
    cap integer default 0, cap_day integer default 0)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    d     usher.domain := usher.domain_for('link_add', host);
    name  text := coalesce(slug, usher.slug());
    o     usher.link_of;
    made  usher.link;
begin
    o := usher.link_of(d.org_id, program, product, campaign, partner);

    perform usher.enabled_ok(p) from usher.program p where p.id = o.program_id;
    perform usher.link_slug_ok(name);
    perform usher.title_ok(title);
    perform usher.url_ok('url', url);
    perform usher.link_arguments_ok(fallback, overflow, utm, status,
                                    referrer_policy);
    perform usher.link_dead_ok(dead);
    perform usher.caps_ok(cap, cap_day);
    perform usher.link_tracked_ok(o.program_id, untracked, url, overflow);

    insert into usher.link as l (host, slug, title, url, fallback_url,
        overflow_url, expires_at, pass_query, utm, plain, status,
        referrer_policy, org_id, program_id, product_id, campaign_id,
        partner_id, dead, untracked, cap, cap_day)
    values (d.host, name, link_add.title, link_add.url, nullif(fallback, ''),
            nullif(overflow, ''), expires, query, nullif(link_add.utm, ''),
            link_add.plain, link_add.status, link_add.referrer_policy,
            d.org_id, o.program_id, o.product_id, o.campaign_id,
            o.partner_id, link_add.dead, link_add.untracked,
            nullif(link_add.cap, 0), nullif(link_add.cap_day, 0))
    returning l.* into made;

    perform usher.note('link_add', d.org_id, jsonb_build_object(
        'host', d.host, 'slug', name, 'url', url));

    return usher.link_json(made);

exception
    when unique_violation then
        perform usher.fail('409',
            format('host "%s" has a link "%s"', d.host, name),
            'Choose another slug, or see link_show.');
    when check_violation then
        perform usher.fail('400', 'the link is too long',
            'Its URLs and UTM parameters have at most 3584 bytes together.');
end
$$;

comment on function api.link_add(text, text, text, text, text, text,
    timestamptz, boolean, text, boolean, integer, text, text, text, text,
    text, text, boolean, integer, integer) is
'Adds a link: https://<host>/.../<slug> leads to a URL.
host: host of the link, see domain add
url: where it leads; macros as {click_id} are expanded
slug: what stands behind the location; by default seven characters by chance
title: name for people
fallback: where it leads when it cannot lead where it should
overflow: where it leads when it has ended, or is over its cap
expires: when it ends
query: whether the query of a click is added to the URL
utm: utm_source=...&utm_medium=... that are added to the URL
plain: true for programs that forbid cloaking: the referrer is left as it is
status: of the redirect: 302, 301, 307 or 308
referrer_policy: Referrer-Policy of the redirect
program: program that pays, or is paid for, what comes of it
product: product of the program
campaign: campaign it belongs to
partner: partner who is paid for it; program is one of our own
dead: a dead target: list it, fallback: send nobody there, ignore: do not ask
untracked: true for a link without {click_id} where the network takes one
cap: net clicks that it sends on, from now on; 0: any number
cap_day: the same of each day (UTC)';


create function api.link_show(host text, slug text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.link_counted(usher.link_for('link_show', host, slug))
$$;

comment on function api.link_show(text, text) is
'Shows a link with its targets, and what caps have counted.
host: host of the link
slug: slug of the link';


create function api.link_list(host text, "limit" integer default 1000,
    after text default '')
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    d     usher.domain := usher.domain_for('link_list', host);
    size  integer := usher.page("limit");
begin
    return (select coalesce(jsonb_agg(usher.link_json(p) order by p.slug),
                            '[]')
            from (select l.* from usher.link l
                  where l.host = d.host and l.slug > after
                  order by l.slug
                  limit size) p);
end
$$;

comment on function api.link_list(text, integer, text) is
'Lists the links of a host.
host: the host
limit: at most so many
after: go on after this slug';


create function api.link_update(host text, slug text, url text default null,
    title text default null, fallback text default null,
    overflow text default null, expires timestamptz default null,
    query boolean default null, utm text default null,
    plain boolean default null, status integer default null,
    referrer_policy text default null, dead text default null,
    untracked boolean default null,
    cap integer default null, cap_day integer default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    l  usher.link := usher.link_for('link_update', host, slug);
begin
    if url is not null then
        perform usher.url_ok('url', url);
    end if;

    perform usher.title_ok(coalesce(title, ''));
    perform usher.link_arguments_ok(fallback, overflow, utm, status,
                                    referrer_policy);
    perform usher.link_dead_ok(coalesce(dead, 'list'));
    perform usher.caps_ok(cap, cap_day);
    perform usher.link_tracked_ok(l.program_id,
        coalesce(untracked, l.untracked),
        case when untracked is null then url else coalesce(url, l.url) end,
        overflow);
    perform usher.link_tracked_ok(l.program_id, false, t.url)
    from usher.link_target t
    where t.link_id = l.id and not untracked;

    update usher.link u
    set url = coalesce(link_update.url, u.url),
        title = coalesce(link_update.title, u.title),
        fallback_url = nullif(coalesce(fallback, u.fallback_url), ''),
        overflow_url = nullif(coalesce(overflow, u.overflow_url), ''),
        expires_at = nullif(coalesce(expires, u.expires_at), 'infinity'),
        pass_query = coalesce(query, u.pass_query),
        utm = nullif(coalesce(link_update.utm, u.utm), ''),
        plain = coalesce(link_update.plain, u.plain),
        status = coalesce(link_update.status, u.status),
        dead = coalesce(link_update.dead, u.dead),
        untracked = coalesce(link_update.untracked, u.untracked),
        cap = nullif(coalesce(link_update.cap, u.cap), 0),
        cap_day = nullif(coalesce(link_update.cap_day, u.cap_day), 0),
        referrer_policy = coalesce(link_update.referrer_policy,
                                   u.referrer_policy)
    where u.id = l.id
    returning u.* into l;

    perform usher.note('link_update',
        (select d.org_id from usher.domain d where d.host = l.host),
        jsonb_build_object('host', l.host, 'slug', l.slug, 'url', url,
            'title', title, 'fallback', fallback, 'overflow', overflow,
            'expires', expires, 'query', query, 'utm', utm, 'plain', plain,
            'status', status, 'referrer_policy', referrer_policy,
            'dead', dead, 'untracked', untracked, 'cap', cap,
            'cap_day', cap_day));

    return usher.link_json(l);

exception
    when check_violation then
        perform usher.fail('400', 'the link is too long',
            'Its URLs and UTM parameters have at most 3584 bytes together, '
            'and with those of its targets some 4000.');
end
$$;

comment on function api.link_update(text, text, text, text, text, text,
    timestamptz, boolean, text, boolean, integer, text, text, boolean, integer,
    integer) is
'Changes a link.  What is not given stays as it was.
host: host of the link
slug: slug of the link
url: where it leads
title: name for people
fallback: where it leads when it cannot lead where it should; empty: nowhere
overflow: where it leads when it has ended, or is over its cap; empty: to
fallback
expires: when it ends; infinity: never
query: whether the query of a click is added to the URL
utm: parameters that are added to the URL; empty: none
plain: true for programs that forbid cloaking
status: of the redirect: 302, 301, 307 or 308
referrer_policy: Referrer-Policy of the redirect
dead: a dead target: list it, fallback: send nobody there, ignore: do not ask
untracked: true for a link without {click_id} where the network takes one
cap: net clicks that it sends on, counted since it has a cap; 0: any number
cap_day: the same of each day (UTC)';


create function usher.link_switch(function text, host text, slug text,
    disable boolean)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    l  usher.link := usher.link_for(function, host, slug);
begin
    update usher.link u
    set disabled_at = case when disable
                           then coalesce(u.disabled_at, now()) end
    where u.id = l.id
    returning u.* into l;

    perform usher.note(function,
        (select d.org_id from usher.domain d where d.host = l.host),
        jsonb_build_object('host', l.host, 'slug', l.slug));

    return usher.link_json(l);

exception
    when check_violation then
        perform usher.fail('409', 'the link is too long',
            'It got its targets while it was disabled: with their conditions '
            'and UTM parameters it has at most some 4000 bytes. link_update '
            'and link_target_set shorten its URLs, link_target_drop drops a '
            'target.');
end
$$;

comment on function usher.link_switch(text, text, text, boolean) is
    'Disables or enables a link, for the function that does';


create function api.link_disable(host text, slug text)
returns jsonb
language sql volatile security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.link_switch('link_disable', host, slug, true)
$$;

comment on function api.link_disable(text, text) is
'Disables a link: it is as if it were not there, until link enable.
host: host of the link
slug: slug of the link';


create function api.link_enable(host text, slug text)
returns jsonb
language sql volatile security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.link_switch('link_enable', host, slug, false)
$$;

comment on function api.link_enable(text, text) is
'Enables a disabled link.
host: host of the link
slug: slug of the link';


create function usher.target_made(l usher.link, target text, url text,
    step integer, weight integer, country text, device text, os text,
    language text, referrer text, starts timestamptz, ends timestamptz,
    cap integer, cap_day integer)
returns usher.link_target
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    t  usher.link_target;
begin
    perform usher.text_ok('target', target, '^[a-z0-9][a-z0-9_-]{0,31}$',
        'The name of a target is 1 to 32 of a-z, 0-9, _ and -.');
    perform usher.url_ok('url', url);
    perform usher.link_tracked_ok(l.program_id, l.untracked, url);
    perform usher.number_ok('step', step, 1, 100);
    perform usher.number_ok('weight', weight, 0, 10000);
    perform usher.caps_ok(cap, cap_day);

    if starts >= ends then
        perform usher.fail('400', format('ends=%s is not after starts=%s',
                                         ends, starts),
            'A target ends after it starts.');
    end if;

    t.link_id := l.id;
    t.name := target;
    t.url := url;
    t.step := step;
    t.weight := weight;
    t.countries := usher.words('country', upper(country collate "C"),
        '^[A-Z]{2}$', 'Countries are two letters each (ISO 3166).');
    t.devices := usher.words('device', lower(device collate "C"),
        '^[a-z]{1,16}$',
        'Devices are words as of $usher_device: desktop, mobile, ...');
    t.systems := usher.words('os', lower(os collate "C"),
        '^[a-z]{1,16}$',
        'Systems are words as of $usher_os: ios, android, ...');
    t.languages := usher.words('language', language,
        '^[a-z]{2,3}(-[A-Z]{2})?$',
        'Languages are de, or with a region de-AT.');
    t.referrers := usher.words('referrer', lower(referrer collate "C"),
        '^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+$',
        'Referrers are hosts: news.example, or *.news.example.');
    t.starts_at := starts;
    t.ends_at := ends;
    t.cap := nullif(cap, 0);
    t.cap_day := nullif(cap_day, 0);

    return t;
end
$$;

comment on function usher.target_made(usher.link, text, text, integer,
    integer, text, text, text, text, text, timestamptz, timestamptz, integer,
    integer) is
    'A target of the link, but for its number; raises, naming the argument, '
    'if one cannot be';


create function api.link_target_set(host text, slug text, target text,
    url text, step integer default 1, weight integer default 1,
    country text default '', device text default '', os text default '',
    language text default '', referrer text default '',
    starts timestamptz default null, ends timestamptz default null,
    cap integer default 0, cap_day integer default 0)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    l     usher.link := usher.link_for('link_target_set', host, slug);
    m     usher.link_target := usher.target_made(l, target, url, step, weight,
                                   country, device, os, language, referrer,
                                   starts, ends, cap, cap_day);
    next  smallint;
begin
    -- Two that add a target at once must not take one number.
    perform from usher.link k where k.id = l.id for update;

    select min(n) into next
    from generate_series(1, 16) n
    where not exists (select from usher.link_target t
                      where t.link_id = l.id and t.number = n);

    if next is null
       and not exists (select from usher.link_target t
                       where t.link_id = l.id and t.name = target)
    then
        perform usher.fail('409',
            format('link "%s" has 16 targets', slug),
            'link_target_drop drops one.');
    end if;

    insert into usher.link_target as t (link_id, name, number, step, weight,
        url, countries, devices, systems, languages, referrers, starts_at,
        ends_at, cap, cap_day)
    values (l.id, m.name, coalesce(next, 1), m.step, m.weight, m.url,
        m.countries, m.devices, m.systems, m.languages, m.referrers,
        m.starts_at, m.ends_at, m.cap, m.cap_day)
    on conflict (link_id, name) do update
        set step = excluded.step, weight = excluded.weight,
            url = excluded.url, countries = excluded.countries,
            devices = excluded.devices, systems = excluded.systems,
            languages = excluded.languages, referrers = excluded.referrers,
            starts_at = excluded.starts_at, ends_at = excluded.ends_at,
            cap = excluded.cap, cap_day = excluded.cap_day;

    perform usher.note('link_target_set',
        (select d.org_id from usher.domain d where d.host = l.host),
        jsonb_build_object('host', l.host, 'slug', l.slug, 'target', target,
            'url', url, 'step', step, 'weight', weight, 'country', country,
            'device', device, 'os', os, 'language', language,
            'referrer', referrer, 'starts', starts, 'ends', ends,
            'cap', cap, 'cap_day', cap_day));

    return usher.link_json(l);

exception
    when check_violation then
        perform usher.fail('400', 'the link is too long',
            'With its targets, their conditions and UTM parameters it has at '
            'most some 4000 bytes: shorten the URLs, or drop targets.');
end
$$;

comment on function api.link_target_set(text, text, text, text, integer,
    integer, text, text, text, text, text, timestamptz, timestamptz, integer,
    integer) is
'Sets a target of a link: where it leads if all conditions hold.  Of targets
that hold, those of the lowest step share the clicks by weight.
host: host of the link
slug: slug of the link
target: name of the target
url: where it leads
step: 1 to 100; a lower one goes first
weight: its share among those of its step; 0: nobody is sent there
country: two letters each, any of them
device: desktop, mobile, tablet, ...
os: ios, android, windows, ...
language: as de or de-AT, which the client likes best
referrer: hosts of the page with the link, exact or *.host
starts: from when
ends: until when
cap: net clicks that are sent there, counted since it has a cap; 0: any number
cap_day: the same of each day (UTC)';


create function api.link_target_drop(host text, slug text, target text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    l  usher.link := usher.link_for('link_target_drop', host, slug);
begin
    delete from usher.link_target t
    where t.link_id = l.id and t.name = target;

    if not found then
        perform usher.fail('404',
            format('link "%s" has no target "%s"', slug, target),
            'link_show shows them.');
    end if;

    perform usher.note('link_target_drop',
        (select d.org_id from usher.domain d where d.host = l.host),
        jsonb_build_object('host', l.host, 'slug', l.slug,
                           'target', target));

    return usher.link_json(l);
end
$$;

comment on function api.link_target_drop(text, text, text) is
'Drops a target of a link.
host: host of the link
slug: slug of the link
target: name of the target';


insert into usher.right (function, role)
select f, r
from (values
    ('link_add', array['owner', 'admin']),
    ('link_show', array['owner', 'admin', 'analyst']),
    ('link_list', array['owner', 'admin', 'analyst']),
    ('link_update', array['owner', 'admin']),
    ('link_disable', array['owner', 'admin']),
    ('link_enable', array['owner', 'admin']),
    ('link_target_set', array['owner', 'admin']),
    ('link_target_drop', array['owner', 'admin'])
) as v (f, roles), unnest(roles) r;
