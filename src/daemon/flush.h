/*
 * flush.h - what the files of duty flush share.
 *
 *     flush.c          the loop: slots, leases, reading, acknowledging
 *     flush_slot.c     slots and their leases, what PostgreSQL says of them
 *     flush_announce.c when each was announced, and which no longer are
 *     flush_entry.c    an entry of a stream: checked, cut, taken into a batch
 *     flush_store.c    a batch becomes rows, in one transaction
 *     flush_copy.c     its lines go into their tables
 *     flush_careful.c  the same slot by slot, poison put aside
 *     flush_usage.c    roll-ups
 *     flush_verdict.c  rewinds, stops
 *     flush_fork.c     how far two histories of a slot agree
 *     flush_rest.c     a stream is put aside while what lies before it comes
 */


#ifndef USHERD_FLUSH_H
#define USHERD_FLUSH_H


#include "usher_crc.h"
#include "usher_event.h"
#include "usher_stream.h"
#include "usherd.h"


#define USHERD_FLUSH_KINDS     16     /* kinds of event */
#define USHERD_FLUSH_BUFFER    (256 * 1024)
#define USHERD_FLUSH_REASON    200
#define USHERD_FLUSH_TEXT      64     /* a key of Redis, or an id */
#define USHERD_FLUSH_MARK      (32 * 1024)    /* full entries have a mark */
#define USHERD_FORK_TRIES      6      /* to look for lines, in vain */


/* Where the common position of a forked slot is kept: its reason. */
#define USHERD_FLUSH_FORKED    "two histories, common up to %llu"


/* More outcomes of storing, beside USHERD_OK, _ERROR and _LOST. */
#define USHERD_FLUSH_CONFLICT  -10    /* a position was moved by another */
#define USHERD_FLUSH_POISON    -11    /* class 22 or 23 */
#define USHERD_FLUSH_PARTITION -12    /* the day's partition is missing */
#define USHERD_FLUSH_RETRY     -13    /* a class that passes */
#define USHERD_FLUSH_STOP      -14    /* too much poison in this slot */
#define USHERD_FLUSH_COUNT     -15    /* tags and line counts differ */


typedef enum {
    USHERD_SLOT_LIVE = 0,
    USHERD_SLOT_ENDED,
    USHERD_SLOT_FORKED,
    USHERD_SLOT_STOPPED
} usherd_slot_state_e;


/* What has to be done about a slot once its batch is stored. */
typedef enum {
    USHERD_VERDICT_NONE = 0,
    USHERD_VERDICT_GAP,               /* from > position: rewind */
    USHERD_VERDICT_CORRUPT,           /* rewind; again: stop */
    USHERD_VERDICT_FORK,
    USHERD_VERDICT_STOP
} usherd_verdict_e;


typedef struct {
    char                 id[USHER_SLOT_TEXT + 1];

    /* as PostgreSQL has it */
    uint64_t             position;
    uint64_t             chain;
    usherd_slot_state_e  state;
    unsigned             rechain:1;   /* chain at position is not known */
    unsigned             settled:1;   /* its fork was accepted */

    unsigned             held:1;      /* we have the lease */
    unsigned             loaded:1;    /* the fields above are true */
    unsigned             known:1;     /* has a row in usher.journal */
    unsigned             listed:1;    /* is in usher:slots now */

    /* the batch under way, from position on */
    uint64_t             next;
    uint64_t             next_chain;
    uint64_t             lines;
    uint64_t             losers;
    unsigned             next_rechain:1;
    unsigned             ended:1;     /* its end entry was read */
    unsigned             waits:1;     /* rest of the read left for later */
    unsigned             stored:1;    /* the batch's part was committed */
    uint64_t             marked;      /* the batch's last mark, or position */
    char                 last_event[USHER_EVENT_TIME + 1];

    usherd_verdict_e     verdict;
    char                 reason[USHERD_FLUSH_REASON];

    /* acknowledgement */
    uint64_t             nonce;
    uint64_t             rewind_to;
    uint64_t             rewind_at;   /* msec; 0: no rewind under way */
    uint64_t             rewind_said; /* position + 1 it was logged for */
    uint64_t             corrupt_at;  /* position + 1 of a corrupt entry */

    /* what was put aside of its stream; UINT64_MAX: nothing */
    unsigned             rests;       /* so many times */
    uint64_t             rest_from;   /* where the first of them goes on */
    uint64_t             rest_data;   /* the same, with lines */
    uint64_t             rest_chain;  /* there */
    uint64_t             rest_hole;   /* end of a hole that waits for them;
                                         0: none */
    uint64_t             rest_at;     /* msec, when it may be copied back */
    unsigned             rest_said:1; /* that Redis refuses something */
    unsigned             rest_kept:1; /* the same: that a fork keeps it */

    /* a fork being located */
    unsigned             forking:1;
    unsigned             fork_sure:1; /* fork_agreed is set */
    unsigned             fork_whole:1;  /* asked for from its beginning */
    unsigned             fork_back;   /* marks to go back */
    unsigned             fork_tries;  /* to look for lines, in vain */
    uint64_t             fork_agreed; /* common up to here at least */
    uint64_t             fork_common; /* state forked: common up to */

    /* poison among the lines of late */
    uint64_t             seen;
    uint64_t             poisoned;

    uint64_t             registered;  /* msec: last seen in usher:slots */
    char                 node[64];
} usherd_slot_t;


