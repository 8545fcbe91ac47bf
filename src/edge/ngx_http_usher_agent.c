
/*
 * ngx_http_usher_agent.c - who asks: a bot or not, its device, its system.
 *
 * DESIGN
 *
 * The User-Agent is gone through once, with the words below and those of the
 * lists of usher_bots in one matcher.  A regex of a list is only tried if a
 * word that it needs was found (or if it names none), and if no word has made
 * a bot of the client already: what a browser sends costs one pass.  What was
 * found is kept with the configuration, a cell for each hash: most of those
 * who ask send what others sent before them.
 *
 * Of device and system the client hints come first (Sec-CH-UA-Mobile,
 * Sec-CH-UA-Platform, sent by browsers of Chrome's kind over https): they are
 * meant to be read, and User-Agents say less each year.  They know no tablets
 * and no televisions, so "?0" only says that it is no telephone.
 *
 * An iPad that asks for pages as computers get them is one of Apple's
 * computers by all that it sends, unless its browser is not Safari.
 */


#include "ngx_http_usher_agent.h"

#include "usher_crc.h"
#include "usher_siphash.h"


#define NGX_HTTP_USHER_SEEN_TV          0x0001
#define NGX_HTTP_USHER_SEEN_TABLET      0x0002
#define NGX_HTTP_USHER_SEEN_MOBILE      0x0004
#define NGX_HTTP_USHER_SEEN_DESKTOP     0x0008
#define NGX_HTTP_USHER_SEEN_IPHONE      0x0010
#define NGX_HTTP_USHER_SEEN_IPAD        0x0020
#define NGX_HTTP_USHER_SEEN_IBROWSER    0x0040  /* of iPhones and iPads only */
#define NGX_HTTP_USHER_SEEN_ANDROID     0x0080
#define NGX_HTTP_USHER_SEEN_WINDOWS     0x0100
#define NGX_HTTP_USHER_SEEN_WINPHONE    0x0200
#define NGX_HTTP_USHER_SEEN_MAC         0x0400
#define NGX_HTTP_USHER_SEEN_CHROMEOS    0x0800
#define NGX_HTTP_USHER_SEEN_LINUX       0x1000
#define NGX_HTTP_USHER_SEEN_SMALL       0x2000  /* by its hint */
#define NGX_HTTP_USHER_SEEN_LARGE       0x4000

/* A regex sees so much of an agent: some take the square of its length. */
#define NGX_HTTP_USHER_AGENT_MAX        512


typedef struct {
    ngx_str_t    text;
    ngx_uint_t   seen;
} ngx_http_usher_agent_seen_t;


static void ngx_http_usher_agent_judge(ngx_http_request_t *r,
    ngx_http_usher_agent_t *agent);
static ngx_uint_t ngx_http_usher_agent_look(ngx_http_request_t *r,
    ngx_str_t *text, ngx_http_usher_agent_t *agent);
static ngx_uint_t ngx_http_usher_agent_scan(ngx_http_request_t *r,
    ngx_http_usher_agent_conf_t *acf, ngx_str_t *text,
    ngx_http_usher_agent_t *agent);
static ngx_str_t *ngx_http_usher_agent_regex(ngx_http_request_t *r,
    ngx_http_usher_agent_conf_t *acf, ngx_str_t *text, uint64_t *needed);
static ngx_uint_t ngx_http_usher_agent_hints(ngx_http_request_t *r,
    ngx_uint_t *os);
static ngx_uint_t ngx_http_usher_agent_platform(ngx_str_t *value);
static ngx_uint_t ngx_http_usher_agent_os(ngx_uint_t seen);
static ngx_uint_t ngx_http_usher_agent_device(ngx_uint_t seen, ngx_uint_t os);


