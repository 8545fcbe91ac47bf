
/*
 * ngx_http_usher_conversion_read.c - what a postback says, and whether its
 * sender may say so.
 *
 * DESIGN
 *
 * Who sent it is proven first; only then it matters what is in it.  Signed
 * are either the query or the form, whichever has the signature, and only
 * from there fields are taken: what is not signed is not read.
 *
 * A click id that we did not sign refuses nothing: networks send again what
 * is refused, for days, and the sale is a sale.  It is written down as what
 * it is, and nothing is looked up for it, here or later.  The cookie of a
 * browser stands in where a pixel names no click; of it only what we signed
 * is kept, for the rest is nobody's but the browser's.
 */


#include "ngx_http_usher_conversion.h"


#define NGX_HTTP_USHER_BODY_NONE  0
#define NGX_HTTP_USHER_BODY_FORM  1
#define NGX_HTTP_USHER_BODY_JSON  2
#define NGX_HTTP_USHER_BODY_OTHER 3


static ngx_http_usher_conversion_e ngx_http_usher_conversion_secret(
    ngx_http_request_t *r, ngx_http_usher_conversion_t *conversion);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_query_form(
    ngx_http_request_t *r, ngx_http_usher_conversion_t *conversion,
    ngx_str_t *secret);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_ins(
    ngx_http_usher_conversion_t *conversion, usher_postback_map_t *map,
    ngx_str_t *secret, u_char *room);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_digistore(
    ngx_http_usher_conversion_t *conversion, usher_postback_map_t *map,
    ngx_str_t *secret, u_char *room);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_hmac(
    ngx_http_request_t *r, ngx_http_usher_conversion_t *conversion,
    ngx_str_t *secret, ngx_uint_t *body);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_status(
    usher_postback_status_e rc);
static ngx_uint_t ngx_http_usher_conversion_type(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion);
static void ngx_http_usher_conversion_map(
    ngx_http_usher_conversion_t *conversion, usher_postback_map_t *map);
static ngx_http_usher_conversion_e ngx_http_usher_conversion_transaction(
    ngx_http_usher_conversion_t *conversion);
static void ngx_http_usher_conversion_click(
    ngx_http_usher_conversion_t *conversion, usher_click_key_t *keys,
    size_t n);
static ngx_uint_t ngx_http_usher_conversion_status_of(
    usher_click_status_e rc);
static ngx_int_t ngx_http_usher_conversion_cookie(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion, usher_click_key_t *keys,
    size_t n);


ngx_http_usher_conversion_e
ngx_http_usher_conversion_read(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion)
{
    size_t                        n;
    u_char                       *room;
    ngx_int_t                     rc;
    ngx_str_t                     secret;
    usher_click_key_t            *keys, *current;
    usher_postback_map_t          map;
    ngx_http_usher_postback_t    *postback;
    ngx_http_usher_conversion_e   status;

    postback = &conversion->postback;

    rc = ngx_http_usher_click_keys(r, &keys, &n, &current);

    if (rc != NGX_OK) {
        return rc == NGX_AGAIN ? NGX_HTTP_USHER_CONVERSION_AGAIN
                               : NGX_HTTP_USHER_CONVERSION_UNAVAILABLE;
    }

    status = ngx_http_usher_conversion_secret(r, conversion);

    if (status != NGX_HTTP_USHER_CONVERSION_TAKEN) {
        return status;
    }

    ngx_str_null(&secret);

    if ((postback->hmac || postback->form != NGX_HTTP_USHER_FORM_QUERY)
        && ngx_http_usher_postback_secret(postback, &secret) != NGX_OK)
    {
        return NGX_HTTP_USHER_CONVERSION_CLOSED;
    }

    if (postback->form == NGX_HTTP_USHER_FORM_QUERY) {
        status = ngx_http_usher_conversion_query_form(r, conversion, &secret);

    } else {
        ngx_http_usher_conversion_map(conversion, &map);

        room = ngx_pnalloc(r->pool, 2 * conversion->body.len + 1);
        if (room == NULL) {
            return NGX_HTTP_USHER_CONVERSION_FAILED;
        }

        status = postback->form == NGX_HTTP_USHER_FORM_INS
                 ? ngx_http_usher_conversion_ins(conversion, &map, &secret,
                                                 room)
                 : ngx_http_usher_conversion_digistore(conversion, &map,
                                                       &secret, room);
    }

    if (status != NGX_HTTP_USHER_CONVERSION_TAKEN) {
        return status;
    }

    ngx_http_usher_conversion_click(conversion, keys, n);

    if (conversion->click == NGX_HTTP_USHER_CLICK_NOT_GIVEN && postback->pixel
        && ngx_http_usher_conversion_cookie(r, conversion, keys, n) != NGX_OK)
    {
        return NGX_HTTP_USHER_CONVERSION_FAILED;
    }

    return ngx_http_usher_conversion_transaction(conversion);
}


