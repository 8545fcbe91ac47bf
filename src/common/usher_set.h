/*
 * usher_set.h - sets of cells in shared memory: the lock, and who owns it.
 *
 * DESIGN
 *
 * A table is an array of sets; a set is one cache line of header and 16
 * cells of fixed size.  A cell begins with its id, and the header holds a
 * tag of 16 bits per cell (0: the cell is free), so that a look-up touches
 * the header and the one cell it wants.  Every id has two sets where it may
 * lie: most of the first is filled, then the emptier of the two, then
 * something is evicted from either.  There are no pointers and no lists:
 * whatever a process that died left half done is inside one set.
 *
 * The first word of a set is its lock: {owner's pid, sequence}, the sequence
 * being odd while it is held.
 *
 *   - Readers take no lock: they copy and look at the word again.
 *   - Writers hold the sets of both candidates, taken in ascending order, so
 *     that an id is never in two cells.  Between lock and unlock nothing
 *     sleeps, allocates or calls out.
 *   - A lock whose owner is dead is taken over and its set cleared: all tags
 *     to 0, which loses at most 16 cells.  An owner is dead if kill(2) says
 *     so; after 1 ms of waiting also if it is a zombie, or if the process of
 *     that pid is none that has registered (a pid used again).
 *   - An owner that lives but does not run (SIGSTOP) is waited for 5 ms;
 *     then a reader misses and a writer fails.
 *
 * All-zero memory is a valid empty table.
 */


#ifndef USHER_SET_H
#define USHER_SET_H


#include <stddef.h>
#include <stdint.h>


#define USHER_SET_WAYS   16
#define USHER_SET_WAIT   5000000          /* ns: for a live owner */
#define USHER_SET_GHOST  1000000          /* ns: before /proc is asked */

#define USHER_PROC_DATA  960              /* bytes a process has of its own */


typedef struct {
    uint64_t       lock;
    uint16_t       tag[USHER_SET_WAYS];   /* 0: free */
    uint8_t        used[USHER_SET_WAYS];  /* 1: read since it was looked at
                                             for eviction; readers set it */
    uint8_t        unused[8];
} usher_set_t;


/* A process that may hold locks; its data outlives it. */
typedef struct {
    uint64_t       owner;                 /* start time << 32 | pid; 0: free */
    uint64_t       unused[7];
    unsigned char  data[USHER_PROC_DATA];
} usher_proc_t;


/* How this process sees a table; the sets themselves are shared. */
typedef struct {
    unsigned char  *base;
    uint32_t        nsets;
    uint32_t        size;                 /* bytes of a set */
    uint32_t        cell;                 /* bytes of a cell */
    uint32_t        id;                   /* bytes of id that a cell begins */
    uint64_t       *taken;                /* cells that are not free */

    /* time until which a cell has a bucket above idle, ns; NULL: never */
    uint64_t      (*busy)(const void *cell);
} usher_table_t;


/* What this process needs to lock: processes, itself, its counters. */
typedef struct {
    usher_proc_t   *procs;
    uint32_t        nprocs;
    uint32_t        pid;
    uint64_t       *recovered;            /* sets cleared */
    uint64_t       *evicted;              /* idle cells */
    uint64_t       *forgotten;            /* cells with a bucket above idle */
} usher_self_t;


/* Where an id may lie. */
typedef struct {
    usher_set_t    *set[2];               /* may be the same */
    uint16_t        tag;                  /* never 0 */
} usher_place_t;


#define usher_set_cell(t, s, i)                                               \
    ((unsigned char *) (s) + sizeof(usher_set_t) + (size_t) (i) * (t)->cell)


uint64_t usher_monotonic(void);

/* Start time of a process, low 32 bits; 0: unknown, 1: dead (a zombie). */
uint32_t usher_proc_start(uint32_t pid);

/*
 * Registers the process pid and returns its data, which holds what the last,
 * dead owner left in it; NULL if there are too many.
 */
unsigned char *usher_proc_claim(usher_proc_t *procs, uint32_t nprocs,
    uint32_t pid);
void usher_proc_release(usher_proc_t *procs, uint32_t nprocs, uint32_t pid);

/* 1 if the process that registered here may still live. */
unsigned usher_proc_alive(const usher_proc_t *proc);


/*
 * 0: the lock is held.  If its owner was dead, the clear bytes that follow
 * the word were zeroed.  -1: its owner is alive and held it for too long.
 */
int usher_set_lock(usher_self_t *self, uint64_t *lock, size_t clear);
void usher_set_unlock(uint64_t *lock);

