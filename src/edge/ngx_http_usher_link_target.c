
/*
 * ngx_http_usher_link_target.c - where a click is sent.
 *
 * DESIGN
 *
 * Of the targets whose conditions hold, those of the lowest step share the
 * clicks by weight.  The split is sticky without a cookie: the visitor's
 * address and agent, hashed under a key that is the link's and never changes,
 * are always the same number.  It is not kept.
 *
 * A visitor of whom something is not known meets no condition on it.
 *
 * Who would be sent to a dead target is sent to another of its step, then to
 * those of the next, to the link's own URL, and at last to the fallback; the
 * visitors of those that live stay where they are.
 */


#include "ngx_http_usher_agent.h"
#include "ngx_http_usher_link.h"

#include "usher_siphash.h"


#define NGX_HTTP_USHER_SPLIT     0x74696c7073686c75ULL    /* "ulhsplit" */


static ngx_int_t ngx_http_usher_link_word(ngx_http_request_t *r,
    ngx_http_complex_value_t *cv, ngx_str_t *word);
static ngx_int_t ngx_http_usher_link_subs(ngx_http_request_t *r,
    ngx_http_usher_click_t *click);
static ngx_int_t ngx_http_usher_link_decode(ngx_http_request_t *r,
    ngx_str_t *text);
static u_char *ngx_http_usher_link_language(ngx_http_request_t *r, u_char *p,
    ngx_str_t *word);
static void ngx_http_usher_link_best(ngx_str_t *field, ngx_str_t *best);
static u_char *ngx_http_usher_link_referrer(ngx_http_request_t *r, u_char *p,
    ngx_str_t *host);
static ngx_str_t *ngx_http_usher_link_header(ngx_http_request_t *r,
    ngx_str_t *name);
static ngx_http_usher_target_t *ngx_http_usher_link_split(
    ngx_http_request_t *r, ngx_http_usher_click_t *click,
    ngx_http_usher_target_t **held, ngx_uint_t n);
static void ngx_http_usher_link_send_to(ngx_http_usher_click_t *click,
    ngx_int_t target, ngx_str_t *url);
static ngx_uint_t ngx_http_usher_link_dead(ngx_http_usher_link_t *link,
    ngx_int_t target);
static ngx_uint_t ngx_http_usher_link_holds(ngx_http_usher_target_t *t,
    ngx_http_usher_click_t *click, time_t now);
static ngx_uint_t ngx_http_usher_link_in(ngx_str_t *list, ngx_str_t *word);
static ngx_uint_t ngx_http_usher_link_speaks(ngx_str_t *list,
    ngx_str_t *language);
static ngx_http_usher_target_t *ngx_http_usher_link_share(
    ngx_http_request_t *r, ngx_http_usher_link_t *link,
    ngx_http_usher_target_t **held, ngx_uint_t n, ngx_uint_t again);
static void ngx_http_usher_link_add(ngx_str_t *location, ngx_str_t *args);
static ngx_uint_t ngx_http_usher_link_line(ngx_str_t *args);
static ngx_uint_t ngx_http_usher_link_loops(ngx_str_t *location,
    ngx_str_t *host);
