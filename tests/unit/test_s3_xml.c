/*
 * The fuzzing at the end is short by default; PITR_FUZZ_ROUNDS and PITR_FUZZ_SEED make it longer
 * and other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "storage/s3_xml.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DECLARATION  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NAMESPACE    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define LIST(inner)  DECLARATION "<ListBucketResult " NAMESPACE ">" inner "</ListBucketResult>"
#define VERSIONS(inner)                                                                            \
    DECLARATION "<ListVersionsResult " NAMESPACE ">" inner "</ListVersionsResult>"
#define COMPLETE "<IsTruncated>false</IsTruncated>"
#define URL      "<EncodingType>url</EncodingType>"
#define OBJECT(key)                                                                                \
    "<Contents><Key>" key "</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>"            \
    "<Size>1</Size></Contents>"
#define T0 INT64_C(1255369830000000) /* 2009-10-12T17:50:30Z */

/* ---- a listing as text ---- */

typedef struct Seen {
    Buf text;
    size_t entries, prefixes;
    const char *refuse; /* the callbacks fail at this key or prefix */
} Seen;

static bool on_entry(void *ctx, const S3Entry *e, Error *err)
{
    Seen *s = ctx;
    s->entries++;
    if (s->refuse && strcmp(e->key, s->refuse) == 0)
        return error_set(err, ERR_INTERNAL, "refused by the callback");
    return buf_printf(&s->text, "%s|%s|%s|%llu|%lld|%s%s%s\n", e->key, e->version, e->storage_class,
                      (unsigned long long)e->size, (long long)(e->modified - T0),
                      e->is_latest ? "L" : "", e->is_marker ? "M" : "", e->restored ? "R" : "");
}

static bool on_prefix(void *ctx, const char *prefix, Error *err)
{
    Seen *s = ctx;
    s->prefixes++;
    if (s->refuse && strcmp(prefix, s->refuse) == 0)
        return error_set(err, ERR_INTERNAL, "refused by the callback");
    return buf_printf(&s->text, "%s/\n", prefix);
}

