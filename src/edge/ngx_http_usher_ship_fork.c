
/*
 * ngx_http_usher_ship_fork.c - a slot with two histories.
 *
 * DESIGN
 *
 * usherd found that what PostgreSQL has of a slot is not what this process
 * ships: a copy of the slot, or an older state of the machine, was shipped
 * by another.  Both agree up to the fork.  What lies above it here is moved
 * to slots of their own, a segment at a time, the last one first.  What is
 * left then is a copy of what PostgreSQL has: it is kept for retain, like any
 * other, in case PostgreSQL is set back to before the fork.
 *
 * A thread makes each of them whole, with the lines sealed anew, under a name
 * that is not a slot's.  Then, each step on disk before the next one:
 *
 *     1. the file "moved" of the forked slot says from where on lines are
 *        elsewhere already, names the new slot and where that begins
 *     2. the new slot gets its name: its lines are there
 *     3. "moved" says that all of that is elsewhere
 *
 * Whoever adopts the forked slot looks whether the slot that "moved" names is
 * there, so that no line is lost or comes twice wherever its process died.
 * The new slot has no owner; it is shipped by whoever finds it, and not
 * retired as long as "moved" names it: its file "origin" says whom to ask.
 *
 * A moved segment of the forked slot is removed at once, so that its segments
 * follow on each other at any moment.  So this takes the room of one segment,
 * and does not ask whether the journal is full.
 */


#include "ngx_http_usher_journal.h"

#include <sys/random.h>


static void ngx_http_usher_fork_work(void *data, ngx_log_t *log);
static void ngx_http_usher_fork_done(void *self);
static void ngx_http_usher_fork_failed(ngx_http_usher_slot_t *s);
static void ngx_http_usher_fork_finish(ngx_http_usher_slot_t *s);
static void ngx_http_usher_fork_delete(ngx_http_usher_slot_t *s);
static void ngx_http_usher_fork_ignore(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply);
static ngx_int_t ngx_http_usher_fork_lines(ngx_http_usher_fork_t *fork);
static ngx_int_t ngx_http_usher_fork_append(ngx_http_usher_fork_t *fork,
    u_char *p, size_t len);
static ngx_int_t ngx_http_usher_fork_publish(ngx_http_usher_fork_t *fork);
static ngx_int_t ngx_http_usher_fork_mark(ngx_http_usher_fork_t *fork,
    uint64_t end, ngx_uint_t named);
static void ngx_http_usher_fork_remove(ngx_http_usher_fork_t *fork);
static ngx_int_t ngx_http_usher_fork_file(int dir, const char *name,
    void *data, size_t len, ngx_uint_t durable);
static ngx_int_t ngx_http_usher_fork_read(int dir,
    ngx_http_usher_moved_t *moved);


void
ngx_http_usher_fork_start(ngx_http_usher_slot_t *s, uint64_t position)
{
    ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                  "usher journal: slot %s is forked at %uL, %uL bytes above "
                  "are moved to others", s->text, position,
                  s->end - ngx_min(position, s->end));

    if (s == s->journal->own) {
        ngx_http_usher_slot_close(s->journal);
    }

    s->adopted = 1;
    s->forked = 1;
    s->cut = 0;
    s->beyond = 0;
    s->epoch++;
    s->common = ngx_min(position, s->end);
    s->acked = s->shipped = s->common;
    s->retry = 0;
    s->failures = 0;

    ngx_http_usher_ship_window(s);
    ngx_http_usher_fork_pump(s);
}


/* Has the next segment moved, or ends it.  Called each second, too. */

