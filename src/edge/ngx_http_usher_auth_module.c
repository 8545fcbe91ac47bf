
/*
 * ngx_http_usher_auth_module.c - usher_auth: who is asking.
 *
 * DESIGN
 *
 * The access handler judges in two steps.  What is true of the credential
 * (missing, malformed, unknown, ...) and its key are found out once per main
 * request; what the location asks of it (state, scope, address) is judged
 * anew in every location the request comes through.
 *
 * Garbage is refused by its checksum, before it costs a hash.  Failures are
 * counted per address, but only those of keys that do not exist, and only
 * after the look-up: a good key behind the same address is admitted whatever
 * others do.  (How many look-ups an address may cause that need Redis is the
 * directory's budget.)
 *
 * OK, 401 and 403 are returned to nginx where "satisfy any" may still find
 * another way in; 400, 429 and 503 become 403 there, with their reason in
 * $usher_auth_status.
 *
 * nginx runs no access phase for subrequests.  The precontent handler refuses
 * one whose location asks for something else than what admitted the main
 * request.
 */


#include "ngx_http_usher_auth.h"


static ngx_int_t ngx_http_usher_auth_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_auth_private(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx);
static ngx_uint_t ngx_http_usher_auth_preflight(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_auth_precontent(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_auth_reserve(ngx_http_request_t *r);
static ngx_uint_t ngx_http_usher_auth_same(ngx_http_usher_auth_conf_t *a,
    ngx_http_usher_auth_conf_t *b);
static ngx_uint_t ngx_http_usher_auth_held(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_auth_conf_t *lcf);

static char *ngx_http_usher_auth(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_usher_auth_add_scopes(ngx_conf_t *cf,
    ngx_http_usher_auth_conf_t *lcf, ngx_str_t *text);
static char *ngx_http_usher_auth_realm(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_usher_auth_failures(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void *ngx_http_usher_auth_create_conf(ngx_conf_t *cf);
static char *ngx_http_usher_auth_merge_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_int_t ngx_http_usher_auth_init(ngx_conf_t *cf);


static ngx_conf_enum_t  ngx_http_usher_auth_log_levels[] = {
    { ngx_string("info"), NGX_LOG_INFO },
    { ngx_string("notice"), NGX_LOG_NOTICE },
    { ngx_string("warn"), NGX_LOG_WARN },
    { ngx_string("error"), NGX_LOG_ERR },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_usher_auth_commands[] = {

    { ngx_string("usher_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LMT_CONF
                        |NGX_CONF_1MORE,
      ngx_http_usher_auth,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_auth_realm"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LMT_CONF
                        |NGX_CONF_TAKE1,
      ngx_http_usher_auth_realm,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_auth_failures"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_usher_auth_failures,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_auth_dry_run"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LMT_CONF
                        |NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_auth_conf_t, dry_run),
      NULL },

    { ngx_string("usher_auth_log_level"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_auth_conf_t, log_level),
      &ngx_http_usher_auth_log_levels },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_auth_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_usher_auth_init,              /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_usher_auth_create_conf,       /* create location configuration */
    ngx_http_usher_auth_merge_conf         /* merge location configuration */
};


ngx_module_t  ngx_http_usher_auth_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_auth_module_ctx,       /* module context */
    ngx_http_usher_auth_commands,          /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_usher_auth_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_http_usher_ctx_t        *ctx;
    ngx_http_usher_loc_conf_t   *ulcf;
    ngx_http_usher_auth_conf_t  *lcf;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_auth_module);

    if (lcf->enable == NGX_HTTP_USHER_AUTH_OFF) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_usher_ctx(r, 1);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->evented = 1;
    ctx->dry = 0;
    ctx->rules = NULL;

    if (lcf->preflight && ngx_http_usher_auth_preflight(r)) {
        ctx->auth = NGX_HTTP_USHER_AUTH_ANONYMOUS;
        ngx_http_usher_verdict(ctx, requests_anonymous);

        /* nobody asks for a key here, so it is not for others either */

        ulcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_module);

        if (ulcf->strip) {
            if (ngx_http_usher_strip(r, ulcf->sources) != NGX_OK) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            ctx->stripped = 1;
        }

        return NGX_DECLINED;
    }

    rc = ngx_http_usher_auth_judge(r, ctx, lcf);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (ctx->auth) {

    case NGX_HTTP_USHER_AUTH_OK:

        /* who was refused is not admitted by an error page */

        if (!r->error_page) {
            ngx_http_usher_verdict(ctx, requests_admitted);
        }

        if (ctx->queried && ngx_http_usher_auth_private(r, ctx) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->rules = lcf;
        return NGX_OK;

    case NGX_HTTP_USHER_AUTH_ANONYMOUS:
        if (!r->error_page) {
            ngx_http_usher_verdict(ctx, requests_anonymous);
        }

        ctx->rules = lcf;
        return NGX_DECLINED;

    default:
        return ngx_http_usher_auth_refuse(r, ctx, lcf);
    }
}


/* RFC 6750: what a key in the query was answered with is not for others. */

static ngx_int_t
ngx_http_usher_auth_private(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx)
{
    static ngx_str_t  name = ngx_string("Cache-Control");
    static ngx_str_t  value = ngx_string("private");

    if (ctx->private) {
        return NGX_OK;
    }

    ctx->private = 1;

    return ngx_http_usher_header(r, &name, &value) ? NGX_OK : NGX_ERROR;
}


/* A browser asks before it sends a key: it never sends one then. */

static ngx_uint_t
ngx_http_usher_auth_preflight(ngx_http_request_t *r)
{
    ngx_uint_t        i, found;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    if (r->method != NGX_HTTP_OPTIONS) {
        return 0;
    }

    found = 0;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == 6
                && ngx_strncmp(h[i].lowcase_key, "origin", 6) == 0)
            {
                found |= 1;

            } else if (h[i].key.len == 29
                       && ngx_strncmp(h[i].lowcase_key,
                                      "access-control-request-method", 29)
                          == 0)
            {
                found |= 2;
            }
        }
    }

    return found == 3;
}


static ngx_int_t
ngx_http_usher_auth_precontent(ngx_http_request_t *r)
{
    ngx_http_usher_ctx_t        *ctx;
    ngx_http_usher_auth_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_auth_module);

    ctx = ngx_http_usher_ctx(r, 0);

    if (r == r->main) {

        /* admitted, be it by another module under "satisfy any" */

        if (ctx != NULL && lcf->enable != NGX_HTTP_USHER_AUTH_OFF) {

            if (ctx->rules == NULL && !r->error_page) {
                ngx_http_usher_verdict(ctx, requests_anonymous);
            }

            ctx->rules = lcf;
        }

        return ngx_http_usher_auth_reserve(r);
    }

    if (lcf->enable != NGX_HTTP_USHER_AUTH_ON || lcf->dry_run) {
        return NGX_DECLINED;
    }

    if (ctx != NULL && ctx->rules != NULL
        && ngx_http_usher_auth_same(ctx->rules, lcf)
        && ngx_http_usher_auth_held(r, ctx, lcf))
    {
        return NGX_DECLINED;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "usher: subrequest \"%V\" refused: its location asks for "
                  "another key than the request's own", &r->uri);

    return NGX_HTTP_FORBIDDEN;
}


