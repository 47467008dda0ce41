/* repo/packwrite.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "packscratch.h"

#define KIB 1024u

static void expect_packs(Scratch *s, const char *label, const char *name, const Buf *tar)
{
    Buf raw = packs_content(s, label, name);
    assert_int_equal(raw.len, tar->len);
    assert_memory_equal(raw.data, tar->data, tar->len);
    buf_free(&raw);
}

static Buf sample(void)
{
    Buf tar = BUF_INIT;
    tar_file(&tar, "backup_label", "START", 5);
    tar_dir(&tar, "base");
    tar_noise(&tar, "base/small", 1, 1000);
    tar_noise(&tar, "base/below", 2, PACK_OWN_FRAME - 1);
    tar_noise(&tar, "base/own", 3, PACK_OWN_FRAME);
    tar_file(&tar, "base/empty", "", 0);
    tar_noise(&tar, "base/frame", 4, PACK_FRAME);
    tar_noise(&tar, "base/large", 5, 2 * PACK_FRAME + 70000);
    tar_link(&tar, "pg_tblspc/16384", "/srv/ts");
    tar_file(&tar, "odd\tname\\with\nall", "1", 1);
    tar_noise(&tar, "global/pg_control", 6, 8192);
    tar_end(&tar);
    return tar;
}

/* --- the index against the stream --------------------------------------------------------------
 */

typedef struct IndexCheck {
    const Backup *backup;
    Scratch *scratch;
    const Buf *tar; /* of each archive in turn */
    size_t archives, packs, entries, files;
    uint64_t at; /* raw: where the next frame or pack begins */
    IndexPack pack;
    uint64_t stored;         /* in the pack: where the next frame begins */
    uint64_t *starts, *ends; /* of this archive's frames */
    size_t count, room, room2;
    TarEntry large[64]; /* of this archive, with frames of their own */
    size_t larges;
} IndexCheck;

static bool has(const uint64_t *list, size_t n, uint64_t value)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == value)
            return true;
    return false;
}

/* Files of 64 KiB and more: frames at offset 0 and every 256 KiB, the last one ends with them. */
static void check_large(IndexCheck *c)
{
    for (size_t i = 0; i < c->larges; i++) {
        const TarEntry *e = &c->large[i];
        for (uint64_t at = 0; at < e->size; at += PACK_FRAME)
            assert_true(has(c->starts, c->count, e->data_offset + at));
        assert_true(has(c->ends, c->count, e->data_offset + e->size));
    }
    c->larges = c->count = 0;
}

static void end_pack(IndexCheck *c, bool last)
{
    if (!c->pack.name[0])
        return;
    assert_int_equal(c->at, c->pack.raw_offset + c->pack.raw_size);
    assert_int_equal(c->stored, c->pack.stored_size);
    assert_true(c->pack.raw_size < c->backup->pack_size + PACK_FRAME);
    assert_true(last || c->pack.raw_size >= c->backup->pack_size);
}

static void begin_pack(IndexCheck *c, const IndexPack *pack)
{
    size_t size = 0;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    end_pack(c, pack->raw_offset == 0);
    assert_int_equal(pack->raw_offset, c->at);
    c->pack = *pack;
    c->stored = 0;
    c->packs++;
    char *stored = scratch_read(c->scratch, backup_object(c->scratch, NULL, pack->name), &size);
    assert_non_null(stored);
    assert_int_equal(size, pack->stored_size);
    sha256(stored, size, digest);
    sha256_hex(digest, hex);
    assert_string_equal(hex, pack->sha256);
}

static void check_frame(IndexCheck *c, const IndexFrame *f)
{
    uint8_t digest[SHA256_BYTES];
    assert_int_equal(f->raw_offset, c->at);
    assert_int_equal(f->stored_offset, c->stored);
    assert_true(f->raw_size > 0 && f->raw_size <= PACK_FRAME);
    sha256(c->tar[c->archives - 1].data + f->raw_offset, f->raw_size, digest);
    assert_memory_equal(digest, f->sha256, SHA256_BYTES);
    c->at += f->raw_size;
    c->stored += f->stored_size;
    MEM_GROW(c->starts, c->count, c->room);
    MEM_GROW(c->ends, c->count, c->room2);
    c->starts[c->count] = f->raw_offset;
    c->ends[c->count++] = c->at;
}

