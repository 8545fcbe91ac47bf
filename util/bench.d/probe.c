/*
 * probe.c - how fast the first CPU is at this moment.
 *
 * For each line that it reads it does the same few milliseconds of work there
 * and prints what it took, in milliseconds of CPU time.  The work fills the
 * core and touches no memory: on a virtual machine it takes longer while
 * somebody else runs on the other thread of the core, and then only.
 */


#define _GNU_SOURCE

#include <sched.h>
#include <stdio.h>
#include <time.h>


#define PROBE_ROUNDS  1500000


static double probe_now(void);
static void probe_work(void);


int
main(void)
{
    char       line[16];
    double     start;
    cpu_set_t  cpus;

    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);

    if (sched_setaffinity(0, sizeof(cpus), &cpus) == -1) {
        perror("probe");
        return 1;
    }

    while (fgets(line, sizeof(line), stdin) != NULL) {
        start = probe_now();
        probe_work();
        printf("%.4f\n", probe_now() - start);
        fflush(stdout);
    }

    return 0;
}


static double
probe_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return (double) ts.tv_sec * 1e3 + (double) ts.tv_nsec / 1e6;
}


/* Eight additions that do not wait for each other but by fours. */

static void
probe_work(void)
{
    unsigned  i, a, b, c, d;

    a = b = c = d = 0;

    for (i = 0; i < PROBE_ROUNDS; i++) {
        a += 1; b += 1; c += 1; d += 1;
        __asm__ volatile("" : "+r" (a), "+r" (b), "+r" (c), "+r" (d));
        a += 1; b += 1; c += 1; d += 1;
        __asm__ volatile("" : "+r" (a), "+r" (b), "+r" (c), "+r" (d));
    }
}
