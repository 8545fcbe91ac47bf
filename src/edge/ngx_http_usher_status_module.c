
/*
 * ngx_http_usher_status_module.c - usher_status and usher_metrics.
 *
 *     usher_status;      this node as JSON
 *     usher_metrics;     this node as Prometheus text
 *
 * Both are content handlers that read what all workers keep in the zone, so
 * whichever worker answers, it answers for the node.  They take no lock.
 */


#include "ngx_http_usher_status.h"
#include "ngx_http_usher_request.h"
#include "usher_version.h"


typedef struct {
    ngx_str_t    directive;          /* the first; len 0: none */
    ngx_str_t    file;
    ngx_uint_t   line;
} ngx_http_usher_status_conf_t;


static ngx_int_t ngx_http_usher_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_metrics_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_usher_status_send(ngx_http_request_t *r,
    const char *type, void (*write)(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st));
static ngx_int_t ngx_http_usher_status_header(ngx_http_request_t *r);
static void ngx_http_usher_status_gather(ngx_http_usher_status_t *st);
static void ngx_http_usher_status_string(ngx_http_usher_text_t *t,
    ngx_str_t *s);
static void ngx_http_usher_status_zone(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);
static void ngx_http_usher_status_shared(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);
static void ngx_http_usher_status_workers(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);
static void ngx_http_usher_status_families(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);
static void *ngx_http_usher_status_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_usher_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_usher_status_init(ngx_conf_t *cf);


const char  *ngx_http_usher_status_roles[NGX_HTTP_USHER_STATUS_ROLES] = {
    "stream",
    "directory",
    "counters"
};


