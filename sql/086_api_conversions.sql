-- 086_api_conversions.sql - nouns conversion and coupon.
--
-- A conversion is named by its transaction and whose that is: a network, or a
-- program of our own.

create function usher.conversion_shown(c usher.conversion)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', c.id, 'org', o.name, 'network', n.name, 'program', p.name,
        'transaction', c.transaction_id, 'state', c.state,
        'confirmed', c.confirmed, 'occurred', c.occurred_at,
        'amount', usher.money_text(c.amount, c.currency),
        'sale', usher.money_text(c.sale_amount, c.currency),
        'currency', c.currency,
        'problem', nullif(concat_ws('; ', c.state_problem,
                                    c.amount_problem), ''),
        'link', l.host || '/' || l.slug, 'via', c.via, 'click', c.click_id,
        'partner', r.name, 'unattributed', u.word, 'coupon', c.coupon,
        'subscription', nullif(c.subscription, ''),
        'origin', c.origin, 'changed', c.changed_at)
    from usher.org o
    left join usher.network n on n.id = c.network_id
    left join usher.program p on p.id = c.program_id
    left join usher.partner r on r.id = c.partner_id
    left join usher.link l on l.id = c.link_id
    left join usher.unattributed u on u.reason = c.unattributed
    where o.id = c.org_id
$$;

comment on function usher.conversion_shown(usher.conversion) is
    'A conversion as the catalogue shows it: nothing of the customer';


create type usher.conversion_source as (
    org_id      bigint,
    network_id  bigint,
    program_id  bigint,
    statuses    jsonb,
    parameters  jsonb,
    currency    text
);

comment on type usher.conversion_source is
    'Whose transactions: a network, or a program of our own; and how it '
    'writes';


create function usher.conversion_source_for(function text, org text,
    network text, program text)
returns usher.conversion_source
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    n  usher.network;
    p  usher.program;
    s  usher.network_preset;
begin
    if num_nonnulls(network, program) <> 1 then
        perform usher.org_for(function, org);
        perform usher.fail('400', 'network= or program= is needed, not both',
            'Say whose transactions: those of a network, or of a program of '
            'side own.');
    end if;

    if network is not null then
        n := usher.network_for(function, org, network);
    else
        p := usher.program_for(function, org, program);

        if p.side <> 'own' then
            perform usher.fail('400',
                format('program "%s" is a network''s', program),
                'Give network=: its transactions are the network''s.');
        end if;
    end if;

    select * into s
    from usher.network_preset x
    where x.name = coalesce(n.preset, 'generic');

    return row(coalesce(n.org_id, p.org_id), n.id, p.id,
               case when s.statuses = '{}'
                    then (select g.statuses from usher.network_preset g
                          where g.name = 'generic')
                    else s.statuses end,
               s.parameters,
               coalesce(s.currency,
                        usher.conversion_currency(n.id, p.id)))
           ::usher.conversion_source;
end
$$;

comment on function usher.conversion_source_for(text, text, text, text) is
    'The network or program of these names, if the actor may call the '
    'function for its org';


create function api.conversion_list(org text default null,
    network text default null, program text default null,
    state text default null, problem boolean default false,
    unattributed boolean default false, "from" timestamptz default null,
    "to" timestamptz default null, "limit" integer default 100)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted   bigint := (usher.whose('conversion_list', org, null)).org_id;
    of_net   bigint;
    of_prog  bigint;
begin
    if network is not null then
        of_net := (usher.network_for('conversion_list', org,
                                         network)).id;
    end if;

    if program is not null then
        of_prog := (usher.program_for('conversion_list', org,
                                         program)).id;
    end if;

    if state is not null then
        perform usher.text_ok('state', state,
            '^(pending|approved|rejected|reversed)$',
            'state is pending, approved, rejected or reversed.');
    end if;

    return (select coalesce(jsonb_agg(usher.conversion_shown(l)
                                      order by l.id desc), '[]')
            from (select c.*
                  from usher.conversion c
                  where (wanted is null or c.org_id = wanted)
                        and (network is null
                             or c.network_id = of_net)
                        and (program is null
                             or c.program_id = of_prog)
                        and (conversion_list.state is null
                             or c.state = conversion_list.state)
                        and (not problem or c.state_problem is not null
                             or c.amount_problem is not null)
                        and (not conversion_list.unattributed
                             or c.link_id is null)
                        and ("from" is null or c.occurred_at >= "from")
                        and ("to" is null or c.occurred_at < "to")
                  order by c.id desc
                  limit usher.page("limit")) l);
