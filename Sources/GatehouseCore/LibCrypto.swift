// The one importer of libcrypto: AES-256 blocks, AES-256-GCM, HKDF, HMAC, PBKDF2, scrypt, SHA-1, SHA-256,
// comparison and wiping.

import COpenSSL

/// libcrypto refused an operation that only memory exhaustion or a broken installation explains.
package struct LibCryptoError: Error, Equatable {
    /// The function that failed.
    package let operation: String
}

/// Overwrites memory in a way that the compiler does not remove.
package func wipe(_ memory: UnsafeMutableRawBufferPointer) {
    // SAFETY: the buffer's own base and size.
    unsafe OPENSSL_cleanse(memory.baseAddress, memory.count)
}

extension SecretMemory {
    /// Has libcrypto take all its memory from here, where the keys that it expands belong. False when it
    /// has taken memory already: then it goes on with the heap.
    package static func serveLibCrypto() -> Bool {
        // SAFETY: the three behave as malloc, realloc and free do.
        unsafe CRYPTO_set_mem_functions(
            { count, _, _ in unsafe SecretMemory.allocate(count) },
            { block, count, _, _ in unsafe SecretMemory.reallocate(block, to: count) },
            { block, _, _ in unsafe SecretMemory.free(block) }) == 1
    }
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
package func constantTimeEqual(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
    guard left.count == right.count else { return false }
    guard left.count > 0 else { return true }
    return unsafe left.withUnsafeBytes { leftBytes in
        unsafe right.withUnsafeBytes { rightBytes in
            // SAFETY: both pointers cover `left.count` bytes for the length of the call.
            unsafe CRYPTO_memcmp(leftBytes.baseAddress, rightBytes.baseAddress, left.count) == 0
        }
    }
}

/// SHA-256 of `input` (FIPS 180-4), 32 bytes.
package func sha256(_ input: Span<UInt8>) throws(LibCryptoError) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    let done = unsafe input.withUnsafeBytes { bytes in
        unsafe digest.withUnsafeMutableBufferPointer { output in
            // SAFETY: 32 bytes are what SHA-256 writes.
            unsafe EVP_Digest(
                bytes.baseAddress, bytes.count, output.baseAddress, nil, EVP_sha256(), nil)
        }
    }
    guard done == 1 else { throw LibCryptoError(operation: "EVP_Digest") }
    return digest
}

/// HMAC-SHA-256 of `message` (FIPS 198-1), 32 bytes.
package func hmacSHA256(
    key: Span<UInt8>, message: Span<UInt8>
) throws(LibCryptoError) -> SecretBytes {
    try SecretBytes(count: 32) { output throws(LibCryptoError) in
        let done = unsafe key.withUnsafeBytes { key in
            unsafe message.withUnsafeBufferPointer { message in
                unsafe output.withUnsafeMutableBufferPointer { output in
                    // SAFETY: 32 bytes are what SHA-256's HMAC writes; keys are short.
                    unsafe HMAC(
                        EVP_sha256(), key.baseAddress, Int32(key.count), message.baseAddress,
                        message.count, output.baseAddress, nil) != nil
                }
            }
        }
        guard done else { throw LibCryptoError(operation: "HMAC") }
    }
}

