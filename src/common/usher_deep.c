/*
 * usher_deep.c - reads the page that a click wants, and puts it in its place.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>

#include "usher_deep.h"


#define USHER_DEEP_END  -1      /* of a name */


/* Where to write; at is NULL once something did not fit. */
typedef struct {
    unsigned char  *at;
    unsigned char  *end;
} usher_deep_out_t;


static usher_deep_status_e usher_deep_allowed(const usher_url_text_t *hosts,
    usher_deep_t *deep);
static void usher_deep_name(const unsigned char *piece, size_t len,
    usher_url_text_t *name);
static int usher_deep_same(const usher_url_text_t *a,
    const usher_url_text_t *b);
static int usher_deep_byte(const unsigned char **p, const unsigned char *end);
static int usher_deep_hex(unsigned c);
static int usher_deep_decode(unsigned char *dst, const unsigned char *src,
    size_t len, size_t *size);
static int usher_deep_in(const usher_url_text_t *name,
    const usher_url_text_t *query);
static void usher_deep_cut(const usher_url_text_t *url,
    usher_url_text_t *head, usher_url_text_t *query, usher_url_text_t *tail);
static size_t usher_deep_piece(const unsigned char *p,
    const unsigned char *end);
static void usher_deep_put(usher_deep_out_t *out, const unsigned char *data,
    size_t len);
static void usher_deep_encode(usher_deep_out_t *out,
    const usher_url_text_t *text);


static const usher_url_text_t  usher_deep_to = {
    (const unsigned char *) "to", 2
};


usher_deep_status_e
usher_deep_read(unsigned char *buf, const unsigned char *args, size_t len,
    const usher_url_text_t *hosts, usher_deep_t *deep)
{
    size_t                n, found;
    unsigned char        *rest, *page;
    usher_url_text_t      name, value;
    const unsigned char  *p, *end;

    memset(deep, 0, sizeof(*deep));

    deep->rest.data = args;
    deep->rest.len = len;

    /* nearly all: no such letters, and none that are written otherwise */

    if (memmem(args, len, usher_deep_to.data, usher_deep_to.len) == NULL
        && memchr(args, '%', len) == NULL)
    {
        return USHER_DEEP_NONE;
    }

    end = args + len;
    rest = buf;
    found = 0;
    value.data = NULL;
    value.len = 0;

    for (p = args; p < end; p += n + 1) {
        n = usher_deep_piece(p, end);
        usher_deep_name(p, n, &name);

        if (usher_deep_same(&name, &usher_deep_to)) {
            found++;
            value.data = p + name.len;
            value.len = n - name.len;

        } else {
            if (rest > buf) {
                *rest++ = '&';
            }

            memcpy(rest, p, n);
            rest += n;
        }

        if (p + n == end) {
            break;
        }
    }

    if (found == 0) {
        return USHER_DEEP_NONE;
    }

    deep->rest.data = buf;
    deep->rest.len = (size_t) (rest - buf);

    /* with its sign, which the name and what came before leave room for */

    page = rest;

    if (found > 1 || value.len == 0
        || usher_deep_decode(page, value.data + 1, value.len - 1, &n) == -1)
    {
        return USHER_DEEP_LINK;
    }

    deep->page.data = page;
    deep->page.len = n;

    return usher_deep_allowed(hosts, deep);
}


static usher_deep_status_e
usher_deep_allowed(const usher_url_text_t *hosts, usher_deep_t *deep)
{
    usher_url_t  url;

    if (usher_url_parse(deep->page.data, deep->page.len, USHER_DEEP_MAX, &url)
        != USHER_URL_OK)
    {
        return USHER_DEEP_LINK;
    }

    deep->host.data = deep->page.data + url.host.at;
    deep->host.len = url.host.len;

    if (url.port != (url.tls ? 443 : 80)
        || !usher_url_host_allowed(deep->host.data, deep->host.len,
                                   hosts->data, hosts->len))
    {
        return USHER_DEEP_HOST;
    }

    return USHER_DEEP_OK;
}


unsigned char *
usher_deep_place(unsigned char *dst, unsigned char *end,
    const usher_url_text_t *target, const usher_url_text_t *name,
    const usher_url_text_t *page)
{
    int                   drop;
    size_t                n;
    const unsigned char  *p, *stop, *sign;
    usher_deep_out_t      out;
    usher_url_text_t      head, query, tail, added, unused, piece;

    out.at = dst;
    out.end = end;

    usher_deep_cut(name->len ? target : page, &head, &query, &tail);
    usher_deep_put(&out, head.data, head.len);

    usher_deep_cut(target, &unused, &added, &unused);

    sign = (const unsigned char *) "?";
    stop = query.data + query.len;

    for (p = query.data; p < stop; p += n + 1) {
        n = usher_deep_piece(p, stop);
        usher_deep_name(p, n, &piece);

        drop = n == 0 || (name->len ? usher_deep_same(&piece, name)
                                    : usher_deep_in(&piece, &added));
        if (!drop) {
            usher_deep_put(&out, sign, 1);
            usher_deep_put(&out, p, n);
            sign = (const unsigned char *) "&";
        }

        if (p + n == stop) {
            break;
        }
    }

    if (name->len) {
        usher_deep_put(&out, sign, 1);
        usher_deep_encode(&out, name);
        usher_deep_put(&out, (const unsigned char *) "=", 1);
        usher_deep_encode(&out, page);

    } else if (added.len) {
        usher_deep_put(&out, sign, 1);
        usher_deep_put(&out, added.data, added.len);
    }

    usher_deep_put(&out, tail.data, tail.len);

    return out.at;
}


