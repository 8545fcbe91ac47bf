
/*
 * ngx_http_usher_ship_entry.c - the entries of a stream: which is next, and
 * how it is written.
 *
 * An entry holds whole seals, but where a slot was cut at a fork: its chain is
 * known from the first of them, and its bytes were checked or are the process's
 * own.
 */


#include "ngx_http_usher_journal.h"


static void ngx_http_usher_ship_cut(ngx_http_usher_slot_t *s,
    ngx_http_usher_entry_t *e);
static ngx_int_t ngx_http_usher_ship_mapped(ngx_http_usher_slot_t *s,
    ngx_http_usher_entry_t *e);
static ngx_int_t ngx_http_usher_ship_takeup(ngx_http_usher_slot_t *s,
    size_t len, ngx_uint_t argc, ngx_str_t *argv);


/* The entry that follows on what was shipped. */

ngx_int_t
ngx_http_usher_ship_next(ngx_http_usher_slot_t *s, ngx_http_usher_entry_t *e)
{
    ngx_http_usher_seg_t    *seg;
    ngx_http_usher_read_t   *rd;
    ngx_http_usher_entry_t  *got;

    ngx_memzero(e, sizeof(ngx_http_usher_entry_t));

    if (s->shipped >= s->end) {

        if (!s->adopted || s->ended) {
            return NGX_DONE;
        }

        e->from = e->end = s->end;
        e->last = 1;

        return NGX_OK;
    }

    if (s->nsegs == 0) {
        return NGX_ERROR;
    }

    if (s->shipped < s->segs[0].base) {
        e->from = s->shipped;
        e->end = s->segs[0].base;
        e->chain = s->segs[0].chain;
        e->hole = "freed";

        return NGX_OK;
    }

    seg = ngx_http_usher_slot_seg(s);

    if (s->own && seg == &s->segs[s->nsegs - 1]) {
        return ngx_http_usher_ship_mapped(s, e);
    }

    rd = &s->read;

    if (rd->task.active || rd->task.task.event.active) {
        return NGX_AGAIN;
    }

    while (rd->current < rd->nentries) {
        got = &rd->entries[rd->current];

        if (got->from <= s->shipped && s->shipped < got->end) {
            *e = *got;
            ngx_http_usher_ship_cut(s, e);
            return NGX_OK;
        }

        rd->current++;
    }

    return ngx_http_usher_read_start(s) == NGX_ERROR ? NGX_ERROR : NGX_AGAIN;
}


/* What lies above a fork is in other slots: a line ends there. */

static void
ngx_http_usher_ship_cut(ngx_http_usher_slot_t *s, ngx_http_usher_entry_t *e)
{
    if (e->end <= s->end) {
        return;
    }

    e->end = s->end;

    if (e->data != NULL) {
        e->lines = ngx_http_usher_read_lines(e->data, e->end - e->from);
    }
}


/* From the segment being written: whole seals, up to 64 KB of them. */

