/* repo/unpack.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "packscratch.h"
#include "repo/unpack.h"
#include "stream/lz4.h"
#include "syscalls.h"

#define KIB 1024u

static const PackSettings settings = {.pack_size = 300 * KIB, .chunk = 65536, .workers = 3};

/* The files of the data directory: name, seed of the content, size. */
static const struct {
    const char *name;
    uint32_t seed;
    size_t size;
} files[] = {
    {"backup_label", 1, 300},
    {"base/1/empty", 2, 0},
    {"base/1/one", 3, 1},
    {"base/1/page", 4, 8192},
    {"base/1/own", 5, PACK_OWN_FRAME},
    {"base/1/below", 6, PACK_OWN_FRAME - 1},
    {"base/1/frames", 7, 2 * PACK_FRAME},
    {"base/1/large", 8, 5 * PACK_FRAME + 4711},
    {"base/1/behind", 9, 100},
    {"odd\tname\\with\nall", 10, 20},
    {UNPACK_CONTROL, 11, 8192},
};
#define FILES (sizeof(files) / sizeof(files[0]))

static Buf data_tar(void)
{
    Buf tar = BUF_INIT;
    tar_dir(&tar, "base");
    tar_dir(&tar, "base/1");
    tar_dir(&tar, "global");
    tar_dir(&tar, "pg_tblspc");
    tar_link(&tar, "pg_tblspc/16384", "/srv/one");
    for (size_t i = 0; i < FILES; i++)
        tar_noise(&tar, files[i].name, files[i].seed, files[i].size);
    TarEntry e = tar_named(TAR_FILE, "script", 0750, 2);
    tar_entry(&tar, &e, "#!");
    e = tar_named(TAR_DIRECTORY, "pg_wal", 0750, 0);
    tar_entry(&tar, &e, NULL);
    tar_end(&tar);
    return tar;
}

typedef struct Fixture {
    Backup backup;
    UnpackRoot roots[2];
    UnpackOptions options;
    UnpackTotals totals;
} Fixture;

/* A backup with one tablespace, and empty directories for it. */
static void prepare(Scratch *s, Fixture *f)
{
    PackArchive a[2] = {{16384, "/srv/one", BUF_INIT}, {0, NULL, data_tar()}};
    tar_dir(&a[0].tar, "PG_15_202209061");
    tar_noise(&a[0].tar, "PG_15_202209061/16390", 21, PACK_FRAME + 100);
    tar_end(&a[0].tar);
    *f = (Fixture){.backup = pack(s, &settings, a, 2)};
    f->roots[0] = (UnpackRoot){0, scratch_path(s, "data")};
    f->roots[1] = (UnpackRoot){16384, scratch_path(s, "ts")};
    assert_int_equal(mkdir(f->roots[0].dir, 0700), 0);
    assert_int_equal(mkdir(f->roots[1].dir, 0700), 0);
    f->options = (UnpackOptions){
        .repo = s->repo, .backup = &f->backup, .roots = f->roots, .root_count = 2, .workers = 3};
    buf_free(&a[0].tar);
    buf_free(&a[1].tar);
}

static void expect_file(Scratch *s, const char *path, uint32_t seed, size_t size, mode_t mode)
{
    struct stat st;
    char *data = noise(seed, size);
    scratch_expect(s, path, data, size);
    free(data);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | mode);
}

