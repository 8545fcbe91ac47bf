-- 022_health.sql - whether the targets of links are there.
--
-- Duty health asks for each URL that an enabled link may lead to, once a day,
-- each at its own time of the day: collect() finds what is to be asked, due()
-- gives what is due, seen() takes what was found.  A URL is what is asked of
-- its host, once, however many links lead there; macros have values that mean
-- nothing, and what utm_ parameters would count is left out.
--
-- Who answers 200 to 399 is alive: redirects are not followed.  404, 410, 500
-- to 599 and no answer at all are failures; the third in a row is death, and
-- one good answer is life.  After the first it is asked again in an hour, after
-- the second in six; where it is asked sooner (link check), half an hour must
-- have passed.  Everything else says nothing, 401, 403 and 429 above all: robots
-- are turned away everywhere.
--
-- Nobody dies of an outage of ours: where nothing was answered, a failure only
-- counts again if somebody else has answered since the last one, or there is
-- nobody else.

create table usher.health (
    digest      bytea primary key check (octet_length(digest) = 32),
    url         text not null check (octet_length(url) <= 8000),
    host        text collate "C" not null,
    next_at     timestamptz not null default now(),
    checked_at  timestamptz,
    status      smallint,
    error       text not null default '',
    verdict     text check (verdict in ('alive', 'failed', 'unknown')),
    failures    smallint not null default 0,
    failed_at   timestamptz,
    alive_at    timestamptz,
    dead_at     timestamptz
);

create index health_next on usher.health (host, next_at);
create index health_dead on usher.health (dead_at) where dead_at is not null;

comment on table usher.health is
    'URLs that links may lead to, and whether they answer';
comment on column usher.health.digest is 'SHA-256 of the URL';
comment on column usher.health.url is 'As it is asked';
comment on column usher.health.host is 'Its host, in lower case';
comment on column usher.health.next_at is 'When it is asked again';
comment on column usher.health.checked_at is
    'When it was asked last; null: not yet';
comment on column usher.health.status is
    'Of the answer; null: there was none';
comment on column usher.health.error is
    'What went wrong, in a word: resolve, connect, tls, timeout, ...';
comment on column usher.health.verdict is
    'What that meant; null: not yet asked';
comment on column usher.health.failures is
    'How many in a row, as far as they count';
comment on column usher.health.failed_at is 'When the last of these was';
comment on column usher.health.alive_at is 'When it was alive last';
comment on column usher.health.dead_at is 'Since when it is dead; null: no';
comment on index usher.health_next is 'What is due of a host';
comment on index usher.health_dead is 'The dead';


-- One request at a time for each host, and one in a second.

create table usher.health_host (
    host     text collate "C" primary key,
    due_at   timestamptz not null default now(),
    free_at  timestamptz not null default now()
);

create index health_host_due on usher.health_host (due_at);

comment on table usher.health_host is 'Hosts of usher.health';
comment on column usher.health_host.host is 'Name';
comment on column usher.health_host.due_at is
    'The first next_at of its URLs, or before';
comment on column usher.health_host.free_at is
    'Nothing is asked there before: a second after the last, or some minutes '
    'while something is';
comment on index usher.health_host_due is 'Hosts that are due';


create table usher.health_target (
    link_id  bigint not null references usher.link on delete cascade,
    target   smallint not null check (target between -2 and 16),
    digest   bytea not null references usher.health,
    primary key (link_id, target)
);

create index health_target_url on usher.health_target (digest);

comment on table usher.health_target is
    'Which URL is which link''s, when last looked at';
comment on column usher.health_target.link_id is 'The link';
comment on column usher.health_target.target is
    'As in usher.click: a target''s number, 0: its own URL, -1: fallback, '
    '-2: overflow';
comment on column usher.health_target.digest is 'The URL';
comment on index usher.health_target_url is 'The links of a URL';


create table usher.health_state (
    one          boolean primary key default true check (one),
    after        bigint not null default 0,
    began_at     timestamptz not null default '-infinity',
    cleaned_at   timestamptz not null default '-infinity',
    answered_at  timestamptz not null default '-infinity'
);

insert into usher.health_state default values;

comment on table usher.health_state is 'The one row of how far duty health is';
comment on column usher.health_state.one is 'True: there is one row';
comment on column usher.health_state.after is
    'Links up to this one were looked at in this round';
comment on column usher.health_state.began_at is 'When the round began';
comment on column usher.health_state.cleaned_at is
    'When what no link leads to was removed last';
