-- 085_api_programs.sql - nouns program, product.
--
-- Side, network and currency of a program stay as they were made: what was
-- earned or paid is of that side, in that currency.

create function usher.hosts(hosts text)
returns text[]
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    list  text[];
begin
    select coalesce(array_agg(h order by h), '{}') into list
    from (select distinct lower(w collate "C") as h
          from regexp_split_to_table(hosts, '[\s,]+') w
          where w <> '') d;

    if not usher.hosts_ok(list) then
        perform usher.fail('400',
            format('hosts="%s" cannot be', left(hosts, 60)),
            'Hosts are separated by spaces or commas, each as '
            'www.example.com, or *.example.com for all below it: no '
            'scheme, port, path or address, and together at most 1024 '
            'bytes.');
    end if;

    return list;
end
$$;

comment on function usher.hosts(text) is
    'Hosts from "www.example.com *.example.com"';


create function usher.terms_ok(terms text)
returns void
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select usher.text_ok('terms', terms, '^.{0,200}$',
        'Terms are a version or an address of at most 200 characters.')
$$;

comment on function usher.terms_ok(text) is
    'Raises unless it can name terms';


-- Programs.

create function usher.program_for(function text, org text, program text)
returns usher.program
language sql
set search_path = pg_catalog, pg_temp
as $$
    select usher.thing_for(null::usher.program, function, 'org', org,
                           (usher.org_for(function, org)).id,
                           program)
$$;

comment on function usher.program_for(text, text, text) is
    'The program of this name, if the actor may call the function for its org';


create function usher.program_json(p usher.program)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', p.id, 'org', o.name, 'name', p.name, 'title', p.title,
        'side', p.side, 'network', n.name,
        'state', case when p.disabled_at is null then 'enabled'
                      else 'disabled' end,
        'currency', p.currency, 'hosts', array_to_string(p.hosts, ' '),
        'mode', p.mode, 'attribution', p.attribution,
        'window', p.window_days, 'hold', p.hold_days, 'terms', p.terms,
        'products', (select count(*) from usher.product d
                     where d.program_id = p.id),
        'partners', (select count(*) from usher.program_partner j
                     where j.program_id = p.id),
        'created', p.created_at)
    from usher.org o
    left join usher.network n on n.id = p.network_id
    where o.id = p.org_id
$$;

comment on function usher.program_json(usher.program) is
    'A program as the catalogue shows it';


-- A network approves weeks after the click: what there is must not end.

create function usher.enabled_ok(p usher.program)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p.disabled_at is not null then
        perform usher.fail('409', format('program "%s" is disabled', p.name),
            'What there is of it goes on; before anything new is made of it: '
            'program_enable.');
    end if;
end
$$;

comment on function usher.enabled_ok(usher.program) is
    'Raises if nothing new may be made of a program';


create function usher.tracked_ok(p usher.program)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    s  usher.network_setup;
    n  text;
begin
    -- What is ours takes our own ids.
    if p.network_id is null then
        return;
    end if;

    select v.* into s from usher.network_setup v where v.id = p.network_id;

    if s.trackable then
        return;
    end if;

    select w.name into n from usher.network w where w.id = s.id;

    perform usher.fail('409',
        format('a link of program "%s" cannot be tracked', p.name),
        case when cardinality(s.sub_ids) > 0 and s.sub_id_length > 0
             then format('A click id is 32 of a-z and 2-7, but the sub-id %s '
                         'of network "%s" takes at most %s of %s',
                         s.sub_ids[1], n, s.sub_id_length, s.sub_id_pattern)
             else format('Network "%s" has no sub-id that takes a click id',
                         n) end
        || '; network_update says otherwise if it does.');
end
$$;

comment on function usher.tracked_ok(usher.program) is
    'Raises unless the links of a program can carry click ids';


