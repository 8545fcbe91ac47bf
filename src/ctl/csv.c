/*
 * csv.c - files that are longer than a value may be.
 *
 * An argument of type usher.csv is a file that is sent part by part, each of
 * whole records: a line ends one if the quotes before it are in pairs.  The
 * function is called with each part, and with what it answered to the part
 * before by its argument of type usher.csv_place, all in one transaction.  A
 * function that has the second argument only writes a file: it is called
 * until its answer says that there is no more, and has a part in each, as
 * "csv".
 *
 * How far it has come is shown where standard error is a terminal.
 */


#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "ctl.h"


#define CTL_CSV        "usher.csv"
#define CTL_CSV_PLACE  "usher.csv_place"

#define CTL_PART       (1024 * 1024)
#define CTL_RECORD     (16 * 1024 * 1024)

#define CTL_NO_UTF8    "22021"


/* A file on its way. */
typedef struct {
    ctl_arg_t   *arg;
    const char  *name;        /* of the file */
    FILE        *in;          /* NULL: data has all of it */
    char        *data;        /* with room for a NUL */
    size_t       len;
    size_t       size;
    size_t       seen;        /* of data: looked through for records */
    size_t       end;         /* of its last whole record */
    uint64_t     sent;        /* bytes */
    uint64_t     total;       /* 0: not known */
    unsigned     quoted:1;    /* a quote is open at seen */
} ctl_csv_t;


static int ctl_csv_import(ctl_csv_t *csv, json_t *function,
    ctl_command_t *cmd, ctl_db_t *db, char **text, ctl_error_t *error);
static int ctl_csv_export(json_t *function, ctl_command_t *cmd, ctl_db_t *db,
    ctl_error_t *error);
static int ctl_csv_open(ctl_csv_t *csv);
static int ctl_csv_part(ctl_csv_t *csv);
static int ctl_csv_fill(ctl_csv_t *csv);
static void ctl_csv_records(ctl_csv_t *csv);
static json_t *ctl_csv_call(json_t *function, ctl_command_t *cmd,
    json_t *after, ctl_db_t *db, ctl_error_t *error);
static void ctl_csv_blame(ctl_csv_t *csv, json_t *after, ctl_error_t *error);
static const char *ctl_csv_name(json_t *function, const char *type);
static ctl_arg_t *ctl_csv_arg(ctl_command_t *cmd, const char *name);
static void ctl_csv_progress(json_t *answer, ctl_csv_t *csv);
static void ctl_csv_clear(void);


int
ctl_csv_mark(json_t *function, ctl_command_t *cmd)
{
    ctl_arg_t   *arg;
    const char  *name;

    name = ctl_csv_name(function, CTL_CSV_PLACE);

    if (name != NULL && ctl_csv_arg(cmd, name) != NULL) {
        fprintf(stderr, "usherctl: %s= is not given, but made here\n"
                "hint: Leave it out.\n", name);
        return CTL_USAGE;
    }

    name = ctl_csv_name(function, CTL_CSV);
    arg = (name == NULL) ? NULL : ctl_csv_arg(cmd, name);

    if (arg != NULL) {
        arg->parts = 1;
    }

    return CTL_OK;
}


int
ctl_csv_whole(json_t *function)
{
    return ctl_csv_name(function, CTL_CSV_PLACE) == NULL;
}


int
ctl_csv_run(json_t *function, ctl_command_t *cmd, ctl_db_t *db, char **text,
    ctl_error_t *error)
{
    int          rc;
    char        *value;
    ctl_csv_t    csv;
    const char  *name;

    *text = NULL;
    memset(&csv, 0, sizeof(ctl_csv_t));

    name = ctl_csv_name(function, CTL_CSV);

    if (name == NULL) {
        return ctl_csv_export(function, cmd, db, error);
    }

    csv.arg = ctl_csv_arg(cmd, name);
    value = csv.arg->value;

    if (ctl_csv_open(&csv) != CTL_OK) {
        return CTL_USAGE;
    }

    rc = ctl_csv_import(&csv, function, cmd, db, text, error);

    if (csv.in != NULL && csv.in != stdin) {
        fclose(csv.in);
    }

    free(csv.data);
    csv.arg->value = value;

    return rc;
}


/* An empty file is sent as well: the function says what is missing. */

