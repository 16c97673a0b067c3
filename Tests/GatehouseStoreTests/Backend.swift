// The database that the contract runs on, and what tests do to it past the store.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

/// A kind of store, and how to open it: twice on one directory gives two processes' views of it.
enum Backend: CaseIterable {
    case sqlite, postgresql

    /// PostgreSQL where the environment names a database in which tests may make schemas, and else SQLite.
    static let inForce: Backend = PostgreSQLFixture.url == nil ? .sqlite : .postgresql
    static let allCases: [Backend] = [inForce]

    /// How much longer a silent node is taken for alive, in seconds: nodes may have clocks of their own.
    var clockMargin: Int64 { self == .postgresql ? clockSkewSeconds : 0 }

    func open(_ directory: TemporaryDirectory) throws -> SQLStore {
        try openUnsigned(directory).signed()
    }

    func openUnsigned(_ directory: TemporaryDirectory) throws -> SQLStore {
        switch self {
        case .sqlite: try SQLStore(directory: directory.path, createIfMissing: true)
        case .postgresql:
            try SQLStore(
                PostgreSQLFixture.options(for: directory), connections: 4,
                directory: directory.path, createIfMissing: true)
        }
    }
}

/// A schema for each directory of a test.
enum PostgreSQLFixture {
    static let url = ProcessInfo.processInfo.environment["GATEHOUSE_TEST_POSTGRESQL"]

    static func options(for directory: TemporaryDirectory) throws -> PostgreSQLOptions {
        let schema = "t_" + directory.path.utf8.map { String($0, radix: 16) }.joined().suffix(48)
        let made = try PostgreSQLConnection(
            connecting: PostgreSQLOptions(connectionString: try #require(url)))
        defer { made.close() }
        try made.run("CREATE SCHEMA IF NOT EXISTS \(schema)")
        let separator = try #require(url).contains("?") ? "&" : "?"
        return PostgreSQLOptions(
            connectionString: try #require(url) + separator + "options=-csearch_path%3D\(schema)")
    }
}

extension SQLStore {
    /// Changes rows as whoever may write to the database can: what holds is what its tables refuse.
    func change(_ statements: String..., arguments: StatementArguments = []) async throws {
        try await write(at: .zero) { db in
            for sql in statements { try db.execute(sql: sql, arguments: arguments) }
        }
    }

    /// Whether the tables refuse a statement: by a constraint, and not because it could not be run.
    func refuses(
        _ sql: String, _ arguments: StatementArguments = [], at now: UnixTime = time(noon)
    ) async throws -> Bool {
        do {
            try await write(at: now) { try $0.execute(sql: sql, arguments: arguments) }
        } catch {
            guard case .unavailable(let text) = error,
                text.hasPrefix("SQLite: 19 ") || text.hasPrefix("PostgreSQL: 23")
            else { throw error }
            return true
        }
        return false
    }

    /// The values of the first column of a result.
    func column(_ sql: String) async throws -> [GatehouseStore.DatabaseValue] {
        try await read { db in
            try db.rows(sql: sql).map { try #require($0.values.first) }
        }
    }
}
