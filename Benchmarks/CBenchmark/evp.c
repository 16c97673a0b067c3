// The libcrypto calls that sealing and opening one token takes, and nothing else.
//
// They are those of XAES256GCM.swift and LibCrypto.swift in GatehouseCore, the fewest that do it: one
// AES-256-ECB update of two blocks derives the message key, AES-256-GCM under it does the rest, in
// contexts that are kept; the tag to compare with is given together with the key.

#include "CBenchmark.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>

struct bench_evp {
    EVP_CIPHER_CTX *blocks, *sealing, *opening;
};

bench_evp *bench_evp_new(void) {
    bench_evp *evp = calloc(1, sizeof *evp);
    if (evp == NULL) return NULL;
    // Any key will do: the cost doesn't depend on it.
    static const uint8_t key[32] = {1};
    evp->blocks = EVP_CIPHER_CTX_new();
    evp->sealing = EVP_CIPHER_CTX_new();
    evp->opening = EVP_CIPHER_CTX_new();
    if (evp->blocks != NULL && evp->sealing != NULL && evp->opening != NULL &&
        EVP_EncryptInit_ex(evp->blocks, EVP_aes_256_ecb(), NULL, key, NULL) == 1 &&
        EVP_CIPHER_CTX_set_padding(evp->blocks, 0) == 1 &&
        EVP_EncryptInit_ex(evp->sealing, EVP_aes_256_gcm(), NULL, NULL, NULL) == 1 &&
        EVP_DecryptInit_ex(evp->opening, EVP_aes_256_gcm(), NULL, NULL, NULL) == 1)
        return evp;
    bench_evp_free(evp);
    return NULL;
}

void bench_evp_free(bench_evp *evp) {
    EVP_CIPHER_CTX_free(evp->blocks);
    EVP_CIPHER_CTX_free(evp->sealing);
    EVP_CIPHER_CTX_free(evp->opening);
    free(evp);
}

/// The message key: two blocks that hold the first half of the nonce.
static bool derive(bench_evp *evp, const uint8_t *nonce, uint8_t key[32]) {
    uint8_t blocks[32] = {0, 1, 'X', 0, [16] = 0, 2, 'X', 0};
    for (int index = 0; index < 12; index++) {
        blocks[4 + index] = nonce[index];
        blocks[20 + index] = nonce[index];
    }
    int written;
    return EVP_EncryptUpdate(evp->blocks, key, &written, blocks, 32) == 1;
}

bool bench_evp_seal(
    bench_evp *evp, const uint8_t *nonce, const uint8_t *associated, int associated_count,
    const uint8_t *text, int text_count, uint8_t *out, uint8_t *tag, long rounds) {
    for (long round = 0; round < rounds; round++) {
        uint8_t key[32];
        int written;
        if (!derive(evp, nonce, key) ||
            EVP_EncryptInit_ex(evp->sealing, NULL, NULL, key, nonce + 12) != 1 ||
            EVP_EncryptUpdate(evp->sealing, NULL, &written, associated, associated_count) != 1 ||
            EVP_EncryptUpdate(evp->sealing, out, &written, text, text_count) != 1 ||
            EVP_EncryptFinal_ex(evp->sealing, out, &written) != 1 ||
            EVP_CIPHER_CTX_ctrl(evp->sealing, EVP_CTRL_AEAD_GET_TAG, 16, tag) != 1)
            return false;
    }
    return true;
}

bool bench_evp_open(
    bench_evp *evp, const uint8_t *nonce, const uint8_t *associated, int associated_count,
    const uint8_t *text, int text_count, uint8_t *out, const uint8_t *tag, long rounds) {
    // As in GatehouseCore: where the name lies decides what strcmp costs.
    static const char name[] __attribute__((aligned(4096))) = OSSL_CIPHER_PARAM_AEAD_TAG;
    OSSL_PARAM expected[] = {
        OSSL_PARAM_construct_octet_string(name, (void *)tag, 16),
        OSSL_PARAM_construct_end(),
    };
    for (long round = 0; round < rounds; round++) {
        uint8_t key[32];
        int written;
        if (!derive(evp, nonce, key) ||
            EVP_DecryptInit_ex2(evp->opening, NULL, key, nonce + 12, expected) != 1 ||
            EVP_DecryptUpdate(evp->opening, NULL, &written, associated, associated_count) != 1 ||
            EVP_DecryptUpdate(evp->opening, out, &written, text, text_count) != 1 ||
            EVP_DecryptFinal_ex(evp->opening, out, &written) != 1)
            return false;
    }
    return true;
}
