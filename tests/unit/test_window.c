/* repo/walmap.h, repo/window.h: ranges of stored WAL, and the windows that follow from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "repo/window.h"

#define SEG (16u * 1024 * 1024)

static void add(WalMap *map, uint32_t tli, uint64_t first, uint64_t last)
{
    char name[WALNAME_SEGMENT_TEXT];
    for (uint64_t segno = first; segno <= last; segno++) {
        WalObject object = {.stored_size = 100};
        walname_format(name, tli, segno, SEG);
        assert_true(walname_parse(name, &object.name));
        walmap_add(map, &object);
    }
}

/* Timelines `from` were left at `lsn` each. */
static void descend(WalMap *map, uint32_t tli, const char *history)
{
    Error err;
    WalTimeline *t = walmap_timeline(map, tli);
    assert_false(t->followed);
    assert_non_null(t->trouble);
    free(t->trouble);
    t->trouble = NULL;
    t->followed = true;
    assert_true(timeline_history_parse(tli, history, strlen(history), &t->history, &err));
}

/* A backup from the first byte of segment `first` to the last of segment `last`. */
static Backup backup(const char *label, uint32_t tli, uint64_t first, uint64_t last)
{
    Backup b = {.start_lsn = first * SEG,
                .stop_lsn = (last + 1) * SEG,
                .start_tli = tli,
                .stop_tli = tli,
                .segsize = SEG,
                .stop_time = (Instant)last * CLOCK_SECOND};
    memcpy(b.label, label, strlen(label) + 1);
    return b;
}

static WalMapEnd follow(WalMap *map, uint32_t tli, uint64_t from, uint64_t *next)
{
    return walmap_follow(map, walmap_find(map, tli), from, next);
}

static void assert_range(const WalTimeline *t, size_t i, uint64_t first, uint64_t last,
                         uint64_t size, bool conflict)
{
    assert_true(i < t->count);
    assert_int_equal(t->ranges[i].first, first);
    assert_int_equal(t->ranges[i].last, last);
    assert_int_equal(t->ranges[i].stored_size, size);
    assert_int_equal(t->ranges[i].conflict, conflict);
}

static void test_ranges(void **state)
{
    (void)state;
    WalMap map = {.segsize = SEG};
    WalObject odd = {.name = {.kind = WALNAME_SEGMENT, .tli = 1, .seg = 256}};
    add(&map, 1, 250, 260); /* across a 4 GiB border of the names */
    add(&map, 1, 263, 263);
    add(&map, 3, 1, 1);
    add(&map, 2, 5, 6);
    walmap_add(&map, &odd);
    assert_int_equal(map.misfits, 1);
    assert_int_equal(map.count, 3);
    assert_int_equal(map.timelines[1].tli, 2);
    assert_range(walmap_find(&map, 1), 0, 250, 260, 1100, false);
    assert_range(walmap_find(&map, 1), 1, 263, 263, 100, false);
    assert_null(walmap_find(&map, 4));
    walmap_free(&map);
}

/* Several contents in the middle, at the beginning, side by side, thrice. */
static void test_conflicts(void **state)
{
    (void)state;
    WalMap map = {.segsize = SEG};
    add(&map, 1, 5, 5);
    add(&map, 1, 5, 5);
    add(&map, 1, 6, 8);
    add(&map, 1, 8, 8);
    add(&map, 1, 8, 8);
    add(&map, 1, 9, 9);
    add(&map, 1, 9, 9);
    add(&map, 1, 10, 10);
    const WalTimeline *t = walmap_find(&map, 1);
    assert_int_equal(t->count, 4);
    assert_range(t, 0, 5, 5, 200, true);
    assert_range(t, 1, 6, 7, 200, false);
    assert_range(t, 2, 8, 9, 500, true);
    assert_range(t, 3, 10, 10, 100, false);
    uint64_t next;
    assert_int_equal(follow(&map, 1, 6, &next), WALMAP_CONFLICT);
    assert_int_equal(next, 8);
    assert_int_equal(follow(&map, 1, 8, &next), WALMAP_CONFLICT);
    assert_int_equal(next, 8);
    assert_int_equal(follow(&map, 1, 10, &next), WALMAP_END);
    assert_int_equal(next, 11);
    walmap_free(&map);
}

