-- 023_postbacks.sql - where networks and shops tell conversions, and records
-- of it.
--
-- A postback is a URL that is given to a network, or to the shop of a program
-- of our own.  Its token says which it is; that it is the network that calls
-- is proven by a secret in the URL, of which we keep the SHA-256, by an HMAC,
-- by what the network encrypts or signs, or by its address; a pixel proves
-- nothing, since whoever looks at the page sees it.  All that is configured
-- must hold.  Which parameter holds what is the preset's, but for what the
-- postback says itself.
--
-- What comes by it is judged at the edge (src/edge/ngx_http_usher_conversion*),
-- from the record, and is an event; what that means is for react to say.

create function usher.postback_map_ok(map jsonb)
returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_typeof(map) = 'object'
           and coalesce((select bool_and(
                   e.key = any (array['click_id', 'transaction_id', 'status',
                                      'amount', 'sale_amount', 'currency',
                                      'customer', 'coupon', 'status_time',
                                      'event_id', 'subscription',
                                      'parent_id'])
                   and coalesce(e.value ~ '^[A-Za-z0-9_.-]{1,64}$', true))
               from jsonb_each_text(map) e), true)
$$;

comment on function usher.postback_map_ok(jsonb) is
    'Whether this says which parameter holds what; null: none does';


create function usher.random_base32(digits integer)
returns text
language sql volatile strict
set search_path = pg_catalog, pg_temp
as $$
    -- gen_random_uuid is PostgreSQL's own access to the system's random
    -- numbers: three of 122 bits, hashed to 256.
    select string_agg(substr('abcdefghijklmnopqrstuvwxyz234567',
                             (get_byte(r.bytes, i) & 31) + 1, 1), '')
    from (select sha256(uuid_send(gen_random_uuid())
                        || uuid_send(gen_random_uuid())
                        || uuid_send(gen_random_uuid())) as bytes) r,
         generate_series(0, least(digits, 32) - 1) i
$$;

comment on function usher.random_base32(integer) is
    'So many random digits of base32, at most 32: five bits each';


alter table usher.secret
    add constraint secret_of unique (id, org_id, kind);

comment on constraint secret_of on usher.secret is
    'What uses a secret names its org and kind';


create table usher.postback (
    id              bigint generated always as identity primary key,
    org_id          bigint not null references usher.org,
    name            text not null
                    check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    token           text collate "C" not null default usher.random_base32(26)
                    constraint postback_token unique
                    check (token ~ '^[a-z2-7]{26}$'),
    network_id      bigint,
    program_id      bigint,
    side            text generated always as ('own') stored,
    form            text not null default 'query'
                    check (form in ('query', 'ins', 'digistore24')),
    pixel           boolean not null default false,
    secret          bytea check (octet_length(secret) = 32),
    secret_id       bigint,
    secret_kind     text generated always as ('network') stored,
    hmac            text check (hmac in ('sha256', 'sha1', 'sha512', 'md5')),
    hmac_encoding   text check (hmac_encoding in ('hex', 'base64')),
    hmac_parameter  text check (hmac_parameter ~ '^[A-Za-z0-9_.-]{1,64}$'),
    addresses       cidr[] not null default '{}'
                    check (usher.networks_ok(addresses)),
    parameters      jsonb not null default '{}'
                    check (usher.postback_map_ok(parameters)),
    statuses        jsonb not null default '{}'
                    check (usher.status_map_ok(statuses)),
    endpoint        text not null
                    check (octet_length(endpoint) <= 512
                           and endpoint ~ '^https?://[A-Za-z0-9.:_~/-]+(\{postback\})?[A-Za-z0-9._~/-]*$'),
    disabled_at     timestamptz,
    created_at      timestamptz not null default now(),
    unique (org_id, name),
    constraint postback_network foreign key (network_id, org_id)
        references usher.network (id, org_id),
    constraint postback_program foreign key (program_id, org_id, side)
        references usher.program (id, org_id, side),
    constraint postback_secret foreign key (secret_id, org_id, secret_kind)
        references usher.secret (id, org_id, kind),
    constraint postback_source
        check (num_nonnulls(network_id, program_id) = 1),
    constraint postback_hmac
        check (num_nonnulls(hmac, hmac_encoding, hmac_parameter) in (0, 3)),
    constraint postback_key
        check ((secret_id is not null)
               = (hmac is not null or form <> 'query')),
    constraint postback_form
        check (form = 'query'
               or (not pixel and secret is null and hmac is null)),
    constraint postback_pixel
        check (not pixel or (secret is null and hmac is null)),
    constraint postback_once check (secret is null or hmac is null)
);

