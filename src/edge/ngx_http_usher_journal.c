
/*
 * ngx_http_usher_journal.c - appending to the journal.
 *
 * DESIGN
 *
 * An append is a comparison of two pointers, the caller's writing of its
 * line into the mapped segment, and one release store of the committed
 * position: no system call, no allocation.  All that is slower (a slot, a
 * spare segment, seals, shipping, syncing) happens before or after, in the
 * other files (ngx_http_usher_journal.h).
 *
 * No trouble of the disk may fail a start: then the journal is full, says so
 * once, and tries again every second.
 */


#include "ngx_http_usher_journal.h"


/* What a request has reserved; its cleanup gives it back. */
typedef struct {
    ngx_http_usher_journal_t  *journal;
    size_t                     len;
} ngx_http_usher_hold_t;


static ngx_uint_t ngx_http_usher_journal_fits(ngx_http_usher_journal_t *j,
    size_t len, size_t held);
static ngx_http_usher_hold_t *ngx_http_usher_journal_hold(
    ngx_http_request_t *r, ngx_uint_t make);
static void ngx_http_usher_journal_unhold(void *data);
static uint64_t ngx_http_usher_journal_lines(ngx_http_usher_journal_t *j,
    size_t len);
static ngx_int_t ngx_http_usher_journal_gather(ngx_http_request_t *r,
    ngx_chain_t **body, off_t *offset, u_char *dst, size_t len);


u_char *
ngx_http_usher_journal_open(size_t len)
{
    u_char                    *p;
    ngx_http_usher_journal_t  *j;

    j = ngx_http_usher_journal;

    if (j != NULL && j->cycle == ngx_cycle && j->pos + len <= j->limit) {
        return j->pos;
    }

    p = ngx_http_usher_journal_room(len);

    if (p == NULL) {
        ngx_http_usher_count(journal_dropped);
    }

    return p;
}


void
ngx_http_usher_journal_commit(size_t used)
{
    ngx_http_usher_journal_t  *j;

    if (used == 0) {
        return;
    }

    j = ngx_http_usher_journal;

    j->pos += used;
    j->committed += used;
    j->lines++;

    __atomic_store_n(&j->head->committed, j->committed, __ATOMIC_RELEASE);

    ngx_http_usher_count(journal_events);
    ngx_http_usher_add(journal_bytes, used);

    if (j->committed - j->sealed >= NGX_HTTP_USHER_SHIP_SIZE) {
        ngx_post_event(&j->ship, &ngx_posted_events);

    } else if (!j->tick.timer_set) {
        ngx_add_timer(&j->tick, NGX_HTTP_USHER_SHIP_TICK);
    }

    if (j->conf->sync == NGX_HTTP_USHER_SYNC_ALWAYS) {
        j->wanted = j->committed;

        if (!j->sync.task.active) {
            ngx_post_event(&j->ship, &ngx_posted_events);
        }
    }
}


/* The slow half of an append: a slot, or the next segment. */

u_char *
ngx_http_usher_journal_room(size_t len)
{
    ngx_http_usher_journal_t  *j;

    j = ngx_http_usher_journal_get();

    if (j == NULL || len > j->conf->segment / 4) {
        return NULL;
    }

    if (j->own == NULL) {

        if (j->retry != 0
            && (ngx_msec_int_t) (j->retry - ngx_current_msec) > 0)
        {
            return NULL;
        }

        if (ngx_http_usher_slot_create(j) != NGX_OK) {
            j->retry = ngx_current_msec + NGX_HTTP_USHER_IDLE_TICK;
            return NULL;
        }

        j->retry = 0;
    }

    if (j->pos + len <= j->limit) {
        return j->pos;
    }

    if (ngx_http_usher_slot_switch(j) != NGX_OK) {
        return NULL;
    }

    return (j->pos + len <= j->limit) ? j->pos : NULL;
}


/* Is there room for len bytes beside what others than the caller hold? */

