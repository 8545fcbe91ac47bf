/*
 * aho.c - words found in a text, against looking for each at each place.
 *
 *     build/unit/aho conf/bots.list t/data/agents-browsers.txt
 *
 * says what one search costs: for the words of a list, in texts that stand
 * one on a line, behind its last tab.
 */


#include <ctype.h>
#include <time.h>

#include "usher_aho.h"

#include "tap.h"


#define WORDS  4096
#define TEXTS  4096


static void *take(void *data, size_t size);
static usher_aho_t *make(const char *const *texts, unsigned flags);
static const char *found(usher_aho_t *aho, const char *text);
static unsigned same(uint64_t seed, unsigned flags);
static void letters(unsigned char *p, size_t len, uint64_t seed, unsigned n);
static size_t extent(const usher_aho_word_t *word);
static unsigned ends(const usher_aho_word_t *word, const unsigned char *text,
    size_t len, size_t end, unsigned flags);
static unsigned equal(const unsigned char *a, const unsigned char *b,
    size_t len, unsigned flags);
static int measure(const char *words, const char *texts);


static size_t  taken;       /* bytes */
static size_t  room;        /* bytes that may be */


int
main(int argc, char **argv)
{
    uint64_t          seed;
    unsigned          good;
    unsigned char     all[256];
    usher_aho_t      *aho;
    usher_aho_word_t  word;

    static const char *const  some[] = { "he", "she", "his", "hers", NULL };
    static const char *const  edges[] = { "^ab", "b$", "^ab$", "^b", NULL };
    static const char *const  twice[] = { "ab", "b", "ab", "", "AB", NULL };
    static const char *const  none[] = { NULL };

    room = 1 << 26;

    if (argc == 3) {
        return measure(argv[1], argv[2]);
    }

    aho = make(some, 0);
    ok(strcmp(found(aho, "ushers"), "1 0 3 ") == 0, "ends, longest first");
    ok(strcmp(found(aho, "hishe"), "2 1 0 ") == 0, "overlapping");
    ok(strcmp(found(aho, "hehe"), "0 0 ") == 0, "each time");
    ok(strcmp(found(aho, "h e"), "") == 0, "not with something between");
    ok(strcmp(found(aho, "HE"), "") == 0, "not in another case");
    ok(strcmp(found(aho, ""), "") == 0, "nothing in nothing");
    ok(usher_aho_size(aho) == taken, "size: what was taken");

    aho = make(some, USHER_AHO_CASELESS);
    ok(strcmp(found(aho, "uShErs"), "1 0 3 ") == 0, "caseless");

    aho = make(edges, 0);
    ok(strcmp(found(aho, "ab"), "0 2 1 ") == 0, "first, last and both");
    ok(strcmp(found(aho, "abab"), "0 1 ") == 0, "first is not last");
    ok(strcmp(found(aho, "xab"), "1 ") == 0, "not first");
    ok(strcmp(found(aho, "abx"), "0 ") == 0, "not last");
    ok(strcmp(found(aho, "bx"), "3 ") == 0, "another one first");

    aho = make(twice, 0);
    ok(strcmp(found(aho, "xab"), "0 2 1 ") == 0, "two that are the same");

    aho = make(twice, USHER_AHO_CASELESS);
    ok(strcmp(found(aho, "AB"), "0 2 4 1 ") == 0, "or the same but for case");

    aho = make(none, 0);
    ok(strcmp(found(aho, "abc"), "") == 0, "no words");

    for (seed = 0; seed < 256; seed++) {
        all[seed] = (unsigned char) seed;
    }

    word.data = all;
    word.len = sizeof(all);
    word.flags = USHER_AHO_FIRST|USHER_AHO_LAST;
    aho = usher_aho_create(&word, 1, 0, take, NULL);
    ok(aho != NULL && strcmp(found(aho, "abc"), "") == 0,
       "every byte there is");

    room = 100;
    ok(make(some, 0) == NULL, "no memory, no matcher");
    room = 1 << 26;

    for (seed = 1, good = 1; seed <= 2000; seed++) {
        good &= same(seed, seed % 2 ? 0 : USHER_AHO_CASELESS);
    }

    ok(good, "as if each were looked for at each place");

    return tap_done();
}


/* Never released: a sanitizer that looks for leaks finds it here. */

static void *
take(void *data, size_t size)
{
    static void    *kept[8192];
    static size_t   n;

    (void) data;

    taken = size;

    if (size > room || n == sizeof(kept) / sizeof(kept[0])) {
        return NULL;
    }

    kept[n] = malloc(size);

    return kept[n++];
}


/* ^ and $ stand for the edges of the text. */

static usher_aho_t *
make(const char *const *texts, unsigned flags)
{
    uint32_t          n;
    usher_aho_word_t  words[8];

    for (n = 0; texts[n]; n++) {
        words[n].data = (const unsigned char *) texts[n];
        words[n].len = strlen(texts[n]);
        words[n].flags = 0;

        if (texts[n][0] == '^') {
            words[n].data++;
            words[n].len--;
            words[n].flags |= USHER_AHO_FIRST;
        }

        if (words[n].len && words[n].data[words[n].len - 1] == '$') {
            words[n].len--;
            words[n].flags |= USHER_AHO_LAST;
        }
    }

    return usher_aho_create(words, n, flags, take, NULL);
}


/* The numbers of what is found, with the text on the heap without a NUL. */

