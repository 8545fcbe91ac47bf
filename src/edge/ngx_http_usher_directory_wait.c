
/*
 * ngx_http_usher_directory_wait.c - requests that wait for a record.
 *
 * DESIGN
 *
 * Budget.  A miss within the budget of its address and of the node is asked
 * at once.  Beyond it the fetch waits in a queue that is asked every 5 ms in
 * bulk: a flood of made-up keys costs one command per 128 of them, and a good
 * key behind the same address waits some ms longer.  There are places for all
 * that one worker can take in a request's 50 ms, so that not the queue but the
 * deadline ends a wait.  Should they be taken nevertheless, three quarters are
 * for addresses beyond their budget; only these are told that it is theirs.
 * An unknown key makes a negative only, in an array of its own, so that a
 * flood evicts no good key.  To ask again for a known key costs no budget.
 *
 * Circuit breaker.  When a deadline has passed over an unanswered MGET, Redis
 * counts as away for known keys until it answers something: one that hangs
 * costs them this one wait.
 *
 * Waiters are linked from the request's pool cleanup, which unlinks them
 * whenever the request goes.  They are resumed from a posted event, never
 * from a reply's handler.  A request has one deadline, set when it first
 * waits, however often it does.
 */


#include "ngx_http_usher_directory.h"


#define NGX_HTTP_USHER_WAITERS       8192    /* of a worker */
#define NGX_HTTP_USHER_WAITERS_POOR  6144    /* of these, of addresses beyond
                                                their budget */
#define NGX_HTTP_USHER_DEADLINE      50      /* msec */
#define NGX_HTTP_USHER_PATIENCE      1000    /* msec that a reconnect may take
                                                before misses are refused */

/* Misses per second: at this pace, and so many seconds' worth at once. */
#define NGX_HTTP_USHER_NODE_RATE     5000
#define NGX_HTTP_USHER_ADDRESS_RATE  100
#define NGX_HTTP_USHER_BUDGET_BURST  2

/* Whose budget a miss is beyond. */
#define NGX_HTTP_USHER_RICH          0
#define NGX_HTTP_USHER_POOR_ADDRESS  1
#define NGX_HTTP_USHER_POOR_NODE     2


/* A request that waits or has waited; in its pool. */
typedef struct {
    ngx_queue_t                 queue;      /* in waiting or resumed */
    ngx_queue_t                 link;       /* in the fetch's waiters */
    ngx_http_request_t         *request;
    ngx_msec_t                  deadline;   /* 0: has not waited yet */
    unsigned                    waiting:1;  /* in waiting, linked */
    unsigned                    resumed:1;  /* in resumed */
    unsigned                    failed:1;   /* Redis could not say */
    unsigned                    poor:2;     /* beyond whose budget */
} ngx_http_usher_waiter_t;


static ngx_uint_t ngx_http_usher_wait_away(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w, ngx_uint_t known);
static ngx_int_t ngx_http_usher_wait_old(ngx_http_usher_directory_t *d,
    ngx_uint_t kind, ngx_str_t *id, ngx_http_usher_fill_t *found);
static ngx_msec_t ngx_http_usher_wait_outdated(ngx_http_usher_shared_t *shared,
    uint32_t generation);
static ngx_int_t ngx_http_usher_wait_place(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w);
static ngx_int_t ngx_http_usher_wait_suspend(ngx_http_usher_directory_t *d,
    ngx_http_request_t *r, ngx_http_usher_waiter_t *w,
    ngx_http_usher_fetch_t *fetch);
