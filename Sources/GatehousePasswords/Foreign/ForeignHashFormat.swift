// The spellings of other systems' hashes, one reader each.

import GatehouseCore

/// One spelling: what it begins with, and what reads the rest.
struct ForeignHashFormat: Sendable {
    typealias Content = (scheme: ForeignHash.Scheme, salt: [UInt8], output: [UInt8])
    /// What stands between the `$` signs.
    typealias Fields = [ArraySlice<UInt8>]

    let name: String
    let prefix: String
    let read: @Sendable (Fields) throws(ForeignHashRefusal) -> Content

    static let all = [
        ForeignHashFormat(name: "argon2id", prefix: "$argon2id$") {
            fields throws(ForeignHashRefusal) in try readArgon2(.argon2id, fields)
        },
        ForeignHashFormat(name: "argon2i", prefix: "$argon2i$") {
            fields throws(ForeignHashRefusal) in try readArgon2(.argon2i, fields)
        },
        ForeignHashFormat(name: "bcrypt", prefix: "$2a$", read: readBcrypt),
        ForeignHashFormat(name: "bcrypt", prefix: "$2b$", read: readBcrypt),
        ForeignHashFormat(name: "bcrypt", prefix: "$2y$", read: readBcrypt),
        ForeignHashFormat(name: "scrypt", prefix: "$scrypt$", read: readScrypt),
        ForeignHashFormat(name: "pbkdf2-sha256", prefix: "$pbkdf2-sha256$") {
            fields throws(ForeignHashRefusal) in try readPBKDF2(.sha256, fields)
        },
        ForeignHashFormat(name: "pbkdf2-sha512", prefix: "$pbkdf2-sha512$") {
            fields throws(ForeignHashRefusal) in try readPBKDF2(.sha512, fields)
        },
        ForeignHashFormat(name: "pbkdf2-sha256", prefix: "pbkdf2_sha256$", read: readDjangoPBKDF2),
        ForeignHashFormat(name: "sha512crypt", prefix: "$6$", read: readSHA512Crypt),
        ForeignHashFormat(name: "yescrypt", prefix: "$y$", read: readYescrypt),
    ]

    /// `v=19$m=65536,t=3,p=4$salt$output`, as our own (``PasswordHash``).
    private static func readArgon2(
        _ variant: Argon2Variant, _ fields: Fields
    ) throws(ForeignHashRefusal) -> Content {
        guard fields.count == 4 else { throw .malformed }
        guard try HashField.number(fields[0], after: "v=") == 19 else { throw .version }
        let cost = try HashField.numbers(fields[1], after: ["m=", "t=", "p="])
        let (memoryKiB, iterations, lanes) = (cost[0], cost[1], cost[2])
        guard ForeignHash.acceptedMemoryKiB.contains(memoryKiB) else { throw .memory }
        guard (1...ForeignHash.maximumArgon2Iterations).contains(iterations),
            memoryKiB * iterations <= ForeignHash.maximumArgon2PassesKiB,
            (1...Argon2Parameters.maximumLanes).contains(lanes)
        else { throw .cost }
        return (
            .argon2(variant, memoryKiB: memoryKiB, iterations: iterations, lanes: lanes),
            try HashField.salt(fields[2]), try HashField.output(fields[3])
        )
    }

    /// `12$` and 53 digits of bcrypt's own base64: 16 bytes of salt, 23 of output.
    private static func readBcrypt(_ fields: Fields) throws(ForeignHashRefusal) -> Content {
        guard fields.count == 2, fields[0].count == 2 else { throw .malformed }
        // Two digits, so that one may be a leading zero.
        let digits = fields[0].first == UInt8(ascii: "0") ? fields[0].dropFirst() : fields[0]
        guard ForeignHash.acceptedBcryptCost.contains(try HashField.number(digits)) else {
            throw .cost
        }
        guard fields[1].count == 53 else { throw .output }
        guard HashField.isBcrypt64(fields[1].prefix(22)) else { throw .salt }
        guard HashField.isBcrypt64(fields[1].dropFirst(22)) else { throw .output }
        return (.crypt(memoryKiB: cryptWorkKiB, isTruncated: true), [], [])
    }

    /// What libcrypt works in beside the scheme's own memory.
    private static let cryptWorkKiB = 32

    /// `ln=16,r=8,p=1$salt$output`.
    private static func readScrypt(_ fields: Fields) throws(ForeignHashRefusal) -> Content {
        guard fields.count == 3 else { throw .malformed }
        let cost = try HashField.numbers(fields[0], after: ["ln=", "r=", "p="])
        let (logCost, blockSize, parallelism) = (cost[0], cost[1], cost[2])
        let memoryKiB = try scryptKiB(logCost: logCost, blockSize: blockSize)
        guard parallelism >= 1, parallelism <= ForeignHash.maximumScryptKiB / memoryKiB else {
            throw .cost
        }
        return (
            .scrypt(logCost: logCost, blockSize: blockSize, parallelism: parallelism),
            try HashField.salt(fields[1]), try HashField.output(fields[2])
        )
    }

