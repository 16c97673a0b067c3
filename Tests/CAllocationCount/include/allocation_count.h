#ifndef GATEHOUSE_ALLOCATION_COUNT_H
#define GATEHOUSE_ALLOCATION_COUNT_H

#include <stdint.h>

/// Heap allocations made by the calling thread since it started: every call of malloc, calloc,
/// realloc, aligned_alloc, memalign or posix_memalign counts one.
uint64_t gatehouse_allocation_count(void);

#endif
