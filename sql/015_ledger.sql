-- 015_ledger.sql - double entry, of which nothing is ever changed.
--
-- An entry says how many postings it has, and its postings are numbered up to
-- that: once it is whole nothing can be added to it, so it is enough to look
-- at it once, at the commit.

create table usher.account (
    id          bigint generated always as identity primary key,
    org_id      bigint not null references usher.org,
    kind        text not null
                check (kind in ('asset', 'liability', 'revenue', 'expense')),
    name        usher.label not null,
    currency    text not null references usher.currency,
    created_at  timestamptz not null default now(),
    unique (org_id, kind, name, currency),
    unique (id, currency)
);

comment on table usher.account is 'Accounts of the ledger';
comment on column usher.account.id is 'Number';
comment on column usher.account.org_id is 'In whose books it is';
comment on column usher.account.kind is
    'asset, liability, revenue or expense';
comment on column usher.account.name is 'What it is for';
comment on column usher.account.currency is 'Currency of all its postings';
comment on column usher.account.created_at is 'When it was opened';
comment on sequence usher.account_id_seq is 'Numbers of usher.account';


create table usher.ledger_entry (
    id         bigint generated always as identity primary key,
    org_id     bigint not null references usher.org,
    at         timestamptz not null default now(),
    what       usher.label not null unique,
    reference  text not null default '' check (char_length(reference) <= 200),
    reverses   bigint unique,
    postings   integer not null check (postings between 2 and 10000),
    unique (id, postings),
    unique (id, org_id),
    constraint ledger_entry_reverses
        foreign key (reverses, org_id)
        references usher.ledger_entry (id, org_id),
    constraint ledger_entry_what
        check (case when reverses is null then what !~ '^reversal:'
                    else what = 'reversal:' || reverses end)
);

create index ledger_entry_org on usher.ledger_entry (org_id, id);

comment on table usher.ledger_entry is
    'What was posted: each thing once, for ever';
comment on column usher.ledger_entry.id is 'Number';
comment on column usher.ledger_entry.org_id is 'In whose books it is';
comment on column usher.ledger_entry.at is 'When it was posted';
comment on column usher.ledger_entry.what is
    'What is posted, as payout:17: the same thing is posted once';
comment on column usher.ledger_entry.reference is 'What people say of it';
comment on column usher.ledger_entry.reverses is
    'The entry that it takes back, if it does; each is taken back once';
comment on column usher.ledger_entry.postings is 'How many postings it has';
comment on constraint ledger_entry_reverses on usher.ledger_entry is
    'What is taken back is in the same books';
comment on constraint ledger_entry_what on usher.ledger_entry is
    'Reversals are named by what they reverse, and nothing else so';
comment on sequence usher.ledger_entry_id_seq is
    'Numbers of usher.ledger_entry';
comment on index usher.ledger_entry_org is 'The entries of an org, in order';


create table usher.ledger_posting (
    entry_id    bigint not null,
    n           integer not null,
    of          integer not null,
    account_id  bigint not null,
    -- What is taken back has to fit as well.
    amount      bigint not null
                check (amount <> 0 and amount > -9223372036854775808),
    currency    text not null,
    primary key (entry_id, n),
    foreign key (entry_id, of) references usher.ledger_entry (id, postings),
    foreign key (account_id, currency) references usher.account (id, currency),
    constraint ledger_posting_number check (n between 1 and of)
);

create index ledger_posting_account on usher.ledger_posting (account_id)
    include (amount);

comment on table usher.ledger_posting is
    'The lines of an entry: they add up to 0 in each currency';
comment on column usher.ledger_posting.entry_id is 'The entry';
comment on column usher.ledger_posting.n is 'Its number in the entry, from 1';
comment on column usher.ledger_posting.of is 'How many the entry has';
comment on column usher.ledger_posting.account_id is 'The account';
comment on column usher.ledger_posting.amount is
    'Minor units: above 0 debit (assets and expenses grow), below 0 credit';
comment on column usher.ledger_posting.currency is
    'The currency, which is the account''s';
comment on constraint ledger_posting_number on usher.ledger_posting is
    'An entry has as many postings as it says';
comment on index usher.ledger_posting_account is 'Sums of an account';


create function usher.ledger_keep()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'rows of usher.% are never changed', tg_table_name
        using errcode = 'insufficient_privilege',
              hint = 'Post a reversal: ledger_reverse makes one.';
end
$$;

comment on function usher.ledger_keep() is 'Trigger: the ledger stays';

