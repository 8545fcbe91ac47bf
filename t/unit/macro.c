/*
 * macro.c - targets with macros: what compiles, what it becomes, refusals.
 */


#include "usher_macro.h"

#include "tap.h"


#define BASE  "https://a.example/"


static void check_expand(void);
static void check_names(void);
static void check_refused(void);
static void check_room(void);
static void check_long(void);
static void check_foreign(void);
static usher_macro_status_e compile(unsigned char *code, size_t *size,
    const char *text, size_t *at);
static int expands(const char *text, const char *want);
static void set(usher_macro_e macro, const char *value);


static usher_url_text_t  values[USHER_MACROS_N];


#define NAME(name, text)  text,
static const char *const  names[] = { USHER_MACROS(NAME) };
#undef NAME


int
main(void)
{
    check_expand();
    check_names();
    check_refused();
    check_room();
    check_long();
    check_foreign();

    return tap_done();
}


static void
check_expand(void)
{
    set(USHER_MACRO_CLICK_ID, "cvuvloiaaaa6eqh63s5jryin435i3qp2");
    set(USHER_MACRO_SUB1, "a b&c=d#/?%\r\nSet-Cookie: x\"'<\\\xff\xc3\xbc");
    set(USHER_MACRO_SUB2, "-._~AZaz09");
    set(USHER_MACRO_SUB3, "%41{sub2}");

    ok(expands("https://a.example", "https://a.example"), "no macro, no path");
    ok(expands("HTTP://[::1]:81/?x#y", "HTTP://[::1]:81/?x#y"),
       "no macro, all parts");
    ok(expands(BASE "?c={click_id}&x=1",
               BASE "?c=cvuvloiaaaa6eqh63s5jryin435i3qp2&x=1"),
       "in the query");
    ok(expands(BASE "{sub2}/{sub2}", BASE "-._~AZaz09/-._~AZaz09"),
       "in the path, twice, and at the end");
    ok(expands("https://a.example?{sub2}{sub2}#{sub2}",
               "https://a.example?-._~AZaz09-._~AZaz09#-._~AZaz09"),
       "side by side, and in the fragment");
    ok(expands(BASE "?{sub1}", BASE "?a%20b%26c%3Dd%23%2F%3F%25%0D%0A"
               "Set-Cookie%3A%20x%22%27%3C%5C%FF%C3%BC"),
       "what means something is encoded");
    ok(expands(BASE "{sub3}", BASE "%2541%7Bsub2%7D"),
       "a value is not expanded again");
    ok(expands(BASE "x{sub5}y", BASE "xy"), "a value that is empty");
    ok(expands(BASE "%7B%7D%41", BASE "%7B%7D%41"), "braces of a URL");
}


static void
check_names(void)
{
    int                   i;
    char                  text[100], want[100], value[20];
    size_t                at, size;
    unsigned char         code[100];
    usher_macro_status_e  rc;

    for (i = 0; i < USHER_MACROS_N; i++) {
        snprintf(value, sizeof(value), "v%d", i);
        snprintf(text, sizeof(text), BASE "{%s}", names[i]);
        snprintf(want, sizeof(want), BASE "v%d", i);
        set((usher_macro_e) i, value);

        ok(expands(text, want), "{%s}", names[i]);
        set((usher_macro_e) i, "");

        size = sizeof(code);
        rc = compile(code, &size, text, &at);
        ok(rc == USHER_MACRO_OK
           && usher_macro_used(code, size) == (uint32_t) 1 << i,
           "and no other is used");
    }

    size = sizeof(code);
    compile(code, &size, BASE "{os}{slug}{os}~~", &at);
    ok(usher_macro_used(code, size)
       == ((uint32_t) 1 << USHER_MACRO_OS | (uint32_t) 1 << USHER_MACRO_SLUG),
       "two are used");
}


