
/*
 * ngx_http_usher_auth.c - the verdict of usher_auth on a request, and how a
 * refusal is said.
 *
 * The order of reasons: what is wrong with the credential itself, then with
 * the state of its key, then the environment, scope and address that the
 * location and the key ask for.
 */


#include "ngx_http_usher_auth.h"


/* What a refusal is answered with. */
typedef struct {
    ngx_uint_t     status;
    const char    *error;         /* of WWW-Authenticate; NULL: none */
    const char    *title;
    ngx_str_t      detail;
} ngx_http_usher_refusal_t;


static ngx_int_t ngx_http_usher_auth_find(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx);
static ngx_int_t ngx_http_usher_auth_plan(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx);
static void ngx_http_usher_auth_failure(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_auth_conf_t *lcf);
static ngx_http_usher_auth_e ngx_http_usher_auth_rules(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_auth_conf_t *lcf);
static ngx_uint_t ngx_http_usher_auth_scope(ngx_str_t *scope, ngx_str_t *list);
static void ngx_http_usher_auth_verdict(ngx_http_usher_ctx_t *ctx,
    ngx_uint_t status);
static ngx_int_t ngx_http_usher_auth_challenge(ngx_http_request_t *r,
    ngx_http_usher_auth_conf_t *lcf, ngx_http_usher_refusal_t *refusal);


/*
 * In the order of ngx_http_usher_auth_e, from MISSING on.  A problem without
 * a type of its own has the status's phrase as its title (RFC 9457).
 */

static ngx_http_usher_refusal_t  ngx_http_usher_refusals[] = {
    { NGX_HTTP_UNAUTHORIZED, NULL, "Unauthorized",
      ngx_string("no key was sent") },
    { NGX_HTTP_UNAUTHORIZED, NULL, "Unauthorized",
      ngx_string("no key was sent: Authorization must be Bearer and the key") },
    { NGX_HTTP_UNAUTHORIZED, "invalid_token", "Unauthorized",
      ngx_string("key malformed") },
    { NGX_HTTP_UNAUTHORIZED, "invalid_token", "Unauthorized",
      ngx_string("key mistyped") },
    { NGX_HTTP_BAD_REQUEST, "invalid_request", "Bad Request",
      ngx_string("two different keys were sent") },
    { NGX_HTTP_UNAUTHORIZED, "invalid_token", "Unauthorized",
      ngx_string("key unknown") },
    { NGX_HTTP_UNAUTHORIZED, "invalid_token", "Unauthorized",
      ngx_string("key expired") },
    { NGX_HTTP_UNAUTHORIZED, "invalid_token", "Unauthorized",
      ngx_string("key revoked") },
    { NGX_HTTP_UNAUTHORIZED, "invalid_token", "Unauthorized",
      ngx_string("key was replaced by a newer one") },
    { NGX_HTTP_UNAUTHORIZED, "invalid_token", "Unauthorized",
      ngx_string("organization disabled") },
    { NGX_HTTP_FORBIDDEN, NULL, "Forbidden",
      ngx_string("the key is of the other environment, live or test") },
    { NGX_HTTP_FORBIDDEN, "insufficient_scope", "Forbidden",
      ngx_string("the key lacks a scope") },
    { NGX_HTTP_FORBIDDEN, NULL, "Forbidden",
      ngx_string("the key may not be used from this address") },
    { NGX_HTTP_TOO_MANY_REQUESTS, NULL, "Too many bad keys",
      ngx_string("too many requests with bad keys from this address") },
    { NGX_HTTP_SERVICE_UNAVAILABLE, NULL, "Key cannot be checked",
      ngx_string("the key cannot be checked at the moment") }
};


