/* storage/s3_check.c: findings about a bucket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "s3_try.h"

#define K        "/bucket/p/k"
#define DENIED   S3_ERROR("AccessDenied")
#define EXISTS   S3_ERROR("PreconditionFailed")
#define NO_KEY   S3_ERROR("NoSuchKey")
#define PROBE    "/bucket/p/.pitr-probe"
#define MULTI    "/bucket/p/.pitr-probe-multipart"
#define LIST     "/bucket?*list-type=2*"
#define ENABLED  "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
#define NO_LOCK  S3_ERROR("ObjectLockConfigurationNotFoundError")
#define NO_RULES S3_ERROR("NoSuchLifecycleConfiguration")
#define CREATED                                                                                    \
    "<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>"
#define LISTED                                                                                     \
    "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/first</Key>"               \
    "<Size>5</Size><LastModified>2026-11-20T10:00:00.000Z</LastModified></Contents>"               \
    "</ListBucketResult>"
#define EMPTY    "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
#define RULES(r) "<LifecycleConfiguration>" r "</LifecycleConfiguration>"
#define RULE(id, status, filter, rest)                                                             \
    "<Rule><ID>" id "</ID><Status>" status "</Status>" filter rest "</Rule>"
#define PREFIX(p) "<Filter><Prefix>" p "</Prefix></Filter>"
#define EXPIRE    "<Expiration><Days>30</Days></Expiration>"
#define ABORT                                                                                      \
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>"                 \
    "</AbortIncompleteMultipartUpload>"
#define MOVE(days, to)                                                                             \
    "<Transition><Days>" days "</Days><StorageClass>" to "</StorageClass></Transition>"

/* Findings, a line each: "good what", "note what", "bad what". */
static void take(void *ctx, StorageFinding finding, const char *what, const char *hint)
{
    static const char *const kinds[] = {"good", "note", "bad"};
    buf_printf(ctx, "%s %s\n", kinds[finding], what);
    if (finding == FINDING_BAD)
        assert_true(hint && hint[0]);
}

typedef struct Found {
    Buf text;
} Found;

static Found check(Storage *st)
{
    Error err;
    Found f = {BUF_INIT};
    must(storage_check(st, take, &f.text, &err), &err);
    buf_puts(&f.text, "");
    return f;
}

static void has(const Found *f, const char *line)
{
    if (!strstr(f->text.data, line))
        fail_msg("no \"%s\" in:\n%s", line, f->text.data);
}

static void has_not(const Found *f, const char *line)
{
    if (strstr(f->text.data, line))
        fail_msg("\"%s\" in:\n%s", line, f->text.data);
}

static void writing_works(void)
{
    reply("PUT", PROBE, 412, "", EXISTS);
    reply("POST", MULTI "?uploads=", 200, "", CREATED);
    reply("PUT", MULTI "?partNumber=1&*", 200, ETAG, "");
    reply("POST", MULTI "?uploadId=U", 412, "", EXISTS);
    reply("DELETE", MULTI "?uploadId=U", 204, "", "");
}

static void reading_works(void)
{
    reply("GET", LIST, 200, "", LISTED);
    reply("HEAD", "/bucket/p/first", 200, ETAG, "");
}

static void settings(int status, const char *versioning, const char *lock, const char *lifecycle)
{
    reply("GET", "/bucket?versioning=", status, "", versioning);
    reply("GET", "/bucket?object-lock=", strstr(lock, "<Error>") ? 404 : 200, "", lock);
    reply("GET", "/bucket?lifecycle=", strstr(lifecycle, "<Error>") ? 404 : 200, "", lifecycle);
}

static Found check_with(Scratch *s, const char *versioning, const char *lock, const char *lifecycle)
{
    writing_works();
    reading_works();
    settings(200, versioning, lock, lifecycle);
    Found f = check(open_s3(s, (StorageOptions){0}));
    start_over();
    return f;
}

/* --- what may be done ------------------------------------------------------------------------ */

static void test_all_is_well(void **state)
{
    use_tls(*state);
    Found f = check_with(*state, ENABLED,
                         "<ObjectLockConfiguration><Rule><DefaultRetention><Mode>COMPLIANCE</Mode>"
                         "<Days>30</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
                         RULES(RULE("a", "Enabled", "", ABORT)));
    has(&f, "good puts: If-None-Match holds");
    has(&f, "good multipart uploads: If-None-Match holds");
    has(&f, "good listing is permitted");
    has(&f, "good reading is permitted");
    has(&f, "good versioning is on");
    has(&f, "good Object Lock: COMPLIANCE, 30 days");
    has(&f, "good a lifecycle rule removes unfinished uploads");
    has_not(&f, "note ");
    has_not(&f, "bad ");
    buf_free(&f.text);
}

