
/*
 * directory.c - the duty directory: PostgreSQL's records into Redis.
 *
 * DESIGN
 *
 * PostgreSQL is the truth; triggers leave the ids of what changed in
 * usher.directory_outbox.  This duty projects them (directory_batch.c) and
 * gives a sign of life each second, so that edges know how old their
 * knowledge is.  NOTIFY wakes it at once; polling every 100 ms is the
 * guarantee.
 *
 * Lineage.  PostgreSQL and Redis each keep the nonce of the last batch.
 * Where they do not fit, one of them was wiped or restored, and versions can
 * no longer be compared: a new lineage begins (directory_rebuild.c).  This is
 * looked at with each connection, batch, heartbeat and poll, and decided
 * only under the lock of the row of state.
 *
 * One writer per Redis: a lease named by Redis's run_id.  It saves work; what
 * makes it safe is that each script compares the nonce first, and that each
 * batch locks the state.
 *
 * A record that an edge could not read is named in the set usher:d:bad; it
 * goes through the outbox like any change, and so gets a higher version.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "directory.h"


#define USHERD_DIRECTORY_POLL    100      /* msec */
#define USHERD_DIRECTORY_BEAT    1000     /* msec */
#define USHERD_DIRECTORY_STAND   200      /* msec, of who stands by */

/*
 * Shorter than other leases: until it ends nobody writes what is revoked, and
 * who still writes after it does no harm.
 */
#define USHERD_DIRECTORY_LEASE   3        /* seconds */


static int usherd_directory_session(usherd_directory_t *d);
static int usherd_directory_greet(usherd_directory_t *d);
static void usherd_directory_failed(usherd_directory_t *d);
static void usherd_directory_passed(usherd_directory_t *d);
static int usherd_directory_info(usherd_directory_t *d);
static void usherd_directory_nameless(usherd_directory_t *d,
    const usherd_reply_t *reply);
static void usherd_directory_policy(usherd_directory_t *d, const char *text);
static int usherd_directory_lease(usherd_directory_t *d);
static int usherd_directory_pending(usherd_directory_t *d, unsigned *more);
static int usherd_directory_drain(usherd_directory_t *d, unsigned notified);
static int usherd_directory_beat(usherd_directory_t *d);
static int usherd_directory_bad(usherd_directory_t *d,
    const usherd_reply_t *reply);
static int usherd_directory_look(usherd_directory_t *d);


const char *const  usherd_directory_kinds[USHERD_DIRECTORY_NKINDS] = {
    "key",
    "plan",
    "domain",
    "link",
    "click_key",
    "postback"
};

/* Of which ids are made: digests, numbers, hosts, hosts with slugs, tokens. */
#define USHERD_DIRECTORY_ID                                                   \
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._~/-"


void
usherd_directory(usherd_conf_t *conf)
{
    int                  rc;
    usherd_directory_t  *d;

    d = calloc(1, sizeof(usherd_directory_t));

    if (d == NULL) {
        usherd_log(USHERD_LOG_ERROR, "out of memory");
        exit(1);
    }

    d->conf = conf;
    d->pg = usherd_pg_create(conf, "usherd directory");
    d->redis = usherd_redis_create(conf, "directory");

    /* an edge takes a heartbeat for news when it differs from the last one */

    d->count = usherd_random() >> 32;

    /* until it is known that another writes; a restart is no news */

    if (usherd_self->caught == 0) {
        usherd_set(caught, usherd_now());
    }

    for ( ;; ) {
        usherd_pg_wait(d->pg);
        usherd_redis_wait(d->redis);

        rc = usherd_directory_session(d);

        d->verified = 0;

        if (rc == USHERD_ERROR) {
            usherd_directory_failed(d);
        }

        if (rc == USHERD_ERROR || rc == USHERD_DIRECTORY_REFUSED) {
            (void) usherd_wait(-1, USHERD_DIRECTORY_BEAT);

        } else if (rc == USHERD_DIRECTORY_DEPOSED) {
            (void) usherd_wait(-1, USHERD_DIRECTORY_STAND);
        }
    }
}


/* Works until something is wrong, and tells what. */

