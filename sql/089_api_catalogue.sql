-- 089_api_catalogue.sql - the catalogue of the catalogue, and its grants.

create function api.catalogue()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    with functions as (
        select p.oid, p.proname, p.provolatile, p.pronargs,
               p.pronargdefaults, p.proargnames, p.proargtypes,
               coalesce(obj_description(p.oid, 'pg_proc'), '') as help
        from pg_proc p
        where p.pronamespace = 'api'::regnamespace
              and position('_' in p.proname) > 1
    ), arguments as (
        select f.oid, jsonb_agg(jsonb_build_object(
                   'name', f.proargnames[i],
                   'type', format_type(f.proargtypes[i - 1], null),
                   'required', i <= f.pronargs - f.pronargdefaults,
                   'default', nullif((regexp_match(
                       pg_get_function_arg_default(f.oid, i),
                       '^''?(.*?)''?(?:::[a-z ]+)?$'))[1], 'NULL'),
                   'help', (regexp_match(f.help,
                       '\n' || f.proargnames[i] || ': ([^\n]*)'))[1])
               order by i) as list
        from functions f, generate_series(1, f.pronargs) i
        group by f.oid
    )
    select coalesce(jsonb_agg(jsonb_build_object(
               'name', f.proname,
               'noun', split_part(f.proname, '_', 1),
               'verb', substr(f.proname, position('_' in f.proname) + 1),
               'changes', f.provolatile = 'v',
               'help', regexp_replace(f.help, '\n[a-z_]+: .*$', ''),
               'roles', coalesce((select jsonb_agg(r.role order by r.role)
                                  from usher.right r
                                  where r.function = f.proname), '[]'),
               'arguments', coalesce(a.list, '[]'))
           order by f.proname), '[]')
    from functions f
    left join arguments a on a.oid = f.oid
$$;

comment on function api.catalogue() is
'Lists the functions of this schema with their arguments and help.';


grant usage on schema api to usher_api;
grant execute on all functions in schema api to usher_api;
alter default privileges in schema api
    grant execute on functions to usher_api;
