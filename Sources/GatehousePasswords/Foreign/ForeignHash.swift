// Password hashes that other systems made: one value, its limits, and why text is not one.

import GatehouseCore

package enum Argon2Variant: Sendable, Equatable { case argon2i, argon2id }

/// A password hash that another system made, with a cost that we are ready to pay.
///
/// | begins with | scheme | written by |
/// |---|---|---|
/// | `$argon2id$v=19$`, `$argon2i$v=19$` | Argon2 (RFC 9106), PHC string | libargon2, PHP, passlib |
/// | `$2a$`, `$2b$`, `$2y$` | bcrypt | OpenBSD, PHP, Apache's htpasswd |
/// | `$scrypt$ln=` | scrypt (RFC 7914), PHC string | passlib |
/// | `$pbkdf2-sha256$`, `$pbkdf2-sha512$` | PBKDF2 (RFC 8018), `rounds$` and base64 with `.` for `+`, or PHC's `i=,l=$` | passlib; PHC |
/// | `pbkdf2_sha256$` | PBKDF2, the salt as text and padded base64 | Django |
/// | `$6$` | sha512crypt | crypt(3) |
/// | `$y$` | yescrypt | crypt(3) of Debian, Fedora and others |
///
/// Text that was accepted has one spelling, and is what is stored. Anyone who has it can try
/// passwords against it, so printing one shows its scheme only.
package struct ForeignHash: Sendable {
    /// Longer than any hash within the bounds below.
    package static let maximumBytes = 512

    /// Argon2, scrypt and yescrypt: half a mebibyte was the smallest default that a library shipped
    /// (argon2-cffi until 2018); the most is what we pay for hashes of our own.
    package static let acceptedMemoryKiB = 512...Argon2Parameters.maximumMemoryKiB

    /// Argon2: more passes than we take of our own hashes if they go over less memory.
    package static let maximumArgon2Iterations = 64
    package static let maximumArgon2PassesKiB =
        Argon2Parameters.maximumMemoryKiB * Argon2Parameters.maximumIterations

    /// scrypt: memory times p. The dearest takes about a second of a thread.
    package static let maximumScryptKiB = 2 * Argon2Parameters.maximumMemoryKiB
    package static let maximumScryptBlockSize = 32

    /// PBKDF2: from RFC 8018's least (section 4.2) to eight times what OWASP asks for SHA-256, which
    /// takes about two seconds with SHA-512.
    package static let acceptedPBKDF2Iterations = 1000...5_000_000

    /// bcrypt: 2^4 is the algorithm's least; 2^15 takes about a second and a half.
    package static let acceptedBcryptCost = 4...15

    /// sha512crypt: 1000 is the scheme's least; the most takes half a second with a usual password,
    /// and three with the longest that crypt(3) reads.
    package static let acceptedSHA512CryptRounds = 1000...2_000_000

    /// The shortest has 64 bits or, as letters, digits and two signs, 48.
    package static let acceptedSaltBytes = PasswordHash.acceptedSaltBytes

    /// Short of 128 bits, a wrong password could match.
    package static let acceptedOutputBytes = 16...64

    enum Scheme: Sendable, Equatable {
        case argon2(Argon2Variant, memoryKiB: Int, iterations: Int, lanes: Int)
        case scrypt(logCost: Int, blockSize: Int, parallelism: Int)
        case pbkdf2(PBKDF2Digest, iterations: Int)
        /// What libcrypt verifies; the password is cut off for bcrypt.
        case crypt(memoryKiB: Int, isTruncated: Bool)
    }

    /// The hash as it was given, all ASCII.
    package let text: String
    let scheme: Scheme
    let schemeName: String
    /// Both empty for what libcrypt verifies.
    let salt: [UInt8]
    let output: [UInt8]

    /// Reads a hash as another system wrote it.
    package init(_ text: [UInt8]) throws(ForeignHashRefusal) {
        guard text.count <= Self.maximumBytes else { throw .tooLong }
        guard let format = ForeignHashFormat.all.first(where: { text.starts(with: $0.prefix.utf8) })
        else { throw .scheme }
        let fields = text.dropFirst(format.prefix.utf8.count).split(
            separator: UInt8(ascii: "$"), omittingEmptySubsequences: false)
        let content = try format.read(fields)
        self.text = String(decoding: text, as: UTF8.self)
        schemeName = format.name
        scheme = content.scheme
        salt = content.salt
        output = content.output
    }

    /// The memory that verifying takes, in KiB; a few more are not worth counting.
    package var memoryKiB: Int {
        switch scheme {
        case .argon2(_, let memoryKiB, _, _), .crypt(let memoryKiB, _): memoryKiB
        case .scrypt(let logCost, let blockSize, _):
            Self.scryptKiB(logCost: logCost, blockSize: blockSize)
        case .pbkdf2: 1
        }
    }

    /// 128·r·N bytes, for scrypt and yescrypt.
    static func scryptKiB(logCost: Int, blockSize: Int) -> Int { blockSize << logCost / 8 }
}

extension ForeignHash: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "ForeignHash(\(schemeName))" }

    package var debugDescription: String { description }

    package var customMirror: Mirror { Mirror(self, children: ["scheme": schemeName]) }
}

/// Why text is not a password hash that we take.
package enum ForeignHashRefusal: Error, Hashable, CaseIterable, Sendable {
    case tooLong
    /// None of those that we know.
    case scheme
    /// Argon2 of another version than 1.3.
    case version
    case memory
    /// Iterations, rounds, lanes or the like.
    case cost
    /// Not canonical, or too short or too long.
    case salt
    /// The same for the hash itself.
    case output
    /// Anything else that is not the scheme's spelling.
    case malformed

    /// The reason in words, for an operator.
    package var message: String {
        switch self {
        case .tooLong: "The password hash has more than \(ForeignHash.maximumBytes) bytes."
        case .scheme: "The password hash is of no scheme that can be imported."
        case .version: "The password hash is of another version of Argon2 than 1.3 (v=19)."
        case .memory:
            "The password hash takes less than \(ForeignHash.acceptedMemoryKiB.lowerBound) KiB of "
                + "memory, or more than \(ForeignHash.acceptedMemoryKiB.upperBound) KiB."
        case .cost: "The password hash takes less or more work than its scheme's bounds allow."
        case .salt: "The password hash's salt is too short, too long or not canonical."
        case .output: "The password hash is cut off, too long or not canonical."
        case .malformed: "The password hash is not spelled as its scheme has it."
        }
    }
}
