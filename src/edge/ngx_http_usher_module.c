
/*
 * ngx_http_usher_module.c - the state of a request, and directives that
 * belong to no single check: usher_node, usher_key_file, usher_event,
 * usher_route, usher_request_id, usher_credential.
 *
 * DESIGN
 *
 * The state (ngx_http_usher_ctx_t) is the data of a pool cleanup of the main
 * request.  r->ctx only caches it: index, try_files, error_page,
 * X-Accel-Redirect and named locations wipe r->ctx, and the cleanup list is
 * then searched.  It is made by the first handler that needs it, so a request
 * that nginx refuses before that has none.
 *
 * A request id is 8 random bytes of the process and a counter, written as 32
 * hex digits: unique without a system call per request.  ctx keeps only the
 * counter; a request without state draws one when its event is written.
 */


#include "ngx_http_usher_request.h"

#include <openssl/rand.h>


static void ngx_http_usher_needs(ngx_conf_t *cf, ngx_http_usher_need_t *need,
    ngx_str_t *directive);
static void ngx_http_usher_ctx_cleanup(void *data);
static ngx_http_usher_ctx_t *ngx_http_usher_ctx_find(ngx_http_request_t *r);

static ngx_int_t ngx_http_usher_init_process(ngx_cycle_t *cycle);
static void ngx_http_usher_exit_process(ngx_cycle_t *cycle);

