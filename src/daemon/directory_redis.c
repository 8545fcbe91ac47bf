
/*
 * directory_redis.c - the scripts of the duty directory and their arguments.
 *
 * DESIGN
 *
 * All that the duty writes to Redis it writes by these scripts, each of which
 * first makes sure that Redis is what PostgreSQL says: a script that finds
 * another nonce (or another lineage in the making) answers LINEAGE and has
 * changed nothing.  So a writer that lost its lease can do no harm, however
 * late what it sent arrives.
 *
 * Beside the nonce stands the number of the last change: if usher:changes
 * alone is deleted, or was set back, edges have read further than what comes
 * next would be.  So numbering goes on above it, and leaves one out: a gap is
 * how an edge learns that it may have missed something.  Numbers are left out
 * as well where a batch was announced and is not known to be done: a primary
 * may have shown it to edges and died before a replica had it.  Not so where
 * Redis is as it answered to us.
 *
 * A record begins {"v":<version>,"l":"<lineage>" in exactly this form; the
 * script compares by these bytes and takes whatever does not begin so for
 * corrupt, to be replaced.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "directory.h"


static int usherd_script_run(usherd_directory_t *d, const char *name,
    const char *what, usherd_reply_t **reply);
static int usherd_script_load(usherd_directory_t *d, usherd_script_e script);


/* Its text, or '' where it is none; a right that is missing ends the script. */
#define USHERD_SCRIPT_GET                                                     \
    "local function get(key)\n"                                               \
    "    local now = redis.pcall('GET', key)\n"                               \
    "    if type(now) == 'table' and now.err\n"                               \
    "       and not string.find(now.err, 'WRONGTYPE')\n"                      \
    "    then\n"                                                              \
    "        now = redis.call('GET', key)\n"                                  \
    "    end\n"                                                               \
    "    return type(now) == 'string' and now or ''\n"                        \
    "end\n"

/*
 * Sets id to the last number of the stream; what is no stream goes.  Any other
 * error (a right that is missing) is no reason to delete it.
 */
#define USHERD_SCRIPT_LAST(key)                                               \
    "local id = 0\n"                                                          \
    "local info = redis.pcall('XINFO', 'STREAM', " key ")\n"                  \
    "if info.err and string.find(info.err, 'WRONGTYPE') then\n"               \
    "    redis.call('DEL', " key ")\n"                                        \
    "elseif info.err and not string.find(info.err, 'no such key') then\n"     \
    "    return redis.error_reply(info.err)\n"                                \
    "elseif not info.err then\n"                                              \
    "    for i = 1, #info, 2 do\n"                                            \
    "        if info[i] == 'last-generated-id' then\n"                        \
    "            id = tonumber(string.match(info[i + 1], '^%d+'))\n"          \
    "        end\n"                                                           \
    "    end\n"                                                               \
    "end\n"


/* The nonce is one of two, and last the number that stands beside it. */
#define USHERD_SCRIPT_NONCE(key, one, two)                                    \
    USHERD_SCRIPT_GET                                                         \
    "local nonce, last = string.match(get(" key "), '^(%x+) (%d+)$')\n"       \
    "if nonce ~= " one " and nonce ~= " two " then\n"                         \
    "    return redis.error_reply('LINEAGE nonce differs')\n"                 \
    "end\n"

/* Nobody began to make another lineage since. */
#define USHERD_SCRIPT_BUILDING(key)                                           \
    USHERD_SCRIPT_GET                                                         \
    "if get(" key ") ~= ARGV[1] then\n"                                       \
    "    return redis.error_reply('LINEAGE another rebuild began')\n"         \
    "end\n"

#define USHERD_SCRIPT_LOST                                                    \
    "local lost = id < tonumber(last)\n"                                      \
    "if lost then\n"                                                          \
    "    id = tonumber(last) + 1\n"                                           \
    "end\n"


/*
 * Keys: nonce, changes, then records.
 * Arguments: lineage, last nonce, nonce, version, length of changes, how many
 * numbers to leave out, then as many records, then changes of four: kind,
 * field, value, "1" if urgent.
 * Returns records written, records refused, the last change's number, 1 if
 * changes were lost.
 */
