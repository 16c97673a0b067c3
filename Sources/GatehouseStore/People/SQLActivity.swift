// Counts of people by day and week, in the transactions that they come and register in.

import Foundation
package import GatehouseCore
package import GatehousePeople

extension SQLStore {
    /// Somebody registered.
    static func noteRegistration(_ db: Database, at now: UnixTime) throws {
        let day = CalendarDay(of: now)
        for period in ActivityStep.Period.allCases {
            try count("registered", period, day, db)
        }
    }

    /// The user of a session was here, unless somebody acts for them in it.
    static func noteActive(_ session: SessionID, _ db: Database, at now: UnixTime) throws {
        let row = try db.row(
            sql: """
                SELECT user_id FROM sessions WHERE id = ?
                    AND NOT EXISTS (SELECT 1 FROM looks WHERE session_id = sessions.id)
                """, arguments: [session.value.data])
        if let row { try noteActive(UserID(try row.identifier("user_id")), db, at: now) }
    }

    /// A user was here: written once a day.
    static func noteActive(_ user: UserID, _ db: Database, at now: UnixTime) throws {
        let row = try db.row(activeQuery(user))
        guard let row else { return }
        let day = CalendarDay(of: now)
        let step = ActivityStep(
            on: day, last: try row.optionalInteger("day").map { CalendarDay(number: $0) },
            registered: CalendarDay(of: try row.time("created")))
        guard !step.periods.isEmpty else { return }
        for period in step.periods {
            try count("active", period, day, db)
            if step.returned.contains(period) { try count("returned", period, day, db) }
        }
        try db.execute(
            sql: """
                INSERT INTO activity (user_id, day) VALUES (?, ?)
                ON CONFLICT (user_id) DO UPDATE SET day = excluded.day
                """, arguments: [user.value.data, day.number])
    }

    static func activeQuery(_ user: UserID) -> Query {
        Query(
            """
            SELECT users.created, activity.day FROM users
            LEFT JOIN activity ON activity.user_id = users.id WHERE users.id = ?
            """, [user.value.data])
    }

    private static func count(
        _ column: String, _ period: ActivityStep.Period, _ day: CalendarDay, _ db: Database
    ) throws {
        let row: StatementArguments = [period.rawValue, period.start(of: day).number]
        try db.count(
            sql: """
                INSERT INTO activity_counts (period, start) VALUES (?, ?) ON CONFLICT DO NOTHING
                """, arguments: row)
        try db.count(
            sql: """
                UPDATE activity_counts SET \(column) = \(column) + 1
                WHERE period = ? AND start = ?
                """, arguments: row)
    }

    package func activity(
        from first: CalendarDay
    ) async throws(StoreError) -> ActivityCounts {
        try await read { db in
            func counts(_ period: ActivityStep.Period) throws -> [ActivityCounts.Count] {
                try db.rows(
                    sql: """
                        SELECT * FROM activity_counts WHERE period = ? AND start >= ? ORDER BY start
                        """, arguments: [period.rawValue, first.number]
                ).map { row in
                    ActivityCounts.Count(
                        start: CalendarDay(number: try row.integer("start")),
                        active: try row.integer("active"), new: try row.integer("registered"),
                        returning: try row.integer("returned"))
                }
            }
            return ActivityCounts(days: try counts(.day), weeks: try counts(.week))
        }
    }

    package func pruneActivity(
        before first: CalendarDay, at now: UnixTime
    ) async throws(StoreError) -> Int {
        let isOld = try await readOne { db in
            try db.integer(
                sql: "SELECT 1 FROM activity_counts WHERE start < ? LIMIT 1",
                arguments: [first.number]) != nil
        }
        guard isOld else { return 0 }
        return try await write(at: now, .rows) { db in
            try db.execute(
                sql: "DELETE FROM activity_counts WHERE start < ?", arguments: [first.number])
            return try db.changesCount
        }
    }
}