comment on column usher.health_state.answered_at is
    'When anybody answered anything';


-- The values of macros.  No network knows a click "health", and an operator
-- who finds it in a report knows whose it is.  A plain expression is inlined.

create function usher.health_url(template text, link text, slug text,
    campaign text, product text, program text, network text, partner text)
returns text
language sql immutable parallel safe
return
    replace(replace(replace(replace(replace(replace(replace(replace(replace(
    replace(replace(replace(replace(replace(replace(replace(replace(replace(
    replace(template,
        '{click_id}', 'health'), '{link}', link),
        '{slug}', replace(slug, '/', '%2F')),
        '{campaign}', coalesce(campaign, '')),
        '{product}', coalesce(product, '')),
        '{program}', coalesce(program, '')),
        '{network}', coalesce(network, '')),
        '{partner}', coalesce(partner, '')),
        '{sub1}', ''), '{sub2}', ''), '{sub3}', ''), '{sub4}', ''),
        '{sub5}', ''),
        '{country}', 'US'), '{device}', 'desktop'), '{os}', 'windows'),
        '{lang}', 'en'), '{referrer_host}', ''), '{time}', '0');

comment on function usher.health_url(text, text, text, text, text, text,
    text, text) is
    'A URL with values for its macros';


create function usher.link_urls(links bigint[])
returns table (link_id bigint, target smallint, url text, digest bytea)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select a.id, a.target, a.url, sha256(convert_to(a.url, 'UTF8'))
    from (select l.id, t.target,
                 case when position('{' in t.template) = 0 then t.template
                      else usher.health_url(t.template, l.id::text, l.slug,
                               c.name, o.name, p.name, w.name, q.name)
                 end as url
          from usher.link l
          join usher.domain d on d.host = l.host
          left join usher.campaign c on c.id = l.campaign_id
          left join usher.product o on o.id = l.product_id
          left join usher.program p on p.id = l.program_id
          left join usher.network w on w.id = p.network_id
          left join usher.partner q on q.id = l.partner_id
          cross join lateral (
              select 0::smallint, split_part(l.url, '#', 1)
              where l.expires_at is null or l.expires_at > now()
              union all
              select x.number, split_part(x.url, '#', 1)
              from usher.link_target x
              where x.link_id = l.id and x.weight > 0
                    and (x.ends_at is null or x.ends_at > now())
                    and (l.expires_at is null or l.expires_at > now())
              union all
              select -1::smallint,
                     split_part(coalesce(l.fallback_url, d.fallback_url),
                                '#', 1)
              union all
              select -2::smallint, split_part(l.overflow_url, '#', 1)
              where l.expires_at is not null
          ) as t (target, template)
          where l.id = any (links) and t.template is not null) a
$$;

comment on function usher.link_urls(bigint[]) is
    'Where these links may lead now or later, as it is asked: without '
    'fragments, with values for macros';


create function usher.health_take(links bigint[])
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    taken  bigint[];
begin
    -- Hosts of our own are nobody's targets: that would be a loop.
    with wanted as materialized (
        select l.id as link_id, u.target, u.digest, u.url, h.host
        from usher.link_urls(links) u
        join usher.link l on l.id = u.link_id
        cross join lateral (
            select lower(substring(u.url from '^[^:]*://([^/?#:]*)')
                         collate "C")
        ) as h (host)
        where l.disabled_at is null and l.dead <> 'ignore'
              and octet_length(u.url) <= 8000
              and not exists (select from usher.domain d
                              where d.host = h.host)
    ), gone as (
        delete from usher.health_target t
        where t.link_id = any (links)
              and not exists (select from wanted w
                              where w.link_id = t.link_id
                                    and w.target = t.target)
    ), urls as (
        insert into usher.health as h (digest, url, host)
        select distinct on (w.digest) w.digest, w.url, w.host
        from wanted w
        order by w.digest
        on conflict do nothing
        returning h.host
    ), hosts as (
        insert into usher.health_host as h (host)
        select distinct u.host from urls u order by u.host
        on conflict (host) do update
            set due_at = least(h.due_at, excluded.due_at)
    ), targets as (
        insert into usher.health_target as t (link_id, target, digest)
        select w.link_id, w.target, w.digest from wanted w
        on conflict (link_id, target) do update
            set digest = excluded.digest
            where t.digest <> excluded.digest
        returning t.link_id
    )
    select array_agg(distinct t.link_id) into taken from targets t;

    -- Whoever died after such a link was told to lead there did not know it.
    perform usher.directory_put('link',
        (select array_agg(usher.link_id(l.host, l.slug))
         from usher.link l
         where l.id = any (taken) and l.dead = 'fallback'
               and usher.dead_targets(l) is not null), false, false);

    return coalesce(cardinality(taken), 0);
