-- 088_api_click_keys.sql - noun click, verbs key_rotate and key_list.

create function usher.click_key_json(s usher.secret)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'key', s.name::integer,
        'state', case when s.retired_at is null then
                          case when s.name = usher.click_key_current()
                               then 'current' else 'active' end
                      when usher.click_key_until(s.retired_at)
                           > clock_timestamp() then 'retired'
                      else 'unknown' end,
        'made', s.changed_at, 'retired', s.retired_at,
        'until', usher.click_key_until(s.retired_at))
$$;

comment on function usher.click_key_json(usher.secret) is
    'A click key as the catalogue shows it';


create function usher.click_key_next()
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    free    text;
    oldest  usher.secret;
begin
    select i.id::text into free
    from generate_series(0, 15) i (id)
    where not exists (select from usher.secret s
                      where s.kind = 'click' and s.name = i.id::text)
    order by i.id
    limit 1;

    if free is not null then
        return free;
    end if;

    select s.* into oldest
    from usher.secret s
    where s.kind = 'click'
    order by s.retired_at nulls last
    limit 1;

    if coalesce(usher.click_key_until(oldest.retired_at) >= usher.moment(),
                true)
    then
        perform usher.fail('409', 'there are 16 click keys, and each is known '
            || 'until '
            || coalesce(to_char(usher.click_key_until(oldest.retired_at),
                                'YYYY-MM-DD'), 'it is retired'),
            'An id has room for 16: wait, or give up what one has signed by '
            'secret_drop.');
    end if;

    return oldest.name;
end
$$;

comment on function usher.click_key_next() is
    'The id of the next click key: one that was never used, or of a key that '
    'is known no longer; raises if there is none';


create function api.click_key_rotate(minted usher.minted default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    free  text;
    made  usher.secret;
begin
    perform usher.authorize('click_key_rotate', null);

    -- Two of these take two ids.
    lock table usher.secret in share row exclusive mode;

    free := usher.click_key_next();

    -- A key is encrypted for its row, so who makes it is told the id first.
    if minted is null or minted->>'name' is distinct from free then
        return jsonb_build_object('mint', jsonb_build_object(
            'kind', 'click', 'org', '', 'name', free, 'bytes', 32));
    end if;

    insert into usher.secret (kind, name, ciphertext)
    values ('click', free, usher.sealed_bytes('minted', minted->>'sealed'))
    on conflict on constraint secret_once do update
        set ciphertext = excluded.ciphertext, created_at = now(),
            changed_at = now(), retired_at = null
    returning * into made;

    update usher.secret s set retired_at = now()
    where s.kind = 'click' and s.retired_at is null and s.id <> made.id;

    perform usher.note('click_key_rotate', null,
                       jsonb_build_object('key', made.name::integer));

    return usher.click_key_json(made);
end
$$;

comment on function api.click_key_rotate(usher.minted) is
'Makes a new key of click ids, which signs from now on; nobody sees it.  The
one before is retired: what it has signed is known for 24 months more.
minted: what usherctl has made and encrypted; it is not given';


create function api.click_key_list()
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
    perform usher.authorize('click_key_list', null);

    return (select coalesce(jsonb_agg(usher.click_key_json(s)
                                      order by s.changed_at, s.id), '[]')
            from usher.secret s
            where s.kind = 'click');
end
$$;

comment on function api.click_key_list() is
'Lists the keys of click ids: which signs, and until when each is known.';
