
/*
 * ngx_http_usher_cap.h - caps of links and targets: between who packs them
 * into a link, who counts, and who tells the other nodes.
 */


#ifndef _NGX_HTTP_USHER_CAP_H_INCLUDED_
#define _NGX_HTTP_USHER_CAP_H_INCLUDED_


#include "ngx_http_usher_link.h"
#include "ngx_http_usher_record.h"


#define NGX_HTTP_USHER_CAP_DAY   86400       /* sec */
#define NGX_HTTP_USHER_CAP_FULL  60          /* sec that it is said to be */

/* The clock of cells: seconds, from which cells are idle. */
#define ngx_http_usher_cap_now()  ((uint32_t) (ngx_current_msec / 1000))


/* A cap as it stands in a packed link. */
typedef struct {
    uint64_t      since;             /* wall clock, msec: when it was given */
    uint32_t      total;             /* clicks; 0: no such cap */
    uint32_t      daily;
    uint32_t      counted;           /* at least, as PostgreSQL says */
    uint32_t      today;             /* the same of day */
    uint16_t      day;               /* since the epoch, UTC */
    uint16_t      target;            /* 0: of the link */
} ngx_http_usher_cap_t;


/* ---- ngx_http_usher_cap.c */

/* Reads a "cap" into *cap; NULL, or what is wrong. */
const char *ngx_http_usher_cap_pack(json_t *object, ngx_uint_t target,
    ngx_http_usher_cap_t *cap);


/* ---- ngx_http_usher_cap_tell.c */

/* Called by the reader of changes, each 10 ms; and when it ends. */
void ngx_http_usher_cap_renew(ngx_http_usher_directory_t *d);
void ngx_http_usher_cap_stop(void);


#endif /* _NGX_HTTP_USHER_CAP_H_INCLUDED_ */