static void check_entry(IndexCheck *c, const TarEntry *e)
{
    c->entries++;
    if (e->type != TAR_FILE)
        return;
    c->files++;
    /* behind the pack that holds the header's end, or begins there */
    assert_true(e->data_offset >= c->pack.raw_offset);
    assert_true(e->data_offset <= c->pack.raw_offset + c->pack.raw_size);
    if (e->size >= PACK_OWN_FRAME)
        c->large[c->larges++] = *e;
}

static void check_index(Scratch *s, const Backup *b, const Buf *tar)
{
    Error err;
    IndexLine line;
    IndexCheck c = {.backup = b, .scratch = s, .tar = tar};
    char *rest = index_text(s, NULL), *text;
    bool ended = false;
    while ((text = strsep(&rest, "\n")) != NULL && *text) {
        must(index_parse(text, &line, &err), &err);
        if (line.kind == INDEX_ARCHIVE) {
            end_pack(&c, true);
            check_large(&c);
            c.archives++;
            c.at = 0;
            c.pack.name[0] = '\0';
        } else if (line.kind == INDEX_PACK) {
            begin_pack(&c, &line.pack);
        } else if (line.kind == INDEX_ENTRY) {
            check_entry(&c, &line.entry);
        } else if (line.kind == INDEX_FRAME) {
            check_frame(&c, &line.frame);
        } else if (line.kind == INDEX_END) {
            ended = true;
            assert_int_equal(line.archives, c.archives);
            assert_int_equal(line.packs, c.packs);
            assert_int_equal(line.entries, c.entries);
        }
    }
    end_pack(&c, true);
    check_large(&c);
    assert_true(ended);
    assert_int_equal(b->totals.archives, c.archives);
    assert_int_equal(b->totals.packs, c.packs);
    assert_int_equal(b->totals.entries, c.entries);
    assert_int_equal(b->totals.files, c.files);
    free(c.starts);
    free(c.ends);
}

static void discard(Scratch *s)
{
    Error err;
    must(fs_empty_dir(scratch_path(s, "repo"), &err), &err);
}

/* --- tests -------------------------------------------------------------------------------------
 */

/* Packs, frames and index do not depend on how the stream was cut on its way, or on workers. */
static void test_chunkings(void **state)
{
    Scratch *s = *state;
    static const size_t chunks[] = {1, 7, 511, 512, 513, 65536, 1 << 20};
    PackArchive a = {.tar = sample()};
    char *first = NULL;
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        PackSettings set = {.pack_size = 300 * KIB, .chunk = chunks[i], .workers = 1 + (int)i % 4};
        Backup b = pack(s, &set, &a, 1);
        assert_int_equal(b.totals.raw_size, a.tar.len);
        expect_packs(s, NULL, "base", &a.tar);
        check_index(s, &b, &a.tar);
        char *index = index_text(s, NULL);
        if (!first)
            first = index;
        assert_string_equal(index, first);
        discard(s);
    }
    buf_free(&a.tar);
}

static void test_pack_sizes(void **state)
{
    Scratch *s = *state;
    static const size_t sizes[] = {
        1, 512, 64 * KIB, PACK_FRAME - 1, PACK_FRAME, PACK_FRAME + 1, 600 * KIB, 32 * KIB * KIB};
    PackArchive a = {.tar = sample()};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        PackSettings set = {.pack_size = sizes[i], .chunk = 10000, .workers = 3};
        Backup b = pack(s, &set, &a, 1);
        check_index(s, &b, &a.tar);
        expect_packs(s, NULL, "base", &a.tar);
        discard(s);
    }
    buf_free(&a.tar);
}

/* Headers that end exactly where a frame, and with it a pack, is full. */
static void test_header_at_the_brim(void **state)
{
    Scratch *s = *state;
    static const size_t sizes[] = {0, 100, PACK_OWN_FRAME, PACK_FRAME + 1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        PackArchive a = {.tar = BUF_INIT};
        for (size_t n = 1; n < PACK_FRAME / TAR_BLOCK; n++)
            tar_dir(&a.tar, "d");
        tar_noise(&a.tar, "brim", 1, sizes[i]);
        tar_end(&a.tar);
        PackSettings set = {.pack_size = PACK_FRAME, .chunk = 4096, .workers = 2};
        Backup b = pack(s, &set, &a, 1);
        check_index(s, &b, &a.tar);
        discard(s);
        buf_free(&a.tar);
    }
}

