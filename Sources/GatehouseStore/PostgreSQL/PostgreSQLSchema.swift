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
///
/// A migration waits for tables that are in use, and has others wait meanwhile: what a later one adds
/// to a large table is nullable or has a constant default, which rewrites nothing.
enum PostgreSQLSchema {
    /// The newest that this release knows.
    static let version = migrations.count

    static let migrations: [PostgreSQLMigration] = [
        PostgreSQLMigration(
            version: 1, compatible: 1,
            sql: [
                functions, coreTables, auditTables, signInTables, agreementTables, peopleTables,
                permissionTables, PostgreSQLPartitions.functions,
            ].joined(separator: "\n"))
    ]

    /// What the database has of `migrations`; made with the first.
    static let versionTable = """
        CREATE TABLE schema_versions (
            version bigint PRIMARY KEY CHECK (version > 0),
            compatible bigint NOT NULL CHECK (compatible BETWEEN 1 AND version),
            -- Unix seconds.
            applied bigint NOT NULL
        );
        """
}
