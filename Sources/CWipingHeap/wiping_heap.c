// Overwrites heap memory when it is freed, whoever had it: passwords and tokens pass through buffers of
// NIO, Foundation and Swift's own strings, which know nothing of secrets.
//
// glibc supports replacing its allocator by defining these symbols in the program (glibc manual,
// "Replacing malloc"). Both wipe and call glibc's own entry point. They are weak for the tests, which
// count allocations with functions of the same names.

#define _GNU_SOURCE

#include "gatehouse_wiping_heap.h"

#include <malloc.h>
#include <stddef.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GATEHOUSE_SANITIZER 1
#endif
#endif

#ifndef GATEHOUSE_SANITIZER

extern void *__libc_malloc(size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

// A server's larger blocks are pages of their own (ProcessLimits), which go back to the kernel.
static const size_t largest_wiped = 1 << 20;

__attribute__((weak)) void free(void *block) {
    if (block == NULL) return;
    size_t size = malloc_usable_size(block);
    if (size < largest_wiped) explicit_bzero(block, size);
    __libc_free(block);
}

__attribute__((weak)) void *realloc(void *block, size_t count) {
    if (block == NULL) return __libc_malloc(count);
    size_t size = malloc_usable_size(block);
    if (size >= largest_wiped) return __libc_realloc(block, count);
    if (count == 0) {
        free(block);
        return NULL;
    }
    if (count <= size) {
        // Shrinks where it is, and gives the rest back.
        explicit_bzero((char *)block + count, size - count);
        return __libc_realloc(block, count);
    }
    void *larger = __libc_malloc(count);
    if (larger == NULL) return NULL;
    memcpy(larger, block, size);
    free(block);
    return larger;
}

#endif
