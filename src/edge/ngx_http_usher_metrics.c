
/*
 * ngx_http_usher_metrics.c - usher_metrics: Prometheus text, format 0.0.4.
 *
 * Labels are bounded: parts of the zone, roles of Redis, reasons, and the
 * place of a worker in a table of fixed size, which a new worker takes over
 * when the one before it has gone.  Slots and keys are no labels.
 */


#include "ngx_http_usher_conversion.h"
#include "ngx_http_usher_status.h"
#include "usher_version.h"


/* A figure of a worker's journal. */
typedef struct {
    const char  *name;
    const char  *help;
    size_t       offset;             /* in ngx_http_usher_process_t */
} ngx_http_usher_metric_t;


static void ngx_http_usher_metrics_family(ngx_http_usher_text_t *t,
    const char *name, const char *type, const char *help);
static void ngx_http_usher_metrics_label(ngx_http_usher_text_t *t,
    ngx_str_t *value);
static void ngx_http_usher_metrics_zone(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);
static void ngx_http_usher_metrics_shared(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);
static void ngx_http_usher_metrics_redis(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);
static void ngx_http_usher_metrics_journal(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);
static void ngx_http_usher_metrics_families(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st);


static ngx_http_usher_metric_t  ngx_http_usher_metrics_of_journal[] = {

    { "usher_journal_position_bytes",
      "Bytes a worker appended to its slot.",
      offsetof(ngx_http_usher_process_t, position) },

    { "usher_journal_synced_position_bytes",
      "Bytes of a worker's slot that are on disk.",
      offsetof(ngx_http_usher_process_t, synced) },

    { "usher_journal_shipped_position_bytes",
      "Bytes of a worker's slot that were sent to Redis.",
      offsetof(ngx_http_usher_process_t, shipped) },

    { "usher_journal_acked_position_bytes",
      "Bytes of a worker's slot that are rows in PostgreSQL.",
      offsetof(ngx_http_usher_process_t, acked) },

    { "usher_journal_room_bytes",
      "Bytes a worker may append without a new segment.",
      offsetof(ngx_http_usher_process_t, room) },

    { "usher_journal_adopted_slots",
      "Slots of dead processes in a worker's care.",
      offsetof(ngx_http_usher_process_t, adopted) },

    { NULL, NULL, 0 }
};


/* In the order of their numbers, or from 301 on. */

#define _(name, number, word, net)  word,

static const char *const  ngx_http_usher_words_of_clicks[] = {
    USHER_CLICK_REASONS(_)
};

#undef _
#define _(name, word, status, title, hint, counter)  word,

static const char *const  ngx_http_usher_words_of_conversions[] = {
    NULL,
    NGX_HTTP_USHER_CONVERSIONS(_)
};

#undef _

static const char *const  ngx_http_usher_words_of_redirects[] = {
    "301", "302", NULL, NULL, NULL, NULL, "307", "308"
};


#define _(name, label, number, help)                                          \
    typedef char  ngx_http_usher_words_of_##name##_t[                         \
        sizeof(ngx_http_usher_words_of_##name)                                \
        == number * sizeof(char *) ? 1 : -1];

NGX_HTTP_USHER_FAMILIES(_)

