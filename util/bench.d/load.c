/*
 * load.c - a load generator that counts exactly.
 *
 *     load [-c connections] [-n requests] [-r rate] [-H 'Name: value'] ...
 *          [-k file] [-u file] [-a] [-o] [-p] [-l] [-s seed] port path
 *
 * Sends n requests over keep-alive connections, one at a time on each, and
 * prints one line of JSON: requests by status, seconds, and latency.  With
 * -k, each request carries a random line of the file as "X-API-Key", or with
 * -o the next one; with -u, the line follows the path.  With -a, each comes
 * from an address of its own, by "X-Real-IP".
 *
 * Without -r a connection sends its next request at once.  With -r requests
 * are due at a fixed rate, and latency counts from the moment one was due,
 * so that a server that stalls cannot hide it by slowing the load down.
 *
 * With -p it polls and never sleeps: who answers a process that sleeps pays
 * for waking it, which on a virtual machine takes longer than the answer, and
 * is paid or not as chance has it.
 *
 * With -l it sends n requests and prints a line for each line that it reads,
 * over the same connections.
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define LOAD_CONNS     1024
#define LOAD_BUFFER    16384
#define LOAD_PATIENCE  20000000000ULL    /* ns without any answer: give up */


typedef struct {
    int        fd;
    unsigned   busy:1;
    size_t     have;                     /* bytes in buffer */
    uint64_t   due;                      /* ns; latency counts from here */
    char       buffer[LOAD_BUFFER];
} load_conn_t;


static void load_usage(void);
static uint64_t load_now(void);
static uint64_t load_random(void);
static void load_keys(const char *file);
static void load_connect(load_conn_t *c);
static void load_send(load_conn_t *c, uint64_t due);
static void load_read(load_conn_t *c);
static int load_answer(load_conn_t *c);
static void load_piece(void);
static void load_run(void);
static void load_report(double seconds);
static int load_compare(const void *one, const void *two);


static int          load_ep;
static int          load_port;
static int          load_in_order;
static int          load_polls;
static int          load_lines;
static int          load_urls;           /* keys are ends of paths */
static int          load_addresses;
static unsigned     load_nconns = 16;
static uint64_t     load_total = 10000;
static uint64_t     load_sent;
static uint64_t     load_done;
static uint64_t     load_reconnects;
static uint64_t     load_status[600];
static uint64_t     load_seed = 88172645463325252ULL;
static double       load_rate;
static size_t       load_nkeys;
static char         load_head[8192];     /* of the request before the key */
static char         load_tail[8192];
static char       **load_key;
static uint32_t    *load_us;             /* latency of each request, us */
static load_conn_t *load_conn;


int
main(int argc, char **argv)
{
    int       opt;
    char      headers[6144];
    size_t    len;
    unsigned  i;

    len = 0;
    headers[0] = '\0';

    while ((opt = getopt(argc, argv, "c:n:r:H:k:u:aopls:")) != -1) {
        switch (opt) {
        case 'c':
            load_nconns = (unsigned) strtoul(optarg, NULL, 10);
            break;
        case 'n':
            load_total = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            load_rate = strtod(optarg, NULL);
            break;
        case 'H':
            if (len + strlen(optarg) + 3 > sizeof(headers)) {
                load_usage();
            }
            len += (size_t) sprintf(headers + len, "%s\r\n", optarg);
            break;
        case 'k':
            load_keys(optarg);
            break;
        case 'u':
            load_urls = 1;
            load_keys(optarg);
            break;
        case 'a':
            load_addresses = 1;
            break;
        case 'o':
            load_in_order = 1;
            break;
        case 'p':
            load_polls = 1;
            break;
        case 'l':
            load_lines = 1;
            break;
        case 's':
            load_seed += strtoull(optarg, NULL, 10) * 2654435761ULL;
            break;
        default:
            load_usage();
        }
    }

    if (argc - optind != 2 || load_nconns == 0 || load_nconns > LOAD_CONNS
        || load_total == 0)
    {
        load_usage();
    }

    load_port = atoi(argv[optind]);

    if (strlen(argv[optind + 1]) > 1024) {
        load_usage();
    }

    if (load_urls) {
        sprintf(load_head, "GET %s", argv[optind + 1]);
        sprintf(load_tail, " HTTP/1.1\r\nHost: localhost\r\n%s", headers);

    } else {
        sprintf(load_head, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s%s",
                argv[optind + 1], headers, load_nkeys ? "X-API-Key: " : "");
        sprintf(load_tail, "%s", load_nkeys ? "\r\n" : "");
    }

    load_us = calloc(load_total, sizeof(uint32_t));
    load_conn = calloc(load_nconns, sizeof(load_conn_t));
    load_ep = epoll_create1(EPOLL_CLOEXEC);

    if (load_us == NULL || load_conn == NULL || load_ep == -1) {
        perror("load");
        return 1;
    }

    for (i = 0; i < load_nconns; i++) {
        load_connect(&load_conn[i]);
    }

    if (!load_lines) {
        load_piece();
        return 0;
    }

    while (fgets(headers, sizeof(headers), stdin) != NULL) {
        load_piece();
    }

    return 0;
}


