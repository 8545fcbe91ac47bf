-- 048_commissions.sql - what partners earn by conversions of our own programs.
--
-- A rule says what a program pays.  It may be narrowed to a partner, a product
-- and a campaign; of those that were valid when the conversion was, the most
-- specific one holds: one for the partner before any other, then one for the
-- product, then one for the campaign.  Two of the same scope are never valid
-- at once, so there is one answer.
--
-- What is booked is not changed, neither by a new rule nor by anything else:
-- a line is added, with the difference between what is due now and what is
-- booked.  So whatever is told of a conversion, however often and in whatever
-- order, the sum of its lines is what is due.  The first line of a conversion
-- (with this partner, by this link) chooses rule, tier, number of the renewal,
-- month and exchange rate, and all that follow keep them: an amendment moves
-- it neither to another rule nor to another tier, and one that is approved
-- again earns what it did.
--
-- Where the order of handling matters:
--
--   tiers      A conversion stands behind those of its month that are approved
--              when its first line is booked, but for those that wait to be
--              booked themselves.  Each place is taken once, so
--              what all of them earn together is the same in any order if
--              tiers go by sales (but for rounding); by count it depends on
--              which of them was approved first.
--   caps       of a month: who comes first is paid.  What becomes free goes to
--              whoever changes next, not to those that went without.
--   renewals   A purchase stands behind those of its customer that were
--              before it and are known at its first line.
--
-- All amounts are in the program's currency.  A sale in another is worth what
-- the rate of its day says; where there is none the line waits in usher.todo
-- (handler commission) and is booked once there is.

create function usher.commission_rates_ok(kind text, rate numeric,
    renewal_rate numeric, tier_by text, tier_above bigint[],
    tier_rates numeric[])
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(cardinality(tier_above), 0) <= 20
           and cardinality(tier_above) = cardinality(tier_rates)
           and (tier_by is null) = (cardinality(tier_above) = 0)
           and array_position(tier_above, null) is null
           and array_position(tier_rates, null) is null
           and not exists (
               select
               from unnest(0::bigint || tier_above) with ordinality a (a, n)
               join unnest(tier_above) with ordinality b (b, n) on b.n = a.n
               where b.b <= a.a or b.b > 1000000000000000)
           and not exists (
               select
               from unnest(array[rate, renewal_rate] || tier_rates) r
               where r < 0
                     or r > case kind when 'percent' then 100
                                      else 1000000000000000 end
                     or (kind = 'fixed' and r <> trunc(r)))
$$;

comment on function usher.commission_rates_ok(text, numeric, numeric, text,
    bigint[], numeric[]) is
    'Whether these can be the rates and tiers of a rule';


create table usher.commission_rule (
    id            bigint generated always as identity primary key,
    org_id        bigint not null,
    program_id    bigint not null,
    side          text not null default 'own' check (side = 'own'),
    partner_id    bigint,
    product_id    bigint,
    campaign_id   bigint,
    kind          text not null check (kind in ('percent', 'fixed')),
    rate          numeric not null,
    tier_by       text check (tier_by in ('count', 'sales')),
    tier_above    bigint[] not null default '{}',
    tier_rates    numeric[] not null default '{}',
    renewals      integer check (renewals between 0 and 1000),
    renewal_rate  numeric,
    most          bigint check (most between 1 and 1000000000000000),
    most_month    bigint check (most_month between 1 and 1000000000000000),
    starts_at     timestamptz not null default now()
                  check (isfinite(starts_at)),
    ends_at       timestamptz check (isfinite(ends_at)),
    created_at    timestamptz not null default now(),
    unique (id, org_id),
    constraint commission_rule_program
        foreign key (program_id, org_id, side)
        references usher.program (id, org_id, side),
    constraint commission_rule_partner foreign key (partner_id, org_id)
        references usher.partner (id, org_id),
    constraint commission_rule_product foreign key (product_id, program_id)
        references usher.product (id, program_id),
    constraint commission_rule_campaign foreign key (campaign_id, org_id)
        references usher.campaign (id, org_id),
    constraint commission_rule_order check (ends_at >= starts_at),
    constraint commission_rule_rates
        check (usher.commission_rates_ok(kind, rate, renewal_rate, tier_by,
                                         tier_above, tier_rates)),
    -- int8range stands for equality, as in usher.subscription.
    constraint commission_rule_scope
        exclude using gist (
            int8range(program_id, program_id, '[]') with &&,
            int8range(coalesce(partner_id, 0), coalesce(partner_id, 0), '[]')
                with &&,
            int8range(coalesce(product_id, 0), coalesce(product_id, 0), '[]')
                with &&,
            int8range(coalesce(campaign_id, 0), coalesce(campaign_id, 0),
                      '[]') with &&,
            tstzrange(starts_at, ends_at) with &&)
);

