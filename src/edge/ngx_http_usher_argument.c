
/*
 * ngx_http_usher_argument.c - takes keys out of the query string.
 *
 * DESIGN
 *
 * An argument that may carry a key is known by name per server.  What looks
 * like a key in it is taken out in the post-read phase, before a location is
 * chosen, and overwritten where it stands: the request line, the URI and the
 * arguments.  "Looks like" is generous (anything with _live_ or _test_ in
 * it), because a mistyped key in a log still betrays the real one.  Secrets
 * of postbacks are taken out whatever they look like.
 *
 * A request that is refused before that phase has its turn in the log phase.
 */


#include "ngx_http_usher_request.h"


static ngx_int_t ngx_http_usher_hide(ngx_http_request_t *r, ngx_str_t *text,
    ngx_array_t *names, ngx_uint_t save);
static ngx_int_t ngx_http_usher_save(ngx_http_request_t *r, ngx_str_t *name,
    u_char *value, size_t len);
static u_char *ngx_http_usher_argument(u_char *p, u_char *stop,
    ngx_str_t *name);
static ngx_uint_t ngx_http_usher_is_secret(ngx_str_t *name);


ngx_int_t
ngx_http_usher_hide_arguments(ngx_http_request_t *r)
{
    ngx_http_usher_srv_conf_t  *uscf;

    uscf = ngx_http_get_module_srv_conf(r, ngx_http_usher_module);

    if (uscf->arguments.nelts == 0 || r->args.len == 0) {
        return NGX_DECLINED;
    }

    /*
     * All three are the same bytes, or (the request line of HTTP/2) a copy;
     * what was saved and overwritten is not found again.
     */

    if (ngx_http_usher_hide(r, &r->args, &uscf->arguments, 1) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    (void) ngx_http_usher_hide(r, &r->unparsed_uri, &uscf->arguments, 0);
    (void) ngx_http_usher_hide(r, &r->request_line, &uscf->arguments, 0);

    return NGX_DECLINED;
}


/*
 * What nginx refused while it read it, or its client did not end, is logged
 * all the same: as the request line, if it got so far, or what there is of it.
 */

void
ngx_http_usher_hide_refused(ngx_http_request_t *r)
{
    u_char                      *p;
    ngx_str_t                    line;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_usher_module);

    if (umcf->arguments.nelts == 0) {
        return;
    }

    line = r->request_line;

    if (line.data == NULL && r->request_start != NULL) {

        for (p = r->request_start; p < r->header_in->last; p++) {
            if (*p == CR || *p == LF) {
                break;
            }
        }

        line.data = r->request_start;
        line.len = p - r->request_start;
    }

    (void) ngx_http_usher_hide(r, &line, &umcf->arguments, 0);
    (void) ngx_http_usher_hide(r, &r->unparsed_uri, &umcf->arguments, 0);
}


/*
 * Overwrites each named argument of text whose value looks like a key; save:
 * text is the arguments alone, and values are kept in the request's state.
 */

static ngx_int_t
ngx_http_usher_hide(ngx_http_request_t *r, ngx_str_t *text,
    ngx_array_t *names, ngx_uint_t save)
{
    u_char      *p, *end, *stop, *value;
    ngx_str_t   *name;
    ngx_uint_t   i;

    p = text->data;
    end = p + text->len;

    if (!save) {
        p = ngx_strlchr(p, end, '?');
        if (p == NULL) {
            return NGX_OK;
        }

        p++;
    }

    name = names->elts;

    for ( /* void */ ; p < end; p = stop + 1) {

        for (stop = p; stop < end; stop++) {
            if (*stop == '&' || *stop == ' ') {
                break;
            }
        }

        for (i = 0; i < names->nelts; i++) {

            value = ngx_http_usher_argument(p, stop, &name[i]);

            if (value == NULL
                || (!ngx_http_usher_is_secret(&name[i])
                    && !ngx_http_usher_like_key(value, stop - value)))
            {
                continue;
            }

            if (save
                && ngx_http_usher_save(r, &name[i], value, stop - value)
                   != NGX_OK)
            {
                return NGX_ERROR;
            }

            ngx_memset(value, 'x', stop - value);
        }
    }

    return NGX_OK;
}


/* The value of the argument at p, if it has this name, however escaped. */

static u_char *
ngx_http_usher_argument(u_char *p, u_char *stop, ngx_str_t *name)
{
    u_char      c;
    size_t      i;
    ngx_int_t   n;

    for (i = 0; i < name->len; i++) {

        if (p == stop) {
            return NULL;
        }

        c = *p++;

        if (c == '%' && stop - p >= 2) {
            n = ngx_hextoi(p, 2);

            if (n != NGX_ERROR) {
                c = (u_char) n;
                p += 2;
            }
        }

        if (ngx_tolower(c) != ngx_tolower(name->data[i])) {
            return NULL;
        }
    }

    return p < stop && *p == '=' ? p + 1 : NULL;
}


static ngx_int_t
ngx_http_usher_save(ngx_http_request_t *r, ngx_str_t *name, u_char *value,
    size_t len)
{
    u_char                  *dst, *src;
    ngx_http_usher_ctx_t    *ctx;
    ngx_http_usher_saved_t  *s;

    ctx = ngx_http_usher_ctx(r, 1);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    s = ngx_palloc(r->pool, sizeof(ngx_http_usher_saved_t));
    if (s == NULL) {
        return NGX_ERROR;
    }

    s->name = *name;

    s->value.data = ngx_pnalloc(r->pool, len);
    if (s->value.data == NULL) {
        return NGX_ERROR;
    }

    src = value;
    dst = s->value.data;

    ngx_unescape_uri(&dst, &src, len, 0);

    s->value.len = dst - s->value.data;

    s->next = ctx->saved;
    ctx->saved = s;

    return NGX_OK;
}


ngx_uint_t
ngx_http_usher_secret_argument(u_char *p, u_char *stop)
{
    static ngx_str_t  name = ngx_string(NGX_HTTP_USHER_SECRET_ARGUMENT);

    return ngx_http_usher_argument(p, stop, &name) != NULL;
}


static ngx_uint_t
ngx_http_usher_is_secret(ngx_str_t *name)
{
    return name->len == sizeof(NGX_HTTP_USHER_SECRET_ARGUMENT) - 1
           && ngx_strncmp(name->data, NGX_HTTP_USHER_SECRET_ARGUMENT,
                          name->len)
              == 0;
}


ngx_uint_t
ngx_http_usher_like_key(u_char *value, size_t len)
{
    size_t   n, max;
    u_char  *dst, *src, *stop, text[1024];

    while (len) {
        src = value;
        dst = text;

        max = ngx_min(len, sizeof(text));

        ngx_unescape_uri(&dst, &src, max, 0);

        n = dst - text;
        stop = text + n;

        for (dst = text; stop - dst >= 6; dst++) {
            if (*dst == '_'
                && (ngx_strncmp(dst, "_live_", 6) == 0
                    || ngx_strncmp(dst, "_test_", 6) == 0))
            {
                return 1;
            }
        }

        /* pieces overlap, so that a cut hides nothing */

        if (max == len) {
            break;
        }

        value += max - 32;
        len -= max - 32;
    }

    return 0;
}
