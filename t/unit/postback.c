/*
 * postback.c - parameters of postbacks, and who signed them.
 *
 * HMAC is held against RFC 4231 and RFC 2202, INS against the openssl program
 * and sha_sign and digests against Perl's Digest::SHA.
 */


#include "usher_postback.h"

#include "tap.h"


static void check_form(void);
static void check_twice(void);
static void check_json(void);
static void check_find(void);
static void check_hmac(void);
static void check_encodings(void);
static void check_sha_sign(void);
static void check_ins(void);
static void check_digest(void);
static void check_parent(void);
static usher_postback_status_e form(const char *text);
static usher_postback_status_e json(const char *text);
static int is(usher_postback_field_e field, const char *value);
static usher_postback_status_e hmac(usher_postback_algorithm_e hash,
    int base64, const char *secret, const char *text);
static usher_postback_status_e sha_sign(const char *text);
static usher_postback_status_e ins(const char *text, const char *secret);


#define text_of(s)  { (const unsigned char *) s, sizeof(s) - 1 }
#define bytes(s)    ((const unsigned char *) (s))


static const usher_postback_map_t  map = { {
    text_of("subid"), text_of("tid"), text_of("a b"), text_of("amount"),
    { NULL, 0 }, text_of("cur"), text_of("cust"), text_of("tid")
} };

static usher_postback_t   got;
static unsigned char      room[4096];
static unsigned char      out[4096];
static size_t             out_len;


int
main(void)
{
    check_form();
    check_twice();
    check_json();
    check_find();
    check_hmac();
    check_encodings();
    check_sha_sign();
    check_ins();
    check_digest();
    check_parent();

    return tap_done();
}


static void
check_form(void)
{
    ok(form("x=1&subid=abc&tid=7&y") == USHER_POSTBACK_OK
       && is(USHER_POSTBACK_CLICK_ID, "abc"), "a parameter");
    ok(is(USHER_POSTBACK_TRANSACTION_ID, "7")
       && is(USHER_POSTBACK_COUPON, "7"), "one for two fields");
    ok(is(USHER_POSTBACK_AMOUNT, "") && is(USHER_POSTBACK_SALE_AMOUNT, "")
       && !(got.seen & 1 << USHER_POSTBACK_AMOUNT), "what is not there");
    ok(form("%73ubid=%41%2b+%2B&a+b=1&amount=") == USHER_POSTBACK_OK
       && is(USHER_POSTBACK_CLICK_ID, "A+ +"), "escapes and blanks");
    ok(is(USHER_POSTBACK_STATUS, "1"), "in names as well");
    ok(is(USHER_POSTBACK_AMOUNT, "") && got.seen & 1 << USHER_POSTBACK_AMOUNT,
       "empty is there");
    ok(form("subid=100%&amount=%zz%4") == USHER_POSTBACK_OK
       && is(USHER_POSTBACK_CLICK_ID, "100%")
       && is(USHER_POSTBACK_AMOUNT, "%zz%4"), "no digits: it stays");
    ok(form("subid=a=b") == USHER_POSTBACK_OK
       && is(USHER_POSTBACK_CLICK_ID, "a=b"), "the first = counts");
    ok(form("subid") == USHER_POSTBACK_OK
       && is(USHER_POSTBACK_CLICK_ID, "")
       && got.seen & 1 << USHER_POSTBACK_CLICK_ID, "without a value");
    ok(form("Subid=1&subi=2&subids=3&=4&&") == USHER_POSTBACK_OK
       && got.seen == 0, "names that are not its");
    ok(form("") == USHER_POSTBACK_OK && got.seen == 0, "nothing");
    ok(form("subid=a%00b") == USHER_POSTBACK_OK
       && got.values[USHER_POSTBACK_CLICK_ID].len == 3, "a NUL is a byte");
}


static void
check_twice(void)
{
    unsigned char  *p;

    ok(form("subid=1&subid=1") == USHER_POSTBACK_AMBIGUOUS, "twice the same");
    ok(form("subid=&subid=1") == USHER_POSTBACK_AMBIGUOUS, "empty first");
    ok(form("subid=1&sub%69d=2") == USHER_POSTBACK_AMBIGUOUS, "as an escape");
    ok(form("x=1&x=2") == USHER_POSTBACK_OK, "nobody's may");

    p = room;
    memset(&got, 0, sizeof(got));
    (void) usher_postback_form(&got, &map, bytes("subid=1"), 7, &p);
    ok(usher_postback_form(&got, &map, bytes("subid=1"), 7, &p)
       == USHER_POSTBACK_AMBIGUOUS, "in query and form");
    ok(json("{\"subid\":1,\"subid\":1}") == USHER_POSTBACK_AMBIGUOUS,
       "in an object");
    ok(json("{\"subid\":null,\"\\u0073ubid\":1}") == USHER_POSTBACK_AMBIGUOUS,
       "as its escape");
}


