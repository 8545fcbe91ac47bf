/*
 * flush_slot.c - which slots there are, which of them this process flushes,
 * where they stand, and telling the edges.
 *
 * DESIGN
 *
 * Slots are found in usher:slots.  A slot is flushed by whoever holds its
 * lease, and the processes share the slots evenly: each shows its presence by
 * a lease of its own, takes free slots up to its share and gives back what it
 * has above.  Leases only save work: two that flush one slot are stopped by
 * the position, which one of them finds moved.
 *
 * A slot's row in usher.journal is made at first sight and never deleted.
 */


#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"


#define USHERD_FLUSH_FORGET  600000   /* msec unregistered until forgotten */
#define USHERD_FLUSH_RETIRE  2000     /* the same for a slot that has ended */


static void usherd_flush_seen(usherd_flush_t *f, const char *id,
    const char *json, size_t len);
static int usherd_flush_forget(usherd_flush_t *f);
static int usherd_flush_answers(usherd_flush_t *f, unsigned n);
static int usherd_flush_share(usherd_flush_t *f, unsigned *share);
static int usherd_flush_take_leases(usherd_flush_t *f, unsigned share);
static int usherd_flush_drop_leases(usherd_flush_t *f, unsigned share);
static int usherd_flush_known(usherd_flush_t *f);
static void usherd_flush_loaded(usherd_slot_t *slot,
    usherd_pg_result_t *res, unsigned row);
static void usherd_flush_gauges(usherd_flush_t *f);


int
usherd_flush_discover(usherd_flush_t *f)
{
    size_t           len, n;
    unsigned         i;
    const char      *id, *json;
    usherd_reply_t  *reply;

    reply = usherd_redis_format(f->redis, "HGETALL " USHER_SLOTS);

    if (reply == NULL) {
        return USHERD_LOST;
    }

    if (usherd_reply_type(reply) == USHERD_REPLY_ERROR) {

        if (!f->failing) {
            usherd_log(USHERD_LOG_ERROR, "Redis refuses " USHER_SLOTS
                       ": %s; trying again", usherd_reply_text(reply, NULL));
        }

        f->failing = 1;
        usherd_reply_free(reply);

        return USHERD_ERROR;
    }

    for (i = 0; i < f->nslots; i++) {
        f->slots[i]->listed = 0;
    }

    for (i = 0; i + 1 < usherd_reply_count(reply); i += 2) {

        id = usherd_reply_text(usherd_reply_at(reply, i), &len);
        json = usherd_reply_text(usherd_reply_at(reply, i + 1), &n);

        if (len == USHER_SLOT_TEXT) {
            usherd_flush_seen(f, id, json, n);

        } else if (f->wrong_names++ == 0) {
            usherd_log(USHERD_LOG_WARN, "a field of " USHER_SLOTS " is no "
                       "slot: \"%.40s\"; left alone", id);
        }
    }

    usherd_reply_free(reply);

    return usherd_flush_forget(f);
}


static void
usherd_flush_seen(usherd_flush_t *f, const char *id, const char *json,
    size_t len)
{
    json_t         *root;
    unsigned char   bytes[USHER_SLOT_ID];
    const char     *node;
    usherd_slot_t  *slot;

    if (usher_slot_parse(id, USHER_SLOT_TEXT, bytes) != 0) {
        return;
    }

    slot = usherd_flush_slot(f, id, USHER_SLOT_TEXT);
    slot->registered = usherd_now();
    slot->listed = 1;

    if (slot->node[0] != '\0') {
        return;
    }

    root = json_loadb(json, len, 0, NULL);
    node = json_string_value(json_object_get(root, "node"));

    /* for information only; jansson has seen to its UTF-8 */

    if (node != NULL && strlen(node) < sizeof(slot->node)) {
        memcpy(slot->node, node, strlen(node) + 1);
    }

    json_decref(root);
}