static const char *
found(usher_aho_t *aho, const char *text)
{
    char              *out;
    size_t             len;
    uint32_t           word;
    unsigned char     *copy;
    usher_aho_scan_t   scan;

    static char  numbers[256];

    len = strlen(text);
    copy = malloc(len ? len : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, text, len);
    usher_aho_start(&scan, aho, copy, len);
    numbers[0] = '\0';
    out = numbers;

    while ((word = usher_aho_next(&scan)) != USHER_AHO_NONE) {
        out += sprintf(out, "%u ", word);
    }

    if (usher_aho_next(&scan) != USHER_AHO_NONE) {
        abort();
    }

    free(copy);

    return numbers;
}


/*
 * Random words of few letters, in a random text of the same; in half of them
 * none is so short that nothing may be skipped.
 */

static unsigned
same(uint64_t seed, unsigned flags)
{
    size_t            len, end, size;
    uint32_t          k, n;
    unsigned          good;
    usher_aho_t      *aho;
    usher_aho_word_t  words[24];
    unsigned char     pool[24][8], text[200], lot[3];
    usher_aho_scan_t  scan;

    tap_fill(lot, sizeof(lot), seed);

    n = lot[0] % 24 + 1;
    len = lot[1] % sizeof(text);
    letters(text, sizeof(text), seed * 64, lot[2] % 4 + 2);

    for (k = 0; k < n; k++) {
        letters(pool[k], sizeof(pool[k]), seed * 64 + k + 1, lot[2] % 4 + 2);
        tap_fill(lot, 2, seed * 64 + k + 1);

        words[k].data = pool[k];
        words[k].len = seed % 4 < 2 ? lot[0] % 7 : 3 + lot[0] % 4;
        words[k].flags = lot[1] % 8 < 4 ? lot[1] % 4 : 0;
    }

    aho = usher_aho_create(words, n, flags, take, NULL);
    if (aho == NULL) {
        return 0;
    }

    usher_aho_start(&scan, aho, text, len);
    good = 1;

    for (end = 1; end <= len + 1; end++) {
        for (size = 8; size; size--) {
            for (k = 0; k < n; k++) {
                if (extent(&words[k]) == size
                    && ends(&words[k], text, len, end, flags))
                {
                    good &= usher_aho_next(&scan) == k;
                }
            }
        }
    }

    return good && usher_aho_next(&scan) == USHER_AHO_NONE;
}


static void
letters(unsigned char *p, size_t len, uint64_t seed, unsigned n)
{
    tap_fill(p, len, seed);

    while (len--) {
        p[len] = (unsigned char) "abAB\xff"[p[len] % n];
    }
}


/* An edge counts as a byte. */

static size_t
extent(const usher_aho_word_t *word)
{
    return word->len == 0 ? 0 : word->len
                                + !!(word->flags & USHER_AHO_FIRST)
                                + !!(word->flags & USHER_AHO_LAST);
}


/* Whether it ends there, where beyond the text is its end. */

static unsigned
ends(const usher_aho_word_t *word, const unsigned char *text, size_t len,
    size_t end, unsigned flags)
{
    if ((end > len) != !!(word->flags & USHER_AHO_LAST)) {
        return 0;
    }

    end = end > len ? len : end;

    return end >= word->len
           && (end == word->len || !(word->flags & USHER_AHO_FIRST))
           && equal(word->data, text + end - word->len, word->len, flags);
}


static unsigned
equal(const unsigned char *a, const unsigned char *b, size_t len,
    unsigned flags)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (a[i] != b[i]
            && !((flags & USHER_AHO_CASELESS) && isalpha(a[i])
                 && tolower(a[i]) == tolower(b[i])))
        {
            return 0;
        }
    }

    return 1;
}


static int
measure(const char *words, const char *texts)
{
    int               turn;
    char             *p;
    FILE             *file;
    double            ns, best;
    uint32_t          n, m, i, k, hits;
    usher_aho_t      *aho;
    struct timespec   from, to;
    usher_aho_scan_t  scan;

    static char              line[4096];
    static usher_aho_word_t  word[WORDS], text[TEXTS];

    file = fopen(words, "r");

    for (n = 0; file && n < WORDS && fgets(line, sizeof(line), file); ) {
        p = strchr(line, '"');

        if (line[0] != '#' && p != NULL && strchr(p + 1, '"') != NULL) {
            word[n].data = (unsigned char *) strdup(p + 1);
            word[n].len = strchr(p + 1, '"') - p - 1;
            word[n].flags = line[0] == 'p' ? USHER_AHO_FIRST
                            : line[0] == 's' ? USHER_AHO_LAST : 0;
            n++;
        }
    }

    file = fopen(texts, "r");

    for (m = 0, ns = 0; file && m < TEXTS && fgets(line, sizeof(line), file); )
    {
        if (line[0] != '#' && line[0] != '\n') {
            p = strrchr(line, '\t');
            p = p ? p + 1 : line;
            text[m].data = (unsigned char *) strdup(p);
            text[m].len = strcspn(p, "\n");
            ns += (double) text[m++].len;
        }
    }

    aho = usher_aho_create(word, n, 0, take, NULL);

    if (aho == NULL || m == 0) {
        return 1;
    }

    printf("# %u words, %zu bytes; %u texts of %.0f bytes\n", n,
           usher_aho_size(aho), m, ns / m);

    for (turn = 0, best = 1e9; turn < 20; turn++) {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);

        for (k = 0, hits = 0; k < 200; k++) {
            for (i = 0; i < m; i++) {
                usher_aho_start(&scan, aho, text[i].data, text[i].len);

                while (usher_aho_next(&scan) != USHER_AHO_NONE) {
                    hits++;
                }
            }
        }

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);

        ns = ((double) (to.tv_sec - from.tv_sec) * 1e9
              + (double) (to.tv_nsec - from.tv_nsec)) / (200.0 * m);
        best = ns < best ? ns : best;
    }

    printf("# %.0f ns a text, %.1f hits\n", best, hits / (200.0 * m));

    return 0;
}
