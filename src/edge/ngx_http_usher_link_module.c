
/*
 * ngx_http_usher_link_module.c - usher_link: shows the way.
 *
 *     location ~ ^/go/(?<slug>.+)$ { usher_link $slug; }
 *
 * DESIGN
 *
 * A link is the record <host>/<slug> of the directory.  What is known is
 * answered without I/O; for what is not the request waits, as auth does: the
 * content handler then runs again from the start, so it keeps no state.  The
 * links of the moment stay unpacked in the worker, as long as
 * ngx_http_usher_directory_memo() lets them.
 *
 * The click is in the journal before the answer is sent: whoever was sent on
 * is a row, unless the journal was full, which is counted.  Nothing is
 * dropped for being a bot or a prefetch: it is labelled.
 */


#include "ngx_http_usher_agent.h"
#include "ngx_http_usher_link.h"


static ngx_int_t ngx_http_usher_link_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_link_unavailable(ngx_http_request_t *r,
    ngx_int_t rc);
static ngx_uint_t ngx_http_usher_link_prefetch(ngx_http_request_t *r);
static void ngx_http_usher_link_label(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click);
static void ngx_http_usher_link_count(ngx_http_usher_click_t *click);
static ngx_int_t ngx_http_usher_link_send(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click,
    ngx_str_t *location);
static ngx_int_t ngx_http_usher_link_not_allowed(ngx_http_request_t *r);

