/*
 * usherd.c - the supervisor.
 *
 * DESIGN
 *
 * The supervisor forks one process per duty (flush: as many as configured),
 * starts again what ends, and serves the metrics.  It opens no connection
 * and initialises no library, so a fork is always clean.
 *
 * A duty keeps SIGTERM's default action: a handler would not end a wait
 * inside libpq, and nothing needs to be finished (crash-only).  It ends with
 * its supervisor by PR_SET_PDEATHSIG, checked by getppid() against the race
 * at start, and by a pipe whose write end only the supervisor holds: each
 * wait of a duty watches it.
 *
 * A duty that dies is started again at once, then after 100 ms doubling to
 * 10 s, until it has run for 10 s.
 */


#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "usherd.h"


#define USHERD_BACKOFF_MIN  100
#define USHERD_BACKOFF_MAX  10000
#define USHERD_STEADY       10000     /* msec of life that clear the backoff */
#define USHERD_PATIENCE     5000      /* msec from SIGTERM to SIGKILL */

#define USHERD_CONF_FILE    "/etc/usher/usherd.conf"


/* What the supervisor knows of a process; its counters are elsewhere. */
typedef struct {
    usherd_duty_e       duty;
    unsigned            n;            /* among those of its duty */
    pid_t               pid;          /* 0: not running */
    uint64_t            started;      /* msec */
    uint64_t            next;         /* msec: start not before */
    uint64_t            backoff;      /* msec */
    uint64_t            random;       /* of its owner name */
} usherd_child_t;


static int usherd_options(int argc, char *const *argv, const char **file,
    int *test);
static int usherd_usage(void);
static void usherd_plan(usherd_conf_t *conf);
static void usherd_supervise(usherd_conf_t *conf, sigset_t *old);
static void usherd_start_due(usherd_conf_t *conf, sigset_t *old);
static void usherd_start(usherd_conf_t *conf, usherd_child_t *child,
    unsigned i, sigset_t *old);
static void usherd_run(usherd_conf_t *conf, usherd_child_t *child,
    unsigned i, sigset_t *old);
static void usherd_reap(void);
static void usherd_ended(usherd_child_t *child, unsigned i, int status);
static int usherd_until_due(void);
static void usherd_stop(usherd_conf_t *conf);
static void usherd_signal_all(int signo);


usherd_shared_t   *usherd_shared;
usherd_process_t  *usherd_self;

static usherd_child_t  usherd_children[USHERD_PROCESSES];
static int             usherd_life[2];      /* the pipe */
static int             usherd_listen = -1;  /* of the metrics */
static pid_t           usherd_parent;       /* the supervisor's pid */


static const char  *usherd_duty_names[] = {
#define _(name)  #name,
    USHERD_DUTIES(_)
#undef _
};


static void (*const usherd_duties[])(usherd_conf_t *conf) = {
#define _(name)  usherd_##name,
    USHERD_DUTIES(_)
#undef _
};


int
main(int argc, char *const *argv)
{
    int            test;
    sigset_t       set, old;
    const char    *file;
    usherd_conf_t  conf;

    if (usherd_options(argc, argv, &file, &test) != USHERD_OK
        || usherd_conf_read(&conf, file) != USHERD_OK)
    {
        return 1;
    }

    if (test) {
        fprintf(stderr, "usherd: %s is good\n", file);
        return 0;
    }

    if (usherd_log_open(conf.log) != USHERD_OK) {
        fprintf(stderr, "usherd: cannot open log %s: %s\n", conf.log,
                strerror(errno));
        return 1;
    }

    usherd_shared = mmap(NULL, sizeof(usherd_shared_t), PROT_READ|PROT_WRITE,
                         MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    if (usherd_shared == MAP_FAILED || pipe2(usherd_life, O_CLOEXEC) == -1) {
        fprintf(stderr, "usherd: cannot start: %s\n", strerror(errno));
        return 1;
    }

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, &old);

    signal(SIGPIPE, SIG_IGN);

    usherd_parent = getpid();

    usherd_plan(&conf);

    if (conf.metrics != NULL) {
        usherd_listen = usherd_metrics_listen(conf.metrics);
    }

    usherd_log(USHERD_LOG_INFO, "started with %s", file);

    usherd_supervise(&conf, &old);

    return 0;
}


static int
usherd_options(int argc, char *const *argv, const char **file, int *test)
{
    int  option;

    *file = USHERD_CONF_FILE;
    *test = 0;

    while ((option = getopt(argc, argv, "c:th")) != -1) {

        switch (option) {

        case 'c':
            *file = optarg;
            break;

        case 't':
            *test = 1;
            break;

        default:
            return usherd_usage();
        }
    }

    return optind == argc ? USHERD_OK : usherd_usage();
}


