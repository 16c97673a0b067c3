// Copies of stores: everything arrives, an interrupted copy goes on, and whatever could spoil one is refused.

import Foundation
import GRDB
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

/// The list of tables is that of the databases.
@Suite struct CopiedTableTests {
    private static let names = CopiedTable.all.map(\.name)

    @Test(arguments: Backend.allCases)
    func `every table is listed, once`(_ backend: Backend) async throws {
        let directory = TemporaryDirectory()
        let store = try backend.open(directory)
        let found = try await store.read { try $0.tableNames() }
        #expect(found == Self.names.sorted())
        withExtendedLifetime(directory) {}
    }

    @Test(arguments: Backend.allCases)
    func `columns that one database has for itself are listed, and no others are`(
        _ backend: Backend
    ) async throws {
        let (directory, other) = (TemporaryDirectory(), TemporaryDirectory())
        let sqlite = try await Self.columns(Backend.sqlite.open(directory))
        let columns = try await Self.columns(backend.open(other))
        for table in CopiedTable.all {
            let left = try #require(sqlite[table.name])
            let right = try #require(columns[table.name])
            let differing = left.symmetricDifference(right)
            switch (table.fate, backend) {
            case (.left, _): continue
            case (_, .sqlite): #expect(differing.isEmpty)
            case (_, .postgresql): #expect(differing == table.own, "\(table.name)")
            }
        }
        withExtendedLifetime((directory, other)) {}
    }

    private static func columns(_ store: SQLStore) async throws -> [String: Set<String>] {
        try await store.read { db in
            Dictionary(
                uniqueKeysWithValues: try names.map { ($0, try db.columnNames(of: $0)) })
        }
    }

    @Test func `rows are told apart by the tables' primary keys`() async throws {
        let directory = TemporaryDirectory()
        let store = try Backend.sqlite.open(directory)
        for table in CopiedTable.all where !table.key.isEmpty {
            let key = try await store.read { db in
                try db.rows(
                    sql: "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk",
                    arguments: [table.name]
                ).map { try $0.text("name") }
            }
            #expect(table.key == key, "\(table.name)")
        }
        withExtendedLifetime(directory) {}
    }

    @Test func `tables come after those that they refer to`() async throws {
        let directory = TemporaryDirectory()
        let store = try Backend.sqlite.open(directory)
        var done: Set<String> = []
        for table in Self.names {
            let parents = try await store.read { db in
                try db.rows(
                    sql: "SELECT \"table\" AS name FROM pragma_foreign_key_list(?)",
                    arguments: [table]
                ).map { try $0.text("name") }
            }
            #expect(done.isSuperset(of: parents), "\(table)")
            done.insert(table)
        }
        withExtendedLifetime(directory) {}
    }

    @Test func `every column that SQLite numbers is listed`() async throws {
        let directory = TemporaryDirectory()
        let store = try Backend.sqlite.open(directory)
        let numbered = try await store.read { db in
            try db.rows(
                sql:
                    "SELECT name FROM sqlite_schema WHERE sql LIKE '% AUTOINCREMENT%' ORDER BY name"
            ).map { try $0.text("name") }
        }
        // The trail's numbers are the store's affair.
        let listed = CopiedTable.all.filter { $0.counter != nil }.map(\.name) + ["audit"]
        #expect(numbered == listed.sorted())
        withExtendedLifetime(directory) {}
    }
}

@Suite struct StoreCopyTests {
    private let from = TemporaryDirectory()
    private let to = TemporaryDirectory()

    /// The other kind where there is one.
    private static let backend = Backend.allCases[0]

    private func source() async throws -> SQLStore {
        let store = try SQLStore(directory: from.path, createIfMissing: true)
        try await CopyFixture.fill(store)
        return store
    }

    private func destination(
        _ backend: Backend = backend, _ directory: TemporaryDirectory? = nil
    ) throws -> SQLStore {
        let directory = directory ?? to
        switch backend {
        case .sqlite:
            return try SQLStore(
                at: .sqlite(directory: directory.path), createIfMissing: true,
                directory: directory.path, continuingCopy: true)
        case .postgresql:
            return SQLStore(
                try PostgreSQLDriver(
                    PostgreSQLFixture.options(for: directory), connections: 1,
                    createIfMissing: true, continuingCopy: true), directory: directory.path)
        }
    }

