/*
 * log.c - one line per change of state, to stderr or a file.
 *
 * Each line is one write(2) to a descriptor opened with O_APPEND, so that
 * the lines of several processes never mix.
 */


#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "usherd.h"


#define USHERD_LOG_LINE  2048


static int   usherd_log_fd = STDERR_FILENO;
static char  usherd_log_who[32] = "usherd";


int
usherd_log_open(const char *file)
{
    int  fd;

    if (file == NULL || strcmp(file, "stderr") == 0) {
        return USHERD_OK;
    }

    fd = open(file, O_WRONLY|O_APPEND|O_CREAT|O_CLOEXEC, 0640);
    if (fd == -1) {
        return USHERD_ERROR;
    }

    usherd_log_fd = fd;

    return USHERD_OK;
}


void
usherd_log_name(const char *name)
{
    snprintf(usherd_log_who, sizeof(usherd_log_who), "%s", name);
}


void
usherd_log(int level, const char *fmt, ...)
{
    int                 n;
    char                line[USHERD_LOG_LINE], when[32];
    char               *p;
    size_t              len;
    time_t              now;
    va_list             args;
    struct tm           tm;
    static const char  *names[] = { "alert", "error", "warn", "info" };

    now = time(NULL);
    localtime_r(&now, &tm);
    strftime(when, sizeof(when), "%Y/%m/%d %H:%M:%S", &tm);

    n = snprintf(line, sizeof(line), "%s [%s] %d %s: ", when, names[level],
                 (int) getpid(), usherd_log_who);
    len = (size_t) n;

    va_start(args, fmt);
    n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, args);
    va_end(args);

    if (n > 0) {
        len += (size_t) n;
    }

    if (len > sizeof(line) - 2) {
        len = sizeof(line) - 2;
    }

    /* what servers say may have several lines; a line of the log is one */

    for (p = line; p < line + len; p++) {
        if ((unsigned char) *p < 0x20) {
            *p = ' ';
        }
    }

    line[len++] = '\n';

    if (write(usherd_log_fd, line, len) == -1) {
        return;
    }
}
