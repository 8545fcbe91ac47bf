/*
 * usher_macro.c - compiles and expands the macros of a URL.
 */


#include <string.h>

#include "usher_macro.h"


#define USHER_MACRO_RUN    0x7f     /* bytes of text behind one length */
#define USHER_MACRO_VALUE  0x80     /* the bit of a macro */


static usher_macro_status_e usher_macro_base(const unsigned char *text,
    size_t len, size_t *at);
static size_t usher_macro_brace(const unsigned char *text, size_t len);
static unsigned char *usher_macro_text(unsigned char *dst, unsigned char *end,
    const unsigned char *text, size_t len);
static int usher_macro_number(const unsigned char *name, size_t len);


#define USHER_MACRO_NAME(name, text)  { text, sizeof(text) - 1 },

static const struct {
    const char  *name;
    size_t       len;
} usher_macro_names[] = {
    USHER_MACROS(USHER_MACRO_NAME)
};

#undef USHER_MACRO_NAME


usher_macro_status_e
usher_macro_compile(unsigned char *dst, size_t *size,
    const unsigned char *text, size_t len, size_t *at)
{
    int                 n;
    size_t              i, run, bad;
    unsigned char      *start, *end;
    usher_url_status_e  rc;

    start = dst;
    end = dst + *size;

    for (i = 0; i < len; i += run) {
        *at = i;

        if (text[i] == '{') {

            run = 1 + usher_macro_brace(text + i + 1, len - i - 1);

            if (i + run == len || text[i + run] != '}') {
                return USHER_MACRO_OPEN;
            }

            n = usher_macro_number(text + i + 1, run - 1);
            if (n < 0) {
                return USHER_MACRO_UNKNOWN;
            }

            if (dst == end) {
                return USHER_MACRO_ROOM;
            }

            *dst++ = (unsigned char) (USHER_MACRO_VALUE | n);
            run++;
            continue;
        }

        run = usher_macro_brace(text + i, len - i);

        if (run == 0) {
            return USHER_MACRO_BYTE;
        }

        rc = usher_url_bytes(text + i, run, &bad);
        if (rc != USHER_URL_OK) {
            *at = i + bad;
            return rc == USHER_URL_PERCENT ? USHER_MACRO_PERCENT
                                           : USHER_MACRO_BYTE;
        }

        dst = usher_macro_text(dst, end, text + i, run);
        if (dst == NULL) {
            return USHER_MACRO_ROOM;
        }
    }

    if (usher_macro_base(text, len, at) != USHER_MACRO_OK) {
        return USHER_MACRO_BASE;
    }

    *size = (size_t) (dst - start);

    return USHER_MACRO_OK;
}


const char *
usher_macro_reason(usher_macro_status_e status)
{
    switch (status) {

    case USHER_MACRO_OK:
        return "ok";

    case USHER_MACRO_UNKNOWN:
        return "an unknown macro";

    case USHER_MACRO_OPEN:
        return "a brace that is not closed";

    case USHER_MACRO_BYTE:
        return usher_url_reason(USHER_URL_BYTE);

    case USHER_MACRO_PERCENT:
        return usher_url_reason(USHER_URL_PERCENT);

    case USHER_MACRO_BASE:
        return "no http or https URL up to its path before the first macro";

    case USHER_MACRO_ROOM:
        return "too long";
    }

    return "unknown";
}


uint32_t
usher_macro_used(const unsigned char *code, size_t len)
{
    size_t    i;
    uint32_t  used;

    used = 0;

    for (i = 0; i < len; i++) {

        if (!(code[i] & USHER_MACRO_VALUE)) {
            i += code[i];
            continue;
        }

        if ((code[i] & USHER_MACRO_RUN) < USHER_MACROS_N) {
            used |= (uint32_t) 1 << (code[i] & USHER_MACRO_RUN);
        }
    }

    return used;
}


size_t
usher_macro_max(const unsigned char *code, size_t len,
    const usher_url_text_t values[USHER_MACROS_N])
{
    size_t  i, n, max;

    max = 0;

    for (i = 0; i < len; i++) {
        n = code[i] & USHER_MACRO_RUN;

        if (!(code[i] & USHER_MACRO_VALUE)) {
            i += n;

        } else if (n >= USHER_MACROS_N || values[n].len > SIZE_MAX / 3) {
            return SIZE_MAX;

        } else {
            n = usher_url_encoded_max(values[n].len);
        }

        if (n > SIZE_MAX - max) {
            return SIZE_MAX;
        }

        max += n;
    }

    return max;
}


unsigned char *
usher_macro_expand(unsigned char *dst, unsigned char *end,
    const unsigned char *code, size_t len,
    const usher_url_text_t values[USHER_MACROS_N])
{
    size_t                n;
    const unsigned char  *last;

    last = code + len;

    while (code < last) {
        n = *code & USHER_MACRO_RUN;

        if (*code++ & USHER_MACRO_VALUE) {

            if (n >= USHER_MACROS_N) {
                return NULL;
            }

            dst = usher_url_encode(dst, end, values[n].data, values[n].len);
            if (dst == NULL) {
                return NULL;
            }

            continue;
        }

        if (n > (size_t) (last - code) || n > (size_t) (end - dst)) {
            return NULL;
        }

        memcpy(dst, code, n);
        dst += n;
        code += n;
    }

    return dst;
}


/* The host is chosen before the first macro, if there is one. */

static usher_macro_status_e
usher_macro_base(const unsigned char *text, size_t len, size_t *at)
{
    size_t       n;
    usher_url_t  url;

    n = usher_macro_brace(text, len);
    *at = n;

    if (usher_url_parse(text, n, n, &url) != USHER_URL_OK) {
        return USHER_MACRO_BASE;
    }

    if (n < len && !url.path.at && !url.query.at && !url.fragment.at) {
        return USHER_MACRO_BASE;
    }

    return USHER_MACRO_OK;
}


/* Bytes before the first brace. */

static size_t
usher_macro_brace(const unsigned char *text, size_t len)
{
    size_t  i;

    for (i = 0; i < len && text[i] != '{' && text[i] != '}'; i++) {
        /* void */
    }

    return i;
}


/* Text in runs; NULL if they do not fit. */

static unsigned char *
usher_macro_text(unsigned char *dst, unsigned char *end,
    const unsigned char *text, size_t len)
{
    size_t  n;

    while (len) {
        n = len < USHER_MACRO_RUN ? len : USHER_MACRO_RUN;

        if (n + 1 > (size_t) (end - dst)) {
            return NULL;
        }

        *dst++ = (unsigned char) n;
        memcpy(dst, text, n);

        dst += n;
        text += n;
        len -= n;
    }

    return dst;
}


/* -1 if no macro has this name. */

static int
usher_macro_number(const unsigned char *name, size_t len)
{
    int  n;

    for (n = 0; n < USHER_MACROS_N; n++) {
        if (usher_macro_names[n].len == len
            && memcmp(usher_macro_names[n].name, name, len) == 0)
        {
            return n;
        }
    }

    return -1;
}
