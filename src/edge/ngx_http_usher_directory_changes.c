
/*
 * ngx_http_usher_directory_changes.c - one worker per node reads what changed.
 *
 * DESIGN
 *
 * The lease is two words of the zone: who (pid) and when it last said so.  It
 * is renewed every 10 ms and may be taken after 20 ms, or at once from a dead
 * pid; of several takers the one that moves the time wins.  A reader that was
 * deposed while it slept finds out before it acts on a reply; what it might
 * still do meanwhile (drop cells) does no harm.  It keeps its connection, so
 * that on a busy machine the lease may come and go at no cost.
 *
 * A round is XREAD BLOCK from the place in the zone, then MGET of heartbeat
 * and usher:d:ready, in one go on a connection of the reader's own, to the
 * server that the fetches ask.  A heartbeat counts only after what was changed
 * before it has been applied: not where XREAD was refused, nor where it gave
 * as many entries as it may, so that more can stand behind them.  A round of
 * which a part was refused ends there, and the next one waits: 10 ms, doubling
 * to 1 s.
 *
 * A change is applied by adding 1 to the record's ticket, dropping its cell,
 * and adding 1 again; the place moves after that, so that a reader which dies
 * leaves nothing out.
 *
 * The place belongs to a lineage.  Where usher:d:ready names another one, the
 * reader goes to the end of the stream and raises the generation, and where
 * ids are missing it raises the generation: records of an older generation
 * are asked for again before they serve.  The place is set before the
 * generation, and the lineage last: whoever takes over in between does it
 * again.
 */


#include "ngx_http_usher_cap.h"


#define NGX_HTTP_USHER_LEASE          20     /* msec */
#define NGX_HTTP_USHER_BLOCK          "200"  /* msec, of XREAD */
#define NGX_HTTP_USHER_COUNT          8      /* entries of up to 1,000 ids */
#define NGX_HTTP_USHER_COUNT_TEXT     "8"
#define NGX_HTTP_USHER_ROUND_TIMEOUT  1000   /* msec */
#define NGX_HTTP_USHER_POLICY         1000   /* msec between two looks */
#define NGX_HTTP_USHER_BACKOFF_MIN    10     /* msec, after an error */
#define NGX_HTTP_USHER_BACKOFF_MAX    1000


static ngx_uint_t ngx_http_usher_changes_mine(ngx_http_usher_directory_t *d);
static ngx_int_t ngx_http_usher_changes_take(ngx_http_usher_directory_t *d);
static void ngx_http_usher_changes_connected(void *data);
static void ngx_http_usher_changes_lost(void *data);
static void ngx_http_usher_changes_round(ngx_http_usher_directory_t *d);
static void ngx_http_usher_changes_check(ngx_http_usher_directory_t *d);
static void ngx_http_usher_changes_policy(void *data,
    ngx_http_usher_reply_t *reply);
static void ngx_http_usher_changes_failed(ngx_http_usher_directory_t *d,
    const char *command, ngx_http_usher_reply_t *reply);
static void ngx_http_usher_changes_read(void *data,
    ngx_http_usher_reply_t *reply);
static ngx_http_usher_reply_t *ngx_http_usher_changes_entries(
    ngx_http_usher_reply_t *reply);
static ngx_int_t ngx_http_usher_changes_entry(ngx_http_usher_directory_t *d,
    ngx_http_usher_reply_t *entry, uint64_t *place);
static void ngx_http_usher_changes_apply(ngx_http_usher_directory_t *d,
    ngx_http_usher_reply_t *fields);
static void ngx_http_usher_changes_ids(ngx_http_usher_directory_t *d,
    ngx_uint_t kind, ngx_str_t *ids, ngx_uint_t hard);
static void ngx_http_usher_changes_drop(ngx_http_usher_directory_t *d,
    ngx_uint_t kind, ngx_str_t *id, ngx_uint_t hard);