create index postback_network on usher.postback (network_id);
create index postback_program on usher.postback (program_id);
create index postback_secret on usher.postback (secret_id);

comment on table usher.postback is
    'Where a network, or the shop of a program of our own, tells conversions';
comment on column usher.postback.id is 'Number of the postback';
comment on column usher.postback.org_id is 'Whose conversions it tells';
comment on column usher.postback.name is 'Short name, one in its org';
comment on column usher.postback.token is
    'What its URL says; also the id of its record';
comment on column usher.postback.network_id is
    'The network that calls; null: a shop of ours';
comment on column usher.postback.program_id is
    'The program whose shop calls; null: a network';
comment on column usher.postback.side is
    'That of the program: whose conversions we count ourselves is our own';
comment on column usher.postback.form is
    'query (parameters), ins (ClickBank, encrypted), digistore24 (signed)';
comment on column usher.postback.pixel is
    'An image in a page: it proves nothing, conversions stay pending';
comment on column usher.postback.secret is
    'SHA-256 of the secret in the URL; null: there is none';
comment on column usher.postback.secret_id is
    'The secret that it is signed or encrypted by';
comment on column usher.postback.secret_kind is 'That of the secret';
comment on column usher.postback.hmac is
    'Hash of the HMAC that it is signed by; null: it is not';
comment on column usher.postback.hmac_encoding is 'How that is written';
comment on column usher.postback.hmac_parameter is 'Parameter that holds it';
comment on column usher.postback.addresses is
    'Networks that may call; empty: any';
comment on column usher.postback.parameters is
    'Which parameter holds what, where that differs from the preset';
comment on column usher.postback.statuses is
    'Which state a word means, where that differs from the preset';
comment on column usher.postback.endpoint is
    'URL of the edge''s location, for the URL that is shown; {postback} in it '
    'is the token, which is a parameter otherwise';
comment on column usher.postback.disabled_at is
    'When it was disabled: it is as if it were not there; null: enabled';
comment on column usher.postback.created_at is 'When it was made';
comment on sequence usher.postback_id_seq is 'Numbers of usher.postback';
comment on constraint postback_token on usher.postback is
    'One postback for a token';
comment on constraint postback_network on usher.postback is
    'A network of the same org';
comment on constraint postback_program on usher.postback is
    'A program of our own, of the same org';
comment on constraint postback_secret on usher.postback is
    'A secret of a network, of the same org';
comment on constraint postback_source on usher.postback is
    'Either a network calls or a shop';
comment on constraint postback_hmac on usher.postback is
    'An HMAC has an encoding and a parameter';
comment on constraint postback_key on usher.postback is
    'What is signed or encrypted is so by a secret, and nothing else has one';
comment on constraint postback_form on usher.postback is
    'Forms of networks prove themselves';
comment on constraint postback_pixel on usher.postback is
    'What everybody sees proves nothing';
comment on constraint postback_once on usher.postback is
    'What is signed needs no secret in its URL';
comment on index usher.postback_network is 'The postbacks of a network';
comment on index usher.postback_program is 'The postbacks of a program';
comment on index usher.postback_secret is 'The postbacks that use a secret';


