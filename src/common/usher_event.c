/*
 * usher_event.c - writes the columns of an event, and lists the kinds.
 *
 * DESIGN
 *
 * A line is PostgreSQL's COPY text in UTF-8.  Only six control characters
 * and the backslash mean something there, and each of these becomes two
 * bytes; other control characters pass as they are; NUL and what is not
 * UTF-8 would fail the row and becomes U+FFFD.  So n bytes of mended text
 * take at most 2 * n bytes.
 *
 * Nearly all text is plain ASCII.  So it is first copied as it is, sixteen
 * bytes at a time and the last sixteen over again, and all that was copied is
 * looked at; if there is a byte that must not stay, it is written anew.
 */


#include <string.h>

#if (__SSE2__)
#include <emmintrin.h>
#endif

#include "usher_event.h"


#define USHER_EVENT_MSEC_MAX  253402300799999LL      /* end of 9999 */

#define usher_event_ones      0x0101010101010101ULL
#define usher_event_highs     0x8080808080808080ULL

/* Not zero if a byte of w is a control, a backslash or above ASCII. */
#define usher_event_odd(w)                                                    \
    (((w)                                                                     \
      | (((w) - usher_event_ones * 0x20) & ~(w))                              \
      | ((((w) ^ (usher_event_ones * '\\')) - usher_event_ones)               \
         & ~((w) ^ (usher_event_ones * '\\'))))                               \
     & usher_event_highs)

#if (__SSE2__)

/* Which of sixteen are; signed: what is above ASCII is below the blank. */
#define usher_event_odd16(v)                                                  \
    _mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(' ')),                       \
                 _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')))

#endif


static int usher_event_plain(unsigned char *dst, const unsigned char *src,
    size_t n);
static int usher_event_word(unsigned char *dst, const unsigned char *src,
    size_t n);
static unsigned char *usher_event_mend(unsigned char *dst,
    const unsigned char *src, size_t len, size_t limit, unsigned *flags);
static size_t usher_event_utf8(const unsigned char *src,
    const unsigned char *end, unsigned *good);
static unsigned char *usher_event_digits(unsigned char *dst, unsigned value,
    unsigned n);


static const usher_event_kind_t  usher_event_table[] = {

    { 'r', '1', 1, 0, 0, "usher.request", USHER_REQUEST_COLUMNS,
      NULL, NULL, NULL, USHER_REQUEST_NCOLUMNS },

    { 'c', '1', 0, 0, 0, "usher.click", USHER_CLICK_COLUMNS,
      NULL, NULL, NULL, USHER_CLICK_NCOLUMNS },

    { 'v', '1', 0, 1, 1, "usher.conversion_event", USHER_CONVERSION_COLUMNS,
      "usher.conversion_key", "postback_id, transaction_id, digest",
      "usher.conversion_again(t.postback_id, t.transaction_id, t.digest, "
      "t.event_time)", USHER_CONVERSION_NCOLUMNS },

    { 'h', '1', 0, 1, 1, "usher.hook",
      "source, delivery_id, event_time, id, headers, body, parts, flags",
      "usher.hook_key", "source, delivery_id", NULL, 8 },

    /* a piece of a body; the event that closes it waits for both */

    { 'p', '1', 0, 0, 0, "usher.part", "id, n, of, data", NULL, NULL, NULL,
      4 },

    { 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0 }
};

/* What follows the backslash: COPY's names of controls; 0: passes as it is. */
static const unsigned char  usher_event_escape[0x20] = {
    0, 0, 0, 0, 0, 0, 0, 0, 'b', 't', 'n', 'v', 'f', 'r', 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
};


const usher_event_kind_t *
usher_event_kind(char kind, char version)
{
    const usher_event_kind_t  *k;

    for (k = usher_event_table; k->kind; k++) {
        if (k->kind == kind && k->version == version) {
            return k;
        }
    }

    return NULL;
}


const usher_event_kind_t *
usher_event_kinds(void)
{
    return usher_event_table;
}


unsigned char *
usher_event_text(unsigned char *dst, const unsigned char *src, size_t len,
    size_t limit, unsigned *flags)
{
    if (len <= limit && usher_event_plain(dst, src, len)) {
        return dst + len;
    }

    return usher_event_mend(dst, src, len, limit, flags);
}


unsigned char *
usher_event_bytes(unsigned char *dst, const unsigned char *src, size_t len)
{
    static const unsigned char  hex[] = "0123456789abcdef";

    *dst++ = '\\';
    *dst++ = '\\';
    *dst++ = 'x';

    while (len--) {
        *dst++ = hex[*src >> 4];
        *dst++ = hex[*src++ & 0xf];
    }

    return dst;
}


unsigned char *
usher_event_time(unsigned char *dst, int64_t msec)
{
    unsigned  sec, days, era, doe, yoe, doy, mp, year, month, day;

    if (msec < 0) {
        msec = 0;
    }

    if (msec > USHER_EVENT_MSEC_MAX) {
        msec = USHER_EVENT_MSEC_MAX;
    }

    sec = (unsigned) (msec / 1000 % 86400);

    /* years begin in March, so that the leap day ends one; eras of 400 years */

    days = (unsigned) (msec / 86400000) + 719468;
    era = days / 146097;
    doe = days % 146097;
    yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    mp = (5 * doy + 2) / 153;
    day = doy - (153 * mp + 2) / 5 + 1;
    month = mp < 10 ? mp + 3 : mp - 9;
    year = yoe + era * 400 + (month <= 2);

    dst = usher_event_digits(dst, year, 4);
    *dst++ = '-';
    dst = usher_event_digits(dst, month, 2);
    *dst++ = '-';
    dst = usher_event_digits(dst, day, 2);
    *dst++ = ' ';
    dst = usher_event_digits(dst, sec / 3600, 2);
    *dst++ = ':';
    dst = usher_event_digits(dst, sec / 60 % 60, 2);
    *dst++ = ':';
    dst = usher_event_digits(dst, sec % 60, 2);
    *dst++ = '.';
    dst = usher_event_digits(dst, (unsigned) (msec % 1000), 3);

    memcpy(dst, "+00", 3);

    return dst + 3;
}


