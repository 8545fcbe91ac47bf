-- 046_conversion_take.sql - what is told of a conversion becomes true of it.
--
-- usher.conversion_take() is the one way in, for events, files and hooks.
--
-- What is called for each message has no search_path of its own: to set it
-- costs more than the work, and the callers have pinned it.

create type usher.conversion_said as (
    key             text,
    origin          text,
    at              timestamptz,
    org_id          bigint,
    network_id      bigint,
    program_id      bigint,
    transaction_id  text,
    occurred_at     timestamptz,
    status          text,
    state           text,
    amount          text,
    sale_amount     text,
    currency        text,
    default_currency  text,
    click_reason    smallint,
    click_id        text,
    customer        text,
    coupon          text,
    status_time     text,
    event_id        text,
    subscription    text,
    clicks          text[]
);

comment on type usher.conversion_said is
    'What is told of a conversion: status is the word and state what it '
    'means, null where that is not known; amounts are text; click_reason is '
    'null where click_id is signed by us; what is not told is empty';


create function usher.conversion_rank(state text)
returns integer
language sql immutable strict parallel safe
as $$
    select array_position(array['pending', 'approved', 'rejected',
                                'reversed'], state)
$$;

comment on function usher.conversion_rank(text) is
    'Of two states that were told in the same moment the higher one holds';


create function usher.conversion_money(name text, value text, currency text,
    out minor bigint, out problem text)
language plpgsql stable
as $$
declare
    decimals  smallint;
    exact     numeric;
begin
    if value = '' then
        return;
    end if;

    select c.exponent into decimals
    from usher.currency c where c.code = conversion_money.currency;

    problem := case
        when coalesce(currency, '') = ''
            then format('%s="%s" has no currency', name, value)
        when decimals is null
            then format('currency="%s" is none', currency)
        when value ~ '^-[0-9.]+$'
            then format('%s="%s" is negative', name, value)
        when value !~ '^[0-9]{1,32}(\.[0-9]{1,32})?$'
            then format('%s="%s" cannot be read', name, value)
        end;

    if problem is not null then
        return;
    end if;

    exact := value::numeric * ('1e' || decimals)::numeric;

    problem := case
        when exact <> trunc(exact)
            then format('%s="%s" has more decimals than %s', name, value,
                        currency)
        when exact > 1000000000000000
            then format('%s="%s" is absurd', name, value)
        end;

    if problem is null then
        minor := exact;
    end if;
end
$$;

comment on function usher.conversion_money(text, text, text) is
    'Minor units of an amount as a network writes it: digits, a point, no '
    'more decimals than the currency has; or what is wrong with it';


create function usher.conversion_currency(network_id bigint,
    program_id bigint)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select min(p.currency)
    from usher.program p
    where case when conversion_currency.program_id is null
               then p.network_id = conversion_currency.network_id
               else p.id = conversion_currency.program_id end
    having count(distinct p.currency) = 1
$$;

comment on function usher.conversion_currency(bigint, bigint) is
    'Currency of amounts that name none: the program''s, or that of all '
    'programs of the network; null: they differ';


create function usher.conversion_state(inout c usher.conversion,
    s usher.conversion_said)
language plpgsql immutable
as $$
begin
    if s.state is null then
        if s.at > c.state_at
           and s.at >= coalesce(c.state_problem_at, '-infinity')
        then
            c.state_problem := left(format('status="%s" means nothing here',
                                           s.status), 200);
            c.state_problem_at := s.at;
        end if;

        return;
    end if;

    -- No word at all stands for a state while nobody has said one.
    if s.status = '' then
        if c.state_at = '-infinity'
           and usher.conversion_rank(s.state) > usher.conversion_rank(c.state)
        then
            c.state := s.state;
        end if;

        return;
    end if;

    if (s.at, usher.conversion_rank(s.state))
       > (c.state_at, usher.conversion_rank(c.state))
    then
        c.state := s.state;
        c.state_at := s.at;
    end if;

    if c.state_problem_at <= c.state_at then
        c.state_problem := null;
        c.state_problem_at := null;
    end if;
