/*
 * usherctl.c - the operator's hand: the command line, and what follows.
 */


#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl.h"
#include "usher_version.h"


static int ctl_run(ctl_command_t *cmd, ctl_db_t *db);
static int ctl_call(ctl_command_t *cmd, ctl_db_t *db, json_t *catalogue);
static int ctl_do(ctl_command_t *cmd, ctl_db_t *db, json_t *function,
    char **text, ctl_error_t *error);
static int ctl_print(ctl_command_t *cmd, const char *text);
static void ctl_print_table(json_t *value, size_t width);
static int ctl_failed(json_t *catalogue, ctl_error_t *error);


int
main(int argc, char **argv)
{
    int            rc;
    ctl_db_t      *db;
    const char    *actor;
    ctl_error_t    error;
    ctl_command_t  cmd;

    /* Texts are UTF-8 whatever the environment says. */

    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL) {
        (void) setlocale(LC_CTYPE, "");
    }

    if (ctl_args_parse(&cmd, argc, argv) != CTL_OK) {
        return CTL_USAGE;
    }

    if (cmd.version) {
        printf("usherctl " USHER_VERSION "\n");
        return CTL_OK;
    }

    if (cmd.json == -1) {
        cmd.json = !isatty(STDOUT_FILENO);
    }

    if (cmd.actor == NULL) {
        actor = getenv("USHER_ACTOR");
        cmd.actor = (actor == NULL || *actor == '\0') ? NULL : actor;
    }

    if (ctl_conf_database(&cmd) != CTL_OK) {
        return CTL_USAGE;
    }

    db = ctl_db_open(cmd.database, cmd.actor, &error);

    if (db == NULL) {
        if (cmd.nwords == 0) {
            ctl_usage(stderr);
        }

        return ctl_failed(NULL, &error);
    }

    rc = ctl_run(&cmd, db);

    ctl_db_close(db);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "usherctl: cannot write: %s\n", strerror(errno));
        return CTL_ERROR;
    }

    return rc;
}


static int
ctl_run(ctl_command_t *cmd, ctl_db_t *db)
{
    int           rc;
    char         *text;
    json_t       *catalogue;
    ctl_error_t   error;
    json_error_t  wrong;

    text = ctl_db_catalogue(db, &error);
    if (text == NULL) {
        return ctl_failed(NULL, &error);
    }

    catalogue = json_loads(text, 0, &wrong);
    free(text);

    if (!json_is_array(catalogue)) {
        fprintf(stderr, "usherctl: the catalogue is not understood: %s\n",
                wrong.text);
        json_decref(catalogue);
        return CTL_ERROR;
    }

    if (cmd->help || cmd->nwords == 0
        || strcmp(cmd->words[0], "help") == 0
        || (cmd->nwords == 1 && cmd->nargs == 0
            && ctl_catalogue_noun(catalogue, cmd->words[0])))
    {
        rc = ctl_catalogue_help(catalogue, cmd);

    } else {
        rc = ctl_call(cmd, db, catalogue);
    }

    usher_secret_keys_free(cmd->keys);
    json_decref(catalogue);

    return rc;
}


static int
ctl_call(ctl_command_t *cmd, ctl_db_t *db, json_t *catalogue)
{
    int           rc;
    char         *text;
    json_t       *function;
    ctl_error_t   error;

    function = ctl_catalogue_find(catalogue, cmd);

    if (function == NULL || ctl_args_file(function, cmd) != CTL_OK
        || ctl_secret_mark(function, cmd) != CTL_OK
        || ctl_csv_mark(function, cmd) != CTL_OK
        || ctl_catalogue_check(function, cmd) != CTL_OK
        || ctl_secret_keys(function, cmd) != CTL_OK
        || ctl_args_read(cmd) != CTL_OK
        || ctl_secret_seal(cmd) != CTL_OK)
    {
        return CTL_USAGE;
    }

    if (cmd->png != NULL && json_is_true(json_object_get(function, "changes")))
    {
        fprintf(stderr, "usherctl: --png is not for what changes something\n"
                "hint: It draws what link stats and the like show.\n");
        return CTL_USAGE;
    }

    rc = ctl_do(cmd, db, function, &text, &error);

    if (rc == CTL_ERROR) {
        return ctl_failed(catalogue, &error);
    }

    if (text != NULL) {
        rc = ctl_print(cmd, text);
        free(text);
    }

    return rc;
}


/* CTL_OK, with an answer or *text NULL; CTL_ERROR with *error; CTL_USAGE. */

static int
ctl_do(ctl_command_t *cmd, ctl_db_t *db, json_t *function, char **text,
    ctl_error_t *error)
{
    int          rc, whole, reads;
    const char  *name;

    *text = NULL;
    name = ctl_text(function, "name");
    whole = ctl_csv_whole(function);
    reads = !json_is_true(json_object_get(function, "changes"));

    if ((cmd->dry_run || !whole)
        && ctl_db_begin(db, reads, error) != CTL_OK)
    {
        return CTL_ERROR;
    }

    if (!whole) {
        rc = ctl_csv_run(function, cmd, db, text, error);

    } else {
        *text = ctl_secret_anew(function)
                ? ctl_secret_recrypt(name, cmd, db, error)
                : ctl_secret_mints(function)
                ? ctl_secret_mint(name, cmd, db, error)
                : ctl_db_call(db, name, cmd->args, cmd->nargs, error);

        rc = (*text == NULL) ? CTL_ERROR : CTL_OK;
    }

    if (rc == CTL_OK && (cmd->dry_run || !whole)) {
        rc = ctl_db_end(db, cmd->dry_run, error);

    } else if (rc == CTL_ERROR) {
        ctl_catalogue_blame(function, cmd, db, error);
    }

    if (rc != CTL_OK) {
        free(*text);
        *text = NULL;
    }

    return rc;
}


/* An answer may say of itself that it is no good news: "ok": false. */

static int
ctl_print(ctl_command_t *cmd, const char *text)
{
    int              rc, drawn;
    json_t          *value;
    json_error_t     wrong;
    struct winsize   size;

    value = json_loads(text, JSON_DECODE_ANY, &wrong);
    rc = json_is_false(json_object_get(value, "ok")) ? CTL_BAD : CTL_OK;

    if (cmd->png != NULL) {
        drawn = ctl_chart_png(value, cmd->png);

        if (drawn != CTL_OK) {
            json_decref(value);
            return drawn;
        }
    }

    /* The database's own text is the most exact. */

    if (value == NULL || (cmd->json && !isatty(STDOUT_FILENO))) {
        printf("%s\n", text);

    } else if (cmd->json) {
        json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
        printf("\n");

    } else {
        memset(&size, 0, sizeof(struct winsize));
        (void) ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
        ctl_print_table(value, size.ws_col);
    }

    json_decref(value);

    return rc;
}


/* How to draw it is not for people; what is drawn is. */

static void
ctl_print_table(json_t *value, size_t width)
{
    json_t  *chart;

    chart = json_incref(json_object_get(value, "chart"));

    (void) json_object_del(value, "chart");
    ctl_table(stdout, value, width);

    if (chart != NULL) {
        (void) json_object_set_new(value, "chart", chart);
        ctl_chart_bars(stdout, value, width);
    }
}


static int
ctl_failed(json_t *catalogue, ctl_error_t *error)
{
    fprintf(stderr, "usherctl: %s\n", error->message);

    if (*error->hint != '\0') {
        ctl_catalogue_hint(catalogue, error->hint);
    }

    if (*error->reason != '\0') {
        fprintf(stderr, "reason: %s\n", error->reason);
    }

    return CTL_ERROR;
}
