-- 086_api_links_csv.sql - links from a file, and into one.
--
-- Millions of lines: a part of the file is one statement, and what checks it
-- are the table's own constraints.  Only when something is wrong with a part
-- are its lines looked at one by one, as link_add would, to say which line it
-- is and why.
--
-- A column that a file does not have leaves links as they are; an empty cell
-- is the default of link_add.

create type usher.link_line as (
    line             integer,
    turn             bigint,
    host             text,
    slug             text,
    url              text,
    title            text,
    fallback         text,
    overflow         text,
    expires          text,
    query            text,
    utm              text,
    plain            text,
    status           text,
    referrer_policy  text,
    disabled         text,
    program          text,
    product          text,
    campaign         text,
    partner          text,
    dead             text,
    untracked        text,
    cap              text,
    cap_day          text
);

comment on type usher.link_line is
    'A link of a file; turn: which line of a part it is that names this link';


create function usher.link_columns()
returns text[]
language sql immutable parallel safe
return array['host', 'slug', 'url', 'title', 'fallback', 'overflow',
             'expires', 'query', 'utm', 'plain', 'status', 'referrer_policy',
             'disabled', 'program', 'product', 'campaign', 'partner', 'dead',
             'untracked', 'cap', 'cap_day'];

comment on function usher.link_columns() is
    'The columns of a file of links, as link_export writes them';


create function usher.link_lines(csv text, first integer, head text[],
    above integer)
