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
 * closes it where its disk ends.  After that what was put aside, the rest, is
 * copied back, as often as need be, for an edge that sends once more deletes
 * the copy.  The rest goes when the position has passed it, and not before.
 *
 * While the edge sends nothing is copied: it would find an id above its own,
 * and take the stream up once more.  The end entry tells that it is done; or
 * the operator, who skips what nobody has.
 *
 * There may be a rest from before: PostgreSQL was set back again, or who sent
 * had a part only.  If that has each entry of the stream, the stream is a copy
 * of it and goes; otherwise both are kept, the second as <slot>:2.  Nothing is
 * merged: each rest is copied back when the position is where it goes on, and
 * an entry that was stored out of another is skipped.
 *
 * Each step is one script, which looks again at what it was judged by: the
 * lease may have ended since, and another be at work.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"


#define USHERD_REST         "usher:rest"       /* set of names */
#define USHERD_REST_PREFIX  "usher:rest:"      /* + name: a stream */
#define USHERD_REST_NAME    (USHER_SLOT_TEXT + 16)  /* <slot>, <slot>:<n> */
#define USHERD_REST_ID      48
#define USHERD_REST_AGAIN   5000               /* msec between two copies */

#define USHERD_REST_OTHER   2                  /* what aside's script says */
#define USHERD_REST_COPY    3


static void usherd_rest_say(usherd_slot_t *slot, uint64_t from,
    unsigned copy);
static int usherd_rest_slot(usherd_flush_t *f, usherd_slot_t *slot,
    const char *name);
static int usherd_rest_forked(usherd_flush_t *f, usherd_slot_t *slot,
    const char *name, uint64_t from);
static int usherd_rest_again(usherd_flush_t *f, usherd_slot_t *slot,
    const char *name, const usherd_entry_t *next);
