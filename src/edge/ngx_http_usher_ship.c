
/*
 * ngx_http_usher_ship.c - from the journal to Redis.
 *
 * DESIGN
 *
 * An entry is shipped from the mapped segment itself, or from the buffer a
 * thread has read: nothing else is kept in memory, for what was sent and is
 * needed again is in the journal.  Entries are pipelined; what has no reply
 * yet is bounded per connection, what is not acknowledged per node.
 *
 * The replies only tell whether to go on.  Any error takes the stream up
 * again: MULTI, DEL, the first entry, EXEC, from the acknowledged position;
 * the slot's epoch rises and replies of the old one are void.  A refused
 * entry is never taken for an acknowledgement, which only PostgreSQL gives.
 */


#include "ngx_http_usher_journal.h"


#define NGX_HTTP_USHER_SHIP_TIMEOUT  5000
#define NGX_HTTP_USHER_SHIP_DELAY    100     /* msec after an error */
#define NGX_HTTP_USHER_SHIP_DELAYS   5000


static void ngx_http_usher_ship_connected(void *data);
static void ngx_http_usher_ship_lost(void *data);
static ngx_uint_t ngx_http_usher_ship_all(ngx_http_usher_journal_t *j);
static ngx_uint_t ngx_http_usher_ship_closed(ngx_http_usher_slot_t *s,
    ngx_http_usher_entry_t *e);
static ngx_uint_t ngx_http_usher_ship_index(ngx_str_t *name);
static void ngx_http_usher_ship_reply(void *data,
    ngx_http_usher_reply_t *reply);
static void ngx_http_usher_ship_judge(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply);
static ngx_http_usher_reply_t *ngx_http_usher_ship_error(
    ngx_http_usher_reply_t *reply);
static ngx_int_t ngx_http_usher_ship_failed(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply);


/*
 * What is sent for a slot.  Without the last two events go on to PostgreSQL:
 * keys of slots that are over stay in Redis.
 */
static const char  *ngx_http_usher_ship_commands[] = {
    "GET",
    "XINFO",
    "HSET",
    "XADD",
    "MULTI",
    "EXEC",
    "DEL",
    "HDEL"
};

#define NGX_HTTP_USHER_SHIP_EXEC   5
#define NGX_HTTP_USHER_SHIP_NEEDS  0x3f


ngx_int_t
ngx_http_usher_ship_init(ngx_http_usher_journal_t *j)
{
    ngx_http_usher_redis_events_t  events;

    ngx_memzero(&events, sizeof(ngx_http_usher_redis_events_t));

    events.connected = ngx_http_usher_ship_connected;
    events.lost = ngx_http_usher_ship_lost;
    events.data = j;

    j->redis = ngx_http_usher_redis_create((ngx_cycle_t *) ngx_cycle,
                                           "stream", &events);

    return (j->redis != NULL) ? NGX_OK : NGX_DECLINED;
}


/* Nothing is believed of a Redis just met, not even that it is the same. */

static void
ngx_http_usher_ship_connected(void *data)
{
    ngx_http_usher_journal_t  *j = data;

    ngx_queue_t            *q;
    ngx_http_usher_slot_t  *s;

    for (q = ngx_queue_head(&j->slots);
         q != ngx_queue_sentinel(&j->slots);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_usher_slot_t, queue);

        s->known = 0;
        s->checked = 0;
        s->retry = 0;
        s->delay = 0;
        s->backoff = NGX_HTTP_USHER_IDLE_TICK;

        ngx_http_usher_ack_read(s);
        ngx_http_usher_ack_check(s);
        ngx_http_usher_ack_announce(s);
    }
}


static void
ngx_http_usher_ship_lost(void *data)
{
    ngx_http_usher_journal_t  *j = data;

    ngx_queue_t            *q;
    ngx_http_usher_slot_t  *s;

    for (q = ngx_queue_head(&j->slots);
         q != ngx_queue_sentinel(&j->slots);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_usher_slot_t, queue);

        s->known = 0;
        s->checked = 0;
        s->asking = 0;
        s->checking = 0;
    }
}


/* Timer: 20 ms after a commit, and as long as something waits to be sent. */

