// TLS over the load's sockets: the same loop drives plain and encrypted connections.

#include "CBenchmark.h"

#include <errno.h>
#include <openssl/ssl.h>

void *bench_tls_context(const char *authorities) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) return NULL;
    if (SSL_CTX_load_verify_locations(context, authorities, NULL) != 1) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    // A send that was cut short is repeated from wherever the rest then lies.
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

void *bench_tls_connect(void *context, int descriptor, const char *host) {
    SSL *tls = SSL_new(context);
    if (tls == NULL) return NULL;
    if (SSL_set1_host(tls, host) != 1 || SSL_set_tlsext_host_name(tls, host) != 1 ||
        SSL_set_fd(tls, descriptor) != 1 || SSL_connect(tls) != 1) {
        SSL_free(tls);
        return NULL;
    }
    return tls;
}

/// The outcome as recv and send would tell it.
static ssize_t outcome(SSL *tls, int count) {
    if (count > 0) return count;
    switch (SSL_get_error(tls, count)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default:
        if (errno == 0 || errno == EAGAIN) errno = EPROTO;
        return -1;
    }
}

ssize_t bench_tls_receive(void *tls, void *bytes, size_t count) {
    errno = 0;
    return outcome(tls, SSL_read(tls, bytes, (int)count));
}

ssize_t bench_tls_send(void *tls, const void *bytes, size_t count) {
    errno = 0;
    return outcome(tls, SSL_write(tls, bytes, (int)count));
}
