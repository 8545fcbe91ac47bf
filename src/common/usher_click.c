/*
 * usher_click.c - signs and reads the ids of clicks, and lists reasons.
 *
 * DESIGN
 *
 * An HMAC of a short message is four blocks of SHA-256, two of which are the
 * key's and are done once.  The other two go straight through OpenSSL's
 * SHA256_Transform(), padded here (FIPS 180-4, 5.1.1): what is above it
 * allocates, and fetches the algorithm anew for each HMAC.  It is deprecated;
 * where it is missing HMAC() does the same, slowly.
 */


#define OPENSSL_SUPPRESS_DEPRECATED

#include <arpa/inet.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "usher_click.h"


#define USHER_CLICK_BLOCK  64       /* of SHA-256 */
#define USHER_CLICK_CUT    (USHER_CLICK_ID - USHER_CLICK_SIGNED)


static int usher_click_prepare(usher_click_key_t *key,
    const unsigned char block[USHER_CLICK_BLOCK]);
static void usher_click_put(unsigned char *p, uint32_t value);
static uint32_t usher_click_get(const unsigned char *p);


static const unsigned char  usher_click_alphabet[] =
    "abcdefghijklmnopqrstuvwxyz234567";

#define USHER_CLICK_ROW(name, number, word, net)  { number, word, net },

static const usher_click_reason_t  usher_click_reasons[] = {
    USHER_CLICK_REASONS(USHER_CLICK_ROW)
};

#undef USHER_CLICK_ROW


int
usher_click_key(usher_click_key_t *key, unsigned id, const void *secret,
    size_t len)
{
    int            rc;
    unsigned char  block[USHER_CLICK_BLOCK];

    if (id >= USHER_CLICK_KEYS || len == 0) {
        return -1;
    }

    memset(block, 0, USHER_CLICK_BLOCK);

    if (len <= USHER_CLICK_BLOCK) {
        memcpy(block, secret, len);

    } else if (SHA256(secret, len, block) == NULL) {
        return -1;
    }

    key->id = id;
    rc = usher_click_prepare(key, block);

    OPENSSL_cleanse(block, USHER_CLICK_BLOCK);

    return rc;
}


int
usher_click_make(unsigned char text[USHER_CLICK_TEXT],
    const usher_click_key_t *key, usher_click_t *click)
{
    unsigned char  id[USHER_CLICK_ID], mac[USHER_CLICK_MAC];

    id[0] = (unsigned char) (USHER_CLICK_VERSION << 4 | key->id);
    usher_click_put(id + 1, click->time);
    usher_click_put(id + 5, click->link);
    usher_click_put(id + 9, click->counter);

    if (usher_click_mac(key, id, USHER_CLICK_SIGNED, mac) == -1) {
        return -1;
    }

    memcpy(id + USHER_CLICK_SIGNED, mac, USHER_CLICK_CUT);
    usher_click_encode(text, id);

    click->key = key->id;

    return 0;
}


usher_click_status_e
usher_click_read(const unsigned char *text, size_t len,
    const usher_click_key_t *keys, size_t nkeys, usher_click_t *click)
{
    size_t         i;
    unsigned char  id[USHER_CLICK_ID], mac[USHER_CLICK_MAC];

    if (len != USHER_CLICK_TEXT
        || usher_click_decode(id, text) == -1
        || id[0] >> 4 != USHER_CLICK_VERSION)
    {
        return USHER_CLICK_MALFORMED;
    }

    for (i = 0; i < nkeys; i++) {
        if (keys[i].id == (id[0] & 0xfu)) {
            break;
        }
    }

    if (i == nkeys) {
        return USHER_CLICK_NO_KEY;
    }

    if (usher_click_mac(&keys[i], id, USHER_CLICK_SIGNED, mac) == -1
        || CRYPTO_memcmp(id + USHER_CLICK_SIGNED, mac, USHER_CLICK_CUT) != 0)
    {
        return USHER_CLICK_FORGED;
    }

    click->time = usher_click_get(id + 1);
    click->link = usher_click_get(id + 5);
    click->counter = usher_click_get(id + 9);
    click->key = keys[i].id;

    return USHER_CLICK_OK;
}


const usher_click_reason_t *
usher_click_reason(unsigned number)
{
    size_t  i;

    for (i = 0;
         i < sizeof(usher_click_reasons) / sizeof(usher_click_reasons[0]);
         i++)
    {
        if (usher_click_reasons[i].number == number) {
            return &usher_click_reasons[i];
        }
    }

    return NULL;
}


/* Five bytes are eight characters. */

void
usher_click_encode(unsigned char text[USHER_CLICK_TEXT],
    const unsigned char id[USHER_CLICK_ID])
{
    int                   i;
    uint64_t              bits;
    const unsigned char  *end;

    for (end = id + USHER_CLICK_ID; id < end; id += 5, text += 8) {

        bits = (uint64_t) id[0] << 32 | (uint64_t) usher_click_get(id + 1);

        for (i = 7; i >= 0; i--) {
            text[i] = usher_click_alphabet[bits & 0x1f];
            bits >>= 5;
        }
    }
}


