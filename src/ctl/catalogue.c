/*
 * catalogue.c - which functions there are, and what they say of themselves.
 *
 * The words of a command are a function's name: "plan policy set",
 * "plan policy_set" and "plan_policy_set" are the same.
 */


#include <string.h>
#include <strings.h>

#include "ctl.h"


#define CTL_NAME  64    /* PostgreSQL's names are shorter */


static int ctl_words(ctl_command_t *cmd, int from, char name[CTL_NAME]);
static void ctl_command(const char *function, char name[CTL_NAME]);
static size_t ctl_distance(const char *a, const char *b);
static const char *ctl_nearest(json_t *list, const char *key,
    const char *name);
static json_t *ctl_function(json_t *catalogue, const char *name);
static void ctl_expected(const ctl_arg_t *arg, const char *type,
    ctl_error_t *error);
static void ctl_verbs(FILE *out, json_t *catalogue, const char *noun);
static int ctl_nouns(FILE *out, json_t *catalogue);
static void ctl_function_help(json_t *function);


void
ctl_usage(FILE *out)
{
    fprintf(out,
        "usage: usherctl [options] <noun> <verb> [name=value ...]\n"
        "       usherctl [<noun> [<verb>]] --help\n"
        "\n"
        "  --actor NAME      whose rights to use, by default USHER_ACTOR;\n"
        "                    without one: the operator's\n"
        "  --database INFO   libpq's conninfo or URI, by default "
        "USHER_DATABASE\n"
        "  --key-file FILE   keys that secrets are encrypted by, by default\n"
        "                    USHER_KEY_FILE, then /etc/usher/keys\n"
        "  --dry-run         do it, show what comes of it, and undo it\n"
        "  --json, --table   by default a table on a terminal, JSON "
        "elsewhere\n"
        "  --png FILE        draw the answer to a file, by gnuplot\n"
        "  --version         print the version\n"
        "\n"
        "A value @file is read from a file, - from standard input;\n"
        "file=x.csv is csv=@x.csv.\n"
        "Times are UTC where they name no zone.\n");
}


json_t *
ctl_catalogue_find(json_t *catalogue, ctl_command_t *cmd)
{
    char         name[CTL_NAME], noun[CTL_NAME], near[CTL_NAME];
    json_t      *function;
    const char  *nearest;

    if (ctl_words(cmd, 0, name) != CTL_OK) {
        return NULL;
    }

    function = ctl_function(catalogue, name);
    if (function != NULL) {
        return function;
    }

    snprintf(noun, sizeof(noun), "%.*s", (int) strcspn(name, "_"), name);

    if (!ctl_catalogue_noun(catalogue, noun)) {
        nearest = ctl_nearest(catalogue, "noun", noun);

        fprintf(stderr, "usherctl: there is no noun \"%s\"", noun);

        if (nearest != NULL) {
            fprintf(stderr, "; did you mean \"%s\"?", nearest);
        }

        fprintf(stderr, "\nhint: usherctl --help shows all.\n");
        return NULL;
    }

    if (name[strlen(noun)] == '\0') {
        fprintf(stderr, "usherctl: what of \"%s\"?\n", noun);
        ctl_verbs(stderr, catalogue, noun);
        return NULL;
    }

    fprintf(stderr, "usherctl: \"%s\" has no verb \"%s\"", noun,
            name + strlen(noun) + 1);

    nearest = ctl_nearest(catalogue, "name", name);

    if (nearest != NULL) {
        ctl_command(nearest, near);
        fprintf(stderr, "; did you mean \"%s\"?", near);
    }

    fprintf(stderr, "\n");
    ctl_verbs(stderr, catalogue, noun);

    return NULL;
}


