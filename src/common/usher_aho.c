/*
 * usher_aho.c - which of many words a text has in it.
 *
 * DESIGN
 *
 * Words are first put into a tree, whose nodes are their beginnings.  The
 * table is filled from its root outwards: the row of a node is that of the
 * longest other beginning that its own text ends with (found already, being
 * shorter), but for the node's children.  So each byte is one step, and
 * nothing is ever gone back over.
 *
 * A row has a column for each class of bytes: those that occur in no word are
 * one class.  Two more stand for the edges of the text, and are stepped by no
 * byte: words that stand first begin with the one, words that stand last end
 * with the other.  The last column is the longest word that ends in this row;
 * others that do are the same, or its own endings, so each names the next.
 *
 * Entries are offsets in the table.  Where a word ends the top bit is set,
 * which is all that a step has to look at.
 *
 * Steps wait for each other, and in a program that does other things as well
 * most of them for the cache.  So where no more than one byte of a word has
 * been seen the text is skipped up to where three bytes stand with which one
 * begins, by a filter that is a hash of them: its looks do not wait for each
 * other.  It is off if there is a word of less than three bytes.  And columns
 * of bytes that texts are made of lie side by side.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_aho.h"


#define USHER_AHO_HIT     0x80000000U

#define USHER_AHO_FILTER  32768     /* bits */
#define USHER_AHO_HEAD    3         /* bytes that are hashed */


struct usher_aho_s {
    size_t          size;           /* bytes, of all of it */
    uint32_t       *table;
    uint32_t       *more;           /* by word: what ends with it as well */
    uint32_t        start;          /* row in which a text begins */
    uint32_t        first;          /* column: the beginning of a text */
    uint32_t        last;           /* its end */
    uint32_t        word;           /* the longest word that ends here */
    uint32_t        stride;         /* columns of a row */
    uint32_t        low;            /* rows before it have seen at most one
                                       byte; 0: nothing is skipped */
    uint32_t        fold;           /* for the filter: bits of letter case */
    unsigned char   class[256];     /* column of a byte */
    uint32_t        filter[USHER_AHO_FILTER / 32];
};


typedef struct {
    uint32_t        child;          /* first of them; 0: none */
    uint32_t        sibling;        /* next child of the same node; 0: none */
    uint32_t        word;           /* that ends here, or USHER_AHO_NONE */
    uint32_t        column;
    uint32_t        row;            /* offset in the table */
    uint32_t        fail;           /* row of the longest other beginning */
} usher_aho_node_t;


typedef struct {
    usher_aho_node_t  *nodes;       /* [0] is the root */
    uint32_t          *same;        /* by word: the next of the same text */
    uint32_t           n;           /* nodes */
} usher_aho_tree_t;


static void usher_aho_classes(usher_aho_t *aho, const usher_aho_word_t *words,
    uint32_t n, unsigned flags);
static int usher_aho_tree(usher_aho_tree_t *tree, usher_aho_t *aho,
    const usher_aho_word_t *words, uint32_t n);
static uint32_t usher_aho_child(usher_aho_tree_t *tree, uint32_t node,
    uint32_t column);
static void usher_aho_word(usher_aho_tree_t *tree, uint32_t node,
    uint32_t word);
static int usher_aho_fill(usher_aho_t *aho, usher_aho_tree_t *tree);
static void usher_aho_row(usher_aho_t *aho, usher_aho_tree_t *tree,
    uint32_t node, uint32_t *queue, uint32_t *last);
static void usher_aho_filter(usher_aho_t *aho, const usher_aho_word_t *words,
    uint32_t n, unsigned flags);
static inline uint32_t usher_aho_hash(uint32_t head);
static const unsigned char *usher_aho_skip(const usher_aho_t *aho,
    const unsigned char *p, const unsigned char *end);


/* Those of User-Agents, the most frequent first. */
static const unsigned char  usher_aho_usual[] =
    " .ie01lo/5a3M6rn;42k7pS()KAbcdLtTWhP8GCzsHu,BfOmx9_VUwEXFN-v"
    "IgDRyQ:+[]JYZ@q#=";


usher_aho_t *
usher_aho_create(const usher_aho_word_t *words, uint32_t n, unsigned flags,
    usher_aho_alloc_pt alloc, void *data)
{
    size_t            rows;
    usher_aho_t       head, *aho;
    usher_aho_tree_t  tree;

    aho = NULL;
    memset(&tree, 0, sizeof(usher_aho_tree_t));

    usher_aho_classes(&head, words, n, flags);

    if (usher_aho_tree(&tree, &head, words, n) != 0) {
        goto done;
    }

    rows = (size_t) tree.n * head.stride;

    if (rows >= USHER_AHO_HIT) {
        goto done;
    }

    head.size = sizeof(usher_aho_t) + (rows + n) * sizeof(uint32_t);

    aho = alloc(data, head.size);
    if (aho == NULL) {
        goto done;
    }

    *aho = head;
    aho->table = (uint32_t *) (aho + 1);
    aho->more = aho->table + rows;

    memset(aho->more, 0xff, n * sizeof(uint32_t));

    /* what was given stays the giver's */

    if (usher_aho_fill(aho, &tree) != 0) {
        aho = NULL;
        goto done;
    }

    usher_aho_filter(aho, words, n, flags);

done:

    free(tree.nodes);
    free(tree.same);

    return aho;
}


