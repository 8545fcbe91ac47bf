
/*
 * ngx_http_usher_journal_scan.c - a walk through the journal's directory, in a
 * thread: how large it is, and which slots have no owner.
 *
 * A slot whose lock could be had is described by its segments in order, and
 * where each ends.  Segments follow on each other, so that nothing that is
 * missing goes unnoticed, and what a damaged header said is in the seals.
 */


#include "ngx_http_usher_journal.h"

#include <dirent.h>
#include <sys/file.h>


#define NGX_HTTP_USHER_SCAN_YOUNG  60    /* seconds */


static uint64_t ngx_http_usher_scan_size(int dir);
static ngx_int_t ngx_http_usher_scan_lock(ngx_http_usher_scan_t *scan,
    const char *name, ngx_http_usher_found_t *f, ngx_log_t *log);
static ngx_int_t ngx_http_usher_scan_read(ngx_http_usher_scan_t *scan,
    ngx_http_usher_found_t *f);
static ngx_int_t ngx_http_usher_scan_segment(ngx_http_usher_found_t *f,
    uint64_t sequence, ngx_uint_t last);
static ngx_int_t ngx_http_usher_scan_push(ngx_http_usher_found_t *f,
    uint64_t sequence, uint64_t base, uint64_t chain);
static ngx_int_t ngx_http_usher_scan_end(ngx_http_usher_found_t *f);
static ngx_int_t ngx_http_usher_scan_bad(ngx_http_usher_found_t *f, int fd,
    uint64_t sequence, usher_segment_t *head, uint64_t size);
static void ngx_http_usher_scan_lost(ngx_http_usher_found_t *f,
    uint64_t sequence, uint64_t from, uint64_t committed, uint64_t size);
static ngx_int_t ngx_http_usher_scan_first(ngx_http_usher_found_t *f, int fd,
    uint64_t size, usher_seal_t *seal);
static void ngx_http_usher_scan_litter(ngx_http_usher_scan_t *scan,
    const char *name);
static int ngx_http_usher_scan_compare(const void *one, const void *two);


