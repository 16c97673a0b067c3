// The pool of connections to PostgreSQL: its line, its limits, and what becomes of it without a server.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Glibc
import Synchronization
import Testing

@testable import GatehouseStore

@Suite struct PostgreSQLPauseTests {
    @Test func `pauses double up to the longest, less up to a half by chance`() {
        var full = PostgreSQLPool.firstPause
        for failures in 1...40 {
            let pauses = (0..<200).map { _ in PostgreSQLPool.pause(after: failures) }
            #expect(pauses.allSatisfy { $0 >= full / 2 && $0 <= full })
            #expect(Set(pauses).count > 100, "no two nodes take the same")
            #expect(pauses.contains { $0 < full * 0.6 } && pauses.contains { $0 > full * 0.9 })
            full = min(full * 2, PostgreSQLPool.longestPause)
        }
        #expect(full == PostgreSQLPool.longestPause)
    }

    @Test func `while the server is away work fails at once, and few attempts are made`()
        async throws
    {
        // Takes connections and ends them, as nobody is behind it.
        let proxy = try CuttingProxy(to: 1)
        defer { proxy.close() }
        let options = PostgreSQLOptions(
            connectionString: "host=127.0.0.1 port=\(proxy.port) user=x sslmode=disable")
        let pool = PostgreSQLPool(options, size: 4)
        defer { pool.close() }
        let start = ContinuousClock.now
        for _ in 0..<200 {
            await #expect(throws: PostgreSQLError.self) { try await pool.run { _ in } }
        }
        // Six pauses are shorter than the second that half of the longest takes.
        let seconds = Int((ContinuousClock.now - start).components.seconds)
        #expect(proxy.accepted <= 8 + seconds)
    }

    @Test func `work waits no longer for a server that takes a connection and says nothing`()
        async throws
    {
        let (socket, port) = try CuttingProxy.listen()
        defer { Glibc.close(socket) }
        let pool = PostgreSQLPool(
            PostgreSQLOptions(
                connectionString: "host=127.0.0.1 port=\(port) user=x sslmode=disable",
                connectTimeout: .seconds(20)), size: 2, maximumWait: .milliseconds(500))
        defer { pool.close() }
        let waits = try await race(10) { _ in
            let start = ContinuousClock.now
            await #expect(throws: StoreError.busy) { try await pool.run { _ in } }
            return ContinuousClock.now - start
        }
        #expect(waits.allSatisfy { $0 >= .milliseconds(500) && $0 < .seconds(5) }, "\(waits)")
    }
}

@Suite(.serialized, .enabled(if: PostgreSQLFixture.url != nil, "no PostgreSQL server to test with"))
struct PostgreSQLPoolTests {
    private let database: PostgreSQLTestDatabase
    private let watch: PostgreSQLConnection

    init() throws {
        database = try PostgreSQLTestDatabase()
        watch = try database.connect()
    }

    private func connections(_ application: String) throws -> Int64 {
        try watch.integer(
            """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = ?
            """, [.text(application)])
    }

    private static func number(_ connection: PostgreSQLConnection) throws -> Int64 {
        try connection.integer("SELECT CAST(pg_backend_pid() AS bigint)")
    }

    @Test func `it makes as many connections as it needs, and no more than it may`() async throws {
        let pool = PostgreSQLPool(database.options("counted"), size: 3)
        defer { pool.close() }
        _ = try await pool.run { try Self.number($0) }
        #expect(try connections("counted") == 1)
        let pids = try await race(30) { _ in
            try await pool.run {
                usleep(5000)
                return try Self.number($0)
            }
        }
        #expect(Set(pids).count <= 3)
        #expect(try connections("counted") <= 3)
    }

    @Test func `threads that get no connection leave the work to those that have one`()
        async throws
    {
        let role = "limited_\(try Identifier.random(from: .system).hex.prefix(12))"
        let password = try Identifier.random(from: .system).hex
        try database.onServer(
            "CREATE ROLE \(role) LOGIN PASSWORD '\(password)' CONNECTION LIMIT 2")
        defer { try? database.onServer("DROP ROLE \(role)") }
        var options = database.options("limited")
        options.connectionString += "&user=\(role)"
        options.password = PostgreSQLPassword(Array(password.utf8).span)
        let pool = PostgreSQLPool(options, size: 6)
        defer { pool.close() }
        for _ in 0..<5 {
            _ = try await race(40) { _ in
                try await pool.run {
                    usleep(5000)
                    return try Self.number($0)
                }
            }
        }
        #expect(try connections("limited") == 2)
    }