static int
ctl_csv_import(ctl_csv_t *csv, json_t *function, ctl_command_t *cmd,
    ctl_db_t *db, char **text, ctl_error_t *error)
{
    char     after;
    json_t  *answer, *next;

    answer = NULL;

    for ( ;; ) {

        if (ctl_csv_part(csv) != CTL_OK) {
            ctl_csv_clear();
            json_decref(answer);
            return CTL_USAGE;
        }

        if (csv->end == 0 && answer != NULL) {
            break;
        }

        after = csv->data[csv->end];
        csv->data[csv->end] = '\0';
        csv->arg->value = csv->data;

        next = ctl_csv_call(function, cmd, answer, db, error);

        if (next == NULL) {
            ctl_csv_blame(csv, answer, error);
            ctl_csv_clear();
            json_decref(answer);
            return CTL_ERROR;
        }

        json_decref(answer);
        answer = next;

        csv->data[csv->end] = after;
        csv->sent += csv->end;
        csv->len -= csv->end;
        memmove(csv->data, csv->data + csv->end, csv->len);
        csv->seen -= csv->end;
        csv->end = 0;

        ctl_csv_progress(answer, csv);
    }

    ctl_csv_clear();

    *text = json_dumps(answer, JSON_ENCODE_ANY);
    if (*text == NULL) {
        abort();
    }

    json_decref(answer);

    return CTL_OK;
}


static int
ctl_csv_export(json_t *function, ctl_command_t *cmd, ctl_db_t *db,
    ctl_error_t *error)
{
    int          more;
    json_t      *answer, *next;
    const char  *csv;

    answer = NULL;

    do {
        next = ctl_csv_call(function, cmd, answer, db, error);

        if (next == NULL) {
            ctl_csv_clear();
            json_decref(answer);
            return CTL_ERROR;
        }

        json_decref(answer);
        answer = next;

        csv = ctl_text(answer, "csv");
        more = json_is_true(json_object_get(answer, "more"));

        /* who reads it may have gone: main() says so */

        if (fwrite(csv, 1, strlen(csv), stdout) < strlen(csv)) {
            more = 0;
        }

        json_object_del(answer, "csv");

        if (!isatty(STDOUT_FILENO)) {
            ctl_csv_progress(answer, NULL);
        }

    } while (more);

    ctl_csv_clear();
    json_decref(answer);

    return CTL_OK;
}


static int
ctl_csv_open(ctl_csv_t *csv)
{
    char         *value;
    struct stat   st;

    value = csv->arg->value;

    if (strcmp(value, "-") == 0) {
        csv->name = "standard input";
        csv->in = stdin;

    } else if (value[0] == '@' && value[1] != '@') {
        csv->name = value + 1;
        csv->in = fopen(csv->name, "re");

        if (csv->in == NULL) {
            fprintf(stderr, "usherctl: cannot read %s: %s\n"
                    "hint: @ names a file; write @@ for a value that "
                    "begins with @.\n", csv->name, strerror(errno));
            return CTL_USAGE;
        }

    } else {
        csv->name = csv->arg->name;
        csv->data = strdup(value + (value[0] == '@'));
        csv->len = (csv->data == NULL) ? 0 : strlen(csv->data);
    }

    if (csv->in != NULL && fstat(fileno(csv->in), &st) == 0
        && S_ISREG(st.st_mode))
    {
        csv->total = (uint64_t) st.st_size;
    }

    csv->size = csv->in == NULL ? csv->len : CTL_PART;
    csv->data = realloc(csv->data, csv->size + 1);

    if (csv->data == NULL) {
        abort();
    }

    return CTL_OK;
}


/* Sets end: whole records, some megabyte of them; 0: there are no more. */

static int
ctl_csv_part(ctl_csv_t *csv)
{
    int  more;

    do {
        more = ctl_csv_fill(csv);

        if (more < 0) {
            return CTL_USAGE;
        }

        ctl_csv_records(csv);

    } while (more && csv->end == 0);

    /* the last line needs no end; what is wrong with it is told */

    if (!more) {
        csv->end = csv->len;
    }

    return CTL_OK;
}


/* 0: that was the last of it; -1 after saying what is wrong. */