end
$$;

comment on function usher.health_take(bigint[]) is
    'Looks at where these links lead; how many of them lead elsewhere than '
    'when last looked at';


-- What was put down while the clock was ahead would hold back what is asked,
-- and what counts, until then.  Who is being told of has the next round.

create function usher.health_mend()
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    update usher.health h
    set next_at = least(h.next_at, now()),
        checked_at = case when h.checked_at > now() then now()
                          else h.checked_at end,
        failed_at = case when h.failed_at > now() then now()
                         else h.failed_at end,
        alive_at = case when h.alive_at > now() then now()
                        else h.alive_at end,
        dead_at = case when h.dead_at > now() then now()
                       else h.dead_at end
    where h.digest in (
        select u.digest from usher.health u
        where u.next_at > now() + interval '2 days'
              or greatest(u.checked_at, u.failed_at, u.alive_at, u.dead_at)
                 > now()
        for update skip locked);

    update usher.health_host o
    set due_at = case when o.due_at > now() + interval '2 days'
                      then now() else o.due_at end,
        free_at = case when o.free_at > now() + interval '10 minutes'
                       then now() else o.free_at end
    where o.host in (
        select u.host from usher.health_host u
        where u.due_at > now() + interval '2 days'
              or u.free_at > now() + interval '10 minutes'
        for update skip locked);
$$;

comment on function usher.health_mend() is
    'Has what a clock that was ahead put off asked now: nothing is planned two '
    'days ahead, and nobody has a host for more than five minutes';


create function usher.health_collect(size integer default 1000)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    s      usher.health_state;
    links  bigint[];
    taken  bigint;
begin
    select * into s from usher.health_state for update;

    if s.began_at < now() - interval '1 hour' or s.began_at > now() then
        s.began_at := now();
        s.after := 0;
        s.cleaned_at := least(s.cleaned_at, now());
        s.answered_at := least(s.answered_at, now());

        perform usher.health_mend();
    end if;

    select array_agg(l.id order by l.id) into links
    from (select k.id from usher.link k where k.id > s.after
          order by k.id limit size) l;

    taken := usher.health_take(links);

    if links is not null then
        s.after := links[cardinality(links)];

    elsif s.cleaned_at < s.began_at then
        delete from usher.health h
        where not exists (select from usher.health_target t
                          where t.digest = h.digest);
        delete from usher.health_host o
        where not exists (select from usher.health h where h.host = o.host);

        s.cleaned_at := now();
    end if;

    update usher.health_state u
    set after = s.after, began_at = s.began_at, cleaned_at = s.cleaned_at,
        answered_at = s.answered_at;

    return jsonb_build_object('links', coalesce(cardinality(links), 0),
        'taken', coalesce(taken, 0),
        'dead', (select count(*) from usher.health h
                 where h.dead_at is not null));
end
$$;

comment on function usher.health_collect(integer) is
    'Looks at the next links: new ones at once, all of them each hour';


create function usher.health_due(size integer)
returns table (digest text, url text)
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
    with free as (
        select o.host
        from usher.health_host o
        where o.due_at <= now() and o.free_at <= now()
              and not exists (select from usher.domain d
                              where d.host = o.host)
        order by o.due_at
        limit size
        for update of o skip locked
    ), claimed as (
        update usher.health_host o
        set free_at = now() + interval '5 minutes',
            due_at = coalesce((select min(h.next_at) from usher.health h
                               where h.host = o.host), 'infinity')
        from free f
        where f.host = o.host
        returning o.host
    )
    select encode(n.digest, 'hex'), n.url
    from claimed c
    cross join lateral (
        select h.digest, h.url
        from usher.health h
        where h.host = c.host and h.next_at <= now()
        order by h.next_at
        limit 1
    ) n
$$;

comment on function usher.health_due(integer) is
    'URLs to be asked now, one of a host, which are the caller''s for five '
    'minutes';


-- A time of the day that is the URL's own, half a day from now or later.

