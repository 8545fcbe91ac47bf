
/*
 * ngx_http_usher.h - what the edge's modules offer each other.
 *
 * One .so holds several modules, each in a file of its own; this header is
 * the only one they share.  Every process-wide state is per worker and is
 * rebuilt when ngx_cycle changes; what workers share lies in the zone.
 */


#ifndef _NGX_HTTP_USHER_H_INCLUDED_
#define _NGX_HTTP_USHER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "usher_key.h"
#include "usher_event.h"
#include "usher_gcra.h"
#include "usher_stream.h"


/* ---- Zone: shared memory, ngx_http_usher_zone.c ---------------------- */


/*
 * Counters, one line each: name (as in usher_metrics, usher_<name>_total)
 * and help.  Kept per worker in the zone, added up on reading, so counting
 * takes no lock.
 *
 * Those of requests_* add up to the requests that usher_auth or usher_limit
 * looked at: each is in one of them, by its last verdict, when it is logged.
 * The first is of those without any.
 */
#define NGX_HTTP_USHER_COUNTERS(_)                                            \
    _(requests_passed, "Requests without usher_auth, within their limits.")   \
    _(requests_admitted, "Requests that auth admitted.")                      \
    _(requests_anonymous, "Requests that may and did come without a key.")    \
    _(requests_dry_run, "Requests that only a dry run let pass.")             \
    _(requests_unauthorized, "Requests answered 401.")                        \
    _(requests_forbidden, "Requests answered 403.")                           \
    _(requests_invalid, "Requests answered 400: two keys.")                   \
    _(requests_throttled, "Requests answered 429: too many bad keys.")        \
    _(requests_limited, "Requests over a limit.")                             \
    _(requests_unknown, "Requests answered 503: record cannot be known.")     \
    _(requests_denied, "Requests answered 503: journal full.")                \
    _(conversions_taken, "Postbacks and pixels that became an event.")        \
    _(conversions_refused, "Postbacks answered 403: not proven whose.")       \
    _(conversions_invalid, "Postbacks answered 400, 404, 413 or 415.")        \
    _(conversions_unavailable, "Postbacks answered 429, 500 or 503.")         \
    _(auth_failures_limited, "Bad keys refused by the failure limiter.")      \
    _(directory_hits, "Look-ups answered by the zone.")                       \
    _(directory_negatives, "Look-ups answered by a negative.")                \
    _(directory_misses, "Look-ups that asked Redis.")                         \
    _(directory_suspends, "Requests suspended on a miss.")                    \
    _(directory_timeouts, "Suspended requests that met the deadline.")        \
    _(directory_stale, "Look-ups served from a record past revalidation.")    \
    _(directory_refused, "Misses beyond the budget.")                         \
    _(directory_corrupt, "Records from Redis that could not be read.")        \
    _(directory_changes, "Changes applied.")                                  \
    _(zone_evicted, "Idle cells evicted to make room.")                       \
    _(zone_forgotten, "Cells with a bucket above idle evicted.")              \
    _(zone_recovered, "Sets cleared after their owner died.")                 \
    _(zone_locked, "Changes given up: the set stayed locked.")                \
    _(clicks_forgotten, "Clicks that the zone forgot within their hour.")     \
    _(clicks_capped, "Clicks over a cap, sent elsewhere.")                    \
    _(clicks_uncapped, "Clicks that a cap did not count: no room for it.")    \
    _(limit_races, "Charges left standing after a lost race.")                \
    _(journal_events, "Events appended to the journal.")                      \
    _(journal_bytes, "Bytes appended to the journal.")                        \
    _(journal_dropped, "Events dropped: journal full.")                       \
    _(journal_denied, "Requests denied: journal full.")                       \
    _(journal_shipped_bytes, "Bytes sent to Redis, resends included.")        \
    _(journal_takeups, "Streams taken up again.")                             \
    _(journal_rewinds, "Rewinds obeyed.")                                     \
    _(journal_holes, "Holes reported.")                                       \
    _(journal_adopted, "Slots adopted.")                                      \
    _(journal_retain_shortened, "Segments reused before retain had passed.")  \
    _(journal_syncs, "Syncs done.")                                           \
    _(redis_errors, "Errors and lost connections of Redis.")

