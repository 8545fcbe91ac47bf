-- 013_programs.sql - networks, programs, products, campaigns, partners.
--
-- Two businesses that are never mixed.  A program of side network is somebody
-- else's: we send visitors there, a network reports what we earn, and nobody
-- is paid by us.  A program of side own is ours: partners send us visitors,
-- the commission is computed, and partners are paid.  So a program has a
-- network if and only if its side is network, and partners only if it is own;
-- side, org and what a network forbids are part of the keys that refer to
-- them, so that this holds whoever writes.
--
-- Amounts are in minor units (cents) of a currency of ISO 4217.

create function usher.hosts_ok(hosts text[])
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    -- The last label begins with a letter: no address is a host.
    select array_ndims(hosts) is null
           or (array_ndims(hosts) = 1
               and octet_length(array_to_string(hosts, ' ')) <= 1024
               and (select bool_and(coalesce(
                        h ~ ('^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+'
                             '[a-z]([a-z0-9-]{0,61}[a-z0-9])?$')
                        and octet_length(h) <= 253, false))
                    from unnest(hosts) h))
$$;

comment on function usher.hosts_ok(text[]) is
    'Whether these are hosts, exact or *.host, at most 1024 bytes together';


create function usher.parameters_ok(names text[])
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select array_ndims(names) is null
           or (array_ndims(names) = 1 and cardinality(names) <= 10
               and (select bool_and(coalesce(n ~ '^[A-Za-z0-9_.-]{1,64}$',
                                             false))
                    from unnest(names) n))
$$;

comment on function usher.parameters_ok(text[]) is
    'Whether these are names of parameters of a URL, at most ten';


create function usher.parameter_map_ok(map jsonb)
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    -- What there is of a conversion has the click and the transaction.
    select case when jsonb_typeof(map) <> 'object' then false
                when map = '{}' then true
                else map ?& array['click_id', 'transaction_id']
                     and (select bool_and(coalesce(
                              e.key = any (array['click_id', 'transaction_id',
                                  'amount', 'sale_amount', 'currency',
                                  'status', 'status_time', 'event_id',
                                  'subscription', 'parent_id'])
                              and e.value ~ '^[A-Za-z0-9_.-]{1,64}$', false))
                          from jsonb_each_text(map) e) end
$$;

comment on function usher.parameter_map_ok(jsonb) is
    'Whether this says which parameter holds what of a conversion';


create function usher.status_map_ok(map jsonb)
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case when jsonb_typeof(map) <> 'object' then false
                when map = '{}' then true
                else (select bool_and(coalesce(
                          e.key = lower(e.key collate "C")
                          and char_length(e.key) <= 64
                          and e.value = any (array['pending', 'approved',
                                                   'rejected', 'reversed',
                                                   'ignored']),
                          false))
                      from jsonb_each_text(map) e) end
$$;

comment on function usher.status_map_ok(jsonb) is
    'Whether this says which state of a conversion a network''s word means';


create function usher.click_id_fits(sub_ids text[], pattern text,
    length integer)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    -- src/common: 20 bytes as lower-case base32.
    select coalesce(cardinality(sub_ids) > 0 and length >= 32
                    and 'abcdefghijklmnopqrstuvwxyz234567'
                        ~ ('^' || pattern || '+$'), false)
$$;

comment on function usher.click_id_fits(text[], text, integer) is
    'Whether a sub-id of this alphabet and length takes a click id';


