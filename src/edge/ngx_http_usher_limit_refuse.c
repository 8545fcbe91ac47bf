
/*
 * ngx_http_usher_limit_refuse.c - how usher_limit says no.
 */


#include "ngx_http_usher_limit.h"


static ngx_int_t ngx_http_usher_limit_members(ngx_http_request_t *r,
    ngx_http_usher_charge_t *charges, ngx_uint_t n, ngx_str_t *members);


ngx_int_t
ngx_http_usher_limit_violated(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_charge_t *charges, ngx_uint_t n, ngx_uint_t dry_run)
{
    u_char      *p;
    size_t       len;
    ngx_uint_t   i;

    len = 0;

    for (i = 0; i < n; i++) {
        len += charges[i].name.len + 1;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->violated.data = p;

    for (i = 0; i < n; i++) {

        if (!charges[i].denied || charges[i].dry_run != dry_run) {
            continue;
        }

        if (p != ctx->violated.data) {
            *p++ = ',';
        }

        p = ngx_cpymem(p, charges[i].name.data, charges[i].name.len);
    }

    ctx->violated.len = p - ctx->violated.data;

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_limit_refuse(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_limit_conf_t *lcf, ngx_http_usher_charge_t *charges,
    ngx_uint_t n)
{
    uint64_t                   wait;
    ngx_uint_t                 i, never;
    ngx_http_usher_charge_t   *c;
    ngx_http_usher_problem_t   problem;

    ctx->limit = NGX_HTTP_USHER_LIMIT_REJECTED;
    ctx->limited = 1;

    ngx_http_usher_verdict(ctx, requests_limited);

    ngx_memzero(&problem, sizeof(ngx_http_usher_problem_t));

    if (ngx_http_usher_limit_violated(r, ctx, charges, n, 0) != NGX_OK
        || ngx_http_usher_limit_members(r, charges, n, &problem.members)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_log_error(lcf->log_level, r->connection->log, 0,
                  "usher: over limit: %V", &ctx->violated);

    wait = 0;
    never = 0;

    for (i = 0; i < n; i++) {
        c = &charges[i];

        if (!c->denied || c->dry_run) {
            continue;
        }

        if (c->take.wait == UINT64_MAX) {
            never = 1;
        }

        wait = ngx_max(wait, c->take.wait);
    }

    if (never) {
        ngx_str_set(&problem.detail, "the request costs more than the limit "
                                     "ever allows at once");

    } else {
        ngx_str_set(&problem.detail, "too many requests, retry later");

        if (ngx_http_usher_retry_after(r, usher_gcra_seconds(wait))
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    problem.status = lcf->status;
    problem.type = "https://iana.org/assignments/http-problem-types"
                   "#quota-exceeded";
    problem.title = "Quota exceeded";
    ngx_str_set(&problem.reason, "rejected");

    return ngx_http_usher_problem(r, &problem);
}


/* ,"violated-policies":["a","b"] */

static ngx_int_t
ngx_http_usher_limit_members(ngx_http_request_t *r,
    ngx_http_usher_charge_t *charges, ngx_uint_t n, ngx_str_t *members)
{
    u_char      *p;
    size_t       len;
    ngx_str_t    name;
    ngx_uint_t   i, first;

    len = sizeof(",\"violated-policies\":[]");

    for (i = 0; i < n; i++) {
        len += 6 * charges[i].name.len + sizeof("\"\",");
    }

    members->data = ngx_pnalloc(r->pool, len);
    if (members->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(members->data, ",\"violated-policies\":[",
                   sizeof(",\"violated-policies\":[") - 1);
    first = 1;

    for (i = 0; i < n; i++) {

        if (!charges[i].denied || charges[i].dry_run) {
            continue;
        }

        if (ngx_http_usher_json(r->pool, &charges[i].name, &name) != NGX_OK) {
            return NGX_ERROR;
        }

        if (!first) {
            *p++ = ',';
        }

        first = 0;

        *p++ = '"';
        p = ngx_cpymem(p, name.data, name.len);
        *p++ = '"';
    }

    *p++ = ']';

    members->len = p - members->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_limit_unavailable(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx)
{
    ngx_http_usher_problem_t  problem;

    ctx->limit = NGX_HTTP_USHER_LIMIT_UNAVAILABLE;
    ctx->limited = 1;

    ngx_http_usher_verdict(ctx, requests_unknown);

    if (ngx_http_usher_retry_after(r, 1) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&problem, sizeof(ngx_http_usher_problem_t));

    problem.status = NGX_HTTP_SERVICE_UNAVAILABLE;
    problem.type = "https://iana.org/assignments/http-problem-types"
                   "#temporary-reduced-capacity";
    problem.title = "Limits cannot be checked";
    ngx_str_set(&problem.reason, "unavailable");

    return ngx_http_usher_problem(r, &problem);
}
