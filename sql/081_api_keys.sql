-- 081_api_keys.sql - noun key.
--
-- A key leaves the database once, in the answer of key_create or key_rotate.
-- What is stored, audited and listed is its digest or the first digits of it.

create function usher.key_name_ok(name text)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.text_ok('name', name, '^.{0,100}$',
        'The name of a key has at most 100 characters.')
$$;

comment on function usher.key_name_ok(text) is
    'Raises unless it can be the name of a key';


create function usher.expires_ok(expires timestamptz)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if expires <= now() then
        perform usher.fail('400', format('expires= is past: %s', expires),
            'Give a moment that is to come, or infinity for never.');
    end if;
end
$$;

comment on function usher.expires_ok(timestamptz) is
    'Raises if a new key would have expired already';


create function usher.key_ok(k usher.key)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.key_name_ok(k.name);
    perform usher.text_ok('env', k.env, '^(live|test)$',
        'env is live or test.');
    perform usher.text_ok('brand', k.brand, '^[a-z0-9]{1,16}$',
        'A brand is 1 to 16 of a-z and 0-9.');
    perform usher.expires_ok(k.expires_at);
end
$$;

comment on function usher.key_ok(usher.key) is
    'Raises, naming the argument, unless there can be such a key';


create function usher.key_add(o usher.org, k usher.key)
returns usher.key
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    made  usher.key;
begin
    insert into usher.key as n
        (org_id, digest, name, env, brand, scopes, allow, plan_id, expires_at)
    values (o.id, k.digest, k.name, k.env, k.brand, k.scopes, k.allow,
            k.plan_id, nullif(k.expires_at, 'infinity'))
    returning n.* into made;

    return made;

exception
    when unique_violation then
        perform usher.fail('409', 'this key is there already',
            'Every key is imported once.');
end
$$;

comment on function usher.key_add(usher.org, usher.key) is
    'Adds a key and says what is wrong with it';


create function usher.key_plan(function text, plan text)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Who pays for a plan does not choose it.
    if usher.actor() is not null then
        perform usher.fail('403',
            format('%s may not give a key a plan', usher.actor()),
            format('Call %s without plan=; the operator sets plans.',
                   function));
    end if;

    return (usher.plan_for(plan)).id;
end
$$;

comment on function usher.key_plan(text, text) is
    'The plan to be a key''s own, which only the operator may set';


create function usher.key_scopes(org_id bigint, scope text)
returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted  text[] := usher.scopes(scope);
    may     text[];
begin
    select o.scopes into may from usher.org o where o.id = key_scopes.org_id;

    if usher.actor() is not null and not wanted <@ may then
        perform usher.fail('403',
            format('%s may not give a key scope="%s"', usher.actor(),
                   left(scope, 60)),
            format('Keys of this org may have "%s"; the operator gives '
                   'others.', array_to_string(may, ' ')));
    end if;

    return wanted;
end
$$;

comment on function usher.key_scopes(bigint, text) is
    'Scopes from text, if the actor may give them to a key of the org; the '
    'operator may give any';


create function api.key_create(org text, plan text default null,
    name text default '', scope text default '', allow text default '',
    expires timestamptz default null, env text default 'live',
    brand text default 'usher')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o       usher.org := usher.org_for('key_create', org);
    k       usher.key;
    secret  text;
begin
    k.name := name;
    k.env := env;
    k.brand := brand;
    k.scopes := coalesce(usher.key_scopes(o.id, scope), '{}');
    k.allow := coalesce(usher.networks(allow), '{}');
    k.expires_at := expires;

    perform usher.key_ok(k);

    secret := usher.key_text(brand, env);
    k.digest := sha256(convert_to(secret, 'UTF8'));

    if plan is not null then
        k.plan_id := usher.key_plan('key_create', plan);
    end if;

    k := usher.key_add(o, k);

    perform usher.note('key_create', o.id,
        jsonb_build_object('org', org, 'id', k.id, 'display', k.display,
            'plan', plan, 'name', name, 'scope', scope, 'allow', allow,
            'expires', expires, 'env', env, 'brand', brand));

    return usher.key_json(k) || jsonb_build_object('key', secret);
end
$$;

comment on function api.key_create(text, text, text, text, text, timestamptz,
    text, text) is
