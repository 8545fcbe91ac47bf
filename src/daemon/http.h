/*
 * http.h - one HTTP request to whoever is not ours, guarded.
 *
 * DESIGN
 *
 * Where such requests go outsiders decide: who may write a link's target, an
 * endpoint or a platform's address could otherwise make the daemon speak to
 * its own network.  So an address that is not public is refused when the
 * socket to it is opened, after names were resolved: a name that resolves
 * otherwise the next time gains nothing.  Nor is there anything that would
 * lead elsewhere: no redirect is followed, no proxy taken from the
 * environment, no .netrc, no cookie, no protocol but HTTP, and each request
 * has a connection of its own.
 *
 * Time and size are bounded.  One thing is not: a resolver that hangs may
 * hold a request beyond total_ms, until the C library gives up.
 *
 * http.c is the only file that calls curl_*, and needs none of the others:
 * t/tool/http.c is made with it alone.
 */


#ifndef USHERD_HTTP_H
#define USHERD_HTTP_H


#include <stddef.h>
#include <stdint.h>


#define USHERD_HTTP_URL_MAX   8192     /* bytes of a URL */
#define USHERD_HTTP_HEAD_MAX  32768    /* bytes of all headers of an answer */


/* What went wrong, and its word, which is stored. */
#define USHERD_HTTP_ERRORS(_)                                                 \
    _(OK, "")                                                                 \
    _(URL, "url")              /* no http or https URL, or has a user */      \
    _(REQUEST, "request")      /* its method or a header cannot be */         \
    _(RESOLVE, "resolve")      /* the name has no address */                  \
    _(ADDRESS, "address")      /* not a public one: not asked */              \
    _(CONNECT, "connect")                                                     \
    _(TLS, "tls")              /* also: a certificate that does not hold */   \
    _(TIMEOUT, "timeout")                                                     \
    _(LARGE, "large")          /* the answer is longer than it may be */      \
    _(BROKEN, "broken")        /* no HTTP, or cut off */                      \
    _(INTERNAL, "internal")    /* ours: memory, a library */

#define USHERD_HTTP_ENUM(name, word)  USHERD_HTTP_##name,

typedef enum {
    USHERD_HTTP_ERRORS(USHERD_HTTP_ENUM)
    USHERD_HTTP_NERRORS
} usherd_http_error_e;

#undef USHERD_HTTP_ENUM


/* All of it is the caller's, and is read only. */
typedef struct {
    const char         *method;        /* "GET", "HEAD", "POST", ... */
    const char         *url;
    const char *const  *headers;       /* "Name: value", and NULL at the end; */
                                       /* NULL: none.  A body needs its */
                                       /* Content-Type here */
    const char         *body;          /* NULL: none */
    size_t              body_len;
    const char         *ca_file;       /* PEM of whom to trust; NULL: the */
                                       /* system's */
    uint64_t            connect_ms;
    uint64_t            total_ms;
    size_t              max;           /* bytes of the answer's body */
    unsigned            private:1;     /* 1: any address will do */
} usherd_http_request_t;

/*
 * Of an answer.  status is 0 if there was none, and holds whatever error says
 * if there was: of one whose body is too long the beginning is here.
 */
typedef struct {
    usherd_http_error_e  error;
    unsigned             status;
    char                *head;         /* header lines, each with CRLF */
    size_t               head_len;
    char                *body;         /* NULL: none; a NUL follows it */
    size_t               body_len;
    char                 reason[256];  /* of the error, for a log */
} usherd_http_response_t;


/* Once in a process, before the first request.  0, or -1. */
int usherd_http_init(void);

/*
 * Sends the request and waits for the answer.  *response is filled always,
 * and to be freed.  Returns its error.
 */
usherd_http_error_e usherd_http(const usherd_http_request_t *request,
    usherd_http_response_t *response);

/*
 * The value of the first header of this name, whatever its case, without
 * blanks around; not NUL-terminated.  NULL: there is none.
 */
const char *usherd_http_header(const usherd_http_response_t *response,
    const char *name, size_t *len);

void usherd_http_free(usherd_http_response_t *response);

/* Its word; "" for USHERD_HTTP_OK. */
const char *usherd_http_word(usherd_http_error_e error);


#endif
