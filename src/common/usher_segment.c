/*
 * usher_segment.c - headers, seals and room of a journal segment.
 */


#include <string.h>

#include "usher_crc.h"
#include "usher_segment.h"


_Static_assert(sizeof(usher_segment_t) <= USHER_SEGMENT_HEADER,
               "a segment's header outgrew its page");
_Static_assert(sizeof(usher_seal_t) == 32, "a seal has padding");


static int usher_segment_match(const usher_segment_t *seg, uint64_t size,
    const unsigned char slot[USHER_SLOT_ID], uint32_t crc);
static uint32_t usher_segment_head_crc(const usher_segment_t *seg);


void
usher_segment_init(usher_segment_t *seg, uint64_t size, uint64_t sequence,
    const unsigned char slot[USHER_SLOT_ID], const char *boot)
{
    size_t  len;

    seg->magic = USHER_SEGMENT_MAGIC;
    seg->size = size;
    seg->sequence = sequence;
    seg->base = 0;
    seg->base_chain = 0;

    memcpy(seg->slot, slot, USHER_SLOT_ID);

    len = strlen(boot);

    if (len > USHER_SEGMENT_BOOT) {
        len = USHER_SEGMENT_BOOT;
    }

    memset(seg->boot, 0, sizeof(seg->boot));
    memcpy(seg->boot, boot, len);

    /* not to be taken for one in use before it is started */

    seg->head_crc = ~usher_segment_head_crc(seg);
    seg->unused = 0;
}


/*
 * A process that dies half-way leaves a header that does not pass, or one
 * that passes and has committed == base: never new bounds with old counts.
 */

void
usher_segment_start(usher_segment_t *seg, uint64_t base, uint64_t base_chain)
{
    __atomic_store_n(&seg->head_crc, ~usher_segment_head_crc(seg),
                     __ATOMIC_RELEASE);

    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    __atomic_store_n(&seg->nseals, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&seg->committed, base, __ATOMIC_RELEASE);

    seg->base = base;
    seg->base_chain = base_chain;

    __atomic_store_n(&seg->head_crc, usher_segment_head_crc(seg),
                     __ATOMIC_RELEASE);
}


int
usher_segment_check(const usher_segment_t *seg, uint64_t size,
    const unsigned char slot[USHER_SLOT_ID])
{
    return usher_segment_match(seg, size, slot, usher_segment_head_crc(seg))
           ? 0 : -1;
}


int
usher_segment_spare(const usher_segment_t *seg, uint64_t size,
    const unsigned char slot[USHER_SLOT_ID])
{
    return usher_segment_match(seg, size, slot, ~usher_segment_head_crc(seg));
}


static int
usher_segment_match(const usher_segment_t *seg, uint64_t size,
    const unsigned char slot[USHER_SLOT_ID], uint32_t crc)
{
    return seg->magic == USHER_SEGMENT_MAGIC
           && seg->size == size
           && memcmp(seg->slot, slot, USHER_SLOT_ID) == 0
           && seg->head_crc == crc;
}


uint64_t
usher_segment_room(const usher_segment_t *seg, uint64_t committed,
    uint64_t nseals)
{
    uint64_t  space, used;

    if (committed < seg->base || seg->size < USHER_SEGMENT_HEADER) {
        return 0;
    }

    space = seg->size - USHER_SEGMENT_HEADER;
    used = committed - seg->base;

    /* no sum below may wrap, whatever a corrupt header says */

    if (used > space
        || nseals >= (space - used) / sizeof(usher_seal_t))
    {
        return 0;
    }

    return space - used - (nseals + 1) * sizeof(usher_seal_t);
}


uint32_t
usher_seal_crc(const usher_seal_t *seal,
    const unsigned char slot[USHER_SLOT_ID], uint64_t end_chain)
{
    uint32_t  crc;

    crc = usher_crc32c(0, slot, USHER_SLOT_ID);
    crc = usher_crc32c(crc, seal, offsetof(usher_seal_t, crc));

    return usher_crc32c(crc, &end_chain, sizeof(uint64_t));
}


unsigned
usher_seal_check(const usher_seal_t *seal,
    const unsigned char slot[USHER_SLOT_ID], const void *lines)
{
    uint64_t  end_chain;

    end_chain = usher_crc64(seal->chain, lines,
                            (size_t) (seal->end - seal->from));

    return usher_seal_crc(seal, slot, end_chain) == seal->crc;
}


static uint32_t
usher_segment_head_crc(const usher_segment_t *seg)
{
    return usher_crc32c(0, seg, offsetof(usher_segment_t, head_crc));
}
