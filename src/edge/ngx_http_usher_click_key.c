
/*
 * ngx_http_usher_click_key.c - the key file, and the keys of click ids.
 *
 * DESIGN
 *
 * All click keys are one record of the directory, "all", which the zone holds
 * as it came, that is as ciphertext.  A worker decrypts them when it reads
 * the record for the first time, and again only when its bytes have changed;
 * until then a request compares some words of the zone and makes no copy.
 * What was decrypted lies in the worker's memory alone.
 *
 * A record is packed as the number of its keys and the id of the one that
 * signs, a byte each, and the keys: id and ciphertext.
 *
 * Where none signs, clicks have no id, and nobody can be paid for them: that
 * is an alert, said once for the node until it is over.
 */


#include "ngx_http_usher_record.h"
#include "ngx_http_usher_request.h"

#include <openssl/crypto.h>


#define NGX_HTTP_USHER_CLICK_SECRET  32     /* bytes of a key */
#define NGX_HTTP_USHER_CLICK_SEALED                                           \
    (NGX_HTTP_USHER_CLICK_SECRET + USHER_SECRET_OVERHEAD)
#define NGX_HTTP_USHER_CLICK_PACKED  (1 + NGX_HTTP_USHER_CLICK_SEALED)
#define NGX_HTTP_USHER_CLICK_NONE    255    /* none signs */

/* As row 3 of usher.secret is called: "click//3". */
#define NGX_HTTP_USHER_CLICK_ROW     sizeof("click//15")


typedef struct {
    ngx_http_usher_memo_t   memo;
    ngx_cycle_t            *cycle;          /* whose key file has opened it */
    usher_click_key_t       keys[USHER_CLICK_KEYS];
    size_t                  nkeys;
    usher_click_key_t      *current;        /* NULL: none */
    size_t                  len;
    u_char                  packed[2 + USHER_CLICK_KEYS
                                       * NGX_HTTP_USHER_CLICK_PACKED];
} ngx_http_usher_click_ring_t;


static const char *ngx_http_usher_click_key_one(json_t *object, u_char *p);
static void ngx_http_usher_click_ring(ngx_http_usher_click_ring_t *ring,
    u_char *buf, size_t len);
static ngx_int_t ngx_http_usher_click_open(ngx_http_usher_click_ring_t *ring,
    u_char *p);
static void ngx_http_usher_click_sealed(ngx_uint_t id,
    usher_secret_status_e rc);
static void ngx_http_usher_click_said(usher_click_key_t *current);
static void ngx_http_usher_key_file_cleanup(void *data);


static ngx_http_usher_click_ring_t  ngx_http_usher_click_keyring;


ngx_int_t
ngx_http_usher_click_keys(ngx_http_request_t *r, usher_click_key_t **keys,
    size_t *n, usher_click_key_t **current)
{
    size_t                        len;
    ngx_int_t                     rc;
    ngx_http_usher_click_ring_t  *ring;

    static u_char     buf[NGX_HTTP_USHER_RECORD_MAX];
    static ngx_str_t  id = ngx_string("all");

    ring = &ngx_http_usher_click_keyring;

    *keys = ring->keys;
    *n = 0;
    *current = NULL;

    if (ngx_http_usher_secret_keys() == NULL) {
        return NGX_OK;
    }

    rc = ngx_http_usher_directory_memo(r, NGX_HTTP_USHER_KIND_CLICK_KEY, &id,
                                       &ring->memo, buf, &len);

    if (len != 0) {
        ngx_http_usher_click_ring(ring, buf, len);
    }

    if (rc == NGX_OK) {
        *n = ring->nkeys;
        *current = ring->current;

    } else if (rc == NGX_DECLINED) {
        rc = NGX_OK;
    }

    if (rc == NGX_OK && *current == NULL) {
        ngx_http_usher_click_said(NULL);
    }

    return rc;
}


/* Makes the keys of a packed record ready, unless they are. */

static void
ngx_http_usher_click_ring(ngx_http_usher_click_ring_t *ring, u_char *buf,
    size_t len)
{
    size_t      i;
    u_char     *p;
    ngx_uint_t  opened;

    if (ring->cycle == ngx_cycle && ring->len == len
        && ngx_memcmp(ring->packed, buf, len) == 0)
    {
        return;
    }

    OPENSSL_cleanse(ring->keys, sizeof(ring->keys));

    ring->nkeys = 0;
    ring->current = NULL;
    ring->len = 0;

    if (len < 2 || len != 2 + (size_t) buf[0] * NGX_HTTP_USHER_CLICK_PACKED
        || len > sizeof(ring->packed))
    {
        return;
    }

    opened = 1;
    p = buf + 2;

    for (i = 0; i < buf[0]; i++, p += NGX_HTTP_USHER_CLICK_PACKED) {

        if (ngx_http_usher_click_open(ring, p) != NGX_OK) {
            opened = 0;
            continue;
        }

        if (p[0] == buf[1]) {
            ring->current = &ring->keys[ring->nkeys];
        }

        ring->nkeys++;
    }

    ring->cycle = (ngx_cycle_t *) ngx_cycle;
    ring->len = len;
    ngx_memcpy(ring->packed, buf, len);

    if (opened) {
        (void) ngx_http_usher_unsaid(&ngx_http_usher_directory_data,
                                     NGX_HTTP_USHER_SAID_SEALED);
    }

    ngx_http_usher_click_said(ring->current);
}


/* Into the place behind those that are ready. */

