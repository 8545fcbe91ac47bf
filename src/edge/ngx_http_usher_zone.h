
/*
 * ngx_http_usher_zone.h - the zone as the directory uses it.
 *
 * What a fetch brought is stored only if nothing changed meanwhile: whoever
 * fetches remembers a ticket (a word of ngx_http_usher_shared_t) before it
 * asks, whoever learns of a change adds 1 to the ticket before it drops the
 * cell, and the ticket is compared under the lock of the cell's set.  So no
 * cell has to be pinned and a dead worker leaves nothing to clean up.
 *
 * A look-up takes no lock.  It may miss what is there (a set that was being
 * written for too long, an evicted block of a long text); it never returns
 * what is torn.
 */


#ifndef _NGX_HTTP_USHER_ZONE_H_INCLUDED_
#define _NGX_HTTP_USHER_ZONE_H_INCLUDED_


#include "ngx_http_usher.h"
#include "usher_zone.h"


#define NGX_HTTP_USHER_CELL_NONE   0    /* nothing usable */
#define NGX_HTTP_USHER_CELL_FOUND  1    /* copied; generation is its own */
#define NGX_HTTP_USHER_CELL_GONE   2    /* a negative; generation and epoch
                                           are its own */

typedef struct {
    ngx_atomic_uint_t   generation;  /* stored in 32 bits; 0: revalidate */
    ngx_atomic_uint_t   epoch;       /* negatives: of their kind when asked */
    ngx_atomic_t       *ticket;      /* set: stored only if it still is */
    ngx_atomic_uint_t   seen;        /* seen; NULL: no condition */
} ngx_http_usher_fill_t;


/*
 * Looks into the keys, then the negatives.  FOUND fills *key as far as its
 * texts are long (do not zero it before) with key->tat in the cell.  The
 * words stay the key's until its cell is evicted, which happens to cells
 * with an idle bucket first: see usher_zone.h for what a late charge does.
 */
ngx_uint_t ngx_http_usher_zone_key_get(u_char *digest,
    ngx_http_usher_key_t *key, ngx_http_usher_fill_t *found);

/*
 * Each of the next three returns NGX_OK, NGX_AGAIN (the ticket moved: fetch
 * again) or NGX_DECLINED (no cell could be had).  A cell that the digest
 * already has keeps its buckets, and so does one that was dropped.
 */
ngx_int_t ngx_http_usher_zone_key_set(u_char *digest,
    ngx_http_usher_key_t *key, ngx_http_usher_fill_t *fill);

/* The record is gone: the cell is freed and the negative stored. */
ngx_int_t ngx_http_usher_zone_key_negative(u_char *digest,
    ngx_http_usher_fill_t *fill);

/*
 * hard: the record is invalid, the buckets stay for the refill.  soft: its
 * generation becomes 0.  A negative of the digest goes in both cases.
 * NGX_ERROR if the set stayed locked (its owner is alive, but stopped): then
 * the caller must raise the generation of all.
 */
ngx_int_t ngx_http_usher_zone_key_drop(u_char *digest, ngx_uint_t hard);


/* Other records: bytes that the directory packed, under a kind and an id. */

ngx_uint_t ngx_http_usher_zone_record_get(ngx_uint_t kind, ngx_str_t *id,
    u_char *buf, size_t size, size_t *len, ngx_http_usher_fill_t *found);
ngx_int_t ngx_http_usher_zone_record_set(ngx_uint_t kind, ngx_str_t *id,
    u_char *data, size_t len, ngx_http_usher_fill_t *fill);
ngx_int_t ngx_http_usher_zone_record_negative(ngx_uint_t kind, ngx_str_t *id,
    ngx_http_usher_fill_t *fill);
ngx_int_t ngx_http_usher_zone_record_drop(ngx_uint_t kind, ngx_str_t *id,
    ngx_uint_t hard);


/* Where the figures of a process lie in its slot, behind its counters. */
#define NGX_HTTP_USHER_FIGURES  896

/* This process's view of the zone; head is NULL where there is none. */
extern usher_zone_t  ngx_http_usher_zone;


/* ---- for usher_status and usher_metrics */

/* A part of the zone and its load. */
typedef struct {
    const char  *name;           /* "keys", "buckets", ... */
    uint64_t     bytes;
    uint64_t     cells;
    uint64_t     used;
} ngx_http_usher_zone_part_t;

#define NGX_HTTP_USHER_ZONE_PARTS  6

/* Size of the whole zone; 0: there is none. */
uint64_t ngx_http_usher_zone_parts(
    ngx_http_usher_zone_part_t parts[NGX_HTTP_USHER_ZONE_PARTS]);

/*
 * Figures of the live process at or after *i; NULL after the last.  *i is
 * set to where to go on, *pid to the process.
 */
ngx_http_usher_figures_t *ngx_http_usher_zone_process(ngx_uint_t *i,
    ngx_pid_t *pid);


#endif /* _NGX_HTTP_USHER_ZONE_H_INCLUDED_ */
