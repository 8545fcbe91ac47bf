/*
 * args.c - words and name=value arguments of a command.
 *
 * Words come first and name a function; what has a "=" is an argument of it;
 * what begins with "--" is usherctl's own.  A value "@file" is what the file
 * holds and "-" what standard input holds, less a final newline, so that a
 * secret need not stand in the list of processes; "@@..." is "@...".
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"


#define CTL_VALUE_MAX  (16 * 1024 * 1024)


static int ctl_args_option(ctl_command_t *cmd, int argc, char **argv, int *i);
static int ctl_args_add(ctl_command_t *cmd, char *text);
static char *ctl_args_slurp(const char *name, FILE *in);


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
ctl_args_read(ctl_command_t *cmd)
{
    int          i, input;
    FILE        *in;
    ctl_arg_t   *arg;

    input = 0;

    for (i = 0; i < cmd->nargs; i++) {
        arg = &cmd->args[i];

        if (strcmp(arg->value, "-") == 0) {
            if (input) {
                fprintf(stderr, "usherctl: standard input is read once\n"
                        "hint: Give the other value as @file.\n");
                return CTL_USAGE;
            }

            input = 1;
            arg->value = ctl_args_slurp("standard input", stdin);

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