static void ngx_http_usher_link_values(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, usher_url_text_t values[USHER_MACROS_N],
    u_char number[NGX_INT64_LEN], u_char now[NGX_TIME_T_LEN]);


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

        stop = ngx_strlchr(p, end, '&');
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

    if (text->len == 0 || ngx_strlchr(text->data, text->data + text->len, '%')
                          == NULL)
    {
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

    for ( /* void */ ; p < end; p = stop + 1) {

        stop = ngx_strlchr(p, end, ',');
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


void
ngx_http_usher_link_choose(ngx_http_request_t *r,
    ngx_http_usher_click_t *click)
{
    time_t                    now;
    ngx_uint_t                i, n, next;
    ngx_http_usher_link_t    *link;
    ngx_http_usher_target_t  *t, *held[NGX_HTTP_USHER_TARGETS];

    link = click->link;
    click->status = NGX_HTTP_NOT_FOUND;

    if (link == NULL) {
        click->reason = USHER_CLICK_UNKNOWN;
        click->target = NGX_HTTP_USHER_TARGET_NOWHERE;

        if (click->url.len) {
            click->target = NGX_HTTP_USHER_TARGET_FALLBACK;
            click->status = NGX_HTTP_MOVED_TEMPORARILY;
        }

        return;
    }

    now = ngx_time();
    click->status = link->status;

    if (link->expires != 0 && link->expires <= now) {
        click->reason = USHER_CLICK_EXPIRED;
        ngx_http_usher_link_send_to(click, NGX_HTTP_USHER_TARGET_OVERFLOW,
                                    &link->overflow);
        return;
    }

    for (i = 0; i < link->ntargets; i = next) {

        n = 0;

        for (next = i; next < link->ntargets; next++) {
            t = &link->targets[next];

            if (t->step != link->targets[i].step) {
                break;
            }

            if (ngx_http_usher_link_holds(t, click, now)) {
                held[n++] = t;
            }
        }

        t = ngx_http_usher_link_split(r, click, held, n);

        if (t != NULL) {
            click->target = (ngx_int_t) t->number;
            click->url = t->url;
            return;
        }
    }

    ngx_http_usher_link_send_to(click, NGX_HTTP_USHER_TARGET_URL, &link->url);
}


/* Of targets that hold one, by weight; NULL: there is none that lives. */

static ngx_http_usher_target_t *
ngx_http_usher_link_split(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, ngx_http_usher_target_t **held,
    ngx_uint_t n)
{
    ngx_uint_t                i, alive;
    ngx_http_usher_target_t  *t;

    if (n == 0) {
        return NULL;
    }

    t = ngx_http_usher_link_share(r, click->link, held, n, 0);

    if (!ngx_http_usher_link_dead(click->link, (ngx_int_t) t->number)) {
        return t;
    }

    /* its visitors are shared out among those that live */

    ngx_http_usher_link_reason(click, USHER_CLICK_DEAD);

    for (i = 0, alive = 0; i < n; i++) {
        if (!ngx_http_usher_link_dead(click->link,
                                      (ngx_int_t) held[i]->number))
        {
            held[alive++] = held[i];
        }
    }

    return alive ? ngx_http_usher_link_share(r, click->link, held, alive, 1)
                 : NULL;
}


/* One of the link's own; if it is dead, or is none, where that falls back. */

static void
ngx_http_usher_link_send_to(ngx_http_usher_click_t *click, ngx_int_t target,
    ngx_str_t *url)
{
    click->target = target;
    click->url = *url;

    if (ngx_http_usher_link_dead(click->link, target)) {
        ngx_http_usher_link_reason(click, USHER_CLICK_DEAD);

        /* where there is no other, perhaps it lives after all */

        if (click->link->fallback.len) {
            click->url.len = 0;
        }
    }

    if (click->url.len == 0) {
        ngx_http_usher_link_fall_back(click);
    }
}


static ngx_uint_t
ngx_http_usher_link_dead(ngx_http_usher_link_t *link, ngx_int_t target)
{
    if (target == NGX_HTTP_USHER_TARGET_OVERFLOW) {
        target = NGX_HTTP_USHER_DEAD_OVERFLOW;
    }

    return (link->dead >> target) & 1;
}


void
ngx_http_usher_link_fall_back(ngx_http_usher_click_t *click)
{
    if (click->link == NULL || click->link->fallback.len == 0
        || click->target == NGX_HTTP_USHER_TARGET_FALLBACK)
    {
        ngx_http_usher_link_nowhere(click);
        return;
    }

    click->target = NGX_HTTP_USHER_TARGET_FALLBACK;
    click->url = click->link->fallback;
}


void
ngx_http_usher_link_nowhere(ngx_http_usher_click_t *click)
{
    click->target = NGX_HTTP_USHER_TARGET_NOWHERE;
    click->url.len = 0;
    click->status = NGX_HTTP_NOT_FOUND;
}


static ngx_uint_t
ngx_http_usher_link_holds(ngx_http_usher_target_t *t,
    ngx_http_usher_click_t *click, time_t now)
{
    return (t->from == 0 || t->from <= now)
           && (t->until == 0 || now < t->until)
           && ngx_http_usher_link_in(&t->countries, &click->country)
           && ngx_http_usher_link_in(&t->devices, &click->device)
           && ngx_http_usher_link_in(&t->systems, &click->system)
           && ngx_http_usher_link_speaks(&t->languages, &click->language)
           && (t->referrers.len == 0
               || usher_url_host_allowed(click->referrer.data,
                                         click->referrer.len,
                                         t->referrers.data,
                                         t->referrers.len));
}


static ngx_uint_t
ngx_http_usher_link_in(ngx_str_t *list, ngx_str_t *word)
{
    u_char  *p, *end, *stop;

    if (list->len == 0) {
        return 1;
    }

    p = list->data;
    end = p + list->len;

    for ( /* void */ ; p < end; p = stop + 1) {

        stop = ngx_strlchr(p, end, ' ');
        if (stop == NULL) {
            stop = end;
        }

        if ((size_t) (stop - p) == word->len
            && ngx_strncasecmp(p, word->data, word->len) == 0)
        {
            return word->len != 0;
        }
    }

    return 0;
}


/* Who speaks de-AT speaks de. */

static ngx_uint_t
ngx_http_usher_link_speaks(ngx_str_t *list, ngx_str_t *language)
{
    ngx_str_t  bare;

    if (ngx_http_usher_link_in(list, language)) {
        return 1;
    }

    if (language->len < 5) {
        return 0;
    }

    bare = *language;
    bare.len -= 3;

    return ngx_http_usher_link_in(list, &bare);
}


/*
 * By weight, always the same for this visitor and link; again, of what is left,
 * by a number that has nothing to do with the first.
 */

static ngx_http_usher_target_t *
ngx_http_usher_link_share(ngx_http_request_t *r, ngx_http_usher_link_t *link,
    ngx_http_usher_target_t **held, ngx_uint_t n, ngx_uint_t again)
{
    u_char      *p;
    size_t       len;
    uint64_t     key[2], hash[2], share, sum;
    ngx_str_t   *agent;
    ngx_uint_t   i;
    u_char       text[NGX_SOCKADDR_STRLEN + USHER_REQUEST_AGENT_MAX];

    if (n == 1) {
        return held[0];
    }

    p = ngx_cpymem(text, r->connection->addr_text.data,
                   r->connection->addr_text.len);

    if (r->headers_in.user_agent != NULL) {
        agent = &r->headers_in.user_agent->value;
        len = ngx_min(agent->len, USHER_REQUEST_AGENT_MAX);
        p = ngx_cpymem(p, agent->data, len);
    }

    key[0] = link->id;
    key[1] = NGX_HTTP_USHER_SPLIT;

    usher_siphash(key, -1, text, p - text, hash);

    for (i = 0, sum = 0; i < n; i++) {
        sum += held[i]->weight;
    }

    share = hash[again] % sum;

    for (i = 0; share >= held[i]->weight; i++) {
        share -= held[i]->weight;
    }

    return held[i];
}


ngx_int_t
ngx_http_usher_link_location(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, ngx_str_t *location)
{
    size_t             size;
    u_char            *p, *end, number[NGX_INT64_LEN], now[NGX_TIME_T_LEN];
    ngx_int_t          rc;
    ngx_str_t          args;
    usher_url_text_t   values[USHER_MACROS_N];

    if (click->url.len == 0) {
        return NGX_OK;
    }

    ngx_str_null(&args);

    if (click->link != NULL && click->link->query
        && ngx_http_usher_link_line(&click->args))
    {
        args = click->args;
    }

    ngx_memzero(values, sizeof(values));
    ngx_http_usher_link_values(r, click, values, number, now);

    size = usher_macro_max(click->url.data, click->url.len, values);

    if (size > NGX_HTTP_USHER_LOCATION
        || args.len > NGX_HTTP_USHER_LOCATION - size)
    {
        ngx_http_usher_link_reason(click, USHER_CLICK_TOO_LONG);
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(r->pool, size + 1 + args.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    end = usher_macro_expand(p, p + size, click->url.data, click->url.len,
                             values);
    if (end == NULL) {
        return NGX_ERROR;
    }

    location->data = p;
    location->len = end - p;

    if (ngx_http_usher_link_loops(location, &click->host)) {
        ngx_http_usher_link_reason(click, USHER_CLICK_LOOP);
        return NGX_DECLINED;
    }

    if (click->page.len && click->target >= 0) {
        rc = ngx_http_usher_link_place(r, click, location, 1 + args.len);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (args.len) {
        ngx_http_usher_link_add(location, &args);
    }

    return NGX_OK;
}


/* Byte by byte, before the fragment, where there is room for it. */

static void
ngx_http_usher_link_add(ngx_str_t *location, ngx_str_t *args)
{
    size_t   sign;
    u_char  *p, *end, *hash, *query;

    p = location->data;
    end = p + location->len;

    hash = ngx_strlchr(p, end, '#');
    if (hash == NULL) {
        hash = end;
    }

    query = ngx_strlchr(p, hash, '?');
    sign = (query == NULL || (hash[-1] != '?' && hash[-1] != '&'));

    ngx_memmove(hash + sign + args->len, hash, end - hash);

    if (sign) {
        *hash++ = query ? '&' : '?';
    }

    ngx_memcpy(hash, args->data, args->len);

    location->len += sign + args->len;
}


/* Whether it may stand in a header: "set" may have put what it likes there. */

static ngx_uint_t
ngx_http_usher_link_line(ngx_str_t *args)
{
    size_t  i;

    for (i = 0; i < args->len; i++) {
        if (args->data[i] <= ' ' || args->data[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}


/* Of two the lower one, as usher_click.h has it. */

void
ngx_http_usher_link_reason(ngx_http_usher_click_t *click, ngx_uint_t reason)
{
    if (click->reason == USHER_CLICK_VALID || reason < click->reason) {
        click->reason = reason;
    }
}


/* Links do not lead to links: not to those of the same host. */

static ngx_uint_t
ngx_http_usher_link_loops(ngx_str_t *location, ngx_str_t *host)
{
    u_char  *p, *end;

    p = location->data + sizeof("http://") - 1;
    end = location->data + location->len;

    if (*p == '/') {
        p++;                             /* of https:// */
    }

    if ((size_t) (end - p) < host->len
        || ngx_strncasecmp(p, host->data, host->len) != 0)
    {
        return 0;
    }

    p += host->len;

    return p == end || *p == '/' || *p == '?' || *p == '#' || *p == ':';
}


static void
ngx_http_usher_link_values(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, usher_url_text_t values[USHER_MACROS_N],
    u_char number[NGX_INT64_LEN], u_char now[NGX_TIME_T_LEN])
{
    ngx_uint_t              i;
    ngx_http_usher_link_t  *link;

    static ngx_http_usher_link_t  none;

    /* the fallback of a host has no macros */

    link = click->link ? click->link : &none;

    struct {
        usher_macro_e   macro;
        ngx_str_t      *text;
    } texts[] = {
        { USHER_MACRO_CLICK_ID, &click->id },
        { USHER_MACRO_SUB1, &click->subs[0] },
        { USHER_MACRO_SUB2, &click->subs[1] },
        { USHER_MACRO_SUB3, &click->subs[2] },
        { USHER_MACRO_SUB4, &click->subs[3] },
        { USHER_MACRO_SUB5, &click->subs[4] },
        { USHER_MACRO_COUNTRY, &click->country },
        { USHER_MACRO_DEVICE, &click->device },
        { USHER_MACRO_OS, &click->system },
        { USHER_MACRO_LANG, &click->language },
        { USHER_MACRO_REFERRER_HOST, &click->referrer },
        { USHER_MACRO_SLUG, &click->slug },
        { USHER_MACRO_CAMPAIGN, &link->campaign },
        { USHER_MACRO_PRODUCT, &link->product },
        { USHER_MACRO_PROGRAM, &link->program },
        { USHER_MACRO_NETWORK, &link->network },
        { USHER_MACRO_PARTNER, &link->partner }
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        values[texts[i].macro].data = texts[i].text->data;
        values[texts[i].macro].len = texts[i].text->len;
    }

    values[USHER_MACRO_LINK].data = number;
    values[USHER_MACRO_LINK].len =
        ngx_http_usher_decimal(number, link->id) - number;

    values[USHER_MACRO_TIME].data = now;
    values[USHER_MACRO_TIME].len = ngx_http_usher_decimal(now, ngx_time())
                                   - now;
}
