// Which token a request presents, by its header fields as NIOHTTP1 gives them.

import NIOHTTP1

enum ReferenceCredential: Equatable {
    case absent
    /// Empty when the cookie or the header is.
    case one(ArraySlice<UInt8>)
    case ambiguous

    init(_ headers: HTTPHeaders, options: OptionsAsked) {
        self = options.isBearer ? Self.bearer(headers) : Self.cookie(headers)
    }

    /// The session cookie (REQUIREMENTS CK-6, CK-7): Cookie fields joined with `; `, split at `;`,
    /// the first `=` splits, space and tab are trimmed, and nothing is decoded.
    private static func cookie(_ headers: HTTPHeaders) -> ReferenceCredential {
        var joined: [UInt8] = []
        for value in values(headers, "cookie") {
            if !joined.isEmpty { joined += "; ".utf8 }
            joined += value
        }
        var found: [ArraySlice<UInt8>] = []
        for pair in split(joined[...], at: ";") {
            guard let equals = pair.firstIndex(of: UInt8(ascii: "=")),
                trimmed(pair[..<equals]).elementsEqual(Lane.cookieName.utf8)
            else { continue }
            found.append(trimmed(pair[(equals + 1)...]))
        }
        return found.count > 1 ? .ambiguous : found.first.map { .one($0) } ?? .absent
    }

    /// The one `Authorization` field, when it is `Bearer` and spaces (RFC 6750 section 2.1).
    private static func bearer(_ headers: HTTPHeaders) -> ReferenceCredential {
        let fields = values(headers, "authorization")
        guard let field = fields.first else { return .absent }
        guard fields.count == 1 else { return .ambiguous }
        let scheme = field.prefix { $0 != UInt8(ascii: " ") }
        guard equalsIgnoringCase(scheme, "bearer") else { return .absent }
        return .one(trimmed(field[scheme.endIndex...]))
    }
}

/// Every value of the fields called `lowerCase`, trimmed.
func values(_ headers: HTTPHeaders, _ lowerCase: String) -> [ArraySlice<UInt8>] {
    var values: [ArraySlice<UInt8>] = []
    for (name, value) in headers where equalsIgnoringCase(name.utf8, lowerCase) {
        values.append(trimmed(Array(value.utf8)[...]))
    }
    return values
}
