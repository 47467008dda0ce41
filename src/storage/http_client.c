/*
 * http_client.c: a client's connections, kept for the next exchange.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "storage/http_private.h"

#define CONNECT_TIMEOUT (10 * CLOCK_SECOND)
#define STALL_TIMEOUT   (30 * CLOCK_SECOND)

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

HttpClient *http_client_new(const HttpOptions *options, Error *err)
{
    pthread_once(&curl_once, start_curl);
    if (options->ca_file && access(options->ca_file, R_OK) != 0) {
        error_errno(err, ERR_USAGE, "can't read ca-file %s", options->ca_file);
        return NULL;
    }
    HttpClient *client = MEM_NEW(HttpClient);
    client->ca_file = mem_strdup(options->ca_file);
    client->connect_timeout =
        options->connect_timeout ? options->connect_timeout : CONNECT_TIMEOUT;
    client->stall_timeout = options->stall_timeout ? options->stall_timeout : STALL_TIMEOUT;
    client->no_proxy = options->no_proxy;
    pthread_mutex_init(&client->lock, NULL);
    return client;
}

static void free_slot(Slot *slot)
{
    if (slot->easy)
        curl_easy_cleanup(slot->easy);
    if (slot->multi)
        curl_multi_cleanup(slot->multi);
    free(slot);
}

void http_client_free(HttpClient *client)
{
    if (!client)
        return;
    while (client->idle) {
        Slot *slot = client->idle;
        client->idle = slot->next;
        free_slot(slot);
    }
    pthread_mutex_destroy(&client->lock);
    free(client->ca_file);
    free(client);
}

/* The slot used last comes first: its connection is the most likely to be alive. */
Slot *http_slot_take(HttpClient *client, bool *no_expect)
{
    pthread_mutex_lock(&client->lock);
    Slot *slot = client->idle;
    if (slot)
        client->idle = slot->next;
    *no_expect = client->no_expect;
    pthread_mutex_unlock(&client->lock);
    if (slot)
        return slot;
    slot = MEM_NEW(Slot);
    slot->fd = -1;
    slot->multi = curl_multi_init();
    slot->easy = curl_easy_init();
    if (slot->multi && slot->easy) {
        curl_multi_setopt(slot->multi, CURLMOPT_MAXCONNECTS, 2L);
        return slot;
    }
    free_slot(slot);
    return NULL;
}

void http_slot_give(HttpClient *client, Slot *slot, bool no_expect)
{
    pthread_mutex_lock(&client->lock);
    slot->next = client->idle;
    client->idle = slot;
    client->no_expect |= no_expect;
    pthread_mutex_unlock(&client->lock);
}

int http_slot_opened(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    (void)purpose;
    ((Slot *)arg)->fd = fd;
    return CURL_SOCKOPT_OK;
}

int http_slot_closed(void *arg, curl_socket_t fd)
{
    Slot *slot = arg;
    if (slot->fd == fd)
        slot->fd = -1;
    return close(fd);
}

/* Servers that leave Nagle's algorithm on (Ceph's default) hold the second half of an answer back
 * until the first is acknowledged, and a delayed acknowledgement costs 40 ms with every request.
 * The kernel forgets this wish, so it is repeated. */
void http_slot_acknowledge(const Slot *slot)
{
    int on = 1;
    if (slot->fd >= 0)
        setsockopt(slot->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}
