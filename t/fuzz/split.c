/*
 * split.c - the parser of URLs as a filter, for t/link_url.t.
 *
 * Reads records of two native numbers (lengths of 4 bytes) and as many bytes
 * of a URL and of a value.  Writes a line for each: why the URL is refused;
 * or ok, host, port, query, fragment, and the URL with u=value added.
 */


#include <stdio.h>
#include <stdlib.h>

#include "usher_url.h"


#define SPLIT_MAX  2048


static void split_part(const unsigned char *text,
    const usher_url_part_t *part);
static int split_add(const unsigned char *text, size_t len,
    const unsigned char *data, size_t size);


int
main(void)
{
    usher_url_t           url;
    unsigned int          len[2];
    usher_url_status_e    rc;
    static unsigned char  text[SPLIT_MAX], value[SPLIT_MAX];

    while (fread(len, sizeof(len), 1, stdin) == 1) {

        if (len[0] > SPLIT_MAX || len[1] > SPLIT_MAX
            || fread(text, 1, len[0], stdin) != len[0]
            || fread(value, 1, len[1], stdin) != len[1])
        {
            fprintf(stderr, "split: a broken record\n");
            return 1;
        }

        rc = usher_url_parse(text, len[0], SPLIT_MAX, &url);
        printf("%s", usher_url_reason(rc));

        if (rc == USHER_URL_OK) {
            split_part(text, &url.host);
            printf("\t%u", url.port);
            split_part(text, &url.query);
            split_part(text, &url.fragment);

            if (split_add(text, len[0], value, len[1]) == -1) {
                fprintf(stderr, "split: too little room\n");
                return 1;
            }
        }

        putchar('\n');
    }

    return fflush(stdout) != 0;
}


static void
split_part(const unsigned char *text, const usher_url_part_t *part)
{
    putchar('\t');
    fwrite(text + part->at, 1, part->len, stdout);
}


static int
split_add(const unsigned char *text, size_t len, const unsigned char *data,
    size_t size)
{
    unsigned char        *end;
    usher_url_text_t      url, name, value;
    static unsigned char  out[4 * SPLIT_MAX + 3];

    url.data = text;
    url.len = len;
    name.data = (const unsigned char *) "u";
    name.len = 1;
    value.data = data;
    value.len = size;

    end = usher_url_add(out, out + sizeof(out), &url, &name, &value);
    if (end == NULL) {
        return -1;
    }

    putchar('\t');
    fwrite(out, 1, (size_t) (end - out), stdout);

    return 0;
}
