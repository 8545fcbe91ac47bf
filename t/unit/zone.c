/*
 * zone.c - cells of the zone: what goes in comes out, what may be evicted,
 * what a ticket forbids, what a dead owner leaves.
 */


#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "usher_zone.h"

#include "tap.h"


#define SIZE  (4 * 1024 * 1024)
#define USER  4096


static const usher_zone_shares_t  shares = { 840, 45, 62, 38, 10, 5 };

static uint64_t  recovered, evicted, forgotten;


static void attach(usher_zone_t *z, void *area);
static void digest(unsigned char d[USHER_KEY_DIGEST], uint64_t n);
static void record(usher_zone_key_t *key, uint64_t n);
static int set(usher_zone_t *z, uint64_t n);
static unsigned get(usher_zone_t *z, uint64_t n, uint64_t *id);
static uint64_t *lock_of(usher_zone_t *z, uint64_t n);
static pid_t sleeper(void);

static void test_layout(void *area);
static void test_used(usher_zone_t *z);
static void test_keys(usher_zone_t *z);
static void test_same(void);
static void test_plans(usher_zone_t *z);
static void test_texts(usher_zone_t *z);
static void test_records(usher_zone_t *z);
static void test_tickets(usher_zone_t *z);
static void test_buckets(usher_zone_t *z);
static void test_eviction(usher_zone_t *z);
static void test_owners(usher_zone_t *z);
static void test_procs(usher_zone_t *z);


static void
attach(usher_zone_t *z, void *area)
{
    usher_zone_attach(z, area, (uint32_t) getpid());

    z->self.recovered = &recovered;
    z->self.evicted = &evicted;
    z->self.forgotten = &forgotten;
}


static void
digest(unsigned char d[USHER_KEY_DIGEST], uint64_t n)
{
    tap_fill(d, USHER_KEY_DIGEST, n * 2654435761u + 17);
}


static void
record(usher_zone_key_t *key, uint64_t n)
{
    memset(key, 0, sizeof(usher_zone_key_t));

    key->id = n;
    key->org_id = n + 1;
    key->plan_id = n + 2;
    key->expires = (int64_t) n + 3;
    key->org = 4;
    key->scope = 10;
}


static int
set(usher_zone_t *z, uint64_t n)
{
    unsigned char      d[USHER_KEY_DIGEST];
    usher_zone_key_t   key;
    usher_zone_fill_t  fill;

    digest(d, n);
    record(&key, n);
    memset(&fill, 0, sizeof(fill));
    fill.generation = 7;

    return usher_zone_key_set(z, d, &key, (unsigned char *) "acmeread write",
                              &fill);
}


static unsigned
get(usher_zone_t *z, uint64_t n, uint64_t *id)
{
    uint64_t          *tat;
    unsigned           rc;
    unsigned char      d[USHER_KEY_DIGEST];
    usher_zone_key_t   key;
    usher_zone_fill_t  found;

    digest(d, n);
    rc = usher_zone_key_get(z, d, &key, &tat, &found);

    if (id && rc == USHER_ZONE_FOUND) {
        *id = key.id;
    }

    return rc;
}


/* The lock of the set that the key n is put in first. */

static uint64_t *
lock_of(usher_zone_t *z, uint64_t n)
{
    uint64_t       id[2];
    unsigned char  d[USHER_KEY_DIGEST];
    usher_place_t  p;

    digest(d, n);
    memcpy(id, d, sizeof(id));
    usher_place(&z->keys, id[0], id[1], &p);

    return &p.set[0]->lock;
}


static pid_t
sleeper(void)
{
    pid_t  pid;

    pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);

        for ( ;; ) {
            pause();
        }
    }

    return pid;
}


