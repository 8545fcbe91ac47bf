/*
 * http.c - the one file that speaks to libcurl.
 */


#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "http.h"

#include "usher_address.h"
#include "usher_url.h"
#include "usher_version.h"


/* One request under way. */
typedef struct {
    CURL                         *curl;
    struct curl_slist            *headers;
    const usherd_http_request_t  *request;
    usherd_http_response_t       *response;
    usher_address_e               refused;    /* PUBLIC: none was */
    unsigned                      large:1;    /* the bound was reached */
    unsigned                      memory:1;   /* there was none */
} usherd_http_t;


static int usherd_http_check(const usherd_http_request_t *request,
    usherd_http_response_t *response);
static int usherd_http_token(const char *text);
static int usherd_http_prepare(usherd_http_t *h);
static int usherd_http_headers(usherd_http_t *h);
static int usherd_http_guards(usherd_http_t *h);
static void usherd_http_verdict(usherd_http_t *h, CURLcode rc);
static curl_socket_t usherd_http_socket(void *data, curlsocktype purpose,
    struct curl_sockaddr *address);
static usher_address_e usherd_http_sort(const struct curl_sockaddr *address);
static size_t usherd_http_take_head(char *data, size_t size, size_t n,
    void *ctx);
static size_t usherd_http_take_body(char *data, size_t size, size_t n,
    void *ctx);
static int usherd_http_append(usherd_http_t *h, char **text, size_t *len,
    const char *data, size_t n);
static void usherd_http_reason(usherd_http_response_t *response,
    const char *fmt, ...) __attribute__((format(printf, 2, 3)));


#define USHERD_HTTP_WORD(name, word)  word,

static const char  *usherd_http_words[] = {
    USHERD_HTTP_ERRORS(USHERD_HTTP_WORD)
};

#undef USHERD_HTTP_WORD


int
usherd_http_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -1;
}


usherd_http_error_e
usherd_http(const usherd_http_request_t *request,
    usherd_http_response_t *response)
{
    usherd_http_t  h;

    memset(response, 0, sizeof(usherd_http_response_t));

    if (!usherd_http_check(request, response)) {
        return response->error;
    }

    memset(&h, 0, sizeof(usherd_http_t));

    h.request = request;
    h.response = response;
    h.curl = curl_easy_init();

    if (h.curl == NULL || !usherd_http_prepare(&h)) {
        response->error = USHERD_HTTP_INTERNAL;
        usherd_http_reason(response, "libcurl cannot be prepared");

    } else {
        usherd_http_verdict(&h, curl_easy_perform(h.curl));
    }

    curl_slist_free_all(h.headers);
    curl_easy_cleanup(h.curl);

    return response->error;
}


/* What could be taken for another host, or for another header. */

static int
usherd_http_check(const usherd_http_request_t *request,
    usherd_http_response_t *response)
{
    size_t              i;
    usher_url_t         url;
    const char         *value;
    usher_url_status_e  rc;

    rc = usher_url_parse((const unsigned char *) request->url,
                         strlen(request->url), USHERD_HTTP_URL_MAX, &url);

    if (rc != USHER_URL_OK) {
        response->error = USHERD_HTTP_URL;
        usherd_http_reason(response, "URL: %s", usher_url_reason(rc));
        return 0;
    }

    response->error = USHERD_HTTP_REQUEST;

    if (!usherd_http_token(request->method)) {
        usherd_http_reason(response, "the method is none");
        return 0;
    }

    for (i = 0; request->headers && request->headers[i]; i++) {

        value = strchr(request->headers[i], ':');

        if (value == NULL || strpbrk(request->headers[i], "\r\n") != NULL) {
            usherd_http_reason(response, "header %zu is none", i);
            return 0;
        }
    }

    response->error = USHERD_HTTP_OK;

    return 1;
}


/* A method: letters in upper case. */

static int
usherd_http_token(const char *text)
{
    size_t  n;

    n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

    return n > 0 && n <= 16 && text[n] == '\0';
}


