/*
 * ctl.h - usherctl: the catalogue of functions as a command.
 *
 * usherctl knows no function.  It asks the database what schema api holds
 * (api.catalogue()), finds the one that the words of the command name, and
 * calls it with the arguments as parameters of a prepared call: a function
 * that is added to the catalogue is a command at that moment, and its COMMENT
 * is the help.
 *
 * What it knows are some types of argument: what is of type usher.sealed is
 * encrypted here before it is sent, a function that takes usher.resealed is
 * called until nothing is left to be encrypted anew, for one that takes
 * usher.minted a secret is made here, and what is of type usher.csv is a file
 * of any length, sent in parts.
 *
 * usherctl.c    the command line and what follows from it
 * conf.c        where the database and the key file are
 * args.c        words and name=value arguments
 * catalogue.c   finding functions, suggestions, help
 * secret.c      what is encrypted
 * csv.c         what is sent, or comes, in parts
 * table.c       JSON as aligned tables
 * pg.c          the only one that knows libpq
 */


#ifndef USHER_CTL_H
#define USHER_CTL_H


#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

#include "usher_secret.h"


#define CTL_OK      0
#define CTL_ERROR   1    /* the database refused, or cannot be reached */
#define CTL_USAGE   2    /* the command is wrong: nothing was done */
#define CTL_BAD     3    /* done, but the answer says that not all is well */

#define CTL_ARGS    64   /* words or arguments of a command */


typedef struct {
    char        *name;
    char        *value;
    size_t       len;         /* bytes of value, once it is read */
    int          sealed;      /* encrypted before it is sent */
    int          parts;       /* a file that is sent in parts */
} ctl_arg_t;


/* The command line. */
typedef struct {
    const char  *actor;       /* NULL: the operator */
    const char  *database;    /* conninfo; NULL: the environment decides */
    const char  *key_file;    /* NULL: not needed so far */
    const char  *png;         /* file to draw the answer to, or NULL */
    int          json;        /* 1: JSON, 0: tables, -1: by where it goes */
    int          dry_run;     /* all of it is undone */
    int          help;
    int          version;

    char        *words[CTL_ARGS];
    int          nwords;
    ctl_arg_t    args[CTL_ARGS];
    int          nargs;

    usher_secret_keys_t  *keys;   /* NULL: not needed */
} ctl_command_t;


/* What went wrong in the database; texts are "" where there is none. */
typedef struct {
    char         message[1024];
    char         hint[1024];
    char         reason[256];  /* what kind of error, with its SQLSTATE */
    char         sqlstate[6];
} ctl_error_t;


typedef struct ctl_db_s  ctl_db_t;


/*
 * args.c.  All return CTL_OK, or CTL_USAGE after saying what is wrong.  The
 * command points into argv and into memory that lives as long as the process.
 */

int ctl_args_parse(ctl_command_t *cmd, int argc, char **argv);

/* Where the function takes csv=, file=x.csv is csv=@x.csv. */
int ctl_args_file(json_t *function, ctl_command_t *cmd);

/* Replaces @file and -, and random:n where that is sealed, by what they say. */
int ctl_args_read(ctl_command_t *cmd);


/*
 * conf.c.  Both fill in what the command line does not say, and return CTL_OK,
 * or CTL_USAGE after saying what is wrong.
 */

int ctl_conf_database(ctl_command_t *cmd);
int ctl_conf_key_file(ctl_command_t *cmd);


/*
 * catalogue.c.  A catalogue is the array that api.catalogue() returns, a
 * function one of its objects.
 */

/* The function that the words name; NULL after saying what there is. */
json_t *ctl_catalogue_find(json_t *catalogue, ctl_command_t *cmd);

/* Whether there are functions of this noun. */
int ctl_catalogue_noun(json_t *catalogue, const char *noun);

/* Whether its arguments are those of the function; CTL_OK or CTL_USAGE. */
int ctl_catalogue_check(json_t *function, ctl_command_t *cmd);