create index commission_rule_of_program on usher.commission_rule (program_id);
create index commission_rule_of_partner on usher.commission_rule (partner_id);
create index commission_rule_of_product on usher.commission_rule (product_id);
create index commission_rule_of_campaign
    on usher.commission_rule (campaign_id);

comment on table usher.commission_rule is
    'What partners of a program are paid: a rule is ended, never changed';
comment on column usher.commission_rule.id is 'Number';
comment on column usher.commission_rule.org_id is 'Whose it is';
comment on column usher.commission_rule.program_id is 'The program that pays';
comment on column usher.commission_rule.side is
    'That of the program: partners are paid for what is ours';
comment on column usher.commission_rule.partner_id is
    'Only for this partner; null: for all';
comment on column usher.commission_rule.product_id is
    'Only for this product; null: for all';
comment on column usher.commission_rule.campaign_id is
    'Only for this campaign; null: for all';
comment on column usher.commission_rule.kind is
    'percent: of the sale; fixed: of each conversion the same';
comment on column usher.commission_rule.rate is
    'Percent, or minor units of the program''s currency';
comment on column usher.commission_rule.tier_by is
    'What tiers go by: count or sales, both of the partner''s approved '
    'conversions of the program and calendar month (UTC); null: no tiers';
comment on column usher.commission_rule.tier_above is
    'Where tiers begin: above so many conversions, or minor units; rising';
comment on column usher.commission_rule.tier_rates is
    'The rate of each tier, for what is above its beginning and no more';
comment on column usher.commission_rule.renewals is
    'How many further purchases of a customer are paid; null: all';
comment on column usher.commission_rule.renewal_rate is
    'The rate of these, without tiers; null: as the first';
comment on column usher.commission_rule.most is
    'What one conversion earns at most, in minor units; null: no bound';
comment on column usher.commission_rule.most_month is
    'What a partner earns at most of a calendar month (UTC), by this rule and '
    'others of its scope; null: no bound';
comment on column usher.commission_rule.starts_at is
    'First moment of conversions that it is for';
comment on column usher.commission_rule.ends_at is
    'First moment after it; null: open';
comment on column usher.commission_rule.created_at is 'When it was made';
comment on sequence usher.commission_rule_id_seq is
    'Numbers of usher.commission_rule';
comment on constraint commission_rule_order on usher.commission_rule is
    'It does not end before it starts';
comment on constraint commission_rule_rates on usher.commission_rule is
    'Percent up to 100, whole minor units, tiers that rise';
comment on constraint commission_rule_scope on usher.commission_rule is
    'Of one scope one rule is valid at a time';
comment on index usher.commission_rule_of_program is 'Rules of a program';
comment on index usher.commission_rule_of_partner is 'Rules of a partner';
comment on index usher.commission_rule_of_product is 'Rules of a product';
comment on index usher.commission_rule_of_campaign is 'Rules of a campaign';


create function usher.commission_rule_keep()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    same  usher.commission_rule := old;
begin
    if tg_op = 'UPDATE' then
        same.ends_at := new.ends_at;

        if same is not distinct from new then
            return new;
        end if;
    end if;

    raise exception 'rules of commissions are never changed'
        using errcode = 'insufficient_privilege',
              hint = 'commission_rule_end ends one; then add another.';