static void
test_layout(void *area)
{
    void                *small;
    uint64_t             secret[2] = { 1, 2 };
    usher_zone_shares_t  other;

    small = calloc(1, 65536);
    ok(usher_zone_format(small, 65536, &shares, USER, secret) == -1,
       "too small an area is refused");
    free(small);

    ok(usher_zone_check(area, SIZE, &shares, USER) != NULL,
       "memory without magic is not ours");
    ok(usher_zone_format(area, SIZE, &shares, USER, secret) == 0, "format");
    ok(usher_zone_check(area, SIZE, &shares, USER) == NULL, "it is ours now");
    ok(usher_zone_check(area, SIZE, &shares, USER + 64) != NULL,
       "another user's part: another layout");

    other = shares;
    other.keys--;
    ok(strcmp(usher_zone_check(area, SIZE, &other, USER), "has other shares")
       == 0, "other shares are said to be so");
}


/* In an empty zone; it is empty afterwards, but for a negative. */

static void
test_used(usher_zone_t *z)
{
    uint64_t           n;
    unsigned char      d[USHER_KEY_DIGEST];
    usher_zone_fill_t  fill;

    memset(&fill, 0, sizeof(fill));
    fill.generation = 1;

    for (n = 1; n <= 3; n++) {
        set(z, n);
        set(z, n);
    }

    ok(usher_table_used(&z->keys) == 3 && usher_zone_negatives_used(z) == 0,
       "three keys are three cells, however often they are set");

    for (n = 1; n <= 3; n++) {
        digest(d, n);
        (void) usher_zone_key_gone(z, d, &fill);
        (void) usher_zone_key_gone(z, d, &fill);
    }

    ok(usher_table_used(&z->keys) == 0 && usher_zone_negatives_used(z) == 3,
       "gone: three negatives");

    for (n = 1; n <= 3; n++) {
        digest(d, n);
        (void) usher_zone_key_drop(z, d, 1);
    }

    ok(usher_zone_negatives_used(z) == 0, "dropped: none");

    (void) usher_zone_record_set(z, 1, "1", 1, (unsigned char *) "x", 1, &fill);
    (void) usher_zone_bucket(z, "a", 1);
    (void) usher_zone_bucket(z, "a", 1);

    ok(usher_table_used(&z->records) == 1 && usher_table_used(&z->buckets) == 1,
       "a record, a bucket");

    (void) usher_zone_record_drop(z, 1, "1", 1, 1);

    ok(usher_table_used(&z->records) == 0, "and no record");
}


static void
test_keys(usher_zone_t *z)
{
    uint64_t           *tat, *again, id;
    unsigned char       d[USHER_KEY_DIGEST];
    usher_zone_key_t    key;
    usher_zone_fill_t   found, fill;

    memset(&fill, 0, sizeof(fill));

    ok(get(z, 1, NULL) == USHER_ZONE_NONE, "an empty zone knows nothing");
    ok(set(z, 1) == USHER_ZONE_OK, "a key is stored");

    digest(d, 1);
    memset(&key, 0xff, sizeof(key));
    ok(usher_zone_key_get(z, d, &key, &tat, &found) == USHER_ZONE_FOUND
       && key.id == 1 && key.org_id == 2 && key.plan_id == 3
       && key.expires == 4 && key.org == 4 && key.scope == 10
       && key.allow == 0 && memcmp(key.text, "acmeread write", 14) == 0
       && found.generation == 7, "and comes out as it went in");

    *tat = 42;
    ok(usher_zone_key_drop(z, d, 0) == USHER_ZONE_OK
       && usher_zone_key_get(z, d, &key, &again, &found) == USHER_ZONE_FOUND
       && found.generation == 0, "a soft drop only ages it");
    ok(usher_zone_key_drop(z, d, 1) == USHER_ZONE_OK
       && get(z, 1, NULL) == USHER_ZONE_NONE, "a hard drop hides it");
    ok(set(z, 1) == USHER_ZONE_OK
       && usher_zone_key_get(z, d, &key, &again, &found) == USHER_ZONE_FOUND
       && again == tat && *again == 42, "its bucket waited for the refill");

    fill.generation = 9;
    fill.epoch = 5;
    ok(usher_zone_key_gone(z, d, &fill) == USHER_ZONE_OK
       && usher_zone_key_get(z, d, &key, &again, &found) == USHER_ZONE_GONE
       && found.generation == 9 && found.epoch == 5,
       "a key that is gone is a negative");
    ok(set(z, 1) == USHER_ZONE_OK && get(z, 1, &id) == USHER_ZONE_FOUND
       && id == 1, "a key takes the place of its negative");
    ok(usher_zone_key_gone(z, d, &fill) == USHER_ZONE_OK
       && usher_zone_key_drop(z, d, 0) == USHER_ZONE_OK
       && get(z, 1, NULL) == USHER_ZONE_NONE, "a drop clears the negative");
}


