/*
 * usher_address.c - sorts IP addresses by the registries' tables.
 */


#include <string.h>

#include "usher_address.h"


typedef struct {
    unsigned char    prefix[16];
    unsigned         bits;
    usher_address_e  sort;
} usher_address_block_t;


static usher_address_e usher_address_find(const usher_address_block_t *blocks,
    const unsigned char *address, usher_address_e otherwise);
static int usher_address_in(const unsigned char *address,
    const unsigned char *prefix, unsigned bits);


/* The first that fits; bits of 0 end a table. */

static const usher_address_block_t  usher_address_v4_blocks[] = {
    { { 0 }, 8, USHER_ADDRESS_UNSPECIFIED },
    { { 10 }, 8, USHER_ADDRESS_PRIVATE },
    { { 100, 64 }, 10, USHER_ADDRESS_SHARED },
    { { 127 }, 8, USHER_ADDRESS_LOOPBACK },
    { { 169, 254 }, 16, USHER_ADDRESS_LINK_LOCAL },
    { { 172, 16 }, 12, USHER_ADDRESS_PRIVATE },
    { { 192, 0, 0 }, 24, USHER_ADDRESS_PROTOCOL },
    { { 192, 0, 2 }, 24, USHER_ADDRESS_DOCUMENTATION },
    { { 192, 88, 99 }, 24, USHER_ADDRESS_TRANSLATED },    /* 6to4 relays */
    { { 192, 168 }, 16, USHER_ADDRESS_PRIVATE },
    { { 198, 18 }, 15, USHER_ADDRESS_BENCHMARK },
    { { 198, 51, 100 }, 24, USHER_ADDRESS_DOCUMENTATION },
    { { 203, 0, 113 }, 24, USHER_ADDRESS_DOCUMENTATION },
    { { 224 }, 4, USHER_ADDRESS_MULTICAST },
    { { 255, 255, 255, 255 }, 32, USHER_ADDRESS_MULTICAST },
    { { 240 }, 4, USHER_ADDRESS_RESERVED },
    { { 0 }, 0, USHER_ADDRESS_PUBLIC }
};

/* Beyond 2000::/3 nothing is anybody's yet. */

static const usher_address_block_t  usher_address_v6_blocks[] = {
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32, USHER_ADDRESS_DOCUMENTATION },
    { { 0x20, 0x01, 0x00, 0x02 }, 48, USHER_ADDRESS_BENCHMARK },
    { { 0x20, 0x01 }, 23, USHER_ADDRESS_PROTOCOL },
    { { 0x20, 0x02 }, 16, USHER_ADDRESS_TRANSLATED },
    { { 0x3f, 0xff }, 20, USHER_ADDRESS_DOCUMENTATION },
    { { 0x20 }, 3, USHER_ADDRESS_PUBLIC },

    { { 0 }, 128, USHER_ADDRESS_UNSPECIFIED },
    { { [15] = 1 }, 128, USHER_ADDRESS_LOOPBACK },
    { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48, USHER_ADDRESS_TRANSLATED },
    { { 0x5f }, 16, USHER_ADDRESS_PROTOCOL },             /* SRv6 */
    { { 0xfc }, 7, USHER_ADDRESS_PRIVATE },
    { { 0xfe, 0x80 }, 10, USHER_ADDRESS_LINK_LOCAL },
    { { 0xfe, 0xc0 }, 10, USHER_ADDRESS_PRIVATE },
    { { 0xff }, 8, USHER_ADDRESS_MULTICAST },
    { { 0 }, 0, USHER_ADDRESS_PUBLIC }
};

static const unsigned char  usher_address_mapped[16] = {
    [10] = 0xff, [11] = 0xff
};

static const unsigned char  usher_address_nat64[16] = {
    0x00, 0x64, 0xff, 0x9b
};


usher_address_e
usher_address_v4(const unsigned char address[4])
{
    return usher_address_find(usher_address_v4_blocks, address,
                              USHER_ADDRESS_PUBLIC);
}


usher_address_e
usher_address_v6(const unsigned char address[16])
{
    if (usher_address_in(address, usher_address_mapped, 96)
        || usher_address_in(address, usher_address_nat64, 96))
    {
        return usher_address_v4(address + 12);
    }

    return usher_address_find(usher_address_v6_blocks, address,
                              USHER_ADDRESS_RESERVED);
}


const char *
usher_address_word(usher_address_e sort)
{
    switch (sort) {

    case USHER_ADDRESS_PUBLIC:
        return "public";

    case USHER_ADDRESS_UNSPECIFIED:
        return "unspecified";

    case USHER_ADDRESS_LOOPBACK:
        return "loopback";

    case USHER_ADDRESS_PRIVATE:
        return "private";

    case USHER_ADDRESS_SHARED:
        return "shared";

    case USHER_ADDRESS_LINK_LOCAL:
        return "link-local";

    case USHER_ADDRESS_DOCUMENTATION:
        return "documentation";

    case USHER_ADDRESS_BENCHMARK:
        return "benchmark";

    case USHER_ADDRESS_PROTOCOL:
        return "protocol";

    case USHER_ADDRESS_TRANSLATED:
        return "translated";

    case USHER_ADDRESS_MULTICAST:
        return "multicast";

    case USHER_ADDRESS_RESERVED:
        return "reserved";
    }

    return "unknown";
}


static usher_address_e
usher_address_find(const usher_address_block_t *blocks,
    const unsigned char *address, usher_address_e otherwise)
{
    for ( /* void */ ; blocks->bits != 0; blocks++) {
        if (usher_address_in(address, blocks->prefix, blocks->bits)) {
            return blocks->sort;
        }
    }

    return otherwise;
}


static int
usher_address_in(const unsigned char *address, const unsigned char *prefix,
    unsigned bits)
{
    unsigned  n, rest;

    n = bits / 8;
    rest = bits % 8;

    if (memcmp(address, prefix, n) != 0) {
        return 0;
    }

    return rest == 0 || ((address[n] ^ prefix[n]) >> (8 - rest)) == 0;
}
