/* repo/catalog.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "repo/catalog.h"
#include "scratch.h"

#define NOW  (INT64_C(1795230000) * CLOCK_SECOND)
#define BASE "repo/v1/main/15-7300000000000000001/base"

static char version[] = "0.1 \"x\"", host[] = "h\303\266st\n", one[] = "/srv/one",
            two[] = "/srv/t\"\\\tw\303\266", lines[2][40] = {"bad page 1", "bad \"page\" 2"};
static char *damage[] = {lines[0], lines[1]};
static BackupTablespace spaces[] = {{16384, one}, {UINT32_MAX, two}};

static Backup sample(const char *label)
{
    Backup b = {.pitr_version = version,
                .host = host,
                .major = 15,
                .server_version = 150020,
                .sysid = UINT64_MAX - 1,
                .segsize = 1024 * 1024,
                .from_standby = true,
                .start_lsn = UINT64_C(0x1FFFFFFFF0000028),
                .stop_lsn = UINT64_C(0x1FFFFFFFF0000100),
                .start_tli = 2,
                .stop_tli = UINT32_MAX,
                .start_time = NOW - 1,
                .stop_time = NOW,
                .written = NOW + 250000,
                .clock_skew = -1234567,
                .totals = {1, 2, 3, 4, UINT64_C(1) << 50, UINT64_C(1) << 49},
                .pack_size = 33554432,
                .index_size = 77,
                .manifest_size = 88,
                .tablespaces = spaces,
                .tablespace_count = 2,
                .damaged = true,
                .damage = damage,
                .damage_count = 2};
    snprintf(b.label, sizeof(b.label), "%s", label);
    memset(b.index_sha256, 'a', 64);
    memset(b.manifest_sha256, 'b', 64);
    return b;
}

static void expect_same(const Backup *x, const Backup *y)
{
    assert_string_equal(x->label, y->label);
    assert_string_equal(x->pitr_version, y->pitr_version);
    assert_string_equal(x->host, y->host);
    assert_int_equal(x->major, y->major);
    assert_int_equal(x->server_version, y->server_version);
    assert_true(x->sysid == y->sysid && x->segsize == y->segsize);
    assert_int_equal(x->from_standby, y->from_standby);
    assert_true(x->start_lsn == y->start_lsn && x->stop_lsn == y->stop_lsn);
    assert_true(x->start_tli == y->start_tli && x->stop_tli == y->stop_tli);
    assert_true(x->start_time == y->start_time && x->stop_time == y->stop_time);
    assert_true(x->written == y->written && x->clock_skew == y->clock_skew);
    assert_memory_equal(&x->totals, &y->totals, sizeof(x->totals));
    assert_true(x->pack_size == y->pack_size);
    assert_string_equal(x->index_sha256, y->index_sha256);
    assert_string_equal(x->manifest_sha256, y->manifest_sha256);
    assert_true(x->index_size == y->index_size && x->manifest_size == y->manifest_size);
    assert_int_equal(x->damaged, y->damaged);
    assert_int_equal(x->damage_count, y->damage_count);
    for (size_t i = 0; i < x->damage_count; i++)
        assert_string_equal(x->damage[i], y->damage[i]);
    assert_int_equal(x->tablespace_count, y->tablespace_count);
    for (size_t i = 0; i < x->tablespace_count; i++) {
        assert_int_equal(x->tablespaces[i].oid, y->tablespaces[i].oid);
        assert_string_equal(x->tablespaces[i].location, y->tablespaces[i].location);
    }
}

static void test_round_trip(void **state)
{
    Scratch *s = *state;
    Error err;
    Catalog c;
    Backup b = sample("20261121T030000Z-F"), bare = sample("20261121T030001Z-F");
    bare.tablespace_count = bare.damage_count = 0;
    bare.damaged = bare.from_standby = false;
    must(catalog_finish(s->repo, &b, &err), &err);
    must(catalog_finish(s->repo, &bare, &err), &err);
    must(catalog_load(s->repo, &c, &err), &err);
    assert_int_equal(c.count, 2);
    expect_same(&c.backups[0], &b);
    expect_same(&c.backups[1], &bare);
    assert_ptr_equal(catalog_find(&c, bare.label), &c.backups[1]);
    assert_null(catalog_find(&c, "20261121T030002Z-F"));
    catalog_free(&c);
    /* never over an existing one */
    bare.major = 16;
    assert_false(catalog_finish(s->repo, &bare, &err));
    assert_int_equal(err.code, ERR_REPO);
}

/* Makes a change to a good backup.json. */
static void expect_damaged(const char *key, json_t *value)
{
    Error err = {0};
    Backup b = sample("20261121T030000Z-F"), out;
    json_t *json = backup_to_json(&b);
    if (value)
        json_object_set_new(json, key, value);
    else
        json_object_del(json, key);
    if (backup_from_json(json, &out, &err))
        fail_msg("taken with another %s", key);
    assert_int_equal(err.code, ERR_DAMAGED);
    json_decref(json);
}