void
ngx_http_usher_scan_work(void *data, ngx_log_t *log)
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
            ngx_http_usher_scan_litter(scan, de->d_name);
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

        scan->bytes += ngx_http_usher_scan_size(dir);
        scan->slots++;

        f = &scan->found[scan->n];

        if (scan->n == scan->limit) {
            (void) close(dir);
            continue;
        }

        ngx_memzero(f, sizeof(ngx_http_usher_found_t));
        ngx_memcpy(f->id, id, USHER_SLOT_ID);
        f->dir = dir;

        if (ngx_http_usher_scan_lock(scan, de->d_name, f, log) != NGX_OK) {
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
ngx_http_usher_scan_size(int dir)
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


/*
 * A slot that was never finished, of a process that is gone.  One that is
 * young may be in the making: its lock is there before it is held.
 */

static void
ngx_http_usher_scan_litter(ngx_http_usher_scan_t *scan, const char *name)
{
    int          dir, lock;
    time_t       now;
    struct stat  st;

    dir = openat(scan->dir, name, O_RDONLY|O_DIRECTORY|O_CLOEXEC|O_NOFOLLOW);

    if (dir == -1) {
        return;
    }

    now = time(NULL);

    if (fstat(dir, &st) == -1
        || (st.st_mtime <= now
            && now - st.st_mtime < NGX_HTTP_USHER_SCAN_YOUNG))
    {
        (void) close(dir);
        return;
    }

    lock = openat(dir, "lock", O_RDWR|O_CLOEXEC|O_NOFOLLOW);

    if (lock != -1) {

        if (flock(lock, LOCK_EX|LOCK_NB) == 0) {
            ngx_http_usher_segment_discard_files(dir);
            (void) unlinkat(scan->dir, name, AT_REMOVEDIR);
        }

        (void) close(lock);
    }

    (void) close(dir);
}


static ngx_int_t
ngx_http_usher_scan_lock(ngx_http_usher_scan_t *scan, const char *name,
    ngx_http_usher_found_t *f, ngx_log_t *log)
{
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

    if (faccessat(f->dir, NGX_HTTP_USHER_LEFT, F_OK, 0) == 0) {

        /* its owner could not tell what it is */

        goto declined;
    }

    if (ngx_http_usher_fork_found(scan->dir, f) == NGX_OK
        && ngx_http_usher_scan_read(scan, f) == NGX_OK)
    {
        return NGX_OK;
    }

    if (f->err != 0 && !scan->said) {
        scan->said = 1;
        ngx_log_error(NGX_LOG_CRIT, log, f->err,
                      "usher journal: slot %s cannot be read to its end and "
                      "is not adopted, trying again", name);
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
ngx_http_usher_scan_read(ngx_http_usher_scan_t *scan,
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
        qsort(sequences, n, sizeof(uint64_t), ngx_http_usher_scan_compare);
    }

    f->segs = ngx_calloc((2 * n + 2) * sizeof(ngx_http_usher_seg_t),
                         ngx_cycle->log);

    if (f->segs == NULL) {
        free(sequences);
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (ngx_http_usher_scan_segment(f, sequences[i], i + 1 == n)
            != NGX_OK)
        {
            free(sequences);
            return NGX_ERROR;
        }
    }

    free(sequences);

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_scan_segment(ngx_http_usher_found_t *f, uint64_t sequence,
    ngx_uint_t last)
{
    int              fd;
    char             name[NGX_HTTP_USHER_SEG_NAME];
    ngx_int_t        rc;
    struct stat      st;
    usher_segment_t  head;

    ngx_http_usher_segment_name(name, sequence);

    fd = openat(f->dir, name, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {

        if (ngx_errno == ENOENT) {
            return last ? ngx_http_usher_scan_end(f) : NGX_OK;
        }

        f->err = ngx_errno;
        return NGX_ERROR;
    }

    ngx_memzero(&head, sizeof(usher_segment_t));
    ngx_memzero(&st, sizeof(struct stat));

    if (fstat(fd, &st) == -1
        || (ngx_http_usher_pread(fd, &head, sizeof(head), 0) != NGX_OK
            && ngx_errno != 0))
    {
        f->err = ngx_errno;
    }

    if (last && f->err != 0) {

        /* nobody can tell where the slot ends: it is left as it is */

        (void) close(fd);
        return NGX_ERROR;
    }

    f->err = 0;

    /* too short: its process died before the file had its size */

    if (st.st_size < USHER_SEGMENT_MIN
        || usher_segment_check(&head, st.st_size, f->id) != 0
        || head.sequence != sequence
        || (f->segment != 0 && f->segment != head.size)
        || (f->nsegs != 0 && head.base < f->segs[f->nsegs - 1].base))
    {
        rc = ngx_http_usher_scan_bad(f, fd, sequence, &head, st.st_size);

    } else {
        f->segment = head.size;
        f->unclear = 0;
        rc = ngx_http_usher_scan_push(f, sequence, head.base,
                                      head.base_chain);
    }

    (void) close(fd);

    return (rc == NGX_OK && last) ? ngx_http_usher_scan_end(f) : rc;
}


/*
 * Segments follow on each other: each but the last ends where the next one
 * begins, whatever its own words say.
 */

static ngx_int_t
ngx_http_usher_scan_push(ngx_http_usher_found_t *f, uint64_t sequence,
    uint64_t base, uint64_t chain)
{
    ngx_http_usher_seg_t  *seg;

    if (f->nsegs != 0) {
        seg = &f->segs[f->nsegs - 1];

        if (seg->sequence + 1 == sequence) {
            seg->end = base;

        } else {

            /* what should lie between is missing, or cannot be read */

            if (ngx_http_usher_scan_end(f) != NGX_OK) {
                return NGX_ERROR;
            }

            if (seg->end < base) {
                seg[1].sequence = sequence - 1;
                seg[1].base = seg->end;
                seg[1].end = base;
                seg[1].corrupt = 1;
                f->nsegs++;
            }
        }
    }

    seg = &f->segs[f->nsegs++];
    seg->sequence = sequence;
    seg->base = base;
    seg->end = base;
    seg->chain = chain;

    return NGX_OK;
}


/*
 * Where the last segment so far ends: what was committed, within the same
 * boot; otherwise where valid seals end.
 */

static ngx_int_t
ngx_http_usher_scan_end(ngx_http_usher_found_t *f)
{
    int                    fd;
    char                   name[NGX_HTTP_USHER_SEG_NAME];
    uint64_t               max;
    ngx_int_t              rc;
    ngx_uint_t             counts;
    usher_segment_t        head;
    ngx_http_usher_seg_t  *seg;

    if (f->nends == f->nsegs) {
        return NGX_OK;
    }

    f->nends = f->nsegs;
    seg = &f->segs[f->nsegs - 1];

    if (seg->corrupt) {
        return NGX_OK;
    }

    ngx_http_usher_segment_name(name, seg->sequence);

    fd = openat(f->dir, name, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {
        f->err = ngx_errno;
        return NGX_ERROR;
    }

    ngx_memzero(&head, sizeof(usher_segment_t));

    if (ngx_http_usher_pread(fd, &head, sizeof(head), 0) != NGX_OK
        && !seg->mended)
    {
        f->err = (ngx_errno != 0) ? ngx_errno : EIO;
        (void) close(fd);
        return NGX_ERROR;
    }

    max = seg->base + f->segment - USHER_SEGMENT_HEADER;

    counts = ngx_http_usher_same_boot(&head)
             && head.committed >= seg->base && head.committed <= max;

    if (counts && !seg->mended) {
        seg->end = head.committed;
        (void) close(fd);
        return NGX_OK;
    }

    rc = ngx_http_usher_read_end(fd, seg->base, f->segment, f->id, &seg->end);

    if (rc != NGX_OK) {
        f->err = (ngx_errno != 0) ? ngx_errno : EIO;

    } else if (counts) {
        seg->end = ngx_max(seg->end, head.committed);
    }

    (void) close(fd);

    return rc;
}


/*
 * A file without a good header.  Mostly it is a spare that was never started:
 * nothing is in it, or what it held before it was recycled, which lies lower
 * than all that the slot has now.  If its first seal lies above that, lines
 * are in it, and its seals say which.  If they do not, a committed word may
 * still say how many bytes are lost; otherwise nobody can tell, and what lies
 * there stays there.
 */

static ngx_int_t
ngx_http_usher_scan_bad(ngx_http_usher_found_t *f, int fd,
    uint64_t sequence, usher_segment_t *head, uint64_t size)
{
    uint64_t      end;
    ngx_int_t     rc;
    ngx_uint_t    spare;
    usher_seal_t  seal;

    if (ngx_http_usher_scan_end(f) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_http_usher_scan_first(f, fd, size, &seal);

    if (rc == NGX_ERROR) {
        f->err = (ngx_errno != 0) ? ngx_errno : EIO;
        return NGX_ERROR;
    }

    if (rc == NGX_DONE) {
        return NGX_OK;
    }

    end = (f->nsegs != 0) ? f->segs[f->nsegs - 1].end : 0;

    spare = usher_segment_spare(head, size, f->id)
            || (usher_segment_check(head, size, f->id) == 0
                && head->sequence < sequence);

    if (rc == NGX_DECLINED) {

        if (!spare) {
            ngx_http_usher_scan_lost(f, sequence, end, head->committed, size);
        }

        return NGX_OK;
    }

    if (f->nsegs != 0 ? seal.from < end : spare) {
        return NGX_OK;
    }

    f->segment = size;

    if (ngx_http_usher_scan_push(f, sequence, seal.from, seal.chain)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    f->segs[f->nsegs - 1].mended = 1;

    return NGX_OK;
}


static void
ngx_http_usher_scan_lost(ngx_http_usher_found_t *f, uint64_t sequence,
    uint64_t from, uint64_t committed, uint64_t size)
{
    ngx_http_usher_seg_t  *seg;

    if (committed <= from || committed - from > size) {
        f->unclear = 1;
        return;
    }

    seg = &f->segs[f->nsegs++];
    seg->sequence = sequence;
    seg->base = from;
    seg->end = committed;
    seg->corrupt = 1;

    if (f->segment == 0) {
        f->segment = size;
    }
}


/*
 * The first seal, if it verifies; NGX_DECLINED: it does not, although lines
 * may be there, NGX_DONE: there are none.
 */

static ngx_int_t
ngx_http_usher_scan_first(ngx_http_usher_found_t *f, int fd, uint64_t size,
    usher_seal_t *seal)
{
    uint64_t  first;

    if (ngx_http_usher_pread(fd, &first, sizeof(uint64_t),
                             USHER_SEGMENT_HEADER)
        != NGX_OK)
    {
        return (ngx_errno != 0) ? NGX_ERROR : NGX_DONE;
    }

    if (first == 0) {
        return NGX_DONE;
    }

    if (size < USHER_SEGMENT_MIN || (f->segment != 0 && size != f->segment)) {
        return NGX_DECLINED;
    }

    return ngx_http_usher_read_first(fd, size, f->id, seal);
}


static int
ngx_http_usher_scan_compare(const void *one, const void *two)
{
    uint64_t  a, b;

    a = *(const uint64_t *) one;
    b = *(const uint64_t *) two;

    return (a > b) - (a < b);
}
