/*
 * crowd.c - the load of util/chaos: paced requests with unique ids over
 * HTTP/1.1 and HTTP/2 connections that are expected to break.
 *
 *     crowd -r rate -k key [-b bad key] [-1 n] [-2 n] -p prefix -l log
 *           [-c every -g slug,slug] port:h2port ...
 *
 * Each target gets n connections of either sort.  Every request carries its
 * own X-Request-ID, <prefix>-<number>.  With -c so many a request is a click
 * on one of the links instead, <prefix>-l<number>, which is its sub1 as well,
 * by one of CROWD_VISITORS agents, "p<number>" in its User-Agent, or "b", who
 * is a robot.  What happens is written to the log, one line each, times being
 * CLOCK_REALTIME in us:
 *
 *     <time> o <connection> <target> <1|2>                   opened
 *     <time> s <connection> <id> [<slug> <agent>]            sent
 *     <time> a <connection> <id> <status> <pid> [<location>] answered whole
 *     <time> r <connection> <id>          stream reset by the server
 *     <time> c <connection> <why>         closed
 *
 * The location is that of HTTP/1.1: over HTTP/2 nginx compresses it.
 *
 * why is "server" (it closed), "send" (nothing could be sent), "late" (no
 * answer in CROWD_PATIENCE) or "end".  Patience is long, for who hangs up on
 * HTTP/2 leaves requests behind that were never read: nginx closes at the
 * first answer that it cannot write.
 *
 * pid is the worker that answered, from the header X-Worker or, over HTTP/2,
 * from "pid=" in the body; 0 if the answer did not tell.  What was sent on a
 * connection and neither answered nor reset was open when it closed.
 *
 * One request in 50 carries the bad key.  SIGTERM ends it: nothing new is
 * sent, and what is open has ten seconds.
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "crowd.h"


#define CROWD_CONNS     256
#define CROWD_SLUGS     16
#define CROWD_VISITORS  400
#define CROWD_RETRY     20000        /* us between attempts to connect */
#define CROWD_PATIENCE  60000000     /* us without an answer: hang up */
#define CROWD_END       10000000     /* us for what is open at the end */


static void crowd_stop(int signo);
static uint64_t crowd_now(void);
static void crowd_connect(crowd_conn_t *c);
static crowd_conn_t *crowd_free(void);
static void crowd_send(crowd_conn_t *c);
static void crowd_page(crowd_ask_t *ask, char *id);
static void crowd_click(crowd_ask_t *ask, char *id);
static size_t crowd_http1(char *out, const char *id, const crowd_ask_t *ask);
static void crowd_read(crowd_conn_t *c);
static void crowd_answer1(crowd_conn_t *c);
static char *crowd_location(char *text, char *end);
static unsigned crowd_open(void);


static int            crowd_ep;
static FILE          *crowd_log;
static double         crowd_rate = 500;
static unsigned       crowd_nconns;
static uint64_t       crowd_number;
static uint64_t       crowd_serial;
static const char    *crowd_key;
static const char    *crowd_bad;
static const char    *crowd_prefix = "c";
static unsigned       crowd_every;   /* one in so many is a click; 0: none */
static unsigned       crowd_nslugs;
static char          *crowd_slugs[CROWD_SLUGS];
static crowd_conn_t  *crowd_conn;

static volatile sig_atomic_t  crowd_stopping;


static void
crowd_add(int port, unsigned target, unsigned h2)
{
    crowd_conn_t  *c;

    if (crowd_nconns == CROWD_CONNS) {
        fprintf(stderr, "crowd: too many connections\n");
        exit(2);
    }

    c = &crowd_conn[crowd_nconns++];
    c->fd = -1;
    c->port = port;
    c->target = target;
    c->h2 = h2 ? 1 : 0;
}


