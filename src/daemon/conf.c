/*
 * conf.c - usherd.conf, read by inih.
 *
 * Each key is one row of a table: section, name, type, bounds and where it
 * goes.  An unknown key, a value out of bounds or a section that does not
 * exist is refused with file, line and reason.
 */


#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "usherd.h"


typedef enum {
    USHERD_CONF_TEXT,
    USHERD_CONF_ADDRESS,
    USHERD_CONF_NUMBER,
    USHERD_CONF_SIZE,
    USHERD_CONF_SWITCH,
    USHERD_CONF_DUTIES
} usherd_conf_type_e;


typedef struct {
    const char          *section;
    const char          *name;
    usherd_conf_type_e   type;
    size_t               offset;     /* in usherd_conf_t */
    uint64_t             min;
    uint64_t             max;
} usherd_conf_key_t;


typedef struct {
    usherd_conf_t       *conf;
    char                 reason[256];    /* of the first error */
} usherd_conf_ctx_t;


static int usherd_conf_value(void *data, const char *section,
    const char *name, const char *value);
static int usherd_conf_set(usherd_conf_ctx_t *ctx,
    const usherd_conf_key_t *key, const char *value);
static int usherd_conf_number(usherd_conf_ctx_t *ctx,
    const usherd_conf_key_t *key, const char *value);
static int usherd_conf_switch(usherd_conf_ctx_t *ctx,
    const usherd_conf_key_t *key, const char *value);
static int usherd_conf_duties(usherd_conf_ctx_t *ctx, const char *value);
static int usherd_conf_address(usherd_conf_ctx_t *ctx,
    const usherd_conf_key_t *key, const char *value);


#define usherd_conf_at(field)  offsetof(usherd_conf_t, field)

static const usherd_conf_key_t  usherd_conf_keys[] = {

    { "postgres", "conninfo", USHERD_CONF_TEXT,
      usherd_conf_at(pg_conninfo), 0, 0 },
    { "postgres", "password_file", USHERD_CONF_TEXT,
      usherd_conf_at(pg_password_file), 0, 0 },
    { "postgres", "statement_timeout_ms", USHERD_CONF_NUMBER,
      usherd_conf_at(pg_statement_ms), 100, 3600000 },

    { "redis", "address", USHERD_CONF_ADDRESS,
      usherd_conf_at(redis_address), 0, 0 },
    { "redis", "user", USHERD_CONF_TEXT,
      usherd_conf_at(redis_user), 0, 0 },
    { "redis", "password_file", USHERD_CONF_TEXT,
      usherd_conf_at(redis_password_file), 0, 0 },
    { "redis", "timeout_ms", USHERD_CONF_NUMBER,
      usherd_conf_at(redis_timeout_ms), 500, 60000 },

    { "usherd", "duties", USHERD_CONF_DUTIES,
      usherd_conf_at(duties), 0, 0 },
    { "usherd", "flush_processes", USHERD_CONF_NUMBER,
      usherd_conf_at(flush_processes), 1, 16 },
    { "usherd", "metrics", USHERD_CONF_ADDRESS,
      usherd_conf_at(metrics), 0, 0 },
    { "usherd", "log", USHERD_CONF_TEXT,
      usherd_conf_at(log), 0, 0 },
    { "usherd", "batch_rows", USHERD_CONF_NUMBER,
      usherd_conf_at(batch_rows), 1, 1000000 },
    { "usherd", "batch_bytes", USHERD_CONF_SIZE,
      usherd_conf_at(batch_bytes), 4096, 1024 * 1024 * 1024 },
    { "usherd", "batch_age_ms", USHERD_CONF_NUMBER,
      usherd_conf_at(batch_age_ms), 1, 60000 },
    { "usherd", "lease_s", USHERD_CONF_NUMBER,
      usherd_conf_at(lease_s), 2, 3600 },

    { "health", "enabled", USHERD_CONF_SWITCH,
      usherd_conf_at(health_enabled), 0, 0 },
    { "health", "allow_private", USHERD_CONF_SWITCH,
      usherd_conf_at(health_private), 0, 0 },

    { NULL, NULL, USHERD_CONF_TEXT, 0, 0, 0 }
};