-- What is signed or encrypted says nothing of where it is to be told: of two
-- networks by one secret each could be told what the other said, by whoever saw
-- it.  Formats of networks leave no room for more, so they have two secrets.
-- Two postbacks of one network tell the same transactions: those may share.

create function usher.postback_alone()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    other  text;
begin
    if new.secret_id is null then
        return null;
    end if;

    perform from usher.secret x where x.id = new.secret_id for no key update;

    select p.name into other
    from usher.postback p
    where p.secret_id = new.secret_id and p.id <> new.id
          and (p.network_id, p.program_id)
              is distinct from (new.network_id, new.program_id)
    order by p.id
    limit 1;

    if other is not null then
        perform usher.fail('409',
            format('key="%s" is that of postback "%s"',
                   (select x.name from usher.secret x
                    where x.id = new.secret_id), other),
            'What one network has signed could be told as another''s: '
            'secret_put each a secret of its own, by another name.');
    end if;

    return null;
end
$$;

comment on function usher.postback_alone() is
    'Trigger: no two networks, or programs, sign by one secret';

create trigger postback_alone
    after insert or update on usher.postback
    for each row execute function usher.postback_alone();

comment on trigger postback_alone on usher.postback is
    'A secret is one network''s, or one program''s';


create view usher.postback_setup as
    select p.id, p.org_id, p.network_id, p.program_id, s.name as preset,
           jsonb_strip_nulls(
               case when p.network_id is null
                    then '{"customer": "customer", "coupon": "coupon",
                           "status_time": "status_time",
                           "event_id": "event_id",
                           "subscription": "subscription"}'::jsonb
                    else '{}' end || s.parameters || p.parameters)
           as parameters,
           s.statuses || p.statuses as statuses, s.currency, s.macro
    from usher.postback p
    left join usher.network n on n.id = p.network_id
    join usher.network_preset s on s.name = coalesce(n.preset, 'generic');

comment on view usher.postback_setup is
    'What holds for a postback: what it says itself, else its preset; a shop '
    'of ours has generic, with customer, coupon, status_time, event_id and '
    'subscription';
comment on column usher.postback_setup.id is 'The postback';
comment on column usher.postback_setup.org_id is 'Whose conversions it tells';
comment on column usher.postback_setup.network_id is 'The network, or null';
comment on column usher.postback_setup.program_id is 'The program, or null';
comment on column usher.postback_setup.preset is 'Name of the preset';
comment on column usher.postback_setup.parameters is
    'Which parameter holds what';
comment on column usher.postback_setup.statuses is
    'Which state a word, in lower case, means; "" stands for none at all';
comment on column usher.postback_setup.currency is
    'Currency of its amounts where it names none; null: not known here';
comment on column usher.postback_setup.macro is
    'How the network writes a macro, the name being %; null: not known';


-- To the outbox.  Whatever changes may take away who could call.

create function usher.postback_changed()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        perform usher.directory_put('postback',
            (select array_agg(n.token) from new_rows n), false, true);

    elsif tg_op = 'DELETE' then
        perform usher.directory_put('postback',
            (select array_agg(o.token) from old_rows o), true, false);

    else
        perform usher.directory_put('postback',
            (select array_agg(distinct t)
             from old_rows o join new_rows n on n.id = o.id,
                  unnest(array[o.token, n.token]) t
             where n is distinct from o), true, false);
    end if;

    return null;
end
$$;

comment on function usher.postback_changed() is
    'Trigger: postbacks that changed to the outbox';

create trigger postback_inserted
    after insert on usher.postback
    referencing new table as new_rows
    for each statement execute function usher.postback_changed();

create trigger postback_updated
    after update on usher.postback
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.postback_changed();

create trigger postback_deleted
    after delete on usher.postback
    referencing old table as old_rows
    for each statement execute function usher.postback_changed();

create trigger no_truncate before truncate on usher.postback
    for each statement execute function usher.directory_no_truncate();

comment on trigger postback_inserted on usher.postback is
    'New postbacks to the outbox';
