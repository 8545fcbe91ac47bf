/*
 * key.c - the form and the checksum of an API key.
 */


#include "usher_crc.h"
#include "usher_key.h"

#include "tap.h"


static usher_key_status_e check(const char *key);
static void make(char *key, const char *head);


int
main(void)
{
    int   c, at, bad;
    char  key[128], other[128];

    make(key, "us_live_0123456789ABCDEFGHIJKLMNOPQRST");
    ok(check(key) == USHER_KEY_OK, "a key of our own: %s", key);

    /* CRC-32 of "123456789" is 0xcbf43926 = 3421780262 */

    usher_key_checksum((const unsigned char *) "123456789", 9,
                       (unsigned char *) other);
    ok(memcmp(other, "3jZRME", 6) == 0, "base62, most significant first: %.6s",
       other);

    make(key, "a_test_0123456789ABCDEFGHIJKLMNOPQRST");
    ok(check(key) == USHER_KEY_OK && strlen(key) == USHER_KEY_MIN,
       "the shortest brand");
    ok(usher_key_test((unsigned char *) key, strlen(key)), "a test key");
    make(key, "abcdefghij012345_live_0123456789ABCDEFGHIJKLMNOPQRST");
    ok(check(key) == USHER_KEY_OK && strlen(key) == USHER_KEY_MAX,
       "the longest brand");
    ok(!usher_key_test((unsigned char *) key, strlen(key)), "a live one");

    make(key, "abcdefghij0123456_live_0123456789ABCDEFGHIJKLMNOPQRST");
    ok(check(key) == USHER_KEY_MALFORMED, "a brand too long");
    make(key, "_live_0123456789ABCDEFGHIJKLMNOPQRST");
    ok(check(key) == USHER_KEY_MALFORMED, "no brand");
    make(key, "US_live_0123456789ABCDEFGHIJKLMNOPQRST");
    ok(check(key) == USHER_KEY_MALFORMED, "an upper-case brand");
    make(key, "us_prod_0123456789ABCDEFGHIJKLMNOPQRST");
    ok(check(key) == USHER_KEY_MALFORMED, "another environment");
    make(key, "us_live_0123456789ABCDEFGHIJKLMNOPQRS");
    ok(check(key) == USHER_KEY_MALFORMED, "too short a body");
    make(key, "us_live_0123456789ABCDEFGHIJ-LMNOPQRST");
    ok(check(key) == USHER_KEY_MALFORMED, "a body with a dash");
    ok(check("") == USHER_KEY_MALFORMED, "nothing");

    make(key, "us_live_0123456789ABCDEFGHIJKLMNOPQRST");
    bad = 0;

    for (c = 8; key[c]; c++) {
        strcpy(other, key);
        other[c] = (char) (other[c] == 'x' ? 'y' : 'x');
        bad += check(other) != USHER_KEY_BAD_CHECKSUM;
    }

    ok(bad == 0, "any digit mistyped is a bad checksum");

    bad = 0;

    for (c = 0; c < 256; c++) {
        strcpy(other, key);
        other[20] = (char) c;
        bad += (check(other) == USHER_KEY_OK) != (other[20] == key[20]);
    }

    ok(bad == 0, "any byte in its place is refused");

    bad = 0;

    for (at = 8; key[at]; at++) {
        for (c = 1; c < 256; c++) {
            strcpy(other, key);
            other[at] = (char) c;
            bad += (check(other) == USHER_KEY_MALFORMED)
                   == ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
                       || (c >= 'a' && c <= 'z'));
        }
    }

    ok(bad == 0, "the alphabet, in every place");

    return tap_done();
}


/* On the heap without a NUL, so that a sanitizer sees a read too far. */

static usher_key_status_e
check(const char *key)
{
    size_t              len;
    unsigned char      *copy;
    usher_key_status_e  rc;

    len = strlen(key);
    copy = malloc(len ? len : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, key, len);
    rc = usher_key_check(copy, len);
    free(copy);

    return rc;
}


static void
make(char *key, const char *head)
{
    size_t  len;

    len = strlen(head);
    memcpy(key, head, len);
    usher_key_checksum((const unsigned char *) head, len,
                       (unsigned char *) key + len);
    key[len + USHER_KEY_CHECKSUM] = '\0';
}