static int
usherd_directory_session(usherd_directory_t *d)
{
    int       rc, notified;
    uint64_t  now, until;

    rc = usherd_directory_greet(d);

    if (rc != USHERD_OK) {
        return rc;
    }

    notified = 0;

    for ( ;; ) {
        rc = usherd_directory_hold(d);

        if (rc != USHERD_OK) {
            return rc;
        }

        if (!d->verified) {
            rc = usherd_directory_verify(d);

            if (rc != USHERD_OK) {
                return rc;
            }

            d->beat_at = 0;

            /* after a rebuild it is looked at once more */

            continue;
        }

        rc = usherd_directory_drain(d, notified);

        if (rc == USHERD_OK) {
            rc = usherd_directory_look(d);
        }

        if (rc == USHERD_OK) {
            rc = usherd_directory_sweep(d);
        }

        if (rc == USHERD_DIRECTORY_LINEAGE) {
            d->verified = 0;
            continue;
        }

        if (rc != USHERD_OK) {
            return rc;
        }

        usherd_directory_passed(d);

        now = usherd_now();
        usherd_set(caught, now);

        until = USHERD_DIRECTORY_POLL;

        if (d->beat_at < now + until) {
            until = d->beat_at > now ? d->beat_at - now : 0;
        }

        notified = usherd_pg_notified(d->pg, until);

        if (notified == USHERD_LOST) {
            return USHERD_LOST;
        }
    }
}


/* What is said once on each new connection. */

static int
usherd_directory_greet(usherd_directory_t *d)
{
    int  rc;

    if (d->pg_generation != usherd_pg_generation(d->pg)) {
        rc = usherd_pg_command(d->pg, "LISTEN usher_directory");

        if (rc != USHERD_OK) {
            return rc;
        }

        d->pg_generation = usherd_pg_generation(d->pg);
        d->lease_at = 0;
    }

    if (d->redis_generation != usherd_redis_generation(d->redis)) {
        rc = usherd_directory_info(d);

        if (rc != USHERD_OK) {
            return rc;
        }

        d->redis_generation = usherd_redis_generation(d->redis);
        d->lease_at = 0;
        d->written[0] = '\0';
        memset(d->sha, 0, sizeof(d->sha));
    }

    return USHERD_OK;
}


/* What PostgreSQL refused: once, until all passes or it is something else. */

static void
usherd_directory_failed(usherd_directory_t *d)
{
    if (strcmp(d->failed, usherd_pg_sqlstate(d->pg)) == 0) {
        return;
    }

    snprintf(d->failed, sizeof(d->failed), "%s", usherd_pg_sqlstate(d->pg));

    usherd_log(USHERD_LOG_ERROR, "a transaction of the directory failed, "
               "trying again each second: %s %s", d->failed,
               usherd_pg_message(d->pg));
}


static void
usherd_directory_passed(usherd_directory_t *d)
{
    if (d->failed[0] != '\0') {
        usherd_log(USHERD_LOG_INFO, "transactions of the directory pass "
                   "again");
        d->failed[0] = '\0';
    }
}


/* Names the lease. */

static int
usherd_directory_info(usherd_directory_t *d)
{
    int              n;
    size_t           len;
    const char      *text, *id;
    usherd_reply_t  *reply;

    reply = usherd_redis_format(d->redis, "INFO");

    if (reply == NULL) {
        return USHERD_LOST;
    }

    text = usherd_reply_text(reply, &len);
    id = strstr(text, "run_id:");

    if (id == NULL) {
        usherd_directory_nameless(d, reply);
        usherd_reply_free(reply);
        return USHERD_DIRECTORY_REFUSED;
    }

    id += sizeof("run_id:") - 1;
    n = (int) strcspn(id, "\r\n");

    snprintf(d->run_id, sizeof(d->run_id), "%.*s", n, id);
    snprintf(d->lease, sizeof(d->lease), "directory:%s", d->run_id);

    if (d->nameless) {
        usherd_log(USHERD_LOG_INFO, "this Redis says its run_id again");
        d->nameless = 0;
    }

    usherd_directory_policy(d, text);

    usherd_reply_free(reply);

    return USHERD_OK;
}


/* By any other name one would write beside the one who has the lease. */

