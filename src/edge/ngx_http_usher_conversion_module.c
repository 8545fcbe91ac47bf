
/*
 * ngx_http_usher_conversion_module.c - usher_conversion: what networks and
 * shops tell of conversions.
 *
 *     location = /postback { usher_conversion [token] [cookie=name]; }
 *
 * DESIGN
 *
 * The variable is the token of a postback, by which its record is found.  It
 * is looked up, its addresses are checked, the body is read, and what is said
 * is an event that has been synced before it is answered 200.  Whoever is
 * answered otherwise sends it again, and the same again is no second
 * conversion: usher.conversion_key sees to that.
 *
 * The request waits for the record and the keys of clicks, for the body, and
 * for the sync.  Where it has waited for a record its handler runs again from
 * the start, and finds what it knows in its state.
 */


#include "ngx_http_usher_conversion.h"


/* How it ends. */
typedef struct {
    ngx_str_t    word;
    ngx_uint_t   status;
    const char  *title;
    ngx_str_t    hint;
    size_t       counter;      /* in ngx_http_usher_counters_t */
} ngx_http_usher_conversion_end_t;


static ngx_int_t ngx_http_usher_conversion_handler(ngx_http_request_t *r);
static ngx_http_usher_conversion_t *ngx_http_usher_conversion_state(
    ngx_http_request_t *r);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_find(
    ngx_http_request_t *r, ngx_http_usher_conversion_t *conversion);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_lookup(
    ngx_http_request_t *r, ngx_http_usher_conversion_t *conversion);
static void ngx_http_usher_conversion_body(ngx_http_request_t *r);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_take(
    ngx_http_request_t *r, ngx_http_usher_conversion_t *conversion);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_text(
    ngx_http_request_t *r, ngx_str_t *body);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_journal(
    ngx_http_request_t *r, ngx_http_usher_conversion_t *conversion);
