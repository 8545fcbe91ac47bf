/*
 * usher_zone.h - what the edge knows and counts, in memory that all workers
 * of a node share.
 *
 * DESIGN
 *
 * The area is a header (magic, layout version, secret, the sizes of all
 * parts), a part for its user, a table of processes, and six arrays:
 *
 *   keys       sets of cells of 192 bytes: an API key's record with the
 *              bucket words of its plan.  Texts longer than 72 bytes go to
 *              the records.
 *   buckets    sets of cells of 24 bytes: buckets of any other name, which
 *              is hashed under the zone's secret.
 *   negatives  direct-mapped cells: what is known not to exist.  A flood of
 *              unknown names turns over this array and no other.
 *   records    sets of blocks of 256 bytes: longer records.  Block k of a
 *              record is a cell whose id is made of the record's name and
 *              k; all blocks of one writing have its serial, and the
 *              checksum of the whole must hold.  A chain of which a block
 *              was evicted or written anew is a miss.
 *   clicks     words of usher_seen.h, which has no lock: who clicked on what
 *              within the hour.
 *   caps       sets of cells of 64 bytes, and a mark for each: usher_cap.h.
 *
 * Locking, eviction and recovery are those of usher_set.h.
 *
 * The words in a key's cell are those of one plan, tat_plan.  While the key
 * has another, its buckets are free ones: were the words passed on, a deep
 * bucket that was empty would come back full from a plan with a shallow one.
 * They become the new plan's when all of them are idle.
 *
 * A bucket's word is changed by compare-and-swap in the cell, without the
 * set's lock, by whoever looked the cell up.  If the cell is given to
 * another id meanwhile, a swap can only succeed when its process read the
 * word again after that: then one charge per request that was in flight at
 * that moment is booked on the other id and missing on its own.  Eviction
 * forgot that bucket anyway, takes idle ones first, and is counted.
 */


#ifndef USHER_ZONE_H
#define USHER_ZONE_H


#include <stddef.h>
#include <stdint.h>

#include "usher_cap.h"
#include "usher_key.h"
#include "usher_seen.h"
#include "usher_set.h"


#define USHER_ZONE_MAGIC     0x454e4f5a52534855ULL    /* "UHSRZONE" */
#define USHER_ZONE_LAYOUT    5
#define USHER_ZONE_PROCS     128
#define USHER_ZONE_MIN       (1024 * 1024)

#define USHER_ZONE_POLICIES  4
#define USHER_ZONE_TEXT      72      /* bytes of text inside a key's cell */
#define USHER_ZONE_BLOCK     216     /* bytes of a record in one block */
#define USHER_ZONE_RECORD    8192    /* the longest record */

/* The kind, in the records, of texts that did not fit into a key's cell. */
#define USHER_ZONE_LONG      255

/* Results of look-ups and of changes. */
#define USHER_ZONE_NONE      0
#define USHER_ZONE_FOUND     1
#define USHER_ZONE_GONE      2

#define USHER_ZONE_OK        0
#define USHER_ZONE_MOVED     1       /* the ticket is not what it was */
#define USHER_ZONE_LOCKED    2       /* the set stayed locked */

/* Flags of a key's cell. */
#define USHER_ZONE_VALID     0x01    /* otherwise only its buckets count */
#define USHER_ZONE_CHAINED   0x02    /* its texts are a record */


/* Parts of the arrays, in thousandths of what is left after the header. */
typedef struct {
    uint32_t       keys;
    uint32_t       buckets;
    uint32_t       negatives;
    uint32_t       records;
    uint32_t       clicks;
    uint32_t       caps;
} usher_zone_shares_t;


typedef struct {
    uint64_t             magic;
    uint32_t             layout;     /* version, and sizes of the cells */
    uint32_t             serial;     /* of the last record written */
    uint64_t             size;
    uint64_t             secret[2];
    usher_zone_shares_t  shares;
    uint64_t             user_size;
    uint64_t             user;       /* offsets from the head */
    uint64_t             procs;
    uint64_t             keys;
    uint64_t             buckets;
    uint64_t             negatives;
    uint64_t             records;
    uint64_t             clicks;
    uint64_t             caps;
    uint32_t             nkeys;      /* sets */
    uint32_t             nbuckets;   /* sets */
    uint32_t             nnegatives;
    uint32_t             nrecords;   /* sets */
    uint32_t             nclicks;    /* sets */
    uint32_t             ncaps;      /* sets */
    uint64_t             unused[8];  /* the next are written often */
    uint64_t             taken[5];   /* cells: keys, buckets, records,
                                        negatives, caps */
    uint64_t             unused2[3];
} usher_zone_head_t;


