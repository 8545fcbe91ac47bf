
/*
 * ngx_http_usher_cap_tell.c - nodes tell each other what their caps counted.
 *
 * DESIGN
 *
 * One worker of a node, the one that reads changes, writes what the node has
 * counted for a cap into a hash, usher:cap:<link>:<target>:<since>[:<day>],
 * and reads what all have: the sum is the count.  The field is the node and
 * its zone, a new one when nginx was started anew, so that no two ever write
 * one: not a node that begins with nothing, nor the old workers that finish
 * during a binary upgrade, nor two nodes of one name.  What is written is all
 * that was counted, never what came since: whatever is lost or said twice, the
 * next one is right.
 *
 * A cap is told at most each 100 ms, when somebody came since; one of which
 * the zone knows nothing yet, within 10 ms.  What has not moved is told again
 * each minute: a wiped Redis gets it back.  The hash goes with its day; that
 * of all time when nothing was told for as long as clicks are kept.
 *
 * The connection is its own: the reader's waits in XREAD.  It is that of role
 * counters, or else of directory.
 */


#include "ngx_http_usher_cap.h"

#include "usher_siphash.h"


#define NGX_HTTP_USHER_CAP_KEY      "usher:cap:"
#define NGX_HTTP_USHER_CAP_TEXT     128       /* bytes of a key, or a field */
#define NGX_HTTP_USHER_CAP_EVERY    100       /* msec */
#define NGX_HTTP_USHER_CAP_AGAIN    60000     /* msec */
#define NGX_HTTP_USHER_CAP_ROUNDS   1000      /* in which all sets are seen */
#define NGX_HTTP_USHER_CAP_PAUSE    1000      /* msec, when all was refused */
#define NGX_HTTP_USHER_CAP_CALM     15000     /* msec without: it is over */
#define NGX_HTTP_USHER_CAP_TIMEOUT  1000      /* msec */
#define NGX_HTTP_USHER_CAP_ASKS     64        /* at once */
#define NGX_HTTP_USHER_CAP_KEPT     (400 * NGX_HTTP_USHER_CAP_DAY)
#define NGX_HTTP_USHER_CAP_NAME     0x61637265687375ULL    /* "usherca" */


/* A cap that was asked about; its last command ends it. */
typedef struct {
    usher_cap_t  *cell;
    uint64_t      id[2];             /* of the cell then */
    uint64_t      here;              /* as it was told, or was read */
    unsigned      failed:1;
} ngx_http_usher_cap_ask_t;


static void ngx_http_usher_cap_watch(ngx_http_usher_directory_t *d);
static void ngx_http_usher_cap_look(usher_zone_t *z);
static void ngx_http_usher_cap_round(usher_zone_t *z);
static ngx_int_t ngx_http_usher_cap_ask(usher_cap_t *cell,
    ngx_http_usher_cap_ask_t *ask);
static void ngx_http_usher_cap_field(ngx_str_t *field, u_char *text);
static void ngx_http_usher_cap_key(usher_cap_t *cell, ngx_str_t *key,
    u_char *text);
static void ngx_http_usher_cap_was(void *data, ngx_http_usher_reply_t *reply);
static void ngx_http_usher_cap_written(void *data,
    ngx_http_usher_reply_t *reply);
static void ngx_http_usher_cap_answer(void *data,
    ngx_http_usher_reply_t *reply);
static ngx_int_t ngx_http_usher_cap_sum(ngx_http_usher_reply_t *reply,
    uint64_t *sum);
static void ngx_http_usher_cap_refused(ngx_http_usher_cap_ask_t *ask,
    ngx_http_usher_reply_t *reply);


static ngx_http_usher_redis_t    *ngx_http_usher_cap_redis;
static ngx_http_usher_cap_ask_t   ngx_http_usher_cap_asks[
                                                 NGX_HTTP_USHER_CAP_ASKS];
