/*
 * flush_usage.c - the sums of a batch per hour, key, org, route and status.
 *
 * DESIGN
 *
 * A line is read only as far as its rolled columns, and nothing is copied or
 * decoded: the hash and the comparison run on the raw text, where key_id,
 * route and status lie side by side.  Cells hold pointers into the lines,
 * which live as long as the batch.  Cells are an array in order of first
 * sight, found through an open-addressing table of indices that is never
 * more than half full.
 *
 * The columns are looked at before the row is believed: a number that is not
 * plain decimal would be summed wrongly, so it is refused here and its row
 * goes into quarantine.
 */


#include <stdlib.h>
#include <string.h>

#include "flush.h"


#define USHERD_USAGE_HOUR  13         /* "YYYY-MM-DD HH" */

/* The longest texts: key_id, route (escaped) and status together; an id. */
#define USHERD_USAGE_ID    20
#define USHERD_USAGE_MID   (USHERD_USAGE_ID + 2 * USHER_REQUEST_ROUTE_MAX + 8)

/* A line: hour and its rest, mid, org_id, four numbers and their ends. */
#define USHERD_USAGE_LINE  (USHERD_USAGE_HOUR + 10 + USHERD_USAGE_MID + 1     \
                            + USHERD_USAGE_ID + 4 * 21 + 1)


typedef struct {
    const char  *hour;
    const char  *mid;                 /* key_id TAB route TAB status */
    const char  *org;
    uint32_t     mid_len;
    uint32_t     org_len;
    uint64_t     hash;
    uint64_t     requests;
    int64_t      units;
    int64_t      bytes;
    int64_t      duration;
} usherd_usage_cell_t;


struct usherd_usage_s {
    usherd_usage_cell_t  *cells;
    size_t                ncells;
    size_t                room;
    uint32_t             *table;      /* index + 1; 0: free */
    size_t                mask;
};


typedef struct {
    uint64_t              key;        /* hour and key_id */
    usherd_usage_cell_t  *cell;
} usherd_usage_order_t;


static int usherd_usage_digits(const char *p, size_t n);
static int usherd_usage_number(const char *p, const char *end, int64_t *n);
static uint64_t usherd_usage_hash(uint64_t h, const char *p, size_t len);
static usherd_usage_cell_t *usherd_usage_cell(usherd_usage_t *usage,
    usherd_usage_cell_t *key);
static void usherd_usage_rehash(usherd_usage_t *usage, size_t slots);
static void usherd_usage_sum(int64_t *sum, int64_t n);
static int usherd_usage_compare(const void *one, const void *two);
static size_t usherd_usage_line(char *dst, const usherd_usage_cell_t *cell,
    const char *hour);
static char *usherd_usage_text(char *p, int64_t n);


usherd_usage_t *
usherd_usage_create(void)
{
    usherd_usage_t  *usage;

    usage = calloc(1, sizeof(usherd_usage_t));

    if (usage != NULL) {
        usherd_usage_rehash(usage, 4096);
    }

    return usage;
}


void
usherd_usage_reset(usherd_usage_t *usage)
{
    usage->ncells = 0;
    memset(usage->table, 0, (usage->mask + 1) * sizeof(uint32_t));
}


size_t
usherd_usage_count(usherd_usage_t *usage)
{
    return usage->ncells;
}


int
usherd_usage_add(usherd_usage_t *usage, const char *line, size_t len,
    char last_event[USHER_EVENT_TIME + 1])
{
    int                   i;
    int64_t               units, bytes, duration;
    const char           *column[9], *end, *p;
    usherd_usage_cell_t   key, *cell;

    end = line + len;
    p = line;

    /* column[i] is the start of column i; 8 columns are rolled up */

    for (i = 0; i < 8; i++) {
        column[i] = p;
        p = memchr(p, '\t', (size_t) (end - p));

        if (p == NULL) {
            return -1;
        }

        p++;
    }

    column[8] = p;

    if (column[1] - column[0] != USHER_EVENT_TIME + 1
        || !usherd_usage_digits(line, USHER_EVENT_TIME)
        || usherd_usage_number(column[4], column[5] - 1, &units) != 0
        || usherd_usage_number(column[5], column[6] - 1, &bytes) != 0
        || usherd_usage_number(column[6], column[7] - 1, &duration) != 0)
    {
        return -1;
    }

    key.hour = line;
    key.mid = column[1];
    key.mid_len = (uint32_t) (column[4] - 1 - column[1]);
    key.org = column[7];
    key.org_len = (uint32_t) (column[8] - 1 - column[7]);

    if (key.mid_len > USHERD_USAGE_MID || key.org_len > USHERD_USAGE_ID) {
        return -1;
    }

    key.hash = usherd_usage_hash(0x9e3779b97f4a7c15ULL, key.mid, key.mid_len);
    key.hash = usherd_usage_hash(key.hash, key.org, key.org_len);
    key.hash = usherd_usage_hash(key.hash, key.hour, USHERD_USAGE_HOUR);

    cell = usherd_usage_cell(usage, &key);

    cell->requests++;
    usherd_usage_sum(&cell->units, units);
    usherd_usage_sum(&cell->bytes, bytes);
    usherd_usage_sum(&cell->duration, duration);

    usherd_usage_newest(line, len, last_event);

    return 0;
}


