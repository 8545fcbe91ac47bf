
/*
 * ngx_http_usher_link.h - links as the edge knows them, for the files of the
 * link module.
 */


#ifndef _NGX_HTTP_USHER_LINK_H_INCLUDED_
#define _NGX_HTTP_USHER_LINK_H_INCLUDED_


#include "ngx_http_usher_request.h"

#include "usher_macro.h"


#define NGX_HTTP_USHER_TARGETS       16
#define NGX_HTTP_USHER_LINK_TEXTS    11
#define NGX_HTTP_USHER_TARGET_TEXTS  6


/*
 * Texts point into the record that the link was unpacked from; they have one
 * order there and in the struct.  URLs are compiled templates.
 */
typedef struct {
    ngx_uint_t         number;
    ngx_uint_t         step;
    ngx_uint_t         weight;
    time_t             from;                 /* wall clock; 0: always */
    time_t             until;                /* 0: for ever */

    union {
        ngx_str_t      texts[NGX_HTTP_USHER_TARGET_TEXTS];

        struct {
            ngx_str_t  url;
            ngx_str_t  countries;            /* words; empty: all */
            ngx_str_t  devices;
            ngx_str_t  systems;
            ngx_str_t  languages;
            ngx_str_t  referrers;
        };
    };
} ngx_http_usher_target_t;


typedef struct {
    uint64_t                 id;
    uint64_t                 org_id;
    time_t                   expires;        /* wall clock; 0: never */
    ngx_uint_t               status;         /* of the redirect */
    uint32_t                 dead;           /* bits; see below */
    unsigned                 plain:1;
    unsigned                 query:1;        /* the click's is passed on */

    union {
        ngx_str_t            texts[NGX_HTTP_USHER_LINK_TEXTS];

        struct {
            ngx_str_t        url;
            ngx_str_t        fallback;       /* empty: none */
            ngx_str_t        overflow;
            ngx_str_t        policy;         /* Referrer-Policy */
            ngx_str_t        campaign;       /* names; empty: none */
            ngx_str_t        product;
            ngx_str_t        program;
            ngx_str_t        network;
            ngx_str_t        partner;
            ngx_str_t        hosts;          /* of deep links, a list */
            ngx_str_t        deep;           /* parameter of the network that
                                                takes them; empty: none */
        };
    };

    ngx_uint_t               ncaps;          /* 0: nothing is counted */
    u_char                  *caps;           /* ngx_http_usher_cap_t, packed */

    ngx_uint_t               ntargets;
    ngx_http_usher_target_t  targets[NGX_HTTP_USHER_TARGETS];    /* by step */
} ngx_http_usher_link_t;


typedef struct {
    uint64_t                 org_id;
    ngx_str_t                fallback;       /* empty: none */
} ngx_http_usher_domain_t;


/* The cookie that a redirect sets. */
typedef struct {
    ngx_http_usher_cookie_t    cookie;
    ngx_str_t                  attributes;   /* behind its value */
    time_t                     age;          /* seconds */
    unsigned                   secure:1;     /* always; else on https */
} ngx_http_usher_link_cookie_t;


/* What a location says of its links. */
typedef struct {
    ngx_http_complex_value_t  *slug;         /* NULL: no usher_link here */
    ngx_http_complex_value_t  *country;      /* these four may be NULL: then
                                                device and system are those
                                                of $usher_device, $usher_os */
    ngx_http_complex_value_t  *device;
    ngx_http_complex_value_t  *system;
    ngx_http_complex_value_t  *datacentre;
    ngx_uint_t                 prefetch;     /* NGX_HTTP_USHER_PREFETCH_* */
    ngx_flag_t                 visitor;      /* is hashed */
    ngx_uint_t                 fields;       /* NGX_HTTP_USHER_FIELD_* */
    ngx_http_usher_link_cookie_t  *cookie;   /* NULL: none */
} ngx_http_usher_link_conf_t;

