/*
 * pitr.c: the program: finds the command, reads its options, runs it, returns its exit code.
 *
 * `pitr-NAME` is `pitr NAME`. Options may stand before the command's name too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "cmd/command.h"

/* The index of the first word that is neither an option nor an option's value. */
static int find_word(int argc, char **argv)
{
    int i = 1;
    while (i < argc && argv[i][0] == '-') {
        OptionId id = strncmp(argv[i], "--", 2) == 0 ? option_find(argv[i] + 2) : OPT_COUNT;
        i += id != OPT_COUNT && option_def(id)->type != OPTION_FLAG ? 2 : 1;
    }
    return i < argc ? i : argc;
}

static int usage_error(Error *err)
{
    log_failure(err);
    return ERR_USAGE;
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
    return usage_error(&err);
}

static int unknown_command(const char *word)
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
    return usage_error(&err);
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

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *self = slash ? slash + 1 : argv[0];
    const Command *command = NULL;
    interrupt_install();

    if (strncmp(self, "pitr-", 5) == 0)
        command = command_find(self + 5);
    int skip = 1;
    if (!command) {
        int at = find_word(argc, argv);
        if (at == argc)
            return no_command(argc, argv);
        command = command_find(argv[at]);
        if (!command)
            return unknown_command(argv[at]);
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
