/*
 * plain.c - runs a target without libFuzzer: usage: <target> <runs>.
 *
 * Inputs are random lengths of random bytes, half of them taken from an
 * alphabet that makes them look like what is expected.
 */


#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"


#define PLAIN_MAX  400


static uint64_t plain_next(uint64_t *state);


int
main(int argc, char **argv)
{
    long               i, runs;
    size_t             len, j;
    uint8_t           *copy;
    uint64_t           state, alike;
    static const char  alphabet[] =
        "0123456789abcdef-- us_live_test_ABCxyz or\\\t\n\xc3\xbc\xe2\x82\xac";

    runs = argc > 1 ? atol(argv[1]) : 100000;
    state = 1;

    for (i = 0; i < runs; i++) {
        alike = plain_next(&state) & 1;
        len = plain_next(&state) % ((i & 7) ? 64 : PLAIN_MAX);
        copy = malloc(len ? len : 1);
        must(copy != NULL);

        for (j = 0; j < len; j++) {
            copy[j] = alike
                      ? (uint8_t) alphabet[plain_next(&state)
                                           % (sizeof(alphabet) - 1)]
                      : (uint8_t) plain_next(&state);
        }

        LLVMFuzzerTestOneInput(copy, len);
        free(copy);
    }

    printf("%ld runs\n", runs);

    return 0;
}


/* xorshift64* */

static uint64_t
plain_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;

    return (*state * 2685821657736338717ULL) >> 32;
}
