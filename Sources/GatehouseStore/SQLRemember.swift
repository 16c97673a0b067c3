// "Remember me" in SQLite: one row for each series, removed when it ends.

import Foundation
package import GatehouseCore

extension SQLStore {
    /// What is asked before a series is inserted.
    static func queries(of series: RememberSeries) -> [Query] {
        [excessQuery(series.user), latestTimeQuery]
    }

    /// The series for which there is no place beside one more.
    private static func excessQuery(_ user: UserID) -> Query {
        Query(
            """
            SELECT id FROM series WHERE user_id = ?
            ORDER BY created DESC, id LIMIT ? OFFSET ?
            """,
            [
                user.value.data, RememberLimits.maximumPerUser, RememberLimits.maximumPerUser - 1,
            ])
    }

    static func insert(
        _ series: RememberSeries, origin: SessionOrigin, _ db: Database, at now: UnixTime
    ) throws {
        for row in try db.rows(excessQuery(series.user)) {
            _ = try endSeries(
                SeriesID(try row.identifier("id")), audit: .rememberEnded, by: .server, db, at: now)
        }
        try db.execute(
            sql: """
                INSERT INTO series (id, user_id, epoch, created, authenticated, methods, deadline,
                    generation, made, presented, session_id, browser, place)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)
                """,
            arguments: [
                series.id.value.data, series.user.value.data, Int64(series.epoch), now.seconds,
                series.authenticated.seconds, Int64(series.methods.rawValue),
                series.deadline.seconds, Int64(series.state.generation),
                try latestTime(db, now).seconds, series.session.value.data, origin.browser,
                origin.place,
            ])
        try append(
            AuditEvent(
                .rememberCreated, by: .server, user: series.user, session: series.session,
                series: series.id), to: db, at: now)
    }

    package func remembered(
        _ id: SeriesID, at now: UnixTime
    ) async throws(StoreError) -> RememberView? {
        // What is done with it holds only if it is still so (``presentSeries(_:at:)``).
        try await readOne { db in
            try db.prefetch(Self.rememberedQueries(id).all)
            return try Self.remembered(id, db, at: now)
        }
    }

    private struct RememberedQueries {
        let series: Query
        let session: Query
        let user: Query
        var all: [Query] { [SQLStore.latestTimeQuery, series, session, user] }
    }

    private static func rememberedQueries(_ id: SeriesID) -> RememberedQueries {
        let id: StatementArguments = ["id": id.value.data]
        return RememberedQueries(
            series: Query(
                """
                SELECT * FROM series WHERE id = :id
                    AND epoch = (SELECT epoch FROM users
                        WHERE users.id = series.user_id AND users.state = 'enabled')
                    AND authenticated >= (SELECT authenticated_floor FROM head)
                """, id),
            session: Query(
                "SELECT * FROM sessions WHERE id = (SELECT session_id FROM series WHERE id = :id)",
                id),
            user: Query(
                userColumns + """
                     WHERE users.id = (SELECT user_id FROM series WHERE id = :id)
                        AND names.state = 'live'
                    """, id))
    }

    private static func remembered(
        _ id: SeriesID, _ db: Database, at now: UnixTime
    ) throws -> RememberView? {
        let queries = rememberedQueries(id)
        let time = try latestTime(db, now)
        guard let series = try db.row(queries.series)?.series(), series.deadline > time else {
            return nil
        }
        let last = try db.row(queries.session).map { try $0.session() }
        guard let user = try db.row(queries.user).map({ try $0.user() }) else { return nil }
        let isLive =
            last.map { last in
                // Where each is read by itself it may be another's, which the compare and set finds out.
                last.id == series.session && last.revoked == nil && time < last.idleDeadline
                    && time < last.absoluteDeadline
            } ?? false
        return RememberView(
            series: series, session: isLive ? last : nil, username: user.username, time: time)
    }

