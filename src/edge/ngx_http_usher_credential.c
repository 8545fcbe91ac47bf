
/*
 * ngx_http_usher_credential.c - finds the key that a request carries, and
 * keeps its header from logs and other servers.
 *
 * DESIGN
 *
 * A credential is read from the list of headers, not from variables, so that
 * no variable caches it.  The header that carried it leaves that list as it
 * is read (usher_credential_strip), and in the log phase at the latest: there
 * what any usher_auth of the server may read is removed from requests that
 * did not come to an access handler, or not in the location they end in.
 * Elements of the list never move, because r->headers_in points to some: a
 * part of the list is split instead.
 */


#include "ngx_http_usher_request.h"


#define ngx_http_usher_dash(c)   ((c) == '-' ? '_' : (c))
#define ngx_http_usher_blank(c)  ((c) == ' ' || (c) == '\t')


static ngx_int_t ngx_http_usher_take(ngx_http_usher_ctx_t *ctx,
    ngx_str_t *value);
static ngx_uint_t ngx_http_usher_bearer(ngx_str_t *value);
static void ngx_http_usher_trim(ngx_str_t *value);
static ngx_uint_t ngx_http_usher_stray(ngx_str_t *value);
static ngx_uint_t ngx_http_usher_named(ngx_table_elt_t *h, ngx_str_t *name);
static ngx_int_t ngx_http_usher_headers(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_source_t *source,
    ngx_uint_t strip);
static void ngx_http_usher_strip_header(ngx_http_request_t *r,
    ngx_http_usher_source_t *source, ngx_table_elt_t *h);
static ngx_int_t ngx_http_usher_find_argument(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_str_t *name);
static ngx_int_t ngx_http_usher_find_cookie(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_str_t *name);
static ngx_int_t ngx_http_usher_take_cookies(ngx_http_usher_ctx_t *ctx,
    ngx_str_t *line, ngx_str_t *name);
static ngx_int_t ngx_http_usher_find_variable(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_int_t index);
static ngx_int_t ngx_http_usher_list_delete(ngx_list_t *list,
    ngx_list_part_t *prev, ngx_list_part_t *part, ngx_uint_t i);
static ngx_int_t ngx_http_usher_source(ngx_conf_t *cf,
    ngx_http_usher_source_t *source, ngx_str_t *name);
static ngx_int_t ngx_http_usher_add_header(ngx_array_t *headers,
    ngx_http_usher_source_t *source);


ngx_int_t
ngx_http_usher_find_credential(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx)
{
    ngx_int_t                   rc, found;
    ngx_uint_t                  i;
    ngx_http_usher_source_t    *source;
    ngx_http_usher_loc_conf_t  *ulcf;

    ulcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_module);

    found = NGX_OK;
    source = ulcf->sources->elts;

    for (i = 0; i < ulcf->sources->nelts; i++) {

        switch (source[i].from) {

        case NGX_HTTP_USHER_FROM_BEARER:
        case NGX_HTTP_USHER_FROM_HEADER:
            rc = ngx_http_usher_headers(r, ctx, &source[i], ulcf->strip);
            break;

        case NGX_HTTP_USHER_FROM_ARGUMENT:
            rc = ngx_http_usher_find_argument(r, ctx, &source[i].name);
            break;

        case NGX_HTTP_USHER_FROM_COOKIE:
            rc = ngx_http_usher_find_cookie(r, ctx, &source[i].name);
            break;

        default: /* NGX_HTTP_USHER_FROM_VARIABLE */
            rc = ngx_http_usher_find_variable(r, ctx, source[i].index);
            break;
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        /* what follows is searched all the same: it has to be stripped */

        if (rc == NGX_DECLINED) {
            found = NGX_DECLINED;
        }
    }

    ctx->stripped = ulcf->strip;

    return found;
}


/* One credential more: the first, the same again, or a conflict. */

static ngx_int_t
ngx_http_usher_take(ngx_http_usher_ctx_t *ctx, ngx_str_t *value)
{
    if (value->len == 0) {
        return NGX_OK;
    }

    if (!ctx->found) {
        ctx->found = 1;
        ctx->credential = *value;
        return NGX_OK;
    }

    if (ctx->credential.len == value->len
        && ngx_memcmp(ctx->credential.data, value->data, value->len) == 0)
    {
        return NGX_OK;
    }

    return NGX_DECLINED;
}


/* Cuts the scheme off; 0 if it is another one. */

static ngx_uint_t
ngx_http_usher_bearer(ngx_str_t *value)
{
    if (value->len < 6
        || ngx_strncasecmp(value->data, (u_char *) "Bearer", 6) != 0
        || (value->len > 6 && !ngx_http_usher_blank(value->data[6])))
    {
        return 0;
    }

    value->data += 6;
    value->len -= 6;

    ngx_http_usher_trim(value);

    return 1;
}