/* The hashes of a file's own frames, a line each. */
static char *frame_hashes(Scratch *s, const char *label, const char *file)
{
    Error err;
    IndexLine line;
    Buf out = BUF_INIT;
    uint64_t from = 0, to = 0;
    char *rest = index_text(s, label), *text, hex[SHA256_HEX];
    while ((text = strsep(&rest, "\n")) != NULL && *text) {
        must(index_parse(text, &line, &err), &err);
        if (line.kind == INDEX_ENTRY && strcmp(line.entry.name, file) == 0) {
            from = line.entry.data_offset;
            to = from + line.entry.size;
        }
        if (line.kind == INDEX_FRAME && line.frame.raw_offset >= from &&
            line.frame.raw_offset < to) {
            sha256_hex(line.frame.sha256, hex);
            buf_printf(&out, "%u %s\n", line.frame.raw_size, hex);
        }
    }
    return scratch_keep(s, buf_detach(&out));
}

/* Equal content gives equal frames, wherever it lies; a change changes only its own frame. */
static void test_equal_content(void **state)
{
    Scratch *s = *state;
    size_t len = 3 * PACK_FRAME + 12345;
    char *data = noise(9, len);
    PackArchive one = {.tar = BUF_INIT}, two = {.tar = BUF_INIT};
    tar_file(&one.tar, "x", data, len);
    tar_end(&one.tar);
    tar_noise(&two.tar, "before", 8, 100000);
    tar_noise(&two.tar, "odd", 7, 777);
    tar_file(&two.tar, "x", data, len);
    tar_end(&two.tar);
    PackSettings set = {.label = "one", .pack_size = 500 * KIB, .chunk = 9999, .workers = 2};
    pack(s, &set, &one, 1);
    set.label = "two";
    set.pack_size = 300 * KIB;
    pack(s, &set, &two, 1);
    char *first = frame_hashes(s, "one", "x"), *second = frame_hashes(s, "two", "x");
    assert_string_equal(first, second);
    data[PACK_FRAME] ^= 1;
    buf_clear(&two.tar);
    tar_file(&two.tar, "x", data, len);
    tar_end(&two.tar);
    set.label = "three";
    pack(s, &set, &two, 1);
    char *a = first, *b = frame_hashes(s, "three", "x");
    for (int i = 0; i < 4; i++) {
        char *x = strsep(&a, "\n"), *y = strsep(&b, "\n");
        assert_int_equal(strcmp(x, y) == 0, i != 1);
    }
    assert_string_equal(a, "");
    free(data);
    buf_free(&one.tar);
    buf_free(&two.tar);
}

static void test_tablespaces(void **state)
{
    Scratch *s = *state;
    PackArchive a[3] = {
        {16384, "/srv/one", BUF_INIT}, {16385, "/srv/t\twö", BUF_INIT}, {0, NULL, sample()}};
    tar_dir(&a[0].tar, "PG_15_202209061");
    tar_noise(&a[0].tar, "PG_15_202209061/5/16390", 11, 700000);
    tar_end(&a[0].tar);
    tar_end(&a[1].tar);
    PackSettings set = {.pack_size = 300 * KIB, .chunk = 30000, .workers = 4};
    Backup b = pack(s, &set, a, 3);
    expect_packs(s, NULL, "16384", &a[0].tar);
    expect_packs(s, NULL, "16385", &a[1].tar);
    expect_packs(s, NULL, "base", &a[2].tar);
    Buf tars[3] = {a[0].tar, a[1].tar, a[2].tar};
    check_index(s, &b, tars);
    assert_non_null(strstr(index_text(s, NULL), "archive\t16385\t16385\t/srv/t\\twö\n"));
    for (int i = 0; i < 3; i++)
        buf_free(&a[i].tar);
}

static void test_many_small_files(void **state)
{
    Scratch *s = *state;
    PackArchive a = {.tar = BUF_INIT};
    char name[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "base/%d", i);
        tar_file(&a.tar, name, name, (size_t)i % 9);
    }
    tar_end(&a.tar);
    PackSettings set = {.pack_size = 1024 * KIB, .chunk = 65536, .workers = 4};
    Backup b = pack(s, &set, &a, 1);
    assert_int_equal(b.totals.files, 5000);
    assert_true(b.totals.packs >= 4);
    check_index(s, &b, &a.tar);
    buf_free(&a.tar);
}

static void expect_feed_fails(Scratch *s, const Buf *tar, ErrorCode code, const char *message)
{
    Error err = {0};
    PackArchive a = {.tar = *tar};
    PackSettings set = {.pack_size = 64 * KIB, .chunk = 4096, .workers = 2};
    PackWriter *w = pack_begin(s, &set);
    assert_false(feed_archives(w, &a, 1, 4096, &err));
    packwriter_free(w);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, message))
        fail_msg("message is: %s", err.message);
    assert_false(fs_exists(backup_object(s, NULL, "index.lz4")));
}

