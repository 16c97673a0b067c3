// Brings PostgreSQL's schema to what this program knows, while servers of other releases may be at work.

import GatehouseCore

/// Works on a connection that nobody else uses meanwhile, and whose statements may take
/// ``statementTimeout``. Two servers that start together migrate once: the second waits for the first, and
/// finds nothing to do.
struct PostgreSQLMigrator {
    /// The oldest server that has all that the schema uses, as in `server_version_num`.
    static let oldestServer: Int64 = 150_000
    /// For an index that is made of a large table.
    static let statementTimeout: Duration = .seconds(900)
    /// How long one waits for another's migrations, in seconds; below ``statementTimeout``.
    static let waitSeconds = 120
    /// How long a migration waits for a table that somebody uses, in seconds: whoever comes later waits
    /// behind it.
    static let lockSeconds = 5

    private let rule: PostgreSQLSchemaRule
    private let connection: PostgreSQLConnection

    init(
        _ connection: PostgreSQLConnection,
        migrations: [PostgreSQLMigration] = PostgreSQLSchema.migrations
    ) {
        self.connection = connection
        rule = PostgreSQLSchemaRule(migrations: migrations)
    }

    /// Applies what is missing, each migration in a transaction of its own.
    ///
    /// - Throws: ``StoreError/schema(_:)`` for a database that this program doesn't work with, and
    ///   ``PostgreSQLError``.
    func migrate(at now: UnixTime) throws -> SchemaState {
        try checkServer()
        switch rule.verdict(applied: try applied(), nodes: [], mayMigrate: true) {
        case .work(let state): return state
        case .refuse(let reason): throw StoreError.schema(reason)
        case .apply: break
        }
        try lock()
        // A connection that broke has no lock any more.
        defer { try? connection.run("SELECT pg_advisory_unlock(\(Self.lockKey))") }
        while true {
            let state = try transaction(waitingFor: Self.lockSeconds) { try step(at: now) }
            if let state { return state }
        }
    }

    /// Whether this program works with the schema as it is.
    ///
    /// - Throws: as ``migrate(at:)``.
    func check() throws -> SchemaState {
        try checkServer()
        switch rule.verdict(applied: try applied(), nodes: [], mayMigrate: false) {
        case .work(let state): return state
        case .refuse(let reason): throw StoreError.schema(reason)
        case .apply: preconditionFailure("only the server migrates")
        }
    }

    private func checkServer() throws {
        let version = try integers("SELECT current_setting('server_version_num')::bigint")
        guard let version = version.first, version >= Self.oldestServer else {
            throw StoreError.unavailable("PostgreSQL is older than 15")
        }
    }

    /// In their order; none in a database without our tables.
    private func applied() throws -> [AppliedMigration] {
        guard try integers("SELECT to_regclass('schema_versions') IS NOT NULL") == [1] else {
            return []
        }
        let rows = try connection.query(
            PostgreSQLStatement("SELECT version, compatible FROM schema_versions ORDER BY version"))
        return try (0..<rows.rowCount).map { row in
            guard case .integer(let version) = try rows.value(row: row, column: 0),
                case .integer(let compatible) = try rows.value(row: row, column: 1)
            else { throw StoreError.damaged("schema_versions") }
            return AppliedMigration(
                version: Int(clamping: version), compatible: Int(clamping: compatible))
        }
    }

    /// Applies one migration, or says that there is none to apply.
    private func step(at now: UnixTime) throws -> SchemaState? {
        let applied = try applied()
        let nodes = rule.isContracting(after: applied.count) ? try nodes(at: now) : []
        switch rule.verdict(applied: applied, nodes: nodes, mayMigrate: true) {
        case .work(let state): return state
        case .refuse(let reason): throw StoreError.schema(reason)
        case .apply(let version):
            let migration = rule.migrations[version - 1]
            if version == 1 { try connection.run(PostgreSQLSchema.versionTable) }
            try connection.run(migration.sql)
            _ = try connection.query(
                PostgreSQLStatement(
                    "INSERT INTO schema_versions (version, compatible, applied) VALUES (?, ?, ?)"),
                [
                    .integer(Int64(version)), .integer(Int64(migration.compatible)),
                    .integer(now.seconds),
                ])
            return nil
        }
    }

    /// The versions that living nodes know, by clocks that may be apart. None joins until the transaction
    /// ends, and then it is held against the new schema (`nodes_admitted`).
    private func nodes(at now: UnixTime) throws -> [Int] {
        try connection.run("LOCK TABLE nodes IN SHARE ROW EXCLUSIVE MODE")
        let versions = try integers(
            "SELECT schema_version FROM nodes WHERE heartbeat + lease_seconds + ? >= ?",
            [.integer(NodeRecord.graceSeconds + clockSkewSeconds), .integer(now.seconds)])
        return versions.map { Int(clamping: $0) }
    }

    // MARK: Statements

    /// The first column of all rows.
    private func integers(_ sql: String, _ values: [DatabaseValue] = []) throws -> [Int64] {
        let rows = try connection.query(PostgreSQLStatement(sql), values)
        return try (0..<rows.rowCount).map { row in
            guard case .integer(let value) = try rows.value(row: row, column: 0) else {
                throw StoreError.damaged("a number")
            }
            return value
        }
    }

    private func transaction<Value>(
        waitingFor seconds: Int, _ body: () throws -> Value
    ) throws -> Value {
        try connection.run("BEGIN; SET LOCAL lock_timeout = '\(seconds)s'")
        do {
            let value = try body()
            try connection.run("COMMIT")
            return value
        } catch {
            try? connection.run("ROLLBACK")
            throw error
        }
    }

    /// Of the schema that the tables are in, which may stand beside others. The connection holds it,
    /// whatever becomes of transactions.
    private static let lockKey = "1734440038, hashtext(current_schema())"

    private func lock() throws {
        // The transaction is there for the time that it may wait.
        try transaction(waitingFor: Self.waitSeconds) {
            try connection.run("SELECT pg_advisory_lock(\(Self.lockKey))")
        }
    }
}
