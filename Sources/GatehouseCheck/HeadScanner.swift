// Reads one request head from bytes, strictly: what two parsers could read differently is refused.

import GatehouseCore

/// What the check needs to know of a request.
package struct RequestHead: Equatable {
    package enum Credential: Equatable {
        case absent
        /// Where the token stands, counted from the head's first byte; empty when there is none.
        case one(Range<Int>)
        /// More than one: which is real can't be known (REQUIREMENTS CK-7).
        case ambiguous
    }

    package var options = CheckOptions()
    /// The session cookie; with the option `bearer` the token of `Authorization`.
    package var credential = Credential.absent
    /// Whether the connection ends after the answer: HTTP/1.0, or `connection: close`.
    package var closes = false
}

/// Why a head is refused. The connection ends.
package enum HeadDefect: String, Error, CaseIterable, Sendable {
    // 400
    case requestLine = "request_line"
    case method, version, target, options
    case fieldName = "field_name"
    case fieldValue = "field_value"
    case lineEnding = "line_ending"
    case host
    case contentLength = "content_length"
    case transferEncoding = "transfer_encoding"
    /// A listed proxy's `X-Forwarded-*` can't be read.
    case forwarded
    // 413
    case body
    // 431
    case tooLarge = "too_large"
    case tooManyFields = "too_many_fields"

    package var status: Int {
        switch self {
        case .body: 413
        case .tooLarge, .tooManyFields: 431
        default: 400
        }
    }
}

/// The limits of a head, from the configuration.
package struct HeadLimits: Sendable, Equatable {
    /// From the first byte to the empty line's end. Proxies forward all of a client's cookies, and
    /// nginx by default takes no header line above 8 KiB.
    package var maximumBytes = 16 * 1024
    package var maximumFields = 64
    package init() {}
}