/*
 * Families of counters, one for each word: usher_<name>_total{label="word"}.
 * The words are in ngx_http_usher_metrics.c, which sees that there are as many.
 *
 *     _(name, label, number, help)
 */
#define NGX_HTTP_USHER_FAMILIES(_)                                            \
    _(clicks, "reason", 15, "Clicks, by what they count as.")                 \
    _(redirects, "status", 8, "Clicks that were sent somewhere.")             \
    _(conversions, "reason", 21, "Postbacks and pixels, by how they ended.")


typedef struct {
#define _(name, help)  uint64_t  name;
    NGX_HTTP_USHER_COUNTERS(_)
#undef _
#define _(name, label, number, help)  uint64_t  name[number];
    NGX_HTTP_USHER_FAMILIES(_)
#undef _
} ngx_http_usher_counters_t;


/* This process's counters; never NULL (private memory before the zone is). */
extern ngx_http_usher_counters_t  *ngx_http_usher_counters;

#define ngx_http_usher_count(name)       (ngx_http_usher_counters->name++)
#define ngx_http_usher_add(name, n)      (ngx_http_usher_counters->name += (n))

/* The last verdict on a request so far: a counter of requests_*. */
#define ngx_http_usher_verdict(ctx, name)                                     \
    ((ctx)->verdict = offsetof(ngx_http_usher_counters_t, name))

/* Adds up the counters of all workers, the dead ones included. */
void ngx_http_usher_counters_sum(ngx_http_usher_counters_t *sum);


/*
 * What this process shows of itself in usher_status and usher_metrics, beside
 * its entry in ngx_http_usher_shared_t.  Zero when the process begins.
 */
typedef struct {
    uint64_t  redis[3];              /* stream, directory, counters: 0 not
                                        used, 1 down, 2 ready, 3 refuses */
} ngx_http_usher_figures_t;

/* Never NULL (private memory before there is a zone). */
extern ngx_http_usher_figures_t  *ngx_http_usher_figures;


/* Kinds of records the edge knows; room for those to come. */
#define NGX_HTTP_USHER_KIND_KEY        0
#define NGX_HTTP_USHER_KIND_PLAN       1
#define NGX_HTTP_USHER_KIND_DOMAIN     2
#define NGX_HTTP_USHER_KIND_LINK       3
#define NGX_HTTP_USHER_KIND_CLICK_KEY  4
#define NGX_HTTP_USHER_KIND_POSTBACK   5
#define NGX_HTTP_USHER_KINDS           8

/* Words of changes, by a hash of the record: see the directory. */
#define NGX_HTTP_USHER_TICKETS    4096

/* Generations of which it is known when they ended. */
#define NGX_HTTP_USHER_RAISES     8


/*
 * What a process says about its journal, for the status and for the window
 * that a node's processes share.  Written by that process alone; an entry
 * belongs to pid, 0: free.
 */
#define NGX_HTTP_USHER_PROCESSES  128

typedef struct {
    ngx_atomic_t  pid;               /* owner; 0: free */
    ngx_atomic_t  window;            /* bytes in Redis, unacknowledged */
    ngx_atomic_t  position;          /* of the own slot; bytes, as the next */
    ngx_atomic_t  shipped;
    ngx_atomic_t  acked;
    ngx_atomic_t  synced;
    ngx_atomic_t  room;              /* bytes appended without a new segment */
    ngx_atomic_t  unacked;           /* of all slots in its care: bytes that
                                        are no rows yet; each second */
    ngx_atomic_t  reusable;          /* bytes of their segments that may be
                                        used again; each second */
    ngx_atomic_t  adopted;           /* slots of dead processes in its care */
    ngx_atomic_t  full;              /* 1: this process drops events */
    u_char        slot[USHER_SLOT_TEXT + 8];  /* text; empty: none yet */
} ngx_http_usher_process_t;


/* The salt of a day; tag is changed first and last. */
#define NGX_HTTP_USHER_SALTS  4

