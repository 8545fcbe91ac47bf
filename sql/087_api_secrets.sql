-- 087_api_secrets.sql - noun secret.
--
-- Ciphertexts come in and, but for secret_recrypt, never go out; no message,
-- answer or audit row holds more of one than the id of its key.

create function usher.sealed_bytes(argument text, value text)
returns bytea
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    ciphertext  bytea;
begin
    if value ~ '^[A-Za-z0-9+/]+={0,2}$' and char_length(value) % 4 = 0 then
        ciphertext := decode(value, 'base64');
    end if;

    if ciphertext is null or not usher.ciphertext_ok(ciphertext) then
        -- The message does not repeat what may be a secret.
        perform usher.fail('400', format('%s= is not encrypted', argument),
            'usherctl does it; others send the ciphertext in base64.');
    end if;

    return ciphertext;
end
$$;

comment on function usher.sealed_bytes(text, text) is
    'The ciphertext of what a caller sent; raises, naming the argument, if it '
    'is none';


create function usher.secret_kind_ok(kind text)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.text_ok('kind', kind, '^(account|click|network|source)$',
        'kind is account, click, network or source.')
$$;

comment on function usher.secret_kind_ok(text) is
    'Raises unless there are secrets of this kind';


create function usher.secret_for(function text, kind text, name text,
    org text)
returns usher.secret
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    owner         bigint := usher.org_scope(function, org);
    found_secret  usher.secret;
begin
    select s.* into found_secret
    from usher.secret s
    where s.kind = secret_for.kind and s.name = secret_for.name
          and s.org_id is not distinct from owner;

    if found_secret.id is null then
        perform usher.fail('404',
            format('there is no secret "%s" of kind "%s"', left(name, 60),
                   left(kind, 60)),
            'secret_list shows all; those of an org need org=.');
    end if;

    return found_secret;
end
$$;

comment on function usher.secret_for(text, text, text, text) is
    'The secret of this kind, name and org, if the actor may call the '
    'function for it';


create function usher.secret_json(s usher.secret)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', s.id, 'kind', s.kind,
        'org', (select o.name from usher.org o where o.id = s.org_id),
        'name', s.name, 'key', s.key_id,
        'state', case when s.retired_at is null then 'active'
                      else 'retired' end,
        'created', s.created_at, 'changed', s.changed_at,
        'retired', s.retired_at)
$$;

comment on function usher.secret_json(usher.secret) is
    'A secret as the catalogue shows it';


create function usher.secret_note(function text, s usher.secret)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    select usher.note(function, s.org_id,
        usher.secret_json(s) - array['state', 'created', 'changed', 'retired'])
$$;

comment on function usher.secret_note(text, usher.secret) is
    'Writes the audit row of a change to a secret';


