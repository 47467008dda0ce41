#include "base/interrupt.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught;
static _Thread_local bool ignored;

static void on_signal(int sig)
{
    caught = sig;
}

void interrupt_install(void)
{
    static const int stopping[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    struct sigaction act = {.sa_handler = on_signal};
    sigset_t open;

    sigemptyset(&act.sa_mask);
    sigemptyset(&open);
    for (size_t i = 0; i < sizeof(stopping) / sizeof(stopping[0]); i++) {
        sigaction(stopping[i], &act, NULL);
        sigaddset(&open, stopping[i]);
    }
    act.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &act, NULL);
    sigaction(SIGXFSZ, &act, NULL);
    act.sa_handler = SIG_DFL;
    sigaction(SIGALRM, &act, NULL);
    sigaction(SIGCHLD, &act, NULL);
    sigprocmask(SIG_UNBLOCK, &open, NULL);
}

int interrupt_signal(void)
{
    return ignored ? 0 : caught;
}

void interrupt_ignore(bool on)
{
    ignored = on;
}

bool interrupt_check(Error *err)
{
    int sig = interrupt_signal();
    if (sig)
        return error_set(err, ERR_LOCKED, "stopped by signal %d (%s)", sig, strsignal(sig));
    return true;
}

void interrupt_sleep(int ms)
{
    /* Short steps: the signal may be delivered to another thread than the sleeping one. */
    while (ms > 0 && !interrupt_signal()) {
        int step = ms < 100 ? ms : 100;
        struct timespec ts = {0, step * 1000000L};
        nanosleep(&ts, NULL);
        ms -= step;
    }
}

void interrupt_die(int sig)
{
    signal(sig, SIG_DFL);
    raise(sig);
    _exit(128 + sig);
}