static void ngx_http_usher_wait_handlers(ngx_http_request_t *r);
static ngx_http_usher_waiter_t *ngx_http_usher_waiter(ngx_http_request_t *r);
static void ngx_http_usher_wait_cleanup(void *data);
static void ngx_http_usher_wait_unlink(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w);
static void ngx_http_usher_wait_wake(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w);
static ngx_uint_t ngx_http_usher_wait_poor(ngx_http_usher_directory_t *d,
    ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_wait_charge(ngx_atomic_t *word,
    ngx_uint_t rate);
static void ngx_http_usher_wait_arm(ngx_http_usher_directory_t *d);


/*
 * The zone has no answer, or has found an outdated one, which may serve as
 * long as Redis cannot give a new one and stale has not passed.
 */

ngx_int_t
ngx_http_usher_wait(ngx_http_request_t *r, ngx_http_usher_directory_t *d,
    ngx_uint_t kind, ngx_str_t *id, u_char *digest,
    ngx_http_usher_fill_t *found)
{
    ngx_int_t                 rc;
    ngx_uint_t                away;
    ngx_http_usher_fetch_t   *fetch;
    ngx_http_usher_waiter_t  *w;

    w = ngx_http_usher_waiter(r);

    if (w == NULL) {
        return NGX_BUSY;
    }

    if (w->waiting || w->resumed) {

        /* post_action brought it to another location meanwhile */

        ngx_http_usher_wait_handlers(r);
        return NGX_AGAIN;
    }

    away = ngx_http_usher_wait_away(d, w, found != NULL);

    if (away) {
        return ngx_http_usher_wait_old(d, kind, id, found);
    }

    w->poor = found ? NGX_HTTP_USHER_RICH : ngx_http_usher_wait_poor(d, r);

    rc = ngx_http_usher_wait_place(d, w);

    if (rc != NGX_OK) {
        return rc;
    }

    fetch = ngx_http_usher_fetch_find(d, kind, id);

    if (fetch == NULL) {
        fetch = ngx_http_usher_fetch_create(d, kind, id, digest);

        if (fetch == NULL) {
            return ngx_http_usher_wait_old(d, kind, id, found);
        }
    }

    if (!fetch->sent && !w->poor && ngx_http_usher_redis_ready(d->redis)) {

        /* otherwise it is sent at the next pace, or when connected */

        if (ngx_http_usher_fetch_send(d, &fetch, 1) != NGX_OK) {
            return ngx_http_usher_wait_old(d, kind, id, found);
        }
    }

    return ngx_http_usher_wait_suspend(d, r, w, fetch);
}


/* Whether Redis need not be asked, or has had its time. */

static ngx_uint_t
ngx_http_usher_wait_away(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w, ngx_uint_t known)
{
    if (d->redis == NULL || d->shared->refused) {
        return 1;
    }

    if (w->failed) {
        w->failed = 0;
        return 1;
    }

    if (w->deadline
        && (ngx_msec_int_t) (w->deadline - ngx_current_msec) <= 0)
    {
        return 1;
    }

    if (known && (d->hangs || d->nwaiting >= NGX_HTTP_USHER_WAITERS)) {
        return 1;
    }

    if (ngx_http_usher_redis_ready(d->redis)) {
        return 0;
    }

    /* who is known does not wait for a connection */

    return known || ngx_current_msec - d->lost_at > NGX_HTTP_USHER_PATIENCE;
}


/*
 * Redis cannot be asked: the outdated record, if one was found, serves until
 * stale has passed.  The caller has seen to the heartbeat.
 */

static ngx_int_t
ngx_http_usher_wait_old(ngx_http_usher_directory_t *d, ngx_uint_t kind,
    ngx_str_t *id, ngx_http_usher_fill_t *found)
{
    ngx_msec_t  age, stale;

    if (found == NULL) {
        return NGX_BUSY;
    }

    stale = d->conf->stale[kind];

    if (stale != NGX_HTTP_USHER_FOREVER) {
        age = found->generation
              ? ngx_http_usher_wait_outdated(d->shared,
                                             (uint32_t) found->generation)
              : ngx_http_usher_ticket_age(
                    ngx_http_usher_ticket(d->shared, kind, id));

        if (age >= stale) {
            return NGX_BUSY;
        }
    }

    ngx_http_usher_count(directory_stale);

    return NGX_OK;
}


/* Milliseconds since a generation ended. */

static ngx_msec_t
ngx_http_usher_wait_outdated(ngx_http_usher_shared_t *shared,
    uint32_t generation)
{
    ngx_msec_int_t  age;

    if ((uint32_t) shared->generation - generation > NGX_HTTP_USHER_RAISES) {

        /* longer ago than is known */

        return NGX_HTTP_USHER_FOREVER;
    }

    age = (ngx_msec_int_t) (ngx_current_msec
              - (ngx_msec_t) shared->raised[generation
                                            % NGX_HTTP_USHER_RAISES]);

    return (ngx_msec_t) ngx_max(age, 0);
}


/* Whether there is a place to wait, and who is to blame if there is none. */

static ngx_int_t
ngx_http_usher_wait_place(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w)
{
    if (d->nwaiting < NGX_HTTP_USHER_WAITERS
        && (w->poor != NGX_HTTP_USHER_POOR_ADDRESS
            || d->npoor < NGX_HTTP_USHER_WAITERS_POOR))
    {
        return NGX_OK;
    }

    ngx_http_usher_count(directory_refused);

    return (w->poor == NGX_HTTP_USHER_POOR_ADDRESS) ? NGX_ABORT : NGX_BUSY;
}


static ngx_int_t
ngx_http_usher_wait_suspend(ngx_http_usher_directory_t *d,
    ngx_http_request_t *r, ngx_http_usher_waiter_t *w,
    ngx_http_usher_fetch_t *fetch)
{
    ngx_queue_t              *q;
    ngx_http_usher_waiter_t  *other;

    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_BUSY;
    }

    if (w->deadline == 0) {
        w->deadline = ngx_current_msec + NGX_HTTP_USHER_DEADLINE;

        if (w->deadline == 0) {
            w->deadline = 1;
        }

        ngx_queue_insert_tail(&d->waiting, &w->queue);

    } else {

        /* waits for the second time: its deadline is one of the first */

        for (q = ngx_queue_head(&d->waiting);
             q != ngx_queue_sentinel(&d->waiting);
             q = ngx_queue_next(q))
        {
            other = ngx_queue_data(q, ngx_http_usher_waiter_t, queue);

            if ((ngx_msec_int_t) (other->deadline - w->deadline) > 0) {
                break;
            }
        }

        /* before q */

        ngx_queue_insert_tail(q, &w->queue);
    }

    ngx_queue_insert_tail(&fetch->waiters, &w->link);

    w->waiting = 1;
    d->nwaiting++;

    if (w->poor == NGX_HTTP_USHER_POOR_ADDRESS) {
        d->npoor++;
    }

    ngx_http_usher_wait_handlers(r);

    ngx_http_usher_count(directory_suspends);
    ngx_http_usher_wait_arm(d);

    return NGX_AGAIN;
}