end
$$;

comment on function usher.commission_rule_keep() is
    'Trigger: of a rule nothing changes but its end';

create trigger commission_rule_keep
    before update or delete on usher.commission_rule
    for each row execute function usher.commission_rule_keep();

comment on trigger commission_rule_keep on usher.commission_rule is
    'Of a rule nothing changes but its end';


create table usher.commission_line (
    id             bigint generated always as identity primary key,
    org_id         bigint not null references usher.org,
    conversion_id  bigint not null,
    change_id      bigint not null references usher.conversion_change,
    partner_id     bigint not null,
    link_id        bigint not null references usher.link,
    rule_id        bigint not null,
    amount         bigint not null
                   check (amount <> 0
                          and abs(amount) <= 1000000000000000),
    currency       text not null references usher.currency,
    payable_at     timestamptz not null,
    month          date not null,
    number         integer not null check (number >= 0),
    behind         numeric not null check (behind >= 0),
    sale_currency  text,
    fx             numeric check (fx > 0),
    created_at     timestamptz not null default clock_timestamp(),
    constraint commission_line_once unique (change_id, partner_id, link_id),
    constraint commission_line_conversion
        foreign key (conversion_id, org_id)
        references usher.conversion (id, org_id),
    constraint commission_line_partner foreign key (partner_id, org_id)
        references usher.partner (id, org_id),
    constraint commission_line_rule foreign key (rule_id, org_id)
        references usher.commission_rule (id, org_id)
);

create index commission_line_of on usher.commission_line (conversion_id, id);
create index commission_line_month
    on usher.commission_line (partner_id, month);
create index commission_line_org on usher.commission_line (org_id, id);
create index conversion_approved
    on usher.conversion (partner_id, program_id, occurred_at)
    where state = 'approved' and partner_id is not null;

comment on table usher.commission_line is
    'What partners earn: rows are only added, and taken by payouts';
comment on column usher.commission_line.id is 'Number';
comment on column usher.commission_line.org_id is 'Who pays';
comment on column usher.commission_line.conversion_id is 'The conversion';
comment on column usher.commission_line.change_id is
    'The change of it that this follows from';
comment on column usher.commission_line.partner_id is 'Who is paid';
comment on column usher.commission_line.link_id is
    'The link that the conversion came of';
comment on column usher.commission_line.rule_id is
    'The rule, as the first line of the conversion chose it';
comment on column usher.commission_line.amount is
    'Minor units: what is due less what was booked; below 0: taken back';
comment on column usher.commission_line.currency is
    'That of the program';
comment on column usher.commission_line.payable_at is
    'Not before: when it was approved and the days that the program holds it; '
    'what is taken back, with what it takes back';
comment on column usher.commission_line.month is
    'First day of the month of the conversion, in UTC, as at the first line';
comment on column usher.commission_line.number is
    'How many purchases of the customer were before it; 0 where that does not '
    'matter';
comment on column usher.commission_line.behind is
    'Conversions, or minor units of sales, that it stands behind in its '
    'month; 0 where there are no tiers';
comment on column usher.commission_line.sale_currency is
    'Currency of the sale, if it is another one';
comment on column usher.commission_line.fx is
    'What one unit of that was worth on the day of the conversion';
comment on column usher.commission_line.created_at is 'When it was booked';
comment on sequence usher.commission_line_id_seq is
    'Numbers of usher.commission_line';
comment on index usher.commission_line_of is 'The lines of a conversion';
comment on index usher.commission_line_month is
    'What a partner earns of a month';
comment on index usher.commission_line_org is 'The lines of an org';
comment on index usher.conversion_approved is
    'What counts for the tiers of a partner';


create function usher.commission_line_keep()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'rows of usher.commission_line are never changed'
        using errcode = 'insufficient_privilege',
              hint = 'What is told of a conversion adds a line.';
end
$$;

comment on function usher.commission_line_keep() is
    'Trigger: what is booked stays';