static void
test_same(void)
{
    unsigned       i, wrong;
    unsigned char  a[USHER_KEY_DIGEST], b[USHER_KEY_DIGEST];

    digest(a, 1);

    for (i = 0, wrong = 0; i < 8 * USHER_KEY_DIGEST; i++) {
        memcpy(b, a, USHER_KEY_DIGEST);
        b[i / 8] ^= (unsigned char) (1 << i % 8);
        wrong += usher_set_same(a, b, USHER_KEY_DIGEST);
    }

    memcpy(b, a, USHER_KEY_DIGEST);

    ok(wrong == 0 && usher_set_same(a, b, USHER_KEY_DIGEST),
       "digests that differ in any one bit are not the same");
}


/* A key whose plan changes: the words in its cell stay the old plan's. */

static void
test_plans(usher_zone_t *z)
{
    uint64_t           *tat, *other;
    unsigned char       d[USHER_KEY_DIGEST], *text;
    usher_zone_key_t    key, got;
    usher_zone_fill_t   fill, found;

    memset(&fill, 0, sizeof(fill));
    text = (unsigned char *) "acmeread write";
    digest(d, 77);
    record(&key, 77);
    key.plan_id = 3;

    usher_zone_key_set(z, d, &key, text, &fill);
    usher_zone_key_get(z, d, &got, &tat, &found);
    ok(tat != NULL, "a key's words");

    *tat = usher_monotonic() + 3600 * 1000000000ULL;
    key.plan_id = 4;

    ok(usher_zone_key_set(z, d, &key, text, &fill) == USHER_ZONE_OK
       && usher_zone_key_get(z, d, &got, &other, &found) == USHER_ZONE_FOUND
       && got.plan_id == 4 && other == NULL,
       "words with a debt are not another plan's");

    key.plan_id = 3;

    ok(usher_zone_key_set(z, d, &key, text, &fill) == USHER_ZONE_OK
       && usher_zone_key_get(z, d, &got, &other, &found) == USHER_ZONE_FOUND
       && other == tat && *other == *tat, "but wait for their own");

    *tat = usher_monotonic();
    key.plan_id = 4;

    ok(usher_zone_key_set(z, d, &key, text, &fill) == USHER_ZONE_OK
       && usher_zone_key_get(z, d, &got, &other, &found) == USHER_ZONE_FOUND
       && other == tat, "idle ones are given to the new plan");
}


static void
test_texts(usher_zone_t *z)
{
    uint64_t           *tat;
    unsigned char       d[USHER_KEY_DIGEST], text[1056], buf[1056];
    usher_zone_key_t    key;
    usher_zone_fill_t   fill, found;

    memset(&fill, 0, sizeof(fill));
    digest(d, 2);
    record(&key, 2);
    tap_fill(text, sizeof(text), 5);
    key.org = 32;
    key.scope = 512;
    key.allow = 512;

    ok(usher_zone_key_set(z, d, &key, text, &fill) == USHER_ZONE_OK
       && usher_zone_key_get(z, d, &key, &tat, &found) == USHER_ZONE_FOUND
       && (key.flags & USHER_ZONE_CHAINED)
       && usher_zone_key_text(z, d, &key, buf, sizeof(buf)) == 0
       && memcmp(buf, text, sizeof(text)) == 0, "long texts are chained");
    ok(usher_zone_key_text(z, d, &key, buf, sizeof(buf) - 1) == -1,
       "into a buffer that is too short they do not go");

    /* a new writing of the text, the cell still of the old one */

    ok(usher_zone_record_set(z, USHER_ZONE_LONG, d, sizeof(d), text,
                             sizeof(text), &fill) == USHER_ZONE_OK
       && usher_zone_key_text(z, d, &key, buf, sizeof(buf)) == -1,
       "another writing's text is a miss");
}


