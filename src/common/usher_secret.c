/*
 * usher_secret.c - AES-256-GCM, its keys, and the file that they are in.
 *
 * The cipher is fetched once, with the keys: OpenSSL 3 looks it up anew for
 * each EVP_aes_256_gcm().
 */


#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "usher_secret.h"
#include "usher_stream.h"


#define USHER_SECRET_KEYS      256
#define USHER_SECRET_FILE_MAX  65536

#define usher_secret_blank(c)  ((c) == ' ' || (c) == '\t' || (c) == '\r')


struct usher_secret_keys_s {
    EVP_CIPHER     *cipher;
    int             current;      /* id for new ciphertexts; -1: none yet */
    unsigned char   known[USHER_SECRET_KEYS];
    unsigned char   key[USHER_SECRET_KEYS][USHER_SECRET_KEY];
};


static int usher_secret_file(const char *file, char *text, size_t *len,
    char *reason, size_t size);
static const char *usher_secret_line(usher_secret_keys_t *keys,
    const char *text, size_t len);
static usher_secret_status_e usher_secret_gcm(const usher_secret_keys_t *keys,
    int seal, unsigned id, const unsigned char *nonce,
    const struct iovec aad[3], const unsigned char *in, size_t len,
    unsigned char *out, unsigned char tag[USHER_SECRET_TAG]);
static void usher_secret_aad(struct iovec aad[3], const unsigned char *head,
    const char *table, const char *row);


usher_secret_keys_t *
usher_secret_keys_read(const char *file, char *reason, size_t size)
{
    char                 *text;
    size_t                len;
    unsigned              line;
    const char           *why;
    usher_secret_keys_t  *keys;

    text = OPENSSL_malloc(USHER_SECRET_FILE_MAX);
    if (text == NULL) {
        snprintf(reason, size, "%s: no memory", file);
        return NULL;
    }

    keys = NULL;

    if (usher_secret_file(file, text, &len, reason, size) == 0) {
        keys = usher_secret_keys_parse(text, len, &line, &why);

        if (keys == NULL && line != 0) {
            snprintf(reason, size, "%s:%u: %s", file, line, why);

        } else if (keys == NULL) {
            snprintf(reason, size, "%s: %s", file, why);
        }
    }

    OPENSSL_clear_free(text, USHER_SECRET_FILE_MAX);

    return keys;
}


/* read(2), since stdio would keep a copy in a buffer of its own. */

static int
usher_secret_file(const char *file, char *text, size_t *len, char *reason,
    size_t size)
{
    int          fd;
    ssize_t      n;
    struct stat  st;

    fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &st) == -1) {
        goto failed;
    }

    if (st.st_uid != geteuid() && st.st_uid != 0) {
        snprintf(reason, size, "%s belongs to user %lu: it has to be yours or "
                 "root's", file, (unsigned long) st.st_uid);
        goto refused;
    }

    if ((st.st_mode & 077) != 0) {
        snprintf(reason, size, "%s has mode %04o: only its owner may have "
                 "access (chmod 600)", file, (unsigned) st.st_mode & 07777);
        goto refused;
    }

    *len = 0;

    do {
        n = read(fd, text + *len, USHER_SECRET_FILE_MAX - *len);

        if (n == -1 && errno != EINTR) {
            goto failed;
        }

        *len += (n == -1) ? 0 : (size_t) n;

    } while (n != 0 && *len < USHER_SECRET_FILE_MAX);

    if (*len == USHER_SECRET_FILE_MAX) {
        snprintf(reason, size, "%s is too long for a key file", file);
        goto refused;
    }

    close(fd);

    return 0;

failed:

    snprintf(reason, size, "cannot read %s: %s", file, strerror(errno));

refused:

    if (fd != -1) {
        close(fd);
    }

    return -1;
}


