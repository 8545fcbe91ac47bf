
/*
 * ngx_http_usher_directory.c - what the edge knows of keys and plans.
 *
 * DESIGN
 *
 * A look-up is answered by the zone without I/O.  What the zone does not
 * know is asked of Redis by one MGET (of usher:d:ready and the record) per
 * record and worker, which all requests that want it share; they wait 50 ms
 * at most, each in all.
 *
 * How old an answer is.  The worker that reads changes (see
 * ngx_http_usher_directory_changes.c) moves shared->heartbeat when usherd's
 * sign of life moved.  2 s without one the stale clock of each kind starts;
 * until it has run out the zone's records serve, after it nothing is known.
 * A record of an older generation is asked for again before it serves,
 * unless Redis is away: then it serves within stale.
 *
 * Tickets.  A fetch remembers, before it asks, the generation, the epoch of
 * negatives and a word that counts the changes of records with its hash.  The
 * zone stores the answer only if that word did not move, under the lock of
 * the cell's set; otherwise it is fetched again.  So an answer that was on
 * its way while a change was applied is never kept, and a worker that dies
 * leaves nothing behind.
 *
 * Budget.  A miss within the budget of its address and of the node is asked
 * at once.  Beyond it the fetch waits in a queue that is asked every 5 ms in
 * bulk: a flood of made-up keys costs one command per 128 of them, and a
 * good key behind the same address waits some ms longer.  Those waiters may
 * take three quarters of a worker's places; the rest is for others.  An
 * unknown key makes a negative only, in an array of its own, so that a flood
 * evicts no good key.  To ask again for a known key costs no budget.
 *
 * Waiters are linked from the request's pool cleanup, which unlinks them
 * whenever the request goes.  They are resumed from a posted event.
 */


#include "ngx_http_usher_directory.h"


#define NGX_HTTP_USHER_WAITERS      1024    /* of a worker */
#define NGX_HTTP_USHER_WAITERS_POOR  768    /* of these beyond the budget */
#define NGX_HTTP_USHER_DEADLINE     50      /* msec */
#define NGX_HTTP_USHER_PATIENCE     1000    /* msec that a reconnect may take
                                               before misses are refused */
#define NGX_HTTP_USHER_BULK         128     /* fetches of one command */
#define NGX_HTTP_USHER_PACE         5       /* msec between these */
#define NGX_HTTP_USHER_TRIES        8       /* of one fetch */

#define NGX_HTTP_USHER_MGET_TIMEOUT 200     /* msec */
#define NGX_HTTP_USHER_RENEW        10      /* msec */

/* Misses per second: at this pace, and so many at once. */
#define NGX_HTTP_USHER_NODE_RATE     5000
#define NGX_HTTP_USHER_ADDRESS_RATE  100
#define NGX_HTTP_USHER_BUDGET_BURST  2      /* seconds' worth */


/* A record on its way; lives until its command was answered. */
typedef struct {
    ngx_queue_t                 hash;       /* in fetches */
    ngx_queue_t                 queue;      /* in queued, if not sent */
    ngx_queue_t                 waiters;    /* by their link */
    ngx_http_usher_fill_t       fill;
    ngx_uint_t                  kind;
    ngx_uint_t                  tries;
    ngx_str_t                   id;         /* points into text */
    u_char                      text[NGX_HTTP_USHER_ID_MAX];
    u_char                      digest[USHER_KEY_DIGEST];
    unsigned                    sent:1;
} ngx_http_usher_fetch_t;


/* One MGET. */
typedef struct {
    ngx_uint_t                  n;
    ngx_http_usher_fetch_t     *fetches[NGX_HTTP_USHER_BULK];
} ngx_http_usher_bulk_t;


/* A request that waits or has waited; in its pool. */
typedef struct {
    ngx_queue_t                 queue;      /* in waiting or resumed */
    ngx_queue_t                 link;       /* in the fetch's waiters */
    ngx_http_request_t         *request;
    ngx_msec_t                  deadline;
    unsigned                    waiting:1;  /* in waiting, linked */
    unsigned                    resumed:1;  /* in resumed */
    unsigned                    late:1;     /* met the deadline */
    unsigned                    failed:1;   /* Redis could not say */
    unsigned                    poor:1;     /* beyond the budget */
} ngx_http_usher_waiter_t;


static ngx_http_usher_directory_t *ngx_http_usher_directory(void);
static void ngx_http_usher_directory_begin(ngx_http_usher_directory_t *d);
static void ngx_http_usher_directory_end(ngx_http_usher_directory_t *d);
static void ngx_http_usher_directory_event(ngx_event_t *ev,
    ngx_event_handler_pt handler);
static ngx_int_t ngx_http_usher_directory_judge(
    ngx_http_usher_directory_t *d, ngx_uint_t kind, ngx_uint_t rc,
    ngx_http_usher_fill_t *found);