int
usherd_conf_read(usherd_conf_t *conf, const char *file)
{
    int                line;
    usherd_conf_ctx_t  ctx;

    memset(conf, 0, sizeof(usherd_conf_t));
    memset(&ctx, 0, sizeof(usherd_conf_ctx_t));

    conf->file = file;
    conf->pg_conninfo = strdup("");
    conf->pg_statement_ms = 60000;
    conf->redis_address = strdup("127.0.0.1:6379");
    conf->redis_timeout_ms = 5000;
    conf->duties = (1u << USHERD_NDUTIES) - 1;
    conf->flush_processes = 1;
    conf->batch_rows = 50000;
    conf->batch_bytes = 64 * 1024 * 1024;
    conf->batch_age_ms = 200;
    conf->lease_s = 10;
    conf->health_enabled = 1;

    ctx.conf = conf;

    line = ini_parse(file, usherd_conf_value, &ctx);

    if (line == -1) {
        fprintf(stderr, "usherd: cannot read %s: %s\n", file,
                strerror(errno));
        return USHERD_ERROR;
    }

    if (line != 0) {
        fprintf(stderr, "usherd: %s:%d: %s\n", file, line,
                ctx.reason[0] ? ctx.reason : "neither a section, a key nor "
                                             "a comment");
        return USHERD_ERROR;
    }

    if (!conf->health_enabled) {
        conf->duties &= ~(1u << USHERD_DUTY_health);
    }

    if (conf->redis_user != NULL && conf->redis_password_file == NULL) {
        fprintf(stderr, "usherd: %s: user in [redis] needs a password_file\n",
                file);
        return USHERD_ERROR;
    }

    return USHERD_OK;
}


static int
usherd_conf_value(void *data, const char *section, const char *name,
    const char *value)
{
    usherd_conf_ctx_t  *ctx = data;

    int                       known;
    char                      reason[256];
    const usherd_conf_key_t  *key;

    known = 0;

    for (key = usherd_conf_keys; key->name != NULL; key++) {

        if (strcmp(key->section, section) != 0) {
            continue;
        }

        known = 1;

        if (strcmp(key->name, name) == 0) {
            return usherd_conf_set(ctx, key, value);
        }
    }

    if (known) {
        snprintf(reason, sizeof(reason), "unknown key \"%.64s\" in section "
                 "[%.64s]", name, section);

    } else {
        snprintf(reason, sizeof(reason), "unknown section [%.64s]: there are "
                 "[postgres], [redis], [usherd] and [health]", section);
    }

    /* inih goes on after an error and returns the line of the first */

    if (ctx->reason[0] == '\0') {
        memcpy(ctx->reason, reason, sizeof(reason));
    }

    return 0;
}


static int
usherd_conf_set(usherd_conf_ctx_t *ctx, const usherd_conf_key_t *key,
    const char *value)
{
    char  **text;

    switch (key->type) {

    case USHERD_CONF_NUMBER:
    case USHERD_CONF_SIZE:
        return usherd_conf_number(ctx, key, value);

    case USHERD_CONF_SWITCH:
        return usherd_conf_switch(ctx, key, value);

    case USHERD_CONF_DUTIES:
        return usherd_conf_duties(ctx, value);

    case USHERD_CONF_ADDRESS:
        if (!usherd_conf_address(ctx, key, value)) {
            return 0;
        }

        break;

    case USHERD_CONF_TEXT:
        break;
    }

    text = (char **) (void *) ((char *) ctx->conf + key->offset);

    free(*text);
    *text = strdup(value);

    return *text != NULL;
}