static void
test_records(usher_zone_t *z)
{
    size_t               len;
    uint64_t             i, n, hits, torn;
    unsigned             rc;
    unsigned char        data[USHER_ZONE_RECORD], buf[USHER_ZONE_RECORD];
    usher_zone_fill_t    fill, found;
    usher_zone_block_t  *block;

    memset(&fill, 0, sizeof(fill));
    fill.generation = 3;
    tap_fill(data, sizeof(data), 11);

    ok(usher_zone_record_set(z, 1, "3", 1, data, 100, &fill) == USHER_ZONE_OK
       && usher_zone_record_get(z, 1, "3", 1, buf, sizeof(buf), &len, &found)
          == USHER_ZONE_FOUND
       && len == 100 && memcmp(buf, data, 100) == 0 && found.generation == 3,
       "a short record");
    ok(usher_zone_record_get(z, 2, "3", 1, buf, sizeof(buf), &len, &found)
       == USHER_ZONE_NONE, "of this kind only");
    ok(usher_zone_record_set(z, 1, "4", 1, data, sizeof(data), &fill)
       == USHER_ZONE_OK
       && usher_zone_record_get(z, 1, "4", 1, buf, sizeof(buf), &len, &found)
          == USHER_ZONE_FOUND
       && len == sizeof(data) && memcmp(buf, data, len) == 0,
       "the longest record");
    ok(usher_zone_record_set(z, 1, "5", 1, data, sizeof(data) + 1, &fill)
       != USHER_ZONE_OK, "a longer one is refused");

    ok(usher_zone_record_drop(z, 1, "3", 1, 0) == USHER_ZONE_OK
       && usher_zone_record_get(z, 1, "3", 1, buf, sizeof(buf), &len, &found)
          == USHER_ZONE_FOUND
       && found.generation == 0, "a soft drop ages a record");
    ok(usher_zone_record_drop(z, 1, "3", 1, 1) == USHER_ZONE_OK
       && usher_zone_record_get(z, 1, "3", 1, buf, sizeof(buf), &len, &found)
          == USHER_ZONE_NONE, "a hard drop removes it");
    ok(usher_zone_record_gone(z, 1, "4", 1, &fill) == USHER_ZONE_OK
       && usher_zone_record_get(z, 1, "4", 1, buf, sizeof(buf), &len, &found)
          == USHER_ZONE_GONE, "a record that is gone is a negative");

    /* flip one bit of a record's data, wherever it lies */

    usher_zone_record_set(z, 1, "6", 1, data, 1000, &fill);

    for (i = 0, n = 0; i < (uint64_t) z->records.nsets * USHER_SET_WAYS; i++) {
        block = (usher_zone_block_t *)
                usher_set_cell(&z->records, z->records.base
                               + i / USHER_SET_WAYS * z->records.size,
                               i % USHER_SET_WAYS);

        if (block->length == 1000 && block->index == 2) {
            block->data[5] ^= 1;
            n++;
        }
    }

    ok(n == 1
       && usher_zone_record_get(z, 1, "6", 1, buf, sizeof(buf), &len, &found)
          == USHER_ZONE_NONE, "a record with a wrong checksum is a miss");

    /* more long records than there are blocks: chains lose blocks */

    for (i = 0; i < 400; i++) {
        memcpy(data, &i, sizeof(i));
        usher_zone_record_set(z, 9, &i, sizeof(i), data, 2000, &fill);
    }

    for (i = 0, hits = 0, torn = 0; i < 400; i++) {
        memcpy(data, &i, sizeof(i));
        rc = usher_zone_record_get(z, 9, &i, sizeof(i), buf, sizeof(buf),
                                   &len, &found);

        if (rc == USHER_ZONE_FOUND) {
            hits++;
            torn += (len != 2000 || memcmp(buf, data, len) != 0);
        }
    }

    ok(hits > 0 && hits < 400 && torn == 0,
       "a chain that lost a block is a miss, never torn (%d of 400 whole)",
       (int) hits);
}