create table usher.network_preset (
    name             text primary key
                     check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    title            text not null check (char_length(title) <= 200),
    sub_ids          text[] not null check (usher.parameters_ok(sub_ids)),
    -- One bracket expression of letters, digits, ranges and ._~-.
    sub_id_pattern   text
                     check (sub_id_pattern ~ ('^\[([A-Za-z0-9]-[A-Za-z0-9]'
                                              '|[A-Za-z0-9._~]){1,70}-?\]$')
                            and '' !~ sub_id_pattern),
    sub_id_length    integer check (sub_id_length between 1 and 1000),
    deep_link        text check (deep_link ~ '^[A-Za-z0-9_.-]{1,64}$'),
    on_page          boolean not null default false,
    plain            boolean not null default false,
    source           text not null check (source ~ '^(https?://|unverified$)'),
    parameters       jsonb not null default '{}'
                     check (usher.parameter_map_ok(parameters)),
    macro            text check (macro ~ '^[^%]+%[^%]+$'),
    currency         text check (currency ~ '^[A-Z]{3}$'),
    statuses         jsonb not null default '{}'
                     check (usher.status_map_ok(statuses)),
    auth             text[] not null default '{}'
                     check (auth <@ array['secret', 'hmac', 'address', 'ins',
                                          'sha_sign']),
    postback_source  text check (postback_source
                                 ~ '^(https?://|unverified$)'),
    unique (name, plain),
    constraint network_preset_sub_id
        check ((sub_id_pattern is null) = (sub_ids = '{}')
               and (sub_id_length is null) = (sub_ids = '{}')),
    constraint network_preset_postback
        check ((parameters = '{}') = (statuses = '{}')
               and (parameters = '{}') = (postback_source is null)
               and (parameters <> '{}' or (auth = '{}' and macro is null
                                           and currency is null)))
);

comment on table usher.network_preset is
    'What is known of each network; changed by migrations';
comment on column usher.network_preset.name is 'Short name';
comment on column usher.network_preset.title is 'Name for people';
comment on column usher.network_preset.sub_ids is
    'Its sub-id parameters; the first takes the click id; empty: it has none';
comment on column usher.network_preset.sub_id_pattern is
    'Regular expression of one character of a sub-id';
comment on column usher.network_preset.sub_id_length is
    'Characters that a sub-id may have';
comment on column usher.network_preset.deep_link is
    'Parameter that takes the address of a page; null: none does';
comment on column usher.network_preset.on_page is
    'Whether visitors count who come to the page itself; else only those who '
    'come by its own links do';
comment on column usher.network_preset.plain is
    'Whether its terms forbid to cloak links or to hide by redirects';
comment on column usher.network_preset.source is
    'Where alphabet and length of the sub-id were read, or unverified';
comment on column usher.network_preset.parameters is
    'Which parameter of a postback, or of a report, holds what: click_id, '
    'transaction_id, amount (earned), sale_amount, currency, status, '
    'status_time (when that became so, not when the sale was), event_id (of '
    'the message), subscription (that it is a payment of), parent_id (the '
    'transaction that a refund of its own takes back); of a list the first';
comment on column usher.network_preset.macro is
    'How it writes a macro, the name being %; null: its postbacks have a form '
    'of their own, or there are none';
comment on column usher.network_preset.currency is
    'Currency of its amounts where it names none';
comment on column usher.network_preset.statuses is
    'Which state its words, in lower case, mean: pending, approved, rejected '
    'or reversed; ignored: it tells of no conversion; the word "" stands for '
    'none at all, which holds while none was said';
comment on column usher.network_preset.auth is
    'How a postback shows that it is the network''s: secret (in the URL), '
    'hmac (of the query), address (an allow list), ins (decrypts, ClickBank), '
    'sha_sign (Digistore24); empty: it sends none, reports are imported';
comment on column usher.network_preset.postback_source is
    'Where the postback was read, or unverified';
comment on constraint network_preset_sub_id on usher.network_preset is
    'Who has a sub-id has its alphabet and length, and only then';
comment on constraint network_preset_postback on usher.network_preset is
    'Who names a conversion names its state, and where that was read';


-- Where no source was found (unverified), a sub-id takes what a click id is
-- and no more: 32 letters and digits.  A postback that names no state is
-- pending until the network's report says more.

insert into usher.network_preset
    (name, title, sub_ids, sub_id_pattern, sub_id_length, deep_link, on_page,
     plain, source, parameters, macro, currency, statuses, auth,
     postback_source)
