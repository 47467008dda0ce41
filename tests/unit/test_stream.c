/* stream/filter.h, stream/digest.h, stream/lz4.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"
#include "stream/digest.h"
#include "stream/filter.h"
#include "stream/lz4.h"

/* The first and the second half of a block: noise and zeros; runs of both behind. */
static Buf sample(size_t len)
{
    Buf b = BUF_INIT;
    uint32_t x = 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        buf_putc(&b, i / 5000 % 3 ? 0 : (char)(x >> 24));
    }
    return b;
}

/* Pushes `in` through a chain in pieces; copies show reads behind their ends. */
static bool push(Filter *chain, const void *in, size_t len, size_t chunk, Error *err)
{
    bool ok = true;
    for (size_t at = 0; ok && at < len; at += chunk) {
        size_t n = len - at < chunk ? len - at : chunk;
        char *copy = mem_resize(mem_strndup((const char *)in + at, n), n, 1);
        ok = filter_write(chain, copy, n, err);
        free(copy);
    }
    ok = ok && filter_finish(chain, err);
    filter_free(chain);
    return ok;
}

static bool decode(const Buf *in, size_t chunk, Buf *out, Error *err)
{
    return push(filter_lz4_decode(filter_to_buf(out)), in->data, in->len, chunk, err);
}