    @Test func `work is refused when the line is full, and the rest of it done`() async throws {
        let pool = PostgreSQLPool(database.options, size: 1)
        defer { pool.close() }
        let (isRunning, goOn) = (Flag(), Flag())
        async let first: Bool = pool.run { _ in
            isRunning.raise()
            return goOn.isRaised(within: 60)
        }
        #expect(try await eventually { isRunning.isRaised })
        let excess = 50
        let (refused, done) = (Counter(), Counter())
        let waiting = Task {
            _ = try await race(PostgreSQLPool.maximumWaiting + excess) { _ in
                do {
                    try await pool.run { _ in _ = done.next() }
                } catch StoreError.busy { _ = refused.next() }
            }
        }
        #expect(try await eventually { refused.value == excess })
        #expect(done.value == 0)
        goOn.raise()
        #expect(try await first)
        // Unless it took too long until here, all are done.
        try await waiting.value
        #expect(refused.value + done.value == PostgreSQLPool.maximumWaiting + excess)
        #expect(done.value > 0)
        #expect(try await pool.run { _ in true }, "there is room again")
    }

    @Test func `work waits for a connection that hangs, but not too long`() async throws {
        let wait = Duration.seconds(2)
        let pool = PostgreSQLPool(database.options, size: 1, maximumWait: wait)
        defer { pool.close() }
        // On a busy machine connecting takes a while too.
        #expect(try await eventually { (try? await pool.run { _ in true }) ?? false })
        let (isRunning, goOn) = (Flag(), Flag())
        async let first: Bool = pool.run { _ in
            isRunning.raise()
            return goOn.isRaised(within: 60)
        }
        #expect(try await eventually { isRunning.isRaised })
        let done = Counter()
        let waits = try await race(20) { _ in
            let start = ContinuousClock.now
            await #expect(throws: StoreError.busy) { try await pool.run { _ in done.next() } }
            return ContinuousClock.now - start
        }
        #expect(waits.allSatisfy { $0 >= wait && $0 < wait + .seconds(2) }, "\(waits)")
        #expect(done.value == 0 && !goOn.isRaised)
        goOn.raise()
        #expect(try await first)
        #expect(try await eventually { (try? await pool.run { _ in true }) ?? false })
    }

    @Test func `work that waits for less than that is done`() async throws {
        let pool = PostgreSQLPool(database.options, size: 1, maximumWait: .seconds(120))
        defer { pool.close() }
        let (isRunning, goOn) = (Flag(), Flag())
        async let first: Bool = pool.run { _ in
            isRunning.raise()
            return goOn.isRaised(within: 60)
        }
        #expect(try await eventually { isRunning.isRaised })
        let done = Counter()
        async let short = pool.run { _ in done.next() }
        try await Task.sleep(for: .milliseconds(200))
        #expect(done.value == 0)
        goOn.raise()
        #expect(try await first)
        #expect(try await short == 1)
    }

    @Test func `what is older than the server's last silence is made anew, once`() async throws {
        let pool = PostgreSQLPool(database.options("anew"), size: 1)
        defer { pool.close() }
        let first = try await pool.run { try Self.number($0) }
        #expect(try await pool.run { try Self.number($0) } == first)
        pool.silence.note()
        let second = try await pool.run { try Self.number($0) }
        #expect(second != first)
        #expect(try await pool.run { try Self.number($0) } == second)
        #expect(try await eventually { try connections("anew") == 1 })
    }

    @Test func `a connection that work leaves broken is made anew`() async throws {
        let pool = PostgreSQLPool(database.options("broken"), size: 1)
        defer { pool.close() }
        let first = try await pool.run { connection in
            let number = try Self.number(connection)
            connection.close()
            return number
        }
        #expect(try await pool.run { try Self.number($0) } != first)
        #expect(try await eventually { try connections("broken") == 1 })
    }

    @Test func `closing ends the connections once what waits is done, and takes no more`()
        async throws
    {
        let pool = PostgreSQLPool(database.options("closed"), size: 2)
        let goOn = Flag()
        let done = Counter()
        async let all: [Void] = race(6) { _ in
            try await pool.run { _ in
                guard goOn.isRaised(within: 30) else { throw Unexpected("never told to go on") }
                _ = done.next()
            }
        }
        #expect(try await eventually { try connections("closed") == 2 })
        // Those that wait are in the line once two run.
        try await Task.sleep(for: .milliseconds(200))
        pool.close()
        await #expect(throws: StoreError.unavailable("the store is closed")) {
            try await pool.run { _ in }
        }
        goOn.raise()
        _ = try await all
        #expect(done.value == 6)
        #expect(try await eventually { try connections("closed") == 0 })
    }

    @Test func `a store that is closed, or that nobody has any more, leaves no connection`()
        async throws
    {
        for isClosed in [true, false] {
            var store: SQLStore? = try database.open(connections: 3, database.options("left"))
            do {
                let store = try #require(store)
                _ = try await race(6) { index in try await store.makeUser("u\(isClosed)-\(index)") }
                _ = try await store.head()
                await store.waitForChange(milliseconds: 1)
            }
            #expect(
                try await eventually { try connections("left") >= 3 }, "pool, follower, listener")
            if isClosed {
                try store?.close()
                let closed = try #require(store)
                await #expect(throws: StoreError.unavailable("the store is closed")) {
                    try await closed.makeUser("late")
                }
            }
            store = nil
            #expect(try await eventually { try connections("left") == 0 })
        }
    }
}
