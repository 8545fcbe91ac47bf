-- 021_links_records.sql - what edges hear of links and hosts: when, and the
-- records that they get.

-- To the outbox.  Whatever is taken away is urgent: a link that was disabled
-- or ended must not go on leading where it led.  Not so where many links change
-- at once: no revocation of a key waits for a file of links.

create function usher.link_id(host text, slug text)
returns text
language sql immutable parallel safe
return host || '/' || slug;

comment on function usher.link_id(text, text) is 'Id of a link''s record';


create function usher.link_inserted()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.directory_put('link',
        (select array_agg(usher.link_id(n.host, n.slug)) from new_rows n),
        false, true);
    return null;
end
$$;

comment on function usher.link_inserted() is
    'Trigger: new links to the outbox';


create function usher.links_fit(changed bigint[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Packed, a record is shorter than its JSON, but for one byte in 127; the
    -- host's fallback, longer names, and of a program all hosts of deep links
    -- that it may list may come to it later.
    if exists (select
               from usher.link_records(
                        (select array_agg(usher.link_id(l.host, l.slug))
                         from usher.link l
                         where l.id = any (changed))) r
               join usher.link l on l.id = (r.record->>'id')::bigint
               where octet_length((r.record - '{fallback,hosts,deep}'::text[])
                                  ::text)
                     + coalesce(octet_length(l.fallback_url), 2048)
                     + case when l.program_id is null then 0 else 1124 end
                     > 7700)
    then
        raise check_violation using
            message = 'the link and its targets are too long for a record';
    end if;
end
$$;

comment on function usher.links_fit(bigint[]) is
    'Raises if the record of one of these links is longer than edges take';


create function usher.link_updated()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.links_fit(
        (select array_agg(n.id) from new_rows n
         where exists (select from usher.link_target t
                       where t.link_id = n.id)));
    perform usher.directory_put('link',
        (select array_agg(distinct c.id)
         from (select usher.link_id(n.host, n.slug) as id
               from old_rows o join new_rows n on n.id = o.id
               where n is distinct from o
               union all
               select usher.link_id(o.host, o.slug)
               from old_rows o join new_rows n on n.id = o.id
               where (n.host, n.slug) is distinct from (o.host, o.slug)) c),
        (select count(*) <= 1000 from new_rows), false);
    return null;
end
$$;

comment on function usher.link_updated() is
    'Trigger: changed links to the outbox; what a slug led to before it was '
    'renamed becomes a tombstone';


create function usher.link_deleted()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.directory_put('link',
        (select array_agg(usher.link_id(o.host, o.slug)) from old_rows o),
        (select count(*) <= 1000 from old_rows), false);
    return null;
end
$$;

comment on function usher.link_deleted() is
    'Trigger: deleted links to the outbox, for tombstones';


create trigger link_inserted
    after insert on usher.link
    referencing new table as new_rows
    for each statement execute function usher.link_inserted();

create trigger link_updated
    after update on usher.link
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.link_updated();

create trigger link_deleted
    after delete on usher.link
    referencing old table as old_rows
    for each statement execute function usher.link_deleted();

comment on trigger link_inserted on usher.link is 'New links to the outbox';
comment on trigger link_updated on usher.link is
    'Changed links to the outbox';
comment on trigger link_deleted on usher.link is
    'Deleted links to the outbox';


create function usher.link_target_changed()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed  bigint[];
begin
    if tg_op = 'INSERT' then
        select array_agg(distinct n.link_id) into changed from new_rows n;

    elsif tg_op = 'DELETE' then
        select array_agg(distinct o.link_id) into changed from old_rows o;

    else
        select array_agg(distinct c.link_id) into changed
        from (select n.link_id from new_rows n
              union select o.link_id from old_rows o) c;
    end if;

    if tg_op <> 'DELETE' then
        perform usher.links_fit(changed);
    end if;

    perform usher.directory_put('link',
        (select array_agg(usher.link_id(l.host, l.slug))
         from usher.link l where l.id = any (changed)),
        cardinality(changed) <= 1000, false);
    return null;
end
$$;

comment on function usher.link_target_changed() is
    'Trigger: links whose targets changed to the outbox';

create trigger link_target_inserted
    after insert on usher.link_target
    referencing new table as new_rows
    for each statement execute function usher.link_target_changed();

create trigger link_target_updated
    after update on usher.link_target
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.link_target_changed();

create trigger link_target_deleted
    after delete on usher.link_target
    referencing old table as old_rows
    for each statement execute function usher.link_target_changed();

comment on trigger link_target_inserted on usher.link_target is
    'Links with a new target to the outbox';
comment on trigger link_target_updated on usher.link_target is
    'Links with a changed target to the outbox';
comment on trigger link_target_deleted on usher.link_target is
    'Links with a target less to the outbox';


-- What macros call by name, and what deep links may do.  A host that is not
-- listed any more was taken away.

create function usher.link_named()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    r  record;
begin
    for r in
        select c.urgent, array_agg(usher.link_id(l.host, l.slug)) as ids
        from (select n.id, not coalesce((j.now->'hosts') @> (j.was->'hosts'),
                                        true) as urgent
              from old_rows o
              join new_rows n on n.id = o.id,
              lateral (select to_jsonb(o), to_jsonb(n)) as j (was, now)
              where exists (select
                            from unnest(array['name', 'mode', 'hosts',
                                              'network_id', 'preset',
                                              'deep_link']) k
                            where j.now->k is distinct from j.was->k)) c
        join (select k.*, p.network_id
              from usher.link k
              left join usher.program p on p.id = k.program_id) l
             on c.id = case tg_table_name
                           when 'campaign' then l.campaign_id
                           when 'product' then l.product_id
                           when 'program' then l.program_id
                           when 'network' then l.network_id
                           else l.partner_id end
        group by c.urgent
        order by c.urgent desc
    loop
        perform usher.directory_put('link', r.ids, r.urgent, false);
    end loop;

    return null;
end
$$;

comment on function usher.link_named() is
    'Trigger: links that belong to what was renamed, or has another mode, '
    'other hosts of deep links or another parameter for them, to the outbox';

create trigger link_named
    after update on usher.campaign
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.link_named();

create trigger link_named
    after update on usher.product
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.link_named();

create trigger link_named
    after update on usher.program
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.link_named();

create trigger link_named
    after update on usher.network
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.link_named();

create trigger link_named
    after update on usher.partner
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.link_named();

comment on trigger link_named on usher.campaign is
    'Its links to the outbox when it is renamed';
comment on trigger link_named on usher.product is
    'Its links to the outbox when it is renamed';
comment on trigger link_named on usher.program is
    'Its links to the outbox when it is renamed, or deep links change';
comment on trigger link_named on usher.network is
    'Its links to the outbox when it is renamed, or deep links change';
comment on trigger link_named on usher.partner is
    'Its links to the outbox when it is renamed';


-- Links say in which parameter of their network the click id goes.  Where that
-- becomes another, or takes none any more, what is bought by them would come of
-- nowhere; and nobody would see why.

create function usher.network_tracks()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    was   text := coalesce(old.sub_id, (select p.sub_ids[1]
                                        from usher.network_preset p
                                        where p.name = old.preset));
    s     usher.network_setup;
    used  text;
begin
    select v.* into s from usher.network_setup v where v.id = new.id;

    if s.trackable and s.sub_ids[1] = was then
        return null;
    end if;

    select l.host || '/' || l.slug into used
    from usher.program p
    join usher.link l on l.program_id = p.id
    cross join lateral (
        select concat_ws(' ', l.url, l.overflow_url,
                   (select string_agg(t.url, ' ') from usher.link_target t
                    where t.link_id = l.id)) as urls) u
    where p.network_id = new.id
          and case when s.trackable
                   then position('&' || was || '={click_id}'
                                 in translate(u.urls, '?', '&'))
                   else position('{click_id}' in u.urls) end > 0
    order by l.id
    limit 1;

    if used is not null then
        perform usher.fail('409',
            format('link %s has its click id in %s', used, was),
            'Its conversions would come of no link any more. Have the links '
            'of the network''s programs lead elsewhere first (link_update, '
            'link_import), or create another network.');
    end if;

    return null;
end
$$;

comment on function usher.network_tracks() is
    'Trigger: the parameter that takes click ids stays while links use it';

create trigger network_tracks
    after update on usher.network
    for each row when ((new.preset, new.sub_id, new.sub_id_pattern,
                        new.sub_id_length)
                       is distinct from
                       (old.preset, old.sub_id, old.sub_id_pattern,
                        old.sub_id_length))
    execute function usher.network_tracks();

comment on trigger network_tracks on usher.network is
    'What takes click ids stays while links use it';


create function usher.link_preset()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.directory_put('link',
        (select array_agg(usher.link_id(l.host, l.slug))
         from old_rows o
         join new_rows p on p.name = o.name
         join usher.network n on n.preset = p.name
         join usher.program g on g.network_id = n.id
         join usher.link l on l.program_id = g.id
         where (p.deep_link, p.on_page)
               is distinct from (o.deep_link, o.on_page)),
        false, false);
    return null;
end
$$;

comment on function usher.link_preset() is
    'Trigger: links whose network takes deep links by another parameter to '
    'the outbox';

create trigger link_preset
    after update on usher.network_preset
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.link_preset();

comment on trigger link_preset on usher.network_preset is
    'Its links to the outbox when deep links change';


create function usher.domain_changed()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        perform usher.directory_put('domain',
            (select array_agg(n.host) from new_rows n), false, true);

    elsif tg_op = 'DELETE' then
        perform usher.directory_put('domain',
            (select array_agg(o.host) from old_rows o), true, false);

    else
        perform usher.directory_put('domain',
            (select array_agg(distinct c.host)
             from (select n.host from new_rows n
                   union select o.host from old_rows o) c), true, false);

        -- where links without a fallback of their own fall back to
        perform usher.directory_put('link',
            (select array_agg(usher.link_id(l.host, l.slug))
             from usher.link l
             where l.fallback_url is null
                   and exists (select
                               from old_rows o join new_rows n
                                    on n.host = o.host
                               where n.fallback_url
                                     is distinct from o.fallback_url
                                     and n.host = l.host)), false, false);
    end if;

    return null;
end
$$;

comment on function usher.domain_changed() is
    'Trigger: hosts that changed to the outbox, and links that fall back to '
    'what they do';

create trigger domain_inserted
    after insert on usher.domain
    referencing new table as new_rows
    for each statement execute function usher.domain_changed();

create trigger domain_updated
    after update on usher.domain
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.domain_changed();

create trigger domain_deleted
    after delete on usher.domain
    referencing old table as old_rows
    for each statement execute function usher.domain_changed();

comment on trigger domain_inserted on usher.domain is
    'New hosts to the outbox';
comment on trigger domain_updated on usher.domain is
    'Changed hosts to the outbox';
comment on trigger domain_deleted on usher.domain is
    'Deleted hosts to the outbox';


create trigger no_truncate before truncate on usher.domain
    for each statement execute function usher.directory_no_truncate();
create trigger no_truncate before truncate on usher.link
    for each statement execute function usher.directory_no_truncate();
create trigger no_truncate before truncate on usher.link_target
    for each statement execute function usher.directory_no_truncate();

comment on trigger no_truncate on usher.domain is
    'Refuses what the edges would not hear of';
comment on trigger no_truncate on usher.link is
    'Refuses what the edges would not hear of';
comment on trigger no_truncate on usher.link_target is
    'Refuses what the edges would not hear of';


-- Records.

create function usher.url_with(url text, query text)
returns text
language sql immutable parallel safe
return case
    when query is null then url
    else split_part(url, '#', 1)
         || case when position('?' in split_part(url, '#', 1)) = 0 then '?'
                 when right(split_part(url, '#', 1), 1) in ('?', '&') then ''
                 else '&' end
         || query || substr(url, length(split_part(url, '#', 1)) + 1) end;

comment on function usher.url_with(text, text) is
    'The URL with this added to its query, before its fragment';


-- How many clicks were counted is in 045_click_rollup.sql.

create function usher.cap_record(link_id bigint, target smallint, cap integer,
    cap_day integer, since timestamptz)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    today  date := (now() at time zone 'UTC')::date;
begin
    return jsonb_strip_nulls(jsonb_build_object(
        's', (extract(epoch from since) * 1000)::bigint,
        'n', cap, 'd', cap_day,
        'c', case when cap is not null
                  then nullif(usher.cap_counted(link_id, target, since, null,
                                                cap), 0) end,
        't', case when cap_day is not null
                  then nullif(usher.cap_counted(link_id, target, since, today,
                                                cap_day), 0) end,
        'y', case when cap_day is not null then today - '1970-01-01'::date
             end));
end
$$;

comment on function usher.cap_record(bigint, smallint, integer, integer,
    timestamptz) is
    'Caps as they stand in the record of a link, with what was counted';


create function usher.target_record(t usher.link_target, utm text)
returns jsonb
language sql stable
return jsonb_strip_nulls(jsonb_build_object(
    'n', t.number, 'step', t.step, 'weight', t.weight,
    'url', usher.url_with(t.url, utm),
    'country', array_to_string(t.countries, ' '),
    'device', array_to_string(t.devices, ' '),
    'os', array_to_string(t.systems, ' '),
    'lang', array_to_string(t.languages, ' '),
    'referrer', array_to_string(t.referrers, ' '),
    'cap', case when t.cap_since is not null
                then usher.cap_record(t.link_id, t.number, t.cap, t.cap_day,
                                      t.cap_since) end,
    'from', case when t.starts_at > 'epoch'
                     then ceil(extract(epoch from least(t.starts_at,
                              '9999-12-31 00:00+00')))::bigint end,
    'until', case when t.ends_at < 'infinity'
                      then greatest(1, ceil(extract(epoch
                               from t.ends_at)))::bigint end));

comment on function usher.target_record(usher.link_target, text) is
    'A target as it stands in the record of its link';


-- What is asked and found of targets is in 022_health.sql.

create function usher.dead_targets(l usher.link)
returns integer
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select bit_or(case u.target when -2 then 1 << 17
                                        else 1 << u.target::integer end)
            from usher.link_urls(array[l.id]) u
            join usher.health h on h.digest = u.digest
            where h.dead_at is not null and u.target <> -1);
end
$$;

comment on function usher.dead_targets(usher.link) is
    'Bits of the dead targets of a link: 0 its own URL, 1 to 16 those of these '
    'numbers, 17 its overflow; null: none is dead';

-- One plan, made once: by index, whatever was known of the table then.

create function usher.link_records(ids text[])
returns table (id text, record jsonb)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    select u.id, jsonb_strip_nulls(jsonb_build_object(
               'id', l.id, 'org_id', d.org_id,
               'url', usher.url_with(l.url, l.utm),
               'fallback', coalesce(l.fallback_url, d.fallback_url),
               'overflow', usher.url_with(l.overflow_url, l.utm),
               'campaign', c.name, 'product', o.name, 'program', p.name,
               'network', n.name, 'partner', q.name,
               'hosts', case when s.deep is not false
                             then nullif(array_to_string(p.hosts, ' '), '')
                        end,
               'deep', case when p.hosts <> '{}' then s.deep_link end,
               'status', l.status,
               'plain', case when l.plain or p.mode = 'plain' then 1 end,
               'query', case when l.pass_query then 1 end,
               'referrer', case when not l.plain
                                     and p.mode is distinct from 'plain'
                                then l.referrer_policy end,
               'exp', case when l.expires_at < 'infinity'
                           then greatest(1, floor(extract(epoch
                                from l.expires_at)))::bigint end,
               'dead', case when l.dead = 'fallback'
                            then usher.dead_targets(l) end,
               'cap', case when l.cap_since is not null
                           then usher.cap_record(l.id, 0::smallint, l.cap,
                                    l.cap_day, l.cap_since) end,
               'targets', (select jsonb_agg(usher.target_record(t, l.utm)
                                            order by t.step, t.number)
                           from usher.link_target t
                           where t.link_id = l.id and t.weight > 0)))
    from unnest(ids) as u (id)
    join usher.link l
         on l.host = split_part(u.id, '/', 1)
         and l.slug = substr(u.id, strpos(u.id, '/') + 1)
    join usher.domain d on d.host = l.host
    left join usher.campaign c on c.id = l.campaign_id
    left join usher.product o on o.id = l.product_id
    left join usher.program p on p.id = l.program_id
    left join usher.network n on n.id = p.network_id
    left join usher.network_setup s on s.id = p.network_id
    left join usher.partner q on q.id = l.partner_id
    where l.disabled_at is null;
end
$$;

comment on function usher.link_records(text[]) is
    'Records of links; one that is disabled has none';


create function usher.domain_records(ids text[])
returns table (id text, record jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select d.host, jsonb_strip_nulls(jsonb_build_object(
               'org_id', d.org_id, 'fallback', d.fallback_url))
    from usher.domain d
    where d.host = any (ids)
$$;

comment on function usher.domain_records(text[]) is 'Records of hosts';
