-- 083_api_settle.sql - what settles a gap, a fork, a line in quarantine.
--
-- journal_verify reports these until somebody has settled them, each with a
-- reason: the row of usher.settled, which can be there once, is what makes a
-- line be stored once by two operators at a time.

create function api.journal_gaps(slot text default null,
    open boolean default false)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted  uuid;
begin
    perform usher.authorize('journal_gaps', null);

    if slot is not null then
        wanted := usher.slot_for(slot);
    end if;

    return (select coalesce(jsonb_agg(jsonb_build_object(
                                'id', g.id, 'slot', usher.slot_text(g.slot),
                                'from', g.from_position,
                                'to', g.to_position, 'reason', g.reason,
                                'at', g.at, 'accepted', d.at,
                                'because', d.reason)
                            order by g.id), '[]')
            from usher.journal_gap g
            left join usher.settled d on d.gap_id = g.id
            where (wanted is null or g.slot = wanted)
                  and (d.id is null or open is not true));
end
$$;

comment on function api.journal_gaps(text, boolean) is
'Lists what was lost: parts of a slot that could not be stored.
slot: only of this slot
open: true: only those that journal gap accept has not settled';


create function api.journal_gap_accept(gap bigint, reason text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    g  usher.journal_gap;
begin
    perform usher.authorize('journal_gap_accept', null);
    perform usher.reason_ok(reason);

    select l.* into g from usher.journal_gap l where l.id = gap;

    if g.id is null then
        perform usher.fail('404', format('there is no gap %s', gap),
            'journal_gaps shows all.');
    end if;

    insert into usher.settled (gap_id, reason) values (g.id, reason);

    perform usher.note('journal_gap_accept', null,
        jsonb_build_object('gap', g.id, 'slot', usher.slot_text(g.slot),
            'from', g.from_position, 'to', g.to_position, 'reason', reason));

    return jsonb_build_object('gap', g.id, 'accepted', true);

exception
    when unique_violation then
        perform usher.fail('409', format('gap %s is accepted already', gap),
            'journal_gaps tells when and why.');
end
$$;

comment on function api.journal_gap_accept(bigint, text) is
'Accepts a loss as it is: journal verify reports it as settled.
gap: its id
reason: why, kept with it';


create function api.journal_fork_accept(slot text, reason text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted  uuid;
    was     text;
begin
    perform usher.authorize('journal_fork_accept', null);
    perform usher.reason_ok(reason);

    wanted := usher.slot_for(slot);

    select j.state into was from usher.journal j where j.slot = wanted;

    if was <> 'forked' then
        perform usher.fail('409', format('the slot is %s', was),
            'journal_list shows which are forked.');
    end if;

    insert into usher.settled (slot, reason) values (wanted, reason);

    perform usher.note('journal_fork_accept', null,
        jsonb_build_object('slot', usher.slot_text(wanted),
                           'reason', reason));

    return jsonb_build_object('slot', usher.slot_text(wanted),
                              'accepted', true);

exception
    when unique_violation then
        perform usher.fail('409', 'this fork is accepted already',
            'audit_list tells by whom and why.');
end
$$;

comment on function api.journal_fork_accept(text, text) is
'Accepts a fork as mended: journal verify reports it as settled.  See first
that the edge has sent what differs as another slot: what usherd has put aside
of it in Redis, which its log names, is deleted then.
slot: id of the forked slot
reason: why, kept with it';


-- Quarantine.

create function api.quarantine_list(slot text default null,
    open boolean default false, "limit" integer default 100)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted  uuid;
begin
    perform usher.authorize('quarantine_list', null);

    if slot is not null then
        wanted := usher.slot_for(slot);
    end if;

    return (select coalesce(jsonb_agg(l.shown order by l.id desc), '[]')
            from (select q.id, jsonb_build_object(
                             'id', q.id, 'slot', usher.slot_text(q.slot),
                             'position', q.position, 'kind', q.kind,
                             'sqlstate', q.sqlstate, 'reason', q.reason,
                             'line', encode(q.line, 'escape'),
                             'at', q.at, 'settled', d.at,
                             'stored', d.stored, 'because', d.reason) as shown
                  from usher.quarantine q
                  left join usher.settled d on d.quarantine_id = q.id
                  where (wanted is null or q.slot = wanted)
                        and (d.id is null or open is not true)
                  order by q.id desc
                  limit usher.page("limit")) l);
end
$$;

comment on function api.quarantine_list(text, boolean, integer) is
'Lists events that could not be made a row, the newest first.
slot: only of this slot
open: true: only those that are neither stored since nor given up
limit: at most so many';


create function usher.quarantined(function text, id bigint, slot text)
returns setof usher.quarantine
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted  uuid;
begin
    perform usher.authorize(function, null);

    if id is null and slot is null then
        perform usher.fail('400', 'no line was named',
            'Give id=, or slot= for all of a slot; quarantine_list shows '
            'them.');
    end if;

    if slot is not null then
        wanted := usher.slot_for(slot);
    end if;

    return query
        select q.* from usher.quarantine q
        where (quarantined.id is null or q.id = quarantined.id)
              and (wanted is null or q.slot = wanted)
              and not exists (select from usher.settled d
                              where d.quarantine_id = q.id)
        order by q.id
        limit 10000;

    if not found and quarantined.id is not null then
        perform usher.fail('404', format('no line %s is open', id),
            'quarantine_list shows all, and what came of them.');
    end if;
end
$$;

comment on function usher.quarantined(text, bigint, text) is
    'The open lines that are named by id or slot, if the actor may call the '
    'function';


create function api.quarantine_settle(reason text, id bigint default null,
    slot text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    n  bigint;
begin
    perform usher.reason_ok(reason);

    insert into usher.settled (quarantine_id, reason)
    select q.id, quarantine_settle.reason
    from usher.quarantined('quarantine_settle', id, slot) q
    on conflict do nothing;

    get diagnostics n = row_count;

    perform usher.note('quarantine_settle', null,
        jsonb_build_object('id', id, 'slot', slot, 'reason', reason,
                           'settled', n));

    return jsonb_build_object('settled', n);
end
$$;

comment on function api.quarantine_settle(text, bigint, text) is
'Gives up lines in quarantine: they stay there, and journal verify reports
them as settled.  At most 10000 a call.
reason: why, kept with them
id: number of one line
slot: all that are open of this slot';


create function usher.copy_text(field text)
returns text
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    piece    text;
    written  text;
begin
    if field = '\N' or position('\' in field) = 0 then
        return nullif(field, '\N');
    end if;

    -- What lies between two backslashes that are one has only the others.
    foreach piece in array string_to_array(field, '\\') loop
        piece := replace(replace(replace(replace(replace(replace(piece,
                 '\t', E'\t'), '\n', E'\n'), '\r', E'\r'), '\b', E'\b'),
                 '\f', E'\f'), '\v', E'\x0b');

        if position('\' in piece) > 0 then
            perform usher.fail('400', 'a backslash stands for nothing',
                'See usher_event_text: the edge writes no other.');
        end if;

        written := coalesce(written || '\', '') || piece;
    end loop;

    return written;
end
$$;

comment on function usher.copy_text(text) is
    'A field of COPY text, as the edge writes it; null for \N';


create function usher.line_read(target regclass, line bytea)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    fields   text[] := string_to_array(rtrim(convert_from(line, 'UTF8'),
                                             E'\n'), E'\t');
    columns  text[];
begin
    -- The first is the tag; what no edge writes is ours.
    select array_agg(a.attname order by a.attnum) into columns
    from pg_attribute a
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped
          and a.attname not in ('received_at', 'relabelled');

    if cardinality(fields) - 1 <> cardinality(columns) then
        perform usher.fail('400',
            format('the line has %s columns, not %s',
                   cardinality(fields) - 1, cardinality(columns)),
            'It cannot be stored; quarantine_settle gives it up.');
    end if;

    return (select jsonb_object_agg(columns[i],
                                    usher.copy_text(fields[i + 1]))
            from generate_series(1, cardinality(columns)) i)
           || jsonb_build_object('received_at', now());
end
$$;

comment on function usher.line_read(regclass, bytea) is
    'The columns of an event''s line by name, as text';


create function usher.line_store(kind text, line bytea)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    v      jsonb;
    r      usher.request;
    h      usher.hook;
    c      usher.conversion_event;
    since  timestamptz;
begin
    case kind
        when 'r1' then
            v := usher.line_read('usher.request', line);

            insert into usher.request
            select * from jsonb_populate_record(null::usher.request, v)
            returning * into r;

            -- As flush books it, under the same lock.
            select u.closed_until into since from usher.usage_close u
            for share;

            insert into usher.usage_delta (hour, key_id, org_id, route,
                status, requests, units, bytes_sent, duration_ms)
            values (greatest(since, date_trunc('hour', least(r.event_time,
                        now() + interval '1 hour'), 'UTC')),
                    coalesce(r.key_id, 0), coalesce(r.org_id, 0), r.route,
                    r.status, 1, r.units, r.bytes_sent, r.duration_ms);

        when 'c1' then
            insert into usher.click
            select * from jsonb_populate_record(null::usher.click,
                              usher.line_read('usher.click', line));

        when 'h1' then
            v := usher.line_read('usher.hook', line);
            v := jsonb_set(v, '{headers}', (v->>'headers')::jsonb);
            h := jsonb_populate_record(null::usher.hook, v);

            insert into usher.hook_key (source, delivery_id)
            values (h.source, h.delivery_id)
            on conflict do nothing;

            if not found then
                return false;
            end if;

            insert into usher.hook values (h.*);

        when 'v1' then
            c := jsonb_populate_record(null::usher.conversion_event,
                     usher.line_read('usher.conversion_event', line));

            insert into usher.conversion_key (postback_id, transaction_id,
                digest)
            values (c.postback_id, c.transaction_id, c.digest)
            on conflict do nothing;

            if not found then
                perform usher.conversion_again(c.postback_id,
                    c.transaction_id, c.digest, c.event_time);
                return false;
            end if;

            insert into usher.conversion_event values (c.*);

        when 'p1' then
            insert into usher.part
            select * from jsonb_populate_record(null::usher.part,
                              usher.line_read('usher.part', line));

        else
            perform usher.fail('400', format('no kind of event is "%s"', kind),
                'A newer Usher may know it: run its util/migrate.');
    end case;

    return true;
end
$$;

comment on function usher.line_store(text, bytea) is
    'Makes a line in quarantine a row, with its sums; false: it is one '
    'already';


create function api.quarantine_retry(id bigint default null,
    slot text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    stored      bigint := 0;
    duplicates  bigint := 0;
    refused     bigint := 0;
    why         text;
    q           usher.quarantine;
begin
    for q in select * from usher.quarantined('quarantine_retry', id, slot) loop
        begin
            insert into usher.settled (quarantine_id, stored, reason)
            values (q.id, true, 'could be stored')
            on conflict do nothing;

            continue when not found;

            if usher.line_store(q.kind, q.line) then
                stored := stored + 1;

            else
                update usher.journal j set losers = j.losers + 1
                where j.slot = q.slot;

                duplicates := duplicates + 1;
            end if;

        exception
            when data_exception or integrity_constraint_violation
                 or sqlstate 'US400'
            then
                refused := refused + 1;
                why := coalesce(why, format('line %s: %s', q.id, sqlerrm));
        end;
    end loop;

    perform usher.note('quarantine_retry', null,
        jsonb_build_object('id', id, 'slot', slot, 'stored', stored,
            'duplicates', duplicates, 'refused', refused));

    return jsonb_build_object('ok', refused = 0, 'stored', stored,
        'duplicates', duplicates, 'refused', refused, 'why', why);
end
$$;

comment on function api.quarantine_retry(bigint, text) is
'Stores lines in quarantine after all, once what refused them is mended: as
rows of today, with their sums.  ok is false if some are refused again, and
why says for what.  At most 10000 a call.
id: number of one line
slot: all that are open of this slot';