void
ngx_http_usher_ship_tick(ngx_event_t *ev)
{
    ngx_http_usher_journal_t  *j = ev->data;

    ngx_queue_t            *q;
    ngx_http_usher_slot_t  *s;

    if (j->cycle != ngx_cycle) {
        (void) ngx_http_usher_journal_get();
        return;
    }

    ngx_http_usher_slot_seal(j);
    ngx_http_usher_segment_touch(j);

    if (j->conf->sync == NGX_HTTP_USHER_SYNC_ALWAYS) {
        ngx_http_usher_sync_start(j);
    }

    if (j->redis == NULL || !ngx_http_usher_redis_ready(j->redis)) {
        return;
    }

    for (q = ngx_queue_head(&j->slots);
         q != ngx_queue_sentinel(&j->slots);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_usher_slot_t, queue);

        if (s->own || s->shipped < s->end) {
            ngx_http_usher_ack_read(s);
        }
    }

    if (ngx_http_usher_ship_all(j) && !j->tick.timer_set) {
        ngx_add_timer(&j->tick, NGX_HTTP_USHER_SHIP_TICK);
    }
}


static ngx_uint_t
ngx_http_usher_ship_all(ngx_http_usher_journal_t *j)
{
    ngx_uint_t              more;
    ngx_queue_t            *q, *next;
    ngx_http_usher_slot_t  *s;

    more = 0;

    for (q = ngx_queue_head(&j->slots);
         q != ngx_queue_sentinel(&j->slots);
         q = next)
    {
        next = ngx_queue_next(q);
        s = ngx_queue_data(q, ngx_http_usher_slot_t, queue);
        more |= ngx_http_usher_ship_pump(s);
    }

    return more;
}


/* Posted by a commit: 64 KB are there, or each line is to be synced. */

void
ngx_http_usher_ship_posted(ngx_event_t *ev)
{
    ngx_http_usher_journal_t  *j = ev->data;

    if (j->own == NULL || j->cycle != ngx_cycle) {
        return;
    }

    if (j->conf->sync == NGX_HTTP_USHER_SYNC_ALWAYS) {
        ngx_http_usher_sync_start(j);
    }

    if (j->committed - j->sealed >= NGX_HTTP_USHER_SHIP_SIZE) {
        ngx_http_usher_slot_seal(j);
        ngx_http_usher_segment_touch(j);
        (void) ngx_http_usher_ship_pump(j->own);
    }

    if (!j->tick.timer_set) {
        ngx_add_timer(&j->tick, NGX_HTTP_USHER_SHIP_TICK);
    }
}


/* Every second, for each slot: what nothing else would wake up. */

void
ngx_http_usher_ship_idle(ngx_http_usher_journal_t *j)
{
    ngx_uint_t              hurry;
    ngx_msec_t              now;
    ngx_queue_t            *q, *next;
    ngx_http_usher_slot_t  *s;

    now = ngx_current_msec;
    hurry = j->shared->journal_full;

    ngx_http_usher_slot_seal(j);

    for (q = ngx_queue_head(&j->slots);
         q != ngx_queue_sentinel(&j->slots);
         q = next)
    {
        next = ngx_queue_next(q);
        s = ngx_queue_data(q, ngx_http_usher_slot_t, queue);

        ngx_http_usher_slot_trim(s, j->shared->journal_full);

        if (s->adopted && s->end == 0 && !s->forked) {

            /* nothing was ever appended */

            ngx_http_usher_adopt_retire(s);
            continue;
        }

        if (s->forked) {
            (void) ngx_http_usher_ship_pump(s);
            continue;
        }

        if (j->redis == NULL || !ngx_http_usher_redis_ready(j->redis)) {
            continue;
        }

        ngx_http_usher_ack_read(s);

        if ((ngx_msec_int_t) (now - s->check) >= 0
            && (s->shipped > s->acked || s->foreign || !s->checked))
        {
            ngx_http_usher_ack_check(s);
        }

        if ((ngx_msec_int_t) (now - s->announce) >= 0) {
            ngx_http_usher_ack_announce(s);
        }

        if (s->adopted) {
            ngx_http_usher_ack_finish(s, &hurry);
        }
    }

    if (j->redis != NULL && ngx_http_usher_redis_ready(j->redis)
        && ngx_http_usher_ship_all(j) && !j->tick.timer_set)
    {
        ngx_add_timer(&j->tick, NGX_HTTP_USHER_SHIP_TICK);
    }
}


/* Sends what may be sent.  1: there is more, and nothing will call again. */

