// The root key wraps the keyring: what lies in the store opens only with the file beside it.

/// The key that wraps the keyring, from a file outside the store.
///
/// Text form, one line: `gatehouse-root-key-1:` and the 32 bytes in base64url.
package struct RootKey: ~Copyable, Sendable {
    package static let byteCount = 32
    private static let prefix = Array("gatehouse-root-key-1:".utf8)

    private let secret: SecretBytes
    /// 8 bytes derived from the key, so that a wrong key is told from a damaged ring.
    package let id: Identifier64

    package struct Identifier64: Hashable, Sendable {
        package let rawValue: UInt64
        package init(rawValue: UInt64) { self.rawValue = rawValue }
        package var text: String { rawValue.hex }
    }

    package init(_ secret: consuming SecretBytes) throws(RootKeyDefect) {
        guard secret.count == Self.byteCount else { throw .size }
        let isZero = secret.withSpan { span in
            var union: UInt8 = 0
            for index in span.indices { union |= span[index] }
            return union == 0
        }
        guard !isZero else { throw .zero }
        do {
            let derived = try secret.withSpan { span throws(LibCryptoError) in
                try hkdfSHA256(
                    secret: span, info: Array("gatehouse/v1/root-key-id".utf8), byteCount: 8)
            }
            id = Identifier64(
                rawValue: derived.withSpan { UInt64(bigEndianBytes: $0, at: 0) })
        } catch { throw .libCrypto }
        self.secret = secret
    }

    /// A new random root key.
    package static func random(from entropy: Entropy) throws(RootKeyDefect) -> RootKey {
        let secret: SecretBytes
        do { secret = try entropy.secret(byteCount) } catch { throw .entropy }
        return try RootKey(secret)
    }

    /// Reads the text form; one line feed at the end is allowed.
    package init(text: Span<UInt8>) throws(RootKeyDefect) {
        var count = text.count
        if count > 0, text[count - 1] == UInt8(ascii: "\n") { count -= 1 }
        guard count > Self.prefix.count else { throw .format }
        for index in Self.prefix.indices where text[index] != Self.prefix[index] { throw .format }
        let digits = text.extracting(Self.prefix.count..<count)
        guard digits.count == Base64URL.characterCount(byteCount: Self.byteCount) else {
            throw .size
        }
        var decoded: Int?
        let secret = SecretBytes(count: Self.byteCount) { output in
            decoded = unsafe output.withUnsafeMutableBufferPointer { out in
                unsafe digits.withUnsafeBufferPointer { unsafe Base64URL.decode($0, into: out) }
            }
        }
        guard decoded == Self.byteCount else { throw .format }
        try self.init(secret)
    }

    /// Lends the text form, with its line feed, to `body` and wipes it.
    package borrowing func withText<Result, E: Error>(
        _ body: (Span<UInt8>) throws(E) -> Result
    ) throws(E) -> Result {
        let digitCount = Base64URL.characterCount(byteCount: Self.byteCount)
        let text = SecretBytes(count: Self.prefix.count + digitCount + 1) { output in
            for (index, byte) in Self.prefix.enumerated() { output[index] = byte }
            var digits = secret.withSpan { Base64URL.encode($0) }
            for (index, digit) in digits.enumerated() {
                output[Self.prefix.count + index] = digit
            }
            unsafe digits.withUnsafeMutableBytes { unsafe wipe($0) }
            output[Self.prefix.count + digitCount] = UInt8(ascii: "\n")
        }
        return try text.withSpan(body)
    }

    /// Seals `ring` for the store.
    package borrowing func wrap(
        _ ring: Keyring, entropy: Entropy
    ) throws(KeyringWrapFailure) -> WrappedKeyring {
        do {
            let plaintext = KeyringLayout.encode(ring)
            let sealed = try plaintext.withSpan { span throws(any Error) in
                try cipher().sealed(
                    span,
                    associatedData: KeyringLayout.associatedData(version: ring.version, root: id),
                    entropy: entropy)
            }
            return WrappedKeyring(version: ring.version, rootKey: id, sealed: sealed)
        } catch { throw .sealing }
    }

    /// Opens a ring from the store.
    package borrowing func unwrap(
        _ wrapped: WrappedKeyring
    ) throws(KeyringWrapFailure) -> Keyring {
        guard wrapped.rootKey == id else { throw .otherRootKey(wrapped.rootKey) }
        let cipher: XAES256GCM
        do { cipher = try self.cipher() } catch { throw .sealing }
        guard
            let plaintext = cipher.opened(
                wrapped.sealed.span,
                associatedData: KeyringLayout.associatedData(
                    version: wrapped.version, root: wrapped.rootKey))
        else { throw .damaged }
        return try plaintext.withSpan { span throws(KeyringWrapFailure) in
            guard let ring = KeyringLayout.decode(span, version: wrapped.version) else {
                throw .damaged
            }
            return ring
        }
    }

    private borrowing func cipher() throws(LibCryptoError) -> XAES256GCM {
        let key = try secret.withSpan { span throws(LibCryptoError) in
            try hkdfSHA256(
                secret: span, info: Array("gatehouse/v1/keyring".utf8),
                byteCount: XAES256GCM.keyBytes)
        }
        return try XAES256GCM(key: key)
    }
}

