/*
 * usher_url.c - parses URLs strictly, and adds to them.
 */


#include <arpa/inet.h>
#include <string.h>

#include "usher_url.h"


#define USHER_URL_PORT_MAX    65535

/* What a byte may be. */
#define USHER_URL_ANY         0x01    /* in a URL as it is */
#define USHER_URL_UNRESERVED  0x02    /* letters, digits, - . _ ~ */
#define USHER_URL_LDH         0x04    /* letters, digits, - */
#define USHER_URL_HEX         0x08
#define USHER_URL_DIGIT       0x10

#define usher_url_is(c, what)  (usher_url_class[c] & (what))
#define usher_url_lower(c)     ((c) >= 'A' && (c) <= 'Z' ? (c) | 0x20 : (c))


static size_t usher_url_scheme(const unsigned char *text, size_t len,
    unsigned *tls);
static usher_url_status_e usher_url_authority(const unsigned char *text,
    size_t at, size_t end, usher_url_t *url);
static int usher_url_port(const unsigned char *text, size_t len,
    unsigned *port);
static int usher_url_host(const unsigned char *host, size_t len);
static int usher_url_number(const unsigned char *label, size_t len);
static int usher_url_ipv4(const unsigned char *host, size_t len);
static int usher_url_ipv6(const unsigned char *host, size_t len);
static int usher_url_same(const unsigned char *a, const unsigned char *b,
    size_t len);
static unsigned char *usher_url_copy(unsigned char *dst, unsigned char *end,
    const unsigned char *src, size_t len);


/*
 * 1f digits; 0f A-F a-f; 07 other letters and -; 03 . _ ~; 01 ! # $ % & ( ) *
 * + , / : ; = ? @ [ ] ^ |
 */
static const unsigned char  usher_url_class[256] = {
    0,    0,    0,    0,    0,    0,    0,    0,
    0,    0,    0,    0,    0,    0,    0,    0,
    0,    0,    0,    0,    0,    0,    0,    0,
    0,    0,    0,    0,    0,    0,    0,    0,

    0,    0x01, 0,    0x01, 0x01, 0x01, 0x01, 0,
    0x01, 0x01, 0x01, 0x01, 0x01, 0x07, 0x03, 0x01,
    0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f,
    0x1f, 0x1f, 0x01, 0x01, 0,    0x01, 0,    0x01,

    0x01, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x07,
    0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07,
    0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07,
    0x07, 0x07, 0x07, 0x01, 0,    0x01, 0x01, 0x03,

    0,    0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x07,
    0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07,
    0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07,
    0x07, 0x07, 0x07, 0,    0x01, 0,    0x03, 0
};


usher_url_status_e
usher_url_parse(const unsigned char *text, size_t len, size_t max,
    usher_url_t *url)
{
    size_t              at, end;
    usher_url_t         u;
    usher_url_status_e  rc;

    if (len > max) {
        return USHER_URL_LONG;
    }

    rc = usher_url_bytes(text, len, &at);
    if (rc != USHER_URL_OK) {
        return rc;
    }

    memset(&u, 0, sizeof(u));

    at = usher_url_scheme(text, len, &u.tls);
    if (at == 0) {
        return USHER_URL_SCHEME;
    }

    for (end = at; end < len; end++) {
        if (text[end] == '/' || text[end] == '?' || text[end] == '#') {
            break;
        }
    }

    rc = usher_url_authority(text, at, end, &u);
    if (rc != USHER_URL_OK) {
        return rc;
    }

    for (at = end; at < len && text[at] != '?' && text[at] != '#'; at++) {
        /* void */
    }

    if (at > end) {
        u.path.at = end;
        u.path.len = at - end;
    }

    if (at < len && text[at] == '?') {
        u.query.at = ++at;

        while (at < len && text[at] != '#') {
            at++;
        }

        u.query.len = at - u.query.at;
    }

    if (at < len) {
        u.fragment.at = at + 1;
        u.fragment.len = len - u.fragment.at;
    }

    *url = u;

    return USHER_URL_OK;
}


usher_url_status_e
usher_url_bytes(const unsigned char *text, size_t len, size_t *at)
{
    size_t  i;

    for (i = 0; i < len; i++) {

        if (!usher_url_is(text[i], USHER_URL_ANY)) {
            *at = i;
            return USHER_URL_BYTE;
        }

        if (text[i] == '%'
            && (len - i < 3
                || !usher_url_is(text[i + 1], USHER_URL_HEX)
                || !usher_url_is(text[i + 2], USHER_URL_HEX)))
        {
            *at = i;
            return USHER_URL_PERCENT;
        }
    }

    return USHER_URL_OK;
}