end
$$;

comment on function api.conversion_list(text, text, text, text, boolean,
    boolean, timestamptz, timestamptz, integer) is
'Lists conversions, the newest first.  problem says what could not be read of
the last message, unattributed why there is no link.
org: name of the org
network: only what this network reports
program: only of this program
state: only pending, approved, rejected or reversed
problem: true: only those with something that cannot be read
unattributed: true: only those without a link
from: only of this moment and later
to: only of before this moment
limit: at most so many';


create function api.conversion_show(org text, transaction text,
    network text default null, program text default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    s  usher.conversion_source := usher.conversion_source_for(
                                      'conversion_show', org, network,
                                      program);
    c  usher.conversion;
begin
    select u.* into c
    from usher.conversion u
    where u.transaction_id = conversion_show.transaction
          and u.scope = usher.conversion_scope(s.network_id, s.program_id);

    if c.id is null then
        perform usher.fail('404',
            format('there is no transaction "%s"', left(transaction, 60)),
            'conversion_list shows all.');
    end if;

    return usher.conversion_shown(c) || jsonb_build_object('history',
        (select jsonb_agg(jsonb_build_object(
                    'at', h.at, 'origin', h.origin, 'effect', h.effect,
                    'said', h.said - '{customer,means}'::text[],
                    'became', h.became - 'customer')
                order by h.id)
         from usher.conversion_change h
         where h.conversion_id = c.id));
end
$$;

comment on function api.conversion_show(text, text, text, text) is
'Shows a conversion, and all that was told of it in the order in which it was
handled.
org: name of the org
transaction: what the network, or the shop, calls it
network: the network that reports it
program: or the program of our own';


-- Who asks to be forgotten.  What he bought, and what was earned by it, is not
-- his but the books'; that it was he is taken out wherever it stands, of
-- queries the whole, for nobody knows what else of him is in them.

create function api.conversion_forget(org text, customer text,
    network text default null, program text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o            usher.org := usher.org_for('conversion_forget', org);
    of_net       bigint;
    of_own       bigint;
    whose        text[];
    events       bigint;
    history      bigint;
    conversions  bigint;
    clicks       bigint;
    told         jsonb;
begin
    -- The message does not repeat whom.
    if customer is null or char_length(customer) not between 1 and 128 then
        perform usher.fail('400', 'customer= cannot be',
            'Give what the shop calls the customer: 1 to 128 characters.');
    end if;

    if network is not null then
        of_net := (usher.network_for('conversion_forget', org, network)).id;
    end if;

    if program is not null then
        of_own := (usher.program_for('conversion_forget', org, program)).id;
    end if;

    select array_agg(s.scope order by s.scope) into whose
    from (select usher.conversion_scope(n.id, null)
          from usher.network n
          where n.org_id = o.id
                and case when of_net is null then of_own is null
                         else n.id = of_net end
          union all
          select usher.conversion_scope(null, p.id)
          from usher.program p
          where p.org_id = o.id and p.side = 'own'
                and case when of_own is null then of_net is null
                         else p.id = of_own end) s (scope);

    -- Who is at it has read him already; who comes meanwhile comes again.
    perform pg_advisory_xact_lock(hashtextextended(w, 0))
    from unnest(whose) w;

    update usher.conversion_event e
    set customer = '', query = ''
    where e.org_id = o.id and e.customer = conversion_forget.customer
          and e.postback_id in (
              select p.id from usher.postback p
              where usher.conversion_scope(p.network_id, p.program_id)
                    = any (whose));
    get diagnostics events = row_count;

    update usher.conversion_change h
    set (said, was, became)
        = (select f.said, f.was, f.became from usher.change_forgotten(h) f)
    where h.org_id = o.id
          and customer in (h.said->>'customer', h.was->>'customer',
                           h.became->>'customer')
          and exists (select from usher.conversion c
                      where c.id = h.conversion_id and c.scope = any (whose));
    get diagnostics history = row_count;

    update usher.conversion c
    set customer = ''
    where c.scope = any (whose) and c.customer = conversion_forget.customer;
    get diagnostics conversions = row_count;

    delete from usher.customer_click k
    where k.scope = any (whose) and k.customer = conversion_forget.customer;
    get diagnostics clicks = row_count;

    told := jsonb_build_object('conversions', conversions, 'events', events,
                               'history', history, 'clicks', clicks);

    perform usher.note('conversion_forget', o.id,
        jsonb_build_object('org', org, 'network', network,
                           'program', program) || told);

    return told;
end
$$;

comment on function api.conversion_forget(text, text, text, text) is
'Forgets a customer: no conversion, event, history or click says any more whose
it was.  Money, and which link it came of, stay; a later renewal is not known as
his.  It reads the whole history; once more does no harm.
org: name of the org
customer: what the shop calls the customer, exactly
network: only at this network
program: only at this program of our own';


-- Reports.  Columns are named as the preset names them, or as we do.

create function usher.conversion_lines(csv text, s usher.conversion_source,
    moment timestamptz)
returns setof usher.conversion_said
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    r       record;
    n       text;
    theirs  text;
    cell    jsonb;
    l       usher.conversion_said;
begin
    -- What is taken back by a line of its own is said by that one.
    for r in
        with f as materialized (
            select c.line, c.cells,
                   coalesce(c.cells->>'transaction_id', c.cells->>lower(
                       (s.parameters->>'transaction_id') collate "C"))
                   as transaction,
                   case when s.statuses->>lower(coalesce(c.cells->>'status',
                                 c.cells->>lower((s.parameters->>'status')
                                                 collate "C")) collate "C")
                             in ('rejected', 'reversed')
                        then nullif(coalesce(c.cells->>'parent_id',
                                 c.cells->>lower((s.parameters->>'parent_id')
                                                 collate "C")), '') end
                   as parent
            from usher.csv_rows(csv, '{}', null) c)
        select f.line, f.cells, f.parent
        from f
        where f.parent is not null
              or not exists (select from f p where p.parent = f.transaction)
        order by f.line
    loop
        -- Our names, and under them what the preset calls so.
        cell := '{}';

        foreach n in array array['transaction_id', 'status', 'amount',
            'sale_amount', 'currency', 'click_id', 'customer', 'coupon',
            'subscription', 'time']
        loop
            theirs := lower((s.parameters->>n) collate "C");

            if not r.cells ? n and r.cells ? theirs then
                cell := cell || jsonb_build_object(n, r.cells->>theirs);
            else
                cell := cell || jsonb_build_object(n, r.cells->>n);
            end if;
        end loop;

        if r.parent is not null then
            cell := cell || jsonb_build_object('transaction_id', r.parent);
        end if;

        l := usher.conversion_line(r.line, cell, s, moment);

        continue when l.state = 'ignored';
        return next l;
    end loop;
end
$$;

comment on function usher.conversion_lines(text, usher.conversion_source,
    timestamptz) is
    'What a report tells, line by line; raises at the first that is bad';


create function usher.conversion_line(line integer, cell jsonb,
    s usher.conversion_source, moment timestamptz)
returns usher.conversion_said
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    l      usher.conversion_said;
    name   text;
    wrong  text;
begin
    l.origin := 'import';
    l.at := moment;
    l.org_id := s.org_id;
    l.network_id := s.network_id;
    l.program_id := s.program_id;
    l.default_currency := s.currency;
    l.transaction_id := cell->>'transaction_id';
    l.status := coalesce(cell->>'status', '');
    l.state := s.statuses->>lower(l.status collate "C");
    l.amount := coalesce(cell->>'amount', '');
    l.sale_amount := coalesce(cell->>'sale_amount', '');
    l.currency := upper(coalesce(cell->>'currency', '') collate "C");
    l.customer := left(coalesce(cell->>'customer', ''), 128);
    l.coupon := left(coalesce(cell->>'coupon', ''), 64);
    l.click_id := lower(coalesce(cell->>'click_id', '') collate "C");
    l.status_time := '';
    l.event_id := '';
    l.subscription := usher.subscription_id(l.network_id,
                          left(coalesce(cell->>'subscription', ''), 128));

    if l.transaction_id is null or char_length(l.transaction_id) > 128 then
        perform usher.csv_fail(line, 'transaction_id', l.transaction_id,
            format('Each line names its transaction, as "transaction_id"%s.',
                   coalesce(' or "' || (s.parameters->>'transaction_id')
                            || '"', '')));
    end if;

    if l.state is null then
        perform usher.csv_fail(line, 'status', nullif(l.status, ''),
            'A status is one of: ' || coalesce(
                (select string_agg(k, ', ' order by k)
                 from jsonb_object_keys(s.statuses) k where k <> ''), '')
            || '.');
    end if;

    l.occurred_at := usher.csv_moment(line, 'time', cell->>'time');

    if l.state in ('pending', 'approved') then
        foreach name in array array['amount', 'sale_amount'] loop
            wrong := (usher.conversion_money(name,
                          case name when 'amount' then l.amount
                                    else l.sale_amount end,
                          coalesce(nullif(l.currency, ''),
                                   l.default_currency))).problem;

            if wrong is not null then
                perform usher.csv_fail(line, name, cell->>name,
                    format('In this report %s.', wrong));
            end if;
        end loop;
    end if;

    -- A file proves nothing: its click must be one that we stored.
    if l.click_id = '' then
        l.click_reason := 1;

    elsif (usher.click_read(l.click_id)).link_id is null then
        l.click_reason := 2;

    elsif not usher.click_stored(l.click_id) then
        l.click_reason := 10;
    end if;

    return l;
end
$$;

comment on function usher.conversion_line(integer, jsonb,
    usher.conversion_source, timestamptz) is
    'What a line of a report tells';


create function usher.csv_moment(line integer, "column" text, value text)
returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
    if value !~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}'
                 '([ T][0-9:.]{5,15}(Z|[+-][0-9:]{2,6})?)?$')
    then
        raise datetime_field_overflow;
    end if;

    return value::timestamptz;

