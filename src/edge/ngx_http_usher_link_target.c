
/*
 * ngx_http_usher_link_target.c - where a click is sent.
 *
 * DESIGN
 *
 * Of the targets whose conditions hold, those of the lowest step share the
 * clicks by weight.  The split is sticky without a cookie: the visitor's
 * address and agent, hashed under a key that is the link's and never changes,
 * are always the same number.  It is not kept.
 *
 * A visitor of whom something is not known meets no condition on it.
 *
 * Who would be sent to a dead target is sent to another of its step, then to
 * those of the next, to the link's own URL, and at last to the fallback; the
 * visitors of those that live stay where they are.  So is who would be sent to
 * one that has had all that it may, and is valid if it is to another target.
 */


#include "ngx_http_usher_agent.h"
#include "ngx_http_usher_link.h"

#include "usher_siphash.h"


#define NGX_HTTP_USHER_SPLIT     0x74696c7073686c75ULL    /* "ulhsplit" */


static ngx_http_usher_target_t *ngx_http_usher_link_split(
    ngx_http_request_t *r, ngx_http_usher_click_t *click,
    ngx_http_usher_target_t **held, ngx_uint_t n);
static void ngx_http_usher_link_send_to(ngx_http_usher_click_t *click,
    ngx_int_t target, ngx_str_t *url);
static ngx_uint_t ngx_http_usher_link_closed(ngx_http_usher_click_t *click,
    ngx_http_usher_target_t *t);
static ngx_uint_t ngx_http_usher_link_dead(ngx_http_usher_link_t *link,
    ngx_int_t target);
static ngx_uint_t ngx_http_usher_link_holds(ngx_http_usher_target_t *t,
    ngx_http_usher_click_t *click, time_t now);
static ngx_uint_t ngx_http_usher_link_in(ngx_str_t *list, ngx_str_t *word);
static ngx_uint_t ngx_http_usher_link_speaks(ngx_str_t *list,
    ngx_str_t *language);
static ngx_http_usher_target_t *ngx_http_usher_link_share(
    ngx_http_request_t *r, ngx_http_usher_link_t *link,
    ngx_http_usher_target_t **held, ngx_uint_t n, ngx_uint_t again);


void
ngx_http_usher_link_choose(ngx_http_request_t *r,
    ngx_http_usher_click_t *click)
{
    time_t                    now;
    ngx_uint_t                i, n, next;
    ngx_http_usher_link_t    *link;
    ngx_http_usher_target_t  *t, *held[NGX_HTTP_USHER_TARGETS];

    link = click->link;
    click->status = NGX_HTTP_NOT_FOUND;

    if (link == NULL) {
        click->reason = USHER_CLICK_UNKNOWN;
        click->target = NGX_HTTP_USHER_TARGET_NOWHERE;

        if (click->url.len) {
            click->target = NGX_HTTP_USHER_TARGET_FALLBACK;
            click->status = NGX_HTTP_MOVED_TEMPORARILY;
        }

        return;
    }

    now = ngx_time();
    click->status = link->status;

    if (link->expires != 0 && link->expires <= now) {
        click->reason = USHER_CLICK_EXPIRED;
    }

    if (link->ncaps && ngx_http_usher_cap_reached(link, 0)) {
        click->reason = USHER_CLICK_CAPPED;
    }

    if (click->reason != USHER_CLICK_VALID) {
        ngx_http_usher_link_send_to(click, NGX_HTTP_USHER_TARGET_OVERFLOW,
                                    &link->overflow);
        return;
    }

    for (i = 0; i < link->ntargets; i = next) {

        n = 0;

        for (next = i; next < link->ntargets; next++) {
            t = &link->targets[next];

            if (t->step != link->targets[i].step) {
                break;
            }

            if (ngx_http_usher_link_holds(t, click, now)) {
                held[n++] = t;
            }
        }

        t = ngx_http_usher_link_split(r, click, held, n);

        if (t != NULL) {
            click->target = (ngx_int_t) t->number;
            click->url = t->url;
            return;
        }
    }

    ngx_http_usher_link_send_to(click, NGX_HTTP_USHER_TARGET_URL, &link->url);

    if (click->capped && click->target < 0) {
        ngx_http_usher_link_reason(click, USHER_CLICK_CAPPED);
    }
}


/* Of targets that hold one, by weight; NULL: there is none that is open. */

static ngx_http_usher_target_t *
ngx_http_usher_link_split(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, ngx_http_usher_target_t **held,
    ngx_uint_t n)
{
    ngx_uint_t                i, alive;
    ngx_http_usher_target_t  *t;

    if (n == 0) {
        return NULL;
    }

    t = ngx_http_usher_link_share(r, click->link, held, n, 0);

    if (!ngx_http_usher_link_closed(click, t)) {
        return t;
    }

    /* its visitors are shared out among those that are open */

    if (ngx_http_usher_link_dead(click->link, (ngx_int_t) t->number)) {
        ngx_http_usher_link_reason(click, USHER_CLICK_DEAD);
    }

    for (i = 0, alive = 0; i < n; i++) {
        if (!ngx_http_usher_link_closed(click, held[i])) {
            held[alive++] = held[i];
        }
    }

    return alive ? ngx_http_usher_link_share(r, click->link, held, alive, 1)
                 : NULL;
}


/* One of the link's own; if it is dead, or is none, where that falls back. */

