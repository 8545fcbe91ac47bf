
/*
 * ngx_http_usher_journal.h - what the files of the journal share.
 *
 * DESIGN
 *
 * A process has one journal state, made at its first use and made anew when
 * ngx_cycle changes (single process).  It holds the slots in its care: its
 * own, to which it alone appends, and adopted ones, which only have to be
 * shipped to their end.  Both are shipped by the same code.
 *
 *     _journal.c          append, reserve, parts; the hot path
 *     _journal_module.c   the module, the state of the process
 *     _journal_conf.c     usher_journal and its rules
 *     _journal_slot.c     the own slot: creation, seals, switch of segments
 *     _journal_segment.c  files of segments, in threads: spare, recycling
 *     _journal_sync.c     group sync and the requests that wait for it
 *     _journal_task.c     work for threads
 *     _journal_read.c     lines and holes of older segments, in threads
 *     _journal_scan.c     slots without owner, in threads
 *     _journal_adopt.c    their adoption and retirement
 *     _ship.c             window, pipeline, replies
 *     _ship_entry.c       entries
 *     _ship_ack.c         acknowledgements, repair of streams
 *     _ship_fork.c        lines above a fork, in threads
 *
 * Positions of a slot, each at most the next:
 *
 *     acked      rows in PostgreSQL; may be set back
 *     shipped    queued to Redis since the stream was last taken up
 *     end        sealed; an adopted slot ends there
 *     committed  appended (own slot)
 *
 * Threads never touch a slot or the state: a task carries copies, and what
 * they made is taken over on the loop.  A slot is freed when no task and no
 * reply refers to it any more.
 */


#ifndef _NGX_HTTP_USHER_JOURNAL_H_INCLUDED_
#define _NGX_HTTP_USHER_JOURNAL_H_INCLUDED_


#include "ngx_http_usher.h"

#include <ngx_thread_pool.h>

#include "usher_crc.h"
#include "usher_segment.h"


#define NGX_HTTP_USHER_SHIP_SIZE     (64 * 1024)     /* bytes of an entry */
#define NGX_HTTP_USHER_SHIP_TICK     20              /* msec */
#define NGX_HTTP_USHER_SHIP_QUEUE    (1024 * 1024)   /* unanswered bytes */
#define NGX_HTTP_USHER_IDLE_TICK     1000            /* msec */
#define NGX_HTTP_USHER_SLOTS_TIME    10000           /* usher:slots, msec */
#define NGX_HTTP_USHER_READ_SIZE     (256 * 1024)    /* bytes of a read */
#define NGX_HTTP_USHER_TOUCH         (256 * 1024)    /* bytes kept populated
                                                        ahead of the lines */

/* Files of a slot, beside its lock and its segments. */
#define NGX_HTTP_USHER_LEFT          "left"      /* not to be adopted */
#define NGX_HTTP_USHER_MOVED         "moved"     /* of a forked slot */
#define NGX_HTTP_USHER_ORIGIN        "origin"    /* the forked slot's name */

#define NGX_HTTP_USHER_CHECK_MAX     30000           /* msec between checks */

/* Segments left unsynced before a sync takes the whole file system. */
#define NGX_HTTP_USHER_UNSYNCED       8

/* Sent for a slot: see _ship.c. */
#define NGX_HTTP_USHER_SHIP_COMMANDS  8

#define NGX_HTTP_USHER_SYNC_OFF       0
#define NGX_HTTP_USHER_SYNC_INTERVAL  1
#define NGX_HTTP_USHER_SYNC_ALWAYS    2


typedef struct ngx_http_usher_journal_s  ngx_http_usher_journal_t;
typedef struct ngx_http_usher_slot_s     ngx_http_usher_slot_t;


typedef struct {
    ngx_str_t            path;         /* data NULL: no usher_journal */
    uint64_t             size;         /* bytes on disk, of the node */
    uint64_t             window;       /* bytes in Redis, of the node */
    uint64_t             segment;      /* bytes of a segment's file */
    ngx_msec_t           retain;       /* after the acknowledgement */
    ngx_msec_t           interval;     /* of NGX_HTTP_USHER_SYNC_INTERVAL */
    ngx_uint_t           sync;         /* NGX_HTTP_USHER_SYNC_* */
    ngx_str_t            waits;        /* directive that needs sync, or "" */
    ngx_thread_pool_t   *pool;
} ngx_http_usher_journal_conf_t;