/* Where "usher_full request deny" says so, no work without room for it. */

static ngx_int_t
ngx_http_usher_auth_reserve(ngx_http_request_t *r)
{
    ngx_http_usher_ctx_t       *ctx;
    ngx_http_usher_problem_t    problem;
    ngx_http_usher_loc_conf_t  *ulcf;

    ulcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_module);

    if (!ulcf->active
        || ngx_http_usher_journal_full(r, 'r') != NGX_HTTP_USHER_FULL_DENY)
    {
        return NGX_DECLINED;
    }

    ctx = ngx_http_usher_ctx(r, 1);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->reserved) {
        return NGX_DECLINED;
    }

    if (ngx_http_usher_journal_reserve(r, USHER_EVENT_LOG_MAX) == NGX_OK) {
        ctx->reserved = 1;
        return NGX_DECLINED;
    }

    /* where there are limits only, nobody has said so yet */

    ctx->evented = 1;
    ngx_http_usher_verdict(ctx, requests_denied);

    if (ngx_http_usher_retry_after(r, 1) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&problem, sizeof(ngx_http_usher_problem_t));

    problem.status = NGX_HTTP_SERVICE_UNAVAILABLE;
    problem.type = "https://iana.org/assignments/http-problem-types"
                   "#temporary-reduced-capacity";
    problem.title = "Request cannot be recorded";
    ngx_str_set(&problem.reason, "journal_full");

    return ngx_http_usher_problem(r, &problem);
}


/* Whether who satisfies a satisfies b. */

