// Writes the answers of the check endpoint, every one with the complete set of headers.

import GatehouseCore

enum CheckResponse {
    /// Seconds after which a caller may ask again a node that can't know now.
    static let retryAfterSeconds = 1

    private static let ok = Array("HTTP/1.1 200 OK".utf8)
    // RFC 9110 section 15.5.2 wants a challenge; browsers ignore this scheme.
    private static let unauthorized = Array(
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Gatehouse".utf8)
    private static let unavailable = Array(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: \(retryAfterSeconds)".utf8)
    private static let absent = Array("absent".utf8)
    private static let invalid = Array("invalid".utf8)
    private static let expired = Array("expired".utf8)
    private static let revoked = Array("revoked".utf8)
    private static let common = Array(
        "\r\ncontent-length: 0\r\ncache-control: no-store\r\ndate: ".utf8)
    private static let user = Array("\r\nx-auth-user: ".utf8)
    private static let username = Array("\r\nx-auth-username: ".utf8)
    private static let session = Array("\r\nx-auth-session: ".utf8)
    private static let time = Array("\r\nx-auth-time: ".utf8)
    private static let methods = Array("\r\nx-auth-methods: ".utf8)
    private static let level = Array("\r\nx-auth-level: ".utf8)
    /// A support person acting under a grant; empty until there are grants.
    private static let actorAndReason = Array("\r\nx-auth-actor: \r\nx-auth-reason: ".utf8)
    private static let nobody =
        user + username + session + time + methods + level + actorAndReason
    private static let close = Array("\r\nconnection: close".utf8)
    private static let end = Array("\r\n\r\n".utf8)

    /// A session that is good.
    static func appendGood(
        _ claims: Claims, date: [UInt8], closes: Bool, to output: inout [UInt8]
    ) {
        output += ok
        output += common
        output += date
        output += user
        output.appendUUID(claims.user.value)
        output += username
        output.appendPercentEncoded(claims)
        output += session
        output.appendHex(claims.session.value.high)
        output.appendHex(claims.session.value.low)
        output += time
        output.appendDecimal(claims.authenticated.seconds)
        output += methods
        output.appendMethods(claims)
        output += level
        output.append(UInt8(ascii: "0") + claims.level.rawValue)
        output += actorAndReason
        if closes { output += close }
        output += end
    }

    /// No session, or one that is no good.
    static func appendDenied(
        _ denial: Denial, date: [UInt8], closes: Bool, to output: inout [UInt8]
    ) {
        output += unauthorized
        output += common
        output += date
        output += nobody
        output += reason(denial)
        if closes { output += close }
        output += end
    }

    private static func reason(_ denial: Denial) -> [UInt8] {
        switch denial {
        case .absent: absent
        case .invalid: invalid
        case .expired: expired
        case .revoked: revoked
        }
    }

    /// This node can't know.
    static func appendUnavailable(date: [UInt8], closes: Bool, to output: inout [UInt8]) {
        output += unavailable
        output += common
        output += date
        output += nobody
        if closes { output += close }
        output += end
    }

    /// Not a request that we accept; the connection closes.
    static func appendRefused(status: Int, date: [UInt8], to output: inout [UInt8]) {
        let phrase =
            switch status {
            case 413: "Content Too Large"
            case 431: "Request Header Fields Too Large"
            default: "Bad Request"
            }
        output += Array("HTTP/1.1 \(status) \(phrase)".utf8)
        output += common
        output += date
        output += nobody
        output += close
        output += end
    }
}

extension [UInt8] {
    /// 16 lower-case hex digits.
    fileprivate mutating func appendHex(_ value: UInt64) { appendHex(value, digits: 16) }

    private mutating func appendHex(_ value: UInt64, digits: Int) {
        var shift = UInt64(digits * 4)
        while shift > 0 {
            shift -= 4
            append(hexDigit(UInt8(truncatingIfNeeded: value >> shift)))
        }
    }

    fileprivate mutating func appendUUID(_ identifier: Identifier) {
        appendHex(identifier.high >> 32, digits: 8)
        append(UInt8(ascii: "-"))
        appendHex(identifier.high >> 16, digits: 4)
        append(UInt8(ascii: "-"))
        appendHex(identifier.high, digits: 4)
        append(UInt8(ascii: "-"))
        appendHex(identifier.low >> 48, digits: 4)
        append(UInt8(ascii: "-"))
        appendHex(identifier.low, digits: 12)
    }

    fileprivate mutating func appendDecimal(_ value: Int64) {
        let start = count
        var rest = UInt64(clamping: value)
        repeat {
            append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        self[start...].reverse()
    }

    /// The username, percent-encoded outside RFC 3986's unreserved characters: a header is ASCII.
    fileprivate mutating func appendPercentEncoded(_ claims: Claims) {
        for index in 0..<claims.usernameLength {
            let byte = claims.usernameByte(index)
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "_"), UInt8(ascii: "~"):
                append(byte)
            default:
                append(UInt8(ascii: "%"))
                append(upperHexDigit(byte >> 4))
                append(upperHexDigit(byte))
            }
        }
    }

    private func upperHexDigit(_ value: UInt8) -> UInt8 {
        let nibble = value & 0x0F
        return nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "A") + (nibble - 10)
    }

    /// RFC 8176 names, and `remember` for a session that a remember cookie gave.
    fileprivate mutating func appendMethods(_ claims: Claims) {
        var isFirst = true
        for (method, name) in AuthenticationMethods.names where claims.methods.contains(method) {
            if !isFirst { append(UInt8(ascii: ",")) }
            append(contentsOf: name.utf8)
            isFirst = false
        }
        if claims.isRemembered {
            if !isFirst { append(UInt8(ascii: ",")) }
            append(contentsOf: "remember".utf8)
        }
    }
}
