/*
 * usher_crc.h - the three checksums of Usher.
 *
 * Each takes the value so far (0 at the start) and returns the new one, so
 * that a sum can be carried on from any point.
 */


#ifndef USHER_CRC_H
#define USHER_CRC_H


#include <stddef.h>
#include <stdint.h>


/* CRC-32/ISO-HDLC, as zlib's: the checksum inside an API key. */
uint32_t usher_crc32(uint32_t crc, const void *data, size_t len);

/* CRC-32C (Castagnoli, RFC 3720 B.4): a seal of the journal. */
uint32_t usher_crc32c(uint32_t crc, const void *data, size_t len);

/*
 * CRC-64 (Jones polynomial, reflected, no final xor, as Redis's): the chain
 * of a slot.  Without a final xor its state is its value.
 */
uint64_t usher_crc64(uint64_t crc, const void *data, size_t len);


#endif
