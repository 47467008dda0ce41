/* repo/index.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "repo/index.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* Parses the one line in `text`, which is emptied. */
static void parse(Buf *text, const char *expected, IndexLine *out, char **keep)
{
    Error err;
    assert_string_equal(text->data, expected);
    assert_int_equal(text->data[text->len - 1], '\n');
    text->data[text->len - 1] = '\0';
    assert_null(strchr(text->data, '\n'));
    free(*keep);
    *keep = buf_detach(text);
    if (!index_parse(*keep, out, &err))
        fail_msg("refused: %s", expected);
}

static void test_lines(void **state)
{
    (void)state;
    Buf b = BUF_INIT;
    IndexLine line;
    char *keep = NULL;
    index_put_head(&b);
    parse(&b, "pitr-index\t1\n", &line, &keep);
    assert_int_equal(line.kind, INDEX_HEAD);

    index_put_archive(&b, &(IndexArchive){.name = "base", .location = NULL});
    parse(&b, "archive\tbase\t0\t-\n", &line, &keep);
    assert_int_equal(line.kind, INDEX_ARCHIVE);
    assert_string_equal(line.archive.name, "base");
    assert_int_equal(line.archive.oid, 0);
    index_put_archive(&b, &(IndexArchive){"4294967295", UINT32_MAX, "/srv/a\tb\\c\nd"});
    parse(&b, "archive\t4294967295\t4294967295\t/srv/a\\tb\\\\c\\nd\n", &line, &keep);
    assert_true(line.archive.oid == UINT32_MAX);
    assert_string_equal(line.archive.location, "/srv/a\tb\\c\nd");

    IndexPack pack = {"base-00000007.tar.lz4", INT64_MAX, 1, 2, HEX};
    index_put_pack(&b, &pack);
    parse(&b, "pack\tbase-00000007.tar.lz4\t9223372036854775807\t1\t2\t" HEX "\n", &line, &keep);
    assert_int_equal(line.kind, INDEX_PACK);
    assert_string_equal(line.pack.name, pack.name);
    assert_true(line.pack.raw_offset == INT64_MAX);
    assert_int_equal(line.pack.raw_size, 1);
    assert_int_equal(line.pack.stored_size, 2);
    assert_string_equal(line.pack.sha256, HEX);

    IndexFrame frame = {5, 6, 7, 8, {0xAB, 0xCD}};
    index_put_frame(&b, &frame);
    parse(&b,
          "frame\t5\t6\t7\t8\t"
          "abcd000000000000000000000000000000000000000000000000000000000000\n",
          &line, &keep);
    assert_int_equal(line.kind, INDEX_FRAME);
    assert_memory_equal(line.frame.sha256, frame.sha256, SHA256_BYTES);
    assert_int_equal(line.frame.raw_offset, 5);
    assert_int_equal(line.frame.raw_size, 6);
    assert_int_equal(line.frame.stored_offset, 7);
    assert_int_equal(line.frame.stored_size, 8);

    index_put_end(&b, 1, 2, 3);
    parse(&b, "end\t1\t2\t3\n", &line, &keep);
    assert_int_equal(line.kind, INDEX_END);
    assert_true(line.archives == 1 && line.packs == 2 && line.entries == 3);
    free(keep);
}

static void check_entry(const TarEntry *e, const char *expected)
{
    Buf b = BUF_INIT;
    IndexLine line;
    char *keep = NULL;
    index_put_entry(&b, e);
    parse(&b, expected, &line, &keep);
    assert_int_equal(line.kind, INDEX_ENTRY);
    assert_int_equal(line.entry.type, e->type);
    assert_string_equal(line.entry.name, e->name);
    assert_string_equal(line.entry.linkname, e->type == TAR_SYMLINK ? e->linkname : "");
    if (e->type != TAR_SYMLINK) {
        assert_int_equal(line.entry.mode, e->mode);
        assert_int_equal(line.entry.uid, e->uid);
        assert_int_equal(line.entry.gid, e->gid);
        assert_true(line.entry.mtime == e->mtime);
    }
    if (e->type == TAR_FILE) {
        assert_true(line.entry.size == e->size);
        assert_true(line.entry.data_offset == e->data_offset);
    }
    free(keep);
}

