/*
 * usher_postback.c - the parameters of a postback.
 *
 * DESIGN
 *
 * Nothing is copied but values that the map names, and those are never longer
 * than what they were written as.  Names are compared as they are decoded,
 * byte by byte, so a name needs no room.
 */


#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "usher_json.h"
#include "usher_postback.h"


static usher_postback_status_e usher_postback_form_one(
    usher_postback_t *postback, const usher_postback_map_t *map,
    const unsigned char *name, const unsigned char *stop,
    unsigned char **room);
static usher_postback_status_e usher_postback_json_one(
    usher_postback_t *postback, const usher_postback_map_t *map,
    const usher_json_value_t *name, const usher_json_value_t *value,
    unsigned char **room);
static int usher_postback_named(const usher_postback_text_t *name,
    const unsigned char *p, const unsigned char *end);
static int usher_postback_byte(const unsigned char **p,
    const unsigned char *end);
static int usher_postback_digit(unsigned char c);


const char *const  usher_postback_names[USHER_POSTBACK_FIELDS] = {
    "click_id",
    "transaction_id",
    "status",
    "amount",
    "sale_amount",
    "currency",
    "customer",
    "coupon",
    "status_time",
    "event_id",
    "subscription",
    "parent_id"
};


usher_postback_status_e
usher_postback_form(usher_postback_t *postback,
    const usher_postback_map_t *map, const unsigned char *text, size_t len,
    unsigned char **room)
{
    const unsigned char      *p, *end, *stop;
    usher_postback_status_e   rc;

    end = text + len;

    for (p = text; p < end; p = stop + 1) {
        stop = memchr(p, '&', (size_t) (end - p));

        if (stop == NULL) {
            stop = end;
        }

        rc = usher_postback_form_one(postback, map, p, stop, room);

        if (rc != USHER_POSTBACK_OK || stop == end) {
            return rc;
        }
    }

    return USHER_POSTBACK_OK;
}


static usher_postback_status_e
usher_postback_form_one(usher_postback_t *postback,
    const usher_postback_map_t *map, const unsigned char *name,
    const unsigned char *stop, unsigned char **room)
{
    unsigned               i;
    const unsigned char   *equals, *value;
    usher_postback_text_t  text;

    equals = memchr(name, '=', (size_t) (stop - name));
    value = equals ? equals + 1 : stop;

    if (equals == NULL) {
        equals = stop;
    }

    text.data = NULL;

    for (i = 0; i < USHER_POSTBACK_FIELDS; i++) {

        if (!usher_postback_named(&map->names[i], name, equals)) {
            continue;
        }

        if (postback->seen & 1U << i) {
            return USHER_POSTBACK_AMBIGUOUS;
        }

        /* two fields may be one parameter */

        if (text.data == NULL) {
            text.data = *room;
            text.len = usher_postback_decode(*room, value,
                                             (size_t) (stop - value));
            *room += text.len;
        }

        postback->seen |= 1U << i;
        postback->values[i] = text;
    }

    return USHER_POSTBACK_OK;
}


usher_postback_status_e
usher_postback_json(usher_postback_t *postback,
    const usher_postback_map_t *map, const unsigned char *text, size_t len,
    unsigned char **room)
{
    int                      rc;
    usher_json_t             json;
    usher_json_value_t       name, value;
    usher_postback_status_e  status;

    usher_json_init(&json, text, len);

    for ( ;; ) {
        rc = usher_json_next(&json, &name, &value);

        if (rc <= 0) {
            return rc == 0 ? USHER_POSTBACK_OK : USHER_POSTBACK_MALFORMED;
        }

        status = usher_postback_json_one(postback, map, &name, &value, room);

        if (status != USHER_POSTBACK_OK) {
            return status;
        }
    }
}


static usher_postback_status_e
usher_postback_json_one(usher_postback_t *postback,
    const usher_postback_map_t *map, const usher_json_value_t *name,
    const usher_json_value_t *value, unsigned char **room)
{
    unsigned                      i;
    usher_json_value_t            first;
    usher_postback_text_t         text;
    const usher_postback_text_t  *n;

    text.data = NULL;

    for (i = 0; i < USHER_POSTBACK_FIELDS; i++) {
        n = &map->names[i];

        if (n->len == 0 || !usher_json_is(name, n->data, n->len)) {
            continue;
        }

        if (postback->seen & 1U << i) {
            return USHER_POSTBACK_AMBIGUOUS;
        }

        if (text.data == NULL) {
            text.data = *room;
            text.len = 0;

            if (value->type == USHER_JSON_ARRAY
                && usher_json_first(value, &first))
            {
                value = &first;
            }

            if (value->type == USHER_JSON_STRING) {
                text.len = usher_json_text(*room, value);

            } else if (value->type == USHER_JSON_NUMBER) {
                memcpy(*room, value->data, value->len);
                text.len = value->len;
            }

            *room += text.len;
        }

        postback->seen |= 1U << i;
        postback->values[i] = text;
    }

    return USHER_POSTBACK_OK;
}


