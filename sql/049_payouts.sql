-- 049_payouts.sql - what partners are paid.
--
-- A batch takes the lines of commissions that are payable, of all partners who
-- can be paid, and of each all or none: so that what was taken back since is
-- taken off.  Who is owed less than nothing, or than his minimum, is left out
-- with the reason, and his lines wait for the next batch.  A line is in one
-- batch at a time: the batch that takes it locks it, and writes its payout
-- into it.
--
-- An open batch may be cancelled, which gives its lines back, or closed, when
-- it is paid: what was owed to partners leaves the bank.  What is closed never
-- changes: what is taken back later is a line of the next batch.
--
-- A partner is paid in his own currency, else in the program's.  Sums of
-- other currencies are changed by the rate of the batch's day, which is kept
-- (payout_part), and what comes of all of them is rounded once.

create table usher.payout_batch (
    id            bigint generated always as identity primary key,
    org_id        bigint not null references usher.org,
    day           date not null check (isfinite(day)),
    until         timestamptz not null check (isfinite(until)),
    state         text not null default 'open'
                  check (state in ('open', 'closed', 'cancelled')),
    created_at    timestamptz not null default now(),
    ended_at      timestamptz,
    reason        text not null default '' check (char_length(reason) <= 200),
    unique (id, org_id),
    constraint payout_batch_ended check ((state = 'open')
                                         = (ended_at is null))
);

create index payout_batch_org on usher.payout_batch (org_id, id);

comment on table usher.payout_batch is 'Payments of several partners';
comment on column usher.payout_batch.id is 'Number';
comment on column usher.payout_batch.org_id is 'Who pays';
comment on column usher.payout_batch.day is 'Day of its exchange rates';
comment on column usher.payout_batch.until is
    'It has what was payable at this moment';
comment on column usher.payout_batch.state is
    'open: may be cancelled; closed: paid, never changes; cancelled';
comment on column usher.payout_batch.created_at is 'When it was made';
comment on column usher.payout_batch.ended_at is
    'When it was closed or cancelled';
comment on column usher.payout_batch.reason is
    'What was said then: how it was paid, or why it was not';
comment on sequence usher.payout_batch_id_seq is
    'Numbers of usher.payout_batch';
comment on constraint payout_batch_ended on usher.payout_batch is
    'What is not open became so at some moment';
comment on index usher.payout_batch_org is 'The batches of an org';


create table usher.payout (
    id          bigint generated always as identity primary key,
    batch_id    bigint not null,
    org_id      bigint not null,
    partner_id  bigint not null,
    currency    text not null references usher.currency,
    amount      bigint not null check (amount > 0),
    method      text not null check (method <> ''),
    lines       bigint not null check (lines > 0),
    constraint payout_once unique (batch_id, partner_id, currency),
    unique (id, batch_id),
    unique (id, org_id, partner_id),
    constraint payout_batch foreign key (batch_id, org_id)
        references usher.payout_batch (id, org_id),
    constraint payout_partner foreign key (partner_id, org_id)
        references usher.partner (id, org_id)
);

create index payout_of on usher.payout (partner_id);

comment on table usher.payout is 'What a partner is paid by a batch';
comment on column usher.payout.id is 'Number';
comment on column usher.payout.batch_id is 'The batch';
comment on column usher.payout.org_id is 'Who pays';
comment on column usher.payout.partner_id is 'Who is paid';
comment on column usher.payout.currency is 'In which currency';
comment on column usher.payout.amount is 'Minor units';
comment on column usher.payout.method is 'How, as the partner had it then';
comment on column usher.payout.lines is 'How many lines it pays';
comment on sequence usher.payout_id_seq is 'Numbers of usher.payout';
comment on index usher.payout_of is 'What a partner was paid';


create table usher.payout_part (
    payout_id  bigint not null,
    batch_id   bigint not null,
    currency   text not null references usher.currency,
    amount     bigint not null,
    rate       numeric not null check (rate > 0),
    primary key (payout_id, currency),
    constraint payout_part_payout foreign key (payout_id, batch_id)
        references usher.payout (id, batch_id)
);

comment on table usher.payout_part is
    'What a payout is the sum of, by the currency of its lines';
comment on column usher.payout_part.payout_id is 'The payout';
comment on column usher.payout_part.batch_id is 'Its batch';
comment on column usher.payout_part.currency is 'Currency of the lines';
comment on column usher.payout_part.amount is 'Their sum in minor units';
comment on column usher.payout_part.rate is
    'What one of it was worth in the payout''s currency; 1 where it is the '
    'same';