static ngx_uint_t
ngx_http_usher_journal_fits(ngx_http_usher_journal_t *j, size_t len,
    size_t held)
{
    uint64_t  room, others;

    if (j->own == NULL && ngx_http_usher_journal_room(len) == NULL) {
        return 0;
    }

    room = ngx_http_usher_room(j);

    if (room < len) {
        room = 0;
    }

    if (j->next.map != NULL || j->spare->task.active) {
        room += j->conf->segment - USHER_SEGMENT_HEADER
                - 2 * sizeof(usher_seal_t);
    }

    others = j->reserved - held;

    return room >= others && room - others >= len;
}


ngx_int_t
ngx_http_usher_journal_reserve(ngx_http_request_t *r, size_t len)
{
    ngx_http_usher_hold_t     *hold;
    ngx_http_usher_journal_t  *j;

    j = ngx_http_usher_journal_get();

    if (j == NULL || !ngx_http_usher_journal_fits(j, len, 0)) {
        ngx_http_usher_count(journal_denied);
        return NGX_BUSY;
    }

    hold = ngx_http_usher_journal_hold(r, 1);

    if (hold == NULL) {
        return NGX_BUSY;
    }

    if (hold->journal != j) {
        hold->journal = j;
        hold->len = 0;
    }

    hold->len += len;
    j->reserved += len;

    return NGX_OK;
}


static ngx_http_usher_hold_t *
ngx_http_usher_journal_hold(ngx_http_request_t *r, ngx_uint_t make)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = r->main->pool->cleanup; cln != NULL; cln = cln->next) {
        if (cln->handler == ngx_http_usher_journal_unhold) {
            return cln->data;
        }
    }

    if (!make) {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(r->main->pool, sizeof(ngx_http_usher_hold_t));

    if (cln == NULL) {
        return NULL;
    }

    ngx_memzero(cln->data, sizeof(ngx_http_usher_hold_t));
    cln->handler = ngx_http_usher_journal_unhold;

    return cln->data;
}


static void
ngx_http_usher_journal_unhold(void *data)
{
    ngx_http_usher_hold_t  *hold = data;

    if (hold->journal != NULL && hold->journal == ngx_http_usher_journal) {
        hold->journal->reserved -= hold->len;
    }

    hold->len = 0;
}


ngx_int_t
ngx_http_usher_journal_append(ngx_http_request_t *r, u_char *line,
    size_t len, ngx_uint_t wait)
{
    size_t                     held;
    u_char                    *p;
    ngx_http_usher_hold_t     *hold;
    ngx_http_usher_journal_t  *j;

    j = ngx_http_usher_journal_get();

    if (j == NULL) {
        return NGX_BUSY;
    }

    if (len == 0 || len > j->conf->segment / 4) {
        return NGX_ERROR;
    }

    if (wait && j->conf->sync == NGX_HTTP_USHER_SYNC_OFF) {
        return NGX_ERROR;
    }

    hold = ngx_http_usher_journal_hold(r, 0);
    held = (hold != NULL && hold->journal == j) ? hold->len : 0;

    p = ngx_http_usher_journal_fits(j, len, held)
        ? ngx_http_usher_journal_room(len) : NULL;

    if (p == NULL) {
        ngx_http_usher_count(journal_denied);
        return NGX_BUSY;
    }

    ngx_memcpy(p, line, len);
    ngx_http_usher_journal_commit(len);

    if (held != 0) {
        held = ngx_min(held, len);
        hold->len -= held;
        j->reserved -= held;
    }

    if (!wait) {
        return NGX_OK;
    }

    return ngx_http_usher_sync_wait(j, r);
}


