// Sealing of profiles, one row at a time, and the digests that people are found by.

package import GatehouseCore

/// Bytes under one of the ring's profile keys.
package struct SealedRow: Sendable, Equatable {
    package let key: KeyID
    package let bytes: [UInt8]

    package init(key: KeyID, bytes: [UInt8]) {
        self.key = key
        self.bytes = bytes
    }
}

/// Why a profile could not be read or written.
package enum ProfileFailure: Error, Sendable, Equatable {
    /// The ring has no profile key, or not the one that a row names.
    case noKey
    /// The row was tampered with, put elsewhere, or is of a newer release.
    case damaged
    /// libcrypto or the kernel's randomness failed.
    case sealing
    case store(StoreError)
}

/// The profile keys of a ring.
///
/// Rows are sealed with XAES-256-GCM under the key that HKDF-SHA-256 derives with the info
/// "gatehouse/v1/data/profile", each under a fresh nonce, with this associated data:
///
/// ```
/// "gatehouse/v1/profile" 0x00 table 0x00 user id (16) number (8)
/// ```
///
/// `number` is the revision of a profile, or the sequence of an entry of its history, so that no row opens
/// in the place of another, of the same person either. Digests are HMAC-SHA-256 under a key of its own.
package struct ProfileVault: Sendable {
    private enum Table: String { case profiles, profile_history }

    private let keys: [DataKey]
    /// What is sealed is sealed under this one.
    package let current: KeyID

    /// - Throws: `noKey` for a ring that an earlier release made.
    package init(_ ring: Keyring) throws(ProfileFailure) {
        guard let current = ring.newestDataKey(.profile)?.id else { throw .noKey }
        self.current = current
        keys = ring.dataKeys.filter { $0.purpose == .profile }
    }

    // MARK: Profiles

    package func seal(
        _ profile: Profile, of user: UserID, revision: Int64, entropy: Entropy
    ) throws(ProfileFailure) -> SealedRow {
        try seal(profile.encoded(), .profiles, user, revision, entropy)
    }

    package func open(
        _ sealed: SealedRow, of user: UserID, revision: Int64
    ) throws(ProfileFailure) -> Profile {
        guard let profile = Profile(encoded: try open(sealed, .profiles, user, revision)) else {
            throw .damaged
        }
        return profile
    }

    // MARK: History

    package func seal(
        _ change: ProfileChange, of user: UserID, sequence: Int64, entropy: Entropy
    ) throws(ProfileFailure) -> SealedRow {
        try seal(change.encoded(), .profile_history, user, sequence, entropy)
    }

    package func open(
        _ sealed: SealedRow, of user: UserID, sequence: Int64
    ) throws(ProfileFailure) -> ProfileChange {
        let bytes = try open(sealed, .profile_history, user, sequence)
        guard let change = ProfileChange(encoded: bytes) else { throw .damaged }
        return change
    }

    // MARK: Search

    /// The digests of what the profile says in these fields.
    package func digests(
        of profile: Profile, in fields: [ProfileField]
    ) throws(ProfileFailure) -> [ProfileDigest] {
        var digests: [ProfileDigest] = []
        for field in fields {
            guard let value = profile.values[field.name] else { continue }
            digests.append(try digest(field.searchForm(of: value), field.name, key(current)))
        }
        return digests
    }

    /// A value's digests under every key: rows may still have an older one's.
    package func allDigests(
        of value: String, in field: ProfileField
    ) throws(ProfileFailure) -> [ProfileDigest] {
        var digests: [ProfileDigest] = []
        for key in keys {
            digests.append(try digest(field.searchForm(of: value), field.name, key))
        }
        return digests
    }

    private func digest(
        _ value: [UInt8], _ field: String, _ key: DataKey
    ) throws(ProfileFailure) -> ProfileDigest {
        let message = Array(field.utf8) + [0] + value
        do {
            let digest = try key.derived(for: "/search").withSpan { key throws(LibCryptoError) in
                try hmacSHA256(key: key, message: message.span)
            }
            return ProfileDigest(
                field: field, key: key.id,
                digest: digest.withSpan { span in span.indices.map { span[$0] } })
        } catch { throw .sealing }
    }

    // MARK: Bytes

    private func key(_ id: KeyID) throws(ProfileFailure) -> DataKey {
        guard let key = keys.first(where: { $0.id == id }) else { throw .noKey }
        return key
    }

    private func cipher(_ id: KeyID) throws(ProfileFailure) -> XAES256GCM {
        let key = try key(id)
        do { return try XAES256GCM(key: try key.derived()) } catch { throw .sealing }
    }

    private static func associatedData(
        _ table: Table, _ user: UserID, _ number: Int64
    ) -> [UInt8] {
        Array("gatehouse/v1/profile".utf8) + [0] + Array(table.rawValue.utf8) + [0]
            + user.value.bytes + UInt64(bitPattern: number).bigEndianBytes
    }

    private func seal(
        _ plaintext: [UInt8], _ table: Table, _ user: UserID, _ number: Int64, _ entropy: Entropy
    ) throws(ProfileFailure) -> SealedRow {
        let cipher = try cipher(current)
        do {
            let bytes = try cipher.sealed(
                plaintext.span, associatedData: Self.associatedData(table, user, number),
                entropy: entropy)
            return SealedRow(key: current, bytes: bytes)
        } catch { throw .sealing }
    }

    private func open(
        _ sealed: SealedRow, _ table: Table, _ user: UserID, _ number: Int64
    ) throws(ProfileFailure) -> [UInt8] {
        let plaintext = try cipher(sealed.key).opened(
            sealed.bytes.span, associatedData: Self.associatedData(table, user, number))
        guard let plaintext else { throw .damaged }
        return plaintext.withSpan { span in span.indices.map { span[$0] } }
    }
}
