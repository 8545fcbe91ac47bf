/*
 * click_hmac.c - the same with an OpenSSL that has no low-level SHA-256.
 */


#define OPENSSL_NO_DEPRECATED

#include "../../src/common/usher_click.c"

#ifndef OPENSSL_NO_DEPRECATED_3_0
#error "not built without it"
#endif

#include "click.c"
