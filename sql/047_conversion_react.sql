-- 047_conversion_react.sql - what was said of conversions, by duty react.
--
-- The handlers, and what has to be thought where the same is said again.

create function usher.status_moment(value text)
returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
    if value ~ '^[0-9]{10}([0-9]{3})?$' then
        return to_timestamp(rpad(value, 13, '0')::numeric / 1000);
    end if;

    -- A + that was not escaped is a blank.
    if value ~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}'
                '(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[ +-][0-9]{2}:?[0-9]{2})?)?$')
    then
        return regexp_replace(value, ' ([0-9]{2}:?[0-9]{2})$',
                              case when value ~ ':.* '
                                   then '+\1' else ' \1' end)::timestamptz;
    end if;

    return null;

exception
    when data_exception then
        return null;
end
$$;

comment on function usher.status_moment(text) is
    'The moment that a network writes: seconds or milliseconds since 1970, or '
    'like 2026-11-28 12:34:56, in UTC, or with its offset; null: none';


-- An edge whose clock is ahead would have the last word until then; its clicks
-- are as much ahead.  Nor has a network's clock; and nobody tells for a month,
-- so that books of months past stay as they are.

create function usher.said_moment(status_time text, told_at timestamptz,
    received_at timestamptz)
returns timestamptz
language sql stable
as $$
    select greatest(least(coalesce(usher.status_moment(status_time), told_at),
                          received_at + interval '5 minutes'),
                    least(told_at, received_at) - interval '31 days')
$$;

comment on function usher.said_moment(text, timestamptz, timestamptz) is
    'From when a word counts, by what it says itself, and when it was told '
    'and stored';


create function usher.event_said(e usher.conversion_event)
returns usher.conversion_said
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    p  usher.postback_setup;
begin
    select u.* into p from usher.postback_setup u where u.id = e.postback_id;

    if p.org_id is distinct from e.org_id then
        raise exception 'there is no postback % of org %', e.postback_id,
            e.org_id;
    end if;

    return row(
        'event:' || e.postback_id || ':' || encode(e.digest, 'hex'),
        e.origin,
        usher.said_moment(e.status_time, e.event_time, e.received_at),
        e.org_id, p.network_id, p.program_id,
        e.transaction_id, e.event_time, e.status,
        p.statuses->>lower(e.status collate "C"),
        e.amount, e.sale_amount, e.currency, p.currency,
        nullif(e.click_status, 0), e.click_id, e.customer, e.coupon,
        e.status_time, e.event_id,
        usher.subscription_id(p.network_id, e.subscription),
        nullif(string_to_array(e.cookie, '.'), '{}')
        )::usher.conversion_said;
end
$$;

comment on function usher.event_said(usher.conversion_event) is
    'What an event tells';


