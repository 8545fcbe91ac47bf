-- 086_api_links_parts_csv.sql - targets of links and groups of links, from a
-- file and into one.
--
-- As with links (086_api_links_csv.sql): a column that a file does not have
-- leaves what is there as it is, an empty cell is the default, and the first
-- line that is bad is named, with nothing done.  What is checked of a target is
-- what link_target_set checks; what is written is one statement for a part.

create type usher.csv_begun as (
    head   text[],
    first  integer,
    above  integer,
    told   jsonb
);

comment on type usher.csv_begun is
    'A part of a file: its columns, the number of its first line, that of the '
    'line with the names, and how far the file has come with it';


create function usher.csv_begin(csv text, after jsonb, needed text[],
    known text[])
returns usher.csv_begun
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    b  usher.csv_begun;
begin
    b.above := coalesce((after->>'lines')::integer, 0);
    b.first := b.above + 1;
    b.head := string_to_array(after->>'columns', ' ');

    if b.head is null then
        select c.line, c.cells into b.above, b.head
        from usher.csv_split(substring(csv from '^\s*[^\n]*'), 1) c;

        b.head := usher.csv_head(b.head, needed, known);
    end if;

    b.told := jsonb_build_object(
        'lines', b.first - 1 + length(csv) - length(replace(csv, E'\n', ''))
                 + (right(csv, 1) <> E'\n')::integer,
        'columns', array_to_string(b.head, ' '));

    return b;
end
$$;

comment on function usher.csv_begin(text, jsonb, text[], text[]) is
    'Where a part of a file stands; raises if its columns are not these';


create function usher.csv_part(csv text, b usher.csv_begun, columns text[])
returns table (line integer, cells text[])
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    at     integer[] := array(select array_position(b.head, c.name)
                              from unnest(columns)
                                   with ordinality c (name, n)
                              order by c.n);
    wrong  integer[];
begin
    select min(array[c.line, cardinality(c.cells)]) into wrong
    from usher.csv_split(csv, b.first) c
    where c.line > b.above and cardinality(c.cells) <> cardinality(b.head);

    if wrong is not null then
        perform usher.csv_width(wrong[1], wrong[2], cardinality(b.head));
    end if;

    return query
        select c.line, array(select c.cells[a.i]
                             from unnest(at) with ordinality a (i, n)
                             order by a.n)
        from usher.csv_split(csv, b.first) c
        where c.line > b.above;
end
$$;

comment on function usher.csv_part(text, usher.csv_begun, text[]) is
    'The lines of a part, with the cells of these columns; null: the file does '
    'not have it';


-- Targets.

create type usher.target_line as (
    line      integer,
    turn      bigint,
    host      text,
    slug      text,
    target    text,
    url       text,
    step      text,
    weight    text,
    country   text,
    device    text,
    os        text,
    language  text,
    referrer  text,
    starts    text,
    ends      text,
    cap       text,
    cap_day   text
);

comment on type usher.target_line is
    'A target of a file; turn: which line of a part it is that names it';


create function usher.target_columns()
returns text[]
language sql immutable parallel safe
return array['host', 'slug', 'target', 'url', 'step', 'weight', 'country',
             'device', 'os', 'language', 'referrer', 'starts', 'ends', 'cap',
             'cap_day'];

comment on function usher.target_columns() is
    'The columns of a file of targets, as link_target_export writes them';


create function usher.csv_number(name text, cell text, otherwise integer)
returns integer
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.text_ok(name, coalesce(cell, ''), '^[0-9]{0,6}$',
                          'It is a number.');

    return case when cell is null then otherwise
                else coalesce(nullif(cell, ''), '1')::integer end;
end
$$;

comment on function usher.csv_number(text, text, integer) is
    'The number of a cell, 1 where it is empty; otherwise where the file has '
    'no such column';


create function usher.csv_either(cell text, words text[])
returns text
language sql immutable parallel safe
return coalesce(cell, array_to_string(words, ' '), '');

comment on function usher.csv_either(text, text[]) is
    'A list as a cell has it, or as it is where the file has no such column';


create function usher.target_line_made(t usher.target_line, l usher.link,
    e usher.link_target)
