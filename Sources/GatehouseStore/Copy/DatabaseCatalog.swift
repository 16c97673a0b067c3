// What a database says of its own tables, columns, triggers and counters.

import GatehouseCore

extension Database {
    /// The store's tables in the order of their names, without what databases and migrations keep for
    /// themselves, and without partitions.
    func tableNames() throws -> [String] {
        let sql =
            switch dialect {
            case .sqlite:
                """
                SELECT name FROM sqlite_schema WHERE type = 'table'
                    AND name NOT LIKE 'sqlite#_%' ESCAPE '#' AND name != 'grdb_migrations'
                ORDER BY name
                """
            case .postgresql:
                """
                SELECT relname::text COLLATE "C" AS name FROM pg_catalog.pg_class
                WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
                    AND NOT relispartition AND relname != 'schema_versions'
                ORDER BY 1
                """
            }
        return try rows(sql: sql).map { try $0.text("name") }
    }

    func columnNames(of table: String) throws -> Set<String> {
        let sql =
            switch dialect {
            case .sqlite: "SELECT name FROM pragma_table_info(?)"
            case .postgresql:
                """
                SELECT attname::text AS name FROM pg_catalog.pg_attribute
                WHERE attrelid = to_regclass(quote_ident(?)) AND attnum > 0 AND NOT attisdropped
                """
            }
        return Set(try rows(sql: sql, arguments: [table]).map { try $0.text("name") })
    }

    /// Runs `body` without the triggers of a table. Nobody else sees that they were gone: it is undone in
    /// the same transaction, or with it. On PostgreSQL the table has to be this role's; foreign keys hold.
    func withoutTriggers(on table: String, _ body: () throws -> Void) throws {
        switch dialect {
        case .sqlite:
            let triggers = try rows(
                sql: "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?",
                arguments: [table]
            ).map { (name: try $0.text("name"), sql: try $0.text("sql")) }
            for trigger in triggers { try execute(sql: "DROP TRIGGER \"\(trigger.name)\"") }
            try body()
            for trigger in triggers { try execute(sql: trigger.sql) }
        case .postgresql:
            let count = try integer(
                sql: """
                    SELECT count(*) FROM pg_catalog.pg_trigger
                    WHERE tgrelid = to_regclass(quote_ident(?)) AND NOT tgisinternal
                    """, arguments: [table])
            guard let count, count > 0 else { return try body() }
            try execute(sql: "ALTER TABLE \"\(table)\" DISABLE TRIGGER USER")
            try body()
            try execute(sql: "ALTER TABLE \"\(table)\" ENABLE TRIGGER USER")
        }
    }

    /// The last number that the database has given in a column; nil before the first.
    func lastNumber(of table: String, _ column: String) throws -> Int64? {
        switch dialect {
        case .sqlite:
            try integer(
                sql: "SELECT seq FROM sqlite_sequence WHERE name = ?", arguments: [table])
        case .postgresql:
            try integer(
                sql: "SELECT pg_sequence_last_value(pg_get_serial_sequence(?, ?)::regclass)",
                arguments: [table, column])
        }
    }

    func setLastNumber(of table: String, _ column: String, to number: Int64) throws {
        switch dialect {
        case .sqlite:
            try execute(sql: "DELETE FROM sqlite_sequence WHERE name = ?", arguments: [table])
            try execute(
                sql: "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
                arguments: [table, number])
        case .postgresql:
            _ = try row(
                sql: "SELECT setval(pg_get_serial_sequence(?, ?)::regclass, ?)",
                arguments: [table, column, number])
        }
    }

    func hasCopyMarker() throws -> Bool { try tableNames().contains(SQLStore.copyMarker) }

    func makeCopyMarker() throws {
        let (integer, blob) =
            switch dialect {
            case .sqlite: ("INTEGER", "BLOB")
            case .postgresql: ("bigint", "bytea")
            }
        try execute(
            sql: """
                CREATE TABLE \(SQLStore.copyMarker)
                    (id \(integer) PRIMARY KEY CHECK (id = 1), source \(blob) NOT NULL)
                """)
    }
}

extension DatabaseValue: DatabaseArgument {
    var argumentValue: DatabaseValue { self }
}

extension StatementArguments {
    init(_ values: [DatabaseValue]) {
        self.init()
        for value in values { append(value) }
    }
}