/* A segment as the loop knows it. */
typedef struct {
    uint64_t             sequence;
    uint64_t             base;         /* position of the first line */
    uint64_t             end;          /* of the last sealed line */
    uint64_t             chain;        /* at base */
    ngx_msec_t           acked;        /* monotonic msec; 0: not yet */
    unsigned             corrupt:1;    /* nothing valid: all of it a hole */
    unsigned             mended:1;     /* its seals tell what a header would */
} ngx_http_usher_seg_t;


/* A mapped segment. */
typedef struct {
    u_char              *map;          /* NULL: none */
    ngx_fd_t             fd;
    uint64_t             sequence;
} ngx_http_usher_map_t;


/* A stream entry to be.  Offsets are into the buffer it was read to. */
typedef struct {
    uint64_t             from;
    uint64_t             end;
    uint64_t             chain;        /* data: at from; hole: at end */
    ngx_uint_t           lines;
    u_char              *data;
    const char          *hole;         /* reason; NULL: data */
    unsigned             last:1;       /* end entry */
} ngx_http_usher_entry_t;


/* A task of the thread pool and its state; one run at a time. */
typedef struct {
    ngx_thread_task_t    task;
    ngx_http_usher_slot_t  *slot;      /* NULL: of the journal */
    ngx_http_usher_journal_t  *journal;
    void               (*done)(void *self);
    ngx_atomic_t         finished;     /* 1: the thread has left it */
    unsigned             active:1;     /* posted, done() not yet called */
    unsigned             left:1;       /* waited for: its event frees it */
} ngx_http_usher_task_t;


/* Makes a spare segment: a new file, or an acknowledged one renamed. */
typedef struct {
    ngx_http_usher_task_t  task;       /* first */
    int                  dir;
    uint64_t             size;
    uint64_t             sequence;
    uint64_t             recycle;      /* sequence to be renamed; 0: new */
    u_char               id[USHER_SLOT_ID];
    const char          *boot;
    ngx_http_usher_map_t  old;         /* to be unmapped; left by a switch */
    ngx_http_usher_map_t  map;         /* result */
    ngx_err_t            err;
    unsigned             durable:1;    /* sync the directory */
    unsigned             zeroed:1;     /* result: fallocate did not do */
} ngx_http_usher_spare_t;


/* Touches pages that lines will soon be written to. */
typedef struct {
    ngx_http_usher_task_t  task;       /* first */
    ngx_http_usher_map_t  map;         /* stays mapped meanwhile */
    size_t               offset;       /* bytes from its start */
    size_t               len;
} ngx_http_usher_touch_t;


typedef struct {
    ngx_http_usher_task_t  task;       /* first */
    int                  fds[NGX_HTTP_USHER_UNSYNCED + 1];
                                       /* closed by the task */
    ngx_uint_t           n;
    int                  dirs[2];      /* to be synced once; -1: none */
    uint64_t             position;     /* covered by this sync */
    ngx_uint_t           generation;   /* of the own slot */
    ngx_err_t            err;
    unsigned             whole:1;      /* too many files: syncfs() */
} ngx_http_usher_sync_t;


#define NGX_HTTP_USHER_READ_ENTRIES  64

/* Reads entries of one segment. */
typedef struct {
    ngx_http_usher_task_t  task;       /* first */
    int                  dir;
    uint64_t             size;         /* of the file */
    u_char               id[USHER_SLOT_ID];
    ngx_http_usher_seg_t  seg;
    uint64_t             next_chain;   /* chain at seg.end, 0: not known */
    uint64_t             from;         /* position wanted */
    ngx_uint_t           hint;         /* first seal to look at */
    uint64_t             hint_from;    /* for positions from here on */
    ngx_uint_t           nentries;     /* result */
    ngx_uint_t           current;      /* next to be shipped */
    ngx_http_usher_entry_t  entries[NGX_HTTP_USHER_READ_ENTRIES];
    u_char              *buffer;
    size_t               allocated;
    ngx_err_t            err;
    unsigned             skip:1;       /* leave out what cannot be read */
} ngx_http_usher_read_t;