'Creates a key and shows it, this once: only its digest is kept.
org: name of the org
plan: its own plan, not the org''s subscription; the operator''s to give
name: what the customer calls it
scope: what it may be used for, as in read,write
allow: networks it may be used from, as in 10.0.0.0/8,::1; by default all
expires: when it ends, by default never
env: live or test
brand: first word of the key''s text';


create function api.key_import(org text, digest text, plan text default null,
    name text default '', scope text default '', allow text default '',
    expires timestamptz default null, env text default 'live',
    brand text default 'usher')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('key_import', org);
    k  usher.key;
begin
    if digest !~ '^[0-9a-fA-F]{64}$' or digest is null then
        -- The message does not repeat what may be a secret.
        perform usher.fail('400', 'digest= is not the digest of a key',
            'Give its SHA-256 as 64 hexadecimal digits.');
    end if;

    k.digest := decode(digest, 'hex');
    k.name := name;
    k.env := env;
    k.brand := brand;
    k.scopes := coalesce(usher.key_scopes(o.id, scope), '{}');
    k.allow := coalesce(usher.networks(allow), '{}');
    k.expires_at := expires;

    perform usher.key_ok(k);

    if plan is not null then
        k.plan_id := usher.key_plan('key_import', plan);
    end if;

    k := usher.key_add(o, k);

    perform usher.note('key_import', o.id,
        jsonb_build_object('org', org, 'id', k.id, 'display', k.display,
            'plan', plan, 'name', name, 'scope', scope, 'allow', allow,
            'expires', expires, 'env', env, 'brand', brand));

    return usher.key_json(k);
end
$$;

comment on function api.key_import(text, text, text, text, text, text,
    timestamptz, text, text) is
'Takes over a key that was made elsewhere in Usher''s form, by its digest.
org: name of the org
digest: SHA-256 of the key, 64 hexadecimal digits
plan: its own plan, not the org''s subscription; the operator''s to give
name: what the customer calls it
scope: what it may be used for, as in read,write
allow: networks it may be used from, as in 10.0.0.0/8,::1; by default all
expires: when it ends, by default never
env: live or test, as in the key''s text
brand: first word of the key''s text';


create function api.key_list(org text default null, state text default null,
    "limit" integer default 100, after bigint default 0)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org;
begin
    if org is null then
        perform usher.authorize('key_list', null);
    else
        o := usher.org_for('key_list', org);
    end if;

    if state not in ('active', 'grace', 'rotated', 'revoked', 'expired',
                     'disabled')
    then
        perform usher.fail('400',
            format('state="%s" cannot be', left(state, 60)),
            'States are active, grace, rotated, revoked, expired and '
            'disabled.');
    end if;

    return (select coalesce(jsonb_agg(l.shown order by l.id), '[]')
            from (select k.id, j.shown
                  from usher.key k, usher.key_json(k) as j (shown)
                  where k.id > after and (o.id is null or k.org_id = o.id)
                        and (state is null or j.shown->>'state' = state)
                  order by k.id
                  limit usher.page("limit")) l);
end
$$;

comment on function api.key_list(text, text, integer, bigint) is
'Lists keys.
org: name of the org; the operator may leave it out
state: only active, grace, rotated, revoked, expired or disabled ones
limit: at most so many
after: go on after this id';