static void
ngx_http_usher_trim(ngx_str_t *value)
{
    while (value->len && ngx_http_usher_blank(value->data[0])) {
        value->data++;
        value->len--;
    }

    while (value->len && ngx_http_usher_blank(value->data[value->len - 1])) {
        value->len--;
    }
}


/*
 * Whether the last word looks like a key: one that was sent without a scheme,
 * or with a wrong one, admits nobody, but is a key all the same.
 */

static ngx_uint_t
ngx_http_usher_stray(ngx_str_t *value)
{
    u_char  *p, *last;

    last = value->data + value->len;

    for (p = last; p > value->data; p--) {
        if (ngx_http_usher_blank(p[-1])) {
            break;
        }
    }

    return ngx_http_usher_like_key(p, last - p);
}


/* Whether h is the header of the variable $http_<name>. */

static ngx_uint_t
ngx_http_usher_named(ngx_table_elt_t *h, ngx_str_t *name)
{
    size_t  i;

    if (h->key.len != name->len) {
        return 0;
    }

    for (i = 0; i < name->len; i++) {
        if (ngx_http_usher_dash(h->lowcase_key[i]) != name->data[i]) {
            return 0;
        }
    }

    return 1;
}


/*
 * Takes the values of a source's headers (unless ctx is NULL) and removes
 * those headers (if strip).
 */

static ngx_int_t
ngx_http_usher_headers(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_source_t *source, ngx_uint_t strip)
{
    ngx_int_t         rc;
    ngx_str_t         value;
    ngx_uint_t        i, mine;
    ngx_list_part_t  *part, *prev;
    ngx_table_elt_t  *h;

    if (source->from == NGX_HTTP_USHER_FROM_BEARER
        && r->headers_in.authorization == NULL)
    {
        return NGX_OK;
    }

    rc = NGX_OK;
    prev = NULL;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        for (i = 0; i < part->nelts; /* void */ ) {

            h = (ngx_table_elt_t *) part->elts + i;

            if (!ngx_http_usher_named(h, &source->name)) {
                i++;
                continue;
            }

            value = h->value;
            ngx_http_usher_trim(&value);

            mine = source->from == NGX_HTTP_USHER_FROM_HEADER
                   || ngx_http_usher_bearer(&value);

            if (ctx != NULL && !mine && value.len) {
                ctx->schemed = 1;
            }

            if (mine && ctx != NULL
                && ngx_http_usher_take(ctx, &value) != NGX_OK)
            {
                rc = NGX_DECLINED;
            }

            if (!strip || (!mine && !ngx_http_usher_stray(&value))) {
                i++;
                continue;
            }

            ngx_http_usher_strip_header(r, source, h);

            if (ngx_http_usher_list_delete(&r->headers_in.headers, prev, part,
                                           i)
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }

        /* a part that lost its only element is no longer in the list */

        if (part->nelts || prev == NULL) {
            prev = part;
        }
    }

    return rc;
}


/* Forgets what nginx knows of a header beside the list. */

static void
ngx_http_usher_strip_header(ngx_http_request_t *r,
    ngx_http_usher_source_t *source, ngx_table_elt_t *h)
{
    ngx_http_variable_value_t  *vv;

    if (r->headers_in.authorization == h) {
        r->headers_in.authorization = NULL;
    }

    /* what a rewrite may have cached already */

    vv = &r->variables[source->index];
    vv->valid = 0;
    vv->not_found = 0;
}


static ngx_int_t
ngx_http_usher_find_argument(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_str_t *name)
{
    ngx_str_t                value;
    ngx_uint_t               saved;
    ngx_http_usher_saved_t  *s;

    saved = 0;

    for (s = ctx->saved; s; s = s->next) {

        if (s->name.len == name->len
            && ngx_strncasecmp(s->name.data, name->data, name->len) == 0)
        {
            saved = 1;
            ctx->queried = 1;

            if (ngx_http_usher_take(ctx, &s->value) != NGX_OK) {
                return NGX_DECLINED;
            }
        }
    }

    if (saved
        || ngx_http_arg(r, name->data, name->len, &value) != NGX_OK)
    {
        return NGX_OK;
    }

    return ngx_http_usher_take(ctx, &value);
}


/* Every cookie of that name; the variable knows the first one only. */

static ngx_int_t
ngx_http_usher_find_cookie(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_str_t *name)
{
    ngx_int_t         rc;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    static ngx_str_t  cookie = ngx_string("cookie");

    rc = NGX_OK;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (ngx_http_usher_named(&h[i], &cookie)
                && ngx_http_usher_take_cookies(ctx, &h[i].value, name)
                   != NGX_OK)
            {
                rc = NGX_DECLINED;
            }
        }
    }

    return rc;
}


