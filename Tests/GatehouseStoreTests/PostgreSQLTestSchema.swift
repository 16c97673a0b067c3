// A place of a test's own in the database that it may use.

import Foundation
import GatehouseCore

@testable import GatehouseStore

/// A schema with a name of its own, removed with this.
final class PostgreSQLTestSchema: Sendable {
    /// A connection string; its user must be one who may make schemas. A password comes from libpq's
    /// environment variables.
    static let server = ProcessInfo.processInfo.environment["GATEHOUSE_TEST_POSTGRESQL"]

    let name: String
    private let options: PostgreSQLOptions

    init() throws {
        guard let server = Self.server else { throw PostgreSQLError.unreachable("no server") }
        options = PostgreSQLOptions(
            connectionString: server, statementTimeout: PostgreSQLMigrator.statementTimeout)
        name = "test_" + (try Identifier.random(from: .system).hex)
        let connection = try PostgreSQLConnection(connecting: options)
        try connection.run("CREATE SCHEMA \(name)")
        connection.close()
    }

    /// A connection that finds its tables here.
    func connect() throws -> PostgreSQLConnection {
        let connection = try PostgreSQLConnection(connecting: options)
        try connection.run("SET search_path = \(name)")
        return connection
    }

    deinit {
        guard let connection = try? PostgreSQLConnection(connecting: options) else { return }
        try? connection.run("DROP SCHEMA \(name) CASCADE")
        connection.close()
    }
}

extension PostgreSQLConnection {
    /// The numbers of a statement's only column.
    func integers(_ sql: String, _ values: [DatabaseValue] = []) throws -> [Int64] {
        let rows = try query(PostgreSQLStatement(sql), values)
        return try (0..<rows.rowCount).compactMap { row in
            guard case .integer(let value) = try rows.value(row: row, column: 0) else { return nil }
            return value
        }
    }

    /// The error class and text that the server refuses a script with; nil when it doesn't.
    func refusal(_ script: String) throws -> (state: SQLState, message: String)? {
        do throws(PostgreSQLError) {
            try run(script)
            return nil
        } catch {
            guard case .server(let state, _, let message) = error else { throw error }
            return (state, message)
        }
    }
}
