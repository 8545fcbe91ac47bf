-- 071_api_csv.sql - CSV, as the imports of the catalogue take it.
--
-- The first line names the columns, in any order; RFC 4180 quotes; blanks
-- around a cell and empty lines do not count.  An import is one statement of
-- one file: the first line that is bad is named by its number in the file and
-- its column, and nothing is imported.
--
-- A file of any length comes in parts of whole lines, all in one transaction:
-- an argument of type usher.csv is sent so, and one of type usher.csv_place
-- has what the part before was answered.  An export is asked for in the same
-- way, and each answer has a part: usherctl does both.  Such files are read by
-- csv_split(), which takes some microseconds a line where csv_rows() takes a
-- hundred.
--
-- What is called for each cell has no search_path of its own: to set it costs
-- more than the work, and the callers have pinned it.

create domain usher.csv as text;

comment on domain usher.csv is
    'A file, or a part of one: usherctl sends it part by part';


create domain usher.csv_place as jsonb
    check (jsonb_typeof(value) = 'object');

comment on domain usher.csv_place is
    'How far a file has come: the answer to the part before, without csv';


create function usher.csv_cells(line integer, record text)
returns text[]
language plpgsql immutable
as $$
declare
    cells  text[];
    taken  bigint;
begin
    if position('"' in record) = 0 then
        return string_to_array(record, ',');
    end if;

    select array_agg(coalesce(replace(m[2], '""', '"'), m[3])),
           sum(length(m[1]))
    into cells, taken
    from regexp_matches(',' || record,
             '(,(?:\s*"((?:[^"]|"")*)"\s*|([^",]*)))', 'g') m;

    if taken <> length(record) + 1 then
        perform usher.fail('400',
            format('csv= line %s: a quote is out of place', line),
            'A cell that has a quote, a comma or a line break stands in '
            'quotes, and quotes in it are doubled.');
    end if;

    return cells;
end
$$;

comment on function usher.csv_cells(integer, text) is
    'The cells of a record; line is for the error';


create function usher.csv_records(csv text)
returns table (line integer, record text)
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    -- A line begins a record if the quotes before it are in pairs.
    with lines as (
        select l.n, l.line,
               sum(length(l.line) - length(replace(l.line, '"', '')))
                   over (order by n) as quotes
        from string_to_table(replace(ltrim(csv, U&'\FEFF'), E'\r\n', E'\n'),
                             E'\n') with ordinality l (line, n)
    ), begins as (
        select l.n, l.line,
               coalesce(lag(l.quotes) over (order by l.n), 0) % 2 = 0 as first
        from lines l
    ), numbered as (
        select b.n, b.line,
               count(*) filter (where b.first) over (order by b.n) as record
        from begins b
    )
    select min(r.n)::integer, string_agg(r.line, E'\n' order by r.n)
    from numbered r
    group by r.record
    having string_agg(r.line, '') ~ '[^[:space:],]'
    order by 1
$$;

comment on function usher.csv_records(text) is
    'The records of a file, each with the number of its first line; a quoted '
    'cell may have several lines';


-- Where there are quotes, text is cut at them: every second piece is within a
-- pair of quotes, an empty one between two such is a quote that was doubled,
-- and in the others separators become characters that no file has.

create function usher.csv_split(csv text, first integer)
returns table (line integer, cells text[])
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    plain  text := ltrim(csv, U&'\FEFF');
begin
    if position('"' in plain) > 0 then
        return query
            select (first + r.n - 1 + coalesce(sum(
                        length(r.text) - length(replace(r.text, E'\n', '')))
                        over (order by r.n rows between unbounded preceding
                                                and 1 preceding), 0))::integer,
                   string_to_array(r.text, E'\x1f')
            from string_to_table(usher.csv_unquoted(plain, first), E'\x1e')
                 with ordinality r (text, n)
            where ltrim(r.text, E' \t\x1f') <> '';
        return;
    end if;

    plain := replace(plain, E'\r\n', E'\n');

    if plain ~ '[ \t](,|\n|$)|(^|,|\n)[ \t]' then
        plain := btrim(regexp_replace(plain, '[ \t]*([,\n])[ \t]*', '\1',
                                      'g'), E' \t');
    end if;

    return query
        select (first + r.n - 1)::integer, string_to_array(r.text, ',')
        from string_to_table(plain, E'\n') with ordinality r (text, n)
        where ltrim(r.text, ',') <> '';
