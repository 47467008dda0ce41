/* storage/aws_remote.h: STS, the container endpoint, the instance metadata service */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake_aws.h"
#include "storage/aws_remote.h"

#define TOKEN  AWS_SECRET_MARK "-jwt.with_+/=&chars-and-more-than-sixteen"
#define EXPIRY "2026-11-21T05:00:00Z"

static int64_t took(Instant since)
{
    return (clock_now() - since) / 1000;
}

/* --- STS ---------------------------------------------------------------------------------- */

#define STS_KEYS                                                                                   \
    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n"    \
    "  <AssumeRoleWithWebIdentityResult>\n<Audience>x</Audience><Credentials>\n"                   \
    "<SessionToken>" AWS_SECRET_MARK "TOKEN1</SessionToken>"                                       \
    "<SecretAccessKey>" AWS_SECRET_MARK "KEY1</SecretAccessKey>"                                   \
    "<Expiration>" EXPIRY "</Expiration><AccessKeyId>" AWS_SECRET_MARK "ID1</AccessKeyId>"         \
    "</Credentials></AssumeRoleWithWebIdentityResult>\n"                                           \
    "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"                                \
    "</AssumeRoleWithWebIdentityResponse>"

#define STS_ERROR(code, message)                                                                   \
    "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender"       \
    "</Type><Code>" code "</Code><Message>" message "</Message></Error><RequestId>r</RequestId>"   \
    "</ErrorResponse>"

static char *token_file(Scratch *s)
{
    char *path = scratch_path(s, "token");
    scratch_text(path, TOKEN "\n");
    return path;
}

static bool ask_sts(Scratch *s, AwsKeys *keys, Error *err)
{
    AwsWebIdentity identity = {.token_file = token_file(s),
                               .role_arn = "arn:aws:iam::1:role/r",
                               .session_name = "me@host",
                               .endpoint = aws->url};
    *err = (Error){0};
    return aws_web_identity_keys(&identity, keys, err);
}

static void test_sts(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    Instant when;
    assert_true(clock_parse_utc(EXPIRY, &when));
    fake_rule("POST", "/ ", 1, 200, STS_KEYS);
    must(ask_sts(s, &keys, &err), &err);
    expect_keys(&keys, "1");
    assert_int_equal(keys.expires, when);
    aws_keys_free(&keys);
    assert_int_equal(aws->count, 1);
    assert_string_equal(
        aws->requests[0].body,
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3A"
        "iam%3A%3A1%3Arole%2Fr&RoleSessionName=me%40host&WebIdentityToken=" AWS_SECRET_MARK
        "-jwt.with_%2B%2F%3D%26chars-and-more-than-sixteen");
    fake_has_header(0, "Content-Type: application/x-www-form-urlencoded; charset=utf-8");
    assert_null(strstr(aws->requests[0].head, AWS_SECRET_MARK));
}

static Scratch *renewing;

static void renew_token(void)
{
    scratch_text(scratch_path(renewing, "token"), "renewed");
}

/* The token is read for each attempt, and the name of the session made up if there is none. */
static void test_sts_reads_the_token_again(void **state)
{
    Scratch *s = renewing = *state;
    Error err;
    AwsKeys keys;
    char *path = token_file(s);
    AwsWebIdentity identity = {.token_file = path, .role_arn = "r", .endpoint = aws->url};
    fake_rule("POST", "/", 1, 500, "")->before = renew_token;
    fake_rule("POST", "/", 1, 200, STS_KEYS);
    must(aws_web_identity_keys(&identity, &keys, &err), &err);
    aws_keys_free(&keys);
    assert_int_equal(aws->count, 2);
    assert_non_null(strstr(aws->requests[0].body, "WebIdentityToken=" AWS_SECRET_MARK));
    assert_non_null(strstr(aws->requests[1].body, "WebIdentityToken=renewed"));
    assert_non_null(strstr(aws->requests[1].body, "RoleSessionName=pitr-"));
}

