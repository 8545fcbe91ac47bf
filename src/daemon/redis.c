/*
 * redis.c - the one file that speaks to hiredis, synchronously.
 *
 * DESIGN
 *
 * A connection belongs to one duty and is made again whenever the duty asks
 * for it and the backoff has passed.  Every wait is bounded by timeout_ms: a
 * Redis that hangs is a connection lost.  A connection counts as made only
 * after AUTH and a PING were answered well, so one that is loading its data
 * is not there yet.
 *
 * Replies are hiredis's own, under another name: a stream entry's data is
 * not copied between the socket and the COPY.
 */


#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "usherd.h"


#define USHERD_REDIS_BACKOFF_MIN  100
#define USHERD_REDIS_BACKOFF_MAX  2000


struct usherd_redis_s {
    redisContext   *context;          /* NULL: not connected */
    usherd_conf_t  *conf;
    const char     *name;             /* of the connection */
    uint64_t        generation;
    uint64_t        next;             /* msec: not to be tried before */
    uint64_t        backoff;          /* msec */
    unsigned        failing:1;        /* already said so */
    char            message[256];
};


static int usherd_redis_connect(usherd_redis_t *rc);
static redisContext *usherd_redis_open(usherd_redis_t *rc);
static int usherd_redis_greet(usherd_redis_t *rc);
static int usherd_redis_auth(usherd_redis_t *rc);
static int usherd_redis_answer(usherd_redis_t *rc, redisReply *reply);
static void usherd_redis_lost(usherd_redis_t *rc);
static usherd_reply_t *usherd_redis_got(usherd_redis_t *rc,
    redisReply *reply);


usherd_redis_t *
usherd_redis_create(usherd_conf_t *conf, const char *name)
{
    usherd_redis_t  *rc;

    rc = calloc(1, sizeof(usherd_redis_t));
    if (rc == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    rc->conf = conf;
    rc->name = name;

    return rc;
}


void
usherd_redis_wait(usherd_redis_t *rc)
{
    uint64_t  now;

    while (usherd_redis_try(rc) != USHERD_OK) {
        now = usherd_now();
        (void) usherd_wait(-1, rc->next > now ? rc->next - now : 1);
    }
}


int
usherd_redis_try(usherd_redis_t *rc)
{
    if (rc->context != NULL) {
        return USHERD_OK;
    }

    if (usherd_now() < rc->next) {
        return USHERD_LOST;
    }

    if (usherd_redis_connect(rc) == USHERD_OK) {
        usherd_log(USHERD_LOG_INFO, "connected to Redis %s",
                   rc->conf->redis_address);
        return USHERD_OK;
    }

    if (!rc->failing) {
        usherd_log(USHERD_LOG_ERROR, "Redis %s cannot be reached: %s; trying "
                   "again until it can", rc->conf->redis_address,
                   rc->message);
    }

    rc->failing = 1;
    rc->backoff = rc->backoff ? rc->backoff * 2 : USHERD_REDIS_BACKOFF_MIN;

    if (rc->backoff > USHERD_REDIS_BACKOFF_MAX) {
        rc->backoff = USHERD_REDIS_BACKOFF_MAX;
    }

    rc->next = usherd_now() + rc->backoff;

    return USHERD_LOST;
}


static int
usherd_redis_connect(usherd_redis_t *rc)
{
    redisContext    *context;
    struct timeval   tv;

    context = usherd_redis_open(rc);

    if (context == NULL || context->err) {
        snprintf(rc->message, sizeof(rc->message), "%s",
                 context != NULL ? context->errstr : "out of memory");

        if (context != NULL) {
            redisFree(context);
        }

        return USHERD_LOST;
    }

    tv.tv_sec = (time_t) (rc->conf->redis_timeout_ms / 1000);
    tv.tv_usec = (suseconds_t) (rc->conf->redis_timeout_ms % 1000 * 1000);

    (void) redisSetTimeout(context, tv);

    /* on a unix socket it fails, and its failure stays in the context */

    if (strncmp(rc->conf->redis_address, "unix:", 5) != 0) {
        (void) redisEnableKeepAlive(context);
    }

    rc->context = context;

    if (usherd_redis_greet(rc) != USHERD_OK) {
        redisFree(context);
        rc->context = NULL;
        return USHERD_LOST;
    }

    rc->generation++;
    rc->backoff = 0;
    rc->next = 0;
    rc->failing = 0;

    usherd_count(redis_connects);
    usherd_set(redis_up, 1);

    return USHERD_OK;
}


static redisContext *
usherd_redis_open(usherd_redis_t *rc)
{
    int              port;
    char             host[256];
    size_t           len;
    const char      *address, *colon;
    struct timeval   tv;

    address = rc->conf->redis_address;

    tv.tv_sec = (time_t) (rc->conf->redis_timeout_ms / 1000);
    tv.tv_usec = (suseconds_t) (rc->conf->redis_timeout_ms % 1000 * 1000);

    if (strncmp(address, "unix:", 5) == 0) {
        return redisConnectUnixWithTimeout(address + 5, tv);
    }

    /* conf.c has seen to the colon and the port */

    colon = strrchr(address, ':');
    port = (int) strtol(colon + 1, NULL, 10);
    len = (size_t) (colon - address);

    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }

    if (len >= sizeof(host)) {
        len = sizeof(host) - 1;
    }

    memcpy(host, address, len);
    host[len] = '\0';

    return redisConnectWithTimeout(host, port, tv);
}


