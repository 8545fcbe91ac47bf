-- 021_links.sql - domains, links and their targets.
--
-- A link is found by its host and its slug; each host belongs to one org.
-- Where it leads is decided at the edge, from the record: of the targets
-- whose conditions hold, those of the lowest step are a split by weight; if
-- there is none, the link's own URL.  URLs are templates: macros in braces
-- are expanded at the edge (src/common/usher_macro.h).
--
-- What the constraints let in the edge can read: lengths and forms are those
-- of the record (src/edge/ngx_http_usher_link_record.c).

create function usher.host_ok(host text)
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select octet_length(host) <= 190
           and host ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
$$;

comment on function usher.host_ok(text) is
    'Whether this is the name of a host, in lower case';


create function usher.target_exact(url text)
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    -- No stricter than usher_macro_compile(), and no laxer: a macro stands
    -- behind the host, %, braces and all that is no URL are refused.
    select octet_length(url) <= 2048
           and p.host is not null
           and usher.host_ok(lower(p.host collate "C"))
           and (p.host !~ '(^|\.)([0-9]+|0[Xx][0-9A-Fa-f]*)$'
                or p.host ~ '^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.|$)){4}$')
           and coalesce(p.port, '1')::integer <= 65535
           and regexp_replace(p.rest,
                   '\{(click_id|link|campaign|product|program|network|partner|sub[1-5]|country|device|os|lang|referrer_host|time|slug)\}',
                   '~', 'g')
               ~ '^([/?#]([!#$&(-;=?-\[\]_a-z~]|%[0-9A-Fa-f]{2})*)?$'
    from (select m[1] as host, m[2] as port, coalesce(m[3], '') as rest
          from regexp_match(url,
              '^[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9.-]+)(?::([1-9][0-9]{0,4}))?([/?#].*)?$')
              as m) p
$$;

comment on function usher.target_exact(text) is
    'Whether a link may lead there: see usher.target_ok()';


-- Millions of URLs are checked where links are imported, so what most of them
-- are like is seen by patterns that take a microsecond: those without captures
-- and counted repeats.  What is not like that may be right all the same.  As a
-- plain expression it is inlined; its operators were looked up here.

create function usher.target_ok(url text)
returns boolean
language sql immutable parallel safe
return case
    when url ~ '^[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9]+(-+[A-Za-z0-9]+)*\.)*[A-Za-z][A-Za-z0-9]*(-+[A-Za-z0-9]+)*([/?#]|$)'
         and octet_length(split_part(url, '/', 3)) <= 63
         and url !~ '[^]!#$&(-;=?-[_a-z~%{}]'
         and (position('%' in url) = 0 or url !~ '%(?![0-9A-Fa-f]{2})')
         and replace(url, '{click_id}', '')
             !~ '\{(?!(link|campaign|product|program|network|partner|sub[1-5]|country|device|os|lang|referrer_host|time|slug)\})'
         and octet_length(replace(url, '{', ''))
             = octet_length(replace(url, '}', ''))
        then octet_length(url) <= 2048
    else usher.target_exact(url) end;

comment on function usher.target_ok(text) is
    'Whether a link may lead there: http or https, a host without user, '
    'known macros behind it, no character that a URL must not have';


create function usher.conditions_ok(list text[], form text)
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select array_ndims(list) = 1 and cardinality(list) <= 64
           and octet_length(array_to_string(list, ' ')) <= 4096
           and (select bool_and(coalesce(c ~ form, false))
                from unnest(list) c)
$$;

comment on function usher.conditions_ok(text[], text) is
    'Whether this list has 1 to 64 words, all of this form';


create table usher.domain (
    host          text collate "C" primary key check (usher.host_ok(host)),
    org_id        bigint not null references usher.org,
    fallback_url  text check (usher.target_ok(fallback_url)
                              and position('{' in fallback_url) = 0),
    created_at    timestamptz not null default now(),
    unique (host, org_id)
);

create index domain_org on usher.domain (org_id);

comment on table usher.domain is 'Hosts of links; each belongs to one org';
comment on column usher.domain.host is 'Name, in lower case, without port';
comment on column usher.domain.org_id is 'Whose it is';
comment on column usher.domain.fallback_url is
    'Where a slug leads that is no link; null: 404';
comment on column usher.domain.created_at is 'When it was added';
comment on index usher.domain_org is 'The hosts of an org';


