
/*
 * ngx_http_usher_test_module.c - events on demand, and what the edge knows of
 * click ids, for tests; never built into a module that is installed.
 *
 *     usher_test_hook source      journals the request's body as a waiting,
 *                                 unique event, in parts when it is large:
 *                                 204 when synced, 503 when full
 *     usher_test_line             journals the body's lines as they are,
 *                                 through the log phase's way: 204, 503
 *
 *     usher_test_click            reads $arg_id as the id of a click: "ok" and
 *                                 its key and link, "malformed", "no key" or
 *                                 "forged"; 503 if it cannot be told now
 *
 * The delivery id of a hook is $arg_id.
 */


#include "ngx_http_usher_request.h"


#define NGX_HTTP_USHER_TEST_WHOLE  (8 * 1024)   /* of a body, without parts */


typedef struct {
    ngx_str_t  source;                 /* data NULL: none */
    ngx_flag_t line;
} ngx_http_usher_test_conf_t;


static ngx_int_t ngx_http_usher_test_handler(ngx_http_request_t *r);
static void ngx_http_usher_test_hook(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_test_event(ngx_http_request_t *r,
    ngx_str_t *body, ngx_uint_t parts);
static void ngx_http_usher_test_synced(ngx_http_request_t *r);
static void ngx_http_usher_test_line(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_test_click(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_test_body(ngx_http_request_t *r,
    ngx_str_t *body);
static void ngx_http_usher_test_answer(ngx_http_request_t *r, ngx_int_t rc);
static void *ngx_http_usher_test_create_conf(ngx_conf_t *cf);
static char *ngx_http_usher_test_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_usher_test_click_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);


static ngx_command_t  ngx_http_usher_test_commands[] = {

    { ngx_string("usher_test_hook"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_usher_test_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_test_line"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_usher_test_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_test_click"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_usher_test_click_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_test_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_usher_test_create_conf,       /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_usher_test_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_test_module_ctx,       /* module context */
    ngx_http_usher_test_commands,          /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_usher_test_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_http_usher_test_conf_t  *tcf;

    tcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_test_module);

    rc = ngx_http_read_client_request_body(r,
             tcf->line ? ngx_http_usher_test_line : ngx_http_usher_test_hook);

    return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
}


static void
ngx_http_usher_test_hook(ngx_http_request_t *r)
{
    off_t        len;
    ngx_int_t    rc;
    ngx_str_t    body, id;
    ngx_uint_t   parts;
    ngx_chain_t  *cl;

    len = 0;
    parts = 0;
    ngx_str_null(&body);

    for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {
        len += ngx_buf_size(cl->buf);
    }

    if (len > NGX_HTTP_USHER_TEST_WHOLE) {

        if (ngx_http_arg(r, (u_char *) "id", 2, &id) != NGX_OK) {
            rc = NGX_ERROR;

        } else {
            rc = ngx_http_usher_journal_parts(r, &id, r->request_body->bufs,
                                              &parts);
        }

    } else {
        rc = ngx_http_usher_test_body(r, &body);
    }

    if (rc == NGX_OK) {
        r->write_event_handler = ngx_http_usher_test_synced;
        rc = ngx_http_usher_test_event(r, &body, parts);
    }

    if (rc != NGX_AGAIN) {
        ngx_http_usher_test_answer(r, rc);
    }
}


static ngx_int_t
ngx_http_usher_test_event(ngx_http_request_t *r, ngx_str_t *body,
    ngx_uint_t parts)
{
    size_t                       size;
    u_char                      *line, *p;
    unsigned                     flags;
    ngx_str_t                    id;
    ngx_time_t                  *tp;
    ngx_http_usher_test_conf_t  *tcf;

    tcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_test_module);

    if (ngx_http_arg(r, (u_char *) "id", 2, &id) != NGX_OK) {
        return NGX_ERROR;
    }

    size = 1024 + 2 * body->len;
    line = ngx_pnalloc(r->pool, size);

    if (line == NULL) {
        return NGX_ERROR;
    }

    flags = 0;
    tp = ngx_timeofday();

    /* source, delivery_id, event_time, id, headers, body, parts, flags */

    p = ngx_sprintf(line, "h1\t");
    p = usher_event_text(p, tcf->source.data, tcf->source.len, 64, &flags);
    *p++ = '\t';
    p = usher_event_text(p, id.data, id.len, 128, &flags);
    *p++ = '\t';
    p = usher_event_time(p, (int64_t) tp->sec * 1000 + tp->msec);
    *p++ = '\t';
    p = usher_event_text(p, id.data, id.len, 128, &flags);
    p = ngx_sprintf(p, "\t{}\t");
    p = usher_event_bytes(p, body->data, body->len);

    p = ngx_sprintf(p, "\t%ui\t%ui\n", parts, (ngx_uint_t) flags);

    return ngx_http_usher_journal_append(r, line, p - line,
                                         NGX_HTTP_USHER_WAIT);
}


static void
ngx_http_usher_test_synced(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_usher_journal_synced(r);

    if (rc != NGX_AGAIN) {
        r->write_event_handler = ngx_http_request_empty_handler;
        ngx_http_usher_test_answer(r, rc);
    }
}


/* Each line as a request event would come: opened, written, committed. */

static void
ngx_http_usher_test_line(ngx_http_request_t *r)
{
    u_char     *p, *last, *next, *dst;
    ngx_int_t   rc;
    ngx_str_t   body;

    rc = ngx_http_usher_test_body(r, &body);

    p = body.data;
    last = p + body.len;

    while (rc == NGX_OK && p < last) {
        next = ngx_strlchr(p, last, LF);

        if (next == NULL) {
            break;
        }

        next++;
        dst = ngx_http_usher_journal_open(next - p);

        if (dst == NULL) {
            rc = NGX_BUSY;
            break;
        }

        ngx_memcpy(dst, p, next - p);
        ngx_http_usher_journal_commit(next - p);
        p = next;
    }

    ngx_http_usher_test_answer(r, rc);
}


static ngx_int_t
ngx_http_usher_test_click(ngx_http_request_t *r)
{
    size_t                      n;
    ngx_int_t                   rc;
    ngx_str_t                   id, type;
    usher_click_t               click;
    usher_click_key_t          *keys, *current;
    ngx_http_complex_value_t    cv;

    static u_char  ok[sizeof("ok 15 4294967295")];
    static char   *words[] = { (char *) ok, "malformed", "no key", "forged" };

    rc = ngx_http_usher_click_keys(r, &keys, &n, &current);

    if (rc == NGX_AGAIN) {
        r->main->count++;
        return NGX_DONE;
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    if (ngx_http_arg(r, (u_char *) "id", 2, &id) != NGX_OK) {
        return NGX_HTTP_BAD_REQUEST;
    }

    ngx_memzero(&click, sizeof(usher_click_t));
    rc = usher_click_read(id.data, id.len, keys, n, &click);

    ngx_sprintf(ok, "ok %ud %ud%Z", click.key, click.link);

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
    cv.value.data = (u_char *) words[rc];
    cv.value.len = ngx_strlen(words[rc]);
    ngx_str_set(&type, "text/plain");

    return ngx_http_send_response(r, NGX_HTTP_OK, &type, &cv);
}


static ngx_int_t
ngx_http_usher_test_body(ngx_http_request_t *r, ngx_str_t *body)
{
    u_char       *p;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    body->len = 0;

    for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {
        body->len += ngx_buf_size(cl->buf);
    }

    body->data = ngx_pnalloc(r->pool, body->len + 1);

    if (body->data == NULL) {
        return NGX_ERROR;
    }

    p = body->data;

    for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            p = ngx_cpymem(p, b->pos, ngx_buf_size(b));
            continue;
        }

        n = ngx_read_file(b->file, p, ngx_buf_size(b), b->file_pos);

        if (n != ngx_buf_size(b)) {
            return NGX_ERROR;
        }

        p += n;
    }

    return NGX_OK;
}


static void
ngx_http_usher_test_answer(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_uint_t  status;

    status = (rc == NGX_OK) ? NGX_HTTP_NO_CONTENT
             : (rc == NGX_BUSY) ? NGX_HTTP_SERVICE_UNAVAILABLE
             : NGX_HTTP_INTERNAL_SERVER_ERROR;

    if (status != NGX_HTTP_NO_CONTENT) {
        ngx_http_finalize_request(r, status);
        return;
    }

    r->headers_out.status = status;
    r->headers_out.content_length_n = 0;
    r->header_only = 1;

    ngx_http_finalize_request(r, ngx_http_send_header(r));
}


static void *
ngx_http_usher_test_create_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_test_conf_t));
}


static char *
ngx_http_usher_test_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_test_conf_t  *tcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    value = cf->args->elts;

    if (cf->args->nelts == 2) {
        tcf->source = value[1];
        ngx_http_usher_journal_waits(cf, &value[0]);

    } else {
        tcf->line = 1;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_usher_test_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_test_click_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_usher_test_click;

    return NGX_CONF_OK;
}