static ngx_int_t
ngx_http_usher_take_cookies(ngx_http_usher_ctx_t *ctx, ngx_str_t *line,
    ngx_str_t *name)
{
    u_char     *p, *end, *stop, *equal;
    ngx_int_t   rc;
    ngx_str_t   word, value;

    rc = NGX_OK;
    end = line->data + line->len;

    for (p = line->data; p < end; p = stop + 1) {

        stop = ngx_strlchr(p, end, ';');
        if (stop == NULL) {
            stop = end;
        }

        equal = ngx_strlchr(p, stop, '=');
        if (equal == NULL) {
            continue;
        }

        word.data = p;
        word.len = equal - p;
        ngx_http_usher_trim(&word);

        if (word.len != name->len
            || ngx_strncasecmp(word.data, name->data, name->len) != 0)
        {
            continue;
        }

        value.data = equal + 1;
        value.len = stop - value.data;
        ngx_http_usher_trim(&value);

        if (ngx_http_usher_take(ctx, &value) != NGX_OK) {
            rc = NGX_DECLINED;
        }
    }

    return rc;
}


static ngx_int_t
ngx_http_usher_find_variable(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_int_t index)
{
    ngx_str_t                   value;
    ngx_http_variable_value_t  *vv;

    vv = ngx_http_get_flushed_variable(r, index);

    if (vv == NULL) {
        return NGX_ERROR;
    }

    if (vv->not_found) {
        return NGX_OK;
    }

    value.len = vv->len;
    value.data = vv->data;

    return ngx_http_usher_take(ctx, &value);
}


