/*
 * crowd.c - the load of util/chaos: paced requests with unique ids over
 * HTTP/1.1 and HTTP/2 connections that are expected to break.
 *
 *     crowd -r rate -k key [-b bad key] [-1 n] [-2 n] -p prefix -l log
 *           port:h2port ...
 *
 * Each target gets n connections of either sort.  Every request carries its
 * own X-Request-ID, <prefix>-<number>.  What happens is written to the log,
 * one line each, times being CLOCK_REALTIME in us:
 *
 *     <time> o <connection> <target> <1|2>        opened
 *     <time> s <connection> <id>                  sent
 *     <time> a <connection> <id> <status> <pid>   answered whole
 *     <time> r <connection> <id>                  stream reset by the server
 *     <time> c <connection> <why>                 closed
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


#define CROWD_CONNS     256
#define CROWD_STREAMS   8
#define CROWD_BUFFER    65536
#define CROWD_RETRY     20000        /* us between attempts to connect */
#define CROWD_PATIENCE  60000000     /* us without an answer: hang up */
#define CROWD_END       10000000     /* us for what is open at the end */

#define CROWD_PREFACE   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

#define H2_DATA         0
#define H2_HEADERS      1
#define H2_RST_STREAM   3
#define H2_SETTINGS     4
#define H2_PING         6
#define H2_GOAWAY       7
#define H2_WINDOW       8

#define H2_END_STREAM   1
#define H2_ACK          1
#define H2_END_HEADERS  4
#define H2_PADDED       8
#define H2_PRIORITY     32


typedef struct {
    uint32_t       stream;           /* HTTP/2 stream id; 0: not in use */
    int            status;
    uint64_t       number;           /* of the request, in its id */
    uint64_t       sent;             /* us */
} crowd_request_t;


typedef struct {
    int              fd;             /* -1: not connected */
    int              port;
    int              pid;            /* worker, once it told */
    unsigned         target;
    unsigned         h2:1;
    unsigned         goaway:1;       /* takes no new streams */
    unsigned         open;           /* requests in requests */
    uint32_t         next;           /* HTTP/2: next stream id */
    uint64_t         serial;         /* running number of connections */
    uint64_t         retry;          /* us: not before */
    size_t           have;
    crowd_request_t  requests[CROWD_STREAMS];
    unsigned char    buffer[CROWD_BUFFER];
} crowd_conn_t;


static void crowd_stop(int signo);
static uint64_t crowd_now(void);
static void crowd_connect(crowd_conn_t *c);
static void crowd_close(crowd_conn_t *c, const char *why);
static int crowd_write(crowd_conn_t *c, const void *data, size_t len);
static crowd_conn_t *crowd_free(void);
static void crowd_send(crowd_conn_t *c);
static size_t crowd_http1(char *out, const char *id, const char *key);
static size_t crowd_http2(crowd_conn_t *c, unsigned char *out, const char *id,
    const char *key);
static unsigned char *crowd_text(unsigned char *p, const char *text);
static void crowd_frame(unsigned char *p, size_t len, int type, int flags,
    uint32_t stream);
static void crowd_read(crowd_conn_t *c);
static void crowd_answer1(crowd_conn_t *c);
static void crowd_answer2(crowd_conn_t *c);
static int crowd_on_frame(crowd_conn_t *c, unsigned char *p, size_t len,
    int type, int flags, uint32_t stream);
