
/*
 * ngx_http_usher_link_click.c - the event of a click, written before the
 * answer.
 *
 * The line is written straight into the journal, as that of a request is.
 * Addresses are truncated here: no whole address leaves nginx by a click, nor
 * what usher_link_fields leaves out.
 */


#include "ngx_http_usher_link.h"


static u_char *ngx_http_usher_click_line(ngx_http_request_t *r, u_char *p,
    ngx_http_usher_click_t *click, ngx_uint_t fields);
static u_char *ngx_http_usher_click_text(u_char *p, ngx_str_t *text,
    size_t limit, unsigned *flags);
static u_char *ngx_http_usher_click_field(u_char *p, ngx_uint_t keep,
    ngx_str_t *text, size_t limit, unsigned *flags);


ngx_int_t
ngx_http_usher_link_click(ngx_http_request_t *r,
    ngx_http_usher_click_t *click)
{
    u_char                      *line, *p;
    ngx_http_usher_link_conf_t  *llcf;

    line = ngx_http_usher_journal_open(USHER_EVENT_LOG_MAX);

    if (line == NULL) {
        return ngx_http_usher_journal_full(r, 'c') == NGX_HTTP_USHER_FULL_DENY
               ? NGX_BUSY : NGX_OK;
    }

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_link_module);

    /* who clicked is seen only where it becomes a row */

    ngx_http_usher_link_visitor(r, llcf, click);

    p = ngx_http_usher_click_line(r, line, click, llcf->fields);
    ngx_http_usher_journal_commit(p - line);

    return NGX_OK;
}


static u_char *
ngx_http_usher_click_line(ngx_http_request_t *r, u_char *p,
    ngx_http_usher_click_t *click, ngx_uint_t fields)
{
    unsigned                     flags;
    ngx_uint_t                   i;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_usher_module);

    flags = 0;

    *p++ = 'c'; *p++ = '1'; *p++ = '\t';

    p = ngx_http_usher_event_time(p);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, click->link ? click->link->id : 0);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, click->reason);
    *p++ = '\t';

    if (click->target < 0) {
        *p++ = '-';
    }

    p = ngx_http_usher_decimal(p, ngx_abs(click->target));
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, click->org_id);
    *p++ = '\t';

    p = ngx_cpymem(p, click->id.data, click->id.len);
    *p++ = '\t';

    p = ngx_cpymem(p, umcf->node.data, umcf->node.len);
    *p++ = '\t';

    p = ngx_http_usher_click_text(p, &click->host, USHER_CLICK_HOST_MAX,
                                  &flags);
    p = ngx_http_usher_click_text(p, &click->slug, USHER_CLICK_SLUG_MAX,
                                  &flags);
    p = ngx_http_usher_click_field(p, fields & NGX_HTTP_USHER_FIELD_COUNTRY,
                                   &click->country, USHER_CLICK_WORD_MAX,
                                   &flags);
    p = ngx_http_usher_click_field(p, fields & NGX_HTTP_USHER_FIELD_DEVICE,
                                   &click->device, USHER_CLICK_WORD_MAX,
                                   &flags);
    p = ngx_http_usher_click_field(p, fields & NGX_HTTP_USHER_FIELD_DEVICE,
                                   &click->system, USHER_CLICK_WORD_MAX,
                                   &flags);
    p = ngx_http_usher_click_field(p, fields & NGX_HTTP_USHER_FIELD_LANGUAGE,
                                   &click->language, USHER_CLICK_WORD_MAX,
                                   &flags);
    p = ngx_http_usher_click_field(p, fields & NGX_HTTP_USHER_FIELD_REFERRER,
                                   &click->referrer, USHER_CLICK_REFERRER_MAX,
                                   &flags);

    for (i = 0; i < NGX_HTTP_USHER_SUBS; i++) {
        p = ngx_http_usher_click_field(p, fields & NGX_HTTP_USHER_FIELD_SUB,
                                       &click->subs[i], USHER_CLICK_SUB_MAX,
                                       &flags);
    }

    p = ngx_http_usher_click_field(p, fields & NGX_HTTP_USHER_FIELD_VISITOR,
                                   &click->visitor, NGX_HTTP_USHER_VISITOR,
                                   &flags);

    if (fields & NGX_HTTP_USHER_FIELD_ADDRESS) {
        p = ngx_http_usher_address_short(r, p);

    } else {
        *p++ = '\\'; *p++ = 'N';
    }

    *p++ = '\t';

    p = ngx_http_usher_decimal(p, click->status);
    *p++ = '\t';

    p = ngx_http_usher_decimal(p, flags);
    *p++ = '\n';

    return p;
}


/* A column and its tab. */

static u_char *
ngx_http_usher_click_text(u_char *p, ngx_str_t *text, size_t limit,
    unsigned *flags)
{
    if (text->len) {
        p = usher_event_text(p, text->data, text->len, limit, flags);
    }

    *p++ = '\t';

    return p;
}


/* The same of what need not be kept. */

static u_char *
ngx_http_usher_click_field(u_char *p, ngx_uint_t keep, ngx_str_t *text,
    size_t limit, unsigned *flags)
{
    if (keep) {
        return ngx_http_usher_click_text(p, text, limit, flags);
    }

    *p++ = '\t';

    return p;
}
