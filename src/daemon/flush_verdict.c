/*
 * flush_verdict.c - what is done about a slot whose stream was not good.
 *
 * DESIGN
 *
 *     gap       ask for a rewind: the acknowledgement says "send again from
 *               here", with a nonce, once per nonce.  A new nonce is drawn
 *               when 5 s have passed without the resend, and a stream that
 *               is in its way is put aside (flush_rest.c).  Only a hole or
 *               the operator passes a gap, never time
 *     corrupt   the same; the stream is emptied, so that what comes next is
 *               the resend; corrupt again at the same place: stop
 *     fork      two histories: the slot is forked and stands still.  The
 *               edge is told how far they agree, and sends what lies above
 *               under another slot
 *     stop      stands still until the operator says otherwise
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"


#define USHERD_RESEND_MS    5000      /* until a new nonce is drawn */


static int usherd_verdict_slot(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_verdict_corrupt(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_verdict_resent(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_verdict_again(usherd_flush_t *f, usherd_slot_t *slot);


int
usherd_flush_judge(usherd_flush_t *f)
{
    int             rc;
    unsigned        i;
    usherd_slot_t  *slot;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];

        if (slot->verdict == USHERD_VERDICT_NONE || !slot->loaded) {
            continue;
        }

        rc = usherd_verdict_slot(f, slot);
        slot->verdict = USHERD_VERDICT_NONE;

        if (rc != USHERD_OK) {
            return rc;
        }
    }

    return USHERD_OK;
}


static int
usherd_verdict_slot(usherd_flush_t *f, usherd_slot_t *slot)
{
    switch (slot->verdict) {

    case USHERD_VERDICT_GAP:

        if (slot->rewind_said != slot->position + 1) {
            slot->rewind_said = slot->position + 1;
            usherd_log(USHERD_LOG_WARN, "slot %s stands at %llu, but its %s: "
                       "asking for it again", slot->id,
                       (unsigned long long) slot->position, slot->reason);
        }

        return usherd_flush_rewind(f, slot, slot->position);

    case USHERD_VERDICT_CORRUPT:
        return usherd_verdict_corrupt(f, slot);

    case USHERD_VERDICT_FORK:
        usherd_log(USHERD_LOG_WARN, "slot %s: %s; finding out how far they "
                   "agree", slot->id, slot->reason);
        slot->forking = 1;
        slot->fork_back = 1;
        slot->fork_tries = 0;
        slot->fork_sure = 0;
        slot->fork_whole = 0;
        return usherd_flush_fork(f, slot);

    case USHERD_VERDICT_STOP:
        return usherd_flush_settle(f, slot, USHERD_SLOT_STOPPED,
                                   slot->reason);

    default:
        return USHERD_OK;
    }
}


static int
usherd_verdict_corrupt(usherd_flush_t *f, usherd_slot_t *slot)
{
    usherd_reply_t  *reply;

    usherd_count(flush_corrupt);

    if (slot->corrupt_at == slot->position + 1) {
        return usherd_flush_settle(f, slot, USHERD_SLOT_STOPPED,
                                   slot->reason);
    }

    slot->corrupt_at = slot->position + 1;

    usherd_log(USHERD_LOG_ERROR, "slot %s: %s: asking for it again", slot->id,
               slot->reason);

    reply = usherd_redis_format(f->redis, "XTRIM " USHER_STREAM_PREFIX
                                "%s MAXLEN 0", slot->id);
    if (reply == NULL) {
        return USHERD_LOST;
    }

    usherd_reply_free(reply);

    return usherd_flush_rewind(f, slot, slot->position);
}


int
usherd_flush_rewind(usherd_flush_t *f, usherd_slot_t *slot,
    uint64_t position)
{
    slot->nonce = usherd_random();
    slot->rewind_to = position;
    slot->rewind_at = usherd_now();

    usherd_count(flush_rewinds);

    return usherd_flush_tell(f, slot);
}


int
usherd_flush_tell(usherd_flush_t *f, usherd_slot_t *slot)
{
    usherd_reply_t  *reply;

    if (usherd_flush_ack(f, slot) != USHERD_OK) {
        return USHERD_LOST;
    }

    reply = usherd_redis_reply(f->redis);

    if (reply == NULL) {
        return USHERD_LOST;
    }

    usherd_reply_free(reply);

    return USHERD_OK;
}


int
usherd_flush_settle(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_slot_state_e state, const char *reason)
{
    int                  rc;
    char                 position[24];
    const char          *values[4];
    usherd_pg_result_t  *res;

    snprintf(position, sizeof(position), "%llu",
             (unsigned long long) slot->position);

    values[0] = slot->id;
    values[1] = position;
    values[2] = state == USHERD_SLOT_FORKED ? "forked" : "stopped";
    values[3] = reason;

    rc = usherd_pg_query(f->pg, "UPDATE usher.journal SET state = $3, "
                         "reason = $4 WHERE slot = $1 AND position = $2 "
                         "AND state IN ('live', 'ended')", 4, values, &res);
    if (rc != USHERD_OK) {
        return rc;
    }

    if (usherd_pg_affected(res) != 1) {
        usherd_pg_free(res);
        slot->loaded = 0;
        f->tick = 0;
        return USHERD_OK;
    }

    usherd_pg_free(res);

    slot->state = state;
    slot->rewind_at = 0;
    slot->forking = 0;

    if (state == USHERD_SLOT_FORKED) {
        usherd_count(flush_forks);
        usherd_log(USHERD_LOG_ALERT, "slot %s is forked at %llu: %s; the edge "
                   "sends what lies above under another slot", slot->id,
                   (unsigned long long) slot->position, reason);
    } else {
        usherd_count(flush_stops);
        usherd_log(USHERD_LOG_ALERT, "slot %s is stopped at %llu: %s; see "
                   "usherctl journal list, then journal resume or skip",
                   slot->id, (unsigned long long) slot->position, reason);
    }

    return usherd_flush_tell(f, slot);
}


int
usherd_flush_rewinds(usherd_flush_t *f)
{
    int             rc;
    unsigned        i;
    usherd_slot_t  *slot;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];

        if (!slot->held || !slot->loaded || slot->rewind_at == 0) {
            continue;
        }

        rc = usherd_verdict_resent(f, slot);

        if (rc == USHERD_LOST) {
            return rc;
        }

        if (rc == 0) {
            rc = usherd_verdict_again(f, slot);

        } else if (slot->forking) {
            rc = usherd_flush_fork(f, slot);

        } else {
            slot->rewind_at = 0;
            rc = USHERD_OK;
        }

        if (rc != USHERD_OK) {
            return rc;
        }
    }

    return USHERD_OK;
}