static int crowd_status(const unsigned char *p, size_t len);
static void crowd_done(crowd_conn_t *c, crowd_request_t *rq, char what);
static crowd_request_t *crowd_find(crowd_conn_t *c, uint32_t stream);
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
    unsigned  i, n1, n2, target;

    n1 = 8;
    n2 = 2;

    while ((opt = getopt(argc, argv, "r:k:b:1:2:p:l:")) != -1) {
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
        default:
            exit(2);
        }
    }

    if (crowd_key == NULL || crowd_log == NULL || crowd_rate <= 0
        || strlen(crowd_prefix) > 32 || strlen(crowd_key) > 100
        || optind == argc)
    {
        fprintf(stderr, "usage: crowd -r rate -k key -l log [-b bad key] "
                "[-1 n] [-2 n] [-p prefix] port:h2port ...\n");
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
    unsigned char       hello[64];
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
        memcpy(hello, CROWD_PREFACE, 24);
        crowd_frame(hello + 24, 0, H2_SETTINGS, 0, 0);
        crowd_frame(hello + 33, 4, H2_WINDOW, 0, 0);
        memcpy(hello + 42, "\x3f\xff\xff\xff", 4);
        crowd_write(c, hello, 46);
    }
}


static void
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


static int
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
    char              id[64];
    size_t            len;
    const char       *key;
    unsigned          i;
    unsigned char     out[1024];
    crowd_request_t  *rq;

    crowd_number++;
    key = (crowd_bad != NULL && crowd_number % 50 == 0) ? crowd_bad : crowd_key;
    sprintf(id, "%s-%lu", crowd_prefix, crowd_number);

    for (i = 0; c->requests[i].sent; i++) { /* void */ }

    rq = &c->requests[i];
    rq->number = crowd_number;
    rq->sent = crowd_now();
    rq->status = 0;
    rq->stream = c->next;
    c->open++;

    if (c->h2) {
        len = crowd_http2(c, out, id, key);

    } else {
        len = crowd_http1((char *) out, id, key);
    }

    fprintf(crowd_log, "%lu s %lu %s\n", rq->sent, c->serial, id);
    crowd_write(c, out, len);
}


static size_t
crowd_http1(char *out, const char *id, const char *key)
{
    return (size_t) sprintf(out, "GET /v1/page?q=%s HTTP/1.1\r\n"
                            "Host: localhost\r\nUser-Agent: crowd\r\n"
                            "X-Request-ID: %s\r\nX-API-Key: %s\r\n\r\n",
                            id, id, key);
}


/* Header fields as literals without index and without Huffman coding. */

static size_t
crowd_http2(crowd_conn_t *c, unsigned char *out, const char *id,
    const char *key)
{
    char            path[96];
    unsigned char  *p;

    sprintf(path, "/v1/page?q=%s", id);

    p = out + 9;
    *p++ = 0x82;                             /* :method GET */
    *p++ = 0x86;                             /* :scheme http */
    *p++ = 0x04;                             /* :path */
    p = crowd_text(p, path);
    *p++ = 0x01;                             /* :authority */
    p = crowd_text(p, "localhost");
    *p++ = 0x00;
    p = crowd_text(p, "x-request-id");
    p = crowd_text(p, id);
    *p++ = 0x00;
    p = crowd_text(p, "x-api-key");
    p = crowd_text(p, key);

    crowd_frame(out, (size_t) (p - out) - 9, H2_HEADERS,
                H2_END_STREAM|H2_END_HEADERS, c->next);
    c->next += 2;

    return (size_t) (p - out);
}


static unsigned char *
crowd_text(unsigned char *p, const char *text)
{
    size_t  len;

    len = strlen(text);                      /* below 127: one byte */
    *p++ = (unsigned char) len;
    memcpy(p, text, len);

    return p + len;
}


static void
crowd_frame(unsigned char *p, size_t len, int type, int flags, uint32_t stream)
{
    p[0] = (unsigned char) (len >> 16);
    p[1] = (unsigned char) (len >> 8);
    p[2] = (unsigned char) len;
    p[3] = (unsigned char) type;
    p[4] = (unsigned char) flags;
    p[5] = (unsigned char) (stream >> 24);
    p[6] = (unsigned char) (stream >> 16);
    p[7] = (unsigned char) (stream >> 8);
    p[8] = (unsigned char) stream;
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
        crowd_done(c, rq, 'a');
    }

    c->have = 0;
    p = strcasestr(text, "\r\nConnection: close");

    if (p != NULL && p < end) {
        crowd_close(c, "server");
    }
}