ngx_int_t
ngx_http_usher_auth_judge(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_auth_conf_t *lcf)
{
    ngx_int_t                   rc;
    ngx_http_usher_loc_conf_t  *ulcf;

    if (!ctx->found) {

        if (ngx_http_usher_auth_find(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }

    } else if (r->internal) {

        /* the location it was found in may have left it there */

        ulcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_module);

        if (ulcf->strip && ngx_http_usher_strip(r, ulcf->sources) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ctx->bad == NGX_HTTP_USHER_AUTH_NONE && ctx->key == NULL) {

        rc = ngx_http_usher_request_key(r, ctx);

        switch (rc) {

        case NGX_OK:
        case NGX_DECLINED:
            break;

        case NGX_BUSY:
            ctx->auth = NGX_HTTP_USHER_AUTH_UNAVAILABLE;
            return NGX_OK;

        case NGX_ABORT:
            ctx->auth = NGX_HTTP_USHER_AUTH_THROTTLED;
            return NGX_OK;

        default: /* NGX_AGAIN, NGX_ERROR */
            return rc;
        }
    }

    switch (ctx->bad) {

    case NGX_HTTP_USHER_AUTH_NONE:
        ctx->auth = ngx_http_usher_auth_rules(r, ctx, lcf);
        return ngx_http_usher_auth_plan(r, ctx);

    case NGX_HTTP_USHER_AUTH_MISSING:
        ctx->auth = lcf->enable == NGX_HTTP_USHER_AUTH_OPTIONAL
                    ? NGX_HTTP_USHER_AUTH_ANONYMOUS
                    : ctx->schemed ? NGX_HTTP_USHER_AUTH_SCHEME
                                   : NGX_HTTP_USHER_AUTH_MISSING;
        return NGX_OK;

    case NGX_HTTP_USHER_AUTH_CONFLICT:
        ctx->auth = NGX_HTTP_USHER_AUTH_CONFLICT;
        return NGX_OK;

    default: /* malformed, bad_checksum, unknown */
        ngx_http_usher_auth_failure(r, ctx, lcf);
        ctx->auth = ctx->throttled ? NGX_HTTP_USHER_AUTH_THROTTLED : ctx->bad;
        return NGX_OK;
    }
}


/* The credential, if there is one, and what is wrong with its form. */

static ngx_int_t
ngx_http_usher_auth_find(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ngx_http_usher_find_credential(r, ctx);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (!ctx->found) {
        ctx->bad = NGX_HTTP_USHER_AUTH_MISSING;
        return NGX_OK;
    }

    if (rc == NGX_DECLINED) {
        ctx->bad = NGX_HTTP_USHER_AUTH_CONFLICT;
        return NGX_OK;
    }

    switch (usher_key_check(ctx->credential.data, ctx->credential.len)) {

    case USHER_KEY_OK:
        ctx->bad = NGX_HTTP_USHER_AUTH_NONE;
        ctx->test = usher_key_test(ctx->credential.data, ctx->credential.len);
        break;

    case USHER_KEY_BAD_CHECKSUM:
        ctx->bad = NGX_HTTP_USHER_AUTH_CHECKSUM;
        break;

    default:
        ctx->bad = NGX_HTTP_USHER_AUTH_MALFORMED;
    }

    return NGX_OK;
}


/* $usher_plan, where the configuration uses it. */

static ngx_int_t
ngx_http_usher_auth_plan(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_usher_module);

    if (!umcf->plan || ctx->auth != NGX_HTTP_USHER_AUTH_OK) {
        return NGX_OK;
    }

    rc = ngx_http_usher_request_plan_name(r, ctx);

    /* no name is no reason to refuse */

    return rc == NGX_AGAIN || rc == NGX_ERROR ? rc : NGX_OK;
}


/* Counts a bad key against its client's address, once per request. */