typedef struct {
    uint64_t      tag;               /* day since the epoch << 1, and 1 if all
                                        nodes have it; 0: none */
    uint64_t      salt[2];           /* never log */
} ngx_http_usher_salt_t;


/*
 * The head of the zone that modules other than the zone's may use: plain
 * words, changed by atomic operations only.  The second half belongs to
 * ngx_http_usher_directory.c.
 */
typedef struct {
    ngx_atomic_t  journal_bytes;     /* of all segments of the node's slots */
    ngx_atomic_t  journal_slots;     /* slots that a process holds */
    ngx_atomic_t  journal_full;      /* 1: someone had to drop; for alarms */
    ngx_atomic_t  heartbeat;         /* CLOCK_MONOTONIC msec it last moved */
    ngx_atomic_t  change_id;         /* last change applied */
    ngx_atomic_t  generation;        /* records of an older one revalidate */
    ngx_atomic_t  ready;             /* 1: the directory is known to be whole */

    ngx_atomic_t  beat;              /* hash of the last heartbeat's text */
    ngx_atomic_t  lineage;           /* that change_id counts in; 0: none */
    ngx_atomic_t  refused;           /* 1: this Redis may evict records,
                                        2: it does not say whether */
    ngx_atomic_t  said;              /* bits: troubles that stand in the log */
    ngx_atomic_t  corrupt;           /* record last reported as such, and
                                        when; 0: none */
    ngx_atomic_t  reader;            /* pid of the worker that reads changes */
    ngx_atomic_t  reader_at;         /* monotonic msec it last said so */
    ngx_atomic_t  misses;            /* budget of the node: arrival time, ns */
    ngx_atomic_t  caps_full;         /* monotonic sec at which the last click
                                        was not counted by its cap */
    ngx_atomic_t  epoch[NGX_HTTP_USHER_KINDS];      /* of negatives */
    ngx_atomic_t  raised[NGX_HTTP_USHER_RAISES];    /* monotonic msec at which
                                        generation i, modulo, ended */
    ngx_atomic_t  changed[NGX_HTTP_USHER_TICKETS];  /* tickets: how often,
                                        and msec of the last, in 40 bits */
    ngx_http_usher_process_t  process[NGX_HTTP_USHER_PROCESSES];
    ngx_http_usher_salt_t  salts[NGX_HTTP_USHER_SALTS];
} ngx_http_usher_shared_t;


/* 1 if an usher_zone is configured in this http block. */
ngx_uint_t ngx_http_usher_zone_configured(ngx_conf_t *cf);

/* NULL where no usher_zone is configured or before init_zone. */
ngx_http_usher_shared_t *ngx_http_usher_shared(void);

/* What the node has in Redis, and PostgreSQL not yet: bytes. */
uint64_t ngx_http_usher_window(ngx_http_usher_shared_t *shared);


#define NGX_HTTP_USHER_POLICIES   4     /* key-scoped buckets in a key's cell */
#define NGX_HTTP_USHER_NAME_MAX   32    /* org, plan and policy names, bytes */
#define NGX_HTTP_USHER_TEXT_MAX   512   /* scopes, or the allow list, bytes */

/* States of a key's record. */
#define NGX_HTTP_USHER_KEY_ACTIVE    0
#define NGX_HTTP_USHER_KEY_REVOKED   1
#define NGX_HTTP_USHER_KEY_ROTATED   2  /* its grace period has passed */
#define NGX_HTTP_USHER_KEY_DISABLED  3  /* its org is disabled */


/* A key as the directory knows it, copied out of the zone. */
typedef struct {
    uint64_t       id;               /* usher.key.id */
    uint64_t       org_id;
    uint64_t       plan_id;          /* 0: none */
    time_t         expires;          /* wall clock; 0: never */
    ngx_uint_t     state;            /* NGX_HTTP_USHER_KEY_* */
    ngx_str_t      org;              /* the three texts follow each other in
                                        text */
    ngx_str_t      scope;            /* space separated */
    ngx_str_t      allow;            /* CIDRs, space separated; empty: all */
    ngx_atomic_t  *tat;              /* in the zone, NGX_HTTP_USHER_POLICIES;
                                        NULL: those are another plan's */
    u_char         text[NGX_HTTP_USHER_NAME_MAX + 2 * NGX_HTTP_USHER_TEXT_MAX];
} ngx_http_usher_key_t;