ngx_uint_t
ngx_http_usher_ship_pump(ngx_http_usher_slot_t *s)
{
    ngx_int_t                  rc;
    ngx_http_usher_entry_t     e;
    ngx_http_usher_journal_t  *j;

    j = s->journal;

    for ( ;; ) {

        if (j->closing || s->gone || s->closing || s->stopped) {
            return 0;
        }

        if (s->forked) {
            ngx_http_usher_fork_pump(s);
            return 0;
        }

        if (j->redis == NULL || !s->known || !s->checked || s->foreign
            || !ngx_http_usher_redis_ready(j->redis))
        {
            return 0;
        }

        if (s->retry != 0) {
            if ((ngx_msec_int_t) (s->retry - ngx_current_msec) > 0) {
                return 1;
            }

            s->retry = 0;
        }

        rc = ngx_http_usher_ship_next(s, &e);

        if (rc != NGX_OK) {

            /* NGX_AGAIN: a thread reads and calls; NGX_DONE: all is sent */

            return (rc == NGX_ERROR);
        }

        if (ngx_http_usher_ship_closed(s, &e)
            || ngx_http_usher_ship_entry(s, &e) != NGX_OK)
        {
            return 1;
        }
    }
}


/*
 * Does the window, or what Redis has not yet answered, forbid this entry?
 * A slot that has nothing in Redis may always send one.
 */

static ngx_uint_t
ngx_http_usher_ship_closed(ngx_http_usher_slot_t *s,
    ngx_http_usher_entry_t *e)
{
    uint64_t                   len;
    ngx_http_usher_journal_t  *j;

    j = s->journal;
    len = e->end - e->from;

    if (e->data == NULL) {
        return 0;
    }

    if (j->queued != 0 && j->queued + len > NGX_HTTP_USHER_SHIP_QUEUE) {
        return 1;
    }

    if (s->shipped <= s->acked) {
        return 0;
    }

    return ngx_http_usher_window(j->shared) + len > j->conf->window;
}


uint64_t
ngx_http_usher_window(ngx_http_usher_shared_t *shared)
{
    uint64_t    window;
    ngx_uint_t  i;

    window = 0;

    for (i = 0; i < NGX_HTTP_USHER_PROCESSES; i++) {
        if (shared->process[i].pid != 0) {
            window += shared->process[i].window;
        }
    }

    return window;
}


ngx_int_t
ngx_http_usher_ship_command(ngx_http_usher_slot_t *s,
    void (*handler)(ngx_http_usher_sent_t *sent,
                    ngx_http_usher_reply_t *reply),
    size_t len, ngx_uint_t argc, ngx_str_t *argv)
{
    ngx_http_usher_sent_t  *sent;

    sent = ngx_alloc(sizeof(ngx_http_usher_sent_t), ngx_cycle->log);

    if (sent == NULL) {
        return NGX_ERROR;
    }

    sent->slot = s;
    sent->handler = handler;
    sent->len = len;
    sent->shipped = s->shipped;
    sent->epoch = s->epoch;
    sent->last = s->ended;
    sent->command = ngx_http_usher_ship_index(&argv[0]);

    s->refs++;
    s->queued += len;
    s->journal->queued += len;

    if (ngx_http_usher_redis_command(s->journal->redis,
                                     ngx_http_usher_ship_reply, sent,
                                     NGX_HTTP_USHER_SHIP_TIMEOUT, argc, argv)
        == NGX_OK)
    {
        return NGX_OK;
    }

    s->refs--;
    s->queued -= len;
    s->journal->queued -= len;
    ngx_free(sent);

    return NGX_ERROR;
}


static ngx_uint_t
ngx_http_usher_ship_index(ngx_str_t *name)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_USHER_SHIP_COMMANDS - 1; i++) {
        if (ngx_strncmp(ngx_http_usher_ship_commands[i], name->data,
                        name->len + 1)
            == 0)
        {
            break;
        }
    }

    return i;
}


static void
ngx_http_usher_ship_reply(void *data, ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_sent_t *sent = data;

    ngx_http_usher_slot_t  *s;

    s = sent->slot;
    s->queued -= sent->len;
    s->journal->queued -= sent->len;

    if (!s->journal->closing) {

        if (reply != NULL) {
            ngx_http_usher_ship_judge(sent, reply);
        }

        if (!s->gone) {
            sent->handler(sent, reply);
        }
    }

    ngx_free(sent);

    s->refs--;
    ngx_http_usher_slot_release(s);
}


