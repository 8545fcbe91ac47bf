
/*
 * ngx_http_usher_journal_module.c - the module: its directives, and the state
 * of the process from its start to its end.
 *
 * What belongs to a request or a slot is in the other files
 * (ngx_http_usher_journal.h).  The state is made for worker and single
 * processes only; the cache manager and loader never touch a slot.
 */


#include "ngx_http_usher_journal.h"


#define NGX_HTTP_USHER_NKINDS  6


typedef struct {
    ngx_uint_t                 full[NGX_HTTP_USHER_NKINDS];
} ngx_http_usher_journal_loc_conf_t;


static ngx_http_usher_journal_t *ngx_http_usher_journal_create(
    ngx_http_usher_journal_conf_t *jcf);
static void ngx_http_usher_journal_close(ngx_http_usher_journal_t *j);
static void ngx_http_usher_journal_figures(ngx_http_usher_journal_t *j);
static void ngx_http_usher_journal_measure(ngx_http_usher_journal_t *j);
static void ngx_http_usher_journal_idle(ngx_event_t *ev);

static void *ngx_http_usher_journal_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_usher_journal_init_main_conf(ngx_conf_t *cf,
    void *conf);
static void *ngx_http_usher_journal_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_usher_journal_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_usher_full_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_usher_journal_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_usher_journal_init_process(ngx_cycle_t *cycle);
static void ngx_http_usher_journal_exit_process(ngx_cycle_t *cycle);


#if (NGX_THREADS)
extern ngx_module_t  ngx_thread_pool_module;
#endif


ngx_http_usher_journal_t  *ngx_http_usher_journal;


/* Kinds of usher_full, and what they do unless told otherwise. */

static struct {
    ngx_str_t   name;
    char        kind;
    ngx_uint_t  full;
} ngx_http_usher_kinds[NGX_HTTP_USHER_NKINDS] = {
    { ngx_string("request"),    'r', NGX_HTTP_USHER_FULL_DROP },
    { ngx_string("click"),      'c', NGX_HTTP_USHER_FULL_PASS },
    { ngx_string("delivery"),   'd', NGX_HTTP_USHER_FULL_DENY },
    { ngx_string("hook"),       'h', NGX_HTTP_USHER_FULL_DENY },
    { ngx_string("take"),       't', NGX_HTTP_USHER_FULL_DENY },
    { ngx_string("conversion"), 'v', NGX_HTTP_USHER_FULL_DENY }
};


