-- 086_api_postbacks.sql - noun postback.
--
-- A secret that stands in the URL is made here, shown once, and kept as its
-- SHA-256.  What a network signs or encrypts by is a secret of kind network
-- (secret_put), which edges read again.

create function usher.pairs(argument text, list text, form text, hint text)
returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    w      text;
    pairs  jsonb := '{}';
begin
    for w in
        select p from regexp_split_to_table(coalesce(list, ''), '[\s,]+') p
        where p <> ''
    loop
        if w !~ form or pairs ? split_part(w, '=', 1) then
            perform usher.fail('400',
                format('%s="%s" cannot be', argument, left(list, 60)), hint);
        end if;

        pairs := pairs || jsonb_build_object(split_part(w, '=', 1),
                                             nullif(split_part(w, '=', 2),
                                                    ''));
    end loop;

    return pairs;
end
$$;

comment on function usher.pairs(text, text, text, text) is
    'An object of "a=b c=d", null where nothing is behind the =; raises, '
    'naming the argument, unless all have the form';


create function usher.postback_parameters(list text)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.pairs('parameters', list,
        '^(click_id|transaction_id|status|amount|sale_amount|currency'
        '|customer|coupon|status_time|event_id|subscription|parent_id)'
        '=([A-Za-z0-9_.-]{1,64})?$',
        'Write "click_id=aff_sub transaction_id=tid": what is held by which '
        'parameter. There are click_id, transaction_id, status, amount, '
        'sale_amount, currency, customer, coupon, status_time (when the state '
        'became so), event_id (of the message), subscription (that it is a '
        'payment of) and parent_id (the transaction that a refund of its own '
        'takes back); nothing behind the = says that none holds it.')
$$;

comment on function usher.postback_parameters(text) is
    'Which parameter holds what, from "click_id=aff_sub"';


create function usher.postback_statuses(list text)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.pairs('statuses', lower(list collate "C"),
        '^[^=]{0,64}=(pending|approved|rejected|reversed|ignored)$',
        'Write "paid=approved canceled=rejected": which word of the network '
        'means pending, approved, rejected or reversed, or is to be ignored; '
        'nothing before the = stands for no word at all.')
$$;

comment on function usher.postback_statuses(text) is
    'Which state a word means, from "paid=approved"';


create function usher.postback_endpoint(endpoint text, org_id bigint)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    url  text := coalesce(endpoint,
        (select 'https://' || min(d.host) || '/postback'
         from usher.domain d where d.org_id = postback_endpoint.org_id));
begin
    perform usher.text_ok('endpoint', url,
        '^https?://[A-Za-z0-9.:_~/-]+(\{postback\})?[A-Za-z0-9._~/-]*$',
        'Give the URL of the location with usher_conversion, as '
        'https://go.example.com/postback; {postback} in it is where the '
        'location takes the token from.');
    perform usher.number_ok('endpoint', octet_length(url), 1, 512);

    return url;
end
$$;

comment on function usher.postback_endpoint(text, bigint) is
    'Where an edge takes postbacks; by default at the first host of the org';


create function usher.postback_secret(org_id bigint, key text)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    s  usher.secret;
begin
    select x.* into s from usher.secret x
    where x.kind = 'network' and x.org_id = postback_secret.org_id
          and x.name = postback_secret.key and x.retired_at is null;

    if s.id is null then
        perform usher.fail('400', case when key is null
                then 'key= is not given'
                else format('key="%s" cannot be', left(key, 60)) end,
            'Name the secret that the network signs or encrypts by: first '
            'secret_put kind=network org=<org> name=<key>.');
    end if;

    if octet_length(s.ciphertext) > 1054 then
        perform usher.fail('400', format('key="%s" is too long', key),
            'A secret of a postback has at most 1024 bytes.');
    end if;

    return s.id;
end
$$;

comment on function usher.postback_secret(bigint, text) is
    'The secret of a network by this name; raises if there is none';


create function usher.postback_for(function text, org text, postback text)
returns usher.postback
language sql
set search_path = pg_catalog, pg_temp
as $$
    select usher.thing_for(null::usher.postback, function, 'org', org,
                           (usher.org_for(function, org)).id, postback)
$$;

comment on function usher.postback_for(text, text, text) is
    'The postback of this name, if the actor may call the function for its '
    'org';


