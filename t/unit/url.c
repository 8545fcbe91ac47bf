/*
 * url.c - URLs that are taken, and tricks that are not.
 */


#include "usher_url.h"

#include "tap.h"


static void check_good(void);
static void check_tricks(void);
static void check_parts(void);
static void check_bytes(void);
static void check_lengths(void);
static void check_allowed(void);
static void check_encode(void);
static void check_add(void);
static usher_url_status_e parse(const char *text, size_t len, size_t max,
    usher_url_t *url);
static int allowed(const char *host, const char *list);
static int part(const char *text, const usher_url_part_t *p,
    const char *want);
static int add(const char *url, const char *name, const char *value,
    const char *want);


static const struct {
    const char  *text;
    const char  *host;
    unsigned     port;
} good[] = {
    { "http://example.com", "example.com", 80 },
    { "HTTPS://Example.COM/", "Example.COM", 443 },
    { "https://a.b-c.d1.example:8443/x", "a.b-c.d1.example", 8443 },
    { "http://localhost:1/", "localhost", 1 },
    { "http://example.com.:65535/", "example.com.", 65535 },
    { "https://example.com?to=//evil.example/@b", "example.com", 443 },
    { "https://example.com#@evil.example", "example.com", 443 },
    { "https://example.com/@evil.example:80", "example.com", 443 },
    { "https://example.com//evil.example/", "example.com", 443 },
    { "https://example.com/%00%0d%0a%2f", "example.com", 443 },
    { "https://example.com/a[]=1|2^3;(*),!$&+=:~", "example.com", 443 },
    { "https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443 },
    { "http://127.0.0.1:8080/", "127.0.0.1", 8080 },
    { "http://255.255.255.255/", "255.255.255.255", 80 },
    { "http://1.2.3.4.example/", "1.2.3.4.example", 80 },
    { "http://1.2.3.4a/", "1.2.3.4a", 80 },
    { "http://3com/", "3com", 80 },
    { "http://0xg/", "0xg", 80 },
    { "http://[::1]/", "[::1]", 80 },
    { "https://[2001:DB8::7]:444?x", "[2001:DB8::7]", 444 },
    { "http://[::ffff:192.0.2.1]/", "[::ffff:192.0.2.1]", 80 }
};

static const struct {
    const char         *text;
    usher_url_status_e  status;
} tricks[] = {

    /* of the scheme */

    { "", USHER_URL_SCHEME },
    { "/local", USHER_URL_SCHEME },
    { "//evil.example/", USHER_URL_SCHEME },
    { "https", USHER_URL_SCHEME },
    { "https:", USHER_URL_SCHEME },
    { "https:/", USHER_URL_SCHEME },
    { "https:evil.example", USHER_URL_SCHEME },
    { "https:/evil.example", USHER_URL_SCHEME },
    { "ftp://evil.example/", USHER_URL_SCHEME },
    { "httpx://evil.example/", USHER_URL_SCHEME },
    { "javascript:alert(1)", USHER_URL_SCHEME },
    { "javascript://example.com/%0aalert(1)", USHER_URL_SCHEME },
    { "data:text/html,x", USHER_URL_SCHEME },
    { "view-source:https://example.com/", USHER_URL_SCHEME },
    { "https&colon;//evil.example/", USHER_URL_SCHEME },

    /* of bytes */

    { " https://example.com/", USHER_URL_BYTE },
    { "https://example.com/ ", USHER_URL_BYTE },
    { "\x01https://example.com/", USHER_URL_BYTE },
    { "java\tscript:alert(1)", USHER_URL_BYTE },
    { "ht\ntps://evil.example/", USHER_URL_BYTE },
    { "https:\\\\evil.example\\", USHER_URL_BYTE },
    { "\\\\evil.example/", USHER_URL_BYTE },
    { "/\\evil.example/", USHER_URL_BYTE },
    { "https://example.com\\@evil.example/", USHER_URL_BYTE },
    { "https://evil.example\\.example.com/", USHER_URL_BYTE },
    { "https://example.com/\r\nSet-Cookie:a=b", USHER_URL_BYTE },
    { "https://example.com/\"onclick=", USHER_URL_BYTE },
    { "https://example.com/'", USHER_URL_BYTE },
    { "https://example.com/`", USHER_URL_BYTE },
    { "https://example.com/<b>", USHER_URL_BYTE },
    { "https://example.com/{sub1}", USHER_URL_BYTE },
    { "https://example.com/\x7f", USHER_URL_BYTE },
    { "https://ex\xc3\xa4mple.com/", USHER_URL_BYTE },
    { "https://evil\xe3\x80\x82" "example/", USHER_URL_BYTE },
    { "https://evil\xef\xbc\x8e" "example/", USHER_URL_BYTE },
    { "https://evil.example\xef\xbc\x8f.example.com/", USHER_URL_BYTE },
    { "https://example.com\xe2\x80\x8b/", USHER_URL_BYTE },

    /* of percent signs */

    { "https://example.com/%", USHER_URL_PERCENT },
    { "https://example.com/%4", USHER_URL_PERCENT },
    { "https://example.com/%4g", USHER_URL_PERCENT },
    { "https://example.com/%%41", USHER_URL_PERCENT },
    { "https://example.com/?%u0041", USHER_URL_PERCENT },

    /* before the host */

    { "https://example.com@evil.example/", USHER_URL_USER },
    { "https://example.com:443@evil.example/", USHER_URL_USER },
    { "https://a:b@example.com/", USHER_URL_USER },
    { "https://@example.com/", USHER_URL_USER },
    { "https://example.com%2f@evil.example/", USHER_URL_USER },

    /* no host */

    { "https://", USHER_URL_HOST },
    { "https:///", USHER_URL_HOST },
    { "https:///evil.example/", USHER_URL_HOST },
    { "https:////evil.example/", USHER_URL_HOST },
    { "https://?x", USHER_URL_HOST },
    { "https://#x", USHER_URL_HOST },
    { "https://:80/", USHER_URL_HOST },
    { "https://./", USHER_URL_HOST },
    { "https://../", USHER_URL_HOST },
    { "https://example..com/", USHER_URL_HOST },
    { "https://.example.com/", USHER_URL_HOST },
    { "https://example.com../", USHER_URL_HOST },
    { "https://exa_mple.com/", USHER_URL_HOST },
    { "https://-a.example/", USHER_URL_HOST },
    { "https://a-.example/", USHER_URL_HOST },
    { "https://a.example-/", USHER_URL_HOST },
    { "https://a.example-./", USHER_URL_HOST },
    { "https://*.example.com/", USHER_URL_HOST },
    { "https://a,b.example/", USHER_URL_HOST },
    { "https://evil.example;.example.com/", USHER_URL_HOST },
    { "https://evil.example%00.example.com/", USHER_URL_HOST },
    { "https://evil.example%23.example.com/", USHER_URL_HOST },
    { "https://%65vil.example/", USHER_URL_HOST },

    /* addresses that a browser would mend */

    { "http://127.1/", USHER_URL_HOST },
    { "http://2130706433/", USHER_URL_HOST },
    { "http://0x7f.1/", USHER_URL_HOST },
    { "http://0x7f000001/", USHER_URL_HOST },
    { "http://0X7F.0.0.1/", USHER_URL_HOST },
    { "http://1.2.3.0x4/", USHER_URL_HOST },
    { "http://1.2.3.0x/", USHER_URL_HOST },
    { "http://0177.0.0.1/", USHER_URL_HOST },
    { "http://127.0.0.01/", USHER_URL_HOST },
    { "http://127.0.0.256/", USHER_URL_HOST },
    { "http://127.0.0.0.1/", USHER_URL_HOST },
    { "http://127.0.0.1./", USHER_URL_HOST },
    { "http://127.0.0/", USHER_URL_HOST },
    { "http://example.1/", USHER_URL_HOST },
    { "http://1000000000000.0.0.1/", USHER_URL_HOST },
    { "http://[/", USHER_URL_HOST },
    { "http://[]/", USHER_URL_HOST },
    { "http://[::1/", USHER_URL_HOST },
    { "http://::1/", USHER_URL_HOST },
    { "http://[:1]/", USHER_URL_HOST },
    { "http://[::g]/", USHER_URL_HOST },
    { "http://[1:2:3:4:5:6:7:8:9]/", USHER_URL_HOST },
    { "http://[::00001]/", USHER_URL_HOST },
    { "http://[::127.1]/", USHER_URL_HOST },
    { "http://[fe80::1%25eth0]/", USHER_URL_HOST },
    { "http://[v1.x]/", USHER_URL_HOST },
    { "http://[127.0.0.1]/", USHER_URL_HOST },
    { "http://[::1].evil.example/", USHER_URL_HOST },
    { "http://[::1]evil/", USHER_URL_HOST },
    { "http://[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]/",
      USHER_URL_HOST },

    /* no port */

    { "http://example.com:/", USHER_URL_PORT },
    { "http://example.com:0/", USHER_URL_PORT },
    { "http://example.com:080/", USHER_URL_PORT },
    { "http://example.com:65536/", USHER_URL_PORT },
    { "http://example.com:99999/", USHER_URL_PORT },
    { "http://example.com:4294967376/", USHER_URL_PORT },
    { "http://example.com:8a/", USHER_URL_PORT },
    { "http://example.com:-1/", USHER_URL_PORT },
    { "http://example.com:80:80/", USHER_URL_PORT },
    { "http://example.com:%38/", USHER_URL_PORT },
    { "http://[::1]:/", USHER_URL_PORT }
};


int
main(void)
{
    check_good();
    check_tricks();
    check_parts();
    check_bytes();
    check_lengths();
    check_allowed();
    check_encode();
    check_add();

    return tap_done();
}


static void
check_good(void)
{
    size_t              i;
    usher_url_t         url;
    usher_url_status_e  rc;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        memset(&url, 0, sizeof(url));
        rc = parse(good[i].text, strlen(good[i].text), 100, &url);

        ok(rc == USHER_URL_OK && part(good[i].text, &url.host, good[i].host)
           && url.port == good[i].port
           && url.tls == ((good[i].text[4] | 0x20) == 's'),
           "%s: %s", good[i].text, usher_url_reason(rc));
    }
}


