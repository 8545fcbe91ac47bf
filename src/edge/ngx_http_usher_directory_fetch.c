
/*
 * ngx_http_usher_directory_fetch.c - records from Redis into the zone.
 *
 * DESIGN
 *
 * A fetch is one record on its way, shared by all requests of this worker
 * that wait for it.  It begins in a queue; it is sent at once, by an MGET of
 * its own, or with others at the queue's next pace.
 *
 * Tickets.  A fetch remembers, before it asks, the generation, the epoch of
 * negatives and a word that moves with the changes of records with its hash.
 * The zone stores the answer only if that word did not move, under the lock
 * of the cell's set; otherwise it is fetched again.  So an answer that was on
 * its way while a change was applied is never kept, and a worker that dies
 * leaves nothing behind.
 *
 * Without usher:d:ready, or with a record of another lineage, or a corrupt
 * one, the answer is "cannot know".  The corrupt one is named in a set that
 * usherd reads.
 */


#include "ngx_http_usher_directory.h"


#define NGX_HTTP_USHER_BULK          128     /* fetches of one command */
#define NGX_HTTP_USHER_PACE          5       /* msec between looks at queued */
#define NGX_HTTP_USHER_TRIES         8       /* of one fetch */

#define NGX_HTTP_USHER_MGET_TIMEOUT  200     /* msec */
#define NGX_HTTP_USHER_SADD_TIMEOUT  1000    /* msec */

#define NGX_HTTP_USHER_CORRUPT       5       /* seconds that one corrupt record
                                                keeps others out of the log */

#define NGX_HTTP_USHER_TICKET_BITS   40      /* of its time, 34 years of msec */
#define NGX_HTTP_USHER_TICKET_MASK                                            \
    (((ngx_atomic_uint_t) 1 << NGX_HTTP_USHER_TICKET_BITS) - 1)


/* One MGET. */
typedef struct {
    ngx_queue_t                queue;        /* in asked */
    ngx_uint_t                 n;
    ngx_http_usher_fetch_t    *fetches[NGX_HTTP_USHER_BULK];
} ngx_http_usher_bulk_t;


static ngx_uint_t ngx_http_usher_fetch_hash(ngx_uint_t kind, ngx_str_t *id);
static void ngx_http_usher_fetch_remember(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch);
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
static ngx_uint_t ngx_http_usher_fetch_report(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch);
static void ngx_http_usher_fetch_readable(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch);
static ngx_uint_t ngx_http_usher_fetch_gather(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetches[NGX_HTTP_USHER_BULK]);
static void ngx_http_usher_fetch_done(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, ngx_uint_t failed);


static ngx_uint_t
ngx_http_usher_fetch_hash(ngx_uint_t kind, ngx_str_t *id)
{
    return ngx_murmur_hash2(id->data, id->len) + kind;
}


ngx_atomic_t *
ngx_http_usher_ticket(ngx_http_usher_shared_t *shared, ngx_uint_t kind,
    ngx_str_t *id)
{
    return &shared->changed[ngx_http_usher_fetch_hash(kind, id)
                            % NGX_HTTP_USHER_TICKETS];
}


void
ngx_http_usher_ticket_move(ngx_atomic_t *ticket)
{
    ngx_atomic_uint_t  was, next;

    do {
        was = *ticket;
        next = (((was >> NGX_HTTP_USHER_TICKET_BITS) + 1)
                << NGX_HTTP_USHER_TICKET_BITS)
               | (ngx_current_msec & NGX_HTTP_USHER_TICKET_MASK);

    } while (!ngx_atomic_cmp_set(ticket, was, next));
}


ngx_msec_t
ngx_http_usher_ticket_age(ngx_atomic_t *ticket)
{
    ngx_atomic_uint_t  age;

    age = (ngx_current_msec - *ticket) & NGX_HTTP_USHER_TICKET_MASK;

    /* the clock of the worker that moved it may be some ms ahead of ours */

    return (age > NGX_HTTP_USHER_TICKET_MASK / 2) ? 0 : (ngx_msec_t) age;
}


