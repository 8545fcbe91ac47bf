/*
 * usher_cap.h - how often something was clicked on, on all nodes, in memory
 * that the processes of one node share.
 *
 * DESIGN
 *
 * A cell counts for one cap: of a link or of one of its targets, for all time
 * or for a day.  What was counted here is own, added to without a lock; others
 * is what was heard of elsewhere, and never goes back.  Counting and comparing
 * wait for nobody.  Both together are a counter of which each writer writes
 * its own part, as a whole and never by how much it grew: what is said twice,
 * or was not heard, is counted once.
 *
 * What was counted in all is also no less than floor, which somebody knows who
 * counts them late, and what came here since that was heard.  Where nothing is
 * lost the sum is larger; where a node and the place where it told are, this
 * is what is left.
 *
 * A cell that was evicted comes back with base, which is what this zone had
 * told before; until it has been read (USHER_CAP_UNREAD) nothing is told.
 *
 * Cells lie in sets of usher_set.h.  Only one that has told all, and that
 * nobody asked for in a minute, makes way for another; where there is none,
 * nothing is counted.  Whoever held a cell for that long before he adds to it
 * counts for another one: a process that was stopped, and one click.
 *
 * A cell that is to be told of is wanted, and its set has a mark, so that
 * whoever tells looks at few cells.
 */


#ifndef USHER_CAP_H
#define USHER_CAP_H


#include <stddef.h>
#include <stdint.h>

#include "usher_set.h"


#define USHER_CAP_UNREAD  UINT64_MAX
#define USHER_CAP_IDLE    60         /* seconds */


typedef struct {
    uint64_t        id[2];
    uint64_t        own;
    uint64_t        base;            /* as read; USHER_CAP_UNREAD: not yet */
    uint64_t        others;
    uint32_t        sent;            /* of base and own, modulo */
    uint32_t        asked;           /* msec, modulo: when it was last told */
    uint32_t        used;            /* seconds: when somebody last came */
    uint32_t        wanted;          /* 1: is to be told */
    uint32_t        floor;           /* the highest that was heard */
    uint32_t        since;           /* of own, modulo, when it was */
} usher_cap_t;


typedef struct {
    usher_table_t   table;
    unsigned char  *marks;           /* one a set */
} usher_caps_t;


/*
 * Of which link (its number), target (0 to 16; 0: the link as a whole) and day
 * since the epoch (1 to 65535; 0: all time), and since when, msec since the
 * epoch: a cap that was taken away and given again counts anew.
 */
static inline void
usher_cap_id(uint64_t id[2], uint64_t link, unsigned target, unsigned day,
    uint64_t since)
{
    id[0] = link << 32 | (uint64_t) target << 16 | (day & 0xffff);
    id[1] = since;
}

#define usher_cap_link(c)    ((c)->id[0] >> 32)
#define usher_cap_target(c)  ((unsigned) ((c)->id[0] >> 16) & 0xffff)
#define usher_cap_day(c)     ((unsigned) (c)->id[0] & 0xffff)
#define usher_cap_since(c)   ((c)->id[1])


/*
 * The cell of this id, found or made; NULL if there is no room for it now.
 * now: seconds of a clock that does not go back, the same for all processes.
 */
usher_cap_t *usher_cap(usher_caps_t *caps, usher_self_t *self,
    const uint64_t secret[2], const uint64_t id[2], uint32_t now);

/* It is known that at least so many were counted, in all and before now. */
void usher_cap_floor(usher_cap_t *cap, uint32_t floor);

/* What is known to have been counted: here, and everywhere. */
uint64_t usher_cap_here(const usher_cap_t *cap);
uint64_t usher_cap_total(const usher_cap_t *cap);

/* Counts one; wants to be told. */
void usher_cap_add(usher_caps_t *caps, usher_cap_t *cap);
void usher_cap_want(usher_caps_t *caps, usher_cap_t *cap);

/*
 * The next cell that is wanted, from *at on, which begins at 0 and counts
 * cells; NULL at the end.  The one that is returned is wanted no longer; those
 * that were told within every msec before now (msec, modulo) stay wanted.
 */
usher_cap_t *usher_cap_next(usher_caps_t *caps, uint32_t *at, uint32_t now,
    uint32_t every);

/*
 * Wants the cells of a set to be told of that are not, or were told longer ago
 * than again msec, but those of days before today.
 */
void usher_cap_again(usher_caps_t *caps, uint32_t set, uint32_t now,
    uint32_t again, unsigned today);

/* What was heard: base if it was not read yet, what others have, what we. */
void usher_cap_heard(usher_cap_t *cap, uint64_t base, uint64_t others);
void usher_cap_told(usher_cap_t *cap, uint64_t sent);


#endif
