/*
 * usher_segment.h - the file format of a journal segment.
 *
 * DESIGN
 *
 * A slot's journal is a run of segments.  A segment is a file of fixed size:
 *
 *     0            4096                                            size
 *     | header     | lines -->                          <-- seals  |
 *
 * Lines grow up from the header, seals (one per ship or sync tick) grow down
 * from the end, and the segment is full where they would meet.  So a
 * position is always found at
 *
 *     USHER_SEGMENT_HEADER + (position - base)
 *
 * whatever was sealed.  A line lies in one segment; the next segment's base
 * is the last one's end.
 *
 * A seal's checksum covers the slot, the seal's own fields and the chain at
 * end.  The chain goes over the lines from the chain at from, so it is their
 * checksum as well and they are read once for both; slot and position make
 * sure that what a recycled segment held before never passes.  Seals stand
 * alone: one that is corrupt costs its own lines only.
 *
 * committed and nseals are published with release stores by the one process
 * that writes.  After that process has died they hold as long as the
 * machine has not restarted (boot_id); after that the end is where the last
 * valid seal ends.  Where the header itself is lost the first seal tells
 * what it said: from is base, and its chain is base_chain.
 *
 * Numbers are in the machine's byte order: a journal never leaves it.
 */


#ifndef USHER_SEGMENT_H
#define USHER_SEGMENT_H


#include <stddef.h>
#include <stdint.h>

#include "usher_stream.h"


#define USHER_SEGMENT_MAGIC    0x32474553524853ULL    /* "SHRSEG2" */
#define USHER_SEGMENT_HEADER   4096
#define USHER_SEGMENT_BOOT     36                     /* text of a boot_id */
#define USHER_SEGMENT_MIN      (64 * 1024)


typedef struct {
    uint64_t       magic;
    uint64_t       size;                   /* bytes of the file */
    uint64_t       sequence;               /* of this segment in its slot */
    uint64_t       base;                   /* position of the first line */
    uint64_t       base_chain;             /* chain at base */
    unsigned char  slot[USHER_SLOT_ID];
    char           boot[USHER_SEGMENT_BOOT + 4];
    uint32_t       head_crc;               /* CRC-32C of all fields above */
    uint32_t       unused;

    /* below: written while lines are appended; each alone on a cache line */

    uint64_t       committed __attribute__((aligned(64)));
                                           /* position after the last line */
    uint64_t       nseals __attribute__((aligned(64)));
} usher_segment_t;


typedef struct {
    uint64_t       from;                   /* position of the first byte */
    uint64_t       end;                    /* position after the last */
    uint64_t       chain;                  /* chain at from */
    uint32_t       lines;
    uint32_t       crc;                    /* usher_seal_crc() */
} usher_seal_t;


/* Fills the header of a segment, but for committed (= base) and nseals (0). */
void usher_segment_init(usher_segment_t *seg, uint64_t size,
    uint64_t sequence, const unsigned char slot[USHER_SLOT_ID],
    const char *boot);

/*
 * Stamps base and its chain into a segment made ahead, computes head_crc and
 * resets committed and nseals.
 */
void usher_segment_start(usher_segment_t *seg, uint64_t base,
    uint64_t base_chain);

/* 0 if magic, size, slot and head_crc hold, otherwise -1. */
int usher_segment_check(const usher_segment_t *seg, uint64_t size,
    const unsigned char slot[USHER_SLOT_ID]);

/* 1 if it was made ahead for this slot and has never been started. */
int usher_segment_spare(const usher_segment_t *seg, uint64_t size,
    const unsigned char slot[USHER_SLOT_ID]);

/* Bytes that lines may still take when nseals seals are set, one kept free. */
uint64_t usher_segment_room(const usher_segment_t *seg, uint64_t committed,
    uint64_t nseals);

/* File offset of seal i. */
#define usher_seal_offset(size, i)                                            \
    ((size) - ((uint64_t) (i) + 1) * sizeof(usher_seal_t))

/* The checksum of a seal; end_chain is the chain at its end. */
uint32_t usher_seal_crc(const usher_seal_t *seal,
    const unsigned char slot[USHER_SLOT_ID], uint64_t end_chain);

/* 1 if the end - from bytes at lines are those that were sealed. */
unsigned usher_seal_check(const usher_seal_t *seal,
    const unsigned char slot[USHER_SLOT_ID], const void *lines);


#endif
