-- 086_api_roi.sql - noun roi: what was spent, what came of it, and of how many
-- clicks.
--
-- Cost and revenue are the rows of these tables, whoever wrote them: files,
-- conversions, commissions.  Sums are exact; each figure is rounded once, from
-- these and not from other figures.
--
-- Where a rate is missing a bookkeeper wants no figure that looks whole and is
-- not: of cost in one currency and revenue in another, one rate too few makes
-- a loss of a profit.  So what such an amount belongs to has no figure, nor
-- has the total; "unconverted" has the amounts by currency, as they are, and
-- the answer says that it is not well ("ok": false).  An error would tell
-- less: all other groups are right.

create type usher.roi_question as (
    org_id    bigint,
    since     date,
    until     date,
    by        text,
    currency  text,
    link      text,
    campaign  text,
    product   text,
    sub_id    text,
    country   text,
    source    text
);

comment on type usher.roi_question is
    'What is asked of roi: days, groups, currency, and of what only';


create type usher.roi_line as (
    name      text,
    day       date,
    currency  text,
    cost      numeric,
    revenue   numeric,
    amounts   bigint,
    rate      numeric
);

comment on type usher.roi_line is
    'Cost and revenue of a group, day and currency in its minor units, and '
    'what one of these is worth; null: not known';


create function usher.ratio(a numeric, b numeric, decimals integer)
returns numeric
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    unit   numeric := ('1e-' || decimals)::numeric;
    whole  numeric;
    rest   numeric;
begin
    if b <= 0 then
        return null;
    end if;

    -- A quotient is not exact: whether it is a half is seen by what is left.
    whole := div(a, b * unit);
    rest := a - whole * b * unit;

    if rest < 0 then
        whole := whole - 1;
        rest := rest + b * unit;
    end if;

    if 2 * rest > b * unit or (2 * rest = b * unit and whole % 2 <> 0) then
        whole := whole + 1;
    end if;

    return whole * unit;
end
$$;

comment on function usher.ratio(numeric, numeric, integer) is
    'a / b with so many decimals, rounded half to even; null where b is not '
    'above 0';


create function usher.roi_lines(q usher.roi_question)
returns setof usher.roi_line
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with book as (
        select c.org_id, c.day, c.currency, c.amount as cost,
               null::bigint as revenue, c.link, c.campaign, c.product,
               c.sub_id, c.country, c.source
        from usher.cost c
        union all
        select r.org_id, r.day, r.currency, null, r.amount, r.link,
               r.campaign, r.product, r.sub_id, r.country, r.source
        from usher.revenue r
    ), line as (
        select coalesce(case q.by when 'link' then b.link
                                  when 'campaign' then b.campaign
                                  when 'product' then b.product
                                  when 'sub_id' then b.sub_id
                                  when 'country' then b.country
                                  when 'source' then b.source
                                  else to_char(b.day, 'YYYY-MM-DD') end, '')
                   as name,
               b.day, b.currency, sum(b.cost) as cost,
               sum(b.revenue) as revenue, count(*) as amounts
        from book b
        where b.org_id = q.org_id and b.day >= q.since and b.day < q.until
              and (q.link is null or coalesce(b.link, '') = q.link)
              and (q.campaign is null or coalesce(b.campaign, '') = q.campaign)
              and (q.product is null or coalesce(b.product, '') = q.product)
              and (q.sub_id is null or coalesce(b.sub_id, '') = q.sub_id)
              and (q.country is null or coalesce(b.country, '') = q.country)
              and (q.source is null or b.source = q.source)
        group by 1, 2, 3
    ), rate as materialized (
        select d.day, d.currency,
               f.rate * ('1e' || usher.exponent(q.currency)
                                 - usher.exponent(d.currency))::numeric
                   as rate
        from (select distinct l.day, l.currency from line l) d
        cross join lateral usher.fx_find(d.day, d.currency, q.currency) f
    )
    select l.name, l.day, l.currency, l.cost, l.revenue, l.amounts, r.rate
    from line l
    join rate r on r.day = l.day and r.currency = l.currency
$$;

comment on function usher.roi_lines(usher.roi_question) is
    'Cost and revenue of an org, as they were asked for';


