// Decoding of application/x-www-form-urlencoded text, shared by bodies and queries.

/// Why a form or a query is refused; the raw values name it in metrics and logs.
package enum FormRefusal: String, Error, CaseIterable, Sendable {
    case tooLarge = "too_large"
    case queryTooLarge = "query_too_large"
    case tooManyFields = "too_many_fields"
    /// A piece between two `&` without `=`.
    case noValue = "no_value"
    case noName = "no_name"
    /// `%` without two hex digits behind it.
    case percentEncoding = "percent_encoding"
    case invalidUTF8 = "invalid_utf8"
    case controlInName = "control_in_name"
    /// A name for the second time: which value is meant can't be known (REQUIREMENTS CSRF-4).
    case repeatedField = "repeated_field"

    package var status: Int {
        switch self {
        case .tooLarge: 413
        case .queryTooLarge: 414
        default: 400
        }
    }
}

/// A field of the encoded text: where its name and its value stand.
struct EncodedField {
    let name: Range<Int>
    /// Nil when there is no `=`. A further `=` belongs to the value.
    let value: Range<Int>?

    /// The field that starts at `start`, up to the next `&` or the end.
    init(startingAt start: Int, in text: Span<UInt8>) {
        var end = start
        var equals: Int?
        while end < text.count, text[end] != UInt8(ascii: "&") {
            if equals == nil, text[end] == UInt8(ascii: "=") { equals = end }
            end += 1
        }
        name = start..<(equals ?? end)
        value = equals.map { ($0 + 1)..<end }
    }

    var end: Int { value?.upperBound ?? name.upperBound }
}

/// Decodes `range` of `text` into `output` from `start` on, where as many bytes must be free: `+`
/// is a space, `%` and two hex digits are a byte, and everything else is itself. What comes out
/// must be UTF-8.
///
/// - Returns: where the decoded bytes end.
func decodeFormText(
    _ text: Span<UInt8>, _ range: Range<Int>, into output: inout MutableSpan<UInt8>, at start: Int
) throws(FormRefusal) -> Int {
    var read = range.lowerBound
    var written = start
    let piece = text.extracting(0..<range.upperBound)
    while read < range.upperBound {
        switch piece[read] {
        case UInt8(ascii: "%"):
            guard let byte = piece.percentEncodedByte(at: read) else { throw .percentEncoding }
            output[written] = byte
            read += 3
        case UInt8(ascii: "+"):
            output[written] = UInt8(ascii: " ")
            read += 1
        case let byte:
            output[written] = byte
            read += 1
        }
        written += 1
    }
    guard (try? UTF8Span(validating: output.span.extracting(start..<written))) != nil else {
        throw .invalidUTF8
    }
    return written
}