static ngx_int_t ngx_http_usher_directory_ask(ngx_http_request_t *r,
    ngx_http_usher_directory_t *d, ngx_uint_t kind, ngx_str_t *id,
    u_char *digest, ngx_uint_t known);
static ngx_int_t ngx_http_usher_directory_wait(
    ngx_http_usher_directory_t *d, ngx_http_request_t *r,
    ngx_http_usher_waiter_t *w, ngx_http_usher_fetch_t *fetch);
static ngx_http_usher_waiter_t *ngx_http_usher_directory_waiter(
    ngx_http_request_t *r);
static void ngx_http_usher_directory_cleanup(void *data);
static void ngx_http_usher_directory_unlink(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w);
static ngx_uint_t ngx_http_usher_directory_poor(
    ngx_http_usher_directory_t *d, ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_directory_charge(ngx_atomic_t *word,
    ngx_uint_t rate);
static ngx_uint_t ngx_http_usher_directory_hash(ngx_uint_t kind,
    ngx_str_t *id);
static ngx_http_usher_fetch_t *ngx_http_usher_fetch_find(
    ngx_http_usher_directory_t *d, ngx_uint_t kind, ngx_str_t *id);
static ngx_http_usher_fetch_t *ngx_http_usher_fetch_create(
    ngx_http_usher_directory_t *d, ngx_uint_t kind, ngx_str_t *id,
    u_char *digest);
static ngx_int_t ngx_http_usher_fetch_send(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t **fetches, ngx_uint_t n);
static void ngx_http_usher_fetch_reply(void *data,
    ngx_http_usher_reply_t *reply);
static ngx_int_t ngx_http_usher_fetch_store(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, ngx_str_t *ready,
    ngx_http_usher_reply_t *reply);
static ngx_int_t ngx_http_usher_fetch_record(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, ngx_str_t *text, ngx_str_t *ready,
    const char **reason);
static void ngx_http_usher_fetch_corrupt(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, const char *reason);
static void ngx_http_usher_fetch_reported(void *data,
    ngx_http_usher_reply_t *reply);
static void ngx_http_usher_fetch_done(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, ngx_uint_t failed);
static void ngx_http_usher_directory_connected(void *data);
static void ngx_http_usher_directory_lost(void *data);
static void ngx_http_usher_directory_resume(ngx_event_t *ev);
static void ngx_http_usher_directory_deadline(ngx_event_t *ev);
static void ngx_http_usher_directory_arm(ngx_http_usher_directory_t *d);
static void ngx_http_usher_directory_pace(ngx_event_t *ev);
static void ngx_http_usher_directory_renew(ngx_event_t *ev);
static void *ngx_http_usher_directory_create_conf(ngx_conf_t *cf);
static char *ngx_http_usher_directory_init_conf(ngx_conf_t *cf, void *conf);
static char *ngx_http_usher_stale(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_usher_directory_init_process(ngx_cycle_t *cycle);
static void ngx_http_usher_directory_exit_process(ngx_cycle_t *cycle);


static ngx_http_usher_directory_t  ngx_http_usher_directory_data;

static ngx_http_usher_redis_events_t  ngx_http_usher_directory_events = {
    ngx_http_usher_directory_connected,
    ngx_http_usher_directory_lost,
    &ngx_http_usher_directory_data
};


ngx_str_t  ngx_http_usher_kinds[] = {
    ngx_string("key"),
    ngx_string("plan"),
    ngx_null_string
};


static ngx_command_t  ngx_http_usher_directory_commands[] = {

    { ngx_string("usher_stale"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_usher_stale,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_directory_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_usher_directory_create_conf,  /* create main configuration */
    ngx_http_usher_directory_init_conf,    /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_usher_directory_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_directory_module_ctx,  /* module context */
    ngx_http_usher_directory_commands,     /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_usher_directory_init_process, /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_usher_directory_exit_process, /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_int_t
ngx_http_usher_directory_key(ngx_http_request_t *r,
    u_char digest[USHER_KEY_DIGEST], ngx_http_usher_key_t *key)
{
    u_char                       hex[NGX_HTTP_USHER_ID_MAX];
    ngx_int_t                    rc;
    ngx_str_t                    id;
    ngx_uint_t                   cell;
    ngx_http_usher_fill_t        found;
    ngx_http_usher_directory_t  *d;

    d = ngx_http_usher_directory();

    if (d->shared == NULL) {
        return NGX_BUSY;
    }

    cell = ngx_http_usher_zone_key_get(digest, key, &found);

    rc = ngx_http_usher_directory_judge(d, NGX_HTTP_USHER_KIND_KEY, cell,
                                        &found);

    if (rc == NGX_AGAIN) {
        ngx_hex_dump(hex, digest, USHER_KEY_DIGEST);
        id.data = hex;
        id.len = NGX_HTTP_USHER_ID_MAX;

        rc = ngx_http_usher_directory_ask(r, d, NGX_HTTP_USHER_KIND_KEY, &id,
                                    digest,
                                    cell == NGX_HTTP_USHER_CELL_FOUND);
    }

    if (rc == NGX_OK && key->state == NGX_HTTP_USHER_KEY_ROTATED) {

        if (key->expires > ngx_time()) {
            key->state = NGX_HTTP_USHER_KEY_ACTIVE;

        } else {
            key->expires = 0;
        }
    }

    return rc;
}


ngx_int_t
ngx_http_usher_directory_plan(ngx_http_request_t *r, uint64_t id,
    ngx_http_usher_plan_t *plan)
{
    size_t                       len;
    u_char                       buf[1024], text[NGX_INT64_LEN];
    ngx_int_t                    rc;
    ngx_str_t                    name;
    ngx_uint_t                   cell;
    ngx_http_usher_fill_t        found;
    ngx_http_usher_directory_t  *d;

    d = ngx_http_usher_directory();

    if (d->shared == NULL) {
        return NGX_BUSY;
    }

    name.data = text;
    name.len = ngx_sprintf(text, "%uL", id) - text;

    cell = ngx_http_usher_zone_record_get(NGX_HTTP_USHER_KIND_PLAN, &name,
                                          buf, sizeof(buf), &len, &found);

    if (cell == NGX_HTTP_USHER_CELL_FOUND
        && ngx_http_usher_plan_unpack(buf, len, plan) != NGX_OK)
    {
        cell = NGX_HTTP_USHER_CELL_NONE;
    }

    rc = ngx_http_usher_directory_judge(d, NGX_HTTP_USHER_KIND_PLAN, cell,
                                        &found);

    if (rc == NGX_AGAIN) {
        rc = ngx_http_usher_directory_ask(r, d, NGX_HTTP_USHER_KIND_PLAN,
                                    &name, NULL,
                                    cell == NGX_HTTP_USHER_CELL_FOUND);
    }

    return rc;
}


/*
 * What a cell is worth now: NGX_OK, NGX_DECLINED, NGX_AGAIN (Redis must be
 * asked) or NGX_BUSY.
 */

static ngx_int_t
ngx_http_usher_directory_judge(ngx_http_usher_directory_t *d, ngx_uint_t kind,
    ngx_uint_t cell, ngx_http_usher_fill_t *found)
{
    ngx_msec_t                age, stale;
    ngx_msec_int_t            ahead;
    ngx_http_usher_shared_t  *shared;

    shared = d->shared;

    /* another worker's clock may be some ms ahead of ours */

    age = ngx_current_msec - (ngx_msec_t) shared->heartbeat;
    ahead = (ngx_msec_int_t) age;

    if (ahead > NGX_HTTP_USHER_FRESH) {
        stale = d->conf->stale[kind];

        if (stale != NGX_HTTP_USHER_FOREVER
            && age - NGX_HTTP_USHER_FRESH >= stale)
        {
            return NGX_BUSY;
        }
    }

    if (cell == NGX_HTTP_USHER_CELL_NONE
        || found->generation != (uint32_t) shared->generation)
    {
        return NGX_AGAIN;
    }

    if (cell == NGX_HTTP_USHER_CELL_FOUND) {
        ngx_http_usher_count(directory_hits);
        return NGX_OK;
    }

    if (found->epoch != (uint32_t) shared->epoch[kind]) {
        return NGX_AGAIN;
    }

    ngx_http_usher_count(directory_negatives);

    return NGX_DECLINED;
}


/*
 * The zone has no answer; known: it has an old one, which may serve as long
 * as Redis cannot give a new one and stale has not passed.
 */

static ngx_int_t
ngx_http_usher_directory_ask(ngx_http_request_t *r,
    ngx_http_usher_directory_t *d, ngx_uint_t kind, ngx_str_t *id,
    u_char *digest, ngx_uint_t known)
{
    ngx_msec_t                age, raised;
    ngx_msec_t                stale;
    ngx_uint_t                away;
    ngx_http_usher_fetch_t   *fetch;
    ngx_http_usher_waiter_t  *w;

    w = ngx_http_usher_directory_waiter(r);

    if (w == NULL) {
        return NGX_BUSY;
    }

    if (w->waiting || w->resumed) {
        return NGX_AGAIN;
    }

    away = d->redis == NULL || d->shared->refused || w->failed || w->late
           || (w->deadline
               && (ngx_msec_int_t) (w->deadline - ngx_current_msec) <= 0);

    w->failed = 0;

    if (!away && !ngx_http_usher_redis_ready(d->redis)) {
        away = known
               || ngx_current_msec - d->lost_at > NGX_HTTP_USHER_PATIENCE;
    }

    if (known) {
        stale = d->conf->stale[kind];
        age = ngx_current_msec - (ngx_msec_t) d->shared->heartbeat;
        raised = ngx_current_msec - (ngx_msec_t) d->shared->raised;

        if ((ngx_msec_int_t) age > NGX_HTTP_USHER_FRESH) {

            /* judge() has seen to stale; nobody says that Redis is well */

            ngx_http_usher_count(directory_stale);
            return NGX_OK;
        }

        if (away) {
            if (stale != NGX_HTTP_USHER_FOREVER && raised >= stale) {
                return NGX_BUSY;
            }

            ngx_http_usher_count(directory_stale);
            return NGX_OK;
        }
    }

    if (away || d->nwaiting >= NGX_HTTP_USHER_WAITERS) {
        return NGX_BUSY;
    }

    w->poor = known ? 0 : ngx_http_usher_directory_poor(d, r);

    if (w->poor && d->npoor >= NGX_HTTP_USHER_WAITERS_POOR) {
        ngx_http_usher_count(directory_refused);
        return NGX_ABORT;
    }

    fetch = ngx_http_usher_fetch_find(d, kind, id);

    if (fetch == NULL) {
        fetch = ngx_http_usher_fetch_create(d, kind, id, digest);

        if (fetch == NULL) {
            return NGX_BUSY;
        }
    }

    if (!fetch->sent && !w->poor && ngx_http_usher_redis_ready(d->redis)) {

        /* otherwise it is sent at the next pace, or when connected */

        if (ngx_http_usher_fetch_send(d, &fetch, 1) != NGX_OK) {
            return NGX_BUSY;
        }
    }

    return ngx_http_usher_directory_wait(d, r, w, fetch);
}


static ngx_int_t
ngx_http_usher_directory_wait(ngx_http_usher_directory_t *d,
    ngx_http_request_t *r, ngx_http_usher_waiter_t *w,
    ngx_http_usher_fetch_t *fetch)
{
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

        ngx_queue_insert_head(&d->waiting, &w->queue);
    }

    ngx_queue_insert_tail(&fetch->waiters, &w->link);

    w->waiting = 1;
    d->nwaiting++;

    if (w->poor) {
        d->npoor++;
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_usher_count(directory_suspends);
    ngx_http_usher_directory_arm(d);

    return NGX_AGAIN;
}


/* Found or made; NULL without memory. */

static ngx_http_usher_waiter_t *
ngx_http_usher_directory_waiter(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_usher_waiter_t  *w;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_usher_directory_cleanup) {
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
    cln->handler = ngx_http_usher_directory_cleanup;

    return w;
}


static void
ngx_http_usher_directory_cleanup(void *data)
{
    ngx_http_usher_waiter_t *w = data;

    if (w->waiting) {
        ngx_http_usher_directory_unlink(&ngx_http_usher_directory_data, w);
    }

    if (w->resumed) {
        ngx_queue_remove(&w->queue);
        w->resumed = 0;
    }
}


static void
ngx_http_usher_directory_unlink(ngx_http_usher_directory_t *d,
    ngx_http_usher_waiter_t *w)
{
    ngx_queue_remove(&w->queue);
    ngx_queue_remove(&w->link);

    w->waiting = 0;
    d->nwaiting--;

    if (w->poor) {
        d->npoor--;
    }
}


/* Charges a miss; 1 if it goes beyond what its address or the node may. */

static ngx_uint_t
ngx_http_usher_directory_poor(ngx_http_usher_directory_t *d,
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
        && ngx_http_usher_directory_charge(word, NGX_HTTP_USHER_ADDRESS_RATE)
           != NGX_OK)
    {
        return 1;
    }

    return ngx_http_usher_directory_charge(&d->shared->misses,
                                           NGX_HTTP_USHER_NODE_RATE)
           != NGX_OK;
}


/* GCRA.  Lost races leave the miss uncharged: this is a guard, no limit. */

static ngx_int_t
ngx_http_usher_directory_charge(ngx_atomic_t *word, ngx_uint_t rate)
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


/* ---- Fetches --------------------------------------------------------- */


ngx_uint_t
ngx_http_usher_kind(ngx_str_t *name)
{
    ngx_uint_t  i;

    for (i = 0; ngx_http_usher_kinds[i].len; i++) {
        if (name->len == ngx_http_usher_kinds[i].len
            && ngx_memcmp(name->data, ngx_http_usher_kinds[i].data,
                          name->len)
               == 0)
        {
            return i;
        }
    }

    return NGX_HTTP_USHER_KINDS;
}


static ngx_uint_t
ngx_http_usher_directory_hash(ngx_uint_t kind, ngx_str_t *id)
{
    return ngx_murmur_hash2(id->data, id->len) + kind;
}


ngx_atomic_t *
ngx_http_usher_ticket(ngx_http_usher_shared_t *shared, ngx_uint_t kind,
    ngx_str_t *id)
{
    return &shared->changed[ngx_http_usher_directory_hash(kind, id)
                            % NGX_HTTP_USHER_TICKETS];
}


static ngx_http_usher_fetch_t *
ngx_http_usher_fetch_find(ngx_http_usher_directory_t *d, ngx_uint_t kind,
    ngx_str_t *id)
{
    ngx_queue_t             *q, *head;
    ngx_http_usher_fetch_t  *fetch;

    head = &d->fetches[ngx_http_usher_directory_hash(kind, id) % 256];

    for (q = ngx_queue_head(head); q != head; q = ngx_queue_next(q)) {
        fetch = ngx_queue_data(q, ngx_http_usher_fetch_t, hash);

        if (fetch->kind == kind && fetch->id.len == id->len
            && ngx_memcmp(fetch->id.data, id->data, id->len) == 0)
        {
            return fetch;
        }
    }

    return NULL;
}


/* Begins in queued. */

static ngx_http_usher_fetch_t *
ngx_http_usher_fetch_create(ngx_http_usher_directory_t *d, ngx_uint_t kind,
    ngx_str_t *id, u_char *digest)
{
    ngx_queue_t             *head;
    ngx_http_usher_fetch_t  *fetch;

    fetch = ngx_calloc(sizeof(ngx_http_usher_fetch_t), ngx_cycle->log);

    if (fetch == NULL) {
        return NULL;
    }

    fetch->kind = kind;
    fetch->id.data = fetch->text;
    fetch->id.len = id->len;
    ngx_memcpy(fetch->text, id->data, id->len);

    if (digest != NULL) {
        ngx_memcpy(fetch->digest, digest, USHER_KEY_DIGEST);
    }

    head = &d->fetches[ngx_http_usher_directory_hash(kind, id) % 256];

    ngx_queue_init(&fetch->waiters);
    ngx_queue_insert_head(head, &fetch->hash);
    ngx_queue_insert_tail(&d->queued, &fetch->queue);

    if (!d->pace.timer_set) {
        ngx_add_timer(&d->pace, NGX_HTTP_USHER_PACE);
    }

    return fetch;
}


/*
 * One MGET for n fetches, which are taken out of queued.  If it cannot be
 * sent they are done, failed.
 */

static ngx_int_t
ngx_http_usher_fetch_send(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t **fetches, ngx_uint_t n)
{
    u_char                   *p;
    ngx_str_t                 argv[2 + NGX_HTTP_USHER_BULK];
    ngx_uint_t                i;
    ngx_http_usher_bulk_t    *bulk;
    ngx_http_usher_fetch_t   *fetch;
    ngx_http_usher_shared_t  *shared;

    static u_char  keys[NGX_HTTP_USHER_BULK][NGX_HTTP_USHER_ID_MAX + 32];

    shared = d->shared;

    bulk = ngx_alloc(offsetof(ngx_http_usher_bulk_t, fetches)
                     + n * sizeof(ngx_http_usher_fetch_t *), ngx_cycle->log);

    ngx_str_set(&argv[0], "MGET");
    ngx_str_set(&argv[1], USHER_READY);

    for (i = 0; i < n; i++) {
        fetch = fetches[i];

        if (!fetch->sent) {
            ngx_queue_remove(&fetch->queue);
            fetch->sent = 1;
        }

        fetch->tries++;

        /* what is remembered must be older than the answer */

        fetch->fill.generation = shared->generation;
        fetch->fill.epoch = shared->epoch[fetch->kind];
        fetch->fill.ticket = ngx_http_usher_ticket(shared, fetch->kind,
                                                   &fetch->id);
        fetch->fill.seen = *fetch->fill.ticket;

        p = ngx_sprintf(keys[i], USHER_RECORD_PREFIX "%V:%V",
                        &ngx_http_usher_kinds[fetch->kind], &fetch->id);

        argv[2 + i].data = keys[i];
        argv[2 + i].len = p - keys[i];

        if (bulk != NULL) {
            bulk->fetches[i] = fetch;
        }
    }

    ngx_memory_barrier();

    if (bulk != NULL) {
        bulk->n = n;

        if (ngx_http_usher_redis_command(d->redis, ngx_http_usher_fetch_reply,
                                         bulk, NGX_HTTP_USHER_MGET_TIMEOUT,
                                         2 + n, argv)
            == NGX_OK)
        {
            ngx_http_usher_add(directory_misses, n);
            return NGX_OK;
        }

        ngx_free(bulk);
    }

    for (i = 0; i < n; i++) {
        ngx_http_usher_fetch_done(d, fetches[i], 1);
    }

    return NGX_ERROR;
}


static void
ngx_http_usher_fetch_reply(void *data, ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_bulk_t *bulk = data;

    ngx_int_t                    rc;
    ngx_str_t                    ready;
    ngx_uint_t                   i;
    ngx_http_usher_fetch_t      *fetch;
    ngx_http_usher_directory_t  *d;

    d = &ngx_http_usher_directory_data;

    if (reply != NULL && (reply->type != NGX_HTTP_USHER_REDIS_ARRAY
                          || reply->n != bulk->n + 1))
    {
        reply = NULL;
    }

    ngx_str_null(&ready);

    if (reply != NULL
        && reply->elements[0].type == NGX_HTTP_USHER_REDIS_STRING)
    {
        ready = reply->elements[0].str;
    }

    for (i = 0; i < bulk->n; i++) {
        fetch = bulk->fetches[i];

        rc = NGX_BUSY;

        if (ready.len) {
            rc = ngx_http_usher_fetch_store(d, fetch, &ready,
                                            &reply->elements[i + 1]);
        }

        if (rc == NGX_AGAIN && fetch->tries < NGX_HTTP_USHER_TRIES) {

            /* a change came in between */

            (void) ngx_http_usher_fetch_send(d, &fetch, 1);
            continue;
        }

        ngx_http_usher_fetch_done(d, fetch, rc != NGX_OK);
    }

    ngx_free(bulk);
}


/* NGX_OK: the zone knows.  NGX_AGAIN: fetch again.  NGX_BUSY: unknowable. */

static ngx_int_t
ngx_http_usher_fetch_store(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, ngx_str_t *ready,
    ngx_http_usher_reply_t *reply)
{
    ngx_int_t    rc;
    const char  *reason;

    reason = NULL;

    switch (reply->type) {

    case NGX_HTTP_USHER_REDIS_NIL:
        rc = NGX_DECLINED;
        break;

    case NGX_HTTP_USHER_REDIS_STRING:
        rc = ngx_http_usher_fetch_record(d, fetch, &reply->str, ready,
                                         &reason);
        break;

    default:
        return NGX_BUSY;
    }

    if (rc == NGX_ERROR) {
        ngx_http_usher_fetch_corrupt(d, fetch, reason);
        return NGX_BUSY;
    }

    if (rc == NGX_DECLINED) {
        rc = (fetch->kind == NGX_HTTP_USHER_KIND_KEY)
             ? ngx_http_usher_zone_key_negative(fetch->digest, &fetch->fill)
             : ngx_http_usher_zone_record_negative(fetch->kind, &fetch->id,
                                                   &fetch->fill);
    }

    return (rc == NGX_DECLINED) ? NGX_BUSY : rc;
}


static ngx_int_t
ngx_http_usher_fetch_record(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, ngx_str_t *text, ngx_str_t *ready,
    const char **reason)
{
    size_t      len;
    ngx_int_t   rc;

    static u_char                buf[NGX_HTTP_USHER_RECORD_MAX];
    static ngx_http_usher_key_t  key;

    if (fetch->kind == NGX_HTTP_USHER_KIND_KEY) {
        rc = ngx_http_usher_record_key(text, ready, &key, reason);

    } else {
        rc = ngx_http_usher_record_plan(text, ready, buf, &len, reason);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    if (d->shared->corrupt
        && d->shared->corrupt
           == (ngx_atomic_uint_t) ngx_http_usher_directory_hash(fetch->kind,
                                                                &fetch->id)
              + 1)
    {
        d->shared->corrupt = 0;

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher: record %V:%V of the directory is whole again",
                      &ngx_http_usher_kinds[fetch->kind], &fetch->id);
    }

    if (fetch->kind == NGX_HTTP_USHER_KIND_KEY) {
        rc = ngx_http_usher_zone_key_set(fetch->digest, &key, &fetch->fill);

    } else {
        rc = ngx_http_usher_zone_record_set(fetch->kind, &fetch->id, buf, len,
                                            &fetch->fill);
    }

    /* no cell: not what NGX_DECLINED means to the caller */

    return (rc == NGX_DECLINED) ? NGX_BUSY : rc;
}


/* Counted each time, said once until it is whole, and usherd is told. */

static void
ngx_http_usher_fetch_corrupt(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, const char *reason)
{
    u_char      text[NGX_HTTP_USHER_ID_MAX + 32];
    ngx_str_t   argv[3];

    ngx_http_usher_count(directory_corrupt);

    if (ngx_atomic_cmp_set(&d->shared->corrupt, 0,
                    (ngx_atomic_uint_t) ngx_http_usher_directory_hash(
                                            fetch->kind, &fetch->id)
                    + 1))
    {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "usher: record %V:%V of the directory cannot be read: "
                      "%s; usherd is asked to write it again",
                      &ngx_http_usher_kinds[fetch->kind], &fetch->id, reason);
    }

    ngx_str_set(&argv[0], "SADD");
    ngx_str_set(&argv[1], NGX_HTTP_USHER_BAD);
    argv[2].data = text;
    argv[2].len = ngx_sprintf(text, "%V:%V",
                              &ngx_http_usher_kinds[fetch->kind], &fetch->id)
                  - text;

    (void) ngx_http_usher_redis_command(d->redis,
                                        ngx_http_usher_fetch_reported, NULL,
                                        NGX_HTTP_USHER_PATIENCE, 3, argv);
}


static void
ngx_http_usher_fetch_reported(void *data, ngx_http_usher_reply_t *reply)
{
    /* if it was lost, the next who asks for the record reports it again */
}


/* Its waiters go on; those that come back find the zone's answer. */

static void
ngx_http_usher_fetch_done(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, ngx_uint_t failed)
{
    ngx_queue_t              *q;
    ngx_http_usher_waiter_t  *w;

    while (!ngx_queue_empty(&fetch->waiters)) {
        q = ngx_queue_head(&fetch->waiters);
        w = ngx_queue_data(q, ngx_http_usher_waiter_t, link);

        ngx_http_usher_directory_unlink(d, w);

        w->failed = failed;
        w->resumed = 1;
        ngx_queue_insert_tail(&d->resumed, &w->queue);

        ngx_post_event(&d->resume, &ngx_posted_events);
    }

    if (!fetch->sent) {
        ngx_queue_remove(&fetch->queue);
    }

    ngx_queue_remove(&fetch->hash);
    ngx_free(fetch);
}


/* ---- Events ---------------------------------------------------------- */


static void
ngx_http_usher_directory_connected(void *data)
{
    ngx_http_usher_directory_t *d = data;

    if (!ngx_queue_empty(&d->queued)) {
        ngx_http_usher_directory_pace(&d->pace);
    }
}


static void
ngx_http_usher_directory_lost(void *data)
{
    ngx_http_usher_directory_t *d = data;

    d->lost_at = ngx_current_msec;
}


static void
ngx_http_usher_directory_resume(ngx_event_t *ev)
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

        ngx_http_set_log_request(c->log, r);

        r->read_event_handler = ngx_http_block_reading;
        r->write_event_handler = ngx_http_core_run_phases;

        ngx_http_core_run_phases(r);
        ngx_http_run_posted_requests(c);
    }
}


static void
ngx_http_usher_directory_deadline(ngx_event_t *ev)
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

        ngx_http_usher_directory_unlink(d, w);
        ngx_http_usher_count(directory_timeouts);

        w->late = 1;
        w->resumed = 1;
        ngx_queue_insert_tail(&d->resumed, &w->queue);

        ngx_post_event(&d->resume, &ngx_posted_events);
    }

    ngx_http_usher_directory_arm(d);
}


