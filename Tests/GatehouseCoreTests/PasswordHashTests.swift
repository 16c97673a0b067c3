// Stored password hashes: one spelling for each, and bounds that a tampered row cannot pass.

import GatehouseCore
import Testing

private let salt = "AAECAwQFBgcICQoLDA0ODw"
private let output = "zCibVAF529as+ScNsZ6sL/H9D4iI00ajMEqLvRaQY2E"
private let golden = "$argon2id$v=19$m=12288,t=3,p=1$\(salt)$\(output)"

@Suite struct PasswordHashTests {
    // MARK: Reading and writing

    @Test(arguments: [
        golden,
        "$argon2id$v=19$m=65536,t=3,p=1$\(salt)$DRo8ZSPI8G5OCvnFFapbVEjP69aDjy1Sw9i2743cPC4",
        "$argon2id$v=19$m=19456,t=2,p=4$\(salt)$uYCdMyRgARQAJyz2cGb8KADxcM8GbALiICDB89FvtXY",
        "$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgc$m/OZrkbC1szJz9dtQJLKJRvYu4KO9/7y5A/xG2B9/0w",
    ])
    func `what libargon2 wrote is read, and written the same`(text: String) throws {
        let hash = try PasswordHash(text)
        #expect(hash.text == text)
    }

    @Test func `a hash holds what its text says`() throws {
        let hash = try PasswordHash(golden)
        #expect(hash.parameters.memoryKiB == 12_288)
        #expect(hash.parameters.iterations == 3)
        #expect(hash.parameters.lanes == 1)
        #expect(hash.salt == Array(0..<16))
    }

    @Test func `every output and salt survives being written and read`() throws {
        for fill in UInt8.min...UInt8.max {
            let output = (UInt8(0)..<32).map { fill &+ $0 &* 29 }
            for saltCount in 8...64 {
                let salt = (0..<UInt8(saltCount)).map { fill &* 31 &+ $0 }
                let hash = PasswordHash(
                    parameters: .standard, salt: salt, output: output.span)
                let read = try PasswordHash(hash.text)
                guard read.text == hash.text, read.salt == salt, matches(read, output) else {
                    Issue.record("\(fill), \(saltCount) bytes of salt")
                    return
                }
            }
        }
    }

    @Test func `only the same output matches`() throws {
        let output = [UInt8](0..<32)
        let hash = PasswordHash(parameters: .standard, salt: Array(0..<16), output: output.span)
        #expect(matches(hash, output))
        for bit in 0..<256 {
            var flipped = output
            flipped[bit / 8] ^= 1 << (bit % 8)
            #expect(!matches(hash, flipped))
        }
        #expect(!matches(hash, Array(output.dropLast())))
        #expect(!matches(hash, output + [0]))
    }

    // MARK: Tampered rows

