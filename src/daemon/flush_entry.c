/*
 * flush_entry.c - an entry of a stream: checked against what is stored, and
 * its lines taken into the batch.
 *
 * DESIGN
 *
 * P is the position up to which lines are stored or in the batch.
 *
 *     end <= P           was stored before: skipped
 *     from <= P < end    the first P - from bytes were, the rest is taken
 *     from > P           something is missing: ask for it again
 *
 * Nothing of an entry is believed: its id must be what from and the data's
 * length say, it must end a line, as must the byte before P, it must have as
 * many lines as it says, and its chain, carried on over the part that is
 * dropped, must be the one at P.  An entry is taken whole or not at all.
 */


#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "flush.h"


static int usherd_flush_place(usherd_slot_t *slot,
    const usherd_entry_t *entry, uint64_t *chain);
static void usherd_flush_hole(usherd_flush_t *f, unsigned index,
    const usherd_entry_t *entry);
static void usherd_flush_mark(usherd_flush_t *f, unsigned index);
static int usherd_flush_kind(usherd_flush_t *f, const char *p, size_t len);


void
usherd_flush_verdict(usherd_slot_t *slot, usherd_verdict_e verdict,
    const char *fmt, ...)
{
    va_list  args;

    slot->verdict = verdict;

    va_start(args, fmt);
    vsnprintf(slot->reason, sizeof(slot->reason), fmt, args);
    va_end(args);

    usherd_pg_cut(slot->reason);
}


/* id, then an array of names and values. */

const char *
usherd_flush_parse(const usherd_reply_t *reply, usherd_entry_t *entry)
{
    int                    version, from, count, chain;
    size_t                 len, n;
    unsigned               i;
    const char            *name, *value;
    const usherd_reply_t  *fields;

    memset(entry, 0, sizeof(usherd_entry_t));

    if (usherd_reply_count(reply) != 2) {
        return "not an entry";
    }

    value = usherd_reply_text(usherd_reply_at(reply, 0), &len);

    if (usher_stream_id_parse(value, len, &entry->end, &entry->minor) != 0) {
        return "its id is not a position";
    }

    fields = usherd_reply_at(reply, 1);
    version = from = count = chain = 0;

    for (i = 0; i + 1 < usherd_reply_count(fields); i += 2) {

        name = usherd_reply_text(usherd_reply_at(fields, i), &n);
        value = usherd_reply_text(usherd_reply_at(fields, i + 1), &len);

        if (n != 1) {
            continue;
        }

        if (*name == *USHER_ENTRY_VERSION) {
            version = (len == 1 && *value == '1') ? 1 : -1;

        } else if (*name == *USHER_ENTRY_FROM) {
            from = usher_decimal_parse(value, len, &entry->from) == 0;

        } else if (*name == *USHER_ENTRY_LINES) {
            count = usher_decimal_parse(value, len, &entry->count) == 0;

        } else if (*name == *USHER_ENTRY_CHAIN) {
            chain = usher_hex64_parse(value, len, &entry->chain) == 0;

        } else if (*name == *USHER_ENTRY_DATA) {
            entry->data = value;
            entry->len = len;

        } else if (*name == *USHER_ENTRY_HOLE) {
            entry->hole = value;
            entry->hole_len = len;

        } else if (*name == *USHER_ENTRY_END) {
            entry->is_end = 1;
        }
    }

    if (version == -1) {
        return "version";
    }

    if (!version || !from) {
        return "fields are missing";
    }

    if (entry->is_end) {
        return (entry->minor == 1 && entry->from == entry->end)
               ? NULL : "an end that is not at its position";
    }

    if (!chain || entry->minor != 0 || entry->from >= entry->end) {
        return "fields are missing or senseless";
    }

    if (entry->hole != NULL) {
        return NULL;
    }

    if (!count || entry->data == NULL
        || entry->end - entry->from != entry->len
        || entry->data[entry->len - 1] != '\n')
    {
        return "its data is not what its fields say";
    }

    return NULL;
}


