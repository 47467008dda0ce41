/*
 * fake_pg.h: a server of the test's own making, for what a real one cannot be made to say.
 *
 * One thread accepts one connection on a Unix socket in a directory of its own, answers the
 * start-up and SHOW idle_session_timeout as a server of `version` would, and then answers one more
 * command with the bytes in `reply` and what `then` says.
 */
#ifndef FAKE_PG_H
#define FAKE_PG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"

typedef struct FakePg {
    char dir[64];
    char conninfo[128];
    const char *version; /* as the server_version parameter */
    const char *refusal; /* NULL, or the message of a FATAL error at the start */
    enum { FAKE_READY, FAKE_CLOSE, FAKE_STALL, FAKE_SILENT } then;
    Buf reply;
    Buf startup; /* what the client sent first */
    Buf query;   /* the last command */
    bool cancelled;
    int fd;
    pthread_t thread;
} FakePg;

static inline void fake_u32(Buf *b, uint32_t v)
{
    char p[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    buf_append(b, p, 4);
}

static inline void fake_u16(Buf *b, uint16_t v)
{
    char p[2] = {(char)(v >> 8), (char)v};
    buf_append(b, p, 2);
}

static inline void fake_message(Buf *b, char type, const void *data, size_t len)
{
    buf_putc(b, type);
    fake_u32(b, (uint32_t)len + 4);
    buf_append(b, data, len);
}

/* RowDescription of `columns` text columns. */
static inline void fake_columns(Buf *b, int columns)
{
    Buf m = BUF_INIT;
    fake_u16(&m, (uint16_t)columns);
    for (int i = 0; i < columns; i++) {
        buf_append(&m, "c", 2);
        fake_u32(&m, 0);
        fake_u16(&m, 0);
        fake_u32(&m, 25);
        fake_u16(&m, 0xffff);
        fake_u32(&m, 0xffffffff);
        fake_u16(&m, 0);
    }
    fake_message(b, 'T', m.data, m.len);
    buf_free(&m);
}

/* DataRow; NULL is a null value. */
static inline void fake_row(Buf *b, int columns, const char *const *values)
{
    Buf m = BUF_INIT;
    fake_u16(&m, (uint16_t)columns);
    for (int i = 0; i < columns; i++) {
        fake_u32(&m, values[i] ? (uint32_t)strlen(values[i]) : 0xffffffff);
        if (values[i])
            buf_puts(&m, values[i]);
    }
    fake_message(b, 'D', m.data, m.len);
    buf_free(&m);
}

static inline void fake_complete(Buf *b)
{
    fake_message(b, 'C', "SELECT", 7);
}

static inline void fake_copy_out(Buf *b)
{
    fake_message(b, 'H', "\0\0", 3);
}

/* ErrorResponse ('E') or NoticeResponse ('N'). */
static inline void fake_error(Buf *b, char type, const char *severity, const char *sqlstate,
                              const char *message)
{
    Buf m = BUF_INIT;
    const char types[] = "SVCM";
    const char *const texts[] = {severity, severity, sqlstate, message};
    for (int i = 0; i < 4; i++) {
        buf_putc(&m, types[i]);
        buf_append(&m, texts[i], strlen(texts[i]) + 1);
    }
    buf_putc(&m, '\0');
    fake_message(b, type, m.data, m.len);
    buf_free(&m);
}

static inline bool fake_read(int fd, void *data, size_t len)
{
    for (char *p = data; len;) {
        ssize_t n = read(fd, p, len);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static inline bool fake_read_body(int fd, Buf *out)
{
    uint8_t p[4];
    char body[65536];
    if (!fake_read(fd, p, 4))
        return false;
    size_t len = ((size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]) - 4;
    if (len > sizeof(body) || !fake_read(fd, body, len))
        return false;
    buf_clear(out);
    return buf_append(out, body, len);
}

static inline void fake_write(int fd, Buf *b)
{
    for (size_t at = 0; at < b->len;) {
        ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    buf_clear(b);
}

static inline void fake_parameter(Buf *b, const char *name, const char *value)
{
    char text[256];
    int n = snprintf(text, sizeof(text), "%s%c%s", name, 0, value);
    fake_message(b, 'S', text, (size_t)n + 1);
}

static inline void fake_greet(FakePg *f, int fd)
{
    Buf out = BUF_INIT;
    if (f->refusal) {
        fake_error(&out, 'E', "FATAL", "28000", f->refusal);
    } else {
        fake_message(&out, 'R', "\0\0\0", 4);
        fake_parameter(&out, "server_version", f->version);
        fake_parameter(&out, "client_encoding", "UTF8");
        fake_message(&out, 'K', "\0\0\0\1\0\0\0", 8);
        fake_message(&out, 'Z', "I", 1);
    }
    fake_write(fd, &out);
    buf_free(&out);
}

/* A cancel request is a second connection with a 16-byte packet. */
static inline void fake_wait_cancel(FakePg *f)
{
    char packet[16];
    int fd = accept(f->fd, NULL, NULL);
    f->cancelled =
        fd >= 0 && fake_read(fd, packet, 16) && !memcmp(packet + 4, "\x04\xd2\x16\x2e", 4);
    close(fd);
}

static inline void fake_answer(FakePg *f, int fd)
{
    fake_write(fd, &f->reply);
    if (f->then == FAKE_READY) {
        Buf out = BUF_INIT;
        fake_message(&out, 'Z', "I", 1);
        fake_write(fd, &out);
        buf_free(&out);
    } else if (f->then == FAKE_CLOSE) {
        shutdown(fd, SHUT_RDWR);
    } else {
        fake_wait_cancel(f);
    }
}

static inline void *fake_main(void *arg)
{
    FakePg *f = arg;
    char type;
    int fd = accept(f->fd, NULL, NULL);
    if (f->then != FAKE_STALL) {
        /* No one will take a cancel request: it shall be refused at once. */
        close(f->fd);
        f->fd = -1;
    }
    if (f->then == FAKE_SILENT) {
        fake_read(fd, &type, 1);
        while (fake_read(fd, &type, 1))
            ;
        close(fd);
        return NULL;
    }
    if (fd >= 0 && fake_read_body(fd, &f->startup))
        fake_greet(f, fd);
    while (!f->refusal && fake_read(fd, &type, 1) && type == 'Q' && fake_read_body(fd, &f->query)) {
        if (!strcmp(f->query.data, "SHOW idle_session_timeout")) {
            Buf out = BUF_INIT;
            fake_columns(&out, 1);
            fake_row(&out, 1, (const char *const[]){"0"});
            fake_complete(&out);
            fake_message(&out, 'Z', "I", 1);
            fake_write(fd, &out);
            buf_free(&out);
        } else {
            fake_answer(f, fd);
        }
    }
    close(fd);
    return NULL;
}

/* The caller has set version, reply, then, refusal. */
static inline bool fake_start(FakePg *f)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(f->dir, sizeof(f->dir), "/tmp/pitr-fake-XXXXXX");
    if (!mkdtemp(f->dir))
        return false;
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/.s.PGSQL.5432", f->dir);
    snprintf(f->conninfo, sizeof(f->conninfo), "host=%s port=5432 user=u password=hidden", f->dir);
    f->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return f->fd >= 0 && bind(f->fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
           listen(f->fd, 4) == 0 && pthread_create(&f->thread, NULL, fake_main, f) == 0;
}

/* Waits for the client's leaving. */
static inline void fake_stop(FakePg *f)
{
    char path[128];
    pthread_join(f->thread, NULL);
    if (f->fd >= 0)
        close(f->fd);
    snprintf(path, sizeof(path), "%s/.s.PGSQL.5432", f->dir);
    unlink(path);
    rmdir(f->dir);
    buf_free(&f->reply);
    buf_free(&f->startup);
    buf_free(&f->query);
}

#endif
