/*
 * segment.c - headers that pass or not, room, and what a seal covers.
 */


#include "usher_crc.h"
#include "usher_segment.h"

#include "tap.h"


#define SIZE  (64 * 1024)


static void check_head(void);
static void check_room(void);
static void check_seal(void);


static usher_segment_t      seg;
static const unsigned char  slot[] = "0123456789abcdef";
static const unsigned char  other[] = "0123456789abcdeF";


int
main(void)
{
    check_head();
    check_room();
    check_seal();

    return tap_done();
}


static void
check_head(void)
{
    memset(&seg, 0xaa, sizeof(seg));
    usher_segment_init(&seg, SIZE, 7, slot,
                       "12345678-1234-1234-1234-123456789012 and more");
    ok(usher_segment_check(&seg, SIZE, slot) == -1,
       "made ahead, it is not one in use");
    ok(usher_segment_spare(&seg, SIZE, slot)
       && !usher_segment_spare(&seg, SIZE, other)
       && !usher_segment_spare(&seg, SIZE + 4096, slot), "but a spare");
    ok(strcmp(seg.boot, "12345678-1234-1234-1234-123456789012") == 0,
       "the boot id is cut and ended");

    usher_segment_start(&seg, 1000, 42);
    ok(usher_segment_check(&seg, SIZE, slot) == 0
       && !usher_segment_spare(&seg, SIZE, slot), "started, it passes");
    ok(seg.base == 1000 && seg.base_chain == 42 && seg.committed == 1000
       && seg.nseals == 0 && seg.sequence == 7, "and says where it starts");

    ok(usher_segment_check(&seg, SIZE + 4096, slot) == -1, "another size");
    ok(usher_segment_check(&seg, SIZE, other) == -1, "another slot");

    seg.committed = 5000;
    seg.nseals = 3;
    ok(usher_segment_check(&seg, SIZE, slot) == 0, "appending keeps it");

    seg.base_chain ^= 1;
    ok(usher_segment_check(&seg, SIZE, slot) == -1, "a bit of the chain");
    seg.base_chain ^= 1;

    usher_segment_start(&seg, 9000, 43);
    ok(usher_segment_check(&seg, SIZE, slot) == 0 && seg.committed == 9000
       && seg.nseals == 0, "started again");
}


static void
check_room(void)
{
    uint64_t  all;

    usher_segment_start(&seg, 1000, 0);
    all = SIZE - USHER_SEGMENT_HEADER;

    ok(usher_segment_room(&seg, 1000, 0) == all - sizeof(usher_seal_t),
       "an empty one keeps one seal free");
    ok(usher_segment_room(&seg, 1100, 2)
       == all - 100 - 3 * sizeof(usher_seal_t), "lines and seals take room");
    ok(usher_segment_room(&seg, 1000 + all - sizeof(usher_seal_t), 0) == 0,
       "full to the byte");
    ok(usher_segment_room(&seg, 1000 + all, 0) == 0
       && usher_segment_room(&seg, UINT64_MAX, 0) == 0
       && usher_segment_room(&seg, 999, 0) == 0
       && usher_segment_room(&seg, 1000, UINT64_MAX) == 0
       && usher_segment_room(&seg, 1000, UINT64_MAX / 32 + 1) == 0,
       "corrupt counts leave none");
    ok(usher_seal_offset(SIZE, 0) == SIZE - sizeof(usher_seal_t)
       && usher_seal_offset(SIZE, 2) == SIZE - 3 * sizeof(usher_seal_t),
       "seals grow down");
}


static void
check_seal(void)
{
    char          lines[] = "r1\ta\nr1\tb\n";
    usher_seal_t  seal;

    seal.from = 1000;
    seal.end = 1010;
    seal.chain = 5;
    seal.lines = 2;
    seal.crc = 0;

    seal.crc = usher_seal_crc(&seal, slot, usher_crc64(5, lines, 10));

    ok(usher_seal_check(&seal, slot, lines), "a seal's lines");
    ok(!usher_seal_check(&seal, other, lines), "of the slot");

    seal.from += SIZE;
    seal.end += SIZE;
    ok(!usher_seal_check(&seal, slot, lines), "of the position");
    seal.from -= SIZE;
    seal.end -= SIZE;

    seal.chain++;
    ok(!usher_seal_check(&seal, slot, lines), "of the chain");
    seal.chain--;

    seal.lines++;
    ok(!usher_seal_check(&seal, slot, lines), "of the count");
    seal.lines--;

    lines[9] ^= 1;
    ok(!usher_seal_check(&seal, slot, lines), "of the last byte");
    lines[9] ^= 1;

    seal.end--;
    ok(!usher_seal_check(&seal, slot, lines), "of the length");
}
