
/*
 * ngx_http_usher_journal_read.c - what lies in segments that are not mapped.
 *
 * A thread reads seals and lines with pread(), so that a bad block is an
 * error and not a signal, checks every checksum, and makes stream entries of
 * them: several seals to one entry up to 64 KB, a hole where a seal or its
 * lines are corrupt.  The loop then ships the entries from the buffer.
 *
 * A dead process may have committed lines after its last seal.  They have no
 * checksum and are shipped as they are: within one boot the page cache is
 * the truth.
 */


#include "ngx_http_usher_journal.h"


#define NGX_HTTP_USHER_READ_SEALS  128
#define NGX_HTTP_USHER_READ_TRIES  10    /* of a bad block, one a second */


/* The seals of a segment, read in runs. */
typedef struct {
    int            fd;
    uint64_t       size;
    uint64_t       first;              /* index of seals[0] */
    ngx_uint_t     n;
    ngx_int_t      failed;             /* errno */
    usher_seal_t   seals[NGX_HTTP_USHER_READ_SEALS];
} ngx_http_usher_seals_t;


static void ngx_http_usher_read_work(void *data, ngx_log_t *log);
static void ngx_http_usher_read_done(void *self);
static void ngx_http_usher_read_entries(ngx_http_usher_read_t *rd, int fd);
static ngx_int_t ngx_http_usher_read_room(ngx_http_usher_read_t *rd,
    size_t len);
static ngx_int_t ngx_http_usher_read_seal(ngx_http_usher_read_t *rd, int fd,
    usher_seal_t *seal, u_char *buf);
static ngx_http_usher_entry_t *ngx_http_usher_read_hole(
    ngx_http_usher_read_t *rd, uint64_t from, uint64_t end, uint64_t chain);
static ngx_int_t ngx_http_usher_read_tail(ngx_http_usher_read_t *rd, int fd,
    uint64_t pos);
static usher_seal_t *ngx_http_usher_read_nth(ngx_http_usher_seals_t *seals,
    uint64_t i);
static ngx_int_t ngx_http_usher_read_sealed(int fd, uint64_t base,
    usher_seal_t *seal, const u_char id[USHER_SLOT_ID], u_char *buf);


/* Has a thread read from the position that is to be shipped next. */

ngx_int_t
ngx_http_usher_read_start(ngx_http_usher_slot_t *s)
{
    ngx_int_t  rc;

    rc = ngx_http_usher_read_prepare(s);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_usher_task_post(s->journal, &s->read.task, s,
                                    ngx_http_usher_read_work,
                                    ngx_http_usher_read_done);
}


/* NGX_AGAIN: it is at work. */

ngx_int_t
ngx_http_usher_read_prepare(ngx_http_usher_slot_t *s)
{
    ngx_http_usher_seg_t   *seg;
    ngx_http_usher_read_t  *rd;

    rd = &s->read;

    if (rd->task.active || rd->task.task.event.active || s->gone) {
        return NGX_AGAIN;
    }

    seg = ngx_http_usher_slot_seg(s);

    if (seg == NULL) {
        return NGX_ERROR;
    }

    if (rd->seg.sequence != seg->sequence || s->shipped < rd->hint_from) {
        rd->hint = 0;
        rd->hint_from = 0;
    }

    rd->dir = s->dir;
    rd->size = s->segment;
    rd->seg = *seg;
    rd->from = s->shipped;
    rd->next_chain = (seg == &s->segs[s->nsegs - 1]) ? s->end_chain
                                                     : seg[1].chain;
    ngx_memcpy(rd->id, s->id, USHER_SLOT_ID);
    rd->nentries = 0;
    rd->current = 0;
    rd->skip = (s->failures >= NGX_HTTP_USHER_READ_TRIES);

    return NGX_OK;
}


static void
ngx_http_usher_read_done(void *self)
{
    ngx_http_usher_read_t *rd = self;

    ngx_http_usher_slot_t  *s;

    s = rd->task.slot;

    if (s->gone) {
        return;
    }

    if (rd->err != 0) {

        if (s->failures++ == 0) {
            ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, rd->err,
                          "usher journal: segment %uL of slot %s cannot "
                          "be read", rd->seg.sequence, s->text);
        }

        rd->nentries = 0;

        /* what the machine is short of says nothing of the disk */

        if (s->failures < NGX_HTTP_USHER_READ_TRIES || rd->err == NGX_ENOMEM
            || rd->err == NGX_EMFILE || rd->err == NGX_ENFILE)
        {
            s->retry = ngx_current_msec + NGX_HTTP_USHER_IDLE_TICK;
            return;
        }

        if (!rd->skip) {

            /* given up: what cannot be read is left out, the rest goes on */

            s->retry = 0;
            (void) ngx_http_usher_ship_pump(s);
            return;
        }

        /* nor can its seals be read: nothing tells where its lines are */

        ngx_http_usher_read_hole(rd, rd->from, rd->seg.end, rd->next_chain);
    }

    s->failures = 0;

    (void) ngx_http_usher_ship_pump(s);
}