int
ctl_catalogue_check(json_t *function, ctl_command_t *cmd)
{
    int          i, rc;
    char         name[CTL_NAME];
    size_t       n;
    json_t      *list, *arg;
    const char  *nearest;

    rc = CTL_OK;
    list = json_object_get(function, "arguments");
    ctl_command(ctl_text(function, "name"), name);

    for (i = 0; i < cmd->nargs; i++) {

        json_array_foreach(list, n, arg) {
            if (strcmp(ctl_text(arg, "name"), cmd->args[i].name) == 0) {
                break;
            }
        }

        if (n < json_array_size(list)) {
            continue;
        }

        nearest = ctl_nearest(list, "name", cmd->args[i].name);

        fprintf(stderr, "usherctl: \"%s\" has no argument \"%s\"", name,
                cmd->args[i].name);

        if (nearest != NULL) {
            fprintf(stderr, "; did you mean \"%s\"?", nearest);
        }

        fprintf(stderr, "\n");
        rc = CTL_USAGE;
    }

    json_array_foreach(list, n, arg) {
        if (!json_is_true(json_object_get(arg, "required"))) {
            continue;
        }

        for (i = 0; i < cmd->nargs; i++) {
            if (strcmp(ctl_text(arg, "name"), cmd->args[i].name) == 0) {
                break;
            }
        }

        if (i == cmd->nargs) {
            fprintf(stderr, "usherctl: \"%s\" needs %s=: %s\n", name,
                    ctl_text(arg, "name"), ctl_text(arg, "help"));
            rc = CTL_USAGE;
        }
    }

    if (rc != CTL_OK) {
        fprintf(stderr, "hint: usherctl %s --help shows its arguments.\n",
                name);
    }

    return rc;
}


int
ctl_catalogue_help(json_t *catalogue, ctl_command_t *cmd)
{
    int      from;
    char     name[CTL_NAME];
    json_t  *function;

    from = (cmd->nwords > 0 && strcmp(cmd->words[0], "help") == 0);

    if (cmd->nwords == from) {
        ctl_usage(stdout);
        printf("\n");
        return ctl_nouns(stdout, catalogue);
    }

    if (ctl_words(cmd, from, name) != CTL_OK) {
        return CTL_USAGE;
    }

    function = ctl_function(catalogue, name);
    if (function != NULL) {
        ctl_function_help(function);
        return CTL_OK;
    }

    if (ctl_catalogue_noun(catalogue, name)) {
        ctl_verbs(stdout, catalogue, name);
        return CTL_OK;
    }

    cmd->words[0] = name;
    cmd->nwords = 1;

    (void) ctl_catalogue_find(catalogue, cmd);

    return CTL_USAGE;
}


void
ctl_catalogue_blame(json_t *function, ctl_command_t *cmd, ctl_db_t *db,
    ctl_error_t *error)
{
    int          i;
    size_t       n;
    json_t      *list, *arg;
    const char  *type;

    if (strncmp(error->sqlstate, "22", 2) != 0) {
        return;
    }

    list = json_object_get(function, "arguments");

    for (i = 0; i < cmd->nargs; i++) {

        json_array_foreach(list, n, arg) {
            type = ctl_text(arg, "type");

            if (strcmp(ctl_text(arg, "name"), cmd->args[i].name) == 0
                && !ctl_db_reads(db, type, cmd->args[i].value))
            {
                ctl_expected(&cmd->args[i], type, error);
                return;
            }
        }
    }
}