create function usher.deep_ok(p usher.program)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    name  text;
begin
    select n.name into name
    from usher.network_setup s
    join usher.network n on n.id = s.id
    where s.id = p.network_id and not s.deep;

    if name is not null then
        perform usher.fail('400',
            format('hosts="%s" cannot be',
                   left(array_to_string(p.hosts, ' '), 60)),
            format('Network "%s" counts only who comes by its own links, and '
                   'no parameter of them takes a page: leave hosts empty. '
                   'network_update says otherwise, by deep_link.', name));
    end if;
end
$$;

comment on function usher.deep_ok(usher.program) is
    'Raises unless a click of such a program can be led to a page and count';


create function usher.program_ok(p usher.program, hosts text)
returns usher.program
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.title_ok(p.title);
    perform usher.text_ok('mode', p.mode, '^(redirect|plain)$',
        'mode is redirect or plain (nothing is hidden).');
    perform usher.text_ok('attribution', p.attribution, '^(first|last)$',
        'attribution is first or last: the click that gets the conversion.');
    perform usher.number_ok('window', p.window_days, 1, 366);
    perform usher.number_ok('hold', p.hold_days, 0, 366);
    perform usher.terms_ok(p.terms);

    if p.plain and p.mode <> 'plain' then
        perform usher.fail('400', format('mode=%s cannot be', p.mode),
            'Its network forbids to cloak links: mode is plain.');
    end if;

    if p.side = 'network' and p.hold_days > 0 then
        perform usher.fail('400', format('hold=%s cannot be', p.hold_days),
            'A program of side network pays nobody, so it holds nothing.');
    end if;

    p.hosts := coalesce(usher.hosts(hosts), p.hosts);

    if hosts is not null and p.hosts <> '{}' then
        perform usher.deep_ok(p);
    end if;

    return p;
end
$$;

comment on function usher.program_ok(usher.program, text) is
    'Raises, naming the argument, unless there can be such a program; with '
    'these hosts if there are any';


create function api.program_create(org text, name text, side text,
    currency text, network text default null, title text default '',
    hosts text default '', mode text default null,
    attribution text default 'last', "window" integer default 30,
    hold integer default 0, terms text default '')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('program_create', org);
    n  usher.network;
    p  usher.program;
begin
    perform usher.name_ok(name);
    perform usher.text_ok('side', side, '^(network|own)$',
        'side is network (a network reports what we earn) or own (we pay '
        'partners).');
    perform usher.exponent(currency);

    if side = 'network' and coalesce(network, '') = '' then
        perform usher.fail('400', 'a program of side network needs network=',
            'Name the network that reports it; network_list shows all.');
    end if;

    if side = 'own' and network <> '' then
        perform usher.fail('400',
            format('network="%s" cannot be', left(network, 60)),
            'A program of side own is ours: no network reports it.');
    end if;

    if side = 'network' then
        n := usher.network_for('program_create', org, network);
    end if;

    p.title := title;
    p.side := side;
    p.network_id := n.id;
    p.plain := coalesce(n.plain, false);
    p.mode := coalesce(mode, case when p.plain then 'plain'
                                  else 'redirect' end);
    p.attribution := attribution;
    p.window_days := coalesce("window", 30);
    p.hold_days := coalesce(hold, 0);
    p.terms := terms;

    p := usher.program_ok(p, coalesce(hosts, ''));

    insert into usher.program as i
        (org_id, name, title, side, network_id, plain, currency, hosts, mode,
         attribution, window_days, hold_days, terms)
    values (o.id, program_create.name, p.title, p.side, p.network_id, p.plain,
            program_create.currency, p.hosts, p.mode, p.attribution,
            p.window_days, p.hold_days, p.terms)
    returning i.* into p;

    perform usher.note('program_create', o.id,
        jsonb_build_object('org', org, 'name', name, 'side', side,
            'network', network, 'currency', currency, 'title', title,
            'hosts', hosts, 'mode', p.mode, 'attribution', attribution,
            'window', p.window_days, 'hold', p.hold_days, 'terms', terms));

    return usher.program_json(p);

exception
    when unique_violation then
        perform usher.fail('409',
            format('org "%s" has a program "%s"', org, name),
            'Choose another name, or see program_show.');
end
$$;

