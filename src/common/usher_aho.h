/*
 * usher_aho.h - which of many words a text has in it, one table step for each
 * byte at most, however many words there are (Aho and Corasick, "Efficient
 * string matching", CACM 18, 1975).
 *
 * Words are given once and never change.  The table has a row for each
 * beginning of a word and a column for each byte that occurs in one, of
 * 4 bytes each: the 1,500 words of conf/bots.list take 5 MB, of which an
 * ordinary text touches some dozens of cache lines.  Words of less than three
 * bytes (but USHER_AHO_FIRST) make all searches slower.
 */


#ifndef USHER_AHO_H
#define USHER_AHO_H


#include <stddef.h>
#include <stdint.h>


#define USHER_AHO_NONE      UINT32_MAX

/* Of a word. */
#define USHER_AHO_FIRST     1   /* only where the text begins */
#define USHER_AHO_LAST      2   /* only where it ends */

/* Of all of them. */
#define USHER_AHO_CASELESS  1   /* a-z as A-Z, in words and texts */


typedef struct {
    const unsigned char  *data;
    size_t                len;      /* 0: a word that is never found */
    unsigned              flags;    /* USHER_AHO_FIRST, USHER_AHO_LAST */
} usher_aho_word_t;


typedef struct usher_aho_s  usher_aho_t;


/* A search that is under way; the caller's, and nothing is to be released. */
typedef struct {
    const usher_aho_t    *aho;
    const unsigned char  *p;        /* next byte of the text */
    const unsigned char  *end;
    uint32_t              state;    /* its row, as an offset in the table */
    uint32_t              more;     /* word that ends here as well */
    unsigned              ended;    /* the end of the text was told */
} usher_aho_scan_t;


/* Memory of that many bytes, aligned for any type, or NULL. */
typedef void *(*usher_aho_alloc_pt)(void *data, size_t size);


/*
 * Builds a matcher of n words, numbered from 0, in memory that alloc(data)
 * gives in one piece; words are not needed afterwards.  NULL: no memory, or a
 * table beyond 8 GB.
 */
usher_aho_t *usher_aho_create(const usher_aho_word_t *words, uint32_t n,
    unsigned flags, usher_aho_alloc_pt alloc, void *data);

/* Bytes that alloc() was asked for. */
size_t usher_aho_size(const usher_aho_t *aho);

/* Begins a search in len bytes at p, which stay there until it is over. */
void usher_aho_start(usher_aho_scan_t *scan, const usher_aho_t *aho,
    const unsigned char *p, size_t len);

/*
 * The number of the next word, or USHER_AHO_NONE: in the order in which they
 * end, and of those that end together the longest first (an edge counts as a
 * byte), of the same ones the first.  One that stands there several times is
 * told each time.
 */
uint32_t usher_aho_next(usher_aho_scan_t *scan);


#endif
