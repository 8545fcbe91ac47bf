
/*
 * directory_rebuild.c - whether Redis is what PostgreSQL thinks, and what is
 * done when it is not.
 *
 * DESIGN
 *
 * The decision is made under the lock of usher.directory_state: the new
 * lineage and its nonce are committed there first.  Then usher:d:ready goes
 * (edges: "cannot know"), every record goes, all records are written from the
 * tables with the new lineage, and at the very end one script sets nonce and
 * ready.  A crash on the way leaves Redis without the nonce, so that the next
 * start decides the same again, with another lineage.
 *
 * Two that rebuild at once (a lease that ended too early) are told apart by
 * usher:d:building: the later one wins, the other's scripts are refused.  It
 * begins only where Redis is as it was when that was decided: one who decided
 * and slept takes nothing away from one who is done.
 *
 * Whoever finds that all fits notes the number of the last change, if a
 * rebuild, or a heartbeat after changes were lost, has not: a Redis that has a
 * lower one is older than what edges have read.
 *
 * Redis and PostgreSQL may have been restored together, to one moment: they
 * agree, and edges have read further.  Redis was started then, and that is all
 * that can be seen of it; so with each start of Redis more numbers are left
 * out than there ever are changes after a backup.
 *
 * Changes that come meanwhile wait in the outbox and are projected after it,
 * with higher versions.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "directory.h"


#define USHERD_DIRECTORY_LEAP  "1000000000"


static int usherd_directory_compare(usherd_directory_t *d, char version[24],
    usherd_reply_t **was);
static int usherd_directory_fits(usherd_directory_t *d,
    const usherd_reply_t *was, const char **why, uint64_t *number);
static int usherd_directory_note(usherd_directory_t *d, uint64_t number);
static int usherd_directory_anew(usherd_directory_t *d, uint64_t *number);
static int usherd_directory_begin(usherd_directory_t *d, const char *why,
    char version[24]);
static int usherd_directory_rebuild(usherd_directory_t *d,
    const char *version, const usherd_reply_t *was);
static int usherd_directory_announced(usherd_directory_t *d,
    const usherd_reply_t *was);
static int usherd_directory_clear(usherd_directory_t *d);
static int usherd_directory_unlink(usherd_directory_t *d,
    const usherd_reply_t *keys);
static int usherd_directory_fill(usherd_directory_t *d, const char *kind,
    const char *version, uint64_t *written);
static int usherd_directory_fetch(usherd_directory_t *d, unsigned *n);
static int usherd_directory_chunk(usherd_directory_t *d, const char *kind,
    const char *version);
static int usherd_directory_ready(usherd_directory_t *d);


int
usherd_directory_verify(usherd_directory_t *d)
{
    int              rc;
    char             version[24];
    usherd_reply_t  *was;

    was = NULL;

    rc = usherd_directory_compare(d, version, &was);

    if (rc == USHERD_OK) {
        d->verified = 1;
        d->renewing = 0;

    } else if (rc == USHERD_DIRECTORY_LINEAGE) {
        rc = usherd_directory_rebuild(d, version, was);

        if (rc == USHERD_DIRECTORY_LINEAGE) {

            /* someone else began after us */

            d->writer = 0;
            rc = USHERD_DIRECTORY_DEPOSED;
        }
    }

    usherd_reply_free(was);

    return rc;
}


/* One transaction.  USHERD_DIRECTORY_LINEAGE: a new one was committed. */

static int
usherd_directory_compare(usherd_directory_t *d, char version[24],
    usherd_reply_t **was)
{
    int          rc;
    uint64_t     number;
    const char  *why;

    rc = usherd_pg_command(d->pg, "BEGIN");

    if (rc == USHERD_OK) {
        rc = usherd_directory_state(d);
    }

    if (rc == USHERD_OK) {
        rc = usherd_directory_seen(d, was);
    }

    if (rc != USHERD_OK) {
        return usherd_directory_rollback(d, rc);
    }

    if (usherd_directory_fits(d, *was, &why, &number)) {
        return usherd_directory_note(d, number);
    }

    return usherd_directory_begin(d, why, version);
}


