// Databases of earlier releases: only SQLite has any.

import Foundation
import GRDB
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct SQLiteReleaseTests {
    private let directory = TemporaryDirectory()

    private func open() throws -> SQLStore {
        try SQLStore(directory: directory.path, createIfMissing: true).signed()
    }

    private func write(_ body: (Database) throws -> Void) throws {
        let queue = try DatabaseQueue(path: directory.path + "/" + SQLStore.fileName)
        try queue.writeWithoutTransaction(body)
        try queue.close()
    }

    @Test func `an earlier release's database keeps every name, also those that look alike`()
        async throws
    {
        try write { try $0.execute(sql: readText(Vector.path(of: "store-2.sql"))) }
        let store = try open()
        let names = [
            "a+b", "adm1n", "admin", "admln", "jane@example.org", "zo\u{00EB}", "\u{0430}dmin",
        ]
        #expect(try await store.users(after: nil, limit: 10).map(\.username.text) == names)
        let user = try #require(try await store.user(named: username("A+B")))
        #expect(user.passwordHash != nil)
        #expect(try await store.sessions(of: user.id, limit: 10).count == 1)
        let zoe = try #require(try await store.user(named: username("zo\u{00EB}")))
        #expect(try await store.names(of: zoe.id).map(\.state) == [.live, .former])
        #expect(try await store.integrityFindings().isEmpty)
        // The older one of two keeps the skeleton; both are told.
        #expect(
            try await store.skeletonReport()
                == SkeletonReport(
                    storedVersion: Username.skeletonVersion, changed: 0,
                    collisions: [
                        .init(first: username("adm1n"), other: username("admln")),
                        .init(first: username("admin"), other: username("\u{0430}dmin")),
                    ]))
        for name in [
            "admin", "\u{0430}dm\u{0456}n", "adm1n", "a+b", "gone", "g0ne", "old-zo\u{00EB}",
        ] {
            let id = try UserID.random(from: .system)
            let added = try await store.addUser(
                username(name), id: id, passwordHash: nil,
                audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
            #expect(added == .nameTaken, "\(name)")
        }
        // The reserved name is a user's, and stays it.
        #expect(try await store.reserveNames([username("admin")], at: time(noon)))
        #expect(try await store.user(named: username("admin")) != nil)
        _ = try open()
    }

    @Test func `an earlier release's ring is migrated as it is, and gets its ring key later`()
        async throws
    {
        let vector = Vector.read("keyring-7.txt")[0]
        try write { db in
            try db.execute(sql: readText(Vector.path(of: "store-6.sql")))
            try db.execute(
                sql: "INSERT INTO keyring (root_key_id, version, sealed) VALUES (?, ?, ?)",
                arguments: [
                    Data(vector.bytes("root_id")), 3, Data(vector.bytes("sealed")),
                ])
        }
        let store = try open()
        let root = try RootKey(text: Array(vector.text("root").utf8).span)
        let stored = try #require(try await store.keyring())
        #expect(stored.version == 3 && stored.ringKey == nil)
        #expect(stored.sealed == vector.bytes("sealed"))
        let opened = try root.unwrap(stored)
        let outcome = try await KeyringChange.replace(
            with: try opened.addingPendingKey(at: time(noon), entropy: .system),
            onlyWhenLoaded: false, audit: [], store: store, rootKey: root, at: time(noon),
            entropy: .system)
        #expect(outcome == .replaced)
        let changed = try #require(try await store.keyring())
        #expect(changed.ringKey != nil && changed.rootKeys == [root.id])
        #expect(try root.unwrap(changed).keys.map(\.id).prefix(2) == opened.keys.map(\.id)[...])
    }
}
