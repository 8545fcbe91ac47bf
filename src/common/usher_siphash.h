/*
 * usher_siphash.h - SipHash-2-4 with 128 bits of output: names that clients
 * choose, hashed under a secret, so that nobody can aim at a set.
 */


#ifndef USHER_SIPHASH_H
#define USHER_SIPHASH_H


#include <stddef.h>
#include <stdint.h>


/*
 * The hash of prefix (one byte, left out if negative) and len bytes at data.
 * hash[0] holds the first eight bytes of the output, least significant
 * first, hash[1] the others.
 */
void usher_siphash(const uint64_t key[2], int prefix, const void *data,
    size_t len, uint64_t hash[2]);


#endif
