
/*
 * ngx_http_usher_directory.h - what the files of the directory share.
 */


#ifndef _NGX_HTTP_USHER_DIRECTORY_H_INCLUDED_
#define _NGX_HTTP_USHER_DIRECTORY_H_INCLUDED_


#include "ngx_http_usher.h"
#include "ngx_http_usher_zone.h"


#define NGX_HTTP_USHER_ID_MAX        255      /* bytes of an id's text */
#define NGX_HTTP_USHER_FOREVER       ((ngx_msec_t) -1)
#define NGX_HTTP_USHER_FRESH         2000     /* msec that a heartbeat lasts */

#define NGX_HTTP_USHER_BAD           "usher:d:bad"


typedef struct {
    ngx_msec_t                stale[NGX_HTTP_USHER_KINDS];
} ngx_http_usher_directory_conf_t;


/* Of this process; see ngx_http_usher_directory.c. */
typedef struct {
    ngx_cycle_t                      *cycle;     /* this was made for */
    ngx_http_usher_shared_t          *shared;    /* NULL: no zone */
    ngx_http_usher_redis_t           *redis;     /* of MGET; NULL: none */
    ngx_http_usher_redis_t           *changes;   /* of the reader, or NULL */
    ngx_http_usher_directory_conf_t  *conf;

    ngx_msec_t                        lost_at;   /* redis was last ready */

    ngx_queue_t                       waiting;   /* waiters, by deadline */
    ngx_queue_t                       resumed;   /* waiters with an answer */
    ngx_queue_t                       queued;    /* fetches not yet sent */
    ngx_queue_t                       asked;     /* commands on their way */
    ngx_queue_t                       fetches[256];
    ngx_uint_t                        nwaiting;
    ngx_uint_t                        npoor;     /* of these, of addresses
                                                    beyond their budget */

    ngx_event_t                       resume;    /* posted */
    ngx_event_t                       deadline;  /* of the first waiter */
    ngx_event_t                       pace;      /* of queued */
    ngx_event_t                       renew;     /* the reader's lease */

    ngx_msec_t                        checked;   /* policy was looked at */
    ngx_msec_t                        retry;     /* after an error: no round
                                                    before this time */
    ngx_msec_t                        backoff;   /* msec; 0: no error */
    unsigned                          working:1; /* reader's round runs */
    unsigned                          failed:1;  /* part of it was refused */
    unsigned                          behind:1;  /* it left changes unread */
    unsigned                          hangs:1;   /* Redis met a deadline, and
                                                    has not answered since */
} ngx_http_usher_directory_t;


/* A record that is wanted all the time, as it was read from the zone. */
typedef struct {
    ngx_cycle_t                      *cycle;
    ngx_atomic_t                     *ticket;    /* in the zone; NULL: nothing
                                                    was read */
    ngx_atomic_uint_t                 seen;      /* of it, before that */
    ngx_msec_t                        read;      /* ngx_current_msec */
    ngx_http_usher_fill_t             found;
} ngx_http_usher_memo_t;

/*
 * As ngx_http_usher_directory_record(), but buf is filled only now and then.
 * *len is 0 where what was read before still holds; otherwise, whatever is
 * returned, it is to be taken: it is not read again.
 */
ngx_int_t ngx_http_usher_directory_memo(ngx_http_request_t *r,
    ngx_uint_t kind, ngx_str_t *id, ngx_http_usher_memo_t *memo, u_char *buf,
    size_t *len);


/* The text of a kind, and the kind of a text or NGX_HTTP_USHER_KINDS. */
extern ngx_str_t  ngx_http_usher_kinds[];
ngx_uint_t ngx_http_usher_kind(ngx_str_t *name);

extern ngx_http_usher_directory_t  ngx_http_usher_directory_data;


/* ---- ngx_http_usher_directory_wait.c --------------------------------- */

/*
 * Suspends the request until the record was fetched: NGX_AGAIN.  NGX_OK: the
 * outdated one that was found serves; NULL: there is none.  NGX_BUSY,
 * NGX_ABORT: as the look-up says.
 */
ngx_int_t ngx_http_usher_wait(ngx_http_request_t *r,
    ngx_http_usher_directory_t *d, ngx_uint_t kind, ngx_str_t *id,
    u_char *digest, ngx_http_usher_fill_t *found);
void ngx_http_usher_wait_answer(ngx_http_usher_directory_t *d,
    ngx_queue_t *waiters, ngx_uint_t failed);
void ngx_http_usher_wait_resume(ngx_event_t *ev);
void ngx_http_usher_wait_deadline(ngx_event_t *ev);


/* ---- ngx_http_usher_directory_fetch.c -------------------------------- */

/* A record on its way; lives until its command was answered. */
typedef struct {
    ngx_queue_t                       hash;      /* in fetches */
    ngx_queue_t                       queue;     /* in queued, if not sent */
    ngx_queue_t                       waiters;   /* by their link */
    ngx_http_usher_fill_t             fill;
    ngx_uint_t                        kind;
    ngx_uint_t                        tries;
    ngx_str_t                         id;        /* points into text */
    u_char                            text[NGX_HTTP_USHER_ID_MAX];
    u_char                            digest[USHER_KEY_DIGEST];
    unsigned                          sent:1;
} ngx_http_usher_fetch_t;