static ngx_command_t  ngx_http_usher_journal_commands[] = {

    { ngx_string("usher_journal"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_usher_journal_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("usher_full"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_usher_full_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_journal_module_ctx = {
    NULL,                                    /* preconfiguration */
    NULL,                                    /* postconfiguration */

    ngx_http_usher_journal_create_main_conf, /* create main configuration */
    ngx_http_usher_journal_init_main_conf,   /* init main configuration */

    NULL,                                    /* create server configuration */
    NULL,                                    /* merge server configuration */

    ngx_http_usher_journal_create_loc_conf,  /* create location configuration */
    ngx_http_usher_journal_merge_loc_conf    /* merge location configuration */
};


ngx_module_t  ngx_http_usher_journal_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_journal_module_ctx,      /* module context */
    ngx_http_usher_journal_commands,         /* module directives */
    NGX_HTTP_MODULE,                         /* module type */
    NULL,                                    /* init master */
    ngx_http_usher_journal_init_module,      /* init module */
    ngx_http_usher_journal_init_process,     /* init process */
    NULL,                                    /* init thread */
    NULL,                                    /* exit thread */
    ngx_http_usher_journal_exit_process,     /* exit process */
    NULL,                                    /* exit master */
    NGX_MODULE_V1_PADDING
};


/* This process's state; NULL where there is no journal. */

ngx_http_usher_journal_t *
ngx_http_usher_journal_get(void)
{
    ngx_cycle_t                    *cycle;
    ngx_http_usher_journal_t       *j;
    ngx_http_usher_journal_conf_t  *jcf;

    j = ngx_http_usher_journal;

    if (j != NULL && j->cycle == ngx_cycle) {
        return j;
    }

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NULL;
    }

    cycle = (ngx_cycle_t *) ngx_cycle;

    if (j != NULL) {

        /* only a single process outlives its configuration */

        ngx_http_usher_journal = NULL;
        ngx_http_usher_journal_close(j);

#if (NGX_THREADS)
        if (ngx_thread_pool_module.init_process(cycle) != NGX_OK) {
            return NULL;
        }
#endif
    }

    if (cycle->conf_ctx[ngx_http_module.index] == NULL) {
        return NULL;
    }

    jcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_usher_journal_module);

    if (jcf == NULL || jcf->path.data == NULL) {
        return NULL;
    }

    ngx_http_usher_journal = ngx_http_usher_journal_create(jcf);

    return ngx_http_usher_journal;
}


static ngx_http_usher_journal_t *
ngx_http_usher_journal_create(ngx_http_usher_journal_conf_t *jcf)
{
    ngx_http_usher_journal_t  *j;

    j = ngx_calloc(sizeof(ngx_http_usher_journal_t), ngx_cycle->log);

    if (j == NULL) {
        return NULL;
    }

    j->spare = ngx_calloc(sizeof(ngx_http_usher_spare_t), ngx_cycle->log);

    if (j->spare == NULL) {
        ngx_free(j);
        return NULL;
    }

    j->cycle = ngx_cycle;
    j->conf = jcf;
    j->dir = -1;
    j->map.fd = -1;
    j->next.fd = -1;

    ngx_queue_init(&j->slots);
    ngx_queue_init(&j->waiters);

    j->ship.handler = ngx_http_usher_ship_posted;
    j->tick.handler = ngx_http_usher_ship_tick;
    j->idle.handler = ngx_http_usher_journal_idle;
    j->sync_timer.handler = ngx_http_usher_sync_timer;
    j->resume.handler = ngx_http_usher_sync_resume;

    j->ship.data = j->tick.data = j->idle.data = j;
    j->sync_timer.data = j->resume.data = j;

    j->ship.log = j->tick.log = j->idle.log = ngx_cycle->log;
    j->sync_timer.log = j->resume.log = ngx_cycle->log;

    j->tick.cancelable = 1;
    j->idle.cancelable = 1;
    j->sync_timer.cancelable = 1;

    ngx_http_usher_journal_figures(j);

    /* threads ask for it, too: it is read before there are any */

    (void) ngx_http_usher_boot();
    ngx_http_usher_task_init();

    if (ngx_http_usher_ship_init(j) != NGX_OK) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "usher journal: events stay on disk, "
                      "there is no usher_redis to ship them to");
    }

    /* the first look for slots left behind comes soon, not in step */

    ngx_add_timer(&j->idle, 50 + ngx_random() % 200);

    return j;
}


/* Takes a place in the zone for what this process has to say. */

static void
ngx_http_usher_journal_figures(ngx_http_usher_journal_t *j)
{
    ngx_uint_t                       i;
    ngx_atomic_uint_t                pid;
    ngx_http_usher_process_t        *p;
    static ngx_http_usher_shared_t   none;

    j->shared = ngx_http_usher_shared();

    if (j->shared == NULL) {
        j->shared = &none;
    }

    for (i = 0; i < NGX_HTTP_USHER_PROCESSES; i++) {
        p = &j->shared->process[i];
        pid = p->pid;

        if (pid != 0 && pid != (ngx_atomic_uint_t) ngx_pid
            && (kill((pid_t) pid, 0) == 0 || ngx_errno != NGX_ESRCH))
        {
            continue;
        }

        if (ngx_atomic_cmp_set(&p->pid, pid, ngx_pid)) {

            if (pid != 0 && p->slot[0] != '\0') {

                /* killed, and faster followed than reaped */

                (void) ngx_atomic_fetch_add(&j->shared->journal_slots, -1);
            }

            p->window = p->position = p->shipped = p->acked = 0;
            p->synced = p->room = p->adopted = p->full = 0;
            p->unacked = p->reusable = 0;
            p->slot[0] = '\0';
            j->figures = p;
            return;
        }
    }

    /* more processes than places: counted for itself alone */

    j->figures = ngx_calloc(sizeof(ngx_http_usher_process_t),
                            ngx_cycle->log);

    if (j->figures == NULL) {
        j->figures = &none.process[0];
    }
}