    private static func scryptKiB(
        logCost: Int, blockSize: Int
    ) throws(ForeignHashRefusal) -> Int {
        guard (1...ForeignHash.maximumScryptBlockSize).contains(blockSize) else { throw .cost }
        // N is below 2^(16·r) (RFC 7914 section 6), and above 2^21 whatever r is too dear.
        guard (1...21).contains(logCost), logCost < 16 * blockSize else { throw .memory }
        let memoryKiB = ForeignHash.scryptKiB(logCost: logCost, blockSize: blockSize)
        guard ForeignHash.acceptedMemoryKiB.contains(memoryKiB) else { throw .memory }
        return memoryKiB
    }

    /// passlib's `29000$salt$output` with `.` for `+`, or PHC's `i=600000,l=32$salt$output`.
    private static func readPBKDF2(
        _ digest: PBKDF2Digest, _ fields: Fields
    ) throws(ForeignHashRefusal) -> Content {
        guard fields.count == 3 else { throw .malformed }
        let isPHC = fields[0].first == UInt8(ascii: "i")
        let cost =
            isPHC
            ? try HashField.numbers(fields[0], after: ["i=", "l="])
            : [try HashField.number(fields[0])]
        guard ForeignHash.acceptedPBKDF2Iterations.contains(cost[0]) else { throw .cost }
        let plus = UInt8(ascii: isPHC ? "+" : ".")
        let salt = try HashField.salt(fields[1], plus: plus)
        let output = try HashField.output(fields[2], plus: plus)
        // More than one block of HMAC would cost us twice, and an attacker nothing.
        guard output.count <= digest.byteCount, !isPHC || cost[1] == output.count else {
            throw .output
        }
        return (.pbkdf2(digest, iterations: cost[0]), salt, output)
    }

    /// `600000$salt$output`: the salt's characters are its bytes, the output is padded base64.
    private static func readDjangoPBKDF2(_ fields: Fields) throws(ForeignHashRefusal) -> Content {
        guard fields.count == 3 else { throw .malformed }
        let iterations = try HashField.number(fields[0])
        guard ForeignHash.acceptedPBKDF2Iterations.contains(iterations) else { throw .cost }
        guard ForeignHash.acceptedSaltBytes.contains(fields[1].count),
            fields[1].allSatisfy({ (0x21...0x7E).contains($0) })
        else { throw .salt }
        guard fields[2].last == UInt8(ascii: "=") else { throw .output }
        let output = try HashField.output(fields[2].dropLast())
        guard output.count == PBKDF2Digest.sha256.byteCount else { throw .output }
        return (.pbkdf2(.sha256, iterations: iterations), Array(fields[1]), output)
    }

    /// `rounds=10000$salt$output`, without the rounds for 5000 of them.
    private static func readSHA512Crypt(_ fields: Fields) throws(ForeignHashRefusal) -> Content {
        guard fields.count == 2 || fields.count == 3 else { throw .malformed }
        if fields.count == 3 {
            let rounds = try HashField.number(fields[0], after: "rounds=")
            guard ForeignHash.acceptedSHA512CryptRounds.contains(rounds) else { throw .cost }
        }
        let salt = fields[fields.count - 2]
        // Text, of which crypt(3) reads sixteen characters.
        guard (8...16).contains(salt.count),
            salt.allSatisfy({ HashField.crypt64Value(of: $0) != nil })
        else { throw .salt }
        guard fields[fields.count - 1].count == 86, HashField.isCrypt64(fields[fields.count - 1])
        else { throw .output }
        return (.crypt(memoryKiB: cryptWorkKiB, isTruncated: false), [], [])
    }

    /// `j9T$salt$output`: the flavour that crypt(3) writes, the logarithm of N, and r.
    private static func readYescrypt(_ fields: Fields) throws(ForeignHashRefusal) -> Content {
        guard fields.count == 3, fields[0].count == 3, fields[0].first == UInt8(ascii: "j") else {
            throw .malformed
        }
        let values = fields[0].compactMap(HashField.crypt64Value)
        // One digit each; from 48 on they would take more digits. Both count from one.
        guard values.count == 3, values[1] < 48, values[2] < 48 else { throw .malformed }
        let memoryKiB = try scryptKiB(logCost: values[1] + 1, blockSize: values[2] + 1)
        guard (8...64).contains(fields[1].count * 6 / 8), HashField.isCrypt64(fields[1]) else {
            throw .salt
        }
        guard fields[2].count == 43, HashField.isCrypt64(fields[2]) else { throw .output }
        return (.crypt(memoryKiB: memoryKiB, isTruncated: false), [], [])
    }
}
