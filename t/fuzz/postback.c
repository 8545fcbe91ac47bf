/*
 * postback.c - any bytes as a query, an object, a notification: nothing is
 * read or written beyond its room, what is taken was there, and of what is
 * signed each byte counts.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_json.h"
#include "usher_postback.h"

#include "fuzz.h"


static void list(const unsigned char *text, size_t len, int object);
static void find(const unsigned char *text, size_t len);
static void proofs(const unsigned char *text, size_t len);
static void members(const unsigned char *text, size_t len);


static const unsigned char  name[] = "abcdefgh";

static const usher_postback_text_t  one = { name, 1 };


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char  inside[600];

    if (size > 512) {
        return 0;
    }

    list(data, size, 0);
    list(data, size, 1);
    find(data, size);
    proofs(data, size);
    members(data, size);

    /* most of these are no objects; this one begins like one */

    memcpy(inside, "{\"a\":", 5);
    memcpy(inside + 5, data, size);
    inside[size + 5] = '}';

    list(inside, size + 6, 1);
    members(inside, size + 6);

    return 0;
}


static void
list(const unsigned char *text, size_t len, int object)
{
    unsigned                  i;
    unsigned char            *room, *p;
    usher_postback_t          got;
    usher_postback_map_t      map;
    usher_postback_status_e   rc;

    for (i = 0; i < USHER_POSTBACK_FIELDS; i++) {
        map.names[i].data = name + i / 2;
        map.names[i].len = 1;
    }

    room = malloc(len ? len : 1);
    must(room != NULL);
    p = room;
    memset(&got, 0, sizeof(got));

    rc = object ? usher_postback_json(&got, &map, text, len, &p)
                : usher_postback_form(&got, &map, text, len, &p);

    must(rc == USHER_POSTBACK_OK || rc == USHER_POSTBACK_AMBIGUOUS
         || rc == USHER_POSTBACK_MALFORMED);
    must(object || rc != USHER_POSTBACK_MALFORMED);
    must(p >= room && (size_t) (p - room) <= len);

    for (i = 0; i < USHER_POSTBACK_FIELDS; i++) {
        must(got.seen & 1U << i || got.values[i].len == 0);

        if (got.values[i].len) {
            must(got.values[i].data >= room);
            must(got.values[i].data + got.values[i].len <= p);
        }
    }

    free(room);
}


/* What is left, what was found and its name are the whole. */

static void
find(const unsigned char *text, size_t len)
{
    int                    rc;
    usher_postback_text_t  value, pieces[2];
    unsigned char         *rest;

    value.data = NULL;
    value.len = 0;
    rc = usher_postback_find(text, len, &one, &value, pieces);

    if (rc < 0) {
        return;
    }

    must(pieces[0].data == text);
    must(pieces[1].data + pieces[1].len == text + len);

    if (rc == 0) {
        must(pieces[0].len == len && pieces[1].len == 0);
        return;
    }

    must(pieces[0].len + pieces[1].len + value.len < len);
    must(value.data >= text && value.data + value.len <= text + len);

    /* and it is not in the rest */

    rest = malloc(len);
    must(rest != NULL);
    memcpy(rest, text, pieces[0].len);
    memcpy(rest + pieces[0].len, pieces[1].data, pieces[1].len);
    must(usher_postback_find(rest, pieces[0].len + pieces[1].len, &one,
                             &value, pieces) == 0);
    free(rest);
}


static void
proofs(const unsigned char *text, size_t len)
{
    size_t          n;
    unsigned        i;
    unsigned char  *room;

    room = malloc(len ? len : 1);
    must(room != NULL);

    for (i = 0; i <= USHER_POSTBACK_MD5; i++) {
        must(usher_postback_hmac(i, &one, i & 1, text, len, name, 3)
             != USHER_POSTBACK_OK);
    }

    must(usher_postback_sha_sign(text, len, name, 3, room)
         != USHER_POSTBACK_OK);

    if (usher_postback_ins(text, len, name, 3, room, &n)
        == USHER_POSTBACK_OK)
    {
        must(n <= len);
    }

    free(room);
}


static void
members(const unsigned char *text, size_t len)
{
    int                  rc;
    unsigned char       *out;
    usher_json_t         json;
    usher_json_value_t   key, value, first;

    usher_json_init(&json, text, len);

    out = malloc(len ? len : 1);
    must(out != NULL);

    while ((rc = usher_json_next(&json, &key, &value)) > 0) {
        must(value.data >= text && value.data + value.len <= text + len);
        must(usher_json_text(out, &key) <= key.len);
        must(usher_json_is(&key, out, usher_json_text(out, &key)));

        if (value.type == USHER_JSON_ARRAY
            && usher_json_first(&value, &first))
        {
            must(first.data > value.data);
            must(first.data + first.len < value.data + value.len);
        }
    }

    must(rc == 0 || rc == -1);
    free(out);
}
