-- 080_api_customers.sql - nouns org, plan, subscription, member, actor.

-- Orgs.

create function usher.org_json(o usher.org)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', o.id, 'name', o.name, 'kind', o.kind, 'title', o.title,
        'scope', array_to_string(o.scopes, ' '),
        'state', case when o.disabled_at is null then 'enabled'
                      else 'disabled' end,
        'plan', (select p.name
                 from usher.subscription s
                 join usher.plan p on p.id = s.plan_id
                 where s.org_id = o.id and s.starts_at <= now()
                       and (s.ends_at > now() or s.ends_at is null)),
        'keys', (select count(*) from usher.key k where k.org_id = o.id),
        'created', o.created_at)
$$;

comment on function usher.org_json(usher.org) is
    'An org as the catalogue shows it';


create function api.org_create(name text, kind text default 'company',
    title text default '')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    made  usher.org;
begin
    perform usher.authorize('org_create', null);
    perform usher.name_ok(name);
    perform usher.text_ok('kind', kind, '^(company|person)$',
        'kind is company or person.');
    perform usher.title_ok(title);

    insert into usher.org as o (name, kind, title)
    values (org_create.name, org_create.kind, org_create.title)
    returning o.* into made;

    perform usher.note('org_create', made.id,
        jsonb_build_object('name', name, 'kind', kind, 'title', title));

    return usher.org_json(made);

exception
    when unique_violation then
        perform usher.fail('409', format('there is an org "%s"', name),
            'Choose another name, or see org_show.');
end
$$;

comment on function api.org_create(text, text, text) is
'Creates an org: a customer that may have keys.
name: short name, 1 to 32 of a-z, 0-9 and -
kind: company or person
title: name for people';


create function api.org_list("limit" integer default 1000,
    after text default '')
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select coalesce(jsonb_agg(usher.org_json(l) order by l.name), '[]')
    from (select o.*
          from usher.org o
          where o.name > after
                and (usher.actor() is null
                     or exists (select
                                from usher.member m
                                join usher.right r on r.role = m.role
                                where m.actor = usher.actor()
                                      and m.org_id = o.id
                                      and r.function = 'org_list'))
          order by o.name
          limit usher.page("limit")) l
$$;

comment on function api.org_list(integer, text) is
'Lists the orgs: to an actor, those it has a role in.
limit: at most so many
after: go on after this name';


