/*
 * usher_stream.h - the names and small texts that edge and daemon exchange
 * through Redis.  The rules are those of the design's event path and
 * directory; README.md of src tells the story.
 */


#ifndef USHER_STREAM_H
#define USHER_STREAM_H


#include <stddef.h>
#include <stdint.h>


/* A slot's id: 128 random bits, written as 32 lower-case hex digits. */
#define USHER_SLOT_ID        16
#define USHER_SLOT_TEXT      32

#define USHER_STREAM_PREFIX  "usher:ev:"          /* + slot: a stream */
#define USHER_ACK_PREFIX     "usher:ack:"         /* + slot: a string */
#define USHER_SLOTS          "usher:slots"        /* hash: slot -> JSON */
#define USHER_RECORD_PREFIX  "usher:d:"           /* + kind:id, JSON */
#define USHER_READY          "usher:d:ready"      /* lineage, set last */
#define USHER_NONCE          "usher:d:nonce"      /* of the last batch */
#define USHER_CHANGES        "usher:changes"      /* stream, ids n-0 */
#define USHER_HEARTBEAT      "usher:heartbeat"    /* "<lineage> <count>" */

/*
 * Fields of a stream entry.  Its id is "<end>-0" ("<end>-1" for the end
 * entry).  A data entry has v f n c d, a hole v f c h, an end entry v f e.
 */
#define USHER_ENTRY_VERSION  "v"    /* "1" */
#define USHER_ENTRY_FROM     "f"    /* position of the first byte, decimal */
#define USHER_ENTRY_LINES    "n"    /* lines in data, decimal */
#define USHER_ENTRY_CHAIN    "c"    /* data: chain at from; hole: at end */
#define USHER_ENTRY_DATA     "d"    /* whole lines */
#define USHER_ENTRY_HOLE     "h"    /* reason: corrupt, freed */
#define USHER_ENTRY_END      "e"    /* "1": the slot is closed at from */

/* States of an acknowledgement. */
#define USHER_ACK_OK         'o'
#define USHER_ACK_REWIND     'r'    /* send again from position */
#define USHER_ACK_FORKED     'f'    /* two histories, common up to position */


/* The text at usher:ack:<slot>: "<position> <nonce> <o|r|f>". */
typedef struct {
    uint64_t  position;    /* payload bytes that are rows in PostgreSQL */
    uint64_t  nonce;       /* 16 hex digits; a rewind runs once per nonce */
    char      state;       /* USHER_ACK_* */
} usher_ack_t;

#define USHER_ACK_TEXT       48     /* room for the text and a NUL */


void usher_slot_text(const unsigned char id[USHER_SLOT_ID],
    char text[USHER_SLOT_TEXT + 1]);

/* Each parser returns 0, or -1 if the len bytes at text are not of the form. */
int usher_slot_parse(const char *text, size_t len,
    unsigned char id[USHER_SLOT_ID]);

size_t usher_ack_text(const usher_ack_t *ack, char text[USHER_ACK_TEXT]);
int usher_ack_parse(const char *text, size_t len, usher_ack_t *ack);

/* "<major>-<minor>" of a stream id. */
int usher_stream_id_parse(const char *text, size_t len, uint64_t *major,
    uint64_t *minor);

/* Decimal without sign, and 16 hex digits (a chain or a nonce). */
int usher_decimal_parse(const char *text, size_t len, uint64_t *value);
int usher_hex64_parse(const char *text, size_t len, uint64_t *value);
void usher_hex64_text(uint64_t value, char text[16 + 1]);


#endif
