
/*
 * ngx_http_usher_link_record.c - records of links and hosts: from JSON into
 * the zone, and out of it.
 *
 * A packed link is its numbers, the numbers of its targets, its caps, and then
 * all texts, in the order of the structs; URLs are compiled, so that a click
 * has only to expand them.  Lengths are 16 bits: a record is no longer than
 * NGX_HTTP_USHER_RECORD_MAX.
 */


#include "ngx_http_usher_cap.h"


#define NGX_HTTP_USHER_LINK_PLAIN  0x01
#define NGX_HTTP_USHER_LINK_QUERY  0x02

#define NGX_HTTP_USHER_URL_MAX     3072    /* with what SQL added to it */
#define NGX_HTTP_USHER_WORDS_MAX   4096
#define NGX_HTTP_USHER_HOSTS_MAX   1024
#define NGX_HTTP_USHER_NAMED_MAX   64      /* a parameter's name */


typedef struct {
    uint64_t    id;
    uint64_t    org_id;
    int64_t     expires;
    uint32_t    dead;
    uint16_t    status;
    uint8_t     flags;
    uint8_t     ntargets;
    uint16_t    texts[NGX_HTTP_USHER_LINK_TEXTS];
    uint16_t    ncaps;
} ngx_http_usher_packed_link_t;


typedef struct {
    int64_t     from;
    int64_t     until;
    uint16_t    number;
    uint16_t    step;
    uint16_t    weight;
    uint16_t    texts[NGX_HTTP_USHER_TARGET_TEXTS];
} ngx_http_usher_packed_target_t;


typedef struct {
    uint64_t    org_id;
    uint64_t    fallback;          /* bytes */
} ngx_http_usher_packed_domain_t;


/* A text of a record, and how long it may be. */
typedef struct {
    const char  *name;
    size_t       max;
    unsigned     url;              /* 1: a template, to be compiled */
} ngx_http_usher_record_text_t;


static const char *ngx_http_usher_target_pack(json_t *object, u_char **numbers,
    u_char **text, u_char *end);
static const char *ngx_http_usher_caps_pack(json_t *root, json_t *targets,
    u_char **p, uint16_t *n);
static const char *ngx_http_usher_texts_pack(json_t *object,
    const ngx_http_usher_record_text_t *texts, ngx_uint_t n, uint16_t *lens,
    u_char **text, u_char *end);
static ngx_int_t ngx_http_usher_texts_unpack(ngx_str_t *to,
    const uint16_t *lens, ngx_uint_t n, u_char **text, u_char *end);
static ngx_int_t ngx_http_usher_record_optional(json_t *object,
    const char *name, uint64_t max, uint64_t *value);


static const ngx_http_usher_record_text_t
    ngx_http_usher_link_texts[NGX_HTTP_USHER_LINK_TEXTS] = {
    { "url", NGX_HTTP_USHER_URL_MAX, 1 },
    { "fallback", NGX_HTTP_USHER_URL_MAX, 1 },
    { "overflow", NGX_HTTP_USHER_URL_MAX, 1 },
    { "referrer", 32, 0 },
    { "campaign", NGX_HTTP_USHER_NAME_MAX, 0 },
    { "product", NGX_HTTP_USHER_NAME_MAX, 0 },
    { "program", NGX_HTTP_USHER_NAME_MAX, 0 },
    { "network", NGX_HTTP_USHER_NAME_MAX, 0 },
    { "partner", NGX_HTTP_USHER_NAME_MAX, 0 },
    { "hosts", NGX_HTTP_USHER_HOSTS_MAX, 0 },
    { "deep", NGX_HTTP_USHER_NAMED_MAX, 0 }
};

static const ngx_http_usher_record_text_t
    ngx_http_usher_domain_texts[1] = {
    { "fallback", NGX_HTTP_USHER_URL_MAX, 1 }
};

