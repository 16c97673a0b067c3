// PostgreSQL's schema, as numbered migrations. They only go forward; one that was released never changes.

/// One step of PostgreSQL's schema. Nodes of two releases work on one database while the first is
/// replaced by the second, so that a step first only adds (expand), and a later one takes away what no
/// program of the time uses any more (contract).
struct PostgreSQLMigration: Sendable {
    /// Counted from one.
    let version: Int
    /// The oldest schema version whose program works beside it.
    let compatible: Int
    /// Any number of statements, which are done in one transaction.
    let sql: String
}

/// Tables and columns are SQLite's, so that one SQL serves both: integers are bigint (times are Unix
/// seconds, truth is 0 or 1), blobs bytea, and text compares by its bytes (`COLLATE "C"`) whatever the
/// database's locale. Foreign keys can be deferred, as `PRAGMA defer_foreign_keys` does it.
enum PostgreSQLSchema {
    static let migrations: [PostgreSQLMigration] = [
        PostgreSQLMigration(
            version: 1, compatible: 1,
            sql: [
                functions, coreTables, auditTables, signInTables, agreementTables, peopleTables,
                permissionTables,
            ].joined(separator: "\n"))
    ]
}
