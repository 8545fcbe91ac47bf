/*
 * segment.c - any bytes as a segment's header and seals: room is never more
 * than there is, and a seal that was not made does not pass.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_crc.h"
#include "usher_segment.h"

#include "fuzz.h"


static const unsigned char  slot[USHER_SLOT_ID + 1] = "0123456789abcdef";


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t         room, used;
    usher_seal_t     seal;
    usher_segment_t  seg;

    if (size < sizeof(seg)) {
        return 0;
    }

    memcpy(&seg, data, sizeof(seg));

    (void) usher_segment_check(&seg, seg.size, seg.slot);

    room = usher_segment_room(&seg, seg.committed, seg.nseals);

    if (room) {
        used = seg.committed - seg.base;
        must(used <= seg.size);
        must(room + used + USHER_SEGMENT_HEADER
             + (seg.nseals + 1) * sizeof(usher_seal_t) == seg.size);
    }

    seg.unused = 0;
    usher_segment_start(&seg, seg.base, seg.base_chain);

    if (seg.magic == USHER_SEGMENT_MAGIC) {
        must(usher_segment_check(&seg, seg.size, seg.slot) == 0);
    }

    /* the rest as lines below a seal of the input's own making */

    data += sizeof(seg);
    size -= sizeof(seg);

    seal.from = seg.base;
    seal.end = seg.base + size;
    seal.chain = seg.base_chain;
    seal.lines = (uint32_t) size;
    seal.crc = usher_seal_crc(&seal, slot, usher_crc64(seal.chain, data, size));

    if (seal.end >= seal.from) {
        must(usher_seal_check(&seal, slot, data));
        seal.from ^= 1;
        seal.end ^= 1;

        if (seal.end - seal.from == size) {
            must(!usher_seal_check(&seal, slot, data));
        }
    }

    return 0;
}