comment on trigger postback_updated on usher.postback is
    'Changed postbacks to the outbox';
comment on trigger postback_deleted on usher.postback is
    'Deleted postbacks to the outbox';
comment on trigger no_truncate on usher.postback is
    'Refuses what the edges would not hear of';


create function usher.postback_of()
returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    -- what of these stands in a record
    perform usher.directory_put('postback',
        (select array_agg(p.token)
         from usher.postback p
         join usher.postback_setup s on s.id = p.id
         where exists (
             select
             from (select to_jsonb(o) as was, to_jsonb(n) as now
                   from old_rows o
                   join new_rows n
                        on coalesce(to_jsonb(n)->>'id', n.name)
                           = coalesce(to_jsonb(o)->>'id', o.name)) c
             where case tg_table_name
                       when 'org' then
                           (c.now->>'id')::bigint = p.org_id
                           and c.now->>'name' <> c.was->>'name'
                       when 'network' then
                           (c.now->>'id')::bigint = p.network_id
                           and c.now->>'preset' <> c.was->>'preset'
                       when 'network_preset' then
                           c.now->>'name' = s.preset
                           and (c.now->'parameters', c.now->'statuses')
                               <> (c.was->'parameters', c.was->'statuses')
                       else
                           (c.now->>'id')::bigint = p.secret_id
                           and (c.now->>'name', c.now->>'ciphertext')
                               <> (c.was->>'name', c.was->>'ciphertext')
                   end)), true, false);
    return null;
end
$$;

comment on function usher.postback_of() is
    'Trigger: postbacks whose org, network, preset or secret changed to the '
    'outbox';

create trigger postback_of
    after update on usher.org
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.postback_of();

create trigger postback_of
    after update on usher.network
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.postback_of();

create trigger postback_of
    after update on usher.network_preset
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.postback_of();

create trigger postback_of
    after update on usher.secret
    referencing old table as old_rows new table as new_rows
    for each statement execute function usher.postback_of();

comment on trigger postback_of on usher.org is
    'Its postbacks to the outbox when it is renamed';
comment on trigger postback_of on usher.network is
    'Its postbacks to the outbox when it has another preset';
comment on trigger postback_of on usher.network_preset is
    'Postbacks by it to the outbox when its parameters change';
comment on trigger postback_of on usher.secret is
    'Postbacks that use it to the outbox when it is another';


-- Records.

create function usher.postback_records(ids text[])
returns table (id text, record jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- of a secret that is longer than edges take they have the name only
    select p.token, jsonb_strip_nulls(jsonb_build_object(
               'id', p.id, 'org_id', p.org_id, 'form', p.form,
               'pixel', case when p.pixel then 1 end,
               'secret', encode(p.secret, 'hex'),
               'hmac', p.hmac, 'encoding', p.hmac_encoding,
               'signature', p.hmac_parameter,
               'row', x.kind || '/' || o.name || '/' || x.name,
               'sealed', case when octet_length(x.ciphertext) <= 1054
                              then translate(encode(x.ciphertext, 'base64'),
                                             E'\n', '') end,
               'allow', nullif(array_to_string(p.addresses, ' '), ''),
               'back', case when s.parameters ? 'parent_id' then
                   (select string_agg(w.key, '|' order by w.key)
                    from jsonb_each_text(s.statuses) w
                    where w.value in ('rejected', 'reversed')) end,
               'ignored', (select string_agg(w.key, '|' order by w.key)
                           from jsonb_each_text(s.statuses) w
                           where w.value = 'ignored' and w.key <> ''),
               'params', s.parameters))
    from usher.postback p
    join usher.org o on o.id = p.org_id
    join usher.postback_setup s on s.id = p.id
    left join usher.secret x on x.id = p.secret_id
    where p.token = any (ids) and p.disabled_at is null
$$;

comment on function usher.postback_records(text[]) is
    'Records of postbacks; one that is disabled has none';