comment on function api.program_create(text, text, text, text, text, text,
    text, text, text, integer, integer, text) is
'Creates a program: somebody else''s, which a network reports (side network),
or ours, for which partners are paid (side own).  Its side, network and
currency stay.
org: name of the org
name: short name, 1 to 32 of a-z, 0-9 and -
side: network or own
currency: currency of its amounts, as in EUR
network: name of the network that reports it; of side network only
title: name for people
hosts: where deep links may lead, as in www.example.com,*.example.org
mode: redirect, or plain: nothing is hidden; by default as its network asks
attribution: which click of a customer gets a conversion: first or last
window: days after its click that a conversion may come, 1 to 366
hold: days that a commission waits for its payout, 0 to 366; of side own only
terms: which terms hold, a version or an address';


create function api.program_list(org text default null,
    side text default null, "limit" integer default 100,
    after bigint default 0)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o_id  bigint := usher.org_scope('program_list', org);
begin
    perform usher.text_ok('side', coalesce(side, 'own'), '^(network|own)$',
        'Sides are network and own.');

    return (select coalesce(jsonb_agg(usher.program_json(l) order by l.id),
                            '[]')
            from (select p.*
                  from usher.program p
                  where p.id > after and (o_id is null or p.org_id = o_id)
                        and (program_list.side is null
                             or p.side = program_list.side)
                  order by p.id
                  limit usher.page("limit")) l);
end
$$;

comment on function api.program_list(text, text, integer, bigint) is
'Lists programs.
org: name of the org; the operator may leave it out
side: only those of side network, or own
limit: at most so many
after: go on after this id';