/* Removes files: segments below a sequence, or the whole slot. */
typedef struct {
    ngx_http_usher_task_t  task;       /* first */
    int                  dir;          /* of the slot */
    int                  parent;       /* of the journal */
    uint64_t             first;        /* sequences to be unlinked */
    uint64_t             last;
    uint64_t             bytes;        /* result: of all that was removed */
    unsigned             all:1;        /* and lock and directory */
    char                 name[USHER_SLOT_TEXT + 1];
} ngx_http_usher_remove_t;


/* Moves what lies above a fork, a segment at a time, to slots of their own. */
typedef struct {
    ngx_http_usher_task_t  task;       /* first */
    ngx_http_usher_read_t  *read;      /* what; not at work itself */
    ngx_http_usher_spare_t  spare;     /* the new slot's segment */
    int                  parent;       /* of the journal; closed by the task */
    uint64_t             common;       /* the fork */
    uint64_t             from;
    uint64_t             end;          /* all from here on is elsewhere */
    uint64_t             lost;         /* result: bytes that were corrupt */
    uint64_t             chain;        /* of the new slot, so far */
    ngx_err_t            err;
    unsigned             durable:1;    /* sync each step */
    unsigned             whole:1;      /* nothing is left of the segment */
    unsigned             made:1;       /* result: there is a new slot */
    unsigned             removed:1;    /* result: the segment's file is not */
} ngx_http_usher_fork_t;


/* The file "moved" of a forked slot. */
typedef struct {
    uint64_t             common;       /* the fork */
    uint64_t             end;          /* all from here on is elsewhere */
    uint64_t             next;         /* and from here, if slot is there */
    u_char               slot[USHER_SLOT_ID];
    uint32_t             named;        /* 1: slot has a meaning */
    uint32_t             crc;          /* CRC-32C of all fields above */
} ngx_http_usher_moved_t;


struct ngx_http_usher_slot_s {
    ngx_queue_t          queue;        /* of journal->slots */
    ngx_http_usher_journal_t  *journal;
    u_char               id[USHER_SLOT_ID];
    char                 text[USHER_SLOT_TEXT + 1];
    int                  lock;         /* flock is held while it is open */
    int                  dir;
    time_t               created;      /* or adopted */
    uint64_t             segment;      /* bytes of each file */

    ngx_http_usher_seg_t  *segs;       /* oldest first; own: last is written */
    ngx_uint_t           nsegs;
    ngx_uint_t           allocated;

    uint64_t             end;          /* sealed */
    uint64_t             end_chain;    /* chain at end; adopted: 0 unknown */
    uint64_t             acked;
    uint64_t             shipped;
    uint64_t             nonce;        /* last rewind obeyed */
    ngx_uint_t           hint;         /* seal of the mapped segment */
    ngx_uint_t           epoch;        /* replies of older ones are void */
    size_t               queued;       /* bytes without a reply */
    uint64_t             counted;      /* its part of the process's window */
    uint64_t             common;       /* forked or cut: the fork */

    ngx_msec_t           check;        /* time of the next check */
    ngx_msec_t           backoff;      /* between checks, msec */
    ngx_msec_t           announce;     /* time of the next HSET */
    ngx_msec_t           retry;        /* no shipping before; 0: none */
    ngx_msec_t           delay;        /* of the next retry */
    ngx_msec_t           done;         /* adopted: acked to the end since */

    ngx_uint_t           refs;         /* replies and tasks */
    ngx_uint_t           failures;     /* of reading, in a row */

    unsigned             own:1;        /* may be appended to */
    unsigned             adopted:1;    /* from another process */
    unsigned             known:1;      /* ack was read on this connection */
    unsigned             checked:1;    /* stream was compared since connect */
    unsigned             asking:1;     /* GET of ack in flight */
    unsigned             checking:1;   /* XINFO in flight */
    unsigned             takeup:1;     /* next entry goes with MULTI DEL */
    unsigned             foreign:1;    /* stream went further than we can */
    unsigned             alone:1;      /* foreign, and found empty once */
    unsigned             beyond:1;     /* PostgreSQL has more than we do */
    unsigned             ended:1;      /* end entry was queued */
    unsigned             forked:1;
    unsigned             cut:1;        /* all above its fork is elsewhere */
    unsigned             dead:1;       /* cut, and still forked to usherd */
    unsigned             stuck:1;      /* forked: said that it cannot move */
    unsigned             closing:1;    /* adopted: being removed */
    unsigned             gone:1;       /* free it when refs is 0 */
    unsigned             stopped:1;    /* insane: reported, left alone */
    unsigned             unclear:1;    /* adopted: there may be more than we
                                          can tell, it is never removed */

