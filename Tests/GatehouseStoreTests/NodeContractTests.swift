// A node on a real store with clocks of its own: loading, publishing, the lease, activation.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Synchronization
import Testing

@testable import GatehouseStore

/// The snapshots that a node published.
private final class Published: Sendable {
    private let snapshots = Mutex<[CheckSnapshot]>([])
    var count: Int { snapshots.withLock { $0.count } }
    var last: CheckSnapshot? { snapshots.withLock { $0.last } }
    func append(_ snapshot: CheckSnapshot) -> Bool {
        guard !isBroken.load(ordering: .relaxed) else { return false }
        snapshots.withLock { $0.append(snapshot) }
        return true
    }
    /// Makes every further publication fail.
    let isBroken = Atomic<Bool>(false)
}

@Suite struct NodeContractTests {
    private let directory = TemporaryDirectory()
    private let store: SQLStore
    private let rootText: [UInt8]

    init() async throws {
        store = try Backend.inForce.open(directory)
        let root = try RootKey.random(from: .system)
        rootText = root.withText { span in span.indices.map { span[$0] } }
        let outcome = try await KeyringChange.replace(
            with: try Keyring.first(at: time(noon), entropy: .system), onlyWhenLoaded: false,
            audit: [], store: store, rootKey: root, at: time(noon), entropy: .system)
        #expect(outcome == .replaced)
    }

    private func rootKey() throws -> RootKey { try RootKey(text: rootText.span) }

