/*
 * zone_stress.c - processes that fill, read, drop and charge one small zone
 * while others of them are killed at any point: nothing torn is ever read,
 * nothing stays locked, counters do not go backwards.
 */


#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "usher_zone.h"

#include "tap.h"


#define SIZE     (1024 * 1024)
#define PROCS    4
#define KEYS     4000           /* more than there are cells */
#define HOT      4              /* that most of the work is about */
#define KILLS    150


/* In the zone's user part. */
typedef struct {
    uint64_t  torn;
    uint64_t  hits;
    uint64_t  sets;
    uint64_t  stop;
} shared_t;


static void worker(void *area, unsigned seed);
static void check_key(shared_t *sh, usher_zone_t *z, unsigned char *d,
    uint64_t n);
static void check_record(shared_t *sh, usher_zone_t *z, uint64_t n);
static void fill_key(usher_zone_t *z, unsigned char *d, uint64_t n,
    uint64_t version);
static void fill_record(usher_zone_t *z, uint64_t n, uint64_t version);
static pid_t spawn(void *area, unsigned seed);


/*
 * All of a key's fields and texts follow from (n, version), so that a copy
 * that mixes two versions gives itself away.
 */

static void
fill_key(usher_zone_t *z, unsigned char *d, uint64_t n, uint64_t version)
{
    size_t             len;
    unsigned char      text[512];
    usher_zone_key_t   key;
    usher_zone_fill_t  fill;

    memset(&fill, 0, sizeof(fill));
    memset(&key, 0, sizeof(key));

    len = (n & 1) ? 40 : 400;
    key.id = n;
    key.org_id = version;
    key.plan_id = n ^ version;
    key.expires = (int64_t) (n + version);
    key.scope = (uint16_t) len;
    fill.generation = (uint32_t) version;

    memset(text, (unsigned char) version, len);
    (void) usher_zone_key_set(z, d, &key, text, &fill);
}


static void
check_key(shared_t *sh, usher_zone_t *z, unsigned char *d, uint64_t n)
{
    size_t             i, len;
    uint64_t          *tat;
    unsigned char      buf[1056], *text;
    usher_zone_key_t   key;
    usher_zone_fill_t  found;

    if (usher_zone_key_get(z, d, &key, &tat, &found) != USHER_ZONE_FOUND) {
        return;
    }

    len = (n & 1) ? 40 : 400;
    text = key.text;

    if (key.id != n || key.plan_id != (n ^ key.org_id)
        || key.expires != (int64_t) (n + key.org_id) || key.scope != len
        || (found.generation && found.generation != (uint32_t) key.org_id))
    {
        __atomic_add_fetch(&sh->torn, 1, __ATOMIC_RELAXED);
        return;
    }

    if (key.flags & USHER_ZONE_CHAINED) {
        if (usher_zone_key_text(z, d, &key, buf, sizeof(buf)) != 0) {
            return;
        }

        text = buf;
    }

    for (i = 0; i < len; i++) {
        if (text[i] != (unsigned char) key.org_id) {
            __atomic_add_fetch(&sh->torn, 1, __ATOMIC_RELAXED);
            return;
        }
    }

    __atomic_add_fetch(&tat[0], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&sh->hits, 1, __ATOMIC_RELAXED);
}


static void
fill_record(usher_zone_t *z, uint64_t n, uint64_t version)
{
    size_t             len;
    unsigned char      data[1500];
    usher_zone_fill_t  fill;

    memset(&fill, 0, sizeof(fill));
    fill.generation = (uint32_t) version;
    len = 100 + n % 1400;
    memset(data, (unsigned char) version, len);

    (void) usher_zone_record_set(z, 1, &n, sizeof(n), data, len, &fill);
}


static void
check_record(shared_t *sh, usher_zone_t *z, uint64_t n)
{
    size_t             i, len;
    unsigned char      data[1500];
    usher_zone_fill_t  found;

    if (usher_zone_record_get(z, 1, &n, sizeof(n), data, sizeof(data), &len,
                              &found)
        != USHER_ZONE_FOUND)
    {
        return;
    }

    for (i = 0; i < len; i++) {
        if (data[i] != data[0]) {
            break;
        }
    }

    if (i < len || len != 100 + n % 1400) {
        __atomic_add_fetch(&sh->torn, 1, __ATOMIC_RELAXED);
    }

    __atomic_add_fetch(&sh->hits, 1, __ATOMIC_RELAXED);
}


