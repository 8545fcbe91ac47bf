-- 084_api_money.sql - nouns currency, fx, cost, revenue.  The ledger's are in
-- 084_api_ledger.sql.
--
-- Amounts come and go as text with the decimals of their currency: a float
-- would not be exact.

create function api.currency_list()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select jsonb_agg(jsonb_build_object(
                         'currency', c.code, 'decimals', c.exponent,
                         'name', c.name)
                     order by c.code)
    from usher.currency c
$$;

comment on function api.currency_list() is
'Lists the currencies, with the decimals of their amounts.';


create function usher.amount_argument(argument text, value text,
    currency text)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    m  record;
begin
    select * into m from usher.conversion_money(argument,
        coalesce(value, ''), currency);

    if m.problem is not null then
        perform usher.fail('400', left(m.problem, 200),
            format('An amount is like %s, in %s.',
                   usher.money_text(250, currency), currency));
    end if;

    return m.minor;
end
$$;

comment on function usher.amount_argument(text, text, text) is
    'The minor units of an argument; empty or null: null';


create function usher.source_ok(source text)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.text_ok('source', source,
        '^(?!(conversion|commission)$)[a-z0-9][a-z0-9-]{0,31}$',
        'A source is 1 to 32 of a-z, 0-9 and -, and does not begin with -; '
        'conversion and commission are what conversions earn and cost, which '
        'conversion_import corrects.')
$$;

comment on function usher.source_ok(text) is
    'Raises unless it can be where an import comes from';


-- Rates.

create type usher.fx_line as (
    line   integer,
    day    date,
    base   text,
    quote  text,
    rate   numeric
);

comment on type usher.fx_line is 'A rate of a file';


create function usher.fx_cells(csv text)
returns table (line integer, day text, base text, quote text, "column" text,
    rate text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- The ECB's table has a column for each currency, those of old as well.

    if left(csv, 20) ~* '^\W*date\W' then
        return query
            select r.line, r.cells->>'date', 'EUR', c.code, c.code, e.value
            from usher.csv_rows(csv, array['date'], null) r,
                 jsonb_each_text(r.cells) e
            join usher.currency c on c.code = upper(e.key collate "C")
            where e.value <> 'N/A';

    else
        return query
            select r.line, r.cells->>'day', r.cells->>'base',
                   r.cells->>'quote', 'rate', r.cells->>'rate'
            from usher.csv_rows(csv, array['day', 'base', 'quote', 'rate'],
                                '{}') r;
    end if;
end
$$;

comment on function usher.fx_cells(text) is
    'The rates of a file as they stand there: of the ECB''s '
    'eurofxref-hist.csv, or of lines of day,base,quote,rate';


create function usher.fx_lines(csv text)
returns setof usher.fx_line
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    c  record;
    l  usher.fx_line;
begin
    for c in select * from usher.fx_cells(csv) loop
        l.line := c.line;
        l.day := usher.csv_day(c.line, 'day', c.day);
        l.base := usher.csv_currency(c.line, 'base', c.base);
        l.quote := usher.csv_currency(c.line, 'quote', c.quote);

        if l.base = l.quote then
            perform usher.csv_fail(c.line, 'quote', c.quote,
                'A rate is that of another currency.');
        end if;

        if c.rate ~ '^[0-9]{1,12}(\.[0-9]{1,18})?$' and c.rate ~ '[1-9]' then
            l.rate := trim_scale(c.rate::numeric);
        else
            perform usher.csv_fail(c.line, c."column", c.rate,
                'A rate is like 1.0867: above 0, with a point.');
        end if;

        return next l;
    end loop;
end
$$;

comment on function usher.fx_lines(text) is
    'The rates of a file; raises at the first that is none';


create function api.fx_import(csv text, source text default 'ecb')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    lines  usher.fx_line[];
    twice  record;
    told   jsonb;
begin
    perform usher.authorize('fx_import', null);
    perform usher.source_ok(source);

    lines := array(select l from usher.fx_lines(csv) l);

    select l.day, l.base, l.quote, max(l.line) as line, min(l.line) as before
    into twice
    from unnest(lines) l
    group by 1, 2, 3
    having count(*) > 1
    order by 4
    limit 1;

    if twice.line is not null then
        perform usher.fail('400',
            format('csv= line %s: %s to %s on %s is on line %s already',
                   twice.line, twice.base, twice.quote, twice.day,
                   twice.before),
            'A file has one rate of a pair and a day.');
    end if;

    with put as (
        insert into usher.fx as f (base, quote, day, rate, source)
        select l.base, l.quote, l.day, l.rate, fx_import.source
        from unnest(lines) l
        where not exists (select from usher.fx e
                          where (e.base, e.quote, e.day)
                                = (l.base, l.quote, l.day)
                                and e.rate = l.rate)
        order by l.base, l.quote, l.day
        on conflict on constraint fx_pkey do update
            set rate = excluded.rate, source = excluded.source,
                changed_at = now()
            where f.rate <> excluded.rate
        returning f.changed_at is null as added
    )
    select jsonb_build_object(
               'added', count(*) filter (where p.added),
               'unchanged', cardinality(lines) - count(*),
               'changed', count(*) filter (where not p.added))
    into told
    from put p;

    told := told || (select jsonb_build_object('from', min(l.day),
                                               'to', max(l.day))
                     from unnest(lines) l);

    perform usher.commission_rated();

    if left(csv, 20) ~* '^\W*date\W' then
        told := told || jsonb_build_object('skipped',
            (select string_agg(btrim(h, E' "\r'), ' ')
             from string_to_table(split_part(csv, E'\n', 1), ',')
                  with ordinality t (h, n)
             where n > 1 and h ~ '\w'
                   and not exists (select from usher.currency c
                                   where c.code
                                         = upper(btrim(h, E' "\r')
                                                 collate "C"))));
    end if;

    perform usher.note('fx_import', null,
        jsonb_build_object('source', source) || told);

    return told;
end
$$;

comment on function api.fx_import(text, text) is
'Imports exchange rates: the ECB''s eurofxref-hist.csv as it is, or lines of
day,base,quote,rate under these names.  What is there already is left as it
is, or changed; if a line is bad nothing is imported.  skipped names the
columns that are no currencies any more.
csv: the file: csv=@eurofxref-hist.csv
source: where the rates come from';


create function api.fx_list("from" date default null, "to" date default null,
    base text default null, quote text default null,
    "limit" integer default 100)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
                        'day', l.day, 'base', l.base, 'quote', l.quote,
                        'rate', l.rate::text, 'source', l.source,
                        'changed', l.changed_at)
                    order by l.day desc, l.base, l.quote), '[]')
    from (select f.*
          from usher.fx f
          where (fx_list.base is null or f.base = fx_list.base)
                and (fx_list.quote is null or f.quote = fx_list.quote)
                and (fx_list."from" is null or f.day >= fx_list."from")
                and (fx_list."to" is null or f.day < fx_list."to")
          order by f.day desc, f.base, f.quote
          limit usher.page("limit")) l