static int
usherd_directory_fits(usherd_directory_t *d, const usherd_reply_t *was,
    const char **why, uint64_t *number)
{
    size_t       nlen, rlen;
    const char  *nonce, *ready;

    nonce = usherd_reply_text(usherd_reply_at(was, 0), &nlen);
    ready = usherd_reply_text(usherd_reply_at(was, 1), &rlen);

    if (d->lineage[0] == '\0' || d->nonce[0] == '\0') {
        *why = "PostgreSQL has none";

    } else if (nlen == 0 && rlen == 0) {
        *why = "Redis is empty";

    } else if (usherd_directory_known(d, nonce, nlen, number) == NULL) {
        *why = "Redis or PostgreSQL went back in time";

    } else if (rlen != USHERD_DIRECTORY_HEX - 1
               || memcmp(ready, d->lineage, rlen) != 0)
    {
        *why = "Redis is not of the present lineage";

    } else {
        return 1;
    }

    return 0;
}


/* Not of a batch under way: it notes its own, when all of it is written. */

static int
usherd_directory_note(usherd_directory_t *d, uint64_t number)
{
    int          rc;
    char         text[24];
    const char  *values[2];

    rc = USHERD_OK;

    if (d->anew) {
        rc = usherd_directory_anew(d, &number);

    } else if (number == d->change || strcmp(d->nonce, d->last_nonce) != 0) {
        return usherd_directory_rollback(d, USHERD_OK);
    }

    snprintf(text, sizeof(text), "%llu", (unsigned long long) number);
    values[0] = text;
    values[1] = d->run_id;

    if (rc == USHERD_OK) {
        rc = usherd_pg_query(d->pg, "UPDATE usher.directory_state "
                             "SET change_id = $1, run_id = $2",
                             2, values, NULL);
    }

    if (rc == USHERD_OK) {
        rc = usherd_pg_command(d->pg, "COMMIT");
    }

    if (rc != USHERD_OK) {
        return usherd_directory_rollback(d, rc);
    }

    d->change = number;

    return USHERD_OK;
}


/* Shows a gap to the edges.  It comes again if it is not noted. */

static int
usherd_directory_anew(usherd_directory_t *d, uint64_t *number)
{
    int              rc;
    usherd_reply_t  *reply;
    usherd_words_t  *words;

    words = &d->words;

    usherd_script_start(d, 2);
    usherd_words_add(words, USHER_NONCE, sizeof(USHER_NONCE) - 1);
    usherd_words_add(words, USHER_CHANGES, sizeof(USHER_CHANGES) - 1);
    usherd_words_add(words, d->lineage, strlen(d->lineage));
    usherd_words_add(words, d->last_nonce, strlen(d->last_nonce));
    usherd_words_add(words, d->nonce, strlen(d->nonce));
    usherd_words_add(words, USHERD_DIRECTORY_LEAP,
                     sizeof(USHERD_DIRECTORY_LEAP) - 1);

    rc = usherd_script_call(d, USHERD_SCRIPT_ANEW, &reply);

    if (rc == USHERD_DIRECTORY_LINEAGE) {

        /* since a moment: it is compared again */

        return USHERD_DIRECTORY_DEPOSED;
    }

    if (rc != USHERD_OK) {
        return rc;
    }

    *number = (uint64_t) usherd_reply_integer(reply);

    usherd_script_taken(d, 1u << USHERD_SCRIPT_ANEW);
    usherd_reply_free(reply);

    usherd_log(USHERD_LOG_INFO, "Redis was started anew, edges may have read "
               "more than it has: they ask for all records again");

    return USHERD_OK;
}


static int
usherd_directory_begin(usherd_directory_t *d, const char *why,
    char version[24])
{
    int                  rc;
    const char          *values[3];
    usherd_pg_result_t  *result;

    usherd_directory_nonce(d->lineage);
    usherd_directory_nonce(d->nonce);
    memcpy(d->last_nonce, d->nonce, sizeof(d->nonce));
    d->change = 0;

    values[0] = d->lineage;
    values[1] = d->nonce;
    values[2] = d->run_id;

    rc = usherd_pg_query(d->pg, "UPDATE usher.directory_state "
                         "SET lineage = $1, nonce = $2, last_nonce = $2, "
                         "change_id = 0, run_id = $3 "
                         "RETURNING nextval('usher.directory_version')",
                         3, values, &result);

    if (rc == USHERD_OK) {
        snprintf(version, 24, "%s", usherd_pg_value(result, 0, 0));
        usherd_pg_free(result);

        rc = usherd_pg_command(d->pg, "COMMIT");
    }

    if (rc != USHERD_OK) {
        return usherd_directory_rollback(d, rc);
    }

    /* where it fails each second, each time with another lineage */

    if (!d->renewing) {
        d->renewing = 1;
        usherd_log(USHERD_LOG_WARN, "a new lineage %s begins, since %s: all "
                   "records are written again", d->lineage, why);
    }

    return USHERD_DIRECTORY_LINEAGE;
}