static void
usherd_directory_nameless(usherd_directory_t *d, const usherd_reply_t *reply)
{
    d->writer = 0;
    usherd_set(directory_writer, 0);

    if (usherd_self->caught == 0) {
        usherd_set(caught, usherd_now());
    }

    if (!d->nameless) {
        usherd_log(USHERD_LOG_ERROR, "this Redis does not say its run_id, "
                   "which names the lease: nothing is written to it; allow "
                   "INFO to the user of usherd, see redis-users.conf%s%s",
                   usherd_reply_type(reply) == USHERD_REPLY_ERROR ? ": " : "",
                   usherd_reply_type(reply) == USHERD_REPLY_ERROR
                   ? usherd_reply_text(reply, NULL) : "");
    }

    d->nameless = 1;
}


static void
usherd_directory_policy(usherd_directory_t *d, const char *text)
{
    if (strstr(text, "maxmemory_policy:allkeys") == NULL) {
        d->evicts = 0;
        return;
    }

    if (!d->evicts) {
        usherd_log(USHERD_LOG_ALERT, "this Redis may evict records of the "
                   "directory, the edges will refuse it: set "
                   "maxmemory-policy to noeviction");
        d->evicts = 1;
    }
}


int
usherd_directory_hold(usherd_directory_t *d)
{
    int       held;
    uint64_t  now;

    now = usherd_now();

    if (d->writer && now < d->lease_at) {
        return USHERD_OK;
    }

    held = usherd_directory_lease(d);

    if (held < 0) {
        return held;
    }

    if (held == 0) {
        if (d->writer || !d->refused) {
            usherd_log(USHERD_LOG_INFO, "stands by, another writes");
        }

        d->writer = 0;
        d->refused = 1;
        usherd_set(directory_writer, 0);
        usherd_set(caught, 0);

        return USHERD_DIRECTORY_DEPOSED;
    }

    if (!d->writer) {
        usherd_log(USHERD_LOG_INFO, "writes, by the lease %s", d->lease);
        d->verified = 0;
    }

    d->writer = 1;
    d->refused = 0;
    d->lease_at = now + USHERD_DIRECTORY_LEASE * 1000 / 3;
    usherd_set(directory_writer, 1);

    return USHERD_OK;
}


/* 1: held, 0: another holds it, else an error. */

static int
usherd_directory_lease(usherd_directory_t *d)
{
    int                  rc, held;
    char                 seconds[8];
    const char          *values[3];
    usherd_pg_result_t  *result;

    snprintf(seconds, sizeof(seconds), "%d", USHERD_DIRECTORY_LEASE);

    values[0] = d->lease;
    values[1] = d->conf->owner;
    values[2] = seconds;

    rc = usherd_pg_query(d->pg, "SELECT usher.lease_take($1, $2, $3::int)",
                         3, values, &result);
    if (rc != USHERD_OK) {
        return rc;
    }

    held = usherd_pg_rows(result) == 1
           && usherd_pg_value(result, 0, 0) != NULL;

    usherd_pg_free(result);

    return held;
}


int
usherd_directory_state(usherd_directory_t *d)
{
    int                  rc;
    unsigned             i;
    const char          *value;
    usherd_pg_result_t  *result;

    char  *const to[3] = { d->lineage, d->nonce, d->last_nonce };

    rc = usherd_pg_query(d->pg, "SELECT lineage, nonce, last_nonce, change_id, "
                         "run_id FROM usher.directory_state FOR UPDATE",
                         0, NULL, &result);
    if (rc != USHERD_OK) {
        return rc;
    }

    if (usherd_pg_rows(result) != 1) {
        usherd_pg_free(result);
        usherd_log(USHERD_LOG_ERROR, "usher.directory_state has no row");
        return USHERD_DIRECTORY_REFUSED;
    }

    for (i = 0; i < 3; i++) {
        value = usherd_pg_value(result, 0, i);
        snprintf(to[i], USHERD_DIRECTORY_HEX, "%s", value ? value : "");
    }

    d->change = usherd_pg_number(result, 0, 3);

    value = usherd_pg_value(result, 0, 4);
    d->anew = (value == NULL || strcmp(value, d->run_id) != 0);

    usherd_pg_free(result);

    return USHERD_OK;
}


