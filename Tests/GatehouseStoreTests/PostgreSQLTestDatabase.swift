// A database of a test's own on the server that tests may use: what it locks, ends and counts is its alone.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

/// A database with a name of its own, removed with this. Its stores share one directory, as those of one
/// machine do.
final class PostgreSQLTestDatabase: Sendable {
    let name: String
    let directory = TemporaryDirectory()
    private let server: String

    init() throws {
        server = try #require(PostgreSQLFixture.url)
        name = "gatehouse_test_" + (try Identifier.random(from: .system).hex)
        // The locale of a server may be anything; ours is UTF-8.
        try onServer("CREATE DATABASE \(name) TEMPLATE template0 ENCODING 'UTF8'")
    }

    deinit { try? onServer("DROP DATABASE \(name) WITH (FORCE)") }

    /// Runs a script in another database of the server: what can't be done from within.
    func onServer(_ script: String) throws {
        let connection = try PostgreSQLConnection(
            connecting: PostgreSQLOptions(connectionString: server, statementTimeout: .seconds(60)))
        defer { connection.close() }
        try connection.run(script)
    }

    var options: PostgreSQLOptions { options("gatehouse") }

    /// - Parameter application: what the server shows for the connections.
    func options(_ application: String) -> PostgreSQLOptions {
        let separator = server.contains("?") ? "&" : "?"
        return PostgreSQLOptions(
            connectionString: "\(server)\(separator)dbname=\(name)", applicationName: application)
    }

    /// A node's view of the store.
    func open(connections: Int = 4, _ options: PostgreSQLOptions? = nil) throws -> SQLStore {
        try SQLStore(
            options ?? self.options, connections: connections, directory: directory.path,
            createIfMissing: true
        ).signed()
    }

    /// A connection of somebody else, who is in no hurry.
    func connect() throws -> PostgreSQLConnection {
        var options = options("somebody else")
        options.statementTimeout = .seconds(900)
        let connection = try PostgreSQLConnection(connecting: options)
        try connection.run(
            """
            SET idle_in_transaction_session_timeout = 0;
            SET lock_timeout = 0;
            SET statement_timeout = 0
            """)
        return connection
    }
}

extension PostgreSQLConnection {
    func integer(_ sql: String, _ values: [DatabaseValue] = []) throws -> Int64 {
        guard let value = try integers(sql, values).first else { throw Unexpected("no row") }
        return value
    }

    /// How many of the database's sessions wait for a lock.
    func lockWaiters() throws -> Int64 {
        try integer(
            """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'
            """)
    }

    /// Ends the database's sessions whose last statement is like `pattern`; says how many those were.
    func terminate(_ pattern: String) throws -> Int64 {
        try integer(
            """
            SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid != pg_backend_pid() AND query LIKE ?
            """, [.text(pattern)])
    }
}

/// Whether `condition` comes true within `seconds`.
func eventually(
    within seconds: Double = 30, _ condition: () async throws -> Bool
) async throws -> Bool {
    let end = ContinuousClock.now + .seconds(seconds)
    while try await !condition() {
        guard ContinuousClock.now < end else { return false }
        try await Task.sleep(for: .milliseconds(5))
    }
    return true
}

/// Something that happens once, for threads that wait for it.
final class Flag: Sendable {
    private let condition = NSCondition()
    private nonisolated(unsafe) var isUp = false

    var isRaised: Bool {
        condition.withLock { unsafe isUp }
    }

    func raise() {
        condition.withLock {
            unsafe isUp = true
            condition.broadcast()
        }
    }

    /// Blocks the thread; whether the flag was raised in time.
    func isRaised(within seconds: Double) -> Bool {
        let end = Date(timeIntervalSinceNow: seconds)
        return condition.withLock {
            while unsafe !isUp {
                guard condition.wait(until: end) else { return unsafe isUp }
            }
            return true
        }
    }
}

/// Work of a thread, since connections block; what it gives can be waited for.
func onThread<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
) -> Task<Value, any Error> {
    Task {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }
}

/// What tests tell apart, and the store doesn't.
extension SQLState {
    var isConstraintViolation: Bool { code.hasPrefix("23") }
    var isNotNullViolation: Bool { code == "23502" }
    var isForeignKeyViolation: Bool { code == "23503" }
    var isUniqueViolation: Bool { code == "23505" }
    var isCheckViolation: Bool { code == "23514" }
    var isFailedTransaction: Bool { code == "25P02" }
    var isUndefinedColumn: Bool { code == "42703" }
}