static int
usherd_http_prepare(usherd_http_t *h)
{
    CURLcode                      rc;
    const usherd_http_request_t  *request;

    request = h->request;

    rc = curl_easy_setopt(h->curl, CURLOPT_URL, request->url);

    if (request->body != NULL) {
        rc |= curl_easy_setopt(h->curl, CURLOPT_POST, 1L);
        rc |= curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, request->body);
        rc |= curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE_LARGE,
                               (curl_off_t) request->body_len);
    }

    /* an answer to HEAD has a length, and no body */

    if (strcmp(request->method, "HEAD") == 0) {
        rc |= curl_easy_setopt(h->curl, CURLOPT_NOBODY, 1L);

    } else {
        rc |= curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST,
                               request->method);
    }

    rc |= curl_easy_setopt(h->curl, CURLOPT_USERAGENT,
                           "usher/" USHER_VERSION);
    rc |= curl_easy_setopt(h->curl, CURLOPT_HTTP_VERSION,
                           (long) CURL_HTTP_VERSION_1_1);

    rc |= curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
    rc |= curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS,
                           (long) request->connect_ms);
    rc |= curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS,
                           (long) request->total_ms);

    rc |= curl_easy_setopt(h->curl, CURLOPT_HEADERFUNCTION,
                           usherd_http_take_head);
    rc |= curl_easy_setopt(h->curl, CURLOPT_HEADERDATA, h);
    rc |= curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION,
                           usherd_http_take_body);
    rc |= curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, h);

    return rc == CURLE_OK && usherd_http_headers(h) && usherd_http_guards(h);
}


static int
usherd_http_headers(usherd_http_t *h)
{
    size_t              i;
    struct curl_slist  *list;

    /* a body is sent without asking first */

    h->headers = curl_slist_append(NULL, "Expect:");

    if (h->headers == NULL) {
        return 0;
    }

    for (i = 0; h->request->headers && h->request->headers[i]; i++) {

        list = curl_slist_append(h->headers, h->request->headers[i]);

        if (list == NULL) {
            return 0;
        }

        h->headers = list;
    }

    return curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, h->headers)
           == CURLE_OK;
}


static int
usherd_http_guards(usherd_http_t *h)
{
    CURLcode  rc;

    rc = curl_easy_setopt(h->curl, CURLOPT_OPENSOCKETFUNCTION,
                          usherd_http_socket);
    rc |= curl_easy_setopt(h->curl, CURLOPT_OPENSOCKETDATA, h);
    rc |= curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    rc |= curl_easy_setopt(h->curl, CURLOPT_FOLLOWLOCATION, 0L);
    rc |= curl_easy_setopt(h->curl, CURLOPT_PROXY, "");
    rc |= curl_easy_setopt(h->curl, CURLOPT_NETRC,
                           (long) CURL_NETRC_IGNORED);
    rc |= curl_easy_setopt(h->curl, CURLOPT_FRESH_CONNECT, 1L);
    rc |= curl_easy_setopt(h->curl, CURLOPT_FORBID_REUSE, 1L);

    rc |= curl_easy_setopt(h->curl, CURLOPT_SSLVERSION,
                           (long) CURL_SSLVERSION_TLSv1_2);
    rc |= curl_easy_setopt(h->curl, CURLOPT_SSL_VERIFYPEER, 1L);
    rc |= curl_easy_setopt(h->curl, CURLOPT_SSL_VERIFYHOST, 2L);

    if (h->request->ca_file != NULL) {
        rc |= curl_easy_setopt(h->curl, CURLOPT_CAINFO, h->request->ca_file);
    }

    return rc == CURLE_OK;
}


static void
usherd_http_verdict(usherd_http_t *h, CURLcode rc)
{
    long                     status;
    usherd_http_response_t  *response;

    response = h->response;
    status = 0;

    (void) curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);

    response->status = (unsigned) status;

    if (rc == CURLE_OK) {
        return;
    }

    usherd_http_reason(response, "%s", curl_easy_strerror(rc));

    if (h->memory) {
        response->error = USHERD_HTTP_INTERNAL;
        return;
    }

    if (h->large) {
        response->error = USHERD_HTTP_LARGE;
        usherd_http_reason(response, "the answer is too long");
        return;
    }

    switch (rc) {

    case CURLE_COULDNT_RESOLVE_HOST:
        response->error = USHERD_HTTP_RESOLVE;
        break;

    case CURLE_OPERATION_TIMEDOUT:
        response->error = USHERD_HTTP_TIMEOUT;
        break;

    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        response->error = USHERD_HTTP_TLS;
        break;

    case CURLE_COULDNT_CONNECT:
        response->error = USHERD_HTTP_CONNECT;

        if (h->refused != USHER_ADDRESS_PUBLIC) {
            response->error = USHERD_HTTP_ADDRESS;
            usherd_http_reason(response, "its address is %s",
                               usher_address_word(h->refused));
        }

        break;

    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_SSL_CACERT_BADFILE:
        response->error = USHERD_HTTP_INTERNAL;
        break;

    default:
        response->error = USHERD_HTTP_BROKEN;
    }
}