    ngx_http_usher_read_t   read;
    ngx_http_usher_remove_t  remove;
    ngx_http_usher_fork_t   fork;
    char                 origin[USHER_SLOT_TEXT + 1];
                                       /* forked slot it was made of, or "" */
};


struct ngx_http_usher_journal_s {

    /* what open() and commit() touch */

    u_char              *pos;          /* where the next line goes */
    u_char              *limit;        /* where lines must end */
    usher_segment_t     *head;         /* of the segment being written */
    uint64_t             committed;
    uint64_t             sealed;
    ngx_uint_t           lines;        /* since the last seal */
    volatile ngx_cycle_t  *cycle;
    ngx_event_t          ship;         /* posted: 64 KB are there */
    ngx_event_t          tick;         /* timer: 20 msec after a commit */

    /* the rest */

    ngx_http_usher_journal_conf_t  *conf;
    ngx_http_usher_slot_t  *own;       /* NULL: none yet, or full */
    ngx_http_usher_map_t  map;         /* of own's last segment */
    ngx_http_usher_map_t  next;        /* spare, made ahead */
    ngx_http_usher_touch_t  touch;
    size_t               touched;      /* bytes of map, from its start */
    uint64_t             chain;        /* at sealed */
    ngx_queue_t          slots;
    ngx_http_usher_process_t  *figures;
    ngx_http_usher_shared_t  *shared;

    ngx_event_t          idle;         /* timer: every second */
    ngx_event_t          sync_timer;
    ngx_event_t          resume;       /* posted: waiters may go on; timer:
                                          there are some */
    ngx_queue_t          waiters;
    uint64_t             synced;
    uint64_t             wanted;       /* sync up to here at once */
    int                  unsynced[NGX_HTTP_USHER_UNSYNCED];
                                       /* segments left since the last sync */
    ngx_uint_t           nunsynced;
    ngx_http_usher_spare_t  *spare;    /* at work, or to be */
    ngx_http_usher_sync_t  sync;
    ngx_uint_t           generation;   /* of the own slot: waiters' */

    ngx_http_usher_redis_t  *redis;
    int                  dir;          /* of conf->path, or -1 */
    uint64_t             reserved;     /* bytes */
    size_t               queued;       /* bytes sent without a reply */
    ngx_msec_t           retry;        /* after trouble, no try before */
    int64_t              drift;        /* size: seen by the last scan */
    void                *scan;

    unsigned             full:1;
    unsigned             troubled:1;   /* said so */
    unsigned             unsynced_dirs:1;  /* of the own slot */
    unsigned             unsynced_more:1;  /* than unsynced[] holds */
    unsigned             zeroed:1;     /* said so */
    unsigned             slow:1;       /* the spare was waited for in vain */
    unsigned             sync_failed:1;
    unsigned             closing:1;    /* of an older cycle */

    /* commands that Redis refuses: bits, and whose; NULL: gone since */
    ngx_uint_t           refused;
    ngx_http_usher_slot_t  *refuser[NGX_HTTP_USHER_SHIP_COMMANDS];
};


extern ngx_http_usher_journal_t  *ngx_http_usher_journal;


#define NGX_HTTP_USHER_ADOPT_MAX   4     /* slots of one scan */
#define NGX_HTTP_USHER_ADOPT_BUSY  64    /* in a process's care, unfinished */
#define NGX_HTTP_USHER_ADOPT_ALL   512   /* and with those that are retained */

/* What a scan found; filled by the thread. */
typedef struct {
    u_char                  id[USHER_SLOT_ID];
    int                     lock;
    int                     dir;
    uint64_t                segment;    /* bytes of each file; 0: none valid */
    ngx_http_usher_seg_t   *segs;
    ngx_uint_t              nsegs;
    ngx_uint_t              nends;      /* segs whose own end is known */
    uint64_t                moved;      /* forked: from here on elsewhere */
    uint64_t                common;     /* the fork */
    char                    origin[USHER_SLOT_TEXT + 1];
    ngx_err_t               err;        /* why it cannot be read */
    unsigned                forked:1;
    unsigned                unclear:1;  /* lines at its end, nobody knows
                                           which */
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
    unsigned                said:1;     /* that a slot cannot be read */
    unsigned                settled:1;  /* no file was uncounted when it
                                           began */
    ngx_http_usher_found_t  found[NGX_HTTP_USHER_ADOPT_MAX];
    ngx_atomic_uint_t       before;     /* journal_bytes when it began */
} ngx_http_usher_scan_t;