create trigger commission_line_keep
    before delete or truncate on usher.commission_line
    for each statement execute function usher.commission_line_keep();

comment on trigger commission_line_keep on usher.commission_line is
    'Rows stay as they were made; 049 has what may be updated';


alter table usher.cost
    add column conversion_id bigint,
    add constraint cost_conversion foreign key (conversion_id, org_id)
        references usher.conversion (id, org_id);

create index cost_of on usher.cost (conversion_id)
    where conversion_id is not null;

comment on column usher.cost.conversion_id is
    'The conversion that it comes of; null: it was imported';
comment on index usher.cost_of is 'The cost of a conversion';


-- What a rule gives.

create function usher.commission_due(r usher.commission_rule, sale numeric,
    number integer, before numeric)
returns bigint
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    bounds  numeric[] := 0::numeric || r.tier_above::numeric[];
    rates   numeric[] := r.rate || r.tier_rates;
    due     numeric := 0;
begin
    if number > r.renewals or (r.kind = 'percent' and sale is null) then
        return 0;
    end if;

    if number > 0 and r.renewal_rate is not null then
        bounds := '{0}';
        rates := array[r.renewal_rate];
    end if;

    for i in 1 .. cardinality(rates) loop
        if r.kind = 'percent' and r.tier_by = 'sales' then
            -- What of the sale lies in this tier.
            due := due + rates[i] * greatest(0,
                       least(before + sale, bounds[i + 1])
                       - greatest(before, bounds[i]));

        elsif before >= bounds[i] then
            due := rates[i] * case r.kind when 'percent' then sale
                                          else 1 end;
        end if;
    end loop;

    if r.kind = 'percent' then
        due := due * 0.01;
    end if;

    -- Rates of currencies can make any amount of any other.
    return usher.round_half_even(least(due, r.most, 1000000000000000));
end
$$;

comment on function usher.commission_due(usher.commission_rule, numeric,
    integer, numeric) is
    'What a sale (minor units of the program''s currency, not rounded; null: '
    'not known) earns by a rule, rounded once';


create function usher.commission_scope(c usher.conversion)
returns usher.commission_rule
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select r.*
    from usher.commission_rule r
    where r.program_id = c.program_id
          and (r.partner_id is null or r.partner_id = c.partner_id)
          and (r.product_id is null or r.product_id = c.product_id)
          and (r.campaign_id is null or r.campaign_id = c.campaign_id)
          and r.starts_at <= c.occurred_at
          and (r.ends_at > c.occurred_at or r.ends_at is null)
    order by (r.partner_id is null), (r.product_id is null),
             (r.campaign_id is null)
    limit 1
$$;

comment on function usher.commission_scope(usher.conversion) is
    'The rule of a conversion: the most specific one of those valid then';


create index todo_commission on usher.todo (id)
    where handler = 'commission';

comment on index usher.todo_commission is 'Which conversions wait';


-- Who waits has no place yet: else of two each stood behind the other.

create function usher.commission_placed(c usher.conversion, month date)
returns setof usher.conversion
language sql stable
as $$
    select e.*
    from usher.conversion e
    where e.partner_id = c.partner_id and e.program_id = c.program_id
          and e.state = 'approved'
          and e.occurred_at >= month::timestamp at time zone 'UTC'
          and e.occurred_at < (month + interval '1 month')
                              at time zone 'UTC'
          and e.id <> c.id
          and e.id not in (
              select w.id
              from usher.todo t
              join usher.conversion w
                   on w.id = (t.reference->>'conversion')::bigint
              where t.handler = 'commission' and w.partner_id = c.partner_id
                    and not exists (select from usher.commission_line l
                                    where l.conversion_id = w.id
                                          and l.partner_id = c.partner_id))
$$;

comment on function usher.commission_placed(usher.conversion, date) is
    'The partner''s other conversions of the month that are approved and have '
    'a place in it';


-- What was sold in other currencies counts as far as rates are known.

create function usher.commission_before(c usher.conversion,
    r usher.commission_rule, month date)
