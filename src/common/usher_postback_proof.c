/*
 * usher_postback_proof.c - who sent a postback: the dialects of networks.
 *
 * Signatures are compared in constant time.  Nothing of a secret is left in
 * memory of this file: keys made of it are wiped.
 */


#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "usher_json.h"
#include "usher_postback.h"


#define USHER_POSTBACK_IV    16
#define USHER_POSTBACK_KEY   32

/* The longest signature, encoded: each of 64 bytes as %XX%XX. */
#define USHER_POSTBACK_SIGN  (6 * EVP_MAX_MD_SIZE)


/* A parameter of a form, decoded. */
typedef struct {
    usher_postback_text_t  name;
    usher_postback_text_t  value;
} usher_postback_pair_t;


static int usher_postback_mac(const EVP_MD *md,
    const usher_postback_text_t pieces[2], const unsigned char *secret,
    size_t secret_len, unsigned char mac[EVP_MAX_MD_SIZE]);
static size_t usher_postback_signature(unsigned char *out,
    const usher_postback_text_t *value, int base64);
static size_t usher_postback_hex(unsigned char *out, const unsigned char *text,
    size_t len);
static size_t usher_postback_base64(unsigned char *out,
    const unsigned char *text, size_t len);
static int usher_postback_sextet(unsigned char c);
static size_t usher_postback_pairs(usher_postback_pair_t *pairs,
    const unsigned char *text, size_t len, unsigned char *room);
static int usher_postback_order(const void *one, const void *two);
static int usher_postback_word(const usher_postback_text_t *text,
    const char *word);
static usher_postback_status_e usher_postback_joined(
    const usher_postback_pair_t *pairs, size_t n, const unsigned char *secret,
    size_t secret_len, unsigned char digest[EVP_MAX_MD_SIZE]);
static int usher_postback_ins_parts(const unsigned char *text, size_t len,
    unsigned char *out, size_t *n, unsigned char iv[USHER_POSTBACK_IV]);
static int usher_postback_ins_part(const usher_json_value_t *value,
    unsigned char *out, size_t *n);
static int usher_postback_ins_key(const unsigned char *secret,
    size_t secret_len, unsigned char key[USHER_POSTBACK_KEY]);
static int usher_postback_decrypt(const unsigned char *key,
    const unsigned char *iv, unsigned char *data, size_t *n);
static size_t usher_postback_trim(unsigned char *data, size_t n);


usher_postback_status_e
usher_postback_hmac(usher_postback_algorithm_e hash,
    const usher_postback_text_t *name, int base64, const unsigned char *text,
    size_t len, const unsigned char *secret, size_t secret_len)
{
    int                     rc;
    size_t                  n;
    unsigned char           mac[EVP_MAX_MD_SIZE];
    unsigned char           sign[USHER_POSTBACK_SIGN];
    const EVP_MD           *md;
    usher_postback_text_t   value, pieces[2];

    rc = usher_postback_find(text, len, name, &value, pieces);

    if (rc <= 0) {
        return rc < 0 ? USHER_POSTBACK_AMBIGUOUS : USHER_POSTBACK_UNSIGNED;
    }

    md = hash == USHER_POSTBACK_SHA256 ? EVP_sha256()
         : hash == USHER_POSTBACK_SHA1 ? EVP_sha1()
         : hash == USHER_POSTBACK_SHA512 ? EVP_sha512() : EVP_md5();

    n = usher_postback_signature(sign, &value, base64);

    if (n == 0 || n != (size_t) EVP_MD_size(md)) {
        return USHER_POSTBACK_FORGED;
    }

    if (usher_postback_mac(md, pieces, secret, secret_len, mac) != 0) {
        return USHER_POSTBACK_ERROR;
    }

    return CRYPTO_memcmp(mac, sign, n) == 0 ? USHER_POSTBACK_OK
                                            : USHER_POSTBACK_FORGED;
}


/* HMAC of both pieces. */