static void test_conditions_are_ignored(void **state)
{
    reply("PUT", PROBE, 200, ETAG, "")->times = 2;
    reply("POST", MULTI "?uploads=", 200, "", CREATED)->times = 2;
    reply("PUT", MULTI "?partNumber=1&*", 200, ETAG, "")->times = 2;
    reply("POST", MULTI "?uploadId=U", 501, "", S3_ERROR("NotImplemented"));
    reply("DELETE", MULTI "?uploadId=U", 204, "", "");
    reply("POST", MULTI "?uploadId=U", 200, "",
          "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>");
    reading_works();
    settings(200, ENABLED, NO_LOCK, NO_RULES);
    Found f = check(open_s3(*state, (StorageOptions){0}));
    has(&f, "note the connection is not encrypted");
    has(&f, "note puts: the server ignores If-None-Match");
    has(&f, "note multipart uploads: the server ignores If-None-Match");
    buf_free(&f.text);
}

static void test_reader(void **state)
{
    reply("PUT", PROBE, 403, "", DENIED);
    reading_works();
    settings(200, ENABLED, NO_LOCK, NO_RULES);
    Found f = check(open_s3(*state, (StorageOptions){0}));
    has(&f, "note these credentials may not write");
    has(&f, "good reading is permitted");
    has_not(&f, "bad ");
    buf_free(&f.text);
}

static void test_writer(void **state)
{
    writing_works();
    reply_always("GET", LIST, 403, "", DENIED);
    reply_always("HEAD", "/bucket/p/*", 403, "", "");
    reply_always("GET", "/bucket/p/*", 403, "", DENIED);
    reply_always("GET", "/bucket?versioning=", 403, "", DENIED);
    reply_always("GET", "/bucket?object-lock=", 403, "", DENIED);
    reply_always("GET", "/bucket?lifecycle=", 403, "", DENIED);
    Found f = check(open_s3(*state, (StorageOptions){0}));
    has(&f, "good puts: If-None-Match holds");
    has(&f, "note these credentials may not list");
    has(&f, "note these credentials may not read");
    has(&f, "note the bucket's versioning can't be seen: AccessDenied");
    has(&f, "note the bucket's object-lock can't be seen: AccessDenied");
    has(&f, "note the bucket's lifecycle can't be seen: AccessDenied");
    has_not(&f, "bad ");
    buf_free(&f.text);
}

/* A reader whose right to list depends on a prefix; what it may see is tried, not what is missing.
 */
static void test_empty_repository(void **state)
{
    reply("PUT", PROBE, 403, "", DENIED);
    reply("GET", LIST, 200, "", EMPTY);
    reply("HEAD", PROBE, 404, "", "");
    reply("GET", PROBE, 404, "", NO_KEY);
    settings(200, ENABLED, NO_LOCK, NO_RULES);
    Found f = check(open_s3(*state, (StorageOptions){0}));
    has(&f, "note nothing is stored yet");
    has_not(&f, "may not read");
    buf_free(&f.text);
}

static void check_fails(Scratch *s, const char *part)
{
    Error err;
    Found f = {BUF_INIT};
    assert_false(
        storage_check(open_s3(s, (StorageOptions){.io_timeout = 2 * SECOND}), take, &f.text, &err));
    expect_error(&err, ERR_REPO, part);
    buf_free(&f.text);
    start_over();
}

static void test_out_of_reach(void **state)
{
    reply_always("PUT", PROBE, 500, "", "");
    check_fails(*state, "HTTP 500");
    reply("PUT", PROBE, 404, "", S3_ERROR("NoSuchBucket"));
    check_fails(*state, "NoSuchBucket");
    writing_works();
    reply_always("GET", LIST, 500, "", "");
    check_fails(*state, "HTTP 500");
    writing_works();
    reply("GET", LIST, 200, "", LISTED);
    reply_always("HEAD", "/bucket/p/first", 500, "", "");
    check_fails(*state, "HTTP 500");
}

/* --- settings -------------------------------------------------------------------------------- */

