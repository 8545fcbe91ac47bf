
/*
 * ngx_http_usher_status.h - between usher_status and usher_metrics: the
 * figures of the node, gathered once per answer, and a text to write to.
 */


#ifndef _NGX_HTTP_USHER_STATUS_H_INCLUDED_
#define _NGX_HTTP_USHER_STATUS_H_INCLUDED_


#include "ngx_http_usher_zone.h"


/* Room for the head and for each process; what is longer is cut. */
#define NGX_HTTP_USHER_STATUS_ROOM     (32 * 1024)
#define NGX_HTTP_USHER_STATUS_PROCESS  2048

#define NGX_HTTP_USHER_STATUS_ROLES    3


typedef struct {
    u_char      *pos;
    u_char      *last;               /* end of the room */
} ngx_http_usher_text_t;


/* A live process. */
typedef struct {
    ngx_pid_t                  pid;
    ngx_uint_t                 index;     /* in shared->process, if journal */
    ngx_http_usher_process_t  *journal;   /* NULL: it has none yet */
    ngx_http_usher_figures_t  *figures;
} ngx_http_usher_worker_t;


typedef struct {
    ngx_str_t                  *node;
    ngx_http_usher_shared_t    *shared;   /* NULL: no zone */
    ngx_http_usher_counters_t   counters;
    uint64_t                    size;     /* of the zone */
    ngx_http_usher_zone_part_t  parts[NGX_HTTP_USHER_ZONE_PARTS];
    int64_t                     age;      /* of the heartbeat, msec; -1: none */
    uint64_t                    journal_size;     /* bytes; 0: none */
    uint64_t                    journal_unacked;
    uint64_t                    journal_free;     /* or may be used again */
    ngx_uint_t                  nworkers;
    ngx_http_usher_worker_t     workers[NGX_HTTP_USHER_PROCESSES];
} ngx_http_usher_status_t;


/* A family of counters and its words, one for each of them. */
typedef struct {
    const char         *name;
    const char         *label;
    const char         *help;
    size_t              offset;      /* in ngx_http_usher_counters_t */
    ngx_uint_t          n;
    const char *const  *words;       /* NULL: there is no such counter */
} ngx_http_usher_family_t;


/* Appends by ngx_vslprintf(), as much as there is room for. */
void ngx_http_usher_text(ngx_http_usher_text_t *t, const char *fmt, ...);

void ngx_http_usher_status_text(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);
void ngx_http_usher_metrics_text(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);


/* The last has no name. */
extern const ngx_http_usher_family_t  ngx_http_usher_families[];

extern const char  *ngx_http_usher_status_roles[NGX_HTTP_USHER_STATUS_ROLES];


#endif /* _NGX_HTTP_USHER_STATUS_H_INCLUDED_ */
