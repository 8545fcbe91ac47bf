/*
 * usher_macro.h - URLs with macros in them, as targets of links are written:
 *
 *     https://shop.example/p?id={product}&sub={click_id}
 *
 * DESIGN
 *
 * A target is compiled once, when its record is read, and expanded for each
 * click.  The compiled form is bytes without pointers, so that it can lie in
 * shared memory:
 *
 *     1 ... 127    so many bytes of text follow
 *     128 + n      the value of macro n
 *
 * What is expanded cannot leave its place: all but RFC 3986's unreserved
 * characters become %XX, a percent sign of the text has both its digits in
 * the text, and no macro may stand before the path: a visitor who chooses
 * {sub1} chooses neither the host nor another parameter.
 * But a segment of the path that is nothing but a value may be "..", which
 * browsers resolve.
 *
 * A brace begins or ends a macro and nothing else; in a URL it must be given
 * as %7B or %7D.
 */


#ifndef USHER_MACRO_H
#define USHER_MACRO_H


#include <stddef.h>
#include <stdint.h>

#include "usher_url.h"


/* Compiled forms have the place in this list: a new one comes last. */
#define USHER_MACROS(_)                                                       \
    _(CLICK_ID, "click_id")          /* the signed id, usher_click.h */       \
    _(LINK, "link")                  /* number */                             \
    _(CAMPAIGN, "campaign")          /* name, as are the next four */         \
    _(PRODUCT, "product")                                                     \
    _(PROGRAM, "program")                                                     \
    _(NETWORK, "network")                                                     \
    _(PARTNER, "partner")                                                     \
    _(SUB1, "sub1")                  /* what the visitor's link came with */  \
    _(SUB2, "sub2")                                                           \
    _(SUB3, "sub3")                                                           \
    _(SUB4, "sub4")                                                           \
    _(SUB5, "sub5")                                                           \
    _(COUNTRY, "country")            /* ISO 3166, two letters */              \
    _(DEVICE, "device")                                                       \
    _(OS, "os")                                                               \
    _(LANG, "lang")                                                           \
    _(REFERRER_HOST, "referrer_host")                                         \
    _(TIME, "time")                  /* seconds since the epoch */            \
    _(SLUG, "slug")


#define USHER_MACRO_ENUM(name, text)  USHER_MACRO_##name,

typedef enum {
    USHER_MACROS(USHER_MACRO_ENUM)
    USHER_MACROS_N
} usher_macro_e;

#undef USHER_MACRO_ENUM


typedef enum {
    USHER_MACRO_OK = 0,
    USHER_MACRO_UNKNOWN,    /* no macro has this name */
    USHER_MACRO_OPEN,       /* a brace that is not closed */
    USHER_MACRO_BYTE,       /* as USHER_URL_BYTE, a closing brace as well */
    USHER_MACRO_PERCENT,    /* as USHER_URL_PERCENT */
    USHER_MACRO_BASE,       /* no URL with a host before the first macro */
    USHER_MACRO_ROOM        /* does not fit into dst */
} usher_macro_status_e;


/* What n bytes of text may at most be when compiled. */
#define usher_macro_compiled_max(n)  ((n) + (n) / 127 + 1)

/*
 * Compiles len bytes at text into the *size bytes at dst, and sets *size to
 * what was used.  If that is not USHER_MACRO_OK, *at is where in the text it
 * went wrong, and *size is left alone.
 */
usher_macro_status_e usher_macro_compile(unsigned char *dst, size_t *size,
    const unsigned char *text, size_t len, size_t *at);

/* In words, for a log. */
const char *usher_macro_reason(usher_macro_status_e status);

/* Bit n is set if macro n is in the len bytes of compiled form at code. */
uint32_t usher_macro_used(const unsigned char *code, size_t len);

/*
 * The longest that usher_macro_expand() may write with these values, read by
 * their length only; SIZE_MAX if nothing is enough.
 */
size_t usher_macro_max(const unsigned char *code, size_t len,
    const usher_url_text_t values[USHER_MACROS_N]);

/*
 * Writes the len bytes of compiled form at code to dst, with the values of
 * its macros encoded: bytes of any sort.  Returns the end, or NULL if it
 * would go beyond end, or code was not made by usher_macro_compile().
 */
unsigned char *usher_macro_expand(unsigned char *dst, unsigned char *end,
    const unsigned char *code, size_t len,
    const usher_url_text_t values[USHER_MACROS_N]);


#endif