create table usher.payout_left (
    batch_id    bigint not null,
    org_id      bigint not null,
    partner_id  bigint not null,
    currency    text not null references usher.currency,
    reason      text not null
                check (reason in ('disabled', 'terms', 'method', 'rate',
                                  'absurd', 'negative', 'minimum', 'hold')),
    amount      bigint,
    help        text not null check (char_length(help) <= 200),
    primary key (batch_id, partner_id, currency, reason),
    constraint payout_left_batch foreign key (batch_id, org_id)
        references usher.payout_batch (id, org_id),
    constraint payout_left_partner foreign key (partner_id, org_id)
        references usher.partner (id, org_id)
);

create index payout_left_of on usher.payout_left (partner_id);

comment on table usher.payout_left is 'Who was left out of a batch, and why';
comment on column usher.payout_left.batch_id is 'The batch';
comment on column usher.payout_left.org_id is 'Who would pay';
comment on column usher.payout_left.partner_id is 'Who was not paid';
comment on column usher.payout_left.currency is 'In which currency';
comment on column usher.payout_left.reason is
    'disabled: the partner is; terms: it has accepted none; method: it has '
    'none; rate: one is missing; absurd: no amount is so much; negative: more was taken back than earned; '
    'minimum: it is below its minimum; hold: not payable yet';
comment on column usher.payout_left.amount is
    'What that would have been in minor units; null: not known';
comment on column usher.payout_left.help is 'The particulars';
comment on index usher.payout_left_of is 'Where a partner was left out';


alter table usher.commission_line
    add column payout_id bigint,
    add constraint commission_line_payout
        foreign key (payout_id, org_id, partner_id)
        references usher.payout (id, org_id, partner_id);

create index commission_line_paid on usher.commission_line (payout_id)
    where payout_id is not null;
create index commission_line_unpaid
    on usher.commission_line (org_id, payable_at)
    where payout_id is null;

comment on column usher.commission_line.payout_id is
    'The payout that pays it; null: none yet';
comment on index usher.commission_line_paid is 'The lines of a payout';
comment on index usher.commission_line_unpaid is 'What is to be paid';


-- What stays as it is.

create function usher.payout_open(batch bigint)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
    select b.state = 'open'
    from usher.payout_batch b
    where b.id = batch
    for share
$$;

comment on function usher.payout_open(bigint) is
    'Whether a batch is open, and it stays so until the transaction ends';


create function usher.payout_keep()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'UPDATE' and tg_table_name = 'payout_batch' then
        if old.state = 'open' and new.id = old.id
           and new.org_id = old.org_id
        then
            return new;
        end if;
    end if;

    if tg_op = 'INSERT' then
        if usher.payout_open(new.batch_id) then
            return new;
        end if;
    end if;

    raise exception 'rows of usher.% are never changed', tg_table_name
        using errcode = 'insufficient_privilege',
              hint = 'What is taken back of a batch that is closed is in the '
                     'next one; payout_cancel is for one that is open.';
end
$$;

comment on function usher.payout_keep() is
    'Trigger: of payouts nothing changes but an open batch''s state';

create trigger payout_batch_keep
    before update or delete on usher.payout_batch
    for each row execute function usher.payout_keep();
create trigger payout_batch_whole before truncate on usher.payout_batch
    for each statement execute function usher.payout_keep();
create trigger payout_keep
    before insert or update or delete on usher.payout
    for each row execute function usher.payout_keep();
create trigger payout_whole before truncate on usher.payout
    for each statement execute function usher.payout_keep();
create trigger payout_part_keep
    before insert or update or delete on usher.payout_part
    for each row execute function usher.payout_keep();
create trigger payout_part_whole before truncate on usher.payout_part
    for each statement execute function usher.payout_keep();
create trigger payout_left_keep
    before insert or update or delete on usher.payout_left
    for each row execute function usher.payout_keep();
create trigger payout_left_whole before truncate on usher.payout_left
    for each statement execute function usher.payout_keep();

comment on trigger payout_batch_keep on usher.payout_batch is
    'What is closed stays';
comment on trigger payout_batch_whole on usher.payout_batch is
    'What is closed stays';
comment on trigger payout_keep on usher.payout is 'What is closed stays';
comment on trigger payout_whole on usher.payout is 'What is closed stays';
comment on trigger payout_part_keep on usher.payout_part is
    'What is closed stays';
