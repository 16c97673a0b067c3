// Password hashes as they are stored: Argon2id in the PHC string format, with bounded parameters.

/// The cost of Argon2id (RFC 9106), within bounds: no value exists that is weaker than we accept or
/// dearer than a stored row may make us pay (REQUIREMENTS PW-6, PW-7).
package struct Argon2Parameters: Hashable, Sendable {
    /// The least memory for a number of iterations: the sets of OWASP's password storage cheat sheet
    /// down to 12 MiB, where ASVS appendix C stops. More iterations than three lower nothing further.
    private static let floors = [
        (iterations: 3, memoryKiB: 12_288),
        (iterations: 2, memoryKiB: 19_456),
        (iterations: 1, memoryKiB: 47_104),
    ]

    /// 256 MiB, four times the default. A row that someone tampered with makes a hashing thread
    /// allocate no more than this.
    package static let maximumMemoryKiB = 262_144

    /// Sixteen passes over the most memory take a few seconds of one hashing thread; more strength
    /// than that is better bought with memory.
    package static let maximumIterations = 16

    /// Lanes are computed one after the other on one thread, so they cost nothing more; sixteen covers
    /// what other programs write.
    package static let maximumLanes = 16

    /// The second choice of RFC 9106 section 4 (64 MiB, three passes), with one lane, because a
    /// hash has one thread here.
    package static let standard = Argon2Parameters(
        checkedMemoryKiB: 65_536, iterations: 3, lanes: 1)

    package let memoryKiB: Int
    package let iterations: Int
    package let lanes: Int

    package init(memoryKiB: Int, iterations: Int, lanes: Int) throws(Argon2ParametersRefusal) {
        guard (1...Self.maximumIterations).contains(iterations) else { throw .iterations }
        guard (1...Self.maximumLanes).contains(lanes) else { throw .lanes }
        let minimum = Self.minimumMemoryKiB(iterations: iterations)
        guard (minimum...Self.maximumMemoryKiB).contains(memoryKiB) else { throw .memory }
        self.init(checkedMemoryKiB: memoryKiB, iterations: iterations, lanes: lanes)
    }

    private init(checkedMemoryKiB: Int, iterations: Int, lanes: Int) {
        memoryKiB = checkedMemoryKiB
        self.iterations = iterations
        self.lanes = lanes
    }

    /// The least memory that is accepted with `iterations` passes.
    package static func minimumMemoryKiB(iterations: Int) -> Int {
        floors.first { iterations >= $0.iterations }?.memoryKiB ?? maximumMemoryKiB
    }
}

/// Which parameter of Argon2id is out of its bounds.
package enum Argon2ParametersRefusal: Error, Hashable, CaseIterable, Sendable {
    case memory
    case iterations
    case lanes

    /// The bound in words, for an operator.
    package var message: String {
        switch self {
        case .memory:
            "Argon2id memory must be \(Argon2Parameters.minimumMemoryKiB(iterations: 1)) KiB "
                + "(\(Argon2Parameters.minimumMemoryKiB(iterations: 2)) with 2 iterations, "
                + "\(Argon2Parameters.minimumMemoryKiB(iterations: 3)) with 3) "
                + "to \(Argon2Parameters.maximumMemoryKiB) KiB."
        case .iterations:
            "Argon2id iterations must be 1 to \(Argon2Parameters.maximumIterations)."
        case .lanes: "Argon2id lanes must be 1 to \(Argon2Parameters.maximumLanes)."
        }
    }
}

