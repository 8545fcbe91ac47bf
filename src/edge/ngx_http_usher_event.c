
/*
 * ngx_http_usher_event.c - the event of a request, written in the log phase.
 *
 * DESIGN
 *
 * The line is written straight into the journal: no allocation, no printf.
 * What is constant (node, route, words) was escaped when the configuration
 * was read, the second of the time is kept, and outside text goes through
 * usher_event_text(), so that no client byte can make the row fail.  Limits
 * of the columns and their doubling when escaped add up to less than
 * USHER_EVENT_LOG_MAX, so nothing is counted while writing.
 *
 * URI and Referer are written without their query: keys and personal data
 * stand there.
 */


#include "ngx_http_usher_request.h"


#define NGX_HTTP_USHER_PROTOCOL_MAX  16


static void ngx_http_usher_event(ngx_http_request_t *r,
    ngx_http_usher_loc_conf_t *ulcf, ngx_http_usher_ctx_t *ctx);
static ngx_uint_t ngx_http_usher_event_wanted(ngx_http_request_t *r,
    ngx_http_usher_loc_conf_t *ulcf, ngx_http_usher_ctx_t *ctx);
static ngx_uint_t ngx_http_usher_event_status(ngx_http_request_t *r);
static u_char *ngx_http_usher_event_line(ngx_http_request_t *r, u_char *p,
    ngx_http_usher_loc_conf_t *ulcf, ngx_http_usher_ctx_t *ctx);
static u_char *ngx_http_usher_event_route(ngx_http_request_t *r, u_char *p,
    ngx_http_usher_loc_conf_t *ulcf, unsigned *flags);
static u_char *ngx_http_usher_event_id(ngx_http_request_t *r, u_char *p,
    ngx_http_usher_loc_conf_t *ulcf, ngx_http_usher_ctx_t *ctx,
    unsigned *flags);
static u_char *ngx_http_usher_event_path(u_char *p, ngx_str_t *uri,
    size_t limit, unsigned *flags);
static u_char *ngx_http_usher_event_duration(ngx_http_request_t *r,
    u_char *p);
static u_char *ngx_http_usher_event_client(ngx_http_request_t *r, u_char *p,
    unsigned *flags);
static u_char *ngx_http_usher_event_protocol(ngx_http_request_t *r, u_char *p,
    unsigned *flags);


ngx_int_t
ngx_http_usher_event_handler(ngx_http_request_t *r)
{
    uint64_t                   *verdict;
    ngx_http_usher_ctx_t       *ctx;
    ngx_http_usher_loc_conf_t  *ulcf;

    ctx = ngx_http_usher_ctx(r, 0);
    ulcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_module);

    if (r->phase_handler == 0) {
        ngx_http_usher_hide_refused(r);
    }

    /* log_subrequest brings subrequests here, which are no events */

    if (r == r->main) {

        if (ctx != NULL && ctx->evented) {
            verdict = (uint64_t *) ((u_char *) ngx_http_usher_counters
                                    + ctx->verdict);
            *verdict += 1;
        }

        if (ngx_http_usher_event_wanted(r, ulcf, ctx)) {
            ngx_http_usher_event(r, ulcf, ctx);
        }
    }

    /*
     * The log is next, and the key is still there with usher_credential_strip
     * off, in a request that ended before access, or that came from a location
     * which looks for it elsewhere.
     */

    if (ctx == NULL || !ctx->stripped || r->internal) {
        ngx_http_usher_strip_logged(r);
    }

    return NGX_OK;
}


static void
ngx_http_usher_event(ngx_http_request_t *r, ngx_http_usher_loc_conf_t *ulcf,
    ngx_http_usher_ctx_t *ctx)
{
    u_char  *line, *p;

    line = ngx_http_usher_journal_open(USHER_EVENT_LOG_MAX);

    if (line != NULL) {
        p = ngx_http_usher_event_line(r, line, ulcf, ctx);
        ngx_http_usher_journal_commit(p - line);
    }
}


