/*
 * click_list.c - any bytes as a cookie: what is taken was signed and is
 * written as it was read, and there is room for what is added.
 */


#include <string.h>

#include "usher_click_list.h"

#include "fuzz.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t              i, n, m;
    unsigned char       id[USHER_CLICK_TEXT], text[512];
    unsigned char       out[USHER_CLICK_LIST_TEXT];
    usher_click_t       click;
    usher_click_key_t   key;
    usher_click_list_t  list, again;

    must(usher_click_key(&key, 3, "one", 3) == 0);

    (void) usher_click_list_read(&list, data, size, &key, 1);
    must(list.n <= USHER_CLICK_LIST);

    /* each byte adds an id; with some of the input between them */

    for (i = 0; i < size && i < 64; i++) {
        click.time = (uint32_t) (1000 + (data[i] >> 4));
        click.link = data[i] & 0x0f;
        click.counter = (uint32_t) i;

        must(usher_click_make(id, &key, &click) == 0);
        usher_click_list_add(&list, id, &click, data[0]);

        must(list.n >= 1 && list.n <= USHER_CLICK_LIST);
        must(memcmp(list.ids[list.n - 1], id, USHER_CLICK_TEXT) == 0);
    }

    n = (size_t) (usher_click_list_write(out, &list) - out);
    must(n <= USHER_CLICK_LIST_TEXT);

    must(usher_click_list_read(&again, out, n, &key, 1)
         == (list.n ? USHER_CLICK_OK : USHER_CLICK_MALFORMED));
    must(again.n == list.n);
    must(memcmp(again.ids, list.ids, list.n * USHER_CLICK_TEXT) == 0);

    m = size < sizeof(text) - n ? size : sizeof(text) - n;
    memcpy(text, out, n);
    memcpy(text + n, data, m);

    (void) usher_click_list_read(&again, text, n + m, &key, 1);
    must(again.n <= USHER_CLICK_LIST);

    return 0;
}