/// The Argon2id hash of one password.
///
/// Stored as a PHC string, of which a hash has exactly one:
///
/// | part | value |
/// |---|---|
/// | `$argon2id` | the only algorithm |
/// | `$v=19` | version 1.3, the only one |
/// | `$m=65536,t=3,p=1` | memory in KiB, iterations, lanes: decimal, no leading zeros |
/// | `,keyid=` ids | the peppers over the output (``Peppers``), first one first: 4 bytes each, as base64; absent when there is none |
/// | `$` salt | standard base64, no padding, unused bits zero |
/// | `$` output | the same, 32 bytes: Argon2id's, under its peppers |
///
/// Anyone who has a hash can try passwords against it, so printing one shows its cost only.
package struct PasswordHash: Sendable {
    /// RFC 9106 section 4 recommends 128 bits of salt and 256 bits of output.
    package static let saltBytes = 16
    package static let outputBytes = 32

    /// Salts that other programs made: Argon2's minimum (RFC 9106 section 3.1), and as many as any
    /// in use has.
    package static let acceptedSaltBytes = 8...64

    /// The most peppers over one output: for users who sleep through rotations for years.
    package static let maximumLayers = 16

    package let parameters: Argon2Parameters
    package let salt: [UInt8]
    /// The peppers over Argon2's output, in the order in which they were laid.
    package let layers: [KeyID]
    private let output: [UInt8]

    /// - Parameters:
    ///   - salt: `acceptedSaltBytes`; `saltBytes` for a new hash.
    ///   - layers: at most `maximumLayers`.
    ///   - output: `outputBytes` of Argon2id, under those.
    package init(
        parameters: Argon2Parameters, salt: [UInt8], layers: [KeyID] = [], output: Span<UInt8>
    ) {
        precondition(Self.acceptedSaltBytes.contains(salt.count))
        precondition(output.count == Self.outputBytes && layers.count <= Self.maximumLayers)
        self.parameters = parameters
        self.salt = salt
        self.layers = layers
        self.output = output.indices.map { output[$0] }
    }

    /// Reads a stored hash.
    package init(_ text: String) throws(PasswordHashRefusal) {
        let bytes = text.utf8.span
        var reader = PHCReader()
        guard reader.skip("$argon2id$", in: bytes) else { throw .algorithm }
        guard reader.skip("v=", in: bytes) else { throw .malformed }
        guard try reader.number(in: bytes) == 19 else { throw .version }
        guard reader.skip("$m=", in: bytes) else { throw .malformed }
        let memoryKiB = try reader.number(in: bytes)
        guard reader.skip(",t=", in: bytes) else { throw .malformed }
        let iterations = try reader.number(in: bytes)
        guard reader.skip(",p=", in: bytes) else { throw .malformed }
        let lanes = try reader.number(in: bytes)
        layers = reader.skip(",keyid=", in: bytes) ? try reader.keyIDs(in: bytes) : []
        guard reader.skip("$", in: bytes) else { throw .malformed }
        do {
            parameters = try Argon2Parameters(
                memoryKiB: memoryKiB, iterations: iterations, lanes: lanes)
        } catch { throw .parameters(error) }
        guard let salt = reader.base64(atMost: Self.acceptedSaltBytes.upperBound, in: bytes),
            Self.acceptedSaltBytes.contains(salt.count)
        else { throw .salt }
        guard reader.skip("$", in: bytes) else { throw .malformed }
        guard let output = reader.base64(atMost: Self.outputBytes, in: bytes),
            output.count == Self.outputBytes
        else { throw .output }
        guard reader.position == bytes.count else { throw .malformed }
        self.salt = salt
        self.output = output
    }

    /// The PHC string.
    package var text: String {
        let peppers =
            layers.isEmpty
            ? "" : ",keyid=" + unpaddedBase64(layers.flatMap(\.rawValue.bigEndianBytes))
        return "$argon2id$v=19$m=\(parameters.memoryKiB),t=\(parameters.iterations),"
            + "p=\(parameters.lanes)\(peppers)$" + unpaddedBase64(salt) + "$"
            + unpaddedBase64(output)
    }

    /// Lends the output to `body`, to lay a pepper over it.
    func withOutput<Result: ~Copyable, E: Error>(
        _ body: (Span<UInt8>) throws(E) -> Result
    ) throws(E) -> Result {
        try body(output.span)
    }

    /// Whether `computed` is this hash's output, in constant time.
    package func isOutput(_ computed: Span<UInt8>) -> Bool {
        constantTimeEqual(output.span, computed)
    }

    /// Whether the hash is weaker than a new one under `policy` and `pepper`, so that a password which
    /// has just been verified should be hashed again. Lanes make it neither weaker nor stronger.
    package func isBelow(_ policy: Argon2Parameters, pepper: KeyID?) -> Bool {
        parameters.memoryKiB < policy.memoryKiB || parameters.iterations < policy.iterations
            || salt.count < Self.saltBytes || layers != (pepper.map { [$0] } ?? [])
    }
}

