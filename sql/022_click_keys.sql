-- 022_click_keys.sql - the keys of click ids, as the edges know them.
--
-- A click key is a secret of kind click, the operator's, whose name is the id
-- that stands in each click id (src/common/usher_click.h).  The newest that is
-- in use signs; one that was retired is known for 24 months, so that a late
-- conversion still finds its click.  All of them are one record, as
-- ciphertext: edges have the key file.

create function usher.click_key_until(retired_at timestamptz)
returns timestamptz
language sql immutable strict
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select retired_at + interval '24 months'
$$;

comment on function usher.click_key_until(timestamptz) is
    'Until when what a click key has signed is known';


create function usher.click_key_current()
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select s.name
    from usher.secret s
    where s.kind = 'click' and s.retired_at is null
    order by s.changed_at desc, s.id desc
    limit 1
$$;

comment on function usher.click_key_current() is
    'Id of the click key that signs; null if there is none';


create function usher.click_key_records(ids text[])
returns table (id text, record jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select u.id, jsonb_strip_nulls(jsonb_build_object(
               'current', usher.click_key_current()::integer,
               'keys', (select coalesce(jsonb_agg(jsonb_build_object(
                                   'id', s.name::integer,
                                   'sealed', usher.sealed_text(s.ciphertext))
                               order by s.name::integer), '[]')
                        from usher.secret s
                        where s.kind = 'click'
                              and (s.retired_at is null
                                   or usher.click_key_until(s.retired_at)
                                      > clock_timestamp()))))
    from unnest(ids) as u (id)
    where u.id = 'all'
$$;

comment on function usher.click_key_records(text[]) is
    'The record of all click keys, which is there though there be none';


create function usher.click_key_changed()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed  boolean := false;
    urgent   boolean := false;
begin
    if tg_op = 'INSERT' then
        changed := exists (select from new_rows n where n.kind = 'click');

    elsif tg_op = 'DELETE' then
        changed := exists (select from old_rows o where o.kind = 'click');
        urgent := true;

    else
        -- What was encrypted anew is the same key, and what was retired is
        -- known for long: an edge whose Redis is away goes on with them.
        select count(*) > 0,
               coalesce(bool_or((o.kind, o.name, o.changed_at)
                                is distinct from
                                (n.kind, n.name, n.changed_at)),
                        false)
        into changed, urgent
        from old_rows o
        join new_rows n on n.id = o.id
        where 'click' in (o.kind, n.kind) and o is distinct from n;
    end if;

    if changed then
        perform usher.directory_put('click_key', array['all'], urgent, false);
    end if;

    return null;
end
$$;

comment on function usher.click_key_changed() is
    'Trigger: the click keys to the outbox, if one of them changed';

create trigger click_key_inserted
    after insert on usher.secret
    referencing new table as new_rows
    for each statement execute function usher.click_key_changed();

create trigger click_key_updated
    after update on usher.secret
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.click_key_changed();

create trigger click_key_deleted
    after delete on usher.secret
    referencing old table as old_rows
    for each statement execute function usher.click_key_changed();

create trigger no_truncate before truncate on usher.secret
    for each statement execute function usher.directory_no_truncate();

comment on trigger click_key_inserted on usher.secret is
    'New click keys to the outbox';
comment on trigger click_key_updated on usher.secret is
    'Changed click keys to the outbox';
comment on trigger click_key_deleted on usher.secret is
    'Deleted click keys to the outbox';
comment on trigger no_truncate on usher.secret is
    'Refuses what the edges would not hear of';
