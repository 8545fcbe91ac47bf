-- 085_api_partners.sql - nouns campaign, partner.
--
-- E-mail and tax number of a partner are personal: they are shown to whoever
-- may change partners, and to nobody else; audit rows, which are never
-- erased, say that they were given and not what they are.

-- Campaigns.

create function usher.campaign_for(function text, org text, campaign text)
returns usher.campaign
language sql
set search_path = pg_catalog, pg_temp
as $$
    select usher.thing_for(null::usher.campaign, function, 'org', org,
                           (usher.org_for(function, org)).id,
                           campaign)
$$;

comment on function usher.campaign_for(text, text, text) is
    'The campaign of this name, if the actor may call the function for its '
    'org';

create function usher.campaign_json(c usher.campaign)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', c.id, 'org', o.name, 'name', c.name, 'title', c.title,
        'state', case when c.starts_at > now() then 'coming'
                      when c.ends_at <= now() then 'ended'
                      else 'current' end,
        'starts', c.starts_at, 'ends', c.ends_at, 'created', c.created_at)
    from usher.org o
    where o.id = c.org_id
$$;

comment on function usher.campaign_json(usher.campaign) is
    'A campaign as the catalogue shows it';


create function usher.campaign_ok(c usher.campaign)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.title_ok(c.title);

    if not isfinite(c.starts_at) then
        perform usher.fail('400', format('starts=%s cannot be', c.starts_at),
            'Give a moment, as in 2026-11-20.');
    end if;

    if c.ends_at <= c.starts_at then
        perform usher.fail('400', format('ends=%s cannot be', c.ends_at),
            'A campaign ends after it starts, which is now where no starts= '
            'is given; infinity: it is open.');
    end if;
end
$$;

comment on function usher.campaign_ok(usher.campaign) is
    'Raises, naming the argument, unless there can be such a campaign';


