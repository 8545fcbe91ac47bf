
/*
 * ngx_http_usher_redis_io.c - commands, replies, and hiredis on nginx's
 * events.  The design is told in ngx_http_usher_redis_client.c.
 */


#include "ngx_http_usher_redis.h"

#include <hiredis/sds.h>


#define NGX_HTTP_USHER_REDIS_TEXT  4096          /* of a command, at least */
#define NGX_HTTP_USHER_REDIS_LONG  4096          /* a last argument from here
                                                    on is not copied */


static ngx_int_t ngx_http_usher_redis_format(ngx_http_usher_redis_t *rc,
    ngx_uint_t argc, ngx_str_t *argv, ngx_uint_t cut);
static void ngx_http_usher_redis_tail(ngx_http_usher_redis_t *rc,
    ngx_str_t *tail);
static void ngx_http_usher_redis_rest(ngx_http_usher_redis_t *rc,
    u_char *data, size_t len);
static void ngx_http_usher_redis_on_reply(redisAsyncContext *ac, void *r,
    void *data);
static ngx_int_t ngx_http_usher_redis_convert(ngx_http_usher_redis_t *rc,
    redisReply *r, ngx_http_usher_reply_t *reply);
static void ngx_http_usher_redis_late(ngx_event_t *ev);

static void ngx_http_usher_redis_readable(ngx_event_t *ev);
static void ngx_http_usher_redis_writable(ngx_event_t *ev);
static void ngx_http_usher_redis_add_read(void *data);
static void ngx_http_usher_redis_del_read(void *data);
static void ngx_http_usher_redis_add_write(void *data);
static void ngx_http_usher_redis_del_write(void *data);
static void ngx_http_usher_redis_cleanup(void *data);


/* ---- commands and replies */