/* The secret of the URL, which was taken out of the query. */

static ngx_http_usher_conversion_e
ngx_http_usher_conversion_secret(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion)
{
    ngx_str_t               *given;
    ngx_http_usher_ctx_t    *ctx;
    ngx_http_usher_saved_t  *saved;

    if (!conversion->postback.secret) {
        return NGX_HTTP_USHER_CONVERSION_TAKEN;
    }

    given = NULL;
    ctx = ngx_http_usher_ctx(r, 0);

    for (saved = ctx ? ctx->saved : NULL; saved; saved = saved->next) {

        if (saved->name.len != sizeof(NGX_HTTP_USHER_SECRET_ARGUMENT) - 1
            || ngx_strncmp(saved->name.data, NGX_HTTP_USHER_SECRET_ARGUMENT,
                           saved->name.len)
               != 0)
        {
            continue;
        }

        if (given != NULL) {
            return NGX_HTTP_USHER_CONVERSION_AMBIGUOUS;
        }

        given = &saved->value;
    }

    if (given == NULL || given->len == 0) {
        return NGX_HTTP_USHER_CONVERSION_NO_SECRET;
    }

    return usher_postback_is(given->data, given->len,
                             conversion->postback.digest)
           ? NGX_HTTP_USHER_CONVERSION_TAKEN
           : NGX_HTTP_USHER_CONVERSION_SECRET;
}


/* Parameters of the query, and of a body; if it is signed, of one of both. */

static ngx_http_usher_conversion_e
ngx_http_usher_conversion_query_form(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion, ngx_str_t *secret)
{
    u_char                       *room;
    ngx_str_t                    *body;
    ngx_uint_t                    query, type;
    usher_postback_map_t          map;
    usher_postback_status_e       rc;
    ngx_http_usher_conversion_e   status;

    body = &conversion->body;
    query = 1;
    type = ngx_http_usher_conversion_type(r, conversion);

    if (type == NGX_HTTP_USHER_BODY_OTHER) {
        return NGX_HTTP_USHER_CONVERSION_TYPE;
    }

    if (conversion->postback.hmac) {
        status = ngx_http_usher_conversion_hmac(r, conversion, secret, &type);

        if (status != NGX_HTTP_USHER_CONVERSION_TAKEN) {
            return status;
        }

        query = (type == NGX_HTTP_USHER_BODY_NONE);
    }

    room = ngx_pnalloc(r->pool, r->args.len + body->len + 1);
    if (room == NULL) {
        return NGX_HTTP_USHER_CONVERSION_FAILED;
    }

    ngx_http_usher_conversion_map(conversion, &map);

    rc = USHER_POSTBACK_OK;

    if (query) {
        rc = usher_postback_form(&conversion->fields, &map, r->args.data,
                                 r->args.len, &room);
    }

    if (rc == USHER_POSTBACK_OK && type == NGX_HTTP_USHER_BODY_FORM) {
        rc = usher_postback_form(&conversion->fields, &map, body->data,
                                 body->len, &room);

    } else if (rc == USHER_POSTBACK_OK && type == NGX_HTTP_USHER_BODY_JSON) {
        rc = usher_postback_json(&conversion->fields, &map, body->data,
                                 body->len, &room);
    }

    return ngx_http_usher_conversion_status(rc);
}


static ngx_http_usher_conversion_e
ngx_http_usher_conversion_ins(ngx_http_usher_conversion_t *conversion,
    usher_postback_map_t *map, ngx_str_t *secret, u_char *room)
{
    size_t                    n;
    u_char                   *text;
    ngx_str_t                *body;
    usher_postback_text_t    *status;
    usher_postback_status_e   rc;

    body = &conversion->body;
    text = room;
    room += body->len;

    rc = usher_postback_ins(body->data, body->len, secret->data, secret->len,
                            text, &n);

    if (rc == USHER_POSTBACK_OK) {
        rc = usher_postback_json(&conversion->fields, map, text, n, &room);

        /* decrypted by another key, and its padding looked like one */

        if (rc == USHER_POSTBACK_MALFORMED) {
            rc = USHER_POSTBACK_FORGED;
        }

        status = &conversion->fields.values[USHER_POSTBACK_STATUS];

        if (rc == USHER_POSTBACK_OK && status->len >= 4
            && ngx_strncmp(status->data, "TEST", 4) == 0)
        {
            return NGX_HTTP_USHER_CONVERSION_TEST;
        }

    } else if (rc == USHER_POSTBACK_MALFORMED) {
        rc = USHER_POSTBACK_UNSIGNED;
    }

    return ngx_http_usher_conversion_status(rc);
}


