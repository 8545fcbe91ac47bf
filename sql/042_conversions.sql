-- 042_conversions.sql - what was said of conversions, as it was said.
--
-- A postback or a pixel is written down, synced and then answered; what it
-- means is found out by duty react (043 ff.), which may come later and may
-- come again.  So these rows are text: nothing in them was believed, and
-- nothing that a client sends can make one fail.
--
-- The same word of the same transaction is one event, however often and
-- wherever it is sent: networks repeat a postback until it is answered.  An
-- approval after a pending differs in its status, and so in its digest: that
-- is another event.  Who says the same again and means it anew (approved,
-- reversed, approved) says when it became so, or gives each message an id:
-- both are in the digest.  Of who does neither usher.react_again() thinks.

create table usher.conversion_event (
    received_at     timestamptz not null default now(),
    event_time      timestamptz not null,
    postback_id     bigint not null,
    org_id          bigint not null,
    origin          text not null,
    click_status    smallint not null,
    click_id        text not null,
    transaction_id  text not null,
    status          text not null,
    amount          text not null,
    sale_amount     text not null,
    currency        text not null,
    customer        text not null,
    coupon          text not null,
    status_time     text not null,
    event_id        text not null,
    subscription    text not null,
    cookie          text not null,
    digest          bytea not null,
    node            text not null,
    request_id      text not null,
    address         inet,
    query           text not null,
    flags           smallint not null
) partition by range (received_at);

create index conversion_event_transaction
    on usher.conversion_event (postback_id, transaction_id);
create index conversion_event_time
    on usher.conversion_event using brin (event_time);

comment on table usher.conversion_event is
    'What was said of conversions, one row each (event kind v)';
comment on column usher.conversion_event.received_at is
    'When the row was stored; its day is the partition';
comment on column usher.conversion_event.event_time is 'When it was answered';
comment on column usher.conversion_event.postback_id is
    'The postback it came to';
comment on column usher.conversion_event.org_id is 'Org of the postback';
comment on column usher.conversion_event.origin is
    'postback: a server said so; pixel: a browser did';
comment on column usher.conversion_event.click_status is
    '0: click_id is signed by us; 1: none was given; 2: malformed; 3: there '
    'is no such key; 4: forged';
comment on column usher.conversion_event.click_id is
    'Id of the click, as it was given';
comment on column usher.conversion_event.transaction_id is
    'What the network, or the shop, calls the transaction';
comment on column usher.conversion_event.status is
    'The network''s word for its state; empty: none';
comment on column usher.conversion_event.amount is
    'What is earned by it, as it was written; empty: not said';
comment on column usher.conversion_event.sale_amount is
    'What was sold, as it was written; empty: not said';
comment on column usher.conversion_event.currency is
    'Currency of both, as it was written; empty: not said';
comment on column usher.conversion_event.customer is
    'What the shop calls the customer; empty: not said';
comment on column usher.conversion_event.coupon is
    'Code of a coupon; empty: none';
comment on column usher.conversion_event.status_time is
    'When the state became so, as it was written; empty: not said';
comment on column usher.conversion_event.event_id is
    'What the network calls this message; empty: nothing';
comment on column usher.conversion_event.subscription is
    'Subscription that it is a payment of; empty: not said';
comment on column usher.conversion_event.cookie is
    'Ids of clicks in the cookie of the browser, signed by us, the oldest '
    'first, points between; the last is click_id; empty: none was used';
comment on column usher.conversion_event.digest is
    'SHA-256 of transaction_id to subscription, click_id and origin';
comment on column usher.conversion_event.node is 'usher_node';
comment on column usher.conversion_event.request_id is
    'Unique id of the request';
comment on column usher.conversion_event.address is 'Who sent it';
comment on column usher.conversion_event.query is
    'The query as it came, secrets taken out';
comment on column usher.conversion_event.flags is
    '1: text was mended; 2: text was cut';
comment on index usher.conversion_event_transaction is
    'What was said of a transaction';
comment on index usher.conversion_event_time is 'By time';


-- A key is of use while the same may be sent again: networks repeat for days
-- what they were not answered.  After usher.repeat_time() keep removes it; what
-- comes again later still is another row, and known all the same by the history
-- of its conversion, which stays.

create function usher.repeat_time()
returns interval
language sql immutable parallel safe
return interval '100 days';

comment on function usher.repeat_time() is
    'How long after it was said the same is no second row';


create table usher.conversion_key (
    received_at     timestamptz not null default now(),
    postback_id     bigint not null,
    transaction_id  text not null,
    digest          bytea not null,
    primary key (postback_id, transaction_id, digest)
);

create index conversion_key_old on usher.conversion_key (received_at);

comment on table usher.conversion_key is
    'What was said already: unpartitioned, so unique over all days';
comment on column usher.conversion_key.received_at is 'When it was stored';
comment on column usher.conversion_key.postback_id is
    'The postback it came to';
comment on column usher.conversion_key.transaction_id is
    'What the network calls the transaction';
comment on column usher.conversion_key.digest is 'What was said of it';
comment on index usher.conversion_key_old is 'What no repeat can come of';


-- Networks reverse for months, and a quarrel about money is looked up in what
-- came for longer than that; it is one row per sale, so two years and more
-- are little.
insert into usher.retention (table_name, keep)
values ('conversion_event', '800 days');

do $$ begin perform usher.partitions_ahead(); end $$;
