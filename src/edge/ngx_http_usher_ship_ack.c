
/*
 * ngx_http_usher_ship_ack.c - what PostgreSQL has, and what Redis still has.
 *
 * The acknowledgement is read in each tick and obeyed as it is: a higher
 * one frees, a lower one means that PostgreSQL was restored and is sent to
 * again, a rewind is run once per nonce.
 *
 * The edge drives the repair.  On each connect, and when nothing moves
 * although there is something to move, the stream's last id is compared with
 * what was sent before the question: where they differ the stream was wiped,
 * failed over or written to by another, and it is taken up again.
 *
 * A slot may end below what PostgreSQL has, or below what its stream had: a
 * copy of it, or the power went before its last lines were synced.  It is
 * kept for retain like any other, in case PostgreSQL goes back; its keys may
 * be another's, and are left alone.
 */


#include "ngx_http_usher_journal.h"


#define NGX_HTTP_USHER_FINISH_GRACE   60000  /* msec, past retain */
#define NGX_HTTP_USHER_CHECK_REFUSED  4000   /* msec, where it is an error */


static void ngx_http_usher_ack_reply(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply);
static void ngx_http_usher_ack_apply(ngx_http_usher_slot_t *s,
    usher_ack_t *ack);
static void ngx_http_usher_ack_advance(ngx_http_usher_slot_t *s,
    uint64_t position);
static void ngx_http_usher_ack_back(ngx_http_usher_slot_t *s,
    uint64_t position);
static void ngx_http_usher_ack_beyond(ngx_http_usher_slot_t *s,
    uint64_t position);
static ngx_int_t ngx_http_usher_ack_info(ngx_http_usher_slot_t *s,
    void (*handler)(ngx_http_usher_sent_t *sent,
                    ngx_http_usher_reply_t *reply));
static void ngx_http_usher_ack_checked(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply);
static ngx_uint_t ngx_http_usher_ack_foreign(ngx_http_usher_slot_t *s,
    uint64_t major, int64_t length);
static ngx_int_t ngx_http_usher_ack_stream(ngx_http_usher_reply_t *reply,
    uint64_t *major, uint64_t *minor, int64_t *length);
static ngx_uint_t ngx_http_usher_ack_retained(ngx_http_usher_slot_t *s);
static void ngx_http_usher_ack_finished(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply);
static void ngx_http_usher_ack_retire(ngx_http_usher_slot_t *s);
static void ngx_http_usher_ack_forget(ngx_http_usher_slot_t *s);
static void ngx_http_usher_ack_ignore(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply);


#define ngx_http_usher_key(buf, prefix, s)                                    \
    (ngx_sprintf((u_char *) (buf), "%s%s", prefix, (s)->text)                 \
     - (u_char *) (buf))


/* Asks for the acknowledgement, unless the last answer is still to come. */

void
ngx_http_usher_ack_read(ngx_http_usher_slot_t *s)
{
    u_char     key[sizeof(USHER_ACK_PREFIX) + USHER_SLOT_TEXT];
    ngx_str_t  argv[2];

    if (s->asking || s->closing || s->gone) {
        return;
    }

    ngx_str_set(&argv[0], "GET");
    argv[1].data = key;
    argv[1].len = ngx_http_usher_key(key, USHER_ACK_PREFIX, s);

    if (ngx_http_usher_ship_command(s, ngx_http_usher_ack_reply, 0, 2, argv)
        == NGX_OK)
    {
        s->asking = 1;
    }
}


static void
ngx_http_usher_ack_reply(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply)
{
    usher_ack_t             ack;
    ngx_http_usher_slot_t  *s;

    s = sent->slot;
    s->asking = 0;

    if (reply == NULL || s->closing) {
        return;
    }

    if (reply->type == NGX_HTTP_USHER_REDIS_STRING
        && usher_ack_parse((char *) reply->str.data, reply->str.len, &ack)
           == 0)
    {
        ngx_http_usher_ack_apply(s, &ack);
        return;
    }

    if (reply->type != NGX_HTTP_USHER_REDIS_NIL) {

        /* an error or nonsense: nothing is known */

        return;
    }

    /* nobody has said anything of this slot: what is known here holds */

    if (!s->known) {
        s->known = 1;
        (void) ngx_http_usher_ship_pump(s);
    }
}


