/*
 * table.c - JSON for people: aligned tables by the width of characters.
 *
 * An array of objects is a table; columns that are empty in every row are
 * left out.  An object is a list of names and values, its arrays of objects
 * tables below it.  What came from outside (a user agent, a path) may hold
 * control characters: they are shown, never sent to the terminal.
 *
 * A table that is wider than the terminal is cut in what is text.  What names
 * a thing or a moment is of no use in part: if it does not fit even so, the
 * rows are shown one below the other, each as a list of names and values.
 */


#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "ctl.h"


#define CTL_COLUMNS     64    /* more are left out of a table */
#define CTL_COLUMN_MIN  16    /* columns are not cut below this width */
#define CTL_WORD_MAX    64    /* what is longer is text: a digest has so many */


typedef struct {
    char        *text;        /* UTF-8, printable */
    size_t       width;       /* columns of a terminal */
    unsigned     right:1;
    unsigned     prose:1;     /* may be cut */
} ctl_cell_t;


typedef struct {
    const char  *name;
    size_t       width;
    size_t       least;       /* it is not cut below this width */
    unsigned     right:1;     /* all values are numbers */
} ctl_column_t;


static int ctl_is_table(json_t *value);
static void ctl_table_object(FILE *out, json_t *object, size_t width);
static void ctl_table_pairs(FILE *out, json_t *object,
    const ctl_column_t *columns, size_t n);
static void ctl_table_rows(FILE *out, json_t *rows, size_t width);
static size_t ctl_table_columns(json_t *rows, ctl_column_t *columns);
static int ctl_table_measure(json_t *rows, ctl_column_t *columns, size_t n,
    size_t width);
static void ctl_table_aside(FILE *out, json_t *rows,
    const ctl_column_t *columns, size_t n);
static void ctl_table_put(FILE *out, const ctl_cell_t *cell, size_t width,
    int right, int last);
static int ctl_is_empty(json_t *value);
static int ctl_rank(const char *name);
static int ctl_is_name(const char *name);
static int ctl_is_word(const char *text);
static ctl_cell_t ctl_cell(json_t *value);
static char *ctl_flat(json_t *value);
static char *ctl_moment(const char *text);
static size_t ctl_char(const char *text, size_t *width);


void
ctl_table(FILE *out, json_t *value, size_t width)
{
    ctl_cell_t  cell;

    if (ctl_is_table(value)) {
        ctl_table_rows(out, value, width);
        return;
    }

    if (json_is_object(value)) {
        ctl_table_object(out, value, width);
        return;
    }

    if (json_is_array(value) && json_array_size(value) == 0) {
        fputs("(none)\n", out);
        return;
    }

    cell = ctl_cell(value);
    fprintf(out, "%s\n", cell.text);
    free(cell.text);
}


static int
ctl_is_table(json_t *value)
{
    size_t   n;
    json_t  *row;

    if (!json_is_array(value) || json_array_size(value) == 0) {
        return 0;
    }

    json_array_foreach(value, n, row) {
        if (!json_is_object(row)) {
            return 0;
        }
    }

    return 1;
}


static void
ctl_table_object(FILE *out, json_t *object, size_t width)
{
    size_t       i, n, pairs;
    json_t      *value;
    const char  *name;
    ctl_cell_t   label;

    ctl_column_t  columns[CTL_COLUMNS];

    value = json_pack("[O]", object);
    if (value == NULL) {
        abort();
    }

    n = ctl_table_columns(value, columns);
    json_decref(value);

    pairs = 0;

    for (i = 0; i < n; i++) {
        if (!ctl_is_table(json_object_get(object, columns[i].name))) {
            columns[pairs++] = columns[i];
        }
    }

    ctl_table_pairs(out, object, columns, pairs);

    json_object_foreach(object, name, value) {
        if (ctl_is_table(value)) {
            label.text = ctl_printable(name, &label.width);
            fprintf(out, "\n%s:\n", label.text);
            free(label.text);
            ctl_table_rows(out, value, width);
        }
    }
}


/* Names and values, a line each; what is empty is left out. */

static void
ctl_table_pairs(FILE *out, json_t *object, const ctl_column_t *columns,
    size_t n)
{
    size_t       i, names;
    json_t      *value;
    ctl_cell_t   cell, label;

    names = 0;

    for (i = 0; i < n; i++) {
        free(ctl_printable(columns[i].name, &label.width));
        names = (label.width > names) ? label.width : names;
    }

    for (i = 0; i < n; i++) {
        value = json_object_get(object, columns[i].name);

        if (value == NULL || ctl_is_empty(value)) {
            continue;
        }

        cell = ctl_cell(value);
        label.text = ctl_printable(columns[i].name, &label.width);

        ctl_table_put(out, &label, names, 0, 0);
        ctl_table_put(out, &cell, 0, 0, 1);

        free(label.text);
        free(cell.text);
    }
}


