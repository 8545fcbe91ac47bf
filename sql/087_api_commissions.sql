-- 087_api_commissions.sql - noun commission: rules, and lines.
--
-- Amounts come and go as text in the program's currency, percent as text with
-- a point.

create function usher.commission_rate(argument text, value text, kind text,
    currency text)
returns numeric
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if kind = 'fixed' then
        return usher.amount_argument(argument, value, currency);
    end if;

    value := rtrim(value, ' %');

    if value !~ '^[0-9]{1,3}(\.[0-9]{1,6})?$' or value::numeric > 100 then
        perform usher.fail('400',
            format('%s="%s" cannot be', argument, left(value, 60)),
            'A percentage is like 12.5, of 0 to 100.');
    end if;

    return nullif(value, '')::numeric;
end
$$;

comment on function usher.commission_rate(text, text, text, text) is
    'Percent of the sale, or minor units, as an argument names them';


create function usher.commission_tiers(tiers text, inout r
    usher.commission_rule, currency text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    hint   constant text :=
        'Write beginnings and rates, as "10:12.5 100:15" or for by=sales '
        '"1000.00:12.5": at most 20, rising, above 0.';
    t      text;
    above  bigint;
begin
    r.tier_above := '{}';
    r.tier_rates := '{}';

    if coalesce(tiers, '') = '' then
        if r.tier_by is not null then
            perform usher.fail('400', 'by= is given without tiers=', hint);
        end if;

        return;
    end if;

    if coalesce(r.tier_by, '') not in ('count', 'sales') then
        perform usher.fail('400',
            case when r.tier_by is null then 'tiers= is given without by='
                 else format('by="%s" cannot be', left(r.tier_by, 60)) end,
            'Say what tiers go by: by=count, the partner''s conversions of the '
            'month, or by=sales, what they sold.');
    end if;

    for t in select w from regexp_split_to_table(tiers, '[\s,]+') w
             where w <> ''
    loop
        if t !~ '^[^:]+:[^:]+$'
           or (r.tier_by = 'count' and t !~ '^[0-9]{1,15}:')
           or cardinality(r.tier_above) = 20
        then
            perform usher.fail('400',
                format('tiers="%s" cannot be', left(t, 60)), hint);
        end if;

        above := case r.tier_by
                 when 'count' then split_part(t, ':', 1)::bigint
                 else usher.amount_argument('tiers', split_part(t, ':', 1),
                                            currency) end;

        if above <= (0::bigint || r.tier_above)[
                        cardinality(r.tier_above) + 1]
        then
            perform usher.fail('400',
                format('tiers="%s" does not rise', left(tiers, 60)), hint);
        end if;

        r.tier_above := r.tier_above || above;
        r.tier_rates := r.tier_rates
            || usher.commission_rate('tiers', split_part(t, ':', 2), r.kind,
                                     currency);
    end loop;
end
$$;

comment on function usher.commission_tiers(text, usher.commission_rule,
    text) is
    'The tiers of a rule from "10:12.5 100:15"';


create function usher.commission_rate_text(rate numeric, kind text,
    currency text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case kind when 'percent' then trim_scale(rate) || ' %'
                     else usher.money_text(rate, currency) || ' '
                          || currency end
$$;

comment on function usher.commission_rate_text(numeric, text, text) is
    'A rate for people: 12.5 %, or 2.50 EUR';


create function usher.commission_rule_json(r usher.commission_rule)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'rule', r.id, 'org', o.name, 'program', p.name, 'partner', q.name,
        'product', d.name, 'campaign', c.name,
        'rate', usher.commission_rate_text(r.rate, r.kind, p.currency),
        'by', r.tier_by,
        'tiers', (select string_agg(
                      case r.tier_by when 'count' then t.above::text
                           else usher.money_text(t.above, p.currency) end
                      || ':' || usher.commission_rate_text(t.rate, r.kind,
                                                           p.currency),
                      ', ' order by t.above)
                  from unnest(r.tier_above, r.tier_rates) t (above, rate)),
        'renewals', r.renewals,
        'renewal', usher.commission_rate_text(r.renewal_rate, r.kind,
                                              p.currency),
        'max', usher.money_text(r.most, p.currency),
        'max_month', usher.money_text(r.most_month, p.currency),
        'starts', r.starts_at, 'ends', r.ends_at)
    from usher.org o
    join usher.program p on p.id = r.program_id
    left join usher.partner q on q.id = r.partner_id
    left join usher.product d on d.id = r.product_id
    left join usher.campaign c on c.id = r.campaign_id
    where o.id = r.org_id
$$;

comment on function usher.commission_rule_json(usher.commission_rule) is
    'A rule as the catalogue shows it';


create function api.commission_rule_add(org text, program text,
    percent text default null, fixed text default null,
    partner text default null, product text default null,
    campaign text default null, tiers text default null,
    "by" text default null, renewals integer default null,
    renewal text default null, max text default null,
    max_month text default null, starts timestamptz default null,
    ends timestamptz default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.program := usher.program_for('commission_rule_add', org,
                                          program);
    r  usher.commission_rule;
begin
    perform usher.enabled_ok(p);

    if p.side <> 'own' then
        perform usher.fail('409',
            format('program "%s" is of side %s: it pays no partners',
                   program, p.side),
            'Commissions are of programs of side own; program_list with '
            'side=own shows them.');
    end if;

    if num_nonnulls(percent, fixed) <> 1 then
        perform usher.fail('400', 'percent= or fixed= is needed, not both',
            'Give percent=10 of the sale, or fixed=2.50 for each '
            'conversion.');
    end if;

    if partner is not null then
        r.partner_id := (usher.partner_for('commission_rule_add', org,
                                           partner)).id;
    end if;

    if product is not null then
        r.product_id := (usher.product_for('commission_rule_add', org,
                                           program, product)).id;
    end if;

    if campaign is not null then
        r.campaign_id := (usher.campaign_for('commission_rule_add', org,
                                             campaign)).id;
    end if;

    r.kind := case when fixed is null then 'percent' else 'fixed' end;
    r.rate := usher.commission_rate(r.kind, coalesce(percent, fixed), r.kind,
                                    p.currency);
    r.tier_by := "by";
    r := usher.commission_tiers(tiers, r, p.currency);
    r.renewal_rate := usher.commission_rate('renewal', renewal, r.kind,
                                            p.currency);
    r.most := usher.amount_argument('max', max, p.currency);
    r.most_month := usher.amount_argument('max_month', max_month, p.currency);
    r.starts_at := coalesce(starts, now());

    perform usher.number_ok('renewals', renewals, 0, 1000);

    -- What is told just now and finds no rule is not seen below, unless it is
    -- waited for; see usher.conversion_shared().
    perform pg_advisory_xact_lock(hashtextextended('program/' || p.id, 0));

    if r.rate is null or r.most = 0 or r.most_month = 0
       or not isfinite(r.starts_at) or not isfinite(ends)
       or ends <= r.starts_at
    then
        perform usher.fail('400',
            case when r.rate is null then r.kind || '="" cannot be'
                 when r.most = 0 then 'max=0 cannot be'
                 when r.most_month = 0 then 'max_month=0 cannot be'
                 when not isfinite(r.starts_at) then 'starts= cannot be'
                 else 'ends= cannot be' end,
            'A rate of 0 pays nothing; a bound is above 0; a rule starts at a '
            'moment and ends after it.');
    end if;

    insert into usher.commission_rule as i (org_id, program_id, partner_id,
        product_id, campaign_id, kind, rate, tier_by, tier_above, tier_rates,
        renewals, renewal_rate, most, most_month, starts_at, ends_at)
    values (p.org_id, p.id, r.partner_id, r.product_id, r.campaign_id, r.kind,
            r.rate, r.tier_by, r.tier_above, r.tier_rates,
            commission_rule_add.renewals, r.renewal_rate, r.most,
            r.most_month, r.starts_at, ends)
    returning i.* into r;

    -- What was approved before there was a rule for it; some of that is of a
    -- moment to come, by the clock of an edge.
    perform usher.todo_put('commission', array(
        select jsonb_build_object('conversion', c.id)
        from usher.partner q
        join usher.conversion c on c.partner_id = q.id
        where q.org_id = p.org_id and c.program_id = p.id
              and c.state = 'approved' and c.occurred_at >= r.starts_at
              and (usher.commission_scope(c)).id = r.id
              and not exists (select from usher.commission_line l
                              where l.conversion_id = c.id)
        order by c.occurred_at, c.id));

    perform usher.note('commission_rule_add', p.org_id,
        jsonb_build_object('org', org) || usher.commission_rule_json(r));

    return usher.commission_rule_json(r);

exception
    when exclusion_violation then
        perform usher.fail('409',
            format('program "%s" has a rule of this scope at that time',
                   program),
            'commission_rule_list shows it, commission_rule_end ends it; or '
            'narrow this one by partner=, product= or campaign=.');
end
$$;

comment on function api.commission_rule_add(text, text, text, text, text,
    text, text, text, text, integer, text, text, text, timestamptz,
    timestamptz) is
'Says what partners of a program earn.  Of the rules that are valid when a
conversion is, the most specific one holds: one for the partner, then for the
product, then for the campaign.  What is booked already is not changed.
org: name of the org
program: the program, of side own
percent: percent of the sale (sale_amount), as 12.5
fixed: or an amount for each conversion, as 2.50, in the program''s currency
partner: only for this partner
product: only for this product
campaign: only for this campaign
tiers: higher rates above so many of the month, as "10:12.5 100:15"
by: what tiers go by: count (conversions) or sales (amounts), of the partner
renewals: how many further purchases of a customer are paid, by default all
renewal: the rate of these, by default the same
max: what one conversion earns at most
max_month: what a partner earns at most of a calendar month
starts: first moment of conversions that it is for, by default now
ends: first moment after it';


create function api.commission_rule_list(org text default null,
    program text default null, partner text default null,
    active boolean default false)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted  bigint := usher.org_scope('commission_rule_list', org);
    p_id    bigint;
    q_id    bigint;
begin
    if program is not null then
        p_id := (usher.program_for('commission_rule_list', org,
                                   program)).id;
    end if;

    if partner is not null then
        q_id := (usher.partner_for('commission_rule_list', org,
                                   partner)).id;
    end if;

    return (select coalesce(jsonb_agg(usher.commission_rule_json(r)
                                      order by r.program_id,
                                               (r.partner_id is null),
                                               (r.product_id is null),
                                               (r.campaign_id is null),
                                               r.starts_at, r.id), '[]')
            from usher.commission_rule r
            where (wanted is null or r.org_id = wanted)
                  and (p_id is null or r.program_id = p_id)
                  and (q_id is null or r.partner_id = q_id)
                  and (not active or r.ends_at > now()
                       or r.ends_at is null));
end
$$;

comment on function api.commission_rule_list(text, text, text, boolean) is
'Lists the rules of commissions, of each program the most specific first.
org: name of the org; the operator may leave it out
program: only of this program
partner: only those for this partner
active: true: without those that have ended';


create function api.commission_rule_end(org text, rule bigint,
    at timestamptz default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o       usher.org := usher.org_for('commission_rule_end', org);
    r       usher.commission_rule;
    moment  timestamptz := coalesce(commission_rule_end.at, now());
begin
    select u.* into r
    from usher.commission_rule u
    where u.id = rule and u.org_id = o.id
    for no key update;

    if r.id is null then
        perform usher.fail('404',
            format('org "%s" has no rule %s', org, rule),
            'commission_rule_list shows all.');
    end if;

    if r.ends_at <= now() then
        perform usher.fail('409', format('rule %s has ended', rule),
            'commission_rule_list with active=true shows those that hold.');
    end if;

    if moment < now() or not isfinite(moment) then
        perform usher.fail('400', format('at="%s" cannot be', moment),
            'A rule ends now, or at a moment to come: what conversions of '
            'before earn is not changed.');
    end if;

    update usher.commission_rule u
    set ends_at = greatest(moment, u.starts_at)
    where u.id = r.id
    returning u.* into r;

    perform usher.note('commission_rule_end', o.id,
        jsonb_build_object('org', org, 'rule', rule, 'at', r.ends_at));

    return usher.commission_rule_json(r);

exception
    when exclusion_violation then
        perform usher.fail('409',
            format('rule %s is followed by another of its scope', rule),
            'commission_rule_list shows it: end this one before that '
            'starts.');
end
$$;

comment on function api.commission_rule_end(text, bigint, timestamptz) is
'Ends a rule: conversions from then on earn by another.
org: name of the org
rule: its number
at: first moment after it, by default now';


create function api.commission_list(org text default null,
    partner text default null, program text default null,
    transaction text default null, payable boolean default null,
    "limit" integer default 100, before bigint default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted  bigint := usher.org_scope('commission_list', org);
    p_id    bigint;
    q_id    bigint;
begin
    if program is not null then
        p_id := (usher.program_for('commission_list', org, program)).id;
    end if;

    if partner is not null then
        q_id := (usher.partner_for('commission_list', org, partner)).id;
    end if;

    return (select coalesce(jsonb_agg(usher.commission_shown(l)
                                      order by l.id desc), '[]')
            from (select i.*
                  from usher.commission_line i
                  join usher.conversion c on c.id = i.conversion_id
                  where (wanted is null or i.org_id = wanted)
                        and (q_id is null or i.partner_id = q_id)
                        and (p_id is null or c.program_id = p_id)
                        and (commission_list.transaction is null
                             or c.transaction_id
                                = commission_list.transaction)
                        and (payable is null
                             or payable = (i.payable_at <= now()
                                           and i.payout_id is null))
                        and (before is null or i.id < before)
                  order by i.id desc
                  limit usher.page("limit")) l);
end
$$;

comment on function api.commission_list(text, text, text, text, boolean,
    integer, bigint) is
'Lists what partners earn, line by line, the newest first.  A line below 0
takes back what was booked before.
org: name of the org; the operator may leave it out
partner: only of this partner
program: only of this program
transaction: only of this transaction
payable: true: only what the next batch may take; false: only what it may not
limit: at most so many
before: go on before this line';


create function usher.commission_shown(l usher.commission_line)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'line', l.id, 'booked', l.created_at, 'org', o.name,
        'program', p.name, 'partner', q.name,
        'transaction', c.transaction_id, 'link', k.host || '/' || k.slug,
        'amount', usher.money_text(l.amount, l.currency),
        'currency', l.currency, 'rule', l.rule_id,
        'payable', l.payable_at,
        'batch', (select y.batch_id from usher.payout y
                  where y.id = l.payout_id))
    from usher.org o
    join usher.conversion c on c.id = l.conversion_id
    join usher.program p on p.id = c.program_id
    join usher.partner q on q.id = l.partner_id
    join usher.link k on k.id = l.link_id
    where o.id = l.org_id
$$;

comment on function usher.commission_shown(usher.commission_line) is
    'A line as the catalogue shows it';


insert into usher.right (function, role)
select f, r
from (values
    ('commission_rule_add', array['owner', 'admin']),
    ('commission_rule_list', array['owner', 'admin', 'analyst']),
    ('commission_rule_end', array['owner', 'admin']),
    ('commission_list', array['owner', 'admin', 'analyst'])
) as v (f, roles), unnest(roles) r;