void
usherd_flush_take(usherd_flush_t *f, unsigned index,
    const usherd_reply_t *reply)
{
    uint64_t         chain;
    const char      *wrong;
    usherd_slot_t   *slot;
    usherd_entry_t   entry;

    slot = f->slots[index];
    wrong = usherd_flush_parse(reply, &entry);

    usherd_count(flush_entries);

    if (wrong != NULL) {

        if (strcmp(wrong, "version") == 0) {
            usherd_flush_verdict(slot, USHERD_VERDICT_STOP,
                                 "unknown version of an entry");
        } else {
            usherd_flush_verdict(slot, USHERD_VERDICT_CORRUPT,
                                 "entry %llu: %s",
                                 (unsigned long long) entry.end, wrong);
        }

        return;
    }

    f->entries++;

    if (entry.from > slot->next) {
        usherd_flush_verdict(slot, USHERD_VERDICT_GAP,
                             "stream goes on at %llu",
                             (unsigned long long) entry.from);
        return;
    }

    if (entry.is_end) {

        if (entry.end == slot->next) {
            slot->ended = 1;
        }

        return;
    }

    if (entry.end <= slot->next) {
        return;
    }

    if (entry.hole != NULL) {
        usherd_flush_hole(f, index, &entry);
        return;
    }

    if (usherd_flush_place(slot, &entry, &chain) != USHERD_OK
        || usherd_flush_lines(f, index, &entry, slot->next - entry.from)
           != USHERD_OK)
    {
        return;
    }

    slot->next_chain = usher_crc64(chain,
                                   entry.data + (slot->next - entry.from),
                                   entry.end - slot->next);
    slot->next = entry.end;
    slot->next_rechain = 0;

    usherd_flush_mark(f, index);

    f->entry_bytes = entry.len > f->entry_bytes ? entry.len
                     : f->entry_bytes - (f->entry_bytes - entry.len) / 16;
}


/* The chain at P, if the entry belongs there. */

static int
usherd_flush_place(usherd_slot_t *slot, const usherd_entry_t *entry,
    uint64_t *chain)
{
    size_t  skip;

    skip = slot->next - entry->from;

    *chain = usher_crc64(entry->chain, entry->data, skip);

    if (*chain != slot->next_chain && !slot->next_rechain) {
        usherd_flush_verdict(slot, USHERD_VERDICT_FORK,
                             "two histories meet at %llu",
                             (unsigned long long) slot->next);
        return USHERD_ERROR;
    }

    if (skip > 0 && entry->data[skip - 1] != '\n') {
        usherd_flush_verdict(slot, USHERD_VERDICT_CORRUPT,
                             "no line ends at %llu",
                             (unsigned long long) slot->next);
        return USHERD_ERROR;
    }

    return USHERD_OK;
}


/* What can never come: the position passes it, and a row says so. */

static void
usherd_flush_hole(usherd_flush_t *f, unsigned index,
    const usherd_entry_t *entry)
{
    int             i, len;
    size_t          room;
    uint64_t        to, chain;
    usherd_gap_t   *gap;
    usherd_slot_t  *slot;

    slot = f->slots[index];
    to = entry->end;
    chain = entry->chain;

    if (slot->rest_data < to) {

        /* what the edge has lost was put aside: that comes first */

        slot->rest_hole = entry->end;

        if (slot->rest_data <= slot->next) {
            return;
        }

        to = slot->rest_data;
        chain = slot->rest_chain;
    }

    room = f->gaps_room;
    f->gaps = usherd_flush_grow(f->gaps, sizeof(usherd_gap_t), f->ngaps,
                                &room);
    f->gaps_room = (unsigned) room;

    gap = &f->gaps[f->ngaps++];
    gap->slot = index;
    gap->from = slot->next;
    gap->to = to;

    len = (int) (sizeof(gap->reason) - 1);

    if (entry->hole_len < (size_t) len) {
        len = (int) entry->hole_len;
    }

    /* words of ours: anything else does not belong into a text column */

    for (i = 0; i < len; i++) {
        gap->reason[i] = (entry->hole[i] >= ' ' && entry->hole[i] < 0x7f)
                         ? entry->hole[i] : '?';
    }

    gap->reason[len] = '\0';

    slot->next = to;
    slot->next_chain = chain;
    slot->next_rechain = 0;
}


