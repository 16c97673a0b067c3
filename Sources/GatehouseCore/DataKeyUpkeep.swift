// Which rows depend on which data key, and the destruction of those that nothing depends on.

/// How the stored password hashes depend on peppers.
package struct PepperUse: Sendable {
    /// Hashes read in one transaction.
    package static let pageRows = 500

    /// Users whose hash has the pepper among its layers.
    package private(set) var users: [KeyID: Int] = [:]
    /// Users whose hash has it as its innermost layer: it was the newest when their password was last
    /// hashed.
    package private(set) var innermost: [KeyID: Int] = [:]
    /// Of those, the ones with no other layer.
    package private(set) var only: [KeyID: Int] = [:]
    /// Hashes of ours under no pepper, and other systems' hashes, until their users' next sign-in.
    package private(set) var without = 0
    package private(set) var foreign = 0

    package init(of store: any Store) async throws(StoreError) {
        var last: UserID?
        while true {
            let page = try await store.passwordHashes(after: last, limit: Self.pageRows)
            for stored in page { count(try? PasswordHash(stored.text)) }
            guard page.count == Self.pageRows else { return }
            last = page.last?.user
        }
    }

    private mutating func count(_ hash: PasswordHash?) {
        guard let hash else {
            foreign += 1
            return
        }
        for layer in Set(hash.layers) { users[layer, default: 0] += 1 }
        guard let first = hash.layers.first else {
            without += 1
            return
        }
        innermost[first, default: 0] += 1
        if hash.layers.count == 1 { only[first, default: 0] += 1 }
    }

    /// Users who have not signed in since a pepper of `ring` became active: their password was last hashed
    /// under an older one, or under none. Whoever's new hash was not written counts too.
    package func notSignedIn(since pepper: KeyID, in ring: Keyring) -> Int {
        let older = ring.dataKeys.prefix { $0.id != pepper }
        return older.reduce(without + foreign) { $0 + (innermost[$1.id] ?? 0) }
    }
}

/// Rows that depend on a data key.
package enum DataKeyRows: Sendable, Equatable {
    case counted(Int)
    /// Of all keys of the purpose together: a row doesn't say whose it is.
    case together(Int)
}

extension Keyring {
    /// The key of a purpose that is used for what is written.
    package func newestDataKey(_ purpose: DataKeyPurpose) -> DataKey? {
        Self.newest(dataKeys.filter { $0.purpose == purpose })
    }

    /// Those of a purpose that were in use and are not any more.
    package func formerDataKeys(_ purpose: DataKeyPurpose) -> [DataKey] {
        let newest = newestDataKey(purpose)?.id
        return dataKeys.filter {
            $0.purpose == purpose && $0.activated != nil && $0.id != newest
        }
    }

    /// Removes data keys that are not in use any more.
    package func destroyingDataKeys(_ ids: [KeyID]) throws(KeyringDefect) -> Keyring {
        let former = DataKeyPurpose.allCases.flatMap { formerDataKeys($0).map(\.id) }
        guard ids.allSatisfy(former.contains) else { throw .dataKeyInUse }
        return try Keyring(
            version: version + 1, keys: keys, dataKeys: dataKeys.filter { !ids.contains($0.id) })
    }
}