static void
ngx_http_usher_directory_arm(ngx_http_usher_directory_t *d)
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

    ngx_add_timer(&d->deadline, left > 0 ? (ngx_msec_t) left : 1);
}


/* The queue above the budget; also of what waits for a connection. */

static void
ngx_http_usher_directory_pace(ngx_event_t *ev)
{
    ngx_uint_t                   n;
    ngx_queue_t                 *q, *next;
    ngx_http_usher_fetch_t      *fetch;
    ngx_http_usher_fetch_t      *fetches[NGX_HTTP_USHER_BULK];
    ngx_http_usher_directory_t  *d;

    d = ev->data;
    n = 0;

    for (q = ngx_queue_head(&d->queued);
         q != ngx_queue_sentinel(&d->queued) && n < NGX_HTTP_USHER_BULK;
         q = next)
    {
        next = ngx_queue_next(q);
        fetch = ngx_queue_data(q, ngx_http_usher_fetch_t, queue);

        if (ngx_queue_empty(&fetch->waiters)) {

            /* all who wanted it have gone */

            ngx_http_usher_fetch_done(d, fetch, 1);
            continue;
        }

        fetches[n++] = fetch;
    }

    if (n > 0 && d->redis != NULL && ngx_http_usher_redis_ready(d->redis)) {
        (void) ngx_http_usher_fetch_send(d, fetches, n);
    }

    if (!ngx_queue_empty(&d->queued)) {
        ngx_add_timer(&d->pace, NGX_HTTP_USHER_PACE);
    }
}


