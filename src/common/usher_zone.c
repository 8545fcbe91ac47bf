/*
 * usher_zone.c - layout of the zone, keys, buckets, negatives.  See
 * usher_zone.h.
 */


#include <string.h>

#include "usher_siphash.h"
#include "usher_zone.h"


#define USHER_ZONE_TRIES   64         /* copies of a cell that came out torn */

#define USHER_ZONE_SET(cell)                                                  \
    (sizeof(usher_set_t) + USHER_SET_WAYS * sizeof(cell))

#define USHER_ZONE_VERSION                                                    \
    ((uint32_t) (USHER_ZONE_LAYOUT << 24                                      \
                 ^ sizeof(usher_zone_key_t) << 16                             \
                 ^ sizeof(usher_zone_block_t) << 8                            \
                 ^ sizeof(usher_proc_t)))


_Static_assert(sizeof(usher_set_t) == 64, "a set's header is a cache line");
_Static_assert(sizeof(usher_zone_key_t) == 192, "cells of keys");
_Static_assert(sizeof(usher_zone_bucket_t) == 24, "cells of buckets");
_Static_assert(sizeof(usher_zone_negative_t) == 32, "negatives");
_Static_assert(sizeof(usher_zone_block_t) == 256, "blocks of records");
_Static_assert(sizeof(usher_cap_t) == 64, "cells of caps");
_Static_assert(sizeof(usher_proc_t) == 1024, "processes");


static uint64_t usher_zone_part(uint64_t *at, uint64_t room, uint32_t share,
    size_t unit, uint32_t *n);
static uint64_t usher_zone_key_busy(const void *cell);
static uint64_t usher_zone_bucket_busy(const void *cell);
static uint64_t usher_zone_load(const unsigned char *p);
static void usher_zone_key_place(usher_zone_t *z, const unsigned char *digest,
    usher_place_t *p, uint64_t id[2]);
static uint64_t *usher_zone_bucket_find(usher_zone_t *z,
    const usher_place_t *p, const uint64_t hash[2]);


/* ---- layout ---------------------------------------------------------- */


static uint64_t
usher_zone_part(uint64_t *at, uint64_t room, uint32_t share, size_t unit,
    uint32_t *n)
{
    uint64_t  from, count;

    from = *at;
    count = room / 1000 * share / unit;

    *n = count < UINT32_MAX ? (uint32_t) count : UINT32_MAX;
    *at += ((uint64_t) *n * unit + 63) & ~(uint64_t) 63;

    return from;
}


int
usher_zone_format(void *area, size_t size, const usher_zone_shares_t *shares,
    size_t user, const uint64_t secret[2])
{
    uint64_t            at, room;
    usher_zone_head_t  *head;

    head = area;

    at = (sizeof(usher_zone_head_t) + 63) & ~(uint64_t) 63;

    head->user = at;
    at += (user + 63) & ~(uint64_t) 63;

    head->procs = at;
    at += USHER_ZONE_PROCS * sizeof(usher_proc_t);

    if (size < at + 6 * 64) {
        return -1;
    }

    room = size - at - 6 * 64;

    head->keys = usher_zone_part(&at, room, shares->keys,
                                 USHER_ZONE_SET(usher_zone_key_t),
                                 &head->nkeys);
    head->buckets = usher_zone_part(&at, room, shares->buckets,
                                    USHER_ZONE_SET(usher_zone_bucket_t),
                                    &head->nbuckets);
    head->negatives = usher_zone_part(&at, room, shares->negatives,
                                      sizeof(usher_zone_negative_t),
                                      &head->nnegatives);
    head->records = usher_zone_part(&at, room, shares->records,
                                    USHER_ZONE_SET(usher_zone_block_t),
                                    &head->nrecords);
    head->clicks = usher_zone_part(&at, room, shares->clicks, USHER_SEEN_SET,
                                   &head->nclicks);
    head->caps = usher_zone_part(&at, room, shares->caps,
                                 USHER_ZONE_SET(usher_cap_t) + 1,
                                 &head->ncaps);

    if (at > size || head->nkeys == 0 || head->nbuckets == 0
        || head->nnegatives == 0 || head->nrecords == 0
        || head->nclicks == 0 || head->ncaps == 0)
    {
        return -1;
    }

    head->layout = USHER_ZONE_VERSION;
    head->serial = 0;
    head->size = size;
    head->secret[0] = secret[0];
    head->secret[1] = secret[1];
    head->shares = *shares;
    head->user_size = user;

    __atomic_store_n(&head->magic, USHER_ZONE_MAGIC, __ATOMIC_RELEASE);

    return 0;
}