create function api.program_show(org text, program text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.program_json(usher.program_for('program_show', org,
                                                program))
$$;

comment on function api.program_show(text, text) is
'Shows a program.
org: name of the org
program: name of the program';


create function api.program_update(org text, program text,
    title text default null, hosts text default null,
    mode text default null, attribution text default null,
    "window" integer default null, hold integer default null,
    terms text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.program := usher.program_for('program_update', org, program);
begin
    p.title := coalesce(title, p.title);
    p.mode := coalesce(mode, p.mode);
    p.attribution := coalesce(attribution, p.attribution);
    p.window_days := coalesce("window", p.window_days);
    p.hold_days := coalesce(hold, p.hold_days);
    p.terms := coalesce(terms, p.terms);

    p := usher.program_ok(p, hosts);

    update usher.program u
    set title = p.title, hosts = p.hosts, mode = p.mode,
        attribution = p.attribution, window_days = p.window_days,
        hold_days = p.hold_days, terms = p.terms
    where u.id = p.id;

    perform usher.note('program_update', p.org_id,
        jsonb_build_object('org', org, 'program', program, 'title', title,
            'hosts', hosts, 'mode', mode, 'attribution', attribution,
            'window', "window", 'hold', hold, 'terms', terms));

    return usher.program_json(p);
end
$$;

comment on function api.program_update(text, text, text, text, text, text,
    integer, integer, text) is
'Changes a program.  What is not given stays as it was.
org: name of the org
program: name of the program
title: name for people
hosts: where deep links may lead; empty: nowhere
mode: redirect, or plain: nothing is hidden
attribution: which click of a customer gets a conversion: first or last
window: days after its click that a conversion may come, 1 to 366
hold: days that a commission waits for its payout, 0 to 366; of side own only
terms: which terms hold, a version or an address';


create function api.program_disable(org text, program text,
    reason text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.program := usher.program_for('program_disable', org, program);
begin
    if reason <> '' then
        perform usher.reason_ok(reason);
    end if;

    update usher.program u set disabled_at = coalesce(u.disabled_at, now())
    where u.id = p.id
    returning u.* into p;

    perform usher.note('program_disable', p.org_id,
        jsonb_build_object('org', org, 'program', program,
                           'reason', reason));

    return usher.program_json(p);
end
$$;

comment on function api.program_disable(text, text, text) is
'Disables a program until program enable: nothing new is made of it, no link,
coupon, product, rule or postback, and no partner joins.  What there is goes on:
clicks are sent on, conversions taken, commissions booked and paid.
org: name of the org
program: name of the program
reason: why, for the audit row';


create function api.program_enable(org text, program text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.program := usher.program_for('program_enable', org, program);
begin
    update usher.program u set disabled_at = null
    where u.id = p.id
    returning u.* into p;

    perform usher.note('program_enable', p.org_id,
        jsonb_build_object('org', org, 'program', program));

    return usher.program_json(p);
end
$$;

comment on function api.program_enable(text, text) is
'Enables a disabled program.
org: name of the org
program: name of the program';


create function api.program_drop(org text, program text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.program := usher.program_for('program_drop', org, program);
begin
    delete from usher.program d where d.id = p.id;

    perform usher.note('program_drop', p.org_id,
        jsonb_build_object('org', org, 'program', program));

    return jsonb_build_object('name', program, 'dropped', true);

exception
    when foreign_key_violation then
        perform usher.fail('409', format('program "%s" is in use', program),
            'program_show tells by how much; program_disable ends one that '
            'was used.');
end
$$;

comment on function api.program_drop(text, text) is
'Drops a program.  One that has products, partners or anything else stays.
org: name of the org
program: name of the program';


-- Products.

create function usher.product_for(function text, org text, program text,
    product text)
returns usher.product
language sql
set search_path = pg_catalog, pg_temp
as $$
    select usher.thing_for(null::usher.product, function, 'program', program,
                           (usher.program_for(function, org, program)).id,
                           product)
$$;

comment on function usher.product_for(text, text, text, text) is
    'The product of this name, if the actor may call the function for its org';


create function usher.product_json(d usher.product)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', d.id, 'org', o.name, 'program', p.name, 'name', d.name,
        'title', d.title, 'sku', d.sku,
        'price', usher.money_text(d.price, d.currency),
        'currency', d.currency, 'created', d.created_at)
    from usher.org o, usher.program p
    where o.id = d.org_id and p.id = d.program_id
$$;

comment on function usher.product_json(usher.product) is
    'A product as the catalogue shows it';


create function usher.product_ok(d usher.product, price text)
returns usher.product
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.title_ok(d.title);

    if price is null and d.currency is not null then
        perform usher.fail('400', 'currency= without a price',
            'Give price= with it.');
    end if;

    perform usher.text_ok('sku', d.sku, '^[^[:cntrl:]]{0,100}$',
        'A SKU has at most 100 characters, and no control characters.');

    d.price := usher.amount_argument('price', price, d.currency);

    return d;
end
$$;

comment on function usher.product_ok(usher.product, text) is
    'Raises, naming the argument, unless there can be such a product; with '
    'this price, or none';


create function api.product_create(org text, program text, name text,
    title text default '', sku text default '', price text default null,
    currency text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p     usher.program := usher.program_for('product_create', org, program);
    cost  text := nullif(price, '');
    d     usher.product;
begin
    perform usher.enabled_ok(p);
    perform usher.name_ok(name);

    d.title := title;
    d.sku := sku;
    d.currency := case when cost is null then currency
                       else coalesce(currency, p.currency) end;

    d := usher.product_ok(d, cost);

    insert into usher.product as i
        (org_id, program_id, name, title, sku, price, currency)
    values (p.org_id, p.id, product_create.name, d.title, d.sku, d.price,
            d.currency)
    returning i.* into d;

    perform usher.note('product_create', p.org_id,
        jsonb_build_object('org', org, 'program', program, 'name', name,
            'title', title, 'sku', sku, 'price', price,
            'currency', d.currency));

    return usher.product_json(d);

exception
    when unique_violation then
        perform usher.fail('409',
            format('program "%s" has a product of this name or SKU', program),
            'Choose another name or SKU; product_list shows all.');
end
$$;

comment on function api.product_create(text, text, text, text, text, text,
    text) is
'Creates a product: something that a program sells.
org: name of the org
program: name of the program
name: short name, 1 to 32 of a-z, 0-9 and -
title: name for people
sku: what the shop or network calls it
price: as 19.99
currency: currency of the price, by default the program''s';


create function api.product_list(org text default null,
    program text default null, "limit" integer default 100,
    after bigint default 0)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o_id  bigint := usher.org_scope('product_list', org);
    p_id  bigint;
begin
    if program is not null then
        p_id := (usher.program_for('product_list', org, program)).id;
    end if;

    return (select coalesce(jsonb_agg(usher.product_json(l) order by l.id),
                            '[]')
            from (select d.*
                  from usher.product d
                  where d.id > after and (o_id is null or d.org_id = o_id)
                        and (p_id is null or d.program_id = p_id)
                  order by d.id
                  limit usher.page("limit")) l);
end
$$;

comment on function api.product_list(text, text, integer, bigint) is
'Lists products.
org: name of the org; the operator may leave it out
program: only those of this program
limit: at most so many
after: go on after this id';


create function api.product_show(org text, program text, product text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.product_json(usher.product_for('product_show', org, program,
                                                product))
$$;

comment on function api.product_show(text, text, text) is
'Shows a product.
org: name of the org
program: name of the program
product: name of the product';


create function api.product_update(org text, program text, product text,
    title text default null, sku text default null,
    price text default null, currency text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    d     usher.product := usher.product_for('product_update', org, program,
                                             product);
    cost  text := nullif(coalesce(price, usher.money_text(d.price,
                                                          d.currency)), '');
begin
    d.title := coalesce(title, d.title);
    d.sku := coalesce(sku, d.sku);
    d.currency := case when cost is null then currency
                       else coalesce(currency, d.currency,
                                     (select p.currency from usher.program p
                                      where p.id = d.program_id)) end;

    d := usher.product_ok(d, cost);

    update usher.product u
    set title = d.title, sku = d.sku, price = d.price, currency = d.currency
    where u.id = d.id;

    perform usher.note('product_update', d.org_id,
        jsonb_build_object('org', org, 'program', program,
            'product', product, 'title', title, 'sku', sku, 'price', price,
            'currency', currency));

    return usher.product_json(d);

exception
    when unique_violation then
        perform usher.fail('409',
            format('program "%s" has a product of this SKU', program),
            'Give another SKU; product_list shows all.');
end
$$;

comment on function api.product_update(text, text, text, text, text, text,
    text) is
'Changes a product.  What is not given stays as it was.
org: name of the org
program: name of the program
product: name of the product
title: name for people
sku: what the shop or network calls it; empty: not known
price: as 19.99; empty: not known
currency: currency of the price';


create function api.product_drop(org text, program text, product text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    d  usher.product := usher.product_for('product_drop', org, program,
                                          product);
begin
    delete from usher.product x where x.id = d.id;

    perform usher.note('product_drop', d.org_id,
        jsonb_build_object('org', org, 'program', program,
                           'product', product));

    return jsonb_build_object('program', program, 'name', product,
                              'dropped', true);

exception
    when foreign_key_violation then
        perform usher.fail('409', format('product "%s" is in use', product),
            'What was linked to or sold stays, as the record of it.');
end
$$;

comment on function api.product_drop(text, text, text) is
'Drops a product that nothing refers to.
org: name of the org
program: name of the program
product: name of the product';


insert into usher.right (function, role)
select f, r
from (values
    ('program_create', array['owner', 'admin']),
    ('program_list', array['owner', 'admin', 'analyst']),
    ('program_show', array['owner', 'admin', 'analyst']),
    ('program_update', array['owner', 'admin']),
    ('program_disable', array['owner', 'admin']),
    ('program_enable', array['owner', 'admin']),
    ('program_drop', array['owner', 'admin']),
    ('product_create', array['owner', 'admin']),
    ('product_list', array['owner', 'admin', 'analyst']),
    ('product_show', array['owner', 'admin', 'analyst']),
    ('product_update', array['owner', 'admin']),
    ('product_drop', array['owner', 'admin'])
) as v (f, roles), unnest(roles) r;