static void expect_finding(Scratch *s, const char *versioning, const char *lock,
                           const char *lifecycle, const char *line)
{
    Found f = check_with(s, versioning, lock, lifecycle);
    has(&f, line);
    buf_free(&f.text);
}

static void test_versioning_and_lock(void **state)
{
    Scratch *s = *state;
    expect_finding(s, "<VersioningConfiguration/>", NO_LOCK, NO_RULES, "note versioning is off");
    expect_finding(s,
                   "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>",
                   NO_LOCK, NO_RULES, "note versioning is off");
    expect_finding(s, ENABLED, NO_LOCK, NO_RULES, "note Object Lock is not set up");
    expect_finding(s, ENABLED,
                   "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
                   "</ObjectLockConfiguration>",
                   NO_RULES, "note Object Lock is on, without a default retention");
    expect_finding(s, ENABLED,
                   "<ObjectLockConfiguration><Rule><DefaultRetention><Mode>GOVERNANCE</Mode>"
                   "<Years>1</Years></DefaultRetention></Rule></ObjectLockConfiguration>",
                   NO_RULES, "good Object Lock: GOVERNANCE");
    expect_finding(s, ENABLED, NO_LOCK, NO_RULES,
                   "note no lifecycle rule removes unfinished uploads");
}

/* Servers that don't know a setting, or answer something else: nothing is claimed. */
static void test_settings_that_can_not_be_seen(void **state)
{
    static const struct {
        int status;
        const char *body;
    } cases[] = {{501, S3_ERROR("NotImplemented")},
                 {405, S3_ERROR("MethodNotAllowed")},
                 {403, DENIED},
                 {200, "<html>Welcome</html>"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        writing_works();
        reading_works();
        reply_always("GET", "/bucket?versioning=", cases[i].status, "", cases[i].body);
        reply_always("GET", "/bucket?object-lock=", cases[i].status, "", cases[i].body);
        reply_always("GET", "/bucket?lifecycle=", cases[i].status, "", cases[i].body);
        Found f = check(open_s3(*state, (StorageOptions){.io_timeout = 2 * SECOND}));
        has_not(&f, "versioning is");
        has_not(&f, "Object Lock is");
        has_not(&f, "lifecycle rule removes");
        has_not(&f, "bad ");
        buf_free(&f.text);
        start_over();
    }
}

static void expect_rules(Scratch *s, const char *rules, const char *line, bool there)
{
    Found f = check_with(s, ENABLED, NO_LOCK, rules);
    if (there)
        has(&f, line);
    else
        has_not(&f, line);
    buf_free(&f.text);
}

static void test_rules_that_delete(void **state)
{
    Scratch *s = *state;
    static const char bad[] =
        "bad lifecycle rule \"x\" deletes objects of this repository after 30 "
        "days";
    expect_rules(s, RULES(RULE("x", "Enabled", "", EXPIRE)), bad, true);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX(""), EXPIRE)), bad, true);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("p"), EXPIRE)), bad, true);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("p/"), EXPIRE)), bad, true);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("p/v1/main/wal"), EXPIRE)), bad, true);
    expect_rules(s, RULES(RULE("x", "Enabled", "<Prefix>p/</Prefix>", EXPIRE)), bad, true);
    expect_rules(s,
                 RULES(RULE("y", "Enabled", PREFIX("q/"), EXPIRE)
                           RULE("x", "Enabled", PREFIX("p/"), EXPIRE)),
                 bad, true);
    expect_rules(s,
                 RULES(RULE("x", "Enabled", "",
                            "<Expiration><Date>2030-01-01T00:00:00.000Z"
                            "</Date></Expiration>")),
                 "bad ", true);
    /* These do no harm. */
    expect_rules(s, RULES(RULE("x", "Disabled", "", EXPIRE)), "bad ", false);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("q/"), EXPIRE)), "bad ", false);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("production/"), EXPIRE)), "bad ", false);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("P/"), EXPIRE)), "bad ", false);
    expect_rules(s,
                 RULES(RULE("x", "Enabled", "",
                            "<Expiration><ExpiredObjectDeleteMarker>true"
                            "</ExpiredObjectDeleteMarker></Expiration>")),
                 "bad ", false);
    expect_rules(s,
                 RULES(RULE("x", "Enabled", "",
                            "<NoncurrentVersionExpiration><NoncurrentDays>30"
                            "</NoncurrentDays></NoncurrentVersionExpiration>")),
                 "good deleted and overwritten versions stay for 30 days", true);
    expect_rules(s,
                 RULES(RULE("x", "Enabled", "",
                            "<NoncurrentVersionExpiration><NoncurrentDays>30"
                            "</NoncurrentDays></NoncurrentVersionExpiration>")),
                 "bad ", false);
}

