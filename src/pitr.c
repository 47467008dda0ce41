/*
 * pitr.c: the program: finds the command, reads its options, runs it, returns its exit code.
 *
 * `pitr-NAME` is `pitr NAME`. Options may stand before the command's name too.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "cmd/command.h"

/* The index of the first word that is neither an option nor an option's value; `argc` if there is
 * none. *unknown is set to an option that no command has. */
static int find_word(int argc, char **argv, const char **unknown)
{
    int i = 1;
    *unknown = NULL;
    while (i < argc && argv[i][0] == '-') {
        size_t len = strcspn(argv[i], "=");
        char *name = mem_strndup(argv[i], len);
        OptionId id = strncmp(name, "--", 2) == 0 ? option_find(name + 2) : OPT_COUNT;
        free(name);
        if (id == OPT_COUNT && !*unknown)
            *unknown = argv[i];
        bool value = id != OPT_COUNT && option_def(id)->type != OPTION_FLAG && !argv[i][len];
        i += value ? 2 : 1;
    }
    return i < argc ? i : argc;
}

/* PostgreSQL takes 2 from its restore_command for "there is no such file": whatever looks like a
 * fetch fails as one. */
static int usage_error(const Error *err, int argc, char **argv, const char *near)
{
    bool fetch = near && strcmp(near, "fetch") == 0;
    for (int i = 0; i < argc && !fetch; i++)
        fetch = strstr(argv[i], "fetch") != NULL;
    log_failure(err);
    return fetch ? fetch_exit_code(ERR_USAGE) : ERR_USAGE;
}

static int no_command(int argc, char **argv)
{
    Error err;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            command_overview();
            return 0;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("pitr %s\n", PITR_VERSION);
            return 0;
        }
    }
    error_set(&err, ERR_USAGE, "no command");
    error_hint(&err, "pitr --help lists the commands");
    return usage_error(&err, argc, argv, NULL);
}

static int unknown_option(const char *word, int argc, char **argv)
{
    Error err;
    const char *near = strncmp(word, "--", 2) == 0 ? option_suggest(word + 2, 0, 0) : NULL;
    error_set(&err, ERR_USAGE, "unknown option %s", word);
    if (near)
        error_hint(&err, "did you mean --%s?", near);
    else
        error_hint(&err, "pitr --help shows how it is called");
    return usage_error(&err, argc, argv, NULL);
}

static int unknown_command(const char *word, int argc, char **argv)
{
    Error err;
    const char *names[32];
    size_t n = 0;
    while (n < 32 && command_at((int)n)) {
        names[n] = command_at((int)n)->name;
        n++;
    }
    const char *near = option_nearest(word, names, n);
    error_set(&err, ERR_USAGE, "unknown command \"%s\"", word);
    if (near)
        error_hint(&err, "did you mean pitr %s?", near);
    else
        error_hint(&err, "pitr --help lists the commands");
    return usage_error(&err, argc, argv, near);
}

static int run(const Command *command, int argc, char **argv)
{
    Error err;
    Config *config = config_load(command->bit, argc, argv, &err);
    if (!config) {
        log_failure(&err);
        return command->exit_code ? command->exit_code(err.code) : (int)err.code;
    }
    int code = 0;
    if (config_flag(config, OPT_HELP)) {
        command_help(command);
    } else {
        log_set_level((LogLevel)config_choice(config, OPT_LOG_LEVEL));
        code = command->run(config);
    }
    config_free(config);
    return code;
}

/* A closed standard descriptor would be given to the next file, and messages be written into it. And
 * whatever the caller's umask, our own files stay ours to read and write. */
static void settle(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
    umask(umask(0) & 0077);
    interrupt_install();
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *self = slash ? slash + 1 : argv[0];
    const Command *command = NULL;
    settle();

    if (strncmp(self, "pitr-", 5) == 0)
        command = command_find(self + 5);
    int skip = 1;
    if (!command) {
        const char *unknown;
        int at = find_word(argc, argv, &unknown);
        if (unknown && at < argc)
            return unknown_option(unknown, argc, argv);
        if (at == argc)
            return no_command(argc, argv);
        command = command_find(argv[at]);
        if (!command)
            return unknown_command(argv[at], argc, argv);
        /* The options that stand before the command move behind its place. */
        memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof(*argv));
        skip = 2;
    }
    int code = run(command, argc - skip, argv + skip);
    if (fflush(stdout) != 0 && code == 0) {
        log_error("can't write to standard output");
        code = ERR_INTERNAL;
    }
    if (code != 0 && interrupt_signal())
        interrupt_die(interrupt_signal());
    return code;
}
