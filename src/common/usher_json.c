/*
 * usher_json.c - the members of a JSON object.
 *
 * DESIGN
 *
 * A value is skipped without recursion: what is open is counted, and kept as
 * one bit each, object or array.  A string is checked when it is skipped, so
 * that whoever reads it later finds whole escapes only.
 */


#include <stdint.h>
#include <string.h>

#include "usher_json.h"


/* What is open: bit 0 is the innermost, 1: an object. */
typedef struct {
    uint32_t  objects;
    unsigned  depth;
} usher_json_open_t;


static void usher_json_blank(usher_json_t *json);
static int usher_json_byte(usher_json_t *json, unsigned char c);
static int usher_json_name(usher_json_t *json, usher_json_value_t *name);
static int usher_json_value(usher_json_t *json, usher_json_value_t *value);
static int usher_json_nested(usher_json_t *json);
static int usher_json_open(usher_json_t *json, usher_json_open_t *open);
static int usher_json_close(usher_json_t *json, usher_json_open_t *open);
static int usher_json_scalar(usher_json_t *json, usher_json_value_t *value);
static int usher_json_string(usher_json_t *json);
static int usher_json_number(usher_json_t *json);
static int usher_json_digits(usher_json_t *json);
static int usher_json_word(usher_json_t *json);
static int usher_json_hex(const unsigned char *p);
static size_t usher_json_step(const unsigned char *p, size_t len,
    unsigned char out[4], size_t *n);
static size_t usher_json_unicode(const unsigned char *p, size_t len,
    unsigned char out[4], size_t *n);
static size_t usher_json_utf8(unsigned char out[4], unsigned code);


void
usher_json_init(usher_json_t *json, const unsigned char *text, size_t len)
{
    json->pos = text;
    json->end = text + len;
    json->begun = 0;
}


int
usher_json_next(usher_json_t *json, usher_json_value_t *name,
    usher_json_value_t *value)
{
    int  more;

    if (!json->begun) {
        usher_json_blank(json);

        if (!usher_json_byte(json, '{')) {
            return -1;
        }

        usher_json_blank(json);
        more = !usher_json_byte(json, '}');
        json->begun = 1;

    } else {
        usher_json_blank(json);
        more = usher_json_byte(json, ',');

        if (!more && !usher_json_byte(json, '}')) {
            return -1;
        }

        usher_json_blank(json);
    }

    if (!more) {
        usher_json_blank(json);
        return json->pos == json->end ? 0 : -1;
    }

    if (usher_json_name(json, name) != 0) {
        return -1;
    }

    return usher_json_value(json, value) == 0 ? 1 : -1;
}


int
usher_json_first(const usher_json_value_t *array, usher_json_value_t *element)
{
    usher_json_t  json;

    usher_json_init(&json, array->data, array->len);

    json.pos++;
    usher_json_blank(&json);

    return !usher_json_byte(&json, ']')
           && usher_json_value(&json, element) == 0;
}


size_t
usher_json_text(unsigned char *dst, const usher_json_value_t *value)
{
    size_t         n, at, len;
    unsigned char  out[4];

    len = 0;

    for (at = 0; at < value->len; /* void */) {
        at += usher_json_step(value->data + at, value->len - at, out, &n);
        memcpy(dst + len, out, n);
        len += n;
    }

    return len;
}


int
usher_json_is(const usher_json_value_t *value, const void *text, size_t len)
{
    size_t                n, at, done;
    unsigned char         out[4];
    const unsigned char  *p = text;

    done = 0;

    for (at = 0; at < value->len; /* void */) {
        at += usher_json_step(value->data + at, value->len - at, out, &n);

        if (n > len - done || memcmp(p + done, out, n) != 0) {
            return 0;
        }

        done += n;
    }

    return done == len;
}


static void
usher_json_blank(usher_json_t *json)
{
    while (json->pos < json->end
           && (*json->pos == ' ' || *json->pos == '\t' || *json->pos == '\n'
               || *json->pos == '\r'))
    {
        json->pos++;
    }
}


/* Takes this byte: 1 if it is the next. */

static int
usher_json_byte(usher_json_t *json, unsigned char c)
{
    if (json->pos == json->end || *json->pos != c) {
        return 0;
    }

    json->pos++;

    return 1;
}


/* A name, its colon, and the blanks behind it. */

