/* Lets the clock of a process be wrong by SHIFT_SECONDS, as that of its machine would be.
 *
 * Preloaded into a node by test_nodes.py. The clock that counts since the start stays right.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int outcome = real(id, now);
    const char *shift = getenv("SHIFT_SECONDS");
    if (outcome == 0 && id == CLOCK_REALTIME && shift) now->tv_sec += atoi(shift);
    return outcome;
}
