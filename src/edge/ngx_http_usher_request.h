
/*
 * ngx_http_usher_request.h - what the files that handle requests (core,
 * credential, auth, limit, event, variables, problem) share among them.
 */


#ifndef _NGX_HTTP_USHER_REQUEST_H_INCLUDED_
#define _NGX_HTTP_USHER_REQUEST_H_INCLUDED_


#include "ngx_http_usher.h"

#include "usher_click.h"
#include "usher_secret.h"


#define NGX_HTTP_USHER_EVENT_OFF     0
#define NGX_HTTP_USHER_EVENT_ERRORS  1    /* status 400 and above */
#define NGX_HTTP_USHER_EVENT_ON      2

/* Bits of ctx->charged. */
#define NGX_HTTP_USHER_LIMITS_MAX    128


/* Where a credential may be. */
typedef enum {
    NGX_HTTP_USHER_FROM_BEARER = 0,       /* Authorization: Bearer */
    NGX_HTTP_USHER_FROM_HEADER,
    NGX_HTTP_USHER_FROM_ARGUMENT,
    NGX_HTTP_USHER_FROM_COOKIE,
    NGX_HTTP_USHER_FROM_VARIABLE
} ngx_http_usher_from_e;


typedef struct {
    ngx_http_usher_from_e    from;
    ngx_str_t                name;        /* header: as in $http_<name> */
    ngx_int_t                index;       /* of the variable */
} ngx_http_usher_source_t;


/* A key that stood in the query string. */
struct ngx_http_usher_saved_s {
    ngx_http_usher_saved_t  *next;
    ngx_str_t                name;        /* of the argument */
    ngx_str_t                value;       /* unescaped */
};


/* A cookie that has ids of clicks. */
typedef struct {
    ngx_str_t                name;
    ngx_str_t                variable;    /* cookie_<name> */
    ngx_uint_t               hash;        /* of that */
} ngx_http_usher_cookie_t;


/* The first directive that does nothing without another one. */
typedef struct {
    ngx_str_t                directive;
    ngx_str_t                file;        /* where it stands */
    ngx_uint_t               line;
} ngx_http_usher_need_t;


typedef struct {
    ngx_str_t                node_name;   /* of usher_node */
    ngx_str_t                node;        /* the same, escaped for an event */
    unsigned                 plan:1;      /* $usher_plan is used */
    unsigned                 visitor:1;   /* visitors are hashed somewhere */
    ngx_array_t              arguments;   /* ngx_str_t; those of all servers */
    ngx_array_t              headers;     /* the same of ->headers */
    ngx_http_usher_need_t    zone;
    ngx_http_usher_need_t    redis;
    usher_secret_keys_t     *secret_keys; /* of usher_key_file; NULL: none */
} ngx_http_usher_main_conf_t;


typedef struct {
    ngx_array_t              arguments;   /* ngx_str_t; may hold keys */
    ngx_array_t              headers;     /* ngx_http_usher_source_t that an
                                             usher_auth of it reads */
} ngx_http_usher_srv_conf_t;


typedef struct {
    ngx_uint_t                 event;
    ngx_flag_t                 strip;
    unsigned                   active:1;    /* an usher directive is on */
    ngx_str_t                  route;       /* escaped, if it is constant */
    ngx_http_complex_value_t  *route_value;
    ngx_http_complex_value_t  *request_id;
    ngx_array_t               *sources;     /* ngx_http_usher_source_t */
} ngx_http_usher_loc_conf_t;


/* ---- ngx_http_usher_module.c */

/* A directive that does nothing without an usher_zone (redis) was seen. */
void ngx_http_usher_needs_zone(ngx_conf_t *cf, ngx_str_t *directive);
void ngx_http_usher_needs_redis(ngx_conf_t *cf, ngx_str_t *directive);

/* The id of a request, 32 bytes and a NUL; number is drawn if it has none. */
#define NGX_HTTP_USHER_REQUEST_ID  33
u_char *ngx_http_usher_request_id(u_char *dst, uint64_t *number);

/* Pushes a header of the response; value is not copied. */
ngx_table_elt_t *ngx_http_usher_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value);

/* A decimal number, at most NGX_INT64_LEN bytes; returns the end. */
u_char *ngx_http_usher_decimal(u_char *dst, uint64_t value);

ngx_str_t *ngx_http_usher_auth_word(ngx_http_usher_ctx_t *ctx);
ngx_str_t *ngx_http_usher_limit_word(ngx_http_usher_ctx_t *ctx);

/* "50r/s": units and the seconds of their window. */
ngx_int_t ngx_http_usher_parse_rate(ngx_str_t *value, uint64_t *quota,
    uint64_t *window);


/* ---- ngx_http_usher_event.c */

ngx_int_t ngx_http_usher_event_handler(ngx_http_request_t *r);

/* Writes now as "YYYY-MM-DD HH:MM:SS.mmm+00"; returns the end. */
u_char *ngx_http_usher_event_time(u_char *p);

ngx_int_t ngx_http_usher_event_escape(ngx_conf_t *cf, ngx_str_t *src,
    size_t limit, ngx_str_t *dst);


/* ---- ngx_http_usher_variables.c */

ngx_int_t ngx_http_usher_add_variables(ngx_conf_t *cf);

