/*
 * flush_announce.c - when each slot was last announced, and which no longer
 * are.
 *
 * DESIGN
 *
 * An edge announces its slots in usher:slots until it has retired them, and
 * it retires one when its end entry was taken.  So a slot that PostgreSQL
 * calls live and nobody announces has lost its end: with its disk or by a
 * power cut; or PostgreSQL was set back further than edges retain, and what
 * it has forgotten cannot come again.  None of these heals by itself.
 *
 * Each process notes what it sees, once a minute; rows that another has in
 * its hands are noted by that one.  One of them tells.
 */


#include <string.h>

#include "flush.h"


static int usherd_announce_note(usherd_flush_t *f);
static int usherd_announce_silent(usherd_flush_t *f);


int
usherd_flush_announce(usherd_flush_t *f)
{
    int                  rc;
    unsigned             ours;
    const char          *values[1];
    usherd_pg_result_t  *res;

    rc = usherd_announce_note(f);
    if (rc != USHERD_OK) {
        return rc;
    }

    /* until twice more */

    values[0] = f->conf->owner;

    rc = usherd_pg_query(f->pg, "SELECT usher.lease_take('silent', $1, 150)",
                         1, values, &res);
    if (rc != USHERD_OK) {
        return rc;
    }

    ours = usherd_pg_value(res, 0, 0) != NULL;
    usherd_pg_free(res);

    if (!ours) {
        usherd_set(flush_slots_silent, 0);
        f->silent = 0;
        return USHERD_OK;
    }

    return usherd_announce_silent(f);
}


static int
usherd_announce_note(usherd_flush_t *f)
{
    int              rc;
    unsigned         i;
    const char      *values[1];
    usherd_array_t   ids;

    memset(&ids, 0, sizeof(usherd_array_t));

    for (i = 0; i < f->nslots; i++) {
        if (f->slots[i]->listed) {
            usherd_array_add(&ids, f->slots[i]->id);
        }
    }

    values[0] = usherd_array_end(&ids);

    /* later than now: the clock was ahead */

    rc = usherd_pg_query(f->pg,
             "UPDATE usher.journal SET announced_at = now() WHERE slot IN "
             "(SELECT slot FROM usher.journal WHERE slot = ANY ($1::uuid[]) "
             "AND (announced_at < now() - interval '30 seconds' "
             "OR announced_at > now()) FOR UPDATE SKIP LOCKED)", 1, values,
             NULL);

    usherd_array_free(&ids);

    return rc;
}


static int
usherd_announce_silent(usherd_flush_t *f)
{
    int                  rc;
    uint64_t             silent;
    usherd_pg_result_t  *res;

    rc = usherd_pg_query(f->pg, "SELECT count(*), min(replace(slot::text, "
                         "'-', '')) FROM usher.journal_silent", 0, NULL,
                         &res);
    if (rc != USHERD_OK) {
        return rc;
    }

    silent = usherd_pg_number(res, 0, 0);

    if (silent > f->silent) {
        usherd_log(USHERD_LOG_ALERT, "%llu live slots were not announced for "
                   "an hour, one is %s: their disk is gone, or PostgreSQL is "
                   "older than retain; see usherctl journal verify",
                   (unsigned long long) silent, usherd_pg_value(res, 0, 1));

    } else if (silent == 0 && f->silent > 0) {
        usherd_log(USHERD_LOG_INFO, "no live slot is silent any more");
    }

    usherd_set(flush_slots_silent, silent);
    f->silent = silent;

    usherd_pg_free(res);

    return USHERD_OK;
}
