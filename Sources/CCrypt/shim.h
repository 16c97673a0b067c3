// libcrypt (libxcrypt): bcrypt, sha512crypt and yescrypt as Unix systems store them.
#ifndef GATEHOUSE_CCRYPT_SHIM_H
#define GATEHOUSE_CCRYPT_SHIM_H

#include <crypt.h>

/// What crypt_rn works in. Exists because the struct has an array that is too large for Swift.
enum { gatehouse_crypt_data_bytes = sizeof(struct crypt_data) };

#endif
