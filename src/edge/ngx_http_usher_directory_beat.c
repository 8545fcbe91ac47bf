
/*
 * ngx_http_usher_directory_beat.c - whether what Redis says can be relied on.
 *
 * DESIGN
 *
 * The worker that reads changes also judges, for the node, whether they come
 * at all: usherd's sign of life moves shared->heartbeat, and a Redis that may
 * evict records, or does not say, is refused.
 *
 * What an operator has to know is said once when it begins and once when it
 * is over, by whichever worker reads then: the word shared->said holds what
 * stands in the log.
 */


#include "ngx_http_usher_directory.h"


static void ngx_http_usher_beat_back(ngx_http_usher_directory_t *d);
static void ngx_http_usher_beat_stale(ngx_http_usher_directory_t *d,
    ngx_msec_int_t age);


ngx_int_t
ngx_http_usher_said(ngx_http_usher_directory_t *d, ngx_uint_t bits)
{
    ngx_atomic_uint_t  was;

    was = d->shared->said;

    if (was & bits) {
        return NGX_DECLINED;
    }

    /* who loses the race says nothing, and looks again at its next turn */

    return ngx_atomic_cmp_set(&d->shared->said, was, was | bits)
           ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_http_usher_unsaid(ngx_http_usher_directory_t *d, ngx_uint_t bits)
{
    ngx_atomic_uint_t  was;

    was = d->shared->said;

    if (!(was & bits)) {
        return NGX_DECLINED;
    }

    return ngx_atomic_cmp_set(&d->shared->said, was,
                              was & ~(ngx_atomic_uint_t) bits)
           ? NGX_OK : NGX_DECLINED;
}


/*
 * Only a text that differs from the last one is a sign of life, and the first
 * one ever seen may be that of a dead usherd.
 */

void
ngx_http_usher_beat_moved(ngx_http_usher_directory_t *d, ngx_str_t *text)
{
    uint64_t                  lineage;
    ngx_atomic_uint_t         beat;
    ngx_http_usher_shared_t  *shared;

    shared = d->shared;

    if (text->len < 17
        || usher_hex64_parse((char *) text->data, 16, &lineage) != 0
        || lineage != shared->lineage)
    {
        return;
    }

    beat = ngx_crc32_long(text->data, text->len);
    beat = beat ? beat : 1;

    if (beat == shared->beat) {
        return;
    }

    if (shared->beat != 0) {
        shared->heartbeat = ngx_current_msec;
        ngx_http_usher_beat_back(d);
    }

    shared->beat = beat;
}


static void
ngx_http_usher_beat_back(ngx_http_usher_directory_t *d)
{
    ngx_uint_t  i;

    (void) ngx_http_usher_said(d, NGX_HTTP_USHER_SAID_ALIVE);

    for (i = 0; i < NGX_HTTP_USHER_KINDS; i++) {
        (void) ngx_http_usher_unsaid(d, NGX_HTTP_USHER_SAID_STALE << i);
    }

    if (ngx_http_usher_unsaid(d, NGX_HTTP_USHER_SAID_LOST) == NGX_OK) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher: usherd gives signs of life again, keys and "
                      "plans are up to date");
    }
}


void
ngx_http_usher_beat_watch(ngx_http_usher_directory_t *d)
{
    ngx_msec_int_t  age, patience;

    age = (ngx_msec_int_t) (ngx_current_msec
                            - (ngx_msec_t) d->shared->heartbeat);

    if (age <= NGX_HTTP_USHER_FRESH) {
        return;
    }

    /* a new zone begins with a heartbeat just lost: the first one may come */

    patience = (d->shared->said & NGX_HTTP_USHER_SAID_ALIVE)
               ? NGX_HTTP_USHER_FRESH : 2 * NGX_HTTP_USHER_FRESH;

    if (age > patience
        && ngx_http_usher_said(d, NGX_HTTP_USHER_SAID_LOST) == NGX_OK)
    {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "usher: no sign of life of usherd for 2 s, known keys "
                      "and plans serve until their usher_stale has passed: "
                      "see that usherd and its Redis run and that its duty "
                      "directory logs no errors");
    }

    if (d->shared->said & NGX_HTTP_USHER_SAID_LOST) {
        ngx_http_usher_beat_stale(d, age - NGX_HTTP_USHER_FRESH);
    }
}


/* Says which kinds are not served any more. */

static void
ngx_http_usher_beat_stale(ngx_http_usher_directory_t *d, ngx_msec_int_t age)
{
    ngx_uint_t  i;
    ngx_msec_t  stale;

    for (i = 0; ngx_http_usher_kinds[i].len; i++) {
        stale = d->conf->stale[i];

        if (stale == NGX_HTTP_USHER_FOREVER || (ngx_msec_t) age < stale) {
            continue;
        }

        if (ngx_http_usher_said(d, NGX_HTTP_USHER_SAID_STALE << i)
            == NGX_OK)
        {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "usher: usher_stale of \"%V\" has passed, requests "
                          "that need one are answered 503 until usherd gives "
                          "a sign of life", &ngx_http_usher_kinds[i]);
        }
    }
}


void
ngx_http_usher_beat_policy(ngx_http_usher_directory_t *d,
    ngx_http_usher_reply_t *reply)
{
    ngx_uint_t                refused;
    ngx_http_usher_shared_t  *shared;

    shared = d->shared;
    refused = 2;

    if (reply->type == NGX_HTTP_USHER_REDIS_STRING) {

        /* volatile-*: records have no expiry */

        refused = (ngx_strlcasestrn(reply->str.data,
                                    reply->str.data + reply->str.len,
                                    (u_char *) "maxmemory_policy:allkeys",
                                    sizeof("maxmemory_policy:allkeys") - 2)
                   != NULL);
    }

    if (refused == shared->refused) {
        return;
    }

    shared->refused = refused;

    if (refused == 0) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher: the directory is used again: its Redis evicts "
                      "no records");
        return;
    }

    shared->ready = 0;

    if (refused == 1) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "usher: the directory is not used: its Redis may evict "
                      "records, set maxmemory-policy to noeviction");
        return;
    }

    ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                  "usher: the directory is not used: its Redis does not say "
                  "whether it may evict records, allow INFO to the user of "
                  "usher_redis: \"%V\"", &reply->str);
}
