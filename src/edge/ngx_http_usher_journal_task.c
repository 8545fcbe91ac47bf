
/*
 * ngx_http_usher_journal_task.c - work for threads.
 *
 * A task has its state in it, and one run at a time; its work touches nothing
 * else.  What is to come of it happens in done(), on the loop.  A slot stays
 * while a task of it runs.
 */


#include "ngx_http_usher_journal.h"


static void ngx_http_usher_task_done(ngx_event_t *ev);


/*
 * In a process with threads each call that may wait is a point of cancellation:
 * glibc goes round it with locked instructions, five times in a request, unless
 * cancellation is asynchronous anyway.  Nobody cancels the loop.
 */

void
ngx_http_usher_task_init(void)
{
#if (NGX_THREADS)
    (void) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    (void) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
#endif
}


/* Posts work to the thread pool; done() is called on the loop. */

ngx_int_t
ngx_http_usher_task_post(ngx_http_usher_journal_t *j,
    ngx_http_usher_task_t *t, ngx_http_usher_slot_t *s,
    void (*work)(void *data, ngx_log_t *log), void (*done)(void *self))
{
#if (NGX_THREADS)

    t->journal = j;
    t->slot = s;
    t->done = done;
    t->finished = 0;
    t->task.ctx = t;
    t->task.handler = work;
    t->task.event.data = t;
    t->task.event.handler = ngx_http_usher_task_done;

    if (ngx_thread_task_post(j->conf->pool, &t->task) == NGX_OK) {
        t->active = 1;

        if (s != NULL) {
            s->refs++;
        }

        return NGX_OK;
    }

#endif

    return NGX_ERROR;
}


static void
ngx_http_usher_task_done(ngx_event_t *ev)
{
    ngx_http_usher_task_t  *t = ev->data;

    ngx_uint_t              left;
    ngx_http_usher_slot_t  *s;

    s = t->slot;
    left = t->left;

    if (t->active) {
        t->active = 0;
        t->done(t);

    } else if (!t->journal->closing) {

        /* a switch could not wait for this: have the next made */

        ngx_http_usher_slot_spare(t->journal);
    }

    if (s != NULL) {
        s->refs--;
        ngx_http_usher_slot_release(s);
    }

    if (left) {
        ngx_free(t);
    }
}