create function usher.postback_url(p usher.postback, secret text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Where it is not known how the network writes a macro, and of what its
    -- preset does not have, braces stand for it.
    select replace(p.endpoint, '{postback}', p.token)
           || coalesce('?' || array_to_string(array_remove(array[
                  case when position('{postback}' in p.endpoint) = 0
                       then 'postback=' || p.token end,
                  case when p.secret is not null
                       then 'usher_secret=' || secret end,
                  m.macros], null), '&'), '')
    from (select string_agg(
              e.value || '=' || coalesce(
                  replace(s.macro, '%', coalesce(r.parameters->>e.key,
                                                 e.value)),
                  '{' || e.key || '}'), '&' order by f.n) as macros
          from usher.postback_setup s
          join usher.network_preset r on r.name = s.preset
          cross join jsonb_each_text(s.parameters) e
          join unnest(array['click_id', 'transaction_id', 'amount',
                            'sale_amount', 'currency', 'status',
                            'customer', 'coupon', 'status_time', 'event_id',
                            'subscription', 'parent_id'])
               with ordinality f (name, n) on f.name = e.key
          where s.id = p.id and p.form = 'query') m
$$;

comment on function usher.postback_url(usher.postback, text) is
    'What is to be given to the network';


create function usher.postback_shown(p usher.postback)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', p.id, 'org', o.name, 'name', p.name,
        'network', n.name, 'program', g.name, 'preset', s.preset,
        'form', p.form, 'pixel', p.pixel,
        'proof', array_to_string(array_remove(array[
            case when p.secret is not null then 'secret' end,
            case when p.hmac is not null then 'hmac' end,
            case p.form when 'ins' then 'ins'
                        when 'digistore24' then 'sha_sign' end,
            case when p.addresses <> '{}' then 'address' end], null), ' '),
        'key', x.name, 'hmac', p.hmac, 'encoding', p.hmac_encoding,
        'signature', p.hmac_parameter,
        'allow', array_to_string(p.addresses, ' '),
        'parameters', s.parameters, 'statuses', s.statuses,
        'endpoint', p.endpoint,
        'state', case when p.disabled_at is null then 'enabled'
                      else 'disabled' end,
        'created', p.created_at)
    from usher.org o
    join usher.postback_setup s on s.id = p.id
    left join usher.network n on n.id = p.network_id
    left join usher.program g on g.id = p.program_id
    left join usher.secret x on x.id = p.secret_id
    where o.id = p.org_id
$$;

comment on function usher.postback_shown(usher.postback) is
    'A postback as the catalogue shows it';


-- What there is of a conversion has to be known by something.

create function usher.postback_whole(p usher.postback)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    s  usher.postback_setup;
begin
    select v.* into s from usher.postback_setup v where v.id = p.id;

    if not s.parameters ?| array['click_id', 'transaction_id'] then
        perform usher.fail('400',
            'parameters= has neither click_id nor transaction_id',
            format('Preset "%s" knows no postback: say which parameter '
                   'holds what, as in parameters="click_id=subid '
                   'transaction_id=tid amount=payout".', s.preset));
    end if;

    -- They stand in its record, and edges take no more.
    if exists (select
               from jsonb_each_text(s.statuses) w
               where w.value in ('rejected', 'reversed', 'ignored')
               group by w.value = 'ignored'
               having sum(octet_length(w.key) + 1) > 500)
    then
        perform usher.fail('400', 'statuses= has too many words',
            'All that mean rejected or reversed have 500 bytes at most, and '
            'all that are ignored.');
    end if;
end
$$;

comment on function usher.postback_whole(usher.postback) is
    'Raises unless it is known by what a conversion is told from another, and '
    'edges can take its words';


create function api.postback_add(org text, name text,
    network text default null, program text default null,
    endpoint text default null, form text default null,
    pixel boolean default false, key text default null,
    hmac text default null, encoding text default 'hex',
    signature text default 'signature', allow text default '',
    parameters text default '', statuses text default '')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o       usher.org := usher.org_for('postback_add', org);
    n       usher.network;
    g       usher.program;
    made    usher.postback;
    secret  text;
    url     text := usher.postback_endpoint(endpoint, o.id);
