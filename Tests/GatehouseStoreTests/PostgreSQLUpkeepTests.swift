// Upkeep, clocks and the lease on a real server, where others are busy or wrong.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite(.serialized, .enabled(if: PostgreSQLFixture.url != nil, "no PostgreSQL server to test with"))
struct PostgreSQLUpkeepTests {
    private let database: PostgreSQLTestDatabase
    private let watch: PostgreSQLConnection
    private let store: SQLStore

    init() throws {
        database = try PostgreSQLTestDatabase()
        watch = try database.connect()
        store = try database.open(connections: 1)
    }

    private func node() throws -> NodeID { NodeID(try Identifier.random(from: .system)) }

    /// The database's clock.
    private func clock() throws -> Int64 {
        try watch.integer("SELECT CAST(extract(epoch FROM clock_timestamp()) AS bigint)")
    }

    // MARK: Upkeep

    @Test func `with nothing to do it waits for nobody, and nobody for it`() async throws {
        let now = time(try clock())
        _ = try await store.prune(limit: 100, at: now)
        try watch.run("BEGIN; SELECT pg_advisory_xact_lock_shared(\(PostgreSQLDriver.storeLock))")
        let start = ContinuousClock.now
        _ = try await store.prune(limit: 100, at: now)
        #expect(start.duration(to: .now) < PostgreSQLConnection.lockTimeout)
        try watch.run("COMMIT")
    }

    @Test func `a week, a bucket that is missing and an old row outside are each a reason`()
        async throws
    {
        let now = time(try clock())
        let bucket = now.seconds / PostgreSQLPartitions.bucketSeconds
        func buckets() throws -> Int64 {
            try watch.integer(
                "SELECT count(*) FROM pg_inherits WHERE inhparent = CAST('feed' AS regclass)")
        }
        _ = try await store.prune(limit: 100, at: now)
        let count = try buckets()
        try watch.run("DROP TABLE feed_\(bucket + 2)")
        _ = try await store.prune(limit: 100, at: now)
        #expect(try buckets() == count)
        let first = (bucket - 1) * PostgreSQLPartitions.bucketSeconds
        try watch.run("SELECT gatehouse_add_partitions(\(first), \(first))")
        #expect(try buckets() == count + 1)
        _ = try await store.prune(limit: 100, at: now)
        #expect(try buckets() == count)
        try watch.run(
            "INSERT INTO feed (sequence, time, kind, value, deadline) VALUES (9, 0, 3, 0, 5)")
        _ = try await store.prune(limit: 100, at: now)
        #expect(try watch.integer("SELECT count(*) FROM feed") == 0)
    }

    @Test func `who reads for long keeps tables, and nothing else`() async throws {
        let now = time(try clock())
        let last = now.seconds - PostgreSQLPartitions.bucketSeconds
        try watch.run("SELECT gatehouse_add_partitions(\(last), \(last))")
        let key = try AttemptKey(username("ada"), key: try lookUpKey())
        _ = try await store.chargeAttempt(key, user: nil, at: time(noon))
        try watch.run("UPDATE attempts SET expires = 1")
        try watch.run("BEGIN; SELECT count(*) FROM feed")
        await #expect(throws: StoreError.busy) { try await store.prune(limit: 100, at: now) }
        #expect(try watch.integer("SELECT count(*) FROM attempts") == 0)
        let old = "SELECT count(*) FROM pg_class WHERE relname = 'feed_\(last / 604_800)'"
        #expect(try watch.integer(old) == 1)
        try watch.run("COMMIT")
        _ = try await store.prune(limit: 100, at: now)
        #expect(try watch.integer(old) == 0)
    }

    // MARK: Clocks

    @Test func `a clock that is ahead of the database's moves no time that others live by`()
        async throws
    {
        let now = try clock()
        let other = try database.open(connections: 1)
        try await other.joinNode(
            try node(), leaseSeconds: 60, rootKey: nil, rotates: false, at: time(now))
        for ahead in [clockSkewSeconds + 5, 1800, SQLStore.maximumClockLeadSeconds - 60] {
            let refusal = await failure { try await store.makeUser("ada", at: now + ahead) }
            guard case .clockAhead(let seconds) = refusal else {
                Issue.record("\(ahead) s ahead: \(String(describing: refusal))")
                continue
            }
            #expect(seconds == ahead)
            #expect(try watch.integer("SELECT latest_time FROM head") == now)
        }
        // A try is charged, by whatever clock, and moves no time either.
        let key = try AttemptKey(username("ada"), key: try lookUpKey())
        _ = await failure { try await store.chargeAttempt(key, user: nil, at: time(now + 1800)) }
        #expect(try watch.integer("SELECT latest_time FROM head") == now)
        _ = try await store.makeUser("ada", at: now + clockSkewSeconds - 5)
        #expect(try watch.integer("SELECT latest_time FROM head") == now + clockSkewSeconds - 5)
    }

    @Test func `where nobody lives by another clock the wrong one is believed`() async throws {
        let now = try clock()
        _ = try await store.makeUser("ada", at: now)
        _ = try await store.makeUser("bob", at: now + 1800)
        #expect(try watch.integer("SELECT latest_time FROM head") == now + 1800)
        #expect(try await store.clockLeap() == nil)
    }

    @Test func `a leap is noted though the database's clock made it too`() async throws {
        let now = try clock()
        _ = try await store.makeUser("ada", at: now - SQLStore.maximumClockLeadSeconds - 1)
        #expect(try await store.clockLeap() == nil)
        _ = try await store.makeUser("bob", at: now - 1)
        #expect(try await store.clockLeap() == nil)
        try watch.run("UPDATE head SET latest_time = \(now - SQLStore.maximumClockLeadSeconds - 1)")
        _ = try await store.makeUser("eve", at: now)
        #expect(try await store.clockLeap() == ClockLeap(time: time(now)))
    }

    private func failure<Value>(
        _ body: () async throws -> Value
    ) async -> StoreError? {
        do {
            _ = try await body()
            return nil
        } catch { return error as? StoreError }
    }

    // MARK: The lease

    @Test func `however much others do, a node is heard and hears`() async throws {
        let (isRunning, goOn) = (Flag(), Flag())
        async let work: Bool = store.read { db in
            _ = try db.integer(sql: "SELECT 1")
            isRunning.raise()
            return goOn.isRaised(within: 60)
        }
        #expect(try await eventually { isRunning.isRaised })
        let id = try node()
        let now = time(try clock())
        try await store.joinNode(id, leaseSeconds: 60, rootKey: nil, rotates: false, at: now)
        #expect(try await store.beat(id, position: 0, keyringVersion: 1, at: now))
        #expect(try await store.keyring() == nil)
        _ = try await store.head()
        try await store.leaveNode(id, at: now)
        #expect(!goOn.isRaised)
        goOn.raise()
        #expect(try await work)
    }

    // MARK: Other releases

    @Test func `a table that another release adds to keeps nobody from reading it`() async throws {
        let many = try database.open(connections: 8)
        let running = Counter()
        // Each connection has the statement.
        _ = try await race(8) { _ in
            try await many.readOne { db in
                _ = try db.rows(sql: "SELECT * FROM key_usage")
                _ = running.next()
                while running.value < 8 { usleep(1000) }
            }
        }
        try watch.run("ALTER TABLE key_usage ADD COLUMN later bigint NOT NULL DEFAULT 0")
        for _ in 0..<8 { #expect(try await many.keyUsage().isEmpty) }
    }
}
