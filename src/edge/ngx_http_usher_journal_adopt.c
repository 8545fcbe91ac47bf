
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

#include <dirent.h>
#include <sys/file.h>


#define NGX_HTTP_USHER_ADOPT_MAX    4
#define NGX_HTTP_USHER_ADOPT_GRACE  10000   /* msec; to be closed by usherd */


/* What a scan found; filled by the thread. */
typedef struct {
    u_char                  id[USHER_SLOT_ID];
    int                     lock;
    int                     dir;
    uint64_t                segment;    /* bytes of each file; 0: none valid */
    ngx_http_usher_seg_t   *segs;
    ngx_uint_t              nsegs;
    uint64_t                moved;      /* fork: re-appended up to here */
} ngx_http_usher_found_t;


typedef struct {
    ngx_http_usher_task_t   task;       /* first */
    int                     dir;
    uint64_t                segment;    /* configured */
    ngx_uint_t              limit;      /* slots to be adopted at most */
    uint64_t                bytes;      /* result: of all segments */
    ngx_uint_t              slots;
    ngx_uint_t              n;
    ngx_err_t               err;
    ngx_http_usher_found_t  found[NGX_HTTP_USHER_ADOPT_MAX];
    ngx_atomic_uint_t       before;     /* journal_bytes when it began */
} ngx_http_usher_scan_t;


static void ngx_http_usher_adopt_work(void *data, ngx_log_t *log);
static void ngx_http_usher_adopt_done(void *self);
static void ngx_http_usher_adopt_slot(ngx_http_usher_journal_t *j,
    ngx_http_usher_found_t *f);
static void ngx_http_usher_adopt_measure(ngx_http_usher_journal_t *j,
    ngx_http_usher_scan_t *scan);
static void ngx_http_usher_adopt_reap(ngx_http_usher_journal_t *j);

static uint64_t ngx_http_usher_adopt_size(int dir);
static ngx_int_t ngx_http_usher_adopt_lock(ngx_http_usher_scan_t *scan,
    const char *name, ngx_http_usher_found_t *f);
static ngx_int_t ngx_http_usher_adopt_read(ngx_http_usher_scan_t *scan,
    ngx_http_usher_found_t *f);
static ngx_int_t ngx_http_usher_adopt_segment(ngx_http_usher_found_t *f,
    uint64_t sequence, ngx_uint_t last);
static ngx_int_t ngx_http_usher_adopt_end(ngx_http_usher_found_t *f);
static void ngx_http_usher_adopt_bad(ngx_http_usher_found_t *f,
    uint64_t sequence, usher_segment_t *head, uint64_t size);
static void ngx_http_usher_adopt_litter(ngx_http_usher_scan_t *scan,
    const char *name);
static int ngx_http_usher_adopt_compare(const void *one, const void *two);
static void ngx_http_usher_adopt_removed(void *self);


void
ngx_http_usher_adopt_scan(ngx_http_usher_journal_t *j)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_http_usher_scan_t  *scan;

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

    n = 0;

    for (q = ngx_queue_head(&j->slots);
         q != ngx_queue_sentinel(&j->slots);
         q = ngx_queue_next(q))
    {
        n++;
    }

    j->figures->adopted = n - (j->own != NULL);

    scan->limit = (ngx_exiting || j->redis == NULL) ? 0
                  : ngx_min(NGX_HTTP_USHER_ADOPT_MAX,
                            64 - ngx_min(n, 64));
    scan->segment = j->conf->segment;
    scan->before = j->shared->journal_bytes;

    /* of its own: the loop may close j->dir */

    scan->dir = openat(j->dir, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (scan->dir == -1) {
        (void) close(j->dir);
        j->dir = -1;
        return;
    }

    if (ngx_http_usher_task_post(j, &scan->task, NULL,
                                 ngx_http_usher_adopt_work,
                                 ngx_http_usher_adopt_done)
        != NGX_OK)
    {
        (void) close(scan->dir);
    }
}


