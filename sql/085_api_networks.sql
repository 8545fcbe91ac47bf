-- 085_api_networks.sql - nouns preset, network.  Products and programs are in
-- 085_api_programs.sql, campaigns and partners in 085_api_partners.sql.
--
-- Names are unique in an org (products: in a program), so a thing is named by
-- org and name.

create function usher.parameter_ok(argument text, name text)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.text_ok(argument, coalesce(nullif(name, ''), 'x'),
        '^[A-Za-z0-9_.-]{1,64}$',
        'The name of a parameter is 1 to 64 of letters, digits, _, . and -.')
$$;

comment on function usher.parameter_ok(text, text) is
    'Raises, naming the argument, unless this is a parameter of a URL, or '
    'none';


-- Presets.

create function usher.preset_for(preset text)
returns usher.network_preset
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found_preset  usher.network_preset;
begin
    select p.* into found_preset from usher.network_preset p
    where p.name = preset_for.preset;

    if found_preset.name is null then
        perform usher.fail('404', format('there is no preset "%s"', preset),
            'preset_list shows all; generic is for any other network.');
    end if;

    return found_preset;
end
$$;

comment on function usher.preset_for(text) is 'The preset of this name';


create function usher.preset_json(p usher.network_preset)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'name', p.name, 'title', p.title,
        'sub_id', array_to_string(p.sub_ids, ' '),
        'sub_id_pattern', p.sub_id_pattern,
        'sub_id_length', p.sub_id_length, 'deep_link', p.deep_link,
        'plain', p.plain,
        'trackable', usher.click_id_fits(p.sub_ids, p.sub_id_pattern,
                                         p.sub_id_length),
        'verified', p.source <> 'unverified')
$$;

comment on function usher.preset_json(usher.network_preset) is
    'A preset as the catalogue shows it';


create function usher.postback_json(p usher.network_preset)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'postback', (select string_agg(e.value || '='
                                       || replace(p.macro, '%', e.value), '&'
                                       order by f.n)
                     from jsonb_each_text(p.parameters) e
                     join unnest(array['click_id', 'transaction_id',
                                       'amount', 'sale_amount', 'currency',
                                       'status', 'status_time', 'event_id',
                                       'parent_id'])
                          with ordinality f (name, n) on f.name = e.key),
        'parameters', p.parameters, 'currency', p.currency,
        'statuses', p.statuses, 'auth', array_to_string(p.auth, ' '),
        'source', p.source, 'postback_source', p.postback_source)
$$;

comment on function usher.postback_json(usher.network_preset) is
    'How a network of this preset tells conversions, the query to give to '
    'it, and where all of it was read';


create function api.preset_list()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select coalesce(jsonb_agg(usher.preset_json(p) order by p.name), '[]')
    from usher.network_preset p
$$;

comment on function api.preset_list() is
'Lists what is known of each network: its sub-id parameters, the first of
which takes the click id, and what they take.  verified: preset show says
where that was read.';


create function api.preset_show(preset text)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.network_preset := usher.preset_for(preset);
begin
    return usher.preset_json(p) || jsonb_build_object('on_page', p.on_page)
           || usher.postback_json(p);
end
$$;

comment on function api.preset_show(text) is
'Shows what is known of a network, and how it tells conversions: parameters,
words for states, and the query of a postback to give to it.  on_page: whether
visitors count who come to the page itself, not by its own links.
preset: name of the preset';


-- Networks.

create function usher.network_for(function text, org text, network text)
returns usher.network
language sql
set search_path = pg_catalog, pg_temp
as $$
    select usher.thing_for(null::usher.network, function, 'org', org,
                           (usher.org_for(function, org)).id,
                           network)
$$;

comment on function usher.network_for(text, text, text) is
    'The network of this name, if the actor may call the function for its org';


create function usher.network_json(n usher.network)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', n.id, 'org', o.name, 'name', n.name, 'title', n.title,
        'preset', n.preset, 'sub_id', array_to_string(s.sub_ids, ' '),
        'sub_id_pattern', s.sub_id_pattern,
        'sub_id_length', s.sub_id_length, 'deep_link', s.deep_link,
        'plain', s.plain, 'trackable', s.trackable,
        'programs', (select count(*) from usher.program p
                     where p.network_id = n.id),
        'created', n.created_at)
    from usher.org o, usher.network_setup s
    where o.id = n.org_id and s.id = n.id
$$;

comment on function usher.network_json(usher.network) is
    'A network as the catalogue shows it';


create function usher.sub_id_ok(sub_id text, pattern text, length integer,
    deep_link text)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    hint  text := 'Give what one character may be, as in [A-Za-z0-9_-]: '
                  'letters, digits, ranges of them, and . _ ~ -';
begin
    perform usher.parameter_ok('sub_id', sub_id);
    perform usher.parameter_ok('deep_link', deep_link);
    perform usher.number_ok('sub_id_length', nullif(length, 0), 1, 1000);

    perform usher.text_ok('sub_id_pattern', coalesce(nullif(pattern, ''),
                                                     '[a]'),
        '^\[([A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9._~]){1,70}-?\]$', hint);
    perform '' ~ nullif(pattern, '');

exception
    when invalid_regular_expression then
        perform usher.fail('400',
            format('sub_id_pattern="%s" cannot be', left(pattern, 60)), hint);
end
$$;

comment on function usher.sub_id_ok(text, text, integer, text) is
    'Raises, naming the argument, unless a network may say so of its sub-id';