/* Of some objects only: by size that is harm all the same, by a tag if ours have tags. */
static void test_rules_that_delete_some(void **state)
{
    static const char size[] = "<Filter><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></Filter>";
    static const char tag[] = "<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter>";
    static const char *const kinds[] = {"bad", "note", "bad"};
    for (int i = 0; i < 3; i++) {
        char *rules = mem_printf(RULES(RULE("x", "Enabled", "%s", EXPIRE)), i == 0 ? size : tag);
        char *line =
            mem_printf("%s lifecycle rule \"x\" deletes objects of this repository after 30 "
                       "days (of some objects)",
                       kinds[i]);
        writing_works();
        reading_works();
        settings(200, ENABLED, NO_LOCK, rules);
        Found f = check(open_s3(*state, (StorageOptions){.tags = i == 2 ? "a=b" : NULL}));
        has(&f, line);
        buf_free(&f.text);
        free(rules);
        free(line);
        start_over();
    }
}

static void test_rules_that_freeze(void **state)
{
    Scratch *s = *state;
    static const char tag[] = "<Filter><And><Prefix>p/</Prefix><ObjectSizeGreaterThan>1000000"
                              "</ObjectSizeGreaterThan></And></Filter>";
    char *some = mem_printf(RULES(RULE("x", "Enabled", "%s", MOVE("90", "GLACIER"))), tag);
    expect_rules(
        s, RULES(RULE("x", "Enabled", "", MOVE("90", "DEEP_ARCHIVE"))),
        "bad lifecycle rule \"x\" moves objects of this repository to DEEP_ARCHIVE after 90 "
        "days",
        true);
    expect_rules(s, some,
                 "note lifecycle rule \"x\" moves objects of this repository to GLACIER "
                 "after 90 days (of some objects)",
                 true);
    expect_rules(s, some, "bad ", false);
    expect_rules(s, RULES(RULE("x", "Enabled", "", MOVE("30", "STANDARD_IA"))), " moves objects",
                 false);
    expect_rules(s, RULES(RULE("x", "Enabled", "", MOVE("30", "GLACIER_IR"))), " moves objects",
                 false);
    expect_rules(s, RULES(RULE("x", "Disabled", "", MOVE("30", "GLACIER"))), " moves objects",
                 false);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("q/"), MOVE("30", "GLACIER"))),
                 " moves objects", false);
    free(some);
}

/* First to a cheap class, later to a cold one: the usual rule. */
static void test_rules_that_freeze_later(void **state)
{
    Scratch *s = *state;
    static const char later[] = "moves objects of this repository to DEEP_ARCHIVE after 180 days";
    expect_rules(
        s, RULES(RULE("x", "Enabled", "", MOVE("30", "STANDARD_IA") MOVE("180", "DEEP_ARCHIVE"))),
        later, true);
    expect_rules(
        s, RULES(RULE("x", "Enabled", "", MOVE("180", "DEEP_ARCHIVE") MOVE("30", "STANDARD_IA"))),
        later, true);
}

static void test_rules_that_clean_up(void **state)
{
    Scratch *s = *state;
    static const char good[] = "good a lifecycle rule removes unfinished uploads";
    expect_rules(s, RULES(RULE("x", "Enabled", "", ABORT)), good, true);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("p/"), ABORT)), good, true);
    expect_rules(s, RULES(RULE("x", "Disabled", "", ABORT)), good, false);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("q/"), ABORT)), good, false);
    expect_rules(s, RULES(RULE("x", "Enabled", PREFIX("q/"), ABORT)),
                 "note no lifecycle rule removes unfinished uploads", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        S3_TEST(test_all_is_well),
        S3_TEST(test_conditions_are_ignored),
        S3_TEST(test_reader),
        S3_TEST(test_writer),
        S3_TEST(test_empty_repository),
        S3_TEST(test_out_of_reach),
        S3_TEST(test_versioning_and_lock),
        S3_TEST(test_settings_that_can_not_be_seen),
        S3_TEST(test_rules_that_delete),
        S3_TEST(test_rules_that_delete_some),
        S3_TEST(test_rules_that_freeze),
        S3_TEST(test_rules_that_freeze_later),
        S3_TEST(test_rules_that_clean_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