static void
check_tricks(void)
{
    size_t              i;
    usher_url_t         url, was;
    usher_url_status_e  rc;

    memset(&url, 0x55, sizeof(url));
    was = url;

    for (i = 0; i < sizeof(tricks) / sizeof(tricks[0]); i++) {
        rc = parse(tricks[i].text, strlen(tricks[i].text), 100, &url);

        ok(rc == tricks[i].status, "trick %zu: %s", i, usher_url_reason(rc));

        if (rc != tricks[i].status) {
            printf("# %s\n", tricks[i].text);
        }
    }

    ok(memcmp(&url, &was, sizeof(url)) == 0, "nothing is read of them");
    ok(parse("https://a.example/\0", 19, 100, &url) == USHER_URL_BYTE,
       "a NUL is a byte like another");
}


static void
check_parts(void)
{
    usher_url_t  url;
    const char  *text;

    text = "http://a.example:81/p/q?x=1&y=?/#f?#/";
    ok(parse(text, strlen(text), 100, &url) == USHER_URL_OK
       && part(text, &url.path, "/p/q") && part(text, &url.query, "x=1&y=?/")
       && part(text, &url.fragment, "f?#/"), "all parts");

    text = "http://a.example#f?x";
    ok(parse(text, strlen(text), 100, &url) == USHER_URL_OK
       && url.path.at == 0 && url.path.len == 0 && url.query.at == 0
       && part(text, &url.fragment, "f?x"), "a fragment only");

    text = "http://a.example/?#";
    ok(parse(text, strlen(text), 100, &url) == USHER_URL_OK
       && part(text, &url.path, "/") && url.query.at == 18
       && url.query.len == 0 && url.fragment.at == 19
       && url.fragment.len == 0, "parts that are there and empty");

    text = "http://a.example/";
    ok(parse(text, strlen(text), 100, &url) == USHER_URL_OK
       && url.query.at == 0 && url.fragment.at == 0, "parts that are not");
}