usher_secret_keys_t *
usher_secret_keys_parse(const char *text, size_t len, unsigned *line,
    const char **reason)
{
    size_t                n;
    const char           *nl;
    usher_secret_keys_t  *keys;

    *line = 0;
    *reason = "no memory";

    keys = OPENSSL_zalloc(sizeof(usher_secret_keys_t));
    if (keys == NULL) {
        return NULL;
    }

    keys->current = -1;
    keys->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);

    if (keys->cipher == NULL) {
        *reason = "this OpenSSL has no AES-256-GCM";
        goto failed;
    }

    for ( /* void */ ; len > 0; text += n, len -= n) {
        nl = memchr(text, '\n', len);
        n = (nl == NULL) ? len : (size_t) (nl - text) + 1;

        (*line)++;
        *reason = usher_secret_line(keys, text, n - (nl != NULL));

        if (*reason != NULL) {
            goto failed;
        }
    }

    if (keys->current == -1) {
        *line = 0;
        *reason = "there is no key in it";
        goto failed;
    }

    return keys;

failed:

    usher_secret_keys_free(keys);

    return NULL;
}


/* Takes a line, without its newline; NULL, or what is wrong with it. */

static const char *
usher_secret_line(usher_secret_keys_t *keys, const char *text, size_t len)
{
    size_t          n;
    uint64_t        id;
    unsigned char   key[USHER_SECRET_TEXT(USHER_SECRET_KEY) / 4 * 3];

    while (len > 0 && usher_secret_blank(text[len - 1])) {
        len--;
    }

    while (len > 0 && usher_secret_blank(*text)) {
        text++;
        len--;
    }

    if (len == 0 || *text == '#') {
        return NULL;
    }

    for (n = 0; n < len && text[n] >= '0' && text[n] <= '9'; n++) {
        /* void */
    }

    if (usher_decimal_parse(text, n, &id) != 0 || id >= USHER_SECRET_KEYS
        || (n < len && !usher_secret_blank(text[n])))
    {
        return "it does not begin with the id of a key, 0 to 255";
    }

    while (n < len && usher_secret_blank(text[n])) {
        n++;
    }

    text += n;
    len -= n;

    if (len != USHER_SECRET_TEXT(USHER_SECRET_KEY)
        || usher_secret_parse(text, len, key, &n) != 0
        || n != USHER_SECRET_KEY)
    {
        OPENSSL_cleanse(key, sizeof(key));
        return "the key is not 32 bytes in base64";
    }

    if (keys->known[id]) {
        OPENSSL_cleanse(key, sizeof(key));
        return "there is a key of this id already";
    }

    memcpy(keys->key[id], key, USHER_SECRET_KEY);
    OPENSSL_cleanse(key, sizeof(key));

    keys->known[id] = 1;

    if (keys->current == -1) {
        keys->current = (int) id;
    }

    return NULL;
}


void
usher_secret_keys_free(usher_secret_keys_t *keys)
{
    if (keys == NULL) {
        return;
    }

    EVP_CIPHER_free(keys->cipher);
    OPENSSL_clear_free(keys, sizeof(usher_secret_keys_t));
}


unsigned
usher_secret_keys_current(const usher_secret_keys_t *keys)
{
    return (unsigned) keys->current;
}


size_t
usher_secret_seal(const usher_secret_keys_t *keys, const char *table,
    const char *row, const unsigned char *plain, size_t len,
    unsigned char *out)
{
    struct iovec  aad[3];

    if (len == 0 || len > USHER_SECRET_MAX) {
        return 0;
    }

    out[0] = USHER_SECRET_VERSION;
    out[1] = (unsigned char) keys->current;

    if (RAND_bytes(out + 2, USHER_SECRET_NONCE) != 1) {
        return 0;
    }

    usher_secret_aad(aad, out, table, row);

    if (usher_secret_gcm(keys, 1, out[1], out + 2, aad, plain, len,
                         out + USHER_SECRET_HEAD,
                         out + USHER_SECRET_HEAD + len)
        != USHER_SECRET_OK)
    {
        return 0;
    }

    return len + USHER_SECRET_OVERHEAD;
}