static int
usher_postback_mac(const EVP_MD *md, const usher_postback_text_t pieces[2],
    const unsigned char *secret, size_t secret_len,
    unsigned char mac[EVP_MAX_MD_SIZE])
{
    int          rc;
    size_t       n;
    EVP_PKEY    *key;
    EVP_MD_CTX  *ctx;

    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, secret,
                                       secret_len);
    ctx = EVP_MD_CTX_new();
    n = EVP_MAX_MD_SIZE;

    rc = key != NULL && ctx != NULL
         && EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1
         && EVP_DigestSignUpdate(ctx, pieces[0].data, pieces[0].len) == 1
         && EVP_DigestSignUpdate(ctx, pieces[1].data, pieces[1].len) == 1
         && EVP_DigestSignFinal(ctx, mac, &n) == 1;

    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);

    return rc ? 0 : -1;
}


/* The bytes of a signature in a query; 0 if it is none. */

static size_t
usher_postback_signature(unsigned char *out,
    const usher_postback_text_t *value, int base64)
{
    size_t  n;

    if (value->len > USHER_POSTBACK_SIGN) {
        return 0;
    }

    n = usher_postback_decode(out, value->data, value->len);

    return base64 ? usher_postback_base64(out, out, n)
                  : usher_postback_hex(out, out, n);
}


/* In place, if they are the same. */

static size_t
usher_postback_hex(unsigned char *out, const unsigned char *text, size_t len)
{
    size_t         i;
    unsigned char  c, half;

    if (len % 2) {
        return 0;
    }

    half = 0;

    for (i = 0; i < len; i++) {
        c = text[i];

        if (c >= '0' && c <= '9') {
            c = (unsigned char) (c - '0');

        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            c = (unsigned char) ((c | 0x20) - 'a' + 10);

        } else {
            return 0;
        }

        if (i % 2) {
            out[i / 2] = (unsigned char) (half << 4 | c);
        }

        half = c;
    }

    return len / 2;
}


/*
 * Base64 of either alphabet (RFC 4648, 4 and 5), with padding or without.  A
 * blank is a +, which nobody encoded in a query.
 */

static size_t
usher_postback_base64(unsigned char *out, const unsigned char *text,
    size_t len)
{
    int       c;
    size_t    i, n;
    unsigned  bits;

    while (len && text[len - 1] == '=') {
        len--;
    }

    if (len % 4 == 1) {
        return 0;
    }

    bits = 0;
    n = 0;

    for (i = 0; i < len; i++) {
        c = usher_postback_sextet(text[i]);

        if (c < 0) {
            return 0;
        }

        bits = bits << 6 | (unsigned) c;

        if (i % 4) {
            out[n++] = (unsigned char) (bits >> (6 - 2 * (i % 4)));
        }
    }

    /* bits that are left over are none of a byte */

    if (len % 4 && bits & ((len % 4 == 2) ? 0xf : 0x3)) {
        return 0;
    }

    return n;
}


static int
usher_postback_sextet(unsigned char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }

    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }

    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }

    if (c == '+' || c == '-' || c == ' ') {
        return 62;
    }

    return c == '/' || c == '_' ? 63 : -1;
}


usher_postback_status_e
usher_postback_sha_sign(const unsigned char *text, size_t len,
    const unsigned char *secret, size_t secret_len, unsigned char *room)
{
    size_t                   i, n, size;
    unsigned char            digest[EVP_MAX_MD_SIZE];
    unsigned char            sign[USHER_POSTBACK_SIGN];
    usher_postback_pair_t    pairs[USHER_POSTBACK_LIST];
    usher_postback_text_t   *value;
    usher_postback_status_e  rc;

    n = usher_postback_pairs(pairs, text, len, room);

    if (n > USHER_POSTBACK_LIST) {
        return USHER_POSTBACK_MALFORMED;
    }

    qsort(pairs, n, sizeof(usher_postback_pair_t), usher_postback_order);

    value = NULL;

    for (i = 0; i < n; i++) {

        if (i && usher_postback_order(&pairs[i - 1], &pairs[i]) == 0) {
            return USHER_POSTBACK_AMBIGUOUS;
        }

        if (usher_postback_word(&pairs[i].name, "sha_sign")) {
            value = &pairs[i].value;
        }
    }

    if (value == NULL) {
        return USHER_POSTBACK_UNSIGNED;
    }

    rc = usher_postback_joined(pairs, n, secret, secret_len, digest);

    if (rc != USHER_POSTBACK_OK) {
        return rc;
    }

    size = value->len <= USHER_POSTBACK_SIGN
           ? usher_postback_hex(sign, value->data, value->len) : 0;

    return size == (size_t) EVP_MD_size(EVP_sha512())
           && CRYPTO_memcmp(digest, sign, size) == 0
           ? USHER_POSTBACK_OK : USHER_POSTBACK_FORGED;
}


