-- 010_customers.sql - orgs, plans, subscriptions, keys, members, audit.
--
-- The rules are constraints, so that they hold whoever writes.  The limits on
-- lengths are those of the edge's cells (NGX_HTTP_USHER_* in src/edge).

create function usher.scopes_ok(scopes text[])
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select array_ndims(scopes) is null
           or (array_ndims(scopes) = 1
               and octet_length(array_to_string(scopes, ' ')) <= 512
               and (select bool_and(coalesce(s ~ '^[!#-\[\]-~]+$', false))
                    from unnest(scopes) s))
$$;

comment on function usher.scopes_ok(text[]) is
    'Whether these are scope tokens of RFC 6750, at most 512 bytes together';


create function usher.networks_ok(networks cidr[])
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select array_ndims(networks) is null
           or (array_ndims(networks) = 1
               and array_position(networks, null) is null
               and octet_length(array_to_string(networks, ' ')) <= 512)
$$;

comment on function usher.networks_ok(cidr[]) is
    'Whether this allow list fits the edge: at most 512 bytes as text';


create table usher.org (
    id           bigint generated always as identity primary key,
    name         text not null unique
                 check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    kind         text not null default 'company'
                 check (kind in ('company', 'person')),
    title        text not null default '' check (char_length(title) <= 200),
    scopes       text[] check (usher.scopes_ok(scopes)),
    disabled_at  timestamptz,
    created_at   timestamptz not null default now()
);

comment on table usher.org is 'A customer; a person is an org of kind person';
comment on column usher.org.id is 'Number of the org, also in events';
comment on column usher.org.name is 'Short name, as in URLs and commands';
comment on column usher.org.kind is 'company or person';
comment on column usher.org.title is 'Name for people';
comment on column usher.org.scopes is
    'What its own people may give its keys; null: any scope';
comment on column usher.org.disabled_at is
    'When all its keys were disabled; null: enabled';
comment on column usher.org.created_at is 'When it was created';
comment on sequence usher.org_id_seq is 'Numbers of usher.org';


create table usher.plan (
    id          bigint generated always as identity primary key,
    name        text not null unique
                check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    title       text not null default '' check (char_length(title) <= 200),
    created_at  timestamptz not null default now()
);

comment on table usher.plan is 'What a customer buys: a set of policies';
comment on column usher.plan.id is 'Number of the plan, also its record''s id';
comment on column usher.plan.name is 'Short name';
comment on column usher.plan.title is 'Name for people';
comment on column usher.plan.created_at is 'When it was created';
comment on sequence usher.plan_id_seq is 'Numbers of usher.plan';


create table usher.plan_policy (
    plan_id   bigint not null references usher.plan on delete cascade,
    name      text not null check (name ~ '^[a-z0-9][a-z0-9_-]{0,31}$'),
    quota     bigint not null check (quota between 1 and 1000000000),
    window_s  integer not null check (window_s between 1 and 86400),
    burst     bigint not null check (burst between 1 and 1000000000),
    scope     text not null default 'key' check (scope in ('key', 'org')),
    bucket    smallint not null check (bucket between 0 and 3),
    primary key (plan_id, name),
    -- A plan has at most four buckets of each scope.
    unique (plan_id, scope, bucket),
    -- A full bucket reaches at most a year into the future.
    constraint plan_policy_fill
        check (burst::numeric * window_s <= quota::numeric * 31536000)
);

comment on table usher.plan_policy is 'The limits of a plan, changeable live';
comment on column usher.plan_policy.plan_id is 'The plan';
comment on column usher.plan_policy.name is
    'Name of the policy, as in the RateLimit fields';
comment on column usher.plan_policy.quota is 'Units per window';
comment on column usher.plan_policy.window_s is 'Window, in seconds';
comment on column usher.plan_policy.burst is
    'Units that an idle bucket holds';
comment on column usher.plan_policy.scope is
    'key: one bucket per key; org: one for all keys of the org';
comment on column usher.plan_policy.bucket is
    'Which of the four buckets of its scope; stays while the policy lives';
comment on constraint plan_policy_fill on usher.plan_policy is
    'An empty bucket is full again within a year';


create table usher.subscription (
    id         bigint generated always as identity primary key,
    org_id     bigint not null references usher.org,
    plan_id    bigint not null references usher.plan,
    starts_at  timestamptz not null default now(),
    ends_at    timestamptz,
    constraint subscription_order check (ends_at > starts_at),
    -- int8range stands for equality, which GiST knows only by an extension.
    constraint subscription_one_at_a_time
        exclude using gist (int8range(org_id, org_id, '[]') with &&,
                            tstzrange(starts_at, ends_at) with &&)
);

create index subscription_plan on usher.subscription (plan_id);
create index subscription_starts on usher.subscription (starts_at);
create index subscription_ends on usher.subscription (ends_at);

comment on table usher.subscription is
    'Which plan an org has when; one at a time';
comment on column usher.subscription.id is 'Number';
comment on column usher.subscription.org_id is 'The org';
comment on column usher.subscription.plan_id is 'The plan';
comment on column usher.subscription.starts_at is 'First moment';
comment on column usher.subscription.ends_at is
    'First moment after it; null: open';
comment on sequence usher.subscription_id_seq is
    'Numbers of usher.subscription';
comment on index usher.subscription_plan is 'Who has a plan';
comment on index usher.subscription_starts is 'What begins by the clock';
comment on index usher.subscription_ends is 'What ends by the clock';
comment on constraint subscription_order on usher.subscription is
    'It ends after it starts';