static void ngx_http_usher_changes_raise(ngx_http_usher_directory_t *d);
static void ngx_http_usher_changes_beat(void *data,
    ngx_http_usher_reply_t *reply);
static void ngx_http_usher_changes_wiped(ngx_http_usher_directory_t *d);
static void ngx_http_usher_changes_again(ngx_http_usher_directory_t *d);
static void ngx_http_usher_changes_position(ngx_http_usher_directory_t *d);
static void ngx_http_usher_changes_positioned(void *data,
    ngx_http_usher_reply_t *reply);


static ngx_http_usher_redis_events_t  ngx_http_usher_changes_events = {
    ngx_http_usher_changes_connected,
    ngx_http_usher_changes_lost,
    NULL
};

/* The lineage that a position under way will belong to. */
static uint64_t  ngx_http_usher_changes_lineage;


void
ngx_http_usher_changes_renew(ngx_http_usher_directory_t *d)
{
    if (ngx_exiting || ngx_quit || ngx_terminate) {
        ngx_http_usher_changes_stop(d);
        return;
    }

    if (ngx_http_usher_changes_mine(d)) {
        d->shared->reader_at = ngx_current_msec;

    } else if (ngx_http_usher_changes_take(d) != NGX_OK) {
        return;
    }

    ngx_http_usher_beat_watch(d);
    ngx_http_usher_salt_renew(d, 0);
    ngx_http_usher_cap_renew(d);

    if (d->changes == NULL) {
        d->working = 0;
        d->checked = 0;
        ngx_http_usher_changes_events.data = d;
        d->changes = ngx_http_usher_redis_create(d->cycle, "directory",
                                             &ngx_http_usher_changes_events);
        return;
    }

    if (d->working || !ngx_http_usher_redis_ready(d->changes)) {
        return;
    }

    if (d->backoff && (ngx_msec_int_t) (d->retry - ngx_current_msec) > 0) {
        return;
    }

    ngx_http_usher_changes_round(d);
}


void
ngx_http_usher_changes_stop(ngx_http_usher_directory_t *d)
{
    if (d->shared != NULL) {
        (void) ngx_atomic_cmp_set(&d->shared->reader,
                                  (ngx_atomic_uint_t) ngx_pid, 0);
    }

    ngx_http_usher_cap_stop();

    if (d->changes != NULL) {
        ngx_http_usher_redis_destroy(d->changes);
        d->changes = NULL;
        d->working = 0;
    }
}


static ngx_uint_t
ngx_http_usher_changes_mine(ngx_http_usher_directory_t *d)
{
    return d->shared->reader == (ngx_atomic_uint_t) ngx_pid;
}


static ngx_int_t
ngx_http_usher_changes_take(ngx_http_usher_directory_t *d)
{
    pid_t                     pid;
    ngx_msec_int_t            idle;
    ngx_atomic_uint_t         at;
    ngx_http_usher_shared_t  *shared;

    shared = d->shared;

    at = shared->reader_at;
    pid = (pid_t) shared->reader;
    idle = (ngx_msec_int_t) (ngx_current_msec - (ngx_msec_t) at);

    if (pid != 0 && idle <= NGX_HTTP_USHER_LEASE
        && (kill(pid, 0) == 0 || ngx_errno != NGX_ESRCH))
    {
        return NGX_DECLINED;
    }

    /* a time that would not move decides nothing between two takers */

    if (at == (ngx_atomic_uint_t) ngx_current_msec
        || !ngx_atomic_cmp_set(&shared->reader_at, at, ngx_current_msec))
    {
        return NGX_DECLINED;
    }

    shared->reader = (ngx_atomic_uint_t) ngx_pid;

    return NGX_OK;
}


static void
ngx_http_usher_changes_connected(void *data)
{
    ngx_http_usher_directory_t *d = data;

    d->checked = 0;
    d->working = 0;
    d->backoff = 0;

    if (ngx_http_usher_changes_mine(d)) {
        ngx_http_usher_salt_renew(d, 1);
        ngx_http_usher_changes_round(d);
    }
}


