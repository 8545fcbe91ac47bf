/*
 * usher_crc.c - CRC-32, CRC-32C and CRC-64 of any length, from any point.
 *
 * DESIGN
 *
 * All three are reflected: bit 0 of the first byte is the highest power.
 * Each has a slicing-by-8 form that runs anywhere; CRC-32C has the crc32
 * instruction beside it, CRC-64 and short CRC-32s a carry-less
 * multiplication.  A constructor builds the tables and the folding constants
 * from the polynomials and chooses by what the processor can do, so nothing
 * is checked or locked later: functions and tables are read-only from then
 * on.
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
 *
 * The text of a key is short and comes once per request, when no table is in
 * the first cache any more: up to 64 bytes a CRC-32 uses none.  Zeros before
 * a message change nothing, so it is taken from the end of whole blocks, and
 * 128 bits become 32 by two more folds and Barrett's reduction (Gopal et al.,
 * "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ", Intel 2009;
 * its constants are one bit longer instead of one power less).
 */


#include <string.h>

#include "usher_crc.h"


#define USHER_CRC32_POLY    0xedb88320U
#define USHER_CRC32C_POLY   0x82f63b78U
#define USHER_CRC64_POLY    0x95ac9329ac4bc9b5ULL

#define USHER_CRC32_MU      0x1f7011641ULL       /* x^64 / P, reflected */
#define USHER_CRC32_SHORT   64                   /* bytes; without tables */

#if (defined __x86_64__ && (defined __GNUC__ || defined __clang__))
#define USHER_CRC_X86       1
#include <immintrin.h>
#endif


typedef uint32_t (*usher_crc32_pt)(uint32_t crc, const unsigned char *p,
    size_t len);
typedef uint64_t (*usher_crc64_pt)(uint64_t crc, const unsigned char *p,
    size_t len);


static void usher_crc_init(void) __attribute__((constructor));
static void usher_crc32_table(uint32_t table[8][256], uint32_t poly);
static void usher_crc64_table(uint64_t table[8][256], uint64_t poly);
static uint64_t usher_crc_load(const unsigned char *p);
static uint32_t usher_crc32_slice(uint32_t table[8][256], uint32_t crc,
    const unsigned char *p, size_t len);
static uint32_t usher_crc32_any(uint32_t crc, const unsigned char *p,
    size_t len);
static uint32_t usher_crc32c_slice(uint32_t crc, const unsigned char *p,
    size_t len);
static uint64_t usher_crc64_slice(uint64_t crc, const unsigned char *p,
    size_t len);

#if (USHER_CRC_X86)
static uint64_t usher_crc32_power(unsigned n);
static uint64_t usher_crc64_power(unsigned n);
static uint32_t usher_crc32_clmul(uint32_t crc, const unsigned char *p,
    size_t len);
static uint32_t usher_crc32c_sse(uint32_t crc, const unsigned char *p,
    size_t len);
static uint64_t usher_crc64_clmul(uint64_t crc, const unsigned char *p,
    size_t len);
#endif


static uint32_t         usher_crc32_tables[8][256];
static uint32_t         usher_crc32c_tables[8][256];
static uint64_t         usher_crc64_tables[8][256];

static usher_crc32_pt   usher_crc32_run = usher_crc32_any;
static usher_crc32_pt   usher_crc32c_run = usher_crc32c_slice;
static usher_crc64_pt   usher_crc64_run = usher_crc64_slice;

#if (USHER_CRC_X86)
/* x^160 and x^96, x^64, and Barrett's: P and x^64 / P; of 33 bits, reflected */
static uint64_t         usher_crc32_fold128[2];
static uint64_t         usher_crc32_fold64[2];
static uint64_t         usher_crc32_barrett[2];

/* x^(D + 63) and x^(D - 1) mod P, reflected */
static uint64_t         usher_crc64_fold512[2];
static uint64_t         usher_crc64_fold128[2];
#endif


