
/*
 * ngx_http_usher_link_id.c - the id of a click, and variables of a click.
 *
 * DESIGN
 *
 * Every click of a link has an id, a robot's and a HEAD request's as well: it
 * is an event, and whoever asks about it names it.  What is no link's has
 * none, for there is nobody to be sent a conversion for it.
 *
 * Ids of one second and link are told apart by their counter.  It begins at
 * random in each worker, and the workers of a node never share a number: of n
 * workers, one takes every n-th.
 */


#include "ngx_http_usher_link.h"

#include <openssl/rand.h>


/* Numbers of this worker: begin at random, and go on by step. */
typedef struct {
    uint64_t     next;
    uint64_t     step;       /* 0: not begun */
    uint64_t     end;        /* the numbers below it are a multiple of step */
} ngx_http_usher_link_numbers_t;


static uint32_t ngx_http_usher_link_number(void);
static void ngx_http_usher_link_begin(ngx_http_usher_link_numbers_t *numbers);
static ngx_int_t ngx_http_usher_link_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_link_reason_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_http_usher_link_vars[] = {

    { ngx_string("usher_click_id"), NULL, ngx_http_usher_link_id_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("usher_click_reason"), NULL,
      ngx_http_usher_link_reason_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_usher_link_id(ngx_http_request_t *r, ngx_http_usher_click_t *click)
{
    size_t              n;
    u_char             *text;
    ngx_int_t           rc;
    usher_click_t       parts;
    usher_click_key_t  *keys, *current;

    rc = ngx_http_usher_click_keys(r, &keys, &n, &current);

    if (rc == NGX_AGAIN || rc == NGX_ERROR) {
        return rc;
    }

    /* a visitor is sent on without one: no other answer would help anybody */

    if (rc != NGX_OK || current == NULL) {
        return NGX_OK;
    }

    text = ngx_pnalloc(r->pool, USHER_CLICK_TEXT);
    if (text == NULL) {
        return NGX_ERROR;
    }

    parts.time = (uint32_t) ngx_time();
    parts.link = (uint32_t) click->link->id;
    parts.counter = ngx_http_usher_link_number();

    if (usher_click_make(text, current, &parts) != 0) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "usher: HMAC-SHA256 failed, a click has no id");
        return NGX_OK;
    }

    click->id.data = text;
    click->id.len = USHER_CLICK_TEXT;
    click->keys = keys;
    click->nkeys = n;

    return NGX_OK;
}


static uint32_t
ngx_http_usher_link_number(void)
{
    uint64_t  n;

    static ngx_http_usher_link_numbers_t  numbers;

    if (numbers.step == 0) {
        ngx_http_usher_link_begin(&numbers);
    }

    n = numbers.next;
    numbers.next += numbers.step;

    if (numbers.next >= numbers.end) {
        numbers.next -= numbers.end;
    }

    return (uint32_t) n;
}


static void
ngx_http_usher_link_begin(ngx_http_usher_link_numbers_t *numbers)
{
    uint32_t          first;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    if (RAND_bytes((u_char *) &first, sizeof(uint32_t)) != 1) {
        first = (uint32_t) (((uint64_t) ngx_random() << 16) ^ ngx_random()
                            ^ ((uint64_t) ngx_pid << 8));
    }

    numbers->step = ngx_max(ccf->worker_processes, 1);
    numbers->end = ((uint64_t) 1 << 32) / numbers->step * numbers->step;
    numbers->next = first % numbers->end / numbers->step * numbers->step
                    + ngx_worker % numbers->step;
}


void
ngx_http_usher_link_show(ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_click_t *click)
{
    const usher_click_reason_t  *reason;

    reason = usher_click_reason((unsigned) click->reason);

    ctx->click_id = click->id;
    ctx->click_reason = reason ? reason->word : NULL;
}


ngx_int_t
ngx_http_usher_link_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_usher_link_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_link_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_usher_ctx_t  *ctx;

    ctx = ngx_http_usher_ctx(r, 0);

    if (ctx == NULL || ctx->click_id.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = ctx->click_id.len;
    v->data = ctx->click_id.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_link_reason_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_usher_ctx_t  *ctx;

    ctx = ngx_http_usher_ctx(r, 0);

    if (ctx == NULL || ctx->click_reason == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = ngx_strlen(ctx->click_reason);
    v->data = (u_char *) ctx->click_reason;

    return NGX_OK;
}