static void
ctl_table_rows(FILE *out, json_t *rows, size_t width)
{
    size_t      i, r, n;
    json_t     *row;
    ctl_cell_t  cell;

    ctl_column_t  columns[CTL_COLUMNS];

    n = ctl_table_columns(rows, columns);

    if (ctl_table_measure(rows, columns, n, width) != CTL_OK) {
        ctl_table_aside(out, rows, columns, n);
        return;
    }

    for (i = 0; i < n; i++) {
        cell.text = ctl_printable(columns[i].name, &cell.width);
        ctl_table_put(out, &cell, columns[i].width, columns[i].right,
                      i == n - 1);
        free(cell.text);
    }

    json_array_foreach(rows, r, row) {
        for (i = 0; i < n; i++) {
            cell = ctl_cell(json_object_get(row, columns[i].name));
            ctl_table_put(out, &cell, columns[i].width, columns[i].right,
                          i == n - 1);
            free(cell.text);
        }
    }
}


/*
 * The names of all rows that have a value somewhere.  jsonb has its own order
 * of names; what tells things apart is put first.
 */

static size_t
ctl_table_columns(json_t *rows, ctl_column_t *columns)
{
    size_t         i, r, n;
    json_t        *row, *value;
    const char    *name;
    ctl_column_t   column;

    n = 0;

    json_array_foreach(rows, r, row) {
        json_object_foreach(row, name, value) {

            for (i = 0; i < n; i++) {
                if (strcmp(columns[i].name, name) == 0) {
                    break;
                }
            }

            if (i == n && n < CTL_COLUMNS && !ctl_is_empty(value)) {
                columns[n].name = name;
                columns[n].width = 0;
                columns[n].least = 0;
                columns[n].right = 1;
                n++;
            }
        }
    }

    /* Insertion keeps the order of equals. */

    for (r = 1; r < n; r++) {
        column = columns[r];

        for (i = r;
             i > 0 && ctl_rank(columns[i - 1].name) > ctl_rank(column.name);
             i--)
        {
            columns[i] = columns[i - 1];
        }

        columns[i] = column;
    }

    return n;
}


static int
ctl_rank(const char *name)
{
    int  i;

    static const char *first[] = {
        "ok", "problems", "key", "id", "slot", "time", "at", "actor",
        "function", "org", "name", "display", NULL
    };

    for (i = 0; first[i] != NULL; i++) {
        if (strcmp(first[i], name) == 0) {
            break;
        }
    }

    return i;
}


/* What cannot be a word, by any of its values, is cut; CTL_ERROR: too wide. */

static int
ctl_table_measure(json_t *rows, ctl_column_t *columns, size_t n,
    size_t width)
{
    int         prose;
    size_t      i, r, total, widest;
    json_t     *row;
    ctl_cell_t  cell;

    total = 0;

    for (i = 0; i < n; i++) {
        prose = 0;

        free(ctl_printable(columns[i].name, &columns[i].width));
        columns[i].least = columns[i].width;

        json_array_foreach(rows, r, row) {
            cell = ctl_cell(json_object_get(row, columns[i].name));
            free(cell.text);

            if (cell.width > columns[i].width) {
                columns[i].width = cell.width;
            }

            if (cell.width > 0 && !cell.right) {
                columns[i].right = 0;
            }

            prose |= cell.prose;
        }

        if (!prose || ctl_is_name(columns[i].name)) {
            columns[i].least = columns[i].width;

        } else if (columns[i].least < CTL_COLUMN_MIN) {
            columns[i].least = CTL_COLUMN_MIN;
        }

        total += columns[i].width + (i > 0 ? 2 : 0);
    }

    while (width > 0 && total > width) {
        widest = n;

        for (i = 0; i < n; i++) {
            if (columns[i].width > columns[i].least
                && (widest == n || columns[i].width > columns[widest].width))
            {
                widest = i;
            }
        }

        if (widest == n) {
            return CTL_ERROR;
        }

        columns[widest].width--;
        total--;
    }

    return CTL_OK;
}


static void
ctl_table_aside(FILE *out, json_t *rows, const ctl_column_t *columns,
    size_t n)
{
    size_t   r;
    json_t  *row;

    json_array_foreach(rows, r, row) {
        if (r > 0) {
            fputc('\n', out);
        }

        ctl_table_pairs(out, row, columns, n);
    }
}


static void
ctl_table_put(FILE *out, const ctl_cell_t *cell, size_t width, int right,
    int last)
{
    size_t       pad, len, w, used;
    const char  *p;

    pad = (cell->width < width) ? width - cell->width : 0;

    if (right) {
        fprintf(out, "%*s", (int) pad, "");
    }

    if (width == 0 || cell->width <= width) {
        fputs(cell->text, out);

    } else {
        /* One column is for the mark that something was cut. */

        for (p = cell->text, used = 0; /* void */ ; p += len, used += w) {
            len = ctl_char(p, &w);
            if (used + w > width - 1) {
                break;
            }
        }

        fwrite(cell->text, 1, p - cell->text, out);
        fprintf(out, "\xe2\x80\xa6%*s", (int) (width - 1 - used), "");
    }

    if (last) {
        fputc('\n', out);
        return;
    }

    fprintf(out, "%*s", (int) (right ? 2 : pad + 2), "");
}


/* Columns that name things are never cut, whatever a client put in there. */

