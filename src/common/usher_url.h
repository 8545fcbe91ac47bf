/*
 * usher_url.h - the URLs that visitors are sent to: strict parsing, and what
 * is added to them.
 *
 *     <http|https>://<host>[:<port>][/<path>][?<query>][#<fragment>]
 *
 * DESIGN
 *
 * A browser reads a URL by the WHATWG's rules, which mend a lot: backslashes
 * are slashes, tabs vanish, "https:evil" and "https:///evil" have a host,
 * 0x7f.1 is an address.  So nothing passes here that it would mend: of what
 * is taken, RFC 3986 and a browser find the same host (t/link_url.t asks
 * one).  What it refuses nevertheless goes nowhere: an xn-- label that does
 * not decode.
 *
 * Nothing is decoded and nothing is changed: a percent sign and two digits
 * stay as they are, also %00 and %0d%0a, which mean nothing to a header.
 */


#ifndef USHER_URL_H
#define USHER_URL_H


#include <stddef.h>


#define USHER_URL_HOST_MAX   253    /* bytes of a name, final dot aside */
#define USHER_URL_LABEL_MAX  63

/* The longest that n bytes may become by usher_url_encode(). */
#define usher_url_encoded_max(n)  (3 * (n))


typedef enum {
    USHER_URL_OK = 0,
    USHER_URL_LONG,         /* longer than it may be */
    USHER_URL_BYTE,         /* a byte that must be given as %XX */
    USHER_URL_PERCENT,      /* a percent sign without two hex digits */
    USHER_URL_SCHEME,       /* not http:// or https:// */
    USHER_URL_USER,         /* an @ before the path */
    USHER_URL_HOST,         /* no name, IPv4 or [IPv6] address */
    USHER_URL_PORT          /* not 1 to 65535 */
} usher_url_status_e;


/* Bytes that somebody else owns.  data may be NULL if len is 0. */
typedef struct {
    const unsigned char  *data;
    size_t                len;
} usher_url_text_t;

/* A piece of a URL; at is 0 if the URL has none. */
typedef struct {
    size_t                at;          /* bytes before it */
    size_t                len;
} usher_url_part_t;

typedef struct {
    unsigned              tls;         /* 1: https */
    unsigned              port;        /* 80 or 443 if none is named */
    usher_url_part_t      host;        /* as written; IPv6 with brackets */
    usher_url_part_t      path;        /* with its slash */
    usher_url_part_t      query;       /* without ?; may be there and empty */
    usher_url_part_t      fragment;    /* without #; as well */
} usher_url_t;


/*
 * Parses len bytes at text, of which there may be max.  *url is filled only
 * if that is USHER_URL_OK.
 *
 * Neither controls, blanks, quotes, backslashes, <, >, {, }, ` nor bytes
 * above ASCII may stand anywhere.  A name has labels of letters, digits and
 * hyphens, which neither begin nor end with a hyphen, and may end with a dot.
 * A host whose last label is a number is four decimal numbers up to 255
 * without leading zeros.
 */
usher_url_status_e usher_url_parse(const unsigned char *text, size_t len,
    size_t max, usher_url_t *url);

/*
 * Whether len bytes at text may stand in a URL behind its host:
 * USHER_URL_OK; or _BYTE or _PERCENT, and *at is where.
 */
usher_url_status_e usher_url_bytes(const unsigned char *text, size_t len,
    size_t *at);

/* In words, for a log. */
const char *usher_url_reason(usher_url_status_e status);

/*
 * Whether the host of a URL that was parsed is in a list of entries with
 * blanks between them: "host", itself, or "*.host", with one label or more
 * before it, and never the bare host.  The case of letters and a final dot of
 * the host do not matter.  An empty list allows nothing.
 */
int usher_url_host_allowed(const unsigned char *host, size_t len,
    const unsigned char *list, size_t list_len);

/*
 * Writes len bytes of anything at src to dst, all but the unreserved ones
 * (RFC 3986, 2.3: letters, digits, - . _ ~) as %XX in upper case: never a
 * byte that means something to a URL, a header or HTML.  Returns the end, or
 * NULL if it would go beyond end: then nothing was written.
 */
unsigned char *usher_url_encode(unsigned char *dst, unsigned char *end,
    const unsigned char *src, size_t len);

/*
 * Writes url with name=value added to its query to dst: behind ? or &, before
 * the fragment, both encoded.  url must be one that usher_url_parse() takes.
 * Returns the end, or NULL if it would go beyond end.
 */
unsigned char *usher_url_add(unsigned char *dst, unsigned char *end,
    const usher_url_text_t *url, const usher_url_text_t *name,
    const usher_url_text_t *value);


#endif
