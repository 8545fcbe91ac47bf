/*
 * pg.c - the one file that speaks to libpq.
 *
 * DESIGN
 *
 * A connection belongs to one duty and is made again whenever the duty asks
 * for it and the backoff has passed.  It is blocking: what bounds a wait is
 * connect_timeout, tcp_user_timeout, keepalives and statement_timeout, all
 * set here; conninfo may override the first three.
 *
 * The session runs in UTC, so that times come and go as the journal has
 * them.  A result of USHERD_LOST closes the connection: whether a COMMIT
 * under way has passed is then known by nothing but the tables.
 */


#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usherd.h"


#define USHERD_PG_BACKOFF_MIN  100
#define USHERD_PG_BACKOFF_MAX  5000


struct usherd_pg_s {
    PGconn         *conn;             /* NULL: not connected */
    usherd_conf_t  *conf;
    const char     *application;
    uint64_t        generation;
    uint64_t        next;             /* msec: not to be tried before */
    uint64_t        backoff;          /* msec */
    unsigned        failing:1;        /* already said so */
    char            sqlstate[6];
    char            table[64];
    char            constraint[64];
    char            message[512];
};


static int usherd_pg_connect(usherd_pg_t *pg);
static PGconn *usherd_pg_open(usherd_pg_t *pg);
static void usherd_pg_failed(usherd_pg_t *pg);
static int usherd_pg_trouble(usherd_pg_t *pg, PGresult *res);
static void usherd_pg_line(char *dst, size_t size, const char *src);
static int usherd_pg_drain(usherd_pg_t *pg, PGresult *res, int rc);