returns usher.link_target
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select usher.target_made(l, t.target, t.url,
        usher.csv_number('step', t.step, coalesce(e.step, 1)),
        usher.csv_number('weight', t.weight, coalesce(e.weight, 1)),
        usher.csv_either(t.country, e.countries),
        usher.csv_either(t.device, e.devices),
        usher.csv_either(t.os, e.systems),
        usher.csv_either(t.language, e.languages),
        usher.csv_either(t.referrer, e.referrers),
        case when t.starts is null then e.starts_at
             else usher.csv_moment(t.line, 'starts', nullif(t.starts, ''))
        end,
        case when t.ends is null then e.ends_at
             else usher.csv_moment(t.line, 'ends', nullif(t.ends, '')) end,
        usher.csv_cap(t.cap, e.cap), usher.csv_cap(t.cap_day, e.cap_day))
$$;

comment on function usher.target_line_made(usher.target_line, usher.link,
    usher.link_target) is
    'The target that a line says, of what it was';


create function usher.targets_put(made usher.link_target[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- one that is there has a number; others get those that are free
    insert into usher.link_target as t (link_id, name, number, step, weight,
        url, countries, devices, systems, languages, referrers, starts_at,
        ends_at, cap, cap_day)
    select m.link_id, m.name,
           coalesce(m.number, (array(
               select n from generate_series(1, 16) n
               where not exists (select from usher.link_target u
                                 where u.link_id = m.link_id
                                       and u.number = n)
               order by n))[m.nth]),
           m.step, m.weight, m.url, m.countries, m.devices, m.systems,
           m.languages, m.referrers, m.starts_at, m.ends_at, m.cap, m.cap_day
    from (select u.*, row_number() over (partition by u.link_id,
                                                      u.number is null
                                         order by u.ordinality) as nth
          from unnest(made) with ordinality u) m
    order by m.ordinality
    on conflict (link_id, name) do update
        set step = excluded.step, weight = excluded.weight,
            url = excluded.url, countries = excluded.countries,
            devices = excluded.devices, systems = excluded.systems,
            languages = excluded.languages, referrers = excluded.referrers,
            starts_at = excluded.starts_at, ends_at = excluded.ends_at,
            cap = excluded.cap, cap_day = excluded.cap_day;
end
$$;

comment on function usher.targets_put(usher.link_target[]) is
    'Adds these targets, or changes those that have a number';


create function usher.target_line_over(lines usher.target_line[],
    these bigint)
returns usher.target_line
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select x.y
    from (select y, row_number() over (partition by l.id order by y.line)
                    + (select count(*) from usher.link_target u
                       where u.link_id = l.id) as n
          from unnest(lines) y
          join usher.link l on l.host = y.host and l.slug = y.slug
          where y.turn = these
                and not exists (select from usher.link_target u
                                where u.link_id = l.id
                                      and u.name = y.target)) x
    where x.n > 16
    order by (x.y).line
    limit 1
$$;

comment on function usher.target_line_over(usher.target_line[], bigint) is
    'The first of these lines that is one target more than a link may have; '
    'null: none is';


create function usher.target_lines_take(lines usher.target_line[],
    these bigint, on_conflict text)
returns setof usher.link_told
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    t      usher.target_line;
    l      usher.link;
    e      usher.link_target;
    m      usher.link_target;
    made   usher.link_target[];
    hint   text;
begin
    foreach t in array lines loop
        if t.turn <> these then
            continue;
        end if;

        l := usher.link_for('link_target_import', t.host, t.slug);

        -- Two that add a target at once must not take one number.
        perform from usher.link k where k.id = l.id for update;

        select * into e from usher.link_target u
        where u.link_id = l.id and u.name = t.target;

        perform usher.csv_caps_ok(t.cap, t.cap_day);

        m := usher.target_line_made(t, l, e);
        m.number := e.number;
        m.cap_since := e.cap_since;

        if m is distinct from e then

            if e.link_id is not null and on_conflict = 'fail' then
                perform usher.fail('409',
                    format('link "%s" has another target "%s"', t.slug,
                           t.target),
                    'on_conflict=update changes what is there, '
                    'on_conflict=skip leaves it.');
            end if;

            if e.link_id is null or on_conflict = 'update' then
                made := array_append(made, m);
            end if;
        end if;

        return next row(l.org_id, (e.link_id is null)::integer,
            (e.link_id is not null and m is distinct from e
             and on_conflict = 'update')::integer,
            (m is not distinct from e)::integer,
            (e.link_id is not null and m is distinct from e
             and on_conflict = 'skip')::integer, null)::usher.link_told;
    end loop;

    t := usher.target_line_over(lines, these);

    if t.line is not null then
        perform usher.fail('409', format('link "%s" has 16 targets', t.slug),
                           'link_target_drop drops one.');
    end if;

    perform usher.targets_put(made);

exception
    when others then
        get stacked diagnostics hint = pg_exception_hint;

        if t.line is null and sqlstate = '23514' then
            perform usher.fail('400',
                format('csv= line %s: the link is too long',
                    (select min(x.line) from unnest(lines) x
                     where x.turn = these
                     group by x.host, x.slug
                     order by sum(octet_length(x::text)) desc limit 1)),
                'With its targets, their conditions and UTM parameters it '
                'has at most some 4000 bytes.');
        end if;

        raise exception using errcode = sqlstate, hint = hint,
            message = case when t.line is null or sqlerrm like 'csv=%'
                           then sqlerrm
                           else format('csv= line %s: %s', t.line, sqlerrm)
                      end;
end
$$;

comment on function usher.target_lines_take(usher.target_line[], bigint,
    text) is
    'Adds or changes the targets of these lines, and tells of each line what '
    'came of it; raises with the line if one is bad';


create function api.link_target_import(csv usher.csv,
    on_conflict text default 'fail',
    after usher.csv_place default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    columns  text[] := usher.target_columns();
    b        usher.csv_begun := usher.csv_begin(csv, after, columns[1:4],
                                                columns[5:]);
    lines    usher.target_line[];
    counts   jsonb := jsonb_build_object('added', 0, 'changed', 0,
                                         'unchanged', 0, 'skipped', 0);
    these    bigint := 0;
    t        record;
begin
    perform usher.text_ok('on_conflict', on_conflict, '^(fail|skip|update)$',
        'on_conflict is fail, skip or update.');

    select array_agg((p.line, p.turn, lower(p.cells[1] collate "C"),
                      p.cells[2], p.cells[3], p.cells[4], p.cells[5],
                      p.cells[6], p.cells[7], p.cells[8], p.cells[9],
                      p.cells[10], p.cells[11], p.cells[12],
                      p.cells[13], p.cells[14],
                      p.cells[15])::usher.target_line order by p.line)
    into lines
    from (select c.*, row_number() over (
                     partition by lower(c.cells[1] collate "C"), c.cells[2],
                                  c.cells[3] order by c.line) as turn
          from usher.csv_part(csv, b, columns) c) p;

    while these < coalesce((select max(x.turn) from unnest(lines) x), 0) loop
        these := these + 1;

        for t in
            select p.org_id, jsonb_build_object(
                       'added', sum(p.added), 'changed', sum(p.changed),
                       'unchanged', sum(p.unchanged),
                       'skipped', sum(p.skipped)) as counts
            from usher.target_lines_take(lines, these, on_conflict) p
            group by p.org_id
        loop
            perform usher.note('link_target_import', t.org_id,
                jsonb_build_object('from', b.first, 'to', b.told->'lines',
                                   'on_conflict', on_conflict) || t.counts);

            counts := usher.link_counts(counts, t.counts);
        end loop;
    end loop;

    return b.told || usher.link_counts(counts, after);
end
$$;

comment on function api.link_target_import(usher.csv, text, usher.csv_place)
is
'Imports targets of links: lines of host, slug, target, url under these names,
and of the other arguments of link target set.  Their links have to be there.
All is done, or nothing; a column that the file does not have leaves targets as
they are, and so it does those that it does not name.
csv: the file, of any length: csv=@targets.csv, or csv=-
on_conflict: what is done where a name has another target: fail, skip, update
after: made by usherctl, which sends the file in parts';


create function usher.csv_moment_cell(moment timestamptz)
returns text
language sql stable
return case when isfinite(moment) then moment::text else '' end;

comment on function usher.csv_moment_cell(timestamptz) is
    'A moment as it stands in a line; none and infinity: empty';


create function usher.target_page(host text, above text, number integer,
    "limit" integer)
returns table (csv text, lines bigint, slug text, number integer)
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
as $$
    select string_agg(p.line, '' order by p.slug, p.number), count(*),
           max(p.slug),
           (array_agg(p.number order by p.slug desc, p.number desc))[1]
    from (select l.slug, t.number::integer,
                 l.host || ',' || l.slug || ',' || t.name
                 || ',' || usher.csv_cell(t.url)
                 || ',' || t.step || ',' || t.weight
                 || ',' || coalesce(array_to_string(t.countries, ' '), '')
                 || ',' || coalesce(array_to_string(t.devices, ' '), '')
                 || ',' || coalesce(array_to_string(t.systems, ' '), '')
                 || ',' || coalesce(array_to_string(t.languages, ' '), '')
                 || ',' || coalesce(array_to_string(t.referrers, ' '), '')
                 || ',' || usher.csv_moment_cell(t.starts_at)
                 || ',' || usher.csv_moment_cell(t.ends_at)
                 || ',' || coalesce(t.cap::text, '')
                 || ',' || coalesce(t.cap_day::text, '') || E'\n' as line
          from usher.link l
          join usher.link_target t on t.link_id = l.id
          where l.host = target_page.host and l.slug >= above
                and (l.slug > above or t.number > target_page.number)
          order by l.slug, t.number
          limit target_page."limit") p
$$;

comment on function usher.target_page(text, text, integer, integer) is
    'The next targets of the links of a host as lines of a file, in the order '
    'of slugs and numbers; the last of them';


create function api.link_target_export(org text default null,
    host text default null, after usher.csv_place default null)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.link_file('link_target_export', org, host, after,
                           array_to_string(usher.target_columns(), ','))
$$;

comment on function api.link_target_export(text, text, usher.csv_place) is
'Writes targets as a file that link target import reads: link target export
org=acme > file.  Their links are in that of link export.
org: only those of this org; the operator may leave it out
host: only those of this host
after: made by usherctl, which asks for the file in parts';


-- Groups: a line for each link in one, and one without for a group without.

create function usher.group_lines_ok(lines jsonb)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    l     record;
    hint  text;
begin
    for l in
        select (x->>'line')::integer as line, x->>'group' as "group",
               x->>'title' as title, coalesce(x->>'host', '') as host,
               coalesce(x->>'slug', '') as slug, x->>'org' as org,
               x->>'link' as link
        from jsonb_array_elements(lines) x
        order by 1
    loop
        perform usher.text_ok('group', l."group", '^[a-z0-9][a-z0-9_-]{0,31}$',
            'The name of a group is 1 to 32 of a-z, 0-9, _ and -.');
        perform usher.title_ok(coalesce(l.title, ''));

        if l.link is null and l.host || l.slug <> '' then
            perform usher.fail('404',
                format('org "%s" has no link "%s" of "%s"', l.org, l.slug,
                       l.host),
                'A group has links of its org; link_import adds them.');
        end if;
    end loop;

exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    raise exception using errcode = sqlstate, hint = hint,
        message = format('csv= line %s: %s', l.line, sqlerrm);
end
$$;

comment on function usher.group_lines_ok(jsonb) is
    'Raises with the first of these lines of groups that cannot be';


create function api.link_group_import(org text, csv usher.csv,
    after usher.csv_place default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o      usher.org := usher.org_for('link_group_import', org);
    b      usher.csv_begun := usher.csv_begin(csv, after, '{group}',
                                              '{title,host,slug}');
    lines  jsonb;
    told   jsonb;
begin
    select coalesce(jsonb_agg(jsonb_build_object(
               'line', p.line, 'group', p.cells[1], 'title', p.cells[2],
               'host', p.cells[3], 'slug', p.cells[4], 'org', o.name,
               'link', l.id)), '[]')
    into lines
    from usher.csv_part(csv, b, '{group,title,host,slug}') p
    left join usher.link l on l.host = lower(p.cells[3] collate "C")
                              and l.slug = p.cells[4] and l.org_id = o.id;

    perform usher.group_lines_ok(lines);

    with line as (
        select (x->>'line')::integer as line, x->>'group' as name,
               x->>'title' as title, (x->>'link')::bigint as link_id
        from jsonb_array_elements(lines) x

    ), made as (
        -- the last line with a title names it
        insert into usher.link_group as g (org_id, name, title)
        select o.id, l.name,
               coalesce((array_agg(l.title order by l.line desc))[1], '')
        from line l
        group by l.name
        order by l.name
        on conflict (org_id, name) do update
            set title = case when 'title' = any (b.head) then excluded.title
                             else g.title end
        returning g.id, g.name, g.xmax = 0 as fresh

    ), member as (
        insert into usher.link_group_member (group_id, link_id, org_id)
        select distinct g.id, l.link_id, o.id
        from line l join made g on g.name = l.name
        where l.link_id is not null
        order by 1, 2
        on conflict do nothing
        returning 1
    )
    select jsonb_build_object(
               'groups', (select count(*) from made where fresh),
               'added', (select count(*) from member),
               'unchanged', (select count(*) from line
                             where link_id is not null)
                            - (select count(*) from member))
    into told;

    perform usher.note('link_group_import', o.id, jsonb_build_object(
        'org', org, 'from', b.first, 'to', b.told->'lines') || told);

    return b.told || (select jsonb_object_agg(k.key, k.value::bigint
                                 + coalesce((after->>k.key)::bigint, 0))
                      from jsonb_each_text(told) k);
end
$$;

comment on function api.link_group_import(text, usher.csv, usher.csv_place) is
'Imports groups of links: lines of group, title, host, slug under these names,
each a link of a group; without host and slug a group without links.  Groups
that are not there are made, and no link is taken out of one.
org: whose groups
csv: the file, of any length: csv=@groups.csv, or csv=-
after: made by usherctl, which sends the file in parts';


create function api.link_group_export(org text,
    after usher.csv_place default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o     usher.org := usher.org_for('link_group_export', org);
    size  constant integer := 50000;
    told  jsonb := coalesce(after, '{"lines": 1}');
    part  text;
    n     bigint;
    last  text[];
begin
    select string_agg(p.line, '' order by p.name, p.host, p.slug), count(*),
           max(array[p.name, p.host, p.slug])
    into part, n, last
    from (select g.name, coalesce(l.host, '') as host,
                 coalesce(l.slug, '') as slug,
                 g.name || ',' || usher.csv_cell(g.title)
                 || ',' || coalesce(l.host, '')
                 || ',' || coalesce(l.slug, '') || E'\n' as line
          from usher.link_group g
          left join usher.link_group_member m on m.group_id = g.id
          left join usher.link l on l.id = m.link_id
          where g.org_id = o.id
                and (g.name, coalesce(l.host, ''), coalesce(l.slug, ''))
                    > (coalesce(told->>'group', ''),
                       coalesce(told->>'host', ''),
                       coalesce(told->>'slug', ''))
          order by 1, 2, 3
          limit size) p;

    return told || jsonb_build_object(
        'lines', (told->>'lines')::bigint + n, 'more', n = size,
        'group', last[1], 'host', last[2], 'slug', last[3],
        'csv', case when after is null then E'group,title,host,slug\n'
                    else '' end || coalesce(part, ''));
end
$$;

comment on function api.link_group_export(text, usher.csv_place) is
'Writes groups of links as a file that link group import reads.
org: whose groups
after: made by usherctl, which asks for the file in parts';


insert into usher.right (function, role)
select f, r
from (values
    ('link_target_import', array['owner', 'admin']),
    ('link_target_export', array['owner', 'admin', 'analyst']),
    ('link_group_import', array['owner', 'admin']),
    ('link_group_export', array['owner', 'admin', 'analyst'])
) as v (f, roles), unnest(roles) r;