static void sts_fails(Scratch *s, size_t attempts, ErrorCode code, const char *part)
{
    Error err;
    AwsKeys keys = {0};
    Instant begun = clock_now();
    assert_false(ask_sts(s, &keys, &err));
    expect_error(&err, code, part);
    assert_non_null(strstr(err.message, "STS"));
    assert_null(keys.access_key);
    assert_int_equal(fake_count("POST"), attempts);
    assert_in_range(took(begun), 0, 4000);
    fake_reset();
}

static void test_sts_faults(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    fake_rule("POST", "/", 3, 503, "<html>" AWS_SECRET_MARK "</html>");
    fake_rule("POST", "/", 1, 200, STS_KEYS);
    sts_fails(s, 3, ERR_REPO, "answered status 503");

    fake_fault("POST", "/", 1, FAKE_CLOSE);
    fake_fault("POST", "/", 1, FAKE_TRUNCATE);
    fake_rule("POST", "/", 1, 200, STS_KEYS);
    must(ask_sts(s, &keys, &err), &err);
    aws_keys_free(&keys);
    fake_reset();

    fake_rule("POST", "/", FAKE_FOR_EVER, 200, "<html>" AWS_SECRET_MARK "</html>");
    sts_fails(s, 3, ERR_REPO, "no answer of STS");
    fake_rule("POST", "/", FAKE_FOR_EVER, 200, "<AssumeRoleWithWebIdentityResponse/>");
    sts_fails(s, 3, ERR_REPO, "access key is missing");
    fake_fault("POST", "/", FAKE_FOR_EVER, FAKE_CLOSE);
    sts_fails(s, 3, ERR_REPO, "STS: 127.0.0.1");

    /* Refusals end it at once, with a hint that fits. */
    fake_rule("POST", "/", FAKE_FOR_EVER, 403,
              STS_ERROR("AccessDenied", "Not authorized to perform"));
    sts_fails(s, 1, ERR_REPO, "403: AccessDenied: Not authorized");
    fake_rule("POST", "/", FAKE_FOR_EVER, 403, STS_ERROR("AccessDenied", ""));
    sts_fails(s, 1, ERR_REPO, "trust policy of arn:aws:iam::1:role/r");
    fake_rule("POST", "/", FAKE_FOR_EVER, 400, STS_ERROR("ExpiredTokenException", "Token expired"));
    sts_fails(s, 1, ERR_REPO, "must be renewed");
    fake_rule("POST", "/", FAKE_FOR_EVER, 404, "not here");
    sts_fails(s, 1, ERR_REPO, "answered status 404");
    /* … but for what passes. */
    fake_rule("POST", "/", 1, 400, STS_ERROR("IDPCommunicationError", "x"));
    fake_rule("POST", "/", 1, 429, "");
    fake_rule("POST", "/", 1, 400, STS_ERROR("Throttling", "x"));
    sts_fails(s, 3, ERR_REPO, "Throttling");
    /* A server that repeats what it was sent. */
    fake_rule("POST", "/", 1, 400, STS_ERROR("Bad", "token " TOKEN " is bad"));
    sts_fails(s, 1, ERR_REPO, "answered status 400");
    fake_rule("POST", "/", 1, 400,
              STS_ERROR("Bad", "token ..."
                               "+/=&amp;chars-and-more-than"));
    assert_false(ask_sts(s, &keys, &err));
    assert_null(strstr(err.message, "chars-and-more"));
}

static void sts_usage(const AwsWebIdentity *identity, const char *part)
{
    Error err = {0};
    AwsKeys keys;
    assert_false(aws_web_identity_keys(identity, &keys, &err));
    expect_error(&err, ERR_USAGE, part);
    assert_int_equal(aws->count, 0);
}

