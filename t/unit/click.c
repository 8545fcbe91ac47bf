/*
 * click.c - ids of clicks: the codec, the signature, whole ids, refusals.
 */


#include "usher_click.h"

#include "tap.h"


static void check_codec(void);
static void check_mac(void);
static void check_ids(void);
static void check_forged(void);
static void check_keys(void);
static void check_reasons(void);
static usher_click_status_e read_id(const char *text, size_t len,
    const usher_click_key_t *keys, size_t nkeys, usher_click_t *click);


/*
 * Whole ids, made apart from this by Python:
 *
 *     b = bytes([0x10 | key]) + struct.pack('>III', time, link, counter)
 *     base64.b32encode(b + hmac.new(secret, b, 'sha256').digest()[:7]).lower()
 */

static const struct {
    unsigned       first;       /* secret: so many bytes, first, + step, ... */
    unsigned       step;
    size_t         len;
    usher_click_t  click;
    const char    *text;
} ids[] = {
    { 0, 1, 32, { 1767225600, 123456, 0xfedcba98, 5 },
      "cvuvloiaaaa6eqh63s5jryin435i3qp2" },
    { 7, 1, 64, { 1, 2, 3, 1 }, "ceaaaaabaaaaaaqaaaaahuldin7sotyk" },
    { 7, 1, 65, { 1, 2, 3, 2 }, "ciaaaaabaaaaaaqaaaaag6jcwa73uuvg" },
    { 'k', 0, 100, { UINT32_MAX, UINT32_MAX, UINT32_MAX, 15 },
      "d77777777777777777777qykglkwoph2" },
    { 1, 0, 1, { 0, 0, 0, 0 }, "caaaaaaaaaaaaaaaaaaaakygwqvbqgmr" }
};

#define NIDS  (sizeof(ids) / sizeof(ids[0]))


int
main(void)
{
    check_codec();
    check_mac();
    check_ids();
    check_forged();
    check_keys();
    check_reasons();

    return tap_done();
}


/* RFC 4648, 10; whole groups, so that a short one has zeros behind it. */

static void
check_codec(void)
{
    static const char *const  vectors[][2] = {
        { "", "" }, { "f", "my" }, { "fo", "mzxq" }, { "foo", "mzxw6" },
        { "foob", "mzxw6yq" }, { "fooba", "mzxw6ytb" },
        { "foobar", "mzxw6ytboi" }
    };

    int            c, at, bad;
    size_t         i;
    unsigned char  id[USHER_CLICK_ID], back[USHER_CLICK_ID];
    unsigned char  text[USHER_CLICK_TEXT];

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        memset(id, 0, sizeof(id));
        memcpy(id, vectors[i][0], strlen(vectors[i][0]));
        usher_click_encode(text, id);

        ok(memcmp(text, vectors[i][1], strlen(vectors[i][1])) == 0
           && text[USHER_CLICK_TEXT - 1] == 'a',
           "base32 of \"%s\"", vectors[i][0]);
        ok(usher_click_decode(back, text) == 0
           && memcmp(back, id, sizeof(id)) == 0, "and back");
    }

    bad = 0;

    for (at = 0; at < USHER_CLICK_TEXT; at++) {
        for (c = 0; c < 256; c++) {
            memset(text, 'a', sizeof(text));
            text[at] = (unsigned char) c;

            bad += (usher_click_decode(back, text) == 0)
                   != ((c >= 'a' && c <= 'z') || (c >= '2' && c <= '7'));
        }
    }

    ok(bad == 0, "the alphabet, in every place");
}


/* RFC 4231, 4.2 to 4.7; 4.8 signs more than there is room for. */

