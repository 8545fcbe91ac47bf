/*
 * unseal.c - what a secret is, for the tests: unseal <key file> <row>.
 *
 * Reads base64 from standard input and writes the secret as it is; exit code
 * 1 is a key file that is none, 2 and more the status of usher_secret_open
 * above it.
 */


#include <stdio.h>
#include <string.h>

#include "usher_secret.h"


int
main(int argc, char **argv)
{
    char                   text[USHER_SECRET_TEXT(USHER_SECRET_SEALED) + 1];
    char                   reason[256];
    size_t                 n;
    unsigned char          sealed[USHER_SECRET_TEXT(USHER_SECRET_SEALED)
                                  / 4 * 3];
    unsigned char          plain[USHER_SECRET_MAX];
    usher_secret_keys_t   *keys;
    usher_secret_status_e  status;

    if (argc != 3) {
        return 1;
    }

    keys = usher_secret_keys_read(argv[1], reason, sizeof(reason));
    if (keys == NULL) {
        fprintf(stderr, "unseal: %s\n", reason);
        return 1;
    }

    n = fread(text, 1, sizeof(text), stdin);

    if (usher_secret_parse(text, n, sealed, &n) != 0) {
        fprintf(stderr, "unseal: no base64\n");
        return 1;
    }

    status = usher_secret_open(keys, "secret", argv[2], sealed, n, plain, &n);

    usher_secret_keys_free(keys);

    if (status != USHER_SECRET_OK) {
        return 1 + (int) status;
    }

    fwrite(plain, 1, n, stdout);

    return fflush(stdout) != 0;
}
