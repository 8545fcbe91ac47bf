
/*
 * ngx_http_usher_link_find.c - which link a request asks for.
 *
 * Its record is the directory's.  What a worker unpacked a moment ago it
 * remembers, for as long as the record's ticket has not moved; nothing may
 * suspend a request between here and its answer, since the next one may take
 * that place.
 */


#include "ngx_http_usher_directory.h"
#include "ngx_http_usher_link.h"

#include "usher_crc.h"


#define NGX_HTTP_USHER_LINKS     16      /* remembered by a worker */
#define NGX_HTTP_USHER_LINK_ID   (USHER_CLICK_HOST_MAX + 1                    \
                                  + USHER_CLICK_SLUG_MAX)


/* A link as it was read from the zone a moment ago. */
typedef struct {
    ngx_http_usher_memo_t  memo;
    ngx_http_usher_link_t  link;
    size_t                 len;          /* of id */
    u_char                 id[NGX_HTTP_USHER_LINK_ID];
    u_char                 record[NGX_HTTP_USHER_RECORD_MAX];
} ngx_http_usher_link_memo_t;


static ngx_uint_t ngx_http_usher_link_name(ngx_http_usher_click_t *click);
static ngx_int_t ngx_http_usher_link_domain(ngx_http_request_t *r,
    ngx_http_usher_click_t *click);


ngx_int_t
ngx_http_usher_link_find(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click)
{
    size_t                       len;
    u_char                       text[NGX_HTTP_USHER_LINK_ID], *p;
    ngx_int_t                    rc;
    ngx_str_t                    id;
    ngx_http_usher_link_memo_t  *known;

    static ngx_http_usher_link_memo_t  links[NGX_HTTP_USHER_LINKS];

    if (ngx_http_complex_value(r, llcf->slug, &click->slug) != NGX_OK) {
        return NGX_ERROR;
    }

    click->host = r->headers_in.server;

    if (!ngx_http_usher_link_name(click)) {
        return ngx_http_usher_link_domain(r, click);
    }

    p = ngx_cpymem(text, click->host.data, click->host.len);
    *p++ = '/';
    p = ngx_cpymem(p, click->slug.data, click->slug.len);

    id.data = text;
    id.len = p - text;

    known = &links[usher_crc32c(0, id.data, id.len) % NGX_HTTP_USHER_LINKS];

    if (known->len != id.len || ngx_memcmp(known->id, id.data, id.len) != 0) {
        known->memo.ticket = NULL;
        known->len = id.len;
        ngx_memcpy(known->id, id.data, id.len);
    }

    rc = ngx_http_usher_directory_memo(r, NGX_HTTP_USHER_KIND_LINK, &id,
                                       &known->memo, known->record, &len);

    if (len != 0
        && ngx_http_usher_link_unpack(known->record, len, &known->link)
           != NGX_OK)
    {
        known->memo.ticket = NULL;
        return NGX_BUSY;
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_usher_link_domain(r, click);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    click->link = &known->link;
    click->org_id = known->link.org_id;

    return NGX_OK;
}


/* Whether there can be a link of this name: what else there is asks nobody. */

static ngx_uint_t
ngx_http_usher_link_name(ngx_http_usher_click_t *click)
{
    u_char  c;
    size_t  i;

    if (click->host.len == 0 || click->host.len > USHER_CLICK_HOST_MAX
        || click->slug.len == 0 || click->slug.len > USHER_CLICK_SLUG_MAX)
    {
        return 0;
    }

    for (i = 0; i < click->slug.len; i++) {
        c = click->slug.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '~'
              || c == '-' || c == '/'))
        {
            return 0;
        }
    }

    return 1;
}


/* Whose host it is, and where what is no link leads. */

static ngx_int_t
ngx_http_usher_link_domain(ngx_http_request_t *r,
    ngx_http_usher_click_t *click)
{
    size_t                   len;
    ngx_int_t                rc;
    ngx_http_usher_domain_t  domain;

    static u_char  buf[NGX_HTTP_USHER_RECORD_MAX];

    if (click->host.len == 0 || click->host.len > USHER_CLICK_HOST_MAX) {
        return NGX_OK;
    }

    rc = ngx_http_usher_directory_record(r, NGX_HTTP_USHER_KIND_DOMAIN,
                                         &click->host, buf, &len);

    if (rc == NGX_DECLINED) {
        return NGX_OK;
    }

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_usher_domain_unpack(buf, len, &domain) != NGX_OK) {
        return NGX_BUSY;
    }

    click->org_id = domain.org_id;
    click->url = domain.fallback;

    return NGX_OK;
}