int
usherd_directory_rollback(usherd_directory_t *d, int rc)
{
    /* where it is Redis that is lost, others need the row of state */

    if (usherd_pg_command(d->pg, "ROLLBACK") == USHERD_LOST) {
        return USHERD_LOST;
    }

    return rc;
}


int
usherd_directory_seen(usherd_directory_t *d, usherd_reply_t **reply)
{
    int  rc;

    *reply = usherd_redis_format(d->redis, "MGET %s %s %s", USHER_NONCE,
                                 USHER_READY, USHERD_DIRECTORY_BUILDING);
    if (*reply == NULL) {
        return USHERD_LOST;
    }

    if (usherd_reply_count(*reply) == 3) {
        usherd_script_taken(d, 1u << USHERD_COMMAND_MGET);
        return USHERD_OK;
    }

    rc = usherd_script_refused(d, USHERD_COMMAND_MGET, *reply);

    usherd_reply_free(*reply);
    *reply = NULL;

    return rc;
}


void
usherd_directory_nonce(char nonce[USHERD_DIRECTORY_HEX])
{
    usher_hex64_text(usherd_random(), nonce);
}


/*
 * The number of the last change stands behind it: see directory_redis.c.  A
 * batch has its nonce from its first slice on: a Redis that has lost the
 * others (a replica, an AOF) is known by the number.
 */

const char *
usherd_directory_known(usherd_directory_t *d, const char *text, size_t len,
    uint64_t *number)
{
    char      *end;
    size_t     n;
    uint64_t   value;

    n = USHERD_DIRECTORY_HEX - 1;

    if (len <= n + 1 || text[n] != ' ') {
        return NULL;
    }

    /* as strict as the scripts are: what they refuse is not known */

    value = strtoull(text + n + 1, &end, 10);

    if (text[n + 1] < '0' || text[n + 1] > '9' || end != text + len
        || value < d->change)
    {
        return NULL;
    }

    if (number != NULL) {
        *number = value;
    }

    if (memcmp(text, d->nonce, n) == 0) {
        return d->nonce;
    }

    return (memcmp(text, d->last_nonce, n) == 0) ? d->last_nonce : NULL;
}


void
usherd_directory_element(usherd_directory_t *d, const char *id)
{
    const char  *p;

    usherd_bytes_add(&d->text, d->text.len ? ",\"" : "{\"", 2);

    for (p = id; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            usherd_bytes_add(&d->text, "\\", 1);
        }

        usherd_bytes_add(&d->text, p, 1);
    }

    usherd_bytes_add(&d->text, "\"", 1);
}


void
usherd_directory_lost(const usherd_reply_t *lost)
{
    if (usherd_reply_integer(lost)) {
        usherd_log(USHERD_LOG_WARN, USHER_CHANGES " was deleted or set back "
                   "in Redis: edges ask for all records again");
    }
}


static int
usherd_directory_pending(usherd_directory_t *d, unsigned *more)
{
    int                  rc;
    usherd_pg_result_t  *result;

    rc = usherd_pg_query(d->pg, "SELECT 1 FROM usher.directory_outbox "
                         "WHERE " USHERD_DIRECTORY_KNOWN " LIMIT 1",
                         0, NULL, &result);
    if (rc != USHERD_OK) {
        return rc;
    }

    *more = usherd_pg_rows(result);
    usherd_pg_free(result);

    return USHERD_OK;
}


/* Empties the outbox, with a sign of life in between. */

static int
usherd_directory_drain(usherd_directory_t *d, unsigned notified)
{
    int       rc;
    unsigned  more;

    more = notified;

    if (!notified) {
        rc = usherd_directory_pending(d, &more);

        if (rc != USHERD_OK) {
            return rc;
        }
    }

    for ( ;; ) {
        if (usherd_now() >= d->beat_at) {
            rc = usherd_directory_beat(d);

            if (rc != USHERD_OK) {
                return rc;
            }
        }

        if (!more) {
            return USHERD_OK;
        }

        rc = usherd_directory_hold(d);

        if (rc == USHERD_OK) {
            rc = usherd_directory_batch(d, &more);
        }

        if (rc != USHERD_OK) {
            return rc;
        }
    }
}


