// epoll(7), eventfd(2), timerfd_create(2) and accept4(2), which Swift's Glibc module leaves out.
#ifndef GATEHOUSE_CEPOLL_SHIM_H
#define GATEHOUSE_CEPOLL_SHIM_H

#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

// Declared here, since glibc shows it only to programs that ask for GNU extensions.
extern int accept4(int descriptor, struct sockaddr *address, socklen_t *size, int flags);

/// Takes a connection that doesn't block and is closed on exec. Exists because the flags are an enum
/// of another type in each release of glibc. Returns the descriptor, or -1 with errno.
static inline int gatehouse_accept(int listener) {
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

extern long syscall(long number, ...);

/// recv(2) and send(2) without glibc's cancellation points, which take four atomic operations for each
/// request in a program with threads; the threads here are never cancelled. A peer that is gone is an
/// error, not a signal. Both return what the system call does, or -1 with errno.
static inline long gatehouse_receive(int socket, void *buffer, size_t size) {
    return syscall(SYS_recvfrom, socket, buffer, size, 0, NULL, NULL);
}
static inline long gatehouse_send(int socket, const void *buffer, size_t size) {
    return syscall(SYS_sendto, socket, buffer, size, MSG_NOSIGNAL, NULL, 0);
}

/// Makes a timer ring every `nanoseconds` (less than a second), or never again when 0. Exists because
/// the time types of timerfd's header and of Swift's Glibc module differ. Returns 0 when done.
static inline int gatehouse_set_timer(int timer, long nanoseconds) {
    struct itimerspec every = {{0, nanoseconds}, {0, nanoseconds}};
    return timerfd_settime(timer, 0, &every, NULL);
}

/// Names the calling thread, for those who look with ps or perf; at most 15 bytes. Exists because glibc
/// shows the function only to programs that ask for GNU extensions.
static inline void gatehouse_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

#endif