    @Test(arguments: [
        // Other algorithms and versions.
        ("", PasswordHashRefusal.algorithm),
        ("$argon2i$v=19$m=65536,t=3,p=1$\(salt)$\(output)", .algorithm),
        ("$argon2d$v=19$m=65536,t=3,p=1$\(salt)$\(output)", .algorithm),
        ("$ARGON2ID$v=19$m=65536,t=3,p=1$\(salt)$\(output)", .algorithm),
        ("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", .algorithm),
        (" \(golden)", .algorithm),
        ("\u{0000}\(golden)", .algorithm),
        ("$argon2id$v=16$m=65536,t=3,p=1$\(salt)$\(output)", .version),
        ("$argon2id$v=20$m=65536,t=3,p=1$\(salt)$\(output)", .version),
        ("$argon2id$v=4294967315$m=65536,t=3,p=1$\(salt)$\(output)", .version),  // 2^32 + 19
        ("$argon2id$m=65536,t=3,p=1$\(salt)$\(output)", .malformed),
        // Parameters.
        ("$argon2id$v=19$m=4194304,t=3,p=1$\(salt)$\(output)", .parameters(.memory)),  // 4 GiB
        ("$argon2id$v=19$m=4294967296,t=3,p=1$\(salt)$\(output)", .parameters(.memory)),
        ("$argon2id$v=19$m=4295032832,t=3,p=1$\(salt)$\(output)", .parameters(.memory)),
        (
            "$argon2id$v=19$m=99999999999999999999999,t=3,p=1$\(salt)$\(output)",
            .parameters(.memory)
        ),
        ("$argon2id$v=19$m=8,t=3,p=1$\(salt)$\(output)", .parameters(.memory)),
        ("$argon2id$v=19$m=0,t=3,p=1$\(salt)$\(output)", .parameters(.memory)),
        ("$argon2id$v=19$m=65536,t=1000000,p=1$\(salt)$\(output)", .parameters(.iterations)),
        ("$argon2id$v=19$m=65536,t=0,p=1$\(salt)$\(output)", .parameters(.iterations)),
        ("$argon2id$v=19$m=65536,t=3,p=0$\(salt)$\(output)", .parameters(.lanes)),
        ("$argon2id$v=19$m=65536,t=3,p=16777216$\(salt)$\(output)", .parameters(.lanes)),
        // Spellings of numbers.
        ("$argon2id$v=19$m=065536,t=3,p=1$\(salt)$\(output)", .malformed),
        ("$argon2id$v=019$m=65536,t=3,p=1$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m=+65536,t=3,p=1$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m=-65536,t=3,p=1$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m= 65536,t=3,p=1$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m=0x10000,t=3,p=1$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m=,t=3,p=1$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m=\u{FF16}5536,t=3,p=1$\(salt)$\(output)", .malformed),
        // Order and number of parts.
        ("$argon2id$v=19$t=3,m=65536,p=1$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m=65536,t=3$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m=65536,t=3,p=1,keyid=AA$\(salt)$\(output)", .layers),
        ("$argon2id$v=19$m=65536,t=3,p=1,keyid=$\(salt)$\(output)", .layers),
        ("$argon2id$v=19$m=65536,t=3,p=1,keyid=AAAAAA$\(salt)$\(output)", .layers),  // id 0
        ("$argon2id$v=19$m=65536,t=3,p=1,keyid=AQIDBA==$\(salt)$\(output)", .layers),
        ("$argon2id$v=19$m=65536,t=3,p=1,keyid=AQIDBB$\(salt)$\(output)", .layers),  // bits over
        ("$argon2id$v=19$m=65536,t=3,p=1,keyid=AQIDBAU$\(salt)$\(output)", .layers),  // 5 bytes
        ("$argon2id$v=19$m=65536,t=3,p=1,keyid=AQIDBA,keyid=AQIDBA$\(salt)$\(output)", .layers),
        ("$argon2id$v=19$keyid=AQIDBA,m=65536,t=3,p=1$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m=65536,t=3,p=1,data=AQIDBA$\(salt)$\(output)", .malformed),
        ("$argon2id$v=19$m=65536,t=3,t=3,p=1$\(salt)$\(output)", .malformed),
        ("\(golden)$", .malformed),
        ("\(golden)$AA", .malformed),
        ("$argon2id$v=19$m=65536,t=3,p=1$\(salt)", .malformed),
        ("$argon2id$v=19$m=65536,t=3,p=1$$\(output)", .salt),
        // Base64.
        ("\(golden)=", .output),
        ("\(golden) ", .output),
        ("\(golden)\n", .output),
        ("\(golden)\u{0000}", .output),
        ("\(golden)A", .output),  // 33 bytes
        // Nine bytes, and a character that adds none.
        ("$argon2id$v=19$m=65536,t=3,p=1$AAAAAAAAAAAAA$\(output)", .salt),
        ("$argon2id$v=19$m=65536,t=3,p=1$AAECAwQFBgcICQoLDA0ODx$\(output)", .salt),  // bits over
        ("$argon2id$v=19$m=65536,t=3,p=1$AAECAwQFBgcICQoLDA0ODw==$\(output)", .salt),
        ("$argon2id$v=19$m=65536,t=3,p=1$AAECAwQFBgcICQoLDA0O_-$\(output)", .salt),  // base64url
        (
            "$argon2id$v=19$m=65536,t=3,p=1$\(salt)$zCibVAF529as+ScNsZ6sL/H9D4iI00ajMEqLvRaQY2F",
            .output
        ),  // bits over
        (
            "$argon2id$v=19$m=65536,t=3,p=1$\(salt)$zCibVAF529as-ScNsZ6sL_H9D4iI00ajMEqLvRaQY2E",
            .output
        ),  // base64url
        ("$argon2id$v=19$m=65536,t=3,p=1$\(salt)$", .output),
    ])
    func `a tampered row is refused`(text: String, refusal: PasswordHashRefusal) {
        #expect(throws: refusal) { try PasswordHash(text) }
    }

