
/*
 * ngx_http_usher_limit_module.c - usher_limit: how much of it.
 *
 * DESIGN
 *
 * Limits run in the precontent phase: what access refused is not charged, and
 * what access admitted, by whatever module under "satisfy any", is limited.
 * Those marked early run in preaccess, and know no key.  Each phase takes all
 * or none of its buckets; an early charge is not given back when access
 * refuses later.
 *
 * A request is charged once per named limit and once by its plan, however
 * many locations it comes through, and it is refused once: an error page is
 * not limited.  Subrequests are not.
 */


#include "ngx_http_usher_limit.h"


typedef struct {
    ngx_array_t   limits;         /* ngx_http_usher_limit_t *; by name */
    unsigned      early:1;        /* any use is */
} ngx_http_usher_limit_main_conf_t;


static ngx_int_t ngx_http_usher_limit_early_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_limit_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_limit_run(ngx_http_request_t *r,
    ngx_http_usher_limit_conf_t *lcf, ngx_uint_t early);
static void ngx_http_usher_limit_charged(ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_charge_t *charges, ngx_uint_t n);

static char *ngx_http_usher_limit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_usher_limit_parameters(ngx_conf_t *cf,
    ngx_http_usher_limit_use_t *use, ngx_http_usher_limit_t *limit);
static char *ngx_http_usher_limit_cost(ngx_conf_t *cf,
    ngx_http_usher_limit_use_t *use, ngx_str_t *text);
static char *ngx_http_usher_limit_known_early(ngx_conf_t *cf,
    ngx_http_usher_limit_t *limit, ngx_str_t *text);
static char *ngx_http_usher_limit_define(ngx_conf_t *cf,
    ngx_http_usher_limit_use_t *use, ngx_http_usher_limit_t *limit);
static void *ngx_http_usher_limit_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_usher_limit_create_conf(ngx_conf_t *cf);
static char *ngx_http_usher_limit_merge_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_int_t ngx_http_usher_limit_init(ngx_conf_t *cf);


static ngx_conf_enum_t  ngx_http_usher_limit_log_levels[] = {
    { ngx_string("info"), NGX_LOG_INFO },
    { ngx_string("notice"), NGX_LOG_NOTICE },
    { ngx_string("warn"), NGX_LOG_WARN },
    { ngx_string("error"), NGX_LOG_ERR },
    { ngx_null_string, 0 }
};


static ngx_conf_num_bounds_t  ngx_http_usher_limit_statuses = {
    ngx_conf_check_num_bounds, 400, 599
};


