/*
 * metrics.c - the daemon's own metrics, Prometheus text, by the supervisor.
 *
 * The duties write their counters into a mapping they share with the
 * supervisor; each word has one writer, and a word is read in one load.  A
 * counter survives the restart of its duty.
 */


#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "usherd.h"


#define USHERD_METRICS_ROOM  (64 * 1024)


typedef struct {
    char    *data;
    size_t   len;
    size_t   room;
} usherd_text_t;


static int usherd_metrics_unix(const char *path);
static int usherd_metrics_inet(const char *address);
static void usherd_metrics_text(usherd_text_t *text);
static void usherd_metrics_series(usherd_text_t *text, const char *name,
    const char *type, const char *help, size_t offset);
static int usherd_metrics_without(usherd_process_t *p, const char *name);
static uint64_t usherd_metrics_lag(usherd_process_t *p, uint64_t lag);
static void usherd_metrics_classes(usherd_text_t *text);
static void usherd_metrics_put(usherd_text_t *text, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void usherd_metrics_send(int fd, const char *data, size_t len);


static const char  *usherd_classes[USHERD_CLASSES] = {
    "08", "22", "23", "40", "42", "53", "55", "57", "58", "other"
};


void
usherd_count_class(const char *sqlstate)
{
    unsigned  i;

    for (i = 0; i < USHERD_CLASSES - 1; i++) {
        if (memcmp(usherd_classes[i], sqlstate, 2) == 0) {
            break;
        }
    }

    usherd_self->classes[i]++;
}


int
usherd_metrics_listen(const char *address)
{
    int  fd;

    if (strncmp(address, "unix:", 5) == 0) {
        fd = usherd_metrics_unix(address + 5);

    } else {
        fd = usherd_metrics_inet(address);
    }

    if (fd == -1 || listen(fd, 16) == -1) {
        usherd_log(USHERD_LOG_ERROR, "cannot serve metrics at %s: %s",
                   address, strerror(errno));

        if (fd != -1) {
            close(fd);
        }

        return -1;
    }

    return fd;
}


static int
usherd_metrics_unix(const char *path)
{
    int                 fd;
    struct sockaddr_un  sun;

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;
    memcpy(sun.sun_path, path, strnlen(path, sizeof(sun.sun_path)));

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0);
    if (fd == -1) {
        return -1;
    }

    /* what a killed supervisor left; a live one's is taken over just so */

    (void) unlink(path);

    if (bind(fd, (struct sockaddr *) &sun, sizeof(sun)) == -1
        || chmod(path, 0666) == -1)
    {
        close(fd);
        return -1;
    }

    return fd;
}


static int
usherd_metrics_inet(const char *address)
{
    int               fd, on;
    char              host[256];
    size_t            len;
    const char       *colon;
    struct addrinfo   hints, *list;

    colon = strrchr(address, ':');
    len = (size_t) (colon - address);

    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }

    snprintf(host, sizeof(host), "%.*s", (int) len, address);

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE|AI_NUMERICSERV;

    if (getaddrinfo(host, colon + 1, &hints, &list) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }

    on = 1;
    fd = socket(list->ai_family, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0);

    if (fd != -1
        && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
            || bind(fd, list->ai_addr, list->ai_addrlen) == -1))
    {
        close(fd);
        fd = -1;
    }

    freeaddrinfo(list);

    return fd;
}


void
usherd_metrics_serve(int fd)
{
    int             peer;
    char            buf[4096];
    char            head[256];
    usherd_text_t   text;
    struct timeval  tv;

    peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer == -1) {
        return;
    }

    tv.tv_sec = 0;
    tv.tv_usec = 200000;

    (void) setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    (void) setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));

    /* whatever is asked, there is one answer */

    if (recv(peer, buf, sizeof(buf), 0) <= 0) {
        close(peer);
        return;
    }

    text.len = 0;
    text.room = USHERD_METRICS_ROOM;
    text.data = malloc(text.room);

    if (text.data != NULL) {
        usherd_metrics_text(&text);

        snprintf(head, sizeof(head), "HTTP/1.0 200 OK\r\n"
                 "Content-Type: text/plain; version=0.0.4\r\n"
                 "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                 text.len);

        usherd_metrics_send(peer, head, strlen(head));
        usherd_metrics_send(peer, text.data, text.len);

        free(text.data);
    }

    close(peer);
}


static void
usherd_metrics_send(int fd, const char *data, size_t len)
{
    ssize_t  n;

    while (len > 0) {
        n = send(fd, data, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return;
        }

        data += n;
        len -= (size_t) n;
    }
}