create trigger account_keep
    before update or delete or truncate on usher.account
    for each statement execute function usher.ledger_keep();
create trigger ledger_entry_keep
    before update or delete or truncate on usher.ledger_entry
    for each statement execute function usher.ledger_keep();
create trigger ledger_posting_keep
    before update or delete or truncate on usher.ledger_posting
    for each statement execute function usher.ledger_keep();

comment on trigger account_keep on usher.account is
    'Rows stay as they were made';
comment on trigger ledger_entry_keep on usher.ledger_entry is
    'Rows stay as they were made';
comment on trigger ledger_posting_keep on usher.ledger_posting is
    'Rows stay as they were made';


-- At the commit the caller is himself again, and may see no table.

create function usher.ledger_whole()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    posted  bigint;
    off     text;
begin
    select count(*) into posted
    from usher.ledger_posting p where p.entry_id = new.id;

    if posted <> new.postings then
        raise exception 'entry "%" has % of % postings', new.what, posted,
            new.postings
            using errcode = 'check_violation',
                  hint = 'Post an entry whole, by usher.ledger_post().';
    end if;

    select string_agg(s.currency || ' ' || s.amount, ', ' order by s.currency)
    into off
    from (select p.currency, sum(p.amount) as amount
          from usher.ledger_posting p
          where p.entry_id = new.id
          group by p.currency
          having sum(p.amount) <> 0) s;

    if off is not null then
        raise exception 'entry "%" does not balance: %', new.what, off
            using errcode = 'check_violation',
                  hint = 'Debit and credit add up to 0 in each currency.';
    end if;

    if exists (select
               from usher.ledger_posting p
               join usher.account a on a.id = p.account_id
               where p.entry_id = new.id and a.org_id <> new.org_id)
    then
        raise exception 'entry "%" is in the books of another org', new.what
            using errcode = 'check_violation',
                  hint = 'All accounts of an entry are of its org.';
    end if;

    if exists (select
               from usher.ledger_posting p
               where new.reverses is not null
                     and p.entry_id in (new.id, new.reverses)
               group by p.account_id
               having sum(p.amount) <> 0)
    then
        raise exception 'entry "%" is not what takes entry % back', new.what,
            new.reverses
            using errcode = 'check_violation',
                  hint = 'ledger_reverse makes one: the same amounts with '
                         'the other sign.';
    end if;

    return null;
end
$$;

comment on function usher.ledger_whole() is
    'Trigger: an entry has all its postings, of its org, and balances; a '
    'reversal takes back what it says';

create constraint trigger ledger_whole
    after insert on usher.ledger_entry
    deferrable initially deferred
    for each row execute function usher.ledger_whole();

comment on trigger ledger_whole on usher.ledger_entry is
    'At the commit an entry is whole and balances';


create view usher.account_balance as
    select a.id as account_id, a.org_id, a.kind, a.name, a.currency,
           coalesce(sum(p.amount), 0) as balance, count(p.n) as postings
    from usher.account a
    left join usher.ledger_posting p on p.account_id = a.id
    group by a.id;

comment on view usher.account_balance is 'What each account stands at';
comment on column usher.account_balance.account_id is 'The account';
comment on column usher.account_balance.org_id is 'In whose books it is';
comment on column usher.account_balance.kind is 'Its kind';
comment on column usher.account_balance.name is 'Its name';
comment on column usher.account_balance.currency is 'Its currency';
comment on column usher.account_balance.balance is
    'Sum of its postings in minor units: debits less credits';
comment on column usher.account_balance.postings is 'How many these are';


create function usher.account_ensure(org_id bigint, kind text, name text,
    currency text)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    found_id  bigint;
begin
    perform usher.exponent(currency);

    loop
        select a.id into found_id
        from usher.account a
        where a.org_id = account_ensure.org_id
              and a.kind = account_ensure.kind
              and a.name = account_ensure.name
              and a.currency = account_ensure.currency;

        if found_id is not null then
            return found_id;
        end if;

        insert into usher.account (org_id, kind, name, currency)
        values (account_ensure.org_id, account_ensure.kind,
                account_ensure.name, account_ensure.currency)
        on conflict do nothing
        returning id into found_id;

        if found_id is not null then
            return found_id;
        end if;
    end loop;
end
$$;

comment on function usher.account_ensure(bigint, text, text, text) is
    'The account of this name, which is opened if it is not there';


