/*
 * click.c - any bytes as the id of a click: what is taken was signed, and
 * only that text says it.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_click.h"

#include "fuzz.h"


static void flip(const usher_click_key_t *keys, unsigned char *text,
    const usher_click_t *was, unsigned at);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned              i;
    unsigned char         id[USHER_CLICK_ID], text[USHER_CLICK_TEXT];
    unsigned char         seed[16];
    usher_click_t         click, back;
    usher_click_key_t     keys[2];
    usher_click_status_e  rc;

    must(usher_click_key(&keys[0], 3, "one", 3) == 0);
    must(usher_click_key(&keys[1], 4, "two", 3) == 0);

    rc = usher_click_read(data, size, keys, 2, &click);

    must(size == USHER_CLICK_TEXT || rc == USHER_CLICK_MALFORMED);

    if (rc == USHER_CLICK_OK) {
        must(usher_click_make(text, &keys[click.key - 3], &click) == 0);
        must(memcmp(text, data, size) == 0);
    }

    if (size == USHER_CLICK_TEXT && usher_click_decode(id, data) == 0) {
        usher_click_encode(text, id);
        must(memcmp(text, data, size) == 0);
    }

    memset(seed, 0, sizeof(seed));
    memcpy(seed, data, size < sizeof(seed) ? size : sizeof(seed));

    memcpy(&click.time, seed, 4);
    memcpy(&click.link, seed + 4, 4);
    memcpy(&click.counter, seed + 8, 4);
    i = seed[12] & 1;

    must(usher_click_make(text, &keys[i], &click) == 0);
    must(usher_click_read(text, USHER_CLICK_TEXT, keys, 2, &back)
         == USHER_CLICK_OK);
    must(back.time == click.time && back.link == click.link
         && back.counter == click.counter && back.key == 3 + i);

    flip(keys, text, &click, seed[13]);

    return 0;
}


/* An id of which one bit is another. */

static void
flip(const usher_click_key_t *keys, unsigned char *text,
    const usher_click_t *was, unsigned at)
{
    unsigned char  id[USHER_CLICK_ID];
    usher_click_t  click;

    click = *was;
    at %= 8 * USHER_CLICK_ID;

    must(usher_click_decode(id, text) == 0);
    id[at / 8] ^= (unsigned char) (1 << at % 8);
    usher_click_encode(text, id);

    must(usher_click_read(text, USHER_CLICK_TEXT, keys, 2, &click)
         != USHER_CLICK_OK);
    must(memcmp(&click, was, sizeof(click)) == 0);
}
