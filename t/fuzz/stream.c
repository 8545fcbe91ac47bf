/*
 * stream.c - any bytes as the texts of the stream: what is taken is written
 * again as the same bytes.
 */


#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usher_stream.h"

#include "fuzz.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int            n;
    char           text[64];
    uint64_t       v, w;
    const char    *in;
    usher_ack_t    ack;
    unsigned char  id[USHER_SLOT_ID];

    in = (const char *) data;

    if (usher_ack_parse(in, size, &ack) == 0) {
        must(usher_ack_text(&ack, text) == size);
        must(memcmp(text, in, size) == 0);
    }

    if (usher_slot_parse(in, size, id) == 0) {
        usher_slot_text(id, text);
        must(size == USHER_SLOT_TEXT && memcmp(text, in, size) == 0);
    }

    if (usher_stream_id_parse(in, size, &v, &w) == 0) {
        n = snprintf(text, sizeof(text), "%" PRIu64 "-%" PRIu64, v, w);
        must((size_t) n == size && memcmp(text, in, size) == 0);
    }

    if (usher_decimal_parse(in, size, &v) == 0) {
        n = snprintf(text, sizeof(text), "%" PRIu64, v);
        must((size_t) n == size && memcmp(text, in, size) == 0);
    }

    if (usher_hex64_parse(in, size, &v) == 0) {
        usher_hex64_text(v, text);
        must(size == 16 && memcmp(text, in, size) == 0);
    }

    return 0;
}
