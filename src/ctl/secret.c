/*
 * secret.c - secrets are encrypted before they are sent.
 *
 * So neither the database nor its log, its statistics or its backups ever hold
 * one.  An argument of type usher.sealed is encrypted for the row that the
 * arguments kind, org and name make.  A function that takes usher.resealed
 * lists what is not encrypted by the first key of the key file, and is given
 * it anew:
 *
 *     {"key": 3, "after": 7, "done": [{"id": 7, "was": ..., "sealed": ...}]}
 *
 * is answered by {"replaced": 1, "next": [...]}, where next are those above
 * after.  Each is replaced only if it is still what it was.
 *
 * A function that takes usher.minted wants a secret that nobody has seen.  It
 * says for which row, and is called again with what was made for that:
 *
 *     {"mint": {"kind": "click", "org": "", "name": "3", "bytes": 32}}
 *     {"name": "3", "sealed": ...}
 */


#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "ctl.h"


#define CTL_SEALED    "usher.sealed"
#define CTL_RESEALED  "usher.resealed"
#define CTL_MINTED    "usher.minted"

#define CTL_MINT_MAX  256     /* bytes: what getentropy gives at once */

/* whose rows are sealed */
#define CTL_TABLE     "secret"


/* Encrypting anew: where it stands. */
typedef struct {
    ctl_command_t  *cmd;
    json_t         *done;         /* of this page, for the next call */
    json_t         *unreadable;   /* of this turn */
    json_int_t      after;        /* the last id that was looked at */
    json_int_t      replaced;
    json_int_t      changed;      /* put by somebody else meanwhile */
} ctl_recrypt_t;


static ctl_arg_t *ctl_secret_arg(ctl_command_t *cmd, const char *name);
static char *ctl_secret_row(const char *kind, const char *org,
    const char *name);
static int ctl_recrypt_page(ctl_recrypt_t *r, const char *name, ctl_db_t *db,
    ctl_error_t *error);
static void ctl_recrypt_one(ctl_recrypt_t *r, json_t *secret);
static const char *ctl_recrypt_text(ctl_command_t *cmd, json_t *secret,
    char *text);
static char *ctl_recrypt_answer(ctl_recrypt_t *r);
static char *ctl_mint(ctl_command_t *cmd, json_t *mint);
static int ctl_secret_takes(json_t *function, const char *wanted);


int
ctl_secret_mark(json_t *function, ctl_command_t *cmd)
{
    size_t       n;
    json_t      *item;
    ctl_arg_t   *arg;
    const char  *name, *type;

    json_array_foreach(json_object_get(function, "arguments"), n, item) {
        name = ctl_text(item, "name");
        type = ctl_text(item, "type");
        arg = ctl_secret_arg(cmd, name);

        if ((strcmp(type, CTL_RESEALED) == 0 || strcmp(type, CTL_MINTED) == 0)
            && arg != NULL)
        {
            fprintf(stderr, "usherctl: %s= is not given, but made here\n"
                    "hint: Leave it out.\n", name);
            return CTL_USAGE;
        }

        if (strcmp(type, CTL_SEALED) != 0) {
            continue;
        }

        if (arg == NULL) {
            if (!json_is_true(json_object_get(item, "required"))
                || !isatty(STDIN_FILENO) || cmd->nargs == CTL_ARGS)
            {
                continue;
            }

            arg = &cmd->args[cmd->nargs++];
            arg->name = (char *) name;
            arg->value = "-";
        }

        arg->sealed = 1;

        if (strcmp(arg->value, "-") != 0
            && strncmp(arg->value, "random:", 7) != 0
            && (arg->value[0] != '@' || arg->value[1] == '@'))
        {
            fprintf(stderr, "usherctl: %s= is a secret, and everybody can see "
                    "the command line\nhint: Give it as %s=@file, %s=- "
                    "(standard input) or %s=random:32.\n", name, name, name,
                    name);
            return CTL_USAGE;
        }
    }

    return CTL_OK;
}


