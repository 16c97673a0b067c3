// Which bodies are read: forms and JSON, and only when they say so.

/// What a body is, by the route that takes it.
package enum BodyKind: String, CaseIterable, Sendable {
    case form = "application/x-www-form-urlencoded"
    case json = "application/json"
}

/// Whether a request's `Content-Type` is the one that its route takes (REQUIREMENTS CSRF-4).
///
/// A page of another site can send `text/plain`, `multipart/form-data` or nothing at all without
/// being asked, so that what looks like JSON is JSON only when its type says so.
package struct MediaTypeRule: Sendable {
    package let expected: BodyKind

    package init(_ expected: BodyKind) { self.expected = expected }

    /// - Parameter values: every `Content-Type` field's value, without white space at its ends.
    package func judge(_ values: [[UInt8]]) -> MediaTypeOutcome {
        guard let value = values.first else { return .refused(.missing) }
        guard values.count == 1 else { return .refused(.repeated) }
        let end = value.firstIndex { $0 == UInt8(ascii: ";") || Self.isSpace($0) } ?? value.count
        guard Self.matches(value[..<end], expected.rawValue) else { return .refused(.other) }
        return Self.isCharsetUTF8(value[end...]) ? .accepted : .refused(.parameters)
    }

    /// Whether nothing follows the type, or `; charset=utf-8` (RFC 9110 sections 5.6.6 and 8.3.2:
    /// names and this value in any case, the value in quotes or not).
    private static func isCharsetUTF8(_ parameters: ArraySlice<UInt8>) -> Bool {
        if parameters.isEmpty { return true }
        var rest = parameters.drop(while: isSpace)
        guard rest.first == UInt8(ascii: ";") else { return false }
        rest = rest.dropFirst().drop(while: isSpace)
        return matches(rest, "charset=utf-8") || matches(rest, "charset=\"utf-8\"")
    }

    private static func matches(_ bytes: ArraySlice<UInt8>, _ lowerCase: String) -> Bool {
        bytes.lazy.map(\.asciiLowercased).elementsEqual(lowerCase.utf8)
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}

package enum MediaTypeOutcome: Hashable, Sendable {
    case accepted
    case refused(MediaTypeRefusal)
}

/// Why a body is not read; the raw values name it in metrics and logs.
package enum MediaTypeRefusal: String, Error, CaseIterable, Sendable {
    case missing
    case repeated
    case other
    /// The right type with something behind it that is not `charset=utf-8`.
    case parameters

    /// RFC 9110 section 15.5.16, Unsupported Media Type.
    package static let status = 415
}