static void test_sts_usage(void **state)
{
    Scratch *s = *state;
    AwsWebIdentity id = {
        .token_file = scratch_path(s, "none"), .role_arn = "r", .endpoint = aws->url};
    sts_usage(&id, "can't open the web identity token");
    id.token_file = token_file(s);
    scratch_text(id.token_file, " \n");
    sts_usage(&id, "is empty");
    scratch_write(id.token_file, "a\0b", 3);
    sts_usage(&id, "is empty or no text");
    id.endpoint = "sts.example.com";
    sts_usage(&id, "no http:// or https:// URL");
    id.endpoint = "https://user:" AWS_SECRET_MARK "@sts.example.com";
    sts_usage(&id, "no http:// or https:// URL");
    id.endpoint = NULL;
    id.region = "evil.example.com/";
    sts_usage(&id, "is no region");
}

/* --- the container endpoint --------------------------------------------------------------- */

static void test_agent_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool good, local;
    } cases[] = {
        {"https://agent.example.com/x?y", true, false},
        {"https://10.0.0.1:8443/x", true, false},
        {"http://127.0.0.1/", true, true},
        {"http://127.9.8.7:1234/x", true, true},
        {"http://localhost:80/x", true, true},
        {"http://169.254.170.2/v2", true, true},
        {"http://169.254.170.23/v1/credentials", true, true},
        {"http://[fd00:ec2::23]/v1/credentials", true, true},
        {"http://[fd00:0ec2:0:0::0023]:80/", true, true},
        {"http://[::1]/x", true, true},
        {"HTTP://127.0.0.1", true, true},
        {"http://example.com/", false, false},
        {"http://169.254.169.254/", false, false},
        {"http://169.254.170.22/", false, false},
        {"http://169.254.170.2.example.com/", false, false},
        {"http://127.0.0.1.example.com/", false, false},
        {"http://127.0.0.1@example.com/", false, false},
        {"https://127.0.0.1@example.com/", false, false},
        {"http://example.com#@127.0.0.1/", false, false},
        {"http://example.com/127.0.0.1", false, false},
        {"http://127.1/", false, false},
        {"http://0177.0.0.1/", false, false},
        {"http://0x7f000001/", false, false},
        {"http://2130706433/", false, false},
        {"http://[::ffff:169.254.170.2]/", false, false},
        {"http://[fd00:ec2::230]/", false, false},
        {"http://[::1%25eth0]/", false, false},
        {"http://[::1]example.com/", false, false},
        {"http://[::1/", false, false},
        {"http://127.0.0.1:80:90/", false, false},
        {"http://127.0.0.1:80a/", false, false},
        {"http://127.0.0.1\\@example.com/", false, false},
        {"http://127.0.0.1/a\\b", false, false},
        {"http://127.0.0.1 /", false, false},
        {"http://127.0.0.1/a b", false, false},
        {"http://127.0.0.1/a\nb", false, false},
        {"http://%31%32%37.0.0.1/", false, false},
        {"http://LOCALHOST.example.com/", false, false},
        {"ftp://127.0.0.1/", false, false},
        {"file:///etc/passwd", false, false},
        {"//127.0.0.1/", false, false},
        {"127.0.0.1/", false, false},
        {"http:///x", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool local = false;
        if (aws_agent_url(cases[i].url, &local) != cases[i].good)
            fail_msg("%s", cases[i].url);
        if (cases[i].good)
            assert_int_equal(local, cases[i].local);
    }
}