/* $usher_request_id: that of usher_request_id, or the process's own. */
ngx_int_t ngx_http_usher_request_id_text(ngx_http_request_t *r,
    ngx_str_t *text);


/* ---- ngx_http_usher_credential.c */

char *ngx_http_usher_credential(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* The sources where no usher_credential is given. */
ngx_array_t *ngx_http_usher_default_sources(ngx_conf_t *cf);

/*
 * Searches for the credential: NGX_OK (ctx->credential is set, or there is
 * none), NGX_DECLINED (two that differ) or NGX_ERROR.
 */
ngx_int_t ngx_http_usher_find_credential(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx);

/* Removes headers that carry a credential, and what variables cached. */
ngx_int_t ngx_http_usher_strip(ngx_http_request_t *r, ngx_array_t *sources);

/* Log phase: the same, of all that the server has usher_auth look at. */
void ngx_http_usher_strip_logged(ngx_http_request_t *r);

/* An argument that may carry a key, in this server. */
ngx_int_t ngx_http_usher_add_argument(ngx_conf_t *cf, ngx_str_t *name);

/* usher_auth is on in a location with these sources. */
ngx_int_t ngx_http_usher_add_headers(ngx_conf_t *cf, ngx_array_t *sources);


/* ---- ngx_http_usher_digest.c */

/* SHA-256. */
ngx_int_t ngx_http_usher_digest(ngx_str_t *text,
    u_char digest[USHER_KEY_DIGEST]);
void ngx_http_usher_digest_done(void);


/* ---- ngx_http_usher_click_key.c */

char *ngx_http_usher_key_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* Those of usher_key_file, in the running configuration; NULL: none. */
usher_secret_keys_t *ngx_http_usher_secret_keys(void);

/*
 * The n keys by which click ids are known, until the end of this turn of the
 * event loop, and the one of them that signs, NULL if there is none: then it
 * was said in the log, unless there is no usher_key_file.  Returns as
 * ngx_http_usher_directory_record(), but for NGX_DECLINED.
 */
ngx_int_t ngx_http_usher_click_keys(ngx_http_request_t *r,
    usher_click_key_t **keys, size_t *n, usher_click_key_t **current);


/* ---- ngx_http_usher_cookie.c */

/* Of a name as a directive has it; or what is wrong, as they say it. */
char *ngx_http_usher_cookie_name(ngx_conf_t *cf, ngx_str_t *name,
    ngx_http_usher_cookie_t *cookie);

/* What the request brings of it; empty: nothing. */
ngx_int_t ngx_http_usher_cookie(ngx_http_request_t *r,
    ngx_http_usher_cookie_t *cookie, ngx_str_t *value);


/* ---- ngx_http_usher_argument.c */

/* Post-read phase: takes keys out of the query string. */
ngx_int_t ngx_http_usher_hide_arguments(ngx_http_request_t *r);

/* Log phase: the same for a request that never came to that phase. */
void ngx_http_usher_hide_refused(ngx_http_request_t *r);

/* The argument that is taken out whatever it holds: a postback's secret. */
#define NGX_HTTP_USHER_SECRET_ARGUMENT  "usher_secret"

/* Whether the argument from p to stop is that one, however it is escaped. */
ngx_uint_t ngx_http_usher_secret_argument(u_char *p, u_char *stop);

/* Has _live_ or _test_ in it, however escaped. */
ngx_uint_t ngx_http_usher_like_key(u_char *value, size_t len);


/* ---- ngx_http_usher_record.c */

/* Looks up ctx->key, as ngx_http_usher_directory_key() does. */
ngx_int_t ngx_http_usher_request_key(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx);

/* Makes sure that ctx->key->tat may be used now: NGX_OK, AGAIN, ERROR. */
ngx_int_t ngx_http_usher_request_words(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx);

/*
 * The plan of ctx->key, NULL if it has none, until the end of this turn of the
 * event loop: NGX_OK, NGX_AGAIN, NGX_BUSY (cannot be known now) or NGX_ERROR.
 */
ngx_int_t ngx_http_usher_request_plan(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_plan_t **plan);

/* The same; its name is kept as ctx->plan. */
ngx_int_t ngx_http_usher_request_plan_name(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx);


/* ---- ngx_http_usher_problem.c */

/* Retry-After; jittered when it is long. */
ngx_int_t ngx_http_usher_retry_after(ngx_http_request_t *r, uint64_t seconds);

/* src as the inside of a JSON string, new in the pool. */
ngx_int_t ngx_http_usher_json(ngx_pool_t *pool, ngx_str_t *src,
    ngx_str_t *dst);


/* ---- ngx_http_usher_address.c */

/* Whether the client's address is in one of the CIDRs of list. */
ngx_uint_t ngx_http_usher_address_allowed(ngx_http_request_t *r,
    ngx_str_t *list);

/* What a limit by client counts: v4, or the /64 of v6; 0 for unix:. */
#define NGX_HTTP_USHER_ADDRESS  8
size_t ngx_http_usher_address_key(ngx_http_request_t *r,
    u_char key[NGX_HTTP_USHER_ADDRESS]);

/*
 * Writes the first 24 bits of an IPv4 address, or 48 of IPv6, as a column of
 * an event: at most 20 bytes; returns the end.
 */
u_char *ngx_http_usher_address_short(ngx_http_request_t *r, u_char *p);


#endif /* _NGX_HTTP_USHER_REQUEST_H_INCLUDED_ */