-- Clicks are of no source, and sub-ids of all links are nowhere counted: the
-- rare ones are "..." in each hour.

create function usher.roi_counted(q usher.roi_question)
returns boolean
language sql immutable
return q.by not in ('source', 'sub_id') and q.source is null
       and q.sub_id is null;

comment on function usher.roi_counted(usher.roi_question) is
    'Whether clicks can be told beside this';


-- A link's name is that of 047_conversion_money.sql.

create function usher.roi_clicks(q usher.roi_question)
returns table (name text, clicks bigint)
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    with click as (
        select s.hour, s.net, left(l.host || '/' || l.slug, 200) as link,
               coalesce(a.name, '') as campaign,
               coalesce(p.name, '') as product,
               coalesce(substring(s.country from '^[A-Z]{2}$'), '') as country
        from usher.click_sum s
        join usher.link l on l.id = s.link_id
        left join usher.campaign a on a.id = l.campaign_id
        left join usher.product p on p.id = l.product_id
        where usher.roi_counted(q) and s.org_id = q.org_id
              and s.hour >= q.since and s.hour < q.until and s.net > 0
    )
    select case q.by when 'link' then c.link
                     when 'campaign' then c.campaign
                     when 'product' then c.product
                     when 'country' then c.country
                     else to_char(c.hour, 'YYYY-MM-DD') end,
           sum(c.net)::bigint
    from click c
    where (q.link is null or c.link = q.link)
          and (q.campaign is null or c.campaign = q.campaign)
          and (q.product is null or c.product = q.product)
          and (q.country is null or c.country = q.country)
    group by 1
$$;

comment on function usher.roi_clicks(usher.roi_question) is
    'Net clicks of an org in hours that are closed, as they were asked for';


create function usher.roi_json(cost numeric, revenue numeric, clicks bigint,
    currency text)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'cost', usher.money_text(usher.ratio(cost, 1, 0), currency),
        'revenue', usher.money_text(usher.ratio(revenue, 1, 0), currency),
        'profit', usher.money_text(usher.ratio(revenue - cost, 1, 0),
                                   currency),
        'roi', usher.ratio(revenue - cost, cost, 4)::text,
        'clicks', clicks,
        'epc', usher.money_text(usher.ratio(revenue, clicks, 2), currency),
        'cpc', usher.money_text(usher.ratio(cost, clicks, 2), currency))
$$;

comment on function usher.roi_json(numeric, numeric, bigint, text) is
    'Minor units of cost and revenue, not rounded, as the catalogue shows '
    'them; null: not known';


create function usher.roi_groups(q usher.roi_question,
    lines usher.roi_line[])
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with part as (
        select l.name, l.cost * l.rate as cost, l.revenue * l.rate as revenue,
               l.cost is not null and l.rate is null as no_cost,
               l.revenue is not null and l.rate is null as no_revenue,
               null::bigint as clicks
        from unnest(lines) l
        union all
        select c.name, null, null, false, false, c.clicks
        from usher.roi_clicks(q) c
    ), figure as (
        select grouping(p.name) = 1 as is_total, p.name,
               case when not coalesce(bool_or(p.no_cost), false)
                    then coalesce(sum(p.cost), 0) end as cost,
               case when not coalesce(bool_or(p.no_revenue), false)
                    then coalesce(sum(p.revenue), 0) end as revenue,
               case when usher.roi_counted(q)
                    then coalesce(sum(p.clicks), 0)::bigint end as clicks
        from part p
        group by grouping sets ((p.name), ())
    ), shown as (
        select f.*, row_number() over (
                   order by case when q.by = 'day' then f.name end,
                            abs(f.cost) + abs(f.revenue) desc nulls first,
                            f.clicks desc, f.name) as n
        from figure f
        where not f.is_total
    )
    select usher.roi_json(f.cost, f.revenue, f.clicks, q.currency)
           || jsonb_build_object(
                  'groups', (select count(*) from shown s),
                  'rows', (select coalesce(jsonb_agg(
                               jsonb_build_object(q.by, s.name)
                               || usher.roi_json(s.cost, s.revenue, s.clicks,
                                                 q.currency) order by s.n),
                               '[]')
                           from shown s
                           where s.n <= 1000 or q.by = 'day'))
    from figure f
    where f.is_total