/*
 * Which commands Redis refuses, said once for each.  What one slot is refused
 * is over when that slot's next is not.
 */

static void
ngx_http_usher_ship_judge(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply)
{
    ngx_uint_t                 n, bit;
    ngx_str_t                 *why;
    const char                *name;
    ngx_http_usher_slot_t     *s;
    ngx_http_usher_reply_t    *error;
    ngx_http_usher_journal_t  *j;

    s = sent->slot;
    j = s->journal;
    n = sent->command;
    bit = (ngx_uint_t) 1 << n;
    name = ngx_http_usher_ship_commands[n];
    why = NULL;

    error = ngx_http_usher_ship_error(reply);

    if (error == NULL) {

        if (!(j->refused & bit)
            || (j->refuser[n] != NULL && j->refuser[n] != s))
        {
            return;
        }

        j->refused &= ~bit;

    } else {
        ngx_http_usher_count(redis_errors);

        if (j->refuser[n] == NULL || !(j->refused & bit)) {
            j->refuser[n] = s;
        }

        if (j->refused & bit) {
            return;
        }

        j->refused |= bit;
        why = &error->str;
    }

    if (n == NGX_HTTP_USHER_SHIP_EXEC) {

        /* it is aborted for what was said of another */

        name = NULL;
    }

    ngx_http_usher_redis_refused(j->redis, name, why,
                                 j->refused & NGX_HTTP_USHER_SHIP_NEEDS);
}


static ngx_http_usher_reply_t *
ngx_http_usher_ship_error(ngx_http_usher_reply_t *reply)
{
    ngx_uint_t  i;

    if (reply->type == NGX_HTTP_USHER_REDIS_ERROR) {

        /* of XINFO: no error of anybody's */

        return (ngx_strnstr(reply->str.data, "no such key", reply->str.len)
                != NULL) ? NULL : reply;
    }

    for (i = 0; i < reply->n; i++) {
        if (reply->elements[i].type == NGX_HTTP_USHER_REDIS_ERROR) {
            return &reply->elements[i];
        }
    }

    return NULL;
}


void
ngx_http_usher_ship_forget(ngx_http_usher_slot_t *s)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_USHER_SHIP_COMMANDS; i++) {
        if (s->journal->refuser[i] == s) {
            s->journal->refuser[i] = NULL;
        }
    }
}


void
ngx_http_usher_ship_added(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_slot_t  *s;

    s = sent->slot;

    if (ngx_http_usher_ship_failed(sent, reply)) {
        return;
    }

    s->delay = 0;

    (void) ngx_http_usher_ship_pump(s);
}


/* Inside MULTI: only a refusal is of interest, EXEC tells the rest. */

void
ngx_http_usher_ship_queued(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply)
{
    (void) ngx_http_usher_ship_failed(sent, reply);
}


static ngx_int_t
ngx_http_usher_ship_failed(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_slot_t  *s;

    s = sent->slot;

    if (reply == NULL || sent->epoch != s->epoch) {
        return 1;
    }

    if (ngx_http_usher_ship_error(reply) == NULL
        && reply->type != NGX_HTTP_USHER_REDIS_NIL)
    {
        return 0;
    }

    ngx_http_usher_ship_restart(s, s->acked);

    s->delay = s->delay ? ngx_min(s->delay * 2, NGX_HTTP_USHER_SHIP_DELAYS)
                        : NGX_HTTP_USHER_SHIP_DELAY;
    s->retry = ngx_current_msec + s->delay;

    if (!s->journal->tick.timer_set) {
        ngx_add_timer(&s->journal->tick, NGX_HTTP_USHER_SHIP_TICK);
    }

    return 1;
}


/* The stream is to be taken up again from a position. */

void
ngx_http_usher_ship_restart(ngx_http_usher_slot_t *s, uint64_t from)
{
    s->epoch++;
    s->takeup = 1;
    s->ended = 0;
    s->done = 0;
    s->shipped = from;

    if (!s->read.task.active) {
        s->read.nentries = 0;
    }

    ngx_http_usher_ship_window(s);
}


/* Keeps this process's share of the node's window. */

void
ngx_http_usher_ship_window(ngx_http_usher_slot_t *s)
{
    uint64_t  now;

    now = (s->shipped > s->acked && !s->forked) ? s->shipped - s->acked : 0;

    s->journal->figures->window += now - s->counted;
    s->counted = now;
}
