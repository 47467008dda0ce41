/*
 * help.c: the command table, and the help pages that are made from it and from the options table.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cmd/command.h"

static const Command commands[] = {
    {"archive", CMD_ARCHIVE, cmd_archive, "PATH", "store a WAL file: PostgreSQL's archive_command",
     "Exits 0 only when the file is durable in every required repository. The same content again is\n"
     "no error; another content for a stored segment or history file is, and changes nothing.\n"
     "\n"
     "  # postgresql.conf\n"
     "  archive_mode = on\n"
     "  archive_command = 'pitr archive %p'\n",
     NULL},
    {"fetch", CMD_FETCH, cmd_fetch, "NAME PATH",
     "bring a WAL file back: PostgreSQL's restore_command",
     "Exits 0 with the verified file in place, 1 if it is proven absent, 200 + code otherwise, which\n"
     "stops recovery instead of letting it end early. A standby is told 1 in doubt, with a warning.\n"
     "\n"
     "  restore_command = 'pitr fetch %f %p'\n",
     fetch_exit_code},
    {"backup", CMD_BACKUP, cmd_backup, "", "take a base backup over the replication protocol",
     "The backup exists, and the command exits 0, once its data, its manifest and every WAL segment\n"
     "that it needs are in the repository.\n"
     "\n"
     "  pitr backup\n"
     "  pitr backup --max-rate 100MiB --checkpoint spread\n",
     NULL},
    {"restore", CMD_RESTORE, cmd_restore, "", "restore a cluster to a moment",
     "Plans first: the backup, every WAL segment and the target are checked before a byte is\n"
     "written. Without a target recovery goes to the end of the archived WAL.\n"
     "\n"
     "  pitr restore --target-time '2026-11-21 10:15:00+01' --data-directory /srv/copy --dry-run\n"
     "  pitr restore --target-lsn 0/3000148 --exclusive --data-directory /srv/copy\n"
     "  pitr restore --delta --target-action promote      # the configured data directory\n",
     NULL},
    {"info", CMD_INFO, cmd_info, "", "show backups, WAL ranges with gaps, and recovery windows",
     "  pitr info\n"
     "  pitr info --json\n",
     NULL},
    {"check", CMD_CHECK, cmd_check, "",
     "can the repositories be used, does a setting of theirs harm what is stored?",
     "Tries writing (two small probe objects), listing and reading, and looks at versioning, Object\n"
     "Lock and lifecycle rules. Exits 1 if something was found that would lose backups or WAL.\n"
     "\n"
     "  pitr check\n"
     "  pitr check --repo offsite --json\n",
     NULL},
    {"config", CMD_CONFIG, cmd_config, "", "print each effective option and where it came from",
     "  pitr config\n",
     NULL},
};

const Command *command_at(int n)
{
    return n >= 0 && n < (int)(sizeof(commands) / sizeof(commands[0])) ? &commands[n] : NULL;
}

const Command *command_find(const char *name)
{
    for (int i = 0; command_at(i); i++)
        if (strcmp(command_at(i)->name, name) == 0)
            return command_at(i);
    return NULL;
}

/* Prints `text` broken into lines of at most 100 columns that begin at column 28. */
static void print_wrapped(const char *text)
{
    const int column = 28, width = 100 - column;
    while (strlen(text) > (size_t)width) {
        int cut = width;
        while (cut > 0 && text[cut] != ' ')
            cut--;
        if (cut == 0)
            break;
        printf("%.*s\n%*s", cut, text, column, "");
        text += cut + 1;
    }
    printf("%s", text);
}

static void print_option(const OptionDef *def)
{
    char head[64];
    snprintf(head, sizeof(head), "  --%s%s%s", def->name, def->arg ? " " : "",
             def->arg ? def->arg : "");
    printf(strlen(head) < 27 ? "%-28s" : "%s\n                            ", head);
    Buf text = BUF_INIT;
    buf_puts(&text, def->help);
    if (def->values)
        buf_printf(&text, " (%s)", def->values);
    if (def->fallback && def->fallback[0])
        buf_printf(&text, " [%s]", def->fallback);
    print_wrapped(text.data);
    buf_free(&text);
    printf("\n");
}

/* What only says how an S3 server is reached would fill a screen of every command's page. */
static bool shown(const Command *command, OptionId id)
{
    bool s3 = id >= OPT_ENDPOINT && id <= OPT_MAX_PARTS;
    return (option_def(id)->commands & command->bit) &&
           (!s3 || (command->bit & (CMD_CHECK | CMD_CONFIG)));
}

void command_help(const Command *command)
{
    printf("Usage: pitr %s [OPTION]... %s\n\n%s.\n\n%s\nOptions:\n", command->name, command->words,
           command->summary, command->details);
    for (int id = 0; id < OPT_COUNT; id++)
        if (shown(command, (OptionId)id))
            print_option(option_def((OptionId)id));
    if (!(command->bit & (CMD_CHECK | CMD_CONFIG)))
        printf("\nThe options of an S3 repository (--endpoint, --region …) are on the page of\n"
               "pitr config --help.\n");
    printf("\nOptions that the configuration file may hold can also stand in the environment:\n"
           "PITR_WORKERS for --workers. The command line wins, then the environment, then the file.\n"
           "\nExit codes: %s\n",
           command->exit_code
               ? "0 served, 1 proven absent, 200 + code otherwise"
               : "0 success, 1 no, 2 usage or configuration, 3 repository, 4 PostgreSQL,\n"
                 "5 target can't be reached, 6 damaged data, 7 locked or stopped, 70 internal");
}

void command_overview(void)
{
    printf("Usage: pitr [--config FILE] [--cluster NAME] COMMAND [OPTION]...\n\n"
           "Keeps a PostgreSQL cluster recoverable to any moment.\n\nCommands:\n");
    for (int i = 0; command_at(i); i++)
        printf("  %-10s %s\n", command_at(i)->name, command_at(i)->summary);
    printf("\npitr COMMAND --help shows a command's options and examples.\n");
}
