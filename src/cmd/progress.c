#include "cmd/progress.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define BAR_EVERY  (CLOCK_SECOND / 5)
#define LINE_EVERY (10 * CLOCK_SECOND)
#define BAR_WIDTH  30

enum { MODE_AUTO, MODE_BAR, MODE_LINES, MODE_NONE }; /* the order of --progress */

struct Progress {
    pthread_mutex_t lock;
    int mode;
    char *what;
    uint64_t total;
    Instant begun, shown;
    bool drawn;
};

Progress *progress_new(const Config *config, const char *what, uint64_t total)
{
    Progress *p = MEM_NEW(Progress);
    pthread_mutex_init(&p->lock, NULL);
    p->mode = config_choice(config, OPT_PROGRESS);
    if (p->mode == MODE_AUTO)
        p->mode = isatty(STDERR_FILENO) ? MODE_BAR : MODE_LINES;
    if (log_level() < LOG_LEVEL_INFO)
        p->mode = MODE_NONE;
    p->what = mem_strdup(what);
    p->total = total;
    p->begun = p->shown = clock_now();
    return p;
}

char *progress_size(char out[32], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double n = (double)bytes;
    int u = 0;
    while (n >= 1024 && u < 5) {
        n /= 1024;
        u++;
    }
    snprintf(out, 32, u == 0 || n >= 100 ? "%.0f %s" : "%.1f %s", n, units[u]);
    return out;
}

static void describe(const Progress *p, uint64_t done, char *out, size_t size)
{
    char have[32], all[32], rate[32], left[CLOCK_TEXT];
    double seconds = (double)(clock_now() - p->begun) / 1e6;
    double speed = seconds > 0 ? (double)done / seconds : 0;
    progress_size(have, done);
    progress_size(rate, (uint64_t)speed);
    if (p->total == 0 || speed <= 0) {
        snprintf(out, size, "%s, %s/s", have, rate);
        return;
    }
    uint64_t rest = done < p->total ? p->total - done : 0;
    clock_format_duration(left, (int64_t)((double)rest / speed * 1e6));
    snprintf(out, size, "%s of %s, %s/s, %s left", have, progress_size(all, p->total), rate, left);
}

static void draw(Progress *p, uint64_t done, const char *text)
{
    char bar[BAR_WIDTH + 1];
    double part = p->total ? (double)done / (double)p->total : 0;
    int filled = part >= 1 ? BAR_WIDTH : (int)(part * BAR_WIDTH);
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)filled);
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r\033[K%s [%s] %3d %% %s", p->what, bar, part >= 1 ? 100 : (int)(part * 100),
            text);
    fflush(stderr);
    p->drawn = true;
}

void progress_update(Progress *p, uint64_t done)
{
    pthread_mutex_lock(&p->lock);
    Instant now = clock_now();
    if (p->mode != MODE_NONE && now - p->shown >= (p->mode == MODE_BAR ? BAR_EVERY : LINE_EVERY)) {
        char text[160];
        p->shown = now;
        describe(p, done, text, sizeof(text));
        if (p->mode == MODE_BAR)
            draw(p, done, text);
        else
            log_info("%s: %s", p->what, text);
    }
    pthread_mutex_unlock(&p->lock);
}

void progress_free(Progress *p)
{
    if (!p)
        return;
    if (p->drawn) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
    }
    pthread_mutex_destroy(&p->lock);
    free(p->what);
    free(p);
}