static void expect_list(const char *xml, const char *want, bool truncated, const char *next,
                        const char *next_version)
{
    Seen seen = {.text = BUF_INIT};
    S3List list = {on_entry, on_prefix, &seen, true, BUF_INIT, BUF_INIT};
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
    S3List list = {on_entry, on_prefix, &seen, false, BUF_INIT, BUF_INIT};
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

/* As the S3 API reference shows the answer of ListObjectsV2, with all that may be in it. */
static const char aws_list[] = LIST(
    "<Name>quotes</Name><Prefix>E</Prefix><StartAfter>ExampleGuide.pdf</StartAfter>"
    "<ContinuationToken>0/x=</ContinuationToken>"
    "<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</NextContinuationToken>"
    "<KeyCount>2</KeyCount><MaxKeys>2</MaxKeys><Delimiter>%2F</Delimiter>" URL
    "<IsTruncated>true</IsTruncated>"
    "<Contents><Key>Example+Object%2B1.txt</Key><LastModified>2009-10-12T17:50:30.250Z</"
    "LastModified>"
    "<ETag>\"70ee1738b6b21e2c8a43f3a5ab0eee71\"</ETag><ChecksumAlgorithm>SHA256</ChecksumAlgorithm>"
    "<Size>434234</Size><StorageClass>GLACIER</StorageClass>"
    "<Owner><ID>75aa57f0</ID><DisplayName>Key</DisplayName></Owner>"
    "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
    "<RestoreExpiryDate>2012-12-21T00:00:00.000Z</RestoreExpiryDate></RestoreStatus></Contents>"
    "<Contents><Key>E%C3%A9%0A%25</Key><LastModified>2009-10-12T17:50:29Z</LastModified>"
    "<Size>0</Size><StorageClass>DEEP_ARCHIVE</StorageClass>"
    "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus></Contents>"
    "<CommonPrefixes><Prefix>E%2Fa+b/</Prefix></CommonPrefixes>");

/* As Ceph answers: EncodingType first, %20 for a space, '/' encoded in keys and not in prefixes. */
static const char ceph_list[] =
    LIST(URL "<Name>bkt</Name><Prefix>a</Prefix><MaxKeys>1000</MaxKeys><Delimiter>/</Delimiter>"
             "<IsTruncated>true</IsTruncated>"
             "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes><Contents>"
             "<Key>a%2Fb%20c%2B</Key><LastModified>2009-10-12T17:50:30.618Z</LastModified>"
             "<ETag>&quot;b1946ac92492d2347c6235b4d2611184&quot;</ETag><Size>6</Size>"
             "<StorageClass>STANDARD</StorageClass><Type>Normal</Type></Contents>"
             "<NextContinuationToken>a b%2B</NextContinuationToken><KeyCount>2</KeyCount>");

/* Ceph leaves NextKeyMarker as it is, AWS encodes it like the keys. */
static const char ceph_versions[] =
    VERSIONS(URL "<Name>bkt</Name><Prefix></Prefix><MaxKeys>2</MaxKeys>"
                 "<IsTruncated>true</IsTruncated><KeyMarker></KeyMarker>"
                 "<VersionIdMarker></VersionIdMarker><NextKeyMarker>a b+c%41</NextKeyMarker>"
                 "<NextVersionIdMarker>6ix1gkGYYvFyOlpz6V2twYxmhl-rwo6</NextVersionIdMarker>"
                 "<DeleteMarker><Key>a%20a</Key><VersionId>Sv9FpU</VersionId>"
                 "<IsLatest>true</IsLatest><LastModified>2009-10-12T17:50:31.000Z</LastModified>"
                 "<Owner><ID>main</ID><DisplayName>main</DisplayName></Owner><Type>Normal</Type>"
                 "</DeleteMarker>"
                 "<Version><Key>a%20b%2Bc%2541</Key><VersionId>6ix1</VersionId>"
                 "<IsLatest>false</IsLatest><LastModified>2009-10-12T17:50:30.000Z</LastModified>"
                 "<ETag>&quot;b1946ac9&quot;</ETag><Size>6</Size><StorageClass>STANDARD"
                 "</StorageClass></Version>");
static const char aws_versions[] =
    VERSIONS("<Name>bkt</Name><Prefix/><KeyMarker/><VersionIdMarker/>"
             "<NextKeyMarker>a+b%2Bc%2541</NextKeyMarker>"
             "<NextVersionIdMarker>6ix1</NextVersionIdMarker><MaxKeys>2</MaxKeys>" URL
             "<IsTruncated>true</IsTruncated>"
             "<Version><Key>a+b%2Bc%2541</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>"
             "<LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>\"x\"</ETag><Size>6</Size>"
             "<StorageClass>STANDARD_IA</StorageClass></Version>");

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
        S3List list = {on_entry, on_prefix, &seen, false, BUF_INIT, BUF_INIT};
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
    refuse_list("\0<a/>", 5, "line 1");
    refuse_list(LIST(COMPLETE) "\0", strlen(LIST(COMPLETE)) + 1, "line 2");
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

static char *repeat(const char *before, const char *text, int times, const char *after)
{
    Buf b = BUF_INIT;
    buf_puts(&b, before);
    for (int i = 0; i < times; i++)
        buf_puts(&b, text);
    buf_puts(&b, after);
    return buf_detach(&b);
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

/* ---- errors ---- */

static const char aws_error[] =
    DECLARATION "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header "
                "is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-3'</Message>"
                "<Region>eu-west-3</Region><Endpoint>b.s3.eu-west-3.amazonaws.com</Endpoint>"
                "<RequestId>4442587FB7D0A2F9</RequestId><HostId>x</HostId></Error>";

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

static const char upload_id[] =
    DECLARATION "<InitiateMultipartUploadResult " NAMESPACE "><Bucket>b</Bucket><Key>k</Key>"
                "<UploadId>2~Qf-Z1qDCYPOx2QQPEGCQDs9zAvlXcX0&amp;</UploadId>"
                "</InitiateMultipartUploadResult>";

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

static const char complete_ok[] =
    DECLARATION "<CompleteMultipartUploadResult " NAMESPACE "><Location>http://h/b/k</Location>"
                "<Bucket>b</Bucket><Key>k</Key><ETag>\"3858f62230ac3c915f300c664312c11f-9\"</ETag>"
                "</CompleteMultipartUploadResult>";
static const char complete_error[] =
    "   \n  " DECLARATION "  <Error><Code>InternalError</Code><Message>We encountered an internal "
    "error. Please try again.</Message><RequestId>656c76696e6727</RequestId></Error>";

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

static const char delete_result[] =
    DECLARATION "<DeleteResult " NAMESPACE "><Deleted><Key>sample1.txt</Key></Deleted>"
                "<Error><Key>a b+&amp;%20&#xA;.txt</Key><VersionId>v</VersionId>"
                "<Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                "<Error><Code>InternalError</Code></Error>"
                "<Deleted><Key>x</Key><DeleteMarker>true</DeleteMarker></Deleted></DeleteResult>";

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

static const char versioning[] =
    DECLARATION "<VersioningConfiguration " NAMESPACE "><Status>Enabled</Status>"
                "<MfaDelete>Disabled</MfaDelete></VersioningConfiguration>";
static const char object_lock[] =
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
    "<DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule>"
    "</ObjectLockConfiguration>";
static const char location[] = "<LocationConstraint " NAMESPACE ">eu-west-3</LocationConstraint>";

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

static void on_rule(void *ctx, const S3LifecycleRule *r)
{
    buf_printf(ctx, "%s|%s|%s%s|e%d n%d a%d t%d %s\n", r->id, r->prefix, r->enabled ? "E" : "",
               r->has_tag_or_size ? "T" : "", r->expire_days, r->noncurrent_days, r->abort_days,
               r->transition_days, r->transition_class);
}

#define RULES(inner) "<LifecycleConfiguration " NAMESPACE ">" inner "</LifecycleConfiguration>"

static const char lifecycle[] = RULES(
    "<Rule><ID>and</ID><Filter><And><Prefix>v1/&amp;</Prefix><Tag><Key>k</Key><Value>v</Value>"
    "</Tag></And></Filter><Status>Enabled</Status><Expiration><Days>30</Days></Expiration>"
    "<NoncurrentVersionExpiration><NoncurrentDays>7</NoncurrentDays>"
    "<NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation>"
    "</AbortIncompleteMultipartUpload></Rule>"
    "<Rule><ID>old form</ID><Prefix>logs/</Prefix><Status>Disabled</Status>"
    "<Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration></Rule>"
    "<Rule><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status>"
    "<Transition><StorageClass>DEEP_ARCHIVE</StorageClass><Days>90</Days></Transition>"
    "<Transition><Days>0</Days><StorageClass>GLACIER</StorageClass></Transition>"
    "<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>"
    "<NoncurrentVersionTransition><NoncurrentDays>1</NoncurrentDays><StorageClass>GLACIER"
    "</StorageClass></NoncurrentVersionTransition></Rule>"
    "<Rule><ID>size</ID><Filter><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan></Filter>"
    "<Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true"
    "</ExpiredObjectDeleteMarker></Expiration></Rule>"
    "<Rule><ID>tag</ID><Filter><Tag><Key>Prefix</Key><Value/></Tag></Filter><Status>Enabled"
    "</Status><Transition><Date>2030-01-01T00:00:00Z</Date><StorageClass>GLACIER_IR</StorageClass>"
    "</Transition></Rule>"
    "<Rule><Filter/><Status>Enabled</Status><Expiration><Days>99999999999</Days></Expiration>"
    "</Rule>");

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

/* ---- fuzzing ---- */

static const char *const samples[] = {
    aws_list,       ceph_list,     ceph_versions, aws_versions, aws_error, upload_id, complete_ok,
    complete_error, delete_result, versioning,    object_lock,  location,  lifecycle};

static uint64_t lots(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* A part of a text: from `begin`, `len` bytes. */
typedef struct Part {
    size_t begin, len;
} Part;

static Part any_part(const Buf *b, uint64_t *seed)
{
    Part p = {b->len ? lots(seed) % b->len : 0, 0};
    p.len = b->len ? lots(seed) % (b->len - p.begin) : 0;
    return p;
}

/* The first element without children behind a random place, or no bytes at the end. With `inner`
 * only the text in it. */
static Part any_leaf(const Buf *b, uint64_t *seed, bool inner)
{
    for (size_t i = b->len ? lots(seed) % b->len : 0; i + 1 < b->len; i++) {
        if (b->data[i] != '<' || b->data[i + 1] == '/' || b->data[i + 1] == '?')
            continue;
        size_t text = i + strcspn(b->data + i, ">") + 1;
        size_t end = text < b->len ? text + strcspn(b->data + text, "<") : b->len;
        size_t behind = end < b->len ? end + strcspn(b->data + end, ">") + 1 : b->len;
        if (end + 1 < b->len && behind <= b->len && b->data[end + 1] == '/')
            return inner ? (Part){text, end - text} : (Part){i, behind - i};
    }
    return (Part){b->len, 0};
}

/* Puts `len` bytes in the place of a part. */
static void replace(Buf *b, Part part, const char *text, size_t len)
{
    Buf out = BUF_INIT;
    buf_append(&out, b->data, part.begin);
    buf_append(&out, text, len);
    buf_append(&out, b->data + part.begin + part.len, b->len - part.begin - part.len);
    buf_free(b);
    *b = out;
}

/* Changes the text in one way; the result may have zero bytes in it. */
static void mutate(Buf *b, uint64_t *seed)
{
    static const char *const markup[] = {"<",
                                         ">",
                                         "&",
                                         "&#x",
                                         "]]>",
                                         "</Key>",
                                         "<Key>",
                                         "<!--",
                                         "<Contents>",
                                         "<Rule>",
                                         "\xff",
                                         "<![CDATA[",
                                         "<Error>",
                                         "<!DOCTYPE a>",
                                         "<?xml version='1.0' encoding='UTF-16'?>"};
    static const char *const values[] = {"",
                                         "true",
                                         "false",
                                         "url",
                                         "0",
                                         "-1",
                                         "%",
                                         "%2",
                                         "%00",
                                         "%2B+",
                                         "&#xA;",
                                         "\xc3\xbc",
                                         "99999999999999999999",
                                         "2009-10-12T17:50:30.1234567Z"};
    const char *piece = markup[lots(seed) % COUNT(markup)];
    const char *value = values[lots(seed) % COUNT(values)];
    const char *other = samples[lots(seed) % COUNT(samples)];
    char byte = (char)lots(seed);
    Part part = any_part(b, seed), leaf = any_leaf(b, seed, false);
    char *copy = mem_strndup(b->data ? b->data + leaf.begin : "", leaf.len);
    switch (lots(seed) % 10) {
    case 0: /* another byte */
        replace(b, (Part){part.begin, part.len > 0}, &byte, 1);
        break;
    case 1: /* a part away; to the end now and then */
        replace(b, byte & 1 ? part : (Part){part.begin, b->len - part.begin}, "", 0);
        break;
    case 2: /* something that matters to XML */
        replace(b, (Part){part.begin, 0}, piece, strlen(piece));
        break;
    case 3: /* a part of another document */
        part.len = 0;
        replace(b, part, other, lots(seed) % strlen(other));
        break;
    case 4: /* an element away, twice, or elsewhere */
        replace(b, leaf, "", 0);
        break;
    case 5:
        replace(b, (Part){leaf.begin, 0}, copy, leaf.len);
        break;
    case 6:
        replace(b, (Part){any_leaf(b, seed, false).begin, 0}, copy, leaf.len);
        break;
    default: /* another value */
        replace(b, any_leaf(b, seed, true), value, strlen(value));
    }
    free(copy);
}

static void assert_safe(const char *text, size_t room)
{
    assert_true(strnlen(text, room) < room);
    for (; *text; text++)
        assert_true((unsigned char)*text >= ' ' && *text != 127);
}

static void assert_safe_error(const S3Error *e)
{
    assert_safe(e->code, sizeof(e->code));
    assert_safe(e->message, sizeof(e->message));
    assert_safe(e->region, sizeof(e->region));
    assert_safe(e->endpoint, sizeof(e->endpoint));
    assert_safe(e->request_id, sizeof(e->request_id));
}

static void on_failed_safe(void *ctx, const char *key, const S3Error *error)
{
    *(size_t *)ctx += strlen(key);
    assert_safe_error(error);
}

static void assert_refusal(const Error *err)
{
    assert_int_equal(err->code, ERR_REPO);
    assert_safe(err->message, sizeof(err->message));
    assert_true(strlen(err->message) > 10);
}

/* How many of the readers took it. `text` is a block of exactly `len` bytes. */
static int read_all(const char *text, size_t len)
{
    Seen seen = {.text = BUF_INIT};
    S3List list = {on_entry, on_prefix, &seen, false, BUF_INIT, BUF_INIT};
    Error err = {0};
    S3Error e;
    Buf out = BUF_INIT;
    size_t n = 0;
    int taken = 0;

    if (s3_xml_list(text, len, &list, &err)) {
        taken++;
        assert_true(!list.truncated || list.next.len);
    } else {
        assert_refusal(&err);
        assert_int_equal(seen.entries + seen.prefixes, 0);
    }
    taken += s3_xml_error(text, len, &e);
    assert_safe_error(&e);
    if (s3_xml_complete(text, len, &e, &err))
        taken++;
    else
        assert_refusal(&err);
    assert_safe_error(&e);
    if (s3_xml_upload_id(text, len, &out, &err))
        taken += out.len > 0;
    else
        assert_refusal(&err);
    if (s3_xml_delete_result(text, len, on_failed_safe, &n, &err))
        taken++;
    else
        assert_refusal(&err);
    buf_clear(&out);
    if (s3_xml_lifecycle(text, len, on_rule, &out, &err))
        taken++;
    else
        assert_refusal(&err);
    taken += s3_xml_text(text, len, "VersioningConfiguration", "Status", &out, &err);
    taken +=
        s3_xml_text(text, len, "ObjectLockConfiguration", "Rule/DefaultRetention/Mode", &out, &err);
    taken += s3_xml_text(text, len, "LocationConstraint", "", &out, &err);
    buf_free(&list.next);
    buf_free(&list.next_version);
    buf_free(&seen.text);
    buf_free(&out);
    return taken;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void test_fuzz(void **state)
{
    (void)state;
    uint64_t rounds = setting("PITR_FUZZ_ROUNDS", 15000);
    uint64_t seed = setting("PITR_FUZZ_SEED", 1) * 2 + 1, taken = 0;
    for (size_t i = 0; i < COUNT(samples); i++)
        assert_true(read_all(samples[i], strlen(samples[i])) > 0);
    for (uint64_t round = 0; round < rounds; round++) {
        Buf b = BUF_INIT;
        buf_puts(&b, samples[lots(&seed) % COUNT(samples)]);
        for (size_t n = 1 + lots(&seed) % 4; n > 0; n--)
            mutate(&b, &seed);
        char *exact = mem_resize(NULL, b.len, 1); /* so that a read behind the end is seen */
        if (b.len)
            memcpy(exact, b.data, b.len);
        taken += read_all(exact, b.len) > 0;
        free(exact);
        buf_free(&b);
    }
    print_message("%llu mutated documents, %llu of them still read\n", (unsigned long long)rounds,
                  (unsigned long long)taken);
    assert_true(taken > rounds / 10 && taken < rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),          cmocka_unit_test(test_list_versions),
        cmocka_unit_test(test_next_key),      cmocka_unit_test(test_empty_list),
        cmocka_unit_test(test_keys),          cmocka_unit_test(test_times_and_sizes),
        cmocka_unit_test(test_missing_parts), cmocka_unit_test(test_thousand_entries),
        cmocka_unit_test(test_callbacks),     cmocka_unit_test(test_no_answers),
        cmocka_unit_test(test_doctype),       cmocka_unit_test(test_limits),
        cmocka_unit_test(test_error),         cmocka_unit_test(test_error_texts_are_safe),
        cmocka_unit_test(test_upload_id),     cmocka_unit_test(test_complete),
        cmocka_unit_test(test_delete_result), cmocka_unit_test(test_text),
        cmocka_unit_test(test_lifecycle),     cmocka_unit_test(test_escape),
        cmocka_unit_test(test_fuzz),
    };
    return cmocka_run_group_tests_name("s3_xml", tests, NULL, NULL);
}