const char *
usher_zone_check(const void *area, size_t size,
    const usher_zone_shares_t *shares, size_t user)
{
    const usher_zone_head_t  *head;

    head = area;

    if (head->magic != USHER_ZONE_MAGIC) {
        return "is not a zone of usher";
    }

    if (head->layout != USHER_ZONE_VERSION || head->user_size != user
        || head->size != size)
    {
        return "was made by another version of usher";
    }

    if (memcmp(&head->shares, shares, sizeof(usher_zone_shares_t)) != 0) {
        return "has other shares";
    }

    return NULL;
}


void *
usher_zone_user(void *area)
{
    return (unsigned char *) area + ((usher_zone_head_t *) area)->user;
}


void
usher_zone_attach(usher_zone_t *z, void *area, uint32_t pid)
{
    unsigned char      *base;
    usher_zone_head_t  *head;

    memset(z, 0, sizeof(usher_zone_t));

    base = area;
    head = area;

    z->head = head;

    z->self.procs = (usher_proc_t *) (base + head->procs);
    z->self.nprocs = USHER_ZONE_PROCS;
    z->self.pid = pid;

    z->keys.base = base + head->keys;
    z->keys.nsets = head->nkeys;
    z->keys.size = USHER_ZONE_SET(usher_zone_key_t);
    z->keys.cell = sizeof(usher_zone_key_t);
    z->keys.id = USHER_KEY_DIGEST;
    z->keys.taken = &head->taken[0];
    z->keys.busy = usher_zone_key_busy;

    z->buckets.base = base + head->buckets;
    z->buckets.nsets = head->nbuckets;
    z->buckets.size = USHER_ZONE_SET(usher_zone_bucket_t);
    z->buckets.cell = sizeof(usher_zone_bucket_t);
    z->buckets.id = 2 * sizeof(uint64_t);
    z->buckets.taken = &head->taken[1];
    z->buckets.busy = usher_zone_bucket_busy;

    z->records.base = base + head->records;
    z->records.nsets = head->nrecords;
    z->records.size = USHER_ZONE_SET(usher_zone_block_t);
    z->records.cell = sizeof(usher_zone_block_t);
    z->records.id = 2 * sizeof(uint64_t);
    z->records.taken = &head->taken[2];

    z->negatives = (usher_zone_negative_t *) (base + head->negatives);
    z->nnegatives = head->nnegatives;

    z->clicks.words = (uint64_t *) (base + head->clicks);
    z->clicks.nsets = head->nclicks;

    z->caps.table.base = base + head->caps;
    z->caps.table.nsets = head->ncaps;
    z->caps.table.size = USHER_ZONE_SET(usher_cap_t);
    z->caps.table.cell = sizeof(usher_cap_t);
    z->caps.table.id = 2 * sizeof(uint64_t);
    z->caps.table.taken = &head->taken[4];
    z->caps.marks = base + head->caps
                    + (size_t) head->ncaps * USHER_ZONE_SET(usher_cap_t);
}


static uint64_t
usher_zone_key_busy(const void *cell)
{
    uint64_t                 tat, busy;
    unsigned                 i;
    const usher_zone_key_t  *key;

    key = cell;
    busy = 0;

    for (i = 0; i < USHER_ZONE_POLICIES; i++) {
        tat = __atomic_load_n(&key->tat[i], __ATOMIC_RELAXED);

        if (tat > busy) {
            busy = tat;
        }
    }

    return busy;
}


static uint64_t
usher_zone_bucket_busy(const void *cell)
{
    const usher_zone_bucket_t  *bucket;

    bucket = cell;

    return __atomic_load_n(&bucket->tat, __ATOMIC_RELAXED);
}