end
$$;

comment on function usher.conversion_state(usher.conversion,
    usher.conversion_said) is
    'The state, if it was told later than what is known';


-- Of what was told in the same moment the higher one holds.

create function usher.amount_hear(inout t usher.amount_told, name text,
    value text, currency text, told_at timestamptz)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    m  record;
begin
    if value = '' then
        return;
    end if;

    select * into m from usher.conversion_money(name, value, currency);

    if m.problem is not null then
        if (told_at, left(m.problem, 200) collate "C")
           > (coalesce(t.wrong_at, '-infinity'), coalesce(t.wrong, ''))
        then
            t.wrong_at := told_at;
            t.wrong := left(m.problem, 200);
        end if;

        return;
    end if;

    if (told_at, currency collate "C", m.minor)
       > (coalesce(t.at, '-infinity'), coalesce(t.currency, ''),
          coalesce(t.minor, -1))
    then
        t.at := told_at;
        t.currency := currency;
        t.minor := m.minor;
    end if;
end
$$;

comment on function usher.amount_hear(usher.amount_told, text, text, text,
    timestamptz) is
    'An amount after this was told of it; empty: nothing was';


create function usher.conversion_worth(inout c usher.conversion)
language plpgsql immutable
as $$
declare
    amount  usher.amount_told := c.amount_told;
    sale    usher.amount_told := c.sale_told;
begin
    c.amount_problem := case when amount.wrong_at
                                  > coalesce(amount.at, '-infinity')
                             then amount.wrong end;

    if c.amount_problem is not null then
        amount := null;
    end if;

    if sale.wrong_at > coalesce(sale.at, '-infinity') then
        c.amount_problem := left(concat_ws('; ', c.amount_problem,
                                     nullif(sale.wrong, c.amount_problem)),
                                 200);
        sale := null;
    end if;

    -- One in another currency than what was told last is not known.
    c.currency := case when sale.at > coalesce(amount.at, '-infinity')
                       then sale.currency
                       else amount.currency end;
    c.amount := case when amount.currency = c.currency then amount.minor end;
    c.sale_amount := case when sale.currency = c.currency then sale.minor end;
end
$$;

comment on function usher.conversion_worth(usher.conversion) is
    'Its amounts, by what was told of them';


create function usher.conversion_amounts(inout c usher.conversion,
    s usher.conversion_said)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    currency  text;
begin
    -- What is taken back is written in as many ways as there are networks,
    -- as 0, or below it; what it was is known.  A word that means nothing may
    -- be one for that.
    if s.state is null or s.state in ('rejected', 'reversed') then
        return;
    end if;

    currency := upper(coalesce(nullif(s.currency, ''), s.default_currency,
                    usher.conversion_currency(c.network_id, c.program_id))
                      collate "C");

    c.amount_told := usher.amount_hear(c.amount_told, 'amount', s.amount,
                                       currency, s.at);
    c.sale_told := usher.amount_hear(c.sale_told, 'sale_amount',
                                     s.sale_amount, currency, s.at);
    c := usher.conversion_worth(c);
end
$$;

comment on function usher.conversion_amounts(usher.conversion,
    usher.conversion_said) is
    'The amounts, each if it was told later than what is known of it';


