/*
 * usher_key.c - checks the text form of an API key without a look-up.
 */


#include <string.h>

#if (__SSE2__)
#include <emmintrin.h>
#endif

#include "usher_crc.h"
#include "usher_key.h"


#define USHER_KEY_TAIL  (USHER_KEY_RANDOM + USHER_KEY_CHECKSUM)
#define USHER_KEY_ENV   6                       /* bytes of "_live_" */


static int usher_key_digits(const unsigned char *p, size_t n);


static const unsigned char  usher_key_alphabet[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";


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


int
usher_key_test(const unsigned char *key, size_t len)
{
    return key[len - USHER_KEY_TAIL - USHER_KEY_ENV + 1] == 't';
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


/*
 * Whether n characters, at least sixteen, are of the alphabet.  Without a
 * branch per character, for a key is random and so would they be.
 */

#if (__SSE2__)


static int
usher_key_digits(const unsigned char *p, size_t n)
{
    size_t   i;
    __m128i  v, digit, letter, good;

    good = _mm_set1_epi8(-1);

    for (i = 0; i < n; i += 16) {

        if (n - i < 16) {
            i = n - 16;
        }

        v = _mm_loadu_si128((const __m128i *) (p + i));

        /* unsigned: x is at most y if it is the smaller of them */

        digit = _mm_sub_epi8(v, _mm_set1_epi8('0'));
        digit = _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit);

        letter = _mm_or_si128(v, _mm_set1_epi8(0x20));
        letter = _mm_sub_epi8(letter, _mm_set1_epi8('a'));
        letter = _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(25)),
                                letter);

        good = _mm_and_si128(good, _mm_or_si128(digit, letter));
    }

    return _mm_movemask_epi8(good) == 0xffff;
}


#else


static int
usher_key_digits(const unsigned char *p, size_t n)
{
    size_t         i;
    unsigned       good;
    unsigned char  digit, letter;

    good = 1;

    for (i = 0; i < n; i++) {
        digit = (unsigned char) (p[i] - '0');
        letter = (unsigned char) ((p[i] | 0x20) - 'a');
        good &= (unsigned) (digit <= 9) | (letter <= 25);
    }

    return (int) good;
}


#endif