/* ---- keys ------------------------------------------------------------ */


static uint64_t
usher_zone_load(const unsigned char *p)
{
    uint64_t  v;

    memcpy(&v, p, sizeof(uint64_t));

    return v;
}


/* A digest is uniform already; its first half also names its negative. */

static void
usher_zone_key_place(usher_zone_t *z, const unsigned char *digest,
    usher_place_t *p, uint64_t id[2])
{
    id[0] = usher_zone_load(digest);
    id[1] = usher_zone_load(digest + 8);

    usher_place(&z->keys, id[0], id[1], p);
}


unsigned
usher_zone_key_get(usher_zone_t *z, const unsigned char *digest,
    usher_zone_key_t *key, uint64_t **tat, usher_zone_fill_t *found)
{
    int                i;
    uint64_t           id[2], word;
    unsigned           k, tries;
    usher_set_t       *set;
    usher_place_t      p;
    usher_zone_key_t  *cell;

    usher_zone_key_place(z, digest, &p, id);

    for (k = 0, tries = 0; k < 2; k++) {
        set = p.set[k];

        word = usher_set_read(&z->self, &set->lock,
                              sizeof(usher_set_t) - sizeof(uint64_t));
        if (word & 1) {
            return USHER_ZONE_NONE;
        }

        i = usher_set_find(&z->keys, set, p.tag, digest, USHER_KEY_DIGEST);
        cell = NULL;

        if (i >= 0) {
            cell = (usher_zone_key_t *) usher_set_cell(&z->keys, set, i);

            memcpy(&key->id, &cell->id,
                   sizeof(usher_zone_key_t) - USHER_KEY_DIGEST);
        }

        if (usher_set_torn(&set->lock, word)) {
            if (++tries == USHER_ZONE_TRIES) {
                return USHER_ZONE_NONE;
            }

            k--;
            continue;
        }

        if (i < 0) {
            continue;
        }

        if (!(key->flags & USHER_ZONE_VALID)) {
            return USHER_ZONE_NONE;
        }

        usher_set_touch(set, i);

        *tat = key->tat_plan == key->plan_id ? cell->tat : NULL;
        found->generation = key->generation;

        return USHER_ZONE_FOUND;
    }

    return usher_zone_negative_get(z, id, found);
}


int
usher_zone_key_text(usher_zone_t *z, const unsigned char *digest,
    const usher_zone_key_t *key, unsigned char *buf, size_t size)
{
    size_t             len;
    uint32_t           serial;
    usher_zone_fill_t  found;

    /* the text's generation is the serial that its key remembers */

    if (usher_zone_record_get(z, USHER_ZONE_LONG, digest, USHER_KEY_DIGEST,
                              buf, size, &len, &found)
        != USHER_ZONE_FOUND)
    {
        return -1;
    }

    serial = found.generation;

    if (serial != key->serial
        || len != (size_t) key->org + key->scope + key->allow)
    {
        return -1;
    }

    return 0;
}


