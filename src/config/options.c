#include "config/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

#define KIB       INT64_C(1024)
#define MIB       (1024 * KIB)
#define GIB       (1024 * MIB)
#define SECOND    INT64_C(1000000)
#define DAY       (86400 * SECOND)
#define ANYWHERE  (SECTION_GLOBAL)
#define IN_REPO   (SECTION_GLOBAL | SECTION_REPO)
#define IN_CLUST  (SECTION_GLOBAL | SECTION_CLUSTER)
#define ONLY_LINE 0

static const OptionDef table[OPT_COUNT] = {
    [OPT_CONFIG] = {"config", OPTION_STRING, ONLY_LINE, CMD_ALL, "/etc/pitr/pitr.conf", "FILE",
                    NULL, 0, 0, "configuration file; without it and without a file at the default "
                                "place the defaults hold"},
    [OPT_CLUSTER] = {"cluster", OPTION_STRING, ANYWHERE, CMD_ALL, NULL, "NAME", NULL, 0, 0,
                     "which [cluster:NAME]; may be left out while the file has one (default main)"},
    [OPT_REPO] = {"repo", OPTION_STRING, ONLY_LINE, CMD_ALL, NULL, "NAME", NULL, 0, 0,
                  "use only [repo:NAME]"},
    [OPT_LOG_LEVEL] = {"log-level", OPTION_ENUM, ANYWHERE, CMD_ALL, "info", "LEVEL",
                       "error|warn|info|debug", 0, 0, "how much is said on stderr"},
    [OPT_HELP] = {"help", OPTION_FLAG, ONLY_LINE, CMD_ALL, NULL, NULL, NULL, 0, 0,
                  "show this page"},
    [OPT_JSON] = {"json", OPTION_FLAG, ONLY_LINE, CMD_BACKUP | CMD_RESTORE | CMD_INFO | CMD_CONFIG | CMD_CHECK,
                  NULL, NULL, NULL, 0, 0, "print one JSON document instead of text"},
    [OPT_WORKERS] = {"workers", OPTION_INT, IN_CLUST, CMD_BACKUP | CMD_RESTORE, "4", "N", NULL, 1,
                     256, "threads that compress and store, or read and write"},
    [OPT_URL] = {"url", OPTION_STRING, IN_REPO, CMD_ALL, "file:///var/lib/pitr", "URL", NULL, 0, 0,
                 "where the repository is: file:///absolute/path or s3://bucket/prefix"},
    [OPT_REQUIRED] = {"required", OPTION_FLAG, IN_REPO, CMD_ARCHIVE, "yes", NULL, NULL, 0, 0,
                      "archive fails unless this repository has the file; \"no\": only warn"},
    [OPT_ENDPOINT] = {"endpoint", OPTION_STRING, IN_REPO, CMD_ALL, NULL, "URL", NULL, 0, 0,
                      "S3 server: https://host[:port]; default AWS"},
    [OPT_REGION] = {"region", OPTION_STRING, IN_REPO, CMD_ALL, NULL, "NAME", NULL, 0, 0,
                    "the bucket's region; default as AWS tools find it, else what the server says"},
    [OPT_CA_FILE] = {"ca-file", OPTION_STRING, IN_REPO, CMD_ALL, NULL, "FILE", NULL, 0, 0,
                     "certificates (PEM) that the S3 server's must come from; default the system's"},
    [OPT_ADDRESSING] = {"addressing", OPTION_ENUM, IN_REPO, CMD_ALL, "auto", "STYLE",
                        "auto|path|virtual", 0, 0,
                        "where the bucket's name stands: in the path or in the host's name; auto: "
                        "path with an endpoint, virtual at AWS"},
    [OPT_PROFILE] = {"profile", OPTION_STRING, IN_REPO, CMD_ALL, NULL, "NAME", NULL, 0, 0,
                     "profile in ~/.aws/credentials and ~/.aws/config; default $AWS_PROFILE"},
    [OPT_CREDENTIALS_FILE] = {"credentials-file", OPTION_STRING, IN_REPO, CMD_ALL, NULL, "FILE",
                              NULL, 0, 0, "keys in AWS's form, mode 0600, instead of the places "
                                          "where AWS tools look"},
    [OPT_STORAGE_CLASS] = {"storage-class", OPTION_STRING, IN_REPO, CMD_ALL, NULL, "CLASS", NULL, 0,
                           0, "S3 storage class of what is written (STANDARD_IA, GLACIER_IR …)"},
    [OPT_SSE] = {"sse", OPTION_ENUM, IN_REPO, CMD_ALL, "none", "KIND", "none|AES256|aws:kms", 0, 0,
                 "encryption that the S3 server is asked for; none: the bucket's default"},
    [OPT_KMS_KEY] = {"kms-key", OPTION_STRING, IN_REPO, CMD_ALL, NULL, "KEY", NULL, 0, 0,
                     "key for sse = aws:kms; default the account's"},
    [OPT_TAGS] = {"tags", OPTION_STRING, IN_REPO, CMD_ALL, NULL, "LIST", NULL, 0, 0,
                  "tags of what is written: name=value, name=value"},
    [OPT_REQUESTER_PAYS] = {"requester-pays", OPTION_FLAG, IN_REPO, CMD_ALL, "no", NULL, NULL, 0, 0,
                            "we pay for requests to this bucket"},
    [OPT_IO_TIMEOUT] = {"io-timeout", OPTION_DURATION, IN_REPO, CMD_ALL, "5m", "TIME", NULL, SECOND,
                        DAY, "how long one operation on a repository is retried"},
    [OPT_SIGN_PAYLOAD] = {"sign-payload", OPTION_FLAG, IN_REPO, CMD_ALL, "yes", NULL, NULL, 0, 0,
                          "sign the content of uploads; \"no\" leaves that to TLS"},
    [OPT_UPLOAD_CHECKSUM] = {"upload-checksum", OPTION_ENUM, IN_REPO, CMD_ALL, "sha256", "KIND",
                             "sha256|md5|none", 0, 0,
                             "checksum header of uploads; servers that don't know sha256 take md5"},
    [OPT_PART_SIZE] = {"part-size", OPTION_SIZE, IN_REPO, CMD_ALL, "16MiB", "SIZE", NULL, 5 * MIB,
                       5 * GIB, "least size of a part of a large upload"},
    [OPT_MAX_PARTS] = {"max-parts", OPTION_INT, IN_REPO, CMD_ALL, "10000", "N", NULL, 2, 10000,
                       "most parts of an upload that the server takes"},
    [OPT_REPO_TIME] = {"repo-time", OPTION_STRING, ONLY_LINE, CMD_FETCH | CMD_RESTORE | CMD_INFO,
                       NULL, "TIME", NULL, 0, 0,
                       "read a versioned bucket as it stood at this moment"},
    [OPT_DATA_DIRECTORY] = {"data-directory", OPTION_STRING, IN_CLUST,
                            CMD_ARCHIVE | CMD_FETCH | CMD_RESTORE, NULL, "DIR", NULL, 0, 0,
                            "the cluster's data directory; for restore the directory to fill"},
    [OPT_CONNINFO] = {"conninfo", OPTION_STRING, IN_CLUST, CMD_BACKUP, "", "CONNINFO", NULL, 0, 0,
                      "libpq connection string of the server (PG* variables fill in the rest)"},
    [OPT_STATE_DIRECTORY] = {"state-directory", OPTION_STRING, IN_CLUST, CMD_FETCH, NULL, "DIR",
                             NULL, 0, 0, "where a standby's fetch keeps what it last learned; "
                                         "default: .pitr-NAME beside the data directory"},
    [OPT_COMPRESS_LEVEL] = {"compress-level", OPTION_INT, IN_CLUST, CMD_ARCHIVE | CMD_BACKUP, "1",
                            "N", NULL, -10, 12, "lz4 level: below 1 faster, from 3 up much slower"},
    [OPT_FETCH_TIMEOUT] = {"fetch-timeout", OPTION_DURATION, IN_CLUST, CMD_FETCH, "10m", "TIME",
                           NULL, 0, 30 * DAY, "how long fetch retries passing faults"},
    [OPT_GAP_WAIT] = {"gap-wait", OPTION_DURATION, IN_CLUST, CMD_FETCH, "30s", "TIME", NULL, 0,
                      30 * DAY, "how long fetch waits for a segment missing before a stored one"},
    [OPT_TYPE] = {"type", OPTION_ENUM, IN_CLUST, CMD_BACKUP, "full", "TYPE", "full", 0, 0,
                  "kind of backup"},
    [OPT_CHECKPOINT] = {"checkpoint", OPTION_ENUM, IN_CLUST, CMD_BACKUP, "fast", "MODE",
                        "fast|spread", 0, 0, "how the server's first checkpoint is made"},
    [OPT_MAX_RATE] = {"max-rate", OPTION_SIZE, IN_CLUST, CMD_BACKUP, "0", "SIZE", NULL, 0, GIB,
                      "most bytes a second the server sends, 32KiB to 1GiB; 0: no limit"},
    [OPT_PACK_SIZE] = {"pack-size", OPTION_SIZE, IN_CLUST, CMD_BACKUP, "32MiB", "SIZE", NULL, MIB,
                       GIB, "raw size at which a pack is cut"},
    [OPT_ARCHIVE_TIMEOUT] = {"archive-timeout", OPTION_DURATION, IN_CLUST, CMD_BACKUP, "10m",
                             "TIME", NULL, SECOND, 30 * DAY,
                             "how long a backup waits for WAL to arrive in the repository, counted "
                             "from the last arrival"},
    [OPT_PROGRESS] = {"progress", OPTION_ENUM, ANYWHERE, CMD_BACKUP | CMD_RESTORE, "auto", "MODE",
                      "auto|bar|lines|none", 0, 0,
                      "auto: a bar on a terminal, lines elsewhere"},
    [OPT_TARGET_TIME] = {"target-time", OPTION_STRING, ONLY_LINE, CMD_RESTORE, NULL, "TIME", NULL,
                         0, 0, "recover to this moment: 2026-11-21T10:15:00+01:00, …Z, or "
                               "PostgreSQL's form; without an offset the local zone holds"},
    [OPT_TARGET_LSN] = {"target-lsn", OPTION_STRING, ONLY_LINE, CMD_RESTORE, NULL, "LSN", NULL, 0,
                        0, "recover to this WAL position"},
    [OPT_TARGET_XID] = {"target-xid", OPTION_STRING, ONLY_LINE, CMD_RESTORE, NULL, "XID", NULL, 0,
                        0, "recover to the end of this transaction"},
    [OPT_TARGET_NAME] = {"target-name", OPTION_STRING, ONLY_LINE, CMD_RESTORE, NULL, "NAME", NULL,
                         0, 0, "recover to this pg_create_restore_point() name"},
    [OPT_TARGET_IMMEDIATE] = {"target-immediate", OPTION_FLAG, ONLY_LINE, CMD_RESTORE, NULL, NULL,
                              NULL, 0, 0, "stop as soon as the backup is consistent"},
    [OPT_EXCLUSIVE] = {"exclusive", OPTION_FLAG, ONLY_LINE, CMD_RESTORE, NULL, NULL, NULL, 0, 0,
                       "stop just before the target instead of just after it"},
    [OPT_TARGET_TIMELINE] = {"target-timeline", OPTION_STRING, ONLY_LINE, CMD_RESTORE, NULL, "TLI",
                             NULL, 0, 0, "follow this timeline: a number, or latest"},
    [OPT_TARGET_ACTION] = {"target-action", OPTION_ENUM, ONLY_LINE, CMD_RESTORE, "pause", "ACTION",
                           "pause|promote|shutdown", 0, 0,
                           "what the server does at the target"},
    [OPT_BACKUP] = {"backup", OPTION_STRING, ONLY_LINE, CMD_RESTORE, NULL, "LABEL", NULL, 0, 0,
                    "restore from this backup instead of the best one"},
    [OPT_AS] = {"as", OPTION_ENUM, ONLY_LINE, CMD_RESTORE, NULL, "ROLE", "production|copy", 0, 0,
                "production goes on archiving; a copy can't touch production. Default: production "
                "into the configured data directory, copy anywhere else"},
    [OPT_TABLESPACE_MAP] = {"tablespace-map", OPTION_LIST, ONLY_LINE, CMD_RESTORE, NULL, "OLD=NEW",
                            NULL, 0, 0, "put the tablespace at OLD into NEW; may be repeated"},
    [OPT_DELTA] = {"delta", OPTION_FLAG, ONLY_LINE, CMD_RESTORE, NULL, NULL, NULL, 0, 0,
                   "keep what is already right in the data directory, replace the rest"},
    [OPT_FORCE] = {"force", OPTION_FLAG, ONLY_LINE, CMD_RESTORE, NULL, NULL, NULL, 0, 0,
                   "empty a data directory that holds something"},
    [OPT_ALLOW_DAMAGED] = {"allow-damaged", OPTION_FLAG, ONLY_LINE, CMD_RESTORE, NULL, NULL, NULL,
                           0, 0, "restore from a backup in which the server found bad checksums"},
    [OPT_DRY_RUN] = {"dry-run", OPTION_FLAG, ONLY_LINE, CMD_RESTORE, NULL, NULL, NULL, 0, 0,
                     "print the plan and write nothing"},
    [OPT_THAW] = {"thaw", OPTION_FLAG, ONLY_LINE, CMD_RESTORE, NULL, NULL, NULL, 0, 0,
                  "ask for what lies in a cold storage class, wait for it, then restore"},
    [OPT_THAW_TIER] = {"thaw-tier", OPTION_ENUM, ONLY_LINE, CMD_RESTORE, "Standard", "TIER",
                       "Standard|Bulk|Expedited", 0, 0, "how fast, and how dear, --thaw is"},
};