extension PasswordHash: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String {
        "PasswordHash(m=\(parameters.memoryKiB),t=\(parameters.iterations),p=\(parameters.lanes))"
    }

    package var debugDescription: String { description }

    package var customMirror: Mirror { Mirror(self, children: ["parameters": parameters]) }
}

/// Why stored text is not a password hash.
package enum PasswordHashRefusal: Error, Hashable, Sendable {
    /// Not Argon2id.
    case algorithm
    /// Not version 19 (1.3).
    case version
    case parameters(Argon2ParametersRefusal)
    /// Not canonical base64 of 1 to 16 key ids.
    case layers
    /// Not canonical base64, or too short or too long.
    case salt
    /// Not canonical base64, or not 32 bytes.
    case output
    /// Anything else that is not the one spelling of a hash.
    case malformed
}

/// Reads a PHC string from left to right.
private struct PHCReader {
    private(set) var position = 0

    /// Moves past `literal`, if it comes next.
    mutating func skip(_ literal: String, in bytes: Span<UInt8>) -> Bool {
        var end = position
        for byte in literal.utf8 {
            guard end < bytes.count, bytes[end] == byte else { return false }
            end += 1
        }
        position = end
        return true
    }

    /// A decimal number without leading zeros. One past the accepted digits is as large as those can
    /// say, which is out of any parameter's bounds.
    mutating func number(in bytes: Span<UInt8>) throws(PasswordHashRefusal) -> Int {
        let maximumDigits = 9
        let start = position
        var value = 0
        while position < bytes.count, (0x30...0x39).contains(bytes[position]) {
            if position - start >= maximumDigits {
                value = Int(Int32.max)
            } else {
                value = value * 10 + Int(bytes[position] - 0x30)
            }
            position += 1
        }
        let digits = position - start
        guard digits > 0, digits == 1 || bytes[start] != 0x30 else { throw .malformed }
        return value
    }

    /// The ids of peppers.
    mutating func keyIDs(in bytes: Span<UInt8>) throws(PasswordHashRefusal) -> [KeyID] {
        guard let packed = base64(atMost: PasswordHash.maximumLayers * 4, in: bytes),
            !packed.isEmpty, packed.count.isMultiple(of: 4)
        else { throw .layers }
        var ids: [KeyID] = []
        for offset in stride(from: 0, to: packed.count, by: 4) {
            guard let id = KeyID(rawValue: UInt32(bigEndianBytes: packed.span, at: offset)) else {
                throw .layers
            }
            ids.append(id)
        }
        return ids
    }

    /// Canonical unpadded base64 (RFC 4648 section 4, with 3.2 and 3.5) up to the next `$` or the
    /// end, or nil.
    mutating func base64(atMost maximumBytes: Int, in bytes: Span<UInt8>) -> [UInt8]? {
        let dollar = UInt8(ascii: "$")
        var decoded: [UInt8] = []
        var buffer = 0
        var bits = 0
        while position < bytes.count, bytes[position] != dollar {
            guard let digit = base64Value(of: bytes[position]) else { return nil }
            position += 1
            buffer = buffer << 6 | digit
            bits += 6
            if bits >= 8 {
                bits -= 8
                guard decoded.count < maximumBytes else { return nil }
                decoded.append(UInt8(buffer >> bits))
                buffer &= (1 << bits) - 1
            }
        }
        // Six bits over are a character that adds no byte; other bits over must be zero.
        guard bits < 6, buffer == 0 else { return nil }
        return decoded
    }
}

private func base64Value(of character: UInt8) -> Int? {
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): Int(character) - 0x41
    case UInt8(ascii: "a")...UInt8(ascii: "z"): Int(character) - 0x61 + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(character) - 0x30 + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
}

/// Standard base64 without padding (RFC 4648 sections 4 and 3.2).
private func unpaddedBase64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var encoded: [UInt8] = []
    var buffer = 0
    var bits = 0
    for byte in bytes {
        buffer = (buffer << 8 | Int(byte)) & 0xFFFF
        bits += 8
        while bits >= 6 {
            bits -= 6
            encoded.append(alphabet[buffer >> bits & 0x3F])
        }
    }
    if bits > 0 { encoded.append(alphabet[buffer << (6 - bits) & 0x3F]) }
    return String(decoding: encoded, as: UTF8.self)
}
