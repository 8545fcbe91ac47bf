/*
 * keep.c - the duty that keeps the house: partitions ahead and away, closed
 * hours folded and their clicks counted, what falls due by time, parts without
 * event, old marks and leases.
 *
 * What is to be done is SQL, and this is its clock.  One keep works per
 * database, by a lease; the others wait for it.  Each function runs in a
 * transaction of its own: one that fails is told once and tried again at its
 * next time, and does not keep the others from running.
 */


#include <stdio.h>

#include "usherd.h"


typedef struct {
    const char  *sql;
    uint64_t     period;              /* msec */
    uint64_t     next;                /* msec */
    unsigned     failing:1;           /* already said so */
} usherd_keep_task_t;


static void usherd_keep_round(usherd_pg_t *pg);
static int usherd_keep_run(usherd_pg_t *pg, usherd_keep_task_t *task);


static usherd_keep_task_t  usherd_keep_tasks[] = {
    { "SELECT usher.keep_partitions()", 60000, 0, 0 },
    { "SELECT usher.keep_fold()", 10000, 0, 0 },
    { "SELECT usher.keep_clicks()", 10000, 0, 0 },
    { "SELECT usher.keep_due()", 10000, 0, 0 },
    { "SELECT usher.keep_parts()", 600000, 0, 0 },
    { "SELECT usher.keep_prune()", 60000, 0, 0 },
    { NULL, 0, 0, 0 }
};


void
usherd_keep(usherd_conf_t *conf)
{
    int           held, was;
    usherd_pg_t  *pg;

    was = 0;
    pg = usherd_pg_create(conf, "usherd keep");

    for ( ;; ) {
        usherd_pg_wait(pg);

        held = usherd_pg_lease(pg, conf, "keep", NULL);

        if (held == 1 && !was) {
            usherd_log(USHERD_LOG_INFO, "holds the lease");
        }

        if (held == 0 && was) {
            usherd_log(USHERD_LOG_INFO, "stands by, another holds the lease");
        }

        if (held >= 0) {
            was = held;
        }

        if (held == 1) {
            usherd_keep_round(pg);
        }

        if (held != USHERD_LOST) {
            (void) usherd_wait(-1, 1000);
        }
    }
}


static void
usherd_keep_round(usherd_pg_t *pg)
{
    uint64_t             now;
    usherd_keep_task_t  *task;

    for (task = usherd_keep_tasks; task->sql != NULL; task++) {

        now = usherd_now();

        if (now < task->next) {
            continue;
        }

        if (usherd_keep_run(pg, task) == USHERD_LOST) {
            return;
        }

        task->next = now + task->period;
    }
}


static int
usherd_keep_run(usherd_pg_t *pg, usherd_keep_task_t *task)
{
    int  rc;

    rc = usherd_pg_query(pg, task->sql, 0, NULL, NULL);

    if (rc == USHERD_OK) {
        usherd_count(keep_runs);

        if (task->failing) {
            usherd_log(USHERD_LOG_INFO, "\"%s\" works again", task->sql);
        }

        task->failing = 0;

        return USHERD_OK;
    }

    usherd_count(keep_errors);

    if (rc == USHERD_ERROR && !task->failing) {
        usherd_log(USHERD_LOG_ERROR, "\"%s\" failed: %s %s; trying again "
                   "every %llu s", task->sql, usherd_pg_sqlstate(pg),
                   usherd_pg_message(pg),
                   (unsigned long long) (task->period / 1000));
        task->failing = 1;
    }

    return rc;
}
