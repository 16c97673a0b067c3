// Transactions on PostgreSQL: what is done again, what isn't, and what the rest of the service hears of it.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Synchronization
import Testing

@testable import GatehouseStore

@Suite(.serialized, .enabled(if: PostgreSQLFixture.url != nil, "no PostgreSQL server to test with"))
struct PostgreSQLTransactionTests {
    private let database: PostgreSQLTestDatabase
    private let watch: PostgreSQLConnection

    init() throws {
        database = try PostgreSQLTestDatabase()
        watch = try database.connect()
    }

    /// Transactions of a body that adds one to a counter and then meets what `trouble` makes, in each run
    /// that it is asked for, which are counted from one.
    private func write(
        _ store: SQLStore,
        _ trouble: @escaping @Sendable (Int, GatehouseStore.Database) throws -> Void
    ) async -> (outcome: Result<Int, StoreError>, runs: Int) {
        let runs = Counter()
        do {
            let value = try await store.write(at: time(noon), .rows) { db in
                let run = runs.next()
                try db.execute(sql: "UPDATE erasures SET count = count + 1")
                try SQLStore.append(
                    AuditEvent(.userCreated, by: .server, detail: "run=\(run)"), to: db,
                    at: time(noon))
                try trouble(run, db)
                return run
            }
            return (.success(value), runs.value)
        } catch { return (.failure(error), runs.value) }
    }

    /// How often the body's writes are there.
    private func done() throws -> [Int64] {
        [
            try watch.integer("SELECT count FROM erasures"),
            try watch.integer("SELECT count(*) FROM audit"),
            try watch.integer("SELECT audit_sequence FROM head"),
        ]
    }

    private func isUnavailable(_ outcome: Result<Int, StoreError>) -> Bool {
        if case .failure(.unavailable) = outcome { return true }
        return false
    }

    private static func raise(_ state: String, _ db: GatehouseStore.Database) throws {
        try db.execute(sql: "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '\(state)'; END $$")
        // Sent with the next statement that is answered.
        _ = try db.changesCount
    }

    // MARK: Again