static void
check_json(void)
{
    ok(json("{\"subid\":\"a\\u00e9\",\"amount\":12.50,\"x\":{}}")
       == USHER_POSTBACK_OK && is(USHER_POSTBACK_CLICK_ID, "a\xc3\xa9"),
       "a string");
    ok(is(USHER_POSTBACK_AMOUNT, "12.50"), "a number as it was written");
    ok(json("{\"subid\":[\"a\",\"b\"],\"tid\":[7]}") == USHER_POSTBACK_OK
       && is(USHER_POSTBACK_CLICK_ID, "a")
       && is(USHER_POSTBACK_TRANSACTION_ID, "7"), "of a list the first");
    ok(json("{\"subid\":[],\"tid\":{\"a\":1},\"cur\":null,\"cust\":true}")
       == USHER_POSTBACK_OK && is(USHER_POSTBACK_CLICK_ID, "")
       && is(USHER_POSTBACK_TRANSACTION_ID, "")
       && is(USHER_POSTBACK_CURRENCY, "") && is(USHER_POSTBACK_CUSTOMER, ""),
       "what is no text");
    ok(json("{\"subid\":\"a\",}") == USHER_POSTBACK_MALFORMED, "no JSON");
    ok(json("[]") == USHER_POSTBACK_MALFORMED, "no object");
}


static void
check_find(void)
{
    unsigned i;

    static const struct {
        const char  *text;
        int          rc;
        const char  *value;
        const char  *rest;
    } list[] = {
        { "sig=1", 1, "1", "" },
        { "sig=1&a=2", 1, "1", "a=2" },
        { "a=2&sig=1", 1, "1", "a=2" },
        { "a=2&sig=%31&b=3", 1, "%31", "a=2&b=3" },
        { "a&s%69g", 1, "", "a" },
        { "&sig=1", 1, "1", "" },
        { "sig=1&", 1, "1", "" },
        { "&&sig=1&&", 1, "1", "&&&" },
        { "a=sig=1", 0, "", "a=sig=1" },
        { "", 0, "", "" },
        { "sig=1&sig=1", -1, "", "" }
    };

    static const usher_postback_text_t  name = text_of("sig");

    for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        usher_postback_text_t  value = { NULL, 0 }, pieces[2];
        const char  *text = list[i].text;
        size_t       n;

        ok(usher_postback_find(bytes(text), strlen(text), &name, &value,
                               pieces) == list[i].rc, "found in \"%s\"", text);

        if (list[i].rc < 0) {
            continue;
        }

        n = pieces[0].len;
        memcpy(out, pieces[0].data, n);
        memcpy(out + n, pieces[1].data, pieces[1].len);
        n += pieces[1].len;

        ok(n == strlen(list[i].rest) && memcmp(out, list[i].rest, n) == 0
           && value.len == strlen(list[i].value)
           && (value.len == 0
               || memcmp(value.data, list[i].value, value.len) == 0),
           "and taken out");
    }
}


#define DATA  "what do ya want for nothing?"