/* What the event of a click may keep. */
#define NGX_HTTP_USHER_FIELD_OFF        0x0002
#define NGX_HTTP_USHER_FIELD_ADDRESS    0x0004
#define NGX_HTTP_USHER_FIELD_COUNTRY    0x0008
#define NGX_HTTP_USHER_FIELD_DEVICE     0x0010    /* and os */
#define NGX_HTTP_USHER_FIELD_LANGUAGE   0x0020
#define NGX_HTTP_USHER_FIELD_REFERRER   0x0040
#define NGX_HTTP_USHER_FIELD_SUB        0x0080
#define NGX_HTTP_USHER_FIELD_VISITOR    0x0100
#define NGX_HTTP_USHER_FIELD_ALL        0x01fc

#define NGX_HTTP_USHER_PREFETCH_COUNT   0
#define NGX_HTTP_USHER_PREFETCH_LABEL   1
#define NGX_HTTP_USHER_PREFETCH_REFUSE  2


/* Where a click is sent, beside the numbers of targets. */
#define NGX_HTTP_USHER_TARGET_URL       0
#define NGX_HTTP_USHER_TARGET_FALLBACK  -1
#define NGX_HTTP_USHER_TARGET_OVERFLOW  -2
#define NGX_HTTP_USHER_TARGET_NOWHERE   -3

/* Of what is dead: bit 0 the link's URL, 1 to 16 its targets, and this. */
#define NGX_HTTP_USHER_DEAD_OVERFLOW    17

/* How long the words of a click may be: bytes. */
#define NGX_HTTP_USHER_WORD_MAX         USHER_CLICK_WORD_MAX
#define NGX_HTTP_USHER_SUBS             5
#define NGX_HTTP_USHER_VISITOR          16    /* hexadecimal digits */


/* A click, from the request to its event; all of it is the request's. */
typedef struct {
    ngx_http_usher_link_t  *link;            /* NULL: none of that name */
    uint64_t                org_id;          /* 0: unknown host */
    ngx_str_t               host;
    ngx_str_t               slug;
    ngx_str_t               country;
    ngx_str_t               device;
    ngx_str_t               system;
    ngx_str_t               language;        /* de, de-AT; empty: unknown */
    ngx_str_t               referrer;        /* host */
    ngx_str_t               subs[NGX_HTTP_USHER_SUBS];
    ngx_str_t               id;              /* signed; empty: none */
    usher_click_key_t      *keys;            /* by which ids are known, */
    size_t                  nkeys;           /* for this turn of the loop */
    ngx_str_t               visitor;         /* empty: not wanted, unknown */
    ngx_str_t               args;            /* without "to" */
    ngx_str_t               page;            /* of a deep link; empty: none */
    ngx_str_t               url;             /* compiled; empty: nowhere */
    ngx_int_t               target;
    ngx_uint_t              bot;             /* NGX_HTTP_USHER_AGENT_* */
    ngx_uint_t              reason;          /* USHER_CLICK_* */
    ngx_uint_t              status;          /* of the answer */
    unsigned                capped:1;        /* a target has had all it may */
    u_char                  words[2 * NGX_HTTP_USHER_WORD_MAX
                                  + USHER_CLICK_REFERRER_MAX];
    u_char                  hash[NGX_HTTP_USHER_VISITOR + 1];
} ngx_http_usher_click_t;


/* ---- ngx_http_usher_link_find.c */

/*
 * Sets host and slug, and link and org_id if there is one, else what its host
 * leads to.  NGX_OK: what there is to know is known, also that there is none;
 * NGX_AGAIN: the request waits; NGX_BUSY, NGX_ERROR: it cannot be known now.
 */
ngx_int_t ngx_http_usher_link_find(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click);


/* ---- ngx_http_usher_link_id.c */