static char *ngx_http_usher_node(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_usher_value(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void *ngx_http_usher_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_usher_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_usher_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_usher_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child);
static void *ngx_http_usher_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_usher_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_usher_merge_route(ngx_conf_t *cf,
    ngx_http_usher_loc_conf_t *conf);
static ngx_int_t ngx_http_usher_init(ngx_conf_t *cf);


static ngx_conf_enum_t  ngx_http_usher_events[] = {
    { ngx_string("off"), NGX_HTTP_USHER_EVENT_OFF },
    { ngx_string("errors"), NGX_HTTP_USHER_EVENT_ERRORS },
    { ngx_string("on"), NGX_HTTP_USHER_EVENT_ON },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_usher_commands[] = {

    { ngx_string("usher_node"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_usher_node,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_key_file"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_usher_key_file,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_event"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_loc_conf_t, event),
      &ngx_http_usher_events },

    { ngx_string("usher_route"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_usher_value,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_loc_conf_t, route_value),
      NULL },

    { ngx_string("usher_request_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_usher_value,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_loc_conf_t, request_id),
      NULL },

    { ngx_string("usher_credential"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_usher_credential,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_credential_strip"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_loc_conf_t, strip),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_module_ctx = {
    ngx_http_usher_add_variables,          /* preconfiguration */
    ngx_http_usher_init,                   /* postconfiguration */

    ngx_http_usher_create_main_conf,       /* create main configuration */
    ngx_http_usher_init_main_conf,         /* init main configuration */

    ngx_http_usher_create_srv_conf,        /* create server configuration */
    ngx_http_usher_merge_srv_conf,         /* merge server configuration */

    ngx_http_usher_create_loc_conf,        /* create location configuration */
    ngx_http_usher_merge_loc_conf          /* merge location configuration */
};


ngx_module_t  ngx_http_usher_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_module_ctx,            /* module context */
    ngx_http_usher_commands,               /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_usher_init_process,           /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_usher_exit_process,           /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* Of this process: the head of its request ids, and the last number given. */
static u_char    ngx_http_usher_id_head[16];
static uint64_t  ngx_http_usher_id_last;


static ngx_str_t  ngx_http_usher_auth_words[] = {
    ngx_string(""),
    ngx_string("ok"),
    ngx_string("anonymous"),
    ngx_string("missing"),
    ngx_string("scheme"),
    ngx_string("malformed"),
    ngx_string("bad_checksum"),
    ngx_string("conflict"),
    ngx_string("unknown"),
    ngx_string("expired"),
    ngx_string("revoked"),
    ngx_string("rotated"),
    ngx_string("org_disabled"),
    ngx_string("env"),
    ngx_string("scope"),
    ngx_string("address"),
    ngx_string("throttled"),
    ngx_string("unavailable")
};


/* The same where usher_auth_dry_run let the request pass. */
static ngx_str_t  ngx_http_usher_auth_dry_words[] = {
    ngx_string(""),
    ngx_string("ok"),
    ngx_string("anonymous"),
    ngx_string("missing_dry_run"),
    ngx_string("scheme_dry_run"),
    ngx_string("malformed_dry_run"),
    ngx_string("bad_checksum_dry_run"),
    ngx_string("conflict_dry_run"),
    ngx_string("unknown_dry_run"),
    ngx_string("expired_dry_run"),
    ngx_string("revoked_dry_run"),
    ngx_string("rotated_dry_run"),
    ngx_string("org_disabled_dry_run"),
    ngx_string("env_dry_run"),
    ngx_string("scope_dry_run"),
    ngx_string("address_dry_run"),
    ngx_string("throttled_dry_run"),
    ngx_string("unavailable_dry_run")
};


static ngx_str_t  ngx_http_usher_limit_words[] = {
    ngx_string(""),
    ngx_string("passed"),
    ngx_string("rejected"),
    ngx_string("rejected_dry_run"),
    ngx_string("unavailable")
};


ngx_http_usher_ctx_t *
ngx_http_usher_ctx(ngx_http_request_t *r, ngx_uint_t make)
{
    ngx_pool_cleanup_t    *cln;
    ngx_http_usher_ctx_t  *ctx;

    r = r->main;

    ctx = ngx_http_get_module_ctx(r, ngx_http_usher_module);

    if (ctx != NULL) {
        return ctx;
    }

    if (r->internal || r->filter_finalize) {
        ctx = ngx_http_usher_ctx_find(r);

        if (ctx != NULL) {
            ngx_http_set_ctx(r, ctx, ngx_http_usher_module);
            return ctx;
        }
    }

    if (!make) {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_usher_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_usher_ctx_t));

    cln->handler = ngx_http_usher_ctx_cleanup;

    ngx_http_set_ctx(r, ctx, ngx_http_usher_module);

    return ctx;
}


static ngx_http_usher_ctx_t *
ngx_http_usher_ctx_find(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_usher_ctx_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


/* Marks the state in the list of cleanups; there is nothing to clean up. */

static void
ngx_http_usher_ctx_cleanup(void *data)
{
    /* void */
}


ngx_str_t *
ngx_http_usher_node_name(void)
{
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_usher_module);

    if (umcf == NULL || umcf->node_name.len == 0) {
        return (ngx_str_t *) &ngx_cycle->hostname;
    }

    return &umcf->node_name;
}


u_char *
ngx_http_usher_request_id(u_char *dst, uint64_t *number)
{
    if (*number == 0) {
        *number = ++ngx_http_usher_id_last;
    }

    dst = ngx_cpymem(dst, ngx_http_usher_id_head, 16);

    usher_hex64_text(*number, (char *) dst);

    return dst + 16;
}


ngx_table_elt_t *
ngx_http_usher_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    h->hash = 1;
    h->key = *name;
    h->value = *value;
    h->lowcase_key = NULL;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return h;
}


u_char *
ngx_http_usher_decimal(u_char *dst, uint64_t value)
{
    u_char      *p, *last;
    uint64_t     power;
    ngx_uint_t   n;

    static const char  pairs[] =
        "00010203040506070809101112131415161718192021222324"
        "25262728293031323334353637383940414243444546474849"
        "50515253545556575859606162636465666768697071727374"
        "75767778798081828384858687888990919293949596979899";

    /* units, milliseconds, flags */

    if (value < 10) {
        *dst = (u_char) ('0' + value);
        return dst + 1;
    }

    /* the twentieth digit's power would not fit */

    for (n = 2, power = 100; value >= power && n < 19; n++) {
        power *= 10;
    }

    if (value >= power) {
        n++;
    }

    last = dst + n;

    for (p = last; value >= 10; value /= 100) {
        p -= 2;
        ngx_memcpy(p, &pairs[2 * (value % 100)], 2);
    }

    if (p != dst) {
        *dst = (u_char) ('0' + value);
    }

    return last;
}


ngx_str_t *
ngx_http_usher_auth_word(ngx_http_usher_ctx_t *ctx)
{
    if (ctx == NULL) {
        return &ngx_http_usher_auth_words[NGX_HTTP_USHER_AUTH_NONE];
    }

    return ctx->dry ? &ngx_http_usher_auth_dry_words[ctx->auth]
                    : &ngx_http_usher_auth_words[ctx->auth];
}


ngx_str_t *
ngx_http_usher_limit_word(ngx_http_usher_ctx_t *ctx)
{
    return &ngx_http_usher_limit_words[ctx == NULL ? NGX_HTTP_USHER_LIMIT_NONE
                                                   : ctx->limit];
}


ngx_int_t
ngx_http_usher_parse_rate(ngx_str_t *value, uint64_t *quota,
    uint64_t *window)
{
    ngx_int_t  n;

    if (value->len < 4 || ngx_strncmp(value->data + value->len - 3, "r/", 2)) {
        return NGX_ERROR;
    }

    switch (value->data[value->len - 1]) {

    case 's':
        *window = 1;
        break;

    case 'm':
        *window = 60;
        break;

    case 'h':
        *window = 3600;
        break;

    case 'd':
        *window = 86400;
        break;

    default:
        return NGX_ERROR;
    }

    n = ngx_atoi(value->data, value->len - 3);

    if (n <= 0 || n > 1000000000) {
        return NGX_ERROR;
    }

    *quota = n;

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_init_process(ngx_cycle_t *cycle)
{
    uint64_t  head;

    if (RAND_bytes((u_char *) &head, sizeof(uint64_t)) != 1) {

        /* never fails a worker: it would not be started again */

        head = ((uint64_t) ngx_time() << 32) ^ ((uint64_t) ngx_pid << 16)
               ^ ngx_random();
    }

    ngx_hex_dump(ngx_http_usher_id_head, (u_char *) &head, sizeof(uint64_t));

    ngx_http_usher_id_last = 0;

    return NGX_OK;
}


static void
ngx_http_usher_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_usher_digest_done();
}


void
ngx_http_usher_needs_zone(ngx_conf_t *cf, ngx_str_t *directive)
{
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_module);
    ngx_http_usher_needs(cf, &umcf->zone, directive);
}


void
ngx_http_usher_needs_redis(ngx_conf_t *cf, ngx_str_t *directive)
{
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_module);
    ngx_http_usher_needs(cf, &umcf->redis, directive);
}


static void
ngx_http_usher_needs(ngx_conf_t *cf, ngx_http_usher_need_t *need,
    ngx_str_t *directive)
{
    if (need->directive.len == 0) {
        need->directive = *directive;
        need->file = cf->conf_file->file.name;
        need->line = cf->conf_file->line;
    }
}


static char *
ngx_http_usher_node(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_main_conf_t *umcf = conf;

    ngx_str_t  *value;

    if (umcf->node.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "has an empty name";
    }

    if (value[1].len > USHER_REQUEST_NODE_MAX) {
        return "has a name longer than 64 bytes";
    }

    umcf->node_name = value[1];

    if (ngx_http_usher_event_escape(cf, &value[1], USHER_REQUEST_NODE_MAX,
                                    &umcf->node)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* As ngx_http_set_complex_value_slot(), and an empty text is refused. */

static char *
ngx_http_usher_value(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "has an empty value";
    }

    return ngx_http_set_complex_value_slot(cf, cmd, conf);
}


static void *
ngx_http_usher_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_usher_main_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_main_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&conf->arguments, cf->pool, 1, sizeof(ngx_str_t))
        != NGX_OK
        || ngx_array_init(&conf->headers, cf->pool, 2,
                          sizeof(ngx_http_usher_source_t))
           != NGX_OK)
    {
        return NULL;
    }

    return conf;
}


