/*
 * usherd.h - what the files of the daemon share.
 *
 * DESIGN
 *
 * A supervisor forks one process per duty.  A duty is a plain blocking loop
 * that never returns: it owns its connections, opens them after the fork, and
 * dies by any signal (crash-only).  What must outlive a duty is in PostgreSQL
 * and Redis; what is only counted lies in a mapping shared with the
 * supervisor, which serves it as metrics.
 *
 * pg.c is the only file that calls PQ*, redis.c the only one that calls
 * redis*, http.c the only one that calls curl_*.
 */


#ifndef USHERD_H
#define USHERD_H


#include <stddef.h>
#include <stdint.h>


#define USHERD_OK      0
#define USHERD_ERROR  -1    /* the server refused; the connection is usable */
#define USHERD_LOST   -2    /* the connection is gone: connect again */


/* ---- Duties ---------------------------------------------------------- */


typedef struct usherd_conf_s  usherd_conf_t;

/* Each duty is void usherd_<name>(usherd_conf_t *conf) and never returns. */
#define USHERD_DUTIES(_)                                                      \
    _(flush)                                                                  \
    _(directory)                                                              \
    _(react)                                                                  \
    _(keep)                                                                   \
    _(health)

typedef enum {
#define _(name)  USHERD_DUTY_##name,
    USHERD_DUTIES(_)
#undef _
    USHERD_NDUTIES
} usherd_duty_e;

#define _(name)  void usherd_##name(usherd_conf_t *conf);
USHERD_DUTIES(_)
#undef _


/* ---- Configuration: conf.c ------------------------------------------- */


#define USHERD_OWNER  96

struct usherd_conf_s {
    const char  *file;                /* where this was read from */

    char        *pg_conninfo;         /* "" : libpq's environment */
    char        *pg_password_file;    /* NULL: none */
    uint64_t     pg_statement_ms;     /* statement_timeout */

    char        *redis_address;       /* unix:/path or host:port */
    char        *redis_user;          /* NULL: default user */
    char        *redis_password_file; /* NULL: no AUTH */
    uint64_t     redis_timeout_ms;    /* to connect, and for a reply */

    char        *metrics;             /* unix:/path, host:port; NULL: none */
    char        *log;                 /* path; NULL, "stderr" */
    unsigned     duties;              /* bits 1 << USHERD_DUTY_* */
    uint64_t     flush_processes;
    uint64_t     batch_rows;          /* a transaction of flush has at most */
    uint64_t     batch_bytes;         /* ... this many rows, bytes of lines, */
    uint64_t     batch_age_ms;        /* ... and waits this long for more */
    uint64_t     lease_s;             /* seconds until a dead owner's lease */
                                      /* may be taken by others */

    uint64_t     health_enabled;      /* 0: targets of links are not asked */
    uint64_t     health_private;      /* 1: nor need they be public */

    /* not from the file: */

    char         owner[USHERD_OWNER]; /* "<host>:<duty>:<n>:<random>"; stays */
                                      /* the same when a duty is restarted */
    unsigned     process;             /* index into usherd_shared->process */
};


/* USHERD_OK, or USHERD_ERROR and file, line and reason on stderr. */
int usherd_conf_read(usherd_conf_t *conf, const char *file);

/*
 * First line of a file without its end, as a string to free; NULL with errno
 * set.  Passwords are read at each connect, so that they can be changed.
 */
char *usherd_conf_secret(const char *file);


/* ---- Log: log.c ------------------------------------------------------ */


/*
 * One line per change of state: what happened, to whom, what to do.  Never
 * per event.  ALERT is for what stays wrong until a person acts.
 */
#define USHERD_LOG_ALERT  0
#define USHERD_LOG_ERROR  1
#define USHERD_LOG_WARN   2
#define USHERD_LOG_INFO   3

int usherd_log_open(const char *file);    /* NULL or "stderr" */
void usherd_log_name(const char *name);   /* of this process */
void usherd_log(int level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));


/* ---- Counters: shared with the supervisor, metrics.c ----------------- */


/* Names in the metrics: usherd_<name>_total. */
#define USHERD_COUNTERS(_)                                                    \
    _(flush_rows, "Rows stored.")                                             \
    _(flush_bytes, "Bytes of event lines stored.")                            \
    _(flush_transactions, "Transactions of flush that were committed.")       \
    _(flush_rollbacks, "Transactions of flush that were rolled back.")        \
    _(flush_entries, "Stream entries read.")                                  \
    _(flush_duplicates, "Events of unique kinds that were there before.")     \
    _(flush_rewinds, "Rewinds asked for.")                                    \
    _(flush_gaps, "Gaps recorded.")                                           \
    _(flush_forks, "Slots found forked.")                                     \
    _(flush_stops, "Slots stopped.")                                          \
    _(flush_corrupt, "Stream entries that could not be read.")                \
    _(flush_quarantined, "Lines put into quarantine.")                        \
    _(flush_conflicts, "Positions found moved by another flush.")             \
    _(flush_late, "Roll-ups booked into a later, open hour.")                 \
    _(flush_partitions, "Partitions made because one was missing.")           \
    _(directory_records, "Directory records written.")                        \
    _(directory_batches, "Outbox batches projected.")                         \
    _(directory_rebuilds, "Rebuilds of the whole directory.")                 \
    _(directory_refused, "Records refused: a newer version was there.")       \
    _(directory_missing, "Records that were missing in Redis.")               \
    _(react_handled, "Items of usher.todo that were done.")                   \
    _(react_failures, "Items of usher.todo that failed, each time.")          \
    _(react_errors, "Failed calls of usher.react.")                           \
    _(keep_runs, "Runs of keep's functions.")                                 \
    _(keep_errors, "Failed runs of keep's functions.")                        \
    _(health_requests, "HTTP requests to targets of links.")                  \
    _(health_deaths, "Targets of links that were found dead.")                \
    _(redis_errors, "Error replies of Redis.")                                \
    _(redis_connects, "Connections made to Redis.")                           \
    _(postgres_connects, "Connections made to PostgreSQL.")

