/*
 * flush_verdict.c - what is done about a slot whose stream was not good.
 *
 * DESIGN
 *
 *     gap       ask for a rewind: the acknowledgement says "send again from
 *               here", with a nonce, once per nonce.  A new nonce is drawn
 *               when 5 s have passed without the resend.  Only a hole or the
 *               operator passes a gap, never time
 *     corrupt   the same; the stream is emptied, so that what comes next is
 *               the resend; corrupt again at the same place: stop
 *     fork      two histories: the slot is forked and stands still.  The
 *               edge is told how far they agree, and sends what lies above
 *               under another slot
 *     stop      stands still until the operator says otherwise
 *
 * How far two histories agree is found with usher.journal_mark, the earlier
 * positions and their chains: the chain of what is in the stream is carried
 * on to each mark and compared.  When the stream begins above the place, it
 * is asked for again from a mark further back, 1, 2, 4, ... marks.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"


#define USHERD_RESEND_MS    5000      /* until a new nonce is drawn */
#define USHERD_FORK_TRIES   6         /* nonces without an answer */


typedef struct {
    uint64_t   position;
    uint64_t   chain;
} usherd_mark_t;


/* What is known of a fork. */
typedef struct {
    usherd_mark_t  *marks;            /* ascending, the first is 0 */
    unsigned        nmarks;
    uint64_t        lowest;           /* where the stream's data begins */
    uint64_t        common;           /* the highest mark that agrees */
    unsigned        found:1;          /* common is set */
    unsigned        data:1;           /* lowest is set */
} usherd_fork_t;