create function api.network_create(org text, name text, preset text,
    title text default '', sub_id text default null,
    sub_id_pattern text default null, sub_id_length integer default null,
    deep_link text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o     usher.org := usher.org_for('network_create', org);
    p     usher.network_preset;
    made  usher.network;
begin
    perform usher.name_ok(name);
    perform usher.title_ok(title);
    perform usher.sub_id_ok(sub_id, sub_id_pattern, sub_id_length,
                            deep_link);

    p := usher.preset_for(preset);

    insert into usher.network as n
        (org_id, name, title, preset, plain, sub_id, sub_id_pattern,
         sub_id_length, deep_link)
    values (o.id, network_create.name, network_create.title, p.name, p.plain,
            nullif(network_create.sub_id, ''),
            nullif(network_create.sub_id_pattern, ''),
            nullif(network_create.sub_id_length, 0),
            nullif(network_create.deep_link, ''))
    returning n.* into made;

    perform usher.note('network_create', o.id,
        jsonb_build_object('org', org, 'name', name, 'preset', preset,
            'title', title, 'sub_id', sub_id,
            'sub_id_pattern', sub_id_pattern,
            'sub_id_length', sub_id_length, 'deep_link', deep_link));

    return usher.network_json(made);

exception
    when unique_violation then
        perform usher.fail('409',
            format('org "%s" has a network "%s"', org, name),
            'Choose another name, or see network_show.');
end
$$;

comment on function api.network_create(text, text, text, text, text, text,
    integer, text) is
'Creates a network: the org''s account with it, which programs of side
network are reported by.  What a network takes is known from its preset; say
only what differs.
org: name of the org
name: short name, 1 to 32 of a-z, 0-9 and -
preset: which network it is, as preset list shows them
title: name for people
sub_id: parameter that takes the click id
sub_id_pattern: what one character of it may be, as in [A-Za-z0-9_-]
sub_id_length: how many characters it may have
deep_link: parameter that takes the address of a page';


create function api.network_list(org text default null,
    "limit" integer default 100, after bigint default 0)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o_id  bigint := usher.org_scope('network_list', org);
begin
    return (select coalesce(jsonb_agg(usher.network_json(l) order by l.id),
                            '[]')
            from (select n.*
                  from usher.network n
                  where n.id > after and (o_id is null or n.org_id = o_id)
                  order by n.id
                  limit usher.page("limit")) l);
end
$$;

comment on function api.network_list(text, integer, bigint) is
'Lists networks.
org: name of the org; the operator may leave it out
limit: at most so many
after: go on after this id';


create function api.network_show(org text, network text)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    n  usher.network := usher.network_for('network_show', org, network);
begin
    return usher.network_json(n)
           || usher.postback_json(usher.preset_for(n.preset));
end
$$;

comment on function api.network_show(text, text) is
'Shows a network, and how it tells conversions; postback is the query to give
to it.
org: name of the org
network: name of the network';


create function api.network_update(org text, network text,
    title text default null, sub_id text default null,
    sub_id_pattern text default null, sub_id_length integer default null,
    deep_link text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    n  usher.network := usher.network_for('network_update', org, network);
begin
    perform usher.title_ok(coalesce(title, ''));
    perform usher.sub_id_ok(sub_id, sub_id_pattern, sub_id_length,
                            deep_link);

    update usher.network u
    set title = coalesce(network_update.title, u.title),
        sub_id = nullif(coalesce(network_update.sub_id, u.sub_id), ''),
        sub_id_pattern = nullif(coalesce(network_update.sub_id_pattern,
                                         u.sub_id_pattern), ''),
        sub_id_length = nullif(coalesce(network_update.sub_id_length,
                                        u.sub_id_length), 0),
        deep_link = nullif(coalesce(network_update.deep_link, u.deep_link),
                           '')
    where u.id = n.id
    returning u.* into n;

    perform usher.note('network_update', n.org_id,
        jsonb_build_object('org', org, 'network', network, 'title', title,
            'sub_id', sub_id, 'sub_id_pattern', sub_id_pattern,
            'sub_id_length', sub_id_length, 'deep_link', deep_link));

    return usher.network_json(n);
end
$$;

comment on function api.network_update(text, text, text, text, text, integer,
    text) is
'Changes a network.  What is not given stays as it was.
org: name of the org
network: name of the network
title: name for people
sub_id: parameter that takes the click id; empty: as the preset says
sub_id_pattern: what one character of it may be; empty: as the preset says
sub_id_length: how many characters it may have; 0: as the preset says
deep_link: parameter that takes the address of a page; empty: as the preset';


create function api.network_drop(org text, network text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    n  usher.network := usher.network_for('network_drop', org, network);
begin
    delete from usher.network d where d.id = n.id;

    perform usher.note('network_drop', n.org_id,
        jsonb_build_object('org', org, 'network', network));

    return jsonb_build_object('name', network, 'dropped', true);

exception
    when foreign_key_violation then
        perform usher.fail('409', format('network "%s" is in use', network),
            'program_list shows its programs; drop those that were never '
            'used, the others stay with it.');
end
$$;

comment on function api.network_drop(text, text) is
'Drops a network.  One that a program has stays.
org: name of the org
network: name of the network';


insert into usher.right (function, role)
select f, r
from (values
    ('network_create', array['owner', 'admin']),
    ('network_list', array['owner', 'admin', 'analyst']),
    ('network_show', array['owner', 'admin', 'analyst']),
    ('network_update', array['owner', 'admin']),
    ('network_drop', array['owner', 'admin'])
) as v (f, roles), unnest(roles) r;