ngx_http_usher_fetch_t *ngx_http_usher_fetch_find(
    ngx_http_usher_directory_t *d, ngx_uint_t kind, ngx_str_t *id);
/* Begins in queued; digest is NULL but for keys. */
ngx_http_usher_fetch_t *ngx_http_usher_fetch_create(
    ngx_http_usher_directory_t *d, ngx_uint_t kind, ngx_str_t *id,
    u_char *digest);
/*
 * One MGET for n fetches, which are taken out of queued.  If it cannot be
 * sent they are done, failed, and gone: NGX_ERROR.
 */
ngx_int_t ngx_http_usher_fetch_send(ngx_http_usher_directory_t *d,
    ngx_http_usher_fetch_t **fetches, ngx_uint_t n);
void ngx_http_usher_fetch_pace(ngx_event_t *ev);
void ngx_http_usher_fetch_abandon(ngx_http_usher_directory_t *d);

/*
 * The word that tells changes of this record (of all with its hash): it moves
 * with each, and knows when the last one was.
 */
ngx_atomic_t *ngx_http_usher_ticket(ngx_http_usher_shared_t *shared,
    ngx_uint_t kind, ngx_str_t *id);
void ngx_http_usher_ticket_move(ngx_atomic_t *ticket);
/* Milliseconds since it moved. */
ngx_msec_t ngx_http_usher_ticket_age(ngx_atomic_t *ticket);


/* ---- ngx_http_usher_directory_changes.c ------------------------------ */

/* Takes, keeps or gives up the lease on reading changes: each 10 ms. */
void ngx_http_usher_changes_renew(ngx_http_usher_directory_t *d);
void ngx_http_usher_changes_stop(ngx_http_usher_directory_t *d);


/* ---- ngx_http_usher_directory_beat.c --------------------------------- */

/* Troubles that are said once, and when they are over: bits of said. */
#define NGX_HTTP_USHER_SAID_ALIVE    0x01    /* a sign of life was seen */
#define NGX_HTTP_USHER_SAID_LOST     0x02    /* none for 2 s */
#define NGX_HTTP_USHER_SAID_REFUSED  0x04    /* reading changes is refused */
#define NGX_HTTP_USHER_SAID_NO_KEY   0x08    /* no click key signs */
#define NGX_HTTP_USHER_SAID_SEALED   0x10    /* one cannot be opened */
#define NGX_HTTP_USHER_SAID_SALT     0x20    /* the node has one of its own */
#define NGX_HTTP_USHER_SAID_CAPS     0x40    /* caps are the node's alone */
#define NGX_HTTP_USHER_SAID_CAPS_FULL  0x80  /* some do not count */
#define NGX_HTTP_USHER_SAID_STALE    0x100   /* and on: stale of a kind ended */

/* NGX_OK: the bit was not set, or not clear, and now it is: say so. */
ngx_int_t ngx_http_usher_said(ngx_http_usher_directory_t *d,
    ngx_uint_t bits);
ngx_int_t ngx_http_usher_unsaid(ngx_http_usher_directory_t *d,
    ngx_uint_t bits);

/* The heartbeat's text, once all changes before it were applied. */
void ngx_http_usher_beat_moved(ngx_http_usher_directory_t *d,
    ngx_str_t *text);
/* Says when signs of life stay away, or stale has ended: each 10 ms. */
void ngx_http_usher_beat_watch(ngx_http_usher_directory_t *d);
/* The reply to INFO memory: whether this Redis may be used at all. */
void ngx_http_usher_beat_policy(ngx_http_usher_directory_t *d,
    ngx_http_usher_reply_t *reply);


/* ---- ngx_http_usher_salt.c ------------------------------------------- */

/* Called by the reader of changes, each 10 ms and when it has connected. */
void ngx_http_usher_salt_renew(ngx_http_usher_directory_t *d,
    ngx_uint_t connected);


/* ---- ngx_http_usher_directory_record.c ------------------------------- */

/*
 * Reads a record's text.  NGX_OK, NGX_DECLINED: a tombstone, NGX_BUSY: of
 * another lineage than ready, NGX_ERROR: corrupt, *reason says how.
 */
ngx_int_t ngx_http_usher_record_key(ngx_str_t *text, ngx_str_t *ready,
    ngx_http_usher_key_t *key, const char **reason);
/* Packs any other into buf, which has room for NGX_HTTP_USHER_RECORD_MAX. */
ngx_int_t ngx_http_usher_record_pack(ngx_uint_t kind, ngx_str_t *text,
    ngx_str_t *ready, u_char *buf, size_t *len, const char **reason);

/* Unpacks it again; NGX_ERROR if it is not what was packed. */
ngx_int_t ngx_http_usher_plan_unpack(u_char *buf, size_t len,
    ngx_http_usher_plan_t *plan);


#endif /* _NGX_HTTP_USHER_DIRECTORY_H_INCLUDED_ */
