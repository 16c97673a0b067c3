// XAES-256-GCM (C2SP XAES-256-GCM v1): AES-256-GCM with 24-byte random nonces.

/// One long-term key of XAES-256-GCM, ready for use by one thread at a time.
///
/// The first 12 bytes of the nonce derive a one-message key (NIST SP 800-108r1 counter mode with
/// AES-256-CMAC, label "X"), the last 12 are the nonce of plain AES-256-GCM under it. Random nonces
/// are safe for 2^80 messages a key. Sealing and opening allocate nothing.
@safe package final class XAES256GCM {
    package static let keyBytes = 32
    package static let nonceBytes = 24
    package static let tagBytes = 16

    private let blocks: AES256Blocks
    private let gcm: AES256GCM
    /// CMAC's first subkey (NIST SP 800-38B section 6.1): AES(K, 0) doubled in GF(2^128). Then room for
    /// one message: the CMAC inputs and the key, two halves of 32 bytes.
    private let subkey: UnsafeMutablePointer<UInt8>
    private static let workOffset = 16
    private static let workBytes = 64

    /// - Throws: `LibCryptoError` when libcrypto has no memory or no AES.
    package init(key: borrowing SecretBytes) throws(LibCryptoError) {
        precondition(key.count == Self.keyBytes)
        blocks = try key.withSpan { span throws(LibCryptoError) in try AES256Blocks(key: span) }
        gcm = try AES256GCM()
        // SAFETY: owned by this object and freed in deinit.
        unsafe subkey = SecretMemory.bytes(Self.workOffset + Self.workBytes)
        guard unsafe blocks.encrypt(subkey, into: subkey, count: 16) else {
            throw LibCryptoError(operation: "AES-256 block")
        }
        var carry: UInt8 = 0
        for index in stride(from: 15, through: 0, by: -1) {
            // SAFETY: 0...15, within the 16 bytes.
            let byte = unsafe subkey[index]
            unsafe subkey[index] = byte << 1 | carry
            carry = byte >> 7
        }
        // Without a branch: the carry is a bit of key material.
        unsafe subkey[15] ^= 0x87 & (0 &- carry)
    }

    deinit { unsafe SecretMemory.free(subkey) }

    /// Encrypts `plaintext` into `ciphertext`, which has the same size, followed by the tag.
    ///
    /// - Parameters:
    ///   - nonce: 24 bytes, never used twice with one key.
    ///   - output: room for the plaintext's size and 16 bytes of tag.
    /// - Returns: false when libcrypto failed; the output is then not to be used.
    package func seal(
        nonce: UnsafePointer<UInt8>, plaintext: UnsafeBufferPointer<UInt8>,
        associatedData: UnsafeBufferPointer<UInt8>, into output: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        unsafe withMessageKey(nonce: nonce) { key in
            unsafe gcm.seal(
                key: key, nonce: nonce + 12, plaintext: plaintext, associatedData: associatedData,
                ciphertext: output, tag: output + plaintext.count)
        }
    }

    /// Decrypts `sealed`, ciphertext and tag, into `plaintext`.
    ///
    /// - Parameters:
    ///   - nonce: the 24 bytes it was sealed with.
    ///   - sealed: at least the 16 bytes of the tag; anything shorter is refused.
    ///   - plaintext: room for the sealed size less 16 bytes.
    /// - Returns: whether it is authentic; when not, no plaintext is left in the output.
    package func open(
        nonce: UnsafePointer<UInt8>, sealed: UnsafeBufferPointer<UInt8>,
        associatedData: UnsafeBufferPointer<UInt8>, into plaintext: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        guard sealed.count >= Self.tagBytes, let base = sealed.baseAddress else { return false }
        let count = sealed.count - Self.tagBytes
        return unsafe withMessageKey(nonce: nonce) { key in
            unsafe gcm.open(
                key: key, nonce: nonce + 12,
                ciphertext: UnsafeBufferPointer(start: base, count: count), tag: base + count,
                associatedData: associatedData, plaintext: plaintext)
        }
    }

    /// Derives the one-message key of `nonce`, lends it to `body` and wipes it.
    private func withMessageKey(
        nonce: UnsafePointer<UInt8>, _ body: (UnsafePointer<UInt8>) -> Bool
    ) -> Bool {
        // SAFETY: the 64 bytes after the subkey.
        let inputs = unsafe subkey + Self.workOffset
        let key = unsafe inputs + 32
        defer { unsafe wipe(UnsafeMutableRawBufferPointer(start: inputs, count: Self.workBytes)) }
        // Each CMAC input is one whole block, counter || "X" || 0 || nonce, so that CMAC is one
        // block encryption of the input XOR the subkey.
        for half in 0..<2 {
            let input = unsafe inputs + 16 * half
            unsafe input[0] = 0 ^ subkey[0]
            unsafe input[1] = UInt8(half + 1) ^ subkey[1]
            unsafe input[2] = 0x58 ^ subkey[2]
            unsafe input[3] = 0 ^ subkey[3]
            for index in 0..<12 {
                unsafe input[4 + index] = nonce[index] ^ subkey[4 + index]
            }
        }
        guard unsafe blocks.encrypt(inputs, into: key, count: 32) else { return false }
        return unsafe body(key)
    }
}