static void
test_tickets(usher_zone_t *z)
{
    unsigned char           d[USHER_KEY_DIGEST];
    usher_zone_key_t        key;
    usher_zone_fill_t       fill;
    volatile unsigned long  ticket;

    memset(&fill, 0, sizeof(fill));
    digest(d, 3);
    record(&key, 3);

    ticket = 8;
    fill.ticket = &ticket;
    fill.seen = 7;

    ok(usher_zone_key_set(z, d, &key, (unsigned char *) "acmeread write",
                          &fill) == USHER_ZONE_MOVED
       && get(z, 3, NULL) == USHER_ZONE_NONE,
       "a ticket that moved: the key is not stored");
    ok(usher_zone_key_gone(z, d, &fill) == USHER_ZONE_MOVED
       && get(z, 3, NULL) == USHER_ZONE_NONE, "nor is a negative");
    ok(usher_zone_record_set(z, 1, "7", 1, d, 10, &fill) == USHER_ZONE_MOVED,
       "nor is a record");

    fill.seen = 8;
    ok(usher_zone_key_set(z, d, &key, (unsigned char *) "acmeread write",
                          &fill) == USHER_ZONE_OK
       && get(z, 3, NULL) == USHER_ZONE_FOUND, "as it was seen: stored");
}


static void
test_buckets(usher_zone_t *z)
{
    uint64_t  i, *a, *b, same, now;

    a = usher_zone_bucket(z, "192.0.2.1", 9);
    b = usher_zone_bucket(z, "192.0.2.2", 9);
    ok(a && b && a != b && *a == 0, "two names, two buckets");
    *a = usher_monotonic() + 1000000000000;
    ok(usher_zone_bucket(z, "192.0.2.1", 9) == a, "a name keeps its bucket");

    for (i = 0, same = 0; i < 200000; i++) {
        same += (usher_zone_bucket(z, &i, sizeof(i)) == NULL);
    }

    ok(same == 0 && evicted > 0 && forgotten == 0
       && usher_zone_bucket(z, "192.0.2.1", 9) == a && *a > 0,
       "a flood of idle ones does not evict the one above idle");

    now = usher_monotonic();

    for (i = 0; i < 200000; i++) {
        *usher_zone_bucket(z, &i, sizeof(i)) = now + 1000000000000;
    }

    ok(forgotten > 0, "where all are above idle, forgotten ones are counted");
}


static void
test_eviction(usher_zone_t *z)
{
    uint64_t  i, cells, kept, wrong, id, before, *tat;
    unsigned char      d[USHER_KEY_DIGEST];
    usher_zone_key_t   key;
    usher_zone_fill_t  found;

    cells = (uint64_t) z->keys.nsets * USHER_SET_WAYS;
    before = evicted;

    for (i = 0; i < cells * 85 / 100; i++) {
        set(z, 1000 + i);
    }

    ok(evicted - before < 5, "85 %% of the cells fill, next to none evicted");

    /* a tenth of them is busy, then as many again come */

    for (i = 0; i < cells / 10; i++) {
        digest(d, 1000 + i);

        if (usher_zone_key_get(z, d, &key, &tat, &found)
            == USHER_ZONE_FOUND)
        {
            tat[3] = usher_monotonic() + 1000000000000;
        }
    }

    before = forgotten;

    for (i = 0; i < cells; i++) {
        set(z, 1000000 + i);
    }

    for (i = 0, kept = 0, wrong = 0; i < cells / 10; i++) {
        if (get(z, 1000 + i, &id) == USHER_ZONE_FOUND) {
            kept++;
            wrong += (id != 1000 + i);
        }
    }

    ok(evicted > 0 && forgotten == before && kept == cells / 10
       && wrong == 0, "idle cells go, those with a bucket above idle stay");
    ok(usher_table_used(&z->keys) > cells * 95 / 100
       && usher_table_used(&z->keys) <= cells, "and the zone is full");
}


