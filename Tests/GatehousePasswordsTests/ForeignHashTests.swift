// Other systems' hashes: published vectors and what independent tools wrote, and every refusal.

import GatehouseCore
import GatehousePasswords
import GatehouseTestSupport
import Testing

private func foreign(_ text: String) throws(ForeignHashRefusal) -> ForeignHash {
    try ForeignHash(Array(text.utf8))
}

private func matches(_ hash: ForeignHash, _ password: [UInt8]) throws -> Bool {
    try hash.matches(password.span)
}

private func refusal(of text: String) -> ForeignHashRefusal? {
    do throws(ForeignHashRefusal) {
        _ = try foreign(text)
        return nil
    } catch { return error }
}

@Suite struct ForeignHashTests {
    private static let vectors = Vector.read("foreign-hashes.txt")

    @Test(arguments: vectors)
    func `the password matches, and one that differs in its first byte does not`(
        vector: Vector
    ) throws {
        let hash = try foreign(vector.text("hash"))
        var password = Array(vector.text("password").utf8)
        #expect(hash.text == vector.text("hash"))
        #expect(try matches(hash, password))
        password[0] ^= 1
        #expect(try !matches(hash, password))
    }

    @Test(arguments: vectors)
    func `every part of a hash counts`(vector: Vector) throws {
        // The last digit but one: the last has fewer values.
        var text = Array(vector.text("hash").utf8)
        let index = text.count - 3
        text[index] = text[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
        let hash = try ForeignHash(text)
        #expect(try !matches(hash, Array(vector.text("password").utf8)))
    }

    @Test(arguments: vectors)
    func `a hash that is cut off or longer is refused`(vector: Vector) {
        let text = vector.text("hash")
        let isFixed = ["$2", "$6$", "$y$", "pbkdf2_"].contains { text.hasPrefix($0) }
        for length in 0..<text.utf8.count where refusal(of: String(text.prefix(length))) == nil {
            // Where outputs differ in length, a shorter one is a hash too, down to 16 bytes.
            let output = text.prefix(length).split(separator: "$").last
            #expect(!isFixed && output?.count ?? 0 >= 22)
        }
        #expect(refusal(of: text + "$") != nil)
        #expect(refusal(of: text + "=") != nil)
        #expect(refusal(of: text + "\n") != nil)
        #expect(refusal(of: " " + text) == .scheme)
    }

    @Test func `bcrypt reads 72 bytes, as where it was made`() throws {
        // By Python's bcrypt, of 72 times x.
        let hash = try foreign("$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i")
        let x = UInt8(ascii: "x")
        #expect(try matches(hash, [UInt8](repeating: x, count: 72)))
        #expect(try matches(hash, [UInt8](repeating: x, count: 72) + [UInt8(ascii: "y")]))
        #expect(try matches(hash, [UInt8](repeating: x, count: Password.maximumBytes)))
        #expect(try !matches(hash, [UInt8](repeating: x, count: 71)))
        #expect(try !matches(hash, [UInt8](repeating: x, count: 71) + [UInt8(ascii: "y")]))
    }

    @Test func `sha512crypt reads 511 bytes, and a longer password does not match`() throws {
        // By Python's crypt, of 511 times x.
        let hash = try foreign(
            "$6$rounds=1000$saltsalt$nC35Rjw1qm7lwdxVgg3IU9qZMEaqucKnRYCtC7UyfTbgqAQUZjWQxjc2xeWwMzOTjO"
                + "EqyGG.T4MAGPm1ptmEK/")
        #expect(try matches(hash, [UInt8](repeating: UInt8(ascii: "x"), count: 511)))
        #expect(try !matches(hash, [UInt8](repeating: UInt8(ascii: "x"), count: 512)))
    }

    @Test func `crypt(3) stops at a NUL, and nothing matches by that alone`() throws {
        let hash = try foreign("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW")
        #expect(try matches(hash, Array("U*U\0more".utf8)))
        #expect(try !matches(hash, Array("U*\0U".utf8)))
        // By Python's bcrypt, of the empty password, which no one has here.
        let empty = try foreign("$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq")
        #expect(try !matches(empty, Array("\0anything".utf8)))
    }

    @Test func `Argon2 counts a NUL, and HMAC none at the end`() throws {
        let argon2 = try foreign(
            "$argon2id$v=19$m=512,t=2,p=2$AAECAwQFBgcICQoLDA0ODw$duawEJoJFH2JnwDWfNdiDQ")
        let password = Array("correct horse battery staple".utf8)
        #expect(try matches(argon2, password))
        #expect(try !matches(argon2, password + [0]))
        // HMAC fills its key up with zeros (RFC 2104), so that PBKDF2 and scrypt can't tell.
        let pbkdf2 = try foreign(
            "$pbkdf2-sha256$1212$4vjV83LKPjQzk31VI4E0Vw$hsYF68OiOUPdDZ1Fg.fJPeq1h/gXXY7acBp9/6c.tmQ"
        )
        #expect(try matches(pbkdf2, Array("password\0".utf8)))
        #expect(try !matches(pbkdf2, Array("password\0more".utf8)))
    }

    @Test func `a hash verifies on a hashing thread`() async throws {
        let hasher = PasswordHasher(threads: 1, maximumQueued: 0)
        let text = "$2b$04$abcdefghijklmnopqrstuunQx4guVkMREj3JvHaE/1abMyAPOZ95S"
        // The letters as they may be typed, and as they were hashed: NFD and NFC.
        let typed = Array("gro\u{0308}ßer als 15 Zeichen".utf8)
        let stored = try StoredPassword(text)
        #expect(
            try await hasher.verify(
                Password(typed.span), against: PepperedPassword(stored, peppers: .none)))
        #expect(try !matches(try foreign(text), typed))
        await hasher.shutdown()
    }

