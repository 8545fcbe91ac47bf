-- 045_conversions.sql - conversions: what is held to be true of them.
--
-- A transaction of a network, or of a program of our own, is one row, whoever
-- tells of it and however often.  What tells last is believed: a network's
-- report is the truth, so any state may follow any other (an approval after a
-- rejection, a reversal after an approval).  Last is by the moment at which
-- it was said, not by when it is handled here: what comes late changes
-- nothing that was said since, and each field stands for itself, with the
-- moment it was said at.  So it does not matter in which order messages are
-- handled.
--
-- Nothing is lost: each message is a row of conversion_change, with what was
-- before and after it, once by its key.  An amount that cannot be read leaves
-- a problem on the conversion and that amount unknown, the other as it is; a
-- word for a state that means nothing leaves a problem, and moves no money.
--
-- A pixel is sent by a browser: it may say which click it was, but no state
-- and no amount of its is believed once a server, a file or a hook has told.

create function usher.conversion_scope(network_id bigint,
    program_id bigint)
returns text
language sql immutable parallel safe
return case when network_id is null then 'program/' || program_id::text
            else 'network/' || network_id::text end;

comment on function usher.conversion_scope(bigint, bigint) is
    'Within what a transaction has one name: a network, or a program';


create type usher.amount_told as (
    at        timestamptz,
    minor     bigint,
    currency  text,
    wrong_at  timestamptz,
    wrong     text
);

comment on type usher.amount_told is
    'An amount as it was last told: when, minor units, currency; and when one '
    'that cannot be read was told last, and what is wrong with it';


create table usher.conversion (
    id                bigint generated always as identity primary key,
    org_id            bigint not null references usher.org,
    side              text not null check (side in ('network', 'own')),
    network_id        bigint,
    program_id        bigint,
    scope             text not null generated always as
                      (case when network_id is null
                            then 'program/' || program_id::text
                            else 'network/' || network_id::text end) stored,
    transaction_id    text not null
                      check (char_length(transaction_id) between 1 and 128),
    origin            text not null
                      check (origin in ('postback', 'pixel', 'hook',
                                        'import')),
    confirmed         boolean not null default false,
    occurred_at       timestamptz not null,
    state             text not null default 'pending'
                      check (state in ('pending', 'approved', 'rejected',
                                       'reversed')),
    state_at          timestamptz not null default '-infinity',
    amount            bigint check (amount between 0 and 1000000000000000),
    amount_told       usher.amount_told,
    sale_amount       bigint
                      check (sale_amount between 0 and 1000000000000000),
    sale_told         usher.amount_told,
    agreed            jsonb,
    currency          text references usher.currency,
    state_problem     text check (char_length(state_problem) <= 200),
    state_problem_at  timestamptz,
    amount_problem    text check (char_length(amount_problem) <= 200),
    customer          text not null default '',
    coupon            text not null default '',
    subscription      text not null default '',
    link_id           bigint references usher.link,
    click_id          text,
    clicked_at        timestamptz,
    via               text check (via in ('click', 'customer', 'coupon',
                                          'renewal')),
    bound_by          text check (bound_by in ('postback', 'pixel', 'hook',
                                               'import')),
    unattributed      smallint default 1 references usher.unattributed,
    product_id        bigint,
    campaign_id       bigint,
    partner_id        bigint,
    created_at        timestamptz not null default clock_timestamp(),
    changed_at        timestamptz not null default clock_timestamp(),
    constraint conversion_transaction unique (scope, transaction_id),
    unique (id, org_id),
    constraint conversion_network foreign key (network_id, org_id)
        references usher.network (id, org_id),
    constraint conversion_program foreign key (program_id, org_id, side)
        references usher.program (id, org_id, side),
    constraint conversion_product foreign key (product_id, program_id)
        references usher.product (id, program_id),
    constraint conversion_campaign foreign key (campaign_id, org_id)
        references usher.campaign (id, org_id),
    constraint conversion_partner foreign key (partner_id, org_id)
        references usher.partner (id, org_id),
    constraint conversion_side
        check ((side = 'network') = (network_id is not null)
               and (side = 'network' or program_id is not null)),
    constraint conversion_paid check (partner_id is null or side = 'own'),
    constraint conversion_pixel check (confirmed or state = 'pending'),
    constraint conversion_money
        check (currency is not null
               or (amount is null and sale_amount is null)),
    constraint conversion_bound
        check ((link_id is null) = (unattributed is not null)
               and (link_id is null) = (via is null)
               and (link_id is null) = (bound_by is null)
               and (click_id is null) = (clicked_at is null)
               and (click_id is null or link_id is not null))
);