    package func presentSeries(
        _ presentation: RememberPresentation, at now: UnixTime
    ) async throws(StoreError) -> PresentSeriesOutcome {
        let series = presentation.expected.series
        return try await write(at: now, .user(series.user)) { db in
            try db.prefetch(Self.queries(of: presentation, db, at: now))
            // Compare and set: whoever was faster has changed what the rule says.
            guard let current = try Self.remembered(series.id, db, at: now),
                current.series == series,
                current.session?.id == presentation.expected.session?.id
            else { return .changed }
            switch presentation.action {
            case .advance(let generation, let session, let seal, let limit):
                guard try Self.isCurrent(seal, for: [session], db) else { return .outdated }
                if let limit {
                    let room = try Self.makeRoom(
                        for: session, limit: limit, ending: [], series: [], db, at: now)
                    guard room else { return .limitReached }
                }
                try Self.advance(
                    series, to: generation, presenting: presentation.presented, session, db,
                    at: current.time)
                try Self.noteSeals(
                    by: seal.key, of: series, session.absoluteDeadline, db, at: now)
            case .repeatCurrent(let seal):
                guard try Self.isCurrent(seal, for: [], db) else { return .outdated }
                // The session may have come of a step-up, and outlast the series.
                let deadline = current.session?.absoluteDeadline ?? series.deadline
                try Self.noteSeals(by: seal.key, of: series, deadline, db, at: now)
                if presentation.presented == series.state.generation {
                    try db.execute(
                        sql: "UPDATE series SET presented = 1 WHERE id = ?",
                        arguments: [series.id.value.data])
                }
            case .endQuietly:
                _ = try Self.endSeries(
                    series.id, audit: .rememberEnded, by: .server,
                    detail: presentation.evidence, db, at: now)
            case .theft: try Self.endStolen(presentation, db, at: now)
            case .ahead:
                // It can't come back; forgotten, so that no older copy brings anybody in.
                try Self.forget(series.id, db)
                try Self.append(
                    AuditEvent(
                        .rememberAhead, by: .server, user: series.user, series: series.id,
                        detail: presentation.evidence), to: db, at: now)
            }
            return .done(position: try Self.sequence(db))
        }
    }

    /// What ``presentSeries(_:at:)`` asks, as far as nothing that it does before changes it.
    private static func queries(
        of presentation: RememberPresentation, _ db: Database, at now: UnixTime
    ) -> [Query] {
        let (series, current) = (
            presentation.expected.series.id, presentation.expected.session?.id
        )
        let queries = rememberedQueries(series).all
        switch presentation.action {
        case .advance(_, let session, _, let limit):
            return queries + [sealQuery, unrevokedQuery(series)]
                + (limit == nil ? [] : [roomQuery(session.user, at: now)])
                + (current.map { [sessionQuery($0)] } ?? []) + appendQueries(db)
        case .repeatCurrent: return queries + [sealQuery]
        case .endQuietly, .theft, .ahead: return queries
        }
    }

    /// A remember token and the session's beside it.
    private static func noteSeals(
        by key: KeyID, of series: RememberSeries, _ session: UnixTime, _ db: Database,
        at now: UnixTime
    ) throws {
        for deadline in [series.deadline, session] {
            try noteSeals(1, by: key, until: deadline, db, at: now)
        }
    }

    /// A new session in the place of the series' last, with the next generation or the same.
    private static func advance(
        _ series: RememberSeries, to generation: UInt32, presenting presented: UInt32,
        _ session: SessionRecord, _ db: Database, at time: UnixTime
    ) throws {
        let isNext = generation != series.state.generation
        let earlier = try unrevokedSessions(of: series.id, db)
        _ = try end(
            earlier, audit: .sessionSuperseded, by: .server, sparingSeries: true, db, at: time)
        try insert(session, db)
        try db.execute(
            sql: """
                UPDATE series SET session_id = :session,
                    generation = :generation, made = :made, presented = :presented
                WHERE id = :id
                """,
            arguments: [
                "session": session.id.value.data, "generation": Int64(generation),
                "made": (isNext ? time : series.state.made).seconds,
                "presented": series.state.wasPresented && !isNext || presented == generation,
                "id": series.id.value.data,
            ])
        try append(
            AuditEvent(
                .rememberUsed, by: .server, user: series.user, session: session.id,
                series: series.id), to: db, at: time)
    }

