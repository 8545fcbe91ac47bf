-- 040_events.sql - events and their sums.
--
-- Event tables are partitioned by the day of receipt, UTC, so that there is
-- one live partition and retention is a DROP.  There is no default partition:
-- rows in one would have to be moved.  Partitions are made as tables of their
-- own and attached, which does not disturb a running COPY; CREATE ... PARTITION
-- OF would wait for it, and make everybody else wait.

create table usher.request (
    received_at   timestamptz not null default now(),
    event_time    timestamptz not null,
    key_id        bigint,
    route         text not null,
    status        smallint not null,
    units         bigint not null,
    bytes_sent    bigint not null,
    duration_ms   integer not null,
    org_id        bigint,
    request_id    text not null,
    node          text not null,
    method        text not null,
    host          text not null,
    uri           text not null,
    address       inet,
    user_agent    text not null,
    referer       text not null,
    auth_status   text not null,
    limit_status  text not null,
    protocol      text not null,
    flags         smallint not null
) partition by range (received_at);

create index request_key on usher.request (key_id, event_time);
create index request_time on usher.request using brin (event_time);

comment on table usher.request is 'Requests, one row each (event kind r)';
comment on column usher.request.received_at is
    'When the row was stored; its day is the partition';
comment on column usher.request.event_time is 'When the request ended';
comment on column usher.request.key_id is 'Key it was let in by';
comment on column usher.request.route is 'usher_route, or the location';
comment on column usher.request.status is 'Status of the response';
comment on column usher.request.units is 'Units charged by usher_limit';
comment on column usher.request.bytes_sent is 'Bytes sent';
comment on column usher.request.duration_ms is 'Time it took, in ms';
comment on column usher.request.org_id is 'Org of the key';
comment on column usher.request.request_id is 'Unique id of the request';
comment on column usher.request.node is 'usher_node';
comment on column usher.request.method is 'Method';
comment on column usher.request.host is 'Host asked for';
comment on column usher.request.uri is 'Path, without the arguments';
comment on column usher.request.address is 'Client address';
comment on column usher.request.user_agent is 'User-Agent';
comment on column usher.request.referer is 'Referer';
comment on column usher.request.auth_status is '$usher_auth_status';
comment on column usher.request.limit_status is '$usher_limit_status';
comment on column usher.request.protocol is 'HTTP/1.1, HTTP/2.0, ...';
comment on column usher.request.flags is
    '1: text was mended; 2: was cut; 4: request_id is of usher_request_id, '
    'and perhaps of the client';
comment on index usher.request_key is 'The requests of a key, by time';
comment on index usher.request_time is 'Requests by time';


create table usher.hook (
    received_at  timestamptz not null default now(),
    source       text not null,
    delivery_id  text not null,
    event_time   timestamptz not null,
    id           text not null,
    headers      jsonb not null,
    body         bytea not null,
    parts        integer not null,
    flags        smallint not null
) partition by range (received_at);

create index hook_delivery on usher.hook (source, delivery_id);
create index hook_parts on usher.hook (id) where parts > 0;

comment on table usher.hook is 'Webhooks taken in (event kind h)';
comment on column usher.hook.received_at is
    'When the row was stored; its day is the partition';
comment on column usher.hook.source is 'Who sent it';
comment on column usher.hook.delivery_id is 'The sender''s id of the delivery';
comment on column usher.hook.event_time is 'When it was answered';
comment on column usher.hook.id is 'Id that its parts name';
comment on column usher.hook.headers is 'Header fields kept';
comment on column usher.hook.body is 'Body, unless it came in parts';
comment on column usher.hook.parts is 'Number of parts; 0: body is here';
comment on column usher.hook.flags is '1: text was mended; 2: was cut';
comment on index usher.hook_delivery is 'A delivery by the senders id';
comment on index usher.hook_parts is 'The event of a part';


create table usher.hook_key (
    source       text not null,
    delivery_id  text not null,
    primary key (source, delivery_id)
);

comment on table usher.hook_key is
    'Deliveries that are rows: unpartitioned, so unique over all days';
comment on column usher.hook_key.source is 'Who sent it';
comment on column usher.hook_key.delivery_id is
    'The sender''s id of the delivery';


create table usher.part (
    received_at  timestamptz not null default now(),
    id           text not null,
    n            integer not null,
    of           integer not null,
    data         bytea not null
) partition by range (received_at);

create index part_id on usher.part (id, n);

comment on table usher.part is
    'Pieces of large bodies (event kind p), until the event that closes them';
