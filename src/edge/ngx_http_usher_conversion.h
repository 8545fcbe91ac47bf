
/*
 * ngx_http_usher_conversion.h - postbacks as the edge knows them, for the
 * files of the conversion module.
 */


#ifndef _NGX_HTTP_USHER_CONVERSION_H_INCLUDED_
#define _NGX_HTTP_USHER_CONVERSION_H_INCLUDED_


#include "ngx_http_usher_request.h"

#include "usher_click_list.h"
#include "usher_postback.h"


#define NGX_HTTP_USHER_TOKEN            26      /* characters of a postback */
#define NGX_HTTP_USHER_POSTBACK_SECRET  1024    /* bytes, at most */
#define NGX_HTTP_USHER_POSTBACK_SEALED                                        \
    (NGX_HTTP_USHER_POSTBACK_SECRET + USHER_SECRET_OVERHEAD)
#define NGX_HTTP_USHER_POSTBACK_ROW     80      /* "network/<org>/<name>" */

#define NGX_HTTP_USHER_CONVERSION_BODY  (64 * 1024)

#define NGX_HTTP_USHER_FORM_QUERY       0
#define NGX_HTTP_USHER_FORM_INS         1
#define NGX_HTTP_USHER_FORM_DIGISTORE   2

#define NGX_HTTP_USHER_POSTBACK_TEXTS   (USHER_POSTBACK_FIELDS + 6)


/*
 * How a postback ended: $usher_conversion_status, and the problem's reason.
 *
 *     _(NAME, word, status of the answer, title, what to do, counter)
 */
#define NGX_HTTP_USHER_CONVERSIONS(_)                                         \
    _(TAKEN, "ok", 200, "", "", taken)                                        \
    _(TEST, "test", 200, "", "", taken)                                       \
    _(IGNORED, "ignored", 200, "", "", taken)                                 \
    _(UNKNOWN, "unknown", 404, "Unknown postback",                            \
      "Take the URL from \"usherctl postback show\"; one that is disabled is "\
      "unknown as well.", invalid)                                            \
    _(THROTTLED, "throttled", 429, "Too many unknown postbacks", "",          \
      unavailable)                                                            \
    _(UNAVAILABLE, "unavailable", 503, "Postback cannot be looked up", "",    \
      unavailable)                                                            \
    _(CLOSED, "no_key", 503, "Signature cannot be checked",                   \
      "The error log says why.", unavailable)                                 \
    _(ADDRESS, "address", 403, "Address not allowed",                         \
      "The addresses that may call are set by \"usherctl postback update "    \
      "allow=\".", refused)                                                   \
    _(NO_SECRET, "no_secret", 403, "Secret missing",                          \
      "The URL has a parameter usher_secret.", refused)                       \
    _(SECRET, "secret", 403, "Secret wrong",                                  \
      "\"usherctl postback rotate secret\" makes another.", refused)          \
    _(UNSIGNED, "unsigned", 403, "Signature missing", "", refused)            \
    _(SIGNATURE, "signature", 403, "Signature wrong",                         \
      "Its secret, set by \"usherctl secret put\", is another than the "      \
      "network's, or what is signed was changed on its way.", refused)        \
    _(AMBIGUOUS, "ambiguous", 400, "A parameter is there twice", "", invalid) \
    _(MALFORMED, "malformed", 400, "Body is not what it says",                \
      "JSON has to be an object.", invalid)                                   \
    _(TYPE, "content_type", 415, "Content-Type not known",                    \
      "Send application/x-www-form-urlencoded or application/json.", invalid) \
    _(NO_TRANSACTION, "no_transaction", 400, "No transaction",                \
      "Neither the parameter of the transaction nor that of the click holds " \
      "anything: see \"usherctl postback show\".", invalid)                   \
    _(TOO_LONG, "too_long", 400, "Id of the transaction too long",            \
      "It may have 128 bytes.", invalid)                                      \
    _(TOO_LARGE, "too_large", 413, "Body too large",                          \
      "It may have 64 KB.", invalid)                                          \
    _(FULL, "journal_full", 503, "Conversion cannot be recorded", "",         \
      unavailable)                                                            \
    _(FAILED, "failed", 500, "Conversion may not be recorded",                \
      "Send it again.", unavailable)

