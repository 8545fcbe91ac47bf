/*
 * usher_json.h - reads the members of a JSON object where they lie: RFC 8259,
 * nothing else, and no memory.
 *
 * Values stay text: an amount is what was written, to the last zero.  All of
 * the text is checked, also what nobody asks for.
 */


#ifndef USHER_JSON_H
#define USHER_JSON_H


#include <stddef.h>


#define USHER_JSON_DEPTH  32      /* objects and arrays within each other */


typedef enum {
    USHER_JSON_STRING = 0,
    USHER_JSON_NUMBER,
    USHER_JSON_WORD,              /* true, false, null */
    USHER_JSON_OBJECT,
    USHER_JSON_ARRAY
} usher_json_type_e;


/* Points into the text: a string without its quotes, still escaped. */
typedef struct {
    usher_json_type_e     type;
    const unsigned char  *data;
    size_t                len;
} usher_json_value_t;


typedef struct {
    const unsigned char  *pos;
    const unsigned char  *end;
    unsigned              begun:1;
} usher_json_t;


/* To walk len bytes at text, which is to be one object and nothing else. */
void usher_json_init(usher_json_t *json, const unsigned char *text,
    size_t len);

/*
 * The next member: 1; 0 at the end of the text; -1 if it is not JSON, is no
 * object, or goes too deep.  Names may be repeated.
 */
int usher_json_next(usher_json_t *json, usher_json_value_t *name,
    usher_json_value_t *value);

/* The first element of an array that was read: 1, or 0 if it is empty. */
int usher_json_first(const usher_json_value_t *array,
    usher_json_value_t *element);

/*
 * Writes what a string that was read says to dst, at most value->len bytes;
 * returns their number.  A half of a surrogate pair becomes U+FFFD; bytes
 * that are not UTF-8 stay.
 */
size_t usher_json_text(unsigned char *dst, const usher_json_value_t *value);

/* Whether it says these len bytes. */
int usher_json_is(const usher_json_value_t *value, const void *text,
    size_t len);


#endif
