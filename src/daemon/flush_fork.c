/*
 * flush_fork.c - how far two histories of a slot agree.
 *
 * DESIGN
 *
 * One history is stored, the other is in the stream.  They are the same up
 * to one place and differ from there on, and the place is found exactly: the
 * edge sends what lies above it again, so one line too early is a line lost
 * and one too late a row twice.
 *
 *     marks    usher.journal_mark has earlier positions and their chains.
 *              The chain of what is in the stream is carried on to each and
 *              compared; the last that agrees is near the place.  When the
 *              stream begins above it, it is asked for again from a mark
 *              further back, 1, 2, 4, ... marks
 *     lines    from there on each line of the stream is looked for among
 *              rows, keys and quarantine.  The first that is in none of them
 *              is where they part
 *
 * The stream is followed in steps, so that no other slot waits for long, and
 * what a step has seen is trimmed.  Where it ends without an answer, the rest
 * is awaited, then asked for, however long that takes: a guess would lose
 * lines, or store them twice, when the edge comes back.  Only what the edge
 * itself says it has no more (a hole from the beginning) is done without.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"


#define USHERD_FORK_STEP  16          /* entries whose lines are looked for */


/* What is known of a fork. */
typedef struct {
    usherd_mark_t  *marks;            /* ascending, the first is 0 */
    unsigned        nmarks;
    unsigned        next;             /* those before it are passed */
    uint64_t        lowest;           /* where the stream's data begins */
    uint64_t        common;           /* the highest mark that agrees */
    unsigned        found:1;          /* common is set */
    unsigned        differs:1;        /* a mark does not agree */
    unsigned        data:1;           /* lowest is set */
} usherd_fork_t;


/* Lines of the stream, looked for. */
typedef struct {
    unsigned        slot;             /* index */
    uint64_t        at;               /* all before it are stored */
    unsigned        parted:1;         /* the line there is not */
    char            since[40];        /* no earlier row is one of them */
} usherd_search_t;


/* How a row is found again; unique kinds have their key table. */
typedef struct {
    const char     *tag;
    const char     *columns;
    const char     *where;            /* $1: received since */
} usherd_identity_t;


static int usherd_fork_marks(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork);
static int usherd_fork_scan(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork);
static void usherd_fork_compare(usherd_fork_t *fork,
    const usherd_entry_t *entry);
static int usherd_fork_back(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork);
static int usherd_fork_follow(usherd_flush_t *f, usherd_slot_t *slot,
    uint64_t from, uint64_t below);
static int usherd_fork_await(usherd_flush_t *f, usherd_slot_t *slot);
static int usherd_fork_declare(usherd_flush_t *f, usherd_slot_t *slot,
    uint64_t common);
static int usherd_search(usherd_flush_t *f, usherd_search_t *search);
static int usherd_search_since(usherd_flush_t *f, usherd_search_t *search);
static int usherd_search_entry(usherd_flush_t *f, usherd_search_t *search,
    const usherd_entry_t *entry);
static int usherd_search_range(usherd_flush_t *f, usherd_search_t *search,
    size_t first, size_t n, size_t *missing);
static int usherd_search_lines(usherd_flush_t *f, usherd_search_t *search,
    size_t first, size_t n, size_t *missing);
static int usherd_search_quarantine(usherd_flush_t *f,
    usherd_search_t *search, size_t first, size_t n);
static int usherd_search_kind(usherd_flush_t *f, usherd_search_t *search,
    unsigned kind, const uint32_t *index, size_t n, size_t *missing);


static const usherd_identity_t  usherd_identities[] = {

    { "r1", "request_id, node, event_time",
      "WHERE received_at >= $1 AND event_time BETWEEN "
      "(SELECT min(event_time) FROM usherd_r1) AND "
      "(SELECT max(event_time) FROM usherd_r1)" },

    { "p1", "id, n", "WHERE received_at >= $1" },

    { NULL, NULL, NULL }
};


int
usherd_flush_fork(usherd_flush_t *f, usherd_slot_t *slot)
{
    int            rc;
    uint64_t       from;
    usherd_fork_t  fork;

    memset(&fork, 0, sizeof(usherd_fork_t));

    rc = usherd_fork_marks(f, slot, &fork);

    if (rc == USHERD_OK) {
        rc = usherd_fork_scan(f, slot, &fork);
    }

    if (rc == USHERD_OK) {

        if (fork.found || slot->fork_sure) {
            from = slot->fork_sure ? slot->fork_agreed : 0;

            if (fork.found && fork.common > from) {
                from = fork.common;
            }

            rc = usherd_fork_follow(f, slot, from, from);

        } else {
            rc = usherd_fork_back(f, slot, &fork);
        }
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


/* The stream up to the position, or the first mark that does not agree. */

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

                if (wrong == NULL && entry.data != NULL && !fork->differs) {
                    usherd_fork_compare(fork, &entry);
                }
            }
        }

        usherd_reply_free(reply);

    } while (n > 0 && after < slot->position && !fork->differs);

    return USHERD_OK;
}


