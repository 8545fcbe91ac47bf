/*
 * usher_address.h - what sort of IP address it is: whether one that is not
 * ours may be spoken to.
 *
 * Sources: the IANA's IPv4 and IPv6 Special-Purpose Address Registries (as of
 * 2025-10-09), the address spaces of multicast, RFC 3879 (site-local), RFC
 * 4291 (IPv4-mapped), RFC 6052 and 8215 (NAT64), RFC 7526 (6to4).  What the
 * registries call globally reachable is public, but for the /23 of protocol
 * assignments, in which nobody has a web server.
 */


#ifndef USHER_ADDRESS_H
#define USHER_ADDRESS_H


typedef enum {
    USHER_ADDRESS_PUBLIC = 0,
    USHER_ADDRESS_UNSPECIFIED,     /* this host, or this network */
    USHER_ADDRESS_LOOPBACK,
    USHER_ADDRESS_PRIVATE,         /* unique local and site-local, too */
    USHER_ADDRESS_SHARED,          /* behind a carrier's NAT */
    USHER_ADDRESS_LINK_LOCAL,      /* so the metadata of clouds */
    USHER_ADDRESS_DOCUMENTATION,
    USHER_ADDRESS_BENCHMARK,
    USHER_ADDRESS_PROTOCOL,        /* assigned to protocols, as Teredo */
    USHER_ADDRESS_TRANSLATED,      /* 6to4, or a NAT64 of this network */
    USHER_ADDRESS_MULTICAST,       /* broadcast, too */
    USHER_ADDRESS_RESERVED
} usher_address_e;


/* Four bytes in network order. */
usher_address_e usher_address_v4(const unsigned char address[4]);

/*
 * Sixteen bytes in network order.  An IPv4-mapped address, and one of the
 * well-known prefix of NAT64, is what the IPv4 address in it is: that is who
 * answers.
 */
usher_address_e usher_address_v6(const unsigned char address[16]);

/* In a word, for a log. */
const char *usher_address_word(usher_address_e sort);


#endif