static ngx_uint_t                 ngx_http_usher_cap_nasks;   /* unanswered */
static uint32_t                   ngx_http_usher_cap_at;      /* next cell */
static uint32_t                   ngx_http_usher_cap_seen;    /* next set */
static ngx_uint_t                 ngx_http_usher_cap_ngood;   /* of a round */
static ngx_msec_t                 ngx_http_usher_cap_retry;   /* 0: now */
static ngx_msec_t                 ngx_http_usher_cap_bad;     /* when last */


static ngx_http_usher_redis_events_t  ngx_http_usher_cap_events;


void
ngx_http_usher_cap_renew(ngx_http_usher_directory_t *d)
{
    usher_zone_t  *z;

    z = &ngx_http_usher_zone;

    if (z->head == NULL || usher_table_used(&z->caps.table) == 0) {
        return;
    }

    ngx_http_usher_cap_watch(d);
    ngx_http_usher_cap_look(z);

    if (ngx_http_usher_cap_redis == NULL) {
        ngx_http_usher_cap_redis = ngx_http_usher_redis_create(d->cycle,
                                       "counters", &ngx_http_usher_cap_events);

        if (ngx_http_usher_cap_redis == NULL) {
            ngx_http_usher_cap_redis = ngx_http_usher_redis_create(d->cycle,
                                      "directory", &ngx_http_usher_cap_events);
        }

        return;
    }

    if (ngx_http_usher_cap_nasks != 0
        || !ngx_http_usher_redis_ready(ngx_http_usher_cap_redis)
        || (ngx_http_usher_cap_retry
            && (ngx_msec_int_t) (ngx_http_usher_cap_retry - ngx_current_msec)
               > 0))
    {
        return;
    }

    ngx_http_usher_cap_retry = 0;

    ngx_http_usher_cap_round(z);
}


void
ngx_http_usher_cap_stop(void)
{
    if (ngx_http_usher_cap_redis != NULL) {
        ngx_http_usher_redis_destroy(ngx_http_usher_cap_redis);
        ngx_http_usher_cap_redis = NULL;
        ngx_http_usher_cap_nasks = 0;
    }
}


/* There was room for a minute. */

static void
ngx_http_usher_cap_watch(ngx_http_usher_directory_t *d)
{
    if (ngx_http_usher_cap_now() - (uint32_t) d->shared->caps_full
        > NGX_HTTP_USHER_CAP_FULL
        && ngx_http_usher_unsaid(d, NGX_HTTP_USHER_SAID_CAPS_FULL) == NGX_OK)
    {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher: there is room for the caps of all links again");
    }
}


/* A few sets each time: what nobody came for, and has to be told. */

static void
ngx_http_usher_cap_look(usher_zone_t *z)
{
    uint32_t  n;

    for (n = z->caps.table.nsets / NGX_HTTP_USHER_CAP_ROUNDS + 1; n; n--) {

        if (ngx_http_usher_cap_seen >= z->caps.table.nsets) {
            ngx_http_usher_cap_seen = 0;
        }

        usher_cap_again(&z->caps, ngx_http_usher_cap_seen++,
                        (uint32_t) ngx_current_msec, NGX_HTTP_USHER_CAP_AGAIN,
                        (unsigned) (ngx_time() / NGX_HTTP_USHER_CAP_DAY));
    }
}


static void
ngx_http_usher_cap_round(usher_zone_t *z)
{
    ngx_uint_t                 i;
    usher_cap_t               *cell;
    ngx_http_usher_cap_ask_t  *ask;

    ngx_http_usher_cap_ngood = 0;

    for (i = 0; i < NGX_HTTP_USHER_CAP_ASKS; i++) {

        cell = usher_cap_next(&z->caps, &ngx_http_usher_cap_at,
                              (uint32_t) ngx_current_msec,
                              NGX_HTTP_USHER_CAP_EVERY);

        if (cell == NULL) {
            ngx_http_usher_cap_at = 0;
            return;
        }

        ask = &ngx_http_usher_cap_asks[i];

        if (ngx_http_usher_cap_ask(cell, ask) != NGX_OK) {
            usher_cap_want(&z->caps, cell);
            return;
        }

        ngx_http_usher_cap_nasks++;
    }
}


