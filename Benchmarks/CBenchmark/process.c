// Cores, processes and sockets.

#define _GNU_SOURCE

#include "CBenchmark.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int bench_pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    return sched_setaffinity(0, sizeof set, &set);
}

int bench_next_core(int after) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return -1;
    for (int core = after + 1; core < CPU_SETSIZE; core++) {
        if (CPU_ISSET(core, &set)) return core;
    }
    return -1;
}

int bench_pin_thread(pid_t thread, int core, bool others) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (!others) CPU_SET(core, &set);
    for (int other = bench_next_core(-1); others && other >= 0; other = bench_next_core(other)) {
        if (other != core) CPU_SET(other, &set);
    }
    return sched_setaffinity(thread, sizeof set, &set);
}

int bench_become_urgent(void) {
    struct sched_param first = {.sched_priority = 1};
    return sched_setscheduler(0, SCHED_FIFO, &first);
}

int bench_epoll_wait(int epoll, struct epoll_event *events, int count, uint64_t nanoseconds) {
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    return epoll_pwait2(epoll, events, count, &time, NULL);
}

pid_t bench_spawn(
    const char *const *arguments, const char *const *environment, int core, int input, int output,
    int errors) {
    pid_t parent = getpid();
    pid_t child = fork();
    if (child != 0) return child;
    // Only calls that are safe between fork and exec from here on.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // What the benchmark blocks for itself would reach the program.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // The parent may have died before it could be watched.
    if (getppid() != parent) _exit(127);
    if (core >= 0 && bench_pin(core) != 0) _exit(127);
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(errors, 2) < 0) _exit(127);
    close_range(3, ~0U, 0);
    execve(arguments[0], (char *const *)arguments, (char *const *)environment);
    _exit(127);
}

int bench_connect(const char *address, uint16_t port, bool blocks) {
    int type = SOCK_STREAM | SOCK_CLOEXEC | (blocks ? 0 : SOCK_NONBLOCK);
    int descriptor, done;
    if (port != 0) {
        struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_port = htons(port)};
        if (inet_pton(AF_INET, address, &tcp.sin_addr) != 1) return -1;
        descriptor = socket(AF_INET, type, 0);
        if (descriptor < 0) return -1;
        int on = 1;
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        done = connect(descriptor, (struct sockaddr *)&tcp, sizeof tcp);
    } else {
        struct sockaddr_un local = {.sun_family = AF_UNIX};
        if (strlen(address) >= sizeof local.sun_path) return -1;
        strcpy(local.sun_path, address);
        descriptor = socket(AF_UNIX, type, 0);
        if (descriptor < 0) return -1;
        done = connect(descriptor, (struct sockaddr *)&local, sizeof local);
    }
    if (done == 0 || (!blocks && errno == EINPROGRESS)) return descriptor;
    int reason = errno;
    close(descriptor);
    errno = reason;
    return -1;
}

uint16_t bench_free_port(void) {
    struct sockaddr_in tcp = {.sin_family = AF_INET};
    tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof tcp;
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return 0;
    bool found = bind(descriptor, (struct sockaddr *)&tcp, size) == 0 &&
                 getsockname(descriptor, (struct sockaddr *)&tcp, &size) == 0;
    close(descriptor);
    return found ? ntohs(tcp.sin_port) : 0;
}

void bench_set_timeout(int descriptor, int seconds) {
    struct timeval time = {.tv_sec = seconds};
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}

void bench_set_nonblocking(int descriptor) {
    fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}