static int
usherd_redis_greet(usherd_redis_t *rc)
{
    if (rc->conf->redis_password_file != NULL
        && usherd_redis_auth(rc) != USHERD_OK)
    {
        return USHERD_LOST;
    }

    if (usherd_redis_answer(rc, redisCommand(rc->context, "PING"))
        != USHERD_OK)
    {
        return USHERD_LOST;
    }

    /* a name is a help to a person only: an ACL may forbid it */

    freeReplyObject(redisCommand(rc->context, "CLIENT SETNAME usherd-%s",
                                 rc->name));

    return rc->context->err ? USHERD_LOST : USHERD_OK;
}


static int
usherd_redis_auth(usherd_redis_t *rc)
{
    int          n;
    char        *password;
    const char  *argv[3];

    password = usherd_conf_secret(rc->conf->redis_password_file);

    if (password == NULL) {
        snprintf(rc->message, sizeof(rc->message), "cannot read "
                 "password_file %s: %s", rc->conf->redis_password_file,
                 strerror(errno));
        return USHERD_LOST;
    }

    n = 0;
    argv[n++] = "AUTH";

    if (rc->conf->redis_user != NULL) {
        argv[n++] = rc->conf->redis_user;
    }

    argv[n++] = password;

    n = usherd_redis_answer(rc, redisCommandArgv(rc->context, n, argv, NULL));

    explicit_bzero(password, strlen(password));
    free(password);

    return n;
}


static int
usherd_redis_answer(usherd_redis_t *rc, redisReply *reply)
{
    if (reply == NULL) {
        snprintf(rc->message, sizeof(rc->message), "%s",
                 rc->context->errstr);
        return USHERD_LOST;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(rc->message, sizeof(rc->message), "%s", reply->str);
        freeReplyObject(reply);
        return USHERD_LOST;
    }

    freeReplyObject(reply);

    return USHERD_OK;
}


void
usherd_redis_close(usherd_redis_t *rc)
{
    if (rc->context != NULL) {
        redisFree(rc->context);
        rc->context = NULL;
        usherd_set(redis_up, 0);
    }
}


uint64_t
usherd_redis_generation(usherd_redis_t *rc)
{
    return rc->generation;
}


usherd_reply_t *
usherd_redis_command(usherd_redis_t *rc, unsigned argc,
    const char *const *argv, const size_t *lens)
{
    if (rc->context == NULL) {
        return NULL;
    }

    return usherd_redis_got(rc, redisCommandArgv(rc->context, (int) argc,
                                             (const char **) argv, lens));
}


