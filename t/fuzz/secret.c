/*
 * secret.c - any bytes as a key file, as a ciphertext, and as its text: keys
 * that are read open what they sealed, and nothing opens that was not sealed.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_secret.h"

#include "fuzz.h"


static const char  one[] = "7 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";


static void keys_of(const char *first, size_t len, const uint8_t *data,
    size_t size);
static void text_of(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                       n;
    unsigned                     line;
    const char                  *reason;
    unsigned char                out[USHER_SECRET_MAX];
    static usher_secret_keys_t  *keys;

    if (keys == NULL) {
        keys = usher_secret_keys_parse(one, sizeof(one) - 1, &line, &reason);
        must(keys != NULL);
    }

    must(usher_secret_open(keys, "t", "r", data, size, out, &n)
         != USHER_SECRET_OK);

    keys_of("", 0, data, size);
    keys_of(one, sizeof(one) - 1, data, size);
    text_of(data, size);

    return 0;
}


/* A key file that begins with a line, or with none. */

static void
keys_of(const char *first, size_t len, const uint8_t *data, size_t size)
{
    char                 *text;
    size_t                n;
    unsigned              line;
    const char           *reason;
    unsigned char         sealed[1 + USHER_SECRET_OVERHEAD], out[1];
    usher_secret_keys_t  *keys;

    text = malloc(len + size + 1);
    must(text != NULL);

    memcpy(text, first, len);
    memcpy(text + len, data, size);
    size += len;

    keys = usher_secret_keys_parse(text, size, &line, &reason);
    free(text);

    if (keys == NULL) {
        must(reason != NULL && line <= size);
        return;
    }

    must(usher_secret_keys_current(keys) < 256);
    must(len == 0 || usher_secret_keys_current(keys) == 7);

    len = usher_secret_seal(keys, "t", "r", (unsigned char *) "x", 1, sealed);
    must(len == sizeof(sealed));

    must(usher_secret_open(keys, "t", "r", sealed, len, out, &n)
         == USHER_SECRET_OK);
    must(n == 1 && out[0] == 'x');

    usher_secret_keys_free(keys);
}


/* What is taken is written again as the same characters. */

static void
text_of(const uint8_t *data, size_t size)
{
    char           *text;
    size_t          n;
    unsigned char  *out;

    text = malloc(size + 5);
    out = malloc(size / 4 * 3 + 1);
    must(text != NULL && out != NULL);

    if (usher_secret_parse((const char *) data, size, out, &n) == 0) {
        must(n <= size / 4 * 3);
        must(usher_secret_text(out, n, text) == size);
        must(memcmp(text, data, size) == 0);
    }

    free(text);
    free(out);
}