static json_t *point(const char *lsn, json_int_t tli, const char *time)
{
    return json_pack("{s:s, s:I, s:s}", "lsn", lsn, "timeline", tli, "time", time);
}

static void test_damaged_fields(void **state)
{
    (void)state;
    Error err;
    Backup b = sample("20261121T030000Z-F"), out;
    const char *key;
    json_t *json = backup_to_json(&b), *value;
    assert_non_null(json);
    json_object_foreach(json, key, value) if (strcmp(key, "type") != 0 &&
                                              strcmp(key, "tablespaces") != 0 &&
                                              strcmp(key, "damage") != 0) expect_damaged(key, NULL);
    /* what a later version adds is no matter */
    json_object_set_new(json, "later", json_true());
    must(backup_from_json(json, &out, &err), &err);
    backup_free(&out);
    json_decref(json);
    expect_damaged("format", json_integer(2));
    expect_damaged("format", json_string("1"));
    expect_damaged("label", json_string("20261121T030000Z-FFFFFFFFFFF"));
    expect_damaged("label", json_integer(1));
    expect_damaged("wal_segment_size", json_integer(0));
    expect_damaged("wal_segment_size", json_integer(1000000));
    expect_damaged("wal_segment_size", json_integer(-1048576));
    expect_damaged("wal_segment_size", json_integer((json_int_t)1 << 33));
    expect_damaged("written", json_string("yesterday"));
    expect_damaged("system_id", json_string("x"));
    expect_damaged("start", point("0/1", 0, "2026-11-21T03:00:00Z"));
    expect_damaged("start", point("0/1", (json_int_t)1 << 32, "2026-11-21T03:00:00Z"));
    expect_damaged("stop", point("0-1", 1, "2026-11-21T03:00:00Z"));
    expect_damaged("stop", point("0/1", 1, "2026-11-21"));
    expect_damaged("stop", json_null());
    expect_damaged("tablespaces", json_pack("[{s:i}]", "oid", 5));
    expect_damaged("tablespaces", json_pack("[{s:i, s:s}]", "oid", 0, "location", "/x"));
    expect_damaged("tablespaces", json_pack("[{s:i, s:s}]", "oid", 5, "location", "x"));
    expect_damaged("tablespaces", json_pack("[{s:i, s:s}, i]", "oid", 5, "location", "/x", 3));
    expect_damaged("damage", json_pack("[s, i]", "x", 3));
    expect_damaged("index", json_pack("{s:s, s:i}", "sha256", "abc", "stored_size", 1));
    json = json_array();
    assert_false(backup_from_json(json, &out, &err));
    assert_int_equal(err.code, ERR_DAMAGED);
    json_decref(json);
}

