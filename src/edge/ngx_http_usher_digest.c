
/*
 * ngx_http_usher_digest.c - SHA-256 of a key.
 *
 * OpenSSL 3 fetches the algorithm anew in one-shot calls (0.3 us), and even
 * with a context that is kept it allocates and frees for each digest.  The
 * functions below EVP do neither; they are deprecated, so a context is the
 * way where they are missing.  A key of usual length is one block of SHA-256:
 * it is padded here (FIPS 180-4, 5.1.1), so that OpenSSL has nothing to do
 * but the block.
 */


#define OPENSSL_SUPPRESS_DEPRECATED

#include "ngx_http_usher_request.h"

#include <openssl/evp.h>
#include <openssl/sha.h>


#ifndef OPENSSL_NO_DEPRECATED_3_0


#define NGX_HTTP_USHER_ONE_BLOCK  (SHA256_CBLOCK - 1 - sizeof(uint64_t))


static void ngx_http_usher_digest_block(ngx_str_t *text,
    u_char digest[USHER_KEY_DIGEST]);


ngx_int_t
ngx_http_usher_digest(ngx_str_t *text, u_char digest[USHER_KEY_DIGEST])
{
    SHA256_CTX  sha;

    if (text->len <= NGX_HTTP_USHER_ONE_BLOCK) {
        ngx_http_usher_digest_block(text, digest);
        return NGX_OK;
    }

    if (!SHA256_Init(&sha)
        || !SHA256_Update(&sha, text->data, text->len)
        || !SHA256_Final(digest, &sha))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_usher_digest_block(ngx_str_t *text, u_char digest[USHER_KEY_DIGEST])
{
    u_char       block[SHA256_CBLOCK];
    uint32_t     word;
    ngx_uint_t   i;
    SHA256_CTX   sha;

    ngx_memzero(block, SHA256_CBLOCK);
    ngx_memcpy(block, text->data, text->len);

    /* a bit that is set, and the number of bits before it */

    block[text->len] = 0x80;
    block[SHA256_CBLOCK - 2] = (u_char) (text->len >> 5);
    block[SHA256_CBLOCK - 1] = (u_char) (text->len << 3);

    (void) SHA256_Init(&sha);
    SHA256_Transform(&sha, block);

    for (i = 0; i < USHER_KEY_DIGEST / sizeof(uint32_t); i++) {
        word = htonl(sha.h[i]);
        ngx_memcpy(&digest[i * sizeof(uint32_t)], &word, sizeof(uint32_t));
    }
}


void
ngx_http_usher_digest_done(void)
{
    /* void */
}


#else


/* Of this process. */
static EVP_MD      *ngx_http_usher_sha256;
static EVP_MD_CTX  *ngx_http_usher_sha256_ctx;


ngx_int_t
ngx_http_usher_digest(ngx_str_t *text, u_char digest[USHER_KEY_DIGEST])
{
    unsigned int  len;

    if (ngx_http_usher_sha256_ctx == NULL) {

        if (ngx_http_usher_sha256 == NULL) {
            ngx_http_usher_sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        }

        ngx_http_usher_sha256_ctx = EVP_MD_CTX_new();
    }

    if (ngx_http_usher_sha256 == NULL || ngx_http_usher_sha256_ctx == NULL) {
        return NGX_ERROR;
    }

    if (!EVP_DigestInit_ex2(ngx_http_usher_sha256_ctx, ngx_http_usher_sha256,
                            NULL)
        || !EVP_DigestUpdate(ngx_http_usher_sha256_ctx, text->data, text->len)
        || !EVP_DigestFinal_ex(ngx_http_usher_sha256_ctx, digest, &len))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_http_usher_digest_done(void)
{
    EVP_MD_CTX_free(ngx_http_usher_sha256_ctx);
    EVP_MD_free(ngx_http_usher_sha256);

    ngx_http_usher_sha256_ctx = NULL;
    ngx_http_usher_sha256 = NULL;
}


#endif