typedef struct {
    const char          *start;       /* at its tag, inside a reply */
    uint64_t             position;    /* of the line's first byte */
    uint32_t             len;         /* tag and LF included */
    uint16_t             slot;        /* index */
    uint8_t              kind;        /* index */
    uint8_t              bad;         /* 1: poison; 2: and put aside */
} usherd_line_t;


typedef struct {
    unsigned             slot;
    uint64_t             from;
    uint64_t             to;
    char                 reason[48];
} usherd_gap_t;


/* Where an entry of the batch ended. */
typedef struct {
    unsigned             slot;
    uint64_t             position;
    uint64_t             chain;
} usherd_mark_t;


typedef struct {
    uint32_t             line;        /* index */
    char                 sqlstate[6];
    char                 reason[USHERD_FLUSH_REASON];
} usherd_poison_t;


typedef struct usherd_usage_s  usherd_usage_t;


/* A growing array literal of PostgreSQL; what needs quotes comes with them. */
typedef struct {
    char                *text;
    size_t               len;
    size_t               room;
} usherd_array_t;


typedef struct {
    usherd_conf_t             *conf;
    usherd_pg_t               *pg;
    usherd_redis_t            *redis;
    uint64_t                   pg_generation;
    uint64_t                   redis_generation;

    usherd_slot_t            **slots;
    unsigned                   nslots;
    unsigned                   slots_room;

    /* the batch */
    usherd_line_t             *lines;
    size_t                     nlines;
    size_t                     lines_room;
    usherd_reply_t           **replies;
    unsigned                   nreplies;
    unsigned                   replies_room;
    usherd_gap_t              *gaps;
    unsigned                   ngaps;
    unsigned                   gaps_room;
    usherd_mark_t             *marks;
    unsigned                   nmarks;
    unsigned                   marks_room;
    usherd_poison_t           *poison;
    unsigned                   npoison;
    unsigned                   poison_room;
    uint64_t                   bytes;
    uint64_t                   entries;
    uint64_t                   started;      /* msec; 0: nothing yet */
    uint64_t                   lag;          /* msec, of what was stored */
    unsigned                   changes;      /* slots with something to do */

    /* estimates for COUNT of XREAD */
    uint64_t                   entry_lines;
    uint64_t                   entry_bytes;
    unsigned                   active;       /* streams that had something */
    unsigned                   single;       /* reads of one stream to come */
    unsigned                   turn;

    const usher_event_kind_t  *kinds[USHERD_FLUSH_KINDS];
    unsigned                   nkinds;

    usherd_usage_t            *usage;
    char                      *buffer;       /* USHERD_FLUSH_BUFFER */
    size_t                     buffered;

    uint64_t                   tick;         /* msec, of the next */
    uint64_t                   renew;        /* msec, of the leases */
    uint64_t                   restate;      /* msec, of the acks */
    uint64_t                   announce;     /* msec, of announced_at */
    uint64_t                   silent;       /* slots, when last looked at */
    uint64_t                   backoff;      /* msec, after trouble */
    unsigned                   failing:1;    /* already said so */
    unsigned                   rests_refused:1;  /* said: usher:rest is */
    unsigned                   refused:1;    /* an acknowledgement was */
    unsigned                   wrong_names;  /* fields that are no slots */
} usherd_flush_t;


/* The index-th slot has something in the batch. */
#define usherd_flush_changed(slot)                                            \
    ((slot)->next != (slot)->position || (slot)->ended)

/* Minor of the id behind which a stream is looked at; 1: an end is nothing. */
#define usherd_flush_past(slot)                                               \
    ((slot)->state == USHERD_SLOT_ENDED || (slot)->forking)

/* Makes room for one more; ends the process when there is no memory. */
void *usherd_flush_grow(void *array, size_t size, size_t n, size_t *room);
void usherd_flush_restart(usherd_flush_t *f);


/* flush_slot.c: USHERD_OK, _ERROR or _LOST (either server) */

int usherd_flush_discover(usherd_flush_t *f);
/* The slot of this name (USHER_SLOT_TEXT bytes, checked), found or made. */
usherd_slot_t *usherd_flush_slot(usherd_flush_t *f, const char *id,
    size_t len);
int usherd_flush_claim(usherd_flush_t *f);
int usherd_flush_load(usherd_flush_t *f);
int usherd_flush_acknowledge(usherd_flush_t *f, int all);
int usherd_flush_ack(usherd_flush_t *f, usherd_slot_t *slot);

/* flush_announce.c: the same */
int usherd_flush_announce(usherd_flush_t *f);

void usherd_array_add(usherd_array_t *a, const char *text);
void usherd_array_number(usherd_array_t *a, int64_t n);
/* The literal; lives until usherd_array_free(). */
const char *usherd_array_end(usherd_array_t *a);
void usherd_array_free(usherd_array_t *a);


