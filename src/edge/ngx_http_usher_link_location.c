
/*
 * ngx_http_usher_link_location.c - the Location of a click: its URL, with
 * macros, UTM parameters and query, and never to a link of the same host.
 */


#include "ngx_http_usher_link.h"


static void ngx_http_usher_link_add(ngx_str_t *location, ngx_str_t *args);
static ngx_uint_t ngx_http_usher_link_line(ngx_str_t *args);
static ngx_uint_t ngx_http_usher_link_loops(ngx_str_t *location,
    ngx_str_t *host);
static void ngx_http_usher_link_values(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, usher_url_text_t values[USHER_MACROS_N],
    u_char number[NGX_INT64_LEN], u_char now[NGX_TIME_T_LEN]);


ngx_int_t
ngx_http_usher_link_location(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, ngx_str_t *location)
{
    size_t             size;
    u_char            *p, *end, number[NGX_INT64_LEN], now[NGX_TIME_T_LEN];
    ngx_int_t          rc;
    ngx_str_t          args;
    usher_url_text_t   values[USHER_MACROS_N];

    if (click->url.len == 0) {
        return NGX_OK;
    }

    ngx_str_null(&args);

    if (click->link != NULL && click->link->query
        && ngx_http_usher_link_line(&click->args))
    {
        args = click->args;
    }

    /* most have no macro */

    if (usher_macro_used(click->url.data, click->url.len)) {
        ngx_memzero(values, sizeof(values));
        ngx_http_usher_link_values(r, click, values, number, now);
    }

    size = usher_macro_max(click->url.data, click->url.len, values);

    if (size > NGX_HTTP_USHER_LOCATION
        || args.len > NGX_HTTP_USHER_LOCATION - size)
    {
        ngx_http_usher_link_reason(click, USHER_CLICK_TOO_LONG);
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(r->pool, size + 1 + args.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    end = usher_macro_expand(p, p + size, click->url.data, click->url.len,
                             values);
    if (end == NULL) {
        return NGX_ERROR;
    }

    location->data = p;
    location->len = end - p;

    if (ngx_http_usher_link_loops(location, &click->host)) {
        ngx_http_usher_link_reason(click, USHER_CLICK_LOOP);
        return NGX_DECLINED;
    }

    if (click->page.len && click->target >= 0) {
        rc = ngx_http_usher_link_place(r, click, location, 1 + args.len);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (args.len) {
        ngx_http_usher_link_add(location, &args);
    }

    return NGX_OK;
}


/* Byte by byte, before the fragment, where there is room for it. */

static void
ngx_http_usher_link_add(ngx_str_t *location, ngx_str_t *args)
{
    size_t   sign;
    u_char  *p, *end, *hash, *query;

    p = location->data;
    end = p + location->len;

    hash = memchr(p, '#', end - p);
    if (hash == NULL) {
        hash = end;
    }

    query = memchr(p, '?', hash - p);
    sign = (query == NULL || (hash[-1] != '?' && hash[-1] != '&'));

    ngx_memmove(hash + sign + args->len, hash, end - hash);

    if (sign) {
        *hash++ = query ? '&' : '?';
    }

    ngx_memcpy(hash, args->data, args->len);

    location->len += sign + args->len;
}


/* Whether it may stand in a header: "set" may have put what it likes there. */

static ngx_uint_t
ngx_http_usher_link_line(ngx_str_t *args)
{
    size_t  i;

    for (i = 0; i < args->len; i++) {
        if (args->data[i] <= ' ' || args->data[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}


/* Links do not lead to links: not to those of the same host. */

static ngx_uint_t
ngx_http_usher_link_loops(ngx_str_t *location, ngx_str_t *host)
{
    u_char  *p, *end;

    p = location->data + sizeof("http://") - 1;
    end = location->data + location->len;

    if (*p == '/') {
        p++;                             /* of https:// */
    }

    if ((size_t) (end - p) < host->len
        || ngx_strncasecmp(p, host->data, host->len) != 0)
    {
        return 0;
    }

    p += host->len;

    return p == end || *p == '/' || *p == '?' || *p == '#' || *p == ':';
}


static void
ngx_http_usher_link_values(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, usher_url_text_t values[USHER_MACROS_N],
    u_char number[NGX_INT64_LEN], u_char now[NGX_TIME_T_LEN])
{
    ngx_uint_t              i;
    ngx_http_usher_link_t  *link;

    static ngx_http_usher_link_t  none;

    /* the fallback of a host has no macros */

    link = click->link ? click->link : &none;

    struct {
        usher_macro_e   macro;
        ngx_str_t      *text;
    } texts[] = {
        { USHER_MACRO_CLICK_ID, &click->id },
        { USHER_MACRO_SUB1, &click->subs[0] },
        { USHER_MACRO_SUB2, &click->subs[1] },
        { USHER_MACRO_SUB3, &click->subs[2] },
        { USHER_MACRO_SUB4, &click->subs[3] },
        { USHER_MACRO_SUB5, &click->subs[4] },
        { USHER_MACRO_COUNTRY, &click->country },
        { USHER_MACRO_DEVICE, &click->device },
        { USHER_MACRO_OS, &click->system },
        { USHER_MACRO_LANG, &click->language },
        { USHER_MACRO_REFERRER_HOST, &click->referrer },
        { USHER_MACRO_SLUG, &click->slug },
        { USHER_MACRO_CAMPAIGN, &link->campaign },
        { USHER_MACRO_PRODUCT, &link->product },
        { USHER_MACRO_PROGRAM, &link->program },
        { USHER_MACRO_NETWORK, &link->network },
        { USHER_MACRO_PARTNER, &link->partner }
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        values[texts[i].macro].data = texts[i].text->data;
        values[texts[i].macro].len = texts[i].text->len;
    }

    values[USHER_MACRO_LINK].data = number;
    values[USHER_MACRO_LINK].len =
        ngx_http_usher_decimal(number, link->id) - number;

    values[USHER_MACRO_TIME].data = now;
    values[USHER_MACRO_TIME].len = ngx_http_usher_decimal(now, ngx_time())
                                   - now;
}