static void
ngx_http_usher_adopt_work(void *data, ngx_log_t *log)
{
    ngx_http_usher_scan_t *scan = data;

    DIR                     *d;
    int                      dir;
    u_char                   id[USHER_SLOT_ID];
    struct dirent           *de;
    ngx_http_usher_found_t  *f;

    scan->bytes = 0;
    scan->slots = 0;
    scan->n = 0;
    scan->err = 0;

    d = fdopendir(scan->dir);

    if (d == NULL) {
        scan->err = ngx_errno;
        (void) close(scan->dir);
        goto done;
    }

    for ( ;; ) {
        ngx_set_errno(0);
        de = readdir(d);

        if (de == NULL) {
            scan->err = ngx_errno;
            break;
        }

        if (strncmp(de->d_name, ".new-", 5) == 0) {
            ngx_http_usher_adopt_litter(scan, de->d_name);
            continue;
        }

        if (usher_slot_parse(de->d_name, strlen(de->d_name), id) != 0) {
            continue;
        }

        dir = openat(scan->dir, de->d_name,
                     O_RDONLY|O_DIRECTORY|O_CLOEXEC|O_NOFOLLOW);

        if (dir == -1) {
            continue;
        }

        scan->bytes += ngx_http_usher_adopt_size(dir);
        scan->slots++;

        f = &scan->found[scan->n];

        if (scan->n == scan->limit) {
            (void) close(dir);
            continue;
        }

        ngx_memzero(f, sizeof(ngx_http_usher_found_t));
        ngx_memcpy(f->id, id, USHER_SLOT_ID);
        f->dir = dir;

        if (ngx_http_usher_adopt_lock(scan, de->d_name, f) != NGX_OK) {
            (void) close(dir);
            continue;
        }

        scan->n++;
    }

    (void) closedir(d);

done:

    __atomic_store_n(&scan->task.finished, 1, __ATOMIC_RELEASE);
}