values
    ('awin', 'Awin',
     '{clickref,clickref2,clickref3,clickref4,clickref5,clickref6}',
     '[A-Za-z0-9]', 50, 'ued', false, false,
     'https://www.awin.com/gb/news-and-events/tips-and-tricks/'
     'utilising-click-references',
     '{"click_id": "clickRef", "transaction_id": "transactionId",
       "amount": "commission", "sale_amount": "transactionAmount",
       "currency": "transactionCurrency"}',
     '!!!%!!!', null,
     '{"": "pending", "pending": "pending", "approved": "approved",
       "declined": "rejected"}',
     '{secret,address}',
     'https://help.awin.com/developers/docs/transaction-notifications'),

    ('impact', 'impact.com', '{subId1,subId2,subId3,sharedid}',
     '[A-Za-z0-9]', 32, 'u', false, false, 'unverified',
     '{"click_id": "SubId1", "transaction_id": "ActionId",
       "amount": "Payout", "sale_amount": "Amount", "currency": "Currency",
       "status": "Status"}',
     '{%}', null,
     '{"": "pending", "pending": "pending", "approved": "approved",
       "reversed": "reversed"}',
     '{secret,address}', 'https://www.mrpostback.com/impact'),

    -- Has no postback: these are the names of its Commission Detail API.
    ('cj', 'CJ', '{sid}', '[A-Za-z0-9]', 32, 'url', false, false, 'unverified',
     '{"click_id": "shopperId", "transaction_id": "commissionId",
       "amount": "pubCommissionAmountUsd", "sale_amount": "saleAmountUsd",
       "status": "actionStatus"}',
     null, 'USD',
     '{"": "pending", "new": "pending", "extended": "pending",
       "locked": "approved", "closed": "approved"}',
     '{}', 'https://docs.cj.com/docs/graphql-api'),

    -- is_event tells orders (N) from events that may become one (Y).  It says
    -- itself that its postbacks are no statement: both are pending.
    ('rakuten', 'Rakuten Advertising', '{u1}', '[A-Za-z0-9]', 72, 'murl',
     false, false,
     'https://pubhelp.rakutenadvertising.com/hc/en-us/articles/'
     '10035508493709-Signature-Implementation-Guidelines-Documentation',
     '{"click_id": "u1", "transaction_id": "etransaction_id",
       "amount": "commissions", "sale_amount": "sale_amount",
       "currency": "currency", "status": "is_event"}',
     '<%>', null, '{"": "pending", "n": "pending", "y": "pending"}',
     '{secret,address}',
     'https://pubhelp.rakutenadvertising.com/hc/en-us/articles/'
     '5949881570317-Postback-API'),

    ('shareasale', 'ShareASale', '{afftrack}', '[A-Za-z0-9]', 255,
     'urllink', false, false,
     'https://diythemes.com/thesis/rtfm/custom-tracking-strings-shareasale/',
     '{}', null, null, '{}', '{}', null),

    ('webgains', 'Webgains', '{clickref}', '[A-Za-z0-9]', 32, 'wgtarget',
     false, false, 'unverified', '{}', null, null, '{}', '{}', null),

    ('tradedoubler', 'Tradedoubler', '{epi,epi2}', '[A-Za-z0-9]', 64, 'url',
     false, false,
     'https://reports.tradedoubler.com/pan/helpTextServlet'
     '?commonInfoText=COMMUNITY_GB_EPI_TEXT'
     '&commonInfoTitle=COMMUNITY_GB_EPI_TITLE',
     '{}', null, null, '{}', '{}', null),

    ('tradetracker', 'TradeTracker', '{r}', '[A-Za-z0-9]', 32, 'u', false,
     false, 'unverified', '{}', null, null, '{}', '{}', null),

    ('everflow', 'Everflow', '{sub1,sub2,sub3,sub4,sub5}', '[A-Za-z0-9]', 32,
     'url', false, false, 'unverified',
     '{"click_id": "sub1", "transaction_id": "transaction_id",
       "amount": "payout_amount", "sale_amount": "sale_amount",
       "currency": "currency", "status": "status"}',
     '{%}', null,
     '{"": "pending", "pending": "pending", "approved": "approved",
       "rejected": "rejected", "invalid": "rejected"}',
     '{secret,hmac,address}', 'unverified'),

    -- Asks that what is unique for each click is not put into aff_sub.
    ('tune', 'TUNE',
     '{aff_click_id,aff_sub,aff_sub2,aff_sub3,aff_sub4,aff_sub5}',
     '[A-Za-z0-9]', 32, 'url', false, false, 'unverified',
     '{"click_id": "aff_click_id", "transaction_id": "transaction_id",
       "amount": "payout", "sale_amount": "sale_amount",
       "currency": "currency", "status": "status"}',
     '{%}', null,
     '{"": "pending", "pending": "pending", "approved": "approved",
       "rejected": "rejected"}',
     '{secret,hmac,address}', 'unverified'),

    -- Reports may show a tid in capitals; the alphabet of click ids has each
    -- letter once.
    ('clickbank', 'ClickBank', '{tid}', '[a-z0-9_]', 100, null, false, false,
     'https://support.clickbank.com/hc/en-us/articles/'
     '220365867-Using-HopLinks',
     '{"click_id": "trackingCodes", "transaction_id": "receipt",
       "amount": "totalAccountAmount", "sale_amount": "totalOrderAmount",
       "currency": "currency", "status": "transactionType",
       "status_time": "transactionTime", "subscription": "receipt"}',
     null, null,
     '{"sale": "approved", "bill": "approved", "rfnd": "reversed",
       "cgbk": "reversed", "insf": "rejected", "fee": "ignored",
       "cancel-rebill": "ignored", "uncancel-rebill": "ignored",
       "abandoned_order": "ignored"}',
     '{ins}',
     'https://support.clickbank.com/hc/en-us/articles/'
     '220376507-Instant-Notification-Service-INS'),

    -- The words with on_ are those of its IPN.
    ('digistore24', 'Digistore24', '{cid,sid1,sid2,sid3,sid4,sid5}',
     '[A-Za-z0-9]', 32, null, false, false, 'unverified',
     '{"click_id": "cid", "transaction_id": "transaction_id",
       "amount": "amount_affiliate", "sale_amount": "amount_brutto",
       "currency": "currency", "status": "transaction_type",
       "subscription": "order_id", "parent_id": "parent_transaction_id",
       "status_time": "transaction_processed_at"}',
     '{%}', null,
     '{"payment": "approved", "refund": "reversed",
       "chargeback": "reversed", "on_payment": "approved",
       "on_refund": "reversed", "on_chargeback": "reversed",
       "payment_denial": "rejected", "payment_missed": "ignored",
       "on_payment_missed": "ignored", "rebill_cancelled": "ignored",
       "on_rebill_cancelled": "ignored", "rebill_resumed": "ignored",
       "on_rebill_resumed": "ignored", "last_paid_day": "ignored"}',
     '{secret,address,sha_sign}',
     'https://docs.digistore24.com/knowledge-base/s2s-postback/'),

    -- No sub-id, but up to a hundred tags; its report is imported.
    ('amazon', 'Amazon Associates', '{}', null, null, null, true, true,
     'https://prodominator.com/amazon-associates-policies-violation/',
     '{}', null, null, '{}', '{}', null),

    ('generic', 'Any other network', '{subid}', '[A-Za-z0-9]', 32, 'url',
     true, false, 'unverified',
     '{"click_id": "click_id", "transaction_id": "transaction_id",
       "amount": "amount", "sale_amount": "sale_amount",
       "currency": "currency", "status": "status"}',
     null, null,
     '{"": "pending", "pending": "pending", "approved": "approved",
       "rejected": "rejected", "reversed": "reversed", "lead": "pending",
       "sale": "approved", "declined": "rejected", "refund": "reversed",
       "chargeback": "reversed"}',
     '{secret,hmac,address}', 'unverified');


