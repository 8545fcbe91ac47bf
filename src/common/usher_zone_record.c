/*
 * usher_zone_record.c - longer records of the zone, in blocks.  See
 * usher_zone.h.
 */


#include <string.h>

#include "usher_crc.h"
#include "usher_siphash.h"
#include "usher_zone.h"


#define USHER_ZONE_TRIES   64


static void usher_zone_block_id(const uint64_t name[2], unsigned index,
    uint64_t id[2]);
static int usher_zone_block_get(usher_zone_t *z, const uint64_t name[2],
    unsigned index, usher_zone_block_t *block);
static int usher_zone_block_set(usher_zone_t *z, const uint64_t name[2],
    const usher_zone_block_t *block, const usher_zone_fill_t *fill);
static int usher_zone_block_drop(usher_zone_t *z, const uint64_t name[2],
    unsigned hard, const usher_zone_fill_t *fill);


static void
usher_zone_block_id(const uint64_t name[2], unsigned index, uint64_t id[2])
{
    id[0] = name[0] + index * 0x9e3779b97f4a7c15ULL;
    id[1] = name[1] ^ (uint64_t) index << 32;
}


/* Copies one block; 0, or -1 if it is not there. */

static int
usher_zone_block_get(usher_zone_t *z, const uint64_t name[2], unsigned index,
    usher_zone_block_t *block)
{
    int            i;
    uint64_t       id[2], word;
    unsigned       k, tries;
    usher_set_t   *set;
    usher_place_t  p;

    usher_zone_block_id(name, index, id);
    usher_place(&z->records, id[0], id[1], &p);

    for (k = 0, tries = 0; k < 2; k++) {
        set = p.set[k];

        word = usher_set_read(&z->self, &set->lock,
                              sizeof(usher_set_t) - sizeof(uint64_t));
        if (word & 1) {
            return -1;
        }

        i = usher_set_find(&z->records, set, p.tag, id, 2 * sizeof(uint64_t));

        if (i >= 0) {
            memcpy(block, usher_set_cell(&z->records, set, i),
                   sizeof(usher_zone_block_t));
        }

        if (usher_set_torn(&set->lock, word)) {
            if (++tries == USHER_ZONE_TRIES) {
                return -1;
            }

            k--;
            continue;
        }

        if (i >= 0) {
            usher_set_touch(set, i);
            return block->index == index ? 0 : -1;
        }
    }

    return -1;
}


static int
usher_zone_block_set(usher_zone_t *z, const uint64_t name[2],
    const usher_zone_block_t *block, const usher_zone_fill_t *fill)
{
    int                  i;
    uint64_t             id[2];
    usher_set_t         *set;
    usher_place_t        p;
    usher_zone_block_t  *cell;

    usher_zone_block_id(name, block->index, id);
    usher_place(&z->records, id[0], id[1], &p);

    if (usher_place_lock(&z->self, &p) != 0) {
        return USHER_ZONE_LOCKED;
    }

    if (usher_zone_moved(fill)) {
        usher_place_unlock(&p);
        return USHER_ZONE_MOVED;
    }

    cell = usher_place_find(&z->records, &p, id, &set, &i);

    if (cell == NULL) {
        cell = usher_place_make(&z->self, &z->records, &p);
    }

    *cell = *block;
    cell->id[0] = id[0];
    cell->id[1] = id[1];

    usher_place_unlock(&p);

    return USHER_ZONE_OK;
}


/* The first block alone: without it the others are never looked at. */

static int
usher_zone_block_drop(usher_zone_t *z, const uint64_t name[2], unsigned hard,
    const usher_zone_fill_t *fill)
{
    int                  i;
    usher_set_t         *set;
    usher_place_t        p;
    usher_zone_block_t  *cell;

    usher_place(&z->records, name[0], name[1], &p);

    if (usher_place_lock(&z->self, &p) != 0) {
        return USHER_ZONE_LOCKED;
    }

    if (fill && usher_zone_moved(fill)) {
        usher_place_unlock(&p);
        return USHER_ZONE_MOVED;
    }

    cell = usher_place_find(&z->records, &p, name, &set, &i);

    if (cell) {
        if (hard) {
            usher_set_drop(&z->records, set, i);

        } else {
            cell->generation = 0;
        }
    }

    usher_place_unlock(&p);

    return USHER_ZONE_OK;
}