static uint64_t
ngx_http_usher_adopt_size(int dir)
{
    int             fd;
    DIR            *d;
    uint64_t        bytes;
    struct stat     st;
    struct dirent  *de;

    fd = openat(dir, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd == -1) {
        return 0;
    }

    d = fdopendir(fd);

    if (d == NULL) {
        (void) close(fd);
        return 0;
    }

    bytes = 0;

    while ((de = readdir(d)) != NULL) {
        if (strstr(de->d_name, ".seg") != NULL
            && fstatat(dir, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        {
            bytes += st.st_size;
        }
    }

    (void) closedir(d);

    return bytes;
}


/* A slot that was never finished, of a process that is gone. */

static void
ngx_http_usher_adopt_litter(ngx_http_usher_scan_t *scan, const char *name)
{
    int   dir, lock;
    char  first[NGX_HTTP_USHER_SEG_NAME];

    dir = openat(scan->dir, name, O_RDONLY|O_DIRECTORY|O_CLOEXEC|O_NOFOLLOW);

    if (dir == -1) {
        return;
    }

    lock = openat(dir, "lock", O_RDWR|O_CLOEXEC|O_NOFOLLOW);

    if (lock != -1) {

        if (flock(lock, LOCK_EX|LOCK_NB) == 0) {
            ngx_http_usher_segment_name(first, 1);
            (void) unlinkat(dir, first, 0);
            (void) unlinkat(dir, "lock", 0);
            (void) unlinkat(scan->dir, name, AT_REMOVEDIR);
        }

        (void) close(lock);
    }

    (void) close(dir);
}


static ngx_int_t
ngx_http_usher_adopt_lock(ngx_http_usher_scan_t *scan, const char *name,
    ngx_http_usher_found_t *f)
{
    int          fd;
    struct stat  mine, theirs;

    f->lock = openat(f->dir, "lock", O_RDWR|O_CLOEXEC|O_NOFOLLOW);

    if (f->lock == -1 && ngx_errno == ENOENT) {

        /* copied without it, or half removed: it is nobody's */

        f->lock = openat(f->dir, "lock", O_RDWR|O_CREAT|O_CLOEXEC|O_NOFOLLOW,
                         0600);
    }

    if (f->lock == -1) {
        return NGX_DECLINED;
    }

    if (flock(f->lock, LOCK_EX|LOCK_NB) == -1) {
        goto declined;
    }

    /* was it removed between the look and the lock? */

    if (fstat(f->lock, &mine) == -1
        || fstatat(f->dir, "lock", &theirs, AT_SYMLINK_NOFOLLOW) == -1
        || mine.st_ino != theirs.st_ino)
    {
        goto declined;
    }

    fd = openat(f->dir, "moved", O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd != -1) {
        if (ngx_http_usher_pread(fd, &f->moved, sizeof(uint64_t), 0)
            != NGX_OK)
        {
            f->moved = 0;
        }

        (void) close(fd);
    }

    if (ngx_http_usher_adopt_read(scan, f) == NGX_OK) {
        return NGX_OK;
    }

    if (f->segs != NULL) {
        ngx_free(f->segs);
    }

declined:

    (void) close(f->lock);

    return NGX_DECLINED;
}


/* The segments of a dead slot, in order, with where each ends. */

static ngx_int_t
ngx_http_usher_adopt_read(ngx_http_usher_scan_t *scan,
    ngx_http_usher_found_t *f)
{
    int             fd;
    DIR            *d;
    char           *end;
    uint64_t       *sequences, *more, sequence;
    ngx_uint_t      i, n, allocated;
    struct dirent  *de;

    fd = openat(f->dir, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd == -1) {
        return NGX_ERROR;
    }

    d = fdopendir(fd);

    if (d == NULL) {
        (void) close(fd);
        return NGX_ERROR;
    }

    sequences = NULL;
    allocated = 0;
    n = 0;

    while ((de = readdir(d)) != NULL) {
        sequence = strtoull(de->d_name, &end, 10);

        if (end == de->d_name || strcmp(end, ".seg") != 0) {
            continue;
        }

        if (n == allocated) {
            allocated = allocated * 2 + 16;
            more = realloc(sequences, allocated * sizeof(uint64_t));

            if (more == NULL) {
                free(sequences);
                (void) closedir(d);
                return NGX_ERROR;
            }

            sequences = more;
        }

        sequences[n++] = sequence;
    }

    (void) closedir(d);

    if (n != 0) {
        qsort(sequences, n, sizeof(uint64_t), ngx_http_usher_adopt_compare);
    }

    f->segs = ngx_calloc((2 * n + 2) * sizeof(ngx_http_usher_seg_t),
                         ngx_cycle->log);

    if (f->segs == NULL) {
        free(sequences);
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (ngx_http_usher_adopt_segment(f, sequences[i], i + 1 == n)
            != NGX_OK)
        {
            free(sequences);
            return NGX_ERROR;
        }
    }

    free(sequences);

    return NGX_OK;
}


/*
 * Segments follow on each other: each but the last ends where the next one
 * begins, whatever its own words say.
 */

static ngx_int_t
ngx_http_usher_adopt_segment(ngx_http_usher_found_t *f, uint64_t sequence,
    ngx_uint_t last)
{
    int                    fd;
    char                   name[NGX_HTTP_USHER_SEG_NAME];
    ngx_int_t              rc;
    struct stat            st;
    usher_segment_t        head;
    ngx_http_usher_seg_t  *seg;

    ngx_http_usher_segment_name(name, sequence);

    fd = openat(f->dir, name, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {
        return (ngx_errno == ENOENT) ? NGX_OK : NGX_ERROR;
    }

    ngx_memzero(&head, sizeof(usher_segment_t));
    ngx_memzero(&st, sizeof(struct stat));

    rc = fstat(fd, &st);

    if (rc == 0) {
        rc = ngx_http_usher_pread(fd, &head, sizeof(head), 0);
    }

    (void) close(fd);

    if (rc != 0
        || st.st_size < USHER_SEGMENT_MIN
        || usher_segment_check(&head, st.st_size, f->id) != 0
        || head.sequence != sequence
        || (f->segment != 0 && f->segment != head.size)
        || (f->nsegs != 0 && head.base < f->segs[f->nsegs - 1].base))
    {
        if (last && rc == 0) {
            ngx_http_usher_adopt_bad(f, sequence, &head, st.st_size);
        }

        return NGX_OK;
    }

    f->segment = head.size;

    if (f->nsegs != 0) {
        seg = &f->segs[f->nsegs - 1];

        if (seg->sequence + 1 == sequence) {
            seg->end = head.base;

        } else {

            /* what should lie between is missing, or has no header */

            if (ngx_http_usher_adopt_end(f) != NGX_OK) {
                return NGX_ERROR;
            }

            if (seg->end < head.base) {
                seg[1].sequence = sequence - 1;
                seg[1].base = seg->end;
                seg[1].end = head.base;
                seg[1].corrupt = 1;
                f->nsegs++;
            }
        }
    }

    seg = &f->segs[f->nsegs++];
    seg->sequence = sequence;
    seg->base = head.base;
    seg->end = head.base;
    seg->chain = head.base_chain;

    return last ? ngx_http_usher_adopt_end(f) : NGX_OK;
}


/* Where the last good segment so far ends. */

static ngx_int_t
ngx_http_usher_adopt_end(ngx_http_usher_found_t *f)
{
    int                    fd;
    char                   name[NGX_HTTP_USHER_SEG_NAME];
    usher_segment_t        head;
    ngx_http_usher_seg_t  *seg;

    seg = &f->segs[f->nsegs - 1];

    if (seg->corrupt) {
        return NGX_OK;
    }

    ngx_http_usher_segment_name(name, seg->sequence);

    fd = openat(f->dir, name, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {
        return NGX_ERROR;
    }

    if (ngx_http_usher_pread(fd, &head, sizeof(head), 0) != NGX_OK) {
        (void) close(fd);
        return NGX_ERROR;
    }

    seg->end = ngx_http_usher_read_end(fd, &head, head.size, f->id);

    (void) close(fd);

    return NGX_OK;
}


/*
 * The last file has no good header.  Mostly it is a spare that was never
 * started; but a committed word above all that came before says that lines
 * were in it, and how many bytes of them are lost.
 */

static void
ngx_http_usher_adopt_bad(ngx_http_usher_found_t *f, uint64_t sequence,
    usher_segment_t *head, uint64_t size)
{
    uint64_t               end;
    ngx_http_usher_seg_t  *seg;

    if (f->nsegs != 0) {
        (void) ngx_http_usher_adopt_end(f);
    }

    end = (f->nsegs != 0) ? f->segs[f->nsegs - 1].end : 0;

    if (head->committed <= end || head->committed - end > size) {
        return;
    }

    seg = &f->segs[f->nsegs++];
    seg->sequence = sequence;
    seg->base = end;
    seg->end = head->committed;
    seg->corrupt = 1;

    if (f->segment == 0) {
        f->segment = size;
    }
}


static int
ngx_http_usher_adopt_compare(const void *one, const void *two)
{
    uint64_t  a, b;

    a = *(const uint64_t *) one;
    b = *(const uint64_t *) two;

    return (a > b) - (a < b);
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
    ngx_uint_t              i;
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

    if (f->moved != 0) {

        /* its owner died while it moved what lies above a fork */

        s->forked = 1;
        s->known = 1;
        s->acked = s->shipped = ngx_min(f->moved, s->end);
    }

    for (i = 0; i < s->nsegs; i++) {
        if (s->segs[i].corrupt) {
            ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                          "usher journal: segments of slot %s are corrupt "
                          "or missing, from %uL to %uL", s->text,
                          s->segs[i].base, s->segs[i].end);
        }
    }

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


/*
 * Sets the node's count right where two scans in a row agree that it is
 * wrong by as much, and nobody counted meanwhile.
 */

static void
ngx_http_usher_adopt_measure(ngx_http_usher_journal_t *j,
    ngx_http_usher_scan_t *scan)
{
    int64_t  drift;

    drift = (int64_t) (scan->bytes - (uint64_t) scan->before);

    if (drift != 0 && drift == j->drift
        && ngx_atomic_cmp_set(&j->shared->journal_bytes, scan->before,
                              (ngx_atomic_uint_t) scan->bytes))
    {
        drift = 0;
    }

    j->drift = drift;
}


/* Gives back what processes that are gone had a share of. */

static void
ngx_http_usher_adopt_reap(ngx_http_usher_journal_t *j)
{
    ngx_uint_t                 i, full;
    ngx_atomic_uint_t          pid;
    ngx_http_usher_process_t  *p;

    full = 0;

    for (i = 0; i < NGX_HTTP_USHER_PROCESSES; i++) {
        p = &j->shared->process[i];
        pid = p->pid;

        if (pid == 0) {
            continue;
        }

        if (kill((pid_t) pid, 0) == -1 && ngx_errno == ESRCH
            && ngx_atomic_cmp_set(&p->pid, pid, 0))
        {
            if (p->slot[0] != '\0') {
                (void) ngx_atomic_fetch_add(&j->shared->journal_slots, -1);
                p->slot[0] = '\0';
            }

            p->window = 0;
            p->full = 0;
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

    if (s->closing || rm->task.active || rm->task.task.event.active
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

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "usher journal: slot %s retired at %uL", s->text, s->end);

    s->gone = 1;

    /* released with the task's reference */
}
