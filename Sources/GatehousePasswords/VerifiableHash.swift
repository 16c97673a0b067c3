// What a hashing thread can verify a password against.

import GatehouseCore

/// A stored hash, of whatever scheme, that a password can be verified against on a hashing thread.
package protocol VerifiableHash: Sendable {
    /// The memory that verifying takes, in KiB: what it is charged of the hashing threads' budget.
    var memoryKiB: Int { get }
    /// Whether that memory is Argon2's, which comes from the thread's arena; false, unless it is said,
    /// for memory that is taken beside the arenas.
    var usesArena: Bool { get }
    /// Whether `password`, as UTF-8 in NFC, is the one that the hash was made of; compares in constant
    /// time. Takes as long as the scheme does: it runs on a hashing thread.
    func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool
}

extension VerifiableHash {
    package var usesArena: Bool { false }
}

/// Argon2id with the output's length that we store, on the calling thread.
func argon2idOutput(
    of password: Span<UInt8>, salt: [UInt8], parameters: Argon2Parameters
) throws(PasswordHasherError) -> SecretBytes {
    do throws(Argon2Failure) {
        return try argon2id(
            password: password, salt: salt.span, memoryKiB: parameters.memoryKiB,
            iterations: parameters.iterations, lanes: parameters.lanes,
            outputBytes: PasswordHash.outputBytes)
    } catch { throw .argon2(code: error.code) }
}
