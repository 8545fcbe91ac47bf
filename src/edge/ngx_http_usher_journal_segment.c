
/*
 * ngx_http_usher_journal_segment.c - files of segments.
 *
 * All of this runs in threads (the first segment of an own slot excepted) and
 * touches nothing but its task.  A segment is allocated, mapped and populated
 * before the loop sees it, so that an append never meets a page fault, and
 * never a full disk: fallocate() has taken the blocks.  Where the file
 * system cannot promise that (no fallocate, copy on write) zeros are written
 * and the journal says so once.
 */


#include "ngx_http_usher_journal.h"

#include <dirent.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/vfs.h>


#define NGX_HTTP_USHER_DRAFT     (USHER_SLOT_TEXT + 8)

#define NGX_HTTP_USHER_BTRFS     0x9123683e
#define NGX_HTTP_USHER_ZFS       0x2fc12fc1
#define NGX_HTTP_USHER_BCACHEFS  0xca451a4e

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE      23
#endif


static int ngx_http_usher_segment_open(ngx_http_usher_spare_t *sp);
static ngx_int_t ngx_http_usher_segment_allocate(ngx_http_usher_spare_t *sp,
    int fd);
static ngx_int_t ngx_http_usher_segment_zeros(int fd, uint64_t size);
static ngx_int_t ngx_http_usher_segment_first(int fd, u_char *map,
    uint64_t size);
static ngx_int_t ngx_http_usher_segment_populate(int fd, u_char *map,
    uint64_t offset, uint64_t size);
static void ngx_http_usher_segment_read(int fd, uint64_t offset,
    uint64_t size);
static void ngx_http_usher_segment_draft_name(char name[NGX_HTTP_USHER_DRAFT],
    const u_char id[USHER_SLOT_ID]);
static void ngx_http_usher_segment_touch_work(void *data, ngx_log_t *log);
static void ngx_http_usher_segment_touch_done(void *self);


void
ngx_http_usher_segment_name(char name[NGX_HTTP_USHER_SEG_NAME],
    uint64_t sequence)
{
    (void) snprintf(name, NGX_HTTP_USHER_SEG_NAME, "%08lu.seg",
                    (unsigned long) sequence);
}


void
ngx_http_usher_segment_make(void *data, ngx_log_t *log)
{
    ngx_http_usher_spare_t *sp = data;

    int      fd;
    char     name[NGX_HTTP_USHER_SEG_NAME];
    u_char  *map;

    sp->err = 0;
    sp->map.map = NULL;
    sp->map.fd = -1;

    ngx_http_usher_segment_unmap(&sp->old, sp->size);

    fd = ngx_http_usher_segment_open(sp);

    if (fd == -1) {
        sp->err = ngx_errno;
        goto done;
    }

    map = mmap(NULL, sp->size, PROT_READ|PROT_WRITE, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED) {
        sp->err = ngx_errno;
        goto failed;
    }

    if (ngx_http_usher_segment_first(fd, map, sp->size) != NGX_OK) {
        sp->err = ngx_errno;
        (void) munmap(map, sp->size);
        goto failed;
    }

    usher_segment_init((usher_segment_t *) map, sp->size, sp->sequence,
                       sp->id, sp->boot);

    if (sp->durable) {
        (void) fsync(sp->dir);
    }

    sp->map.map = map;
    sp->map.fd = fd;
    sp->map.sequence = sp->sequence;

    goto done;

failed:

    ngx_http_usher_segment_name(name, sp->sequence);
    (void) unlinkat(sp->dir, name, 0);
    (void) close(fd);

done:

    __atomic_store_n(&sp->task.finished, 1, __ATOMIC_RELEASE);
}