static ngx_int_t
ngx_http_usher_cap_ask(usher_cap_t *cell, ngx_http_usher_cap_ask_t *ask)
{
    u_char                    key[NGX_HTTP_USHER_CAP_TEXT];
    u_char                    field[NGX_HTTP_USHER_CAP_TEXT];
    u_char                    number[NGX_INT64_LEN];
    ngx_str_t                 argv[4];
    ngx_msec_t                timeout;
    ngx_http_usher_redis_t   *rc;

    rc = ngx_http_usher_cap_redis;
    timeout = NGX_HTTP_USHER_CAP_TIMEOUT;

    ask->cell = cell;
    ask->id[0] = cell->id[0];
    ask->id[1] = cell->id[1];
    ask->here = usher_cap_here(cell);
    ask->failed = 0;

    ngx_http_usher_cap_key(cell, &argv[1], key);
    ngx_http_usher_cap_field(&argv[2], field);

    if (cell->base == USHER_CAP_UNREAD) {

        ngx_str_set(&argv[0], "HGET");

        if (ngx_http_usher_redis_command(rc, ngx_http_usher_cap_was, ask,
                                         timeout, 3, argv)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

    } else if (ask->here != 0) {

        ngx_str_set(&argv[0], "HSET");
        argv[3].data = number;
        argv[3].len = ngx_sprintf(number, "%uL", ask->here) - number;

        if (ngx_http_usher_redis_command(rc, ngx_http_usher_cap_written, ask,
                                         timeout, 4, argv)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        ngx_str_set(&argv[0], "EXPIRE");
        argv[2].data = number;
        argv[2].len = ngx_sprintf(number, "%d",
                                  usher_cap_day(cell)
                                  ? 2 * NGX_HTTP_USHER_CAP_DAY
                                  : NGX_HTTP_USHER_CAP_KEPT)
                      - number;

        (void) ngx_http_usher_redis_command(rc, ngx_http_usher_cap_written,
                                            ask, timeout, 3, argv);
    }

    ngx_str_set(&argv[0], "HVALS");

    return ngx_http_usher_redis_command(rc, ngx_http_usher_cap_answer, ask,
                                        timeout, 2, argv);
}


static void
ngx_http_usher_cap_key(usher_cap_t *cell, ngx_str_t *key, u_char *text)
{
    u_char  *p;

    p = ngx_sprintf(text, NGX_HTTP_USHER_CAP_KEY "%uL:%ui:%uL",
                    usher_cap_link(cell), (ngx_uint_t) usher_cap_target(cell),
                    usher_cap_since(cell));

    if (usher_cap_day(cell)) {
        p = ngx_sprintf(p, ":%ui", (ngx_uint_t) usher_cap_day(cell));
    }

    key->data = text;
    key->len = p - text;
}


static void
ngx_http_usher_cap_field(ngx_str_t *field, u_char *text)
{
    uint64_t    hash[2], name;
    ngx_str_t  *node;

    /* nobody can tell the zone's secret by it */

    name = NGX_HTTP_USHER_CAP_NAME;
    usher_siphash(ngx_http_usher_zone.head->secret, -1, &name, sizeof(name),
                  hash);

    node = ngx_http_usher_node_name();

    field->data = text;
    field->len = ngx_snprintf(text, NGX_HTTP_USHER_CAP_TEXT, "%V:%016xL", node,
                              hash[0])
                 - text;
}


/* What this zone had told before the cell was evicted. */

static void
ngx_http_usher_cap_was(void *data, ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_cap_ask_t *ask = data;

    ask->here = 0;

    if (reply == NULL || reply->type == NGX_HTTP_USHER_REDIS_NIL) {
        return;
    }

    if (reply->type != NGX_HTTP_USHER_REDIS_STRING) {
        ngx_http_usher_cap_refused(ask, reply);
        return;
    }

    if (usher_decimal_parse((char *) reply->str.data, reply->str.len,
                            &ask->here)
        != 0
        || ask->here > INT64_MAX)
    {
        ask->here = 0;
    }
}


static void
ngx_http_usher_cap_written(void *data, ngx_http_usher_reply_t *reply)
{
    if (reply != NULL && reply->type == NGX_HTTP_USHER_REDIS_ERROR) {
        ngx_http_usher_cap_refused(data, reply);
    }
}


static void
ngx_http_usher_cap_answer(void *data, ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_cap_ask_t *ask = data;

    uint64_t                     sum;
    usher_cap_t                 *cell;
    ngx_http_usher_directory_t  *d;

    cell = ask->cell;
    d = &ngx_http_usher_directory_data;

    ngx_http_usher_cap_nasks--;

    if (cell->id[0] != ask->id[0] || cell->id[1] != ask->id[1]) {

        /* evicted meanwhile */

        return;
    }

    if (reply == NULL) {
        usher_cap_want(&ngx_http_usher_zone.caps, cell);
        return;
    }

    if (ngx_http_usher_cap_sum(reply, &sum) != NGX_OK) {
        ngx_http_usher_cap_refused(ask, reply);
    }

    if (ask->failed) {
        usher_cap_want(&ngx_http_usher_zone.caps, cell);

        /* one alone that is refused does not keep the others waiting */

        if (ngx_http_usher_cap_nasks == 0 && ngx_http_usher_cap_ngood == 0) {
            ngx_http_usher_cap_retry = ngx_current_msec
                                       + NGX_HTTP_USHER_CAP_PAUSE;
        }

        return;
    }

    ngx_http_usher_cap_ngood++;

    if (ngx_current_msec - ngx_http_usher_cap_bad > NGX_HTTP_USHER_CAP_CALM
        && ngx_http_usher_unsaid(d, NGX_HTTP_USHER_SAID_CAPS) == NGX_OK)
    {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher: caps count the clicks of all nodes again");
    }

    usher_cap_heard(cell, ask->here, sum - ngx_min(sum, ask->here));
    usher_cap_told(cell, ask->here);

    if (usher_cap_here(cell) != ask->here) {
        usher_cap_want(&ngx_http_usher_zone.caps, cell);
    }
}


/* What is no number counts nothing. */

static ngx_int_t
ngx_http_usher_cap_sum(ngx_http_usher_reply_t *reply, uint64_t *sum)
{
    uint64_t                 n;
    ngx_uint_t               i;
    ngx_http_usher_reply_t  *e;

    *sum = 0;

    if (reply->type != NGX_HTTP_USHER_REDIS_ARRAY) {
        return NGX_ERROR;
    }

    for (i = 0; i < reply->n; i++) {
        e = &reply->elements[i];

        if (e->type == NGX_HTTP_USHER_REDIS_STRING
            && usher_decimal_parse((char *) e->str.data, e->str.len, &n) == 0
            && n <= INT64_MAX - *sum)
        {
            *sum += n;
        }
    }

    return NGX_OK;
}


/* Said once, until there is an answer. */

static void
ngx_http_usher_cap_refused(ngx_http_usher_cap_ask_t *ask,
    ngx_http_usher_reply_t *reply)
{
    ngx_str_t  why;

    ask->failed = 1;
    ngx_http_usher_cap_bad = ngx_current_msec;

    if (ngx_http_usher_said(&ngx_http_usher_directory_data,
                            NGX_HTTP_USHER_SAID_CAPS)
        != NGX_OK)
    {
        return;
    }

    ngx_str_set(&why, "a reply of another form");

    if (reply->type == NGX_HTTP_USHER_REDIS_ERROR) {
        why = reply->str;
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "usher: caps of links count the clicks of this node only: "
                  "Redis answered \"%V\"; the user of usher_redis needs HGET, "
                  "HSET, HVALS and EXPIRE of usher:cap:*", &why);
}