    @Test func `memory is what the scheme takes`() throws {
        let salt = "$AAECAwQFBgcICQoLDA0ODw$duawEJoJFH2JnwDWfNdiDQ"
        #expect(try foreign("$argon2id$v=19$m=700,t=2,p=2" + salt).memoryKiB == 700)
        #expect(try foreign("$scrypt$ln=14,r=8,p=1" + salt).memoryKiB == 16_384)
        #expect(
            try foreign("$y$j9T$LdJMENpBABJJ3hIHjB1Bi.$cDrxvtkkHo7nIlMVuiSyw4kuoenILn1wH2UF040oTa0")
                .memoryKiB == 16_384)
    }

    @Test func `printing a hash shows its scheme only`() throws {
        for vector in Self.vectors {
            let hash = try foreign(vector.text("hash"))
            let secret = vector.text("hash").suffix(20)
            var dumped = ""
            dump(hash, to: &dumped)
            for text in ["\(hash)", String(reflecting: hash), dumped] {
                #expect(!text.contains(secret))
                #expect(text.contains("ForeignHash"))
            }
        }
    }

    // MARK: Refusals

    private static let salt = "$AAECAwQFBgcICQoLDA0ODw"
    private static let output = "$duawEJoJFH2JnwDWfNdiDQ"
    private static let sha512cryptOutput =
        "$nC35Rjw1qm7lwdxVgg3IU9qZMEaqucKnRYCtC7UyfTbgqAQUZjWQxjc2xeWwMzOTjOEqyGG.T4MAGPm1ptmEK/"
    private static let yescryptEnd =
        "$LdJMENpBABJJ3hIHjB1Bi.$cDrxvtkkHo7nIlMVuiSyw4kuoenILn1wH2UF040oTa0"

    /// What is at a bound is taken; one more or less is not.
    @Test(
        arguments: [
            ("$argon2id$v=19$m=512,t=1,p=1" + salt + output, nil),
            ("$argon2id$v=19$m=511,t=1,p=1" + salt + output, .memory),
            ("$argon2i$v=19$m=262144,t=16,p=16" + salt + output, nil),
            ("$argon2i$v=19$m=262145,t=1,p=1" + salt + output, .memory),
            ("$argon2i$v=19$m=4194304,t=1,p=1" + salt + output, .memory),
            ("$argon2id$v=19$m=99999999999999999999,t=1,p=1" + salt + output, .memory),
            ("$argon2id$v=19$m=262144,t=17,p=1" + salt + output, .cost),
            ("$argon2id$v=19$m=65536,t=64,p=1" + salt + output, nil),
            ("$argon2id$v=19$m=65537,t=64,p=1" + salt + output, .cost),
            ("$argon2id$v=19$m=512,t=65,p=1" + salt + output, .cost),
            ("$argon2id$v=19$m=512,t=1000000,p=1" + salt + output, .cost),
            ("$argon2id$v=19$m=512,t=0,p=1" + salt + output, .cost),
            ("$argon2id$v=19$m=512,t=1,p=0" + salt + output, .cost),
            ("$argon2id$v=19$m=512,t=1,p=17" + salt + output, .cost),
            ("$argon2id$v=16$m=512,t=1,p=1" + salt + output, .version),
            ("$argon2id$m=512,t=1,p=1" + salt + output, .malformed),
            ("$argon2id$v=19$t=1,m=512,p=1" + salt + output, .malformed),
            ("$argon2id$v=19$m=512,t=1,p=1,keyid=aa" + salt + output, .malformed),
            ("$argon2id$v=19$m=0512,t=1,p=1" + salt + output, .malformed),
            ("$argon2id$v=19$m=,t=1,p=1" + salt + output, .malformed),
            ("$argon2id$v=19$m=+512,t=1,p=1" + salt + output, .malformed),
            ("$argon2d$v=19$m=512,t=1,p=1" + salt + output, .scheme),
            // Bits over, padding, a digit that adds no byte, another alphabet.
            ("$argon2id$v=19$m=512,t=1,p=1" + salt + "$duawEJoJFH2JnwDWfNdiDR", .output),
            ("$argon2id$v=19$m=512,t=1,p=1$AAECAwQFBgcICQoLDA0ODx" + output, .salt),
            ("$argon2id$v=19$m=512,t=1,p=1" + salt + output + "==", .output),
            ("$argon2id$v=19$m=512,t=1,p=1" + salt + output + "AAA", .output),
            ("$argon2id$v=19$m=512,t=1,p=1" + salt + "$duawEJoJFH2JnwDWfNdi-Q", .output),
            // 7 and 8, 64 and 65 bytes of salt; 15 and 16, 64 and 65 of output.
            ("$argon2id$v=19$m=512,t=1,p=1$AAAAAAAAAA" + output, .salt),
            ("$argon2id$v=19$m=512,t=1,p=1$AAAAAAAAAAA" + output, nil),
            ("$argon2id$v=19$m=512,t=1,p=1$" + String(repeating: "A", count: 86) + output, nil),
            ("$argon2id$v=19$m=512,t=1,p=1$" + String(repeating: "A", count: 87) + output, .salt),
            ("$argon2id$v=19$m=512,t=1,p=1" + salt + "$AAAAAAAAAAAAAAAAAAAA", .output),
            ("$argon2id$v=19$m=512,t=1,p=1" + salt + "$" + String(repeating: "A", count: 86), nil),
            (
                "$argon2id$v=19$m=512,t=1,p=1" + salt + "$" + String(repeating: "A", count: 87),
                .output
            ),
        ] as [(String, ForeignHashRefusal?)])
    func `Argon2 is bounded on both sides`(text: String, expected: ForeignHashRefusal?) {
        #expect(refusal(of: text) == expected)
    }

    @Test(
        arguments: [
            ("$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", nil),
            ("$2b$15$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", nil),
            ("$2b$03$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", .cost),
            ("$2b$16$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", .cost),
            ("$2b$99$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", .cost),
            ("$2b$4$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", .malformed),
            ("$2b$004$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", .malformed),
            ("$2b$0a$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", .malformed),
            ("$2x$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", .scheme),
            // Bits over in the salt's last digit and in the output's; a sign of another alphabet.
            ("$2b$04$abcdefghijklmnopqrstuvbyCG3zY1GIXMyxfivm.ClDiInHzxjiq", .salt),
            ("$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjir", .output),
            ("$2b$04$abcdefghijklmnopqrst+ubyCG3zY1GIXMyxfivm.ClDiInHzxjiq", .salt),
            ("$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiqq", .output),
            ("$scrypt$ln=9,r=8,p=1" + salt + output, nil),
            ("$scrypt$ln=8,r=15,p=1" + salt + output, .memory),
            ("$scrypt$ln=18,r=8,p=2" + salt + output, nil),
            ("$scrypt$ln=18,r=9,p=1" + salt + output, .memory),
            ("$scrypt$ln=19,r=8,p=1" + salt + output, .memory),
            ("$scrypt$ln=63,r=8,p=1" + salt + output, .memory),
            ("$scrypt$ln=999999999,r=8,p=1" + salt + output, .memory),
            ("$scrypt$ln=18,r=8,p=3" + salt + output, .cost),
            ("$scrypt$ln=14,r=8,p=0" + salt + output, .cost),
            ("$scrypt$ln=14,r=8,p=32" + salt + output, nil),
            ("$scrypt$ln=14,r=8,p=33" + salt + output, .cost),
            ("$scrypt$ln=14,r=0,p=1" + salt + output, .cost),
            ("$scrypt$ln=14,r=32,p=1" + salt + output, nil),
            ("$scrypt$ln=14,r=33,p=1" + salt + output, .cost),
            ("$scrypt$ln=15,r=1,p=1" + salt + output, nil),
            ("$scrypt$ln=16,r=1,p=1" + salt + output, .memory),
            ("$scrypt$ln=014,r=8,p=1" + salt + output, .malformed),
            ("$scrypt$ln=14,r=8,p=1" + salt, .malformed),
            ("$scrypt$ln=14,r=8,p=1$AAAAAAAAAA" + output, .salt),
            ("$scrypt$ln=14,r=8,p=1" + salt + "$AAAAAAAAAAAAAAAAAAAA", .output),
        ] as [(String, ForeignHashRefusal?)])
    func `bcrypt and scrypt are bounded on both sides`(
        text: String, expected: ForeignHashRefusal?
    ) {
        #expect(refusal(of: text) == expected)
    }

    @Test(
        arguments: [
            ("$pbkdf2-sha256$1000" + salt + output, nil),
            ("$pbkdf2-sha256$999" + salt + output, .cost),
            ("$pbkdf2-sha512$5000000" + salt + output, nil),
            ("$pbkdf2-sha512$5000001" + salt + output, .cost),
            ("$pbkdf2-sha256$99999999999" + salt + output, .cost),
            ("$pbkdf2-sha1$1000" + salt + output, .scheme),
            ("$pbkdf2$1000" + salt + output, .scheme),
            // More than the digest has; as much as it has.
            ("$pbkdf2-sha256$1000" + salt + "$" + String(repeating: "A", count: 44), .output),
            ("$pbkdf2-sha256$1000" + salt + "$" + String(repeating: "A", count: 43), nil),
            // passlib's alphabet and PHC's.
            ("$pbkdf2-sha256$1000$............" + output, nil),
            ("$pbkdf2-sha256$1000$++++++++++++" + output, .salt),
            ("$pbkdf2-sha256$i=1000,l=16$++++++++++++" + output, nil),
            ("$pbkdf2-sha256$i=1000,l=16$............" + output, .salt),
            ("$pbkdf2-sha256$i=1000,l=32" + salt + output, .output),
            ("$pbkdf2-sha256$i=1000" + salt + output, .malformed),
            ("$pbkdf2-sha256$i=999,l=16" + salt + output, .cost),
            ("$pbkdf2-sha256$l=16,i=1000" + salt + output, .malformed),
            ("pbkdf2_sha256$1000$saltsalt$hn3Vw5ujUja8+ABJyTHXdfEevp6tJ/bqdZdxS15cEfY=", nil),
            ("pbkdf2_sha256$999$saltsalt$hn3Vw5ujUja8+ABJyTHXdfEevp6tJ/bqdZdxS15cEfY=", .cost),
            ("pbkdf2_sha256$5000001$saltsalt$hn3Vw5ujUja8+ABJyTHXdfEevp6tJ/bqdZdxS15cEfY=", .cost),
            ("pbkdf2_sha256$1000$saltsal$hn3Vw5ujUja8+ABJyTHXdfEevp6tJ/bqdZdxS15cEfY=", .salt),
            ("pbkdf2_sha256$1000$salt salt$hn3Vw5ujUja8+ABJyTHXdfEevp6tJ/bqdZdxS15cEfY=", .salt),
            ("pbkdf2_sha256$1000$saltsalt$hn3Vw5ujUja8+ABJyTHXdfEevp6tJ/bqdZdxS15cEfY", .output),
            ("pbkdf2_sha256$1000$saltsalt$hn3Vw5ujUja8+ABJyTHXdfEevp6tJ/bqdZdxS15cEfZ=", .output),
            ("pbkdf2_sha256$1000$saltsalt$hn3Vw5ujUja8+ABJyTHXdfEevp6tJ/bqdZdxS15cEQ==", .output),
            ("pbkdf2_sha1$1000$saltsalt$hn3Vw5ujUja8+ABJyTHXdfEevp6tJ/bqdZdxS15cEfY=", .scheme),
        ] as [(String, ForeignHashRefusal?)])
    func `PBKDF2 is bounded on both sides`(text: String, expected: ForeignHashRefusal?) {
        #expect(refusal(of: text) == expected)
    }

    @Test(
        arguments: [
            ("$6$saltsalt" + sha512cryptOutput, nil),
            ("$6$rounds=1000$saltsalt" + sha512cryptOutput, nil),
            ("$6$rounds=999$saltsalt" + sha512cryptOutput, .cost),
            ("$6$rounds=2000000$saltsalt" + sha512cryptOutput, nil),
            ("$6$rounds=2000001$saltsalt" + sha512cryptOutput, .cost),
            ("$6$rounds=999999999999$saltsalt" + sha512cryptOutput, .cost),
            ("$6$rounds=01000$saltsalt" + sha512cryptOutput, .malformed),
            ("$6$saltsalt$saltsalt" + sha512cryptOutput, .malformed),
            ("$6$saltsal" + sha512cryptOutput, .salt),
            ("$6$saltsaltsaltsalt" + sha512cryptOutput, nil),
            ("$6$saltsaltsaltsalts" + sha512cryptOutput, .salt),
            ("$6$saltsal:" + sha512cryptOutput, .salt),
            ("$6$saltsalt" + sha512cryptOutput.dropLast() + "2", .output),
            ("$6$saltsalt" + sha512cryptOutput.dropLast(), .output),
            ("$5$saltsalt" + sha512cryptOutput, .scheme),
            ("$y$j9T" + yescryptEnd, nil),
            // r = 8, and N from 2^8 to 2^19: half a mebibyte needs 2^9, 256 need 2^18.
            ("$y$j55" + yescryptEnd, .memory),
            ("$y$j65" + yescryptEnd, nil),
            ("$y$jF5" + yescryptEnd, nil),
            ("$y$jG5" + yescryptEnd, .memory),
            ("$y$jDT" + yescryptEnd, nil),
            ("$y$jET" + yescryptEnd, .memory),
            ("$y$jjT" + yescryptEnd, .memory),
            ("$y$jkT" + yescryptEnd, .malformed),
            ("$y$j9U" + yescryptEnd, .cost),
            ("$y$/9T" + yescryptEnd, .malformed),
            ("$y$j9T.7" + yescryptEnd, .malformed),
            ("$y$j9:" + yescryptEnd, .malformed),
            ("$y$j9T$LdJMENpBABJJ3hIHjB1Bi2$" + yescryptEnd.suffix(43), .salt),
            ("$y$j9T$LdJMENpB$" + yescryptEnd.suffix(43), .salt),
            ("$y$j9T$LdJMENpBAB/$" + yescryptEnd.suffix(43), nil),
            ("$y$j9T" + yescryptEnd.dropLast() + "z", .output),
            ("$7$CU..../...." + yescryptEnd, .scheme),
            ("$gy$j9T" + yescryptEnd, .scheme),
            ("$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", .scheme),
            ("rl.3StKT.4T8M", .scheme), ("5f4dcc3b5aa765d61d8327deb882cf99", .scheme),
            ("!", .scheme), ("*0", .scheme), ("", .scheme), ("$", .scheme), ("$6$", .malformed),
            ("$6$sältsalt" + sha512cryptOutput, .salt),
            ("pbkdf2_sha256$1000$" + String(repeating: "s", count: 493), .malformed),
            ("pbkdf2_sha256$1000$" + String(repeating: "s", count: 494), .tooLong),
        ] as [(String, ForeignHashRefusal?)])
    func `crypt(3) is bounded on both sides, and what is none is refused`(
        text: String, expected: ForeignHashRefusal?
    ) {
        #expect(refusal(of: text) == expected)
    }

    @Test func `every refusal has words of its own`() {
        let messages = Set(ForeignHashRefusal.allCases.map(\.message))
        #expect(messages.count == ForeignHashRefusal.allCases.count)
    }
}

