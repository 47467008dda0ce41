#include "storage/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/mem.h"
#include "base/version.h"
#include "storage/http_private.h"

#define STALL_SPEED     1024L /* bytes a second */
#define SLOWEST         65536 /* bytes a second of a body, in the long run */
#define POLL_MS         200   /* how soon a signal is seen */
#define IDLE_LIFE       5L    /* seconds; AWS closes idle connections at about this age */
#define EXPECT_FROM     (2u << 20) /* bodies so large wait for the server's "100 Continue" */
#define EXPECT_WAIT_MS  500L
#define MAX_HEADERS     65536

struct HttpStream {
    HttpClient *client;
    Slot *slot;
    HttpRequest request; /* behind the opening only its body is used */
    HttpResponse *response;
    struct curl_slist *headers;
    char host[300];
    const char *proxy; /* see proxy_of() */
    char reason[CURL_ERROR_SIZE];
    size_t sent;
    bool expects, continued;
    int status;
    size_t trailers;
    int64_t waited; /* for the body, microseconds */
    uint64_t received;
    bool have_headers, done, paused;
    CURLcode result;
    /* The reader's memory comes first, the rest waits in `stash`. */
    char *want;
    size_t want_len;
    Buf stash;
    size_t stash_at;
};

/* --- libcurl's callbacks ----------------------------------------------------------------------- */

static size_t on_send(char *to, size_t size, size_t count, void *arg)
{
    HttpStream *s = arg;
    size_t room = size * count, left = s->request.body_len - s->sent;
    size_t n = left < room ? left : room;
    if (n)
        memcpy(to, (const char *)s->request.body + s->sent, n);
    s->sent += n;
    return n;
}

/* A reused connection that turns out dead makes libcurl send the body again on a new one. */
static int on_rewind(void *arg, curl_off_t offset, int origin)
{
    HttpStream *s = arg;
    if (origin != SEEK_SET || offset < 0 || (size_t)offset > s->request.body_len)
        return CURL_SEEKFUNC_FAIL;
    s->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static bool keep_header(HttpResponse *response, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    if (!colon)
        return true;
    size_t at = response->headers.len;
    if (!buf_append(&response->headers, line, len) || !buf_putc(&response->headers, '\n'))
        return false;
    for (size_t i = 0; i < (size_t)(colon - line); i++) {
        char *c = response->headers.data + at + i;
        if (*c >= 'A' && *c <= 'Z')
            *c += 'a' - 'A';
    }
    return true;
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    HttpStream *s = arg;
    size_t len = size * count, given = len;
    /* A trailer behind the body: the response is the caller's by now. libcurl keeps each. */
    if (s->have_headers) {
        s->trailers += len;
        return s->trailers <= MAX_HEADERS ? given : 0;
    }
    while (len && (line[len - 1] == '\r' || line[len - 1] == '\n'))
        len--;
    if (len >= 12 && strncmp(line, "HTTP/", 5) == 0) { /* "HTTP/1.1 200", also of a 100 before it */
        buf_clear(&s->response->headers);
        s->response->status = atoi(line + 9);
        s->continued |= s->response->status == 100;
        return given;
    }
    if (len == 0) {
        s->have_headers |= s->response->status >= 200;
        s->status = s->response->status;
        return given;
    }
    return keep_header(s->response, line, len) ? given : 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    HttpStream *s = arg;
    size_t len = size * count, n = len < s->want_len ? len : s->want_len;
    if (s->stash_at < s->stash.len) {
        s->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    s->received += len;
    if (n)
        memcpy(s->want, data, n);
    s->want += n;
    s->want_len -= n;
    buf_clear(&s->stash);
    s->stash_at = 0;
    buf_append(&s->stash, data + n, len - n);
    return len;
}

/* --- one exchange ------------------------------------------------------------------------------ */

static void add_header(HttpStream *s, const char *line)
{
    struct curl_slist *list = curl_slist_append(s->headers, line);
    if (list)
        s->headers = list;
}

static void set_method(HttpStream *s)
{
    const HttpRequest *r = &s->request;
    CURL *easy = s->slot->easy;
    if (strcmp(r->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(r->method, "PUT") == 0 || strcmp(r->method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body_len);
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
    }
}

static void set_limits(HttpStream *s)
{
    const HttpClient *client = s->client;
    CURL *easy = s->slot->easy;
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(client->connect_timeout / 1000));
    if (!s->request.patient) {
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, STALL_SPEED);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
                         (long)((client->stall_timeout + CLOCK_SECOND - 1) / CLOCK_SECOND));
    }
    if (s->request.timeout)
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(s->request.timeout / 1000 + 1));
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_LIFE);
    curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 10L);
    curl_easy_setopt(easy, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, s->request.fresh ? 1L : 0L);
}

