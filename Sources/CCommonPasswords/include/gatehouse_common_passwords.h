// The bundled list of common passwords, as it lies in the program.
#ifndef GATEHOUSE_COMMON_PASSWORDS_H
#define GATEHOUSE_COMMON_PASSWORDS_H

#include <stddef.h>
#include <stdint.h>

// The bytes of common-passwords.txt, for as long as the process lives: lines of UTF-8, each ended by a
// line feed, in the order of their bytes. `*count` is how many bytes there are.
const uint8_t *_Nonnull gatehouse_common_passwords(size_t *_Nonnull count);

#endif
