#ifndef GATEHOUSE_DEVELOPMENT_CERTIFICATE_H
#define GATEHOUSE_DEVELOPMENT_CERTIFICATE_H

#include <stddef.h>

/// Room for any of the PEM texts below, with its zero.
#define GATEHOUSE_PEM_SIZE 4096

/// Makes a development CA and a server certificate for localhost, 127.0.0.1 and ::1, both ECDSA on
/// P-256 and valid for `days`. The CA's key is thrown away: it signs this one certificate, and its
/// name constraints keep it to this machine. Each buffer has GATEHOUSE_PEM_SIZE bytes and receives
/// zero-terminated PEM. Returns 1 when all three were written, else 0.
int gatehouse_make_development_certificate(int days, char *authority, char *certificate, char *key);

#endif