/// A hash of data that comes in pieces, again and again (FIPS 180-4). One thread at a time.
@safe package final class RunningHash {
    package enum Algorithm: Sendable {
        /// For lists of passwords that others have hashed so. It protects nothing here.
        case sha1
        case sha256
    }

    private let algorithm: OpaquePointer
    private let context: OpaquePointer
    private var output: [UInt8]

    package init(_ algorithm: Algorithm) throws(LibCryptoError) {
        let (name, size) = algorithm == .sha1 ? ("SHA1", 20) : ("SHA256", 32)
        guard let fetched = unsafe EVP_MD_fetch(nil, name, nil) else {
            throw LibCryptoError(operation: "EVP_MD_fetch")
        }
        guard let context = unsafe EVP_MD_CTX_new() else {
            unsafe EVP_MD_free(fetched)
            throw LibCryptoError(operation: "EVP_MD_CTX_new")
        }
        unsafe self.algorithm = fetched
        unsafe self.context = context
        output = [UInt8](repeating: 0, count: size)
        try restart()
    }

    deinit {
        // Also wipes what was hashed last.
        unsafe EVP_MD_CTX_free(context)
        unsafe EVP_MD_free(algorithm)
    }

    private func restart() throws(LibCryptoError) {
        guard unsafe EVP_DigestInit_ex2(context, algorithm, nil) == 1 else {
            throw LibCryptoError(operation: "EVP_DigestInit_ex2")
        }
    }

    package func update(_ input: Span<UInt8>) throws(LibCryptoError) {
        // SAFETY: the buffer's own base and size.
        let done = unsafe input.withUnsafeBytes {
            unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count)
        }
        guard done == 1 else { throw LibCryptoError(operation: "EVP_DigestUpdate") }
    }

    /// Lends the hash of everything since the last time to `body`, and starts anew.
    package func finish<Result>(_ body: (Span<UInt8>) -> Result) throws(LibCryptoError) -> Result {
        let done = unsafe output.withUnsafeMutableBufferPointer {
            // SAFETY: the output is as large as the algorithm's hashes.
            unsafe EVP_DigestFinal_ex(context, $0.baseAddress, nil)
        }
        guard done == 1 else { throw LibCryptoError(operation: "EVP_DigestFinal_ex") }
        try restart()
        let output = output
        return body(output.span)
    }
}

/// HKDF-SHA-256 (RFC 5869), extract and expand.
///
/// - Parameters:
///   - secret: the input keying material.
///   - salt: may be empty, which RFC 5869 section 2.2 reads as 32 zero bytes.
///   - info: what the derived key is for.
///   - byteCount: 1 to 8160 (255 blocks) bytes of output.
package func hkdfSHA256(
    secret: Span<UInt8>, salt: [UInt8] = [], info: [UInt8], byteCount: Int
) throws(LibCryptoError) -> SecretBytes {
    precondition((1...8160).contains(byteCount))
    return try SecretBytes(count: byteCount) { output throws(LibCryptoError) in
        let done = unsafe output.withUnsafeMutableBytes { outputBytes in
            unsafe secret.withUnsafeBytes { secretBytes in
                unsafe salt.withUnsafeBytes { saltBytes in
                    unsafe info.withUnsafeBytes { infoBytes in
                        // SAFETY: each pointer with its own buffer's size.
                        unsafe gatehouse_hkdf_sha256(
                            secretBytes.baseAddress, secretBytes.count, saltBytes.baseAddress,
                            saltBytes.count, infoBytes.baseAddress, infoBytes.count,
                            outputBytes.baseAddress, outputBytes.count)
                    }
                }
            }
        }
        guard done == 1 else { throw LibCryptoError(operation: "EVP_KDF_derive") }
    }
}

/// What PBKDF2 computes its HMAC with.
package enum PBKDF2Digest: Sendable {
    case sha256, sha512

    package var byteCount: Int { self == .sha256 ? 32 : 64 }
}

/// PBKDF2 with HMAC (RFC 8018 section 5.2), for hashes that other systems made.
package func pbkdf2(
    password: Span<UInt8>, salt: Span<UInt8>, iterations: Int, digest: PBKDF2Digest, byteCount: Int
) throws(LibCryptoError) -> SecretBytes {
    try SecretBytes(count: byteCount) { output throws(LibCryptoError) in
        let done = unsafe output.withUnsafeMutableBufferPointer { output in
            unsafe password.withUnsafeBytes { password in
                unsafe salt.withUnsafeBufferPointer { salt in
                    // SAFETY: each pointer with its own buffer's size.
                    unsafe PKCS5_PBKDF2_HMAC(
                        password.assumingMemoryBound(to: CChar.self).baseAddress,
                        Int32(password.count), salt.baseAddress, Int32(salt.count),
                        Int32(iterations), digest == .sha256 ? EVP_sha256() : EVP_sha512(),
                        Int32(output.count), output.baseAddress)
                }
            }
        }
        guard done == 1 else { throw LibCryptoError(operation: "PKCS5_PBKDF2_HMAC") }
    }
}

