/* Records what a process writes to files of one name, and when it syncs them.
 *
 * Preloaded into the server by test_power_cut.py. Each record: a letter, the offset and the length
 * in eight bytes each, then the bytes. 'w' is a write that may be lost, 'd' one that is on disk when
 * it returns (the descriptor is O_DSYNC), 's' a sync. Records are appended with one write, so that
 * their order is the order in which the calls returned.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "path_of.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int out = -1;

static int is_recorded(int fd) {
    char path[4096];
    const char *name = getenv("RECORD_NAME");
    ssize_t length = path_of(fd, path, sizeof path);
    if (!name || length < 0) return 0;
    size_t wanted = strlen(name);
    return (size_t)length >= wanted && !strcmp(path + length - wanted, name);
}

static void record(char kind, int64_t offset, const struct iovec *parts, int count) {
    int64_t total = 0;
    for (int i = 0; i < count; i++) total += parts[i].iov_len;
    char *bytes = malloc(17 + total), *at = bytes + 17;
    bytes[0] = kind;
    memcpy(bytes + 1, &offset, 8);
    memcpy(bytes + 9, &total, 8);
    for (int i = 0; i < count; i++) {
        memcpy(at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    if (out < 0) out = open(getenv("RECORD_TO"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    real(out, bytes, 17 + total);
    free(bytes);
}

static void record_write(int fd, int64_t offset, const struct iovec *parts, int count) {
    int flags = fcntl(fd, F_GETFL);
    record(flags & O_DSYNC ? 'd' : 'w', offset, parts, count);
}

#define POSITIONED(NAME)                                                          \
    ssize_t NAME(int fd, const void *bytes, size_t length, off_t offset) {        \
        ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, #NAME); \
        if (!is_recorded(fd)) return real(fd, bytes, length, offset);             \
        pthread_mutex_lock(&lock);                                                \
        ssize_t done = real(fd, bytes, length, offset);                           \
        struct iovec part = {(void *)bytes, done > 0 ? done : 0};                 \
        if (done > 0) record_write(fd, offset, &part, 1);                         \
        pthread_mutex_unlock(&lock);                                              \
        return done;                                                              \
    }
POSITIONED(pwrite)
POSITIONED(pwrite64)

#define POSITIONED_PARTS(NAME)                                                    \
    ssize_t NAME(int fd, const struct iovec *parts, int count, off_t offset) {    \
        ssize_t (*real)(int, const struct iovec *, int, off_t) = dlsym(RTLD_NEXT, #NAME); \
        if (!is_recorded(fd)) return real(fd, parts, count, offset);              \
        pthread_mutex_lock(&lock);                                                \
        ssize_t done = real(fd, parts, count, offset);                            \
        if (done > 0) record_write(fd, offset, parts, count);                     \
        pthread_mutex_unlock(&lock);                                              \
        return done;                                                              \
    }
POSITIONED_PARTS(pwritev)
POSITIONED_PARTS(pwritev64)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    if (!is_recorded(fd)) return real(fd, parts, count);
    pthread_mutex_lock(&lock);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = real(fd, parts, count);
    if (done > 0) record_write(fd, offset, parts, count);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (fd == out || !is_recorded(fd)) return real(fd, bytes, length);
    pthread_mutex_lock(&lock);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = real(fd, bytes, length);
    struct iovec part = {(void *)bytes, done > 0 ? done : 0};
    if (done > 0) record_write(fd, offset, &part, 1);
    pthread_mutex_unlock(&lock);
    return done;
}

#define SYNC(NAME)                                          \
    int NAME(int fd) {                                      \
        int (*real)(int) = dlsym(RTLD_NEXT, #NAME);         \
        if (!is_recorded(fd)) return real(fd);              \
        pthread_mutex_lock(&lock);                          \
        int done = real(fd);                                \
        if (!done) record('s', 0, NULL, 0);                 \
        pthread_mutex_unlock(&lock);                        \
        return done;                                        \
    }
SYNC(fsync)
SYNC(fdatasync)
