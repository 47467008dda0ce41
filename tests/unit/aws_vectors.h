/*
 * aws_vectors.h: the published examples of AWS Signature Version 4. Expected values are AWS's.
 *
 * Sources: Amazon S3 API reference; aws-sig-v4-test-suite as aws-c-auth has it. Lists end with
 * NULL.
 */
#ifndef PITR_TESTS_AWS_VECTORS_H
#define PITR_TESTS_AWS_VECTORS_H

#include "storage/aws_sign.h"

#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk",
 * the four examples. */
static const struct {
    const char *method, *key;
    AwsParam params[3];
    const char *headers[4], *payload, *names, *signature;
} s3_examples[] = {
    {.method = "GET",
     .key = "/test.txt",
     .headers = {"Range: bytes=0-9"},
     .payload = EMPTY_HASH,
     .names = "host;range;x-amz-content-sha256;x-amz-date",
     .signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {.method = "PUT",
     .key = "/test$file.text",
     .headers = {"Date: Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class: REDUCED_REDUNDANCY"},
     .payload = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     .names = "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     .signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {.method = "GET",
     .key = "/",
     .params = {{"lifecycle", NULL}},
     .payload = EMPTY_HASH,
     .names = "host;x-amz-content-sha256;x-amz-date",
     .signature = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {.method = "GET",
     .key = "/",
     .params = {{"prefix", "J"}, {"max-keys", "2"}},
     .payload = EMPTY_HASH,
     .names = "host;x-amz-content-sha256;x-amz-date",
     .signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

/* The cases of aws-sig-v4-test-suite that concern S3 (not those that normalise the path, and not
 * headers over several lines). The service is "service", the time 2015-08-30T12:36:00Z. */
static const struct {
    const char *name, *method, *path;
    AwsParam params[4];
    const char *headers[5], *payload, *canonical, *signature;
} suite[] = {
    {.name = "get-vanilla",
     .method = "GET",
     .path = "/",
     .canonical = "GET\n/"
                  "\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-"
                  "date\n" EMPTY_HASH,
     .signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {.name = "get-vanilla-query-order-key-case",
     .method = "GET",
     .path = "/",
     .params = {{"Param2", "value2"}, {"Param1", "value1"}},
     .canonical = "GET\n/\nParam1=value1&Param2=value2\nhost:example.amazonaws.com\n"
                  "x-amz-date:20150830T123600Z\n\nhost;x-amz-date\n" EMPTY_HASH,
     .signature = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {.name = "get-vanilla-query-order-encoded",
     .method = "GET",
     .path = "/",
     .params = {{"Param-3", "Value3"}, {"Param", "Value2"}, {"\xe1\x88\xb4", "Value1"}},
     .canonical =
         "GET\n/\n%E1%88%B4=Value1&Param=Value2&Param-3=Value3\nhost:example.amazonaws.com\n"
         "x-amz-date:20150830T123600Z\n\nhost;x-amz-date\n" EMPTY_HASH,
     .signature = "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
    {.name = "get-vanilla-query-unreserved",
     .method = "GET",
     .path = "/",
     .params = {{"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
                 "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"}},
     .signature = "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
    {.name = "get-vanilla-utf8-query",
     .method = "GET",
     .path = "/",
     .params = {{"\xe1\x88\xb4", "bar"}},
     .signature = "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
    {.name = "get-header-key-duplicate",
     .method = "GET",
     .path = "/",
     .headers = {"My-Header1:value2", "My-Header1:value2", "My-Header1:value1"},
     .canonical = "GET\n/\n\nhost:example.amazonaws.com\nmy-header1:value2,value2,value1\n"
                  "x-amz-date:20150830T123600Z\n\nhost;my-header1;x-amz-date\n" EMPTY_HASH,
     .signature = "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
    {.name = "get-header-value-order",
     .method = "GET",
     .path = "/",
     .headers = {"My-Header1:value4", "My-Header1:value1", "My-Header1:value3",
                 "My-Header1:value2"},
     .signature = "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
    {.name = "get-header-value-trim",
     .method = "GET",
     .path = "/",
     .headers = {"My-Header1: value1", "My-Header2: \"a   b   c\""},
     .canonical =
         "GET\n/\n\nhost:example.amazonaws.com\nmy-header1:value1\nmy-header2:\"a b c\"\n"
         "x-amz-date:20150830T123600Z\n\nhost;my-header1;my-header2;x-amz-date\n" EMPTY_HASH,
     .signature = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {.name = "get-slashes-unnormalized",
     .method = "GET",
     .path = "//example//",
     .signature = "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5"},
    {.name = "get-relative-unnormalized",
     .method = "GET",
     .path = "/example/..",
     .signature = "eca7ead57bb5aa5c8e28007acd4ff04e1ff9a0ff3b237ec1554a184887ff9282"},
    {.name = "get-space-unnormalized",
     .method = "GET",
     .path = "/example space/",
     .signature = "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
    {.name = "get-unreserved",
     .method = "GET",
     .path = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
     .signature = "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
    {.name = "get-utf8",
     .method = "GET",
     .path = "/\xe1\x88\xb4",
     .signature = "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
    {.name = "get-vanilla-with-session-token",
     .method = "GET",
     .path = "/",
     .headers =
         {"X-Amz-Security-Token:6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"},
     .signature = "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"},
    {.name = "post-header-key-sort",
     .method = "POST",
     .path = "/",
     .headers = {"My-Header1:value1"},
     .signature = "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
    {.name = "post-header-value-case",
     .method = "POST",
     .path = "/",
     .headers = {"My-Header1:VALUE1"},
     .signature = "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
    {.name = "post-vanilla-query",
     .method = "POST",
     .path = "/",
     .params = {{"Param1", "value1"}},
     .signature = "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
    {.name = "post-x-www-form-urlencoded",
     .method = "POST",
     .path = "/",
     .headers =
         {"Content-Type:application/x-www-form-urlencoded", "Content-Length:13",
          "x-amz-content-sha256:9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"},
     .payload = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
     .signature = "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"},
    {.name = "post-x-www-form-urlencoded-parameters",
     .method = "POST",
     .path = "/",
     .headers =
         {"Content-Type:application/x-www-form-urlencoded; charset=utf-8", "Content-Length:13",
          "x-amz-content-sha256:9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"},
     .payload = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
     .signature = "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422"},
};

#endif
