#include "stream/digest.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/mem.h"
#include "stream/filter_stage.h"

typedef struct DigestState {
    EVP_MD_CTX *ctx;
    uint8_t *out;
} DigestState;

void sha256(const void *data, size_t len, uint8_t digest[SHA256_BYTES])
{
    /* It fails only where OpenSSL has no SHA-256 or no memory: then nothing here can go on. */
    if (EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

void sha256_hex(const uint8_t digest[SHA256_BYTES], char out[SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[2 * SHA256_BYTES] = '\0';
}

static bool digest_write(void *state, Filter *next, const void *data, size_t len, Error *err)
{
    DigestState *s = state;
    if (EVP_DigestUpdate(s->ctx, data, len) != 1)
        return error_set(err, ERR_INTERNAL, "SHA-256 failed");
    return filter_write(next, data, len, err);
}

static bool digest_finish(void *state, Filter *next, Error *err)
{
    (void)next;
    DigestState *s = state;
    return EVP_DigestFinal_ex(s->ctx, s->out, NULL) == 1 ||
           error_set(err, ERR_INTERNAL, "SHA-256 failed");
}

static void digest_free(void *state)
{
    DigestState *s = state;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

Filter *filter_sha256(uint8_t *digest, Filter *next)
{
    static const FilterStage stage = {digest_write, digest_finish, digest_free};
    DigestState *s = MEM_NEW(DigestState);
    *s = (DigestState){EVP_MD_CTX_new(), digest};
    if (!s->ctx || EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1)
        abort();
    return filter_new(&stage, s, next);
}