static int usherd_rest_waits(usherd_flush_t *f);
static int usherd_rest_live(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_rest_done(usherd_flush_t *f, usherd_slot_t *slot,
    const char *name, const char *after);
static int usherd_rest_peek(usherd_flush_t *f, usherd_slot_t *slot,
    const char *prefix, const char *name, const char *after,
    usherd_entry_t *entry);
static void usherd_rest_note(usherd_slot_t *slot, const usherd_entry_t *next);
static void usherd_rest_id(char *text, uint64_t position, uint64_t minor);
static int usherd_rest_answer(usherd_slot_t *slot, usherd_reply_t *reply);
static void usherd_rest_refused(usherd_slot_t *slot, usherd_reply_t *reply);


/* The entry behind an id, or nil. */
#define USHERD_REST_AFTER                                                     \
    "local function after(key, id)\n"                                         \
    "    return redis.call('XRANGE', key, '(' .. id, '+', 'COUNT', 1)[1]\n"   \
    "end\n"

/*
 * Keys: stream, rest, set.
 * Arguments: name of the rest, the id up to which all is stored, that of the
 * entry which is in the way.
 *
 * Returns 0: it is not there any more, 1: the stream is put aside, 2: there
 * is a rest of that name, which has not all of it, 3: which has, it is gone.
 */
static const char  usherd_rest_script_aside[] =
    USHERD_REST_AFTER
    "local entry = after(KEYS[1], ARGV[2])\n"
    "if not entry or entry[1] ~= ARGV[3] then\n"
    "    return 0\n"
    "end\n"
    "redis.call('SADD', KEYS[3], ARGV[1])\n"
    "if redis.call('RENAMENX', KEYS[1], KEYS[2]) == 1 then\n"
    "    return 1\n"
    "end\n"
    "while entry do\n"
    "    local same = redis.call('XRANGE', KEYS[2], entry[1], entry[1])[1]\n"
    "    if not same or table.concat(same[2], ' ')\n"
    "                   ~= table.concat(entry[2], ' ')\n"
    "    then\n"
    "        return 2\n"
    "    end\n"
    "    entry = after(KEYS[1], entry[1])\n"
    "end\n"
    "redis.call('DEL', KEYS[1])\n"
    "return 3\n";

/*
 * Keys: stream, rest.
 * Arguments: the id up to which all is stored, that of a hole which the rest
 * is to come instead of, or "".
 * Returns 1 if it was copied.
 */
static const char  usherd_rest_script_again[] =
    USHERD_REST_AFTER
    "local entry = after(KEYS[1], ARGV[1])\n"
    "if entry and entry[1] ~= ARGV[2] then\n"
    "    return 0\n"
    "end\n"
    "return redis.call('COPY', KEYS[2], KEYS[1], 'REPLACE')\n";

/*
 * Keys: rest, set.  Arguments: name of the rest, the id up to which all is
 * stored.  Returns 1 if it is gone.
 */
static const char  usherd_rest_script_done[] =
    USHERD_REST_AFTER
    "if after(KEYS[1], ARGV[2]) then\n"
    "    return 0\n"
    "end\n"
    "redis.call('DEL', KEYS[1])\n"
    "redis.call('SREM', KEYS[2], ARGV[1])\n"
    "return 1\n";


int
usherd_flush_aside(usherd_flush_t *f, usherd_slot_t *slot)
{
    int             rc;
    char            after[USHERD_REST_ID], id[USHERD_REST_ID];
    char            name[USHERD_REST_NAME];
    unsigned        n;
    usherd_entry_t  first;

    usherd_rest_id(after, slot->position, usherd_flush_past(slot));

    rc = usherd_rest_peek(f, slot, USHER_STREAM_PREFIX, slot->id, after,
                          &first);

    if (rc != 1 || first.from <= slot->position) {
        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    usherd_rest_id(id, first.end, first.minor);
    snprintf(name, sizeof(name), "%s", slot->id);

    for (n = 2; /* void */ ; n++) {

        rc = usherd_rest_answer(slot, usherd_redis_format(f->redis,
                 "EVAL %s 3 " USHER_STREAM_PREFIX "%s " USHERD_REST_PREFIX
                 "%s " USHERD_REST " %s %s %s", usherd_rest_script_aside,
                 slot->id, name, name, after, id));

        if (rc != USHERD_REST_OTHER) {
            break;
        }

        snprintf(name, sizeof(name), "%s:%u", slot->id, n);
    }

    if (rc <= 0) {
        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    slot->rest_at = 0;
    usherd_rest_note(slot, &first);
    usherd_rest_say(slot, first.from, rc == USHERD_REST_COPY);

    return USHERD_OK;
}


static void
usherd_rest_say(usherd_slot_t *slot, uint64_t from, unsigned copy)
{
    const char  *what;

    what = copy ? "goes, for all of it was put aside before"
                : "is put aside, so that who has it can";

    if (slot->rest_from > slot->position) {
        usherd_log(USHERD_LOG_WARN, "slot %s: nobody sends what it has from "
                   "%llu to %llu; its stream %s", slot->id,
                   (unsigned long long) slot->position,
                   (unsigned long long) slot->rest_from, what);
        return;
    }

    usherd_log(USHERD_LOG_WARN, "slot %s: its stream goes on at %llu, and "
               "before that comes what was put aside; it %s", slot->id,
               (unsigned long long) from,
               copy ? what : "is put aside as well");
}


/*
 * Each tick: whether what was put aside can be copied back, or go.  Its edge
 * may have retired the slot meanwhile: it is ours until then.
 */

int
usherd_flush_rests(usherd_flush_t *f)
{
    int              rc;
    size_t           len;
    unsigned         i, k;
    const char      *name;
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

        /* no hole passes what may be there */

        for (i = 0; i < f->nslots; i++) {
            f->slots[i]->rest_data = 0;
        }

        return USHERD_OK;
    }

    f->rests_refused = 0;

    for (i = 0; i < f->nslots; i++) {
        f->slots[i]->rests = 0;
        f->slots[i]->rest_from = UINT64_MAX;
        f->slots[i]->rest_data = UINT64_MAX;
    }

    rc = USHERD_OK;

    for (k = 0; k < usherd_reply_count(reply) && rc == USHERD_OK; k++) {
        name = usherd_reply_text(usherd_reply_at(reply, k), &len);

        if (len < USHER_SLOT_TEXT
            || usher_slot_parse(name, USHER_SLOT_TEXT, bytes) != 0
            || (name[USHER_SLOT_TEXT] != '\0'
                && name[USHER_SLOT_TEXT] != ':'))
        {
            continue;
        }

        slot = usherd_flush_slot(f, name, USHER_SLOT_TEXT);
        slot->registered = usherd_now();

        if (slot->held && slot->loaded) {
            rc = usherd_rest_slot(f, slot, name);
        }
    }

    usherd_reply_free(reply);

    return rc == USHERD_OK ? usherd_rest_waits(f) : rc;
}


/* What all of them are behind with. */

static int
usherd_rest_waits(usherd_flush_t *f)
{
    unsigned        i, aside;
    usherd_slot_t  *slot;

    aside = 0;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];
        slot->rest_hole = 0;

        if (slot->rests == 0) {
            continue;
        }

        aside++;

        /* live: the operator has not skipped as far as that */

        if (slot->state == USHERD_SLOT_ENDED && !slot->forking
            && slot->rest_from > slot->position
            && slot->rest_from != UINT64_MAX
            && usherd_rest_live(f, slot) == USHERD_LOST)
        {
            return USHERD_LOST;
        }
    }

    usherd_set(flush_slots_aside, aside);

    return USHERD_OK;
}


