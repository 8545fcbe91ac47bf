/*
 * aho.c - any words in any text: what is found is there, in its order, and
 * whatever is there is found.
 */


#include <string.h>

#include "usher_aho.h"

#include "fuzz.h"


#define WORDS  16


static unsigned found(const usher_aho_word_t *word, const uint8_t *text,
    size_t len, size_t end, unsigned flags);
static unsigned fold(uint8_t c, unsigned flags);
static void *take(void *data, size_t size);


/*
 * How many words, which flags, none of one or two bytes; of each its length
 * and flags; the text.
 */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t            end, times;
    uint32_t          k, n, got;
    unsigned          flags, skips;
    const uint8_t    *p, *last;
    usher_aho_t      *aho;
    usher_aho_word_t  words[WORDS];
    usher_aho_scan_t  scan;

    if (size == 0) {
        return 0;
    }

    p = data;
    last = data + size;

    flags = *p & USHER_AHO_CASELESS;
    n = *p / 2 % WORDS;
    skips = *p++ & 0x80;

    for (k = 0; k < n && last - p > 1; k++) {
        words[k].len = *p / 4 % 16;
        words[k].flags = *p++ % 4;

        if (words[k].len > (size_t) (last - p)) {
            words[k].len = (size_t) (last - p);
        }

        words[k].data = p;
        p += words[k].len;

        if (skips && words[k].len < 3) {
            words[k].len = 0;
        }
    }

    n = k;

    aho = usher_aho_create(words, n, flags, take, NULL);
    must(aho != NULL);

    usher_aho_start(&scan, aho, p, (size_t) (last - p));
    times = 0;

    while ((got = usher_aho_next(&scan)) != USHER_AHO_NONE) {
        must(got < n);
        must(scan.p <= last);
        must(found(&words[got], p, (size_t) (last - p), (size_t) (scan.p - p),
                   flags));
        times++;
    }

    for (k = 0; k < n; k++) {
        for (end = 0; end <= (size_t) (last - p); end++) {
            times -= found(&words[k], p, (size_t) (last - p), end, flags);
        }
    }

    must(times == 0);

    free(aho);

    return 0;
}


/* Whether it ends there. */

static unsigned
found(const usher_aho_word_t *word, const uint8_t *text, size_t len,
    size_t end, unsigned flags)
{
    size_t  i;

    if (word->len == 0 || word->len > end
        || (end != len && (word->flags & USHER_AHO_LAST))
        || (end != word->len && (word->flags & USHER_AHO_FIRST)))
    {
        return 0;
    }

    for (i = 0; i < word->len; i++) {
        if (fold(word->data[i], flags)
            != fold(text[end - word->len + i], flags))
        {
            return 0;
        }
    }

    return 1;
}


static unsigned
fold(uint8_t c, unsigned flags)
{
    return (flags & USHER_AHO_CASELESS) && c >= 'A' && c <= 'Z' ? c + 32U : c;
}


static void *
take(void *data, size_t size)
{
    (void) data;

    return malloc(size);
}