static void
ngx_http_usher_ack_apply(ngx_http_usher_slot_t *s, usher_ack_t *ack)
{
    s->known = 1;

    if (s->forked || s->stopped) {
        return;
    }

    if (ack->state == USHER_ACK_FORKED) {

        if (s->cut && ack->position >= s->end) {

            /* what is above is elsewhere: this is a copy of the rest */

            s->dead = 1;
            ngx_http_usher_ack_beyond(s, ack->position);
            return;
        }

        ngx_http_usher_fork_start(s, ack->position);
        return;
    }

    s->dead = 0;

    if (ack->position > (s->own ? s->journal->sealed : s->end)) {
        ngx_http_usher_ack_beyond(s, ack->position);
        return;
    }

    s->beyond = 0;

    if (ack->state == USHER_ACK_REWIND && ack->nonce != s->nonce) {

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher journal: slot %s is sent again from %uL, "
                      "usherd asks for it", s->text, ack->position);

        s->nonce = ack->nonce;
        ngx_http_usher_count(journal_rewinds);
        ngx_http_usher_ack_back(s, ack->position);

    } else if (ack->position < s->acked) {

        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "usher journal: slot %s goes back from %uL to %uL, "
                      "PostgreSQL has no more", s->text, s->acked,
                      ack->position);

        ngx_http_usher_ack_back(s, ack->position);

    } else if (ack->position > s->acked) {
        ngx_http_usher_ack_advance(s, ack->position);
    }

    if (s == s->journal->own) {
        s->journal->figures->acked = s->acked;
    }

    (void) ngx_http_usher_ship_pump(s);
}


static void
ngx_http_usher_ack_advance(ngx_http_usher_slot_t *s, uint64_t position)
{
    ngx_uint_t             i;
    ngx_msec_t             now;
    ngx_http_usher_seg_t  *seg;

    now = ngx_max(ngx_current_msec, 1);

    for (i = 0; i < s->nsegs; i++) {
        seg = &s->segs[i];

        if (seg->end > position) {
            break;
        }

        if (seg->acked == 0 && !(s->own && i + 1 == s->nsegs)) {
            seg->acked = now;
        }
    }

    s->acked = position;

    if (s->shipped < position) {
        s->shipped = position;
    }

    s->backoff = NGX_HTTP_USHER_IDLE_TICK;
    s->check = ngx_current_msec + s->backoff;

    ngx_http_usher_ship_window(s);

    if (s->own && s->journal->next.map == NULL) {
        ngx_http_usher_slot_spare(s->journal);
    }
}


static void
ngx_http_usher_ack_back(ngx_http_usher_slot_t *s, uint64_t position)
{
    ngx_uint_t  i;

    for (i = 0; i < s->nsegs; i++) {
        if (s->segs[i].end > position) {
            s->segs[i].acked = 0;
        }
    }

    s->acked = position;
    s->backoff = NGX_HTTP_USHER_IDLE_TICK;
    s->check = ngx_current_msec + s->backoff;

    ngx_http_usher_ship_restart(s, position);
}


/* PostgreSQL has more of this slot than we do. */