#undef _
#define _(name, label, number, help)                                          \
    { #name, label, help, offsetof(ngx_http_usher_counters_t, name), number,  \
      ngx_http_usher_words_of_##name },

const ngx_http_usher_family_t  ngx_http_usher_families[] = {
    NGX_HTTP_USHER_FAMILIES(_)
    { NULL, NULL, NULL, 0, 0, NULL }
};

#undef _


void
ngx_http_usher_metrics_text(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    ngx_http_usher_metrics_family(t, "usher_info", "gauge",
                                  "Always 1; says who and what it is.");
    ngx_http_usher_text(t, "usher_info{node=\"");
    ngx_http_usher_metrics_label(t, st->node);
    ngx_http_usher_text(t, "\",version=\"" USHER_VERSION "\",nginx=\""
                        NGINX_VERSION "\"} 1\n");

    ngx_http_usher_metrics_family(t, "usher_workers", "gauge",
                                  "Processes of nginx that use the zone.");
    ngx_http_usher_text(t, "usher_workers %ui\n", st->nworkers);

    ngx_http_usher_metrics_zone(t, st);

    if (st->shared) {
        ngx_http_usher_metrics_shared(t, st);
        ngx_http_usher_metrics_redis(t, st);
        ngx_http_usher_metrics_journal(t, st);
    }

#define _(name, help)                                                         \
    ngx_http_usher_metrics_family(t, "usher_" #name "_total", "counter",      \
                                  help);                                      \
    ngx_http_usher_text(t, "usher_" #name "_total %uL\n",                     \
                        st->counters.name);

    NGX_HTTP_USHER_COUNTERS(_)
#undef _

    ngx_http_usher_metrics_families(t, st);
}


static void
ngx_http_usher_metrics_family(ngx_http_usher_text_t *t, const char *name,
    const char *type, const char *help)
{
    ngx_http_usher_text(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
                        type);
}


static void
ngx_http_usher_metrics_label(ngx_http_usher_text_t *t, ngx_str_t *value)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < value->len; i++) {
        ch = value->data[i];

        if (ch == '\\' || ch == '"') {
            ngx_http_usher_text(t, "\\%c", ch);

        } else if (ch == LF) {
            ngx_http_usher_text(t, "\\n");

        } else {
            ngx_http_usher_text(t, "%c", ch);
        }
    }
}


static void
ngx_http_usher_metrics_zone(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    ngx_uint_t                   i;
    ngx_http_usher_zone_part_t  *part;

    ngx_http_usher_metrics_family(t, "usher_zone_bytes", "gauge",
                                  "Shared memory of each part of the zone.");

    for (i = 0; i < NGX_HTTP_USHER_ZONE_PARTS; i++) {
        part = &st->parts[i];
        ngx_http_usher_text(t, "usher_zone_bytes{part=\"%s\"} %uL\n",
                            part->name, part->bytes);
    }

    ngx_http_usher_metrics_family(t, "usher_zone_cells", "gauge",
                                  "Cells of each part of the zone.");

    for (i = 0; i < NGX_HTTP_USHER_ZONE_PARTS; i++) {
        part = &st->parts[i];
        ngx_http_usher_text(t, "usher_zone_cells{part=\"%s\"} %uL\n",
                            part->name, part->cells);
    }

    ngx_http_usher_metrics_family(t, "usher_zone_used_cells", "gauge",
                                  "Cells in use.");

    for (i = 0; i < NGX_HTTP_USHER_ZONE_PARTS; i++) {
        part = &st->parts[i];
        ngx_http_usher_text(t, "usher_zone_used_cells{part=\"%s\"} %uL\n",
                            part->name, part->used);
    }
}


