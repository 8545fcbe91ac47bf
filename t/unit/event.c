/*
 * event.c - the encoder: what COPY will read, at every limit.
 */


#include <time.h>

#include "usher_event.h"

#include "tap.h"


#define FFFD  "\xef\xbf\xbd"


static void text(const char *src, size_t len, size_t limit, const char *want,
    unsigned want_flags, const char *what);
static void check_text(void);
static void check_limits(void);
static void check_time(void);
static void check_kinds(void);


int
main(void)
{
    unsigned char  out[16], *end;

    check_text();
    check_limits();
    check_time();
    check_kinds();

    end = usher_event_bytes(out, (const unsigned char *) "\x00\xff\\", 3);
    ok(end == out + 9 && memcmp(out, "\\\\x00ff5c", 9) == 0, "bytea");

    end = usher_event_bytes(out, (const unsigned char *) "", 0);
    ok(end == out + 3 && memcmp(out, "\\\\x", 3) == 0, "an empty bytea");

    return tap_done();
}


/* Source and room are exact heap blocks, for the sanitizer. */

static void
text(const char *src, size_t len, size_t limit, const char *want,
    unsigned want_flags, const char *what)
{
    unsigned        flags;
    unsigned char  *in, *out, *end;

    flags = 0;
    in = malloc(len ? len : 1);
    out = malloc(limit ? 2 * limit : 1);

    if (in == NULL || out == NULL) {
        abort();
    }

    memcpy(in, src, len);
    end = usher_event_text(out, in, len, limit, &flags);

    ok((size_t) (end - out) == strlen(want)
       && memcmp(out, want, strlen(want)) == 0 && flags == want_flags,
       "%s (flags %u)", what, flags);

    free(in);
    free(out);
}


#define T(src, limit, want, flags, what)                                      \
    text(src, sizeof(src) - 1, limit, want, flags, what)


static void
check_text(void)
{
    T("", 10, "", 0, "nothing");
    T("", 0, "", 0, "nothing into nothing");
    T("a", 0, "", USHER_EVENT_CUT, "something into nothing");
    T("/plain/path?with=query&and=more", 100,
      "/plain/path?with=query&and=more", 0, "plain ASCII");
    T("a\\b", 10, "a\\\\b", 0, "backslash");
    T("\\.", 10, "\\\\.", 0, "no end-of-data mark");
    T("\\N", 10, "\\\\N", 0, "no null");
    T("\t\n\r\b\f\v", 10, "\\t\\n\\r\\b\\f\\v", 0, "controls COPY knows");
    T("\x01\x1f\x7f", 10, "\x01\x1f\x7f", 0, "controls it does not");
    T("a\0b", 10, "a" FFFD "b", USHER_EVENT_MANGLED, "NUL");
    T("1234567\t12345678\\1234567", 100, "1234567\\t12345678\\\\1234567", 0,
      "escapes at the edges of words");
    T("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 100,
      "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 0, "UTF-8");
    T("\xff\x80", 10, FFFD FFFD, USHER_EVENT_MANGLED, "stray bytes");
    T("\xc0\x80", 10, FFFD FFFD, USHER_EVENT_MANGLED, "an overlong NUL");
    T("\xed\xa0\x80", 10, FFFD FFFD FFFD, USHER_EVENT_MANGLED, "a surrogate");
    T("\xf4\x90\x80\x80", 20, FFFD FFFD FFFD FFFD, USHER_EVENT_MANGLED,
      "above U+10FFFF");
    T("\xe2\x82", 10, FFFD, USHER_EVENT_MANGLED, "a character broken off");
    T("\xe2\x82" "a", 10, FFFD "a", USHER_EVENT_MANGLED, "and one broken by");
}


static void
check_limits(void)
{
    size_t         i, len, limit, bad;
    unsigned       flags;
    unsigned char  in[40], out[80], *end;

    T("12345678", 8, "12345678", 0, "exactly the limit");
    T("123456789", 8, "12345678", USHER_EVENT_CUT, "one above");
    T("\t\t\t", 2, "\\t\\t", USHER_EVENT_CUT, "escapes do not count");
    T("ab\xe2\x82\xac", 4, "ab", USHER_EVENT_CUT, "cut before a character");
    T("ab\xff", 4, "ab", USHER_EVENT_CUT, "no room for U+FFFD");

    /* whatever comes in: never past the room, clean, and stable */

    bad = 0;

    for (i = 0; i < 200000; i++) {
        len = i % 40;
        limit = i / 40 % 40;
        tap_fill(in, len, i);
        memset(out, 'x', sizeof(out));

        flags = 0;
        end = usher_event_text(out, in, len, limit, &flags);

        bad += (size_t) (end - out) > 2 * limit;
        bad += memchr(out, '\t', (size_t) (end - out)) != NULL;
        bad += memchr(out, '\n', (size_t) (end - out)) != NULL;
        bad += memchr(out, '\0', (size_t) (end - out)) != NULL;

        for ( /* void */ ; end < out + sizeof(out); end++) {
            bad += end >= out + 2 * limit && *end != 'x';
        }
    }

    ok(bad == 0, "random bytes at random limits");
}


static void
check_time(void)
{
    char           want[64];
    size_t         bad, i;
    time_t         t;
    int64_t        msec;
    struct tm      tm;
    unsigned char  out[USHER_EVENT_TIME], *end;

    end = usher_event_time(out, 0);
    ok(end == out + USHER_EVENT_TIME
       && memcmp(out, "1970-01-01 00:00:00.000+00", 26) == 0, "the epoch");

    usher_event_time(out, -5);
    ok(memcmp(out, "1970-01-01 00:00:00.000+00", 26) == 0, "before it");

    usher_event_time(out, INT64_MAX);
    ok(memcmp(out, "9999-12-31 23:59:59.999+00", 26) == 0, "after year 9999");

    usher_event_time(out, 951827696789LL);
    ok(memcmp(out, "2000-02-29 12:34:56.789+00", 26) == 0, "a leap day");

    bad = 0;

    for (i = 0; i < 100000; i++) {
        msec = (int64_t) (i * 2534023007LL);
        t = (time_t) (msec / 1000);
        gmtime_r(&t, &tm);
        snprintf(want, sizeof(want), "%04d-%02d-%02d %02d:%02d:%02d.%03d+00",
                 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                 tm.tm_min, tm.tm_sec, (int) (msec % 1000));
        usher_event_time(out, msec);
        bad += memcmp(out, want, USHER_EVENT_TIME) != 0;
    }

    ok(bad == 0, "as gmtime from 1970 to 9999");
}


static void
check_kinds(void)
{
    unsigned                   n;
    const char                *p;
    const usher_event_kind_t  *k;

    for (k = usher_event_kinds(); k->kind; k++) {
        n = 1;

        for (p = k->columns; *p; p++) {
            n += *p == ',';
        }

        ok(n == k->ncolumns && usher_event_kind(k->kind, k->version) == k,
           "kind %c%c has %u columns", k->kind, k->version, n);
        ok(!k->unique == (k->key_table == NULL)
           && !k->unique == (k->key_columns == NULL)
           && (k->unique || k->again == NULL),
           "and keys where it is unique");
    }

    ok(usher_event_kind('r', '9') == NULL, "an unknown version");
    ok(usher_event_kind('~', '1') == NULL, "an unknown kind");
    ok(usher_event_kind(0, 0) == NULL, "the end mark is no kind");
}