ngx_int_t
ngx_http_usher_strip(ngx_http_request_t *r, ngx_array_t *sources)
{
    ngx_uint_t                i;
    ngx_http_usher_source_t  *source;

    source = sources->elts;

    for (i = 0; i < sources->nelts; i++) {

        if (source[i].from != NGX_HTTP_USHER_FROM_BEARER
            && source[i].from != NGX_HTTP_USHER_FROM_HEADER)
        {
            continue;
        }

        if (ngx_http_usher_headers(r, NULL, &source[i], 1) == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


void
ngx_http_usher_strip_logged(ngx_http_request_t *r)
{
    ngx_http_usher_srv_conf_t   *uscf;
    ngx_http_usher_main_conf_t  *umcf;

    /* before the first phase the server may not have been found yet */

    if (r->phase_handler == 0) {
        umcf = ngx_http_get_module_main_conf(r, ngx_http_usher_module);
        (void) ngx_http_usher_strip(r, &umcf->headers);
        return;
    }

    uscf = ngx_http_get_module_srv_conf(r, ngx_http_usher_module);
    (void) ngx_http_usher_strip(r, &uscf->headers);
}


/*
 * Takes element i out without moving another.  nginx takes it that no part
 * but the first is empty, and that a push to the last part may go on up to
 * list->nalloc elements: so that is lowered where the part lost room.
 */

static ngx_int_t
ngx_http_usher_list_delete(ngx_list_t *list, ngx_list_part_t *prev,
    ngx_list_part_t *part, ngx_uint_t i)
{
    u_char           *elts;
    ngx_list_part_t  *tail;

    if (i == part->nelts - 1 && (i > 0 || prev == NULL)) {
        part->nelts--;
        return NGX_OK;
    }

    elts = part->elts;

    if (i == 0 && part->nelts == 1) {
        prev->next = part->next;

        if (list->last == part) {
            list->last = prev;
            list->nalloc = prev->nelts ? prev->nelts : 1;
        }

        part->nelts = 0;

        return NGX_OK;
    }

    if (i == 0) {
        part->elts = elts + list->size;
        part->nelts--;

        if (list->last == part) {
            list->nalloc = part->nelts;
        }

        return NGX_OK;
    }

    tail = ngx_palloc(list->pool, sizeof(ngx_list_part_t));
    if (tail == NULL) {
        return NGX_ERROR;
    }

    tail->elts = elts + (i + 1) * list->size;
    tail->nelts = part->nelts - i - 1;
    tail->next = part->next;

    part->nelts = i;
    part->next = tail;

    if (list->last == part) {
        list->last = tail;
        list->nalloc = tail->nelts;
    }

    return NGX_OK;
}


char *
ngx_http_usher_credential(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_loc_conf_t *ulcf = conf;

    ngx_str_t                *value;
    ngx_uint_t                i;
    ngx_http_usher_source_t  *source;

    if (ulcf->sources != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    ulcf->sources = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                     sizeof(ngx_http_usher_source_t));
    if (ulcf->sources == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len < 2 || value[i].data[0] != '$') {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is not a variable in \"%V\"",
                               &value[i], &value[0]);
            return NGX_CONF_ERROR;
        }

        value[i].data++;
        value[i].len--;

        source = ngx_array_push(ulcf->sources);

        if (source == NULL
            || ngx_http_usher_source(cf, source, &value[i]) != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


ngx_array_t *
ngx_http_usher_default_sources(ngx_conf_t *cf)
{
    ngx_uint_t                i;
    ngx_array_t              *sources;
    ngx_http_usher_source_t  *source;

    static ngx_str_t  names[] = {
        ngx_string("http_authorization"),
        ngx_string("http_x_api_key")
    };

    sources = ngx_array_create(cf->pool, 2, sizeof(ngx_http_usher_source_t));
    if (sources == NULL) {
        return NULL;
    }

    for (i = 0; i < 2; i++) {
        source = ngx_array_push(sources);

        if (source == NULL
            || ngx_http_usher_source(cf, source, &names[i]) != NGX_OK)
        {
            return NULL;
        }
    }

    return sources;
}


/* The variable's name tells where to look. */

static ngx_int_t
ngx_http_usher_source(ngx_conf_t *cf, ngx_http_usher_source_t *source,
    ngx_str_t *name)
{
    source->name = *name;

    source->index = ngx_http_get_variable_index(cf, name);
    if (source->index == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (name->len == sizeof("http_authorization") - 1
        && ngx_strncasecmp(name->data, (u_char *) "http_authorization",
                           name->len)
           == 0)
    {
        source->from = NGX_HTTP_USHER_FROM_BEARER;
        ngx_str_set(&source->name, "authorization");
        return NGX_OK;
    }

    /* cookies stay where they are: other programs share that header */

    if (name->len > 5
        && ngx_strncasecmp(name->data, (u_char *) "http_", 5) == 0
        && !(name->len == 11
             && ngx_strncasecmp(name->data, (u_char *) "http_cookie", 11)
                == 0))
    {
        source->from = NGX_HTTP_USHER_FROM_HEADER;

        source->name.len = name->len - 5;
        source->name.data = ngx_pnalloc(cf->pool, source->name.len);
        if (source->name.data == NULL) {
            return NGX_ERROR;
        }

        ngx_strlow(source->name.data, name->data + 5, source->name.len);

        return NGX_OK;
    }

    if (name->len > 4
        && ngx_strncasecmp(name->data, (u_char *) "arg_", 4) == 0)
    {
        source->from = NGX_HTTP_USHER_FROM_ARGUMENT;
        source->name.data = name->data + 4;
        source->name.len = name->len - 4;

        return ngx_http_usher_add_argument(cf, &source->name);
    }

    if (name->len > 7
        && ngx_strncasecmp(name->data, (u_char *) "cookie_", 7) == 0)
    {
        source->from = NGX_HTTP_USHER_FROM_COOKIE;
        source->name.data = name->data + 7;
        source->name.len = name->len - 7;

        return NGX_OK;
    }

    source->from = NGX_HTTP_USHER_FROM_VARIABLE;

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_add_argument(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_str_t                   *argument;
    ngx_uint_t                   i;
    ngx_http_usher_srv_conf_t   *uscf;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_module);
    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_usher_module);

    argument = uscf->arguments.elts;

    for (i = 0; i < uscf->arguments.nelts; i++) {
        if (argument[i].len == name->len
            && ngx_strncmp(argument[i].data, name->data, name->len) == 0)
        {
            return NGX_OK;
        }
    }

    argument = ngx_array_push(&uscf->arguments);
    if (argument == NULL) {
        return NGX_ERROR;
    }

    *argument = *name;

    argument = ngx_array_push(&umcf->arguments);
    if (argument == NULL) {
        return NGX_ERROR;
    }

    *argument = *name;

    return NGX_OK;
}


/* Where usher_auth is on: the headers that must not be logged. */

ngx_int_t
ngx_http_usher_add_headers(ngx_conf_t *cf, ngx_array_t *sources)
{
    ngx_uint_t                   i;
    ngx_http_usher_source_t     *source;
    ngx_http_usher_srv_conf_t   *uscf;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_module);
    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_usher_module);

    source = sources->elts;

    for (i = 0; i < sources->nelts; i++) {

        if (source[i].from != NGX_HTTP_USHER_FROM_BEARER
            && source[i].from != NGX_HTTP_USHER_FROM_HEADER)
        {
            continue;
        }

        if (ngx_http_usher_add_header(&umcf->headers, &source[i]) != NGX_OK
            || ngx_http_usher_add_header(&uscf->headers, &source[i])
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_add_header(ngx_array_t *headers,
    ngx_http_usher_source_t *source)
{
    ngx_uint_t                i;
    ngx_http_usher_source_t  *header;

    header = headers->elts;

    for (i = 0; i < headers->nelts; i++) {
        if (header[i].index == source->index) {
            return NGX_OK;
        }
    }

    header = ngx_array_push(headers);
    if (header == NULL) {
        return NGX_ERROR;
    }

    *header = *source;

    return NGX_OK;
}
