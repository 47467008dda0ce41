#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "s3_samples.h"

static void expect_list(const char *xml, const char *want, bool truncated, const char *next,
                        const char *next_version)
{
    Seen seen = {.text = BUF_INIT};
    S3List list = {.entry = on_entry, .prefix = on_prefix, .ctx = &seen, .truncated = true};
    Error err = {0};
    buf_puts(&seen.text, "");
    buf_puts(&list.next, "old"); /* each call begins anew */
    buf_puts(&list.next_version, "old");
    if (!s3_xml_list(xml, strlen(xml), &list, &err))
        fail_msg("%s\nof %s", err.message, xml);
    assert_string_equal(seen.text.data, want);
    assert_int_equal(list.truncated, truncated);
    assert_string_equal(list.next.data, next);
    assert_string_equal(list.next_version.data, next_version);
    buf_free(&list.next);
    buf_free(&list.next_version);
    buf_free(&seen.text);
}

static void expect_keys(const char *xml, const char *want)
{
    expect_list(xml, want, false, "", "");
}

/* Nothing may have been handed out of an answer that is refused. */
static void refuse_list(const char *xml, size_t len, const char *why)
{
    Seen seen = {.text = BUF_INIT};
    S3List list = {.entry = on_entry, .prefix = on_prefix, .ctx = &seen};
    Error err = {0};
    if (s3_xml_list(xml, len, &list, &err))
        fail_msg("taken: %s", xml);
    assert_int_equal(err.code, ERR_REPO);
    if (!strstr(err.message, why))
        fail_msg("\"%s\" is not in \"%s\"", why, err.message);
    assert_int_equal(seen.entries + seen.prefixes, 0);
    buf_free(&list.next);
    buf_free(&list.next_version);
    buf_free(&seen.text);
}

#define REFUSE(xml, why) refuse_list(xml, strlen(xml), why)

static void test_list(void **state)
{
    (void)state;
    expect_list(aws_list,
                "Example Object+1.txt||GLACIER|434234|250000|R\n"
                "E\xc3\xa9\n%||DEEP_ARCHIVE|0|-1000000|\n"
                "E/a b//\n",
                true, "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=", "");
    expect_list(ceph_list, "a//\na/b c+||STANDARD|6|618000|\n", true, "a b%2B", "");
}

static void test_list_versions(void **state)
{
    (void)state;
    expect_list(ceph_versions, "a a|Sv9FpU||0|1000000|LM\na b+c%41|6ix1|STANDARD|6|0|\n", true,
                "a b+c%41", "6ix1gkGYYvFyOlpz6V2twYxmhl-rwo6");
    expect_list(aws_versions, "a b+c%41|null|STANDARD_IA|6|0|L\n", true, "a b+c%41", "6ix1");
}

#define VERSIONS_TO(marker, encoding, inner)                                                       \
    VERSIONS(encoding "<IsTruncated>true</IsTruncated><NextKeyMarker>" marker                      \
                      "</NextKeyMarker>" inner)

static void test_next_key(void **state)
{
    (void)state;
    /* Another key than the last: as the encoding says. */
    expect_list(VERSIONS_TO("k%2B+1", URL, ""), "", true, "k+ 1", "");
    expect_list(VERSIONS_TO("k%2B+1", "", ""), "", true, "k%2B+1", "");
    /* The last prefix, as it is. */
    expect_list(VERSIONS_TO("p+%31/", URL,
                            "<CommonPrefixes><Prefix>p%2B%2531%2F</Prefix></CommonPrefixes>"),
                "p+%31//\n", true, "p+%31/", "");
    /* What can't be decoded was not encoded. */
    expect_list(VERSIONS_TO("100%", URL, ""), "", true, "100%", "");
    /* The token of the other kind of listing is none. */
    REFUSE(VERSIONS("<IsTruncated>true</IsTruncated><NextContinuationToken>x"
                    "</NextContinuationToken>"),
           "does not say where");
    REFUSE(LIST("<IsTruncated>true</IsTruncated><NextKeyMarker>x</NextKeyMarker>"),
           "does not say where");
}

static void test_empty_list(void **state)
{
    (void)state;
    expect_keys(LIST(COMPLETE), "");
    expect_keys(VERSIONS("<Name>b</Name><Prefix/>" COMPLETE), "");
    expect_keys("<ListBucketResult>" COMPLETE "</ListBucketResult>", "");
    expect_keys("<a:ListBucketResult xmlns:a=\"x\"><a:IsTruncated>false</a:IsTruncated>"
                "</a:ListBucketResult>",
                "");
    expect_keys(" \r\n\t" LIST(COMPLETE) "\n\n", "");
    expect_keys("\xef\xbb\xbf" LIST(COMPLETE), "");
    expect_keys(LIST("<!-- c --><?pi x?>" COMPLETE "<New a=\"b\"><Key>k</Key></New>"), "");
}

