// Bare libargon2, to compare hashing threads with.

#define _GNU_SOURCE

#include "CBenchmark.h"

#include <argon2.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

// A thread's own block, kept from hash to hash.
static _Thread_local uint8_t *kept;

static int take_kept(uint8_t **memory, size_t count) {
    if (kept == NULL) {
        void *block = mmap(NULL, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) return *memory = NULL, -1;
        madvise(block, count, MADV_HUGEPAGE);
        kept = block;
    }
    *memory = kept;
    return 0;
}

static void leave_kept(uint8_t *memory, size_t count) { (void)memory, (void)count; }

struct work {
    const bench_argon2 *plan;
    pthread_barrier_t *start;
    bool failed;
};

static bool hash_once(const bench_argon2 *plan) {
    uint8_t output[32], salt[16] = {7}, password[] = "a password of a usual length";
    argon2_context context = {
        .out = output, .outlen = sizeof output, .pwd = password, .pwdlen = sizeof password - 1,
        .salt = salt, .saltlen = sizeof salt, .t_cost = plan->iterations,
        .m_cost = plan->memory_kib, .lanes = 1, .threads = 1, .version = ARGON2_VERSION_13,
        .allocate_cbk = plan->keeps_memory ? take_kept : NULL,
        .free_cbk = plan->keeps_memory ? leave_kept : NULL};
    return argon2_ctx(&context, Argon2_id) == ARGON2_OK;
}

static void *hash_many(void *argument) {
    struct work *work = argument;
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + work->plan->steps_back);
    work->failed = !hash_once(work->plan);
    pthread_barrier_wait(work->start);
    for (int count = 0; count < work->plan->hashes; count++) {
        if (!hash_once(work->plan)) work->failed = true;
    }
    if (kept != NULL) munmap(kept, (size_t)work->plan->memory_kib * 1024);
    return NULL;
}

bench_use bench_use_now(void) {
    struct rusage usage;
    struct timespec wall, cpu;
    getrusage(RUSAGE_SELF, &usage);
    clock_gettime(CLOCK_MONOTONIC, &wall);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (bench_use){
        .seconds = wall.tv_sec + wall.tv_nsec / 1e9, .cpu = cpu.tv_sec + cpu.tv_nsec / 1e9,
        .page_faults = (double)usage.ru_minflt};
}

bool bench_argon2_run(const bench_argon2 *plan, bench_use *use) {
    pthread_t *threads = calloc(plan->threads, sizeof *threads);
    struct work *works = calloc(plan->threads, sizeof *works);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, plan->threads + 1);
    bool failed = false;
    for (int index = 0; index < plan->threads; index++) {
        works[index] = (struct work){.plan = plan, .start = &start};
        if (pthread_create(&threads[index], NULL, hash_many, &works[index]) != 0) abort();
    }
    pthread_barrier_wait(&start);
    bench_use before = bench_use_now();
    for (int index = 0; index < plan->threads; index++) {
        pthread_join(threads[index], NULL);
        failed |= works[index].failed;
    }
    bench_use after = bench_use_now();
    use->seconds = after.seconds - before.seconds;
    use->cpu = after.cpu - before.cpu;
    use->page_faults = after.page_faults - before.page_faults;
    pthread_barrier_destroy(&start);
    free(works);
    free(threads);
    return !failed;
}