void
usherd_usage_newest(const char *line, size_t len,
    char last_event[USHER_EVENT_TIME + 1])
{
    if (len > USHER_EVENT_TIME
        && usherd_usage_digits(line, USHER_EVENT_TIME)
        && memcmp(line, last_event, USHER_EVENT_TIME) > 0)
    {
        memcpy(last_event, line, USHER_EVENT_TIME);
        last_event[USHER_EVENT_TIME] = '\0';
    }
}


/* "YYYY-MM-DD HH:MM:SS.mmm+00": what the edge writes, and nothing else. */

static int
usherd_usage_digits(const char *p, size_t n)
{
    size_t             i;
    static const char  form[] = "0000-00-00 00:00:00.000+00";

    for (i = 0; i < n; i++) {

        if (form[i] == '0' ? (unsigned char) (p[i] - '0') > 9
                           : p[i] != form[i])
        {
            return 0;
        }
    }

    return 1;
}


static int
usherd_usage_number(const char *p, const char *end, int64_t *n)
{
    int64_t   value;
    unsigned  digit, minus;

    minus = (p < end && *p == '-');
    p += minus;

    if (p >= end || end - p > 18) {
        return -1;
    }

    for (value = 0; p < end; p++) {
        digit = (unsigned char) (*p - '0');

        if (digit > 9) {
            return -1;
        }

        value = value * 10 + digit;
    }

    *n = minus ? -value : value;

    return 0;
}


static uint64_t
usherd_usage_hash(uint64_t h, const char *p, size_t len)
{
    uint64_t  w;

    for (h += len; len >= 8; len -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }

    if (len > 0) {
        w = 0;
        memcpy(&w, p, len);
        h = (h ^ w) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }

    return h;
}


static usherd_usage_cell_t *
usherd_usage_cell(usherd_usage_t *usage, usherd_usage_cell_t *key)
{
    size_t                i;
    usherd_usage_cell_t  *cell;

    for (i = key->hash & usage->mask; usage->table[i] != 0;
         i = (i + 1) & usage->mask)
    {
        cell = &usage->cells[usage->table[i] - 1];

        if (cell->hash == key->hash
            && cell->mid_len == key->mid_len
            && cell->org_len == key->org_len
            && memcmp(cell->mid, key->mid, key->mid_len) == 0
            && memcmp(cell->org, key->org, key->org_len) == 0
            && memcmp(cell->hour, key->hour, USHERD_USAGE_HOUR) == 0)
        {
            return cell;
        }
    }

    usage->cells = usherd_flush_grow(usage->cells,
                                     sizeof(usherd_usage_cell_t),
                                     usage->ncells, &usage->room);

    cell = &usage->cells[usage->ncells++];
    usage->table[i] = (uint32_t) usage->ncells;

    *cell = *key;
    cell->requests = 0;
    cell->units = 0;
    cell->bytes = 0;
    cell->duration = 0;

    if (usage->ncells * 2 > usage->mask) {
        usherd_usage_rehash(usage, (usage->mask + 1) * 4);
    }

    return &usage->cells[usage->ncells - 1];
}