comment on column usher.part.received_at is
    'When the row was stored; its day is the partition';
comment on column usher.part.id is 'Id that the closing event names';
comment on column usher.part.n is 'Which part, from 1';
comment on column usher.part.of is 'How many there are';
comment on column usher.part.data is 'The bytes';
comment on index usher.part_id is 'The parts of a body, in order';


-- Sums per hour.  Flush only appends; keep folds what is closed.

create table usher.usage_delta (
    hour         timestamptz not null,
    key_id       bigint not null,
    org_id       bigint not null,
    route        text not null,
    status       smallint not null,
    requests     bigint not null,
    units        bigint not null,
    bytes_sent   bigint not null,
    duration_ms  bigint not null
);

comment on table usher.usage_delta is
    'Sums of one flush transaction each; append only';
comment on column usher.usage_delta.hour is
    'Hour of the events; a late event counts in the first open hour';
comment on column usher.usage_delta.key_id is 'Key; 0: none';
comment on column usher.usage_delta.org_id is 'Org; 0: none';
comment on column usher.usage_delta.route is 'Route';
comment on column usher.usage_delta.status is 'Status';
comment on column usher.usage_delta.requests is 'Number of requests';
comment on column usher.usage_delta.units is 'Units charged';
comment on column usher.usage_delta.bytes_sent is 'Bytes sent';
comment on column usher.usage_delta.duration_ms is 'Time together, in ms';


create table usher.usage (
    hour         timestamptz not null,
    key_id       bigint not null,
    org_id       bigint not null,
    route        text not null,
    status       smallint not null,
    requests     bigint not null,
    units        bigint not null,
    bytes_sent   bigint not null,
    duration_ms  bigint not null,
    primary key (hour, key_id, org_id, route, status)
);

create index usage_org on usher.usage (org_id, hour);

comment on index usher.usage_org is 'The sums of an org, by hour';

comment on table usher.usage is 'Sums of closed hours';
comment on column usher.usage.hour is
    'Hour of the events; a late event counts in the first open hour';
comment on column usher.usage.key_id is 'Key; 0: none';
comment on column usher.usage.org_id is 'Org; 0: none';
comment on column usher.usage.route is 'Route';
comment on column usher.usage.status is 'Status';
comment on column usher.usage.requests is 'Number of requests';
comment on column usher.usage.units is 'Units charged';
comment on column usher.usage.bytes_sent is 'Bytes sent';
comment on column usher.usage.duration_ms is 'Time together, in ms';


create table usher.usage_close (
    one           boolean primary key default true check (one),
    closed_until  timestamptz not null
                  check (closed_until
                         = date_trunc('hour', closed_until, 'UTC'))
);

insert into usher.usage_close (closed_until)
values (date_trunc('hour', now(), 'UTC') - interval '24 hours');

comment on table usher.usage_close is
    'The one row that says which hours are closed';
comment on column usher.usage_close.one is 'True: there is one row';
comment on column usher.usage_close.closed_until is
    'The first open hour.  Flush reads it FOR SHARE in its transaction and '
    'appends nothing before it; so once keep has moved it, no sum of an '
    'earlier hour can appear';


create view usher.usage_total as
select hour, key_id, org_id, route, status,
       sum(requests)::bigint as requests,
       sum(units)::bigint as units,
       sum(bytes_sent)::bigint as bytes_sent,
       sum(duration_ms)::bigint as duration_ms
from (select hour, key_id, org_id, route, status, requests, units,
             bytes_sent, duration_ms
      from usher.usage
      union all
      select hour, key_id, org_id, route, status, requests, units,
             bytes_sent, duration_ms
      from usher.usage_delta) u
group by hour, key_id, org_id, route, status;

comment on view usher.usage_total is
    'All sums, folded or not: each request is in it once';
comment on column usher.usage_total.hour is 'Hour';
comment on column usher.usage_total.key_id is 'Key; 0: none';
comment on column usher.usage_total.org_id is 'Org; 0: none';
comment on column usher.usage_total.route is 'Route';
comment on column usher.usage_total.status is 'Status';
comment on column usher.usage_total.requests is 'Number of requests';
comment on column usher.usage_total.units is 'Units charged';
comment on column usher.usage_total.bytes_sent is 'Bytes sent';
comment on column usher.usage_total.duration_ms is 'Time together, in ms';


-- Partitions.

create table usher.retention (
    table_name  text primary key check (table_name ~ '^[a-z_]{1,40}$'),
    keep        interval not null check (keep >= interval '1 day'),
    part_of     text references usher.retention check (part_of <> table_name)
);