/* Bytes up to the next & or the end. */

static size_t
usher_deep_piece(const unsigned char *p, const unsigned char *end)
{
    const unsigned char  *stop;

    stop = memchr(p, '&', (size_t) (end - p));

    return (size_t) ((stop ? stop : end) - p);
}


static void
usher_deep_name(const unsigned char *piece, size_t len,
    usher_url_text_t *name)
{
    const unsigned char  *stop;

    stop = len ? memchr(piece, '=', len) : NULL;

    name->data = piece;
    name->len = stop ? (size_t) (stop - piece) : len;
}


/* Whether two names are one to whoever decodes them. */

static int
usher_deep_same(const usher_url_text_t *a, const usher_url_text_t *b)
{
    int                   c;
    const unsigned char  *p, *q, *p_end, *q_end;

    p = a->data;
    q = b->data;
    p_end = p + a->len;
    q_end = q + b->len;

    do {
        c = usher_deep_byte(&p, p_end);

        if (c != usher_deep_byte(&q, q_end)) {
            return 0;
        }

    } while (c != USHER_DEEP_END);

    return 1;
}


/* The next byte of a name as a form has it, or USHER_DEEP_END. */

static int
usher_deep_byte(const unsigned char **p, const unsigned char *end)
{
    int  c, high, low;

    if (*p == end) {
        return USHER_DEEP_END;
    }

    c = *(*p)++;

    if (c == '+') {
        return ' ';
    }

    if (c != '%' || end - *p < 2) {
        return c;
    }

    high = usher_deep_hex((*p)[0]);
    low = usher_deep_hex((*p)[1]);

    if (high == -1 || low == -1) {
        return c;
    }

    *p += 2;

    return high << 4 | low;
}


static int
usher_deep_hex(unsigned c)
{
    if (c >= '0' && c <= '9') {
        return (int) (c - '0');
    }

    c |= 0x20;

    return c >= 'a' && c <= 'f' ? (int) (c - 'a') + 10 : -1;
}


/* -1 if a percent sign has not its two digits. */

static int
usher_deep_decode(unsigned char *dst, const unsigned char *src, size_t len,
    size_t *size)
{
    int     high, low;
    size_t  i, n;

    n = 0;

    for (i = 0; i < len; i++) {

        if (src[i] != '%') {
            dst[n++] = src[i];
            continue;
        }

        if (len - i < 3) {
            return -1;
        }

        high = usher_deep_hex(src[i + 1]);
        low = usher_deep_hex(src[i + 2]);

        if (high == -1 || low == -1) {
            return -1;
        }

        dst[n++] = (unsigned char) (high << 4 | low);
        i += 2;
    }

    *size = n;

    return 0;
}


/* Whether a query has a parameter of this name. */

static int
usher_deep_in(const usher_url_text_t *name, const usher_url_text_t *query)
{
    size_t                n;
    usher_url_text_t      other;
    const unsigned char  *p, *end;

    end = query->data + query->len;

    for (p = query->data; p < end; p += n + 1) {
        n = usher_deep_piece(p, end);
        usher_deep_name(p, n, &other);

        if (n && usher_deep_same(name, &other)) {
            return 1;
        }

        if (p + n == end) {
            break;
        }
    }

    return 0;
}


/* A URL up to its query, the query, and the fragment with its sign. */

static void
usher_deep_cut(const usher_url_text_t *url, usher_url_text_t *head,
    usher_url_text_t *query, usher_url_text_t *tail)
{
    const unsigned char  *end, *hash, *mark;

    end = url->data + url->len;

    hash = memchr(url->data, '#', url->len);
    if (hash == NULL) {
        hash = end;
    }

    mark = memchr(url->data, '?', (size_t) (hash - url->data));

    head->data = url->data;
    head->len = (size_t) ((mark ? mark : hash) - url->data);

    query->data = mark ? mark + 1 : hash;
    query->len = (size_t) (hash - query->data);

    tail->data = hash;
    tail->len = (size_t) (end - hash);
}


static void
usher_deep_put(usher_deep_out_t *out, const unsigned char *data, size_t len)
{
    if (out->at == NULL || len > (size_t) (out->end - out->at)) {
        out->at = NULL;
        return;
    }

    if (len) {
        memcpy(out->at, data, len);
        out->at += len;
    }
}


static void
usher_deep_encode(usher_deep_out_t *out, const usher_url_text_t *text)
{
    if (out->at != NULL) {
        out->at = usher_url_encode(out->at, out->end, text->data, text->len);
    }
}
