// Names of sessions, users, nodes and keys: random bytes, with one text form each.

/// 16 random bytes, kept as two words so that comparing and hashing them costs nothing.
package struct Identifier: Hashable, Sendable {
    package static let byteCount = 16

    /// The bytes in order, big endian.
    package let high: UInt64
    package let low: UInt64

    package static let zero = Identifier(high: 0, low: 0)

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Reads 16 bytes at `offset`.
    package init(_ bytes: Span<UInt8>, at offset: Int = 0) {
        high = UInt64(bigEndianBytes: bytes, at: offset)
        low = UInt64(bigEndianBytes: bytes, at: offset + 8)
    }

    /// A new one; never zero, which tables use for "empty".
    package static func random(from entropy: Entropy) throws(EntropyFailure) -> Identifier {
        while true {
            let bytes = try entropy.bytes(byteCount)
            let identifier = Identifier(bytes.span)
            if identifier != .zero { return identifier }
        }
    }

    package var bytes: [UInt8] { high.bigEndianBytes + low.bigEndianBytes }

    /// 32 lower-case hex digits.
    package var hex: String { high.hex + low.hex }

    /// Reads 32 hex digits, lower case only: an identifier has one spelling.
    package init?(hex text: String) {
        let digits = Array(text.utf8)
        guard digits.count == 32, let high = UInt64(hexDigits: digits[..<16]),
            let low = UInt64(hexDigits: digits[16...])
        else { return nil }
        self.init(high: high, low: low)
    }
}

/// One sign-in on one device. Not a secret: only a sealed token signs anyone in.
package struct SessionID: Hashable, Sendable {
    package let value: Identifier
    package init(_ value: Identifier) { self.value = value }
    /// 32 lower-case hex digits, the session's one name in headers, commands and logs.
    package var text: String { value.hex }
}

/// An account, for ever: a user who is deleted and a namesake who comes later differ.
package struct UserID: Hashable, Sendable {
    package let value: Identifier
    package init(_ value: Identifier) { self.value = value }

    /// A random UUID, version 4 (RFC 9562 section 5.4).
    package static func random(from entropy: Entropy) throws(EntropyFailure) -> UserID {
        let random = try Identifier.random(from: entropy)
        return UserID(
            Identifier(
                high: random.high & ~0xF000 | 0x4000,
                low: random.low & ~(0xC0 << 56) | 0x80 << 56))
    }

    /// Lower-case UUID text.
    package var text: String {
        let digits = Array(value.hex.utf8)
        let parts = [digits[..<8], digits[8..<12], digits[12..<16], digits[16..<20], digits[20...]]
        return parts.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "-")
    }
}

extension UserID {
    /// Reads the text form, lower case only.
    package init?(text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard parts.map(\.count) == [8, 4, 4, 4, 12],
            let value = Identifier(hex: parts.map { String(decoding: $0, as: UTF8.self) }.joined())
        else { return nil }
        self.init(value)
    }
}

/// One running process.
package struct NodeID: Hashable, Sendable {
    package let value: Identifier
    package init(_ value: Identifier) { self.value = value }
    package var text: String { value.hex }
}

/// A token key: random, never zero, never reused.
package struct KeyID: Hashable, Sendable, Comparable {
    package let rawValue: UInt32

    package init?(rawValue: UInt32) {
        guard rawValue != 0 else { return nil }
        self.rawValue = rawValue
    }

    /// 8 lower-case hex digits.
    package var text: String { rawValue.hex }

    package init?(text: String) {
        let digits = Array(text.utf8)
        guard digits.count == 8, let value = UInt32(hexDigits: digits[...]) else { return nil }
        self.init(rawValue: value)
    }

    package static func < (left: KeyID, right: KeyID) -> Bool { left.rawValue < right.rawValue }
}

extension FixedWidthInteger where Self: UnsignedInteger & BitwiseCopyable {
    /// Reads the integer that stands big endian at `offset`.
    package init(bigEndianBytes bytes: Span<UInt8>, at offset: Int) {
        // SAFETY: the load checks the bounds, and any bytes are an integer.
        self.init(
            bigEndian: unsafe bytes.bytes.unsafeLoadUnaligned(
                fromByteOffset: offset, as: Self.self))
    }

    package var bigEndianBytes: [UInt8] {
        stride(from: Self.bitWidth - 8, through: 0, by: -8).map {
            UInt8(truncatingIfNeeded: self >> Self($0))
        }
    }

    /// All digits, lower case.
    package var hex: String { bigEndianBytes.hex }

    /// Reads lower-case hex digits; the caller has checked their number.
    package init?(hexDigits digits: ArraySlice<UInt8>) {
        var value: Self = 0
        for digit in digits {
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                value = value << 4 | Self(digit - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"):
                value = value << 4 | Self(digit - UInt8(ascii: "a") + 10)
            default: return nil
            }
        }
        self = value
    }
}

extension [UInt8] {
    /// Lower-case hex digits.
    package var hex: String {
        String(decoding: flatMap { [hexDigit($0 >> 4), hexDigit($0)] }, as: UTF8.self)
    }
}

/// The lower-case hex digit of the low four bits.
package func hexDigit(_ value: UInt8) -> UInt8 {
    let nibble = value & 0x0F
    return nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "a") + (nibble - 10)
}