static ngx_command_t  ngx_http_usher_limit_commands[] = {

    { ngx_string("usher_limit"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_usher_limit,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_limit_status"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_limit_conf_t, status),
      &ngx_http_usher_limit_statuses },

    { ngx_string("usher_limit_log_level"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_limit_conf_t, log_level),
      &ngx_http_usher_limit_log_levels },

    { ngx_string("usher_limit_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_limit_conf_t, headers),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_limit_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_usher_limit_init,             /* postconfiguration */

    ngx_http_usher_limit_create_main_conf, /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_usher_limit_create_conf,      /* create location configuration */
    ngx_http_usher_limit_merge_conf        /* merge location configuration */
};


ngx_module_t  ngx_http_usher_limit_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_limit_module_ctx,      /* module context */
    ngx_http_usher_limit_commands,         /* module directives */
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
ngx_http_usher_limit_early_handler(ngx_http_request_t *r)
{
    ngx_http_usher_limit_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_limit_module);

    if (r != r->main || lcf->early == 0) {
        return NGX_DECLINED;
    }

    return ngx_http_usher_limit_run(r, lcf, 1);
}


static ngx_int_t
ngx_http_usher_limit_handler(ngx_http_request_t *r)
{
    ngx_http_usher_limit_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_limit_module);

    if (r != r->main || lcf->uses == NULL
        || lcf->uses->nelts == lcf->early)
    {
        return NGX_DECLINED;
    }

    return ngx_http_usher_limit_run(r, lcf, 0);
}


static ngx_int_t
ngx_http_usher_limit_run(ngx_http_request_t *r,
    ngx_http_usher_limit_conf_t *lcf, ngx_uint_t early)
{
    ngx_int_t                 rc;
    ngx_uint_t                n;
    ngx_http_usher_ctx_t     *ctx;
    ngx_http_usher_charge_t   charges[NGX_HTTP_USHER_LIMIT_CHARGES];

    ctx = ngx_http_usher_ctx(r, 1);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->evented = 1;

    if (ctx->limited) {
        return NGX_DECLINED;
    }

    rc = ngx_http_usher_charges(r, ctx, lcf, early, charges, &n);

    switch (rc) {

    case NGX_OK:
        break;

    case NGX_AGAIN:
        return NGX_AGAIN;

    case NGX_ERROR:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;

    default: /* NGX_BUSY */
        return ngx_http_usher_limit_unavailable(r, ctx);
    }

    if (n == 0) {
        return NGX_DECLINED;
    }

    rc = ngx_http_usher_charge(charges, n, ctx->key ? ctx->key->plan_id : 0);

    if (lcf->headers
        && ngx_http_usher_limit_fields(r, charges, n) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc != NGX_OK) {
        return ngx_http_usher_limit_refuse(r, ctx, lcf, charges, n);
    }

    if (ctx->limit == NGX_HTTP_USHER_LIMIT_NONE) {
        ctx->limit = NGX_HTTP_USHER_LIMIT_PASSED;
    }

    ngx_http_usher_limit_charged(ctx, charges, n);

    if (ctx->limit == NGX_HTTP_USHER_LIMIT_DRY_RUN
        && ngx_http_usher_limit_violated(r, ctx, charges, n, 1) == NGX_OK
        && ctx->violated.len)
    {
        ngx_log_error(lcf->log_level, r->connection->log, 0,
                      "usher: over limit, dry run: %V", &ctx->violated);
    }

    return NGX_DECLINED;
}


static void
ngx_http_usher_limit_charged(ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_charge_t *charges, ngx_uint_t n)
{
    ngx_uint_t                i;
    ngx_http_usher_charge_t  *c;

    for (i = 0; i < n; i++) {
        c = &charges[i];

        if (c->bit == -1) {
            ctx->plan_charged = 1;

        } else {
            ctx->charged[c->bit / 64] |= (uint64_t) 1 << c->bit % 64;
        }

        if (c->denied) {
            ctx->limit = NGX_HTTP_USHER_LIMIT_DRY_RUN;
            ngx_http_usher_verdict(ctx, requests_dry_run);

        } else if (c->bit == -1) {
            ctx->units = c->cost;
        }
    }
}


static char *
ngx_http_usher_limit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_limit_conf_t *lcf = conf;

    char                              *rv;
    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_http_usher_limit_t             limit;
    ngx_http_usher_limit_use_t        *use, *uses;
    ngx_http_usher_limit_main_conf_t  *lmcf;

    value = cf->args->elts;

    if (lcf->off) {
        return "\"off\" must stand alone";
    }

    if (lcf->uses == NULL) {
        lcf->uses = ngx_array_create(cf->pool, 2,
                                     sizeof(ngx_http_usher_limit_use_t));
        if (lcf->uses == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        lcf->off = 1;

        return cf->args->nelts == 2 && lcf->uses->nelts == 0
               ? NGX_CONF_OK : "\"off\" must stand alone";
    }

    if (lcf->uses->nelts == NGX_HTTP_USHER_LIMIT_USES) {
        return "is given more than 16 times here";
    }

    use = ngx_array_push(lcf->uses);
    if (use == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(use, sizeof(ngx_http_usher_limit_use_t));
    ngx_memzero(&limit, sizeof(ngx_http_usher_limit_t));

    use->units = 1;
    limit.name = value[1];

    rv = ngx_http_usher_limit_parameters(cf, use, &limit);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (use->early) {
        rv = ngx_http_usher_limit_known_early(cf, &limit, &limit.key_text);

        if (rv == NGX_CONF_OK && use->cost != NULL) {
            rv = ngx_http_usher_limit_known_early(cf, &limit,
                                                  &use->cost->value);
        }

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (ngx_strcmp(value[1].data, "plan") != 0) {
        rv = ngx_http_usher_limit_define(cf, use, &limit);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    uses = lcf->uses->elts;

    for (i = 0; i < lcf->uses->nelts - 1; i++) {
        if (uses[i].limit == use->limit) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "limit \"%V\" is given twice here", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    lcf->early += use->early;

    lmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_limit_module);
    lmcf->early |= use->early;

    ngx_http_usher_needs_zone(cf, &value[0]);

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_limit_parameters(ngx_conf_t *cf,
    ngx_http_usher_limit_use_t *use, ngx_http_usher_limit_t *limit)
{
    char        *rv;
    uint64_t     burst;
    ngx_int_t    n;
    ngx_str_t   *value, text;
    ngx_uint_t   i, plan;

    value = cf->args->elts;
    plan = ngx_strcmp(value[1].data, "plan") == 0;
    burst = 0;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "rate=", 5) == 0 && !plan) {
            text.data = value[i].data + 5;
            text.len = value[i].len - 5;

            if (ngx_http_usher_parse_rate(&text, &limit->quota,
                                          &limit->window)
                != NGX_OK)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid rate \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "burst=", 6) == 0 && !plan) {

            n = ngx_atoi(value[i].data + 6, value[i].len - 6);

            if (n <= 0) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid burst \"%V\", it must be 1 or "
                                   "more: what may be taken at once",
                                   &value[i]);
                return NGX_CONF_ERROR;
            }

            burst = n;
            continue;
        }

        if (ngx_strncmp(value[i].data, "key=", 4) == 0 && !plan) {
            limit->key_text.data = value[i].data + 4;
            limit->key_text.len = value[i].len - 4;

            if (limit->key_text.len == 0) {
                return "has an empty key";
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "cost=", 5) == 0) {
            text.data = value[i].data + 5;
            text.len = value[i].len - 5;

            rv = ngx_http_usher_limit_cost(cf, use, &text);
            if (rv != NGX_CONF_OK) {
                return rv;
            }

            continue;
        }

        if (ngx_strcmp(value[i].data, "dry_run") == 0) {
            use->dry_run = 1;
            continue;
        }

        if (ngx_strcmp(value[i].data, "early") == 0) {

            if (plan) {
                return "\"plan\" cannot be \"early\": the key is not known "
                       "then";
            }

            use->early = 1;
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" of limit \"%V\"",
                           &value[i], &value[1]);
        return NGX_CONF_ERROR;
    }

    if (plan) {
        return NGX_CONF_OK;
    }

    if (limit->quota == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "limit \"%V\" must have \"rate\" parameter",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    /* a burst of 1 would refuse the second of two requests at one moment */

    if (usher_gcra_init(&limit->gcra, limit->quota, limit->window,
                        burst ? burst : limit->quota)
        != 0)
    {
        return "has too large a burst for its rate";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_limit_cost(ngx_conf_t *cf, ngx_http_usher_limit_use_t *use,
    ngx_str_t *text)
{
    ngx_int_t                          n;
    ngx_http_compile_complex_value_t   ccv;

    if (ngx_http_script_variables_count(text) == 0) {

        n = ngx_atoi(text->data, text->len);

        if (n == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid cost \"%V\"",
                               text);
            return NGX_CONF_ERROR;
        }

        use->units = n;
        return NGX_CONF_OK;
    }

    use->cost = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (use->cost == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = text;
    ccv.complex_value = use->cost;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/*
 * What only access finds out is empty before it, and a limit by an empty key
 * limits nobody.
 */

static char *
ngx_http_usher_limit_known_early(ngx_conf_t *cf,
    ngx_http_usher_limit_t *limit, ngx_str_t *text)
{
    size_t       len;
    u_char      *p, *end, *name;
    ngx_uint_t   i;

    static ngx_str_t  late[] = {
        ngx_string("usher_org"),
        ngx_string("usher_org_id"),
        ngx_string("usher_key_id"),
        ngx_string("usher_env"),
        ngx_string("usher_scope"),
        ngx_string("usher_plan"),
        ngx_string("usher_auth_status")
    };

    end = text->data + text->len;

    for (p = text->data; p < end; /* void */ ) {

        if (*p++ != '$') {
            continue;
        }

        if (p < end && *p == '{') {
            p++;
        }

        for (name = p; p < end && (*p == '_' || isalnum(*p)); p++) {
            /* void */
        }

        len = p - name;

        for (i = 0; i < sizeof(late) / sizeof(late[0]); i++) {

            if (len != late[i].len
                || ngx_strncasecmp(name, late[i].data, len) != 0)
            {
                continue;
            }

            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "limit \"%V\" cannot be \"early\": \"$%V\" is "
                               "not known then", &limit->name, &late[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* A limit of this name is shared, so it has to be the same everywhere. */

static char *
ngx_http_usher_limit_define(ngx_conf_t *cf, ngx_http_usher_limit_use_t *use,
    ngx_http_usher_limit_t *limit)
{
    u_char                             c;
    size_t                             n;
    ngx_str_t                          value;
    ngx_uint_t                         i;
    ngx_http_usher_limit_t            *old, **place, **limits;
    ngx_http_compile_complex_value_t   ccv;
    ngx_http_usher_limit_main_conf_t  *lmcf;

    for (n = 0; n < limit->name.len; n++) {
        c = ngx_tolower(limit->name.data[n]);

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_'
            && c != '-' && c != '.')
        {
            break;
        }
    }

    if (n == 0 || n != limit->name.len || n > NGX_HTTP_USHER_NAME_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" of a limit: 1 to 32 letters, "
                           "digits, \"_\", \"-\" and \".\"", &limit->name);
        return NGX_CONF_ERROR;
    }

    if (limit->key_text.len == 0) {
        ngx_str_set(&limit->key_text, "$binary_remote_addr");
    }

    lmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_limit_module);
    limits = lmcf->limits.elts;

    for (i = 0; i < lmcf->limits.nelts; i++) {
        old = limits[i];

        if (old->name.len != limit->name.len
            || ngx_memcmp(old->name.data, limit->name.data, limit->name.len)
               != 0)
        {
            continue;
        }

        if (old->quota != limit->quota || old->window != limit->window
            || old->gcra.burst != limit->gcra.burst
            || old->key_text.len != limit->key_text.len
            || ngx_memcmp(old->key_text.data, limit->key_text.data,
                          limit->key_text.len)
               != 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "limit \"%V\" has another rate, burst or key "
                               "elsewhere, but limits of one name share "
                               "their buckets", &limit->name);
            return NGX_CONF_ERROR;
        }

        use->limit = old;
        return NGX_CONF_OK;
    }

    if (lmcf->limits.nelts == NGX_HTTP_USHER_LIMITS_MAX) {
        return "has more than 128 different names";
    }

    use->limit = ngx_palloc(cf->pool, sizeof(ngx_http_usher_limit_t));
    place = ngx_array_push(&lmcf->limits);

    if (use->limit == NULL || place == NULL) {
        return NGX_CONF_ERROR;
    }

    *use->limit = *limit;
    use->limit->bit = lmcf->limits.nelts - 1;
    *place = use->limit;

    value = limit->key_text;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value;
    ccv.complex_value = &use->limit->key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_usher_limit_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_usher_limit_main_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_limit_main_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&conf->limits, cf->pool, 4,
                       sizeof(ngx_http_usher_limit_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return conf;
}


static void *
ngx_http_usher_limit_create_conf(ngx_conf_t *cf)
{
    ngx_http_usher_limit_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_limit_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->uses = NULL;
     *     conf->early = 0;
     *     conf->off = 0;
     */

    conf->status = NGX_CONF_UNSET_UINT;
    conf->log_level = NGX_CONF_UNSET_UINT;
    conf->headers = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_usher_limit_merge_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_usher_limit_conf_t *prev = parent;
    ngx_http_usher_limit_conf_t *conf = child;

    ngx_http_usher_loc_conf_t  *ulcf;

    if (conf->uses == NULL) {
        conf->uses = prev->uses;
        conf->early = prev->early;
    }

    ngx_conf_merge_uint_value(conf->status, prev->status,
                              NGX_HTTP_TOO_MANY_REQUESTS);
    ngx_conf_merge_uint_value(conf->log_level, prev->log_level, NGX_LOG_INFO);
    ngx_conf_merge_value(conf->headers, prev->headers, 1);

    if (conf->uses != NULL && conf->uses->nelts) {
        ulcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_usher_module);
        ulcf->active = 1;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_usher_limit_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt               *h;
    ngx_http_core_main_conf_t         *cmcf;
    ngx_http_usher_limit_main_conf_t  *lmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    lmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_limit_module);

    if (lmcf->early) {
        h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = ngx_http_usher_limit_early_handler;
    }

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_usher_limit_handler;

    return NGX_OK;
}