int
ctl_secret_keys(json_t *function, ctl_command_t *cmd)
{
    int   i, needed;
    char  reason[1024];

    needed = ctl_secret_anew(function) || ctl_secret_mints(function);

    for (i = 0; i < cmd->nargs; i++) {
        needed |= cmd->args[i].sealed;
    }

    if (!needed) {
        return CTL_OK;
    }

    if (ctl_conf_key_file(cmd) != CTL_OK) {
        return CTL_USAGE;
    }

    cmd->keys = usher_secret_keys_read(cmd->key_file, reason, sizeof(reason));

    if (cmd->keys == NULL) {
        fprintf(stderr, "usherctl: %s\n"
                "hint: This needs the key file: --key-file, USHER_KEY_FILE or "
                "usherctl.conf; util/keygen makes one.\n", reason);
        return CTL_USAGE;
    }

    return CTL_OK;
}


int
ctl_secret_seal(ctl_command_t *cmd)
{
    int             i;
    char           *row, *text;
    size_t          n;
    ctl_arg_t      *arg, *of[3];
    unsigned char   sealed[USHER_SECRET_SEALED];

    static const char  *names[] = { "kind", "org", "name" };

    for (i = 0; i < 3; i++) {
        of[i] = ctl_secret_arg(cmd, names[i]);
    }

    row = ctl_secret_row(of[0] == NULL ? "" : of[0]->value,
                         of[1] == NULL ? "" : of[1]->value,
                         of[2] == NULL ? "" : of[2]->value);

    for (i = 0; i < cmd->nargs; i++) {
        arg = &cmd->args[i];

        if (!arg->sealed) {
            continue;
        }

        if (arg->len == 0 || arg->len > USHER_SECRET_MAX) {
            fprintf(stderr, "usherctl: %s= has %zu bytes\n"
                    "hint: A secret has 1 to %d.\n", arg->name, arg->len,
                    USHER_SECRET_MAX);
            free(row);
            return CTL_USAGE;
        }

        n = usher_secret_seal(cmd->keys, CTL_TABLE, row,
                              (unsigned char *) arg->value, arg->len, sealed);

        OPENSSL_cleanse(arg->value, arg->len);

        text = malloc(USHER_SECRET_TEXT(n) + 1);

        if (n == 0 || text == NULL) {
            abort();
        }

        arg->len = usher_secret_text(sealed, n, text);
        arg->value = text;
    }

    free(row);

    return CTL_OK;
}


int
ctl_secret_anew(json_t *function)
{
    return ctl_secret_takes(function, CTL_RESEALED);
}


int
ctl_secret_mints(json_t *function)
{
    return ctl_secret_takes(function, CTL_MINTED);
}


/*
 * In turns, until one found nothing to do: what was put meanwhile by an older
 * key file has a place that was passed.
 */

char *
ctl_secret_recrypt(const char *name, ctl_command_t *cmd, ctl_db_t *db,
    ctl_error_t *error)
{
    int             left;
    char           *text;
    json_int_t      before;
    ctl_recrypt_t   r;

    memset(&r, 0, sizeof(ctl_recrypt_t));

    r.cmd = cmd;
    r.done = json_array();
    r.unreadable = json_array();

    do {
        before = r.replaced + r.changed;
        r.after = 0;
        json_array_clear(r.unreadable);

        do {
            left = ctl_recrypt_page(&r, name, db, error);
        } while (left > 0);

    } while (left == 0 && r.replaced + r.changed != before);

    text = (left < 0) ? NULL : ctl_recrypt_answer(&r);

    json_decref(r.done);
    json_decref(r.unreadable);

    return text;
}


/* Hands over what is done, and does what is next; how many, or -1. */