create function usher.ledger_org(accounts bigint[], amounts bigint[])
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    known  bigint;
    orgs   bigint[];
    off    text;
begin
    if coalesce(cardinality(accounts), 0) not between 2 and 10000
       or cardinality(accounts) is distinct from cardinality(amounts)
       or array_position(accounts, null) is not null
       or array_position(amounts, null) is not null
       or 0 = any (amounts) or -9223372036854775808 = any (amounts)
    then
        perform usher.fail('400', 'these are no postings',
            'An entry has 2 to 10000 postings, each with an account and an '
            'amount of minor units other than 0.');
    end if;

    select count(a.id), array_agg(distinct a.org_id) into known, orgs
    from unnest(accounts) p (id)
    left join usher.account a on a.id = p.id;

    if known <> cardinality(accounts) then
        perform usher.fail('404', 'there is no such account',
            'account_list shows all.');
    end if;

    if cardinality(orgs) > 1 then
        perform usher.fail('400', 'the accounts are of several orgs',
            'An entry is in the books of one org.');
    end if;

    select string_agg(usher.money_text(s.amount, s.currency) || ' '
                      || s.currency, ', ' order by s.currency)
    into off
    from (select a.currency, sum(p.amount) as amount
          from unnest(accounts, amounts) p (id, amount)
          join usher.account a on a.id = p.id
          group by a.currency
          having sum(p.amount) <> 0) s;

    if off is not null then
        perform usher.fail('400',
            format('these postings do not balance: %s', off),
            'Debit and credit add up to 0 in each currency.');
    end if;

    return orgs[1];
end
$$;

comment on function usher.ledger_org(bigint[], bigint[]) is
    'The org of these postings; raises unless they can be an entry';


create function usher.ledger_post(what text, accounts bigint[],
    amounts bigint[], reference text default '',
    reverses bigint default null)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    org_id  bigint := usher.ledger_org(accounts, amounts);
    made    bigint;
    there   usher.ledger_entry;
begin
    if reverses is null then
        perform usher.text_ok('what', what,
            '^(?!reversal:)[^[:cntrl:]]{1,200}$',
            'Name what is posted by 1 to 200 characters; reversal: is for '
            'those of ledger_reverse.');
    end if;

    -- Two at once: the second waits here for the first.
    insert into usher.ledger_entry (org_id, what, reference, reverses,
        postings)
    values (org_id, what, ledger_post.reference, ledger_post.reverses,
            cardinality(accounts))
    on conflict on constraint ledger_entry_what_key do nothing
    returning id into made;

    if made is not null then
        insert into usher.ledger_posting (entry_id, n, of, account_id,
            amount, currency)
        select made, p.n, cardinality(accounts), p.account, p.amount,
               a.currency
        from unnest(accounts, amounts) with ordinality
             p (account, amount, n)
        join usher.account a on a.id = p.account;

        return made;
    end if;

    select e.* into there
    from usher.ledger_entry e where e.what = ledger_post.what;

    if there.postings <> cardinality(accounts)
       or exists (select p.account_id, p.amount
                  from usher.ledger_posting p where p.entry_id = there.id
                  except all
                  select * from unnest(accounts, amounts))
    then
        perform usher.fail('409',
            format('"%s" is posted already, with other postings', what),
            format('It is entry %s; ledger_list shows it.  To correct it, '
                   'post a reversal by ledger_reverse, and it anew under '
                   'another name.', there.id));
    end if;

    return there.id;
end
$$;

comment on function usher.ledger_post(text, bigint[], bigint[], text,
    bigint) is
    'Posts an entry: amounts of minor units to accounts, above 0 debit.  What '
    'is posted already, with the same postings, is not posted again.  '
    'Returns the number of the entry';


create function usher.ledger_reverse(what text, reference text default '')
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    entry     bigint;
    accounts  bigint[];
    amounts   bigint[];
begin
    select e.id into entry
    from usher.ledger_entry e where e.what = ledger_reverse.what;

    if entry is null then
        perform usher.fail('404',
            format('no entry "%s" is posted', left(what, 60)),
            'ledger_list shows all.');
    end if;

    select array_agg(p.account_id order by p.n),
           array_agg(-p.amount order by p.n)
    into accounts, amounts
    from usher.ledger_posting p where p.entry_id = entry;

    return usher.ledger_post('reversal:' || entry, accounts, amounts,
                             reference, entry);
end
$$;

comment on function usher.ledger_reverse(text, text) is
    'Posts what takes an entry back, once; returns the number of that entry';