end
$$;

comment on function usher.csv_split(text, integer) is
    'The records of a part that begins in this line, each with the number of '
    'its first line, as cells';


create function usher.csv_unquoted(csv text, first integer)
returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    pieces  text[] := array(select case when p.i % 2 = 0 then p.text
                                        else replace(p.text, E'\r\n', E'\n')
                                   end
                            from string_to_table(csv, '"')
                                 with ordinality p (text, i)
                            order by p.i);
    n       integer := cardinality(pieces);
    wrong   integer;
begin
    if csv ~ '[\x1e\x1f]' then
        perform usher.fail('400', 'csv= has a character 1E or 1F',
            'A cell is text, without control characters.');
    end if;

    -- Behind a quote that closes is a separator, as before one that opens.
    select min(case when p.i > 1
                         and p.text !~ case when p.i = n
                                            then '^[ \t]*([,\n]|$)'
                                            else '^[ \t]*[,\n]' end
                    then p.i - 1
                    when p.i < n
                         and p.text !~ case when p.i = 1
                                            then '([,\n]|^)[ \t]*$'
                                            else '[,\n][ \t]*$' end
                    then p.i end)
    into wrong
    from unnest(pieces) with ordinality p (text, i)
    where p.i % 2 = 1 and (p.text <> '' or p.i in (1, n));

    if wrong is not null or n % 2 = 0 then
        perform usher.fail('400',
            format('csv= line %s: a quote is out of place',
                   first + (select sum(length(p.text)
                                - length(replace(p.text, E'\n', '')))
                            from unnest(pieces) with ordinality p (text, i)
                            where p.i <= coalesce(wrong, n - 1))),
            'A cell that has a quote, a comma or a line break stands in '
            'quotes, and quotes in it are doubled.');
    end if;

    return array_to_string(array(
        select case when p.i % 2 = 0 then p.text
                    when p.text = '' and p.i > 1 and p.i < n then '"'
                    when p.text ~ '[ \t]'
                        then translate(btrim(regexp_replace(p.text,
                                 '[ \t]*([,\n])[ \t]*', '\1', 'g'), E' \t'),
                                 E',\n', E'\x1f\x1e')
                    else translate(p.text, E',\n', E'\x1f\x1e') end
        from unnest(pieces) with ordinality p (text, i)
        order by p.i), '');
end
$$;

comment on function usher.csv_unquoted(text, integer) is
    'The same without quotes: cells end by 1F and records by 1E';