usherd_slot_t *
usherd_flush_slot(usherd_flush_t *f, const char *id, size_t len)
{
    size_t          room;
    unsigned        i;
    usherd_slot_t  *slot;

    for (i = 0; i < f->nslots; i++) {
        if (memcmp(f->slots[i]->id, id, len) == 0) {
            return f->slots[i];
        }
    }

    room = f->slots_room;
    f->slots = usherd_flush_grow(f->slots, sizeof(usherd_slot_t *),
                                 f->nslots, &room);
    f->slots_room = (unsigned) room;

    slot = calloc(1, sizeof(usherd_slot_t));

    if (slot == NULL || f->nslots == UINT16_MAX) {
        usherd_log(USHERD_LOG_ALERT, "out of memory, or too many slots");
        abort();
    }

    memcpy(slot->id, id, len);
    slot->nonce = usherd_random();
    slot->rest_from = UINT64_MAX;
    slot->rest_data = UINT64_MAX;

    f->slots[f->nslots++] = slot;

    return slot;
}


/*
 * A slot that has ended, or whose fork was mended, goes when its edge has
 * taken it out of the registry, and its acknowledgement, which nobody reads
 * any more, with it.
 */

static int
usherd_flush_forget(usherd_flush_t *f)
{
    uint64_t         age;
    unsigned         i;
    usherd_slot_t   *slot;
    usherd_reply_t  *reply;

    for (i = 0; i < f->nslots; /* void */ ) {
        slot = f->slots[i];
        age = usherd_now() - slot->registered;

        if (slot->held
            && (slot->state == USHERD_SLOT_ENDED
                || slot->state == USHERD_SLOT_FORKED)
            && age >= USHERD_FLUSH_RETIRE)
        {
            reply = usherd_redis_format(f->redis, "DEL " USHER_ACK_PREFIX
                                        "%s", slot->id);
            if (reply == NULL) {
                return USHERD_LOST;
            }

            usherd_reply_free(reply);

        } else if (age < USHERD_FLUSH_FORGET) {
            i++;
            continue;
        }

        /* its lease ends by itself */

        f->slots[i] = f->slots[--f->nslots];
        free(slot);
    }

    return USHERD_OK;
}


int
usherd_flush_claim(usherd_flush_t *f)
{
    int       rc;
    uint64_t  now;
    unsigned  i, share, free_slots;

    now = usherd_now();
    free_slots = 0;

    for (i = 0; i < f->nslots; i++) {
        free_slots += !f->slots[i]->held;
    }

    if (now < f->renew && free_slots == 0) {
        return USHERD_OK;
    }

    rc = usherd_flush_known(f);
    if (rc != USHERD_OK) {
        return rc;
    }

    rc = usherd_flush_share(f, &share);
    if (rc != USHERD_OK) {
        return rc;
    }

    rc = usherd_flush_take_leases(f, share);
    if (rc != USHERD_OK) {
        return rc;
    }

    rc = usherd_flush_drop_leases(f, share);
    if (rc != USHERD_OK) {
        return rc;
    }

    f->renew = now + f->conf->lease_s * 1000 / 3;

    return USHERD_OK;
}


/* Rows of slots seen for the first time. */

static int
usherd_flush_known(usherd_flush_t *f)
{
    int             rc;
    unsigned        i;
    const char     *values[2];
    usherd_slot_t  *slot;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];

        if (slot->known) {
            continue;
        }

        values[0] = slot->id;
        values[1] = slot->node[0] ? slot->node : NULL;

        rc = usherd_pg_query(f->pg, "INSERT INTO usher.journal (slot, node) "
                             "VALUES ($1, $2) ON CONFLICT DO NOTHING", 2,
                             values, NULL);
        if (rc != USHERD_OK) {
            return rc;
        }

        slot->known = 1;
    }

    return USHERD_OK;
}


/* How many slots each living process should have, and our own presence. */