static int
usher_json_name(usher_json_t *json, usher_json_value_t *name)
{
    name->type = USHER_JSON_STRING;
    name->data = json->pos + 1;

    if (usher_json_string(json) != 0) {
        return -1;
    }

    name->len = (size_t) (json->pos - 1 - name->data);

    usher_json_blank(json);

    if (!usher_json_byte(json, ':')) {
        return -1;
    }

    usher_json_blank(json);

    return 0;
}


static int
usher_json_value(usher_json_t *json, usher_json_value_t *value)
{
    const unsigned char  *start;

    start = json->pos;

    if (start == json->end) {
        return -1;
    }

    if (*start != '{' && *start != '[') {
        return usher_json_scalar(json, value);
    }

    if (usher_json_nested(json) != 0) {
        return -1;
    }

    value->type = *start == '{' ? USHER_JSON_OBJECT : USHER_JSON_ARRAY;
    value->data = start;
    value->len = (size_t) (json->pos - start);

    return 0;
}


/* An object or an array, to its end. */

static int
usher_json_nested(usher_json_t *json)
{
    int                 rc;
    usher_json_open_t   open;
    usher_json_value_t  value;

    open.objects = 0;
    open.depth = 0;

    for ( ;; ) {

        /* where a value stands */

        if (json->pos < json->end
            && (*json->pos == '{' || *json->pos == '['))
        {
            rc = usher_json_open(json, &open);

            if (rc < 0) {
                return -1;
            }

            if (rc > 0) {
                continue;
            }

        } else if (usher_json_scalar(json, &value) != 0) {
            return -1;
        }

        /* and behind one */

        rc = usher_json_close(json, &open);

        if (rc <= 0) {
            return rc;
        }
    }
}


/* 1: a value is next; 0: it was empty, and is closed again; -1. */

static int
usher_json_open(usher_json_t *json, usher_json_open_t *open)
{
    int                 object;
    usher_json_value_t  name;

    if (open->depth == USHER_JSON_DEPTH) {
        return -1;
    }

    object = *json->pos++ == '{';

    usher_json_blank(json);

    if (usher_json_byte(json, object ? '}' : ']')) {
        return 0;
    }

    open->objects = open->objects << 1 | (unsigned) object;
    open->depth++;

    return !object || usher_json_name(json, &name) == 0 ? 1 : -1;
}


/* 1: another value is next; 0: all is closed; -1. */

static int
usher_json_close(usher_json_t *json, usher_json_open_t *open)
{
    int                 object;
    usher_json_value_t  name;

    while (open->depth) {
        object = open->objects & 1;

        usher_json_blank(json);

        if (usher_json_byte(json, ',')) {
            usher_json_blank(json);
            return !object || usher_json_name(json, &name) == 0 ? 1 : -1;
        }

        if (!usher_json_byte(json, object ? '}' : ']')) {
            return -1;
        }

        open->objects >>= 1;
        open->depth--;
    }

    return 0;
}


static int
usher_json_scalar(usher_json_t *json, usher_json_value_t *value)
{
    int  rc;

    if (json->pos == json->end) {
        return -1;
    }

    value->data = json->pos;

    if (*json->pos == '"') {
        rc = usher_json_string(json);

        value->type = USHER_JSON_STRING;
        value->data++;
        value->len = (size_t) (json->pos - value->data) - (rc == 0);

        return rc;
    }

    if (*json->pos == '-' || (*json->pos >= '0' && *json->pos <= '9')) {
        value->type = USHER_JSON_NUMBER;
        rc = usher_json_number(json);

    } else {
        value->type = USHER_JSON_WORD;
        rc = usher_json_word(json);
    }

    value->len = (size_t) (json->pos - value->data);

    return rc;
}


/* From quote to quote. */

static int
usher_json_string(usher_json_t *json)
{
    unsigned char  c;

    if (!usher_json_byte(json, '"')) {
        return -1;
    }

    while (json->pos < json->end) {
        c = *json->pos++;

        if (c == '"') {
            return 0;
        }

        if (c < 0x20) {
            return -1;
        }

        if (c != '\\') {
            continue;
        }

        if (json->pos == json->end) {
            return -1;
        }

        c = *json->pos++;

        if (c == 'u') {

            if (json->end - json->pos < 4 || usher_json_hex(json->pos) < 0) {
                return -1;
            }

            json->pos += 4;

        } else if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL) {
            return -1;
        }
    }

    return -1;
}


