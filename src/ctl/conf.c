/*
 * conf.c - where the database and the key file are: by an option, then by the
 * environment, then by usherctl.conf, which is read only if it is needed.
 */


#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"


#define CTL_CONF      "/etc/usher/usherctl.conf"
#define CTL_KEY_FILE  "/etc/usher/keys"


static int ctl_conf_find(ctl_command_t *cmd, const char **value,
    const char *variable);
static int ctl_conf_read(ctl_command_t *cmd);
static int ctl_conf_value(void *data, const char *section, const char *name,
    const char *value);


/* Where nothing names it, libpq's own environment decides. */

int
ctl_conf_database(ctl_command_t *cmd)
{
    return ctl_conf_find(cmd, &cmd->database, "USHER_DATABASE");
}


int
ctl_conf_key_file(ctl_command_t *cmd)
{
    if (ctl_conf_find(cmd, &cmd->key_file, "USHER_KEY_FILE") != CTL_OK) {
        return CTL_USAGE;
    }

    if (cmd->key_file == NULL) {
        cmd->key_file = CTL_KEY_FILE;
    }

    return CTL_OK;
}


static int
ctl_conf_find(ctl_command_t *cmd, const char **value, const char *variable)
{
    const char  *text;

    if (*value != NULL) {
        return CTL_OK;
    }

    text = getenv(variable);

    if (text != NULL && *text != '\0') {
        *value = text;
        return CTL_OK;
    }

    return ctl_conf_read(cmd);
}


static int
ctl_conf_read(ctl_command_t *cmd)
{
    int          line;
    const char  *name;

    name = getenv("USHERCTL_CONF");
    name = (name == NULL || *name == '\0') ? CTL_CONF : name;

    if (access(name, R_OK) != 0 && errno == ENOENT
        && strcmp(name, CTL_CONF) == 0)
    {
        return CTL_OK;
    }

    line = ini_parse(name, ctl_conf_value, cmd);

    if (line < 0) {
        fprintf(stderr, "usherctl: cannot read %s\n", name);
        return CTL_USAGE;
    }

    if (line > 0) {
        fprintf(stderr, "usherctl: %s:%d is not understood\n"
                "hint: It holds [postgres] and conninfo = ..., [secrets] and "
                "key_file = ...\n", name, line);
        return CTL_USAGE;
    }

    return CTL_OK;
}


/* What was named otherwise stays. */

static int
ctl_conf_value(void *data, const char *section, const char *name,
    const char *value)
{
    const char     **place;
    ctl_command_t   *cmd;

    cmd = data;

    if (strcmp(section, "postgres") == 0 && strcmp(name, "conninfo") == 0) {
        place = &cmd->database;

    } else if (strcmp(section, "secrets") == 0
               && strcmp(name, "key_file") == 0)
    {
        place = &cmd->key_file;

    } else {
        return 0;
    }

    if (*place == NULL) {
        *place = strdup(value);
    }

    return *place != NULL;
}