static void
test_owners(usher_zone_t *z)
{
    pid_t      pid;
    uint64_t  *lock, before, since;

    set(z, 5);

    /* a process dies with the lock in its hands */

    lock = lock_of(z, 5);
    before = recovered;
    pid = fork();

    if (pid == 0) {
        attach(z, z->head);
        usher_set_lock(&z->self, lock, 0);
        raise(SIGKILL);
    }

    waitpid(pid, NULL, 0);
    ok((*lock & 1) && *lock >> 32 == (uint64_t) pid, "a dead owner's lock");
    ok(get(z, 5, NULL) == USHER_ZONE_NONE && recovered == before + 1
       && !(*lock & 1), "a reader clears its set");
    ok(set(z, 5) == USHER_ZONE_OK && get(z, 5, NULL) == USHER_ZONE_FOUND,
       "which is as good as new");

    /* a zombie, that kill(2) takes for alive */

    pid = fork();

    if (pid == 0) {
        attach(z, z->head);
        usher_set_lock(&z->self, lock, 0);
        raise(SIGKILL);
    }

    while (usher_proc_start((uint32_t) pid) != 1) {
        usleep(1000);
    }

    ok(set(z, 5) == USHER_ZONE_OK && recovered == before + 2,
       "a writer takes a zombie's lock");
    waitpid(pid, NULL, 0);

    /* a pid used again: the process that has it is none of ours */

    pid = sleeper();
    *lock = (uint64_t) pid << 32 | (uint32_t) (*lock + 1);
    ok(set(z, 5) == USHER_ZONE_OK && recovered == before + 3,
       "a stranger with the owner's pid does not hold the lock");

    *lock = (uint64_t) getpid() << 32 | (uint32_t) (*lock + 1);
    ok(set(z, 5) == USHER_ZONE_OK && recovered == before + 4,
       "nor do we, whose pid a dead one had");

    /* one of ours that is stopped */

    ok(usher_proc_claim(z->self.procs, z->self.nprocs, (uint32_t) pid)
       != NULL, "it registers");
    *lock = (uint64_t) pid << 32 | (uint32_t) (*lock + 1);
    since = usher_monotonic();
    ok(set(z, 5) == USHER_ZONE_LOCKED && get(z, 5, NULL) == USHER_ZONE_NONE
       && recovered == before + 4,
       "a live owner keeps it: a change fails, a look-up misses");
    ok(usher_monotonic() - since >= 2 * USHER_SET_WAIT,
       "after they have waited");

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ok(set(z, 5) == USHER_ZONE_OK && recovered == before + 5,
       "until it has died");
}


static void
test_procs(usher_zone_t *z)
{
    pid_t           pid;
    uint32_t        i;
    unsigned char  *mine, *its, *next;

    mine = usher_proc_claim(z->self.procs, z->self.nprocs, z->self.pid);
    ok(mine != NULL
       && usher_proc_claim(z->self.procs, z->self.nprocs, z->self.pid)
          == mine, "a process registers once");

    pid = sleeper();
    its = usher_proc_claim(z->self.procs, z->self.nprocs, (uint32_t) pid);
    ok(its != NULL && its != mine, "another has a slot of its own");

    its[0] = 77;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);

    pid = sleeper();
    next = usher_proc_claim(z->self.procs, z->self.nprocs, (uint32_t) pid);
    ok(next != NULL && next != mine && (next != its || next[0] == 77),
       "a dead one's slot is taken with what it counted");

    for (i = 0; i < z->self.nprocs; i++) {
        z->self.procs[i].owner = (uint64_t) getpid()
                                 | (uint64_t) usher_proc_start(getpid()) << 32;
    }

    ok(usher_proc_claim(z->self.procs, z->self.nprocs, (uint32_t) pid)
       == NULL, "too many processes are refused");

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}


int
main(void)
{
    void          *area;
    usher_zone_t   z;

    area = mmap(NULL, SIZE, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS,
                -1, 0);
    if (area == MAP_FAILED) {
        perror("mmap");
        return 1;
    }

    test_layout(area);
    attach(&z, area);

    test_used(&z);
    test_same();
    test_keys(&z);
    test_plans(&z);
    test_texts(&z);
    test_records(&z);
    test_tickets(&z);
    test_buckets(&z);
    test_eviction(&z);
    test_owners(&z);
    test_procs(&z);

    return tap_done();
}
