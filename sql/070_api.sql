-- 070_api.sql - what the functions of the catalogue are made of.
--
-- The catalogue is schema api: one function <noun>_<verb> for everything an
-- operator or a program can do.  Each takes named arguments, returns jsonb,
-- and belongs to usher_owner as SECURITY DEFINER with a pinned search_path,
-- so that its callers need no right on any table.
--
-- Who calls: the setting usher.actor, stated by usherctl or the API; unset or
-- empty is the operator, who may do everything.  An actor may do for an org
-- what its role there may do (usher.member, usher.right).  Every function
-- begins by finding its org and asking for the right; to an actor, what is
-- not there and what is not his look the same.
--
-- Errors have SQLSTATE US400 (argument), US403 (right), US404 (absent) or
-- US409 (state), and a HINT.  Every change writes an audit row.
--
-- The COMMENT of a function is its help: what it does, then a line
-- "<argument>: ..." for each argument.

create function usher.fail(code text, message text, hint text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'US' || code, message = fail.message,
                          hint = fail.hint;
end
$$;

comment on function usher.fail(text, text, text) is
    'Raises an error of the catalogue';


create function usher.actor()
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select nullif(current_setting('usher.actor', true), '')
$$;

comment on function usher.actor() is
    'The stated actor; null: the operator';


create function usher.authorize(function text, org_id bigint)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if usher.actor() is null
       or exists (select
                  from usher.member m
                  join usher.right r on r.role = m.role
                  where m.actor = usher.actor()
                        and m.org_id = authorize.org_id
                        and r.function = authorize.function)
    then
        return;
    end if;

    perform usher.fail('403',
        format('%s may not call %s here', usher.actor(), function),
        coalesce('It takes the role '
                 || (select string_agg(r.role, ' or ' order by r.role)
                     from usher.right r
                     where r.function = authorize.function)
                 || ' in an org that exists; an owner gives it by '
                    'member_set.',
                 'Only the operator may.'));
end
$$;

comment on function usher.authorize(text, bigint) is
    'Raises unless the actor may call this function for this org';


create function usher.note(function text, org_id bigint, arguments jsonb)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    insert into usher.audit (actor, function, arguments, org_id)
    values (coalesce(usher.actor(), 'operator:' || session_user),
            note.function, jsonb_strip_nulls(note.arguments), note.org_id)
$$;

comment on function usher.note(text, bigint, jsonb) is
    'Writes the audit row of a change; arguments must hold no secret';


-- Finding things.

create function usher.org_for(function text, org text)
returns usher.org
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found_org  usher.org;
begin
    if org is null then
        perform usher.authorize(function, null);
        perform usher.fail('400', 'no org was named', 'Give org=<name>.');
    end if;

    select o.* into found_org from usher.org o where o.name = org_for.org;

    perform usher.authorize(function, found_org.id);

    if found_org.id is null then
        perform usher.fail('404', format('there is no org "%s"', org),
            'org_list shows all.');
    end if;

    return found_org;
end
$$;

comment on function usher.org_for(text, text) is
    'The org of this name, if the actor may call the function for it';


create function usher.org_scope(function text, org text)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if org is null then
        perform usher.authorize(function, null);
        return null;
    end if;

    return (usher.org_for(function, org)).id;
end
$$;

comment on function usher.org_scope(text, text) is
    'The org that a list or a secret is of; null: all, to the operator, or '
    'his own';


-- What a call is about stays until its end as it was found: two changes of
-- one thing wait for each other, and nothing that is referred to is dropped
-- meanwhile.

create function usher.thing_for(kind anyelement, function text, owner text,
    owner_name text, owner_id bigint, name text)
returns anyelement
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    thing  alias for $0;
    noun   text := (select t.typname from pg_type t
                    where t.oid = pg_typeof(kind));
    lock   text := (select case when starts_with(function, noun || '_')
                                then 'for no key update'
                                else 'for key share' end
                    from pg_proc p
                    where p.pronamespace = 'api'::regnamespace
                          and p.proname = function and p.provolatile = 'v');
begin
    execute format('select t.* from usher.%I t '
                   'where t.%I = $1 and t.name = $2 %s',
                   noun, owner || '_id', lock)
    into thing
    using owner_id, name;

    if thing.id is null then
        perform usher.fail('404',
            format('%s "%s" has no %s "%s"', owner, owner_name, noun, name),
            noun || '_list shows all.');
    end if;

    return thing;
end
$$;

comment on function usher.thing_for(anyelement, text, text, text, bigint,
    text) is
    'The row of a type that has this name in its owner (org or program), '
    'held until the transaction ends if the function changes anything';


create function usher.plan_for(plan text)
returns usher.plan
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found_plan  usher.plan;
begin
    select p.* into found_plan from usher.plan p where p.name = plan_for.plan;

    if found_plan.id is null then
        perform usher.fail('404', format('there is no plan "%s"', plan),
            'plan_list shows all.');
    end if;

    return found_plan;
end
$$;

comment on function usher.plan_for(text) is 'The plan of this name';


create function usher.key_for(function text, key text)
returns usher.key
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found_key  usher.key;
    matches    bigint;
begin
    -- A number, the display form, the digest, or the key itself.
    case
        when key ~ '^[1-9][0-9]{0,17}$'
             and exists (select from usher.key k
                         where k.id = key_for.key::bigint)
        then
            select k.* into found_key from usher.key k
            where k.id = key_for.key::bigint;

        when key ~ '^[0-9a-f]{8}$' then
            select count(*) into matches from usher.key k
            where k.display = key_for.key;

            if matches > 1 and usher.actor() is null then
                perform usher.fail('409',
                    format('%s keys begin with "%s"', matches, key),
                    'Name it by its id; key_list shows it.');
            end if;

            if matches = 1 then
                select k.* into found_key from usher.key k
                where k.display = key_for.key;
            end if;

        when key ~ '^[0-9a-f]{64}$' then
            select k.* into found_key from usher.key k
            where k.digest = decode(key_for.key, 'hex');

        when key ~ '_' then
            select k.* into found_key from usher.key k
            where k.digest = sha256(convert_to(key_for.key, 'UTF8'));

        else
            null;
    end case;

    perform usher.authorize(function, found_key.org_id);

    if found_key.id is null then
        -- The message does not repeat what may be a secret.
        perform usher.fail('404', 'there is no such key',
            'Name it by id, display, digest or the key itself; key_list '
            'shows all.');
    end if;

    return found_key;
end
$$;

comment on function usher.key_for(text, text) is
    'The key named by id, display, digest or itself, if the actor may call '
    'the function for its org';


-- What people write is read by name of the argument, so that an error can
-- name it; the tables' constraints are what holds, whoever writes.

create function usher.text_ok(argument text, value text, form text,
    hint text)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if value is null then
        perform usher.fail('400', format('%s= is not given', argument), hint);
    end if;

    if value !~ form then
        perform usher.fail('400',
            format('%s="%s" cannot be', argument, left(value, 60)), hint);
    end if;
end
$$;

comment on function usher.text_ok(text, text, text, text) is
    'Raises with the hint, naming the argument, unless its value is of a form';


create function usher.number_ok(argument text, value bigint, low bigint,
    high bigint)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if value < low or value > high then
        perform usher.fail('400', format('%s=%s cannot be', argument, value),
            format('Give %s to %s.', low, high));
    end if;
end
$$;

comment on function usher.number_ok(text, bigint, bigint, bigint) is
    'Raises, naming the argument, if a number is out of bounds';


create function usher.name_ok(name text)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.text_ok('name', name, '^[a-z0-9][a-z0-9-]{0,31}$',
        'A name is 1 to 32 of a-z, 0-9 and -, and does not begin with -.')
$$;

comment on function usher.name_ok(text) is
    'Raises unless it can be the name of an org or a plan';


create function usher.title_ok(title text)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.text_ok('title', title, '^.{0,200}$',
        'A title has at most 200 characters.')
$$;

comment on function usher.title_ok(text) is
    'Raises unless it can be the title of an org or a plan';


-- What is not given is null, and stays null.

create function usher.scopes(scope text)
returns text[]
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    scopes  text[];
begin
    select coalesce(array_agg(s order by s), '{}') into scopes
    from (select distinct s
          from regexp_split_to_table(scope, '[\s,]+') s
          where s <> '') d;

    if not usher.scopes_ok(scopes) then
        perform usher.fail('400',
            format('scope="%s" cannot be', left(scope, 60)),
            'Scopes are separated by spaces or commas, of printable ASCII '
            'but " and \, and together at most 512 bytes.');
    end if;

    return scopes;
end
$$;

comment on function usher.scopes(text) is
    'Scopes from "read write" or "read,write"';


create function usher.networks(allow text)
returns cidr[]
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    networks  cidr[];
begin
    select coalesce(array_agg(distinct network(n::inet)::cidr), '{}')
    into networks
    from regexp_split_to_table(allow, '[\s,]+') n
    where n <> '';

    if not usher.networks_ok(networks) then
        perform usher.fail('400', 'allow= is longer than 512 bytes',
            'Name larger networks.');
    end if;

    return networks;

exception
    when invalid_text_representation then
        perform usher.fail('400',
            format('allow="%s" is not a list of networks', left(allow, 60)),
            'Write networks as 10.0.0.0/8 or 2001:db8::/32, separated by '
            'spaces or commas.');
end
$$;

comment on function usher.networks(text) is
    'Networks from "10.0.0.0/8 ::1"; bits right of the mask are cleared';


create function usher.rate(rate text, out quota bigint, out window_s integer)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    m        text[];
    seconds  bigint;
begin
    m := regexp_match(rate, '^([0-9]{1,10})r?/([0-9]{0,5})(s|m|h|d)$');

    quota := m[1]::bigint;
    seconds := coalesce(nullif(m[2], ''), '1')::bigint
               * case m[3] when 's' then 1 when 'm' then 60
                           when 'h' then 3600 else 86400 end;

    if m is null or quota not between 1 and 1000000000
       or seconds not between 1 and 86400
    then
        perform usher.fail('400',
            format('rate="%s" is not a rate', left(rate, 60)),
            'Write 20/s, 600/m, 100/10s or 10000/d: 1 to 1000000000 units, '
            'in a second to a day.');
    end if;

    window_s := seconds;
end
$$;

comment on function usher.rate(text) is 'Units and seconds from "20/s"';


create function usher.reason_ok(reason text)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(reason, '') = '' then
        perform usher.fail('400', 'this needs a reason=',
            'Say why; it is kept for whoever asks later.');
    end if;

    if char_length(reason) > 200 then
        perform usher.fail('400', 'reason= is too long',
            'It may have 200 characters.');
    end if;
end
$$;

comment on function usher.reason_ok(text) is
    'Raises unless it is a reason: not empty, and at most 200 characters';


create function usher.page(size integer)
returns integer
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if size is null or size < 1 or size > 10000 then
        perform usher.fail('400', format('limit=%s cannot be', size),
            'Give 1 to 10000; ask for more in several calls.');
    end if;

    return size;
end
$$;

comment on function usher.page(integer) is 'Checks the limit of a list';


-- Keys: <brand>_<live|test>_<30 base62><6 base62 CRC-32 of all before it>.

create function usher.crc32(data bytea)
returns bigint
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    crc  bigint := 4294967295;
begin
    for i in 0 .. octet_length(data) - 1 loop
        crc := crc # get_byte(data, i);

        for bit in 1 .. 8 loop
            crc := (crc >> 1) # (3988292384 * (crc & 1));
        end loop;
    end loop;

    return crc # 4294967295;
end
$$;

comment on function usher.crc32(bytea) is
    'CRC-32/ISO-HDLC, the checksum inside a key';


create function usher.base62(value bigint, digits integer)
returns text
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    alphabet  constant text := '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ'
                               'abcdefghijklmnopqrstuvwxyz';
    rest      bigint := value;
    written   text := '';
begin
    for i in 1 .. digits loop
        written := substr(alphabet, (rest % 62)::integer + 1, 1) || written;
        rest := rest / 62;
    end loop;

    return written;
end
$$;

comment on function usher.base62(bigint, integer) is
    'A number as base62 digits, most significant first';


create function usher.key_text(brand text, env text)
returns text
language plpgsql volatile strict
set search_path = pg_catalog, pg_temp
as $$
declare
    head    text := brand || '_' || env || '_';
    digits  integer := 0;
    random  bytea;
    b       integer;
begin
    -- gen_random_uuid is PostgreSQL's own access to the system's random
    -- numbers: three of 122 bits, hashed to 256.  Bytes from 248 on are left
    -- out, so that every digit is as likely as any other.
    <<fill>>
    loop
        random := sha256(uuid_send(gen_random_uuid())
                         || uuid_send(gen_random_uuid())
                         || uuid_send(gen_random_uuid()));

        for i in 0 .. 31 loop
            b := get_byte(random, i);
            continue when b >= 248;

            head := head || usher.base62(b % 62, 1);
            digits := digits + 1;
            exit fill when digits = 30;
        end loop;
    end loop;

    return head || usher.base62(usher.crc32(convert_to(head, 'UTF8')), 6);
end
$$;

comment on function usher.key_text(text, text) is
    'A new key: 30 random digits and the checksum';


create function usher.key_json(k usher.key)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', k.id,
        'org', o.name,
        'display', k.display,
        'name', k.name,
        'env', k.env,
        'state', case when k.revoked_at is not null then 'revoked'
                      when o.disabled_at is not null then 'disabled'
                      when k.expires_at <= now() then 'expired'
                      when k.grace_until <= now() then 'rotated'
                      when k.grace_until is not null then 'grace'
                      else 'active' end,
        'scope', array_to_string(k.scopes, ' '),
        'allow', array_to_string(k.allow, ' '),
        'plan', p.name,
        'own_plan', k.plan_id is not null,
        'expires', k.expires_at,
        'grace_until', k.grace_until,
        'successor', k.successor_id,
        'revoked', k.revoked_at,
        'reason', k.revoke_reason,
        'created', k.created_at)
    from usher.org o
    left join usher.subscription s
         on s.org_id = o.id and s.starts_at <= now()
         and (s.ends_at > now() or s.ends_at is null)
    left join usher.plan p on p.id = coalesce(k.plan_id, s.plan_id)
    where o.id = k.org_id
$$;

comment on function usher.key_json(usher.key) is
    'A key as the catalogue shows it';


create function usher.policy_json(y usher.plan_policy)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object('policy', y.name, 'quota', y.quota,
        'window', y.window_s, 'burst', y.burst, 'scope', y.scope)
$$;

comment on function usher.policy_json(usher.plan_policy) is
    'A policy as the catalogue shows it';