@Suite struct StoredPasswordTests {
    private static let ours =
        "$argon2id$v=19$m=65536,t=3,p=1$AAECAwQFBgcICQoLDA0ODw"
        + "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

    @Test func `a hash in our form is ours, and below policy only if it is weaker`() throws {
        let stored = try StoredPassword(Self.ours)
        guard case .ours = stored else {
            Issue.record("read as foreign")
            return
        }
        #expect(!stored.isBelow(.standard, pepper: nil))
        #expect(
            try stored.isBelow(
                Argon2Parameters(memoryKiB: 65_537, iterations: 3, lanes: 1), pepper: nil))
        #expect(PepperedPassword(stored, peppers: .none).memoryKiB == 65_536)
    }

    @Test func `a hash that is not ours is below every policy`() throws {
        for text in [
            "$2b$15$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq",
            Self.ours.replacing("argon2id", with: "argon2i"),
            Self.ours.replacing("m=65536", with: "m=4096"),
        ] {
            let stored = try StoredPassword(text)
            guard case .foreign = stored else {
                Issue.record("read as ours: \(text)")
                return
            }
            #expect(stored.isBelow(.standard, pepper: nil))
        }
    }

    @Test func `a row that someone tampered with is refused, whatever it would cost`() {
        for (text, refusal) in [
            (Self.ours.replacing("m=65536", with: "m=4194304"), ForeignHashRefusal.memory),
            (Self.ours.replacing("t=3", with: "t=1000000"), .cost),
            (Self.ours.replacing("p=1", with: "p=0"), .cost),
            (Self.ours.replacing("v=19", with: "v=16"), .version),
            (String(Self.ours.dropLast(22)), .output), ("", .scheme),
        ] {
            #expect(throws: refusal) { _ = try StoredPassword(text) }
        }
        #expect(throws: ForeignHashRefusal.output) {
            _ = try StoredPassword(Self.ours.dropLast() + "B")
        }
    }
}