static ngx_uint_t
ngx_http_usher_auth_same(ngx_http_usher_auth_conf_t *a,
    ngx_http_usher_auth_conf_t *b)
{
    if (a == b) {
        return 1;
    }

    return a->enable == b->enable
           && !a->dry_run
           && a->preflight == b->preflight
           && a->env == b->env
           && a->scope.len == b->scope.len
           && (a->scope.len == 0
               || ngx_memcmp(a->scope.data, b->scope.data, a->scope.len)
                  == 0);
}


/* Whether the main request was admitted by what a subrequest may have, too. */

static ngx_uint_t
ngx_http_usher_auth_held(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_auth_conf_t *lcf)
{
    ngx_http_core_loc_conf_t  *clcf;

    if (ctx->auth == NGX_HTTP_USHER_AUTH_OK
        || (ctx->auth == NGX_HTTP_USHER_AUTH_ANONYMOUS && lcf->preflight))
    {
        return 1;
    }

    /* another module let it in, which "satisfy any" has to allow here also */

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return clcf->satisfy == NGX_HTTP_SATISFY_ANY;
}


static char *
ngx_http_usher_auth(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_auth_conf_t *lcf = conf;

    char        *rv;
    ngx_str_t   *value, text;
    ngx_uint_t   i;

    if (lcf->enable != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        lcf->enable = NGX_HTTP_USHER_AUTH_OFF;

        return cf->args->nelts == 2 ? NGX_CONF_OK
                                    : "takes no parameters after \"off\"";
    }

    if (ngx_strcmp(value[1].data, "on") == 0) {
        lcf->enable = NGX_HTTP_USHER_AUTH_ON;

    } else if (ngx_strcmp(value[1].data, "optional") == 0) {
        lcf->enable = NGX_HTTP_USHER_AUTH_OPTIONAL;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"usher_auth\", it must "
                           "be \"on\", \"off\" or \"optional\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    lcf->preflight = 0;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "scope=", 6) == 0) {
            text.data = value[i].data + 6;
            text.len = value[i].len - 6;

            rv = ngx_http_usher_auth_add_scopes(cf, lcf, &text);
            if (rv != NGX_CONF_OK) {
                return rv;
            }

            continue;
        }

        if (ngx_strcmp(value[i].data, "env=live") == 0) {
            lcf->env = NGX_HTTP_USHER_AUTH_LIVE;
            continue;
        }

        if (ngx_strcmp(value[i].data, "env=test") == 0) {
            lcf->env = NGX_HTTP_USHER_AUTH_TEST;
            continue;
        }

        if (ngx_strcmp(value[i].data, "preflight=pass") == 0) {
            lcf->preflight = 1;
            continue;
        }

        if (ngx_strcmp(value[i].data, "preflight=check") == 0) {
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"usher_auth\"",
                           &value[i]);
        return NGX_CONF_ERROR;
    }

    ngx_http_usher_needs_zone(cf, &value[0]);

    if (lcf->enable != NGX_HTTP_USHER_AUTH_OFF) {
        ngx_http_usher_needs_redis(cf, &value[0]);
    }

    return NGX_CONF_OK;
}


/* Adds the words of text, separated by spaces or commas. */