    /// Ends what two parties had, and the device of the browser that it was stolen from; leaves other
    /// devices alone.
    private static func endStolen(
        _ presentation: RememberPresentation, _ db: Database, at now: UnixTime
    ) throws {
        let series = presentation.expected.series
        let row = try db.row(
            sql: "SELECT browser, device_id FROM series WHERE id = ?",
            arguments: [series.id.value.data])
        try db.execute(
            sql: "INSERT INTO warnings (user_id, time, browser, place) VALUES (?, ?, ?, ?)",
            arguments: [
                series.user.value.data, now.seconds, try row?.optionalText("browser"),
                presentation.origin.place,
            ])
        try db.execute(
            sql: """
                DELETE FROM warnings WHERE id IN (
                    SELECT id FROM warnings WHERE user_id = ? ORDER BY id DESC LIMIT 1000 OFFSET ?)
                """,
            arguments: [series.user.value.data, SignInWarning.maximumPerUser])
        if let device = try row?.optionalIdentifier("device_id") {
            try db.execute(
                sql: "DELETE FROM devices WHERE id = ? AND user_id = ?",
                arguments: [device.data, series.user.value.data])
        }
        _ = try endSeries(
            series.id, audit: .rememberStolen, by: .server, detail: presentation.evidence, db,
            at: now)
    }

    // MARK: Ending

    /// Ends a series and every session that came of it; says how many those were.
    static func endSeries(
        _ id: SeriesID, audit kind: AuditEvent.Kind, by actor: AuditEvent.Actor,
        detail: String? = nil, _ db: Database, at now: UnixTime
    ) throws -> Int {
        let row = try db.row(
            sql: "DELETE FROM series WHERE id = ? RETURNING user_id", arguments: [id.value.data]
        )
        if let user = try row.map({ UserID(try $0.identifier("user_id")) }) {
            let seriesKind: AuditEvent.Kind =
                kind == .rememberStolen ? .rememberStolen : .rememberEnded
            try append(
                AuditEvent(seriesKind, by: actor, user: user, series: id, detail: detail), to: db,
                at: now)
        }
        let sessionKind: AuditEvent.Kind =
            [.rememberStolen, .rememberEnded].contains(kind) ? .sessionRevoked : kind
        return try end(
            try unrevokedSessions(of: id, db), audit: sessionKind, by: actor, sparingSeries: true,
            db, at: now)
    }

    private static func unrevokedSessions(of id: SeriesID, _ db: Database) throws -> [SessionID] {
        try db.rows(unrevokedQuery(id)).map { SessionID(try $0.identifier("id")) }
    }

    private static func unrevokedQuery(_ id: SeriesID) -> Query {
        Query(
            "SELECT id FROM sessions WHERE series_id = ? AND revoked IS NULL ORDER BY id",
            [id.value.data])
    }

    package func forgetSeries(
        _ ids: [SeriesID], of user: UserID, at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now, .user(user)) { db in
            for id in ids {
                let row = try db.row(
                    sql: "SELECT 1 FROM series WHERE id = ? AND user_id = ?",
                    arguments: [id.value.data, user.value.data])
                guard row != nil else { continue }
                try Self.forget(id, db)
                try Self.append(
                    AuditEvent(.rememberEnded, by: .server, user: user, series: id), to: db, at: now
                )
            }
        }
    }

    /// Removes a series; the sessions that came of it go on without.
    private static func forget(_ id: SeriesID, _ db: Database) throws {
        try db.execute(sql: "DELETE FROM series WHERE id = ?", arguments: [id.value.data])
        try db.execute(
            sql: "UPDATE sessions SET series_id = NULL WHERE series_id = ?",
            arguments: [id.value.data])
    }

    // MARK: Warnings

    package func warnings(of user: UserID) async throws(StoreError) -> [SignInWarning] {
        try await readOne { db in
            try db.rows(
                sql: "SELECT * FROM warnings WHERE user_id = ? ORDER BY id DESC",
                arguments: [user.value.data]
            ).map { row in
                SignInWarning(
                    id: try row.integer("id"), time: try row.time("time"),
                    browser: try row.optionalText("browser"),
                    place: try row.optionalText("place"))
            }
        }
    }

    package func dismissWarnings(
        of user: UserID, upTo last: Int64, at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now, .user(user)) { db in
            try db.execute(
                sql: "DELETE FROM warnings WHERE user_id = ? AND id <= ?",
                arguments: [user.value.data, last])
        }
    }
}

extension RememberPresentation {
    /// What the audit trail keeps of a presentation that was refused.
    var evidence: String {
        let state = expected.series.state
        return [
            "presented=\(presented)", "current=\(state.generation)",
            "age=\(expected.time.seconds - state.made.seconds)s",
            "arrived=\(state.wasPresented ? "yes" : "no")",
        ].joined(separator: " ")
    }
}