static ngx_http_usher_conversion_e
ngx_http_usher_conversion_digistore(ngx_http_usher_conversion_t *conversion,
    usher_postback_map_t *map, ngx_str_t *secret, u_char *room)
{
    ngx_str_t                *body;
    usher_postback_text_t     event, mode, *status, pieces[2];
    usher_postback_status_e   rc;

    static const usher_postback_text_t  event_name = { (u_char *) "event", 5 };
    static const usher_postback_text_t  mode_name = {
        (u_char *) "api_mode", 8
    };

    body = &conversion->body;

    rc = usher_postback_sha_sign(body->data, body->len, secret->data,
                                 secret->len, room);

    if (rc != USHER_POSTBACK_OK) {
        return ngx_http_usher_conversion_status(rc);
    }

    /* a test of the connection, or an order that nobody pays */

    if (usher_postback_find(body->data, body->len, &event_name, &event, pieces)
        != 1)
    {
        ngx_memzero(&event, sizeof(usher_postback_text_t));
    }

    if ((event.len == 15
         && ngx_strncmp(event.data, "connection_test", 15) == 0)
        || (usher_postback_find(body->data, body->len, &mode_name, &mode,
                                pieces)
            == 1
            && mode.len == 4 && ngx_strncmp(mode.data, "test", 4) == 0))
    {
        return NGX_HTTP_USHER_CONVERSION_TEST;
    }

    rc = usher_postback_form(&conversion->fields, map, body->data, body->len,
                             &room);

    /* what is no transaction has an event only */

    status = &conversion->fields.values[USHER_POSTBACK_STATUS];

    if (status->len == 0) {
        *status = event;
    }

    return ngx_http_usher_conversion_status(rc);
}


/* Of query or body, whichever has the signature; *body says which. */

static ngx_http_usher_conversion_e
ngx_http_usher_conversion_hmac(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion, ngx_str_t *secret,
    ngx_uint_t *body)
{
    ngx_str_t                  *text;
    usher_postback_text_t       name;
    usher_postback_status_e     rc;
    ngx_http_usher_postback_t  *postback;

    postback = &conversion->postback;

    name.data = postback->signature.data;
    name.len = postback->signature.len;

    text = &r->args;

    rc = usher_postback_hmac(postback->hash, &name, postback->base64,
                             text->data, text->len, secret->data,
                             secret->len);

    if (rc == USHER_POSTBACK_UNSIGNED && *body == NGX_HTTP_USHER_BODY_FORM) {
        text = &conversion->body;

        rc = usher_postback_hmac(postback->hash, &name, postback->base64,
                                 text->data, text->len, secret->data,
                                 secret->len);

    } else {
        *body = NGX_HTTP_USHER_BODY_NONE;
    }

    return ngx_http_usher_conversion_status(rc);
}


static ngx_http_usher_conversion_e
ngx_http_usher_conversion_status(usher_postback_status_e rc)
{
    switch (rc) {

    case USHER_POSTBACK_OK:
        return NGX_HTTP_USHER_CONVERSION_TAKEN;

    case USHER_POSTBACK_AMBIGUOUS:
        return NGX_HTTP_USHER_CONVERSION_AMBIGUOUS;

    case USHER_POSTBACK_MALFORMED:
        return NGX_HTTP_USHER_CONVERSION_MALFORMED;

    case USHER_POSTBACK_UNSIGNED:
        return NGX_HTTP_USHER_CONVERSION_UNSIGNED;

    case USHER_POSTBACK_FORGED:
        return NGX_HTTP_USHER_CONVERSION_SIGNATURE;

    default: /* USHER_POSTBACK_ERROR */
        return NGX_HTTP_USHER_CONVERSION_FAILED;
    }
}


static ngx_uint_t
ngx_http_usher_conversion_type(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion)
{
    size_t      len;
    u_char     *p;
    ngx_str_t   type;

    if (conversion->body.len == 0) {
        return NGX_HTTP_USHER_BODY_NONE;
    }

    if (r->headers_in.content_type == NULL) {
        return NGX_HTTP_USHER_BODY_OTHER;
    }

    type = r->headers_in.content_type->value;
    p = ngx_strlchr(type.data, type.data + type.len, ';');
    len = p ? (size_t) (p - type.data) : type.len;

    while (len && type.data[len - 1] == ' ') {
        len--;
    }

    if (len == sizeof("application/x-www-form-urlencoded") - 1
        && ngx_strncasecmp(type.data,
                           (u_char *) "application/x-www-form-urlencoded", len)
           == 0)
    {
        return NGX_HTTP_USHER_BODY_FORM;
    }

    if (len == sizeof("application/json") - 1
        && ngx_strncasecmp(type.data, (u_char *) "application/json", len) == 0)
    {
        return NGX_HTTP_USHER_BODY_JSON;
    }

    return NGX_HTTP_USHER_BODY_OTHER;
}