ngx_int_t
ngx_http_usher_redis_send(ngx_http_usher_redis_t *rc,
    ngx_http_usher_reply_pt handler, void *data, ngx_msec_t timeout,
    ngx_uint_t argc, ngx_str_t *argv)
{
    int                              status;
    ngx_uint_t                       cut;
    ngx_queue_t                     *q;
    ngx_http_usher_redis_pending_t  *p;

    if (!ngx_queue_empty(&rc->unused)) {
        q = ngx_queue_head(&rc->unused);
        ngx_queue_remove(q);
        p = ngx_queue_data(q, ngx_http_usher_redis_pending_t, queue);

    } else {
        p = ngx_calloc(sizeof(ngx_http_usher_redis_pending_t), rc->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        p->rc = rc;
        p->timer.handler = ngx_http_usher_redis_late;
        p->timer.data = p;
        p->timer.log = rc->log;
        p->timer.cancelable = 1;
    }

    p->handler = handler;
    p->data = data;

    cut = (rc->connected && argv[argc - 1].len >= NGX_HTTP_USHER_REDIS_LONG);
    status = REDIS_ERR;

    if (ngx_http_usher_redis_format(rc, argc, argv, cut) == NGX_OK) {
        status = redisAsyncFormattedCommand(rc->ac,
                                            ngx_http_usher_redis_on_reply, p,
                                            (char *) rc->text, rc->len);
    }

    if (status != REDIS_OK) {
        ngx_queue_insert_head(&rc->unused, &p->queue);
        return NGX_ERROR;
    }

    ngx_queue_insert_tail(&rc->pending, &p->queue);

    if (cut) {
        ngx_http_usher_redis_tail(rc, &argv[argc - 1]);
    }

    if (timeout) {
        ngx_add_timer(&p->timer, timeout);
    }

    return NGX_OK;
}


/*
 * The command as RESP, in a buffer that is kept: hiredis would allocate one
 * per command.  cut: without the bytes of the last argument.
 */

static ngx_int_t
ngx_http_usher_redis_format(ngx_http_usher_redis_t *rc, ngx_uint_t argc,
    ngx_str_t *argv, ngx_uint_t cut)
{
    size_t       len;
    u_char      *p;
    ngx_uint_t   i;

    len = sizeof("*\r\n") + NGX_INT_T_LEN;

    for (i = 0; i < argc; i++) {
        len += sizeof("$\r\n\r\n") + NGX_SIZE_T_LEN;

        if (!cut || i < argc - 1) {
            len += argv[i].len;
        }
    }

    if (rc->room < len) {
        len = ngx_max(len, NGX_HTTP_USHER_REDIS_TEXT);

        p = ngx_alloc(len, rc->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_free(rc->text);

        rc->text = p;
        rc->room = len;
    }

    p = ngx_sprintf(rc->text, "*%ui\r\n", argc);

    for (i = 0; i < argc; i++) {
        p = ngx_sprintf(p, "$%uz\r\n", argv[i].len);

        if (cut && i == argc - 1) {
            break;
        }

        p = ngx_cpymem(p, argv[i].data, argv[i].len);
        *p++ = CR; *p++ = LF;
    }

    rc->len = p - rc->text;

    return NGX_OK;
}


/*
 * Writes what hiredis holds, and after it the tail from where it lies.  An
 * entry has 64 KB: hiredis would copy them, into a buffer that is allocated
 * and freed for each.
 */

static void
ngx_http_usher_redis_tail(ngx_http_usher_redis_t *rc, ngx_str_t *tail)
{
    size_t         held;
    ssize_t        n;
    struct iovec   iov[3];
    redisContext  *c;

    c = &rc->ac->c;

    if (c->err) {

        /* hiredis had no memory for the command: it must not go without */

        ngx_http_usher_redis_drop(rc, "was to be sent more than memory holds");
        return;
    }

    held = sdslen(c->obuf);

    iov[0].iov_base = c->obuf;
    iov[0].iov_len = held;
    iov[1].iov_base = tail->data;
    iov[1].iov_len = tail->len;
    iov[2].iov_base = CRLF;
    iov[2].iov_len = 2;

    n = writev(c->fd, iov, 3);

    if (n == -1) {

        /* hiredis tries again, and meets the same error if it lasts */

        n = 0;
    }

    if ((size_t) n < held) {
        sdsrange(c->obuf, (int) n, -1);
        n = 0;

    } else {
        sdsclear(c->obuf);
        n -= held;
    }

    if ((size_t) n < tail->len) {
        ngx_http_usher_redis_rest(rc, tail->data + n, tail->len - n);
        n = tail->len;
    }

    n -= tail->len;

    if (n < 2) {
        ngx_http_usher_redis_rest(rc, (u_char *) CRLF + n, 2 - n);
    }
}


/* What the socket did not take. */

static void
ngx_http_usher_redis_rest(ngx_http_usher_redis_t *rc, u_char *data, size_t len)
{
    sds  obuf;

    obuf = sdscatlen(rc->ac->c.obuf, data, len);

    if (obuf == NULL) {

        /* half a command: Redis never runs it if the connection ends here */

        ngx_http_usher_redis_drop(rc, "was to be sent more than memory holds");
        return;
    }

    rc->ac->c.obuf = obuf;
}


static void
ngx_http_usher_redis_on_reply(redisAsyncContext *ac, void *r, void *data)
{
    ngx_http_usher_redis_pending_t *p = data;

    void                     *to;
    ngx_uint_t                handling;
    ngx_http_usher_reply_t    reply;
    ngx_http_usher_redis_t   *rc;
    ngx_http_usher_reply_pt   handler;

    rc = p->rc;
    handler = p->handler;
    to = p->data;

    if (p->timer.timer_set) {
        ngx_del_timer(&p->timer);
    }

    ngx_queue_remove(&p->queue);
    ngx_queue_insert_head(&rc->unused, &p->queue);

    if (r == NULL && rc->ready) {
        rc->ready = 0;
        rc->lost = 1;
    }

    if (handler == NULL) {
        return;
    }

    handling = rc->handling;
    rc->handling = 1;

    if (r == NULL) {
        handler(to, NULL);

    } else if (!rc->ready && ((redisReply *) r)->type == REDIS_REPLY_ERROR) {

        /* AUTH or PING: refused, loading, ... */

        ngx_http_usher_redis_say(rc, NGX_HTTP_USHER_REDIS_REFUSED,
                                 ((redisReply *) r)->str,
                                 ((redisReply *) r)->len);
        ngx_http_usher_redis_drop(rc, "refused");

    } else if (ngx_http_usher_redis_convert(rc, r, &reply) != NGX_OK) {
        ngx_http_usher_redis_drop(rc, "sent a reply that cannot be held");
        handler(to, NULL);

    } else {
        handler(to, &reply);
    }

    rc->handling = handling;

    ngx_reset_pool(rc->pool);
}


static ngx_int_t
ngx_http_usher_redis_convert(ngx_http_usher_redis_t *rc, redisReply *r,
    ngx_http_usher_reply_t *reply)
{
    size_t  i;

    ngx_memzero(reply, sizeof(ngx_http_usher_reply_t));

    switch (r->type) {

    case REDIS_REPLY_NIL:
        reply->type = NGX_HTTP_USHER_REDIS_NIL;
        return NGX_OK;

    case REDIS_REPLY_INTEGER:
        reply->type = NGX_HTTP_USHER_REDIS_INTEGER;
        reply->integer = r->integer;
        return NGX_OK;

    case REDIS_REPLY_ARRAY:
        reply->type = NGX_HTTP_USHER_REDIS_ARRAY;
        break;

    case REDIS_REPLY_STATUS:
        reply->type = NGX_HTTP_USHER_REDIS_STATUS;
        break;

    case REDIS_REPLY_ERROR:
        reply->type = NGX_HTTP_USHER_REDIS_ERROR;
        break;

    default:
        reply->type = NGX_HTTP_USHER_REDIS_STRING;
    }

    if (reply->type != NGX_HTTP_USHER_REDIS_ARRAY) {
        reply->str.data = (u_char *) r->str;
        reply->str.len = r->len;
        return NGX_OK;
    }

    if (r->elements == 0) {
        return NGX_OK;
    }

    reply->n = r->elements;
    reply->elements = ngx_palloc(rc->pool,
                                 r->elements * sizeof(ngx_http_usher_reply_t));
    if (reply->elements == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < r->elements; i++) {
        if (ngx_http_usher_redis_convert(rc, r->element[i],
                                         &reply->elements[i])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* A command's time has passed. */

static void
ngx_http_usher_redis_late(ngx_event_t *ev)
{
    ngx_http_usher_redis_pending_t *p = ev->data;

    ngx_http_usher_redis_drop(p->rc, "did not answer in time");
}


/* ---- hiredis on nginx's events */


ngx_int_t
ngx_http_usher_redis_attach(ngx_http_usher_redis_t *rc,
    redisAsyncContext *ac, redisConnectCallback *connected)
{
    int                fd;
    ngx_connection_t  *c;

    fd = ac->c.fd;

    if (fcntl(fd, F_SETFD, FD_CLOEXEC) == -1) {
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, rc->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->data = rc;
    c->read->handler = ngx_http_usher_redis_readable;
    c->read->log = rc->log;
    c->write->handler = ngx_http_usher_redis_writable;
    c->write->log = rc->log;

    rc->c = c;
    rc->ac = ac;
    rc->connected = 0;
    rc->drop = 0;

    ac->data = rc;
    ac->ev.data = rc;
    ac->ev.addRead = ngx_http_usher_redis_add_read;
    ac->ev.delRead = ngx_http_usher_redis_del_read;
    ac->ev.addWrite = ngx_http_usher_redis_add_write;
    ac->ev.delWrite = ngx_http_usher_redis_del_write;
    ac->ev.cleanup = ngx_http_usher_redis_cleanup;

    /* from here on cleanup() is called when ac goes */

    if (redisAsyncSetConnectCallback(ac, connected) != REDIS_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_usher_redis_readable(ngx_event_t *ev)
{
    ngx_connection_t        *c;
    ngx_http_usher_redis_t  *rc;

    c = ev->data;
    rc = c->data;

    if (rc->ac) {
        redisAsyncHandleRead(rc->ac);
    }
}


static void
ngx_http_usher_redis_writable(ngx_event_t *ev)
{
    ngx_connection_t        *c;
    ngx_http_usher_redis_t  *rc;

    c = ev->data;
    rc = c->data;

    if (rc->ac) {
        rc->flushing = 1;
        redisAsyncHandleWrite(rc->ac);
        rc->flushing = 0;
    }
}


void
ngx_http_usher_redis_flush(ngx_event_t *ev)
{
    ngx_http_usher_redis_t *rc = ev->data;

    if (rc->ac) {
        rc->flushing = 1;
        redisAsyncHandleWrite(rc->ac);
        rc->flushing = 0;
    }
}


static void
ngx_http_usher_redis_add_read(void *data)
{
    ngx_http_usher_redis_t *rc = data;

    if (!rc->c->read->active) {
        (void) ngx_add_event(rc->c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT);
    }
}


static void
ngx_http_usher_redis_del_read(void *data)
{
    ngx_http_usher_redis_t *rc = data;

    if (rc->c->read->active) {
        (void) ngx_del_event(rc->c->read, NGX_READ_EVENT, 0);
    }
}


static void
ngx_http_usher_redis_add_write(void *data)
{
    ngx_http_usher_redis_t *rc = data;

    if (rc->connected && !rc->flushing) {
        ngx_post_event(&rc->flush, &ngx_posted_events);
        return;
    }

    if (!rc->c->write->active) {
        (void) ngx_add_event(rc->c->write, NGX_WRITE_EVENT, NGX_LEVEL_EVENT);
    }
}


static void
ngx_http_usher_redis_del_write(void *data)
{
    ngx_http_usher_redis_t *rc = data;

    if (rc->c->write->active) {
        (void) ngx_del_event(rc->c->write, NGX_WRITE_EVENT, 0);
    }
}


static void
ngx_http_usher_redis_cleanup(void *data)
{
    ngx_http_usher_redis_t *rc = data;

    ngx_connection_t  *c;

    c = rc->c;

    ngx_http_usher_redis_del_read(rc);
    ngx_http_usher_redis_del_write(rc);

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    /* events of it that this turn of the loop still holds are stale then */

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

    ngx_http_usher_redis_gone(rc);
}
