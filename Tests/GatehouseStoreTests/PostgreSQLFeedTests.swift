// The feed on PostgreSQL: whoever follows sees all of it in order, whatever others do meanwhile.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite(.serialized, .enabled(if: PostgreSQLFixture.url != nil, "no PostgreSQL server to test with"))
struct PostgreSQLFeedTests {
    private let database: PostgreSQLTestDatabase

    init() throws { database = try PostgreSQLTestDatabase() }

    private struct GivenUp: Error {}

    /// Takes a number of the feed and then gives the transaction up.
    private func giveUp(_ store: SQLStore) async {
        do throws(StoreError) {
            try await store.write(at: time(noon), .rows) { db in
                _ = try SQLStore.appendFeed(
                    db, kind: .user, subject: Identifier(high: 1, low: 1), value: 1,
                    deadline: time(noon), at: time(noon))
                throw GivenUp()
            }
        } catch {
            #expect(error == .unavailable("GivenUp"))
        }
    }

    // MARK: The order

    @Test func `followers see every revocation once, in the order of commits, without gaps`()
        async throws
    {
        let writers = try (0..<3).map { _ in try database.open() }
        var sessions: [SessionRecord] = []
        for index in 0..<10 {
            let user = try await writers[0].makeUser("user-\(index)")
            let records = try (0..<8).map { _ in
                try writers[0].record(for: user, at: noon, seconds: 3600)
            }
            #expect(try await writers[0].create(records) == .created(position: 0))
            sessions += records
        }
        let expected = Set(sessions.map(\.id))
        let positions = try await withThrowingTaskGroup(of: UInt64?.self) { group in
            for _ in 0..<2 {
                let reader = try database.open(connections: 1)
                group.addTask {
                    try await follow(reader, expecting: expected)
                    return nil
                }
            }
            for (index, session) in sessions.shuffled().enumerated() {
                group.addTask {
                    if index.isMultiple(of: 4) { await giveUp(writers[(index + 1) % 3]) }
                    guard
                        case .revoked(let position, 1) = try await writers[index % 3].revoke(
                            session)
                    else { throw Unexpected("not revoked") }
                    return position
                }
            }
            return try await group.reduce(into: []) { $0 += $1.map { [$0] } ?? [] }
        }
        #expect(positions.sorted() == (1...80).map { UInt64($0) })
        #expect(try await writers[0].feedCount(after: 0, neededAt: .zero) == 80)
    }

    /// Follows as a node does, by pages, until it has all that is expected.
    private func follow(_ reader: SQLStore, expecting: Set<SessionID>) async throws {
        var position: UInt64 = 0
        var seen: [SessionID] = []
        let end = ContinuousClock.now + .seconds(60)
        while seen.count < expecting.count, ContinuousClock.now < end {
            let head = try await reader.head()
            #expect(head.sequence >= position)
            while position < head.sequence {
                let page = try await reader.feed(after: position, limit: 7)
                try #require(!page.isEmpty, "what the head counts is there")
                for entry in page {
                    try #require(entry.sequence == position + 1, "no gap, none twice")
                    position = entry.sequence
                    guard case .session(let id) = entry.change else { continue }
                    seen.append(id)
                }
            }
            await reader.waitForChange(milliseconds: 20)
        }
        #expect(seen.count == expecting.count)
        #expect(Set(seen) == expecting)
    }

    // MARK: Transactions of others