create table usher.network (
    id              bigint generated always as identity primary key,
    org_id          bigint not null references usher.org,
    name            text not null
                    check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    title           text not null default ''
                    check (char_length(title) <= 200),
    preset          text not null,
    plain           boolean not null default false,
    sub_id          text check (sub_id ~ '^[A-Za-z0-9_.-]{1,64}$'),
    sub_id_pattern  text
                    check (sub_id_pattern ~ ('^\[([A-Za-z0-9]-[A-Za-z0-9]'
                                             '|[A-Za-z0-9._~]){1,70}-?\]$')
                           and '' !~ sub_id_pattern),
    sub_id_length   integer check (sub_id_length between 1 and 1000),
    deep_link       text check (deep_link ~ '^[A-Za-z0-9_.-]{1,64}$'),
    created_at      timestamptz not null default now(),
    unique (org_id, name),
    unique (id, org_id),
    unique (id, org_id, plain),
    foreign key (preset, plain)
        references usher.network_preset (name, plain) on update cascade
);

create index network_of_preset on usher.network (preset);

comment on table usher.network is 'An org''s account with a network';
comment on column usher.network.id is 'Number of the network';
comment on column usher.network.org_id is 'Whose account it is';
comment on column usher.network.name is 'Short name, one in its org';
comment on column usher.network.title is 'Name for people';
comment on column usher.network.preset is 'Which network it is';
comment on column usher.network.plain is 'As its preset says';
comment on column usher.network.sub_id is
    'Parameter that takes the click id; null: as its preset says';