static void
usher_aho_classes(usher_aho_t *aho, const usher_aho_word_t *words, uint32_t n,
    unsigned flags)
{
    size_t    k;
    uint32_t  i, columns, other;
    unsigned  used[256];

    memset(aho, 0, sizeof(usher_aho_t));
    memset(used, 0, sizeof(used));

    for (i = 0; i < n; i++) {
        for (k = 0; k < words[i].len; k++) {
            used[words[i].data[k]] = 1;
        }
    }

    for (i = 'a'; i <= 'z' && (flags & USHER_AHO_CASELESS); i++) {
        used[i] |= used[i - 0x20];
        used[i - 0x20] = 0;
    }

    columns = 0;

    for (i = 0; usher_aho_usual[i]; i++) {
        if (used[usher_aho_usual[i]] == 1) {
            used[usher_aho_usual[i]] = 2;
            aho->class[usher_aho_usual[i]] = (unsigned char) columns++;
        }
    }

    for (i = 0; i < 256; i++) {
        if (used[i] == 1) {
            aho->class[i] = (unsigned char) columns++;
        }
    }

    other = columns;

    for (i = 0; i < 256; i++) {

        if (used[i]) {
            continue;
        }

        if (i >= 'A' && i <= 'Z' && used[i + 0x20]
            && (flags & USHER_AHO_CASELESS))
        {
            aho->class[i] = aho->class[i + 0x20];
            continue;
        }

        aho->class[i] = (unsigned char) other;
        columns = other + 1;
    }

    aho->first = columns++;
    aho->last = columns++;
    aho->word = columns++;
    aho->stride = columns;
}


static int
usher_aho_tree(usher_aho_tree_t *tree, usher_aho_t *aho,
    const usher_aho_word_t *words, uint32_t n)
{
    size_t    room, k;
    uint32_t  i, node;

    for (i = 0, room = 1; i < n; i++) {
        room += words[i].len + 2;
    }

    if (room >= USHER_AHO_HIT) {
        return -1;
    }

    tree->nodes = malloc(room * sizeof(usher_aho_node_t));
    tree->same = malloc((n + 1) * sizeof(uint32_t));

    if (tree->nodes == NULL || tree->same == NULL) {
        return -1;
    }

    memset(tree->same, 0xff, (n + 1) * sizeof(uint32_t));
    memset(&tree->nodes[0], 0, sizeof(usher_aho_node_t));
    tree->nodes[0].word = USHER_AHO_NONE;
    tree->n = 1;

    for (i = 0; i < n; i++) {

        if (words[i].len == 0) {
            continue;
        }

        node = 0;

        if (words[i].flags & USHER_AHO_FIRST) {
            node = usher_aho_child(tree, node, aho->first);
        }

        for (k = 0; k < words[i].len; k++) {
            node = usher_aho_child(tree, node, aho->class[words[i].data[k]]);
        }

        if (words[i].flags & USHER_AHO_LAST) {
            node = usher_aho_child(tree, node, aho->last);
        }

        usher_aho_word(tree, node, i);
    }

    return 0;
}


/* Found or made. */

static uint32_t
usher_aho_child(usher_aho_tree_t *tree, uint32_t node, uint32_t column)
{
    uint32_t           i;
    usher_aho_node_t  *child;

    for (i = tree->nodes[node].child; i; i = tree->nodes[i].sibling) {
        if (tree->nodes[i].column == column) {
            return i;
        }
    }

    i = tree->n++;
    child = &tree->nodes[i];

    memset(child, 0, sizeof(usher_aho_node_t));
    child->word = USHER_AHO_NONE;
    child->column = column;
    child->sibling = tree->nodes[node].child;
    tree->nodes[node].child = i;

    return i;
}


static void
usher_aho_word(usher_aho_tree_t *tree, uint32_t node, uint32_t word)
{
    uint32_t  *last;

    last = &tree->nodes[node].word;

    while (*last != USHER_AHO_NONE) {
        last = &tree->same[*last];
    }

    *last = word;
}


static int
usher_aho_fill(usher_aho_t *aho, usher_aho_tree_t *tree)
{
    uint32_t   i, last, *queue;

    queue = malloc(tree->n * sizeof(uint32_t));
    if (queue == NULL) {
        return -1;
    }

    memset(aho->table, 0, aho->stride * sizeof(uint32_t));
    aho->table[aho->word] = USHER_AHO_NONE;

    queue[0] = 0;
    last = 1;

    for (i = 0; i < last; i++) {
        usher_aho_row(aho, tree, queue[i], queue, &last);

        if (i == 0) {
            aho->low = last * aho->stride;
        }
    }

    free(queue);

    aho->start = aho->table[aho->first];

    return 0;
}


