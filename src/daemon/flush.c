/*
 * flush.c - the duty that turns streams into rows, exactly once.
 *
 * DESIGN
 *
 * What is stored is what usher.journal says, and nothing else is: the
 * position of a slot moves in the transaction that stores its rows.  So
 * everything here may be forgotten at any moment.  After each trouble, and
 * after each new connection to PostgreSQL, the batch is dropped, positions
 * are read again, and streams are read from there.
 *
 *     tick     which slots are there, which of them are ours, where do they
 *              stand; state each acknowledgement again
 *     read     XREAD of all our streams from their positions into a batch,
 *              until it is full or old
 *     store    one transaction for the batch over all its slots
 *     tell     trim the streams and write the acknowledgements
 *     judge    rewinds, forks, stops, for slots whose stream was not good
 *
 * The replies of Redis are kept until the batch is stored: lines, sums and
 * COPY work on their bytes in place.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"


#define USHERD_FLUSH_TICK      500    /* msec */
#define USHERD_FLUSH_RESTATE   5000
#define USHERD_FLUSH_ANNOUNCE  60000
#define USHERD_FLUSH_BLOCK     250    /* longest wait inside XREAD */
#define USHERD_FLUSH_RESEND    20     /* the same while one is awaited */
#define USHERD_FLUSH_COUNT_MAX 512    /* entries of one stream at a time */
#define USHERD_FLUSH_SINGLE    64


static void usherd_flush_init(usherd_flush_t *f, usherd_conf_t *conf);
static int usherd_flush_tick(usherd_flush_t *f);
static int usherd_flush_learn(usherd_flush_t *f, uint64_t now);
static int usherd_flush_cycle(usherd_flush_t *f);
static void usherd_flush_reset(usherd_flush_t *f);
static int usherd_flush_full(usherd_flush_t *f);
static int usherd_flush_read(usherd_flush_t *f, uint64_t block);
static unsigned usherd_flush_streams(usherd_flush_t *f, const char **argv,
    char (*text)[USHERD_FLUSH_TEXT]);
static uint64_t usherd_flush_limit(usherd_flush_t *f, unsigned n);
static int usherd_flush_got(usherd_flush_t *f, usherd_reply_t *reply);
static void usherd_flush_entries(usherd_flush_t *f,
    const usherd_reply_t *stream);
static unsigned usherd_flush_index(usherd_flush_t *f, const char *key,
    size_t len);
static int usherd_flush_readable(usherd_slot_t *slot);
static void usherd_flush_caught(usherd_flush_t *f, uint64_t at);


void
usherd_flush(usherd_conf_t *conf)
{
    usherd_flush_t  f;

    usherd_flush_init(&f, conf);

    for ( ;; ) {

        usherd_redis_wait(f.redis);
        usherd_pg_wait(f.pg);

        if (usherd_flush_tick(&f) != USHERD_OK
            || usherd_flush_rewinds(&f) != USHERD_OK
            || usherd_flush_cycle(&f) != USHERD_OK)
        {
            usherd_flush_restart(&f);
            continue;
        }

        f.backoff = 0;
    }
}