comment on trigger payout_part_whole on usher.payout_part is
    'What is closed stays';
comment on trigger payout_left_keep on usher.payout_left is
    'What is closed stays';
comment on trigger payout_left_whole on usher.payout_left is
    'What is closed stays';


create function usher.commission_line_taken()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    same  usher.commission_line := old;
begin
    same.payout_id := new.payout_id;

    if same is distinct from new
       or exists (select from usher.payout p
                  where p.id in (old.payout_id, new.payout_id)
                        and not usher.payout_open(p.batch_id))
    then
        raise exception 'rows of usher.commission_line are never changed'
            using errcode = 'insufficient_privilege',
                  hint = 'What is told of a conversion adds a line, which is '
                         'in the next batch.';
    end if;

    return new;
end
$$;

comment on function usher.commission_line_taken() is
    'Trigger: of a line nothing changes but the open batch that pays it';

create trigger commission_line_taken
    before update on usher.commission_line
    for each row execute function usher.commission_line_taken();

comment on trigger commission_line_taken on usher.commission_line is
    'A line is taken by an open batch, and given back by it';


create function usher.commission_line_new()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'a line is taken by a batch when it is there'
        using errcode = 'insufficient_privilege',
              hint = 'payout_create takes it.';
end
$$;

comment on function usher.commission_line_new() is
    'Trigger: no line comes into a batch by itself';

create trigger commission_line_new
    before insert on usher.commission_line
    for each row when (new.payout_id is not null)
    execute function usher.commission_line_new();

comment on trigger commission_line_new on usher.commission_line is
    'A new line is in no batch';


-- What a batch would pay.

create type usher.payout_due as (
    partner_id  bigint,
    currency    text,
    amount      bigint,
    lines       bigint,
    method      text,
    reason      text,
    help        text,
    currencies  text[],
    amounts     bigint[],
    rates       numeric[]
);

comment on type usher.payout_due is
    'What a partner is owed, by the currencies of its lines; reason: why it is '
    'not paid, null: it is';


create function usher.payout_ok(amount numeric)
returns boolean
language sql immutable strict
return abs(amount) < 1000000000000000000;

comment on function usher.payout_ok(numeric) is
    'Whether these minor units can be an amount: lines and rates can make any '
    'sum';


create function usher.payout_dues(lines bigint[], day date)
returns setof usher.payout_due
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with part as (
        select s.partner_id, s.paid, s.currency, s.amount, s.lines,
               case when s.paid = s.currency then 1
                    else (usher.fx_find(day, s.currency, s.paid)).rate end
               as rate
        from (select l.partner_id, coalesce(q.currency, l.currency) as paid,
                     l.currency, sum(l.amount) as amount,
                     count(*) as lines
              from unnest(payout_dues.lines) n (id)
              join usher.commission_line l on l.id = n.id
              join usher.partner q on q.id = l.partner_id
              group by 1, 2, 3) s
    ), summed as (
        select p.partner_id, p.paid, sum(p.lines)::bigint as lines,
               case when bool_and(p.rate is not null)
                    then sum(p.amount * p.rate
                             * ('1e' || usher.exponent(p.paid)
                                - usher.exponent(p.currency))::numeric) end
               as exact,
               max(abs(p.amount)) as largest,
               min(p.currency) filter (where p.rate is null) as unknown,
               array_agg(p.currency order by p.currency) as currencies,
               array_agg(p.amount order by p.currency) as amounts,
               array_agg(p.rate order by p.currency) as rates
        from part p
        group by 1, 2
    ), due as (
        select s.*, case when usher.payout_ok(s.exact)
                              and usher.payout_ok(s.largest)
                         then usher.round_half_even(s.exact) end as amount
        from summed s
    )
    select d.partner_id, d.paid, d.amount, d.lines, q.payout_method, r.reason,
           case r.reason
           when 'disabled' then 'the partner is disabled: partner enable'
           when 'terms' then 'no terms are accepted: partner update terms='
           when 'method' then 'it has no method: partner update method='
           when 'rate' then format('there is no rate from %s to %s on %s, nor '
                                   'in the 7 days before: fx import',
                                   d.unknown, d.paid, day)
           when 'absurd' then 'its sum has more than 18 digits: until= takes '
                              'less of it'
           when 'negative' then 'more was taken back than earned'
           when 'minimum' then format('its minimum is %s %s',
                                      usher.money_text(q.payout_min, d.paid),
                                      d.paid) end,
           d.currencies,
           case when d.amount is not null then d.amounts::bigint[] end,
           d.rates
    from due d
    join usher.partner q on q.id = d.partner_id,
    lateral (select case when q.disabled_at is not null then 'disabled'
                         when q.terms is null then 'terms'
                         when q.payout_method = '' then 'method'
                         when d.exact is null then 'rate'
                         when d.amount is null then 'absurd'
                         when d.amount <= 0 then 'negative'
                         when d.amount < q.payout_min then 'minimum' end
                    as reason) r
    order by d.partner_id, d.paid