begin
    perform usher.name_ok(name);

    if (network is null) = (program is null) then
        perform usher.fail('400',
            'network= or program= is needed, and not both',
            'A network calls it, or the shop of a program of side own.');
    end if;

    if network is not null then
        n := usher.network_for('postback_add', org, network);

    else
        g := usher.program_for('postback_add', org, program);

        perform usher.enabled_ok(g);

        if g.side <> 'own' then
            perform usher.fail('400',
                format('program="%s" cannot be', program),
                'What a network reports is told by the network: network=.');
        end if;
    end if;

    form := coalesce(form, case when n.preset = 'clickbank' then 'ins'
                                else 'query' end);
    perform usher.text_ok('form', form, '^(query|ins|digistore24)$',
        'form is query, ins (ClickBank) or digistore24 (IPN).');
    perform usher.text_ok('hmac', coalesce(hmac, 'sha256'),
        '^(sha256|sha1|sha512|md5)$', 'hmac is sha256, sha1, sha512 or md5.');
    perform usher.text_ok('encoding', encoding, '^(hex|base64)$',
        'encoding is hex or base64.');
    perform usher.parameter_ok('signature', nullif(signature, ''));

    if pixel and (form <> 'query' or hmac is not null) then
        perform usher.fail('400', 'a pixel proves nothing',
            'Everybody who sees the page can do what it does: leave out '
            'form= and hmac=.');
    end if;

    if form <> 'query' and hmac is not null then
        perform usher.fail('400', format('hmac= and form=%s cannot be', form),
            'This form is signed or encrypted in its own way.');
    end if;

    if key is not null and form = 'query' and hmac is null then
        perform usher.fail('400', 'key= is of no use here',
            'It is for hmac=, form=ins and form=digistore24; a secret in the '
            'URL is made here.');
    end if;

    if form = 'query' and hmac is null and not pixel then
        secret := usher.random_base32(32);
    end if;

    insert into usher.postback as p
        (org_id, name, network_id, program_id, form, pixel, secret,
         secret_id, hmac, hmac_encoding, hmac_parameter, addresses,
         parameters, statuses, endpoint)
    values (o.id, postback_add.name, n.id, g.id, postback_add.form,
            postback_add.pixel, sha256(convert_to(secret, 'UTF8')),
            case when form <> 'query' or hmac is not null
                 then usher.postback_secret(o.id, key) end,
            postback_add.hmac,
            case when hmac is not null then encoding end,
            case when hmac is not null then signature end,
            usher.networks(coalesce(allow, '')),
            usher.postback_parameters(postback_add.parameters),
            usher.postback_statuses(postback_add.statuses), url)
    returning p.* into made;

    perform usher.postback_whole(made);

    perform usher.note('postback_add', o.id, jsonb_build_object(
        'org', org, 'name', name, 'network', network, 'program', program,
        'endpoint', endpoint, 'form', form, 'pixel', pixel, 'key', key,
        'hmac', hmac, 'allow', allow, 'parameters', parameters,
        'statuses', statuses));

    return usher.postback_shown(made)
           || jsonb_strip_nulls(jsonb_build_object(
                  'url', usher.postback_url(made, secret),
                  'secret', secret));

exception
    when unique_violation then
        perform usher.fail('409',
            format('org "%s" has a postback "%s"', org, name),
            'Choose another name, or see postback_show.');
end
$$;

comment on function api.postback_add(text, text, text, text, text, text,
    boolean, text, text, text, text, text, text, text) is
'Adds a postback: what is told at its url, which is to be given to the network
or put into the shop, is a conversion.  The secret in it is shown this once.
org: name of the org
name: short name, 1 to 32 of a-z, 0-9 and -
network: the network that calls it
program: or the program of side own whose shop does
endpoint: URL of the location with usher_conversion; by default /postback at the first host of the org
form: query, ins (ClickBank, encrypted) or digistore24 (IPN, signed)
pixel: answer with an image; conversions stay pending
key: name of the secret of kind network that it signs or encrypts by, and no other network
hmac: sha256, sha1, sha512 or md5: the query is signed, without a secret in it
encoding: of the signature: hex or base64
signature: parameter that holds it
allow: addresses that may call, as 203.0.113.0/24; empty: any
parameters: which parameter holds what, where that differs from the preset
statuses: which word means what, where that differs from the preset';


create function api.postback_list(org text default null,
    "limit" integer default 100, after bigint default 0)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o_id  bigint := usher.org_scope('postback_list', org);
begin
    return (select coalesce(jsonb_agg(usher.postback_shown(l)
                       - array['parameters', 'statuses', 'encoding',
                               'signature', 'endpoint'] order by l.id), '[]')
            from (select p.*
                  from usher.postback p
                  where p.id > after and (o_id is null or p.org_id = o_id)
                  order by p.id
                  limit usher.page("limit")) l);
end
$$;

comment on function api.postback_list(text, integer, bigint) is
'Lists postbacks.
org: name of the org; the operator may leave it out
limit: at most so many
after: go on after this id';


create function api.postback_show(org text, postback text)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.postback := usher.postback_for('postback_show', org, postback);
begin
    return usher.postback_shown(p)
           || jsonb_build_object('url', usher.postback_url(p, '{secret}'));
end
$$;

comment on function api.postback_show(text, text) is
'Shows a postback, its url with everything but the secret.
org: name of the org
postback: name of the postback';


