
/*
 * ngx_http_usher_record.h - for those who read records as JSON: once per
 * fetch, never per request.
 */


#ifndef _NGX_HTTP_USHER_RECORD_H_INCLUDED_
#define _NGX_HTTP_USHER_RECORD_H_INCLUDED_


#include "ngx_http_usher_directory.h"

#include <jansson.h>


/* ---- ngx_http_usher_directory_record.c */

/* NGX_ERROR: the member is missing, of another type, or out of bounds. */
ngx_int_t ngx_http_usher_record_number(json_t *object, const char *name,
    uint64_t min, uint64_t max, uint64_t *value);

/* A text without control characters; it lives as long as the object. */
ngx_int_t ngx_http_usher_record_text(json_t *object, const char *name,
    size_t max, ngx_str_t *value);


/* ---- ngx_http_usher_click_key.c */

/* NULL, or what is wrong; buf has room for NGX_HTTP_USHER_RECORD_MAX. */
const char *ngx_http_usher_click_key_pack(json_t *root, u_char *buf,
    size_t *len);


/* ---- ngx_http_usher_link_record.c */

/* As the above. */
const char *ngx_http_usher_domain_pack(json_t *root, u_char *buf,
    size_t *len);
const char *ngx_http_usher_link_pack(json_t *root, u_char *buf, size_t *len);


/* ---- ngx_http_usher_conversion_record.c */

/* As the above. */
const char *ngx_http_usher_postback_pack(json_t *root, u_char *buf,
    size_t *len);


#endif /* _NGX_HTTP_USHER_RECORD_H_INCLUDED_ */