/* The first of them tells that the request still waits. */

static void
ngx_http_usher_wait_handlers(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
}


/* Found or made; NULL without memory. */

static ngx_http_usher_waiter_t *
ngx_http_usher_waiter(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_usher_waiter_t  *w;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_usher_wait_cleanup) {
            return cln->data;
        }
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_usher_waiter_t));

    if (cln == NULL) {
        return NULL;
    }

    w = cln->data;
    ngx_memzero(w, sizeof(ngx_http_usher_waiter_t));

    w->request = r;
    cln->handler = ngx_http_usher_wait_cleanup;

    return w;
}


static void
ngx_http_usher_wait_cleanup(void *data)
{
    ngx_http_usher_waiter_t *w = data;

    if (w->waiting) {
        ngx_http_usher_wait_unlink(&ngx_http_usher_directory_data, w);
    }

    if (w->resumed) {
        ngx_queue_remove(&w->queue);
        w->resumed = 0;
    }
}


static void
ngx_http_usher_wait_unlink(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w)
{
    ngx_queue_remove(&w->queue);
    ngx_queue_remove(&w->link);

    w->waiting = 0;
    d->nwaiting--;

    if (w->poor == NGX_HTTP_USHER_POOR_ADDRESS) {
        d->npoor--;
    }
}


/* Charges a miss, to its address and to the node. */

static ngx_uint_t
ngx_http_usher_wait_poor(ngx_http_usher_directory_t *d,
    ngx_http_request_t *r)
{
    u_char                name[5 + 16];
    u_char               *p;
    size_t                len;
    ngx_atomic_t         *word;
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    p = ngx_cpymem(name, "miss:", 5);

    switch (r->connection->sockaddr->sa_family) {

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) r->connection->sockaddr;

        /* a site has a /64 at least; mapped addresses have their own end */

        len = IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr) ? 16 : 8;
        p = ngx_cpymem(p, sin6->sin6_addr.s6_addr, len);
        break;
#endif

    case AF_INET:
        sin = (struct sockaddr_in *) r->connection->sockaddr;
        p = ngx_cpymem(p, &sin->sin_addr, 4);
        break;

    default:
        break;
    }

    len = p - name;
    word = ngx_http_usher_bucket(name, len);

    if (word != NULL
        && ngx_http_usher_wait_charge(word, NGX_HTTP_USHER_ADDRESS_RATE)
           != NGX_OK)
    {
        return NGX_HTTP_USHER_POOR_ADDRESS;
    }

    if (ngx_http_usher_wait_charge(&d->shared->misses,
                                   NGX_HTTP_USHER_NODE_RATE)
        != NGX_OK)
    {
        return NGX_HTTP_USHER_POOR_NODE;
    }

    return NGX_HTTP_USHER_RICH;
}