static void
ngx_http_usher_directory_renew(ngx_event_t *ev)
{
    ngx_http_usher_directory_t  *d;

    d = ngx_http_usher_directory();

    if (d->shared != NULL && d->redis != NULL) {
        ngx_http_usher_changes_renew(d);
    }

    if (!ngx_exiting && !ngx_quit && !ngx_terminate) {
        ngx_add_timer(ev, NGX_HTTP_USHER_RENEW);
    }
}


/* ---- Life ------------------------------------------------------------ */


/* In single process mode the cycle changes under us: then all is new. */

static ngx_http_usher_directory_t *
ngx_http_usher_directory(void)
{
    ngx_http_usher_directory_t  *d;

    d = &ngx_http_usher_directory_data;

    if (d->cycle != ngx_cycle) {

        if (d->cycle != NULL) {
            ngx_http_usher_directory_end(d);
        }

        ngx_http_usher_directory_begin(d);
    }

    return d;
}


static void
ngx_http_usher_directory_begin(ngx_http_usher_directory_t *d)
{
    ngx_uint_t                i;
    ngx_http_conf_ctx_t      *ctx;
    ngx_http_usher_shared_t  *shared;

    if (d->cycle == NULL) {
        ngx_queue_init(&d->waiting);
        ngx_queue_init(&d->resumed);
        ngx_queue_init(&d->queued);

        for (i = 0; i < 256; i++) {
            ngx_queue_init(&d->fetches[i]);
        }
    }

    d->cycle = (ngx_cycle_t *) ngx_cycle;
    d->lost_at = ngx_current_msec;
    d->shared = NULL;
    d->redis = NULL;

    ngx_http_usher_directory_event(&d->resume,
                                   ngx_http_usher_directory_resume);
    ngx_http_usher_directory_event(&d->deadline,
                                   ngx_http_usher_directory_deadline);
    ngx_http_usher_directory_event(&d->pace, ngx_http_usher_directory_pace);
    ngx_http_usher_directory_event(&d->renew, ngx_http_usher_directory_renew);

    ctx = (ngx_http_conf_ctx_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                               ngx_http_module);
    if (ctx == NULL) {
        return;
    }

    d->conf = ctx->main_conf[ngx_http_usher_directory_module.ctx_index];

    shared = ngx_http_usher_shared();

    if (shared == NULL) {
        return;
    }

    /*
     * A new zone: the stale clock starts now, and generation 0 is none.
     * Another process may be doing the same.
     */

    (void) ngx_atomic_cmp_set(&shared->generation, 0, 1);
    (void) ngx_atomic_cmp_set(&shared->raised, 0, ngx_current_msec);
    (void) ngx_atomic_cmp_set(&shared->heartbeat, 0,
                              ngx_current_msec - NGX_HTTP_USHER_FRESH - 1);

    d->redis = ngx_http_usher_redis_create(d->cycle, "directory",
                                           &ngx_http_usher_directory_events);
    d->shared = shared;
}


