// Counts heap allocations a thread makes, by standing in front of glibc's allocator.
//
// glibc supports replacing malloc by defining these symbols in the program (glibc manual,
// "Replacing malloc"). Each function here counts and calls glibc's own entry point.

#define _GNU_SOURCE

#include "allocation_count.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local uint64_t allocations;

static _Thread_local uint8_t watched_marker[64];
static _Thread_local size_t watched_size;
static _Thread_local uint64_t watched_frees;

uint64_t gatehouse_allocation_count(void) { return allocations; }

void gatehouse_watch_freed_memory(const uint8_t *marker, size_t size) {
    if (size == 0 || size > sizeof watched_marker) abort();
    memcpy(watched_marker, marker, size);
    watched_size = size;
    watched_frees = 0;
}

uint64_t gatehouse_watched_frees(void) {
    watched_size = 0;
    return watched_frees;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GATEHOUSE_SANITIZER 1
#endif
#endif

#ifndef GATEHOUSE_SANITIZER

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *malloc(size_t size) {
    allocations += 1;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    allocations += 1;
    return __libc_calloc(count, size);
}

void *realloc(void *pointer, size_t size) {
    allocations += 1;
    return __libc_realloc(pointer, size);
}

void *memalign(size_t alignment, size_t size) {
    allocations += 1;
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    allocations += 1;
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    allocations += 1;
    void *pointer = __libc_memalign(alignment, size);
    if (pointer == NULL) return ENOMEM;
    *result = pointer;
    return 0;
}

void free(void *pointer) {
    if (watched_size > 0 && pointer != NULL &&
        memmem(pointer, malloc_usable_size(pointer), watched_marker, watched_size) != NULL) {
        watched_frees += 1;
    }
    __libc_free(pointer);
}

#endif
