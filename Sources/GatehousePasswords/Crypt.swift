// The one importer of libcrypt: bcrypt, sha512crypt and yescrypt, as crypt(3) spells them.

import CCrypt
import GatehouseCore

/// Where crypt(3) stops reading a password. It reads C strings, so it also stops at a NUL.
enum CryptPasswordLimit {
    /// bcrypt reads 72 bytes and takes no notice of what follows: so did the system that hashed.
    static let bcryptBytes = 72
    /// libcrypt takes no longer string (CRYPT_MAX_PASSPHRASE_SIZE less the NUL).
    static let bytes = 511
}

/// Whether `password` is the one that `hash`, a whole crypt(3) hash, was made of.
///
/// The work is the same for every password: one that can't match is hashed as far as crypt(3) reads it.
///
/// - Parameter isTruncated: whether the scheme reads 72 bytes only, as bcrypt does.
func cryptMatches(
    _ password: Span<UInt8>, hash: [UInt8], isTruncated: Bool
) throws(PasswordHasherError) -> Bool {
    let end = password.indices.first { password[$0] == 0 } ?? password.count
    let limit = isTruncated ? CryptPasswordLimit.bcryptBytes : CryptPasswordLimit.bytes
    let isReadable = end > 0 && (isTruncated || end <= limit)
    let read = min(end, limit)
    let phrase = SecretBytes(count: read + 1) { span in
        for index in 0..<read { span[index] = password[index] }
    }
    let setting = hash + [0]
    precondition(setting.count <= Int(CRYPT_OUTPUT_SIZE))
    var isEqual: Bool?
    // Wiped afterwards: libcrypt wipes what it worked on too, but is not held to it.
    _ = SecretBytes(count: Int(gatehouse_crypt_data_bytes)) { work in
        phrase.withSpan { phrase in
            unsafe phrase.withUnsafeBytes { phrase in
                unsafe setting.withUnsafeBytes { settingBytes in
                    unsafe work.withUnsafeMutableBytes { work in
                        // SAFETY: both texts end with a NUL, and the work area has the size that is
                        // told. The output lies in it, in CRYPT_OUTPUT_SIZE bytes.
                        guard
                            let made = unsafe crypt_rn(
                                phrase.assumingMemoryBound(to: CChar.self).baseAddress,
                                settingBytes.assumingMemoryBound(to: CChar.self).baseAddress,
                                work.baseAddress, Int32(work.count))
                        else { return }
                        let computed = unsafe UnsafeRawBufferPointer(
                            start: made, count: setting.count
                        ).bindMemory(to: UInt8.self)
                        isEqual = unsafe constantTimeEqual(computed.span, setting.span)
                    }
                }
            }
        }
    }
    guard let isEqual else { throw .foreignHash }
    return isEqual && isReadable
}
