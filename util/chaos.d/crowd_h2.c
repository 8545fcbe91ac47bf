/*
 * crowd_h2.c - as much of HTTP/2 as the load of util/chaos needs.
 */


#define _GNU_SOURCE

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crowd.h"


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


static unsigned char *crowd_header(unsigned char *p, const char *name,
    const char *value);
static unsigned char *crowd_text(unsigned char *p, const char *text);
static void crowd_frame(unsigned char *p, size_t len, int type, int flags,
    uint32_t stream);
static int crowd_on_frame(crowd_conn_t *c, unsigned char *p, size_t len,
    int type, int flags, uint32_t stream);
static int crowd_status(const unsigned char *p, size_t len);


void
crowd_hello(crowd_conn_t *c)
{
    unsigned char  hello[64];

    memcpy(hello, CROWD_PREFACE, 24);
    crowd_frame(hello + 24, 0, H2_SETTINGS, 0, 0);
    crowd_frame(hello + 33, 4, H2_WINDOW, 0, 0);
    memcpy(hello + 42, "\x3f\xff\xff\xff", 4);
    crowd_write(c, hello, 46);
}


/* Header fields as literals without index and without Huffman coding. */

size_t
crowd_http2(crowd_conn_t *c, unsigned char *out, const char *id,
    const crowd_ask_t *ask)
{
    unsigned char  *p;

    p = out + 9;
    *p++ = 0x82;                             /* :method GET */
    *p++ = 0x86;                             /* :scheme http */
    *p++ = 0x04;                             /* :path */
    p = crowd_text(p, ask->path);
    *p++ = 0x01;                             /* :authority */
    p = crowd_text(p, "localhost");
    p = crowd_header(p, "user-agent", ask->agent);
    p = crowd_header(p, "x-request-id", id);

    if (ask->key != NULL) {
        p = crowd_header(p, "x-api-key", ask->key);
    }

    crowd_frame(out, (size_t) (p - out) - 9, H2_HEADERS,
                H2_END_STREAM|H2_END_HEADERS, c->next);
    c->next += 2;

    return (size_t) (p - out);
}


static unsigned char *
crowd_header(unsigned char *p, const char *name, const char *value)
{
    *p++ = 0x00;
    p = crowd_text(p, name);

    return crowd_text(p, value);
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


void
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
            crowd_done(c, rq, 'r', NULL);
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
        crowd_done(c, rq, 'a', NULL);
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