static void
ctl_expected(const ctl_arg_t *arg, const char *type, ctl_error_t *error)
{
    int     i;
    size_t  len;

    static const struct {
        const char  *type;
        const char  *is;
        const char  *as;
    } kinds[] = {
        { "timestamp with time zone", "a time", "2026-11-20, '2026-11-20 "
          "11:50' or '2026-11-20 12:50+01'; it is UTC where it names no zone" },
        { "interval", "a length of time", "90s, 30min, 2h or '7 days'" },
        { "integer", "a whole number", "10; at most 2147483647" },
        { "bigint", "a whole number", "10; at most 9223372036854775807" },
        { "boolean", "true or false", "true" },
        { NULL, NULL, NULL }
    };

    /* it may be a secret, and is not for a terminal */

    if (strcmp(type, "text") == 0) {
        snprintf(error->message, sizeof(error->message),
                 "what %s= was given is not UTF-8", arg->name);
        snprintf(error->hint, sizeof(error->hint),
                 "Texts are UTF-8; iconv makes it of others.");
        return;
    }

    for (i = 0; kinds[i].type != NULL; i++) {
        if (strcmp(kinds[i].type, type) == 0) {
            break;
        }
    }

    /* whole characters */

    for (len = strnlen(arg->value, 60); len > 0; len--) {
        if ((arg->value[len] & 0xc0) != 0x80) {
            break;
        }
    }

    snprintf(error->message, sizeof(error->message),
             "%s=\"%.*s\" is not %s%s", arg->name, (int) len, arg->value,
             kinds[i].is == NULL ? "of type " : "",
             kinds[i].is == NULL ? type : kinds[i].is);

    snprintf(error->hint, sizeof(error->hint), "Give %s as in %s=%s.",
             kinds[i].is == NULL ? "it" : kinds[i].is, arg->name,
             kinds[i].as == NULL ? "..., in PostgreSQL's form"
                                 : kinds[i].as);
}


void
ctl_catalogue_hint(json_t *catalogue, const char *hint)
{
    char    word[CTL_NAME];
    size_t  len;

    static const char  letters[] = "abcdefghijklmnopqrstuvwxyz_";

    fputs("hint: ", stderr);

    while (*hint != '\0') {
        len = strspn(hint, letters);

        if (len > 0 && len < sizeof(word)) {
            memcpy(word, hint, len);
            word[len] = '\0';

            if (ctl_function(catalogue, word) != NULL) {
                ctl_command(word, word);
                fprintf(stderr, "\"usherctl %s\"", word);
                hint += len;
                continue;
            }
        }

        if (len == 0) {
            len = 1;
        }

        fwrite(hint, 1, len, stderr);
        hint += len;
    }

    fputc('\n', stderr);
}


static json_t *
ctl_function(json_t *catalogue, const char *name)
{
    size_t   n;
    json_t  *function;

    json_array_foreach(catalogue, n, function) {
        if (strcmp(ctl_text(function, "name"), name) == 0) {
            return function;
        }
    }

    return NULL;
}


int
ctl_catalogue_noun(json_t *catalogue, const char *noun)
{
    size_t   n;
    json_t  *function;

    json_array_foreach(catalogue, n, function) {
        if (strcmp(ctl_text(function, "noun"), noun) == 0) {
            return 1;
        }
    }

    return 0;
}


/* Nouns with their verbs, one line each; the catalogue is sorted. */

static int
ctl_nouns(FILE *out, json_t *catalogue)
{
    char         verb[CTL_NAME];
    size_t       n;
    json_t      *function;
    const char  *noun, *last;

    last = "";

    json_array_foreach(catalogue, n, function) {
        noun = ctl_text(function, "noun");

        if (strcmp(noun, last) != 0) {
            fprintf(out, "%s  %-14s", n == 0 ? "" : "\n", noun);
            last = noun;
        } else {
            fputs(", ", out);
        }

        ctl_command(ctl_text(function, "verb"), verb);
        fputs(verb, out);
    }

    fprintf(out, "\n");

    return CTL_OK;
}


static void
ctl_verbs(FILE *out, json_t *catalogue, const char *noun)
{
    char         name[CTL_NAME];
    size_t       n;
    json_t      *function;
    const char  *help;

    json_array_foreach(catalogue, n, function) {
        if (strcmp(ctl_text(function, "noun"), noun) != 0) {
            continue;
        }

        /* The first sentence. */

        help = ctl_text(function, "help");
        ctl_command(ctl_text(function, "name"), name);

        fprintf(out, "  %-22s %.*s\n", name,
                (int) strcspn(help, ".:\n"), help);
    }
}


