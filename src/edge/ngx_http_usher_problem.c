
/*
 * ngx_http_usher_problem.c - answers that say what is wrong (RFC 9457).
 *
 * DESIGN
 *
 * Where the location has an error_page for the status, the status is
 * returned and nginx does the rest; headers that were set before survive
 * that.  The same where the client would rather have HTML: nginx has the
 * page.  Otherwise the problem is sent here and the request finalized, and
 * the phase handler returns NGX_DONE.
 */


#include "ngx_http_usher_request.h"


#define NGX_HTTP_USHER_AS_JSON   0
#define NGX_HTTP_USHER_AS_HTML   1
#define NGX_HTTP_USHER_AS_EMPTY  2


/* The quality (0 to 1000) a client gives a type, and how exactly. */
typedef struct {
    ngx_int_t  quality;
    ngx_int_t  level;          /* 0: not at all, 1: any, 2: main type, 3 */
} ngx_http_usher_accept_t;


static ngx_int_t ngx_http_usher_problem_answer(ngx_http_request_t *r,
    ngx_http_usher_problem_t *problem, ngx_uint_t *sent);
static ngx_uint_t ngx_http_usher_error_page(ngx_http_request_t *r,
    ngx_uint_t status);
static ngx_uint_t ngx_http_usher_negotiate(ngx_http_request_t *r);
static void ngx_http_usher_accept(u_char *p, u_char *end,
    ngx_http_usher_accept_t *json, ngx_http_usher_accept_t *html);
static ngx_int_t ngx_http_usher_quality(u_char *p, u_char *end);
static void ngx_http_usher_prefer(ngx_http_usher_accept_t *accept,
    ngx_int_t level, ngx_int_t quality);
