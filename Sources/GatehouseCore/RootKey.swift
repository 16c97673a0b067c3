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

    /// The key that the root key derives for one use: HKDF-SHA-256 with that info.
    borrowing func cipher(_ info: String) throws(LibCryptoError) -> XAES256GCM {
        let key = try secret.withSpan { span throws(LibCryptoError) in
            try hkdfSHA256(
                secret: span, info: Array(info.utf8), byteCount: XAES256GCM.keyBytes)
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

/// ```
/// offset  size  field
/// 0       1     layout version, 0x02
/// 1       1     number of token keys
/// 2       1     number of data keys; not in version 0x01, which has none
///               each token key:
/// +0      4     key id
/// +4      1     state
/// +5      8     created, Unix seconds
/// +13     8     activated, 0 when never
/// +21     8     ended, 0 when not
/// +29     32    secret, zeros when revoked
///               each data key:
/// +0      4     key id
/// +4      1     purpose
/// +5      8     created, Unix seconds
/// +13     8     activated, 0 when not yet
/// +21     32    secret
/// ```
/// All big endian. What it is sealed with: ``WrappedKeyring``.
enum KeyringLayout {
    private static let version: UInt8 = 2
    private static let versionWithoutDataKeys: UInt8 = 1
    private static let tokenKeyBytes = 61
    private static let dataKeyBytes = 53

    static func encode(_ ring: Keyring) -> SecretBytes {
        let count =
            3 + ring.keys.count * tokenKeyBytes + ring.dataKeys.count * dataKeyBytes
        return SecretBytes(count: count) { output in
            var offset = 0
            func append(_ bytes: [UInt8]) {
                for byte in bytes {
                    output[offset] = byte
                    offset += 1
                }
            }
            func append(_ times: [UnixTime?]) {
                append(times.flatMap { UInt64($0?.seconds ?? 0).bigEndianBytes })
            }
            func append(_ secret: KeySecret?) {
                for index in 0..<KeySecret.byteCount {
                    output[offset] = secret?.withSpan { $0[index] } ?? 0
                    offset += 1
                }
            }
            append([version, UInt8(ring.keys.count), UInt8(ring.dataKeys.count)])
            for key in ring.keys {
                append(key.id.rawValue.bigEndianBytes + [key.state.rawValue])
                append([key.created, key.activated, key.ended])
                append(key.secret)
            }
            for key in ring.dataKeys {
                append(key.id.rawValue.bigEndianBytes + [key.purpose.rawValue])
                append([key.created, key.activated])
                append(key.secret)
            }
        }
    }

    static func decode(_ bytes: Span<UInt8>, version ringVersion: UInt64) -> Keyring? {
        guard bytes.count >= 2 else { return nil }
        let hasDataKeys = bytes[0] == version
        guard hasDataKeys || bytes[0] == versionWithoutDataKeys,
            !hasDataKeys || bytes.count >= 3
        else { return nil }
        let header = hasDataKeys ? 3 : 2
        let tokenKeyCount = Int(bytes[1])
        let dataKeyCount = hasDataKeys ? Int(bytes[2]) : 0
        let dataStart = header + tokenKeyCount * tokenKeyBytes
        guard bytes.count == dataStart + dataKeyCount * dataKeyBytes else { return nil }
        func time(_ offset: Int) -> UnixTime?? {
            let seconds = UInt64(bigEndianBytes: bytes, at: offset)
            guard seconds != 0 else { return .some(nil) }
            guard seconds <= UInt64(UnixTime.maximumSeconds) else { return nil }
            return UnixTime(seconds: Int64(seconds))
        }
        func secret(_ offset: Int) -> KeySecret {
            KeySecret(
                SecretBytes(copying: bytes.extracting(offset..<(offset + KeySecret.byteCount))))
        }
        var keys: [TokenKey] = []
        for position in 0..<tokenKeyCount {
            let offset = header + position * tokenKeyBytes
            guard let id = KeyID(rawValue: UInt32(bigEndianBytes: bytes, at: offset)),
                let state = KeyState(rawValue: bytes[offset + 4]),
                let created = time(offset + 5), let activated = time(offset + 13),
                let ended = time(offset + 21)
            else { return nil }
            keys.append(
                TokenKey(
                    id: id, state: state, created: created ?? .zero, activated: activated,
                    ended: ended, secret: state == .revoked ? nil : secret(offset + 29)))
        }
        var dataKeys: [DataKey] = []
        for position in 0..<dataKeyCount {
            let offset = dataStart + position * dataKeyBytes
            guard let id = KeyID(rawValue: UInt32(bigEndianBytes: bytes, at: offset)),
                let purpose = DataKeyPurpose(rawValue: bytes[offset + 4]),
                let created = time(offset + 5), let activated = time(offset + 13)
            else { return nil }
            dataKeys.append(
                DataKey(
                    id: id, purpose: purpose, created: created ?? .zero, activated: activated,
                    secret: secret(offset + 21)))
        }
        return try? Keyring(version: ringVersion, keys: keys, dataKeys: dataKeys)
    }
}