static int
ctl_recrypt_page(ctl_recrypt_t *r, const char *name, ctl_db_t *db,
    ctl_error_t *error)
{
    int          nargs;
    char        *text;
    size_t       n;
    json_t      *page, *next, *secret;
    json_int_t   replaced;
    ctl_arg_t    args[CTL_ARGS + 1];

    page = json_pack("{s:i, s:I, s:O}",
                     "key", (int) usher_secret_keys_current(r->cmd->keys),
                     "after", r->after, "done", r->done);

    nargs = r->cmd->nargs;
    memcpy(args, r->cmd->args, (size_t) nargs * sizeof(ctl_arg_t));

    memset(&args[nargs], 0, sizeof(ctl_arg_t));
    args[nargs].name = "resealed";
    args[nargs].value = json_dumps(page, JSON_COMPACT);

    if (args[nargs].value == NULL) {
        abort();
    }

    text = ctl_db_call(db, name, args, nargs + 1, error);

    free(args[nargs].value);
    json_decref(page);

    if (text == NULL) {
        return -1;
    }

    page = json_loads(text, 0, NULL);
    free(text);

    replaced = json_integer_value(json_object_get(page, "replaced"));

    r->replaced += replaced;
    r->changed += (json_int_t) json_array_size(r->done) - replaced;
    json_array_clear(r->done);

    next = json_object_get(page, "next");

    json_array_foreach(next, n, secret) {
        ctl_recrypt_one(r, secret);
    }

    json_decref(page);

    return (int) n;
}


static void
ctl_recrypt_one(ctl_recrypt_t *r, json_t *secret)
{
    char         text[USHER_SECRET_TEXT(USHER_SECRET_SEALED) + 1];
    const char  *why;

    r->after = json_integer_value(json_object_get(secret, "id"));

    why = ctl_recrypt_text(r->cmd, secret, text);

    if (why == NULL) {
        json_array_append_new(r->done,
            json_pack("{s:I, s:O, s:s}", "id", r->after,
                      "was", json_object_get(secret, "sealed"),
                      "sealed", text));

    } else {
        json_object_del(secret, "sealed");
        json_object_set_new(secret, "why", json_string(why));
        json_array_append(r->unreadable, secret);
    }
}


/* What it is by the first key; NULL, or why it cannot be told. */

static const char *
ctl_recrypt_text(ctl_command_t *cmd, json_t *secret, char *text)
{
    char                   *row;
    size_t                  n;
    const char             *was;
    unsigned char           plain[USHER_SECRET_MAX];
    unsigned char           sealed[USHER_SECRET_TEXT(USHER_SECRET_SEALED)
                                   / 4 * 3];
    usher_secret_status_e   status;

    was = ctl_text(secret, "sealed");

    if (usher_secret_parse(was, strlen(was), sealed, &n) != 0) {
        return "it is no base64";
    }

    row = ctl_secret_row(ctl_text(secret, "kind"), ctl_text(secret, "org"),
                         ctl_text(secret, "name"));

    status = usher_secret_open(cmd->keys, CTL_TABLE, row, sealed, n, plain,
                               &n);

    if (status == USHER_SECRET_OK) {
        n = usher_secret_seal(cmd->keys, CTL_TABLE, row, plain, n, sealed);
        status = (n == 0) ? USHER_SECRET_ERROR : USHER_SECRET_OK;
    }

    OPENSSL_cleanse(plain, sizeof(plain));
    free(row);

    switch (status) {

    case USHER_SECRET_OK:
        usher_secret_text(sealed, n, text);
        return NULL;

    case USHER_SECRET_UNKNOWN:
        return "its key is not in the key file";

    case USHER_SECRET_CORRUPT:
        return "it was changed, or is another's";

    default:
        return "it cannot be opened";
    }
}


/* Bad news if the older keys are still needed. */