create function usher.react_conversion(reference jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    e  usher.conversion_event;
    s  usher.conversion_said;
begin
    select v.* into e
    from usher.conversion_event v
    where v.received_at = (reference->>'received_at')::timestamptz
          and v.postback_id = (reference->>'postback_id')::bigint
          and v.transaction_id = reference->>'transaction_id'
          and v.digest = decode(reference->>'digest', 'hex');

    if e.digest is null then
        raise exception 'the event is not there any more';
    end if;

    s := usher.event_said(e);

    if s.state = 'ignored' then
        return;
    end if;

    if not usher.conversion_retold(s, e.event_time) then
        perform usher.conversion_take(s);
    end if;
end
$$;

comment on function usher.react_conversion(jsonb) is
    'Handler: what was said of a conversion';


create function usher.said_heard(said jsonb)
returns usher.conversion_said
language plpgsql stable
as $$
declare
    s  usher.conversion_said;
begin
    s := jsonb_populate_record(null::usher.conversion_said, '{"status": "",
            "amount": "", "sale_amount": "", "currency": "", "click_id": "",
            "customer": "", "coupon": "", "status_time": "", "event_id": "",
            "subscription": ""}' || said);
    s.at := said #>> '{means,at}';
    s.state := said #>> '{means,state}';
    s.default_currency := said #>> '{means,currency}';
    s.click_reason := said #>> '{means,click_reason}';
    return s;
end
$$;

comment on function usher.said_heard(jsonb) is
    'What was told, out of the history: the opposite of said_json()';


-- State and amounts are what the newest of all words make them, so they can
-- be found anew from the history; whose it is, and what it is bound to, hold
-- from the first word that told, whenever that was.

create function usher.conversion_refold(inout c usher.conversion,
    s usher.conversion_said)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    w  usher.conversion_said;
    h  record;
begin
    c.state := 'pending';
    c.state_at := '-infinity';
    c.state_problem := null;
    c.state_problem_at := null;
    c.amount_told := null;
    c.sale_told := null;
    c := usher.conversion_worth(c);

    for h in
        select x.said, least(min((e.said #>> '{means,at}')::timestamptz),
                   case when split_part(s.key, ':', 3) = x.digest
                        then s.at end) as at
        from (select k.id, k.said, k.origin,
                     split_part(k.key, ':', 3) as digest
              from usher.conversion_change k
              where k.conversion_id = c.id and k.key ~ '^(event|import):'
              union all
              select 0, c.agreed, 'import', ''
              where c.agreed is not null) x
        left join usher.conversion_change e
             on e.conversion_id = c.id and e.key ~ '^(event|earlier):'
                and split_part(e.key, ':', 3) = x.digest
        where (x.origin = 'pixel') <> c.confirmed
        group by x.id, x.said, x.digest
        order by x.id
    loop
        w := usher.said_heard(h.said);
        w.at := coalesce(h.at, w.at);

        if c.confirmed then
            c := usher.conversion_state(c, w);
        end if;

        c := usher.conversion_amounts(c, w);
    end loop;

    for h in
        select k.said
        from usher.conversion_change k
        where k.conversion_id = c.id and k.key ~ '^(event|earlier|again):'
              and k.origin <> 'pixel'
        order by (k.said #>> '{means,at}')::timestamptz, k.id
    loop
        c := usher.conversion_doubt(c, usher.said_heard(h.said));
    end loop;
end
$$;

comment on function usher.conversion_refold(usher.conversion,
    usher.conversion_said) is
    'The conversion by all words of its history, each from the moment at '
    'which it was said first, of which this is one';


create function usher.conversion_doubt(inout c usher.conversion,
    s usher.conversion_said)
language plpgsql stable
as $$
declare
    n  usher.conversion;
begin
    -- Who has a time or an id would have sent another; and no network takes
    -- back a decision by a pending.
    if s.status_time <> '' or s.event_id <> ''
       or coalesce(s.state, 'pending') = 'pending'
    then
        return;
    end if;

    n := usher.conversion_amounts(usher.conversion_state(c, s), s);

    if (n.state, n.amount, n.sale_amount, n.currency)
       is distinct from (c.state, c.amount, c.sale_amount, c.currency)
    then
        c.state_problem := left(format('status="%s" was told before, and again '
            'after something else: a report says which holds', s.status),
                                200);
        c.state_problem_at := s.at;
    end if;
end
$$;

comment on function usher.conversion_doubt(usher.conversion,
    usher.conversion_said) is
    'A problem, if what was told again would change what was told since';


-- Words that were told before are told again: because the answer was lost, by
-- hand, from a log; or since it is so again, and the network says neither when
-- nor which message it is.  Nobody can tell these apart, so what was told in
-- between stays true, however often and however late; but where it would be
-- another now, the conversion has a problem, until something new is told.
-- conversion_import has the last word.
--
-- But slots come in any order, and so may a repeat before the word that it
-- repeats: a word counts from when it was said first, whichever comes first.

create function usher.conversion_retold(s usher.conversion_said,
    told_at timestamptz)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    whose   text := usher.conversion_scope(s.network_id, s.program_id);
    digest  text := split_part(s.key, ':', 3);
    known   record;
    c       usher.conversion;
    n       usher.conversion;
begin
    select u.occurred_at, min((h.said #>> '{means,at}')::timestamptz) as at
    into known
    from usher.conversion u
    join usher.conversion_change h on h.conversion_id = u.id
    where u.scope = whose and u.transaction_id = s.transaction_id
          and h.key ~ '^(event|earlier):'
          and split_part(h.key, ':', 3) = digest
    group by u.id;

    if not found then
        return false;
    end if;

    if s.at < known.at or s.occurred_at < known.occurred_at then
        s.key := 'earlier:' || split_part(s.key, ':', 2) || ':' || digest
                 || ':' || extract(epoch from s.occurred_at);
        perform usher.conversion_take(s);
        return true;
    end if;

    -- a browser is not believed
    if s.origin = 'pixel' then
        return true;
    end if;

    perform usher.conversion_shared(whose);

    select u.* into c
    from usher.conversion u
    where u.scope = whose and u.transaction_id = s.transaction_id
    for update;

    s.at := least(told_at, clock_timestamp() + interval '5 minutes');
    s.key := 'again:' || split_part(s.key, ':', 2) || ':' || digest || ':'
             || extract(epoch from told_at);
    n := usher.conversion_doubt(c, s);

    if n is distinct from c
       and not exists (select
                       from usher.conversion_change h where h.key = s.key)
    then
        perform usher.conversion_put(c, n, s.key, s.origin, s.at,
                                     usher.said_json(s), false);
    end if;

    return true;
end
$$;

comment on function usher.conversion_retold(usher.conversion_said,
    timestamptz) is
    'Whether these words are known of the transaction: if this was before, '
    'they count from then; they are a problem, if they would change what was '
    'told since';


create function usher.react_again(reference jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    moment  timestamptz := reference->>'at';
    p       usher.postback_setup;
    e       usher.conversion_event;
    h       usher.conversion_change;
    s       usher.conversion_said;
begin
    select u.* into p
    from usher.postback_setup u
    where u.id = (reference->>'postback_id')::bigint;

    -- If its event was not taken yet there is nothing to hold it against.
    select x.* into h
    from usher.conversion c
    join usher.conversion_change x on x.conversion_id = c.id
    where c.scope = usher.conversion_scope(p.network_id, p.program_id)
          and c.transaction_id = reference->>'transaction_id'
          and split_part(x.key, ':', 3) = reference->>'digest'
    order by x.id
    limit 1;

    if h.id is null then
        select v.* into e
        from usher.conversion_key k
        join usher.conversion_event v
             on v.received_at = k.received_at
                and v.postback_id = k.postback_id
                and v.transaction_id = k.transaction_id
                and v.digest = k.digest
        where k.postback_id = (reference->>'postback_id')::bigint
              and k.transaction_id = reference->>'transaction_id'
              and k.digest = decode(reference->>'digest', 'hex');

        if e.digest is not null
           and p.statuses->>lower(e.status collate "C")
               is distinct from 'ignored'
        then
            raise exception 'what it repeats was not taken yet';
        end if;

        return;
    end if;

    s := usher.said_heard(h.said);
    s.at := usher.said_moment(s.status_time, moment, clock_timestamp());
    s.occurred_at := moment;
    s.key := 'event:' || p.id || ':' || (reference->>'digest');
    s.origin := h.origin;
    s.org_id := p.org_id;
    s.network_id := p.network_id;
    s.program_id := p.program_id;
    s.transaction_id := reference->>'transaction_id';
    s.state := p.statuses->>lower(s.status collate "C");
    s.default_currency := p.currency;

    perform usher.conversion_retold(s, moment);
end
$$;

comment on function usher.react_again(jsonb) is
    'Handler: what was said of a conversion is said again';


create function usher.react_binding(reference jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    c  usher.conversion;
    n  usher.conversion;
begin
    perform usher.conversion_shared(u.scope)
    from usher.conversion u
    where u.id = (reference->>'conversion')::bigint;

    select u.* into c
    from usher.conversion u
    where u.id = (reference->>'conversion')::bigint and u.link_id is null
    for update;

    n := usher.conversion_attribute(c, c.unattributed, null, null, 'pixel');

    if n.link_id is not null then
        perform usher.conversion_put(c, n, 'bind:' || c.id, 'react',
            clock_timestamp(), '{}', false);
    end if;
end
$$;

comment on function usher.react_binding(jsonb) is
    'Handler: a click of its customer was presented after a conversion';