static void
ngx_http_usher_auth_failure(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_auth_conf_t *lcf)
{
    size_t              len;
    u_char              name[1 + NGX_HTTP_USHER_ADDRESS];
    uint64_t            tat;
    ngx_uint_t          tries;
    ngx_atomic_t       *word;
    usher_gcra_take_t   take;

    if (ctx->failed || lcf->failures_off) {
        return;
    }

    ctx->failed = 1;

    len = ngx_http_usher_address_key(r, &name[1]);
    if (len == 0) {
        return;
    }

    name[0] = 'f';

    word = ngx_http_usher_bucket(name, 1 + len);
    if (word == NULL) {
        return;
    }

    for (tries = 0; tries < 3; tries++) {

        tat = *word;

        if (!usher_gcra_take(&lcf->failures, tat, ngx_http_usher_monotonic(),
                             1, &take))
        {
            break;
        }

        if (ngx_atomic_cmp_set(word, tat, take.tat)) {
            return;
        }
    }

    ctx->throttled = 1;
    ngx_http_usher_count(auth_failures_limited);
}


/* What this location asks of a key that exists. */

static ngx_http_usher_auth_e
ngx_http_usher_auth_rules(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_auth_conf_t *lcf)
{
    ngx_str_t             *scope;
    ngx_uint_t             i, past;
    ngx_http_usher_key_t  *key;

    key = ctx->key;
    past = key->expires != 0 && key->expires <= ngx_time();

    switch (key->state) {

    case NGX_HTTP_USHER_KEY_ACTIVE:
        break;

    case NGX_HTTP_USHER_KEY_ROTATED:

        if (past || key->expires == 0) {
            return NGX_HTTP_USHER_AUTH_ROTATED;
        }

        break;

    case NGX_HTTP_USHER_KEY_DISABLED:
        return NGX_HTTP_USHER_AUTH_DISABLED;

    default: /* NGX_HTTP_USHER_KEY_REVOKED */
        return NGX_HTTP_USHER_AUTH_REVOKED;
    }

    if (past) {
        return NGX_HTTP_USHER_AUTH_EXPIRED;
    }

    if (lcf->env != NGX_HTTP_USHER_AUTH_ANY
        && lcf->env != (ctx->test ? NGX_HTTP_USHER_AUTH_TEST
                                  : NGX_HTTP_USHER_AUTH_LIVE))
    {
        return NGX_HTTP_USHER_AUTH_ENV;
    }

    if (lcf->scopes != NULL) {
        scope = lcf->scopes->elts;

        for (i = 0; i < lcf->scopes->nelts; i++) {
            if (!ngx_http_usher_auth_scope(&scope[i], &key->scope)) {
                return NGX_HTTP_USHER_AUTH_SCOPE;
            }
        }
    }

    if (!ngx_http_usher_address_allowed(r, &key->allow)) {
        return NGX_HTTP_USHER_AUTH_ADDRESS;
    }

    return NGX_HTTP_USHER_AUTH_OK;
}


static ngx_uint_t
ngx_http_usher_auth_scope(ngx_str_t *scope, ngx_str_t *list)
{
    u_char  *p, *end, *word;

    p = list->data;
    end = p + list->len;

    while (p < end) {

        word = p;

        while (p < end && *p != ' ') {
            p++;
        }

        if ((size_t) (p - word) == scope->len
            && ngx_memcmp(word, scope->data, scope->len) == 0)
        {
            return 1;
        }

        p++;
    }

    return 0;
}