static char *ngx_http_usher_link(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_usher_link_init(ngx_conf_t *cf);
static void *ngx_http_usher_link_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_usher_link_create_conf(ngx_conf_t *cf);
static char *ngx_http_usher_link_merge_conf(ngx_conf_t *cf, void *parent,
    void *child);


/* 301 to 308 */
#define NGX_HTTP_USHER_REDIRECTS  8


typedef struct {
    ngx_http_usher_need_t  first;            /* usher_link; empty: none */
} ngx_http_usher_link_main_conf_t;


static ngx_conf_enum_t  ngx_http_usher_link_prefetches[] = {
    { ngx_string("count"), NGX_HTTP_USHER_PREFETCH_COUNT },
    { ngx_string("label"), NGX_HTTP_USHER_PREFETCH_LABEL },
    { ngx_string("refuse"), NGX_HTTP_USHER_PREFETCH_REFUSE },
    { ngx_null_string, 0 }
};


static ngx_conf_bitmask_t  ngx_http_usher_link_fields[] = {
    { ngx_string("off"), NGX_HTTP_USHER_FIELD_OFF },
    { ngx_string("address"), NGX_HTTP_USHER_FIELD_ADDRESS },
    { ngx_string("country"), NGX_HTTP_USHER_FIELD_COUNTRY },
    { ngx_string("device"), NGX_HTTP_USHER_FIELD_DEVICE },
    { ngx_string("language"), NGX_HTTP_USHER_FIELD_LANGUAGE },
    { ngx_string("referrer"), NGX_HTTP_USHER_FIELD_REFERRER },
    { ngx_string("sub"), NGX_HTTP_USHER_FIELD_SUB },
    { ngx_string("visitor"), NGX_HTTP_USHER_FIELD_VISITOR },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_usher_link_commands[] = {

    { ngx_string("usher_link"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_TAKE1,
      ngx_http_usher_link,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_link_conf_t, slug),
      NULL },

    { ngx_string("usher_link_country"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_link_conf_t, country),
      NULL },

    { ngx_string("usher_link_device"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_link_conf_t, device),
      NULL },

    { ngx_string("usher_link_os"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_link_conf_t, system),
      NULL },

    { ngx_string("usher_link_datacentre"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_link_conf_t, datacentre),
      NULL },

    { ngx_string("usher_link_prefetch"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_link_conf_t, prefetch),
      &ngx_http_usher_link_prefetches },

    { ngx_string("usher_link_visitor"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_link_conf_t, visitor),
      NULL },

    { ngx_string("usher_link_fields"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_conf_set_bitmask_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_link_conf_t, fields),
      &ngx_http_usher_link_fields },

    { ngx_string("usher_link_cookie"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF
                        |NGX_CONF_TAKE123,
      ngx_http_usher_link_cookie_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_link_module_ctx = {
    ngx_http_usher_link_variables,         /* preconfiguration */
    ngx_http_usher_link_init,              /* postconfiguration */

    ngx_http_usher_link_create_main_conf,  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_usher_link_create_conf,       /* create location configuration */
    ngx_http_usher_link_merge_conf         /* merge location configuration */
};


ngx_module_t  ngx_http_usher_link_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_link_module_ctx,       /* module context */
    ngx_http_usher_link_commands,          /* module directives */
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
ngx_http_usher_link_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_str_t                    location;
    ngx_http_usher_ctx_t        *ctx;
    ngx_http_usher_click_t       click;
    ngx_http_usher_link_conf_t  *llcf;

    if (r != r->main) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_usher_link_not_allowed(r);
    }

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_link_module);

    ngx_memzero(&click, offsetof(ngx_http_usher_click_t, words));
    ngx_str_set(&click.id, "");

    rc = ngx_http_usher_link_find(r, llcf, &click);

    if (rc == NGX_OK && click.link != NULL) {
        rc = ngx_http_usher_link_id(r, &click);
    }

    if (rc == NGX_AGAIN) {
        r->main->count++;
        return NGX_DONE;
    }

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc != NGX_OK) {
        return ngx_http_usher_link_unavailable(r, rc);
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_usher_link_client(r, llcf, &click) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_usher_link_choose(r, &click);

    if (ngx_http_usher_link_deep(r, &click) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_usher_link_label(r, llcf, &click);

    rc = ngx_http_usher_link_location(r, &click, &location);

    if (rc == NGX_DECLINED) {
        ngx_http_usher_link_fall_back(&click);
        rc = ngx_http_usher_link_location(r, &click, &location);
    }

    if (rc == NGX_DECLINED) {
        ngx_http_usher_link_nowhere(&click);

    } else if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* what may fail does so before the click is a row */

    ctx = ngx_http_usher_ctx(r, 1);

    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_usher_link_click(r, &click);

    ngx_http_usher_link_show(ctx, &click);

    if (rc != NGX_OK) {
        return ngx_http_usher_link_unavailable(r, NGX_DECLINED);
    }

    ngx_http_usher_link_count(&click);

    if (click.link != NULL && click.link->ncaps) {
        ngx_http_usher_cap_count(&click);
    }

    return ngx_http_usher_link_send(r, llcf, &click, &location);
}


static ngx_int_t
ngx_http_usher_link_unavailable(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_usher_problem_t  problem;

    if (ngx_http_usher_retry_after(r, 1) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&problem, sizeof(ngx_http_usher_problem_t));

    problem.status = NGX_HTTP_SERVICE_UNAVAILABLE;
    problem.type = "https://iana.org/assignments/http-problem-types"
                   "#temporary-reduced-capacity";

    switch (rc) {

    case NGX_ABORT:
        problem.status = NGX_HTTP_TOO_MANY_REQUESTS;
        problem.type = "https://iana.org/assignments/http-problem-types"
                       "#abnormal-usage-detected";
        problem.title = "Too many unknown links";
        ngx_str_set(&problem.reason, "throttled");
        break;

    case NGX_DECLINED:
        problem.title = "Click cannot be recorded";
        ngx_str_set(&problem.reason, "journal_full");
        break;

    default: /* NGX_BUSY */
        problem.title = "Link cannot be looked up";
        ngx_str_set(&problem.reason, "unavailable");
    }

    return ngx_http_usher_problem_content(r, &problem);
}


/*
 * Sec-Purpose (Fetch Metadata), and what browsers sent before it: Purpose,
 * X-Purpose, X-Moz.  A page that is prefetched and then looked at is not
 * asked for again.
 */

static ngx_uint_t
ngx_http_usher_link_prefetch(ngx_http_request_t *r)
{
    ngx_str_t        *v;
    ngx_uint_t        i, n;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    static ngx_str_t  names[] = {
        ngx_string("sec-purpose"),
        ngx_string("purpose"),
        ngx_string("x-purpose"),
        ngx_string("x-moz"),
        ngx_null_string
    };

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            for (n = 0; names[n].len; n++) {

                if (h[i].key.len != names[n].len
                    || ngx_memcmp(h[i].lowcase_key, names[n].data,
                                  names[n].len)
                       != 0)
                {
                    continue;
                }

                v = &h[i].value;

                if (ngx_strlcasestrn(v->data, v->data + v->len,
                                     (u_char *) "prefetch", 8 - 1)
                    || ngx_strlcasestrn(v->data, v->data + v->len,
                                        (u_char *) "preview", 7 - 1)
                    || ngx_strlcasestrn(v->data, v->data + v->len,
                                        (u_char *) "prerender", 9 - 1))
                {
                    return 1;
                }
            }
        }
    }

    return 0;
}


/* Of the reasons that hold, the lowest: see usher_click.h. */

static void
ngx_http_usher_link_label(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click)
{
    ngx_str_t   value;
    ngx_uint_t  reason;

    reason = click->reason;

    if (click->bot == NGX_HTTP_USHER_AGENT_BOT) {
        reason = USHER_CLICK_BOT;

    } else if (click->bot == NGX_HTTP_USHER_AGENT_MISSING) {
        reason = USHER_CLICK_AGENT;

    } else if (llcf->datacentre != NULL
        && ngx_http_complex_value(r, llcf->datacentre, &value) == NGX_OK
        && value.len && !(value.len == 1 && value.data[0] == '0'))
    {
        reason = USHER_CLICK_DATA_CENTRE;

    } else if (llcf->prefetch != NGX_HTTP_USHER_PREFETCH_COUNT
               && ngx_http_usher_link_prefetch(r))
    {
        reason = USHER_CLICK_PREFETCH;

    } else if (r->method == NGX_HTTP_HEAD) {
        reason = USHER_CLICK_HEAD;
    }

    click->reason = reason;

    if (llcf->prefetch == NGX_HTTP_USHER_PREFETCH_REFUSE
        && ngx_http_usher_link_prefetch(r))
    {
        ngx_http_usher_link_nowhere(click);
        click->status = NGX_HTTP_SERVICE_UNAVAILABLE;
    }
}


/* Whoever is answered is counted, also where the journal had no room. */

static void
ngx_http_usher_link_count(ngx_http_usher_click_t *click)
{
    ngx_uint_t                   redirect;
    const usher_click_reason_t  *reason;

    reason = usher_click_reason((unsigned) click->reason);
    redirect = click->status - NGX_HTTP_MOVED_PERMANENTLY;

    if (reason != NULL) {
        ngx_http_usher_count(clicks[reason
                                    - usher_click_reason(USHER_CLICK_VALID)]);
    }

    if (click->url.len && redirect < NGX_HTTP_USHER_REDIRECTS) {
        ngx_http_usher_count(redirects[redirect]);
    }
}


static ngx_int_t
ngx_http_usher_link_send(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click,
    ngx_str_t *location)
{
    ngx_int_t         rc;
    ngx_str_t         policy;
    ngx_table_elt_t  *h;

    static ngx_str_t  names[] = {
        ngx_string("Location"),
        ngx_string("Cache-Control"),
        ngx_string("X-Robots-Tag"),
        ngx_string("Referrer-Policy")
    };

    static ngx_str_t  cache = ngx_string("private, no-store");
    static ngx_str_t  robots = ngx_string("noindex");

    if (ngx_http_usher_header(r, &names[1], &cache) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (click->url.len == 0) {
        return click->status;
    }

    h = ngx_http_usher_header(r, &names[0], location);

    if (h == NULL
        || ngx_http_usher_header(r, &names[2], &robots) == NULL
        || ngx_http_usher_link_cookie(r, llcf, click) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (click->link != NULL && click->link->policy.len) {

        /* who logs it does so when the record is another's */

        policy.len = click->link->policy.len;
        policy.data = ngx_pstrdup(r->pool, &click->link->policy);

        if (policy.data == NULL
            || ngx_http_usher_header(r, &names[3], &policy) == NULL)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    r->headers_out.location = h;
    r->headers_out.status = click->status;
    r->headers_out.content_length_n = 0;
    r->header_only = 1;

    rc = ngx_http_send_header(r);

    return (rc == NGX_ERROR || rc > NGX_OK) ? rc : NGX_OK;
}


static ngx_int_t
ngx_http_usher_link_not_allowed(ngx_http_request_t *r)
{
    static ngx_str_t  name = ngx_string("Allow");
    static ngx_str_t  value = ngx_string("GET, HEAD");

    return ngx_http_usher_header(r, &name, &value)
           ? NGX_HTTP_NOT_ALLOWED : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static char *
ngx_http_usher_link(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                             *rv;
    ngx_str_t                        *value;
    ngx_http_core_loc_conf_t         *clcf;
    ngx_http_usher_link_main_conf_t  *lmcf;

    rv = ngx_http_set_complex_value_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    value = cf->args->elts;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_usher_link_handler;

    ngx_http_usher_needs_zone(cf, &value[0]);
    ngx_http_usher_needs_redis(cf, &value[0]);

    lmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_link_module);

    if (lmcf->first.directive.len == 0) {
        lmcf->first.directive = value[0];
        lmcf->first.file = cf->conf_file->file.name;
        lmcf->first.line = cf->conf_file->line;
    }

    return NGX_CONF_OK;
}


/* What links can do without, though few would want that. */

static ngx_int_t
ngx_http_usher_link_init(ngx_conf_t *cf)
{
    ngx_http_usher_main_conf_t       *umcf;
    ngx_http_usher_link_main_conf_t  *lmcf;

    lmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_link_module);

    if (lmcf->first.directive.len == 0) {
        return NGX_OK;
    }

    if (!ngx_http_usher_journal_configured(cf)) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"usher_link\" without \"usher_journal\": no click is "
                      "recorded in %V:%ui", &lmcf->first.file,
                      lmcf->first.line);
    }

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_module);

    if (umcf->secret_keys == NULL) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"usher_link\" without \"usher_key_file\": clicks have "
                      "no id in %V:%ui", &lmcf->first.file, lmcf->first.line);
    }

    return NGX_OK;
}