static void test_bad_streams(void **state)
{
    Scratch *s = *state;
    Buf tar = sample();
    tar.data[512 + 1024] ^= 1; /* a header */
    expect_feed_fails(s, &tar, ERR_DAMAGED, "tar of base");
    if (fs_exists(scratch_path(s, "repo")))
        discard(s);
    buf_free(&tar);
    tar = sample();
    size_t len = tar.len, cuts[] = {0, 100, 512, 5000, len - 1024, len - 512, len - 1};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        tar.len = cuts[i];
        expect_feed_fails(s, &tar, ERR_PG, "ends too early");
        if (fs_exists(scratch_path(s, "repo")))
            discard(s);
    }
    buf_free(&tar);
}

/* A pack that is there already, or a store that refuses, fails the backup: whichever thread sees
 * it first, and without anybody waiting for ever. */
static void test_store_refuses(void **state)
{
    Scratch *s = *state;
    PackArchive a = {.tar = sample()};
    for (int taken = 0; taken < 4; taken++) {
        char name[40];
        Error err = {0};
        Backup b;
        snprintf(name, sizeof(name), "base-%08d.tar.lz4", taken);
        scratch_text(backup_object(s, NULL, taken == 3 ? "index.lz4" : name), "taken");
        PackSettings set = {.pack_size = 300 * KIB, .chunk = 4096, .workers = 3};
        PackWriter *w = pack_begin(s, &set);
        bool ok = feed_archives(w, &a, 1, 4096, &err);
        ok = ok && packwriter_finish(w, &b.totals, b.index_sha256, &b.index_size, &err);
        packwriter_free(w);
        assert_false(ok);
        assert_int_equal(err.code, ERR_REPO);
        assert_non_null(strstr(err.message, taken == 3 ? "index.lz4" : name));
        scratch_expect(s, backup_object(s, NULL, taken == 3 ? "index.lz4" : name), "taken", 5);
        assert_int_equal(fs_exists(backup_object(s, NULL, "index.lz4")), taken == 3);
        discard(s);
    }
    assert_int_equal(rmdir(scratch_path(s, "repo")), 0);
    scratch_text(scratch_path(s, "repo"), "no directory");
    expect_feed_fails(s, &a.tar, ERR_REPO, "repo");
    buf_free(&a.tar);
    packwriter_free(NULL);
}

static void test_abandoned(void **state)
{
    Scratch *s = *state;
    Error err;
    Buf tar = sample();
    PackSettings set = {.pack_size = 64 * KIB, .workers = 2};
    PackWriter *w = pack_begin(s, &set);
    packwriter_free(w);
    w = pack_begin(s, &set);
    must(packwriter_begin(w, 0, NULL, &err), &err);
    must(packwriter_data(w, tar.data, 400000, &err), &err);
    assert_int_equal(packwriter_raw_bytes(w), 400000);
    packwriter_free(w);
    assert_false(fs_exists(backup_object(s, NULL, "index.lz4")));
    buf_free(&tar);
}

static void test_clock_skew(void **state)
{
    Scratch *s = *state;
    Error err;
    Buf tar = BUF_INIT;
    TarEntry e = tar_named(TAR_FILE, "backup_label", 0600, 0);
    e.mtime = clock_now() / CLOCK_SECOND - 3600;
    tar_entry(&tar, &e, NULL);
    PackSettings set = {.pack_size = 64 * KIB, .workers = 1};
    PackWriter *w = pack_begin(s, &set);
    must(packwriter_begin(w, 16384, "/srv", &err), &err);
    must(packwriter_data(w, tar.data, tar.len, &err), &err);
    assert_int_equal(packwriter_clock_skew(w), 0);
    must(packwriter_begin(w, 0, NULL, &err), &err);
    must(packwriter_data(w, tar.data, tar.len, &err), &err);
    int64_t skew = packwriter_clock_skew(w);
    assert_true(skew >= 3600 * CLOCK_SECOND && skew < 3610 * CLOCK_SECOND);
    packwriter_free(w);
    buf_free(&tar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_chunkings),          SCRATCH_TEST(test_pack_sizes),
        SCRATCH_TEST(test_header_at_the_brim), SCRATCH_TEST(test_equal_content),
        SCRATCH_TEST(test_tablespaces),        SCRATCH_TEST(test_many_small_files),
        SCRATCH_TEST(test_bad_streams),        SCRATCH_TEST(test_store_refuses),
        SCRATCH_TEST(test_abandoned),          SCRATCH_TEST(test_clock_skew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