/* Each byte in each part of a URL. */

static void
check_bytes(void)
{
    int          c, bad, host;
    char         text[] = "https://a.x.example/.?.#.";
    size_t       i, at;
    usher_url_t  url;

    static const char    never[] = " \"'<>\\`{}";
    static const size_t  places[] = { 10, 20, 22, 24 };

    bad = 0;

    for (i = 0; i < 4; i++) {
        for (c = 0; c < 256; c++) {
            strcpy(text, "https://a.x.example/.?.#.");
            text[places[i]] = (char) c;

            host = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
                   || (c >= 'A' && c <= 'Z') || c == '/' || c == '?'
                   || c == '#';

            bad += (parse(text, 25, 25, &url) == USHER_URL_OK)
                   != (i == 0 ? host
                              : c > 0x20 && c < 0x7f && c != '%'
                                && strchr(never, c) == NULL);
        }
    }

    ok(bad == 0, "any byte in each part");

    ok(usher_url_bytes((const unsigned char *) "ab c", 4, &at)
       == USHER_URL_BYTE && at == 2, "where a byte is");
    ok(usher_url_bytes((const unsigned char *) "%41%4", 5, &at)
       == USHER_URL_PERCENT && at == 3, "where a percent sign is");
    ok(usher_url_bytes(NULL, 0, &at) == USHER_URL_OK, "none at all");
}