usherd_reply_t *
usherd_redis_format(usherd_redis_t *rc, const char *fmt, ...)
{
    va_list      args;
    redisReply  *reply;

    if (rc->context == NULL) {
        return NULL;
    }

    va_start(args, fmt);
    reply = redisvCommand(rc->context, fmt, args);
    va_end(args);

    return usherd_redis_got(rc, reply);
}


int
usherd_redis_append(usherd_redis_t *rc, unsigned argc,
    const char *const *argv, const size_t *lens)
{
    if (rc->context == NULL) {
        return USHERD_LOST;
    }

    if (redisAppendCommandArgv(rc->context, (int) argc, (const char **) argv,
                               lens)
        != REDIS_OK)
    {
        usherd_redis_lost(rc);
        return USHERD_LOST;
    }

    return USHERD_OK;
}


int
usherd_redis_append_format(usherd_redis_t *rc, const char *fmt, ...)
{
    int      err;
    va_list  args;

    if (rc->context == NULL) {
        return USHERD_LOST;
    }

    va_start(args, fmt);
    err = redisvAppendCommand(rc->context, fmt, args);
    va_end(args);

    if (err != REDIS_OK) {
        usherd_redis_lost(rc);
        return USHERD_LOST;
    }

    return USHERD_OK;
}


usherd_reply_t *
usherd_redis_reply(usherd_redis_t *rc)
{
    void  *reply;

    if (rc->context == NULL) {
        return NULL;
    }

    reply = NULL;

    if (redisGetReply(rc->context, &reply) != REDIS_OK) {
        reply = NULL;
    }

    return usherd_redis_got(rc, reply);
}


static usherd_reply_t *
usherd_redis_got(usherd_redis_t *rc, redisReply *reply)
{
    if (reply == NULL) {
        usherd_redis_lost(rc);
        return NULL;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        usherd_count(redis_errors);
    }

    return (usherd_reply_t *) reply;
}


static void
usherd_redis_lost(usherd_redis_t *rc)
{
    usherd_log(USHERD_LOG_ERROR, "lost Redis %s: %s; connecting again",
               rc->conf->redis_address,
               rc->context->err ? rc->context->errstr : "out of memory");

    usherd_redis_close(rc);
}


usherd_reply_e
usherd_reply_type(const usherd_reply_t *reply)
{
    switch (((const redisReply *) reply)->type) {

    case REDIS_REPLY_STRING:
        return USHERD_REPLY_STRING;

    case REDIS_REPLY_STATUS:
        return USHERD_REPLY_STATUS;

    case REDIS_REPLY_INTEGER:
        return USHERD_REPLY_INTEGER;

    case REDIS_REPLY_ARRAY:
        return USHERD_REPLY_ARRAY;

    case REDIS_REPLY_ERROR:
        return USHERD_REPLY_ERROR;

    default:
        return USHERD_REPLY_NIL;
    }
}


const char *
usherd_reply_text(const usherd_reply_t *reply, size_t *len)
{
    size_t             n;
    const char        *text;
    const redisReply  *r = (const redisReply *) reply;

    switch (r->type) {

    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
        text = r->str;
        n = (size_t) r->len;
        break;

    default:
        text = "";
        n = 0;
    }

    if (len != NULL) {
        *len = n;
    }

    return text;
}


int64_t
usherd_reply_integer(const usherd_reply_t *reply)
{
    return ((const redisReply *) reply)->integer;
}


unsigned
usherd_reply_count(const usherd_reply_t *reply)
{
    const redisReply  *r = (const redisReply *) reply;

    return r->type == REDIS_REPLY_ARRAY ? (unsigned) r->elements : 0;
}


const usherd_reply_t *
usherd_reply_at(const usherd_reply_t *reply, unsigned i)
{
    return (const usherd_reply_t *) ((const redisReply *) reply)->element[i];
}


void
usherd_reply_free(usherd_reply_t *reply)
{
    if (reply != NULL) {
        freeReplyObject(reply);
    }
}
