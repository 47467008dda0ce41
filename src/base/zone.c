#include "base/zone.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

#define ZONE_DIR       "/usr/share/zoneinfo"
#define ZONE_NAME_MAX  64
#define ZONE_FILE_MAX  (256 * 1024)
#define HEADER_LEN     44
#define MAX_OFFSET     (26 * 3600) /* RFC 8536, 3.2 */
#define MAX_RULE_HOURS 167         /* RFC 8536, 3.3.1 */

/* One half of a POSIX rule: when a kind of time begins. */
typedef struct ChangeRule {
    char kind; /* 'M' month.week.weekday, 'J' day 1..365 never 29 February, '0' day 0..365 */
    int month; /* for 'M' */
    int week;  /* 1..5, 5 is the last */
    int day;   /* weekday from Sunday for 'M', else day of the year */
    int time;  /* seconds after midnight, may be negative */
} ChangeRule;

typedef struct PosixRule {
    bool present;
    bool has_dst;
    int32_t std, dst; /* seconds east of UTC */
    ChangeRule to_dst, to_std;
} PosixRule;

struct Zone {
    size_t count;    /* of changes */
    int64_t *at;     /* when, ascending */
    int32_t *offset; /* what then holds */
    int32_t before;  /* what holds before the first */
    PosixRule rule;  /* what holds after the last */
};

/* ---- the footer: POSIX TZ string ---- */

static bool read_number(const char **p, int max, int *out)
{
    int n = 0;
    if (!isdigit((unsigned char)**p))
        return false;
    for (; isdigit((unsigned char)**p); (*p)++) {
        n = n * 10 + (**p - '0');
        if (n > max)
            return false;
    }
    *out = n;
    return true;
}

/* [+-]hh[:mm[:ss]] in seconds, with the sign as it stands. */
static bool read_hms(const char **p, int max_hours, int *out)
{
    int sign = **p == '-' ? -1 : 1;
    int hour, minute = 0, second = 0;
    if (**p == '-' || **p == '+')
        (*p)++;
    if (!read_number(p, max_hours, &hour))
        return false;
    if (**p == ':') {
        (*p)++;
        if (!read_number(p, 59, &minute))
            return false;
    }
    if (**p == ':') {
        (*p)++;
        if (!read_number(p, 59, &second))
            return false;
    }
    *out = sign * (hour * 3600 + minute * 60 + second);
    return true;
}

static bool skip_abbreviation(const char **p)
{
    const char *start = *p;
    if (*start == '<') {
        const char *end = strchr(start, '>');
        if (!end)
            return false;
        *p = end + 1;
        return true;
    }
    while (isalpha((unsigned char)**p))
        (*p)++;
    return *p - start >= 3;
}

static bool read_change(const char **p, ChangeRule *rule)
{
    if (*(*p)++ != ',')
        return false;
    *rule = (ChangeRule){.kind = '0', .time = 2 * 3600};
    if (**p == 'M' || **p == 'J')
        rule->kind = *(*p)++;
    if (rule->kind == 'M') {
        if (!read_number(p, 12, &rule->month) || *(*p)++ != '.' ||
            !read_number(p, 5, &rule->week) || *(*p)++ != '.' || !read_number(p, 6, &rule->day))
            return false;
        if (rule->month < 1 || rule->week < 1)
            return false;
    } else if (!read_number(p, 365, &rule->day) || (rule->kind == 'J' && rule->day < 1)) {
        return false;
    }
    if (**p != '/')
        return true;
    (*p)++;
    return read_hms(p, MAX_RULE_HOURS, &rule->time);
}

static bool read_posix_rule(const char *p, PosixRule *rule)
{
    int west;
    *rule = (PosixRule){.present = *p != '\0'};
    if (!rule->present)
        return true;
    if (!skip_abbreviation(&p) || !read_hms(&p, 24, &west))
        return false;
    rule->std = -west;
    if (*p == '\0')
        return true;
    rule->has_dst = true;
    if (!skip_abbreviation(&p))
        return false;
    rule->dst = rule->std + 3600;
    if (*p != ',') {
        if (!read_hms(&p, 24, &west))
            return false;
        rule->dst = -west;
    }
    return read_change(&p, &rule->to_dst) && read_change(&p, &rule->to_std) && *p == '\0';
}

