/*
 * usher_secret.h - secrets, encrypted: what PostgreSQL and Redis hold of them.
 *
 *     version 1 | key id | nonce 12 | ciphertext | tag 16
 *
 * AES-256-GCM (NIST SP 800-38D) with a random nonce.  Its additional data are
 * the version, the key id, the table's name, a NUL and the row's: moved to
 * another row, a ciphertext does not open.  Rows of usher.secret are named
 * "<kind>/<org>/<name>", with an empty org where the secret is the operator's.
 * As text, in JSON and in Redis, it is base64 (RFC 4648, 4) with padding.
 *
 * The keys are in a file, of text:
 *
 *     # comment
 *     <id, 0 to 255> <base64 of 32 bytes>
 *
 * The first line's key is the one for new ciphertexts; the others open what
 * was made before.
 */


#ifndef USHER_SECRET_H
#define USHER_SECRET_H


#include <stddef.h>


#define USHER_SECRET_VERSION   1

#define USHER_SECRET_KEY       32
#define USHER_SECRET_NONCE     12
#define USHER_SECRET_TAG       16
#define USHER_SECRET_HEAD      (2 + USHER_SECRET_NONCE)
#define USHER_SECRET_OVERHEAD  (USHER_SECRET_HEAD + USHER_SECRET_TAG)

/* Bytes of a secret: 1 to so many, as usher.ciphertext_ok has it. */
#define USHER_SECRET_MAX       8192

#define USHER_SECRET_SEALED    (USHER_SECRET_MAX + USHER_SECRET_OVERHEAD)

/* Characters of so many bytes as text; a NUL comes on top. */
#define USHER_SECRET_TEXT(n)   (((n) + 2) / 3 * 4)


typedef enum {
    USHER_SECRET_OK = 0,
    USHER_SECRET_SIZE,       /* too short or too long to be one */
    USHER_SECRET_FOREIGN,    /* of a version that is not known here */
    USHER_SECRET_UNKNOWN,    /* its key is not in the key file */
    USHER_SECRET_CORRUPT,    /* changed, of another row, or of another key */
    USHER_SECRET_ERROR       /* libcrypto failed: no memory */
} usher_secret_status_e;


/* The keys of a file; nothing in them changes until they are freed. */
typedef struct usher_secret_keys_s  usher_secret_keys_t;


/*
 * Reads a key file, which must be this user's or root's and closed to all
 * others.  NULL if it cannot be used; reason then says why, with file and line
 * and without what is in it.
 */
usher_secret_keys_t *usher_secret_keys_read(const char *file, char *reason,
    size_t size);

/*
 * The same of len bytes at text.  On NULL, *reason is a static text and *line
 * the line that it is about, or 0.
 */
usher_secret_keys_t *usher_secret_keys_parse(const char *text, size_t len,
    unsigned *line, const char **reason);

/* Overwrites and frees them; NULL is fine. */
void usher_secret_keys_free(usher_secret_keys_t *keys);

/* The id of the key for new ciphertexts. */
unsigned usher_secret_keys_current(const usher_secret_keys_t *keys);


/*
 * Encrypts len bytes at plain (1 to USHER_SECRET_MAX) for a row of a table by
 * the current key.  out has room for len + USHER_SECRET_OVERHEAD bytes.
 * Returns their number, or 0 where len is out of bounds or libcrypto failed.
 */
size_t usher_secret_seal(const usher_secret_keys_t *keys, const char *table,
    const char *row, const unsigned char *plain, size_t len,
    unsigned char *out);

/*
 * Decrypts what was made by the above for the same table and row.  out has
 * room for len - USHER_SECRET_OVERHEAD bytes; *n is their number if it opened.
 * Otherwise nothing of the secret is in out.
 */
usher_secret_status_e usher_secret_open(const usher_secret_keys_t *keys,
    const char *table, const char *row, const unsigned char *data, size_t len,
    unsigned char *out, size_t *n);


/* Writes USHER_SECRET_TEXT(len) characters and a NUL; returns their number. */
size_t usher_secret_text(const unsigned char *data, size_t len, char *text);

/*
 * Bytes from text, into out with room for len / 4 * 3 of them; *n is their
 * number.  Returns 0, or -1 if it is not what the above would have written.
 */
int usher_secret_parse(const char *text, size_t len, unsigned char *out,
    size_t *n);


#endif
