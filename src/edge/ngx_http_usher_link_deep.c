
/*
 * ngx_http_usher_link_deep.c - deep links: the page that a click names.
 *
 *     /go/shop?to=https%3A%2F%2Fwww.shop.example%2Fp%3Fid%3D7
 *
 * DESIGN
 *
 * Common/usher_deep.h says what stands and where it goes; hosts and parameter
 * come with the link's record, from its program and network.
 *
 * "to" is ours on every link: it is not passed on, for behind the target may
 * stand another that follows it.  What cannot be reached falls back, and where
 * there is no fallback to the link's own target: that is where its owner sends
 * visitors, while a 404 would lose one for a slip of who wrote the link.
 */


#include "ngx_http_usher_link.h"

#include "usher_deep.h"


static ngx_uint_t ngx_http_usher_link_page(ngx_http_usher_click_t *click,
    usher_deep_status_e status, usher_deep_t *deep);


ngx_int_t
ngx_http_usher_link_deep(ngx_http_request_t *r, ngx_http_usher_click_t *click)
{
    u_char               *buf;
    ngx_uint_t            reason;
    usher_deep_t          deep;
    usher_url_text_t      hosts;
    usher_deep_status_e   status;

    if (click->link == NULL || r->args.len == 0) {
        return NGX_OK;
    }

    buf = ngx_pnalloc(r->pool, r->args.len);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    hosts.data = click->link->hosts.data;
    hosts.len = click->link->hosts.len;

    status = usher_deep_read(buf, r->args.data, r->args.len, &hosts, &deep);

    click->args.data = (u_char *) deep.rest.data;
    click->args.len = deep.rest.len;

    /* what has ended already leads elsewhere */

    if (status == USHER_DEEP_NONE || click->target < 0) {
        return NGX_OK;
    }

    reason = ngx_http_usher_link_page(click, status, &deep);

    if (reason == USHER_CLICK_VALID) {
        return NGX_OK;
    }

    ngx_http_usher_link_reason(click, reason);

    if (click->link->fallback.len) {
        ngx_http_usher_link_fall_back(click);
    }

    return NGX_OK;
}


/* USHER_CLICK_VALID, and page is set; or why not. */

static ngx_uint_t
ngx_http_usher_link_page(ngx_http_usher_click_t *click,
    usher_deep_status_e status, usher_deep_t *deep)
{
    size_t  len;

    if (status != USHER_DEEP_OK) {
        return status == USHER_DEEP_HOST ? USHER_CLICK_DEEP_HOST
                                         : USHER_CLICK_DEEP_LINK;
    }

    /* whatever is allowed, a link leads to none of its host */

    len = deep->host.len;

    if (deep->host.data[len - 1] == '.') {
        len--;
    }

    if (len == click->host.len
        && ngx_strncasecmp((u_char *) deep->host.data, click->host.data, len)
           == 0)
    {
        return USHER_CLICK_DEEP_HOST;
    }

    click->page.data = (u_char *) deep->page.data;
    click->page.len = deep->page.len;

    return USHER_CLICK_VALID;
}


ngx_int_t
ngx_http_usher_link_place(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, ngx_str_t *location, size_t more)
{
    size_t             size;
    u_char            *p, *end;
    usher_url_text_t   target, name, page;

    target.data = location->data;
    target.len = location->len;

    name.data = click->link->deep.data;
    name.len = click->link->deep.len;

    page.data = click->page.data;
    page.len = click->page.len;

    size = usher_deep_max(target.len, name.len, page.len);

    p = ngx_pnalloc(r->pool, size + more);
    if (p == NULL) {
        return NGX_ERROR;
    }

    end = usher_deep_place(p, p + size, &target, &name, &page);
    if (end == NULL) {
        return NGX_ERROR;
    }

    location->data = p;
    location->len = end - p;

    if (location->len > NGX_HTTP_USHER_LOCATION
        || more > NGX_HTTP_USHER_LOCATION + 1 - location->len)
    {
        ngx_http_usher_link_reason(click, USHER_CLICK_TOO_LONG);
        return NGX_DECLINED;
    }

    return NGX_OK;
}