comment on constraint subscription_one_at_a_time on usher.subscription is
    'An org has one plan at a time';


create table usher.key (
    id             bigint generated always as identity primary key,
    org_id         bigint not null references usher.org,
    digest         bytea not null unique check (octet_length(digest) = 32),
    display        text not null
                   generated always as (left(encode(digest, 'hex'), 8))
                   stored,
    name           text not null default '' check (char_length(name) <= 100),
    env            text not null default 'live'
                   check (env in ('live', 'test')),
    brand          text not null default 'usher'
                   check (brand ~ '^[a-z0-9]{1,16}$'),
    scopes         text[] not null default '{}'
                   check (usher.scopes_ok(scopes)),
    allow          cidr[] not null default '{}'
                   check (usher.networks_ok(allow)),
    plan_id        bigint references usher.plan,
    expires_at     timestamptz,
    revoked_at     timestamptz,
    revoke_reason  text check (char_length(revoke_reason) <= 200),
    successor_id   bigint unique references usher.key,
    grace_until    timestamptz,
    created_at     timestamptz not null default now(),
    constraint key_revoked
        check (revoke_reason is null or revoked_at is not null),
    constraint key_rotated
        check ((successor_id is null) = (grace_until is null)),
    constraint key_successor check (successor_id <> id)
);

create index key_org on usher.key (org_id);
create index key_display on usher.key (display);

comment on table usher.key is
    'API keys; the key itself is stored nowhere, only its digest';
comment on column usher.key.id is 'Number of the key, also in events';
comment on column usher.key.org_id is 'Whose key it is';
comment on column usher.key.digest is
    'SHA-256 of the key; in hexadecimal the id of its record';
comment on column usher.key.display is
    'First 8 hexadecimal digits of the digest, to tell keys apart';
comment on column usher.key.name is 'What the customer calls it';
comment on column usher.key.env is 'live or test, as in the key''s text';
comment on column usher.key.brand is 'First word of the key''s text';
comment on column usher.key.scopes is 'What it may be used for';
comment on column usher.key.allow is
    'Networks it may be used from; empty: all';
comment on column usher.key.plan_id is
    'Its own plan; null: the plan of the org''s subscription';
comment on column usher.key.expires_at is 'When it ends; null: never';
comment on column usher.key.revoked_at is 'When it was revoked';
comment on column usher.key.revoke_reason is 'Why it was revoked';
comment on column usher.key.successor_id is 'The key that replaces it';
comment on column usher.key.grace_until is
    'Until when a rotated key is still taken';
comment on column usher.key.created_at is 'When it was created';
comment on sequence usher.key_id_seq is 'Numbers of usher.key';
comment on index usher.key_org is 'The keys of an org';
comment on index usher.key_display is 'A key by how it is shown';
comment on constraint key_revoked on usher.key is
    'A reason is that of a revocation';
comment on constraint key_rotated on usher.key is
    'Who has a successor has a grace period, and only then';
comment on constraint key_successor on usher.key is
    'No key succeeds itself';


create table usher.member (
    -- Audit rows name the operator by a prefix that no actor has.
    actor       text not null check (actor ~ '^[!-~]{1,100}$'
                                     and actor !~* '^operator:'),
    org_id      bigint not null references usher.org,
    role        text not null
                check (role in ('owner', 'admin', 'analyst', 'partner')),
    created_at  timestamptz not null default now(),
    primary key (actor, org_id)
);

create index member_org on usher.member (org_id);

comment on table usher.member is 'Who may do what for which org';
comment on column usher.member.actor is
    'Name that the caller of the catalogue states (setting usher.actor)';
comment on column usher.member.org_id is 'The org';
comment on column usher.member.role is 'owner, admin, analyst or partner';
comment on column usher.member.created_at is 'When it was given';
comment on index usher.member_org is 'The members of an org';


create table usher.right (
    function  text not null,
    role      text not null
              check (role in ('owner', 'admin', 'analyst', 'partner')),
    primary key (function, role)
);

comment on table usher.right is
    'Roles that may call a function of the catalogue for their org; a '
    'function without a row is the operator''s';
comment on column usher.right.function is 'Name of the function in schema api';
comment on column usher.right.role is 'Role that may call it';


create table usher.audit (
    id         bigint generated always as identity primary key,
    at         timestamptz not null default now(),
    actor      text not null,
    function   text not null,
    arguments  jsonb not null,
    org_id     bigint references usher.org
);

create index audit_org on usher.audit (org_id, id);

comment on table usher.audit is 'One row for every change by the catalogue';
comment on column usher.audit.id is 'Number';
comment on column usher.audit.at is 'When';
comment on column usher.audit.actor is
    'Who, as stated; "operator:" and the database role if nobody was';
comment on column usher.audit.function is 'Which function of the catalogue';
comment on column usher.audit.arguments is
    'What was asked for and what came of it; never a secret';
comment on column usher.audit.org_id is 'Which org it concerned, if one';
comment on sequence usher.audit_id_seq is 'Numbers of usher.audit';
comment on index usher.audit_org is 'What concerned an org, in order';


create function usher.audit_keep()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'rows of usher.audit are never changed'
        using errcode = 'insufficient_privilege';
end
$$;

comment on function usher.audit_keep() is 'Trigger: audit rows stay as made';

create trigger audit_keep
    before update or delete or truncate on usher.audit
    for each statement execute function usher.audit_keep();

comment on trigger audit_keep on usher.audit is 'Rows stay as they were made';