static int
ctl_is_name(const char *name)
{
    int  i;

    static const char *names[] = { "id", "key", "slot", "request", NULL };

    for (i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            return 1;
        }
    }

    return 0;
}


static int
ctl_is_word(const char *text)
{
    size_t  len;

    static const char  letters[] = "abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789.:_+-";

    len = strspn(text, letters);

    return text[len] == '\0' && len <= CTL_WORD_MAX;
}


static int
ctl_is_empty(json_t *value)
{
    return json_is_null(value)
           || (json_is_string(value) && json_string_length(value) == 0)
           || (json_is_array(value) && json_array_size(value) == 0);
}


static ctl_cell_t
ctl_cell(json_t *value)
{
    char        *text, *moment;
    ctl_cell_t   cell;

    memset(&cell, 0, sizeof(ctl_cell_t));

    cell.right = json_is_number(value);

    if (value == NULL || json_is_null(value)) {
        cell.text = ctl_printable("", &cell.width);
        return cell;
    }

    if (json_is_string(value)) {
        moment = ctl_moment(json_string_value(value));
        cell.prose = moment == NULL && !ctl_is_word(json_string_value(value));
        cell.text = ctl_printable(moment != NULL ? moment
                                                 : json_string_value(value),
                                  &cell.width);
        free(moment);
        return cell;
    }

    cell.prose = json_is_array(value) || json_is_object(value);

    text = cell.prose ? ctl_flat(value) : json_dumps(value, JSON_ENCODE_ANY);

    if (text == NULL) {
        abort();
    }

    cell.text = ctl_printable(text, &cell.width);
    free(text);

    return cell;
}


/*
 * What stands inside a value: {"a": 1, "b": "c"} is "a 1 b c", and things of
 * an array are separated by commas.
 */

static char *
ctl_flat(json_t *value)
{
    FILE        *out;
    char        *text, *inner;
    size_t       i, n;
    json_t      *item;
    const char  *name;

    out = open_memstream(&text, &n);
    if (out == NULL) {
        abort();
    }

    n = 0;

    if (json_is_object(value)) {
        json_object_foreach(value, name, item) {
            inner = ctl_flat(item);
            fprintf(out, "%s%s %s", n++ ? " " : "", name, inner);
            free(inner);
        }

    } else if (json_is_array(value)) {
        json_array_foreach(value, i, item) {
            inner = ctl_flat(item);
            fprintf(out, "%s%s", i ? ", " : "", inner);
            free(inner);
        }

    } else if (json_is_string(value)) {
        fputs(json_string_value(value), out);

    } else {
        inner = json_dumps(value, JSON_ENCODE_ANY);
        fputs(inner == NULL ? "" : inner, out);
        free(inner);
    }

    if (fclose(out) != 0) {
        abort();
    }

    return text;
}


/* "2026-11-20T11:56:57.751654+00:00" without what people skip; or NULL. */

static char *
ctl_moment(const char *text)
{
    char        *moment;
    size_t       i;

    static const char  form[] = "dddd-dd-ddTdd:dd:dd";

    for (i = 0; form[i] != '\0'; i++) {
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9'
                           : text[i] != form[i])
        {
            return NULL;
        }
    }

    if (text[i] == '.') {
        i += 1 + strspn(text + i + 1, "0123456789");
    }

    if (strcmp(text + i, "+00:00") != 0) {
        return NULL;
    }

    moment = strndup(text, sizeof(form) - 1);
    if (moment == NULL) {
        abort();
    }

    moment[10] = ' ';

    return moment;
}


/* A copy in which control characters are \xHH, and its width. */

char *
ctl_printable(const char *text, size_t *width)
{
    char    *copy, *p;
    size_t   len, i, w;

    copy = malloc(strlen(text) * 4 + 1);
    if (copy == NULL) {
        abort();
    }

    p = copy;
    *width = 0;

    while (*text != '\0') {
        len = ctl_char(text, &w);

        if (w == (size_t) -1) {
            for (i = 0; i < len; i++) {
                p += sprintf(p, "\\x%02x", (unsigned char) text[i]);
                *width += 4;
            }

        } else {
            memcpy(p, text, len);
            p += len;
            *width += w;
        }

        text += len;
    }

    *p = '\0';

    return copy;
}


/*
 * Bytes of the character at text and its width, which is (size_t) -1 if it
 * must not be sent to a terminal.
 */

static size_t
ctl_char(const char *text, size_t *width)
{
    int        w;
    size_t     len;
    wchar_t    wc;
    mbstate_t  state;

    memset(&state, 0, sizeof(mbstate_t));

    len = mbrtowc(&wc, text, strlen(text) + 1, &state);

    if (len == (size_t) -1 || len == (size_t) -2) {
        *width = (size_t) -1;
        return 1;
    }

    if (len == 0) {
        *width = 1;
        return 0;
    }

    w = wcwidth(wc);

    /* Marks that turn the direction of a line have no width, and no place. */

    if (w < 0 || (wc >= 0x202a && wc <= 0x202e)
        || (wc >= 0x2066 && wc <= 0x2069))
    {
        *width = (size_t) -1;

    } else {
        *width = w;
    }

    return len;
}
