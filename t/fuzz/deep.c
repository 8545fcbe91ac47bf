/*
 * deep.c - any bytes as the arguments of a click: of a page that is taken the
 * host is in the list, wherever it is put, and the rest names none.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_deep.h"

#include "fuzz.h"


static void allowed(const usher_url_text_t *url);
static void placed(const usher_deep_t *deep, const char *target,
    const char *name);


static const usher_url_text_t  hosts = {
    (const unsigned char *) "shop.example *.wild.example", 27
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                n, len;
    usher_deep_t          deep, again;
    unsigned char        *args, *buf;
    usher_deep_status_e   rc;

    static const char  *starts[] = {
        "", "to=", "to=https://shop.example", "to=https%3A%2F%2Fa.wild.example"
    };

    if (size < 2) {
        return 0;
    }

    /* most begin as they should, for random bytes would not */

    n = strlen(starts[data[0] & 3]);
    len = n + size - 1;

    args = malloc(len);
    buf = malloc(len);
    must(args != NULL && buf != NULL);

    memcpy(args, starts[data[0] & 3], n);
    memcpy(args + n, data + 1, size - 1);

    rc = usher_deep_read(buf, args, len, &hosts, &deep);

    must((data[0] & 3) == 0 || rc != USHER_DEEP_NONE);
    must(deep.rest.len <= len);

    if (rc == USHER_DEEP_OK) {
        allowed(&deep.page);
        placed(&deep, "https://net.example/c?s=id&u=x&to=y#f", "u");
        placed(&deep, "https://shop.example/?ref=id&to=y", "");
        placed(&deep, "https://shop.example", "");
    }

    /* nothing is left of it */

    n = deep.rest.len;
    memmove(args, deep.rest.data, n);
    must(usher_deep_read(buf, args, n, &hosts, &again) == USHER_DEEP_NONE);
    must(again.rest.len == n);

    free(args);
    free(buf);

    return 0;
}


static void
allowed(const usher_url_text_t *url)
{
    usher_url_t  u;

    must(usher_url_parse(url->data, url->len, USHER_DEEP_MAX, &u)
         == USHER_URL_OK);
    must(u.port == (u.tls ? 443 : 80));
    must(usher_url_host_allowed(url->data + u.host.at, u.host.len, hosts.data,
                                hosts.len));
}


/* The host stays that of the target, or becomes that of the page. */

static void
placed(const usher_deep_t *deep, const char *target, const char *name)
{
    size_t                n, at;
    usher_url_t           after;
    unsigned char        *out, *end;
    usher_url_text_t      t, m;
    const unsigned char  *p;

    t.data = (const unsigned char *) target;
    t.len = strlen(target);
    m.data = (const unsigned char *) name;
    m.len = strlen(name);

    n = usher_deep_max(t.len, m.len, deep->page.len);
    out = malloc(n);
    must(out != NULL);

    end = usher_deep_place(out, out + n, &t, &m, &deep->page);
    must(end != NULL && end <= out + n);
    n = (size_t) (end - out);

    must(usher_url_parse(out, n, n, &after) == USHER_URL_OK);

    p = m.len ? t.data : deep->page.data;
    at = after.host.at + after.host.len;
    must(memcmp(out, p, at) == 0);
    must(m.len || usher_url_host_allowed(out + after.host.at, after.host.len,
                                         hosts.data, hosts.len));

    /* what the link says of itself is there */

    if (t.data[t.len - 1] == 'f') {
        must(memcmp(out + after.query.at, "s=id&to=y&u=https", 12) == 0);

    } else if (strchr(target, '?')) {
        must(after.query.len >= 11);
        must(memcmp(out + after.query.at + after.query.len - 11,
                    "ref=id&to=y", 11) == 0);
    }

    /* in the room that it took, and not in less; only sanitizers see more */

    free(out);
    out = malloc(n);
    must(out != NULL);
    must(usher_deep_place(out, out + n, &t, &m, &deep->page) == out + n);
    must(usher_deep_place(out, out + n - 1, &t, &m, &deep->page) == NULL);
    free(out);
}
