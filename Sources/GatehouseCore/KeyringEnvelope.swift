// The envelope of the keyring: the ring is sealed by a ring key, and that one by each root key.

/// The ring as the store holds it. A root key wraps the ring key only, so that whoever has one of two
/// root keys can change the ring, and the other still opens what comes of it.
///
/// | what | sealed with | associated data |
/// |---|---|---|
/// | ring | ring key | "gatehouse/v1/keyring/2" 0x00, ring version (8), ring key id (8) |
/// | ring key | root key, info "gatehouse/v1/ring-key" | "gatehouse/v1/ring-key" 0x00, ring key id (8), root key id (8) |
/// | ring of an earlier release | root key, info "gatehouse/v1/keyring" | "gatehouse/v1/keyring" 0x00, ring version (8), root key id (8) |
///
/// XAES-256-GCM, big endian; with "info" under the key that HKDF-SHA-256 derives. Everything of the
/// ring, states included, is under the seal: rows that were edited or exchanged do not open.
package struct WrappedKeyring: Sendable, Equatable {
    package struct Wrap: Sendable, Equatable {
        package let rootKey: RootKey.Identifier64
        /// The ring key; empty in a row of an earlier release.
        package let sealed: [UInt8]

        package init(rootKey: RootKey.Identifier64, sealed: [UInt8]) {
            self.rootKey = rootKey
            self.sealed = sealed
        }
    }

    /// The root key and the one that is to take its place.
    package static let maximumWraps = 2

    package let version: UInt64
    /// Nil in a row of an earlier release, which the root key itself seals; the next change of the
    /// ring gives it a ring key.
    package let ringKey: RingKeyID?
    package let sealed: [UInt8]
    package let wraps: [Wrap]

    package init(version: UInt64, ringKey: RingKeyID?, sealed: [UInt8], wraps: [Wrap]) {
        self.version = version
        self.ringKey = ringKey
        self.sealed = sealed
        self.wraps = wraps
    }

    /// The root keys that open it.
    package var rootKeys: [RootKey.Identifier64] { wraps.map(\.rootKey) }
}

/// 8 random bytes that name a ring key.
package struct RingKeyID: Hashable, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Why a ring could not be wrapped or unwrapped.
package enum KeyringWrapFailure: Error, Equatable {
    /// It is wrapped under these root keys, and not under the one that was given.
    case otherRootKey([RootKey.Identifier64], given: RootKey.Identifier64)
    case damaged
    case sealing
}

extension RootKey {
    /// Seals `ring` for the store under a new ring key, which this root key alone opens.
    package borrowing func wrap(
        _ ring: Keyring, entropy: Entropy
    ) throws(KeyringWrapFailure) -> WrappedKeyring {
        let ringKey = try RingKey.random(from: entropy)
        return try ringKey.seal(ring, wraps: [wrap(ringKey, entropy: entropy)], entropy: entropy)
    }

    /// Seals `ring` in the place of `current`, under the same ring key: its wraps stay, those of root
    /// keys that are not here included.
    package borrowing func wrap(
        _ ring: Keyring, replacing current: WrappedKeyring, entropy: Entropy
    ) throws(KeyringWrapFailure) -> WrappedKeyring {
        guard let ringKey = try ringKey(of: current) else {
            return try wrap(ring, entropy: entropy)
        }
        return try ringKey.seal(ring, wraps: current.wraps, entropy: entropy)
    }

    /// The same, and `other` opens it too.
    package borrowing func wrap(
        _ ring: Keyring, replacing current: WrappedKeyring, adding other: borrowing RootKey,
        entropy: Entropy
    ) throws(KeyringWrapFailure) -> WrappedKeyring {
        let wrapped = try wrap(ring, replacing: current, entropy: entropy)
        guard let ringKey = try ringKey(of: wrapped) else { throw .damaged }
        return WrappedKeyring(
            version: wrapped.version, ringKey: wrapped.ringKey, sealed: wrapped.sealed,
            wraps: wrapped.wraps + [try other.wrap(ringKey, entropy: entropy)])
    }

