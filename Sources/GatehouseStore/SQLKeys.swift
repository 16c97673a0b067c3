// What token keys sealed and opened, on SQLite.

import Foundation
package import GatehouseCore

extension SQLStore {
    /// Counts tokens that are about to be handed out. The key is kept until the last deadline of what it
    /// sealed.
    static func noteSeals(
        _ count: Int, by key: KeyID, until deadline: UnixTime, _ db: Database, at now: UnixTime
    ) throws {
        try noteSeals(
            KeyTally.Seals(count: UInt64(count), lastDeadline: deadline),
            in: KeyTally.Span(key: key, until: deadline, at: now), db)
    }

    private static func noteSeals(
        _ seals: KeyTally.Seals, in span: KeyTally.Span, _ db: Database
    ) throws {
        guard seals.count > 0 else { return }
        let key = Int64(span.key.rawValue)
        let count = Int64(clamping: seals.count)
        try db.count(
            sql: """
                INSERT INTO key_usage (key_id, sealed, last_deadline) VALUES (?, ?, ?)
                ON CONFLICT (key_id) DO UPDATE SET sealed = key_usage.sealed + excluded.sealed,
                    last_deadline = max(key_usage.last_deadline, excluded.last_deadline)
                """, arguments: [key, count, seals.lastDeadline.seconds])
        try db.count(
            sql: """
                INSERT INTO key_deadlines (key_id, ends, sealed) VALUES (?, ?, ?)
                ON CONFLICT (key_id, ends) DO UPDATE SET sealed = key_deadlines.sealed + excluded.sealed
                """, arguments: [key, span.end.seconds, count])
    }

    package func noteKeyTally(
        _ tally: KeyTally, by node: NodeID, at now: UnixTime
    ) async throws(StoreError) {
        let minute = now.seconds / 60
        try await write(at: now, .rows) { db in
            for (span, seals) in tally.sealed { try Self.noteSeals(seals, in: span, db) }
            for (key, opened) in tally.opened {
                try db.execute(
                    sql: """
                        INSERT INTO key_opens (minute, key_id, node_id, opened) VALUES (?, ?, ?, ?)
                        ON CONFLICT (minute, key_id, node_id)
                            DO UPDATE SET opened = key_opens.opened + excluded.opened
                        """,
                    arguments: [
                        minute, Int64(key.rawValue), node.value.data, Int64(clamping: opened),
                    ])
            }
            // If the key is in the ring still, nothing is lost but a total: nothing that it sealed is
            // alive, and no lease is as long.
            try db.execute(
                sql: "DELETE FROM key_usage WHERE last_deadline < ?",
                arguments: [now.advanced(bySeconds: -KeyTally.usageSeconds).seconds])
            // What is alive is told by clocks that may be behind this one.
            try db.execute(
                sql: "DELETE FROM key_deadlines WHERE ends <= ?",
                arguments: [now.advanced(bySeconds: -clockSkewSeconds).seconds])
            try db.execute(
                sql: """
                    DELETE FROM key_opens WHERE minute <= :oldest OR minute <=
                        (SELECT minute FROM key_opens ORDER BY minute DESC LIMIT 1 OFFSET :rows)
                    """,
                arguments: [
                    "oldest": minute - KeyTally.openMinutes, "rows": KeyTally.maximumOpenRows,
                ])
        }
    }

    package func keyActivity(at now: UnixTime) async throws(StoreError) -> [KeyID: KeyActivity] {
        try await read { db in
            var activity: [KeyID: KeyActivity] = [:]
            func each(
                _ sql: String, _ bound: Int64, _ body: (inout KeyActivity, UInt64) -> Void
            ) throws {
                for row in try db.rows(sql: sql, arguments: [bound]) {
                    guard let id = KeyID(rawValue: try row.number("key_id")) else {
                        throw StoreError.damaged("key_id")
                    }
                    body(&activity[id, default: KeyActivity()], try row.number("total"))
                }
            }
            try each(
                """
                SELECT key_id, CAST(sum(sealed) AS BIGINT) AS total FROM key_deadlines WHERE ends > ?
                GROUP BY key_id
                """, now.seconds
            ) { $0.alive = $1 }
            try each(
                """
                SELECT key_id, CAST(sum(opened) AS BIGINT) AS total FROM key_opens WHERE minute > ?
                GROUP BY key_id
                """, now.seconds / 60 - KeyTally.openMinutes
            ) { $0.openedLastHour = $1 }
            return activity
        }
    }
}
