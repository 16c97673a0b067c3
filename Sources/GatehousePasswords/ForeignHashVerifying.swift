// Verifies passwords against the hashes of other systems.

import GatehouseCore

/// The password is verified as it would be hashed here, in NFC: what another system hashed in another
/// form of Unicode does not match. What crypt(3) reads no further, at a NUL or after bcrypt's 72 bytes,
/// is not looked at here either.
extension ForeignHash: VerifiableHash {
    package var usesArena: Bool {
        if case .argon2 = scheme { true } else { false }
    }

    /// Whether crypt(3) reads every byte of it.
    func reads(all password: Span<UInt8>) -> Bool {
        guard case .crypt(_, let isTruncated) = scheme else { return true }
        for index in password.indices where password[index] == 0 { return false }
        return !isTruncated || password.count <= Self.bcryptBytes
    }

    /// What bcrypt reads of a password.
    private static var bcryptBytes: Int { 72 }

    package func matches(_ password: Span<UInt8>) throws(PasswordHasherError) -> Bool {
        if case .crypt(_, let isTruncated) = scheme {
            return try cryptMatches(password, hash: Array(text.utf8), isTruncated: isTruncated)
        }
        return try computed(of: password).withSpan { constantTimeEqual(output.span, $0) }
    }

    /// What `password` gives where we compute the output ourselves.
    private func computed(
        of password: Span<UInt8>
    ) throws(PasswordHasherError) -> SecretBytes {
        do {
            switch scheme {
            case .argon2(let variant, let memoryKiB, let iterations, let lanes):
                return try argon2id(
                    password: password, salt: salt.span, memoryKiB: memoryKiB,
                    iterations: iterations, lanes: lanes, outputBytes: output.count,
                    variant: variant)
            case .scrypt(let logCost, let blockSize, let parallelism):
                return try scrypt(
                    password: password, salt: salt.span, logCost: logCost, blockSize: blockSize,
                    parallelism: parallelism, byteCount: output.count)
            case .pbkdf2(let digest, let iterations):
                return try pbkdf2(
                    password: password, salt: salt.span, iterations: iterations, digest: digest,
                    byteCount: output.count)
            case .crypt: preconditionFailure("libcrypt computes and compares these")
            }
        } catch let failure as Argon2Failure { throw .argon2(code: failure.code) } catch {
            throw .foreignHash
        }
    }
}
