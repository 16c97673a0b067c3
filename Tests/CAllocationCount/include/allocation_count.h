#ifndef GATEHOUSE_ALLOCATION_COUNT_H
#define GATEHOUSE_ALLOCATION_COUNT_H

#include <stddef.h>
#include <stdint.h>

/// Heap allocations made by the calling thread since it started: every call of malloc, calloc,
/// realloc, aligned_alloc, memalign or posix_memalign counts one.
uint64_t gatehouse_allocation_count(void);

/// From now on counts the blocks that the calling thread frees while they hold `marker`.
/// `size` is 1 to 64 bytes.
void gatehouse_watch_freed_memory(const uint8_t *marker, size_t size);

/// How many there were since the watch began; ends the watch.
uint64_t gatehouse_watched_frees(void);

#endif
