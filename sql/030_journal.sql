-- 030_journal.sql - how far each slot is stored.
--
-- The position moves in the transaction that stores the rows, and only there:
-- this is what makes an event exactly one row.  Rows are never deleted.

create table usher.journal (
    slot          uuid primary key,
    position      bigint not null default 0 check (position >= 0),
    chain         bigint not null default 0,
    rechain       boolean not null default false,
    lines         bigint not null default 0 check (lines >= 0),
    losers        bigint not null default 0 check (losers >= 0),
    state         text not null default 'live'
                  check (state in ('live', 'ended', 'forked', 'stopped')),
    reason        text,
    node          text,
    last_event    timestamptz,
    first_seen    timestamptz not null default now(),
    moved_at      timestamptz,
    announced_at  timestamptz not null default now()
) with (fillfactor = 30, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_scale_factor = 0);

comment on table usher.journal is
    'Slots of the edges'' journals and how far each is stored';
comment on column usher.journal.slot is 'Id of the slot';
comment on column usher.journal.position is
    'Payload bytes of the slot that are rows';
comment on column usher.journal.chain is
    'CRC-64 of the slot''s bytes before position, as a bit pattern';
comment on column usher.journal.rechain is
    'The chain at position is not known (journal_skip): the next entry''s is '
    'taken as it is';
comment on column usher.journal.lines is
    'Events taken from the slot: rows, quarantined lines and losers together';
comment on column usher.journal.losers is
    'Events of unique kinds that were rows already';
comment on column usher.journal.state is
    'live; ended: shipped to its end; forked: two histories; stopped: needs '
    'the operator';
comment on column usher.journal.reason is 'Why it is forked or stopped';
comment on column usher.journal.node is 'Node name, for information';
comment on column usher.journal.last_event is
    'Time of the newest event stored; closes hours';
comment on column usher.journal.first_seen is 'When flush first saw it';
comment on column usher.journal.moved_at is 'When position last moved';
comment on column usher.journal.announced_at is
    'When an edge last said that it has the slot, to a minute';


-- Silence is measured against the newest announcement, not by the clock: who
-- stopped usherd, or restored a database, has not lost a slot by that.

create view usher.journal_silent as
select j.slot, j.node, j.position, j.announced_at
from usher.journal j
where j.state = 'live'
      and j.announced_at < (select max(n.announced_at) from usher.journal n)
                           - interval '1 hour';

comment on view usher.journal_silent is
    'Live slots that no edge has announced for an hour: what they held above '
    'position may be lost';
comment on column usher.journal_silent.slot is 'Id of the slot';
comment on column usher.journal_silent.node is 'Node name, for information';
comment on column usher.journal_silent.position is
    'Payload bytes of the slot that are rows';
comment on column usher.journal_silent.announced_at is
    'When an edge last said that it has the slot';


create table usher.journal_mark (
    slot      uuid not null references usher.journal,
    position  bigint not null,
    chain     bigint not null,
    at        timestamptz not null default now(),
    primary key (slot, position)
);

create index journal_mark_at on usher.journal_mark using brin (at);

comment on table usher.journal_mark is
    'Earlier positions of slots: where two histories can be compared';
comment on column usher.journal_mark.slot is 'The slot';
comment on column usher.journal_mark.position is 'A position it had';
comment on column usher.journal_mark.chain is 'The chain there';
comment on column usher.journal_mark.at is 'When';
comment on index usher.journal_mark_at is 'Marks by age, for thinning';


create table usher.journal_gap (
    id             bigint generated always as identity primary key,
    slot           uuid not null references usher.journal,
    from_position  bigint not null,
    to_position    bigint,
    reason         text not null,
    at             timestamptz not null default now(),
    check (from_position < to_position)
);

create index journal_gap_slot on usher.journal_gap (slot);

comment on table usher.journal_gap is
    'What was lost: empty is the promise, silence is not';
comment on column usher.journal_gap.id is 'Number';
comment on column usher.journal_gap.slot is 'The slot';
comment on column usher.journal_gap.from_position is 'First byte lost';
comment on column usher.journal_gap.to_position is
    'First byte after it; null: nobody knows how much there was';
comment on column usher.journal_gap.reason is
    'corrupt, freed, or the operator''s';
comment on column usher.journal_gap.at is 'When it was passed';
comment on sequence usher.journal_gap_id_seq is 'Numbers of usher.journal_gap';
comment on index usher.journal_gap_slot is 'The gaps of a slot';
comment on constraint journal_gap_check on usher.journal_gap is
    'A gap has bytes';


create table usher.quarantine (
    id        bigint generated always as identity primary key,
    slot      uuid not null references usher.journal,
    position  bigint not null,
    kind      text not null,
    line      bytea not null,
    sqlstate  text,
    reason    text not null,
    at        timestamptz not null default now()
);

create index quarantine_slot on usher.quarantine (slot);

comment on table usher.quarantine is
    'Events that could not be made a row, with the reason';
comment on column usher.quarantine.id is 'Number';
comment on column usher.quarantine.slot is 'The slot';
comment on column usher.quarantine.position is 'Where the line begins';
comment on column usher.quarantine.kind is 'Kind and version';
comment on column usher.quarantine.line is 'The line as it came';
comment on column usher.quarantine.sqlstate is 'SQLSTATE of the refusal';
comment on column usher.quarantine.reason is 'Message of the refusal';
comment on column usher.quarantine.at is 'When';
comment on sequence usher.quarantine_id_seq is 'Numbers of usher.quarantine';
comment on index usher.quarantine_slot is 'The lines of a slot';
