// What is SQLite's own: settings, files, damage, and nodes known to be gone.

import Foundation
import GRDB
import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct SQLiteStoreTests {
    private let directory = TemporaryDirectory()
    private var path: String { directory.path + "/" + SQLStore.fileName }

    private func open(create: Bool = true) throws -> SQLStore {
        try SQLStore(directory: directory.path, createIfMissing: create).signed()
    }

    /// Changes the file behind the store's back.
    private func tamper(_ sql: String) throws {
        let queue = try DatabaseQueue(path: path)
        try queue.write { try $0.execute(sql: sql) }
        try queue.close()
    }

    @Test func `a missing database is made by the server only`() async throws {
        #expect(throws: StoreError.unavailable("there is no database at \(path)")) {
            try open(create: false)
        }
        _ = try open()
        _ = try open(create: false)
    }

    @Test func `a database that was replaced is not followed, and whoever follows it is found`()
        async throws
    {
        let server = try open()
        let node = NodeID(try Identifier.random(from: .system))
        try await server.joinNode(node, leaseSeconds: 120, at: time(noon))
        _ = try await server.head()
        #expect(try await open(create: false).strangers().isEmpty)
        let queue = try DatabaseQueue(path: path)
        try await queue.vacuum(into: path + ".copy")
        try queue.close()
        for end in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: path + end)
        }
        try FileManager.default.moveItem(atPath: path + ".copy", toPath: path)
        await #expect(throws: StoreError.replaced) { try await server.head() }
        #expect(try await open(create: false).strangers() == [node])
        try await server.leaveNode(node, at: time(noon))
        #expect(try await open(create: false).strangers().isEmpty)
    }

    @Test func `a store that was closed is whole in one file`() async throws {
        let store = try open()
        _ = try await store.makeUser("ada")
        try store.close()
        let copy = TemporaryDirectory()
        try FileManager.default.copyItem(
            atPath: path, toPath: copy.path + "/" + SQLStore.fileName)
        let other = try SQLStore(directory: copy.path, createIfMissing: false)
        #expect(try await other.user(named: username("ada")) != nil)
    }

    @Test func `a number that no release wrote is an error and no trap`() async throws {
        let store = try open()
        let node = NodeID(try Identifier.random(from: .system))
        try await store.joinNode(node, leaseSeconds: 120, at: time(noon))
        try tamper("UPDATE nodes SET lease_seconds = 9223372036854775807")
        await #expect(throws: StoreError.damaged("lease_seconds")) {
            try await store.liveNodes(at: time(noon))
        }
        try tamper("UPDATE nodes SET lease_seconds = 120")
        try tamper("UPDATE head SET latest_time = -9223372036854775808")
        await #expect(throws: StoreError.damaged("latest_time")) { try await store.makeUser("ada") }
        try tamper("UPDATE head SET latest_time = 0")
        try tamper("INSERT OR REPLACE INTO sqlite_sequence VALUES ('audit', 9223372036854775807)")
        await #expect(throws: StoreError.self) { try await store.makeUser("bob") }
        #expect(try await store.user(named: username("bob")) == nil)
    }

    @Test func `what the disk refuses is told in words`() {
        let words: [(ResultCode, String)] = [
            (.SQLITE_FULL, "the disk is full"),
            (.SQLITE_READONLY, "the database can't be written to"),
            (.SQLITE_READONLY_DIRECTORY, "the database can't be written to"),
            (.SQLITE_CANTOPEN, "the database can't be opened"),
        ]
        for (code, words) in words {
            #expect(
                SQLStore.storeError(DatabaseError(resultCode: code)) == .unavailable(words))
        }
    }

    @Test func `the trail can't be rewritten`() async throws {
        let store = try open()
        _ = try await store.makeUser("ada")
        for sql in ["UPDATE audit SET kind = 'x'", "DELETE FROM audit"] {
            #expect(throws: DatabaseError.self, "\(sql)") { try tamper(sql) }
        }
        // Nor is there an entry without its place, or a second one at the same.
        func add(_ chain: String, _ position: String, _ key: String, _ mac: String) throws {
            try tamper(
                """
                INSERT INTO audit (time, kind, actor, chain, position, audit_key, mac)
                SELECT time, kind, actor, \(chain), \(position), \(key), \(mac) FROM audit
                """)
        }
        for (chain, position, key, mac) in [
            ("chain", "position", "audit_key", "mac"), ("NULL", "9", "audit_key", "mac"),
            ("chain", "NULL", "audit_key", "mac"), ("chain", "9", "NULL", "mac"),
            ("chain", "9", "audit_key", "NULL"),
        ] {
            #expect(throws: DatabaseError.self, "\(chain) \(position) \(key) \(mac)") {
                try add(chain, position, key, mac)
            }
        }
        #expect(try await store.audit(after: 0, limit: 10).count == 1)
    }

    @Test func `commits are on the disk before they are acknowledged`() async throws {
        // The pragma belongs to the store's own connection, so it is read through it.
        let store = try open()
        #expect(
            try await store.settings() == [
                "synchronous": "2", "secure_delete": "1",
                "foreign_keys": "1", "journal_mode": "wal",
            ])
    }

    @Test func `a database of a newer release is refused and left alone`() async throws {
        _ = try open()
        try tamper("INSERT INTO grdb_migrations VALUES ('9999')")
        for create in [true, false] {
            #expect(
                throws: StoreError.schema("the database is of a newer release than this program")
            ) { try open(create: create) }
        }
    }

    @Test func `a command does not migrate an older database`() async throws {
        _ = try open()
        try tamper("DELETE FROM grdb_migrations")
        #expect(
            throws: StoreError.schema(
                "the database is of an older release; `gatehouse serve` migrates it")
        ) { try open(create: false) }
    }

    @Test func `what an older release counted stays counted until its last deadline`()
        async throws
    {
        _ = try open()
        try tamper(
            """
            DROP TABLE key_deadlines; DROP TABLE key_opens;
            DELETE FROM grdb_migrations WHERE identifier = '9';
            INSERT INTO key_usage VALUES (7, 5, \(noon + 100)), (8, 0, \(noon + 100));
            """)
        let store = try open()
        let key = try #require(KeyID(rawValue: 7))
        #expect(try await store.keyActivity(at: time(noon + 99)) == [key: KeyActivity(alive: 5)])
        #expect(try await store.keyActivity(at: time(noon + 100)).isEmpty)
        #expect(
            try await store.keyUsage()[key] == KeyUsage(sealed: 5, lastDeadline: time(noon + 100)))
    }

    @Test func `the store keeps so many counts of openings and no more`() async throws {
        let store = try open()
        let rows = KeyTally.maximumOpenRows
        // One row short of the limit, of two minutes.
        try tamper(
            """
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(rows - 1))
            INSERT INTO key_opens
                SELECT \(noon / 60 - 1) + (i > 10), i, randomblob(16), 1 FROM n
            """)
        func total() async throws -> UInt64 {
            try await store.keyActivity(at: time(noon)).values.reduce(0) { $0 + $1.openedLastHour }
        }
        var tally = KeyTally()
        tally.noteOpened(1, by: try #require(KeyID(rawValue: 7)))
        func note() async throws {
            let node = NodeID(try Identifier.random(from: .system))
            try await store.noteKeyTally(tally, by: node, at: time(noon))
        }
        try await note()
        #expect(try await total() == UInt64(rows))
        try await note()
        #expect(try await total() == UInt64(rows + 1 - 10), "the oldest minute went")
    }

    @Test func `a file that is no database is refused as damaged`() throws {
        try Data("this is not a database, it only looks long enough to be one".utf8)
            .write(to: URL(fileURLWithPath: path))
        #expect(throws: StoreError.damaged("the database file")) { try open() }
    }

    @Test func `a row that was altered is an error and not a trap`() async throws {
        let store = try open()
        let user = try await store.makeUser("ada")
        let session = try await store.makeSession(of: user)
        try tamper("PRAGMA ignore_check_constraints = 1; UPDATE sessions SET level = 9")
        await #expect(throws: StoreError.damaged("level")) {
            _ = try await store.session(session.id)
        }
        try tamper("UPDATE sessions SET level = 1, created = -1")
        await #expect(throws: StoreError.damaged("created")) {
            _ = try await store.session(session.id)
        }
        try tamper("UPDATE sessions SET created = 1, absolute_deadline = 9223372036854775807")
        await #expect(throws: StoreError.damaged("absolute_deadline")) {
            _ = try await store.session(session.id)
        }
        try tamper("PRAGMA ignore_check_constraints = 1; UPDATE users SET epoch = 4294967296")
        await #expect(throws: StoreError.damaged("epoch")) {
            _ = try await store.user(named: user.username)
        }
    }

    @Test func `constraints hold against whatever writes`() async throws {
        let store = try open()
        let user = try await store.makeUser("ada")
        _ = try await store.makeSession(of: user)
        // What breaks none is let in.
        try tamper("INSERT INTO names VALUES ('eva', 'eva', (SELECT id FROM users), 'former', 1)")
        try tamper("INSERT INTO names VALUES ('root', 'root', NULL, 'reserved', 1)")
        for sql in [
            // Each breaks one rule: canonical, length, live, user, skeleton, reserved.
            "INSERT INTO names VALUES ('ada', NULL, (SELECT id FROM users), 'former', 1)",
            "INSERT INTO names VALUES ('', NULL, (SELECT id FROM users), 'former', 1)",
            "INSERT INTO names VALUES ('eve', 'eve', (SELECT id FROM users), 'live', 1)",
            "INSERT INTO names VALUES ('eve', 'eve', x'00112233445566778899aabbccddeeff', 'live', 1)",
            "INSERT INTO names VALUES ('eve', 'ada', (SELECT id FROM users), 'former', 1)",
            "INSERT INTO names VALUES ('eve', '', (SELECT id FROM users), 'former', 1)",
            "INSERT INTO names VALUES ('eve', 'eve', NULL, 'former', 1)",
            "INSERT INTO names VALUES ('eve', 'eve', (SELECT id FROM users), 'reserved', 1)",
            "INSERT INTO names VALUES ('eve', 'eve', (SELECT id FROM users), 'other', 1)",
            "INSERT INTO skeletons VALUES (2, 'another')",
            "UPDATE users SET state = 'other'", "UPDATE users SET epoch = -1",
            "UPDATE sessions SET idle_deadline = absolute_deadline + 1",
            "DELETE FROM users", "INSERT INTO head VALUES (2, 0, 0, 0)",
            "INSERT INTO feed VALUES (1, 1, 1, NULL, 0, 1)", "UPDATE users SET created = 'soon'",
        ] {
            #expect(throws: DatabaseError.self, "\(sql)") { try tamper(sql) }
        }
    }

    @Test func `a node of a process that is gone is not live, one that holds its lock is`()
        async throws
    {
        let store = try open()
        let other = try open()
        let node = NodeID(try Identifier.random(from: .system))
        try await other.joinNode(node, leaseSeconds: 120, at: time(noon))
        #expect(try await store.liveNodes(at: time(noon)).map(\.id) == [node])
        // A row without a lock is what a killed process leaves.
        let gone = NodeID(try Identifier.random(from: .system))
        let hex = gone.text
        try tamper("INSERT INTO nodes VALUES (x'\(hex)', 1, \(noon), 120, 0, 0, NULL, 0, 2, 16)")
        #expect(try await store.liveNodes(at: time(noon)).map(\.id) == [node])
        try Data().write(to: URL(fileURLWithPath: directory.path + "/nodes/\(hex).lock"))
        #expect(try await store.liveNodes(at: time(noon)).map(\.id) == [node], "unlocked")
        _ = try await store.prune(limit: 10, at: time(noon))
        #expect(!FileManager.default.fileExists(atPath: directory.path + "/nodes/\(hex).lock"))
        #expect(FileManager.default.fileExists(atPath: directory.path + "/nodes/\(node.text).lock"))
    }

    @Test func `a silent node that lives keeps its lock, and has one again when it lost it`()
        async throws
    {
        let store = try open()
        let other = try open()
        let node = NodeID(try Identifier.random(from: .system))
        let path = directory.path + "/nodes/\(node.text).lock"
        try await other.joinNode(node, leaseSeconds: 10, at: time(noon))
        // Its row is given up; its process still holds the lock.
        _ = try await store.prune(limit: 10, at: time(noon + 300))
        #expect(try await store.liveNodes(at: time(noon + 300)).isEmpty)
        #expect(FileManager.default.fileExists(atPath: path))
        try await other.joinNode(node, leaseSeconds: 10, at: time(noon + 300))
        #expect(try await store.liveNodes(at: time(noon + 300)).map(\.id) == [node])
        // Somebody cleaned up too much.
        try FileManager.default.removeItem(atPath: path)
        #expect(try await store.liveNodes(at: time(noon + 300)).isEmpty)
        try await other.joinNode(node, leaseSeconds: 10, at: time(noon + 301))
        #expect(try await store.liveNodes(at: time(noon + 301)).map(\.id) == [node])
    }

    @Test func `a command under a clock far ahead of a running server changes nothing`()
        async throws
    {
        let server = try open()
        let node = NodeID(try Identifier.random(from: .system))
        try await server.joinNode(node, leaseSeconds: 120, at: time(noon))
        let command = try open()
        let limit = SQLStore.maximumClockLeadSeconds
        await #expect(throws: StoreError.clockAhead(seconds: limit + 1)) {
            _ = try await command.makeUser("ada", at: noon + limit + 1)
        }
        #expect(try await server.head().latestTime == time(noon))
        _ = try await command.makeUser("ada", at: noon + limit)
        try await server.leaveNode(node, at: time(noon))
        // With nobody running, the clock is the operator's word.
        _ = try await command.makeUser("bob", at: noon + 10 * limit)
    }

    @Test func `a writer that holds the store too long makes others fail as busy, not hang`()
        async throws
    {
        let store = try open()
        let holder = try DatabaseQueue(path: path)
        let isHeld = AsyncStream.makeStream(of: Void.self)
        let release = DispatchSemaphore(value: 0)
        let holding = Task.detached {
            try holder.writeWithoutTransaction { db in
                try db.execute(sql: "BEGIN IMMEDIATE")
                isHeld.continuation.finish()
                release.wait()
                try db.execute(sql: "ROLLBACK")
            }
        }
        for await _ in isHeld.stream {}
        await #expect(throws: StoreError.busy) { _ = try await store.makeUser("ada") }
        // Reading goes on meanwhile.
        #expect(try await store.head().sequence == 0)
        release.signal()
        try await holding.value
        _ = try await store.makeUser("ada")
    }

    @Test func `a deleted user's password hash is gone, and the user is off`() async throws {
        let store = try open()
        let id = try UserID.random(from: .system)
        _ = try await store.addUser(
            username("ada"), id: id, passwordHash: "$argon2id$marker",
            audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
        try await store.delete(id)
        let queue = try DatabaseQueue(path: path)
        let row = try queue.read { try Row.fetchOne($0, sql: "SELECT * FROM users") }
        #expect(row?["password_hash"] as String? == nil)
        #expect(row?["state"] == "disabled")
        #expect(row != nil)
    }

    @Test func `deleted content does not stay in the files`() async throws {
        let store = try open()
        let user = try await store.makeUser("ada")
        let session = try await store.makeSession(of: user, seconds: 10)
        let marker = Data(session.id.value.bytes)
        func isInFiles() throws -> Bool {
            try ["", "-wal"].contains { suffix in
                let url = URL(fileURLWithPath: path + suffix)
                guard FileManager.default.fileExists(atPath: url.path) else { return false }
                return try Data(contentsOf: url).range(of: marker) != nil
            }
        }
        #expect(try isInFiles(), "the search finds what is there")
        _ = try await store.prune(limit: 10, at: time(noon + 1000))
        #expect(try await store.session(session.id) == nil)
    }
}