static void
crowd_answer2(crowd_conn_t *c)
{
    size_t          len, off;
    unsigned char  *p;

    off = 0;

    while (c->fd != -1 && c->have - off >= 9) {
        p = c->buffer + off;
        len = (size_t) p[0] << 16 | (size_t) p[1] << 8 | p[2];

        if (len > CROWD_BUFFER / 2) {
            crowd_close(c, "server");
            return;
        }

        if (c->have - off < 9 + len) {
            break;
        }

        if (crowd_on_frame(c, p + 9, len, p[3], p[4],
                           (uint32_t) (p[5] & 0x7f) << 24
                           | (uint32_t) p[6] << 16 | (uint32_t) p[7] << 8
                           | p[8])
            == -1)
        {
            return;
        }

        off += 9 + len;
    }

    memmove(c->buffer, c->buffer + off, c->have - off);
    c->have -= off;

    if (c->fd != -1 && c->goaway && c->open == 0) {
        crowd_close(c, "server");
    }
}


static int
crowd_on_frame(crowd_conn_t *c, unsigned char *p, size_t len, int type,
    int flags, uint32_t stream)
{
    unsigned char    *pid;
    unsigned char     ack[17];
    crowd_request_t  *rq;

    rq = stream ? crowd_find(c, stream) : NULL;

    switch (type) {

    case H2_HEADERS:
        if (rq != NULL && !(flags & (H2_PADDED|H2_PRIORITY))) {
            rq->status = crowd_status(p, len);
        }
        break;

    case H2_DATA:
        pid = memmem(p, len, "pid=", 4);
        if (pid != NULL) {
            c->pid = atoi((char *) pid + 4);
        }
        break;

    case H2_RST_STREAM:
        if (rq != NULL) {
            crowd_done(c, rq, 'r');
        }
        return 0;

    case H2_SETTINGS:
        if (!(flags & H2_ACK)) {
            crowd_frame(ack, 0, H2_SETTINGS, H2_ACK, 0);
            return crowd_write(c, ack, 9);
        }
        return 0;

    case H2_PING:
        if (!(flags & H2_ACK) && len == 8) {
            crowd_frame(ack, 8, H2_PING, H2_ACK, 0);
            memcpy(ack + 9, p, 8);
            return crowd_write(c, ack, 17);
        }
        return 0;

    case H2_GOAWAY:
        c->goaway = 1;
        return 0;

    default:
        return 0;
    }

    if (rq != NULL && (flags & H2_END_STREAM)) {
        crowd_done(c, rq, 'a');
    }

    return 0;
}


/* nginx writes :status first, indexed or as three plain digits. */

static int
crowd_status(const unsigned char *p, size_t len)
{
    static const int  indexed[] = { 200, 204, 206, 304, 400, 404, 500 };

    while (len && (p[0] & 0xe0) == 0x20) {   /* table size update */
        p++;
        len--;
    }

    if (len && p[0] >= 0x88 && p[0] <= 0x8e) {
        return indexed[p[0] - 0x88];
    }

    if (len >= 5 && p[1] == 3) {
        return (p[2] - '0') * 100 + (p[3] - '0') * 10 + (p[4] - '0');
    }

    return 0;
}


static void
crowd_done(crowd_conn_t *c, crowd_request_t *rq, char what)
{
    if (what == 'a') {
        fprintf(crowd_log, "%lu a %lu %s-%lu %d %d\n", crowd_now(), c->serial,
                crowd_prefix, rq->number, rq->status, c->pid);
    } else {
        fprintf(crowd_log, "%lu r %lu %s-%lu\n", crowd_now(), c->serial,
                crowd_prefix, rq->number);
    }

    rq->sent = 0;
    c->open--;
}


static crowd_request_t *
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
