// One running process's copy of feed and keyring, and how it stays complete.

/// What went wrong in a refresh. The lease is not renewed, so that a lasting failure ends in 503.
package enum RefreshFailure: Error, Equatable {
    case store(StoreError)
    /// There is no ring; the store was emptied.
    case noKeyring
    /// The ring doesn't open under this root key.
    case keyring(KeyringWrapFailure)
    /// The store holds an older ring, or an older feed, than was loaded before: an old copy was put
    /// in its place.
    case storeWentBack
    /// An event loop could not make the keyring ready.
    case notPublished
}

/// Follows the store for this process: loads, publishes to every event loop, renews the lease,
/// tells the other nodes what it has, activates a pending key when all have it, and, if it is the one
/// that rotates, adds the next when the active one is old enough.
package actor Node {
    /// Feed rows read in one go; a million at start are read in a hundred steps.
    static let feedPageRows = 10_000
    /// Rows that are applied together once anything was published: each time copies what the index holds.
    static let applyRows = 200_000
    /// How often a node with nothing to tell says that it is alive.
    package static let heartbeatSeconds: Int64 = 5

    package nonisolated let id: NodeID
    package nonisolated let lease: Lease
    private let store: any Store
    private let rootKey: RootKey
    private let entropy: Entropy
    /// Returns when every event loop has swapped; false when one could not.
    private let publish: @Sendable (CheckSnapshot) async -> Bool

    private var index = RevocationIndex()
    private var position: UInt64 = 0
    /// The last row of the feed that was read. The same row must be there as long as somebody needs it: it
    /// isn't, or it is another, where the store lost what it had acknowledged and went on without it.
    private var anchor: FeedEntry?
    /// Of the store, when the feed was read last.
    private var connection: UInt64?
    /// Whether the feed is read from its beginning, because nothing is left to compare.
    private var isRereading = false
    private var keyring: Keyring?
    /// The stored ring's (``StoreHead/keyringMark``).
    private var keyringMark: [UInt8]?
    private var hasPublished = false
    private var hasGoneBack = false
    /// Whether something was read that the event loops don't have yet.
    private var hasUnpublished = false
    private var isLoading = false
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private var told: (position: UInt64, keyringVersion: UInt64, at: Instant)?
    /// The ring that every event loop has.
    private var publishedVersion: UInt64 = 0
    private var rotation: RotationRule
    private var settledVersion: UInt64?
    private var nextRotationTry: BootTime?

    /// - Parameter rotateEverySeconds: how old the active key gets; nil for keys that are rotated by
    ///   command only.
    package init(
        id: NodeID, store: any Store, rootKey: consuming RootKey, lease: Lease, entropy: Entropy,
        rotateEverySeconds: Int64? = nil,
        publish: @escaping @Sendable (CheckSnapshot) async -> Bool
    ) {
        self.id = id
        self.store = store
        self.rootKey = rootKey
        self.lease = lease
        self.entropy = entropy
        rotation = RotationRule(everySeconds: rotateEverySeconds)
        self.publish = publish
    }

    /// The position and ring that every event loop has.
    package var applied: (position: UInt64, keyringVersion: UInt64) {
        (position, keyring?.version ?? 0)
    }

    /// The states and ids of the keys that are loaded.
    package var loadedKeys: [(id: KeyID, state: KeyState)] {
        keyring?.keys.map { ($0.id, $0.state) } ?? []
    }

    /// The age of the active key, by clocks that don't step.
    package func keyAgeSeconds(at now: BootTime) -> Int64? { rotation.ageSeconds(at: now) }

    /// The ring that is loaded.
    package var loadedKeyring: Keyring? { keyring }

    package var revocationCounts: (sessions: Int, users: Int) { index.snapshot.counts }

    /// Reads feed and keyring up to their heads, publishes what is new, and renews the lease.
    ///
    /// - Parameter now: both clocks, read before the call.
    /// - Returns: what changed in this refresh.
    package func refresh(at now: Instant) async throws(RefreshFailure) -> RefreshReport {
        await beginLoading()
        defer { endLoading() }
        // The ring that a refresh before this one ended with: the clocks were read later.
        if let keyring, keyring.version == settledVersion { rotation.watch(keyring, at: now) }
        let wasHeard = told.map { isRecent($0.at, at: now) } ?? true
        if told == nil {
            try await attempt {
                [store, id, lease, root = rootKey.id, rotates = rotation.everySeconds != nil]
                () throws(StoreError) in
                try await store.joinNode(
                    id, leaseSeconds: lease.maximumStalenessSeconds, rootKey: root,
                    rotates: rotates, at: now.wall)
            }
        }
        var (report, head) = try await load(at: now.wall)
        guard let keyring else { throw .noKeyring }
        try await tell(keyringVersion: keyring.version, at: now)
        if !wasHeard {
            // Others may have given it up before this heartbeat, and not waited for what they changed then.
            let (later, end) = try await load(at: now.wall)
            try await tell(keyringVersion: self.keyring?.version ?? 0, at: now)
            report.keyringChanged = report.keyringChanged || later.keyringChanged
            report.feedRows += later.feedRows
            head = end
        }
        guard let keyring = self.keyring else { throw .noKeyring }
        lease.renew(started: now.boot, wall: now.wall, storeLatest: head.latestTime)
        if keyring.pending != nil || !keyring.pendingDataKeys.isEmpty {
            report.activated = try await activatePendingKey(of: keyring, at: now.wall)
        }
        try await rotateIfDue(keyring, at: now, &report)
        settledVersion = keyring.version
        return report
    }

    /// Applies what this node has just written itself, before it answers: returns when every event
    /// loop and sealer has the feed up to `position`.
    package func catchUp(to position: UInt64, at now: UnixTime) async throws(RefreshFailure) {
        await beginLoading()
        defer { endLoading() }
        // Also where this node has that position: of a store that lost what this node read before, it may be
        // another row's.
        _ = try await load(at: now)
        guard self.position >= position else { throw endForGood() }
    }

    /// Takes up a ring that another process has just changed.
    package func reload(at now: UnixTime) async throws(RefreshFailure) {
        await beginLoading()
        defer { endLoading() }
        _ = try await load(at: now)
    }

    /// One loader at a time: an actor lets others in wherever it waits for the store.
    private func beginLoading() async {
        while isLoading { await withCheckedContinuation { waiting.append($0) } }
        isLoading = true
    }

    private func endLoading() {
        isLoading = false
        let waiters = waiting
        waiting = []
        for waiter in waiters { waiter.resume() }
    }

    private func load(
        at now: UnixTime
    ) async throws(RefreshFailure) -> (RefreshReport, StoreHead) {
        let head = try await readHead(at: now)
        do throws(RefreshFailure) {
            let report = try await take(head, at: now)
            lease.allowSealing()
            return (report, head)
        } catch {
            // The older ring's key may have been revoked or retired: nothing more is sealed under it.
            if publishedVersion < head.keyringVersion { lease.stopSealing() }
            throw error
        }
    }

    /// Where the store stands. Once it was behind what this node has, or has another row or ring in the place
    /// of one that this node read, it stays another store, however far it gets: only a new process reads all
    /// of it.
    private func readHead(at now: UnixTime) async throws(RefreshFailure) -> StoreHead {
        var head: StoreHead?
        do { head = try await store.head(anchor: anchor?.sequence) } catch {
            guard error == .replaced else { throw .store(error) }
        }
        guard let head, !hasGoneBack, head.sequence >= position,
            head.keyringVersion >= keyring?.version ?? 0,
            head.keyringVersion != keyring?.version
                || keyringMark ?? head.keyringMark == head.keyringMark,
            holdsAnchor(head, at: now)
        else { throw endForGood() }
        if head.keyringVersion == keyring?.version { keyringMark = head.keyringMark }
        return head
    }

    /// Whether the row that was read last is there. One that nobody needs any more may be gone; behind another
    /// connection there may then be anything, and all of it is read.
    private func holdsAnchor(_ head: StoreHead, at now: UnixTime) -> Bool {
        if let anchor, head.anchor != anchor {
            let latest = now.advanced(bySeconds: clockSkewSeconds)
            guard head.anchor == nil, anchor.deadline <= latest else { return false }
            self.anchor = nil
        }
        let isOther = connection.map { $0 != head.connection } ?? false
        isRereading = isRereading || isOther && anchor?.sequence ?? 0 < position
        connection = head.connection
        return true
    }

    private func endForGood() -> RefreshFailure {
        hasGoneBack = true
        // Other servers and commands see the new store, and not that this node has none.
        lease.stopSealing()
        lease.end()
        return .storeWentBack
    }

    /// Reads what is new up to `head`, and publishes it.
    private func take(
        _ head: StoreHead, at now: UnixTime
    ) async throws(RefreshFailure) -> RefreshReport {
        var report = RefreshReport()
        if keyring?.version != head.keyringVersion {
            let ring = try await loadKeyring()
            if let keyring, !keyring.mayPrecede(ring) { throw endForGood() }
            keyring = ring
            keyringMark = ring.version == head.keyringVersion ? head.keyringMark : nil
            hasUnpublished = true
            report.keyringChanged = true
        }
        report.feedRows = try await readFeed(to: head.sequence, at: now)
        guard let keyring else { throw .noKeyring }
        if hasUnpublished {
            // Tried again with the next refresh; until then the lease is not renewed, and the
            // others are not told that this node has loaded anything.
            hasPublished = true
            guard await publish(CheckSnapshot(keyring: keyring, revocations: index.snapshot)) else {
                throw .notPublished
            }
            hasUnpublished = false
            publishedVersion = keyring.version
        }
        return report
    }

    /// Frees what no unexpired token can need.
    package func dropExpired(at now: UnixTime) {
        index.dropExpired(at: now)
        // The next refresh publishes it.
        hasUnpublished = true
    }

    /// Removes ended keys whose last token has expired.
    package func destroyExpiredKeys(at now: UnixTime) async throws(RefreshFailure) -> [KeyID] {
        guard let keyring else { return [] }
        return try await KeyringChange.destroyExpired(
            in: keyring, leaseSeconds: lease.maximumStalenessSeconds, store: store,
            rootKey: rootKey, by: .server, at: now, entropy: entropy)
    }

    /// Tells the others that this node is gone.
    package func leave(at now: UnixTime) async {
        // Best effort: a row that stays is given up when its lease has run out.
        try? await store.leaveNode(id, at: now)
    }

    private func loadKeyring() async throws(RefreshFailure) -> Keyring {
        let wrapped = try await attempt { [store] () throws(StoreError) in
            try await store.keyring()
        }
        guard let wrapped else { throw .noKeyring }
        let ring: Keyring
        do { ring = try rootKey.unwrap(wrapped) } catch { throw .keyring(error) }
        do throws(LibCryptoError) {
            if let keys = try ring.auditKeys() {
                store.signTrail(as: AuditChain(id), with: keys, for: AuditContext())
            }
        } catch { throw .keyring(.sealing) }
        return ring
    }

    private func readFeed(to end: UInt64, at now: UnixTime) async throws(RefreshFailure) -> Int {
        var rows = 0
        var unapplied: [FeedEntry] = []
        var reached = isRereading ? 0 : position
        let isWhole = !hasPublished || isRereading
        // Numbers have gaps where rows expired: what there is is counted, so that the table fits.
        var expected =
            hasPublished || reached >= end
            ? 0
            : try await attempt { [store, position] () throws(StoreError) in
                try await store.feedCount(after: position, neededAt: now)
            }
        while reached < end {
            let page = try await attempt { [store, reached] () throws(StoreError) in
                try await store.feed(
                    after: reached, limit: Self.feedPageRows, neededAt: isWhole ? now : nil)
            }
            unapplied += page
            rows += page.count
            anchor = page.last ?? anchor
            // Rows between the last one and the head may have expired and been removed.
            let isLast = page.count < Self.feedPageRows
            reached = isLast ? max(end, page.last?.sequence ?? 0) : page.last?.sequence ?? end
            if !hasPublished {
                index.load(unapplied, expected: expected, at: now)
                expected = max(0, expected - unapplied.count)
                hasUnpublished = true
            } else if isLast || reached >= end || unapplied.count >= Self.applyRows {
                index.apply(unapplied, at: now)
                hasUnpublished = hasUnpublished || !unapplied.isEmpty
            } else {
                continue
            }
            unapplied = []
            position = max(position, reached)
        }
        isRereading = false
        return rows
    }

    /// Whether no heartbeat is due. A wall clock that has stepped makes the last one look older or newer than
    /// it is.
    private func isRecent(_ heartbeat: Instant, at now: Instant) -> Bool {
        now.boot < heartbeat.boot.advanced(bySeconds: Self.heartbeatSeconds)
            && now.wall >= heartbeat.wall
            && now.wall <= heartbeat.wall.advanced(bySeconds: Self.heartbeatSeconds)
    }

    private func tell(keyringVersion: UInt64, at now: Instant) async throws(RefreshFailure) {
        if let told, told.position == position, told.keyringVersion == keyringVersion,
            isRecent(told.at, at: now)
        {
            return
        }
        let known = try await attempt { [store, id, position] () throws(StoreError) in
            try await store.beat(
                id, position: position, keyringVersion: keyringVersion, at: now.wall)
        }
        guard known else {
            // The others have given this node up: it joins and loads again before it answers.
            told = nil
            keyring = nil
            throw .store(.unavailable("this node was given up by the others"))
        }
        told = (position, keyringVersion, now)
    }

    private func activatePendingKey(
        of keyring: Keyring, at now: UnixTime
    ) async throws(RefreshFailure) -> KeyID? {
        guard
            case .activated(let key) = try await KeyringChange.activatePending(
                in: keyring, store: store, rootKey: rootKey, by: .server, at: now, entropy: entropy)
        else { return nil }
        return key
    }

    /// Adds the next key if the active one is old enough and this is the node that rotates. What comes of
    /// it is loaded and activated like any other.
    private func rotateIfDue(
        _ keyring: Keyring, at now: Instant, _ report: inout RefreshReport
    ) async throws(RefreshFailure) {
        guard rotation.isDue(in: keyring, at: now.boot),
            nextRotationTry.map({ $0 <= now.boot }) ?? true
        else { return }
        nextRotationTry = now.boot.advanced(bySeconds: Self.heartbeatSeconds)
        let nodes = try await attempt { [store] () throws(StoreError) in
            try await store.liveNodes(at: now.wall)
        }
        // The transaction decides; the others need not wrap a ring to hear it.
        guard Barrier.leader(of: nodes) == id else { return }
        let next: Keyring
        do { next = try keyring.addingPendingKey(at: now.wall, entropy: entropy) } catch {
            report.rotationFailure = error
            return
        }
        let outcome = try await KeyringChange.replace(
            with: next, onlyWhenLoaded: false, onlyAsLeader: id,
            audit: [AuditEvent(.keyAdded, by: .server, key: next.pending?.id)], store: store,
            rootKey: rootKey, at: now.wall, entropy: entropy)
        if outcome == .replaced { report.rotated = next.pending?.id }
    }

    private func attempt<Value>(
        _ body: () async throws(StoreError) -> Value
    ) async throws(RefreshFailure) -> Value {
        do { return try await body() } catch { throw .store(error) }
    }
}

/// What a refresh did.
package struct RefreshReport: Sendable, Equatable {
    package var keyringChanged = false
    package var feedRows = 0
    /// The key that this refresh made active.
    package var activated: KeyID?
    /// The key that this refresh added because the active one was old enough.
    package var rotated: KeyID?
    /// Why it could not: the ring is full, or there is no randomness. The key in use goes on.
    package var rotationFailure: KeyringDefect?
    package init() {}
}