/// Why a root key is refused.
package enum RootKeyDefect: Error, Equatable {
    /// Not `gatehouse-root-key-1:` and base64url.
    case format
    /// Not 32 bytes.
    case size
    /// All zeros: a file that was truncated or never written.
    case zero
    case libCrypto
    case entropy

    package var message: String {
        switch self {
        case .format: "it is not of the form gatehouse-root-key-1:<43 base64url characters>"
        case .size: "it does not hold 32 bytes"
        case .zero: "it holds zeros only"
        case .libCrypto: "libcrypto could not derive from it"
        case .entropy: "the operating system gave no random bytes"
        }
    }
}

/// The ring as the store holds it. The version stands in the associated data, and everything else
/// of the ring, states included, is under the seal: a row that was edited does not open.
package struct WrappedKeyring: Sendable {
    package let version: UInt64
    package let rootKey: RootKey.Identifier64
    package let sealed: [UInt8]

    package init(version: UInt64, rootKey: RootKey.Identifier64, sealed: [UInt8]) {
        self.version = version
        self.rootKey = rootKey
        self.sealed = sealed
    }
}

/// Why a ring could not be wrapped or unwrapped.
package enum KeyringWrapFailure: Error, Equatable {
    case otherRootKey(RootKey.Identifier64)
    case damaged
    case sealing
}

/// ```
/// offset  size  field
/// 0       1     layout version, 0x01
/// 1       1     number of keys, each:
/// +0      4     key id
/// +4      1     state
/// +5      8     created, Unix seconds
/// +13     8     activated, 0 when never
/// +21     8     ended, 0 when not
/// +29     32    secret, zeros when revoked
/// ```
/// All big endian. Associated data: "gatehouse/v1/keyring" 0x00, ring version (8), root key id (8).
enum KeyringLayout {
    private static let version: UInt8 = 1
    private static let headerBytes = 2
    private static let keyBytes = 61

    static func associatedData(version: UInt64, root: RootKey.Identifier64) -> [UInt8] {
        Array("gatehouse/v1/keyring".utf8) + [0] + version.bigEndianBytes
            + root.rawValue.bigEndianBytes
    }

    static func encode(_ ring: Keyring) -> SecretBytes {
        SecretBytes(count: headerBytes + ring.keys.count * keyBytes) { output in
            output[0] = version
            output[1] = UInt8(ring.keys.count)
            for (position, key) in ring.keys.enumerated() {
                let offset = headerBytes + position * keyBytes
                let fields =
                    key.id.rawValue.bigEndianBytes + [key.state.rawValue]
                    + [key.created, key.activated, key.ended].flatMap {
                        UInt64($0?.seconds ?? 0).bigEndianBytes
                    }
                for (index, byte) in fields.enumerated() { output[offset + index] = byte }
                guard let secret = key.secret else { continue }
                for index in 0..<TokenKeySecret.byteCount {
                    output[offset + 29 + index] = secret.withSpan { $0[index] }
                }
            }
        }
    }

    static func decode(_ bytes: Span<UInt8>, version ringVersion: UInt64) -> Keyring? {
        guard bytes.count >= headerBytes, bytes[0] == version,
            bytes.count == headerBytes + Int(bytes[1]) * keyBytes
        else { return nil }
        var keys: [TokenKey] = []
        for position in 0..<Int(bytes[1]) {
            let offset = headerBytes + position * keyBytes
            func time(_ field: Int) -> UnixTime?? {
                let seconds = UInt64(bigEndianBytes: bytes, at: offset + field)
                guard seconds != 0 else { return .some(nil) }
                guard seconds <= UInt64(UnixTime.maximumSeconds) else { return nil }
                return UnixTime(seconds: Int64(seconds))
            }
            guard let id = KeyID(rawValue: UInt32(bigEndianBytes: bytes, at: offset)),
                let state = KeyState(rawValue: bytes[offset + 4]),
                let created = time(5), let activated = time(13), let ended = time(21)
            else { return nil }
            let secret =
                state == .revoked
                ? nil
                : TokenKeySecret(
                    SecretBytes(copying: bytes.extracting((offset + 29)..<(offset + 61))))
            keys.append(
                TokenKey(
                    id: id, state: state, created: created ?? .zero, activated: activated,
                    ended: ended, secret: secret))
        }
        return try? Keyring(version: ringVersion, keys: keys)
    }
}
