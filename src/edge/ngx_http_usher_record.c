
/*
 * ngx_http_usher_record.c - the records of a request's key and plan.
 *
 * DESIGN
 *
 * A record is looked up into static memory, most of which is room for texts,
 * and only as much as is used is kept with the request.
 *
 * The words of a key's buckets lie in its cell, which nothing pins.  They are
 * used in the turn of the event loop in which the key was looked up; if the
 * request may have been suspended since (another was looked up meanwhile, or
 * the clock moved), the key is looked up again.
 */


#include "ngx_http_usher_request.h"


static ngx_int_t ngx_http_usher_keep_key(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_key_t *key);
static ngx_int_t ngx_http_usher_keep_plan(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_plan_t *plan);


/* Moves with each look-up of a key. */
static ngx_uint_t  ngx_http_usher_turn;


ngx_int_t
ngx_http_usher_request_key(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx)
{
    ngx_int_t  rc;

    /* most of it is room for texts, so it is not kept per request */

    static ngx_http_usher_key_t  key;

    if (!ctx->hashed) {
        if (ngx_http_usher_digest(&ctx->credential, ctx->digest) != NGX_OK) {
            ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                          "usher: SHA-256 failed");
            return NGX_ERROR;
        }

        ctx->hashed = 1;
    }

    rc = ngx_http_usher_directory_key(r, ctx->digest, &key);

    if (rc == NGX_OK) {
        return ngx_http_usher_keep_key(r, ctx, &key);
    }

    if (rc == NGX_DECLINED) {
        ctx->bad = NGX_HTTP_USHER_AUTH_UNKNOWN;
    }

    return rc;
}


static ngx_int_t
ngx_http_usher_keep_key(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_key_t *key)
{
    size_t                 size;
    ngx_http_usher_key_t  *copy;

    size = offsetof(ngx_http_usher_key_t, text)
           + key->org.len + key->scope.len + key->allow.len;

    copy = ngx_palloc(r->pool, size);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(copy, key, size);

    copy->org.data = copy->text;
    copy->scope.data = copy->org.data + copy->org.len;
    copy->allow.data = copy->scope.data + copy->scope.len;

    ctx->key = copy;
    ctx->turn = ++ngx_http_usher_turn;
    ctx->when = ngx_current_msec;

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_request_words(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx)
{
    ngx_int_t  rc;

    static ngx_http_usher_key_t  key;

    if (ctx->turn == ngx_http_usher_turn && ctx->when == ngx_current_msec) {
        return NGX_OK;
    }

    rc = ngx_http_usher_directory_key(r, ctx->digest, &key);

    if (rc == NGX_AGAIN || rc == NGX_ERROR) {
        return rc;
    }

    /* if it is gone meanwhile, or has another plan, free buckets will do */

    ctx->key->tat = rc == NGX_OK && key.plan_id == ctx->key->plan_id
                    ? key.tat : NULL;
    ctx->turn = ++ngx_http_usher_turn;
    ctx->when = ngx_current_msec;

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_request_plan(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_http_usher_plan_t  *plan;

    if (ctx->plan != NULL || ctx->key->plan_id == 0) {
        return NGX_OK;
    }

    rc = ngx_http_usher_directory_plan(r, ctx->key->plan_id, &plan);

    switch (rc) {

    case NGX_OK:
        return ngx_http_usher_keep_plan(r, ctx, plan);

    case NGX_AGAIN:
    case NGX_ERROR:
        return rc;

    default:

        /* a plan that a key has exists: it has not arrived yet */

        return NGX_BUSY;
    }
}


static ngx_int_t
ngx_http_usher_keep_plan(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_plan_t *plan)
{
    u_char                 *p;
    size_t                  len;
    ngx_uint_t              i;
    ngx_http_usher_plan_t  *copy;

    len = plan->name.len;

    for (i = 0; i < plan->npolicies; i++) {
        len += plan->policies[i].name.len;
    }

    copy = ngx_palloc(r->pool, offsetof(ngx_http_usher_plan_t, policies)
                               + plan->npolicies
                                 * sizeof(ngx_http_usher_policy_t)
                               + len);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(copy, plan, offsetof(ngx_http_usher_plan_t, policies)
                           + plan->npolicies
                             * sizeof(ngx_http_usher_policy_t));

    p = (u_char *) &copy->policies[plan->npolicies];

    copy->name.data = p;
    p = ngx_cpymem(p, plan->name.data, plan->name.len);

    for (i = 0; i < plan->npolicies; i++) {
        copy->policies[i].name.data = p;
        p = ngx_cpymem(p, plan->policies[i].name.data,
                       plan->policies[i].name.len);
    }

    ctx->plan = copy;

    return NGX_OK;
}
