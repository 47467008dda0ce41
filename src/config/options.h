/*
 * options.h: the one options table.
 *
 * Everything that knows an option's name, type, range, default or meaning reads it here: the
 * parsers of command line, environment and file, `--help`, `pitr config`, and what documents are
 * made of it. Adding an option is adding one line to options.c and one name to OptionId.
 */
#ifndef PITR_CONFIG_OPTIONS_H
#define PITR_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of the table; grouped as `--help` shows them. */
typedef enum OptionId {
    OPT_CONFIG,
    OPT_CLUSTER,
    OPT_REPO,
    OPT_LOG_LEVEL,
    OPT_HELP,
    OPT_JSON,
    OPT_WORKERS,
    OPT_URL,
    OPT_REQUIRED,
    OPT_ENDPOINT,
    OPT_REGION,
    OPT_CA_FILE,
    OPT_ADDRESSING,
    OPT_PROFILE,
    OPT_CREDENTIALS_FILE,
    OPT_STORAGE_CLASS,
    OPT_SSE,
    OPT_KMS_KEY,
    OPT_TAGS,
    OPT_REQUESTER_PAYS,
    OPT_IO_TIMEOUT,
    OPT_SIGN_PAYLOAD,
    OPT_UPLOAD_CHECKSUM,
    OPT_PART_SIZE,
    OPT_MAX_PARTS,
    OPT_REPO_TIME,
    OPT_DATA_DIRECTORY,
    OPT_CONNINFO,
    OPT_STATE_DIRECTORY,
    OPT_COMPRESS_LEVEL,
    OPT_FETCH_TIMEOUT,
    OPT_GAP_WAIT,
    OPT_TYPE,
    OPT_CHECKPOINT,
    OPT_MAX_RATE,
    OPT_PACK_SIZE,
    OPT_ARCHIVE_TIMEOUT,
    OPT_PROGRESS,
    OPT_TARGET_TIME,
    OPT_TARGET_LSN,
    OPT_TARGET_XID,
    OPT_TARGET_NAME,
    OPT_TARGET_IMMEDIATE,
    OPT_EXCLUSIVE,
    OPT_TARGET_TIMELINE,
    OPT_TARGET_ACTION,
    OPT_BACKUP,
    OPT_AS,
    OPT_TABLESPACE_MAP,
    OPT_DELTA,
    OPT_FORCE,
    OPT_ALLOW_DAMAGED,
    OPT_DRY_RUN,
    OPT_THAW,
    OPT_THAW_TIER,
    OPT_COUNT
} OptionId;

typedef enum OptionType {
    OPTION_FLAG,     /* given or not; in files and environment yes/no */
    OPTION_STRING,   /* any text */
    OPTION_INT,      /* a number between min and max */
    OPTION_SIZE,     /* bytes, with KiB MiB GiB */
    OPTION_DURATION, /* microseconds, with s m h d */
    OPTION_ENUM,     /* one of `values` */
    OPTION_LIST      /* text; may be given more than once */
} OptionType;

/* Where an option may stand in the file; 0: on the command line (and in the environment) only. */
typedef enum OptionSection {
    SECTION_GLOBAL = 1,
    SECTION_REPO = 2,
    SECTION_CLUSTER = 4,
} OptionSection;

/* The commands, as bits, that take an option. */
typedef enum CommandBit {
    CMD_ARCHIVE = 1,
    CMD_FETCH = 2,
    CMD_BACKUP = 4,
    CMD_RESTORE = 8,
    CMD_INFO = 16,
    CMD_CONFIG = 32,
    CMD_CHECK = 64,
    CMD_ALL = 127,
} CommandBit;

typedef struct OptionDef {
    const char *name;
    OptionType type;
    unsigned sections; /* OptionSection bits: most specific wins, every one may stand in [global] */
    unsigned commands; /* CommandBit bits */
    const char *fallback; /* the default, in the syntax of the file; NULL: none */
    const char *arg;      /* what `--help` calls the value */
    const char *values;   /* OPTION_ENUM: "a|b|c" */
    int64_t min, max;     /* OPTION_INT, OPTION_SIZE, OPTION_DURATION (microseconds) */
    const char *help;
} OptionDef;

/* The table; its order is that of OptionId. */
const OptionDef *option_def(OptionId id);

/* The option called `name` (without dashes), or OPT_COUNT. */
OptionId option_find(const char *name);

/* The nearest of `n` words to `word` by edit distance, or NULL if none is near. */
const char *option_nearest(const char *word, const char *const *words, size_t n);

/* The nearest option name among those that pass the filters (0: no filter), or NULL. */
const char *option_suggest(const char *word, unsigned sections, unsigned commands);

/* A parsed value. `text` is what was written. */
typedef struct OptionValue {
    const char *text;
    int64_t number; /* FLAG 0/1, INT, SIZE, DURATION; ENUM: index in `values` */
} OptionValue;

/* Checks and parses `text` for `def`. On false `why` (of `size` bytes) says what is expected. */
bool option_parse(const OptionDef *def, const char *text, OptionValue *out, char *why, size_t size);

#endif
