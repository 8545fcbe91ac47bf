/*
 * usher_stream.c - the small texts of the stream, written and read.
 *
 * The parsers take the canonical form only (no sign, no leading zero, lower
 * case): what was not written by the functions here is foreign.
 */


#include <stdio.h>
#include <string.h>

#include "usher_stream.h"


static int usher_hex_digit(char c);


static const char  usher_hex[] = "0123456789abcdef";


void
usher_slot_text(const unsigned char id[USHER_SLOT_ID],
    char text[USHER_SLOT_TEXT + 1])
{
    int  i;

    for (i = 0; i < USHER_SLOT_ID; i++) {
        text[2 * i] = usher_hex[id[i] >> 4];
        text[2 * i + 1] = usher_hex[id[i] & 0xf];
    }

    text[USHER_SLOT_TEXT] = '\0';
}


int
usher_slot_parse(const char *text, size_t len, unsigned char id[USHER_SLOT_ID])
{
    int  i, high, low;

    if (len != USHER_SLOT_TEXT) {
        return -1;
    }

    for (i = 0; i < USHER_SLOT_ID; i++) {
        high = usher_hex_digit(text[2 * i]);
        low = usher_hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            return -1;
        }

        id[i] = (unsigned char) (high << 4 | low);
    }

    return 0;
}


size_t
usher_ack_text(const usher_ack_t *ack, char text[USHER_ACK_TEXT])
{
    return (size_t) snprintf(text, USHER_ACK_TEXT, "%llu %016llx %c",
                             (unsigned long long) ack->position,
                             (unsigned long long) ack->nonce, ack->state);
}


int
usher_ack_parse(const char *text, size_t len, usher_ack_t *ack)
{
    char         state;
    uint64_t     position, nonce;
    const char  *space;

    space = memchr(text, ' ', len);

    if (space == NULL || len - (size_t) (space - text) != 1 + 16 + 2) {
        return -1;
    }

    if (usher_decimal_parse(text, (size_t) (space - text), &position) != 0
        || usher_hex64_parse(space + 1, 16, &nonce) != 0
        || space[17] != ' ')
    {
        return -1;
    }

    state = space[18];

    if (state != USHER_ACK_OK && state != USHER_ACK_REWIND
        && state != USHER_ACK_FORKED)
    {
        return -1;
    }

    ack->position = position;
    ack->nonce = nonce;
    ack->state = state;

    return 0;
}


int
usher_stream_id_parse(const char *text, size_t len, uint64_t *major,
    uint64_t *minor)
{
    size_t       n;
    uint64_t     first, second;
    const char  *dash;

    dash = memchr(text, '-', len);

    if (dash == NULL) {
        return -1;
    }

    n = (size_t) (dash - text);

    if (usher_decimal_parse(text, n, &first) != 0
        || usher_decimal_parse(dash + 1, len - n - 1, &second) != 0)
    {
        return -1;
    }

    *major = first;
    *minor = second;

    return 0;
}


int
usher_decimal_parse(const char *text, size_t len, uint64_t *value)
{
    size_t    i;
    uint64_t  v, digit;

    if (len == 0 || len > 20 || (len > 1 && text[0] == '0')) {
        return -1;
    }

    v = 0;

    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }

        digit = (uint64_t) (text[i] - '0');

        if (v > (UINT64_MAX - digit) / 10) {
            return -1;
        }

        v = v * 10 + digit;
    }

    *value = v;

    return 0;
}


int
usher_hex64_parse(const char *text, size_t len, uint64_t *value)
{
    int       digit;
    size_t    i;
    uint64_t  v;

    if (len != 16) {
        return -1;
    }

    v = 0;

    for (i = 0; i < len; i++) {
        digit = usher_hex_digit(text[i]);

        if (digit < 0) {
            return -1;
        }

        v = v << 4 | (uint64_t) digit;
    }

    *value = v;

    return 0;
}


void
usher_hex64_text(uint64_t value, char text[16 + 1])
{
    int       i;
    uint64_t  high, low, digits[2];

    /* four bits to a byte, eight digits at a time; then 0-9 or a-f */

    digits[0] = value >> 32;
    digits[1] = value & 0xffffffff;

    for (i = 0; i < 2; i++) {
        low = digits[i];
        low = (low | low << 16) & 0x0000ffff0000ffffULL;
        low = (low | low << 8) & 0x00ff00ff00ff00ffULL;
        low = (low | low << 4) & 0x0f0f0f0f0f0f0f0fULL;

        high = ((low + 0x0606060606060606ULL) >> 4) & 0x0101010101010101ULL;
        low += 0x3030303030303030ULL + high * ('a' - '0' - 10);

#if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
        low = __builtin_bswap64(low);
#endif
        memcpy(text + 8 * i, &low, 8);
    }

    text[16] = '\0';
}


static int
usher_hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    return -1;
}
