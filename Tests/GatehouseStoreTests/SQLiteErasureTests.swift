// That nothing of a person is left in SQLite's files, which the store looks after; PostgreSQL's are its own affair.

import Foundation
import GRDB
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite struct SQLiteErasureTests {
    private let directory = TemporaryDirectory()

    private func open() throws -> SQLStore {
        try SQLStore(directory: directory.path, createIfMissing: true).signed()
    }

    /// Among `crowd` others, with everything of hers written several times; what is found of her then.
    private func leftovers(
        crowd: Int, isErasing: Bool = true, erasesLog: Bool = true
    ) async throws -> [String] {
        let store = try open()
        if !isErasing {
            try await store.sqlite {
                try $0.execute(sql: "PRAGMA secure_delete = OFF")
            }
        }
        func addCrowd(_ part: Int) async throws {
            try await store.sqlite { db in
                for statement in [
                    """
                    INSERT INTO users (id, state, epoch, created, password_hash)
                        SELECT CAST(printf('u%015d', n) AS BLOB), 'enabled', 0, 1, 'x' || n
                        FROM numbers
                    """,
                    """
                    INSERT INTO names SELECT 'crowd' || n, NULL, CAST(printf('u%015d', n) AS BLOB), 'live', 1
                        FROM numbers
                    """,
                    """
                    INSERT INTO sessions (id, user_id, epoch, created, authenticated, idle_deadline,
                            absolute_deadline, methods, level, remembered, browser, place)
                        SELECT CAST(printf('s%015d', n) AS BLOB), CAST(printf('u%015d', n) AS BLOB), 0, 1, 1,
                            2, 3, 1, 2, 0, 'Firefox', '192.0.2.0/24' FROM numbers
                    """,
                    "INSERT INTO activity SELECT CAST(printf('u%015d', n) AS BLOB), 1 FROM numbers",
                ] {
                    try db.execute(
                        sql: """
                            WITH RECURSIVE numbers (n) AS (
                                SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)
                            \(statement)
                            """,
                        arguments: ["first": part * crowd + 1, "last": part * crowd + crowd / 2])
                }
            }
        }
        try await addCrowd(0)
        let (ada, rows) = try await store.makeMarked("ada", tag: "xada")
        // Older versions of her rows lie where newer ones were written.
        for round in 0..<5 {
            try await store.sqlite { db in
                for table in ["sessions", "series", "warnings"] {
                    try db.execute(
                        sql: "UPDATE \(table) SET browser = ? WHERE user_id = ?",
                        arguments: [
                            PersonalRows.marker
                                + String(repeating: "\(round)", count: 1 + 9 * round),
                            ada.id.value.data,
                        ])
                }
            }
        }
        try await addCrowd(1)
        let searches = [
            LeftoverSearch(PersonalRows.marker), LeftoverSearch(rows.device.value.bytes),
        ]
        func found(below path: String) throws -> [String] {
            try searches.flatMap { try $0.found(below: path) }
        }
        #expect(try !found(below: directory.path).isEmpty, "the search finds what is there")
        _ = try await store.delete(ada)
        if erasesLog {
            #expect(try await store.unerasedSince() == time(noon))
            #expect(try await store.eraseLog(at: time(noon)))
            #expect(try await store.unerasedSince() == nil)
        }
        // Copies that are made later, in both ways.
        let copies = TemporaryDirectory()
        let source = try DatabaseQueue(path: directory.path + "/" + SQLStore.fileName)
        try await source.vacuum(into: copies.path + "/vacuumed.sqlite")
        let backup = try DatabaseQueue(path: copies.path + "/backup.sqlite")
        try source.backup(to: backup)
        try backup.close()
        try source.close()
        let left = try found(below: directory.path) + found(below: copies.path)
        withExtendedLifetime(copies) {}
        withExtendedLifetime(store) {}
        return left
    }

    // Promise: nothing-left
    @Test func `nothing of a person among 100000 is left in any file, nor in later copies`()
        async throws
    {
        #expect(try await leftovers(crowd: 100_000) == [])
    }

    @Test func `without secure_delete something is left, and the search finds it`() async throws {
        #expect(try await !leftovers(crowd: 2000, isErasing: false).isEmpty)
    }

    @Test func `in a log that is not erased something is left, and the search finds it`()
        async throws
    {
        let left = try await leftovers(crowd: 2000, erasesLog: false)
        #expect(!left.isEmpty)
        #expect(left.allSatisfy { $0.hasPrefix(SQLStore.fileName + "-wal") }, "\(left)")
    }

    @Test func `a reader holds up the log's erasing, and it is tried again`() async throws {
        let store = try open()
        let ada = try await store.makeUser("ada")
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        let reader = try DatabaseQueue(
            path: directory.path + "/" + SQLStore.fileName, configuration: configuration)
        try await reader.writeWithoutTransaction { db in
            try db.execute(sql: "BEGIN")
            _ = try GRDB.Row.fetchOne(db, sql: "SELECT * FROM users")
        }
        _ = try await store.delete(ada)
        #expect(try await !store.eraseLog(at: time(noon + 50)))
        #expect(try await store.unerasedSince() == time(noon))
        try await reader.writeWithoutTransaction { try $0.execute(sql: "COMMIT") }
        try reader.close()
        #expect(try await store.eraseLog(at: time(noon + 60)))
        #expect(try await store.unerasedSince() == nil)
    }

    // MARK: Older copies of the file

    // Promise: restore-forgets
    @Test func `who was deleted goes again when an older copy takes the database's place`()
        async throws
    {
        var store = try open()
        let ada = try await store.makeUser("ada")
        let bob = try await store.makeUser("bob")
        try store.close()
        let path = directory.path + "/" + SQLStore.fileName
        let copy = try Data(contentsOf: URL(fileURLWithPath: path))

        store = try open()
        _ = try await store.delete(ada)
        #expect(try await store.returnedPeople() == [])
        try store.close()
        let ledgerPath = directory.path + "/" + DeletionLedger.fileName
        #expect(
            try String(contentsOfFile: ledgerPath, encoding: .utf8)
                == "\(ada.id.value.hex) \(noon)\n")
        for suffix in ["-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: path + suffix)
        }
        try copy.write(to: URL(fileURLWithPath: path))

        store = try open()
        #expect(try await store.user(ada.id) != nil)
        #expect(try await store.returnedPeople() == [ada.id])
        _ = try await store.delete(ada, at: noon + 10)
        #expect(try await store.returnedPeople() == [])
        #expect(try await store.user(bob.id) != nil)
        let mode = try FileManager.default.attributesOfItem(atPath: ledgerPath)[.posixPermissions]
        #expect(mode as? Int == 0o600)
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