unsigned
usher_zone_record_get(usher_zone_t *z, unsigned kind, const void *id,
    size_t idlen, unsigned char *buf, size_t size, size_t *len,
    usher_zone_fill_t *found)
{
    size_t              n, at;
    uint64_t            name[2];
    unsigned            k;
    usher_zone_block_t  first, next, *b;

    usher_siphash(z->head->secret, (int) kind, id, idlen, name);

    if (usher_zone_block_get(z, name, 0, &first) != 0) {
        return usher_zone_negative_get(z, name, found);
    }

    if (first.length > size) {
        return USHER_ZONE_NONE;
    }

    at = 0;

    for (k = 0, b = &first; k < first.count; k++) {

        if (k) {
            b = &next;

            if (usher_zone_block_get(z, name, k, b) != 0
                || b->serial != first.serial || b->count != first.count)
            {
                return USHER_ZONE_NONE;
            }
        }

        n = first.length - at;

        if (n > USHER_ZONE_BLOCK) {
            n = USHER_ZONE_BLOCK;
        }

        memcpy(buf + at, b->data, n);
        at += n;
    }

    if (at != first.length || usher_crc32c(0, buf, at) != first.crc) {
        return USHER_ZONE_NONE;
    }

    *len = at;
    found->generation = first.generation;

    return USHER_ZONE_FOUND;
}


int
usher_zone_record_set(usher_zone_t *z, unsigned kind, const void *id,
    size_t idlen, const unsigned char *data, size_t len,
    const usher_zone_fill_t *fill)
{
    int                 rc;
    size_t              n, at;
    uint64_t            name[2];
    unsigned            k;
    usher_zone_block_t  block;

    if (len > USHER_ZONE_RECORD) {
        return USHER_ZONE_LOCKED;
    }

    usher_siphash(z->head->secret, (int) kind, id, idlen, name);

    memset(&block, 0, sizeof(usher_zone_block_t));

    block.serial = __atomic_add_fetch(&z->head->serial, 1, __ATOMIC_RELAXED);
    block.length = (uint32_t) len;
    block.crc = usher_crc32c(0, data, len);
    block.generation = fill->generation;
    block.count = len ? (uint16_t) ((len - 1) / USHER_ZONE_BLOCK + 1) : 1;

    /* the first block last: it makes the record */

    for (k = block.count; k-- > 0; ) {
        at = (size_t) k * USHER_ZONE_BLOCK;
        n = len - at;

        if (n > USHER_ZONE_BLOCK) {
            n = USHER_ZONE_BLOCK;
        }

        block.index = (uint16_t) k;
        memcpy(block.data, data + at, n);

        rc = usher_zone_block_set(z, name, &block, fill);

        if (rc != USHER_ZONE_OK) {
            return rc;
        }
    }

    (void) usher_zone_negative_clear(z, name);

    return USHER_ZONE_OK;
}


int
usher_zone_record_gone(usher_zone_t *z, unsigned kind, const void *id,
    size_t idlen, const usher_zone_fill_t *fill)
{
    int       rc;
    uint64_t  name[2];

    usher_siphash(z->head->secret, (int) kind, id, idlen, name);

    rc = usher_zone_block_drop(z, name, 1, fill);

    if (rc != USHER_ZONE_OK) {
        return rc;
    }

    return usher_zone_negative_set(z, name, fill);
}


int
usher_zone_record_drop(usher_zone_t *z, unsigned kind, const void *id,
    size_t idlen, unsigned hard)
{
    int       rc, cleared;
    uint64_t  name[2];

    usher_siphash(z->head->secret, (int) kind, id, idlen, name);

    cleared = usher_zone_negative_clear(z, name);
    rc = usher_zone_block_drop(z, name, hard, NULL);

    return rc != USHER_ZONE_OK ? rc : cleared;
}