static const ngx_http_usher_record_text_t
    ngx_http_usher_target_texts[NGX_HTTP_USHER_TARGET_TEXTS] = {
    { "url", NGX_HTTP_USHER_URL_MAX, 1 },
    { "country", NGX_HTTP_USHER_WORDS_MAX, 0 },
    { "device", NGX_HTTP_USHER_WORDS_MAX, 0 },
    { "os", NGX_HTTP_USHER_WORDS_MAX, 0 },
    { "lang", NGX_HTTP_USHER_WORDS_MAX, 0 },
    { "referrer", NGX_HTTP_USHER_WORDS_MAX, 0 }
};


const char *
ngx_http_usher_domain_pack(json_t *root, u_char *buf, size_t *len)
{
    u_char                          *text;
    uint16_t                         fallback;
    const char                      *reason;
    ngx_http_usher_packed_domain_t   domain;

    if (ngx_http_usher_record_number(root, "org_id", 1, INT64_MAX,
                                     &domain.org_id)
        != NGX_OK)
    {
        return "its org_id is missing";
    }

    text = buf + sizeof(ngx_http_usher_packed_domain_t);

    reason = ngx_http_usher_texts_pack(root, ngx_http_usher_domain_texts, 1,
                                       &fallback, &text,
                                       buf + NGX_HTTP_USHER_RECORD_MAX);

    domain.fallback = fallback;

    ngx_memcpy(buf, &domain, sizeof(ngx_http_usher_packed_domain_t));

    *len = text - buf;

    return reason;
}


ngx_int_t
ngx_http_usher_domain_unpack(u_char *buf, size_t len,
    ngx_http_usher_domain_t *domain)
{
    ngx_http_usher_packed_domain_t  packed;

    if (len < sizeof(ngx_http_usher_packed_domain_t)) {
        return NGX_ERROR;
    }

    ngx_memcpy(&packed, buf, sizeof(ngx_http_usher_packed_domain_t));

    if (packed.fallback != len - sizeof(ngx_http_usher_packed_domain_t)) {
        return NGX_ERROR;
    }

    domain->org_id = packed.org_id;
    domain->fallback.data = buf + sizeof(ngx_http_usher_packed_domain_t);
    domain->fallback.len = packed.fallback;

    return NGX_OK;
}


const char *
ngx_http_usher_link_pack(json_t *root, u_char *buf, size_t *len)
{
    size_t                         i, n;
    u_char                        *numbers, *text, *end;
    json_t                        *targets;
    uint64_t                       status, expires, dead;
    const char                    *reason;
    ngx_http_usher_packed_link_t   link;

    ngx_memzero(&link, sizeof(ngx_http_usher_packed_link_t));

    targets = json_object_get(root, "targets");
    n = json_array_size(targets);

    if (ngx_http_usher_record_number(root, "id", 1, UINT32_MAX, &link.id)
        != NGX_OK
        || ngx_http_usher_record_number(root, "org_id", 1, INT64_MAX,
                                        &link.org_id)
           != NGX_OK
        || ngx_http_usher_record_number(root, "status", 301, 308, &status)
           != NGX_OK
        || ngx_http_usher_record_optional(root, "exp", INT64_MAX, &expires)
           != NGX_OK
        || ngx_http_usher_record_optional(root, "dead", UINT32_MAX, &dead)
           != NGX_OK
        || json_object_get(root, "url") == NULL)
    {
        return "its id, org_id, status, exp, dead or url are wrong";
    }

    if ((targets != NULL && !json_is_array(targets))
        || n > NGX_HTTP_USHER_TARGETS)
    {
        return "its targets are wrong";
    }

    link.status = (uint16_t) status;
    link.expires = (int64_t) expires;
    link.dead = (uint32_t) dead;
    link.ntargets = (uint8_t) n;

    if (json_object_get(root, "plain") != NULL) {
        link.flags |= NGX_HTTP_USHER_LINK_PLAIN;
    }

    if (json_object_get(root, "query") != NULL) {
        link.flags |= NGX_HTTP_USHER_LINK_QUERY;
    }

    end = buf + NGX_HTTP_USHER_RECORD_MAX;
    numbers = buf + sizeof(ngx_http_usher_packed_link_t);
    text = numbers + n * sizeof(ngx_http_usher_packed_target_t);

    reason = ngx_http_usher_caps_pack(root, targets, &text, &link.ncaps);

    if (reason == NULL) {
        reason = ngx_http_usher_texts_pack(root, ngx_http_usher_link_texts,
                                           NGX_HTTP_USHER_LINK_TEXTS,
                                           link.texts, &text, end);
    }

    for (i = 0; i < n && reason == NULL; i++) {
        reason = ngx_http_usher_target_pack(json_array_get(targets, i),
                                            &numbers, &text, end);
    }

    ngx_memcpy(buf, &link, sizeof(ngx_http_usher_packed_link_t));

    *len = text - buf;

    return reason;
}


