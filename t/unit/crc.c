/*
 * crc.c - every form of every checksum against published values, against a
 * bit by bit form, and against itself when cut in two.
 */


/* the forms are static: the file is taken in whole */
#include "../../src/common/usher_crc.c"

#include "tap.h"


#define SIZE  4500


static uint64_t bitwise(uint64_t crc, uint64_t poly, const unsigned char *p,
    size_t len);
static void check_values(void);
static void check_lengths(void);
static void check_cuts(void);


static unsigned char  data[SIZE + 16];


int
main(void)
{
    tap_fill(data, sizeof(data), 1);

    check_values();
    check_lengths();
    check_cuts();

    return tap_done();
}


static uint64_t
bitwise(uint64_t crc, uint64_t poly, const unsigned char *p, size_t len)
{
    int  k;

    while (len--) {
        crc ^= *p++;

        for (k = 0; k < 8; k++) {
            crc = (crc >> 1) ^ ((crc & 1) ? poly : 0);
        }
    }

    return crc;
}


static void
check_values(void)
{
    unsigned char  buf[32];

    ok(usher_crc32(0, "123456789", 9) == 0xcbf43926, "crc32 check value");
    ok(usher_crc32c(0, "123456789", 9) == 0xe3069283, "crc32c check value");
    ok(usher_crc64(0, "123456789", 9) == 0xe9c6d914c4b8d9caULL,
       "crc64 check value, as Redis's");

    /* RFC 3720 B.4 */

    memset(buf, 0, 32);
    ok(usher_crc32c(0, buf, 32) == 0x8a9136aa, "crc32c of zeros");

    memset(buf, 0xff, 32);
    ok(usher_crc32c(0, buf, 32) == 0x62a8ab43, "crc32c of ones");

    ok(usher_crc32(0, "", 0) == 0 && usher_crc32c(0, "", 0) == 0
       && usher_crc64(0, "", 0) == 0, "nothing is 0");
    ok(usher_crc64(7, "", 0) == 7, "nothing changes nothing");
}


static void
check_lengths(void)
{
    size_t    len, off, bad32, bad32c, bad64, badfast;
    uint32_t  v32, v32c;
    uint64_t  v64;

    bad32 = 0;
    bad32c = 0;
    bad64 = 0;
    badfast = 0;

    for (len = 0; len < SIZE; len += (len < 300) ? 1 : 97) {
        off = len % 16;

        v32 = ~(uint32_t) bitwise(0xffffffff, USHER_CRC32_POLY, data + off,
                                  len);
        v32c = ~(uint32_t) bitwise(0xffffffff, USHER_CRC32C_POLY, data + off,
                                   len);
        v64 = bitwise(len, USHER_CRC64_POLY, data + off, len);

        bad32 += ~usher_crc32_any(~0U, data + off, len) != v32;
        bad32c += ~usher_crc32c_slice(~0U, data + off, len) != v32c;
        bad64 += usher_crc64_slice(len, data + off, len) != v64;

        badfast += usher_crc32(0, data + off, len) != v32;
        badfast += usher_crc32c(0, data + off, len) != v32c;
        badfast += usher_crc64(len, data + off, len) != v64;
    }

    ok(bad32 == 0, "crc32 by tables at every length and alignment");
    ok(bad32c == 0, "crc32c by tables at every length and alignment");
    ok(bad64 == 0, "crc64 by tables at every length and alignment");
    ok(badfast == 0, "the forms chosen at run time agree with them");
}


static void
check_cuts(void)
{
    size_t    cut, bad;
    uint32_t  v32, v32c;
    uint64_t  v64;

    bad = 0;

    v32 = usher_crc32(0, data, SIZE);
    v32c = usher_crc32c(0, data, SIZE);
    v64 = usher_crc64(0, data, SIZE);

    for (cut = 0; cut <= SIZE; cut += 1 + cut / 7) {
        bad += usher_crc32(usher_crc32(0, data, cut), data + cut, SIZE - cut)
               != v32;
        bad += usher_crc32c(usher_crc32c(0, data, cut), data + cut,
                            SIZE - cut)
               != v32c;
        bad += usher_crc64(usher_crc64(0, data, cut), data + cut, SIZE - cut)
               != v64;
    }

    ok(bad == 0, "a sum goes on from any point");
}