static ngx_command_t  ngx_http_usher_status_commands[] = {

    { ngx_string("usher_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_usher_status,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      ngx_http_usher_status_handler },

    { ngx_string("usher_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_usher_status,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      ngx_http_usher_metrics_handler },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_status_module_ctx = {
    NULL,                                    /* preconfiguration */
    ngx_http_usher_status_init,              /* postconfiguration */

    ngx_http_usher_status_create_main_conf,  /* create main configuration */
    NULL,                                    /* init main configuration */

    NULL,                                    /* create server configuration */
    NULL,                                    /* merge server configuration */

    NULL,                                    /* create location configuration */
    NULL                                     /* merge location configuration */
};


ngx_module_t  ngx_http_usher_status_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_status_module_ctx,     /* module context */
    ngx_http_usher_status_commands,        /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_usher_status_handler(ngx_http_request_t *r)
{
    return ngx_http_usher_status_send(r, "application/json",
                                      ngx_http_usher_status_text);
}


static ngx_int_t
ngx_http_usher_metrics_handler(ngx_http_request_t *r)
{
    return ngx_http_usher_status_send(r,
                                  "text/plain; version=0.0.4; charset=utf-8",
                                  ngx_http_usher_metrics_text);
}


static ngx_int_t
ngx_http_usher_status_send(ngx_http_request_t *r, const char *type,
    void (*write)(ngx_http_usher_text_t *t, ngx_http_usher_status_t *st))
{
    ngx_int_t                 rc;
    ngx_buf_t                *b;
    ngx_chain_t               out;
    ngx_http_usher_text_t     t;
    ngx_http_usher_status_t  *st;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    st = ngx_pcalloc(r->pool, sizeof(ngx_http_usher_status_t));
    if (st == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_usher_status_gather(st);

    b = ngx_create_temp_buf(r->pool, NGX_HTTP_USHER_STATUS_ROOM
                            + (st->nworkers + 1)
                              * NGX_HTTP_USHER_STATUS_PROCESS);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    t.pos = b->pos;
    t.last = b->end;

    write(&t, st);

    b->last = t.pos;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_usher_status_header(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_http_usher_status_header(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    ngx_str_set(&h->key, "Cache-Control");
    ngx_str_set(&h->value, "no-store");

    return NGX_OK;
}


static void
ngx_http_usher_status_gather(ngx_http_usher_status_t *st)
{
    uint64_t                     used, reusable;
    ngx_pid_t                    pid;
    ngx_uint_t                   i, k;
    ngx_http_usher_worker_t     *w;
    ngx_http_usher_figures_t    *figures;
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_usher_module);
    st->node = &umcf->node;
    st->shared = ngx_http_usher_shared();
    st->size = ngx_http_usher_zone_parts(st->parts);
    st->age = -1;

    ngx_http_usher_counters_sum(&st->counters);

    if (st->shared == NULL) {
        return;
    }

    if (st->shared->heartbeat) {
        st->age = (ngx_msec_int_t) (ngx_current_msec
                                    - (ngx_msec_t) st->shared->heartbeat);
        st->age = ngx_max(st->age, 0);
    }

    i = 0;
    reusable = 0;

    while (st->nworkers < NGX_HTTP_USHER_PROCESSES) {

        figures = ngx_http_usher_zone_process(&i, &pid);
        if (figures == NULL) {
            break;
        }

        w = &st->workers[st->nworkers++];
        w->pid = pid;
        w->figures = figures;

        for (k = 0; k < NGX_HTTP_USHER_PROCESSES; k++) {
            if ((ngx_pid_t) st->shared->process[k].pid == pid) {
                w->index = k;
                w->journal = &st->shared->process[k];
                st->journal_unacked += w->journal->unacked;
                reusable += w->journal->reusable;
                break;
            }
        }
    }

    st->journal_size = ngx_http_usher_journal_size();

    used = st->shared->journal_bytes;
    used -= ngx_min(used, reusable);

    st->journal_free = st->journal_size - ngx_min(st->journal_size, used);
}


/* ---- usher_status */


void
ngx_http_usher_text(ngx_http_usher_text_t *t, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    t->pos = ngx_vslprintf(t->pos, t->last, fmt, args);
    va_end(args);
}


static void
ngx_http_usher_status_string(ngx_http_usher_text_t *t, ngx_str_t *s)
{
    size_t  len;

    len = s->len + ngx_escape_json(NULL, s->data, s->len);

    if ((size_t) (t->last - t->pos) > len + 2) {
        *t->pos++ = '"';
        t->pos = (u_char *) ngx_escape_json(t->pos, s->data, s->len);
        *t->pos++ = '"';
    }
}


void
ngx_http_usher_status_text(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    ngx_uint_t  first;

    ngx_http_usher_text(t, "{\"node\":");
    ngx_http_usher_status_string(t, st->node);
    ngx_http_usher_text(t, ",\"version\":\"" USHER_VERSION
                        "\",\"pid\":%P,\"nginx\":\"" NGINX_VERSION "\"",
                        ngx_pid);

    ngx_http_usher_status_zone(t, st);
    ngx_http_usher_status_shared(t, st);
    ngx_http_usher_status_workers(t, st);

    ngx_http_usher_text(t, ",\"counters\":{");
    first = 1;

#define _(name, help)                                                         \
    ngx_http_usher_text(t, "%s\"" #name "\":%uL", first ? "" : ",",           \
                        st->counters.name);                                   \
    first = 0;

    NGX_HTTP_USHER_COUNTERS(_)
#undef _

    ngx_http_usher_text(t, "}");
    ngx_http_usher_status_families(t, st);
    ngx_http_usher_text(t, "}\n");
}


static void
ngx_http_usher_status_zone(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    ngx_uint_t                   i;
    ngx_http_usher_zone_part_t  *part;

    ngx_http_usher_text(t, ",\"zone\":{\"bytes\":%uL", st->size);

    for (i = 0; i < NGX_HTTP_USHER_ZONE_PARTS; i++) {
        part = &st->parts[i];

        ngx_http_usher_text(t, ",\"%s\":{\"bytes\":%uL,\"cells\":%uL,"
                            "\"used\":%uL}",
                            part->name, part->bytes, part->cells, part->used);
    }

    ngx_http_usher_text(t, "}");
}


static void
ngx_http_usher_status_shared(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    ngx_http_usher_shared_t  *s;

    s = st->shared;

    if (s == NULL) {
        return;
    }

    ngx_http_usher_text(t, ",\"directory\":{\"ready\":%s,\"evicting\":%s,"
                        "\"salt\":\"%s\","
                        "\"lineage\":\"%016xL\",\"change\":%uA,"
                        "\"generation\":%uA,\"reader\":%uA,"
                        "\"heartbeat_age_ms\":",
                        s->ready ? "true" : "false",
                        s->refused ? "true" : "false",
                        ngx_http_usher_salt_state(),
                        (uint64_t) s->lineage, s->change_id,
                        s->generation, s->reader);

    if (st->age < 0) {
        ngx_http_usher_text(t, "null}");

    } else {
        ngx_http_usher_text(t, "%L}", st->age);
    }

    ngx_http_usher_text(t, ",\"journal\":{\"size\":%uL,\"bytes\":%uA,"
                        "\"free\":%uL,\"unacked\":%uL,\"window\":%uL,"
                        "\"slots\":%uA,\"full\":%s}",
                        st->journal_size, s->journal_bytes, st->journal_free,
                        st->journal_unacked, ngx_http_usher_window(s),
                        s->journal_slots,
                        s->journal_full ? "true" : "false");
}


static void
ngx_http_usher_status_workers(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    ngx_uint_t                 i, k;
    const char                *state;
    ngx_http_usher_worker_t   *w;
    ngx_http_usher_process_t  *j;

    ngx_http_usher_text(t, ",\"workers\":[");

    for (i = 0; i < st->nworkers; i++) {
        w = &st->workers[i];

        ngx_http_usher_text(t, "%s{\"pid\":%P,\"redis\":{", i ? "," : "",
                            w->pid);

        for (k = 0; k < NGX_HTTP_USHER_STATUS_ROLES; k++) {
            state = w->figures->redis[k] == 0 ? "unused"
                    : w->figures->redis[k] == 1 ? "down"
                    : w->figures->redis[k] == 2 ? "ready" : "refused";

            ngx_http_usher_text(t, "%s\"%s\":\"%s\"", k ? "," : "",
                                ngx_http_usher_status_roles[k], state);
        }

        ngx_http_usher_text(t, "}");

        j = w->journal;

        if (j) {
            ngx_http_usher_text(t, ",\"slot\":\"%*s\",\"position\":%uA,"
                                "\"shipped\":%uA,\"acked\":%uA,"
                                "\"synced\":%uA,\"room\":%uA,"
                                "\"window\":%uA,\"adopted\":%uA,\"full\":%s",
                                ngx_strnlen(j->slot, USHER_SLOT_TEXT),
                                j->slot, j->position, j->shipped, j->acked,
                                j->synced, j->room, j->window, j->adopted,
                                j->full ? "true" : "false");
        }

        ngx_http_usher_text(t, "}");
    }

    ngx_http_usher_text(t, "]");
}


static void
ngx_http_usher_status_families(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    uint64_t                       *counters;
    ngx_uint_t                      i, first;
    const ngx_http_usher_family_t  *f;

    for (f = ngx_http_usher_families; f->name; f++) {
        counters = (uint64_t *) ((u_char *) &st->counters + f->offset);
        first = 1;

        ngx_http_usher_text(t, ",\"%s\":{", f->name);

        for (i = 0; i < f->n; i++) {

            if (f->words[i] == NULL) {
                continue;
            }

            ngx_http_usher_text(t, "%s\"%s\":%uL", first ? "" : ",",
                                f->words[i], counters[i]);
            first = 0;
        }

        ngx_http_usher_text(t, "}");
    }
}


/* ---- configuration */


static void *
ngx_http_usher_status_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_status_conf_t));
}


/* cmd->post is the content handler. */

static char *
ngx_http_usher_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_status_conf_t *scf = conf;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler == ngx_http_usher_status_handler
        || clcf->handler == ngx_http_usher_metrics_handler)
    {
        return "cannot stand beside another usher_status or usher_metrics";
    }

    clcf->handler = (ngx_http_handler_pt) cmd->post;

    if (scf->directive.len == 0) {
        scf->directive = cmd->name;
        scf->file = cf->conf_file->file.name;
        scf->line = cf->conf_file->line;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_usher_status_init(ngx_conf_t *cf)
{
    ngx_http_usher_status_conf_t  *scf;

    scf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_status_module);

    if (scf->directive.len && !ngx_http_usher_zone_configured(cf)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%V\" needs \"usher_zone\" in %V:%ui",
                      &scf->directive, &scf->file, scf->line);
        return NGX_ERROR;
    }

    return NGX_OK;
}