static void
usherd_flush_init(usherd_flush_t *f, usherd_conf_t *conf)
{
    const usher_event_kind_t  *kind;

    memset(f, 0, sizeof(usherd_flush_t));

    f->conf = conf;
    f->pg = usherd_pg_create(conf, "usherd flush");
    f->redis = usherd_redis_create(conf, "flush");
    f->usage = usherd_usage_create();
    f->buffer = malloc(USHERD_FLUSH_BUFFER);
    f->entry_lines = 200;
    f->entry_bytes = 64 * 1024;

    if (usherd_self->caught == 0) {
        usherd_set(caught, usherd_now());
    }

    f->active = 1;

    if (f->usage == NULL || f->buffer == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    for (kind = usher_event_kinds(); kind->kind; kind++) {
        if (f->nkinds < USHERD_FLUSH_KINDS) {
            f->kinds[f->nkinds++] = kind;
        }
    }
}


void *
usherd_flush_grow(void *array, size_t size, size_t n, size_t *room)
{
    if (n < *room) {
        return array;
    }

    *room = *room ? *room * 2 : 64;
    array = realloc(array, *room * size);

    if (array == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    return array;
}


/* After any trouble: forget what was under way and where slots stood. */

void
usherd_flush_restart(usherd_flush_t *f)
{
    unsigned  i;

    usherd_flush_reset(f);

    for (i = 0; i < f->nslots; i++) {
        f->slots[i]->loaded = 0;
    }

    f->tick = 0;
    f->backoff = f->backoff ? f->backoff * 2 : 20;

    if (f->backoff > 2000) {
        f->backoff = 2000;
    }

    (void) usherd_wait(-1, f->backoff);
}


static int
usherd_flush_tick(usherd_flush_t *f)
{
    uint64_t  now;
    unsigned  i;

    now = usherd_now();

    if (usherd_pg_generation(f->pg) != f->pg_generation) {
        f->pg_generation = usherd_pg_generation(f->pg);
        f->tick = 0;
        f->renew = 0;
        f->announce = 0;

        for (i = 0; i < f->nslots; i++) {
            f->slots[i]->loaded = 0;
            f->slots[i]->known = 0;
        }
    }

    if (usherd_redis_generation(f->redis) != f->redis_generation) {
        f->redis_generation = usherd_redis_generation(f->redis);
        f->tick = 0;
        f->restate = 0;
    }

    if (now < f->tick) {
        return USHERD_OK;
    }

    if (usherd_flush_discover(f) != USHERD_OK
        || usherd_flush_learn(f, now) != USHERD_OK
        || usherd_flush_rests(f) != USHERD_OK)
    {
        return USHERD_ERROR;
    }

    if (now >= f->restate) {

        if (usherd_flush_acknowledge(f, 1) != USHERD_OK) {
            return USHERD_ERROR;
        }

        f->restate = now + USHERD_FLUSH_RESTATE;
    }

    f->tick = now + USHERD_FLUSH_TICK;

    return USHERD_OK;
}


/* What PostgreSQL says of the slots. */

static int
usherd_flush_learn(usherd_flush_t *f, uint64_t now)
{
    int  rc;

    rc = usherd_flush_claim(f);

    if (rc == USHERD_OK) {
        rc = usherd_flush_load(f);
    }

    if (rc == USHERD_OK && now >= f->announce) {
        rc = usherd_flush_announce(f);
        f->announce = now + USHERD_FLUSH_ANNOUNCE;
    }

    if (rc == USHERD_ERROR && !f->failing) {
        f->failing = 1;
        usherd_log(USHERD_LOG_ALERT, "cannot learn where the slots stand: %s "
                   "%s; trying again until it works",
                   usherd_pg_sqlstate(f->pg), usherd_pg_message(f->pg));
    }

    return rc;
}


static int
usherd_flush_cycle(usherd_flush_t *f)
{
    int       rc, stored;
    uint64_t  now, block, end, at;

    stored = USHERD_OK;
    at = usherd_now();
    usherd_flush_reset(f);

    for ( ;; ) {
        now = usherd_now();
        end = f->started ? f->started + f->conf->batch_age_ms
                         : now + USHERD_FLUSH_BLOCK;

        if (now >= end || usherd_flush_full(f)) {
            break;
        }

        block = end - now;
        at = now;

        rc = usherd_flush_read(f, block < USHERD_FLUSH_BLOCK
                                  ? block : USHERD_FLUSH_BLOCK);
        if (rc < 0) {
            return rc;
        }

        if (rc == 0 && f->started == 0) {
            break;
        }
    }

    usherd_set(flush_backlog, (uint64_t) usherd_flush_full(f));

    if (f->changes > 0) {

        stored = usherd_flush_store(f);
        if (stored == USHERD_LOST) {
            return stored;
        }

        rc = usherd_flush_acknowledge(f, 0);
        if (rc != USHERD_OK) {
            return rc;
        }
    }

    rc = usherd_flush_judge(f);

    if (rc == USHERD_OK && stored == USHERD_OK) {
        usherd_flush_caught(f, at);
    }

    return rc != USHERD_OK ? rc : stored;
}


/*
 * What there was at that time is stored, or, of a batch that was full, what
 * is older than the last of it.  A slot whose lines are awaited is behind, as
 * is one of which something was put aside.
 */

static void
usherd_flush_caught(usherd_flush_t *f, uint64_t at)
{
    unsigned        i;
    usherd_slot_t  *slot;

    if (f->single != 0) {
        return;
    }

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];

        if (slot->held
            && (slot->rewind_at != 0
                || (slot->rests != 0 && slot->state != USHERD_SLOT_FORKED)))
        {
            return;
        }
    }

    if (usherd_flush_full(f)) {
        at -= f->lag < at ? f->lag : at;
    }

    if (at > usherd_self->caught) {
        usherd_set(caught, at);
    }
}


