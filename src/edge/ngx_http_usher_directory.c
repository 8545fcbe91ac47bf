
/*
 * ngx_http_usher_directory.c - what the edge knows of keys, plans and so on.
 *
 * DESIGN
 *
 * A look-up is answered by the zone without I/O.  What the zone does not
 * know is asked of Redis by one MGET (of usher:d:ready and the record) per
 * record and worker, which all requests that want it share; they wait 50 ms
 * at most, each in all.
 *
 * How old an answer is.  The worker that reads changes (see
 * ngx_http_usher_directory_changes.c) moves shared->heartbeat when usherd's
 * sign of life moved.  2 s without one the stale clock of each kind starts;
 * until it has run out the zone's records serve, after it nothing is known.
 *
 * An outdated record (of an older generation, or changed since without that
 * anything was taken away) is asked for again before it serves, whether there
 * is a heartbeat or not.  Only while Redis does not answer it serves as it is,
 * until stale has passed since it became outdated.  What was taken away is
 * dropped, and never serves.
 */


#include "ngx_http_usher_directory.h"


#define NGX_HTTP_USHER_RENEW  10    /* msec */
#define NGX_HTTP_USHER_PLANS  8     /* remembered */
#define NGX_HTTP_USHER_MEMO   100   /* msec that a record is remembered */


typedef struct {
    ngx_http_usher_memo_t   memo;
    uint64_t                id;
    ngx_http_usher_plan_t   plan;
} ngx_http_usher_plan_memo_t;


static ngx_http_usher_directory_t *ngx_http_usher_directory(void);
static void ngx_http_usher_directory_begin(ngx_http_usher_directory_t *d);
static void ngx_http_usher_directory_end(ngx_http_usher_directory_t *d);
static void ngx_http_usher_directory_event(ngx_event_t *ev,
    ngx_event_handler_pt handler);
static ngx_uint_t ngx_http_usher_directory_plan_read(
    ngx_http_usher_directory_t *d, ngx_http_usher_plan_memo_t *plan,
    uint64_t id, ngx_str_t *name);
static ngx_uint_t ngx_http_usher_directory_remembers(
    ngx_http_usher_directory_t *d, ngx_http_usher_memo_t *memo);
static ngx_uint_t ngx_http_usher_directory_memorize(
    ngx_http_usher_directory_t *d, ngx_http_usher_memo_t *memo,
    ngx_uint_t kind, ngx_str_t *id, u_char *buf, size_t size, size_t *len);
static ngx_int_t ngx_http_usher_directory_judge(
    ngx_http_usher_directory_t *d, ngx_uint_t kind, ngx_uint_t rc,
    ngx_http_usher_fill_t *found);