const char *
usher_url_reason(usher_url_status_e status)
{
    switch (status) {

    case USHER_URL_OK:
        return "ok";

    case USHER_URL_LONG:
        return "too long";

    case USHER_URL_BYTE:
        return "a character that must be given as %XX";

    case USHER_URL_PERCENT:
        return "a percent sign without two hexadecimal digits";

    case USHER_URL_SCHEME:
        return "does not begin with http:// or https://";

    case USHER_URL_USER:
        return "an @ before the path";

    case USHER_URL_HOST:
        return "no host name or address";

    case USHER_URL_PORT:
        return "no port from 1 to 65535";
    }

    return "unknown";
}


int
usher_url_host_allowed(const unsigned char *host, size_t len,
    const unsigned char *list, size_t list_len)
{
    size_t                n;
    const unsigned char  *p, *end;

    if (len > 0 && host[len - 1] == '.') {
        len--;
    }

    end = list + list_len;

    for ( /* void */ ; list < end; list = p + 1) {

        for (p = list; p < end && *p != ' '; p++) {
            /* void */
        }

        n = (size_t) (p - list);

        if (n > 2 && list[0] == '*' && list[1] == '.') {

            /* the dot is compared as well */

            n--;

            if (len > n && usher_url_same(host + len - n, list + 1, n)) {
                return 1;
            }

        } else if (n > 0 && n == len && usher_url_same(host, list, n)) {
            return 1;
        }

        if (p == end) {
            break;
        }
    }

    return 0;
}


unsigned char *
usher_url_encode(unsigned char *dst, unsigned char *end,
    const unsigned char *src, size_t len)
{
    size_t             i, n, room;
    static const char  hex[] = "0123456789ABCDEF";

    room = (size_t) (end - dst);

    if (len > room) {
        return NULL;
    }

    if (len > room / 3) {
        n = len;

        for (i = 0; i < len; i++) {
            n += usher_url_is(src[i], USHER_URL_UNRESERVED) ? 0 : 2;
        }

        if (n > room) {
            return NULL;
        }
    }

    for (i = 0; i < len; i++) {

        if (usher_url_is(src[i], USHER_URL_UNRESERVED)) {
            *dst++ = src[i];
            continue;
        }

        *dst++ = '%';
        *dst++ = (unsigned char) hex[src[i] >> 4];
        *dst++ = (unsigned char) hex[src[i] & 0xf];
    }

    return dst;
}


unsigned char *
usher_url_add(unsigned char *dst, unsigned char *end,
    const usher_url_text_t *url, const usher_url_text_t *name,
    const usher_url_text_t *value)
{
    size_t                head;
    const unsigned char  *mark, *query, *sign;

    mark = url->len ? memchr(url->data, '#', url->len) : NULL;
    head = mark ? (size_t) (mark - url->data) : url->len;
    query = head ? memchr(url->data, '?', head) : NULL;

    if (query == NULL) {
        sign = (const unsigned char *) "?";

    } else if (query == url->data + head - 1 || url->data[head - 1] == '&') {
        sign = NULL;

    } else {
        sign = (const unsigned char *) "&";
    }

    dst = usher_url_copy(dst, end, url->data, head);

    if (dst && sign) {
        dst = usher_url_copy(dst, end, sign, 1);
    }

    if (dst) {
        dst = usher_url_encode(dst, end, name->data, name->len);
    }

    if (dst) {
        dst = usher_url_copy(dst, end, (const unsigned char *) "=", 1);
    }

    if (dst) {
        dst = usher_url_encode(dst, end, value->data, value->len);
    }

    if (dst && mark) {
        dst = usher_url_copy(dst, end, mark, url->len - head);
    }

    return dst;
}


/* Bytes of the scheme and its slashes; 0 if it is another. */

static size_t
usher_url_scheme(const unsigned char *text, size_t len, unsigned *tls)
{
    static const unsigned char  http[] = "http://";
    static const unsigned char  https[] = "https://";

    if (len >= sizeof(https) - 1
        && usher_url_same(text, https, sizeof(https) - 1))
    {
        *tls = 1;
        return sizeof(https) - 1;
    }

    if (len >= sizeof(http) - 1
        && usher_url_same(text, http, sizeof(http) - 1))
    {
        *tls = 0;
        return sizeof(http) - 1;
    }

    return 0;
}


/* Host and port, which stand from at to end. */

