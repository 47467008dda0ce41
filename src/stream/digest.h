/*
 * digest.h: SHA-256 in one call, and as hexadecimal text. The streaming form is filter_sha256().
 * Thread-safe.
 */
#ifndef PITR_STREAM_DIGEST_H
#define PITR_STREAM_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX   65 /* with the terminating zero */

void sha256(const void *data, size_t len, uint8_t digest[SHA256_BYTES]);

/* Lower-case hexadecimal. */
void sha256_hex(const uint8_t digest[SHA256_BYTES], char out[SHA256_HEX]);

#endif