comment on column usher.network.sub_id_pattern is
    'Regular expression of one character of it; null: as its preset says';
comment on column usher.network.sub_id_length is
    'Characters that it may have; null: as its preset says';
comment on column usher.network.deep_link is
    'Parameter that takes the address of a page; null: as its preset says';
comment on column usher.network.created_at is 'When it was created';
comment on sequence usher.network_id_seq is 'Numbers of usher.network';
comment on index usher.network_of_preset is 'Who uses a preset';


create view usher.network_setup as
    select n.id, n.org_id, n.preset,
           s.sub_ids, s.sub_id_pattern, s.sub_id_length,
           coalesce(n.deep_link, p.deep_link) as deep_link,
           p.on_page or coalesce(n.deep_link, p.deep_link) is not null
           as deep, n.plain,
           usher.click_id_fits(s.sub_ids, s.sub_id_pattern, s.sub_id_length)
           as trackable
    from usher.network n
    join usher.network_preset p on p.name = n.preset,
    lateral (select case when n.sub_id is null then p.sub_ids
                         else n.sub_id || array_remove(p.sub_ids, n.sub_id)
                         end as sub_ids,
                    coalesce(n.sub_id_pattern, p.sub_id_pattern)
                    as sub_id_pattern,
                    coalesce(n.sub_id_length, p.sub_id_length)
                    as sub_id_length) s;

comment on view usher.network_setup is
    'What holds for a network: what it says itself, else its preset';
comment on column usher.network_setup.id is 'The network';
comment on column usher.network_setup.org_id is 'Whose account it is';
comment on column usher.network_setup.preset is 'Which network it is';
comment on column usher.network_setup.sub_ids is
    'Its sub-id parameters; the first takes the click id';
comment on column usher.network_setup.sub_id_pattern is
    'Regular expression of one character of a sub-id';
comment on column usher.network_setup.sub_id_length is
    'Characters that a sub-id may have';
comment on column usher.network_setup.deep_link is
    'Parameter that takes the address of a page; null: none does';
comment on column usher.network_setup.deep is
    'Whether a click that names a page can be led there and count';
comment on column usher.network_setup.plain is
    'Whether its terms forbid to cloak links or to hide by redirects';
comment on column usher.network_setup.trackable is
    'Whether its sub-id takes a click id';


create function usher.click_id_returns(url text, s usher.network_setup)
returns boolean
language sql immutable parallel safe
return case
    when s.preset = 'generic' then position('{click_id}' in url) > 0
    else exists (select from unnest(s.sub_ids) i
                 where position('&' || i || '={click_id}&'
                                in '&' || substring(url
                                              from '^[^?#]*\?([^#]*)')
                                   || '&') > 0) end;

comment on function usher.click_id_returns(text, usher.network_setup) is
    'Whether this URL has the click id in a parameter that such a network '
    'gives back; of generic nobody knows which';


create table usher.program (
    id           bigint generated always as identity primary key,
    org_id       bigint not null references usher.org,
    name         text not null
                 check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    title        text not null default '' check (char_length(title) <= 200),
    side         text not null check (side in ('network', 'own')),
    network_id   bigint,
    plain        boolean not null default false,
    currency     text not null references usher.currency,
    hosts        text[] not null default '{}' check (usher.hosts_ok(hosts)),
    mode         text not null default 'redirect'
                 check (mode in ('redirect', 'plain')),
    attribution  text not null default 'last'
                 check (attribution in ('first', 'last')),
    window_days  integer not null default 30
                 check (window_days between 1 and 366),
    hold_days    integer not null default 0
                 check (hold_days between 0 and 366),
    terms        text not null default '' check (char_length(terms) <= 200),
    disabled_at  timestamptz,
    created_at   timestamptz not null default now(),
    unique (org_id, name),
    unique (id, org_id),
    unique (id, org_id, side),
    constraint program_network
        foreign key (network_id, org_id, plain)
        references usher.network (id, org_id, plain) on update cascade,
    constraint program_side
        check ((side = 'network') = (network_id is not null)),
    constraint program_plain
        check (not plain or (mode = 'plain' and side = 'network')),
    constraint program_hold check (side = 'own' or hold_days = 0)
);