static void test_entries(void **state)
{
    (void)state;
    TarEntry e = {.name = "base/1/16384.1",
                  .type = TAR_FILE,
                  .mode = 0600,
                  .uid = 26,
                  .gid = 27,
                  .mtime = 1700000000,
                  .size = 8192,
                  .data_offset = 1536};
    check_entry(&e, "file\tbase/1/16384.1\t600\t26\t27\t1700000000\t8192\t1536\n");
    e.type = TAR_DIRECTORY;
    e.mode = 07755;
    e.uid = e.gid = UINT32_MAX;
    check_entry(&e, "dir\tbase/1/16384.1\t7755\t4294967295\t4294967295\t1700000000\n");
    e = (TarEntry){.name = "pg_tblspc/1", .linkname = "/srv/\\\t\nx", .type = TAR_SYMLINK};
    check_entry(&e, "link\tpg_tblspc/1\t/srv/\\\\\\t\\nx\n");
    e = (TarEntry){.name = "a\\b\tc\nd\\te", .type = TAR_FILE};
    check_entry(&e, "file\ta\\\\b\\tc\\nd\\\\te\t0\t0\t0\t0\t0\t0\n");
    /* the largest that the tar parser lets pass; a time before 1970 */
    memset(e.name, '\n', TAR_NAME_MAX);
    e.name[TAR_NAME_MAX] = '\0';
    e.size = UINT64_C(1) << 56;
    e.mtime = INT64_MAX;
    Buf b = BUF_INIT;
    IndexLine line;
    Error err;
    index_put_entry(&b, &e);
    b.data[b.len - 1] = '\0';
    assert_true(index_parse(b.data, &line, &err));
    assert_string_equal(line.entry.name, e.name);
    buf_free(&b);
    e = (TarEntry){.name = "old", .type = TAR_FILE, .mode = 0600, .mtime = -3600};
    check_entry(&e, "file\told\t600\t0\t0\t-3600\t0\t0\n");
    e.type = TAR_DIRECTORY;
    e.mtime = INT64_MIN;
    check_entry(&e, "dir\told\t600\t0\t0\t-9223372036854775808\n");
}