void
ngx_http_usher_fork_pump(ngx_http_usher_slot_t *s)
{
    ngx_uint_t                 n;
    ngx_http_usher_fork_t     *fork;
    ngx_http_usher_journal_t  *j;

    j = s->journal;
    fork = &s->fork;

    if (fork->task.active || fork->task.task.event.active
        || (s->retry != 0
            && (ngx_msec_int_t) (s->retry - ngx_current_msec) > 0))
    {
        return;
    }

    if (s->nsegs != 0 && s->common < s->segs[0].base) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "usher journal: forked slot %s has a hole from %uL to "
                      "%uL: freed", s->text, s->common, s->segs[0].base);

        ngx_http_usher_count(journal_holes);
        s->common = s->segs[0].base;
    }

    if (s->nsegs == 0 || s->common >= s->end) {
        ngx_http_usher_fork_finish(s);
        return;
    }

    for (n = s->nsegs - 1; s->segs[n].base >= s->end; n--) { /* void */ }

    s->shipped = ngx_max(s->segs[n].base, s->common);

    if (j->dir == -1 || ngx_http_usher_read_prepare(s) != NGX_OK) {
        return;
    }

    fork->read = &s->read;
    fork->common = s->common;
    fork->from = s->shipped;
    fork->end = s->end;
    fork->whole = (n != 0 && fork->from == s->segs[n].base);
    fork->durable = (j->conf->sync != NGX_HTTP_USHER_SYNC_OFF);

    /* of its own: the loop may close j->dir */

    fork->parent = openat(j->dir, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fork->parent == -1) {
        return;
    }

    if (ngx_http_usher_task_post(j, &fork->task, s, ngx_http_usher_fork_work,
                                 ngx_http_usher_fork_done)
        != NGX_OK)
    {
        (void) close(fork->parent);
    }
}


static void
ngx_http_usher_fork_done(void *self)
{
    ngx_http_usher_fork_t *fork = self;

    char                    text[USHER_SLOT_TEXT + 1];
    ngx_http_usher_slot_t  *s;

    s = fork->task.slot;

    if (s->gone || s->journal->closing) {
        return;
    }

    if (fork->err != 0) {
        ngx_http_usher_fork_failed(s);
        return;
    }

    s->failures = 0;
    s->stuck = 0;
    s->retry = 0;

    if (fork->lost != 0) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "usher journal: forked slot %s lacks %uL bytes from "
                      "%uL to %uL: corrupt", s->text, fork->lost, fork->from,
                      fork->end);

        ngx_http_usher_count(journal_holes);
    }

    if (fork->made) {
        usher_slot_text(fork->spare.id, text);
        ngx_http_usher_size_add(s->journal, fork->spare.size);

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher journal: slot %s has what forked slot %s had "
                      "from %uL to %uL", text, s->text, fork->from,
                      fork->end);
    }

    if (fork->removed) {
        ngx_http_usher_size_add(s->journal, -(int64_t) s->segment);
    }

    ngx_http_usher_fork_end(s, fork->from);
    ngx_http_usher_fork_pump(s);
}


void
ngx_http_usher_fork_end(ngx_http_usher_slot_t *s, uint64_t end)
{
    s->end = end;

    while (s->nsegs > 1 && s->segs[s->nsegs - 1].base >= end) {
        s->nsegs--;
        s->end_chain = s->segs[s->nsegs].chain;
    }
}


static void
ngx_http_usher_fork_failed(ngx_http_usher_slot_t *s)
{
    if (!s->stuck) {
        s->stuck = 1;
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, s->fork.err,
                      "usher journal: what slot %s has above its fork cannot "
                      "be moved, trying again", s->text);
    }

    /* what cannot be read is left out in the end, as where it is shipped */

    s->failures += (s->read.err != 0 && s->read.err != NGX_ENOMEM
                    && s->read.err != NGX_EMFILE
                    && s->read.err != NGX_ENFILE);

    s->retry = (ngx_current_msec + NGX_HTTP_USHER_IDLE_TICK / 2) | 1;
}


/* All above the fork is in other slots; what lies below is stored. */

static void
ngx_http_usher_fork_finish(ngx_http_usher_slot_t *s)
{
    ngx_http_usher_journal_t  *j;

    j = s->journal;

    if (j->redis == NULL || !ngx_http_usher_redis_ready(j->redis)) {
        return;
    }

    if (s->nsegs != 0 && s->segs[0].base < s->end) {

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher journal: all that forked slot %s had above %uL "
                      "is in others, it is kept for retain", s->text, s->end);

        /* up to a window of memory; it stays registered, to hear of it */

        ngx_http_usher_fork_delete(s);

        s->forked = 0;
        s->cut = 1;
        s->dead = 1;
        s->beyond = 1;
        s->ended = 1;
        s->takeup = 1;
        s->known = 0;
        s->announce = ngx_current_msec;
        s->done = 0;
        s->acked = s->shipped = s->end;

        return;
    }

    if (s->unclear || ngx_http_usher_fork_held(s)) {
        return;
    }

    ngx_http_usher_fork_forget(s);
    ngx_http_usher_adopt_retire(s);
}