/// scrypt (RFC 7914), for hashes that other systems made.
///
/// - Parameters:
///   - logCost: the logarithm to base 2 of N.
///   - blockSize: r; scrypt works in 128·r·N bytes.
///   - parallelism: p; computed one after the other.
package func scrypt(
    password: Span<UInt8>, salt: Span<UInt8>, logCost: Int, blockSize: Int, parallelism: Int,
    byteCount: Int
) throws(LibCryptoError) -> SecretBytes {
    let cost = UInt64(1) << UInt64(logCost)
    // What libcrypto says it needs: N blocks, two to work in, and the p that it begins with.
    let memory = 128 * UInt64(blockSize) * (cost + 2 + UInt64(parallelism))
    return try SecretBytes(count: byteCount) { output throws(LibCryptoError) in
        let done = unsafe output.withUnsafeMutableBufferPointer { output in
            unsafe password.withUnsafeBytes { password in
                unsafe salt.withUnsafeBufferPointer { salt in
                    // SAFETY: each pointer with its own buffer's size.
                    unsafe EVP_PBE_scrypt(
                        password.assumingMemoryBound(to: CChar.self).baseAddress,
                        password.count, salt.baseAddress, salt.count, cost, UInt64(blockSize),
                        UInt64(parallelism), memory, output.baseAddress, output.count)
                }
            }
        }
        guard done == 1 else { throw LibCryptoError(operation: "EVP_PBE_scrypt") }
    }
}

/// AES-256 on whole blocks under one key, for key derivation (FIPS 197). One thread at a time.
@safe final class AES256Blocks {
    private let context: OpaquePointer

    init(key: Span<UInt8>) throws(LibCryptoError) {
        precondition(key.count == 32)
        guard let context = unsafe EVP_CIPHER_CTX_new() else {
            throw LibCryptoError(operation: "EVP_CIPHER_CTX_new")
        }
        unsafe self.context = context
        let done = unsafe key.withUnsafeBufferPointer { bytes in
            // SAFETY: the cipher reads 32 bytes of key, which is what `key` has.
            unsafe EVP_EncryptInit_ex(context, EVP_aes_256_ecb(), nil, bytes.baseAddress, nil)
        }
        guard done == 1, unsafe EVP_CIPHER_CTX_set_padding(context, 0) == 1 else {
            throw LibCryptoError(operation: "EVP_EncryptInit_ex")
        }
    }

    deinit {
        // Also wipes the key schedule.
        unsafe EVP_CIPHER_CTX_free(context)
    }

    /// Encrypts `count` bytes, a multiple of 16, from `input` to `output`, which may be the same.
    func encrypt(
        _ input: UnsafePointer<UInt8>, into output: UnsafeMutablePointer<UInt8>, count: Int
    ) -> Bool {
        var written: Int32 = 0
        // SAFETY: without padding, ECB writes as many bytes as it reads.
        let done = unsafe EVP_EncryptUpdate(context, output, &written, input, Int32(count))
        return done == 1 && Int(written) == count
    }
}

/// AES-256-GCM with 12-byte nonces and 16-byte tags (NIST SP 800-38D). The key is given with each
/// call; the context is reused, so that a call allocates nothing. One thread at a time.
@safe final class AES256GCM {
    static let nonceBytes = 12
    static let tagBytes = 16

    private let sealing: OpaquePointer
    private let opening: OpaquePointer
    /// Gives the tag with the key and the nonce: one call less for each message that is opened.
    private let tagParameter: UnsafeMutablePointer<OSSL_PARAM>