static void test_keys(void **state)
{
    (void)state;
    expect_keys(LIST(COMPLETE OBJECT("a b+c%20&amp;&lt;&gt;&quot;&apos;&#x2F;&#47;\xc3\xbc")),
                "a b+c%20&<>\"'//\xc3\xbc|||1|0|\n");
    expect_keys(LIST(COMPLETE OBJECT("a&#13;&#xA;&#9;b")), "a\r\n\tb|||1|0|\n");
    expect_keys(LIST(COMPLETE OBJECT("line\r\nend")), "line\nend|||1|0|\n"); /* as XML has it */
    expect_keys(LIST(COMPLETE OBJECT("<![CDATA[<x>&amp;]]>")), "<x>&amp;|||1|0|\n");
    expect_keys(LIST(COMPLETE OBJECT("  blanks  ")), "  blanks  |||1|0|\n");
    expect_keys(LIST(COMPLETE URL OBJECT("%20a%0Ab%0d%2B%C3%BC%f0%9f%98%80%25")),
                " a\nb\r+\xc3\xbc\xf0\x9f\x98\x80%|||1|0|\n");
    /* Only what stands in the element itself. */
    expect_keys(LIST(COMPLETE "x<Contents>y<Key>k</Key>z"
                              "<LastModified>2009-10-12T17:50:30Z</LastModified>x<Size>1</Size>"
                              "</Contents>"),
                "k|||1|0|\n");
    /* It may come behind the keys. */
    expect_keys(LIST(COMPLETE OBJECT("a+b%2B") URL), "a b+|||1|0|\n");
    expect_keys(LIST(COMPLETE OBJECT("a+b%2B") "<EncodingType>none</EncodingType>"),
                "a+b%2B|||1|0|\n");
    /* No part of one object gets into the next. */
    expect_keys(LIST(COMPLETE "<Contents><Key>a</Key><LastModified>2009-10-12T17:50:30.5Z"
                              "</LastModified><Size>7</Size><StorageClass>C</StorageClass>"
                              "<RestoreStatus><RestoreExpiryDate>x</RestoreExpiryDate>"
                              "</RestoreStatus></Contents>" OBJECT("b")),
                "a||C|7|500000|R\nb|||1|0|\n");
}

#define TIMED(time)                                                                                \
    LIST(COMPLETE "<Contents><Key>k</Key><LastModified>" time                                      \
                  "</LastModified><Size>1</Size></Contents>")
#define SIZED(size)                                                                                \
    LIST(COMPLETE                                                                                  \
         "<Contents><Key>k</Key><LastModified>2009-10-12T17:50:30Z</LastModified><Size>" size      \
         "</Size></Contents>")

static void test_times_and_sizes(void **state)
{
    (void)state;
    expect_keys(TIMED("2009-10-12T17:50:30.000Z"), "k|||1|0|\n");
    expect_keys(TIMED("2009-10-12T17:50:30Z"), "k|||1|0|\n");
    expect_keys(TIMED("2009-10-12T17:50:30.123456Z"), "k|||1|123456|\n");
    expect_keys(TIMED("2009-10-12T17:50:30.1234567Z"), "k|||1|123456|\n");
    expect_keys(TIMED("2009-10-12T17:50:30.123456789Z"), "k|||1|123456|\n");
    expect_keys(TIMED("2009-10-12T17:50:30.99999999999999999999999999999999999999999999999999Z"),
                "k|||1|999999|\n");
    static const char *const no_times[] = {"",
                                           "yesterday",
                                           "2009-10-12T17:50:30.000",
                                           "2009-13-12T17:50:30Z",
                                           "2009-10-12T17:50:30.Z",
                                           "2009-10-12 17:50:30Z",
                                           "Mon, 12 Oct 2009 17:50:30 GMT",
                                           "0.1234567",
                                           "0.12345678901234567890123456789012345678901234567890"};
    for (size_t i = 0; i < COUNT(no_times); i++) {
        char *xml = mem_printf(TIMED("%s"), no_times[i]);
        REFUSE(xml, "LastModified of an object");
        free(xml);
    }
    /* A tail longer than any time behind many decimals. */
    Buf tail = BUF_INIT;
    buf_puts(&tail, "2009-10-12T17:50:30.1234567");
    for (int i = 0; i < 200; i++)
        buf_putc(&tail, 'Z');
    char *xml = mem_printf(TIMED("%s"), tail.data);
    REFUSE(xml, "LastModified of an object");
    free(xml);
    buf_free(&tail);

    expect_keys(SIZED("0"), "k|||0|0|\n");
    expect_keys(SIZED("18446744073709551615"), "k|||18446744073709551615|0|\n");
    static const char *const no_sizes[] = {
        "", "-1", "+1", " 1", "1 ", "1k", "0x10", "1.0", "18446744073709551616"};
    for (size_t i = 0; i < COUNT(no_sizes); i++) {
        xml = mem_printf(SIZED("%s"), no_sizes[i]);
        REFUSE(xml, "Size of an object");
        free(xml);
    }
}