static ngx_int_t ngx_http_usher_no_store(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_problem_text(ngx_http_request_t *r,
    ngx_http_usher_problem_t *problem, ngx_str_t *text);
static u_char *ngx_http_usher_problem_id(ngx_http_request_t *r,
    u_char id[3 * USHER_REQUEST_ID_MAX]);
static ngx_int_t ngx_http_usher_problem_send(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *text);


ngx_int_t
ngx_http_usher_problem(ngx_http_request_t *r,
    ngx_http_usher_problem_t *problem)
{
    ngx_int_t   rc;
    ngx_uint_t  sent;

    rc = ngx_http_usher_problem_answer(r, problem, &sent);

    if (!sent) {
        return rc;
    }

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


ngx_int_t
ngx_http_usher_problem_content(ngx_http_request_t *r,
    ngx_http_usher_problem_t *problem)
{
    ngx_uint_t  sent;

    return ngx_http_usher_problem_answer(r, problem, &sent);
}


/* What the request is to be finalized with; sent: it has its answer. */

static ngx_int_t
ngx_http_usher_problem_answer(ngx_http_request_t *r,
    ngx_http_usher_problem_t *problem, ngx_uint_t *sent)
{
    ngx_str_t   text;
    ngx_uint_t  as;

    *sent = 0;

    if (ngx_http_usher_no_store(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* nginx closes the connection for the first */

    if (problem->status == NGX_HTTP_CLOSE
        || ngx_http_usher_error_page(r, problem->status))
    {
        return problem->status;
    }

    as = ngx_http_usher_negotiate(r);

    if (as == NGX_HTTP_USHER_AS_HTML) {
        return problem->status;
    }

    ngx_str_null(&text);

    if (as == NGX_HTTP_USHER_AS_JSON
        && ngx_http_usher_problem_text(r, problem, &text) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    *sent = 1;

    return ngx_http_usher_problem_send(r, problem->status, &text);
}


/* As ngx_http_special_response_handler() decides. */

static ngx_uint_t
ngx_http_usher_error_page(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_uint_t                 i;
    ngx_http_err_page_t       *page;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (r->error_page || clcf->error_pages == NULL || r->uri_changes == 0) {
        return 0;
    }

    page = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {
        if (page[i].status == (ngx_int_t) status) {
            return 1;
        }
    }

    return 0;
}


/*
 * JSON, unless the client asks for HTML more clearly (browsers name it and
 * take the rest by a wildcard), or for neither.
 */

static ngx_uint_t
ngx_http_usher_negotiate(ngx_http_request_t *r)
{
    ngx_uint_t                i, asked;
    ngx_list_part_t          *part;
    ngx_table_elt_t          *h;
    ngx_http_usher_accept_t   json, html;

    ngx_memzero(&json, sizeof(ngx_http_usher_accept_t));
    ngx_memzero(&html, sizeof(ngx_http_usher_accept_t));

    asked = 0;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].key.len == 6
                && ngx_strncmp(h[i].lowcase_key, "accept", 6) == 0)
            {
                asked = 1;
                ngx_http_usher_accept(h[i].value.data,
                                      h[i].value.data + h[i].value.len,
                                      &json, &html);
            }
        }
    }

    if (!asked) {
        return NGX_HTTP_USHER_AS_JSON;
    }

    if (json.quality == 0 && html.quality == 0) {
        return NGX_HTTP_USHER_AS_EMPTY;
    }

    if (html.quality > json.quality
        || (html.quality == json.quality && html.level > json.level))
    {
        return NGX_HTTP_USHER_AS_HTML;
    }

    return NGX_HTTP_USHER_AS_JSON;
}


static void
ngx_http_usher_accept(u_char *p, u_char *end, ngx_http_usher_accept_t *json,
    ngx_http_usher_accept_t *html)
{
    size_t      i, len;
    u_char     *stop, *q;
    ngx_int_t   quality;

    static struct {
        ngx_str_t   name;
        ngx_int_t   json;          /* levels */
        ngx_int_t   html;
    } types[] = {
        { ngx_string("*/*"), 1, 1 },
        { ngx_string("application/*"), 2, 0 },
        { ngx_string("text/*"), 0, 2 },
        { ngx_string("application/json"), 3, 0 },
        { ngx_string("application/problem+json"), 3, 0 },
        { ngx_string("text/html"), 0, 3 }
    };

    for ( /* void */ ; p < end; p = stop + 1) {

        while (p < end && (*p == ' ' || *p == '\t')) {
            p++;
        }

        stop = ngx_strlchr(p, end, ',');
        if (stop == NULL) {
            stop = end;
        }

        for (q = p; q < stop && *q != ';' && *q != ' '; q++) { /* void */ }

        len = q - p;
        quality = ngx_http_usher_quality(q, stop);

        for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {

            if (len == types[i].name.len
                && ngx_strncasecmp(p, types[i].name.data, len) == 0)
            {
                ngx_http_usher_prefer(json, types[i].json, quality);
                ngx_http_usher_prefer(html, types[i].html, quality);
            }
        }
    }
}


/* The q of the parameters from p on, in thousandths. */

static ngx_int_t
ngx_http_usher_quality(u_char *p, u_char *end)
{
    ngx_int_t  quality, unit;

    while (end - p >= 3) {

        if (ngx_strncasecmp(p, (u_char *) ";q=", 3) != 0
            && ngx_strncasecmp(p, (u_char *) " q=", 3) != 0)
        {
            p++;
            continue;
        }

        p += 3;

        if (p < end && *p == '1') {
            return 1000;
        }

        quality = 0;
        unit = 100;

        for (p += 2; p < end && *p >= '0' && *p <= '9' && unit; p++) {
            quality += (*p - '0') * unit;
            unit /= 10;
        }

        return quality;
    }

    return 1000;
}


/* The most exact mention counts, whatever its quality. */

static void
ngx_http_usher_prefer(ngx_http_usher_accept_t *accept, ngx_int_t level,
    ngx_int_t quality)
{
    if (level == 0 || level < accept->level) {
        return;
    }

    if (level > accept->level || quality > accept->quality) {
        accept->level = level;
        accept->quality = quality;
    }
}


static ngx_int_t
ngx_http_usher_no_store(ngx_http_request_t *r)
{
    static ngx_str_t  name = ngx_string("Cache-Control");
    static ngx_str_t  value = ngx_string("no-store");

    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    /* once, though a refusal may lead to another */

    for (part = &r->headers_out.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash && h[i].value.data == value.data) {
                return NGX_OK;
            }
        }
    }

    return ngx_http_usher_header(r, &name, &value) ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_usher_problem_text(ngx_http_request_t *r,
    ngx_http_usher_problem_t *problem, ngx_str_t *text)
{
    size_t       len;
    u_char      *p, *end;
    ngx_str_t    detail;
    const char  *type;
    u_char       id[3 * USHER_REQUEST_ID_MAX];

    end = ngx_http_usher_problem_id(r, id);

    if (end == NULL
        || ngx_http_usher_json(r->pool, &problem->detail, &detail) != NGX_OK)
    {
        return NGX_ERROR;
    }

    type = problem->type ? problem->type : "about:blank";

    len = ngx_strlen(type) + ngx_strlen(problem->title) + detail.len
          + problem->reason.len + problem->members.len + sizeof(id) + 256;

    text->data = ngx_pnalloc(r->pool, len);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_snprintf(text->data, len,
                     "{\"type\":\"%s\",\"title\":\"%s\",\"status\":%ui",
                     type, problem->title, problem->status);

    if (detail.len) {
        p = ngx_slprintf(p, text->data + len, ",\"detail\":\"%V\"", &detail);
    }

    p = ngx_slprintf(p, text->data + len,
                     ",\"reason\":\"%V\"%V,"
                     "\"instance\":\"urn:usher:request:%*s\"}\n",
                     &problem->reason, &problem->members,
                     (size_t) (end - id), id);

    text->len = p - text->data;

    return NGX_OK;
}


