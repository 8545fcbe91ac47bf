
/*
 * directory_batch.c - one batch of the outbox into Redis.
 *
 * DESIGN
 *
 * Two transactions around one script, so that a crash anywhere leaves Redis
 * with a nonce that PostgreSQL knows, and a restore of either never does:
 *
 *     1. choose the rows, draw the version, announce a new nonce:
 *        (nonce, last_nonce) := (new, what Redis has).  COMMIT
 *     2. lock the state again, read the records, run the script (Redis: what
 *        it has -> new), delete the rows, last_nonce := new.  COMMIT
 *
 * Between the commits Redis may have either of the two; after the second one
 * only the new.  A backup of PostgreSQL that knows the nonce also has the
 * rows of its batch; one that is older does not know the nonce.  A Redis that
 * lost a batch has a nonce that is no longer known.
 *
 * The version is drawn when the rows are known and before the records are
 * read, and writers follow each other by the lock on the state: a record of a
 * higher version never carries older data.
 *
 * The second commit does not wait for the disk: losing it repeats the batch.
 *
 * Urgency.  A batch is either some short rows or one long one, which is
 * written in slices, each read and written for itself under the batch's
 * version and nonce.  Between two slices it is looked for urgent rows; if
 * there are any, the batch ends there and its row keeps the ids that are left.
 * So what was taken away waits for one slice, however much is being changed.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "directory.h"


#define USHERD_DIRECTORY_SKIP  "1000"    /* more entries than a batch has */


/* A change entry in the making. */
typedef struct {
    usherd_bytes_t   ids;
    unsigned         n;
} usherd_directory_entry_t;


static int usherd_directory_choose(usherd_directory_t *d,
    char version[24], unsigned *more);
static int usherd_directory_rows(usherd_directory_t *d, unsigned *more);
static int usherd_directory_redis_nonce(usherd_directory_t *d);
static int usherd_directory_announce(usherd_directory_t *d,
    char version[24]);
static int usherd_directory_project(usherd_directory_t *d,
    const char *version, unsigned *more);
static int usherd_directory_length(usherd_directory_t *d);
static int usherd_directory_slice(usherd_directory_t *d, const char *version,
    uint64_t *change);
static int usherd_directory_yields(usherd_directory_t *d, unsigned *yields);
static int usherd_directory_read(usherd_directory_t *d,
    usherd_pg_result_t *records[USHERD_DIRECTORY_NKINDS]);
static int usherd_directory_write(usherd_directory_t *d, const char *version,
    usherd_pg_result_t *records[USHERD_DIRECTORY_NKINDS], uint64_t *change);
static void usherd_directory_changes(usherd_directory_t *d, const char *kind,
    usherd_pg_result_t *records);
static void usherd_directory_change(usherd_directory_t *d, const char *kind,
    usherd_directory_entry_t *entry, const char *urgent);
static int usherd_directory_done(usherd_directory_t *d, uint64_t change);
static int usherd_directory_shorten(usherd_directory_t *d);


/*
 * To count the ids of a long row is to read it whole, from where PostgreSQL
 * keeps what is long: it counts as one that has a batch of its own.
 */
static const char  usherd_directory_outbox[] =
    "SELECT id, urgent::int, "
           "CASE WHEN pg_column_size(ids) < 2000 THEN cardinality(ids) "
                "ELSE 1000 END, kind "
    "FROM usher.directory_outbox "
    "WHERE " USHERD_DIRECTORY_KNOWN " "
    "ORDER BY urgent DESC, id LIMIT 100 FOR UPDATE SKIP LOCKED";