static void test_missing_parts(void **state)
{
    (void)state;
#define TIME "<LastModified>2009-10-12T17:50:30Z</LastModified>"
    REFUSE(LIST(OBJECT("k")), "whether it is complete");
    REFUSE(LIST(""), "whether it is complete");
    REFUSE(LIST("<IsTruncated>maybe</IsTruncated>"), "IsTruncated");
    REFUSE(LIST("<IsTruncated/>"), "IsTruncated");
    REFUSE(LIST("<IsTruncated>true</IsTruncated>"), "does not say where");
    REFUSE(LIST("<IsTruncated>true</IsTruncated><NextContinuationToken/>"), "does not say where");
    REFUSE(LIST(COMPLETE "<Contents/>"), "no key, size or time");
    REFUSE(LIST(COMPLETE "<Contents>" TIME "<Size>1</Size></Contents>"), "no key, size or time");
    REFUSE(LIST(COMPLETE "<Contents><Key/>" TIME "<Size>1</Size></Contents>"),
           "no key, size or time");
    REFUSE(LIST(COMPLETE "<Contents><Key>k</Key>" TIME "</Contents>"), "no key, size or time");
    REFUSE(LIST(COMPLETE "<Contents><Key>k</Key><Size>1</Size></Contents>"),
           "no key, size or time");
    /* What the object before had is not this one's. */
    REFUSE(LIST(COMPLETE OBJECT("j") "<Contents><Key>k</Key></Contents>"), "no key, size or time");
    REFUSE(LIST(COMPLETE OBJECT("j") "<Contents>" TIME "<Size>1</Size></Contents>"),
           "no key, size or time");
    REFUSE(VERSIONS(COMPLETE "<Version><Key>k</Key>" TIME "<Size>1</Size></Version>"),
           "no identifier");
    REFUSE(VERSIONS(COMPLETE "<Version><Key>j</Key>" TIME "<Size>1</Size><VersionId>v</VersionId>"
                             "</Version><Version><Key>k</Key>" TIME "<Size>1</Size></Version>"),
           "no identifier");
    REFUSE(VERSIONS(COMPLETE "<DeleteMarker><Key>k</Key>" TIME "</DeleteMarker>"), "no identifier");
    REFUSE(VERSIONS(COMPLETE "<Version><Key>k</Key><VersionId>v</VersionId><IsLatest>1</IsLatest>"),
           "IsLatest of an object");
    REFUSE(LIST(COMPLETE URL OBJECT("a") OBJECT("b%")), "not encoded");
    REFUSE(LIST(COMPLETE OBJECT("b%00") URL), "not encoded");
    REFUSE(LIST(COMPLETE URL "<CommonPrefixes><Prefix>%zz</Prefix></CommonPrefixes>"),
           "not encoded");
#undef TIME
}

/* Is the answer to a question for `asked` taken? */
static bool is_answer(const char *xml, const char *asked)
{
    S3List list = {.asked = asked};
    Error err = {0};
    bool ok = s3_xml_list(xml, strlen(xml), &list, &err);
    if (!ok && !strstr(err.message, "not asked for"))
        fail_msg("%s", err.message);
    buf_free(&list.next);
    buf_free(&list.next_version);
    return ok;
}