/* The address that will be connected to, whatever it was called. */

static curl_socket_t
usherd_http_socket(void *data, curlsocktype purpose,
    struct curl_sockaddr *address)
{
    usherd_http_t  *h = data;

    usher_address_e  sort;

    if (purpose != CURLSOCKTYPE_IPCXN) {
        return CURL_SOCKET_BAD;
    }

    sort = usherd_http_sort(address);

    if (sort != USHER_ADDRESS_PUBLIC && !h->request->private) {
        h->refused = sort;
        return CURL_SOCKET_BAD;
    }

    return socket(address->family, address->socktype|SOCK_CLOEXEC,
                  address->protocol);
}


static usher_address_e
usherd_http_sort(const struct curl_sockaddr *address)
{
    struct sockaddr_in   sin;
    struct sockaddr_in6  sin6;

    if (address->family == AF_INET && address->addrlen >= sizeof(sin)) {
        memcpy(&sin, &address->addr, sizeof(sin));
        return usher_address_v4((const unsigned char *) &sin.sin_addr);
    }

    if (address->family == AF_INET6 && address->addrlen >= sizeof(sin6)) {
        memcpy(&sin6, &address->addr, sizeof(sin6));
        return usher_address_v6((const unsigned char *) &sin6.sin6_addr);
    }

    return USHER_ADDRESS_RESERVED;
}


/* Of several heads, as 100 and then 200, the last. */

static size_t
usherd_http_take_head(char *data, size_t size, size_t n, void *ctx)
{
    usherd_http_t  *h = ctx;

    usherd_http_response_t  *response;

    response = h->response;
    n *= size;

    if (n >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        response->head_len = 0;
    }

    if (n > USHERD_HTTP_HEAD_MAX - response->head_len) {
        h->large = 1;
        return 0;
    }

    return usherd_http_append(h, &response->head, &response->head_len, data,
                              n)
           ? n : 0;
}


static size_t
usherd_http_take_body(char *data, size_t size, size_t n, void *ctx)
{
    usherd_http_t  *h = ctx;

    size_t                   room;
    usherd_http_response_t  *response;

    response = h->response;
    n *= size;
    room = h->request->max - response->body_len;

    if (n > room) {
        h->large = 1;
        (void) usherd_http_append(h, &response->body, &response->body_len,
                                  data, room);
        return 0;
    }

    return usherd_http_append(h, &response->body, &response->body_len, data,
                              n)
           ? n : 0;
}


static int
usherd_http_append(usherd_http_t *h, char **text, size_t *len,
    const char *data, size_t n)
{
    char  *p;

    p = realloc(*text, *len + n + 1);

    if (p == NULL) {
        h->memory = 1;
        return 0;
    }

    memcpy(p + *len, data, n);
    p[*len + n] = '\0';

    *text = p;
    *len += n;

    return 1;
}


const char *
usherd_http_header(const usherd_http_response_t *response, const char *name,
    size_t *len)
{
    size_t       n;
    const char  *p, *end, *stop;

    n = strlen(name);
    p = response->head;
    end = p + response->head_len;

    for ( /* void */ ; p != NULL && p < end; p = stop + 1) {

        stop = memchr(p, '\n', (size_t) (end - p));
        if (stop == NULL) {
            return NULL;
        }

        if ((size_t) (stop - p) <= n || p[n] != ':'
            || strncasecmp(p, name, n) != 0)
        {
            continue;
        }

        for (p += n + 1; *p == ' ' || *p == '\t'; p++) {
            /* void */
        }

        while (stop > p && (stop[-1] == '\r' || stop[-1] == ' '
                            || stop[-1] == '\t'))
        {
            stop--;
        }

        *len = (size_t) (stop - p);

        return p;
    }

    return NULL;
}


void
usherd_http_free(usherd_http_response_t *response)
{
    free(response->head);
    free(response->body);

    response->head = NULL;
    response->body = NULL;
}


const char *
usherd_http_word(usherd_http_error_e error)
{
    return error < USHERD_HTTP_NERRORS ? usherd_http_words[error]
                                       : "internal";
}


static void
usherd_http_reason(usherd_http_response_t *response, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    (void) vsnprintf(response->reason, sizeof(response->reason), fmt, args);
    va_end(args);
}
