/*
 * url.c - any bytes as a URL, and as what is added to one: of what is taken
 * the parts are the whole, and what is added changes none but the query.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_url.h"

#include "fuzz.h"


#define URL_MAX  300


static void parts(const unsigned char *text, size_t len,
    const usher_url_t *url);
static void lists(const unsigned char *text, const usher_url_t *url);
static void added(const unsigned char *text, size_t len,
    const usher_url_t *url, const uint8_t *data, size_t size);
static void encoded(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                len;
    usher_url_t           url;
    const unsigned char  *in;
    unsigned char         text[8 + URL_MAX];

    if (size < 1) {
        return 0;
    }

    /* most begin as they should, for random bytes would not */

    in = data + 1;
    len = size - 1;

    if (data[0] & 7 && len <= URL_MAX) {
        memcpy(text, "https://", 8);
        memcpy(text + 8, in, len);
        in = text;
        len += 8;
    }

    if (usher_url_parse(in, len, URL_MAX, &url) == USHER_URL_OK) {
        must(len <= URL_MAX);
        parts(in, len, &url);
        lists(in, &url);
        added(in, len, &url, data, size);
    }

    encoded(data, size);

    return 0;
}


static void
parts(const unsigned char *text, size_t len, const usher_url_t *url)
{
    size_t  i, end;

    must(url->tls <= 1 && url->port >= 1 && url->port <= 65535);
    must(url->host.at == 7 + url->tls && url->host.len > 0);
    must(memcmp(text + url->host.at - 3, "://", 3) == 0);

    for (i = 0; i < len; i++) {
        must(text[i] > 0x20 && text[i] < 0x7f && text[i] != '\\');
    }

    for (i = 0; i < url->host.len; i++) {
        must(strchr("/?#@%_", text[url->host.at + i]) == NULL);
    }

    /* they follow each other, with a port or nothing between */

    end = url->host.at + url->host.len;

    if (end < len && text[end] == ':') {
        for (end++; end < len && strchr("/?#", text[end]) == NULL; end++) {
            must(text[end] >= '0' && text[end] <= '9');
        }
    }

    if (url->path.at) {
        must(url->path.at == end && text[end] == '/');
        end += url->path.len;
    }

    if (url->query.at) {
        must(text[end] == '?' && url->query.at == end + 1);
        end += 1 + url->query.len;
    }

    if (url->fragment.at) {
        must(text[end] == '#' && url->fragment.at == end + 1);
        end += 1 + url->fragment.len;
    }

    must(end == len);
}


/* In a list of itself, and not in that of what is below it. */

static void
lists(const unsigned char *text, const usher_url_t *url)
{
    size_t                n;
    const unsigned char  *host, *dot;
    unsigned char         list[URL_MAX + 2];

    host = text + url->host.at;
    n = url->host.len;

    if (host[n - 1] == '.') {
        n--;
    }

    must(usher_url_host_allowed(host, url->host.len, host, n));

    memcpy(list, "*.", 2);
    memcpy(list + 2, host, n);
    must(!usher_url_host_allowed(host, url->host.len, list, n + 2));

    dot = memchr(host, '.', n);

    if (dot && dot + 1 < host + n) {
        n -= (size_t) (dot + 1 - host);
        memcpy(list + 2, dot + 1, n);
        must(usher_url_host_allowed(host, url->host.len, list, n + 2));
        must(!usher_url_host_allowed(host, url->host.len, list + 2, n));
    }
}


static void
added(const unsigned char *text, size_t len, const usher_url_t *url,
    const uint8_t *data, size_t size)
{
    size_t            n;
    usher_url_t       after;
    unsigned char    *out, *end;
    usher_url_text_t  u, name, value;

    u.data = text;
    u.len = len;
    name.data = (const unsigned char *) "u";
    name.len = 1;
    value.data = data;
    value.len = size;

    n = len + 3 + usher_url_encoded_max(size);
    out = malloc(n);
    must(out != NULL);

    end = usher_url_add(out, out + n, &u, &name, &value);
    must(end != NULL && end <= out + n);
    n = (size_t) (end - out);

    must(usher_url_parse(out, n, n, &after) == USHER_URL_OK);
    must(after.host.len == url->host.len && after.port == url->port);
    must(memcmp(out, text, url->host.at + url->host.len) == 0);
    must(after.path.len == url->path.len);
    must(after.fragment.len == url->fragment.len);
    must(after.query.len >= url->query.len + 2);
    must(memchr(out, '\r', n) == NULL && memchr(out, '\n', n) == NULL);

    /* in the room that it took, and not in less; only sanitizers see more */

    free(out);
    out = malloc(n);
    must(out != NULL);
    must(usher_url_add(out, out + n, &u, &name, &value) == out + n);
    must(usher_url_add(out, out + n - 1, &u, &name, &value) == NULL);
    free(out);
}


/* There and back. */

static void
encoded(const uint8_t *data, size_t size)
{
    char            hex[3];
    size_t          i, n;
    unsigned char  *out, *end, *p;

    n = usher_url_encoded_max(size);
    out = malloc(n + 1);
    must(out != NULL);

    end = usher_url_encode(out, out + n, data, size);
    must(end != NULL && end <= out + n);
    must(usher_url_bytes(out, (size_t) (end - out), &i) == USHER_URL_OK);

    for (i = 0, p = out; p < end; i++) {
        must(i < size);

        if (*p != '%') {
            must(*p++ == data[i]);
            continue;
        }

        memcpy(hex, p + 1, 2);
        hex[2] = '\0';
        must(strtoul(hex, NULL, 16) == data[i]);
        p += 3;
    }

    must(i == size);
    free(out);
}
