// Skeletons of another version, and a database from before there were any.

import GRDB
import GatehouseCore
import GatehousePeople
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct SkeletonVersionTests {
    private let directory = TemporaryDirectory()
    private var path: String { directory.path + "/" + SQLStore.fileName }

    private func open() throws -> SQLStore {
        try SQLStore(directory: directory.path, createIfMissing: true).signed()
    }

    private func write(_ sql: String) throws {
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { try $0.execute(sql: sql) }
        try queue.close()
    }

    private func column(_ sql: String) throws -> [String?] {
        let queue = try DatabaseQueue(path: path)
        defer { try? queue.close() }
        return try queue.read { try String?.fetchAll($0, sql: sql) }
    }

    private func add(_ name: String, to store: SQLStore) async throws -> AddUserOutcome {
        let id = try UserID.random(from: .system)
        return try await store.addUser(
            username(name), id: id, passwordHash: nil,
            audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
    }

    private func rewrite(_ store: SQLStore) async throws -> SkeletonReport {
        try await store.rewriteSkeletons(
            audit: AuditEvent(.skeletonsRewritten, by: .command), at: time(noon))
    }

    // MARK: Another version

    @Test func `under another version nobody gets a name, and everything else goes on`()
        async throws
    {
        let store = try open()
        let ada = try await store.makeUser("ada")
        #expect(try await store.reserveNames([username("root")], at: time(noon)))
        try write("UPDATE skeletons SET version = 'another'")
        #expect(try await store.availability(of: username("bob")) == .skeletonsOutdated)
        #expect(try await add("bob", to: store) == .skeletonsOutdated)
        let invitation = try #require(LinkHash(bytes: [UInt8](repeating: 1, count: 32)))
        try await store.addLink(
            Link(hash: invitation, purpose: .invitation, expires: time(noon + 900)),
            audit: AuditEvent(.userInvited, by: .command), at: time(noon))
        let id = try UserID.random(from: .system)
        let invited = try await store.addUser(
            username("bob"), id: id, passwordHash: "$", invitation: invitation,
            enrolment: Enrolment(), audit: AuditEvent(.userCreated, by: .server, user: id),
            at: time(noon))
        #expect(invited == .skeletonsOutdated)
        #expect(try await store.link(invitation, at: time(noon)) != nil, "it works later")
        let renaming = try await store.renameUser(
            ada.id, to: username("bob"), takingReserved: false,
            audit: AuditEvent(.userRenamed, by: .command, user: ada.id), at: time(noon))
        #expect(renaming == .skeletonsOutdated)
        #expect(try await !store.reserveNames([], at: time(noon)))
        #expect(
            try column("SELECT canonical FROM names ORDER BY canonical") == ["ada", "root"])

        #expect(try await store.user(named: username("ada")) == ada)
        _ = try await store.makeSession(of: ada)

        let report = try await store.skeletonReport()
        #expect(report == SkeletonReport(storedVersion: "another", changed: 0, collisions: []))
        #expect(report.isOutdated)
        #expect(try await rewrite(store) == report)
        #expect(try await !store.skeletonReport().isOutdated)
        _ = try await store.makeUser("bob")
    }

    @Test func `what collides under ours is told before, and stays`() async throws {
        let store = try open()
        for name in ["moro1", "bob", "zed", "eve"] { _ = try await store.makeUser(name) }
        // As if ours were the first version in which 1 looks like l.
        try write(
            """
            UPDATE skeletons SET version = 'another';
            UPDATE names SET canonical = 'morol', skeleton = 'x' WHERE canonical = 'bob';
            UPDATE names SET skeleton = 'zed2' WHERE canonical = 'zed';
            UPDATE names SET skeleton = 'zed' WHERE canonical = 'eve';
            """)
        let expected = SkeletonReport(
            storedVersion: "another", changed: 3,
            collisions: [.init(first: username("moro1"), other: username("morol"))])
        #expect(try await store.skeletonReport() == expected)
        #expect(
            try column("SELECT skeleton FROM names WHERE canonical = 'morol'") == ["x"],
            "a report changes nothing")
        #expect(try await rewrite(store) == expected)
        #expect(
            try column("SELECT skeleton FROM names ORDER BY canonical")
                == ["eve", "rnorol", nil, "zed"])
        #expect(try await store.user(named: username("moro1")) != nil)
        let other = try #require(try await store.user(named: username("morol")))
        #expect(try await add("m0rol", to: store) == .nameTaken)
        #expect(
            try await store.skeletonReport()
                == SkeletonReport(
                    storedVersion: Username.skeletonVersion, changed: 0,
                    collisions: expected.collisions))
        _ = try await store.renameUser(
            other.id, to: username("bob"), takingReserved: false,
            audit: AuditEvent(.userRenamed, by: .command, user: other.id), at: time(noon))
        #expect(try await store.skeletonReport().collisions.isEmpty, "nobody is called so any more")
    }

    // MARK: A database of an earlier release

    @Test func `an earlier release's database keeps every name, also those that look alike`()
        async throws
    {
        try write(readText(Vector.path(of: "store-2.sql")))
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
            #expect(try await add(name, to: store) == .nameTaken, "\(name)")
        }
        // The reserved name is a user's, and stays it.
        #expect(try await store.reserveNames([username("admin")], at: time(noon)))
        #expect(try await store.user(named: username("admin")) != nil)
        _ = try open()
    }
}