static void
crowd_options(int argc, char **argv)
{
    int       opt, port, port2;
    char     *slug;
    unsigned  i, n1, n2, target;

    n1 = 8;
    n2 = 2;

    while ((opt = getopt(argc, argv, "r:k:b:1:2:p:l:c:g:")) != -1) {
        switch (opt) {
        case 'r':
            crowd_rate = strtod(optarg, NULL);
            break;
        case 'k':
            crowd_key = optarg;
            break;
        case 'b':
            crowd_bad = optarg;
            break;
        case '1':
            n1 = (unsigned) atoi(optarg);
            break;
        case '2':
            n2 = (unsigned) atoi(optarg);
            break;
        case 'p':
            crowd_prefix = optarg;
            break;
        case 'l':
            crowd_log = fopen(optarg, "w");
            break;
        case 'c':
            crowd_every = (unsigned) atoi(optarg);
            break;
        case 'g':
            for (slug = strtok(optarg, ","); slug && crowd_nslugs < CROWD_SLUGS;
                 slug = strtok(NULL, ","))
            {
                crowd_slugs[crowd_nslugs++] = slug;
            }
            break;
        default:
            exit(2);
        }
    }

    if (crowd_key == NULL || crowd_log == NULL || crowd_rate <= 0
        || strlen(crowd_prefix) > 32 || strlen(crowd_key) > 100
        || (crowd_every && crowd_nslugs == 0) || optind == argc)
    {
        fprintf(stderr, "usage: crowd -r rate -k key -l log [-b bad key] "
                "[-1 n] [-2 n] [-p prefix] [-c every -g slug,slug] "
                "port:h2port ...\n");
        exit(2);
    }

    crowd_conn = calloc(CROWD_CONNS, sizeof(crowd_conn_t));

    if (crowd_conn == NULL) {
        perror("crowd");
        exit(1);
    }

    for (target = 0; optind + (int) target < argc; target++) {
        if (sscanf(argv[optind + (int) target], "%d:%d", &port, &port2) != 2) {
            fprintf(stderr, "crowd: not port:port\n");
            exit(2);
        }

        for (i = 0; i < n1; i++) {
            crowd_add(port, target, 0);
        }

        for (i = 0; i < n2; i++) {
            crowd_add(port2, target, 1);
        }
    }
}


int
main(int argc, char **argv)
{
    int                 i, n;
    uint64_t            due, end, flushed, gap, last, now, patient;
    struct timespec     wait;
    struct epoll_event  events[64];
    crowd_conn_t       *c;

    crowd_options(argc, argv);
    signal(SIGTERM, crowd_stop);
    signal(SIGPIPE, SIG_IGN);

    crowd_ep = epoll_create1(EPOLL_CLOEXEC);
    gap = (uint64_t) (1e6 / crowd_rate);
    due = crowd_now();
    flushed = due;
    last = due;
    end = 0;
    patient = 0;

    for ( ;; ) {
        now = crowd_now();

        if (now - last > 500000) {           /* we were stopped: read first */
            due = now + 20000;
            patient = now + 1000000;
        }

        last = now;

        if (crowd_stopping && end == 0) {
            end = now + CROWD_END;
        }

        if (end && (now > end || crowd_open() == 0)) {
            break;
        }

        for (i = 0; i < (int) crowd_nconns && end == 0; i++) {
            if (crowd_conn[i].fd == -1 && crowd_conn[i].retry <= now) {
                crowd_connect(&crowd_conn[i]);
            }
        }

        while (due <= now && end == 0) {
            c = crowd_free();

            if (c != NULL) {
                crowd_send(c);
            }

            due += gap;
        }

        for (i = 0; i < (int) crowd_nconns; i++) {
            c = &crowd_conn[i];
            for (n = 0; n < CROWD_STREAMS && c->fd != -1; n++) {
                if (c->requests[n].sent && patient < now
                    && c->requests[n].sent + CROWD_PATIENCE < now)
                {
                    crowd_close(c, "late");
                }
            }
        }

        if (now - flushed > 50000) {
            fflush(crowd_log);
            flushed = now;
        }

        wait.tv_sec = 0;
        wait.tv_nsec = 1000L * (long) (due > now && due - now < 10000
                                       ? due - now : 10000);

        n = epoll_pwait2(crowd_ep, events, 64, &wait, NULL);

        for (i = 0; i < n; i++) {
            crowd_read(events[i].data.ptr);
        }
    }

    for (i = 0; i < (int) crowd_nconns; i++) {
        crowd_close(&crowd_conn[i], "end");
    }

    if (fclose(crowd_log) != 0) {
        perror("crowd: log");
        return 1;
    }

    return 0;
}


