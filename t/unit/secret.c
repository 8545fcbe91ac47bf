/*
 * secret.c - AES-256-GCM against NIST's vectors, the form of a ciphertext and
 * what it does not open for, and the key file.
 */


#include "../../src/common/usher_secret.c"

#include "tap.h"


#define K1  "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define K2  "/////////////////////////////////////////////w=="
#define K3  "//////////////////////////////////////////8="


/*
 * gcmEncryptExtIV256.rsp of NIST's CAVP, each the first of its lengths, and
 * test case 16 of the submission of GCM to NIST.
 */

static const struct {
    const char  *key;
    const char  *nonce;
    const char  *aad;
    const char  *plain;
    const char  *sealed;
    const char  *tag;
} vectors[] = {
    { "b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4",
      "516c33929df5a3284ff463d7", "", "", "",
      "bdc1ac884d332457a1d2664f168c76f0" },

    { "886cff5f3e6b8d0e1ad0a38fcdb26de97e8acbe79f6bed66959a598fa5047d65",
      "3a8efa1cd74bbab5448f9945", "519fee519d25c7a304d6c6aa1897ee1eb8c59655",
      "", "", "f6d47505ec96c98a42dc3ae719877b87" },

    { "31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22",
      "0d18e06c7c725ac9e362e1ce", "", "2db5168e932556f8089a0622981d017d",
      "fa4362189661d163fcd6a56d8bf0405a", "d636ac1bbedd5cc3ee727dc2ab4a9489" },

    { "92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b",
      "ac93a1a6145299bde902f21a", "1e0889016f67601c8ebea4943bc23ad6",
      "2d71bcfa914e4ac045b2aa60955fad24", "8995ae2e6df3dbf96fac7b7137bae67f",
      "eca5aa77d51d4a0a14d9c51e1da474ab" },

    { "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
      "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
      "76fc6ece0f4e1768cddf8853bb2d551b" }
};


static void gcm(void);
static void form(void);
static void tamper(void);
static void text(void);
static void lines(void);
static void file(void);
static size_t hex(const char *text, unsigned char *out);
static usher_secret_keys_t *parse(const char *text);
static int opens(const usher_secret_keys_t *keys, const char *table,
    const char *row, const unsigned char *data, size_t len);
static const char *wrong(const char *text);
static const char *refused(const char *name);


int
main(void)
{
    gcm();
    form();
    tamper();
    text();
    lines();
    file();

    return tap_done();
}


static void
gcm(void)
{
    size_t                i, n;
    unsigned char         nonce[12], aad[32], plain[64], sealed[64], tag[16];
    unsigned char         out[64], made[16];
    struct iovec          parts[3];
    usher_secret_keys_t  *keys;

    keys = parse("7 " K1);

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        hex(vectors[i].key, keys->key[7]);
        hex(vectors[i].nonce, nonce);
        hex(vectors[i].sealed, sealed);
        hex(vectors[i].tag, tag);
        n = hex(vectors[i].plain, plain);

        /* in three pieces, the last of which is empty */

        parts[0].iov_base = aad;
        parts[0].iov_len = hex(vectors[i].aad, aad) / 2;
        parts[1].iov_base = aad + parts[0].iov_len;
        parts[1].iov_len = strlen(vectors[i].aad) / 2 - parts[0].iov_len;
        parts[2].iov_base = aad;
        parts[2].iov_len = 0;

        ok(usher_secret_gcm(keys, 1, 7, nonce, parts, plain, n, out, made)
           == USHER_SECRET_OK
           && memcmp(out, sealed, n) == 0 && memcmp(made, tag, 16) == 0,
           "vector %zu: sealed", i);
        ok(usher_secret_gcm(keys, 0, 7, nonce, parts, sealed, n, out, tag)
           == USHER_SECRET_OK && memcmp(out, plain, n) == 0,
           "vector %zu: opened", i);
    }

    usher_secret_keys_free(keys);
}


