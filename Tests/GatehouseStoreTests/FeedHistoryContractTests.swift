// A store that lost what it had acknowledged, as after the failover to a standby that lagged, and went on: a
// node that had read it notices, however far the store has got since.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Synchronization
import Testing

@testable import GatehouseStore

@Suite struct FeedHistoryContractTests {
    private let directory = TemporaryDirectory()
    private let stored: SQLStore
    private let store: FailingStore
    private let root: [UInt8]
    private let lease = Lease(maximumStalenessSeconds: 120)
    private let node: Node

    init() async throws {
        let key = try RootKey.random(from: .system)
        let text = key.withText { span in span.indices.map { span[$0] } }
        let stored = try Backend.inForce.open(directory)
        let store = FailingStore(stored)
        let latest = Latest()
        (self.stored, self.store, self.latest, root) = (stored, store, latest, text)
        lease.enter(.serving)
        node = Node(
            id: NodeID(try Identifier.random(from: .system)), store: store,
            rootKey: try RootKey(text: text.span), lease: lease, entropy: .system
        ) { latest.take($0) }
        let outcome = try await KeyringChange.replace(
            with: try Keyring.first(at: time(noon), entropy: .system), onlyWhenLoaded: false,
            audit: [], store: stored, rootKey: key, at: time(noon), entropy: .system)
        #expect(outcome == .replaced)
    }

    private final class Latest: Sendable {
        let snapshot = Mutex<CheckSnapshot?>(nil)
        func take(_ new: CheckSnapshot) -> Bool {
            snapshot.withLock { $0 = new }
            return true
        }
    }

    private let latest: Latest

    private static func session(_ number: UInt64) -> SessionID {
        Claims.sample(session: number).session
    }

    /// Has the feed's row `sequence` end session `number`, whatever was in its place.
    private func put(
        _ number: UInt64, at sequence: Int64, deadline: Int64 = noon + 1000
    ) async throws {
        try await stored.write(at: time(noon)) { db in
            try db.execute(sql: "DELETE FROM feed WHERE sequence = ?", arguments: [sequence])
            try db.execute(
                sql: """
                    INSERT INTO feed (sequence, time, kind, subject, value, deadline)
                    VALUES (?, ?, ?, ?, 0, ?)
                    """,
                arguments: [
                    sequence, noon, FeedKind.session.rawValue, Self.session(number).value.data,
                    deadline,
                ])
            try db.execute(
                sql: "UPDATE head SET sequence = :sequence WHERE sequence < :sequence",
                arguments: ["sequence": sequence])
        }
    }

    private func remove(_ sequence: Int64) async throws {
        try await stored.write(at: time(noon)) { db in
            try db.execute(sql: "DELETE FROM feed WHERE sequence = ?", arguments: [sequence])
        }
    }

    private func refusal(at now: Int64 = noon) async -> RefreshFailure? {
        do throws(RefreshFailure) {
            _ = try await node.refresh(at: instant(now))
            return nil
        } catch { return error }
    }

    private func isRevoked(_ number: UInt64) throws -> Bool {
        let snapshot = try #require(latest.snapshot.withLock { $0 })
        return snapshot.revocations.revoke(Claims.sample(session: number))
    }

    @Test func `another row in the place of the last one that was read ends the lease for good`()
        async throws
    {
        for sequence in 1...3 { try await put(UInt64(sequence), at: Int64(sequence)) }
        #expect(await refusal() == nil)
        #expect(try isRevoked(3))
        // The third was lost; two others have been written since.
        try await put(30, at: 3)
        try await put(40, at: 4)
        #expect(await refusal() == .storeWentBack)
        #expect(lease.unavailability(at: instant(noon)) != nil)
        // However right the store looks later.
        try await put(3, at: 3)
        #expect(await refusal() == .storeWentBack)
    }

    @Test func `a row that is gone before anybody could do without it ends the lease for good`()
        async throws
    {
        try await put(1, at: 1, deadline: noon + 1000)
        #expect(await refusal() == nil)
        try await remove(1)
        #expect(await refusal(at: noon + 1000 - clockSkewSeconds - 1) == .storeWentBack)
    }