static char *
ngx_http_usher_auth_add_scopes(ngx_conf_t *cf,
    ngx_http_usher_auth_conf_t *lcf, ngx_str_t *text)
{
    u_char     *p, *end, *word;
    ngx_str_t  *scope;

    if (lcf->scopes == NULL) {
        lcf->scopes = ngx_array_create(cf->pool, 2, sizeof(ngx_str_t));
        if (lcf->scopes == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    p = text->data;
    end = p + text->len;

    while (p < end) {

        if (*p == ' ' || *p == ',') {
            p++;
            continue;
        }

        for (word = p; p < end && *p != ' ' && *p != ','; p++) {
            if (*p < 0x21 || *p > 0x7e || *p == '"' || *p == '\\') {
                return "has an invalid character in \"scope\"";
            }
        }

        scope = ngx_array_push(lcf->scopes);
        if (scope == NULL) {
            return NGX_CONF_ERROR;
        }

        scope->data = word;
        scope->len = p - word;
    }

    if (lcf->scopes->nelts == 0) {
        return "has an empty \"scope\"";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_auth_realm(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_auth_conf_t *lcf = conf;

    u_char     *p;
    size_t      i;
    ngx_str_t  *value;

    if (lcf->realm.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    p = ngx_pnalloc(cf->pool, 2 * value[1].len + 1);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    lcf->realm.data = p;

    for (i = 0; i < value[1].len; i++) {

        if (value[1].data[i] < 0x20 || value[1].data[i] > 0x7e) {
            return "has a character in its text that is not printable ASCII";
        }

        if (value[1].data[i] == '"' || value[1].data[i] == '\\') {
            *p++ = '\\';
        }

        *p++ = value[1].data[i];
    }

    lcf->realm.len = p - lcf->realm.data;

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_auth_failures(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_auth_conf_t *lcf = conf;

    uint64_t    quota, window, burst;
    ngx_int_t   n;
    ngx_str_t  *value, text;

    if (lcf->failures_off != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        lcf->failures_off = 1;

        return cf->args->nelts == 2 ? NGX_CONF_OK
                                    : "takes no parameters after \"off\"";
    }

    lcf->failures_off = 0;

    if (ngx_strncmp(value[1].data, "rate=", 5) != 0) {
        return "must begin with \"rate=\", or be \"off\"";
    }

    text.data = value[1].data + 5;
    text.len = value[1].len - 5;

    if (ngx_http_usher_parse_rate(&text, &quota, &window) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid rate \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    burst = quota;

    if (cf->args->nelts == 3) {

        n = ngx_strncmp(value[2].data, "burst=", 6) == 0
            ? ngx_atoi(value[2].data + 6, value[2].len - 6) : NGX_ERROR;

        if (n <= 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid burst \"%V\"",
                               &value[2]);
            return NGX_CONF_ERROR;
        }

        burst = n;
    }

    if (usher_gcra_init(&lcf->failures, quota, window, burst) != 0) {
        return "has too large a burst for its rate";
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_usher_auth_create_conf(ngx_conf_t *cf)
{
    ngx_http_usher_auth_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_auth_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->env = NGX_HTTP_USHER_AUTH_ANY;
     *     conf->scopes = NULL;
     *     conf->scope = { 0, NULL };
     *     conf->realm = { 0, NULL };
     */

    conf->enable = NGX_CONF_UNSET_UINT;
    conf->preflight = NGX_CONF_UNSET;
    conf->dry_run = NGX_CONF_UNSET;
    conf->log_level = NGX_CONF_UNSET_UINT;
    conf->failures_off = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_usher_auth_merge_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_usher_auth_conf_t *prev = parent;
    ngx_http_usher_auth_conf_t *conf = child;

    u_char                     *p;
    ngx_str_t                  *scope;
    ngx_uint_t                  i;
    ngx_http_usher_loc_conf_t  *ulcf;

    /* scopes, env and preflight belong to the "usher_auth" they stand in */

    if (conf->enable == NGX_CONF_UNSET_UINT) {
        conf->scopes = prev->scopes;
        conf->env = prev->env;
        conf->preflight = prev->preflight;
    }

    ngx_conf_merge_uint_value(conf->enable, prev->enable,
                              NGX_HTTP_USHER_AUTH_OFF);
    ngx_conf_merge_str_value(conf->realm, prev->realm, "api");
    ngx_conf_merge_value(conf->dry_run, prev->dry_run, 0);
    ngx_conf_merge_uint_value(conf->log_level, prev->log_level, NGX_LOG_INFO);

    if (conf->preflight == NGX_CONF_UNSET) {
        conf->preflight = 0;
    }

    if (conf->failures_off == NGX_CONF_UNSET) {

        if (prev->failures_off == NGX_CONF_UNSET) {
            prev->failures_off = 0;
            (void) usher_gcra_init(&prev->failures, 10, 1, 50);
        }

        conf->failures_off = prev->failures_off;
        conf->failures = prev->failures;
    }

    if (conf->enable != NGX_HTTP_USHER_AUTH_OFF) {
        ulcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_usher_module);
        ulcf->active = 1;

        if (ngx_http_usher_add_headers(cf, ulcf->sources) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (conf->scopes == NULL) {
        return NGX_CONF_OK;
    }

    scope = conf->scopes->elts;

    for (i = 0; i < conf->scopes->nelts; i++) {
        conf->scope.len += scope[i].len + 1;
    }

    p = ngx_pnalloc(cf->pool, conf->scope.len);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    conf->scope.data = p;
    conf->scope.len--;

    for (i = 0; i < conf->scopes->nelts; i++) {

        if (i) {
            *p++ = ' ';
        }

        p = ngx_cpymem(p, scope[i].data, scope[i].len);
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_usher_auth_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_usher_auth_handler;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_usher_auth_precontent;

    return NGX_OK;
}
