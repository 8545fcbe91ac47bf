/*
 * chart.c - answers that say how to draw them: bars on a terminal, or a PNG by
 * gnuplot.
 *
 *     "chart": { "rows": "days", "label": "day", "bars": ["net", "gross"] }
 *
 * is two bars for each row of "days", the first of which is a part of the
 * second; with "beside": true they have nothing to do with each other.  Values
 * are numbers, or amounts as text, which may be below 0.  gnuplot is told on
 * its standard input; no shell is between, and a label can be nothing else
 * there.
 */


#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

#include "ctl.h"


#define CTL_CHART_WIDTH  80     /* where the terminal does not say */
#define CTL_CHART_LEAST  10     /* columns of the longest bar */
#define CTL_CHART_LABEL  32     /* columns of a label */
#define CTL_CHART_TICS   40     /* labels in a PNG */


typedef struct {
    json_t      *rows;
    const char  *label;         /* member of a row */
    const char  *part;
    const char  *whole;
    int          beside;
} ctl_chart_t;


static int ctl_chart_read(json_t *answer, ctl_chart_t *chart);
static double ctl_chart_most(const ctl_chart_t *chart, size_t *width);
static void ctl_chart_row(FILE *out, const ctl_chart_t *chart, json_t *row,
    size_t width, double scale);
static double ctl_chart_value(json_t *row, const char *name);
static const char *ctl_chart_label(const ctl_chart_t *chart, json_t *row);
static void ctl_chart_fill(FILE *out, const char *block, size_t n);
static size_t ctl_chart_bar(FILE *out, const char *block, double length,
    size_t drawn);
static int ctl_chart_gnuplot(FILE **in, pid_t *pid);
static void ctl_chart_script(FILE *out, const ctl_chart_t *chart,
    const char *file);
static void ctl_chart_quote(FILE *out, const char *text);


static int
ctl_chart_read(json_t *answer, ctl_chart_t *chart)
{
    json_t      *how, *bars;
    const char  *rows;

    how = json_object_get(answer, "chart");
    rows = json_string_value(json_object_get(how, "rows"));
    bars = json_object_get(how, "bars");

    if (rows == NULL) {
        return CTL_ERROR;
    }

    chart->rows = json_object_get(answer, rows);
    chart->label = json_string_value(json_object_get(how, "label"));
    chart->part = json_string_value(json_array_get(bars, 0));
    chart->whole = json_string_value(json_array_get(bars, 1));
    chart->beside = json_is_true(json_object_get(how, "beside"));

    return json_is_array(chart->rows) && chart->label != NULL
           && chart->part != NULL && chart->whole != NULL
           ? CTL_OK : CTL_ERROR;
}


void
ctl_chart_bars(FILE *out, json_t *answer, size_t columns)
{
    size_t        i, width, room;
    double        most;
    json_t       *row;
    ctl_chart_t   chart;

    if (ctl_chart_read(answer, &chart) != CTL_OK
        || json_array_size(chart.rows) == 0)
    {
        return;
    }

    most = ctl_chart_most(&chart, &width);
    columns = columns ? columns : CTL_CHART_WIDTH;
    room = columns > width + 3 + CTL_CHART_LEAST ? columns - width - 3
                                                 : CTL_CHART_LEAST;

    fprintf(out, "\n%s \xe2\x96\x88 %s \xe2\x96\x91 %s%s\n", chart.label,
            chart.part, chart.beside ? "" : "of ", chart.whole);

    json_array_foreach(chart.rows, i, row) {
        ctl_chart_row(out, &chart, row, width, (double) room / most);
    }
}


static void
ctl_chart_row(FILE *out, const ctl_chart_t *chart, json_t *row, size_t width,
    double scale)
{
    char    *label;
    size_t   wide, drawn;

    label = ctl_printable(ctl_chart_label(chart, row), &wide);

    fputs(label, out);
    ctl_chart_fill(out, " ", (wide < width ? width - wide : 0) + 1);

    drawn = ctl_chart_bar(out, "\xe2\x96\x88",
                          ctl_chart_value(row, chart->part) * scale, 0);

    if (chart->beside) {
        fputc('\n', out);
        ctl_chart_fill(out, " ", width + 1);
        drawn = 0;
    }

    (void) ctl_chart_bar(out, "\xe2\x96\x91",
                         ctl_chart_value(row, chart->whole) * scale, drawn);
    fputc('\n', out);

    free(label);
}


/* The largest value, or 1 if all are 0, and the width of the labels. */

static double
ctl_chart_most(const ctl_chart_t *chart, size_t *width)
{
    char    *label;
    size_t   i, wide;
    double   most, part, whole;
    json_t  *row;

    most = 0;
    *width = 0;

    json_array_foreach(chart->rows, i, row) {
        label = ctl_printable(ctl_chart_label(chart, row), &wide);
        free(label);

        part = ctl_chart_value(row, chart->part);
        whole = ctl_chart_value(row, chart->whole);
        part = part < 0 ? -part : part;
        whole = whole < 0 ? -whole : whole;

        most = part > most ? part : most;
        most = whole > most ? whole : most;
        *width = wide > *width ? wide : *width;
    }

    *width = *width < CTL_CHART_LABEL ? *width : CTL_CHART_LABEL;

    return most > 0 ? most : 1;
}