/* Gauges: usherd_<name>. */
#define USHERD_GAUGES(_)                                                      \
    _(flush_slots, "Slots this process holds.")                               \
    _(flush_slots_forked, "Held slots in state forked, not accepted.")        \
    _(flush_slots_stopped, "Held slots in state stopped.")                    \
    _(flush_slots_aside, "Held slots of which a stream was put aside.")       \
    _(flush_slots_silent, "Live slots not announced for an hour.")            \
    _(flush_lag_ms, "Age of what may not be stored yet, msec.")               \
    _(flush_backlog, "1: the last read filled a whole batch.")                \
    _(directory_lag_ms, "Age of what may not be in Redis yet, msec.")         \
    _(directory_writer, "1: holds the directory's lease.")                    \
    _(health_dead, "Targets of links that are dead.")                         \
    _(react_waiting, "Items of usher.todo that nobody has tried.")            \
    _(react_failing, "Items that failed and are tried again.")                \
    _(react_given_up, "Items that were given up.")                            \
    _(react_lag_ms, "Age of the oldest item that is due, msec.")              \
    _(redis_up, "1: connected to Redis.")                                     \
    _(postgres_up, "1: connected to PostgreSQL.")

/* SQLSTATE classes that are counted one by one; the last one is "other". */
#define USHERD_CLASSES   10

#define USHERD_PROCESSES  32

/* Written by one process with plain stores, read by the supervisor. */
typedef struct {
    char               name[24];      /* "flush/0" */
    volatile uint64_t  pid;           /* 0: not running */
    volatile uint64_t  restarts;
#define _(name, help)  volatile uint64_t  name;
    USHERD_COUNTERS(_)
    USHERD_GAUGES(_)
#undef _
    volatile uint64_t  classes[USHERD_CLASSES];

    /*
     * Of the duty's lag, msec.  caught: when it last had done all that there
     * was; it grows as long as that is not so, whatever the duty waits for.
     * 0: another process does the work.  lagged: when the gauge was set, to
     * the lag of what was done then, which counts for USHERD_LAG_MS.
     */
    volatile uint64_t  caught;
    volatile uint64_t  lagged;
} usherd_process_t;

#define USHERD_LAG_MS  15000

typedef struct {
    unsigned           nprocesses;
    usherd_process_t   process[USHERD_PROCESSES];
} usherd_shared_t;

extern usherd_shared_t   *usherd_shared;
extern usherd_process_t  *usherd_self;     /* this duty's; never NULL there */

#define usherd_count(name)     (usherd_self->name++)
#define usherd_add(name, n)    (usherd_self->name += (n))
#define usherd_set(name, n)    (usherd_self->name = (n))
#define usherd_lag(name, n)                                                   \
    (usherd_self->lagged = usherd_now(), usherd_self->name = (n))

void usherd_count_class(const char *sqlstate);

/* A listening socket, or -1 (logged). */
int usherd_metrics_listen(const char *address);
/* Accepts one connection, answers it and closes it; never blocks long. */
void usherd_metrics_serve(int fd);


/* ---- Time and waiting: usherd.c -------------------------------------- */


/* CLOCK_MONOTONIC in msec. */
uint64_t usherd_now(void);

/* 64 random bits. */
uint64_t usherd_random(void);

/*
 * Waits msec, or until fd (if >= 0) is readable: returns 1 then, else 0.
 * Does not return when the supervisor is gone.  Duties wait nowhere else.
 */
int usherd_wait(int fd, uint64_t msec);


/* ---- PostgreSQL: pg.c ------------------------------------------------ */


typedef struct usherd_pg_s         usherd_pg_t;
typedef struct usherd_pg_result_s  usherd_pg_result_t;

/* Not connected yet. */
usherd_pg_t *usherd_pg_create(usherd_conf_t *conf, const char *application);

/*
 * Connects if there is no connection and the backoff (100 ms doubling to 5 s)
 * has passed.  USHERD_OK or USHERD_LOST.
 */
int usherd_pg_try(usherd_pg_t *pg);
/* The same, but waits until there is a connection. */
void usherd_pg_wait(usherd_pg_t *pg);
void usherd_pg_close(usherd_pg_t *pg);

