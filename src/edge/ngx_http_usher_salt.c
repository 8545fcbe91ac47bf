
/*
 * ngx_http_usher_salt.c - the salt of the day, under which visitors are
 * hashed.
 *
 * DESIGN
 *
 * A salt is 128 random bits for one UTC day, the same on all nodes: the one
 * key usher:salt:<day> of the directory's Redis, which the first node sets
 * (SET NX) and all read.  It expires with the day; nothing else keeps it.  So
 * nobody can tell afterwards whose hash one was, or that two of different days
 * are one visitor's.  It is in no log and no journal.
 *
 * The worker that reads changes asks, on the same connection: for today's,
 * and in the last hours of the day for tomorrow's, so that Redis may be away
 * at midnight.  A salt that is known is set again each minute: a wiped Redis
 * gets it back.  Where Redis does not give one for a second, the node makes
 * one of its own, until it does.
 *
 * In the zone each day has two slots, of all nodes' and of its own, in turn
 * with the day after.  Only the lease's holder writes.  Whoever is deposed
 * while he writes, or dies, leaves no slot or another secret one: both are
 * harmless, and mended when it is asked for again.
 */


#include "ngx_http_usher_directory.h"
#include "ngx_http_usher_request.h"

#include <sys/random.h>


#define NGX_HTTP_USHER_SALT_KEY      "usher:salt:"
#define NGX_HTTP_USHER_SALT_TEXT     32       /* hexadecimal */
#define NGX_HTTP_USHER_SALT_AHEAD    (3 * 3600)   /* sec before midnight */
#define NGX_HTTP_USHER_SALT_AFTER    60       /* sec: clocks of nodes differ */
#define NGX_HTTP_USHER_SALT_PATIENCE 1000     /* msec until one is made */
#define NGX_HTTP_USHER_SALT_AGAIN    1000     /* msec, while one is missing */
#define NGX_HTTP_USHER_SALT_KEEP     60000    /* msec, while none is */
#define NGX_HTTP_USHER_SALT_TIMEOUT  1000     /* msec */
#define NGX_HTTP_USHER_SALT_WHY      80       /* bytes of an error */

#define NGX_HTTP_USHER_DAY           86400


static ngx_uint_t ngx_http_usher_salt_get(ngx_http_usher_shared_t *shared,
    uint64_t tag, uint64_t salt[2]);
static void ngx_http_usher_salt_set(ngx_http_usher_shared_t *shared,
    uint64_t tag, uint64_t salt[2]);
static void ngx_http_usher_salt_forget(ngx_http_usher_directory_t *d,
    uint64_t day);
static void ngx_http_usher_salt_missing(ngx_http_usher_directory_t *d,
    uint64_t day);
static void ngx_http_usher_salt_found(ngx_http_usher_directory_t *d);
static void ngx_http_usher_salt_ask(ngx_http_usher_directory_t *d,
    uint64_t day);
static void ngx_http_usher_salt_written(void *data,
    ngx_http_usher_reply_t *reply);
static void ngx_http_usher_salt_answer(void *data,
    ngx_http_usher_reply_t *reply);


/* A salt's tag: its day, and whether it is all nodes'. */
#define ngx_http_usher_salt_tag(day, common)  ((uint64_t) (day) << 1 | (common))

/* The slot of a tag. */
#define ngx_http_usher_salt_slot(shared, tag)  (&(shared)->salts[(tag) & 3])


static ngx_msec_t  ngx_http_usher_salt_asked;    /* when last */
static ngx_msec_t  ngx_http_usher_salt_since;    /* today's is missing; 0: it
                                                    is not */
static u_char      ngx_http_usher_salt_why[NGX_HTTP_USHER_SALT_WHY];
static size_t      ngx_http_usher_salt_why_len;  /* of the last error */


ngx_int_t
ngx_http_usher_salt(uint64_t salt[2])
{
    uint64_t                  day;
    ngx_http_usher_shared_t  *shared;

    shared = ngx_http_usher_directory_data.shared;

    if (shared == NULL) {
        return NGX_DECLINED;
    }

    day = (uint64_t) ngx_time() / NGX_HTTP_USHER_DAY;

    return ngx_http_usher_salt_get(shared, ngx_http_usher_salt_tag(day, 1),
                                   salt)
           || ngx_http_usher_salt_get(shared, ngx_http_usher_salt_tag(day, 0),
                                      salt)
           ? NGX_OK : NGX_DECLINED;
}


const char *
ngx_http_usher_salt_state(void)
{
    uint64_t                  day, salt[2];
    ngx_http_usher_shared_t  *shared;

    shared = ngx_http_usher_directory_data.shared;
    day = (uint64_t) ngx_time() / NGX_HTTP_USHER_DAY;

    if (shared == NULL || ngx_http_usher_salt(salt) != NGX_OK) {
        return "none";
    }

    return ngx_http_usher_salt_get(shared, ngx_http_usher_salt_tag(day, 1),
                                   salt)
           ? "common" : "own";
}