ngx_http_usher_fetch_t *
ngx_http_usher_fetch_find(ngx_http_usher_directory_t *d, ngx_uint_t kind,
    ngx_str_t *id)
{
    ngx_queue_t             *q, *head;
    ngx_http_usher_fetch_t  *fetch;

    head = &d->fetches[ngx_http_usher_fetch_hash(kind, id) % 256];

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

ngx_http_usher_fetch_t *
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

    head = &d->fetches[ngx_http_usher_fetch_hash(kind, id) % 256];

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

ngx_int_t
ngx_http_usher_fetch_send(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t **fetches, ngx_uint_t n)
{
    u_char                  *p;
    ngx_str_t                argv[2 + NGX_HTTP_USHER_BULK];
    ngx_uint_t               i;
    ngx_http_usher_bulk_t   *bulk;
    ngx_http_usher_fetch_t  *fetch;

    static u_char  keys[NGX_HTTP_USHER_BULK][NGX_HTTP_USHER_ID_MAX + 32];

    bulk = ngx_alloc(offsetof(ngx_http_usher_bulk_t, fetches)
                     + n * sizeof(ngx_http_usher_fetch_t *), ngx_cycle->log);

    ngx_str_set(&argv[0], "MGET");
    ngx_str_set(&argv[1], USHER_READY);

    for (i = 0; i < n; i++) {
        fetch = fetches[i];

        ngx_http_usher_fetch_remember(d, fetch);

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
            ngx_queue_insert_tail(&d->asked, &bulk->queue);
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


/* What is remembered must be older than the answer. */

static void
ngx_http_usher_fetch_remember(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch)
{
    ngx_http_usher_shared_t  *shared;

    shared = d->shared;

    if (!fetch->sent) {
        ngx_queue_remove(&fetch->queue);
        fetch->sent = 1;
    }

    fetch->tries++;

    fetch->fill.generation = shared->generation;
    fetch->fill.epoch = shared->epoch[fetch->kind];
    fetch->fill.ticket = ngx_http_usher_ticket(shared, fetch->kind,
                                               &fetch->id);
    fetch->fill.seen = *fetch->fill.ticket;
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

    ngx_queue_remove(&bulk->queue);

    if (reply != NULL) {
        d->hangs = 0;
    }

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


/* The client goes: nobody will answer what it was asked. */

void
ngx_http_usher_fetch_abandon(ngx_http_usher_directory_t *d)
{
    ngx_uint_t              i;
    ngx_queue_t            *q;
    ngx_http_usher_bulk_t  *bulk;

    while (!ngx_queue_empty(&d->asked)) {
        q = ngx_queue_head(&d->asked);
        bulk = ngx_queue_data(q, ngx_http_usher_bulk_t, queue);

        ngx_queue_remove(q);

        for (i = 0; i < bulk->n; i++) {
            ngx_http_usher_fetch_done(d, bulk->fetches[i], 1);
        }

        ngx_free(bulk);
    }
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
        ngx_http_usher_fetch_readable(d, fetch);

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

    len = 0;

    if (fetch->kind == NGX_HTTP_USHER_KIND_KEY) {
        rc = ngx_http_usher_record_key(text, ready, &key, reason);

    } else {
        rc = ngx_http_usher_record_pack(fetch->kind, text, ready, buf, &len,
                                        reason);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_usher_fetch_readable(d, fetch);

    if (fetch->kind == NGX_HTTP_USHER_KIND_KEY) {
        rc = ngx_http_usher_zone_key_set(fetch->digest, &key, &fetch->fill);

    } else {
        rc = ngx_http_usher_zone_record_set(fetch->kind, &fetch->id, buf, len,
                                            &fetch->fill);
    }

    /* no cell: not what NGX_DECLINED means to the caller */

    return (rc == NGX_DECLINED) ? NGX_BUSY : rc;
}


/* Counted each time, said once until it can be read, and usherd is told. */

static void
ngx_http_usher_fetch_corrupt(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, const char *reason)
{
    u_char      text[NGX_HTTP_USHER_ID_MAX + 32];
    ngx_str_t   argv[3];

    ngx_http_usher_count(directory_corrupt);

    if (ngx_http_usher_fetch_report(d, fetch)) {
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

    /* if it is lost, the next who asks for the record reports it again */

    (void) ngx_http_usher_redis_command(d->redis, NULL, NULL,
                                        NGX_HTTP_USHER_SADD_TIMEOUT, 3, argv);
}


/*
 * Whether the log is to name it.  The word has the record that was named last
 * and, above it, the second: another one takes it over after a while, since
 * the first may never be asked for again.
 */

static ngx_uint_t
ngx_http_usher_fetch_report(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch)
{
    uint32_t           hash, now;
    ngx_atomic_uint_t  was;

    hash = (uint32_t) ngx_http_usher_fetch_hash(fetch->kind, &fetch->id) | 1;
    now = (uint32_t) (ngx_current_msec / 1000);
    was = d->shared->corrupt;

    if (was && ((uint32_t) was == hash
                || (int32_t) (now - (uint32_t) (was >> 32))
                   < NGX_HTTP_USHER_CORRUPT))
    {
        return 0;
    }

    return ngx_atomic_cmp_set(&d->shared->corrupt, was,
                              (ngx_atomic_uint_t) now << 32 | hash);
}


/* It is whole, or gone: if the log named it, that is over. */

static void
ngx_http_usher_fetch_readable(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch)
{
    uint32_t           hash;
    ngx_atomic_uint_t  was;

    was = d->shared->corrupt;

    if (was == 0) {
        return;
    }

    hash = (uint32_t) ngx_http_usher_fetch_hash(fetch->kind, &fetch->id) | 1;

    if ((uint32_t) was != hash
        || !ngx_atomic_cmp_set(&d->shared->corrupt, was, 0))
    {
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "usher: record %V:%V of the directory can be read again",
                  &ngx_http_usher_kinds[fetch->kind], &fetch->id);
}


/* Its waiters go on; those that come back find the zone's answer. */

static void
ngx_http_usher_fetch_done(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetch, ngx_uint_t failed)
{
    ngx_http_usher_wait_answer(d, &fetch->waiters, failed);

    if (!fetch->sent) {
        ngx_queue_remove(&fetch->queue);
    }

    ngx_queue_remove(&fetch->hash);
    ngx_free(fetch);
}


/*
 * The queue above the budget; also of what waits for a connection.  All of it
 * is asked, so that it holds no more than comes in while Redis answers.
 */

void
ngx_http_usher_fetch_pace(ngx_event_t *ev)
{
    ngx_uint_t                   n;
    ngx_http_usher_fetch_t      *fetches[NGX_HTTP_USHER_BULK];
    ngx_http_usher_directory_t  *d;

    d = ev->data;

    do {
        n = ngx_http_usher_fetch_gather(d, fetches);

    } while (n > 0 && d->redis != NULL && ngx_http_usher_redis_ready(d->redis)
             && ngx_http_usher_fetch_send(d, fetches, n) == NGX_OK);

    if (!ngx_queue_empty(&d->queued)) {
        ngx_add_timer(&d->pace, NGX_HTTP_USHER_PACE);
    }
}


/* The first of the queue, as many as one command may ask for. */

static ngx_uint_t
ngx_http_usher_fetch_gather(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t *fetches[NGX_HTTP_USHER_BULK])
{
    ngx_uint_t               n;
    ngx_queue_t             *q, *next;
    ngx_http_usher_fetch_t  *fetch;

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

    return n;
}