/* Decodes them; their number is above USHER_POSTBACK_LIST for too many. */

static size_t
usher_postback_pairs(usher_postback_pair_t *pairs, const unsigned char *text,
    size_t len, unsigned char *room)
{
    size_t                n;
    const unsigned char  *p, *end, *stop, *equals;

    n = 0;
    end = text + len;

    for (p = text; p < end; p = stop < end ? stop + 1 : end) {
        stop = memchr(p, '&', (size_t) (end - p));

        if (stop == NULL) {
            stop = end;
        }

        if (stop == p) {
            continue;
        }

        if (n == USHER_POSTBACK_LIST) {
            return n + 1;
        }

        equals = memchr(p, '=', (size_t) (stop - p));

        if (equals == NULL) {
            equals = stop;
        }

        pairs[n].name.data = room;
        pairs[n].name.len = usher_postback_decode(room, p,
                                                  (size_t) (equals - p));
        room += pairs[n].name.len;

        if (equals < stop) {
            equals++;
        }

        pairs[n].value.data = room;
        pairs[n].value.len = usher_postback_decode(room, equals,
                                                   (size_t) (stop - equals));
        room += pairs[n].value.len;
        n++;
    }

    return n;
}


/* By the bytes of the name. */

static int
usher_postback_order(const void *one, const void *two)
{
    int                          rc;
    const usher_postback_text_t  *a, *b;

    a = &((const usher_postback_pair_t *) one)->name;
    b = &((const usher_postback_pair_t *) two)->name;

    rc = memcmp(a->data, b->data, a->len < b->len ? a->len : b->len);

    return rc ? rc : (a->len > b->len) - (a->len < b->len);
}


static int
usher_postback_word(const usher_postback_text_t *text, const char *word)
{
    return text->len == strlen(word)
           && memcmp(text->data, word, text->len) == 0;
}


static usher_postback_status_e
usher_postback_joined(const usher_postback_pair_t *pairs, size_t n,
    const unsigned char *secret, size_t secret_len,
    unsigned char digest[EVP_MAX_MD_SIZE])
{
    int          rc;
    size_t       i;
    EVP_MD_CTX  *ctx;

    ctx = EVP_MD_CTX_new();

    if (ctx == NULL) {
        return USHER_POSTBACK_ERROR;
    }

    rc = EVP_DigestInit_ex(ctx, EVP_sha512(), NULL);

    for (i = 0; i < n && rc == 1; i++) {

        if (pairs[i].value.len == 0
            || usher_postback_word(&pairs[i].name, "sha_sign")
            || usher_postback_word(&pairs[i].name, "SHASIGN"))
        {
            continue;
        }

        rc = EVP_DigestUpdate(ctx, pairs[i].name.data, pairs[i].name.len) == 1
             && EVP_DigestUpdate(ctx, "=", 1) == 1
             && EVP_DigestUpdate(ctx, pairs[i].value.data,
                                 pairs[i].value.len)
                == 1
             && EVP_DigestUpdate(ctx, secret, secret_len) == 1;
    }

    if (rc == 1) {
        rc = EVP_DigestFinal_ex(ctx, digest, NULL);
    }

    EVP_MD_CTX_free(ctx);

    return rc == 1 ? USHER_POSTBACK_OK : USHER_POSTBACK_ERROR;
}