#define NGX_HTTP_USHER_CONVERSION_ENUM(name, word, status, title, hint,       \
    counter)                                                                  \
    NGX_HTTP_USHER_CONVERSION_##name,

typedef enum {
    NGX_HTTP_USHER_CONVERSION_NONE = 0,
    NGX_HTTP_USHER_CONVERSIONS(NGX_HTTP_USHER_CONVERSION_ENUM)
    NGX_HTTP_USHER_CONVERSION_AGAIN        /* none yet: it waits */
} ngx_http_usher_conversion_e;

#undef NGX_HTTP_USHER_CONVERSION_ENUM


/* Texts point into the record that it was unpacked from. */
typedef struct {
    uint64_t                      id;
    uint64_t                      org_id;
    ngx_uint_t                    form;      /* NGX_HTTP_USHER_FORM_* */
    usher_postback_algorithm_e    hash;      /* of the HMAC, if it is signed */
    unsigned                      pixel:1;
    unsigned                      secret:1;  /* in the URL; digest is set */
    unsigned                      hmac:1;
    unsigned                      base64:1;  /* so is its signature written */
    u_char                        digest[USHER_POSTBACK_DIGEST];

    union {
        ngx_str_t                 texts[NGX_HTTP_USHER_POSTBACK_TEXTS];

        struct {
            ngx_str_t             names[USHER_POSTBACK_FIELDS];
            ngx_str_t             signature; /* name of its parameter */
            ngx_str_t             allow;     /* CIDRs; empty: all */
            ngx_str_t             back;      /* words that take back */
            ngx_str_t             ignored;   /* words of no conversion */
            ngx_str_t             row;       /* of the secret; these two */
            ngx_str_t             sealed;    /* follow each other; empty: it
                                                is too long */
        };
    };
} ngx_http_usher_postback_t;


/* A postback from its request to its answer; the main request's. */
typedef struct {
    ngx_http_usher_conversion_e   status;
    unsigned                      known:1;   /* postback is set */
    ngx_str_t                     token;
    ngx_http_usher_postback_t     postback;
    ngx_str_t                     body;
    usher_postback_t              fields;
    ngx_uint_t                    click;     /* NGX_HTTP_USHER_CLICK_* */
    u_char                        id[USHER_CLICK_TEXT];    /* of the click */
    size_t                        cookie_len;
    u_char                        cookie[USHER_CLICK_LIST_TEXT];
} ngx_http_usher_conversion_t;


typedef struct {
    ngx_http_complex_value_t     *token;     /* NULL: no usher_conversion */
    ngx_http_usher_cookie_t      *cookie;    /* of pixels; NULL: none */
} ngx_http_usher_conversion_conf_t;

extern ngx_module_t  ngx_http_usher_conversion_module;

/* click_status of an event. */
#define NGX_HTTP_USHER_CLICK_GOOD       0
#define NGX_HTTP_USHER_CLICK_NOT_GIVEN  1
#define NGX_HTTP_USHER_CLICK_MALFORMED  2
#define NGX_HTTP_USHER_CLICK_NO_KEY     3
#define NGX_HTTP_USHER_CLICK_FORGED     4


/* ---- ngx_http_usher_conversion_record.c */

/* NGX_ERROR if it is not what was packed. */
ngx_int_t ngx_http_usher_postback_unpack(u_char *buf, size_t len,
    ngx_http_usher_postback_t *postback);

/*
 * The secret that it is signed or encrypted by, until the end of this turn of
 * the event loop.  NGX_ERROR: it cannot be opened, which was logged once.
 */
ngx_int_t ngx_http_usher_postback_secret(ngx_http_usher_postback_t *postback,
    ngx_str_t *secret);


/* ---- ngx_http_usher_conversion_read.c */

/*
 * What is said, by query and body, and whether it may be: TAKEN; AGAIN: the
 * request waits for the keys of clicks; or why not.
 */
ngx_http_usher_conversion_e ngx_http_usher_conversion_read(
    ngx_http_request_t *r, ngx_http_usher_conversion_t *conversion);


/* ---- ngx_http_usher_conversion_event.c */

/* Appends the event: as ngx_http_usher_journal_append(). */
ngx_int_t ngx_http_usher_conversion_event(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion);


#endif /* _NGX_HTTP_USHER_CONVERSION_H_INCLUDED_ */
