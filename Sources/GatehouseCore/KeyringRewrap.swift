// From one root key to another: the ring is wrapped under both, until every node runs with the new one.

/// What came of a step of a rewrap.
package enum RewrapOutcome: Sendable, Equatable {
    /// With the ring's version, and the root keys that were added or removed.
    case done(version: UInt64, [RootKey.Identifier64])
    /// An earlier run has done it.
    case already
    /// Of two root keys, one has to be removed before a third is added.
    case full([RootKey.Identifier64])
    /// These live nodes run with a root key that would no longer open the ring.
    case waitingForNodes([NodeID])
    /// Another writer was faster; try again.
    case conflict
}

extension KeyringChange {
    /// Wraps the ring under `new` too. The caller has made sure that `new` will be there again.
    package static func addRootKey(
        _ new: borrowing RootKey, store: any Store, rootKey: borrowing RootKey,
        by actor: AuditEvent.Actor, at now: UnixTime, entropy: Entropy
    ) async throws(RefreshFailure) -> RewrapOutcome {
        let (current, ring) = try await load(store, rootKey)
        let id = new.id
        guard !current.rootKeys.contains(id) else { return .already }
        guard current.wraps.count < WrappedKeyring.maximumWraps else {
            return .full(current.rootKeys)
        }
        let wrapped: WrappedKeyring
        do {
            wrapped = try rootKey.wrap(ring, replacing: current, adding: new, entropy: entropy)
        } catch { throw .keyring(error) }
        return try await store.replace(
            wrapped, audit: [id].map { AuditEvent(.rootKeyAdded, by: actor, rootKey: $0) },
            about: [id], at: now)
    }

    /// Gives the ring a new ring key, which `rootKey` alone opens, so that wraps under the others are of
    /// no use, kept ones included. Done only when every live node runs with `rootKey`.
    package static func keepOnlyRootKey(
        store: any Store, rootKey: borrowing RootKey, by actor: AuditEvent.Actor, at now: UnixTime,
        entropy: Entropy
    ) async throws(RefreshFailure) -> RewrapOutcome {
        let (current, ring) = try await load(store, rootKey)
        let id = rootKey.id
        let removed = current.rootKeys.filter { $0 != id }
        guard !removed.isEmpty else { return .already }
        let wrapped: WrappedKeyring
        do { wrapped = try rootKey.wrap(ring, entropy: entropy) } catch { throw .keyring(error) }
        return try await store.replace(
            wrapped, audit: removed.map { AuditEvent(.rootKeyRemoved, by: actor, rootKey: $0) },
            about: removed, at: now)
    }

    /// What is stored, and the same ring as its next version.
    private static func load(
        _ store: any Store, _ rootKey: borrowing RootKey
    ) async throws(RefreshFailure) -> (WrappedKeyring, Keyring) {
        let stored: WrappedKeyring?
        do { stored = try await store.keyring() } catch { throw .store(error) }
        guard let stored else { throw .noKeyring }
        do { return (stored, try rootKey.unwrap(stored).asNextVersion()) } catch {
            throw .keyring(error)
        }
    }
}

extension Store {
    fileprivate func replace(
        _ wrapped: WrappedKeyring, audit: [AuditEvent], about keys: [RootKey.Identifier64],
        at now: UnixTime
    ) async throws(RefreshFailure) -> RewrapOutcome {
        do {
            return
                switch try await replaceKeyring(
                    with: wrapped, onlyWhenLoaded: false, audit: audit, at: now)
            {
            case .replaced: .done(version: wrapped.version, keys)
            // Nobody asks for a leader here.
            case .versionConflict, .notLeader: .conflict
            case .waitingForNodes(let nodes): .waitingForNodes(nodes)
            }
        } catch { throw .store(error) }
    }
}

extension AuditEvent {
    fileprivate init(_ kind: Kind, by actor: Actor, rootKey: RootKey.Identifier64) {
        self.init(kind, by: actor, detail: "root_key=\(rootKey.text)")
    }
}
