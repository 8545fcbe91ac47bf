-- 012_secrets.sql - secrets, as ciphertext.
--
-- They are encrypted before they come here, by who has the key file, which no
-- database ever sees; src/common/usher_secret.h has the form.  The name of the
-- row, "<kind>/<org>/<name>", is part of what is authenticated: a ciphertext
-- that was moved to another row, or whose row was renamed, does not open.

create domain usher.sealed as text;

comment on domain usher.sealed is
    'A secret as its caller has to send it: ciphertext in base64; usherctl '
    'makes it of what it is given, for the arguments kind, org and name';


create domain usher.resealed as jsonb;

comment on domain usher.resealed is
    'What the caller of secret_recrypt has encrypted anew, and where it '
    'stands; usherctl makes it';


create domain usher.minted as jsonb;

comment on domain usher.minted is
    'A secret that the caller has made and encrypted, since the function told '
    'it for which row: {"name": "3", "sealed": ciphertext in base64}; usherctl '
    'makes it';


create function usher.ciphertext_ok(ciphertext bytea)
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    -- version, key id, nonce and tag are 30 bytes; a secret has 1 to 8192
    select octet_length(ciphertext) between 31 and 8222
           and substr(ciphertext, 1, 1) = '\x01'
$$;

comment on function usher.ciphertext_ok(bytea) is
    'Whether it can be a ciphertext: its length, and version 1';


create function usher.sealed_text(ciphertext bytea)
returns text
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    -- PostgreSQL breaks lines
    select translate(encode(ciphertext, 'base64'), E'\n', '')
$$;

comment on function usher.sealed_text(bytea) is 'A ciphertext in base64';


create table usher.secret (
    id          bigint generated always as identity primary key,
    kind        text not null
                check (kind in ('account', 'click', 'network', 'source')),
    org_id      bigint references usher.org,
    name        text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    ciphertext  bytea not null check (usher.ciphertext_ok(ciphertext)),
    key_id      integer not null
                generated always as (get_byte(ciphertext, 1)) stored,
    created_at  timestamptz not null default now(),
    changed_at  timestamptz not null default now(),
    retired_at  timestamptz,
    constraint secret_once unique nulls not distinct (kind, org_id, name),
    constraint secret_click check (
        kind <> 'click'
        or (org_id is null and name ~ '^([0-9]|1[0-5])$'
            and octet_length(ciphertext) = 62))
);

comment on constraint secret_click on usher.secret is
    'A click key is the operator''s, is named by an id of four bits, and has '
    '32 bytes';

create index secret_org on usher.secret (org_id);

comment on table usher.secret is
    'Secrets that must be read again, as ciphertext; API keys are not here';
comment on column usher.secret.id is 'Number';
comment on column usher.secret.kind is
    'What it is for: account (of a platform), click (keys of click ids), '
    'network or source (of webhooks)';
comment on column usher.secret.org_id is 'Whose it is; null: the operator''s';
comment on column usher.secret.name is
    'Which of its kind; kind, org and name are authenticated with it';
comment on column usher.secret.ciphertext is
    'Version, key id, nonce, AES-256-GCM ciphertext, tag';
comment on column usher.secret.key_id is
    'Key of the key file that it is encrypted by';
comment on column usher.secret.created_at is 'When it was first put';
comment on column usher.secret.changed_at is
    'When it was last put; encrypting it anew does not change it';
comment on column usher.secret.retired_at is
    'When it was retired: it still opens, but makes nothing new; null: in use';
comment on sequence usher.secret_id_seq is 'Numbers of usher.secret';
comment on index usher.secret_org is 'The secrets of an org';
