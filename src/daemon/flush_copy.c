/*
 * flush_copy.c - the lines of a batch go into their tables.
 *
 * DESIGN
 *
 * A line is passed on as it came, without its tag, in large pieces; rolled
 * kinds are summed up in the same pass, while PostgreSQL works.
 *
 * Unique kinds go through a temporary table, with the number of their slot
 * and their own before them.  Keys that are new go into the key table, and
 * only their lines into the partitions; the others are counted per slot.
 */


#include <stdio.h>
#include <string.h>

#include "flush.h"


static int usherd_flush_into(usherd_flush_t *f, unsigned kind,
    const uint32_t *index, size_t n, unsigned staged);
static int usherd_flush_line(usherd_flush_t *f, const usherd_line_t *line,
    unsigned staged);
static void usherd_flush_target(const usher_event_kind_t *kind,
    unsigned staged, char *sql, size_t size);
static int usherd_flush_prepare(usherd_flush_t *f,
    const usher_event_kind_t *kind);
static int usherd_flush_winners(usherd_flush_t *f,
    const usher_event_kind_t *kind);


int
usherd_flush_copy(usherd_flush_t *f, unsigned kind, const uint32_t *index,
    size_t n)
{
    int  rc;

    if (!f->kinds[kind]->unique) {
        return usherd_flush_into(f, kind, index, n, 0);
    }

    rc = usherd_flush_stage(f, kind, index, n);

    return rc == USHERD_OK ? usherd_flush_winners(f, f->kinds[kind]) : rc;
}


int
usherd_flush_stage(usherd_flush_t *f, unsigned kind, const uint32_t *index,
    size_t n)
{
    int  rc;

    rc = usherd_flush_prepare(f, f->kinds[kind]);

    return rc == USHERD_OK ? usherd_flush_into(f, kind, index, n, 1) : rc;
}


static int
usherd_flush_into(usherd_flush_t *f, unsigned kind, const uint32_t *index,
    size_t n, unsigned staged)
{
    int                        rc, poison;
    char                       sql[1024];
    size_t                     i;
    uint64_t                   sent, rows;
    usherd_line_t             *line;
    const usher_event_kind_t  *k;

    k = f->kinds[kind];

    usherd_flush_target(k, staged, sql, sizeof(sql));

    rc = usherd_pg_copy_start(f->pg, sql);
    if (rc != USHERD_OK) {
        return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
    }

    sent = 0;
    poison = 0;

    for (i = 0; i < n && rc == USHERD_OK; i++) {

        line = &f->lines[index != NULL ? index[i] : i];

        if (line->kind != kind) {
            continue;
        }

        if (line->bad) {
            poison = 1;
            continue;
        }

        sent++;
        rc = usherd_flush_line(f, line, staged);

        if (index == NULL && k->rolled
            && usherd_usage_add(f->usage, line->start + USHER_EVENT_TAG + 1,
                                line->len - USHER_EVENT_TAG - 1,
                                f->slots[line->slot]->last_event)
               != 0)
        {
            poison = 1;
        }

        if (index == NULL && !k->rolled && usherd_usage_timed(k)) {
            usherd_usage_newest(line->start + USHER_EVENT_TAG + 1,
                                line->len - USHER_EVENT_TAG - 1,
                                f->slots[line->slot]->last_event);
        }
    }

    if (rc == USHERD_OK) {
        rc = usherd_flush_sent(f, &rows);
    }

    if (rc != USHERD_OK) {
        f->buffered = 0;
        return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
    }

    if (poison) {
        return USHERD_FLUSH_POISON;
    }

    if (rows != sent) {
        return USHERD_FLUSH_COUNT;
    }

    return USHERD_OK;
}


static void
usherd_flush_target(const usher_event_kind_t *kind, unsigned staged,
    char *sql, size_t size)
{
    if (staged) {
        snprintf(sql, size, "COPY usherd_%c%c FROM STDIN", kind->kind,
                 kind->version);

    } else {
        snprintf(sql, size, "COPY %s (%s) FROM STDIN", kind->table,
                 kind->columns);
    }
}


/* The line without its tag; staged ones have slot and index before it. */