/* What is torn by a writer is none, or once in a blue moon another secret. */

static ngx_uint_t
ngx_http_usher_salt_get(ngx_http_usher_shared_t *shared, uint64_t tag,
    uint64_t salt[2])
{
    ngx_http_usher_salt_t  *slot;

    slot = ngx_http_usher_salt_slot(shared, tag);

    if (__atomic_load_n(&slot->tag, __ATOMIC_ACQUIRE) != tag) {
        return 0;
    }

    salt[0] = __atomic_load_n(&slot->salt[0], __ATOMIC_RELAXED);
    salt[1] = __atomic_load_n(&slot->salt[1], __ATOMIC_RELAXED);

    __atomic_thread_fence(__ATOMIC_ACQUIRE);

    return __atomic_load_n(&slot->tag, __ATOMIC_RELAXED) == tag;
}


static void
ngx_http_usher_salt_set(ngx_http_usher_shared_t *shared, uint64_t tag,
    uint64_t salt[2])
{
    ngx_http_usher_salt_t  *slot;

    slot = ngx_http_usher_salt_slot(shared, tag);

    __atomic_store_n(&slot->tag, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);

    __atomic_store_n(&slot->salt[0], salt[0], __ATOMIC_RELAXED);
    __atomic_store_n(&slot->salt[1], salt[1], __ATOMIC_RELAXED);

    __atomic_store_n(&slot->tag, tag, __ATOMIC_RELEASE);
}


/* Each 10 ms by the lease's holder; and when it has connected. */

void
ngx_http_usher_salt_renew(ngx_http_usher_directory_t *d, ngx_uint_t connected)
{
    uint64_t                     day, salt[2];
    ngx_uint_t                   ahead, missing;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_cycle_get_module_main_conf(d->cycle,
                                               ngx_http_usher_module);

    if (umcf == NULL || !umcf->visitor) {
        return;
    }

    day = (uint64_t) ngx_time() / NGX_HTTP_USHER_DAY;
    ahead = (uint64_t) ngx_time() % NGX_HTTP_USHER_DAY
            >= NGX_HTTP_USHER_DAY - NGX_HTTP_USHER_SALT_AHEAD;

    ngx_http_usher_salt_forget(d, day);

    missing = !ngx_http_usher_salt_get(d->shared,
                                       ngx_http_usher_salt_tag(day, 1), salt);

    if (missing) {
        ngx_http_usher_salt_missing(d, day);

    } else {
        ngx_http_usher_salt_found(d);
        missing = ahead && !ngx_http_usher_salt_get(d->shared,
                                   ngx_http_usher_salt_tag(day + 1, 1), salt);
    }

    if (d->changes == NULL || !ngx_http_usher_redis_ready(d->changes)
        || (!connected
            && ngx_current_msec - ngx_http_usher_salt_asked
               < (missing ? NGX_HTTP_USHER_SALT_AGAIN
                          : NGX_HTTP_USHER_SALT_KEEP)))
    {
        return;
    }

    ngx_http_usher_salt_asked = ngx_current_msec;

    ngx_http_usher_salt_ask(d, day);

    if (ahead) {
        ngx_http_usher_salt_ask(d, day + 1);
    }
}


/* What was a day's is nobody's when it has passed. */

static void
ngx_http_usher_salt_forget(ngx_http_usher_directory_t *d, uint64_t day)
{
    ngx_uint_t              i;
    ngx_http_usher_salt_t  *slot;

    for (i = 0; i < NGX_HTTP_USHER_SALTS; i++) {
        slot = &d->shared->salts[i];

        if (slot->tag != 0 && slot->tag >> 1 != day
            && slot->tag >> 1 != day + 1)
        {
            slot->tag = 0;
            ngx_explicit_memzero(slot->salt, sizeof(slot->salt));
        }
    }
}


static void
ngx_http_usher_salt_missing(ngx_http_usher_directory_t *d, uint64_t day)
{
    uint64_t   salt[2];
    ngx_str_t  why;

    if (ngx_http_usher_salt_since == 0) {
        ngx_http_usher_salt_since = ngx_current_msec ? ngx_current_msec : 1;
        ngx_http_usher_salt_why_len = 0;
        return;
    }

    if (ngx_current_msec - ngx_http_usher_salt_since
        < NGX_HTTP_USHER_SALT_PATIENCE
        || ngx_http_usher_salt_get(d->shared, ngx_http_usher_salt_tag(day, 0),
                                   salt)
        || getrandom(salt, sizeof(salt), 0) != sizeof(salt))
    {
        return;
    }

    ngx_http_usher_salt_set(d->shared, ngx_http_usher_salt_tag(day, 0), salt);

    if (ngx_http_usher_said(d, NGX_HTTP_USHER_SAID_SALT) != NGX_OK) {
        return;
    }

    ngx_str_set(&why, "no answer");

    if (ngx_http_usher_salt_why_len) {
        why.data = ngx_http_usher_salt_why;
        why.len = ngx_http_usher_salt_why_len;
    }

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "usher: no salt of the day from Redis: \"%V\"; until there "
                  "is one, who clicks at this node and at another counts as "
                  "two visitors; the user of usher_redis needs SET and GET of "
                  "usher:salt:*", &why);
}