const OptionDef *option_def(OptionId id)
{
    return &table[id];
}

OptionId option_find(const char *name)
{
    for (int i = 0; i < OPT_COUNT; i++)
        if (strcmp(table[i].name, name) == 0)
            return (OptionId)i;
    return OPT_COUNT;
}

/* Levenshtein's distance, for words shorter than 64 bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), row[64];
    if (la >= 64 || lb >= 64)
        return 64;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t insert = row[j - 1] + 1, remove = row[j] + 1;
            diagonal = row[j];
            row[j] = change < insert ? change : insert;
            if (remove < row[j])
                row[j] = remove;
        }
    }
    return row[lb];
}

const char *option_nearest(const char *word, const char *const *words, size_t n)
{
    const char *best = NULL;
    size_t least = strlen(word) / 2 < 4 ? strlen(word) / 2 + 1 : 4;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, words[i]);
        if (d < least) {
            least = d;
            best = words[i];
        }
    }
    return best;
}

const char *option_suggest(const char *word, unsigned sections, unsigned commands)
{
    const char *names[OPT_COUNT];
    size_t n = 0;
    for (int i = 0; i < OPT_COUNT; i++)
        if ((!sections || (table[i].sections & sections)) &&
            (!commands || (table[i].commands & commands)))
            names[n++] = table[i].name;
    return option_nearest(word, names, n);
}

static bool parse_flag(const char *text, int64_t *number)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *number = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool parse_size(const char *text, int64_t *number)
{
    static const struct {
        const char *unit;
        int64_t factor;
    } units[] = {{"", 1}, {"B", 1}, {"KiB", KIB}, {"MiB", MIB}, {"GiB", GIB}, {"TiB", 1024 * GIB}};
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || errno || n < 0)
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0)
            return !__builtin_mul_overflow((int64_t)n, units[i].factor, number);
    }
    return false;
}

static bool parse_int(const char *text, int64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return end != text && *end == '\0' && !errno;
}

static bool parse_enum(const char *values, const char *text, int64_t *number)
{
    size_t len = strlen(text);
    *number = 0;
    if (strchr(text, '|'))
        return false;
    for (const char *v = values; v; v = strchr(v, '|') ? strchr(v, '|') + 1 : NULL) {
        if (len && strncmp(v, text, len) == 0 && (v[len] == '|' || v[len] == '\0'))
            return true;
        (*number)++;
    }
    return false;
}

static bool in_range(const OptionDef *def, int64_t number, char *why, size_t size)
{
    if (number >= def->min && number <= def->max)
        return true;
    if (def->type == OPTION_DURATION)
        snprintf(why, size, "a time from %llds to %lldd", (long long)(def->min / SECOND),
                 (long long)(def->max / DAY));
    else if (def->type == OPTION_SIZE)
        snprintf(why, size, "a size from %lldMiB to %lldMiB", (long long)(def->min / MIB),
                 (long long)(def->max / MIB));
    else
        snprintf(why, size, "a number from %lld to %lld", (long long)def->min,
                 (long long)def->max);
    return false;
}

bool option_parse(const OptionDef *def, const char *text, OptionValue *out, char *why, size_t size)
{
    *out = (OptionValue){.text = text};
    switch (def->type) {
    case OPTION_STRING:
    case OPTION_LIST:
        return true;
    case OPTION_FLAG:
        snprintf(why, size, "yes or no");
        return parse_flag(text, &out->number);
    case OPTION_ENUM:
        snprintf(why, size, "one of %s", def->values);
        return parse_enum(def->values, text, &out->number);
    case OPTION_INT:
        snprintf(why, size, "a whole number");
        return parse_int(text, &out->number) && in_range(def, out->number, why, size);
    case OPTION_SIZE:
        snprintf(why, size, "a size such as 64MiB (KiB, MiB, GiB)");
        return parse_size(text, &out->number) && in_range(def, out->number, why, size);
    case OPTION_DURATION:
        snprintf(why, size, "a time such as 30s, 10m, 2h, 1d");
        return clock_parse_duration(text, &out->number) && in_range(def, out->number, why, size);
    }
    return false;
}
