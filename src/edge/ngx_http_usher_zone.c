
/*
 * ngx_http_usher_zone.c - the zone of shared memory: usher_zone.
 *
 *     usher_zone SIZE [keys=N%] [buckets=N%] [negatives=N%] [records=N%]
 *                     [clicks=N%] [caps=N%];
 *
 * The cells and their locks are usher_zone.h's, which knows nothing of
 * nginx.  Here are the directive, the life of the memory, and what other
 * modules call.
 *
 * The memory is taken from the slab in one piece at the start, and never
 * again.  It outlives a reload as long as the size is the same; a binary
 * upgrade begins with a new one.  Only worker and single processes attach,
 * in init_process: the master never holds a lock.  A thread of a pool must
 * not call anything here, since a process does not wait for itself.
 *
 * Counters lie in the slot of the process.  When it has died, the next
 * process to begin goes on counting where it stopped, so the sum over all
 * slots never loses and never doubles anything, and nothing has to be folded.
 */


#include "ngx_http_usher_zone.h"

#include <sys/random.h>


#define NGX_HTTP_USHER_ZONE_MIN   ((off_t) 1024 * 1024)
#define NGX_HTTP_USHER_ZONE_MAX   ((off_t) 256 * 1024 * 1024 * 1024)



/* What a process has in its slot must fit. */
typedef char  ngx_http_usher_counters_fit_t[
    sizeof(ngx_http_usher_counters_t) <= NGX_HTTP_USHER_FIGURES ? 1 : -1];
typedef char  ngx_http_usher_figures_fit_t[
    NGX_HTTP_USHER_FIGURES + sizeof(ngx_http_usher_figures_t)
    <= USHER_PROC_DATA ? 1 : -1];


typedef struct {
    ngx_shm_zone_t       *shm_zone;    /* NULL: no usher_zone */
    void                 *area;        /* set by init_zone */
    size_t                size;
    usher_zone_shares_t   shares;
    ngx_str_t             file;        /* where usher_zone stands */
    ngx_uint_t            line;
} ngx_http_usher_zone_conf_t;


/* A share as configured, and its default, in thousandths of the zone. */
typedef struct {
    ngx_str_t             name;
    uint32_t              usual;
} ngx_http_usher_zone_share_t;


static void *ngx_http_usher_zone_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_usher_zone_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_usher_zone_share(ngx_conf_t *cf, ngx_str_t *arg,
    uint32_t *share);
static char *ngx_http_usher_zone_shares(ngx_conf_t *cf,
    ngx_http_usher_zone_conf_t *zcf, uint32_t *share);
static ngx_int_t ngx_http_usher_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_usher_zone_check(ngx_shm_zone_t *shm_zone,
    ngx_http_usher_zone_conf_t *zcf);
static ngx_int_t ngx_http_usher_zone_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_usher_zone_init_process(ngx_cycle_t *cycle);
static void ngx_http_usher_zone_attach(ngx_cycle_t *cycle);


static ngx_http_usher_counters_t  ngx_http_usher_private_counters;
static ngx_http_usher_figures_t   ngx_http_usher_private_figures;

ngx_http_usher_counters_t  *ngx_http_usher_counters =
                                             &ngx_http_usher_private_counters;
ngx_http_usher_figures_t   *ngx_http_usher_figures =
                                             &ngx_http_usher_private_figures;

usher_zone_t                ngx_http_usher_zone;


static ngx_http_usher_zone_share_t  ngx_http_usher_zone_usual[] = {
    { ngx_string("keys="), 840 },
    { ngx_string("buckets="), 45 },
    { ngx_string("negatives="), 62 },
    { ngx_string("records="), 38 },
    { ngx_string("clicks="), 10 },
    { ngx_string("caps="), 5 }
};


static ngx_command_t  ngx_http_usher_zone_commands[] = {

    { ngx_string("usher_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_usher_zone_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_zone_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_usher_zone_create_main_conf,  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_usher_zone_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_zone_module_ctx,       /* module context */
    ngx_http_usher_zone_commands,          /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_usher_zone_init_module,       /* init module */
    ngx_http_usher_zone_init_process,      /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* ---- configuration */


static void *
ngx_http_usher_zone_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_zone_conf_t));
}