create index conversion_org on usher.conversion (org_id, id);
create index conversion_link on usher.conversion (link_id);
create index conversion_program on usher.conversion (program_id);
create index conversion_customer
    on usher.conversion (scope, customer, occurred_at, id)
    where customer <> '';
create index conversion_subscription
    on usher.conversion (scope, subscription, occurred_at, id)
    where subscription <> '';
create index conversion_problem on usher.conversion (org_id, id)
    where state_problem is not null or amount_problem is not null;

comment on table usher.conversion is
    'Conversions: one row for a transaction of a network or of a program';
comment on column usher.conversion.id is 'Number';
comment on column usher.conversion.org_id is 'Whose it is';
comment on column usher.conversion.side is
    'network: we earn; own: we pay partners';
comment on column usher.conversion.network_id is
    'The network that reports it; of side network only';
comment on column usher.conversion.program_id is
    'The program; of a network''s, once a link is known';
comment on column usher.conversion.scope is
    'Within what a transaction has one name: a network, or a program';
comment on column usher.conversion.transaction_id is
    'What the network, or the shop, calls it';
comment on column usher.conversion.origin is
    'Who told first: postback, pixel, hook or import';
comment on column usher.conversion.confirmed is
    'Whether anybody but a pixel told of it';
comment on column usher.conversion.occurred_at is
    'When it was, as far as that is known: when it was first told of';
comment on column usher.conversion.state is
    'pending, approved, rejected or reversed';
comment on column usher.conversion.state_at is
    'When that was said; -infinity: never';
comment on column usher.conversion.amount is
    'What the network says we earn, in minor units; null: not known';
comment on column usher.conversion.amount_told is
    'What was told of it';
comment on column usher.conversion.sale_amount is
    'What was sold, in minor units; null: not known, or told before the '
    'amount and in another currency';
comment on column usher.conversion.sale_told is 'What was told of it';
comment on column usher.conversion.agreed is
    'What the last report told that changed nothing, which is no row of the '
    'history; null: none';
comment on column usher.conversion.currency is
    'Currency of both: of that which was told last';
comment on column usher.conversion.state_problem is
    'Why the last state that was said is not known; null: it is';
comment on column usher.conversion.state_problem_at is 'When that was said';
comment on column usher.conversion.amount_problem is
    'Why an amount that was said last is not known; null: it is';
comment on column usher.conversion.customer is
    'What the shop calls the customer; empty: not said';
comment on column usher.conversion.coupon is 'Code of a coupon; empty: none';
comment on column usher.conversion.subscription is
    'Subscription that it is a payment of; empty: none is known';
comment on column usher.conversion.link_id is
    'The link it comes of; null: see unattributed';
comment on column usher.conversion.click_id is
    'The click; null: there was none, but a coupon';
comment on column usher.conversion.clicked_at is 'When that was';
comment on column usher.conversion.via is
    'How it was found: click (its own id), customer (one presented for the '
    'customer before), coupon, renewal (as another of its subscription, or an '
    'earlier one of the customer)';
comment on column usher.conversion.bound_by is
    'Who told what it was found by; a pixel''s word gives way to another''s';
comment on column usher.conversion.unattributed is
    'Why there is no link, see usher.unattributed; null: there is';
comment on column usher.conversion.product_id is
    'Product of the link when it was bound';
comment on column usher.conversion.campaign_id is
    'Campaign of the link when it was bound';
comment on column usher.conversion.partner_id is
    'Partner of the link when it was bound: who is paid';
comment on column usher.conversion.created_at is 'When the row was made';
comment on column usher.conversion.changed_at is 'When it last changed';
comment on constraint conversion_side on usher.conversion is
    'Side network has a network, and side own a program';
comment on constraint conversion_paid on usher.conversion is
    'Nobody is paid for what a network reports';
comment on constraint conversion_pixel on usher.conversion is
    'What only a pixel told is pending';
comment on constraint conversion_money on usher.conversion is
    'An amount has a currency';
