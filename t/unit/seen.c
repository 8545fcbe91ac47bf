/*
 * seen.c - what was seen within the hour; of several that see the same thing
 * at once one is the first.
 */


#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "usher_seen.h"

#include "tap.h"


#define HOUR    USHER_SEEN_TIME
#define PROCS   2
#define THINGS  1000000
#define SETS    (THINGS / 2)
#define SPIN    2000            /* looks before the other one gets the CPU */


static unsigned see(const usher_seen_t *seen, uint64_t set, uint64_t tag,
    uint64_t now);
static void race(void);
static void look(const usher_seen_t *seen, uint8_t *first,
    uint32_t *arrived);


/* In a set of the only four, under a tag. */

static unsigned
see(const usher_seen_t *seen, uint64_t set, uint64_t tag, uint64_t now)
{
    uint64_t  hash[2] = { set << 62, tag << 20 };

    return usher_seen(seen, hash, now);
}


/* All processes see all things, in one order, and wait for each other. */

static void
look(const usher_seen_t *seen, uint8_t *first, uint32_t *arrived)
{
    uint64_t  n, hash[2];
    unsigned  spin;

    for (n = 0; n < THINGS; n++) {

        (void) __atomic_fetch_add(arrived, 1, __ATOMIC_SEQ_CST);

        for (spin = 1;
             __atomic_load_n(arrived, __ATOMIC_SEQ_CST) < PROCS * (n + 1);
             spin++)
        {
            if (spin % SPIN == 0) {
                (void) sched_yield();
            }
        }

        tap_fill((unsigned char *) hash, sizeof(hash), n);

        if (usher_seen(seen, hash, 1000 + n / 1000) != USHER_SEEN_AGAIN) {
            (void) __atomic_fetch_add(&first[n], 1, __ATOMIC_RELAXED);
        }
    }
}


static void
race(void)
{
    int            status;
    size_t         size;
    pid_t          pid[PROCS];
    uint8_t       *first;
    uint64_t       n, none, once;
    unsigned       i, failed;
    usher_seen_t   seen;

    size = (size_t) SETS * USHER_SEEN_SET;

    seen.nsets = SETS;
    seen.words = mmap(NULL, size + THINGS + 64, PROT_READ|PROT_WRITE,
                      MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    if (seen.words == MAP_FAILED) {
        abort();
    }

    first = (uint8_t *) seen.words + size;

    for (i = 0; i < PROCS; i++) {
        pid[i] = fork();

        if (pid[i] == 0) {
            look(&seen, first, (uint32_t *) (first + THINGS));
            _exit(0);
        }
    }

    failed = 0;

    for (i = 0; i < PROCS; i++) {
        (void) waitpid(pid[i], &status, 0);
        failed += status != 0;
    }

    none = 0;
    once = 0;

    for (n = 0; n < THINGS; n++) {
        none += first[n] == 0;
        once += first[n] == 1;
    }

    ok(failed == 0 && none == 0, "each was new to somebody");
    ok(once == THINGS, "and to one only");
    ok(usher_seen_used(&seen) == THINGS, "in a word of its own");
}


int
main(void)
{
    uint64_t      i, now, bad;
    uint64_t      words[4 * USHER_SEEN_WAYS] = { 0 };
    usher_seen_t  seen = { words, 4 };

    now = 5000000;

    ok(see(&seen, 0, 7, now) == USHER_SEEN_NEW, "the first time");
    ok(see(&seen, 0, 7, now) == USHER_SEEN_AGAIN, "and again");
    ok(see(&seen, 1, 7, now) == USHER_SEEN_NEW, "another set is another");
    ok(see(&seen, 0, 8, now) == USHER_SEEN_NEW, "as is another tag");
    ok(see(&seen, 0, 0, now) == USHER_SEEN_NEW
       && see(&seen, 0, 0, now) == USHER_SEEN_AGAIN, "no tag is a tag");
    ok(usher_seen_used(&seen) == 4, "four words");

    ok(see(&seen, 0, 8, now + HOUR - 1) == USHER_SEEN_AGAIN,
       "to the last second of the hour");
    ok(see(&seen, 0, 7, now + HOUR) == USHER_SEEN_NEW, "not after it");
    ok(see(&seen, 0, 8, now + HOUR + 1800) == USHER_SEEN_AGAIN,
       "what comes again stays seen");
    ok(see(&seen, 0, 8, now + HOUR + 1500) == USHER_SEEN_AGAIN
       && see(&seen, 0, 8, now + 2 * HOUR + 1799) == USHER_SEEN_AGAIN,
       "a process behind does not move it back");

    bad = 0;

    for (i = 0; i < 1 << 20; i += 60) {
        bad += see(&seen, 3, 7, now + i) != USHER_SEEN_NEW;
        words[3 * USHER_SEEN_WAYS] = 0;
        bad += see(&seen, 3, 7, now + i + HOUR) != USHER_SEEN_NEW;
        bad += see(&seen, 3, 7, now + i + HOUR + 59) != USHER_SEEN_AGAIN;
        words[3 * USHER_SEEN_WAYS] = 0;
    }

    ok(bad == 0, "also where the time in a word comes round");

    for (i = 0; i < USHER_SEEN_WAYS; i++) {
        bad += see(&seen, 2, 100 + i, now + i) != USHER_SEEN_NEW;
    }

    ok(bad == 0 && see(&seen, 2, 200, now + 20) == USHER_SEEN_FORGOT,
       "a full set forgets");
    ok(see(&seen, 2, 101, now + 21) == USHER_SEEN_AGAIN, "not the second");
    ok(see(&seen, 2, 100, now + 22) == USHER_SEEN_FORGOT, "but the oldest");
    ok(see(&seen, 2, 300, now + 20 + HOUR) == USHER_SEEN_NEW,
       "what is past its hour is no loss");

    race();

    return tap_done();
}
