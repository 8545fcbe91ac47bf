
/*
 * ngx_http_usher_link_cookie.c - usher_link_cookie: the browser keeps the id
 * of its click, for the pixel of a shop of the same site.
 *
 *     usher_link_cookie name [max-age=time] [domain=host];
 *
 * DESIGN
 *
 * Nobody here knows whether a program wants the first click or the last, nor
 * which programs the others were of.  So the cookie has several ids, see
 * usher_click_list.h, the pixel gives them all, and usher.click_choose()
 * chooses.  What the browser sends back is only what we have signed.
 *
 * A cookie is for who may buy something: for a click that counts, or would if
 * it were the first in this hour, of a link with a program.  A robot, a
 * prefetch and HEAD get none, nor does who is sent nowhere.
 */


#include "ngx_http_usher_link.h"

#include "usher_click_list.h"


/* What browsers keep a cookie at most (RFC 6265bis, 5.5): 400 days. */
#define NGX_HTTP_USHER_COOKIE_AGE  (400 * 24 * 60 * 60)


static ngx_uint_t ngx_http_usher_link_cookie_wanted(
    ngx_http_usher_click_t *click);
static ngx_int_t ngx_http_usher_link_cookie_parameters(ngx_conf_t *cf,
    ngx_http_usher_link_cookie_t *cookie, ngx_str_t *domain);
static ngx_int_t ngx_http_usher_link_cookie_domain(ngx_str_t *domain);
static ngx_int_t ngx_http_usher_link_cookie_attributes(ngx_conf_t *cf,
    ngx_http_usher_link_cookie_t *cookie, ngx_str_t *domain);


ngx_int_t
ngx_http_usher_link_cookie(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click)
{
    u_char                         *p;
    ngx_str_t                       value;
    usher_click_t                   parts;
    usher_click_list_t              list;
    ngx_http_usher_link_cookie_t   *cookie;

    static ngx_str_t  name = ngx_string("Set-Cookie");
    static ngx_str_t  secure = ngx_string("; Secure");

    cookie = llcf->cookie;

    if (cookie == NULL || !ngx_http_usher_link_cookie_wanted(click)) {
        return NGX_OK;
    }

    if (ngx_http_usher_cookie(r, &cookie->cookie, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    (void) usher_click_list_read(&list, value.data, value.len, click->keys,
                                 click->nkeys);

    ngx_memzero(&parts, sizeof(usher_click_t));

    parts.time = (uint32_t) ngx_time();
    parts.link = (uint32_t) click->link->id;

    usher_click_list_add(&list, click->id.data, &parts,
                         (unsigned long) cookie->age);

    p = ngx_pnalloc(r->pool, cookie->cookie.name.len + 1
                             + USHER_CLICK_LIST_TEXT + cookie->attributes.len
                             + secure.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;

    p = ngx_cpymem(p, cookie->cookie.name.data, cookie->cookie.name.len);
    *p++ = '=';

    p = usher_click_list_write(p, &list);
    p = ngx_cpymem(p, cookie->attributes.data, cookie->attributes.len);

    if (cookie->secure
#if (NGX_HTTP_SSL)
        || r->connection->ssl
#endif
       )
    {
        p = ngx_cpymem(p, secure.data, secure.len);
    }

    value.len = p - value.data;

    return ngx_http_usher_header(r, &name, &value) ? NGX_OK : NGX_ERROR;
}


static ngx_uint_t
ngx_http_usher_link_cookie_wanted(ngx_http_usher_click_t *click)
{
    const usher_click_reason_t  *reason;

    if (click->id.len == 0 || click->url.len == 0
        || click->link->program.len == 0)
    {
        return 0;
    }

    reason = usher_click_reason((unsigned) click->reason);

    return click->reason == USHER_CLICK_DUPLICATE
           || (reason != NULL && reason->net);
}


char *
ngx_http_usher_link_cookie_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_usher_link_conf_t *llcf = conf;

    ngx_str_t                     *value, domain;
    ngx_uint_t                     host;
    ngx_http_usher_link_cookie_t  *cookie;

    if (llcf->cookie != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        llcf->cookie = NULL;
        return NGX_CONF_OK;
    }

    cookie = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_link_cookie_t));

    if (cookie == NULL
        || ngx_http_usher_cookie_name(cf, &value[1], &cookie->cookie)
           != NGX_CONF_OK
        || ngx_http_usher_link_cookie_parameters(cf, cookie, &domain)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    /* browsers take no cookie of such a name that says otherwise */

    host = ngx_strncasecmp(value[1].data, (u_char *) "__host-", 7) == 0;

    cookie->secure = host || ngx_strncasecmp(value[1].data,
                                             (u_char *) "__secure-", 9)
                             == 0;

    if (domain.len && host) {
        return "has a name that browsers take without domain= only";
    }

    llcf->cookie = cookie;

    return ngx_http_usher_link_cookie_attributes(cf, cookie, &domain)
           == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_usher_link_cookie_parameters(ngx_conf_t *cf,
    ngx_http_usher_link_cookie_t *cookie, ngx_str_t *domain)
{
    ngx_str_t   *value, age;
    ngx_uint_t   i;

    value = cf->args->elts;

    cookie->age = 30 * 24 * 60 * 60;
    ngx_str_null(domain);

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "max-age=", 8) == 0) {
            age.data = value[i].data + 8;
            age.len = value[i].len - 8;

            cookie->age = ngx_parse_time(&age, 1);

            if (cookie->age != (time_t) NGX_ERROR && cookie->age > 0
                && cookie->age <= NGX_HTTP_USHER_COOKIE_AGE)
            {
                continue;
            }

            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "max-age is 1s to 400d, not \"%V\"", &age);
            return NGX_ERROR;
        }

        if (ngx_strncmp(value[i].data, "domain=", 7) == 0) {
            domain->data = value[i].data + 7;
            domain->len = value[i].len - 7;

            if (ngx_http_usher_link_cookie_domain(domain) == NGX_OK) {
                continue;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"", &value[i]);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_link_cookie_domain(ngx_str_t *domain)
{
    u_char  c;
    size_t  i;

    for (i = 0; i < domain->len; i++) {
        c = domain->data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '.' || c == '-'))
        {
            return NGX_ERROR;
        }
    }

    return domain->len ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_usher_link_cookie_attributes(ngx_conf_t *cf,
    ngx_http_usher_link_cookie_t *cookie, ngx_str_t *domain)
{
    u_char  *p;

    p = ngx_pnalloc(cf->pool, sizeof("; Path=/; Max-Age=; HttpOnly; "
                                     "SameSite=Lax; Domain=")
                              + NGX_TIME_T_LEN + domain->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    cookie->attributes.data = p;

    p = ngx_sprintf(p, "; Path=/; Max-Age=%T; HttpOnly; SameSite=Lax",
                    cookie->age);

    if (domain->len) {
        p = ngx_sprintf(p, "; Domain=%V", domain);
    }

    cookie->attributes.len = p - cookie->attributes.data;

    return NGX_OK;
}