void
usher_postback_parent(usher_postback_t *postback, const unsigned char *back,
    size_t len)
{
    usher_postback_text_t  *values;

    values = postback->values;

    if (values[USHER_POSTBACK_PARENT_ID].len == 0
        || !usher_postback_among(&values[USHER_POSTBACK_STATUS], back, len))
    {
        return;
    }

    if (values[USHER_POSTBACK_EVENT_ID].len == 0) {
        values[USHER_POSTBACK_EVENT_ID]
            = values[USHER_POSTBACK_TRANSACTION_ID];
    }

    values[USHER_POSTBACK_TRANSACTION_ID] = values[USHER_POSTBACK_PARENT_ID];
}


int
usher_postback_among(const usher_postback_text_t *word,
    const unsigned char *list, size_t len)
{
    size_t                i;
    unsigned char         c;
    const unsigned char  *p, *end, *stop;

    end = list + len;

    for (p = list; p < end; p = stop + 1) {
        stop = memchr(p, '|', (size_t) (end - p));

        if (stop == NULL) {
            stop = end;
        }

        if ((size_t) (stop - p) != word->len) {
            continue;
        }

        for (i = 0; i < word->len; i++) {
            c = word->data[i];

            if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != p[i]) {
                break;
            }
        }

        if (i == word->len) {
            return 1;
        }
    }

    return 0;
}


int
usher_postback_find(const unsigned char *text, size_t len,
    const usher_postback_text_t *name, usher_postback_text_t *value,
    usher_postback_text_t pieces[2])
{
    unsigned              found;
    const unsigned char  *p, *end, *stop, *equals;

    end = text + len;
    found = 0;

    pieces[0].data = text;
    pieces[0].len = len;
    pieces[1].data = end;
    pieces[1].len = 0;

    for (p = text; p < end; p = stop + 1) {
        stop = memchr(p, '&', (size_t) (end - p));

        if (stop == NULL) {
            stop = end;
        }

        equals = memchr(p, '=', (size_t) (stop - p));

        if (usher_postback_named(name, p, equals ? equals : stop)) {

            if (found++) {
                return -1;
            }

            value->data = equals ? equals + 1 : stop;
            value->len = (size_t) (stop - value->data);

            /* the & before it goes, or the one behind the first */

            pieces[0].len = (size_t) (p - text) - (p > text);
            pieces[1].data = p > text || stop == end ? stop : stop + 1;
            pieces[1].len = (size_t) (end - pieces[1].data);
        }

        if (stop == end) {
            break;
        }
    }

    return (int) found;
}


size_t
usher_postback_decode(unsigned char *dst, const unsigned char *src, size_t len)
{
    unsigned char        *p;
    const unsigned char  *end;

    p = dst;
    end = src + len;

    while (src < end) {
        *p++ = (unsigned char) usher_postback_byte(&src, end);
    }

    return (size_t) (p - dst);
}


/* Whether what is encoded from p to end is the name. */

static int
usher_postback_named(const usher_postback_text_t *name, const unsigned char *p,
    const unsigned char *end)
{
    size_t  i;

    if (name->len == 0) {
        return 0;
    }

    for (i = 0; i < name->len; i++) {
        if (p == end || usher_postback_byte(&p, end) != name->data[i]) {
            return 0;
        }
    }

    return p == end;
}


/* The byte at *p, decoded; it is there. */

static int
usher_postback_byte(const unsigned char **p, const unsigned char *end)
{
    int            high, low;
    unsigned char  c;

    c = *(*p)++;

    if (c == '+') {
        return ' ';
    }

    if (c != '%' || end - *p < 2) {
        return c;
    }

    high = usher_postback_digit((*p)[0]);
    low = usher_postback_digit((*p)[1]);

    if (high < 0 || low < 0) {
        return c;
    }

    *p += 2;

    return high << 4 | low;
}


static int
usher_postback_digit(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}


int
usher_postback_digest(const usher_postback_t *postback, const char *origin,
    unsigned char digest[USHER_POSTBACK_DIGEST])
{
    int                    rc;
    unsigned               i;
    EVP_MD_CTX            *ctx;
    unsigned char          head[4];
    usher_postback_text_t  text;

    ctx = EVP_MD_CTX_new();

    if (ctx == NULL) {
        return -1;
    }

    rc = EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

    for (i = 1; i <= USHER_POSTBACK_SAID + 1 && rc == 1; i++) {

        if (i <= USHER_POSTBACK_SAID) {
            text = postback->values[i % USHER_POSTBACK_SAID];

        } else {
            text.data = (const unsigned char *) origin;
            text.len = strlen(origin);
        }

        head[0] = (unsigned char) (text.len >> 24);
        head[1] = (unsigned char) (text.len >> 16);
        head[2] = (unsigned char) (text.len >> 8);
        head[3] = (unsigned char) text.len;

        rc = EVP_DigestUpdate(ctx, head, 4);

        if (rc == 1 && text.len) {
            rc = EVP_DigestUpdate(ctx, text.data, text.len);
        }
    }

    if (rc == 1) {
        rc = EVP_DigestFinal_ex(ctx, digest, NULL);
    }

    EVP_MD_CTX_free(ctx);

    return rc == 1 ? 0 : -1;
}


int
usher_postback_is(const unsigned char *text, size_t len,
    const unsigned char digest[USHER_POSTBACK_DIGEST])
{
    unsigned char  own[EVP_MAX_MD_SIZE];

    return EVP_Digest(text, len, own, NULL, EVP_sha256(), NULL) == 1
           && CRYPTO_memcmp(own, digest, USHER_POSTBACK_DIGEST) == 0;
}
