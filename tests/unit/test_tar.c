#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "pg/tar.h"

static const char block[TAR_BLOCK];

static void add(Buf *b, char type, const char *name, const char *link, size_t size)
{
    TarEntry e = {
        .type = type, .mode = 0600, .uid = 26, .gid = 27, .mtime = 1700000000, .size = size};
    uint8_t header[TAR_BLOCK];
    snprintf(e.name, sizeof(e.name), "%s", name);
    snprintf(e.linkname, sizeof(e.linkname), "%s", link);
    tar_format_header(header, &e);
    buf_append(b, header, sizeof(header));
    for (size_t i = 0; i < size; i++)
        buf_putc(b, (char)(i * 7 + 1));
    buf_append(b, block, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

static void finish(Buf *b)
{
    buf_append(b, block, TAR_BLOCK);
    buf_append(b, block, TAR_BLOCK);
}

static void sample(Buf *b)
{
    add(b, TAR_FILE, "backup_label", "", 230);
    add(b, TAR_DIRECTORY, "base/1", "", 0);
    add(b, TAR_FILE, "base/1/PG_VERSION", "", 512);
    add(b, TAR_FILE, "base/1/empty", "", 0);
    add(b, TAR_SYMLINK, "pg_tblspc/16384", "/srv/ts", 0);
    add(b, TAR_FILE, "global/pg_control", "", 8192);
    finish(b);
}

/* What a stream parsed to, in a form that does not depend on the cuts. */
static bool trace(const uint8_t *in, size_t len, size_t chunk, Buf *out, Error *err)
{
    TarParser p;
    uint64_t taken = 0, content = 0, sum = 0;

    tar_init(&p);
    while (len) {
        size_t part = chunk < len ? chunk : len;
        /* An exact copy, so that the sanitizer sees any read behind it. */
        uint8_t *copy = (uint8_t *)mem_strndup((const char *)in, part);
        copy = mem_resize(copy, part, 1);
        for (size_t at = 0; at < part;) {
            TarPiece piece;
            size_t n = tar_step(&p, copy + at, part - at, &piece, err);
            if (piece.kind == TAR_BAD) {
                free(copy);
                return false;
            }
            assert_true(n > 0 && n <= part - at);
            if (piece.kind == TAR_HEADER)
                buf_printf(out, "%c %s>%s %llu @%llu last=%d\n", piece.entry->type,
                           piece.entry->name, piece.entry->linkname,
                           (unsigned long long)piece.entry->size,
                           (unsigned long long)piece.entry->header_offset, piece.last);
            if (piece.kind == TAR_HEADER)
                assert_int_equal(piece.entry->data_offset, taken + n);
            if (piece.kind == TAR_DATA) {
                assert_int_equal(piece.entry->data_offset + piece.offset, taken);
                content += n;
                for (size_t i = 0; i < n; i++)
                    sum = sum * 31 + copy[at + i];
                if (piece.last)
                    buf_printf(out, "content %llu %llx\n", (unsigned long long)content,
                               (unsigned long long)sum);
                content = piece.last ? 0 : content;
            }
            taken += n;
            at += n;
        }
        free(copy);
        in += part;
        len -= part;
    }
    buf_printf(out, "finished=%d\n", tar_finished(&p));
    return true;
}

static void test_every_chunking(void **state)
{
    (void)state;
    Buf stream = BUF_INIT, want = BUF_INIT;
    Error err = {0};
    sample(&stream);
    assert_true(trace((uint8_t *)stream.data, stream.len, stream.len, &want, &err));
    assert_non_null(strstr(want.data, "0 backup_label> 230 @0 last=0\n"));
    assert_non_null(strstr(want.data, "5 base/1> 0 @1024 last=1\n"));
    assert_non_null(strstr(want.data, "2 pg_tblspc/16384>/srv/ts 0 @"));
    assert_non_null(strstr(want.data, "finished=1\n"));
    for (size_t chunk = 1; chunk <= 1100; chunk++) {
        Buf have = BUF_INIT;
        assert_true(trace((uint8_t *)stream.data, stream.len, chunk, &have, &err));
        assert_string_equal(have.data, want.data);
        buf_free(&have);
    }
    buf_free(&want);
    buf_free(&stream);
}

static void test_truncation_is_seen(void **state)
{
    (void)state;
    Buf stream = BUF_INIT;
    Error err = {0};
    sample(&stream);
    for (size_t len = 0; len < stream.len; len++) {
        Buf have = BUF_INIT;
        assert_true(trace((uint8_t *)stream.data, len, 4096, &have, &err));
        assert_non_null(strstr(have.data, "finished=0\n"));
        buf_free(&have);
    }
    buf_free(&stream);
}

static void refuse(Buf *stream, const char *why)
{
    Error err = {0};
    Buf out = BUF_INIT;
    assert_false(trace((uint8_t *)stream->data, stream->len, stream->len, &out, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" is not in \"%s\"", why, err.message);
    buf_free(&out);
    buf_free(stream);
}

static void refuse_name(const char *name)
{
    Buf b = BUF_INIT;
    add(&b, TAR_FILE, name, "", 1);
    finish(&b);
    refuse(&b, "file name");
}

static void test_names(void **state)
{
    (void)state;
    refuse_name("/etc/passwd");
    refuse_name("..");
    refuse_name("a/../b");
    refuse_name("a/..");
    refuse_name("a//b");
    refuse_name("a/./b");
    refuse_name("");
    refuse_name("./");
    refuse_name("./../x");
    refuse_name(".//x");

    Buf b = BUF_INIT, out = BUF_INIT;
    Error err = {0};
    char longest[TAR_NAME_MAX + 1];
    memset(longest, 'n', TAR_NAME_MAX);
    longest[TAR_NAME_MAX] = '\0';
    add(&b, TAR_DIRECTORY, "./pg_wal/archive_status", "", 0);
    add(&b, TAR_FILE, longest, "", 0);
    add(&b, TAR_FILE, "...", "", 0);
    assert_true(trace((uint8_t *)b.data, b.len, 100, &out, &err));
    assert_non_null(strstr(out.data, "5 pg_wal/archive_status> "));
    assert_non_null(strstr(out.data, longest));
    buf_free(&b);
    buf_free(&out);
}

/* Overwrites bytes of a one-file stream's header and mends its checksum. */
static Buf patched(size_t at, const void *bytes, size_t len)
{
    Buf b = BUF_INIT;
    unsigned sum = 8 * ' ';
    char octal[9];
    add(&b, TAR_FILE, "f", "", 0);
    memcpy(b.data + at, bytes, len);
    for (int i = 0; i < TAR_BLOCK; i++)
        if (i < 148 || i >= 156)
            sum += (uint8_t)b.data[i];
    snprintf(octal, sizeof(octal), "%07o ", sum & 07777777);
    memcpy(b.data + 148, octal, 8);
    finish(&b);
    return b;
}

static void test_header_fields(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        const char *bytes;
        size_t len;
        const char *why;
    } cases[] = {
        {156, "1", 1, "type"},
        {156, "x", 1, "type"},
        {156, "L", 1, "type"},
        {156, "\0", 1, "type"},
        {156, "2", 1, "link target"},
        {157, "t", 1, "link target"},
        {257, "ustar  ", 8, "ustar"},
        {345, "p", 1, "prefix"},
        {124, "            ", 12, "number"},
        {124, "0000000000a ", 12, "number"},
        {124, "-0000000001 ", 12, "number"},
        {124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, "number"},
        {124, "\x80\0\0\1\0\0\0\0\0\0\0\0", 12, "number"},
        {124, "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12, "size"},
        {124, "\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12, "size"},
        {100, "0010000 ", 8, "number"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Buf b = patched(cases[i].at, cases[i].bytes, cases[i].len);
        refuse(&b, cases[i].why);
    }
    /* A hundred bytes have no room for the terminator. */
    char name[100];
    memset(name, 'n', sizeof(name));
    Buf b = patched(0, name, sizeof(name));
    refuse(&b, "file name");
    b = patched(0, "g", 1);
    b.data[0] = 'f';
    refuse(&b, "checksum");
}

static void test_round_trip_of_numbers(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 8589934591ULL, 8589934592ULL, 1ULL << 40, 1ULL << 56};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        TarEntry e = {.type = TAR_FILE,
                      .name = "big",
                      .mode = 0640,
                      .uid = 1ULL << 31,
                      .gid = 2097151,
                      .mtime = i % 2 ? -5 : 1700000000,
                      .size = sizes[i]};
        uint8_t header[TAR_BLOCK];
        TarParser p;
        TarPiece piece;
        Error err = {0};
        tar_format_header(header, &e);
        tar_init(&p);
        assert_int_equal(tar_step(&p, header, sizeof(header), &piece, &err), TAR_BLOCK);
        assert_int_equal(piece.kind, TAR_HEADER);
        assert_true(piece.entry->size == sizes[i]);
        assert_true(piece.entry->uid == e.uid && piece.entry->gid == e.gid);
        assert_true(piece.entry->mtime == e.mtime && piece.entry->mode == e.mode);
    }
}

static void test_zeros(void **state)
{
    (void)state;
    Buf b = BUF_INIT, out = BUF_INIT;
    Error err = {0};

    /* A lone zero block before an entry. */
    buf_append(&b, block, TAR_BLOCK);
    add(&b, TAR_FILE, "f", "", 0);
    refuse(&b, "zero block");
    /* Padding that is none. */
    add(&b, TAR_FILE, "f", "", 5);
    b.data[TAR_BLOCK + 100] = 1;
    refuse(&b, "padding");
    /* Behind the end: zeros only. */
    finish(&b);
    buf_append(&b, block, 100);
    assert_true(trace((uint8_t *)b.data, b.len, 7, &out, &err));
    assert_string_equal(out.data, "finished=1\n");
    buf_free(&out);
    buf_putc(&b, 'x');
    refuse(&b, "behind the end");
}

static void test_an_error_is_final(void **state)
{
    (void)state;
    TarParser p;
    TarPiece piece;
    Error err = {0};
    uint8_t junk[TAR_BLOCK];
    memset(junk, 'j', sizeof(junk));
    tar_init(&p);
    assert_int_equal(tar_step(&p, junk, sizeof(junk), &piece, &err), 0);
    assert_int_equal(piece.kind, TAR_BAD);
    assert_int_equal(tar_step(&p, (const uint8_t *)block, TAR_BLOCK, &piece, &err), 0);
    assert_int_equal(piece.kind, TAR_BAD);
    assert_false(tar_finished(&p));
}

/* Whatever a byte is changed to: no crash, and what is consumed adds up. */
static void test_mutations(void **state)
{
    (void)state;
    Buf stream = BUF_INIT;
    unsigned seed = 20261121;
    sample(&stream);
    for (int round = 0; round < 20000; round++) {
        Buf out = BUF_INIT;
        Error err = {0};
        size_t at[3];
        char old[3];
        for (int i = 0; i < 3; i++) {
            at[i] = (size_t)rand_r(&seed) % stream.len;
            if (i == 0)
                at[i] = at[i] % 12 * TAR_BLOCK + at[i] % TAR_BLOCK;
            old[i] = stream.data[at[i]];
            stream.data[at[i]] = (char)rand_r(&seed);
        }
        trace((uint8_t *)stream.data, stream.len, (size_t)rand_r(&seed) % 2000 + 1, &out, &err);
        for (int i = 2; i >= 0; i--)
            stream.data[at[i]] = old[i];
        buf_free(&out);
    }
    buf_free(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_chunking),
        cmocka_unit_test(test_truncation_is_seen),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_header_fields),
        cmocka_unit_test(test_round_trip_of_numbers),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_an_error_is_final),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
