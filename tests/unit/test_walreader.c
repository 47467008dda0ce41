/* pg/walreader.h: records over pages and segments, every end of WAL, failing sources. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pg/walpage.h"
#include "pg/walreader.h"
#include "walbuild.h"

#define MIB   (UINT32_C(1) << 20)
#define FIRST UINT64_C(5)
#define MAX   4096
#define PG15  0xD110

/* What was written, and what is read back. */
typedef struct Log {
    uint64_t lsn[MAX];
    uint32_t len[MAX];
    size_t n;
} Log;

static WalBuild b;
static Log want;
static BuildSource mem;
static WalReader *reader;
static uint8_t body[3 * MIB];

static void start(uint16_t magic, uint32_t blcksz)
{
    b = build_new(magic, MIB, blcksz, FIRST);
    want.n = 0;
    WalSource source = build_source(&mem, &b);
    reader = walreader_new(&source, MIB, BUILD_SYSID);
}

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (uint8_t)(i * 31 + i / 251);
    start(PG15, 8192);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    walreader_free(reader);
    free(b.bytes);
    assert_int_equal(mem.opened, mem.closed);
    return 0;
}

static uint64_t add(uint32_t len)
{
    want.len[want.n] = 24 + len;
    return want.lsn[want.n++] = build_add(&b, 10, 0, 7, body, len);
}

static uint64_t add_switch(void)
{
    want.len[want.n] = 24;
    return want.lsn[want.n++] = build_add(&b, 0, 0x40, 0, NULL, 0);
}

/* Records until the page has `room` bytes left. */
static void fill_to(uint32_t room)
{
    while (build_room(&b) < room + 32 || b.pos % b.blcksz == 0)
        add(64);
    while (build_room(&b) > room + 1024)
        add(512 - 24);
    add(build_room(&b) - room - 24);
    assert_int_equal(build_room(&b), room == 0 ? b.blcksz : room);
}

/* Reads all from segment `segno`, which must be `want` from entry `from` on, and then end. */
static const WalEnd *expect(uint64_t segno, size_t from)
{
    Error err;
    WalRecord rec;
    WalNext next;
    if (!walreader_seek(reader, segno, &err))
        fail_msg("seek: %s", err.message);
    uint64_t prev = 0;
    while ((next = walreader_next(reader, &rec, &err)) == WALNEXT_RECORD) {
        if (from == want.n)
            fail_msg("one record too many");
        assert_true(rec.lsn == want.lsn[from]);
        assert_int_equal(rec.len, want.len[from]);
        assert_true(prev == 0 || rec.prev == prev);
        assert_true(rec.end_lsn > rec.lsn && rec.end_lsn % 8 == 0);
        if (rec.rmid == 10) {
            assert_int_equal(rec.xid, 7);
            assert_memory_equal(rec.data + 24, body, rec.len - 24);
        }
        prev = rec.lsn;
        from++;
    }
    assert_int_equal(next, WALNEXT_END);
    if (from != want.n)
        fail_msg("ended early: %s", walreader_end(reader)->reason);
    assert_int_equal(walreader_next(reader, &rec, &err), WALNEXT_END);
    return walreader_end(reader);
}

static void ends_with(const WalEnd *end, const char *part)
{
    if (!strstr(end->reason, part))
        fail_msg("reason: %s", end->reason);
}

static void test_one_page(void **state)
{
    (void)state;
    add(0);
    add(1);
    add(100);
    const WalEnd *end = expect(FIRST, 0);
    assert_true(end->lsn == b.pos && end->segno == FIRST);
    assert_false(end->absent);
    assert_false(end->in_record);
    ends_with(end, "nothing was written");
    assert_int_equal(walreader_major(reader), 15);
}

/* A record of each size, begun at each distance from the end of a page. */
static void test_page_boundaries(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 8, 100, 8168, 8200, 20000};
    for (uint32_t room = 0; room <= 48; room += 8)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            fill_to(room);
            add(sizes[i]);
        }
    fill_to(0);
    expect(FIRST, 0);
}