void
ngx_http_usher_fork_forget(ngx_http_usher_slot_t *s)
{
    ngx_str_t  argv[3];

    ngx_str_set(&argv[0], "HDEL");
    ngx_str_set(&argv[1], USHER_SLOTS);
    argv[2].data = (u_char *) s->text;
    argv[2].len = USHER_SLOT_TEXT;

    (void) ngx_http_usher_ship_command(s, ngx_http_usher_fork_ignore, 0, 3,
                                       argv);

    ngx_http_usher_fork_delete(s);
}


static void
ngx_http_usher_fork_delete(ngx_http_usher_slot_t *s)
{
    u_char     key[sizeof(USHER_STREAM_PREFIX) + USHER_SLOT_TEXT];
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "DEL");
    argv[1].data = key;
    argv[1].len = ngx_sprintf(key, "%s%s", USHER_STREAM_PREFIX, s->text)
                  - key;

    (void) ngx_http_usher_ship_command(s, ngx_http_usher_fork_ignore, 0, 2,
                                       argv);
}


static void
ngx_http_usher_fork_ignore(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply)
{
    /* a forked slot that stays registered is reported, no more */
}


/*
 * May this slot not go yet?  Not while the forked one that it was made of
 * would take its lines for not moved without it.
 */

ngx_uint_t
ngx_http_usher_fork_held(ngx_http_usher_slot_t *s)
{
    int                     dir;
    ngx_int_t               rc;
    ngx_http_usher_moved_t  moved;

    if (s->origin[0] == '\0') {
        return 0;
    }

    dir = openat(s->journal->dir, s->origin,
                 O_RDONLY|O_DIRECTORY|O_CLOEXEC|O_NOFOLLOW);

    if (dir == -1) {

        if (ngx_errno != NGX_ENOENT) {
            return 1;
        }

        rc = NGX_DECLINED;

    } else {
        rc = ngx_http_usher_fork_read(dir, &moved);
        (void) close(dir);
    }

    if (rc == NGX_ERROR
        || (rc == NGX_OK && moved.named
            && ngx_memcmp(moved.slot, s->id, USHER_SLOT_ID) == 0))
    {
        return 1;
    }

    /* nor will it be again */

    s->origin[0] = '\0';

    return 0;
}


/* Threads, below. */


/* Is this slot forked, or made of one that is? */

ngx_int_t
ngx_http_usher_fork_found(int parent, ngx_http_usher_found_t *f)
{
    int                     fd;
    char                    name[USHER_SLOT_TEXT + 1];
    u_char                  id[USHER_SLOT_ID];
    ngx_int_t               rc;
    ngx_http_usher_moved_t  moved;

    fd = openat(f->dir, NGX_HTTP_USHER_ORIGIN, O_RDONLY|O_CLOEXEC);

    if (fd != -1) {
        if (ngx_http_usher_pread(fd, f->origin, USHER_SLOT_TEXT, 0) != NGX_OK
            || usher_slot_parse(f->origin, USHER_SLOT_TEXT, id) != 0)
        {
            f->origin[0] = '\0';
        }

        (void) close(fd);
    }

    rc = ngx_http_usher_fork_read(f->dir, &moved);

    if (rc == NGX_DECLINED) {
        return NGX_OK;
    }

    if (rc == NGX_OK) {
        f->forked = 1;
        f->common = moved.common;
        f->moved = moved.end;

        if (!moved.named) {
            return NGX_OK;
        }

        usher_slot_text(moved.slot, name);

        if (faccessat(parent, name, F_OK, 0) == 0) {
            f->moved = moved.next;
            return NGX_OK;
        }

        if (ngx_errno == NGX_ENOENT) {
            return NGX_OK;
        }
    }

    f->err = ngx_errno;

    return NGX_ERROR;
}