/* A command without a reply yet. */
typedef struct ngx_http_usher_sent_s  ngx_http_usher_sent_t;

struct ngx_http_usher_sent_s {
    ngx_http_usher_slot_t  *slot;
    void               (*handler)(ngx_http_usher_sent_t *sent,
                                  ngx_http_usher_reply_t *reply);
    size_t               len;          /* bytes of lines */
    uint64_t             shipped;      /* when it was sent, this included */
    ngx_uint_t           epoch;
    ngx_uint_t           command;      /* index */
    unsigned             last:1;       /* the end entry was sent before */
};


#define ngx_http_usher_room(j)                                                \
    ((j)->pos <= (j)->limit ? (uint64_t) ((j)->limit - (j)->pos) : 0)


/* _journal.c and _journal_module.c */
u_char *ngx_http_usher_journal_room(size_t len);
ngx_http_usher_journal_t *ngx_http_usher_journal_get(void);
void ngx_http_usher_journal_trouble(ngx_http_usher_journal_t *j,
    ngx_err_t err, const char *what);
void ngx_http_usher_journal_well(ngx_http_usher_journal_t *j);

/* _journal_task.c */
void ngx_http_usher_task_init(void);
ngx_int_t ngx_http_usher_task_post(ngx_http_usher_journal_t *j,
    ngx_http_usher_task_t *t, ngx_http_usher_slot_t *s,
    void (*work)(void *data, ngx_log_t *log), void (*done)(void *self));

/* _journal_conf.c */
char *ngx_http_usher_journal_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_usher_journal_check(ngx_conf_t *cf,
    ngx_http_usher_journal_conf_t *jcf);

/* _journal_slot.c */
ngx_int_t ngx_http_usher_slot_create(ngx_http_usher_journal_t *j);
ngx_int_t ngx_http_usher_slot_switch(ngx_http_usher_journal_t *j);
void ngx_http_usher_slot_spare(ngx_http_usher_journal_t *j);
void ngx_http_usher_slot_seal(ngx_http_usher_journal_t *j);
void ngx_http_usher_slot_close(ngx_http_usher_journal_t *j);
void ngx_http_usher_slot_release(ngx_http_usher_slot_t *s);
void ngx_http_usher_slot_trim(ngx_http_usher_slot_t *s, ngx_uint_t hurry);
ngx_http_usher_seg_t *ngx_http_usher_slot_seg(ngx_http_usher_slot_t *s);
ngx_http_usher_slot_t *ngx_http_usher_slot_alloc(ngx_http_usher_journal_t *j,
    const u_char id[USHER_SLOT_ID]);
const char *ngx_http_usher_boot(void);
#define ngx_http_usher_same_boot(head)                                        \
    (ngx_strncmp((head)->boot, ngx_http_usher_boot(), sizeof((head)->boot))   \
     == 0)
void ngx_http_usher_size_add(ngx_http_usher_journal_t *j, int64_t bytes);

/* _journal_segment.c: threads */
#define NGX_HTTP_USHER_SEG_NAME  24
void ngx_http_usher_segment_name(char name[NGX_HTTP_USHER_SEG_NAME],
    uint64_t sequence);
void ngx_http_usher_segment_make(void *data, ngx_log_t *log);
void ngx_http_usher_segment_touch(ngx_http_usher_journal_t *j);
void ngx_http_usher_segment_touched(ngx_http_usher_journal_t *j);
void ngx_http_usher_segment_unmap(ngx_http_usher_map_t *map, uint64_t size);
void ngx_http_usher_segment_remove(void *data, ngx_log_t *log);
ngx_int_t ngx_http_usher_segment_draft(int parent,
    ngx_http_usher_spare_t *sp, int *lock);
ngx_int_t ngx_http_usher_segment_publish(int parent,
    ngx_http_usher_spare_t *sp);
