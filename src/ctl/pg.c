/*
 * pg.c - the only file of usherctl that knows libpq.
 *
 * Values travel as parameters, never as part of a statement; the names of
 * functions and arguments are the catalogue's own and are quoted all the
 * same.
 */


#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "ctl.h"


struct ctl_db_s {
    PGconn  *conn;
};


/* What an error is, and what to do where the server does not say. */
typedef struct {
    const char  *state;       /* how its SQLSTATE begins */
    const char  *name;
    const char  *hint;
} ctl_kind_t;


static int ctl_db_command(ctl_db_t *db, const char *command,
    ctl_error_t *error);
static void ctl_db_quiet(void *data, const char *message);
static void ctl_db_say(char *dst, size_t size, const char *text);
static void ctl_db_error(ctl_error_t *error, PGconn *conn, PGresult *res);
static const ctl_kind_t *ctl_db_kind(const char *sqlstate);
static char *ctl_db_text(PGconn *conn, PGresult *res, ctl_error_t *error);
static char *ctl_db_statement(PGconn *conn, const char *function,
    const ctl_arg_t *args, int nargs);


ctl_db_t *
ctl_db_open(const char *conninfo, const char *actor, ctl_error_t *error)
{
    PGconn      *conn;
    PGresult    *res;
    ctl_db_t    *db;

    static const char *keys[] = {
        "client_encoding", "connect_timeout", "fallback_application_name",
        "dbname", NULL
    };

    const char  *values[] = { "UTF8", "10", "usherctl", conninfo, NULL };
    const char  *params[1];

    /* The conninfo comes last: what it says about the others holds. */

    conn = PQconnectdbParams(keys, values, 1);

    if (PQstatus(conn) != CONNECTION_OK) {
        ctl_db_error(error, conn, NULL);
        ctl_db_say(error->hint, sizeof(error->hint),
                   "Name the database by USHER_DATABASE, --database or "
                   "usherctl.conf.");
        PQfinish(conn);
        return NULL;
    }

    PQsetNoticeProcessor(conn, ctl_db_quiet, NULL);

    params[0] = (actor == NULL) ? "" : actor;

    res = PQexecParams(conn,
                       "select pg_catalog.set_config('timezone', 'UTC', "
                       "false), pg_catalog.set_config('search_path', "
                       "'pg_catalog', false), "
                       "pg_catalog.set_config('usher.actor', $1, false)",
                       1, NULL, params, NULL, NULL, 0);

    if (PQresultStatus(res) != PGRES_TUPLES_OK) {
        ctl_db_error(error, conn, res);
        PQclear(res);
        PQfinish(conn);
        return NULL;
    }

    PQclear(res);

    db = malloc(sizeof(ctl_db_t));
    if (db == NULL) {
        abort();
    }

    db->conn = conn;

    return db;
}


char *
ctl_db_catalogue(ctl_db_t *db, ctl_error_t *error)
{
    char      *text;
    PGresult  *res;

    res = PQexec(db->conn, "select api.catalogue()");
    text = ctl_db_text(db->conn, res, error);

    if (text == NULL
        && (strstr(error->reason, "3F000") != NULL
            || strstr(error->reason, "42883") != NULL))
    {
        ctl_db_say(error->hint, sizeof(error->hint),
                   "This database has no Usher yet: run util/migrate.");
    }

    PQclear(res);

    return text;
}


char *
ctl_db_call(ctl_db_t *db, const char *function, const ctl_arg_t *args,
    int nargs, ctl_error_t *error)
{
    int          i;
    char        *statement, *text;
    PGresult    *res;
    const char  *values[CTL_ARGS + 1];

    statement = ctl_db_statement(db->conn, function, args, nargs);
    if (statement == NULL) {
        ctl_db_error(error, db->conn, NULL);
        return NULL;
    }

    for (i = 0; i < nargs; i++) {
        values[i] = args[i].value;
    }

    res = PQexecParams(db->conn, statement, nargs, NULL, values, NULL, NULL,
                       0);

    text = ctl_db_text(db->conn, res, error);

    PQclear(res);
    free(statement);

    return text;
}


int
ctl_db_begin(ctl_db_t *db, int reads, ctl_error_t *error)
{
    return ctl_db_command(db, reads ? "begin isolation level repeatable read, "
                                      "read only" : "begin", error);
}


int
ctl_db_end(ctl_db_t *db, int undo, ctl_error_t *error)
{
    if (!undo) {
        return ctl_db_command(db, "commit", error);
    }

    /* what would only be found at the commit */

    if (ctl_db_command(db, "set constraints all immediate", error)
        != CTL_OK)
    {
        return CTL_ERROR;
    }

    return ctl_db_command(db, "rollback", error);
}


static int
ctl_db_command(ctl_db_t *db, const char *command, ctl_error_t *error)
{
    int        rc;
    PGresult  *res;

    rc = CTL_OK;
    res = PQexec(db->conn, command);

    if (PQresultStatus(res) != PGRES_COMMAND_OK) {
        ctl_db_error(error, db->conn, res);
        rc = CTL_ERROR;
    }

    PQclear(res);

    return rc;
}


/* The type's name is a value here, too: it is looked up, then its number. */

