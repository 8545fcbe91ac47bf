
/*
 * ngx_http_usher_journal_adopt.c - slots without an owner.
 *
 * Every second a thread of each worker looks through the journal's
 * directory.  A slot whose lock is free belongs to a process that is gone:
 * it is locked, its segments are read, and it is shipped to its end and then
 * retired, but never appended to.  At most a few are adopted at a time, so
 * that workers share what a dead node left.
 *
 * The same walk measures the journal: what processes count in the zone may
 * drift when one of them is killed between a file and its count.
 */


#include "ngx_http_usher_journal.h"


static void ngx_http_usher_adopt_done(void *self);
static void ngx_http_usher_adopt_slot(ngx_http_usher_journal_t *j,
    ngx_http_usher_found_t *f);
static void ngx_http_usher_adopt_damage(ngx_http_usher_slot_t *s);
static void ngx_http_usher_adopt_measure(ngx_http_usher_journal_t *j,
    ngx_http_usher_scan_t *scan);
static ngx_uint_t ngx_http_usher_adopt_settled(ngx_http_usher_journal_t *j);
static void ngx_http_usher_adopt_reap(ngx_http_usher_journal_t *j);

static void ngx_http_usher_adopt_removed(void *self);


void
ngx_http_usher_adopt_scan(ngx_http_usher_journal_t *j)
{
    ngx_uint_t              n, busy;
    ngx_queue_t            *q;
    ngx_http_usher_scan_t  *scan;
    ngx_http_usher_slot_t  *s;

    scan = j->scan;

    if (scan == NULL) {
        scan = ngx_calloc(sizeof(ngx_http_usher_scan_t), ngx_cycle->log);

        if (scan == NULL) {
            return;
        }

        j->scan = scan;
    }

    if (scan->task.active || scan->task.task.event.active) {
        return;
    }

    if (j->dir == -1) {
        j->dir = open((char *) j->conf->path.data,
                      O_RDONLY|O_DIRECTORY|O_CLOEXEC);

        if (j->dir == -1) {
            return;
        }
    }

    n = busy = 0;

    for (q = ngx_queue_head(&j->slots);
         q != ngx_queue_sentinel(&j->slots);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_usher_slot_t, queue);

        n++;
        busy += (s->done == 0);
    }

    j->figures->adopted = n - (j->own != NULL);

    /* those that only wait for retain to pass must not keep others out */

    if (ngx_exiting || j->redis == NULL || n >= NGX_HTTP_USHER_ADOPT_ALL) {
        scan->limit = 0;

    } else {
        scan->limit = NGX_HTTP_USHER_ADOPT_BUSY
                      - ngx_min(busy, NGX_HTTP_USHER_ADOPT_BUSY);
        scan->limit = ngx_min(scan->limit, NGX_HTTP_USHER_ADOPT_MAX);
    }

    scan->segment = j->conf->segment;
    scan->before = j->shared->journal_bytes;
    scan->settled = ngx_http_usher_adopt_settled(j);

    /* of its own: the loop may close j->dir */

    scan->dir = openat(j->dir, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (scan->dir == -1) {
        (void) close(j->dir);
        j->dir = -1;
        return;
    }

    if (ngx_http_usher_task_post(j, &scan->task, NULL,
                                 ngx_http_usher_scan_work,
                                 ngx_http_usher_adopt_done)
        != NGX_OK)
    {
        (void) close(scan->dir);
    }
}


static void
ngx_http_usher_adopt_done(void *self)
{
    ngx_http_usher_scan_t *scan = self;

    ngx_uint_t                 i;
    ngx_http_usher_journal_t  *j;

    j = scan->task.journal;

    for (i = 0; i < scan->n; i++) {

        if (!j->closing) {
            ngx_http_usher_adopt_slot(j, &scan->found[i]);
            continue;
        }

        (void) close(scan->found[i].lock);
        (void) close(scan->found[i].dir);
        ngx_free(scan->found[i].segs);
    }

    if (j->closing || scan->err != 0) {
        return;
    }

    ngx_http_usher_adopt_measure(j, scan);
    ngx_http_usher_adopt_reap(j);
}


static void
ngx_http_usher_adopt_slot(ngx_http_usher_journal_t *j,
    ngx_http_usher_found_t *f)
{
    ngx_http_usher_seg_t   *seg;
    ngx_http_usher_slot_t  *s;

    s = ngx_http_usher_slot_alloc(j, f->id);

    if (s == NULL) {
        (void) close(f->lock);
        (void) close(f->dir);
        ngx_free(f->segs);
        return;
    }

    s->lock = f->lock;
    s->dir = f->dir;
    s->segs = f->segs;
    s->nsegs = f->nsegs;
    s->allocated = f->nsegs;
    s->adopted = 1;

    if (f->segment != 0) {
        s->segment = f->segment;
    }

    if (s->nsegs != 0) {
        seg = &s->segs[s->nsegs - 1];
        s->end = seg->end;

        /* until the acknowledgement is known: all there is */

        s->acked = s->shipped = s->segs[0].base;
    }

    if (f->forked) {

        /* what lies above the fork is moved, or was */

        s->forked = 1;
        ngx_http_usher_fork_end(s, ngx_min(f->moved, s->end));
        s->common = ngx_min(f->common, s->end);
        s->acked = s->shipped = s->common;
    }

    ngx_memcpy(s->origin, f->origin, sizeof(s->origin));

    if (f->unclear) {
        s->unclear = 1;
        s->stopped = (s->end == 0);
    }

    ngx_http_usher_adopt_damage(s);

    s->takeup = 1;
    ngx_queue_insert_tail(&j->slots, &s->queue);

    ngx_http_usher_count(journal_adopted);

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "usher journal: slot %s adopted, it ends at %uL",
                  s->text, s->end);

    if (j->redis != NULL && ngx_http_usher_redis_ready(j->redis)) {
        ngx_http_usher_ack_read(s);
        ngx_http_usher_ack_check(s);
    }
}