static void
ngx_http_usher_read_work(void *data, ngx_log_t *log)
{
    ngx_http_usher_read_t *rd = data;

    ngx_http_usher_read_segment(rd);

    __atomic_store_n(&rd->task.finished, 1, __ATOMIC_RELEASE);
}


/* The next entries; none, and rd->err, if they cannot be read. */

void
ngx_http_usher_read_segment(ngx_http_usher_read_t *rd)
{
    int   fd;
    char  name[NGX_HTTP_USHER_SEG_NAME];

    rd->err = 0;
    rd->nentries = 0;

    if (rd->seg.corrupt) {
        ngx_http_usher_read_hole(rd, rd->from, rd->seg.end, rd->next_chain);
        return;
    }

    ngx_http_usher_segment_name(name, rd->seg.sequence);

    fd = openat(rd->dir, name, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {
        rd->err = ngx_errno;
        return;
    }

    ngx_http_usher_read_entries(rd, fd);

    (void) close(fd);
}


static void
ngx_http_usher_read_entries(ngx_http_usher_read_t *rd, int fd)
{
    size_t                   used, len;
    u_char                  *p;
    uint64_t                 i, pos, max;
    ngx_int_t                rc;
    usher_seal_t            *seal;
    ngx_http_usher_entry_t  *e;
    ngx_http_usher_seals_t   seals;

    seals.fd = fd;
    seals.size = rd->size;
    seals.n = 0;
    seals.failed = 0;

    pos = rd->from;
    max = rd->seg.end;
    used = 0;
    e = NULL;

    for (i = rd->hint; pos < max; i++) {

        seal = ngx_http_usher_read_nth(&seals, i);

        if (seal == NULL) {
            break;
        }

        /* what a recycled file held before lies at other positions */

        if (seal->from < rd->seg.base || seal->end <= seal->from
            || seal->end > max || seal->end <= pos)
        {
            continue;
        }

        len = seal->end - seal->from;

        if (used != 0 && used + len > NGX_HTTP_USHER_READ_SIZE) {
            return;
        }

        if (rd->allocated < used + len
            && (used != 0 || ngx_http_usher_read_room(rd, len) != NGX_OK))
        {
            return;
        }

        p = rd->buffer + used;
        rc = ngx_http_usher_read_seal(rd, fd, seal, p);

        if (rc == NGX_ERROR) {

            if (rd->nentries != 0) {

                /* what is good before it goes first */

                rd->err = 0;
                return;
            }

            if (!rd->skip) {
                return;
            }

            rd->err = 0;
            rc = NGX_DECLINED;
        }

        if (rc == NGX_DECLINED) {
            continue;
        }

        if (seal->from > pos) {

            /* the seals between were corrupt */

            e = ngx_http_usher_read_hole(rd, pos, seal->from, seal->chain);

            if (e == NULL) {
                return;
            }

            e = NULL;
        }

        if (e == NULL || e->end != seal->from
            || (size_t) (e->end - e->from) + len > NGX_HTTP_USHER_SHIP_SIZE)
        {
            if (rd->nentries == NGX_HTTP_USHER_READ_ENTRIES) {
                return;
            }

            e = &rd->entries[rd->nentries++];
            ngx_memzero(e, sizeof(ngx_http_usher_entry_t));
            e->from = seal->from;
            e->chain = seal->chain;
            e->data = p;
        }

        e->end = seal->end;
        e->lines += seal->lines;

        pos = seal->end;
        used += len;
        rd->hint = i + 1;
        rd->hint_from = pos;
    }

    if (seals.failed) {

        if (rd->nentries == 0) {
            rd->err = seals.failed;
        }

        return;
    }

    if (pos >= max || rd->nentries != 0) {

        /* a tail or a hole at the end is for the next read */

        return;
    }

    if (ngx_http_usher_read_tail(rd, fd, pos) == NGX_OK) {
        return;
    }

    ngx_http_usher_read_hole(rd, pos, max, rd->next_chain);
}


/* A buffer for len bytes; what was in it is gone. */

static ngx_int_t
ngx_http_usher_read_room(ngx_http_usher_read_t *rd, size_t len)
{
    u_char  *p;

    if (rd->allocated >= len) {
        return NGX_OK;
    }

    len = ngx_max(len, NGX_HTTP_USHER_READ_SIZE);
    p = ngx_alloc(len, ngx_cycle->log);

    if (p == NULL) {
        rd->err = NGX_ENOMEM;
        return NGX_ERROR;
    }

    if (rd->buffer != NULL) {
        ngx_free(rd->buffer);
    }

    rd->buffer = p;
    rd->allocated = len;

    return NGX_OK;
}


/* NGX_OK, NGX_DECLINED (corrupt), or NGX_ERROR with rd->err. */

static ngx_int_t
ngx_http_usher_read_seal(ngx_http_usher_read_t *rd, int fd,
    usher_seal_t *seal, u_char *buf)
{
    size_t  len;

    len = seal->end - seal->from;

    if (ngx_http_usher_pread(fd, buf, len, USHER_SEGMENT_HEADER
                                           + (seal->from - rd->seg.base))
        != NGX_OK)
    {
        rd->err = (ngx_errno != 0) ? ngx_errno : EIO;
        return NGX_ERROR;
    }

    return usher_seal_check(seal, rd->id, buf) ? NGX_OK : NGX_DECLINED;
}


static ngx_http_usher_entry_t *
ngx_http_usher_read_hole(ngx_http_usher_read_t *rd, uint64_t from,
    uint64_t end, uint64_t chain)
{
    ngx_http_usher_entry_t  *e;

    if (rd->nentries == NGX_HTTP_USHER_READ_ENTRIES) {
        return NULL;
    }

    e = &rd->entries[rd->nentries++];
    ngx_memzero(e, sizeof(ngx_http_usher_entry_t));

    e->from = from;
    e->end = end;
    e->chain = chain;
    e->hole = "corrupt";

    return e;
}


/*
 * Lines that were committed, but not sealed, when their process died: only
 * where all seals before are good, and only if the last byte ends a line.
 * Their chain is that of the last seal carried on.  They are one entry, also
 * when only a part of them is asked for: the chain is not known in between.
 */

static ngx_int_t
ngx_http_usher_read_tail(ngx_http_usher_read_t *rd, int fd, uint64_t pos)
{
    size_t                   len;
    u_char                  *before;
    uint64_t                 i, from, chain;
    usher_seal_t            *seal, last;
    usher_segment_t          head;
    ngx_http_usher_entry_t  *e;
    ngx_http_usher_seals_t   seals;

    if (ngx_http_usher_pread(fd, &head, sizeof(head), 0) != NGX_OK
        || !ngx_http_usher_same_boot(&head)
        || head.committed != rd->seg.end)
    {
        return NGX_DECLINED;
    }

    from = rd->seg.base;
    chain = rd->seg.chain;

    if (head.nseals != 0) {
        seals.fd = fd;
        seals.size = rd->size;
        seals.n = 0;
        seals.failed = 0;

        i = head.nseals - 1;
        seal = ngx_http_usher_read_nth(&seals, i);

        if (seal == NULL || seal->end > pos || seal->from >= seal->end
            || seal->from < rd->seg.base)
        {
            return NGX_DECLINED;
        }

        last = *seal;
        from = last.end;
        before = ngx_alloc(last.end - last.from, ngx_cycle->log);

        if (before == NULL) {
            return NGX_DECLINED;
        }

        if (ngx_http_usher_read_seal(rd, fd, &last, before) != NGX_OK) {
            ngx_free(before);
            return NGX_DECLINED;
        }

        chain = usher_crc64(last.chain, before, last.end - last.from);
        ngx_free(before);
    }

    len = rd->seg.end - from;

    if (ngx_http_usher_read_room(rd, len) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (ngx_http_usher_pread(fd, rd->buffer, len, USHER_SEGMENT_HEADER
                                                  + (from - rd->seg.base))
        != NGX_OK
        || rd->buffer[len - 1] != LF)
    {
        return NGX_DECLINED;
    }

    e = &rd->entries[rd->nentries++];
    ngx_memzero(e, sizeof(ngx_http_usher_entry_t));

    e->from = from;
    e->end = rd->seg.end;
    e->chain = chain;
    e->lines = ngx_http_usher_read_lines(rd->buffer, len);
    e->data = rd->buffer;

    return NGX_OK;
}


ngx_uint_t
ngx_http_usher_read_lines(u_char *p, size_t len)
{
    u_char      *last;
    ngx_uint_t   n;

    n = 0;
    last = p + len;

    while (p < last) {
        p = memchr(p, LF, last - p);

        if (p == NULL) {
            break;
        }

        p++;
        n++;
    }

    return n;
}


/* Seal i, or NULL where it would reach into the header. */

static usher_seal_t *
ngx_http_usher_read_nth(ngx_http_usher_seals_t *seals, uint64_t i)
{
    uint64_t     n, low;

    if (seals->n == 0 || i < seals->first || i >= seals->first + seals->n) {

        n = (seals->size - USHER_SEGMENT_HEADER) / sizeof(usher_seal_t);

        if (i >= n) {
            return NULL;
        }

        n = ngx_min(n - i, NGX_HTTP_USHER_READ_SEALS);
        low = usher_seal_offset(seals->size, i + n - 1);

        if (ngx_http_usher_pread(seals->fd, seals->seals,
                                 n * sizeof(usher_seal_t), low)
            != NGX_OK)
        {
            seals->failed = (ngx_errno != 0) ? ngx_errno : EIO;
            return NULL;
        }

        seals->first = i;
        seals->n = n;
    }

    /* they grow down: the last one read is the first */

    return &seals->seals[seals->n - 1 - (i - seals->first)];
}


/*
 * What a header says of where its segment begins is also in the first seal.
 * NGX_DECLINED: that does not verify, NGX_ERROR: cannot be told, see errno.
 */

ngx_int_t
ngx_http_usher_read_first(int fd, uint64_t size,
    const u_char id[USHER_SLOT_ID], usher_seal_t *seal)
{
    u_char     *buf;
    ngx_int_t   rc;

    if (ngx_http_usher_pread(fd, seal, sizeof(usher_seal_t),
                             usher_seal_offset(size, 0))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (seal->end <= seal->from
        || seal->end - seal->from
           > size - USHER_SEGMENT_HEADER - sizeof(usher_seal_t))
    {
        return NGX_DECLINED;
    }

    buf = ngx_alloc(NGX_HTTP_USHER_READ_SIZE, ngx_cycle->log);

    if (buf == NULL) {
        ngx_set_errno(NGX_ENOMEM);
        return NGX_ERROR;
    }

    rc = ngx_http_usher_read_sealed(fd, seal->from, seal, id, buf);

    ngx_free(buf);

    return rc;
}


/*
 * Where valid seals end.  A bad one says nothing of those after it, so all
 * that there can be are looked at: down to where lines lie.  What a recycled
 * file held before lies at lower positions.  NGX_ERROR: see errno.
 */

ngx_int_t
ngx_http_usher_read_end(int fd, uint64_t base, uint64_t size,
    const u_char id[USHER_SLOT_ID], uint64_t *end)
{
    u_char                  *buf;
    uint64_t                 i, max;
    ngx_int_t                rc;
    usher_seal_t            *seal;
    ngx_http_usher_seals_t   seals;

    buf = ngx_alloc(NGX_HTTP_USHER_READ_SIZE, ngx_cycle->log);

    if (buf == NULL) {
        ngx_set_errno(NGX_ENOMEM);
        return NGX_ERROR;
    }

    seals.fd = fd;
    seals.size = size;
    seals.n = 0;
    seals.failed = 0;

    max = base + size - USHER_SEGMENT_HEADER;
    *end = base;

    for (i = 0;
         usher_seal_offset(size, i) >= USHER_SEGMENT_HEADER + (*end - base);
         i++)
    {
        seal = ngx_http_usher_read_nth(&seals, i);

        if (seal == NULL) {
            break;
        }

        if (seal->from < *end || seal->end <= seal->from || seal->end > max) {
            continue;
        }

        rc = ngx_http_usher_read_sealed(fd, base, seal, id, buf);

        /* lines that cannot be read are there, and will be a hole */

        if (rc == NGX_OK || (rc == NGX_ERROR && seal->from == *end)) {
            *end = seal->end;
        }
    }

    ngx_free(buf);

    if (seals.failed) {
        ngx_set_errno(seals.failed);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* A seal's lines, a piece at a time: its own words may say any length. */

static ngx_int_t
ngx_http_usher_read_sealed(int fd, uint64_t base, usher_seal_t *seal,
    const u_char id[USHER_SLOT_ID], u_char *buf)
{
    size_t    n;
    uint64_t  pos, chain;

    chain = seal->chain;

    for (pos = seal->from; pos < seal->end; pos += n) {
        n = ngx_min(seal->end - pos, NGX_HTTP_USHER_READ_SIZE);

        if (ngx_http_usher_pread(fd, buf, n, USHER_SEGMENT_HEADER
                                             + (pos - base))
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        chain = usher_crc64(chain, buf, n);
    }

    return usher_seal_crc(seal, id, chain) == seal->crc ? NGX_OK
                                                        : NGX_DECLINED;
}