static void
worker(void *area, unsigned seed)
{
    uint64_t        n, r, none, *tat;
    shared_t       *sh;
    usher_zone_t    z;
    unsigned char   d[USHER_KEY_DIGEST];

    usher_zone_attach(&z, area, (uint32_t) getpid());

    z.self.recovered = (uint64_t *)
                       usher_proc_claim(z.self.procs, z.self.nprocs,
                                        z.self.pid);
    z.self.evicted = &none;
    z.self.forgotten = &none;

    sh = usher_zone_user(area);
    r = seed;

    while (!__atomic_load_n(&sh->stop, __ATOMIC_RELAXED)) {
        r = r * 6364136223846793005ULL + 1442695040888963407ULL;
        n = (r >> 33) % KEYS;

        if (r >> 45 & 7) {
            n %= HOT;
        }

        tap_fill(d, sizeof(d), n);

        switch (r >> 60) {

        case 0:
            (void) usher_zone_key_drop(&z, d, (unsigned) (r >> 20) & 1);
            break;

        case 1:
        case 2:
            fill_record(&z, n % 64, r >> 30);
            break;

        case 3:
        case 4:
            check_record(sh, &z, n % 64);
            break;

        case 5:
            tat = usher_zone_bucket(&z, &n, sizeof(n));

            if (tat) {
                __atomic_add_fetch(tat, 1, __ATOMIC_RELAXED);
            }

            break;

        case 6:
        case 7:
        case 8:
        case 9:
            fill_key(&z, d, n, r >> 30 & 0xffffffff);
            __atomic_add_fetch(&sh->sets, 1, __ATOMIC_RELAXED);
            break;

        default:
            check_key(sh, &z, d, n);
        }
    }

    _exit(0);
}


static pid_t
spawn(void *area, unsigned seed)
{
    pid_t  pid;

    pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        worker(area, seed);
    }

    return pid;
}


int
main(void)
{
    void                *area;
    pid_t                pid[PROCS];
    uint32_t             i, k;
    uint64_t             secret[2] = { 3, 4 }, recovered, locked, n;
    uint64_t             none;
    shared_t            *sh;
    usher_set_t         *set;
    usher_zone_t         z;
    unsigned char        d[USHER_KEY_DIGEST];
    usher_zone_shares_t  shares = { 300, 100, 100, 480, 10, 10 };

    area = mmap(NULL, SIZE, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS,
                -1, 0);

    if (area == MAP_FAILED
        || usher_zone_format(area, SIZE, &shares, sizeof(shared_t), secret)
           != 0)
    {
        perror("zone");
        return 1;
    }

    sh = usher_zone_user(area);

    for (i = 0; i < PROCS; i++) {
        pid[i] = spawn(area, i);
    }

    for (k = 0; k < KILLS; k++) {
        usleep(5000);
        i = k % PROCS;
        kill(pid[i], SIGKILL);
        waitpid(pid[i], NULL, 0);
        pid[i] = spawn(area, 1000 + k);
    }

    usleep(50000);
    sh->stop = 1;

    for (i = 0; i < PROCS; i++) {
        waitpid(pid[i], NULL, 0);
    }

    usher_zone_attach(&z, area, (uint32_t) getpid());

    recovered = 0;

    for (i = 0; i < z.self.nprocs; i++) {
        recovered += *(uint64_t *) z.self.procs[i].data;
    }

    printf("# %llu hits, %llu fills, %llu sets recovered\n",
           (unsigned long long) sh->hits, (unsigned long long) sh->sets,
           (unsigned long long) recovered);

    ok(sh->hits > 10000 && sh->sets > 1000, "work was done");
    ok(sh->torn == 0, "nothing torn was read");

    /* what the killed left locked is taken by the next who needs it */

    z.self.recovered = &none;
    z.self.evicted = &none;
    z.self.forgotten = &none;

    for (n = 0; n < KEYS; n++) {
        tap_fill(d, sizeof(d), n);
        fill_key(&z, d, n, 1);
    }

    for (i = 0, locked = 0; i < z.keys.nsets; i++) {
        set = (usher_set_t *) (z.keys.base + (uint64_t) i * z.keys.size);
        locked += set->lock & 1;
    }

    ok(locked == 0, "no set stays locked");
    ok(usher_table_used(&z.keys) <= (uint64_t) z.keys.nsets * USHER_SET_WAYS
       && usher_table_used(&z.keys) > 100, "and the zone is in order");

    return tap_done();
}