static void
check_hmac(void)
{
    ok(hmac(USHER_POSTBACK_SHA256, 0, "Jefe", DATA "&sig=5bdcc146bf60754e6a04"
            "2426089575c75a003f089d2739839dec58b964ec3843")
       == USHER_POSTBACK_OK, "RFC 4231, SHA-256");
    ok(hmac(USHER_POSTBACK_SHA512, 0, "Jefe", "sig=164B7A7BFCF819E2E395FBE73B"
            "56E0A387BD64222E831FD610270CD7EA2505549758BF75C05A994A6D034F65F8"
            "F0E6FDCAEAB1A34D4A6B4B636E070A38BCE737&" DATA)
       == USHER_POSTBACK_OK, "RFC 4231, SHA-512, in capitals, first");
    ok(hmac(USHER_POSTBACK_SHA1, 0, "Jefe",
            DATA "&sig=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
       == USHER_POSTBACK_OK, "RFC 2202, SHA-1");
    ok(hmac(USHER_POSTBACK_MD5, 0, "Jefe",
            DATA "&sig=750c783e6ab0b503eaa86e310a5db738")
       == USHER_POSTBACK_OK, "RFC 2202, MD5");
    ok(hmac(USHER_POSTBACK_MD5, 0, "jefe",
            DATA "&sig=750c783e6ab0b503eaa86e310a5db738")
       == USHER_POSTBACK_FORGED, "another secret");
    ok(hmac(USHER_POSTBACK_MD5, 0, "Jefe",
            DATA "&x=1&sig=750c783e6ab0b503eaa86e310a5db738")
       == USHER_POSTBACK_FORGED, "another query");
    ok(hmac(USHER_POSTBACK_SHA256, 0, "Jefe",
            DATA "&sig=750c783e6ab0b503eaa86e310a5db738")
       == USHER_POSTBACK_FORGED, "another algorithm");
    ok(hmac(USHER_POSTBACK_MD5, 0, "Jefe",
            DATA "&sig=750c783e6ab0b503eaa86e310a5db7")
       == USHER_POSTBACK_FORGED, "the beginning of it");
    ok(hmac(USHER_POSTBACK_MD5, 0, "Jefe", DATA "&sig=")
       == USHER_POSTBACK_FORGED, "an empty one");
    ok(hmac(USHER_POSTBACK_MD5, 0, "Jefe", DATA) == USHER_POSTBACK_UNSIGNED,
       "none");
    ok(hmac(USHER_POSTBACK_MD5, 0, "Jefe", "sig=1&sig=1")
       == USHER_POSTBACK_AMBIGUOUS, "two");
}


static void
check_encodings(void)
{
    size_t  i;
    char    text[1024];

    static const char  *same[] = {
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=",
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM",
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM%3D",
        "%57%39%7ABRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
    };

    static const char  *other[] = {
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEN=",
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTs!EM=",
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsO",
        "=", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    };

    for (i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        snprintf(text, sizeof(text), DATA "&sig=%s", same[i]);
        ok(hmac(USHER_POSTBACK_SHA256, 1, "Jefe", text) == USHER_POSTBACK_OK,
           "base64: %s", same[i]);
    }

    for (i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        snprintf(text, sizeof(text), DATA "&sig=%s", other[i]);
        ok(hmac(USHER_POSTBACK_SHA256, 1, "Jefe", text)
           == USHER_POSTBACK_FORGED, "not: %s", other[i]);
    }

    /* of both alphabets; by openssl */

    ok(hmac(USHER_POSTBACK_SHA256, 1, "k",
            "a=5&sig=jWMg3KRa+cMkCf2OGpB7A/RHLSXd6AlpYjDEgb6Soyg=")
       == USHER_POSTBACK_OK, "the standard alphabet, + as a blank");
    ok(hmac(USHER_POSTBACK_SHA256, 1, "k",
            "a=5&sig=jWMg3KRa%2bcMkCf2OGpB7A%2fRHLSXd6AlpYjDEgb6Soyg%3d")
       == USHER_POSTBACK_OK, "and escaped");
    ok(hmac(USHER_POSTBACK_SHA256, 1, "k",
            "a=5&sig=jWMg3KRa-cMkCf2OGpB7A_RHLSXd6AlpYjDEgb6Soyg")
       == USHER_POSTBACK_OK, "the alphabet of URLs");

    memset(text, 'a', sizeof(text) - 1);
    memcpy(text, "sig=", 4);
    text[sizeof(text) - 1] = '\0';
    ok(hmac(USHER_POSTBACK_SHA256, 1, "Jefe", text) == USHER_POSTBACK_FORGED,
       "a long one");
}


#define SIGN  "9C79C227B20DB57777D9F066DC0C55F16D56252F89649CAA845823F97463F" \
              "D7EAA3AD8392B7ACED3F1444853306044815F270E3877C1990B7F21397E70" \
              "57B088"
#define IPN   "event=on_payment&transaction_id=7001&Amount=29.90&"            \
              "buyer=J%C3%BCrgen+K.&empty=&zero=0"

static void
check_sha_sign(void)
{
    size_t  n;
    char    text[8192];

    ok(sha_sign(IPN "&sha_sign=" SIGN) == USHER_POSTBACK_OK, "Digistore24");
    ok(sha_sign("zero=0&sha_sign=" SIGN "&SHASIGN=y&Amount=29.90&"
                "transaction_id=7001&buyer=J%c3%bcrgen%20K.&event=on_payment")
       == USHER_POSTBACK_OK, "in any order; SHASIGN does not count");
    ok(sha_sign("zero=1&" IPN "&sha_sign=" SIGN) == USHER_POSTBACK_AMBIGUOUS,
       "a key twice");
    ok(sha_sign(IPN "&x=1&sha_sign=" SIGN) == USHER_POSTBACK_FORGED,
       "a key more");
    ok(sha_sign(IPN "&sha_sign=") == USHER_POSTBACK_FORGED, "empty");
    ok(sha_sign(IPN "&sha_sign=00" SIGN) == USHER_POSTBACK_FORGED, "too long");
    ok(sha_sign(IPN) == USHER_POSTBACK_UNSIGNED, "unsigned");
    ok(sha_sign("") == USHER_POSTBACK_UNSIGNED, "nothing");

    for (n = 0; n <= USHER_POSTBACK_LIST; n++) {
        snprintf(text + n * 6, 7, "%05u&", (unsigned) n);
    }

    ok(sha_sign(text) == USHER_POSTBACK_MALFORMED, "too many");
    text[6 * USHER_POSTBACK_LIST] = '\0';
    ok(sha_sign(text) == USHER_POSTBACK_UNSIGNED, "as many as may be");
}


#define INS    "C4xMVUwxb0eJR163fEOEZAlsmFwONki1CC2HED8MaIL5mWnpFUpOgw7/"     \
               "QfdYa4LuuNXimRC1GqE0AnwPXBUPM4pazootnkAwkANlZJmOqP4J1jE8"     \
               "b1fbX/ADeIgVku6erJKK3vqis6TeM/+lg8nvyC4d5l7P/oAH6gCNM7X/X+w="
#define IV     "AAECAwQFBgcICQoLDA0ODw=="
#define KEY    "INS-SECRET-KEY1"

static void
check_ins(void)
{
    ok(ins("{\"notification\":\"" INS "\",\"iv\":\"" IV "\"}", KEY)
       == USHER_POSTBACK_OK && out_len == 124 && out[0] == '{'
       && out[123] == '}', "ClickBank");

    out[out_len] = '\0';
    ok(json((char *) out) == USHER_POSTBACK_OK, "and it is JSON");

    ok(ins("{\"notification\":\"" INS "\",\"iv\":\"" IV "\"}", "other")
       == USHER_POSTBACK_FORGED, "another secret");
    ok(ins("{\"iv\":\"AAECAwQFBgcICQoLDA0OD\\u0077==\",\"x\":1,"
           "\"notification\":\"" INS "\"}", KEY) == USHER_POSTBACK_OK,
       "in any order, escaped");
    ok(ins("{\"notification\":\"" INS "\"}", KEY) == USHER_POSTBACK_UNSIGNED,
       "no iv");
    ok(ins("{\"iv\":\"" IV "\"}", KEY) == USHER_POSTBACK_UNSIGNED, "only it");
    ok(ins("{\"notification\":\"" INS "\",\"iv\":\"AAEC\"}", KEY)
       == USHER_POSTBACK_UNSIGNED, "a short one");
    ok(ins("{\"notification\":\"AAEC\",\"iv\":\"" IV "\"}", KEY)
       == USHER_POSTBACK_UNSIGNED, "no whole block");
    ok(ins("{\"notification\":\"\",\"iv\":\"" IV "\"}", KEY)
       == USHER_POSTBACK_UNSIGNED, "no block");
    ok(ins("{\"notification\":\"" INS "\",\"iv\":\"" IV "\",\"iv\":\"" IV
           "\"}", KEY) == USHER_POSTBACK_UNSIGNED, "two");
    ok(ins("{\"notification\":7,\"iv\":\"" IV "\"}", KEY)
       == USHER_POSTBACK_UNSIGNED, "a number");
    ok(ins("notification=x&iv=y", KEY) == USHER_POSTBACK_MALFORMED, "no JSON");
}


static void
check_digest(void)
{
    unsigned       i;
    unsigned char  digest[USHER_POSTBACK_DIGEST], other[USHER_POSTBACK_DIGEST];

    static const usher_postback_t  one = { {
        text_of("kclick"), text_of("t1"), text_of("approved"),
        text_of("12.30"), text_of("100"), text_of("EUR"), { NULL, 0 },
        text_of("SAVE"), text_of("2026-11-28"), text_of("e7"),
        text_of("s9")
    }, 0 };

    static const unsigned char  want[] =
        "\x9e\x6f\xca\xd8\x7e\x7b\x7e\xd2\x17\x1c\xb6\x3d\xab\xa6\xb7\x09"
        "\x5c\x33\xe8\xa2\x8a\x2b\xd8\xd1\xad\xce\x07\x91\xd2\xae\x96\x32";

    usher_postback_t  two;

    ok(usher_postback_digest(&one, "postback", digest) == 0
       && memcmp(digest, want, sizeof(digest)) == 0, "a digest");
    ok(usher_postback_digest(&one, "pixel", other) == 0
       && memcmp(digest, other, sizeof(digest)) != 0, "of another origin");

    for (i = 0; i < USHER_POSTBACK_SAID; i++) {
        two = one;
        two.values[i].data = bytes("x");
        two.values[i].len = 1;
        ok(usher_postback_digest(&two, "postback", other) == 0
           && memcmp(digest, other, sizeof(digest)) != 0, "of another %s",
           usher_postback_names[i]);
    }

    /* what moves from one to the next */

    two = one;
    two.values[USHER_POSTBACK_STATUS].len--;
    two.values[USHER_POSTBACK_AMOUNT].data = bytes("d12.30");
    two.values[USHER_POSTBACK_AMOUNT].len = 6;
    ok(usher_postback_digest(&two, "postback", other) == 0
       && memcmp(digest, other, sizeof(digest)) != 0, "of another cut");

    ok(usher_postback_is(bytes("abc"), 3, bytes(
           "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23"
           "\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad")),
       "FIPS 180-2: abc");
    ok(!usher_postback_is(bytes("abd"), 3, bytes(
           "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23"
           "\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad")),
       "and nothing else");
}


static usher_postback_status_e
form(const char *text)
{
    unsigned char  *p;

    p = room;
    memset(&got, 0, sizeof(got));

    return usher_postback_form(&got, &map, bytes(text), strlen(text), &p);
}


static usher_postback_status_e
json(const char *text)
{
    unsigned char  *p;

    p = room;
    memset(&got, 0, sizeof(got));

    return usher_postback_json(&got, &map, bytes(text), strlen(text), &p);
}


static int
is(usher_postback_field_e field, const char *value)
{
    return got.values[field].len == strlen(value)
           && (*value == '\0'
               || memcmp(got.values[field].data, value, strlen(value)) == 0);
}


static usher_postback_status_e
hmac(usher_postback_algorithm_e hash, int base64, const char *secret,
    const char *text)
{
    static const usher_postback_text_t  name = text_of("sig");

    return usher_postback_hmac(hash, &name, base64, bytes(text), strlen(text),
                               bytes(secret), strlen(secret));
}


static usher_postback_status_e
sha_sign(const char *text)
{
    return usher_postback_sha_sign(bytes(text), strlen(text), bytes("geheim"),
                                   6, room);
}


static usher_postback_status_e
ins(const char *text, const char *secret)
{
    out_len = 0;

    return usher_postback_ins(bytes(text), strlen(text), bytes(secret),
                              strlen(secret), out, &out_len);
}


static void
check_parent(void)
{
    usher_postback_t  said = { {
        [USHER_POSTBACK_TRANSACTION_ID] = text_of("t2"),
        [USHER_POSTBACK_STATUS] = text_of("refund")
    }, 0 };

    usher_postback_text_t  *values = said.values;

    static const unsigned char  back[] = "chargeback|refund";

    usher_postback_parent(&said, back, sizeof(back) - 1);
    ok(values[USHER_POSTBACK_TRANSACTION_ID].len == 2
       && values[USHER_POSTBACK_EVENT_ID].len == 0, "no other transaction");

    values[USHER_POSTBACK_PARENT_ID] = (usher_postback_text_t) text_of("t-1");
    values[USHER_POSTBACK_STATUS] = (usher_postback_text_t) text_of("payment");
    usher_postback_parent(&said, back, sizeof(back) - 1);
    usher_postback_parent(&said, back, 0);
    ok(values[USHER_POSTBACK_TRANSACTION_ID].len == 2, "a payment");

    values[USHER_POSTBACK_STATUS] = (usher_postback_text_t) text_of("ReFund");
    usher_postback_parent(&said, back, sizeof(back) - 1);
    ok(values[USHER_POSTBACK_TRANSACTION_ID].len == 3
       && memcmp(values[USHER_POSTBACK_TRANSACTION_ID].data, "t-1", 3) == 0,
       "said of the one it takes back");
    ok(values[USHER_POSTBACK_EVENT_ID].len == 2
       && memcmp(values[USHER_POSTBACK_EVENT_ID].data, "t2", 2) == 0,
       "its own id is the message's");

    values[USHER_POSTBACK_EVENT_ID] = (usher_postback_text_t) text_of("e10");
    usher_postback_parent(&said, back, sizeof(back) - 1);
    ok(values[USHER_POSTBACK_EVENT_ID].len == 3, "unless it has one");
}