insert into usher.retention (table_name, keep, part_of)
values ('request', '90 days', null), ('hook', '400 days', null),
       ('part', '1 day', 'hook');

comment on table usher.retention is
    'Which tables have partitions by day, and how long each is kept';
comment on column usher.retention.table_name is 'Table in schema usher';
comment on column usher.retention.keep is
    'A day is dropped when its last row is older; of parts, how long one '
    'waits for its event';
comment on column usher.retention.part_of is
    'The table whose events these are pieces of: their days are kept a day '
    'longer than its, since a piece comes before its event';
comment on constraint retention_check on usher.retention is
    'No table is a part of itself';


create table usher.partition_gone (
    table_name  text not null,
    day         date not null,
    rows        bigint not null,
    at          timestamptz not null default now(),
    primary key (table_name, day)
);

comment on table usher.partition_gone is
    'What retention took, so that the journal still adds up: days that were '
    'dropped, parts without event, and keys of conversions';
comment on column usher.partition_gone.table_name is 'Table';
comment on column usher.partition_gone.day is 'Day, UTC';
comment on column usher.partition_gone.rows is 'Rows that went with it';
comment on column usher.partition_gone.at is 'When the last of them went';


create table usher.partition_count (
    table_name  text not null,
    day         date not null,
    blocks      bigint not null default 0,
    rows        bigint not null default 0,
    primary key (table_name, day)
);

comment on table usher.partition_count is
    'Days past retention whose rows are being counted before they are '
    'dropped: that of a large day takes several calls';
comment on column usher.partition_count.table_name is 'Table';
comment on column usher.partition_count.day is 'Day, UTC';
comment on column usher.partition_count.blocks is
    'Blocks of the day that were counted';
comment on column usher.partition_count.rows is 'Rows in them';


create function usher.partition_ensure(table_name text, day date)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set timezone = 'UTC'
as $$
declare
    part   text := table_name || '_' || to_char(day, 'YYYYMMDD');
    since  timestamptz := day::timestamp at time zone 'UTC';
    till   timestamptz := (day + 1)::timestamp at time zone 'UTC';
begin
    if to_regclass(format('usher.%I', part)) is not null then
        return false;
    end if;

    if not exists (select from usher.retention r
                   where r.table_name = partition_ensure.table_name)
    then
        raise exception 'usher.% has no partitions', table_name
            using hint = 'Such tables are listed in usher.retention.';
    end if;

    perform pg_advisory_xact_lock(hashtext('usher.partition'),
                                  hashtext(part));

    -- A look at the catalogue itself: after waiting, to_regclass would still
    -- say what this session knew before.
    if exists (select from pg_class c
               where c.relnamespace = 'usher'::regnamespace
                     and c.relname = part)
    then
        return false;
    end if;

    execute format('create table usher.%I (like usher.%I including all, '
        'constraint bounds check (received_at >= %L and received_at < %L))',
        part, table_name, since, till);
    execute format('alter table usher.%I attach partition usher.%I '
        'for values from (%L) to (%L)', table_name, part, since, till);
    execute format('alter table usher.%I drop constraint bounds', part);
    execute format('comment on table usher.%I is %L', part,
        format('Rows of usher.%s received on %s', table_name, day));
    return true;
end
$$;

comment on function usher.partition_ensure(text, date) is
    'Makes the partition of a table for a day (UTC) if absent; true if it '
    'did.  Waits at most 2 s for a lock: call it again';


create function usher.partitions_ahead(days integer default 7)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    made   integer := 0;
    today  date := (clock_timestamp() at time zone 'UTC')::date;
    r      record;
begin
    for r in
        select t.table_name, today + n as day
        from usher.retention t, generate_series(0, days) n
        order by n, t.table_name
    loop
        begin
            made := made + usher.partition_ensure(r.table_name,
                                                  r.day)::integer;
        exception
            when lock_not_available then
                raise warning 'partition % of usher.% is not made yet',
                    r.day, r.table_name;
        end;
    end loop;

    return made;
end
$$;

comment on function usher.partitions_ahead(integer) is
    'Makes the partitions of today and the coming days; returns how many.  '
    'What a lock kept from being made is left to the next call';


-- What is old is judged by two clocks: a database whose clock jumped a year
-- ahead must not take a year of days for old.  The other is the edges', as
-- they wrote it into their events.

create function usher.moment(clock timestamptz default clock_timestamp())
returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select least(clock, (select max(j.last_event) + interval '1 day'
                         from usher.journal j))
$$;