static void
usherd_fork_compare(usherd_fork_t *fork, const usherd_entry_t *entry)
{
    uint64_t        chain, at;
    usherd_mark_t  *mark;

    if (!fork->data) {
        fork->data = 1;
        fork->lowest = entry->from;
    }

    at = entry->from;
    chain = entry->chain;

    for ( /* void */ ; fork->next < fork->nmarks; fork->next++) {
        mark = &fork->marks[fork->next];

        if (mark->position < entry->from) {
            continue;
        }

        if (mark->position > entry->end) {
            break;
        }

        chain = usher_crc64(chain, entry->data + (at - entry->from),
                            mark->position - at);
        at = mark->position;

        if (chain != mark->chain) {
            fork->differs = 1;
            break;
        }

        fork->found = 1;
        fork->common = mark->position;
    }
}


/* Nothing in the stream agrees: ask for what lies before it. */

static int
usherd_fork_back(usherd_flush_t *f, usherd_slot_t *slot,
    usherd_fork_t *fork)
{
    unsigned  i;
    uint64_t  below;

    /* the marks that the stream did not reach */

    for (i = fork->nmarks; i > 1; i--) {
        if (!fork->data || fork->marks[i - 1].position < fork->lowest) {
            break;
        }
    }

    if (slot->fork_whole && !fork->data) {

        /* of what it sends, only the hole is there as yet */

        return USHERD_OK;
    }

    if (slot->fork_whole || (fork->data && fork->lowest == 0)) {
        below = fork->marks[i - 1].position;

        usherd_log(USHERD_LOG_WARN, "slot %s: the edge does not have what "
                   "would tell, going by the lines that it does send",
                   slot->id);

        return usherd_fork_follow(f, slot, fork->lowest, below);
    }

    if (i > slot->fork_back) {
        i -= slot->fork_back;
        slot->fork_back *= 2;

    } else {
        i = 0;
        slot->fork_whole = 1;
    }

    return usherd_flush_rewind(f, slot, fork->marks[i].position);
}


/* below: what is common when not even the line at from is stored. */

static int
usherd_fork_follow(usherd_flush_t *f, usherd_slot_t *slot, uint64_t from,
    uint64_t below)
{
    int              rc;
    usherd_search_t  search;

    memset(&search, 0, sizeof(usherd_search_t));

    while (f->slots[search.slot] != slot) {
        search.slot++;
    }

    search.at = from;
    rc = usherd_search(f, &search);

    if (rc == USHERD_LOST) {
        return rc;
    }

    if (rc != USHERD_OK) {

        /* one slot's lines must not hold up the others */

        slot->fork_tries++;
        usherd_log(USHERD_LOG_ERROR, "slot %s: its lines cannot be looked "
                   "for: %s %s", slot->id, usherd_pg_sqlstate(f->pg),
                   usherd_pg_message(f->pg));

    } else if (search.at > from || !slot->fork_sure) {
        slot->fork_tries = 0;
    }

    if (search.parted || slot->fork_tries >= USHERD_FORK_TRIES) {
        return usherd_fork_declare(f, slot,
                                   search.at > from ? search.at : below);
    }

    slot->fork_sure = 1;
    slot->fork_agreed = search.at;

    return usherd_fork_await(f, slot);
}


/*
 * What comes next in the stream, or is on its way there: the nonce stays, the
 * edge takes the position as far as it has come.
 */

static int
usherd_fork_await(usherd_flush_t *f, usherd_slot_t *slot)
{
    usherd_reply_t  *reply;

    slot->rewind_to = slot->fork_agreed;
    slot->rewind_at = usherd_now();

    reply = usherd_redis_format(f->redis, "XTRIM " USHER_STREAM_PREFIX
                                "%s MINID %llu-1", slot->id,
                                (unsigned long long) slot->fork_agreed);
    if (reply == NULL) {
        return USHERD_LOST;
    }

    usherd_reply_free(reply);

    return usherd_flush_tell(f, slot);
}


