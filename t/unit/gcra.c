/*
 * gcra.c - buckets never give more than they may.
 */


#include "usher_gcra.h"

#include "tap.h"


#define SECOND  USHER_GCRA_SECOND


static uint64_t admitted(const usher_gcra_t *gcra, uint64_t from,
    uint64_t step, uint64_t n, uint64_t cost);


int
main(void)
{
    int                bad;
    uint64_t           now, n, quota;
    usher_gcra_t       g;
    usher_gcra_take_t  t;

    now = 5000 * SECOND;

    ok(usher_gcra_init(&g, 10, 1, 20) == 0 && g.interval == SECOND / 10
       && g.depth == 2 * SECOND, "10 a second, 20 at once");

    ok(usher_gcra_take(&g, 0, now, 1, &t) && t.remaining == 19
       && t.tat == now + SECOND / 10, "the first of an idle bucket");
    ok(usher_gcra_take(&g, 0, now, 20, &t) && t.remaining == 0
       && t.next == SECOND / 10, "all of it at once");
    ok(!usher_gcra_take(&g, t.tat, now, 1, &t) && t.wait == SECOND / 10
       && t.remaining == 0, "then nothing");
    ok(usher_gcra_take(&g, now + 2 * SECOND, now + SECOND / 10, 1, &t),
       "one more after an interval");
    ok(!usher_gcra_take(&g, now + 2 * SECOND, now + SECOND / 10 - 1, 1, &t)
       && t.wait == 1, "and not a nanosecond before");

    ok(!usher_gcra_take(&g, 0, now, 21, &t) && t.wait == UINT64_MAX
       && t.remaining == 20, "more than the bucket holds: never");
    ok(!usher_gcra_take(&g, 0, now, UINT64_MAX, &t), "no overflow of a cost");
    ok(usher_gcra_take(&g, now + 2 * SECOND, now, 0, &t)
       && t.tat == now + 2 * SECOND && t.remaining == 0,
       "a cost of 0 looks and takes nothing");

    ok(usher_gcra_take(&g, now + SECOND + 1, now, 5, &t) && t.remaining == 4,
       "a part of a unit is none");
    ok(!usher_gcra_take(&g, now + 100 * SECOND, now, 1, &t)
       && t.remaining == 0 && t.wait == SECOND / 10 && t.next == t.wait,
       "a bucket that was deeper once is empty, and no more than that");
    ok(usher_gcra_take(&g, now + 100 * SECOND, now, 0, &t)
       && t.remaining == 0, "also to a look");

    ok(admitted(&g, now, 0, 100, 1) == 20, "burst, and no more, at one time");
    ok(admitted(&g, now, SECOND / 1000, 10000, 1) <= 20 + 100,
       "never over burst + rate * time");
    ok(admitted(&g, now, SECOND / 1000, 10000, 1) >= 20 + 98,
       "nor under it under load");
    ok(admitted(&g, now, SECOND / 1000, 10000, 3) * 3 <= 20 + 100,
       "nor over it with costs");

    usher_gcra_init(&g, 1, 1, 0);
    ok(g.burst == 1 && admitted(&g, now, 0, 10, 1) == 1,
       "a burst of 0 is 1, not none");

    bad = 0;

    for (quota = 1; quota < 4000; quota += 7) {
        usher_gcra_init(&g, quota, 1, 1);
        n = admitted(&g, now, SECOND / quota, quota, 1);
        bad += n > quota;
    }

    ok(bad == 0, "intervals that do not divide a second are rounded up");

    ok(usher_gcra_init(&g, 0, 1, 1) == -1, "no quota");
    ok(usher_gcra_init(&g, 1, 0, 1) == -1, "no window");
    ok(usher_gcra_init(&g, 1, 86400, UINT64_MAX) == -1, "too deep");
    ok(usher_gcra_init(&g, 1, UINT64_MAX, 1) == -1, "too long a window");
    ok(usher_gcra_init(&g, UINT64_MAX, 1, 1) == 0 && g.interval == 1,
       "at most one unit a nanosecond");

    ok(usher_gcra_seconds(0) == 0 && usher_gcra_seconds(1) == 1
       && usher_gcra_seconds(SECOND) == 1
       && usher_gcra_seconds(SECOND + 1) == 2, "seconds are rounded up");

    return tap_done();
}


/* How many of n takes, step ns apart, an idle bucket admits. */

static uint64_t
admitted(const usher_gcra_t *gcra, uint64_t from, uint64_t step, uint64_t n,
    uint64_t cost)
{
    uint64_t           i, tat, yes;
    usher_gcra_take_t  take;

    yes = 0;
    tat = 0;

    for (i = 0; i < n; i++) {
        if (usher_gcra_take(gcra, tat, from + i * step, cost, &take)) {
            tat = take.tat;
            yes++;
        }
    }

    return yes;
}
