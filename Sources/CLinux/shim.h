// Linux calls that Swift can't import.
#ifndef GATEHOUSE_CLINUX_SHIM_H
#define GATEHOUSE_CLINUX_SHIM_H

#include <malloc.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/// Keeps the process's memory, with its keys, out of core dumps and away from other processes of
/// the same user. Exists because prctl is variadic, which Swift can't call. Returns 0 when done.
static inline int gatehouse_forbid_dumps(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

/// Gives freed memory back to the kernel. Exists because Swift's Glibc module leaves malloc.h out.
static inline void gatehouse_trim_memory(void) { malloc_trim(0); }

/// Gives every block of a megabyte or more pages of its own, which the kernel has back as soon as the
/// block is freed; by default glibc keeps ever larger ones. Returns 1 when done.
static inline int gatehouse_separate_large_blocks(void) {
    return mallopt(M_MMAP_THRESHOLD, 1 << 20);
}

/// Raises the soft limit of open files to the hard one. Exists because glibc's and Swift's types of
/// the resource differ. Returns the limit, or 0 when it can't be read or set.
static inline uint64_t gatehouse_raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : 0;
}

/// Raises the soft limit of locked memory to the hard one, for the same reason, and returns it in bytes,
/// or 0.
static inline uint64_t gatehouse_raise_locked_memory(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 0;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_MEMLOCK, &limit) == 0 ? limit.rlim_max : 0;
}

/// Names the calling thread, for those who look with ps or perf; at most 15 bytes.
static inline void gatehouse_name_this_thread(const char *name) {
    prctl(PR_SET_NAME, name, 0, 0, 0);
}

/// Lowers the priority of the calling thread alone (Linux's setpriority(2) knows threads, not
/// processes), by so many steps and to 19 at most. Exists because the type of its first argument
/// differs in Swift's Glibc module. Returns 0 when done.
static inline int gatehouse_lower_thread_priority(int steps) {
    return setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + steps);
}

#endif