static usher_url_status_e
usher_url_authority(const unsigned char *text, size_t at, size_t end,
    usher_url_t *url)
{
    size_t  i, n;

    for (i = at; i < end; i++) {
        if (text[i] == '@') {
            return USHER_URL_USER;
        }
    }

    if (at < end && text[at] == '[') {

        for (i = at; i < end && text[i] != ']'; i++) {
            /* void */
        }

        if (i == end) {
            return USHER_URL_HOST;
        }

        n = ++i - at;

        if (!usher_url_ipv6(text + at, n)) {
            return USHER_URL_HOST;
        }

    } else {

        for (i = at; i < end && text[i] != ':'; i++) {
            /* void */
        }

        n = i - at;

        if (!usher_url_host(text + at, n)) {
            return USHER_URL_HOST;
        }
    }

    url->host.at = at;
    url->host.len = n;
    url->port = url->tls ? 443 : 80;

    if (i == end) {
        return USHER_URL_OK;
    }

    if (text[i] != ':') {
        return USHER_URL_HOST;
    }

    i++;

    return usher_url_port(text + i, end - i, &url->port) ? USHER_URL_OK
                                                         : USHER_URL_PORT;
}


static int
usher_url_port(const unsigned char *text, size_t len, unsigned *port)
{
    size_t    i;
    unsigned  n;

    if (len == 0 || len > 5 || text[0] == '0') {
        return 0;
    }

    n = 0;

    for (i = 0; i < len; i++) {

        if (!usher_url_is(text[i], USHER_URL_DIGIT)) {
            return 0;
        }

        n = n * 10 + (text[i] - '0');
    }

    *port = n;

    return n <= USHER_URL_PORT_MAX;
}


/* A name or an IPv4 address. */

static int
usher_url_host(const unsigned char *host, size_t len)
{
    size_t  i, n, label;

    n = len > 0 && host[len - 1] == '.' ? len - 1 : len;

    if (n == 0 || n > USHER_URL_HOST_MAX) {
        return 0;
    }

    for (label = 0, i = 0; i < n; i++) {

        if (host[i] == '.') {

            if (i == label || host[i - 1] == '-') {
                return 0;
            }

            label = i + 1;
            continue;
        }

        if (!usher_url_is(host[i], USHER_URL_LDH)
            || (i == label && host[i] == '-')
            || i - label == USHER_URL_LABEL_MAX)
        {
            return 0;
        }
    }

    if (n == label || host[n - 1] == '-') {
        return 0;
    }

    if (usher_url_number(host + label, n - label)) {
        return usher_url_ipv4(host, len);
    }

    return 1;
}


/*
 * Whether a browser would take a last label for a number, and so the whole
 * host for an address: digits, or 0x and any number of hex digits.
 */

static int
usher_url_number(const unsigned char *label, size_t len)
{
    size_t    i;
    unsigned  what;

    what = USHER_URL_DIGIT;

    if (len >= 2 && label[0] == '0' && (label[1] | 0x20) == 'x') {
        what = USHER_URL_HEX;
        label += 2;
        len -= 2;
    }

    for (i = 0; i < len; i++) {
        if (!usher_url_is(label[i], what)) {
            return 0;
        }
    }

    return 1;
}


static int
usher_url_ipv4(const unsigned char *host, size_t len)
{
    char            text[INET_ADDRSTRLEN];
    struct in_addr  addr;

    if (len >= sizeof(text)) {
        return 0;
    }

    memcpy(text, host, len);
    text[len] = '\0';

    /* takes four decimal numbers only, and no leading zeros */

    return inet_pton(AF_INET, text, &addr) == 1;
}


/* An address in brackets. */

static int
usher_url_ipv6(const unsigned char *host, size_t len)
{
    char             text[INET6_ADDRSTRLEN];
    struct in6_addr  addr;

    len -= 2;

    if (len >= sizeof(text)) {
        return 0;
    }

    memcpy(text, host + 1, len);
    text[len] = '\0';

    return inet_pton(AF_INET6, text, &addr) == 1;
}


/* The same letters of ASCII, whatever their case. */

static int
usher_url_same(const unsigned char *a, const unsigned char *b, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (usher_url_lower(a[i]) != usher_url_lower(b[i])) {
            return 0;
        }
    }

    return 1;
}


static unsigned char *
usher_url_copy(unsigned char *dst, unsigned char *end,
    const unsigned char *src, size_t len)
{
    if (len > (size_t) (end - dst)) {
        return NULL;
    }

    if (len) {
        memcpy(dst, src, len);
    }

    return dst + len;
}