static void test_sha256(void **state)
{
    (void)state;
    Error err;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256("abc", 3, digest); /* FIPS 180-4's own examples */
    sha256_hex(digest, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256(NULL, 0, digest);
    sha256_hex(digest, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    Buf b = sample(10000);
    uint8_t whole[SHA256_BYTES];
    sha256(b.data, b.len, whole);
    for (size_t chunk = 1; chunk < 20000; chunk *= 3) {
        uint64_t count;
        must(push(filter_sha256(digest, filter_count(&count, NULL)), b.data, b.len, chunk, &err),
             &err);
        assert_memory_equal(digest, whole, SHA256_BYTES);
        assert_int_equal(count, 10000);
    }
    buf_free(&b);
}

/* Raw digest, count, compressed digest: what each stage sees is what passes there. */
static void test_chain(void **state)
{
    (void)state;
    Error err;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 262144, 300000, 1500000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        Buf raw = sample(sizes[i]), first = BUF_INIT;
        static const size_t chunks[] = {997, 65536, 262144, 262145, 2000000};
        for (size_t c = 0; c < 5; c++) {
            Buf stored = BUF_INIT, back = BUF_INIT;
            uint8_t d1[SHA256_BYTES], d2[SHA256_BYTES], expected[SHA256_BYTES];
            uint64_t raw_size, stored_size;
            Filter *chain = filter_sha256(
                d1, filter_count(&raw_size,
                                 filter_lz4_encode(
                                     1, filter_sha256(d2, filter_count(&stored_size,
                                                                       filter_to_buf(&stored))))));
            must(push(chain, raw.data, raw.len, chunks[c], &err), &err);
            assert_int_equal(raw_size, raw.len);
            assert_int_equal(stored_size, stored.len);
            sha256(raw.data, raw.len, expected);
            assert_memory_equal(d1, expected, SHA256_BYTES);
            sha256(stored.data, stored.len, expected);
            assert_memory_equal(d2, expected, SHA256_BYTES);
            must(decode(&stored, chunks[4 - c], &back, &err), &err);
            assert_int_equal(back.len, raw.len);
            if (raw.len)
                assert_memory_equal(back.data, raw.data, raw.len);
            buf_free(&stored);
            buf_free(&back);
        }
        buf_free(&raw);
        buf_free(&first);
    }
}

static void encode(Buf *out, const void *data, size_t len)
{
    Error err;
    must(push(filter_lz4_encode(1, filter_to_buf(out)), data, len, len + 1, &err), &err);
}

static void test_every_chunking(void **state)
{
    (void)state;
    Error err;
    Buf raw = sample(700), stored = BUF_INIT;
    encode(&stored, raw.data, raw.len);
    must(lz4_frame_append(&stored, "second", 6, 1, &err), &err);
    encode(&stored, "", 0);
    must(lz4_frame_append(&stored, "", 0, 1, &err), &err);
    must(lz4_frame_append(&stored, "third", 5, 1, &err), &err);
    buf_puts(&raw, "secondthird");
    for (size_t chunk = 1; chunk <= stored.len; chunk++) {
        Buf back = BUF_INIT;
        must(decode(&stored, chunk, &back, &err), &err);
        assert_int_equal(back.len, raw.len);
        assert_memory_equal(back.data, raw.data, raw.len);
        buf_free(&back);
    }
    buf_free(&raw);
    buf_free(&stored);
}

/* A little input that becomes a lot of output, which comes in pieces. */
static void test_expansion(void **state)
{
    (void)state;
    Error err;
    Buf stored = BUF_INIT, back = BUF_INIT;
    char *zeros = mem_new(16 * 1024 * 1024, 1);
    encode(&stored, zeros, 16 * 1024 * 1024);
    must(decode(&stored, stored.len, &back, &err), &err);
    assert_int_equal(back.len, 16 * 1024 * 1024);
    buf_free(&back);
    buf_init_max(&back, 16 * 1024 * 1024 - 1);
    assert_false(decode(&stored, 1000, &back, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_non_null(strstr(err.message, "larger than it may be"));
    buf_free(&back);
    buf_free(&stored);
    free(zeros);
}

static void test_damage(void **state)
{
    (void)state;
    Buf raw = sample(700), stored = BUF_INIT;
    encode(&stored, raw.data, raw.len);
    for (size_t n = 0; n < stored.len; n++) { /* every cut */
        for (size_t chunk = 1; chunk <= 1000; chunk *= 10) {
            Error err = {0};
            Buf back = BUF_INIT, cut = {stored.data, n, n, 0};
            assert_false(decode(&cut, chunk, &back, &err));
            assert_int_equal(err.code, ERR_DAMAGED);
            buf_free(&back);
        }
    }
    for (size_t n = 0; n < stored.len; n++) { /* every bit */
        for (int bit = 0; bit < 8; bit++) {
            Error err = {0};
            Buf back = BUF_INIT;
            stored.data[n] ^= (char)(1 << bit);
            if (!decode(&stored, 100, &back, &err))
                assert_int_equal(err.code, ERR_DAMAGED);
            else if (back.len != raw.len || memcmp(back.data, raw.data, raw.len) != 0)
                fail_msg("not seen: byte %zu, bit %d", n, bit);
            stored.data[n] ^= (char)(1 << bit);
            buf_free(&back);
        }
    }
    static const char *const behind[] = {"x", "\004\042\115\030", "garbage behind it"};
    for (size_t i = 0; i < 3; i++) {
        Error err = {0};
        Buf back = BUF_INIT, more = BUF_INIT;
        buf_append(&more, stored.data, stored.len);
        buf_puts(&more, behind[i]);
        assert_false(decode(&more, 50, &back, &err));
        assert_int_equal(err.code, ERR_DAMAGED);
        buf_free(&more);
        buf_free(&back);
    }
    buf_free(&raw);
    buf_free(&stored);
}

static void test_frames(void **state)
{
    (void)state;
    Error err;
    static const size_t sizes[] = {0, 1, 65536, 65537, 262144, 1000000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int level = -5; level <= 12; level += 6) {
            Buf raw = sample(sizes[i]), frame = BUF_INIT;
            size_t len = raw.len;
            char *out = mem_new(len + 1, 1);
            buf_puts(&frame, "before");
            must(lz4_frame_append(&frame, raw.data, len, level, &err), &err);
            assert_memory_equal(frame.data, "before", 6);
            const char *p = frame.data + 6;
            size_t n = frame.len - 6;
            must(lz4_frame_decode(p, n, out, len, &err), &err);
            if (len)
                assert_memory_equal(out, raw.data, len);
            assert_false(lz4_frame_decode(p, n, out, len + 1, &err));
            assert_int_equal(err.code, ERR_DAMAGED);
            assert_false(len && lz4_frame_decode(p, n, out, len - 1, &err));
            assert_false(lz4_frame_decode(p, n - 1, out, len, &err));
            assert_false(lz4_frame_decode(p, 0, out, len, &err));
            buf_puts(&frame, "x");
            assert_false(lz4_frame_decode(frame.data + 6, n + 1, out, len, &err));
            assert_int_equal(err.code, ERR_DAMAGED);
            buf_free(&raw);
            buf_free(&frame);
            free(out);
        }
    }
}

static void test_frame_damage(void **state)
{
    (void)state;
    Error err;
    Buf raw = sample(600), frame = BUF_INIT;
    char *out = mem_new(600, 1);
    must(lz4_frame_append(&frame, raw.data, raw.len, 1, &err), &err);
    for (size_t n = 0; n < frame.len; n++) {
        frame.data[n] ^= 0x10;
        /* The header's checksum has 8 bits: a change that it lets pass must not matter. */
        if (!lz4_frame_decode(frame.data, frame.len, out, 600, &err))
            assert_int_equal(err.code, ERR_DAMAGED);
        else if (memcmp(out, raw.data, 600) != 0)
            fail_msg("not seen: byte %zu", n);
        frame.data[n] ^= 0x10;
        char *cut = mem_resize(mem_strndup(frame.data, n), n + 1, 1);
        assert_false(lz4_frame_decode(cut, n, out, 600, &err));
        free(cut);
    }
    Buf full;
    buf_init_max(&full, 100);
    assert_false(lz4_frame_append(&full, raw.data, raw.len, 1, &err));
    assert_int_equal(full.len, 0);
    buf_free(&full);
    buf_free(&raw);
    buf_free(&frame);
    free(out);
}

static bool refuse(void *ctx, const void *data, size_t len, Error *err)
{
    (void)data;
    (void)len;
    ++*(int *)ctx;
    return error_set(err, ERR_REPO, "the sink refuses");
}

/* A sink's error comes through as it is. */
static void test_failing_sink(void **state)
{
    (void)state;
    Error err;
    int calls = 0;
    uint8_t digest[SHA256_BYTES];
    Buf raw = sample(600000);
    assert_false(push(filter_sha256(digest, filter_lz4_encode(1, filter_to_sink(refuse, &calls))),
                      raw.data, raw.len, 1000, &err));
    assert_int_equal(err.code, ERR_REPO);
    assert_string_equal(err.message, "the sink refuses");
    assert_int_equal(calls, 1);
    /* the end too is written */
    assert_false(push(filter_lz4_encode(1, filter_to_sink(refuse, &calls)), "", 0, 1, &err));
    assert_int_equal(calls, 2);
    filter_free(NULL);
    buf_free(&raw);
}

/* --- the real lz4 ------------------------------------------------------------------------------
 */

static void run(Scratch *s, const char *command)
{
    char *shell = scratch_keep(s, mem_printf("cd %s && %s", s->dir, command));
    if (system(shell) != 0)
        fail_msg("failed: %s", command);
}

static void test_lz4_command(void **state)
{
    Scratch *s = *state;
    Error err;
    if (system("command -v lz4 > /dev/null") != 0)
        skip();
    Buf raw = sample(1000000), stored = BUF_INIT, back = BUF_INIT;
    scratch_write(scratch_path(s, "raw"), raw.data, raw.len);
    encode(&stored, raw.data, raw.len);
    scratch_write(scratch_path(s, "linked.lz4"), stored.data, stored.len);
    run(s, "lz4 -q -t linked.lz4 && lz4 -dc linked.lz4 | cmp - raw");
    buf_clear(&stored);
    for (size_t at = 0; at < raw.len; at += 250000)
        must(lz4_frame_append(&stored, raw.data + at, 250000, 1, &err), &err);
    scratch_write(scratch_path(s, "frames.lz4"), stored.data, stored.len);
    run(s, "lz4 -q -t frames.lz4 && lz4 -dc frames.lz4 | cmp - raw");
    run(s, "cat frames.lz4 linked.lz4 | lz4 -dc | wc -c | grep -qx 2000000");
    run(s, "! { head -c 300000 linked.lz4 | lz4 -q -t - 2> /dev/null; }");
    static const char *const options[] = {"-1", "-9 -BD", "-B4 -BX --no-frame-crc",
                                          "--content-size -BI"};
    for (size_t i = 0; i < 4; i++) {
        char *command =
            mem_printf("lz4 -q -f %s raw out.lz4 && cat out.lz4 frames.lz4 > two.lz4", options[i]);
        run(s, command);
        free(command);
        size_t len = 0;
        char *theirs = scratch_read(s, scratch_path(s, "two.lz4"), &len);
        must(push(filter_lz4_decode(filter_to_buf(&back)), theirs, len, 70000, &err), &err);
        assert_int_equal(back.len, 2 * raw.len);
        assert_memory_equal(back.data, raw.data, raw.len);
        assert_memory_equal(back.data + raw.len, raw.data, raw.len);
        buf_clear(&back);
    }
    buf_free(&raw);
    buf_free(&stored);
    buf_free(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),         cmocka_unit_test(test_chain),
        cmocka_unit_test(test_every_chunking), cmocka_unit_test(test_expansion),
        cmocka_unit_test(test_damage),         cmocka_unit_test(test_frames),
        cmocka_unit_test(test_frame_damage),   cmocka_unit_test(test_failing_sink),
        SCRATCH_TEST(test_lz4_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