    /// As a server or a command opens it.
    private func open(
        _ backend: Backend = backend, _ directory: TemporaryDirectory? = nil
    ) throws -> SQLStore {
        try backend.open(directory ?? to)
    }

    private func copy(
        _ source: SQLStore, _ destination: SQLStore,
        _ progress: (StoreCopy.Progress) -> Void = { _ in }
    ) async throws(StoreCopyFailure) -> StoreCopy.Report {
        try await StoreCopy(from: source, to: destination, batchRows: CopyFixture.batch).run(
            at: time(noon + 60), progress)
    }

    private func failure(
        _ source: SQLStore, _ destination: SQLStore,
        _ progress: (StoreCopy.Progress) -> Void = { _ in }
    ) async -> StoreCopyFailure? {
        do throws(StoreCopyFailure) {
            _ = try await copy(source, destination, progress)
            return nil
        } catch { return error }
    }

    @Test func `the fixture has rows in every table that is copied`() async throws {
        let contents = try await CopyFixture.contents(try await source())
        for (table, rows) in contents { #expect(!rows.isEmpty, "\(table)") }
        #expect(contents.values.contains { $0.count > 2 * CopyFixture.batch })
    }

    @Test func `everything arrives, and comes back as it was`() async throws {
        let source = try await source()
        let contents = try await CopyFixture.contents(source)
        var seen: [StoreCopy.Progress] = []
        let report = try await copy(source, try destination()) { seen.append($0) }
        let there = try open()
        #expect(try await CopyFixture.contents(there) == contents)
        #expect(report.tables.map(\.table) == contents.keys.sorted())
        for table in report.tables { #expect(table.rows == contents[table.table]?.count) }
        #expect(report.resumed == 0)
        #expect(seen.contains { $0.phase == .copying } && seen.last?.phase == .comparing)
        #expect(seen.last?.done == seen.last?.total)

        let back = TemporaryDirectory()
        let returned = try await copy(there, try destination(.sqlite, back))
        #expect(returned.tables == report.tables, "the hashes are the same everywhere")
        #expect(try await CopyFixture.contents(try open(.sqlite, back)) == contents)
        withExtendedLifetime(back) {}
    }

    @Test func `numbers go on where they were`() async throws {
        _ = try await copy(try await source(), try destination())
        let store = try open()
        let user = try #require(try await store.user(named: username("user1")))
        try await store.note(
            AuditEvent(.userCreated, by: .command, user: user.id), at: time(noon + 60))
        #expect(try #require(try await store.auditExtent().issued) > 640)
        let (entry, id) = try await store.write(at: time(noon + 60)) { db in
            try db.execute(
                sql: "INSERT INTO warnings (user_id, time) VALUES (?, 1)",
                arguments: [user.id.value.data])
            let id = try db.integer(sql: "SELECT max(id) FROM warnings")
            let entry = try SQLStore.appendFeed(
                db, kind: .session, subject: user.id.value, value: 1, deadline: time(noon),
                at: time(noon))
            return (entry, id)
        }
        #expect(entry == 63)
        #expect(id == 21, "the highest that was given, and not that is there")
    }

    @Test func `afterwards triggers refuse what they refused before`() async throws {
        _ = try await copy(try await source(), try destination())
        let store = try open()
        for statement in [
            "INSERT INTO audit (sequence, time, kind, actor) VALUES (999, 1, 'x', 'y')",
            "UPDATE audit SET time = 1", "DELETE FROM audit WHERE sequence > 3",
            "UPDATE notices SET text = 'x'", "DELETE FROM notices",
            "UPDATE agreements SET given = 1 - given",
            """
            INSERT INTO notices SELECT document, 4, title, text, sha256, 260, 300, NULL, NULL
            FROM notices WHERE document = 'terms' AND version = 3
            """,
        ] {
            await #expect(throws: StoreError.self, "\(statement)") {
                try await store.write(at: time(noon + 60)) { try $0.execute(sql: statement) }
            }
        }
    }

    /// Stops a copy after its first batch of `table`.
    private func interrupt(
        _ source: SQLStore, _ directory: TemporaryDirectory? = nil, at table: String
    ) async throws -> StoreCopyFailure? {
        let destination = try destination(Self.backend, directory)
        return await failure(source, destination) { progress in
            guard progress.table == table else { return }
            try? destination.close()
        }
    }

    @Test(arguments: ["users", "agreements", "feed"])
    func `a copy that was interrupted is no store, and goes on`(_ table: String) async throws {
        let source = try await source()
        #expect(try await interrupt(source, at: table) != nil)
        #expect(throws: SQLStore.unfinishedCopy) { try open() }
        #expect(throws: SQLStore.unfinishedCopy) { try open() }
        var first: StoreCopy.Progress?
        let report = try await copy(source, try destination()) { first = first ?? $0 }
        #expect(report.resumed >= CopyFixture.batch)
        #expect(first?.first == report.resumed && first?.phase == .copying || table == "feed")
        #expect(
            try await CopyFixture.contents(try open()) == (try await CopyFixture.contents(source)))
    }

