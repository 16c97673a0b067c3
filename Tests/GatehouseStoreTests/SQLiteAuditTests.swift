// What is SQLite's own of the audit trail: copies of its file that somebody wrote to, and earlier releases' entries.

import Foundation
import GRDB
import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct SQLiteAuditTests {
    private let directory = TemporaryDirectory()

    /// Writes to a file, triggers or not.
    private func change(_ path: String, _ sql: String) throws {
        let queue = try DatabaseQueue(path: path)
        try queue.write { db in
            for trigger in ["audit_no_update", "audit_no_delete", "audit_chained"] {
                try db.execute(sql: "DROP TRIGGER IF EXISTS \(trigger)")
            }
            try db.execute(sql: sql)
        }
        try queue.close()
    }

    /// Writes to a copy of the file behind the store's back, triggers or not.
    private func tampered<Found>(
        _ sql: String, _ body: (SQLStore) async throws -> Found
    ) async throws -> Found {
        let copy = TemporaryDirectory()
        for end in ["", "-wal"] {
            let name = "/" + SQLStore.fileName + end
            try FileManager.default.copyItem(
                atPath: directory.path + name, toPath: copy.path + name)
        }
        try change(copy.path + "/" + SQLStore.fileName, sql)
        let found = try await body(
            SQLStore(directory: copy.path, createIfMissing: false))
        withExtendedLifetime(copy) {}
        return found
    }

    @Test func `what was personal goes with its entry`() async throws {
        let store = try SQLStore(directory: directory.path, createIfMissing: true)
        var context = AuditContext()
        context.reason = "because"
        store.sign(as: .commands, context)
        _ = try await store.makeUser("ada")
        let now = time(noon + 3 * 86_400)
        #expect(try await store.pruneAudit(before: now, limit: 9, at: now) == 1)
        let queue = try DatabaseQueue(path: directory.path + "/" + SQLStore.fileName)
        let left = try await queue.read { db in
            try Int.fetchAll(db, sql: "SELECT sequence FROM audit_personal")
        }
        try queue.close()
        #expect(left == [2], "that of the removal itself")
    }

    @Test func `an earlier release's entries are vouched for once, and go together`() async throws {
        let queue = try DatabaseQueue(path: directory.path + "/" + SQLStore.fileName)
        try await queue.writeWithoutTransaction { db in
            try db.execute(sql: readText(Vector.path(of: "store-6.sql")))
            for day in 1...3 as ClosedRange<Int64> {
                try db.execute(
                    sql: """
                        INSERT INTO audit
                        VALUES (?, ?, 'user_enabled', 'command', NULL, NULL, NULL)
                        """,
                    arguments: [day + 1, noon + day * 86_400])
            }
        }
        try queue.close()
        let store = try SQLStore(directory: directory.path, createIfMissing: true).signed()
        let now = time(noon + 10 * 86_400)
        for _ in 0..<2 { try await store.checkpointAudit(at: now) }
        #expect(
            try await store.audit(after: 4, limit: 9).map(\.event.kind)
                == [.auditBegan, .auditCheckpoint, .auditCheckpoint])
        #expect(try await store.faults().faults.isEmpty)
        // Not some of them: what is left could not be proved.
        let middle = time(noon + 2 * 86_400)
        #expect(try await store.pruneAudit(before: middle, limit: 9, at: now) == 0)
        // Nor all of them without what vouches for them.
        let after = time(noon + 6 * 86_400)
        #expect(try await store.pruneAudit(before: after, limit: 9, at: now) == 0)
        let late = time(now.seconds + 3 * 86_400)
        #expect(try await store.pruneAudit(before: late, limit: 2, at: late) == 2)
        #expect(try await store.faults().faults.isEmpty, "half removed")
        #expect(try await store.pruneAudit(before: late, limit: 99, at: late) == 5)
        try await store.checkpointAudit(at: late)
        #expect(try await store.faults().faults.isEmpty)
        #expect(
            try await store.audit(after: 0, limit: 9).map(\.event.kind)
                == [.auditPruned, .auditCheckpoint], "not vouched for again")
    }

    @Test func `retention removes nothing that is not whole, and nothing because somebody said so`()
        async throws
    {
        let day: Int64 = 86_400
        let now = time(noon + 20 * day)
        for (sql, failure) in [
            (
                "UPDATE audit SET time = 1 WHERE sequence <= 5",
                "the audit trail; nothing of it is removed"
            ),
            (
                "UPDATE audit SET operator = 'eve' WHERE sequence = 2",
                "the audit trail; nothing of it is removed"
            ),
            ("DELETE FROM audit WHERE sequence = 2", "the audit trail; nothing of it is removed"),
            ("UPDATE head SET audit_floor = 8", "audit_floor"),
            ("UPDATE head SET audit_floor = 9000000000000000000", "audit_floor"),
        ] {
            let directory = TemporaryDirectory()
            let store = try SQLStore(directory: directory.path, createIfMissing: true).signed()
            for number in 0..<10 as Range<Int64> {
                _ = try await store.makeUser("u\(number)", at: noon + number * day)
            }
            try change(directory.path + "/" + SQLStore.fileName, sql)
            let before = try await store.audit(after: 0, limit: 99).count
            await #expect(throws: StoreError.damaged(failure), "\(sql)") {
                try await store.pruneAudit(before: time(noon + 4 * day), limit: 99, at: now)
            }
            #expect(try await store.audit(after: 0, limit: 99).count == before)
            #expect(try await !store.faults().faults.isEmpty, "\(sql)")
        }
    }

    @Test func `whoever can write to the file is found out`() async throws {
        let store = try SQLStore(directory: directory.path, createIfMissing: true).signed()
        var context = AuditContext()
        context.reason = "because"
        store.sign(as: .commands, context)
        for number in 0..<10 { _ = try await store.makeUser("u\(number)") }
        let (clean, head) = try await store.faults()
        #expect(clean.isEmpty)
        for (sql, kind, entry) in [
            ("UPDATE audit SET kind = 'user_enabled' WHERE sequence = 4", .altered, 4),
            ("UPDATE audit SET time = time + 1 WHERE sequence = 5", .altered, 5),
            ("UPDATE audit SET operator = 'eve' WHERE sequence = 6", .altered, 6),
            ("UPDATE audit SET detail = 'x' WHERE sequence = 6", .altered, 6),
            ("UPDATE audit_personal SET reason = 'none' WHERE sequence = 7", .personalAltered, 7),
            (
                "UPDATE audit_personal SET salt = zeroblob(32) WHERE sequence = 7",
                .personalAltered, 7
            ),
            ("UPDATE audit SET mac = zeroblob(32) WHERE sequence = 8", .altered, 8),
            ("DELETE FROM audit WHERE sequence = 3", .missing, 4),
            ("DELETE FROM audit WHERE sequence >= 9", .cutOff, nil),
            ("UPDATE audit SET sequence = 99 WHERE sequence = 2", .missing, 3),
            ("UPDATE head SET audit_floor = 5", .baseAltered, nil),
            ("UPDATE head SET audit_floor = 5; DELETE FROM audit WHERE sequence <= 5", .missing, 6),
            ("DELETE FROM audit", .numbersMissing, 11),
            ("DELETE FROM audit WHERE sequence BETWEEN 4 AND 6", .numbersMissing, 7),
            ("UPDATE audit SET kind = 'nonsense' WHERE sequence = 4", .altered, 4),
            ("UPDATE audit SET actor = 'nobody' WHERE sequence = 4", .altered, 4),
            ("UPDATE audit SET time = -5 WHERE sequence = 4", .altered, 4),
            (
                "UPDATE audit SET chain = NULL, position = NULL, mac = NULL WHERE sequence = 10",
                .headDiffers, nil
            ),
            (
                "INSERT INTO audit (sequence, time, kind, actor) VALUES (50, 1, 'signed_in', 'server')",
                .unchainedAltered, 50
            ),
        ] as [(String, AuditFault.Kind, UInt64?)] {
            let faults = try await tampered(sql) { try await $0.faults(expecting: head).faults }
            #expect(
                faults.contains { $0.kind == kind && $0.sequence == entry }, "\(sql): \(faults)")
        }
    }

    /// Writes an older release's database, and lets this one take it over.
    private func migrated() throws -> SQLStore {
        let queue = try DatabaseQueue(path: directory.path + "/" + SQLStore.fileName)
        try queue.writeWithoutTransaction {
            try $0.execute(sql: readText(Vector.path(of: "store-6.sql")))
        }
        try queue.close()
        return try SQLStore(directory: directory.path, createIfMissing: true).signed()
    }

    @Test func `an earlier release's entries are vouched for before anything else is written`()
        async throws
    {
        let store = try migrated()
        let before = try await store.audit(after: 0, limit: 99)
        #expect(!before.isEmpty && before.allSatisfy { $0.link == nil })
        try await store.note(AuditEvent(.signedIn, by: .server), at: time(noon))
        let kinds = try await store.audit(after: UInt64(before.count), limit: 9)
            .map(\.event.kind)
        #expect(kinds == [.auditBegan, .signedIn])
        let (faults, head) = try await store.faults()
        #expect(faults.isEmpty)
        // Once: what comes without a chain later is nobody's.
        store.sign(as: AuditChain(Identifier(high: 1, low: 1)))
        try await store.note(AuditEvent(.signedIn, by: .server), at: time(noon))
        #expect(
            try await store.audit(after: 0, limit: 99).count { $0.event.kind == .auditBegan } == 1)
        for sql in [
            "UPDATE audit SET time = time + 1 WHERE sequence = 1",
            "DELETE FROM audit WHERE sequence = 1",
            "INSERT INTO audit (sequence, time, kind, actor) VALUES (70, 1, 'signed_in', 'server')",
        ] {
            let faults = try await tampered(sql) { try await $0.faults(expecting: head).faults }
            #expect(faults.contains { $0.kind == .unchainedAltered }, "\(sql)")
        }
        // Retention takes them together with what vouches for them, or before it.
        let year = noon + 400 * 86_400
        #expect(
            try await store.pruneAudit(
                before: time(noon + 10 * 86_400), limit: 99, at: time(year)) > 0)
        #expect(try await store.faults().faults.isEmpty)
    }

    @Test func `after a key was lost the trail is vouched for as it is`() async throws {
        let store = try SQLStore(directory: directory.path, createIfMissing: true).signed()
        for number in 0..<5 { _ = try await store.makeUser("u\(number)") }
        _ = try await store.pruneAudit(
            before: time(noon + 3 * 86_400), limit: 99, at: time(noon + 5 * 86_400))
        let newKey = try #require(
            try Keyring.first(at: time(noon), entropy: .system).auditKeys()?.current)
        func verified(_ store: SQLStore) async throws -> AuditVerifier {
            let extent = try await store.auditExtent()
            var verifier = try AuditVerifier(keys: [newKey.id: newKey], extent: extent)
            for record in try await store.audit(after: extent.floor, limit: 99) {
                try verifier.take(record)
            }
            _ = try verifier.finish()
            return verifier
        }
        store.signTrail(as: .commands, with: AuditKeys(newKey), for: AuditContext())
        _ = try await store.makeUser("after", at: noon + 6 * 86_400)
        let lost = try await verified(store)
        #expect(!lost.faults.isEmpty)
        #expect(lost.unknownBases.count == 2)
        try await store.restartAudit(
            vouching: try #require(lost.vouching), resealing: lost.unknownBases,
            at: time(noon + 6 * 86_400))
        #expect(try await verified(store).faults.isEmpty)
        #expect(try await verified(store).vouching == nil)
        for (sql, kind) in [
            ("UPDATE audit SET detail = 'x' WHERE sequence = 6", .unchainedAltered),
            ("DELETE FROM audit WHERE sequence = 6", .unchainedAltered),
            ("UPDATE audit SET detail = 'x' WHERE sequence = 7", .altered),
        ] as [(String, AuditFault.Kind)] {
            let faults = try await tampered(sql) { try await verified($0).faults }
            #expect(faults.contains { $0.kind == kind }, "\(sql)")
        }
        // They go in one piece, and what vouched for them says so afterwards.
        let now = time(noon + 400 * 86_400)
        _ = try await store.pruneAudit(before: now, limit: 99, at: now)
        #expect(try await verified(store).faults.isEmpty)
    }
}