static char *
ngx_http_usher_zone_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_zone_conf_t *zcf = conf;

    off_t       size;
    uint32_t    share[NGX_HTTP_USHER_ZONE_PARTS];
    ngx_str_t  *value, name;
    ngx_uint_t  i;

    if (zcf->shm_zone) {
        return "is duplicate";
    }

    value = cf->args->elts;

    size = ngx_parse_offset(&value[1]);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone size \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (size < NGX_HTTP_USHER_ZONE_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone size \"%V\" is too small, at least 1m is "
                           "needed", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (size > NGX_HTTP_USHER_ZONE_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone size \"%V\" is too large, 256g is the most",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(share, sizeof(share));

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_http_usher_zone_share(cf, &value[i], share) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_usher_zone_shares(cf, zcf, share) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_str_set(&name, "usher");

    zcf->shm_zone = ngx_shared_memory_add(cf, &name, (size_t) size,
                                          &ngx_http_usher_zone_module);
    if (zcf->shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    zcf->shm_zone->init = ngx_http_usher_zone_init;
    zcf->shm_zone->data = zcf;

    zcf->file = cf->conf_file->file.name;
    zcf->line = cf->conf_file->line;

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_zone_share(ngx_conf_t *cf, ngx_str_t *arg, uint32_t *share)
{
    u_char                       *p;
    size_t                        len;
    ngx_int_t                     n;
    ngx_uint_t                    i;
    ngx_http_usher_zone_share_t  *usual;

    for (i = 0; i < NGX_HTTP_USHER_ZONE_PARTS; i++) {
        usual = &ngx_http_usher_zone_usual[i];

        if (arg->len <= usual->name.len
            || ngx_strncmp(arg->data, usual->name.data, usual->name.len) != 0)
        {
            continue;
        }

        p = arg->data + usual->name.len;
        len = arg->len - usual->name.len;

        if (p[len - 1] == '%') {
            len--;
        }

        n = ngx_atoi(p, len);

        if (n == NGX_ERROR || n < 1 || n > 96) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid share \"%V\", it must be a "
                               "percentage from 1%% to 96%%", arg);
            return NGX_CONF_ERROR;
        }

        if (share[i]) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate share \"%V\"", arg);
            return NGX_CONF_ERROR;
        }

        share[i] = (uint32_t) n * 10;

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"", arg);

    return NGX_CONF_ERROR;
}


/*
 * Shares that are not given divide what is left as they do by default, but
 * none is without any.
 */

static char *
ngx_http_usher_zone_shares(ngx_conf_t *cf, ngx_http_usher_zone_conf_t *zcf,
    uint32_t *share)
{
    uint32_t    given, usual, open;
    ngx_uint_t  i, largest;

    given = 0;
    usual = 0;
    open = 0;
    largest = 0;

    for (i = 0; i < NGX_HTTP_USHER_ZONE_PARTS; i++) {
        given += share[i];

        if (share[i] == 0) {
            usual += ngx_http_usher_zone_usual[i].usual;
            open++;

            if (share[largest] || ngx_http_usher_zone_usual[i].usual
                                  > ngx_http_usher_zone_usual[largest].usual)
            {
                largest = i;
            }
        }
    }

    if (given + open * 10 > 1000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "shares add up to %uD%%, which leaves less than "
                           "1%% for each of the others", given / 10);
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < NGX_HTTP_USHER_ZONE_PARTS; i++) {
        if (share[i] == 0) {
            share[i] = (1000 - given) * ngx_http_usher_zone_usual[i].usual
                       / usual;
        }
    }

    for (i = 0; i < NGX_HTTP_USHER_ZONE_PARTS; i++) {
        if (share[i] == 0) {
            share[i] = 1;
            share[largest]--;
        }
    }

    zcf->shares.keys = share[0];
    zcf->shares.buckets = share[1];
    zcf->shares.negatives = share[2];
    zcf->shares.records = share[3];
    zcf->shares.clicks = share[4];
    zcf->shares.caps = share[5];

    return NGX_CONF_OK;
}


/* ---- the memory's life */


static ngx_int_t
ngx_http_usher_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_http_usher_zone_conf_t  *ozcf = data;

    uint64_t                     secret[2];
    ngx_slab_pool_t             *shpool;
    ngx_http_usher_zone_conf_t  *zcf;

    zcf = shm_zone->data;
    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    zcf->size = shpool->pfree * ngx_pagesize;

    if (ozcf) {
        zcf->area = ozcf->area;
        zcf->size = ozcf->size;

        return ngx_http_usher_zone_check(shm_zone, zcf);
    }

    if (shm_zone->shm.exists) {
        zcf->area = shpool->data;
        zcf->size = (size_t) ((usher_zone_head_t *) zcf->area)->size;

        return ngx_http_usher_zone_check(shm_zone, zcf);
    }

    zcf->area = ngx_slab_alloc(shpool, zcf->size);

    if (zcf->area == NULL) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "no memory for usher_zone in %V:%ui", &zcf->file,
                      zcf->line);
        return NGX_ERROR;
    }

    shpool->data = zcf->area;

    if (getrandom(secret, sizeof(secret), 0) != sizeof(secret)) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, ngx_errno,
                      "getrandom() failed for usher_zone in %V:%ui",
                      &zcf->file, zcf->line);
        return NGX_ERROR;
    }

    if (usher_zone_format(zcf->area, zcf->size, &zcf->shares,
                          sizeof(ngx_http_usher_shared_t), secret)
        != 0)
    {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "usher_zone is too small for these shares in %V:%ui",
                      &zcf->file, zcf->line);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_zone_check(ngx_shm_zone_t *shm_zone,
    ngx_http_usher_zone_conf_t *zcf)
{
    const char  *what;

    what = usher_zone_check(zcf->area, zcf->size, &zcf->shares,
                            sizeof(ngx_http_usher_shared_t));
    if (what == NULL) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                  "the shared memory of usher_zone %s: change the size of "
                  "usher_zone too, or restart nginx, in %V:%ui", what,
                  &zcf->file, zcf->line);

    return NGX_ERROR;
}


