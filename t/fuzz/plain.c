/*
 * plain.c - runs a target without libFuzzer: usage: <target> <runs>.
 *
 * Inputs are random lengths of random bytes, half of them taken from one of
 * two alphabets that make them look like what is expected.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"


#define PLAIN_MAX  400


static uint64_t plain_next(uint64_t *state);


int
main(int argc, char **argv)
{
    long         i, runs;
    size_t       len, j;
    uint8_t     *copy;
    uint64_t     state, alike;
    const char  *alphabet;

    static const char  text[] =
        "0123456789abcdef-- us_live_test_ABCxyz or\\\t\n\xc3\xbc\xe2\x82\xac";
    static const char  url[] =
        "0123456789abcdefgilnostuxz-..../?#:&=%41%2F{os}{sub1}[]";

    runs = argc > 1 ? atol(argv[1]) : 100000;
    state = 1;

    for (i = 0; i < runs; i++) {
        alike = plain_next(&state) & 1;
        alphabet = plain_next(&state) & 1 ? text : url;
        len = plain_next(&state) % ((i & 7) ? 64 : PLAIN_MAX);
        copy = malloc(len ? len : 1);
        must(copy != NULL);

        for (j = 0; j < len; j++) {
            copy[j] = alike
                      ? (uint8_t) alphabet[plain_next(&state)
                                           % strlen(alphabet)]
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