usher_secret_status_e
usher_secret_open(const usher_secret_keys_t *keys, const char *table,
    const char *row, const unsigned char *data, size_t len,
    unsigned char *out, size_t *n)
{
    struct iovec           aad[3];
    unsigned char          tag[USHER_SECRET_TAG];
    usher_secret_status_e  status;

    if (len <= USHER_SECRET_OVERHEAD || len > USHER_SECRET_SEALED) {
        return USHER_SECRET_SIZE;
    }

    if (data[0] != USHER_SECRET_VERSION) {
        return USHER_SECRET_FOREIGN;
    }

    if (!keys->known[data[1]]) {
        return USHER_SECRET_UNKNOWN;
    }

    *n = len - USHER_SECRET_OVERHEAD;

    memcpy(tag, data + len - USHER_SECRET_TAG, USHER_SECRET_TAG);
    usher_secret_aad(aad, data, table, row);

    status = usher_secret_gcm(keys, 0, data[1], data + 2, aad,
                              data + USHER_SECRET_HEAD, *n, out, tag);

    /* it is decrypted before its tag is known to be wrong */

    if (status != USHER_SECRET_OK) {
        OPENSSL_cleanse(out, *n);
    }

    return status;
}


static void
usher_secret_aad(struct iovec aad[3], const unsigned char *head,
    const char *table, const char *row)
{
    aad[0].iov_base = (void *) head;
    aad[0].iov_len = 2;

    aad[1].iov_base = (void *) table;
    aad[1].iov_len = strlen(table) + 1;

    aad[2].iov_base = (void *) row;
    aad[2].iov_len = strlen(row);
}


/* The tag is written when sealing, and read otherwise. */

static usher_secret_status_e
usher_secret_gcm(const usher_secret_keys_t *keys, int seal, unsigned id,
    const unsigned char *nonce, const struct iovec aad[3],
    const unsigned char *in, size_t len, unsigned char *out,
    unsigned char tag[USHER_SECRET_TAG])
{
    int                     i, n, good;
    EVP_CIPHER_CTX         *ctx;
    usher_secret_status_e   status;

    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL) {
        return USHER_SECRET_ERROR;
    }

    status = USHER_SECRET_ERROR;

    good = EVP_CipherInit_ex2(ctx, keys->cipher, keys->key[id], nonce, seal,
                              NULL);

    for (i = 0; i < 3 && good; i++) {
        good = EVP_CipherUpdate(ctx, NULL, &n, aad[i].iov_base,
                                (int) aad[i].iov_len);
    }

    if (good && len > 0) {
        good = EVP_CipherUpdate(ctx, out, &n, in, (int) len);
    }

    if (good && !seal) {
        good = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG,
                                   USHER_SECRET_TAG, tag) > 0;
    }

    if (!good) {
        goto done;
    }

    /* nothing is left to be written: GCM is a stream */

    if (!EVP_CipherFinal_ex(ctx, out + len, &n)) {
        status = seal ? USHER_SECRET_ERROR : USHER_SECRET_CORRUPT;
        goto done;
    }

    if (seal && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG,
                                    USHER_SECRET_TAG, tag) <= 0)
    {
        goto done;
    }

    status = USHER_SECRET_OK;

done:

    EVP_CIPHER_CTX_free(ctx);

    return status;
}


size_t
usher_secret_text(const unsigned char *data, size_t len, char *text)
{
    return (size_t) EVP_EncodeBlock((unsigned char *) text, data, (int) len);
}


/*
 * OpenSSL takes blanks around it and bits that are not zero at its end: what
 * it has read is written again, four characters at a time, and compared.
 */

int
usher_secret_parse(const char *text, size_t len, unsigned char *out, size_t *n)
{
    size_t         i, pad;
    unsigned char  four[4 + 1];

    if (len == 0 || len % 4 != 0
        || len > USHER_SECRET_TEXT(USHER_SECRET_SEALED))
    {
        return -1;
    }

    *n = 0;

    for (i = 0; i < len; i += 4) {
        pad = 0;

        if (i + 4 == len) {
            pad = (text[i + 3] == '=') + (text[i + 2] == '=');
        }

        if (EVP_DecodeBlock(out + *n, (const unsigned char *) text + i, 4)
            != 3)
        {
            return -1;
        }

        (void) EVP_EncodeBlock(four, out + *n, 3 - (int) pad);

        if (memcmp(four, text + i, 4) != 0) {
            return -1;
        }

        *n += 3 - pad;
    }

    return 0;
}