create function usher.csv_head(cells text[], needed text[], known text[])
returns text[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    head   text[] := array(select lower(btrim(coalesce(c, '') collate "C",
                                              E' \t\r\n'))
                           from unnest(cells) c);
    wrong  text;
    hint   text := 'The first line names the columns: '
                   || array_to_string(needed, ', ')
                   || coalesce('; it may also have '
                          || nullif(array_to_string(known, ', '), ''), '')
                   || '.';
begin
    if cells is null then
        perform usher.fail('400', 'csv= is empty', hint);
    end if;

    select c into wrong from unnest(needed) c
    where c <> all (head) limit 1;

    if wrong is not null then
        perform usher.fail('400', format('csv= has no column "%s"', wrong),
                           hint);
    end if;

    -- A column without a name is none: the ECB's last is such.
    select c into wrong from unnest(head) c
    where c <> '' and c <> all (needed) and c <> all (known) limit 1;

    if wrong is not null then
        perform usher.fail('400',
            format('csv= has a column "%s"', left(wrong, 60)), hint);
    end if;

    select c into wrong from unnest(head) c
    where c <> '' group by c having count(*) > 1 limit 1;

    if wrong is not null then
        perform usher.fail('400',
            format('csv= has column "%s" twice', left(wrong, 60)), hint);
    end if;

    return head;
end
$$;

comment on function usher.csv_head(text[], text[], text[]) is
    'The columns that the first line names; raises unless it has those '
    'needed, and others only of those known (null: any)';


create function usher.csv_width(line integer, cells integer, head integer)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.fail('400',
        format('csv= line %s has %s cells, the first line has %s', line,
               cells, head),
        'Cells are separated by commas; one that has a comma stands in '
        'quotes.')
$$;

comment on function usher.csv_width(integer, integer, integer) is
    'Raises: a line has too few cells, or too many';


create function usher.csv_rows(csv text, needed text[], known text[])
returns table (line integer, cells jsonb)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    r        record;
    head     text[];
    present  text[];
begin
    for r in select * from usher.csv_records(csv) loop
        present := array(select nullif(btrim(c, E' \t\r\n'), '')
                         from unnest(usher.csv_cells(r.line, r.record)) c);

        if head is null then
            head := usher.csv_head(present, needed, known);
            continue;
        end if;

        if cardinality(present) <> cardinality(head) then
            perform usher.csv_width(r.line, cardinality(present),
                                    cardinality(head));
        end if;

        line := r.line;
        cells := jsonb_object(head, present);
        return next;
    end loop;

    if head is null then
        perform usher.csv_head(null, needed, known);
    end if;
end
$$;

comment on function usher.csv_rows(text, text[], text[]) is
    'The rows of a file as objects by column; raises unless it has the '
    'columns needed, and others only of those known (null: any)';


create function usher.csv_cell(cell text)
returns text
language sql immutable parallel safe
return case when cell ~ '[",\n\r]|^[ \t]|[ \t]$'
            then '"' || replace(cell, '"', '""') || '"'
            else coalesce(cell, '') end;

comment on function usher.csv_cell(text) is
    'A text as it stands in a line; null: empty';


create function usher.csv_fail(line integer, "column" text, value text,
    hint text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.fail('400',
        format(case when value is null then 'csv= line %s: %s is empty'
                    else 'csv= line %s: %s="%s" cannot be' end,
               line, "column", left(value, 60)), hint);
end
$$;

comment on function usher.csv_fail(integer, text, text, text) is
    'Raises an error that names the line and the column';


create function usher.csv_day(line integer, "column" text, value text)
returns date
language plpgsql immutable
as $$
declare
    m      text[] := regexp_match(value,
                         '^((?:19|20|21)[0-9]{2})-(0[1-9]|1[0-2])-([0-9]{2})$');
    first  date := make_date(m[1]::integer, m[2]::integer, 1);
    day    date := first + m[3]::integer - 1;
begin
    -- The 31st of February is in March.
    if day is null or to_char(day, 'YYYY-MM-DD') <> value then
        perform usher.csv_fail(line, "column", value,
            'A day is like 2026-11-28.');
    end if;

    return day;
end
$$;

comment on function usher.csv_day(integer, text, text) is
    'The day that a cell names';


create function usher.csv_label(line integer, "column" text, value text)
returns text
language plpgsql immutable
as $$
begin
    if value !~ '^[^[:cntrl:]]{1,200}$' then
        perform usher.csv_fail(line, "column", value,
            'It has at most 200 characters, on one line.');
    end if;

    return value;
end
$$;

comment on function usher.csv_label(integer, text, text) is
    'The text of a cell, as usher.label has it';


create function usher.csv_currency(line integer, "column" text, value text)
returns text
language plpgsql stable
as $$
begin
    if not exists (select from usher.currency c where c.code = value) then
        perform usher.csv_fail(line, "column", value,
            'A currency is three letters of ISO 4217, as EUR; currency_list '
            'shows them.');
    end if;

    return value;
end
$$;

comment on function usher.csv_currency(integer, text, text) is
    'The currency that a cell names';


create function usher.csv_amount(line integer, "column" text, value text,
    currency text)
returns bigint
language plpgsql stable
as $$
declare
    decimals  smallint;
    minor     numeric;
begin
    select c.exponent into decimals
    from usher.currency c where c.code = csv_amount.currency;

    if value ~ '^[+-]?[0-9]{1,18}(\.[0-9]{1,18})?$' then
        minor := value::numeric * ('1e' || decimals)::numeric;
    end if;

    if minor is null then
        perform usher.csv_fail(line, "column", value,
            'An amount is like 1234.50: a point, and no blanks.');
    end if;

    if minor <> trunc(minor) then
        perform usher.csv_fail(line, "column", value,
            format('%s has %s decimals, and an amount no more.', currency,
                   decimals));
    end if;

    if abs(minor) > 999999999999999999 then
        perform usher.csv_fail(line, "column", value,
            'An amount has at most 18 digits, in minor units.');
    end if;

    return minor;
end
$$;

comment on function usher.csv_amount(integer, text, text, text) is
    'The minor units that a cell names';