/* GCRA.  Lost races leave the miss uncharged: this is a guard, no limit. */

static ngx_int_t
ngx_http_usher_wait_charge(ngx_atomic_t *word, ngx_uint_t rate)
{
    uint64_t           now, next;
    ngx_atomic_uint_t  tat;

    now = ngx_http_usher_monotonic();
    tat = *word;
    next = ngx_max((uint64_t) tat, now) + 1000000000 / rate;

    if (next - now > (uint64_t) NGX_HTTP_USHER_BUDGET_BURST * 1000000000) {
        return NGX_BUSY;
    }

    (void) ngx_atomic_cmp_set(word, tat, next);

    return NGX_OK;
}


/* Whoever waited for a record goes on, and finds the zone's answer. */

void
ngx_http_usher_wait_answer(ngx_http_usher_directory_t *d,
    ngx_queue_t *waiters, ngx_uint_t failed)
{
    ngx_queue_t              *q;
    ngx_http_usher_waiter_t  *w;

    while (!ngx_queue_empty(waiters)) {
        q = ngx_queue_head(waiters);
        w = ngx_queue_data(q, ngx_http_usher_waiter_t, link);

        w->failed = failed;

        ngx_http_usher_wait_wake(d, w);
    }
}


static void
ngx_http_usher_wait_wake(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w)
{
    ngx_http_usher_wait_unlink(d, w);

    w->resumed = 1;
    ngx_queue_insert_tail(&d->resumed, &w->queue);

    ngx_post_event(&d->resume, &ngx_posted_events);
}


void
ngx_http_usher_wait_resume(ngx_event_t *ev)
{
    ngx_queue_t                 *q;
    ngx_connection_t            *c;
    ngx_http_request_t          *r;
    ngx_http_usher_waiter_t     *w;
    ngx_http_usher_directory_t  *d;

    d = ev->data;

    while (!ngx_queue_empty(&d->resumed)) {
        q = ngx_queue_head(&d->resumed);
        w = ngx_queue_data(q, ngx_http_usher_waiter_t, queue);

        ngx_queue_remove(&w->queue);
        w->resumed = 0;

        r = w->request;
        c = r->connection;

        if (r->read_event_handler != ngx_http_test_reading) {

            /* its client went, and post_action does something else with it */

            continue;
        }

        ngx_http_set_log_request(c->log, r);

        r->read_event_handler = ngx_http_block_reading;
        r->write_event_handler = ngx_http_core_run_phases;

        ngx_http_core_run_phases(r);
        ngx_http_run_posted_requests(c);
    }
}


void
ngx_http_usher_wait_deadline(ngx_event_t *ev)
{
    ngx_queue_t                 *q;
    ngx_http_usher_waiter_t     *w;
    ngx_http_usher_directory_t  *d;

    d = ev->data;

    while (!ngx_queue_empty(&d->waiting)) {
        q = ngx_queue_head(&d->waiting);
        w = ngx_queue_data(q, ngx_http_usher_waiter_t, queue);

        if ((ngx_msec_int_t) (w->deadline - ngx_current_msec) > 0) {
            break;
        }

        ngx_http_usher_count(directory_timeouts);

        if (!ngx_queue_empty(&d->asked)) {
            d->hangs = 1;
        }

        ngx_http_usher_wait_wake(d, w);
    }

    ngx_http_usher_wait_arm(d);
}


static void
ngx_http_usher_wait_arm(ngx_http_usher_directory_t *d)
{
    ngx_queue_t              *q;
    ngx_msec_int_t            left;
    ngx_http_usher_waiter_t  *w;

    if (ngx_queue_empty(&d->waiting)) {

        if (d->deadline.timer_set) {
            ngx_del_timer(&d->deadline);
        }

        return;
    }

    q = ngx_queue_head(&d->waiting);
    w = ngx_queue_data(q, ngx_http_usher_waiter_t, queue);
    left = (ngx_msec_int_t) (w->deadline - ngx_current_msec);

    /* nginx leaves a timer as it is that is to move by less than 300 ms */

    if (d->deadline.timer_set
        && (ngx_msec_int_t) (d->deadline.timer.key - w->deadline) > 0)
    {
        ngx_del_timer(&d->deadline);
    }

    ngx_add_timer(&d->deadline, left > 0 ? (ngx_msec_t) left : 1);
}
