// What the store does with grants, looks, acting sessions and admin tokens.

import GRDB
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite struct PermissionContractTests {
    private let directory = TemporaryDirectory()
    private let store: SQLiteStore
    private let eve: OperatorName
    private let why: LookReason

    init() throws {
        store = try SQLiteStore(directory: directory.path, createIfMissing: true).signed()
        eve = try #require(OperatorName("eve"))
        why = try #require(LookReason("an invoice is wrong"))
    }

    private func give(
        _ user: User, _ scope: Grant.Scope = .act, onlyFor: String? = nil, seconds: Int64 = 3600,
        at now: Int64 = noon
    ) async throws -> Grant {
        let grant = Grant(
            id: GrantID(try Identifier.random(from: .system)), user: user.id, reason: why,
            scope: scope, onlyFor: onlyFor.flatMap { OperatorName($0) }, given: time(now),
            ends: time(now + seconds))
        let outcome = try await store.giveGrant(
            grant, audit: AuditEvent(.grantGiven, by: .server, user: user.id), at: time(now))
        guard outcome == .given else { throw Unexpected("\(outcome)") }
        return grant
    }

    private func look(
        _ user: User, _ permission: Permission, seen: Look.Seen = .account, by: OperatorName? = nil,
        at now: Int64 = noon
    ) async throws -> LookOutcome {
        try await store.note(
            Look(
                user: user.id, time: time(now), by: by ?? eve, permission: permission, seen: seen),
            audit: .command, at: time(now))
    }

    private func act(
        _ user: User, _ permission: Permission, until ends: Int64?, at now: Int64 = noon
    ) async throws -> (ActingOutcome, SessionID) {
        let acting = try ActingSession(
            for: user, by: eve, permission: permission, until: ends.map { time($0) },
            limits: store.limits(), floor: .zero, at: time(now), entropy: .system)
        let outcome = try await store.beginActing(
            SessionCreation(sessions: [acting.session], seal: store.seal()), look: acting.look,
            at: time(now))
        return (outcome, acting.session.id)
    }

    private func kinds() async throws -> [AuditEvent.Kind] {
        try await store.audit(after: 0, limit: 1000).map(\.event.kind)
    }

    // Promise: looks-shown
    @Test func `a look by a grant is noted for the person, with its entry`() async throws {
        let ada = try await store.makeUser("ada")
        let grant = try await give(ada, .see)
        #expect(try await look(ada, .grant(grant.id), seen: .signIns) == .noted)
        let looks = try await store.looks(of: ada.id, limit: 10)
        #expect(looks.count == 1)
        #expect(looks.first?.by == eve)
        #expect(looks.first?.permission == .grant(grant.id))
        #expect(looks.first?.seen == .signIns)
        #expect(try await kinds().suffix(2) == [.grantGiven, .personSeen])
        #expect(try await store.untoldLooks(of: ada.id).isEmpty, "it was permitted")
    }

    // Promise: permission
    @Test func `without a good grant nothing is noted, and nothing may be shown`() async throws {
        let ada = try await store.makeUser("ada")
        let bob = try await store.makeUser("bob")
        let grant = try await give(ada, .see)
        let only = try await give(ada, .see, onlyFor: "grace")
        let none = GrantID(Identifier(high: 9, low: 9))
        #expect(try await look(ada, .grant(none)) == .refused(.noGrant))
        #expect(try await look(bob, .grant(grant.id)) == .refused(.otherUser))
        #expect(try await look(ada, .grant(only.id)) == .refused(.otherOperator))
        #expect(try await look(ada, .grant(grant.id), at: noon + 3600) == .refused(.expired))
        // The store's clock has moved on: nobody's older clock brings the grant back.
        #expect(try await look(ada, .grant(grant.id), at: noon) == .refused(.expired))
        let fresh = try await give(ada, .see, at: noon + 3600)
        _ = try await store.revokeGrant(
            fresh.id, of: ada.id, audit: AuditEvent(.grantRevoked, by: .server, user: ada.id),
            at: time(noon + 3601))
        #expect(try await look(ada, .grant(fresh.id), at: noon + 3601) == .refused(.revoked))
        #expect(try await store.looks(of: ada.id, limit: 10).isEmpty)
        #expect(try await !kinds().contains(.personSeen))
    }

    // Promise: break-glass
    @Test func `breaking the glass is noted, loud, and told until it is put away`() async throws {
        let ada = try await store.makeUser("ada")
        #expect(try await look(ada, .brokenGlass(why)) == .noted)
        #expect(try await look(ada, .brokenGlass(why), seen: .audit) == .noted)
        #expect(try await kinds().suffix(2) == [.glassBroken, .glassBroken])
        let untold = try await store.untoldLooks(of: ada.id)
        #expect(untold.map(\.seen) == [.audit, .account])
        #expect(untold.first?.brokenGlassReason == why)
        let first = try #require(untold.last?.id)
        try await store.putAwayLooks(of: ada.id, upTo: first, at: time(noon))
        #expect(try await store.untoldLooks(of: ada.id).map(\.seen) == [.audit])
        let bob = try await store.makeUser("bob")
        try await store.putAwayLooks(of: bob.id, upTo: .max, at: time(noon))
        #expect(try await store.untoldLooks(of: ada.id).count == 1, "nobody else's to put away")
        #expect(try await store.looks(of: ada.id, limit: 10).count == 2)
    }

    // Promise: grant-revocable
    @Test func `revoking a grant ends the sessions under it, and no other`() async throws {
        let ada = try await store.makeUser("ada")
        let own = try await store.makeSession(of: ada)
        let grant = try await give(ada)
        let other = try await give(ada)
        let (outcome, session) = try await act(ada, .grant(grant.id), until: noon + 3600)
        guard case .created = outcome else { throw Unexpected("\(outcome)") }
        let (_, spared) = try await act(ada, .grant(other.id), until: noon + 3600)
        #expect(try await store.actors(of: ada.id) == [session: eve, spared: eve])
        #expect(try await store.acting(in: session)?.reason == why)
        #expect(try await store.acting(in: own.id) == nil)
        let before = try await store.head().sequence
        let revoked = try await store.revokeGrant(
            grant.id, of: ada.id, audit: AuditEvent(.grantRevoked, by: .server, user: ada.id),
            at: time(noon + 1))
        guard case .revoked(let position, 1) = revoked else { throw Unexpected("\(revoked)") }
        #expect(position == before + 1)
        let changes = try await store.feed(after: before, limit: 10).map(\.change)
        #expect(changes == [.session(session)])
        #expect(try await store.session(session)?.revoked == time(noon + 1))
        #expect(try await store.session(spared)?.revoked == nil)
        #expect(try await store.session(own.id)?.revoked == nil)
        #expect(try await store.actors(of: ada.id) == [spared: eve])
        let again = try await store.revokeGrant(
            grant.id, of: ada.id, audit: AuditEvent(.grantRevoked, by: .server, user: ada.id),
            at: time(noon + 2))
        #expect(again == .notFound)
    }

    @Test func `nobody revokes another's grant`() async throws {
        let ada = try await store.makeUser("ada")
        let bob = try await store.makeUser("bob")
        let grant = try await give(ada)
        let outcome = try await store.revokeGrant(
            grant.id, of: bob.id, audit: AuditEvent(.grantRevoked, by: .server, user: bob.id),
            at: time(noon))
        #expect(outcome == .notFound)
        #expect(try await store.grant(grant.id)?.revoked == nil)
    }

    // Promise: permission
    @Test func `nobody acts but under a grant to act, within its time`() async throws {
        let ada = try await store.makeUser("ada")
        let see = try await give(ada, .see)
        let grant = try await give(ada)
        #expect(
            try await act(ada, .grant(see.id), until: noon + 3600).0 == .refused(.scope))
        #expect(
            try await act(ada, .grant(grant.id), until: noon + 3601).0 == .refused(.expired),
            "it would outlive the grant")
        #expect(
            try await act(ada, .grant(grant.id), until: noon + 9999, at: noon + 3600).0
                == .refused(.expired))
        #expect(try await store.sessions(of: ada.id, limit: 10).isEmpty)
        #expect(try await store.looks(of: ada.id, limit: 10).isEmpty)
        let (outcome, session) = try await act(ada, .brokenGlass(why), until: nil, at: noon + 3600)
        guard case .created = outcome else { throw Unexpected("\(outcome)") }
        #expect(try await store.untoldLooks(of: ada.id).map(\.session) == [session])
        #expect(try await store.acting(in: session)?.permission == .brokenGlass(why))
    }

    @Test func `nobody acts while a live node doesn't open the token`() async throws {
        let ada = try await store.makeUser("ada")
        let grant = try await give(ada)
        let node = NodeID(try Identifier.random(from: .system))
        try await store.joinNode(
            node, leaseSeconds: 60, rootKey: nil, rotates: true, at: time(noon))
        #expect(try await store.liveNodes(at: time(noon)).map(\.claimsVersion) == [2])
        // As a node of an earlier release leaves its row.
        try await store.write(at: time(noon)) { db in
            try db.execute(sql: "UPDATE nodes SET claims_version = 1")
        }
        #expect(
            try await act(ada, .grant(grant.id), until: noon + 3600).0 == .olderNodes([node]))
        #expect(try await store.sessions(of: ada.id, limit: 10).isEmpty)
        // Given up for dead, it opens nothing any more.
        let later = noon + 66
        let (outcome, _) = try await act(ada, .grant(grant.id), until: noon + 3600, at: later)
        guard case .created = outcome else { throw Unexpected("\(outcome)") }
    }

    @Test func `a column that nodes of earlier releases don't know says version 1`() async throws {
        try await store.write(at: time(noon)) { db in
            try db.execute(
                sql: """
                    INSERT INTO nodes
                        (id, started, heartbeat, lease_seconds, position, keyring_version)
                    VALUES (x'00112233445566778899aabbccddeeff', 0, \(noon), 60, 0, 0)
                    """)
        }
        let versions = try await store.read { db in
            try Row.fetchAll(db, sql: "SELECT * FROM nodes").map { try $0.node().claimsVersion }
        }
        #expect(versions == [1])
    }

    @Test func `as many grants as may be are open, and no more`() async throws {
        let ada = try await store.makeUser("ada")
        var grants: [Grant] = []
        for _ in 0..<PermissionRule.maximumOpen { grants.append(try await give(ada)) }
        await #expect(throws: Unexpected.self) { _ = try await give(ada) }
        _ = try await store.revokeGrant(
            grants[0].id, of: ada.id, audit: AuditEvent(.grantRevoked, by: .server, user: ada.id),
            at: time(noon))
        _ = try await give(ada)
        // Those that have ended don't count.
        _ = try await give(ada, at: noon + 3600)
    }

    @Test func `a look at the whole trail is everybody's who is in it`() async throws {
        let ada = try await store.makeUser("ada")
        let bob = try await store.makeUser("bob")
        var context = AuditContext()
        context.origin = SessionOrigin(browser: nil, place: "203.0.113.0/24")
        try await AuditContext.$current.withValue(context) {
            try await store.note(AuditEvent(.signedIn, by: .server, user: ada.id), at: time(noon))
            try await store.note(AuditEvent(.signedIn, by: .server, user: ada.id), at: time(noon))
        }
        #expect(try await store.noteAuditLook(by: eve, reason: why, at: time(noon)) == 1)
        #expect(try await store.untoldLooks(of: ada.id).map(\.seen) == [.audit])
        #expect(try await store.untoldLooks(of: bob.id).isEmpty)
        #expect(try await kinds().last == .glassBroken)
    }

    @Test func `a test user is one from the beginning`() async throws {
        let ada = try await store.makeUser("ada")
        #expect(try await !store.isTestUser(ada.id))
        let id = try UserID.random(from: .system)
        let outcome = try await store.addTestUser(
            username("tess"), id: id, passwordHash: nil, takingReserved: false,
            audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
        guard case .added = outcome else { throw Unexpected("\(outcome)") }
        #expect(try await store.isTestUser(id))
        let taken = try await store.addTestUser(
            username("ada"), id: try UserID.random(from: .system), passwordHash: nil,
            takingReserved: false, audit: AuditEvent(.userCreated, by: .command), at: time(noon))
        #expect(taken == .nameTaken)
        #expect(try await !store.isTestUser(ada.id))
    }

    @Test func `an admin token's name is given once`() async throws {
        func token(_ byte: UInt8) -> AdminToken {
            AdminToken(
                name: eve, hash: [UInt8](repeating: byte, count: 32), created: time(noon))
        }
        func add(_ byte: UInt8) async throws -> Bool {
            try await store.addAdminToken(
                token(byte), audit: AuditEvent(.adminTokenMade, by: .command), at: time(noon))
        }
        func revoke() async throws -> Bool {
            try await store.revokeAdminToken(
                eve, audit: AuditEvent(.adminTokenRevoked, by: .command), at: time(noon + 1))
        }
        #expect(try await add(1))
        #expect(try await !add(2))
        try await store.useAdminToken(eve, at: time(noon + 5))
        #expect(try await store.adminTokens().map(\.lastUsed) == [time(noon + 5)])
        #expect(try await revoke())
        #expect(try await !revoke())
        #expect(try await store.adminTokens().map(\.revoked) == [time(noon + 1)])
        // Else whoever had it before would seem to have come back.
        #expect(try await !add(3))
        #expect(try await kinds() == [.adminTokenMade, .adminTokenRevoked])
    }
}
