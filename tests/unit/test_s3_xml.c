#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "s3_samples.h"

/* ---- errors ---- */

static bool error_of(const char *xml, S3Error *e)
{
    return s3_xml_error(xml, strlen(xml), e);
}

static void test_error(void **state)
{
    (void)state;
    S3Error e;
    assert_true(error_of(aws_error, &e));
    assert_string_equal(e.code, "AuthorizationHeaderMalformed");
    assert_string_equal(e.message, "The authorization header is malformed; the region 'us-east-1' "
                                   "is wrong; expecting 'eu-west-3'");
    assert_string_equal(e.region, "eu-west-3");
    assert_string_equal(e.endpoint, "b.s3.eu-west-3.amazonaws.com");
    assert_string_equal(e.request_id, "4442587FB7D0A2F9");

    assert_true(error_of("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
                         "<Error><Type>Sender</Type><Code>ExpiredTokenException</Code><Message>m"
                         "</Message></Error><RequestId>r</RequestId></ErrorResponse>",
                         &e));
    assert_string_equal(e.code, "ExpiredTokenException");
    assert_string_equal(e.message, "m");
    assert_string_equal(e.request_id, "r");
    assert_string_equal(e.region, "");

    assert_true(error_of("<Error/>", &e));
    assert_string_equal(e.code, "");

    static const char *const others[] = {
        "",
        "AccessDenied",
        "<html><Code>x</Code></html>",
        "<Error><Code>x</Code>",
        "<Errors><Error><Code>x</Code></Error></Errors>",
        "<!DOCTYPE html><html><head><title>503</title></head><body>busy<br></body></html>"};
    for (size_t i = 0; i < COUNT(others); i++) {
        assert_false(error_of(others[i], &e));
        assert_string_equal(e.code, "");
    }
}

static void test_error_texts_are_safe(void **state)
{
    (void)state;
    S3Error e;
    assert_true(error_of("<Error><Code>a&#10;b&#x7f;c&#x9b;d&#xa0;e</Code>"
                         "<Message>\xc2\x85&#13;&#9;\xc3\xbc</Message></Error>",
                         &e));
    assert_string_equal(e.code, "a?b?c?d\xc2\xa0"
                                "e");
    assert_string_equal(e.message, "???\xc3\xbc");

    /* Cut where a character ends: 63 bytes of room. */
    char *xml = repeat("<Error><Code>", "x", 64, "</Code></Error>");
    assert_true(error_of(xml, &e));
    assert_int_equal(strlen(e.code), 63);
    free(xml);
    xml = repeat("<Error><Code>", "\xc3\xbc", 40, "</Code></Error>");
    assert_true(error_of(xml, &e));
    assert_int_equal(strlen(e.code), 62);
    assert_memory_equal(e.code + 60, "\xc3\xbc", 3);
    free(xml);
    xml = repeat("<Error><Code>y", "\xf0\x9f\x98\x80", 16, "</Code></Error>");
    assert_true(error_of(xml, &e));
    assert_int_equal(strlen(e.code), 61);
    free(xml);
    xml = repeat("<Error><Code>", "\xc3\xbc", 31, "z</Code></Error>"); /* fits to the last byte */
    assert_true(error_of(xml, &e));
    assert_int_equal(strlen(e.code), 63);
    free(xml);
}

/* ---- multipart, deletion, single texts ---- */

static void test_upload_id(void **state)
{
    (void)state;
    Buf out = BUF_INIT;
    Error err = {0};
    buf_puts(&out, "uploadId=");
    assert_true(s3_xml_upload_id(upload_id, strlen(upload_id), &out, &err));
    assert_string_equal(out.data, "uploadId=2~Qf-Z1qDCYPOx2QQPEGCQDs9zAvlXcX0&");
    static const char *const none[] = {
        "<InitiateMultipartUploadResult/>", "<UploadId>x</UploadId>",
        "<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>",
        "<InitiateMultipartUploadResult><UploadId>x</UploadId>",
        "<InitiateMultipartUploadResult><a><UploadId>x</UploadId></a>"
        "</InitiateMultipartUploadResult>"};
    for (size_t i = 0; i < COUNT(none); i++) {
        buf_clear(&out);
        assert_false(s3_xml_upload_id(none[i], strlen(none[i]), &out, &err));
        assert_int_equal(err.code, ERR_REPO);
        assert_int_equal(out.len, 0);
    }
    buf_free(&out);
}

static void test_complete(void **state)
{
    (void)state;
    S3Error e;
    Error err = {0};
    assert_true(s3_xml_complete(complete_ok, strlen(complete_ok), &e, &err));
    assert_string_equal(e.code, "");

    assert_false(s3_xml_complete(complete_error, strlen(complete_error), &e, &err));
    assert_string_equal(e.code, "InternalError");
    assert_int_equal(err.code, ERR_REPO);
    assert_string_equal(err.message, "the server answered InternalError: We encountered an "
                                     "internal error. Please try again.");

    static const char *const neither[] = {"",
                                          " ",
                                          "<html/>",
                                          "<Error/>",
                                          "<DeleteResult/>",
                                          "<CompleteMultipartUploadResult>",
                                          "<Error><Code>InternalError</Code>"};
    for (size_t i = 0; i < COUNT(neither); i++) {
        err = (Error){0};
        assert_false(s3_xml_complete(neither[i], strlen(neither[i]), &e, &err));
        assert_string_equal(e.code, "");
        assert_int_equal(err.code, ERR_REPO);
    }
}

static void on_failed(void *ctx, const char *key, const S3Error *error)
{
    buf_printf(ctx, "%s|%s|%s\n", key, error->code, error->message);
}