static bool is_leap_year(int year)
{
    return clock_days(year + 1, 1, 1) - clock_days(year, 1, 1) == 366;
}

/* When `rule` strikes in `year`, in seconds since 1970-01-01 of the wall clock before it. */
static int64_t change_in_year(const ChangeRule *rule, int year)
{
    int64_t day;
    if (rule->kind == 'M') {
        int64_t first = clock_days(year, rule->month, 1);
        int64_t next =
            rule->month == 12 ? clock_days(year + 1, 1, 1) : clock_days(year, rule->month + 1, 1);
        int weekday = (int)(((first + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
        day = first + (rule->day - weekday + 7) % 7 + (rule->week - 1) * 7;
        if (day >= next)
            day -= 7;
    } else {
        day = clock_days(year, 1, 1) + rule->day - (rule->kind == 'J');
        if (rule->kind == 'J' && is_leap_year(year) && rule->day >= 60)
            day++;
    }
    return day * 86400 + rule->time;
}

static int32_t posix_offset(const PosixRule *rule, int64_t t)
{
    if (!rule->has_dst)
        return rule->std;
    /* Far outside any calendar that matters the rule's own standard time is as good as any. */
    if (t > INT64_C(250000000000) || t < -INT64_C(60000000000))
        return rule->std;
    CivilTime civil;
    clock_to_civil((t + rule->std) * CLOCK_SECOND, &civil);
    /* The latest change not after t decides. Years on both sides, because rules may reach into
     * their neighbours; at a tie the start of DST wins, which is how "always DST" is written. */
    int64_t latest = INT64_MIN;
    int32_t offset = rule->std;
    for (int year = civil.year - 1; year <= civil.year + 1; year++) {
        int64_t to_std = change_in_year(&rule->to_std, year) - rule->dst;
        int64_t to_dst = change_in_year(&rule->to_dst, year) - rule->std;
        if (to_std <= t && to_std > latest) {
            latest = to_std;
            offset = rule->std;
        }
        if (to_dst <= t && to_dst >= latest) {
            latest = to_dst;
            offset = rule->dst;
        }
    }
    return offset;
}

/* ---- the file ---- */

typedef struct Counts {
    size_t isut, isstd, leap, time, type, chars;
} Counts;

static uint32_t get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t get_i64(const unsigned char *p)
{
    return (int64_t)((uint64_t)get_u32(p) << 32 | get_u32(p + 4));
}

static bool read_header(const unsigned char *p, size_t len, Counts *n)
{
    if (len < HEADER_LEN || memcmp(p, "TZif", 4) != 0 || p[4] < '2')
        return false;
    *n = (Counts){get_u32(p + 20), get_u32(p + 24), get_u32(p + 28),
                  get_u32(p + 32), get_u32(p + 36), get_u32(p + 40)};
    return true;
}

/* The size of the block behind a header; six 32-bit counts can't overflow 64 bits. */
static uint64_t block_len(const Counts *n, size_t time_size)
{
    return (uint64_t)n->time * (time_size + 1) + (uint64_t)n->type * 6 + n->chars +
           (uint64_t)n->leap * (time_size + 4) + n->isstd + n->isut;
}

/* `p` has the whole block of 64-bit times that `n` describes. */
static bool read_changes(Zone *zone, const unsigned char *p, const Counts *n)
{
    const unsigned char *index = p + n->time * 8;
    const unsigned char *types = index + n->time;
    for (size_t i = 0; i < n->type; i++) {
        int32_t offset = (int32_t)get_u32(types + i * 6);
        if (offset < -MAX_OFFSET || offset > MAX_OFFSET)
            return false;
    }
    zone->at = MEM_NEW_ARRAY(int64_t, n->time + 1);
    zone->offset = MEM_NEW_ARRAY(int32_t, n->time + 1);
    zone->count = n->time;
    zone->before = (int32_t)get_u32(types);
    for (size_t i = 0; i < n->time; i++) {
        zone->at[i] = get_i64(p + i * 8);
        if (index[i] >= n->type || (i > 0 && zone->at[i] <= zone->at[i - 1]))
            return false;
        zone->offset[i] = (int32_t)get_u32(types + index[i] * (size_t)6);
    }
    return true;
}

static bool read_footer(Zone *zone, const unsigned char *p, size_t len)
{
    const unsigned char *end = len > 1 ? memchr(p + 1, '\n', len - 1) : NULL;
    if (!end || p[0] != '\n' || memchr(p, '\0', (size_t)(end - p)))
        return false;
    char *text = mem_strndup((const char *)p + 1, (size_t)(end - p) - 1);
    bool ok = read_posix_rule(text, &zone->rule);
    free(text);
    return ok;
}

static bool read_tzif(Zone *zone, const unsigned char *p, size_t len)
{
    Counts n;
    if (!read_header(p, len, &n) || block_len(&n, 4) > len - HEADER_LEN)
        return false;
    size_t skip = HEADER_LEN + (size_t)block_len(&n, 4);
    p += skip;
    len -= skip;
    if (!read_header(p, len, &n) || block_len(&n, 8) > len - HEADER_LEN)
        return false;
    /* With leap seconds (the right/ tree) it would not be POSIX time, which PostgreSQL counts. */
    if (n.type == 0 || n.leap > 0 || !read_changes(zone, p + HEADER_LEN, &n))
        return false;
    skip = HEADER_LEN + (size_t)block_len(&n, 8);
    return read_footer(zone, p + skip, len - skip);
}

bool zone_read(const void *data, size_t len, const char *name, Zone **out, Error *err)
{
    Zone *zone = MEM_NEW(Zone);
    if (!read_tzif(zone, data, len)) {
        zone_free(zone);
        error_set(err, ERR_USAGE, "the data of time zone \"%s\" can't be used", name);
        return error_hint(err, "give the offset as a number instead, such as +02:00");
    }
    *out = zone;
    return true;
}

static bool name_is_clean(const char *name)
{
    if (strlen(name) > ZONE_NAME_MAX || !isalpha((unsigned char)name[0]))
        return false;
    for (const char *p = name; *p; p++) {
        if (*p == '/' && (p[1] == '/' || p[1] == '\0'))
            return false;
        if (!isalnum((unsigned char)*p) && !strchr("_+-/", *p))
            return false;
    }
    return true;
}

bool zone_open(const char *name, Zone **out, Error *err)
{
    if (!name_is_clean(name)) {
        error_set(err, ERR_USAGE, "\"%.80s\" is not the name of a time zone", name);
        return error_hint(err, "give the offset as a number, such as +02:00, or a name such as "
                               "Europe/Paris");
    }
    Buf file;
    buf_init_max(&file, ZONE_FILE_MAX);
    char *path = mem_printf("%s/%s", ZONE_DIR, name);
    Error cause;
    bool ok = fs_read_file(path, &file, &cause);
    free(path);
    if (ok) {
        ok = zone_read(file.data ? file.data : "", file.len, name, out, err);
    } else {
        error_set(err, ERR_USAGE, "there is no time zone \"%s\" in %s", name, ZONE_DIR);
        error_hint(err, "names are case-sensitive, as in Europe/Paris; an offset such as +02:00 "
                        "always works");
    }
    buf_free(&file);
    return ok;
}

int32_t zone_offset(const Zone *zone, int64_t t)
{
    if (zone->count == 0)
        return zone->rule.present ? posix_offset(&zone->rule, t) : zone->before;
    if (t < zone->at[0])
        return zone->before;
    if (t >= zone->at[zone->count - 1] && zone->rule.present)
        return posix_offset(&zone->rule, t);
    size_t low = 0, high = zone->count; /* at[low] <= t < at[high] */
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (zone->at[mid] <= t)
            low = mid;
        else
            high = mid;
    }
    return zone->offset[low];
}

void zone_free(Zone *zone)
{
    if (!zone)
        return;
    free(zone->at);
    free(zone->offset);
    free(zone);
}
