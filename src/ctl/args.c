/*
 * args.c - words and name=value arguments of a command.
 *
 * Words come first and name a function; what has a "=" is an argument of it;
 * what begins with "--" is usherctl's own.  A value "@file" is what the file
 * holds and "-" what standard input holds, less a final newline, so that a
 * secret need not stand in the list of processes; "@@..." is "@...".  What is
 * sealed before it is sent comes from there or from the terminal, or is random.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "ctl.h"


#define CTL_VALUE_MAX   (16 * 1024 * 1024)

#define CTL_TYPED_MAX   1024
#define CTL_RANDOM_MIN  16
#define CTL_RANDOM_MAX  256     /* what getentropy gives at once */


static int ctl_args_option(ctl_command_t *cmd, int argc, char **argv, int *i);
static int ctl_args_add(ctl_command_t *cmd, char *text);
static ctl_arg_t *ctl_args_find(ctl_command_t *cmd, const char *name);
static char *ctl_args_slurp(const char *name, FILE *in);
static char *ctl_args_ask(const char *name);
static char *ctl_args_random(ctl_arg_t *arg);


int
ctl_args_parse(ctl_command_t *cmd, int argc, char **argv)
{
    int  i;

    memset(cmd, 0, sizeof(ctl_command_t));
    cmd->json = -1;

    for (i = 1; i < argc; i++) {

        if (argv[i][0] == '-' && strchr(argv[i], '=') != argv[i] + 1) {
            if (ctl_args_option(cmd, argc, argv, &i) != CTL_OK) {
                return CTL_USAGE;
            }

            continue;
        }

        if (strchr(argv[i], '=') != NULL) {
            if (ctl_args_add(cmd, argv[i]) != CTL_OK) {
                return CTL_USAGE;
            }

            continue;
        }

        if (cmd->nargs > 0) {
            fprintf(stderr, "usherctl: \"%s\" is not name=value\n"
                    "hint: Quote a value with spaces as a whole: "
                    "'name=two words'.\n", argv[i]);
            return CTL_USAGE;
        }

        if (cmd->nwords == CTL_ARGS) {
            fprintf(stderr, "usherctl: too many words\n"
                    "hint: A command is a noun and a verb; usherctl --help "
                    "shows all.\n");
            return CTL_USAGE;
        }

        cmd->words[cmd->nwords++] = argv[i];
    }

    return CTL_OK;
}


static int
ctl_args_option(ctl_command_t *cmd, int argc, char **argv, int *i)
{
    char         *value;
    size_t        len;
    const char   *option;
    const char  **text;

    option = argv[*i];

    if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) {
        cmd->help = 1;
        return CTL_OK;
    }

    if (strcmp(option, "--version") == 0) {
        cmd->version = 1;
        return CTL_OK;
    }

    if (strcmp(option, "--dry-run") == 0) {
        cmd->dry_run = 1;
        return CTL_OK;
    }

    if (strcmp(option, "--json") == 0) {
        cmd->json = 1;
        return CTL_OK;
    }

    if (strcmp(option, "--table") == 0) {
        cmd->json = 0;
        return CTL_OK;
    }

    len = strcspn(option, "=");

    if (len == 7 && strncmp(option, "--actor", len) == 0) {
        text = &cmd->actor;

    } else if (len == 10 && strncmp(option, "--database", len) == 0) {
        text = &cmd->database;

    } else if (len == 10 && strncmp(option, "--key-file", len) == 0) {
        text = &cmd->key_file;

    } else if (len == 5 && strncmp(option, "--png", len) == 0) {
        text = &cmd->png;

    } else {
        fprintf(stderr, "usherctl: there is no option \"%s\"\n"
                "hint: Arguments are name=value, without dashes; usherctl "
                "--help shows the options.\n", option);
        return CTL_USAGE;
    }

    if (option[len] == '=') {
        value = argv[*i] + len + 1;

    } else if (*i + 1 < argc) {
        value = argv[++*i];

    } else {
        value = NULL;
    }

    /* An empty actor would be the operator. */

    if (value == NULL || *value == '\0') {
        fprintf(stderr, "usherctl: %.*s needs a value\n"
                "hint: Leave it out for the default; usherctl --help says "
                "which.\n", (int) len, option);
        return CTL_USAGE;
    }

    *text = value;

    return CTL_OK;
}


static int
ctl_args_add(ctl_command_t *cmd, char *text)
{
    int         i;
    char       *p;
    ctl_arg_t  *arg;

    if (cmd->nargs == CTL_ARGS) {
        fprintf(stderr, "usherctl: too many arguments\n"
                "hint: --help shows those of a command.\n");
        return CTL_USAGE;
    }

    arg = &cmd->args[cmd->nargs];

    arg->name = text;
    arg->value = strchr(text, '=');
    *arg->value++ = '\0';

    for (p = arg->name; *p != '\0'; p++) {
        if (*p == '-') {
            *p = '_';
        }
    }

    for (i = 0; i < cmd->nargs; i++) {
        if (strcmp(cmd->args[i].name, arg->name) == 0) {
            fprintf(stderr, "usherctl: argument \"%s\" is given twice\n"
                    "hint: Give it once.\n", arg->name);
            return CTL_USAGE;
        }
    }

    cmd->nargs++;

    return CTL_OK;
}


