/*
 * usher_set.c - sets of cells: locks, owners, eviction.  See usher_set.h.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "usher_set.h"


#if defined(__x86_64__) || defined(__i386__)
#define usher_pause()  __builtin_ia32_pause()
#elif defined(__aarch64__)
#define usher_pause()  __asm__ volatile ("yield")
#else
#define usher_pause()  __asm__ volatile ("" ::: "memory")
#endif

#define USHER_SET_SPINS  1024         /* before the processor is yielded */
/*
 * Cells of the first set that are filled before the emptier one is taken:
 * with 12 of 16, 13 % of the cells lie in their second set at a load of 85 %
 * and 1 in 100,000 is evicted; filling the first set whole evicts 1 in 100.
 */
#define USHER_SET_FIRST  12

#define USHER_SET_CLEAR  (sizeof(usher_set_t) - sizeof(uint64_t))


/* A wait for a lock. */
typedef struct {
    unsigned  spins;
    uint64_t  since;                  /* 0: not spun for long yet */
    uint64_t  now;
    uint32_t  alive;                  /* pid that /proc knows to live */
} usher_wait_t;


static int usher_set_spin(usher_self_t *self, usher_wait_t *w, uint64_t word);
static unsigned usher_set_ghost(usher_self_t *self, uint32_t pid);
static uint64_t usher_place_score(const usher_table_t *t,
    const usher_set_t *set, int i, uint64_t now);


uint64_t
usher_monotonic(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}


/* ---- processes ------------------------------------------------------- */


uint32_t
usher_proc_start(uint32_t pid)
{
    int       fd;
    char      path[32], text[1024], *p;
    ssize_t   n;
    unsigned  field;

    snprintf(path, sizeof(path), "/proc/%u/stat", pid);

    fd = open(path, O_RDONLY|O_CLOEXEC);
    if (fd == -1) {
        return 0;
    }

    n = read(fd, text, sizeof(text) - 1);
    close(fd);

    if (n <= 0) {
        return 0;
    }

    text[n] = '\0';

    /* the name may hold anything, its closing parenthesis is the last */

    p = strrchr(text, ')');
    if (p == NULL || p[1] != ' ') {
        return 0;
    }

    p += 2;

    if (*p == 'Z' || *p == 'X') {
        return 1;
    }

    for (field = 3; field < 22; field++) {
        p = strchr(p, ' ');
        if (p == NULL) {
            return 0;
        }

        p++;
    }

    return (uint32_t) strtoull(p, NULL, 10) | 2;
}


unsigned
usher_proc_alive(const usher_proc_t *proc)
{
    uint32_t  pid, start, now;
    uint64_t  owner;

    owner = __atomic_load_n(&proc->owner, __ATOMIC_ACQUIRE);
    pid = (uint32_t) owner;
    start = (uint32_t) (owner >> 32);

    if (pid == 0 || (kill((pid_t) pid, 0) == -1 && errno == ESRCH)) {
        return 0;
    }

    now = usher_proc_start(pid);

    return now == 0 || start == 0 || now == start;
}