static void
ngx_http_usher_fork_work(void *data, ngx_log_t *log)
{
    ngx_http_usher_fork_t *fork = data;

    int                      lock;
    ngx_int_t                rc;
    ngx_http_usher_spare_t  *sp;

    sp = &fork->spare;
    lock = -1;

    fork->read->err = 0;
    fork->err = 0;
    fork->lost = 0;
    fork->chain = 0;
    fork->made = 0;
    fork->removed = 0;

    sp->size = fork->read->size;
    sp->boot = ngx_http_usher_boot();
    sp->dir = -1;
    sp->map.map = NULL;
    sp->old.map = NULL;
    sp->durable = 0;

    rc = (getrandom(sp->id, USHER_SLOT_ID, 0) == USHER_SLOT_ID)
         ? ngx_http_usher_segment_draft(fork->parent, sp, &lock) : NGX_ERROR;

    if (rc == NGX_OK) {
        rc = ngx_http_usher_fork_lines(fork);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_usher_fork_publish(fork);
    }

    if (rc != NGX_OK) {
        fork->err = (ngx_errno != 0) ? ngx_errno : EIO;
    }

    if (!fork->made) {
        ngx_http_usher_segment_discard(fork->parent, sp);
    }

    ngx_http_usher_segment_unmap(&sp->map, sp->size);

    if (lock != -1) {
        (void) close(lock);
    }

    if (sp->dir != -1) {
        (void) close(sp->dir);
    }

    (void) close(fork->parent);

    __atomic_store_n(&fork->task.finished, 1, __ATOMIC_RELEASE);
}


/* The segment above the fork, as the lines of the new slot. */