static void
form(void)
{
    size_t                n, len;
    unsigned char         sealed[USHER_SECRET_SEALED + 1], again[64];
    unsigned char         plain[USHER_SECRET_MAX + 1], out[USHER_SECRET_MAX];
    usher_secret_keys_t  *keys, *both, *other;

    keys = parse("5 " K1);
    both = parse("6 " K3 "\n5 " K1 "\n");
    other = parse("6 " K3);

    tap_fill(plain, sizeof(plain), 1);

    len = usher_secret_seal(keys, "secret", "network/acme/awin", plain, 20,
                            sealed);
    ok(len == 20 + USHER_SECRET_OVERHEAD && len == 50, "30 bytes come on top");
    ok(sealed[0] == 1 && sealed[1] == 5, "version and key id stand first");
    ok(memmem(sealed, len, plain, 8) == NULL, "and nothing that can be read");

    ok(usher_secret_open(keys, "secret", "network/acme/awin", sealed, len, out,
                         &n) == USHER_SECRET_OK
       && n == 20 && memcmp(out, plain, 20) == 0, "it opens as it was");
    ok(opens(both, "secret", "network/acme/awin", sealed, len)
       == USHER_SECRET_OK, "by a key that is not the first any more");
    ok(opens(other, "secret", "network/acme/awin", sealed, len)
       == USHER_SECRET_UNKNOWN, "a key that is not there is told");

    usher_secret_seal(keys, "secret", "network/acme/awin", plain, 20, again);
    ok(memcmp(sealed + 2, again + 2, 12) != 0, "each has a nonce of its own");

    ok(opens(keys, "secret", "network/acme/cj", sealed, len)
       == USHER_SECRET_CORRUPT, "not for another row");
    ok(opens(keys, "account", "network/acme/awin", sealed, len)
       == USHER_SECRET_CORRUPT, "nor for another table");
    ok(opens(keys, "secretn", "etwork/acme/awin", sealed, len)
       == USHER_SECRET_CORRUPT, "nor where one ends and the other begins");

    len = usher_secret_seal(keys, "t", "r", plain, USHER_SECRET_MAX, sealed);
    ok(len == USHER_SECRET_SEALED
       && usher_secret_open(keys, "t", "r", sealed, len, out, &n)
          == USHER_SECRET_OK
       && n == USHER_SECRET_MAX && memcmp(out, plain, n) == 0, "the longest");
    ok(opens(keys, "t", "r", sealed, len + 1) == USHER_SECRET_SIZE,
       "one that is longer is none");
    ok(usher_secret_seal(keys, "t", "r", plain, sizeof(plain), sealed) == 0,
       "and is not made");
    ok(usher_secret_seal(keys, "t", "r", plain, 0, sealed) == 0,
       "nor is an empty one");
    ok(opens(keys, "t", "r", sealed, USHER_SECRET_OVERHEAD)
       == USHER_SECRET_SIZE, "which opens as little");

    usher_secret_keys_free(keys);
    usher_secret_keys_free(both);
    usher_secret_keys_free(other);
}


static void
tamper(void)
{
    int                    bad, bit;
    size_t                 i, n, len;
    unsigned char          sealed[64], out[32];
    usher_secret_keys_t   *keys;
    usher_secret_status_e  expected;

    /* the same key by two ids: the id itself is authenticated */

    keys = parse("5 " K1 "\n4 " K1);
    len = usher_secret_seal(keys, "t", "r", (unsigned char *) "a secret", 8,
                            sealed);
    bad = 0;

    for (i = 0; i < len; i++) {
        for (bit = 0; bit < 8; bit++) {
            sealed[i] ^= 1 << bit;

            expected = (i == 0) ? USHER_SECRET_FOREIGN
                     : (i == 1 && bit > 0) ? USHER_SECRET_UNKNOWN
                     : USHER_SECRET_CORRUPT;

            bad += opens(keys, "t", "r", sealed, len) != (int) expected;
            sealed[i] ^= 1 << bit;
        }
    }

    ok(bad == 0, "no bit of it can be changed");

    for (i = 0, bad = 0; i < len; i++) {
        bad += opens(keys, "t", "r", sealed, i) == USHER_SECRET_OK;
    }

    ok(bad == 0, "nor its end cut off");

    memset(out, 'x', sizeof(out));
    sealed[len - 1] ^= 1;
    ok(usher_secret_open(keys, "t", "r", sealed, len, out, &n)
       == USHER_SECRET_CORRUPT && memcmp(out, "\0\0\0\0\0\0\0\0x", 9) == 0,
       "and nothing of it is given away then");

    usher_secret_keys_free(keys);
}


static void
text(void)
{
    int             bad;
    char            as[USHER_SECRET_TEXT(64) + 1];
    size_t          i, n, len;
    unsigned char   data[64], out[USHER_SECRET_TEXT(64) / 4 * 3];

    tap_fill(data, sizeof(data), 2);

    for (i = 1, bad = 0; i <= sizeof(data); i++) {
        len = usher_secret_text(data, i, as);
        bad += len != USHER_SECRET_TEXT(i) || strlen(as) != len
               || usher_secret_parse(as, len, out, &n) != 0
               || n != i || memcmp(out, data, i) != 0;
    }

    ok(bad == 0, "text and back, of each length");

    bad = 0;

#define parses(s)  (usher_secret_parse(s, strlen(s), out, &n) == 0)

    ok(parses("QQ==") && n == 1 && out[0] == 'A', "one byte");
    ok(!parses("") && !parses("Q") && !parses("QUJ") && !parses("QQ="),
       "what is no multiple of four");
    ok(!parses("QR==") && !parses("QUI/QUJ="), "bits that are not zero");
    ok(!parses(" QUI") && !parses("QUJ\n") && !parses("QUJD    "), "blanks");
    ok(!parses("====") && !parses("Q===") && !parses("QQ==QUJD")
       && !parses("Q=JD") && !parses("=UJD"), "padding elsewhere");
    ok(!parses("QU-D") && !parses("QU_D") && !parses("QU\xff" "D"),
       "other alphabets");
}


