// Password hashes and the counters of tries, on SQLite.

import Foundation
package import GatehouseCore

extension SQLStore {
    package func chargeAttempt(
        _ key: AttemptKey, user: UserID?, at now: UnixTime
    ) async throws(StoreError) -> AttemptOutcome {
        let expires = Self.expiry(of: key, user: user, at: now)
        // As it mostly is: nothing waits yet, and one statement says so.
        let charged = try await writeOne(
            at: now, .attempts([key]),
            Query(
                """
                INSERT INTO attempts (key, failures, next, expires)
                SELECT :counter, 1, :now, :expires FROM head WHERE latest_time + :lead >= :now
                    AND NOT EXISTS (SELECT 1 FROM attempts WHERE key = :counter
                        AND (failures + 1 >= :allowance OR next > :now))
                ON CONFLICT (key) DO UPDATE SET failures = attempts.failures + 1,
                    next = excluded.next, expires = excluded.expires
                WHERE attempts.failures + 1 < :allowance AND attempts.next <= :now
                RETURNING failures
                """,
                [
                    "counter": Data(key.bytes), "now": now.seconds, "expires": expires.seconds,
                    "lead": Self.maximumClockLeadSeconds, "allowance": AttemptRule.allowance,
                ]))
        if !charged.isEmpty { return .admitted }
        return try await write(at: now, .attempts([key])) { db in
            let count = try Self.attempts(key, db)
            let failures = (count?.failures ?? 0) + 1
            if let count {
                guard count.failures < AttemptRule.maximumFailures else { return .exhausted }
                // A clock that was set back makes no wait longer than the longest.
                let latest = now.advanced(bySeconds: AttemptRule.maximumWaitSeconds)
                guard count.next <= now else { return .wait(until: min(count.next, latest)) }
            }
            try db.execute(
                sql: """
                    INSERT INTO attempts (key, failures, next, expires) VALUES (?, ?, ?, ?)
                    ON CONFLICT (key) DO UPDATE SET failures = excluded.failures,
                        next = excluded.next, expires = excluded.expires
                    """,
                arguments: [
                    Data(key.bytes), failures,
                    now.advanced(bySeconds: AttemptRule.waitSeconds(after: failures)).seconds,
                    expires.seconds,
                ])
            if failures == AttemptRule.maximumFailures, let user {
                try Self.append(
                    AuditEvent(.passwordAttemptsExhausted, by: .server, user: user), to: db, at: now
                )
            }
            return .admitted
        }
    }

    /// How long a counter is kept; a user's own lasts until it is cleared.
    private static func expiry(
        of key: AttemptKey, user: UserID?, at now: UnixTime
    ) -> UnixTime {
        if key.isDevice { return now.advanced(bySeconds: AttemptRule.deviceSeconds) }
        return user == nil ? now.advanced(bySeconds: AttemptRule.strangerSeconds) : .maximum
    }

    package func refundAttempt(_ key: AttemptKey, at now: UnixTime) async throws(StoreError) {
        try await write(at: now, .attempts([key])) { db in
            // Nothing stays of a name that was never tried.
            try db.execute(
                sql: "DELETE FROM attempts WHERE key = ? AND failures <= 1",
                arguments: [Data(key.bytes)])
            // It was admitted, so that no wait had been left.
            try db.execute(
                sql: """
                    UPDATE attempts SET failures = failures - 1, next = min(next, ?) WHERE key = ?
                    """,
                arguments: [now.seconds, Data(key.bytes)])
        }
    }

    package func clearAttempts(
        _ keys: [AttemptKey], audit: AuditEvent?, at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now, .attempts(keys)) { db in
            try Self.clearAttempts(keys, db)
            if let audit { try Self.append(audit, to: db, at: now) }
        }
    }

    package func devices(of user: UserID) async throws(StoreError) -> [DeviceID] {
        try await readOne { db in
            try db.rows(
                sql: "SELECT id FROM devices WHERE user_id = ? ORDER BY id",
                arguments: [user.value.data]
            ).map { DeviceID(try $0.identifier("id")) }
        }
    }

    /// In one order, so that two who clear the same ones don't wait for each other in a circle.
    static func clearAttempts(_ keys: [AttemptKey], _ db: Database) throws {
        for key in keys.sorted(by: { $0.bytes.lexicographicallyPrecedes($1.bytes) }) {
            try clearAttempts(key, db)
        }
    }

    static func clearAttempts(_ key: AttemptKey, _ db: Database) throws {
        try db.execute(sql: "DELETE FROM attempts WHERE key = ?", arguments: [Data(key.bytes)])
    }

    package func attempts(_ key: AttemptKey) async throws(StoreError) -> AttemptCount? {
        try await readOne { db in try Self.attempts(key, db) }
    }

    package func attemptCount(upTo time: UnixTime) async throws(StoreError) -> Int {
        try await readOne { db in
            Int(
                try db.integer(
                    sql: "SELECT count(*) FROM attempts WHERE next <= ?",
                    arguments: [time.seconds]) ?? 0)
        }
    }

    package func expireAttempts(
        upTo time: UnixTime, by deadline: UnixTime, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int {
        try await write(at: now, .rows) { db in
            try db.execute(
                sql: """
                    UPDATE attempts SET expires = :deadline WHERE key IN
                        (SELECT key FROM attempts
                            WHERE expires > :deadline AND next <= :time
                            ORDER BY expires LIMIT :limit
                            \(db.skippingLockedRows(of: "attempts")))
                    """,
                arguments: ["deadline": deadline.seconds, "time": time.seconds, "limit": limit])
            return try db.changesCount
        }
    }

    private static func attempts(_ key: AttemptKey, _ db: Database) throws -> AttemptCount? {
        try db.row(
            sql: "SELECT failures, next FROM attempts WHERE key = ?",
            arguments: [Data(key.bytes)]
        ).map { AttemptCount(failures: try $0.number("failures"), next: try $0.time("next")) }
    }

    package func passwordHashes(
        after user: UserID?, limit: Int
    ) async throws(StoreError) -> [StoredPasswordHash] {
        try await readOne { db in
            try db.rows(
                sql: """
                    SELECT id, password_hash, state FROM users
                    WHERE password_hash IS NOT NULL AND id > ? ORDER BY id LIMIT ?
                    """,
                arguments: [user?.value.data ?? Data(), limit]
            ).map { row in
                StoredPasswordHash(
                    user: UserID(try row.identifier("id")), text: try row.text("password_hash"),
                    isEnabled: try row.text("state") == User.State.enabled.rawValue)
            }
        }
    }

    package func replacePasswordHashes(
        _ changes: [(old: StoredPasswordHash, new: String)], audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> Int {
        try await write(at: now, .users { _ in changes.map(\.old.user) }) { db in
            var changed = 0
            // Conditional: whoever changed the password in the meantime is right.
            for (old, new) in changes {
                try db.execute(
                    sql: "UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?",
                    arguments: [new, old.user.value.data, old.text])
                changed += try db.changesCount
            }
            if changed > 0 { for event in audit { try Self.append(event, to: db, at: now) } }
            return changed
        }
    }
}
