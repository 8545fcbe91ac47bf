
/*
 * ngx_http_usher_conversion_event.c - the event of a conversion, written and
 * synced before the answer.
 *
 * What is said is written as it was said.  Of the query it keeps what it can,
 * without the token and the secret; of a body nothing but the fields, for
 * networks put the buyer's name and address there.
 */


#include "ngx_http_usher_conversion.h"


/* Text columns doubled, and room for what is no text. */
#define NGX_HTTP_USHER_CONVERSION_LINE                                        \
    (2 * (USHER_CONVERSION_CLICK_ID_MAX + USHER_CONVERSION_TRANSACTION_MAX    \
          + USHER_CONVERSION_STATUS_MAX + 2 * USHER_CONVERSION_AMOUNT_MAX     \
          + USHER_CONVERSION_CURRENCY_MAX + USHER_CONVERSION_CUSTOMER_MAX     \
          + USHER_CONVERSION_COUPON_MAX + USHER_CONVERSION_TIME_MAX           \
          + USHER_CONVERSION_EVENT_MAX + USHER_CONVERSION_SUBSCRIPTION_MAX    \
          + USHER_CONVERSION_COOKIE_MAX + USHER_CONVERSION_NODE_MAX           \
          + USHER_CONVERSION_ID_MAX + USHER_CONVERSION_QUERY_MAX)             \
     + 512)


static ngx_int_t ngx_http_usher_conversion_line(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion, u_char **last);
static u_char *ngx_http_usher_conversion_fields(u_char *p,
    ngx_http_usher_conversion_t *conversion, unsigned *flags);
static u_char *ngx_http_usher_conversion_address(ngx_http_request_t *r,
    u_char *p, ngx_uint_t pixel);
static ngx_int_t ngx_http_usher_conversion_query(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion, ngx_str_t *query);
static ngx_uint_t ngx_http_usher_conversion_hidden(
    ngx_http_usher_conversion_t *conversion, u_char *p, u_char *stop);