static int
usherd_rest_slot(usherd_flush_t *f, usherd_slot_t *slot, const char *name)
{
    int             rc;
    char            after[USHERD_REST_ID];
    usherd_entry_t  next;

    /* an end at the position is none, where more follows */

    usherd_rest_id(after, slot->position, 1);

    rc = usherd_rest_peek(f, slot, USHERD_REST_PREFIX, name, after, &next);

    if (rc == 0) {
        rc = usherd_rest_done(f, slot, name, after);
        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    slot->rests++;

    if (rc < 0) {

        /* nothing passes what it may have */

        slot->rest_data = 0;
        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    if (slot->state == USHERD_SLOT_FORKED) {
        return usherd_rest_forked(f, slot, name, next.from);
    }

    usherd_rest_note(slot, &next);

    /* not before: whoever sends again deletes the copy */

    if (slot->state == USHERD_SLOT_STOPPED || next.from > slot->position) {
        return USHERD_OK;
    }

    /* nor is it an answer of him whose history is being compared */

    if (slot->forking
        && !(slot->fork_sure && slot->fork_agreed >= slot->position))
    {
        return USHERD_OK;
    }

    return usherd_rest_again(f, slot, name, &next);
}


/*
 * Of two histories it cannot be told whose this is, nor whether the edge has
 * it still, and sends it under another slot.  The operator sees to it.
 */

static int
usherd_rest_forked(usherd_flush_t *f, usherd_slot_t *slot, const char *name,
    uint64_t from)
{
    int   rc;
    char  all[USHERD_REST_ID];

    if (!slot->settled) {

        if (!slot->rest_kept) {
            slot->rest_kept = 1;

            usherd_log(USHERD_LOG_ALERT, "slot %s is forked, and what was put "
                       "aside of it, from %llu on, is kept in "
                       USHERD_REST_PREFIX "%s: see whether it is stored as "
                       "another slot, usherctl journal fork accept deletes "
                       "it", slot->id, (unsigned long long) from, name);
        }

        return USHERD_OK;
    }

    usherd_rest_id(all, UINT64_MAX, 0);

    rc = usherd_rest_done(f, slot, name, all);

    if (rc == 1) {
        usherd_log(USHERD_LOG_WARN, "slot %s: its fork was accepted, what was "
                   "put aside of it, from %llu on, is deleted", slot->id,
                   (unsigned long long) from);
    }

    return rc == USHERD_LOST ? rc : USHERD_OK;
}


/*
 * All that lies before it is stored.  Where the slot lives nothing tells that
 * its edge has done, but that nothing has been in the stream for a while: a
 * part may have been copied and stored before.  A hole is no reason to wait:
 * what the edge has lost is here.
 */

static int
usherd_rest_again(usherd_flush_t *f, usherd_slot_t *slot, const char *name,
    const usherd_entry_t *next)
{
    int             rc;
    char            after[USHERD_REST_ID], hole[USHERD_REST_ID];
    uint64_t        now;
    usherd_entry_t  first;

    now = usherd_now();
    hole[0] = '\0';

    usherd_rest_id(after, slot->position, usherd_flush_past(slot));

    rc = usherd_rest_peek(f, slot, USHER_STREAM_PREFIX, slot->id, after,
                          &first);
    if (rc < 0) {
        return rc == USHERD_LOST ? rc : USHERD_OK;
    }

    if (rc == 1 && slot->rest_hole != 0 && next->data != NULL) {
        usherd_rest_id(hole, slot->rest_hole, 0);

    } else if (rc == 1) {
        slot->rest_at = now + USHERD_REST_AGAIN;
        return USHERD_OK;

    } else {

        if (slot->rest_at == 0 && slot->state == USHERD_SLOT_LIVE
            && !slot->rechain)
        {
            slot->rest_at = now + USHERD_REST_AGAIN;
        }

        if (now < slot->rest_at) {
            return USHERD_OK;
        }
    }

    rc = usherd_rest_answer(slot, usherd_redis_format(f->redis,
             "EVAL %s 2 " USHER_STREAM_PREFIX "%s " USHERD_REST_PREFIX
             "%s %s %s", usherd_rest_script_again, slot->id, name, after,
             hole));

    if (rc == 1) {
        slot->rest_said = 0;
        slot->rest_at = now + USHERD_REST_AGAIN;

        usherd_log(USHERD_LOG_INFO, "slot %s: what was put aside of its "
                   "stream is there again", slot->id);
    }

    return rc == USHERD_LOST ? rc : USHERD_OK;
}


/*
 * The edge has sent all it has, and something is missing still.  A slot that
 * has ended cannot be skipped; this one has more.
 */

static int
usherd_rest_live(usherd_flush_t *f, usherd_slot_t *slot)
{
    int                  rc;
    char                 position[24];
    const char          *values[2];
    usherd_pg_result_t  *res;

    snprintf(position, sizeof(position), "%llu",
             (unsigned long long) slot->position);

    values[0] = slot->id;
    values[1] = position;

    rc = usherd_pg_query(f->pg, "UPDATE usher.journal SET state = 'live' "
                         "WHERE slot = $1 AND position = $2 "
                         "AND state = 'ended'", 2, values, &res);
    if (rc != USHERD_OK) {
        return rc;
    }

    rc = usherd_pg_affected(res) == 1;
    usherd_pg_free(res);

    if (!rc) {
        return USHERD_OK;
    }

    slot->state = USHERD_SLOT_LIVE;

    usherd_log(USHERD_LOG_ALERT, "slot %s: its edge has nothing from %llu to "
               "%llu, but Redis has what follows: usherctl journal skip goes "
               "on there", slot->id, (unsigned long long) slot->position,
               (unsigned long long) slot->rest_from);

    return USHERD_OK;
}


/* 1: it is gone. */

static int
usherd_rest_done(usherd_flush_t *f, usherd_slot_t *slot, const char *name,
    const char *after)
{
    int  rc;

    rc = usherd_rest_answer(slot, usherd_redis_format(f->redis,
             "EVAL %s 2 " USHERD_REST_PREFIX "%s " USHERD_REST " %s %s",
             usherd_rest_script_done, name, name, after));

    if (rc == 1) {
        slot->rest_said = 0;
        slot->rest_at = 0;
    }

    return rc;
}


/*
 * The first entry behind an id, as far as it can be read: what cannot is
 * judged when it comes up in the stream, and is not passed before.  1, or 0:
 * there is none, or USHERD_ERROR: Redis does not tell.
 */

static int
usherd_rest_peek(usherd_flush_t *f, usherd_slot_t *slot, const char *prefix,
    const char *name, const char *after, usherd_entry_t *entry)
{
    unsigned         n;
    usherd_reply_t  *reply;

    reply = usherd_redis_format(f->redis, "XRANGE %s%s (%s + COUNT 1", prefix,
                                name, after);

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
        entry->data = NULL;
    }

    usherd_reply_free(reply);

    return n > 0;
}


/* Where what was put aside goes on, and with lines: no hole passes these. */

static void
usherd_rest_note(usherd_slot_t *slot, const usherd_entry_t *next)
{
    if (next->from < slot->rest_from) {
        slot->rest_from = next->from;
    }

    if (next->data != NULL && next->from < slot->rest_data) {
        slot->rest_data = next->from;
        slot->rest_chain = next->chain;
    }
}


static void
usherd_rest_id(char *text, uint64_t position, uint64_t minor)
{
    snprintf(text, USHERD_REST_ID, "%llu-%llu", (unsigned long long) position,
             (unsigned long long) minor);
}


/* What a script says. */

static int
usherd_rest_answer(usherd_slot_t *slot, usherd_reply_t *reply)
{
    int  rc;

    if (reply == NULL) {
        return USHERD_LOST;
    }

    if (usherd_reply_type(reply) == USHERD_REPLY_ERROR) {
        usherd_rest_refused(slot, reply);
        rc = USHERD_ERROR;

    } else {
        rc = (int) usherd_reply_integer(reply);
    }

    usherd_reply_free(reply);

    return rc;
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
               "what was cannot be copied back or go; trying again, "
               "redis-users.conf has the rights it needs: %s", slot->id,
               usherd_reply_text(reply, NULL));
}
