/*
 * http_private.h: between http.c (exchanges) and http_client.c (the connections that they borrow).
 */
#ifndef PITR_STORAGE_HTTP_PRIVATE_H
#define PITR_STORAGE_HTTP_PRIVATE_H

#include <curl/curl.h>
#include <pthread.h>

#include "storage/http.h"

/* A connection and what drives it. The multi handle owns the connection cache, so one of them goes
 * with each easy handle. */
typedef struct Slot {
    CURLM *multi;
    CURL *easy;
    int fd; /* its socket; -1: none */
    struct Slot *next;
} Slot;

struct HttpClient {
    char *ca_file;
    int64_t connect_timeout, stall_timeout;
    bool no_proxy;
    pthread_mutex_t lock; /* of what follows */
    Slot *idle;
    bool no_expect; /* the server doesn't answer "Expect: 100-continue" */
};

/* Lends a slot, NULL if libcurl can't make one; *no_expect: the server is known not to answer
 * "Expect: 100-continue". Thread-safe, as is its return, where `no_expect` notes that it is so. */
Slot *http_slot_take(HttpClient *client, bool *no_expect);
void http_slot_give(HttpClient *client, Slot *slot, bool no_expect);

/* Tells the kernel to acknowledge what arrives at once. */
void http_slot_acknowledge(const Slot *slot);

/* libcurl's callbacks for a slot's sockets; `arg` is the Slot. */
int http_slot_opened(void *arg, curl_socket_t fd, curlsocktype purpose);
int http_slot_closed(void *arg, curl_socket_t fd);

#endif