uint32_t
usher_crc32(uint32_t crc, const void *data, size_t len)
{
    return ~usher_crc32_run(~crc, data, len);
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

    usher_crc32_fold128[0] = usher_crc32_power(128 + 32);
    usher_crc32_fold128[1] = usher_crc32_power(128 - 32);
    usher_crc32_fold64[0] = usher_crc32_power(64);
    usher_crc32_barrett[0] = (uint64_t) USHER_CRC32_POLY << 1 | 1;
    usher_crc32_barrett[1] = USHER_CRC32_MU;

    usher_crc64_fold512[0] = usher_crc64_power(512 + 63);
    usher_crc64_fold512[1] = usher_crc64_power(512 - 1);
    usher_crc64_fold128[0] = usher_crc64_power(128 + 63);
    usher_crc64_fold128[1] = usher_crc64_power(128 - 1);

    __builtin_cpu_init();

    if (__builtin_cpu_supports("sse4.2")) {
        usher_crc32c_run = usher_crc32c_sse;
    }

    if (__builtin_cpu_supports("pclmul")) {
        usher_crc32_run = usher_crc32_clmul;
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
usher_crc32_any(uint32_t crc, const unsigned char *p, size_t len)
{
    return usher_crc32_slice(usher_crc32_tables, crc, p, len);
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


/* x^n mod P as 33 bits, reflected. */

static uint64_t
usher_crc32_power(unsigned n)
{
    uint32_t  v;

    v = 1U << 31;

    while (n--) {
        v = (v >> 1) ^ ((v & 1) ? USHER_CRC32_POLY : 0);
    }

    return (uint64_t) v << 1;
}


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


#define usher_crc_fold(x, k, y)                                             \
    _mm_xor_si128(y, _mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00),          \
                                   _mm_clmulepi64_si128(x, k, 0x11)))

#define usher_crc_16(p)  _mm_loadu_si128((const __m128i *) (const void *) (p))


__attribute__((target("pclmul,sse2")))
static uint32_t
usher_crc32_clmul(uint32_t crc, const unsigned char *p, size_t len)
{
    size_t         i;
    uint32_t       head;
    __m128i        k, low, x, y;
    unsigned char  block[USHER_CRC32_SHORT], *first;

    if (len < sizeof(uint32_t) || len > USHER_CRC32_SHORT) {
        return usher_crc32_any(crc, p, len);
    }

    memset(block, 0, USHER_CRC32_SHORT);

    first = block + USHER_CRC32_SHORT - len;
    memcpy(first, p, len);

    memcpy(&head, first, sizeof(uint32_t));
    head ^= crc;
    memcpy(first, &head, sizeof(uint32_t));

    k = usher_crc_16(usher_crc32_fold128);
    x = usher_crc_16(block);

    for (i = 16; i < USHER_CRC32_SHORT; i += 16) {
        x = usher_crc_fold(x, k, usher_crc_16(block + i));
    }

    low = _mm_set_epi32(0, 0, 0, -1);

    /* 128 bits to 96, to 64, to 32 */

    y = _mm_clmulepi64_si128(x, k, 0x10);
    x = _mm_xor_si128(_mm_srli_si128(x, 8), y);

    y = _mm_srli_si128(x, 4);
    x = _mm_clmulepi64_si128(_mm_and_si128(x, low),
                             usher_crc_16(usher_crc32_fold64), 0x00);
    x = _mm_xor_si128(x, y);

    k = usher_crc_16(usher_crc32_barrett);

    y = _mm_clmulepi64_si128(_mm_and_si128(x, low), k, 0x10);
    y = _mm_clmulepi64_si128(_mm_and_si128(y, low), k, 0x00);

    return (uint32_t) ((uint64_t) _mm_cvtsi128_si64(_mm_xor_si128(x, y)) >> 32);
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


__attribute__((target("pclmul,sse2")))
static uint64_t
usher_crc64_clmul(uint64_t crc, const unsigned char *p, size_t len)
{
    __m128i        k, x0, x1, x2, x3;
    unsigned char  rest[16];

    if (len < 64) {
        return usher_crc64_slice(crc, p, len);
    }

    x0 = _mm_xor_si128(usher_crc_16(p), _mm_cvtsi64_si128((int64_t) crc));
    x1 = usher_crc_16(p + 16);
    x2 = usher_crc_16(p + 32);
    x3 = usher_crc_16(p + 48);

    p += 64;
    len -= 64;

    k = usher_crc_16(usher_crc64_fold512);

    while (len >= 64) {
        x0 = usher_crc_fold(x0, k, usher_crc_16(p));
        x1 = usher_crc_fold(x1, k, usher_crc_16(p + 16));
        x2 = usher_crc_fold(x2, k, usher_crc_16(p + 32));
        x3 = usher_crc_fold(x3, k, usher_crc_16(p + 48));

        p += 64;
        len -= 64;
    }

    k = usher_crc_16(usher_crc64_fold128);

    x0 = usher_crc_fold(x0, k, x1);
    x0 = usher_crc_fold(x0, k, x2);
    x0 = usher_crc_fold(x0, k, x3);

    while (len >= 16) {
        x0 = usher_crc_fold(x0, k, usher_crc_16(p));
        p += 16;
        len -= 16;
    }

    _mm_storeu_si128((__m128i *) (void *) rest, x0);

    crc = usher_crc64_slice(0, rest, 16);

    return usher_crc64_slice(crc, p, len);
}


#endif
