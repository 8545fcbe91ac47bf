/*
 * usher_cap.c - counters of caps: see usher_cap.h.
 */


#include <string.h>

#include "usher_cap.h"
#include "usher_siphash.h"


#define USHER_CAP_TRIES  64        /* reads of a set that came out torn */
#define USHER_CAP_CLEAR  (sizeof(usher_set_t) - sizeof(uint64_t))


static usher_cap_t *usher_cap_find(usher_caps_t *caps, usher_self_t *self,
    const usher_place_t *p, const uint64_t id[2]);
static unsigned usher_cap_room(usher_caps_t *caps, usher_self_t *self,
    const usher_place_t *p, uint32_t now);
static unsigned usher_cap_idle(const usher_cap_t *cap, uint32_t now);
static uint32_t usher_cap_set_of(const usher_caps_t *caps,
    const usher_cap_t *cap);


#define usher_cap_load(p)  __atomic_load_n(p, __ATOMIC_RELAXED)

#define usher_cap_set(caps, n)                                                \
    ((usher_set_t *) ((caps)->table.base + (size_t) (n) * (caps)->table.size))


usher_cap_t *
usher_cap(usher_caps_t *caps, usher_self_t *self, const uint64_t secret[2],
    const uint64_t id[2], uint32_t now)
{
    int             i;
    uint64_t        hash[2];
    usher_set_t    *set;
    usher_cap_t    *cap;
    usher_place_t   p;

    usher_siphash(secret, -1, id, 2 * sizeof(uint64_t), hash);
    usher_place(&caps->table, hash[0], hash[1], &p);

    cap = usher_cap_find(caps, self, &p, id);

    if (cap == NULL) {

        if (usher_place_lock(self, &p) != 0) {
            return NULL;
        }

        cap = usher_place_find(&caps->table, &p, id, &set, &i);

        if (cap == NULL && usher_cap_room(caps, self, &p, now)) {
            cap = usher_place_make(self, &caps->table, &p);

            memset(cap, 0, sizeof(usher_cap_t));
            cap->id[0] = id[0];
            cap->id[1] = id[1];
            cap->base = USHER_CAP_UNREAD;
            cap->used = now;
        }

        usher_place_unlock(&p);

        if (cap == NULL) {
            return NULL;
        }
    }

    if (usher_cap_load(&cap->used) != now) {
        __atomic_store_n(&cap->used, now, __ATOMIC_RELAXED);
    }

    return cap;
}


static usher_cap_t *
usher_cap_find(usher_caps_t *caps, usher_self_t *self, const usher_place_t *p,
    const uint64_t id[2])
{
    int           i;
    uint64_t      word;
    unsigned      k, tries;
    usher_set_t  *set;

    for (k = 0, tries = 0; k < 2; k++) {
        set = p->set[k];

        word = usher_set_read(self, &set->lock, USHER_CAP_CLEAR);

        if (word & 1) {
            return NULL;
        }

        i = usher_set_find(&caps->table, set, p->tag, id,
                           2 * sizeof(uint64_t));

        if (usher_set_torn(&set->lock, word)) {

            if (++tries == USHER_CAP_TRIES) {
                return NULL;
            }

            k--;
            continue;
        }

        if (i >= 0) {
            return (usher_cap_t *) usher_set_cell(&caps->table, set, i);
        }
    }

    return NULL;
}


/* Whether a cell is free, or was made so: the table itself would take any. */

static unsigned
usher_cap_room(usher_caps_t *caps, usher_self_t *self, const usher_place_t *p,
    uint32_t now)
{
    int           i;
    unsigned      k;
    usher_set_t  *set;

    for (k = 0; k < 2; k++) {
        for (i = 0; i < USHER_SET_WAYS; i++) {
            if (p->set[k]->tag[i] == 0) {
                return 1;
            }
        }
    }

    for (k = 0; k < 2; k++) {
        set = p->set[k];

        for (i = 0; i < USHER_SET_WAYS; i++) {
            if (usher_cap_idle((usher_cap_t *)
                               usher_set_cell(&caps->table, set, i), now))
            {
                usher_set_drop(&caps->table, set, i);
                (*self->evicted)++;

                return 1;
            }
        }
    }

    return 0;
}


static unsigned
usher_cap_idle(const usher_cap_t *cap, uint32_t now)
{
    return usher_cap_load(&cap->base) != USHER_CAP_UNREAD
           && (uint32_t) usher_cap_here(cap) == usher_cap_load(&cap->sent)
           && (int32_t) (now - usher_cap_load(&cap->used)) >= USHER_CAP_IDLE;
}


/* First since: with the floor of before it is too little, and no harm. */

void
usher_cap_floor(usher_cap_t *cap, uint32_t floor)
{
    if (floor > usher_cap_load(&cap->floor)) {
        __atomic_store_n(&cap->since, (uint32_t) usher_cap_load(&cap->own),
                         __ATOMIC_SEQ_CST);
        __atomic_store_n(&cap->floor, floor, __ATOMIC_SEQ_CST);
    }
}


