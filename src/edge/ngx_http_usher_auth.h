
/*
 * ngx_http_usher_auth.h - between the directives of usher_auth and the
 * verdict on a request.
 */


#ifndef _NGX_HTTP_USHER_AUTH_H_INCLUDED_
#define _NGX_HTTP_USHER_AUTH_H_INCLUDED_


#include "ngx_http_usher_request.h"

#include "usher_gcra.h"


#define NGX_HTTP_USHER_AUTH_OFF       0
#define NGX_HTTP_USHER_AUTH_ON        1
#define NGX_HTTP_USHER_AUTH_OPTIONAL  2

/* ->env */
#define NGX_HTTP_USHER_AUTH_ANY       0
#define NGX_HTTP_USHER_AUTH_LIVE      1
#define NGX_HTTP_USHER_AUTH_TEST      2


typedef struct {
    ngx_uint_t     enable;
    ngx_flag_t     preflight;     /* 1: CORS preflights pass */
    ngx_uint_t     env;           /* of the keys that are admitted */
    ngx_array_t   *scopes;        /* ngx_str_t; all are asked for */
    ngx_str_t      scope;         /* the same as a text */
    ngx_str_t      realm;         /* escaped for a quoted string */
    ngx_flag_t     dry_run;
    ngx_uint_t     log_level;
    ngx_flag_t     failures_off;
    usher_gcra_t   failures;
} ngx_http_usher_auth_conf_t;


/* Sets ctx->auth; NGX_OK, NGX_AGAIN or NGX_ERROR. */
ngx_int_t ngx_http_usher_auth_judge(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_auth_conf_t *lcf);

/* Answers ctx->auth; returns what the access handler returns. */
ngx_int_t ngx_http_usher_auth_refuse(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_auth_conf_t *lcf);


#endif /* _NGX_HTTP_USHER_AUTH_H_INCLUDED_ */
