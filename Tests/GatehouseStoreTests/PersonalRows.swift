// One row of every table for a person, by the tables' own definitions, so that no later table is forgotten.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

/// Fills tables with rows that say who they are about.
struct PersonalRows {
    /// In every text that is filled in; in no other. A preference's name has no upper case.
    static let marker = "zq7marker"

    let user: UserID
    let device: DeviceID
    /// Different for each person.
    let tag: String

    /// Values that constraints ask for, by "table.column".
    private static let values: [String: GatehouseStore.DatabaseValue] = [
        "links.kind": .text("recovery"), "sessions.methods": .integer(1),
        "sessions.absolute_deadline": .integer(noon + 9999),
        "sessions.idle_deadline": .integer(noon + 9000),
        "agreements.kind": .text("purpose"), "referrals.code": .text("spring"),
        "grants.scope": .text("see"), "grants.ends": .integer(2),
        "looks.seen": .text("account"), "looks.grant_id": .null, "looks.session_id": .null,
        // A nonce, a padded text, a tag.
        "profiles.sealed": .blob(Data(count: 296)),
        "profile_history.sealed": .blob(Data(count: 296)),
    ]
    /// What rows of other tables belong to.
    private static let first = ["devices", "profiles"]

    func fill(_ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO referral_codes (code, label, created) VALUES ('spring', 'Spring', 1)
                ON CONFLICT DO NOTHING
                """)
        let tables = PersonalTable.all.filter {
            if case .kept = $0.fate { return false }
            return true
        }.sorted { Self.first.contains($0.name) && !Self.first.contains($1.name) }
        for table in tables { try insert(into: table, db) }
    }

    private func insert(into table: PersonalTable, _ db: Database) throws {
        let columns = try TableColumn.all(of: table.name, db).filter { column in
            switch (column.name, column.kind) {
            // Numbered by the database.
            case ("id", .number): false
            case ("sequence", _): table.name != "agreements"
            default: true
            }
        }
        #expect(columns.count > 1, "\(table.name)")
        try db.execute(
            sql: """
                INSERT INTO \(table.name) (\(columns.map(\.name).joined(separator: ", ")))
                VALUES (\(columns.map { _ in "?" }.joined(separator: ", ")))
                """, arguments: StatementArguments(try columns.map { try value(of: $0, table) }))
    }

    private func value(
        of column: TableColumn, _ table: PersonalTable
    ) throws -> GatehouseStore.DatabaseValue {
        if let value = Self.values["\(table.name).\(column.name)"] { return value }
        switch column.name {
        case "user_id": return .blob(user.value.data)
        case "device_id": return .blob(device.value.data)
        case "id" where table.name == "devices": return .blob(device.value.data)
        case "revoked", "used": return .null
        default: break
        }
        switch column.kind {
        case .number: return .integer(1)
        case .bytes(let count): return .blob(Data(try Entropy.system.bytes(count ?? 24)))
        case .text: return .text("\(Self.marker)\(tag)")
        }
    }

    /// Rows of a table that are about the person.
    func count(_ table: PersonalTable, _ db: Database) throws -> Int64 {
        let id = table.column == "device_id" ? device.value.data : user.value.data
        return try #require(
            try db.integer(
                sql: "SELECT count(*) FROM \(table.name) WHERE \(table.column) = ?",
                arguments: [id]))
    }

    /// Every value of every table that has `tag` in it, as "table.column".
    static func finding(_ tag: String, _ db: Database) throws -> [String] {
        try db.tableNames().flatMap { table in
            try db.rows(sql: "SELECT * FROM \(table)").flatMap { row in
                zip(row.columns.names, row.values).compactMap { column, value in
                    let bytes: Data? =
                        switch value {
                        case .text(let text): Data(text.utf8)
                        case .blob(let data): data
                        case .null, .integer: nil
                        }
                    return bytes?.range(of: Data(tag.utf8)) == nil ? nil : "\(table).\(column)"
                }
            }
        }
    }
}

/// A column, as its database tells of it.
private struct TableColumn {
    enum Kind {
        case number, text
        /// So many bytes, if a constraint says how many.
        case bytes(Int?)
    }

    let name: String
    let kind: Kind

    static func all(of table: String, _ db: Database) throws -> [TableColumn] {
        let (columns, rules) =
            switch db.dialect {
            case .sqlite:
                (
                    "SELECT name, type FROM pragma_table_info(?) ORDER BY cid",
                    "SELECT sql FROM sqlite_schema WHERE name = ?"
                )
            case .postgresql:
                (
                    """
                    SELECT attname::text AS name, format_type(atttypid, NULL) AS type
                    FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(?)) AND attnum > 0
                        AND NOT attisdropped ORDER BY attnum
                    """,
                    """
                    SELECT coalesce(string_agg(pg_get_constraintdef(oid), ' '), '') AS sql
                    FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(?))
                    """
                )
            }
        let sql = try #require(try db.row(sql: rules, arguments: [table])).text("sql")
        return try db.rows(sql: columns, arguments: [table]).map { row in
            let name = try row.text("name")
            switch try row.text("type") {
            case "INTEGER", "bigint": return TableColumn(name: name, kind: .number)
            case "BLOB", "bytea":
                let count = try Regex(
                    "length\\(\(name)\\) = (\\d+)", as: (Substring, Substring).self)
                return TableColumn(
                    name: name,
                    kind: .bytes(sql.firstMatch(of: count).flatMap { Int($0.output.1) }))
            case "TEXT", "text": return TableColumn(name: name, kind: .text)
            case let type: throw Unexpected("\(table).\(name) is \(type)")
            }
        }
    }
}

/// A search for a text in files, however it is written.
struct LeftoverSearch {
    /// By how they are written. Of base64, what is the same whatever stands before and behind it.
    let patterns: [(writing: String, bytes: Data)]

    init(_ text: String) {
        let utf8 = Data(text.utf8)
        let hex = Array(text.utf8).hex
        var patterns: [(String, Data)] = [
            ("UTF-8", utf8), ("hex", Data(hex.utf8)), ("HEX", Data(hex.uppercased().utf8)),
        ]
        for (name, encoding) in [
            ("UTF-16LE", .utf16LittleEndian), ("UTF-16BE", .utf16BigEndian),
        ] as [(String, String.Encoding)] {
            if let data = text.data(using: encoding) { patterns.append((name, data)) }
        }
        for shift in 0..<3 {
            let whole = (Data(repeating: 0, count: shift) + utf8).base64EncodedString()
            // The first and last digits share bits with what is beside the text.
            let digits = whole.replacing("=", with: "").dropFirst(shift == 0 ? 0 : shift + 1)
                .dropLast()
            patterns.append(("base64+\(shift)", Data(digits.utf8)))
        }
        self.patterns = patterns
    }

    init(_ bytes: [UInt8]) { patterns = [("bytes", Data(bytes)), ("hex", Data(bytes.hex.utf8))] }

    /// What was found in `data`.
    func found(in data: Data, of name: String) -> [String] {
        patterns.compactMap { pattern in
            data.range(of: pattern.bytes) == nil ? nil : "\(name): \(pattern.writing)"
        }
    }

    /// What was found in the files of a directory and those below it.
    func found(below directory: String) throws -> [String] {
        let files = FileManager.default
        return try files.subpathsOfDirectory(atPath: directory).sorted().flatMap { name in
            var isDirectory: ObjCBool = false
            let path = directory + "/" + name
            _ = unsafe files.fileExists(atPath: path, isDirectory: &isDirectory)
            guard !isDirectory.boolValue else { return [String]() }
            return found(
                in: try Data(contentsOf: URL(fileURLWithPath: path), options: .alwaysMapped),
                of: name)
        }
    }
}