static void test_answer_to_another_question(void **state)
{
    (void)state;
    static const char url[] = LIST(COMPLETE URL "<Prefix>a%2Fb+%2B</Prefix>");
    static const char plain[] = VERSIONS(COMPLETE URL "<Prefix>a/b +</Prefix>"); /* Ceph */
    assert_true(is_answer(url, "a/b +"));
    assert_true(is_answer(plain, "a/b +"));
    assert_true(is_answer(plain, NULL));
    assert_true(is_answer(LIST(COMPLETE), "a"));
    assert_true(is_answer(LIST(COMPLETE "<Prefix/>"), ""));
    assert_false(is_answer(url, "a/b"));
    assert_false(is_answer(plain, "a/b ++"));
    assert_false(is_answer(LIST(COMPLETE "<Prefix/>"), "a"));
    assert_false(is_answer(LIST(COMPLETE "<Prefix>a%</Prefix>"), "a"));

    expect_keys(LIST(COMPLETE "<KeyCount>1</KeyCount>" OBJECT("k")), "k|||1|0|\n");
    expect_keys(LIST(COMPLETE "<CommonPrefixes><Prefix>p</Prefix></CommonPrefixes>" OBJECT(
                    "k") "<KeyCount>2</KeyCount>"),
                "p/\nk|||1|0|\n");
    REFUSE(LIST(COMPLETE "<KeyCount>2</KeyCount>" OBJECT("k")), "as many keys as it says");
    REFUSE(LIST(COMPLETE "<KeyCount>1</KeyCount>"), "as many keys as it says");
    REFUSE(LIST(COMPLETE "<KeyCount>some</KeyCount>"), "KeyCount");
}

static void test_thousand_entries(void **state)
{
    (void)state;
    Buf xml = BUF_INIT, want = BUF_INIT;
    buf_puts(&xml, DECLARATION "<ListBucketResult>" COMPLETE);
    buf_puts(&want, "");
    for (int i = 0; i < 1000; i++) {
        buf_printf(&xml, OBJECT("v1/main/15-7/wal/%08d"), i);
        buf_printf(&want, "v1/main/15-7/wal/%08d|||1|0|\n", i);
    }
    buf_puts(&xml, "</ListBucketResult>");
    expect_keys(xml.data, want.data);

    /* Cut off anywhere, it gives no object at all. */
    for (size_t len = 0; len < xml.len; len += 1 + len / 50)
        refuse_list(xml.data, len, "no S3 answer");
    refuse_list(xml.data, xml.len - 1, "no S3 answer");
    buf_free(&xml);
    buf_free(&want);
}

static void test_callbacks(void **state)
{
    (void)state;
    static const char xml[] = LIST(COMPLETE OBJECT("a") "<CommonPrefixes><Prefix>p</Prefix>"
                                                        "</CommonPrefixes>" OBJECT("b"));
    static const char *const refused[] = {"a", "p", "b"};
    for (size_t i = 0; i < COUNT(refused); i++) {
        Seen seen = {.text = BUF_INIT, .refuse = refused[i]};
        S3List list = {.entry = on_entry, .prefix = on_prefix, .ctx = &seen};
        Error err = {0};
        assert_false(s3_xml_list(xml, strlen(xml), &list, &err));
        assert_int_equal(err.code, ERR_INTERNAL);
        assert_string_equal(err.message, "refused by the callback");
        assert_int_equal(seen.entries + seen.prefixes, i + 1);
        buf_free(&list.next);
        buf_free(&list.next_version);
        buf_free(&seen.text);
    }
    S3List none = {0};
    Error err = {0};
    assert_true(s3_xml_list(xml, strlen(xml), &none, &err));
    buf_free(&none.next);
    buf_free(&none.next_version);
}

/* ---- what is no S3 answer ---- */

