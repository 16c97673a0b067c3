// Grants, looks, acting sessions and admin tokens in SQLite.

import Foundation
package import GatehouseCore
package import GatehousePeople

extension SQLStore {
    // MARK: Grants

    package func giveGrant(
        _ grant: Grant, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> GiveGrantOutcome {
        try await write(at: now, .user(grant.user)) { db in
            guard try Self.user(grant.user, db)?.state == .enabled else { return .userChanged }
            let open =
                try db.integer(
                    sql: """
                        SELECT count(*) FROM grants
                        WHERE user_id = ? AND revoked IS NULL AND ends > ?
                        """,
                    arguments: [grant.user.value.data, now.seconds]) ?? 0
            guard open < PermissionRule.maximumOpen else { return .tooMany }
            try Self.dropGrants(of: grant.user, db, at: now)
            try db.execute(
                sql: """
                    INSERT INTO grants (id, user_id, reason, scope, operator, given, ends)
                    VALUES (?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    grant.id.value.data, grant.user.value.data, grant.reason.text,
                    grant.scope.rawValue, grant.onlyFor?.text, grant.given.seconds,
                    grant.ends.seconds,
                ])
            try Self.append(audit, to: db, at: now)
            return .given
        }
    }

    /// Makes room for one more: those that nobody used go first, then the eldest.
    private static func dropGrants(of user: UserID, _ db: Database, at now: UnixTime) throws {
        try db.execute(
            sql: """
                DELETE FROM grants WHERE id IN (
                    SELECT id FROM grants
                    WHERE user_id = :user AND (revoked IS NOT NULL OR ends <= :now)
                    ORDER BY EXISTS (SELECT 1 FROM looks WHERE grant_id = grants.id), given, id
                    LIMIT max(0, (SELECT count(*) FROM grants WHERE user_id = :user) + 1 - :most))
                """,
            arguments: [
                "user": user.value.data, "now": now.seconds, "most": PermissionRule.maximumKept,
            ])
    }

    package func revokeGrant(
        _ id: GrantID, of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await write(at: now, .user(user)) { db in
            try db.execute(
                sql: """
                    UPDATE grants SET revoked = ?
                    WHERE id = ? AND user_id = ? AND revoked IS NULL
                    """,
                arguments: [now.seconds, id.value.data, user.value.data])
            guard try db.changesCount == 1 else { return .notFound }
            try Self.append(audit, to: db, at: now)
            let sessions = try db.rows(
                sql: """
                    SELECT session_id FROM looks WHERE grant_id = ? AND session_id IS NOT NULL
                    ORDER BY id
                    """,
                arguments: [id.value.data]
            ).map { SessionID(try $0.identifier("session_id")) }
            let ended = try Self.end(
                sessions, audit: .sessionRevoked, by: audit.actor, db, at: now)
            return .revoked(position: try Self.sequence(db), sessions: ended)
        }
    }

    package func grant(_ id: GrantID) async throws(StoreError) -> Grant? {
        try await readOne { db in try Self.grant(id, db) }
    }

    private static func grant(_ id: GrantID, _ db: Database) throws -> Grant? {
        try db.row(
            sql: "SELECT * FROM grants WHERE id = ?", arguments: [id.value.data]
        ).map { try $0.grant() }
    }

    package func grants(
        of user: UserID, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> [Grant] {
        try await readOne { db in
            try db.rows(
                sql: """
                    SELECT * FROM grants WHERE user_id = ?
                    ORDER BY (revoked IS NULL AND ends > ?) DESC, given DESC, id LIMIT ?
                    """,
                arguments: [user.value.data, now.seconds, limit]
            ).map { try $0.grant() }
        }
    }

    // MARK: Looks

    package func note(
        _ look: Look, audit actor: AuditEvent.Actor, at now: UnixTime
    ) async throws(StoreError) -> LookOutcome {
        try await write(at: now, .user(look.user)) { db in
            if let refusal = try Self.refusal(of: look, db, at: now) { return .refused(refusal) }
            try Self.insert(look, by: actor, db, at: now)
            return .noted
        }
    }

    private static func refusal(
        of look: Look, _ db: Database, at now: UnixTime
    ) throws -> LookRefusal? {
        guard case .grant(let id) = look.permission else { return nil }
        guard let grant = try grant(id, db) else { return .noGrant }
        // By the store's clock: one that is behind gives nobody more time.
        return grant.refusal(
            of: look.seen == .session ? .act : .see, on: look.user, by: look.by,
            at: try latestTime(db, now))
    }

    private static func insert(
        _ look: Look, field: String? = nil, by actor: AuditEvent.Actor, _ db: Database,
        at now: UnixTime
    ) throws {
        var grant: GrantID?
        var reason: LookReason?
        switch look.permission {
        case .grant(let id): grant = id
        case .brokenGlass(let why): reason = why
        }
        try dropLooks(of: look.user, db, at: now)
        try db.execute(
            sql: """
                INSERT INTO looks
                    (user_id, time, operator, grant_id, reason, seen, session_id, told)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                look.user.value.data, look.time.seconds, look.by.text, grant?.value.data,
                reason?.text, look.seen.rawValue, look.session?.value.data, look.seen == .found,
            ])
        // A link has its own entry.
        guard look.seen != .recovery else { return }
        let detail =
            "by=\(look.by.text) seen=\(look.seen.rawValue)"
            + (grant.map { " grant=\($0.digest)" } ?? "") + (field.map { " found_by=\($0)" } ?? "")
        let isPermitted = grant != nil || look.seen == .found
        try append(
            AuditEvent(
                isPermitted ? .personSeen : .glassBroken, by: actor, user: look.user,
                session: look.session, detail: detail), to: db, at: now)
    }

    /// Makes room for one more: the eldest go that the user was told of, and none of the last year.
    private static func dropLooks(of user: UserID, _ db: Database, at now: UnixTime) throws {
        try db.execute(
            sql: """
                DELETE FROM looks WHERE id IN (
                    SELECT id FROM looks
                    WHERE user_id = :user AND time < :since AND (grant_id IS NOT NULL OR told = 1)
                    ORDER BY id
                    LIMIT max(0, (SELECT count(*) FROM looks WHERE user_id = :user) + 1 - :most))
                """,
            arguments: [
                "user": user.value.data, "most": PermissionRule.maximumKeptLooks,
                "since": now.seconds - PermissionRule.looksKeptSeconds,
            ])
    }

    package func noteFound(
        _ users: [UserID], by operatorName: OperatorName, reason: LookReason, field: String,
        at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now, .users { _ in users }) { db in
            for user in users {
                try Self.insert(
                    Look(
                        user: user, time: now, by: operatorName, permission: .brokenGlass(reason),
                        seen: .found), field: field, by: .command, db, at: now)
            }
        }
    }