exception
    when data_exception then
        perform usher.csv_fail(line, "column", value,
            'A moment is like 2026-11-28 12:34:56, in UTC, or has its '
            'offset.');
end
$$;

comment on function usher.csv_moment(integer, text, text) is
    'The moment that a cell names';


create function usher.click_stored(click_id text)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select
        from usher.click_read(click_stored.click_id) r
        join usher.click k
             on k.click_id = click_stored.click_id and k.click_id <> ''
                and k.received_at >= r.clicked_at - interval '1 day'
                and k.received_at < r.clicked_at + interval '8 days')
$$;

comment on function usher.click_stored(text) is
    'Whether the click of this id is a row, stored within some days of it';


create function usher.conversion_agrees(c usher.conversion,
    s usher.conversion_said)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    n  usher.conversion := usher.conversion_hear(c, s);
begin
    if not c.confirmed
       or usher.conversion_json(n) <> usher.conversion_json(c)
    then
        return false;
    end if;

    -- It was told anew: what is older undoes it no more than before.
    update usher.conversion u
    set state_at = n.state_at, amount_told = n.amount_told,
        sale_told = n.sale_told, agreed = usher.said_json(s) - 'customer'
    where u.id = c.id;

    return true;
end
$$;

comment on function usher.conversion_agrees(usher.conversion,
    usher.conversion_said) is
    'Whether nothing changes by what is told, but for when it was told';