static int
usherd_directory_rebuild(usherd_directory_t *d, const char *version,
    const usherd_reply_t *was)
{
    int       rc;
    unsigned  i;
    uint64_t  began, written;

    began = usherd_now();
    written = 0;

    rc = usherd_directory_announced(d, was);

    if (rc == USHERD_OK) {
        rc = usherd_directory_clear(d);
    }

    for (i = 0; rc == USHERD_OK && i < USHERD_DIRECTORY_NKINDS; i++) {
        rc = usherd_directory_fill(d, usherd_directory_kinds[i], version,
                                   &written);
    }

    if (rc == USHERD_OK) {
        rc = usherd_directory_ready(d);
    }

    if (rc == USHERD_OK) {
        usherd_script_taken(d, USHERD_SCRIPTS_REBUILD);
        usherd_count(directory_rebuilds);
        usherd_log(USHERD_LOG_INFO, "%llu records of lineage %s written in "
                   "%llu ms", (unsigned long long) written, d->lineage,
                   (unsigned long long) (usherd_now() - began));
    }

    return rc;
}


/* Edges: "cannot know", until it is ready. */

static int
usherd_directory_announced(usherd_directory_t *d, const usherd_reply_t *was)
{
    int              rc;
    size_t           len;
    unsigned         i;
    const char      *text;
    usherd_reply_t  *reply;
    usherd_words_t  *words;

    words = &d->words;

    usherd_script_start(d, 3);
    usherd_words_add(words, USHER_NONCE, sizeof(USHER_NONCE) - 1);
    usherd_words_add(words, USHER_READY, sizeof(USHER_READY) - 1);
    usherd_words_add(words, USHERD_DIRECTORY_BUILDING,
                     sizeof(USHERD_DIRECTORY_BUILDING) - 1);
    usherd_words_add(words, d->lineage, strlen(d->lineage));

    for (i = 0; i < 3; i++) {
        text = usherd_reply_text(usherd_reply_at(was, i), &len);
        usherd_words_add(words, text, len);
    }

    rc = usherd_script_call(d, USHERD_SCRIPT_BEGIN, &reply);

    if (rc == USHERD_OK) {
        usherd_reply_free(reply);
    }

    return rc;
}


/* Removes all records, those too that PostgreSQL does not have. */

static int
usherd_directory_clear(usherd_directory_t *d)
{
    int              rc;
    char             cursor[24];
    usherd_reply_t  *reply;

    memcpy(cursor, "0", 2);

    do {
        rc = usherd_directory_hold(d);

        if (rc != USHERD_OK) {
            return rc;
        }

        reply = usherd_redis_format(d->redis, "SCAN %s MATCH %s COUNT 1000",
                                    cursor, USHER_RECORD_PREFIX "*");
        if (reply == NULL) {
            return USHERD_LOST;
        }

        if (usherd_reply_count(reply) != 2) {
            rc = usherd_script_refused(d, USHERD_COMMAND_SCAN, reply);
            usherd_reply_free(reply);
            return rc;
        }

        snprintf(cursor, sizeof(cursor), "%s",
                 usherd_reply_text(usherd_reply_at(reply, 0), NULL));

        rc = usherd_directory_unlink(d, usherd_reply_at(reply, 1));

        usherd_reply_free(reply);

        if (rc != USHERD_OK) {
            return rc;
        }

    } while (strcmp(cursor, "0") != 0);

    return USHERD_OK;
}


static int
usherd_directory_unlink(usherd_directory_t *d, const usherd_reply_t *keys)
{
    int              rc;
    unsigned         i, n;
    size_t           len;
    const char      *key;
    usherd_reply_t  *reply;
    usherd_words_t  *words;

    words = &d->words;
    n = usherd_reply_count(keys);

    if (n == 0) {
        return USHERD_OK;
    }

    usherd_script_start(d, n + 1);
    usherd_words_add(words, USHERD_DIRECTORY_BUILDING,
                     sizeof(USHERD_DIRECTORY_BUILDING) - 1);

    for (i = 0; i < n; i++) {
        key = usherd_reply_text(usherd_reply_at(keys, i), &len);
        usherd_words_add(words, key, len);
    }

    usherd_words_add(words, d->lineage, strlen(d->lineage));

    rc = usherd_script_call(d, USHERD_SCRIPT_CLEAR, &reply);

    if (rc == USHERD_OK) {
        usherd_reply_free(reply);
    }

    return rc;
}


/* A cursor outside of transactions: a rebuild holds back no vacuum. */