static int
usherd_conf_number(usherd_conf_ctx_t *ctx, const usherd_conf_key_t *key,
    const char *value)
{
    char      *end;
    uint64_t   n, unit;

    unit = 1;
    errno = 0;
    n = strtoull(value, &end, 10);

    if (key->type == USHERD_CONF_SIZE && *end != '\0' && end[1] == '\0') {

        switch (tolower((unsigned char) *end)) {
        case 'k':
            unit = 1024;
            end++;
            break;
        case 'm':
            unit = 1024 * 1024;
            end++;
            break;
        case 'g':
            unit = 1024 * 1024 * 1024;
            end++;
            break;
        }
    }

    if (!isdigit((unsigned char) value[0]) || *end != '\0' || errno != 0
        || n > key->max / unit || n * unit < key->min)
    {
        if (ctx->reason[0] == '\0') {
            snprintf(ctx->reason, sizeof(ctx->reason), "invalid value "
                     "\"%.64s\" of \"%s\": a number from %llu to %llu is "
                     "needed", value, key->name,
                     (unsigned long long) key->min,
                     (unsigned long long) key->max);
        }

        return 0;
    }

    *(uint64_t *) (void *) ((char *) ctx->conf + key->offset) = n * unit;

    return 1;
}


static int
usherd_conf_switch(usherd_conf_ctx_t *ctx, const usherd_conf_key_t *key,
    const char *value)
{
    int  on;

    on = strcmp(value, "yes") == 0;

    if (!on && strcmp(value, "no") != 0) {
        if (ctx->reason[0] == '\0') {
            snprintf(ctx->reason, sizeof(ctx->reason), "invalid value "
                     "\"%.64s\" of \"%s\": yes or no is needed", value,
                     key->name);
        }

        return 0;
    }

    *(uint64_t *) (void *) ((char *) ctx->conf + key->offset) = on;

    return 1;
}


static int
usherd_conf_duties(usherd_conf_ctx_t *ctx, const char *value)
{
    size_t              len;
    unsigned            i, duties;
    const char         *p;
    static const char  *names[] = {
#define _(name)  #name,
        USHERD_DUTIES(_)
#undef _
    };

    duties = 0;

    for (p = value; *p != '\0'; p += len) {

        p += strspn(p, ", \t");
        len = strcspn(p, ", \t");

        if (len == 0) {
            continue;
        }

        for (i = 0; i < USHERD_NDUTIES; i++) {
            if (strlen(names[i]) == len && memcmp(names[i], p, len) == 0) {
                break;
            }
        }

        if (i == USHERD_NDUTIES) {
            if (ctx->reason[0] == '\0') {
                snprintf(ctx->reason, sizeof(ctx->reason),
                         "unknown duty \"%.*s\"", len > 64 ? 64 : (int) len,
                         p);
            }

            return 0;
        }

        duties |= 1u << i;
    }

    if (duties == 0 && ctx->reason[0] == '\0') {
        snprintf(ctx->reason, sizeof(ctx->reason), "no duty in \"duties\"");
    }

    ctx->conf->duties = duties;

    return duties != 0;
}


static int
usherd_conf_address(usherd_conf_ctx_t *ctx, const usherd_conf_key_t *key,
    const char *value)
{
    int          bad;
    char        *end;
    long         port;
    const char  *colon;

    if (strncmp(value, "unix:", 5) == 0) {

        /* what fits into sun_path */

        bad = (value[5] != '/' || strlen(value + 5) > 107);

    } else {
        colon = strrchr(value, ':');
        bad = 1;

        if (colon != NULL && colon != value
            && isdigit((unsigned char) colon[1]))
        {
            port = strtol(colon + 1, &end, 10);
            bad = (*end != '\0' || port < 1 || port > 65535);
        }
    }

    if (bad && ctx->reason[0] == '\0') {
        snprintf(ctx->reason, sizeof(ctx->reason), "invalid value \"%.120s\" "
                 "of \"%s\": unix:/path or host:port is needed", value,
                 key->name);
    }

    return !bad;
}


char *
usherd_conf_secret(const char *file)
{
    int     err;
    char    line[1024];
    FILE   *fp;

    fp = fopen(file, "re");
    if (fp == NULL) {
        return NULL;
    }

    errno = 0;

    if (fgets(line, sizeof(line), fp) == NULL) {
        err = errno ? errno : ENODATA;
        fclose(fp);
        errno = err;
        return NULL;
    }

    fclose(fp);

    line[strcspn(line, "\r\n")] = '\0';

    return strdup(line);
}