$$;

comment on function usher.roi_groups(usher.roi_question, usher.roi_line[]) is
    'The figures of all, and of each group';


create function usher.roi_missing(q usher.roi_question,
    lines usher.roi_line[])
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with missing as (
        select l.currency, sum(l.cost) as cost, sum(l.revenue) as revenue,
               sum(l.amounts)::bigint as amounts, min(l.day) as first,
               max(l.day) as last
        from unnest(lines) l
        where l.rate is null
        group by l.currency
    )
    select jsonb_build_object(
        'ok', count(*) = 0,
        'problems', coalesce(jsonb_agg(
            format('no rate from %s to %s, first on %s; "fx import" brings '
                   'rates in, and what is without has no figure', m.currency,
                   q.currency, m.first) order by m.currency), '[]'),
        'unconverted', coalesce(jsonb_agg(jsonb_build_object(
            'currency', m.currency, 'amounts', m.amounts,
            'cost', usher.money_text(m.cost, m.currency),
            'revenue', usher.money_text(m.revenue, m.currency),
            'first', m.first, 'last', m.last) order by m.currency), '[]'))
    from missing m
$$;

comment on function usher.roi_missing(usher.roi_question, usher.roi_line[]) is
    'What has no rate, by currency';


create function api.roi_show(org text, by text default 'day',
    "from" date default null, "to" date default null,
    currency text default 'EUR', link text default null,
    campaign text default null, product text default null,
    sub_id text default null, country text default null,
    source text default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o      usher.org := usher.org_for('roi_show', org);
    today  date := (now() at time zone 'UTC')::date;
    q      usher.roi_question;
    lines  usher.roi_line[];
begin
    if by is null
       or by not in ('link', 'campaign', 'product', 'sub_id', 'country',
                     'day', 'source')
    then
        perform usher.fail('400', format('by="%s" cannot be', left(by, 60)),
            'ROI is by link, campaign, product, sub_id, country, day or '
            'source.');
    end if;

    perform usher.exponent(currency);
    perform usher.text_ok('country', coalesce(country, ''), '^([A-Z]{2})?$',
        'A country is two letters of ISO 3166, as DE; empty: of none.');

    q := (o.id, coalesce("from", least("to", today + 1) - 31),
          coalesce("to", 'infinity'), by, currency, link, campaign, product,
          sub_id, country, source);

    if q.since >= q.until then
        perform usher.fail('400',
            format('to=%s is not after from=%s', q.until, q.since),
            'The last 31 days are shown where nothing is given.');
    end if;

    lines := array(select l from usher.roi_lines(q) l);

    return jsonb_build_object(
               'org', o.name, 'currency', currency, 'from', q.since,
               'to', nullif(q.until, 'infinity'),
               'clicks_until', (select c.done_until from usher.click_close c
                                where usher.roi_counted(q)),
               'chart', jsonb_build_object('rows', 'rows', 'label', by,
                   'bars', jsonb_build_array('cost', 'revenue'),
                   'beside', true))
           || usher.roi_missing(q, lines) || usher.roi_groups(q, lines);
end
$$;

comment on function api.roi_show(text, text, date, date, text, text, text,
    text, text, text, text) is
'Shows cost, revenue and profit in one currency, by the rate of each day, and
roi, which is profit / cost: 0.25 is 25 percent.  It is empty where nothing was
spent.  clicks are net, of hours that are closed; epc and cpc are revenue and
cost of one.  What has no rate has no figure: see unconverted.
org: name of the org
by: day, link, campaign, product, sub_id, country or source; the 1000 largest
from: from this day on (UTC), by default the last 31 days
to: before this day
currency: of the figures
link: only of this one, as host/slug; empty: what is of none
campaign: only of this one; empty: what is of none
product: only of this one; empty: what is of none
sub_id: only of this one; empty: what is of none
country: only of this one; empty: what is of none
source: only of this one, as conversion';


insert into usher.right (function, role)
values ('roi_show', 'owner'), ('roi_show', 'admin'), ('roi_show', 'analyst');
