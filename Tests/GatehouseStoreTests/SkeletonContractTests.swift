// Skeletons of another version.

import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite struct SkeletonContractTests {
    private let directory = TemporaryDirectory()

    private func open() throws -> SQLStore { try Backend.inForce.open(directory) }

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
        try await store.change("UPDATE skeletons SET version = 'another'")
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
            try await store.column("SELECT canonical FROM names ORDER BY canonical")
                == [.text("ada"), .text("root")])

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
        try await store.change(
            "UPDATE skeletons SET version = 'another'",
            "UPDATE names SET canonical = 'morol', skeleton = 'x' WHERE canonical = 'bob'",
            "UPDATE names SET skeleton = 'zed2' WHERE canonical = 'zed'",
            "UPDATE names SET skeleton = 'zed' WHERE canonical = 'eve'")
        let expected = SkeletonReport(
            storedVersion: "another", changed: 3,
            collisions: [.init(first: username("moro1"), other: username("morol"))])
        #expect(try await store.skeletonReport() == expected)
        #expect(
            try await store.column("SELECT skeleton FROM names WHERE canonical = 'morol'")
                == [.text("x")],
            "a report changes nothing")
        #expect(try await rewrite(store) == expected)
        #expect(
            try await store.column("SELECT skeleton FROM names ORDER BY canonical")
                == [.text("eve"), .text("rnorol"), .null, .text("zed")])
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
}