/* Whom a bucket of a plan counts. */
#define NGX_HTTP_USHER_SCOPE_KEY  0     /* word i of the key's cell */
#define NGX_HTTP_USHER_SCOPE_ORG  1     /* a free bucket */

typedef struct {
    ngx_str_t      name;             /* points into the plan's text */
    uint64_t       quota;            /* units per window */
    uint64_t       window;           /* seconds */
    usher_gcra_t   gcra;             /* the same; interval 0: impossible */
    ngx_uint_t     scope;            /* NGX_HTTP_USHER_SCOPE_* */
    ngx_uint_t     bucket;           /* scope key: index into tat */
} ngx_http_usher_policy_t;


typedef struct {
    uint64_t                 id;
    ngx_str_t                name;
    ngx_uint_t               npolicies;
    ngx_http_usher_policy_t  policies[8];
    u_char                   text[9 * NGX_HTTP_USHER_NAME_MAX];
} ngx_http_usher_plan_t;


/*
 * The word of a free bucket (org, address or other key), found or made; the
 * name is hashed with the zone's secret to 128 bits.  NULL if no cell could
 * be had (counted; the caller then denies nothing).
 */
ngx_atomic_t *ngx_http_usher_bucket(u_char *name, size_t len);

/* CLOCK_MONOTONIC in ns: the clock of buckets. */
uint64_t ngx_http_usher_monotonic(void);


/* ---- Directory: ngx_http_usher_directory.c --------------------------- */

/*
 * Looks a record up.  Copies the key to *key; *plan is set to the plan, which
 * is valid until the next look-up of one.
 *
 *     NGX_OK        found
 *     NGX_DECLINED  known not to exist (or a tombstone)
 *     NGX_AGAIN     asked Redis; the request is suspended and its phases run
 *                   again when there is an answer: call again then.  The
 *                   phase handler returns NGX_AGAIN
 *     NGX_BUSY      cannot be known now: answer 503, or what is configured
 *     NGX_ABORT     beyond the miss budget of this client: answer 429
 *
 * A request waits at most 50 ms in all, however often it calls.
 */
ngx_int_t ngx_http_usher_directory_key(ngx_http_request_t *r,
    u_char digest[USHER_KEY_DIGEST], ngx_http_usher_key_t *key);
ngx_int_t ngx_http_usher_directory_plan(ngx_http_request_t *r,
    uint64_t id, ngx_http_usher_plan_t **plan);

/* The longest record, bytes. */
#define NGX_HTTP_USHER_RECORD_MAX  8192

/*
 * The same of other kinds: the packed record is copied into buf, which has
 * room for NGX_HTTP_USHER_RECORD_MAX.  An id is 255 bytes at most.
 */
ngx_int_t ngx_http_usher_directory_record(ngx_http_request_t *r,
    ngx_uint_t kind, ngx_str_t *id, u_char *buf, size_t *len);


/* ---- Salt of visitors: ngx_http_usher_salt.c ------------------------- */

/* The day's salt; NGX_DECLINED: there is none yet. */
ngx_int_t ngx_http_usher_salt(uint64_t salt[2]);

/* "common" to all nodes, this node's "own", or "none": for the status. */
const char *ngx_http_usher_salt_state(void);


/* ---- Redis: ngx_http_usher_redis.c ----------------------------------- */

/*
 * The one file that speaks to hiredis.  A client is one connection of this
 * worker that reconnects by itself (backoff 10 ms doubling to 1 s) for as
 * long as it lives.  Handlers run on the event loop; whatever they call, the
 * connection they were called from stays until they have returned.
 */
typedef struct ngx_http_usher_redis_s  ngx_http_usher_redis_t;