/* Help on all, on a noun, or on a function, by the words. */
int ctl_catalogue_help(json_t *catalogue, ctl_command_t *cmd);

/*
 * If the database could not read a value, says which and what it should be,
 * in place of the error.
 */
void ctl_catalogue_blame(json_t *function, ctl_command_t *cmd, ctl_db_t *db,
    ctl_error_t *error);

/* Prints a hint, with functions' names as commands. */
void ctl_catalogue_hint(json_t *catalogue, const char *hint);

/* A member that is a text; "" if there is none. */
const char *ctl_text(json_t *object, const char *key);

void ctl_usage(FILE *out);


/*
 * secret.c.  Those that return int give CTL_OK, or CTL_USAGE after saying what
 * is wrong; they come in this order, the arguments read before the third.
 */

/*
 * Marks what is to be sealed, asks for it on a terminal where it was not
 * given, and refuses it on the command line, which everybody can see.
 */
int ctl_secret_mark(json_t *function, ctl_command_t *cmd);

/* Reads the key file if the command needs one. */
int ctl_secret_keys(json_t *function, ctl_command_t *cmd);

/* Replaces what is marked by its ciphertext. */
int ctl_secret_seal(ctl_command_t *cmd);

/* Whether it is a function that takes what was encrypted anew. */
int ctl_secret_anew(json_t *function);

/* Whether it is a function that takes a secret that is made here. */
int ctl_secret_mints(json_t *function);

/* Calls it and gives it one.  As the next. */
char *ctl_secret_mint(const char *name, ctl_command_t *cmd, ctl_db_t *db,
    ctl_error_t *error);

/* Calls it until nothing is left.  The answer is JSON, or NULL with *error. */
char *ctl_secret_recrypt(const char *name, ctl_command_t *cmd, ctl_db_t *db,
    ctl_error_t *error);


/*
 * csv.c.  Marks a file that is sent in parts; CTL_OK, or CTL_USAGE after
 * saying what is wrong.
 */
int ctl_csv_mark(json_t *function, ctl_command_t *cmd);

/* Whether all it takes and answers is sent at once. */
int ctl_csv_whole(json_t *function);

/*
 * Calls it with each part, or for each, which it prints.  CTL_OK, with its last
 * answer or *text NULL; CTL_ERROR with *error; CTL_USAGE after saying what is
 * wrong with the file.
 */
int ctl_csv_run(json_t *function, ctl_command_t *cmd, ctl_db_t *db,
    char **text, ctl_error_t *error);


/* table.c: prints a value for people, by this width unless it is 0. */

void ctl_table(FILE *out, json_t *value, size_t width);

/* A copy in which control characters are \xHH, and its width. */
char *ctl_printable(const char *text, size_t *width);


/*
 * chart.c: an answer with "chart" is drawn as bars, below its table, or to a
 * PNG.
 */

void ctl_chart_bars(FILE *out, json_t *answer, size_t width);
int ctl_chart_png(json_t *answer, const char *file);


/*
 * pg.c.  Calls return JSON text to be freed, or NULL with *error filled.
 */

ctl_db_t *ctl_db_open(const char *conninfo, const char *actor,
    ctl_error_t *error);
char *ctl_db_catalogue(ctl_db_t *db, ctl_error_t *error);
char *ctl_db_call(ctl_db_t *db, const char *function, const ctl_arg_t *args,
    int nargs, ctl_error_t *error);

/*
 * What follows is one transaction; if it only reads, all of it sees the same.
 * CTL_OK, or CTL_ERROR with *error.
 */
int ctl_db_begin(ctl_db_t *db, int reads, ctl_error_t *error);
/* Ends it; undo: as if it had not been, but for what it says. */
int ctl_db_end(ctl_db_t *db, int undo, ctl_error_t *error);

/* Whether a value is one of a type, by its name in the catalogue. */
int ctl_db_reads(ctl_db_t *db, const char *type, const char *value);

void ctl_db_close(ctl_db_t *db);


#endif