    @Test(arguments: ["40001", "40P01"])
    func `a transaction that met another is done again, and once`(state: String) async throws {
        let store = try database.open(connections: 1)
        let (outcome, runs) = await write(store) { run, db in
            if run < 3 { try Self.raise(state, db) }
        }
        #expect(outcome == .success(3) && runs == 3)
        #expect(try done() == [1, 1, 1])
        #expect(
            try await store.audit(after: 0, limit: 9).map(\.event.detail) == ["run=3"],
            "what the other runs wrote is gone")
    }

    @Test(arguments: ["40001", "40P01"])
    func `one that meets others again and again is given up, and leaves nothing`(
        state: String
    ) async throws {
        let store = try database.open(connections: 1)
        let (outcome, runs) = await write(store) { _, db in try Self.raise(state, db) }
        #expect(outcome == .failure(.busy) && runs == PostgreSQLDriver.maximumAttempts)
        #expect(try done() == [0, 0, 0])
        #expect(await write(store) { _, _ in }.outcome == .success(1), "the connection is good")
    }

    @Test func `what the database refuses for good is not tried again`() async throws {
        let store = try database.open(connections: 1)
        let (outcome, runs) = await write(store) { _, db in try Self.raise("23514", db) }
        #expect(outcome == .failure(.unavailable("PostgreSQL: 23514")) && runs == 1)
        #expect(try done() == [0, 0, 0])
    }

    @Test func `a deadlock with somebody else is survived`() async throws {
        let store = try database.open(connections: 1)
        let other = try database.connect()
        // We are the one that looks for it.
        try other.run("SET deadlock_timeout = '60s'; BEGIN; UPDATE skeletons SET version = version")
        let (held, watch) = (Flag(), watch)
        let theirs = onThread {
            guard held.isRaised(within: 10) else { throw Unexpected("never held") }
            try other.run("UPDATE clock_leaps SET time = time")
            try other.run("COMMIT")
        }
        let runs = Counter()
        let run = try await store.write(at: time(noon), .rows) { db in
            let run = runs.next()
            try db.execute(sql: "UPDATE clock_leaps SET time = time")
            _ = try db.changesCount
            held.raise()
            // The other waits for us.
            let end = Date(timeIntervalSinceNow: 3)
            while run == 1, try watch.lockWaiters() == 0, Date() < end { usleep(1000) }
            try db.execute(sql: "UPDATE skeletons SET version = version")
            try db.execute(sql: "UPDATE erasures SET count = count + 1")
            _ = try db.changesCount
            return run
        }
        try await theirs.value
        #expect(run == 2 && runs.value == 2)
        #expect(try watch.integer("SELECT count FROM erasures") == 1)
    }

    // MARK: Connections that break

    @Test func `a session that the server ends before the commit is done again, and once`()
        async throws
    {
        let store = try database.open(connections: 1)
        let (outcome, runs) = await write(store) { run, db in
            guard run == 1 else { return }
            _ = try db.row(sql: "SELECT pg_terminate_backend(pg_backend_pid())")
        }
        #expect(outcome == .success(2) && runs == 2)
        #expect(try done() == [1, 1, 1])
    }

    @Test func `a session that was ended between two statements is done again, and once`()
        async throws
    {
        let store = try database.open(connections: 1)
        let watch = watch
        let (outcome, runs) = await write(store) { run, db in
            let pid = try db.integer(sql: "SELECT pg_backend_pid()")
            guard run == 1, let pid else { return }
            _ = try watch.integer(
                "SELECT CAST(pg_terminate_backend(CAST(? AS int), 5000) AS int)", [.integer(pid)])
        }
        #expect(outcome == .success(2) && runs == 2)
        #expect(try done() == [1, 1, 1])
    }

    @Test func `sessions that were ended while they were idle are not noticed`() async throws {
        let store = try database.open(connections: 3)
        _ = try await race(6) { _ in await write(store) { _, _ in } }
        #expect(try watch.terminate("%") >= 1)
        _ = try await race(6) { _ in
            let (outcome, runs) = await write(store) { _, _ in }
            #expect(outcome == .success(runs))
        }
        #expect(try done()[0] == 12)
        #expect(try await store.audit(after: 0, limit: 20).count == 12)
    }

    @Test func `a session that the server ends in the commit is not done again`() async throws {
        let store = try database.open(connections: 1)
        try watch.run(
            """
            CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER dies AFTER UPDATE ON erasures
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()
            """)
        let (outcome, runs) = await write(store) { _, _ in }
        #expect(isUnavailable(outcome) && runs == 1)
        #expect(try done() == [0, 0, 0])
        try watch.run("DROP TRIGGER dies ON erasures")
        #expect(await write(store) { _, _ in }.outcome == .success(1))
    }

    // MARK: Networks that break

    /// With the NUL that ends it, unlike that of an isolation level.
    private static let commit = "COMMIT\0"

    /// A store whose every statement goes through a proxy as text.
    private func openThroughProxy() throws -> (SQLStore, CuttingProxy) {
        let port = try watch.integer("SELECT CAST(current_setting('port') AS bigint)")
        let proxy = try CuttingProxy(to: UInt16(port))
        let user = try watch.query(PostgreSQLStatement("SELECT CAST(current_user AS text)"))
        guard case .text(let user) = try user.value(row: 0, column: 0) else {
            throw Unexpected("user")
        }
        let options = PostgreSQLOptions(
            connectionString: """
                host=127.0.0.1 port=\(proxy.port) user=\(user) dbname=\(database.name) \
                sslmode=disable
                """, preparesStatements: false)
        return (try database.open(connections: 1, options), proxy)
    }

    @Test func `a network that breaks within a transaction is no matter`() async throws {
        let (store, proxy) = try openThroughProxy()
        defer { proxy.close() }
        for (index, cut) in [CuttingProxy.Cut.before, .after].enumerated() {
            proxy.arm(at: "the marked one", cut)
            let (outcome, runs) = await write(store) { _, db in
                _ = try db.row(sql: "SELECT 'the marked one'")
            }
            #expect(outcome == .success(2) && runs == 2)
            #expect(proxy.cuts == index + 1)
            #expect(try done() == Array(repeating: Int64(index + 1), count: 3))
        }
    }

    @Test func `a commit that gets lost is not done again, and nobody is told that it was`()
        async throws
    {
        let (store, proxy) = try openThroughProxy()
        defer { proxy.close() }
        proxy.arm(at: Self.commit, .before)
        let (outcome, runs) = await write(store) { _, _ in }
        #expect(outcome == .failure(.unavailable("the connection to PostgreSQL broke")))
        #expect(runs == 1 && proxy.cuts == 1)
        #expect(try await eventually { try done() == [0, 0, 0] })
        #expect(await write(store) { _, _ in }.outcome == .success(1))
    }

    @Test func `a commit whose answer gets lost is done once`() async throws {
        let (store, proxy) = try openThroughProxy()
        defer { proxy.close() }
        proxy.arm(at: Self.commit, .after)
        let (outcome, runs) = await write(store) { _, _ in }
        #expect(outcome == .failure(.unavailable("the connection to PostgreSQL broke")))
        #expect(runs == 1 && proxy.cuts == 1)
        #expect(try await eventually { try done() == [1, 1, 1] })
    }

    @Test func `a read whose connection breaks is done again`() async throws {
        let (store, proxy) = try openThroughProxy()
        defer { proxy.close() }
        _ = try await store.makeUser("ada")
        for cut in [CuttingProxy.Cut.before, .after] {
            proxy.arm(at: "FROM names", cut)
            #expect(try await store.users(after: nil, limit: 9).count == 1)
            proxy.arm(at: "FROM head", cut)
            #expect(try await store.head().sequence == 0)
        }
        #expect(proxy.cuts == 4)
    }

    // MARK: Limits

    @Test func `who waits too long for a row is told that the store is busy`() async throws {
        let store = try database.open(connections: 1)
        let other = try database.connect()
        try other.run("BEGIN; UPDATE skeletons SET version = version")
        let (outcome, runs) = await write(store) { _, db in
            try db.execute(sql: "SET LOCAL lock_timeout = 50")
            try db.execute(sql: "UPDATE skeletons SET version = version")
            _ = try db.changesCount
        }
        #expect(outcome == .failure(.busy) && runs == 1)
        try other.run("ROLLBACK")
        #expect(try done() == [0, 0, 0])
    }

    @Test func `who waits too long for another's scope is told that the store is busy`()
        async throws
    {
        let store = try database.open(connections: 1)
        let other = try database.connect()
        try other.run("BEGIN; SELECT pg_advisory_xact_lock(\(PostgreSQLDriver.storeLock))")
        let start = ContinuousClock.now
        #expect(await write(store) { _, _ in }.outcome == .failure(.busy))
        let waited = ContinuousClock.now - start
        #expect(waited >= PostgreSQLConnection.lockTimeout)
        try other.run("ROLLBACK")
        #expect(await write(store) { _, _ in }.outcome == .success(1))
    }

    @Test func `a statement that takes too long means that the store is busy`() async throws {
        var options = database.options
        options.statementTimeout = .milliseconds(200)
        let store = try database.open(connections: 1, options)
        let (outcome, runs) = await write(store) { _, db in
            _ = try db.row(sql: "SELECT pg_sleep(20)")
        }
        #expect(outcome == .failure(.busy) && runs == 1)
        #expect(try done() == [0, 0, 0])
    }

    @Test func `one that may take longer does, and no other`() async throws {
        var options = database.options
        options.statementTimeout = .milliseconds(200)
        let store = try database.open(connections: 1, options)
        func sleep(_ seconds: Double, allowed: Duration?) async throws -> Int {
            try await store.read { db in
                if let allowed { try db.allow(allowed) }
                return try db.rows(sql: "SELECT 1::bigint FROM pg_sleep(\(seconds))").count
            }
        }
        // Longer than the client itself waits for others.
        #expect(try await sleep(2.5, allowed: .seconds(20)) == 1)
        await #expect(throws: StoreError.busy) { try await sleep(1, allowed: nil) }
        #expect(try await sleep(0.1, allowed: .milliseconds(1)) == 1, "never less than usual")
        await #expect(throws: StoreError.busy) { try await sleep(1, allowed: .milliseconds(1)) }
    }

    @Test func `a server that only reads is unavailable, and back when it writes`() async throws {
        let store = try database.open(connections: 1)
        _ = try await store.makeUser("ada")
        // As when the server is told to while we are connected: the session takes it up.
        _ = try await store.read { db in
            _ = try db.row(
                sql: "SELECT set_config('default_transaction_read_only', 'on', false)")
        }
        #expect(await write(store) { _, _ in }.outcome == .success(2), "another session writes")
        try watch.run("ALTER DATABASE \(database.name) SET default_transaction_read_only = on")
        #expect(try watch.terminate("%") >= 1)
        for _ in 0..<3 {
            let (outcome, _) = await write(store) { _, _ in }
            #expect(isUnavailable(outcome))
        }
        try watch.run(
            """
            SET default_transaction_read_only = off;
            ALTER DATABASE \(database.name) RESET default_transaction_read_only
            """)
        #expect(
            try await eventually {
                let (outcome, _) = await write(store) { _, _ in }
                return outcome == .success(1)
            })
        #expect(try done()[0] == 2)
    }

    @Test func `an error of the body's own undoes all of it, and leaves the connection whole`()
        async throws
    {
        let store = try database.open(connections: 1)
        let (outcome, runs) = await write(store) { _, _ in throw StoreError.damaged("a test") }
        #expect(outcome == .failure(.damaged("a test")) && runs == 1)
        #expect(try done() == [0, 0, 0])
        #expect(await write(store) { _, _ in }.outcome == .success(1))
    }
}

/// Counts from one.
final class Counter: Sendable {
    private let count = Mutex(0)

    var value: Int { count.withLock(\.self) }

    func next() -> Int {
        count.withLock {
            $0 += 1
            return $0
        }
    }
}