static ngx_int_t
ngx_http_usher_fork_lines(ngx_http_usher_fork_t *fork)
{
    uint64_t                 pos, end;
    ngx_uint_t               i;
    ngx_http_usher_read_t   *rd;
    ngx_http_usher_entry_t  *e;

    rd = fork->read;

    usher_segment_start((usher_segment_t *) fork->spare.map.map, 0, 0);

    for (pos = fork->from; pos < fork->end; /* void */ ) {
        rd->from = pos;

        ngx_http_usher_read_segment(rd);

        if (rd->nentries == 0) {
            ngx_set_errno(rd->err);
            return NGX_ERROR;
        }

        for (i = 0; i < rd->nentries; i++) {
            e = &rd->entries[i];

            /* of one that was forked before a part is elsewhere already */

            end = ngx_min(e->end, fork->end);

            if (end <= pos) {
                break;
            }

            if (e->data == NULL) {
                fork->lost += end - pos;

            } else if (ngx_http_usher_fork_append(fork,
                                                  e->data + (pos - e->from),
                                                  end - pos)
                       != NGX_OK)
            {
                return NGX_ERROR;
            }

            pos = end;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_fork_append(ngx_http_usher_fork_t *fork, u_char *p, size_t len)
{
    u_char           *map, *dst;
    usher_seal_t     *seal;
    usher_segment_t  *head;

    map = fork->spare.map.map;
    head = (usher_segment_t *) map;

    if (usher_segment_room(head, head->committed, head->nseals) < len) {
        ngx_set_errno(EFBIG);
        return NGX_ERROR;
    }

    dst = map + USHER_SEGMENT_HEADER + head->committed;
    ngx_memcpy(dst, p, len);

    seal = (usher_seal_t *) (map + usher_seal_offset(fork->spare.size,
                                                     head->nseals));
    seal->from = head->committed;
    seal->end = head->committed + len;
    seal->chain = fork->chain;
    seal->lines = ngx_http_usher_read_lines(dst, len);

    fork->chain = usher_crc64(fork->chain, dst, len);
    seal->crc = usher_seal_crc(seal, fork->spare.id, fork->chain);

    head->nseals++;
    head->committed = seal->end;

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_fork_publish(ngx_http_usher_fork_t *fork)
{
    char                     text[USHER_SLOT_TEXT + 1];
    ngx_http_usher_spare_t  *sp;

    sp = &fork->spare;

    if (((usher_segment_t *) sp->map.map)->nseals == 0) {

        /* all of it was lost */

        if (ngx_http_usher_fork_mark(fork, fork->from, 0) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_http_usher_fork_remove(fork);

        return NGX_OK;
    }

    usher_slot_text(fork->read->id, text);

    if (ngx_http_usher_fork_file(sp->dir, NGX_HTTP_USHER_ORIGIN, text,
                                 USHER_SLOT_TEXT, fork->durable)
        != NGX_OK
        || (fork->durable && fdatasync(sp->map.fd) == -1)
        || ngx_http_usher_fork_mark(fork, fork->end, 1) != NGX_OK
        || ngx_http_usher_segment_publish(fork->parent, sp) != NGX_OK)
    {
        return NGX_ERROR;
    }

    fork->made = 1;

    /*
     * The lines are there, whatever comes now.  Where "moved" cannot be
     * written it names the new slot a while longer.
     */

    if (fork->durable && fsync(fork->parent) == -1) {
        return NGX_OK;
    }

    if (ngx_http_usher_fork_mark(fork, fork->from, 0) == NGX_OK) {
        ngx_http_usher_fork_remove(fork);
    }

    return NGX_OK;
}


/* A file that stays is beyond the slot's end: it goes with it. */

static void
ngx_http_usher_fork_remove(ngx_http_usher_fork_t *fork)
{
    char  name[NGX_HTTP_USHER_SEG_NAME];

    if (!fork->whole) {
        return;
    }

    ngx_http_usher_segment_name(name, fork->read->seg.sequence);

    fork->removed = (unlinkat(fork->read->dir, name, 0) == 0);
}


static ngx_int_t
ngx_http_usher_fork_mark(ngx_http_usher_fork_t *fork, uint64_t end,
    ngx_uint_t named)
{
    ngx_http_usher_moved_t  moved;

    ngx_memzero(&moved, sizeof(ngx_http_usher_moved_t));

    moved.common = fork->common;
    moved.end = end;
    moved.next = fork->from;
    moved.named = named;
    ngx_memcpy(moved.slot, fork->spare.id, USHER_SLOT_ID);
    moved.crc = usher_crc32c(0, &moved,
                             offsetof(ngx_http_usher_moved_t, crc));

    return ngx_http_usher_fork_file(fork->read->dir, NGX_HTTP_USHER_MOVED,
                                    &moved, sizeof(ngx_http_usher_moved_t),
                                    fork->durable);
}


/* Whole, or as it was before. */

static ngx_int_t
ngx_http_usher_fork_file(int dir, const char *name, void *data, size_t len,
    ngx_uint_t durable)
{
    int   fd;
    char  draft[16];

    (void) snprintf(draft, sizeof(draft), "%s.new", name);

    fd = openat(dir, draft, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC|O_NOFOLLOW,
                0600);

    if (fd == -1) {
        return NGX_ERROR;
    }

    if (pwrite(fd, data, len, 0) != (ssize_t) len
        || (durable && fdatasync(fd) == -1))
    {
        (void) close(fd);
        return NGX_ERROR;
    }

    (void) close(fd);

    if (renameat(dir, draft, dir, name) == -1
        || (durable && fsync(dir) == -1))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* NGX_DECLINED: there is none; NGX_ERROR: it cannot be read, see errno. */

static ngx_int_t
ngx_http_usher_fork_read(int dir, ngx_http_usher_moved_t *moved)
{
    int        fd;
    ngx_int_t  rc;

    fd = openat(dir, NGX_HTTP_USHER_MOVED, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {
        return (ngx_errno == NGX_ENOENT) ? NGX_DECLINED : NGX_ERROR;
    }

    rc = ngx_http_usher_pread(fd, moved, sizeof(ngx_http_usher_moved_t), 0);

    if (rc == NGX_OK
        && moved->crc != usher_crc32c(0, moved,
                                      offsetof(ngx_http_usher_moved_t, crc)))
    {
        ngx_set_errno(EIO);
        rc = NGX_ERROR;
    }

    if (rc != NGX_OK && ngx_errno == 0) {
        ngx_set_errno(EIO);
    }

    (void) close(fd);

    return rc;
}