static void
ngx_http_usher_ack_beyond(ngx_http_usher_slot_t *s, uint64_t position)
{
    int  fd;

    if (!s->own) {

        /* nothing in it is missing anywhere, as long as that holds */

        if (!s->beyond) {
            ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                          "usher journal: slot %s ends at %uL, PostgreSQL is "
                          "at %uL: it is a copy", s->text, s->end, position);
        }

        s->beyond = 1;
        s->ended = 1;

        if (s->acked < s->end) {
            ngx_http_usher_ack_advance(s, s->end);
        }

        return;
    }

    /*
     * The machine was set back while its process lived on.  What lies above
     * the fork cannot be told from here; it stays on disk, whoever comes.
     */

    ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                  "usher journal: slot %s is at %uL, but PostgreSQL at %uL: "
                  "two histories; its directory is left for you to look at, "
                  "appending goes on in a new one", s->text, s->end,
                  position);

    fd = openat(s->dir, NGX_HTTP_USHER_LEFT, O_WRONLY|O_CREAT|O_CLOEXEC,
                0600);

    if (fd == -1) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, ngx_errno,
                      "usher journal: \"" NGX_HTTP_USHER_LEFT "\" of slot "
                      "%s cannot be written", s->text);

    } else {
        (void) close(fd);
        (void) fsync(s->dir);
    }

    s->stopped = 1;
    ngx_http_usher_slot_close(s->journal);
    ngx_http_usher_ship_window(s);
}


/* Registers the slot, so that usherd finds its stream. */

void
ngx_http_usher_ack_announce(ngx_http_usher_slot_t *s)
{
    u_char      json[1024], node[6 * USHER_REQUEST_NODE_MAX + 1];
    ngx_str_t   argv[4];
    ngx_str_t  *name;

    if (s->closing || s->forked || (s->own && s->journal->committed == 0)) {
        return;
    }

    s->announce = (ngx_current_msec + NGX_HTTP_USHER_SLOTS_TIME) | 1;

    name = ngx_http_usher_node_name();

    *(u_char *) ngx_escape_json(node, name->data,
                                ngx_min(name->len, USHER_REQUEST_NODE_MAX))
        = '\0';

    ngx_str_set(&argv[0], "HSET");
    ngx_str_set(&argv[1], USHER_SLOTS);
    argv[2].data = (u_char *) s->text;
    argv[2].len = USHER_SLOT_TEXT;
    argv[3].data = json;
    argv[3].len = ngx_snprintf(json, sizeof(json),
                               "{\"node\":\"%s\",\"boot\":\"%s\","
                               "\"pid\":%P,\"created\":%T,\"seen\":%T}",
                               node, ngx_http_usher_boot(), ngx_pid,
                               s->created, ngx_time())
                  - json;

    (void) ngx_http_usher_ship_command(s, ngx_http_usher_ack_ignore, 0, 4,
                                       argv);
}


static void
ngx_http_usher_ack_ignore(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply)
{
    /* what it was for is repeated */
}


void
ngx_http_usher_ack_check(ngx_http_usher_slot_t *s)
{
    if (s->checking || s->closing || s->gone || s->forked) {
        return;
    }

    s->check = ngx_current_msec + s->backoff;
    s->backoff = ngx_min(s->backoff * 2, NGX_HTTP_USHER_CHECK_MAX);

    if (ngx_http_usher_ack_info(s, ngx_http_usher_ack_checked) == NGX_OK) {
        s->checking = 1;
    }
}


static ngx_int_t
ngx_http_usher_ack_info(ngx_http_usher_slot_t *s,
    void (*handler)(ngx_http_usher_sent_t *sent,
                    ngx_http_usher_reply_t *reply))
{
    u_char     key[sizeof(USHER_STREAM_PREFIX) + USHER_SLOT_TEXT];
    ngx_str_t  argv[3];

    ngx_str_set(&argv[0], "XINFO");
    ngx_str_set(&argv[1], "STREAM");
    argv[2].data = key;
    argv[2].len = ngx_http_usher_key(key, USHER_STREAM_PREFIX, s);

    return ngx_http_usher_ship_command(s, handler, 0, 3, argv);
}


/* Commands are answered in order: all that was sent before has arrived. */