static void test_delete_result(void **state)
{
    (void)state;
    Buf out = BUF_INIT;
    Error err = {0};
    assert_true(s3_xml_delete_result(delete_result, strlen(delete_result), on_failed, &out, &err));
    assert_string_equal(out.data, "a b+&%20\n.txt|AccessDenied|Access Denied\n|InternalError|\n");
    buf_clear(&out);
    assert_true(s3_xml_delete_result("<DeleteResult/>", 15, on_failed, &out, &err));
    assert_int_equal(out.len, 0);
    assert_false(s3_xml_delete_result("", 0, on_failed, &out, &err));
    assert_int_equal(err.code, ERR_REPO);
    buf_free(&out);
}

static void expect_text(const char *xml, const char *root, const char *path, const char *want)
{
    Buf out = BUF_INIT;
    Error err = {0};
    buf_puts(&out, "");
    if (!s3_xml_text(xml, strlen(xml), root, path, &out, &err))
        fail_msg("%s", err.message);
    assert_string_equal(out.data, want);
    buf_free(&out);
}

static void test_text(void **state)
{
    (void)state;
    expect_text(versioning, "VersioningConfiguration", "Status", "Enabled");
    expect_text("<VersioningConfiguration/>", "VersioningConfiguration", "Status", "");
    expect_text(object_lock, "ObjectLockConfiguration", "Rule/DefaultRetention/Mode", "COMPLIANCE");
    expect_text(object_lock, "ObjectLockConfiguration", "Rule/DefaultRetention/Years", "");
    expect_text(object_lock, "ObjectLockConfiguration", "DefaultRetention/Mode", "");
    expect_text(object_lock, "ObjectLockConfiguration", "Mode", "");
    expect_text(location, "LocationConstraint", "", "eu-west-3");
    expect_text("<a><b>1</b><b>2</b></a>", "a", "b", "1");
    expect_text("<a><b/><b>2</b></a>", "a", "b", "");

    Buf out = BUF_INIT;
    Error err = {0};
    assert_false(s3_xml_text(versioning, strlen(versioning), "Tagging", "x", &out, &err));
    assert_non_null(strstr(err.message, "called <VersioningConfiguration>"));
    assert_non_null(strstr(err.hint, "endpoint"));
    assert_false(s3_xml_text(versioning, strlen(versioning) - 1, "VersioningConfiguration",
                             "Status", &out, &err));
    assert_int_equal(out.len, 0);
    buf_free(&out);
    buf_init_max(&out, 3);
    assert_false(s3_xml_text(versioning, strlen(versioning), "VersioningConfiguration", "Status",
                             &out, &err));
    buf_free(&out);
}

/* ---- lifecycle ---- */

static void test_lifecycle(void **state)
{
    (void)state;
    Buf out = BUF_INIT;
    Error err = {0};
    buf_puts(&out, "");
    assert_true(s3_xml_lifecycle(lifecycle, strlen(lifecycle), on_rule, &out, &err));
    assert_string_equal(out.data, "and|v1/&|ET|e30 n7 a3 t0 \n"
                                  "old form|logs/||e1 n0 a0 t0 \n"
                                  "|x|E|e0 n0 a0 t1 GLACIER\n"
                                  "size||ET|e0 n0 a0 t0 \n"
                                  "tag||ET|e0 n0 a0 t1 GLACIER_IR\n"
                                  "||E|e2147483647 n0 a0 t0 \n");
    buf_clear(&out);
    assert_true(s3_xml_lifecycle(RULES(""), strlen(RULES("")), on_rule, &out, &err));
    assert_int_equal(out.len, 0);
    static const char *const broken[] = {
        RULES("<Rule><Expiration><Days>soon</Days></Expiration></Rule>"),
        RULES("<Rule><Expiration><Days>-1</Days></Expiration></Rule>"),
        RULES("<Rule><Transition><Days/></Transition></Rule>"), "<Rule/>", ""};
    for (size_t i = 0; i < COUNT(broken); i++) {
        assert_false(s3_xml_lifecycle(broken[i], strlen(broken[i]), on_rule, &out, &err));
        assert_int_equal(err.code, ERR_REPO);
    }
    buf_free(&out);
}

/* ---- escaping ---- */

static void test_escape(void **state)
{
    (void)state;
    Buf out = BUF_INIT;
    s3_xml_escape(&out, "a<b>&\"'c\n\r\t\x01\x7f\xc3\xbc +%");
    assert_string_equal(out.data,
                        "a&#x3C;b&#x3E;&#x26;&#x22;&#x27;c&#xA;&#xD;&#x9;&#x1;&#x7F;\xc3\xbc +%");
    buf_free(&out);

    /* What XML can hold at all comes back as it was. */
    for (unsigned c = 9; c < 128; c++) {
        if (c < ' ' && c != '\t' && c != '\n' && c != '\r')
            continue;
        char text[] = {' ', (char)c, (char)c, '\0'}, *xml;
        Buf escaped = BUF_INIT;
        s3_xml_escape(&escaped, text);
        xml = mem_printf("<a><b>%s</b></a>", escaped.data);
        expect_text(xml, "a", "b", text);
        free(xml);
        buf_free(&escaped);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error),         cmocka_unit_test(test_error_texts_are_safe),
        cmocka_unit_test(test_upload_id),     cmocka_unit_test(test_complete),
        cmocka_unit_test(test_delete_result), cmocka_unit_test(test_text),
        cmocka_unit_test(test_lifecycle),     cmocka_unit_test(test_escape),
    };
    return cmocka_run_group_tests_name("s3_xml", tests, NULL, NULL);
}