static void test_no_answers(void **state)
{
    (void)state;
    REFUSE("", "it is empty");
    REFUSE(" \n", "it is empty");
    REFUSE("<html><body><h1>502 Bad Gateway</h1></body></html>", "called <html>");
    REFUSE("{\"error\": 1}", "line 1");
    REFUSE("<ListBucketResult>" COMPLETE, "line 1");
    REFUSE("<ListBucketResult>" COMPLETE "</ListVersionsResult>", "line 1");
    REFUSE(LIST(COMPLETE) LIST(COMPLETE), "line 2");
    REFUSE(LIST(COMPLETE) "x", "line 2");
    REFUSE("<ListPartsResult>" COMPLETE "</ListPartsResult>", "called <ListPartsResult>");
    REFUSE("<a\xc3\xa9/>", "called <a\?\?>");
    REFUSE(LIST(COMPLETE OBJECT("&#x1F;")), "line 2");
    REFUSE(LIST(COMPLETE OBJECT("&#0;")), "line 2");
    REFUSE(LIST(COMPLETE OBJECT("\x01")), "line 2");
    REFUSE(LIST(COMPLETE OBJECT("\xff")), "line 2");
    REFUSE(LIST(COMPLETE OBJECT("&nbsp;")), "line 2");
    refuse_list("\0" LIST(COMPLETE), 1 + strlen(LIST(COMPLETE)), "line 1");
    refuse_list(LIST(COMPLETE) "\0", strlen(LIST(COMPLETE)) + 1, "line 2");
    /* What is shown of an answer is fit to be shown. */
    S3List asked = {.asked = "a"};
    Error err = {0};
    static const char other[] = LIST(COMPLETE "<Prefix>&#10;&#127;\x1b[2J</Prefix>");
    static const char escape[] = LIST(COMPLETE "<Prefix>&#10;&#127;x</Prefix>");
    assert_false(s3_xml_list(other, strlen(other), &asked, &err));
    assert_false(s3_xml_list(escape, strlen(escape), &asked, &err));
    assert_non_null(strstr(err.message, "\"\?\?x\""));
    buf_free(&asked.next);
    buf_free(&asked.next_version);
    /* An error in the place of an answer is told. */
    REFUSE("<Error><Code>InternalError</Code><Message>Try again.</Message></Error>",
           "the server answered InternalError: Try again.");
    REFUSE("<Error><Code>SlowDown</Code><Message/></Error>", "the server answered SlowDown");
    REFUSE("<Error/>", "an error without a code");
}

static void test_doctype(void **state)
{
    (void)state;
    REFUSE("<!DOCTYPE ListBucketResult><ListBucketResult>" COMPLETE "</ListBucketResult>",
           "DOCTYPE");
    REFUSE("<!DOCTYPE ListBucketResult SYSTEM \"file:///etc/passwd\"><ListBucketResult>" COMPLETE
           "</ListBucketResult>",
           "DOCTYPE");
    REFUSE("<!DOCTYPE l [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><ListBucketResult>" COMPLETE
           "<Name>&e;</Name></ListBucketResult>",
           "DOCTYPE");
    REFUSE("<!DOCTYPE l [<!ENTITY a \"0123456789\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;\">"
           "<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\">]>"
           "<ListBucketResult>" COMPLETE "<Name>&d;</Name></ListBucketResult>",
           "DOCTYPE");
    S3Error e;
    static const char error[] = "<!DOCTYPE Error><Error><Code>x</Code></Error>";
    assert_false(s3_xml_error(error, strlen(error), &e));
    assert_string_equal(e.code, "");
}

static void test_limits(void **state)
{
    (void)state;
    const struct {
        const char *before, *text;
        int fits;
        const char *after, *why;
    } limits[] = {
        {"<ListBucketResult>" COMPLETE "<x>", "y", 16 * 1024, "</x></ListBucketResult>", "text"},
        {"<ListBucketResult>" COMPLETE "<x>", "&amp;", 16 * 1024, "</x></ListBucketResult>",
         "text"},
        {"<ListBucketResult>" COMPLETE "<x", "y", 1023, "/></ListBucketResult>", "name"},
    };
    for (size_t i = 0; i < COUNT(limits); i++) {
        char *fits = repeat(limits[i].before, limits[i].text, limits[i].fits, limits[i].after);
        expect_keys(fits, "");
        free(fits);
        char *more = repeat(limits[i].before, limits[i].text, limits[i].fits + 1, limits[i].after);
        REFUSE(more, limits[i].why);
        free(more);
    }
    for (int depth = 15; depth <= 16; depth++) { /* below the root */
        char *open = repeat("<ListBucketResult>" COMPLETE, "<a>", depth, "");
        char *xml = repeat(open, "</a>", depth, "</ListBucketResult>");
        if (depth == 15)
            expect_keys(xml, "");
        else
            REFUSE(xml, "levels");
        free(open);
        free(xml);
    }
    char *deep = repeat("", "<ListBucketResult>", 1000000, "");
    REFUSE(deep, "levels");
    free(deep);
    char *wide = repeat("<ListBucketResult>" COMPLETE, "<a/>", 200000, "</ListBucketResult>");
    expect_keys(wide, "");
    free(wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_versions),
        cmocka_unit_test(test_next_key),
        cmocka_unit_test(test_empty_list),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_times_and_sizes),
        cmocka_unit_test(test_missing_parts),
        cmocka_unit_test(test_answer_to_another_question),
        cmocka_unit_test(test_thousand_entries),
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_no_answers),
        cmocka_unit_test(test_doctype),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests_name("s3_xml_list", tests, NULL, NULL);
}