int
usherd_directory_batch(usherd_directory_t *d, unsigned *more)
{
    int   rc;
    char  version[24];

    *more = 0;

    rc = usherd_pg_command(d->pg, "BEGIN");

    if (rc != USHERD_OK) {
        return rc;
    }

    rc = usherd_directory_choose(d, version, more);

    if (rc == USHERD_OK && d->text.len == 0) {
        return usherd_directory_rollback(d, USHERD_OK);
    }

    if (rc == USHERD_OK) {
        rc = usherd_pg_command(d->pg, "COMMIT");
    }

    if (rc != USHERD_OK) {
        return usherd_directory_rollback(d, rc);
    }

    rc = usherd_pg_command(d->pg,
                           "BEGIN; SET LOCAL synchronous_commit = off");

    if (rc == USHERD_OK) {
        rc = usherd_directory_project(d, version, more);
    }

    if (rc == USHERD_OK) {
        rc = usherd_pg_command(d->pg, "COMMIT");
    }

    if (rc != USHERD_OK) {
        return usherd_directory_rollback(d, rc);
    }

    memcpy(d->last_nonce, d->nonce, sizeof(d->nonce));
    usherd_script_taken(d, 1u << USHERD_SCRIPT_PROJECT);
    usherd_count(directory_batches);

    return USHERD_OK;
}


/*
 * The first transaction.  Leaves the ids of the rows as an array in d->text;
 * empty if there are none.
 */
static int
usherd_directory_choose(usherd_directory_t *d, char version[24],
    unsigned *more)
{
    int  rc;

    rc = usherd_directory_state(d);

    if (rc != USHERD_OK) {
        return rc;
    }

    rc = usherd_directory_rows(d, more);

    if (rc != USHERD_OK || d->text.len == 0) {
        return rc;
    }

    rc = usherd_directory_redis_nonce(d);

    if (rc != USHERD_OK) {
        return rc;
    }

    return usherd_directory_announce(d, version);
}


/* What takes something away goes first and alone. */

static int
usherd_directory_rows(usherd_directory_t *d, unsigned *more)
{
    int                  rc;
    unsigned             i, k, n;
    uint64_t             ids, urgent;
    const char          *id;
    usherd_pg_result_t  *result;

    d->text.len = 0;
    d->kinds = 0;

    rc = usherd_pg_query(d->pg, usherd_directory_outbox, 0, NULL, &result);

    if (rc != USHERD_OK) {
        return rc;
    }

    n = usherd_pg_rows(result);
    ids = 0;
    urgent = n ? usherd_pg_number(result, 0, 1) : 0;
    d->urgent = (urgent != 0);

    for (i = 0; i < n; i++) {
        if (i > 0 && (ids + usherd_pg_number(result, i, 2)
                      > USHERD_DIRECTORY_SLICE
                      || usherd_pg_number(result, i, 1) != urgent))
        {
            break;
        }

        ids += usherd_pg_number(result, i, 2);

        for (k = 0; k < USHERD_DIRECTORY_NKINDS; k++) {
            if (strcmp(usherd_pg_value(result, i, 3),
                       usherd_directory_kinds[k])
                == 0)
            {
                d->kinds |= 1u << k;
            }
        }

        id = usherd_pg_value(result, i, 0);

        usherd_bytes_add(&d->text, i ? "," : "{", 1);
        usherd_bytes_add(&d->text, id, strlen(id));
    }

    if (n > 0) {
        usherd_bytes_add(&d->text, "}", 1);
    }

    /* the length of a long row is looked up when it is projected */

    d->length = (unsigned) ids;
    *more = (i < n || n == USHERD_DIRECTORY_ROWS);

    usherd_pg_free(result);

    return USHERD_OK;
}


/* Reads what Redis has; it must be one of the two that it may have. */

static int
usherd_directory_redis_nonce(usherd_directory_t *d)
{
    int              rc;
    size_t           len;
    const char      *text, *known;
    usherd_reply_t  *reply;

    rc = usherd_directory_seen(d, &reply);

    if (rc != USHERD_OK) {
        return rc;
    }

    text = usherd_reply_text(usherd_reply_at(reply, 0), &len);
    known = usherd_directory_known(d, text, len, NULL);
    rc = (known != NULL) ? USHERD_OK : USHERD_DIRECTORY_LINEAGE;

    /*
     * Edges may have seen more of such a batch than Redis has now; not where
     * Redis is as its answer to us said: our own batch fails again and again.
     */

    d->unseen = (strcmp(d->nonce, d->last_nonce) != 0
                 && strcmp(d->written, text) != 0);

    if (known == d->nonce) {
        memcpy(d->last_nonce, d->nonce, sizeof(d->nonce));
    }

    usherd_reply_free(reply);

    return rc;
}