static int
ctl_csv_fill(ctl_csv_t *csv)
{
    size_t  n;

    if (csv->in == NULL) {
        return 0;
    }

    if (csv->len == csv->size) {

        if (csv->size >= CTL_RECORD) {
            fprintf(stderr, "usherctl: %s has a line of more than 16 MB\n"
                    "hint: Is there a quote that is not closed?\n",
                    csv->name);
            return -1;
        }

        csv->size *= 2;
        csv->data = realloc(csv->data, csv->size + 1);

        if (csv->data == NULL) {
            abort();
        }
    }

    n = fread(csv->data + csv->len, 1, csv->size - csv->len, csv->in);

    if (ferror(csv->in)) {
        fprintf(stderr, "usherctl: cannot read %s\n", csv->name);
        return -1;
    }

    if (memchr(csv->data + csv->len, '\0', n) != NULL) {
        fprintf(stderr, "usherctl: %s holds a NUL\nhint: Values are text.\n",
                csv->name);
        return -1;
    }

    csv->len += n;

    return csv->len == csv->size;
}


static void
ctl_csv_records(ctl_csv_t *csv)
{
    size_t  i;

    for (i = csv->seen; i < csv->len; i++) {

        if (csv->data[i] == '"') {
            csv->quoted = !csv->quoted;

        } else if (csv->data[i] == '\n' && !csv->quoted) {
            csv->end = i + 1;
        }
    }

    csv->seen = csv->len;
}


/* The answer to be freed, or NULL. */

static json_t *
ctl_csv_call(json_t *function, ctl_command_t *cmd, json_t *after,
    ctl_db_t *db, ctl_error_t *error)
{
    int         nargs;
    char       *text;
    json_t     *answer;
    ctl_arg_t   args[CTL_ARGS + 1];

    nargs = cmd->nargs;
    memcpy(args, cmd->args, (size_t) nargs * sizeof(ctl_arg_t));

    memset(&args[nargs], 0, sizeof(ctl_arg_t));

    if (after != NULL) {
        args[nargs].name = (char *) ctl_csv_name(function, CTL_CSV_PLACE);
        args[nargs].value = json_dumps(after, JSON_COMPACT);

        if (args[nargs++].value == NULL) {
            abort();
        }
    }

    text = ctl_db_call(db, ctl_text(function, "name"), args, nargs, error);

    if (after != NULL) {
        free(args[nargs - 1].value);
    }

    if (text == NULL) {
        return NULL;
    }

    answer = json_loads(text, 0, NULL);
    free(text);

    if (!json_is_object(answer)) {
        abort();
    }

    return answer;
}


/* PostgreSQL does not say where bytes are no text. */

static void
ctl_csv_blame(ctl_csv_t *csv, json_t *after, ctl_error_t *error)
{
    size_t      i, n;
    wchar_t     wc;
    mbstate_t   state;
    uint64_t    line;

    if (strcmp(error->sqlstate, CTL_NO_UTF8) != 0) {
        return;
    }

    memset(&state, 0, sizeof(mbstate_t));
    line = 1 + (uint64_t) json_integer_value(json_object_get(after, "lines"));

    for (i = 0; i < csv->end; i += n) {
        n = mbrtowc(&wc, csv->data + i, csv->end - i, &state);

        if (n == (size_t) -1 || n == (size_t) -2 || n == 0) {
            break;
        }

        line += (wc == L'\n');
    }

    if (i < csv->end) {
        snprintf(error->message, sizeof(error->message),
                 "%s= line %llu: it is not UTF-8", csv->arg->name,
                 (unsigned long long) line);
        snprintf(error->hint, sizeof(error->hint),
                 "iconv -f latin1 -t utf8 turns an older file into one.");
    }
}


/* Of the argument of this type; NULL if there is none. */

static const char *
ctl_csv_name(json_t *function, const char *type)
{
    size_t   n;
    json_t  *item;

    json_array_foreach(json_object_get(function, "arguments"), n, item) {
        if (strcmp(ctl_text(item, "type"), type) == 0) {
            return ctl_text(item, "name");
        }
    }

    return NULL;
}


static ctl_arg_t *
ctl_csv_arg(ctl_command_t *cmd, const char *name)
{
    int  i;

    for (i = 0; i < cmd->nargs; i++) {
        if (strcmp(cmd->args[i].name, name) == 0) {
            return &cmd->args[i];
        }
    }

    return NULL;
}


/* csv is NULL for a file that is written. */

static void
ctl_csv_progress(json_t *answer, ctl_csv_t *csv)
{
    if (!isatty(STDERR_FILENO)) {
        return;
    }

    fprintf(stderr, "\r%lld lines", (long long)
            json_integer_value(json_object_get(answer, "lines")));

    if (csv != NULL && csv->total > 0) {
        fprintf(stderr, ", %llu %%",
                (unsigned long long) (csv->sent * 100 / csv->total));
    }

    fprintf(stderr, "\033[K");
}


static void
ctl_csv_clear(void)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K");
    }
}