static void
usherd_usage_rehash(usherd_usage_t *usage, size_t slots)
{
    size_t  i, n;

    free(usage->table);

    usage->mask = slots - 1;
    usage->table = calloc(slots, sizeof(uint32_t));

    if (usage->table == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    for (n = 0; n < usage->ncells; n++) {

        i = usage->cells[n].hash & usage->mask;

        while (usage->table[i] != 0) {
            i = (i + 1) & usage->mask;
        }

        usage->table[i] = (uint32_t) n + 1;
    }
}


/* What does not fit stays at the largest value, and never wraps round. */

static void
usherd_usage_sum(int64_t *sum, int64_t n)
{
    if (__builtin_add_overflow(*sum, n, sum)) {
        *sum = n > 0 ? INT64_MAX : INT64_MIN;
    }
}


int
usherd_usage_emit(usherd_usage_t *usage, const char *closed,
    const char *last, uint64_t *late,
    int (*put)(void *data, const char *line, size_t len), void *data)
{
    int                    rc;
    char                   line[USHERD_USAGE_LINE];
    size_t                 i, n;
    int64_t                id;
    const char            *hour, *tab;
    usherd_usage_cell_t   *cell;
    usherd_usage_order_t  *order;

    order = malloc((usage->ncells + 1) * sizeof(usherd_usage_order_t));

    if (order == NULL) {
        usherd_log(USHERD_LOG_ALERT, "out of memory");
        abort();
    }

    for (i = 0; i < usage->ncells; i++) {
        cell = &usage->cells[i];
        tab = memchr(cell->mid, '\t', cell->mid_len);

        if (usherd_usage_number(cell->mid, tab, &id) != 0) {
            id = 0;
        }

        /* one or two hours are all there is: day and hour are enough */

        n = (size_t) (cell->hour[8] & 3) * 1000
            + (size_t) (cell->hour[9] & 15) * 100
            + (size_t) (cell->hour[11] & 3) * 10
            + (size_t) (cell->hour[12] & 15);

        order[i].key = ((uint64_t) n << 50)
                       | ((uint64_t) id & ((1ULL << 50) - 1));
        order[i].cell = cell;
    }

    qsort(order, usage->ncells, sizeof(usherd_usage_order_t),
          usherd_usage_compare);

    rc = USHERD_OK;

    for (i = 0; i < usage->ncells && rc == USHERD_OK; i++) {

        cell = order[i].cell;
        hour = cell->hour;

        if (closed[0] && memcmp(hour, closed, USHERD_USAGE_HOUR) < 0) {
            hour = closed;
            *late += cell->requests;

        } else if (memcmp(hour, last, USHERD_USAGE_HOUR) > 0) {
            hour = last;
        }

        n = usherd_usage_line(line, cell, hour);
        rc = put(data, line, n);
    }

    free(order);

    return rc;
}


static int
usherd_usage_compare(const void *one, const void *two)
{
    const usherd_usage_order_t  *a = one;
    const usherd_usage_order_t  *b = two;

    return (a->key > b->key) - (a->key < b->key);
}


/*
 * hour, key_id, route, status, org_id, requests, units, bytes_sent,
 * duration_ms: the order in which the text lies.
 */

static size_t
usherd_usage_line(char *dst, const usherd_usage_cell_t *cell,
    const char *hour)
{
    char        *p;
    size_t       len;
    const char  *mid;

    p = dst;

    memcpy(p, hour, USHERD_USAGE_HOUR);
    p += USHERD_USAGE_HOUR;
    memcpy(p, ":00:00+00\t", 10);
    p += 10;

    mid = cell->mid;
    len = cell->mid_len;

    if (mid[0] == '\\' && mid[1] == 'N') {
        *p++ = '0';
        mid += 2;
        len -= 2;
    }

    memcpy(p, mid, len);
    p += len;
    *p++ = '\t';

    if (cell->org[0] == '\\' && cell->org[1] == 'N') {
        *p++ = '0';

    } else {
        memcpy(p, cell->org, cell->org_len);
        p += cell->org_len;
    }

    p = usherd_usage_text(p, (int64_t) cell->requests);
    p = usherd_usage_text(p, cell->units);
    p = usherd_usage_text(p, cell->bytes);
    p = usherd_usage_text(p, cell->duration);

    *p++ = '\n';

    return (size_t) (p - dst);
}


/* A tab and the number. */

static char *
usherd_usage_text(char *p, int64_t n)
{
    int       i;
    char      digits[20];
    uint64_t  value;

    *p++ = '\t';

    if (n < 0) {
        *p++ = '-';
    }

    value = n < 0 ? 0 - (uint64_t) n : (uint64_t) n;
    i = 0;

    do {
        digits[i++] = (char) ('0' + value % 10);
        value /= 10;
    } while (value > 0);

    while (i > 0) {
        *p++ = digits[--i];
    }

    return p;
}
