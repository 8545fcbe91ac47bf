/*
 * usher_event.h - what an event looks like, for the edge that writes it and
 * the daemon that stores it.
 *
 * An event is one line of PostgreSQL COPY text behind a tag of kind and
 * format version:
 *
 *     r1 TAB column TAB column ... LF
 *
 * Columns that are rolled up stand first; the daemon reads these and passes
 * the rest on unread.  The column order of each kind is the table below, and
 * t/sql_event.t holds it against the database.
 *
 * No client byte can make a row fail: outside text goes through
 * usher_event_text(), which cuts, mends and escapes it.
 */


#ifndef USHER_EVENT_H
#define USHER_EVENT_H


#include <stddef.h>
#include <stdint.h>


#define USHER_EVENT_TAG      2      /* bytes of kind and version */

/* Flags of an event, the column "flags". */
#define USHER_EVENT_MANGLED  0x01   /* NUL or invalid UTF-8 became U+FFFD */
#define USHER_EVENT_CUT      0x02   /* a text was longer than its column */
#define USHER_EVENT_NAMED    0x04   /* request_id is none of ours */

/* The longest request event, tag and LF included. */
#define USHER_EVENT_LOG_MAX  4096

/* The largest piece of a body that one part event carries, before encoding. */
#define USHER_EVENT_PART     (1024 * 1024)


/* One kind and version of event. */
typedef struct {
    char         kind;         /* 'r' request, 'h' hook, 'p' part, ... */
    char         version;      /* '1' ... '9' */
    unsigned     rolled:1;     /* summed up into usher.usage_delta */
    unsigned     unique:1;     /* COPY to a temporary table, then ON CONFLICT */
    unsigned     waits:1;      /* answered only when synced */
    const char  *table;        /* "usher.request" */
    const char  *columns;      /* "event_time, key_id, ..." in line order */
    const char  *key_table;    /* unique kinds: "usher.hook_key", else NULL */
    const char  *key_columns;  /* unique kinds: "source, delivery_id" */
    const char  *again;        /* called for a row t that was there; NULL */
    unsigned     ncolumns;
} usher_event_kind_t;


/* NULL if this version of Usher does not know the tag. */
const usher_event_kind_t *usher_event_kind(char kind, char version);

/* All kinds, ended by one with kind 0. */
const usher_event_kind_t *usher_event_kinds(void);

/*
 * Request events, version 1.  Limits are bytes of text after mending, before
 * escaping (which at most doubles them).
 */
#define USHER_REQUEST_TAG        "r1"
#define USHER_REQUEST_COLUMNS                                                 \
    "event_time, key_id, route, status, units, bytes_sent, duration_ms, "     \
    "org_id, request_id, node, method, host, uri, address, user_agent, "      \
    "referer, auth_status, limit_status, protocol, flags"
#define USHER_REQUEST_NCOLUMNS   20

#define USHER_REQUEST_ROUTE_MAX    64
#define USHER_REQUEST_ID_MAX       64
#define USHER_REQUEST_NODE_MAX     64
#define USHER_REQUEST_METHOD_MAX   16
#define USHER_REQUEST_HOST_MAX     128
#define USHER_REQUEST_URI_MAX      960
#define USHER_REQUEST_AGENT_MAX    256
#define USHER_REQUEST_REFERER_MAX  256

/*
 * Click events, version 1, written before the answer.  The same of limits.
 */
#define USHER_CLICK_TAG          "c1"
#define USHER_CLICK_COLUMNS                                                   \
    "event_time, link_id, reason, target, org_id, click_id, node, host, "     \
    "slug, country, device, os, language, referrer, sub1, sub2, sub3, sub4, " \
    "sub5, visitor, address, status, flags"
#define USHER_CLICK_NCOLUMNS     23

#define USHER_CLICK_HOST_MAX     190
#define USHER_CLICK_SLUG_MAX     64
#define USHER_CLICK_WORD_MAX     16    /* country, device, os, language */
#define USHER_CLICK_REFERRER_MAX 128
#define USHER_CLICK_SUB_MAX      64

/*
 * Conversion events, version 1, written and synced before the answer.  The
 * same of limits; transaction_id to subscription are what was said, and nothing
 * of it is believed here; cookie has ids of clicks.  The digest is SHA-256, 32
 * bytes: the same word of the same transaction is one event, and SQL is told
 * that it came again.
 */
#define USHER_CONVERSION_TAG      "v1"
#define USHER_CONVERSION_COLUMNS                                              \
    "event_time, postback_id, org_id, origin, click_status, click_id, "       \
    "transaction_id, status, amount, sale_amount, currency, customer, "       \
    "coupon, status_time, event_id, subscription, cookie, digest, node, "     \
    "request_id, address, query, flags"
#define USHER_CONVERSION_NCOLUMNS 23

#define USHER_CONVERSION_ORIGIN_MAX       16   /* "postback", "pixel" */
#define USHER_CONVERSION_CLICK_ID_MAX     64
#define USHER_CONVERSION_TRANSACTION_MAX  128
#define USHER_CONVERSION_STATUS_MAX       64
#define USHER_CONVERSION_AMOUNT_MAX       32   /* both amounts */
#define USHER_CONVERSION_CURRENCY_MAX     16
#define USHER_CONVERSION_CUSTOMER_MAX     128
#define USHER_CONVERSION_COUPON_MAX       64
#define USHER_CONVERSION_TIME_MAX         64   /* status_time */
#define USHER_CONVERSION_EVENT_MAX        128  /* event_id */
#define USHER_CONVERSION_SUBSCRIPTION_MAX 128
#define USHER_CONVERSION_COOKIE_MAX       263
#define USHER_CONVERSION_DIGEST           32   /* bytes */
#define USHER_CONVERSION_NODE_MAX         64
#define USHER_CONVERSION_ID_MAX           64   /* request_id */
#define USHER_CONVERSION_QUERY_MAX        2048


/*
 * Writes len bytes of outside text at src as one COPY text column to dst,
 * which has room for 2 * limit bytes: cut to limit bytes at a character's
 * boundary, NUL and invalid UTF-8 replaced by U+FFFD, backslash and control
 * characters escaped.  Or-s USHER_EVENT_MANGLED and _CUT into *flags.  Returns
 * the end of what was written.  An empty text is an empty column, not \N.
 */
unsigned char *usher_event_text(unsigned char *dst, const unsigned char *src,
    size_t len, size_t limit, unsigned *flags);

/*
 * Writes a bytea column (\\x and hexadecimal): 3 + 2 * len bytes.  Returns
 * the end.
 */
unsigned char *usher_event_bytes(unsigned char *dst, const unsigned char *src,
    size_t len);

/*
 * Writes "YYYY-MM-DD HH:MM:SS.mmm+00" (26 bytes) for msec since the epoch;
 * msec is clamped to years 1970 to 9999.  Returns the end.
 */
#define USHER_EVENT_TIME  26
unsigned char *usher_event_time(unsigned char *dst, int64_t msec);


#endif