static int
usherd_fork_declare(usherd_flush_t *f, usherd_slot_t *slot, uint64_t common)
{
    char  reason[USHERD_FLUSH_REASON];

    snprintf(reason, sizeof(reason), USHERD_FLUSH_FORKED,
             (unsigned long long) common);

    slot->fork_common = common;

    return usherd_flush_settle(f, slot, USHERD_SLOT_FORKED, reason);
}


/* Follows the stream from search->at, for a step. */

static int
usherd_search(usherd_flush_t *f, usherd_search_t *search)
{
    int                    rc;
    unsigned               i, n;
    usherd_entry_t         entry;
    usherd_reply_t        *reply;
    const usherd_reply_t  *list;

    rc = usherd_search_since(f, search);
    if (rc != USHERD_OK) {
        return rc;
    }

    reply = usherd_redis_format(f->redis, "XREAD COUNT %llu STREAMS "
                                USHER_STREAM_PREFIX "%s %llu-0",
                                (unsigned long long) USHERD_FORK_STEP,
                                f->slots[search->slot]->id,
                                (unsigned long long) search->at);
    if (reply == NULL) {
        return USHERD_LOST;
    }

    n = 0;
    list = NULL;

    if (usherd_reply_count(reply) == 1) {
        list = usherd_reply_at(usherd_reply_at(reply, 0), 1);
        n = usherd_reply_count(list);
    }

    for (i = 0; i < n && rc == USHERD_OK && !search->parted; i++) {

        /* what cannot be followed is asked for again */

        if (usherd_flush_parse(usherd_reply_at(list, i), &entry) != NULL
            || entry.data == NULL || entry.from > search->at)
        {
            break;
        }

        rc = usherd_search_entry(f, search, &entry);
    }

    /* they lie in the reply */

    f->nlines = 0;
    usherd_reply_free(reply);

    return rc;
}


/*
 * Rows of a transaction were received when its marks were made; a day for
 * the clock of the database.  It may have been far ahead when the last mark
 * was made, and right again when the rows were.
 */

static int
usherd_search_since(usherd_flush_t *f, usherd_search_t *search)
{
    int                  rc;
    char                 position[24];
    const char          *values[2];
    usherd_pg_result_t  *res;

    snprintf(position, sizeof(position), "%llu",
             (unsigned long long) search->at);

    values[0] = f->slots[search->slot]->id;
    values[1] = position;

    rc = usherd_pg_query(f->pg, "SELECT least(coalesce(max(at) "
                         "FILTER (WHERE position <= $2), '-infinity'), "
                         "min(at) FILTER (WHERE position > $2), now()) "
                         "- interval '1 day' FROM usher.journal_mark "
                         "WHERE slot = $1", 2, values, &res);
    if (rc != USHERD_OK) {
        return rc;
    }

    snprintf(search->since, sizeof(search->since), "%s",
             usherd_pg_value(res, 0, 0));
    usherd_pg_free(res);

    return USHERD_OK;
}


static int
usherd_search_entry(usherd_flush_t *f, usherd_search_t *search,
    const usherd_entry_t *entry)
{
    int     rc;
    size_t  missing;

    f->nlines = 0;

    /* a kind that we do not know, or a wrong count: nothing to compare */

    if (usherd_flush_lines(f, search->slot, entry, search->at - entry->from)
        != USHERD_OK)
    {
        f->slots[search->slot]->verdict = USHERD_VERDICT_NONE;
        search->parted = 1;
        return USHERD_OK;
    }

    rc = usherd_search_range(f, search, 0, f->nlines, &missing);
    if (rc != USHERD_OK) {
        return rc;
    }

    search->parted = missing < f->nlines;
    search->at = search->parted ? f->lines[missing].position : entry->end;

    return USHERD_OK;
}


/* The first of these lines that is not stored; first + n: all are. */

static int
usherd_search_range(usherd_flush_t *f, usherd_search_t *search, size_t first,
    size_t n, size_t *missing)
{
    int  rc;

    rc = usherd_search_lines(f, search, first, n, missing);

    if (rc == USHERD_LOST
        || usherd_pg_command(f->pg, "ROLLBACK") == USHERD_LOST)
    {
        return USHERD_LOST;
    }

    if (rc != USHERD_FLUSH_POISON && rc != USHERD_FLUSH_COUNT) {
        return rc;
    }

    /* one of them is poison that was not put aside: that one is missing */

    *missing = first;

    if (n == 1) {
        return USHERD_OK;
    }

    rc = usherd_search_range(f, search, first, n / 2, missing);

    if (rc != USHERD_OK || *missing < first + n / 2) {
        return rc;
    }

    return usherd_search_range(f, search, first + n / 2, n - n / 2, missing);
}