create function usher.conversion_report(lines usher.conversion_said[],
    out matched bigint, out missing text[], out changed text[])
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    l  usher.conversion_said;
    c  usher.conversion;
begin
    matched := 0;
    missing := '{}';
    changed := '{}';

    foreach l in array lines loop
        select u.* into c
        from usher.conversion u
        where u.scope = usher.conversion_scope(l.network_id, l.program_id)
              and u.transaction_id = l.transaction_id
        for update;

        -- The report is the truth: newer than whatever was told before.
        l.at := greatest(l.at, c.state_at, (c.amount_told).at,
                         (c.amount_told).wrong_at, (c.sale_told).at,
                         (c.sale_told).wrong_at, c.state_problem_at)
                + interval '1 microsecond';

        if c.id is not null and usher.conversion_agrees(c, l) then
            matched := matched + 1;
            continue;
        end if;

        l.key := 'import:' || gen_random_uuid();

        if usher.conversion_take(l) = 'new' then
            missing := missing || l.transaction_id;
        else
            changed := changed || l.transaction_id;
        end if;
    end loop;
end
$$;

comment on function usher.conversion_report(usher.conversion_said[]) is
    'Takes the lines of a report, and tells what they were';


create function api.conversion_import(org text, csv text,
    network text default null, program text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    s      usher.conversion_source := usher.conversion_source_for(
                                          'conversion_import', org, network,
                                          program);
    lines  usher.conversion_said[];
    twice  text;
    r      record;
    told   jsonb;
begin
    -- One import of an org at a time.
    perform from usher.org o where o.id = s.org_id for no key update;

    -- See usher.conversion_shared().
    perform pg_advisory_xact_lock(hashtextextended(
        usher.conversion_scope(s.network_id, s.program_id), 0));

    lines := array(select f
                   from usher.conversion_lines(csv, s, clock_timestamp()) f
                   order by f.transaction_id);

    select f.transaction_id into twice
    from unnest(lines) f
    group by 1 having count(*) > 1
    order by 1 limit 1;

    if twice is not null then
        perform usher.fail('400',
            format('csv= has transaction "%s" twice', left(twice, 60)),
            'A report tells each transaction once; add up those that are '
            'split, or import them in two files.');
    end if;

    select * into r from usher.conversion_report(lines);

    told := jsonb_build_object('matched', r.matched,
        'missing', cardinality(r.missing),
        'changed', cardinality(r.changed));

    perform usher.note('conversion_import', s.org_id,
        jsonb_build_object('org', org, 'network', network,
                           'program', program) || told);

    return told || jsonb_build_object('missing_ids', r.missing[1:100],
                                      'changed_ids', r.changed[1:100]);
end
$$;

comment on function api.conversion_import(text, text, text, text) is
'Imports the report of a network, or of our own shop: it is the truth.  matched
are transactions that were known so already, missing those that were not here
and are now, changed those of which something else was known; of these two the
first 100 are named.  Columns are named as the network''s preset names them, or
transaction_id, status, amount, sale_amount, currency, click_id, customer,
coupon, subscription, time, parent_id (the transaction that this one takes
back); others do not count.  If a line is bad nothing is imported.
org: name of the org
csv: the file: csv=@report.csv
network: the network that reports
program: or the program of our own';


-- Coupons.

create function api.coupon_add(org text, program text, code text, host text,
    slug text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    p        usher.program := usher.program_for('coupon_add', org, program);
    l        usher.link;
    capital  text := upper(code collate "C");
begin
    perform usher.enabled_ok(p);
    perform usher.text_ok('code', capital,
        '^[^[:cntrl:][:space:]]{1,64}$',
        'A code is 1 to 64 characters without blanks; capitals do not '
        'matter.');

    if p.side <> 'own' then
        perform usher.fail('400', format('program "%s" is a network''s',
            program), 'Coupons are of programs of our own.');
    end if;

    l := usher.link_for('coupon_add', host, slug);

    if l.program_id is distinct from p.id then
        perform usher.fail('400', 'the link is not of that program',
            'link_show says of which it is.');
    end if;

    insert into usher.coupon (program_id, code, link_id)
    values (p.id, capital, l.id);

    perform usher.note('coupon_add', p.org_id,
        jsonb_build_object('org', org, 'program', program,
            'code', capital, 'host', l.host, 'slug', l.slug));

    return jsonb_build_object('code', capital,
                              'link', l.host || '/' || l.slug);

exception
    when unique_violation then
        perform usher.fail('409', format('code "%s" is there already',
            left(capital, 60)), 'coupon_list shows all.');
end
$$;

comment on function api.coupon_add(text, text, text, text, text) is
'Has a code stand for a link: a conversion that names it and no click comes of
that link.
org: name of the org
program: the program, of side own
code: the code; capitals of A to Z do not matter
host: host of the link
slug: slug of the link';


create function api.coupon_list(org text, program text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
                        'code', k.code, 'link', l.host || '/' || l.slug,
                        'partner', r.name, 'created', k.created_at)
                    order by k.code), '[]')
    from usher.program_for('coupon_list', org, program) p
    join usher.coupon k on k.program_id = p.id
    join usher.link l on l.id = k.link_id
    left join usher.partner r on r.id = l.partner_id
