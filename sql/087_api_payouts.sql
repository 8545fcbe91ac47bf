-- 087_api_payouts.sql - noun payout: batches of payments.

create function usher.payout_batch_for(function text, org text, batch bigint)
returns usher.payout_batch
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    o  usher.org := usher.org_for(function, org);
    b  usher.payout_batch;
begin
    select x.* into b
    from usher.payout_batch x
    where x.id = batch and x.org_id = o.id;

    if b.id is null then
        perform usher.fail('404',
            format('org "%s" has no batch %s', org, batch),
            'payout_list shows all.');
    end if;

    return b;
end
$$;

comment on function usher.payout_batch_for(text, text, bigint) is
    'The batch of this number, if the actor may call the function for its org';


create function usher.payout_batch_open(function text, org text,
    batch bigint)
returns usher.payout_batch
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    b  usher.payout_batch := usher.payout_batch_for(function, org, batch);
begin
    -- Who closes and who cancels it at once: the second finds it ended.
    select x.* into b
    from usher.payout_batch x where x.id = b.id
    for update;

    if b.state <> 'open' then
        perform usher.fail('409', format('batch %s is %s', batch, b.state),
            case b.state
            when 'closed' then 'What is closed never changes: what is taken '
                               'back since is in the next batch.'
            else 'Its lines were given back; payout_create takes them '
                 'again.' end);
    end if;

    return b;
end
$$;

comment on function usher.payout_batch_open(text, text, bigint) is
    'The same, held until the transaction ends; raises unless it is open';


create function usher.payout_batch_json(b usher.payout_batch)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'batch', b.id, 'org', o.name, 'state', b.state, 'day', b.day,
        'until', b.until, 'created', b.created_at, 'ended', b.ended_at,
        'reason', b.reason,
        'partners', (select count(distinct p.partner_id)
                     from usher.payout p where p.batch_id = b.id),
        'total', (select string_agg(usher.money_text(s.amount, s.currency)
                                    || ' ' || s.currency, ', '
                                    order by s.currency)
                  from (select p.currency, sum(p.amount) as amount
                        from usher.payout p
                        where p.batch_id = b.id
                        group by 1) s))
    from usher.org o
    where o.id = b.org_id
$$;

comment on function usher.payout_batch_json(usher.payout_batch) is
    'A batch as the catalogue shows it';


create function usher.payout_left_json(partner_id bigint, currency text,
    amount bigint, reason text, help text)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'partner', q.name, 'reason', reason,
        'amount', usher.money_text(payout_left_json.amount,
                                   payout_left_json.currency),
        'currency', payout_left_json.currency, 'why', help)
    from usher.partner q
    where q.id = payout_left_json.partner_id
$$;

comment on function usher.payout_left_json(bigint, text, bigint, text,
    text) is
    'Who was left out, as the catalogue shows it';


create function usher.payout_shown(b usher.payout_batch)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select usher.payout_batch_json(b) || jsonb_build_object(
        'payouts', (select coalesce(jsonb_agg(jsonb_build_object(
                            'payout', p.id, 'partner', q.name,
                            'method', p.method, 'lines', p.lines,
                            'amount', usher.money_text(p.amount, p.currency),
                            'currency', p.currency,
                            'rates', (select string_agg(
                                          t.currency || ' '
                                          || trim_scale(round(t.rate, 18)),
                                          ', ' order by t.currency)
                                      from usher.payout_part t
                                      where t.payout_id = p.id
                                            and t.currency <> p.currency))
                                   order by q.name, p.currency), '[]')
                    from usher.payout p
                    join usher.partner q on q.id = p.partner_id
                    where p.batch_id = b.id),
        'left', (select coalesce(jsonb_agg(usher.payout_left_json(
                                     f.partner_id, f.currency, f.amount,
                                     f.reason, f.help)
                                 order by f.partner_id, f.currency,
                                          f.reason), '[]')
                 from usher.payout_left f
                 where f.batch_id = b.id))
$$;

comment on function usher.payout_shown(usher.payout_batch) is
    'A batch with its payouts, and who was left out';