create function usher.conversion_bind(inout c usher.conversion, link bigint,
    click text, way text, origin text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    l  usher.link;
begin
    select * into l from usher.link x where x.id = link;

    c.link_id := l.id;
    c.click_id := click;
    c.clicked_at := (usher.click_read(click)).clicked_at;
    c.via := way;
    c.bound_by := origin;
    c.unattributed := null;
    c.program_id := l.program_id;
    c.product_id := l.product_id;
    c.campaign_id := l.campaign_id;
    c.partner_id := case when c.side = 'own' then l.partner_id end;
end
$$;

comment on function usher.conversion_bind(usher.conversion, bigint, text,
    text, text) is
    'Binds it to a link, with what that belongs to now';


create function usher.conversion_as(inout c usher.conversion,
    other usher.conversion, origin text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    c := usher.conversion_bind(c, other.link_id, other.click_id, 'renewal',
                               origin);
    c.program_id := other.program_id;
    c.product_id := other.product_id;
    c.campaign_id := other.campaign_id;
    c.partner_id := other.partner_id;
end
$$;

comment on function usher.conversion_as(usher.conversion, usher.conversion,
    text) is
    'Binds it as another was, and to what its link was then';


create function usher.conversion_otherwise(inout c usher.conversion,
    origin text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    other       usher.conversion;
    other_link  bigint;
begin
    if c.coupon <> '' and c.side = 'own' then
        select k.link_id into other_link
        from usher.coupon k
        join usher.link l on l.id = k.link_id
                             and l.program_id = k.program_id
        where k.program_id = c.program_id
              and k.code = upper(c.coupon collate "C");
    end if;

    if other_link is not null then
        c := usher.conversion_bind(c, other_link, null, 'coupon', origin);
        return;
    end if;

    -- The window is for the first one: who has been bound stays so, and to
    -- what the link was then.
    if c.customer <> '' then
        select e.* into other
        from usher.conversion e
        where e.scope = c.scope and e.customer = c.customer
              and e.id <> c.id and e.link_id is not null and e.confirmed
              and e.occurred_at <= c.occurred_at
        order by e.occurred_at desc, e.id desc
        limit 1;
    end if;

    if other.link_id is not null then
        c := usher.conversion_as(c, other, origin);
    end if;
end
$$;

comment on function usher.conversion_otherwise(usher.conversion, text) is
    'Binds a conversion that no click gets to the link of its coupon, or as '
    'an earlier one of its customer';


-- A shop may have one name for all its guests, who clicked a million times: so
-- of a customer's clicks only the ends of the window are looked at, which
-- decide whichever the program counts.  Clicks that may not have it are passed
-- over, a thousand from either end.

create function usher.customer_ends(c usher.conversion)
returns text[]
language sql stable
as $$
    select array_remove(array[
        (select n.click_id
         from (select k.click_id, k.clicked_at
               from usher.customer_click k
               where k.scope = c.scope and k.customer = c.customer
                     and k.clicked_at
                         between c.occurred_at - interval '366 days'
                             and c.occurred_at + interval '5 minutes'
               order by k.clicked_at desc, k.click_id
               limit 1000) n
         where usher.click_judge(n.click_id, c.occurred_at, c.org_id,
                                 c.network_id, c.program_id) is null
         order by n.clicked_at desc, n.click_id
         limit 1),
        (select o.click_id
         from (select k.click_id, k.clicked_at
               from usher.customer_click k
               where k.scope = c.scope and k.customer = c.customer
                     and k.clicked_at
                         between c.occurred_at - interval '366 days'
                             and c.occurred_at + interval '5 minutes'
               order by k.clicked_at, k.click_id desc
               limit 1000) o
         where usher.click_judge(o.click_id, c.occurred_at, c.org_id,
                                 c.network_id, c.program_id) is null
         order by o.clicked_at, o.click_id desc
         limit 1)], null)
$$;

comment on function usher.customer_ends(usher.conversion) is
    'The newest and the oldest click of its customer that may have it';


create function usher.conversion_attribute(inout c usher.conversion,
    reason smallint, click text, clicks text[], origin text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    ids     text[] := '{}';
    chosen  text;
    other   usher.conversion;
begin
    -- A subscription is where its first payment came from, whatever was
    -- clicked since; and it does not matter which of them is heard of first.
    if c.subscription <> '' then
        select e.* into other
        from usher.conversion e
        where e.scope = c.scope and e.subscription = c.subscription
              and e.id <> c.id and e.link_id is not null and e.confirmed
        order by e.occurred_at, e.id
        limit 1;
    end if;

    if other.link_id is not null then
        c := usher.conversion_as(c, other, origin);
        return;
    end if;

    -- reason and click are what the message says; there may be none.
    if reason is null then
        reason := usher.click_judge(click, c.occurred_at, c.org_id,
                                    c.network_id, c.program_id);
    end if;

    if c.customer <> '' then
        ids := usher.customer_ends(c);
    end if;

    if reason is null then
        ids := array_append(array_remove(ids, click), click);
    end if;

    ids := ids || array(
        select k
        from unnest(clicks) k
        where k <> all (ids)
              and usher.click_judge(k, c.occurred_at, c.org_id, c.network_id,
                                    c.program_id) is null);

    chosen := usher.click_choose(ids);

    if chosen is not null then
        c := usher.conversion_bind(c, (usher.click_read(chosen)).link_id,
                 chosen, case when chosen = any (array_append(clicks, click))
                              then 'click' else 'customer' end, origin);
        return;
    end if;

    c := usher.conversion_otherwise(c, origin);

    -- None is said only where nothing better is known.
    if c.link_id is null and (c.unattributed is null or c.unattributed = 1
                              or reason <> 1)
    then
        c.unattributed := reason;
    end if;
end
$$;

comment on function usher.conversion_attribute(usher.conversion, smallint,
    text, text[], text) is
    'Binds a conversion as its subscription, to its click, one of the clicks '
    'of its cookie or its customer, the link of its coupon, or as before; or '
    'says why there is none';


create function usher.conversion_json(c usher.conversion)
returns jsonb
language sql stable
as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'state', c.state, 'confirmed', c.confirmed, 'amount', c.amount,
        'sale_amount', c.sale_amount, 'currency', c.currency,
        'state_problem', c.state_problem,
        'amount_problem', c.amount_problem, 'link_id', c.link_id,
        'click_id', c.click_id, 'via', c.via,
        'unattributed', c.unattributed, 'program_id', c.program_id,
        'partner_id', c.partner_id, 'customer', nullif(c.customer, ''),
        'coupon', nullif(c.coupon, ''),
        'subscription', nullif(c.subscription, ''),
        'occurred_at', c.occurred_at))
$$;

comment on function usher.conversion_json(usher.conversion) is
    'What is true of a conversion, as its history has it';


create function usher.conversion_hear(inout c usher.conversion,
    s usher.conversion_said)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    weak   boolean := s.origin = 'pixel';
    first  boolean := not weak and not c.confirmed;
    tried  usher.conversion;
begin
    c.occurred_at := least(c.occurred_at, coalesce(s.occurred_at, s.at));

    -- What a browser claimed is forgotten at the first word of another.
    if first then
        c.confirmed := true;
        c.amount_told := null;
        c.sale_told := null;
        c := usher.conversion_worth(c);
    end if;

    if s.customer <> '' and (c.customer = '' or first) then
        c.customer := s.customer;
    end if;

    if s.coupon <> '' and (c.coupon = '' or first) then
        c.coupon := s.coupon;
    end if;

    if s.subscription <> '' and (c.subscription = '' or first) then
        c.subscription := s.subscription;
    end if;

    -- A browser may claim any coupon and any customer, but no click.
    if c.link_id is null
       or (c.bound_by = 'pixel' and not weak
           and (s.click_reason is null or (first and c.via <> 'click')))
    then
        tried := c;
        tried.link_id := null;
        tried := usher.conversion_attribute(tried, s.click_reason,
                                            s.click_id, s.clicks,
                                            s.origin);

        if tried.link_id is not null or c.link_id is null then
            c := tried;
        end if;
    end if;

    if not weak then
        c := usher.conversion_state(c, s);
    end if;

    if not weak or not c.confirmed then
        c := usher.conversion_amounts(c, s);
    end if;
end
$$;

comment on function usher.conversion_hear(usher.conversion,
    usher.conversion_said) is
    'The conversion as it is after this was told';


create function usher.conversion_put(was usher.conversion,
    c usher.conversion, key text, origin text, at timestamptz, said jsonb,
    fresh boolean)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    before  jsonb := case when fresh then '{}'
                          else usher.conversion_json(was) end;
    after   jsonb := usher.conversion_json(c);
    change  usher.conversion_change;
begin
    update usher.conversion u
    set (confirmed, occurred_at, state, state_at, amount, amount_told,
         sale_amount, sale_told, currency, state_problem, state_problem_at,
         amount_problem, customer, coupon, subscription, link_id, click_id,
         clicked_at, via, bound_by, unattributed, program_id, product_id,
         campaign_id, partner_id, changed_at)
        = (c.confirmed, c.occurred_at, c.state, c.state_at, c.amount,
           c.amount_told, c.sale_amount, c.sale_told, c.currency,
           c.state_problem, c.state_problem_at, c.amount_problem, c.customer,
           c.coupon, c.subscription, c.link_id, c.click_id, c.clicked_at,
           c.via, c.bound_by, c.unattributed, c.program_id, c.product_id,
           c.campaign_id, c.partner_id,
           case when before = after then u.changed_at
                else clock_timestamp() end)
    where u.id = c.id;

    insert into usher.conversion_change (conversion_id, org_id, key, origin,
        at, effect, said, was, became)
    values (c.id, c.org_id, conversion_put.key, conversion_put.origin,
            conversion_put.at,
            case when fresh then 'new' when before <> after then 'changed'
                 else 'none' end, conversion_put.said, before, after)
    returning * into change;

    if change.effect <> 'none' then
        perform usher.conversion_changed(change);
    end if;

    -- payments of it that were heard of before
    if c.subscription <> '' and c.confirmed and c.link_id is not null
       and (was.link_id is null or not was.confirmed
            or was.subscription <> c.subscription)
    then
        perform usher.todo_put('binding', array(
            select jsonb_build_object('conversion', e.id)
            from usher.conversion e
            where e.scope = c.scope and e.subscription = c.subscription
                  and e.link_id is null
            order by e.id));
    end if;

    return change.effect;
end
$$;

comment on function usher.conversion_put(usher.conversion, usher.conversion,
    text, text, timestamptz, jsonb, boolean) is
    'Writes down what a conversion became and how, and has done what follows';


-- A report has more customers and transactions than a server has locks, and
-- takes them in an order that no other knows of.  So it has all of its source
-- to itself, and who comes meanwhile is not kept waiting.

create function usher.conversion_shared(whose text)
returns void
language plpgsql
as $$
begin
    if not pg_try_advisory_xact_lock_shared(hashtextextended(whose, 0)) then
        raise exception 'a report of % is being imported', whose
            using errcode = 'lock_not_available';
    end if;
end
$$;

comment on function usher.conversion_shared(text) is
    'Keeps imports of this source out until the transaction ends; raises '
    'while there is one';


create function usher.said_json(s usher.conversion_said)
returns jsonb
language sql stable
as $$
    select coalesce(jsonb_object_agg(e.key, e.value), '{}')
    from jsonb_each(jsonb_strip_nulls(jsonb_build_object(
             'status', s.status, 'amount', s.amount,
             'sale_amount', s.sale_amount, 'currency', s.currency,
             'click_id', s.click_id, 'customer', s.customer,
             'coupon', s.coupon, 'status_time', s.status_time,
             'event_id', s.event_id, 'subscription', s.subscription,
             'clicks', s.clicks,
             'means', jsonb_build_object(
                 'at', s.at, 'state', s.state,
                 'currency', s.default_currency,
                 'click_reason', s.click_reason)))) e
    where e.value <> '""'
$$;

comment on function usher.said_json(usher.conversion_said) is
    'What was told, as the history has it, and what that meant then';


create function usher.conversion_take(s usher.conversion_said)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    whose   text := usher.conversion_scope(s.network_id, s.program_id);
    moment  timestamptz := s.at;
    fresh   boolean;
    c       usher.conversion;
    n       usher.conversion;
begin
    if s.origin <> 'import' then
        perform usher.conversion_shared(whose);
    end if;

    -- One at a time, so that of a click and a conversion that come at once
    -- the second sees the first.
    if s.customer <> '' then
        if s.origin <> 'import' then
            perform pg_advisory_xact_lock(
                hashtextextended(whose || ' ' || s.customer, 0));
        end if;

        if s.click_reason is null then
            perform usher.customer_clicked(whose, s.customer, k)
            from unnest(array_append(s.clicks, s.click_id)) k;
        end if;
    end if;

    -- Nor does one of two payments of a subscription miss the other.
    if s.subscription <> '' and s.origin <> 'import' then
        perform pg_advisory_xact_lock(
            hashtextextended(whose || ' subscription ' || s.subscription, 0));
    end if;

    -- Without a transaction it was only a click of a customer.
    if s.transaction_id = '' then
        return 'none';
    end if;

    insert into usher.conversion (org_id, side, network_id, program_id,
        transaction_id, origin, occurred_at)
    values (s.org_id, case when s.network_id is null then 'own'
                           else 'network' end, s.network_id, s.program_id,
            s.transaction_id, s.origin, coalesce(s.occurred_at, s.at))
    on conflict on constraint conversion_transaction do nothing;

    fresh := found;

    select u.* into c
    from usher.conversion u
    where u.scope = whose
          and u.transaction_id = s.transaction_id
    for update;

    if exists (select from usher.conversion_change h where h.key = s.key) then
        return 'none';
    end if;

    n := usher.conversion_hear(c, s);

    -- What its former moment has booked is taken back on the same day.
    if s.key ~ '^earlier:' then
        n := usher.conversion_refold(n, s);

        select min((h.said #>> '{means,at}')::timestamptz) into moment
        from usher.conversion_change h
        where h.conversion_id = c.id and h.key ~ '^(event|earlier):'
              and split_part(h.key, ':', 3) = split_part(s.key, ':', 3);
    end if;

    return usher.conversion_put(c, n, s.key, s.origin, moment,
                                usher.said_json(s), fresh);
end
$$;

comment on function usher.conversion_take(usher.conversion_said) is
    'Takes what is told of a conversion, once by its key: new, changed or '
    'none, as in its history';


create function usher.customer_clicked(scope text, customer text,
    click_id text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into usher.customer_click (scope, customer, click_id, clicked_at)
    select customer_clicked.scope, customer_clicked.customer,
           customer_clicked.click_id, r.clicked_at
    from usher.click_read(customer_clicked.click_id) r
    where r.link_id is not null
    on conflict do nothing;

    -- None of those before the click, as in click_judge(): a shop may have one
    -- name for all its guests.
    if found then
        perform usher.todo_put('binding', array(
            select jsonb_build_object('conversion', c.id)
            from usher.click_read(customer_clicked.click_id) r
            join usher.conversion c
                 on c.occurred_at >= r.clicked_at - interval '5 minutes'
            where c.customer <> ''
                  and c.scope = customer_clicked.scope
                  and c.customer = customer_clicked.customer
                  and c.link_id is null
            order by c.id));
    end if;
end
$$;

comment on function usher.customer_clicked(text, text, text) is
    'Remembers a click of a customer; what of his has no link yet is looked '
    'at again';


create function usher.subscription_id(network_id bigint, id text)
returns text
language sql stable
as $$
    -- A macro that nobody has filled in, or a word for none, would make all
    -- that was ever sold one subscription.  ClickBank's payments after the
    -- first have its receipt, and -B002 and so on behind it.
    select case
        when id ~* ('^([{<!%#[].*[]}>!%#]|[0-]+|null|nil|none|nan|n/a|undefined'
                    '|false)$')
            then ''
        when exists (select from usher.network n
                     where n.id = subscription_id.network_id
                           and n.preset = 'clickbank')
            then regexp_replace(id, '-B[0-9]{3}$', '')
        else id end
$$;

comment on function usher.subscription_id(bigint, text) is
    'What all payments of a subscription have, of what one has; empty: nothing';
