// Comparing and searching bytes in place.

import GatehouseCore

extension Span<UInt8> {
    func firstIndex(of byte: UInt8, in range: Range<Int>) -> Int? {
        var index = range.lowerBound
        while index < range.upperBound {
            if self[index] == byte { return index }
            index += 1
        }
        return nil
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

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
func isTokenByte(_ byte: UInt8) -> Bool {
    let (low, high) = (TokenBytes.low, TokenBytes.high)
    guard byte < 128 else { return false }
    return byte < 64 ? low >> byte & 1 == 1 : high >> (byte - 64) & 1 == 1
}

/// The token bytes as two bit sets.
private enum TokenBytes {
    static let low = bits(from: 0)
    static let high = bits(from: 64)

    private static func bits(from first: UInt8) -> UInt64 {
        let tokens = Array(
            "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
        return tokens.filter { $0 >= first && $0 - first < 64 }
            .reduce(0) { $0 | 1 << UInt64($1 - first) }
    }
}

/// The methods that llhttp 9 knows for HTTP, but for CONNECT, whose target is no path. A proxy
/// sends the client's own method or GET; it never changes the verdict.
enum HTTPMethod {
    private static let accepted: [[UInt8]] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "COPY", "LOCK",
        "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK", "BIND", "REBIND", "UNBIND",
        "ACL", "REPORT", "MKACTIVITY", "CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE",
        "UNSUBSCRIBE", "PURGE", "MKCALENDAR", "LINK", "UNLINK", "SOURCE", "QUERY",
    ].map { Array($0.utf8) }

    static func isAccepted(_ method: Span<UInt8>) -> Bool {
        for candidate in accepted where method.equals(candidate) { return true }
        return false
    }
}
