-- 084_api_ledger.sql - nouns account, ledger.

create function api.account_list(org text default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted  bigint := usher.org_scope('account_list', org);
begin
    return (select coalesce(jsonb_agg(jsonb_build_object(
                                'id', b.account_id, 'org', o.name,
                                'kind', b.kind, 'name', b.name,
                                'balance', usher.money_text(b.balance,
                                                            b.currency),
                                'currency', b.currency,
                                'postings', b.postings)
                            order by o.name, b.kind, b.name, b.currency),
                            '[]')
            from usher.account_balance b
            join usher.org o on o.id = b.org_id
            where wanted is null or b.org_id = wanted);
end
$$;

comment on function api.account_list(text) is
'Lists the accounts of the ledger and what they stand at: debits (assets and
expenses grow by them) less credits (liabilities and revenue do).
org: only of this org; the operator may leave it out';


create function usher.entry_json(e usher.ledger_entry)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', e.id, 'at', e.at, 'org', o.name, 'what', e.what,
        'reference', e.reference, 'reverses', e.reverses,
        'reversed', (select r.id from usher.ledger_entry r
                     where r.reverses = e.id),
        'postings', (select jsonb_agg(jsonb_build_object(
                                'account', a.id, 'kind', a.kind,
                                'name', a.name,
                                'amount', usher.money_text(p.amount,
                                                           p.currency),
                                'currency', p.currency)
                            order by p.n)
                     from usher.ledger_posting p
                     join usher.account a on a.id = p.account_id
                     where p.entry_id = e.id))
    from usher.org o
    where o.id = e.org_id
$$;

comment on function usher.entry_json(usher.ledger_entry) is
    'An entry of the ledger as the catalogue shows it';


create function api.ledger_list(org text default null,
    what text default null, account bigint default null,
    "limit" integer default 100, before bigint default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    wanted  bigint := usher.org_scope('ledger_list', org);
begin
    return (select coalesce(jsonb_agg(usher.entry_json(l) order by l.id desc),
                            '[]')
            from (select e.*
                  from usher.ledger_entry e
                  where (wanted is null or e.org_id = wanted)
                        and (ledger_list.what is null
                             or e.what = ledger_list.what)
                        and (account is null
                             or exists (select from usher.ledger_posting p
                                        where p.entry_id = e.id
                                              and p.account_id = account))
                        and (before is null or e.id < before)
                  order by e.id desc
                  limit usher.page("limit")) l);
end
$$;

comment on function api.ledger_list(text, text, bigint, integer, bigint) is
'Lists what was posted, the newest first.
org: only of this org; the operator may leave it out
what: only what is named so
account: only what touches this account: its id
limit: at most so many
before: go on before this id';


create function api.ledger_reverse(what text, reason text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    e     usher.ledger_entry;
    made  bigint;
begin
    perform usher.authorize('ledger_reverse', null);
    perform usher.reason_ok(reason);

    -- Revenue, cost and payouts would say another than the ledger.
    if what ~ '^(conversion|commission|payout):' then
        perform usher.fail('409', format('"%s" follows from %s', what,
            case when what ~ '^payout' then 'a payout that was closed'
                 else 'a conversion' end),
            case when what ~ '^payout'
                 then 'What was paid stays: what is taken back later is less '
                      'in the next batch.'
                 else 'It is taken back with the conversion: by a postback, '
                      'or conversion import.' end);
    end if;

    made := usher.ledger_reverse(what, reason);

    select l.* into e from usher.ledger_entry l where l.id = made;

    perform usher.note('ledger_reverse', e.org_id,
        jsonb_build_object('what', what, 'reason', reason, 'entry', e.id));

    return usher.entry_json(e);
end
$$;

comment on function api.ledger_reverse(text, text) is
'Posts what takes an entry back: the same amounts with the other sign.  The
entry itself stays as it is, and is taken back once.  What follows from a
conversion or a payout is not taken back here.
what: the entry, as ledger list names it
reason: why, kept with it';


insert into usher.right (function, role)
select f, r
from unnest(array['account_list', 'ledger_list']) f,
     unnest(array['owner', 'admin', 'analyst']) r;