int
usher_zone_key_set(usher_zone_t *z, const unsigned char *digest,
    const usher_zone_key_t *key, const unsigned char *text,
    const usher_zone_fill_t *fill)
{
    int                rc, i;
    size_t             len;
    uint32_t           serial;
    uint64_t           id[2];
    usher_set_t       *set;
    usher_place_t      p;
    usher_zone_key_t  *cell;
    usher_zone_fill_t  unconditional;

    usher_zone_key_place(z, digest, &p, id);

    len = (size_t) key->org + key->scope + key->allow;
    serial = 0;

    if (len > USHER_ZONE_TEXT) {
        serial = __atomic_add_fetch(&z->head->serial, 1, __ATOMIC_RELAXED);

        memset(&unconditional, 0, sizeof(usher_zone_fill_t));
        unconditional.generation = serial;

        rc = usher_zone_record_set(z, USHER_ZONE_LONG, digest,
                                   USHER_KEY_DIGEST, text, len,
                                   &unconditional);
        if (rc != USHER_ZONE_OK) {
            return rc;
        }
    }

    if (usher_place_lock(&z->self, &p) != 0) {
        return USHER_ZONE_LOCKED;
    }

    if (usher_zone_moved(fill)) {
        usher_place_unlock(&p);
        return USHER_ZONE_MOVED;
    }

    cell = usher_place_find(&z->keys, &p, digest, &set, &i);

    if (cell == NULL) {
        cell = usher_place_make(&z->self, &z->keys, &p);
        memset(cell->tat, 0, sizeof(cell->tat));
        memcpy(cell->digest, digest, USHER_KEY_DIGEST);
        cell->tat_plan = key->plan_id;
    }

    if (cell->tat_plan != key->plan_id
        && usher_zone_key_busy(cell) <= usher_monotonic())
    {
        cell->tat_plan = key->plan_id;
    }

    cell->id = key->id;
    cell->org_id = key->org_id;
    cell->plan_id = key->plan_id;
    cell->expires = key->expires;
    cell->generation = fill->generation;
    cell->serial = serial;
    cell->org = key->org;
    cell->scope = key->scope;
    cell->allow = key->allow;
    cell->state = key->state;

    if (len > USHER_ZONE_TEXT) {
        cell->flags = USHER_ZONE_VALID|USHER_ZONE_CHAINED;

    } else {
        cell->flags = USHER_ZONE_VALID;
        memcpy(cell->text, text, len);
    }

    usher_place_unlock(&p);

    (void) usher_zone_negative_clear(z, id);

    return USHER_ZONE_OK;
}


int
usher_zone_key_gone(usher_zone_t *z, const unsigned char *digest,
    const usher_zone_fill_t *fill)
{
    int            i;
    uint64_t       id[2];
    usher_set_t   *set;
    usher_place_t  p;

    usher_zone_key_place(z, digest, &p, id);

    if (usher_place_lock(&z->self, &p) != 0) {
        return USHER_ZONE_LOCKED;
    }

    if (usher_zone_moved(fill)) {
        usher_place_unlock(&p);
        return USHER_ZONE_MOVED;
    }

    if (usher_place_find(&z->keys, &p, digest, &set, &i)) {
        usher_set_drop(&z->keys, set, i);
    }

    usher_place_unlock(&p);

    return usher_zone_negative_set(z, id, fill);
}


int
usher_zone_key_drop(usher_zone_t *z, const unsigned char *digest,
    unsigned hard)
{
    int                i, rc;
    uint64_t           id[2];
    usher_set_t       *set;
    usher_place_t      p;
    usher_zone_key_t  *cell;

    usher_zone_key_place(z, digest, &p, id);

    rc = usher_zone_negative_clear(z, id);

    if (usher_place_lock(&z->self, &p) != 0) {
        return USHER_ZONE_LOCKED;
    }

    cell = usher_place_find(&z->keys, &p, digest, &set, &i);

    if (cell) {
        cell->generation = 0;

        if (hard) {
            cell->flags = 0;
        }
    }

    usher_place_unlock(&p);

    return rc;
}


/* ---- free buckets ---------------------------------------------------- */


static uint64_t *
usher_zone_bucket_find(usher_zone_t *z, const usher_place_t *p,
    const uint64_t hash[2])
{
    int           i;
    uint64_t      word;
    unsigned      k, tries;
    usher_set_t  *set;

    for (k = 0, tries = 0; k < 2; k++) {
        set = p->set[k];

        word = usher_set_read(&z->self, &set->lock,
                              sizeof(usher_set_t) - sizeof(uint64_t));
        if (word & 1) {
            return NULL;
        }

        i = usher_set_find(&z->buckets, set, p->tag, hash,
                           2 * sizeof(uint64_t));

        if (usher_set_torn(&set->lock, word)) {
            if (++tries == USHER_ZONE_TRIES) {
                return NULL;
            }

            k--;
            continue;
        }

        if (i >= 0) {
            usher_set_touch(set, i);
            return &((usher_zone_bucket_t *)
                     usher_set_cell(&z->buckets, set, i))->tat;
        }
    }

    return NULL;
}