static void
ngx_http_usher_ack_checked(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply)
{
    int64_t                 length;
    uint64_t                major, minor;
    ngx_int_t               rc;
    ngx_http_usher_slot_t  *s;

    s = sent->slot;
    s->checking = 0;

    if (reply == NULL || s->closing || s->forked || s->stopped) {
        return;
    }

    if (sent->epoch != s->epoch) {

        if (!s->checked) {
            ngx_http_usher_ack_check(s);
        }

        return;
    }

    rc = ngx_http_usher_ack_stream(reply, &major, &minor, &length);

    if (rc == NGX_ERROR) {

        /* nothing is sent until this is answered */

        s->backoff = ngx_min(s->backoff, NGX_HTTP_USHER_CHECK_REFUSED);
        s->check = ngx_current_msec + s->backoff;

        return;
    }

    if (!s->own && major > s->end
        && ngx_http_usher_ack_foreign(s, major, length))
    {
        return;
    }

    s->foreign = 0;
    s->alone = 0;
    s->checked = 1;

    if (s->takeup || s->beyond) {

        /* it will be made anew anyhow */

    } else if (rc == NGX_DECLINED) {

        if (sent->shipped > s->acked || sent->last) {
            ngx_http_usher_ship_restart(s, s->acked);
        }

    } else if (major != sent->shipped
               && (major > sent->shipped || sent->shipped > s->acked))
    {
        ngx_http_usher_ship_restart(s, s->acked);

    } else if (length == 0 && sent->shipped > s->acked) {

        /* trimmed by a usherd whose PostgreSQL was set back since */

        ngx_http_usher_ship_restart(s, s->acked);

    } else if (sent->last && minor == 0) {
        ngx_http_usher_ship_restart(s, s->acked);
    }

    (void) ngx_http_usher_ship_pump(s);
}


/*
 * Others have sent more than we have: what is in the stream is for usherd, and
 * who has more sends it.  But if the stream stays empty while PostgreSQL lacks
 * what we have, there is nobody else.  1: it is left alone.
 */

static ngx_uint_t
ngx_http_usher_ack_foreign(ngx_http_usher_slot_t *s, uint64_t major,
    int64_t length)
{
    if (length == 0 && s->known && !s->beyond && s->acked < s->end) {

        if (s->alone) {
            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                          "usher journal: the stream of slot %s went to "
                          "%uL, but nobody sends what PostgreSQL lacks: "
                          "taken up from %uL, up to %uL", s->text, major,
                          s->acked, s->end);

            ngx_http_usher_ship_restart(s, s->acked);
            return 0;
        }

        s->alone = 1;

    } else {
        s->alone = 0;
    }

    if (!s->foreign) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "usher journal: the stream of slot %s goes to %uL, "
                      "this copy to %uL: left to usherd", s->text, major,
                      s->end);
    }

    s->foreign = 1;

    return 1;
}


/* NGX_OK, NGX_DECLINED: there is no stream, NGX_ERROR: cannot be told. */

static ngx_int_t
ngx_http_usher_ack_stream(ngx_http_usher_reply_t *reply, uint64_t *major,
    uint64_t *minor, int64_t *length)
{
    ngx_str_t   *name;
    ngx_int_t    rc;
    ngx_uint_t   i;

    *major = *minor = 0;
    *length = 0;

    if (reply->type == NGX_HTTP_USHER_REDIS_ERROR) {
        return (ngx_strnstr(reply->str.data, "no such key", reply->str.len)
                != NULL) ? NGX_DECLINED : NGX_ERROR;
    }

    if (reply->type != NGX_HTTP_USHER_REDIS_ARRAY) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    for (i = 0; i + 1 < reply->n; i += 2) {
        name = &reply->elements[i].str;

        if (name->len == sizeof("length") - 1
            && ngx_strncmp(name->data, "length", name->len) == 0)
        {
            *length = reply->elements[i + 1].integer;

        } else if (name->len == sizeof("last-generated-id") - 1
                   && ngx_strncmp(name->data, "last-generated-id", name->len)
                      == 0
                   && usher_stream_id_parse(
                          (char *) reply->elements[i + 1].str.data,
                          reply->elements[i + 1].str.len, major, minor)
                      == 0)
        {
            rc = NGX_OK;
        }
    }

    return rc;
}


/*
 * An adopted slot that was shipped and acknowledged to its end is kept for
 * retain, in case PostgreSQL is set back; then usherd must have read the end
 * entry, and all of it goes.  Where room is wanted retain yields: one slot of
 * each process goes at a time, that which was adopted first.
 */