static void
check_lengths(void)
{
    char         text[400];
    size_t       n;
    usher_url_t  url;

    ok(parse("http://a.example", 16, 16, &url) == USHER_URL_OK
       && parse("http://a.example", 16, 15, &url) == USHER_URL_LONG,
       "as long as it may be, and longer");

    strcpy(text, "http://");
    memset(text + 7, 'a', 63);
    strcpy(text + 70, ".example");
    ok(parse(text, strlen(text), 400, &url) == USHER_URL_OK,
       "a label of 63");

    memset(text + 7, 'a', 64);
    strcpy(text + 71, ".example");
    ok(parse(text, strlen(text), 400, &url) == USHER_URL_HOST, "of 64");

    for (n = 0; n < 260; n += 2) {
        memcpy(text + 7 + n, "a.", 2);
    }

    ok(parse(text, 7 + 253, 400, &url) == USHER_URL_OK
       && parse(text, 7 + 254, 400, &url) == USHER_URL_OK
       && url.host.len == 254, "a host of 253, and with a final dot");
    ok(parse(text, 7 + 255, 400, &url) == USHER_URL_HOST, "of 255");

    text[7 + 252] = 'b';
    text[7 + 253] = 'b';
    ok(parse(text, 7 + 254, 400, &url) == USHER_URL_HOST, "of 254");
}


static void
check_allowed(void)
{
    const char  *list;

    list = "shop.example *.wild.example [::1] 10.0.0.1";

    ok(allowed("shop.example", list), "an entry");
    ok(allowed("SHOP.Example", list), "whatever its case");
    ok(allowed("shop.example.", list), "with a final dot");
    ok(allowed("a.wild.example", list), "a label before");
    ok(allowed("a.b.wild.example.", list), "two labels before");
    ok(allowed("[::1]", list) && allowed("10.0.0.1", list), "addresses");
    ok(allowed("b.example", "  a.example  B.EXAMPLE"), "blanks, and case");

    ok(!allowed("wild.example", list), "not the bare host");
    ok(!allowed("evilwild.example", list), "nor part of a label");
    ok(!allowed("evilshop.example", list), "a longer label");
    ok(!allowed("a.shop.example", list), "a label before an exact one");
    ok(!allowed("shop.example.evil.example", list), "labels behind");
    ok(!allowed("a.wild.example.evil.example", list), "behind a wild one");
    ok(!allowed("hop.example", list) && !allowed("shop.exampl", list),
       "a part of one");
    ok(!allowed("example", list) && !allowed("", list)
       && !allowed(".", list), "what is left of one, or nothing");
    ok(!allowed(".wild.example", list), "an empty label before");
    ok(!allowed("a.example", "") && !allowed("a.example", "   "),
       "an empty list");
    ok(!allowed("a.example", "*") && !allowed("a.example", "*.")
       && !allowed("a.example", "*. *"), "a star alone is nothing");
    ok(!allowed("a.example", "a.example,b.example"), "no other separator");
    ok(!allowed("shop.example [::1]", list), "two entries are no host");
}