/* Left in the middle of segment 5: it belongs to the child, even if the parent has it. */
static void test_fork_inside(void **state)
{
    (void)state;
    WalMap map = {.segsize = SEG};
    uint64_t next;
    char name[WALNAME_SEGMENT_TEXT];
    add(&map, 1, 2, 8);
    descend(&map, 2, "1\t0/5000148\tno recovery target specified\n");
    assert_int_equal(follow(&map, 2, 2, &next), WALMAP_END);
    assert_int_equal(next, 5);
    add(&map, 2, 6, 7);
    assert_int_equal(follow(&map, 2, 2, &next), WALMAP_MISSING);
    assert_int_equal(next, 5);
    walmap_name(&map, walmap_find(&map, 2), 5, name);
    assert_string_equal(name, "000000020000000000000005");
    walmap_name(&map, walmap_find(&map, 2), 4, name);
    assert_string_equal(name, "000000010000000000000004");
    assert_int_equal(follow(&map, 1, 2, &next), WALMAP_END);
    assert_int_equal(next, 9);
    assert_int_equal(walmap_part_of(&map, walmap_find(&map, 1)), 0);
    walmap_free(&map);
}

/* Left at a border: segment 5 is the child's first, and nothing of the parent is lost. */
static void test_fork_at_border(void **state)
{
    (void)state;
    WalMap map = {.segsize = SEG};
    uint64_t next;
    add(&map, 1, 2, 4);
    descend(&map, 2, "1\t0/5000000\tx\n");
    add(&map, 2, 5, 6);
    descend(&map, 3, "1\t0/5000000\tx\n\n2\t0/7000100\ty\n");
    assert_int_equal(follow(&map, 3, 2, &next), WALMAP_END);
    assert_int_equal(next, 7);
    assert_int_equal(walmap_part_of(&map, walmap_find(&map, 1)), 3);
    assert_int_equal(walmap_part_of(&map, walmap_find(&map, 2)), 3);
    assert_int_equal(walmap_part_of(&map, walmap_find(&map, 3)), 0);
    add(&map, 3, 7, 7);
    assert_int_equal(follow(&map, 3, 3, &next), WALMAP_END);
    assert_int_equal(next, 8);
    /* 2 goes on past the fork by itself. */
    add(&map, 2, 7, 7);
    assert_int_equal(walmap_part_of(&map, walmap_find(&map, 2)), 0);
    walmap_free(&map);
}

/* A hole that only shows along the path: 1 ends at 4, 2 was left at 8. */
static void test_hole_before_fork(void **state)
{
    (void)state;
    WalMap map = {.segsize = SEG};
    uint64_t next;
    add(&map, 1, 2, 4);
    descend(&map, 2, "1\t0/8000010\tx\n");
    add(&map, 2, 8, 8);
    assert_int_equal(follow(&map, 2, 2, &next), WALMAP_MISSING);
    assert_int_equal(next, 5);
    assert_int_equal(follow(&map, 1, 2, &next), WALMAP_END);
    walmap_free(&map);
}

static void test_windows(void **state)
{
    (void)state;
    WalMap map = {.segsize = SEG};
    Window *w;
    Backup backups[] = {backup("A", 1, 1, 1), backup("B", 1, 3, 3), backup("C", 1, 4, 5),
                        backup("D", 1, 7, 8), backup("E", 1, 9, 9)};
    Catalog catalog = {.backups = backups, .count = 5};
    add(&map, 1, 2, 6);
    add(&map, 1, 8, 12);
    size_t n = windows_find(&map, walmap_find(&map, 1), &catalog, &w);
    /* A's WAL has gone, D's has a hole. */
    assert_int_equal(n, 2);
    assert_int_equal(w[0].count, 2);
    assert_string_equal(w[0].backups[0]->label, "B");
    assert_string_equal(w[0].backups[1]->label, "C");
    assert_int_equal(w[0].first, 3);
    assert_int_equal(w[0].next, 7);
    assert_int_equal(w[0].end, WALMAP_MISSING);
    assert_int_equal(w[1].count, 1);
    assert_string_equal(w[1].backups[0]->label, "E");
    assert_int_equal(w[1].next, 13);
    assert_int_equal(w[1].end, WALMAP_END);
    windows_free(w, n);

    uint64_t missing;
    bool known;
    assert_false(window_backup_whole(&map, &backups[0], &missing, &known));
    assert_true(known && missing == 1);
    assert_false(window_backup_whole(&map, &backups[3], &missing, &known));
    assert_true(known && missing == 7);
    assert_true(window_backup_whole(&map, &backups[4], &missing, &known));

    /* A damaged one begins no window. */
    backups[1].damaged = backups[4].damaged = true;
    n = windows_find(&map, walmap_find(&map, 1), &catalog, &w);
    assert_int_equal(n, 1);
    assert_string_equal(w[0].backups[0]->label, "C");
    windows_free(w, n);
    walmap_free(&map);
}

