-- 047_conversion_money.sql - what follows from a changed conversion.
--
-- usher.conversion_changed() is called for each change, once, in its
-- transaction.  Side network: what the network reports as approved is earned,
-- and what it takes back is earned less, on the day that it said so; days
-- that are past do not change.  Side own: what was sold is revenue in the same
-- way, and what it earns the partner is in 048.

create function usher.conversion_earned(truth jsonb)
returns bigint
language sql immutable
as $$
    select case when truth->>'state' = 'approved'
                then (truth->>'amount')::bigint end
$$;

comment on function usher.conversion_earned(jsonb) is
    'What a network owes for a conversion, in minor units; null: nothing';


create function usher.conversion_sold(truth jsonb)
returns bigint
language sql immutable
as $$
    select case when truth->>'state' = 'approved'
                then (truth->>'sale_amount')::bigint end
$$;

comment on function usher.conversion_sold(jsonb) is
    'What our own shop sold, in minor units; null: nothing';


create function usher.conversion_labels(c usher.conversion,
    out campaign text, out product text, out link text, out sub_id text,
    out country text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    select left(l.host || '/' || l.slug, 200), a.name, p.name
    into link, campaign, product
    from usher.link l
    left join usher.campaign a on a.id = c.campaign_id
    left join usher.product p on p.id = c.product_id
    where l.id = c.link_id;

    -- The days within which a click's row is stored, near enough.  That the
    -- id is not empty has to be said: the index has no others.
    select nullif(regexp_replace(k.sub1, '[[:cntrl:]]', '', 'g'), ''),
           substring(k.country from '^[A-Z]{2}$')
    into sub_id, country
    from usher.click k
    where k.click_id = c.click_id and k.click_id <> ''
          and k.received_at >= c.clicked_at - interval '1 day'
          and k.received_at < c.clicked_at + interval '8 days'
    limit 1;
end
$$;

comment on function usher.conversion_labels(usher.conversion) is
    'What the revenue of a conversion belongs to; sub-id and country are the '
    'click''s, if its row is here';


create function usher.conversion_revenue(c usher.conversion,
    change usher.conversion_change, earned bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- What is booked and what should be, where each belongs: the difference.
    insert into usher.revenue (org_id, day, amount, currency, campaign,
        product, link, sub_id, country, source, external_id, conversion_id)
    select c.org_id, (change.at at time zone 'UTC')::date, d.amount,
           d.currency, d.campaign, d.product, d.link, d.sub_id, d.country,
           'conversion',
           'change:' || change.id || ':' || row_number() over (), c.id
    from (select b.currency, b.campaign, b.product, b.link, b.sub_id,
                 b.country, sum(b.amount)::bigint as amount
          from (select r.currency, r.campaign::text, r.product::text,
                       r.link::text, r.sub_id::text, r.country, -r.amount
                       as amount
                from usher.revenue r
                where r.conversion_id = c.id
                union all
                select change.became->>'currency', l.campaign, l.product,
                       l.link, l.sub_id, l.country, earned
                from usher.conversion_labels(c) l
                where earned > 0) b
          group by b.currency, b.campaign, b.product, b.link, b.sub_id,
                   b.country
          having sum(b.amount) <> 0) d;
end
$$;

comment on function usher.conversion_revenue(usher.conversion,
    usher.conversion_change, bigint) is
    'Books what is approved, and takes back what is taken back: the '
    'difference to what is booked';


create function usher.conversion_post(change usher.conversion_change,
    network_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    owed      text := (select 'network:' || n.name from usher.network n
                       where n.id = conversion_post.network_id);
    accounts  bigint[] := '{}';
    amounts   bigint[] := '{}';
    d         record;
begin
    for d in
        select b.currency, sum(b.amount)::bigint as amount
        from (values (change.was->>'currency',
                      -usher.conversion_earned(change.was)),
                     (change.became->>'currency',
                      usher.conversion_earned(change.became)))
             b (currency, amount)
        where b.amount <> 0
        group by b.currency
        having sum(b.amount) <> 0
        order by b.currency
    loop
        accounts := accounts
            || usher.account_ensure(change.org_id, 'asset', owed, d.currency)
            || usher.account_ensure(change.org_id, 'revenue', 'commissions',
                                    d.currency);
        amounts := amounts || d.amount || -d.amount;
    end loop;

    if cardinality(accounts) > 0 then
        perform usher.ledger_post('conversion:' || change.id, accounts,
            amounts, 'conversion ' || change.conversion_id);
    end if;
end
$$;

comment on function usher.conversion_post(usher.conversion_change, bigint) is
    'The same in the ledger: the network owes more, or less';


create function usher.conversion_changed(change usher.conversion_change)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    c  usher.conversion;
begin
    select u.* into c
    from usher.conversion u where u.id = change.conversion_id;

    if c.side = 'network' then
        perform usher.conversion_revenue(c, change,
                    usher.conversion_earned(change.became));
        perform usher.conversion_post(change, c.network_id);

    else
        perform usher.conversion_revenue(c, change,
                    usher.conversion_sold(change.became));
        perform usher.commission_changed(c, change);
    end if;
end
$$;

comment on function usher.conversion_changed(usher.conversion_change) is
    'What follows from a change of a conversion, once for each: revenue; of '
    'side own a commission';
