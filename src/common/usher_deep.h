/*
 * usher_deep.h - deep links: a click that names the page it wants to reach.
 *
 *     /go/shop?to=https%3A%2F%2Fwww.shop.example%2Fp%3Fid%3D7
 *
 * DESIGN
 *
 * The page is the visitor's text, and a visitor is never sent where nobody
 * allowed it: it is decoded once, as any argument is, parsed as strictly as
 * usher_url.h does, and its host held against a list.  A listed host says
 * nothing about its other ports: they may be somebody else's.  What does not
 * stand is refused, never mended; two arguments "to" are no URL.
 *
 * It takes its place in the target of the link in one of two ways.  Where a
 * network has a parameter for it, the target stays, and that parameter is the
 * page.  Where there is none, the page itself is where the visitor goes, with
 * the parameters of the target added to it, in which the link's sub-ids are.
 * Of two parameters of one name it is the link's that stays, so that no page
 * brings a sub-id along.
 */


#ifndef USHER_DEEP_H
#define USHER_DEEP_H


#include <stddef.h>

#include "usher_url.h"


#define USHER_DEEP_MAX  2048    /* bytes of a page's URL, as of a target's */


typedef enum {
    USHER_DEEP_NONE = 0,    /* there is no argument "to" */
    USHER_DEEP_OK,
    USHER_DEEP_LINK,        /* it is no URL, or there are several */
    USHER_DEEP_HOST         /* its host, or its port, is not allowed */
} usher_deep_status_e;


typedef struct {
    usher_url_text_t  page;        /* the URL, decoded; of USHER_DEEP_OK */
    usher_url_text_t  host;        /* a part of it */
    usher_url_text_t  rest;        /* the arguments but "to" */
} usher_deep_t;


/*
 * Looks for the argument "to", in small letters, also where some of it is
 * given as %XX, in the len bytes of arguments at args, and holds it against
 * hosts, a list as of usher_url_host_allowed().  buf has room for len bytes;
 * what is put into *deep lies there, or, where nothing was taken out, in args.
 * No text may be NULL, here and below.
 */
usher_deep_status_e usher_deep_read(unsigned char *buf,
    const unsigned char *args, size_t len, const usher_url_text_t *hosts,
    usher_deep_t *deep);

/* The most that usher_deep_place() writes for texts of these lengths. */
#define usher_deep_max(target, name, page)                                    \
    ((target) + usher_url_encoded_max(name) + usher_url_encoded_max(page) + 2)

/*
 * Writes where to go to dst: target with page in its parameter name or, if
 * name is empty, page with the parameters of target.  Both must be URLs that
 * usher_url_parse() takes.  Returns the end, or NULL if it would go beyond
 * end.
 */
unsigned char *usher_deep_place(unsigned char *dst, unsigned char *end,
    const usher_url_text_t *target, const usher_url_text_t *name,
    const usher_url_text_t *page);


#endif