static void *
ngx_http_usher_link_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_link_main_conf_t));
}


static void *
ngx_http_usher_link_create_conf(ngx_conf_t *cf)
{
    ngx_http_usher_link_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_link_conf_t));

    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->slug = NULL;
     *     conf->fields = 0;
     */

    conf->country = NGX_CONF_UNSET_PTR;
    conf->device = NGX_CONF_UNSET_PTR;
    conf->system = NGX_CONF_UNSET_PTR;
    conf->datacentre = NGX_CONF_UNSET_PTR;
    conf->prefetch = NGX_CONF_UNSET_UINT;
    conf->visitor = NGX_CONF_UNSET;
    conf->cookie = NGX_CONF_UNSET_PTR;

    return conf;
}


static char *
ngx_http_usher_link_merge_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_usher_link_conf_t *prev = parent;
    ngx_http_usher_link_conf_t *conf = child;

    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_usher_main_conf_t  *umcf;

    /* an "if" and a limit_except keep the handler of their location */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if ((clcf->noname || clcf->lmt_excpt) && clcf->handler == NULL) {
        conf->slug = prev->slug;

        if (conf->slug != NULL) {
            clcf->handler = ngx_http_usher_link_handler;
        }
    }

    ngx_conf_merge_ptr_value(conf->country, prev->country, NULL);
    ngx_conf_merge_ptr_value(conf->device, prev->device, NULL);
    ngx_conf_merge_ptr_value(conf->system, prev->system, NULL);
    ngx_conf_merge_ptr_value(conf->datacentre, prev->datacentre, NULL);
    ngx_conf_merge_uint_value(conf->prefetch, prev->prefetch,
                              NGX_HTTP_USHER_PREFETCH_LABEL);
    ngx_conf_merge_value(conf->visitor, prev->visitor, 1);
    ngx_conf_merge_ptr_value(conf->cookie, prev->cookie, NULL);
    ngx_conf_merge_bitmask_value(conf->fields, prev->fields,
                                 (NGX_CONF_BITMASK_SET
                                  |NGX_HTTP_USHER_FIELD_ALL));

    if (conf->slug != NULL && conf->visitor) {
        umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_module);
        umcf->visitor = 1;
    }

    return NGX_CONF_OK;
}