static void
crowd_stop(int signo)
{
    (void) signo;
    crowd_stopping = 1;
}


static uint64_t
crowd_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (uint64_t) ts.tv_sec * 1000000ULL + (uint64_t) ts.tv_nsec / 1000;
}


static unsigned
crowd_open(void)
{
    unsigned  i, n;

    n = 0;

    for (i = 0; i < crowd_nconns; i++) {
        n += crowd_conn[i].open;
    }

    return n;
}


/* Loopback: connect() is done at once or refused at once. */

static void
crowd_connect(crowd_conn_t *c)
{
    int                 one;
    struct sockaddr_in  sin;
    struct epoll_event  ev;

    one = 1;
    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons((uint16_t) c->port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    c->retry = crowd_now() + CROWD_RETRY;
    c->fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);

    if (c->fd == -1) {
        return;
    }

    if (connect(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1) {
        close(c->fd);
        c->fd = -1;
        return;
    }

    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);

    ev.events = EPOLLIN;
    ev.data.ptr = c;
    epoll_ctl(crowd_ep, EPOLL_CTL_ADD, c->fd, &ev);

    c->serial = ++crowd_serial;
    c->pid = 0;
    c->have = 0;
    c->open = 0;
    c->goaway = 0;
    c->next = 1;
    memset(c->requests, 0, sizeof(c->requests));

    fprintf(crowd_log, "%lu o %lu %u %d\n", crowd_now(), c->serial, c->target,
            c->h2 ? 2 : 1);

    if (c->h2) {
        crowd_hello(c);
    }
}


void
crowd_close(crowd_conn_t *c, const char *why)
{
    if (c->fd == -1) {
        return;
    }

    fprintf(crowd_log, "%lu c %lu %s\n", crowd_now(), c->serial, why);
    close(c->fd);
    c->fd = -1;
    c->open = 0;
}


int
crowd_write(crowd_conn_t *c, const void *data, size_t len)
{
    if (send(c->fd, data, len, MSG_NOSIGNAL) == (ssize_t) len) {
        return 0;
    }

    crowd_close(c, "send");

    return -1;
}


/* The next connection, in turn, that can take a request. */

static crowd_conn_t *
crowd_free(void)
{
    unsigned         i;
    crowd_conn_t    *c;
    static unsigned  turn;

    for (i = 0; i < crowd_nconns; i++) {
        c = &crowd_conn[turn++ % crowd_nconns];

        if (c->fd != -1 && !c->goaway
            && c->open < (c->h2 ? CROWD_STREAMS : 1))
        {
            return c;
        }
    }

    return NULL;
}


static void
crowd_send(crowd_conn_t *c)
{
    size_t            len;
    unsigned          i;
    crowd_ask_t       ask;
    unsigned char     out[1024];
    crowd_request_t  *rq;

    for (i = 0; c->requests[i].sent; i++) { /* void */ }

    rq = &c->requests[i];
    rq->sent = crowd_now();
    rq->status = 0;
    rq->stream = c->next;
    c->open++;

    crowd_number++;

    if (crowd_every && crowd_number % crowd_every == 0) {
        crowd_click(&ask, rq->id);

    } else {
        crowd_page(&ask, rq->id);
    }

    if (c->h2) {
        len = crowd_http2(c, out, rq->id, &ask);

    } else {
        len = crowd_http1((char *) out, rq->id, &ask);
    }

    fprintf(crowd_log, "%lu s %lu %s%s\n", rq->sent, c->serial, rq->id,
            ask.what);
    crowd_write(c, out, len);
}


static void
crowd_page(crowd_ask_t *ask, char *id)
{
    sprintf(id, "%s-%lu", crowd_prefix, crowd_number);
    sprintf(ask->path, "/v1/page?q=%s", id);
    strcpy(ask->agent, "crowd");
    ask->key = (crowd_bad != NULL && crowd_number % 50 == 1) ? crowd_bad
                                                              : crowd_key;
    ask->what[0] = '\0';
}


/* One visitor in ten is a robot. */