static const char *
ngx_http_usher_target_pack(json_t *object, u_char **numbers, u_char **text,
    u_char *end)
{
    uint64_t                         number, step, weight, from, until;
    const char                      *reason;
    ngx_http_usher_packed_target_t   target;

    ngx_memzero(&target, sizeof(ngx_http_usher_packed_target_t));

    if (ngx_http_usher_record_number(object, "n", 1, NGX_HTTP_USHER_TARGETS,
                                     &number)
        != NGX_OK
        || ngx_http_usher_record_number(object, "step", 1, 100, &step)
           != NGX_OK
        || ngx_http_usher_record_number(object, "weight", 1, 10000, &weight)
           != NGX_OK
        || ngx_http_usher_record_optional(object, "from", INT64_MAX, &from)
           != NGX_OK
        || ngx_http_usher_record_optional(object, "until", INT64_MAX, &until)
           != NGX_OK
        || json_object_get(object, "url") == NULL)
    {
        return "a target of it is wrong";
    }

    reason = ngx_http_usher_texts_pack(object, ngx_http_usher_target_texts,
                                       NGX_HTTP_USHER_TARGET_TEXTS,
                                       target.texts, text, end);

    target.number = (uint16_t) number;
    target.step = (uint16_t) step;
    target.weight = (uint16_t) weight;
    target.from = (int64_t) from;
    target.until = (int64_t) until;

    *numbers = ngx_cpymem(*numbers, &target,
                          sizeof(ngx_http_usher_packed_target_t));

    return reason;
}


/* Those that there are: there is room for one each. */

static const char *
ngx_http_usher_caps_pack(json_t *root, json_t *targets, u_char **p,
    uint16_t *n)
{
    size_t                 i;
    json_t                *object, *cap;
    uint64_t               number;
    const char            *reason;
    ngx_http_usher_cap_t   packed;

    for (i = 0; i <= json_array_size(targets); i++) {

        object = i ? json_array_get(targets, i - 1) : root;
        cap = json_object_get(object, "cap");

        if (cap == NULL) {
            continue;
        }

        number = 0;

        if (i && ngx_http_usher_record_number(object, "n", 1,
                                              NGX_HTTP_USHER_TARGETS, &number)
                 != NGX_OK)
        {
            return "a target of it is wrong";
        }

        reason = ngx_http_usher_cap_pack(cap, number, &packed);

        if (reason != NULL) {
            return reason;
        }

        *p = ngx_cpymem(*p, &packed, sizeof(ngx_http_usher_cap_t));
        (*n)++;
    }

    return NULL;
}