/*
 * Every second: what has no event of its own.  Shipping and acknowledgements
 * of an idle journal, slots without owner, trouble that may have passed.
 */

static void
ngx_http_usher_journal_idle(ngx_event_t *ev)
{
    ngx_http_usher_journal_t  *j = ev->data;

    if (j->cycle != ngx_cycle) {
        (void) ngx_http_usher_journal_get();
        return;
    }

    if (j->own != NULL) {
        ngx_http_usher_slot_spare(j);
    }

    if (j->wanted > j->synced) {

        /* it may have had no descriptor or no place in the queue */

        ngx_http_usher_sync_start(j);
    }

    ngx_http_usher_ship_idle(j);
    ngx_http_usher_journal_measure(j);
    ngx_http_usher_adopt_scan(j);

    ngx_add_timer(&j->idle, NGX_HTTP_USHER_IDLE_TICK - 100
                            + ngx_random() % 200);
}


/*
 * How full it is.  Retain yields where room is wanted, so what is acknowledged
 * counts as free; of an own slot not the segment that is written to.
 */

static void
ngx_http_usher_journal_measure(ngx_http_usher_journal_t *j)
{
    uint64_t                end, unacked, reusable;
    ngx_uint_t              i, n;
    ngx_queue_t            *q;
    ngx_http_usher_slot_t  *s;

    unacked = 0;
    reusable = (j->next.map != NULL) ? j->own->segment : 0;

    for (q = ngx_queue_head(&j->slots);
         q != ngx_queue_sentinel(&j->slots);
         q = ngx_queue_next(q))
    {
        s = ngx_queue_data(q, ngx_http_usher_slot_t, queue);

        end = s->own ? j->committed : s->end;
        n = s->nsegs;

        if (s->acked < end) {
            unacked += end - s->acked;
        }

        if (n != 0 && (s->own || s->stopped || s->unclear || s->acked < end)) {
            n--;
        }

        for (i = 0; i < n && s->segs[i].end <= s->acked; i++) {
            reusable += s->segment;
        }
    }

    j->figures->unacked = unacked;
    j->figures->reusable = reusable;
}


/* One line when trouble begins, one when it is over. */

void
ngx_http_usher_journal_trouble(ngx_http_usher_journal_t *j, ngx_err_t err,
    const char *what)
{
    j->full = 1;
    j->figures->full = 1;
    j->shared->journal_full = 1;

    if (j->troubled) {
        return;
    }

    j->troubled = 1;

    ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, err,
                  "usher journal \"%V\" is full: %s", &j->conf->path, what);
}


void
ngx_http_usher_journal_well(ngx_http_usher_journal_t *j)
{
    ngx_uint_t  i;

    if (!j->full) {
        return;
    }

    j->full = 0;
    j->troubled = 0;
    j->figures->full = 0;

    for (i = 0; i < NGX_HTTP_USHER_PROCESSES; i++) {
        if (j->shared->process[i].full && j->shared->process[i].pid != 0) {
            break;
        }
    }

    if (i == NGX_HTTP_USHER_PROCESSES) {
        j->shared->journal_full = 0;
    }

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "usher journal \"%V\" has room again", &j->conf->path);
}


/*
 * What is on disk is left to adopters.  The state itself stays allocated:
 * a thread may still be at work for it.
 */

