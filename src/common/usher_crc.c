/*
 * usher_crc.c - CRC-32, CRC-32C and CRC-64 of any length, from any point.
 *
 * DESIGN
 *
 * All three are reflected: bit 0 of the first byte is the highest power.
 * Each has a slicing-by-8 form that runs anywhere; CRC-32C has the crc32
 * instruction beside it and CRC-64 a carry-less multiplication.  A
 * constructor builds the tables and the folding constants from the
 * polynomials and chooses by what the processor can do, so nothing is
 * checked or locked later: functions and tables are read-only from then on.
 *
 * Folding.  Sixteen bytes are a polynomial A * x^64 + B, A being the first
 * eight.  Moving it D bits up modulo P is
 *
 *     A * (x^(D + 64) mod P) + B * (x^D mod P)
 *
 * which is 128 bits again and is added to the sixteen bytes found there.
 * The product of two reflected words comes out one bit too low, so both
 * constants are taken with one power less.  Four such registers run side by
 * side (D = 512), are folded into one (D = 128), and what is left goes
 * through the tables.
 */


#include <string.h>

#include "usher_crc.h"


#define USHER_CRC32_POLY    0xedb88320U
#define USHER_CRC32C_POLY   0x82f63b78U
#define USHER_CRC64_POLY    0x95ac9329ac4bc9b5ULL

#if (defined __x86_64__ && (defined __GNUC__ || defined __clang__))
#define USHER_CRC_X86       1
#include <immintrin.h>
#endif


typedef uint32_t (*usher_crc32c_pt)(uint32_t crc, const unsigned char *p,
    size_t len);
typedef uint64_t (*usher_crc64_pt)(uint64_t crc, const unsigned char *p,
    size_t len);


static void usher_crc_init(void) __attribute__((constructor));
static void usher_crc32_table(uint32_t table[8][256], uint32_t poly);
static void usher_crc64_table(uint64_t table[8][256], uint64_t poly);
static uint64_t usher_crc_load(const unsigned char *p);
static uint32_t usher_crc32_slice(uint32_t table[8][256], uint32_t crc,
    const unsigned char *p, size_t len);
static uint32_t usher_crc32c_slice(uint32_t crc, const unsigned char *p,
    size_t len);
static uint64_t usher_crc64_slice(uint64_t crc, const unsigned char *p,
    size_t len);

#if (USHER_CRC_X86)
static uint64_t usher_crc64_power(unsigned n);
static uint32_t usher_crc32c_sse(uint32_t crc, const unsigned char *p,
    size_t len);
static uint64_t usher_crc64_clmul(uint64_t crc, const unsigned char *p,
    size_t len);
#endif


static uint32_t         usher_crc32_tables[8][256];
static uint32_t         usher_crc32c_tables[8][256];
static uint64_t         usher_crc64_tables[8][256];

static usher_crc32c_pt  usher_crc32c_run = usher_crc32c_slice;
static usher_crc64_pt   usher_crc64_run = usher_crc64_slice;

#if (USHER_CRC_X86)
/* x^(D + 63) and x^(D - 1) mod P, reflected */
static uint64_t         usher_crc64_fold512[2];
static uint64_t         usher_crc64_fold128[2];
#endif


uint32_t
usher_crc32(uint32_t crc, const void *data, size_t len)
{
    return ~usher_crc32_slice(usher_crc32_tables, ~crc, data, len);
}


uint32_t
usher_crc32c(uint32_t crc, const void *data, size_t len)
{
    return ~usher_crc32c_run(~crc, data, len);
}


uint64_t
usher_crc64(uint64_t crc, const void *data, size_t len)
{
    return usher_crc64_run(crc, data, len);
}


static void
usher_crc_init(void)
{
    usher_crc32_table(usher_crc32_tables, USHER_CRC32_POLY);
    usher_crc32_table(usher_crc32c_tables, USHER_CRC32C_POLY);
    usher_crc64_table(usher_crc64_tables, USHER_CRC64_POLY);

#if (USHER_CRC_X86)

    usher_crc64_fold512[0] = usher_crc64_power(512 + 63);
    usher_crc64_fold512[1] = usher_crc64_power(512 - 1);
    usher_crc64_fold128[0] = usher_crc64_power(128 + 63);
    usher_crc64_fold128[1] = usher_crc64_power(128 - 1);

    __builtin_cpu_init();

    if (__builtin_cpu_supports("sse4.2")) {
        usher_crc32c_run = usher_crc32c_sse;
    }

    if (__builtin_cpu_supports("pclmul")) {
        usher_crc64_run = usher_crc64_clmul;
    }

#endif
}


static void
usher_crc32_table(uint32_t table[8][256], uint32_t poly)
{
    int       i, k;
    uint32_t  v;

    for (i = 0; i < 256; i++) {
        v = i;

        for (k = 0; k < 8; k++) {
            v = (v >> 1) ^ ((v & 1) ? poly : 0);
        }

        table[0][i] = v;
    }

    for (i = 0; i < 256; i++) {
        for (k = 1; k < 8; k++) {
            v = table[k - 1][i];
            table[k][i] = (v >> 8) ^ table[0][v & 0xff];
        }
    }
}