static int
usherd_directory_beat(usherd_directory_t *d)
{
    int               rc, n;
    char              text[24];
    usherd_reply_t   *reply;
    usherd_words_t   *words;

    d->beat_at = usherd_now() + USHERD_DIRECTORY_BEAT;
    n = snprintf(text, sizeof(text), "%llu", (unsigned long long) ++d->count);

    words = &d->words;

    usherd_script_start(d, 5);
    usherd_words_add(words, USHER_NONCE, sizeof(USHER_NONCE) - 1);
    usherd_words_add(words, USHER_READY, sizeof(USHER_READY) - 1);
    usherd_words_add(words, USHER_HEARTBEAT, sizeof(USHER_HEARTBEAT) - 1);
    usherd_words_add(words, USHERD_DIRECTORY_BAD,
                     sizeof(USHERD_DIRECTORY_BAD) - 1);
    usherd_words_add(words, USHER_CHANGES, sizeof(USHER_CHANGES) - 1);
    usherd_words_add(words, d->lineage, strlen(d->lineage));
    usherd_words_add(words, d->last_nonce, strlen(d->last_nonce));
    usherd_words_add(words, d->nonce, strlen(d->nonce));
    usherd_words_add(words, text, (size_t) n);

    rc = usherd_script_call(d, USHERD_SCRIPT_BEAT, &reply);

    if (rc != USHERD_OK) {
        return rc;
    }

    usherd_script_taken(d, 1u << USHERD_SCRIPT_BEAT);
    usherd_directory_lost(usherd_reply_at(reply, 0));

    if (usherd_reply_integer(usherd_reply_at(reply, 0))) {

        /* the number that was left out is to be noted */

        d->verified = 0;
    }

    rc = usherd_directory_bad(d, usherd_reply_at(reply, 1));

    usherd_reply_free(reply);

    return rc;
}


/* Records that edges could not read go into the outbox. */

static int
usherd_directory_bad(usherd_directory_t *d, const usherd_reply_t *reply)
{
    int          rc;
    char         text[USHERD_DIRECTORY_ID_MAX];
    char        *id;
    size_t       len;
    unsigned     i, k;
    const char  *member, *values[2];

    for (i = 0; i < usherd_reply_count(reply); i++) {
        member = usherd_reply_text(usherd_reply_at(reply, i), &len);

        if (len >= sizeof(text) || memchr(member, '\0', len) != NULL) {
            continue;
        }

        memcpy(text, member, len);
        text[len] = '\0';

        id = strchr(text, ':');

        if (id == NULL || id[1] == '\0') {
            continue;
        }

        *id++ = '\0';

        /* what else there is, an edge did not read */

        if (id[strspn(id, USHERD_DIRECTORY_ID)] != '\0') {
            continue;
        }

        for (k = 0; k < USHERD_DIRECTORY_NKINDS; k++) {
            if (strcmp(text, usherd_directory_kinds[k]) == 0) {
                break;
            }
        }

        if (k == USHERD_DIRECTORY_NKINDS) {
            continue;
        }

        usherd_log(USHERD_LOG_WARN, "an edge could not read the record of "
                   "%s %s: written again", text, id);

        values[0] = text;
        values[1] = id;

        rc = usherd_pg_query(d->pg, "INSERT INTO usher.directory_outbox "
                             "(kind, ids, urgent, inserted) "
                             "VALUES ($1, ARRAY[$2], false, false)",
                             2, values, NULL);
        if (rc != USHERD_OK) {
            return rc;
        }
    }

    return USHERD_OK;
}


/* Whether Redis still is what it was, between heartbeats. */

static int
usherd_directory_look(usherd_directory_t *d)
{
    int              rc;
    size_t           nlen, rlen;
    const char      *nonce, *ready;
    usherd_reply_t  *reply;

    rc = usherd_directory_seen(d, &reply);

    if (rc != USHERD_OK) {
        return rc;
    }

    nonce = usherd_reply_text(usherd_reply_at(reply, 0), &nlen);
    ready = usherd_reply_text(usherd_reply_at(reply, 1), &rlen);

    if (rlen != USHERD_DIRECTORY_HEX - 1
        || memcmp(ready, d->lineage, rlen) != 0
        || usherd_directory_known(d, nonce, nlen, NULL) == NULL)
    {
        rc = USHERD_DIRECTORY_LINEAGE;
    }

    usherd_reply_free(reply);

    return rc;
}
