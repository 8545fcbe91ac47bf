
/*
 * ngx_http_usher_conversion_record.c - records of postbacks: from JSON into
 * the zone, and out of it; and their secrets.
 *
 * A packed postback is its numbers and then all texts, in the order of the
 * struct.  A secret lies in the zone as ciphertext.  A worker opens it when it
 * is first needed and again only when the record has another; what does not
 * open is not tried again either, until the record or the key file changes.
 */


#include "ngx_http_usher_conversion.h"
#include "ngx_http_usher_record.h"

#include <openssl/crypto.h>


#define NGX_HTTP_USHER_POSTBACK_PIXEL   0x01
#define NGX_HTTP_USHER_POSTBACK_SECRETS 0x02
#define NGX_HTTP_USHER_POSTBACK_HMAC    0x04
#define NGX_HTTP_USHER_POSTBACK_BASE64  0x08

#define NGX_HTTP_USHER_POSTBACKS        16      /* secrets that are kept */
#define NGX_HTTP_USHER_POSTBACK_SAID    60      /* seconds between alerts */


typedef struct {
    uint64_t      id;
    uint64_t      org_id;
    uint8_t       form;
    uint8_t       hash;
    uint8_t       flags;
    u_char        digest[USHER_POSTBACK_DIGEST];
    uint16_t      texts[NGX_HTTP_USHER_POSTBACK_TEXTS];
} ngx_http_usher_packed_postback_t;


/* A secret as it was opened, or not: then it has no length. */
typedef struct {
    uint64_t      id;               /* of the postback; 0: none is here */
    ngx_cycle_t  *cycle;            /* whose key file has opened it */
    time_t        said;             /* of any postback that was here */
    size_t        from_len;
    size_t        len;
    u_char        from[NGX_HTTP_USHER_POSTBACK_ROW
                       + USHER_SECRET_TEXT(NGX_HTTP_USHER_POSTBACK_SEALED)];
    u_char        secret[NGX_HTTP_USHER_POSTBACK_SECRET];
} ngx_http_usher_opened_t;


static const char *ngx_http_usher_postback_proof(json_t *root,
    ngx_http_usher_packed_postback_t *postback);
static const char *ngx_http_usher_postback_digest(json_t *root,
    ngx_http_usher_packed_postback_t *postback);
static ngx_int_t ngx_http_usher_postback_word(json_t *root, const char *name,
    const char *const *words, uint8_t *value);
static const char *ngx_http_usher_postback_texts(json_t *root,
    ngx_http_usher_packed_postback_t *postback, u_char **text);
static const char *ngx_http_usher_postback_text(json_t *object,
    const char *name, size_t max, uint16_t *len, u_char **text);
static void ngx_http_usher_postback_open(ngx_http_usher_postback_t *postback,
    ngx_http_usher_opened_t *opened);
static void ngx_http_usher_postback_closed(ngx_http_usher_postback_t *postback,
    ngx_http_usher_opened_t *opened, const char *why);


static ngx_http_usher_opened_t
    ngx_http_usher_opened[NGX_HTTP_USHER_POSTBACKS];

static const char *const  ngx_http_usher_postback_forms[] = {
    "query", "ins", "digistore24", NULL
};

static const char *const  ngx_http_usher_postback_hashes[] = {
    "sha256", "sha1", "sha512", "md5", NULL
};

static const char *const  ngx_http_usher_postback_encodings[] = {
    "hex", "base64", NULL
};


const char *
ngx_http_usher_postback_pack(json_t *root, u_char *buf, size_t *len)
{
    u_char                            *text;
    const char                        *reason;
    ngx_http_usher_packed_postback_t   postback;

    ngx_memzero(&postback, sizeof(ngx_http_usher_packed_postback_t));

    if (ngx_http_usher_record_number(root, "id", 1, INT64_MAX, &postback.id)
        != NGX_OK
        || ngx_http_usher_record_number(root, "org_id", 1, INT64_MAX,
                                        &postback.org_id)
           != NGX_OK
        || ngx_http_usher_postback_word(root, "form",
                                        ngx_http_usher_postback_forms,
                                        &postback.form)
           != NGX_OK)
    {
        return "its id, org_id or form are wrong";
    }

    if (json_object_get(root, "pixel") != NULL) {
        postback.flags |= NGX_HTTP_USHER_POSTBACK_PIXEL;
    }

    reason = ngx_http_usher_postback_proof(root, &postback);

    if (reason != NULL) {
        return reason;
    }

    text = buf + sizeof(ngx_http_usher_packed_postback_t);
    reason = ngx_http_usher_postback_texts(root, &postback, &text);

    ngx_memcpy(buf, &postback, sizeof(ngx_http_usher_packed_postback_t));
    *len = text - buf;

    return reason;
}


