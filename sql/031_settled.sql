-- 031_settled.sql - what the operator has settled of what journal verify
-- reports.  What happened stays on record where it is; this says that
-- somebody has looked, and what came of it.

create table usher.settled (
    id             bigint generated always as identity primary key,
    gap_id         bigint unique references usher.journal_gap,
    quarantine_id  bigint unique references usher.quarantine,
    slot           uuid unique references usher.journal,
    stored         boolean not null default false,
    reason         text not null check (char_length(reason) between 1 and 200),
    at             timestamptz not null default now(),
    constraint settled_one
        check (num_nonnulls(gap_id, quarantine_id, slot) = 1),
    constraint settled_stored check (not stored or quarantine_id is not null)
);

comment on table usher.settled is
    'Gaps, quarantined lines and forks that the operator has settled, once '
    'each: journal verify reports them no more as open';
comment on column usher.settled.id is 'Number';
comment on column usher.settled.gap_id is 'The gap that was accepted';
comment on column usher.settled.quarantine_id is
    'The line that was stored after all, or given up';
comment on column usher.settled.slot is 'The slot whose fork was accepted';
comment on column usher.settled.stored is
    'The line is a row now, or had been one; false: it is given up';
comment on column usher.settled.reason is 'Why, as the operator said';
comment on column usher.settled.at is 'When';
comment on constraint settled_one on usher.settled is
    'It is one thing that is settled';
comment on constraint settled_stored on usher.settled is
    'Only a line can be stored';
comment on sequence usher.settled_id_seq is 'Numbers of usher.settled';