static void
check_mac(void)
{
    static const struct {
        unsigned     key, step;
        size_t       key_len;
        const char  *text;      /* NULL: fifty bytes of byte */
        int          byte;
        size_t       mac_len;
        const char  *mac;
    } vectors[] = {
        { 0x0b, 0, 20, "Hi There", 0, 32,
          "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
        { 0, 0, 4, "what do ya want for nothing?", 0, 32,
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
        { 0xaa, 0, 20, NULL, 0xdd, 32,
          "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe" },
        { 0x01, 1, 25, NULL, 0xcd, 32,
          "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b" },
        { 0x0c, 0, 20, "Test With Truncation", 0, 16,
          "a3b6167473100ee06e0c796c2955552b" },
        { 0xaa, 0, 131, "Test Using Larger Than Block-Size Key - Hash Key "
          "First", 0, 32,
          "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" }
    };

    char               hex[2 * USHER_CLICK_MAC + 1];
    size_t             i, k, len;
    unsigned char      secret[131], text[USHER_CLICK_MESSAGE + 1];
    unsigned char      mac[USHER_CLICK_MAC];
    usher_click_key_t  key;

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {

        for (k = 0; k < vectors[i].key_len; k++) {
            secret[k] = (unsigned char) (vectors[i].key + k * vectors[i].step);
        }

        if (vectors[i].key == 0) {
            memcpy(secret, "Jefe", 4);
        }

        memset(text, vectors[i].byte, 50);
        len = vectors[i].text ? strlen(vectors[i].text) : 50;

        if (vectors[i].text) {
            memcpy(text, vectors[i].text, len);
        }

        ok(usher_click_key(&key, 0, secret, vectors[i].key_len) == 0
           && usher_click_mac(&key, text, len, mac) == 0, "a key is made");

        for (k = 0; k < USHER_CLICK_MAC; k++) {
            sprintf(hex + 2 * k, "%02x", mac[k]);
        }

        ok(memcmp(hex, vectors[i].mac, 2 * vectors[i].mac_len) == 0,
           "HMAC of RFC 4231, case %zu", i + 1);
    }

    ok(usher_click_mac(&key, text, USHER_CLICK_MESSAGE, mac) == 0
       && usher_click_mac(&key, text, USHER_CLICK_MESSAGE + 1, mac) == -1,
       "a message that is too long");
}


static void
check_ids(void)
{
    size_t             i, k;
    unsigned char      secret[100], text[USHER_CLICK_TEXT];
    usher_click_t      click, back;
    usher_click_key_t  key;

    for (i = 0; i < NIDS; i++) {

        for (k = 0; k < ids[i].len; k++) {
            secret[k] = (unsigned char) (ids[i].first + k * ids[i].step);
        }

        click = ids[i].click;
        click.key = 99;

        ok(usher_click_key(&key, ids[i].click.key, secret, ids[i].len) == 0
           && usher_click_make(text, &key, &click) == 0
           && memcmp(text, ids[i].text, USHER_CLICK_TEXT) == 0,
           "an id: %.*s", USHER_CLICK_TEXT, (const char *) text);
        ok(click.key == ids[i].click.key, "its key is told");

        memset(&back, 0x55, sizeof(back));

        ok(read_id(ids[i].text, USHER_CLICK_TEXT, &key, 1, &back)
           == USHER_CLICK_OK
           && back.time == click.time && back.link == click.link
           && back.counter == click.counter && back.key == click.key,
           "and back");
    }
}


static void
check_forged(void)
{
    int                c, at, bad, early;
    char               text[USHER_CLICK_TEXT + 1];
    unsigned char      secret[32];
    usher_click_t      click, was;
    usher_click_key_t  key;

    tap_fill(secret, sizeof(secret), 7);
    usher_click_key(&key, 5, secret, sizeof(secret));
    memset(&click, 0x55, sizeof(click));
    was = click;

    strcpy(text, ids[0].text);
    ok(read_id(text, 32, &key, 1, &click) == USHER_CLICK_FORGED,
       "of another secret");

    usher_click_make((unsigned char *) text, &key, &click);
    was = click;

    ok(read_id(text, 31, &key, 1, &click) == USHER_CLICK_MALFORMED
       && read_id(text, 33, &key, 1, &click) == USHER_CLICK_MALFORMED
       && read_id(text, 0, &key, 1, &click) == USHER_CLICK_MALFORMED,
       "a length too short, too long, none");

    bad = 0;
    early = 0;

    for (at = 0; at < USHER_CLICK_TEXT; at++) {
        for (c = 0; c < 256; c++) {
            usher_click_make((unsigned char *) text, &key, &was);

            if (c == text[at]) {
                continue;
            }

            text[at] = (char) c;
            bad += read_id(text, 32, &key, 1, &click) == USHER_CLICK_OK;
            early += memcmp(&click, &was, sizeof(click)) != 0;
        }
    }

    ok(bad == 0, "any other byte in any place is refused");
    ok(early == 0, "and nothing is read of it");

    usher_click_make((unsigned char *) text, &key, &was);
    text[31] = (char) (text[31] == 'a' ? 'b' : 'a');
    ok(read_id(text, 32, &key, 1, &click) == USHER_CLICK_FORGED,
       "the last bits are signed");
    ok(read_id(text, 32, &key, 0, &click) == USHER_CLICK_NO_KEY,
       "no key at all");

    usher_click_make((unsigned char *) text, &key, &was);
    text[20] = (char) (text[20] & ~0x20);
    ok(read_id(text, 32, &key, 1, &click) == USHER_CLICK_MALFORMED,
       "an upper-case letter or its like");

    usher_click_make((unsigned char *) text, &key, &was);
    text[0] = 'e';
    ok(read_id(text, 32, &key, 1, &click) == USHER_CLICK_MALFORMED,
       "another version");
}


static void
check_keys(void)
{
    int                bad;
    unsigned           i;
    unsigned char      secret[USHER_CLICK_KEYS][32], text[USHER_CLICK_TEXT];
    usher_click_t      click;
    usher_click_key_t  keys[USHER_CLICK_KEYS];

    for (bad = 0, i = 0; i < USHER_CLICK_KEYS; i++) {
        tap_fill(secret[i], sizeof(secret[i]), i);
        bad += usher_click_key(&keys[15 - i], i, secret[i], 32) != 0;
    }

    ok(bad == 0, "keys from 0 to 15");
    ok(usher_click_key(&keys[0], 16, secret[0], 32) == -1, "and no more");
    ok(usher_click_key(&keys[0], 0, secret[0], 0) == -1, "no secret");

    memset(&click, 0, sizeof(click));

    for (bad = 0, i = 0; i < USHER_CLICK_KEYS; i++) {
        usher_click_make(text, &keys[15 - i], &click);

        bad += usher_click_read(text, 32, keys, USHER_CLICK_KEYS, &click)
               != USHER_CLICK_OK || click.key != i;
        bad += usher_click_read(text, 32, keys, 15 - i, &click)
               != USHER_CLICK_NO_KEY;
    }

    ok(bad == 0, "each is found by its id, and missed if it is not there");
}


static void
check_reasons(void)
{
    unsigned                     n, count, invalid, valid;
    const usher_click_reason_t  *r;

    count = 0;
    invalid = 0;
    valid = UINT32_MAX;

    for (n = 0; n < 1000; n++) {
        r = usher_click_reason(n);

        if (r == NULL) {
            continue;
        }

        count++;

        if (!r->net) {
            invalid = n;

        } else if (n > 0 && n < valid) {
            valid = n;
        }
    }

#define COUNT(name, number, word, net)  + 1
    ok(count == USHER_CLICK_REASONS(COUNT), "no number is there twice");
#undef COUNT

    r = usher_click_reason(0);
    ok(r != NULL && strcmp(r->word, "valid") == 0 && r->net, "0 is valid");
    ok(invalid < valid, "the lowest number hides none that is not net");
    ok(usher_click_reason(USHER_CLICK_BOT)->net == 0
       && usher_click_reason(USHER_CLICK_CAPPED)->net == 1,
       "a robot is not net, who came over the cap is");
    ok(usher_click_reason(1) == NULL && usher_click_reason(UINT32_MAX) == NULL,
       "no such reason");
}


/* On the heap without a NUL, so that a sanitizer sees a read too far. */

static usher_click_status_e
read_id(const char *text, size_t len, const usher_click_key_t *keys,
    size_t nkeys, usher_click_t *click)
{
    unsigned char        *copy;
    usher_click_status_e  rc;

    copy = calloc(1, len ? len : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, text, len < USHER_CLICK_TEXT + 1 ? len
                                                  : USHER_CLICK_TEXT + 1);
    rc = usher_click_read(copy, len, keys, nkeys, click);
    free(copy);

    return rc;
}