create function api.postback_update(org text, postback text,
    endpoint text default null, key text default null,
    allow text default null, parameters text default null,
    statuses text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.postback := usher.postback_for('postback_update', org, postback);
begin
    if key is not null and p.secret_id is null then
        perform usher.fail('400', 'key= is of no use here',
            'It is for hmac=, form=ins and form=digistore24; '
            'postback_rotate_secret makes another secret for the URL.');
    end if;

    update usher.postback u
    set endpoint = case when postback_update.endpoint is null then u.endpoint
                        else usher.postback_endpoint(
                                 postback_update.endpoint, u.org_id) end,
        secret_id = case when key is null then u.secret_id
                         else usher.postback_secret(u.org_id, key) end,
        addresses = coalesce(usher.networks(allow), u.addresses),
        parameters = case when postback_update.parameters is null
                          then u.parameters
                          else usher.postback_parameters(
                                   postback_update.parameters) end,
        statuses = case when postback_update.statuses is null
                        then u.statuses
                        else usher.postback_statuses(
                                 postback_update.statuses) end
    where u.id = p.id
    returning u.* into p;

    perform usher.postback_whole(p);

    perform usher.note('postback_update', p.org_id, jsonb_build_object(
        'org', org, 'postback', postback, 'endpoint', endpoint, 'key', key,
        'allow', allow, 'parameters', parameters, 'statuses', statuses));

    return usher.postback_shown(p)
           || jsonb_build_object('url', usher.postback_url(p, '{secret}'));
end
$$;

comment on function api.postback_update(text, text, text, text, text, text,
    text) is
'Changes a postback.  What is not given stays as it was.
org: name of the org
postback: name of the postback
endpoint: URL of the location with usher_conversion
key: name of the secret of kind network that it signs or encrypts by
allow: addresses that may call, as 203.0.113.0/24; empty: any
parameters: which parameter holds what; empty: as the preset says
statuses: which word means what; empty: as the preset says';


create function usher.postback_able(function text, org text, postback text,
    able boolean)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    p  usher.postback := usher.postback_for(function, org, postback);
begin
    if (p.disabled_at is null) = able then
        perform usher.fail('409', format('postback "%s" is %s', postback,
                case when able then 'enabled' else 'disabled' end),
            'postback_show tells.');
    end if;

    update usher.postback u
    set disabled_at = case when able then null else now() end
    where u.id = p.id
    returning u.* into p;

    perform usher.note(function, p.org_id,
        jsonb_build_object('org', org, 'postback', postback));

    return usher.postback_shown(p);
end
$$;

comment on function usher.postback_able(text, text, text, boolean) is
    'Enables or disables a postback';


create function api.postback_disable(org text, postback text)
returns jsonb
language sql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.postback_able('postback_disable', org, postback, false)
$$;

comment on function api.postback_disable(text, text) is
'Disables a postback: who calls it is answered 404.
org: name of the org
postback: name of the postback';


create function api.postback_enable(org text, postback text)
returns jsonb
language sql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.postback_able('postback_enable', org, postback, true)
$$;

comment on function api.postback_enable(text, text) is
'Enables a postback that was disabled.
org: name of the org
postback: name of the postback';


create function api.postback_rotate_secret(org text, postback text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p      usher.postback := usher.postback_for('postback_rotate_secret',
                                                org, postback);
    fresh  text := usher.random_base32(32);
begin
    if p.secret is null then
        perform usher.fail('409',
            format('postback "%s" has no secret in its URL', postback),
            'A secret that a network signs or encrypts by is changed by '
            'secret_put, or by postback_update key=.');
    end if;

    update usher.postback u
    set secret = sha256(convert_to(fresh, 'UTF8'))
    where u.id = p.id
    returning u.* into p;

    perform usher.note('postback_rotate_secret', p.org_id,
        jsonb_build_object('org', org, 'postback', postback));

    return usher.postback_shown(p)
           || jsonb_build_object('url', usher.postback_url(p, fresh),
                                 'secret', fresh);
end
$$;

comment on function api.postback_rotate_secret(text, text) is
'Makes another secret for the URL of a postback; the one before is refused at
once.  It is shown this once.
org: name of the org
postback: name of the postback';


insert into usher.right (function, role)
select f, r
from (values
    ('postback_add', array['owner', 'admin']),
    ('postback_list', array['owner', 'admin', 'analyst']),
    ('postback_show', array['owner', 'admin', 'analyst']),
    ('postback_update', array['owner', 'admin']),
    ('postback_disable', array['owner', 'admin']),
    ('postback_enable', array['owner', 'admin']),
    ('postback_rotate_secret', array['owner', 'admin'])
) as v (f, roles), unnest(roles) r;
