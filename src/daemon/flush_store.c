/*
 * flush_store.c - a batch becomes rows, in one transaction.
 *
 * DESIGN
 *
 *     BEGIN
 *     COPY per kind                    tags have to add up to the lines
 *     COPY the sums                    the row of usage_close locked FOR SHARE
 *     gaps
 *     positions, WHERE position = old  one row per slot, or ROLLBACK
 *     marks                            positions within the batch
 *     COMMIT
 *
 * A failure of class 22 or 23 is a row's: the batch is then stored slot by
 * slot, the careful way.  Classes that pass are tried again from the start,
 * with positions read anew.  Anything else is nobody's to guess: slot by
 * slot too, so that one slot does not stop the others, said once and tried
 * again.  A COMMIT whose answer did not come is no failure: the position
 * tells.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "flush.h"


#define USHERD_FLUSH_TRIES  4         /* for missing partitions */


static int usherd_flush_all(usherd_flush_t *f);
static int usherd_flush_slots(usherd_flush_t *f);
static int usherd_flush_retry(usherd_flush_t *f, int rc);
static int usherd_flush_stop(usherd_flush_t *f, usherd_slot_t *slot, int rc);
static int usherd_flush_partition(usherd_flush_t *f);
static int usherd_flush_put(void *data, const char *line, size_t len);
static int usherd_flush_marks(usherd_flush_t *f, int slot);
static void usherd_flush_moved(usherd_flush_t *f, usherd_slot_t *slot);
static void usherd_flush_lag(usherd_flush_t *f, const char *last_event);


int
usherd_flush_store(usherd_flush_t *f)
{
    int       rc;
    unsigned  tries;

    for (tries = 0; /* void */ ; tries++) {

        rc = usherd_flush_all(f);

        if (rc == USHERD_OK || rc == USHERD_LOST) {
            break;
        }

        usherd_count(flush_rollbacks);

        if (usherd_pg_command(f->pg, "ROLLBACK") == USHERD_LOST) {
            return USHERD_LOST;
        }

        if (rc == USHERD_FLUSH_PARTITION && tries < USHERD_FLUSH_TRIES) {

            if (usherd_flush_partition(f) == USHERD_LOST) {
                return USHERD_LOST;
            }

            continue;
        }

        if (rc == USHERD_FLUSH_POISON || rc == USHERD_FLUSH_COUNT
            || rc == USHERD_ERROR)
        {
            rc = usherd_flush_slots(f);
        }

        break;
    }

    return usherd_flush_retry(f, rc);
}


/* Says once that storing fails, and once that it works again. */

static int
usherd_flush_retry(usherd_flush_t *f, int rc)
{
    if (rc == USHERD_OK) {

        if (f->failing) {
            usherd_log(USHERD_LOG_INFO, "storing again");
        }

        f->failing = 0;

        return USHERD_OK;
    }

    if (rc == USHERD_FLUSH_CONFLICT) {
        usherd_count(flush_conflicts);
        usherd_log(USHERD_LOG_WARN, "a position was moved by another flush, "
                   "reading it again");

    } else if (rc != USHERD_LOST && !f->failing) {
        usherd_log(rc == USHERD_FLUSH_RETRY ? USHERD_LOG_ERROR
                                            : USHERD_LOG_ALERT,
                   "cannot store: %s %s; nothing is lost, trying again until "
                   "it works", usherd_pg_sqlstate(f->pg),
                   usherd_pg_message(f->pg));
        f->failing = 1;
    }

    return rc;
}


static int
usherd_flush_all(usherd_flush_t *f)
{
    int       rc;
    size_t    i;
    unsigned  kind, kinds;

    rc = usherd_flush_run(f, "BEGIN");
    if (rc != USHERD_OK) {
        return rc;
    }

    kinds = 0;

    for (i = 0; i < f->nlines; i++) {
        kinds |= 1u << f->lines[i].kind;
    }

    /* what an attempt that failed has counted is not counted again */

    usherd_usage_reset(f->usage);

    for (i = 0; i < f->nslots; i++) {
        f->slots[i]->losers = 0;
        f->slots[i]->last_event[0] = '\0';
    }

    for (kind = 0; kind < f->nkinds; kind++) {

        if (!(kinds & (1u << kind))) {
            continue;
        }

        rc = usherd_flush_copy(f, kind, NULL, f->nlines);
        if (rc != USHERD_OK) {
            return rc;
        }
    }

    rc = usherd_flush_usage(f);
    if (rc != USHERD_OK) {
        return rc;
    }

    rc = usherd_flush_gaps(f, -1);
    if (rc != USHERD_OK) {
        return rc;
    }

    rc = usherd_flush_positions(f, -1);
    if (rc != USHERD_OK) {
        return rc;
    }

    return usherd_flush_commit(f, -1);
}


