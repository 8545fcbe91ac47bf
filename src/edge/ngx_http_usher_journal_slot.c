
/*
 * ngx_http_usher_journal_slot.c - the own slot.
 *
 * A slot is a directory with a lock and segments.  It is made under another
 * name and moved to its own when it is locked and holds a segment, so that
 * no scan ever finds a half-made one (_journal_segment.c).  Its creator holds
 * the flock for as long as it lives; whoever gets it adopts the slot.
 *
 * The next segment is made ahead by a thread.  If it is not there when the
 * current one is full, the size is reached, or the disk is slower than the
 * events: the latter is waited for, shortly; the former is the full state.
 */


#include "ngx_http_usher_journal.h"

#include <sys/random.h>


#define NGX_HTTP_USHER_SPARE_WAIT  200      /* msec */


static ngx_int_t ngx_http_usher_slot_directory(ngx_http_usher_journal_t *j);
static ngx_int_t ngx_http_usher_slot_make(ngx_http_usher_journal_t *j,
    ngx_http_usher_slot_t *s, ngx_http_usher_spare_t *sp);
static void ngx_http_usher_slot_start(ngx_http_usher_journal_t *j,
    ngx_http_usher_map_t *map);
static ngx_http_usher_seg_t *ngx_http_usher_slot_push(
    ngx_http_usher_slot_t *s);
static ngx_int_t ngx_http_usher_slot_recyclable(ngx_http_usher_slot_t *s,
    ngx_msec_t retain);
static void ngx_http_usher_slot_shift(ngx_http_usher_slot_t *s,
    ngx_uint_t n);
static void ngx_http_usher_slot_taken(ngx_http_usher_journal_t *j);
static void ngx_http_usher_slot_spare_done(void *self);
static void ngx_http_usher_slot_trim_done(void *self);


const char *
ngx_http_usher_boot(void)
{
    int          fd;
    ssize_t      n;
    static char  boot[USHER_SEGMENT_BOOT + 1];

    if (boot[0] != '\0') {
        return boot;
    }

    fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY|O_CLOEXEC);

    if (fd != -1) {
        n = read(fd, boot, USHER_SEGMENT_BOOT);
        boot[n == USHER_SEGMENT_BOOT ? USHER_SEGMENT_BOOT : 0] = '\0';
        (void) close(fd);
    }

    /* not known: then no boot is the same, and every tail is scanned */

    if (boot[0] == '\0' && getrandom(boot, 16, 0) == 16) {
        for (n = 0; n < 16; n++) {
            boot[n] = 'a' + (u_char) boot[n] % 26;
        }

        boot[16] = '\0';
    }

    return boot;
}


void
ngx_http_usher_size_add(ngx_http_usher_journal_t *j, int64_t bytes)
{
    (void) ngx_atomic_fetch_add(&j->shared->journal_bytes,
                                (ngx_atomic_int_t) bytes);
}


ngx_http_usher_slot_t *
ngx_http_usher_slot_alloc(ngx_http_usher_journal_t *j,
    const u_char id[USHER_SLOT_ID])
{
    ngx_http_usher_slot_t  *s;

    s = ngx_calloc(sizeof(ngx_http_usher_slot_t), ngx_cycle->log);

    if (s == NULL) {
        return NULL;
    }

    s->journal = j;
    s->lock = -1;
    s->dir = -1;
    s->created = ngx_time();
    s->segment = j->conf->segment;
    s->backoff = NGX_HTTP_USHER_IDLE_TICK;

    ngx_memcpy(s->id, id, USHER_SLOT_ID);
    usher_slot_text(id, s->text);

    return s;
}