returns usher.link_line[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    at     integer[] := array(select array_position(head, c.name)
                              from unnest(usher.link_columns())
                                   with ordinality c (name, n)
                              order by c.n);
    width  integer := cardinality(head);
    wrong  integer[];
    lines  usher.link_line[];
begin
    select array_agg((
               c.line, c.turn, lower(c.cells[at[1]] collate "C"),
               c.cells[at[2]], c.cells[at[3]],
               c.cells[at[4]], c.cells[at[5]], c.cells[at[6]],
               c.cells[at[7]], c.cells[at[8]], c.cells[at[9]],
               c.cells[at[10]], c.cells[at[11]], c.cells[at[12]],
               c.cells[at[13]], c.cells[at[14]], c.cells[at[15]],
               c.cells[at[16]], c.cells[at[17]], c.cells[at[18]],
               c.cells[at[19]], c.cells[at[20]], c.cells[at[21]]
               )::usher.link_line
               order by c.line),
           min(array[c.line, cardinality(c.cells)])
               filter (where cardinality(c.cells) <> width)
    into lines, wrong
    from (select c.line, c.cells,
                 row_number() over (
                     partition by lower(c.cells[at[1]] collate "C"),
                                  c.cells[at[2]] collate "C"
                     order by c.line) as turn
          from usher.csv_split(csv, first) c
          where c.line > above) c;

    if wrong is not null then
        perform usher.csv_width(wrong[1], wrong[2], width);
    end if;

    return coalesce(lines, '{}');
end
$$;

comment on function usher.link_lines(text, integer, text[], integer) is
    'The lines of a part that begins in line first, above left out';


create function usher.csv_boolean(cell text, otherwise boolean)
returns boolean
language sql immutable parallel safe
return case when cell is null then otherwise
            else lower(cell collate "C")
                 in ('true', 't', 'yes', 'y', 'on', '1') end;

comment on function usher.csv_boolean(text, boolean) is
    'The truth of a cell; otherwise where the file has no such column';


create function usher.csv_boolean_ok(cell text)
returns boolean
language sql immutable parallel safe
return lower(cell collate "C") in ('true', 't', 'yes', 'y', 'on', '1', '',
                                   'false', 'f', 'no', 'n', 'off', '0');

comment on function usher.csv_boolean_ok(text) is
    'Whether it is true or false, or empty: false';


create function usher.csv_time_ok(cell text)
returns boolean
language sql immutable parallel safe
return cell ~ '^([0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9:.]+ ?(Z|[+-][0-9:]+)?)?|infinity)?$';

comment on function usher.csv_time_ok(text) is
    'Whether it may be a moment, as 2026-12-31 23:59:59+01, or infinity, or '
    'empty';


create function usher.csv_cap_ok(cell text)
returns boolean
language sql immutable parallel safe
return cell ~ '^[0-9]{0,9}$';

comment on function usher.csv_cap_ok(text) is
    'Whether it may be a cap; 0, or empty: none';


create function usher.csv_cap(cell text, otherwise integer)
returns integer
language sql immutable parallel safe
return case when cell is null then otherwise
            when cell ~ '^[0-9]{1,9}$' then nullif(cell::integer, 0) end;

comment on function usher.csv_cap(text, integer) is
    'The cap of a cell; otherwise where the file has no such column';


create function usher.csv_caps_ok(cap text, cap_day text)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    c  record;
begin
    for c in
        select v.name, v.cell
        from (values ('cap', cap), ('cap_day', cap_day)) v (name, cell)
        where not usher.csv_cap_ok(v.cell)
    loop
        perform usher.fail('400',
            format('%s="%s" cannot be', c.name, left(c.cell, 60)),
            'A cap is a number of clicks, 1 to 999999999; 0: none.');
    end loop;
end
$$;

comment on function usher.csv_caps_ok(text, text) is
    'Raises unless these cells can be caps; null is not looked at';


create function usher.url_host(url text)
returns text
language sql immutable parallel safe
return lower(split_part(translate(split_part(url, '/', 3), ':?#', '///'),
                        '/', 1) collate "C");

comment on function usher.url_host(text) is 'The host of a URL without user';


-- The first line that cannot be, as link_add would say it.

create function usher.link_line_wrong(l usher.link_line, on_conflict text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    d  usher.domain := usher.domain_for('link_import', l.host);
    e  usher.link;
    c  record;
begin
    select k.* into e from usher.link k
    where k.host = d.host and k.slug = l.slug;

    perform usher.link_of(d.org_id, nullif(l.program, ''),
        nullif(l.product, ''), nullif(l.campaign, ''), nullif(l.partner, ''));
    perform usher.enabled_ok(p) from usher.program p
    where p.org_id = d.org_id and p.name = l.program
          and p.id is distinct from e.program_id;
    perform usher.link_tracked_ok(
        case when l.program is null then e.program_id
             else (select p.id from usher.program p
                   where p.org_id = d.org_id and p.name = l.program) end,
        usher.csv_boolean(l.untracked, coalesce(e.untracked, false)), l.url,
        coalesce(l.overflow, e.overflow_url));
    perform usher.link_slug_ok(l.slug);
    perform usher.title_ok(coalesce(l.title, ''));
    perform usher.url_ok('url', l.url);

    if l.status !~ '^[0-9]{0,4}$' then
        l.status := '0';
    end if;

    perform usher.link_arguments_ok(l.fallback, l.overflow, l.utm,
        coalesce(nullif(l.status, ''), '302')::integer,
        nullif(l.referrer_policy, ''));
    perform usher.link_dead_ok(coalesce(nullif(l.dead, ''), 'list'));

    for c in
        select v.name, v.cell
        from (values ('query', l.query), ('plain', l.plain),
                     ('disabled', l.disabled),
                     ('untracked', l.untracked)) v (name, cell)
        where not usher.csv_boolean_ok(v.cell)
    loop
        perform usher.fail('400',
            format('%s="%s" cannot be', c.name, left(c.cell, 60)),
            'It is true or false.');
    end loop;

    perform usher.csv_caps_ok(l.cap, l.cap_day);

    begin
        if not usher.csv_time_ok(l.expires)
           or nullif(l.expires, '')::timestamptz is null and l.expires <> ''
        then
            raise datetime_field_overflow;
        end if;

    exception when data_exception then
        perform usher.fail('400',
            format('expires="%s" cannot be', left(l.expires, 60)),
            'A moment is like 2026-12-31 23:59:59+01; it is UTC where it '
            'names no zone.');
    end;

    if on_conflict = 'fail' and e.id is not null then
        perform usher.fail('409',
            format('host "%s" has another link "%s"', d.host, l.slug),
            'on_conflict=update changes what is there, on_conflict=skip '
            'leaves it.');
    end if;
end
$$;

comment on function usher.link_line_wrong(usher.link_line, text) is
    'Raises if it is why its part was refused';


create function usher.link_lines_wrong(lines usher.link_line[], these bigint,
    on_conflict text, bad integer)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    l     usher.link_line;
    hint  text;
begin
    -- bad: it is known which; a conflict is none of the lines before it
    foreach l in array lines loop
        if l.turn <> these or l.line < bad then
            continue;
        end if;

        begin
            perform usher.link_line_wrong(l,
                case when bad is not null then on_conflict end);
        exception when others then
            get stacked diagnostics hint = pg_exception_hint;
            raise exception using errcode = sqlstate, hint = hint,
                message = format('csv= line %s: %s', l.line, sqlerrm);
        end;
    end loop;
end
$$;

comment on function usher.link_lines_wrong(usher.link_line[], bigint, text,
    integer) is
    'Raises with the line that is why its part was refused, if one is';


create type usher.link_told as (
    org_id     bigint,
    added      bigint,
    changed    bigint,
    unchanged  bigint,
    skipped    bigint,
    bad        integer
);

comment on type usher.link_told is
    'What came of a part; bad: nothing, because of this line';


-- By index, whatever is known of a table that grows with each part.

create function usher.link_lines_put(lines usher.link_line[], these bigint,
    on_conflict text)
returns setof usher.link_told
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    with compared as materialized (
        select g.line, g.org_id, g.link_id, g.host, g.slug, g.url, g.title,
               g.fallback_url, g.overflow_url, g.expires_at, g.pass_query,
               g.utm, g.plain, g.status, g.referrer_policy, g.disabled_at,
               g.program_id, g.campaign_id, g.product_id, g.partner_id,
               g.dead, g.untracked, g.cap, g.cap_day,
               (g.wrong
                or (g.program <> '' and g.program_id is null)
                or (g.campaign <> '' and g.campaign_id is null)
                or (g.product <> '' and g.product_id is null)
                or (g.partner <> '' and g.partner_id is null)
                or (position('{click_id}' in concat(g.url, g.overflow_url)) > 0
                    and exists (select from usher.program p
                                join usher.network_setup s
                                     on s.id = p.network_id
                                where p.id = g.program_id
                                      and s.trackable is not true)))
               is true as bad,
               (not g.untracked
                and exists (select from usher.program p
                            join usher.network_setup s on s.id = p.network_id
                            where p.id = g.program_id and p.mode <> 'plain'
                                  and s.trackable
                                  and not usher.click_id_returns(g.url, s)))
               is true as lost,
               g.program_id is distinct from (g.was).program_id
               and exists (select from usher.program p
                           where p.id = g.program_id
                                 and p.disabled_at is not null) as closed,
               (g.url, g.title, g.fallback_url, g.overflow_url,
                g.expires_at, g.pass_query, g.utm, g.plain, g.status,
                g.referrer_policy, g.disabled_at, g.program_id,
                g.campaign_id, g.product_id, g.partner_id, g.dead,
                g.untracked, g.cap, g.cap_day)
               is not distinct from
               ((g.was).url, (g.was).title, (g.was).fallback_url,
                (g.was).overflow_url,
                nullif((g.was).expires_at, 'infinity'),
                (g.was).pass_query, (g.was).utm, (g.was).plain,
                (g.was).status, (g.was).referrer_policy,
                (g.was).disabled_at, (g.was).program_id,
                (g.was).campaign_id, (g.was).product_id,
                (g.was).partner_id, (g.was).dead, (g.was).untracked,
                (g.was).cap, (g.was).cap_day) as same
        from (select n.line, n.org_id, e.id as link_id, n.host, n.slug,
                     n.url,
                     coalesce(n.title, e.title, '') as title,
                     nullif(coalesce(n.fallback, e.fallback_url), '')
                         as fallback_url,
                     nullif(coalesce(n.overflow, e.overflow_url), '')
                         as overflow_url,
                     case when n.expires is null then e.expires_at
                          when usher.csv_time_ok(n.expires)
                          then nullif(nullif(n.expires, '')::timestamptz,
                                      'infinity')
                     end as expires_at,
                     usher.csv_boolean(n.query, coalesce(e.pass_query, false))
                         as pass_query,
                     nullif(coalesce(n.utm, e.utm), '') as utm,
                     usher.csv_boolean(n.plain, coalesce(e.plain, false))
                         as plain,
                     case when n.status is null then coalesce(e.status, 302)
                          when n.status ~ '^[0-9]{3}$' then n.status::smallint
                          else 302 end as status,
                     case when n.referrer_policy is null and e.id is not null
                          then e.referrer_policy
                          else coalesce(nullif(n.referrer_policy, ''),
                                        'no-referrer-when-downgrade')
                     end as referrer_policy,
                     case when usher.csv_boolean(n.disabled,
                                                 e.disabled_at is not null)
                          then coalesce(e.disabled_at, now()) end
                         as disabled_at,
                     case when n.campaign is null then e.campaign_id
                          when n.campaign <> ''
                          then (select c.id from usher.campaign c
                                where c.org_id = n.org_id
                                      and c.name = n.campaign)
                     end as campaign_id,
                     case when n.program is null then e.program_id
                          else n.program_id end as program_id,
                     case when n.product is null then e.product_id
                          when n.product <> ''
                          then (select o.id from usher.product o
                                where o.program_id
                                      = case when n.program is null
                                             then e.program_id
                                             else n.program_id end
                                      and o.name = n.product)
                     end as product_id,
                     case when n.partner is null then e.partner_id
                          when n.partner <> ''
                          then (select q.id
                                from usher.partner q
                                join usher.program_partner j
                                     on j.partner_id = q.id
                                where q.org_id = n.org_id
                                      and q.name = n.partner
                                      and j.program_id
                                          = case when n.program is null
                                                 then e.program_id
                                                 else n.program_id end)
                     end as partner_id,
                     case when n.dead is null then coalesce(e.dead, 'list')
                          else coalesce(nullif(n.dead, ''), 'list')
                     end as dead,
                     usher.csv_boolean(n.untracked,
                                       coalesce(e.untracked, false))
                         as untracked,
                     usher.csv_cap(n.cap, e.cap) as cap,
                     usher.csv_cap(n.cap_day, e.cap_day) as cap_day,
                     not usher.csv_time_ok(n.expires)
                     or not usher.csv_boolean_ok(n.query)
                     or not usher.csv_boolean_ok(n.plain)
                     or not usher.csv_boolean_ok(n.disabled)
                     or not usher.csv_boolean_ok(n.untracked)
                     or not usher.csv_cap_ok(n.cap)
                     or not usher.csv_cap_ok(n.cap_day)
                     or n.status !~ '^([0-9]{3})?$'
                     or exists (select from usher.domain x
                                where x.host = usher.url_host(n.url))
                     or (n.fallback <> ''
                         and exists (select from usher.domain x
                                     where x.host
                                           = usher.url_host(n.fallback)))
                     or (n.overflow <> ''
                         and exists (select from usher.domain x
                                     where x.host
                                           = usher.url_host(n.overflow)))
                         as wrong,
                     n.program, n.campaign, n.product, n.partner, e as was
              from (select l.*, d.org_id,
                           case when l.program <> ''
                                then (select p.id from usher.program p
                                      where p.org_id = d.org_id
                                            and p.name = l.program)
                           end as program_id
                    from unnest(lines) l
                    left join usher.domain d on d.host = l.host
                    where l.turn = these
                    offset 0) n
              left join usher.link e on e.host = n.host and e.slug = n.slug
              offset 0) g

    ), stop as materialized (
        select min(c.line) as line
        from compared c
        where c.bad
              or (c.lost and not c.same
                  and (c.link_id is null or on_conflict <> 'skip'))
              or (c.closed
                  and (c.link_id is null or on_conflict = 'update'))
              or (c.link_id is not null and not c.same
                  and on_conflict = 'fail')

    ), added as (
        insert into usher.link (org_id, host, slug, url, title, fallback_url,
            overflow_url, expires_at, pass_query, utm, plain, status,
            referrer_policy, disabled_at, program_id, campaign_id,
            product_id, partner_id, dead, untracked, cap, cap_day)
        select c.org_id, c.host, c.slug, c.url, c.title, c.fallback_url,
               c.overflow_url, c.expires_at, c.pass_query, c.utm, c.plain,
               c.status, c.referrer_policy, c.disabled_at, c.program_id,
               c.campaign_id, c.product_id, c.partner_id, c.dead,
               c.untracked, c.cap, c.cap_day
        from compared c, stop s
        where c.link_id is null and s.line is null
        order by c.line

    ), changed as (
        update usher.link u
        set url = c.url, title = c.title, fallback_url = c.fallback_url,
            overflow_url = c.overflow_url, expires_at = c.expires_at,
            pass_query = c.pass_query, utm = c.utm, plain = c.plain,
            status = c.status, referrer_policy = c.referrer_policy,
            disabled_at = c.disabled_at, program_id = c.program_id,
            campaign_id = c.campaign_id, product_id = c.product_id,
            partner_id = c.partner_id, dead = c.dead,
            untracked = c.untracked, cap = c.cap, cap_day = c.cap_day
        from compared c, stop s
        where u.id = c.link_id and not c.same and on_conflict = 'update'
              and s.line is null
    )
    select c.org_id, count(*) filter (where c.link_id is null),
           count(*) filter (where not c.same and on_conflict = 'update'
                                  and c.link_id is not null),
           count(*) filter (where c.same and c.link_id is not null),
           count(*) filter (where not c.same and on_conflict = 'skip'
                                  and c.link_id is not null),
           (select s.line from stop s)
    from compared c
    group by c.org_id;
end
$$;

comment on function usher.link_lines_put(usher.link_line[], bigint, text) is
    'Adds or changes the links of these lines; none if one is bad';


create function usher.link_lines_take(lines usher.link_line[],
    on_conflict text)
returns setof usher.link_told
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    t       usher.link_told;
    these   bigint := 0;
    broken  text;
begin
    -- A link that stands there again meets what stood there before.
    while these < coalesce((select max(l.turn) from unnest(lines) l), 0) loop
        these := these + 1;

        for t in
            select * from usher.link_lines_put(lines, these, on_conflict)
        loop
            if t.bad is not null then
                perform usher.link_lines_wrong(lines, these, on_conflict,
                                               t.bad);
                raise 'line % is bad, and nobody knows why', t.bad;
            end if;

            return next t;
        end loop;
    end loop;

exception
    when unique_violation then
        perform usher.fail('409',
            'somebody else adds links of this file at this moment',
            'Import it again: what is there then is compared.');
    when check_violation or data_exception or not_null_violation then
        get stacked diagnostics broken = constraint_name;

        perform usher.link_lines_wrong(lines, these, on_conflict, null);

        if broken = 'link_size' then
            perform usher.fail('400',
                format('csv= line %s: the link is too long',
                    (select l.line from unnest(lines) l
                     order by octet_length(concat(l.url, l.fallback,
                                                  l.overflow, l.utm)) desc
                     limit 1)),
                'Its URLs and UTM parameters are too long together.');
        end if;

        raise;
end
$$;

comment on function usher.link_lines_take(usher.link_line[], text) is
    'Adds or changes the links of a part, and tells how many of which org; '
    'raises with the line if one is bad';


create function usher.link_hosts_ok(lines usher.link_line[])
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    h     record;
    hint  text;
begin
    for h in
        select l.host, min(l.line) as line from unnest(lines) l
        group by l.host order by 2
    loop
        perform usher.domain_for('link_import', h.host);
    end loop;

exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    raise exception using errcode = sqlstate, hint = hint,
        message = format('csv= line %s: %s', h.line, sqlerrm);
end
$$;

comment on function usher.link_hosts_ok(usher.link_line[]) is
    'Raises unless the actor may import links of all these hosts';


create function usher.link_counts(one jsonb, two jsonb)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select one || coalesce((select jsonb_object_agg(k,
                      (one->>k)::bigint + coalesce((two->>k)::bigint, 0))
                  from unnest(array['added', 'changed', 'unchanged',
                                    'skipped']) k), '{}')
$$;

comment on function usher.link_counts(jsonb, jsonb) is
    'The first, with the counts of the second added to its own';


create function api.link_import(csv usher.csv,
    on_conflict text default 'fail',
    after usher.csv_place default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    columns  text[] := usher.link_columns();
    above    integer := coalesce((after->>'lines')::integer, 0);
    first    integer := above + 1;
    head     text[] := string_to_array(after->>'columns', ' ');
    lines    usher.link_line[];
    told     jsonb;
    t        record;
begin
    perform usher.text_ok('on_conflict', on_conflict, '^(fail|skip|update)$',
        'on_conflict is fail, skip or update.');

    if head is null then
        select c.line, c.cells into above, head
        from usher.csv_split(substring(csv from '^\s*[^\n]*'), 1) c;

        head := usher.csv_head(head, columns[1:3], columns[4:]);
    end if;

    lines := usher.link_lines(csv, first, head, above);

    perform usher.link_hosts_ok(lines);

    told := jsonb_build_object(
        'lines', first - 1 + length(csv) - length(replace(csv, E'\n', ''))
                 + (right(csv, 1) <> E'\n')::integer,
        'added', 0, 'changed', 0, 'unchanged', 0, 'skipped', 0,
        'columns', array_to_string(head, ' '));

    for t in
        select p.org_id, jsonb_build_object(
                   'added', sum(p.added), 'changed', sum(p.changed),
                   'unchanged', sum(p.unchanged),
                   'skipped', sum(p.skipped)) as counts
        from usher.link_lines_take(lines, on_conflict) p
        group by p.org_id
    loop
        perform usher.note('link_import', t.org_id, jsonb_build_object(
            'from', first, 'to', told->'lines', 'on_conflict', on_conflict)
            || t.counts);

        told := usher.link_counts(told, t.counts);
    end loop;

    return usher.link_counts(told, after);
end
$$;

comment on function api.link_import(usher.csv, text, usher.csv_place) is
'Imports links: lines of host, slug, url under these names, and of the other
arguments of link add; disabled is true or false.  All is done, or nothing; a
link that is there already as it is in the file is left as it is.  A column
that the file does not have leaves links as they are.
csv: the file, of any length: csv=@links.csv, or csv=-
on_conflict: what is done where a slug has another link: fail, skip, update
after: made by usherctl, which sends the file in parts';


create function usher.link_page(host text, above text, "limit" integer)
returns table (csv text, lines bigint, slug text)
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
as $$
    select string_agg(p.line, '' order by p.slug), count(*), max(p.slug)
    from (select l.slug,
                 l.host || ',' || l.slug || ',' || usher.csv_cell(l.url)
                 || ',' || usher.csv_cell(l.title)
                 || ',' || usher.csv_cell(l.fallback_url)
                 || ',' || usher.csv_cell(l.overflow_url)
                 || ',' || coalesce(nullif(l.expires_at, 'infinity')::text,
                                    '')
                 || ',' || l.pass_query::text
                 || ',' || coalesce(l.utm, '')
                 || ',' || l.plain::text || ',' || l.status
                 || ',' || l.referrer_policy
                 || ',' || (l.disabled_at is not null)::text
                 || ',' || usher.csv_cell(p.name)
                 || ',' || usher.csv_cell(o.name)
                 || ',' || usher.csv_cell(c.name)
                 || ',' || usher.csv_cell(q.name) || ',' || l.dead
                 || ',' || l.untracked::text
                 || ',' || coalesce(l.cap::text, '')
                 || ',' || coalesce(l.cap_day::text, '') || E'\n' as line
          from (select * from usher.link l
                where l.host = link_page.host and l.slug > above
                order by l.slug
                limit link_page."limit") l
          left join usher.program p on p.id = l.program_id
          left join usher.product o on o.id = l.product_id
          left join usher.campaign c on c.id = l.campaign_id
          left join usher.partner q on q.id = l.partner_id) p
$$;

comment on function usher.link_page(text, text, integer) is
    'The next links of a host as lines of a file, in the order of their '
    'slugs; the last of them';


create function usher.link_file(function text, org text, host text, after jsonb,
    head text)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    whose  bigint;
    named  text;
    size   constant integer := 10000;
    told   jsonb := coalesce(after, '{"lines": 1}');
    part   text := '';
    n      bigint := 0;
    d      record;
    p      record;
begin
    if host is not null then
        named := (usher.domain_for(function, host)).host;
    end if;

    if org is not null then
        whose := (usher.org_for(function, org)).id;

    elsif host is null then
        perform usher.authorize(function, null);
    end if;

    if after is null then
        part := head || E'\n';
    end if;

    for d in
        select x.host, case when x.host = told->>'host'
                            then told->>'slug' else '' end as above
        from usher.domain x
        where x.host >= coalesce(told->>'host', '')
              and (whose is null or x.org_id = whose)
              and (named is null or x.host = named)
        order by x.host
    loop
        if function = 'link_export' then
            select q.csv, q.lines, q.slug, 0 as number into p
            from usher.link_page(d.host, d.above, size - n::integer) q;

        else
            select * into p
            from usher.target_page(d.host, d.above,
                case when d.above = '' then 0
                     else (told->>'number')::integer end, size - n::integer);
        end if;

        if p.lines > 0 then
            part := part || p.csv;
            n := n + p.lines;
            told := told || jsonb_build_object('host', d.host,
                                'slug', p.slug, 'number', p.number);
        end if;

        exit when n = size;
    end loop;

    return told || jsonb_build_object('lines', (told->>'lines')::bigint + n,
                                      'more', n = size, 'csv', part);
end
$$;

comment on function usher.link_file(text, text, text, jsonb, text) is
    'The next part of the file that this function writes';


create function api.link_export(org text default null,
    host text default null, after usher.csv_place default null)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.link_file('link_export', org, host, after,
                           array_to_string(usher.link_columns(), ','))
$$;

comment on function api.link_export(text, text, usher.csv_place) is
'Writes links as a file that link import reads: link export org=acme > file.
link target export and link group export write what belongs to them.
org: only those of this org; the operator may leave it out
host: only those of this host
after: made by usherctl, which asks for the file in parts';


insert into usher.right (function, role)
select f, r
from (values
    ('link_import', array['owner', 'admin']),
    ('link_export', array['owner', 'admin', 'analyst'])
) as v (f, roles), unnest(roles) r;
