/*
 * siphash.c - SipHash-2-4-128 against the vectors its authors published:
 * key 00 01 .. 0f, messages 00 01 02 ... of so many bytes.
 */


#include "usher_siphash.h"

#include "tap.h"


static const struct {
    size_t       len;
    const char  *hex;
} vectors[] = {
    { 0,  "a3817f04ba25a8e66df67214c7550293" },
    { 1,  "da87c1d86b99af44347659119b22fc45" },
    { 2,  "8177228da4a45dc7fca38bdef60affe4" },
    { 3,  "9c70b60c5267a94e5f33b6b02985ed51" },
    { 8,  "3b62a9ba6258f5610f83e264f31497b4" },
    { 15, "5493e99933b0a8117e08ec0f97cfc3d9" },
    { 63, "5150d1772f50834a503e069a973fbd7c" }
};


int
main(void)
{
    char           text[33];
    size_t         len, i, k;
    uint64_t       key[2], hash[2], split[2];
    unsigned       same;
    unsigned char  data[64];

    key[0] = 0x0706050403020100ULL;
    key[1] = 0x0f0e0d0c0b0a0908ULL;

    for (i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char) i;
    }

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        usher_siphash(key, -1, data, vectors[i].len, hash);

        for (k = 0; k < 16; k++) {
            sprintf(text + 2 * k, "%02x",
                    (unsigned) (hash[k / 8] >> k % 8 * 8) & 0xff);
        }

        ok(strcmp(text, vectors[i].hex) == 0, "vector of %zu bytes",
           vectors[i].len);
    }

    for (len = 1, same = 1; len < sizeof(data); len++) {
        usher_siphash(key, -1, data, len, hash);
        usher_siphash(key, data[0], data + 1, len - 1, split);
        same &= memcmp(hash, split, sizeof(hash)) == 0;
    }

    ok(same, "a prefix is hashed as if it stood before the data");

    return tap_done();
}
