
/*
 * ngx_http_usher_redis_client.c - one connection to Redis, on nginx's events.
 *
 * DESIGN
 *
 * This file and ngx_http_usher_redis_io.c alone call hiredis, and use what
 * 0.14 and 1.x have in common, so timeouts are timers of nginx's.
 *
 * A client lives as long as its owner wants; the hiredis context inside
 * comes and goes with the connection.  hiredis frees the context itself,
 * inside whatever noticed the failure, after it has answered every pending
 * command with NULL; its cleanup hook tells us.  We free it
 * (redisAsyncFree) only from timers and posted events, never from a reply:
 * what a handler asks for is done by the posted event "after".
 *
 * The socket is watched level-triggered, since hiredis reads once per call.
 * Commands are written by a posted event at the end of the same turn of the
 * loop; the socket is only watched for writing if it would not take all.
 *
 * A client is ready when AUTH and PING were answered, so a server that is
 * stopped, loading or refuses us is not.  It then tries again, with a
 * backoff.  nginx ignores SIGPIPE.
 */


#include "ngx_http_usher_redis.h"


#define NGX_HTTP_USHER_REDIS_BACKOFF_MIN  10
#define NGX_HTTP_USHER_REDIS_BACKOFF_MAX  1000
#define NGX_HTTP_USHER_REDIS_GREETING     2000   /* connect, AUTH and PING */


static void ngx_http_usher_redis_silence(ngx_http_usher_redis_t *rc);
static void ngx_http_usher_redis_connect(ngx_http_usher_redis_t *rc);
static void ngx_http_usher_redis_on_connect(const redisAsyncContext *ac,
    int status);
static void ngx_http_usher_redis_greeted(void *data,
    ngx_http_usher_reply_t *reply);
static void ngx_http_usher_redis_timer(ngx_event_t *ev);
static void ngx_http_usher_redis_again(ngx_http_usher_redis_t *rc);
static void ngx_http_usher_redis_after(ngx_event_t *ev);
static void ngx_http_usher_redis_free(ngx_http_usher_redis_t *rc);
static void ngx_http_usher_redis_figures(ngx_uint_t role);


/* All clients of this process. */
static ngx_queue_t  ngx_http_usher_redis_clients;

/* What the log says of each role. */
static ngx_uint_t   ngx_http_usher_redis_said[NGX_HTTP_USHER_REDIS_ROLES];


/* ---- the owner's side */


ngx_http_usher_redis_t *
ngx_http_usher_redis_create(ngx_cycle_t *cycle, const char *role,
    ngx_http_usher_redis_events_t *events)
{
    ngx_uint_t                      i;
    ngx_http_usher_redis_t         *rc;
    ngx_http_usher_redis_server_t  *server;

    server = NULL;

    for (i = 0; i < NGX_HTTP_USHER_REDIS_ROLES; i++) {
        if (ngx_strcmp(role, ngx_http_usher_redis_roles[i]) == 0) {
            server = ngx_http_usher_redis_server(cycle, i);
            break;
        }
    }

    if (server == NULL) {
        return NULL;
    }

    rc = ngx_calloc(sizeof(ngx_http_usher_redis_t), cycle->log);
    if (rc == NULL) {
        return NULL;
    }

    rc->pool = ngx_create_pool(4096, cycle->log);
    if (rc->pool == NULL) {
        ngx_free(rc);
        return NULL;
    }

    rc->server = server;
    rc->role = i;
    rc->events = *events;
    rc->log = cycle->log;
    rc->backoff = NGX_HTTP_USHER_REDIS_BACKOFF_MIN;

    ngx_queue_init(&rc->pending);
    ngx_queue_init(&rc->unused);

    rc->timer.handler = ngx_http_usher_redis_timer;
    rc->timer.data = rc;
    rc->timer.log = cycle->log;
    rc->timer.cancelable = 1;

    rc->flush.handler = ngx_http_usher_redis_flush;
    rc->flush.data = rc;
    rc->flush.log = cycle->log;

    rc->after.handler = ngx_http_usher_redis_after;
    rc->after.data = rc;
    rc->after.log = cycle->log;

    if (ngx_http_usher_redis_clients.next == NULL) {
        ngx_queue_init(&ngx_http_usher_redis_clients);
    }

    ngx_queue_insert_tail(&ngx_http_usher_redis_clients, &rc->queue);
    ngx_http_usher_redis_figures(rc->role);

    ngx_add_timer(&rc->timer, 1);

    return rc;
}


