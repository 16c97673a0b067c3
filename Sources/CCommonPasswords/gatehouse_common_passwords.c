// Takes the list into the program as read-only data: nothing is parsed when it starts, pages that nobody asks
// for are never read, and all processes share them.
#include "gatehouse_common_passwords.h"

// The Swift toolchain's compiler has had it for longer than the standard.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const uint8_t list[] = {
#embed "common-passwords.txt"
};

const uint8_t *gatehouse_common_passwords(size_t *count) {
    *count = sizeof list;
    return list;
}