/* In a transaction that is rolled back. */

static int
usherd_search_lines(usherd_flush_t *f, usherd_search_t *search, size_t first,
    size_t n, size_t *missing)
{
    int        rc;
    size_t     i, found;
    unsigned   kind;
    uint32_t  *index;

    *missing = first + n;

    rc = usherd_flush_run(f, "BEGIN");

    if (rc == USHERD_OK) {
        rc = usherd_search_quarantine(f, search, first, n);
    }

    index = malloc(n * sizeof(uint32_t));

    if (index == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    /* what no COPY can carry is in quarantine, or missing */

    for (i = first; i < *missing; i++) {
        if (f->lines[i].bad == 1) {
            *missing = i;
        }
    }

    for (kind = 0; kind < f->nkinds && rc == USHERD_OK; kind++) {
        found = 0;

        for (i = first; i < *missing; i++) {
            if (f->lines[i].kind == kind && !f->lines[i].bad) {
                index[found++] = (uint32_t) i;
            }
        }

        if (found > 0) {
            rc = usherd_search_kind(f, search, kind, index, found, missing);
        }
    }

    free(index);

    return rc;
}


/* Those that were put aside are stored as well: bad is 2. */

static int
usherd_search_quarantine(usherd_flush_t *f, usherd_search_t *search,
    size_t first, size_t n)
{
    int                  rc;
    char                *bytes, from[24], to[24];
    size_t               i;
    unsigned             row;
    const char          *values[3];
    usherd_line_t       *line;
    usherd_pg_result_t  *res;

    snprintf(from, sizeof(from), "%llu",
             (unsigned long long) f->lines[first].position);
    snprintf(to, sizeof(to), "%llu",
             (unsigned long long) f->lines[first + n - 1].position);

    values[0] = f->slots[search->slot]->id;
    values[1] = from;
    values[2] = to;

    rc = usherd_pg_query(f->pg, "SELECT position, line FROM usher.quarantine "
                         "WHERE slot = $1 AND position BETWEEN $2 AND $3 "
                         "ORDER BY 1", 3, values, &res);

    if (rc != USHERD_OK) {
        return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
    }

    i = first;

    for (row = 0; row < usherd_pg_rows(res); row++) {

        while (i < first + n
               && f->lines[i].position < usherd_pg_number(res, row, 0))
        {
            i++;
        }

        if (i == first + n) {
            break;
        }

        line = &f->lines[i];

        if (line->position != usherd_pg_number(res, row, 0)) {
            continue;
        }

        bytes = usherd_flush_bytes(line);

        if (strcmp(bytes, usherd_pg_value(res, row, 1)) == 0) {
            line->bad = 2;
        }

        free(bytes);
    }

    usherd_pg_free(res);

    return USHERD_OK;
}


/* Lowers *missing to the first that has no row. */

static int
usherd_search_kind(usherd_flush_t *f, usherd_search_t *search, unsigned kind,
    const uint32_t *index, size_t n, size_t *missing)
{
    int                        rc;
    char                       sql[1024];
    const char                *value, *values[1];
    usherd_pg_result_t        *res;
    const usher_event_kind_t  *k;
    const usherd_identity_t   *id;

    k = f->kinds[kind];
    values[0] = search->since;

    for (id = usherd_identities; id->tag != NULL; id++) {
        if (id->tag[0] == k->kind && id->tag[1] == k->version) {
            break;
        }
    }

    if (!k->unique && id->tag == NULL) {
        *missing = index[0];
        return USHERD_OK;
    }

    rc = usherd_flush_stage(f, kind, index, n);
    if (rc != USHERD_OK) {
        return rc;
    }

    snprintf(sql, sizeof(sql), "SELECT min(usherd_line) FROM usherd_%c%c "
             "LEFT JOIN (SELECT %s, true AS usherd_there FROM %s %s) s "
             "USING (%s) WHERE usherd_there IS NULL", k->kind, k->version,
             k->unique ? k->key_columns : id->columns,
             k->unique ? k->key_table : k->table,
             k->unique ? "" : id->where,
             k->unique ? k->key_columns : id->columns);

    rc = usherd_pg_query(f->pg, sql, k->unique ? 0 : 1, values, &res);

    if (rc != USHERD_OK) {
        return rc == USHERD_ERROR ? usherd_flush_class(f) : rc;
    }

    value = usherd_pg_value(res, 0, 0);

    if (value != NULL && strtoull(value, NULL, 10) < *missing) {
        *missing = strtoull(value, NULL, 10);
    }

    usherd_pg_free(res);

    return USHERD_OK;
}
