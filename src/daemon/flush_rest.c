/*
 * flush_rest.c - a stream is put aside while what lies before it is sent.
 *
 * DESIGN
 *
 * The power went at an edge: its disk ends before its stream does.  Then
 * PostgreSQL is set back to before the stream begins.  The edge has what lies
 * between, but to take the stream up would delete what only the stream has;
 * so it leaves the stream to us, and both wait.
 *
 * Where a rewind is not answered in time, and the stream goes on above it, the
 * stream is renamed: now there is none, the edge takes it up as always, and
 * closes it where its disk ends.  After that what was put aside is added
 * again, as often as need be, for an edge that sends once more deletes it.
 * It goes when the position has passed it, and not before.  What is added
 * twice is refused by its id: all of this may be interrupted and done again.
 *
 * While the edge sends nothing is added: it would find an id above its own,
 * and take the stream up once more.  The end entry tells that it is done; or
 * the operator, who skips what nobody has.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"


#define USHERD_REST         "usher:rest"       /* set of slots */
#define USHERD_REST_PREFIX  "usher:rest:"      /* + slot: a stream */
#define USHERD_REST_STEP    16                 /* entries in one reply */
#define USHERD_REST_AGAIN   5000               /* msec between two adds */


static int usherd_rest_slot(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_rest_live(usherd_flush_t *f, usherd_slot_t *slot,
    uint64_t from);
static int usherd_rest_again(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_rest_peek(usherd_flush_t *f, usherd_slot_t *slot,
    const char *command, const char *prefix, usherd_entry_t *entry);
static void usherd_rest_refused(usherd_slot_t *slot, usherd_reply_t *reply);
static int usherd_rest_add(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_rest_entry(usherd_flush_t *f, usherd_slot_t *slot,
    const usherd_reply_t *entry);
static int usherd_rest_done(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_rest_run(usherd_slot_t *slot, usherd_reply_t *reply);


int
usherd_flush_aside(usherd_flush_t *f, usherd_slot_t *slot)
{
    int              rc;
    uint64_t         moved;
    usherd_entry_t   first;
    usherd_reply_t  *reply;

    if (slot->aside_at == slot->position + 1) {
        return USHERD_OK;
    }

    rc = usherd_rest_peek(f, slot, "XRANGE %s%s - + COUNT 1",
                          USHER_STREAM_PREFIX, &first);

    if (rc != 1 || first.from <= slot->rewind_to) {
        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    /* first said, then done: what is not there is taken out again */

    rc = usherd_rest_run(slot, usherd_redis_format(f->redis,
                                   "SADD " USHERD_REST " %s", slot->id));

    if (rc != USHERD_OK) {
        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    reply = usherd_redis_format(f->redis, "RENAMENX " USHER_STREAM_PREFIX "%s "
                                USHERD_REST_PREFIX "%s", slot->id, slot->id);
    moved = reply ? (uint64_t) usherd_reply_integer(reply) : 0;

    rc = usherd_rest_run(slot, reply);

    if (moved == 1) {
        slot->aside_at = slot->position + 1;

        usherd_log(USHERD_LOG_WARN, "slot %s: nobody sends what it has from "
                   "%llu to %llu; its stream is put aside, so that who has it "
                   "can", slot->id, (unsigned long long) slot->rewind_to,
                   (unsigned long long) first.from);

    } else if (rc == USHERD_OK && !slot->rest_said) {
        slot->rest_said = 1;

        usherd_log(USHERD_LOG_WARN, "slot %s: nobody sends what it has from "
                   "%llu to %llu, and what was put aside of its stream before "
                   "is still there", slot->id,
                   (unsigned long long) slot->rewind_to,
                   (unsigned long long) first.from);
    }

    return rc == USHERD_LOST ? rc : USHERD_OK;
}


/*
 * Each tick: whether what was put aside can be added again, or go.  Its edge
 * may have retired the slot meanwhile: it is ours until then.
 */

int
usherd_flush_rests(usherd_flush_t *f)
{
    int              rc;
    size_t           len;
    unsigned         k, aside;
    const char      *id;
    unsigned char    bytes[USHER_SLOT_ID];
    usherd_slot_t   *slot;
    usherd_reply_t  *reply;

    reply = usherd_redis_format(f->redis, "SMEMBERS " USHERD_REST);

    if (reply == NULL) {
        return USHERD_LOST;
    }

    if (usherd_reply_type(reply) == USHERD_REPLY_ERROR) {

        if (!f->rests_refused) {
            usherd_log(USHERD_LOG_ERROR, "Redis refuses " USHERD_REST ": %s; "
                       "what was put aside waits, redis-users.conf has the "
                       "rights it needs", usherd_reply_text(reply, NULL));
        }

        f->rests_refused = 1;
        usherd_reply_free(reply);

        return USHERD_OK;
    }

    f->rests_refused = 0;

    rc = USHERD_OK;
    aside = 0;

    for (k = 0; k < usherd_reply_count(reply) && rc == USHERD_OK; k++) {
        id = usherd_reply_text(usherd_reply_at(reply, k), &len);

        if (len != USHER_SLOT_TEXT || usher_slot_parse(id, len, bytes) != 0) {
            continue;
        }

        slot = usherd_flush_slot(f, id, len);
        slot->registered = usherd_now();

        if (slot->held && slot->loaded) {
            aside++;
            rc = usherd_rest_slot(f, slot);
        }
    }

    usherd_set(flush_slots_aside, aside);
    usherd_reply_free(reply);

    return rc;
}


static int
usherd_rest_slot(usherd_flush_t *f, usherd_slot_t *slot)
{
    int             rc;
    usherd_entry_t  first, last;

    rc = usherd_rest_peek(f, slot, "XREVRANGE %s%s + - COUNT 1",
                          USHERD_REST_PREFIX, &last);

    if (rc < 0) {
        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    /* not before: whoever sends again deletes what was added */

    if (rc == 0 || last.end <= slot->position) {
        return usherd_rest_done(f, slot);
    }

    if (slot->state != USHERD_SLOT_ENDED && slot->state != USHERD_SLOT_LIVE) {
        return USHERD_OK;
    }

    rc = usherd_rest_peek(f, slot, "XRANGE %s%s - + COUNT 1",
                          USHERD_REST_PREFIX, &first);
    if (rc < 0) {
        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    if (first.from > slot->position) {

        /* live: the operator has not skipped as far as that */

        if (slot->state == USHERD_SLOT_ENDED) {
            rc = usherd_rest_live(f, slot, first.from);
        }

        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    return usherd_rest_again(f, slot);
}


/*
 * All that lies before it is stored.  Where the slot lives nothing tells that
 * its edge has done, but that nothing has been in the stream for a while: a
 * part may have been added and stored before.
 */

static int
usherd_rest_again(usherd_flush_t *f, usherd_slot_t *slot)
{
    int             rc;
    uint64_t        now;
    usherd_entry_t  last;

    now = usherd_now();

    if (slot->state == USHERD_SLOT_LIVE) {

        rc = usherd_rest_peek(f, slot, "XREVRANGE %s%s + - COUNT 1",
                              USHER_STREAM_PREFIX, &last);
        if (rc < 0) {
            return rc == USHERD_LOST ? rc : USHERD_OK;
        }

        if (rc == 1 && last.end > slot->position) {
            slot->rest_at = now + USHERD_REST_AGAIN;
            return USHERD_OK;
        }

        if (slot->rest_at == 0 && !slot->rechain) {
            slot->rest_at = now + USHERD_REST_AGAIN;
        }
    }

    if (now < slot->rest_at) {
        return USHERD_OK;
    }

    if (slot->state == USHERD_SLOT_LIVE) {

        /* an empty stream refuses what is below its last id */

        rc = usherd_rest_run(slot, usherd_redis_format(f->redis, "DEL "
                                       USHER_STREAM_PREFIX "%s", slot->id));
        if (rc != USHERD_OK) {
            return rc == USHERD_LOST ? rc : USHERD_OK;
        }
    }

    return usherd_rest_add(f, slot);
}


/*
 * The edge has sent all it has, and something is missing still.  A slot that
 * has ended cannot be skipped; this one has more.
 */

static int
usherd_rest_live(usherd_flush_t *f, usherd_slot_t *slot, uint64_t from)
{
    int          rc;
    const char  *values[1];

    values[0] = slot->id;

    rc = usherd_pg_query(f->pg, "UPDATE usher.journal SET state = 'live' "
                         "WHERE slot = $1 AND state = 'ended'", 1, values,
                         NULL);
    if (rc != USHERD_OK) {
        return rc;
    }

    slot->state = USHERD_SLOT_LIVE;

    usherd_log(USHERD_LOG_ALERT, "slot %s: its edge has nothing from %llu to "
               "%llu, but Redis has what follows: usherctl journal skip goes "
               "on there", slot->id, (unsigned long long) slot->position,
               (unsigned long long) from);

    return USHERD_OK;
}


/*
 * The first or last entry of a stream, as far as it can be read: what cannot
 * is judged when it comes up in the stream, and is not passed before.  1, or
 * 0: there is none, or USHERD_ERROR: Redis does not tell.
 */

static int
usherd_rest_peek(usherd_flush_t *f, usherd_slot_t *slot, const char *command,
    const char *prefix, usherd_entry_t *entry)
{
    unsigned         n;
    usherd_reply_t  *reply;

    reply = usherd_redis_format(f->redis, command, prefix, slot->id);

    if (reply == NULL) {
        return USHERD_LOST;
    }

    if (usherd_reply_type(reply) == USHERD_REPLY_ERROR) {
        usherd_rest_refused(slot, reply);
        usherd_reply_free(reply);
        return USHERD_ERROR;
    }

    n = usherd_reply_count(reply);

    memset(entry, 0, sizeof(usherd_entry_t));

    if (n > 0
        && usherd_flush_parse(usherd_reply_at(reply, 0), entry) != NULL)
    {
        entry->from = 0;

        if (entry->end == 0) {
            entry->end = UINT64_MAX;
        }
    }

    usherd_reply_free(reply);

    return n > 0;
}


/* Said once, until it goes on. */

static void
usherd_rest_refused(usherd_slot_t *slot, usherd_reply_t *reply)
{
    if (slot->rest_said) {
        return;
    }

    slot->rest_said = 1;

    usherd_log(USHERD_LOG_ERROR, "slot %s: its stream cannot be put aside, or "
               "what was cannot be added or go; trying again, redis-users.conf "
               "has the rights it needs: %s", slot->id,
               usherd_reply_text(reply, NULL));
}


static int
usherd_rest_add(usherd_flush_t *f, usherd_slot_t *slot)
{
    int                    rc;
    char                   after[48];
    size_t                 len;
    unsigned               i, n;
    const char            *id;
    usherd_reply_t        *reply;
    const usherd_reply_t  *list;

    memcpy(after, "0", 2);

    do {
        reply = usherd_redis_format(f->redis, "XREAD COUNT %llu STREAMS "
                                    USHERD_REST_PREFIX "%s %s",
                                    (unsigned long long) USHERD_REST_STEP,
                                    slot->id, after);
        if (reply == NULL) {
            return USHERD_LOST;
        }

        rc = USHERD_OK;
        n = 0;

        if (usherd_reply_type(reply) == USHERD_REPLY_ERROR) {
            usherd_rest_refused(slot, reply);
            rc = USHERD_ERROR;

        } else if (usherd_reply_count(reply) == 1) {
            list = usherd_reply_at(usherd_reply_at(reply, 0), 1);
            n = usherd_reply_count(list);

            for (i = 0; i < n && rc == USHERD_OK; i++) {
                rc = usherd_rest_entry(f, slot, usherd_reply_at(list, i));

                id = usherd_reply_text(
                         usherd_reply_at(usherd_reply_at(list, i), 0), &len);

                if (len >= sizeof(after)) {
                    rc = USHERD_ERROR;
                    break;
                }

                memcpy(after, id, len + 1);
            }
        }

        usherd_reply_free(reply);

        if (rc != USHERD_OK) {
            return rc == USHERD_LOST ? rc : USHERD_OK;
        }

    } while (n > 0);

    usherd_log(USHERD_LOG_INFO, "slot %s: what was put aside of its stream is "
               "there again", slot->id);

    slot->rest_said = 0;
    slot->rest_at = usherd_now() + USHERD_REST_AGAIN;

    return USHERD_OK;
}


/* Added as it was. */

static int
usherd_rest_entry(usherd_flush_t *f, usherd_slot_t *slot,
    const usherd_reply_t *entry)
{
    int                    rc;
    char                   key[USHERD_FLUSH_TEXT];
    size_t                *lens;
    unsigned               i, n;
    const char           **argv, *text;
    usherd_reply_t        *reply;
    const usherd_reply_t  *fields;

    fields = usherd_reply_at(entry, 1);
    n = usherd_reply_count(fields);

    argv = malloc((n + 3) * sizeof(char *));
    lens = malloc((n + 3) * sizeof(size_t));

    if (argv == NULL || lens == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    snprintf(key, sizeof(key), USHER_STREAM_PREFIX "%s", slot->id);

    argv[0] = "XADD";
    lens[0] = 4;
    argv[1] = key;
    lens[1] = strlen(key);
    argv[2] = usherd_reply_text(usherd_reply_at(entry, 0), &lens[2]);

    for (i = 0; i < n; i++) {
        argv[i + 3] = usherd_reply_text(usherd_reply_at(fields, i),
                                        &lens[i + 3]);
    }

    reply = usherd_redis_command(f->redis, n + 3, argv, lens);

    free(argv);
    free(lens);

    if (reply == NULL) {
        return USHERD_LOST;
    }

    rc = USHERD_OK;

    /* one that is there, or is below the end, is no failure */

    if (usherd_reply_type(reply) == USHERD_REPLY_ERROR) {
        text = usherd_reply_text(reply, NULL);

        if (strncmp(text, "ERR The ID", 10) != 0) {
            usherd_rest_refused(slot, reply);
            rc = USHERD_ERROR;
        }
    }

    usherd_reply_free(reply);

    return rc;
}


static int
usherd_rest_done(usherd_flush_t *f, usherd_slot_t *slot)
{
    int  rc;

    slot->rest_said = 0;

    rc = usherd_rest_run(slot, usherd_redis_format(f->redis, "DEL "
                                   USHERD_REST_PREFIX "%s", slot->id));

    if (rc == USHERD_OK) {
        rc = usherd_rest_run(slot, usherd_redis_format(f->redis,
                                       "SREM " USHERD_REST " %s", slot->id));
    }

    return rc == USHERD_LOST ? rc : USHERD_OK;
}


static int
usherd_rest_run(usherd_slot_t *slot, usherd_reply_t *reply)
{
    int          rc;
    const char  *text;

    if (reply == NULL) {
        return USHERD_LOST;
    }

    rc = USHERD_OK;

    if (usherd_reply_type(reply) == USHERD_REPLY_ERROR) {
        text = usherd_reply_text(reply, NULL);
        rc = USHERD_ERROR;

        /* the stream may be gone meanwhile */

        if (strncmp(text, "ERR no such key", 15) != 0) {
            usherd_rest_refused(slot, reply);
        }
    }

    usherd_reply_free(reply);

    return rc;
}