returns numeric
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    to_code  text;
    n        numeric;
begin
    if r.tier_by = 'count' then
        select count(*) into n
        from usher.commission_placed(c, month) e;
        return n;
    end if;

    select p.currency into to_code
    from usher.program p where p.id = c.program_id;

    select sum(s.amount * (usher.fx_find(s.day, s.currency, to_code)).rate
               * ('1e' || usher.exponent(to_code)
                          - usher.exponent(s.currency))::numeric)
    into n
    from (select e.currency,
                 case when e.currency = to_code then month
                      else (e.occurred_at at time zone 'UTC')::date end
                 as day, sum(e.sale_amount) as amount
          from usher.commission_placed(c, month) e
          where e.currency is not null
          group by 1, 2) s;

    return coalesce(n, 0);
end
$$;

comment on function usher.commission_before(usher.conversion,
    usher.commission_rule, date) is
    'How many of the partner''s conversions of the month are approved, or what '
    'they sold';


create function usher.commission_terms(c usher.conversion)
returns usher.commission_line
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    r  usher.commission_rule := usher.commission_scope(c);
    l  usher.commission_line;
begin
    l.org_id := c.org_id;
    l.conversion_id := c.id;
    l.partner_id := c.partner_id;
    l.link_id := c.link_id;
    l.rule_id := r.id;
    l.month := date_trunc('month', c.occurred_at at time zone 'UTC');
    l.number := 0;
    l.behind := 0;

    if c.customer <> '' and (r.renewals is not null
                             or r.renewal_rate is not null)
    then
        select count(*) into l.number
        from (select
              from usher.conversion e
              where e.scope = c.scope and e.customer = c.customer
                    and (e.occurred_at, e.id) < (c.occurred_at, c.id)
                    and e.partner_id = c.partner_id and e.confirmed
                    and e.state in ('pending', 'approved')
              limit coalesce(r.renewals, 0) + 1) e;
    end if;

    if r.tier_by is not null then
        l.behind := usher.commission_before(c, r, l.month);
    end if;

    return l;
end
$$;

comment on function usher.commission_terms(usher.conversion) is
    'What the first line of a conversion keeps for all others';


create function usher.commission_room(l usher.commission_line,
    r usher.commission_rule)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
    select greatest(0, r.most_month - coalesce(sum(o.amount), 0))::bigint
    from usher.commission_line o
    join usher.commission_rule s on s.id = o.rule_id
    where o.partner_id = l.partner_id and o.month = l.month
          and o.conversion_id <> l.conversion_id
          and (s.program_id, s.partner_id, s.product_id, s.campaign_id)
              is not distinct from
              (r.program_id, r.partner_id, r.product_id, r.campaign_id)
$$;

comment on function usher.commission_room(usher.commission_line,
    usher.commission_rule) is
    'What the cap of the month leaves to this conversion';


create function usher.commission_fx(c usher.conversion, "to" text)
returns numeric
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case when c.currency = "to" then 1
                else coalesce(
                    (select l.fx from usher.commission_line l
                     where l.conversion_id = c.id
                           and l.sale_currency = c.currency
                     order by l.id limit 1),
                    (usher.fx_find((c.occurred_at at time zone 'UTC')::date,
                                   c.currency, "to")).rate) end
$$;

comment on function usher.commission_fx(usher.conversion, text) is
    'What one of the sale''s currency is worth: as it was at its first line, '
    'else on its day; null: not known';


-- Booking.

-- The newest is taken back first; where that is not enough, what is left of it
-- is not paid before the rest of what is taken back.

create function usher.commission_back(l usher.commission_line, back bigint)
returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with line as (
        select o.id, o.payable_at, o.amount,
               sum(o.amount) over (order by o.id desc) as until_here
        from usher.commission_line o
        where o.conversion_id = l.conversion_id
              and o.partner_id = l.partner_id and o.link_id = l.link_id
    )
    select min(i.payable_at)
    from line i
    where i.amount > 0
          and i.id >= (select max(x.id) from line x
                       where x.until_here >= back)