static char *
ngx_http_usher_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_usher_main_conf_t *umcf = conf;

    if (umcf->node.data == NULL
        && ngx_http_usher_event_escape(cf, &cf->cycle->hostname,
                                       USHER_REQUEST_NODE_MAX, &umcf->node)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_usher_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_usher_srv_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_srv_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&conf->arguments, cf->pool, 1, sizeof(ngx_str_t))
        != NGX_OK
        || ngx_array_init(&conf->headers, cf->pool, 2,
                          sizeof(ngx_http_usher_source_t))
           != NGX_OK)
    {
        return NULL;
    }

    return conf;
}


static char *
ngx_http_usher_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_usher_srv_conf_t *prev = parent;
    ngx_http_usher_srv_conf_t *conf = child;

    ngx_str_t   *name, *names;
    ngx_uint_t   i;

    names = prev->arguments.elts;

    for (i = 0; i < prev->arguments.nelts; i++) {

        name = ngx_array_push(&conf->arguments);
        if (name == NULL) {
            return NGX_CONF_ERROR;
        }

        *name = names[i];
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_usher_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_usher_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->active = 0;
     *     conf->route = { 0, NULL };
     */

    conf->event = NGX_CONF_UNSET_UINT;
    conf->strip = NGX_CONF_UNSET;
    conf->route_value = NGX_CONF_UNSET_PTR;
    conf->request_id = NGX_CONF_UNSET_PTR;
    conf->sources = NGX_CONF_UNSET_PTR;

    return conf;
}