ngx_int_t
ngx_http_usher_conversion_event(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion)
{
    u_char  *line, *p;

    line = ngx_pnalloc(r->pool, NGX_HTTP_USHER_CONVERSION_LINE);
    if (line == NULL) {
        return NGX_ERROR;
    }

    p = line;

    if (ngx_http_usher_conversion_line(r, conversion, &p) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_usher_journal_append(r, line, p - line,
                                         NGX_HTTP_USHER_WAIT);
}


static ngx_int_t
ngx_http_usher_conversion_line(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion, u_char **last)
{
    u_char                      *p;
    u_char                       digest[USHER_POSTBACK_DIGEST];
    unsigned                     flags;
    ngx_str_t                    text;
    const char                  *origin;
    ngx_http_usher_postback_t   *postback;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_usher_module);

    postback = &conversion->postback;
    origin = postback->pixel ? "pixel" : "postback";
    flags = 0;

    p = ngx_cpymem(*last, USHER_CONVERSION_TAG "\t", 3);

    p = ngx_http_usher_event_time(p);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, postback->id);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, postback->org_id);
    *p++ = '\t';

    p = ngx_cpymem(p, origin, ngx_strlen(origin));
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, conversion->click);
    *p++ = '\t';

    p = ngx_http_usher_conversion_fields(p, conversion, &flags);

    if (usher_postback_digest(&conversion->fields, origin, digest) != 0) {
        return NGX_ERROR;
    }

    p = usher_event_bytes(p, digest, USHER_POSTBACK_DIGEST);
    *p++ = '\t';

    p = ngx_cpymem(p, umcf->node.data, umcf->node.len);
    *p++ = '\t';

    if (ngx_http_usher_request_id_text(r, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    p = usher_event_text(p, text.data, text.len, USHER_CONVERSION_ID_MAX,
                         &flags);
    *p++ = '\t';

    p = ngx_http_usher_conversion_address(r, p, postback->pixel);
    *p++ = '\t';

    if (ngx_http_usher_conversion_query(r, conversion, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    p = usher_event_text(p, text.data, text.len, USHER_CONVERSION_QUERY_MAX,
                         &flags);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, flags);
    *p++ = '\n';

    *last = p;

    return NGX_OK;
}


/* click_id, transaction_id, status, ..., subscription, cookie */

static u_char *
ngx_http_usher_conversion_fields(u_char *p,
    ngx_http_usher_conversion_t *conversion, unsigned *flags)
{
    ngx_uint_t              i;
    usher_postback_text_t  *text;

    static const size_t  limits[USHER_POSTBACK_SAID] = {
        USHER_CONVERSION_CLICK_ID_MAX,
        USHER_CONVERSION_TRANSACTION_MAX,
        USHER_CONVERSION_STATUS_MAX,
        USHER_CONVERSION_AMOUNT_MAX,
        USHER_CONVERSION_AMOUNT_MAX,
        USHER_CONVERSION_CURRENCY_MAX,
        USHER_CONVERSION_CUSTOMER_MAX,
        USHER_CONVERSION_COUPON_MAX,
        USHER_CONVERSION_TIME_MAX,
        USHER_CONVERSION_EVENT_MAX,
        USHER_CONVERSION_SUBSCRIPTION_MAX
    };

    for (i = 0; i < USHER_POSTBACK_SAID; i++) {
        text = &conversion->fields.values[i];

        if (text->len) {
            p = usher_event_text(p, text->data, text->len, limits[i], flags);
        }

        *p++ = '\t';
    }

    p = ngx_cpymem(p, conversion->cookie, conversion->cookie_len);
    *p++ = '\t';

    return p;
}


/* A network's server is no person; who sees a page is. */

static u_char *
ngx_http_usher_conversion_address(ngx_http_request_t *r, u_char *p,
    ngx_uint_t pixel)
{
    ngx_connection_t  *c;

    c = r->connection;

    if (pixel) {
        return ngx_http_usher_address_short(r, p);
    }

    if (c->sockaddr->sa_family == AF_INET
#if (NGX_HAVE_INET6)
        || c->sockaddr->sa_family == AF_INET6
#endif
       )
    {
        return ngx_cpymem(p, c->addr_text.data, c->addr_text.len);
    }

    *p++ = '\\'; *p++ = 'N';

    return p;
}


/* The query less what lets others call. */

static ngx_int_t
ngx_http_usher_conversion_query(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion, ngx_str_t *query)
{
    u_char  *p, *end, *stop, *last;

    query->len = 0;
    query->data = ngx_pnalloc(r->pool, r->args.len + 1);

    if (query->data == NULL) {
        return NGX_ERROR;
    }

    last = query->data;
    end = r->args.data + r->args.len;

    for (p = r->args.data; p < end; p = stop + 1) {
        stop = ngx_strlchr(p, end, '&');

        if (stop == NULL) {
            stop = end;
        }

        if (ngx_http_usher_conversion_hidden(conversion, p, stop)) {
            continue;
        }

        if (last > query->data) {
            *last++ = '&';
        }

        last = ngx_cpymem(last, p, stop - p);
    }

    query->len = last - query->data;

    return NGX_OK;
}


/*
 * The secret has been overwritten by then, see ngx_http_usher_argument.c; but
 * how long it is would be seen.
 */

static ngx_uint_t
ngx_http_usher_conversion_hidden(ngx_http_usher_conversion_t *conversion,
    u_char *p, u_char *stop)
{
    u_char  *value;

    if (ngx_http_usher_secret_argument(p, stop)) {
        return 1;
    }

    value = ngx_strlchr(p, stop, '=');

    if (value == NULL) {
        return 0;
    }

    value++;

    return (size_t) (stop - value) == conversion->token.len
           && ngx_memcmp(value, conversion->token.data, conversion->token.len)
              == 0;
}