/* Copies n bytes; 1 if all are plain. */

static int
usher_event_plain(unsigned char *dst, const unsigned char *src, size_t n)
{
    size_t    i;
    uint64_t  w;
#if (__SSE2__)
    __m128i   v, odd;

    if (n >= 16) {
        odd = _mm_setzero_si128();

        for (i = 0; i < n; i += 16) {

            if (n - i < 16) {
                i = n - 16;
            }

            v = _mm_loadu_si128((const __m128i *) (src + i));
            _mm_storeu_si128((__m128i *) (dst + i), v);
            odd = _mm_or_si128(odd, usher_event_odd16(v));
        }

        return _mm_movemask_epi8(odd) == 0;
    }

#endif

    for (i = 0; n - i >= 8; i += 8) {
        memcpy(&w, src + i, 8);

        if (usher_event_odd(w)) {
            return 0;
        }

        memcpy(dst + i, &w, 8);
    }

    return usher_event_word(dst + i, src + i, n - i);
}


/* Copies less than eight bytes if all are plain; else returns 0. */

static int
usher_event_word(unsigned char *dst, const unsigned char *src, size_t n)
{
    uint32_t  a, b;

    if (n >= 4) {
        memcpy(&a, src, 4);
        memcpy(&b, src + n - 4, 4);

        if (usher_event_odd((uint64_t) b << 32 | a)) {
            return 0;
        }

        memcpy(dst, &a, 4);
        memcpy(dst + n - 4, &b, 4);

    } else if (n) {
        a = src[0] | (uint32_t) src[n >> 1] << 8 | (uint32_t) src[n - 1] << 16;

        if (usher_event_odd(usher_event_ones * ' ' << 24 | a)) {
            return 0;
        }

        dst[0] = src[0];
        dst[n >> 1] = src[n >> 1];
        dst[n - 1] = src[n - 1];
    }

    return 1;
}


/* The slow way: a character at a time, and eight where they are plain. */

static unsigned char *
usher_event_mend(unsigned char *dst, const unsigned char *src, size_t len,
    size_t limit, unsigned *flags)
{
    size_t                n;
    uint64_t              w;
    unsigned              good;
    const unsigned char  *end;

    end = src + len;

    while (src < end) {

        while (end - src >= 8 && limit >= 8) {
            memcpy(&w, src, 8);

            if (usher_event_odd(w)) {
                break;
            }

            memcpy(dst, &w, 8);
            dst += 8;
            src += 8;
            limit -= 8;
        }

        if (src == end) {
            break;
        }

        if (limit == 0) {
            *flags |= USHER_EVENT_CUT;
            break;
        }

        if (*src >= 0x20 && *src < 0x80) {

            if (*src == '\\') {
                *dst++ = '\\';
            }

            *dst++ = *src++;
            limit--;
            continue;
        }

        if (*src != 0 && *src < 0x20) {

            if (usher_event_escape[*src]) {
                *dst++ = '\\';
                *dst++ = usher_event_escape[*src++];

            } else {
                *dst++ = *src++;
            }

            limit--;
            continue;
        }

        n = usher_event_utf8(src, end, &good);

        if ((good ? n : 3) > limit) {
            *flags |= USHER_EVENT_CUT;
            break;
        }

        if (good) {
            memcpy(dst, src, n);
            dst += n;
            limit -= n;

        } else {
            memcpy(dst, "\xef\xbf\xbd", 3);
            dst += 3;
            limit -= 3;
            *flags |= USHER_EVENT_MANGLED;
        }

        src += n;
    }

    return dst;
}


/*
 * Bytes of the character at src, or, where there is none, of the longest
 * start of one (at least 1), which is to be replaced as a whole.
 */

static size_t
usher_event_utf8(const unsigned char *src, const unsigned char *end,
    unsigned *good)
{
    size_t         i, n;
    unsigned char  low, high;

    *good = 0;

    low = 0x80;
    high = 0xbf;

    if (*src >= 0xc2 && *src <= 0xdf) {
        n = 2;

    } else if (*src >= 0xe0 && *src <= 0xef) {
        n = 3;

        if (*src == 0xe0) {
            low = 0xa0;                 /* no overlong forms */

        } else if (*src == 0xed) {
            high = 0x9f;                /* no surrogates */
        }

    } else if (*src >= 0xf0 && *src <= 0xf4) {
        n = 4;

        if (*src == 0xf0) {
            low = 0x90;

        } else if (*src == 0xf4) {
            high = 0x8f;                /* nothing above U+10FFFF */
        }

    } else {
        return 1;
    }

    for (i = 1; i < n; i++) {

        if (src + i == end || src[i] < low || src[i] > high) {
            return i;
        }

        low = 0x80;
        high = 0xbf;
    }

    *good = 1;

    return n;
}


static unsigned char *
usher_event_digits(unsigned char *dst, unsigned value, unsigned n)
{
    unsigned  i;

    for (i = n; i > 0; i--) {
        dst[i - 1] = (unsigned char) ('0' + value % 10);
        value /= 10;
    }

    return dst + n;
}