static const char *
ngx_http_usher_texts_pack(json_t *object,
    const ngx_http_usher_record_text_t *texts, ngx_uint_t n, uint16_t *lens,
    u_char **text, u_char *end)
{
    size_t                 at, size;
    ngx_str_t              value;
    ngx_uint_t             i;
    usher_macro_status_e   rc;

    for (i = 0; i < n; i++) {
        lens[i] = 0;

        if (json_object_get(object, texts[i].name) == NULL) {
            continue;
        }

        if (ngx_http_usher_record_text(object, texts[i].name, texts[i].max,
                                       &value)
            != NGX_OK)
        {
            return "a text of it is wrong or too long";
        }

        size = end - *text;

        if (texts[i].url) {
            rc = usher_macro_compile(*text, &size, value.data, value.len, &at);

            if (rc != USHER_MACRO_OK) {
                return usher_macro_reason(rc);
            }

        } else {
            if (value.len > size) {
                return "it is too long";
            }

            size = value.len;
            ngx_memcpy(*text, value.data, size);
        }

        lens[i] = (uint16_t) size;
        *text += size;
    }

    return NULL;
}


ngx_int_t
ngx_http_usher_link_unpack(u_char *buf, size_t len,
    ngx_http_usher_link_t *link)
{
    u_char                          *p, *text, *end;
    ngx_uint_t                       i;
    ngx_http_usher_target_t         *t;
    ngx_http_usher_packed_link_t     packed;
    ngx_http_usher_packed_target_t   target;

    if (len < sizeof(ngx_http_usher_packed_link_t)) {
        return NGX_ERROR;
    }

    ngx_memcpy(&packed, buf, sizeof(ngx_http_usher_packed_link_t));

    p = buf + sizeof(ngx_http_usher_packed_link_t);
    end = buf + len;

    if (packed.ntargets > NGX_HTTP_USHER_TARGETS
        || packed.ncaps > NGX_HTTP_USHER_TARGETS + 1
        || packed.ntargets * sizeof(ngx_http_usher_packed_target_t)
           + packed.ncaps * sizeof(ngx_http_usher_cap_t)
           > (size_t) (end - p))
    {
        return NGX_ERROR;
    }

    link->ncaps = packed.ncaps;
    link->caps = p + packed.ntargets * sizeof(ngx_http_usher_packed_target_t);

    text = link->caps + packed.ncaps * sizeof(ngx_http_usher_cap_t);

    link->id = packed.id;
    link->org_id = packed.org_id;
    link->expires = (time_t) packed.expires;
    link->status = packed.status;
    link->dead = packed.dead;
    link->plain = (packed.flags & NGX_HTTP_USHER_LINK_PLAIN) != 0;
    link->query = (packed.flags & NGX_HTTP_USHER_LINK_QUERY) != 0;
    link->ntargets = packed.ntargets;

    if (ngx_http_usher_texts_unpack(link->texts, packed.texts,
                                    NGX_HTTP_USHER_LINK_TEXTS, &text, end)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < packed.ntargets; i++) {
        ngx_memcpy(&target, p, sizeof(ngx_http_usher_packed_target_t));
        p += sizeof(ngx_http_usher_packed_target_t);

        t = &link->targets[i];
        t->number = target.number;
        t->step = target.step;
        t->weight = target.weight;
        t->from = (time_t) target.from;
        t->until = (time_t) target.until;

        if (ngx_http_usher_texts_unpack(t->texts, target.texts,
                                        NGX_HTTP_USHER_TARGET_TEXTS, &text,
                                        end)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_texts_unpack(ngx_str_t *to, const uint16_t *lens, ngx_uint_t n,
    u_char **text, u_char *end)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {

        if (lens[i] > (size_t) (end - *text)) {
            return NGX_ERROR;
        }

        to[i].data = *text;
        to[i].len = lens[i];

        *text += lens[i];
    }

    return NGX_OK;
}


/* 0 where it is missing. */

static ngx_int_t
ngx_http_usher_record_optional(json_t *object, const char *name, uint64_t max,
    uint64_t *value)
{
    *value = 0;

    return json_object_get(object, name) == NULL
           ? NGX_OK
           : ngx_http_usher_record_number(object, name, 0, max, value);
}