static const char *
ngx_http_usher_postback_proof(json_t *root,
    ngx_http_usher_packed_postback_t *postback)
{
    uint8_t      encoding;
    const char  *reason;

    reason = ngx_http_usher_postback_digest(root, postback);

    if (reason != NULL) {
        return reason;
    }

    if (json_object_get(root, "hmac") != NULL) {
        postback->flags |= NGX_HTTP_USHER_POSTBACK_HMAC;

        if (ngx_http_usher_postback_word(root, "hmac",
                                         ngx_http_usher_postback_hashes,
                                         &postback->hash)
            != NGX_OK
            || ngx_http_usher_postback_word(root, "encoding",
                                            ngx_http_usher_postback_encodings,
                                            &encoding)
               != NGX_OK
            || json_object_get(root, "signature") == NULL)
        {
            return "its hmac, encoding or signature are wrong";
        }

        if (encoding) {
            postback->flags |= NGX_HTTP_USHER_POSTBACK_BASE64;
        }
    }

    if ((postback->form != NGX_HTTP_USHER_FORM_QUERY
         || postback->flags & NGX_HTTP_USHER_POSTBACK_HMAC)
        && json_object_get(root, "row") == NULL)
    {
        return "it has no secret to be checked by";
    }

    return NULL;
}


static const char *
ngx_http_usher_postback_digest(json_t *root,
    ngx_http_usher_packed_postback_t *postback)
{
    ngx_int_t   n;
    ngx_str_t   hex;
    ngx_uint_t  i;

    if (json_object_get(root, "secret") == NULL) {
        return NULL;
    }

    if (ngx_http_usher_record_text(root, "secret",
                                   2 * USHER_POSTBACK_DIGEST, &hex)
        != NGX_OK
        || hex.len != 2 * USHER_POSTBACK_DIGEST)
    {
        return "its secret is wrong";
    }

    for (i = 0; i < USHER_POSTBACK_DIGEST; i++) {
        n = ngx_hextoi(hex.data + 2 * i, 2);

        if (n == NGX_ERROR) {
            return "its secret is wrong";
        }

        postback->digest[i] = (u_char) n;
    }

    postback->flags |= NGX_HTTP_USHER_POSTBACK_SECRETS;

    return NULL;
}


/* Which of these words it is. */

static ngx_int_t
ngx_http_usher_postback_word(json_t *root, const char *name,
    const char *const *words, uint8_t *value)
{
    ngx_uint_t   i;
    const char  *text;

    text = json_string_value(json_object_get(root, name));

    for (i = 0; text != NULL && words[i] != NULL; i++) {
        if (ngx_strcmp(text, words[i]) == 0) {
            *value = (uint8_t) i;
            return NGX_OK;
        }
    }

    return NGX_ERROR;
}


static const char *
ngx_http_usher_postback_texts(json_t *root,
    ngx_http_usher_packed_postback_t *postback, u_char **text)
{
    json_t      *params;
    ngx_uint_t   i;
    const char  *reason;

    struct {
        const char  *name;
        size_t       max;
    } texts[] = {
        { "signature", USHER_POSTBACK_NAME },
        { "allow", NGX_HTTP_USHER_TEXT_MAX },
        { "back", NGX_HTTP_USHER_TEXT_MAX },
        { "ignored", NGX_HTTP_USHER_TEXT_MAX },
        { "row", NGX_HTTP_USHER_POSTBACK_ROW },
        { "sealed", USHER_SECRET_TEXT(NGX_HTTP_USHER_POSTBACK_SEALED) }
    };

    params = json_object_get(root, "params");

    if (!json_is_object(params)) {
        return "its params are missing";
    }

    for (i = 0; i < NGX_HTTP_USHER_POSTBACK_TEXTS; i++) {

        if (i < USHER_POSTBACK_FIELDS) {
            reason = ngx_http_usher_postback_text(params,
                                                  usher_postback_names[i],
                                                  USHER_POSTBACK_NAME,
                                                  &postback->texts[i], text);

        } else {
            reason = ngx_http_usher_postback_text(root,
                                       texts[i - USHER_POSTBACK_FIELDS].name,
                                       texts[i - USHER_POSTBACK_FIELDS].max,
                                       &postback->texts[i], text);
        }

        if (reason != NULL) {
            return reason;
        }
    }

    return NULL;
}


static const char *
ngx_http_usher_postback_text(json_t *object, const char *name, size_t max,
    uint16_t *len, u_char **text)
{
    ngx_str_t  value;

    if (json_object_get(object, name) == NULL) {
        return NULL;
    }

    if (ngx_http_usher_record_text(object, name, max, &value) != NGX_OK) {
        return "a text of it is wrong or too long";
    }

    *len = (uint16_t) value.len;
    *text = ngx_cpymem(*text, value.data, value.len);

    return NULL;
}


