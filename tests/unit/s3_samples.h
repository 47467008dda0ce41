/*
 * s3_samples.h: what S3 servers answer, for the tests of s3_xml: written after the Amazon S3 API
 * reference and after what Ceph sends.
 */
#ifndef PITR_TESTS_S3_SAMPLES_H
#define PITR_TESTS_S3_SAMPLES_H

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

#define RULES(inner) "<LifecycleConfiguration " NAMESPACE ">" inner "</LifecycleConfiguration>"

/* As the S3 API reference shows the answer of ListObjectsV2, with all that may be in it. */
static const char aws_list[] = LIST(
    "<Name>quotes</Name><Prefix>E</Prefix><StartAfter>ExampleGuide.pdf</StartAfter>"
    "<ContinuationToken>0/x=</ContinuationToken>"
    "<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</NextContinuationToken>"
    "<KeyCount>3</KeyCount><MaxKeys>3</MaxKeys><Delimiter>%2F</Delimiter>" URL
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

static const char aws_error[] =
    DECLARATION "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header "
                "is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-3'</Message>"
                "<Region>eu-west-3</Region><Endpoint>b.s3.eu-west-3.amazonaws.com</Endpoint>"
                "<RequestId>4442587FB7D0A2F9</RequestId><HostId>x</HostId></Error>";

static const char upload_id[] =
    DECLARATION "<InitiateMultipartUploadResult " NAMESPACE "><Bucket>b</Bucket><Key>k</Key>"
                "<UploadId>2~Qf-Z1qDCYPOx2QQPEGCQDs9zAvlXcX0&amp;</UploadId>"
                "</InitiateMultipartUploadResult>";

static const char complete_ok[] =
    DECLARATION "<CompleteMultipartUploadResult " NAMESPACE "><Location>http://h/b/k</Location>"
                "<Bucket>b</Bucket><Key>k</Key><ETag>\"3858f62230ac3c915f300c664312c11f-9\"</ETag>"
                "</CompleteMultipartUploadResult>";

static const char complete_error[] =
    "   \n  " DECLARATION "  <Error><Code>InternalError</Code><Message>We encountered an internal "
    "error. Please try again.</Message><RequestId>656c76696e6727</RequestId></Error>";

static const char delete_result[] =
    DECLARATION "<DeleteResult " NAMESPACE "><Deleted><Key>sample1.txt</Key></Deleted>"
                "<Error><Key>a b+&amp;%20&#xA;.txt</Key><VersionId>v</VersionId>"
                "<Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                "<Error><Code>InternalError</Code></Error>"
                "<Deleted><Key>x</Key><DeleteMarker>true</DeleteMarker></Deleted></DeleteResult>";

static const char versioning[] =
    DECLARATION "<VersioningConfiguration " NAMESPACE "><Status>Enabled</Status>"
                "<MfaDelete>Disabled</MfaDelete></VersioningConfiguration>";

static const char object_lock[] =
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
    "<DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule>"
    "</ObjectLockConfiguration>";

static const char location[] = "<LocationConstraint " NAMESPACE ">eu-west-3</LocationConstraint>";

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

/* What a listing hands out, as text. */
typedef struct Seen {
    Buf text;
    size_t entries, prefixes;
    const char *refuse; /* the callbacks fail at this key or prefix */
} Seen;

static inline bool on_entry(void *ctx, const S3Entry *e, Error *err)
{
    Seen *s = ctx;
    s->entries++;
    if (s->refuse && strcmp(e->key, s->refuse) == 0)
        return error_set(err, ERR_INTERNAL, "refused by the callback");
    return buf_printf(&s->text, "%s|%s|%s|%llu|%lld|%s%s%s\n", e->key, e->version, e->storage_class,
                      (unsigned long long)e->size, (long long)(e->modified - T0),
                      e->is_latest ? "L" : "", e->is_marker ? "M" : "", e->restored ? "R" : "");
}

static inline bool on_prefix(void *ctx, const char *prefix, Error *err)
{
    Seen *s = ctx;
    s->prefixes++;
    if (s->refuse && strcmp(prefix, s->refuse) == 0)
        return error_set(err, ERR_INTERNAL, "refused by the callback");
    return buf_printf(&s->text, "%s/\n", prefix);
}

static inline void on_rule(void *ctx, const S3LifecycleRule *r)
{
    buf_printf(ctx, "%s|%s|%s%s|e%d n%d a%d t%d %s\n", r->id, r->prefix, r->enabled ? "E" : "",
               r->has_tag_or_size ? "T" : "", r->expire_days, r->noncurrent_days, r->abort_days,
               r->transition_days, r->transition_class);
}

static inline char *repeat(const char *before, const char *text, int times, const char *after)
{
    Buf b = BUF_INIT;
    buf_puts(&b, before);
    for (int i = 0; i < times; i++)
        buf_puts(&b, text);
    buf_puts(&b, after);
    return buf_detach(&b);
}

#endif