static void
usher_crc64_table(uint64_t table[8][256], uint64_t poly)
{
    int       i, k;
    uint64_t  v;

    for (i = 0; i < 256; i++) {
        v = i;

        for (k = 0; k < 8; k++) {
            v = (v >> 1) ^ ((v & 1) ? poly : 0);
        }

        table[0][i] = v;
    }

    for (i = 0; i < 256; i++) {
        for (k = 1; k < 8; k++) {
            v = table[k - 1][i];
            table[k][i] = (v >> 8) ^ table[0][v & 0xff];
        }
    }
}


/* Eight bytes, the first one lowest. */

static uint64_t
usher_crc_load(const unsigned char *p)
{
    uint64_t  v;

    memcpy(&v, p, sizeof(v));

#if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
    v = __builtin_bswap64(v);
#endif

    return v;
}


static uint32_t
usher_crc32_slice(uint32_t table[8][256], uint32_t crc, const unsigned char *p,
    size_t len)
{
    uint64_t  v;

    while (len >= 8) {
        v = usher_crc_load(p) ^ crc;

        crc = table[7][v & 0xff]
              ^ table[6][(v >> 8) & 0xff]
              ^ table[5][(v >> 16) & 0xff]
              ^ table[4][(v >> 24) & 0xff]
              ^ table[3][(v >> 32) & 0xff]
              ^ table[2][(v >> 40) & 0xff]
              ^ table[1][(v >> 48) & 0xff]
              ^ table[0][v >> 56];

        p += 8;
        len -= 8;
    }

    while (len) {
        crc = (crc >> 8) ^ table[0][(crc ^ *p++) & 0xff];
        len--;
    }

    return crc;
}


static uint32_t
usher_crc32c_slice(uint32_t crc, const unsigned char *p, size_t len)
{
    return usher_crc32_slice(usher_crc32c_tables, crc, p, len);
}


static uint64_t
usher_crc64_slice(uint64_t crc, const unsigned char *p, size_t len)
{
    uint64_t  v;

    while (len >= 8) {
        v = usher_crc_load(p) ^ crc;

        crc = usher_crc64_tables[7][v & 0xff]
              ^ usher_crc64_tables[6][(v >> 8) & 0xff]
              ^ usher_crc64_tables[5][(v >> 16) & 0xff]
              ^ usher_crc64_tables[4][(v >> 24) & 0xff]
              ^ usher_crc64_tables[3][(v >> 32) & 0xff]
              ^ usher_crc64_tables[2][(v >> 40) & 0xff]
              ^ usher_crc64_tables[1][(v >> 48) & 0xff]
              ^ usher_crc64_tables[0][v >> 56];

        p += 8;
        len -= 8;
    }

    while (len) {
        crc = (crc >> 8) ^ usher_crc64_tables[0][(crc ^ *p++) & 0xff];
        len--;
    }

    return crc;
}


#if (USHER_CRC_X86)


/* x^n mod P, reflected. */

static uint64_t
usher_crc64_power(unsigned n)
{
    uint64_t  v;

    v = 1ULL << 63;

    while (n--) {
        v = (v >> 1) ^ ((v & 1) ? USHER_CRC64_POLY : 0);
    }

    return v;
}


__attribute__((target("sse4.2")))
static uint32_t
usher_crc32c_sse(uint32_t crc, const unsigned char *p, size_t len)
{
    uint64_t  v;

    v = crc;

    while (len >= 8) {
        v = _mm_crc32_u64(v, usher_crc_load(p));
        p += 8;
        len -= 8;
    }

    crc = (uint32_t) v;

    while (len) {
        crc = _mm_crc32_u8(crc, *p++);
        len--;
    }

    return crc;
}


#define usher_crc64_fold(x, k, y)                                             \
    _mm_xor_si128(y, _mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00),          \
                                   _mm_clmulepi64_si128(x, k, 0x11)))

#define usher_crc64_16(p)  _mm_loadu_si128((const __m128i *) (const void *) (p))


__attribute__((target("pclmul,sse2")))
static uint64_t
usher_crc64_clmul(uint64_t crc, const unsigned char *p, size_t len)
{
    __m128i        k, x0, x1, x2, x3;
    unsigned char  rest[16];

    if (len < 64) {
        return usher_crc64_slice(crc, p, len);
    }

    x0 = _mm_xor_si128(usher_crc64_16(p), _mm_cvtsi64_si128((int64_t) crc));
    x1 = usher_crc64_16(p + 16);
    x2 = usher_crc64_16(p + 32);
    x3 = usher_crc64_16(p + 48);

    p += 64;
    len -= 64;

    k = usher_crc64_16(usher_crc64_fold512);

    while (len >= 64) {
        x0 = usher_crc64_fold(x0, k, usher_crc64_16(p));
        x1 = usher_crc64_fold(x1, k, usher_crc64_16(p + 16));
        x2 = usher_crc64_fold(x2, k, usher_crc64_16(p + 32));
        x3 = usher_crc64_fold(x3, k, usher_crc64_16(p + 48));

        p += 64;
        len -= 64;
    }

    k = usher_crc64_16(usher_crc64_fold128);

    x0 = usher_crc64_fold(x0, k, x1);
    x0 = usher_crc64_fold(x0, k, x2);
    x0 = usher_crc64_fold(x0, k, x3);

    while (len >= 16) {
        x0 = usher_crc64_fold(x0, k, usher_crc64_16(p));
        p += 16;
        len -= 16;
    }

    _mm_storeu_si128((__m128i *) (void *) rest, x0);

    crc = usher_crc64_slice(0, rest, 16);

    return usher_crc64_slice(crc, p, len);
}


#endif