static void
crowd_click(crowd_ask_t *ask, char *id)
{
    long         who;
    const char  *slug;

    who = random() % CROWD_VISITORS;
    slug = crowd_slugs[random() % crowd_nslugs];

    sprintf(id, "%s-l%lu", crowd_prefix, crowd_number);
    snprintf(ask->path, sizeof(ask->path), "/go/%s?sub1=%s", slug, id);

    sprintf(ask->agent, who % 10 ? "Mozilla/5.0 (X11; Linux x86_64; p%ld) "
                                   "Gecko/20100101 Firefox/128.0"
                                 : "Googlebot/2.1 (b%ld)", who);
    ask->key = NULL;
    snprintf(ask->what, sizeof(ask->what), " %s %c%ld", slug,
             who % 10 ? 'p' : 'b', who);
}


static size_t
crowd_http1(char *out, const char *id, const crowd_ask_t *ask)
{
    int  n;

    n = sprintf(out, "GET %s HTTP/1.1\r\nHost: localhost\r\n"
                "User-Agent: %s\r\nX-Request-ID: %s\r\n", ask->path,
                ask->agent, id);

    if (ask->key != NULL) {
        n += sprintf(out + n, "X-API-Key: %s\r\n", ask->key);
    }

    n += sprintf(out + n, "\r\n");

    return (size_t) n;
}


static void
crowd_read(crowd_conn_t *c)
{
    ssize_t  n;

    if (c->fd == -1) {
        return;
    }

    n = recv(c->fd, c->buffer + c->have, CROWD_BUFFER - 1 - c->have, 0);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n <= 0) {
        crowd_close(c, "server");
        return;
    }

    c->have += (size_t) n;
    c->buffer[c->have] = '\0';

    if (c->h2) {
        crowd_answer2(c);

    } else {
        crowd_answer1(c);
    }
}


static void
crowd_answer1(crowd_conn_t *c)
{
    char             *end, *p, *text;
    size_t            body;
    crowd_request_t  *rq;

    text = (char *) c->buffer;
    end = strstr(text, "\r\n\r\n");

    if (end == NULL) {
        return;
    }

    body = 0;
    p = strcasestr(text, "\r\nContent-Length:");

    if (p != NULL && p < end) {
        body = strtoul(p + sizeof("\r\nContent-Length:") - 1, NULL, 10);
    }

    if (c->have < (size_t) (end + 4 - text) + body) {
        return;
    }

    p = strcasestr(text, "\r\nX-Worker:");

    if (p != NULL && p < end) {
        c->pid = atoi(p + sizeof("\r\nX-Worker:") - 1);
    }

    rq = crowd_find(c, c->next);

    if (rq != NULL) {
        rq->status = atoi(text + sizeof("HTTP/1.1 ") - 1);
        crowd_done(c, rq, 'a', crowd_location(text, end));
    }

    c->have = 0;
    p = strcasestr(text, "\r\nConnection: close");

    if (p != NULL && p < end) {
        crowd_close(c, "server");
    }
}


/* NULL: there is none. */

static char *
crowd_location(char *text, char *end)
{
    char        *p;
    static char  location[512];

    p = strcasestr(text, "\r\nLocation: ");

    if (p == NULL || p > end) {
        return NULL;
    }

    p += sizeof("\r\nLocation: ") - 1;
    snprintf(location, sizeof(location), "%.*s", (int) strcspn(p, "\r"), p);

    return location;
}


void
crowd_done(crowd_conn_t *c, crowd_request_t *rq, char what,
    const char *location)
{
    if (what == 'a') {
        fprintf(crowd_log, "%lu a %lu %s %d %d%s%s\n", crowd_now(), c->serial,
                rq->id, rq->status, c->pid, location ? " " : "",
                location ? location : "");
    } else {
        fprintf(crowd_log, "%lu r %lu %s\n", crowd_now(), c->serial, rq->id);
    }

    rq->sent = 0;
    c->open--;
}


crowd_request_t *
crowd_find(crowd_conn_t *c, uint32_t stream)
{
    unsigned  i;

    for (i = 0; i < CROWD_STREAMS; i++) {
        if (c->requests[i].sent
            && (!c->h2 || c->requests[i].stream == stream))
        {
            return &c->requests[i];
        }
    }

    return NULL;
}
