/*
 * usher_seen.c - what was seen within the hour: see usher_seen.h.
 */


#include "usher_seen.h"


#define USHER_SEEN_BITS   20
#define USHER_SEEN_MASK   ((1ULL << USHER_SEEN_BITS) - 1)
#define USHER_SEEN_TRIES  64        /* swaps lost to others */


static int64_t usher_seen_age(uint64_t word, uint64_t now);


/*
 * Seconds since the word's time, which is known modulo twelve days; up to an
 * hour less than 0 where another process is ahead.  Free is older than any.
 */

static int64_t
usher_seen_age(uint64_t word, uint64_t now)
{
    if (word == 0) {
        return (int64_t) USHER_SEEN_MASK + 1;
    }

    return (int64_t) ((now - word + USHER_SEEN_TIME) & USHER_SEEN_MASK)
           - USHER_SEEN_TIME;
}


unsigned
usher_seen(const usher_seen_t *seen, const uint64_t hash[2], uint64_t now)
{
    int64_t    age, most;
    uint64_t  *set, word, new, was, tag;
    unsigned   i, oldest, tries;

    set = seen->words
          + (size_t) ((hash[0] >> 32) * seen->nsets >> 32) * USHER_SEEN_WAYS;

    tag = hash[1] >> USHER_SEEN_BITS;
    tag = tag ? tag : 1;
    new = tag << USHER_SEEN_BITS | (now & USHER_SEEN_MASK);

    for (tries = 0; tries < USHER_SEEN_TRIES; tries++) {

        oldest = 0;
        most = INT64_MIN;
        was = 0;

        for (i = 0; i < USHER_SEEN_WAYS; i++) {
            word = __atomic_load_n(&set[i], __ATOMIC_RELAXED);
            age = usher_seen_age(word, now);

            if (word >> USHER_SEEN_BITS == tag) {
                oldest = i;
                most = age;
                was = word;
                break;
            }

            if (age > most) {
                oldest = i;
                most = age;
                was = word;
            }
        }

        if (i < USHER_SEEN_WAYS && most < USHER_SEEN_TIME) {

            /* who else moved the time has seen it as well */

            if (most > 0) {
                (void) __atomic_compare_exchange_n(&set[oldest], &was, new, 0,
                                                   __ATOMIC_RELAXED,
                                                   __ATOMIC_RELAXED);
            }

            return USHER_SEEN_AGAIN;
        }

        if (__atomic_compare_exchange_n(&set[oldest], &was, new, 0,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        {
            return most < USHER_SEEN_TIME ? USHER_SEEN_FORGOT
                                          : USHER_SEEN_NEW;
        }
    }

    return USHER_SEEN_NEW;
}


uint64_t
usher_seen_used(const usher_seen_t *seen)
{
    size_t    i;
    uint64_t  used;

    used = 0;

    for (i = 0; i < (size_t) seen->nsets * USHER_SEEN_WAYS; i++) {
        used += __atomic_load_n(&seen->words[i], __ATOMIC_RELAXED) != 0;
    }

    return used;
}
