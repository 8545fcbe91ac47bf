/*
 * usher_postback.h - what a network says of a conversion, and whether it is
 * the network that says so.
 *
 * A postback is a list of parameters: the query of a URL or a form
 * (application/x-www-form-urlencoded as the WHATWG URL standard has it: + is a
 * blank, a % without two digits stays one), or the members of a JSON object.
 * Which parameter holds what is the caller's map.  A parameter that the map
 * names and that is there twice is refused, whatever it says; what the map
 * does not name is not looked at.
 *
 * Who sent it is proven in one of these ways:
 *
 *     hmac       HMAC of the list as it came, without the parameter of the
 *                signature and one & beside it
 *     sha_sign   Digistore24 (IPN): SHA-512 of key=value and the passphrase
 *                for each parameter that is not empty, by key, but sha_sign
 *                and SHASIGN; in hexadecimal
 *     ins        ClickBank (Instant Notification Service): JSON with
 *                "notification" and "iv", each base64; AES-256-CBC, its key
 *                being the first 32 characters of the secret's SHA-1 in
 *                hexadecimal; the plain text is JSON
 *
 * INS has no signature: who has seen a notification can change its first 16
 * bytes by the iv.  What does not decrypt to an object is refused in one way,
 * wherever it failed.
 */


#ifndef USHER_POSTBACK_H
#define USHER_POSTBACK_H


#include <stddef.h>


#define USHER_POSTBACK_NAME     64     /* bytes of a parameter's name */
#define USHER_POSTBACK_DIGEST   32
#define USHER_POSTBACK_LIST     512    /* parameters that sha_sign takes */


/* In the order in which a digest has them, but for the first. */
typedef enum {
    USHER_POSTBACK_CLICK_ID = 0,
    USHER_POSTBACK_TRANSACTION_ID,
    USHER_POSTBACK_STATUS,
    USHER_POSTBACK_AMOUNT,
    USHER_POSTBACK_SALE_AMOUNT,
    USHER_POSTBACK_CURRENCY,
    USHER_POSTBACK_CUSTOMER,
    USHER_POSTBACK_COUPON,
    USHER_POSTBACK_STATUS_TIME,      /* when the state became so */
    USHER_POSTBACK_EVENT_ID,         /* of the message, not the sale */
    USHER_POSTBACK_SUBSCRIPTION,     /* that the sale is a payment of */
    USHER_POSTBACK_SAID,             /* an event has those before it */
    USHER_POSTBACK_PARENT_ID = USHER_POSTBACK_SAID,  /* see _parent() */
    USHER_POSTBACK_FIELDS
} usher_postback_field_e;

/* Their names, as in the catalogue: "click_id", ... */
extern const char *const  usher_postback_names[USHER_POSTBACK_FIELDS];


typedef enum {
    USHER_POSTBACK_OK = 0,
    USHER_POSTBACK_AMBIGUOUS,    /* a parameter is there twice */
    USHER_POSTBACK_MALFORMED,    /* no JSON, or too many parameters */
    USHER_POSTBACK_UNSIGNED,     /* there is no signature */
    USHER_POSTBACK_FORGED,
    USHER_POSTBACK_ERROR         /* libcrypto failed: no memory */
} usher_postback_status_e;


typedef struct {
    const unsigned char    *data;
    size_t                  len;
} usher_postback_text_t;


/* Names of parameters; of no length: the network has none for it. */
typedef struct {
    usher_postback_text_t   names[USHER_POSTBACK_FIELDS];
} usher_postback_map_t;


/* Zero it first.  Values point into the caller's room. */
typedef struct {
    usher_postback_text_t   values[USHER_POSTBACK_FIELDS];
    unsigned                seen;      /* bits: was there, if empty */
} usher_postback_t;


typedef enum {
    USHER_POSTBACK_SHA256 = 0,
    USHER_POSTBACK_SHA1,
    USHER_POSTBACK_SHA512,
    USHER_POSTBACK_MD5
} usher_postback_algorithm_e;


/*
 * Takes what the map names out of a query or form, or out of a JSON object:
 * strings and numbers, of an array its first.  Values are written to *room,
 * which has len bytes left and is moved.  Two fields of the map may be one
 * parameter.  Called twice it takes both lists for one.
 */
usher_postback_status_e usher_postback_form(usher_postback_t *postback,
    const usher_postback_map_t *map, const unsigned char *text, size_t len,
    unsigned char **room);
usher_postback_status_e usher_postback_json(usher_postback_t *postback,
    const usher_postback_map_t *map, const unsigned char *text, size_t len,
    unsigned char **room);

/*
 * A refund that is a transaction of its own names the one that it takes back:
 * it is said of that one, and its own id is that of the message.  back: the
 * words that take back, in lower case, with a | between them; a payment may
 * name another one as well.
 */
void usher_postback_parent(usher_postback_t *postback,
    const unsigned char *back, size_t len);

/* Whether a word, in whatever case, is one of a list as above. */
int usher_postback_among(const usher_postback_text_t *word,
    const unsigned char *list, size_t len);

/*
 * The value of one parameter of a query or form, as it came: 1; 0: not there;
 * -1: twice.  What stands before and behind it without it, and without one &,
 * is in pieces.
 */
int usher_postback_find(const unsigned char *text, size_t len,
    const usher_postback_text_t *name, usher_postback_text_t *value,
    usher_postback_text_t pieces[2]);

/* Decodes it to dst, which may be where it lies; returns the length. */
size_t usher_postback_decode(unsigned char *dst, const unsigned char *src,
    size_t len);

/*
 * Whether a query or form is signed by a secret with HMAC; its signature is
 * the parameter name, in hexadecimal or in base64 (of either alphabet, with
 * padding or without).
 */
usher_postback_status_e usher_postback_hmac(usher_postback_algorithm_e hash,
    const usher_postback_text_t *name, int base64, const unsigned char *text,
    size_t len, const unsigned char *secret, size_t secret_len);

/*
 * Whether a form is Digistore24's.  room has len bytes, for what is decoded.
 */
usher_postback_status_e usher_postback_sha_sign(const unsigned char *text,
    size_t len, const unsigned char *secret, size_t secret_len,
    unsigned char *room);

/*
 * Decrypts a notification of ClickBank to out, which has len bytes; *n is
 * their number without blanks and controls at its ends.
 */
usher_postback_status_e usher_postback_ins(const unsigned char *text,
    size_t len, const unsigned char *secret, size_t secret_len,
    unsigned char *out, size_t *n);

/*
 * SHA-256 over all fields but the first, then the first, then origin: each
 * its length (four bytes, big endian) and itself.  0, or -1.
 */
int usher_postback_digest(const usher_postback_t *postback,
    const char *origin, unsigned char digest[USHER_POSTBACK_DIGEST]);

/* Whether the SHA-256 of text is this; in constant time.  0 on errors. */
int usher_postback_is(const unsigned char *text, size_t len,
    const unsigned char digest[USHER_POSTBACK_DIGEST]);


#endif