/* A single process is not started anew for a new configuration. */

static ngx_int_t
ngx_http_usher_zone_init_module(ngx_cycle_t *cycle)
{
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (ngx_process == NGX_PROCESS_SINGLE && !ccf->master
        && !ngx_is_init_cycle(cycle->old_cycle))
    {
        ngx_http_usher_zone_attach(cycle);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_zone_init_process(ngx_cycle_t *cycle)
{
    if (ngx_process == NGX_PROCESS_WORKER
        || ngx_process == NGX_PROCESS_SINGLE)
    {
        ngx_http_usher_zone_attach(cycle);
    }

    return NGX_OK;
}


static void
ngx_http_usher_zone_attach(ngx_cycle_t *cycle)
{
    u_char                      *data;
    usher_zone_t                *z;
    ngx_http_usher_zone_conf_t  *zcf;

    z = &ngx_http_usher_zone;
    z->head = NULL;

    ngx_http_usher_counters = &ngx_http_usher_private_counters;
    ngx_http_usher_figures = &ngx_http_usher_private_figures;

    zcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_usher_zone_module);

    if (zcf == NULL || zcf->shm_zone == NULL || zcf->area == NULL) {
        return;
    }

    usher_zone_attach(z, zcf->area, (uint32_t) ngx_pid);

    data = usher_proc_claim(z->self.procs, z->self.nprocs, z->self.pid);

    if (data == NULL) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0,
                      "more than %d processes use usher_zone, the counters "
                      "of this one are lost", USHER_ZONE_PROCS);

    } else {
        ngx_http_usher_counters = (ngx_http_usher_counters_t *) data;
        ngx_http_usher_figures = (ngx_http_usher_figures_t *)
                                 (data + NGX_HTTP_USHER_FIGURES);
        ngx_memzero(ngx_http_usher_figures, sizeof(ngx_http_usher_figures_t));
    }

    z->self.recovered = &ngx_http_usher_counters->zone_recovered;
    z->self.evicted = &ngx_http_usher_counters->zone_evicted;
    z->self.forgotten = &ngx_http_usher_counters->zone_forgotten;
}


/* ---- what all modules call */


ngx_uint_t
ngx_http_usher_zone_configured(ngx_conf_t *cf)
{
    ngx_http_usher_zone_conf_t  *zcf;

    zcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_zone_module);

    return zcf->shm_zone != NULL;
}


ngx_http_usher_shared_t *
ngx_http_usher_shared(void)
{
    if (ngx_http_usher_zone.head == NULL) {
        return NULL;
    }

    return usher_zone_user(ngx_http_usher_zone.head);
}


void
ngx_http_usher_counters_sum(ngx_http_usher_counters_t *sum)
{
    uint64_t      *to, *from;
    uint32_t       i;
    ngx_uint_t     k;
    usher_zone_t  *z;

    z = &ngx_http_usher_zone;

    *sum = ngx_http_usher_private_counters;

    if (z->head == NULL) {
        return;
    }

    to = (uint64_t *) sum;

    for (i = 0; i < z->self.nprocs; i++) {
        from = (uint64_t *) z->self.procs[i].data;

        for (k = 0; k < sizeof(*sum) / sizeof(uint64_t); k++) {
            to[k] += from[k];
        }
    }
}


ngx_atomic_t *
ngx_http_usher_bucket(u_char *name, size_t len)
{
    uint64_t  *tat;

    if (ngx_http_usher_zone.head == NULL) {
        return NULL;
    }

    tat = usher_zone_bucket(&ngx_http_usher_zone, name, len);

    if (tat == NULL) {
        ngx_http_usher_count(zone_locked);
    }

    return (ngx_atomic_t *) tat;
}


uint64_t
ngx_http_usher_monotonic(void)
{
    return usher_monotonic();
}