static void expect_all(Scratch *s, const char *control)
{
    struct stat st;
    Buf expected = BUF_INIT;
    for (size_t i = 0; i < FILES; i++) {
        bool is_control = strcmp(files[i].name, UNPACK_CONTROL) == 0;
        char *path = scratch_path(s, "data/%s", is_control ? control : files[i].name);
        expect_file(s, path, files[i].seed, files[i].size, 0600);
    }
    expect_file(s, scratch_path(s, "ts/PG_15_202209061/16390"), 21, PACK_FRAME + 100, 0600);
    scratch_expect(s, scratch_path(s, "data/script"), "#!", 2);
    assert_int_equal(stat(scratch_path(s, "data/script"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(stat(scratch_path(s, "data/pg_wal"), &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0750);
    /* nothing else: tablespace links are the caller's */
    buf_printf(&expected,
               "backup_label\nbase/1/behind\nbase/1/below\nbase/1/empty\nbase/1/frames\n"
               "base/1/large\nbase/1/one\nbase/1/own\nbase/1/page\n%s\n"
               "odd\tname\\with\nall\nscript\n",
               control);
    assert_string_equal(scratch_files(s, scratch_path(s, "data")), expected.data);
    assert_string_equal(scratch_files(s, scratch_path(s, "ts")), "PG_15_202209061/16390\n");
    buf_free(&expected);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void note_progress(void *ctx, uint64_t raw_bytes)
{
    pthread_mutex_lock(&lock);
    if (raw_bytes > *(uint64_t *)ctx)
        *(uint64_t *)ctx = raw_bytes;
    pthread_mutex_unlock(&lock);
}

static void test_round_trip(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    uint64_t done = 0;
    prepare(s, &f);
    must(unpack_check(s->repo, &f.backup, &err) || err.code == ERR_DAMAGED, &err);
    f.options.progress = note_progress;
    f.options.ctx = &done;
    must(unpack_run(&f.options, &f.totals, &err), &err);
    assert_int_equal(f.totals.files, FILES + 2);
    assert_int_equal(f.totals.raw_size, f.backup.totals.raw_size);
    assert_int_equal(f.totals.read_size, f.backup.totals.stored_size);
    assert_int_equal(f.totals.kept, 0);
    assert_int_equal(done, f.backup.totals.raw_size);
    expect_all(s, UNPACK_CONTROL_TEMP);
    must(unpack_commit(&f.options, &err), &err);
    expect_all(s, UNPACK_CONTROL);
}

static void test_workers_and_pack_sizes(void **state)
{
    Scratch *s = *state;
    Error err;
    static const size_t sizes[] = {1, PACK_FRAME, 700 * KIB, 64 * KIB * KIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        PackArchive a = {.tar = data_tar()};
        PackSettings set = {.pack_size = sizes[i], .chunk = 4096, .workers = 2};
        UnpackTotals totals;
        Backup b = pack(s, &set, &a, 1);
        char *dir = scratch_path(s, "data%zu", i);
        UnpackRoot root = {0, dir};
        UnpackOptions o = {.repo = s->repo,
                           .backup = &b,
                           .roots = &root,
                           .root_count = 1,
                           .workers = 1 + 3 * (int)i};
        assert_int_equal(mkdir(dir, 0700), 0);
        must(unpack_run(&o, &totals, &err), &err);
        for (size_t n = 0; n + 1 < FILES; n++)
            expect_file(s, scratch_path(s, "data%zu/%s", i, files[n].name), files[n].seed,
                        files[n].size, 0600);
        must(fs_empty_dir(scratch_path(s, "repo"), &err), &err);
        buf_free(&a.tar);
    }
}

static void test_owner(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    struct stat st;
    if (geteuid() != 0)
        skip();
    prepare(s, &f);
    f.options.set_owner = true;
    must(unpack_run(&f.options, &f.totals, &err), &err);
    static const char *const paths[] = {"data/base/1", "data/base/1/large", "data/base/1/empty",
                                        "ts/PG_15_202209061/16390"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(stat(scratch_path(s, "%s", paths[i]), &st), 0);
        assert_true(st.st_uid == 26 && st.st_gid == 27);
    }
}

/* --- delta -------------------------------------------------------------------------------------
 */

static void test_delta_keeps(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    prepare(s, &f);
    must(unpack_run(&f.options, &f.totals, &err), &err);
    must(unpack_commit(&f.options, &err), &err);
    struct stat before, after;
    char *large = scratch_path(s, "data/base/1/large");
    assert_int_equal(stat(large, &before), 0);
    f.options.delta = true;
    must(unpack_run(&f.options, &f.totals, &err), &err);
    /* all that has frames of its own */
    uint64_t own = PACK_OWN_FRAME + 2 * PACK_FRAME + 5 * PACK_FRAME + 4711 + PACK_FRAME + 100;
    assert_int_equal(f.totals.kept, own);
    assert_true(f.totals.read_size < f.backup.totals.stored_size / 2);
    assert_int_equal(stat(large, &after), 0);
    assert_true(before.st_mtim.tv_sec == after.st_mtim.tv_sec || before.st_ino == after.st_ino);
    must(unpack_commit(&f.options, &err), &err);
    expect_all(s, UNPACK_CONTROL);
}

static void test_delta_repairs(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    prepare(s, &f);
    must(unpack_run(&f.options, &f.totals, &err), &err);
    must(unpack_commit(&f.options, &err), &err);
    scratch_flip(scratch_path(s, "data/base/1/large"), 3 * PACK_FRAME + 5);
    scratch_flip(scratch_path(s, "data/base/1/page"), 100);
    assert_int_equal(truncate(scratch_path(s, "data/base/1/frames"), PACK_FRAME + 10), 0);
    assert_int_equal(truncate(scratch_path(s, "data/base/1/own"), PACK_OWN_FRAME + 10), 0);
    assert_int_equal(truncate(scratch_path(s, "ts/PG_15_202209061/16390"), 0), 0);
    unlink(scratch_path(s, "data/base/1/one"));
    chmod(scratch_path(s, "data/base/1/large"), 0644);
    scratch_text(scratch_path(s, "data/base/1/empty"), "not empty");
    /* what the backup does not have */
    scratch_text(scratch_path(s, "data/base/1/stranger"), "x");
    scratch_text(scratch_path(s, "data/base/2/3/4"), "x");
    assert_int_equal(mkdir(scratch_path(s, "data/base/3"), 0700), 0);
    assert_int_equal(symlink("/etc", scratch_path(s, "data/link")), 0);
    scratch_text(scratch_path(s, "ts/PG_15_202209061/7"), "x");
    /* but a tablespace's directory may be shared with other clusters */
    scratch_text(scratch_path(s, "ts/PG_16_202307071/1"), "theirs");
    f.options.delta = true;
    must(unpack_run(&f.options, &f.totals, &err), &err);
    assert_int_equal(f.totals.kept, PACK_OWN_FRAME + PACK_FRAME + 4 * PACK_FRAME + 4711);
    must(unpack_commit(&f.options, &err), &err);
    scratch_expect(s, scratch_path(s, "ts/PG_16_202307071/1"), "theirs", 6);
    must(fs_empty_dir(scratch_path(s, "ts/PG_16_202307071"), &err), &err);
    assert_int_equal(rmdir(scratch_path(s, "ts/PG_16_202307071")), 0);
    assert_false(fs_exists(scratch_path(s, "data/base/2")));
    assert_false(fs_exists(scratch_path(s, "data/base/3")));
    assert_true(fs_exists("/etc/passwd"));
    expect_all(s, UNPACK_CONTROL);
}

/* Killed half-way: whatever is there, a rerun with delta makes it whole. */
static void test_delta_continues(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    prepare(s, &f);
    char *pack3 = backup_object(s, NULL, "base-00000003.tar.lz4");
    char *aside = scratch_path(s, "aside");
    assert_int_equal(rename(pack3, aside), 0);
    assert_false(unpack_run(&f.options, &f.totals, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_int_equal(rename(aside, pack3), 0);
    f.options.delta = true;
    must(unpack_run(&f.options, &f.totals, &err), &err);
    expect_all(s, UNPACK_CONTROL_TEMP);
}

/* --- damage ------------------------------------------------------------------------------------
 */

static void expect_damaged(Scratch *s, Fixture *f, const char *message)
{
    Error err = {0};
    for (int delta = 0; delta < 2; delta++) {
        f->options.delta = delta;
        assert_true(fs_empty_dir(f->roots[0].dir, &err) && fs_empty_dir(f->roots[1].dir, &err));
        if (unpack_run(&f->options, &f->totals, &err))
            fail_msg("unpacked, though: %s", message);
        assert_int_equal(err.code, ERR_DAMAGED);
        if (!strstr(err.message, message))
            fail_msg("message is: %s", err.message);
        assert_false(fs_exists(scratch_path(s, "data/" UNPACK_CONTROL)));
    }
}

static void test_damaged_objects(void **state)
{
    Scratch *s = *state;
    Fixture f;
    prepare(s, &f);
    static const char *const names[] = {"base-00000000.tar.lz4", "base-00000002.tar.lz4",
                                        "16384-00000000.tar.lz4", "index.lz4"};
    for (size_t i = 0; i < 4; i++) {
        size_t size = 0;
        char *path = backup_object(s, NULL, names[i]);
        char *stored = scratch_read(s, path, &size);
        long places[] = {0, 10, (long)size / 2, -2};
        for (size_t n = 0; n < 4; n++) {
            scratch_flip(path, places[n]);
            expect_damaged(s, &f, names[i]);
            scratch_flip(path, places[n]);
        }
        assert_int_equal(truncate(path, (long)size - 1), 0);
        expect_damaged(s, &f, names[i]);
        assert_int_equal(truncate(path, 0), 0);
        expect_damaged(s, &f, names[i]);
        unlink(path);
        if (i < 3)
            expect_damaged(s, &f, names[i]);
        scratch_write(path, stored, size);
    }
    /* a pack in the place of another */
    size_t size = 0;
    char *first = scratch_read(s, backup_object(s, NULL, names[0]), &size);
    scratch_write(backup_object(s, NULL, names[1]), first, size);
    expect_damaged(s, &f, names[1]);
}

static void test_check(void **state)
{
    Scratch *s = *state;
    Error err = {0};
    Fixture f;
    prepare(s, &f);
    assert_false(unpack_check(s->repo, &f.backup, &err)); /* no manifest */
    assert_int_equal(err.code, ERR_DAMAGED);
    assert_non_null(strstr(err.message, "backup_manifest.lz4"));
    scratch_text(backup_object(s, NULL, "backup_manifest.lz4"), "x");
    must(unpack_check(s->repo, &f.backup, &err), &err);
    scratch_text(backup_object(s, NULL, "begin.json"), "x");
    must(unpack_check(s->repo, &f.backup, &err), &err);
    f.backup.index_size++;
    assert_false(unpack_check(s->repo, &f.backup, &err));
    assert_non_null(strstr(err.message, "index.lz4"));
    f.backup.index_size--;
    char *path = backup_object(s, NULL, "base-00000001.tar.lz4");
    size_t size = 0;
    char *stored = scratch_read(s, path, &size);
    assert_int_equal(truncate(path, (long)size - 1), 0);
    assert_false(unpack_check(s->repo, &f.backup, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    unlink(path);
    assert_false(unpack_check(s->repo, &f.backup, &err));
    assert_non_null(err.hint);
    scratch_write(path, stored, size);
    must(unpack_check(s->repo, &f.backup, &err), &err);
}

/* --- hostile indexes ---------------------------------------------------------------------------
 */

#define HASH "00000000000000000000000000000000000000000000000000000000000000ff"

/* Replaces the first `from` in the index by `to`; sizes and hash in backup.json fit. */
static void forge(Scratch *s, Fixture *f, const char *index, const char *from, const char *to)
{
    Error err;
    Buf text = BUF_INIT, frame = BUF_INIT;
    uint8_t digest[SHA256_BYTES];
    const char *at = strstr(index, from);
    if (!at)
        fail_msg("the index has no %s", from);
    buf_append(&text, index, (size_t)(at - index));
    buf_puts(&text, to);
    buf_puts(&text, at + strlen(from));
    must(lz4_frame_append(&frame, text.data, text.len, 1, &err), &err);
    scratch_write(backup_object(s, NULL, "index.lz4"), frame.data, frame.len);
    sha256(frame.data, frame.len, digest);
    sha256_hex(digest, f->backup.index_sha256);
    f->backup.index_size = frame.len;
    buf_free(&text);
    buf_free(&frame);
}

static void test_hostile_index(void **state)
{
    Scratch *s = *state;
    Fixture f;
    prepare(s, &f);
    char *index = index_text(s, NULL);
    static const char *const forged[][3] = {
        {"pitr-index\t1\n", "pitr-index\t2\n", "makes no sense"},
        {"pitr-index\t1\n", "", "unknown format"},
        {"pitr-index\t1\n", "pitr-index\t1\npitr-index\t1\n", "unknown format"},
        {"archive\t16384\t16384", "archive\t16384\t16385", "does not list"},
        {"archive\tbase\t0\t-\n", "", "contradicts itself"},
        {"pack\t16384-00000000.tar.lz4\t0", "pack\t16384-00000000.tar.lz4\t1", "contradicts"},
        {"pack\tbase-00000001.tar.lz4", "pack\t../00000001.tar.lz4", "makes no sense"},
        {"pack\tbase-00000001.tar.lz4", "pack\tbase-00000000.tar.lz4", "base-00000000"},
        {"file\tbase/1/page\t", "file\t../page\t", "makes no sense"},
        {"file\tbase/1/page\t", "file\t/etc/page\t", "makes no sense"},
        {"file\tbase/1/page\t", "file\tbase//page\t", "makes no sense"},
        {"file\tbase/1/page\t600\t", "file\tbase/1/page\t17777\t", "makes no sense"},
        {"dir\tbase/1\t700\t26\t27", "dir\tbase/1\t700\t26", "makes no sense"},
        {"end\t2\t", "end\t3\t", "lacks lines"},
        {"end\t2\t", "end\t2\t1", "lacks lines"},
        {"end\t2", "end\t2\t9\t9\nend\t2", "lacks lines"},
        {"end\t", "file\tbehind\t600\t1\t1\t1\t1\t4000000000000000000\nend\t", "wrong place"},
        {"dir\tbase\t", "dir\t\t", "makes no sense"},
        {"dir\tbase\t", "nonsense\tbase\t", "makes no sense"},
        {"dir\tPG", "frame\t0\t0\t0\t0\t" HASH "\ndir\tPG", "16384-00000000"},
        {"pack\t16", "frame\t0\t0\t0\t0\t" HASH "\npack\t16", "frame before its pack"},
        {"archive\t16", "dir\tx\t700\t1\t1\t1\narchive\t16", "entry before its archive"},
        {"frame\t0\t", "frame\t1\t", "contradicts itself"},
        {"frame\t0\t1024\t0\t", "frame\t0\t1024\t1\t", "contradicts itself"},
        {"\tbackup_label\t600\t26\t27\t1700000000\t300\t",
         "\tbackup_label\t600\t26\t27\t1700000000\t300\t9999999", "wrong place"},
        {"\tscript\t750\t26\t27\t1700000000\t2\t", "\tscript\t750\t26\t27\t1700000000\t5000000\t",
         "script"},
    };
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        forge(s, &f, index, forged[i][0], forged[i][1]);
        expect_damaged(s, &f, forged[i][2]);
        assert_false(fs_exists(scratch_path(s, "page")));
    }
    forge(s, &f, index, "pitr-index", "pitr-index");
    memset(f.backup.index_sha256, '0', 64); /* whole and good, but another */
    expect_damaged(s, &f, "not the index that backup.json names");
    char *cut = strstr(index, "end\t");
    *cut = '\0';
    forge(s, &f, index, "pitr-index", "pitr-index");
    expect_damaged(s, &f, "not the index that backup.json names");
    forge(s, &f, "", "", "");
    expect_damaged(s, &f, "index");
    char *endless = mem_new(200000, 1);
    memset(endless, 'x', 199999);
    forge(s, &f, endless, "x", "x");
    expect_damaged(s, &f, "endless line");
    free(endless);
}

/* Frames that are not what the index says, with all sums right. */
static void test_wrong_frames(void **state)
{
    Scratch *s = *state;
    Fixture f;
    prepare(s, &f);
    char *index = index_text(s, NULL), *frame = strstr(index, "frame\t");
    char from[200], to[200];
    size_t len = strcspn(frame, "\n");
    memcpy(from, frame, len);
    from[len] = '\0';
    memcpy(to, from, sizeof(to));
    to[len - 1] = to[len - 1] == '0' ? '1' : '0'; /* its hash */
    forge(s, &f, index, from, to);
    expect_damaged(s, &f, "has not the hash");
    unsigned long long raw, size, at, stored;
    assert_int_equal(sscanf(from, "frame\t%llu\t%llu\t%llu\t%llu", &raw, &size, &at, &stored), 4);
    static const long long shifts[][2] = {{1, 0},  {-1, 0},      {0, 1},
                                          {0, -1}, {1 << 20, 0}, {0, 1 << 20}};
    for (size_t i = 0; i < 6; i++) {
        snprintf(to, sizeof(to), "frame\t%llu\t%lld\t%llu\t%lld\t" HASH, raw,
                 (long long)size + shifts[i][0], at, (long long)stored + shifts[i][1]);
        forge(s, &f, index, from, to);
        expect_damaged(s, &f, "");
    }
}

/* Links in the data directory that lead out of it are replaced, never followed. */
static void test_links_in_the_way(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    prepare(s, &f);
    char *outside = scratch_path(s, "outside/file");
    scratch_text(outside, "precious");
    for (int delta = 0; delta < 2; delta++) {
        f.options.delta = delta;
        must(fs_empty_dir(f.roots[0].dir, &err), &err);
        must(fs_mkdirs(scratch_path(s, "data/base/1"), 0700, &err), &err);
        assert_int_equal(symlink(outside, scratch_path(s, "data/base/1/large")), 0);
        assert_int_equal(symlink(outside, scratch_path(s, "data/base/1/empty")), 0);
        assert_int_equal(symlink(scratch_path(s, "outside"), scratch_path(s, "data/global")), 0);
        must(unpack_run(&f.options, &f.totals, &err), &err);
        expect_all(s, UNPACK_CONTROL_TEMP);
        assert_string_equal(scratch_files(s, scratch_path(s, "outside")), "file\n");
        scratch_expect(s, outside, "precious", 8);
    }
    f.options.delta = true;
    assert_int_equal(rename(scratch_path(s, "data/pg_wal"), scratch_path(s, "wal")), 0);
    assert_int_equal(symlink(scratch_path(s, "wal"), scratch_path(s, "data/pg_wal")), 0);
    struct stat st;
    for (int follow = 1; follow >= 0; follow--) { /* pg_wal may be the operator's */
        f.options.follow_pg_wal = follow;
        must(unpack_run(&f.options, &f.totals, &err), &err);
        assert_int_equal(lstat(scratch_path(s, "data/pg_wal"), &st), 0);
        assert_int_equal(S_ISLNK(st.st_mode), follow);
    }
}

/* What is in the way of a file that several workers write goes once: not with what is written. */
static void test_link_and_many_workers(void **state)
{
    Scratch *s = *state;
    Error err;
    PackArchive a = {.tar = BUF_INIT};
    PackSettings set = {.pack_size = 1, .chunk = 65536, .workers = 2};
    char *path = scratch_path(s, "data/large");
    tar_noise(&a.tar, "large", 8, 24 * PACK_FRAME);
    tar_end(&a.tar);
    Backup b = pack(s, &set, &a, 1);
    UnpackRoot root = {0, scratch_path(s, "data")};
    UnpackOptions o = {.repo = s->repo,
                       .backup = &b,
                       .roots = &root,
                       .root_count = 1,
                       .workers = 8,
                       .delta = true};
    assert_int_equal(mkdir(root.dir, 0700), 0);
    syscalls.slow = true;
    for (int i = 0; i < 5; i++) {
        UnpackTotals totals;
        unlink(path);
        assert_int_equal(symlink("nowhere", path), 0);
        must(unpack_run(&o, &totals, &err), &err);
        expect_file(s, path, 8, 24 * PACK_FRAME, 0600);
    }
    syscalls = (Syscalls){0};
    buf_free(&a.tar);
}

/* Modes that would lock the restore itself out. */
static void test_hard_modes(void **state)
{
    Scratch *s = *state;
    Error err;
    struct stat st;
    PackArchive a = {.tar = BUF_INIT};
    TarEntry e = tar_named(TAR_DIRECTORY, "d", 0500, 0);
    tar_entry(&a.tar, &e, NULL);
    e = tar_named(TAR_FILE, "d/f", 0400, 3);
    tar_entry(&a.tar, &e, "abc");
    e = tar_named(TAR_FILE, "d/none", 0, 3);
    tar_entry(&a.tar, &e, "xyz");
    tar_end(&a.tar);
    Backup b = pack(s, &settings, &a, 1);
    UnpackRoot root = {0, scratch_path(s, "data")};
    UnpackOptions o = {
        .repo = s->repo, .backup = &b, .roots = &root, .root_count = 1, .workers = 2};
    UnpackTotals totals;
    assert_int_equal(mkdir(root.dir, 0700), 0);
    for (int delta = 0; delta < 2; delta++) {
        o.delta = delta;
        must(unpack_run(&o, &totals, &err), &err);
        assert_int_equal(stat(scratch_path(s, "data/d"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0500);
        assert_int_equal(stat(scratch_path(s, "data/d/f"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0400);
        assert_int_equal(stat(scratch_path(s, "data/d/none"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0);
    }
    scratch_expect(s, scratch_path(s, "data/d/f"), "abc", 3);
    assert_int_equal(chmod(scratch_path(s, "data/d"), 0700), 0);
    buf_free(&a.tar);
}

static void test_delta_spares(void **state)
{
    Scratch *s = *state;
    Error err;
    Fixture f;
    prepare(s, &f);
    scratch_text(scratch_path(s, "data/keep.me"), "x");
    scratch_text(scratch_path(s, "data/base/keep.me"), "x");
    f.options.delta = true;
    f.options.keep = "keep.me";
    must(unpack_run(&f.options, &f.totals, &err), &err);
    assert_true(fs_exists(scratch_path(s, "data/keep.me")));
    assert_false(fs_exists(scratch_path(s, "data/base/keep.me")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_round_trip),
        SCRATCH_TEST(test_workers_and_pack_sizes),
        SCRATCH_TEST(test_owner),
        SCRATCH_TEST(test_delta_keeps),
        SCRATCH_TEST(test_delta_repairs),
        SCRATCH_TEST(test_delta_continues),
        SCRATCH_TEST(test_damaged_objects),
        SCRATCH_TEST(test_check),
        SCRATCH_TEST(test_hostile_index),
        SCRATCH_TEST(test_wrong_frames),
        SCRATCH_TEST(test_links_in_the_way),
        SCRATCH_TEST(test_link_and_many_workers),
        SCRATCH_TEST(test_hard_modes),
        SCRATCH_TEST(test_delta_spares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
