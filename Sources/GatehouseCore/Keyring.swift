// The keyring: which token keys there are, what each may do, and the only ways that changes.

/// All keys at one version. A value that exists keeps the rules: ids differ; at most one token key is
/// active and at most one pending; one of them there is, unless a revocation found no room or no
/// randomness for it; a token key has a secret unless it is revoked, and the times of its state.
/// Each change makes a ring of the next version, by steps that ``KeyState/mayBecome(_:)`` allows.
package struct Keyring: Sendable {
    /// With 30 days between rotations and a day's tokens a ring holds three; enough for a burst of
    /// rotations, few enough that finding a key by id stays a short scan. It limits rotation only:
    /// a revocation may add one more, or there would be a time when it can't be done.
    package static let maximumKeys = 64
    /// What the stored layout can count.
    static let maximumStoredKeys = 255

    /// One of each purpose, and a pepper more for each of its rotations that some user has slept through.
    package static let maximumDataKeys = 64

    /// Grows by one with every change; a lower one is an old copy.
    package let version: UInt64
    /// The token keys.
    package let keys: [TokenKey]
    package let dataKeys: [DataKey]

    package init(
        version: UInt64, keys: [TokenKey], dataKeys: [DataKey] = []
    ) throws(KeyringDefect) {
        guard keys.count <= Self.maximumStoredKeys, dataKeys.count <= Self.maximumDataKeys else {
            throw .tooManyKeys
        }
        let ids = keys.map(\.id) + dataKeys.map(\.id)
        guard Set(ids).count == ids.count else { throw .duplicateKeyID }
        guard keys.count(where: { $0.state == .active }) <= 1 else { throw .severalActiveKeys }
        guard keys.count(where: { $0.state == .pending }) <= 1 else { throw .severalPendingKeys }
        for key in keys {
            guard (key.secret == nil) == (key.state == .revoked) else {
                throw .secretDoesNotFitState
            }
            guard key.timesFitState else { throw .timesDoNotFitState }
        }
        // Only a revocation leaves nothing to seal with.
        guard
            keys.isEmpty
                || keys.contains(where: { $0.state != .retiring })
        else { throw .noKeyToSealWith }
        self.version = version
        self.keys = keys
        self.dataKeys = dataKeys
    }

    /// The first ring of a store: one token key and one data key of each purpose, active at once because
    /// no node can hold an older ring.
    package static func first(at now: UnixTime, entropy: Entropy) throws(KeyringDefect) -> Keyring {
        var ring = try Keyring(version: 0, keys: [])
        let key = try ring.newKey(at: now, entropy: entropy)
        ring = try Keyring(version: 0, keys: [key])
        ring = try ring.activatingPendingKeys(at: now)
        let complete = try ring.completingDataKeys(at: now, entropy: entropy) ?? ring
        return try Keyring(version: 1, keys: complete.keys, dataKeys: complete.dataKeys)
    }

    /// The one key that seals; none between an emergency revocation and the next activation.
    package var active: TokenKey? { keys.first { $0.state == .active } }
    package var pending: TokenKey? { keys.first { $0.state == .pending } }
    package func key(_ id: KeyID) -> TokenKey? { keys.first { $0.id == id } }

    /// Adds a pending key; refused while there is one, since the next step is to activate it, and
    /// in a ring that has ``maximumKeys``.
    package func addingPendingKey(
        at now: UnixTime, entropy: Entropy
    ) throws(KeyringDefect) -> Keyring {
        guard keys.count < Self.maximumKeys else { throw .tooManyKeys }
        let key = try newKey(at: now, entropy: entropy)
        return try followed(by: keys + [key])
    }

    /// Makes the pending token key the active one and retires the one before, and activates data keys.
    /// The caller has made sure that every live node has loaded them.
    package func activatingPendingKeys(at now: UnixTime) throws(KeyringDefect) -> Keyring {
        guard pending != nil || !pendingDataKeys.isEmpty else { throw .noPendingKey }
        let pending = pending?.id
        let changed = changing { key in
            if key.id == pending {
                key.state = .active
                // Not since before it was added, though the clock went back: it would seem older than it is.
                key.activated = max(now, key.created)
            } else if pending != nil, key.state == .active {
                key.state = .retiring
                key.ended = now
            }
        }
        var dataKeys = dataKeys
        for index in dataKeys.indices where dataKeys[index].activated == nil {
            dataKeys[index].activated = now
        }
        return try followed(by: changed, dataKeys: dataKeys)
    }

    /// Revokes the keys that `selects`, and adds a pending one if that leaves none to seal with and
    /// the ring has room. Always possible: an emergency must not wait for room or randomness.
    /// Returns the ring and the ids that were revoked, or nil when `selects` no key that is not
    /// revoked already.
    package func revoking(
        at now: UnixTime, entropy: Entropy, where selects: (TokenKey) -> Bool
    ) throws(KeyringDefect) -> (ring: Keyring, revoked: [KeyID])? {
        let revoked = keys.filter { $0.state != .revoked && selects($0) }.map(\.id)
        guard !revoked.isEmpty else { return nil }
        var changed = changing { key in
            guard revoked.contains(key.id) else { return }
            key.state = .revoked
            key.ended = now
            key.secret = nil
        }
        let canSeal = changed.contains { $0.state == .active || $0.state == .pending }
        if !canSeal, keys.count < Self.maximumStoredKeys,
            let key = try? newKey(at: now, entropy: entropy)
        {
            changed.append(key)
        }
        return (try followed(by: changed), revoked)
    }

    /// Removes retiring and revoked keys whose last token has expired; nil when there are none, or while
    /// no key is active or pending: what was revoked says why.
    ///
    /// - Parameter lastDeadline: the latest absolute deadline of anything a key sealed. A key that
    ///   ended is kept for at least `leaseSeconds` after that and after it ended, for a node that
    ///   sealed just before it learned.
    package func destroyingExpiredKeys(
        at now: UnixTime, leaseSeconds: Int64, lastDeadline: (KeyID) -> UnixTime?
    ) throws(KeyringDefect) -> (ring: Keyring, destroyed: [KeyID])? {
        guard active != nil || pending != nil else { return nil }
        let destroyed = keys.filter { key in
            key.keptUntil(leaseSeconds: leaseSeconds, lastDeadline: lastDeadline(key.id))
                .map { $0 < now } ?? false
        }.map(\.id)
        guard !destroyed.isEmpty else { return nil }
        let rest = keys.filter { !destroyed.contains($0.id) }
        return (try followed(by: rest), destroyed)
    }

    /// The same keys, as a change of what wraps them.
    func asNextVersion() throws(KeyringWrapFailure) -> Keyring {
        do { return try followed(by: keys) } catch { throw .damaged }
    }

    /// Whether `next` is one change away: the next version, and only steps that the states allow.
    package func mayBecome(_ next: Keyring) -> Bool {
        guard next.version == version + 1 else { return false }
        let stays = keys.allSatisfy { key in
            let after = next.key(key.id)
            return key.state == after?.state || key.state.mayBecome(after?.state)
        }
        return stays && next.keys.allSatisfy { key($0.id) != nil || $0.state == .pending }
    }

    /// Whether `later`, of any later version, can be what became of this ring: nothing that was revoked or
    /// is gone comes back, and no key has another secret.
    package func mayPrecede(_ later: Keyring) -> Bool {
        keys.allSatisfy { key in
            guard let after = later.key(key.id) else { return true }
            if key.state == .revoked { return after.state == .revoked }
            if key.state == .retiring, after.state == .active || after.state == .pending {
                return false
            }
            guard let secret = key.secret, let other = after.secret else {
                return after.state == .revoked
            }
            return secret.isEqual(to: other)
        }
    }

    /// The ring of the next version, if it is one change away.
    private func followed(
        by keys: [TokenKey], dataKeys: [DataKey]? = nil
    ) throws(KeyringDefect) -> Keyring {
        let next = try Keyring(
            version: version + 1, keys: keys, dataKeys: dataKeys ?? self.dataKeys)
        guard mayBecome(next) else { throw .forbiddenTransition }
        return next
    }

    private func changing(_ change: (inout TokenKey) -> Void) -> [TokenKey] {
        var keys = keys
        for index in keys.indices { change(&keys[index]) }
        return keys
    }

    private func newKey(
        at now: UnixTime, entropy: Entropy
    ) throws(KeyringDefect) -> TokenKey {
        TokenKey(
            id: try newKeyID(entropy), state: .pending, created: now, activated: nil, ended: nil,
            secret: try Self.newSecret(entropy))
    }

    /// An id that no key of the ring has.
    func newKeyID(_ entropy: Entropy) throws(KeyringDefect) -> KeyID {
        while true {
            guard let bytes = try? entropy.bytes(4) else { throw .entropy }
            guard let id = KeyID(rawValue: UInt32(bigEndianBytes: bytes.span, at: 0)),
                !keys.contains(where: { $0.id == id }), !dataKeys.contains(where: { $0.id == id })
            else { continue }
            return id
        }
    }

    static func newSecret(_ entropy: Entropy) throws(KeyringDefect) -> KeySecret {
        guard let secret = KeySecret.random(from: entropy) else { throw .entropy }
        return secret
    }
}

/// Why a ring is none, or a change is refused.
package enum KeyringDefect: Error, Equatable {
    case tooManyKeys, duplicateKeyID, severalActiveKeys, severalPendingKeys
    case secretDoesNotFitState, timesDoNotFitState, noPendingKey
    /// A data key that is to be destroyed is the newest of its purpose, or there is no such key.
    case dataKeyInUse
    /// Nothing seals or is to, and nothing was revoked.
    case noKeyToSealWith
    /// A key would go back, skip a state, or appear in another than pending.
    case forbiddenTransition
    /// The operating system gave no random bytes.
    case entropy
}
