// Migrations on a real server: once, whole or not at all, and not under anybody's feet.

import Foundation
import GatehouseCore
import Testing

@testable import GatehouseStore

@Suite(.enabled(if: PostgreSQLTestSchema.server != nil, "no PostgreSQL server to test with"))
struct PostgreSQLMigratorTests {
    private static let now = UnixTime(clamping: 1_800_000_000)

    private let schema: PostgreSQLTestSchema
    private let connection: PostgreSQLConnection

    /// What this release has, then two made up: one that adds a column, one that takes it away.
    private let migrations =
        PostgreSQLSchema.migrations.prefix(1) + [
            PostgreSQLMigration(
                version: 2, compatible: 1, sql: "ALTER TABLE users ADD COLUMN colour bigint"),
            PostgreSQLMigration(
                version: 3, compatible: 2, sql: "ALTER TABLE users DROP COLUMN colour"),
        ]

    init() throws {
        schema = try PostgreSQLTestSchema()
        connection = try schema.connect()
    }

    private func migrate(
        _ migrations: some Sequence<PostgreSQLMigration>, on other: PostgreSQLConnection? = nil
    ) throws -> SchemaState {
        try PostgreSQLMigrator(other ?? connection, migrations: Array(migrations))
            .migrate(at: Self.now)
    }

    private func check(_ migrations: some Sequence<PostgreSQLMigration>) throws -> SchemaState {
        try PostgreSQLMigrator(connection, migrations: Array(migrations)).check()
    }

    private func addNode(knowing version: Int, heartbeat: Int64) throws {
        _ = try connection.query(
            PostgreSQLStatement(
                """
                INSERT INTO nodes (id, started, heartbeat, lease_seconds, position, keyring_version,
                    schema_version)
                VALUES (?, 0, ?, 120, 0, 0, ?)
                """),
            [
                .blob(Data(try Identifier.random(from: .system).bytes)), .integer(heartbeat),
                .integer(Int64(version)),
            ])
    }

    @Test func `a new database gets all tables, and a second time nothing happens`() throws {
        #expect(throws: StoreError.schema(PostgreSQLSchemaRule.empty)) { try check(migrations) }
        #expect(try migrate(migrations) == SchemaState(version: 3))
        #expect(try migrate(migrations) == SchemaState(version: 3))
        #expect(try check(migrations) == SchemaState(version: 3))
        let noted = try connection.integers(
            "SELECT version * 100 + compatible * 10 + (applied = ?)::int FROM schema_versions",
            [.integer(Self.now.seconds)])
        #expect(noted.sorted() == [111, 211, 321])
    }

    @Test func `a new database is told by its id, and takes names at once`() throws {
        _ = try migrate(migrations)
        let row = try connection.query(
            PostgreSQLStatement("SELECT store_id, (SELECT version FROM skeletons) FROM head"))
        guard case .blob(let id) = try row.value(row: 0, column: 0) else {
            Issue.record("no id")
            return
        }
        #expect(id.count == 16)
        #expect(try row.value(row: 0, column: 1) == .text(Username.skeletonVersion))
        let other = try PostgreSQLTestSchema()
        let connection = try other.connect()
        _ = try migrate(migrations, on: connection)
        #expect(
            try connection.query(PostgreSQLStatement("SELECT store_id FROM head"))
                .value(row: 0, column: 0) != .blob(id))
    }

    @Test func `programs of two releases share a database until one is shut out`() throws {
        _ = try migrate(migrations.prefix(2))
        #expect(try migrate(migrations.prefix(1)) == SchemaState(version: 2))
        #expect(try check(migrations.prefix(1)) == SchemaState(version: 2))
        _ = try migrate(migrations)
        let newer = StoreError.schema(PostgreSQLSchemaRule.newer)
        #expect(throws: newer) { try migrate(migrations.prefix(1)) }
        #expect(throws: newer) { try check(migrations.prefix(1)) }
        #expect(try check(migrations.prefix(2)) == SchemaState(version: 3))
    }

    @Test func `what would shut out a server that lives waits until it is given up`() throws {
        _ = try migrate(migrations.prefix(1))
        // As long as it may live by a clock that is behind.
        let silence = 120 + NodeRecord.graceSeconds + clockSkewSeconds
        try addNode(knowing: 1, heartbeat: Self.now.seconds - silence)
        #expect(try migrate(migrations) == SchemaState(version: 2, withheld: 3))
        #expect(try check(migrations) == SchemaState(version: 2, withheld: 3))
        try connection.run("UPDATE nodes SET heartbeat = heartbeat - 1")
        #expect(try migrate(migrations) == SchemaState(version: 3))
    }

    @Test func `a server of the new release doesn't hold its own migration up`() throws {
        _ = try migrate(migrations.prefix(1))
        try addNode(knowing: 2, heartbeat: Self.now.seconds)
        #expect(try migrate(migrations) == SchemaState(version: 3))
    }

    @Test func `a program that was shut out after it opened the store becomes no node`() throws {
        _ = try migrate(migrations)
        try addNode(knowing: 2, heartbeat: Self.now.seconds)
        let refusal = #expect(throws: PostgreSQLError.self) {
            try addNode(knowing: 1, heartbeat: Self.now.seconds)
        }
        guard case .server(let state, _, _) = refusal else {
            Issue.record("another failure: \(String(describing: refusal))")
            return
        }
        #expect(state.code == "55000")
        #expect(try connection.integers("SELECT schema_version FROM nodes") == [2])
    }

    @Test func `a migration that fails leaves nothing, and no lock`() throws {
        let failing = PostgreSQLMigration(
            version: 2, compatible: 1, sql: "CREATE TABLE extra (); SELECT 1 / 0")
        #expect(throws: PostgreSQLError.self) { try migrate(migrations.prefix(1) + [failing]) }
        #expect(try connection.integers("SELECT version FROM schema_versions") == [1])
        #expect(try connection.integers("SELECT 1 WHERE to_regclass('extra') IS NULL") == [1])
        let other = try schema.connect()
        #expect(try migrate(migrations, on: other) == SchemaState(version: 3))
    }

    @Test func `servers that start together migrate once`() async throws {
        let states = try await withThrowingTaskGroup(of: SchemaState.self) { group in
            for _ in 0..<4 {
                group.addTask { [schema, migrations] in
                    let connection = try schema.connect()
                    return try PostgreSQLMigrator(connection, migrations: Array(migrations))
                        .migrate(at: Self.now)
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(states == Array(repeating: SchemaState(version: 3), count: 4))
    }

    @Test func `a migration waits for a table that is read, and not for long`() throws {
        _ = try migrate(migrations.prefix(1))
        let reader = try schema.connect()
        try reader.run("SET idle_in_transaction_session_timeout = 0; BEGIN; TABLE users")
        let start = ContinuousClock.now
        let failure = #expect(throws: PostgreSQLError.self) { try migrate(migrations) }
        let seconds = Double(PostgreSQLMigrator.lockSeconds)
        #expect((ContinuousClock.now - start) / .seconds(1) > seconds - 0.5)
        guard case .server(let state, _, _) = failure else {
            Issue.record("another failure: \(String(describing: failure))")
            return
        }
        #expect(state.isLockTimeout)
        try reader.run("COMMIT")
        #expect(try migrate(migrations) == SchemaState(version: 3))
    }
}