static void
ngx_http_usher_journal_close(ngx_http_usher_journal_t *j)
{
    ngx_queue_t            *q;
    ngx_http_usher_slot_t  *s;

    j->closing = 1;

    if (!ngx_terminate && !ngx_exiting) {
        ngx_http_usher_sync_fail(j);
    }

    ngx_http_usher_slot_close(j);

    if (j->redis != NULL) {
        ngx_http_usher_redis_destroy(j->redis);
        j->redis = NULL;
    }

    while (!ngx_queue_empty(&j->slots)) {
        q = ngx_queue_head(&j->slots);
        s = ngx_queue_data(q, ngx_http_usher_slot_t, queue);
        s->gone = 1;

        /*
         * now: replies that would release it do not come any more; but one
         * whose lines a thread still moves is nobody else's yet
         */

        if (s->lock != -1
            && (!s->fork.task.active
                || __atomic_load_n(&s->fork.task.finished, __ATOMIC_ACQUIRE)))
        {
            (void) close(s->lock);
            s->lock = -1;
        }

        ngx_http_usher_slot_release(s);
    }

    if (j->tick.timer_set) {
        ngx_del_timer(&j->tick);
    }

    if (j->idle.timer_set) {
        ngx_del_timer(&j->idle);
    }

    if (j->sync_timer.timer_set) {
        ngx_del_timer(&j->sync_timer);
    }

    if (j->resume.timer_set) {
        ngx_del_timer(&j->resume);
    }

    if (j->ship.posted) {
        ngx_delete_posted_event(&j->ship);
    }

    if (j->resume.posted) {
        ngx_delete_posted_event(&j->resume);
    }

    j->figures->window = 0;
    j->figures->unacked = 0;
    j->figures->reusable = 0;
    j->figures->full = 0;
    j->figures->pid = 0;
}


ngx_uint_t
ngx_http_usher_journal_full(ngx_http_request_t *r, char kind)
{
    ngx_uint_t                          i;
    ngx_http_usher_journal_loc_conf_t  *jlcf;

    jlcf = ngx_http_get_module_loc_conf(r, ngx_http_usher_journal_module);

    for (i = 0; i < NGX_HTTP_USHER_NKINDS; i++) {
        if (ngx_http_usher_kinds[i].kind == kind) {
            return jlcf->full[i];
        }
    }

    return NGX_HTTP_USHER_FULL_DENY;
}


ngx_uint_t
ngx_http_usher_journal_configured(ngx_conf_t *cf)
{
    ngx_http_usher_journal_conf_t  *jcf;

    jcf = ngx_http_conf_get_module_main_conf(cf,
                                             ngx_http_usher_journal_module);

    return jcf->path.data != NULL;
}


uint64_t
ngx_http_usher_journal_size(void)
{
    ngx_http_usher_journal_conf_t  *jcf;

    jcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                              ngx_http_usher_journal_module);

    return (jcf != NULL && jcf->path.data != NULL) ? jcf->size : 0;
}


void
ngx_http_usher_journal_waits(ngx_conf_t *cf, ngx_str_t *directive)
{
    ngx_http_usher_journal_conf_t  *jcf;

    jcf = ngx_http_conf_get_module_main_conf(cf,
                                             ngx_http_usher_journal_module);

    jcf->waits = *directive;
}


static void *
ngx_http_usher_journal_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_journal_conf_t));
}


static char *
ngx_http_usher_journal_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_usher_journal_conf_t  *jcf = conf;

    if (jcf->waits.len == 0) {
        return NGX_CONF_OK;
    }

    if (jcf->path.data == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%V\" needs usher_journal", &jcf->waits);
        return NGX_CONF_ERROR;
    }

    if (jcf->sync == NGX_HTTP_USHER_SYNC_OFF) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%V\" promises that its events survive a power loss: "
                      "usher_journal must not have sync=off", &jcf->waits);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_usher_journal_create_loc_conf(ngx_conf_t *cf)
{
    ngx_uint_t                          i;
    ngx_http_usher_journal_loc_conf_t  *jlcf;

    jlcf = ngx_palloc(cf->pool, sizeof(ngx_http_usher_journal_loc_conf_t));

    if (jlcf == NULL) {
        return NULL;
    }

    for (i = 0; i < NGX_HTTP_USHER_NKINDS; i++) {
        jlcf->full[i] = NGX_CONF_UNSET_UINT;
    }

    return jlcf;
}