/// The destruction of data keys.
package enum DataKeyUpkeep {
    /// How long after a newer key's activation an older one may still be written under, in seconds: the
    /// longest lease that can be configured, and the clocks' skew. A server that had not loaded the newer
    /// one has answered nothing for as long.
    package static let settlingSeconds: Int64 = 3600 + clockSkewSeconds
    /// How long counters under a former look-up key are kept, in seconds. Nobody finds them any more; among
    /// them may be a few of the newer key, whose waits this does not cut short.
    static let counterSeconds = AttemptRule.strangerSeconds
    /// Counters changed in one transaction.
    static let counterBatch = 1000

    /// Why a former key stays.
    package enum Reason: Sendable, Equatable {
        /// The newer one is too young.
        case settling(until: UnixTime)
        /// So many rows depend on it, or may.
        case rows(Int)
    }

    package struct Pruning: Sendable {
        package var destroyed: [KeyID] = []
        package var kept: [(key: KeyID, reason: Reason)] = []
    }

    /// How many rows depend on a data key.
    package static func rows(
        of key: DataKey, peppers: PepperUse, store: any Store
    ) async throws(StoreError) -> DataKeyRows {
        switch key.purpose {
        case .pepper: .counted(peppers.users[key.id] ?? 0)
        case .lookUp: .together(try await store.attemptCount(upTo: .maximum))
        case .audit: .counted(try await store.auditKeyUse()[key.id] ?? 0)
        case .profile: .counted(try await store.profileKeyUse()[key.id] ?? 0)
        }
    }

    /// Destroys the data keys of `ring` that are not the newest of their purpose and that no row depends
    /// on. The caller has waited until every live server has loaded `ring`; if one comes that has not, or
    /// the ring has changed, nothing is destroyed and the outcome says why.
    package static func prune(
        _ ring: Keyring, store: any Store, rootKey: borrowing RootKey, at now: UnixTime,
        entropy: Entropy
    ) async throws(RefreshFailure) -> (Pruning, KeyringReplacement) {
        var pruning = Pruning()
        var audit: [AuditEvent] = []
        for purpose in DataKeyPurpose.allCases {
            let former = ring.formerDataKeys(purpose)
            guard !former.isEmpty, let newest = ring.newestDataKey(purpose)?.activated else {
                continue
            }
            do throws(StoreError) {
                let reasons = try await reasonsToKeep(
                    former, purpose, newest: newest, store: store, at: now)
                for key in former {
                    if let reason = reasons[key.id] {
                        pruning.kept.append((key.id, reason))
                    } else {
                        pruning.destroyed.append(key.id)
                        audit.append(
                            AuditEvent(
                                .keyDestroyed, by: .command, key: key.id,
                                detail: "purpose=\(purpose.name)"))
                    }
                }
            } catch { throw .store(error) }
        }
        guard !pruning.destroyed.isEmpty else { return (pruning, .replaced) }
        let next: Keyring
        do { next = try ring.destroyingDataKeys(pruning.destroyed) } catch {
            return (pruning, .versionConflict(current: ring.version))
        }
        let outcome = try await KeyringChange.replace(
            with: next, onlyWhenLoaded: true, audit: audit, store: store, rootKey: rootKey,
            at: now, entropy: entropy)
        return (pruning, outcome)
    }

    private static func reasonsToKeep(
        _ former: [DataKey], _ purpose: DataKeyPurpose, newest: UnixTime, store: any Store,
        at now: UnixTime
    ) async throws(StoreError) -> [KeyID: Reason] {
        func all(_ reason: Reason) -> [KeyID: Reason] {
            Dictionary(uniqueKeysWithValues: former.map { ($0.id, reason) })
        }
        var settled = newest.advanced(bySeconds: settlingSeconds)
        switch purpose {
        case .pepper:
            guard settled <= now else { return all(.settling(until: settled)) }
            let use = try await PepperUse(of: store)
            return use.users.mapValues { .rows($0) }
        case .audit:
            guard settled <= now else { return all(.settling(until: settled)) }
            return try await store.auditKeyUse().mapValues { .rows($0) }
        case .profile:
            guard settled <= now else { return all(.settling(until: settled)) }
            return try await store.profileKeyUse().mapValues { .rows($0) }
        case .lookUp:
            // A counter that was charged before `settled` waits until then at the longest, so that none
            // that may be a former key's is left out.
            settled = settled.advanced(bySeconds: AttemptRule.maximumWaitSeconds)
            guard settled < now else { return all(.settling(until: settled)) }
            while try await store.expireAttempts(
                upTo: settled, by: now.advanced(bySeconds: counterSeconds), limit: counterBatch,
                at: now) == counterBatch
            {}
            let left = try await store.attemptCount(upTo: settled)
            return left == 0 ? [:] : all(.rows(left))
        }
    }
}