void
ngx_http_usher_ack_finish(ngx_http_usher_slot_t *s, ngx_uint_t *hurry)
{
    if (!s->known || !s->ended || s->acked < s->end || s->queued != 0
        || s->forked || s->closing || s->checking || s->unclear)
    {
        s->done = 0;
        return;
    }

    if (s->done == 0) {
        s->done = ngx_max(ngx_current_msec, 1);

        if (!s->read.task.active && s->read.buffer != NULL) {
            ngx_free(s->read.buffer);
            s->read.buffer = NULL;
            s->read.allocated = 0;
            s->read.nentries = 0;
        }

        return;
    }

    if (ngx_http_usher_ack_retained(s)) {

        if (!*hurry) {
            return;
        }

        *hurry = 0;
    }

    if (ngx_http_usher_fork_held(s)) {
        return;
    }

    if (ngx_http_usher_ack_info(s, ngx_http_usher_ack_finished) == NGX_OK) {
        s->checking = 1;
    }
}


static ngx_uint_t
ngx_http_usher_ack_retained(ngx_http_usher_slot_t *s)
{
    return ngx_current_msec - s->done < s->journal->conf->retain;
}


static void
ngx_http_usher_ack_finished(ngx_http_usher_sent_t *sent,
    ngx_http_usher_reply_t *reply)
{
    int64_t                 length;
    uint64_t                major, minor;
    ngx_int_t               rc;
    ngx_http_usher_slot_t  *s;

    s = sent->slot;
    s->checking = 0;

    if (reply == NULL || s->closing || s->forked
        || sent->epoch != s->epoch || s->done == 0)
    {
        return;
    }

    rc = ngx_http_usher_ack_stream(reply, &major, &minor, &length);

    if (rc == NGX_ERROR) {
        return;
    }

    if (s->beyond || (rc == NGX_OK && major > s->end)) {

        /* somebody appended more to it: the keys are his; or nobody's */

        if (s->dead) {
            ngx_http_usher_fork_forget(s);
        }

        ngx_http_usher_ack_retire(s);
        return;
    }

    if (rc == NGX_DECLINED || major != s->end || minor == 0) {

        /* the end entry was wiped, perhaps unread */

        ngx_http_usher_ship_restart(s, s->acked);
        (void) ngx_http_usher_ship_pump(s);
        return;
    }

    if (length != 0
        && ngx_current_msec - s->done
           < s->journal->conf->retain + NGX_HTTP_USHER_FINISH_GRACE)
    {
        return;
    }

    ngx_http_usher_ack_forget(s);
    ngx_http_usher_ack_retire(s);
}


static void
ngx_http_usher_ack_retire(ngx_http_usher_slot_t *s)
{
    if (ngx_http_usher_ack_retained(s)) {
        ngx_http_usher_count(journal_retain_shortened);
    }

    ngx_http_usher_adopt_retire(s);
}


static void
ngx_http_usher_ack_forget(ngx_http_usher_slot_t *s)
{
    u_char     stream[sizeof(USHER_STREAM_PREFIX) + USHER_SLOT_TEXT];
    u_char     ack[sizeof(USHER_ACK_PREFIX) + USHER_SLOT_TEXT];
    ngx_str_t  argv[3];

    ngx_str_set(&argv[0], "HDEL");
    ngx_str_set(&argv[1], USHER_SLOTS);
    argv[2].data = (u_char *) s->text;
    argv[2].len = USHER_SLOT_TEXT;

    (void) ngx_http_usher_ship_command(s, ngx_http_usher_ack_ignore, 0, 3,
                                       argv);

    ngx_str_set(&argv[0], "DEL");
    argv[1].data = stream;
    argv[1].len = ngx_http_usher_key(stream, USHER_STREAM_PREFIX, s);
    argv[2].data = ack;
    argv[2].len = ngx_http_usher_key(ack, USHER_ACK_PREFIX, s);

    (void) ngx_http_usher_ship_command(s, ngx_http_usher_ack_ignore, 0, 3,
                                       argv);
}
