// Comparing and searching bytes in place, eight at a time where it counts.

import GatehouseCore

/// Every byte of a word the same.
@inline(__always)
private func repeated(_ byte: UInt8) -> UInt64 { UInt64(byte) &* 0x0101_0101_0101_0101 }

/// The high bit of each byte that is zero. Bits above the lowest that is set may be wrong (a borrow
/// goes up), so only the lowest counts.
@inline(__always)
private func zeroBytes(_ word: UInt64) -> UInt64 {
    (word &- repeated(0x01)) & ~word & repeated(0x80)
}

/// The high bit of each control character but those above another one: below space, and DEL. Only the
/// lowest that is set counts, as in `zeroBytes`.
@inline(__always)
private func controlBytes(_ word: UInt64) -> UInt64 {
    ((word &- repeated(0x20)) & ~word & repeated(0x80)) | zeroBytes(word ^ repeated(0x7F))
}

extension Span<UInt8> {
    func firstIndex(of byte: UInt8, in range: Range<Int>) -> Int? {
        let pattern = repeated(byte)
        let index = first(in: range, word: { zeroBytes($0 ^ pattern) }, byte: { $0 == byte })
        return index < range.upperBound ? index : nil
    }

    /// The first control character (RFC 5234 `CTL`) from `start` on, or `count`.
    func firstControl(from start: Int) -> Int {
        first(in: start..<count, word: controlBytes, byte: { $0 < 0x20 || $0 == 0x7F })
    }

    /// The first index in `range` for which `word` has a bit, or its upper bound; the last bytes are
    /// tried one by one with `byte`.
    @inline(__always)
    private func first(
        in range: Range<Int>, word: (UInt64) -> UInt64, byte: (UInt8) -> Bool
    ) -> Int {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        return unsafe withUnsafeBytes { bytes in
            // SAFETY: `range` is within the bytes, and every load ends within it.
            guard let start = bytes.baseAddress else { return range.upperBound }
            var index = range.lowerBound
            while index &+ 8 <= range.upperBound {
                let eight = unsafe start.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                let found = word(UInt64(littleEndian: eight))
                if found != 0 { return index &+ found.trailingZeroBitCount / 8 }
                index &+= 8
            }
            while index < range.upperBound {
                if byte(unsafe bytes[index]) { return index }
                index &+= 1
            }
            return range.upperBound
        }
    }

    /// `range` without spaces and tabs at its ends.
    func trimmed(_ range: Range<Int>) -> Range<Int> {
        var lower = range.lowerBound
        var upper = range.upperBound
        while lower < upper, self[lower] == 0x20 || self[lower] == 0x09 { lower += 1 }
        while upper > lower, self[upper - 1] == 0x20 || self[upper - 1] == 0x09 { upper -= 1 }
        return lower..<upper
    }

    func equals(_ text: StaticString) -> Bool {
        guard count == text.utf8CodeUnitCount else { return false }
        // SAFETY: a StaticString of ASCII lives for ever and has `utf8CodeUnitCount` bytes.
        let bytes = unsafe UnsafeBufferPointer(start: text.utf8Start, count: count)
        for index in indices where unsafe self[index] != bytes[index] { return false }
        return true
    }

    func equals(_ other: [UInt8]) -> Bool {
        guard count == other.count else { return false }
        for index in indices where self[index] != other[index] { return false }
        return true
    }

    /// Whether the bytes are `lowerCase` in any mix of ASCII case.
    func equalsIgnoringCase(_ lowerCase: StaticString) -> Bool {
        guard count == lowerCase.utf8CodeUnitCount else { return false }
        // SAFETY: as in `equals`.
        let bytes = unsafe UnsafeBufferPointer(start: lowerCase.utf8Start, count: count)
        for index in indices {
            let byte = self[index]
            let isUpper = (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
            guard unsafe (isUpper ? byte | 0x20 : byte) == bytes[index] else { return false }
        }
        return true
    }

    /// Whether a comma-separated list has the element `lowerCase`, in any case.
    func hasListElement(_ lowerCase: StaticString) -> Bool {
        var start = 0
        while start < count {
            let end = firstIndex(of: UInt8(ascii: ","), in: start..<count) ?? count
            if extracting(trimmed(start..<end)).equalsIgnoringCase(lowerCase) { return true }
            start = end + 1
        }
        return false
    }
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2): letters, digits and
/// ``!#$%&'*+-.^_`|~``.
@inline(__always)
func isTokenByte(_ byte: UInt8) -> Bool {
    isIn(byte, low: 0x03FF_6CFA_0000_0000, high: 0x57FF_FFFF_C7FF_FFFE)
}

/// Whether a byte needs no percent-encoding (RFC 3986 section 2.3): letters, digits and `-._~`.
@inline(__always)
func isUnreserved(_ byte: UInt8) -> Bool {
    isIn(byte, low: 0x03FF_6000_0000_0000, high: 0x47FF_FFFE_87FF_FFFE)
}

/// Whether a byte is in a set with one bit a byte, for the bytes 0 to 63 and 64 to 127.
@inline(__always)
private func isIn(_ byte: UInt8, low: UInt64, high: UInt64) -> Bool {
    byte < 128 && (byte < 64 ? low : high) >> UInt64(byte & 63) & 1 == 1
}

/// The methods that llhttp 9 knows for HTTP, but for CONNECT, whose target is no path. A proxy
/// sends the client's own method or GET; it never changes the verdict.
enum HTTPMethod {
    static func isAccepted(_ method: Span<UInt8>) -> Bool {
        if method.equals("GET") { return true }
        for name in others where method.equals(name) { return true }
        return false
    }

    private static let others: [StaticString] = [
        "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "COPY", "LOCK", "MKCOL",
        "MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK", "BIND", "REBIND", "UNBIND", "ACL",
        "REPORT", "MKACTIVITY", "CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE",
        "UNSUBSCRIBE", "PURGE", "MKCALENDAR", "LINK", "UNLINK", "SOURCE", "QUERY",
    ]
}