create function api.key_show(key text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.key_json(usher.key_for('key_show', key))
$$;

comment on function api.key_show(text) is
'Shows a key, without its secret.
key: its id, display, digest, or the key itself';


create function api.key_update(key text, name text default null,
    scope text default null, allow text default null,
    expires timestamptz default null, plan text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    k     usher.key := usher.key_for('key_update', key);
    p_id  bigint := k.plan_id;
begin
    perform usher.key_name_ok(coalesce(name, ''));

    if plan = '' and usher.actor() is null then
        p_id := null;
    elsif plan is not null then
        p_id := usher.key_plan('key_update', plan);
    end if;

    update usher.key u
    set name = coalesce(key_update.name, u.name),
        scopes = coalesce(usher.key_scopes(k.org_id, scope), u.scopes),
        allow = coalesce(usher.networks(key_update.allow), u.allow),
        expires_at = nullif(coalesce(expires, u.expires_at), 'infinity'),
        plan_id = p_id
    where u.id = k.id
    returning u.* into k;

    perform usher.note('key_update', k.org_id,
        jsonb_build_object('id', k.id, 'display', k.display, 'name', name,
            'scope', scope, 'allow', allow, 'expires', expires,
            'plan', plan));

    return usher.key_json(k);
end
$$;

comment on function api.key_update(text, text, text, text, timestamptz,
    text) is
'Changes a key.  What is not given stays as it was.
key: its id, display, digest, or the key itself
name: what the customer calls it
scope: what it may be used for; empty: nothing in particular
allow: networks it may be used from; empty: all
expires: when it ends; infinity: never
plan: its own plan; empty: the org''s subscription; the operator''s to set';


create function api.key_rotate(key text, grace interval default '24 hours',
    expires timestamptz default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    old     usher.key := usher.key_for('key_rotate', key);
    o       usher.org;
    k       usher.key;
    secret  text;
begin
    if grace is null or grace < interval '0'
       or grace > interval '366 days'
    then
        perform usher.fail('400', format('grace="%s" cannot be', grace),
            'Give 0 to 366 days, as in grace=2h.');
    end if;

    perform usher.expires_ok(expires);

    select l.* into old from usher.key l where l.id = old.id for update;

    if old.revoked_at is not null then
        perform usher.fail('409', format('key %s is revoked', old.display),
            'Create a new one by key_create.');
    end if;

    if old.successor_id is not null then
        perform usher.fail('409',
            format('key %s has a successor already', old.display),
            format('Rotate that one: its id is %s.', old.successor_id));
    end if;

    if coalesce(expires, old.expires_at) <= now() then
        perform usher.fail('409', 'the successor would have expired already',
            'Give expires=, or infinity for never.');
    end if;

    select l.* into o from usher.org l where l.id = old.org_id;

    secret := usher.key_text(old.brand, old.env);

    k := old;
    k.digest := sha256(convert_to(secret, 'UTF8'));
    k.expires_at := coalesce(expires, old.expires_at);
    k := usher.key_add(o, k);

    update usher.key u
    set successor_id = k.id, grace_until = now() + grace
    where u.id = old.id
    returning u.* into old;

    perform usher.note('key_rotate', old.org_id,
        jsonb_build_object('id', old.id, 'display', old.display,
            'successor', k.id, 'grace', grace, 'expires', expires));

    return usher.key_json(k)
           || jsonb_build_object('key', secret, 'old', usher.key_json(old));
end
$$;

comment on function api.key_rotate(text, interval, timestamptz) is
'Makes the successor of a key and shows it, this once.  It inherits org,
plan, name, scopes, allow list and expiry; the old key is taken until the
grace period ends.
key: its id, display, digest, or the key itself
grace: how long the old key is still taken, as in 2h or 7 days; 0: not at all
expires: when the successor ends, by default as the old key';


create function api.key_revoke(key text, reason text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    k  usher.key := usher.key_for('key_revoke', key);
begin
    if reason <> '' then
        perform usher.reason_ok(reason);
    end if;

    update usher.key u
    set revoked_at = now(), revoke_reason = reason
    where u.id = k.id and u.revoked_at is null
    returning u.* into k;

    if not found then
        perform usher.fail('409', 'this key is revoked already',
            'key_show tells when and why.');
    end if;

    perform usher.note('key_revoke', k.org_id,
        jsonb_build_object('id', k.id, 'display', k.display,
                           'reason', reason));

    return usher.key_json(k);
end
$$;

comment on function api.key_revoke(text, text) is
'Revokes a key, for ever and on every edge at once.  Its successor, if it has
one, stays.
key: its id, display, digest, or the key itself
reason: why, shown by key show';


insert into usher.right (function, role)
select f, r
from (values
    ('key_create', array['owner', 'admin']),
    ('key_import', array['owner', 'admin']),
    ('key_update', array['owner', 'admin']),
    ('key_rotate', array['owner', 'admin']),
    ('key_revoke', array['owner', 'admin']),
    ('key_list', array['owner', 'admin', 'analyst']),
    ('key_show', array['owner', 'admin', 'analyst'])
) as v (f, roles), unnest(roles) r;