static ngx_uint_t
ngx_http_usher_event_wanted(ngx_http_request_t *r,
    ngx_http_usher_loc_conf_t *ulcf, ngx_http_usher_ctx_t *ctx)
{
    if (!ulcf->active && (ctx == NULL || !ctx->evented)) {
        return 0;
    }

    switch (ulcf->event) {

    case NGX_HTTP_USHER_EVENT_OFF:
        return 0;

    case NGX_HTTP_USHER_EVENT_ERRORS:
        return ngx_http_usher_event_status(r) >= NGX_HTTP_BAD_REQUEST;

    default: /* NGX_HTTP_USHER_EVENT_ON */
        return 1;
    }
}


/* As $status. */

static ngx_uint_t
ngx_http_usher_event_status(ngx_http_request_t *r)
{
    if (r->err_status) {
        return r->err_status;
    }

    if (r->headers_out.status) {
        return r->headers_out.status;
    }

    return r->http_version == NGX_HTTP_VERSION_9 ? 9 : 0;
}


static u_char *
ngx_http_usher_event_line(ngx_http_request_t *r, u_char *p,
    ngx_http_usher_loc_conf_t *ulcf, ngx_http_usher_ctx_t *ctx)
{
    unsigned                     flags;
    ngx_str_t                   *word;
    ngx_http_usher_key_t        *key;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_usher_module);

    flags = 0;
    key = ctx ? ctx->key : NULL;

    *p++ = 'r'; *p++ = '1'; *p++ = '\t';

    p = ngx_http_usher_event_time(p);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, key ? key->id : 0);
    *p++ = '\t';

    p = ngx_http_usher_event_route(r, p, ulcf, &flags);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, ngx_http_usher_event_status(r));
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, ctx ? ctx->units : 0);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, ngx_max(r->connection->sent, 0));
    *p++ = '\t';

    p = ngx_http_usher_event_duration(r, p);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, key ? key->org_id : 0);
    *p++ = '\t';

    p = ngx_http_usher_event_id(r, p, ulcf, ctx, &flags);
    *p++ = '\t';

    p = ngx_cpymem(p, umcf->node.data, umcf->node.len);
    *p++ = '\t';

    p = ngx_http_usher_event_client(r, p, &flags);
    *p++ = '\t';

    word = ngx_http_usher_auth_word(ctx);
    p = ngx_cpymem(p, word->data, word->len);
    *p++ = '\t';

    word = ngx_http_usher_limit_word(ctx);
    p = ngx_cpymem(p, word->data, word->len);
    *p++ = '\t';

    p = ngx_http_usher_event_protocol(r, p, &flags);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, flags);
    *p++ = '\n';

    return p;
}


/* Only the msec are written each time. */

u_char *
ngx_http_usher_event_time(u_char *p)
{
    ngx_time_t  *tp;
    ngx_uint_t   msec;

    static time_t  sec = -1;
    static u_char  text[USHER_EVENT_TIME];

    tp = ngx_timeofday();

    if (tp->sec != sec) {
        sec = tp->sec;
        (void) usher_event_time(text, (int64_t) sec * 1000);
    }

    msec = tp->msec;

    text[20] = (u_char) ('0' + msec / 100);
    text[21] = (u_char) ('0' + msec / 10 % 10);
    text[22] = (u_char) ('0' + msec % 10);

    return ngx_cpymem(p, text, USHER_EVENT_TIME);
}


static u_char *
ngx_http_usher_event_route(ngx_http_request_t *r, u_char *p,
    ngx_http_usher_loc_conf_t *ulcf, unsigned *flags)
{
    ngx_str_t  value;

    if (ulcf->route_value == NULL || ulcf->route_value->lengths == NULL) {
        return ngx_cpymem(p, ulcf->route.data, ulcf->route.len);
    }

    if (ngx_http_complex_value(r, ulcf->route_value, &value) != NGX_OK) {
        return p;
    }

    return usher_event_text(p, value.data, value.len, USHER_REQUEST_ROUTE_MAX,
                            flags);
}