static void
usherd_flush_reset(usherd_flush_t *f)
{
    unsigned        i;
    usherd_slot_t  *slot;

    for (i = 0; i < f->nreplies; i++) {
        usherd_reply_free(f->replies[i]);
    }

    f->nreplies = 0;
    f->nlines = 0;
    f->ngaps = 0;
    f->nmarks = 0;
    f->npoison = 0;
    f->bytes = 0;
    f->entries = 0;
    f->started = 0;
    f->lag = 0;
    f->changes = 0;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];

        slot->next = slot->position;
        slot->next_chain = slot->chain;
        slot->next_rechain = slot->rechain;
        slot->marked = slot->position;
        slot->lines = 0;
        slot->losers = 0;
        slot->ended = 0;
        slot->waits = 0;
        slot->stored = 0;
        slot->last_event[0] = '\0';
        slot->verdict = USHERD_VERDICT_NONE;
    }
}


static int
usherd_flush_full(usherd_flush_t *f)
{
    return f->nlines >= f->conf->batch_rows
           || f->bytes >= f->conf->batch_bytes;
}


static int
usherd_flush_readable(usherd_slot_t *slot)
{
    return slot->held && slot->loaded
           && (slot->state == USHERD_SLOT_LIVE
               || slot->state == USHERD_SLOT_ENDED)
           && slot->rewind_at == 0 && slot->rest_hole == 0
           && !slot->ended && !slot->waits
           && slot->verdict == USHERD_VERDICT_NONE;
}


/* How many entries came, or a trouble.  Waits at most block msec. */

static int
usherd_flush_read(usherd_flush_t *f, uint64_t block)
{
    char              count[24], wait[24];
    char            (*text)[USHERD_FLUSH_TEXT];
    unsigned          i, n;
    const char      **argv;
    usherd_reply_t   *reply;

    text = malloc((2 * (size_t) f->nslots + 1) * sizeof(*text));
    argv = malloc((2 * (size_t) f->nslots + 8) * sizeof(char *));

    if (text == NULL || argv == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    n = usherd_flush_streams(f, argv + 6, text);

    for (i = 0; i < f->nslots; i++) {
        if (f->slots[i]->rewind_at != 0 && block > USHERD_FLUSH_RESEND) {
            block = USHERD_FLUSH_RESEND;
        }
    }

    if (n == 0) {
        free(text);
        free(argv);
        (void) usherd_wait(-1, f->started ? 1 : block);
        return 0;
    }

    snprintf(count, sizeof(count), "%llu",
             (unsigned long long) usherd_flush_limit(f, n));
    snprintf(wait, sizeof(wait), "%llu",
             (unsigned long long) (f->single ? 1 : block));

    argv[0] = "XREAD";
    argv[1] = "COUNT";
    argv[2] = count;
    argv[3] = "BLOCK";
    argv[4] = wait;
    argv[5] = "STREAMS";

    reply = usherd_redis_command(f->redis, 6 + 2 * n, argv, NULL);

    free(text);
    free(argv);

    if (f->single) {
        f->single--;
        f->turn++;
    }

    return reply == NULL ? USHERD_LOST : usherd_flush_got(f, reply);
}


/*
 * Keys and ids of the streams to read; one only while f->single.  Ended slots
 * are among them: the end may have come from an older copy of the slot, and
 * what its owner sends then is taken.
 */

static unsigned
usherd_flush_streams(usherd_flush_t *f, const char **argv,
    char (*text)[USHERD_FLUSH_TEXT])
{
    unsigned        i, n, first;
    usherd_slot_t  *slot;

    n = 0;
    first = f->single ? f->turn : 0;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[(first + i) % f->nslots];

        if (!usherd_flush_readable(slot)) {
            continue;
        }

        snprintf(text[2 * n], sizeof(*text), USHER_STREAM_PREFIX "%s",
                 slot->id);

        /* beyond its end entry, if that was stored */

        snprintf(text[2 * n + 1], sizeof(*text), "%llu-%d",
                 (unsigned long long) slot->next,
                 slot->state == USHERD_SLOT_ENDED);
        n++;

        if (f->single) {
            break;
        }
    }

    for (i = 0; i < n; i++) {
        argv[i] = text[2 * i];
        argv[n + i] = text[2 * i + 1];
    }

    return n;
}