void
ngx_http_usher_redis_destroy(ngx_http_usher_redis_t *rc)
{
    rc->destroyed = 1;
    rc->ready = 0;

    ngx_http_usher_redis_silence(rc);

    if (rc->handling) {
        ngx_post_event(&rc->after, &ngx_posted_events);
        return;
    }

    ngx_http_usher_redis_free(rc);
}


ngx_uint_t
ngx_http_usher_redis_ready(ngx_http_usher_redis_t *rc)
{
    return rc->ready;
}


ngx_int_t
ngx_http_usher_redis_command(ngx_http_usher_redis_t *rc,
    ngx_http_usher_reply_pt handler, void *data, ngx_msec_t timeout,
    ngx_uint_t argc, ngx_str_t *argv)
{
    if (!rc->ready || rc->drop) {
        return NGX_ERROR;
    }

    return ngx_http_usher_redis_send(rc, handler, data, timeout, argc, argv);
}


void
ngx_http_usher_redis_close(void)
{
    ngx_queue_t             *q;
    ngx_http_usher_redis_t  *rc;

    if (ngx_http_usher_redis_clients.next == NULL) {
        return;
    }

    for (q = ngx_queue_head(&ngx_http_usher_redis_clients);
         q != ngx_queue_sentinel(&ngx_http_usher_redis_clients);
         q = ngx_queue_next(q))
    {
        rc = ngx_queue_data(q, ngx_http_usher_redis_t, queue);

        ngx_http_usher_redis_silence(rc);

        if (rc->ac) {
            redisAsyncFree(rc->ac);
        }

        if (rc->timer.timer_set) {
            ngx_del_timer(&rc->timer);
        }
    }
}


/* Nobody is told about what is pending. */

static void
ngx_http_usher_redis_silence(ngx_http_usher_redis_t *rc)
{
    ngx_queue_t                     *q;
    ngx_http_usher_redis_pending_t  *p;

    for (q = ngx_queue_head(&rc->pending);
         q != ngx_queue_sentinel(&rc->pending);
         q = ngx_queue_next(q))
    {
        p = ngx_queue_data(q, ngx_http_usher_redis_pending_t, queue);
        p->handler = NULL;
    }
}


/* ---- connection */


static void
ngx_http_usher_redis_connect(ngx_http_usher_redis_t *rc)
{
    const char                     *why;
    redisAsyncContext              *ac;
    ngx_http_usher_redis_server_t  *server;

    server = rc->server;
    rc->why = NULL;

    if (server->path) {
        ac = redisAsyncConnectUnix((char *) server->path);

    } else {
        ac = redisAsyncConnect((char *) server->host, server->port);
    }

    if (ac == NULL) {
        ngx_http_usher_redis_again(rc);
        return;
    }

    if (ac->err
        || ngx_http_usher_redis_attach(rc, ac, ngx_http_usher_redis_on_connect)
           != NGX_OK)
    {
        why = ac->errstr ? ac->errstr : "";
        ngx_http_usher_redis_say(rc, NGX_HTTP_USHER_REDIS_DOWN, why,
                                 ngx_strlen(why));
        redisAsyncFree(ac);
        ngx_http_usher_redis_again(rc);
        return;
    }

    ngx_add_timer(&rc->timer, NGX_HTTP_USHER_REDIS_GREETING);
}