$$;

comment on function api.coupon_list(text, text) is
'Lists the codes of a program, and what links they stand for.
org: name of the org
program: the program';


create function api.coupon_drop(org text, program text, code text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    p        usher.program := usher.program_for('coupon_drop', org, program);
    capital  text := upper(code collate "C");
begin
    delete from usher.coupon k
    where k.program_id = p.id and k.code = capital;

    if not found then
        perform usher.fail('404', format('program "%s" has no code "%s"',
            program, left(capital, 60)), 'coupon_list shows all.');
    end if;

    perform usher.note('coupon_drop', p.org_id,
        jsonb_build_object('org', org, 'program', program,
                           'code', capital));

    return jsonb_build_object('code', capital, 'dropped', true);
end
$$;

comment on function api.coupon_drop(text, text, text) is
'Drops a code.  What was attributed by it stays so.
org: name of the org
program: the program
code: the code';


insert into usher.right (function, role)
select f, r
from (values
    ('conversion_list', array['owner', 'admin', 'analyst']),
    ('conversion_show', array['owner', 'admin', 'analyst']),
    ('conversion_forget', array['owner', 'admin']),
    ('conversion_import', array['owner', 'admin']),
    ('coupon_add', array['owner', 'admin']),
    ('coupon_list', array['owner', 'admin', 'analyst']),
    ('coupon_drop', array['owner', 'admin'])) v (f, roles),
    unnest(v.roles) r;