static void
ngx_http_usher_changes_lost(void *data)
{
    ngx_http_usher_directory_t *d = data;

    d->working = 0;
}


/* Ends in changes_beat(), which begins the next one. */

static void
ngx_http_usher_changes_round(ngx_http_usher_directory_t *d)
{
    u_char     place[NGX_INT64_LEN + 2];
    ngx_str_t  argv[8];

    d->failed = 0;
    d->behind = 0;

    if (d->checked == 0
        || ngx_current_msec - d->checked >= NGX_HTTP_USHER_POLICY)
    {
        ngx_http_usher_changes_check(d);
    }

    ngx_str_set(&argv[0], "XREAD");
    ngx_str_set(&argv[1], "COUNT");
    ngx_str_set(&argv[2], NGX_HTTP_USHER_COUNT_TEXT);
    ngx_str_set(&argv[3], "BLOCK");
    ngx_str_set(&argv[4], NGX_HTTP_USHER_BLOCK);
    ngx_str_set(&argv[5], "STREAMS");
    ngx_str_set(&argv[6], USHER_CHANGES);
    argv[7].data = place;
    argv[7].len = ngx_sprintf(place, "%uL-0",
                              (uint64_t) d->shared->change_id)
                  - place;

    /* without a place there is nothing to wait for */

    if (d->shared->lineage != 0
        && ngx_http_usher_redis_command(d->changes,
                                        ngx_http_usher_changes_read, d,
                                        NGX_HTTP_USHER_ROUND_TIMEOUT, 8, argv)
           != NGX_OK)
    {
        return;
    }

    ngx_str_set(&argv[0], "MGET");
    ngx_str_set(&argv[1], USHER_HEARTBEAT);
    ngx_str_set(&argv[2], USHER_READY);

    d->working = (ngx_http_usher_redis_command(d->changes,
                                         ngx_http_usher_changes_beat, d,
                                         NGX_HTTP_USHER_ROUND_TIMEOUT, 3,
                                         argv)
                  == NGX_OK);
}


/* A Redis that may evict records cannot say that a key does not exist. */

static void
ngx_http_usher_changes_check(ngx_http_usher_directory_t *d)
{
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "INFO");
    ngx_str_set(&argv[1], "memory");

    d->checked = ngx_current_msec ? ngx_current_msec : 1;

    (void) ngx_http_usher_redis_command(d->changes,
                                        ngx_http_usher_changes_policy, d,
                                        NGX_HTTP_USHER_ROUND_TIMEOUT, 2,
                                        argv);
}


static void
ngx_http_usher_changes_policy(void *data, ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_directory_t *d = data;

    if (reply == NULL || !ngx_http_usher_changes_mine(d)) {
        return;
    }

    ngx_http_usher_beat_policy(d, reply);
}


/* Ends the round; said once, until a round is answered in full. */

static void
ngx_http_usher_changes_failed(ngx_http_usher_directory_t *d,
    const char *command, ngx_http_usher_reply_t *reply)
{
    ngx_str_t  why;

    d->failed = 1;
    d->backoff = d->backoff ? ngx_min(2 * d->backoff,
                                      NGX_HTTP_USHER_BACKOFF_MAX)
                            : NGX_HTTP_USHER_BACKOFF_MIN;
    d->retry = ngx_current_msec + d->backoff;

    if (ngx_http_usher_said(d, NGX_HTTP_USHER_SAID_REFUSED) != NGX_OK) {
        return;
    }

    ngx_str_set(&why, "a reply of another form");

    if (reply->type == NGX_HTTP_USHER_REDIS_ERROR) {
        why = reply->str;
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "usher: changes of the directory cannot be read, revoked "
                  "keys serve until usher_stale has passed: %s was answered "
                  "\"%V\"; the user of usher_redis needs GET, MGET, XREAD, "
                  "XREVRANGE and INFO", command, &why);
}