usherd_pg_t *
usherd_pg_create(usherd_conf_t *conf, const char *application)
{
    usherd_pg_t  *pg;

    pg = calloc(1, sizeof(usherd_pg_t));
    if (pg == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    pg->conf = conf;
    pg->application = application;

    return pg;
}


void
usherd_pg_wait(usherd_pg_t *pg)
{
    uint64_t  now;

    while (usherd_pg_try(pg) != USHERD_OK) {
        now = usherd_now();
        (void) usherd_wait(-1, pg->next > now ? pg->next - now : 1);
    }
}


int
usherd_pg_try(usherd_pg_t *pg)
{
    if (pg->conn != NULL) {
        return USHERD_OK;
    }

    if (usherd_now() < pg->next) {
        return USHERD_LOST;
    }

    if (usherd_pg_connect(pg) == USHERD_OK) {
        usherd_log(USHERD_LOG_INFO, "connected to PostgreSQL");
        return USHERD_OK;
    }

    usherd_pg_failed(pg);

    return USHERD_LOST;
}


static int
usherd_pg_connect(usherd_pg_t *pg)
{
    char       sql[256];
    PGconn    *conn;
    PGresult  *res;

    conn = usherd_pg_open(pg);
    if (conn == NULL) {
        return USHERD_LOST;
    }

    if (PQstatus(conn) != CONNECTION_OK) {
        usherd_pg_line(pg->message, sizeof(pg->message),
                       PQerrorMessage(conn));
        PQfinish(conn);
        return USHERD_LOST;
    }

    snprintf(sql, sizeof(sql),
             "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; "
             "SET statement_timeout = %llu; "
             "SET idle_in_transaction_session_timeout = 60000; "
             "SET client_min_messages = warning",
             (unsigned long long) pg->conf->pg_statement_ms);

    res = PQexec(conn, sql);

    if (PQresultStatus(res) != PGRES_COMMAND_OK) {
        usherd_pg_line(pg->message, sizeof(pg->message),
                       PQerrorMessage(conn));
        PQclear(res);
        PQfinish(conn);
        return USHERD_LOST;
    }

    PQclear(res);

    pg->conn = conn;
    pg->generation++;
    pg->backoff = 0;
    pg->next = 0;
    pg->failing = 0;

    usherd_count(postgres_connects);
    usherd_set(postgres_up, 1);

    return USHERD_OK;
}


static PGconn *
usherd_pg_open(usherd_pg_t *pg)
{
    char        *password;
    PGconn      *conn;
    unsigned     n;
    const char  *keys[12], *values[12];

    n = 0;
    password = NULL;

#define usherd_pg_option(key, value)                                          \
    keys[n] = key;                                                            \
    values[n++] = value

    usherd_pg_option("fallback_application_name", pg->application);
    usherd_pg_option("client_encoding", "UTF8");
    usherd_pg_option("connect_timeout", "5");
    usherd_pg_option("tcp_user_timeout", "10000");
    usherd_pg_option("keepalives_idle", "10");
    usherd_pg_option("keepalives_interval", "5");

    /* what comes later wins */

    if (pg->conf->pg_conninfo[0] != '\0') {
        usherd_pg_option("dbname", pg->conf->pg_conninfo);
    }

    if (pg->conf->pg_password_file != NULL) {
        password = usherd_conf_secret(pg->conf->pg_password_file);

        if (password == NULL) {
            snprintf(pg->message, sizeof(pg->message), "cannot read "
                     "password_file %s: %s", pg->conf->pg_password_file,
                     strerror(errno));
            return NULL;
        }

        usherd_pg_option("password", password);
    }

    usherd_pg_option(NULL, NULL);

#undef usherd_pg_option

    conn = PQconnectdbParams(keys, values, 1);

    if (password != NULL) {
        explicit_bzero(password, strlen(password));
        free(password);
    }

    if (conn == NULL) {
        snprintf(pg->message, sizeof(pg->message), "out of memory");
    }

    return conn;
}


static void
usherd_pg_failed(usherd_pg_t *pg)
{
    usherd_set(postgres_up, 0);
    usherd_count_class("08");

    if (!pg->failing) {
        usherd_log(USHERD_LOG_ERROR, "PostgreSQL cannot be reached: %s; "
                   "trying again until it can", pg->message);
    }

    pg->failing = 1;
    pg->backoff = pg->backoff ? pg->backoff * 2 : USHERD_PG_BACKOFF_MIN;

    if (pg->backoff > USHERD_PG_BACKOFF_MAX) {
        pg->backoff = USHERD_PG_BACKOFF_MAX;
    }

    pg->next = usherd_now() + pg->backoff;
}


void
usherd_pg_close(usherd_pg_t *pg)
{
    if (pg->conn != NULL) {
        PQfinish(pg->conn);
        pg->conn = NULL;
        usherd_set(postgres_up, 0);
    }
}


uint64_t
usherd_pg_generation(usherd_pg_t *pg)
{
    return pg->generation;
}


int
usherd_pg_query(usherd_pg_t *pg, const char *sql, unsigned n,
    const char *const *values, usherd_pg_result_t **result)
{
    int        rc;
    PGresult  *res;

    if (result != NULL) {
        *result = NULL;
    }

    if (pg->conn == NULL) {
        return USHERD_LOST;
    }

    res = PQexecParams(pg->conn, sql, (int) n, NULL, values, NULL, NULL, 0);

    rc = usherd_pg_trouble(pg, res);

    if (rc != USHERD_OK || result == NULL) {
        PQclear(res);
        return rc;
    }

    *result = (usherd_pg_result_t *) res;

    return USHERD_OK;
}


int
usherd_pg_command(usherd_pg_t *pg, const char *sql)
{
    int        rc;
    PGresult  *res;

    if (pg->conn == NULL) {
        return USHERD_LOST;
    }

    res = PQexec(pg->conn, sql);

    rc = usherd_pg_trouble(pg, res);

    /* the end of a transaction that had failed is no error, and no COMMIT */

    if (rc == USHERD_OK && strcmp(sql, "COMMIT") == 0
        && strcmp(PQcmdStatus(res), sql) != 0)
    {
        memcpy(pg->sqlstate, "25P02", 6);
        usherd_pg_line(pg->message, sizeof(pg->message),
                       "COMMIT rolled back: the transaction had failed");
        rc = USHERD_ERROR;
    }

    PQclear(res);

    return rc;
}


int
usherd_pg_copy_start(usherd_pg_t *pg, const char *sql)
{
    int        rc;
    PGresult  *res;

    if (pg->conn == NULL) {
        return USHERD_LOST;
    }

    res = PQexec(pg->conn, sql);

    rc = usherd_pg_trouble(pg, res);

    PQclear(res);

    return rc;
}


int
usherd_pg_copy_data(usherd_pg_t *pg, const char *data, size_t len)
{
    if (pg->conn == NULL) {
        return USHERD_LOST;
    }

    if (PQputCopyData(pg->conn, data, (int) len) == 1) {
        return USHERD_OK;
    }

    /* the server's reason, if it gave one, is told by copy_end */

    return usherd_pg_copy_end(pg, NULL) == USHERD_LOST ? USHERD_LOST
                                                       : USHERD_ERROR;
}


int
usherd_pg_copy_end(usherd_pg_t *pg, uint64_t *rows)
{
    int        rc;
    PGresult  *res;

    if (pg->conn == NULL) {
        return USHERD_LOST;
    }

    if (PQputCopyEnd(pg->conn, NULL) != 1
        && PQstatus(pg->conn) != CONNECTION_OK)
    {
        return usherd_pg_trouble(pg, NULL);
    }

    res = PQgetResult(pg->conn);

    rc = usherd_pg_trouble(pg, res);

    if (rc == USHERD_OK && rows != NULL) {
        *rows = strtoull(PQcmdTuples(res), NULL, 10);
    }

    return usherd_pg_drain(pg, res, rc);
}


/* PQgetResult() has to return NULL before the next command. */

static int
usherd_pg_drain(usherd_pg_t *pg, PGresult *res, int rc)
{
    PQclear(res);

    while (pg->conn != NULL && (res = PQgetResult(pg->conn)) != NULL) {

        if (rc == USHERD_OK) {
            rc = usherd_pg_trouble(pg, res);
        }

        PQclear(res);
    }

    return rc;
}


/* Keeps what the server said; closes the connection if it is gone. */

static int
usherd_pg_trouble(usherd_pg_t *pg, PGresult *res)
{
    const char      *text;
    ExecStatusType   status;

    status = PQresultStatus(res);

    if (res != NULL
        && (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK
            || status == PGRES_COPY_IN || status == PGRES_EMPTY_QUERY))
    {
        return USHERD_OK;
    }

#define usherd_pg_field(dst, code)                                            \
    text = PQresultErrorField(res, code);                                     \
    usherd_pg_line(dst, sizeof(dst), text != NULL ? text : "")

    usherd_pg_field(pg->sqlstate, PG_DIAG_SQLSTATE);
    usherd_pg_field(pg->table, PG_DIAG_TABLE_NAME);
    usherd_pg_field(pg->constraint, PG_DIAG_CONSTRAINT_NAME);
    usherd_pg_field(pg->message, PG_DIAG_MESSAGE_PRIMARY);

#undef usherd_pg_field

    if (pg->message[0] == '\0') {
        usherd_pg_line(pg->message, sizeof(pg->message),
                       PQerrorMessage(pg->conn));
    }

    if (PQstatus(pg->conn) != CONNECTION_OK) {

        if (pg->sqlstate[0] == '\0') {
            memcpy(pg->sqlstate, "08006", 6);
        }

        usherd_log(USHERD_LOG_ERROR, "lost PostgreSQL: %s; connecting again",
                   pg->message);

        usherd_count_class(pg->sqlstate);
        usherd_pg_close(pg);

        return USHERD_LOST;
    }

    usherd_count_class(pg->sqlstate);

    return USHERD_ERROR;
}


static void
usherd_pg_line(char *dst, size_t size, const char *src)
{
    size_t  len;

    snprintf(dst, size, "%s", src);
    usherd_pg_cut(dst);

    len = strlen(dst);

    while (len > 0 && (dst[len - 1] == '\n' || dst[len - 1] == ' ')) {
        dst[--len] = '\0';
    }
}


void
usherd_pg_cut(char *text)
{
    size_t         i, len, n;
    unsigned char  c;

    len = strlen(text);

    /* back to where the last character begins */

    for (i = len; i > 0 && len - i < 4; i--) {
        c = (unsigned char) text[i - 1];

        if ((c & 0xc0) == 0x80) {
            continue;
        }

        n = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

        if (len - i + 1 < n) {
            text[i - 1] = '\0';
        }

        return;
    }
}


const char *
usherd_pg_sqlstate(usherd_pg_t *pg)
{
    return pg->sqlstate;
}


const char *
usherd_pg_message(usherd_pg_t *pg)
{
    return pg->message;
}


const char *
usherd_pg_table(usherd_pg_t *pg)
{
    return pg->table;
}


const char *
usherd_pg_constraint(usherd_pg_t *pg)
{
    return pg->constraint;
}


unsigned
usherd_pg_rows(usherd_pg_result_t *result)
{
    return (unsigned) PQntuples((PGresult *) result);
}


uint64_t
usherd_pg_affected(usherd_pg_result_t *result)
{
    return strtoull(PQcmdTuples((PGresult *) result), NULL, 10);
}


const char *
usherd_pg_value(usherd_pg_result_t *result, unsigned row, unsigned column)
{
    PGresult  *res = (PGresult *) result;

    if (PQgetisnull(res, (int) row, (int) column)) {
        return NULL;
    }

    return PQgetvalue(res, (int) row, (int) column);
}


uint64_t
usherd_pg_number(usherd_pg_result_t *result, unsigned row, unsigned column)
{
    const char  *text;

    text = usherd_pg_value(result, row, column);

    /* a negative bigint comes back as its bit pattern */

    if (text == NULL) {
        return 0;
    }

    return text[0] == '-' ? (uint64_t) strtoll(text, NULL, 10)
                          : strtoull(text, NULL, 10);
}


void
usherd_pg_free(usherd_pg_result_t *result)
{
    PQclear((PGresult *) result);
}


int
usherd_pg_notified(usherd_pg_t *pg, uint64_t msec)
{
    int        found;
    PGnotify  *notify;

    if (pg->conn == NULL) {
        return USHERD_LOST;
    }

    found = 0;

    for ( ;; ) {

        if (PQconsumeInput(pg->conn) == 0) {
            return usherd_pg_trouble(pg, NULL);
        }

        while ((notify = PQnotifies(pg->conn)) != NULL) {
            found = 1;
            PQfreemem(notify);
        }

        if (found || msec == 0) {
            return found;
        }

        if (!usherd_wait(PQsocket(pg->conn), msec)) {
            return 0;
        }

        msec = 0;
    }
}


int
usherd_pg_lease(usherd_pg_t *pg, usherd_conf_t *conf, const char *name,
    uint64_t *attempt)
{
    int                  rc;
    char                 seconds[24];
    const char          *values[3], *value;
    usherd_pg_result_t  *res;

    snprintf(seconds, sizeof(seconds), "%llu",
             (unsigned long long) conf->lease_s);

    values[0] = name;
    values[1] = conf->owner;
    values[2] = seconds;

    rc = usherd_pg_query(pg, "SELECT usher.lease_take($1, $2, $3)", 3,
                         values, &res);
    if (rc != USHERD_OK) {
        return rc;
    }

    value = usherd_pg_value(res, 0, 0);

    if (value != NULL && attempt != NULL) {
        *attempt = strtoull(value, NULL, 10);
    }

    rc = (value != NULL);

    usherd_pg_free(res);

    return rc;
}