static char *
ctl_recrypt_answer(ctl_recrypt_t *r)
{
    char    *text;
    json_t  *answer;

    answer = json_pack("{s:b, s:i, s:I, s:I, s:O}",
                       "ok", json_array_size(r->unreadable) == 0,
                       "key", (int) usher_secret_keys_current(r->cmd->keys),
                       "recrypted", r->replaced, "changed", r->changed,
                       "unreadable", r->unreadable);

    text = json_dumps(answer, 0);
    if (text == NULL) {
        abort();
    }

    json_decref(answer);

    return text;
}


/* Until it is for the row that is wanted: another may have been faster. */

char *
ctl_secret_mint(const char *name, ctl_command_t *cmd, ctl_db_t *db,
    ctl_error_t *error)
{
    int         nargs;
    char       *text, *minted;
    json_t     *answer, *mint;
    ctl_arg_t   args[CTL_ARGS + 1];

    nargs = cmd->nargs;
    memcpy(args, cmd->args, (size_t) nargs * sizeof(ctl_arg_t));

    memset(&args[nargs], 0, sizeof(ctl_arg_t));
    args[nargs].name = "minted";

    text = ctl_db_call(db, name, args, nargs, error);

    for ( ;; ) {
        answer = (text == NULL) ? NULL : json_loads(text, 0, NULL);
        mint = json_object_get(answer, "mint");

        if (mint == NULL) {
            json_decref(answer);
            return text;
        }

        free(text);

        minted = ctl_mint(cmd, mint);
        json_decref(answer);

        args[nargs].value = minted;
        text = ctl_db_call(db, name, args, nargs + 1, error);

        free(minted);
    }
}


/* A secret for that row, as the argument of the next call. */

static char *
ctl_mint(ctl_command_t *cmd, json_t *mint)
{
    char           *row, *text;
    size_t          n;
    json_t         *minted;
    json_int_t      bytes;
    unsigned char   plain[CTL_MINT_MAX];
    unsigned char   sealed[CTL_MINT_MAX + USHER_SECRET_OVERHEAD];
    char            base64[USHER_SECRET_TEXT(sizeof(sealed)) + 1];

    bytes = json_integer_value(json_object_get(mint, "bytes"));

    if (bytes < 1 || bytes > CTL_MINT_MAX
        || getentropy(plain, (size_t) bytes) != 0)
    {
        abort();
    }

    row = ctl_secret_row(ctl_text(mint, "kind"), ctl_text(mint, "org"),
                         ctl_text(mint, "name"));

    n = usher_secret_seal(cmd->keys, CTL_TABLE, row, plain, (size_t) bytes,
                          sealed);

    OPENSSL_cleanse(plain, sizeof(plain));
    free(row);

    if (n == 0) {
        abort();
    }

    usher_secret_text(sealed, n, base64);

    minted = json_pack("{s:s, s:s}", "name", ctl_text(mint, "name"),
                       "sealed", base64);
    text = json_dumps(minted, JSON_COMPACT);

    if (text == NULL) {
        abort();
    }

    json_decref(minted);

    return text;
}


/* Whether an argument of it is of this type. */

static int
ctl_secret_takes(json_t *function, const char *wanted)
{
    size_t   n;
    json_t  *item;

    json_array_foreach(json_object_get(function, "arguments"), n, item) {
        if (strcmp(ctl_text(item, "type"), wanted) == 0) {
            return 1;
        }
    }

    return 0;
}


/* usher_secret.h has the form. */

static char *
ctl_secret_row(const char *kind, const char *org, const char *name)
{
    char  *row;

    if (asprintf(&row, "%s/%s/%s", kind, org, name) < 0) {
        abort();
    }

    return row;
}


static ctl_arg_t *
ctl_secret_arg(ctl_command_t *cmd, const char *name)
{
    int  i;

    for (i = 0; i < cmd->nargs; i++) {
        if (strcmp(cmd->args[i].name, name) == 0) {
            return &cmd->args[i];
        }
    }

    return NULL;
}
