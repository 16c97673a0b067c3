// A certificate for a developer's machine, through libcrypto.

#include "development_certificate.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

// What production refuses by: it stands in issuer and subject.
static const char organization[] = "Gatehouse development, not for production";

static int add_extension(X509 *subject, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, subject, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (extension == NULL) return 0;
    int done = X509_add_ext(subject, extension, -1);
    X509_EXTENSION_free(extension);
    return done;
}

static int set_name(X509_NAME *name, const char *common_name) {
    return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC,
                                      (const unsigned char *)organization, -1, -1, 0) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                      (const unsigned char *)common_name, -1, -1, 0);
}

// Everything but extensions and signature.
static X509 *new_certificate(EVP_PKEY *key, const char *common_name, X509 *issuer, int days) {
    X509 *certificate = X509_new();
    if (certificate == NULL) return NULL;
    unsigned char serial[16];
    BIGNUM *number = NULL;
    int done = X509_set_version(certificate, X509_VERSION_3) && RAND_bytes(serial, sizeof serial) == 1;
    // RFC 5280 section 4.1.2.2: positive, at most 20 octets.
    serial[0] &= 0x7F;
    done = done && (number = BN_bin2bn(serial, sizeof serial, NULL)) != NULL &&
           BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -60 * 60) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), 60L * 60 * 24 * days) != NULL &&
           X509_set_pubkey(certificate, key) &&
           set_name(X509_get_subject_name(certificate), common_name) &&
           X509_set_issuer_name(
               certificate, X509_get_subject_name(issuer == NULL ? certificate : issuer));
    BN_free(number);
    if (done) return certificate;
    X509_free(certificate);
    return NULL;
}

// Moves what `bio` holds to `text`.
static int take_text(BIO *bio, char *text) {
    int size = BIO_read(bio, text, GATEHOUSE_PEM_SIZE - 1);
    if (size <= 0 || BIO_pending(bio) > 0) return 0;
    text[size] = 0;
    return 1;
}

int gatehouse_make_development_certificate(
    int days, char *authority, char *certificate, char *key) {
    EVP_PKEY *authority_key = EVP_EC_gen("P-256");
    EVP_PKEY *server_key = EVP_EC_gen("P-256");
    X509 *issuer = NULL;
    X509 *server = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    int done =
        authority_key != NULL && server_key != NULL && bio != NULL &&
        (issuer = new_certificate(authority_key, "Gatehouse development CA", NULL, days)) != NULL &&
        add_extension(issuer, issuer, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        add_extension(issuer, issuer, NID_key_usage, "critical,keyCertSign") &&
        add_extension(issuer, issuer, NID_name_constraints,
                      "critical,permitted;DNS:localhost,permitted;IP:127.0.0.0/255.0.0.0,"
                      "permitted;IP:0:0:0:0:0:0:0:1/"
                      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") &&
        add_extension(issuer, issuer, NID_subject_key_identifier, "hash") &&
        X509_sign(issuer, authority_key, EVP_sha256()) > 0 &&
        (server = new_certificate(server_key, "localhost", issuer, days)) != NULL &&
        add_extension(server, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(server, issuer, NID_key_usage, "critical,digitalSignature") &&
        add_extension(server, issuer, NID_ext_key_usage, "serverAuth") &&
        add_extension(server, issuer, NID_subject_alt_name,
                      "DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1") &&
        add_extension(server, issuer, NID_authority_key_identifier, "keyid") &&
        X509_sign(server, authority_key, EVP_sha256()) > 0 &&
        PEM_write_bio_X509(bio, issuer) && take_text(bio, authority) &&
        PEM_write_bio_X509(bio, server) && take_text(bio, certificate) &&
        PEM_write_bio_PrivateKey(bio, server_key, NULL, NULL, 0, NULL, NULL) &&
        take_text(bio, key);
    BIO_free(bio);
    X509_free(server);
    X509_free(issuer);
    EVP_PKEY_free(server_key);
    EVP_PKEY_free(authority_key);
    return done;
}