static void
usherd_metrics_text(usherd_text_t *text)
{
    unsigned           i;
    usherd_process_t  *p;

    usherd_metrics_put(text, "# HELP usherd_up 1: the duty runs.\n"
                       "# TYPE usherd_up gauge\n");

    for (i = 0; i < usherd_shared->nprocesses; i++) {
        p = &usherd_shared->process[i];
        usherd_metrics_put(text, "usherd_up{duty=\"%s\"} %d\n", p->name,
                           p->pid != 0);
    }

    usherd_metrics_series(text, "restarts", "counter",
                          "Times the duty was started again.",
                          offsetof(usherd_process_t, restarts));

#define _(name, help)                                                         \
    usherd_metrics_series(text, #name, "counter", help,                       \
                          offsetof(usherd_process_t, name));
    USHERD_COUNTERS(_)
#undef _

#define _(name, help)                                                         \
    usherd_metrics_series(text, #name, "gauge", help,                         \
                          offsetof(usherd_process_t, name));
    USHERD_GAUGES(_)
#undef _

    usherd_metrics_classes(text);
}


/* A series belongs to the duty its name begins with, or to all. */

static void
usherd_metrics_series(usherd_text_t *text, const char *name,
    const char *type, const char *help, size_t offset)
{
    size_t             len;
    unsigned           i, d, owned;
    uint64_t           value;
    const char        *total;
    usherd_process_t  *p;
    static const char  *duties[] = { "flush_", "directory_", "react_", "keep_",
                                     "health_" };

    total = strcmp(type, "counter") == 0 ? "_total" : "";

    usherd_metrics_put(text, "# HELP usherd_%s%s %s\n# TYPE usherd_%s%s %s\n",
                       name, total, help, name, total, type);

    owned = 0;
    len = strcspn(name, "_") + 1;

    for (d = 0; d < sizeof(duties) / sizeof(duties[0]); d++) {
        if (strncmp(duties[d], name, len) == 0) {
            owned = 1;
        }
    }

    for (i = 0; i < usherd_shared->nprocesses; i++) {
        p = &usherd_shared->process[i];

        if ((owned && strncmp(p->name, name, len - 1) != 0)
            || usherd_metrics_without(p, name))
        {
            continue;
        }

        value = *(volatile uint64_t *) (void *) ((char *) p + offset);

        if (offset == offsetof(usherd_process_t, flush_lag_ms)
            || offset == offsetof(usherd_process_t, directory_lag_ms)
            || offset == offsetof(usherd_process_t, react_lag_ms))
        {
            value = usherd_metrics_lag(p, value);
        }

        usherd_metrics_put(text, "usherd_%s%s{duty=\"%s\"} %llu\n", name,
                           total, p->name, (unsigned long long) value);
    }
}


/* React, keep and health have no Redis. */

static int
usherd_metrics_without(usherd_process_t *p, const char *name)
{
    return strncmp(name, "redis_", 6) == 0
           && (strncmp(p->name, "react", 5) == 0
               || strncmp(p->name, "keep", 4) == 0
               || strncmp(p->name, "health", 6) == 0);
}


static uint64_t
usherd_metrics_lag(usherd_process_t *p, uint64_t lag)
{
    uint64_t  now, caught;

    now = usherd_now();
    caught = p->caught;

    if (now - p->lagged > USHERD_LAG_MS) {
        lag = 0;
    }

    if (caught != 0 && now > caught && now - caught > lag) {
        lag = now - caught;
    }

    return lag;
}


static void
usherd_metrics_classes(usherd_text_t *text)
{
    unsigned           i, c;
    usherd_process_t  *p;

    usherd_metrics_put(text, "# HELP usherd_postgres_errors_total Errors of "
                       "PostgreSQL by class of SQLSTATE.\n"
                       "# TYPE usherd_postgres_errors_total counter\n");

    for (i = 0; i < usherd_shared->nprocesses; i++) {
        p = &usherd_shared->process[i];

        for (c = 0; c < USHERD_CLASSES; c++) {
            usherd_metrics_put(text, "usherd_postgres_errors_total{duty=\"%s\""
                               ",class=\"%s\"} %llu\n", p->name,
                               usherd_classes[c],
                               (unsigned long long) p->classes[c]);
        }
    }
}


static void
usherd_metrics_put(usherd_text_t *text, const char *fmt, ...)
{
    int      n;
    size_t   room;
    va_list  args;

    room = text->room - text->len;

    va_start(args, fmt);
    n = vsnprintf(text->data + text->len, room, fmt, args);
    va_end(args);

    /* a line that does not fit is left out whole */

    if (n > 0 && (size_t) n < room) {
        text->len += (size_t) n;
    }
}