create table usher.link (
    id               bigint generated always as identity primary key
                     check (id < 4294967296),
    org_id           bigint not null,
    host             text collate "C" not null,
    slug             text collate "C" not null
                     check (octet_length(slug) <= 64
                            and slug ~ '^[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$'),
    title            text not null default ''
                     check (char_length(title) <= 200),
    url              text not null check (usher.target_ok(url)),
    fallback_url     text check (usher.target_ok(fallback_url)),
    status           smallint not null default 302
                     check (status in (301, 302, 307, 308)),
    plain            boolean not null default false,
    pass_query       boolean not null default false,
    utm              text check (octet_length(utm) between 1 and 512
                                 and utm ~ '^utm_[a-z_]+=[A-Za-z0-9._~%{}-]*(&utm_[a-z_]+=[A-Za-z0-9._~%{}-]*)*$'
                                 and usher.target_ok('http://a/?' || utm)),
    referrer_policy  text not null default 'no-referrer-when-downgrade'
                     check (referrer_policy in ('no-referrer',
                         'no-referrer-when-downgrade', 'origin',
                         'origin-when-cross-origin', 'same-origin',
                         'strict-origin', 'strict-origin-when-cross-origin',
                         'unsafe-url')),
    program_id       bigint,
    product_id       bigint,
    campaign_id      bigint,
    partner_id       bigint,
    expires_at       timestamptz,
    overflow_url     text check (usher.target_ok(overflow_url)),
    dead             text not null default 'list'
                     check (dead in ('list', 'fallback', 'ignore')),
    untracked        boolean not null default false,
    cap              integer check (cap between 1 and 999999999),
    cap_day          integer check (cap_day between 1 and 999999999),
    cap_since        timestamptz,
    disabled_at      timestamptz,
    created_at       timestamptz not null default now(),
    constraint link_key unique (host, slug),
    constraint link_host foreign key (host, org_id)
        references usher.domain (host, org_id),
    constraint link_program foreign key (program_id, org_id)
        references usher.program (id, org_id),
    constraint link_product foreign key (product_id, program_id)
        references usher.product (id, program_id),
    constraint link_campaign foreign key (campaign_id, org_id)
        references usher.campaign (id, org_id),
    constraint link_partner foreign key (program_id, partner_id)
        references usher.program_partner (program_id, partner_id),
    constraint link_of check (program_id is not null
                              or (product_id is null and partner_id is null)),
    constraint link_size check (
        octet_length(url) + coalesce(octet_length(fallback_url), 0)
        + coalesce(octet_length(overflow_url), 0)
        + coalesce(octet_length(utm), 0) <= 3584)
);

create index link_program on usher.link (program_id)
    where program_id is not null;
create index link_campaign on usher.link (campaign_id)
    where campaign_id is not null;
create index link_capped on usher.link (id) where cap_since is not null;

comment on index usher.link_program is 'The links of a program';
comment on index usher.link_campaign is 'The links of a campaign';
comment on index usher.link_capped is 'Links with a cap';

comment on table usher.link is 'Links: a host and a slug that lead somewhere';
comment on column usher.link.id is 'Number, also in click ids';
comment on column usher.link.org_id is 'Whose it is: the host''s';
comment on column usher.link.program_id is
    'Program that pays, or is paid for, what comes of it';
comment on column usher.link.product_id is 'Product of the program';
comment on column usher.link.campaign_id is 'Campaign it belongs to';
comment on column usher.link.partner_id is
    'Partner who is paid for it, of a program of our own';
comment on column usher.link.host is 'Host; with the slug the record''s id';
comment on column usher.link.slug is 'Path behind the location, as it stands';
comment on column usher.link.title is 'Name for people';
comment on column usher.link.url is
    'Where it leads if no target''s conditions hold; a template';
comment on column usher.link.fallback_url is
    'Where it leads when it cannot lead where it should; null: the host''s';
comment on column usher.link.status is 'Status of the redirect';
comment on column usher.link.plain is
    'The program forbids cloaking: the referrer is left as it is';
comment on column usher.link.pass_query is
    'The query of the click is added to the target''s, byte by byte';
comment on column usher.link.utm is
    'utm_ parameters that are added to the target; values may be macros';
comment on column usher.link.referrer_policy is 'Referrer-Policy of the answer';
comment on column usher.link.expires_at is
    'When it ends: then it leads to overflow_url, or falls back';
comment on column usher.link.overflow_url is
    'Where it leads when it has ended';
comment on column usher.link.dead is
    'What becomes of a target that is dead: list: it is listed; fallback: '
    'nobody is sent there any more; ignore: its targets are not asked';
comment on column usher.link.untracked is
    'It was asked for without a click id, where its network takes one';
comment on column usher.link.cap is
    'Net clicks that it may send on in all; null: any number';
comment on column usher.link.cap_day is
    'Net clicks that it may send on in a day (UTC); null: any number';
comment on column usher.link.cap_since is
    'When it was given its first cap: both count from then on; null: none';
comment on column usher.link.disabled_at is
    'When it was disabled: it is as if it were not there; null: enabled';
comment on column usher.link.created_at is 'When it was made';
comment on sequence usher.link_id_seq is 'Numbers of usher.link';
comment on constraint link_key on usher.link is 'One link for a slug';
comment on constraint link_host on usher.link is
    'A link belongs to the org of its host';
comment on constraint link_program on usher.link is
    'A program of the same org';
comment on constraint link_product on usher.link is
    'A product of that program';
comment on constraint link_campaign on usher.link is
    'A campaign of the same org';
comment on constraint link_partner on usher.link is
    'A partner who takes part in that program';
comment on constraint link_of on usher.link is
    'Product and partner are of a program';
comment on constraint link_size on usher.link is
    'The record fits the edge''s zone';