static void
ngx_http_usher_link_send_to(ngx_http_usher_click_t *click, ngx_int_t target,
    ngx_str_t *url)
{
    click->target = target;
    click->url = *url;

    if (ngx_http_usher_link_dead(click->link, target)) {
        ngx_http_usher_link_reason(click, USHER_CLICK_DEAD);

        /* where there is no other, perhaps it lives after all */

        if (click->link->fallback.len) {
            click->url.len = 0;
        }
    }

    if (click->url.len == 0) {
        ngx_http_usher_link_fall_back(click);
    }
}


/* Nobody is sent there: it is dead, or has had all that it may. */

static ngx_uint_t
ngx_http_usher_link_closed(ngx_http_usher_click_t *click,
    ngx_http_usher_target_t *t)
{
    if (ngx_http_usher_link_dead(click->link, (ngx_int_t) t->number)) {
        return 1;
    }

    if (click->link->ncaps
        && ngx_http_usher_cap_reached(click->link, t->number))
    {
        click->capped = 1;
        return 1;
    }

    return 0;
}


static ngx_uint_t
ngx_http_usher_link_dead(ngx_http_usher_link_t *link, ngx_int_t target)
{
    if (target == NGX_HTTP_USHER_TARGET_OVERFLOW) {
        target = NGX_HTTP_USHER_DEAD_OVERFLOW;
    }

    return (link->dead >> target) & 1;
}


void
ngx_http_usher_link_fall_back(ngx_http_usher_click_t *click)
{
    if (click->link == NULL || click->link->fallback.len == 0
        || click->target == NGX_HTTP_USHER_TARGET_FALLBACK)
    {
        ngx_http_usher_link_nowhere(click);
        return;
    }

    click->target = NGX_HTTP_USHER_TARGET_FALLBACK;
    click->url = click->link->fallback;
}


void
ngx_http_usher_link_nowhere(ngx_http_usher_click_t *click)
{
    click->target = NGX_HTTP_USHER_TARGET_NOWHERE;
    click->url.len = 0;
    click->status = NGX_HTTP_NOT_FOUND;
}


/* Of two the lower one, as usher_click.h has it. */

void
ngx_http_usher_link_reason(ngx_http_usher_click_t *click, ngx_uint_t reason)
{
    if (click->reason == USHER_CLICK_VALID || reason < click->reason) {
        click->reason = reason;
    }
}


static ngx_uint_t
ngx_http_usher_link_holds(ngx_http_usher_target_t *t,
    ngx_http_usher_click_t *click, time_t now)
{
    return (t->from == 0 || t->from <= now)
           && (t->until == 0 || now < t->until)
           && ngx_http_usher_link_in(&t->countries, &click->country)
           && ngx_http_usher_link_in(&t->devices, &click->device)
           && ngx_http_usher_link_in(&t->systems, &click->system)
           && ngx_http_usher_link_speaks(&t->languages, &click->language)
           && (t->referrers.len == 0
               || usher_url_host_allowed(click->referrer.data,
                                         click->referrer.len,
                                         t->referrers.data,
                                         t->referrers.len));
}


static ngx_uint_t
ngx_http_usher_link_in(ngx_str_t *list, ngx_str_t *word)
{
    u_char  *p, *end, *stop;

    if (list->len == 0) {
        return 1;
    }

    if (word->len == 0) {
        return 0;
    }

    p = list->data;
    end = p + list->len;

    for ( /* void */ ; p < end; p = stop + 1) {

        stop = memchr(p, ' ', end - p);
        if (stop == NULL) {
            stop = end;
        }

        if ((size_t) (stop - p) == word->len
            && ((*p ^ *word->data) & ~0x20) == 0
            && ngx_strncasecmp(p, word->data, word->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* Who speaks de-AT speaks de. */

static ngx_uint_t
ngx_http_usher_link_speaks(ngx_str_t *list, ngx_str_t *language)
{
    ngx_str_t  bare;

    if (ngx_http_usher_link_in(list, language)) {
        return 1;
    }

    if (language->len < 5) {
        return 0;
    }

    bare = *language;
    bare.len -= 3;

    return ngx_http_usher_link_in(list, &bare);
}


/*
 * By weight, always the same for this visitor and link; again, of what is left,
 * by a number that has nothing to do with the first.
 */

static ngx_http_usher_target_t *
ngx_http_usher_link_share(ngx_http_request_t *r, ngx_http_usher_link_t *link,
    ngx_http_usher_target_t **held, ngx_uint_t n, ngx_uint_t again)
{
    u_char      *p;
    uint64_t     key[2], hash[2], share, sum;
    ngx_uint_t   i;
    u_char       text[NGX_SOCKADDR_STRLEN + NGX_HTTP_USHER_AGENT_HASH];

    if (n == 1) {
        return held[0];
    }

    p = ngx_cpymem(text, r->connection->addr_text.data,
                   r->connection->addr_text.len);
    p = ngx_cpymem(p, ngx_http_usher_agent(r)->hash,
                   NGX_HTTP_USHER_AGENT_HASH);

    key[0] = link->id;
    key[1] = NGX_HTTP_USHER_SPLIT;

    usher_siphash(key, -1, text, p - text, hash);

    for (i = 0, sum = 0; i < n; i++) {
        sum += held[i]->weight;
    }

    share = hash[again] % sum;

    for (i = 0; share >= held[i]->weight; i++) {
        share -= held[i]->weight;
    }

    return held[i];
}