    @Test func `long transactions of others neither hide nor delay a revocation`() async throws {
        let (store, follower) = (try database.open(), try database.open())
        let ada = try await store.makeUser("ada")
        let eve = try await store.makeUser("eve")
        let session = try await store.makeSession(of: ada)
        _ = try await store.makeSession(of: eve)
        // As a backup does.
        let dump = try database.connect()
        try dump.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT * FROM feed")
        // Somebody who went for lunch, with an older number than ours.
        let writer = try database.connect()
        try writer.run(
            """
            BEGIN; UPDATE users SET state = 'disabled' WHERE id = '\\x\(eve.id.value.hex)';
            DELETE FROM sessions WHERE user_id = '\\x\(eve.id.value.hex)'
            """)
        #expect(try await store.revoke(session) == .revoked(position: 1, sessions: 1))
        #expect(try await follower.head().sequence == 1)
        #expect(try await follower.feed(after: 0, limit: 9).map(\.change) == [.session(session.id)])
        #expect(try dump.integer("SELECT count(*) FROM feed") == 0, "it sees the past")
        #expect(dump.isInTransaction && writer.isInTransaction)
    }

    @Test func `who holds the head delays revocations and hides none`() async throws {
        let (store, follower) = (try database.open(), try database.open())
        let session = try await store.makeSession(of: try await store.makeUser("ada"))
        let holder = try database.connect()
        let watch = try database.connect()
        try holder.run("BEGIN; SELECT 1 FROM head FOR UPDATE")
        async let outcome = store.revoke(session)
        #expect(try await eventually { try watch.lockWaiters() == 1 })
        #expect(try await follower.head().sequence == 0)
        #expect(try await follower.feed(after: 0, limit: 9).isEmpty)
        try holder.run("COMMIT")
        #expect(try await outcome == .revoked(position: 1, sessions: 1))
        #expect(try await follower.head().sequence == 1)
        #expect(try await follower.feed(after: 0, limit: 9).map(\.sequence) == [1])
    }