create table usher.link_target (
    link_id    bigint not null references usher.link on delete cascade,
    name       text not null check (name ~ '^[a-z0-9][a-z0-9_-]{0,31}$'),
    step       smallint not null default 1 check (step between 1 and 100),
    weight     integer not null default 1 check (weight between 0 and 10000),
    url        text not null check (usher.target_ok(url)),
    countries  text[] check (usher.conditions_ok(countries, '^[A-Z]{2}$')),
    devices    text[] check (usher.conditions_ok(devices, '^[a-z]{1,16}$')),
    systems    text[] check (usher.conditions_ok(systems, '^[a-z]{1,16}$')),
    languages  text[] check (usher.conditions_ok(languages,
                                                 '^[a-z]{2,3}(-[A-Z]{2})?$')),
    referrers  text[] check (usher.conditions_ok(referrers,
                                         '^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+$')),
    starts_at  timestamptz,
    ends_at    timestamptz,
    number     smallint not null check (number between 1 and 16),
    cap        integer check (cap between 1 and 999999999),
    cap_day    integer check (cap_day between 1 and 999999999),
    cap_since  timestamptz,
    primary key (link_id, name),
    constraint link_target_number unique (link_id, number),
    constraint link_target_time check (starts_at < ends_at)
);

create index link_target_capped on usher.link_target (link_id)
    where cap_since is not null;

comment on index usher.link_target_capped is 'Targets with a cap';
comment on table usher.link_target is 'Where a link leads on conditions';
comment on column usher.link_target.link_id is 'The link';
comment on column usher.link_target.name is 'Name, unique in its link';
comment on column usher.link_target.step is
    'The lowest step with a target whose conditions hold is taken';
comment on column usher.link_target.weight is
    'Its share among those of its step; 0: nobody is sent there';
comment on column usher.link_target.url is 'Where it leads; a template';
comment on column usher.link_target.countries is
    'ISO 3166 codes, any of them; null: all';
comment on column usher.link_target.devices is
    'desktop, mobile, tablet, ...: as $usher_device; null: all';
comment on column usher.link_target.systems is
    'ios, android, ...: as $usher_os; null: all';
comment on column usher.link_target.languages is
    'The language the client likes best, with or without region; null: all';
comment on column usher.link_target.referrers is
    'Hosts of the referrer, exact or *.host; null: all';
comment on column usher.link_target.starts_at is 'From when; null: always';
comment on column usher.link_target.ends_at is 'Until when; null: for ever';
comment on column usher.link_target.number is 'Number in click rows';
comment on column usher.link_target.cap is
    'Net clicks that may be sent there in all; null: any number';
comment on column usher.link_target.cap_day is
    'Net clicks that may be sent there in a day (UTC); null: any number';
comment on column usher.link_target.cap_since is
    'When it was given its first cap: both count from then on; null: none';
comment on constraint link_target_number on usher.link_target is
    'Rows name one target';
comment on constraint link_target_time on usher.link_target is
    'It ends after it starts';


create function usher.target_name(link_id bigint, number integer)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case number
               when 0 then 'url'
               when -1 then 'fallback'
               when -2 then 'overflow'
               when -3 then 'nowhere'
               else coalesce((select t.name from usher.link_target t
                              where t.link_id = target_name.link_id
                                    and t.number = target_name.number),
                             '#' || number) end
$$;

comment on function usher.target_name(bigint, integer) is
    'What a number of a target in click rows is called; #4: it was dropped';


-- A cap counts from when it is given; while there is one, another number goes
-- on with the same count.

create function usher.cap_begins()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    since  timestamptz;
begin
    if new.cap is not null or new.cap_day is not null then
        if tg_op = 'UPDATE' then
            since := old.cap_since;
        end if;

        since := coalesce(since, date_trunc('milliseconds',
                                            clock_timestamp()));
    end if;

    new.cap_since := since;

    return new;
end
$$;

comment on function usher.cap_begins() is
    'Trigger: since when the caps of a link or a target count';

create trigger cap_begins before insert on usher.link
    for each row when (new.cap is not null or new.cap_day is not null)
    execute function usher.cap_begins();
create trigger cap_begins_again before update on usher.link
    for each row when ((new.cap, new.cap_day, new.cap_since)
                       is distinct from (old.cap, old.cap_day, old.cap_since))
    execute function usher.cap_begins();
create trigger cap_begins before insert on usher.link_target
    for each row when (new.cap is not null or new.cap_day is not null)
    execute function usher.cap_begins();
create trigger cap_begins_again before update on usher.link_target
    for each row when ((new.cap, new.cap_day, new.cap_since)
                       is distinct from (old.cap, old.cap_day, old.cap_since))
    execute function usher.cap_begins();

comment on trigger cap_begins on usher.link is 'A new link with a cap';
comment on trigger cap_begins_again on usher.link is 'A cap is changed';
comment on trigger cap_begins on usher.link_target is
    'A new target with a cap';
comment on trigger cap_begins_again on usher.link_target is
    'A cap is changed';