static int usherd_verdict_slot(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_verdict_corrupt(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_verdict_rewind(usherd_flush_t *f, usherd_slot_t *slot,
    uint64_t position);
static int usherd_verdict_tell(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_verdict_state(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_slot_state_e state, const char *reason);
static int usherd_verdict_resent(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_verdict_again(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_fork(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_fork_marks(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork);
static int usherd_fork_scan(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork);
static void usherd_fork_compare(usherd_fork_t *fork,
    const usherd_entry_t *entry);
static int usherd_fork_back(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork);
static int usherd_fork_declare(usherd_flush_t *f, usherd_slot_t *slot,
    uint64_t common);


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

        return usherd_verdict_rewind(f, slot, slot->position);

    case USHERD_VERDICT_CORRUPT:
        return usherd_verdict_corrupt(f, slot);

    case USHERD_VERDICT_FORK:
        usherd_log(USHERD_LOG_WARN, "slot %s: %s; finding out how far they "
                   "agree", slot->id, slot->reason);
        slot->forking = 1;
        slot->fork_back = 1;
        slot->fork_tries = 0;
        return usherd_fork(f, slot);

    case USHERD_VERDICT_STOP:
        return usherd_verdict_state(f, slot, USHERD_SLOT_STOPPED,
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
        return usherd_verdict_state(f, slot, USHERD_SLOT_STOPPED,
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

    return usherd_verdict_rewind(f, slot, slot->position);
}


static int
usherd_verdict_rewind(usherd_flush_t *f, usherd_slot_t *slot,
    uint64_t position)
{
    slot->nonce = usherd_random();
    slot->rewind_to = position;
    slot->rewind_at = usherd_now();

    usherd_count(flush_rewinds);

    return usherd_verdict_tell(f, slot);
}


static int
usherd_verdict_tell(usherd_flush_t *f, usherd_slot_t *slot)
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


/* Forked or stopped, in PostgreSQL first. */

static int
usherd_verdict_state(usherd_flush_t *f, usherd_slot_t *slot,
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

    return usherd_verdict_tell(f, slot);
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
            rc = usherd_fork(f, slot);

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

    reply = usherd_redis_format(f->redis, "XREAD COUNT 1 STREAMS "
                                USHER_STREAM_PREFIX "%s %llu-0", slot->id,
                                (unsigned long long) slot->rewind_to);
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

    if (slot->forking && ++slot->fork_tries >= USHERD_FORK_TRIES) {
        return usherd_fork(f, slot);
    }

    return usherd_verdict_rewind(f, slot, slot->rewind_to);
}


static int
usherd_fork(usherd_flush_t *f, usherd_slot_t *slot)
{
    int            rc;
    usherd_fork_t  fork;

    memset(&fork, 0, sizeof(usherd_fork_t));

    rc = usherd_fork_marks(f, slot, &fork);

    if (rc == USHERD_OK) {
        rc = usherd_fork_scan(f, slot, &fork);
    }

    if (rc == USHERD_OK) {
        rc = fork.found ? usherd_fork_declare(f, slot, fork.common)
                        : usherd_fork_back(f, slot, &fork);
    }

    free(fork.marks);

    return rc;
}


static int
usherd_fork_marks(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork)
{
    int                  rc;
    char                 position[24];
    unsigned             i, n;
    const char          *values[2];
    usherd_pg_result_t  *res;

    snprintf(position, sizeof(position), "%llu",
             (unsigned long long) slot->position);

    values[0] = slot->id;
    values[1] = position;

    rc = usherd_pg_query(f->pg, "SELECT position, chain FROM "
                         "usher.journal_mark WHERE slot = $1 AND "
                         "position < $2 AND position > 0 ORDER BY position",
                         2, values, &res);
    if (rc != USHERD_OK) {
        return rc;
    }

    n = usherd_pg_rows(res);
    fork->marks = calloc(n + 1, sizeof(usherd_mark_t));

    if (fork->marks == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    /* nothing has chain 0, in any history */

    for (i = 0; i < n; i++) {
        fork->marks[i + 1].position = usherd_pg_number(res, i, 0);
        fork->marks[i + 1].chain = usherd_pg_number(res, i, 1);
    }

    fork->nmarks = n + 1;
    usherd_pg_free(res);

    return USHERD_OK;
}


/* All of the stream up to the position. */

static int
usherd_fork_scan(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork)
{
    unsigned               i, n;
    uint64_t               after, minor;
    const char            *wrong;
    usherd_entry_t         entry;
    usherd_reply_t        *reply;
    const usherd_reply_t  *list;

    after = 0;
    minor = 0;

    do {
        reply = usherd_redis_format(f->redis, "XREAD COUNT 64 STREAMS "
                                    USHER_STREAM_PREFIX "%s %llu-%llu",
                                    slot->id, (unsigned long long) after,
                                    (unsigned long long) minor);
        if (reply == NULL) {
            return USHERD_LOST;
        }

        n = 0;

        if (usherd_reply_count(reply) == 1) {
            list = usherd_reply_at(usherd_reply_at(reply, 0), 1);
            n = usherd_reply_count(list);

            for (i = 0; i < n; i++) {

                wrong = usherd_flush_parse(usherd_reply_at(list, i), &entry);

                /* also of one that is not ours: or it came for ever */

                after = entry.end;
                minor = entry.minor;

                if (wrong == NULL && entry.data != NULL) {
                    usherd_fork_compare(fork, &entry);
                }
            }
        }

        usherd_reply_free(reply);

    } while (n > 0 && after < slot->position);

    return USHERD_OK;
}


static void
usherd_fork_compare(usherd_fork_t *fork, const usherd_entry_t *entry)
{
    unsigned        i;
    uint64_t        chain, at;
    usherd_mark_t  *mark;

    if (!fork->data) {
        fork->data = 1;
        fork->lowest = entry->from;
    }

    at = entry->from;
    chain = entry->chain;

    for (i = 0; i < fork->nmarks; i++) {
        mark = &fork->marks[i];

        if (mark->position < entry->from) {
            continue;
        }

        if (mark->position > entry->end) {
            break;
        }

        chain = usher_crc64(chain, entry->data + (at - entry->from),
                            mark->position - at);
        at = mark->position;

        if (chain == mark->chain) {
            fork->found = 1;
            fork->common = mark->position;
        }
    }
}


/* Nothing in the stream agrees: ask for what lies before it. */

static int
usherd_fork_back(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork)
{
    unsigned  i;

    /* the marks that the stream did not reach */

    for (i = fork->nmarks; i > 1; i--) {
        if (!fork->data || fork->marks[i - 1].position < fork->lowest) {
            break;
        }
    }

    if (slot->fork_tries >= USHERD_FORK_TRIES || i == 0
        || (fork->data && fork->lowest == 0))
    {
        usherd_log(USHERD_LOG_WARN, "slot %s: the edge does not send what "
                   "would tell, taking the last mark before it", slot->id);

        return usherd_fork_declare(f, slot, i ? fork->marks[i - 1].position
                                              : 0);
    }

    i = i > slot->fork_back ? i - slot->fork_back : 0;
    slot->fork_back *= 2;

    return usherd_verdict_rewind(f, slot, fork->marks[i].position);
}


static int
usherd_fork_declare(usherd_flush_t *f, usherd_slot_t *slot, uint64_t common)
{
    char  reason[USHERD_FLUSH_REASON];

    snprintf(reason, sizeof(reason), USHERD_FLUSH_FORKED,
             (unsigned long long) common);

    slot->fork_common = common;

    return usherd_verdict_state(f, slot, USHERD_SLOT_FORKED, reason);
}
