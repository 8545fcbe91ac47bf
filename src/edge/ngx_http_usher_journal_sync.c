
/*
 * ngx_http_usher_journal_sync.c - group sync.
 *
 * One sync runs at a time, in a thread, for all who wait: what is appended
 * meanwhile is covered by the next, which starts when the first has passed.
 * Lines count as synced only with a seal, for after a power loss the end of
 * a slot is where valid seals end.
 *
 * A sync covers every segment written to since the last one; their
 * descriptors are duplicated, so that the loop may switch meanwhile.
 *
 * A worker that is told to quit does so once it has no timers: while somebody
 * waits there is one.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "ngx_http_usher_journal.h"


#define NGX_HTTP_USHER_WAITER_WAITING  0
#define NGX_HTTP_USHER_WAITER_SYNCED   1
#define NGX_HTTP_USHER_WAITER_FAILED   2

#define NGX_HTTP_USHER_WAITER_HOLD     1000    /* msec */


/* A request that waits; lies in its own pool. */
typedef struct {
    ngx_queue_t          queue;        /* of journal->waiters */
    ngx_http_request_t  *request;
    uint64_t             position;
    ngx_uint_t           generation;   /* slot that position counts in */
    ngx_uint_t           state;        /* NGX_HTTP_USHER_WAITER_* */
} ngx_http_usher_waiter_t;


static void ngx_http_usher_sync_work(void *data, ngx_log_t *log);
static void ngx_http_usher_sync_done(void *self);
static ngx_http_usher_waiter_t *ngx_http_usher_sync_waiter(
    ngx_http_request_t *r);
static void ngx_http_usher_sync_cleanup(void *data);
static void ngx_http_usher_sync_hold(ngx_http_usher_journal_t *j);


/* Suspends a request until what is committed now is synced. */

ngx_int_t
ngx_http_usher_sync_wait(ngx_http_usher_journal_t *j, ngx_http_request_t *r)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_usher_waiter_t  *w;

    w = ngx_http_usher_sync_waiter(r);

    if (w == NULL) {
        cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_usher_waiter_t));

        if (cln == NULL) {
            return NGX_ERROR;
        }

        w = cln->data;
        w->request = r;
        w->state = NGX_HTTP_USHER_WAITER_SYNCED;
        cln->handler = ngx_http_usher_sync_cleanup;
    }

    if (w->state == NGX_HTTP_USHER_WAITER_WAITING) {
        ngx_queue_remove(&w->queue);
    }

    w->state = NGX_HTTP_USHER_WAITER_WAITING;
    w->position = j->committed;
    w->generation = j->generation;

    ngx_queue_insert_tail(&j->waiters, &w->queue);
    ngx_http_usher_sync_hold(j);

    /* who goes away is noticed, as with an upstream */

    if (r->read_event_handler == ngx_http_block_reading) {
        r->read_event_handler = ngx_http_test_reading;
    }

    j->wanted = j->committed;
    ngx_http_usher_sync_start(j);

    return NGX_AGAIN;
}


ngx_int_t
ngx_http_usher_journal_synced(ngx_http_request_t *r)
{
    ngx_http_usher_waiter_t  *w;

    w = ngx_http_usher_sync_waiter(r);

    if (w == NULL) {
        return NGX_ERROR;
    }

    switch (w->state) {

    case NGX_HTTP_USHER_WAITER_SYNCED:
        return NGX_OK;

    case NGX_HTTP_USHER_WAITER_FAILED:
        return NGX_ERROR;

    default:
        return NGX_AGAIN;
    }
}


