// Runs a thread out of descriptors without the rest of the process noticing.

#define _GNU_SOURCE

#include "own_descriptors.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <unistd.h>

// unshare(2): needs no privilege; the thread's table is freed when it ends.
int gatehouse_own_empty_descriptors(void) {
    if (unshare(CLONE_FILES) != 0) return -1;
    return close_range(STDERR_FILENO + 1, UINT_MAX, 0);
}

int gatehouse_fill_descriptors(void) {
    int last = -1;
    for (int next; (next = dup(STDERR_FILENO)) >= 0;) last = next;
    return errno == EMFILE ? last : -1;
}