$$;

comment on function api.fx_list(date, date, text, text, integer) is
'Lists exchange rates as they were imported, the newest day first.
from: from this day on
to: before this day
base: only of one of this currency
quote: only in this currency
limit: at most so many';


create function api.fx_show("from" text, "to" text,
    day date default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    asked  date := coalesce(day, current_date);
    rate   numeric := usher.fx_rate(asked, "from", "to");
begin
    return jsonb_build_object(
        'from', "from", 'to', "to", 'day', asked,
        'rate', trim_scale(round(rate, 18))::text,
        'rated', (usher.fx_find(asked, "from", "to")).rated_on);
end
$$;

comment on function api.fx_show(text, text, date) is
'Shows what one of a currency is worth in another: by the rate of that day or
of the newest of the 7 days before it that has one (rated); turned round, or
through EUR or USD where there is none of the pair.
from: currency that is given
to: currency that is asked for
day: the day, by default today';


-- Cost and revenue are imported, listed and added up in the same way: book
-- is the name of the table.

create type usher.money_line as (
    line         integer,
    day          date,
    amount       bigint,
    currency     text,
    campaign     text,
    product      text,
    link         text,
    sub_id       text,
    country      text,
    external_id  text
);

comment on type usher.money_line is 'An amount of a file';


create function usher.money_lines(csv text)
returns setof usher.money_line
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    r  record;
    l  usher.money_line;
begin
    for r in
        select c.line, c.cells
        from usher.csv_rows(csv, array['day', 'amount', 'currency'],
            array['id', 'campaign', 'product', 'link', 'sub_id',
                  'country']) c
    loop
        l.line := r.line;
        l.day := usher.csv_day(r.line, 'day', r.cells->>'day');
        l.currency := usher.csv_currency(r.line, 'currency',
                                         r.cells->>'currency');
        l.amount := usher.csv_amount(r.line, 'amount', r.cells->>'amount',
                                     l.currency);
        l.campaign := usher.csv_label(r.line, 'campaign',
                                      r.cells->>'campaign');
        l.product := usher.csv_label(r.line, 'product', r.cells->>'product');
        l.link := usher.csv_label(r.line, 'link', r.cells->>'link');
        l.sub_id := usher.csv_label(r.line, 'sub_id', r.cells->>'sub_id');
        l.country := r.cells->>'country';

        if l.country !~ '^[A-Z]{2}$' then
            perform usher.csv_fail(r.line, 'country', l.country,
                'A country is two letters of ISO 3166, as DE.');
        end if;

        -- Without an id it is the amount of a day and what it belongs to.

        l.external_id := coalesce(
            usher.csv_label(r.line, 'id', r.cells->>'id'),
            'line:' || left(encode(sha256(convert_to(jsonb_build_array(
                l.day, l.campaign, l.product, l.link, l.sub_id,
                l.country)::text, 'UTF8')), 'hex'), 32));

        return next l;
    end loop;
end
$$;

comment on function usher.money_lines(text) is
    'The amounts of a file; raises at the first that is none';


create function usher.book_import(book text, org text, csv text, source text)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    o      usher.org := usher.org_for(book || '_import', org);
    lines  usher.money_line[];
    twice  record;
    told   jsonb;
begin
    perform usher.source_ok(source);

    lines := array(select l from usher.money_lines(csv) l);

    select max(l.line) as line, min(l.line) as before into twice
    from unnest(lines) l
    group by l.external_id
    having count(*) > 1
    order by 1
    limit 1;

    if twice.line is not null then
        perform usher.fail('400',
            format('csv= line %s is the same as line %s', twice.line,
                   twice.before),
            'Lines are told apart by their id; where there is none, by day, '
            'campaign, product, link, sub_id and country.  Add a column id.');
    end if;

    -- One import of an org at a time; to disable it waits for none.
    perform pg_advisory_xact_lock(hashtext('usher.' || book),
                                  hashint8(o.id));

    execute format($sql$
        with put as (
            insert into usher.%I as w
                (org_id, day, amount, currency, campaign, product, link,
                 sub_id, country, source, external_id)
            select $1, l.day, l.amount, l.currency, l.campaign, l.product,
                   l.link, l.sub_id, l.country, $2, l.external_id
            from unnest($3) l
            left join usher.%I b on b.org_id = $1 and b.source = $2
                                    and b.external_id = l.external_id
            where b.id is null
                  or (b.day, b.amount, b.currency, b.campaign, b.product,
                      b.link, b.sub_id, b.country)
                     is distinct from
                     (l.day, l.amount, l.currency, l.campaign, l.product,
                      l.link, l.sub_id, l.country)
            on conflict (org_id, source, external_id) do update
                set day = excluded.day, amount = excluded.amount,
                    currency = excluded.currency,
                    campaign = excluded.campaign,
                    product = excluded.product, link = excluded.link,
                    sub_id = excluded.sub_id, country = excluded.country,
                    changed_at = now()
            returning w.changed_at is null as added
        )
        select jsonb_build_object(
                   'added', count(*) filter (where p.added),
                   'unchanged', cardinality($3) - count(*),
                   'changed', count(*) filter (where not p.added))
        from put p
        $sql$, book, book)
    into told
    using o.id, source, lines;

    perform usher.note(book || '_import', o.id,
        jsonb_build_object('org', org, 'source', source) || told);

    return told;
end
$$;

comment on function usher.book_import(text, text, text, text) is
    'Imports a file of cost or revenue, once';


create function usher.book_list(book text, org text, "from" date, "to" date,
    source text, campaign text, size integer)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted  bigint := usher.org_scope(book || '_list', org);
    shown   jsonb;
begin
    execute format($sql$
        select coalesce(jsonb_agg(jsonb_build_object(
                            'day', l.day, 'org', o.name,
                            'amount', usher.money_text(l.amount, l.currency),
                            'currency', l.currency, 'campaign', l.campaign,
                            'product', l.product, 'link', l.link,
                            'sub_id', l.sub_id, 'country', l.country,
                            'source', l.source, 'id', l.external_id,
                            'changed', l.changed_at)
                        order by l.day desc, l.id desc), '[]')
        from (select b.*
              from usher.%I b
              where ($1 is null or b.org_id = $1)
                    and ($2 is null or b.day >= $2)
                    and ($3 is null or b.day < $3)
                    and ($4 is null or b.source = $4)
                    and ($5 is null or b.campaign = $5)
              order by b.day desc, b.id desc
              limit $6) l
        join usher.org o on o.id = l.org_id
        $sql$, book)
    into shown
    using wanted, "from", "to", source, campaign, usher.page(size);

    return shown;
end
$$;

comment on function usher.book_list(text, text, date, date, text, text,
    integer) is
    'Amounts of cost or revenue, the newest day first';


create function usher.book_total(book text, org text, currency text,
    "from" date, "to" date)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted    bigint := usher.org_scope(book || '_total', org);
    decimals  smallint := usher.exponent(currency);
    total     jsonb;
begin
    execute format($sql$
        select jsonb_build_object(
                   'amount', usher.money_text(usher.ratio(coalesce(
                       sum(usher.money_worth(s.amount, s.day, s.currency,
                                             $4)), 0), 1, 0), $4),
                   'currency', $4, 'rows', coalesce(sum(s.rows), 0))
        from (select b.day, b.currency, sum(b.amount) as amount,
                     count(*) as rows
              from usher.%I b
              where ($1 is null or b.org_id = $1)
                    and ($2 is null or b.day >= $2)
                    and ($3 is null or b.day < $3)
              group by b.day, b.currency) s
        $sql$, book)
    into total
    using wanted, "from", "to", currency;

    return total;
end
$$;

comment on function usher.book_total(text, text, text, date, date) is
    'The sum of cost or revenue in one currency, rounded once';


create function usher.book_drop(book text, org text, source text, id text)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    o        usher.org := usher.org_for(book || '_drop', org);
    dropped  bigint;
begin
    perform usher.source_ok(source);

    execute format($sql$
        with gone as (
            delete from usher.%I b
            where b.org_id = $1 and b.source = $2
                  and ($3 is null or b.external_id = $3)
            returning b.id
        )
        select count(*) from gone
        $sql$, book)
    into dropped
    using o.id, source, id;

    if dropped = 0 then
        perform usher.fail('404',
            format('org "%s" has no such %s of source "%s"', org, book,
                   source),
            book || '_list shows what there is.');
    end if;

    perform usher.note(book || '_drop', o.id,
        jsonb_build_object('org', org, 'source', source, 'id', id,
                           'dropped', dropped));

    return jsonb_build_object('org', org, 'source', source,
                              'dropped', dropped);
end
$$;

comment on function usher.book_drop(text, text, text, text) is
    'Takes an import of cost or revenue back';


-- The functions of both nouns, as those of cost.

do $do$
declare
    book  text;
begin
    foreach book in array array['cost', 'revenue'] loop
        execute replace($sql$

create function api.cost_import(org text, csv text, source text)
returns jsonb
language sql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.book_import('cost', org, csv, source)
$$;

comment on function api.cost_import(text, text, text) is
'Imports cost: lines of day,amount,currency under these names, and as
wanted id, campaign, product, link, sub_id and country.  A line is known by
its id, or else by its day and what it belongs to: imported again it is left
as it is, or changed.  If a line is bad nothing is imported.
org: name of the org
csv: the file: csv=@cost.csv
source: where it comes from, as google-ads: an id is one of its source';


create function api.cost_list(org text default null,
    "from" date default null, "to" date default null,
    source text default null, campaign text default null,
    "limit" integer default 100)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.book_list('cost', org, "from", "to", source, campaign,
                           "limit")
$$;

comment on function api.cost_list(text, date, date, text, text, integer) is
'Lists cost, the newest day first.
org: only of this org; the operator may leave it out
from: from this day on
to: before this day
source: only of this source
campaign: only of this campaign
limit: at most so many';


create function api.cost_total(org text default null,
    currency text default 'EUR', "from" date default null,
    "to" date default null)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.book_total('cost', org, currency, "from", "to")
$$;

comment on function api.cost_total(text, text, date, date) is
'Adds cost up in one currency, by the rate of each day (fx show).
org: only of this org; the operator may leave it out
currency: of the sum
from: from this day on
to: before this day';


create function api.cost_drop(org text, source text,
    id text default null)
returns jsonb
language sql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.book_drop('cost', org, source, id)
$$;

comment on function api.cost_drop(text, text, text) is
'Drops cost that was imported.
org: name of the org
source: all of this source
id: only what has this id';


insert into usher.right (function, role)
select f, r
from (values
    ('cost_import', array['owner', 'admin']),
    ('cost_list', array['owner', 'admin', 'analyst']),
    ('cost_total', array['owner', 'admin', 'analyst']),
    ('cost_drop', array['owner', 'admin'])
) as v (f, roles), unnest(roles) r

        $sql$, 'cost', book);
    end loop;
end
$do$;
