/*
 * cap.c - counters of caps: of all who count at once none is lost, what was
 * heard does not go back, and what was not told does not make way.
 */


#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "usher_cap.h"

#include "tap.h"


#define SETS    2
#define CELLS   (SETS * USHER_SET_WAYS)
#define PROCS   3
#define CLICKS  200000
#define NOW     5000


static const uint64_t  secret[2] = { 7, 11 };

static uint64_t      evicted, taken;
static usher_caps_t  caps;
static usher_self_t  self;


static void clear(void);
static usher_cap_t *cell(uint64_t link, unsigned day, uint32_t now);
static uint64_t fill(uint32_t now);
static usher_cap_t *next(uint32_t now);
static void test_count(void);
static void test_wanted(void);
static void test_again(void);
static void test_room(void);
static void test_processes(void);


static void
clear(void)
{
    size_t  size;

    size = sizeof(usher_set_t) + USHER_SET_WAYS * sizeof(usher_cap_t);

    if (caps.table.base == NULL) {
        caps.table.base = mmap(NULL, SETS * (size + 1), PROT_READ|PROT_WRITE,
                               MAP_SHARED|MAP_ANONYMOUS, -1, 0);
        if (caps.table.base == MAP_FAILED) {
            abort();
        }
    }

    caps.table.nsets = SETS;
    caps.table.size = (uint32_t) size;
    caps.table.cell = sizeof(usher_cap_t);
    caps.table.id = 2 * sizeof(uint64_t);
    caps.table.taken = &taken;
    caps.marks = caps.table.base + SETS * size;

    self.pid = (uint32_t) getpid();
    self.recovered = &evicted;
    self.evicted = &evicted;
    self.forgotten = &evicted;

    memset(caps.table.base, 0, SETS * (size + 1));
    taken = 0;
    evicted = 0;
}


static usher_cap_t *
cell(uint64_t link, unsigned day, uint32_t now)
{
    uint64_t  id[2];

    usher_cap_id(id, link, 0, day, 1);

    return usher_cap(&caps, &self, secret, id, now);
}


/* How many links there is room for. */

static uint64_t
fill(uint32_t now)
{
    uint64_t  n, had;

    for (n = 1, had = 0; n <= 1000; n++) {
        had += cell(n, 0, now) != NULL;
    }

    return had;
}


static usher_cap_t *
next(uint32_t now)
{
    uint32_t  at;

    at = 0;

    return usher_cap_next(&caps, &at, now, 100);
}


static void
test_count(void)
{
    uint64_t      id[2];
    usher_cap_t  *c;

    clear();

    usher_cap_id(id, 4294967295u, 16, 65535, 1795000000123u);
    c = usher_cap(&caps, &self, secret, id, NOW);

    ok(usher_cap_link(c) == 4294967295u && usher_cap_target(c) == 16
       && usher_cap_day(c) == 65535 && usher_cap_since(c) == 1795000000123u,
       "a cell says what it is for");
    ok(usher_cap(&caps, &self, secret, id, NOW) == c, "and is found again");

    id[1]++;
    ok(usher_cap(&caps, &self, secret, id, NOW) != c,
       "given again it is another");

    c = cell(1, 0, NOW);
    ok(c != cell(1, 1, NOW) && c != cell(2, 0, NOW), "as of a day, or a link");

    usher_cap_add(&caps, c);
    usher_cap_add(&caps, c);
    ok(usher_cap_here(c) == 2 && usher_cap_total(c) == 2, "two clicks");

    usher_cap_heard(c, 5, 10);
    ok(usher_cap_here(c) == 7 && usher_cap_total(c) == 17,
       "with what was told before, and what others have");

    usher_cap_heard(c, 6, 9);
    ok(usher_cap_here(c) == 7 && usher_cap_total(c) == 17,
       "what is known is not forgotten");

    usher_cap_heard(c, 6, 11);
    ok(usher_cap_total(c) == 18, "others go on");

    usher_cap_floor(c, 17);
    ok(usher_cap_total(c) == 18, "what is stored is the same clicks");

    usher_cap_floor(c, 20);
    usher_cap_floor(c, 19);
    ok(usher_cap_total(c) == 20, "where there are more, some were lost");

    usher_cap_add(&caps, c);
    usher_cap_floor(c, 20);
    ok(usher_cap_total(c) == 21 && usher_cap_here(c) == 8,
       "and who comes since is none of them");

    usher_cap_heard(c, 6, UINT64_MAX);
    ok(usher_cap_total(c) == UINT64_MAX, "a sum does not run over");
}