/* So many entries of each stream that the batch is filled, not overfilled. */

static uint64_t
usherd_flush_limit(usherd_flush_t *f, unsigned n)
{
    uint64_t  rows, bytes, active;

    active = f->active < n ? f->active : n;
    active = active ? active : 1;

    rows = (f->conf->batch_rows - f->nlines) / f->entry_lines / active + 1;
    bytes = (f->conf->batch_bytes - f->bytes) / f->entry_bytes / active + 1;

    rows = rows < bytes ? rows : bytes;

    return rows < USHERD_FLUSH_COUNT_MAX ? rows : USHERD_FLUSH_COUNT_MAX;
}


static int
usherd_flush_got(usherd_flush_t *f, usherd_reply_t *reply)
{
    size_t    room;
    unsigned  i, n;

    if (usherd_reply_type(reply) == USHERD_REPLY_ERROR) {

        /* one key that is no stream fails the command for all */

        if (f->single == 0) {
            usherd_log(USHERD_LOG_ERROR, "Redis refuses to read the streams: "
                       "%s; reading one at a time",
                       usherd_reply_text(reply, NULL));
        }

        f->single = USHERD_FLUSH_SINGLE + f->nslots;
        usherd_reply_free(reply);
        (void) usherd_wait(-1, 10);

        return 0;
    }

    n = usherd_reply_count(reply);
    f->active = n;

    if (n == 0) {
        usherd_reply_free(reply);
        return 0;
    }

    room = f->replies_room;
    f->replies = usherd_flush_grow(f->replies, sizeof(usherd_reply_t *),
                                   f->nreplies, &room);
    f->replies_room = (unsigned) room;
    f->replies[f->nreplies++] = reply;

    if (f->started == 0) {
        f->started = usherd_now();
    }

    for (i = 0; i < n; i++) {
        usherd_flush_entries(f, usherd_reply_at(reply, i));
    }

    f->changes = 0;

    for (i = 0; i < f->nslots; i++) {
        f->changes += usherd_flush_changed(f->slots[i]);
    }

    return (int) n;
}


static void
usherd_flush_entries(usherd_flush_t *f, const usherd_reply_t *stream)
{
    size_t                 len;
    unsigned               i, index;
    const char            *key;
    usherd_slot_t         *slot;
    const usherd_reply_t  *list;

    key = usherd_reply_text(usherd_reply_at(stream, 0), &len);
    index = usherd_flush_index(f, key, len);

    if (index == f->nslots) {
        return;
    }

    slot = f->slots[index];
    list = usherd_reply_at(stream, 1);

    for (i = 0; i < usherd_reply_count(list); i++) {

        if (usherd_flush_full(f)) {
            slot->waits = 1;
            return;
        }

        usherd_flush_take(f, index, usherd_reply_at(list, i));

        if (slot->verdict != USHERD_VERDICT_NONE || slot->ended
            || slot->rest_hole != 0)
        {
            return;
        }
    }
}


static unsigned
usherd_flush_index(usherd_flush_t *f, const char *key, size_t len)
{
    unsigned     i;
    const char  *id;

    id = key + sizeof(USHER_STREAM_PREFIX) - 1;

    if (len != sizeof(USHER_STREAM_PREFIX) - 1 + USHER_SLOT_TEXT) {
        return f->nslots;
    }

    for (i = 0; i < f->nslots; i++) {
        if (memcmp(f->slots[i]->id, id, USHER_SLOT_TEXT) == 0) {
            break;
        }
    }

    return i;
}
