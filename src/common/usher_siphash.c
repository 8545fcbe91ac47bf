/*
 * usher_siphash.c - SipHash-2-4-128, after Aumasson and Bernstein.
 *
 * The prefix is hashed as if it stood before the data, without copying the
 * data: bytes are shifted into the word that is being filled.
 */


#include <string.h>

#include "usher_siphash.h"


#define usher_rotl(x, n)  (((x) << (n)) | ((x) >> (64 - (n))))


typedef struct {
    uint64_t  v0, v1, v2, v3;
} usher_siphash_t;


static inline void usher_siphash_round(usher_siphash_t *s);
static inline void usher_siphash_word(usher_siphash_t *s, uint64_t m);
static inline uint64_t usher_siphash_load(const unsigned char *p);


static inline void
usher_siphash_round(usher_siphash_t *s)
{
    s->v0 += s->v1;
    s->v1 = usher_rotl(s->v1, 13) ^ s->v0;
    s->v0 = usher_rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = usher_rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = usher_rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = usher_rotl(s->v1, 17) ^ s->v2;
    s->v2 = usher_rotl(s->v2, 32);
}


static inline void
usher_siphash_word(usher_siphash_t *s, uint64_t m)
{
    s->v3 ^= m;
    usher_siphash_round(s);
    usher_siphash_round(s);
    s->v0 ^= m;
}


static inline uint64_t
usher_siphash_load(const unsigned char *p)
{
    return (uint64_t) p[0] | (uint64_t) p[1] << 8 | (uint64_t) p[2] << 16
           | (uint64_t) p[3] << 24 | (uint64_t) p[4] << 32
           | (uint64_t) p[5] << 40 | (uint64_t) p[6] << 48
           | (uint64_t) p[7] << 56;
}


void
usher_siphash(const uint64_t key[2], int prefix, const void *data, size_t len,
    uint64_t hash[2])
{
    size_t                total;
    uint64_t              m, w;
    unsigned              shift;
    usher_siphash_t       s;
    const unsigned char  *p, *end;

    s.v0 = 0x736f6d6570736575ULL ^ key[0];
    s.v1 = 0x646f72616e646f6dULL ^ key[1] ^ 0xee;
    s.v2 = 0x6c7967656e657261ULL ^ key[0];
    s.v3 = 0x7465646279746573ULL ^ key[1];

    p = data;
    end = p + (len & ~(size_t) 7);
    m = 0;
    shift = 0;
    total = len;

    if (prefix >= 0) {
        m = (unsigned char) prefix;
        shift = 8;
        total++;
    }

    for ( /* void */ ; p < end; p += 8) {
        w = usher_siphash_load(p);
        usher_siphash_word(&s, m | w << shift);
        m = shift ? w >> (64 - shift) : 0;
    }

    for (end += len & 7; p < end; p++) {
        m |= (uint64_t) *p << shift;
        shift += 8;

        if (shift == 64) {
            usher_siphash_word(&s, m);
            m = 0;
            shift = 0;
        }
    }

    usher_siphash_word(&s, m | (uint64_t) total << 56);

    s.v2 ^= 0xee;
    usher_siphash_round(&s);
    usher_siphash_round(&s);
    usher_siphash_round(&s);
    usher_siphash_round(&s);
    hash[0] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;

    s.v1 ^= 0xdd;
    usher_siphash_round(&s);
    usher_siphash_round(&s);
    usher_siphash_round(&s);
    usher_siphash_round(&s);
    hash[1] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