comment on constraint conversion_bound on usher.conversion is
    'It has a link, with how and by whom that was found, or a reason';
comment on sequence usher.conversion_id_seq is 'Numbers of usher.conversion';
comment on index usher.conversion_org is 'The conversions of an org';
comment on index usher.conversion_link is 'The conversions of a link';
comment on index usher.conversion_program is 'The conversions of a program';
comment on index usher.conversion_customer is
    'The conversions of a customer, by time';
comment on index usher.conversion_subscription is
    'The payments of a subscription';
comment on index usher.conversion_problem is 'What has to be looked at';


create table usher.conversion_change (
    id             bigint generated always as identity primary key,
    conversion_id  bigint not null,
    org_id         bigint not null,
    key            text not null check (key ~ '^[a-z]+:.{1,200}$'),
    origin         text not null
                   check (origin in ('postback', 'pixel', 'hook', 'import',
                                     'react')),
    at             timestamptz not null,
    effect         text not null
                   check (effect in ('new', 'changed', 'none')),
    said           jsonb not null,
    was            jsonb not null,
    became         jsonb not null,
    created_at     timestamptz not null default clock_timestamp(),
    constraint conversion_change_once unique (key),
    foreign key (conversion_id, org_id)
        references usher.conversion (id, org_id)
);

create index conversion_change_of
    on usher.conversion_change (conversion_id, id);

comment on table usher.conversion_change is
    'What was told of each conversion and what came of it: rows are only '
    'added, and customers forgotten';
comment on column usher.conversion_change.id is 'Number';
comment on column usher.conversion_change.conversion_id is 'The conversion';
comment on column usher.conversion_change.org_id is 'Whose it is';
comment on column usher.conversion_change.key is
    'What makes it this one: it is taken once';
comment on column usher.conversion_change.origin is
    'Who told: postback, pixel, hook, import; or react, which found a click '
    'later';
comment on column usher.conversion_change.at is 'When it was told';
comment on column usher.conversion_change.effect is
    'new: the conversion was not there; changed; none: known already, or '
    'something newer was';
comment on column usher.conversion_change.said is
    'What was told, as it was; means: what was made of it then';
comment on column usher.conversion_change.was is
    'State, amounts, link and so on before it';
comment on column usher.conversion_change.became is
    'State, amounts, link and so on after it';
comment on column usher.conversion_change.created_at is
    'When it was handled';
comment on sequence usher.conversion_change_id_seq is
    'Numbers of usher.conversion_change';
comment on index usher.conversion_change_of is
    'The history of a conversion';


create function usher.change_forgotten(h usher.conversion_change)
returns usher.conversion_change
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    h.said := h.said - 'customer';
    h.was := h.was - 'customer';
    h.became := h.became - 'customer';
    return h;
end
$$;

comment on function usher.change_forgotten(usher.conversion_change) is
    'A row of the history without whose conversion it was';


create function usher.conversion_change_keep()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- But a person may be forgotten: conversion_forget.
    if tg_op = 'UPDATE' then
        if new is distinct from old
           and new is not distinct from usher.change_forgotten(old)
        then
            return new;
        end if;
    end if;

    raise exception 'rows of usher.conversion_change are never changed'
        using errcode = 'insufficient_privilege',
              hint = 'What was told stays; tell something newer.';
end
$$;

comment on function usher.conversion_change_keep() is
    'Trigger: the history stays, but for whose it was';

create trigger conversion_change_keep
    before update on usher.conversion_change
    for each row execute function usher.conversion_change_keep();

create trigger conversion_change_stay
    before delete or truncate on usher.conversion_change
    for each statement execute function usher.conversion_change_keep();

comment on trigger conversion_change_keep on usher.conversion_change is
    'Rows stay as they were made';
comment on trigger conversion_change_stay on usher.conversion_change is
    'Rows stay';


alter table usher.revenue
    add column conversion_id bigint,
    add constraint revenue_conversion foreign key (conversion_id, org_id)
        references usher.conversion (id, org_id);

create index revenue_of on usher.revenue (conversion_id)
    where conversion_id is not null;

comment on column usher.revenue.conversion_id is
    'The conversion that it comes of; null: it was imported';
comment on index usher.revenue_of is 'The revenue of a conversion';