unsigned char *
usher_proc_claim(usher_proc_t *procs, uint32_t nprocs, uint32_t pid)
{
    uint32_t  i;
    uint64_t  owner, mine;

    mine = (uint64_t) usher_proc_start(pid) << 32 | pid;

    for (i = 0; i < nprocs; i++) {
        owner = __atomic_load_n(&procs[i].owner, __ATOMIC_ACQUIRE);

        if (owner == mine) {
            return procs[i].data;
        }

        if (owner && usher_proc_alive(&procs[i])) {
            continue;
        }

        if (__atomic_compare_exchange_n(&procs[i].owner, &owner, mine, 0,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        {
            return procs[i].data;
        }
    }

    return NULL;
}


void
usher_proc_release(usher_proc_t *procs, uint32_t nprocs, uint32_t pid)
{
    uint32_t  i;

    for (i = 0; i < nprocs; i++) {
        if ((uint32_t) procs[i].owner == pid) {
            __atomic_store_n(&procs[i].owner, 0, __ATOMIC_RELEASE);
            return;
        }
    }
}


/* ---- locks ----------------------------------------------------------- */


int
usher_set_lock(usher_self_t *self, uint64_t *lock, size_t clear)
{
    int           dead;
    uint64_t      word, mine;
    usher_wait_t  w;

    w.spins = 0;
    w.since = 0;
    w.alive = 0;

    for ( ;; ) {
        word = __atomic_load_n(lock, __ATOMIC_RELAXED);
        dead = 0;

        if (word & 1) {
            dead = usher_set_spin(self, &w, word);

            if (dead < 0) {
                return -1;
            }

            if (!dead) {
                continue;
            }
        }

        mine = (uint64_t) self->pid << 32
               | (uint32_t) ((uint32_t) word + (dead ? 2 : 1));

        if (!__atomic_compare_exchange_n(lock, &word, mine, 0,
                                         __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        {
            continue;
        }

        /* the odd word is seen before anything that is written under it */

        __atomic_thread_fence(__ATOMIC_RELEASE);

        if (dead) {
            memset(lock + 1, 0, clear);
            (*self->recovered)++;
        }

        return 0;
    }
}


void
usher_set_unlock(uint64_t *lock)
{
    uint64_t  word;

    word = *lock;

    __atomic_store_n(lock, (word & 0xffffffff00000000ULL)
                           | (uint32_t) ((uint32_t) word + 1),
                     __ATOMIC_RELEASE);
}


uint64_t
usher_set_wait(usher_self_t *self, uint64_t *lock, size_t clear)
{
    int           dead;
    uint64_t      word;
    usher_wait_t  w;

    w.spins = 0;
    w.since = 0;
    w.alive = 0;

    for ( ;; ) {
        word = __atomic_load_n(lock, __ATOMIC_ACQUIRE);

        if (!(word & 1)) {
            return word;
        }

        dead = usher_set_spin(self, &w, word);

        if (dead < 0) {
            return word;
        }

        if (dead) {
            if (usher_set_lock(self, lock, clear) != 0) {
                return word;
            }

            usher_set_unlock(lock);
        }
    }
}


/* 1: the owner in word is dead; 0: look again; -1: waited long enough. */

static int
usher_set_spin(usher_self_t *self, usher_wait_t *w, uint64_t word)
{
    uint32_t  pid;

    pid = (uint32_t) (word >> 32);

    /* no process waits for itself: it is another that had this pid */

    if (pid == self->pid) {
        return 1;
    }

    if (++w->spins % 256) {
        if (w->spins > USHER_SET_SPINS) {
            sched_yield();
        } else {
            usher_pause();
        }

        return 0;
    }

    if (kill((pid_t) pid, 0) == -1 && errno == ESRCH) {
        return 1;
    }

    w->now = usher_monotonic();

    if (w->since == 0) {
        w->since = w->now;
        return 0;
    }

    if (w->now - w->since > USHER_SET_GHOST && w->alive != pid) {
        if (usher_set_ghost(self, pid)) {
            return 1;
        }

        w->alive = pid;
    }

    return w->now - w->since > USHER_SET_WAIT ? -1 : 0;
}


/* 1 if no registered process has this pid and lives, as far as is known. */

static unsigned
usher_set_ghost(usher_self_t *self, uint32_t pid)
{
    uint32_t  i, used;
    uint64_t  owner;

    used = 0;

    for (i = 0; i < self->nprocs; i++) {
        owner = __atomic_load_n(&self->procs[i].owner, __ATOMIC_ACQUIRE);

        if (owner == 0) {
            continue;
        }

        used++;

        if ((uint32_t) owner == pid) {
            return !usher_proc_alive(&self->procs[i]);
        }
    }

    /* where some could not register, nothing can be said */

    return used < self->nprocs;
}


/* ---- places ---------------------------------------------------------- */


int
usher_place_lock(usher_self_t *self, usher_place_t *p)
{
    usher_set_t  *low, *high;

    low = p->set[0] < p->set[1] ? p->set[0] : p->set[1];
    high = p->set[0] < p->set[1] ? p->set[1] : p->set[0];

    if (usher_set_lock(self, &low->lock, USHER_SET_CLEAR) != 0) {
        return -1;
    }

    if (high != low
        && usher_set_lock(self, &high->lock, USHER_SET_CLEAR) != 0)
    {
        usher_set_unlock(&low->lock);
        return -1;
    }

    return 0;
}


void
usher_place_unlock(usher_place_t *p)
{
    usher_set_unlock(&p->set[0]->lock);

    if (p->set[1] != p->set[0]) {
        usher_set_unlock(&p->set[1]->lock);
    }
}


void *
usher_place_find(const usher_table_t *t, const usher_place_t *p,
    const void *id, usher_set_t **set, int *i)
{
    unsigned  k;

    for (k = 0; k < 2; k++) {
        *set = p->set[k];
        *i = usher_set_find(t, *set, p->tag, id, t->id);

        if (*i >= 0) {
            return usher_set_cell(t, *set, *i);
        }
    }

    return NULL;
}


void *
usher_place_make(usher_self_t *self, const usher_table_t *t,
    const usher_place_t *p)
{
    int           i, n, best_i, used[2], empty[2];
    uint64_t      now, score, best;
    unsigned      k;
    usher_set_t  *set, *best_set;

    for (k = 0; k < 2; k++) {
        used[k] = 0;
        empty[k] = 0;

        for (i = 0; i < USHER_SET_WAYS; i++) {
            if (p->set[k]->tag[i]) {
                used[k]++;

            } else {
                empty[k] = i;
            }
        }
    }

    k = (used[0] >= USHER_SET_FIRST && used[1] < used[0]);

    if (used[k] < USHER_SET_WAYS) {
        best_set = p->set[k];
        best_i = empty[k];
        goto found;
    }

    now = usher_monotonic();
    best = UINT64_MAX;
    best_set = p->set[0];
    best_i = 0;

    for (k = 0; k < 2; k++) {
        set = p->set[k];

        for (n = 0; n < USHER_SET_WAYS; n++) {
            i = (n + p->tag) % USHER_SET_WAYS;
            score = usher_place_score(t, set, i, now);

            if (score < best) {
                best = score;
                best_set = set;
                best_i = i;
            }
        }
    }

    if (best > 1) {
        (*self->forgotten)++;

    } else {
        (*self->evicted)++;
    }

    if (best > 0) {

        /* all were read lately: from here on it is who is read again */

        memset(p->set[0]->used, 0, USHER_SET_WAYS);
        memset(p->set[1]->used, 0, USHER_SET_WAYS);
    }

found:

    if (best_set->tag[best_i] == 0) {
        __atomic_add_fetch(t->taken, 1, __ATOMIC_RELAXED);
    }

    best_set->tag[best_i] = p->tag;
    best_set->used[best_i] = 1;

    return usher_set_cell(t, best_set, best_i);
}


/* 0: idle and not read lately, 1: idle, above: ns until it would be idle. */

static uint64_t
usher_place_score(const usher_table_t *t, const usher_set_t *set, int i,
    uint64_t now)
{
    uint64_t  busy;

    if (t->busy) {
        busy = t->busy(usher_set_cell(t, set, i));

        if (busy > now) {
            return 1 + (busy - now);
        }
    }

    return set->used[i] ? 1 : 0;
}


void
usher_set_drop(const usher_table_t *t, usher_set_t *set, int i)
{
    set->tag[i] = 0;
    __atomic_sub_fetch(t->taken, 1, __ATOMIC_RELAXED);
}


uint64_t
usher_table_used(const usher_table_t *t)
{
    return usher_taken(t->taken, (uint64_t) t->nsets * USHER_SET_WAYS);
}


uint64_t
usher_taken(const uint64_t *taken, uint64_t cells)
{
    int64_t  n;

    n = (int64_t) __atomic_load_n(taken, __ATOMIC_RELAXED);

    if (n < 0) {
        return 0;
    }

    return (uint64_t) n < cells ? (uint64_t) n : cells;
}