static void test_container(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    assert_false(aws_container_configured());
    /* No proxy may come between. */
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x-y?a=b", 1);
    assert_true(aws_container_configured());
    fake_rule("GET", "/v2/credentials/x-y?a=b ", 1, 200, fake_json(s, "1", EXPIRY));
    must(aws_container_keys(&keys, &err), &err);
    expect_keys(&keys, "1");
    assert_true(keys.expires > 0);
    aws_keys_free(&keys);
    assert_string_equal(aws->went_to, "169.254.170.2");
    fake_has_header(0, "Host: 169.254.170.2");
    assert_null(strcasestr(aws->requests[0].head, "\r\nauthorization"));
    fake_reset();

    /* The token of the environment, and a relative address before a full one. */
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/", 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic " AWS_SECRET_MARK, 1);
    fake_rule("GET", "/", 1, 200, fake_json(s, "2", NULL));
    must(aws_container_keys(&keys, &err), &err);
    assert_int_equal(keys.expires, 0);
    aws_keys_free(&keys);
    fake_has_header(0, "Authorization: Basic " AWS_SECRET_MARK);
    fake_reset();

    /* A full address; the token's file goes before its text and is read each time. */
    unsetenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", scratch_keep(s, mem_printf("%s/full", aws->url)),
           1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", scratch_path(s, "agent"), 1);
    for (int i = 0; i < 2; i++) {
        scratch_text(scratch_path(s, "agent"), i ? "second" : "first");
        fake_rule("GET", "/full ", 1, 200, fake_json(s, "3", EXPIRY));
        must(aws_container_keys(&keys, &err), &err);
        expect_keys(&keys, "3");
        aws_keys_free(&keys);
        fake_has_header((size_t)i, i ? "Authorization: second" : "Authorization: first");
    }
    assert_int_equal(aws->link_local, 0);
}

static void container_fails(size_t attempts, ErrorCode code, const char *part)
{
    Error err = {0};
    AwsKeys keys = {0};
    assert_false(aws_container_keys(&keys, &err));
    expect_error(&err, code, part);
    assert_null(keys.access_key);
    assert_int_equal(fake_count("GET"), attempts);
    assert_null(strstr(err.message, "/v2/"));
    fake_reset();
}

static void test_container_faults(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/" AWS_SECRET_MARK, 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", TOKEN, 1);
    fake_rule("GET", "/", 3, 500, AWS_SECRET_MARK);
    fake_rule("GET", "/", 1, 200, fake_json(s, "1", EXPIRY));
    container_fails(3, ERR_REPO, "answered status 500");
    fake_fault("GET", "/", 1, FAKE_CLOSE);
    fake_rule("GET", "/", 1, 200, "{\"AccessKeyId\": \"" AWS_SECRET_MARK "\"");
    fake_rule("GET", "/", 1, 200, fake_json(s, "1", EXPIRY));
    must(aws_container_keys(&keys, &err), &err);
    aws_keys_free(&keys);
    fake_reset();
    fake_rule("GET", "/", FAKE_FOR_EVER, 200, "<html>" AWS_SECRET_MARK "</html>");
    container_fails(3, ERR_REPO, "no JSON object");
    fake_rule("GET", "/", FAKE_FOR_EVER, 200, "{}");
    container_fails(3, ERR_REPO, "access key is missing");
    fake_rule("GET", "/", FAKE_FOR_EVER, 400,
              "{\"code\": \"InvalidIdInRequest\", \"message\": \"Id not\\nfound\"}");
    container_fails(1, ERR_REPO, "400: InvalidIdInRequest: Id not found");
    fake_rule("GET", "/", FAKE_FOR_EVER, 401, "{\"message\": \"bad token " TOKEN "\"}");
    container_fails(1, ERR_REPO, "answered status 401");
    fake_rule("GET", "/", FAKE_FOR_EVER, 307, "");
    container_fails(1, ERR_REPO, "answered status 307");
    aws->refuse = true;
    container_fails(0, ERR_REPO, "169.254.170.2");

    /* What may not become a header, or be asked at all. */
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", AWS_SECRET_MARK "\r\nX: y", 1);
    container_fails(0, ERR_USAGE, "AWS_CONTAINER_AUTHORIZATION_TOKEN has a line end");
    scratch_text(scratch_path(s, "agent"), AWS_SECRET_MARK "\n");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", scratch_path(s, "agent"), 1);
    container_fails(0, ERR_USAGE, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE has a line end");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", scratch_path(s, "none"), 1);
    container_fails(0, ERR_USAGE, "can't open the container's token file");
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@127.0.0.1/" AWS_SECRET_MARK, 1);
    container_fails(0, ERR_USAGE, "does not begin with '/'");
    setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/a b", 1);
    container_fails(0, ERR_USAGE, "no address that may be asked");
    unsetenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/" AWS_SECRET_MARK, 1);
    container_fails(0, ERR_USAGE, "FULL_URI is no address that may be asked");
}