comment on function usher.moment(timestamptz) is
    'Now, as far as it may make things old: at most a day past the newest '
    'event stored';


create function usher.partition_rows(table_name text, day date,
    deadline timestamptz)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    part    regclass := format('usher.%I', table_name || '_'
                               || to_char(day, 'YYYYMMDD'));
    blocks  bigint := pg_relation_size(part)
                      / current_setting('block_size')::bigint;
    step    constant bigint := 1024;
    c       usher.partition_count;
    n       bigint;
begin
    insert into usher.partition_count (table_name, day)
    values (partition_rows.table_name, partition_rows.day)
    on conflict on constraint partition_count_pkey do nothing;

    select p.* into c from usher.partition_count p
    where p.table_name = partition_rows.table_name
          and p.day = partition_rows.day;

    -- A range at least, so that whatever the deadline is this comes to an end.
    while c.blocks < blocks loop
        execute format('select count(*) from %s where ctid >= $1 and ctid < $2',
                       part)
            into n
            using format('(%s,0)', c.blocks)::tid,
                  format('(%s,0)', c.blocks + step)::tid;

        c.blocks := c.blocks + step;
        c.rows := c.rows + n;
        exit when clock_timestamp() > deadline;
    end loop;

    update usher.partition_count p
    set blocks = c.blocks, rows = c.rows
    where p.table_name = c.table_name and p.day = c.day;

    return case when c.blocks >= blocks then c.rows end;
end
$$;

comment on function usher.partition_rows(text, date, timestamptz) is
    'Counts the rows of a day, going on where the last call ended; null: '
    'there are more';


create function usher.call_time()
returns interval
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select least(interval '20 seconds',
                 nullif(current_setting('statement_timeout')::interval,
                        interval '0') / 3)
$$;

comment on function usher.call_time() is
    'How long a call of keep may take for what the next one can go on with: '
    'a third of statement_timeout, and 20 s at most';


create function usher.partition_retention(
    budget interval default usher.call_time())
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '500ms'
set timezone = 'UTC'
as $$
declare
    until    timestamptz := clock_timestamp() + budget;
    moment   timestamptz := usher.moment();
    parts    text[] := '{}';
    tables   text[] := '{}';
    days     date[] := '{}';
    counts   bigint[] := '{}';
    dropped  integer := 0;
    n        bigint;
    r        record;
begin
    -- Two would count the same days.
    if not pg_try_advisory_xact_lock(hashtext('usher.retention'), 0) then
        return 0;
    end if;

    -- Counting takes long and locks nobody out, so it comes before the first
    -- DROP.  A resend never lands in an old day: the numbers stand.
    for r in
        select t.table_name, c.relname,
               to_date(right(c.relname, 8), 'YYYYMMDD') as day
        from usher.retention t
        left join usher.retention w on w.table_name = t.part_of
        join pg_inherits i
             on i.inhparent = format('usher.%I', t.table_name)::regclass
        join pg_class c on c.oid = i.inhrelid
        where c.relname ~ '_[0-9]{8}$'
              and (to_date(right(c.relname, 8), 'YYYYMMDD') + 1)::timestamptz
                  <= moment - greatest(t.keep, w.keep + interval '1 day')
        order by 3
        limit 8
    loop
        n := usher.partition_rows(r.table_name, r.day, until);

        exit when n is null;

        parts := parts || r.relname::text;
        tables := tables || r.table_name;
        days := days || r.day;
        counts := counts || n;

        exit when clock_timestamp() > until;
    end loop;

    -- DETACH CONCURRENTLY cannot run in a function, and DROP needs the parent
    -- for itself: who comes meanwhile waits behind it.  So it is tried for a
    -- moment, and the first time in vain is the last of this call.
    for i in 1 .. cardinality(parts) loop
        begin
            insert into usher.partition_gone as g (table_name, day, rows)
            values (tables[i], days[i], counts[i])
            on conflict on constraint partition_gone_pkey do update
                set rows = g.rows + excluded.rows, at = excluded.at;

            delete from usher.partition_count c
            where c.table_name = tables[i] and c.day = days[i];

            execute format('drop table usher.%I', parts[i]);
            dropped := dropped + 1;
        exception
            when lock_not_available then
                raise warning 'usher.% is in use, its retention waits',
                    parts[i];
                exit;
        end;
    end loop;

    return dropped;
end
$$;

comment on function usher.partition_retention(interval) is
    'Drops days past their retention, at most eight a call; returns how many.  '
    'Counts their rows for so long, and the next call goes on there';


do $$ begin perform usher.partitions_ahead(); end $$;