$$;

comment on function usher.commission_back(usher.commission_line, bigint) is
    'When what takes so much back is payable: with the first of what it takes '
    'back';


create function usher.commission_add(l usher.commission_line,
    change usher.conversion_change, due bigint, hold integer)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    insert into usher.commission_line (org_id, conversion_id, change_id,
        partner_id, link_id, rule_id, amount, currency, payable_at, month,
        number, behind, sale_currency, fx)
    select l.org_id, l.conversion_id, change.id, l.partner_id, l.link_id,
           l.rule_id, due - b.amount, l.currency,
           case when due > b.amount
                then change.at + make_interval(days => hold)
                else usher.commission_back(l, b.amount - due) end,
           l.month, l.number, l.behind, l.sale_currency, l.fx
    from (select coalesce(sum(o.amount), 0)::bigint as amount
          from usher.commission_line o
          where o.conversion_id = l.conversion_id
                and o.partner_id = l.partner_id and o.link_id = l.link_id) b
    where due <> b.amount
$$;

comment on function usher.commission_add(usher.commission_line,
    usher.conversion_change, bigint, integer) is
    'Adds the line by which what is booked becomes what is due, if it is not';


create function usher.commission_post(change usher.conversion_change)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    accounts  bigint[] := '{}';
    amounts   bigint[] := '{}';
    d         record;
begin
    for d in
        select l.currency, p.name, sum(l.amount)::bigint as amount
        from usher.commission_line l
        join usher.partner p on p.id = l.partner_id
        where l.change_id = change.id
        group by l.currency, p.name
        having sum(l.amount) <> 0
        order by l.currency, p.name
    loop
        accounts := accounts
            || usher.account_ensure(change.org_id, 'expense', 'commissions',
                                    d.currency)
            || usher.account_ensure(change.org_id, 'liability',
                                    'partner:' || d.name, d.currency);
        amounts := amounts || d.amount || -d.amount;
    end loop;

    if cardinality(accounts) > 0 then
        perform usher.ledger_post('commission:' || change.id, accounts,
            amounts, 'conversion ' || change.conversion_id);
    end if;
end
$$;

comment on function usher.commission_post(usher.conversion_change) is
    'The lines of a change in the ledger: an expense, which is owed to the '
    'partner';


create function usher.commission_cost(c usher.conversion,
    change usher.conversion_change)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    insert into usher.cost (org_id, day, amount, currency, campaign, product,
        link, sub_id, country, source, external_id, conversion_id)
    select c.org_id, (change.at at time zone 'UTC')::date, d.amount,
           d.currency, d.campaign, d.product, d.link, d.sub_id, d.country,
           'commission',
           'change:' || change.id || ':' || row_number() over (), c.id
    from (select b.currency, b.campaign, b.product, b.link, b.sub_id,
                 b.country, sum(b.amount)::bigint as amount
          from (select k.currency, k.campaign::text, k.product::text,
                       k.link::text, k.sub_id::text, k.country, -k.amount
                       as amount
                from usher.cost k
                where k.conversion_id = c.id
                union all
                select l.currency, t.campaign, t.product, t.link, t.sub_id,
                       t.country, l.amount
                from usher.commission_line l, usher.conversion_labels(c) t
                where l.conversion_id = c.id) b
          group by b.currency, b.campaign, b.product, b.link, b.sub_id,
                   b.country
          having sum(b.amount) <> 0) d
$$;

comment on function usher.commission_cost(usher.conversion,
    usher.conversion_change) is
    'What a conversion earns its partner is a cost of its link: the '
    'difference to what is booked';


create function usher.commission_book(c usher.conversion,
    change usher.conversion_change)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    p     usher.program;
    r     usher.commission_rule;
    l     usher.commission_line;
    o     usher.commission_line;
    sale  numeric;
    due   bigint := 0;