/* --- the instance metadata service -------------------------------------------------------- */

#define TOKEN_PATH "/latest/api/token "
#define ROLES      "/latest/meta-data/iam/security-credentials/ "
#define ROLE       "/latest/meta-data/iam/security-credentials/my+role "

static void instance(Scratch *s)
{
    fake_rule("PUT", TOKEN_PATH, FAKE_FOR_EVER, 200, AWS_SECRET_MARK "session==");
    fake_rule("GET", ROLES, FAKE_FOR_EVER, 200, "my+role\nanother");
    fake_rule("GET", ROLE, FAKE_FOR_EVER, 200, fake_json(s, "1", EXPIRY));
}

static void test_metadata(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    assert_true(aws_metadata_enabled());
    instance(s);
    must(aws_metadata_keys(&keys, &err), &err);
    expect_keys(&keys, "1");
    assert_true(keys.expires > 0);
    aws_keys_free(&keys);
    assert_string_equal(aws->went_to, "169.254.169.254");
    assert_int_equal(aws->count, 3);
    assert_int_equal(fake_count("PUT " TOKEN_PATH), 1);
    fake_has_header(0, "X-aws-ec2-metadata-token-ttl-seconds: 21600");
    fake_has_header(0, "Content-Length: 0");
    fake_has_header(1, "X-aws-ec2-metadata-token: " AWS_SECRET_MARK "session==");
    fake_has_header(2, "X-aws-ec2-metadata-token: " AWS_SECRET_MARK "session==");
    fake_reset();

    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", scratch_keep(s, mem_printf("%s//", aws->url)), 1);
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "nonsense", 1); /* the address goes before */
    instance(s);
    must(aws_metadata_keys(&keys, &err), &err);
    aws_keys_free(&keys);
    assert_int_equal(aws->link_local, 0);

    static const char *const words[] = {"true", "TRUE", "false", "1", ""};
    for (int i = 0; i < 5; i++) {
        setenv("AWS_EC2_METADATA_DISABLED", words[i], 1);
        assert_int_equal(aws_metadata_enabled(), i >= 2);
    }
}

static void metadata_fails(size_t tokens, size_t gets, ErrorCode code, const char *part)
{
    Error err = {0};
    AwsKeys keys = {0};
    assert_false(aws_metadata_keys(&keys, &err));
    expect_error(&err, code, part);
    assert_null(keys.access_key);
    assert_int_equal(fake_count("PUT"), tokens);
    assert_int_equal(fake_count("GET"), gets);
    fake_reset();
}

