package Usher::Clock;

# A clock that runs faster, for rules of half a minute and more: a library for
# LD_PRELOAD, with which nginx's loop and usherd live that many times as fast.
# Redis and PostgreSQL keep their own pace.
#
#     local $ENV{LD_PRELOAD} = faster($t, 10);
#
# And one that is ahead by as many seconds as said last, all clocks of it, for
# what happens at midnight or an hour later.
#
#     local $ENV{LD_PRELOAD} = ahead($t);
#     ahead_by($t, 3600);

use strict;
use warnings;

use Exporter 'import';
use Usher::Segment 'library';

our @EXPORT = qw(ahead ahead_by faster);


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


sub ahead {
    my ($t) = @_;

    ahead_by($t, 0);

    return library($t, 'ahead', <<"C");
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long
seconds(void)
{
    int   fd;
    char  text[32];
    long  n;

    fd = open("$t->{dir}/ahead", O_RDONLY|O_CLOEXEC);
    n = (fd == -1) ? -1 : read(fd, text, sizeof(text) - 1);

    if (fd != -1) {
        close(fd);
    }

    text[n > 0 ? n : 0] = 0;

    return atol(text);
}

int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int  rc;

    rc = syscall(SYS_clock_gettime, id, ts);
    ts->tv_sec += seconds();

    return rc;
}

int
gettimeofday(struct timeval *tv, void *zone)
{
    int  rc;

    rc = syscall(SYS_gettimeofday, tv, zone);
    tv->tv_sec += seconds();

    return rc;
}
C
}


sub ahead_by {
    my ($t, $seconds) = @_;

    $t->write_file('ahead.new', $seconds);
    chmod 0644, "$t->{dir}/ahead.new";
    rename "$t->{dir}/ahead.new", "$t->{dir}/ahead" or die "rename: $!";
}


1;
