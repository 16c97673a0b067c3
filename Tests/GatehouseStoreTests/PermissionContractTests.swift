// What the store does with grants, looks, acting sessions and admin tokens.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite struct PermissionContractTests {
    private let directory = TemporaryDirectory()
    private let store: SQLStore
    private let eve: OperatorName
    private let why: LookReason

    init() throws {
        store = try Backend.inForce.open(directory)
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
        let later = noon + 66 + Backend.inForce.clockMargin
        let (outcome, _) = try await act(ada, .grant(grant.id), until: noon + 3600, at: later)
        guard case .created = outcome else { throw Unexpected("\(outcome)") }
    }

    @Test func `a column that nodes of earlier releases don't know says version 1`() async throws {
        let schema = Int64(store.driver.schemaVersion)
        try await store.change(
            """
            INSERT INTO nodes
                (id, started, heartbeat, lease_seconds, position, keyring_version, schema_version)
            VALUES (?, 0, \(noon), 60, 0, 0, ?)
            """, arguments: [Data(repeating: 7, count: 16), schema])
        let versions = try await store.read { db in
            try db.rows(sql: "SELECT * FROM nodes").map { try $0.node().claimsVersion }
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

    @Test func `what is open is never pushed out of the list`() async throws {
        let ada = try await store.makeUser("ada")
        let open = try await give(ada, seconds: 86_400)
        for number in 1...6 {
            let grant = try await give(ada, at: noon + Int64(number))
            _ = try await store.revokeGrant(
                grant.id, of: ada.id, audit: AuditEvent(.grantRevoked, by: .server, user: ada.id),
                at: time(noon + Int64(number)))
        }
        let listed = try await store.grants(of: ada.id, limit: 3, at: time(noon + 10))
        #expect(listed.map(\.id).first == open.id)
        #expect(listed.map(\.given) == [time(noon), time(noon + 6), time(noon + 5)])
        let later = try await store.grants(of: ada.id, limit: 3, at: time(noon + 86_400))
        #expect(!later.map(\.id).contains(open.id), "it has ended")
    }

    @Test func `a look without permission is never pushed out of the list`() async throws {
        let ada = try await store.makeUser("ada")
        let grant = try await give(ada)
        #expect(try await look(ada, .brokenGlass(why), seen: .audit) == .noted)
        _ = try await act(ada, .grant(grant.id), until: noon + 3600)
        for _ in 0..<5 { #expect(try await look(ada, .grant(grant.id)) == .noted) }
        #expect(
            try await store.looks(of: ada.id, limit: 3).map(\.seen)
                == [.account, .session, .audit])
        try await store.putAwayLooks(of: ada.id, upTo: .max, at: time(noon))
        #expect(
            try await store.looks(of: ada.id, limit: 3).map(\.seen)
                == [.account, .session, .audit])
    }

    /// Rows as they come of many grants, all of which have ended at noon.
    private func fill(_ user: User, grants count: Int) async throws {
        try await store.write(at: time(noon)) { db in
            for number in 1...count {
                try db.execute(
                    sql: """
                        INSERT INTO grants (id, user_id, reason, scope, given, ends)
                        VALUES (?, ?, 'x', 'see', ?, ?)
                        """,
                    arguments: [
                        Identifier(high: 1, low: UInt64(number)).data, user.id.value.data, number,
                        number + 60,
                    ])
            }
        }
    }

    private func count(_ sql: String) async throws -> Int? {
        try await store.read { db in try db.integer(sql: sql).map { Int($0) } }
    }

    @Test func `grants that have ended make room, unused ones first`() async throws {
        let ada = try await store.makeUser("ada")
        let used = try await give(ada, seconds: 1)
        #expect(try await look(ada, .grant(used.id)) == .noted)
        try await fill(ada, grants: PermissionRule.maximumKept - 2)
        let open = try await give(ada, at: noon + 1)
        #expect(
            try await count("SELECT count(*) FROM grants") == PermissionRule.maximumKept,
            "as many as may be: none goes")
        _ = try await give(ada, at: noon + 1)
        #expect(try await count("SELECT count(*) FROM grants") == PermissionRule.maximumKept)
        #expect(try await count("SELECT min(given) FROM grants WHERE reason = 'x'") == 2)
        #expect(try await store.grant(used.id) != nil)
        #expect(try await store.grant(open.id) != nil)
    }

    @Test func `looks are bounded, but for untold ones and those of a year`() async throws {
        let ada = try await store.makeUser("ada")
        let year = PermissionRule.looksKeptSeconds
        func fill(_ told: Int, _ seconds: Int64, _ count: Int) async throws {
            try await store.write(at: time(noon)) { db in
                try db.execute(
                    sql: """
                        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
                        INSERT INTO looks (user_id, time, operator, reason, seen, told)
                        SELECT ?, ?, 'eve', 'x', 'account', ? FROM n
                        """, arguments: [count, ada.id.value.data, seconds, told])
            }
        }
        // One that was never told, one of a year ago, and one that is a second older.
        try await fill(0, 0, 1)
        try await fill(1, noon - year, PermissionRule.maximumKeptLooks - 3)
        try await fill(1, noon - year - 1, 1)
        #expect(try await look(ada, .brokenGlass(why)) == .noted)
        #expect(
            try await count("SELECT count(*) FROM looks") == PermissionRule.maximumKeptLooks,
            "as many as may be: none goes")
        for more in [0, 1] {
            #expect(try await look(ada, .brokenGlass(why)) == .noted)
            #expect(
                try await count("SELECT count(*) FROM looks")
                    == PermissionRule.maximumKeptLooks + more)
        }
        #expect(try await count("SELECT count(*) FROM looks WHERE time = 0") == 1)
    }

    @Test
    func `the table takes no look but by a grant or with a reason, in a session if it says so`()
        async throws
    {
        let ada = try await store.makeUser("ada")
        let id = Data(repeating: 7, count: 16)
        func refuses(
            _ seen: Look.Seen, grant: Data?, reason: String?, session: Data?
        ) async throws -> Bool {
            try await store.refuses(
                """
                INSERT INTO looks (user_id, time, operator, grant_id, reason, seen, session_id)
                VALUES (?, 1, 'eve', ?, ?, ?, ?)
                """, [ada.id.value.data, grant, reason, seen.rawValue, session])
        }
        #expect(try await !refuses(.account, grant: nil, reason: "x", session: nil))
        #expect(try await !refuses(.session, grant: id, reason: nil, session: id))
        #expect(try await refuses(.account, grant: nil, reason: nil, session: nil))
        #expect(try await refuses(.account, grant: id, reason: "x", session: nil))
        #expect(try await refuses(.session, grant: id, reason: nil, session: nil))
        #expect(try await refuses(.account, grant: id, reason: nil, session: id))
    }

    @Test func `whom a search found can see it, and is not warned`() async throws {
        let ada = try await store.makeUser("ada")
        try await store.noteFound([ada.id], by: eve, reason: why, field: "email", at: time(noon))
        let looks = try await store.looks(of: ada.id, limit: 10)
        #expect(looks.map(\.seen) == [.found])
        #expect(looks.first?.brokenGlassReason == why)
        #expect(try await store.untoldLooks(of: ada.id).isEmpty)
        let entry = try #require(try await store.audit(after: 0, limit: 1000).last)
        #expect(entry.event.kind == .personSeen)
        #expect(entry.event.detail == "by=eve seen=found found_by=email")
    }

    @Test func `a recovery link and what tells of it are stored together`() async throws {
        let ada = try await store.makeUser("ada")
        let hash = try #require(
            LinkHash(secret: [UInt8](repeating: 7, count: Link.secretBytes)))
        try await store.addRecovery(
            Link(hash: hash, purpose: .recovery(ada.id), expires: time(noon + 900)),
            look: Look(
                user: ada.id, time: time(noon), by: eve, permission: .brokenGlass(why),
                seen: .recovery),
            audit: AuditEvent(.userRecoveryIssued, by: .command, user: ada.id), at: time(noon))
        #expect(try await store.link(hash, at: time(noon)) != nil)
        #expect(try await store.untoldLooks(of: ada.id).map(\.seen) == [.recovery])
        #expect(try await kinds().last == .userRecoveryIssued, "one entry")
        let bob = try await store.makeUser("bob")
        #expect(try await !store.keepsLooks(of: bob.id, at: time(noon)), "nobody else's")
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