static void
load_usage(void)
{
    fprintf(stderr, "usage: load [-c connections] [-n requests] [-r rate] "
            "[-H header] ... [-k keys] [-u urls] [-a] [-o] [-p] [-l] [-s seed] port "
            "path\n");
    exit(2);
}


static uint64_t
load_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000ULL + (uint64_t) ts.tv_nsec;
}


static uint64_t
load_random(void)
{
    load_seed ^= load_seed << 13;
    load_seed ^= load_seed >> 7;
    load_seed ^= load_seed << 17;

    return load_seed;
}


static void
load_keys(const char *file)
{
    FILE     *f;
    char      line[256];
    size_t    room;

    room = 0;
    f = fopen(file, "r");

    if (f == NULL) {
        perror(file);
        exit(1);
    }

    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';

        if (load_nkeys == room) {
            room = room ? room * 2 : 1024;
            load_key = realloc(load_key, room * sizeof(char *));
        }

        if (load_key == NULL
            || (load_key[load_nkeys++] = strdup(line)) == NULL)
        {
            perror("load");
            exit(1);
        }
    }

    fclose(f);

    if (load_nkeys == 0) {
        fprintf(stderr, "load: no keys in %s\n", file);
        exit(1);
    }
}


static void
load_connect(load_conn_t *c)
{
    int                 one;
    struct sockaddr_in  sin;
    struct epoll_event  ev;

    one = 1;
    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons((uint16_t) load_port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    c->fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);
    c->have = 0;
    c->busy = 0;

    if (c->fd == -1
        || connect(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1)
    {
        perror("load: connect");
        exit(1);
    }

    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

    ev.events = EPOLLIN;
    ev.data.ptr = c;
    epoll_ctl(load_ep, EPOLL_CTL_ADD, c->fd, &ev);
}


static void
load_send(load_conn_t *c, uint64_t due)
{
    char     request[3 * sizeof(load_head)];
    size_t   len;
    ssize_t  n;
    uint64_t address;

    len = (size_t) sprintf(request, "%s%s%s", load_head,
                           load_nkeys ? load_key[(load_in_order ? load_sent
                                                  : load_random())
                                                 % load_nkeys] : "",
                           load_tail);

    if (load_addresses) {
        address = load_random();
        len += (size_t) sprintf(request + len, "X-Real-IP: 10.%u.%u.%u\r\n",
                                (unsigned) (address >> 16 & 0xff),
                                (unsigned) (address >> 24 & 0xff),
                                (unsigned) (address >> 32 & 0xff));
    }

    len += (size_t) sprintf(request + len, "\r\n");

    c->due = due;
    c->busy = 1;
    load_sent++;

    n = send(c->fd, request, len, MSG_NOSIGNAL);

    if (n != (ssize_t) len) {
        perror("load: send");
        exit(1);
    }
}


static void
load_read(load_conn_t *c)
{
    int      rc;
    ssize_t  n;

    n = recv(c->fd, c->buffer + c->have, LOAD_BUFFER - 1 - c->have, 0);

    if (n <= 0) {
        if (c->busy) {
            fprintf(stderr, "load: connection lost in a request\n");
            exit(1);
        }

        load_reconnects++;
        close(c->fd);
        load_connect(c);
        return;
    }

    c->have += (size_t) n;
    c->buffer[c->have] = '\0';

    rc = load_answer(c);

    if (rc == 0) {
        return;
    }

    load_us[load_done++] = (uint32_t) ((load_now() - c->due) / 1000);
    c->busy = 0;
    c->have = 0;

    if (rc == 2) {
        load_reconnects++;
        close(c->fd);
        load_connect(c);
    }
}


/* 0: not whole yet, 1: whole, 2: whole, and the server closes */

static int
load_answer(load_conn_t *c)
{
    char    *end, *p;
    int      status;
    size_t   body;

    end = strstr(c->buffer, "\r\n\r\n");

    if (end == NULL) {
        return 0;
    }

    status = atoi(c->buffer + sizeof("HTTP/1.1 ") - 1);
    body = 0;
    p = strcasestr(c->buffer, "\r\nContent-Length:");

    if (p != NULL && p < end) {
        body = strtoul(p + sizeof("\r\nContent-Length:") - 1, NULL, 10);

    } else if (status != 204) {
        fprintf(stderr, "load: answer %d without a length\n", status);
        exit(1);
    }

    if (c->have < (size_t) (end + 4 - c->buffer) + body) {
        return 0;
    }

    if (status < 100 || status > 599
        || c->have != (size_t) (end + 4 - c->buffer) + body)
    {
        fprintf(stderr, "load: not an answer\n");
        exit(1);
    }

    load_status[status]++;
    p = strcasestr(c->buffer, "\r\nConnection: close");

    return (p != NULL && p < end) ? 2 : 1;
}


static void
load_piece(void)
{
    uint64_t  start;

    load_sent = 0;
    load_done = 0;
    load_reconnects = 0;
    memset(load_status, 0, sizeof(load_status));

    start = load_now();
    load_run();
    load_report((double) (load_now() - start) / 1e9);
}


static void
load_run(void)
{
    int                 i, n;
    unsigned            next;
    uint64_t            due, gap, now, last;
    struct timespec     wait;
    struct epoll_event  events[64];

    next = 0;
    gap = load_rate > 0 ? (uint64_t) (1e9 / load_rate) : 0;
    last = load_now();
    due = last;

    while (load_done < load_total) {
        now = load_now();

        for (i = 0; i < (int) load_nconns && load_sent < load_total; i++) {
            if (gap && due > now) {
                break;
            }

            if (!load_conn[next].busy) {
                load_send(&load_conn[next], gap ? due : load_now());
                due += gap;
            }

            next = (next + 1) % load_nconns;
        }

        wait.tv_sec = 1;
        wait.tv_nsec = 0;

        if (gap && load_sent < load_total && i < (int) load_nconns) {
            now = load_now();
            wait.tv_sec = 0;
            wait.tv_nsec = due > now ? (long) (due - now) % 1000000000L : 0;
        }

        if (load_polls) {
            wait.tv_sec = 0;
            wait.tv_nsec = 0;
        }

        n = epoll_pwait2(load_ep, events, 64, &wait, NULL);

        if (n == 0 && load_polls) {
            (void) sched_yield();
        }

        if (n > 0) {
            last = load_now();

        } else if (load_sent > load_done
                   && load_now() - last > LOAD_PATIENCE)
        {
            fprintf(stderr, "load: no answer for 20 s\n");
            exit(1);
        }

        for (i = 0; i < n; i++) {
            load_read(events[i].data.ptr);
        }
    }
}


static void
load_report(double seconds)
{
    unsigned    i;
    uint64_t    n;
    const char *comma;

    n = load_done;
    comma = "";
    qsort(load_us, n, sizeof(uint32_t), load_compare);

    printf("{\"requests\":%lu,\"seconds\":%.6f,\"reconnects\":%lu,"
           "\"status\":{", n, seconds, load_reconnects);

    for (i = 0; i < 600; i++) {
        if (load_status[i]) {
            printf("%s\"%u\":%lu", comma, i, load_status[i]);
            comma = ",";
        }
    }

    printf("},\"us\":{\"p50\":%u,\"p90\":%u,\"p99\":%u,\"p999\":%u,"
           "\"max\":%u}}\n", load_us[n / 2], load_us[n * 9 / 10],
           load_us[n * 99 / 100], load_us[n * 999 / 1000], load_us[n - 1]);
    fflush(stdout);
}


static int
load_compare(const void *one, const void *two)
{
    uint32_t  a, b;

    a = *(const uint32_t *) one;
    b = *(const uint32_t *) two;

    return (a > b) - (a < b);
}