typedef struct {
    unsigned char  digest[USHER_KEY_DIGEST];
    uint64_t       id;
    uint64_t       org_id;
    uint64_t       plan_id;
    int64_t        expires;
    uint64_t       tat[USHER_ZONE_POLICIES];
    uint64_t       tat_plan;         /* the plan whose buckets these are */
    uint32_t       generation;
    uint32_t       serial;           /* of the record with the texts */
    uint16_t       org;              /* lengths of the texts */
    uint16_t       scope;
    uint16_t       allow;
    uint8_t        state;
    uint8_t        flags;
    unsigned char  text[USHER_ZONE_TEXT];
} usher_zone_key_t;


typedef struct {
    uint64_t       hash[2];
    uint64_t       tat;
} usher_zone_bucket_t;


typedef struct {
    uint64_t       lock;
    uint64_t       id[2];            /* zeros: free */
    uint32_t       generation;
    uint32_t       epoch;
} usher_zone_negative_t;


typedef struct {
    uint64_t       id[2];
    uint32_t       serial;
    uint32_t       length;           /* of the whole record */
    uint32_t       crc;              /* CRC-32C of the whole record */
    uint32_t       generation;       /* in block 0 */
    uint16_t       index;
    uint16_t       count;
    uint32_t       unused;
    unsigned char  data[USHER_ZONE_BLOCK];
} usher_zone_block_t;


/* The zone as one process sees it. */
typedef struct {
    usher_zone_head_t      *head;
    usher_self_t            self;
    usher_table_t           keys;
    usher_table_t           buckets;
    usher_table_t           records;
    usher_zone_negative_t  *negatives;
    uint32_t                nnegatives;
    usher_seen_t            clicks;
    usher_caps_t            caps;
} usher_zone_t;


/* Conditions of a change, and what a look-up found. */
typedef struct {
    uint32_t                       generation;
    uint32_t                       epoch;
    const volatile unsigned long  *ticket;    /* NULL: no condition */
    unsigned long                  seen;
} usher_zone_fill_t;


/* Formats zeroed memory.  -1 if it is too small for these shares. */
int usher_zone_format(void *area, size_t size,
    const usher_zone_shares_t *shares, size_t user, const uint64_t secret[2]);

/*
 * NULL if the area has this build's layout, and these shares; else what is
 * wrong, as a sentence.
 */
const char *usher_zone_check(const void *area, size_t size,
    const usher_zone_shares_t *shares, size_t user);

/* Counters are set by the caller: self.recovered, .evicted, .forgotten. */
void usher_zone_attach(usher_zone_t *z, void *area, uint32_t pid);

void *usher_zone_user(void *area);


/*
 * FOUND: *key is a copy but for the digest and the buckets, and *tat points
 * into the cell, or is NULL if the words there are another plan's.  GONE: a
 * negative.
 */
unsigned usher_zone_key_get(usher_zone_t *z, const unsigned char *digest,
    usher_zone_key_t *key, uint64_t **tat, usher_zone_fill_t *found);

/* The texts of a CHAINED key; 0, or -1 where they are lost: a miss. */
int usher_zone_key_text(usher_zone_t *z, const unsigned char *digest,
    const usher_zone_key_t *key, unsigned char *buf, size_t size);

/* text: org, scope and allow, one after the other, as long as *key says. */
int usher_zone_key_set(usher_zone_t *z, const unsigned char *digest,
    const usher_zone_key_t *key, const unsigned char *text,
    const usher_zone_fill_t *fill);
int usher_zone_key_gone(usher_zone_t *z, const unsigned char *digest,
    const usher_zone_fill_t *fill);
int usher_zone_key_drop(usher_zone_t *z, const unsigned char *digest,
    unsigned hard);


/* The word of a bucket, found or made; NULL if its set stayed locked. */
uint64_t *usher_zone_bucket(usher_zone_t *z, const void *name, size_t len);


unsigned usher_zone_record_get(usher_zone_t *z, unsigned kind, const void *id,
    size_t idlen, unsigned char *buf, size_t size, size_t *len,
    usher_zone_fill_t *found);
int usher_zone_record_set(usher_zone_t *z, unsigned kind, const void *id,
    size_t idlen, const unsigned char *data, size_t len,
    const usher_zone_fill_t *fill);
int usher_zone_record_gone(usher_zone_t *z, unsigned kind, const void *id,
    size_t idlen, const usher_zone_fill_t *fill);
int usher_zone_record_drop(usher_zone_t *z, unsigned kind, const void *id,
    size_t idlen, unsigned hard);


/* Negatives by 128 bits of name: used by the two above. */
unsigned usher_zone_negative_get(usher_zone_t *z, const uint64_t id[2],
    usher_zone_fill_t *found);
int usher_zone_negative_set(usher_zone_t *z, const uint64_t id[2],
    const usher_zone_fill_t *fill);
int usher_zone_negative_clear(usher_zone_t *z, const uint64_t id[2]);
uint64_t usher_zone_negatives_used(const usher_zone_t *z);

/* 1 if the ticket of *fill moved. */
static inline unsigned
usher_zone_moved(const usher_zone_fill_t *fill)
{
    return fill->ticket != NULL
           && __atomic_load_n(fill->ticket, __ATOMIC_ACQUIRE) != fill->seen;
}


#endif