static void
ngx_http_usher_salt_found(ngx_http_usher_directory_t *d)
{
    ngx_http_usher_salt_since = 0;

    if (ngx_http_usher_unsaid(d, NGX_HTTP_USHER_SAID_SALT) == NGX_OK) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher: the salt of the day is that of all nodes again");
    }
}


/* Of several nodes that set it the first one does; all read what it is. */

static void
ngx_http_usher_salt_ask(ngx_http_usher_directory_t *d, uint64_t day)
{
    char       text[NGX_HTTP_USHER_SALT_TEXT + 1];
    u_char     key[sizeof(NGX_HTTP_USHER_SALT_KEY) + NGX_INT64_LEN];
    u_char     expires[NGX_TIME_T_LEN];
    uint64_t   salt[2];
    ngx_str_t  argv[6];

    if (!ngx_http_usher_salt_get(d->shared, ngx_http_usher_salt_tag(day, 1),
                                 salt)
        && getrandom(salt, sizeof(salt), 0) != sizeof(salt))
    {
        return;
    }

    usher_hex64_text(salt[0], text);
    usher_hex64_text(salt[1], text + NGX_HTTP_USHER_SALT_TEXT / 2);

    ngx_str_set(&argv[0], "SET");
    argv[1].data = key;
    argv[1].len = ngx_sprintf(key, NGX_HTTP_USHER_SALT_KEY "%uL", day) - key;
    argv[2].data = (u_char *) text;
    argv[2].len = NGX_HTTP_USHER_SALT_TEXT;
    ngx_str_set(&argv[3], "NX");
    ngx_str_set(&argv[4], "EX");
    argv[5].data = expires;
    argv[5].len = ngx_sprintf(expires, "%uL",
                              (day + 1) * NGX_HTTP_USHER_DAY
                              - (uint64_t) ngx_time()
                              + NGX_HTTP_USHER_SALT_AFTER)
                  - expires;

    (void) ngx_http_usher_redis_command(d->changes,
                                        ngx_http_usher_salt_written, d,
                                        NGX_HTTP_USHER_SALT_TIMEOUT, 6, argv);

    ngx_explicit_memzero(text, sizeof(text));

    ngx_str_set(&argv[0], "GET");

    (void) ngx_http_usher_redis_command(d->changes,
                                        ngx_http_usher_salt_answer,
                                        (void *) (uintptr_t) day,
                                        NGX_HTTP_USHER_SALT_TIMEOUT, 2, argv);
}


/* A replica refuses it; what another node has set is read all the same. */

static void
ngx_http_usher_salt_written(void *data, ngx_http_usher_reply_t *reply)
{
    if (reply == NULL || reply->type != NGX_HTTP_USHER_REDIS_ERROR) {
        return;
    }

    ngx_http_usher_salt_why_len = ngx_min(reply->str.len,
                                          NGX_HTTP_USHER_SALT_WHY);
    ngx_memcpy(ngx_http_usher_salt_why, reply->str.data,
               ngx_http_usher_salt_why_len);
}


static void
ngx_http_usher_salt_answer(void *data, ngx_http_usher_reply_t *reply)
{
    uint64_t                     day, tag, salt[2], known[2];
    ngx_http_usher_directory_t  *d;

    d = &ngx_http_usher_directory_data;
    day = (uintptr_t) data;

    if (reply == NULL
        || d->shared->reader != (ngx_atomic_uint_t) ngx_pid)
    {
        return;
    }

    if (reply->type != NGX_HTTP_USHER_REDIS_STRING
        || reply->str.len != NGX_HTTP_USHER_SALT_TEXT
        || usher_hex64_parse((char *) reply->str.data, 16, &salt[0]) != 0
        || usher_hex64_parse((char *) reply->str.data + 16, 16, &salt[1]) != 0)
    {
        ngx_http_usher_salt_written(NULL, reply);
        return;
    }

    tag = ngx_http_usher_salt_tag(day, 1);

    if (!ngx_http_usher_salt_get(d->shared, tag, known)
        || ngx_memcmp(salt, known, sizeof(salt)) != 0)
    {
        ngx_http_usher_salt_set(d->shared, tag, salt);
    }
}
