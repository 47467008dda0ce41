#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Seconds between the two epochs: 10,957 days. */
#define PG_EPOCH_SECONDS INT64_C(946684800)
#define DAY_SECONDS      INT64_C(86400)

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t saturating_add(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return b < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

Instant clock_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * CLOCK_SECOND + ts.tv_nsec / 1000;
}

int64_t clock_steady(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * CLOCK_SECOND + ts.tv_nsec / 1000;
}

Instant clock_from_pg(int64_t usec_since_2000)
{
    return saturating_add(usec_since_2000, PG_EPOCH_SECONDS * CLOCK_SECOND);
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days before 1 January of `year`, counted from 1 January of year 1. */
static int64_t days_before_year(int64_t year)
{
    int64_t y = year - 1;
    return 365 * y + floor_div(y, 4) - floor_div(y, 100) + floor_div(y, 400);
}

int64_t clock_days(int year, int month, int day)
{
    int64_t days = days_before_year(year) - days_before_year(1970);
    for (int m = 1; m < month; m++)
        days += days_in_month(year, m);
    return days + day - 1;
}

void clock_to_civil(Instant t, CivilTime *civil)
{
    int64_t seconds = floor_div(t, CLOCK_SECOND);
    int64_t days = floor_div(seconds, DAY_SECONDS);
    int left = (int)(seconds - days * DAY_SECONDS);
    civil->usec = (int)((t % CLOCK_SECOND + CLOCK_SECOND) % CLOCK_SECOND);
    civil->hour = left / 3600;
    civil->minute = left / 60 % 60;
    civil->second = left % 60;

    /* 146,097 days are 400 years; the estimate is off by one year at most. */
    int64_t since_1 = days + days_before_year(1970);
    int64_t year = floor_div(since_1 * 400, 146097) + 1;
    while (days_before_year(year) > since_1)
        year--;
    while (days_before_year(year + 1) <= since_1)
        year++;
    int in_year = (int)(since_1 - days_before_year(year));
    int month = 1;
    while (in_year >= days_in_month((int)year, month)) {
        in_year -= days_in_month((int)year, month);
        month++;
    }
    civil->year = (int)year;
    civil->month = month;
    civil->day = in_year + 1;
}

bool clock_from_civil(const CivilTime *c, Instant *out)
{
    if (c->year < 1 || c->year > 9999 || c->month < 1 || c->month > 12 || c->day < 1 ||
        c->day > days_in_month(c->year, c->month))
        return false;
    if (c->hour < 0 || c->hour > 23 || c->minute < 0 || c->minute > 59 || c->second < 0 ||
        c->second > 59 || c->usec < 0 || c->usec > 999999)
        return false;
    int64_t seconds = clock_days(c->year, c->month, c->day) * DAY_SECONDS + c->hour * 3600 +
                      c->minute * 60 + c->second;
    *out = seconds * CLOCK_SECOND + c->usec;
    return true;
}

/* Writes `2026-11-21T03:00:00` and, if there are any, decimals without trailing zeros. */
static void format_iso(char out[CLOCK_TEXT], Instant t)
{
    CivilTime c;
    clock_to_civil(t, &c);
    int n = snprintf(out, CLOCK_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d", c.year, c.month, c.day,
                     c.hour, c.minute, c.second);
    if (c.usec == 0)
        return;
    snprintf(out + n, (size_t)(CLOCK_TEXT - n), ".%06d", c.usec);
    for (size_t end = strlen(out); out[end - 1] == '0'; end--)
        out[end - 1] = '\0';
}

/* Both texts together are far below CLOCK_TEXT: at most 33 and 9 characters. */
static void append(char out[CLOCK_TEXT], const char *tail)
{
    size_t used = strlen(out);
    snprintf(out + used, CLOCK_TEXT - used, "%s", tail);
}

void clock_format_utc(char out[CLOCK_TEXT], Instant t)
{
    format_iso(out, t);
    append(out, "Z");
}

void clock_format_offset(char out[CLOCK_TEXT], int32_t offset)
{
    int32_t east = offset < 0 ? -offset : offset;
    int n = snprintf(out, CLOCK_TEXT, "%c%02d:%02d", offset < 0 ? '-' : '+', east / 3600,
                     east / 60 % 60);
    if (east % 60 != 0)
        snprintf(out + n, (size_t)(CLOCK_TEXT - n), ":%02d", east % 60);
}

void clock_format_local(char out[CLOCK_TEXT], Instant t)
{
    time_t seconds = (time_t)floor_div(t, CLOCK_SECOND);
    struct tm tm;
    if (!localtime_r(&seconds, &tm)) {
        clock_format_utc(out, t);
        return;
    }
    char offset[CLOCK_TEXT];
    clock_format_offset(offset, (int32_t)tm.tm_gmtoff);
    format_iso(out, saturating_add(t, tm.tm_gmtoff * CLOCK_SECOND));
    append(out, offset);
}

void clock_format_recovery(char out[CLOCK_TEXT], Instant t)
{
    CivilTime c;
    clock_to_civil(t, &c);
    snprintf(out, CLOCK_TEXT, "%04d-%02d-%02d %02d:%02d:%02d.%06d+00", c.year, c.month, c.day,
             c.hour, c.minute, c.second, c.usec);
}

void clock_format_label(char out[CLOCK_TEXT], Instant t)
{
    CivilTime c;
    clock_to_civil(t, &c);
    snprintf(out, CLOCK_TEXT, "%04d%02d%02dT%02d%02d%02dZ", c.year, c.month, c.day, c.hour,
             c.minute, c.second);
}

/* ---- durations ---- */

bool clock_parse_duration(const char *text, int64_t *usec)
{
    static const struct {
        char name;
        int64_t seconds;
    } units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
    if (strcmp(text, "0") == 0) {
        *usec = 0;
        return true;
    }
    int64_t total = 0;
    size_t next = 0; /* the first unit that may still come */
    const char *p = text;
    do {
        int64_t n = 0;
        if (*p < '0' || *p > '9')
            return false;
        for (; *p >= '0' && *p <= '9'; p++)
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
                return false;
        while (next < 4 && units[next].name != *p)
            next++;
        if (next == 4 || __builtin_mul_overflow(n, units[next].seconds * CLOCK_SECOND, &n) ||
            __builtin_add_overflow(total, n, &total))
            return false;
        next++;
        p++;
    } while (*p);
    *usec = total;
    return true;
}

void clock_format_duration(char out[CLOCK_TEXT], int64_t usec)
{
    const char *sign = usec < 0 ? "-" : "";
    uint64_t us = usec < 0 ? -(uint64_t)usec : (uint64_t)usec;
    uint64_t ms = (us + 500) / 1000;
    uint64_t tenths = (us + 50000) / 100000;
    uint64_t s = (us + 500000) / 1000000;
    uint64_t min = (us + 30000000) / 60000000;
    uint64_t h = (us + UINT64_C(1800000000)) / UINT64_C(3600000000);
    if (ms < 1000)
        snprintf(out, CLOCK_TEXT, "%s%d ms", sign, (int)ms);
    else if (tenths < 600)
        snprintf(out, CLOCK_TEXT, "%s%d.%d s", sign, (int)(tenths / 10), (int)(tenths % 10));
    else if (s < 3600)
        snprintf(out, CLOCK_TEXT, "%s%d min %02d s", sign, (int)(s / 60), (int)(s % 60));
    else if (min < 24 * 60)
        snprintf(out, CLOCK_TEXT, "%s%d h %02d min", sign, (int)(min / 60), (int)(min % 60));
    else
        snprintf(out, CLOCK_TEXT, "%s%d d %02d h", sign, (int)(h / 24), (int)(h % 24));
}
