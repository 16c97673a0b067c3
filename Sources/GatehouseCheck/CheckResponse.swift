// Writes the answers of the check endpoint, every one with the complete set of headers.

import GatehouseCore

extension AnswerBuffer {
    /// A session that is good.
    ///
    /// - Parameter renewal: the value of `Set-Cookie`, when the session is renewed.
    func appendGood(
        _ claims: borrowing Claims, renewal: [UInt8]?, closes: Bool
    ) {
        append("HTTP/1.1 200 OK")
        appendCommonHeaders()
        append("\r\nx-auth-user: ")
        appendUUID(claims.user.value)
        append("\r\nx-auth-username: ")
        // A header is ASCII.
        claims.withUsername { appendPercentEncoded($0) }
        append("\r\nx-auth-session: ")
        appendHex(claims.session.value.high)
        appendHex(claims.session.value.low)
        append("\r\nx-auth-time: ")
        appendDecimal(claims.authenticated.seconds)
        append("\r\nx-auth-methods: ")
        appendMethods(claims)
        append("\r\nx-auth-level: ")
        append(UInt8(ascii: "0") + claims.level.rawValue)
        if claims.isActed {
            append("\r\nx-auth-actor: ")
            claims.withActor { appendPercentEncoded($0) }
            append("\r\nx-auth-reason: ")
        } else {
            append("\r\nx-auth-actor: \r\nx-auth-reason: ")
        }
        if let renewal {
            append("\r\nset-cookie: ")
            append(renewal.span)
        }
        appendEnd(closes: closes)
    }

    /// The option `optional`: nobody, and that is fine.
    func appendNobody(closes: Bool) {
        append("HTTP/1.1 200 OK")
        appendCommonHeaders()
        appendNoIdentity()
        appendEnd(closes: closes)
    }

    /// No session, or one that is no good (401), or not good enough for what was asked (403).
    func appendDenied(_ denial: Denial, closes: Bool) {
        switch denial {
        case .stale, .level: append("HTTP/1.1 403 Forbidden")
        // RFC 9110 section 15.5.2 wants a challenge; browsers ignore this scheme.
        default: append("HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Gatehouse")
        }
        appendCommonHeaders()
        appendNoIdentity()
        append(Self.reason(denial))
        appendEnd(closes: closes)
    }

    /// The option `forward`: to the front door, which knows the way back.
    func appendForwarded(
        _ denial: Denial, to location: ResumeLocation, closes: Bool
    ) {
        append("HTTP/1.1 302 Found\r\nlocation: ")
        append(location.url.span)
        if let wayBack = location.wayBack {
            append("?return_to=")
            appendPercentEncoded(wayBack.span)
        }
        appendCommonHeaders()
        appendNoIdentity()
        append(Self.reason(denial))
        appendEnd(closes: closes)
    }

    private static func reason(_ denial: Denial) -> StaticString {
        switch denial {
        case .absent: "absent"
        case .invalid: "invalid"
        case .expired: "expired"
        case .revoked: "revoked"
        case .stale: "stale"
        case .level: "level"
        }
    }

    /// This node can't know; a caller may ask again after a second.
    func appendUnavailable(closes: Bool) {
        append("HTTP/1.1 503 Service Unavailable\r\nretry-after: 1")
        appendCommonHeaders()
        appendNoIdentity()
        appendEnd(closes: closes)
    }

    /// Not a request that we accept; the connection closes.
    func appendRefused(status: Int) {
        switch status {
        case 413: append("HTTP/1.1 413 Content Too Large")
        case 431: append("HTTP/1.1 431 Request Header Fields Too Large")
        default: append("HTTP/1.1 400 Bad Request")
        }
        appendCommonHeaders()
        appendNoIdentity()
        appendEnd(closes: true)
    }

    private func appendNoIdentity() {
        append(
            """
            \r\nx-auth-user: \r\nx-auth-username: \r\nx-auth-session: \r\nx-auth-time: \
            \r\nx-auth-methods: \r\nx-auth-level: \r\nx-auth-actor: \r\nx-auth-reason:\u{20}
            """)
    }

    private func appendEnd(closes: Bool) {
        append(closes ? "\r\nconnection: close\r\n\r\n" : "\r\n\r\n")
    }

    private func appendHex(_ value: UInt64) {
        appendHex(UInt32(truncatingIfNeeded: value >> 32))
        appendHex(UInt32(truncatingIfNeeded: value))
    }

    private func appendUUID(_ identifier: Identifier) {
        appendHex(UInt32(truncatingIfNeeded: identifier.high >> 32))
        append(UInt8(ascii: "-"))
        appendHex(UInt16(truncatingIfNeeded: identifier.high >> 16))
        append(UInt8(ascii: "-"))
        appendHex(UInt16(truncatingIfNeeded: identifier.high))
        append(UInt8(ascii: "-"))
        appendHex(UInt16(truncatingIfNeeded: identifier.low >> 48))
        append(UInt8(ascii: "-"))
        appendHex(UInt16(truncatingIfNeeded: identifier.low >> 32))
        appendHex(UInt32(truncatingIfNeeded: identifier.low))
    }

    /// RFC 8176 names, and `remember` for a session that a remember cookie gave.
    private func appendMethods(_ claims: borrowing Claims) {
        let start = count
        if claims.methods.contains(.password) { appendElement("pwd", since: start) }
        if claims.methods.contains(.oneTimeCode) { appendElement("otp", since: start) }
        if claims.methods.contains(.hardwareKey) { appendElement("hwk", since: start) }
        if claims.isRemembered { appendElement("remember", since: start) }
    }

    /// An element of a list that began at `start`.
    private func appendElement(_ name: StaticString, since start: Int) {
        if count > start { append(UInt8(ascii: ",")) }
        append(name)
    }
}
