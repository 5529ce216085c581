/* Lets one call on files of one name fail.
 *
 * Preloaded into the server by test_catalog_faults.py. FAIL_CONTROL names a file of four numbers of
 * four bytes that both sides map: how many calls still succeed before one fails (negative: none
 * fails), the error, how many calls there were, and how many failed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "path_of.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int32_t *control;

static int is_meant(int fd) {
    char path[4096];
    const char *name = getenv("FAIL_NAME");
    ssize_t length = path_of(fd, path, sizeof path);
    if (!name || length < 0) return 0;
    return strstr(path, name) != NULL;
}

/* The error with which a call fails, or 0. */
static int fault(int fd) {
    if (!is_meant(fd)) return 0;
    pthread_mutex_lock(&lock);
    if (!control) {
        int file = open(getenv("FAIL_CONTROL"), O_RDWR);
        control = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
    }
    int error = 0;
    control[2]++;
    if (control[0] == 0) {
        error = control[1];
        control[3]++;
    }
    if (control[0] >= 0) control[0]--;
    pthread_mutex_unlock(&lock);
    return error;
}

#define FAILING(RESULT, NAME, PARAMETERS, ARGUMENTS)             \
    RESULT NAME PARAMETERS {                                     \
        RESULT (*real) PARAMETERS = dlsym(RTLD_NEXT, #NAME);     \
        int error = fault(fd);                                   \
        if (!error) return real ARGUMENTS;                       \
        errno = error;                                           \
        return -1;                                               \
    }
FAILING(ssize_t, write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
FAILING(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at), (fd, bytes, length, at))
FAILING(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off_t at), (fd, bytes, length, at))
FAILING(ssize_t, pread, (int fd, void *bytes, size_t length, off_t at), (fd, bytes, length, at))
FAILING(ssize_t, pread64, (int fd, void *bytes, size_t length, off_t at), (fd, bytes, length, at))
FAILING(int, ftruncate, (int fd, off_t length), (fd, length))
FAILING(int, ftruncate64, (int fd, off_t length), (fd, length))
FAILING(int, fsync, (int fd), (fd))
FAILING(int, fdatasync, (int fd), (fd))
