// One row of every table for a person, by the tables' own definitions, so that no later table is forgotten.

import Foundation
import GRDB
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
    private static let values: [String: GRDB.DatabaseValue] = [
        "links.kind": "recovery".databaseValue, "sessions.methods": 1.databaseValue,
        "sessions.absolute_deadline": (noon + 9999).databaseValue,
        "sessions.idle_deadline": (noon + 9000).databaseValue,
        "agreements.sequence": .null, "agreements.kind": "purpose".databaseValue,
        "referrals.code": "spring".databaseValue,
        "grants.scope": "see".databaseValue, "grants.ends": 2.databaseValue,
        "looks.seen": "account".databaseValue, "looks.grant_id": .null,
        "looks.session_id": .null,
        // A nonce, a padded text, a tag.
        "profiles.sealed": Data(count: 296).databaseValue,
        "profile_history.sealed": Data(count: 296).databaseValue,
    ]
    /// What rows of other tables belong to.
    private static let first = ["devices", "profiles"]

    func fill(_ db: GRDB.Database) throws {
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

    private func insert(into table: PersonalTable, _ db: GRDB.Database) throws {
        let sql = try #require(
            try String.fetchOne(
                db, sql: "SELECT sql FROM sqlite_schema WHERE name = ?", arguments: [table.name]))
        let columns = try db.columns(in: table.name)
        let row = try columns.map { try value(of: $0, table, sql) }
        try db.execute(
            sql: """
                INSERT INTO \(table.name) VALUES (\(row.map { _ in "?" }.joined(separator: ", ")))
                """, arguments: GRDB.StatementArguments(row))
    }

    private func value(
        of column: ColumnInfo, _ table: PersonalTable, _ sql: String
    ) throws -> (any DatabaseValueConvertible)? {
        if let value = Self.values["\(table.name).\(column.name)"] { return value }
        switch column.name {
        case "user_id": return user.value.data
        case "device_id": return device.value.data
        case "id" where table.name == "devices": return device.value.data
        // Numbered by the table.
        case "sequence" where table.name == "agreements": return nil
        case "id" where column.type == "INTEGER": return nil
        case "revoked", "used": return nil
        default: break
        }
        switch column.type {
        case "INTEGER": return 1
        case "BLOB":
            let bytes = try Regex(
                "length\\(\(column.name)\\) = (\\d+)", as: (Substring, Substring).self)
            let count = sql.firstMatch(of: bytes).flatMap { Int($0.output.1) } ?? 24
            return Data(try Entropy.system.bytes(count))
        default: return "\(Self.marker)\(tag)"
        }
    }

    /// Rows of a table that are about the person.
    func count(_ table: PersonalTable, _ db: GRDB.Database) throws -> Int {
        let id = table.column == "device_id" ? device.value.data : user.value.data
        return try Int.fetchOne(
            db, sql: "SELECT count(*) FROM \(table.name) WHERE \(table.column) = ?",
            arguments: [id]) ?? 0
    }

    /// Every value of every table that has `tag` in it, as "table.column".
    static func finding(_ tag: String, _ db: GRDB.Database) throws -> [String] {
        try String.fetchAll(db, sql: "SELECT name FROM sqlite_schema WHERE type = 'table'")
            .flatMap { table in
                try GRDB.Row.fetchAll(db, sql: "SELECT * FROM \(table)").flatMap { row in
                    row.compactMap { column, value in
                        let bytes: Data? =
                            switch value.storage {
                            case .string(let text): Data(text.utf8)
                            case .blob(let data): data
                            default: nil
                            }
                        return bytes?.range(of: Data(tag.utf8)) == nil ? nil : "\(table).\(column)"
                    }
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

extension SQLStore {
    /// What SQLite alone has, behind the store's back.
    func sqlite<Value: Sendable>(
        _ body: @escaping @Sendable (GRDB.Database) throws -> Value
    ) async throws -> Value {
        let driver = try #require(driver as? SQLiteDriver)
        return try await driver.pool.write(body)
    }
}