    @Test func `a part of another store, or of what it was, is not gone on with`() async throws {
        let source = try await source()
        _ = try await interrupt(source, at: "users")
        try await source.write(at: time(noon + 1)) { _ in }
        #expect(await failure(source, try destination()) == .otherSource)
        #expect(throws: SQLStore.unfinishedCopy) { try open() }
    }

    @Test func `a database that is in use is not written to`() async throws {
        let source = try await source()
        let used = try open()
        _ = try await used.reserveNames([username("taken")], at: time(noon))
        let contents = try await CopyFixture.contents(used)
        #expect(await failure(source, try destination()) == .destinationIsUsed(table: "names"))
        #expect(try await CopyFixture.contents(used) == contents)
        #expect(throws: Never.self) { try open() }
    }

    @Test func `a whole copy is compared again, and nothing is written to it`() async throws {
        let source = try await source()
        let first = try await copy(source, try destination())
        let contents = try await CopyFixture.contents(source)
        var phases: Set<StoreCopy.Progress.Phase> = []
        let again = try await copy(source, try destination()) { phases.insert($0.phase) }
        #expect(again.tables == first.tables)
        #expect(again.resumed > 0 && phases == [.comparing])
        #expect(try await CopyFixture.contents(try open()) == contents)
        // Of a store that people have used since nobody can say that it is a copy.
        try await open().write(at: time(noon + 120)) { _ in }
        guard case .destinationIsUsed = await failure(source, try destination()) else {
            Issue.record("copied over a store in use")
            return
        }
    }

    @Test func `a store is no copy of itself`() async throws {
        let source = try await source()
        guard case .destinationIsUsed = await failure(source, try destination(.sqlite, from)) else {
            Issue.record("copied onto itself")
            return
        }
    }