create index program_network on usher.program (network_id);

comment on table usher.program is
    'An offer that links lead to, and the rules of its conversions';
comment on column usher.program.id is 'Number of the program';
comment on column usher.program.org_id is 'Whose program it is';
comment on column usher.program.name is 'Short name, one in its org';
comment on column usher.program.title is 'Name for people';
comment on column usher.program.side is
    'network: a network reports what we earn; own: we pay partners';
comment on column usher.program.network_id is
    'The network that reports; of side network only';
comment on column usher.program.plain is 'As its network says';
comment on column usher.program.currency is 'Currency of its amounts';
comment on column usher.program.hosts is
    'Where deep links may lead: hosts, or *.host for all below one';
comment on column usher.program.mode is
    'redirect: as each link says; plain: 302, nothing hidden';
comment on column usher.program.attribution is
    'Which of several clicks of a customer gets a conversion: first or last';
comment on column usher.program.window_days is
    'Days after its click that a conversion may come';
comment on column usher.program.hold_days is
    'Days that an approved commission waits for its payout; own only';
comment on column usher.program.terms is
    'Which terms hold: a version or an address';
comment on column usher.program.disabled_at is
    'When it was disabled; null: enabled';
comment on column usher.program.created_at is 'When it was created';
comment on sequence usher.program_id_seq is 'Numbers of usher.program';
comment on index usher.program_network is 'The programs of a network';
comment on constraint program_side on usher.program is
    'Side network has a network, and side own none';
comment on constraint program_plain on usher.program is
    'Where the network forbids cloaking the mode is plain';
comment on constraint program_hold on usher.program is
    'Nothing is paid, so nothing held, on side network';


-- What was earned or paid is in its currency.

create function usher.program_stays()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'the currency of program "%" stays %', old.name,
        old.currency
        using errcode = 'restrict_violation',
              hint = 'What was earned or paid is in it. Create another '
                     'program, and have links lead there.';
end
$$;

comment on function usher.program_stays() is
    'Trigger: the currency of a program stays as it was made';

create trigger program_stays
    before update on usher.program
    for each row when (new.currency <> old.currency)
    execute function usher.program_stays();

comment on trigger program_stays on usher.program is
    'Its currency stays';


create table usher.product (
    id          bigint generated always as identity primary key,
    org_id      bigint not null,
    program_id  bigint not null,
    name        text not null
                check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    title       text not null default '' check (char_length(title) <= 200),
    sku         text not null default ''
                check (sku ~ '^[^[:cntrl:]]{0,100}$'),
    price       bigint check (price between 0 and 1000000000000000),
    currency    text references usher.currency,
    created_at  timestamptz not null default now(),
    unique (program_id, name),
    unique (id, org_id),
    unique (id, program_id),
    constraint product_program
        foreign key (program_id, org_id)
        references usher.program (id, org_id),
    constraint product_price check ((price is null) = (currency is null))
);

create unique index product_sku on usher.product (program_id, sku)
    where sku <> '';

comment on table usher.product is 'Something that a program sells';
comment on column usher.product.id is 'Number of the product';
comment on column usher.product.org_id is 'Whose product it is';
comment on column usher.product.program_id is 'The program';
comment on column usher.product.name is 'Short name, one in its program';
comment on column usher.product.title is 'Name for people';
comment on column usher.product.sku is
    'What the shop or network calls it; empty: not known';
comment on column usher.product.price is
    'Price in minor units; null: not known';
comment on column usher.product.currency is 'Currency of the price';
comment on column usher.product.created_at is 'When it was created';
comment on sequence usher.product_id_seq is 'Numbers of usher.product';
comment on index usher.product_sku is 'A product by its SKU, one in a program';
comment on constraint product_price on usher.product is
    'A price has a currency';


create table usher.campaign (
    id          bigint generated always as identity primary key,
    org_id      bigint not null references usher.org,
    name        text not null
                check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    title       text not null default '' check (char_length(title) <= 200),
    starts_at   timestamptz not null default now()
                check (isfinite(starts_at)),
    ends_at     timestamptz check (isfinite(ends_at)),
    created_at  timestamptz not null default now(),
    unique (org_id, name),
    unique (id, org_id),
    constraint campaign_order check (ends_at > starts_at)
);