ngx_int_t
ngx_http_usher_journal_parts(ngx_http_request_t *r, ngx_str_t *id,
    ngx_chain_t *body, ngx_uint_t *parts)
{
    off_t                      total, offset;
    size_t                     size, max, len, head;
    u_char                    *p, *start, *buf;
    ngx_uint_t                 n, of;
    ngx_chain_t               *cl;
    ngx_http_usher_journal_t  *j;

    j = ngx_http_usher_journal_get();

    if (j == NULL) {
        return NGX_BUSY;
    }

    total = 0;

    for (cl = body; cl != NULL; cl = cl->next) {
        total += ngx_buf_size(cl->buf);
    }

    head = sizeof("p1\t\t\t\t\n") + id->len + 2 * NGX_INT_T_LEN;
    max = ngx_http_usher_journal_line_max();

    if (head + 256 > max) {
        return NGX_ERROR;
    }

    size = ngx_min((max - head - 3) / 2, USHER_EVENT_PART);
    of = (total + size - 1) / size;

    /* all or none: parts without their closing event are dead weight */

    len = head + 3 + 2 * size;

    if (ngx_http_usher_journal_room(len) == NULL
        || ngx_http_usher_journal_lines(j, len) <= of)
    {
        /* others may hold acknowledged segments */

        j->shared->journal_full = 1;
        ngx_http_usher_count(journal_denied);
        return NGX_BUSY;
    }

    buf = ngx_pnalloc(r->pool, size);

    if (buf == NULL) {
        return NGX_ERROR;
    }

    offset = 0;

    for (n = 1; n <= of; n++) {
        len = (n < of) ? size : (size_t) (total - (off_t) (of - 1) * size);

        if (ngx_http_usher_journal_gather(r, &body, &offset, buf, len)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        start = ngx_http_usher_journal_room(head + 3 + 2 * len);

        if (start == NULL) {
            ngx_http_usher_count(journal_denied);
            return NGX_BUSY;
        }

        p = ngx_sprintf(start, "p1\t%V\t%ui\t%ui\t", id, n, of);
        p = usher_event_bytes(p, buf, len);
        *p++ = LF;

        ngx_http_usher_journal_commit(p - start);
    }

    *parts = of;

    return NGX_OK;
}


/* How many lines of a length there is room for, or could be made now. */

static uint64_t
ngx_http_usher_journal_lines(ngx_http_usher_journal_t *j, size_t len)
{
    uint64_t                n;
    ngx_uint_t              i;
    ngx_http_usher_slot_t  *s;

    s = j->own;

    n = (j->next.map != NULL || j->spare->task.active);

    if (j->shared->journal_bytes < j->conf->size) {
        n += (j->conf->size - j->shared->journal_bytes) / s->segment;
    }

    for (i = 0; i + 1 < s->nsegs && s->segs[i].acked != 0; i++) {
        n++;
    }

    return ngx_http_usher_room(j) / len
           + n * ((s->segment - USHER_SEGMENT_HEADER
                   - 2 * sizeof(usher_seal_t)) / len);
}


/* Copies the next len bytes of a body, wherever nginx put it. */

static ngx_int_t
ngx_http_usher_journal_gather(ngx_http_request_t *r, ngx_chain_t **body,
    off_t *offset, u_char *dst, size_t len)
{
    size_t      n;
    ssize_t     got;
    ngx_buf_t  *b;

    while (len > 0) {

        if (*body == NULL) {
            return NGX_ERROR;
        }

        b = (*body)->buf;
        n = (size_t) ngx_min((off_t) len, ngx_buf_size(b) - *offset);

        if (n == 0) {
            *body = (*body)->next;
            *offset = 0;
            continue;
        }

        if (ngx_buf_in_memory(b)) {
            ngx_memcpy(dst, b->pos + *offset, n);

        } else {
            got = ngx_read_file(b->file, dst, n, b->file_pos + *offset);

            if (got != (ssize_t) n) {
                return NGX_ERROR;
            }
        }

        *offset += n;
        dst += n;
        len -= n;
    }

    return NGX_OK;
}


size_t
ngx_http_usher_journal_line_max(void)
{
    ngx_http_usher_journal_t  *j;

    j = ngx_http_usher_journal_get();

    return (j != NULL) ? (size_t) (j->conf->segment / 4) : 0;
}
