/* What libraries that are preloaded by tests share. */
#include <stdio.h>
#include <unistd.h>

/* The path of an open file and its length, or -1. */
static ssize_t path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length >= 0) path[length] = 0;
    return length;
}
