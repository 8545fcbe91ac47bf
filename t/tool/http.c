/*
 * http.c - one request by the daemon's client, and what came of it, for tests.
 *
 *     http [-p] [-a ca.pem] [-c connect_ms] [-t total_ms] [-m max]
 *          [-H header] [-d body] [-n name] method url
 *
 * Prints "error status length reason", the value of header name, and the
 * body, if any.  -p: any address will do.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/daemon/http.h"


#define HEADERS_MAX  8


int
main(int argc, char *const *argv)
{
    int                      option, n;
    size_t                   len;
    const char              *name, *value, *headers[HEADERS_MAX + 1];
    usherd_http_request_t    request;
    usherd_http_response_t   response;

    n = 0;
    name = NULL;
    memset(&request, 0, sizeof(request));

    request.connect_ms = 5000;
    request.total_ms = 10000;
    request.max = 65536;

    while ((option = getopt(argc, argv, "pa:c:t:m:H:d:n:")) != -1) {

        switch (option) {

        case 'p':
            request.private = 1;
            break;

        case 'a':
            request.ca_file = optarg;
            break;

        case 'c':
            request.connect_ms = strtoull(optarg, NULL, 10);
            break;

        case 't':
            request.total_ms = strtoull(optarg, NULL, 10);
            break;

        case 'm':
            request.max = strtoull(optarg, NULL, 10);
            break;

        case 'H':
            if (n == HEADERS_MAX) {
                return 2;
            }

            headers[n++] = optarg;
            break;

        case 'd':
            request.body = optarg;
            request.body_len = strlen(optarg);
            break;

        case 'n':
            name = optarg;
            break;

        default:
            return 2;
        }
    }

    if (argc - optind != 2 || usherd_http_init() != 0) {
        return 2;
    }

    headers[n] = NULL;
    request.headers = headers;
    request.method = argv[optind];
    request.url = argv[optind + 1];

    (void) usherd_http(&request, &response);

    printf("%s %u %zu %s\n", usherd_http_word(response.error),
           response.status, response.body_len, response.reason);

    if (name != NULL) {
        value = usherd_http_header(&response, name, &len);
        printf("%.*s\n", value ? (int) len : 1, value ? value : "-");
    }

    printf("%s\n", response.body ? response.body : "");

    usherd_http_free(&response);

    return 0;
}