static void test_segments(void **state)
{
    (void)state;
    uint64_t segno = FIRST;
    while (b.pos < (FIRST + 4) * MIB + 5000) {
        uint64_t lsn = add((uint32_t)(want.n * 977 % 9000));
        /* from each segment on, reading begins with its first record */
        if (lsn / MIB != segno) {
            segno = lsn / MIB;
            expect(segno, want.n - 1);
        }
    }
    expect(FIRST, 0);
    assert_int_equal(segno, FIRST + 4);
}

/* A record that fills two segments and more. */
static void test_record_longer_than_segments(void **state)
{
    (void)state;
    add(10);
    add(2 * MIB + MIB / 2);
    size_t after = want.n;
    add(20);
    expect(FIRST, 0);
    expect(FIRST + 1, after);
    expect(FIRST + 2, after);
    mem.segments = 2;
    want.n = 1;
    const WalEnd *end = expect(FIRST, 0);
    assert_true(end->absent && end->in_record && end->segno == FIRST + 2);
    assert_true(end->lsn == want.lsn[1]);
    /* begins nowhere */
    want.n = 0;
    end = expect(FIRST + 1, 0);
    assert_true(end->absent && !end->in_record);
}

static void test_switch(void **state)
{
    (void)state;
    Error err;
    WalRecord rec;
    add(100);
    add_switch();
    add(200);
    const WalEnd *end = expect(FIRST, 0);
    assert_true(end->segno == FIRST + 1);
    assert_true(walreader_seek(reader, FIRST, &err));
    walreader_next(reader, &rec, &err);
    assert_int_equal(walreader_next(reader, &rec, &err), WALNEXT_RECORD);
    assert_true(rec.end_lsn == (FIRST + 1) * MIB);
    mem.segments = 1;
    want.n = 2;
    end = expect(FIRST, 0);
    assert_true(end->absent && end->segno == FIRST + 1 && !end->in_record);
    ends_with(end, "0/600000 is not there");
}

/* The switch record's own 24 bytes cross into another page, or another segment. */
static void test_switch_over_boundary(void **state)
{
    (void)state;
    for (uint32_t room = 8; room <= 24; room += 8) {
        fill_to(room);
        add_switch();
    }
    expect(FIRST, 0);
    for (uint32_t room = 8; room <= 24; room += 8) {
        teardown(NULL);
        start(PG15, 8192);
        while (b.pos % MIB < MIB - 8192)
            add(7000);
        fill_to(room);
        add_switch();
        size_t after = want.n;
        add(50);
        /* the tail stands alone in the next segment, records in the one after */
        assert_true(b.pos / MIB == FIRST + (room < 24 ? 2 : 1));
        expect(FIRST, 0);
        expect(FIRST + 1, after);
    }
}

/* A server died in the middle of a record and went on at the next page. */
static void overwrite(uint16_t magic, uint16_t flag)
{
    teardown(NULL);
    start(magic, 8192);
    add(100);
    fill_to(64);
    uint64_t lost = b.pos;
    uint8_t *r = build_record(10, 0, 9, b.prev, body, 9000);
    build_bytes(&b, r, 64, true);
    free(r);
    assert_int_equal(b.pos % 8192, 0);
    build_page(&b, flag, 0);
    uint8_t told[16] = {0};
    put64(told, lost);
    want.len[want.n] = 24 + 16;
    want.lsn[want.n++] = build_add(&b, 0, 0xD0, 0, told, 16);
    add(30);
    expect(FIRST, 0);
}

static void test_overwritten_contrecord(void **state)
{
    (void)state;
    overwrite(PG15, 8);
    overwrite(0xD120, 4);
}

static void test_other_page_size_and_majors(void **state)
{
    (void)state;
    static const uint16_t magic[] = {0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118, 0xD120};
    static const uint32_t blcksz[] = {1024, 4096, 32768, 65536, 8192, 16384, 2048};
    for (size_t i = 0; i < 7; i++) {
        teardown(NULL);
        start(magic[i], blcksz[i]);
        while (b.pos < (FIRST + 1) * MIB + 5000)
            add((uint32_t)(want.n * 977 % 9000));
        expect(FIRST, 0);
        assert_int_equal(walreader_major(reader), 13 + (int)i);
    }
}