/* Slot by slot: what is wrong with one stays with it. */

static int
usherd_flush_slots(usherd_flush_t *f)
{
    int             rc, worst;
    unsigned        i, tries;
    usherd_slot_t  *slot;

    worst = USHERD_OK;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];

        for (tries = 0; usherd_flush_changed(slot); tries++) {

            rc = usherd_flush_careful(f, i);

            if (rc == USHERD_OK) {
                break;
            }

            if (rc == USHERD_LOST
                || usherd_pg_command(f->pg, "ROLLBACK") == USHERD_LOST)
            {
                return USHERD_LOST;
            }

            usherd_count(flush_rollbacks);

            if (rc == USHERD_FLUSH_PARTITION && tries < USHERD_FLUSH_TRIES) {

                if (usherd_flush_partition(f) == USHERD_LOST) {
                    return USHERD_LOST;
                }

                continue;
            }

            if (rc == USHERD_FLUSH_RETRY) {
                return rc;
            }

            if (rc == USHERD_FLUSH_POISON || rc == USHERD_FLUSH_COUNT) {
                rc = usherd_flush_stop(f, slot, rc);
            }

            if (rc != USHERD_FLUSH_STOP) {
                slot->loaded = 0;
                worst = rc;
            }

            slot->next = slot->position;
            slot->ended = 0;
        }
    }

    return worst;
}


/* No line was to blame: it would fail again for ever. */

static int
usherd_flush_stop(usherd_flush_t *f, usherd_slot_t *slot, int rc)
{
    if (rc == USHERD_FLUSH_COUNT) {
        usherd_flush_verdict(slot, USHERD_VERDICT_STOP,
                             "the sums are not stored as they were sent");
    } else {
        usherd_flush_verdict(slot, USHERD_VERDICT_STOP,
                             "what is said of its lines is refused: %s %s",
                             usherd_pg_sqlstate(f->pg),
                             usherd_pg_message(f->pg));
    }

    return USHERD_FLUSH_STOP;
}


int
usherd_flush_class(usherd_flush_t *f)
{
    unsigned            i;
    const char         *state;
    static const char  *passing[] = { "08", "40", "53", "55", "57", "58" };

    state = usherd_pg_sqlstate(f->pg);

    /* no partition: a check violation that names no constraint */

    if (strcmp(state, "23514") == 0
        && usherd_pg_constraint(f->pg)[0] == '\0'
        && usherd_pg_table(f->pg)[0] != '\0')
    {
        return USHERD_FLUSH_PARTITION;
    }

    if (memcmp(state, "22", 2) == 0 || memcmp(state, "23", 2) == 0) {
        return USHERD_FLUSH_POISON;
    }

    for (i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        if (memcmp(state, passing[i], 2) == 0) {
            return USHERD_FLUSH_RETRY;
        }
    }

    return USHERD_ERROR;
}


int
usherd_flush_run(usherd_flush_t *f, const char *sql)
{
    int  rc;

    rc = usherd_pg_command(f->pg, sql);

    return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
}


static int
usherd_flush_partition(usherd_flush_t *f)
{
    int          rc;
    char         table[64];
    const char  *values[1];

    snprintf(table, sizeof(table), "%s", usherd_pg_table(f->pg));
    values[0] = table;

    rc = usherd_pg_query(f->pg, "SELECT usher.partition_ensure($1, "
                         "(now() AT TIME ZONE 'UTC')::date)", 1, values,
                         NULL);

    if (rc == USHERD_OK) {
        usherd_count(flush_partitions);
        usherd_log(USHERD_LOG_WARN, "made today's partition of usher.%s: see "
                   "why keep did not", table);

    } else if (rc == USHERD_ERROR) {
        usherd_log(USHERD_LOG_ERROR, "cannot make today's partition of "
                   "usher.%s: %s; trying again", table,
                   usherd_pg_message(f->pg));
    }

    return rc;
}


