// Both databases hold the same rules: what one refuses, the other does.

import GRDB
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite(.enabled(if: PostgreSQLTestSchema.server != nil, "no PostgreSQL server to test with"))
struct PostgreSQLParityTests {
    private let directory = TemporaryDirectory()

    /// What tables hold: a line for each column and constraint.
    private typealias Rules = Set<String>

    private func ofSQLite() throws -> Rules {
        _ = try SQLStore(directory: directory.path, createIfMissing: true)
        let path = directory.path + "/" + SQLStore.fileName
        return try DatabaseQueue(path: path).read { db in
            var rules: Rules = []
            let tables = try GRDB.Row.fetchAll(
                db,
                sql: """
                    SELECT name, sql FROM sqlite_master WHERE type = 'table'
                        AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'grdb_%'
                    """)
            for row in tables {
                let (table, sql): (String, String) = (row["name"], row["sql"])
                let columns = try GRDB.Row.fetchAll(db, sql: "PRAGMA table_info(\(table))")
                let key = columns.filter { $0["pk"] as Int > 0 }
                    .sorted { ($0["pk"] as Int) < ($1["pk"] as Int) }
                    .map { $0["name"] as String }
                rules.insert("\(table) unique \(key.sorted())")
                for column in columns {
                    let name: String = column["name"]
                    let isNeeded = column["notnull"] as Int == 1 || key.contains(name)
                    rules.insert("\(table).\(name)\(isNeeded ? " not null" : "")")
                }
                let names = columns.map { $0["name"] as String }
                for name in checked(names, in: sql) { rules.insert("\(table).\(name) check") }
                for index in try GRDB.Row.fetchAll(db, sql: "PRAGMA index_list(\(table))")
                where index["unique"] as Int == 1 {
                    let of = try String.fetchAll(
                        db, sql: "SELECT name FROM pragma_index_info(?) ORDER BY name",
                        arguments: [index["name"] as String])
                    let partial = index["partial"] as Int == 1 ? " partly" : ""
                    rules.insert("\(table) unique\(partial) \(of)")
                }
                for key in try GRDB.Row.fetchAll(db, sql: "PRAGMA foreign_key_list(\(table))") {
                    let (from, to): (String, String) = (key["from"], key["table"])
                    rules.insert("\(table).\(from) of \(to) \(key["on_delete"] as String)")
                }
            }
            return rules
        }
    }

    /// The columns that a table's CHECKs name.
    private func checked(_ columns: [String], in sql: String) -> Set<String> {
        var found: Set<String> = []
        for part in sql.split(separator: "CHECK").dropFirst() {
            var (depth, text) = (0, "")
            for character in part {
                if character == "(" { depth += 1 }
                if character == ")" { depth -= 1 }
                if depth == 0, !text.isEmpty { break }
                text.append(character)
            }
            let words = Set(
                text.split { !$0.isLetter && !$0.isNumber && $0 != "_" }.map(String.init))
            found.formUnion(words.intersection(columns))
        }
        return found
    }

    private func ofPostgreSQL() throws -> Rules {
        let schema = try PostgreSQLTestSchema()
        let connection = try schema.connect()
        _ = try PostgreSQLMigrator(connection).migrate(at: UnixTime(clamping: 1_800_000_000))
        let ours = """
            relnamespace = '\(schema.name)'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
            """
        let columns = "(SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute"
        let rows = try connection.query(
            PostgreSQLStatement(
                """
                SELECT relname || '.' || attname || CASE WHEN attnotnull THEN ' not null' ELSE '' END
                    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                    WHERE \(ours) AND attnum > 0 AND NOT attisdropped
                UNION ALL
                SELECT relname || ' unique' || CASE WHEN indpred IS NULL THEN '' ELSE ' partly' END
                    || ' ' || \(columns) WHERE attrelid = indrelid AND attnum = ANY (indkey))::text
                    FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
                    WHERE \(ours) AND indisunique
                UNION ALL
                SELECT DISTINCT relname || '.' || attname || ' check'
                    FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
                    JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
                    WHERE \(ours) AND contype = 'c'
                UNION ALL
                SELECT relname || '.' || attname || ' of ' || (SELECT relname FROM pg_class
                        WHERE oid = confrelid) || ' '
                    || CASE confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL'
                        ELSE 'NO ACTION' END
                    FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
                    JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
                    WHERE \(ours) AND contype = 'f'
                """))
        return Set(
            try (0..<rows.rowCount).map { row in
                guard case .text(let rule) = try rows.value(row: row, column: 0) else {
                    throw Unexpected("no text")
                }
                // As Swift writes arrays.
                return rule.contains("{")
                    ? rule.replacing("{", with: "[\"").replacing("}", with: "\"]")
                        .replacing(",", with: "\", \"") : rule
            })
    }

    @Test func `what one database refuses the other refuses`() throws {
        let (sqlite, postgresql) = (try ofSQLite(), try ofPostgreSQL())
        #expect(sqlite.count > 300, "\(sqlite.count)")
        // A partitioned table's key has the column that it is partitioned by.
        let partitioned = [
            #"feed unique ["deadline", "sequence"]"#,
            #"sessions unique ["absolute_deadline", "id"]"#,
        ]
        // What only one that many nodes share has: its identity, its schema's versions, a lockable number.
        let shared = [
            "head.audit_sequence check", "head.audit_sequence not null", "head.store_id check",
            "head.store_id not null", "nodes.schema_version check",
            #"schema_versions unique ["version"]"#, "schema_versions.applied not null",
            "schema_versions.compatible check", "schema_versions.compatible not null",
            "schema_versions.version check", "schema_versions.version not null",
        ]
        #expect(
            sqlite.subtracting(postgresql).sorted()
                == [#"feed unique ["sequence"]"#, #"sessions unique ["id"]"#])
        #expect(postgresql.subtracting(sqlite) == Set(partitioned + shared))
    }
}
