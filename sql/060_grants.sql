-- 060_grants.sql - who may touch what.  Functions were closed to PUBLIC by
-- default before the first was made.

grant usage on schema usher to usher_daemon, usher_report;

-- usherd: events in, records out, keep by functions of the owner.

grant select on all tables in schema usher to usher_daemon;
revoke select on usher.member, usher.right, usher.audit, usher.migration,
    usher.partner, usher.todo, usher.notification, usher.customer_click,
    usher.conversion, usher.conversion_change, usher.coupon,
    usher.account, usher.account_balance, usher.ledger_entry,
    usher.ledger_posting, usher.cost, usher.revenue,
    usher.commission_rule, usher.commission_line, usher.payout_batch,
    usher.payout, usher.payout_part, usher.payout_left
    from usher_daemon;
grant select (id, org_id, name, disabled_at) on usher.partner to usher_daemon;

grant insert on usher.request, usher.click, usher.hook, usher.hook_key,
    usher.conversion_event, usher.conversion_key, usher.part,
    usher.usage_delta, usher.journal_gap, usher.quarantine
    to usher_daemon;
grant insert, update on usher.journal to usher_daemon;
grant insert, update, delete on usher.journal_mark, usher.lease
    to usher_daemon;
grant insert, update, delete on usher.directory_outbox to usher_daemon;
grant update on usher.directory_state to usher_daemon;
-- FOR SHARE asks for the right to update.
grant update (one) on usher.usage_close to usher_daemon;
grant usage on sequence usher.directory_version to usher_daemon;

grant execute on function
    usher.directory_record(text, text),
    usher.directory_records(text, text[]),
    usher.directory_slice(text, bigint[], integer, integer),
    usher.directory_ids(text),
    usher.directory_page(text, text),
    usher.directory_due(),
    usher.lease_take(text, text, integer),
    usher.lease_drop(text, text),
    usher.partition_ensure(text, date),
    usher.partitions_ahead(integer),
    usher.partition_retention(interval),
    usher.moment(timestamptz),
    usher.call_time(),
    usher.usage_closable(timestamptz),
    usher.keep_partitions(),
    usher.keep_parts(),
    usher.keep_fold(),
    usher.keep_clicks(),
    usher.keep_due(),
    usher.keep_prune(),
    usher.conversion_again(bigint, text, bytea, timestamptz),
    usher.react(integer),
    usher.react_state(),
    usher.health_collect(integer),
    usher.health_due(integer),
    usher.health_seen(text, integer, text)
    to usher_daemon;

-- Reports: everything but keys, what is personal, and the machinery.

grant select on usher.request, usher.click, usher.click_reason,
    usher.click_close, usher.click_hour, usher.click_field, usher.click_sum,
    usher.domain, usher.link, usher.link_target, usher.link_group,
    usher.link_group_member, usher.health, usher.health_target, usher.hook,
    usher.hook_key, usher.unattributed, usher.coupon,
    usher.usage_delta, usher.usage, usher.usage_close, usher.usage_total,
    usher.journal, usher.journal_gap, usher.quarantine, usher.org,
    usher.plan, usher.plan_policy, usher.subscription,
    usher.partition_gone, usher.retention, usher.network_preset,
    usher.network, usher.network_setup, usher.program, usher.product,
    usher.campaign, usher.program_partner,
    usher.currency, usher.fx,
    usher.account, usher.account_balance, usher.ledger_entry,
    usher.ledger_posting, usher.cost, usher.revenue,
    usher.commission_rule, usher.commission_line, usher.payout_batch,
    usher.payout, usher.payout_part, usher.payout_left
    to usher_report;
grant select (id, org_id, name, kind, terms, terms_at, payout_method,
    payout_min, currency, disabled_at, created_at)
    on usher.partner to usher_report;
grant select (id, org_id, name, network_id, program_id, form, pixel,
    disabled_at, created_at)
    on usher.postback to usher_report;
grant select on usher.postback_setup to usher_report;
grant select (id, org_id, side, network_id, program_id, scope,
    transaction_id, origin, confirmed, occurred_at, state, state_at, amount,
    amount_told, sale_amount, sale_told, currency, state_problem,
    state_problem_at, amount_problem, coupon, link_id, click_id, clicked_at,
    via, bound_by, unattributed, product_id, campaign_id, partner_id,
    created_at, changed_at)
    on usher.conversion to usher_report;
grant select (received_at, event_time, postback_id, org_id, origin,
    click_status, click_id, transaction_id, status, amount, sale_amount,
    currency, coupon, digest, node, request_id, flags)
    on usher.conversion_event to usher_report;