extension XAES256GCM {
    /// Seals `plaintext` as nonce || ciphertext || tag under a fresh nonce, for what is stored.
    package func sealed(
        _ plaintext: Span<UInt8>, associatedData: [UInt8], entropy: Entropy
    ) throws(SealingFailure) -> [UInt8] {
        let nonce: [UInt8]
        do { nonce = try entropy.bytes(Self.nonceBytes) } catch { throw .entropy }
        var output = nonce + [UInt8](repeating: 0, count: plaintext.count + Self.tagBytes)
        let done = unsafe output.withUnsafeMutableBufferPointer { out in
            unsafe plaintext.withUnsafeBufferPointer { plain in
                unsafe associatedData.withUnsafeBufferPointer { associated in
                    guard let base = out.baseAddress else { return false }
                    // SAFETY: `output` has room for nonce, ciphertext and tag.
                    return unsafe seal(
                        nonce: base, plaintext: plain, associatedData: associated,
                        into: base + Self.nonceBytes)
                }
            }
        }
        guard done else { throw .libCrypto }
        return output
    }

    /// Opens what ``sealed(_:associatedData:entropy:)`` made; nil when it is not authentic.
    package func opened(_ sealed: Span<UInt8>, associatedData: [UInt8]) -> SecretBytes? {
        let overhead = Self.nonceBytes + Self.tagBytes
        guard sealed.count > overhead else { return nil }
        var authentic = false
        let plaintext = SecretBytes(count: sealed.count - overhead) { output in
            authentic = unsafe output.withUnsafeMutableBufferPointer { out in
                unsafe sealed.withUnsafeBufferPointer { bytes in
                    unsafe associatedData.withUnsafeBufferPointer { associated in
                        guard let base = bytes.baseAddress, let target = out.baseAddress else {
                            return false
                        }
                        // SAFETY: sizes as computed above.
                        return unsafe open(
                            nonce: base,
                            sealed: UnsafeBufferPointer(
                                start: base + Self.nonceBytes,
                                count: bytes.count - Self.nonceBytes),
                            associatedData: associated, into: target)
                    }
                }
            }
        }
        guard authentic else { return nil }
        return plaintext
    }
}

/// Why nothing could be sealed.
package enum SealingFailure: Error, Equatable {
    /// The operating system gave no random bytes.
    case entropy
    /// libcrypto failed.
    case libCrypto
    /// The keyring has no active key: an emergency revocation, and the next key is not active yet.
    case noActiveKey
    /// The plaintext would not fit a token (``TokenFormat/maximumPlaintextBytes``).
    case tooLarge
}
