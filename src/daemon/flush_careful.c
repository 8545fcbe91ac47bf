/*
 * flush_careful.c - one slot's part of a batch, when there is poison in it.
 *
 * DESIGN
 *
 * The lines of a kind are COPYed under a savepoint; where that fails with
 * class 22 or 23 they are halved, until one line stands alone: that is a row
 * of usher.quarantine, as bytes, with the reason.  Quarantine, rows, sums and
 * position are one transaction, so a line is in exactly one of the places.
 *
 * More than one line in a hundred is not an accident of one client but of
 * ours: the slot stops, and a person looks.  So it does when a class 22 or 23
 * comes from anything but a line: it would come again for ever.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"


#define USHERD_POISON_FEW   10        /* never stop a slot for so few */


static int usherd_careful_kind(usherd_flush_t *f, unsigned slot,
    unsigned kind, uint32_t *index);
static int usherd_careful_range(usherd_flush_t *f, unsigned kind,
    const uint32_t *index, size_t n);
static int usherd_careful_line(usherd_flush_t *f, uint32_t line,
    const char *sqlstate, const char *reason);
static int usherd_careful_sum(usherd_flush_t *f, unsigned slot);
static int usherd_careful_quarantine(usherd_flush_t *f, unsigned slot);


int
usherd_flush_careful(usherd_flush_t *f, unsigned slot)
{
    int              rc;
    size_t           i;
    uint32_t        *index;
    unsigned         kind;
    usherd_slot_t   *s;

    s = f->slots[slot];
    s->losers = 0;
    f->npoison = 0;

    for (i = 0; i < f->nlines; i++) {
        if (f->lines[i].slot == slot) {
            f->lines[i].bad = 0;
        }
    }

    rc = usherd_flush_run(f, "BEGIN");
    if (rc != USHERD_OK) {
        return rc;
    }

    /* what COPY would take, but not we */

    rc = usherd_careful_sum(f, slot);

    index = malloc((f->nlines + 1) * sizeof(uint32_t));

    if (index == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    for (kind = 0; kind < f->nkinds && rc == USHERD_OK; kind++) {
        rc = usherd_careful_kind(f, slot, kind, index);
    }

    free(index);

    /* and again, without what COPY refused */

    if (rc == USHERD_OK) {
        rc = usherd_careful_sum(f, slot);
    }

    if (rc == USHERD_OK) {
        rc = usherd_flush_usage(f);
    }

    if (rc == USHERD_OK) {
        rc = usherd_flush_gaps(f, (int) slot);
    }

    if (rc == USHERD_OK) {
        rc = usherd_careful_quarantine(f, slot);
    }

    if (rc == USHERD_OK) {
        rc = usherd_flush_positions(f, (int) slot);
    }

    if (rc == USHERD_OK) {
        rc = usherd_flush_commit(f, (int) slot);
    }

    if (rc == USHERD_OK && f->npoison > 0) {
        s->poisoned += f->npoison;
        usherd_self->flush_rows -= f->npoison;
        usherd_add(flush_quarantined, f->npoison);
        usherd_log(USHERD_LOG_ERROR, "slot %s: %u lines put into quarantine, "
                   "the first for: %s; see usherctl quarantine list",
                   s->id, f->npoison, f->poison[0].reason);
    }

    return rc;
}


static int
usherd_careful_kind(usherd_flush_t *f, unsigned slot, unsigned kind,
    uint32_t *index)
{
    size_t  i, n;

    n = 0;

    for (i = 0; i < f->nlines; i++) {
        if (f->lines[i].slot == slot && f->lines[i].kind == kind
            && !f->lines[i].bad)
        {
            index[n++] = (uint32_t) i;
        }
    }

    return n > 0 ? usherd_careful_range(f, kind, index, n) : USHERD_OK;
}


static int
usherd_careful_range(usherd_flush_t *f, unsigned kind, const uint32_t *index,
    size_t n)
{
    int          rc, failed;
    char         sqlstate[6], reason[USHERD_FLUSH_REASON];
    uint64_t     losers;

    rc = usherd_flush_run(f, "SAVEPOINT usherd");
    if (rc != USHERD_OK) {
        return rc;
    }

    losers = f->slots[f->lines[index[0]].slot]->losers;

    failed = usherd_flush_copy(f, kind, index, n);

    if (failed == USHERD_OK) {
        return usherd_flush_run(f, "RELEASE usherd");
    }

    if (failed != USHERD_FLUSH_POISON && failed != USHERD_FLUSH_COUNT) {
        return failed;
    }

    f->slots[f->lines[index[0]].slot]->losers = losers;

    if (failed == USHERD_FLUSH_COUNT) {
        memcpy(sqlstate, "22P04", 6);
        snprintf(reason, sizeof(reason), "COPY did not count it");

    } else {
        snprintf(sqlstate, sizeof(sqlstate), "%s", usherd_pg_sqlstate(f->pg));
        snprintf(reason, sizeof(reason), "%s", usherd_pg_message(f->pg));
        usherd_pg_cut(reason);
    }

    rc = usherd_flush_run(f, "ROLLBACK TO usherd; RELEASE usherd");
    if (rc != USHERD_OK) {
        return rc;
    }

    if (n == 1) {
        return usherd_careful_line(f, index[0], sqlstate, reason);
    }

    rc = usherd_careful_range(f, kind, index, n / 2);
    if (rc != USHERD_OK) {
        return rc;
    }

    return usherd_careful_range(f, kind, index + n / 2, n - n / 2);
}


/* One line of poison; too many stop the slot. */

static int
usherd_careful_line(usherd_flush_t *f, uint32_t line, const char *sqlstate,
    const char *reason)
{
    size_t            room;
    uint64_t          all, bad;
    usherd_slot_t    *slot;
    usherd_poison_t  *poison;

    f->lines[line].bad = 1;

    room = f->poison_room;
    f->poison = usherd_flush_grow(f->poison, sizeof(usherd_poison_t),
                                  f->npoison, &room);
    f->poison_room = (unsigned) room;

    poison = &f->poison[f->npoison++];
    poison->line = line;
    snprintf(poison->sqlstate, sizeof(poison->sqlstate), "%s", sqlstate);
    snprintf(poison->reason, sizeof(poison->reason), "%s", reason);

    slot = f->slots[f->lines[line].slot];
    bad = slot->poisoned + f->npoison;
    all = slot->seen + slot->lines;

    if (bad <= USHERD_POISON_FEW || bad * 100 <= all) {
        return USHERD_OK;
    }

    usherd_flush_verdict(slot, USHERD_VERDICT_STOP, "%llu of %llu lines are "
                         "poison, the last for: %.100s",
                         (unsigned long long) bad, (unsigned long long) all,
                         reason);

    return USHERD_FLUSH_STOP;
}


static int
usherd_careful_sum(usherd_flush_t *f, unsigned slot)
{
    int             rc;
    size_t          i, len;
    const char     *text;
    usherd_line_t  *line;

    /* of both: a time that COPY refuses must not become the newest event's */

    usherd_usage_reset(f->usage);
    f->slots[slot]->last_event[0] = '\0';

    for (i = 0; i < f->nlines; i++) {
        line = &f->lines[i];

        if (line->slot != slot || line->bad) {
            continue;
        }

        text = line->start + USHER_EVENT_TAG + 1;
        len = line->len - USHER_EVENT_TAG - 1;
        rc = USHERD_OK;

        if (len == 3 && text[0] == '\\' && text[1] == '.') {
            rc = usherd_careful_line(f, (uint32_t) i, "22P04",
                                     "the line would end the COPY");

        } else if (f->kinds[line->kind]->rolled
                   && usherd_usage_add(f->usage, text, len,
                                       f->slots[slot]->last_event)
                      != 0)
        {
            rc = usherd_careful_line(f, (uint32_t) i, "22P02",
                                     "a rolled column is not in our form");

        } else if (usherd_usage_timed(f->kinds[line->kind])) {
            usherd_usage_newest(text, len, f->slots[slot]->last_event);
        }

        if (rc != USHERD_OK) {
            return rc;
        }
    }

    return USHERD_OK;
}


static int
usherd_careful_quarantine(usherd_flush_t *f, unsigned slot)
{
    int               rc;
    char              position[24], kind[3];
    unsigned          i;
    const char       *values[6];
    usherd_line_t    *line;
    usherd_poison_t  *poison;

    for (i = 0; i < f->npoison; i++) {
        poison = &f->poison[i];
        line = &f->lines[poison->line];

        snprintf(position, sizeof(position), "%llu",
                 (unsigned long long) line->position);
        memcpy(kind, line->start, USHER_EVENT_TAG);
        kind[USHER_EVENT_TAG] = '\0';

        values[0] = f->slots[slot]->id;
        values[1] = position;
        values[2] = kind;
        values[3] = usherd_flush_bytes(line);
        values[4] = poison->sqlstate;
        values[5] = poison->reason;

        rc = usherd_pg_query(f->pg, "INSERT INTO usher.quarantine (slot, "
                             "position, kind, line, sqlstate, reason) "
                             "VALUES ($1, $2, $3, $4, $5, $6)", 6, values,
                             NULL);
        free((void *) values[3]);

        if (rc != USHERD_OK) {
            return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
        }
    }

    return USHERD_OK;
}


char *
usherd_flush_bytes(const usherd_line_t *line)
{
    char               *text, *p;
    size_t              i;
    unsigned char       c;
    static const char   hex[] = "0123456789abcdef";

    text = malloc(2 * (size_t) line->len + 3);

    if (text == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    p = text;
    *p++ = '\\';
    *p++ = 'x';

    for (i = 0; i < line->len; i++) {
        c = (unsigned char) line->start[i];
        *p++ = hex[c >> 4];
        *p++ = hex[c & 15];
    }

    *p = '\0';

    return text;
}