uint64_t
usher_cap_here(const usher_cap_t *cap)
{
    uint64_t  base;

    base = usher_cap_load(&cap->base);

    return usher_cap_load(&cap->own)
           + (base == USHER_CAP_UNREAD ? 0 : base);
}


uint64_t
usher_cap_total(const usher_cap_t *cap)
{
    uint64_t  total, least;

    if (__builtin_add_overflow(usher_cap_here(cap),
                               usher_cap_load(&cap->others), &total))
    {
        return UINT64_MAX;
    }

    least = usher_cap_load(&cap->floor);

    if (least != 0) {
        least += (uint32_t) ((uint32_t) usher_cap_load(&cap->own)
                             - usher_cap_load(&cap->since));
    }

    return total > least ? total : least;
}


void
usher_cap_add(usher_caps_t *caps, usher_cap_t *cap)
{
    (void) __atomic_add_fetch(&cap->own, 1, __ATOMIC_SEQ_CST);

    usher_cap_want(caps, cap);
}


/* First the cell and then its set: next() looks the other way round. */

void
usher_cap_want(usher_caps_t *caps, usher_cap_t *cap)
{
    uint32_t  n;

    if (__atomic_load_n(&cap->wanted, __ATOMIC_SEQ_CST)) {
        return;
    }

    __atomic_store_n(&cap->wanted, 1, __ATOMIC_SEQ_CST);

    n = usher_cap_set_of(caps, cap);
    __atomic_store_n(&caps->marks[n], 1, __ATOMIC_SEQ_CST);
}


static uint32_t
usher_cap_set_of(const usher_caps_t *caps, const usher_cap_t *cap)
{
    return (uint32_t) ((size_t) ((const unsigned char *) cap
                                 - caps->table.base)
                       / caps->table.size);
}


usher_cap_t *
usher_cap_next(usher_caps_t *caps, uint32_t *at, uint32_t now, uint32_t every)
{
    uint32_t      n;
    unsigned      i;
    usher_set_t  *set;
    usher_cap_t  *cap;

    while (*at < caps->table.nsets * USHER_SET_WAYS) {

        n = *at / USHER_SET_WAYS;
        i = *at % USHER_SET_WAYS;

        if (i == 0
            && (__atomic_load_n(&caps->marks[n], __ATOMIC_RELAXED) == 0
                || !__atomic_exchange_n(&caps->marks[n], 0, __ATOMIC_SEQ_CST)))
        {
            *at += USHER_SET_WAYS;
            continue;
        }

        (*at)++;

        set = usher_cap_set(caps, n);
        cap = (usher_cap_t *) usher_set_cell(&caps->table, set, i);

        if (set->tag[i] == 0
            || !__atomic_load_n(&cap->wanted, __ATOMIC_SEQ_CST))
        {
            continue;
        }

        if (usher_cap_load(&cap->base) != USHER_CAP_UNREAD
            && now - usher_cap_load(&cap->asked) < every)
        {
            __atomic_store_n(&caps->marks[n], 1, __ATOMIC_SEQ_CST);
            continue;
        }

        __atomic_store_n(&cap->asked, now, __ATOMIC_RELAXED);
        __atomic_store_n(&cap->wanted, 0, __ATOMIC_SEQ_CST);

        return cap;
    }

    return NULL;
}


void
usher_cap_again(usher_caps_t *caps, uint32_t n, uint32_t now, uint32_t again,
    unsigned today)
{
    uint64_t      here;
    unsigned      i, day;
    usher_set_t  *set;
    usher_cap_t  *cap;

    set = usher_cap_set(caps, n);

    for (i = 0; i < USHER_SET_WAYS; i++) {
        cap = (usher_cap_t *) usher_set_cell(&caps->table, set, i);

        if (set->tag[i] == 0) {
            continue;
        }

        day = usher_cap_day(cap);
        here = usher_cap_here(cap);

        if (usher_cap_load(&cap->wanted)
            || usher_cap_load(&cap->base) == USHER_CAP_UNREAD
            || (uint32_t) here != usher_cap_load(&cap->sent)
            || (here != 0 && (day == 0 || day >= today)
                && now - usher_cap_load(&cap->asked) >= again))
        {
            __atomic_store_n(&cap->wanted, 1, __ATOMIC_SEQ_CST);
            __atomic_store_n(&caps->marks[n], 1, __ATOMIC_SEQ_CST);
        }
    }
}


void
usher_cap_heard(usher_cap_t *cap, uint64_t base, uint64_t others)
{
    uint64_t  was;

    was = USHER_CAP_UNREAD;

    (void) __atomic_compare_exchange_n(&cap->base, &was, base, 0,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);

    was = usher_cap_load(&cap->others);

    while (was < others
           && !__atomic_compare_exchange_n(&cap->others, &was, others, 0,
                                           __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST))
    {
        /* void */
    }
}


void
usher_cap_told(usher_cap_t *cap, uint64_t sent)
{
    __atomic_store_n(&cap->sent, (uint32_t) sent, __ATOMIC_SEQ_CST);
}