comment on table usher.campaign is
    'An effort that links, costs and conversions are summed up by';
comment on column usher.campaign.id is 'Number of the campaign';
comment on column usher.campaign.org_id is 'Whose campaign it is';
comment on column usher.campaign.name is 'Short name, one in its org';
comment on column usher.campaign.title is 'Name for people';
comment on column usher.campaign.starts_at is 'First moment';
comment on column usher.campaign.ends_at is
    'First moment after it; null: open';
comment on column usher.campaign.created_at is 'When it was created';
comment on sequence usher.campaign_id_seq is 'Numbers of usher.campaign';
comment on constraint campaign_order on usher.campaign is
    'It ends after it starts';


create table usher.partner (
    id             bigint generated always as identity primary key,
    org_id         bigint not null references usher.org,
    name           text not null
                   check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    kind           text not null default 'company'
                   check (kind in ('company', 'person')),
    email          text check (email ~ '^[^@[:space:][:cntrl:]]+@'
                                       '[^@[:space:][:cntrl:]]+$'
                               and char_length(email) <= 254),
    tax_id         text check (tax_id ~ '^[A-Za-z0-9][A-Za-z0-9 ./-]{0,39}$'),
    terms          text check (terms <> '' and char_length(terms) <= 200),
    terms_at       timestamptz,
    payout_method  text not null default ''
                   check (payout_method ~ '^([a-z][a-z_-]{0,15})?$'),
    payout_min     bigint not null default 0
                   check (payout_min between 0 and 1000000000000000),
    currency       text references usher.currency,
    disabled_at    timestamptz,
    created_at     timestamptz not null default now(),
    unique (org_id, name),
    unique (id, org_id),
    constraint partner_terms check ((terms is null) = (terms_at is null)),
    constraint partner_min check (payout_min = 0 or currency is not null)
);

comment on table usher.partner is 'Who sends us visitors and is paid for it';
comment on column usher.partner.id is 'Number of the partner';
comment on column usher.partner.org_id is 'Whose partner it is';
comment on column usher.partner.name is 'Short name, one in its org';
comment on column usher.partner.kind is 'company or person';
comment on column usher.partner.email is
    'Where it is written to; personal: not for analysts, nor in audit rows';
comment on column usher.partner.tax_id is
    'Its number with the tax office; personal, as email is';
comment on column usher.partner.terms is
    'Which terms it accepted; null: none yet';
comment on column usher.partner.terms_at is 'When it accepted them';
comment on column usher.partner.payout_method is
    'How it is paid, one word as in sepa; its account is a secret';
comment on column usher.partner.payout_min is
    'What it is paid at least, in minor units; 0: any amount';
comment on column usher.partner.currency is
    'Currency it is paid in; null: that of the program';
comment on column usher.partner.disabled_at is
    'When it was disabled; null: enabled';
comment on column usher.partner.created_at is 'When it was created';
comment on sequence usher.partner_id_seq is 'Numbers of usher.partner';
comment on constraint partner_terms on usher.partner is
    'What was accepted was so at some moment';
comment on constraint partner_min on usher.partner is
    'A least amount has a currency';


create table usher.program_partner (
    program_id  bigint not null,
    partner_id  bigint not null,
    org_id      bigint not null,
    side        text not null default 'own' check (side = 'own'),
    joined_at   timestamptz not null default now(),
    primary key (program_id, partner_id),
    constraint program_partner_own
        foreign key (program_id, org_id, side)
        references usher.program (id, org_id, side),
    constraint program_partner_partner
        foreign key (partner_id, org_id)
        references usher.partner (id, org_id)
);

create index program_partner_partner on usher.program_partner (partner_id);

comment on table usher.program_partner is
    'Which partners send visitors to which programs';
comment on column usher.program_partner.program_id is
    'The program, which is of side own';
comment on column usher.program_partner.partner_id is
    'The partner, of the same org';
comment on column usher.program_partner.org_id is 'The org of both';
comment on column usher.program_partner.side is
    'That of the program: who is paid is paid for what is ours';
comment on column usher.program_partner.joined_at is 'When it joined';
comment on index usher.program_partner_partner is 'The programs of a partner';
