/*
 * zone_size.c - a million keys in a zone: bytes per key with the buckets of
 * its plan, nothing forgotten, and, as a remark, what a look-up costs.
 *
 *     zone_size [keys]        default 1000000
 */


#include <sys/mman.h>
#include <unistd.h>

#include "usher_zone.h"

#include "tap.h"


#define PER_KEY  250            /* bytes of the whole zone, at most */
#define GIVEN    246            /* bytes given for each, a few will not fit */
#define LOOKS    2000000


static const usher_zone_shares_t  shares = { 840, 45, 62, 38, 10, 5 };

static uint64_t  recovered, evicted, forgotten;


static void digest(unsigned char d[USHER_KEY_DIGEST], uint64_t n);
static double look(usher_zone_t *z, uint64_t keys, uint64_t *found);


/* Uniform, and cheap beside what is measured. */

static void
digest(unsigned char d[USHER_KEY_DIGEST], uint64_t n)
{
    uint64_t  x;
    unsigned  i;

    for (i = 0; i < USHER_KEY_DIGEST / 8; i++) {
        x = (n + i * 0x9e3779b97f4a7c15ULL) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ x >> 31) * 0x94d049bb133111ebULL;
        x ^= x >> 29;
        memcpy(d + 8 * i, &x, 8);
    }
}


/* ns per look-up of keys in random order. */

static double
look(usher_zone_t *z, uint64_t keys, uint64_t *found)
{
    uint64_t           i, r, since, *tat;
    unsigned char      d[USHER_KEY_DIGEST];
    usher_zone_key_t   key;
    usher_zone_fill_t  f;

    r = 1;
    *found = 0;
    since = usher_monotonic();

    for (i = 0; i < LOOKS; i++) {
        r = r * 6364136223846793005ULL + 1442695040888963407ULL;
        digest(d, (r >> 33) % keys);
        *found += usher_zone_key_get(z, d, &key, &tat, &f)
                  == USHER_ZONE_FOUND;
    }

    return (double) (usher_monotonic() - since) / LOOKS;
}


int
main(int argc, char **argv)
{
    void               *area;
    double              warm, cold, each;
    size_t              size;
    uint64_t            n, keys, there, found, secret[2] = { 5, 6 }, *tat;
    unsigned char       d[USHER_KEY_DIGEST];
    usher_zone_t        z;
    usher_zone_key_t    key;
    usher_zone_fill_t   fill;

    keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    size = keys * GIVEN;

    area = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS,
                -1, 0);

    if (area == MAP_FAILED
        || usher_zone_format(area, size, &shares, 65536, secret) != 0)
    {
        perror("zone");
        return 1;
    }

    usher_zone_attach(&z, area, (uint32_t) getpid());
    z.self.recovered = &recovered;
    z.self.evicted = &evicted;
    z.self.forgotten = &forgotten;

    memset(&fill, 0, sizeof(fill));
    memset(&key, 0, sizeof(key));
    fill.generation = 1;
    key.org = 4;
    key.scope = 10;

    for (n = 0; n < keys; n++) {
        digest(d, n);
        key.id = n;
        (void) usher_zone_key_set(&z, d, &key,
                                  (unsigned char *) "acmeread write", &fill);
    }

    for (n = 0, there = 0; n < keys; n++) {
        digest(d, n);
        there += usher_zone_key_get(&z, d, &key, &tat, &fill)
                 == USHER_ZONE_FOUND;
    }

    each = (double) ((uint64_t) z.keys.nsets * z.keys.size) / (double) there;

    printf("# %llu keys in a zone of %llu bytes: %llu cached, load %.1f %%, "
           "%.1f bytes of cells and %.1f of the whole zone per cached key\n",
           (unsigned long long) keys, (unsigned long long) size,
           (unsigned long long) there,
           100.0 * (double) there / (z.keys.nsets * 16.0), each,
           (double) size / (double) there);

    warm = look(&z, keys < 1000 ? keys : 1000, &found);
    cold = look(&z, keys, &found);

    printf("# %.0f ns per look-up of 1,000 of them, %.0f ns of all\n", warm,
           cold);

    ok(there >= keys - keys / 100, "99 of 100 keys find room");
    ok((double) size / (double) there <= PER_KEY, "in %d bytes each",
       PER_KEY);
    ok(evicted <= keys / 100 && forgotten == 0 && recovered == 0,
       "and the others were evicted idle");

    return tap_done();
}