static int
usherd_flush_share(usherd_flush_t *f, unsigned *share)
{
    int                  rc;
    char                 name[USHERD_OWNER + 16];
    uint64_t             processes;
    usherd_pg_result_t  *res;

    snprintf(name, sizeof(name), "flush:%s", f->conf->owner);

    rc = usherd_pg_lease(f->pg, f->conf, name, NULL);
    if (rc < 0) {
        return rc;
    }

    rc = usherd_pg_query(f->pg, "SELECT count(*) FROM usher.lease "
                         "WHERE name LIKE 'flush:%' AND owner <> '' "
                         "AND until > clock_timestamp()", 0, NULL, &res);
    if (rc != USHERD_OK) {
        return rc;
    }

    processes = usherd_pg_number(res, 0, 0);
    usherd_pg_free(res);

    if (processes == 0) {
        processes = 1;
    }

    *share = (unsigned) ((f->nslots + processes - 1) / processes);

    return USHERD_OK;
}


/* Extends what we hold and takes what is free, up to our share. */

static int
usherd_flush_take_leases(usherd_flush_t *f, unsigned share)
{
    int                  rc;
    char                 seconds[24], number[16];
    unsigned             i, row, was;
    const char          *values[4];
    usherd_slot_t       *slot;
    usherd_array_t       ids;
    usherd_pg_result_t  *res;

    memset(&ids, 0, sizeof(usherd_array_t));

    for (i = 0; i < f->nslots; i++) {
        usherd_array_add(&ids, f->slots[i]->id);
    }

    snprintf(seconds, sizeof(seconds), "%llu",
             (unsigned long long) f->conf->lease_s);
    snprintf(number, sizeof(number), "%u", share);

    values[0] = usherd_array_end(&ids);
    values[1] = f->conf->owner;
    values[2] = seconds;
    values[3] = number;

    /* our own first, then free ones */

    rc = usherd_pg_query(f->pg,
             "WITH s AS (SELECT u.id, l.owner = $2 AS ours "
             "FROM unnest($1::text[]) AS u(id) LEFT JOIN usher.lease l "
             "ON l.name = 'slot:' || u.id AND l.owner <> '' "
             "AND l.until > clock_timestamp() "
             "WHERE l.owner IS NULL OR l.owner = $2), "
             "p AS (SELECT id, ours, row_number() OVER "
             "(ORDER BY ours DESC NULLS LAST, id) AS n FROM s) "
             "SELECT id FROM p WHERE (ours OR n <= $4::int) "
             "AND usher.lease_take('slot:' || id, $2, $3::int) IS NOT NULL",
             4, values, &res);

    usherd_array_free(&ids);

    if (rc != USHERD_OK) {
        return rc;
    }

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];
        was = slot->held;
        slot->held = 0;

        for (row = 0; row < usherd_pg_rows(res); row++) {
            if (strcmp(usherd_pg_value(res, row, 0), slot->id) == 0) {
                slot->held = 1;
                break;
            }
        }

        if (!slot->held || !was) {
            slot->loaded = 0;
            slot->rewind_at = 0;
            slot->forking = 0;
        }
    }

    usherd_pg_free(res);

    return USHERD_OK;
}


static int
usherd_flush_drop_leases(usherd_flush_t *f, unsigned share)
{
    int             rc;
    char            name[USHERD_FLUSH_TEXT];
    unsigned        i, held;
    const char     *values[2];
    usherd_slot_t  *slot;

    held = 0;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];
        held += slot->held;

        if (!slot->held || held <= share) {
            continue;
        }

        snprintf(name, sizeof(name), "slot:%s", slot->id);
        values[0] = name;
        values[1] = f->conf->owner;

        rc = usherd_pg_query(f->pg, "SELECT usher.lease_drop($1, $2)", 2,
                             values, NULL);
        if (rc != USHERD_OK) {
            return rc;
        }

        slot->held = 0;
        slot->loaded = 0;
    }

    return USHERD_OK;
}


/* Where our slots stand: PostgreSQL is believed, memory is not. */