$$;

comment on function usher.payout_dues(bigint[], date) is
    'What these lines are for each partner, in what it is paid in';


create function usher.payout_held(org_id bigint, partner_id bigint,
    until timestamptz)
returns setof usher.payout_due
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select l.partner_id, l.currency,
           case when usher.payout_ok(sum(l.amount))
                then sum(l.amount)::bigint end, count(*), null,
           'hold', format('payable from %s on',
                          to_char(min(l.payable_at) at time zone 'UTC',
                                  'YYYY-MM-DD HH24:MI:SS')),
           null::text[], null::bigint[], null::numeric[]
    from usher.commission_line l
    where l.org_id = payout_held.org_id and l.payout_id is null
          and l.payable_at > until
          and (payout_held.partner_id is null
               or l.partner_id = payout_held.partner_id)
    group by l.partner_id, l.currency
    having sum(l.amount) <> 0
    order by 1, 2
$$;

comment on function usher.payout_held(bigint, bigint, timestamptz) is
    'What partners have earned that is not payable at that moment';


create function usher.payout_make(b usher.payout_batch, lines bigint[],
    dues usher.payout_due[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    d     usher.payout_due;
    p_id  bigint;
begin
    foreach d in array dues loop
        if d.reason is not null then
            insert into usher.payout_left (batch_id, org_id, partner_id,
                currency, reason, amount, help)
            values (b.id, b.org_id, d.partner_id, d.currency, d.reason,
                    d.amount, d.help);
            continue;
        end if;

        insert into usher.payout (batch_id, org_id, partner_id, currency,
            amount, method, lines)
        values (b.id, b.org_id, d.partner_id, d.currency, d.amount, d.method,
                d.lines)
        returning id into p_id;

        insert into usher.payout_part (payout_id, batch_id, currency, amount,
            rate)
        select p_id, b.id, t.currency, t.amount, t.rate
        from unnest(d.currencies, d.amounts, d.rates)
             t (currency, amount, rate);
    end loop;

    update usher.commission_line l
    set payout_id = p.id
    from unnest(payout_make.lines) n (id), usher.payout p
    join usher.payout_part t on t.payout_id = p.id
    where l.id = n.id and p.batch_id = b.id
          and l.partner_id = p.partner_id and l.currency = t.currency;
end
$$;

comment on function usher.payout_make(usher.payout_batch, bigint[],
    usher.payout_due[]) is
    'Makes the payouts of a batch, and writes down who was left out';


create function usher.payout_post(p usher.payout, name text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    accounts  bigint[] := '{}';
    amounts   bigint[] := '{}';
    changed   bigint := p.amount;
    t         usher.payout_part;
begin
    for t in
        select x.* from usher.payout_part x
        where x.payout_id = p.id and x.amount <> 0
        order by x.currency
    loop
        accounts := accounts || usher.account_ensure(p.org_id, 'liability',
                        'partner:' || name, t.currency);
        amounts := amounts || t.amount;

        if t.currency = p.currency then
            changed := changed - t.amount;
        else
            accounts := accounts || usher.account_ensure(p.org_id, 'asset',
                            'exchange', t.currency);
            amounts := amounts || -t.amount;
        end if;
    end loop;

    accounts := accounts || usher.account_ensure(p.org_id, 'asset', 'bank',
                                                 p.currency);
    amounts := amounts || -p.amount;

    if changed <> 0 then
        accounts := accounts || usher.account_ensure(p.org_id, 'asset',
                        'exchange', p.currency);
        amounts := amounts || changed;
    end if;

    perform usher.ledger_post('payout:' || p.id, accounts, amounts,
                              'batch ' || p.batch_id);
end
$$;

comment on function usher.payout_post(usher.payout, text) is
    'A payout in the ledger: what was owed to the partner leaves the bank; '
    'what is changed goes through the account exchange';
