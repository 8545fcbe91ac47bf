/*
 * key.c - any bytes as an API key: what passes has the form, and its
 * checksum is the one that is computed.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_key.h"

#include "fuzz.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char  key[USHER_KEY_MAX + 64];

    if (usher_key_check(data, size) == USHER_KEY_OK) {
        must(size >= USHER_KEY_MIN && size <= USHER_KEY_MAX);
        must(memchr(data, '_', size) != NULL);
        must(memchr(data, '\0', size) == NULL);
    }

    /* the same bytes with the right checksum: never a bad checksum */

    if (size <= USHER_KEY_MAX - USHER_KEY_CHECKSUM) {
        memcpy(key, data, size);
        usher_key_checksum(key, size, key + size);

        must(usher_key_check(key, size + USHER_KEY_CHECKSUM)
             != USHER_KEY_BAD_CHECKSUM);
    }

    return 0;
}
