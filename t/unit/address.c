/*
 * address.c - each block of the registries: its first and its last address,
 * and those before and behind it.
 */


#include <arpa/inet.h>

#include "usher_address.h"

#include "tap.h"


#define PUBLIC         USHER_ADDRESS_PUBLIC
#define UNSPECIFIED    USHER_ADDRESS_UNSPECIFIED
#define LOOPBACK       USHER_ADDRESS_LOOPBACK
#define PRIVATE        USHER_ADDRESS_PRIVATE
#define SHARED         USHER_ADDRESS_SHARED
#define LINK_LOCAL     USHER_ADDRESS_LINK_LOCAL
#define DOCUMENTATION  USHER_ADDRESS_DOCUMENTATION
#define BENCHMARK      USHER_ADDRESS_BENCHMARK
#define PROTOCOL       USHER_ADDRESS_PROTOCOL
#define TRANSLATED     USHER_ADDRESS_TRANSLATED
#define MULTICAST      USHER_ADDRESS_MULTICAST
#define RESERVED       USHER_ADDRESS_RESERVED


static usher_address_e sort_of(const char *text);
static void check_embedded(const char *prefix);


/* What comes before the first and behind the last is said on its own line. */

static const struct {
    const char       *first;
    const char       *last;
    usher_address_e   sort;
} blocks[] = {
    { "0.0.0.0", "0.255.255.255", UNSPECIFIED },
    { "1.0.0.0", "9.255.255.255", PUBLIC },
    { "10.0.0.0", "10.255.255.255", PRIVATE },
    { "11.0.0.0", "100.63.255.255", PUBLIC },
    { "100.64.0.0", "100.127.255.255", SHARED },
    { "100.128.0.0", "126.255.255.255", PUBLIC },
    { "127.0.0.0", "127.255.255.255", LOOPBACK },
    { "128.0.0.0", "169.253.255.255", PUBLIC },
    { "169.254.0.0", "169.254.255.255", LINK_LOCAL },
    { "169.254.169.254", "169.254.169.254", LINK_LOCAL },
    { "169.255.0.0", "172.15.255.255", PUBLIC },
    { "172.16.0.0", "172.31.255.255", PRIVATE },
    { "172.32.0.0", "191.255.255.255", PUBLIC },
    { "192.0.0.0", "192.0.0.255", PROTOCOL },
    { "192.0.1.0", "192.0.1.255", PUBLIC },
    { "192.0.2.0", "192.0.2.255", DOCUMENTATION },
    { "192.0.3.0", "192.88.98.255", PUBLIC },
    { "192.88.99.0", "192.88.99.255", TRANSLATED },
    { "192.88.100.0", "192.167.255.255", PUBLIC },
    { "192.168.0.0", "192.168.255.255", PRIVATE },
    { "192.169.0.0", "198.17.255.255", PUBLIC },
    { "198.18.0.0", "198.19.255.255", BENCHMARK },
    { "198.20.0.0", "198.51.99.255", PUBLIC },
    { "198.51.100.0", "198.51.100.255", DOCUMENTATION },
    { "198.51.101.0", "203.0.112.255", PUBLIC },
    { "203.0.113.0", "203.0.113.255", DOCUMENTATION },
    { "203.0.114.0", "223.255.255.255", PUBLIC },
    { "224.0.0.0", "239.255.255.255", MULTICAST },
    { "240.0.0.0", "255.255.255.254", RESERVED },
    { "255.255.255.255", "255.255.255.255", MULTICAST },

    { "::", "::", UNSPECIFIED },
    { "::1", "::1", LOOPBACK },
    { "::2", "::fffe:ffff:ffff", RESERVED },    /* IPv4-compatible, too */
    { "::1:0:0:0", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", RESERVED },
    { "64:ff9b::1:0:0", "64:ff9b:0:ffff:ffff:ffff:ffff:ffff", RESERVED },
    { "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", TRANSLATED },
    { "64:ff9b:2::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", RESERVED },
    { "100::", "100:0:0:1:ffff:ffff:ffff:ffff", RESERVED },    /* discarded */
    { "2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC },
    { "2001::", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", PROTOCOL },
    { "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", BENCHMARK },
    { "2001:2:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", PROTOCOL },
    { "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC },
    { "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", DOCUMENTATION },
    { "2001:db9::", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC },
    { "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", TRANSLATED },
    { "2003::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC },
    { "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", DOCUMENTATION },
    { "3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC },
    { "4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", RESERVED },
    { "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PROTOCOL },
    { "5f01::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", RESERVED },
    { "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PRIVATE },
    { "fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", RESERVED },
    { "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LINK_LOCAL },
    { "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PRIVATE },
    { "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", MULTICAST }
};


int
main(void)
{
    unsigned  i;

    for (i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        ok(sort_of(blocks[i].first) == blocks[i].sort, "%s: %s",
           blocks[i].first, usher_address_word(blocks[i].sort));
        ok(sort_of(blocks[i].last) == blocks[i].sort, "to %s", blocks[i].last);
    }

    check_embedded("::ffff:");
    check_embedded("64:ff9b::");

    ok(strcmp(usher_address_word((usher_address_e) 99), "unknown") == 0,
       "no word for what there is not");

    return tap_done();
}


static usher_address_e
sort_of(const char *text)
{
    unsigned char  address[16];

    if (inet_pton(AF_INET, text, address) == 1) {
        return usher_address_v4(address);
    }

    if (inet_pton(AF_INET6, text, address) == 1) {
        return usher_address_v6(address);
    }

    abort();
}


/* In IPv6 they are what they are without it. */

static void
check_embedded(const char *prefix)
{
    char      text[64];
    unsigned  i, wrong;

    wrong = 0;

    for (i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {

        if (strchr(blocks[i].first, ':') != NULL) {
            continue;
        }

        snprintf(text, sizeof(text), "%s%s", prefix, blocks[i].first);
        wrong += (sort_of(text) != blocks[i].sort);
        snprintf(text, sizeof(text), "%s%s", prefix, blocks[i].last);
        wrong += (sort_of(text) != blocks[i].sort);
    }

    ok(wrong == 0, "%s: as the address in it", prefix);
}
