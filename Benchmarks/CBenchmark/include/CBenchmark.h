// What the benchmarks need of C: Linux calls that Swift can't import, TLS for the load, and the bare
// libcrypto calls that a token's cost is compared with.
#ifndef GATEHOUSE_CBENCHMARK_H
#define GATEHOUSE_CBENCHMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include <time.h>

// Processes (process.c)

/// Runs the calling thread, and what it starts, on one core. Exists because cpu_set_t is filled by
/// macros. Returns 0 when done.
int bench_pin(int core);

/// The lowest core above `after` that this process may run on; -1 when there is none.
int bench_next_core(int after);

/// Starts arguments[0], a path, with standard input from `input`, output and errors to the two
/// descriptors, on `core` (any when negative). The child dies with the calling thread. Exists
/// because fork can't be called from Swift, and the core must be set before the program starts.
/// Returns the process id, or -1.
pid_t bench_spawn(
    const char *const *arguments, const char *const *environment, int core, int input, int output,
    int errors);

/// Runs one thread of any process on `core`, or, when `others` is set, on every other core that this
/// process may use. Returns 0 when done.
int bench_pin_thread(pid_t thread, int core, bool others);

/// Lets the calling thread run as soon as it has something to do, before all that have no fixed
/// priority. Returns 0 when it may, which takes root or CAP_SYS_NICE.
int bench_become_urgent(void);

/// epoll_wait with nanoseconds. Exists because the timespec that epoll_pwait2 takes and Swift's differ.
int bench_epoll_wait(int epoll, struct epoll_event *events, int count, uint64_t nanoseconds);

/// A connected stream socket without Nagle's delay: to an IPv4 address when `port` is not 0, else
/// to the Unix socket at that path. Exists because socket addresses are cast in C. A socket that
/// doesn't block may still be connecting. Returns -1 when it failed.
int bench_connect(const char *address, uint16_t port, bool blocks);

/// A TCP port of the loopback address that is free now, 0 when there is none.
uint16_t bench_free_port(void);

/// Lets a blocking receive fail after `seconds`, so that a silent server ends the benchmark.
void bench_set_timeout(int descriptor, int seconds);

void bench_set_nonblocking(int descriptor);

// TLS of the load (tls.c). Receive and send return like recv and send.

/// Trusts the authorities in that PEM file; NULL when it can't be read.
void *bench_tls_context(const char *authorities);
/// Shakes hands over a blocking connection; NULL when that or the certificate fails.
void *bench_tls_connect(void *context, int descriptor, const char *host);
ssize_t bench_tls_receive(void *tls, void *bytes, size_t count);
ssize_t bench_tls_send(void *tls, const void *bytes, size_t count);

// The libcrypto calls of one token (evp.c)

/// The contexts that are reused, as GatehouseCore reuses its own.
typedef struct bench_evp bench_evp;
bench_evp *bench_evp_new(void);
void bench_evp_free(bench_evp *evp);

/// `rounds` times: AES-256-ECB of 32 bytes, then AES-256-GCM under the outcome as a fresh key, over
/// `associated` and `text`, with the tag taken. `key` is 32 bytes, `nonce` 24, `out` is as large as
/// `text`, `tag` 16. Returns whether every call did.
bool bench_evp_seal(
    bench_evp *evp, const uint8_t *nonce, const uint8_t *associated, int associated_count,
    const uint8_t *text, int text_count, uint8_t *out, uint8_t *tag, long rounds);
/// The same for opening; false too when the tag is wrong.
bool bench_evp_open(
    bench_evp *evp, const uint8_t *nonce, const uint8_t *associated, int associated_count,
    const uint8_t *text, int text_count, uint8_t *out, const uint8_t *tag, long rounds);

// Bare libargon2 (argon2.c)

typedef struct bench_argon2 {
    int threads;
    /// For each thread, after one that is not measured.
    int hashes;
    uint32_t memory_kib;
    uint32_t iterations;
    /// Whether each thread keeps its memory, in huge pages, instead of having libargon2 allocate it.
    bool keeps_memory;
    /// As the service's hashing threads do, so that other programs disturb both alike.
    int steps_back;
} bench_argon2;

/// What the whole process has used.
typedef struct bench_use {
    double seconds;
    double cpu;
    double page_faults;
} bench_use;
bench_use bench_use_now(void);

/// Hashes a password of a usual length on threads of its own. Returns whether every hash was made.
bool bench_argon2_run(const bench_argon2 *plan, bench_use *use);

#endif