static void
check_refused(void)
{
    static const struct {
        const char           *text;
        usher_macro_status_e  status;
        size_t                at;
    } bad[] = {
        { BASE "{sub6}", USHER_MACRO_UNKNOWN, 18 },
        { BASE "{SUB1}", USHER_MACRO_UNKNOWN, 18 },
        { BASE "{sub}", USHER_MACRO_UNKNOWN, 18 },
        { BASE "{sub12}", USHER_MACRO_UNKNOWN, 18 },
        { BASE "{ sub1}", USHER_MACRO_UNKNOWN, 18 },
        { BASE "{}", USHER_MACRO_UNKNOWN, 18 },
        { BASE "{os}{", USHER_MACRO_OPEN, 22 },
        { BASE "{os", USHER_MACRO_OPEN, 18 },
        { BASE "a{os?b={os}", USHER_MACRO_OPEN, 19 },
        { BASE "{{os}}", USHER_MACRO_OPEN, 18 },
        { BASE "{os}}", USHER_MACRO_BYTE, 22 },
        { BASE "a}", USHER_MACRO_BYTE, 19 },
        { "}" BASE, USHER_MACRO_BYTE, 0 },
        { BASE "{os} ", USHER_MACRO_BYTE, 22 },
        { BASE "\r\n", USHER_MACRO_BYTE, 18 },
        { BASE "a\tb", USHER_MACRO_BYTE, 19 },
        { BASE "\x7f", USHER_MACRO_BYTE, 18 },
        { BASE "\xc3\xbc", USHER_MACRO_BYTE, 18 },
        { BASE "\"", USHER_MACRO_BYTE, 18 },
        { BASE "'", USHER_MACRO_BYTE, 18 },
        { BASE "\\", USHER_MACRO_BYTE, 18 },
        { BASE "?a=<", USHER_MACRO_BYTE, 21 },
        { BASE "%", USHER_MACRO_PERCENT, 18 },
        { BASE "%{sub1}", USHER_MACRO_PERCENT, 18 },
        { BASE "%4{sub1}", USHER_MACRO_PERCENT, 18 },
        { BASE "{os}%4", USHER_MACRO_PERCENT, 22 },
        { "", USHER_MACRO_BASE, 0 },
        { "{sub1}", USHER_MACRO_BASE, 0 },
        { "{sub1}://a.example/", USHER_MACRO_BASE, 0 },
        { "https://{sub1}/", USHER_MACRO_BASE, 8 },
        { "https://{country}.a.example/", USHER_MACRO_BASE, 8 },
        { "https://a.example{sub1}/", USHER_MACRO_BASE, 17 },
        { "https://a.example:{sub1}/", USHER_MACRO_BASE, 18 },
        { "https://a.example:8{sub1}/", USHER_MACRO_BASE, 19 },
        { "https://a.example@{sub1}/", USHER_MACRO_BASE, 18 },
        { "https://a.{sub1}@a.example/", USHER_MACRO_BASE, 10 },
        { "javascript:alert({sub1})", USHER_MACRO_BASE, 17 },
        { "javascript://a.example/%0a{sub1}", USHER_MACRO_BASE, 26 },
        { "//a.example/{sub1}", USHER_MACRO_BASE, 12 },
        { "https://127.1/", USHER_MACRO_BASE, 14 },
        { "/local", USHER_MACRO_BASE, 6 }
    };

    size_t                i, at, size;
    unsigned char         code[100];
    usher_macro_status_e  rc;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        size = sizeof(code);
        at = SIZE_MAX;
        rc = compile(code, &size, bad[i].text, &at);

        ok(rc == bad[i].status && at == bad[i].at && size == sizeof(code),
           "refused %zu: %s at %zu", i, usher_macro_reason(rc), at);
    }
}


