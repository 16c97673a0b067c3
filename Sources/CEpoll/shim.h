// epoll(7), eventfd(2) and accept4(2), which Swift's Glibc module leaves out.
#ifndef GATEHOUSE_CEPOLL_SHIM_H
#define GATEHOUSE_CEPOLL_SHIM_H

#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

// Declared here, since glibc shows it only to programs that ask for GNU extensions.
extern int accept4(int descriptor, struct sockaddr *address, socklen_t *size, int flags);

/// Takes a connection that doesn't block and is closed on exec. Exists because the flags are an enum
/// of another type in each release of glibc. Returns the descriptor, or -1 with errno.
static inline int gatehouse_accept(int listener) {
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

#endif
