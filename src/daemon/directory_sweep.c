
/*
 * directory_sweep.c - whether each record still is in Redis.
 *
 * DESIGN
 *
 * A record that somebody deleted by hand is a key that does not exist, to
 * every edge that does not hold it; no edge can know better, and no change
 * would ever write it again.  So each second a page of ids, in the order of
 * their index, is looked for in Redis, over and over: a million keys take a
 * quarter of an hour.  What is missing goes through the outbox like any change,
 * so that edges forget that they did not find it.
 *
 * What waits in the outbox is not missing: a key and its row there are of one
 * transaction, and nobody but us takes it out.
 *
 * A Redis that evicts loses records each second: the log has the first ones,
 * and the end, which is a turn over all kinds that has found nothing.
 */


#include <stdio.h>
#include <string.h>

#include "directory.h"


#define USHERD_DIRECTORY_SWEEP  1000      /* msec */


static int usherd_sweep_look(usherd_directory_t *d, const char *kind,
    usherd_pg_result_t *ids);
static int usherd_sweep_missing(usherd_directory_t *d, const char *kind,
    usherd_pg_result_t *ids, const usherd_reply_t *missing);
static void usherd_sweep_found(usherd_directory_t *d, const char *kind,
    uint64_t n);
static void usherd_sweep_turned(usherd_directory_t *d);


int
usherd_directory_sweep(usherd_directory_t *d)
{
    int                  rc;
    unsigned             n;
    const char          *kind, *values[2];
    usherd_pg_result_t  *ids;

    if (usherd_now() < d->sweep_at) {
        return USHERD_OK;
    }

    d->sweep_at = usherd_now() + USHERD_DIRECTORY_SWEEP;

    kind = usherd_directory_kinds[d->sweep_kind];
    values[0] = kind;
    values[1] = d->sweep_after[0] ? d->sweep_after : NULL;

    rc = usherd_pg_query(d->pg, "SELECT i FROM usher.directory_page($1, $2) i",
                         2, values, &ids);
    if (rc != USHERD_OK) {
        return rc;
    }

    n = usherd_pg_rows(ids);

    if (n == 0) {
        d->sweep_kind = (d->sweep_kind + 1) % USHERD_DIRECTORY_NKINDS;
        d->sweep_after[0] = '\0';

        if (d->sweep_kind == 0) {
            usherd_sweep_turned(d);
        }

    } else {
        rc = usherd_sweep_look(d, kind, ids);
    }

    if (n > 0 && rc == USHERD_OK) {
        snprintf(d->sweep_after, sizeof(d->sweep_after), "%s",
                 usherd_pg_value(ids, n - 1, 0));
    }

    usherd_pg_free(ids);

    return rc;
}


static int
usherd_sweep_look(usherd_directory_t *d, const char *kind,
    usherd_pg_result_t *ids)
{
    int              rc;
    unsigned         i;
    usherd_reply_t  *missing;
    usherd_words_t  *words;

    words = &d->words;

    usherd_script_start(d, usherd_pg_rows(ids) + 1);
    usherd_words_add(words, USHER_NONCE, sizeof(USHER_NONCE) - 1);

    for (i = 0; i < usherd_pg_rows(ids); i++) {
        usherd_words_key(words, kind, usherd_pg_value(ids, i, 0));
    }

    usherd_words_add(words, d->last_nonce, strlen(d->last_nonce));
    usherd_words_add(words, d->nonce, strlen(d->nonce));

    rc = usherd_script_call(d, USHERD_SCRIPT_SWEEP, &missing);

    if (rc == USHERD_DIRECTORY_REFUSED) {

        /* that holds nothing else up; what is missing is not known */

        d->found = 1;
        return USHERD_OK;
    }

    if (rc != USHERD_OK) {
        return rc;
    }

    usherd_script_taken(d, 1u << USHERD_SCRIPT_SWEEP);

    if (usherd_reply_count(missing) > 0) {
        rc = usherd_sweep_missing(d, kind, ids, missing);
    }

    usherd_reply_free(missing);

    return rc;
}


static int
usherd_sweep_missing(usherd_directory_t *d, const char *kind,
    usherd_pg_result_t *ids, const usherd_reply_t *missing)
{
    int                  rc;
    unsigned             i, row;
    const char          *values[2];
    usherd_pg_result_t  *result;

    d->text.len = 0;

    for (i = 0; i < usherd_reply_count(missing); i++) {
        row = (unsigned) usherd_reply_integer(usherd_reply_at(missing, i));
        usherd_directory_element(d, usherd_pg_value(ids, row, 0));
    }

    usherd_bytes_add(&d->text, "}", 1);

    values[0] = kind;
    values[1] = d->text.data;

    rc = usherd_pg_query(d->pg,
        "INSERT INTO usher.directory_outbox (kind, ids, urgent, inserted) "
        "SELECT $1, array_agg(i), false, false FROM unnest($2::text[]) i "
        "WHERE i NOT IN (SELECT unnest(o.ids) FROM usher.directory_outbox o "
                        "WHERE o.kind = $1) "
        "HAVING count(*) > 0 RETURNING cardinality(ids)",
        2, values, &result);

    if (rc != USHERD_OK) {
        return rc;
    }

    if (usherd_pg_rows(result) == 1) {
        usherd_sweep_found(d, kind, usherd_pg_number(result, 0, 0));
    }

    usherd_pg_free(result);

    return USHERD_OK;
}


static void
usherd_sweep_found(usherd_directory_t *d, const char *kind, uint64_t n)
{
    usherd_add(directory_missing, n);

    if (d->missing == 0) {
        usherd_log(USHERD_LOG_WARN, "%llu records of kind %s were missing in "
                   "Redis: written again, like all that are found missing "
                   "until none is", (unsigned long long) n, kind);
    }

    d->missing += n;
    d->found = 1;
}


/* All kinds have been looked through. */

static void
usherd_sweep_turned(usherd_directory_t *d)
{
    if (d->missing > 0 && !d->found) {
        usherd_log(USHERD_LOG_INFO, "no record is missing in Redis any more: "
                   "%llu were written again", (unsigned long long) d->missing);
        d->missing = 0;
    }

    d->found = 0;
}
