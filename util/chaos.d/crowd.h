/*
 * crowd.h - what the load of util/chaos keeps of a connection.
 */


#ifndef CROWD_H
#define CROWD_H


#include <stddef.h>
#include <stdint.h>


#define CROWD_STREAMS   8
#define CROWD_BUFFER    65536


typedef struct {
    uint32_t       stream;           /* HTTP/2 stream id; 0: not in use */
    int            status;
    uint64_t       sent;             /* us; 0: not in use */
    char           id[64];
} crowd_request_t;


typedef struct {
    char           path[160];
    char           agent[120];
    const char    *key;              /* NULL: none */
    char           what[64];         /* for the log */
} crowd_ask_t;


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


void crowd_close(crowd_conn_t *c, const char *why);
int crowd_write(crowd_conn_t *c, const void *data, size_t len);
crowd_request_t *crowd_find(crowd_conn_t *c, uint32_t stream);
void crowd_done(crowd_conn_t *c, crowd_request_t *rq, char what,
    const char *location);

void crowd_hello(crowd_conn_t *c);
size_t crowd_http2(crowd_conn_t *c, unsigned char *out, const char *id,
    const crowd_ask_t *ask);
void crowd_answer2(crowd_conn_t *c);


#endif
