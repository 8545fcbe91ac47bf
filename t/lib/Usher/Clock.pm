package Usher::Clock;

# A clock that runs faster, for rules of half a minute and more: a library for
# LD_PRELOAD, with which nginx's loop and usherd live that many times as fast.
# Redis and PostgreSQL keep their own pace.
#
#     local $ENV{LD_PRELOAD} = faster($t, 10);

use strict;
use warnings;

use Exporter 'import';
use Usher::Segment 'library';

our @EXPORT = qw(faster);


sub faster {
    my ($t, $times) = @_;

    return library($t, 'clock', <<"C");
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int        rc;
    long long  ns;

    rc = syscall(SYS_clock_gettime, id, ts);

    if (rc == 0 && (id == CLOCK_MONOTONIC || id == 6 /* coarse */)) {
        ns = (ts->tv_sec * 1000000000LL + ts->tv_nsec) * $times;
        ts->tv_sec = ns / 1000000000;
        ts->tv_nsec = ns % 1000000000;
    }

    return rc;
}

int
epoll_wait(int ep, void *events, int n, int msec)
{
    return syscall(SYS_epoll_wait, ep, events, n,
                   msec > 0 ? msec / $times + 1 : msec);
}
C
}


1;
