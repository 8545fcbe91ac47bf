
/*
 * ngx_http_usher_cap.c - caps: whether one is reached, and what it counts.
 *
 * DESIGN
 *
 * A cap counts the clicks that are net and were sent to the link's own URL or
 * to a target: what went to the overflow or the fallback is nobody's.  It
 * begins when it is given.  A click is compared with what is known at that
 * moment, which is what this node counted (usher_cap.h) and what it last heard
 * of the others (ngx_http_usher_cap_tell.c), and it is counted when it is in
 * the journal.  It waits for nothing, so a cap may be overshot: by as much as
 * comes at all nodes before they have heard of each other, and by what other
 * workers have between the two.
 *
 * The record says how many clicks at least were rows already when it was
 * written.  They are the same clicks, so that this is never added to what was
 * counted: see usher_cap_floor().
 */


#include "ngx_http_usher_cap.h"


static usher_cap_t *ngx_http_usher_cap_cell(ngx_http_usher_link_t *link,
    ngx_http_usher_cap_t *cap, ngx_uint_t day);
static ngx_uint_t ngx_http_usher_cap_over(ngx_http_usher_link_t *link,
    ngx_http_usher_cap_t *cap, ngx_uint_t day, uint32_t most, uint32_t known);
static void ngx_http_usher_cap_add(ngx_http_usher_link_t *link,
    ngx_http_usher_cap_t *cap, ngx_uint_t day);
static void ngx_http_usher_cap_full(void);
static ngx_int_t ngx_http_usher_cap_number(json_t *object, const char *name,
    uint64_t max, uint64_t *value);


#define ngx_http_usher_cap_today()                                            \
    ((ngx_uint_t) (ngx_time() / NGX_HTTP_USHER_CAP_DAY) & 0xffff)


ngx_uint_t
ngx_http_usher_cap_reached(ngx_http_usher_link_t *link, ngx_uint_t target)
{
    ngx_uint_t            i, day;
    ngx_http_usher_cap_t  cap;

    for (i = 0; i < link->ncaps; i++) {
        ngx_memcpy(&cap, link->caps + i * sizeof(ngx_http_usher_cap_t),
                   sizeof(ngx_http_usher_cap_t));

        if (cap.target != target) {
            continue;
        }

        day = ngx_http_usher_cap_today();

        return (cap.total
                && ngx_http_usher_cap_over(link, &cap, 0, cap.total,
                                           cap.counted))
               || (cap.daily
                   && ngx_http_usher_cap_over(link, &cap, day, cap.daily,
                                              cap.day == day ? cap.today : 0));
    }

    return 0;
}


/* Who has not reached it wants to hear of the others. */

static ngx_uint_t
ngx_http_usher_cap_over(ngx_http_usher_link_t *link, ngx_http_usher_cap_t *cap,
    ngx_uint_t day, uint32_t most, uint32_t known)
{
    usher_cap_t  *cell;

    if (known >= most) {
        return 1;
    }

    cell = ngx_http_usher_cap_cell(link, cap, day);

    if (cell == NULL) {
        return 0;
    }

    usher_cap_floor(cell, known);

    if (usher_cap_total(cell) >= most) {
        return 1;
    }

    usher_cap_want(&ngx_http_usher_zone.caps, cell);

    return 0;
}


static usher_cap_t *
ngx_http_usher_cap_cell(ngx_http_usher_link_t *link, ngx_http_usher_cap_t *cap,
    ngx_uint_t day)
{
    uint64_t       id[2];
    usher_zone_t  *z;

    z = &ngx_http_usher_zone;

    if (z->head == NULL) {
        return NULL;
    }

    usher_cap_id(id, link->id, cap->target, (unsigned) day, cap->since);

    return usher_cap(&z->caps, &z->self, z->head->secret, id,
                     ngx_http_usher_cap_now());
}


void
ngx_http_usher_cap_count(ngx_http_usher_click_t *click)
{
    ngx_uint_t                   i;
    ngx_http_usher_cap_t         cap;
    ngx_http_usher_link_t       *link;
    const usher_click_reason_t  *reason;

    link = click->link;

    if (click->reason == USHER_CLICK_CAPPED) {
        ngx_http_usher_count(clicks_capped);
        return;
    }

    reason = usher_click_reason((unsigned) click->reason);

    if (click->target < 0 || reason == NULL || !reason->net) {
        return;
    }

    for (i = 0; i < link->ncaps; i++) {
        ngx_memcpy(&cap, link->caps + i * sizeof(ngx_http_usher_cap_t),
                   sizeof(ngx_http_usher_cap_t));

        if (cap.target != 0 && cap.target != (ngx_uint_t) click->target) {
            continue;
        }

        if (cap.total) {
            ngx_http_usher_cap_add(link, &cap, 0);
        }

        if (cap.daily) {
            ngx_http_usher_cap_add(link, &cap, ngx_http_usher_cap_today());
        }
    }
}


static void
ngx_http_usher_cap_add(ngx_http_usher_link_t *link, ngx_http_usher_cap_t *cap,
    ngx_uint_t day)
{
    usher_cap_t  *cell;

    cell = ngx_http_usher_cap_cell(link, cap, day);

    if (cell == NULL) {
        ngx_http_usher_cap_full();
        return;
    }

    usher_cap_add(&ngx_http_usher_zone.caps, cell);
}


/* Nobody is refused for that: it is counted, and said. */

static void
ngx_http_usher_cap_full(void)
{
    ngx_http_usher_directory_t  *d;

    d = &ngx_http_usher_directory_data;

    ngx_http_usher_count(clicks_uncapped);

    if (d->shared == NULL) {
        return;
    }

    d->shared->caps_full = ngx_http_usher_cap_now();

    if (ngx_http_usher_said(d, NGX_HTTP_USHER_SAID_CAPS_FULL) == NGX_OK) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "usher: no room in the zone for the caps of all links, "
                      "some do not count: raise \"caps=\" of usher_zone");
    }
}


const char *
ngx_http_usher_cap_pack(json_t *object, ngx_uint_t target,
    ngx_http_usher_cap_t *cap)
{
    uint64_t  since, total, daily, counted, today, day;

    if (ngx_http_usher_record_number(object, "s", 1, INT64_MAX, &since)
        != NGX_OK
        || ngx_http_usher_cap_number(object, "n", INT32_MAX, &total) != NGX_OK
        || ngx_http_usher_cap_number(object, "d", INT32_MAX, &daily) != NGX_OK
        || ngx_http_usher_cap_number(object, "c", INT32_MAX, &counted)
           != NGX_OK
        || ngx_http_usher_cap_number(object, "t", INT32_MAX, &today) != NGX_OK
        || ngx_http_usher_cap_number(object, "y", UINT16_MAX, &day) != NGX_OK)
    {
        return "a cap of it is wrong";
    }

    cap->since = since;
    cap->total = (uint32_t) total;
    cap->daily = (uint32_t) daily;
    cap->counted = (uint32_t) counted;
    cap->today = (uint32_t) today;
    cap->day = (uint16_t) day;
    cap->target = (uint16_t) target;

    return NULL;
}


/* 0 where it is missing. */

static ngx_int_t
ngx_http_usher_cap_number(json_t *object, const char *name, uint64_t max,
    uint64_t *value)
{
    *value = 0;

    return json_object_get(object, name) == NULL
           ? NGX_OK
           : ngx_http_usher_record_number(object, name, 0, max, value);
}