/* Also draws the version: the rows are known, the records not yet read. */

static int
usherd_directory_announce(usherd_directory_t *d, char version[24])
{
    int                  rc;
    const char          *values[2];
    usherd_pg_result_t  *result;

    usherd_directory_nonce(d->nonce);

    values[0] = d->nonce;
    values[1] = d->last_nonce;

    rc = usherd_pg_query(d->pg, "UPDATE usher.directory_state "
                         "SET nonce = $1, last_nonce = $2 "
                         "RETURNING nextval('usher.directory_version')",
                         2, values, &result);
    if (rc != USHERD_OK) {
        return rc;
    }

    snprintf(version, 24, "%s", usherd_pg_value(result, 0, 0));
    usherd_pg_free(result);

    return USHERD_OK;
}


/* The second transaction. */

static int
usherd_directory_project(usherd_directory_t *d, const char *version,
    unsigned *more)
{
    int       rc;
    char      nonce[USHERD_DIRECTORY_HEX];
    unsigned  yields;
    uint64_t  change;

    memcpy(nonce, d->nonce, sizeof(nonce));

    rc = usherd_directory_state(d);

    if (rc != USHERD_OK) {
        return rc;
    }

    if (strcmp(nonce, d->nonce) != 0) {
        return USHERD_DIRECTORY_LINEAGE;
    }

    rc = usherd_directory_length(d);

    if (rc != USHERD_OK) {
        return rc;
    }

    d->done = 0;
    change = d->change;

    for ( ;; ) {
        rc = usherd_directory_slice(d, version, &change);

        if (rc != USHERD_OK) {
            return rc;
        }

        d->done += USHERD_DIRECTORY_SLICE;

        if (d->done >= d->length) {
            break;
        }

        rc = usherd_directory_yields(d, &yields);

        if (rc != USHERD_OK) {
            return rc;
        }

        if (yields) {
            *more = 1;
            break;
        }
    }

    rc = usherd_directory_done(d, change);

    if (rc == USHERD_OK) {
        d->change = change;
    }

    return rc;
}


/* Counts the ids of a long row. */

static int
usherd_directory_length(usherd_directory_t *d)
{
    int                  rc;
    const char          *values[1];
    usherd_pg_result_t  *result;

    if (d->length <= USHERD_DIRECTORY_SLICE) {
        return USHERD_OK;
    }

    values[0] = d->text.data;

    rc = usherd_pg_query(d->pg, "SELECT max(cardinality(ids)) "
                         "FROM usher.directory_outbox "
                         "WHERE id = ANY ($1::bigint[])",
                         1, values, &result);
    if (rc != USHERD_OK) {
        return rc;
    }

    d->length = (unsigned) usherd_pg_number(result, 0, 0);
    usherd_pg_free(result);

    return USHERD_OK;
}


static int
usherd_directory_slice(usherd_directory_t *d, const char *version,
    uint64_t *change)
{
    int                  rc;
    unsigned             i;
    usherd_pg_result_t  *records[USHERD_DIRECTORY_NKINDS];

    memset(records, 0, sizeof(records));

    rc = usherd_directory_read(d, records);

    if (rc == USHERD_OK) {
        rc = usherd_directory_write(d, version, records, change);
    }

    for (i = 0; i < USHERD_DIRECTORY_NKINDS; i++) {
        usherd_pg_free(records[i]);
    }

    return rc;
}


/* Whether something urgent has come meanwhile. */

