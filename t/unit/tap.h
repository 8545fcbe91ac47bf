/*
 * tap.h - just enough of the Test Anything Protocol.
 */


#ifndef USHER_TAP_H
#define USHER_TAP_H


#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static int  tap_run;
static int  tap_failed;


#define ok(cond, ...)                                                         \
    do {                                                                      \
        int  tap_good = (cond) ? 1 : 0;                                       \
                                                                              \
        tap_failed += !tap_good;                                              \
        printf("%sok %d - ", tap_good ? "" : "not ", ++tap_run);              \
        printf(__VA_ARGS__);                                                  \
        printf("\n");                                                         \
                                                                              \
        if (!tap_good) {                                                      \
            printf("# failed: %s at %s:%d\n", #cond, __FILE__, __LINE__);     \
        }                                                                     \
    } while (0)


static int
tap_done(void)
{
    printf("1..%d\n", tap_run);

    return tap_failed != 0;
}


/* The same pseudo-random bytes on every machine. */

static inline void
tap_fill(unsigned char *p, size_t len, uint64_t seed)
{
    while (len--) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        *p++ = (unsigned char) (seed >> 56);
    }
}


#endif