/* JSON holds UTF-8 only. A tablespace may not get lost, a message may lose its accents. */
static void test_other_encodings(void **state)
{
    Scratch *s = *state;
    Error err = {0};
    Catalog c;
    static char latin[] = "/srv/caf\351", message[] = "p\344ge 1";
    static char *said[] = {message, lines[1]};
    BackupTablespace space = {16384, latin};
    Backup b = sample("20261121T030000Z-F");
    b.damage = said;
    must(catalog_finish(s->repo, &b, &err), &err);
    must(catalog_load(s->repo, &c, &err), &err);
    assert_int_equal(c.backups[0].damage_count, 2);
    assert_string_equal(c.backups[0].damage[1], lines[1]);
    catalog_free(&c);
    b = sample("20261121T030001Z-F");
    b.tablespaces = &space;
    b.tablespace_count = 1;
    assert_false(catalog_finish(s->repo, &b, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
}

/* A damaged backup.json is left out, with a warning; the others are there. */
static void test_damaged_objects(void **state)
{
    Scratch *s = *state;
    Error err;
    Catalog c;
    static const char *const bad[] = {"",        "{", "[]", "{}", "{\"format\": 1, \"format\": 1}",
                                      "\377\376"};
    Backup b = sample("20261121T030000Z-F");
    must(catalog_finish(s->repo, &b, &err), &err);
    char *good = scratch_read(s, scratch_path(s, BASE "/%s/backup.json", b.label), NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        scratch_text(scratch_path(s, BASE "/bad%zu/backup.json", i), bad[i]);
    scratch_text(scratch_path(s, BASE "/other/backup.json"), good); /* another backup's */
    scratch_text(scratch_path(s, BASE "/begun/begin.json"), "{}");
    scratch_text(scratch_path(s, BASE "/a-name-that-is-longer-than-any-label/backup.json"), "{}");
    scratch_catch(s);
    must(catalog_load(s->repo, &c, &err), &err);
    char *said = scratch_stderr(s);
    assert_int_equal(c.count, 1);
    assert_int_equal(c.unreadable, 7);
    assert_int_equal(c.unfinished_count, 1);
    assert_string_equal(c.unfinished[0], "begun");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char label[16];
        snprintf(label, sizeof(label), "bad%zu", i);
        assert_non_null(strstr(said, label));
    }
    assert_non_null(strstr(said, "backup other is left out"));
    catalog_free(&c);
}

static void test_order(void **state)
{
    Scratch *s = *state;
    Error err;
    Catalog c;
    static const struct {
        const char *label;
        uint32_t tli;
        uint64_t lsn;
    } put[] = {{"20261121T030005Z-F", 1, 100},
               {"20261121T030004Z-F", 2, 50},
               {"20261121T030003Z-F", 1, 300},
               {"20261121T030002Z-F", 1, 300},
               {"20261121T030001Z-F", 10, 1}};
    static const int order[] = {0, 3, 2, 1, 4};
    for (size_t i = 0; i < 5; i++) {
        Backup b = sample(put[i].label);
        b.stop_tli = put[i].tli;
        b.stop_lsn = put[i].lsn;
        must(catalog_finish(s->repo, &b, &err), &err);
    }
    must(catalog_load(s->repo, &c, &err), &err);
    assert_int_equal(c.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(c.backups[i].label, put[order[i]].label);
    catalog_free(&c);
}

static void test_empty(void **state)
{
    Scratch *s = *state;
    Error err;
    Catalog c;
    assert_false(catalog_load(s->repo, &c, &err));
    assert_int_equal(err.code, ERR_REPO);
    must(storage_prepare(s->repo->storage, &err), &err);
    must(catalog_load(s->repo, &c, &err), &err);
    assert_int_equal(c.count + c.unfinished_count + c.unreadable, 0);
    catalog_free(&c);
}

static void test_begin(void **state)
{
    Scratch *s = *state;
    Error err;
    Catalog c;
    char label[LABEL_TEXT];
    must(catalog_begin(s->repo, NOW + 999999, label, &err), &err);
    assert_string_equal(label, "20261121T030000Z-F");
    must(catalog_begin(s->repo, NOW, label, &err), &err);
    assert_string_equal(label, "20261121T030001Z-F");
    must(catalog_begin(s->repo, NOW + CLOCK_SECOND, label, &err), &err);
    assert_string_equal(label, "20261121T030002Z-F");
    char *text = scratch_read(s, scratch_path(s, BASE "/%s/begin.json", label), NULL);
    json_t *json = json_loads(text, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json, "label")), label);
    assert_string_equal(json_string_value(json_object_get(json, "started")),
                        "2026-11-21T03:00:01Z");
    json_decref(json);
    must(catalog_load(s->repo, &c, &err), &err);
    assert_int_equal(c.count, 0);
    assert_int_equal(c.unfinished_count, 3);
    catalog_free(&c);
    for (int i = 3; i < 60; i++)
        must(catalog_begin(s->repo, NOW, label, &err), &err);
    assert_false(catalog_begin(s->repo, NOW, label, &err));
    assert_int_equal(err.code, ERR_LOCKED);
    must(catalog_begin(s->repo, NOW + CLOCK_SECOND, label, &err), &err);
    assert_string_equal(label, "20261121T030100Z-F");
}

/* All of a backup that failed goes, the proof that it exists first; others stay. */
static void test_discard(void **state)
{
    Scratch *s = *state;
    Error err;
    Backup b = sample("20261121T030001Z-F");
    char label[LABEL_TEXT];
    must(catalog_begin(s->repo, NOW, label, &err), &err);
    scratch_text(scratch_path(s, BASE "/%s/base-00000000.tar.lz4", label), "x");
    scratch_text(scratch_path(s, BASE "/%s/index.lz4", label), "x");
    scratch_text(scratch_path(s, BASE "/%s0/begin.json", label), "x");
    must(catalog_finish(s->repo, &b, &err), &err);
    catalog_discard(s->repo, label);
    static const char rest[] = "20261121T030000Z-F0/begin.json\n20261121T030001Z-F/backup.json\n";
    assert_string_equal(scratch_files(s, scratch_path(s, BASE)), rest);
    catalog_discard(s->repo, label);
    assert_string_equal(scratch_files(s, scratch_path(s, BASE)), rest);
    must(catalog_begin(s->repo, NOW, label, &err), &err);
    assert_string_equal(label, "20261121T030000Z-F");
    catalog_discard(s->repo, b.label);
    assert_false(fs_exists(scratch_path(s, BASE "/%s", b.label)));
    /* where backup.json can't be removed, nothing else is: a directory here, a lock elsewhere */
    scratch_text(scratch_path(s, BASE "/%s/backup.json/x", label), "x");
    scratch_text(scratch_path(s, BASE "/%s/index.lz4", label), "x");
    scratch_catch(s);
    catalog_discard(s->repo, label);
    assert_non_null(strstr(scratch_stderr(s), "could not be removed"));
    assert_true(fs_exists(scratch_path(s, BASE "/%s/index.lz4", label)));
    assert_true(fs_exists(scratch_path(s, BASE "/%s/begin.json", label)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_round_trip),      SCRATCH_TEST(test_damaged_fields),
        SCRATCH_TEST(test_damaged_objects), SCRATCH_TEST(test_order),
        SCRATCH_TEST(test_other_encodings), SCRATCH_TEST(test_empty),
        SCRATCH_TEST(test_begin),           SCRATCH_TEST(test_discard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
