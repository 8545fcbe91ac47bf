/*
 * usher_key.c - checks the text form of an API key without a look-up.
 */


#include <string.h>

#include "usher_crc.h"
#include "usher_key.h"


#define USHER_KEY_TAIL  (USHER_KEY_RANDOM + USHER_KEY_CHECKSUM)
#define USHER_KEY_ENV   6                       /* bytes of "_live_" */


static int usher_key_digits(const unsigned char *p, size_t n);


static const unsigned char  usher_key_alphabet[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* 1: of the alphabet */
static const unsigned char  usher_key_digit[256] = {
    ['0'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['A'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            1, 1, 1, 1,
    ['a'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            1, 1, 1, 1
};


usher_key_status_e
usher_key_check(const unsigned char *key, size_t len)
{
    size_t         i, brand;
    unsigned char  sum[USHER_KEY_CHECKSUM];

    if (len < USHER_KEY_MIN || len > USHER_KEY_MAX) {
        return USHER_KEY_MALFORMED;
    }

    brand = len - USHER_KEY_TAIL - USHER_KEY_ENV;

    for (i = 0; i < brand; i++) {
        if ((key[i] < 'a' || key[i] > 'z') && (key[i] < '0' || key[i] > '9')) {
            return USHER_KEY_MALFORMED;
        }
    }

    if (memcmp(key + brand, "_live_", USHER_KEY_ENV) != 0
        && memcmp(key + brand, "_test_", USHER_KEY_ENV) != 0)
    {
        return USHER_KEY_MALFORMED;
    }

    if (!usher_key_digits(key + len - USHER_KEY_TAIL, USHER_KEY_TAIL)) {
        return USHER_KEY_MALFORMED;
    }

    usher_key_checksum(key, len - USHER_KEY_CHECKSUM, sum);

    if (memcmp(key + len - USHER_KEY_CHECKSUM, sum, USHER_KEY_CHECKSUM) != 0) {
        return USHER_KEY_BAD_CHECKSUM;
    }

    return USHER_KEY_OK;
}


void
usher_key_checksum(const unsigned char *head, size_t len,
    unsigned char out[USHER_KEY_CHECKSUM])
{
    int       i;
    uint32_t  crc;

    crc = usher_crc32(0, head, len);

    for (i = USHER_KEY_CHECKSUM - 1; i >= 0; i--) {
        out[i] = usher_key_alphabet[crc % 62];
        crc /= 62;
    }
}


/* Without a branch per character: a key is random, and so would they be. */

static int
usher_key_digits(const unsigned char *p, size_t n)
{
    size_t    i;
    unsigned  good;

    good = 1;

    for (i = 0; i < n; i++) {
        good &= usher_key_digit[p[i]];
    }

    return (int) good;
}
