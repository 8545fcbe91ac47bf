/*
 * encode.c - the encoder as a filter, for t/fuzz_event.t.
 *
 * Reads records of three native numbers (limit, length, msec: 4, 4, 8 bytes)
 * and length bytes; writes COPY lines: number, text, bytea, time, flags.
 */


#include <stdio.h>
#include <stdlib.h>

#include "usher_event.h"


typedef struct {
    uint32_t  limit;
    uint32_t  len;
    int64_t   msec;
} encode_head_t;


int
main(void)
{
    unsigned              n, flags;
    encode_head_t         head;
    static unsigned char  in[65536], out[3 + 2 * sizeof(in)];

    for (n = 0; fread(&head, sizeof(head), 1, stdin) == 1; n++) {

        if (head.len > sizeof(in) || head.limit > sizeof(in)
            || fread(in, 1, head.len, stdin) != head.len)
        {
            fprintf(stderr, "encode: a broken record\n");
            return 1;
        }

        flags = 0;

        printf("%u\t", n);
        fwrite(out, 1, (size_t) (usher_event_text(out, in, head.len,
                                                  head.limit, &flags)
                                 - out), stdout);
        putchar('\t');
        fwrite(out, 1, (size_t) (usher_event_bytes(out, in, head.len) - out),
               stdout);
        putchar('\t');
        fwrite(out, 1, (size_t) (usher_event_time(out, head.msec) - out),
               stdout);
        printf("\t%u\n", flags);
    }

    return fflush(stdout) != 0;
}