static u_char *
ngx_http_usher_event_id(ngx_http_request_t *r, u_char *p,
    ngx_http_usher_loc_conf_t *ulcf, ngx_http_usher_ctx_t *ctx,
    unsigned *flags)
{
    uint64_t   number;
    ngx_str_t  value;

    if (ulcf->request_id != NULL
        && ngx_http_complex_value(r, ulcf->request_id, &value) == NGX_OK
        && value.len)
    {
        /* a client may repeat it: it proves nothing about a row */

        *flags |= USHER_EVENT_NAMED;

        return usher_event_text(p, value.data, value.len,
                                USHER_REQUEST_ID_MAX, flags);
    }

    number = 0;

    return ngx_http_usher_request_id(p, ctx ? &ctx->number : &number);
}


static u_char *
ngx_http_usher_event_duration(ngx_http_request_t *r, u_char *p)
{
    ngx_time_t      *tp;
    ngx_msec_int_t   ms;

    tp = ngx_timeofday();

    ms = (ngx_msec_int_t)
             ((tp->sec - r->start_sec) * 1000 + (tp->msec - r->start_msec));

    return ngx_http_usher_decimal(p, ngx_min(ngx_max(ms, 0), 0x7fffffff));
}


/* method, host, uri, address, user_agent, referer */

static u_char *
ngx_http_usher_event_client(ngx_http_request_t *r, u_char *p,
    unsigned *flags)
{
    ngx_str_t         *text;
    ngx_connection_t  *c;

    c = r->connection;

    if (r->method == NGX_HTTP_GET) {
        *p++ = 'G'; *p++ = 'E'; *p++ = 'T';

    } else {
        p = usher_event_text(p, r->method_name.data, r->method_name.len,
                             USHER_REQUEST_METHOD_MAX, flags);
    }

    *p++ = '\t';

    text = &r->headers_in.server;
    p = usher_event_text(p, text->data, text->len, USHER_REQUEST_HOST_MAX,
                         flags);
    *p++ = '\t';

    p = ngx_http_usher_event_path(p, &r->unparsed_uri, USHER_REQUEST_URI_MAX,
                                  flags);
    *p++ = '\t';

    if (c->sockaddr->sa_family == AF_INET
#if (NGX_HAVE_INET6)
        || c->sockaddr->sa_family == AF_INET6
#endif
       )
    {
        p = ngx_cpymem(p, c->addr_text.data, c->addr_text.len);

    } else {
        *p++ = '\\'; *p++ = 'N';
    }

    *p++ = '\t';

    if (r->headers_in.user_agent) {
        text = &r->headers_in.user_agent->value;
        p = usher_event_text(p, text->data, text->len,
                             USHER_REQUEST_AGENT_MAX, flags);
    }

    *p++ = '\t';

    if (r->headers_in.referer) {
        p = ngx_http_usher_event_path(p, &r->headers_in.referer->value,
                                      USHER_REQUEST_REFERER_MAX, flags);
    }

    return p;
}


/* Of eight bytes there is but "HTTP/", a digit, a point and a digit. */

static u_char *
ngx_http_usher_event_protocol(ngx_http_request_t *r, u_char *p,
    unsigned *flags)
{
    if (r->http_protocol.len == 8) {
        ngx_memcpy(p, r->http_protocol.data, 8);
        return p + 8;
    }

    return usher_event_text(p, r->http_protocol.data, r->http_protocol.len,
                            NGX_HTTP_USHER_PROTOCOL_MAX, flags);
}


static u_char *
ngx_http_usher_event_path(u_char *p, ngx_str_t *uri, size_t limit,
    unsigned *flags)
{
    u_char  *query;

    query = uri->len ? memchr(uri->data, '?', uri->len) : NULL;

    return usher_event_text(p, uri->data,
                            query ? (size_t) (query - uri->data) : uri->len,
                            limit, flags);
}


ngx_int_t
ngx_http_usher_event_escape(ngx_conf_t *cf, ngx_str_t *src, size_t limit,
    ngx_str_t *dst)
{
    unsigned  flags;

    dst->data = ngx_pnalloc(cf->pool, 2 * limit);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    flags = 0;
    dst->len = usher_event_text(dst->data, src->data, src->len, limit, &flags)
               - dst->data;

    return NGX_OK;
}