    private func node(
        lease: Lease, published: Published, rotateEverySeconds: Int64? = nil
    ) throws -> Node {
        Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try rootKey(), lease: lease, entropy: .system,
            rotateEverySeconds: rotateEverySeconds
        ) { published.append($0) }
    }

    private func lease() -> Lease {
        let lease = Lease(maximumStalenessSeconds: 120)
        lease.enter(.serving)
        return lease
    }

    private func ring() async throws -> Keyring {
        try rootKey().unwrap(try #require(try await store.keyring()))
    }

    /// Writes a ring to the database as it is: the store itself would not let a live node lose its root key.
    private func put(_ wrapped: WrappedKeyring) async throws {
        try await store.write(at: time(noon)) { db in
            try db.execute(
                sql: "UPDATE keyring SET version = ?, ring_key_id = ?, sealed = ?",
                arguments: [
                    Int64(wrapped.version),
                    wrapped.ringKey.map { Data($0.rawValue.bigEndianBytes) },
                    Data(wrapped.sealed),
                ])
            try db.execute(sql: "DELETE FROM keyring_wraps")
            for wrap in wrapped.wraps {
                try db.execute(
                    sql: "INSERT INTO keyring_wraps (root_key_id, sealed) VALUES (?, ?)",
                    arguments: [
                        Data(wrap.rootKey.rawValue.bigEndianBytes), Data(wrap.sealed),
                    ])
            }
        }
    }

    private func addPendingKey() async throws -> KeyID {
        let next = try await ring().addingPendingKey(at: time(noon), entropy: .system)
        let outcome = try await KeyringChange.replace(
            with: next, onlyWhenLoaded: false, audit: [], store: store, rootKey: try rootKey(),
            at: time(noon), entropy: .system)
        #expect(outcome == .replaced)
        return try #require(next.pending?.id)
    }

    @Test func `the first refresh joins, loads, publishes and renews the lease`() async throws {
        let lease = lease()
        let published = Published()
        let node = try node(lease: lease, published: published)
        #expect(lease.unavailability(at: instant(noon)) == .starting)
        let report = try await node.refresh(at: instant(noon))
        #expect(report.keyringChanged)
        #expect(published.count == 1)
        #expect(lease.unavailability(at: instant(noon)) == nil)
        let nodes = try await store.liveNodes(at: time(noon))
        #expect(nodes.map(\.id) == [node.id])
        #expect(nodes.map(\.keyringVersion) == [1])
    }

    @Test func `a refresh with nothing new publishes nothing, and renews all the same`()
        async throws
    {
        let lease = lease()
        let published = Published()
        let node = try node(lease: lease, published: published)
        _ = try await node.refresh(at: instant(noon))
        let report = try await node.refresh(at: instant(noon + 100))
        #expect(report == RefreshReport())
        #expect(published.count == 1)
        #expect(lease.unavailability(at: instant(noon + 219)) == nil)
        #expect(lease.unavailability(at: instant(noon + 220)) == .leaseExpired)
    }

    @Test func `what another process revokes is in the next snapshot`() async throws {
        let published = Published()
        let node = try node(lease: lease(), published: published)
        let user = try await store.makeUser("ada")
        let record = try store.record(for: user, at: noon, seconds: 3600)
        #expect(try await store.create([record], keyringVersion: 1) == .created(position: 0))
        _ = try await node.refresh(at: instant(noon))
        let claims = record.claims(username: user.username, at: time(noon))
        #expect(published.last?.revocations.revoke(claims) == false)

        let other = try Backend.inForce.open(directory)
        _ = try await other.revoke(record)
        let report = try await node.refresh(at: instant(noon + 1))
        #expect(report.feedRows == 1)
        #expect(published.last?.revocations.revoke(claims) == true)
        let position = try await store.liveNodes(at: time(noon + 1)).map(\.position)
        #expect(position == [1], "others see that it has applied it")
    }

    @Test func `a node that starts late knows every revocation, read in pages`() async throws {
        let user = try await store.makeUser("ada")
        var records: [SessionRecord] = []
        for _ in 0..<50 { records.append(try store.record(for: user, at: noon, seconds: 3600)) }
        #expect(try await store.create(records, keyringVersion: 1) == .created(position: 0))
        for record in records { _ = try await store.revoke(record) }
        let published = Published()
        let node = try node(lease: lease(), published: published)
        _ = try await node.refresh(at: instant(noon))
        let snapshot = try #require(published.last)
        #expect(
            records.allSatisfy {
                snapshot.revocations.revoke($0.claims(username: user.username, at: time(noon)))
            })
        #expect(await node.applied.position == 50)
    }

    @Test func `a pending key becomes active only when every live node has it`() async throws {
        let first = try node(lease: lease(), published: Published())
        let second = try node(lease: lease(), published: Published())
        _ = try await first.refresh(at: instant(noon))
        _ = try await second.refresh(at: instant(noon))
        let key = try await addPendingKey()
        #expect(try await first.refresh(at: instant(noon + 1)).activated == nil)
        #expect(try await ring().pending?.id == key)
        // The second loads it, and sees that it was the last to.
        #expect(try await second.refresh(at: instant(noon + 2)).activated == key)
        #expect(try await ring().active?.id == key)
    }

    @Test func `a node that joins while a key is pending is waited for`() async throws {
        let first = try node(lease: lease(), published: Published())
        _ = try await first.refresh(at: instant(noon))
        _ = try await addPendingKey()
        let joining = NodeID(try Identifier.random(from: .system))
        try await store.joinNode(joining, leaseSeconds: 120, at: time(noon))
        #expect(try await first.refresh(at: instant(noon + 1)).activated == nil)
        try await store.leaveNode(joining, at: time(noon + 2))
        #expect(try await first.refresh(at: instant(noon + 2)).activated != nil)
    }

    @Test func `a store that fails leaves the lease to run out`() async throws {
        let lease = lease()
        let store = FailingStore(store)
        let node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try rootKey(), lease: lease, entropy: .system
        ) { _ in true }
        _ = try await node.refresh(at: instant(noon))
        for call in FailingStore.Call.allCases {
            store.fail(call)
            await #expect(throws: RefreshFailure.store(.busy), "\(call)") {
                // Late enough that a heartbeat is due, with something new to read.
                let user = try await self.store.makeUser("user-\(call)")
                _ = try await self.store.revokeSessions(
                    of: user.id, audit: AuditEvent(.sessionsRevokedForUser, by: .command),
                    at: time(noon))
                _ = try await node.refresh(at: instant(noon + 10))
            }
            #expect(lease.unavailability(at: instant(noon + 119)) == nil)
            #expect(lease.unavailability(at: instant(noon + 120)) == .leaseExpired, "\(call)")
        }
        store.fail(nil)
        _ = try await node.refresh(at: instant(noon + 200))
        #expect(lease.unavailability(at: instant(noon + 200)) == nil)
    }

    @Test func `what was read before a failure is published after it`() async throws {
        let published = Published()
        let store = FailingStore(store)
        let node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try rootKey(), lease: lease(), entropy: .system
        ) { published.append($0) }
        _ = try await node.refresh(at: instant(noon))
        _ = try await addPendingKey()
        let user = try await self.store.makeUser("ada")
        _ = try await self.store.revokeSessions(
            of: user.id, audit: AuditEvent(.sessionsRevokedForUser, by: .command), at: time(noon))
        // The ring is read, the feed is not.
        store.fail(.feed)
        await #expect(throws: RefreshFailure.self) { try await node.refresh(at: instant(noon + 1)) }
        #expect(published.count == 1)
        store.fail(nil)
        // Meanwhile the row is removed, as if it had expired: only the ring is new, and was read before.
        try await self.store.change("DELETE FROM feed")
        let report = try await node.refresh(at: instant(noon + 100))
        #expect(!report.keyringChanged && report.feedRows == 0)
        #expect(published.last?.keyring.version == 2)
    }

    @Test func `a ring that can't be made ready is told to nobody, and tried again`() async throws {
        let lease = lease()
        let published = Published()
        let node = try node(lease: lease, published: published)
        _ = try await node.refresh(at: instant(noon))
        let key = try await addPendingKey()
        published.isBroken.store(true, ordering: .relaxed)
        await #expect(throws: RefreshFailure.notPublished) {
            try await node.refresh(at: instant(noon + 10))
        }
        #expect(try await store.liveNodes(at: time(noon + 10)).map(\.keyringVersion) == [1])
        #expect(lease.unavailability(at: instant(noon + 120)) == .leaseExpired, "not renewed")
        #expect(!lease.maySeal, "the key that it has may have been retired or revoked")
        published.isBroken.store(false, ordering: .relaxed)
        #expect(try await node.refresh(at: instant(noon + 11)).activated == key)
        #expect(lease.maySeal)
        #expect(published.last?.keyring.version == 2)
    }

    @Test func `a node that was given up joins again before it answers`() async throws {
        let lease = lease()
        let node = try node(lease: lease, published: Published())
        _ = try await node.refresh(at: instant(noon))
        // It slept for longer than its lease; the others removed its row.
        _ = try await store.prune(limit: 10, at: time(noon + 300))
        #expect(lease.unavailability(at: instant(noon + 300)) == .leaseExpired)
        await #expect(throws: RefreshFailure.self) {
            try await node.refresh(at: instant(noon + 300))
        }
        #expect(lease.unavailability(at: instant(noon + 300)) == .leaseExpired)
        _ = try await node.refresh(at: instant(noon + 301))
        #expect(lease.unavailability(at: instant(noon + 301)) == nil)
        #expect(try await store.liveNodes(at: time(noon + 301)).map(\.id) == [node.id])
    }

    @Test func `an older copy put in the store's place is refused`() async throws {
        let backup = TemporaryDirectory()
        let older = try Backend.inForce.open(backup)
        let swapping = FailingStore(store)
        let node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: swapping,
            rootKey: try rootKey(), lease: lease(), entropy: .system
        ) { _ in true }
        _ = try await node.refresh(at: instant(noon))
        swapping.replace(with: older)
        await #expect(throws: RefreshFailure.storeWentBack) {
            try await node.refresh(at: instant(noon + 1))
        }
        // At once, not when the lease would have run out: others no longer wait for this node. And for good:
        // a store that was another once is not the same when it has come as far.
        #expect(node.lease.unavailability(at: instant(noon + 1)) == .leaseExpired)
        #expect(!node.lease.maySeal)
        swapping.replace(with: store)
        await #expect(throws: RefreshFailure.storeWentBack) {
            try await node.refresh(at: instant(noon + 2))
        }
    }

    @Test func `a ring in which a revoked key is back, or has another secret, is not taken up`()
        async throws
    {
        let first = try await ring()
        let old = try #require(first.active?.id)
        let (revoked, _) = try #require(
            try first.revoking(at: time(noon), entropy: .system, where: { $0.id == old }))
        for ring in [first, try Keyring.first(at: time(noon), entropy: .system)] {
            try await put(try rootKey().wrap(revoked, entropy: .system))
            let node = try node(lease: lease(), published: Published())
            _ = try await node.refresh(at: instant(noon + 1))
            // As whoever has a copy of the database could write it back, at a later version.
            let forged = try Keyring(
                version: revoked.version + 9,
                keys: ring.keys.map {
                    TokenKey(
                        id: old, state: $0.state, created: $0.created, activated: $0.activated,
                        ended: $0.ended, secret: $0.secret)
                }, dataKeys: first.dataKeys)
            try await put(try rootKey().wrap(forged, entropy: .system))
            await #expect(throws: RefreshFailure.storeWentBack) {
                try await node.refresh(at: instant(noon + 2))
            }
            #expect(node.lease.unavailability(at: instant(noon + 2)) == .leaseExpired)
        }
    }

    @Test func `a ring under another root key is not loaded`() async throws {
        let stranger = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try RootKey.random(from: .system), lease: lease(), entropy: .system
        ) { _ in true }
        let failure = await #expect(throws: RefreshFailure.self) {
            try await stranger.refresh(at: instant(noon))
        }
        guard case .keyring(.otherRootKey) = failure else {
            Issue.record("\(String(describing: failure))")
            return
        }
    }

    @Test func `a node that can't open a newer ring stops sealing at once, and opens while it may`()
        async throws
    {
        let lease = lease()
        let sealer = Sealer(audience: audience(), lease: lease, entropy: .system)
        let node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try rootKey(), lease: lease, entropy: .system
        ) { await sealer.adopt($0) }
        func seal(at now: Int64) async throws -> String {
            try await sealer.seal(
                Claims.sample().encoded(), purpose: .session, transport: .cookie, at: instant(now)
            ).text
        }
        _ = try await node.refresh(at: instant(noon))
        let token = try await seal(at: noon)
        // Someone has wrapped it under a root key that this node was not given.
        let stranger = try RootKey.random(from: .system)
        let ring = try await ring().addingPendingKey(at: time(noon), entropy: .system)
        try await put(try stranger.wrap(ring, entropy: .system))
        let own = try rootKey().id
        await #expect(throws: RefreshFailure.keyring(.otherRootKey([stranger.id], given: own))) {
            try await node.refresh(at: instant(noon + 1))
        }
        await #expect(throws: Sealer.Failure.unavailable(.keyringUnusable)) {
            try await seal(at: noon + 1)
        }
        func isGood(at now: Int64) async -> Bool {
            let token = Array(token.utf8)
            guard
                case .good = await sealer.verdict(on: token, transport: .cookie, at: instant(now))
            else { return false }
            return true
        }
        #expect(await isGood(at: noon + 119))
        #expect(await !isGood(at: noon + 120))
        #expect(lease.unavailability(at: instant(noon + 120)) == .leaseExpired)
        // It recovers by itself.
        let mended = try ring.activatingPendingKeys(at: time(noon + 2))
        try await put(try rootKey().wrap(mended, entropy: .system))
        _ = try await node.refresh(at: instant(noon + 2))
        _ = try await seal(at: noon + 2)
    }

    @Test func `a lease ends by the wall clock too, by which the others give a node up`()
        async throws
    {
        let lease = lease()
        let node = try node(lease: lease, published: Published())
        func at(_ wall: Int64, boot: Int64) -> Instant {
            Instant(wall: time(wall), boot: instant(boot).boot)
        }
        _ = try await node.refresh(at: instant(noon))
        #expect(lease.unavailability(at: at(noon + 120, boot: noon + 1)) == nil)
        #expect(lease.unavailability(at: at(noon + 121, boot: noon + 1)) == .leaseExpired)
        // After a step the heartbeat is told at once, though its five seconds are not over.
        func heartbeat() async throws -> UnixTime? {
            try await store.liveNodes(at: time(noon)).first?.heartbeat
        }
        for (wall, told) in [
            (noon + 5, noon), (noon + 6, noon + 6), (noon + 5, noon + 5), (noon - 40, noon - 40),
        ] {
            _ = try await node.refresh(at: at(wall, boot: noon + 1))
            #expect(try await heartbeat() == time(told))
        }
    }

    @Test func `the node that joined first rotates, and the next when it has gone`() async throws {
        let first = try node(lease: lease(), published: Published(), rotateEverySeconds: 300)
        let second = try node(lease: lease(), published: Published(), rotateEverySeconds: 300)
        _ = try await first.refresh(at: instant(noon))
        _ = try await second.refresh(at: instant(noon + 1))
        for node in [first, second] { _ = try await node.refresh(at: instant(noon + 299)) }
        #expect(try await ring().version == 1)
        #expect(try await second.refresh(at: instant(noon + 300)).rotated == nil)
        let key = try await first.refresh(at: instant(noon + 300)).rotated
        #expect(try await ring().pending?.id == key && key != nil)
        _ = try await second.refresh(at: instant(noon + 301))
        #expect(try await first.refresh(at: instant(noon + 302)).activated == key)
        // All by the server, each step once.
        let trail = try await store.audit(after: 0, limit: 10).map(\.event)
        #expect(
            trail == [
                AuditEvent(.keyAdded, by: .server, key: key),
                AuditEvent(.keyActivated, by: .server, key: key),
            ])
        for second in 303...310 as ClosedRange<Int64> {
            _ = try await first.refresh(at: instant(noon + second))
        }
        #expect(try await ring().version == 3)
        await first.leave(at: time(noon + 310))
        _ = try await second.refresh(at: instant(noon + 311))
        #expect(try await second.refresh(at: instant(noon + 601)).rotated == nil)
        // It saw the key 9 s after it was activated, and counts them.
        #expect(try await second.refresh(at: instant(noon + 602)).rotated != nil)
    }

    @Test func `who only believes to be the one that rotates doesn't`() async throws {
        let first = try node(
            lease: lease(), published: Published(), rotateEverySeconds: 86_400)
        _ = try await first.refresh(at: instant(noon))
        let early = FailingStore(store)
        let second = Node(
            id: NodeID(try Identifier.random(from: .system)), store: early,
            rootKey: try rootKey(), lease: lease(), entropy: .system, rotateEverySeconds: 300
        ) { _ in true }
        _ = try await second.refresh(at: instant(noon + 1))
        let alone = try await store.liveNodes(at: time(noon + 1)).filter { $0.id == second.id }
        early.earlierNodes.withLock { $0 = alone }
        for now in [noon + 100, noon + 301] {
            for node in [first, second] {
                #expect(try await node.refresh(at: instant(now)).rotated == nil)
            }
        }
        #expect(try await ring().version == 1, "the transaction sees both")
        await first.leave(at: time(noon + 302))
        #expect(try await second.refresh(at: instant(noon + 310)).rotated != nil)
    }

    @Test func `entries are chained under a new audit key as soon as it is in use`() async throws {
        let node = try node(lease: lease(), published: Published())
        _ = try await node.refresh(at: instant(noon))
        let first = try #require(try await ring().newestDataKey(.audit)?.id)
        func writtenUnder(_ name: String) async throws -> AuditLink? {
            _ = try await store.makeUser(name)
            return try await store.audit(after: 0, limit: 100).last?.link
        }
        let before = try await writtenUnder("ada")
        #expect(before?.key == first)
        #expect(before?.chain == AuditChain(node.id))
        let next = try await ring().addingDataKey(.audit, at: time(noon), entropy: .system)
        let outcome = try await KeyringChange.replace(
            with: next, onlyWhenLoaded: false, audit: [], store: store, rootKey: try rootKey(),
            at: time(noon), entropy: .system)
        #expect(outcome == .replaced)
        // Pending: not every node would know it.
        _ = try await node.refresh(at: instant(noon + 1))
        let added = try #require(next.pendingDataKeys.first?.id)
        #expect(try await writtenUnder("eve")?.key == first)
        for second in 2...3 as ClosedRange<Int64> {
            _ = try await node.refresh(at: instant(noon + second))
        }
        #expect(try await ring().newestDataKey(.audit)?.id == added)
        #expect(try await writtenUnder("bob")?.key == added)
        var verifier = try AuditVerifier(
            keys: try #require(try await ring().auditKeys()).all,
            extent: try await store.auditExtent())
        for record in try await store.audit(after: 0, limit: 100) { try verifier.take(record) }
        _ = try verifier.finish()
        #expect(verifier.faults.isEmpty)
    }

    @Test func `a rotation that fails is said, tried again, and stops nothing`() async throws {
        let lease = lease()
        let node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try rootKey(), lease: lease, entropy: .broken, rotateEverySeconds: 300
        ) { _ in true }
        _ = try await node.refresh(at: instant(noon))
        let report = try await node.refresh(at: instant(noon + 300))
        #expect(report.rotated == nil && report.rotationFailure == .entropy)
        #expect(lease.unavailability(at: instant(noon + 419)) == nil, "renewed all the same")
        #expect(try await node.refresh(at: instant(noon + 304)).rotationFailure == nil)
        #expect(try await node.refresh(at: instant(noon + 305)).rotationFailure == .entropy)
    }

    @Test func `ended keys are destroyed when their last token has expired`() async throws {
        let node = try node(lease: lease(), published: Published())
        _ = try await node.refresh(at: instant(noon))
        let first = try #require(try await ring().active?.id)
        let user = try await store.makeUser("ada")
        let record = try store.record(for: user, at: noon, seconds: 1000)
        let created = try await store.createSessions(
            SessionCreation(
                sessions: [record], seal: SessionSeal(key: first, keyringVersion: 1)), audit: [],
            at: time(noon))
        #expect(created == .created(position: 0))
        _ = try await addPendingKey()
        _ = try await node.refresh(at: instant(noon + 1))
        _ = try await node.refresh(at: instant(noon + 2))
        let margin: Int64 = 120 + clockSkewSeconds
        #expect(try await node.destroyExpiredKeys(at: time(noon + 1000 + margin)).isEmpty)
        #expect(try await node.destroyExpiredKeys(at: time(noon + 1001 + margin)) == [first])
        #expect(try await ring().keys.count == 1)
    }
}
