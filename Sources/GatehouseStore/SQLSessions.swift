// Sessions in SQLite: how they begin, are used, listed and ended.

import Foundation
package import GatehouseCore

extension SQLStore {
    package func createSessions(
        _ creation: SessionCreation, audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> CreateSessionsOutcome {
        try await write(
            at: now,
            .users(creation.sessions.first?.user) { try Self.owners(of: creation.ending, $0) }
                .and(creation.clearing)
        ) { db in
            try Self.createSessions(creation, audit: audit, db, at: now)
        }
    }

    static func createSessions(
        _ creation: SessionCreation, audit: [AuditEvent], _ db: Database, at now: UnixTime
    ) throws -> CreateSessionsOutcome {
        let sessions = creation.sessions
        precondition(creation.device.map { $0.user == sessions.first?.user } ?? true)
        if let first = sessions.first {
            try db.prefetch(
                [userQuery(first.user), sealQuery]
                    + (creation.limit == nil ? [] : [roomQuery(first.user, at: now)])
                    + (first.methods.isEmpty ? [] : [activeQuery(first.user)])
                    + (creation.series.map { queries(of: $0) } ?? [])
                    + (creation.series == nil ? queries(ofEnding: creation.ending) : [])
                    + (creation.device.map { queries(of: $0, at: now) } ?? [])
                    + appendQueries(db))
            guard let user = try Self.user(first.user, db), user.state == .enabled,
                user.epoch == first.epoch,
                creation.passwordHash == nil || creation.passwordHash == user.passwordHash,
                try creation.superseding.map({ try Self.isLive($0, of: user.id, db, at: now) })
                    ?? true
            else { return .userChanged }
        }
        guard try Self.isCurrent(creation.seal, for: sessions, db) else { return .outdated }
        if let use = creation.device {
            // Sealed one after the other: the ring may have changed between them.
            guard use.seal.keyringVersion == creation.seal.keyringVersion,
                try Self.isPossible(use, db, at: now)
            else { return .outdated }
        }
        if let limit = creation.limit, let first = sessions.first {
            let room = try Self.makeRoom(
                for: first, limit: limit,
                ending: creation.ending.sessions + (creation.superseding.map { [$0] } ?? []),
                series: creation.ending.series, db, at: now)
            guard room else { return .limitReached }
        }
        for session in sessions { try Self.insert(session, db) }
        if let first = sessions.first, !first.methods.isEmpty {
            try Self.noteActive(first.user, db, at: now)
        }
        if let key = creation.clearing { try Self.clearAttempts(key, db) }
        try Self.noteSeals(
            sessions.count, by: creation.seal.key,
            until: sessions.reduce(now) { max($0, $1.absoluteDeadline) }, db, at: now)
        if let series = creation.series, let origin = sessions.first?.origin {
            try Self.insert(series, origin: origin, db, at: now)
            try Self.noteSeals(
                1, by: creation.seal.key, until: series.deadline, db, at: now)
        }
        if let use = creation.device { try Self.note(use, db, at: now) }
        for event in audit { try Self.append(event, to: db, at: now) }
        if let old = creation.superseding, let session = sessions.first {
            try Self.supersede(old, by: session, db, at: now)
        }
        try Self.end(creation.ending, audit: .sessionRevoked, db, at: now)
        return .created(position: try Self.sequence(db))
    }

    /// Whose the sessions are, as far as there are any.
    static func owners(of sessions: [SessionID], _ db: Database) throws -> [UserID] {
        try owners(of: PresentedIDs(sessions: sessions), db)
    }

    /// Whose the sessions and series are; a session whose row is gone may still be of a series.
    static func owners(of ids: PresentedIDs, _ db: Database) throws -> [UserID] {
        var queries = ids.sessions.map { session in
            Query(
                """
                SELECT user_id FROM sessions WHERE id = :id
                UNION SELECT user_id FROM series WHERE session_id = :id
                """, ["id": session.value.data])
        }
        for series in ids.series {
            let id: StatementArguments = ["id": series.value.data]
            queries.append(Query("SELECT user_id FROM series WHERE id = :id", id))
            queries.append(Query("SELECT user_id FROM sessions WHERE series_id = :id", id))
        }
        guard !queries.isEmpty else { return [] }
        try db.prefetch(queries)
        var users: Set<UserID> = []
        for query in queries {
            for row in try db.rows(query) { users.insert(UserID(try row.identifier("user_id"))) }
        }
        return Array(users)
    }

    /// Whether tokens that were sealed so may be handed out: with the ring and the revocation by time
    /// that there are.
    static func isCurrent(
        _ seal: SessionSeal, for sessions: [SessionRecord], _ db: Database
    ) throws -> Bool {
        let row = try db.row(sealQuery)
        guard let row else { throw StoreError.damaged("head") }
        let floor = try row.time("authenticated_floor")
        let version: UInt64 = try row.number("keyring_version")
        return version == seal.keyringVersion && sessions.allSatisfy { $0.authenticated >= floor }
    }

    static let sealQuery = Query(
        """
        SELECT authenticated_floor,
            coalesce((SELECT max(version) FROM keyring), 0) AS keyring_version
        FROM head
        """)

    /// What has not ended, at `:now`, but for the idle deadline: the token may know a later one.
    private static let notEnded = """
        sessions.revoked IS NULL AND sessions.absolute_deadline > :now
            AND sessions.epoch = (SELECT epoch FROM users WHERE users.id = sessions.user_id)
            AND sessions.authenticated >= (SELECT authenticated_floor FROM head)
        """

    /// What makes a session live, at `:now`.
    private static let liveSession = "sessions.idle_deadline > :now AND " + notEnded

    /// Whether a session of the user has not ended, by the store's clock.
    private static func isLive(
        _ id: SessionID, of user: UserID, _ db: Database, at now: UnixTime
    ) throws -> Bool {
        try db.row(
            sql: "SELECT 1 FROM sessions WHERE id = :id AND user_id = :user AND \(notEnded)",
            arguments: [
                "id": id.value.data, "user": user.value.data,
                "now": try latestTime(db, now).seconds,
            ]) != nil
    }

    /// Makes a place for one more sign-in of the user's; false when none is to end for it, and then
    /// nothing is written. What ends with it anyway does not count, nor does what operators issued.
    static func makeRoom(
        for session: SessionRecord, limit: SessionLimit, ending: [SessionID], series: [SeriesID],
        _ db: Database, at now: UnixTime
    ) throws -> Bool {
        let rows = try db.rows(roomQuery(session.user, at: now))
        var places: [(sessions: [SessionID], series: SeriesID?)] = []
        for row in rows {
            let id = SessionID(try row.identifier("id"))
            let ofSeries = try row.optionalIdentifier("series_id").map { SeriesID($0) }
            if ending.contains(id) { continue }
            if let ofSeries, series.contains(ofSeries) || ofSeries == session.series { continue }
            if let ofSeries, let index = places.firstIndex(where: { $0.series == ofSeries }) {
                places[index].sessions.append(id)
            } else {
                places.append(([id], ofSeries))
            }
        }
        let excess = places.count - (limit.maximum - 1)
        guard excess > 0 else { return true }
        guard limit.atLimit == .endOldest else { return false }
        _ = try end(
            places.prefix(excess).flatMap(\.sessions), audit: .sessionEndedForLimit, by: .server,
            sparingSeries: true, db, at: now)
        return true
    }

    static func roomQuery(_ user: UserID, at now: UnixTime) -> Query {
        Query(
            """
            SELECT id, series_id FROM sessions
            WHERE user_id = :user AND methods != 0 AND \(liveSession)
            ORDER BY created, id
            """, ["user": user.value.data, "now": now.seconds])
    }

    /// Ends a session whose place another takes, in its series too, as that is now. It was used for
    /// that, so that its remember cookie had arrived.
    static func supersede(
        _ old: SessionID, by session: SessionRecord, _ db: Database, at now: UnixTime
    ) throws {
        try note(session.id, inPlaceOf: old, db)
        try db.execute(
            sql: "UPDATE series SET session_id = ?, presented = 1 WHERE session_id = ?",
            arguments: [session.id.value.data, old.value.data])
        try db.execute(
            sql: """
                UPDATE sessions SET series_id = (SELECT series_id FROM sessions WHERE id = ?)
                WHERE id = ?
                """,
            arguments: [old.value.data, session.id.value.data])
        _ = try end(
            [old], audit: .sessionSuperseded, by: .server, sparingSeries: true, db, at: now)
    }

    /// Whoever ends `old` by its cookie, which a tab may still have, ends what took its place.
    private static func note(
        _ new: SessionID, inPlaceOf old: SessionID, _ db: Database
    ) throws {
        try db.execute(
            sql: "UPDATE sessions SET superseded_by = ? WHERE id = ?",
            arguments: [new.value.data, old.value.data])
    }

    static func insert(_ session: SessionRecord, _ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO sessions (id, user_id, epoch, created, authenticated, idle_deadline,
                    absolute_deadline, methods, level, remembered, revoked, series_id, browser, place)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                session.id.value.data, session.user.value.data, Int64(session.epoch),
                session.created.seconds, session.authenticated.seconds,
                session.idleDeadline.seconds, session.absoluteDeadline.seconds,
                Int64(session.methods.rawValue), Int64(session.level.rawValue),
                session.isRemembered ? 1 : 0, session.revoked?.seconds,
                session.series?.value.data, session.origin.browser, session.origin.place,
            ])
    }

    package func sessions(
        of user: UserID, limit: Int
    ) async throws(StoreError) -> [SessionRecord] {
        try await readOne { db in
            try db.rows(
                sql: """
                    SELECT * FROM sessions WHERE user_id = ? ORDER BY created DESC, id LIMIT ?
                    """,
                arguments: [user.value.data, limit]
            ).map { try $0.session() }
        }
    }

    package func session(_ id: SessionID) async throws(StoreError) -> SessionRecord? {
        try await readOne { db in try Self.session(id, db) }
    }

    static func session(_ id: SessionID, _ db: Database) throws -> SessionRecord? {
        try db.row(sessionQuery(id)).map { try $0.session() }
    }

    // MARK: Use

    package func noteActivity(
        _ uses: [(session: SessionID, used: UnixTime)], idleSeconds: Int64, at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now, .users { try Self.owners(of: uses.map(\.session), $0) }) { db in
            // In one order, so that two nodes which write of the same sessions don't wait for each other.
            let uses = uses.sorted {
                ($0.session.value.high, $0.session.value.low)
                    < ($1.session.value.high, $1.session.value.low)
            }.map { ActivityUse($0.session, used: $0.used, idleSeconds: idleSeconds) }
            // Asked for all at once: there are a hundred of them.
            try db.prefetch(uses.map(\.dueQuery))
            var due: [(use: ActivityUse, user: UserID, counts: Bool)] = []
            for use in uses {
                guard let row = try db.row(use.dueQuery) else { continue }
                due.append(
                    (use, UserID(try row.identifier("user_id")), try row.integer("looks") == 0))
            }
            try db.prefetch(Set(due.filter(\.counts).map(\.user)).map { Self.activeQuery($0) })
            for (use, user, counts) in due {
                try db.execute(sql: ActivityUse.update, arguments: use.arguments)
                try Self.notePresented(use.session, db)
                if counts { try Self.noteActive(user, db, at: use.used) }
            }
        }
    }

    /// One use of a session, as it is written.
    private struct ActivityUse {
        let session: SessionID
        let used: UnixTime
        let arguments: StatementArguments

        init(_ session: SessionID, used: UnixTime, idleSeconds: Int64) {
            self.session = session
            self.used = used
            arguments = [
                "id": session.value.data, "used": used.seconds,
                "deadline": used.advanced(bySeconds: idleSeconds).seconds,
                "step": ActivityNotes.stepSeconds(idleSeconds: idleSeconds),
            ]
        }

        /// A late note never brings back a session that has ended. The first use of a session that a
        /// remember token gave is always written: it says that the answer arrived.
        private static let isDue = """
            id = :id AND revoked IS NULL
                AND (last_used IS NULL AND series_id IS NOT NULL
                    OR coalesce(last_used, created) < :used - :step)
            """

        /// Whose it is, and how often operators were there; no row when it is not to be written.
        var dueQuery: Query {
            Query(
                """
                SELECT user_id, (SELECT count(*) FROM looks WHERE session_id = sessions.id) AS looks
                FROM sessions WHERE \(Self.isDue)
                """, arguments)
        }

        /// Conditional as well: a batch may have two uses of a session.
        static let update = """
            UPDATE sessions SET last_used = :used,
                idle_deadline = max(idle_deadline, min(:deadline, absolute_deadline))
            WHERE \(isDue)
            """
    }

    /// The generation that came with a session has arrived. Kept with the series, which outlives the
    /// session's row.
    private static func notePresented(_ session: SessionID, _ db: Database) throws {
        try db.execute(
            sql: "UPDATE series SET presented = 1 WHERE session_id = ? AND presented = 0",
            arguments: [session.value.data])
    }

    package func renewSession(
        _ renewal: SessionRenewal, at now: UnixTime
    ) async throws(StoreError) -> RenewSessionOutcome {
        try await write(at: now, .users { try Self.owners(of: [renewal.session], $0) }) { db in
            try db.prefetch(
                [Self.sessionQuery(renewal.session), Self.sealQuery, Self.latestTimeQuery])
            guard let session = try Self.session(renewal.session, db) else { return .ended }
            guard try Self.isCurrent(renewal.seal, for: [], db) else { return .outdated }
            let time = try Self.latestTime(db, now)
            // Conditional: nothing that has ended is brought back (REQUIREMENTS CK-17). The idle deadline
            // is the later of the token's and the store's.
            try db.execute(
                sql: """
                    UPDATE sessions SET last_used = max(coalesce(last_used, 0), :time),
                        idle_deadline = min(max(idle_deadline, :deadline), absolute_deadline)
                    WHERE id = :id AND revoked IS NULL AND absolute_deadline > :time
                        AND max(idle_deadline, :known) > :time
                        AND epoch = (SELECT epoch FROM users
                            WHERE users.id = sessions.user_id AND users.state = 'enabled')
                        AND authenticated >= (SELECT authenticated_floor FROM head)
                    """,
                arguments: [
                    "id": renewal.session.value.data, "time": time.seconds,
                    "known": renewal.idleDeadline.seconds,
                    "deadline": now.advanced(bySeconds: renewal.idleSeconds).seconds,
                ])
            guard try db.changesCount == 1 else { return .ended }
            try Self.notePresented(renewal.session, db)
            try Self.noteActive(renewal.session, db, at: now)
            try Self.noteSeals(
                1, by: renewal.seal.key, until: session.absoluteDeadline, db, at: now)
            return .renewed
        }
    }

    static let latestTimeQuery = Query("SELECT latest_time FROM head")

    /// The store's clock: no earlier than anything that was written.
    static func latestTime(_ db: Database, _ now: UnixTime) throws -> UnixTime {
        guard let row = try db.row(latestTimeQuery) else { throw StoreError.damaged("head") }
        return max(now, try row.time("latest_time"))
    }

    // MARK: Where a user is signed in

    package func signIns(of user: UserID, at now: UnixTime) async throws(StoreError) -> [SignIn] {
        try await read { db in
            let time = try Self.latestTime(db, now)
            // A series without a live session can still bring its browser back.
            let rows = try db.rows(
                sql: """
                    SELECT sessions.id, coalesce(series.created, sessions.created) AS created,
                        max(coalesce(last_used, 0), sessions.created) AS last_used,
                        sessions.browser, sessions.place, 
                        CASE WHEN series.id IS NULL THEN 0 ELSE 1 END AS remembered
                    FROM sessions LEFT JOIN series ON series.id = sessions.series_id
                    WHERE sessions.user_id = :user AND \(Self.liveSession)
                    UNION ALL
                    SELECT series.session_id, series.created,
                        coalesce((SELECT max(coalesce(last_used, 0), created) FROM sessions
                            WHERE id = series.session_id), series.made),
                        series.browser, series.place, 1
                    FROM series
                    WHERE series.user_id = :user AND series.deadline > :now
                        AND series.authenticated >= (SELECT authenticated_floor FROM head)
                        AND NOT EXISTS (
                        SELECT 1 FROM sessions
                        WHERE sessions.series_id = series.id AND \(Self.liveSession))
                    ORDER BY last_used DESC, 1 LIMIT :limit
                    """,
                arguments: [
                    "user": user.value.data, "now": time.seconds, "limit": SessionLimit.highest,
                ])
            return try rows.map { row in
                SignIn(
                    session: SessionID(try row.identifier("id")),
                    isRemembered: try row.integer("remembered") != 0,
                    created: try row.time("created"), lastUsed: try row.time("last_used"),
                    origin: SessionOrigin(
                        browser: try row.optionalText("browser"),
                        place: try row.optionalText("place")))
            }
        }
    }

    package func endSignIn(
        _ session: SessionID, of user: UserID, audit kind: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await write(at: now, .user(user)) { db in
            let row = try db.row(
                sql: """
                    SELECT 1 FROM sessions WHERE id = :id AND user_id = :user
                    UNION ALL SELECT 1 FROM series WHERE session_id = :id AND user_id = :user
                    """, arguments: ["id": session.value.data, "user": user.value.data])
            guard row != nil else { return .notFound }
            let ended = try Self.end([session], audit: kind, by: .server, db, at: now)
            return .revoked(position: try Self.sequence(db), sessions: ended)
        }
    }

    package func endSignIns(
        of user: UserID, except session: SessionID, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await write(at: now, .user(user)) { db in
            guard try Self.isLive(session, of: user, db, at: now),
                let kept = try Self.session(session, db)
            else { return .notFound }
            let sessions = try db.rows(
                sql: """
                    SELECT id FROM sessions
                    WHERE user_id = :user AND id != :kept AND \(Self.notEnded)
                    ORDER BY id
                    """,
                arguments: [
                    "user": user.value.data, "kept": session.value.data, "now": now.seconds,
                ])
            // The kept one's series stays, and one that has no session ends too.
            let series = try db.rows(
                sql:
                    "SELECT id FROM series WHERE user_id = ? AND id IS DISTINCT FROM ? ORDER BY id",
                arguments: [user.value.data, kept.series?.value.data])
            var ended = 0
            for row in series {
                ended += try Self.endSeries(
                    SeriesID(try row.identifier("id")), audit: .sessionRevoked, by: .server, db,
                    at: now)
            }
            ended += try Self.end(
                try sessions.map { SessionID(try $0.identifier("id")) }, audit: .sessionRevoked,
                by: .server, sparingSeries: true, db, at: now)
            return .revoked(position: try Self.sequence(db), sessions: ended)
        }
    }

    // MARK: Ending

    package func revokeSession(
        _ id: SessionID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await write(at: now, .users { try Self.owners(of: PresentedIDs(sessions: [id]), $0) }) {
            db in
            guard try Self.session(id, db) != nil || Self.series(of: id, db) != nil else {
                return .notFound
            }
            let ended = try Self.end([id], audit: audit.kind, by: audit.actor, db, at: now)
            return .revoked(position: try Self.sequence(db), sessions: ended)
        }
    }

    package func revokeSessions(
        _ ids: PresentedIDs, audit kind: AuditEvent.Kind, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await write(at: now, .users { try Self.owners(of: ids, $0) }) { db in
            let queries = Self.queries(ofEnding: ids)
            if !queries.isEmpty { try db.prefetch(queries + Self.appendQueries(db)) }
            let ended = try Self.end(ids, audit: kind, db, at: now)
            return .revoked(position: try Self.sequence(db), sessions: ended)
        }
    }

    /// Ends all that a browser presented.
    @discardableResult
    private static func end(
        _ presented: PresentedIDs, audit kind: AuditEvent.Kind, _ db: Database, at now: UnixTime
    ) throws -> Int {
        var ended = 0
        for series in presented.series {
            ended += try endSeries(series, audit: kind, by: .server, db, at: now)
        }
        return ended + (try end(presented.sessions, audit: kind, by: .server, db, at: now))
    }

    /// Ends each of `ids` that there is and that has not ended, with its series and what came of that;
    /// says how many those were.
    static func end(
        _ ids: [SessionID], audit kind: AuditEvent.Kind, by actor: AuditEvent.Actor,
        sparingSeries: Bool = false, _ db: Database, at now: UnixTime
    ) throws -> Int {
        var ended = 0
        for id in ids {
            var session = try session(id, db)
            let before = ended
            if !sparingSeries, let series = try session?.series ?? Self.series(of: id, db) {
                ended += try endSeries(series, audit: kind, by: actor, db, at: now)
            }
            if !sparingSeries, let next = try successor(of: id, db) {
                ended += try end([next], audit: kind, by: actor, db, at: now)
            }
            if ended > before { session = try Self.session(id, db) }
            guard let session, session.revoked == nil else { continue }
            try revoke(session, audit: kind, by: actor, db, at: now)
            ended += 1
        }
        return ended
    }

    /// What ``end(_:audit:_:at:)`` asks of a browser that presents one session and no series: nothing that is
    /// done before changes that, unless a new series takes an old one's place.
    private static func queries(ofEnding presented: PresentedIDs) -> [Query] {
        guard presented.series.isEmpty, presented.sessions.count == 1 else { return [] }
        return presented.sessions.flatMap {
            [sessionQuery($0), seriesQuery($0), successorQuery($0)]
        }
    }

    static func sessionQuery(_ id: SessionID) -> Query {
        Query("SELECT * FROM sessions WHERE id = ?", [id.value.data])
    }

    private static func seriesQuery(_ id: SessionID) -> Query {
        Query("SELECT id FROM series WHERE session_id = ?", [id.value.data])
    }

    private static func successorQuery(_ id: SessionID) -> Query {
        Query("SELECT superseded_by FROM sessions WHERE id = ?", [id.value.data])
    }

    private static func successor(of id: SessionID, _ db: Database) throws -> SessionID? {
        try db.row(successorQuery(id))?.optionalIdentifier("superseded_by").map { SessionID($0) }
    }

    /// The series whose current session is `id`, whose own row may be gone.
    private static func series(of id: SessionID, _ db: Database) throws -> SeriesID? {
        try db.row(seriesQuery(id)).map { SeriesID(try $0.identifier("id")) }
    }

    /// Conditional: ends a session once, and can never bring it back (REQUIREMENTS CK-17).
    static func revoke(
        _ session: SessionRecord, audit kind: AuditEvent.Kind, by actor: AuditEvent.Actor,
        _ db: Database, at now: UnixTime
    ) throws {
        try db.execute(
            sql: "UPDATE sessions SET revoked = ? WHERE id = ? AND revoked IS NULL",
            arguments: [now.seconds, session.id.value.data])
        try append(
            AuditEvent(kind, by: actor, user: session.user, session: session.id), to: db, at: now)
        _ = try appendFeed(
            db, kind: .session, subject: session.id.value, value: 0,
            deadline: session.absoluteDeadline, at: now)
    }

    // MARK: A new password

    package func changePassword(
        _ change: PasswordChange, at now: UnixTime
    ) async throws(StoreError) -> CreateSessionsOutcome {
        try await write(
            at: now, .user(change.session.user).and(change.clearing)
        ) { db in
            let session = change.session
            guard let user = try Self.user(session.user, db), user.state == .enabled,
                user.passwordHash == change.oldHash, session.epoch > 0,
                user.epoch == session.epoch - 1,
                try Self.isLive(change.superseding, of: user.id, db, at: now)
            else { return .userChanged }
            guard try Self.isCurrent(change.seal, for: [session], db) else { return .outdated }
            try db.execute(
                sql: "UPDATE users SET password_hash = ? WHERE id = ?",
                arguments: [change.newHash, user.id.value.data])
            try Self.useUpLinks(of: user.id, db, at: now)
            try Self.endDevices(of: user.id, db)
            try Self.clearAttempts(change.clearing, db)
            try Self.append(
                AuditEvent(.passwordChanged, by: .server, user: user.id, session: session.id),
                to: db, at: now)
            let position = try Self.raiseEpoch(of: user, db, at: now)
            try Self.insert(session, db)
            try Self.note(session.id, inPlaceOf: change.superseding, db)
            try Self.noteSeals(1, by: change.seal.key, until: session.absoluteDeadline, db, at: now)
            return .created(position: position)
        }
    }

    // MARK: Ending by user and by time

    package func revokeSessions(
        of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await write(at: now, .user(user)) { db in
            guard let user = try Self.user(user, db) else { return .notFound }
            let ended = try Self.countLive(of: user, db, at: now)
            try Self.append(audit, to: db, at: now)
            let position = try Self.raiseEpoch(of: user, db, at: now)
            return .revoked(position: position, sessions: ended)
        }
    }

    package func revokeSessions(
        authenticatedBefore time: UnixTime, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> UInt64 {
        try await write(at: now) { db in
            // Series that are older are dead by it, and go when their time has passed.
            try db.execute(
                sql: "UPDATE head SET authenticated_floor = max(authenticated_floor, ?)",
                arguments: [time.seconds])
            try Self.append(audit, to: db, at: now)
            // The last of them is looked for nowhere: to read all sessions would hold up every other
            // write. None lives longer.
            return try Self.appendFeed(
                db, kind: .authenticatedBefore, subject: nil, value: time.seconds,
                deadline: now.advanced(bySeconds: SessionLimits.maximumSeconds), at: now)
        }
    }

    static func countLive(
        of user: User, _ db: Database, at now: UnixTime
    ) throws -> Int {
        let row = try db.row(
            sql: """
                SELECT count(*) AS live FROM sessions
                WHERE user_id = :user AND epoch = :epoch AND revoked IS NULL
                    AND idle_deadline > :now
                    AND epoch = (SELECT epoch FROM users WHERE users.id = sessions.user_id)
                    AND authenticated >= (SELECT authenticated_floor FROM head)
                """,
            arguments: [
                "user": user.id.value.data, "epoch": Int64(user.epoch), "now": now.seconds,
            ])
        return try row?.number("live") ?? 0
    }

    package func authenticatedFloor() async throws(StoreError) -> UnixTime {
        try await readOne { try Self.authenticatedFloor($0) }
    }

    static let floorQuery = Query("SELECT authenticated_floor FROM head")

    static func authenticatedFloor(_ db: Database) throws -> UnixTime {
        guard let row = try db.row(floorQuery) else { throw StoreError.damaged("head") }
        return try row.time("authenticated_floor")
    }
}