static void test_hostile(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\t",
        "\t\t\t\t\t\t\t\t\t\t\t\t",
        "pitr-index",
        "pitr-index\t",
        "pitr-index\t1\t",
        "pitr-index\t01",
        "pitr-index\t2",
        "PITR-INDEX\t1",
        "end",
        "end\t1\t2",
        "end\t1\t2\t3\t4",
        "end\t1\t2\t-3",
        "end\t1\t2\t9223372036854775808",
        "end\t1\t2\t3 ",
        "end\t1\t2\t+3",
        "archive\tbase\t0",
        "archive\tbase\t0\t-\tx",
        "archive\tbase\t-1\t-",
        "archive\tbase\t4294967296\t-",
        "archive\t../x\t1\t/srv",
        "archive\t\t",
        "archive\t1234567890123456\t1\t/srv",
        "archive\tbase\t1\t/srv\\",
        "archive\tbase\t1\t/srv\\x",
        "pack\ta/b\t0\t0\t0\t" HEX,
        "pack\t..\t0\t0\t0\t" HEX,
        "pack\t.a\t0\t0\t0\t" HEX,
        "pack\ta\t0\t0\t0\t" HEX "0",
        "pack\ta\t0\t0\t0\tg" HEX,
        "pack\ta\t0\t0\t0\t",
        "pack\ta\t0\t0\t0",
        "pack\ta\t0\t0\t-1\t" HEX,
        "pack\t012345678901234567890123456789012345678901234567\t0\t0\t0\t" HEX,
        "frame\t0\t4294967296\t0\t0\t" HEX,
        "frame\t0\t0\t0\t4294967296\t" HEX,
        "frame\t0\t0\t0\t0\t" HEX "\t",
        "frame\t0\t0\t0\t0",
        "frame\tx\t0\t0\t0\t" HEX,
        "file\tx\t600\t1\t1\t1\t1",
        "file\tx\t600\t1\t1\t1\t1\t1\t1",
        "file\tx\t8\t1\t1\t1\t1\t1",
        "file\tx\t\t1\t1\t1\t1\t1",
        "file\tx\t-1\t1\t1\t1\t1\t1",
        "file\tx\t+1\t1\t1\t1\t1\t1",
        "file\tx\t 1\t1\t1\t1\t1\t1",
        "file\tx\t10000\t1\t1\t1\t1\t1",
        "file\tx\t600\t4294967296\t1\t1\t1\t1",
        "file\tx\t600\t1\t1\t1\t1\t4611686018427387904",
        "file\tx\t600\t1\t1\t1\t4611686018427387904\t1",
        "file\tx\t600\t1\t1\t--1\t1\t1",
        "file\tx\t600\t1\t1\t-\t1\t1",
        "file\tx\t600\t1\t1\t-9223372036854775809\t1\t1",
        "file\t/x\t600\t1\t1\t1\t1\t1",
        "file\t\t600\t1\t1\t1\t1\t1",
        "file\t..\t600\t1\t1\t1\t1\t1",
        "file\ta/../../x\t600\t1\t1\t1\t1\t1",
        "file\ta/./x\t600\t1\t1\t1\t1\t1",
        "file\ta//x\t600\t1\t1\t1\t1\t1",
        "file\tx/\t600\t1\t1\t1\t1\t1",
        "file\tx\\\t600\t1\t1\t1\t1\t1",
        "file\tx\\0\t600\t1\t1\t1\t1\t1",
        "dir\tx\t700\t1\t1",
        "dir\tx\t700\t1\t1\t1\t1",
        "dir\t..\t700\t1\t1\t1",
        "link\tx",
        "link\tx\ty\tz",
        "link\t../x\ty",
        "link\tx\ty\\",
        "filex\tx\t600\t1\t1\t1\t1\t1",
        "dirx\tx\t700\t1\t1\t1",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        Error err = {0};
        IndexLine line;
        char *text = mem_strdup(bad[i]);
        if (index_parse(text, &line, &err))
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(err.code, ERR_DAMAGED);
        free(text);
    }
}

/* Names and targets that do not fit, and every cut of good lines. */
static void test_lengths(void **state)
{
    (void)state;
    static const char *const good[] = {
        "file\tbase/1\t600\t26\t27\t1700000000\t8192\t1536",
        "link\tx\t\\\\\\t\\n",
        "frame\t5\t6\t7\t8\t" HEX,
        "archive\t1\t1\t/srv\\\\",
        "end\t1\t2\t3",
    };
    Error err;
    IndexLine line;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        for (size_t n = 0; n <= strlen(good[i]); n++) {
            char *text = mem_strndup(good[i], n);
            bool ok = index_parse(text, &line, &err);
            if (n == strlen(good[i]))
                assert_true(ok);
            free(text);
        }
    }
    for (int too_long = 0; too_long < 2; too_long++) {
        Buf b = BUF_INIT;
        buf_puts(&b, "link\tx\t");
        for (int i = 0; i < TAR_NAME_MAX + too_long; i++)
            buf_putc(&b, 'y');
        assert_int_equal(index_parse(b.data, &line, &err), !too_long);
        buf_free(&b);
        buf_puts(&b, "dir\t");
        for (int i = 0; i < TAR_NAME_MAX + too_long; i++)
            buf_puts(&b, "\\n");
        buf_puts(&b, "\t700\t1\t1\t1");
        assert_int_equal(index_parse(b.data, &line, &err), !too_long);
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