begin
    select g.* into p from usher.program g where g.id = c.program_id;

    if c.state = 'approved' and c.partner_id is not null then
        select f.* into l
        from usher.commission_line f
        where f.conversion_id = c.id and f.partner_id = c.partner_id
              and f.link_id = c.link_id
        order by f.id limit 1;

        select u.* into r
        from usher.commission_rule u
        where u.id = coalesce(l.rule_id, (usher.commission_scope(c)).id);
    end if;

    if r.id is not null then
        -- Places and room are given to one at a time.
        if r.tier_by is not null or r.most_month is not null then
            perform pg_advisory_xact_lock(hashtextextended(
                'commission/' || c.program_id || '/' || c.partner_id, 0));
        end if;

        if l.id is null then
            l := usher.commission_terms(c);
            l.currency := p.currency;
        end if;

        if c.sale_amount is not null and r.kind = 'percent' then
            l.sale_currency := nullif(c.currency, p.currency);
            l.fx := usher.commission_fx(c, p.currency);

            if l.fx is null then
                return false;
            end if;

            sale := c.sale_amount * l.fx
                    * ('1e' || usher.exponent(p.currency)
                               - usher.exponent(c.currency))::numeric;
        end if;

        due := usher.commission_due(r, sale, l.number, l.behind);

        if r.most_month is not null then
            due := least(due, usher.commission_room(l, r));
        end if;
    end if;

    -- What another partner, or another link, was thought to have earned.
    for o in
        select distinct on (f.partner_id, f.link_id) f.*
        from usher.commission_line f
        where f.conversion_id = c.id
              and (f.partner_id, f.link_id)
                  is distinct from (l.partner_id, l.link_id)
        order by f.partner_id, f.link_id, f.id
    loop
        perform usher.commission_add(o, change, 0, 0);
    end loop;

    if l.rule_id is not null then
        perform usher.commission_add(l, change, due, p.hold_days);
    end if;

    perform usher.commission_post(change);
    perform usher.commission_cost(c, change);

    return true;
end
$$;

comment on function usher.commission_book(usher.conversion,
    usher.conversion_change) is
    'Books the difference between what a conversion earns its partner and what '
    'is booked; false: the rate of its currency is not known';


create function usher.commission_changed(c usher.conversion,
    change usher.conversion_change)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if (c.state <> 'approved' or c.partner_id is null)
       and not exists (select from usher.commission_line l
                       where l.conversion_id = c.id)
    then
        return;
    end if;

    if not usher.commission_book(c, change) then
        perform usher.todo_put('commission', array[
            jsonb_build_object('conversion', c.id)]);
    end if;
end
$$;

comment on function usher.commission_changed(usher.conversion,
    usher.conversion_change) is
    'What a change of a conversion of our own means for its partner';


create function usher.commission_rated()
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    update usher.todo t
    set next_at = clock_timestamp()
    where t.id in (select w.id from usher.todo w
                   where w.handler = 'commission'
                         and w.next_at > clock_timestamp()
                   for update skip locked);

    select pg_notify('usher_react', '')
$$;

comment on function usher.commission_rated() is
    'What waits for a rate is tried again: there are new ones';


create function usher.react_commission(reference jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    c       usher.conversion;
    change  usher.conversion_change;
begin
    perform usher.conversion_shared(u.scope)
    from usher.conversion u
    where u.id = (reference->>'conversion')::bigint;

    select u.* into c
    from usher.conversion u
    where u.id = (reference->>'conversion')::bigint
    for update;

    select h.* into change
    from usher.conversion_change h
    where h.conversion_id = c.id and h.effect <> 'none'
    order by h.id desc limit 1;

    -- What came meanwhile has booked all of it.
    if change.id is null
       or exists (select from usher.commission_line l
                  where l.change_id = change.id)
    then
        return;
    end if;

    if not usher.commission_book(c, change) then
        perform usher.fx_rate((c.occurred_at at time zone 'UTC')::date,
            c.currency, (select p.currency from usher.program p
                         where p.id = c.program_id));
    end if;
end
$$;

comment on function usher.react_commission(jsonb) is
    'Handler: what a conversion earns has not been booked: a rate was not '
    'there, or a rule was added for a time that is past';