/* Fills the row of a node, and places those of its children. */

static void
usher_aho_row(usher_aho_t *aho, usher_aho_tree_t *tree, uint32_t node,
    uint32_t *queue, uint32_t *last)
{
    uint32_t           i, k, word, *row, *fail;
    usher_aho_node_t  *parent, *child;

    parent = &tree->nodes[node];
    row = &aho->table[parent->row];
    fail = &aho->table[parent->fail];

    if (node != 0) {
        memcpy(row, fail, aho->word * sizeof(uint32_t));
    }

    for (i = parent->child; i; i = child->sibling) {
        child = &tree->nodes[i];

        child->row = *last * aho->stride;
        child->fail = node ? fail[child->column] & ~USHER_AHO_HIT : 0;
        word = aho->table[child->fail + aho->word];

        if (child->word != USHER_AHO_NONE) {

            for (k = child->word; tree->same[k] != USHER_AHO_NONE;
                 k = aho->more[k])
            {
                aho->more[k] = tree->same[k];
            }

            aho->more[k] = word;
            word = child->word;
        }

        aho->table[child->row + aho->word] = word;

        row[child->column] = child->row;

        if (word != USHER_AHO_NONE) {
            row[child->column] |= USHER_AHO_HIT;
        }

        queue[(*last)++] = i;
    }
}


static void
usher_aho_filter(usher_aho_t *aho, const usher_aho_word_t *words, uint32_t n,
    unsigned flags)
{
    uint32_t              i, bit;
    const unsigned char  *p;

    aho->fold = (flags & USHER_AHO_CASELESS) ? 0x202020 : 0;

    for (i = 0; i < n; i++) {

        /* one that stands first is begun before anything is skipped */

        if (words[i].len == 0 || (words[i].flags & USHER_AHO_FIRST)) {
            continue;
        }

        if (words[i].len < USHER_AHO_HEAD) {
            aho->low = 0;
            return;
        }

        p = words[i].data;
        bit = usher_aho_hash((p[0] | (uint32_t) p[1] << 8
                              | (uint32_t) p[2] << 16) | aho->fold);

        aho->filter[bit / 32] |= 1U << bit % 32;
    }
}


/* Three bytes: the last in the highest bits. */

static inline uint32_t
usher_aho_hash(uint32_t head)
{
    return head * 2654435761U >> 17;
}


size_t
usher_aho_size(const usher_aho_t *aho)
{
    return aho->size;
}


void
usher_aho_start(usher_aho_scan_t *scan, const usher_aho_t *aho,
    const unsigned char *p, size_t len)
{
    scan->aho = aho;
    scan->p = p;
    scan->end = p + len;
    scan->state = aho->start;
    scan->more = USHER_AHO_NONE;
    scan->ended = 0;
}


uint32_t
usher_aho_next(usher_aho_scan_t *scan)
{
    uint32_t              state, word;
    const uint32_t       *table;
    const usher_aho_t    *aho;
    const unsigned char  *p, *end;

    aho = scan->aho;

    if (scan->more != USHER_AHO_NONE) {
        word = scan->more;
        scan->more = aho->more[word];
        return word;
    }

    table = aho->table;
    state = scan->state;
    end = scan->end;

    for (p = scan->p; p < end; /* void */ ) {
        state = table[state + aho->class[*p++]];

        if (state & USHER_AHO_HIT) {
            goto found;
        }

        if (state < aho->low) {

            /* the byte that was seen is looked at again */

            p = usher_aho_skip(aho, state ? p - 1 : p, end);
            state = p < end ? table[aho->class[*p++]] : 0;
        }
    }

    if (scan->ended) {
        return USHER_AHO_NONE;
    }

    scan->ended = 1;
    state = table[state + aho->last];

    if (!(state & USHER_AHO_HIT)) {
        scan->p = end;
        return USHER_AHO_NONE;
    }

found:

    scan->p = p;
    scan->state = state & ~USHER_AHO_HIT;

    word = table[scan->state + aho->word];
    scan->more = aho->more[word];

    return word;
}


/* Where a word may begin, or the end: what is left is too short for one. */

static const unsigned char *
usher_aho_skip(const usher_aho_t *aho, const unsigned char *p,
    const unsigned char *end)
{
    uint32_t  head, bit;

    if (end - p < USHER_AHO_HEAD) {
        return end;
    }

    head = (uint32_t) p[0] << 8 | (uint32_t) p[1] << 16;

    for ( ; p <= end - USHER_AHO_HEAD; p++) {
        head = head >> 8 | (uint32_t) p[2] << 16;
        bit = usher_aho_hash(head | aho->fold);

        if (aho->filter[bit / 32] & 1U << bit % 32) {
            return p;
        }
    }

    return end;
}