static int
usherd_directory_fill(usherd_directory_t *d, const char *kind,
    const char *version, uint64_t *written)
{
    int       rc;
    char      sql[256];
    unsigned  n;

    snprintf(sql, sizeof(sql), "BEGIN; "
             "DECLARE directory_ids NO SCROLL CURSOR WITH HOLD FOR "
             "SELECT i FROM usher.directory_ids('%s') i; COMMIT", kind);

    rc = usherd_pg_command(d->pg, sql);

    if (rc != USHERD_OK) {
        return usherd_directory_rollback(d, rc);
    }

    while (rc == USHERD_OK) {
        rc = usherd_directory_hold(d);

        if (rc == USHERD_OK) {
            rc = usherd_directory_fetch(d, &n);
        }

        if (rc != USHERD_OK || n == 0) {
            break;
        }

        rc = usherd_directory_chunk(d, kind, version);
        *written += n;
    }

    /* also where it is Redis that is lost: the next rebuild opens it again */

    if (usherd_pg_command(d->pg, "CLOSE directory_ids") == USHERD_LOST) {
        return USHERD_LOST;
    }

    return rc;
}


/* The next ids, as an array in d->text. */

static int
usherd_directory_fetch(usherd_directory_t *d, unsigned *n)
{
    int                  rc;
    unsigned             i;
    usherd_pg_result_t  *result;

    rc = usherd_pg_query(d->pg, "FETCH 1000 FROM directory_ids", 0, NULL,
                         &result);
    if (rc != USHERD_OK) {
        return rc;
    }

    *n = usherd_pg_rows(result);
    d->text.len = 0;

    for (i = 0; i < *n; i++) {
        usherd_directory_element(d, usherd_pg_value(result, i, 0));
    }

    usherd_bytes_add(&d->text, "}", 1);

    usherd_pg_free(result);

    return USHERD_OK;
}


static int
usherd_directory_chunk(usherd_directory_t *d, const char *kind,
    const char *version)
{
    int                  rc;
    unsigned             i, n;
    const char          *values[2];
    usherd_reply_t      *reply;
    usherd_words_t      *words;
    usherd_pg_result_t  *records;

    values[0] = kind;
    values[1] = d->text.data;

    rc = usherd_pg_query(d->pg, "SELECT id, record::text "
                         "FROM usher.directory_records($1, $2::text[])",
                         2, values, &records);
    if (rc != USHERD_OK) {
        return rc;
    }

    n = usherd_pg_rows(records);
    words = &d->words;

    usherd_script_start(d, n + 1);
    usherd_words_add(words, USHERD_DIRECTORY_BUILDING,
                     sizeof(USHERD_DIRECTORY_BUILDING) - 1);

    for (i = 0; i < n; i++) {
        usherd_words_key(words, kind, usherd_pg_value(records, i, 0));
    }

    usherd_words_add(words, d->lineage, strlen(d->lineage));

    for (i = 0; i < n; i++) {
        usherd_words_record(words, version, d->lineage,
                            usherd_pg_value(records, i, 1));
    }

    usherd_pg_free(records);

    rc = usherd_script_call(d, USHERD_SCRIPT_FILL, &reply);

    if (rc != USHERD_OK) {
        return rc;
    }

    usherd_add(directory_records, n);
    usherd_reply_free(reply);

    return USHERD_OK;
}


static int
usherd_directory_ready(usherd_directory_t *d)
{
    int              rc;
    usherd_words_t  *words;
    usherd_reply_t  *reply;

    words = &d->words;

    usherd_script_start(d, 4);
    usherd_words_add(words, USHERD_DIRECTORY_BUILDING,
                     sizeof(USHERD_DIRECTORY_BUILDING) - 1);
    usherd_words_add(words, USHER_NONCE, sizeof(USHER_NONCE) - 1);
    usherd_words_add(words, USHER_READY, sizeof(USHER_READY) - 1);
    usherd_words_add(words, USHER_CHANGES, sizeof(USHER_CHANGES) - 1);
    usherd_words_add(words, d->lineage, strlen(d->lineage));
    usherd_words_add(words, d->nonce, strlen(d->nonce));
    usherd_words_add(words, USHERD_DIRECTORY_CHANGES,
                     sizeof(USHERD_DIRECTORY_CHANGES) - 1);

    rc = usherd_script_call(d, USHERD_SCRIPT_READY, &reply);

    if (rc == USHERD_OK) {
        snprintf(d->written, sizeof(d->written), "%s %llu", d->nonce,
                 (unsigned long long) usherd_reply_integer(reply));
        usherd_reply_free(reply);
    }

    return rc;
}