    @Test func `a row that expired may go`() async throws {
        try await put(1, at: 1, deadline: noon + 1000)
        #expect(await refusal() == nil)
        try await remove(1)
        #expect(await refusal(at: noon + 1000 - clockSkewSeconds) == nil)
        try await put(2, at: 2, deadline: noon + 5000)
        #expect(await refusal(at: noon + 1001) == nil)
        #expect(try isRevoked(2))
    }

    @Test func `behind another connection all is read where nothing is left to compare`()
        async throws
    {
        try await put(1, at: 1)
        try await put(2, at: 2, deadline: noon + 10)
        #expect(await refusal() == nil)
        try await remove(2)
        #expect(await refusal(at: noon + 100) == nil)
        // In the place of the second, which was lost, there is one that ends later.
        try await put(20, at: 2)
        try await put(3, at: 3)
        #expect(await refusal(at: noon + 101) == nil)
        #expect(try isRevoked(3) && !isRevoked(20), "the same connection, the same store")
        try await remove(3)
        try await put(3, at: 3, deadline: noon + 102)
        store.connections.add(1, ordering: .relaxed)
        #expect(await refusal(at: noon + 102) == .storeWentBack, "the third is another")
    }

    @Test func `what was written in the place of expired rows is found behind another connection`()
        async throws
    {
        try await put(1, at: 1)
        try await put(2, at: 2, deadline: noon + 10)
        #expect(await refusal() == nil)
        try await remove(2)
        #expect(await refusal(at: noon + 100) == nil)
        try await put(20, at: 2)
        store.connections.add(1, ordering: .relaxed)
        #expect(await refusal(at: noon + 101) == nil)
        #expect(try isRevoked(20) && isRevoked(1))
        #expect(await node.applied.position == 2)
        let report = try await node.refresh(at: instant(noon + 102))
        #expect(report.feedRows == 0, "once")
    }

    @Test func `a write that the store numbered as one of before is not taken for done`()
        async throws
    {
        for sequence in 1...3 { try await put(UInt64(sequence), at: Int64(sequence)) }
        #expect(await refusal() == nil)
        try await put(30, at: 3)
        await #expect(throws: RefreshFailure.storeWentBack) {
            try await node.catchUp(to: 3, at: time(noon))
        }
    }

    @Test func `what the node has already is caught up with`() async throws {
        for sequence in 1...3 { try await put(UInt64(sequence), at: Int64(sequence)) }
        #expect(await refusal() == nil)
        try await node.catchUp(to: 2, at: time(noon))
        try await put(4, at: 4)
        try await node.catchUp(to: 4, at: time(noon))
        #expect(try isRevoked(4))
        await #expect(throws: RefreshFailure.storeWentBack) {
            try await node.catchUp(to: 5, at: time(noon))
        }
    }

    @Test func `another ring of the same number ends the lease for good`() async throws {
        #expect(await refusal() == nil)
        #expect(await refusal() == nil)
        let key = try RootKey(text: root.span)
        let other = try key.wrap(
            try Keyring.first(at: time(noon), entropy: .system), entropy: .system)
        try await stored.write(at: time(noon)) { db in
            try db.execute(sql: "UPDATE keyring SET sealed = ?", arguments: [Data(other.sealed)])
        }
        #expect(await refusal() == .storeWentBack)
    }

    @Test func `rows that nobody needs are not read`() async throws {
        try await put(1, at: 1, deadline: noon)
        try await put(2, at: 2, deadline: noon + 1000)
        let now = noon + clockSkewSeconds
        #expect(
            try await stored.feed(after: 0, limit: 9, neededAt: time(now)).map(\.sequence) == [
                1, 2,
            ])
        #expect(try await stored.feedCount(after: 0, neededAt: time(now)) == 2)
        #expect(
            try await stored.feed(after: 0, limit: 9, neededAt: time(now + 1)).map(\.sequence) == [
                2
            ])
        #expect(try await stored.feedCount(after: 0, neededAt: time(now + 1)) == 1)
        #expect(await refusal(at: now + 1) == nil)
        #expect(await node.applied.position == 2)
    }
}