create function api.org_show(org text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.org_json(usher.org_for('org_show', org))
$$;

comment on function api.org_show(text) is
'Shows an org, with its plan and the number of its keys.
org: name of the org';


create function api.org_update(org text, title text default null,
    scope text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('org_update', org);
begin
    perform usher.title_ok(coalesce(title, ''));

    -- Who buys scopes does not choose them.
    if scope is not null and usher.actor() is not null then
        perform usher.fail('403',
            format('%s may not say what scopes an org has', usher.actor()),
            'Call org_update without scope=; the operator sets it.');
    end if;

    update usher.org u
    set title = coalesce(org_update.title, u.title),
        scopes = case when scope is null then u.scopes
                      when scope = '*' then null
                      else usher.scopes(scope) end
    where u.id = o.id
    returning u.* into o;

    perform usher.note('org_update', o.id,
        jsonb_build_object('org', org, 'title', title, 'scope', scope));

    return usher.org_json(o);
end
$$;

comment on function api.org_update(text, text, text) is
'Changes an org.  What is not given stays as it was; keys that have a scope
which is taken away here keep it until key update.
org: name of the org
title: name for people
scope: what its own people may give its keys; *: any; the operator''s to set';


create function api.org_disable(org text, reason text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('org_disable', org);
begin
    if reason <> '' then
        perform usher.reason_ok(reason);
    end if;

    update usher.org u set disabled_at = coalesce(u.disabled_at, now())
    where u.id = o.id
    returning u.* into o;

    perform usher.note('org_disable', o.id,
        jsonb_build_object('org', org, 'reason', reason));

    return usher.org_json(o);
end
$$;

comment on function api.org_disable(text, text) is
'Disables an org: all its keys are refused at once, until org enable.
org: name of the org
reason: why, for the audit row';


create function api.org_enable(org text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('org_enable', org);
begin
    update usher.org u set disabled_at = null
    where u.id = o.id
    returning u.* into o;

    perform usher.note('org_enable', o.id, jsonb_build_object('org', org));

    return usher.org_json(o);
end
$$;

comment on function api.org_enable(text) is
'Enables a disabled org: its keys are taken again.
org: name of the org';


-- Plans.

create function usher.plan_json(p usher.plan)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', p.id, 'name', p.name, 'title', p.title,
        'policies', coalesce((select jsonb_agg(usher.policy_json(y)
                                               order by y.name)
                              from usher.plan_policy y
                              where y.plan_id = p.id), '[]'),
        'created', p.created_at)
$$;

comment on function usher.plan_json(usher.plan) is
    'A plan as the catalogue shows it';


create function api.plan_create(name text, title text default '')
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    made  usher.plan;
begin
    perform usher.authorize('plan_create', null);
    perform usher.name_ok(name);
    perform usher.title_ok(title);

    insert into usher.plan as p (name, title)
    values (plan_create.name, plan_create.title)
    returning p.* into made;

    perform usher.note('plan_create', null,
        jsonb_build_object('name', name, 'title', title));

    return usher.plan_json(made);

exception
    when unique_violation then
        perform usher.fail('409', format('there is a plan "%s"', name),
            'Choose another name, or see plan_show.');
end
$$;

comment on function api.plan_create(text, text) is
'Creates a plan without policies; plan policy set adds them.
name: short name, 1 to 32 of a-z, 0-9 and -
title: name for people';


create function api.plan_list()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select coalesce(jsonb_agg(usher.plan_json(p) order by p.name), '[]')
    from usher.plan p
$$;

comment on function api.plan_list() is
'Lists the plans with their policies.';


create function api.plan_show(plan text)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select usher.plan_json(usher.plan_for(plan))
$$;

comment on function api.plan_show(text) is
'Shows a plan with its policies.
plan: name of the plan';


create function api.plan_drop(plan text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p              usher.plan;
    keys           bigint;
    subscriptions  bigint;
begin
    perform usher.authorize('plan_drop', null);

    p := usher.plan_for(plan);

    select count(*) into keys from usher.key k where k.plan_id = p.id;
    select count(*) into subscriptions from usher.subscription s
    where s.plan_id = p.id;

    if keys > 0 or subscriptions > 0 then
        perform usher.fail('409',
            format('plan "%s" is in use: %s keys, %s subscriptions', plan,
                   keys, subscriptions),
            'key_update with plan= takes it off a key; a plan that an org '
            'has or had stays, as the record of it.');
    end if;

    delete from usher.plan d where d.id = p.id;

    perform usher.note('plan_drop', null, jsonb_build_object('plan', plan));

    return jsonb_build_object('name', plan, 'dropped', true);

exception
    when foreign_key_violation then
        perform usher.fail('409',
            format('plan "%s" was given away at this moment', plan),
            'plan_show and subscription_list tell more.');
end
$$;

comment on function api.plan_drop(text) is
'Drops a plan with its policies.  One that a key has, or that an org has or
had by a subscription, stays.
plan: name of the plan';


create function api.plan_policy_set(plan text, policy text,
    rate text default null, quota bigint default null,
    "window" integer default null, burst bigint default null,
    scope text default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p     usher.plan;
    y     usher.plan_policy;
    old   usher.plan_policy;
    free  smallint;
begin
    perform usher.authorize('plan_policy_set', null);

    p := usher.plan_for(plan);

    perform usher.text_ok('policy', policy, '^[a-z0-9][a-z0-9_-]{0,31}$',
        'The name of a policy is 1 to 32 of a-z, 0-9, _ and -.');
    perform usher.text_ok('scope', coalesce(scope, 'key'), '^(key|org)$',
        'scope is key (a bucket for each) or org (one for all its keys).');
    perform usher.number_ok('quota', quota, 1, 1000000000);
    perform usher.number_ok('window', "window", 1, 86400);
    perform usher.number_ok('burst', burst, 1, 1000000000);

    -- One change of a plan at a time: buckets are given out here.
    perform from usher.plan l where l.id = p.id for update;

    select e.* into old from usher.plan_policy e
    where e.plan_id = p.id and e.name = plan_policy_set.policy;

    if rate is not null then
        if quota is not null or "window" is not null then
            perform usher.fail('400', 'rate and quota name the same',
                'Give rate=20/s, or quota=20 window=1.');
        end if;

        select r.quota, r.window_s into y.quota, y.window_s
        from usher.rate(rate) r;

    else
        y.quota := coalesce(quota, old.quota);
        y.window_s := coalesce("window", old.window_s);
    end if;

    if y.quota is null or y.window_s is null then
        perform usher.fail('400', 'a new policy needs a rate',
            'Give rate=20/s, or quota=20 window=1.');
    end if;

    y.burst := coalesce(burst, old.burst, y.quota);
    y.scope := coalesce(scope, old.scope, 'key');
    y.bucket := old.bucket;

    if y.burst::numeric * y.window_s > y.quota::numeric * 31536000 then
        perform usher.fail('400', format('burst=%s cannot be', y.burst),
            format('A full burst must be refilled within a year: by %s in '
                   '%s s it is not.', y.quota, y.window_s));
    end if;

    if old.scope is distinct from y.scope then
        select b into free
        from generate_series(0, 3) b
        where not exists (select from usher.plan_policy e
                          where e.plan_id = p.id and e.scope = y.scope
                                and e.bucket = b)
        order by b
        limit 1;

        if free is null then
            perform usher.fail('409',
                format('plan "%s" has four policies of scope %s', plan,
                       y.scope),
                'Drop one by plan_policy_drop.');
        end if;

        y.bucket := free;
    end if;

    insert into usher.plan_policy as e
        (plan_id, name, quota, window_s, burst, scope, bucket)
    values (p.id, policy, y.quota, y.window_s, y.burst, y.scope, y.bucket)
    on conflict on constraint plan_policy_pkey do update
        set quota = excluded.quota, window_s = excluded.window_s,
            burst = excluded.burst, scope = excluded.scope,
            bucket = excluded.bucket;

    perform usher.note('plan_policy_set', null,
        jsonb_build_object('plan', plan, 'policy', policy, 'quota', y.quota,
            'window', y.window_s, 'burst', y.burst, 'scope', y.scope));

    return usher.plan_json(p);
end
$$;

comment on function api.plan_policy_set(text, text, text, bigint, integer,
    bigint, text) is
'Sets a policy of a plan, at once for all its keys.  What is not given stays
as it was.  A plan has up to four policies per key and four per org.
plan: name of the plan
policy: name of the policy, as in the RateLimit fields
rate: units per time: 20/s, 600/m, 100/10s, 10000/d
quota: units per window, instead of rate
window: seconds, with quota
burst: units that an idle bucket holds; for a new policy by default the quota
scope: key (a bucket for each key, the default) or org (one for all its keys)';


create function api.plan_policy_drop(plan text, policy text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    p  usher.plan;
begin
    perform usher.authorize('plan_policy_drop', null);

    p := usher.plan_for(plan);

    delete from usher.plan_policy y
    where y.plan_id = p.id and y.name = plan_policy_drop.policy;

    if not found then
        perform usher.fail('404',
            format('plan "%s" has no policy "%s"', plan, policy),
            'plan_show shows them.');
    end if;

    perform usher.note('plan_policy_drop', null,
        jsonb_build_object('plan', plan, 'policy', policy));

    return usher.plan_json(p);
end
$$;

comment on function api.plan_policy_drop(text, text) is
'Drops a policy of a plan, at once for all its keys.
plan: name of the plan
policy: name of the policy';


-- Subscriptions.

create function usher.subscription_json(s usher.subscription)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'id', s.id, 'org', o.name, 'plan', p.name,
        'state', case when s.starts_at > now() then 'coming'
                      when s.ends_at <= now() then 'ended'
                      else 'current' end,
        'starts', s.starts_at, 'ends', s.ends_at)
    from usher.org o, usher.plan p
    where o.id = s.org_id and p.id = s.plan_id
$$;

comment on function usher.subscription_json(usher.subscription) is
    'A subscription as the catalogue shows it';


create function api.subscription_start(org text, plan text,
    starts timestamptz default null, ends timestamptz default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o      usher.org;
    p      usher.plan;
    s      usher.subscription;
    since  timestamptz := coalesce(starts, now());
begin
    perform usher.authorize('subscription_start', null);

    o := usher.org_for('subscription_start', org);
    p := usher.plan_for(plan);

    update usher.subscription u set ends_at = since
    where u.org_id = o.id and u.starts_at < since
          and (u.ends_at > since or u.ends_at is null);

    insert into usher.subscription as u (org_id, plan_id, starts_at, ends_at)
    values (o.id, p.id, since, ends)
    returning u.* into s;

    perform usher.note('subscription_start', o.id,
        jsonb_build_object('org', org, 'plan', plan, 'starts', since,
                           'ends', ends));

    return usher.subscription_json(s);

exception
    when exclusion_violation then
        perform usher.fail('409',
            format('org "%s" has another subscription at that time', org),
            'subscription_list shows it; end it first, or give ends= before '
            'it starts.');
    when check_violation or data_exception then
        perform usher.fail('400', 'ends= is not after starts=',
            'A subscription ends after it starts, which is now where no '
            'starts= is given.');
end
$$;

comment on function api.subscription_start(text, text, timestamptz,
    timestamptz) is
'Gives an org a plan.  A subscription that runs at that moment ends there.
org: name of the org
plan: name of the plan
starts: first moment, by default now
ends: first moment after it, by default open';


create function api.subscription_end(org text, at timestamptz default null)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o       usher.org;
    s       usher.subscription;
    moment  timestamptz := coalesce(subscription_end.at, now());
begin
    perform usher.authorize('subscription_end', null);

    o := usher.org_for('subscription_end', org);

    update usher.subscription u set ends_at = moment
    where u.org_id = o.id and u.starts_at < moment
          and (u.ends_at > moment or u.ends_at is null)
    returning u.* into s;

    if s.id is null then
        perform usher.fail('404',
            format('org "%s" has no subscription at that time', org),
            'subscription_list shows all it has.');
    end if;

    perform usher.note('subscription_end', o.id,
        jsonb_build_object('org', org, 'at', moment));

    return usher.subscription_json(s);
end
$$;

comment on function api.subscription_end(text, timestamptz) is
'Ends the subscription of an org.  Its keys without a plan of their own are
then without one.
org: name of the org
at: first moment after it, by default now';


create function api.subscription_list(org text default null)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org;
begin
    if org is null then
        perform usher.authorize('subscription_list', null);
    else
        o := usher.org_for('subscription_list', org);
    end if;

    return (select coalesce(jsonb_agg(usher.subscription_json(s)
                                      order by s.org_id, s.starts_at), '[]')
            from usher.subscription s
            where o.id is null or s.org_id = o.id);
end
$$;

comment on function api.subscription_list(text) is
'Lists subscriptions: past, current and coming.
org: name of the org; the operator may leave it out';


-- Members.

create function api.member_set(actor text, org text, role text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('member_set', org);
begin
    perform usher.text_ok('actor', actor,
        '^(?![Oo][Pp][Ee][Rr][Aa][Tt][Oo][Rr]:)[!-~]{1,100}$',
        'An actor is 1 to 100 printable ASCII characters without a space, '
        'and not of the form operator:name.');
    perform usher.text_ok('role', role, '^(owner|admin|analyst|partner)$',
        'role is owner, admin, analyst or partner.');

    insert into usher.member as m (actor, org_id, role)
    values (member_set.actor, o.id, member_set.role)
    on conflict on constraint member_pkey do update
        set role = excluded.role;

    perform usher.note('member_set', o.id,
        jsonb_build_object('actor', actor, 'org', org, 'role', role));

    return jsonb_build_object('actor', actor, 'org', org, 'role', role);
end
$$;

comment on function api.member_set(text, text, text) is
'Gives an actor a role in an org, in place of the one it had.
actor: name of the person or program, as it is stated to the catalogue
org: name of the org
role: owner (all, members too), admin (keys), analyst (reads), partner';


create function api.member_drop(actor text, org text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o    usher.org := usher.org_for('member_drop', org);
    was  text;
begin
    delete from usher.member m
    where m.actor = member_drop.actor and m.org_id = o.id
    returning m.role into was;

    if was is null then
        perform usher.fail('404',
            format('%s has no role in org "%s"', actor, org),
            'member_list shows who has.');
    end if;

    perform usher.note('member_drop', o.id,
        jsonb_build_object('actor', actor, 'org', org));

    return jsonb_build_object('actor', actor, 'org', org, 'was', was);
end
$$;

comment on function api.member_drop(text, text) is
'Takes an actor''s role in an org away.
actor: name of the person or program
org: name of the org';


create function api.member_list(org text)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    o  usher.org := usher.org_for('member_list', org);
begin
    return (select coalesce(jsonb_agg(jsonb_build_object(
                                'actor', m.actor, 'role', m.role,
                                'created', m.created_at)
                            order by m.actor), '[]')
            from usher.member m
            where m.org_id = o.id);
end
$$;

comment on function api.member_list(text) is
'Lists who has which role in an org.
org: name of the org';


create function api.actor_show()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select jsonb_build_object(
        'actor', usher.actor(),
        'operator', usher.actor() is null,
        'roles', coalesce((select jsonb_agg(jsonb_build_object(
                                      'org', o.name, 'role', m.role)
                                  order by o.name)
                           from usher.member m
                           join usher.org o on o.id = m.org_id
                           where m.actor = usher.actor()), '[]'))
$$;

comment on function api.actor_show() is
'Shows who calls, and its roles.';


insert into usher.right (function, role)
select f, r
from (values
    ('org_list', array['owner', 'admin', 'analyst', 'partner']),
    ('org_show', array['owner', 'admin', 'analyst', 'partner']),
    ('org_update', array['owner']),
    ('subscription_list', array['owner', 'admin', 'analyst']),
    ('member_set', array['owner']),
    ('member_drop', array['owner']),
    ('member_list', array['owner', 'admin', 'analyst'])
) as v (f, roles), unnest(roles) r;
