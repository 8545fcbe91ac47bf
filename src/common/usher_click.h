/*
 * usher_click.h - what a click is called, and why it does not count.
 *
 * The id of a click is 20 bytes, written as 32 characters of base32 (RFC 4648
 * section 6) in lower case without padding, since some networks take no other
 * alphabet in their sub-ids:
 *
 *     0         version (high four bits), id of the key (low four bits)
 *     1 ... 4   time, seconds since the epoch, as all numbers big endian
 *     5 ... 8   number of the link
 *     9 ... 12  counter
 *     13 ... 19 the first seven bytes of HMAC-SHA256(key, bytes 0 to 12)
 *
 * So a conversion can be told from a made-up one before anything is looked
 * up: nothing of an id is to be read but what usher_click_read() gives.
 * Whoever guesses is right once in 2^56 times.
 */


#ifndef USHER_CLICK_H
#define USHER_CLICK_H


#include <stddef.h>
#include <stdint.h>


#define USHER_CLICK_VERSION  1

#define USHER_CLICK_TEXT     32     /* characters of an id */
#define USHER_CLICK_ID       20     /* bytes of it */
#define USHER_CLICK_SIGNED   13     /* of these are signed */
#define USHER_CLICK_KEYS     16     /* ids of keys: 0 to 15 */

#define USHER_CLICK_MAC      32     /* bytes of a whole HMAC-SHA256 */
#define USHER_CLICK_MESSAGE  55     /* the most that usher_click_mac() signs */


/*
 * Reasons: each click is stored with one, none is dropped.
 *
 *     _(NAME, number, "word", net)
 *
 * All clicks together are gross.  net is 1 for those that count as well when
 * general invalid traffic is left out, as the MRC's Invalid Traffic Detection
 * and Filtration Standards have it: robots, data centres, what is fetched
 * ahead, repetitions; and here what led nowhere.  A person who was sent to
 * another target, since the first was capped or expired, is net.
 *
 * Where several reasons hold, the lowest number but 0 is the click's: so one
 * that is not net is never hidden by one that is.  Numbers are stored, and
 * keep their meaning for ever.
 */
#define USHER_CLICK_REASONS(_)                                                \
    _(VALID, 0, "valid", 1)                                                   \
                                                                              \
    /* not a person's */                                                      \
    _(BOT, 11, "bot", 0)                     /* a known robot's user agent */ \
    _(AGENT, 12, "agent", 0)                 /* none, or no browser's */      \
    _(DATA_CENTRE, 13, "data_centre", 0)                                      \
    _(PREFETCH, 14, "prefetch", 0)           /* or for a preview */           \
    _(HEAD, 15, "head", 0)                                                    \
                                                                              \
    /* counted before */                                                      \
    _(DUPLICATE, 21, "duplicate", 0)         /* link and visitor, in 1 h */   \
                                                                              \
    /* led nowhere */                                                         \
    _(UNKNOWN, 31, "unknown", 0)             /* no such link */               \
    _(LOOP, 32, "loop", 0)                   /* its target is itself */       \
    _(TOO_LONG, 33, "too_long", 0)           /* its target, expanded */       \
                                                                              \
    /* sent to another target than the first, or to the fallback */           \
    _(CAPPED, 41, "capped", 1)                                                \
    _(EXPIRED, 42, "expired", 1)                                              \
    _(DEAD, 44, "dead", 1)                   /* so says health */             \
    _(DEEP_LINK, 45, "deep_link", 1)         /* is no URL */                  \
    _(DEEP_HOST, 46, "deep_host", 1)         /* the program lists no such */


#define USHER_CLICK_ENUM(name, number, word, net)                             \
    USHER_CLICK_##name = number,

typedef enum {
    USHER_CLICK_REASONS(USHER_CLICK_ENUM)
} usher_click_reason_e;

#undef USHER_CLICK_ENUM

typedef struct {
    unsigned     number;
    const char  *word;
    unsigned     net;       /* 1: counts in net */
} usher_click_reason_t;


typedef enum {
    USHER_CLICK_OK = 0,
    USHER_CLICK_MALFORMED,  /* length, alphabet, upper case or version */
    USHER_CLICK_NO_KEY,     /* none of these keys has its id */
    USHER_CLICK_FORGED
} usher_click_status_e;


/*
 * A key made ready, 68 bytes without pointers: HMAC's two hashes, each with
 * its first block done; without low-level SHA-256 the key.  As secret as it.
 */
typedef struct {
    unsigned           id;             /* 0 to 15 */
    union {
        uint32_t       state[2][8];    /* inner, outer */
        unsigned char  block[64];      /* or the key, padded with zeros */
    } u;
} usher_click_key_t;

typedef struct {
    uint32_t  time;         /* seconds since the epoch */
    uint32_t  link;         /* number of the link */
    uint32_t  counter;      /* distinct for one link in one second */
    unsigned  key;          /* id of its key; usher_click_make() sets it */
} usher_click_t;


/*
 * Makes *key of len bytes of secret, at least one, with an id from 0 to 15.
 * 0; or -1 if there is no such id or secret, or OpenSSL failed.
 */
int usher_click_key(usher_click_key_t *key, unsigned id, const void *secret,
    size_t len);

/*
 * Writes the id of *click, signed with *key, to text (no NUL), and the key's
 * id to click->key.  0; or -1 if OpenSSL failed.
 */
int usher_click_make(unsigned char text[USHER_CLICK_TEXT],
    const usher_click_key_t *key, usher_click_t *click);

/*
 * Reads the len bytes at text as the id of a click signed with one of nkeys
 * keys, in any order, no two of one id.  *click is filled only if that is
 * USHER_CLICK_OK.  The signature is compared in constant time.
 */
usher_click_status_e usher_click_read(const unsigned char *text, size_t len,
    const usher_click_key_t *keys, size_t nkeys, usher_click_t *click);

/* A reason by its number; NULL if there is none. */
const usher_click_reason_t *usher_click_reason(unsigned number);


/*
 * The parts, for their tests against published vectors.
 *
 * HMAC-SHA256 (RFC 2104) of at most USHER_CLICK_MESSAGE bytes: 0, or -1 if
 * there are more or OpenSSL failed.
 */
int usher_click_mac(const usher_click_key_t *key, const void *data,
    size_t len, unsigned char mac[USHER_CLICK_MAC]);

/* Base32; decoding gives -1 if a character is not of the alphabet, else 0. */
void usher_click_encode(unsigned char text[USHER_CLICK_TEXT],
    const unsigned char id[USHER_CLICK_ID]);
int usher_click_decode(unsigned char id[USHER_CLICK_ID],
    const unsigned char text[USHER_CLICK_TEXT]);


#endif
