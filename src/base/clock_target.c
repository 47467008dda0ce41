/* clock_parse_target(): see clock.h. Apart from clock.c because it alone needs zone rules. */
#include "base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/zone.h"

/* Seconds around a wall-clock time in which the instants that could show it lie, and the step at
 * which the zone is asked for its offsets. No zone changes twice within half an hour. */
#define PROBE_SPAN (27 * 3600)
#define PROBE_STEP 1800

typedef enum ZoneKind { ZONE_LOCAL, ZONE_OFFSET, ZONE_NAMED } ZoneKind;

typedef struct Target {
    const char *text; /* all of it, for messages */
    CivilTime civil;
    ZoneKind kind;
    int32_t offset;   /* ZONE_OFFSET: seconds east of UTC */
    const char *name; /* ZONE_NAMED: the rest of the text */
} Target;

static bool refuse(Error *err, const char *text, const char *why)
{
    error_set(err, ERR_USAGE, "target time \"%.80s\": %s", text, why);
    return error_hint(err, "write it as 2026-11-21T03:00:00Z, 2026-11-21 04:00:00+01:00 or "
                           "\"2026-11-21 04:00:00 Europe/Paris\"");
}

/* Exactly `n` digits. */
static bool digits(const char **p, int n, int *out)
{
    int value = 0;
    for (int i = 0; i < n; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *p += n;
    *out = value;
    return true;
}

static bool literal(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool parse_fraction(const char **p, int *usec)
{
    int n = 0;
    *usec = 0;
    for (; n < 6 && is_digit(**p); n++)
        *usec = *usec * 10 + (*(*p)++ - '0');
    if (n == 0 || is_digit(**p))
        return false;
    for (; n < 6; n++)
        *usec *= 10;
    return true;
}

static bool parse_date(const char **p, Target *t, Error *err)
{
    CivilTime *c = &t->civil;
    if (isalpha((unsigned char)**p)) {
        refuse(err, t->text, "words are not taken as a time");
        return error_hint(err, "give the moment itself, such as 2026-11-21T03:00:00Z; to restore "
                               "to the end of the archived WAL leave the target out");
    }
    if (!digits(p, 4, &c->year) || !literal(p, '-') || !digits(p, 2, &c->month) ||
        !literal(p, '-') || !digits(p, 2, &c->day) || is_digit(**p))
        return refuse(err, t->text, "it must begin with a date in the form YYYY-MM-DD");
    Instant unused;
    if (!clock_from_civil(&(CivilTime){.year = c->year, .month = c->month, .day = c->day}, &unused))
        return refuse(err, t->text, "there is no such date");
    return true;
}

static bool parse_time(const char **p, Target *t, Error *err)
{
    CivilTime *c = &t->civil;
    bool separated = **p == 'T' || **p == 't' || **p == ' ';
    if (!separated || !is_digit((*p)[1])) {
        if (**p && !separated)
            return refuse(err, t->text, "after the date comes one T or space, then the time");
        refuse(err, t->text, "a date alone is not a moment");
        return error_hint(err,
                          "add the time of day: %04d-%02d-%02dT00:00:00 is the first moment "
                          "of that day in the local zone",
                          c->year, c->month, c->day);
    }
    (*p)++;
    if (!digits(p, 2, &c->hour) || !literal(p, ':') || !digits(p, 2, &c->minute))
        return refuse(err, t->text, "the time must have the form hh:mm or hh:mm:ss");
    if (literal(p, ':')) {
        if (!digits(p, 2, &c->second))
            return refuse(err, t->text, "the seconds must have two digits");
        if ((literal(p, '.') || literal(p, ',')) && !parse_fraction(p, &c->usec))
            return refuse(err, t->text, "a fraction of a second has one to six digits");
    }
    if (c->hour == 24)
        return refuse(err, t->text, "hours go from 00 to 23; midnight is 00:00 of the next day");
    if (c->second == 60)
        return refuse(err, t->text, "leap seconds are not counted: use :59 or the next minute");
    Instant unused;
    if (!clock_from_civil(c, &unused))
        return refuse(err, t->text, "there is no such time of day");
    return true;
}

/* `+02`, `+0200`, `+02:00`, `+02:00:00`; PostgreSQL takes up to 15:59:59 as well. */
static bool parse_offset(const char **p, Target *t, Error *err)
{
    int sign = *(*p)++ == '-' ? -1 : 1;
    int hour = 0, minute = 0, second = 0;
    bool ok = digits(p, 2, &hour);
    if (ok && literal(p, ':')) {
        ok = digits(p, 2, &minute);
        if (ok && literal(p, ':'))
            ok = digits(p, 2, &second);
    } else if (ok && is_digit(**p)) {
        ok = digits(p, 2, &minute);
    }
    if (!ok || hour > 15 || minute > 59 || second > 59)
        return refuse(err, t->text, "an offset has the form +02, +0200 or +02:00, up to 15:59");
    t->kind = ZONE_OFFSET;
    t->offset = sign * (hour * 3600 + minute * 60 + second);
    return true;
}

/* What stands in front of the end: nothing, Z, an offset, or a space and a name. */
static bool parse_zone(const char **p, Target *t, Error *err)
{
    t->kind = ZONE_LOCAL;
    if (**p == '\0')
        return true;
    if (literal(p, 'Z') || literal(p, 'z')) {
        t->kind = ZONE_OFFSET;
    } else if (**p == '+' || **p == '-') {
        return parse_offset(p, t, err);
    } else if (**p == ' ' && ((*p)[1] == '+' || (*p)[1] == '-')) {
        (*p)++; /* as `date '+%F %T %z'` prints it */
        return parse_offset(p, t, err);
    } else if (**p == ' ' && isalpha((unsigned char)(*p)[1])) {
        const char *name = ++*p;
        *p += strlen(name);
        bool utc = strcasecmp(name, "UTC") == 0 || strcasecmp(name, "GMT") == 0 ||
                   strcasecmp(name, "Z") == 0;
        t->kind = utc ? ZONE_OFFSET : ZONE_NAMED;
        t->name = name;
    }
    return true;
}

/* ---- from wall clock to instant ---- */

/* Offset in seconds east of UTC at `t` (seconds since 1970-01-01 UTC). A NULL zone is the local
 * one. */
static int32_t offset_at(const Zone *zone, int64_t t)
{
    if (zone)
        return zone_offset(zone, t);
    time_t seconds = (time_t)t;
    struct tm tm;
    return localtime_r(&seconds, &tm) ? (int32_t)tm.tm_gmtoff : 0;
}

/* What the zone can make of a wall-clock time. */
typedef struct Readings {
    int count;         /* of offsets under which the zone did show this time: 0, 1 or more */
    int32_t first;     /* the offset that gives the earliest instant */
    int32_t last;      /* the one that gives the latest */
    int32_t low, high; /* the least and greatest offset in force around that time */
} Readings;

static void read_wall_clock(const Zone *zone, int64_t wall, Readings *r)
{
    *r = (Readings){.first = INT32_MIN, .last = INT32_MAX, .low = INT32_MAX, .high = INT32_MIN};
    for (int64_t t = wall - PROBE_SPAN; t <= wall + PROBE_SPAN; t += PROBE_STEP) {
        int32_t offset = offset_at(zone, t);
        if (offset < r->low)
            r->low = offset;
        if (offset > r->high)
            r->high = offset;
        if (offset_at(zone, wall - offset) != offset || offset == r->first || offset == r->last)
            continue;
        r->count++;
        if (offset > r->first)
            r->first = offset;
        if (offset < r->last)
            r->last = offset;
    }
}

/* Hints at both instants that a skipped or repeated local time could mean. */
static bool refuse_reading(Error *err, const Target *t, const Readings *r)
{
    const CivilTime *c = &t->civil;
    bool gap = r->count == 0;
    char a[CLOCK_TEXT], b[CLOCK_TEXT], wall[CLOCK_TEXT];
    clock_format_offset(a, gap ? r->low : r->first);
    clock_format_offset(b, gap ? r->high : r->last);
    snprintf(wall, sizeof(wall), "%04d-%02d-%02dT%02d:%02d:%02d", c->year, c->month, c->day,
             c->hour, c->minute, c->second);
    error_set(err, ERR_USAGE, "target time \"%.80s\": %s in %s", t->text,
              gap ? "the clocks skipped this time" : "the clocks showed this time twice",
              t->kind == ZONE_NAMED ? t->name : "the local zone");
    return error_hint(err, "say which one is meant by its offset: %s%s or %s%s", wall, a, wall, b);
}

static bool resolve(const Target *t, Instant wall, Instant *out, Error *err)
{
    if (t->kind == ZONE_OFFSET) {
        *out = wall - t->offset * CLOCK_SECOND;
        return true;
    }
    Zone *zone = NULL;
    if (t->kind == ZONE_NAMED) {
        /* Zones such as EST or CET have files as well, yet mean something else to many readers. */
        if (!strchr(t->name, '/')) {
            refuse(err, t->text, "short zone names are ambiguous");
            return error_hint(err, "give the offset as a number, such as +02:00, or a full name "
                                   "such as Europe/Paris");
        }
        if (!zone_open(t->name, &zone, err))
            return error_prefix(err, "target time \"%.80s\"", t->text);
    }
    Readings r;
    read_wall_clock(zone, (wall - t->civil.usec) / CLOCK_SECOND, &r);
    zone_free(zone);
    if (r.count != 1)
        return refuse_reading(err, t, &r);
    *out = wall - r.first * CLOCK_SECOND;
    return true;
}

bool clock_parse_target(const char *text, Instant *out, bool *had_zone, Error *err)
{
    Target t = {.text = text};
    const char *p = text;
    Instant wall;
    if (!parse_date(&p, &t, err) || !parse_time(&p, &t, err) || !parse_zone(&p, &t, err))
        return false;
    if (*p != '\0')
        return refuse(err, text, "there is something left over behind the time");
    if (!clock_from_civil(&t.civil, &wall))
        return refuse(err, text, "there is no such moment");
    if (!resolve(&t, wall, out, err))
        return false;
    *had_zone = t.kind != ZONE_LOCAL;
    return true;
}

bool clock_parse_utc(const char *text, Instant *out)
{
    CivilTime c = {0};
    const char *p = text;
    if (!digits(&p, 4, &c.year) || !literal(&p, '-') || !digits(&p, 2, &c.month) ||
        !literal(&p, '-') || !digits(&p, 2, &c.day) || !literal(&p, 'T') ||
        !digits(&p, 2, &c.hour) || !literal(&p, ':') || !digits(&p, 2, &c.minute) ||
        !literal(&p, ':') || !digits(&p, 2, &c.second))
        return false;
    if (literal(&p, '.') && !parse_fraction(&p, &c.usec))
        return false;
    return literal(&p, 'Z') && *p == '\0' && clock_from_civil(&c, out);
}