    package func addRecovery(
        _ link: Link, look: Look?, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now, link.scope) { db in
            try Self.addLink(link, audit: audit, db, at: now)
            if let look { try Self.insert(look, by: .command, db, at: now) }
        }
    }

    package func noteAuditLook(
        by operatorName: OperatorName, reason: LookReason, at now: UnixTime
    ) async throws(StoreError) -> Int {
        // Somebody who is removed while the trail is read would have a look afterwards.
        try await write(at: now, .noDeletion) { db in
            try db.execute(
                sql: """
                    INSERT INTO looks (user_id, time, operator, reason, seen)
                    SELECT DISTINCT audit.user_id, :now, :operator, :reason, 'audit'
                    FROM audit JOIN audit_personal USING (sequence)
                        JOIN users ON users.id = audit.user_id
                    WHERE users.test = 0
                    """,
                arguments: [
                    "now": now.seconds, "operator": operatorName.text, "reason": reason.text,
                ])
            let count = try db.changesCount
            try Self.append(
                AuditEvent(
                    .glassBroken, by: .command,
                    detail: "by=\(operatorName.text) seen=audit people=\(count)"), to: db, at: now)
            return count
        }
    }

    package func looks(of user: UserID, limit: Int) async throws(StoreError) -> [Look] {
        try await readOne { db in
            try db.rows(
                sql: """
                    SELECT * FROM (
                        SELECT * FROM looks WHERE user_id = ?
                        ORDER BY (grant_id IS NULL AND told = 0) DESC,
                            (seen = 'session' OR grant_id IS NULL AND seen <> 'found') DESC, id DESC
                        LIMIT ?) AS kept
                    ORDER BY id DESC
                    """,
                arguments: [user.value.data, limit]
            ).map { try $0.look() }
        }
    }

    package func keepsLooks(of user: UserID, at now: UnixTime) async throws(StoreError) -> Bool {
        try await readOne { db in try Self.keepsLooks(of: user, db, at: now) }
    }

    private static func keepsLooks(
        of user: UserID, _ db: Database, at now: UnixTime
    ) throws -> Bool {
        try db.row(
            sql: "SELECT 1 FROM looks WHERE user_id = ? AND seen = 'recovery' AND time > ? LIMIT 1",
            arguments: [
                user.value.data, now.seconds - PermissionRule.recoveryToldSeconds,
            ]) != nil
    }

    /// What one page shows; the rest comes when these were put away.
    static let maximumUntold = 100

    package func untoldLooks(of user: UserID) async throws(StoreError) -> [Look] {
        try await readOne { db in
            // The eldest: putting away goes up to the last one that was shown.
            try db.rows(
                sql: """
                    SELECT * FROM looks WHERE user_id = ? AND grant_id IS NULL AND told = 0
                    ORDER BY id LIMIT ?
                    """,
                arguments: [user.value.data, Self.maximumUntold]
            ).reversed().map { try $0.look() }
        }
    }

    package func putAwayLooks(
        of user: UserID, upTo last: Int64, at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now, .user(user)) { db in
            guard try !Self.keepsLooks(of: user, db, at: now) else { return }
            try db.execute(
                sql: "UPDATE looks SET told = 1 WHERE user_id = ? AND id <= ? AND told = 0",
                arguments: [user.value.data, last])
        }
    }

    // MARK: Acting

    package func beginActing(
        _ creation: SessionCreation, look: Look, at now: UnixTime
    ) async throws(StoreError) -> ActingOutcome {
        try await write(at: now, .user(look.user)) { [presence] db in
            guard creation.sessions.count == 1, let session = creation.sessions.first,
                session.id == look.session, session.user == look.user, look.seen == .session,
                session.level == .remembered, session.methods.isEmpty, creation.series == nil
            else { throw StoreError.damaged("no session that somebody acts in") }
            if let refusal = try Self.refusal(of: look, db, at: now) { return .refused(refusal) }
            if case .grant(let id) = look.permission,
                let grant = try Self.grant(id, db), session.absoluteDeadline > grant.ends
            {
                return .refused(.expired)
            }
            let older = try Self.liveNodes(db, presence, at: now)
                .filter { $0.claimsVersion < Claims.actingVersion }
            guard older.isEmpty else { return .olderNodes(older.map(\.id)) }
            let created = AuditEvent(
                .sessionCreated, by: .command, user: session.user, session: session.id,
                detail: "actor=\(look.by.text)")
            switch try Self.createSessions(creation, audit: [created], db, at: now) {
            case .created(let position):
                try Self.insert(look, by: .command, db, at: now)
                return .created(position: position)
            case .outdated: return .outdated
            // It has no limit.
            case .userChanged, .limitReached: return .userChanged
            }
        }
    }

    package func acting(in session: SessionID) async throws(StoreError) -> Acting? {
        try await read { db in
            guard
                let row = try db.row(
                    sql: "SELECT * FROM looks WHERE session_id = ?",
                    arguments: [session.value.data])
            else { return nil }
            let look = try row.look()
            switch look.permission {
            case .brokenGlass(let reason):
                return Acting(by: look.by, reason: reason, permission: look.permission)
            case .grant(let id):
                guard let grant = try Self.grant(id, db) else { return nil }
                return Acting(by: look.by, reason: grant.reason, permission: look.permission)
            }
        }
    }

    package func actors(
        of user: UserID
    ) async throws(StoreError) -> [SessionID: OperatorName] {
        try await readOne { db in
            let looks = try db.rows(
                sql: """
                    SELECT looks.* FROM looks JOIN sessions ON sessions.id = looks.session_id
                    WHERE looks.user_id = ? AND sessions.revoked IS NULL
                    """,
                arguments: [user.value.data]
            ).map { try $0.look() }
            return Dictionary(
                looks.compactMap { look in look.session.map { ($0, look.by) } },
                uniquingKeysWith: { first, _ in first })
        }
    }

    package func unpermittedActing(
        at now: UnixTime
    ) async throws(StoreError) -> [SessionID] {
        try await read { db in
            try db.allow(Database.wholeTable)
            return try db.rows(
                sql: """
                    SELECT sessions.id FROM looks
                    JOIN sessions ON sessions.id = looks.session_id
                    JOIN users ON users.id = sessions.user_id
                    LEFT JOIN grants ON grants.id = looks.grant_id
                    WHERE looks.grant_id IS NOT NULL AND sessions.revoked IS NULL
                        AND sessions.absolute_deadline > :now AND sessions.epoch >= users.epoch
                        AND (grants.id IS NULL OR grants.revoked IS NOT NULL OR grants.ends <= :now)
                    ORDER BY sessions.id
                    """,
                arguments: ["now": now.seconds]
            ).map { SessionID(try $0.identifier("id")) }
        }
    }

    // MARK: Test users

    package func addTestUser(
        _ username: Username, id: UserID, passwordHash: String?, takingReserved: Bool,
        audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddUserOutcome {
        try await write(at: now, .user(id)) { db in
            let outcome = try Self.addUser(
                username, id: id, passwordHash: passwordHash, takingReserved: takingReserved,
                audit: audit, db, at: now)
            guard case .added = outcome else { return outcome }
            try db.execute(
                sql: "UPDATE users SET test = 1 WHERE id = ?", arguments: [id.value.data])
            return outcome
        }
    }

    package func isTestUser(_ id: UserID) async throws(StoreError) -> Bool {
        try await readOne { db in
            try db.row(
                sql: "SELECT 1 FROM users WHERE id = ? AND test = 1",
                arguments: [id.value.data]) != nil
        }
    }

    // MARK: Admin tokens

    package func addAdminToken(
        _ token: AdminToken, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> Bool {
        try await write(at: now) { db in
            let known = try db.rows(sql: "SELECT * FROM admin_tokens")
                .map { try $0.adminToken() }
            guard !known.contains(where: { $0.name == token.name }),
                known.count < AdminToken.maximumCount
            else { return false }
            try db.execute(
                sql: "INSERT INTO admin_tokens (name, hash, created) VALUES (?, ?, ?)",
                arguments: [token.name.text, Data(token.hash), token.created.seconds])
            try Self.append(audit, to: db, at: now)
            return true
        }
    }

    package func adminTokens() async throws(StoreError) -> [AdminToken] {
        try await readOne { db in
            try db.rows(sql: "SELECT * FROM admin_tokens ORDER BY name")
                .map { try $0.adminToken() }
        }
    }

    package func revokeAdminToken(
        _ name: OperatorName, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> Bool {
        try await write(at: now, .rows) { db in
            try db.execute(
                sql: "UPDATE admin_tokens SET revoked = ? WHERE name = ? AND revoked IS NULL",
                arguments: [now.seconds, name.text])
            guard try db.changesCount == 1 else { return false }
            try Self.append(audit, to: db, at: now)
            return true
        }
    }

    /// How often the use of a token is written, in seconds.
    static let adminUseStepSeconds: Int64 = 3600

    package func useAdminToken(
        _ name: OperatorName, at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now, .rows) { db in
            try db.execute(
                sql: """
                    UPDATE admin_tokens SET last_used = :now
                    WHERE name = :name AND coalesce(last_used, 0) < :now - :step
                    """,
                arguments: [
                    "now": now.seconds, "name": name.text, "step": Self.adminUseStepSeconds,
                ])
        }
    }
}

extension Row {
    fileprivate func operatorName(_ column: String) throws(StoreError) -> OperatorName {
        guard let name = OperatorName(try text(column)) else { throw .damaged(column) }
        return name
    }

    fileprivate func reason() throws(StoreError) -> LookReason {
        guard let reason = LookReason(try text("reason")) else { throw .damaged("reason") }
        return reason
    }

    fileprivate func grant() throws(StoreError) -> Grant {
        guard let scope = Grant.Scope(rawValue: try text("scope")) else { throw .damaged("scope") }
        return Grant(
            id: GrantID(try identifier("id")), user: UserID(try identifier("user_id")),
            reason: try reason(), scope: scope,
            onlyFor: try optionalText("operator") == nil ? nil : try operatorName("operator"),
            given: try time("given"), ends: try time("ends"), revoked: try optionalTime("revoked"))
    }

    fileprivate func look() throws(StoreError) -> Look {
        guard let seen = Look.Seen(rawValue: try text("seen")) else { throw .damaged("seen") }
        let permission: Permission
        if let grant = try optionalIdentifier("grant_id") {
            permission = .grant(GrantID(grant))
        } else {
            permission = .brokenGlass(try reason())
        }
        return Look(
            id: try integer("id"), user: UserID(try identifier("user_id")), time: try time("time"),
            by: try operatorName("operator"),
            permission: permission, seen: seen,
            session: try optionalIdentifier("session_id").map { SessionID($0) })
    }

    fileprivate func adminToken() throws(StoreError) -> AdminToken {
        AdminToken(
            name: try operatorName("name"), hash: try bytes("hash"), created: try time("created"),
            lastUsed: try optionalTime("last_used"), revoked: try optionalTime("revoked"))
    }
}