#define NGX_HTTP_USHER_REDIS_NIL      0
#define NGX_HTTP_USHER_REDIS_STRING   1
#define NGX_HTTP_USHER_REDIS_INTEGER  2
#define NGX_HTTP_USHER_REDIS_ARRAY    3
#define NGX_HTTP_USHER_REDIS_STATUS   4
#define NGX_HTTP_USHER_REDIS_ERROR    5

/* A reply, valid during the handler. */
typedef struct ngx_http_usher_reply_s  ngx_http_usher_reply_t;

struct ngx_http_usher_reply_s {
    ngx_uint_t               type;
    ngx_str_t                str;      /* string, status, error */
    int64_t                  integer;
    ngx_uint_t               n;        /* array: elements */
    ngx_http_usher_reply_t  *elements;
};

/* reply is NULL when the connection was lost before it came. */
typedef void (*ngx_http_usher_reply_pt)(void *data,
    ngx_http_usher_reply_t *reply);

typedef struct {
    void  (*connected)(void *data);    /* authenticated and ready for use */
    void  (*lost)(void *data);         /* after each reply_pt had its NULL */
    void   *data;
} ngx_http_usher_redis_events_t;

/*
 * role: "stream", "directory" or "counters"; which server usher_redis names.
 * NULL if none has this role.  Called in init_process or later; it connects
 * from the event loop.
 */
ngx_http_usher_redis_t *ngx_http_usher_redis_create(ngx_cycle_t *cycle,
    const char *role, ngx_http_usher_redis_events_t *events);

/* At any time, handlers included.  No handler is called any more. */
void ngx_http_usher_redis_destroy(ngx_http_usher_redis_t *rc);

/* 1 if a server has this role in this http block. */
ngx_uint_t ngx_http_usher_redis_configured(ngx_conf_t *cf, const char *role);

ngx_uint_t ngx_http_usher_redis_ready(ngx_http_usher_redis_t *rc);

/*
 * Logs that the server refuses a command (if not NULL), or with why NULL that
 * it takes it again.  A role shows as refused until n is 0.
 */
void ngx_http_usher_redis_refused(ngx_http_usher_redis_t *rc,
    const char *command, ngx_str_t *why, ngx_uint_t n);

/*
 * Queues a command; args are copied.  timeout in msec (0: none): when it
 * passes without a reply, the connection is dropped.  NGX_ERROR if there is
 * no connection (then reply_pt is not called).
 */
ngx_int_t ngx_http_usher_redis_command(ngx_http_usher_redis_t *rc,
    ngx_http_usher_reply_pt handler, void *data, ngx_msec_t timeout,
    ngx_uint_t argc, ngx_str_t *argv);


/* ---- Journal: ngx_http_usher_journal.c ------------------------------- */

#define NGX_HTTP_USHER_WAIT     1    /* answer only when synced */

/*
 * Reserves len bytes for an event of this request before the work is done;
 * released by a pool cleanup of the main request.  NGX_OK, or NGX_BUSY when
 * the journal is full (or there is none now).
 */
ngx_int_t ngx_http_usher_journal_reserve(ngx_http_request_t *r, size_t len);

/*
 * Appends a whole line (tag ... LF).  NGX_OK: appended.  NGX_AGAIN (wait
 * only): appended; once it is synced r->write_event_handler is called (a
 * phase handler finds ngx_http_core_run_phases there, a content handler sets
 * its own before), and ngx_http_usher_journal_synced(r) tells NGX_OK or
 * NGX_ERROR; it tells NGX_AGAIN when called before.  NGX_BUSY: the journal
 * is full.  NGX_ERROR: longer than segment / 4.
 */
ngx_int_t ngx_http_usher_journal_append(ngx_http_request_t *r, u_char *line,
    size_t len, ngx_uint_t wait);
ngx_int_t ngx_http_usher_journal_synced(ngx_http_request_t *r);

/*
 * Appends a body as part events (id, n, of, data), before the event that
 * closes them; id must be safe as a COPY column.  *parts is their number.
 * NGX_OK, NGX_BUSY (full; nothing was appended) or NGX_ERROR.
 */
ngx_int_t ngx_http_usher_journal_parts(ngx_http_request_t *r, ngx_str_t *id,
    ngx_chain_t *body, ngx_uint_t *parts);