static void
ngx_http_usher_metrics_shared(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    ngx_http_usher_shared_t  *s;

    s = st->shared;

    ngx_http_usher_metrics_family(t, "usher_directory_ready", "gauge",
                                  "1 if the directory in Redis is whole.");
    ngx_http_usher_text(t, "usher_directory_ready %d\n", s->ready ? 1 : 0);

    if (st->age >= 0) {
        ngx_http_usher_metrics_family(t,
                                  "usher_directory_heartbeat_age_seconds",
                                  "gauge", "Time since the directory was "
                                  "last heard of.");
        ngx_http_usher_text(t, "usher_directory_heartbeat_age_seconds "
                            "%L.%03L\n", st->age / 1000, st->age % 1000);
    }

    ngx_http_usher_metrics_family(t, "usher_directory_change", "gauge",
                                  "Number of the last change applied.");
    ngx_http_usher_text(t, "usher_directory_change %uA\n", s->change_id);

    ngx_http_usher_metrics_family(t, "usher_directory_generation", "gauge",
                                  "Records of an older one are asked again.");
    ngx_http_usher_text(t, "usher_directory_generation %uA\n",
                        s->generation);

    ngx_http_usher_metrics_family(t, "usher_journal_disk_bytes", "gauge",
                                  "Bytes of all segments of the node.");
    ngx_http_usher_text(t, "usher_journal_disk_bytes %uA\n",
                        s->journal_bytes);

    ngx_http_usher_metrics_family(t, "usher_journal_size_bytes", "gauge",
                                  "Bytes that all segments may take: size=.");
    ngx_http_usher_text(t, "usher_journal_size_bytes %uL\n",
                        st->journal_size);

    ngx_http_usher_metrics_family(t, "usher_journal_free_bytes", "gauge",
                                  "Bytes of size that are free or hold rows "
                                  "of PostgreSQL only.");
    ngx_http_usher_text(t, "usher_journal_free_bytes %uL\n",
                        st->journal_free);

    ngx_http_usher_metrics_family(t, "usher_journal_unacked_bytes", "gauge",
                                  "Bytes that are no rows yet, adopted slots "
                                  "included.");
    ngx_http_usher_text(t, "usher_journal_unacked_bytes %uL\n",
                        st->journal_unacked);

    ngx_http_usher_metrics_family(t, "usher_journal_window_bytes", "gauge",
                                  "Bytes in Redis that are no rows yet.");
    ngx_http_usher_text(t, "usher_journal_window_bytes %uL\n",
                        ngx_http_usher_window(s));

    ngx_http_usher_metrics_family(t, "usher_journal_slots", "gauge",
                                  "Slots that a process of the node holds.");
    ngx_http_usher_text(t, "usher_journal_slots %uA\n", s->journal_slots);

    ngx_http_usher_metrics_family(t, "usher_journal_full", "gauge",
                                  "1 if events are dropped for want of room.");
    ngx_http_usher_text(t, "usher_journal_full %d\n",
                        s->journal_full ? 1 : 0);
}


static void
ngx_http_usher_metrics_redis(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    ngx_uint_t  i, k, n[4];

    ngx_http_usher_metrics_family(t, "usher_redis_workers", "gauge",
                                  "Workers by the state of their Redis.");

    for (k = 0; k < NGX_HTTP_USHER_STATUS_ROLES; k++) {
        ngx_memzero(n, sizeof(n));

        for (i = 0; i < st->nworkers; i++) {
            n[st->workers[i].figures->redis[k] % 4]++;
        }

        ngx_http_usher_text(t,
                   "usher_redis_workers{role=\"%s\",state=\"ready\"} %ui\n"
                   "usher_redis_workers{role=\"%s\",state=\"down\"} %ui\n"
                   "usher_redis_workers{role=\"%s\",state=\"refused\"} %ui\n",
                   ngx_http_usher_status_roles[k], n[2],
                   ngx_http_usher_status_roles[k], n[1],
                   ngx_http_usher_status_roles[k], n[3]);
    }
}


static void
ngx_http_usher_metrics_journal(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    ngx_uint_t                i;
    ngx_atomic_t             *value;
    ngx_http_usher_metric_t  *m;
    ngx_http_usher_worker_t  *w;

    for (m = ngx_http_usher_metrics_of_journal; m->name; m++) {
        ngx_http_usher_metrics_family(t, m->name, "gauge", m->help);

        for (i = 0; i < st->nworkers; i++) {
            w = &st->workers[i];

            if (w->journal == NULL) {
                continue;
            }

            value = (ngx_atomic_t *) ((u_char *) w->journal + m->offset);

            ngx_http_usher_text(t, "%s{worker=\"%ui\"} %uA\n", m->name,
                                w->index, *value);
        }
    }
}


static void
ngx_http_usher_metrics_families(ngx_http_usher_text_t *t,
    ngx_http_usher_status_t *st)
{
    uint64_t                       *counters;
    ngx_uint_t                      i;
    const ngx_http_usher_family_t  *f;

    for (f = ngx_http_usher_families; f->name; f++) {
        counters = (uint64_t *) ((u_char *) &st->counters + f->offset);

        ngx_http_usher_text(t, "# HELP usher_%s_total %s\n"
                            "# TYPE usher_%s_total counter\n",
                            f->name, f->help, f->name);

        for (i = 0; i < f->n; i++) {
            if (f->words[i] != NULL) {
                ngx_http_usher_text(t, "usher_%s_total{%s=\"%s\"} %uL\n",
                                    f->name, f->label, f->words[i],
                                    counters[i]);
            }
        }
    }
}