static int
usherd_usage(void)
{
    fprintf(stderr, "usage: usherd [-t] [-c file]\n"
            "  -c file   configuration, by default " USHERD_CONF_FILE "\n"
            "  -t        test the configuration and exit\n");

    return USHERD_ERROR;
}


/* One child per duty, flush_processes of flush. */

static void
usherd_plan(usherd_conf_t *conf)
{
    unsigned           i, d, n, count;
    usherd_child_t    *child;
    usherd_process_t  *p;

    i = 0;

    for (d = 0; d < USHERD_NDUTIES; d++) {

        if (!(conf->duties & (1u << d))) {
            continue;
        }

        count = 1;

        if (strcmp(usherd_duty_names[d], "flush") == 0) {
            count = (unsigned) conf->flush_processes;
        }

        for (n = 0; n < count; n++) {
            child = &usherd_children[i];
            child->duty = d;
            child->n = n;
            child->random = usherd_random();

            p = &usherd_shared->process[i++];
            snprintf(p->name, sizeof(p->name), "%s/%u",
                     usherd_duty_names[d], n);
        }
    }

    usherd_shared->nprocesses = i;
}


static void
usherd_supervise(usherd_conf_t *conf, sigset_t *old)
{
    int                      sfd;
    sigset_t                 set;
    struct pollfd            fds[2];
    struct signalfd_siginfo  info;

    sigprocmask(SIG_BLOCK, NULL, &set);

    sfd = signalfd(-1, &set, SFD_CLOEXEC|SFD_NONBLOCK);
    if (sfd == -1) {
        usherd_log(USHERD_LOG_ALERT, "signalfd: %s", strerror(errno));
        exit(1);
    }

    fds[0].fd = sfd;
    fds[0].events = POLLIN;
    fds[1].fd = usherd_listen;
    fds[1].events = POLLIN;

    for ( ;; ) {

        usherd_start_due(conf, old);

        if (poll(fds, 2, usherd_until_due()) == -1 && errno != EINTR) {
            usherd_log(USHERD_LOG_ALERT, "poll: %s", strerror(errno));
            exit(1);
        }

        while (read(sfd, &info, sizeof(info)) == (ssize_t) sizeof(info)) {

            if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT
                || info.ssi_signo == SIGQUIT)
            {
                usherd_stop(conf);
                return;
            }
        }

        usherd_reap();

        if (fds[1].revents & POLLIN) {
            usherd_metrics_serve(usherd_listen);
        }
    }
}


static void
usherd_start_due(usherd_conf_t *conf, sigset_t *old)
{
    unsigned         i;
    usherd_child_t  *child;

    for (i = 0; i < usherd_shared->nprocesses; i++) {
        child = &usherd_children[i];

        if (child->pid == 0 && usherd_now() >= child->next) {
            usherd_start(conf, child, i, old);
        }
    }
}


static void
usherd_start(usherd_conf_t *conf, usherd_child_t *child, unsigned i,
    sigset_t *old)
{
    pid_t  pid;

    child->started = usherd_now();

    pid = fork();

    if (pid == -1) {
        usherd_log(USHERD_LOG_ERROR, "fork of %s: %s; trying again",
                   usherd_shared->process[i].name, strerror(errno));
        child->next = child->started + USHERD_BACKOFF_MAX;
        return;
    }

    if (pid == 0) {
        usherd_run(conf, child, i, old);
        _exit(1);
    }

    child->pid = pid;
    usherd_shared->process[i].pid = (uint64_t) pid;
}


/* In the new process. */

static void
usherd_run(usherd_conf_t *conf, usherd_child_t *child, unsigned i,
    sigset_t *old)
{
    char  host[48];

    prctl(PR_SET_PDEATHSIG, SIGTERM);

    if (getppid() != usherd_parent) {
        _exit(0);
    }

    close(usherd_life[1]);

    if (usherd_listen != -1) {
        close(usherd_listen);
    }

    sigprocmask(SIG_SETMASK, old, NULL);

    /* a hang-up is the supervisor's affair */

    signal(SIGHUP, SIG_IGN);

    usherd_self = &usherd_shared->process[i];
    usherd_self->pid = (uint64_t) getpid();
    usherd_log_name(usherd_self->name);

    /* for ps, top and whoever looks for a duty */

    prctl(PR_SET_NAME, usherd_self->name);

    if (gethostname(host, sizeof(host)) == -1) {
        memcpy(host, "host", 5);
    }

    host[sizeof(host) - 1] = '\0';

    snprintf(conf->owner, sizeof(conf->owner), "%s:%s:%016llx", host,
             usherd_self->name, (unsigned long long) child->random);

    conf->process = i;

    usherd_duties[child->duty](conf);
}