/* 1: the stream now has what follows rewind_to. */

static int
usherd_verdict_resent(usherd_flush_t *f, usherd_slot_t *slot)
{
    int                    found;
    usherd_entry_t         entry;
    usherd_reply_t        *reply;
    const usherd_reply_t  *list;

    /* an end that was read is no answer */

    reply = usherd_redis_format(f->redis, "XREAD COUNT 1 STREAMS "
                                USHER_STREAM_PREFIX "%s %llu-%d", slot->id,
                                (unsigned long long) slot->rewind_to,
                                usherd_flush_past(slot));
    if (reply == NULL) {
        return USHERD_LOST;
    }

    found = 0;

    if (usherd_reply_count(reply) == 1) {
        list = usherd_reply_at(usherd_reply_at(reply, 0), 1);

        /* what cannot be read is judged when it is read */

        found = usherd_reply_count(list) == 1
                && (usherd_flush_parse(usherd_reply_at(list, 0), &entry)
                    != NULL
                    || entry.from <= slot->rewind_to);
    }

    usherd_reply_free(reply);

    return found;
}


static int
usherd_verdict_again(usherd_flush_t *f, usherd_slot_t *slot)
{
    if (usherd_now() - slot->rewind_at < USHERD_RESEND_MS) {
        return USHERD_OK;
    }

    if (!slot->forking && usherd_flush_aside(f, slot) != USHERD_OK) {
        return USHERD_LOST;
    }

    return usherd_flush_rewind(f, slot, slot->rewind_to);
}