static int
usherd_directory_yields(usherd_directory_t *d, unsigned *yields)
{
    int                  rc;
    usherd_pg_result_t  *result;

    *yields = 0;

    if (d->urgent) {
        return USHERD_OK;
    }

    rc = usherd_pg_query(d->pg, "SELECT 1 FROM usher.directory_outbox "
                         "WHERE urgent AND " USHERD_DIRECTORY_KNOWN " LIMIT 1",
                         0, NULL, &result);
    if (rc != USHERD_OK) {
        return rc;
    }

    *yields = usherd_pg_rows(result);
    usherd_pg_free(result);

    return USHERD_OK;
}


/* The slice after what is done. */

static int
usherd_directory_read(usherd_directory_t *d,
    usherd_pg_result_t *records[USHERD_DIRECTORY_NKINDS])
{
    int          rc;
    char         from[16], to[16];
    unsigned     i;
    const char  *values[4];

    snprintf(from, sizeof(from), "%u", d->done + 1);
    snprintf(to, sizeof(to), "%u", d->done + USHERD_DIRECTORY_SLICE);

    values[1] = d->text.data;
    values[2] = from;
    values[3] = to;

    for (i = 0; i < USHERD_DIRECTORY_NKINDS; i++) {
        if (!(d->kinds & (1u << i))) {
            continue;
        }

        values[0] = usherd_directory_kinds[i];

        rc = usherd_pg_query(d->pg, "SELECT id, urgent, inserted, record "
                             "FROM usher.directory_slice($1, $2::bigint[], "
                             "$3::int, $4::int)",
                             4, values, &records[i]);

        if (rc != USHERD_OK) {
            return rc;
        }
    }

    return USHERD_OK;
}


static int
usherd_directory_write(usherd_directory_t *d, const char *version,
    usherd_pg_result_t *records[USHERD_DIRECTORY_NKINDS], uint64_t *change)
{
    int              rc;
    unsigned         i, k, n;
    usherd_reply_t  *reply;
    usherd_words_t  *words;

    n = 0;

    for (k = 0; k < USHERD_DIRECTORY_NKINDS; k++) {
        n += usherd_pg_rows(records[k]);
    }

    words = &d->words;

    usherd_script_start(d, n + 2);
    usherd_words_add(words, USHER_NONCE, sizeof(USHER_NONCE) - 1);
    usherd_words_add(words, USHER_CHANGES, sizeof(USHER_CHANGES) - 1);

    for (k = 0; k < USHERD_DIRECTORY_NKINDS; k++) {
        for (i = 0; i < usherd_pg_rows(records[k]); i++) {
            usherd_words_key(words, usherd_directory_kinds[k],
                             usherd_pg_value(records[k], i, 0));
        }
    }

    usherd_words_add(words, d->lineage, strlen(d->lineage));
    usherd_words_add(words, d->last_nonce, strlen(d->last_nonce));
    usherd_words_add(words, d->nonce, strlen(d->nonce));
    usherd_words_add(words, version, strlen(version));
    usherd_words_add(words, USHERD_DIRECTORY_CHANGES,
                     sizeof(USHERD_DIRECTORY_CHANGES) - 1);
    usherd_words_add(words, d->unseen ? USHERD_DIRECTORY_SKIP : "0",
                     d->unseen ? sizeof(USHERD_DIRECTORY_SKIP) - 1 : 1);

    for (k = 0; k < USHERD_DIRECTORY_NKINDS; k++) {
        for (i = 0; i < usherd_pg_rows(records[k]); i++) {
            usherd_words_record(words, version, d->lineage,
                                usherd_pg_value(records[k], i, 3));
        }
    }

    for (k = 0; k < USHERD_DIRECTORY_NKINDS; k++) {
        usherd_directory_changes(d, usherd_directory_kinds[k], records[k]);
    }

    rc = usherd_script_call(d, USHERD_SCRIPT_PROJECT, &reply);

    if (rc != USHERD_OK) {
        return rc;
    }

    usherd_add(directory_records,
               (uint64_t) usherd_reply_integer(usherd_reply_at(reply, 0)));
    usherd_add(directory_refused,
               (uint64_t) usherd_reply_integer(usherd_reply_at(reply, 1)));
    *change = (uint64_t) usherd_reply_integer(usherd_reply_at(reply, 2));
    d->unseen = 0;
    snprintf(d->written, sizeof(d->written), "%s %llu", d->nonce,
             (unsigned long long) *change);
    usherd_directory_lost(usherd_reply_at(reply, 3));

    usherd_reply_free(reply);

    return USHERD_OK;
}


