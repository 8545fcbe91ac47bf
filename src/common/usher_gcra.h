/*
 * usher_gcra.h - the arithmetic of buckets.
 *
 * DESIGN
 *
 * A bucket is one 64-bit word, its theoretical arrival time (GCRA): the
 * moment at which, were nothing more taken, it would be full again, in ns of
 * the monotonic clock.  0, or any moment past, is a full bucket.  Taking n
 * units moves the word n intervals on from the later of itself and now, and
 * is admitted while it stays at most `depth` ahead of now.
 *
 * A word further ahead than that (the bucket was deeper once) is taken as an
 * empty bucket.
 *
 * Intervals are rounded up, so that what is admitted in any time t is never
 * more than burst + t / interval, and interval >= window / quota.
 *
 * Pure functions of words and times: whoever shares the word swaps it.
 */


#ifndef USHER_GCRA_H
#define USHER_GCRA_H


#include <stdint.h>


#define USHER_GCRA_SECOND  1000000000ULL

/* The deepest bucket: 146 years. */
#define USHER_GCRA_MAX     (1ULL << 62)


typedef struct {
    uint64_t  interval;    /* ns per unit */
    uint64_t  burst;       /* units of a full bucket */
    uint64_t  depth;       /* ns: burst * interval */
} usher_gcra_t;


typedef struct {
    uint64_t  tat;         /* the word's new value, if admitted */
    uint64_t  remaining;   /* units left then; if refused: there now */
    uint64_t  next;        /* ns until one more unit is there; 0: full */
    uint64_t  wait;        /* ns until cost units are there; all ones: never */
} usher_gcra_take_t;


/*
 * quota units per window seconds, burst units at once.  A burst of 0 is
 * taken as 1.  0; or -1 if quota or window is 0, or the bucket too deep.
 */
int usher_gcra_init(usher_gcra_t *gcra, uint64_t quota, uint64_t window,
    uint64_t burst);

/*
 * Whether cost units may be taken at now from a bucket whose word is tat.  1
 * or 0; *take is filled in both cases.  A cost of 0 is always admitted and
 * leaves the word as it is.
 */
int usher_gcra_take(const usher_gcra_t *gcra, uint64_t tat, uint64_t now,
    uint64_t cost, usher_gcra_take_t *take);

/* ns as whole seconds, rounded up. */
uint64_t usher_gcra_seconds(uint64_t ns);


#endif
