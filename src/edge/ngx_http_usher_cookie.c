
/*
 * ngx_http_usher_cookie.c - the cookie of clicks: its name, and what a
 * request brings of it.
 */


#include "ngx_http_usher_request.h"


#define NGX_HTTP_USHER_COOKIE_NAME  64    /* bytes */


char *
ngx_http_usher_cookie_name(ngx_conf_t *cf, ngx_str_t *name,
    ngx_http_usher_cookie_t *cookie)
{
    u_char  c;
    size_t  i;

    static ngx_str_t  prefix = ngx_string("cookie_");

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '_' || c == '-'))
        {
            break;
        }
    }

    if (i < name->len || i == 0 || i > NGX_HTTP_USHER_COOKIE_NAME) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the name of a cookie is 1 to 64 letters, digits, "
                           "_ and -, not \"%V\"", name);
        return NGX_CONF_ERROR;
    }

    cookie->variable.len = prefix.len + name->len;
    cookie->variable.data = ngx_pnalloc(cf->pool, cookie->variable.len);

    if (cookie->variable.data == NULL) {
        return NGX_CONF_ERROR;
    }

    (void) ngx_cpymem(ngx_cpymem(cookie->variable.data, prefix.data,
                                 prefix.len),
                      name->data, name->len);

    cookie->name.len = name->len;
    cookie->name.data = cookie->variable.data + prefix.len;
    cookie->hash = ngx_hash_key_lc(cookie->variable.data,
                                   cookie->variable.len);

    return NGX_CONF_OK;
}


/* As nginx's variable has it, which is not the same thing in all nginxes. */

ngx_int_t
ngx_http_usher_cookie(ngx_http_request_t *r, ngx_http_usher_cookie_t *cookie,
    ngx_str_t *value)
{
    ngx_http_variable_value_t  *vv;

    vv = ngx_http_get_variable(r, &cookie->variable, cookie->hash);

    if (vv == NULL) {
        return NGX_ERROR;
    }

    value->len = vv->not_found ? 0 : vv->len;
    value->data = vv->data;

    return NGX_OK;
}