static void
ngx_http_usher_redis_on_connect(const redisAsyncContext *ac, int status)
{
    ngx_int_t                       rc1;
    ngx_str_t                       argv[3];
    ngx_uint_t                      n;
    ngx_http_usher_redis_t         *rc;
    ngx_http_usher_redis_server_t  *server;

    rc = ac->data;
    server = rc->server;

    if (status != REDIS_OK) {
        return;
    }

    rc->connected = 1;
    rc1 = NGX_OK;

    if (server->password.len) {
        n = 0;
        ngx_str_set(&argv[n], "AUTH");
        n++;

        if (server->user.len) {
            argv[n++] = server->user;
        }

        argv[n++] = server->password;

        rc1 = ngx_http_usher_redis_send(rc, ngx_http_usher_redis_greeted,
                                        NULL, 0, n, argv);
    }

    ngx_str_set(&argv[0], "PING");

    if (rc1 != NGX_OK
        || ngx_http_usher_redis_send(rc, ngx_http_usher_redis_greeted, rc, 0,
                                     1, argv)
           != NGX_OK)
    {
        ngx_http_usher_redis_drop(rc, "cannot be greeted");
    }
}


/* data: NULL for AUTH, the client for PING. */

static void
ngx_http_usher_redis_greeted(void *data, ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_redis_t *rc = data;

    if (reply == NULL || rc == NULL || rc->drop) {
        return;
    }

    if (rc->timer.timer_set) {
        ngx_del_timer(&rc->timer);
    }

    rc->ready = 1;
    rc->backoff = NGX_HTTP_USHER_REDIS_BACKOFF_MIN;

    ngx_http_usher_redis_figures(rc->role);

    if (ngx_http_usher_figures->redis[rc->role] != 1) {
        ngx_http_usher_redis_say(rc, NGX_HTTP_USHER_REDIS_READY, "", 0);
    }

    if (rc->events.connected) {
        rc->events.connected(rc->events.data);
    }
}


/* Ends the connection, at once or after the handler that runs. */

void
ngx_http_usher_redis_drop(ngx_http_usher_redis_t *rc, const char *why)
{
    rc->drop = 1;
    rc->why = why;

    ngx_post_event(&rc->after, &ngx_posted_events);
}


static void
ngx_http_usher_redis_timer(ngx_event_t *ev)
{
    ngx_http_usher_redis_t *rc = ev->data;

    if (rc->ac) {
        ngx_http_usher_redis_drop(rc, "does not answer");
        return;
    }

    ngx_http_usher_redis_connect(rc);
}


static void
ngx_http_usher_redis_again(ngx_http_usher_redis_t *rc)
{
    ngx_http_usher_count(redis_errors);

    ngx_add_timer(&rc->timer, rc->backoff);

    rc->backoff = ngx_min(rc->backoff * 2, NGX_HTTP_USHER_REDIS_BACKOFF_MAX);
}


/* What must not be done inside a callback of hiredis. */

static void
ngx_http_usher_redis_after(ngx_event_t *ev)
{
    ngx_http_usher_redis_t *rc = ev->data;

    if (rc->destroyed) {
        ngx_http_usher_redis_free(rc);
        return;
    }

    if (rc->drop && rc->ac) {
        redisAsyncFree(rc->ac);

        if (rc->destroyed) {

            /* by a handler that had its NULL: this event is posted again */

            return;
        }
    }

    rc->drop = 0;

    if (rc->ac == NULL && !rc->timer.timer_set) {
        ngx_http_usher_redis_again(rc);
    }

    if (rc->lost) {
        rc->lost = 0;

        if (rc->events.lost) {
            rc->events.lost(rc->events.data);
        }
    }
}


void
ngx_http_usher_redis_gone(ngx_http_usher_redis_t *rc)
{
    const char  *why;

    why = rc->why;

    if (why == NULL) {
        why = rc->ac->c.err && rc->ac->c.errstr[0] ? rc->ac->c.errstr
                                                   : "closed";
    }

    if (!rc->destroyed && !ngx_exiting && !ngx_terminate && !ngx_quit) {
        ngx_http_usher_redis_say(rc, NGX_HTTP_USHER_REDIS_DOWN, why,
                                 ngx_strlen(why));
    }

    rc->c = NULL;
    rc->ac = NULL;
    rc->connected = 0;

    if (rc->timer.timer_set) {
        ngx_del_timer(&rc->timer);
    }

    if (rc->ready) {
        rc->ready = 0;
        rc->lost = 1;
    }

    ngx_http_usher_redis_figures(rc->role);

    if (!rc->destroyed) {
        ngx_post_event(&rc->after, &ngx_posted_events);
    }
}