static ngx_http_usher_waiter_t *
ngx_http_usher_sync_waiter(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = r->pool->cleanup; cln != NULL; cln = cln->next) {
        if (cln->handler == ngx_http_usher_sync_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


static void
ngx_http_usher_sync_cleanup(void *data)
{
    ngx_http_usher_waiter_t  *w = data;

    if (w->state == NGX_HTTP_USHER_WAITER_WAITING) {
        ngx_queue_remove(&w->queue);
        w->state = NGX_HTTP_USHER_WAITER_FAILED;
    }
}


static void
ngx_http_usher_sync_hold(ngx_http_usher_journal_t *j)
{
    if (ngx_queue_empty(&j->waiters)) {

        if (j->resume.timer_set) {
            ngx_del_timer(&j->resume);
        }

    } else if (!j->resume.timer_set) {
        ngx_add_timer(&j->resume, NGX_HTTP_USHER_WAITER_HOLD);
    }
}


/* Starts a sync of all that is committed, unless one runs. */

void
ngx_http_usher_sync_start(ngx_http_usher_journal_t *j)
{
    ngx_uint_t              i;
    ngx_http_usher_sync_t  *sync;

    sync = &j->sync;

    if (j->own == NULL || sync->task.active || sync->task.task.event.active) {
        return;
    }

    if (j->synced >= j->committed && j->nunsynced == 0) {
        return;
    }

    ngx_http_usher_slot_seal(j);

    sync->n = 0;
    sync->fds[sync->n] = dup(j->map.fd);

    if (sync->fds[sync->n] == -1) {
        return;
    }

    sync->n++;

    for (i = 0; i < j->nunsynced; i++) {
        sync->fds[sync->n++] = j->unsynced[i];
    }

    sync->whole = j->unsynced_more;
    sync->position = j->sealed;
    sync->generation = j->generation;
    sync->dirs[0] = j->unsynced_dirs ? dup(j->own->dir) : -1;
    sync->dirs[1] = j->unsynced_dirs ? dup(j->dir) : -1;

    if (ngx_http_usher_task_post(j, &sync->task, NULL,
                                 ngx_http_usher_sync_work,
                                 ngx_http_usher_sync_done)
        == NGX_OK)
    {
        j->nunsynced = 0;
        j->unsynced_more = 0;
        return;
    }

    (void) close(sync->fds[0]);

    if (sync->dirs[0] != -1) {
        (void) close(sync->dirs[0]);
    }

    if (sync->dirs[1] != -1) {
        (void) close(sync->dirs[1]);
    }
}


static void
ngx_http_usher_sync_work(void *data, ngx_log_t *log)
{
    ngx_http_usher_sync_t *sync = data;

    ngx_uint_t  i;

    sync->err = 0;

    if (sync->whole && syncfs(sync->fds[0]) == -1) {
        sync->err = ngx_errno;
    }

    for (i = 0; i < sync->n; i++) {
        if (fdatasync(sync->fds[i]) == -1) {
            sync->err = ngx_errno;
        }

        (void) close(sync->fds[i]);
    }

    for (i = 0; i < 2; i++) {

        if (sync->dirs[i] == -1) {
            continue;
        }

        if (fsync(sync->dirs[i]) == -1) {
            sync->err = ngx_errno;
        }

        (void) close(sync->dirs[i]);
    }

    __atomic_store_n(&sync->task.finished, 1, __ATOMIC_RELEASE);
}


static void
ngx_http_usher_sync_done(void *self)
{
    ngx_http_usher_sync_t *sync = self;

    ngx_http_usher_journal_t  *j;

    j = sync->task.journal;

    if (j->closing) {
        return;
    }

    ngx_http_usher_count(journal_syncs);

    if (sync->err != 0) {

        if (!j->sync_failed) {
            ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, sync->err,
                          "usher journal \"%V\": sync failed",
                          &j->conf->path);
        }

        j->sync_failed = 1;
        j->unsynced_more = 1;
        ngx_http_usher_sync_fail(j);
        return;
    }

    if (j->sync_failed) {
        j->sync_failed = 0;
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "usher journal \"%V\": sync works again",
                      &j->conf->path);
    }

    if (sync->generation == j->generation) {
        j->synced = sync->position;
        j->figures->synced = j->synced;

        if (sync->dirs[0] != -1) {
            j->unsynced_dirs = 0;
        }
    }

    if (!ngx_queue_empty(&j->waiters)) {
        ngx_post_event(&j->resume, &ngx_posted_events);
    }

    if (j->wanted > j->synced) {
        ngx_http_usher_sync_start(j);
    }
}


void
ngx_http_usher_sync_timer(ngx_event_t *ev)
{
    ngx_http_usher_journal_t  *j = ev->data;

    if (j->cycle != ngx_cycle) {
        return;
    }

    ngx_http_usher_sync_start(j);
    ngx_add_timer(ev, j->conf->interval);
}


/*
 * Lets the requests go on whose lines are synced.  A handler may end any
 * request, so that each round begins at the head of the queue.
 */

void
ngx_http_usher_sync_resume(ngx_event_t *ev)
{
    ngx_http_usher_journal_t  *j = ev->data;

    ngx_queue_t              *q;
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_usher_waiter_t  *w;

    while (!ngx_queue_empty(&j->waiters)) {
        q = ngx_queue_head(&j->waiters);
        w = ngx_queue_data(q, ngx_http_usher_waiter_t, queue);

        if (w->generation == j->generation && w->position > j->synced) {
            break;
        }

        ngx_queue_remove(q);

        /* a slot that was given up meanwhile took its lines along */

        w->state = (w->generation == j->generation)
                   ? NGX_HTTP_USHER_WAITER_SYNCED
                   : NGX_HTTP_USHER_WAITER_FAILED;

        r = w->request;
        c = r->connection;

        ngx_http_set_log_request(c->log, r);
        r->write_event_handler(r);
        ngx_http_run_posted_requests(c);
    }

    ngx_http_usher_sync_hold(j);
}


/* Nobody can be told that his line is safe. */

void
ngx_http_usher_sync_fail(ngx_http_usher_journal_t *j)
{
    ngx_queue_t              *q;
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_usher_waiter_t  *w;

    while (!ngx_queue_empty(&j->waiters)) {
        q = ngx_queue_head(&j->waiters);
        w = ngx_queue_data(q, ngx_http_usher_waiter_t, queue);

        ngx_queue_remove(q);
        w->state = NGX_HTTP_USHER_WAITER_FAILED;

        r = w->request;
        c = r->connection;

        ngx_http_set_log_request(c->log, r);
        r->write_event_handler(r);
        ngx_http_run_posted_requests(c);
    }

    ngx_http_usher_sync_hold(j);
}
