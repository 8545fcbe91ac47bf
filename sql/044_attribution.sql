-- 044_attribution.sql - which click a conversion comes of.
--
-- Only ids of clicks are joined on: the one that a message brings, and those
-- that were presented for the same customer.  An id holds the link and the
-- moment, and the edge has proven its signature, so the row of the click is
-- not asked for: it may come later, or may have been dropped where a journal
-- was full.  Which of several ids counts, and for how many days, the program
-- says; the days are those between the click and the conversion, and are
-- looked at when a conversion is bound, which it is once.

create table usher.unattributed (
    reason  smallint primary key,
    word    text not null unique,
    help    text not null
);

comment on table usher.unattributed is 'Why a conversion has no link';
comment on column usher.unattributed.reason is 'Number, as in rows';
comment on column usher.unattributed.word is 'Word, as people see it';
comment on column usher.unattributed.help is 'What it means';

-- 1 to 4 are the numbers of conversion_event.click_status.
insert into usher.unattributed (reason, word, help)
values (1, 'none', 'No id of a click was given'),
       (2, 'malformed', 'What was given is no id of a click'),
       (3, 'no_key', 'The key that would have signed it is not known'),
       (4, 'forged', 'We did not sign it'),
       (5, 'unknown_link', 'There is no such link any more'),
       (6, 'other_org', 'The link is another org''s'),
       (7, 'other_program',
        'The link is of another program, or of one of another network'),
       (8, 'out_of_window', 'The click was too long before'),
       (9, 'ahead', 'The click came after the conversion'),
       (10, 'unverified', 'A report names a click that is not stored');


create function usher.click_read(click_id text, out link_id bigint,
    out clicked_at timestamptz)
language plpgsql immutable strict parallel safe
as $$
declare
    seconds  bigint := 0;
    link     bigint := 0;
begin
    -- src/common/usher_click.h: 5 bits a character; version 1 are the first
    -- four; the seconds end with the 8th, the link two bits into the 15th.
    if click_id !~ '^[cd][a-z2-7]{31}$' then
        return;
    end if;

    for i in 2 .. 15 loop
        if i <= 8 then
            seconds := seconds << 5
                       | strpos('abcdefghijklmnopqrstuvwxyz234567',
                                substr(click_id, i, 1)) - 1;
        else
            link := link << 5
                    | strpos('abcdefghijklmnopqrstuvwxyz234567',
                             substr(click_id, i, 1)) - 1;
        end if;
    end loop;

    link_id := link >> 3;
    clicked_at := to_timestamp(seconds & 4294967295);
end
$$;

comment on function usher.click_read(text) is
    'Link and moment that are in the id of a click; null: it is none.  That '
    'it is signed is for the edge to say';


create table usher.customer_click (
    scope       text not null,
    customer    text not null,
    click_id    text not null,
    clicked_at  timestamptz not null,
    primary key (scope, customer, click_id)
);

create index customer_click_time on usher.customer_click (clicked_at);
create index customer_click_of
    on usher.customer_click (scope, customer, clicked_at desc, click_id);

comment on table usher.customer_click is
    'Ids of clicks that were presented for a customer, signed by us; gone '
    'when no window reaches back to them';
comment on column usher.customer_click.scope is
    'Whose customer, as usher.conversion.scope';
comment on column usher.customer_click.customer is
    'What the shop calls the customer';
comment on column usher.customer_click.click_id is 'Id of the click';
comment on column usher.customer_click.clicked_at is 'When it was';
comment on index usher.customer_click_time is 'Clicks past every window';
comment on index usher.customer_click_of is
    'The clicks of a customer, the newest first';


create table usher.coupon (
    program_id  bigint not null references usher.program,
    code        text not null
                check (code = upper(code collate "C")
                       and code ~ '^[^[:cntrl:][:space:]]{1,64}$'),
    link_id     bigint not null references usher.link,
    created_at  timestamptz not null default now(),
    primary key (program_id, code)
);

create index coupon_link on usher.coupon (link_id);

comment on table usher.coupon is
    'Codes that stand for a link: who uses one came by it';
comment on column usher.coupon.program_id is 'The program whose code it is';
comment on column usher.coupon.code is 'The code, in capitals';
comment on column usher.coupon.link_id is 'The link, of the same program';
comment on column usher.coupon.created_at is 'When it was made';
comment on index usher.coupon_link is 'The codes of a link';


create function usher.click_judge(click_id text, at timestamptz,
    org_id bigint, network_id bigint, program_id bigint)
returns smallint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    c  record;
    l  usher.link;
    p  usher.program;
begin
    select * into c from usher.click_read(click_id);

    if c.link_id is null then
        return 2;
    end if;

    select * into l from usher.link x where x.id = c.link_id;

    if l.id is null then
        return 5;
    end if;

    if l.org_id <> click_judge.org_id then
        return 6;
    end if;

    select * into p from usher.program x where x.id = l.program_id;

    if p.id is null
       or (click_judge.network_id is null
           and p.id <> click_judge.program_id)
       or (click_judge.network_id is not null
           and p.network_id is distinct from click_judge.network_id)
    then
        return 7;
    end if;

    if at - c.clicked_at > make_interval(days => p.window_days) then
        return 8;
    end if;

    -- Clocks of edges differ, and an id has no part of a second.
    if c.clicked_at - at > interval '5 minutes' then
        return 9;
    end if;

    return null;
end
$$;

comment on function usher.click_judge(text, timestamptz, bigint, bigint,
    bigint) is
    'Why this click does not get a conversion of that moment and source; '
    'null: it may';


create function usher.click_choose(ids text[])
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    chosen  text;
begin
    if cardinality(ids) <= 1 then
        return ids[1];
    end if;

    -- Where programs of a network differ, that of the newest click decides.
    with ranked as (
        select i as id, p.attribution,
               row_number() over (order by r.clicked_at desc, i) as n
        from unnest(ids) i, usher.click_read(i) r
        join usher.link l on l.id = r.link_id
        join usher.program p on p.id = l.program_id
    )
    select c.id into chosen
    from ranked c
    order by case (select w.attribution from ranked w where w.n = 1)
                  when 'first' then -c.n else c.n end
    limit 1;

    return chosen;
end
$$;

comment on function usher.click_choose(text[]) is
    'The first or the last of these clicks, as the program says';
