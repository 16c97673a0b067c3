// Data keys: what is stored depends on them, so they outlive every token key.

/// What a data key is for; each purpose derives its own key from the secret.
package enum DataKeyPurpose: UInt8, CaseIterable, Sendable {
    /// HMAC over password hashes (``Peppers``).
    case pepper = 1
    /// HMAC over what rows are found by but must not say, such as a name that was tried (``LookUpKey``).
    case lookUp = 2
    /// HMAC over the entries of the audit trail (``AuditKey``).
    case audit = 3
    /// Seals what people say of themselves, and makes the digests they are found by.
    case profile = 4

    package var name: String {
        switch self {
        case .pepper: "pepper"
        case .lookUp: "look-up"
        case .audit: "audit"
        case .profile: "profile"
        }
    }
}

/// A data key as the ring holds it. It has no state of its own: of those that are activated, the newest
/// is used for what is written; all others are kept while a row refers to them. `keys revoke` leaves
/// them alone (DESIGN section 7).
package struct DataKey: Sendable {
    package let id: KeyID
    package let purpose: DataKeyPurpose
    package let created: UnixTime
    /// When every node had loaded it; nil until then: no node may meet a row whose key it lacks.
    package internal(set) var activated: UnixTime?
    let secret: KeySecret

    package init(
        id: KeyID, purpose: DataKeyPurpose, created: UnixTime, activated: UnixTime?,
        secret: KeySecret
    ) {
        self.id = id
        self.purpose = purpose
        self.created = created
        self.activated = activated
        self.secret = secret
    }

    /// The key that HKDF-SHA-256 derives from the secret with the info "gatehouse/v1/data/", the purpose's
    /// name and, where a purpose has more than one use, `/` and the use.
    package func derived(for use: String = "") throws(LibCryptoError) -> SecretBytes {
        try secret.withSpan { span throws(LibCryptoError) in
            try hkdfSHA256(
                secret: span, info: Array("gatehouse/v1/data/\(purpose.name)\(use)".utf8),
                byteCount: 32)
        }
    }

    /// HMAC-SHA-256 of `message` under the derived key.
    func authenticate(_ message: Span<UInt8>) throws(LibCryptoError) -> SecretBytes {
        try derived().withSpan { key throws(LibCryptoError) in
            try hmacSHA256(key: key, message: message)
        }
    }
}

/// The peppers of a ring: keys apart from the database, under which password hashes are sealed once
/// more, so that a copy of the database alone lets nobody try passwords (REQUIREMENTS PW-8).
///
/// What is stored is HMAC-SHA-256 of Argon2's output. A new pepper is laid over what is stored, without
/// the password; a hash names its layers in their order, and has one layer again after the next sign-in.
package struct Peppers: Sendable {
    private let keys: [DataKey]

    package static let none = Peppers([])

    init(_ keys: [DataKey]) { self.keys = keys.filter { $0.purpose == .pepper } }

    /// The one that new hashes are sealed under; nil when there is none.
    package var current: KeyID? { Keyring.newest(keys)?.id }

    /// `output` under the peppers that `layers` names, the first one first.
    package func applied(
        _ layers: [KeyID], to output: Span<UInt8>
    ) throws(PepperFailure) -> SecretBytes {
        var sealed = SecretBytes(copying: output)
        for id in layers {
            guard let key = keys.first(where: { $0.id == id }) else { throw .unknown(id) }
            do throws(LibCryptoError) {
                sealed = try sealed.withSpan { span throws(LibCryptoError) in
                    try key.authenticate(span)
                }
            } catch { throw .libCrypto }
        }
        return sealed
    }

    /// That all of `layers` are here.
    package func require(_ layers: [KeyID]) throws(PepperFailure) {
        for id in layers where !keys.contains(where: { $0.id == id }) { throw .unknown(id) }
    }

    /// `hash` under one more layer, the current pepper's; as it is when that is its last layer already,
    /// or when there is no pepper.
    package func sealing(_ hash: PasswordHash) throws(PepperFailure) -> PasswordHash {
        guard let current, hash.layers.last != current else { return hash }
        guard hash.layers.count < PasswordHash.maximumLayers else { throw .tooManyLayers }
        let output = try hash.withOutput { output throws(PepperFailure) in
            try applied([current], to: output)
        }
        return output.withSpan {
            PasswordHash(
                parameters: hash.parameters, salt: hash.salt, layers: hash.layers + [current],
                output: $0)
        }
    }
}

/// Why a pepper could not be laid over a hash.
package enum PepperFailure: Error, Hashable {
    /// The ring has no such pepper: the row was tampered with, or comes from another deployment.
    case unknown(KeyID)
    /// The hash has `PasswordHash.maximumLayers` already.
    case tooManyLayers
    case libCrypto
}

/// Gives rows a name that says nothing to whoever has the database alone.
package struct LookUpKey: Sendable {
    package static let byteCount = 32
    private let key: DataKey

    init(_ key: DataKey) { self.key = key }

    /// 32 bytes that stand for `value`, of the kind that `domain` names.
    package func digest(of value: [UInt8], in domain: String) throws(LibCryptoError) -> [UInt8] {
        let message = Array(domain.utf8) + [0] + value
        let digest = try key.authenticate(message.span)
        return digest.withSpan { span in span.indices.map { span[$0] } }
    }
}

extension Keyring {
    package var peppers: Peppers { Peppers(dataKeys) }
    /// Nil until the first one is activated.
    package var lookUpKey: LookUpKey? {
        Self.newest(dataKeys.filter { $0.purpose == .lookUp }).map { LookUpKey($0) }
    }

    /// The activated key that was added last; not by its time, which two may share.
    static func newest(_ keys: [DataKey]) -> DataKey? { keys.last { $0.activated != nil } }

    /// Adds a key of `purpose`, which is activated once every node has loaded it.
    package func addingDataKey(
        _ purpose: DataKeyPurpose, at now: UnixTime, entropy: Entropy
    ) throws(KeyringDefect) -> Keyring {
        guard dataKeys.count < Self.maximumDataKeys else { throw .tooManyKeys }
        let key = DataKey(
            id: try newKeyID(entropy), purpose: purpose, created: now, activated: nil,
            secret: try Self.newSecret(entropy))
        return try Keyring(version: version + 1, keys: keys, dataKeys: dataKeys + [key])
    }

    /// Adds the purposes' keys that the ring has none of, activated at once: nothing refers to them yet.
    package func completingDataKeys(
        at now: UnixTime, entropy: Entropy
    ) throws(KeyringDefect) -> Keyring? {
        var ring = self
        for purpose in DataKeyPurpose.allCases
        where !dataKeys.contains(where: { $0.purpose == purpose }) {
            ring = try ring.addingDataKey(purpose, at: now, entropy: entropy)
        }
        guard ring.version != version else { return nil }
        var complete = ring.dataKeys
        for index in complete.indices.dropFirst(dataKeys.count) { complete[index].activated = now }
        return try Keyring(version: version + 1, keys: keys, dataKeys: complete)
    }

    /// The data keys that wait for every node to load them.
    package var pendingDataKeys: [DataKey] { dataKeys.filter { $0.activated == nil } }
}
