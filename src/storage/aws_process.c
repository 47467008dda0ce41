#include "storage/aws_process.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/mem.h"

extern char **environ;

/* --- words -------------------------------------------------------------------------------- */

/* One word, quotes and backslashes removed; false for a quote that isn't closed. */
static bool next_word(const char **at, Buf *word)
{
    const char *p = *at;
    char quote = 0;
    for (; *p && (quote || !strchr(" \t\r\n", *p)); p++) {
        if (quote == 0 && (*p == '\'' || *p == '"')) {
            quote = *p;
        } else if (quote && *p == quote) {
            quote = 0;
        } else if (*p == '\\' && quote != '\'') {
            if (!p[1])
                return false;
            if (quote && p[1] != '"' && p[1] != '\\')
                buf_putc(word, '\\');
            buf_putc(word, *++p);
        } else {
            buf_putc(word, *p);
        }
    }
    *at = p;
    return quote == 0;
}

char **aws_split_words(const char *command, const char *where, Error *err)
{
    char **words = NULL;
    size_t count = 0, room = 0;
    bool ok = true;
    const char *p = command;
    while (ok && *(p += strspn(p, " \t\r\n"))) {
        Buf word = BUF_INIT;
        ok = next_word(&p, &word);
        MEM_GROW(words, count, room);
        words[count++] = buf_detach(&word);
    }
    MEM_GROW(words, count, room);
    words[count] = NULL;
    if (ok && count > 0)
        return words;
    error_set(err, ERR_USAGE, "%s: %s", where,
              ok ? "the command is empty" : "a quote in the command is not closed");
    aws_words_free(words);
    return NULL;
}

void aws_words_free(char **words)
{
    for (size_t i = 0; words && words[i]; i++)
        aws_secret_free(words[i]);
    free(words);
}

/* --- the process -------------------------------------------------------------------------- */

typedef struct Child {
    pid_t pid;
    int out;    /* the end of its output to read from */
    int status; /* once it was waited for */
    bool gone;
} Child;

static bool start(Child *child, char **words, const char *where, Error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_errno(err, ERR_INTERNAL, "%s: can't make a pipe", where);
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, usual;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
    /* What we ignore (SIGPIPE …) it would inherit. */
    sigemptyset(&none);
    sigfillset(&usual);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &usual);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawnp(&child->pid, words[0], &files, &attr, words, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    close(ends[1]);
    child->out = ends[0];
    if (rc == 0)
        return true;
    close(ends[0]);
    errno = rc;
    error_errno(err, ERR_USAGE, "%s: can't run %s", where, words[0]);
    return error_hint(err, "is it installed, and in the PATH of the user that runs pitr? give the "
                           "whole path; a command for a shell is written sh -c '…'");
}

static void look(Child *child, int flags)
{
    pid_t rc;
    if (child->gone)
        return;
    do
        rc = waitpid(child->pid, &child->status, flags);
    while (rc < 0 && errno == EINTR);
    child->gone = rc != 0;
    if (rc < 0)
        child->status = 0; /* somebody else has waited for it: the output must speak */
}

/* One look at its output, waiting up to `ms`. *more becomes false at its end. */
static bool read_some(Child *child, int ms, Buf *out, bool *more)
{
    struct pollfd p = {.fd = child->out, .events = POLLIN};
    char chunk[4096];
    int ready = poll(&p, 1, ms);
    if (ready < 0)
        return true; /* a signal: the next look says which */
    if (ready == 0) {
        /* A process that it has left behind may hold the pipe for ever. */
        *more = !child->gone;
        return true;
    }
    ssize_t n = read(child->out, chunk, sizeof(chunk));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    *more = n > 0;
    bool ok = n <= 0 || buf_append(out, chunk, (size_t)n);
    OPENSSL_cleanse(chunk, sizeof(chunk));
    return ok;
}

/* Its whole output, and its end. */
static bool listen_to(Child *child, int64_t timeout, const char *where, Buf *out, Error *err)
{
    int64_t deadline = clock_steady() + timeout;
    bool more = true;
    while (more || !child->gone) {
        if (!interrupt_check(err))
            return false;
        if (clock_steady() >= deadline) {
            error_set(err, ERR_REPO, "%s: the command has not ended after %lld s", where,
                      (long long)(timeout / CLOCK_SECOND));
            return error_hint(err, "does it wait for somebody to type? pitr runs it without a "
                                   "terminal");
        }
        look(child, WNOHANG);
        if (more && !read_some(child, child->gone ? 0 : 50, out, &more))
            return error_set(err, ERR_REPO, "%s: the command prints too much", where);
        if (!more && !child->gone)
            interrupt_sleep(5);
    }
    return true;
}

static bool check_end(const Child *child, const char *where, Error *err)
{
    if (WIFSIGNALED(child->status))
        error_set(err, ERR_REPO, "%s: the command died by signal %d", where,
                  WTERMSIG(child->status));
    else if (WEXITSTATUS(child->status) != 0)
        error_set(err, ERR_REPO, "%s: the command failed with exit code %d", where,
                  WEXITSTATUS(child->status));
    else
        return true;
    return error_hint(err,
                      "its own messages stand above; run it by hand as the user that runs pitr");
}

bool aws_process_keys(const char *command, const char *where, int64_t timeout, AwsKeys *out,
                      Error *err)
{
    Child child = {.out = -1};
    Buf text;
    char **words = aws_split_words(command, where, err);
    if (!words)
        return false;
    bool ok = start(&child, words, where, err);
    aws_words_free(words);
    if (!ok)
        return false;
    buf_init_max(&text, AWS_ANSWER_MAX);
    buf_reserve(&text, AWS_ANSWER_MAX);
    ok = listen_to(&child, timeout, where, &text, err);
    if (!child.gone)
        kill(-child.pid, SIGKILL);
    look(&child, 0);
    close(child.out);
    ok = ok && check_end(&child, where, err) &&
         aws_keys_from_json(out, text.data, text.len, AWS_JSON_PROCESS, where, err);
    aws_secret_buf_free(&text);
    return ok;
}