int
usherd_flush_usage(usherd_flush_t *f)
{
    int                  rc;
    char                 closed[16], last[16];
    uint64_t             late, rows;
    const char          *value;
    usherd_pg_result_t  *res;

    if (usherd_usage_count(f->usage) == 0) {
        return USHERD_OK;
    }

    /* locked to the end: keep closes no hour under our hands */

    rc = usherd_pg_query(f->pg,
             "SELECT to_char(closed_until, 'YYYY-MM-DD HH24'), "
             "to_char(now() + interval '1 hour', 'YYYY-MM-DD HH24') "
             "FROM usher.usage_close FOR SHARE", 0, NULL, &res);

    if (rc != USHERD_OK) {
        return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
    }

    value = usherd_pg_rows(res) ? usherd_pg_value(res, 0, 0) : NULL;
    snprintf(closed, sizeof(closed), "%.13s", value != NULL ? value : "");

    value = usherd_pg_rows(res) ? usherd_pg_value(res, 0, 1) : NULL;
    snprintf(last, sizeof(last), "%.13s",
             value != NULL ? value : "9999-12-31 23");

    usherd_pg_free(res);

    rc = usherd_pg_copy_start(f->pg,
             "COPY usher.usage_delta (hour, key_id, route, status, org_id, "
             "requests, units, bytes_sent, duration_ms) FROM STDIN");

    if (rc == USHERD_OK) {
        late = 0;
        rc = usherd_usage_emit(f->usage, closed, last, &late,
                               usherd_flush_put, f);
        usherd_add(flush_late, late);
    }

    if (rc == USHERD_OK) {
        rc = usherd_flush_sent(f, &rows);
    }

    if (rc != USHERD_OK) {
        f->buffered = 0;
        return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
    }

    return rows == usherd_usage_count(f->usage) ? USHERD_OK
                                                : USHERD_FLUSH_COUNT;
}


static int
usherd_flush_put(void *data, const char *line, size_t len)
{
    return usherd_flush_send(data, line, len);
}


int
usherd_flush_gaps(usherd_flush_t *f, int slot)
{
    int            rc;
    char           from[24], to[24];
    unsigned       i;
    const char    *values[4];
    usherd_gap_t  *gap;

    for (i = 0; i < f->ngaps; i++) {
        gap = &f->gaps[i];

        if (slot != -1 && gap->slot != (unsigned) slot) {
            continue;
        }

        snprintf(from, sizeof(from), "%llu", (unsigned long long) gap->from);
        snprintf(to, sizeof(to), "%llu", (unsigned long long) gap->to);

        values[0] = f->slots[gap->slot]->id;
        values[1] = from;
        values[2] = to;
        values[3] = gap->reason;

        rc = usherd_pg_query(f->pg, "INSERT INTO usher.journal_gap (slot, "
                             "from_position, to_position, reason) "
                             "VALUES ($1, $2, $3, $4)", 4, values, NULL);

        if (rc != USHERD_OK) {
            return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
        }
    }

    return USHERD_OK;
}


int
usherd_flush_positions(usherd_flush_t *f, int slot)
{
    int                  rc;
    char                 time[USHER_EVENT_TIME + 3];
    unsigned             i, n;
    const char          *values[8];
    usherd_slot_t       *s;
    usherd_array_t       a[8];
    usherd_pg_result_t  *res;

    memset(a, 0, sizeof(a));
    n = 0;

    for (i = 0; i < f->nslots; i++) {
        s = f->slots[i];

        if (!usherd_flush_changed(s) || (slot != -1 && i != (unsigned) slot))
        {
            continue;
        }

        snprintf(time, sizeof(time), "\"%s\"", s->last_event);

        usherd_array_add(&a[0], s->id);
        usherd_array_number(&a[1], (int64_t) s->position);
        usherd_array_number(&a[2], (int64_t) s->next);
        usherd_array_number(&a[3], (int64_t) s->next_chain);
        usherd_array_number(&a[4], (int64_t) s->lines);
        usherd_array_number(&a[5], (int64_t) s->losers);
        usherd_array_add(&a[6], s->ended ? "ended" : "live");
        usherd_array_add(&a[7], s->last_event[0] ? time : "NULL");
        n++;
    }

    for (i = 0; i < 8; i++) {
        values[i] = usherd_array_end(&a[i]);
    }

    rc = usherd_pg_query(f->pg,
        "WITH moved AS (UPDATE usher.journal j SET position = u.position, "
        "chain = u.chain, rechain = j.rechain AND u.position = u.old, "
        "lines = j.lines + u.lines, losers = j.losers + u.losers, "
        "state = u.state, moved_at = now(), last_event = "
        "greatest(j.last_event, least(u.last_event, now())) "
        "FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], "
        "$5::bigint[], $6::bigint[], $7::text[], $8::timestamptz[]) AS "
        "u(slot, old, position, chain, lines, losers, state, last_event) "
        "WHERE j.slot = u.slot AND j.position = u.old "
        "AND j.state IN ('live', 'ended') "
        "RETURNING j.slot, j.position, j.chain), "
        "marked AS (INSERT INTO usher.journal_mark (slot, position, chain) "
        "SELECT slot, position, chain FROM moved ON CONFLICT DO NOTHING) "
        "SELECT count(*) FROM moved", 8, values, &res);

    for (i = 0; i < 8; i++) {
        usherd_array_free(&a[i]);
    }

    if (rc != USHERD_OK) {
        return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
    }

    rc = usherd_pg_number(res, 0, 0) == n ? USHERD_OK
                                          : USHERD_FLUSH_CONFLICT;
    usherd_pg_free(res);

    return rc == USHERD_OK ? usherd_flush_marks(f, slot) : rc;
}