static char *
ngx_http_usher_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_usher_loc_conf_t *prev = parent;
    ngx_http_usher_loc_conf_t *conf = child;

    ngx_conf_merge_uint_value(conf->event, prev->event,
                              NGX_HTTP_USHER_EVENT_ON);
    ngx_conf_merge_value(conf->strip, prev->strip, 1);
    ngx_conf_merge_ptr_value(conf->route_value, prev->route_value, NULL);
    ngx_conf_merge_ptr_value(conf->request_id, prev->request_id, NULL);
    ngx_conf_merge_ptr_value(conf->sources, prev->sources, NULL);

    if (conf->sources == NULL) {
        conf->sources = ngx_http_usher_default_sources(cf);
        if (conf->sources == NULL) {
            return NGX_CONF_ERROR;
        }

        /* the other locations below share it */

        prev->sources = conf->sources;
    }

    return ngx_http_usher_merge_route(cf, conf);
}


/* The route's text, unless it is to be computed for each request. */

static char *
ngx_http_usher_merge_route(ngx_conf_t *cf, ngx_http_usher_loc_conf_t *conf)
{
    ngx_str_t                 *name;
    ngx_http_core_loc_conf_t  *clcf;

    if (conf->route_value == NULL) {
        clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
        name = &clcf->name;

    } else if (conf->route_value->lengths == NULL) {
        name = &conf->route_value->value;

    } else {
        return NGX_CONF_OK;
    }

    if (ngx_http_usher_event_escape(cf, name, USHER_REQUEST_ROUTE_MAX,
                                    &conf->route)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_usher_init(ngx_conf_t *cf)
{
    ngx_uint_t                   i;
    ngx_array_t                 *handlers;
    ngx_http_variable_t         *v;
    ngx_http_handler_pt         *h;
    ngx_http_core_main_conf_t   *cmcf;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_module);

    if (umcf->zone.directive.len && !ngx_http_usher_zone_configured(cf)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%V\" requires \"usher_zone\" in %V:%ui",
                      &umcf->zone.directive, &umcf->zone.file,
                      umcf->zone.line);
        return NGX_ERROR;
    }

    if (umcf->redis.directive.len
        && !ngx_http_usher_redis_configured(cf, "directory"))
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%V\" requires \"usher_redis\" with the role "
                      "\"directory\" in %V:%ui", &umcf->redis.directive,
                      &umcf->redis.file, umcf->redis.line);
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    if (umcf->arguments.nelts) {
        h = ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = ngx_http_usher_hide_arguments;
    }

    /* before access_log, which must not see a key: log handlers run in order */

    handlers = &cmcf->phases[NGX_HTTP_LOG_PHASE].handlers;

    h = ngx_array_push(handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h = handlers->elts;
    ngx_memmove(h + 1, h, (handlers->nelts - 1) * sizeof(ngx_http_handler_pt));
    h[0] = ngx_http_usher_event_handler;

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        if (v[i].name.len == sizeof("usher_plan") - 1
            && ngx_strncmp(v[i].name.data, "usher_plan",
                           sizeof("usher_plan") - 1)
               == 0)
        {
            umcf->plan = 1;
        }
    }

    return NGX_OK;
}
