/*
 * usher_click_list.c - lists of ids of clicks: read, added to, written.
 */


#include <string.h>

#include "usher_click_list.h"


static int usher_click_list_has(const usher_click_list_t *list,
    const unsigned char *id);
static void usher_click_list_drop(usher_click_list_t *list, size_t i);


usher_click_status_e
usher_click_list_read(usher_click_list_t *list, const unsigned char *text,
    size_t len, const usher_click_key_t *keys, size_t nkeys)
{
    usher_click_status_e   rc;
    const unsigned char   *p, *end, *stop;

    list->n = 0;
    rc = USHER_CLICK_MALFORMED;

    if (len > USHER_CLICK_LIST_TEXT) {
        return rc;
    }

    end = text + len;

    for (p = text; p < end; p = stop + 1) {
        stop = memchr(p, '.', (size_t) (end - p));

        if (stop == NULL) {
            stop = end;
        }

        rc = usher_click_read(p, (size_t) (stop - p), keys, nkeys,
                              &list->clicks[list->n]);

        if (rc == USHER_CLICK_OK && !usher_click_list_has(list, p)) {
            memcpy(list->ids[list->n], p, USHER_CLICK_TEXT);
            list->n++;
        }
    }

    return list->n ? USHER_CLICK_OK : rc;
}


void
usher_click_list_add(usher_click_list_t *list,
    const unsigned char id[USHER_CLICK_TEXT], const usher_click_t *click,
    unsigned long max_age)
{
    size_t    i, seen;
    uint32_t  time;

    seen = 0;

    for (i = 0; i < list->n; /* void */) {
        time = list->clicks[i].time;

        if (time < click->time && click->time - time > max_age) {
            usher_click_list_drop(list, i);
            continue;
        }

        /* the first of this link stays, and the new one is its last */

        if (memcmp(list->ids[i], id, USHER_CLICK_TEXT) == 0
            || (list->clicks[i].link == click->link && seen++ > 0))
        {
            usher_click_list_drop(list, i);
            continue;
        }

        i++;
    }

    if (list->n == USHER_CLICK_LIST) {
        usher_click_list_drop(list, 1);
    }

    list->clicks[list->n] = *click;
    memcpy(list->ids[list->n], id, USHER_CLICK_TEXT);
    list->n++;
}


unsigned char *
usher_click_list_write(unsigned char *p, const usher_click_list_t *list)
{
    size_t  i;

    for (i = 0; i < list->n; i++) {

        if (i > 0) {
            *p++ = '.';
        }

        memcpy(p, list->ids[i], USHER_CLICK_TEXT);
        p += USHER_CLICK_TEXT;
    }

    return p;
}


static int
usher_click_list_has(const usher_click_list_t *list, const unsigned char *id)
{
    size_t  i;

    for (i = 0; i < list->n; i++) {
        if (memcmp(list->ids[i], id, USHER_CLICK_TEXT) == 0) {
            return 1;
        }
    }

    return 0;
}


static void
usher_click_list_drop(usher_click_list_t *list, size_t i)
{
    list->n--;

    memmove(&list->clicks[i], &list->clicks[i + 1],
            (list->n - i) * sizeof(usher_click_t));
    memmove(list->ids[i], list->ids[i + 1], (list->n - i) * USHER_CLICK_TEXT);
}
