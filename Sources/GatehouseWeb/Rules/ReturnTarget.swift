// Where a person goes after signing in: a page of ours or of a listed origin, never elsewhere.

/// A target for a redirect that was checked, as the value of a `Location` header
/// (REQUIREMENTS REDIR-1).
///
/// Accepted are a path of this site, or an `http` or `https` URL whose parsed origin is listed;
/// each with an optional query. Decoding has been done once, by the form or query it came in;
/// whatever a second decoding could turn into something else is refused in the path:
///
/// * a second slash at the start, which makes a host of what follows, and any backslash, which
///   browsers read as a slash;
/// * control characters, plain anywhere or encoded, which browsers drop (`/\t/`) or which split the
///   response;
/// * encoded slashes, backslashes and percent signs, `@` plain or encoded, encoded bytes that are
///   no UTF-8 (overlong slashes), and dot segments in any spelling.
///
/// In the query, which can't change who is asked, only control characters are refused: `%2F`, `@`
/// and `100%25` are what searches are made of.
///
/// A fragment is dropped. It never reaches a server, so that no proxy has put it there, and what it
/// does is up to the page's scripts, for which nobody here can vouch.
package struct ReturnTarget: Hashable, Sendable {
    /// The longest target, decoded once. Most servers and proxies take 8 KiB of request line, and a
    /// target may become three times as long when it is encoded.
    package static let maximumBytes = 2048

    /// This site's first page.
    package static let root = ReturnTarget(location: "/")

    /// Visible ASCII, percent-encoded where it was not.
    package let location: String

    /// The location as the value of a query's field: everything that means something there encoded.
    package var queryText: String { Self.queryText(of: location) }

    package static func queryText(of location: String) -> String {
        location.utf8.map { byte in
            isUnreserved(byte) || byte == UInt8(ascii: "/")
                ? String(UnicodeScalar(byte))
                : "%" + String(byte >> 4, radix: 16, uppercase: true)
                    + String(byte & 15, radix: 16, uppercase: true)
        }.joined()
    }

    /// The location as the value of `return_to`, the first and only field of a query. A path stays as it is:
    /// that field is read as proxies write it, not decoded (``FrontRequest/returnTarget(allowed:)``).
    package static func onlyFieldText(of location: String) -> String {
        location.hasPrefix("/") ? location : queryText(of: location)
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: "_"), UInt8(ascii: "~"):
            true
        default: false
        }
    }

    private init(location: String) { self.location = location }

    /// Checks what a form or a query brought, decoded once.
    package init(
        _ bytes: Span<UInt8>, allowed: AllowedOrigins
    ) throws(ReturnTargetRefusal) {
        guard bytes.count > 0 else { throw .empty }
        guard bytes.count <= Self.maximumBytes else { throw .tooLong }
        for index in bytes.indices {
            if bytes[index].isASCIIControl { throw .controlCharacter }
            if bytes[index] == UInt8(ascii: "\\") { throw .backslash }
        }
        guard (try? UTF8Span(validating: bytes)) != nil else { throw .invalidUTF8 }

        let end = bytes.firstIndex { $0 == UInt8(ascii: "#") } ?? bytes.count
        let target = bytes.extracting(0..<end)
        let pathStart: Int
        var origin = ""
        if target.count > 0, target[0] == UInt8(ascii: "/") {
            pathStart = 0
        } else {
            (origin, pathStart) = try Self.origin(of: target, allowed: allowed)
        }
        let local = target.extracting(pathStart..<target.count)
        let pathEnd = local.firstIndex { $0 == UInt8(ascii: "?") } ?? local.count
        let path = local.extracting(0..<pathEnd)
        let query = local.extracting(pathEnd..<local.count)
        try Self.inspect(path: path)
        try Self.inspect(query: query)
        location =
            origin + (path.count == 0 ? "/" : Self.encoded(path, keeping: "/:"))
            + Self.encoded(query, keeping: "/:@?")
    }

    /// The target that `bytes` name, or `fallback` where they name none that is accepted.
    package static func resolve(
        _ bytes: [UInt8]?, allowed: AllowedOrigins, otherwise fallback: ReturnTarget
    ) -> ReturnTarget {
        guard let bytes else { return fallback }
        return (try? ReturnTarget(bytes.span, allowed: allowed)) ?? fallback
    }

    /// The listed origin that a URL starts with, and where its path starts. Only the scheme in
    /// lower case is known; programs write it so.
    private static func origin(
        of url: Span<UInt8>, allowed: AllowedOrigins
    ) throws(ReturnTargetRefusal) -> (text: String, pathStart: Int) {
        for scheme in Origin.Scheme.allCases {
            let prefix = Array("\(scheme.rawValue)://".utf8)
            guard url.count >= prefix.count,
                prefix.indices.allSatisfy({ url[$0] == prefix[$0] })
            else { continue }
            let rest = url.extracting(prefix.count..<url.count)
            let length =
                rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.count
            guard let authority = Authority((0..<length).map { rest[$0] }) else {
                throw .malformedOrigin
            }
            let origin = Origin(scheme: scheme, authority: authority)
            guard allowed.contains(origin) else { throw .foreignOrigin }
            return (origin.text, prefix.count + length)
        }
        throw .noPathOrURL
    }

    // MARK: The path

    /// `path` is empty, which only a URL's may be, or starts with `/`.
    private static func inspect(path: Span<UInt8>) throws(ReturnTargetRefusal) {
        if path.count > 1, path[1] == UInt8(ascii: "/") { throw .doubleSlash }
        var decoded: [UInt8] = []
        var index = 0
        while index < path.count {
            if path[index] == UInt8(ascii: "%") {
                guard let byte = path.percentEncodedByte(at: index) else { throw .percentEncoding }
                switch byte {
                case _ where byte.isASCIIControl: throw .encodedControlCharacter
                case UInt8(ascii: "/"), UInt8(ascii: "\\"): throw .encodedSlash
                case UInt8(ascii: "%"): throw .doubleEncoding
                default: decoded.append(byte)
                }
                index += 3
            } else {
                decoded.append(path[index])
                index += 1
            }
        }
        guard (try? UTF8Span(validating: decoded.span)) != nil else { throw .invalidUTF8 }
        guard !decoded.contains(UInt8(ascii: "@")) else { throw .atSign }
        for segment in decoded.split(separator: UInt8(ascii: "/")) where isDotSegment(segment) {
            throw .dotSegment
        }
    }

    /// Whether a segment is `.` or `..`, alone or before parameters (`..;x`), which some servers
    /// cut off before they resolve it.
    private static func isDotSegment(_ segment: ArraySlice<UInt8>) -> Bool {
        let name = segment.prefix { $0 != UInt8(ascii: ";") }
        return (1...2).contains(name.count) && name.allSatisfy { $0 == UInt8(ascii: ".") }
    }

    // MARK: The query

    private static func inspect(query: Span<UInt8>) throws(ReturnTargetRefusal) {
        for index in query.indices where query[index] == UInt8(ascii: "%") {
            guard let byte = query.percentEncodedByte(at: index) else { throw .percentEncoding }
            if byte.isASCIIControl { throw .encodedControlCharacter }
        }
    }

    // MARK: Writing

    /// `bytes`, whose percent-encoding is whole, with everything encoded that may not stand in a
    /// URL (RFC 3986 section 3.3 without `:` and `@`) and is not in `others`.
    private static func encoded(_ bytes: Span<UInt8>, keeping others: String) -> String {
        var text: [UInt8] = []
        for index in bytes.indices {
            let byte = bytes[index]
            if byte.isASCIILetter || byte.isASCIIDigit || "-._~!$&'()*+,;=%".utf8.contains(byte)
                || others.utf8.contains(byte)
            {
                text.append(byte)
            } else {
                text += [UInt8(ascii: "%"), hexDigits[Int(byte >> 4)], hexDigits[Int(byte & 15)]]
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static let hexDigits = Array("0123456789ABCDEF".utf8)
}

/// Why a return target is not followed; the raw values name it in metrics and logs.
package enum ReturnTargetRefusal: String, Error, CaseIterable, Sendable {
    case empty
    case tooLong = "too_long"
    case controlCharacter = "control_character"
    case backslash
    case invalidUTF8 = "invalid_utf8"
    /// Neither a path from `/` on nor a URL of `http` or `https`.
    case noPathOrURL = "no_path_or_url"
    /// The URL's part between `//` and the path is no host and port.
    case malformedOrigin = "malformed_origin"
    case foreignOrigin = "foreign_origin"
    case doubleSlash = "double_slash"
    case percentEncoding = "percent_encoding"
    case encodedControlCharacter = "encoded_control_character"
    case encodedSlash = "encoded_slash"
    case doubleEncoding = "double_encoding"
    case atSign = "at_sign"
    case dotSegment = "dot_segment"
}

extension Span<UInt8> {
    fileprivate func firstIndex(where isWanted: (UInt8) -> Bool) -> Int? {
        indices.first { isWanted(self[$0]) }
    }
}