int
ctl_args_file(json_t *function, ctl_command_t *cmd)
{
    int         csv;
    char       *value;
    size_t      n;
    json_t     *arg;
    ctl_arg_t  *file;

    csv = 0;

    json_array_foreach(json_object_get(function, "arguments"), n, arg) {
        if (strcmp(ctl_text(arg, "name"), "file") == 0) {
            return CTL_OK;
        }

        csv |= strcmp(ctl_text(arg, "name"), "csv") == 0;
    }

    file = csv ? ctl_args_find(cmd, "file") : NULL;

    if (file == NULL) {
        return CTL_OK;
    }

    if (ctl_args_find(cmd, "csv") != NULL) {
        fprintf(stderr, "usherctl: csv= and file= are both given\n"
                "hint: file=x.csv is csv=@x.csv: give one of them.\n");
        return CTL_USAGE;
    }

    file->name = (char *) "csv";

    if (file->value[0] == '@' || strcmp(file->value, "-") == 0) {
        return CTL_OK;
    }

    value = malloc(strlen(file->value) + 2);
    if (value == NULL) {
        abort();
    }

    value[0] = '@';
    strcpy(value + 1, file->value);
    file->value = value;

    return CTL_OK;
}


static ctl_arg_t *
ctl_args_find(ctl_command_t *cmd, const char *name)
{
    int  i;

    for (i = 0; i < cmd->nargs; i++) {
        if (strcmp(cmd->args[i].name, name) == 0) {
            return &cmd->args[i];
        }
    }

    return NULL;
}


int
ctl_args_read(ctl_command_t *cmd)
{
    int          i, input;
    FILE        *in;
    ctl_arg_t   *arg;

    input = 0;

    for (i = 0; i < cmd->nargs; i++) {
        arg = &cmd->args[i];

        if (arg->parts) {
            input |= strcmp(arg->value, "-") == 0;
            continue;
        }

        if (strcmp(arg->value, "-") == 0) {
            if (input) {
                fprintf(stderr, "usherctl: standard input is read once\n"
                        "hint: Give the other value as @file.\n");
                return CTL_USAGE;
            }

            input = 1;
            arg->value = (arg->sealed && isatty(STDIN_FILENO))
                         ? ctl_args_ask(arg->name)
                         : ctl_args_slurp("standard input", stdin);

        } else if (arg->sealed && strncmp(arg->value, "random:", 7) == 0) {
            arg->value = ctl_args_random(arg);

        } else if (strncmp(arg->value, "@@", 2) == 0) {
            arg->value++;

        } else if (arg->value[0] == '@') {
            in = fopen(arg->value + 1, "re");
            if (in == NULL) {
                fprintf(stderr, "usherctl: cannot read %s: %s\n"
                        "hint: @ names a file; write @@ for a value that "
                        "begins with @.\n", arg->value + 1, strerror(errno));
                return CTL_USAGE;
            }

            arg->value = ctl_args_slurp(arg->value + 1, in);
            fclose(in);
        }

        if (arg->value == NULL) {
            return CTL_USAGE;
        }

        if (arg->len == 0) {
            arg->len = strlen(arg->value);
        }
    }

    return CTL_OK;
}


static char *
ctl_args_slurp(const char *name, FILE *in)
{
    char    *data;
    size_t   len, size, n;

    len = 0;
    size = 4096;
    data = NULL;

    for ( ;; ) {
        data = realloc(data, size + 1);
        if (data == NULL) {
            abort();
        }

        n = fread(data + len, 1, size - len, in);
        len += n;

        if (len < size) {
            break;
        }

        if (size >= CTL_VALUE_MAX) {
            fprintf(stderr, "usherctl: %s is too long\n"
                    "hint: A value has at most 16 MB.\n", name);
            free(data);
            return NULL;
        }

        size *= 2;
    }

    if (ferror(in)) {
        fprintf(stderr, "usherctl: cannot read %s\n", name);
        free(data);
        return NULL;
    }

    if (memchr(data, '\0', len) != NULL) {
        fprintf(stderr, "usherctl: %s holds a NUL\n"
                "hint: Values are text.\n", name);
        free(data);
        return NULL;
    }

    if (len > 0 && data[len - 1] == '\n') {
        len--;
    }

    data[len] = '\0';

    return data;
}


/* Typed twice, and not shown. */

static char *
ctl_args_ask(const char *name)
{
    char  *line, prompt[128];

    line = calloc(1, CTL_TYPED_MAX);
    if (line == NULL) {
        abort();
    }

    snprintf(prompt, sizeof(prompt), "%.64s (not shown): ", name);

    if (EVP_read_pw_string(line, CTL_TYPED_MAX, prompt, 1) != 0) {
        fprintf(stderr, "usherctl: no %s was read\n"
                "hint: Type the same twice, or give it as %s=@file.\n", name,
                name);
        free(line);
        return NULL;
    }

    return line;
}


/* "random:32" */

static char *
ctl_args_random(ctl_arg_t *arg)
{
    char  *data, *end;
    long   n;

    n = strtol(arg->value + 7, &end, 10);

    if (*end != '\0' || n < CTL_RANDOM_MIN || n > CTL_RANDOM_MAX) {
        fprintf(stderr, "usherctl: %s=%s cannot be\n"
                "hint: As many random bytes: %d to %d.\n", arg->name,
                arg->value, CTL_RANDOM_MIN, CTL_RANDOM_MAX);
        return NULL;
    }

    data = malloc((size_t) n);
    if (data == NULL || getentropy(data, (size_t) n) != 0) {
        abort();
    }

    arg->len = (size_t) n;

    return data;
}