static ngx_int_t
ngx_http_usher_ship_mapped(ngx_http_usher_slot_t *s,
    ngx_http_usher_entry_t *e)
{
    u_char                    *map;
    uint64_t                   low, high, i, n;
    usher_seal_t              *seal;
    ngx_http_usher_journal_t  *j;

    j = s->journal;
    map = j->map.map;
    n = j->head->nseals;

#define ngx_http_usher_seal(i)                                                \
    ((usher_seal_t *) (map + usher_seal_offset(s->segment, i)))

    i = s->hint;

    if (i >= n || ngx_http_usher_seal(i)->from > s->shipped
        || ngx_http_usher_seal(i)->end <= s->shipped)
    {
        low = 0;
        high = n;

        while (low < high) {
            i = (low + high) / 2;

            if (ngx_http_usher_seal(i)->end <= s->shipped) {
                low = i + 1;

            } else {
                high = i;
            }
        }

        i = low;
    }

    if (i >= n) {
        return NGX_DONE;
    }

    seal = ngx_http_usher_seal(i);

    e->from = seal->from;
    e->end = seal->end;
    e->chain = seal->chain;
    e->lines = seal->lines;
    e->data = map + USHER_SEGMENT_HEADER + (seal->from - j->head->base);

    for (i++; i < n; i++) {
        seal = ngx_http_usher_seal(i);

        if (seal->end - e->from > NGX_HTTP_USHER_SHIP_SIZE) {
            break;
        }

        e->end = seal->end;
        e->lines += seal->lines;
    }

#undef ngx_http_usher_seal

    s->hint = i;

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_ship_entry(ngx_http_usher_slot_t *s, ngx_http_usher_entry_t *e)
{
    char                       key[sizeof(USHER_STREAM_PREFIX)
                                   + USHER_SLOT_TEXT];
    char                       chain[17];
    u_char                     id[NGX_INT64_LEN + 3];
    u_char                     from[NGX_INT64_LEN];
    u_char                     lines[NGX_INT64_LEN];
    size_t                     len;
    ngx_int_t                  rc;
    ngx_str_t                  argv[13];
    ngx_uint_t                 n, takeup, first;
    ngx_http_usher_journal_t  *j;

    j = s->journal;
    first = (s->shipped <= s->acked);
    len = (e->data != NULL) ? (size_t) (e->end - e->from) : 0;
    takeup = s->takeup;
    n = 0;

    if (takeup || s->announce == 0) {
        ngx_http_usher_ack_announce(s);
    }

#define ngx_http_usher_arg(p, l)                                              \
    (argv[n].data = (u_char *) (p), argv[n].len = (l), n++)
#define ngx_http_usher_word(w)  ngx_http_usher_arg(w, sizeof(w) - 1)

    ngx_http_usher_word("XADD");
    ngx_http_usher_arg(key, ngx_sprintf((u_char *) key, "%s%s",
                                        USHER_STREAM_PREFIX, s->text)
                            - (u_char *) key);
    ngx_http_usher_arg(id, ngx_sprintf(id, "%uL-%d", e->end, e->last)
                           - id);
    ngx_http_usher_word(USHER_ENTRY_VERSION);
    ngx_http_usher_word("1");
    ngx_http_usher_word(USHER_ENTRY_FROM);
    ngx_http_usher_arg(from, ngx_sprintf(from, "%uL", e->from) - from);

    if (e->last) {
        ngx_http_usher_word(USHER_ENTRY_END);
        ngx_http_usher_word("1");

    } else {
        usher_hex64_text(e->chain, chain);

        if (e->hole != NULL) {
            ngx_http_usher_word(USHER_ENTRY_CHAIN);
            ngx_http_usher_arg(chain, 16);
            ngx_http_usher_word(USHER_ENTRY_HOLE);
            ngx_http_usher_arg(e->hole, ngx_strlen(e->hole));

        } else {
            ngx_http_usher_word(USHER_ENTRY_LINES);
            ngx_http_usher_arg(lines, ngx_sprintf(lines, "%ui", e->lines)
                                      - lines);
            ngx_http_usher_word(USHER_ENTRY_CHAIN);
            ngx_http_usher_arg(chain, 16);
            ngx_http_usher_word(USHER_ENTRY_DATA);
            ngx_http_usher_arg(e->data, len);
        }
    }

#undef ngx_http_usher_word
#undef ngx_http_usher_arg

    s->shipped = e->end;
    s->ended |= e->last;
    s->takeup = 0;

    if (takeup) {
        rc = ngx_http_usher_ship_takeup(s, len, n, argv);

        ngx_http_usher_count(journal_takeups);

    } else {
        rc = ngx_http_usher_ship_command(s, ngx_http_usher_ship_added, len,
                                         n, argv);
    }

    ngx_http_usher_add(journal_shipped_bytes, len);

    if (e->hole != NULL) {
        ngx_http_usher_count(journal_holes);
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "usher journal: slot %s has a hole from %uL to %uL: %s",
                      s->text, e->from, e->end, e->hole);
    }

    /* the clock runs from the first that waits, not from the last */

    if (first && (ngx_msec_int_t) (s->check - ngx_current_msec) <= 0) {
        s->check = ngx_current_msec + s->backoff;
    }

    ngx_http_usher_ship_window(s);

    if (s == j->own) {
        j->figures->shipped = s->shipped;
    }

    if (rc != NGX_OK) {

        /* the connection is gone: the next one is asked what arrived */

        s->checked = 0;
    }

    return rc;
}


/*
 * What the stream held goes in the same step in which its first entry comes,
 * so that no reader finds it without.
 */

static ngx_int_t
ngx_http_usher_ship_takeup(ngx_http_usher_slot_t *s, size_t len,
    ngx_uint_t argc, ngx_str_t *argv)
{
    ngx_str_t  word, del[2];

    ngx_str_set(&word, "MULTI");

    if (ngx_http_usher_ship_command(s, ngx_http_usher_ship_queued, 0, 1,
                                    &word)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_set(&del[0], "DEL");
    del[1] = argv[1];

    if (ngx_http_usher_ship_command(s, ngx_http_usher_ship_queued, 0, 2, del)
        != NGX_OK
        || ngx_http_usher_ship_command(s, ngx_http_usher_ship_queued, len,
                                       argc, argv)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_set(&word, "EXEC");

    return ngx_http_usher_ship_command(s, ngx_http_usher_ship_added, 0, 1,
                                       &word);
}