static void
ngx_http_usher_redis_free(ngx_http_usher_redis_t *rc)
{
    ngx_queue_t                     *q;
    ngx_http_usher_redis_pending_t  *p;

    if (rc->ac) {
        redisAsyncFree(rc->ac);
    }

    if (rc->timer.timer_set) {
        ngx_del_timer(&rc->timer);
    }

    if (rc->flush.posted) {
        ngx_delete_posted_event(&rc->flush);
    }

    if (rc->after.posted) {
        ngx_delete_posted_event(&rc->after);
    }

    while (!ngx_queue_empty(&rc->unused)) {
        q = ngx_queue_head(&rc->unused);
        ngx_queue_remove(q);
        p = ngx_queue_data(q, ngx_http_usher_redis_pending_t, queue);
        ngx_free(p);
    }

    ngx_queue_remove(&rc->queue);
    ngx_http_usher_redis_figures(rc->role);

    ngx_destroy_pool(rc->pool);
    ngx_free(rc->text);
    ngx_free(rc);
}


/*
 * One line per worker and role for each change of state: down, refused (the
 * reason is another, and may come after down), ready again.
 */

void
ngx_http_usher_redis_say(ngx_http_usher_redis_t *rc, ngx_uint_t what,
    const char *why, size_t len)
{
    ngx_uint_t  *said;

    said = &ngx_http_usher_redis_said[rc->role];

    if (*said == what
        || (what == NGX_HTTP_USHER_REDIS_DOWN
            && *said == NGX_HTTP_USHER_REDIS_REFUSED))
    {
        return;
    }

    *said = what;

    if (what == NGX_HTTP_USHER_REDIS_READY) {
        ngx_log_error(NGX_LOG_NOTICE, rc->log, 0,
                      "usher: redis \"%V\" (%s) is ready",
                      &rc->server->name, ngx_http_usher_redis_roles[rc->role]);
        return;
    }

    ngx_log_error(NGX_LOG_ERR, rc->log, 0,
                  "usher: redis \"%V\" (%s) is not available: %*s",
                  &rc->server->name, ngx_http_usher_redis_roles[rc->role],
                  len, why);
}


void
ngx_http_usher_redis_refused(ngx_http_usher_redis_t *rc, const char *command,
    ngx_str_t *why, ngx_uint_t n)
{
    rc->refused = n;

    ngx_http_usher_redis_figures(rc->role);

    if (command == NULL) {
        return;
    }

    if (why == NULL) {
        ngx_log_error(NGX_LOG_NOTICE, rc->log, 0,
                      "usher: redis \"%V\" (%s) takes %s again",
                      &rc->server->name, ngx_http_usher_redis_roles[rc->role],
                      command);
        return;
    }

    ngx_log_error(NGX_LOG_ERR, rc->log, 0,
                  "usher: redis \"%V\" (%s) refuses %s, tried again until it "
                  "is taken: \"%V\"; rights are in redis-users.conf",
                  &rc->server->name, ngx_http_usher_redis_roles[rc->role],
                  command, why);
}


/* A role is ready if all its clients are, and none is refused anything. */

static void
ngx_http_usher_redis_figures(ngx_uint_t role)
{
    uint64_t                 state;
    ngx_queue_t             *q;
    ngx_http_usher_redis_t  *rc;

    state = 0;

    for (q = ngx_queue_head(&ngx_http_usher_redis_clients);
         q != ngx_queue_sentinel(&ngx_http_usher_redis_clients);
         q = ngx_queue_next(q))
    {
        rc = ngx_queue_data(q, ngx_http_usher_redis_t, queue);

        if (rc->role != role) {
            continue;
        }

        if (!rc->ready) {
            state = 1;
            break;
        }

        if (state != 3) {
            state = rc->refused ? 3 : 2;
        }
    }

    ngx_http_usher_figures->redis[role] = state;
}
