
/*
 * ngx_http_usher_redis.h - between the files of the Redis client: _redis.c,
 * what usher_redis says; _redis_client.c, a connection's life; _redis_io.c,
 * commands, replies, and hiredis on nginx's events.
 */


#ifndef _NGX_HTTP_USHER_REDIS_H_INCLUDED_
#define _NGX_HTTP_USHER_REDIS_H_INCLUDED_


#include "ngx_http_usher.h"

#include <hiredis/async.h>


#define NGX_HTTP_USHER_REDIS_STREAM     0
#define NGX_HTTP_USHER_REDIS_DIRECTORY  1
#define NGX_HTTP_USHER_REDIS_COUNTERS   2
#define NGX_HTTP_USHER_REDIS_ROLES      3

/* What may be said of a role in the log. */
#define NGX_HTTP_USHER_REDIS_READY      1
#define NGX_HTTP_USHER_REDIS_DOWN       2
#define NGX_HTTP_USHER_REDIS_REFUSED    3        /* by an error reply */


/* One usher_redis. */
typedef struct {
    ngx_str_t    name;               /* as configured, for the log */
    ngx_uint_t   roles;              /* bits */
    u_char      *path;               /* unix socket; NULL: TCP */
    u_char      *host;               /* numeric */
    in_port_t    port;
    ngx_str_t    user;
    ngx_str_t    password;           /* never log */
} ngx_http_usher_redis_server_t;


extern const char  *ngx_http_usher_redis_roles[NGX_HTTP_USHER_REDIS_ROLES];

/* The server of a role, or NULL. */
ngx_http_usher_redis_server_t *ngx_http_usher_redis_server(
    ngx_cycle_t *cycle, ngx_uint_t role);

/* A command that is on its way. */
typedef struct {
    ngx_queue_t               queue;       /* pending, or unused */
    ngx_http_usher_redis_t   *rc;
    ngx_http_usher_reply_pt   handler;     /* NULL: nobody wants to know */
    void                     *data;
    ngx_event_t               timer;
} ngx_http_usher_redis_pending_t;


struct ngx_http_usher_redis_s {
    ngx_queue_t                     queue; /* of all clients */
    ngx_http_usher_redis_server_t  *server;
    ngx_uint_t                      role;
    ngx_http_usher_redis_events_t   events;
    ngx_log_t                      *log;

    redisAsyncContext              *ac;    /* NULL: no connection */
    ngx_connection_t               *c;     /* as long as ac */
    ngx_queue_t                     pending;
    ngx_queue_t                     unused;
    ngx_pool_t                     *pool;  /* of the reply being handled */

    u_char                         *text;  /* of the command being queued */
    size_t                          len;
    size_t                          room;  /* bytes allocated at text */

    ngx_event_t                     timer; /* next try, or greeting's end */
    ngx_event_t                     flush; /* posted: write */
    ngx_event_t                     after; /* posted: drop, lost, destroy */
    ngx_msec_t                      backoff;

    const char                     *why;   /* of a drop, for the log */
    ngx_uint_t                      refused;  /* commands, as the owner says */

    unsigned                        connected:1;
    unsigned                        ready:1;
    unsigned                        flushing:1;
    unsigned                        drop:1;       /* asked for */
    unsigned                        lost:1;       /* owner is to be told */
    unsigned                        destroyed:1;
    unsigned                        handling:1;   /* inside a handler */
};


/* Closes all connections of this process, for good. */
void ngx_http_usher_redis_close(void);

/* client.c: ends the connection from a posted event, for this reason. */
void ngx_http_usher_redis_drop(ngx_http_usher_redis_t *rc, const char *why);
void ngx_http_usher_redis_say(ngx_http_usher_redis_t *rc, ngx_uint_t what,
    const char *why, size_t len);

/* client.c: the context is about to go; every command had its NULL. */
void ngx_http_usher_redis_gone(ngx_http_usher_redis_t *rc);

/* io.c: takes a new context. */
ngx_int_t ngx_http_usher_redis_attach(ngx_http_usher_redis_t *rc,
    redisAsyncContext *ac, redisConnectCallback *connected);
ngx_int_t ngx_http_usher_redis_send(ngx_http_usher_redis_t *rc,
    ngx_http_usher_reply_pt handler, void *data, ngx_msec_t timeout,
    ngx_uint_t argc, ngx_str_t *argv);
void ngx_http_usher_redis_flush(ngx_event_t *ev);


#endif /* _NGX_HTTP_USHER_REDIS_H_INCLUDED_ */