static void
ngx_http_usher_adopt_damage(ngx_http_usher_slot_t *s)
{
    ngx_uint_t             i;
    ngx_http_usher_seg_t  *seg;

    for (i = 0; i < s->nsegs; i++) {
        seg = &s->segs[i];

        if (seg->corrupt) {
            ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                          "usher journal: segments of slot %s are corrupt "
                          "or missing, from %uL to %uL", s->text,
                          seg->base, seg->end);
        }

        if (seg->mended) {
            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                          "usher journal: segment %uL of slot %s has lost "
                          "its header, its seals tell what is in it",
                          seg->sequence, s->text);
        }
    }

    if (s->unclear) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "usher journal: lines at the end of slot %s cannot be "
                      "told from damage: it is shipped up to %uL, and its "
                      "directory stays for you to look at", s->text, s->end);
    }
}


/*
 * Sets the node's count right where two scans in a row agree that it is
 * wrong by as much, and nobody counted meanwhile.  What this process has in
 * work could be seen half done by each: segments are trimmed in the same tick.
 */

static void
ngx_http_usher_adopt_measure(ngx_http_usher_journal_t *j,
    ngx_http_usher_scan_t *scan)
{
    int64_t  drift;

    if (!scan->settled || !ngx_http_usher_adopt_settled(j)) {
        j->drift = 0;
        return;
    }

    drift = (int64_t) (scan->bytes - (uint64_t) scan->before);

    if (drift != 0 && drift == j->drift
        && ngx_atomic_cmp_set(&j->shared->journal_bytes, scan->before,
                              (ngx_atomic_uint_t) scan->bytes))
    {
        drift = 0;
    }

    j->drift = drift;
}


/* Does no thread make or remove a file that is counted when it is done? */

static ngx_uint_t
ngx_http_usher_adopt_settled(ngx_http_usher_journal_t *j)
{
    ngx_queue_t            *q;
    ngx_http_usher_slot_t  *s;

    if (j->spare->task.active) {
        return 0;
    }

    for (q = ngx_queue_head(&j->slots);
         q != ngx_queue_sentinel(&j->slots);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_usher_slot_t, queue);

        if (s->remove.task.active || s->fork.task.active) {
            return 0;
        }
    }

    return 1;
}


/* Gives back what processes that are gone had a share of. */

static void
ngx_http_usher_adopt_reap(ngx_http_usher_journal_t *j)
{
    ngx_uint_t                 i, full, held;
    ngx_atomic_uint_t          pid;
    ngx_http_usher_process_t  *p;

    full = 0;

    for (i = 0; i < NGX_HTTP_USHER_PROCESSES; i++) {
        p = &j->shared->process[i];
        pid = p->pid;

        if (pid == 0) {
            continue;
        }

        held = (p->slot[0] != '\0');

        if (kill((pid_t) pid, 0) == -1 && ngx_errno == ESRCH
            && ngx_atomic_cmp_set(&p->pid, pid, 0))
        {
            /* the rest is for who takes the place: it may be taken by now */

            if (held) {
                (void) ngx_atomic_fetch_add(&j->shared->journal_slots, -1);
            }

            continue;
        }

        full |= p->full;
    }

    if (!full && j->shared->journal_full
        && j->shared->journal_bytes + j->conf->segment <= j->conf->size)
    {
        j->shared->journal_full = 0;
    }
}


/*
 * An adopted slot that is over: its files go, and with them its keys, unless
 * PostgreSQL is further than this copy: then they are another's.
 */

void
ngx_http_usher_adopt_retire(ngx_http_usher_slot_t *s)
{
    ngx_http_usher_remove_t  *rm;

    rm = &s->remove;

    if (s->closing || s->unclear
        || rm->task.active || rm->task.task.event.active
        || s->read.task.active)
    {
        return;
    }

    rm->dir = s->dir;
    rm->parent = s->journal->dir;
    rm->first = 1;
    rm->last = 0;
    rm->all = 1;

    if (s->nsegs != 0) {
        rm->first = s->segs[0].sequence;
        rm->last = s->segs[s->nsegs - 1].sequence + 1;
    }

    ngx_memcpy(rm->name, s->text, sizeof(s->text));

    if (ngx_http_usher_task_post(s->journal, &rm->task, s,
                                 ngx_http_usher_segment_remove,
                                 ngx_http_usher_adopt_removed)
        == NGX_OK)
    {
        s->closing = 1;
    }
}


static void
ngx_http_usher_adopt_removed(void *self)
{
    ngx_http_usher_remove_t *rm = self;

    ngx_http_usher_slot_t  *s;

    s = rm->task.slot;

    ngx_http_usher_size_add(rm->task.journal, -(int64_t) rm->bytes);

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "usher journal: slot %s retired at %uL", s->text, s->end);

    s->gone = 1;

    /* released with the task's reference */
}