int
usherd_flush_load(usherd_flush_t *f)
{
    int                  rc;
    unsigned             i, row;
    const char          *values[1];
    usherd_slot_t       *slot;
    usherd_array_t       ids;
    usherd_pg_result_t  *res;

    memset(&ids, 0, sizeof(usherd_array_t));

    for (i = 0; i < f->nslots; i++) {
        if (f->slots[i]->held) {
            usherd_array_add(&ids, f->slots[i]->id);
        }
    }

    if (ids.len == 0) {
        usherd_flush_gauges(f);
        return USHERD_OK;
    }

    values[0] = usherd_array_end(&ids);

    rc = usherd_pg_query(f->pg,
             "SELECT replace(j.slot::text, '-', ''), j.position, j.chain, "
             "j.state, j.rechain, j.reason, s.slot IS NOT NULL "
             "FROM usher.journal j LEFT JOIN usher.settled s USING (slot) "
             "WHERE j.slot = ANY ($1::uuid[])",
             1, values, &res);

    usherd_array_free(&ids);

    if (rc != USHERD_OK) {
        return rc;
    }

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];

        /* a restored database does not know what was seen since */

        if (slot->held) {
            slot->held = 0;
            slot->known = 0;

            for (row = 0; row < usherd_pg_rows(res); row++) {
                if (strcmp(usherd_pg_value(res, row, 0), slot->id) == 0) {
                    slot->held = 1;
                    slot->known = 1;
                    usherd_flush_loaded(slot, res, row);
                    break;
                }
            }
        }
    }

    usherd_pg_free(res);
    usherd_flush_gauges(f);

    return USHERD_OK;
}


static void
usherd_flush_loaded(usherd_slot_t *slot, usherd_pg_result_t *res,
    unsigned row)
{
    uint64_t             position, common;
    const char          *state, *reason;
    usherd_slot_state_e  was;

    was = slot->state;
    position = usherd_pg_number(res, row, 1);
    state = usherd_pg_value(res, row, 3);
    reason = usherd_pg_value(res, row, 5);

    if (position < slot->position) {
        usherd_log(USHERD_LOG_WARN, "slot %s stands at %llu and stood at "
                   "%llu: PostgreSQL was restored; reading again from there",
                   slot->id, (unsigned long long) position,
                   (unsigned long long) slot->position);
    }

    if (position != slot->position) {
        slot->rewind_at = 0;
        slot->forking = 0;
    }

    slot->position = position;
    slot->chain = usherd_pg_number(res, row, 2);
    slot->rechain = usherd_pg_value(res, row, 4)[0] == 't';
    slot->settled = usherd_pg_value(res, row, 6)[0] == 't';

    if (state[0] == 'l') {
        slot->state = USHERD_SLOT_LIVE;

    } else if (state[0] == 'e') {
        slot->state = USHERD_SLOT_ENDED;

    } else if (state[0] == 'f') {
        slot->state = USHERD_SLOT_FORKED;

        /* the reason is where this is kept over a restart */

        if (reason != NULL
            && sscanf(reason, USHERD_FLUSH_FORKED, (unsigned long long *)
                      (void *) &common) == 1)
        {
            slot->fork_common = common;
        }

    } else {
        slot->state = USHERD_SLOT_STOPPED;
    }

    if (slot->loaded && was != USHERD_SLOT_LIVE
        && slot->state == USHERD_SLOT_LIVE)
    {
        usherd_log(USHERD_LOG_INFO, "slot %s is live again at %llu",
                   slot->id, (unsigned long long) position);
        slot->corrupt_at = 0;
        slot->poisoned = 0;
        slot->seen = 0;
    }

    slot->loaded = 1;
    slot->next = slot->position;
    slot->next_chain = slot->chain;
    slot->next_rechain = slot->rechain;
}


static void
usherd_flush_gauges(usherd_flush_t *f)
{
    unsigned        i, held, forked, stopped;
    usherd_slot_t  *slot;

    held = forked = stopped = 0;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];

        if (slot->held) {
            held++;
            forked += (slot->state == USHERD_SLOT_FORKED && !slot->settled);
            stopped += slot->state == USHERD_SLOT_STOPPED;
        }
    }

    usherd_set(flush_slots, held);
    usherd_set(flush_slots_forked, forked);
    usherd_set(flush_slots_stopped, stopped);
}