create function usher.health_daily(digest bytea)
returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case when d.at < now() + interval '12 hours'
                then d.at + interval '1 day' else d.at end
    from (select date_trunc('day', now() + interval '12 hours', 'UTC')
                 + interval '1 day' / 65536
                   * (get_byte(digest, 0) * 256 + get_byte(digest, 1)))
         as d (at)
$$;

comment on function usher.health_daily(bytea) is
    'When a URL is asked again about which all is well';


create function usher.health_verdict(status integer, error text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select case when status between 200 and 399 then 'alive'
                when status in (404, 410) or status between 500 and 599
                    then 'failed'
                when status is not null then 'unknown'
                when error in ('resolve', 'connect', 'tls', 'timeout',
                               'broken', 'large') then 'failed'
                else 'unknown' end
$$;

comment on function usher.health_verdict(integer, text) is
    'What an answer says of a target: alive, failed or unknown';


create function usher.health_counts(h usher.health, status integer)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select h.failed_at is null
           or (h.failed_at <= now() - interval '30 minutes'
               and (status is not null
                    or exists (select from usher.health_state s
                               where s.answered_at > h.failed_at)
                    or not exists (select from usher.health o
                                   where o.host <> h.host
                                         and o.dead_at is null
                                         and o.alive_at is not null)))
$$;

comment on function usher.health_counts(usher.health, integer) is
    'Whether another failure of a target is its own: not at once after the '
    'last, and not where it may be our network that is away';


create function usher.health_told(h usher.health, news text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into usher.notification (org_id, what, payload)
    select l.org_id, 'link.' || news,
           jsonb_build_object('url', h.url, 'links', count(*),
               'some', to_jsonb((array_agg(l.host || '/' || l.slug
                                           order by l.host, l.slug))[1:10]))
    from usher.link l
    where l.disabled_at is null and l.dead <> 'ignore'
          and l.id in (select t.link_id from usher.health_target t
                       where t.digest = h.digest)
    group by l.org_id
    order by l.org_id;
end
$$;

comment on function usher.health_told(usher.health, text) is
    'Tells the orgs whose links lead there that it is dead, or alive again';


create function usher.health_seen(digest text, status integer, error text)
returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    h      usher.health;
    said   text := usher.health_verdict(nullif(status, 0), error);
    news   text;
    links  text[];
begin
    select * into h from usher.health u
    where u.digest = decode(health_seen.digest, 'hex') for update;

    if h.digest is null then
        return null;
    end if;

    if said = 'alive' then
        news := case when h.dead_at is not null then 'alive' end;
        h.failures := 0;
        h.failed_at := null;
        h.dead_at := null;
        h.alive_at := now();

    elsif said = 'failed'
          and usher.health_counts(h, nullif(status, 0))
    then
        h.failures := least(h.failures + 1, 1000);
        h.failed_at := now();

        if h.failures >= 3 and h.dead_at is null then
            news := 'dead';
            h.dead_at := now();
        end if;
    end if;

    update usher.health u
    set checked_at = now(), status = nullif(health_seen.status, 0),
        error = health_seen.error, verdict = said, failures = h.failures,
        failed_at = h.failed_at, alive_at = h.alive_at, dead_at = h.dead_at,
        next_at = case
            when said = 'alive' then usher.health_daily(h.digest)
            when h.dead_at < now() - interval '7 days'
                then usher.health_daily(h.digest)
            when h.dead_at is not null then now() + interval '6 hours'
            when said = 'unknown' then usher.health_daily(h.digest)
            when h.failures < 2 or h.failed_at < now()
                then now() + interval '1 hour'
            else now() + interval '6 hours' end
    where u.digest = h.digest;

    update usher.health_host o
    set free_at = clock_timestamp() + interval '1 second',
        due_at = (select min(u.next_at) from usher.health u
                  where u.host = o.host)
    where o.host = h.host;

    if status > 0 then
        update usher.health_state s set answered_at = now();
    end if;

    if news is not null then
        perform usher.health_told(h, news);

        -- Urgent, but no revocation of a key waits for thousands of links.
        select array_agg(distinct usher.link_id(l.host, l.slug)) into links
        from usher.health_target t
        join usher.link l on l.id = t.link_id
        where t.digest = h.digest and l.dead = 'fallback';

        perform usher.directory_put('link', links,
            news = 'dead' and cardinality(links) <= 1000, false);
    end if;

    return news;
end
$$;

comment on function usher.health_seen(text, integer, text) is
    'Takes what was found of a URL, and tells the edges, and whose links lead '
    'there, if that changes; returns dead or alive if it has become so';