int
usher_click_decode(unsigned char id[USHER_CLICK_ID],
    const unsigned char text[USHER_CLICK_TEXT])
{
    int                   i;
    unsigned              bad, letter, digit;
    uint64_t              bits;
    const unsigned char  *end;

    bad = 0;

    for (end = text + USHER_CLICK_TEXT; text < end; id += 5, text += 8) {

        bits = 0;

        /* no branch on a character: an id is random, and so would they be */

        for (i = 0; i < 8; i++) {
            letter = (unsigned) text[i] - 'a';
            digit = (unsigned) text[i] - '2';

            bad |= (letter > 25) & (digit > 5);
            bits = bits << 5 | (letter <= 25 ? letter : (digit + 26) & 0x1f);
        }

        id[0] = (unsigned char) (bits >> 32);
        usher_click_put(id + 1, (uint32_t) bits);
    }

    return bad ? -1 : 0;
}


static void
usher_click_put(unsigned char *p, uint32_t value)
{
    value = htonl(value);
    memcpy(p, &value, sizeof(uint32_t));
}


static uint32_t
usher_click_get(const unsigned char *p)
{
    uint32_t  value;

    memcpy(&value, p, sizeof(uint32_t));

    return ntohl(value);
}


#ifndef OPENSSL_NO_DEPRECATED_3_0


static void usher_click_block(const uint32_t state[8],
    const unsigned char *data, size_t len, unsigned char out[USHER_CLICK_MAC]);


int
usher_click_mac(const usher_click_key_t *key, const void *data, size_t len,
    unsigned char mac[USHER_CLICK_MAC])
{
    unsigned char  inner[USHER_CLICK_MAC];

    if (len > USHER_CLICK_MESSAGE) {
        return -1;
    }

    usher_click_block(key->u.state[0], data, len, inner);
    usher_click_block(key->u.state[1], inner, USHER_CLICK_MAC, mac);

    return 0;
}


static int
usher_click_prepare(usher_click_key_t *key,
    const unsigned char block[USHER_CLICK_BLOCK])
{
    static const unsigned char  pads[2] = { 0x36, 0x5c };

    int            i, k;
    SHA256_CTX     sha;
    unsigned char  padded[USHER_CLICK_BLOCK];

    for (i = 0; i < 2; i++) {

        for (k = 0; k < USHER_CLICK_BLOCK; k++) {
            padded[k] = block[k] ^ pads[i];
        }

        if (!SHA256_Init(&sha)) {
            return -1;
        }

        SHA256_Transform(&sha, padded);

        for (k = 0; k < 8; k++) {
            key->u.state[i][k] = (uint32_t) sha.h[k];
        }
    }

    OPENSSL_cleanse(padded, USHER_CLICK_BLOCK);
    OPENSSL_cleanse(&sha, sizeof(sha));

    return 0;
}


/* The last block of a hash that has had one block before it. */

static void
usher_click_block(const uint32_t state[8], const unsigned char *data,
    size_t len, unsigned char out[USHER_CLICK_MAC])
{
    int            i;
    size_t         bits;
    SHA256_CTX     sha;
    unsigned char  block[USHER_CLICK_BLOCK];

    bits = (USHER_CLICK_BLOCK + len) * 8;

    memset(block, 0, USHER_CLICK_BLOCK);
    memcpy(block, data, len);

    /* a bit that is set, and the number of bits before it */

    block[len] = 0x80;
    block[USHER_CLICK_BLOCK - 2] = (unsigned char) (bits >> 8);
    block[USHER_CLICK_BLOCK - 1] = (unsigned char) bits;

    for (i = 0; i < 8; i++) {
        sha.h[i] = state[i];
    }

    SHA256_Transform(&sha, block);

    for (i = 0; i < 8; i++) {
        usher_click_put(out + i * sizeof(uint32_t), (uint32_t) sha.h[i]);
    }
}


#else


int
usher_click_mac(const usher_click_key_t *key, const void *data, size_t len,
    unsigned char mac[USHER_CLICK_MAC])
{
    if (len > USHER_CLICK_MESSAGE) {
        return -1;
    }

    /* a key that is shorter than a block is the same with zeros behind it */

    if (HMAC(EVP_sha256(), key->u.block, USHER_CLICK_BLOCK, data, len, mac,
             NULL)
        == NULL)
    {
        return -1;
    }

    return 0;
}


static int
usher_click_prepare(usher_click_key_t *key,
    const unsigned char block[USHER_CLICK_BLOCK])
{
    memcpy(key->u.block, block, USHER_CLICK_BLOCK);

    return 0;
}


#endif