create function api.campaign_create(org text, name text,
    title text default '', starts timestamptz default null,
    ends timestamptz default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('campaign_create', org);
    c  usher.campaign;
begin
    perform usher.name_ok(name);

    c.title := title;
    c.starts_at := coalesce(starts, now());
    c.ends_at := nullif(ends, 'infinity');

    perform usher.campaign_ok(c);

    insert into usher.campaign as i (org_id, name, title, starts_at, ends_at)
    values (o.id, campaign_create.name, c.title, c.starts_at, c.ends_at)
    returning i.* into c;

    perform usher.note('campaign_create', o.id,
        jsonb_build_object('org', org, 'name', name, 'title', title,
            'starts', c.starts_at, 'ends', c.ends_at));

    return usher.campaign_json(c);

exception
    when unique_violation then
        perform usher.fail('409',
            format('org "%s" has a campaign "%s"', org, name),
            'Choose another name, or see campaign_show.');
end
$$;

comment on function api.campaign_create(text, text, text, timestamptz,
    timestamptz) is
'Creates a campaign, which links, costs and conversions are summed up by.
org: name of the org
name: short name, 1 to 32 of a-z, 0-9 and -
title: name for people
starts: first moment, by default now
ends: first moment after it, by default open';


create function api.campaign_list(org text default null,
    state text default null, "limit" integer default 100,
    after bigint default 0)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o_id  bigint := usher.org_scope('campaign_list', org);
begin
    perform usher.text_ok('state', coalesce(state, 'current'),
        '^(coming|current|ended)$',
        'States are coming, current and ended.');

    return (select coalesce(jsonb_agg(l.shown order by l.id), '[]')
            from (select c.id, j.shown
                  from usher.campaign c, usher.campaign_json(c) as j (shown)
                  where c.id > after and (o_id is null or c.org_id = o_id)
                        and (state is null or j.shown->>'state' = state)
                  order by c.id
                  limit usher.page("limit")) l);
end
$$;

comment on function api.campaign_list(text, text, integer, bigint) is
'Lists campaigns.
org: name of the org; the operator may leave it out
state: only coming, current or ended ones
limit: at most so many
after: go on after this id';


create function api.campaign_show(org text, campaign text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.campaign_json(usher.campaign_for('campaign_show', org,
                                                  campaign))
$$;

comment on function api.campaign_show(text, text) is
'Shows a campaign.
org: name of the org
campaign: name of the campaign';


create function api.campaign_update(org text, campaign text,
    title text default null, starts timestamptz default null,
    ends timestamptz default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    c  usher.campaign := usher.campaign_for('campaign_update', org,
                                            campaign);
begin
    c.title := coalesce(title, c.title);
    c.starts_at := coalesce(starts, c.starts_at);
    c.ends_at := nullif(coalesce(ends, c.ends_at), 'infinity');

    perform usher.campaign_ok(c);

    update usher.campaign u
    set title = c.title, starts_at = c.starts_at, ends_at = c.ends_at
    where u.id = c.id;

    perform usher.note('campaign_update', c.org_id,
        jsonb_build_object('org', org, 'campaign', campaign, 'title', title,
                           'starts', starts, 'ends', ends));

    return usher.campaign_json(c);
end
$$;

comment on function api.campaign_update(text, text, text, timestamptz,
    timestamptz) is
'Changes a campaign.  What is not given stays as it was.
org: name of the org
campaign: name of the campaign
title: name for people
starts: first moment
ends: first moment after it; infinity: open';


create function api.campaign_drop(org text, campaign text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    c  usher.campaign := usher.campaign_for('campaign_drop', org, campaign);
begin
    delete from usher.campaign d where d.id = c.id;

    perform usher.note('campaign_drop', c.org_id,
        jsonb_build_object('org', org, 'campaign', campaign));

    return jsonb_build_object('name', campaign, 'dropped', true);

exception
    when foreign_key_violation then
        perform usher.fail('409', format('campaign "%s" is in use', campaign),
            'campaign_update with ends= ends one that was used.');
end
$$;

comment on function api.campaign_drop(text, text) is
'Drops a campaign that nothing refers to.
org: name of the org
campaign: name of the campaign';


-- Partners.

create function usher.partner_for(function text, org text, partner text)
returns usher.partner
language sql
set search_path = pg_catalog, pg_temp
as $$
    select usher.thing_for(null::usher.partner, function, 'org', org,
                           (usher.org_for(function, org)).id,
                           partner)
$$;

comment on function usher.partner_for(text, text, text) is
    'The partner of this name, if the actor may call the function for its org';


create function usher.partner_json(p usher.partner)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', p.id, 'org', o.name, 'name', p.name, 'kind', p.kind,
        'state', case when p.disabled_at is null then 'enabled'
                      else 'disabled' end,
        'programs', coalesce((select string_agg(g.name, ' ' order by g.name)
                              from usher.program_partner j
                              join usher.program g on g.id = j.program_id
                              where j.partner_id = p.id), ''),
        'terms', p.terms, 'terms_accepted', p.terms_at,
        'method', p.payout_method,
        'minimum', coalesce(usher.money_text(p.payout_min, p.currency), '0'),
        'currency', p.currency, 'created', p.created_at)
        || case when usher.actor() is null
                     or exists (select
                                from usher.member m
                                join usher.right r on r.role = m.role
                                where m.actor = usher.actor()
                                      and m.org_id = p.org_id
                                      and r.function = 'partner_update')
                then jsonb_build_object('email', p.email,
                                        'tax_id', p.tax_id)
                else '{}' end
    from usher.org o
    where o.id = p.org_id
$$;

comment on function usher.partner_json(usher.partner) is
    'A partner as the catalogue shows it; what is personal to whoever may '
    'change it';


create function usher.partner_ok(p usher.partner, minimum text)
returns usher.partner
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform usher.text_ok('kind', p.kind, '^(company|person)$',
        'kind is company or person.');

    -- The messages do not repeat what is personal.
    if p.email !~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$'
       or char_length(p.email) > 254
    then
        perform usher.fail('400', 'email= cannot be',
            'Give an address as ann@example.com, of at most 254 characters.');
    end if;

    if p.tax_id !~ '^[A-Za-z0-9][A-Za-z0-9 ./-]{0,39}$' then
        perform usher.fail('400', 'tax_id= cannot be',
            'A tax number is 1 to 40 of letters, digits, blanks, ., / and '
            '-, and begins with a letter or digit.');
    end if;

    perform usher.terms_ok(coalesce(p.terms, ''));
    perform usher.text_ok('method', p.payout_method,
        '^([a-z][a-z_-]{0,15})?$',
        'A method is a word of 1 to 16 of a-z, _ and -, as in sepa; no '
        'account.');

    if p.currency is not null then
        perform usher.exponent(p.currency);
        p.payout_min := coalesce(usher.amount_argument('minimum', minimum,
                                                       p.currency), 0);

    elsif minimum ~ '[^0.]' then
        perform usher.fail('400',
            format('minimum="%s" cannot be', left(minimum, 60)),
            'A minimum has a currency: give currency= with it.');

    else
        p.payout_min := 0;
    end if;

    return p;
end
$$;

comment on function usher.partner_ok(usher.partner, text) is
    'Raises, naming the argument, unless there can be such a partner; with '
    'this minimum';


create function usher.personal(email text, tax_id text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select nullif(concat_ws(' ', case when email is not null
                                      then 'email' end,
                                 case when tax_id is not null
                                      then 'tax_id' end), '')
$$;

comment on function usher.personal(text, text) is
    'Which personal data were given, for an audit row';


create function api.partner_create(org text, name text,
    kind text default 'company', email text default null,
    tax_id text default null, terms text default null,
    method text default '', minimum text default '0',
    currency text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('partner_create', org);
    p  usher.partner;
begin
    perform usher.name_ok(name);

    p.kind := kind;
    p.email := nullif(email, '');
    p.tax_id := nullif(tax_id, '');
    p.terms := nullif(terms, '');
    p.terms_at := case when p.terms is not null then now() end;
    p.payout_method := method;
    p.currency := nullif(currency, '');

    p := usher.partner_ok(p, minimum);

    insert into usher.partner as i
        (org_id, name, kind, email, tax_id, terms, terms_at, payout_method,
         payout_min, currency)
    values (o.id, partner_create.name, p.kind, p.email, p.tax_id, p.terms,
            p.terms_at, p.payout_method, p.payout_min, p.currency)
    returning i.* into p;

    perform usher.note('partner_create', o.id,
        jsonb_build_object('org', org, 'name', name, 'kind', kind,
            'personal', usher.personal(p.email, p.tax_id), 'terms', terms,
            'method', method, 'minimum', minimum,
            'currency', currency));

    return usher.partner_json(p);

exception
    when unique_violation then
        perform usher.fail('409',
            format('org "%s" has a partner "%s"', org, name),
            'Choose another name, or see partner_show.');
end
$$;

comment on function api.partner_create(text, text, text, text, text, text,
    text, text, text) is
'Creates a partner: who sends us visitors and is paid for it.
org: name of the org
name: short name, 1 to 32 of a-z, 0-9 and -
kind: company or person
email: where it is written to
tax_id: its number with the tax office
terms: which terms it accepts with this, a version or an address
method: how it is paid, one word as in sepa
minimum: what it is paid at least, as 50.00; 0: any amount
currency: currency it is paid in, by default the program''s';


create function api.partner_list(org text default null,
    program text default null, "limit" integer default 100,
    after bigint default 0)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o_id  bigint := usher.org_scope('partner_list', org);
    g_id  bigint;
begin
    if program is not null then
        g_id := (usher.program_for('partner_list', org, program)).id;
    end if;

    return (select coalesce(jsonb_agg(usher.partner_json(l) order by l.id),
                            '[]')
            from (select p.*
                  from usher.partner p
                  where p.id > after and (o_id is null or p.org_id = o_id)
                        and (g_id is null
                             or exists (select from usher.program_partner j
                                        where j.partner_id = p.id
                                              and j.program_id = g_id))
                  order by p.id
                  limit usher.page("limit")) l);
end
$$;

comment on function api.partner_list(text, text, integer, bigint) is
'Lists partners, with what is personal to whoever may change them.
org: name of the org; the operator may leave it out
program: only those of this program
limit: at most so many
after: go on after this id';


create function api.partner_show(org text, partner text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.partner_json(usher.partner_for('partner_show', org,
                                                partner))
$$;

comment on function api.partner_show(text, text) is
'Shows a partner, with what is personal to whoever may change it.
org: name of the org
partner: name of the partner';


create function api.partner_update(org text, partner text,
    kind text default null, email text default null,
    tax_id text default null, terms text default null,
    method text default null, minimum text default null,
    currency text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p       usher.partner := usher.partner_for('partner_update', org, partner);
    amount  text;
begin
    p.kind := coalesce(kind, p.kind);
    p.email := nullif(coalesce(email, p.email), '');
    p.tax_id := nullif(coalesce(tax_id, p.tax_id), '');
    p.payout_method := coalesce(method, p.payout_method);

    -- 5.00 stays 5.00 in another currency.
    amount := coalesce(minimum, usher.money_text(p.payout_min, p.currency));
    p.currency := nullif(coalesce(currency, p.currency), '');

    if terms is not null then
        p.terms := nullif(terms, '');
        p.terms_at := case when p.terms is not null then now() end;
    end if;

    p := usher.partner_ok(p, amount);

    update usher.partner u
    set kind = p.kind, email = p.email, tax_id = p.tax_id, terms = p.terms,
        terms_at = p.terms_at, payout_method = p.payout_method,
        payout_min = p.payout_min, currency = p.currency
    where u.id = p.id;

    perform usher.note('partner_update', p.org_id,
        jsonb_build_object('org', org, 'partner', partner, 'kind', kind,
            'personal', usher.personal(email, tax_id), 'terms', terms,
            'method', method, 'minimum', minimum, 'currency', currency));

    return usher.partner_json(p);
end
$$;

comment on function api.partner_update(text, text, text, text, text, text,
    text, text, text) is
'Changes a partner.  What is not given stays as it was.
org: name of the org
partner: name of the partner
kind: company or person
email: where it is written to; empty: erased
tax_id: its number with the tax office; empty: erased
terms: which terms it accepts with this; empty: none any more
method: how it is paid, one word as in sepa
minimum: what it is paid at least, as 50.00; 0: any amount
currency: currency it is paid in; empty: the program''s';


create function api.partner_disable(org text, partner text,
    reason text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.partner := usher.partner_for('partner_disable', org, partner);
begin
    if reason <> '' then
        perform usher.reason_ok(reason);
    end if;

    update usher.partner u set disabled_at = coalesce(u.disabled_at, now())
    where u.id = p.id
    returning u.* into p;

    perform usher.note('partner_disable', p.org_id,
        jsonb_build_object('org', org, 'partner', partner,
                           'reason', reason));

    return usher.partner_json(p);
end
$$;

comment on function api.partner_disable(text, text, text) is
'Disables a partner, until partner enable.
org: name of the org
partner: name of the partner
reason: why, for the audit row';


create function api.partner_enable(org text, partner text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.partner := usher.partner_for('partner_enable', org, partner);
begin
    update usher.partner u set disabled_at = null
    where u.id = p.id
    returning u.* into p;

    perform usher.note('partner_enable', p.org_id,
        jsonb_build_object('org', org, 'partner', partner));

    return usher.partner_json(p);
end
$$;

comment on function api.partner_enable(text, text) is
'Enables a disabled partner.
org: name of the org
partner: name of the partner';


create function api.partner_join(org text, partner text, program text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.partner := usher.partner_for('partner_join', org, partner);
    g  usher.program := usher.program_for('partner_join', org, program);
begin
    perform usher.enabled_ok(g);

    if g.side <> 'own' then
        perform usher.fail('409',
            format('program "%s" is of side %s: it has no partners', program,
                   g.side),
            'Partners are paid for programs of side own; program_list with '
            'side=own shows them.');
    end if;

    insert into usher.program_partner (program_id, partner_id, org_id)
    values (g.id, p.id, g.org_id);

    perform usher.note('partner_join', p.org_id,
        jsonb_build_object('org', org, 'partner', partner,
                           'program', program));

    return usher.partner_json(p);

exception
    when unique_violation then
        perform usher.fail('409',
            format('partner "%s" is in program "%s"', partner, program),
            'partner_show shows its programs.');
end
$$;

comment on function api.partner_join(text, text, text) is
'Lets a partner send visitors to a program, which is of side own.
org: name of the org
partner: name of the partner
program: name of the program';


create function api.partner_leave(org text, partner text, program text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.partner := usher.partner_for('partner_leave', org, partner);
    g  usher.program := usher.program_for('partner_leave', org, program);
begin
    delete from usher.program_partner j
    where j.program_id = g.id and j.partner_id = p.id;

    if not found then
        perform usher.fail('404',
            format('partner "%s" is not in program "%s"', partner, program),
            'partner_show shows its programs.');
    end if;

    perform usher.note('partner_leave', p.org_id,
        jsonb_build_object('org', org, 'partner', partner,
                           'program', program));

    return usher.partner_json(p);
end
$$;

comment on function api.partner_leave(text, text, text) is
'Ends what partner join began.
org: name of the org
partner: name of the partner
program: name of the program';


create function api.partner_drop(org text, partner text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.partner := usher.partner_for('partner_drop', org, partner);
begin
    delete from usher.partner d where d.id = p.id;

    perform usher.note('partner_drop', p.org_id,
        jsonb_build_object('org', org, 'partner', partner));

    return jsonb_build_object('name', partner, 'dropped', true);

exception
    when foreign_key_violation then
        perform usher.fail('409', format('partner "%s" is in use', partner),
            'partner_leave takes it out of a program; partner_disable ends '
            'one that was paid.');
end
$$;

comment on function api.partner_drop(text, text) is
'Drops a partner that is in no program and that nothing refers to.
org: name of the org
partner: name of the partner';


insert into usher.right (function, role)
select f, r
from (values
    ('campaign_create', array['owner', 'admin']),
    ('campaign_list', array['owner', 'admin', 'analyst']),
    ('campaign_show', array['owner', 'admin', 'analyst']),
    ('campaign_update', array['owner', 'admin']),
    ('campaign_drop', array['owner', 'admin']),
    ('partner_create', array['owner', 'admin']),
    ('partner_list', array['owner', 'admin', 'analyst']),
    ('partner_show', array['owner', 'admin', 'analyst']),
    ('partner_update', array['owner', 'admin']),
    ('partner_disable', array['owner', 'admin']),
    ('partner_enable', array['owner', 'admin']),
    ('partner_join', array['owner', 'admin']),
    ('partner_leave', array['owner', 'admin']),
    ('partner_drop', array['owner', 'admin'])
) as v (f, roles), unnest(roles) r;