/* Three pages of records; the third record from the end, to be damaged. */
static uint8_t *three(size_t *at)
{
    for (int i = 0; i < 40; i++)
        add(500);
    *at = want.n - 3;
    return build_at(&b, want.lsn[*at]);
}

static void test_bad_records(void **state)
{
    (void)state;
    size_t at;
    uint8_t *p = three(&at), saved[600];
    memcpy(saved, p, sizeof(saved));
    want.n = at;
    p[30] ^= 1;
    ends_with(expect(FIRST, 0), "wrong checksum");
    p[30] ^= 1;
    p[17] ^= 1;
    ends_with(expect(FIRST, 0), "wrong checksum");
    p[17] ^= 1;
    put32(p, 0);
    ends_with(expect(FIRST, 0), "nothing was written");
    put32(p, 23);
    ends_with(expect(FIRST, 0), "impossible length (23)");
    put32(p, (1u << 30) + 1);
    ends_with(expect(FIRST, 0), "impossible length");
    put32(p, 1u << 30);
    const WalEnd *end = expect(FIRST, 0);
    assert_true(end->in_record);
    ends_with(end, "magic number 0000");
    memcpy(p, saved, sizeof(saved));
    /* whole and sound, but of another run */
    uint8_t *r = build_record(10, 0, 7, want.lsn[at - 1] - 8, body, 500);
    memcpy(p, r, 524);
    free(r);
    end = expect(FIRST, 0);
    ends_with(end, "as the one before");
    assert_true(end->lsn == want.lsn[at]);
}

static void test_first_record_with_later_prev(void **state)
{
    (void)state;
    b.prev = FIRST * MIB + 40;
    add(10);
    want.n = 0;
    ends_with(expect(FIRST, 0), "as the one before");
}

static void damaged_page(uint64_t page, size_t offset, uint8_t value, const char *part)
{
    uint8_t *p = build_at(&b, page) + offset, old = *p;
    *p = value;
    ends_with(expect(FIRST, 0), part);
    *p = old;
}

/* A page in mid-segment behind a record that ends with the page before. */
static void test_bad_pages(void **state)
{
    (void)state;
    fill_to(0);
    add(10);
    uint64_t page = FIRST * MIB + 8192;
    want.n--;
    damaged_page(page, 0, 0x06, "magic number D106, not D110");
    damaged_page(page, 0, 0x77, "magic number D177");
    damaged_page(page, 2, 0x10, "invalid flags");
    damaged_page(page, 10, 0x33, "is that of");
    damaged_page(page, 4, 0x00, "timeline 0, after timeline 1");
    damaged_page(page, 2, 0x01, "continues a record that did not begin");
    want.n++;
    expect(FIRST, 0);
}

static void test_bad_continuation(void **state)
{
    (void)state;
    fill_to(64);
    add(9000);
    uint64_t page = FIRST * MIB + 8192;
    want.n--;
    damaged_page(page, 2, 0x00, "does not continue the record");
    damaged_page(page, 16, 0x01, "continues a record with");
    damaged_page(page + 8192, 17, 0x00, "continues a record with");
    damaged_page(page + 8192, 10, 0x33, "is that of");
    damaged_page(page + 100, 0, 0x01, "wrong checksum");
    want.n++;
    expect(FIRST, 0);
}

static void test_bad_later_segment(void **state)
{
    (void)state;
    add_switch();
    add(10);
    uint64_t page = (FIRST + 1) * MIB;
    want.n--;
    damaged_page(page, 0, 0x00, "magic D100");
    damaged_page(page, 2, 0x00, "flags (0000)");
    damaged_page(page, 24, 0x33, "system");
    damaged_page(page, 34, 0x20, "segment size");
    damaged_page(page, 37, 0x10, "page size of 4096, not 8192");
    damaged_page(page, 36, 0x01, "impossible page size");
    damaged_page(page, 10, 0x10, "begins at");
    want.n++;
    expect(FIRST, 0);
}