static void
test_wanted(void)
{
    usher_cap_t  *c;

    clear();

    ok(next(1000) == NULL, "nothing is wanted");

    c = cell(1, 0, NOW);
    usher_cap_want(&caps, c);
    ok(next(1000) == c, "a cell is wanted");
    ok(next(1000) == NULL, "once");

    usher_cap_add(&caps, c);
    ok(next(1000) == c, "at once, while it was not read");

    usher_cap_heard(c, 0, 0);
    usher_cap_add(&caps, c);
    ok(next(1099) == NULL && next(1099) == NULL, "then not within its time");
    ok(next(1100) == c, "and after it");

    usher_cap_add(&caps, c);
    ok(next(1100 - 101u) == c, "where the msec begin anew as well");
}


static void
test_again(void)
{
    usher_cap_t  *c, *today, *yesterday;

    clear();
    caps.table.nsets = 1;

    c = cell(1, 0, NOW);
    today = cell(1, 20, NOW);
    yesterday = cell(1, 19, NOW);

    usher_cap_heard(c, 3, 0);
    usher_cap_told(c, 3);
    usher_cap_heard(today, 3, 0);
    usher_cap_told(today, 3);
    usher_cap_heard(yesterday, 3, 0);
    usher_cap_told(yesterday, 3);

    usher_cap_again(&caps, 0, 59000, 60000, 20);
    ok(next(59000) == NULL, "what was told lately is not told again");

    usher_cap_again(&caps, 0, 60000, 60000, 20);
    ok(c->wanted && today->wanted, "after its time it is");
    ok(!yesterday->wanted, "but not what was yesterday's");

    usher_cap_told(yesterday, 2);
    usher_cap_again(&caps, 0, 60000, 60000, 20);
    ok(yesterday->wanted, "unless it was not told");
}


static void
test_room(void)
{
    unsigned      i;
    usher_cap_t  *c;

    clear();

    ok(fill(NOW) == CELLS, "as many as there is room for");
    ok(fill(NOW + USHER_CAP_IDLE) == CELLS && evicted == 0,
       "who was never told of does not make way");

    for (i = 1; i <= CELLS; i++) {
        c = cell(i, 0, NOW);

        if (c != NULL) {
            usher_cap_heard(c, 0, 0);
            usher_cap_add(&caps, c);
        }
    }

    ok(cell(2000, 0, NOW + USHER_CAP_IDLE) == NULL,
       "nor who has counted more than was told");

    for (i = 1; i <= CELLS; i++) {
        c = cell(i, 0, NOW);

        if (c != NULL) {
            usher_cap_told(c, 1);
        }
    }

    ok(cell(2000, 0, NOW + USHER_CAP_IDLE - 1) == NULL,
       "nor whom somebody came for in the last minute");

    c = cell(2000, 0, NOW + USHER_CAP_IDLE);
    ok(c != NULL && evicted == 1, "any other does, one for one");
    ok(usher_cap_total(c) == 0 && c->base == USHER_CAP_UNREAD,
       "and nothing of it is left");
}


static void
test_processes(void)
{
    int           status;
    pid_t         pid[PROCS];
    uint64_t      n, told, most;
    unsigned      i, failed;
    usher_cap_t  *c;

    clear();
    usher_cap_heard(cell(1, 0, NOW), 0, 0);

    for (i = 0; i < PROCS; i++) {
        pid[i] = fork();

        if (pid[i] == 0) {
            self.pid = (uint32_t) getpid();

            for (n = 0; n < CLICKS; n++) {
                c = cell(1, 0, NOW);

                if (c == NULL) {
                    _exit(1);
                }

                usher_cap_add(&caps, c);
            }

            _exit(0);
        }
    }

    /* told of meanwhile, and never less than before */

    told = 0;
    most = 0;
    failed = 0;
    c = cell(1, 0, NOW);

    for (i = 0; told < PROCS * CLICKS && i < 100000000; i++) {
        if (next(i * 100) == c) {
            told = usher_cap_here(c);
            failed += told < most;
            most = told;
        }
    }

    for (i = 0; i < PROCS; i++) {
        (void) waitpid(pid[i], &status, 0);
        failed += status != 0;
    }

    ok(failed == 0 && usher_cap_total(c) == PROCS * CLICKS,
       "of all who count at once none is lost");
    ok(told == PROCS * CLICKS, "and the last one is told");
}


int
main(void)
{
    test_count();
    test_wanted();
    test_again();
    test_room();
    test_processes();

    return tap_done();
}
