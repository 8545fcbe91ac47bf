/*
 * json.c - objects that are read, and texts that are none.
 */


#include "usher_json.h"

#include "tap.h"


static void check_members(void);
static void check_strings(void);
static void check_good(void);
static void check_bad(void);
static void check_depth(void);
static int walk(const char *text, size_t len);


static const char  *good[] = {
    "{}", " { } ", "{\"\":0}", "{\"a\":-0.5e+10}", "{\"a\":1E5,\"a\":2}",
    "\t{\r\n\"a\" : [ ] , \"b\" : { } }\n",
    "{\"a\":[1,[2,{\"b\":[]}],\"x\"],\"c\":{\"d\":{\"e\":null}}}",
    "{\"a\":true,\"b\":false,\"c\":null}",
    "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"}",
    "{\"a\":\"\x7f\xff\"}"
};

static const char  *bad[] = {
    "", " ", "{", "}", "[]", "1", "\"a\"", "null", "{}{}", "{} x", "{,}",
    "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}",
    "{\"a\":1", "{\"a\":1]", "{\"a\":[1}", "{\"a\":[1,]}", "{\"a\":[,1]}",
    "{\"a\":{\"b\"}}", "{\"a\":{\"b\":1,}}", "{\"a\":[1 2]}",
    "{\"a\":01}", "{\"a\":.5}", "{\"a\":5.}", "{\"a\":1e}", "{\"a\":+1}",
    "{\"a\":-}", "{\"a\":0x1}", "{\"a\":1e+}", "{\"a\":NaN}",
    "{\"a\":tru}", "{\"a\":nul", "{\"a\":True}",
    "{\"a\":\"}", "{\"a\":\"\\\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}",
    "{\"a\":\"\\u12g4\"}", "{\"a\":\"\\", "{\"a\":\"\\u123", "{\"a\":\"\n\"}",
    "{\"a\":\"\x01\"}", "{\"a\":'x'}", "{/**/}", "\xef\xbb\xbf{}"
};


int
main(void)
{
    check_members();
    check_strings();
    check_good();
    check_bad();
    check_depth();

    return tap_done();
}


static void
check_members(void)
{
    usher_json_t        json;
    usher_json_value_t  name, value, first;

    static const char  text[] =
        "{ \"n\" : 12.50 ,\"s\":\"x\", \"l\":[ \"y\" ,2],"
        "\"e\":[ ],\"o\":{\"p\":[]},\"w\":true}";

    usher_json_init(&json, (const unsigned char *) text, sizeof(text) - 1);

    ok(usher_json_next(&json, &name, &value) == 1
       && name.len == 1 && name.data[0] == 'n'
       && value.type == USHER_JSON_NUMBER && value.len == 5
       && memcmp(value.data, "12.50", 5) == 0, "a number, to its last zero");
    ok(usher_json_next(&json, &name, &value) == 1
       && value.type == USHER_JSON_STRING && value.len == 1
       && value.data[0] == 'x', "a string without quotes");
    ok(usher_json_next(&json, &name, &value) == 1
       && value.type == USHER_JSON_ARRAY && usher_json_first(&value, &first)
       && first.type == USHER_JSON_STRING && usher_json_is(&first, "y", 1),
       "the first of an array");
    ok(usher_json_next(&json, &name, &value) == 1
       && !usher_json_first(&value, &first), "which may be empty");
    ok(usher_json_next(&json, &name, &value) == 1
       && value.type == USHER_JSON_OBJECT && value.len == 8, "an object");
    ok(usher_json_next(&json, &name, &value) == 1
       && value.type == USHER_JSON_WORD && value.len == 4, "a word");
    ok(usher_json_next(&json, &name, &value) == 0, "the end");
}


static void
check_strings(void)
{
    size_t              n, i;
    unsigned char       out[64];
    usher_json_value_t  value;

    static const struct {
        const char  *text;
        const char  *says;
        size_t       len;
    } list[] = {
        { "plain", "plain", 5 },
        { "\\\"\\\\\\/", "\"\\/", 3 },
        { "\\b\\f\\n\\r\\t", "\b\f\n\r\t", 5 },
        { "\\u0041\\u00e9\\u20AC", "A\xc3\xa9\xe2\x82\xac", 6 },
        { "\\ud83d\\ude00", "\xf0\x9f\x98\x80", 4 },
        { "\\ud83d", "\xef\xbf\xbd", 3 },
        { "\\ude00x", "\xef\xbf\xbdx", 4 },
        { "\\ud83d\\u0041", "\xef\xbf\xbd" "A", 4 },
        { "a\\u0000b", "a\0b", 3 },
        { "\xff", "\xff", 1 },
        { "", "", 0 }
    };

    for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        value.type = USHER_JSON_STRING;
        value.data = (const unsigned char *) list[i].text;
        value.len = strlen(list[i].text);

        n = usher_json_text(out, &value);
        ok(n == list[i].len && memcmp(out, list[i].says, n) == 0,
           "%s says it", list[i].text);
        ok(usher_json_is(&value, list[i].says, list[i].len)
           && !usher_json_is(&value, list[i].says, list[i].len + 1)
           && !usher_json_is(&value, "q", 1), "and nothing else");
    }
}


static void
check_good(void)
{
    size_t  i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ok(walk(good[i], strlen(good[i])) >= 0, "read: %.40s", good[i]);
    }
}


static void
check_bad(void)
{
    size_t  i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok(walk(bad[i], strlen(bad[i])) == -1, "no object, %u", (unsigned) i);
    }

    ok(walk("{\"a\":1\0}", 8) == -1, "nor with a NUL");
    ok(walk("{\"a\":\"\\\0\"}", 10) == -1, "nor with an escaped one");
}


static void
check_depth(void)
{
    char    text[6 + 2 * USHER_JSON_DEPTH + 2];
    size_t  n;

    for (n = USHER_JSON_DEPTH; n <= USHER_JSON_DEPTH + 1; n++) {
        memcpy(text, "{\"a\":", 5);
        memset(text + 5, '[', n);
        memset(text + 5 + n, ']', n);
        text[5 + 2 * n] = '}';

        ok(walk(text, 6 + 2 * n) == (n > USHER_JSON_DEPTH ? -1 : 1),
           "%u deep", (unsigned) n);
    }
}


/* The number of members, or -1; of a copy that ends where it ends. */

static int
walk(const char *text, size_t len)
{
    int                  rc, n;
    unsigned char       *copy;
    usher_json_t         json;
    usher_json_value_t   name, value;

    copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    usher_json_init(&json, copy, len);

    n = 0;

    while ((rc = usher_json_next(&json, &name, &value)) > 0) {
        n++;
    }

    free(copy);

    return rc == 0 ? n : -1;
}
