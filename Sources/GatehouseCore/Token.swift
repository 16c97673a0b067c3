// The wire format of tokens: what is sealed in which bytes, for whom and for what.

/// What a token is for. Each purpose has a key of its own and stands in the associated data, so
/// that a token of one never opens as another (REQUIREMENTS CK-10).
package enum TokenPurpose: String, CaseIterable, Sendable {
    case session, remember, device, referral, form
}

/// How a token travels. One that was made for a cookie is refused as a bearer token and the
/// reverse.
package enum TokenTransport: String, CaseIterable, Sendable {
    case cookie, bearer
}

/// The deployment's name, sealed into every token, so that a copy of the keys elsewhere (a staging
/// system made from a backup) does not interoperate.
package struct Audience: Hashable, Sendable {
    /// Long enough for a host name of any length that DNS allows in practice; keeps the associated
    /// data small.
    package static let maximumBytes = 128

    package let utf8: [UInt8]

    /// - Returns: nil unless it is 1 to 128 bytes of visible ASCII.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard (1...Self.maximumBytes).contains(bytes.count),
            bytes.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return nil }
        utf8 = bytes
    }
}

/// ```
/// offset  size  field
/// 0       1     format version, 0x01
/// 1       4     key id, big endian
/// 5       24    nonce, fresh and random for every seal
/// 29      n     ciphertext: XAES-256-GCM of the content
/// 29+n    16    tag
/// associated data = "gatehouse/v1/" audience 0x00 purpose 0x00 transport 0x00 bytes 0..<5
/// ```
/// As text: base64url without padding, at most 512 characters.
package enum TokenFormat {
    package static let version: UInt8 = 0x01
    package static let headerBytes = 5
    package static let nonceOffset = 5
    package static let ciphertextOffset = 29
    package static let overheadBytes = 45

    /// A token stays far below what a cookie (4096 bytes, RFC 6265bis) and a proxy's header buffer
    /// hold, and is never split over cookies.
    package static let maximumCharacters = 512
    /// The bytes that 512 characters hold.
    package static let maximumBytes = maximumCharacters / 4 * 3
    package static let maximumPlaintextBytes = maximumBytes - overheadBytes

    /// Characters of a token with one byte of content, the least that is sealed.
    package static let minimumCharacters = Base64URL.characterCount(byteCount: overheadBytes + 1)

    /// The bytes that stand before the nonce, and end the associated data.
    static func header(_ key: KeyID) -> [UInt8] { [version] + key.rawValue.bigEndianBytes }

    /// The associated data but for the header bytes that end it.
    static func associatedDataPrefix(
        audience: Audience, purpose: TokenPurpose, transport: TokenTransport
    ) -> [UInt8] {
        Array("gatehouse/v1/".utf8) + audience.utf8 + [0] + Array(purpose.rawValue.utf8) + [0]
            + Array(transport.rawValue.utf8) + [0]
    }
}

/// Why a token did not open. For metrics, logs and `gatehouse explain`; a caller is never told more
/// than a ``Denial`` (REQUIREMENTS CK-13).
package enum TokenDefect: String, CaseIterable, Sendable {
    /// Shorter or longer than any token.
    case length
    /// Not the one base64url spelling of some bytes.
    case encoding
    /// A format version that this release does not know.
    case version
    /// No key in the ring has this id.
    case unknownKey = "unknown_key"
    /// The key has been revoked: whatever it sealed is refused.
    case revokedKey = "revoked_key"
    /// The tag is wrong: altered, made for another purpose, transport or deployment, or forged.
    case authentication
    /// It opened, and its content is not what this release understands.
    case content
}

/// What can be read of a token without opening it.
package enum TokenText {
    /// The key that a token names; nil when it has no readable header.
    package static func keyID(_ text: [UInt8]) -> KeyID? {
        guard let bytes = Base64URL.decode(text.span), bytes.count >= TokenFormat.headerBytes else {
            return nil
        }
        return KeyID(rawValue: UInt32(bigEndianBytes: bytes.span, at: 1))
    }
}
