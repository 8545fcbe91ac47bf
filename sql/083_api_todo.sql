-- 083_api_todo.sql - what failed in duty react, and what becomes of it.

create function api.todo_list(handler text default null,
    given_up boolean default false, "limit" integer default 100)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
    perform usher.authorize('todo_list', null);

    return (select coalesce(jsonb_agg(jsonb_build_object(
                       'id', l.id, 'handler', l.handler,
                       'about', l.reference, 'attempts', l.attempts,
                       'state', case when l.next_at = 'infinity'
                                     then 'given up' else 'waits' end,
                       'next', nullif(l.next_at, 'infinity'),
                       'failed', l.failed_at, 'sqlstate', l.sqlstate,
                       'error', l.error, 'created', l.created_at)
                   order by l.id desc), '[]')
            from (select t.*
                  from usher.todo t
                  where t.attempts > 0
                        and (todo_list.handler is null
                             or t.handler = todo_list.handler)
                        and (not todo_list.given_up
                             or t.next_at = 'infinity')
                  order by t.id desc
                  limit usher.page("limit")) l);
end
$$;

comment on function api.todo_list(text, boolean, integer) is
'Lists what duty react could not do, the newest first: it is tried again, at
last each hour, and given up after five hours and a half.
handler: only of this handler, as conversion
given_up: true: only what was given up
limit: at most so many';


create function api.todo_retry(id bigint default null,
    handler text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    n  bigint;
begin
    perform usher.authorize('todo_retry', null);

    if id is null and handler is null then
        perform usher.fail('400', 'no item was named',
            'Give id=, or handler= for all of a handler; todo_list shows '
            'them.');
    end if;

    -- From the beginning, so that it is not given up at the next failure.
    update usher.todo t
    set next_at = clock_timestamp(), attempts = 0, failed_at = null,
        sqlstate = null, error = null
    where t.attempts > 0
          and (todo_retry.id is null or t.id = todo_retry.id)
          and (todo_retry.handler is null or t.handler = todo_retry.handler);
    get diagnostics n = row_count;

    if n = 0 and id is not null then
        perform usher.fail('404', format('no item %s has failed', id),
            'todo_list shows all.');
    end if;

    perform pg_notify('usher_react', '');
    perform usher.note('todo_retry', null,
        jsonb_build_object('id', id, 'handler', handler, 'retried', n));

    return jsonb_build_object('retried', n);
end
$$;

comment on function api.todo_retry(bigint, text) is
'Has duty react try again what failed, at once and as often as at first.
id: number of one item
handler: all of this handler that failed';


create function api.todo_drop(id bigint, reason text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    gone  usher.todo;
begin
    perform usher.authorize('todo_drop', null);
    perform usher.reason_ok(reason);

    delete from usher.todo t
    where t.id = todo_drop.id and t.attempts > 0
    returning * into gone;

    if gone.id is null then
        perform usher.fail('404', format('no item %s has failed', id),
            'todo_list shows all.');
    end if;

    perform usher.note('todo_drop', null,
        jsonb_build_object('id', id, 'handler', gone.handler,
            'about', gone.reference, 'error', gone.error,
            'reason', reason));

    return jsonb_build_object('id', id, 'handler', gone.handler);
end
$$;

comment on function api.todo_drop(bigint, text) is
'Gives up for good what failed: it will not be done.  What it was about stays
where it is, and in the audit.
id: number of the item
reason: why, kept with it';