/* The change entries of one kind, four arguments each. */

static void
usherd_directory_changes(usherd_directory_t *d, const char *kind,
    usherd_pg_result_t *records)
{
    unsigned                   i, u, inserted;
    const char                *id;
    usherd_directory_entry_t  *entry, entries[2];

    memset(entries, 0, sizeof(entries));
    inserted = 0;

    for (i = 0; i < usherd_pg_rows(records); i++) {

        if (usherd_pg_number(records, i, 2)) {
            inserted = 1;
            continue;
        }

        u = usherd_pg_number(records, i, 1) ? 1 : 0;
        id = usherd_pg_value(records, i, 0);
        entry = &entries[u];

        if (entry->n > 0) {
            usherd_bytes_add(&entry->ids, " ", 1);
        }

        usherd_bytes_add(&entry->ids, id, strlen(id));
        entry->n++;

        if (entry->n == USHERD_DIRECTORY_IDS) {
            usherd_directory_change(d, kind, entry, u ? "1" : "0");
        }
    }

    usherd_directory_change(d, kind, &entries[1], "1");
    usherd_directory_change(d, kind, &entries[0], "0");

    if (inserted) {
        usherd_words_add(&d->words, kind, strlen(kind));
        usherd_words_add(&d->words, "n", 1);
        usherd_words_add(&d->words, "1", 1);
        usherd_words_add(&d->words, "0", 1);
    }

    free(entries[0].ids.data);
    free(entries[1].ids.data);
}


static void
usherd_directory_change(usherd_directory_t *d, const char *kind,
    usherd_directory_entry_t *entry, const char *urgent)
{
    if (entry->n == 0) {
        return;
    }

    usherd_words_add(&d->words, kind, strlen(kind));
    usherd_words_add(&d->words, "i", 1);
    usherd_words_add(&d->words, entry->ids.data, entry->ids.len);
    usherd_words_add(&d->words, urgent, 1);

    entry->ids.len = 0;
    entry->n = 0;
}


static int
usherd_directory_done(usherd_directory_t *d, uint64_t change)
{
    int                  rc;
    char                 text[24];
    const char          *values[1];
    usherd_pg_result_t  *result;

    snprintf(text, sizeof(text), "%llu", (unsigned long long) change);
    values[0] = text;

    rc = usherd_pg_query(d->pg, "UPDATE usher.directory_state "
                         "SET last_nonce = nonce, change_id = $1",
                         1, values, NULL);
    if (rc != USHERD_OK) {
        return rc;
    }

    if (d->done < d->length) {
        return usherd_directory_shorten(d);
    }

    values[0] = d->text.data;

    rc = usherd_pg_query(d->pg,
        "WITH done AS (DELETE FROM usher.directory_outbox "
            "WHERE id = ANY ($1::bigint[]) RETURNING created_at) "
        "SELECT greatest(0, ceil(1000 * extract(epoch FROM "
            "clock_timestamp() - min(created_at))))::bigint FROM done",
        1, values, &result);

    if (rc != USHERD_OK) {
        return rc;
    }

    usherd_lag(directory_lag_ms, usherd_pg_number(result, 0, 0));
    usherd_pg_free(result);

    return USHERD_OK;
}


/* What is left of a row whose batch made way. */

static int
usherd_directory_shorten(usherd_directory_t *d)
{
    char         from[16];
    const char  *values[2];

    snprintf(from, sizeof(from), "%u", d->done + 1);

    values[0] = d->text.data;
    values[1] = from;

    return usherd_pg_query(d->pg, "UPDATE usher.directory_outbox "
                           "SET ids = ids[$2::int : ] "
                           "WHERE id = ANY ($1::bigint[])",
                           2, values, NULL);
}
