/*
 * macro.c - any bytes as a target with any values; and as a compiled form.
 *
 * Of the input, so many bytes as its first byte says are the value of each
 * macro, and the rest is the target.
 */


#include <stdlib.h>
#include <string.h>

#include "usher_macro.h"

#include "fuzz.h"


static void expand(const unsigned char *code, size_t size,
    const unsigned char *text, size_t len, const usher_url_text_t *values);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int               i;
    size_t            n, at, len;
    unsigned char    *text, *code, out[64], *end;
    usher_url_text_t  values[USHER_MACROS_N];

    static const char  base[] = "https://a.example/{sub1}";

    if (size < 1) {
        return 0;
    }

    n = data[0] < size ? data[0] : size - 1;

    for (i = 0; i < USHER_MACROS_N; i++) {
        values[i].data = data + 1;
        values[i].len = n;
    }

    /* random bytes are rarely a URL: half of them stand behind one */

    len = size - 1 - n;
    text = malloc(sizeof(base) + len);
    must(text != NULL);

    at = data[0] & 1 ? sizeof(base) - 1 : 0;
    memcpy(text, base, at);
    memcpy(text + at, data + 1 + n, len);
    len += at;

    n = usher_macro_compiled_max(len);
    code = malloc(n);
    must(code != NULL);

    switch (usher_macro_compile(code, &n, text, len, &at)) {

    case USHER_MACRO_OK:
        must(n <= usher_macro_compiled_max(len));
        expand(code, n, text, len, values);
        break;

    case USHER_MACRO_ROOM:
        must(0);
        break;

    default:
        must(at <= len && n == usher_macro_compiled_max(len));
    }

    free(code);
    free(text);

    /* a form that was not compiled: nothing outside of it, nor of out */

    end = usher_macro_expand(out, out + sizeof(out), data, size, values);
    must(end == NULL
         || (size_t) (end - out) <= usher_macro_max(data, size, values));
    (void) usher_macro_used(data, size);

    return 0;
}


static void
expand(const unsigned char *code, size_t size, const unsigned char *text,
    size_t len, const usher_url_text_t *values)
{
    size_t                n, max;
    usher_url_t           url, base;
    unsigned char        *out, *end;
    const unsigned char  *brace;

    max = usher_macro_max(code, size, values);
    out = malloc(max);
    must(out != NULL);

    end = usher_macro_expand(out, out + max, code, size, values);
    must(end != NULL);
    n = (size_t) (end - out);
    free(out);

    /* in the room that it took, and not in less */

    out = malloc(n);
    must(out != NULL);
    must(usher_macro_expand(out, out + n, code, size, values) == out + n);

    /* it is a URL, of the host that the text has */

    must(usher_url_parse(out, n, n, &url) == USHER_URL_OK);

    brace = memchr(text, '{', len);
    must(usher_url_parse(text, brace ? (size_t) (brace - text) : len, len,
                         &base) == USHER_URL_OK);
    must(base.host.len == url.host.len && base.port == url.port);
    must(memcmp(out, text, base.host.at + base.host.len) == 0);

    must(usher_macro_expand(out, out + n - 1, code, size, values) == NULL);
    must(brace || (n == len && usher_macro_used(code, size) == 0));

    free(out);
}
