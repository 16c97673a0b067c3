// libcrypto as Gatehouse uses it: ciphers, KDFs, MACs and randomness, all through EVP.
#ifndef GATEHOUSE_COPENSSL_SHIM_H
#define GATEHOUSE_COPENSSL_SHIM_H

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

/// Writes the two elements that give EVP_DecryptInit_ex2 a tag. Exists because OSSL_PARAM keeps the
/// pointers of its names, and Swift imports names as strings whose C form ends with the call.
///
/// libcrypto compares the name with its own for each message, and glibc's strcmp takes longer where
/// a string lies near the end of a page: some 150 instructions a message, if the linker happened to
/// put this one there. At a page's start it never does.
static inline void gatehouse_make_tag_parameter(OSSL_PARAM *parameters, void *tag, size_t size) {
    static const char name[] __attribute__((aligned(4096))) = OSSL_CIPHER_PARAM_AEAD_TAG;
    parameters[0] = OSSL_PARAM_construct_octet_string(name, tag, size);
    parameters[1] = OSSL_PARAM_construct_end();
}

/// HKDF-SHA-256, extract and expand. Exists because OSSL_PARAM keeps the pointers of its names,
/// and Swift imports the names (OSSL_KDF_PARAM_...) as strings whose C form ends with the call.
/// Returns 1 when `output` was written, else 0.
static inline int gatehouse_hkdf_sha256(
    const void *secret, size_t secret_size, const void *salt, size_t salt_size, const void *info,
    size_t info_size, void *output, size_t output_size) {
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    if (kdf == NULL) return 0;
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    EVP_KDF_free(kdf);
    if (context == NULL) return 0;
    char digest[] = "SHA256";
    OSSL_PARAM parameters[5];
    OSSL_PARAM *next = parameters;
    // libcrypto reads these only; its interface lacks the const.
    *next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_size);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_size);
    if (salt_size > 0) {
        *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_size);
    }
    *next = OSSL_PARAM_construct_end();
    int done = EVP_KDF_derive(context, (unsigned char *)output, output_size, parameters) == 1;
    EVP_KDF_CTX_free(context);
    return done;
}

#endif