ngx_int_t
ngx_http_usher_auth_refuse(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_auth_conf_t *lcf)
{
    ngx_http_usher_problem_t    problem;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_usher_refusal_t   *refusal;

    refusal = &ngx_http_usher_refusals[ctx->auth - NGX_HTTP_USHER_AUTH_MISSING];

    ctx->dry = lcf->dry_run;

    ngx_log_error(lcf->log_level, r->connection->log, 0,
                  "usher: request refused: %V%s, key id %uL",
                  &refusal->detail, lcf->dry_run ? ", dry run" : "",
                  ctx->key ? ctx->key->id : (uint64_t) 0);

    if (lcf->dry_run) {
        ngx_http_usher_verdict(ctx, requests_dry_run);
        ctx->rules = lcf;
        return NGX_DECLINED;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->satisfy == NGX_HTTP_SATISFY_ANY
        && refusal->status != NGX_HTTP_UNAUTHORIZED)
    {
        ngx_http_usher_verdict(ctx, requests_forbidden);
        return NGX_HTTP_FORBIDDEN;
    }

    ngx_http_usher_auth_verdict(ctx, refusal->status);

    if (ngx_http_usher_auth_challenge(r, lcf, refusal) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (clcf->satisfy == NGX_HTTP_SATISFY_ANY) {
        return NGX_HTTP_UNAUTHORIZED;
    }

    if ((refusal->status == NGX_HTTP_SERVICE_UNAVAILABLE
         || refusal->status == NGX_HTTP_TOO_MANY_REQUESTS)
        && ngx_http_usher_retry_after(r, 1) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&problem, sizeof(ngx_http_usher_problem_t));

    if (refusal->status == NGX_HTTP_TOO_MANY_REQUESTS) {
        problem.type = "https://iana.org/assignments/http-problem-types"
                       "#abnormal-usage-detected";

    } else if (refusal->status == NGX_HTTP_SERVICE_UNAVAILABLE) {
        problem.type = "https://iana.org/assignments/http-problem-types"
                       "#temporary-reduced-capacity";
    }

    problem.status = refusal->status;
    problem.title = refusal->title;
    problem.detail = refusal->detail;
    problem.reason = *ngx_http_usher_auth_word(ctx);

    return ngx_http_usher_problem(r, &problem);
}


static void
ngx_http_usher_auth_verdict(ngx_http_usher_ctx_t *ctx, ngx_uint_t status)
{
    switch (status) {

    case NGX_HTTP_UNAUTHORIZED:
        ngx_http_usher_verdict(ctx, requests_unauthorized);
        break;

    case NGX_HTTP_FORBIDDEN:
        ngx_http_usher_verdict(ctx, requests_forbidden);
        break;

    case NGX_HTTP_BAD_REQUEST:
        ngx_http_usher_verdict(ctx, requests_invalid);
        break;

    case NGX_HTTP_TOO_MANY_REQUESTS:
        ngx_http_usher_verdict(ctx, requests_throttled);
        break;

    default: /* NGX_HTTP_SERVICE_UNAVAILABLE */
        ngx_http_usher_verdict(ctx, requests_unknown);
    }
}


/* WWW-Authenticate of RFC 6750, where the refusal has one. */

static ngx_int_t
ngx_http_usher_auth_challenge(ngx_http_request_t *r,
    ngx_http_usher_auth_conf_t *lcf, ngx_http_usher_refusal_t *refusal)
{
    size_t            len;
    u_char           *p, *last;
    ngx_str_t         value;
    ngx_table_elt_t  *h;

    static ngx_str_t  name = ngx_string("WWW-Authenticate");

    if (refusal->error == NULL && refusal->status != NGX_HTTP_UNAUTHORIZED) {
        return NGX_OK;
    }

    len = sizeof("Bearer realm=\"\", error=\"insufficient_scope\", "
                 "error_description=\"\", scope=\"\"")
          + lcf->realm.len + refusal->detail.len + lcf->scope.len;

    value.data = ngx_pnalloc(r->pool, len);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    last = value.data + len;
    p = ngx_slprintf(value.data, last, "Bearer realm=\"%V\"", &lcf->realm);

    if (refusal->error != NULL) {
        p = ngx_slprintf(p, last, ", error=\"%s\", error_description=\"%V\"",
                         refusal->error, &refusal->detail);
    }

    if (refusal->status == NGX_HTTP_FORBIDDEN) {
        p = ngx_slprintf(p, last, ", scope=\"%V\"", &lcf->scope);
    }

    value.len = p - value.data;

    /* an error page may lead to another refusal: that one's challenge holds */

    h = r->headers_out.www_authenticate;

    if (h != NULL && ngx_strncmp(h->value.data, "Bearer", 6) == 0) {
        h->value = value;
        h->hash = 1;
        return NGX_OK;
    }

    h = ngx_http_usher_header(r, &name, &value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    r->headers_out.www_authenticate = h;

    return NGX_OK;
}
