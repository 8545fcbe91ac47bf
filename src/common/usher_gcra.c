/*
 * usher_gcra.c - the arithmetic of buckets.
 */


#include "usher_gcra.h"


static void usher_gcra_state(const usher_gcra_t *gcra, uint64_t debt,
    usher_gcra_take_t *take);


int
usher_gcra_init(usher_gcra_t *gcra, uint64_t quota, uint64_t window,
    uint64_t burst)
{
    if (quota == 0 || window == 0
        || window > USHER_GCRA_MAX / USHER_GCRA_SECOND)
    {
        return -1;
    }

    if (burst == 0) {
        burst = 1;
    }

    gcra->interval = window * USHER_GCRA_SECOND / quota
                     + (window * USHER_GCRA_SECOND % quota != 0);

    if (burst > USHER_GCRA_MAX / gcra->interval) {
        return -1;
    }

    gcra->burst = burst;
    gcra->depth = burst * gcra->interval;

    return 0;
}


int
usher_gcra_take(const usher_gcra_t *gcra, uint64_t tat, uint64_t now,
    uint64_t cost, usher_gcra_take_t *take)
{
    uint64_t  debt, more;

    debt = tat > now ? tat - now : 0;

    if (debt > gcra->depth) {
        debt = gcra->depth;
    }

    take->tat = tat;
    take->wait = 0;

    if (cost == 0) {
        usher_gcra_state(gcra, debt, take);
        return 1;
    }

    if (cost > gcra->burst) {
        usher_gcra_state(gcra, debt, take);
        take->wait = UINT64_MAX;
        return 0;
    }

    more = cost * gcra->interval;

    if (debt > gcra->depth - more) {
        usher_gcra_state(gcra, debt, take);
        take->wait = debt - (gcra->depth - more);
        return 0;
    }

    take->tat = now + debt + more;
    usher_gcra_state(gcra, debt + more, take);

    return 1;
}


uint64_t
usher_gcra_seconds(uint64_t ns)
{
    return ns / USHER_GCRA_SECOND + (ns % USHER_GCRA_SECOND != 0);
}


/* What is there, and when there is more, debt ns before the bucket is full. */

static void
usher_gcra_state(const usher_gcra_t *gcra, uint64_t debt,
    usher_gcra_take_t *take)
{
    uint64_t  missing;

    if (debt == 0) {
        take->remaining = gcra->burst;
        take->next = 0;
        return;
    }

    /* units that are not wholly there */

    missing = (debt - 1) / gcra->interval + 1;

    take->remaining = gcra->burst - missing;
    take->next = debt - (missing - 1) * gcra->interval;
}