static const char  usherd_script_project[] =
    USHERD_SCRIPT_NONCE("KEYS[1]", "ARGV[2]", "ARGV[3]")
    USHERD_SCRIPT_LAST("KEYS[2]")
    USHERD_SCRIPT_LOST
    "id = id + tonumber(ARGV[6])\n"
    "local version, n, refused = tonumber(ARGV[4]), #KEYS - 2, 0\n"
    "for i = 1, n do\n"
    "    local old = redis.pcall('GET', KEYS[i + 2])\n"
    "    local v, l\n"
    "    if type(old) == 'string' then\n"
    "        v, l = string.match(old, '^{\"v\":(%d+),\"l\":\"(%x+)\"')\n"
    "    end\n"
    "    if l == ARGV[1] and tonumber(v) >= version then\n"
    "        refused = refused + 1\n"
    "    else\n"
    "        redis.call('SET', KEYS[i + 2], ARGV[i + 6])\n"
    "    end\n"
    "end\n"
    "for i = n + 7, #ARGV, 4 do\n"
    "    id = id + 1\n"
    "    local entry = string.format('%.0f-0', id)\n"
    "    if ARGV[i + 3] == '1' then\n"
    "        redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], entry,\n"
    "            'l', ARGV[1], 'k', ARGV[i], ARGV[i + 1], ARGV[i + 2],\n"
    "            'x', '1')\n"
    "    else\n"
    "        redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], entry,\n"
    "            'l', ARGV[1], 'k', ARGV[i], ARGV[i + 1], ARGV[i + 2])\n"
    "    end\n"
    "end\n"
    "redis.call('SET', KEYS[1], string.format('%s %.0f', ARGV[3], id))\n"
    "return {n - refused, refused, id, lost and 1 or 0}\n";

/*
 * Keys: nonce, ready, heartbeat, bad, changes.
 * Arguments: lineage, last nonce, nonce, count.
 * Returns 1 if changes were lost, and the records that edges found corrupt.
 *
 * Where changes were lost an entry follows that shows the gap: nobody may
 * change anything for long.  Its kind is one that no edge knows.
 */
static const char  usherd_script_beat[] =
    USHERD_SCRIPT_NONCE("KEYS[1]", "ARGV[2]", "ARGV[3]")
    "if get(KEYS[2]) ~= ARGV[1] then\n"
    "    return redis.error_reply('LINEAGE ready differs')\n"
    "end\n"
    USHERD_SCRIPT_LAST("KEYS[5]")
    USHERD_SCRIPT_LOST
    "if lost then\n"
    "    redis.call('XADD', KEYS[5], string.format('%.0f-0', id + 1),\n"
    "        'l', ARGV[1], 'k', 'lost')\n"
    "    redis.call('SET', KEYS[1],\n"
    "        string.format('%s %.0f', nonce, id + 1))\n"
    "end\n"
    "redis.call('SET', KEYS[3], ARGV[1] .. ' ' .. ARGV[4])\n"
    "local bad = redis.pcall('SPOP', KEYS[4], 100)\n"
    "if bad.err then\n"
    "    redis.call('DEL', KEYS[4])\n"
    "    bad = {}\n"
    "end\n"
    "return {lost and 1 or 0, bad}\n";

/*
 * Keys: nonce, ready, building.  Arguments: lineage, and what these three were
 * when it was decided: all that others do changes one of them.
 */
static const char  usherd_script_begin[] =
    USHERD_SCRIPT_GET
    "for i = 1, 3 do\n"
    "    if get(KEYS[i]) ~= ARGV[i + 1] then\n"
    "        return redis.error_reply('LINEAGE it is another by now')\n"
    "    end\n"
    "end\n"
    "redis.call('DEL', KEYS[1], KEYS[2])\n"
    "redis.call('SET', KEYS[3], ARGV[1])\n"
    "return 1\n";

/*
 * Keys: building, then what goes, but for itself.  Arguments: lineage.
 */
static const char  usherd_script_clear[] =
    USHERD_SCRIPT_BUILDING("KEYS[1]")
    "for i = 2, #KEYS do\n"
    "    if KEYS[i] ~= KEYS[1] then\n"
    "        redis.call('UNLINK', KEYS[i])\n"
    "    end\n"
    "end\n"
    "return #KEYS - 1\n";

/*
 * Keys: building, then records.  Arguments: lineage, then as many records.
 */
static const char  usherd_script_fill[] =
    USHERD_SCRIPT_BUILDING("KEYS[1]")
    "for i = 2, #KEYS do\n"
    "    redis.call('SET', KEYS[i], ARGV[i])\n"
    "end\n"
    "return #KEYS - 1\n";

/*
 * Keys: building, nonce, ready, changes.
 * Arguments: lineage, nonce, length of changes.
 *
 * The change has a kind that no edge knows: it only wakes readers, who see
 * the lineage.
 */