static char *
ngx_http_usher_journal_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_usher_journal_loc_conf_t  *prev = parent;
    ngx_http_usher_journal_loc_conf_t  *conf = child;

    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_USHER_NKINDS; i++) {
        ngx_conf_merge_uint_value(conf->full[i], prev->full[i],
                                  ngx_http_usher_kinds[i].full);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_full_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_journal_loc_conf_t  *jlcf = conf;

    ngx_str_t   *value, *name;
    ngx_uint_t   i, full;

    value = cf->args->elts;

    if (ngx_strcmp(value[2].data, "drop") == 0) {
        full = NGX_HTTP_USHER_FULL_DROP;

    } else if (ngx_strcmp(value[2].data, "deny") == 0) {
        full = NGX_HTTP_USHER_FULL_DENY;

    } else if (ngx_strcmp(value[2].data, "pass") == 0) {
        full = NGX_HTTP_USHER_FULL_PASS;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "usher_full takes \"pass\", \"deny\" or \"drop\", "
                           "not \"%V\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < NGX_HTTP_USHER_NKINDS; i++) {
        name = &ngx_http_usher_kinds[i].name;

        if (name->len == value[1].len
            && ngx_strncmp(name->data, value[1].data, name->len) == 0)
        {
            if (jlcf->full[i] != NGX_CONF_UNSET_UINT) {
                return "is duplicate";
            }

            jlcf->full[i] = full;

            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown kind of event \"%V\" in usher_full",
                       &value[1]);

    return NGX_CONF_ERROR;
}


/*
 * The directory is made here, by the master, for its workers; not while the
 * configuration is read, for a test or a failed reload must touch nothing.
 */

static ngx_int_t
ngx_http_usher_journal_init_module(ngx_cycle_t *cycle)
{
    u_char                          path[NGX_MAX_PATH];
    ngx_file_info_t                 fi;
    ngx_core_conf_t                *ccf;
    ngx_http_usher_journal_conf_t  *jcf;

    if (ngx_test_config || cycle->conf_ctx[ngx_http_module.index] == NULL) {
        return NGX_OK;
    }

    jcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_usher_journal_module);

    if (jcf == NULL || jcf->path.data == NULL
        || jcf->path.len >= sizeof(path))
    {
        return NGX_OK;
    }

    ngx_cpystrn(path, jcf->path.data, jcf->path.len + 1);

    if (ngx_create_dir(path, 0700) == NGX_FILE_ERROR
        && ngx_errno != NGX_EEXIST)
    {
        ngx_log_error(NGX_LOG_CRIT, cycle->log, ngx_errno,
                      "usher journal: " ngx_create_dir_n " \"%s\" failed, "
                      "events are dropped until it is there", path);
        return NGX_OK;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (geteuid() != 0 || ccf->user == (ngx_uid_t) NGX_CONF_UNSET_UINT) {
        return NGX_OK;
    }

    if (ngx_file_info(path, &fi) == NGX_FILE_ERROR
        || (fi.st_uid != ccf->user && chown((char *) path, ccf->user, -1)
                                      == -1))
    {
        ngx_log_error(NGX_LOG_CRIT, cycle->log, ngx_errno,
                      "usher journal: chown(\"%s\") failed", path);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_journal_init_process(ngx_cycle_t *cycle)
{
    (void) ngx_http_usher_journal_get();

    return NGX_OK;
}


static void
ngx_http_usher_journal_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_usher_journal_t  *j;

    j = ngx_http_usher_journal;

    if (j != NULL) {
        ngx_http_usher_journal = NULL;
        ngx_http_usher_journal_close(j);
    }
}