static void
check_encode(void)
{
    int            c, bad;
    char           want[4];
    unsigned char  in[256], out[768], *end;

    bad = 0;

    for (c = 0; c < 256; c++) {
        in[c] = (unsigned char) c;
        memset(out, 'x', 4);
        end = usher_url_encode(out, out + 3, in + c, 1);

        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
            || (c >= 'A' && c <= 'Z') || (c != 0 && strchr("-._~", c)))
        {
            snprintf(want, sizeof(want), "%c", c);

        } else {
            snprintf(want, sizeof(want), "%%%02X", (unsigned) c);
        }

        bad += end != out + strlen(want)
               || memcmp(out, want, strlen(want)) != 0;
    }

    ok(bad == 0, "each byte");

    end = usher_url_encode(out, out + sizeof(out), in, 256);
    ok(end == out + 3 * (256 - 66) + 66, "all of them");
    ok(usher_url_encode(out, end, in, 256) == end, "where they just fit");

    memset(out, 'x', sizeof(out));
    ok(usher_url_encode(out, end - 1, in, 256) == NULL && out[0] == 'x',
       "and where they do not nothing is written");
    ok(usher_url_encode(out, out, NULL, 0) == out, "nothing");
    ok(usher_url_encode(out, out, in, 1) == NULL, "no room");
}


static void
check_add(void)
{
    ok(add("https://n.example", "u", "x", "https://n.example?u=x"),
       "no path");
    ok(add("https://n.example/p", "u", "x", "https://n.example/p?u=x"),
       "no query");
    ok(add("https://n.example/?", "u", "x", "https://n.example/?u=x"),
       "an empty query");
    ok(add("https://n.example/?a=b", "u", "x", "https://n.example/?a=b&u=x"),
       "a query");
    ok(add("https://n.example/?a=b&", "u", "x", "https://n.example/?a=b&u=x"),
       "a query that ends in &");
    ok(add("https://n.example/?a=b?", "u", "x",
           "https://n.example/?a=b?&u=x"), "a query that ends in ?");
    ok(add("https://n.example/#f", "u", "x", "https://n.example/?u=x#f"),
       "a fragment");
    ok(add("https://n.example/?a#f?g&", "u", "",
           "https://n.example/?a&u=#f?g&"), "a query and a fragment");
    ok(add("https://n.example/#", "a[b]", "c d",
           "https://n.example/?a%5Bb%5D=c%20d#"), "the name is encoded");
    ok(add("https://n.example/?m=1", "ued",
           "https://s.example/a?b=c&d=%20#e\r\n\"<\xff",
           "https://n.example/?m=1&ued=https%3A%2F%2Fs.example%2Fa%3Fb%3Dc"
           "%26d%3D%2520%23e%0D%0A%22%3C%FF"), "a deep link");
}


/* On the heap without a NUL, so that a sanitizer sees a read too far. */

static usher_url_status_e
parse(const char *text, size_t len, size_t max, usher_url_t *url)
{
    unsigned char      *copy;
    usher_url_status_e  rc;

    copy = malloc(len ? len : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, text, len);
    rc = usher_url_parse(copy, len, max, url);
    free(copy);

    return rc;
}


static int
allowed(const char *host, const char *list)
{
    int             rc;
    size_t          n, m;
    unsigned char  *h, *l;

    n = strlen(host);
    m = strlen(list);
    h = malloc(n + 1);
    l = malloc(m + 1);

    if (h == NULL || l == NULL) {
        abort();
    }

    /* they end where the allocations do */

    memcpy(h + 1, host, n);
    memcpy(l + 1, list, m);
    rc = usher_url_host_allowed(h + 1, n, l + 1, m);

    free(h);
    free(l);

    return rc;
}


static int
part(const char *text, const usher_url_part_t *p, const char *want)
{
    return p->len == strlen(want) && memcmp(text + p->at, want, p->len) == 0;
}


/* Also that one byte less is too little room. */

static int
add(const char *url, const char *name, const char *value, const char *want)
{
    size_t            n;
    unsigned char     out[256];
    usher_url_text_t  u, k, v;

    u.data = (const unsigned char *) url;
    u.len = strlen(url);
    k.data = (const unsigned char *) name;
    k.len = strlen(name);
    v.data = (const unsigned char *) value;
    v.len = strlen(value);
    n = strlen(want);

    return usher_url_add(out, out + n, &u, &k, &v) == out + n
           && memcmp(out, want, n) == 0
           && usher_url_add(out, out + n - 1, &u, &k, &v) == NULL;
}
