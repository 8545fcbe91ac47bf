/*
 * usher_key.h - the text form of an API key.
 *
 *     <brand>_<live|test>_<30 base62><6 base62 CRC32>
 *
 * The checksum is the CRC-32 of everything before it, as six base62 digits,
 * most significant first, alphabet 0-9A-Za-z.  brand is 1 to 16 characters
 * of a-z and 0-9.  It lets garbage be refused before any hashing or look-up,
 * and lets secret scanners tell a key from a look-alike.
 */


#ifndef USHER_KEY_H
#define USHER_KEY_H


#include <stddef.h>
#include <stdint.h>


#define USHER_KEY_RANDOM     30
#define USHER_KEY_CHECKSUM   6
#define USHER_KEY_BRAND_MAX  16
#define USHER_KEY_MIN        (1 + 6 + USHER_KEY_RANDOM + USHER_KEY_CHECKSUM)
#define USHER_KEY_MAX        (USHER_KEY_BRAND_MAX + 6 + USHER_KEY_RANDOM      \
                              + USHER_KEY_CHECKSUM)

/* A SHA-256 digest: what is stored and looked up instead of a key. */
#define USHER_KEY_DIGEST     32


typedef enum {
    USHER_KEY_OK = 0,
    USHER_KEY_MALFORMED,    /* not of the form above */
    USHER_KEY_BAD_CHECKSUM  /* of the form, but mistyped or made up */
} usher_key_status_e;


/* Checks the form and the checksum of len bytes at key; reads nothing else. */
usher_key_status_e usher_key_check(const unsigned char *key, size_t len);

/* Whether a key whose form is good is one for tests. */
int usher_key_test(const unsigned char *key, size_t len);

/* Writes the six digits of the checksum of len bytes at head to out. */
void usher_key_checksum(const unsigned char *head, size_t len,
    unsigned char out[USHER_KEY_CHECKSUM]);


#endif