static void
ngx_http_usher_changes_read(void *data, ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_directory_t *d = data;

    uint64_t                 place, from;
    ngx_uint_t               i;
    ngx_http_usher_reply_t  *entries;

    if (reply == NULL) {
        return;
    }

    if (!ngx_http_usher_changes_mine(d)) {

        /* should the lease come back before the heartbeat does */

        d->behind = 1;
        return;
    }

    if (reply->type == NGX_HTTP_USHER_REDIS_NIL) {
        return;
    }

    entries = ngx_http_usher_changes_entries(reply);

    if (entries == NULL) {
        ngx_http_usher_changes_failed(d, "XREAD", reply);
        return;
    }

    d->behind = (entries->n >= NGX_HTTP_USHER_COUNT);

    from = d->shared->change_id;
    place = from;

    for (i = 0; i < entries->n; i++) {
        if (ngx_http_usher_changes_entry(d, &entries->elements[i], &place)
            != NGX_OK)
        {
            /* not of this history: the place is found anew */

            d->shared->lineage = 0;
            return;
        }
    }

    (void) ngx_atomic_cmp_set(&d->shared->change_id, from, place);
}


/* Those of the one stream that was asked for, or NULL. */

static ngx_http_usher_reply_t *
ngx_http_usher_changes_entries(ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_reply_t  *stream;

    if (reply->type != NGX_HTTP_USHER_REDIS_ARRAY || reply->n != 1) {
        return NULL;
    }

    stream = &reply->elements[0];

    if (stream->type != NGX_HTTP_USHER_REDIS_ARRAY || stream->n != 2
        || stream->elements[1].type != NGX_HTTP_USHER_REDIS_ARRAY)
    {
        return NULL;
    }

    return &stream->elements[1];
}


static ngx_int_t
ngx_http_usher_changes_entry(ngx_http_usher_directory_t *d,
    ngx_http_usher_reply_t *entry, uint64_t *place)
{
    u_char                  *lineage;
    uint64_t                 id, minor, value;
    ngx_uint_t               i;
    ngx_http_usher_reply_t  *fields;

    if (entry->type != NGX_HTTP_USHER_REDIS_ARRAY || entry->n != 2
        || entry->elements[0].type != NGX_HTTP_USHER_REDIS_STRING
        || entry->elements[1].type != NGX_HTTP_USHER_REDIS_ARRAY
        || usher_stream_id_parse((char *) entry->elements[0].str.data,
                                 entry->elements[0].str.len, &id, &minor)
           != 0)
    {
        return NGX_ERROR;
    }

    fields = &entry->elements[1];
    lineage = NULL;

    for (i = 0; i + 1 < fields->n; i += 2) {
        if (fields->elements[i].str.len == 1
            && fields->elements[i].str.data[0] == 'l')
        {
            lineage = fields->elements[i + 1].str.data;

            if (usher_hex64_parse((char *) lineage,
                                  fields->elements[i + 1].str.len, &value)
                != 0
                || value != d->shared->lineage)
            {
                return NGX_ERROR;
            }
        }
    }

    if (lineage == NULL) {
        return NGX_ERROR;
    }

    if (id <= *place) {

        /* asked for before another reader came, who has applied it */

        return NGX_OK;
    }

    if (id != *place + 1) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "usher: changes %uL to %uL of the directory are "
                      "missing: all records are asked for again",
                      *place + 1, id - 1);

        ngx_http_usher_changes_raise(d);
    }

    ngx_http_usher_changes_apply(d, fields);

    *place = id;

    return NGX_OK;
}