ngx_int_t
ngx_http_usher_slot_create(ngx_http_usher_journal_t *j)
{
    u_char                  id[USHER_SLOT_ID];
    ngx_err_t               err;
    ngx_http_usher_slot_t  *s;
    ngx_http_usher_spare_t  sp;

    /* a spare of the last slot may still be in the making */

    if (j->spare->task.active
        || ngx_http_usher_slot_directory(j) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (getrandom(id, sizeof(id), 0) != sizeof(id)) {
        return NGX_ERROR;
    }

    s = ngx_http_usher_slot_alloc(j, id);

    if (s == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&sp, sizeof(ngx_http_usher_spare_t));

    if (ngx_http_usher_slot_push(s) == NULL
        || ngx_http_usher_slot_make(j, s, &sp) != NGX_OK)
    {
        err = ngx_errno;

        if (err == ENOENT) {

            /* the directory was taken away: open it anew */

            (void) close(j->dir);
            j->dir = -1;
        }

        s->gone = 1;
        ngx_http_usher_slot_release(s);
        ngx_http_usher_journal_trouble(j, err, "a slot cannot be made");
        return NGX_ERROR;
    }

    ngx_http_usher_size_add(j, j->conf->segment);
    (void) ngx_atomic_fetch_add(&j->shared->journal_slots, 1);

    s->own = 1;
    s->nsegs = 0;
    ngx_queue_insert_head(&j->slots, &s->queue);

    j->own = s;
    j->generation++;
    j->committed = j->sealed = j->synced = j->wanted = 0;
    j->chain = 0;
    j->lines = 0;
    j->unsynced_dirs = 1;

    ngx_memcpy(j->figures->slot, s->text, sizeof(s->text));
    j->figures->position = j->figures->shipped = 0;
    j->figures->acked = j->figures->synced = 0;

    ngx_http_usher_slot_start(j, &sp.map);
    ngx_http_usher_journal_well(j);
    ngx_http_usher_slot_spare(j);

    if (j->redis != NULL && ngx_http_usher_redis_ready(j->redis)) {

        /* nobody has heard of this slot: there is nothing to compare */

        s->known = 1;
        s->checked = 1;
        ngx_http_usher_ack_announce(s);
    }

    if (j->conf->sync == NGX_HTTP_USHER_SYNC_INTERVAL
        && !j->sync_timer.timer_set)
    {
        ngx_add_timer(&j->sync_timer, j->conf->interval);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_slot_directory(ngx_http_usher_journal_t *j)
{
    if (j->dir != -1) {
        return NGX_OK;
    }

    j->dir = open((char *) j->conf->path.data,
                  O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (j->dir == -1) {
        ngx_http_usher_journal_trouble(j, ngx_errno,
                                       "its directory cannot be opened");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_slot_make(ngx_http_usher_journal_t *j,
    ngx_http_usher_slot_t *s, ngx_http_usher_spare_t *sp)
{
    ngx_int_t  rc;
    ngx_err_t  err;

    sp->size = s->segment;
    sp->boot = ngx_http_usher_boot();
    ngx_memcpy(sp->id, s->id, USHER_SLOT_ID);

    rc = ngx_http_usher_segment_draft(j->dir, sp, &s->lock);

    s->dir = sp->dir;

    if (rc == NGX_OK) {

        /* an adopter may find it from here on */

        usher_segment_start((usher_segment_t *) sp->map.map, 0, 0);
        rc = ngx_http_usher_segment_publish(j->dir, sp);
    }

    if (rc != NGX_OK) {
        err = ngx_errno;
        ngx_http_usher_segment_discard(j->dir, sp);
        ngx_set_errno(err);
    }

    return rc;
}


/* Lines go to this segment from now on: memory writes only. */

static void
ngx_http_usher_slot_start(ngx_http_usher_journal_t *j,
    ngx_http_usher_map_t *map)
{
    ngx_http_usher_seg_t   *seg;
    ngx_http_usher_slot_t  *s;

    s = j->own;

    j->map = *map;
    map->map = NULL;
    map->fd = -1;

    j->head = (usher_segment_t *) j->map.map;
    usher_segment_start(j->head, j->committed, j->chain);

    j->pos = j->map.map + USHER_SEGMENT_HEADER;
    j->limit = j->map.map + usher_seal_offset(s->segment, 0);
    j->touched = s->segment <= 2 * NGX_HTTP_USHER_TOUCH
                 ? s->segment : NGX_HTTP_USHER_TOUCH;

    seg = ngx_http_usher_slot_push(s);
    seg->sequence = j->map.sequence;
    seg->base = seg->end = j->committed;
    seg->chain = j->chain;

    s->hint = 0;
}


/* There is always room for one more: it was made by the push before. */

static ngx_http_usher_seg_t *
ngx_http_usher_slot_push(ngx_http_usher_slot_t *s)
{
    ngx_uint_t             n;
    ngx_http_usher_seg_t  *segs, *seg;

    if (s->nsegs + 1 >= s->allocated) {
        n = s->allocated + 16;
        segs = ngx_alloc(n * sizeof(ngx_http_usher_seg_t), ngx_cycle->log);

        if (segs != NULL) {

            if (s->nsegs != 0) {
                ngx_memcpy(segs, s->segs,
                           s->nsegs * sizeof(ngx_http_usher_seg_t));
            }

            if (s->segs != NULL) {
                ngx_free(s->segs);
            }

            s->segs = segs;
            s->allocated = n;
        }
    }

    if (s->nsegs >= s->allocated) {
        return NULL;
    }

    seg = &s->segs[s->nsegs++];
    ngx_memzero(seg, sizeof(ngx_http_usher_seg_t));

    return seg;
}


/* Covers what was committed since the last seal by a checksum. */

void
ngx_http_usher_slot_seal(ngx_http_usher_journal_t *j)
{
    u_char                 *data;
    uint64_t                nseals;
    usher_seal_t           *seal;
    ngx_http_usher_slot_t  *s;

    s = j->own;

    if (s == NULL || j->committed == j->sealed) {
        return;
    }

    nseals = j->head->nseals;
    data = j->map.map + USHER_SEGMENT_HEADER + (j->sealed - j->head->base);

    seal = (usher_seal_t *) (j->map.map
                             + usher_seal_offset(s->segment, nseals));

    seal->from = j->sealed;
    seal->end = j->committed;
    seal->chain = j->chain;
    seal->lines = j->lines;

    j->chain = usher_crc64(j->chain, data, j->committed - j->sealed);
    seal->crc = usher_seal_crc(seal, s->id, j->chain);

    __atomic_store_n(&j->head->nseals, nseals + 1, __ATOMIC_RELEASE);

    j->sealed = j->committed;
    j->lines = 0;
    j->limit = j->map.map + usher_seal_offset(s->segment, nseals + 1);

    s->end = j->sealed;
    s->end_chain = j->chain;
    s->segs[s->nsegs - 1].end = j->sealed;

    j->figures->position = j->sealed;
    j->figures->room = ngx_http_usher_room(j)
                       + (j->next.map != NULL ? s->segment : 0);
}


ngx_int_t
ngx_http_usher_slot_switch(ngx_http_usher_journal_t *j)
{
    ngx_uint_t               i;
    ngx_http_usher_slot_t   *s;
    ngx_http_usher_spare_t  *sp;

    s = j->own;
    sp = j->spare;

    if (j->next.map == NULL && !sp->task.active) {
        ngx_http_usher_slot_spare(j);
    }

    /* once: a disk that hangs is not to hold up each request that comes */

    if (j->next.map == NULL && sp->task.active && !j->slow) {
        j->slow = 1;

        for (i = 0; i < NGX_HTTP_USHER_SPARE_WAIT * 10; i++) {
            if (__atomic_load_n(&sp->task.finished, __ATOMIC_ACQUIRE)) {
                ngx_http_usher_slot_taken(j);
                sp = j->spare;
                break;
            }

            (void) usleep(100);
        }
    }

    if (j->next.map == NULL || s->nsegs >= s->allocated) {
        ngx_http_usher_journal_trouble(j, 0, "its size is reached, and what "
                                             "it holds is not acknowledged");
        return NGX_ERROR;
    }

    ngx_http_usher_slot_seal(j);
    (void) ngx_http_usher_ship_pump(s);

    if (j->conf->sync != NGX_HTTP_USHER_SYNC_OFF
        && j->synced < j->committed)
    {
        if (j->nunsynced < NGX_HTTP_USHER_UNSYNCED) {
            j->unsynced[j->nunsynced] = dup(j->map.fd);
        }

        if (j->nunsynced < NGX_HTTP_USHER_UNSYNCED
            && j->unsynced[j->nunsynced] != -1)
        {
            j->nunsynced++;

        } else {
            j->unsynced_more = 1;
        }
    }

    ngx_http_usher_segment_touched(j);

    /* unmapped in the thread that makes the next spare */

    if (sp->task.active || sp->old.map != NULL) {
        ngx_http_usher_segment_unmap(&j->map, s->segment);

    } else {
        sp->old = j->map;
    }

    ngx_http_usher_slot_start(j, &j->next);
    ngx_http_usher_slot_spare(j);

    return NGX_OK;
}


/*
 * A spare that was waited for: its event is still to come, so that the next
 * one, which may be wanted before that, is another task.
 */

static void
ngx_http_usher_slot_taken(ngx_http_usher_journal_t *j)
{
    ngx_http_usher_spare_t  *sp;

    sp = j->spare;

    sp->task.active = 0;
    ngx_http_usher_slot_spare_done(sp);

    j->spare = ngx_calloc(sizeof(ngx_http_usher_spare_t), ngx_cycle->log);

    if (j->spare == NULL) {
        j->spare = sp;
        return;
    }

    sp->task.left = 1;
}


/* Has a thread make the next segment, if there is none and there may be. */

void
ngx_http_usher_slot_spare(ngx_http_usher_journal_t *j)
{
    ngx_int_t                recycle;
    ngx_http_usher_slot_t   *s;
    ngx_http_usher_spare_t  *sp;

    s = j->own;
    sp = j->spare;

    if (s == NULL || j->next.map != NULL || sp->task.active
        || sp->task.task.event.active)
    {
        return;
    }

    recycle = ngx_http_usher_slot_recyclable(s, j->conf->retain);

    if (!recycle
        && j->shared->journal_bytes + s->segment > j->conf->size)
    {
        recycle = ngx_http_usher_slot_recyclable(s, 0);

        if (!recycle) {

            /* others may hold acknowledged segments */

            j->shared->journal_full = 1;
            return;
        }

        ngx_http_usher_count(journal_retain_shortened);
    }

    sp->recycle = recycle ? s->segs[0].sequence : 0;
    sp->dir = s->dir;
    sp->size = s->segment;
    sp->sequence = s->segs[s->nsegs - 1].sequence + 1;
    sp->boot = ngx_http_usher_boot();
    sp->durable = (j->conf->sync != NGX_HTTP_USHER_SYNC_OFF);
    ngx_memcpy(sp->id, s->id, USHER_SLOT_ID);

    if (ngx_http_usher_task_post(j, &sp->task, s,
                                 ngx_http_usher_segment_make,
                                 ngx_http_usher_slot_spare_done)
        != NGX_OK)
    {
        return;
    }

    if (recycle) {
        ngx_http_usher_slot_shift(s, 1);

    } else {
        ngx_http_usher_size_add(j, s->segment);
    }
}


static ngx_int_t
ngx_http_usher_slot_recyclable(ngx_http_usher_slot_t *s, ngx_msec_t retain)
{
    ngx_http_usher_seg_t  *seg;

    seg = &s->segs[0];

    return s->nsegs > 1
           && seg->acked != 0
           && seg->end <= s->acked
           && seg->end <= s->shipped
           && ngx_current_msec - seg->acked >= retain
           && !(s->read.task.active
                && s->read.seg.sequence == seg->sequence)
           && !s->remove.task.active;
}


static void
ngx_http_usher_slot_shift(ngx_http_usher_slot_t *s, ngx_uint_t n)
{
    s->nsegs -= n;
    ngx_memmove(s->segs, s->segs + n,
                s->nsegs * sizeof(ngx_http_usher_seg_t));
}


static void
ngx_http_usher_slot_spare_done(void *self)
{
    ngx_http_usher_spare_t *sp = self;

    ngx_http_usher_slot_t     *s;
    ngx_http_usher_journal_t  *j;

    j = sp->task.journal;
    s = sp->task.slot;

    j->slow = 0;

    if (sp->zeroed && !j->zeroed) {
        j->zeroed = 1;
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "usher journal \"%V\": this file system does not "
                      "reserve space; a full disk may kill a worker",
                      &j->conf->path);
    }

    if (sp->err != 0) {
        ngx_http_usher_size_add(j, -(int64_t) s->segment);

        if (!j->closing) {
            ngx_http_usher_journal_trouble(j, sp->err,
                                           "a segment cannot be made");
        }

        return;
    }

    if (j->closing || j->own != s) {
        ngx_http_usher_segment_unmap(&sp->map, s->segment);
        return;
    }

    j->next = sp->map;
    sp->map.map = NULL;
    sp->map.fd = -1;

    j->figures->room = ngx_http_usher_room(j) + s->segment;

    ngx_http_usher_journal_well(j);
}


/*
 * Frees segments that were acknowledged more than retain ago; in a hurry
 * (someone's journal is full) the oldest acknowledged one at any age.
 */

void
ngx_http_usher_slot_trim(ngx_http_usher_slot_t *s, ngx_uint_t hurry)
{
    ngx_uint_t                n;
    ngx_msec_t                now;
    ngx_http_usher_seg_t     *seg;
    ngx_http_usher_remove_t  *rm;

    rm = &s->remove;

    if (rm->task.active || rm->task.task.event.active || s->closing
        || s->stopped || s->read.task.active)
    {
        return;
    }

    now = ngx_current_msec;

    for (n = 0; n + 1 < s->nsegs; n++) {
        seg = &s->segs[n];

        if (seg->end > s->acked || seg->end > s->shipped) {
            break;
        }

        if (seg->acked == 0
            || now - seg->acked < s->journal->conf->retain)
        {
            break;
        }
    }

    if (n == 0 && hurry && ngx_http_usher_slot_recyclable(s, 0)) {
        ngx_http_usher_count(journal_retain_shortened);
        n = 1;
    }

    if (n == 0) {
        return;
    }

    rm->dir = s->dir;
    rm->first = s->segs[0].sequence;
    rm->last = s->segs[n - 1].sequence;
    rm->all = 0;

    if (ngx_http_usher_task_post(s->journal, &rm->task, s,
                                 ngx_http_usher_segment_remove,
                                 ngx_http_usher_slot_trim_done)
        == NGX_OK)
    {
        ngx_http_usher_slot_shift(s, n);
    }
}


static void
ngx_http_usher_slot_trim_done(void *self)
{
    ngx_http_usher_remove_t *rm = self;

    ngx_http_usher_slot_t  *s;

    s = rm->task.slot;

    ngx_http_usher_size_add(rm->task.journal,
                            -(int64_t) ((rm->last - rm->first + 1)
                                        * s->segment));

    if (!rm->task.journal->closing) {
        ngx_http_usher_slot_spare(rm->task.journal);
    }
}


/* The segment that the next byte to be shipped lies in, or NULL. */

ngx_http_usher_seg_t *
ngx_http_usher_slot_seg(ngx_http_usher_slot_t *s)
{
    ngx_uint_t             i;
    ngx_http_usher_seg_t  *seg;

    for (i = s->nsegs; i > 0; i--) {
        seg = &s->segs[i - 1];

        if (seg->base <= s->shipped) {
            return seg;
        }
    }

    return NULL;
}


/* The own slot takes no more lines; it is kept to be shipped, or left. */

void
ngx_http_usher_slot_close(ngx_http_usher_journal_t *j)
{
    ngx_uint_t  i;

    if (j->own == NULL) {
        return;
    }

    ngx_http_usher_slot_seal(j);

    ngx_http_usher_segment_touched(j);
    ngx_http_usher_segment_unmap(&j->map, j->own->segment);
    ngx_http_usher_segment_unmap(&j->next, j->own->segment);

    for (i = 0; i < j->nunsynced; i++) {
        (void) close(j->unsynced[i]);
    }

    j->nunsynced = 0;
    j->unsynced_more = 0;

    j->own->own = 0;
    j->own = NULL;
    j->head = NULL;
    j->pos = j->limit = NULL;
    j->figures->slot[0] = '\0';

    (void) ngx_atomic_fetch_add(&j->shared->journal_slots, -1);

    /* no sync of this slot comes any more: who waits for one is told */

    j->generation++;

    if (!ngx_queue_empty(&j->waiters) && !j->closing) {
        ngx_post_event(&j->resume, &ngx_posted_events);
    }
}


/* Frees a slot that is gone, once nobody refers to it. */

void
ngx_http_usher_slot_release(ngx_http_usher_slot_t *s)
{
    if (!s->gone) {
        return;
    }

    if (s->queue.next != NULL) {
        ngx_queue_remove(&s->queue);
        s->queue.next = NULL;
        s->journal->figures->window -= s->counted;
        s->counted = 0;
    }

    if (s->refs != 0) {
        return;
    }

    ngx_http_usher_ship_forget(s);

    if (s->lock != -1) {
        (void) close(s->lock);
    }

    if (s->dir != -1) {
        (void) close(s->dir);
    }

    if (s->segs != NULL) {
        ngx_free(s->segs);
    }

    if (s->read.buffer != NULL) {
        ngx_free(s->read.buffer);
    }

    ngx_free(s);
}