static void
ctl_function_help(json_t *function)
{
    char         name[CTL_NAME];
    size_t       n;
    json_t      *list, *arg, *role;
    const char  *text;

    list = json_object_get(function, "arguments");
    ctl_command(ctl_text(function, "name"), name);

    printf("usage: usherctl %s", name);

    json_array_foreach(list, n, arg) {
        printf(json_is_true(json_object_get(arg, "required"))
               ? " %s=..." : " [%s=]", ctl_text(arg, "name"));
    }

    printf("\n\n%s\n", ctl_text(function, "help"));

    if (json_array_size(list) > 0) {
        printf("\n");
    }

    json_array_foreach(list, n, arg) {
        printf("  %-10s %s", ctl_text(arg, "name"), ctl_text(arg, "help"));

        text = ctl_text(arg, "default");
        if (*text != '\0') {
            printf(" [%s]", text);
        }

        text = ctl_text(arg, "type");

        if (strcmp(text, "timestamp with time zone") == 0) {
            text = "time";

        } else if (strcmp(text, "usher.sealed") == 0) {
            text = "secret";

        } else if (strcmp(text, "usher.csv") == 0) {
            text = "file";
        }

        printf(strcmp(text, "text") == 0 ? "\n" : " (%s)\n", text);
    }

    list = json_object_get(function, "roles");

    printf("\nFor: operator");

    json_array_foreach(list, n, role) {
        printf(", %s", json_string_value(role));
    }

    printf(json_is_true(json_object_get(function, "changes"))
           ? ".  Changes something.\n" : ".\n");
}


const char *
ctl_text(json_t *object, const char *key)
{
    const char  *text;

    text = json_string_value(json_object_get(object, key));

    return text == NULL ? "" : text;
}


/* Joins the words from a place on to a function's name. */

static int
ctl_words(ctl_command_t *cmd, int from, char name[CTL_NAME])
{
    int          i;
    char         c;
    size_t       len;
    const char  *p;

    len = 0;

    for (i = from; i < cmd->nwords; i++) {

        if (i > from && len < CTL_NAME - 1) {
            name[len++] = '_';
        }

        for (p = cmd->words[i]; *p != '\0'; p++) {
            if (len == CTL_NAME - 1) {
                fprintf(stderr, "usherctl: there is no such command\n"
                        "hint: usherctl --help shows all.\n");
                return CTL_USAGE;
            }

            c = *p;
            name[len++] = (c == '-') ? '_' : c;
        }
    }

    name[len] = '\0';

    return CTL_OK;
}


/* "plan_policy_set" is typed "plan policy set". */

static void
ctl_command(const char *function, char name[CTL_NAME])
{
    char  *p;

    if (name != function) {
        snprintf(name, CTL_NAME, "%s", function);
    }

    for (p = name; *p != '\0'; p++) {
        if (*p == '_') {
            *p = ' ';
        }
    }
}


/* The one that a slip of the finger would explain, or NULL. */

static const char *
ctl_nearest(json_t *list, const char *key, const char *name)
{
    size_t       n, distance, best;
    json_t      *item;
    const char  *text, *nearest;

    nearest = NULL;
    best = strlen(name) / 3 + 2;

    json_array_foreach(list, n, item) {
        text = ctl_text(item, key);
        distance = ctl_distance(name, text);

        if (distance < best) {
            best = distance;
            nearest = text;
        }
    }

    return nearest;
}


/* Insertions, deletions and replacements between two names. */

static size_t
ctl_distance(const char *a, const char *b)
{
    size_t  i, j, lena, lenb, diagonal, above, row[CTL_NAME];

    lena = strlen(a);
    lenb = strlen(b);

    if (lena >= CTL_NAME || lenb >= CTL_NAME) {
        return CTL_NAME;
    }

    for (j = 0; j <= lenb; j++) {
        row[j] = j;
    }

    for (i = 1; i <= lena; i++) {
        diagonal = row[0];
        row[0] = i;

        for (j = 1; j <= lenb; j++) {
            above = row[j];
            diagonal += (a[i - 1] != b[j - 1]);

            if (above + 1 < diagonal) {
                diagonal = above + 1;
            }

            if (row[j - 1] + 1 < diagonal) {
                diagonal = row[j - 1] + 1;
            }

            row[j] = diagonal;
            diagonal = above;
        }
    }

    return row[lenb];
}
