
/*
 * directory.h - what the files of the duty directory share.
 */


#ifndef USHERD_DIRECTORY_H
#define USHERD_DIRECTORY_H


#include "usherd.h"
#include "usher_stream.h"


/*
 * Kinds of records that this usherd writes; outbox rows of other kinds are
 * left for a newer one.
 */
#define USHERD_DIRECTORY_NKINDS    6
#define USHERD_DIRECTORY_KNOWN                                                \
    "kind IN ('key', 'plan', 'domain', 'link', 'click_key', 'postback')"

extern const char *const  usherd_directory_kinds[USHERD_DIRECTORY_NKINDS];

#define USHERD_DIRECTORY_IDS       1000     /* of one change entry */
#define USHERD_DIRECTORY_SLICE     200      /* ids of one script */
#define USHERD_DIRECTORY_ROWS      100      /* of the outbox, in one batch */
#define USHERD_DIRECTORY_HEX       (16 + 1) /* a lineage or nonce, and NUL */
#define USHERD_DIRECTORY_ID_MAX    256      /* bytes of an id */

#define USHERD_DIRECTORY_CHANGES   "100000"    /* entries kept, about */
/* The lineage in the making, and records that edges found corrupt. */
#define USHERD_DIRECTORY_BUILDING  "usher:d:building"
#define USHERD_DIRECTORY_BAD       "usher:d:bad"

/* Not errors of a server: the states of the two do not fit. */
#define USHERD_DIRECTORY_LINEAGE   1        /* Redis is not what we left */
#define USHERD_DIRECTORY_DEPOSED   2        /* another holds the lease */
#define USHERD_DIRECTORY_REFUSED   3        /* by Redis, and it was said */


/* A growing run of bytes. */
typedef struct {
    char                    *data;
    size_t                   len;
    size_t                   size;
} usherd_bytes_t;


/*
 * The arguments of a command that are made of pieces.  An argument is kept as
 * an offset into bytes until all are there, since bytes moves as it grows.
 */
typedef struct {
    usherd_bytes_t           bytes;
    unsigned                 argc;
    unsigned                 size;
    size_t                  *offsets;
    size_t                  *lens;
    const char             **argv;
} usherd_words_t;


typedef enum {
    USHERD_SCRIPT_PROJECT = 0,      /* a batch of records and changes */
    USHERD_SCRIPT_BEAT,             /* heartbeat and bad records */
    USHERD_SCRIPT_BEGIN,            /* a rebuild begins */
    USHERD_SCRIPT_CLEAR,            /* ... removes records */
    USHERD_SCRIPT_FILL,             /* ... writes records */
    USHERD_SCRIPT_READY,            /* ... is done */
    USHERD_SCRIPT_SWEEP,            /* which records are missing */
    USHERD_SCRIPT_ANEW,             /* Redis was started anew */
    USHERD_NSCRIPTS,

    /* commands that Redis may refuse as well */
    USHERD_COMMAND_MGET = USHERD_NSCRIPTS,
    USHERD_COMMAND_SCAN,
    USHERD_COMMAND_LOAD
} usherd_script_e;

/* Those of a rebuild, as bits: taken when all of it is done. */
#define USHERD_SCRIPTS_REBUILD                                                \
    (1u << USHERD_SCRIPT_BEGIN | 1u << USHERD_SCRIPT_CLEAR                    \
     | 1u << USHERD_SCRIPT_FILL | 1u << USHERD_SCRIPT_READY                   \
     | 1u << USHERD_COMMAND_SCAN)


typedef struct {
    usherd_conf_t           *conf;
    usherd_pg_t             *pg;
    usherd_redis_t          *redis;
    uint64_t                 pg_generation;     /* connections that were */
    uint64_t                 redis_generation;  /* ... greeted */
    uint64_t                 lease_at;          /* msec, when to extend it */
    uint64_t                 beat_at;           /* msec, next heartbeat */
    uint64_t                 look_at;           /* msec, next look at Redis */
    uint64_t                 sweep_at;          /* msec, next page */
    uint64_t                 count;             /* of heartbeats */
    uint64_t                 change;            /* the last one's number, by
                                                   PostgreSQL */
    uint64_t                 missing;           /* records, since it was said;
                                                   0: none is */
    unsigned                 kinds;             /* bits, of this batch */
    unsigned                 length;            /* ids of its longest row */
    unsigned                 done;              /* of these in Redis */
    unsigned                 sweep_kind;        /* index, of the next page */
    unsigned                 denied;            /* bits: usherd_script_e,
                                                   said */
    unsigned                 writer:1;          /* holds the lease */
    unsigned                 urgent:1;          /* this batch is */
    unsigned                 unseen:1;          /* the one before it is not in
                                                   Redis, any more or yet */
    unsigned                 anew:1;            /* Redis was started since
                                                   PostgreSQL noted it */
    unsigned                 verified:1;        /* the fields below hold */
    unsigned                 refused:1;         /* lease refusal was logged */
    unsigned                 evicts:1;          /* policy was logged */
    unsigned                 nameless:1;        /* no run_id, was logged */
    unsigned                 renewing:1;        /* a lineage, was logged */
    unsigned                 found:1;           /* in this turn of the sweep:
                                                   something may be missing */
    char                     failed[6];         /* SQLSTATE that was logged;
                                                   "": all is well */
    char                     run_id[64];        /* of Redis */
    char                     lease[96];         /* its name */
    char                     lineage[USHERD_DIRECTORY_HEX];
    char                     nonce[USHERD_DIRECTORY_HEX];
    char                     last_nonce[USHERD_DIRECTORY_HEX];
    char                     written[USHERD_DIRECTORY_HEX + 24];
                                                /* what our last script on this
                                                   connection made of Redis's
                                                   nonce; "": not known */
    char                     sha[USHERD_NSCRIPTS][40 + 1];  /* "": unknown */
    char                     sweep_after[USHERD_DIRECTORY_ID_MAX];  /* an id */
    usherd_words_t           words;
    usherd_bytes_t           text;
} usherd_directory_t;