static void ngx_http_usher_conversion_synced(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_conversion_answer(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion);
static ngx_int_t ngx_http_usher_conversion_refuse(ngx_http_request_t *r,
    const ngx_http_usher_conversion_end_t *end);
static ngx_int_t ngx_http_usher_conversion_send(ngx_http_request_t *r,
    ngx_uint_t pixel);
static ngx_int_t ngx_http_usher_conversion_not_allowed(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_conversion_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_int_t ngx_http_usher_conversion_add_variables(ngx_conf_t *cf);
static char *ngx_http_usher_conversion(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void *ngx_http_usher_conversion_create_conf(ngx_conf_t *cf);
static char *ngx_http_usher_conversion_merge_conf(ngx_conf_t *cf,
    void *parent, void *child);


#define NGX_HTTP_USHER_CONVERSION_END(name, word, status, title, hint,        \
    counter)                                                                  \
    { ngx_string(word), status, title, ngx_string(hint),                      \
      offsetof(ngx_http_usher_counters_t, conversions_##counter) },

static const ngx_http_usher_conversion_end_t
    ngx_http_usher_conversion_ends[] = {
    { ngx_null_string, 0, NULL, ngx_null_string, 0 },
    NGX_HTTP_USHER_CONVERSIONS(NGX_HTTP_USHER_CONVERSION_END)
};

#undef NGX_HTTP_USHER_CONVERSION_END


/* One transparent pixel. */
static u_char  ngx_http_usher_pixel[] =
    "GIF89a\x01\0\x01\0\x80\x01\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\x01\0,"
    "\0\0\0\0\x01\0\x01\0\0\x02\x02\x4c\x01\0;";


static ngx_command_t  ngx_http_usher_conversion_commands[] = {

    { ngx_string("usher_conversion"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE12,
      ngx_http_usher_conversion,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_usher_conversion_conf_t, token),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_conversion_module_ctx = {
    ngx_http_usher_conversion_add_variables,   /* preconfiguration */
    NULL,                                      /* postconfiguration */

    NULL,                                      /* create main configuration */
    NULL,                                      /* init main configuration */

    NULL,                                      /* create server configuration */
    NULL,                                      /* merge server configuration */

    ngx_http_usher_conversion_create_conf,     /* create location
                                                  configuration */
    ngx_http_usher_conversion_merge_conf       /* merge location
                                                  configuration */
};


ngx_module_t  ngx_http_usher_conversion_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_conversion_module_ctx, /* module context */
    ngx_http_usher_conversion_commands,    /* module directives */
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
ngx_http_usher_conversion_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_usher_conversion_t  *conversion;

    if (r != r->main) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_POST))) {
        return ngx_http_usher_conversion_not_allowed(r);
    }

    conversion = ngx_http_usher_conversion_state(r);

    if (conversion == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    conversion->status = ngx_http_usher_conversion_find(r, conversion);

    if (conversion->status == NGX_HTTP_USHER_CONVERSION_AGAIN) {
        r->main->count++;
        return NGX_DONE;
    }

    if (conversion->status != NGX_HTTP_USHER_CONVERSION_TAKEN) {
        return ngx_http_usher_conversion_answer(r, conversion);
    }

    /* not taken yet: the body may not come */

    conversion->status = NGX_HTTP_USHER_CONVERSION_AGAIN;

    rc = ngx_http_read_client_request_body(r, ngx_http_usher_conversion_body);

    return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
}


static ngx_http_usher_conversion_t *
ngx_http_usher_conversion_state(ngx_http_request_t *r)
{
    ngx_http_usher_ctx_t  *ctx;

    ctx = ngx_http_usher_ctx(r, 1);

    if (ctx == NULL) {
        return NULL;
    }

    if (ctx->conversion == NULL) {
        ctx->conversion = ngx_pcalloc(r->pool,
                                      sizeof(ngx_http_usher_conversion_t));
    }

    return ctx->conversion;
}


/* Which postback it is, whether it may come from there, and keys of clicks. */

static ngx_http_usher_conversion_e
ngx_http_usher_conversion_find(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion)
{
    size_t                             n;
    usher_click_key_t                 *keys, *current;
    ngx_http_usher_conversion_e        status;
    ngx_http_usher_conversion_conf_t  *ccf;

    ccf = ngx_http_get_module_loc_conf(r, ngx_http_usher_conversion_module);

    if (!conversion->known) {

        if (ngx_http_complex_value(r, ccf->token, &conversion->token)
            != NGX_OK)
        {
            return NGX_HTTP_USHER_CONVERSION_FAILED;
        }

        status = ngx_http_usher_conversion_lookup(r, conversion);

        if (status != NGX_HTTP_USHER_CONVERSION_TAKEN) {
            return status;
        }

        conversion->known = 1;
    }

    if (!ngx_http_usher_address_allowed(r, &conversion->postback.allow)) {
        return NGX_HTTP_USHER_CONVERSION_ADDRESS;
    }

    if (r->headers_in.content_length_n > NGX_HTTP_USHER_CONVERSION_BODY) {
        return NGX_HTTP_USHER_CONVERSION_TOO_LARGE;
    }

    /*
     * An error_page led here from who passes the body on while it comes: some
     * of it may have gone, or is still to come.
     */

    if (r->method == NGX_HTTP_POST && r->request_body_no_buffering) {
        return NGX_HTTP_USHER_CONVERSION_FAILED;
    }

    /* all that is waited for is so before the body, which may take longer */

    switch (ngx_http_usher_click_keys(r, &keys, &n, &current)) {

    case NGX_OK:
        return NGX_HTTP_USHER_CONVERSION_TAKEN;

    case NGX_AGAIN:
        return NGX_HTTP_USHER_CONVERSION_AGAIN;

    default: /* NGX_BUSY, NGX_ABORT, NGX_ERROR */
        return NGX_HTTP_USHER_CONVERSION_UNAVAILABLE;
    }
}


static ngx_http_usher_conversion_e
ngx_http_usher_conversion_lookup(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion)
{
    size_t       i, len;
    u_char      *copy;
    ngx_str_t   *token;

    static u_char  buf[NGX_HTTP_USHER_RECORD_MAX];

    /* what cannot be one asks nobody */

    token = &conversion->token;

    if (token->len != NGX_HTTP_USHER_TOKEN) {
        return NGX_HTTP_USHER_CONVERSION_UNKNOWN;
    }

    for (i = 0; i < token->len; i++) {
        if (!((token->data[i] >= 'a' && token->data[i] <= 'z')
              || (token->data[i] >= '2' && token->data[i] <= '7')))
        {
            return NGX_HTTP_USHER_CONVERSION_UNKNOWN;
        }
    }

    switch (ngx_http_usher_directory_record(r, NGX_HTTP_USHER_KIND_POSTBACK,
                                            token, buf, &len))
    {
    case NGX_OK:
        break;

    case NGX_AGAIN:
        return NGX_HTTP_USHER_CONVERSION_AGAIN;

    case NGX_DECLINED:
        return NGX_HTTP_USHER_CONVERSION_UNKNOWN;

    case NGX_ABORT:
        return NGX_HTTP_USHER_CONVERSION_THROTTLED;

    default: /* NGX_BUSY, NGX_ERROR */
        return NGX_HTTP_USHER_CONVERSION_UNAVAILABLE;
    }

    copy = ngx_pnalloc(r->pool, len);

    if (copy == NULL) {
        return NGX_HTTP_USHER_CONVERSION_FAILED;
    }

    ngx_memcpy(copy, buf, len);

    return ngx_http_usher_postback_unpack(copy, len, &conversion->postback)
           == NGX_OK ? NGX_HTTP_USHER_CONVERSION_TAKEN
                     : NGX_HTTP_USHER_CONVERSION_UNAVAILABLE;
}


static void
ngx_http_usher_conversion_body(ngx_http_request_t *r)
{
    ngx_http_usher_conversion_t  *conversion;

    conversion = ngx_http_usher_ctx(r, 0)->conversion;
    conversion->status = ngx_http_usher_conversion_take(r, conversion);

    if (conversion->status == NGX_HTTP_USHER_CONVERSION_AGAIN) {
        return;
    }

    ngx_http_finalize_request(r,
                              ngx_http_usher_conversion_answer(r, conversion));
}


static ngx_http_usher_conversion_e
ngx_http_usher_conversion_take(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion)
{
    ngx_http_usher_conversion_e  status;

    ngx_str_null(&conversion->body);

    if (r->method == NGX_HTTP_POST) {
        status = ngx_http_usher_conversion_text(r, &conversion->body);

        if (status != NGX_HTTP_USHER_CONVERSION_TAKEN) {
            return status;
        }
    }

    status = ngx_http_usher_conversion_read(r, conversion);

    if (status != NGX_HTTP_USHER_CONVERSION_TAKEN) {
        return status;
    }

    return ngx_http_usher_conversion_journal(r, conversion);
}


/* The body in one piece. */

static ngx_http_usher_conversion_e
ngx_http_usher_conversion_text(ngx_http_request_t *r, ngx_str_t *body)
{
    off_t         size;
    u_char       *p;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    /* an error_page led here from who has discarded it */

    if (r->request_body == NULL) {
        return NGX_HTTP_USHER_CONVERSION_FAILED;
    }

    size = 0;

    for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {
        size += ngx_buf_size(cl->buf);

        if (size > NGX_HTTP_USHER_CONVERSION_BODY) {
            return NGX_HTTP_USHER_CONVERSION_TOO_LARGE;
        }
    }

    p = ngx_pnalloc(r->pool, (size_t) size + 1);

    if (p == NULL) {
        return NGX_HTTP_USHER_CONVERSION_FAILED;
    }

    body->data = p;
    body->len = (size_t) size;

    for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            p = ngx_cpymem(p, b->pos, b->last - b->pos);
            continue;
        }

        size = ngx_buf_size(b);

        if (size == 0) {
            continue;
        }

        n = ngx_read_file(b->file, p, (size_t) size, b->file_pos);

        if (n != (ssize_t) size) {
            return NGX_HTTP_USHER_CONVERSION_FAILED;
        }

        p += n;
    }

    return NGX_HTTP_USHER_CONVERSION_TAKEN;
}


static ngx_http_usher_conversion_e
ngx_http_usher_conversion_journal(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion)
{
    ngx_int_t  rc;

    r->write_event_handler = ngx_http_usher_conversion_synced;

    rc = ngx_http_usher_conversion_event(r, conversion);

    if (rc == NGX_AGAIN) {
        return NGX_HTTP_USHER_CONVERSION_AGAIN;
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    if (rc != NGX_BUSY) {
        return rc == NGX_OK ? NGX_HTTP_USHER_CONVERSION_TAKEN
                            : NGX_HTTP_USHER_CONVERSION_FAILED;
    }

    if (ngx_http_usher_journal_full(r, 'v') == NGX_HTTP_USHER_FULL_DENY) {
        return NGX_HTTP_USHER_CONVERSION_FULL;
    }

    ngx_http_usher_count(journal_dropped);

    return NGX_HTTP_USHER_CONVERSION_TAKEN;
}


static void
ngx_http_usher_conversion_synced(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_usher_conversion_t  *conversion;

    rc = ngx_http_usher_journal_synced(r);

    if (rc == NGX_AGAIN) {
        return;
    }

    conversion = ngx_http_usher_ctx(r, 0)->conversion;
    conversion->status = rc == NGX_OK ? NGX_HTTP_USHER_CONVERSION_TAKEN
                                      : NGX_HTTP_USHER_CONVERSION_FAILED;

    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_finalize_request(r,
                              ngx_http_usher_conversion_answer(r, conversion));
}


static ngx_int_t
ngx_http_usher_conversion_answer(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion)
{
    uint64_t                               *counter;
    const ngx_http_usher_conversion_end_t  *end;

    end = &ngx_http_usher_conversion_ends[conversion->status];

    counter = (uint64_t *) ((u_char *) ngx_http_usher_counters + end->counter);
    *counter += 1;

    ngx_http_usher_count(conversions[conversion->status]);

    return end->status == NGX_HTTP_OK
           ? ngx_http_usher_conversion_send(r, conversion->postback.pixel)
           : ngx_http_usher_conversion_refuse(r, end);
}


static ngx_int_t
ngx_http_usher_conversion_refuse(ngx_http_request_t *r,
    const ngx_http_usher_conversion_end_t *end)
{
    ngx_http_usher_problem_t  problem;

    if ((end->status == NGX_HTTP_SERVICE_UNAVAILABLE
         || end->status == NGX_HTTP_TOO_MANY_REQUESTS)
        && ngx_http_usher_retry_after(r, 1) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&problem, sizeof(ngx_http_usher_problem_t));

    problem.status = end->status;
    problem.title = end->title;
    problem.detail = end->hint;
    problem.reason = end->word;

    if (end->status == NGX_HTTP_SERVICE_UNAVAILABLE) {
        problem.type = "https://iana.org/assignments/http-problem-types"
                       "#temporary-reduced-capacity";

    } else if (end->status == NGX_HTTP_TOO_MANY_REQUESTS) {
        problem.type = "https://iana.org/assignments/http-problem-types"
                       "#abnormal-usage-detected";
    }

    return ngx_http_usher_problem_content(r, &problem);
}


/* Digistore24 takes an answer for good that begins with OK. */

static ngx_int_t
ngx_http_usher_conversion_send(ngx_http_request_t *r, ngx_uint_t pixel)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    static ngx_str_t  name = ngx_string("Cache-Control");
    static ngx_str_t  value = ngx_string("no-store");
    static ngx_str_t  text = ngx_string("text/plain");
    static ngx_str_t  image = ngx_string("image/gif");
    static u_char     ok[] = "OK";

    if (ngx_http_usher_header(r, &name, &value) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_calloc_buf(r->pool);

    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->pos = pixel ? ngx_http_usher_pixel : ok;
    b->last = b->pos + (pixel ? sizeof(ngx_http_usher_pixel)
                              : sizeof(ok)) - 1;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    /* it is taken: no condition of the client's makes it another answer */

    r->disable_not_modified = 1;

    /* nor an error_page that led here */

    r->err_status = NGX_HTTP_OK;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    r->headers_out.content_type = pixel ? image : text;
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_http_usher_conversion_not_allowed(ngx_http_request_t *r)
{
    static ngx_str_t  name = ngx_string("Allow");
    static ngx_str_t  value = ngx_string("GET, POST");

    return ngx_http_usher_header(r, &name, &value)
           ? NGX_HTTP_NOT_ALLOWED : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static ngx_int_t
ngx_http_usher_conversion_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_usher_ctx_t         *ctx;
    ngx_http_usher_conversion_t  *conversion;
    const ngx_str_t              *word;

    ctx = ngx_http_usher_ctx(r, 0);
    conversion = ctx ? ctx->conversion : NULL;

    if (conversion == NULL
        || conversion->status == NGX_HTTP_USHER_CONVERSION_NONE
        || conversion->status == NGX_HTTP_USHER_CONVERSION_AGAIN)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    word = &ngx_http_usher_conversion_ends[conversion->status].word;

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = word->len;
    v->data = word->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_conversion_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var;

    static ngx_str_t  name = ngx_string("usher_conversion_status");

    var = ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);

    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_usher_conversion_variable;

    return NGX_OK;
}


static char *
ngx_http_usher_conversion(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_conversion_conf_t *ccf = conf;

    ngx_str_t                         *value, *token, name;
    ngx_uint_t                         i;
    ngx_http_core_loc_conf_t          *clcf;
    ngx_http_compile_complex_value_t   ccv;

    static ngx_str_t  argument = ngx_string("$arg_postback");
    static ngx_str_t  secret = ngx_string(NGX_HTTP_USHER_SECRET_ARGUMENT);

    if (ccf->token != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;
    token = NULL;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "cookie=", 7) != 0) {

            if (token != NULL) {
                return "has two tokens";
            }

            token = &value[i];
            continue;
        }

        name.data = value[i].data + 7;
        name.len = value[i].len - 7;

        ccf->cookie = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_cookie_t));

        if (ccf->cookie == NULL
            || ngx_http_usher_cookie_name(cf, &name, ccf->cookie)
               != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    ccf->token = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));

    if (ccf->token == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = token ? token : &argument;
    ccv.complex_value = ccf->token;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK
        || ngx_http_usher_add_argument(cf, &secret) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_usher_conversion_handler;

    ngx_http_usher_needs_zone(cf, &value[0]);
    ngx_http_usher_needs_redis(cf, &value[0]);
    ngx_http_usher_journal_waits(cf, &value[0]);

    return NGX_CONF_OK;
}


static void *
ngx_http_usher_conversion_create_conf(ngx_conf_t *cf)
{
    /* token = NULL, cookie = NULL */

    return ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_conversion_conf_t));
}


static char *
ngx_http_usher_conversion_merge_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_usher_conversion_conf_t *prev = parent;
    ngx_http_usher_conversion_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    /* an "if" and a limit_except keep the handler of their location */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if ((clcf->noname || clcf->lmt_excpt) && clcf->handler == NULL) {
        conf->token = prev->token;
        conf->cookie = prev->cookie;

        if (conf->token != NULL) {
            clcf->handler = ngx_http_usher_conversion_handler;
        }
    }

    return NGX_CONF_OK;
}
