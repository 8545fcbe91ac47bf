-- bootstrap.sql - what must be there before the first numbered file.
--
-- util/migrate runs this each time, in one transaction, under its lock.  It
-- creates only what is absent, so an administrator may create the roles
-- beforehand and run the migrations as somebody with fewer rights: a member
-- of usher_owner that may create schemas in this database.
--
-- The roles are groups: nobody logs in as one of them.
--
--     usher_owner   owns every object; the migrations run as this role
--     usher_daemon  usherd: writes events, reads the directory, runs keep
--     usher_api     the catalogue's callers (usherctl, REST): schema api only
--     usher_report  reads events and sums, never keys
--
-- Usher uses no extension: random numbers, SHA-256 and range exclusion are
-- PostgreSQL's own.

do $$
declare
    r  text;
begin
    foreach r in array array['usher_owner', 'usher_daemon', 'usher_api',
                             'usher_report']
    loop
        if exists (select from pg_roles where rolname = r) then
            continue;
        end if;

        begin
            execute format('create role %I nologin', r);
            execute format('comment on role %I is %L', r, case r
                when 'usher_owner' then 'Owns every object of Usher'
                when 'usher_daemon' then 'Usher''s daemon: events in, records '
                                         'out'
                when 'usher_api' then 'Callers of Usher''s catalogue'
                else 'Reads Usher''s events and sums, and no keys' end);
        exception
            when duplicate_object or unique_violation then
                -- another database of this cluster was quicker
                null;
            when insufficient_privilege then
                raise exception 'role % is absent, and % may not create it',
                    r, current_user
                    using hint = format('Ask an administrator to run: '
                        'create role %I nologin; grant usher_owner to %I;',
                        r, current_user);
        end;
    end loop;

    if not pg_has_role(current_user, 'usher_owner', 'usage') then
        execute format('grant usher_owner to %I', current_user);
    end if;
end
$$;

do $$
begin
    if to_regnamespace('usher') is null then
        create schema usher authorization usher_owner;
        comment on schema usher is
            'Tables of Usher: nobody''s interface, see schema api';
    end if;

    if to_regnamespace('api') is null then
        create schema api authorization usher_owner;
        comment on schema api is
            'The catalogue: all that an operator or a program can do';
    end if;

    if to_regclass('usher.migration') is null then
        set local role usher_owner;

        -- Functions are for those they are granted to.
        alter default privileges revoke execute on functions from public;

        create table usher.migration (
            name    text primary key,
            digest  text not null check (digest ~ '^[0-9a-f]{64}$'),
            at      timestamptz not null default now()
        );

        comment on table usher.migration is
            'Files of sql/ that were applied to this database';
        comment on column usher.migration.name is 'Name of the file';
        comment on column usher.migration.digest is
            'SHA-256 of the file when it was applied';
        comment on column usher.migration.at is 'When it was applied';
    end if;
end
$$;