static int
ngx_http_usher_segment_open(ngx_http_usher_spare_t *sp)
{
    int          fd;
    char         name[NGX_HTTP_USHER_SEG_NAME];
    char         old[NGX_HTTP_USHER_SEG_NAME];
    ngx_err_t    err;
    struct stat  st;

    ngx_http_usher_segment_name(name, sp->sequence);

    if (sp->recycle != 0) {
        ngx_http_usher_segment_name(old, sp->recycle);

        if (renameat(sp->dir, old, sp->dir, name) == 0) {
            fd = openat(sp->dir, name, O_RDWR|O_CLOEXEC|O_NOFOLLOW);

            if (fd != -1 && fstat(fd, &st) == 0
                && (uint64_t) st.st_size == sp->size)
            {
                return fd;
            }

            if (fd != -1) {
                (void) close(fd);
            }
        }
    }

    /* what lies there is a spare that was never started */

    (void) unlinkat(sp->dir, name, 0);

    fd = openat(sp->dir, name, O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW,
                0600);

    if (fd == -1) {
        return -1;
    }

    if (ngx_http_usher_segment_allocate(sp, fd) != NGX_OK) {
        err = ngx_errno;
        (void) unlinkat(sp->dir, name, 0);
        (void) close(fd);
        ngx_set_errno(err);
        return -1;
    }

    return fd;
}


static ngx_int_t
ngx_http_usher_segment_allocate(ngx_http_usher_spare_t *sp, int fd)
{
    struct statfs  fs;

    if (fstatfs(fd, &fs) == 0
        && fs.f_type != NGX_HTTP_USHER_BTRFS
        && fs.f_type != NGX_HTTP_USHER_ZFS
        && fs.f_type != (__typeof__(fs.f_type)) NGX_HTTP_USHER_BCACHEFS)
    {
        for ( ;; ) {
            if (fallocate(fd, 0, 0, sp->size) == 0) {
                return NGX_OK;
            }

            if (ngx_errno != EINTR) {
                break;
            }
        }

        if (ngx_errno != EOPNOTSUPP && ngx_errno != ENOSYS) {
            return NGX_ERROR;
        }
    }

    sp->zeroed = 1;

    return ngx_http_usher_segment_zeros(fd, sp->size);
}


