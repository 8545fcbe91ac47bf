/*
 * deep.c - pages that clicks name: which are taken, and where they go.
 */


#include "usher_deep.h"

#include "tap.h"


static void check_read(void);
static void check_bounds(void);
static void check_place(void);
static void check_room(void);
static unsigned char *place(unsigned char *dst, unsigned char *end,
    const char *target, const char *name, const char *page);


#define SHOP  "https://shop.example/"

static const struct {
    const char           *args;
    usher_deep_status_e   status;
    const char           *page;
    const char           *rest;
} reads[] = {
    { "", USHER_DEEP_NONE, "", "" },
    { "a=b&too=x&ato=y&&z", USHER_DEEP_NONE, "", "a=b&too=x&ato=y&&z" },
    { "TO=https://shop.example/", USHER_DEEP_NONE, "",
      "TO=https://shop.example/" },
    { "to%3d=x&%zzto=x", USHER_DEEP_NONE, "", "to%3d=x&%zzto=x" },

    { "to=" SHOP, USHER_DEEP_OK, SHOP, "" },
    { "to=https%3A%2F%2fshop.example%2Fp%3Fa%3Db%26c", USHER_DEEP_OK,
      SHOP "p?a=b&c", "" },
    { "to=https://a.wild.example/%2541%2B+", USHER_DEEP_OK,
      "https://a.wild.example/%41++", "" },
    { "%74o=" SHOP, USHER_DEEP_OK, SHOP, "" },
    { "a=%20&to=" SHOP "?q=1&b", USHER_DEEP_OK, SHOP "?q=1", "a=%20&b" },
    { "a&&to=" SHOP "&&b&", USHER_DEEP_OK, SHOP, "a&&&b" },
    { "to=" SHOP "&a", USHER_DEEP_OK, SHOP, "a" },
    { "to=http://Shop.Example.:80", USHER_DEEP_OK,
      "http://Shop.Example.:80", "" },
    { "to=https://shop.example:443/", USHER_DEEP_OK,
      "https://shop.example:443/", "" },

    { "to", USHER_DEEP_LINK, "", "" },
    { "to=&a", USHER_DEEP_LINK, "", "a" },
    { "to=shop.example", USHER_DEEP_LINK, "", "" },
    { "to=//shop.example/", USHER_DEEP_LINK, "", "" },
    { "to=" SHOP "%", USHER_DEEP_LINK, "", "" },
    { "to=" SHOP "%4", USHER_DEEP_LINK, "", "" },
    { "to=" SHOP "%4g", USHER_DEEP_LINK, "", "" },
    { "to=" SHOP "%20", USHER_DEEP_LINK, "", "" },
    { "to=" SHOP "%00", USHER_DEEP_LINK, "", "" },
    { "to=" SHOP "%0d%0aA:b", USHER_DEEP_LINK, "", "" },
    { "to=" SHOP "%25zz", USHER_DEEP_LINK, "", "" },
    { "to=" SHOP "&a&to=" SHOP, USHER_DEEP_LINK, "", "a" },
    { "to&to=" SHOP, USHER_DEEP_LINK, "", "" },
    { "t%6F=" SHOP "&to=" SHOP, USHER_DEEP_LINK, "", "" },
    { "to=https%253A%252F%252Fshop.example%252F", USHER_DEEP_LINK, "", "" },

    { "to=https://evil.example/&a", USHER_DEEP_HOST, "", "a" },
    { "to=https://wild.example/", USHER_DEEP_HOST, "", "" },
    { "to=https://a.shop.example/", USHER_DEEP_HOST, "", "" },
    { "to=https://shop.example:80/", USHER_DEEP_HOST, "", "" },
    { "to=http://shop.example:443/", USHER_DEEP_HOST, "", "" },
    { "to=https://shop.example:8443/", USHER_DEEP_HOST, "", "" }
};

