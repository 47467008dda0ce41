/*
 * http.h: HTTP/1.1 exchanges over libcurl. Knows nothing of S3.
 *
 * A client keeps its connections and lends one to each exchange, so any number of threads may use
 * it at once; an exchange belongs to one thread. TLS 1.2 or newer, certificates always verified,
 * redirects never followed (a signed request must be signed anew), proxies as the environment says
 * (https_proxy, no_proxy …). A transfer that moves less than 1 KiB/s for the stall time is ended, and
 * a body that is read in pieces when it has fallen behind 64 KiB/s by more than the stall time.
 * Exchanges end soon after a signal (interrupt.h).
 *
 * One exchange is one attempt: whoever calls decides about others. A failure is ERR_REPO (ERR_LOCKED
 * after a signal, ERR_INTERNAL where libcurl can't work) with
 * host and cause in the message, never a query string or a header; *transient says whether another
 * attempt can help (a refused certificate won't be accepted the next time).
 */
#ifndef PITR_STORAGE_HTTP_H
#define PITR_STORAGE_HTTP_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

typedef struct HttpClient HttpClient;
typedef struct HttpStream HttpStream;

typedef struct HttpOptions {
    const char *ca_file;     /* PEM file with the certificates to trust; NULL: the system's */
    int64_t connect_timeout; /* microseconds; 0: 10 s */
    int64_t stall_timeout;   /* microseconds, whole seconds count; 0: 30 s */
    bool no_proxy;           /* never use a proxy (link-local metadata services) */
} HttpOptions;

typedef struct HttpRequest {
    const char *method; /* GET, HEAD, PUT, POST, DELETE */
    const char *url;
    const char *const *headers; /* "Name: value" */
    size_t header_count;
    const void *body; /* NULL: none; stays the caller's until the exchange is over */
    size_t body_len;
    int64_t timeout; /* microseconds for the whole exchange, bodies included; 0: no limit */
    bool fresh;      /* open a new connection: the last one may lead to a server that is ill */
    bool patient;    /* the server may think for minutes: only `timeout` ends it, not the stall */
} HttpRequest;

typedef struct HttpResponse {
    int status;
    Buf headers; /* "name: value" lines ended by '\n', names in lower case */
    Buf body;    /* of http_exchange() only */
} HttpResponse;

/* Copies the strings of `options`. NULL with ERR_USAGE (ca_file can't be read) or ERR_INTERNAL. */
HttpClient *http_client_new(const HttpOptions *options, Error *err);
void http_client_free(HttpClient *client);

/* Sends `request` and reads the whole answer, whatever its status; a body of more than `max_body`
 * bytes is a failure. On success the caller frees the response; on failure there is none. */
bool http_exchange(HttpClient *client, const HttpRequest *request, size_t max_body,
                   HttpResponse *response, bool *transient, Error *err);

/* The same with the answer's body read in pieces. `response` has status and headers when this
 * returns; its body stays empty. request->body must live until the stream is closed. */
HttpStream *http_stream_open(HttpClient *client, const HttpRequest *request, HttpResponse *response,
                             bool *transient, Error *err);

/* Up to `len` bytes of the body; *got is 0 at its end. A body that ends before its Content-Length
 * is a transient failure. */
bool http_stream_read(HttpStream *stream, void *data, size_t len, size_t *got, bool *transient,
                      Error *err);

/* Closes at any point; a body that was not read to its end costs the connection. NULL is allowed.
 */
void http_stream_close(HttpStream *stream);

void http_response_free(HttpResponse *response);

/* The value of a header (`name` in lower case), without surrounding blanks, copied into `out` and
 * cut to `size`; false if it is not there. */
bool http_header(const HttpResponse *response, const char *name, char *out, size_t size);

/* The host part ("host" or "host:port") of a URL, for messages; static storage is not used. */
void http_host(const char *url, char *out, size_t size);

/* Date header's form (RFC 9110, section 5.6.7, IMF-fixdate): "Sun, 06 Nov 1994 08:49:37 GMT" to an
 * Instant; false for anything else. */
bool http_parse_date(const char *text, int64_t *instant);

#endif
