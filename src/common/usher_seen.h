/*
 * usher_seen.h - what was seen within the hour, in memory that processes
 * share, without a lock.
 *
 * DESIGN
 *
 * Sets of eight words, a cache line each.  A word is 44 bits of a hash and 20
 * of a time in seconds; zero is free.  What is seen moves its time, so what
 * comes again and again within the hour stays seen.  A word is changed by
 * compare-and-swap only, and a lost one begins again: of several processes
 * that see the same thing at once, one is the first.  For what is new goes
 * where the oldest word of its set is, and while that stays there it is the
 * oldest: times of others only grow.  So all that are late meet it.
 *
 * Where a set has more than eight within the hour, the oldest is forgotten.
 * Two things are taken for one with a chance of 8 in 2^44.
 */


#ifndef USHER_SEEN_H
#define USHER_SEEN_H


#include <stddef.h>
#include <stdint.h>


#define USHER_SEEN_WAYS  8          /* words in a set */
#define USHER_SEEN_SET   64         /* bytes of it */
#define USHER_SEEN_TIME  3600       /* seconds */

/* Results: NEW and FORGOT of what was not seen. */
#define USHER_SEEN_NEW     0
#define USHER_SEEN_AGAIN   1
#define USHER_SEEN_FORGOT  2        /* another one made way, before its time */


typedef struct {
    uint64_t  *words;               /* zeros at first; of the caller */
    uint32_t   nsets;               /* at least 1 */
} usher_seen_t;


/*
 * Sees what has this hash (128 bits, secret and evenly distributed) at now,
 * seconds of one clock for all processes that does not go back.  AGAIN: less
 * than USHER_SEEN_TIME after it was last seen.
 */
unsigned usher_seen(const usher_seen_t *seen, const uint64_t hash[2],
    uint64_t now);

/* How many words are not free. */
uint64_t usher_seen_used(const usher_seen_t *seen);


#endif
