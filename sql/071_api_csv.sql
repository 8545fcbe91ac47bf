-- 071_api_csv.sql - CSV, as the imports of the catalogue take it.
--
-- The first line names the columns, in any order; RFC 4180 quotes; blanks
-- around a cell and empty lines do not count.  An import is one statement of
-- one file: the first line that is bad is named by its number in the file and
-- its column, and nothing is imported.
--
-- What is called for each cell has no search_path of its own: to set it costs
-- more than the work, and the callers have pinned it.

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


create function usher.csv_rows(csv text, needed text[], known text[])
returns table (line integer, cells jsonb)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    r        record;
    head     text[];
    present  text[];
    wrong    text;
    hint     text := 'The first line names the columns: '
                     || array_to_string(needed, ', ')
                     || coalesce('; it may also have '
                            || nullif(array_to_string(known, ', '), ''), '')
                     || '.';
begin
    for r in select * from usher.csv_records(csv) loop
        present := array(select nullif(btrim(c, E' \t\r\n'), '')
                         from unnest(usher.csv_cells(r.line, r.record)) c);

        if head is null then
            head := array(select coalesce(lower(c collate "C"), '')
                          from unnest(present) c);

            select c into wrong from unnest(needed) c
            where c <> all (head) limit 1;

            if wrong is not null then
                perform usher.fail('400',
                    format('csv= has no column "%s"', wrong), hint);
            end if;

            -- A column without a name is none: the ECB's last is such.
            select c into wrong from unnest(head) c
            where c <> '' and c <> all (needed) and c <> all (known) limit 1;

            if wrong is not null then
                perform usher.fail('400', format('csv= has a column "%s"',
                    left(wrong, 60)), hint);
            end if;

            select c into wrong from unnest(head) c
            where c <> '' group by c having count(*) > 1 limit 1;

            if wrong is not null then
                perform usher.fail('400',
                    format('csv= has column "%s" twice', left(wrong, 60)),
                    hint);
            end if;

            continue;
        end if;

        if cardinality(present) <> cardinality(head) then
            perform usher.fail('400',
                format('csv= line %s has %s cells, the first line has %s',
                       r.line, cardinality(present), cardinality(head)),
                'Cells are separated by commas; one that has a comma stands '
                'in quotes.');
        end if;

        line := r.line;
        cells := jsonb_object(head, present);
        return next;
    end loop;

    if head is null then
        perform usher.fail('400', 'csv= is empty', hint);
    end if;
end
$$;

comment on function usher.csv_rows(text, text[], text[]) is
    'The rows of a file as objects by column; raises unless it has the '
    'columns needed, and others only of those known (null: any)';


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
