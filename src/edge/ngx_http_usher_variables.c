
/*
 * ngx_http_usher_variables.c - what the checks found out, for the rest of
 * the configuration.
 *
 * All are evaluated anew each time they are used: a value may be asked for
 * before its check has run, and again after.
 *
 * Whose key it is and what it may do is said only of a key that was admitted
 * (or would have been refused in a dry run): a request may pass for another
 * reason, or be sent to an error page, and who reads $usher_org there takes
 * it for proven.  The key's id is for logs.
 */


#include "ngx_http_usher_request.h"


static ngx_int_t ngx_http_usher_text(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, ngx_str_t *text);
static ngx_uint_t ngx_http_usher_proven(ngx_http_usher_ctx_t *ctx);
static ngx_int_t ngx_http_usher_key_text(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_key_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_env(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_plan_name(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_auth_status(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_limit_status(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_limit_violated(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_http_usher_vars[] = {

    { ngx_string("usher_org"), NULL, ngx_http_usher_key_text,
      offsetof(ngx_http_usher_key_t, org), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_org_id"), NULL, ngx_http_usher_key_number,
      offsetof(ngx_http_usher_key_t, org_id), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_key_id"), NULL, ngx_http_usher_key_number,
      offsetof(ngx_http_usher_key_t, id), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_env"), NULL, ngx_http_usher_env,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_scope"), NULL, ngx_http_usher_key_text,
      offsetof(ngx_http_usher_key_t, scope), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_plan"), NULL, ngx_http_usher_plan_name,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_auth_status"), NULL, ngx_http_usher_auth_status,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_limit_status"), NULL, ngx_http_usher_limit_status,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_limit_violated"), NULL,
      ngx_http_usher_limit_violated, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_request_id"), NULL, ngx_http_usher_id_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_usher_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_usher_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_text(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    ngx_str_t *text)
{
    if (text == NULL || text->len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = text->len;
    v->data = text->data;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_usher_proven(ngx_http_usher_ctx_t *ctx)
{
    return ctx->auth == NGX_HTTP_USHER_AUTH_OK || ctx->dry;
}


static ngx_int_t
ngx_http_usher_key_text(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_http_usher_ctx_t  *ctx;

    ctx = ngx_http_usher_ctx(r, 0);

    if (ctx == NULL || ctx->key == NULL || !ngx_http_usher_proven(ctx)) {
        return ngx_http_usher_text(r, v, NULL);
    }

    return ngx_http_usher_text(r, v,
                               (ngx_str_t *) ((char *) ctx->key + data));
}


static ngx_int_t
ngx_http_usher_key_number(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    uint64_t              *number;
    ngx_str_t              text;
    ngx_http_usher_ctx_t  *ctx;

    ctx = ngx_http_usher_ctx(r, 0);

    if (ctx == NULL || ctx->key == NULL
        || (data != offsetof(ngx_http_usher_key_t, id)
            && !ngx_http_usher_proven(ctx)))
    {
        return ngx_http_usher_text(r, v, NULL);
    }

    text.data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    number = (uint64_t *) ((char *) ctx->key + data);
    text.len = ngx_http_usher_decimal(text.data, *number) - text.data;

    return ngx_http_usher_text(r, v, &text);
}


static ngx_int_t
ngx_http_usher_env(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_http_usher_ctx_t  *ctx;

    static ngx_str_t  live = ngx_string("live");
    static ngx_str_t  test = ngx_string("test");

    ctx = ngx_http_usher_ctx(r, 0);

    if (ctx == NULL || ctx->key == NULL || !ngx_http_usher_proven(ctx)) {
        return ngx_http_usher_text(r, v, NULL);
    }

    return ngx_http_usher_text(r, v, ctx->test ? &test : &live);
}


static ngx_int_t
ngx_http_usher_plan_name(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_http_usher_ctx_t  *ctx;

    ctx = ngx_http_usher_ctx(r, 0);

    if (ctx == NULL || ctx->plan.len == 0 || !ngx_http_usher_proven(ctx)) {
        return ngx_http_usher_text(r, v, NULL);
    }

    return ngx_http_usher_text(r, v, &ctx->plan);
}


static ngx_int_t
ngx_http_usher_auth_status(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    return ngx_http_usher_text(r, v, ngx_http_usher_auth_word(
                                         ngx_http_usher_ctx(r, 0)));
}


static ngx_int_t
ngx_http_usher_limit_status(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    return ngx_http_usher_text(r, v, ngx_http_usher_limit_word(
                                         ngx_http_usher_ctx(r, 0)));
}


static ngx_int_t
ngx_http_usher_limit_violated(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_usher_ctx_t  *ctx;

    ctx = ngx_http_usher_ctx(r, 0);

    return ngx_http_usher_text(r, v, ctx ? &ctx->violated : NULL);
}


static ngx_int_t
ngx_http_usher_id_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t  text;

    if (ngx_http_usher_request_id_text(r, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_usher_text(r, v, &text);
}


ngx_int_t
ngx_http_usher_request_id_text(ngx_http_request_t *r, ngx_str_t *text)
{
    ngx_http_usher_ctx_t       *ctx;
    ngx_http_usher_loc_conf_t  *ulcf;

    ulcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_module);

    if (ulcf->request_id != NULL) {

        if (ngx_http_complex_value(r, ulcf->request_id, text) != NGX_OK) {
            return NGX_ERROR;
        }

        if (text->len) {
            return NGX_OK;
        }
    }

    ctx = ngx_http_usher_ctx(r, 1);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    text->data = ngx_pnalloc(r->pool, NGX_HTTP_USHER_REQUEST_ID);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    text->len = ngx_http_usher_request_id(text->data, &ctx->number)
                - text->data;

    return NGX_OK;
}
