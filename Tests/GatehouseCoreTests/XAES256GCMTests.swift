// XAES-256-GCM against every published vector, and against tampering.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct XAES256GCMTests {
    private static func cipher(_ key: [UInt8]) throws -> XAES256GCM {
        try XAES256GCM(key: SecretBytes(copying: key.span))
    }

    private static func seal(
        _ cipher: XAES256GCM, nonce: [UInt8], plaintext: [UInt8], associatedData: [UInt8]
    ) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: plaintext.count + 16)
        let done = unsafe output.withUnsafeMutableBufferPointer { out in
            unsafe nonce.withUnsafeBufferPointer { nonce in
                unsafe plaintext.withUnsafeBufferPointer { plaintext in
                    unsafe associatedData.withUnsafeBufferPointer { associated in
                        guard let nonce = nonce.baseAddress, let out = out.baseAddress else {
                            return false
                        }
                        return unsafe cipher.seal(
                            nonce: nonce, plaintext: plaintext, associatedData: associated,
                            into: out)
                    }
                }
            }
        }
        #expect(done)
        return output
    }

    /// The plaintext, or nil and an output that holds none of it.
    private static func open(
        _ cipher: XAES256GCM, nonce: [UInt8], sealed: [UInt8], associatedData: [UInt8]
    ) -> [UInt8]? {
        var output = [UInt8](repeating: 0, count: max(sealed.count, 16))
        let done = unsafe output.withUnsafeMutableBufferPointer { out in
            unsafe nonce.withUnsafeBufferPointer { nonce in
                unsafe sealed.withUnsafeBufferPointer { sealed in
                    unsafe associatedData.withUnsafeBufferPointer { associated in
                        guard let nonce = nonce.baseAddress, let out = out.baseAddress else {
                            return false
                        }
                        return unsafe cipher.open(
                            nonce: nonce, sealed: sealed, associatedData: associated, into: out)
                    }
                }
            }
        }
        guard done else {
            #expect(output.allSatisfy { $0 == 0 }, "a failed open leaves no plaintext")
            return nil
        }
        return Array(output[..<(sealed.count - 16)])
    }

    @Test(arguments: Vector.read("xaes-256-gcm.txt"))
    func `a published vector seals to its ciphertext and opens again`(_ vector: Vector) throws {
        let cipher = try Self.cipher(vector.bytes("k"))
        let sealed = Self.seal(
            cipher, nonce: vector.bytes("n"), plaintext: vector.bytes("p"),
            associatedData: vector.bytes("a"))
        #expect(sealed == vector.bytes("c"))
        let opened = Self.open(
            cipher, nonce: vector.bytes("n"), sealed: vector.bytes("c"),
            associatedData: vector.bytes("a"))
        #expect(opened == vector.bytes("p"))
    }

    /// C2SP's accumulated test: inputs from one SHAKE-128 stream, outputs hashed into another.
    @Test func `ten thousand accumulated inputs give the published digest`() throws {
        let checkpoints = [
            1: "10bccc12c34609fdbcd30aeb64ed8454a31101cec7890b3fbe16b783abb037de",
            10: "960fb0b76a656d46b1bdb884471a87f14b6ea874cf53d26d7eec3ec9ae9e5be3",
            100: "95c433ee0b434b8917ff03bd33e52462878d16f3114981b7f3cd92e1f1f7d358",
            1000: "38c6fbcf7bca138bc25efe1d514669df716abcd23b269e244e706484fb302ef7",
            10_000: "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939",
        ]
        let consumed = 3_137_982
        let stream = Shake128.digest(of: [], byteCount: consumed)
        var offset = 0
        func next(_ count: Int) -> [UInt8] {
            defer { offset += count }
            return Array(stream[offset..<(offset + count)])
        }
        let accumulator = Shake128()
        for iteration in 1...10_000 {
            let cipher = try Self.cipher(next(32))
            let nonce = next(24)
            let plaintext = next(Int(next(1)[0]))
            let associatedData = next(Int(next(1)[0]))
            let sealed = Self.seal(
                cipher, nonce: nonce, plaintext: plaintext, associatedData: associatedData)
            let opened = Self.open(
                cipher, nonce: nonce, sealed: sealed, associatedData: associatedData)
            #expect(opened == plaintext)
            accumulator.absorb(sealed)
            if let expected = checkpoints[iteration] {
                #expect(accumulator.copyDigest(byteCount: 32) == hexBytes(expected))
            }
        }
        #expect(offset == consumed)
    }

    @Test(arguments: Vector.read("xaes-256-gcm.txt").prefix(2))
    func `any flipped bit of nonce, ciphertext, tag or associated data is refused`(
        _ vector: Vector
    ) throws {
        let cipher = try Self.cipher(vector.bytes("k"))
        for field in ["n", "c", "a"] {
            let original = vector.bytes(field)
            for bit in 0..<(original.count * 8) {
                var changed = original
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                let opened = Self.open(
                    cipher, nonce: field == "n" ? changed : vector.bytes("n"),
                    sealed: field == "c" ? changed : vector.bytes("c"),
                    associatedData: field == "a" ? changed : vector.bytes("a"))
                #expect(opened == nil, "bit \(bit) of \(field)")
            }
        }
    }

    @Test(arguments: Vector.read("xaes-256-gcm.txt").prefix(2))
    func `a tag of any other length, or of zeros or ones, is refused`(_ vector: Vector) throws {
        let cipher = try Self.cipher(vector.bytes("k"))
        let sealed = vector.bytes("c")
        let ciphertext = sealed.dropLast(16)
        let tags =
            (0..<16).map { Array(sealed.suffix(16).prefix($0)) }
            + (17...32).map { sealed.suffix(16) + [UInt8](repeating: 0, count: $0 - 16) }
            + [[UInt8](repeating: 0, count: 16), [UInt8](repeating: 0xFF, count: 16)]
        for tag in tags {
            let opened = Self.open(
                cipher, nonce: vector.bytes("n"), sealed: ciphertext + tag,
                associatedData: vector.bytes("a"))
            #expect(opened == nil, "tag of \(tag.count) bytes")
        }
    }

    @Test func `swapping the halves of the nonce is refused`() throws {
        let vector = Vector.read("xaes-256-gcm.txt")[0]
        let nonce = vector.bytes("n")
        let opened = Self.open(
            try Self.cipher(vector.bytes("k")), nonce: Array(nonce[12...] + nonce[..<12]),
            sealed: vector.bytes("c"), associatedData: [])
        #expect(opened == nil)
    }
}

@Suite struct HKDFTests {
    @Test(arguments: Vector.read("hkdf-sha256.txt"))
    func `a published vector derives its output`(_ vector: Vector) throws {
        let expected = vector.bytes("okm")
        let derived = try hkdfSHA256(
            secret: vector.bytes("ikm").span, salt: vector.bytes("salt"),
            info: vector.bytes("info"), byteCount: expected.count)
        let isEqual = derived.withSpan { constantTimeEqual($0, expected.span) }
        #expect(isEqual)
    }

    @Test func `another output is not equal`() throws {
        // Guards the comparison that the vectors rest on.
        let one: [UInt8] = [1, 2, 3]
        #expect(!isEqualInConstantTime(one, [1, 2, 4]))
        #expect(!isEqualInConstantTime(one, [1, 2]))
        #expect(isEqualInConstantTime(one, [1, 2, 3]))
    }
}