static void
check_room(void)
{
    size_t         n, at, size, max;
    unsigned char  code[100], out[200];

    set(USHER_MACRO_SUB1, "/////");

    size = sizeof(code);
    compile(code, &size, BASE "{sub1}x", &at);
    ok(size == 1 + 18 + 1 + 1 + 1, "lengths, text, a macro");

    for (n = 0; n < size; n++) {
        max = n;

        if (compile(code, &max, BASE "{sub1}x", &at) != USHER_MACRO_ROOM) {
            break;
        }
    }

    ok(n == size, "in any room less than that it does not fit");

    max = size;
    ok(compile(code, &max, BASE "{sub1}x", &at) == USHER_MACRO_OK
       && max == size, "in so much it does");

    max = usher_macro_max(code, size, values);
    ok(max == 18 + 15 + 1, "the longest it may become");
    ok(usher_macro_expand(out, out + max, code, size, values) == out + max,
       "for which there is room");

    for (n = 0; n < max; n++) {
        if (usher_macro_expand(out, out + n, code, size, values) != NULL) {
            break;
        }
    }

    ok(n == max, "and too little in anything less");

    set(USHER_MACRO_SUB1, "abc");
    ok(usher_macro_max(code, size, values) == 18 + 9 + 1
       && usher_macro_expand(out, out + 22, code, size, values) == out + 22,
       "what is not encoded takes less");

    values[USHER_MACRO_SUB1].len = SIZE_MAX;
    ok(usher_macro_max(code, size, values) == SIZE_MAX, "nothing is enough");
    values[USHER_MACRO_SUB1].len = SIZE_MAX / 3;
    ok(usher_macro_max(code, size, values) == SIZE_MAX, "nor does it wrap");
    set(USHER_MACRO_SUB1, "");
}


/* Text longer than one length can say. */

static void
check_long(void)
{
    int     bad;
    char    text[600];
    size_t  n, at, size;

    unsigned char  code[usher_macro_compiled_max(600)];
    unsigned char  out[600];

    memset(text, 'a', sizeof(text));
    memcpy(text, BASE, sizeof(BASE) - 1);

    for (bad = 0, n = sizeof(BASE) - 1; n < sizeof(text); n++) {
        size = usher_macro_compiled_max(n);

        bad += usher_macro_compile(code, &size, (unsigned char *) text, n, &at)
               != USHER_MACRO_OK
               || usher_macro_expand(out, out + n, code, size, values)
                  != out + n
               || memcmp(out, text, n) != 0
               || usher_macro_max(code, size, values) != n
               || usher_macro_used(code, size) != 0;
    }

    ok(bad == 0, "text of any length, in the room that is said to be enough");
}


/* Forms that were not compiled here. */

static void
check_foreign(void)
{
    unsigned char  out[200];

    static const unsigned char  cut[] = { 5, 'a', 'b' };
    static const unsigned char  unknown[] = { 0x80 | USHER_MACROS_N };

    ok(usher_macro_expand(out, out + 200, cut, 3, values) == NULL,
       "text that is cut off");
    ok(usher_macro_expand(out, out + 200, unknown, 1, values) == NULL
       && usher_macro_max(unknown, 1, values) == SIZE_MAX
       && usher_macro_used(unknown, 1) == 0, "a macro that is not there");
    ok(usher_macro_expand(out, out, NULL, 0, values) == out
       && usher_macro_max(NULL, 0, values) == 0, "nothing");
}


/* On the heap without a NUL, so that a sanitizer sees a read too far. */

static usher_macro_status_e
compile(unsigned char *code, size_t *size, const char *text, size_t *at)
{
    size_t                len;
    unsigned char        *copy;
    usher_macro_status_e  rc;

    len = strlen(text);
    copy = malloc(len ? len : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, text, len);
    rc = usher_macro_compile(code, size, copy, len, at);
    free(copy);

    return rc;
}


static int
expands(const char *text, const char *want)
{
    size_t         at, size, n;
    unsigned char  code[200], out[200];

    size = sizeof(code);
    n = strlen(want);

    if (compile(code, &size, text, &at) != USHER_MACRO_OK) {
        return 0;
    }

    return usher_macro_expand(out, out + sizeof(out), code, size, values)
           == out + n
           && memcmp(out, want, n) == 0
           && usher_macro_max(code, size, values) >= n;
}


static void
set(usher_macro_e macro, const char *value)
{
    values[macro].data = (const unsigned char *) value;
    values[macro].len = strlen(value);
}