/* The longest line that can be appended. */
size_t ngx_http_usher_journal_line_max(void);

/*
 * Log phase, without copy: room for at most len bytes, or NULL when full
 * (counted); then commit what was used, 0 for nothing.
 */
u_char *ngx_http_usher_journal_open(size_t len);
void ngx_http_usher_journal_commit(size_t used);

/* 1 if an usher_journal is configured in this http block. */
ngx_uint_t ngx_http_usher_journal_configured(ngx_conf_t *cf);

/* size= of the running configuration; 0 without a journal. */
uint64_t ngx_http_usher_journal_size(void);

/*
 * Called by the parser of a directive that makes waiting events: with
 * sync=off or without a journal the configuration is then refused.
 */
void ngx_http_usher_journal_waits(ngx_conf_t *cf, ngx_str_t *directive);

/* What usher_full says here of a kind ('r' request, 'h' hook, ...). */
#define NGX_HTTP_USHER_FULL_DROP  0  /* go on, drop the event, count it */
#define NGX_HTTP_USHER_FULL_DENY  1  /* 503 */
#define NGX_HTTP_USHER_FULL_PASS  2  /* go on without the event's promise */

ngx_uint_t ngx_http_usher_journal_full(ngx_http_request_t *r, char kind);


/* ---- Requests: ngx_http_usher_module.c ------------------------------- */

/*
 * $usher_auth_status, the problem's reason code and the event's auth_status
 * are one word each; so are the limit's.
 */
typedef enum {
    NGX_HTTP_USHER_AUTH_NONE = 0,        /* no usher_auth here: "" */
    NGX_HTTP_USHER_AUTH_OK,              /* ok */
    NGX_HTTP_USHER_AUTH_ANONYMOUS,       /* anonymous: optional, no key */
    NGX_HTTP_USHER_AUTH_MISSING,         /* missing */
    NGX_HTTP_USHER_AUTH_SCHEME,          /* scheme: Authorization, no Bearer */
    NGX_HTTP_USHER_AUTH_MALFORMED,       /* malformed */
    NGX_HTTP_USHER_AUTH_CHECKSUM,        /* bad_checksum */
    NGX_HTTP_USHER_AUTH_CONFLICT,        /* conflict: two credentials */
    NGX_HTTP_USHER_AUTH_UNKNOWN,         /* unknown */
    NGX_HTTP_USHER_AUTH_EXPIRED,         /* expired */
    NGX_HTTP_USHER_AUTH_REVOKED,         /* revoked */
    NGX_HTTP_USHER_AUTH_ROTATED,         /* rotated */
    NGX_HTTP_USHER_AUTH_DISABLED,        /* org_disabled */
    NGX_HTTP_USHER_AUTH_ENV,             /* env: live or test, the other */
    NGX_HTTP_USHER_AUTH_SCOPE,           /* scope */
    NGX_HTTP_USHER_AUTH_ADDRESS,         /* address */
    NGX_HTTP_USHER_AUTH_THROTTLED,       /* throttled: failure limiter */
    NGX_HTTP_USHER_AUTH_UNAVAILABLE      /* unavailable: cannot be known */
} ngx_http_usher_auth_e;


/* $usher_limit_status and the event's limit_status. */
typedef enum {
    NGX_HTTP_USHER_LIMIT_NONE = 0,       /* no usher_limit applied: "" */
    NGX_HTTP_USHER_LIMIT_PASSED,         /* passed */
    NGX_HTTP_USHER_LIMIT_REJECTED,       /* rejected */
    NGX_HTTP_USHER_LIMIT_DRY_RUN,        /* rejected_dry_run */
    NGX_HTTP_USHER_LIMIT_UNAVAILABLE     /* unavailable: plan not known */
} ngx_http_usher_limit_e;


typedef struct ngx_http_usher_agent_s  ngx_http_usher_agent_t;
typedef struct ngx_http_usher_saved_s  ngx_http_usher_saved_t;