    @Test(arguments: ["COMMIT", "ROLLBACK"])
    func `a number that was taken first comes first, or is given again`(end: String) async throws {
        let (store, follower) = (try database.open(), try database.open())
        let session = try await store.makeSession(of: try await store.makeUser("ada"))
        let holder = try database.connect()
        let watch = try database.connect()
        try holder.run(
            """
            BEGIN; UPDATE head SET sequence = sequence + 1;
            INSERT INTO feed (sequence, time, kind, subject, value, deadline)
                SELECT sequence, \(noon), 2, '\\x\(session.user.value.hex)', 1, \(noon) FROM head
            """)
        async let outcome = store.revoke(session)
        #expect(try await eventually { try watch.lockWaiters() == 1 })
        #expect(try await follower.feed(after: 0, limit: 9).isEmpty)
        try holder.run(end)
        let own: UInt64 = end == "COMMIT" ? 2 : 1
        #expect(try await outcome == .revoked(position: own, sessions: 1))
        #expect(
            try await follower.feed(after: 0, limit: 9).map(\.sequence) == Array(1...own))
        #expect(try await follower.head().sequence == own)
    }

    @Test func `a transaction that is given up after it took a number leaves no gap`() async throws
    {
        let store = try database.open()
        let user = try await store.makeUser("ada")
        for position: UInt64 in 1...3 {
            await giveUp(store)
            let session = try await store.makeSession(of: user)
            #expect(try await store.revoke(session) == .revoked(position: position, sessions: 1))
        }
        #expect(try await store.feed(after: 0, limit: 9).map(\.sequence) == [1, 2, 3])
    }

    // MARK: Waiting

    /// Has the store listen, and takes up what it is told when it begins.
    private func listen(_ store: SQLStore, _ watch: PostgreSQLConnection) async throws {
        await store.waitForChange(milliseconds: 1)
        #expect(try await eventually { try Self.listeners(watch) == 1 })
        await store.waitForChange(milliseconds: 300)
    }

    private static func listeners(_ watch: PostgreSQLConnection) throws -> Int64 {
        try watch.integer(
            """
            SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND query LIKE 'LISTEN%' AND state = 'idle'
            """)
    }

    @Test func `a revocation wakes who waits for it, within a tenth of a second and once`()
        async throws
    {
        let (store, follower) = (try database.open(), try database.open())
        let watch = try database.connect()
        try await listen(follower, watch)
        let user = try await store.makeUser("ada")
        var delays: [Duration] = []
        for _ in 0..<10 {
            let session = try await store.makeSession(of: user)
            async let woken: ContinuousClock.Instant = {
                await follower.waitForChange(milliseconds: 30_000)
                return .now
            }()
            // So that it waits already.
            try await Task.sleep(for: .milliseconds(50))
            _ = try await store.revoke(session)
            let done = ContinuousClock.now
            delays.append(await woken - done)
        }
        #expect(delays.allSatisfy { $0 < .seconds(10) }, "it never waits for the clock")
        // On a machine that does much else the others may take longer.
        #expect(try #require(delays.min()) < .milliseconds(100))
        let start = ContinuousClock.now
        await follower.waitForChange(milliseconds: 400)
        #expect(ContinuousClock.now - start >= .milliseconds(400), "nothing else has happened")
    }

    @Test func `what was written before the wait began ends it at once`() async throws {
        let (store, follower) = (try database.open(), try database.open())
        try await listen(follower, try database.connect())
        let session = try await store.makeSession(of: try await store.makeUser("ada"))
        _ = try await store.revoke(session)
        try await Task.sleep(for: .milliseconds(300))
        let start = ContinuousClock.now
        await follower.waitForChange(milliseconds: 30_000)
        #expect(ContinuousClock.now - start < .seconds(10))
    }

    @Test func `who is no longer told finds a revocation by looking, and is told again`()
        async throws
    {
        let (store, follower) = (try database.open(), try database.open())
        let watch = try database.connect()
        try await listen(follower, watch)
        _ = try await follower.head()
        let user = try await store.makeUser("ada")
        let session = try await store.makeSession(of: user)
        // Only those that have a connection work on.
        try database.onServer("ALTER DATABASE \(database.name) ALLOW_CONNECTIONS false")
        #expect(try watch.terminate("LISTEN%") == 1)
        let start = ContinuousClock.now
        async let waiting: Void = follower.waitForChange(milliseconds: 500)
        _ = try await store.revoke(session)
        await waiting
        #expect(ContinuousClock.now - start >= .milliseconds(490), "nobody told it")
        #expect(try await follower.head().sequence == 1)
        #expect(try await follower.feed(after: 0, limit: 9).map(\.change) == [.session(session.id)])
        #expect(try Self.listeners(watch) == 0)
        try database.onServer("ALTER DATABASE \(database.name) ALLOW_CONNECTIONS true")
        // What may have been written meanwhile is told by the connection itself.
        let end = ContinuousClock.now
        await follower.waitForChange(milliseconds: 60_000)
        #expect(ContinuousClock.now - end < .seconds(30))
        #expect(try Self.listeners(watch) == 1)
    }

    @Test func `a cancelled wait ends at once`() async throws {
        let store = try database.open()
        let start = ContinuousClock.now
        let waiting = Task { await store.waitForChange(milliseconds: 60_000) }
        try await Task.sleep(for: .milliseconds(100))
        waiting.cancel()
        await waiting.value
        #expect(ContinuousClock.now - start < .seconds(30))
    }

    // MARK: Another store

    @Test func `another store in the place of this one is not followed`() async throws {
        let store = try database.open()
        _ = try await store.makeSession(of: try await store.makeUser("ada"))
        #expect(try await store.head().sequence == 0)
        let operatorSession = try database.connect()
        try operatorSession.run("ALTER SCHEMA public RENAME TO old; CREATE SCHEMA public")
        let other = try database.open()
        #expect(try await other.head().sequence == 0)
        await #expect(throws: StoreError.replaced) { try await store.head() }
        try operatorSession.run(
            "ALTER SCHEMA public RENAME TO new; ALTER SCHEMA old RENAME TO public")
        #expect(try await store.head().sequence == 0)
        await #expect(throws: StoreError.replaced) { try await other.head() }
    }
}