static ngx_int_t
ngx_http_usher_segment_zeros(int fd, uint64_t size)
{
    ssize_t        n;
    uint64_t       done;
    static u_char  zeros[64 * 1024];

    for (done = 0; done < size; done += n) {
        n = pwrite(fd, zeros, ngx_min(sizeof(zeros), size - done), done);

        if (n <= 0) {

            if (n == -1 && ngx_errno == EINTR) {
                n = 0;
                continue;
            }

            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * Only the first lines' pages and the first seals' are populated at once, the
 * others shortly before lines come (ngx_http_usher_segment_touch).  A sync
 * writes each dirty page and protects it again: of a segment populated as a
 * whole it would write the zeros too, and the loop would meet the fault that
 * populating was to spare it.
 */

static ngx_int_t
ngx_http_usher_segment_first(int fd, u_char *map, uint64_t size)
{
    if (size <= 2 * NGX_HTTP_USHER_TOUCH) {
        return ngx_http_usher_segment_populate(fd, map, 0, size);
    }

    if (ngx_http_usher_segment_populate(fd, map, 0, NGX_HTTP_USHER_TOUCH)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_usher_segment_populate(fd, map,
                                           size - NGX_HTTP_USHER_TOUCH / 16,
                                           NGX_HTTP_USHER_TOUCH / 16);
}


static ngx_int_t
ngx_http_usher_segment_populate(int fd, u_char *map, uint64_t offset,
    uint64_t size)
{
    uint64_t  i;

    ngx_http_usher_segment_read(fd, offset, size);

    map += offset;

    for ( ;; ) {
        if (madvise(map, size, MADV_POPULATE_WRITE) == 0) {
            return NGX_OK;
        }

        if (ngx_errno != EINTR && ngx_errno != EAGAIN) {
            break;
        }
    }

    if (ngx_errno != EINVAL) {
        return NGX_ERROR;
    }

    /* kernels before 5.14; the loop may be writing lines there */

    for (i = 0; i < size; i += 4096) {
        (void) __atomic_fetch_or(map + i, 0, __ATOMIC_RELAXED);
    }

    return NGX_OK;
}


/*
 * A file system that has large folios (XFS, ext4 since Linux 6.16) takes them
 * for reading ahead, not for faults; populating and syncing them costs half
 * as much.  What is read goes nowhere, and is not copied.
 */

static void
ngx_http_usher_segment_read(int fd, uint64_t offset, uint64_t size)
{
    int    null;
    off_t  from;

    null = open("/dev/null", O_WRONLY|O_CLOEXEC);

    if (null == -1) {
        return;
    }

    from = offset;

    /* where it fails, populating tells whether that matters */

    (void) sendfile(null, fd, &from, size);
    (void) close(null);
}


/* With each ship tick: has the next part populated when lines come near it. */

void
ngx_http_usher_segment_touch(ngx_http_usher_journal_t *j)
{
    size_t                   size, used;
    ngx_http_usher_touch_t  *touch;

    if (j->own == NULL) {
        return;
    }

    touch = &j->touch;
    size = j->own->segment;
    used = j->pos - j->map.map;

    if (j->touched >= size
        || used + NGX_HTTP_USHER_TOUCH / 2 < j->touched
        || touch->task.active
        || touch->task.task.event.active)
    {
        return;
    }

    /* lines that came faster have met the faults of their pages */

    if (j->touched < used) {
        j->touched = used / ngx_pagesize * ngx_pagesize;
    }

    touch->map = j->map;
    touch->offset = j->touched;
    touch->len = ngx_min(size - j->touched, NGX_HTTP_USHER_TOUCH);

    if (ngx_http_usher_task_post(j, &touch->task, NULL,
                                 ngx_http_usher_segment_touch_work,
                                 ngx_http_usher_segment_touch_done)
        == NGX_OK)
    {
        j->touched += touch->len;
    }
}


static void
ngx_http_usher_segment_touch_work(void *data, ngx_log_t *log)
{
    ngx_http_usher_touch_t *touch = data;

    /* where it fails the loop meets the faults: slower, and as good */

    (void) ngx_http_usher_segment_populate(touch->map.fd, touch->map.map,
                                           touch->offset, touch->len);

    __atomic_store_n(&touch->task.finished, 1, __ATOMIC_RELEASE);
}


static void
ngx_http_usher_segment_touch_done(void *self)
{
    /* void */
}


/* Before the map goes and its file: mostly no thread is at work on them. */

void
ngx_http_usher_segment_touched(ngx_http_usher_journal_t *j)
{
    while (j->touch.task.active
           && !__atomic_load_n(&j->touch.task.finished, __ATOMIC_ACQUIRE))
    {
        (void) usleep(100);
    }
}


void
ngx_http_usher_segment_unmap(ngx_http_usher_map_t *map, uint64_t size)
{
    if (map->map == NULL) {
        return;
    }

    (void) munmap(map->map, size);
    (void) close(map->fd);

    map->map = NULL;
    map->fd = -1;
}


/* Segments that were acknowledged long ago, or a whole slot. */

void
ngx_http_usher_segment_remove(void *data, ngx_log_t *log)
{
    ngx_http_usher_remove_t *rm = data;

    int             fd;
    DIR            *d;
    char            name[NGX_HTTP_USHER_SEG_NAME];
    uint64_t        sequence;
    struct stat     st;
    struct dirent  *de;

    rm->bytes = 0;

    if (!rm->all) {

        for (sequence = rm->first; sequence <= rm->last; sequence++) {
            ngx_http_usher_segment_name(name, sequence);
            (void) unlinkat(rm->dir, name, 0);
        }

        return;
    }

    fd = openat(rm->dir, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    d = (fd != -1) ? fdopendir(fd) : NULL;

    if (d == NULL) {
        return;
    }

    while ((de = readdir(d)) != NULL) {
        if (strstr(de->d_name, ".seg") != NULL
            && fstatat(rm->dir, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0
            && unlinkat(rm->dir, de->d_name, 0) == 0)
        {
            rm->bytes += st.st_size;
        }
    }

    (void) closedir(d);

    /* the lock last: until then nobody takes it for a slot left behind */

    (void) unlinkat(rm->dir, NGX_HTTP_USHER_MOVED ".new", 0);
    (void) unlinkat(rm->dir, NGX_HTTP_USHER_MOVED, 0);
    (void) unlinkat(rm->dir, NGX_HTTP_USHER_ORIGIN, 0);
    (void) unlinkat(rm->dir, "lock", 0);
    (void) unlinkat(rm->parent, rm->name, AT_REMOVEDIR);
}


/*
 * A slot in the making: its directory, under a name that is none, its lock
 * and its first segment.  The caller gives id, size and boot.
 */

ngx_int_t
ngx_http_usher_segment_draft(int parent, ngx_http_usher_spare_t *sp,
    int *lock)
{
    char  name[NGX_HTTP_USHER_DRAFT];

    ngx_http_usher_segment_draft_name(name, sp->id);

    sp->dir = -1;
    sp->sequence = 1;
    sp->recycle = 0;

    if (mkdirat(parent, name, 0700) == -1) {
        return NGX_ERROR;
    }

    sp->dir = openat(parent, name, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (sp->dir == -1) {
        return NGX_ERROR;
    }

    *lock = openat(sp->dir, "lock", O_RDWR|O_CREAT|O_CLOEXEC, 0600);

    if (*lock == -1 || flock(*lock, LOCK_EX|LOCK_NB) == -1) {
        return NGX_ERROR;
    }

    ngx_http_usher_segment_make(sp, ngx_cycle->log);

    if (sp->err != 0) {
        ngx_set_errno(sp->err);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* From here on it is a slot. */

ngx_int_t
ngx_http_usher_segment_publish(int parent, ngx_http_usher_spare_t *sp)
{
    char  name[NGX_HTTP_USHER_DRAFT], text[USHER_SLOT_TEXT + 1];

    ngx_http_usher_segment_draft_name(name, sp->id);
    usher_slot_text(sp->id, text);

    return renameat(parent, name, parent, text) == 0 ? NGX_OK : NGX_ERROR;
}


/* Descriptors are the caller's. */

void
ngx_http_usher_segment_discard(int parent, ngx_http_usher_spare_t *sp)
{
    char  name[NGX_HTTP_USHER_DRAFT];

    ngx_http_usher_segment_draft_name(name, sp->id);
    ngx_http_usher_segment_unmap(&sp->map, sp->size);

    if (sp->dir != -1) {
        ngx_http_usher_segment_discard_files(sp->dir);
    }

    (void) unlinkat(parent, name, AT_REMOVEDIR);
}


/* The lock last: until then nobody takes it for one left behind. */

void
ngx_http_usher_segment_discard_files(int dir)
{
    char  first[NGX_HTTP_USHER_SEG_NAME];

    ngx_http_usher_segment_name(first, 1);

    (void) unlinkat(dir, first, 0);
    (void) unlinkat(dir, NGX_HTTP_USHER_ORIGIN ".new", 0);
    (void) unlinkat(dir, NGX_HTTP_USHER_ORIGIN, 0);
    (void) unlinkat(dir, "lock", 0);
}


static void
ngx_http_usher_segment_draft_name(char name[NGX_HTTP_USHER_DRAFT],
    const u_char id[USHER_SLOT_ID])
{
    char  text[USHER_SLOT_TEXT + 1];

    usher_slot_text(id, text);
    (void) snprintf(name, NGX_HTTP_USHER_DRAFT, ".new-%s", text);
}


/* All or nothing; NGX_ERROR with errno, 0 for an early end of file. */

ngx_int_t
ngx_http_usher_pread(int fd, void *buf, size_t size, off_t offset)
{
    u_char   *p;
    ssize_t   n;

    p = buf;

    while (size > 0) {
        n = pread(fd, p, size, offset);

        if (n == -1 && ngx_errno == EINTR) {
            continue;
        }

        if (n <= 0) {

            if (n == 0) {
                ngx_set_errno(0);
            }

            return NGX_ERROR;
        }

        p += n;
        size -= n;
        offset += n;
    }

    return NGX_OK;
}
