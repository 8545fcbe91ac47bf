/*
 * event.c - any bytes as a text column: never past the room, never a byte
 * that COPY would take for structure, always UTF-8, and stable.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_event.h"

#include "fuzz.h"


static size_t unescape(unsigned char *out, const unsigned char *p,
    const unsigned char *end);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                limit, n;
    unsigned              flags;
    unsigned char        *out, *end, *text, *again;

    if (size < 2) {
        return 0;
    }

    limit = data[0] | (data[1] & 3) << 8;
    data += 2;
    size -= 2;

    out = malloc(2 * limit + 1);
    text = malloc(limit + 1);
    again = malloc(2 * limit + 1);
    must(out != NULL && text != NULL && again != NULL);

    flags = 0;
    end = usher_event_text(out, data, size, limit, &flags);
    must((size_t) (end - out) <= 2 * limit);

    n = unescape(text, out, end);
    must(n <= limit);
    must(flags || (n == size && memcmp(text, data, n) == 0));
    must(!(flags & USHER_EVENT_CUT) || n + 4 > limit);

    /* what was mended is clean: encoding it again changes nothing */

    flags = 0;
    must(usher_event_text(again, text, n, limit, &flags) - again
         == end - out);
    must(memcmp(again, out, (size_t) (end - out)) == 0 && flags == 0);

    free(out);
    free(text);
    free(again);

    return 0;
}


/* As COPY reads it. */

static size_t
unescape(unsigned char *out, const unsigned char *p, const unsigned char *end)
{
    size_t       n;
    const char  *names, *at;

    n = 0;
    names = "\bb\tt\nn\vv\ff\rr\\\\";

    while (p < end) {
        must(*p != '\0' && *p != '\t' && *p != '\n' && *p != '\r');

        if (*p != '\\') {
            out[n++] = *p++;
            continue;
        }

        must(++p < end);

        for (at = names; *at; at += 2) {
            if (at[1] == (char) *p) {
                break;
            }
        }

        must(*at != '\0');
        out[n++] = (unsigned char) *at;
        p++;
    }

    return n;
}
