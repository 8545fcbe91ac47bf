/*
 * health.c - the duty that asks whether the targets of links are there.
 *
 * DESIGN
 *
 * What is due, and what an answer means, is SQL (sql/022_health.sql), which
 * gives each host out once at a time and once in a second; here it is asked,
 * one target after the other, outside of transactions.  One works per
 * database, by a lease; if two did, for a moment, they would ask different
 * hosts.  Killed at any instant, what it had taken is due again in minutes.
 *
 * HEAD costs the other side least.  Where it is not answered well, a GET of
 * one byte has the last word: many refuse HEAD, or answer it wrongly.
 */


#include <stdio.h>
#include <string.h>

#include "http.h"
#include "usherd.h"


#define USHERD_HEALTH_BATCH    "10"        /* for a while much less than the */
                                           /* five minutes that SQL gives */
#define USHERD_HEALTH_CONNECT  5000        /* msec */
#define USHERD_HEALTH_TOTAL    10000       /* msec */
#define USHERD_HEALTH_MAX      65536       /* bytes of a body */
#define USHERD_HEALTH_PAUSE    1000        /* msec, between two to a host */


typedef struct {
    usherd_pg_t    *pg;
    usherd_conf_t  *conf;
    unsigned        failing:1;             /* already said so */
} usherd_health_t;


static int usherd_health_round(usherd_health_t *h);
static int usherd_health_collect(usherd_health_t *h);
static int usherd_health_target(usherd_health_t *h, const char *digest,
    const char *url);
static void usherd_health_ask(usherd_health_t *h, const char *url,
    usherd_http_response_t *response);
static void usherd_health_send(usherd_health_t *h, const char *method,
    const char *url, usherd_http_response_t *response);
static int usherd_health_well(const usherd_http_response_t *response);
static int usherd_health_told(const usherd_http_response_t *response);
static int usherd_health_query(usherd_health_t *h, const char *sql,
    unsigned n, const char *const *values, usherd_pg_result_t **result);


void
usherd_health(usherd_conf_t *conf)
{
    int              rc, held, was;
    usherd_health_t  h;

    was = 0;

    h.pg = usherd_pg_create(conf, "usherd health");
    h.conf = conf;
    h.failing = 0;

    if (usherd_http_init() != 0) {
        usherd_log(USHERD_LOG_ALERT, "libcurl cannot be used");
        return;
    }

    for ( ;; ) {
        usherd_pg_wait(h.pg);

        rc = 0;
        held = usherd_pg_lease(h.pg, conf, "health", NULL);

        if (held == 1) {

            if (!was) {
                usherd_log(USHERD_LOG_INFO, "holds the lease");
            }

            rc = usherd_health_round(&h);
        }

        if (held >= 0) {
            was = held;
        }

        if (rc == 0) {
            (void) usherd_wait(-1, 1000);
        }
    }
}


/* How many targets were asked, or an error. */

static int
usherd_health_round(usherd_health_t *h)
{
    int                  rc;
    unsigned             i, n;
    usherd_pg_result_t  *result;

    static const char *const  size[] = { USHERD_HEALTH_BATCH };

    rc = usherd_health_collect(h);
    if (rc != USHERD_OK) {
        return rc == USHERD_LOST ? rc : 0;
    }

    rc = usherd_health_query(h, "SELECT digest, url FROM usher.health_due($1)",
                             1, size, &result);
    if (rc != USHERD_OK) {
        return rc == USHERD_LOST ? rc : 0;
    }

    n = usherd_pg_rows(result);

    for (i = 0; i < n; i++) {

        /* who asks for a while extends his lease, or leaves it to others */

        if (usherd_pg_lease(h->pg, h->conf, "health", NULL) != 1
            || usherd_health_target(h, usherd_pg_value(result, i, 0),
                                    usherd_pg_value(result, i, 1))
               != USHERD_OK)
        {
            break;
        }
    }

    usherd_pg_free(result);

    if (i == n && h->failing) {
        usherd_log(USHERD_LOG_INFO, "works again");
        h->failing = 0;
    }

    return (int) i;
}


static int
usherd_health_collect(usherd_health_t *h)
{
    int                  rc;
    usherd_pg_result_t  *result;

    rc = usherd_health_query(h, "SELECT r->>'dead' "
                             "FROM usher.health_collect() r", 0, NULL,
                             &result);

    if (rc == USHERD_OK) {
        usherd_set(health_dead, usherd_pg_number(result, 0, 0));
        usherd_pg_free(result);
    }

    return rc;
}


static int
usherd_health_target(usherd_health_t *h, const char *digest, const char *url)
{
    int                      rc;
    char                     status[16], said[32];
    const char              *values[3], *news;
    usherd_pg_result_t      *result;
    usherd_http_response_t   response;

    usherd_health_ask(h, url, &response);

    snprintf(status, sizeof(status), "%u", response.status);

    values[0] = digest;
    values[1] = status;
    values[2] = response.status ? "" : usherd_http_word(response.error);

    rc = usherd_health_query(h, "SELECT usher.health_seen($1, $2, $3)", 3,
                             values, &result);

    if (rc == USHERD_OK) {
        news = usherd_pg_value(result, 0, 0);

        if (news != NULL) {
            snprintf(said, sizeof(said), "%s",
                     response.status ? status : values[2]);
            usherd_log(USHERD_LOG_INFO, "target %.200s is %s: %s", url, news,
                       said);
        }

        if (news != NULL && strcmp(news, "dead") == 0) {
            usherd_count(health_deaths);
        }

        usherd_pg_free(result);
    }

    usherd_http_free(&response);

    return rc;
}


static void
usherd_health_ask(usherd_health_t *h, const char *url,
    usherd_http_response_t *response)
{
    usherd_health_send(h, "HEAD", url, response);

    if (usherd_health_well(response) || !usherd_health_told(response)) {
        return;
    }

    usherd_http_free(response);

    (void) usherd_wait(-1, USHERD_HEALTH_PAUSE);

    usherd_health_send(h, "GET", url, response);
}


static void
usherd_health_send(usherd_health_t *h, const char *method, const char *url,
    usherd_http_response_t *response)
{
    usherd_http_request_t  request;

    static const char *const  headers[] = { "Range: bytes=0-0", NULL };

    memset(&request, 0, sizeof(usherd_http_request_t));

    request.method = method;
    request.url = url;
    request.headers = strcmp(method, "GET") == 0 ? headers : NULL;
    request.connect_ms = USHERD_HEALTH_CONNECT;
    request.total_ms = USHERD_HEALTH_TOTAL;
    request.max = USHERD_HEALTH_MAX;
    request.private = h->conf->health_private != 0;

    usherd_count(health_requests);

    (void) usherd_http(&request, response);
}


static int
usherd_health_well(const usherd_http_response_t *response)
{
    return response->status >= 200 && response->status <= 399;
}


/* Whether there is somebody who may say more to a GET. */

static int
usherd_health_told(const usherd_http_response_t *response)
{
    return response->status != 0
           || response->error == USHERD_HTTP_BROKEN
           || response->error == USHERD_HTTP_LARGE;
}


static int
usherd_health_query(usherd_health_t *h, const char *sql, unsigned n,
    const char *const *values, usherd_pg_result_t **result)
{
    int  rc;

    rc = usherd_pg_query(h->pg, sql, n, values, result);

    if (rc == USHERD_ERROR && !h->failing) {
        usherd_log(USHERD_LOG_ERROR, "\"%s\" failed: %s %s; trying again "
                   "every second", sql, usherd_pg_sqlstate(h->pg),
                   usherd_pg_message(h->pg));
        h->failing = 1;
    }

    return rc;
}