/* A mark where the entry ends, unless they are small and many. */

static void
usherd_flush_mark(usherd_flush_t *f, unsigned index)
{
    size_t          room;
    usherd_mark_t  *mark;
    usherd_slot_t  *slot;

    slot = f->slots[index];

    if (slot->next - slot->marked < USHERD_FLUSH_MARK) {
        return;
    }

    room = f->marks_room;
    f->marks = usherd_flush_grow(f->marks, sizeof(usherd_mark_t), f->nmarks,
                                 &room);
    f->marks_room = (unsigned) room;

    mark = &f->marks[f->nmarks++];
    mark->slot = index;
    mark->position = slot->next;
    mark->chain = slot->next_chain;

    slot->marked = slot->next;
}


int
usherd_flush_lines(usherd_flush_t *f, unsigned index,
    const usherd_entry_t *entry, size_t skip)
{
    int             kind;
    size_t          before, n;
    uint64_t        count;
    const char     *p, *end, *lf;
    usherd_slot_t  *slot;
    usherd_line_t  *line;

    slot = f->slots[index];
    before = f->nlines;
    end = entry->data + entry->len;

    /* the part that is dropped counts, too: n is of the whole entry */

    count = 0;

    for (p = entry->data; p < entry->data + skip; p = lf + 1) {
        lf = memchr(p, '\n', (size_t) (end - p));
        count++;
    }

    for ( /* void */ ; p < end; p = lf + 1) {

        lf = memchr(p, '\n', (size_t) (end - p));
        n = (size_t) (lf - p);
        kind = usherd_flush_kind(f, p, n);

        if (kind == -1) {
            f->nlines = before;
            usherd_flush_verdict(slot, USHERD_VERDICT_STOP,
                                 "unknown kind of event at %llu",
                                 (unsigned long long)
                                 (entry->from
                                  + (uint64_t) (p - entry->data)));
            return USHERD_ERROR;
        }

        f->lines = usherd_flush_grow(f->lines, sizeof(usherd_line_t),
                                     f->nlines, &f->lines_room);

        line = &f->lines[f->nlines++];
        line->start = p;
        line->position = entry->from + (uint64_t) (p - entry->data);
        line->len = (uint32_t) n + 1;
        line->slot = (uint16_t) index;
        line->kind = (uint8_t) kind;

        /* COPY would stop at such a line without a word */

        line->bad = (n == USHER_EVENT_TAG + 3 && p[3] == '\\'
                     && p[4] == '.');
        count++;
    }

    if (count != entry->count) {
        f->nlines = before;
        usherd_flush_verdict(slot, USHERD_VERDICT_CORRUPT,
                             "entry %llu has %llu lines and says %llu",
                             (unsigned long long) entry->end,
                             (unsigned long long) count,
                             (unsigned long long) entry->count);
        return USHERD_ERROR;
    }

    slot->lines += f->nlines - before;
    f->bytes += entry->len - skip;
    f->entry_lines = (f->entry_lines * 7 + count) / 8 + 1;

    return USHERD_OK;
}


static int
usherd_flush_kind(usherd_flush_t *f, const char *p, size_t len)
{
    unsigned  i;

    if (len <= USHER_EVENT_TAG || p[USHER_EVENT_TAG] != '\t') {
        return -1;
    }

    for (i = 0; i < f->nkinds; i++) {
        if (p[0] == f->kinds[i]->kind && p[1] == f->kinds[i]->version) {
            return (int) i;
        }
    }

    return -1;
}