static ngx_int_t
ngx_http_usher_click_open(ngx_http_usher_click_ring_t *ring, u_char *p)
{
    int                     failed;
    size_t                  n;
    u_char                  row[NGX_HTTP_USHER_CLICK_ROW];
    u_char                  plain[NGX_HTTP_USHER_CLICK_SECRET];
    usher_secret_status_e   rc;

    ngx_sprintf(row, "click//%ud%Z", (unsigned) p[0]);

    rc = usher_secret_open(ngx_http_usher_secret_keys(), "secret",
                           (char *) row, p + 1, NGX_HTTP_USHER_CLICK_SEALED,
                           plain, &n);

    if (rc != USHER_SECRET_OK) {
        ngx_http_usher_click_sealed(p[0], rc);
        return NGX_ERROR;
    }

    failed = usher_click_key(&ring->keys[ring->nkeys], p[0], plain, n);

    OPENSSL_cleanse(plain, sizeof(plain));

    if (failed) {
        ngx_http_usher_click_sealed(p[0], USHER_SECRET_ERROR);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_usher_click_sealed(ngx_uint_t id, usher_secret_status_e rc)
{
    const char  *why;

    if (ngx_http_usher_said(&ngx_http_usher_directory_data,
                            NGX_HTTP_USHER_SAID_SEALED)
        != NGX_OK)
    {
        return;
    }

    switch (rc) {

    case USHER_SECRET_UNKNOWN:
        why = "the key that it is encrypted by is not in usher_key_file: give "
              "this host the file that usherctl has, and reload";
        break;

    case USHER_SECRET_CORRUPT:
        why = "it was changed, or usher_key_file has another key of that id: "
              "give this host the file that usherctl has, and reload";
        break;

    default:
        why = "libcrypto failed";
    }

    ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                  "usher: click key %ui cannot be opened, what it signed is "
                  "not known: %s", id, why);
}


/* Whether a key signs: once when there is none, and when there is again. */

static void
ngx_http_usher_click_said(usher_click_key_t *current)
{
    ngx_http_usher_directory_t  *d;

    d = &ngx_http_usher_directory_data;

    if (current != NULL) {

        if (ngx_http_usher_unsaid(d, NGX_HTTP_USHER_SAID_NO_KEY) == NGX_OK) {
            ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                          "usher: a click key signs again");
        }

        return;
    }

    if (ngx_http_usher_said(d, NGX_HTTP_USHER_SAID_NO_KEY) == NGX_OK) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "usher: no click key signs, clicks get no id and cannot "
                      "be found again: make one by \"usherctl click key "
                      "rotate\"");
    }
}


const char *
ngx_http_usher_click_key_pack(json_t *root, u_char *buf, size_t *len)
{
    size_t       i, n;
    u_char      *p;
    json_t      *keys;
    uint64_t     current;
    ngx_uint_t   known;
    const char  *reason;

    keys = json_object_get(root, "keys");
    n = json_array_size(keys);
    current = NGX_HTTP_USHER_CLICK_NONE;

    if (!json_is_array(keys) || n > USHER_CLICK_KEYS) {
        return "its keys are wrong";
    }

    if (json_object_get(root, "current") != NULL
        && ngx_http_usher_record_number(root, "current", 0,
                                        USHER_CLICK_KEYS - 1, &current)
           != NGX_OK)
    {
        return "its current is wrong";
    }

    buf[0] = (u_char) n;
    buf[1] = (u_char) current;

    known = (current == NGX_HTTP_USHER_CLICK_NONE);
    p = buf + 2;

    for (i = 0; i < n; i++, p += NGX_HTTP_USHER_CLICK_PACKED) {

        reason = ngx_http_usher_click_key_one(json_array_get(keys, i), p);

        if (reason != NULL) {
            return reason;
        }

        if (i > 0 && p[0] <= p[-NGX_HTTP_USHER_CLICK_PACKED]) {
            return "its keys are not in order";
        }

        known |= (p[0] == current);
    }

    if (!known) {
        return "its current is none of its keys";
    }

    *len = p - buf;

    return NULL;
}


static const char *
ngx_http_usher_click_key_one(json_t *object, u_char *p)
{
    size_t     n;
    u_char     sealed[USHER_SECRET_TEXT(NGX_HTTP_USHER_CLICK_SEALED) / 4 * 3];
    uint64_t   id;
    ngx_str_t  text;

    if (ngx_http_usher_record_number(object, "id", 0, USHER_CLICK_KEYS - 1,
                                     &id)
        != NGX_OK
        || ngx_http_usher_record_text(object, "sealed",
                               USHER_SECRET_TEXT(NGX_HTTP_USHER_CLICK_SEALED),
                               &text)
           != NGX_OK
        || usher_secret_parse((char *) text.data, text.len, sealed, &n) != 0
        || n != NGX_HTTP_USHER_CLICK_SEALED)
    {
        return "a key of it is wrong";
    }

    p[0] = (u_char) id;
    ngx_memcpy(p + 1, sealed, n);

    return NULL;
}


usher_secret_keys_t *
ngx_http_usher_secret_keys(void)
{
    ngx_http_usher_main_conf_t  *umcf;

    umcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_usher_module);

    return (umcf == NULL) ? NULL : umcf->secret_keys;
}


char *
ngx_http_usher_key_file(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_main_conf_t *umcf = conf;

    char                 reason[1024];
    ngx_str_t           *value;
    ngx_pool_cleanup_t  *cln;

    if (umcf->secret_keys != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    umcf->secret_keys = usher_secret_keys_read((char *) value[1].data, reason,
                                               sizeof(reason));

    if (umcf->secret_keys == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "usher_key_file: %s",
                           reason);
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_http_usher_key_file_cleanup;
    cln->data = umcf->secret_keys;

    return NGX_CONF_OK;
}


static void
ngx_http_usher_key_file_cleanup(void *data)
{
    usher_secret_keys_free(data);
}