static void
ngx_http_usher_directory_event(ngx_event_t *ev, ngx_event_handler_pt handler)
{
    ev->handler = handler;
    ev->data = &ngx_http_usher_directory_data;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;
}


static void
ngx_http_usher_directory_end(ngx_http_usher_directory_t *d)
{
    ngx_http_usher_changes_stop(d);

    if (d->redis != NULL) {
        ngx_http_usher_redis_destroy(d->redis);
        d->redis = NULL;
    }
}


static void *
ngx_http_usher_directory_create_conf(ngx_conf_t *cf)
{
    ngx_uint_t                        i;
    ngx_http_usher_directory_conf_t  *conf;

    conf = ngx_palloc(cf->pool, sizeof(ngx_http_usher_directory_conf_t));

    if (conf == NULL) {
        return NULL;
    }

    /* -1 is a value here: forever */

    for (i = 0; i < NGX_HTTP_USHER_KINDS; i++) {
        conf->stale[i] = NGX_CONF_UNSET_MSEC - 1;
    }

    return conf;
}


static char *
ngx_http_usher_directory_init_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_usher_directory_conf_t *dcf = conf;

    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_USHER_KINDS; i++) {

        if (dcf->stale[i] != NGX_CONF_UNSET_MSEC - 1) {
            continue;
        }

        /*
         * An old key may be a revoked one; an old plan only limits as it
         * did, and who has no key does not come so far.
         */

        dcf->stale[i] = (i == NGX_HTTP_USHER_KIND_KEY)
                        ? 5 * 60 * 1000 : NGX_HTTP_USHER_FOREVER;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_stale(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_directory_conf_t *dcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   kind;
    ngx_msec_t   stale;

    value = cf->args->elts;

    kind = ngx_http_usher_kind(&value[1]);

    if (kind == NGX_HTTP_USHER_KINDS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown kind \"%V\" of records, \"key\" or "
                           "\"plan\" expected", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (dcf->stale[kind] != NGX_CONF_UNSET_MSEC - 1) {
        return "is duplicate";
    }

    if (value[2].len == 7 && ngx_strncmp(value[2].data, "forever", 7) == 0) {
        dcf->stale[kind] = NGX_HTTP_USHER_FOREVER;
        return NGX_CONF_OK;
    }

    stale = ngx_parse_time(&value[2], 0);

    if (stale == (ngx_msec_t) NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\", a time or \"forever\" "
                           "expected", &value[2]);
        return NGX_CONF_ERROR;
    }

    dcf->stale[kind] = stale;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_usher_directory_init_process(ngx_cycle_t *cycle)
{
    ngx_http_usher_directory_t  *d;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    d = ngx_http_usher_directory();

    if (d->shared != NULL) {
        ngx_add_timer(&d->renew, 1);
    }

    return NGX_OK;
}


static void
ngx_http_usher_directory_exit_process(ngx_cycle_t *cycle)
{
    if (ngx_http_usher_directory_data.cycle != NULL) {
        ngx_http_usher_directory_end(&ngx_http_usher_directory_data);
    }
}
