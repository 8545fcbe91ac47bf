
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
ngx_http_usher_request_plan(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_plan_t **plan)
{
    ngx_int_t  rc;

    if (ctx->key->plan_id == 0) {
        *plan = NULL;
        return NGX_OK;
    }

    rc = ngx_http_usher_directory_plan(r, ctx->key->plan_id, plan);

    if (rc == NGX_OK || rc == NGX_AGAIN || rc == NGX_ERROR) {
        return rc;
    }

    /* a plan that a key has exists: it has not arrived yet */

    return NGX_BUSY;
}


ngx_int_t
ngx_http_usher_request_plan_name(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_http_usher_plan_t  *plan;

    if (ctx->plan.len) {
        return NGX_OK;
    }

    rc = ngx_http_usher_request_plan(r, ctx, &plan);

    if (rc != NGX_OK || plan == NULL) {
        return rc;
    }

    ctx->plan.data = ngx_pstrdup(r->pool, &plan->name);
    if (ctx->plan.data == NULL) {
        return NGX_ERROR;
    }

    ctx->plan.len = plan->name.len;

    return NGX_OK;
}