static const char  usherd_script_ready[] =
    USHERD_SCRIPT_BUILDING("KEYS[1]")
    USHERD_SCRIPT_LAST("KEYS[4]")
    "redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3],\n"
    "    string.format('%.0f-0', id + 1), 'l', ARGV[1], 'k', 'lineage')\n"
    "redis.call('SET', KEYS[2],\n"
    "    string.format('%s %.0f', ARGV[2], id + 1))\n"
    "redis.call('DEL', KEYS[1])\n"
    "redis.call('SET', KEYS[3], ARGV[1])\n"
    "return id + 1\n";

/*
 * Keys: nonce, then records.  Arguments: last nonce, nonce.
 * Returns those records that are missing, by their place.
 */
static const char  usherd_script_sweep[] =
    USHERD_SCRIPT_NONCE("KEYS[1]", "ARGV[1]", "ARGV[2]")
    "local missing = {}\n"
    "for i = 2, #KEYS do\n"
    "    if redis.call('EXISTS', KEYS[i]) == 0 then\n"
    "        missing[#missing + 1] = i - 2\n"
    "    end\n"
    "end\n"
    "return missing\n";


/*
 * Keys: nonce, changes.
 * Arguments: lineage, last nonce, nonce, how many numbers to leave out.
 * Returns the last change's number.
 */
static const char  usherd_script_anew[] =
    USHERD_SCRIPT_NONCE("KEYS[1]", "ARGV[2]", "ARGV[3]")
    USHERD_SCRIPT_LAST("KEYS[2]")
    "id = math.max(id, tonumber(last)) + 1 + tonumber(ARGV[4])\n"
    "redis.call('XADD', KEYS[2], string.format('%.0f-0', id),\n"
    "    'l', ARGV[1], 'k', 'lost')\n"
    "redis.call('SET', KEYS[1], string.format('%s %.0f', nonce, id))\n"
    "return id\n";


static const char  *usherd_scripts[USHERD_NSCRIPTS] = {
    usherd_script_project,
    usherd_script_beat,
    usherd_script_begin,
    usherd_script_clear,
    usherd_script_fill,
    usherd_script_ready,
    usherd_script_sweep,
    usherd_script_anew
};


void
usherd_script_start(usherd_directory_t *d, unsigned nkeys)
{
    int   n;
    char  text[16];

    /* the command and the script itself are set when it is called */

    n = snprintf(text, sizeof(text), "%u", nkeys);

    usherd_words_reset(&d->words);
    usherd_words_add(&d->words, "", 0);
    usherd_words_add(&d->words, "", 0);
    usherd_words_add(&d->words, text, (size_t) n);
}


int
usherd_script_call(usherd_directory_t *d, usherd_script_e script,
    usherd_reply_t **reply)
{
    int          rc;
    size_t       len;
    const char  *text;

    if (d->sha[script][0] == '\0') {
        rc = usherd_script_load(d, script);

        if (rc != USHERD_OK) {
            return rc;
        }
    }

    rc = usherd_script_run(d, "EVALSHA", d->sha[script], reply);

    if (rc != USHERD_OK) {
        return rc;
    }

    if (usherd_reply_type(*reply) != USHERD_REPLY_ERROR) {
        return USHERD_OK;
    }

    text = usherd_reply_text(*reply, &len);

    if (len >= 8 && strncmp(text, "NOSCRIPT", 8) == 0) {

        /* Redis forgot: the text itself */

        usherd_reply_free(*reply);

        rc = usherd_script_run(d, "EVAL", usherd_scripts[script], reply);

        if (rc != USHERD_OK) {
            return rc;
        }

        if (usherd_reply_type(*reply) != USHERD_REPLY_ERROR) {
            return USHERD_OK;
        }

        text = usherd_reply_text(*reply, &len);
    }

    rc = USHERD_DIRECTORY_LINEAGE;

    if (len < 7 || strncmp(text, "LINEAGE", 7) != 0) {
        rc = usherd_script_refused(d, script, *reply);
    }

    usherd_reply_free(*reply);
    *reply = NULL;

    return rc;
}


int
usherd_script_refused(usherd_directory_t *d, usherd_script_e script,
    const usherd_reply_t *reply)
{
    const char  *what;

    if (d->denied & 1u << script) {
        return USHERD_DIRECTORY_REFUSED;
    }

    d->denied |= 1u << script;

    what = script == USHERD_COMMAND_MGET ? "MGET"
           : script == USHERD_COMMAND_SCAN ? "SCAN"
           : script == USHERD_COMMAND_LOAD ? "to load a script"
           : "a script";

    usherd_log(USHERD_LOG_ERROR, "Redis refused %s of the directory, trying "
               "again each second; redis-users.conf has the rights it needs: "
               "%s", what, usherd_reply_text(reply, NULL));

    return USHERD_DIRECTORY_REFUSED;
}