/*
 * Signs an id for a click of a link, whatever the click is worth.  NGX_OK also
 * where no key can be had, and the id is empty; NGX_AGAIN or NGX_ERROR.
 */
ngx_int_t ngx_http_usher_link_id(ngx_http_request_t *r,
    ngx_http_usher_click_t *click);

/*
 * For $usher_click_id and $usher_click_reason: the last of a request.  The
 * reason is what it is only when the event was written.
 */
void ngx_http_usher_link_show(ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_click_t *click);
ngx_int_t ngx_http_usher_link_variables(ngx_conf_t *cf);


/* ---- ngx_http_usher_link_client.c */

/* What the client is, as the location's directives and its headers say. */
ngx_int_t ngx_http_usher_link_client(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click);


/* ---- ngx_http_usher_link_target.c */

/* Sets target, url and reason from the link and the client. */
void ngx_http_usher_link_choose(ngx_http_request_t *r,
    ngx_http_usher_click_t *click);

/* What did not lead where it should; a reason that is lower stays. */
void ngx_http_usher_link_fall_back(ngx_http_usher_click_t *click);
void ngx_http_usher_link_nowhere(ngx_http_usher_click_t *click);
void ngx_http_usher_link_reason(ngx_http_usher_click_t *click,
    ngx_uint_t reason);


/* ---- ngx_http_usher_link_location.c */

/*
 * The URL with all that is added to it.  NGX_DECLINED: nobody is to be sent
 * there, and reason says why; NGX_OK also where there is no URL.
 */
ngx_int_t ngx_http_usher_link_location(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, ngx_str_t *location);

/* The longest Location: what servers and clients take in a line. */
#define NGX_HTTP_USHER_LOCATION  8000


/* ---- ngx_http_usher_cap.c */

/* Whether a target, 0: the link as a whole, has had all that it may. */
ngx_uint_t ngx_http_usher_cap_reached(ngx_http_usher_link_t *link,
    ngx_uint_t target);

/* Counts a click of a link that has caps, by its last reason and target. */
void ngx_http_usher_cap_count(ngx_http_usher_click_t *click);


/* ---- ngx_http_usher_link_deep.c */

/*
 * Sets args, and page if the click names one that it may have; else it falls
 * back, or stays as it is, and reason says why.
 */
ngx_int_t ngx_http_usher_link_deep(ngx_http_request_t *r,
    ngx_http_usher_click_t *click);

/*
 * Puts the page into the location, whose room has more bytes behind it.
 * NGX_DECLINED: it is too long.
 */
ngx_int_t ngx_http_usher_link_place(ngx_http_request_t *r,
    ngx_http_usher_click_t *click, ngx_str_t *location, size_t more);


/* ---- ngx_http_usher_link_click.c */

/*
 * Writes the event.  NGX_BUSY: the journal is full and usher_full says deny;
 * where it says pass, or drop, NGX_OK.
 */
ngx_int_t ngx_http_usher_link_click(ngx_http_request_t *r,
    ngx_http_usher_click_t *click);


/* ---- ngx_http_usher_link_visitor.c */

/*
 * Sets visitor, and the reason if he has clicked on that within the hour:
 * when the reason is what it would be otherwise, and the event has room.
 */
void ngx_http_usher_link_visitor(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click);


/* ---- ngx_http_usher_link_cookie.c */

/* Sets the cookie, if this click has one. */
ngx_int_t ngx_http_usher_link_cookie(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click);

char *ngx_http_usher_link_cookie_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* ---- ngx_http_usher_link_record.c */

/* NGX_ERROR if it is not what was packed. */
ngx_int_t ngx_http_usher_link_unpack(u_char *buf, size_t len,
    ngx_http_usher_link_t *link);
ngx_int_t ngx_http_usher_domain_unpack(u_char *buf, size_t len,
    ngx_http_usher_domain_t *domain);


#endif /* _NGX_HTTP_USHER_LINK_H_INCLUDED_ */