    init() throws(LibCryptoError) {
        guard let sealing = unsafe EVP_CIPHER_CTX_new() else {
            throw LibCryptoError(operation: "EVP_CIPHER_CTX_new")
        }
        guard let opening = unsafe EVP_CIPHER_CTX_new() else {
            unsafe EVP_CIPHER_CTX_free(sealing)
            throw LibCryptoError(operation: "EVP_CIPHER_CTX_new")
        }
        unsafe self.sealing = sealing
        unsafe self.opening = opening
        guard unsafe EVP_EncryptInit_ex(sealing, EVP_aes_256_gcm(), nil, nil, nil) == 1,
            unsafe EVP_DecryptInit_ex(opening, EVP_aes_256_gcm(), nil, nil, nil) == 1
        else {
            unsafe EVP_CIPHER_CTX_free(sealing)
            unsafe EVP_CIPHER_CTX_free(opening)
            throw LibCryptoError(operation: "EVP_CipherInit_ex")
        }
        // SAFETY: two elements, owned by this object and freed in deinit; the tag's place is set by each
        // call before libcrypto reads it.
        unsafe tagParameter = .allocate(capacity: 2)
        unsafe gatehouse_make_tag_parameter(tagParameter, nil, Self.tagBytes)
    }

    deinit {
        unsafe EVP_CIPHER_CTX_free(sealing)
        unsafe EVP_CIPHER_CTX_free(opening)
        unsafe tagParameter.deallocate()
    }

    /// Encrypts `plaintext` to `ciphertext`, of the same size, and writes the 16-byte `tag`.
    func seal(
        key: UnsafePointer<UInt8>, nonce: UnsafePointer<UInt8>,
        plaintext: UnsafeBufferPointer<UInt8>, associatedData: UnsafeBufferPointer<UInt8>,
        ciphertext: UnsafeMutablePointer<UInt8>, tag: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        var written: Int32 = 0
        // SAFETY: callers give 32 bytes of key, 12 of nonce, 16 for the tag and an output as large
        // as the plaintext.
        guard unsafe EVP_EncryptInit_ex(sealing, nil, nil, key, nonce) == 1 else { return false }
        if !associatedData.isEmpty {
            guard
                unsafe EVP_EncryptUpdate(
                    sealing, nil, &written, associatedData.baseAddress, Int32(associatedData.count))
                    == 1
            else { return false }
        }
        if !plaintext.isEmpty {
            guard
                unsafe EVP_EncryptUpdate(
                    sealing, ciphertext, &written, plaintext.baseAddress, Int32(plaintext.count))
                    == 1
            else { return false }
        }
        guard unsafe EVP_EncryptFinal_ex(sealing, ciphertext, &written) == 1 else { return false }
        return unsafe EVP_CIPHER_CTX_ctrl(
            sealing, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagBytes), tag) == 1
    }

    /// Decrypts `ciphertext` to `plaintext`, of the same size, and says whether the tag is right.
    /// When it is not, what was written has been wiped.
    func open(
        key: UnsafePointer<UInt8>, nonce: UnsafePointer<UInt8>,
        ciphertext: UnsafeBufferPointer<UInt8>, tag: UnsafePointer<UInt8>,
        associatedData: UnsafeBufferPointer<UInt8>, plaintext: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        var written: Int32 = 0
        // SAFETY: as in `seal`; libcrypto only reads the tag that SET_TAG is given.
        unsafe tagParameter.pointee.data = UnsafeMutableRawPointer(mutating: tag)
        guard unsafe EVP_DecryptInit_ex2(opening, nil, key, nonce, tagParameter) == 1 else {
            return false
        }
        if !associatedData.isEmpty {
            guard
                unsafe EVP_DecryptUpdate(
                    opening, nil, &written, associatedData.baseAddress, Int32(associatedData.count))
                    == 1
            else { return false }
        }
        if !ciphertext.isEmpty {
            guard
                unsafe EVP_DecryptUpdate(
                    opening, plaintext, &written, ciphertext.baseAddress, Int32(ciphertext.count))
                    == 1
            else {
                unsafe wipe(
                    UnsafeMutableRawBufferPointer(start: plaintext, count: ciphertext.count))
                return false
            }
        }
        guard unsafe EVP_DecryptFinal_ex(opening, plaintext, &written) == 1 else {
            unsafe wipe(UnsafeMutableRawBufferPointer(start: plaintext, count: ciphertext.count))
            return false
        }
        return true
    }
}