/// Reads a head line by line (RFC 9112 sections 2 to 6), and goes on where it stopped when more
/// bytes have come. Allocates nothing.
package struct HeadScanner {
    package enum Outcome: Equatable {
        /// More bytes are needed.
        case incomplete
        /// A whole head, and how many bytes it has.
        case complete(RequestHead, byteCount: Int)
        case refused(HeadDefect)
    }

    private let limits: HeadLimits
    private let cookieName: [UInt8]

    private var head = RequestHead()
    private var isHTTP10 = false
    /// The first byte of the line that is not complete yet.
    private var lineStart = 0
    /// How far that line has been searched for its end, so that a slow sender costs no more.
    private var searched = 0
    private var fieldCount = 0
    private var hostCount = 0
    private var authorizationCount = 0
    private var hasContentLength = false

    /// - Parameter cookieName: the session cookie's exact name.
    package init(limits: HeadLimits, cookieName: [UInt8]) {
        self.limits = limits
        self.cookieName = cookieName
    }

    /// Forgets the head that was read.
    package mutating func reset() {
        head = RequestHead()
        isHTTP10 = false
        lineStart = 0
        searched = 0
        fieldCount = 0
        hostCount = 0
        authorizationCount = 0
        hasContentLength = false
    }

    /// Reads on. `bytes` starts with the head's first byte, also when it was given before.
    package mutating func scan(_ bytes: Span<UInt8>) -> Outcome {
        // What lies past the limit is not looked at: the outcome must not depend on how much of it
        // has come.
        let bytes = bytes.extracting(0..<min(bytes.count, limits.maximumBytes))
        while true {
            let end: Int
            switch lineEnd(bytes) {
            case .found(let index): end = index
            case .bad: return .refused(.lineEnding)
            case .missing:
                // A line that is still open may end with its next byte, at the limit at most.
                return bytes.count >= limits.maximumBytes ? .refused(.tooLarge) : .incomplete
            }
            let next = end + 2
            if lineStart == 0 {
                if let defect = scanRequestLine(bytes, end: end) { return .refused(defect) }
            } else if lineStart == end {
                if let defect = finish() { return .refused(defect) }
                return .complete(head, byteCount: next)
            } else if let defect = scanField(bytes, end: end) {
                return .refused(defect)
            }
            lineStart = next
            searched = next
        }
    }

    private enum LineEnd {
        case found(Int), missing, bad
    }

    /// The index of the CR that ends the current line, whose bytes it checks: no control character
    /// but HTAB, CR only before LF, LF only after CR.
    private mutating func lineEnd(_ bytes: Span<UInt8>) -> LineEnd {
        var index = bytes.firstControl(from: searched)
        while index < bytes.count, bytes[index] == 0x09 {
            index = bytes.firstControl(from: index + 1)
        }
        searched = index
        guard index < bytes.count else { return .missing }
        guard bytes[index] == 0x0D else { return .bad }
        guard index + 1 < bytes.count else { return .missing }
        return bytes[index + 1] == 0x0A ? .found(index) : .bad
    }

    // MARK: The request line

    private mutating func scanRequestLine(_ bytes: Span<UInt8>, end: Int) -> HeadDefect? {
        guard let methodEnd = bytes.firstIndex(of: 0x20, in: 0..<end), methodEnd > 0 else {
            return .requestLine
        }
        guard HTTPMethod.isAccepted(bytes.extracting(0..<methodEnd)) else { return .method }
        let targetStart = methodEnd + 1
        guard let targetEnd = bytes.firstIndex(of: 0x20, in: targetStart..<end),
            targetEnd > targetStart
        else { return .requestLine }
        for index in targetStart..<targetEnd where !(0x21...0x7E).contains(bytes[index]) {
            return .target
        }
        let version = bytes.extracting((targetEnd + 1)..<end)
        if version.equals("HTTP/1.1") {
            isHTTP10 = false
        } else if version.equals("HTTP/1.0") {
            isHTTP10 = true
            head.closes = true
        } else {
            return .version
        }
        return scanTarget(bytes.extracting(targetStart..<targetEnd))
    }

    /// `/check`, alone or followed by options, by `/` or by `?` and anything.
    private mutating func scanTarget(_ target: Span<UInt8>) -> HeadDefect? {
        let path: StaticString = "/check"
        let length = path.utf8CodeUnitCount
        guard target.count >= length, target.extracting(0..<length).equals(path) else {
            return .target
        }
        guard target.count > length else { return nil }
        switch target[length] {
        case UInt8(ascii: "/"), UInt8(ascii: "?"): return nil
        case UInt8(ascii: ","):
            guard let options = CheckOptions(target.extracting(length..<target.count)) else {
                return .options
            }
            head.options = options
            return nil
        default: return .target
        }
    }

    // MARK: Header fields

    private mutating func scanField(_ bytes: Span<UInt8>, end: Int) -> HeadDefect? {
        fieldCount += 1
        guard fieldCount <= limits.maximumFields else { return .tooManyFields }
        // obs-fold starts with white space, which no name has, as has a space before the colon.
        var colon = lineStart
        while colon < end, isTokenByte(bytes[colon]) { colon += 1 }
        guard colon > lineStart, colon < end, bytes[colon] == UInt8(ascii: ":") else {
            return .fieldName
        }
        let name = bytes.extracting(lineStart..<colon)
        let value = bytes.trimmed((colon + 1)..<end)
        switch name.count {
        case 4 where name.equalsIgnoringCase("host"):
            hostCount += 1
            return hostCount > 1 ? .host : nil
        case 6 where name.equalsIgnoringCase("cookie"):
            if !head.options.isBearer { scanCookies(bytes, in: value) }
            return nil
        case 10 where name.equalsIgnoringCase("connection"),
            // No standard has it; llhttp takes it for the same.
            16 where name.equalsIgnoringCase("proxy-connection"):
            if bytes.extracting(value).hasListElement("close") { head.closes = true }
            return nil
        case 13 where name.equalsIgnoringCase("authorization"):
            authorizationCount += 1
            if head.options.isBearer { scanAuthorization(bytes, in: value) }
            return nil
        case 14 where name.equalsIgnoringCase("content-length"):
            // llhttp takes spaces after the number, and no tab.
            for index in value.upperBound..<end where bytes[index] == 0x09 {
                return .contentLength
            }
            return scanContentLength(bytes.extracting(value))
        case 17 where name.equalsIgnoringCase("transfer-encoding"):
            return .transferEncoding
        default:
            return nil
        }
    }

    /// Absent or exactly one `0`. Another number is a body, which we do not read; anything else
    /// might be read as another number by someone else.
    private mutating func scanContentLength(_ value: Span<UInt8>) -> HeadDefect? {
        guard !hasContentLength, value.count > 0 else { return .contentLength }
        hasContentLength = true
        if value.count == 1, value[0] == UInt8(ascii: "0") { return nil }
        guard value[0] != UInt8(ascii: "0") else { return .contentLength }
        for index in value.indices
        where !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(value[index]) {
            return .contentLength
        }
        return .body
    }

    /// Looks for our cookie (RFC 6265bis; REQUIREMENTS CK-6): split at `;`, the first `=` splits
    /// name and value, space and tab are trimmed, names compare byte by byte.
    private mutating func scanCookies(_ bytes: Span<UInt8>, in field: Range<Int>) {
        var start = field.lowerBound
        while start < field.upperBound {
            let end =
                bytes.firstIndex(of: UInt8(ascii: ";"), in: start..<field.upperBound)
                ?? field.upperBound
            if let equals = bytes.firstIndex(of: UInt8(ascii: "="), in: start..<end) {
                let name = bytes.trimmed(start..<equals)
                if bytes.extracting(name).equals(cookieName) {
                    note(bytes.trimmed((equals + 1)..<end))
                }
            }
            start = end + 1
        }
    }

    /// `Bearer`, spaces, and the token (RFC 6750 section 2.1; RFC 9110 section 11.4); another scheme is
    /// no bearer token.
    private mutating func scanAuthorization(_ bytes: Span<UInt8>, in field: Range<Int>) {
        guard authorizationCount == 1 else {
            head.credential = .ambiguous
            return
        }
        let schemeEnd = bytes.firstIndex(of: 0x20, in: field) ?? field.upperBound
        guard bytes.extracting(field.lowerBound..<schemeEnd).equalsIgnoringCase("bearer") else {
            return
        }
        note(bytes.trimmed(schemeEnd..<field.upperBound))
    }

    private mutating func note(_ value: Range<Int>) {
        head.credential = head.credential == .absent ? .one(value) : .ambiguous
    }

    private func finish() -> HeadDefect? {
        // RFC 9112 section 3.2: exactly one Host in HTTP/1.1.
        hostCount == 1 || isHTTP10 ? nil : .host
    }
}