/* Begins to read: the even word to compare with, or an odd one: give up. */
uint64_t usher_set_wait(usher_self_t *self, uint64_t *lock, size_t clear);

static inline uint64_t
usher_set_read(usher_self_t *self, uint64_t *lock, size_t clear)
{
    uint64_t  word;

    word = __atomic_load_n(lock, __ATOMIC_ACQUIRE);

    return (word & 1) ? usher_set_wait(self, lock, clear) : word;
}


/* 1 if what was copied since usher_set_read() may be torn. */
static inline unsigned
usher_set_torn(const uint64_t *lock, uint64_t word)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);

    return __atomic_load_n(lock, __ATOMIC_RELAXED) != word;
}


/* The place of an id with these 128 uniform bits. */
static inline void
usher_place(const usher_table_t *t, uint64_t a, uint64_t b, usher_place_t *p)
{
    uint64_t  i, k;

    i = ((a & 0xffffffff) * t->nsets) >> 32;
    k = ((a >> 32) * t->nsets) >> 32;

    p->set[0] = (usher_set_t *) (t->base + i * t->size);
    p->set[1] = (usher_set_t *) (t->base + k * t->size);
    p->tag = (uint16_t) b ? (uint16_t) b : 1;
}


/*
 * Bits of the cells that may have this tag, most likely one or none: bit
 * 16 * k + 15 of word k stands for the tag k of four.  A false positive is
 * sorted out by the id.
 */
static inline uint64_t
usher_set_match(const usher_set_t *set, unsigned word, uint16_t tag)
{
    uint64_t  x;

    __builtin_memcpy(&x, &set->tag[word * 4], 8);
    x ^= tag * 0x0001000100010001ULL;

    return (x - 0x0001000100010001ULL) & ~x & 0x8000800080008000ULL;
}


/*
 * Whether two ids are the same; their size is a multiple of 8.  Every word is
 * looked at, wherever the first difference is: the time says nothing of how
 * much of a digest somebody has guessed.
 */
static inline unsigned
usher_set_same(const void *a, const void *b, size_t size)
{
    size_t    i;
    uint64_t  x, y, differs;

    differs = 0;

    for (i = 0; i < size; i += 8) {
        __builtin_memcpy(&x, (const char *) a + i, 8);
        __builtin_memcpy(&y, (const char *) b + i, 8);
        differs |= x ^ y;
    }

    return differs == 0;
}


/* Index of the cell of this id in the set, or -1. */
static inline int
usher_set_find(const usher_table_t *t, const usher_set_t *set, uint16_t tag,
    const void *id, size_t size)
{
    int       i;
    uint64_t  m;
    unsigned  w;

    for (w = 0; w < USHER_SET_WAYS / 4; w++) {
        m = usher_set_match(set, w, tag);

        while (m) {
            i = (int) (w * 4) + __builtin_ctzll(m) / 16;

            if (set->tag[i] == tag
                && usher_set_same(usher_set_cell(t, set, i), id, size))
            {
                return i;
            }

            m &= m - 1;
        }
    }

    return -1;
}


static inline void
usher_set_touch(usher_set_t *set, int i)
{
    if (!__atomic_load_n(&set->used[i], __ATOMIC_RELAXED)) {
        __atomic_store_n(&set->used[i], 1, __ATOMIC_RELAXED);
    }
}


/* Locks both sets of a place.  0, or -1 with neither held. */
int usher_place_lock(usher_self_t *self, usher_place_t *p);
void usher_place_unlock(usher_place_t *p);

/* Under the locks: the cell of this id, with its set and index, or NULL. */
void *usher_place_find(const usher_table_t *t, const usher_place_t *p,
    const void *id, usher_set_t **set, int *i);

/*
 * Under the locks: a cell for a new id, its tag set, all else as the last
 * owner left it.  Free cells first, then idle ones that were not read for
 * longest, last those with a bucket above idle, the one that would soonest
 * be idle.
 */
void *usher_place_make(usher_self_t *self, const usher_table_t *t,
    const usher_place_t *p);

/* Under the locks: frees a cell. */
void usher_set_drop(const usher_table_t *t, usher_set_t *set, int i);

/*
 * Cells that are not free.  They are counted as they are taken and freed, for
 * to look at all of them would touch every page of the zone; the cells of a
 * set that was cleared, as its owner was dead, remain counted.
 */
uint64_t usher_table_used(const usher_table_t *t);
uint64_t usher_taken(const uint64_t *taken, uint64_t cells);


#endif