void
usherd_script_taken(usherd_directory_t *d, unsigned scripts)
{
    if (d->denied & scripts) {
        d->denied &= ~scripts;
        usherd_log(USHERD_LOG_INFO, "Redis takes that script or command "
                   "again");
    }
}


static int
usherd_script_run(usherd_directory_t *d, const char *name, const char *what,
    usherd_reply_t **reply)
{
    unsigned         i;
    usherd_words_t  *words;

    words = &d->words;

    for (i = 0; i < words->argc; i++) {
        words->argv[i] = words->bytes.data + words->offsets[i];
    }

    words->argv[0] = name;
    words->lens[0] = strlen(name);
    words->argv[1] = what;
    words->lens[1] = strlen(what);

    *reply = usherd_redis_command(d->redis, words->argc, words->argv,
                                  words->lens);

    return (*reply != NULL) ? USHERD_OK : USHERD_LOST;
}


static int
usherd_script_load(usherd_directory_t *d, usherd_script_e script)
{
    int              rc;
    size_t           len;
    const char      *argv[3], *text;
    usherd_reply_t  *reply;

    argv[0] = "SCRIPT";
    argv[1] = "LOAD";
    argv[2] = usherd_scripts[script];

    reply = usherd_redis_command(d->redis, 3, argv, NULL);

    if (reply == NULL) {
        return USHERD_LOST;
    }

    text = usherd_reply_text(reply, &len);

    if (usherd_reply_type(reply) == USHERD_REPLY_ERROR || len != 40) {
        rc = usherd_script_refused(d, USHERD_COMMAND_LOAD, reply);
        usherd_reply_free(reply);
        return rc;
    }

    memcpy(d->sha[script], text, 40);
    d->sha[script][40] = '\0';
    usherd_script_taken(d, 1u << USHERD_COMMAND_LOAD);

    usherd_reply_free(reply);

    return USHERD_OK;
}


void
usherd_words_key(usherd_words_t *words, const char *kind, const char *id)
{
    usherd_words_open(words);
    usherd_words_more(words, USHER_RECORD_PREFIX,
                      sizeof(USHER_RECORD_PREFIX) - 1);
    usherd_words_more(words, kind, strlen(kind));
    usherd_words_more(words, ":", 1);
    usherd_words_more(words, id, strlen(id));
}


void
usherd_words_record(usherd_words_t *words, const char *version,
    const char *lineage, const char *record)
{
    usherd_words_open(words);
    usherd_words_more(words, "{\"v\":", 5);
    usherd_words_more(words, version, strlen(version));
    usherd_words_more(words, ",\"l\":\"", 6);
    usherd_words_more(words, lineage, strlen(lineage));

    if (record == NULL) {
        usherd_words_more(words, "\",\"gone\":1}", 11);
        return;
    }

    /* a record is an object with members: its brace becomes our comma */

    usherd_words_more(words, "\",", 2);
    usherd_words_more(words, record + 1, strlen(record + 1));
}


void
usherd_words_reset(usherd_words_t *words)
{
    words->argc = 0;
    words->bytes.len = 0;
}


void
usherd_words_add(usherd_words_t *words, const char *data, size_t len)
{
    usherd_words_open(words);
    usherd_words_more(words, data, len);
}


void
usherd_words_open(usherd_words_t *words)
{
    unsigned  size;

    if (words->argc == words->size) {
        size = words->size ? words->size * 2 : 256;

        words->offsets = realloc(words->offsets, size * sizeof(size_t));
        words->lens = realloc(words->lens, size * sizeof(size_t));
        words->argv = realloc(words->argv, size * sizeof(char *));

        if (words->offsets == NULL || words->lens == NULL
            || words->argv == NULL)
        {
            usherd_log(USHERD_LOG_ERROR, "out of memory");
            exit(1);
        }

        words->size = size;
    }

    words->offsets[words->argc] = words->bytes.len;
    words->lens[words->argc] = 0;
    words->argc++;
}


void
usherd_words_more(usherd_words_t *words, const char *data, size_t len)
{
    usherd_bytes_add(&words->bytes, data, len);
    words->lens[words->argc - 1] += len;
}


void
usherd_bytes_add(usherd_bytes_t *bytes, const char *data, size_t len)
{
    char    *grown;
    size_t   size;

    if (bytes->len + len + 1 > bytes->size) {
        size = bytes->size ? bytes->size : 4096;

        while (size < bytes->len + len + 1) {
            size *= 2;
        }

        grown = realloc(bytes->data, size);

        if (grown == NULL) {
            usherd_log(USHERD_LOG_ERROR, "out of memory");
            exit(1);
        }

        bytes->data = grown;
        bytes->size = size;
    }

    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
    bytes->data[bytes->len] = '\0';
}