/* State of a main request; survives internal redirects. */
typedef struct {
    unsigned                 found:1;        /* credential is set */
    unsigned                 queried:1;      /* it stood in the query */
    unsigned                 schemed:1;      /* an Authorization that we may
                                                read is no Bearer */
    unsigned                 stripped:1;     /* headers that may carry it, in
                                                the location that found it */
    unsigned                 test:1;         /* it is a test key */
    unsigned                 hashed:1;       /* digest is set */
    unsigned                 reserved:1;     /* journal has room for it */
    unsigned                 failed:1;       /* failure limiter was charged */
    unsigned                 throttled:1;    /* and was over its rate */
    unsigned                 private:1;      /* its answer says so */
    unsigned                 dry:1;          /* auth would have refused */
    unsigned                 plan_charged:1; /* policies of the plan were */
    unsigned                 limited:1;      /* a limit refused it */
    unsigned                 evented:1;      /* an usher directive was on */
    ngx_http_usher_auth_e    auth;
    ngx_http_usher_auth_e    bad;            /* of the credential alone */
    ngx_http_usher_limit_e   limit;
    size_t                   verdict;        /* ngx_http_usher_verdict() */
    ngx_uint_t               units;          /* charged by the plan */
    ngx_uint_t               turn;           /* the worker's, and the time, */
    ngx_msec_t               when;           /* when key was looked up */
    uint64_t                 number;         /* of the request id; 0: none */
    uint64_t                 charged[2];     /* bits: named limits charged */
    ngx_str_t                credential;     /* never log */
    ngx_str_t                violated;       /* limits that refused */
    u_char                   digest[USHER_KEY_DIGEST];
    ngx_http_usher_key_t    *key;            /* NULL until known */
    ngx_str_t                plan;           /* its name; empty until known */
    ngx_http_usher_saved_t  *saved;          /* keys taken out of arguments */
    ngx_http_usher_agent_t  *agent;          /* NULL until looked at */
    ngx_str_t                click_id;       /* of usher_link; empty: none */
    const char              *click_reason;   /* its word; NULL: no click */
    void                    *rules;          /* of auth, that let it in */
    void                    *conversion;     /* NULL until usher_conversion */
    void                    *module_data[4]; /* license, ... */
} ngx_http_usher_ctx_t;

/* Found or made (make = 1); NULL if there is none or no memory. */
ngx_http_usher_ctx_t *ngx_http_usher_ctx(ngx_http_request_t *r,
    ngx_uint_t make);

/* usher_node of the running configuration, else the host's name. */
ngx_str_t *ngx_http_usher_node_name(void);


/* A problem to answer with: RFC 9457. */
typedef struct {
    ngx_uint_t   status;
    const char  *type;         /* URI reference; NULL: about:blank */
    const char  *title;        /* constant per type */
    ngx_str_t    detail;       /* may be empty */
    ngx_str_t    reason;       /* code, member "reason" */
    ngx_str_t    members;      /* more JSON members, ",\"a\":1", or empty */
} ngx_http_usher_problem_t;

/*
 * Sends the problem as the response (application/problem+json, or HTML or
 * nothing where Accept asks for it), no-store; headers that belong to it
 * (WWW-Authenticate, Retry-After) are set by the caller first.  Returns what
 * the phase handler returns, or for the second a content handler.
 */
ngx_int_t ngx_http_usher_problem(ngx_http_request_t *r,
    ngx_http_usher_problem_t *problem);
ngx_int_t ngx_http_usher_problem_content(ngx_http_request_t *r,
    ngx_http_usher_problem_t *problem);


extern ngx_module_t  ngx_http_usher_module;
extern ngx_module_t  ngx_http_usher_zone_module;
extern ngx_module_t  ngx_http_usher_redis_module;
extern ngx_module_t  ngx_http_usher_directory_module;
extern ngx_module_t  ngx_http_usher_journal_module;
extern ngx_module_t  ngx_http_usher_auth_module;
extern ngx_module_t  ngx_http_usher_limit_module;
extern ngx_module_t  ngx_http_usher_link_module;
extern ngx_module_t  ngx_http_usher_status_module;


#endif /* _NGX_HTTP_USHER_H_INCLUDED_ */
