/*
 * click_list.c - lists of ids of clicks: what is read, what stays when one is
 * added, what is written.
 */


#include "usher_click_list.h"

#include "tap.h"


static void check_read(void);
static void check_add(void);
static void check_full(void);
static void id(unsigned char *text, unsigned key, uint32_t time,
    uint32_t link);
static const char *add(usher_click_list_t *list, uint32_t time, uint32_t link,
    unsigned long max_age);
static usher_click_status_e read_list(usher_click_list_t *list,
    const char *text);


static usher_click_key_t  keys[2];     /* the second is not known */


int
main(void)
{
    usher_click_key(&keys[0], 3, "one", 3);
    usher_click_key(&keys[1], 4, "two", 3);

    check_read();
    check_add();
    check_full();

    return tap_done();
}


static void
check_read(void)
{
    size_t              n;
    unsigned char      *p;
    usher_click_list_t  list;
    char                a[33], b[33], other[33], text[512];
    unsigned char       out[USHER_CLICK_LIST_TEXT];

    memset(a, 0, sizeof(a));
    memset(b, 0, sizeof(b));
    memset(other, 0, sizeof(other));

    id((unsigned char *) a, 0, 100, 1);
    id((unsigned char *) b, 0, 200, 2);
    id((unsigned char *) other, 1, 200, 2);

    snprintf(text, sizeof(text), "%s.%s", a, b);
    ok(read_list(&list, text) == USHER_CLICK_OK && list.n == 2, "two ids");
    ok(list.clicks[0].link == 1 && list.clicks[1].time == 200,
       "with what they say");

    p = usher_click_list_write(out, &list);
    n = (size_t) (p - out);
    ok(n == strlen(text) && memcmp(out, text, n) == 0, "written as they were");

    snprintf(text, sizeof(text), "%s.%s..%s.x.%s", a, other, a, b);
    ok(read_list(&list, text) == USHER_CLICK_OK && list.n == 2
       && memcmp(list.ids[1], b, 32) == 0,
       "each once, and no other");

    ok(read_list(&list, other) == USHER_CLICK_NO_KEY && list.n == 0,
       "a key that is not known");

    snprintf(text, sizeof(text), "x.%s", a);
    text[33] = text[33] == 'a' ? 'b' : 'a';
    ok(read_list(&list, text) == USHER_CLICK_FORGED, "forged");
    ok(read_list(&list, "session") == USHER_CLICK_MALFORMED, "no id");
    ok(read_list(&list, "") == USHER_CLICK_MALFORMED, "nothing");

    snprintf(text, sizeof(text), "%s.%s.%s.%s.%s.%s.%s.%s", a, a, a, a, a, a,
             a, a);
    ok(read_list(&list, text) == USHER_CLICK_OK && list.n == 1, "one again");
    strcat(text, ".");
    ok(read_list(&list, text) == USHER_CLICK_MALFORMED && list.n == 0,
       "longer than a list");
}


static void
check_add(void)
{
    usher_click_list_t  list;

    memset(&list, 0, sizeof(list));

    ok(strcmp(add(&list, 100, 1, 1000), "1@100") == 0, "the first");
    ok(strcmp(add(&list, 200, 2, 1000), "1@100 2@200") == 0, "a second");
    ok(strcmp(add(&list, 300, 1, 1000), "1@100 2@200 1@300") == 0,
       "of one link two");
    ok(strcmp(add(&list, 400, 1, 1000), "1@100 2@200 1@400") == 0,
       "the first and the last");
    ok(strcmp(add(&list, 400, 1, 1000), "1@100 2@200 1@400") == 0,
       "the same again");
    ok(strcmp(add(&list, 1100, 3, 1000), "1@100 2@200 1@400 3@1100") == 0,
       "as old as may be");
    ok(strcmp(add(&list, 1201, 3, 1000), "1@400 3@1100 3@1201") == 0,
       "and older");
    ok(strcmp(add(&list, 1000, 4, 1), "3@1100 3@1201 4@1000") == 0,
       "a clock behind");
    ok(strcmp(add(&list, UINT32_MAX, 5, 10), "5@4294967295") == 0,
       "all of them older");
}


static void
check_full(void)
{
    uint32_t            i;
    usher_click_list_t  list;

    memset(&list, 0, sizeof(list));

    for (i = 1; i < USHER_CLICK_LIST; i++) {
        add(&list, i, i, 1000);
    }

    ok(strcmp(add(&list, 8, 8, 1000), "1@1 2@2 3@3 4@4 5@5 6@6 7@7 8@8") == 0,
       "full");
    ok(strcmp(add(&list, 9, 9, 1000), "1@1 3@3 4@4 5@5 6@6 7@7 8@8 9@9") == 0,
       "the oldest but one goes");
}


static void
id(unsigned char *text, unsigned key, uint32_t time, uint32_t link)
{
    usher_click_t  click;

    click.time = time;
    click.link = link;
    click.counter = 7;

    usher_click_make(text, &keys[key], &click);
}


/* Adds one; the list as text. */

static const char *
add(usher_click_list_t *list, uint32_t time, uint32_t link,
    unsigned long max_age)
{
    int            n;
    size_t         i;
    unsigned char  text[USHER_CLICK_TEXT];
    usher_click_t  click;

    static char  said[512];

    id(text, 0, time, link);
    click.time = time;
    click.link = link;

    usher_click_list_add(list, text, &click, max_age);

    n = 0;

    for (i = 0; i < list->n; i++) {
        n += snprintf(said + n, sizeof(said) - (size_t) n, "%s%u@%u",
                      i ? " " : "", (unsigned) list->clicks[i].link,
                      (unsigned) list->clicks[i].time);
    }

    return said;
}


static usher_click_status_e
read_list(usher_click_list_t *list, const char *text)
{
    return usher_click_list_read(list, (const unsigned char *) text,
                                 strlen(text), keys, 1);
}