/* Of those whose position moved, after COMMIT; or of all we hold. */

int
usherd_flush_acknowledge(usherd_flush_t *f, int all)
{
    int             rc;
    unsigned        i, n;
    usherd_slot_t  *slot;

    n = 0;

    for (i = 0; i < f->nslots; i++) {
        slot = f->slots[i];

        if (!slot->held || !slot->loaded || !(all || slot->stored)) {
            continue;
        }

        if (usherd_flush_ack(f, slot) != USHERD_OK) {
            return USHERD_LOST;
        }

        n++;

        /* what is resent below the position is not to be lost again */

        if (slot->rewind_at != 0 || slot->state == USHERD_SLOT_FORKED) {
            continue;
        }

        /* the end entry has the id <position>-1 */

        rc = usherd_redis_append_format(f->redis,
                 "XTRIM " USHER_STREAM_PREFIX "%s MINID %llu-%d", slot->id,
                 (unsigned long long) slot->position,
                 slot->state == USHERD_SLOT_ENDED ? 2 : 1);

        if (rc != USHERD_OK) {
            return USHERD_LOST;
        }

        n++;
    }

    return usherd_flush_answers(f, n);
}


static int
usherd_flush_answers(usherd_flush_t *f, unsigned n)
{
    unsigned         refused;
    usherd_reply_t  *reply;

    refused = 0;

    while (n-- > 0) {
        reply = usherd_redis_reply(f->redis);

        if (reply == NULL) {
            return USHERD_LOST;
        }

        if (usherd_reply_type(reply) == USHERD_REPLY_ERROR) {
            refused = 1;

            if (!f->refused) {
                usherd_log(USHERD_LOG_ERROR, "Redis refuses an "
                           "acknowledgement: %s; stating it again each 5 s",
                           usherd_reply_text(reply, NULL));
            }

            f->refused = 1;
        }

        usherd_reply_free(reply);
    }

    f->refused = refused;

    return USHERD_OK;
}


/* Queues the SET; its reply is to be read. */

int
usherd_flush_ack(usherd_flush_t *f, usherd_slot_t *slot)
{
    char         text[USHER_ACK_TEXT], key[USHERD_FLUSH_TEXT];
    const char  *argv[3];
    usher_ack_t  ack;

    ack.position = slot->position;
    ack.nonce = slot->nonce;
    ack.state = USHER_ACK_OK;

    if (slot->state == USHERD_SLOT_FORKED) {
        ack.position = slot->fork_common;
        ack.state = USHER_ACK_FORKED;

    } else if (slot->rewind_at != 0) {
        ack.position = slot->rewind_to;
        ack.state = USHER_ACK_REWIND;
    }

    usher_ack_text(&ack, text);
    snprintf(key, sizeof(key), USHER_ACK_PREFIX "%s", slot->id);

    argv[0] = "SET";
    argv[1] = key;
    argv[2] = text;

    return usherd_redis_append(f->redis, 3, argv, NULL);
}


void
usherd_array_add(usherd_array_t *a, const char *text)
{
    size_t  len;

    len = strlen(text);

    while (a->len + len + 3 > a->room) {
        a->text = usherd_flush_grow(a->text, 1, a->room, &a->room);
    }

    a->text[a->len] = a->len == 0 ? '{' : ',';
    memcpy(a->text + a->len + 1, text, len);
    a->len += len + 1;
}


const char *
usherd_array_end(usherd_array_t *a)
{
    if (a->len == 0) {
        return "{}";
    }

    a->text[a->len] = '}';
    a->text[a->len + 1] = '\0';

    return a->text;
}


void
usherd_array_number(usherd_array_t *a, int64_t n)
{
    char  text[24];

    snprintf(text, sizeof(text), "%lld", (long long) n);
    usherd_array_add(a, text);
}


void
usherd_array_free(usherd_array_t *a)
{
    free(a->text);
    memset(a, 0, sizeof(usherd_array_t));
}
