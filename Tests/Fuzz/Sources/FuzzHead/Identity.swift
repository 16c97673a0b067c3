// How an answer writes whom it speaks of.

import GatehouseCore

enum Identity {
    /// The values of ``Answer/identityNames``.
    static func texts(_ claims: Claims) -> [String] {
        var methods = claims.methods.names
        if claims.isRemembered { methods.append("remember") }
        return [
            uuid(claims.user.value), percentEncoded(claims.username?.utf8 ?? []),
            hex(claims.session.value), String(claims.authenticated.seconds),
            methods.joined(separator: ","), String(claims.level.rawValue), "",
        ]
    }

    static func hex(_ value: Identifier) -> String {
        [value.high, value.low].map { half in
            let digits = String(half, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }

    private static func uuid(_ value: Identifier) -> String {
        var text = hex(value)
        for offset in [20, 16, 12, 8] {
            text.insert("-", at: text.index(text.startIndex, offsetBy: offset))
        }
        return text
    }

    /// Everything encoded but RFC 3986's unreserved characters.
    static func percentEncoded(_ bytes: [UInt8]) -> String {
        var text = ""
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "_"), UInt8(ascii: "~"):
                text.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                text += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return text
    }
}
