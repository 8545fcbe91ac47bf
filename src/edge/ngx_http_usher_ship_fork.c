
/*
 * ngx_http_usher_ship_fork.c - a slot with two histories.
 *
 * usherd found that what PostgreSQL has of a slot is not what this process
 * ships: a copy of the slot, or an older state of the machine, was shipped
 * by another.  Both agree up to the fork.  What lies above it here is
 * appended again, line by line, to this process's own slot, and the forked
 * one goes.
 *
 * How far that came is kept in a file of the slot, "moved", so that an
 * adopter goes on where this process died.  It is written once per entry: a
 * process that is killed within one leaves up to 64 KB of lines there twice.
 */


#include "ngx_http_usher_journal.h"


/* A way back to sleep when the journal is full, msec. */
#define NGX_HTTP_USHER_FORK_DELAY  500


static void ngx_http_usher_fork_mark(ngx_http_usher_slot_t *s);
static void ngx_http_usher_fork_ignore(void *data,
    ngx_http_usher_reply_t *reply);


void
ngx_http_usher_fork_start(ngx_http_usher_slot_t *s, uint64_t position)
{
    ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                  "usher journal: slot %s is forked at %uL, %uL bytes above "
                  "are appended to another", s->text, position,
                  s->end - ngx_min(position, s->end));

    if (s == s->journal->own) {
        ngx_http_usher_slot_close(s->journal);
    }

    s->adopted = 1;
    s->forked = 1;
    s->epoch++;
    s->acked = s->shipped = ngx_min(position, s->end);
    s->retry = 0;

    if (!s->read.task.active) {
        s->read.nentries = 0;
    }

    ngx_http_usher_ship_window(s);
    ngx_http_usher_fork_mark(s);

    if (!s->journal->tick.timer_set) {
        ngx_add_timer(&s->journal->tick, NGX_HTTP_USHER_SHIP_TICK);
    }
}


ngx_int_t
ngx_http_usher_fork_move(ngx_http_usher_slot_t *s, ngx_http_usher_entry_t *e)
{
    u_char                    *p, *last, *next, *dst;
    ngx_http_usher_journal_t  *j;

    j = s->journal;

    if (e->data == NULL) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "usher journal: forked slot %s has a hole from %uL to "
                      "%uL", s->text, s->shipped, e->end);

        ngx_http_usher_count(journal_holes);
        s->shipped = e->end;
        return NGX_OK;
    }

    p = e->data + (s->shipped - e->from);
    last = e->data + (e->end - e->from);

    while (p < last) {
        next = memchr(p, LF, last - p);

        if (next == NULL) {
            break;
        }

        next++;
        dst = ngx_http_usher_journal_room(next - p);

        if (dst == NULL) {
            s->retry = ngx_current_msec + NGX_HTTP_USHER_FORK_DELAY;
            ngx_http_usher_fork_mark(s);
            return NGX_BUSY;
        }

        ngx_memcpy(dst, p, next - p);
        ngx_http_usher_journal_commit(next - p);

        s->moved = j->committed;
        s->generation = j->generation;
        s->shipped += next - p;
        p = next;
    }

    s->shipped = e->end;
    ngx_http_usher_fork_mark(s);

    return NGX_OK;
}


static void
ngx_http_usher_fork_mark(ngx_http_usher_slot_t *s)
{
    int  fd;

    fd = openat(s->dir, "moved", O_WRONLY|O_CREAT|O_CLOEXEC|O_NOFOLLOW,
                0600);

    if (fd == -1
        || pwrite(fd, &s->shipped, sizeof(uint64_t), 0) != sizeof(uint64_t))
    {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, ngx_errno,
                      "usher journal: slot %s: \"moved\" cannot be written",
                      s->text);
    }

    if (fd != -1) {
        (void) close(fd);
    }
}


/* The lines are in the own slot: synced there, the old files may go. */

void
ngx_http_usher_fork_finish(ngx_http_usher_slot_t *s)
{
    u_char                     key[sizeof(USHER_STREAM_PREFIX)
                                   + USHER_SLOT_TEXT];
    ngx_str_t                  argv[3];
    ngx_http_usher_journal_t  *j;

    j = s->journal;

    if (j->own != NULL && s->generation == j->generation
        && j->synced < s->moved
        && j->conf->sync != NGX_HTTP_USHER_SYNC_OFF)
    {
        j->wanted = ngx_max(j->wanted, s->moved);
        ngx_http_usher_sync_start(j);
        return;
    }

    if (j->redis != NULL && ngx_http_usher_redis_ready(j->redis)) {
        ngx_str_set(&argv[0], "HDEL");
        ngx_str_set(&argv[1], USHER_SLOTS);
        argv[2].data = (u_char *) s->text;
        argv[2].len = USHER_SLOT_TEXT;

        (void) ngx_http_usher_redis_command(j->redis,
                                            ngx_http_usher_fork_ignore, NULL,
                                            0, 3, argv);

        /* nobody reads it any more: up to a window of memory */

        ngx_str_set(&argv[0], "DEL");
        argv[1].data = key;
        argv[1].len = ngx_sprintf(key, "%s%s", USHER_STREAM_PREFIX, s->text)
                      - key;

        (void) ngx_http_usher_redis_command(j->redis,
                                            ngx_http_usher_fork_ignore, NULL,
                                            0, 2, argv);
    }

    ngx_http_usher_adopt_retire(s);
}


static void
ngx_http_usher_fork_ignore(void *data, ngx_http_usher_reply_t *reply)
{
    /* a forked slot that stays registered is reported, no more */
}