/* Backups of an ancestor count up to the fork, and none without a history. */
static void test_windows_of_child(void **state)
{
    (void)state;
    WalMap map = {.segsize = SEG};
    Window *w;
    Backup backups[] = {backup("A", 1, 2, 2), backup("B", 1, 5, 6), backup("C", 2, 6, 6),
                        backup("D", 3, 2, 2)};
    Catalog catalog = {.backups = backups, .count = 4};
    add(&map, 1, 2, 9);
    descend(&map, 2, "1\t0/5000010\tx\n");
    add(&map, 2, 5, 7);
    add(&map, 3, 1, 4);
    size_t n = windows_find(&map, walmap_find(&map, 2), &catalog, &w);
    assert_int_equal(n, 1);
    assert_int_equal(w[0].count, 2);
    assert_string_equal(w[0].backups[0]->label, "A");
    assert_string_equal(w[0].backups[1]->label, "C");
    assert_int_equal(w[0].next, 8);
    windows_free(w, n);
    n = windows_find(&map, walmap_find(&map, 3), &catalog, &w);
    assert_int_equal(n, 0);
    windows_free(w, n);
    uint64_t missing;
    bool known;
    assert_false(window_backup_whole(&map, &backups[3], &missing, &known));
    assert_false(known);
    walmap_free(&map);
}

/* What a hostile backup.json may hold. */
static void test_nonsense(void **state)
{
    (void)state;
    WalMap map = {.segsize = SEG};
    Window *w;
    Backup backups[] = {backup("A", 1, 2, 2), backup("B", 1, 2, 2)};
    Catalog catalog = {.backups = backups, .count = 2};
    backups[0].stop_lsn = backups[0].start_lsn;
    backups[1].start_lsn = UINT64_MAX - 1;
    backups[1].stop_lsn = UINT64_MAX;
    add(&map, 1, 2, 3);
    assert_int_equal(windows_find(&map, walmap_find(&map, 1), &catalog, &w), 0);
    windows_free(w, 0);
    map.segsize = 0;
    assert_int_equal(windows_find(&map, walmap_find(&map, 1), &catalog, &w), 0);
    windows_free(w, 0);
    walmap_free(&map);
}

static void test_latest(void **state)
{
    (void)state;
    Backup b = backup("A", 1, 2, 2);
    const Backup *list[] = {&b};
    Window w = {.backups = list, .count = 1};
    Instant latest;
    assert_false(window_latest(&w, &latest));
    w.any_tail = w.tail.any_commit = true;
    w.tail.last_commit.lsn = b.stop_lsn - 8;
    w.tail.last_commit.time = b.stop_time + 1;
    assert_false(window_latest(&w, &latest)); /* a part of the backup */
    w.tail.last_commit.lsn = b.stop_lsn;
    assert_true(window_latest(&w, &latest));
    assert_int_equal(latest, b.stop_time + 1);
    w.tail.last_commit.time = b.stop_time;
    assert_false(window_latest(&w, &latest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),           cmocka_unit_test(test_conflicts),
        cmocka_unit_test(test_fork_inside),      cmocka_unit_test(test_fork_at_border),
        cmocka_unit_test(test_hole_before_fork), cmocka_unit_test(test_windows),
        cmocka_unit_test(test_windows_of_child), cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_latest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