static void
lines(void)
{
    usher_secret_keys_t  *keys;

    keys = parse("# two keys\n\n  12 " K1 " \r\n\t# older:\n0\t" K3);
    ok(keys != NULL && usher_secret_keys_current(keys) == 12,
       "the first is the one for what is new");
    ok(keys != NULL && keys->known[0] && keys->key[0][31] == 0xff
       && keys->key[12][31] == 0x1f, "comments and blanks are fine");
    usher_secret_keys_free(keys);

    ok(strcmp(wrong(""), "0 there is no key in it") == 0, "an empty file");
    ok(strcmp(wrong("# " K1), "0 there is no key in it") == 0,
       "a file of comments");
    ok(strncmp(wrong("1 " K1 "\n256 " K3), "2 it does not begin", 19) == 0,
       "an id too large");
    ok(strncmp(wrong("-1 " K1), "1 it does not begin", 19) == 0, "below 0");
    ok(strncmp(wrong("01 " K1), "1 it does not begin", 19) == 0, "odd");
    ok(strncmp(wrong(K1), "1 it does not begin", 19) == 0, "none");
    ok(strncmp(wrong("1" K1), "1 it does not begin", 19) == 0,
       "nothing between");
    ok(strncmp(wrong("\n1 " K1 "\n\n1 " K3), "4 there is a key of", 19) == 0,
       "an id that is there twice");
    ok(strncmp(wrong("1"), "1 the key is not 32 bytes", 25) == 0, "no key");
    ok(strncmp(wrong("1 " K2), "1 the key is not 32 bytes", 25) == 0,
       "a key too long");
    ok(strncmp(wrong("1 " K1 " x"), "1 the key is not 32 bytes", 25) == 0,
       "something behind it");
    ok(strncmp(wrong("1 AAEC"), "1 the key is not 32 bytes", 25) == 0,
       "a key too short");
}


static void
file(void)
{
    int                   fd;
    char                  name[] = "/tmp/usher-secret-XXXXXX";
    char                  reason[256];
    const char           *data = "3 " K1 "\n";
    usher_secret_keys_t  *keys;

    fd = mkstemp(name);

    if (fd == -1 || write(fd, data, strlen(data)) == -1) {
        abort();
    }

    keys = usher_secret_keys_read(name, reason, sizeof(reason));
    ok(keys != NULL && usher_secret_keys_current(keys) == 3, "a key file");
    usher_secret_keys_free(keys);

    (void) fchmod(fd, 0640);
    ok(strstr(refused(name), "has mode 0640: only its owner") != NULL,
       "not one that a group can read");
    (void) fchmod(fd, 0602);
    ok(strstr(refused(name), "has mode 0602: only its owner") != NULL,
       "or that others can write");
    (void) fchmod(fd, 0400);
    ok(refused(name)[0] == '\0', "its owner need not");

    if (write(fd, "4 x\n", 4) == -1) {
        abort();
    }

    ok(strstr(refused(name), ":2: the key is not 32 bytes") != NULL,
       "what is wrong is told by file and line");

    if (ftruncate(fd, USHER_SECRET_FILE_MAX) == -1) {
        abort();
    }

    ok(strstr(refused(name), "is too long") != NULL, "a file that is none");

    unlink(name);
    close(fd);

    ok(strstr(refused(name), "No such file") != NULL, "one that is not there");
    ok(strstr(refused("/"), "has mode") != NULL, "a directory");
}


static size_t
hex(const char *text, unsigned char *out)
{
    size_t    n;
    unsigned  byte;

    for (n = 0; sscanf(text + 2 * n, "%2x", &byte) == 1; n++) {
        out[n] = (unsigned char) byte;
    }

    return n;
}


/* On the heap without a NUL, so that a sanitizer sees a read too far. */

static usher_secret_keys_t *
parse(const char *text)
{
    char                 *copy;
    unsigned              line;
    const char           *reason;
    usher_secret_keys_t  *keys;

    copy = malloc(strlen(text) + 1);
    if (copy == NULL) {
        abort();
    }

    memcpy(copy, text, strlen(text));
    keys = usher_secret_keys_parse(copy, strlen(text), &line, &reason);
    free(copy);

    return keys;
}


/* The status; what opened is forgotten. */

static int
opens(const usher_secret_keys_t *keys, const char *table, const char *row,
    const unsigned char *data, size_t len)
{
    size_t         n;
    unsigned char  out[USHER_SECRET_SEALED];

    return (int) usher_secret_open(keys, table, row, data, len, out, &n);
}


/* "<line> <reason>" */

static const char *
wrong(const char *text)
{
    unsigned     line;
    const char  *reason;
    static char  said[256];

    if (usher_secret_keys_parse(text, strlen(text), &line, &reason) != NULL) {
        return "";
    }

    snprintf(said, sizeof(said), "%u %s", line, reason);

    return said;
}


static const char *
refused(const char *name)
{
    static char           reason[256];
    usher_secret_keys_t  *keys;

    keys = usher_secret_keys_read(name, reason, sizeof(reason));

    if (keys != NULL) {
        usher_secret_keys_free(keys);
        return "";
    }

    return reason;
}
