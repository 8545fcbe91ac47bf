/*
 * stream.c - the small texts of the stream: there and back, and refusals.
 */


#include "usher_stream.h"

#include "tap.h"


static int decimal(const char *text, uint64_t *v);
static int ack(const char *text, usher_ack_t *a);
static int id(const char *text, uint64_t *major, uint64_t *minor);


int
main(void)
{
    char           text[USHER_ACK_TEXT], slot[USHER_SLOT_TEXT + 1];
    size_t         len;
    uint64_t       v, w;
    usher_ack_t    a, b;
    unsigned char  raw[USHER_SLOT_ID], back[USHER_SLOT_ID];

    tap_fill(raw, sizeof(raw), 3);
    usher_slot_text(raw, slot);
    ok(strlen(slot) == USHER_SLOT_TEXT
       && usher_slot_parse(slot, USHER_SLOT_TEXT, back) == 0
       && memcmp(raw, back, sizeof(raw)) == 0, "a slot there and back");
    ok(usher_slot_parse(slot, USHER_SLOT_TEXT - 1, back) == -1, "short slot");
    slot[31] = 'G';
    ok(usher_slot_parse(slot, USHER_SLOT_TEXT, back) == -1, "no hex");

    a.position = UINT64_MAX;
    a.nonce = 0x0123456789abcdefULL;
    a.state = USHER_ACK_REWIND;
    len = usher_ack_text(&a, text);
    ok(strcmp(text, "18446744073709551615 0123456789abcdef r") == 0
       && len == strlen(text), "the text of an acknowledgement");
    ok(usher_ack_parse(text, len, &b) == 0 && b.position == a.position
       && b.nonce == a.nonce && b.state == a.state, "and back");

    b.position = 5;
    ok(ack("0 0000000000000000 o", &b) == 0 && b.position == 0
       && b.state == USHER_ACK_OK, "zero");
    ok(ack("7 0000000000000001 f", &b) == 0
       && b.state == USHER_ACK_FORKED, "forked");

    b.position = 5;
    ok(ack("", &b) == -1, "nothing");
    ok(ack(" 0000000000000000 o", &b) == -1, "no position");
    ok(ack("1 000000000000000 o", &b) == -1, "a short nonce");
    ok(ack("1 0000000000000000 x", &b) == -1, "another state");
    ok(ack("1 0000000000000000 o ", &b) == -1, "a trailing blank");
    ok(ack("1 0000000000000000xo", &b) == -1, "no blank");
    ok(ack("18446744073709551616 0000000000000000 o", &b) == -1, "overflow");
    ok(b.position == 5, "a refused text changes nothing");

    ok(decimal("0", &v) == 0 && v == 0, "decimal 0");
    ok(decimal("18446744073709551615", &v) == 0 && v == UINT64_MAX,
       "the largest decimal");
    ok(decimal("18446744073709551616", &v) == -1
       && decimal("99999999999999999999", &v) == -1, "one too large");
    ok(decimal("", &v) == -1 && decimal("-1", &v) == -1
       && decimal("+1", &v) == -1 && decimal("01", &v) == -1
       && decimal("1 ", &v) == -1 && decimal("1a", &v) == -1,
       "not a decimal");

    ok(id("1526919030474-55", &v, &w) == 0 && v == 1526919030474ULL
       && w == 55, "a stream id");
    ok(id("1526919030474", &v, &w) == -1 && id("-", &v, &w) == -1
       && id("1-", &v, &w) == -1 && id("1-2-3", &v, &w) == -1,
       "not a stream id");

    usher_hex64_text(0xe9c6d914c4b8d9caULL, text);
    ok(strcmp(text, "e9c6d914c4b8d9ca") == 0, "hex text");
    ok(usher_hex64_parse(text, 16, &v) == 0 && v == 0xe9c6d914c4b8d9caULL,
       "and back");
    ok(usher_hex64_parse("E9C6D914C4B8D9CA", 16, &v) == -1
       && usher_hex64_parse("0", 1, &v) == -1, "not hex text");

    return tap_done();
}


static int
decimal(const char *text, uint64_t *v)
{
    return usher_decimal_parse(text, strlen(text), v);
}


static int
ack(const char *text, usher_ack_t *a)
{
    return usher_ack_parse(text, strlen(text), a);
}


static int
id(const char *text, uint64_t *major, uint64_t *minor)
{
    return usher_stream_id_parse(text, strlen(text), major, minor);
}