create function api.payout_create(org text, partner text default null,
    until timestamptz default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o       usher.org := usher.org_for('payout_create', org);
    q_id    bigint;
    moment  timestamptz := coalesce(payout_create.until, now());
    lines   bigint[];
    dues    usher.payout_due[];
    b       usher.payout_batch;
begin
    if partner is not null then
        q_id := (usher.partner_for('payout_create', org, partner)).id;
    end if;

    if moment > now() or not isfinite(moment) then
        perform usher.fail('400', format('until="%s" cannot be', until),
            'What is not payable yet is not paid: give a moment that is '
            'past.');
    end if;

    -- Another batch that takes them is waited for, and has them then.
    select coalesce(array_agg(t.id), '{}') into lines
    from (select l.id
          from usher.commission_line l
          where l.org_id = o.id and l.payout_id is null
                and l.payable_at <= moment
                and (q_id is null or l.partner_id = q_id)
          order by l.id
          for update) t;

    perform from usher.partner q
    where q.id in (select l.partner_id
                   from unnest(lines) n (id)
                   join usher.commission_line l on l.id = n.id)
    order by q.id
    for share;

    dues := array(select d
                  from usher.payout_dues(lines,
                           (now() at time zone 'UTC')::date) d
                  where d.reason is distinct from 'negative'
                        or d.amount < 0)
            || array(select h from usher.payout_held(o.id, q_id, moment) h);

    if not exists (select from unnest(dues) d where d.reason is null) then
        return jsonb_build_object('batch', null, 'payouts', '[]'::jsonb,
            'left', (select coalesce(jsonb_agg(usher.payout_left_json(
                                d.partner_id, d.currency, d.amount, d.reason,
                                d.help)), '[]')
                     from unnest(dues) d));
    end if;

    insert into usher.payout_batch as i (org_id, day, until)
    values (o.id, (now() at time zone 'UTC')::date, moment)
    returning i.* into b;

    perform usher.payout_make(b, lines, dues);

    perform usher.note('payout_create', o.id,
        jsonb_build_object('org', org, 'partner', partner, 'until', until)
        || usher.payout_batch_json(b));

    return usher.payout_shown(b);
end
$$;

comment on function api.payout_create(text, text, timestamptz) is
'Makes a batch of what is to be paid to partners: all that is approved and
past its hold, of each partner who can be paid and whose sum reaches his
minimum.  left says who was left out, and why.  If there is nobody to pay there
is no batch.
org: name of the org
partner: only this partner
until: only what was payable at this moment, by default now';


create function api.payout_list(org text default null,
    state text default null, "limit" integer default 100,
    before bigint default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted  bigint := usher.org_scope('payout_list', org);
begin
    if state is not null then
        perform usher.text_ok('state', state, '^(open|closed|cancelled)$',
            'state is open, closed or cancelled.');
    end if;

    return (select coalesce(jsonb_agg(usher.payout_batch_json(l)
                                      order by l.id desc), '[]')
            from (select b.*
                  from usher.payout_batch b
                  where (wanted is null or b.org_id = wanted)
                        and (payout_list.state is null
                             or b.state = payout_list.state)
                        and (before is null or b.id < before)
                  order by b.id desc
                  limit usher.page("limit")) l);
end
$$;

comment on function api.payout_list(text, text, integer, bigint) is
'Lists batches of payouts, the newest first.
org: name of the org; the operator may leave it out
state: only open, closed or cancelled
limit: at most so many
before: go on before this batch';


create function api.payout_show(org text, batch bigint)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.payout_shown(usher.payout_batch_for('payout_show', org,
                                                     batch))
$$;

comment on function api.payout_show(text, bigint) is
'Shows a batch: what each partner is paid, by which rates, and who was left
out and why.
org: name of the org
batch: its number';


create function api.payout_close(org text, batch bigint,
    reason text default '')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    b  usher.payout_batch := usher.payout_batch_open('payout_close', org,
                                                     batch);
begin
    if reason <> '' then
        perform usher.reason_ok(reason);
    end if;

    perform usher.payout_post(p, q.name)
    from usher.payout p
    join usher.partner q on q.id = p.partner_id
    where p.batch_id = b.id;

    update usher.payout_batch u
    set state = 'closed', ended_at = now(),
        reason = coalesce(payout_close.reason, '')
    where u.id = b.id
    returning u.* into b;

    perform usher.note('payout_close', b.org_id,
        jsonb_build_object('org', org, 'batch', batch, 'reason', reason));

    return usher.payout_batch_json(b);
end
$$;

comment on function api.payout_close(text, bigint, text) is
'Closes a batch when it is paid: the ledger has it, and nothing of it ever
changes.
org: name of the org
batch: its number
reason: how it was paid, as the bank''s reference';


create function api.payout_cancel(org text, batch bigint, reason text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    b  usher.payout_batch := usher.payout_batch_open('payout_cancel', org,
                                                     batch);
begin
    perform usher.reason_ok(reason);

    update usher.commission_line l
    set payout_id = null
    where l.payout_id in (select p.id from usher.payout p
                          where p.batch_id = b.id);

    update usher.payout_batch u
    set state = 'cancelled', ended_at = now(), reason = payout_cancel.reason
    where u.id = b.id
    returning u.* into b;

    perform usher.note('payout_cancel', b.org_id,
        jsonb_build_object('org', org, 'batch', batch, 'reason', reason));

    return usher.payout_batch_json(b);
end
$$;

comment on function api.payout_cancel(text, bigint, text) is
'Cancels a batch that is open: the next one takes its lines.
org: name of the org
batch: its number
reason: why';


create function usher.csv_plain(cell text)
returns text
language sql immutable parallel safe
return usher.csv_cell(case when cell ~ '^[=+@\t\r\n-]' then '''' || cell
                           else cell end);

comment on function usher.csv_plain(text) is
    'A text as it stands in a line for people: a spreadsheet takes none for a '
    'formula';


create function api.payout_export(org text, batch bigint,
    after usher.csv_place default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    b     usher.payout_batch := usher.payout_batch_for('payout_export', org,
                                                       batch);
    size  constant integer := 10000;
    told  jsonb := coalesce(after, '{"lines": 1, "payout": 0}');
    part  record;
begin
    if b.state = 'cancelled' then
        perform usher.fail('409', format('batch %s is cancelled', batch),
            'payout_list shows those that are not.');
    end if;

    select count(*) as n, max(t.id) as last,
           coalesce(string_agg(t.line, '' order by t.id), '') as csv
    into part
    from (select p.id,
                 p.batch_id || ',' || p.id || ',' || usher.csv_plain(q.name)
                 || ',' || q.kind || ',' || usher.csv_plain(q.email) || ','
                 || usher.csv_plain(q.tax_id) || ','
                 || usher.csv_plain(p.method) || ','
                 || usher.money_text(p.amount, p.currency) || ','
                 || p.currency || ',' || p.lines || E'\r\n' as line
          from usher.payout p
          join usher.partner q on q.id = p.partner_id
          where p.batch_id = b.id and p.id > (told->>'payout')::bigint
          order by p.id
          limit size) t;

    return told || jsonb_build_object(
        'lines', (told->>'lines')::bigint + part.n, 'more', part.n = size,
        'payout', coalesce(part.last, (told->>'payout')::bigint),
        'csv', case when after is null
                    then E'batch,payout,partner,kind,email,tax_id,method,'
                         'amount,currency,lines\r\n' else '' end || part.csv);
end
$$;

comment on function api.payout_export(text, bigint, usher.csv_place) is
'Writes the payouts of a batch as a file, for the bank: payout export org=acme
batch=1 > payouts.csv.  It has what is personal of partners.
org: name of the org
batch: its number
after: made by usherctl, which asks for the file in parts';


insert into usher.right (function, role)
select f, r
from (values
    ('payout_create', array['owner', 'admin']),
    ('payout_list', array['owner', 'admin', 'analyst']),
    ('payout_show', array['owner', 'admin', 'analyst']),
    ('payout_close', array['owner', 'admin']),
    ('payout_cancel', array['owner', 'admin']),
    ('payout_export', array['owner', 'admin'])
) as v (f, roles), unnest(roles) r;