static const struct {
    const char  *target;
    const char  *name;
    const char  *page;
    const char  *want;
} places[] = {

    /* where the network takes it */

    { "https://net.example/c?m=1&s=id", "ued", SHOP "p?a=%20b#c",
      "https://net.example/c?m=1&s=id"
      "&ued=https%3A%2F%2Fshop.example%2Fp%3Fa%3D%2520b%23c" },
    { "https://net.example", "u", SHOP,
      "https://net.example?u=https%3A%2F%2Fshop.example%2F" },
    { "https://net.example/?#f?x", "u", SHOP,
      "https://net.example/?u=https%3A%2F%2Fshop.example%2F#f?x" },
    { "https://net.example/?u=x&a&&%75=y&us=1&U=2&u", "u", SHOP,
      "https://net.example/?a&us=1&U=2&u=https%3A%2F%2Fshop.example%2F" },

    /* where it is the target */

    { "https://shop.example/?ref=id&utm_source=x#top", "", SHOP "p?a=b#c",
      SHOP "p?a=b&ref=id&utm_source=x#c" },
    { "https://shop.example/?ref=id", "", "http://shop.example",
      "http://shop.example?ref=id" },
    { "https://shop.example/?ref=id", "", SHOP "?",
      "https://shop.example/?ref=id" },
    { "https://shop.example/?ref=id", "", SHOP "?ref=evil&r%65f=evil&ref&a",
      SHOP "?a&ref=id" },
    { "https://shop.example/?r%65f=id&a+b", "", SHOP "?ref=evil&a%20b=1&x+",
      SHOP "?x+&r%65f=id&a+b" },
    { "https://shop.example/", "", SHOP "p?ref=x&a#c", SHOP "p?ref=x&a#c" },
    { "https://shop.example", "", SHOP "#?a", SHOP "#?a" }
};


int
main(void)
{
    check_read();
    check_bounds();
    check_place();
    check_room();

    return tap_done();
}


static int
is(const usher_url_text_t *text, const char *want)
{
    return text->len == strlen(want)
           && (text->len == 0 || memcmp(text->data, want, text->len) == 0);
}


/* In a buffer of exactly the room that it may need, for the sanitizers. */

static void
check_read(void)
{
    size_t                i, len;
    usher_deep_t          deep;
    unsigned char        *buf, *args;
    usher_url_text_t      hosts;
    usher_deep_status_e   rc;

    hosts.data = (const unsigned char *) "shop.example *.wild.example";
    hosts.len = 27;

    for (i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        len = strlen(reads[i].args);

        buf = malloc(len + !len);
        args = malloc(len + !len);

        if (buf == NULL || args == NULL) {
            abort();
        }

        memcpy(args, reads[i].args, len);

        rc = usher_deep_read(buf, args, len, &hosts, &deep);

        ok(rc == reads[i].status && is(&deep.rest, reads[i].rest)
           && (rc != USHER_DEEP_OK || is(&deep.page, reads[i].page)),
           "%s", reads[i].args);

        free(buf);
        free(args);
    }

    hosts.len = 0;

    ok(usher_deep_read((unsigned char [24]) { 0 },
                       (const unsigned char *) "to=" SHOP, 24, &hosts, &deep)
       == USHER_DEEP_HOST, "no hosts, no page");
}


static void
check_bounds(void)
{
    usher_deep_t       deep;
    unsigned char      args[3 + USHER_DEEP_MAX + 1], buf[sizeof(args)];
    usher_url_text_t   hosts;

    hosts.data = (const unsigned char *) "shop.example";
    hosts.len = 12;

    memset(args, 'x', sizeof(args));
    memcpy(args, "to=" SHOP, 24);

    ok(usher_deep_read(buf, args, sizeof(args) - 1, &hosts, &deep)
       == USHER_DEEP_OK && deep.page.len == USHER_DEEP_MAX, "the longest");
    ok(is(&deep.host, "shop.example"), "its host");
    ok(usher_deep_read(buf, args, sizeof(args), &hosts, &deep)
       == USHER_DEEP_LINK, "a longer one");
}


static void
check_place(void)
{
    size_t          i, n;
    unsigned char   out[300], *end;

    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        n = usher_deep_max(strlen(places[i].target), strlen(places[i].name),
                           strlen(places[i].page));

        end = place(out, out + n, places[i].target, places[i].name,
                    places[i].page);

        ok(end != NULL && (size_t) (end - out) == strlen(places[i].want)
           && memcmp(out, places[i].want, (size_t) (end - out)) == 0,
           "%s", places[i].want);
    }
}


static void
check_room(void)
{
    size_t          i, n, room, bad;
    unsigned char   out[300], *end;

    bad = 0;

    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        n = strlen(places[i].want);

        for (room = 0; room <= n; room++) {
            memset(out, 0x55, sizeof(out));
            end = place(out, out + room, places[i].target, places[i].name,
                        places[i].page);
            bad += (end != NULL) != (room == n) || out[room] != 0x55;
        }
    }

    ok(bad == 0, "in the room that there is, and in nothing less");
}


static unsigned char *
place(unsigned char *dst, unsigned char *end, const char *target,
    const char *name, const char *page)
{
    usher_url_text_t  t, n, p;

    t.data = (const unsigned char *) target;
    t.len = strlen(target);
    n.data = (const unsigned char *) name;
    n.len = strlen(name);
    p.data = (const unsigned char *) page;
    p.len = strlen(page);

    return usher_deep_place(dst, end, &t, &n, &p);
}