static void
usherd_reap(void)
{
    int        status;
    pid_t      pid;
    unsigned   i;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {

        for (i = 0; i < usherd_shared->nprocesses; i++) {
            if (usherd_children[i].pid == pid) {
                usherd_ended(&usherd_children[i], i, status);
            }
        }
    }
}


static void
usherd_ended(usherd_child_t *child, unsigned i, int status)
{
    uint64_t           now;
    usherd_process_t  *p;

    now = usherd_now();
    p = &usherd_shared->process[i];

    if (now - child->started >= USHERD_STEADY) {
        child->backoff = 0;
    }

    child->pid = 0;
    child->next = now + child->backoff;

    if (WIFSIGNALED(status)) {
        usherd_log(USHERD_LOG_ERROR, "%s (%llu) was ended by signal %d, "
                   "starting it again in %llu ms", p->name,
                   (unsigned long long) p->pid, WTERMSIG(status),
                   (unsigned long long) child->backoff);

    } else {
        usherd_log(USHERD_LOG_ERROR, "%s (%llu) exited with %d, starting it "
                   "again in %llu ms", p->name, (unsigned long long) p->pid,
                   WEXITSTATUS(status), (unsigned long long) child->backoff);
    }

    p->pid = 0;
    p->restarts++;
    p->postgres_up = 0;
    p->redis_up = 0;

    child->backoff = child->backoff ? child->backoff * 2 : USHERD_BACKOFF_MIN;

    if (child->backoff > USHERD_BACKOFF_MAX) {
        child->backoff = USHERD_BACKOFF_MAX;
    }
}


/* Msec until a process is due to be started, -1 for none. */

static int
usherd_until_due(void)
{
    int              least, ms;
    unsigned         i;
    uint64_t         now;
    usherd_child_t  *child;

    least = -1;
    now = usherd_now();

    for (i = 0; i < usherd_shared->nprocesses; i++) {
        child = &usherd_children[i];

        if (child->pid != 0) {
            continue;
        }

        ms = child->next > now ? (int) (child->next - now) : 0;

        if (least == -1 || ms < least) {
            least = ms;
        }
    }

    return least;
}


static void
usherd_stop(usherd_conf_t *conf)
{
    unsigned   i, alive;
    uint64_t   end;

    usherd_log(USHERD_LOG_INFO, "stopping");

    usherd_signal_all(SIGTERM);

    end = usherd_now() + USHERD_PATIENCE;

    for ( ;; ) {
        alive = 0;

        for (i = 0; i < usherd_shared->nprocesses; i++) {

            if (usherd_children[i].pid != 0
                && waitpid(usherd_children[i].pid, NULL, WNOHANG) != 0)
            {
                usherd_children[i].pid = 0;
            }

            alive += (usherd_children[i].pid != 0);
        }

        if (alive == 0) {
            break;
        }

        if (usherd_now() > end) {
            usherd_signal_all(SIGKILL);
        }

        (void) poll(NULL, 0, 5);
    }

    if (conf->metrics != NULL && usherd_listen != -1
        && strncmp(conf->metrics, "unix:", 5) == 0)
    {
        (void) unlink(conf->metrics + 5);
    }

    usherd_log(USHERD_LOG_INFO, "stopped");
}


static void
usherd_signal_all(int signo)
{
    unsigned  i;

    for (i = 0; i < usherd_shared->nprocesses; i++) {
        if (usherd_children[i].pid != 0) {
            (void) kill(usherd_children[i].pid, signo);
        }
    }
}


uint64_t
usherd_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


uint64_t
usherd_random(void)
{
    uint64_t  n;

    if (getrandom(&n, sizeof(n), 0) != (ssize_t) sizeof(n)) {
        usherd_log(USHERD_LOG_ALERT, "getrandom: %s", strerror(errno));
        abort();
    }

    return n;
}


int
usherd_wait(int fd, uint64_t msec)
{
    int            n;
    struct pollfd  fds[2];

    fds[0].fd = usherd_life[0];
    fds[0].events = POLLIN;
    fds[0].revents = 0;
    fds[1].fd = fd;
    fds[1].events = POLLIN;
    fds[1].revents = 0;

    n = poll(fds, 2, (int) msec);

    if (n > 0 && fds[0].revents != 0) {
        _exit(0);
    }

    return n > 0 && fds[1].revents != 0;
}
