
/*
 * ngx_http_usher_zone_cells.c - the zone's cells in nginx's words, for the
 * directory; and its figures, for the status.
 *
 * All of it works on ngx_http_usher_zone, this process's view.
 */


#include "ngx_http_usher_zone.h"


/* Buckets are words of 64 bits, for the zone and for the limiter. */
typedef char  ngx_http_usher_atomic_fit_t[
    sizeof(ngx_atomic_t) == sizeof(uint64_t) ? 1 : -1];
typedef char  ngx_http_usher_record_fit_t[
    NGX_HTTP_USHER_RECORD_MAX == USHER_ZONE_RECORD ? 1 : -1];


static void ngx_http_usher_zone_fill(usher_zone_fill_t *to,
    ngx_http_usher_fill_t *from);
static ngx_int_t ngx_http_usher_zone_result(int rc);
static ngx_int_t ngx_http_usher_zone_dropped(int rc);


/* ---- what the directory calls */


static void
ngx_http_usher_zone_fill(usher_zone_fill_t *to, ngx_http_usher_fill_t *from)
{
    to->generation = (uint32_t) from->generation;
    to->epoch = (uint32_t) from->epoch;
    to->ticket = from->ticket;
    to->seen = from->seen;
}


static ngx_int_t
ngx_http_usher_zone_result(int rc)
{
    if (rc == USHER_ZONE_MOVED) {
        return NGX_AGAIN;
    }

    if (rc == USHER_ZONE_LOCKED) {
        ngx_http_usher_count(zone_locked);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_zone_dropped(int rc)
{
    if (rc != USHER_ZONE_OK) {
        ngx_http_usher_count(zone_locked);
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_usher_zone_key_get(u_char *digest, ngx_http_usher_key_t *key,
    ngx_http_usher_fill_t *found)
{
    u_char             *p;
    uint64_t           *tat;
    ngx_uint_t          rc;
    usher_zone_key_t    cell;
    usher_zone_fill_t   f;

    if (ngx_http_usher_zone.head == NULL) {
        return NGX_HTTP_USHER_CELL_NONE;
    }

    rc = usher_zone_key_get(&ngx_http_usher_zone, digest, &cell, &tat, &f);

    if (rc == USHER_ZONE_NONE) {
        return NGX_HTTP_USHER_CELL_NONE;
    }

    found->generation = f.generation;

    if (rc == USHER_ZONE_GONE) {
        found->epoch = f.epoch;
        return NGX_HTTP_USHER_CELL_GONE;
    }

    p = key->text;

    if (!(cell.flags & USHER_ZONE_CHAINED)) {
        ngx_memcpy(p, cell.text, USHER_ZONE_TEXT);

    } else if (usher_zone_key_text(&ngx_http_usher_zone, digest, &cell, p,
                                   sizeof(key->text))
               != 0)
    {
        return NGX_HTTP_USHER_CELL_NONE;
    }

    key->id = cell.id;
    key->org_id = cell.org_id;
    key->plan_id = cell.plan_id;
    key->expires = (time_t) cell.expires;
    key->state = cell.state;
    key->tat = (ngx_atomic_t *) tat;

    key->org.data = p;
    key->org.len = cell.org;
    key->scope.data = p + cell.org;
    key->scope.len = cell.scope;
    key->allow.data = p + cell.org + cell.scope;
    key->allow.len = cell.allow;

    return NGX_HTTP_USHER_CELL_FOUND;
}


ngx_int_t
ngx_http_usher_zone_key_set(u_char *digest, ngx_http_usher_key_t *key,
    ngx_http_usher_fill_t *fill)
{
    u_char             *p, text[sizeof(key->text)];
    usher_zone_key_t    cell;
    usher_zone_fill_t   f;

    if (ngx_http_usher_zone.head == NULL
        || key->org.len > NGX_HTTP_USHER_NAME_MAX
        || key->scope.len > NGX_HTTP_USHER_TEXT_MAX
        || key->allow.len > NGX_HTTP_USHER_TEXT_MAX)
    {
        return NGX_DECLINED;
    }

    cell.id = key->id;
    cell.org_id = key->org_id;
    cell.plan_id = key->plan_id;
    cell.expires = key->expires;
    cell.state = (uint8_t) key->state;
    cell.org = (uint16_t) key->org.len;
    cell.scope = (uint16_t) key->scope.len;
    cell.allow = (uint16_t) key->allow.len;

    p = ngx_cpymem(text, key->org.data, key->org.len);
    p = ngx_cpymem(p, key->scope.data, key->scope.len);
    ngx_memcpy(p, key->allow.data, key->allow.len);

    ngx_http_usher_zone_fill(&f, fill);

    return ngx_http_usher_zone_result(
               usher_zone_key_set(&ngx_http_usher_zone, digest, &cell, text,
                                  &f));
}


ngx_int_t
ngx_http_usher_zone_key_negative(u_char *digest, ngx_http_usher_fill_t *fill)
{
    usher_zone_fill_t  f;

    if (ngx_http_usher_zone.head == NULL) {
        return NGX_DECLINED;
    }

    ngx_http_usher_zone_fill(&f, fill);

    return ngx_http_usher_zone_result(
               usher_zone_key_gone(&ngx_http_usher_zone, digest, &f));
}


ngx_int_t
ngx_http_usher_zone_key_drop(u_char *digest, ngx_uint_t hard)
{
    if (ngx_http_usher_zone.head == NULL) {
        return NGX_OK;
    }

    return ngx_http_usher_zone_dropped(
               usher_zone_key_drop(&ngx_http_usher_zone, digest,
                                   (unsigned) hard));
}


ngx_uint_t
ngx_http_usher_zone_record_get(ngx_uint_t kind, ngx_str_t *id, u_char *buf,
    size_t size, size_t *len, ngx_http_usher_fill_t *found)
{
    ngx_uint_t         rc;
    usher_zone_fill_t  f;

    if (ngx_http_usher_zone.head == NULL) {
        return NGX_HTTP_USHER_CELL_NONE;
    }

    f.epoch = 0;

    rc = usher_zone_record_get(&ngx_http_usher_zone, (unsigned) kind,
                               id->data, id->len, buf, size, len, &f);

    if (rc == USHER_ZONE_NONE) {
        return NGX_HTTP_USHER_CELL_NONE;
    }

    found->generation = f.generation;

    if (rc == USHER_ZONE_GONE) {
        found->epoch = f.epoch;
        return NGX_HTTP_USHER_CELL_GONE;
    }

    return NGX_HTTP_USHER_CELL_FOUND;
}


ngx_int_t
ngx_http_usher_zone_record_set(ngx_uint_t kind, ngx_str_t *id, u_char *data,
    size_t len, ngx_http_usher_fill_t *fill)
{
    usher_zone_fill_t  f;

    if (ngx_http_usher_zone.head == NULL || len > NGX_HTTP_USHER_RECORD_MAX) {
        return NGX_DECLINED;
    }

    ngx_http_usher_zone_fill(&f, fill);

    return ngx_http_usher_zone_result(
               usher_zone_record_set(&ngx_http_usher_zone, (unsigned) kind,
                                     id->data, id->len, data, len, &f));
}


ngx_int_t
ngx_http_usher_zone_record_negative(ngx_uint_t kind, ngx_str_t *id,
    ngx_http_usher_fill_t *fill)
{
    usher_zone_fill_t  f;

    if (ngx_http_usher_zone.head == NULL) {
        return NGX_DECLINED;
    }

    ngx_http_usher_zone_fill(&f, fill);

    return ngx_http_usher_zone_result(
               usher_zone_record_gone(&ngx_http_usher_zone, (unsigned) kind,
                                      id->data, id->len, &f));
}


ngx_int_t
ngx_http_usher_zone_record_drop(ngx_uint_t kind, ngx_str_t *id,
    ngx_uint_t hard)
{
    if (ngx_http_usher_zone.head == NULL) {
        return NGX_OK;
    }

    return ngx_http_usher_zone_dropped(
               usher_zone_record_drop(&ngx_http_usher_zone, (unsigned) kind,
                                      id->data, id->len, (unsigned) hard));
}


/* ---- what the status calls */


uint64_t
ngx_http_usher_zone_parts(
    ngx_http_usher_zone_part_t parts[NGX_HTTP_USHER_ZONE_PARTS])
{
    ngx_uint_t            i;
    usher_zone_t         *z;
    const usher_table_t  *t;

    z = &ngx_http_usher_zone;

    ngx_memzero(parts, NGX_HTTP_USHER_ZONE_PARTS
                       * sizeof(ngx_http_usher_zone_part_t));

    parts[0].name = "keys";
    parts[1].name = "buckets";
    parts[2].name = "records";
    parts[3].name = "negatives";
    parts[4].name = "clicks";
    parts[5].name = "caps";

    if (z->head == NULL) {
        return 0;
    }

    for (i = 0; i < 3; i++) {
        t = (i == 0) ? &z->keys : (i == 1) ? &z->buckets : &z->records;

        parts[i].bytes = (uint64_t) t->nsets * t->size;
        parts[i].cells = (uint64_t) t->nsets * USHER_SET_WAYS;
        parts[i].used = usher_table_used(t);
    }

    parts[3].bytes = (uint64_t) z->nnegatives
                     * sizeof(usher_zone_negative_t);
    parts[3].cells = z->nnegatives;
    parts[3].used = usher_zone_negatives_used(z);

    parts[4].bytes = (uint64_t) z->clicks.nsets * USHER_SEEN_SET;
    parts[4].cells = (uint64_t) z->clicks.nsets * USHER_SEEN_WAYS;
    parts[4].used = usher_seen_used(&z->clicks);

    parts[5].bytes = (uint64_t) z->caps.table.nsets * (z->caps.table.size + 1);
    parts[5].cells = (uint64_t) z->caps.table.nsets * USHER_SET_WAYS;
    parts[5].used = usher_table_used(&z->caps.table);

    return z->head->size;
}


ngx_http_usher_figures_t *
ngx_http_usher_zone_process(ngx_uint_t *i, ngx_pid_t *pid)
{
    usher_proc_t  *proc;
    usher_zone_t  *z;

    z = &ngx_http_usher_zone;

    if (z->head == NULL) {
        return NULL;
    }

    while (*i < z->self.nprocs) {
        proc = &z->self.procs[(*i)++];

        if (usher_proc_alive(proc)) {
            *pid = (ngx_pid_t) (uint32_t) proc->owner;

            return (ngx_http_usher_figures_t *)
                   (proc->data + NGX_HTTP_USHER_FIGURES);
        }
    }

    return NULL;
}