uint64_t *
usher_zone_bucket(usher_zone_t *z, const void *name, size_t len)
{
    int                   i;
    uint64_t              hash[2], *tat;
    usher_set_t          *set;
    usher_place_t         p;
    usher_zone_bucket_t  *cell;

    usher_siphash(z->head->secret, -1, name, len, hash);
    usher_place(&z->buckets, hash[0], hash[1], &p);

    tat = usher_zone_bucket_find(z, &p, hash);

    if (tat) {
        return tat;
    }

    if (usher_place_lock(&z->self, &p) != 0) {
        return NULL;
    }

    cell = usher_place_find(&z->buckets, &p, hash, &set, &i);

    if (cell == NULL) {
        cell = usher_place_make(&z->self, &z->buckets, &p);
        cell->hash[0] = hash[0];
        cell->hash[1] = hash[1];
        __atomic_store_n(&cell->tat, 0, __ATOMIC_RELAXED);
    }

    usher_place_unlock(&p);

    return &cell->tat;
}


/* ---- negatives ------------------------------------------------------- */


#define usher_zone_negative(z, id)                                            \
    (&(z)->negatives[(((id)[1] >> 32) * (z)->nnegatives) >> 32])

#define USHER_ZONE_NEGATIVE_CLEAR                                             \
    (sizeof(usher_zone_negative_t) - sizeof(uint64_t))


unsigned
usher_zone_negative_get(usher_zone_t *z, const uint64_t id[2],
    usher_zone_fill_t *found)
{
    uint64_t                word;
    unsigned                tries;
    usher_zone_negative_t  *n, copy;

    n = usher_zone_negative(z, id);

    for (tries = 0; tries < USHER_ZONE_TRIES; tries++) {
        word = usher_set_read(&z->self, &n->lock, USHER_ZONE_NEGATIVE_CLEAR);

        if (word & 1) {
            return USHER_ZONE_NONE;
        }

        memcpy(&copy, n, sizeof(usher_zone_negative_t));

        if (usher_set_torn(&n->lock, word)) {
            continue;
        }

        if (!usher_set_same(copy.id, id, sizeof(copy.id))) {
            return USHER_ZONE_NONE;
        }

        found->generation = copy.generation;
        found->epoch = copy.epoch;

        return USHER_ZONE_GONE;
    }

    return USHER_ZONE_NONE;
}


int
usher_zone_negative_set(usher_zone_t *z, const uint64_t id[2],
    const usher_zone_fill_t *fill)
{
    usher_zone_negative_t  *n;

    n = usher_zone_negative(z, id);

    if (usher_set_lock(&z->self, &n->lock, USHER_ZONE_NEGATIVE_CLEAR) != 0) {
        return USHER_ZONE_LOCKED;
    }

    if (usher_zone_moved(fill)) {
        usher_set_unlock(&n->lock);
        return USHER_ZONE_MOVED;
    }

    if (n->id[0] == 0 && n->id[1] == 0) {
        __atomic_add_fetch(&z->head->taken[3], 1, __ATOMIC_RELAXED);
    }

    n->id[0] = id[0];
    n->id[1] = id[1];
    n->generation = fill->generation;
    n->epoch = fill->epoch;

    usher_set_unlock(&n->lock);

    return USHER_ZONE_OK;
}


int
usher_zone_negative_clear(usher_zone_t *z, const uint64_t id[2])
{
    usher_zone_negative_t  *n;

    n = usher_zone_negative(z, id);

    if (usher_set_lock(&z->self, &n->lock, USHER_ZONE_NEGATIVE_CLEAR) != 0) {
        return USHER_ZONE_LOCKED;
    }

    if (n->id[0] == id[0] && n->id[1] == id[1]) {
        n->id[0] = 0;
        n->id[1] = 0;
        __atomic_sub_fetch(&z->head->taken[3], 1, __ATOMIC_RELAXED);
    }

    usher_set_unlock(&n->lock);

    return USHER_ZONE_OK;
}


uint64_t
usher_zone_negatives_used(const usher_zone_t *z)
{
    return usher_taken(&z->head->taken[3], z->nnegatives);
}