void ngx_http_usher_segment_discard(int parent, ngx_http_usher_spare_t *sp);
void ngx_http_usher_segment_discard_files(int dir);
ngx_int_t ngx_http_usher_pread(int fd, void *buf, size_t size, off_t offset);

/* _journal_sync.c */
void ngx_http_usher_sync_start(ngx_http_usher_journal_t *j);
void ngx_http_usher_sync_timer(ngx_event_t *ev);
void ngx_http_usher_sync_resume(ngx_event_t *ev);
ngx_int_t ngx_http_usher_sync_wait(ngx_http_usher_journal_t *j,
    ngx_http_request_t *r);
void ngx_http_usher_sync_fail(ngx_http_usher_journal_t *j);

/* _journal_read.c */
ngx_int_t ngx_http_usher_read_start(ngx_http_usher_slot_t *s);
ngx_int_t ngx_http_usher_read_prepare(ngx_http_usher_slot_t *s);
void ngx_http_usher_read_segment(ngx_http_usher_read_t *rd);
ngx_uint_t ngx_http_usher_read_lines(u_char *p, size_t len);
ngx_int_t ngx_http_usher_read_first(int fd, uint64_t size,
    const u_char id[USHER_SLOT_ID], usher_seal_t *seal);
ngx_int_t ngx_http_usher_read_end(int fd, uint64_t base, uint64_t size,
    const u_char id[USHER_SLOT_ID], uint64_t *end);

/* _journal_scan.c: threads */
void ngx_http_usher_scan_work(void *data, ngx_log_t *log);

/* _journal_adopt.c */
void ngx_http_usher_adopt_scan(ngx_http_usher_journal_t *j);
void ngx_http_usher_adopt_retire(ngx_http_usher_slot_t *s);

/* _ship.c */
ngx_int_t ngx_http_usher_ship_init(ngx_http_usher_journal_t *j);
void ngx_http_usher_ship_tick(ngx_event_t *ev);
void ngx_http_usher_ship_posted(ngx_event_t *ev);
void ngx_http_usher_ship_idle(ngx_http_usher_journal_t *j);
ngx_uint_t ngx_http_usher_ship_pump(ngx_http_usher_slot_t *s);
void ngx_http_usher_ship_window(ngx_http_usher_slot_t *s);
void ngx_http_usher_ship_restart(ngx_http_usher_slot_t *s, uint64_t from);
ngx_int_t ngx_http_usher_ship_command(ngx_http_usher_slot_t *s,
    void (*handler)(ngx_http_usher_sent_t *sent,
                    ngx_http_usher_reply_t *reply),
    size_t len, ngx_uint_t argc, ngx_str_t *argv);

void ngx_http_usher_ship_added(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply);
void ngx_http_usher_ship_queued(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply);
/* The slot is freed. */
void ngx_http_usher_ship_forget(ngx_http_usher_slot_t *s);

/* _ship_entry.c */
ngx_int_t ngx_http_usher_ship_next(ngx_http_usher_slot_t *s,
    ngx_http_usher_entry_t *e);
ngx_int_t ngx_http_usher_ship_entry(ngx_http_usher_slot_t *s,
    ngx_http_usher_entry_t *e);

/* _ship_ack.c */
void ngx_http_usher_ack_read(ngx_http_usher_slot_t *s);
void ngx_http_usher_ack_check(ngx_http_usher_slot_t *s);
void ngx_http_usher_ack_announce(ngx_http_usher_slot_t *s);
void ngx_http_usher_ack_finish(ngx_http_usher_slot_t *s, ngx_uint_t *hurry);

/* _ship_fork.c */
void ngx_http_usher_fork_start(ngx_http_usher_slot_t *s, uint64_t position);
void ngx_http_usher_fork_pump(ngx_http_usher_slot_t *s);
/* The slot ends there now: segments above are none of it any more. */
void ngx_http_usher_fork_end(ngx_http_usher_slot_t *s, uint64_t end);
/* Its keys: nobody reads them any more. */
void ngx_http_usher_fork_forget(ngx_http_usher_slot_t *s);
ngx_int_t ngx_http_usher_fork_found(int parent, ngx_http_usher_found_t *f);
ngx_uint_t ngx_http_usher_fork_held(ngx_http_usher_slot_t *s);


#endif /* _NGX_HTTP_USHER_JOURNAL_H_INCLUDED_ */