create function usher.click_key_ok(name text, owner bigint, value text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if owner is not null then
        perform usher.fail('400', 'click keys are the operator''s',
            'Leave org= out.');
    end if;

    perform usher.text_ok('name', name, '^([0-9]|1[0-5])$',
        'name is the id of a click key, 0 to 15; click_key_rotate chooses it.');

    if octet_length(usher.sealed_bytes('value', value)) <> 62 then
        perform usher.fail('400', 'value= is no click key',
            'It has 32 bytes; click_key_rotate makes one.');
    end if;

    -- What was signed by the one that is there would be forged.
    if exists (select from usher.secret s
               where s.kind = 'click' and s.name = click_key_ok.name)
    then
        perform usher.fail('409', format('there is a click key %s', name),
            'click_key_rotate makes another and keeps it.');
    end if;
end
$$;

comment on function usher.click_key_ok(text, bigint, text) is
    'Raises unless this can be put as a click key';


create function api.secret_put(kind text, name text, value usher.sealed,
    org text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    owner  bigint := usher.org_scope('secret_put', org);
    put    usher.secret;
begin
    perform usher.secret_kind_ok(kind);
    perform usher.name_ok(name);

    if kind = 'click' then
        perform usher.click_key_ok(name, owner, value);
    end if;

    insert into usher.secret as s (kind, org_id, name, ciphertext)
    values (secret_put.kind, owner, secret_put.name,
            usher.sealed_bytes('value', value))
    on conflict on constraint secret_once do update
        set ciphertext = excluded.ciphertext, changed_at = now()
        where s.retired_at is null
    returning s.* into put;

    if put.id is null then
        perform usher.fail('409', format('secret "%s" is retired', name),
            'Choose another name, or remove it by secret_drop.');
    end if;

    perform usher.secret_note('secret_put', put);

    return usher.secret_json(put);
end
$$;

comment on function api.secret_put(text, text, usher.sealed, text) is
'Stores a secret, encrypted, in place of the one that has its name.
kind: account, click, network or source
name: which of its kind, 1 to 32 of a-z, 0-9 and -
value: from - (standard input) or @file, or random:32 for as many bytes
org: whose it is; without one, the operator''s';


create function api.secret_list(org text default null,
    kind text default null, "limit" integer default 100,
    after bigint default 0)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    owner  bigint := usher.org_scope('secret_list', org);
begin
    if kind is not null then
        perform usher.secret_kind_ok(kind);
    end if;

    return (select coalesce(jsonb_agg(usher.secret_json(l) order by l.id),
                            '[]')
            from (select s.*
                  from usher.secret s
                  where s.id > after and (owner is null or s.org_id = owner)
                        and (secret_list.kind is null
                             or s.kind = secret_list.kind)
                  order by s.id
                  limit usher.page("limit")) l);
end
$$;

comment on function api.secret_list(text, text, integer, bigint) is
'Lists secrets: what they are for, never what they are.
org: name of the org; the operator may leave it out
kind: only account, click, network or source
limit: at most so many
after: go on after this id';


create function api.secret_show(kind text, name text, org text default null)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.secret_json(usher.secret_for('secret_show', kind, name, org))
$$;

comment on function api.secret_show(text, text, text) is
'Shows a secret: when it was put, and its key; never what it is.
kind: account, click, network or source
name: which of its kind
org: whose it is; without one, the operator''s';


create function api.secret_retire(kind text, name text,
    org text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    s  usher.secret := usher.secret_for('secret_retire', kind, name, org);
begin
    update usher.secret u set retired_at = now()
    where u.id = s.id and u.retired_at is null
    returning u.* into s;

    if not found then
        perform usher.fail('409', format('secret "%s" is retired', name),
            'secret_show tells since when.');
    end if;

    perform usher.secret_note('secret_retire', s);

    return usher.secret_json(s);
end
$$;

comment on function api.secret_retire(text, text, text) is
'Retires a secret: what was made with it is still known, nothing new is made.
kind: account, click, network or source
name: which of its kind
org: whose it is; without one, the operator''s';


create function api.secret_drop(kind text, name text, org text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    s  usher.secret := usher.secret_for('secret_drop', kind, name, org);
begin
    delete from usher.secret u where u.id = s.id;

    if not found then
        perform usher.fail('404', format('secret "%s" was dropped', name),
            'secret_list shows all.');
    end if;

    perform usher.secret_note('secret_drop', s);

    return usher.secret_json(s);

exception
    when foreign_key_violation then
        perform usher.fail('409', format('secret "%s" is in use', name),
            'postback_list shows by what; it may have another by '
            'postback_update key=.');
end
$$;

comment on function api.secret_drop(text, text, text) is
'Removes a secret: what was made with it is not known any more.
kind: account, click, network or source
name: which of its kind
org: whose it is; without one, the operator''s';


create function api.secret_recrypt(resealed usher.resealed default null,
    "limit" integer default 100)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    key       integer := resealed->>'key';
    d         record;
    replaced  bigint := 0;
begin
    perform usher.authorize('secret_recrypt', null);

    if key is null then
        perform usher.fail('400', 'resealed= has no key',
            'This takes the key file: call it by usherctl.');
    end if;

    -- In order, so that two of these wait for each other and do not lock up.
    for d in
        select r.id, usher.sealed_bytes('resealed', r.was) as was,
               usher.sealed_bytes('resealed', r.sealed) as sealed
        from jsonb_to_recordset(resealed->'done')
             as r (id bigint, was text, sealed text)
        order by r.id
    loop
        -- Unless somebody has put another meanwhile.
        update usher.secret s set ciphertext = d.sealed
        where s.id = d.id and s.ciphertext = d.was;

        if found then
            replaced := replaced + 1;
        end if;
    end loop;

    if replaced > 0 then
        perform usher.note('secret_recrypt', null,
            jsonb_build_object('key', key, 'replaced', replaced));
    end if;

    return jsonb_build_object('replaced', replaced, 'next', (
        select coalesce(jsonb_agg(jsonb_build_object('id', l.id,
                   'kind', l.kind, 'org', l.org, 'name', l.name,
                   'key', l.key_id, 'sealed', usher.sealed_text(l.ciphertext))
               order by l.id), '[]')
        from (select s.*, o.name as org
              from usher.secret s
              left join usher.org o on o.id = s.org_id
              where s.key_id <> key
                    and s.id > coalesce((resealed->>'after')::bigint, 0)
              order by s.id
              limit usher.page("limit")) l));
end
$$;

comment on function api.secret_recrypt(usher.resealed, integer) is
'Encrypts all secrets anew that are not by the first key of the key file.  It
may be stopped, and called again, at any time; what is put meanwhile stays.
resealed: what usherctl has encrypted, which calls this until nothing is left
limit: so many at a time';


insert into usher.right (function, role)
select f, r
from unnest(array['secret_put', 'secret_list', 'secret_show',
                  'secret_retire', 'secret_drop']) f,
     unnest(array['owner', 'admin']) r;
