/*
 * react.c - the duty that does what follows from events.
 *
 * What is to be done lies in usher.todo, and how it is done is SQL
 * (sql/043_react.sql); this is its clock.  NOTIFY wakes it, and it looks by
 * itself twice a second, which is the guarantee.  Nothing is kept here
 * between two calls, so it may die at any moment, and any number of it may
 * run: each takes what no other has locked.
 */


#include <stdio.h>
#include <string.h>

#include "usherd.h"


#define USHERD_REACT_ITEMS  "100"     /* a transaction */
#define USHERD_REACT_POLL   500       /* msec */
#define USHERD_REACT_STATE  5000      /* msec */
#define USHERD_REACT_PAUSE  1000      /* msec, after an error */


typedef struct {
    usherd_pg_t  *pg;
    uint64_t      generation;
    uint64_t      polled;             /* msec: when it last found no more */
    uint64_t      state;              /* msec: when state is due */
    unsigned      failing:1;          /* items: already said so */
    char          failed[6];          /* SQLSTATE of the call itself, said */
} usherd_react_t;


static int usherd_react_session(usherd_react_t *r);
static int usherd_react_round(usherd_react_t *r, unsigned *more);
static void usherd_react_said(usherd_react_t *r, uint64_t failed,
    uint64_t given_up, const char *why);
static int usherd_react_state(usherd_react_t *r);
static void usherd_react_failed(usherd_react_t *r);


void
usherd_react(usherd_conf_t *conf)
{
    usherd_react_t  r;

    memset(&r, 0, sizeof(usherd_react_t));

    r.pg = usherd_pg_create(conf, "usherd react");

    /* a restart is no news */

    if (usherd_self->caught == 0) {
        usherd_set(caught, usherd_now());
    }

    for ( ;; ) {
        usherd_pg_wait(r.pg);

        if (usherd_react_session(&r) == USHERD_ERROR) {
            usherd_react_failed(&r);
            (void) usherd_wait(-1, USHERD_REACT_PAUSE);
        }
    }
}


/* Works until something is wrong, and tells what. */

static int
usherd_react_session(usherd_react_t *r)
{
    int       rc;
    unsigned  more;

    if (r->generation != usherd_pg_generation(r->pg)) {
        rc = usherd_pg_command(r->pg, "LISTEN usher_react");

        if (rc != USHERD_OK) {
            return rc;
        }

        r->generation = usherd_pg_generation(r->pg);
    }

    for ( ;; ) {
        rc = usherd_react_round(r, &more);

        if (rc == USHERD_OK) {
            rc = usherd_react_state(r);
        }

        if (rc != USHERD_OK) {
            return rc;
        }

        if (r->failed[0] != '\0') {
            usherd_log(USHERD_LOG_INFO, "usher.react works again");
            r->failed[0] = '\0';
        }

        if (more) {
            continue;
        }

        r->polled = usherd_now();
        usherd_set(caught, r->polled);

        do {
            rc = usherd_pg_notified(r->pg, 100);
        } while (rc == 0 && usherd_now() - r->polled < USHERD_REACT_POLL);

        if (rc == USHERD_LOST) {
            return rc;
        }
    }
}


/* One transaction; *more: there may be more that is due. */

static int
usherd_react_round(usherd_react_t *r, unsigned *more)
{
    int                  rc;
    uint64_t             taken, failed;
    usherd_pg_result_t  *res;

    rc = usherd_pg_query(r->pg, "SELECT * FROM usher.react("
                         USHERD_REACT_ITEMS ")", 0, NULL, &res);

    if (rc != USHERD_OK) {
        return rc;
    }

    taken = usherd_pg_number(res, 0, 0);
    failed = usherd_pg_number(res, 0, 2);

    usherd_add(react_handled, usherd_pg_number(res, 0, 1));
    usherd_add(react_failures, failed);

    usherd_react_said(r, failed, usherd_pg_number(res, 0, 3),
                      usherd_pg_value(res, 0, 4));

    /* it ends early where it would take too long */

    *more = taken > 0;

    usherd_pg_free(res);

    return USHERD_OK;
}


/* Failures once, until all pass; what was given up each time. */

static void
usherd_react_said(usherd_react_t *r, uint64_t failed, uint64_t given_up,
    const char *why)
{
    if (failed > 0 && !r->failing) {
        usherd_log(USHERD_LOG_ERROR, "cannot do what follows from an event, "
                   "trying again later: %s; see usherctl todo list",
                   why != NULL ? why : "");
        r->failing = 1;
    }

    if (given_up > 0) {
        usherd_log(USHERD_LOG_ALERT, "%llu items failed for hours and are "
                   "given up, the last was %s; mend it, then usherctl todo "
                   "retry", (unsigned long long) given_up,
                   why != NULL ? why : "");
    }
}


static int
usherd_react_state(usherd_react_t *r)
{
    int                  rc;
    uint64_t             now;
    usherd_pg_result_t  *res;

    now = usherd_now();

    if (now < r->state) {
        return USHERD_OK;
    }

    rc = usherd_pg_query(r->pg, "SELECT * FROM usher.react_state()", 0, NULL,
                         &res);

    if (rc != USHERD_OK) {
        return rc;
    }

    usherd_set(react_waiting, usherd_pg_number(res, 0, 0));
    usherd_set(react_failing, usherd_pg_number(res, 0, 1));
    usherd_set(react_given_up, usherd_pg_number(res, 0, 2));
    usherd_lag(react_lag_ms, usherd_pg_number(res, 0, 3));

    if (r->failing && usherd_self->react_failing == 0) {
        usherd_log(USHERD_LOG_INFO, "no item waits to be tried again");
        r->failing = 0;
    }

    usherd_pg_free(res);

    r->state = now + USHERD_REACT_STATE;

    return USHERD_OK;
}


/* Of the call as a whole; once, until it passes or it is something else. */

static void
usherd_react_failed(usherd_react_t *r)
{
    usherd_count(react_errors);

    if (strcmp(r->failed, usherd_pg_sqlstate(r->pg)) == 0) {
        return;
    }

    snprintf(r->failed, sizeof(r->failed), "%s", usherd_pg_sqlstate(r->pg));

    usherd_log(USHERD_LOG_ERROR, "usher.react failed, trying again each "
               "second: %s %s", r->failed, usherd_pg_message(r->pg));
}