usher_postback_status_e
usher_postback_ins(const unsigned char *text, size_t len,
    const unsigned char *secret, size_t secret_len, unsigned char *out,
    size_t *n)
{
    int            rc;
    unsigned char  iv[USHER_POSTBACK_IV], key[USHER_POSTBACK_KEY];

    rc = usher_postback_ins_parts(text, len, out, n, iv);

    if (rc != 0) {
        return rc < 0 ? USHER_POSTBACK_MALFORMED : USHER_POSTBACK_UNSIGNED;
    }

    if (usher_postback_ins_key(secret, secret_len, key) != 0) {
        return USHER_POSTBACK_ERROR;
    }

    rc = usher_postback_decrypt(key, iv, out, n);

    OPENSSL_cleanse(key, sizeof(key));

    if (rc != 0) {
        return rc < 0 ? USHER_POSTBACK_ERROR : USHER_POSTBACK_FORGED;
    }

    *n = usher_postback_trim(out, *n);

    return USHER_POSTBACK_OK;
}


/* 0; 1: one of both is missing, or none of this form; -1: no JSON. */

static int
usher_postback_ins_parts(const unsigned char *text, size_t len,
    unsigned char *out, size_t *n, unsigned char iv[USHER_POSTBACK_IV])
{
    int                 rc, parts;
    size_t              size;
    usher_json_t        json;
    unsigned char       raw[6 * 2 * USHER_POSTBACK_IV];
    usher_json_value_t  name, value;

    parts = 0;
    usher_json_init(&json, text, len);

    while ((rc = usher_json_next(&json, &name, &value)) > 0) {

        if (usher_json_is(&name, "notification", 12)) {
            parts |= parts & 1 ? 4 : 1;

            if (!usher_postback_ins_part(&value, out, n)
                || *n % USHER_POSTBACK_IV)
            {
                parts |= 4;
            }

        } else if (usher_json_is(&name, "iv", 2)) {
            parts |= parts & 2 ? 4 : 2;

            if (value.len > sizeof(raw)
                || !usher_postback_ins_part(&value, raw, &size)
                || size != USHER_POSTBACK_IV)
            {
                parts |= 4;

            } else {
                memcpy(iv, raw, USHER_POSTBACK_IV);
            }
        }
    }

    return rc < 0 ? -1 : parts != 3;
}


/* The bytes that a string is the base64 of. */

static int
usher_postback_ins_part(const usher_json_value_t *value, unsigned char *out,
    size_t *n)
{
    if (value->type != USHER_JSON_STRING) {
        return 0;
    }

    *n = usher_json_text(out, value);
    *n = usher_postback_base64(out, out, *n);

    return *n > 0;
}


static int
usher_postback_ins_key(const unsigned char *secret, size_t secret_len,
    unsigned char key[USHER_POSTBACK_KEY])
{
    unsigned       i;
    unsigned char  sha[EVP_MAX_MD_SIZE];

    static const char  hex[] = "0123456789abcdef";

    if (EVP_Digest(secret, secret_len, sha, NULL, EVP_sha1(), NULL) != 1) {
        return -1;
    }

    for (i = 0; i < USHER_POSTBACK_KEY; i++) {
        key[i] = (unsigned char) hex[sha[i / 2] >> (i % 2 ? 0 : 4) & 0xf];
    }

    OPENSSL_cleanse(sha, sizeof(sha));

    return 0;
}


/* In place: 0; 1: its padding is none; -1: no memory. */

static int
usher_postback_decrypt(const unsigned char *key, const unsigned char *iv,
    unsigned char *data, size_t *n)
{
    int              rc, first, last;
    EVP_CIPHER_CTX  *ctx;

    ctx = EVP_CIPHER_CTX_new();

    if (ctx == NULL) {
        return -1;
    }

    rc = -1;
    first = last = 0;

    if (EVP_DecryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, key, iv) == 1
        && EVP_DecryptUpdate(ctx, data, &first, data, (int) *n) == 1)
    {
        rc = EVP_DecryptFinal_ex(ctx, data + first, &last) == 1 ? 0 : 1;
    }

    *n = (size_t) (first + last);

    EVP_CIPHER_CTX_free(ctx);

    return rc;
}


static size_t
usher_postback_trim(unsigned char *data, size_t n)
{
    size_t  skip;

    while (n && data[n - 1] <= ' ') {
        n--;
    }

    for (skip = 0; skip < n && data[skip] <= ' '; skip++) { /* void */ }

    memmove(data, data + skip, n - skip);

    return n - skip;
}