    @Test func `every truncation is refused`() {
        for count in 0..<golden.utf8.count {
            let truncated = String(golden.prefix(count))
            #expect((try? PasswordHash(truncated)) == nil, "\(truncated)")
        }
    }

    @Test func `no changed byte reads as the same hash`() throws {
        let bytes = Array(golden.utf8)
        for index in bytes.indices {
            for byte in UInt8(0)..<0x80 where byte != bytes[index] {
                var changed = bytes
                changed[index] = byte
                let text = String(decoding: changed, as: UTF8.self)
                // Another hash is one thing; a second spelling of this one must not exist.
                if let hash = try? PasswordHash(text), hash.text != text {
                    Issue.record("\(text) reads as \(hash.text)")
                }
            }
        }
    }

    @Test func `a row of a megabyte is refused`() {
        let digits = String(repeating: "1", count: 1 << 20)
        #expect(throws: PasswordHashRefusal.parameters(.memory)) {
            try PasswordHash("$argon2id$v=19$m=\(digits),t=3,p=1$\(salt)$\(output)")
        }
        let letters = String(repeating: "A", count: 1 << 20)
        #expect(throws: PasswordHashRefusal.salt) {
            try PasswordHash("$argon2id$v=19$m=65536,t=3,p=1$\(letters)$\(output)")
        }
        #expect(throws: PasswordHashRefusal.output) {
            try PasswordHash("$argon2id$v=19$m=65536,t=3,p=1$\(salt)$\(letters)")
        }
    }

    // MARK: Limits

    @Test func `salts of 8 to 64 bytes are read`() throws {
        func text(saltCount: Int) -> String {
            // Three bytes are four characters "A", one more byte two and two more three.
            let characters = (saltCount * 8 + 5) / 6
            return "$argon2id$v=19$m=65536,t=3,p=1$"
                + String(repeating: "A", count: characters) + "$\(output)"
        }
        #expect(try PasswordHash(text(saltCount: 8)).salt.count == 8)
        #expect(try PasswordHash(text(saltCount: 64)).salt.count == 64)
        #expect(throws: PasswordHashRefusal.salt) { try PasswordHash(text(saltCount: 7)) }
        #expect(throws: PasswordHashRefusal.salt) { try PasswordHash(text(saltCount: 65)) }
    }

    @Test func `outputs have 32 bytes exactly`() {
        let shorter = String(repeating: "A", count: 42)  // 31 bytes and 4 bits over
        #expect(throws: PasswordHashRefusal.output) {
            try PasswordHash("$argon2id$v=19$m=65536,t=3,p=1$\(salt)$\(shorter)")
        }
        let longer = String(repeating: "A", count: 44)  // 33 bytes
        #expect(throws: PasswordHashRefusal.output) {
            try PasswordHash("$argon2id$v=19$m=65536,t=3,p=1$\(salt)$\(longer)")
        }
        let exact = String(repeating: "A", count: 43)
        #expect(throws: Never.self) {
            try PasswordHash("$argon2id$v=19$m=65536,t=3,p=1$\(salt)$\(exact)")
        }
    }

    @Test(arguments: [
        (47_104, 1), (19_456, 2), (12_288, 3), (12_288, 4), (12_288, 16),
    ])
    func `the memory floor falls with the iterations`(memoryKiB: Int, iterations: Int) throws {
        #expect(Argon2Parameters.minimumMemoryKiB(iterations: iterations) == memoryKiB)
        #expect(throws: Never.self) {
            try Argon2Parameters(memoryKiB: memoryKiB, iterations: iterations, lanes: 1)
        }
        #expect(throws: Argon2ParametersRefusal.memory) {
            try Argon2Parameters(memoryKiB: memoryKiB - 1, iterations: iterations, lanes: 1)
        }
    }

    @Test func `each upper bound is the last accepted value`() {
        #expect(Argon2Parameters.maximumMemoryKiB == 256 * 1024)
        #expect(Argon2Parameters.maximumIterations == 16)
        #expect(Argon2Parameters.maximumLanes == 16)
        #expect(throws: Never.self) {
            try Argon2Parameters(memoryKiB: 262_144, iterations: 16, lanes: 16)
        }
        #expect(throws: Argon2ParametersRefusal.memory) {
            try Argon2Parameters(memoryKiB: 262_145, iterations: 16, lanes: 16)
        }
        #expect(throws: Argon2ParametersRefusal.iterations) {
            try Argon2Parameters(memoryKiB: 262_144, iterations: 17, lanes: 16)
        }
        #expect(throws: Argon2ParametersRefusal.lanes) {
            try Argon2Parameters(memoryKiB: 262_144, iterations: 16, lanes: 17)
        }
    }

    @Test(arguments: [Int.min, -1, 0])
    func `no parameter is zero or negative`(value: Int) {
        #expect(throws: Argon2ParametersRefusal.memory) {
            try Argon2Parameters(memoryKiB: value, iterations: 3, lanes: 1)
        }
        #expect(throws: Argon2ParametersRefusal.iterations) {
            try Argon2Parameters(memoryKiB: 65_536, iterations: value, lanes: 1)
        }
        #expect(throws: Argon2ParametersRefusal.lanes) {
            try Argon2Parameters(memoryKiB: 65_536, iterations: 3, lanes: value)
        }
    }

    @Test func `the standard parameters are within the bounds`() throws {
        let standard = Argon2Parameters.standard
        #expect(
            try Argon2Parameters(memoryKiB: 65_536, iterations: 3, lanes: 1) == standard)
    }

    // MARK: Policy

    @Test func `a hash is below policy by memory, iterations or salt, and not by lanes`() throws {
        func hash(_ memoryKiB: Int, _ iterations: Int, _ lanes: Int, saltBytes: Int) throws
            -> PasswordHash
        {
            PasswordHash(
                parameters: try Argon2Parameters(
                    memoryKiB: memoryKiB, iterations: iterations, lanes: lanes),
                salt: [UInt8](repeating: 1, count: saltBytes),
                output: [UInt8](repeating: 2, count: 32).span)
        }
        let policy = Argon2Parameters.standard
        #expect(try !hash(65_536, 3, 1, saltBytes: 16).isBelow(policy, pepper: nil))
        #expect(try !hash(65_537, 4, 1, saltBytes: 17).isBelow(policy, pepper: nil))
        #expect(try !hash(65_536, 3, 4, saltBytes: 16).isBelow(policy, pepper: nil))
        #expect(try hash(65_535, 3, 1, saltBytes: 16).isBelow(policy, pepper: nil))
        #expect(try hash(65_536, 2, 1, saltBytes: 16).isBelow(policy, pepper: nil))
        #expect(try hash(65_536, 3, 1, saltBytes: 15).isBelow(policy, pepper: nil))
    }

    // MARK: Printing

    @Test func `printing a hash shows neither salt nor output`() throws {
        let hash = try PasswordHash(golden)
        var dumped = ""
        dump(hash, to: &dumped)
        for printed in ["\(hash)", String(reflecting: hash), dumped, "\([hash])", "\(hash as Any)"]
        {
            #expect(printed.contains("12288"))
            #expect(!printed.contains("salt") && !printed.contains("output"), "\(printed)")
            #expect(!printed.contains("AAEC") && !printed.contains("zCib"), "\(printed)")
        }
    }
}

private func matches(_ hash: PasswordHash, _ output: [UInt8]) -> Bool {
    hash.isOutput(output.span)
}