static int
usherd_flush_line(usherd_flush_t *f, const usherd_line_t *line,
    unsigned staged)
{
    int   rc, len;
    char  head[32];

    if (staged) {
        len = snprintf(head, sizeof(head), "%u\t%u\t", line->slot,
                       (unsigned) (line - f->lines));

        rc = usherd_flush_send(f, head, (size_t) len);
        if (rc != USHERD_OK) {
            return rc;
        }
    }

    return usherd_flush_send(f, line->start + USHER_EVENT_TAG + 1,
                             line->len - USHER_EVENT_TAG - 1);
}


int
usherd_flush_send(usherd_flush_t *f, const char *data, size_t len)
{
    int  rc;

    if (f->buffered + len > USHERD_FLUSH_BUFFER) {

        rc = usherd_pg_copy_data(f->pg, f->buffer, f->buffered);
        f->buffered = 0;

        if (rc != USHERD_OK) {
            return rc;
        }
    }

    if (len > USHERD_FLUSH_BUFFER) {
        return usherd_pg_copy_data(f->pg, data, len);
    }

    memcpy(f->buffer + f->buffered, data, len);
    f->buffered += len;

    return USHERD_OK;
}


int
usherd_flush_sent(usherd_flush_t *f, uint64_t *rows)
{
    int  rc;

    if (f->buffered > 0) {

        rc = usherd_pg_copy_data(f->pg, f->buffer, f->buffered);
        f->buffered = 0;

        if (rc != USHERD_OK) {
            return rc;
        }
    }

    return usherd_pg_copy_end(f->pg, rows);
}


/* A table of this session, empty at each BEGIN. */

static int
usherd_flush_prepare(usherd_flush_t *f, const usher_event_kind_t *kind)
{
    int   rc;
    char  sql[1024];

    snprintf(sql, sizeof(sql), "CREATE TEMP TABLE IF NOT EXISTS usherd_%c%c "
             "ON COMMIT DELETE ROWS AS SELECT 0 AS usherd_slot, "
             "0 AS usherd_line, %s FROM %s WITH NO DATA", kind->kind,
             kind->version, kind->columns, kind->table);

    rc = usherd_flush_run(f, sql);
    if (rc != USHERD_OK) {
        return rc;
    }

    snprintf(sql, sizeof(sql), "DELETE FROM usherd_%c%c", kind->kind,
             kind->version);

    return usherd_flush_run(f, sql);
}


/*
 * Only those whose key is new become rows; of several in one batch the one
 * that was said first: after an outage slots come in any order, and what is
 * said again late is not news.  Keys go in sorted, so that two flushes cannot
 * wait for each other in a circle.  What the kind has to be done for the
 * others is called by the last SELECT, which sees the keys.
 */

static int
usherd_flush_winners(usherd_flush_t *f, const usher_event_kind_t *kind)
{
    int                  rc;
    char                 sql[2048];
    unsigned             row;
    uint64_t             losers;
    usherd_pg_result_t  *res;

    snprintf(sql, sizeof(sql),
             "WITH t AS MATERIALIZED (SELECT * FROM usherd_%c%c), "
             "k AS (INSERT INTO %s (%s) SELECT DISTINCT %s FROM t "
             "ORDER BY %s ON CONFLICT DO NOTHING RETURNING %s), "
             "w AS MATERIALIZED (SELECT DISTINCT ON (%s) t.* FROM t "
             "JOIN k USING (%s) ORDER BY %s, event_time, usherd_line), "
             "i AS (INSERT INTO %s (%s) SELECT %s FROM w) "
             "SELECT t.usherd_slot, count(*) - count(w.usherd_line), "
             "count(CASE WHEN w.usherd_line IS NULL THEN %s END) FROM t "
             "LEFT JOIN w USING (usherd_line) GROUP BY 1",
             kind->kind, kind->version, kind->key_table, kind->key_columns,
             kind->key_columns, kind->key_columns, kind->key_columns,
             kind->key_columns, kind->key_columns, kind->key_columns,
             kind->table, kind->columns, kind->columns,
             kind->again ? kind->again : "NULL");

    rc = usherd_pg_query(f->pg, sql, 0, NULL, &res);

    if (rc != USHERD_OK) {
        return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
    }

    for (row = 0; row < usherd_pg_rows(res); row++) {
        losers = usherd_pg_number(res, row, 1);
        f->slots[usherd_pg_number(res, row, 0)]->losers += losers;
    }

    usherd_pg_free(res);

    return USHERD_OK;
}