/* The first page of a file of timeline 3 that timeline 1 began; later pages are its own. */
static void test_timelines_rise(void **state)
{
    (void)state;
    fill_to(0);
    b.tli = 3;
    add(10);
    expect(FIRST, 0);
    Error err;
    WalRecord rec = {0};
    assert_true(walreader_seek(reader, FIRST, &err));
    assert_int_equal(walreader_next(reader, &rec, &err), WALNEXT_RECORD);
    assert_int_equal(rec.tli, 1);
    while (walreader_next(reader, &rec, &err) == WALNEXT_RECORD)
        ;
    assert_int_equal(rec.tli, 3);
}

static void seek_fails(uint64_t segno, ErrorCode code, const char *part)
{
    Error err = {0};
    WalRecord rec;
    assert_false(walreader_seek(reader, segno, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.message, part))
        fail_msg("message: %s", err.message);
    assert_int_equal(walreader_next(reader, &rec, &err), WALNEXT_ERROR);
}

static void test_seek_errors(void **state)
{
    (void)state;
    Error err;
    WalRecord rec;
    assert_int_equal(walreader_next(reader, &rec, &err), WALNEXT_ERROR);
    assert_int_equal(err.code, ERR_INTERNAL);
    add(10);
    seek_fails(FIRST - 1, ERR_NO, "is not there");
    seek_fails(FIRST + 1, ERR_DAMAGED, "magic 0000");
    mem.fail_open = 1;
    seek_fails(FIRST, ERR_REPO, "open failed");
    mem.fail_read = 1;
    seek_fails(FIRST, ERR_REPO, "read failed");
    mem.fail_read = 2;
    seek_fails(FIRST, ERR_REPO, "read failed");
    uint8_t *p = build_at(&b, FIRST * MIB);
    p[24] ^= 1;
    seek_fails(FIRST, ERR_USAGE, "system");
    p[24] ^= 1;
    put16(p, 0xD119);
    seek_fails(FIRST, ERR_USAGE, "D119");
    put16(p, PG15);
    put32(p + 32, 2 * MIB);
    seek_fails(FIRST, ERR_DAMAGED, "segment size of 2097152, not 1048576");
    put32(p + 32, MIB);
    expect(FIRST, 0);
}

/* A seek after an end or an error begins anew. */
static void test_failing_source(void **state)
{
    (void)state;
    Error err;
    WalRecord rec;
    WalNext next;
    while (b.pos < (FIRST + 1) * MIB + 100)
        add(3000);
    for (int kind = 0; kind < 2; kind++) {
        mem.fail_read = kind == 0 ? 20 : 0;
        mem.fail_open = kind == 1 ? 2 : 0;
        assert_true(walreader_seek(reader, FIRST, &err));
        while ((next = walreader_next(reader, &rec, &err)) == WALNEXT_RECORD)
            ;
        assert_int_equal(next, WALNEXT_ERROR);
        assert_int_equal(err.code, ERR_REPO);
        err.code = ERR_NONE;
        assert_int_equal(walreader_next(reader, &rec, &err), WALNEXT_ERROR);
        assert_int_equal(err.code, ERR_REPO);
        expect(FIRST, 0);
    }
}

/* What a stopped transfer leaves: the end of WAL is where the bytes end. */
static void test_short_segment(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        add(500);
    mem.cut = want.lsn[60] % MIB + 100;
    want.n = 60;
    const WalEnd *end = expect(FIRST, 0);
    assert_true(end->lsn == want.lsn[60]);
    mem.cut = 30;
    seek_fails(FIRST, ERR_DAMAGED, "segment size of 0");
}

static void test_any_system(void **state)
{
    (void)state;
    WalSource source = build_source(&mem, &b);
    walreader_free(reader);
    reader = walreader_new(&source, MIB, 0);
    add(10);
    expect(FIRST, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_one_page),
        TEST(test_page_boundaries),
        TEST(test_segments),
        TEST(test_record_longer_than_segments),
        TEST(test_switch),
        TEST(test_switch_over_boundary),
        TEST(test_overwritten_contrecord),
        TEST(test_other_page_size_and_majors),
        TEST(test_bad_records),
        TEST(test_first_record_with_later_prev),
        TEST(test_bad_pages),
        TEST(test_bad_continuation),
        TEST(test_bad_later_segment),
        TEST(test_timelines_rise),
        TEST(test_seek_errors),
        TEST(test_failing_source),
        TEST(test_short_segment),
        TEST(test_any_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