/*
 * The request's id as in its event, and as a part of a URI: it may be the
 * client's text.  Returns the end; NULL on errors.
 */

static u_char *
ngx_http_usher_problem_id(ngx_http_request_t *r,
    u_char id[3 * USHER_REQUEST_ID_MAX])
{
    ngx_str_t  text;

    if (ngx_http_usher_request_id_text(r, &text) != NGX_OK) {
        return NULL;
    }

    return (u_char *) ngx_escape_uri(id, text.data,
                                     ngx_min(text.len, USHER_REQUEST_ID_MAX),
                                     NGX_ESCAPE_URI_COMPONENT);
}


static ngx_int_t
ngx_http_usher_problem_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *text)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->expect_tested = 1;

    if (ngx_http_discard_request_body(r) != NGX_OK) {
        r->keepalive = 0;
    }

    /* an error_page that led here may have set another */

    r->err_status = status;
    r->headers_out.status = status;
    r->headers_out.content_length_n = text->len;

    if (text->len) {
        ngx_str_set(&r->headers_out.content_type, "application/problem+json");
        r->headers_out.content_type_len = r->headers_out.content_type.len;
        r->headers_out.content_type_lowcase = NULL;

    } else {
        r->headers_out.content_type.len = 0;
    }

    if (r->headers_out.content_length) {
        r->headers_out.content_length->hash = 0;
        r->headers_out.content_length = NULL;
    }

    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = text->data;
    b->last = text->data + text->len;
    b->memory = text->len ? 1 : 0;
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_http_usher_retry_after(ngx_http_request_t *r, uint64_t seconds)
{
    u_char           *p;
    ngx_str_t         value;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    static ngx_str_t  name = ngx_string("Retry-After");

    if (seconds < 1) {
        seconds = 1;
    }

    /* those who wait for the same moment shall not all come at once */

    if (seconds >= 10) {
        seconds += (uint64_t) ngx_random() % (seconds / 10 + 1);
    }

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    value.len = ngx_http_usher_decimal(p, seconds) - p;

    /* once, though a refusal may lead to another */

    for (part = &r->headers_out.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash && h[i].key.data == name.data) {
                h[i].value = value;
                return NGX_OK;
            }
        }
    }

    return ngx_http_usher_header(r, &name, &value) ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_usher_json(ngx_pool_t *pool, ngx_str_t *src, ngx_str_t *dst)
{
    dst->len = src->len
               + ngx_escape_json(NULL, src->data, src->len);

    if (dst->len == src->len) {
        *dst = *src;
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(pool, dst->len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_escape_json(dst->data, src->data, src->len);

    return NGX_OK;
}