/* Within the batch; the positions have left their own. */

static int
usherd_flush_marks(usherd_flush_t *f, int slot)
{
    int             rc;
    unsigned        i;
    const char     *values[3];
    usherd_mark_t  *mark;
    usherd_array_t  a[3];

    memset(a, 0, sizeof(a));

    for (i = 0; i < f->nmarks; i++) {
        mark = &f->marks[i];

        if (mark->position >= f->slots[mark->slot]->next
            || (slot != -1 && mark->slot != (unsigned) slot))
        {
            continue;
        }

        usherd_array_add(&a[0], f->slots[mark->slot]->id);
        usherd_array_number(&a[1], (int64_t) mark->position);
        usherd_array_number(&a[2], (int64_t) mark->chain);
    }

    if (a[0].len == 0) {
        return USHERD_OK;
    }

    for (i = 0; i < 3; i++) {
        values[i] = usherd_array_end(&a[i]);
    }

    rc = usherd_pg_query(f->pg,
        "INSERT INTO usher.journal_mark (slot, position, chain) "
        "SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) "
        "ON CONFLICT DO NOTHING", 3, values, NULL);

    for (i = 0; i < 3; i++) {
        usherd_array_free(&a[i]);
    }

    return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
}


int
usherd_flush_commit(usherd_flush_t *f, int slot)
{
    int             rc;
    unsigned        i;
    usherd_slot_t  *s;

    rc = usherd_flush_run(f, "COMMIT");
    if (rc != USHERD_OK) {
        return rc;
    }

    usherd_count(flush_transactions);

    for (i = 0; i < f->nslots; i++) {
        s = f->slots[i];

        if (usherd_flush_changed(s) && (slot == -1 || i == (unsigned) slot)) {
            usherd_flush_moved(f, s);
        }
    }

    for (i = 0; i < f->ngaps; i++) {

        if (slot != -1 && f->gaps[i].slot != (unsigned) slot) {
            continue;
        }

        usherd_count(flush_gaps);
        usherd_log(USHERD_LOG_ALERT, "slot %s lost %llu to %llu (%s): see "
                   "usherctl journal gaps", f->slots[f->gaps[i].slot]->id,
                   (unsigned long long) f->gaps[i].from,
                   (unsigned long long) f->gaps[i].to, f->gaps[i].reason);
    }

    return USHERD_OK;
}


static void
usherd_flush_moved(usherd_flush_t *f, usherd_slot_t *slot)
{
    usherd_add(flush_rows, slot->lines - slot->losers);
    usherd_add(flush_bytes, slot->next - slot->position);
    usherd_add(flush_duplicates, slot->losers);

    if (slot->ended) {
        usherd_log(USHERD_LOG_INFO, "slot %s has ended at %llu", slot->id,
                   (unsigned long long) slot->next);
        slot->state = USHERD_SLOT_ENDED;

    } else if (slot->state == USHERD_SLOT_ENDED) {
        usherd_log(USHERD_LOG_INFO, "slot %s goes on after its end at %llu",
                   slot->id, (unsigned long long) slot->position);
        slot->state = USHERD_SLOT_LIVE;
    }

    usherd_flush_lag(f, slot->last_event);

    slot->position = slot->next;
    slot->chain = slot->next_chain;
    slot->rechain = slot->next_rechain;
    slot->ended = 0;
    slot->stored = 1;
    slot->seen += slot->lines;
    slot->corrupt_at = 0;

    if (slot->seen > 1000000) {
        slot->seen /= 2;
        slot->poisoned /= 2;
    }

    f->changes--;
}


/* The batch's lag is that of the slot which is furthest behind. */

static void
usherd_flush_lag(usherd_flush_t *f, const char *last_event)
{
    struct tm        tm;
    struct timespec  now;
    int64_t          lag;

    memset(&tm, 0, sizeof(tm));

    if (last_event[0] == '\0'
        || strptime(last_event, "%Y-%m-%d %H:%M:%S", &tm) == NULL)
    {
        return;
    }

    clock_gettime(CLOCK_REALTIME, &now);

    lag = ((int64_t) now.tv_sec - (int64_t) timegm(&tm)) * 1000
          + now.tv_nsec / 1000000 - strtol(last_event + 20, NULL, 10);

    if (lag > (int64_t) f->lag) {
        f->lag = (uint64_t) lag;
    }

    usherd_lag(flush_lag_ms, f->lag);
}
