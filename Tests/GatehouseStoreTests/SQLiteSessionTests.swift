// What is SQLite's own of sessions and series: a refusal's traces, query plans, an earlier database.

import Foundation
import GRDB
import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct SQLiteSessionTests {
    private let directory = TemporaryDirectory()
    private var path: String { directory.path + "/" + SQLStore.fileName }

    private func open() throws -> SQLStore {
        try SQLStore(directory: directory.path, createIfMissing: true).signed()
    }

    private func reading<Value>(_ body: (Database) throws -> Value) throws -> Value {
        let queue = try DatabaseQueue(path: path)
        defer { try? queue.close() }
        return try queue.read(body)
    }

    private func write(_ sql: String) throws {
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { try $0.execute(sql: sql) }
        try queue.close()
    }

    /// Every row of every table.
    private func dump() throws -> [String] {
        try reading { db in
            try String.fetchAll(
                db, sql: "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            ).flatMap { table in
                try Row.fetchAll(db, sql: "SELECT * FROM \(table)").map { "\(table) \($0)" }
            }
        }
    }

    @Test func `a sign-in that is refused leaves no trace`() async throws {
        let store = try open()
        let ada = try await store.makeUser("ada")
        let first = try await store.makeSignIn(ada, remembers: true)
        let other = try await store.makeSignIn(ada)
        let before = try dump()
        #expect(before.count > 8)
        let refusing = SessionLimit(maximum: 1, atLimit: .refuse)
        let refused = try await store.signIn(
            ada, remembers: true, ending: PresentedIDs(sessions: [other.id]), limit: refusing)
        #expect(refused.outcome == .limitReached)
        let unknown = SessionID(try Identifier.random(from: .system))
        #expect(try await store.signIn(ada, superseding: unknown).outcome == .userChanged)
        #expect(try await store.renew(unknown, at: noon) == .ended)
        #expect(try dump() == before)
        // And one that is not refused does.
        _ = try await store.makeSignIn(ada)
        #expect(try dump() != before)
        #expect(first.series != nil)
    }

    // MARK: Plans

    /// The steps that read a whole table, of each statement.
    private func scans(_ statements: [String]) throws -> [String] {
        try reading { db in
            try statements.flatMap { sql in
                try Row.fetchAll(db, sql: "EXPLAIN QUERY PLAN " + sql)
                    .compactMap { $0["detail"] as String? }
                    .filter { $0.hasPrefix("SCAN") && !["SCAN head", "SCAN page"].contains($0) }
                    .map { "\($0): \(sql)" }
            }
        }
    }

    /// The statements of the store's own source that read or change sessions and series, as SQLite gets
    /// them.
    private func statements() throws -> [String] {
        try StoreStatements(of: ["SQLSessions.swift", "SQLRemember.swift"], for: .sqlite).all
            .map { $0.sql.replacing(/:[a-z]+|\?/, with: "1") }
    }

    @Test func `no statement about a user, a session or a series reads a whole table`() throws {
        _ = try open()
        let statements = try statements()
        #expect(statements.count > 25, "the search finds them")
        #expect(statements.contains { $0.contains("UNION ALL") && $0.contains("NOT EXISTS") })
        #expect(try scans(statements) == [])
        #expect(try scans(["SELECT * FROM sessions WHERE level = 1"]).count == 1)
    }

    @Test func `what an operator issued is not even looked at when the user signs in`()
        async throws
    {
        let store = try open()
        let sql = try #require(
            try statements().first { $0.contains("methods != 0") && $0.contains("ORDER BY") })
        let plan = try reading { db in
            try Row.fetchAll(db, sql: "EXPLAIN QUERY PLAN " + sql)
                .compactMap { $0["detail"] as String? }
        }
        #expect(plan.contains { $0.contains("USING INDEX sessions_signed_in (user_id=?)") })
        #expect(!plan.contains { $0.contains("TEMP B-TREE FOR ORDER BY") })
        _ = store
    }

    // MARK: A database of an earlier release

    @Test func `the sessions of an earlier release's database go on`() async throws {
        try write(readText(Vector.path(of: "store-6.sql")))
        let store = try open()
        let ada = try #require(try await store.user(named: username("ada")))
        let sessions = try await store.sessions(of: ada.id, limit: 9)
        #expect(sessions.count == 2)
        let list = try await store.signIns(of: ada.id, at: time(noon + 100))
        let live = try #require(list.first)
        #expect(
            list == [
                SignIn(
                    session: live.session, isRemembered: false, created: time(noon),
                    lastUsed: time(noon), origin: .unknown)
            ])
        try await store.touch(live.session, at: noon + 100)
        #expect(try await store.session(live.session)?.lastUsed == time(noon + 100))
        #expect(try await store.renew(live.session, at: noon + 200) == .renewed)
        let stepped = try await store.signIn(ada, at: noon + 300, superseding: live.session)
        #expect(stepped.outcome == .created(position: 2))
        #expect(try await store.audit(after: 0, limit: 9).first?.event.kind == .userCreated)
        let other = try await store.makeSignIn(ada, at: noon + 300, remembers: true)
        #expect(try await store.isRemembered(other.series, at: noon + 300))
        #expect(try await store.integrityFindings().isEmpty)
        _ = try open()
    }
}