/* flush_entry.c: takes an entry into the batch, or sets slot->verdict */

typedef struct {
    uint64_t                   from;
    uint64_t                   end;
    uint64_t                   minor;        /* of the id */
    uint64_t                   count;
    uint64_t                   chain;
    const char                *data;         /* NULL: a hole or an end */
    size_t                     len;
    const char                *hole;         /* NULL, or the reason */
    size_t                     hole_len;
    unsigned                   is_end:1;
} usherd_entry_t;

/* NULL, or what is wrong with it. */
const char *usherd_flush_parse(const usherd_reply_t *reply,
    usherd_entry_t *entry);
void usherd_flush_take(usherd_flush_t *f, unsigned index,
    const usherd_reply_t *reply);
/* Adds the lines behind the first skip bytes to the batch, all or none. */
int usherd_flush_lines(usherd_flush_t *f, unsigned index,
    const usherd_entry_t *entry, size_t skip);
void usherd_flush_verdict(usherd_slot_t *slot, usherd_verdict_e verdict,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));


/* flush_store.c */

/* Stores the batch; USHERD_OK: what could be stored was. */
int usherd_flush_store(usherd_flush_t *f);

/*
 * Parts of the transaction, for one slot or for all (-1).  Each returns
 * USHERD_OK, _LOST or USHERD_FLUSH_*.
 */
int usherd_flush_usage(usherd_flush_t *f);
int usherd_flush_gaps(usherd_flush_t *f, int slot);
int usherd_flush_positions(usherd_flush_t *f, int slot);
int usherd_flush_commit(usherd_flush_t *f, int slot);
/* Runs a statement without result; outcome as above. */
int usherd_flush_run(usherd_flush_t *f, const char *sql);
/* What the last USHERD_ERROR of PostgreSQL means here. */
int usherd_flush_class(usherd_flush_t *f);


/* flush_copy.c */

/*
 * COPYs lines[index[0 .. n - 1]] of one kind, or all of that kind (index
 * NULL) summing them up as well.
 */
int usherd_flush_copy(usherd_flush_t *f, unsigned kind,
    const uint32_t *index, size_t n);

/*
 * Puts them into the session's table usherd_<kind><version> instead, where
 * usherd_line is a line's index.
 */
int usherd_flush_stage(usherd_flush_t *f, unsigned kind,
    const uint32_t *index, size_t n);

/* Within a COPY: data is gathered; the end gives the tag. */
int usherd_flush_send(usherd_flush_t *f, const char *data, size_t len);
int usherd_flush_sent(usherd_flush_t *f, uint64_t *rows);


/* flush_careful.c */

/* One slot's part of the batch, poison put aside. */
int usherd_flush_careful(usherd_flush_t *f, unsigned slot);

/* A bytea's text, to be freed: the line as it came. */
char *usherd_flush_bytes(const usherd_line_t *line);


/* flush_usage.c */

usherd_usage_t *usherd_usage_create(void);
void usherd_usage_reset(usherd_usage_t *usage);
/* Adds a line (without tag) of a rolled kind; -1: its columns are not ours. */
int usherd_usage_add(usherd_usage_t *usage, const char *line, size_t len,
    char last_event[USHER_EVENT_TIME + 1]);
/*
 * Takes the time of a line (without tag) that begins with one, if it is newer:
 * no hour is closed before a slot has passed it, whatever its events are.
 */
void usherd_usage_newest(const char *line, size_t len,
    char last_event[USHER_EVENT_TIME + 1]);
size_t usherd_usage_count(usherd_usage_t *usage);
/* Whether lines of a kind begin with their time. */
#define usherd_usage_timed(kind)                                              \
    (strncmp((kind)->columns, "event_time,", 11) == 0)
/*
 * Sorts, and passes one COPY line after the other to put; hours before
 * closed (13 bytes of text, or "") count there, those after last in last.
 * *late: how many were moved so.
 */
int usherd_usage_emit(usherd_usage_t *usage, const char *closed,
    const char *last, uint64_t *late,
    int (*put)(void *data, const char *line, size_t len), void *data);


/* flush_verdict.c */

/* Acts upon every slot->verdict. */
int usherd_flush_judge(usherd_flush_t *f);
/* Looks whether resends have arrived. */
int usherd_flush_rewinds(usherd_flush_t *f);

/* Asks the edge to send again from a position. */
int usherd_flush_rewind(usherd_flush_t *f, usherd_slot_t *slot,
    uint64_t position);
/* Writes the acknowledgement as it is now. */
int usherd_flush_tell(usherd_flush_t *f, usherd_slot_t *slot);
/* Forked or stopped, in PostgreSQL first. */
int usherd_flush_settle(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_slot_state_e state, const char *reason);


/* flush_fork.c */

/* Goes on finding out how far the stream agrees with what is stored. */
int usherd_flush_fork(usherd_flush_t *f, usherd_slot_t *slot);


/* flush_rest.c: USHERD_OK or _LOST */

/* A rewind was not answered: puts the stream aside, if it is in the way. */
int usherd_flush_aside(usherd_flush_t *f, usherd_slot_t *slot);
int usherd_flush_rests(usherd_flush_t *f);


#endif
