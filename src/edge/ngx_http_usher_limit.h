
/*
 * ngx_http_usher_limit.h - between the directives of usher_limit and what
 * they do to a request.
 */


#ifndef _NGX_HTTP_USHER_LIMIT_H_INCLUDED_
#define _NGX_HTTP_USHER_LIMIT_H_INCLUDED_


#include "ngx_http_usher_request.h"

#include "usher_gcra.h"


/* Limits of one location, and with those of a plan. */
#define NGX_HTTP_USHER_LIMIT_USES     16
#define NGX_HTTP_USHER_LIMIT_CHARGES  (NGX_HTTP_USHER_LIMIT_USES + 8)


/* A limit of the configuration; uses of one name share it. */
typedef struct {
    ngx_str_t                  name;
    ngx_uint_t                 bit;          /* in ctx->charged */
    uint64_t                   quota;        /* units per window */
    uint64_t                   window;       /* seconds */
    usher_gcra_t               gcra;
    ngx_str_t                  key_text;     /* as configured */
    ngx_http_complex_value_t   key;
} ngx_http_usher_limit_t;


/* One usher_limit of a location. */
typedef struct {
    ngx_http_usher_limit_t    *limit;        /* NULL: the plan's */
    ngx_http_complex_value_t  *cost;         /* NULL: constant */
    ngx_uint_t                 units;        /* the constant cost */
    unsigned                   early:1;
    unsigned                   dry_run:1;
} ngx_http_usher_limit_use_t;


typedef struct {
    ngx_array_t               *uses;         /* NULL or empty: none */
    ngx_uint_t                 early;        /* how many of them are */
    ngx_uint_t                 off;          /* 1: "off" was given here */
    ngx_uint_t                 status;
    ngx_uint_t                 log_level;
    ngx_flag_t                 headers;
} ngx_http_usher_limit_conf_t;


/* A bucket that a request is to be charged to. */
typedef struct {
    ngx_atomic_t              *word;         /* NULL: not limited */
    ngx_atomic_uint_t          old;          /* its value when peeked at */
    uint64_t                   tat;          /* what counts of it */
    usher_gcra_t               gcra;
    usher_gcra_take_t          take;
    uint64_t                   cost;
    uint64_t                   quota;
    uint64_t                   window;
    ngx_str_t                  name;
    ngx_int_t                  bit;          /* -1: of the plan */
    unsigned                   denied:1;
    unsigned                   dry_run:1;
} ngx_http_usher_charge_t;


/*
 * Finds the buckets of a location that this request was not charged to yet:
 * NGX_OK, NGX_AGAIN, NGX_BUSY (the plan cannot be known now) or NGX_ERROR.
 */
ngx_int_t ngx_http_usher_charges(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_limit_conf_t *lcf,
    ngx_uint_t early, ngx_http_usher_charge_t *charges, ngx_uint_t *n);

/*
 * Takes all or none: NGX_OK, or NGX_DECLINED with ->denied set.  plan is that
 * of the request's key; 0: none.
 */
ngx_int_t ngx_http_usher_charge(ngx_http_usher_charge_t *charges,
    ngx_uint_t n, uint64_t plan);

/* RateLimit-Policy and RateLimit. */
ngx_int_t ngx_http_usher_limit_fields(ngx_http_request_t *r,
    ngx_http_usher_charge_t *charges, ngx_uint_t n);


/* Sets ctx->violated to the names of limits that denied. */
ngx_int_t ngx_http_usher_limit_violated(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_charge_t *charges,
    ngx_uint_t n, ngx_uint_t dry_run);

/* Both answer, and return what the phase handler returns. */
ngx_int_t ngx_http_usher_limit_refuse(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_limit_conf_t *lcf,
    ngx_http_usher_charge_t *charges, ngx_uint_t n);
ngx_int_t ngx_http_usher_limit_unavailable(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx);


#endif /* _NGX_HTTP_USHER_LIMIT_H_INCLUDED_ */