static void test_metadata_faults(void **state)
{
    Scratch *s = *state;
    Error err;
    AwsKeys keys;
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws->url, 1);
    /* The session token has become invalid: another one. */
    fake_rule("GET", ROLES, 1, 401, "");
    fake_rule("GET", ROLE, 1, 401, "");
    instance(s);
    must(aws_metadata_keys(&keys, &err), &err);
    aws_keys_free(&keys);
    assert_int_equal(fake_count("PUT"), 3);
    fake_reset();
    /* Things that pass. */
    fake_rule("PUT", TOKEN_PATH, 1, 500, "");
    fake_rule("GET", ROLES, 1, 503, "");
    instance(s);
    must(aws_metadata_keys(&keys, &err), &err);
    aws_keys_free(&keys);
    fake_reset();
    fake_fault("GET", ROLE, 1, FAKE_TRUNCATE);
    fake_rule("GET", ROLE, 1, 404, "");
    instance(s);
    must(aws_metadata_keys(&keys, &err), &err);
    aws_keys_free(&keys);
    fake_reset();

    /* There is no way back to version 1. */
    static const int refusals[] = {400, 403, 404, 405};
    for (int i = 0; i < 4; i++) {
        fake_rule("PUT", TOKEN_PATH, FAKE_FOR_EVER, refusals[i], "");
        instance(s);
        metadata_fails(1, 0, ERR_REPO, i == 1 ? "--http-endpoint enabled" : "session token");
    }
    fake_rule("PUT", TOKEN_PATH, FAKE_FOR_EVER, 200, AWS_SECRET_MARK "\r\nX: y");
    metadata_fails(3, 0, ERR_REPO, "no session token");
    fake_rule("GET", ROLES, FAKE_FOR_EVER, 404, "");
    instance(s);
    metadata_fails(1, 1, ERR_USAGE, "has no role");
    fake_rule("GET", ROLES, FAKE_FOR_EVER, 200, "../../x");
    instance(s);
    metadata_fails(3, 3, ERR_REPO, "no name of a role");
    fake_rule("GET", ROLE, FAKE_FOR_EVER, 200, "{\"Code\": \"AssumeRoleUnauthorizedAccess\"}");
    instance(s);
    metadata_fails(3, 6, ERR_REPO, "AssumeRoleUnauthorizedAccess");
    fake_rule("GET", ROLE, FAKE_FOR_EVER, 200, "garbage " AWS_SECRET_MARK);
    instance(s);
    metadata_fails(3, 6, ERR_REPO, "no JSON object");
    fake_fault("PUT", TOKEN_PATH, FAKE_FOR_EVER, FAKE_CLOSE);
    metadata_fails(3, 0, ERR_REPO, "hop-limit 2");
}

/* The answer to the PUT is lost where the hop limit is 1: a bounded time, and the right hint. */
static void test_metadata_hangs(void **state)
{
    Instant begun = clock_now();
    (void)state;
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws->url, 1);
    fake_fault("PUT", TOKEN_PATH, FAKE_FOR_EVER, FAKE_HANG);
    metadata_fails(3, 0, ERR_REPO, "hop-limit 2");
    assert_in_range(took(begun), 5000, 9000); /* two seconds for each */
}

static bool on_ec2(Scratch *s)
{
    char *vendor = scratch_read(s, "/sys/class/dmi/id/sys_vendor", NULL);
    char *uuid = scratch_read(s, "/sys/hypervisor/uuid", NULL);
    return (vendor && strncmp(vendor, "Amazon EC2", 10) == 0) ||
           (uuid && strncmp(uuid, "ec2", 3) == 0);
}

/* Nothing is there: on another machine than an instance that means that nothing is configured. */
static void test_metadata_is_not_there(void **state)
{
    Scratch *s = *state;
    bool ec2 = on_ec2(s);
    aws->refuse = true;
    metadata_fails(0, 0, ec2 ? ERR_REPO : ERR_USAGE, ec2 ? "169.254.169.254" : "no AWS keys are");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv6", 1);
    Error err;
    AwsKeys keys;
    assert_false(aws_metadata_keys(&keys, &err));
    assert_string_equal(aws->went_to, "fd00:ec2::254");
    expect_error(&err, ec2 ? ERR_REPO : ERR_USAGE, "fd00:ec2::254");
    fake_reset();
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "v4", 1);
    metadata_fails(0, 0, ERR_USAGE, "neither IPv4 nor IPv6");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "169.254.169.254", 1);
    metadata_fails(0, 0, ERR_USAGE, "no http:// address");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://u:" AWS_SECRET_MARK "@127.0.0.1", 1);
    metadata_fails(0, 0, ERR_USAGE, "no http:// address");
    assert_int_equal(aws->link_local, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AWS_TEST(test_sts),
        AWS_TEST(test_sts_reads_the_token_again),
        AWS_TEST(test_sts_faults),
        AWS_TEST(test_sts_usage),
        cmocka_unit_test(test_agent_urls),
        AWS_TEST(test_container),
        AWS_TEST(test_container_faults),
        AWS_TEST(test_metadata),
        AWS_TEST(test_metadata_faults),
        AWS_TEST(test_metadata_hangs),
        AWS_TEST(test_metadata_is_not_there),
        cmocka_unit_test(test_nothing_secret_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