/* ---- directory.c ----------------------------------------------------- */

/* Extends the lease when it is time.  USHERD_OK, _LOST, _ERROR, _DEPOSED. */
int usherd_directory_hold(usherd_directory_t *d);
/* Reads the row of state under a lock, in a transaction that was begun. */
int usherd_directory_state(usherd_directory_t *d);
/* ROLLBACK, whichever server failed; gives rc back, or USHERD_LOST. */
int usherd_directory_rollback(usherd_directory_t *d, int rc);
/*
 * Reads nonce, ready and the lineage in the making.  USHERD_OK with the reply
 * to free, USHERD_DIRECTORY_REFUSED or USHERD_LOST.
 */
int usherd_directory_seen(usherd_directory_t *d, usherd_reply_t **reply);
void usherd_directory_nonce(char nonce[USHERD_DIRECTORY_HEX]);
/*
 * The nonce that Redis has, out of the text of its key: d->nonce,
 * d->last_nonce, or NULL for any other.  number, if not NULL, is set to what
 * stands beside it.
 */
const char *usherd_directory_known(usherd_directory_t *d, const char *text,
    size_t len, uint64_t *number);
/* Adds to the array's literal in d->text; the first element opens it. */
void usherd_directory_element(usherd_directory_t *d, const char *id);
/* Changes were lost in Redis: says so. */
void usherd_directory_lost(const usherd_reply_t *lost);


/* ---- directory_batch.c ----------------------------------------------- */

/*
 * Projects at most one batch of the outbox.  *more is set to 1 if there may
 * be another.  USHERD_OK, _ERROR, _LOST, _LINEAGE or _REFUSED.
 */
int usherd_directory_batch(usherd_directory_t *d, unsigned *more);


/* ---- directory_rebuild.c --------------------------------------------- */

/*
 * Compares Redis with PostgreSQL: sets d->verified or, where they do not fit,
 * begins a new lineage and rebuilds.  USHERD_OK, _ERROR, _LOST, _DEPOSED or
 * _REFUSED.
 */
int usherd_directory_verify(usherd_directory_t *d);


/* ---- directory_sweep.c ----------------------------------------------- */

/* Looks for a page of records when it is time.  As usherd_directory_batch. */
int usherd_directory_sweep(usherd_directory_t *d);


/* ---- directory_redis.c ----------------------------------------------- */

/* Both end the process when memory is out: the supervisor starts anew. */
void usherd_bytes_add(usherd_bytes_t *bytes, const char *data, size_t len);
void usherd_words_reset(usherd_words_t *words);
void usherd_words_add(usherd_words_t *words, const char *data, size_t len);
/* Opens a new argument, to which usherd_words_more() adds. */
void usherd_words_open(usherd_words_t *words);
void usherd_words_more(usherd_words_t *words, const char *data, size_t len);

/* Begins the call of a script with nkeys keys; keys and arguments follow. */
void usherd_script_start(usherd_directory_t *d, unsigned nkeys);
/*
 * Calls it.  USHERD_OK with the reply to free; USHERD_DIRECTORY_LINEAGE if
 * the script said so; USHERD_DIRECTORY_REFUSED or USHERD_LOST.
 */
int usherd_script_call(usherd_directory_t *d, usherd_script_e script,
    usherd_reply_t **reply);
/* Redis refused it: says so once, until taken.  USHERD_DIRECTORY_REFUSED. */
int usherd_script_refused(usherd_directory_t *d, usherd_script_e script,
    const usherd_reply_t *reply);
/* All that was to be done by these (bits) was. */
void usherd_script_taken(usherd_directory_t *d, unsigned scripts);

/* Adds the record's text {"v":..,"l":..,...}; record NULL: a tombstone. */
void usherd_words_record(usherd_words_t *words, const char *version,
    const char *lineage, const char *record);
/* Adds the record's key. */
void usherd_words_key(usherd_words_t *words, const char *kind,
    const char *id);


#endif