static int
usher_json_number(usher_json_t *json)
{
    (void) usher_json_byte(json, '-');

    if (!usher_json_byte(json, '0') && usher_json_digits(json) != 0) {
        return -1;
    }

    if (usher_json_byte(json, '.') && usher_json_digits(json) != 0) {
        return -1;
    }

    if (usher_json_byte(json, 'e') || usher_json_byte(json, 'E')) {

        if (!usher_json_byte(json, '+')) {
            (void) usher_json_byte(json, '-');
        }

        return usher_json_digits(json);
    }

    return 0;
}


static int
usher_json_digits(usher_json_t *json)
{
    const unsigned char  *start;

    start = json->pos;

    while (json->pos < json->end && *json->pos >= '0' && *json->pos <= '9') {
        json->pos++;
    }

    return json->pos > start ? 0 : -1;
}


static int
usher_json_word(usher_json_t *json)
{
    size_t    i, len;

    static const char  *words[] = { "true", "false", "null" };

    for (i = 0; i < 3; i++) {
        len = strlen(words[i]);

        if ((size_t) (json->end - json->pos) >= len
            && memcmp(json->pos, words[i], len) == 0)
        {
            json->pos += len;
            return 0;
        }
    }

    return -1;
}


/* Four digits, or -1. */

static int
usher_json_hex(const unsigned char *p)
{
    int       value;
    unsigned  i;

    value = 0;

    for (i = 0; i < 4; i++, p++) {
        value <<= 4;

        if (*p >= '0' && *p <= '9') {
            value |= *p - '0';

        } else if ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'f') {
            value |= (*p | 0x20) - 'a' + 10;

        } else {
            return -1;
        }
    }

    return value;
}


/*
 * One byte or escape of a string that was checked: what it says goes to out,
 * never more than it takes itself, which is returned.
 */

static size_t
usher_json_step(const unsigned char *p, size_t len, unsigned char out[4],
    size_t *n)
{
    const char  *at;

    static const char  from[] = "bfnrt";
    static const char  to[] = "\b\f\n\r\t";

    *n = 1;
    out[0] = p[0];

    if (p[0] != '\\' || len < 2) {
        return 1;
    }

    if (p[1] == 'u') {
        return usher_json_unicode(p, len, out, n);
    }

    at = strchr(from, p[1]);
    out[0] = at && p[1] ? (unsigned char) to[at - from] : p[1];

    return 2;
}


static size_t
usher_json_unicode(const unsigned char *p, size_t len, unsigned char out[4],
    size_t *n)
{
    int       low;
    size_t    taken;
    unsigned  code;

    code = (unsigned) usher_json_hex(p + 2);
    taken = 6;

    if (code >= 0xd800 && code <= 0xdbff && len >= 12 && p[6] == '\\'
        && p[7] == 'u')
    {
        low = usher_json_hex(p + 8);

        if (low >= 0xdc00 && low <= 0xdfff) {
            code = 0x10000 + ((code - 0xd800) << 10)
                   + ((unsigned) low - 0xdc00);
            taken = 12;
        }
    }

    if (code >= 0xd800 && code <= 0xdfff) {
        code = 0xfffd;
    }

    *n = usher_json_utf8(out, code);

    return taken;
}


static size_t
usher_json_utf8(unsigned char out[4], unsigned code)
{
    if (code < 0x80) {
        out[0] = (unsigned char) code;
        return 1;
    }

    if (code < 0x800) {
        out[0] = (unsigned char) (0xc0 | code >> 6);
        out[1] = (unsigned char) (0x80 | (code & 0x3f));
        return 2;
    }

    if (code < 0x10000) {
        out[0] = (unsigned char) (0xe0 | code >> 12);
        out[1] = (unsigned char) (0x80 | (code >> 6 & 0x3f));
        out[2] = (unsigned char) (0x80 | (code & 0x3f));
        return 3;
    }

    out[0] = (unsigned char) (0xf0 | code >> 18);
    out[1] = (unsigned char) (0x80 | (code >> 12 & 0x3f));
    out[2] = (unsigned char) (0x80 | (code >> 6 & 0x3f));
    out[3] = (unsigned char) (0x80 | (code & 0x3f));

    return 4;
}