ngx_int_t
ngx_http_usher_postback_unpack(u_char *buf, size_t len,
    ngx_http_usher_postback_t *postback)
{
    u_char                            *text, *end;
    ngx_uint_t                         i;
    ngx_http_usher_packed_postback_t   packed;

    if (len < sizeof(ngx_http_usher_packed_postback_t)) {
        return NGX_ERROR;
    }

    ngx_memcpy(&packed, buf, sizeof(ngx_http_usher_packed_postback_t));

    postback->id = packed.id;
    postback->org_id = packed.org_id;
    postback->form = packed.form;
    postback->hash = packed.hash;
    postback->pixel = (packed.flags & NGX_HTTP_USHER_POSTBACK_PIXEL) != 0;
    postback->secret = (packed.flags & NGX_HTTP_USHER_POSTBACK_SECRETS) != 0;
    postback->hmac = (packed.flags & NGX_HTTP_USHER_POSTBACK_HMAC) != 0;
    postback->base64 = (packed.flags & NGX_HTTP_USHER_POSTBACK_BASE64) != 0;

    ngx_memcpy(postback->digest, packed.digest, USHER_POSTBACK_DIGEST);

    text = buf + sizeof(ngx_http_usher_packed_postback_t);
    end = buf + len;

    for (i = 0; i < NGX_HTTP_USHER_POSTBACK_TEXTS; i++) {

        if (packed.texts[i] > (size_t) (end - text)) {
            return NGX_ERROR;
        }

        postback->texts[i].data = text;
        postback->texts[i].len = packed.texts[i];

        text += packed.texts[i];
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_postback_secret(ngx_http_usher_postback_t *postback,
    ngx_str_t *secret)
{
    size_t                    len;
    ngx_http_usher_opened_t  *opened;

    opened = &ngx_http_usher_opened[postback->id % NGX_HTTP_USHER_POSTBACKS];
    len = postback->row.len + postback->sealed.len;

    if (opened->id != postback->id || opened->cycle != ngx_cycle
        || opened->from_len != len
        || ngx_memcmp(opened->from, postback->row.data, len) != 0)
    {
        ngx_http_usher_postback_open(postback, opened);
    }

    secret->data = opened->secret;
    secret->len = opened->len;

    return opened->len ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_usher_postback_open(ngx_http_usher_postback_t *postback,
    ngx_http_usher_opened_t *opened)
{
    size_t                  n;
    u_char                  row[NGX_HTTP_USHER_POSTBACK_ROW + 1];
    u_char                  sealed[USHER_SECRET_TEXT(
                                NGX_HTTP_USHER_POSTBACK_SEALED) / 4 * 3];
    usher_secret_keys_t    *keys;
    usher_secret_status_e   rc;

    OPENSSL_cleanse(opened->secret, sizeof(opened->secret));

    opened->id = postback->id;
    opened->cycle = (ngx_cycle_t *) ngx_cycle;
    opened->len = 0;
    opened->from_len = postback->row.len + postback->sealed.len;

    ngx_memcpy(opened->from, postback->row.data, opened->from_len);

    keys = ngx_http_usher_secret_keys();

    if (keys == NULL) {
        ngx_http_usher_postback_closed(postback, opened,
                                       "there is no usher_key_file");
        return;
    }

    if (usher_secret_parse((char *) postback->sealed.data,
                           postback->sealed.len, sealed, &n)
        != 0
        || n < USHER_SECRET_OVERHEAD || n > NGX_HTTP_USHER_POSTBACK_SEALED)
    {
        ngx_http_usher_postback_closed(postback, opened,
                                       "it is longer than 1024 bytes");
        return;
    }

    ngx_memcpy(row, postback->row.data, postback->row.len);
    row[postback->row.len] = '\0';

    rc = usher_secret_open(keys, "secret", (char *) row, sealed, n,
                           opened->secret, &opened->len);

    if (rc != USHER_SECRET_OK) {
        opened->len = 0;
        ngx_http_usher_postback_closed(postback, opened,
            rc == USHER_SECRET_UNKNOWN
            ? "its key is not in usher_key_file"
            : rc == USHER_SECRET_ERROR ? "libcrypto failed"
            : "it was changed, or usher_key_file has another key of that id");
    }
}


static void
ngx_http_usher_postback_closed(ngx_http_usher_postback_t *postback,
    ngx_http_usher_opened_t *opened, const char *why)
{
    time_t  now;

    /* two that put each other out are opened at each request */

    now = ngx_time();

    if (now - opened->said < NGX_HTTP_USHER_POSTBACK_SAID) {
        return;
    }

    opened->said = now;

    ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                  "usher: the secret \"%V\" of postback %uL cannot be opened, "
                  "its conversions are answered 503: %s",
                  &postback->row, postback->id, why);
}