static void
ngx_http_usher_changes_apply(ngx_http_usher_directory_t *d,
    ngx_http_usher_reply_t *fields)
{
    ngx_str_t   *value, *ids;
    ngx_uint_t   i, kind, created, hard;

    ids = NULL;
    kind = NGX_HTTP_USHER_KINDS;
    created = 0;
    hard = 0;

    for (i = 0; i + 1 < fields->n; i += 2) {
        value = &fields->elements[i + 1].str;

        if (fields->elements[i].str.len != 1) {
            continue;
        }

        switch (fields->elements[i].str.data[0]) {

        case 'k':
            kind = ngx_http_usher_kind(value);
            break;

        case 'i':
            ids = value;
            break;

        case 'n':
            created = 1;
            break;

        case 'x':
            hard = 1;
            break;

        default:
            break;
        }
    }

    if (kind == NGX_HTTP_USHER_KINDS) {
        return;
    }

    if (created) {
        (void) ngx_atomic_fetch_add(&d->shared->epoch[kind], 1);
        ngx_http_usher_count(directory_changes);
    }

    if (ids != NULL) {
        ngx_http_usher_changes_ids(d, kind, ids, hard);
    }
}


static void
ngx_http_usher_changes_ids(ngx_http_usher_directory_t *d, ngx_uint_t kind,
    ngx_str_t *ids, ngx_uint_t hard)
{
    u_char     *p, *end;
    ngx_str_t   id;

    p = ids->data;
    end = p + ids->len;

    while (p < end) {
        id.data = p;

        while (p < end && *p != ' ') {
            p++;
        }

        id.len = p - id.data;
        p++;

        if (id.len > 0 && id.len <= NGX_HTTP_USHER_ID_MAX) {
            ngx_http_usher_changes_drop(d, kind, &id, hard);
            ngx_http_usher_count(directory_changes);
        }
    }
}


/*
 * First the ticket, then the cell: see fetches.  Then the ticket again: who
 * read a record in between, and remembers it, is told as well.
 */

static void
ngx_http_usher_changes_drop(ngx_http_usher_directory_t *d, ngx_uint_t kind,
    ngx_str_t *id, ngx_uint_t hard)
{
    u_char         digest[USHER_KEY_DIGEST];
    ngx_int_t      n, rc;
    ngx_uint_t     i;
    ngx_atomic_t  *ticket;

    ticket = ngx_http_usher_ticket(d->shared, kind, id);

    ngx_http_usher_ticket_move(ticket);

    if (kind == NGX_HTTP_USHER_KIND_KEY) {

        if (id->len != 2 * USHER_KEY_DIGEST) {
            return;
        }

        for (i = 0; i < USHER_KEY_DIGEST; i++) {
            n = ngx_hextoi(id->data + 2 * i, 2);

            if (n == NGX_ERROR) {
                return;
            }

            digest[i] = (u_char) n;
        }

        rc = ngx_http_usher_zone_key_drop(digest, hard);

    } else {
        rc = ngx_http_usher_zone_record_drop(kind, id, hard);

        ngx_http_usher_ticket_move(ticket);
    }

    if (rc == NGX_ERROR) {
        ngx_http_usher_changes_raise(d);
    }
}


static void
ngx_http_usher_changes_raise(ngx_http_usher_directory_t *d)
{
    uint32_t                  generation;
    ngx_http_usher_shared_t  *shared;

    shared = d->shared;

    /* cells keep 32 bits of it, and 0 means none */

    do {
        generation = (uint32_t) shared->generation;
        shared->raised[generation % NGX_HTTP_USHER_RAISES] = ngx_current_msec;

    } while ((uint32_t) (ngx_atomic_fetch_add(&shared->generation, 1) + 1)
             == 0);
}


