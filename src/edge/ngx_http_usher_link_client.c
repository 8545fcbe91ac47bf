
/*
 * ngx_http_usher_link_client.c - what the client of a click is: device and
 * system, language, country, where it comes from, and its sub-ids.
 */


#include "ngx_http_usher_agent.h"
#include "ngx_http_usher_link.h"


static ngx_int_t ngx_http_usher_link_subs(ngx_http_request_t *r,
    ngx_http_usher_click_t *click);
static ngx_int_t ngx_http_usher_link_decode(ngx_http_request_t *r,
    ngx_str_t *text);
static ngx_int_t ngx_http_usher_link_word(ngx_http_request_t *r,
    ngx_http_complex_value_t *cv, ngx_str_t *word);
static u_char *ngx_http_usher_link_language(ngx_http_request_t *r, u_char *p,
    ngx_str_t *word);
static void ngx_http_usher_link_best(ngx_str_t *field, ngx_str_t *best);
static u_char *ngx_http_usher_link_referrer(ngx_http_request_t *r, u_char *p,
    ngx_str_t *host);
static size_t ngx_http_usher_link_host(ngx_str_t *field, u_char *dst);
static ngx_str_t *ngx_http_usher_link_header(ngx_http_request_t *r,
    ngx_str_t *name);


ngx_int_t
ngx_http_usher_link_client(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click)
{
    u_char                  *p;
    ngx_http_usher_agent_t  *agent;

    agent = ngx_http_usher_agent(r);

    click->bot = agent->bot;
    click->device = ngx_http_usher_device_names[agent->device];
    click->system = ngx_http_usher_os_names[agent->os];

    if (ngx_http_usher_link_word(r, llcf->country, &click->country) != NGX_OK
        || ngx_http_usher_link_word(r, llcf->device, &click->device) != NGX_OK
        || ngx_http_usher_link_word(r, llcf->system, &click->system) != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = ngx_http_usher_link_language(r, click->words, &click->language);
    (void) ngx_http_usher_link_referrer(r, p, &click->referrer);

    return ngx_http_usher_link_subs(r, click);
}


/* As ngx_http_arg() finds them, the first of each name, but in one pass. */

static ngx_int_t
ngx_http_usher_link_subs(ngx_http_request_t *r,
    ngx_http_usher_click_t *click)
{
    u_char     *p, *end, *stop;
    ngx_str_t  *sub;

    p = r->args.data;
    end = p + r->args.len;

    for ( /* void */ ; p < end; p = stop + 1) {

        stop = memchr(p, '&', end - p);
        if (stop == NULL) {
            stop = end;
        }

        if (stop - p < 5 || p[4] != '='
            || p[3] < '1' || p[3] >= '1' + NGX_HTTP_USHER_SUBS
            || ngx_strncasecmp(p, (u_char *) "sub", 3) != 0)
        {
            continue;
        }

        sub = &click->subs[p[3] - '1'];

        if (sub->data != NULL) {
            continue;
        }

        sub->data = p + 5;
        sub->len = stop - p - 5;

        if (ngx_http_usher_link_decode(r, sub) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* An argument as it is meant: where it goes it is encoded again. */

static ngx_int_t
ngx_http_usher_link_decode(ngx_http_request_t *r, ngx_str_t *text)
{
    u_char  *src, *dst;

    if (text->len == 0 || memchr(text->data, '%', text->len) == NULL) {
        return NGX_OK;
    }

    dst = ngx_pnalloc(r->pool, text->len);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    src = text->data;
    text->data = dst;

    ngx_unescape_uri(&dst, &src, text->len, 0);

    text->len = dst - text->data;

    return NGX_OK;
}


/* What is too long to be a word, or says that nothing is known, is none. */

static ngx_int_t
ngx_http_usher_link_word(ngx_http_request_t *r, ngx_http_complex_value_t *cv,
    ngx_str_t *word)
{
    if (cv == NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, cv, word) != NGX_OK) {
        return NGX_ERROR;
    }

    if (word->len > NGX_HTTP_USHER_WORD_MAX
        || (word->len == 1 && word->data[0] == '-'))
    {
        word->len = 0;
    }

    return NGX_OK;
}


/* Of Accept-Language the best, as "de" or "de-AT"; returns the end. */

static u_char *
ngx_http_usher_link_language(ngx_http_request_t *r, u_char *p,
    ngx_str_t *word)
{
    size_t      i;
    u_char      c;
    ngx_str_t  *field, best;

    static ngx_str_t  name = ngx_string("accept-language");

    field = ngx_http_usher_link_header(r, &name);

    if (field == NULL) {
        return p;
    }

    ngx_http_usher_link_best(field, &best);

    /* two or three letters, and a region of two, which may stand third */

    word->data = p;

    for (i = 0; i < best.len; i++) {
        c = ngx_tolower(best.data[i]);

        if (c < 'a' || c > 'z') {
            break;
        }

        if (i == 3) {
            return p;
        }

        p[i] = c;
    }

    if (i < 2) {
        return p;
    }

    word->len = i;

    if (best.len >= i + 3
        && best.data[best.len - 3] == '-'
        && ngx_tolower(best.data[best.len - 2]) >= 'a'
        && ngx_tolower(best.data[best.len - 2]) <= 'z'
        && ngx_tolower(best.data[best.len - 1]) >= 'a'
        && ngx_tolower(best.data[best.len - 1]) <= 'z')
    {
        p[i] = '-';
        p[i + 1] = ngx_toupper(best.data[best.len - 2]);
        p[i + 2] = ngx_toupper(best.data[best.len - 1]);
        word->len += 3;
    }

    return p + word->len;
}


/* RFC 9110, 12.5.4: the first of those with the highest weight. */

static void
ngx_http_usher_link_best(ngx_str_t *field, ngx_str_t *best)
{
    u_char      *p, *end, *start, *stop, *semicolon, *q;
    ngx_int_t    weight, most;

    ngx_str_null(best);

    p = field->data;
    end = p + field->len;
    most = 0;

    for ( /* void */ ; p < end && most < 1000; p = stop + 1) {

        stop = memchr(p, ',', end - p);
        if (stop == NULL) {
            stop = end;
        }

        for (start = p; start < stop && *start == ' '; start++) {
            /* void */
        }

        semicolon = ngx_strlchr(start, stop, ';');
        weight = 1000;

        if (semicolon != NULL) {
            q = ngx_strlcasestrn(semicolon, stop, (u_char *) "q=", 2 - 1);

            if (q != NULL) {
                weight = ngx_atofp(q + 2, stop - q - 2, 3);
            }

        } else {
            semicolon = stop;
        }

        while (semicolon > start && semicolon[-1] == ' ') {
            semicolon--;
        }

        if (weight > most && semicolon > start) {
            most = weight;
            best->data = start;
            best->len = semicolon - start;
        }
    }
}


/* The host of Referer in lower case, if it is a name; returns the end. */

static u_char *
ngx_http_usher_link_referrer(ngx_http_request_t *r, u_char *p,
    ngx_str_t *host)
{
    size_t        len;
    ngx_str_t    *field;
    usher_url_t   url;

    if (r->headers_in.referer == NULL) {
        return p;
    }

    field = &r->headers_in.referer->value;

    len = ngx_http_usher_link_host(field, p);

    if (len != 0) {
        host->data = p;
        host->len = len;

        return p + len;
    }

    /* behind its authority nothing changes the host */

    for (len = ngx_min(field->len, sizeof("https://") - 1);
         len < field->len;
         len++)
    {
        if (field->data[len] == '/' || field->data[len] == '?'
            || field->data[len] == '#')
        {
            break;
        }
    }

    if (usher_url_parse(field->data, len, len, &url)
        != USHER_URL_OK
        || url.host.len > USHER_CLICK_REFERRER_MAX)
    {
        return p;
    }

    ngx_strlow(p, field->data + url.host.at, url.host.len);

    host->data = p;
    host->len = url.host.len;

    return p + host->len;
}


/*
 * The host of nearly every Referer in one pass: a name whose last label begins
 * with a letter, and a slash.  0: whatever else it is, usher_url_parse() says.
 */

static size_t
ngx_http_usher_link_host(ngx_str_t *field, u_char *dst)
{
    u_char  *p, *end, *q, *label, c;

    static u_char  https[] = "https://";

    if (field->len < sizeof(https)
        || ngx_memcmp(field->data, https, sizeof(https) - 1) != 0)
    {
        return 0;
    }

    p = field->data + sizeof(https) - 1;
    end = field->data + ngx_min(field->len, USHER_CLICK_REFERRER_MAX);
    label = dst;

    for (q = dst; p < end && *p != '/'; p++, q++) {
        c = *p | 0x20;

        if ((c >= 'a' && c <= 'z') || (*p >= '0' && *p <= '9')) {
            *q = c;

        } else if (q == label || (*p != '-' && (*p != '.' || q[-1] == '-'))) {
            return 0;

        } else {
            *q = *p;
        }

        if (*p == '.') {
            label = q + 1;

        } else if (q - label == USHER_URL_LABEL_MAX) {
            return 0;
        }
    }

    return p < end && q > label && q[-1] != '-' && *label >= 'a'
           ? (size_t) (q - dst) : 0;
}


static ngx_str_t *
ngx_http_usher_link_header(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].key.len == name->len
                && ngx_memcmp(h[i].lowcase_key, name->data, name->len) == 0)
            {
                return &h[i].value;
            }
        }
    }

    return NULL;
}