/* Rises by one with each connection: re-read everything when it changed. */
uint64_t usherd_pg_generation(usherd_pg_t *pg);

/*
 * One statement with n text parameters (NULL: SQL NULL).  *result (if result
 * is not NULL) is set on USHERD_OK and is to be freed.  USHERD_ERROR: see
 * usherd_pg_sqlstate(); a failed transaction is the caller's to roll back.
 * USHERD_LOST: nothing is known about what was under way.
 */
int usherd_pg_query(usherd_pg_t *pg, const char *sql, unsigned n,
    const char *const *values, usherd_pg_result_t **result);
/* Several statements without parameters and results: "BEGIN", ... */
int usherd_pg_command(usherd_pg_t *pg, const char *sql);

/* COPY ... FROM STDIN; data in pieces of any size; end gives the tag. */
int usherd_pg_copy_start(usherd_pg_t *pg, const char *sql);
int usherd_pg_copy_data(usherd_pg_t *pg, const char *data, size_t len);
int usherd_pg_copy_end(usherd_pg_t *pg, uint64_t *rows);

/* Of the last USHERD_ERROR or USHERD_LOST. */
const char *usherd_pg_sqlstate(usherd_pg_t *pg);     /* "22P02" */
const char *usherd_pg_message(usherd_pg_t *pg);      /* one line */
const char *usherd_pg_table(usherd_pg_t *pg);        /* "" if not told */
const char *usherd_pg_constraint(usherd_pg_t *pg);   /* "" if not told */
/* What was cut to size loses half a character at its end: no UTF-8. */
void usherd_pg_cut(char *text);

unsigned usherd_pg_rows(usherd_pg_result_t *result);
/* Rows a command changed, by its tag. */
uint64_t usherd_pg_affected(usherd_pg_result_t *result);
/* NULL for SQL NULL; lives as long as the result. */
const char *usherd_pg_value(usherd_pg_result_t *result, unsigned row,
    unsigned column);
uint64_t usherd_pg_number(usherd_pg_result_t *result, unsigned row,
    unsigned column);
void usherd_pg_free(usherd_pg_result_t *result);    /* NULL is fine */

/*
 * After LISTEN, outside of transactions: waits for a notification at most
 * msec.  1: some came (all are consumed), 0: none, USHERD_LOST.
 */
int usherd_pg_notified(usherd_pg_t *pg, uint64_t msec);

/*
 * Takes or extends a lease for conf->lease_s.  1: held, 0: another holds it,
 * else USHERD_ERROR or USHERD_LOST.  *attempt may be NULL.
 */
int usherd_pg_lease(usherd_pg_t *pg, usherd_conf_t *conf, const char *name,
    uint64_t *attempt);


/* ---- Redis: redis.c -------------------------------------------------- */


typedef struct usherd_redis_s  usherd_redis_t;
typedef struct usherd_reply_s  usherd_reply_t;

typedef enum {
    USHERD_REPLY_NIL = 0,
    USHERD_REPLY_STRING,
    USHERD_REPLY_STATUS,
    USHERD_REPLY_INTEGER,
    USHERD_REPLY_ARRAY,
    USHERD_REPLY_ERROR
} usherd_reply_e;

/* Not connected yet. */
usherd_redis_t *usherd_redis_create(usherd_conf_t *conf, const char *name);

/* As their namesakes above. */
int usherd_redis_try(usherd_redis_t *rc);
void usherd_redis_wait(usherd_redis_t *rc);
void usherd_redis_close(usherd_redis_t *rc);
uint64_t usherd_redis_generation(usherd_redis_t *rc);

/*
 * One command.  NULL: the connection is gone.  An error reply is a reply (of
 * type USHERD_REPLY_ERROR, and counted).  lens may be NULL for C strings.
 */
usherd_reply_t *usherd_redis_command(usherd_redis_t *rc, unsigned argc,
    const char *const *argv, const size_t *lens);
/* Words separated by single spaces; %s and %llu and, for bytes, %b. */
usherd_reply_t *usherd_redis_format(usherd_redis_t *rc, const char *fmt, ...);

/* Pipelining: queue several, then read a reply for each. */
int usherd_redis_append(usherd_redis_t *rc, unsigned argc,
    const char *const *argv, const size_t *lens);
int usherd_redis_append_format(usherd_redis_t *rc, const char *fmt, ...);
usherd_reply_t *usherd_redis_reply(usherd_redis_t *rc);

usherd_reply_e usherd_reply_type(const usherd_reply_t *reply);
/* Of a string, status or error; "" and 0 otherwise. */
const char *usherd_reply_text(const usherd_reply_t *reply, size_t *len);
int64_t usherd_reply_integer(const usherd_reply_t *reply);
unsigned usherd_reply_count(const usherd_reply_t *reply);
const usherd_reply_t *usherd_reply_at(const usherd_reply_t *reply,
    unsigned i);
/* NULL is fine. */
void usherd_reply_free(usherd_reply_t *reply);


#endif