static void
ngx_http_usher_changes_beat(void *data, ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_directory_t *d = data;

    uint64_t                  lineage;
    ngx_http_usher_reply_t   *beat, *ready;
    ngx_http_usher_shared_t  *shared;

    d->working = 0;
    shared = d->shared;

    if (reply == NULL || !ngx_http_usher_changes_mine(d)) {
        return;
    }

    if (reply->type != NGX_HTTP_USHER_REDIS_ARRAY || reply->n != 2) {
        ngx_http_usher_changes_failed(d, "MGET", reply);
    }

    if (d->failed) {

        /* a renewal tries again, later */

        return;
    }

    beat = &reply->elements[0];
    ready = &reply->elements[1];

    if (ready->type != NGX_HTTP_USHER_REDIS_STRING
        || usher_hex64_parse((char *) ready->str.data, ready->str.len,
                             &lineage)
           != 0
        || lineage == 0)
    {
        ngx_http_usher_changes_wiped(d);
        return;
    }

    if (lineage != shared->lineage) {
        ngx_http_usher_changes_lineage = lineage;
        ngx_http_usher_changes_position(d);
        return;
    }

    ngx_http_usher_changes_again(d);

    if (!shared->ready && !shared->refused) {
        shared->ready = 1;
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher: the directory in Redis is whole");
    }

    if (beat->type == NGX_HTTP_USHER_REDIS_STRING && !shared->refused
        && !d->behind)
    {
        ngx_http_usher_beat_moved(d, &beat->str);
    }

    ngx_http_usher_changes_round(d);
}


/* It is being rebuilt, or was wiped. */

static void
ngx_http_usher_changes_wiped(ngx_http_usher_directory_t *d)
{
    if (d->shared->ready) {
        d->shared->ready = 0;

        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "usher: the directory in Redis is not whole, "
                      "waiting for usherd to rebuild it");
    }

    /* without a place the round would come back at once */

    if (d->shared->lineage != 0) {
        ngx_http_usher_changes_round(d);
    }
}


/* A round was answered in full. */

static void
ngx_http_usher_changes_again(ngx_http_usher_directory_t *d)
{
    d->backoff = 0;

    if (ngx_http_usher_unsaid(d, NGX_HTTP_USHER_SAID_REFUSED) == NGX_OK) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher: changes of the directory are read again");
    }
}


static void
ngx_http_usher_changes_position(ngx_http_usher_directory_t *d)
{
    ngx_str_t  argv[6];

    ngx_str_set(&argv[0], "XREVRANGE");
    ngx_str_set(&argv[1], USHER_CHANGES);
    ngx_str_set(&argv[2], "+");
    ngx_str_set(&argv[3], "-");
    ngx_str_set(&argv[4], "COUNT");
    ngx_str_set(&argv[5], "1");

    d->working = (ngx_http_usher_redis_command(d->changes,
                                         ngx_http_usher_changes_positioned, d,
                                         NGX_HTTP_USHER_ROUND_TIMEOUT, 6,
                                         argv)
                  == NGX_OK);
}


static void
ngx_http_usher_changes_positioned(void *data, ngx_http_usher_reply_t *reply)
{
    ngx_http_usher_directory_t *d = data;

    uint64_t                 id, minor;
    ngx_http_usher_reply_t  *entry;

    d->working = 0;

    if (reply == NULL || !ngx_http_usher_changes_mine(d)) {
        return;
    }

    if (reply->type != NGX_HTTP_USHER_REDIS_ARRAY) {
        ngx_http_usher_changes_failed(d, "XREVRANGE", reply);
        return;
    }

    id = 0;

    if (reply->n > 0) {
        entry = &reply->elements[0];

        if (entry->type != NGX_HTTP_USHER_REDIS_ARRAY || entry->n != 2
            || usher_stream_id_parse((char *) entry->elements[0].str.data,
                                     entry->elements[0].str.len, &id, &minor)
               != 0)
        {
            ngx_http_usher_changes_failed(d, "XREVRANGE", entry);
            return;
        }
    }

    d->shared->change_id = id;

    ngx_http_usher_changes_raise(d);

    d->shared->lineage = ngx_http_usher_changes_lineage;

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "usher: follows the directory's lineage %016xL from change "
                  "%uL", ngx_http_usher_changes_lineage, id);

    ngx_http_usher_changes_round(d);
}