int
ctl_db_reads(ctl_db_t *db, const char *type, const char *value)
{
    int          reads;
    Oid          types[1];
    PGresult    *res;

    res = PQexecParams(db->conn, "select pg_catalog.to_regtype($1)::oid", 1,
                       NULL, &type, NULL, NULL, 0);

    if (PQresultStatus(res) != PGRES_TUPLES_OK || PQgetisnull(res, 0, 0)) {
        PQclear(res);
        return 1;
    }

    types[0] = (Oid) strtoul(PQgetvalue(res, 0, 0), NULL, 10);
    PQclear(res);

    res = PQexecParams(db->conn, "select $1", 1, types, &value, NULL, NULL,
                       0);

    reads = (PQresultStatus(res) == PGRES_TUPLES_OK);
    PQclear(res);

    return reads;
}


void
ctl_db_close(ctl_db_t *db)
{
    PQfinish(db->conn);
    free(db);
}


/* select api."f"("a" => $1, ...): types are those of the function. */

static char *
ctl_db_statement(PGconn *conn, const char *function, const ctl_arg_t *args,
    int nargs)
{
    int      i;
    FILE    *out;
    char    *name, *statement;
    size_t   len;

    statement = NULL;

    out = open_memstream(&statement, &len);
    if (out == NULL) {
        abort();
    }

    name = PQescapeIdentifier(conn, function, strlen(function));
    if (name == NULL) {
        goto failed;
    }

    fprintf(out, "select api.%s(", name);
    PQfreemem(name);

    for (i = 0; i < nargs; i++) {
        name = PQescapeIdentifier(conn, args[i].name, strlen(args[i].name));
        if (name == NULL) {
            goto failed;
        }

        fprintf(out, "%s%s => $%d", i == 0 ? "" : ", ", name, i + 1);
        PQfreemem(name);
    }

    fputc(')', out);

    if (fclose(out) != 0) {
        abort();
    }

    return statement;

failed:

    fclose(out);
    free(statement);

    return NULL;
}


static char *
ctl_db_text(PGconn *conn, PGresult *res, ctl_error_t *error)
{
    char  *text;

    if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1) {
        ctl_db_error(error, conn, res);
        return NULL;
    }

    text = strdup(PQgetisnull(res, 0, 0) ? "null" : PQgetvalue(res, 0, 0));
    if (text == NULL) {
        abort();
    }

    return text;
}


static void
ctl_db_error(ctl_error_t *error, PGconn *conn, PGresult *res)
{
    char              *nl;
    const char        *text;
    const ctl_kind_t  *kind;

    memset(error, 0, sizeof(ctl_error_t));

    text = (res == NULL) ? NULL : PQresultErrorField(res,
                                                     PG_DIAG_MESSAGE_PRIMARY);
    if (text == NULL) {
        text = PQerrorMessage(conn);
    }

    ctl_db_say(error->message, sizeof(error->message), text);

    for (nl = error->message + strlen(error->message);
         nl > error->message && nl[-1] == '\n';
         nl--)
    {
        nl[-1] = '\0';
    }

    text = (res == NULL) ? NULL : PQresultErrorField(res, PG_DIAG_SQLSTATE);

    ctl_db_say(error->sqlstate, sizeof(error->sqlstate), text);

    kind = ctl_db_kind(error->sqlstate);

    text = (res == NULL) ? NULL : PQresultErrorField(res,
                                                     PG_DIAG_MESSAGE_HINT);

    ctl_db_say(error->hint, sizeof(error->hint),
               text != NULL ? text : kind->hint);

    if (*error->sqlstate != '\0') {
        snprintf(error->reason, sizeof(error->reason), "%s (%s)", kind->name,
                 error->sqlstate);
    }
}


/* US... are the catalogue's own; classes are those of PostgreSQL. */

static const ctl_kind_t *
ctl_db_kind(const char *sqlstate)
{
    int  i;

    static const char  log[] = "The server's log says more.";
    static const char  later[] = "Nothing was done; try again.";
    static const char  help[] = "--help shows what the arguments may be.";

    static const ctl_kind_t  kinds[] = {
        { "US400", "bad argument", help },
        { "US403", "not allowed", log },
        { "US404", "not found", log },
        { "US409", "conflict", log },
        { "42501", "not allowed", "Log in as a member of usher_api: that is "
          "--database, or usherctl.conf." },
        { "08", "connection", "Whether it was done is not known: look first." },
        { "22", "bad argument", help },
        { "23", "constraint", help },
        { "28", "not allowed", log },
        { "40", "try again", later },
        { "53", "server is short of something", log },
        { "55", "busy", later },
        { "57", "server is going down, or was asked to stop", later },
        { NULL, "error", log }
    };

    for (i = 0; kinds[i].state != NULL; i++) {
        if (strncmp(sqlstate, kinds[i].state, strlen(kinds[i].state)) == 0) {
            break;
        }
    }

    return &kinds[i];
}


static void
ctl_db_say(char *dst, size_t size, const char *text)
{
    snprintf(dst, size, "%s", text == NULL ? "" : text);
}


static void
ctl_db_quiet(void *data, const char *message)
{
    (void) data;

    fputs(message, stderr);
}