static void ngx_http_usher_directory_connected(void *data);
static void ngx_http_usher_directory_lost(void *data);
static void ngx_http_usher_directory_renew(ngx_event_t *ev);
static void *ngx_http_usher_directory_create_conf(ngx_conf_t *cf);
static char *ngx_http_usher_directory_init_conf(ngx_conf_t *cf, void *conf);
static char *ngx_http_usher_stale(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_usher_directory_init_process(ngx_cycle_t *cycle);
static void ngx_http_usher_directory_exit_process(ngx_cycle_t *cycle);


ngx_http_usher_directory_t  ngx_http_usher_directory_data;

static ngx_http_usher_plan_memo_t  ngx_http_usher_plans[NGX_HTTP_USHER_PLANS];

static ngx_http_usher_redis_events_t  ngx_http_usher_directory_events = {
    ngx_http_usher_directory_connected,
    ngx_http_usher_directory_lost,
    &ngx_http_usher_directory_data
};


ngx_str_t  ngx_http_usher_kinds[] = {
    ngx_string("key"),
    ngx_string("plan"),
    ngx_string("domain"),
    ngx_string("link"),
    ngx_string("click_key"),
    ngx_string("postback"),
    ngx_null_string
};


static ngx_command_t  ngx_http_usher_directory_commands[] = {

    { ngx_string("usher_stale"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_usher_stale,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_directory_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_usher_directory_create_conf,  /* create main configuration */
    ngx_http_usher_directory_init_conf,    /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_usher_directory_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_directory_module_ctx,  /* module context */
    ngx_http_usher_directory_commands,     /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_usher_directory_init_process, /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_usher_directory_exit_process, /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_int_t
ngx_http_usher_directory_key(ngx_http_request_t *r,
    u_char digest[USHER_KEY_DIGEST], ngx_http_usher_key_t *key)
{
    u_char                       hex[2 * USHER_KEY_DIGEST];
    ngx_int_t                    rc;
    ngx_str_t                    id;
    ngx_uint_t                   cell;
    ngx_http_usher_fill_t        found;
    ngx_http_usher_directory_t  *d;

    d = ngx_http_usher_directory();

    if (d->shared == NULL) {
        return NGX_BUSY;
    }

    cell = ngx_http_usher_zone_key_get(digest, key, &found);

    rc = ngx_http_usher_directory_judge(d, NGX_HTTP_USHER_KIND_KEY, cell,
                                        &found);

    if (rc == NGX_AGAIN) {
        ngx_hex_dump(hex, digest, USHER_KEY_DIGEST);
        id.data = hex;
        id.len = sizeof(hex);

        rc = ngx_http_usher_wait(r, d, NGX_HTTP_USHER_KIND_KEY, &id, digest,
                                 cell == NGX_HTTP_USHER_CELL_FOUND
                                 ? &found : NULL);
    }

    if (rc == NGX_OK && key->state == NGX_HTTP_USHER_KEY_ROTATED) {

        if (key->expires > ngx_time()) {
            key->state = NGX_HTTP_USHER_KEY_ACTIVE;

        } else {
            key->expires = 0;
        }
    }

    return rc;
}


ngx_int_t
ngx_http_usher_directory_plan(ngx_http_request_t *r, uint64_t id,
    ngx_http_usher_plan_t **plan)
{
    u_char                       text[NGX_INT64_LEN];
    ngx_int_t                    rc;
    ngx_str_t                    name;
    ngx_uint_t                   cell;
    ngx_http_usher_directory_t  *d;
    ngx_http_usher_plan_memo_t  *known;

    d = ngx_http_usher_directory();

    if (d->shared == NULL) {
        return NGX_BUSY;
    }

    known = &ngx_http_usher_plans[id % NGX_HTTP_USHER_PLANS];
    cell = NGX_HTTP_USHER_CELL_FOUND;

    if (known->id != id
        || !ngx_http_usher_directory_remembers(d, &known->memo))
    {
        name.data = text;
        name.len = ngx_sprintf(text, "%uL", id) - text;

        cell = ngx_http_usher_directory_plan_read(d, known, id, &name);
    }

    *plan = &known->plan;

    rc = ngx_http_usher_directory_judge(d, NGX_HTTP_USHER_KIND_PLAN, cell,
                                        &known->memo.found);

    if (rc == NGX_AGAIN) {
        name.data = text;
        name.len = ngx_sprintf(text, "%uL", id) - text;

        rc = ngx_http_usher_wait(r, d, NGX_HTTP_USHER_KIND_PLAN, &name, NULL,
                                 cell == NGX_HTTP_USHER_CELL_FOUND
                                 ? &known->memo.found : NULL);
    }

    return rc;
}


static ngx_uint_t
ngx_http_usher_directory_plan_read(ngx_http_usher_directory_t *d,
    ngx_http_usher_plan_memo_t *plan, uint64_t id, ngx_str_t *name)
{
    size_t      len;
    u_char      buf[1024];
    ngx_uint_t  cell;

    cell = ngx_http_usher_directory_memorize(d, &plan->memo,
                                             NGX_HTTP_USHER_KIND_PLAN, name,
                                             buf, sizeof(buf), &len);

    if (cell == NGX_HTTP_USHER_CELL_FOUND
        && ngx_http_usher_plan_unpack(buf, len, &plan->plan) != NGX_OK)
    {
        plan->memo.ticket = NULL;
        return NGX_HTTP_USHER_CELL_NONE;
    }

    plan->id = id;

    return cell;
}


ngx_int_t
ngx_http_usher_directory_record(ngx_http_request_t *r, ngx_uint_t kind,
    ngx_str_t *id, u_char *buf, size_t *len)
{
    ngx_int_t                    rc;
    ngx_uint_t                   cell;
    ngx_http_usher_fill_t        found;
    ngx_http_usher_directory_t  *d;

    d = ngx_http_usher_directory();

    if (d->shared == NULL) {
        return NGX_BUSY;
    }

    cell = ngx_http_usher_zone_record_get(kind, id, buf,
                                          NGX_HTTP_USHER_RECORD_MAX, len,
                                          &found);

    rc = ngx_http_usher_directory_judge(d, kind, cell, &found);

    if (rc == NGX_AGAIN) {
        rc = ngx_http_usher_wait(r, d, kind, id, NULL,
                                 cell == NGX_HTTP_USHER_CELL_FOUND
                                 ? &found : NULL);
    }

    return rc;
}


ngx_int_t
ngx_http_usher_directory_memo(ngx_http_request_t *r, ngx_uint_t kind,
    ngx_str_t *id, ngx_http_usher_memo_t *memo, u_char *buf, size_t *len)
{
    ngx_int_t                    rc;
    ngx_uint_t                   cell;
    ngx_http_usher_directory_t  *d;

    *len = 0;

    d = ngx_http_usher_directory();

    if (d->shared == NULL) {
        return NGX_BUSY;
    }

    cell = NGX_HTTP_USHER_CELL_FOUND;

    if (!ngx_http_usher_directory_remembers(d, memo)) {
        cell = ngx_http_usher_directory_memorize(d, memo, kind, id, buf,
                                                 NGX_HTTP_USHER_RECORD_MAX,
                                                 len);
    }

    rc = ngx_http_usher_directory_judge(d, kind, cell, &memo->found);

    if (rc == NGX_AGAIN) {
        rc = ngx_http_usher_wait(r, d, kind, id, NULL,
                                 cell == NGX_HTTP_USHER_CELL_FOUND
                                 ? &memo->found : NULL);
    }

    return rc;
}


/*
 * A record that was read from the zone a moment ago serves on while its ticket
 * has not moved.  The ticket moves before the record is dropped and after it,
 * so that what was read in between, and may be old, does not serve on.
 */

static ngx_uint_t
ngx_http_usher_directory_remembers(ngx_http_usher_directory_t *d,
    ngx_http_usher_memo_t *memo)
{
    return memo->cycle == d->cycle
           && memo->ticket != NULL
           && *memo->ticket == memo->seen
           && ngx_current_msec - memo->read < NGX_HTTP_USHER_MEMO
           && memo->found.generation == (uint32_t) d->shared->generation;
}


static ngx_uint_t
ngx_http_usher_directory_memorize(ngx_http_usher_directory_t *d,
    ngx_http_usher_memo_t *memo, ngx_uint_t kind, ngx_str_t *id, u_char *buf,
    size_t size, size_t *len)
{
    ngx_uint_t     cell;
    ngx_atomic_t  *ticket;

    memo->ticket = NULL;

    ticket = ngx_http_usher_ticket(d->shared, kind, id);
    memo->seen = *ticket;

    cell = ngx_http_usher_zone_record_get(kind, id, buf, size, len,
                                          &memo->found);

    if (cell == NGX_HTTP_USHER_CELL_FOUND) {
        memo->cycle = d->cycle;
        memo->read = ngx_current_msec;
        memo->ticket = ticket;
    }

    return cell;
}


/*
 * What a cell is worth now: NGX_OK, NGX_DECLINED, NGX_AGAIN (Redis must be
 * asked) or NGX_BUSY.
 */

static ngx_int_t
ngx_http_usher_directory_judge(ngx_http_usher_directory_t *d, ngx_uint_t kind,
    ngx_uint_t cell, ngx_http_usher_fill_t *found)
{
    ngx_msec_t                age, stale;
    ngx_msec_int_t            ahead;
    ngx_http_usher_shared_t  *shared;

    shared = d->shared;

    /* another worker's clock may be some ms ahead of ours */

    age = ngx_current_msec - (ngx_msec_t) shared->heartbeat;
    ahead = (ngx_msec_int_t) age;

    if (ahead > NGX_HTTP_USHER_FRESH) {
        stale = d->conf->stale[kind];

        if (stale != NGX_HTTP_USHER_FOREVER
            && age - NGX_HTTP_USHER_FRESH >= stale)
        {
            return NGX_BUSY;
        }
    }

    if (cell == NGX_HTTP_USHER_CELL_NONE
        || found->generation != (uint32_t) shared->generation)
    {
        return NGX_AGAIN;
    }

    if (cell == NGX_HTTP_USHER_CELL_FOUND) {
        ngx_http_usher_count(directory_hits);
        return NGX_OK;
    }

    if (found->epoch != (uint32_t) shared->epoch[kind]) {
        return NGX_AGAIN;
    }

    ngx_http_usher_count(directory_negatives);

    return NGX_DECLINED;
}


ngx_uint_t
ngx_http_usher_kind(ngx_str_t *name)
{
    ngx_uint_t  i;

    for (i = 0; ngx_http_usher_kinds[i].len; i++) {
        if (name->len == ngx_http_usher_kinds[i].len
            && ngx_memcmp(name->data, ngx_http_usher_kinds[i].data,
                          name->len)
               == 0)
        {
            return i;
        }
    }

    return NGX_HTTP_USHER_KINDS;
}


static void
ngx_http_usher_directory_connected(void *data)
{
    ngx_http_usher_directory_t *d = data;

    d->hangs = 0;

    if (!ngx_queue_empty(&d->queued)) {
        ngx_http_usher_fetch_pace(&d->pace);
    }
}


static void
ngx_http_usher_directory_lost(void *data)
{
    ngx_http_usher_directory_t *d = data;

    d->lost_at = ngx_current_msec;
}


static void
ngx_http_usher_directory_renew(ngx_event_t *ev)
{
    ngx_http_usher_directory_t  *d;

    d = ngx_http_usher_directory();

    if (d->shared != NULL && d->redis != NULL) {
        ngx_http_usher_changes_renew(d);
    }

    if (!ngx_exiting && !ngx_quit && !ngx_terminate) {
        ngx_add_timer(ev, NGX_HTTP_USHER_RENEW);
    }
}


/* ---- Life ------------------------------------------------------------ */


/* In single process mode the cycle changes under us: then all is new. */

static ngx_http_usher_directory_t *
ngx_http_usher_directory(void)
{
    ngx_http_usher_directory_t  *d;

    d = &ngx_http_usher_directory_data;

    if (d->cycle != ngx_cycle) {

        if (d->cycle != NULL) {
            ngx_http_usher_directory_end(d);
        }

        ngx_http_usher_directory_begin(d);
    }

    return d;
}


static void
ngx_http_usher_directory_begin(ngx_http_usher_directory_t *d)
{
    ngx_uint_t                i;
    ngx_http_conf_ctx_t      *ctx;
    ngx_http_usher_shared_t  *shared;

    if (d->cycle == NULL) {
        ngx_queue_init(&d->waiting);
        ngx_queue_init(&d->resumed);
        ngx_queue_init(&d->queued);
        ngx_queue_init(&d->asked);

        for (i = 0; i < 256; i++) {
            ngx_queue_init(&d->fetches[i]);
        }
    }

    d->cycle = (ngx_cycle_t *) ngx_cycle;
    d->lost_at = ngx_current_msec;
    d->shared = NULL;
    d->redis = NULL;

    ngx_http_usher_directory_event(&d->resume, ngx_http_usher_wait_resume);
    ngx_http_usher_directory_event(&d->deadline,
                                   ngx_http_usher_wait_deadline);
    ngx_http_usher_directory_event(&d->pace, ngx_http_usher_fetch_pace);
    ngx_http_usher_directory_event(&d->renew, ngx_http_usher_directory_renew);

    /* a worker that ends stays for those who wait */

    d->deadline.cancelable = 0;

    ctx = (ngx_http_conf_ctx_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                               ngx_http_module);
    if (ctx == NULL) {
        return;
    }

    d->conf = ctx->main_conf[ngx_http_usher_directory_module.ctx_index];

    shared = ngx_http_usher_shared();

    if (shared == NULL) {
        return;
    }

    /*
     * A new zone: the stale clock starts now, and generation 0 is none.
     * Another process may be doing the same.
     */

    (void) ngx_atomic_cmp_set(&shared->generation, 0, 1);
    (void) ngx_atomic_cmp_set(&shared->heartbeat, 0,
                              ngx_current_msec - NGX_HTTP_USHER_FRESH - 1);

    d->redis = ngx_http_usher_redis_create(d->cycle, "directory",
                                           &ngx_http_usher_directory_events);
    d->shared = shared;
}


static void
ngx_http_usher_directory_event(ngx_event_t *ev, ngx_event_handler_pt handler)
{
    ev->handler = handler;
    ev->data = &ngx_http_usher_directory_data;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;
}


static void
ngx_http_usher_directory_end(ngx_http_usher_directory_t *d)
{
    ngx_http_usher_changes_stop(d);

    if (d->redis != NULL) {
        ngx_http_usher_redis_destroy(d->redis);
        d->redis = NULL;

        ngx_http_usher_fetch_abandon(d);
    }
}


static void *
ngx_http_usher_directory_create_conf(ngx_conf_t *cf)
{
    ngx_uint_t                        i;
    ngx_http_usher_directory_conf_t  *conf;

    conf = ngx_palloc(cf->pool, sizeof(ngx_http_usher_directory_conf_t));

    if (conf == NULL) {
        return NULL;
    }

    /* -1 is a value here: forever */

    for (i = 0; i < NGX_HTTP_USHER_KINDS; i++) {
        conf->stale[i] = NGX_CONF_UNSET_MSEC - 1;
    }

    return conf;
}


static char *
ngx_http_usher_directory_init_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_usher_directory_conf_t *dcf = conf;

    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_USHER_KINDS; i++) {

        if (dcf->stale[i] != NGX_CONF_UNSET_MSEC - 1) {
            continue;
        }

        /*
         * An old key may be a revoked one; an old plan only limits as it
         * did, and who has no key does not come so far; an old link leads
         * where it led, what an old click key signs is known for long, and
         * what an old postback takes in can be looked at.
         */

        dcf->stale[i] = (i == NGX_HTTP_USHER_KIND_KEY)
                        ? 5 * 60 * 1000 : NGX_HTTP_USHER_FOREVER;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_stale(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_directory_conf_t *dcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   kind;
    ngx_msec_t   stale;

    value = cf->args->elts;

    kind = ngx_http_usher_kind(&value[1]);

    if (kind == NGX_HTTP_USHER_KINDS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown kind \"%V\" of records, \"key\", "
                           "\"plan\", \"domain\", \"link\", "
                           "\"click_key\" or \"postback\" expected",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (dcf->stale[kind] != NGX_CONF_UNSET_MSEC - 1) {
        return "is duplicate";
    }

    if (value[2].len == 7 && ngx_strncmp(value[2].data, "forever", 7) == 0) {
        dcf->stale[kind] = NGX_HTTP_USHER_FOREVER;
        return NGX_CONF_OK;
    }

    stale = ngx_parse_time(&value[2], 0);

    if (stale == (ngx_msec_t) NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\", a time or \"forever\" "
                           "expected", &value[2]);
        return NGX_CONF_ERROR;
    }

    dcf->stale[kind] = stale;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_usher_directory_init_process(ngx_cycle_t *cycle)
{
    ngx_http_usher_directory_t  *d;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    d = ngx_http_usher_directory();

    if (d->shared != NULL) {
        ngx_add_timer(&d->renew, 1);
    }

    return NGX_OK;
}


static void
ngx_http_usher_directory_exit_process(ngx_cycle_t *cycle)
{
    if (ngx_http_usher_directory_data.cycle != NULL) {
        ngx_http_usher_directory_end(&ngx_http_usher_directory_data);
    }
}