    @Test func `a whole copy that has become another is found`() async throws {
        let source = try await source()
        _ = try await copy(source, try destination(.sqlite))
        change(to, "UPDATE preferences SET value = value || ' ' WHERE key = 'k90'")
        #expect(
            await failure(source, try destination(.sqlite)) == .differs(table: "preferences"))
    }

    @Test func `a database whose time has begun is in use, though it has no rows`() async throws {
        let source = try await source()
        let used = try open()
        try await used.write(at: time(5)) { _ in }
        #expect(await failure(source, try destination()) == .destinationIsUsed(table: "head"))
    }

    @Test func `stores that servers run on are refused, on either side`() async throws {
        let source = try await source()
        let destination = try destination()
        let node = NodeID(try Identifier.random(from: .system))
        try await source.joinNode(node, leaseSeconds: 120, at: time(noon + 60))
        #expect(await failure(source, destination) == .sourceIsServed([node]))
        try await source.leaveNode(node, at: time(noon + 60))
        try await destination.joinNode(node, leaseSeconds: 120, at: time(noon + 60))
        #expect(await failure(source, destination) == .destinationIsServed([node]))
    }

    @Test func `a store that no server ever ran on is refused`() async throws {
        let empty = try SQLStore(directory: from.path, createIfMissing: true)
        #expect(await failure(empty, try destination()) == .sourceIsNew)
    }

    /// As another program would.
    private func change(_ directory: TemporaryDirectory, _ sql: String) {
        #expect(throws: Never.self) {
            let path = directory.path + "/" + SQLStore.fileName
            let queue = try DatabaseQueue(path: path)
            try queue.write { try $0.execute(sql: sql) }
            try queue.close()
        }
    }

    @Test func `a source that changes meanwhile is told, and its copy is no store`() async throws {
        let source = try await source()
        var isDone = false
        let failure = await failure(source, try destination()) { progress in
            guard progress.phase == .comparing, progress.table == "feed", !isDone else { return }
            isDone = true
            change(from, "UPDATE head SET sequence = sequence + 1")
        }
        #expect(failure == .sourceChanged)
        #expect(throws: SQLStore.unfinishedCopy) { try open() }
    }

    @Test(arguments: [
        ("sessions", "UPDATE sessions SET level = 2 WHERE id = (SELECT max(id) FROM sessions)"),
        ("sessions", "DELETE FROM sessions WHERE id = (SELECT min(id) FROM sessions)"),
        ("preferences", "UPDATE preferences SET value = value || ' ' WHERE key = 'k90'"),
        ("feed", "UPDATE feed SET subject = zeroblob(16) WHERE sequence = 30"),
        ("names", "UPDATE names SET skeleton = NULL WHERE canonical = 'ä'"),
    ])
    func `what is not the same on both sides is found`(
        _ table: String, _ change: String
    ) async throws {
        let source = try await source()
        let destination = try destination(.sqlite)
        var isDone = false
        let failure = await failure(source, destination) { progress in
            // The last table, and with it all, is copied.
            guard progress.done == progress.total, progress.phase == .copying, !isDone else {
                return
            }
            isDone = true
            self.change(to, change)
        }
        #expect(failure == .differs(table: table))
        #expect(isDone)
        #expect(throws: SQLStore.unfinishedCopy) { try open(.sqlite) }
    }

    @Test func `two copies into one database don't mix`() async throws {
        let source = try await source()
        let (one, other) = (try destination(.sqlite), try destination(.sqlite))
        async let first = failure(source, one)
        async let second = failure(source, other)
        let failures = await [first, second]
        // Whoever is late by a batch finds it written; whoever is late by everything, a whole copy.
        #expect(failures.contains(nil), "\(failures)")
        #expect(failures.allSatisfy { $0 == nil || $0 == .overtaken }, "\(failures)")
        #expect(
            try await CopyFixture.contents(try open(.sqlite))
                == (try await CopyFixture.contents(source)))
    }

    @Test func `the deletion ledger comes along, once`() async throws {
        let source = try await source()
        let user = UserID(try Identifier.random(from: .system))
        let here = DeletionLedger.Entry(user: user, time: time(noon - 5))
        let there = DeletionLedger.Entry(
            user: UserID(try Identifier.random(from: .system)), time: time(noon))
        try source.ledger.append(here)
        let handle = try FileHandle(forWritingTo: URL(filePath: from.path + "/deletions.ledger"))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data("no entry\n".utf8))
        try handle.close()
        let destination = try destination()
        try destination.ledger.append(there)
        let report = try await copy(source, destination)
        #expect(report.unreadableLedgerLines == 1)
        #expect(try destination.ledger.contents().entries == [there, here])
        try destination.ledger.append([here, there])
        #expect(try destination.ledger.contents().entries == [there, here])
    }

    @Test func `the hash tells values apart that look alike in a row`() throws {
        let lists: [[GatehouseStore.DatabaseValue]] = [
            [.null, .null], [.null, .integer(0)], [.integer(0), .null], [.integer(0), .integer(0)],
            [.text(""), .null], [.blob(Data()), .null], [.text("a"), .text("")],
            [.text(""), .text("a")], [.text("a"), .null], [.blob(Data("a".utf8)), .null],
            [.integer(97), .null], [.integer(-97), .null], [.text("ä"), .null],
            [.text("a\u{308}"), .null],
        ]
        let encoded = lists.map { TableHash.bytes($0) }
        #expect(Set(encoded).count == lists.count)
        #expect(
            TableHash.bytes([.integer(-2), .text("ä"), .null, .blob(Data([0]))])
                == [
                    1, 255, 255, 255, 255, 255, 255, 255, 254, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0xC3,
                    0xA4, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0,
                ])
    }
}
