-- 041_clicks.sql - clicks.
--
-- A click is written down before it is answered, whatever it is worth: its
-- reason says whether it counts.  Addresses were truncated and the visitor
-- was hashed before the event left nginx.

create table usher.click_reason (
    reason   smallint primary key,
    word     text not null unique,
    counted  boolean not null,
    help     text not null
);

comment on table usher.click_reason is
    'What a click is labelled as (src/common/usher_click.h)';
comment on column usher.click_reason.reason is 'Number, as in rows';
comment on column usher.click_reason.word is 'Word, as in $usher_click_reason';
comment on column usher.click_reason.counted is
    'Whether it is in the net count; the gross count has all';
comment on column usher.click_reason.help is 'What it means';

insert into usher.click_reason (reason, word, counted, help)
values (0, 'valid', true, 'Nothing speaks against it'),
       (11, 'bot', false, 'The user agent of a known robot'),
       (12, 'agent', false, 'No user agent, or none of a browser'),
       (13, 'data_centre', false, 'From a data centre'),
       (14, 'prefetch', false, 'Fetched ahead, or for a preview'),
       (15, 'head', false, 'A HEAD request'),
       (21, 'duplicate', false, 'The same visitor and link within an hour'),
       (31, 'unknown', false, 'There is no such link'),
       (32, 'loop', false, 'It leads to the host it was asked of'),
       (33, 'too_long', false, 'The URL became too long'),
       (41, 'capped', true, 'Over the cap: sent elsewhere'),
       (42, 'expired', true, 'The link has ended: sent elsewhere'),
       (44, 'dead', true, 'The target is dead: sent elsewhere'),
       (45, 'deep_link', true, 'What was asked for is no URL'),
       (46, 'deep_host', true, 'The program does not list that host');


create table usher.click (
    received_at  timestamptz not null default now(),
    event_time   timestamptz not null,
    link_id      bigint not null,
    reason       smallint not null,
    target       smallint not null,
    org_id       bigint not null,
    click_id     text not null,
    node         text not null,
    host         text not null,
    slug         text not null,
    country      text not null,
    device       text not null,
    os           text not null,
    language     text not null,
    referrer     text not null,
    sub1         text not null,
    sub2         text not null,
    sub3         text not null,
    sub4         text not null,
    sub5         text not null,
    visitor      text not null,
    address      inet,
    status       smallint not null,
    flags        smallint not null,
    relabelled   smallint
) partition by range (received_at);

create index click_link on usher.click (link_id, event_time);
create index click_number on usher.click (click_id) where click_id <> '';
create index click_time on usher.click using brin (event_time);
create index click_stored on usher.click using brin (received_at);

comment on table usher.click is 'Clicks, one row each (event kind c)';
comment on column usher.click.received_at is
    'When the row was stored; its day is the partition';
comment on column usher.click.event_time is 'When it was answered';
comment on column usher.click.link_id is 'The link; 0: none of that name';
comment on column usher.click.reason is
    'What the edge found: see usher.click_reason';
comment on column usher.click.target is
    'Number of the target; 0: the link''s own URL; -1: it fell back; -2: it '
    'overflowed; -3: nowhere';
comment on column usher.click.org_id is 'Org of the host; 0: unknown';
comment on column usher.click.click_id is
    'Signed id that the target may know; empty: none was made';
comment on column usher.click.node is 'usher_node';
comment on column usher.click.host is 'Host asked for';
comment on column usher.click.slug is 'Slug asked for';
comment on column usher.click.country is 'usher_link_country; empty: unknown';
comment on column usher.click.device is 'usher_link_device';
comment on column usher.click.os is 'usher_link_os';
comment on column usher.click.language is 'Language that the client likes best';
comment on column usher.click.referrer is 'Host of the referrer';
comment on column usher.click.sub1 is 'Argument sub1 of the click';
comment on column usher.click.sub2 is 'Argument sub2 of the click';
comment on column usher.click.sub3 is 'Argument sub3 of the click';
comment on column usher.click.sub4 is 'Argument sub4 of the click';
comment on column usher.click.sub5 is 'Argument sub5 of the click';
comment on column usher.click.visitor is
    'Hash of address and agent under a salt of the day; empty: not wanted';
comment on column usher.click.address is
    'Client address, truncated: the first 24 bits, or 48 of IPv6';
comment on column usher.click.status is 'Status of the answer';
comment on column usher.click.flags is
    '1: text was mended; 2: text was cut';
comment on column usher.click.relabelled is
    'What keep found instead when the hour closed, which has seen all nodes; '
    'null: reason stands';
comment on index usher.click_stored is 'Clicks by when they were stored';
comment on index usher.click_link is 'The clicks of a link, by time';
comment on index usher.click_number is 'A click by its id';
comment on index usher.click_time is 'Clicks by time';


insert into usher.retention (table_name, keep) values ('click', '400 days');