static ngx_http_usher_agent_seen_t  ngx_http_usher_agent_table[] = {

    { ngx_string("Windows"), NGX_HTTP_USHER_SEEN_WINDOWS },
    { ngx_string("Windows Phone"), NGX_HTTP_USHER_SEEN_WINPHONE },
    { ngx_string("Macintosh"), NGX_HTTP_USHER_SEEN_MAC },
    { ngx_string("Mac OS X"), NGX_HTTP_USHER_SEEN_MAC },
    { ngx_string("iPhone"), NGX_HTTP_USHER_SEEN_IPHONE },
    { ngx_string("iPod"), NGX_HTTP_USHER_SEEN_IPHONE },
    { ngx_string("iPad"), NGX_HTTP_USHER_SEEN_IPAD },
    { ngx_string("CriOS/"), NGX_HTTP_USHER_SEEN_IBROWSER },
    { ngx_string("FxiOS/"), NGX_HTTP_USHER_SEEN_IBROWSER },
    { ngx_string("EdgiOS/"), NGX_HTTP_USHER_SEEN_IBROWSER },
    { ngx_string("Android"), NGX_HTTP_USHER_SEEN_ANDROID },
    { ngx_string("CrOS"), NGX_HTTP_USHER_SEEN_CHROMEOS },
    { ngx_string("Linux"), NGX_HTTP_USHER_SEEN_LINUX },
    { ngx_string("LINUX"), NGX_HTTP_USHER_SEEN_LINUX },
    { ngx_string("X11"), NGX_HTTP_USHER_SEEN_DESKTOP },

    { ngx_string("Mobile"), NGX_HTTP_USHER_SEEN_MOBILE },
    { ngx_string("Dalvik/"), NGX_HTTP_USHER_SEEN_MOBILE },
    { ngx_string("Opera Mini"), NGX_HTTP_USHER_SEEN_MOBILE },
    { ngx_string("Opera Mobi"), NGX_HTTP_USHER_SEEN_MOBILE },
    { ngx_string("MIDP"), NGX_HTTP_USHER_SEEN_MOBILE },
    { ngx_string("Symbian"), NGX_HTTP_USHER_SEEN_MOBILE },
    { ngx_string("BlackBerry"), NGX_HTTP_USHER_SEEN_MOBILE },
    { ngx_string("KAIOS"), NGX_HTTP_USHER_SEEN_MOBILE },
    { ngx_string("(Phone;"), NGX_HTTP_USHER_SEEN_MOBILE },

    { ngx_string("(Tablet;"), NGX_HTTP_USHER_SEEN_TABLET },
    { ngx_string("PlayBook"), NGX_HTTP_USHER_SEEN_TABLET },
    { ngx_string("Kindle"), NGX_HTTP_USHER_SEEN_TABLET },
    { ngx_string("Silk/"), NGX_HTTP_USHER_SEEN_TABLET },

    { ngx_string("SmartTV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Smart TV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("SMART-TV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Android TV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("GoogleTV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Google TV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("AppleTV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Apple TV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("HbbTV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("MiTV"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("; AFT"), NGX_HTTP_USHER_SEEN_TV },     /* Amazon's Fire TV */
    { ngx_string("BRAVIA"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Chromecast"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("CrKey"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("NetCast"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Web0S"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Roku"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Viera"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("VIDAA"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Xbox"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("PlayStation"), NGX_HTTP_USHER_SEEN_TV },
    { ngx_string("Nintendo"), NGX_HTTP_USHER_SEEN_TV }
};

#define NGX_HTTP_USHER_AGENT_WORDS                                            \
    (sizeof(ngx_http_usher_agent_table)                                       \
     / sizeof(ngx_http_usher_agent_seen_t))


ngx_str_t  ngx_http_usher_device_names[NGX_HTTP_USHER_DEVICES] = {
    ngx_string("unknown"),
    ngx_string("desktop"),
    ngx_string("mobile"),
    ngx_string("tablet"),
    ngx_string("tv"),
    ngx_string("bot")
};


ngx_str_t  ngx_http_usher_os_names[NGX_HTTP_USHER_OSES] = {
    ngx_string("other"),
    ngx_string("windows"),
    ngx_string("macos"),
    ngx_string("ios"),
    ngx_string("android"),
    ngx_string("linux"),
    ngx_string("chromeos")
};


/* Where there is no memory to keep what would be found. */
static ngx_http_usher_agent_t  ngx_http_usher_agent_nobody;


ngx_http_usher_agent_t *
ngx_http_usher_agent(ngx_http_request_t *r)
{
    ngx_http_usher_ctx_t    *ctx;
    ngx_http_usher_agent_t  *agent;

    r = r->main;

    ctx = ngx_http_usher_ctx(r, 1);
    if (ctx == NULL) {
        return &ngx_http_usher_agent_nobody;
    }

    if (ctx->agent == NULL) {
        agent = ngx_palloc(r->pool, sizeof(ngx_http_usher_agent_t));
        if (agent == NULL) {
            return &ngx_http_usher_agent_nobody;
        }

        ngx_http_usher_agent_judge(r, agent);

        ctx->agent = agent;
    }

    return ctx->agent;
}


ngx_uint_t
ngx_http_usher_agent_bot(ngx_http_request_t *r)
{
    return ngx_http_usher_agent(r)->bot;
}


static void
ngx_http_usher_agent_judge(ngx_http_request_t *r,
    ngx_http_usher_agent_t *agent)
{
    ngx_uint_t        seen, os;
    ngx_table_elt_t  *h;

    seen = ngx_http_usher_agent_hints(r, &os);

    agent->tag = NULL;
    agent->hash[0] = 0;
    agent->hash[1] = 0;

    h = r->headers_in.user_agent;

    if (h == NULL || h->value.len == 0) {
        agent->bot = NGX_HTTP_USHER_AGENT_MISSING;

    } else {
        seen |= ngx_http_usher_agent_look(r, &h->value, agent);

        agent->bot = agent->tag ? NGX_HTTP_USHER_AGENT_BOT
                                : NGX_HTTP_USHER_AGENT_PERSON;
    }

    agent->os = os != NGX_HTTP_USHER_OS_OTHER ? os
                                              : ngx_http_usher_agent_os(seen);

    agent->device = agent->tag ? NGX_HTTP_USHER_DEVICE_BOT
                               : ngx_http_usher_agent_device(seen, agent->os);
}


/* What is seen in the text; sets its hash, and the tag if it is a bot's. */

static ngx_uint_t
ngx_http_usher_agent_look(ngx_http_request_t *r, ngx_str_t *text,
    ngx_http_usher_agent_t *agent)
{
    ngx_http_usher_agent_kept_t  *kept;
    ngx_http_usher_agent_conf_t  *acf;

    /* no secret: what protects a visitor is the salt that it goes under */

    static const uint64_t  key[2] = { 0, 0 };

    acf = ngx_http_get_module_main_conf(r, ngx_http_usher_agent_module);

    if (text->len > NGX_HTTP_USHER_AGENT_KEPT_TEXT) {
        usher_siphash(key, -1, text->data,
                      ngx_min(text->len, USHER_REQUEST_AGENT_MAX),
                      agent->hash);
        return ngx_http_usher_agent_scan(r, acf, text, agent);
    }

    kept = &acf->kept[usher_crc32c(0, text->data, text->len)
                      % NGX_HTTP_USHER_AGENT_KEPT];

    if (kept->len != text->len
        || ngx_memcmp(kept->text, text->data, text->len) != 0)
    {
        usher_siphash(key, -1, text->data, text->len, kept->hash);
        kept->seen = ngx_http_usher_agent_scan(r, acf, text, agent);
        kept->tag = agent->tag;
        kept->len = text->len;
        ngx_memcpy(kept->text, text->data, text->len);
    }

    agent->tag = kept->tag;
    agent->hash[0] = kept->hash[0];
    agent->hash[1] = kept->hash[1];

    return kept->seen;
}


static ngx_uint_t
ngx_http_usher_agent_scan(ngx_http_request_t *r,
    ngx_http_usher_agent_conf_t *acf, ngx_str_t *text,
    ngx_http_usher_agent_t *agent)
{
    uint32_t                      n, first;
    uint64_t                      needed[NGX_HTTP_USHER_AGENT_REGEXES / 64];
    ngx_uint_t                    seen;
    usher_aho_scan_t              scan;
    ngx_http_usher_agent_word_t  *words, *word;

    words = acf->words.elts;
    ngx_memcpy(needed, acf->always, sizeof(needed));

    seen = 0;
    first = USHER_AHO_NONE;

    usher_aho_start(&scan, acf->aho, text->data, text->len);

    while ((n = usher_aho_next(&scan)) != USHER_AHO_NONE) {

        if (n < acf->base) {
            seen |= ngx_http_usher_agent_table[n].seen;
            continue;
        }

        word = &words[n - acf->base];

        if (word->regex >= 0) {
            needed[word->regex / 64] |= (uint64_t) 1 << (word->regex % 64);

        } else if (n < first) {
            first = n;
            agent->tag = &word->tag;
        }
    }

    if (agent->tag == NULL && acf->regexes.nelts) {
        agent->tag = ngx_http_usher_agent_regex(r, acf, text, needed);
    }

    return seen;
}


#if (NGX_PCRE)


static ngx_str_t *
ngx_http_usher_agent_regex(ngx_http_request_t *r,
    ngx_http_usher_agent_conf_t *acf, ngx_str_t *text, uint64_t *needed)
{
    ngx_int_t                      rc;
    ngx_str_t                      head;
    ngx_uint_t                     i;
    ngx_http_usher_agent_regex_t  *regex;

    head.data = text->data;
    head.len = ngx_min(text->len, NGX_HTTP_USHER_AGENT_MAX);

    regex = acf->regexes.elts;

    for (i = 0; i < acf->regexes.nelts; i++) {

        if (!(needed[i / 64] & ((uint64_t) 1 << (i % 64)))) {
            continue;
        }

        rc = ngx_regex_exec(regex[i].regex, &head, acf->captures,
                            acf->ncaptures);

        if (rc >= 0) {
            return &regex[i].tag;
        }

        if (rc != NGX_REGEX_NO_MATCHED) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          ngx_regex_exec_n " failed: %i on an agent using "
                          "\"%V\"", rc, &regex[i].text);
        }
    }

    return NULL;
}


#else


static ngx_str_t *
ngx_http_usher_agent_regex(ngx_http_request_t *r,
    ngx_http_usher_agent_conf_t *acf, ngx_str_t *text, uint64_t *needed)
{
    return NULL;
}


#endif


/* Both headers are short and "sent by default" (W3C, UA Client Hints). */

static ngx_uint_t
ngx_http_usher_agent_hints(ngx_http_request_t *r, ngx_uint_t *os)
{
    ngx_uint_t        i, seen;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    seen = 0;
    *os = NGX_HTTP_USHER_OS_OTHER;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == 16
                && ngx_strncmp(h[i].lowcase_key, "sec-ch-ua-mobile", 16) == 0)
            {
                if (h[i].value.len == 2 && h[i].value.data[0] == '?') {
                    seen |= h[i].value.data[1] == '1'
                            ? NGX_HTTP_USHER_SEEN_SMALL
                            : NGX_HTTP_USHER_SEEN_LARGE;
                }

            } else if (h[i].key.len == 18
                       && ngx_strncmp(h[i].lowcase_key, "sec-ch-ua-platform",
                                      18)
                          == 0)
            {
                *os = ngx_http_usher_agent_platform(&h[i].value);
            }
        }
    }

    return seen;
}


static ngx_uint_t
ngx_http_usher_agent_platform(ngx_str_t *value)
{
    ngx_uint_t  i;

    static struct {
        ngx_str_t    text;
        ngx_uint_t   os;
    } platforms[] = {
        { ngx_string("\"Windows\""), NGX_HTTP_USHER_OS_WINDOWS },
        { ngx_string("\"macOS\""), NGX_HTTP_USHER_OS_MACOS },
        { ngx_string("\"iOS\""), NGX_HTTP_USHER_OS_IOS },
        { ngx_string("\"Android\""), NGX_HTTP_USHER_OS_ANDROID },
        { ngx_string("\"Linux\""), NGX_HTTP_USHER_OS_LINUX },
        { ngx_string("\"Chrome OS\""), NGX_HTTP_USHER_OS_CHROMEOS },
        { ngx_string("\"Chromium OS\""), NGX_HTTP_USHER_OS_CHROMEOS }
    };

    for (i = 0; i < sizeof(platforms) / sizeof(platforms[0]); i++) {
        if (value->len == platforms[i].text.len
            && ngx_memcmp(value->data, platforms[i].text.data, value->len)
               == 0)
        {
            return platforms[i].os;
        }
    }

    return NGX_HTTP_USHER_OS_OTHER;
}


/* Agents name systems that they are not: the one that nobody pretends first. */

static ngx_uint_t
ngx_http_usher_agent_os(ngx_uint_t seen)
{
    if (seen & NGX_HTTP_USHER_SEEN_WINPHONE) {
        return NGX_HTTP_USHER_OS_WINDOWS;
    }

    if (seen & (NGX_HTTP_USHER_SEEN_IPHONE|NGX_HTTP_USHER_SEEN_IPAD
                |NGX_HTTP_USHER_SEEN_IBROWSER))
    {
        return NGX_HTTP_USHER_OS_IOS;
    }

    if (seen & NGX_HTTP_USHER_SEEN_ANDROID) {
        return NGX_HTTP_USHER_OS_ANDROID;
    }

    if (seen & NGX_HTTP_USHER_SEEN_CHROMEOS) {
        return NGX_HTTP_USHER_OS_CHROMEOS;
    }

    if (seen & NGX_HTTP_USHER_SEEN_WINDOWS) {
        return NGX_HTTP_USHER_OS_WINDOWS;
    }

    if (seen & NGX_HTTP_USHER_SEEN_MAC) {
        return NGX_HTTP_USHER_OS_MACOS;
    }

    if (seen & NGX_HTTP_USHER_SEEN_LINUX) {
        return NGX_HTTP_USHER_OS_LINUX;
    }

    return NGX_HTTP_USHER_OS_OTHER;
}


static ngx_uint_t
ngx_http_usher_agent_device(ngx_uint_t seen, ngx_uint_t os)
{
    if (seen & NGX_HTTP_USHER_SEEN_TV) {
        return NGX_HTTP_USHER_DEVICE_TV;
    }

    if (seen & NGX_HTTP_USHER_SEEN_SMALL) {
        return NGX_HTTP_USHER_DEVICE_MOBILE;
    }

    if (seen & (NGX_HTTP_USHER_SEEN_TABLET|NGX_HTTP_USHER_SEEN_IPAD)) {
        return NGX_HTTP_USHER_DEVICE_TABLET;
    }

    if ((seen & (NGX_HTTP_USHER_SEEN_IPHONE|NGX_HTTP_USHER_SEEN_MOBILE))
        && !(seen & NGX_HTTP_USHER_SEEN_LARGE))
    {
        return NGX_HTTP_USHER_DEVICE_MOBILE;
    }

    /* no telephone */

    switch (os) {

    case NGX_HTTP_USHER_OS_ANDROID:
    case NGX_HTTP_USHER_OS_IOS:
        return NGX_HTTP_USHER_DEVICE_TABLET;

    case NGX_HTTP_USHER_OS_OTHER:
        return (seen & (NGX_HTTP_USHER_SEEN_DESKTOP|NGX_HTTP_USHER_SEEN_LARGE))
               ? NGX_HTTP_USHER_DEVICE_DESKTOP : NGX_HTTP_USHER_DEVICE_UNKNOWN;

    default:
        return NGX_HTTP_USHER_DEVICE_DESKTOP;
    }
}


ngx_int_t
ngx_http_usher_agent_words(ngx_array_t *given)
{
    ngx_uint_t         i;
    usher_aho_word_t  *word;

    word = ngx_array_push_n(given, NGX_HTTP_USHER_AGENT_WORDS);
    if (word == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < NGX_HTTP_USHER_AGENT_WORDS; i++) {
        word[i].data = ngx_http_usher_agent_table[i].text.data;
        word[i].len = ngx_http_usher_agent_table[i].text.len;
        word[i].flags = 0;
    }

    return NGX_OK;
}
