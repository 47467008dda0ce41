/*
 * Seeded mutations of the samples through every reader. Short by default; PITR_FUZZ_ROUNDS and
 * PITR_FUZZ_SEED make it longer and other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "s3_samples.h"

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
    S3List list = {.entry = on_entry, .prefix = on_prefix, .ctx = &seen};
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
        cmocka_unit_test(test_fuzz),
    };
    return cmocka_run_group_tests_name("s3_xml_fuzz", tests, NULL, NULL);
}