    /// Opens a ring from the store.
    package borrowing func unwrap(
        _ wrapped: WrappedKeyring
    ) throws(KeyringWrapFailure) -> Keyring {
        let cipher: XAES256GCM
        let associated: [UInt8]
        if let ringKey = try ringKey(of: wrapped) {
            cipher = try ringKey.cipher()
            associated = Envelope.ring(version: wrapped.version, ringKey: ringKey.id)
        } else {
            do { cipher = try self.cipher("gatehouse/v1/keyring") } catch { throw .sealing }
            associated = Envelope.earlierRing(version: wrapped.version, rootKey: id)
        }
        guard let plaintext = cipher.opened(wrapped.sealed.span, associatedData: associated) else {
            throw .damaged
        }
        return try plaintext.withSpan { span throws(KeyringWrapFailure) in
            guard let ring = KeyringLayout.decode(span, version: wrapped.version) else {
                throw .damaged
            }
            return ring
        }
    }

    private borrowing func wrap(
        _ ringKey: borrowing RingKey, entropy: Entropy
    ) throws(KeyringWrapFailure) -> WrappedKeyring.Wrap {
        do {
            let cipher = try cipher(Envelope.wrapInfo)
            let associated = Envelope.wrap(ringKey: ringKey.id, rootKey: id)
            let sealed = try ringKey.secret.withSpan { span throws(SealingFailure) in
                try cipher.sealed(span, associatedData: associated, entropy: entropy)
            }
            return WrappedKeyring.Wrap(rootKey: id, sealed: sealed)
        } catch { throw .sealing }
    }

    /// Nil where the root key itself seals the ring.
    private borrowing func ringKey(
        of wrapped: WrappedKeyring
    ) throws(KeyringWrapFailure) -> RingKey? {
        let id = id
        guard let wrap = wrapped.wraps.first(where: { $0.rootKey == id }) else {
            throw .otherRootKey(wrapped.rootKeys, given: id)
        }
        guard let ringKey = wrapped.ringKey else { return nil }
        let cipher: XAES256GCM
        do { cipher = try self.cipher(Envelope.wrapInfo) } catch { throw .sealing }
        guard
            let secret = cipher.opened(
                wrap.sealed.span, associatedData: Envelope.wrap(ringKey: ringKey, rootKey: id)),
            secret.count == XAES256GCM.keyBytes
        else { throw .damaged }
        return RingKey(id: ringKey, secret: secret)
    }
}

/// The key that seals the ring. It lives no longer than the one change or look.
private struct RingKey: ~Copyable {
    let id: RingKeyID
    let secret: SecretBytes

    init(id: RingKeyID, secret: consuming SecretBytes) {
        self.id = id
        self.secret = secret
    }

    static func random(from entropy: Entropy) throws(KeyringWrapFailure) -> RingKey {
        guard let bytes = try? entropy.bytes(8),
            let secret = try? entropy.secret(XAES256GCM.keyBytes)
        else { throw .sealing }
        return RingKey(
            id: RingKeyID(rawValue: UInt64(bigEndianBytes: bytes.span, at: 0)), secret: secret)
    }

    borrowing func cipher() throws(KeyringWrapFailure) -> XAES256GCM {
        do { return try XAES256GCM(key: secret) } catch { throw .sealing }
    }

    borrowing func seal(
        _ ring: Keyring, wraps: [WrappedKeyring.Wrap], entropy: Entropy
    ) throws(KeyringWrapFailure) -> WrappedKeyring {
        let cipher = try cipher()
        let associated = Envelope.ring(version: ring.version, ringKey: id)
        do {
            let plaintext = KeyringLayout.encode(ring)
            let sealed = try plaintext.withSpan { span throws(SealingFailure) in
                try cipher.sealed(span, associatedData: associated, entropy: entropy)
            }
            return WrappedKeyring(
                version: ring.version, ringKey: id, sealed: sealed, wraps: wraps)
        } catch { throw .sealing }
    }
}

/// The associated data of the table above.
private enum Envelope {
    static let wrapInfo = "gatehouse/v1/ring-key"

    static func ring(version: UInt64, ringKey: RingKeyID) -> [UInt8] {
        bytes("gatehouse/v1/keyring/2", version, ringKey.rawValue)
    }

    static func wrap(ringKey: RingKeyID, rootKey: RootKey.Identifier64) -> [UInt8] {
        bytes(wrapInfo, ringKey.rawValue, rootKey.rawValue)
    }

    static func earlierRing(version: UInt64, rootKey: RootKey.Identifier64) -> [UInt8] {
        bytes("gatehouse/v1/keyring", version, rootKey.rawValue)
    }

    private static func bytes(_ label: String, _ first: UInt64, _ second: UInt64) -> [UInt8] {
        Array(label.utf8) + [0] + first.bigEndianBytes + second.bigEndianBytes
    }
}