static void
ngx_http_usher_conversion_map(ngx_http_usher_conversion_t *conversion,
    usher_postback_map_t *map)
{
    ngx_uint_t  i;

    for (i = 0; i < USHER_POSTBACK_FIELDS; i++) {
        map->names[i].data = conversion->postback.names[i].data;
        map->names[i].len = conversion->postback.names[i].len;
    }

    ngx_memzero(&conversion->fields, sizeof(usher_postback_t));
}


/* A key is never cut, for then two would be one. */

static ngx_http_usher_conversion_e
ngx_http_usher_conversion_transaction(ngx_http_usher_conversion_t *conversion)
{
    u_char                  text[2 * USHER_CONVERSION_TRANSACTION_MAX];
    unsigned                flags;
    usher_postback_text_t  *id;

    usher_postback_parent(&conversion->fields, conversion->postback.back.data,
                          conversion->postback.back.len);

    id = &conversion->fields.values[USHER_POSTBACK_TRANSACTION_ID];

    if (id->len == 0) {
        *id = conversion->fields.values[USHER_POSTBACK_CLICK_ID];
    }

    if (id->len == 0) {
        return usher_postback_among(
                       &conversion->fields.values[USHER_POSTBACK_STATUS],
                       conversion->postback.ignored.data,
                       conversion->postback.ignored.len)
               ? NGX_HTTP_USHER_CONVERSION_IGNORED
               : NGX_HTTP_USHER_CONVERSION_NO_TRANSACTION;
    }

    flags = 0;
    (void) usher_event_text(text, id->data, id->len,
                            USHER_CONVERSION_TRANSACTION_MAX, &flags);

    return flags & USHER_EVENT_CUT ? NGX_HTTP_USHER_CONVERSION_TOO_LONG
                                   : NGX_HTTP_USHER_CONVERSION_TAKEN;
}


/* Some networks give an id back in capitals. */

static void
ngx_http_usher_conversion_click(ngx_http_usher_conversion_t *conversion,
    usher_click_key_t *keys, size_t n)
{
    usher_click_t           click;
    usher_postback_text_t  *id;

    id = &conversion->fields.values[USHER_POSTBACK_CLICK_ID];

    if (id->len == 0) {
        conversion->click = NGX_HTTP_USHER_CLICK_NOT_GIVEN;
        return;
    }

    ngx_strlow(conversion->id, (u_char *) id->data,
               ngx_min(id->len, USHER_CLICK_TEXT));

    conversion->click = ngx_http_usher_conversion_status_of(
                   usher_click_read(conversion->id, id->len, keys, n, &click));

    if (conversion->click == NGX_HTTP_USHER_CLICK_GOOD) {
        id->data = conversion->id;
    }
}


static ngx_uint_t
ngx_http_usher_conversion_status_of(usher_click_status_e rc)
{
    switch (rc) {

    case USHER_CLICK_OK:
        return NGX_HTTP_USHER_CLICK_GOOD;

    case USHER_CLICK_MALFORMED:
        return NGX_HTTP_USHER_CLICK_MALFORMED;

    case USHER_CLICK_NO_KEY:
        return NGX_HTTP_USHER_CLICK_NO_KEY;

    default: /* USHER_CLICK_FORGED */
        return NGX_HTTP_USHER_CLICK_FORGED;
    }
}


/* The newest is the click; which one counts is for the program to say. */

static ngx_int_t
ngx_http_usher_conversion_cookie(ngx_http_request_t *r,
    ngx_http_usher_conversion_t *conversion, usher_click_key_t *keys,
    size_t n)
{
    ngx_str_t                          value;
    usher_click_list_t                 list;
    usher_postback_text_t             *id;
    ngx_http_usher_conversion_conf_t  *ccf;

    ccf = ngx_http_get_module_loc_conf(r, ngx_http_usher_conversion_module);

    if (ccf->cookie == NULL) {
        return NGX_OK;
    }

    if (ngx_http_usher_cookie(r, ccf->cookie, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value.len == 0) {
        return NGX_OK;
    }

    conversion->click = ngx_http_usher_conversion_status_of(
              usher_click_list_read(&list, value.data, value.len, keys, n));

    if (conversion->click != NGX_HTTP_USHER_CLICK_GOOD) {
        return NGX_OK;
    }

    ngx_memcpy(conversion->id, list.ids[list.n - 1], USHER_CLICK_TEXT);

    id = &conversion->fields.values[USHER_POSTBACK_CLICK_ID];

    id->data = conversion->id;
    id->len = USHER_CLICK_TEXT;

    conversion->cookie_len = usher_click_list_write(conversion->cookie, &list)
                             - conversion->cookie;

    return NGX_OK;
}
