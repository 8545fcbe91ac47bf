
/*
 * ngx_http_usher_address.c - the client's address against an allow list, as
 * the name of a bucket, and cut short for an event.
 *
 * The address is the connection's, which the realip module has replaced by
 * then.  An IPv4 address mapped into IPv6 counts as the IPv4 address.  A unix
 * socket has no address and is in no list.
 */


#include "ngx_http_usher_request.h"


static size_t ngx_http_usher_address(ngx_http_request_t *r, u_char **bytes);
static ngx_uint_t ngx_http_usher_address_match(u_char *address, size_t len,
    ngx_str_t *cidr);
static u_char *ngx_http_usher_address_net(u_char *p, u_char *b);
static ngx_uint_t ngx_http_usher_address_equal(u_char *a, u_char *b,
    ngx_uint_t bits);


ngx_uint_t
ngx_http_usher_address_allowed(ngx_http_request_t *r, ngx_str_t *list)
{
    size_t      len;
    u_char     *p, *end, *address;
    ngx_str_t   cidr;

    if (list->len == 0) {
        return 1;
    }

    len = ngx_http_usher_address(r, &address);
    if (len == 0) {
        return 0;
    }

    p = list->data;
    end = p + list->len;

    while (p < end) {

        if (*p == ' ') {
            p++;
            continue;
        }

        cidr.data = p;

        while (p < end && *p != ' ') {
            p++;
        }

        cidr.len = p - cidr.data;

        if (ngx_http_usher_address_match(address, len, &cidr)) {
            return 1;
        }
    }

    return 0;
}


/* The bytes of the address: 4, 16, or 0 if there is none. */

static size_t
ngx_http_usher_address(ngx_http_request_t *r, u_char **bytes)
{
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    switch (r->connection->sockaddr->sa_family) {

    case AF_INET:
        sin = (struct sockaddr_in *) r->connection->sockaddr;
        *bytes = (u_char *) &sin->sin_addr;
        return 4;

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) r->connection->sockaddr;
        *bytes = sin6->sin6_addr.s6_addr;

        if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
            *bytes += 12;
            return 4;
        }

        return 16;
#endif

    default:
        return 0;
    }
}


static ngx_uint_t
ngx_http_usher_address_match(u_char *address, size_t len, ngx_str_t *cidr)
{
    u_char      *slash, *net, in6[16];
    size_t       size;
    in_addr_t    in;
    ngx_int_t    bits;
    ngx_str_t    text;

    text = *cidr;
    bits = -1;

    slash = ngx_strlchr(text.data, text.data + text.len, '/');

    if (slash != NULL) {
        bits = ngx_atoi(slash + 1, text.data + text.len - slash - 1);
        text.len = slash - text.data;

        if (bits == NGX_ERROR) {
            return 0;
        }
    }

    in = ngx_inet_addr(text.data, text.len);

    if (in != INADDR_NONE
        || (text.len == sizeof("255.255.255.255") - 1
            && ngx_memcmp(text.data, "255.255.255.255", text.len) == 0))
    {
        net = (u_char *) &in;
        size = 4;

    } else if (ngx_inet6_addr(text.data, text.len, in6) == NGX_OK) {
        net = in6;
        size = 16;

        if (ngx_memcmp(in6, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0
            && (bits == -1 || bits >= 96))
        {
            net += 12;
            size = 4;
            bits = bits == -1 ? -1 : bits - 96;
        }

    } else {
        return 0;
    }

    if (bits == -1) {
        bits = size * 8;
    }

    return size == len && bits <= (ngx_int_t) size * 8
           && ngx_http_usher_address_equal(address, net, bits);
}


static ngx_uint_t
ngx_http_usher_address_equal(u_char *a, u_char *b, ngx_uint_t bits)
{
    u_char      mask;
    ngx_uint_t  bytes;

    bytes = bits / 8;

    if (ngx_memcmp(a, b, bytes) != 0) {
        return 0;
    }

    if (bits % 8 == 0) {
        return 1;
    }

    mask = (u_char) (0xff << (8 - bits % 8));

    return (a[bytes] & mask) == (b[bytes] & mask);
}


size_t
ngx_http_usher_address_key(ngx_http_request_t *r,
    u_char key[NGX_HTTP_USHER_ADDRESS])
{
    size_t   len;
    u_char  *bytes;

    len = ngx_http_usher_address(r, &bytes);

    if (len == 0) {
        return 0;
    }

    /* who has one v6 address usually has the whole /64 */

    len = ngx_min(len, NGX_HTTP_USHER_ADDRESS);
    ngx_memcpy(key, bytes, len);

    return len;
}


u_char *
ngx_http_usher_address_short(ngx_http_request_t *r, u_char *p)
{
    u_char               *b;
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    switch (r->connection->sockaddr->sa_family) {

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) r->connection->sockaddr;
        b = sin6->sin6_addr.s6_addr;

        if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
            return ngx_http_usher_address_net(p, b + 12);
        }

        return ngx_sprintf(p, "%02xd%02xd:%02xd%02xd:%02xd%02xd::/48", b[0],
                           b[1], b[2], b[3], b[4], b[5]);
#endif

    case AF_INET:
        sin = (struct sockaddr_in *) r->connection->sockaddr;
        b = (u_char *) &sin->sin_addr;

        return ngx_http_usher_address_net(p, b);

    default:
        *p++ = '\\'; *p++ = 'N';
        return p;
    }
}


/* No ngx_sprintf(): it is written for each click. */

static u_char *
ngx_http_usher_address_net(u_char *p, u_char *b)
{
    ngx_uint_t  i;

    for (i = 0; i < 3; i++) {
        p = ngx_http_usher_decimal(p, b[i]);
        *p++ = '.';
    }

    return ngx_cpymem(p, "0/24", sizeof("0/24") - 1);
}