static void set_up(HttpStream *s, bool no_expect)
{
    CURL *easy = s->slot->easy;
    curl_easy_reset(easy);
    for (size_t i = 0; i < s->request.header_count; i++)
        add_header(s, s->request.headers[i]);
    s->expects = s->request.body_len >= EXPECT_FROM && !no_expect;
    add_header(s, s->expects ? "Expect: 100-continue" : "Expect:");
    curl_easy_setopt(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_WAIT_MS);
    curl_easy_setopt(easy, CURLOPT_URL, s->request.url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, s->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "pitr/" PITR_VERSION);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* never wait for a resolver that hangs */
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, s->reason);
    if (s->client->ca_file) { /* and not the system's directory besides */
        curl_easy_setopt(easy, CURLOPT_CAINFO, s->client->ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (s->client->no_proxy)
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, http_slot_opened);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, s->slot);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, http_slot_closed);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, s->slot);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
    curl_easy_setopt(easy, CURLOPT_READDATA, s);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_rewind);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, s);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, s);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, s);
    set_method(s);
    set_limits(s);
}

static bool hopeless(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL ||
           code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_ENGINE_NOTFOUND;
}

/* The variable that names a proxy for this URL; no_proxy is not looked at: it is for a hint. */
static const char *proxy_of(const HttpClient *client, const char *url)
{
    bool tls = strncmp(url, "https:", 6) == 0;
    const char *names[] = {tls ? "https_proxy" : "http_proxy", tls ? "HTTPS_PROXY" : "all_proxy",
                           "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !client->no_proxy; i++)
        if (getenv(names[i]) && getenv(names[i])[0])
            return names[i];
    return NULL;
}

/* libcurl names a proxy that it does not understand with the password in it. */
static void hide_user(char *text)
{
    char *from = strstr(text, "://"), *at = from ? strchr(from, '@') : NULL;
    if (at)
        memmove(from + 3, at + 1, strlen(at + 1) + 1);
}

static bool transport_error(HttpStream *s, bool *transient, Error *err)
{
    *transient = !hopeless(s->result);
    hide_user(s->reason);
    error_set(err, ERR_REPO, "%s: %s", s->host,
              s->reason[0] ? s->reason : curl_easy_strerror(s->result));
    if (s->result == CURLE_SSL_CACERT_BADFILE) {
        err->code = ERR_USAGE;
        error_hint(err, "ca-file must hold certificates in PEM form");
    } else if (s->result == CURLE_PEER_FAILED_VERIFICATION)
        error_hint(err, "the server's certificate is not trusted: for a private authority set "
                        "ca-file to its certificate (PEM); is the host's name in the certificate?");
    else if (s->proxy && (s->result == CURLE_COULDNT_CONNECT || s->result == CURLE_RECV_ERROR ||
                             s->result == CURLE_COULDNT_RESOLVE_PROXY))
        error_hint(err, "the environment (%s) sends this through a proxy: is that up? no_proxy names "
                        "hosts that are reached directly", s->proxy);
    else if (s->result == CURLE_COULDNT_RESOLVE_HOST)
        error_hint(err, "is the endpoint or region right, does name resolution work on this host?");
    return false;
}

/* Lets libcurl work once; false when the transfer has failed. */
static bool step(HttpStream *s, bool wait, bool *transient, Error *err)
{
    int running, left;
    CURLMsg *msg;
    if (wait) {
        http_slot_acknowledge(s->slot);
        curl_multi_poll(s->slot->multi, NULL, 0, POLL_MS, NULL);
    }
    if (!interrupt_check(err)) {
        *transient = false;
        return false;
    }
    if (curl_multi_perform(s->slot->multi, &running) != CURLM_OK) {
        *transient = false;
        return error_set(err, ERR_INTERNAL, "libcurl can't go on");
    }
    while ((msg = curl_multi_info_read(s->slot->multi, &left)) != NULL) {
        if (msg->msg != CURLMSG_DONE)
            continue;
        s->done = true;
        s->result = msg->data.result;
    }
    return !s->done || s->result == CURLE_OK || transport_error(s, transient, err);
}

void http_stream_close(HttpStream *s)
{
    if (!s)
        return;
    curl_multi_remove_handle(s->slot->multi, s->slot->easy);
    curl_easy_setopt(s->slot->easy, CURLOPT_ERRORBUFFER, NULL);
    bool unanswered = s->expects && (s->status == 417 || (!s->continued && s->done &&
                                                          s->result == CURLE_OK && s->status < 300));
    http_slot_give(s->client, s->slot, unanswered);
    /* Headers and bodies may hold tokens. */
    for (struct curl_slist *h = s->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(s->headers);
    if (s->stash.data)
        explicit_bzero(s->stash.data, s->stash.cap);
    buf_free(&s->stash);
    free(s);
}

HttpStream *http_stream_open(HttpClient *client, const HttpRequest *request, HttpResponse *response,
                             bool *transient, Error *err)
{
    bool no_expect;
    Slot *slot = http_slot_take(client, &no_expect);
    if (!slot) {
        *transient = false;
        error_set(err, ERR_INTERNAL, "libcurl can't be set up");
        return NULL;
    }
    *response = (HttpResponse){0};
    buf_init_max(&response->headers, MAX_HEADERS);
    HttpStream *s = MEM_NEW(HttpStream);
    *s = (HttpStream){.client = client, .slot = slot, .request = *request, .response = response};
    http_host(request->url, s->host, sizeof(s->host));
    s->proxy = proxy_of(client, request->url);
    set_up(s, no_expect);
    *transient = false;
    bool ok = curl_multi_add_handle(slot->multi, slot->easy) == CURLM_OK ||
              error_set(err, ERR_INTERNAL, "libcurl can't be set up");
    ok = ok && step(s, false, transient, err);
    while (ok && !s->have_headers && !s->done)
        ok = step(s, true, transient, err);
    if (ok && !s->have_headers) {
        *transient = true;
        ok = error_set(err, ERR_REPO, "%s: the answer has no status line", s->host);
    }
    if (ok)
        return s;
    http_stream_close(s);
    http_response_free(response);
    return NULL;
}

static size_t take_stash(HttpStream *s, void *data, size_t len)
{
    size_t n = s->stash.len - s->stash_at;
    n = n < len ? n : len;
    if (n)
        memcpy(data, s->stash.data + s->stash_at, n);
    s->stash_at += n;
    return n;
}

static bool too_slow(const HttpStream *s)
{
    return s->waited >
           s->client->stall_timeout + (int64_t)(s->received / SLOWEST) * CLOCK_SECOND;
}

bool http_stream_read(HttpStream *s, void *data, size_t len, size_t *got, bool *transient,
                      Error *err)
{
    *got = take_stash(s, data, len);
    if (*got || !len)
        return true;
    if (s->done && s->result != CURLE_OK)
        return transport_error(s, transient, err);
    s->want = data;
    s->want_len = len;
    if (s->paused) {
        s->paused = false;
        curl_easy_pause(s->slot->easy, CURLPAUSE_CONT); /* may deliver at once */
    }
    bool ok = true;
    int64_t begun = clock_steady();
    for (bool wait = false; ok && s->want_len == len && !s->done; wait = true)
        ok = step(s, wait, transient, err);
    s->waited += clock_steady() - begun;
    if (ok && !s->done && too_slow(s)) {
        *transient = true;
        s->want_len = 0;
        return error_set(err, ERR_REPO, "%s: the answer comes too slowly", s->host);
    }
    *got = len - s->want_len;
    s->want_len = 0;
    /* What came before a failure is good; the failure is told by the next call. */
    return ok || (*got > 0 && s->done);
}

bool http_exchange(HttpClient *client, const HttpRequest *request, size_t max_body,
                   HttpResponse *response, bool *transient, Error *err)
{
    char chunk[16384];
    size_t got = 0;
    HttpStream *s = http_stream_open(client, request, response, transient, err);
    if (!s)
        return false;
    buf_init_max(&response->body, max_body);
    bool ok;
    do {
        ok = http_stream_read(s, chunk, sizeof(chunk), &got, transient, err);
        if (ok && !buf_append(&response->body, chunk, got)) {
            *transient = false;
            ok = error_set(err, ERR_REPO, "%s: the answer is larger than it may be", s->host);
        }
    } while (ok && got > 0);
    explicit_bzero(chunk, sizeof(chunk));
    http_stream_close(s);
    if (!ok)
        http_response_free(response);
    return ok;
}

void http_response_free(HttpResponse *response)
{
    buf_free(&response->headers);
    buf_free(&response->body);
}
