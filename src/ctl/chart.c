/*
 * chart.c - answers that say how to draw them: bars on a terminal, or a PNG by
 * gnuplot.
 *
 *     "chart": { "rows": "days", "label": "day", "bars": ["net", "gross"] }
 *
 * is two bars for each row of "days", the first of which is a part of the
 * second.  gnuplot is told on its standard input; no shell is between, and a
 * label can be nothing else there.
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
} ctl_chart_t;


static int ctl_chart_read(json_t *answer, ctl_chart_t *chart);
static double ctl_chart_most(const ctl_chart_t *chart, size_t *width);
static const char *ctl_chart_label(const ctl_chart_t *chart, json_t *row);
static void ctl_chart_fill(FILE *out, const char *block, size_t n);
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

    return json_is_array(chart->rows) && chart->label != NULL
           && chart->part != NULL && chart->whole != NULL
           ? CTL_OK : CTL_ERROR;
}


void
ctl_chart_bars(FILE *out, json_t *answer, size_t columns)
{
    char         *label;
    size_t        i, width, wide, room, part, whole;
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

    fprintf(out, "\n%s \xe2\x96\x88 %s \xe2\x96\x91 of %s\n", chart.label,
            chart.part, chart.whole);

    json_array_foreach(chart.rows, i, row) {
        label = ctl_printable(ctl_chart_label(&chart, row), &wide);

        part = (size_t) (json_number_value(json_object_get(row, chart.part))
                         * (double) room / most + 0.5);
        whole = (size_t) (json_number_value(json_object_get(row, chart.whole))
                          * (double) room / most + 0.5);

        fputs(label, out);
        ctl_chart_fill(out, " ", (wide < width ? width - wide : 0) + 1);
        ctl_chart_fill(out, "\xe2\x96\x88", part);
        ctl_chart_fill(out, "\xe2\x96\x91", whole > part ? whole - part : 0);
        fputc('\n', out);

        free(label);
    }
}


/* The largest value, at least 1, and the width of the labels. */

static double
ctl_chart_most(const ctl_chart_t *chart, size_t *width)
{
    char    *label;
    size_t   i, wide;
    double   most, value;
    json_t  *row;

    most = 1;
    *width = 0;

    json_array_foreach(chart->rows, i, row) {
        label = ctl_printable(ctl_chart_label(chart, row), &wide);
        free(label);

        value = json_number_value(json_object_get(row, chart->whole));

        most = value > most ? value : most;
        *width = wide > *width ? wide : *width;
    }

    *width = *width < CTL_CHART_LABEL ? *width : CTL_CHART_LABEL;

    return most;
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


int
ctl_chart_png(json_t *answer, const char *file)
{
    int           status;
    FILE         *in;
    pid_t         pid;
    ctl_chart_t   chart;

    if (ctl_chart_read(answer, &chart) != CTL_OK) {
        fprintf(stderr, "usherctl: there is nothing to draw in this answer\n"
                "hint: --png is for link stats and the like.\n");
        return CTL_USAGE;
    }

    if (json_array_size(chart.rows) == 0) {
        fprintf(stderr, "usherctl: there are no clicks to draw\n"
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
    size_t   i, step;
    json_t  *row;

    fputs("set terminal pngcairo noenhanced size 960,480\n"
          "set encoding utf8\n"
          "set style fill solid\n"
          "set boxwidth 0.8\n"
          "set yrange [0:*]\n"
          "set xtics rotate by -45\n"
          "set key top left\n"
          "set output ", out);
    ctl_chart_quote(out, file);
    fputs("\n$data << end_of_data\n", out);

    step = json_array_size(chart->rows) / CTL_CHART_TICS + 1;

    json_array_foreach(chart->rows, i, row) {
        fprintf(out, "%zu %.0f %.0f ", i,
                json_number_value(json_object_get(row, chart->part)),
                json_number_value(json_object_get(row, chart->whole)));
        ctl_chart_quote(out, i % step ? "" : ctl_chart_label(chart, row));
        fputc('\n', out);
    }

    fputs("end_of_data\nplot $data using 1:3:xtic(4) with boxes title ", out);
    ctl_chart_quote(out, chart->whole);
    fputs(", $data using 1:2 with boxes title ", out);
    ctl_chart_quote(out, chart->part);
    fputs("\n", out);
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