static double
ctl_chart_value(json_t *row, const char *name)
{
    json_t  *value;

    value = json_object_get(row, name);

    return json_is_string(value) ? strtod(json_string_value(value), NULL)
                                 : json_number_value(value);
}


static const char *
ctl_chart_label(const ctl_chart_t *chart, json_t *row)
{
    const char  *label;

    label = json_string_value(json_object_get(row, chart->label));

    return label != NULL && *label != '\0' ? label : "-";
}


static void
ctl_chart_fill(FILE *out, const char *block, size_t n)
{
    while (n--) {
        fputs(block, out);
    }
}


/* What is below 0 is a bar of another sort, not of none. */

static size_t
ctl_chart_bar(FILE *out, const char *block, double length, size_t drawn)
{
    size_t  n;

    n = (size_t) ((length < 0 ? -length : length) + 0.5);
    ctl_chart_fill(out, length < 0 ? "-" : block, n > drawn ? n - drawn : 0);

    return n;
}


int
ctl_chart_png(json_t *answer, const char *file)
{
    int           status;
    FILE         *in;
    pid_t         pid;
    ctl_chart_t   chart;

    if (ctl_chart_read(answer, &chart) != CTL_OK) {
        fprintf(stderr, "usherctl: there is nothing to draw in this answer\n"
                "hint: --png is for link stats, roi show and the like.\n");
        return CTL_USAGE;
    }

    if (json_array_size(chart.rows) == 0) {
        fprintf(stderr, "usherctl: there is nothing of that time to draw\n"
                "hint: from= and to= say of when; by default the last 31 "
                "days.\n");
        return CTL_ERROR;
    }

    /* a gnuplot that ends early is told by its exit code */

    (void) signal(SIGPIPE, SIG_IGN);

    if (ctl_chart_gnuplot(&in, &pid) != CTL_OK) {
        fprintf(stderr, "usherctl: gnuplot cannot be started: %s\n",
                strerror(errno));
        return CTL_ERROR;
    }

    ctl_chart_script(in, &chart, file);
    (void) fclose(in);

    while (waitpid(pid, &status, 0) == -1 && errno == EINTR) {
        /* void */
    }

    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        fprintf(stderr, "usherctl: --png needs gnuplot, which is not here\n"
                "hint: Install gnuplot-nox; without --png there are bars "
                "on a terminal.\n");
        return CTL_ERROR;
    }

    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "usherctl: gnuplot could not write \"%s\"\n"
                "hint: Its own words are above.\n", file);
        return CTL_ERROR;
    }

    return CTL_OK;
}


static int
ctl_chart_gnuplot(FILE **in, pid_t *pid)
{
    int  fd[2];

    if (pipe(fd) == -1) {
        return CTL_ERROR;
    }

    (void) fflush(NULL);

    *pid = fork();

    if (*pid == 0) {
        (void) dup2(fd[0], STDIN_FILENO);
        (void) dup2(STDERR_FILENO, STDOUT_FILENO);
        (void) close(fd[0]);
        (void) close(fd[1]);
        (void) execlp("gnuplot", "gnuplot", "-", (char *) NULL);
        _exit(127);
    }

    (void) close(fd[0]);

    *in = *pid == -1 ? NULL : fdopen(fd[1], "w");

    if (*in == NULL) {
        (void) close(fd[1]);
        return CTL_ERROR;
    }

    return CTL_OK;
}


static void
ctl_chart_script(FILE *out, const ctl_chart_t *chart, const char *file)
{
    size_t   i, n, step, width;
    json_t  *row;

    n = json_array_size(chart->rows);
    step = n / CTL_CHART_TICS + 1;

    (void) ctl_chart_most(chart, &width);

    /* the last label goes down to the right: cos 45 of its width */

    fprintf(out, "set terminal pngcairo noenhanced size 960,480\n"
            "set encoding utf8\n"
            "set style fill solid\n"
            "set xrange [-1:%zu]\n"
            "set yrange [*<0:0<*]\n"
            "set xtics nomirror rotate by -45\n"
            "set rmargin %zu\n"
            "set key above\n"
            "set output ", n, width * 3 / 4 + 1);
    ctl_chart_quote(out, file);
    fputs("\n$data << end_of_data\n", out);

    json_array_foreach(chart->rows, i, row) {
        fprintf(out, "%zu %.15g %.15g ", i, ctl_chart_value(row, chart->part),
                ctl_chart_value(row, chart->whole));
        ctl_chart_quote(out, i % step ? "" : ctl_chart_label(chart, row));
        fputc('\n', out);
    }

    fprintf(out, "end_of_data\nset boxwidth %s\nplot $data using %s:3 "
            "with boxes title ", chart->beside ? "0.4" : "0.8",
            chart->beside ? "($1+0.2)" : "1");
    ctl_chart_quote(out, chart->whole);
    fprintf(out, ", $data using %s:2 with boxes title ",
            chart->beside ? "($1-0.2)" : "1");
    ctl_chart_quote(out, chart->part);
    fputs(", $data using 1:(0):xtic(4) with dots notitle\n", out);
}


/* A string of gnuplot's, in which nothing means anything. */

static void
ctl_chart_quote(FILE *out, const char *text)
{
    fputc('"', out);

    for ( /* void */ ; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\' || *text == '`') {
            fprintf(out, "\\%c", *text);

        } else {
            fputc((unsigned char) *text < ' ' ? '?' : *text, out);
        }
    }

    fputc('"', out);
}
