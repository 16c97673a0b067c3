// Changes of the stored ring: each reads one version, and takes effect only if it is still current.

package enum KeyringChange {
    package enum Activation: Sendable, Equatable {
        /// The token key, or the first data key.
        case activated(KeyID)
        case noPendingKey
        case waitingForNodes([NodeID])
        /// Another writer was faster; read again.
        case conflict
    }

    /// Makes the pending keys of `ring` active if every live node has loaded `ring`.
    package static func activatePending(
        in ring: Keyring, store: any Store,
        rootKey: borrowing RootKey,
        by actor: AuditEvent.Actor, at now: UnixTime, entropy: Entropy
    ) async throws(RefreshFailure) -> Activation {
        let pending = (ring.pending.map { [$0.id] } ?? []) + ring.pendingDataKeys.map(\.id)
        guard let first = pending.first else { return .noPendingKey }
        let next: Keyring
        do { next = try ring.activatingPendingKeys(at: now) } catch {
            return .noPendingKey
        }
        let outcome = try await replace(
            with: next, onlyWhenLoaded: true,
            audit: pending.map { AuditEvent(.keyActivated, by: actor, key: $0) }, store: store,
            rootKey: rootKey, at: now, entropy: entropy)
        switch outcome {
        case .replaced: return .activated(first)
        case .versionConflict, .notLeader: return .conflict
        case .waitingForNodes(let nodes): return .waitingForNodes(nodes)
        }
    }

    /// The latest absolute deadline of anything that a key may have sealed: a check may renew a session
    /// under a later key than the one that it began with. Keys stand in the order in which they became
    /// active, whatever the clocks said.
    package static func lastDeadline(
        of id: KeyID, in ring: Keyring, _ usage: [KeyID: KeyUsage]
    ) -> UnixTime? {
        guard let index = ring.keys.firstIndex(where: { $0.id == id && $0.activated != nil }) else {
            return usage[id]?.lastDeadline
        }
        return ring.keys.prefix(through: index).compactMap { usage[$0.id]?.lastDeadline }.max()
    }

    /// Removes ended keys whose last token has expired.
    package static func destroyExpired(
        in ring: Keyring, leaseSeconds: Int64, store: any Store, rootKey: borrowing RootKey,
        by actor: AuditEvent.Actor, at now: UnixTime, entropy: Entropy
    ) async throws(RefreshFailure) -> [KeyID] {
        let usage: [KeyID: KeyUsage]
        do { usage = try await store.keyUsage() } catch { throw .store(error) }
        guard
            let (next, destroyed) = try? ring.destroyingExpiredKeys(
                at: now, leaseSeconds: leaseSeconds,
                lastDeadline: { lastDeadline(of: $0, in: ring, usage) })
        else { return [] }
        let outcome = try await replace(
            with: next, onlyWhenLoaded: false,
            audit: destroyed.map { AuditEvent(.keyDestroyed, by: actor, key: $0) }, store: store,
            rootKey: rootKey, at: now, entropy: entropy)
        return outcome == .replaced ? destroyed : []
    }

    /// Stores `ring` in the place of the version before it, if that is current, under the same root keys.
    package static func replace(
        with ring: Keyring, onlyWhenLoaded: Bool, onlyAsLeader node: NodeID? = nil,
        audit: [AuditEvent], store: any Store, rootKey: borrowing RootKey, at now: UnixTime,
        entropy: Entropy
    ) async throws(RefreshFailure) -> KeyringReplacement {
        let current: WrappedKeyring?
        do { current = try await store.keyring() } catch { throw .store(error) }
        // Every change of the wraps is a version too: what was read here is what is replaced.
        guard ring.version == (current?.version ?? 0) + 1 else {
            return .versionConflict(current: current?.version ?? 0)
        }
        let wrapped: WrappedKeyring
        do {
            wrapped =
                if let current {
                    try rootKey.wrap(ring, replacing: current, entropy: entropy)
                } else { try rootKey.wrap(ring, entropy: entropy) }
        } catch { throw .keyring(error) }
        do {
            return try await store.replaceKeyring(
                with: wrapped, onlyWhenLoaded: onlyWhenLoaded, onlyAsLeader: node, audit: audit,
                at: now)
        } catch { throw .store(error) }
    }
}
