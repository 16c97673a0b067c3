// Profiles, their history and digests, on SQLite. All that is here is sealed, or a digest.

import Foundation
package import GatehouseCore
package import GatehousePeople

extension SQLStore {
    package func profile(of user: UserID) async throws(StoreError) -> ProfileRow? {
        try await readOne { db in try Self.profile(of: user, db) }
    }

    private static func profile(of user: UserID, _ db: Database) throws -> ProfileRow? {
        try db.row(
            sql: "SELECT * FROM profiles WHERE user_id = ?", arguments: [user.value.data]
        )?.profile()
    }

    package func profileRows(of user: UserID) async throws(StoreError) -> ProfileRows? {
        try await read { db in
            try Self.profile(of: user, db).map { try Self.rows(of: $0, db) }
        }
    }

    package func profileRows(
        after user: UserID?, limit: Int
    ) async throws(StoreError) -> [ProfileRows] {
        try await read { db in
            try db.rows(
                sql: "SELECT * FROM profiles WHERE user_id > ? ORDER BY user_id LIMIT ?",
                arguments: [user?.value.data ?? Data(), limit]
            ).map { try Self.rows(of: try $0.profile(), db) }
        }
    }

    private static func rows(of profile: ProfileRow, _ db: Database) throws -> ProfileRows {
        let user: StatementArguments = [profile.user.value.data]
        let history = try db.rows(
            sql: "SELECT * FROM profile_history WHERE user_id = ? ORDER BY sequence",
            arguments: user)
        let digests = try db.rows(
            sql: "SELECT * FROM profile_digests WHERE user_id = ? ORDER BY field",
            arguments: user)
        return ProfileRows(
            profile: profile,
            history: try history.map { row in
                ProfileHistoryRow(
                    sequence: try row.integer("sequence"), time: try row.time("time"),
                    sealed: try row.sealed())
            },
            digests: try digests.map { row in
                ProfileDigest(
                    field: try row.text("field"), key: try row.keyID("key_id"),
                    digest: try row.bytes("digest"))
            })
    }

    package func writeProfile(
        _ write: ProfileWrite, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> ProfileWriteOutcome {
        try await self.write(at: now, .user(write.row.user)) { db in
            // Nothing comes to be of somebody who has gone.
            guard try Self.user(write.row.user, db)?.state == .enabled else { return .noUser }
            guard try Self.write(write, db) else { return .changedMeanwhile }
            try Self.append(audit, to: db, at: now)
            return .written
        }
    }

    /// Whether it could be written: the revision before it is there.
    static func write(_ write: ProfileWrite, _ db: Database) throws -> Bool {
        let row = write.row
        let (user, sealed) = (row.user.value.data, Data(row.sealed.bytes))
        let key = Int64(row.sealed.key.rawValue)
        if row.revision == 1 {
            try db.execute(
                sql: """
                    INSERT INTO profiles
                        (user_id, revision, updated, last_sequence, key_id, sealed)
                    VALUES (?, 1, ?, ?, ?, ?) ON CONFLICT (user_id) DO NOTHING
                    """,
                arguments: [user, row.updated.seconds, row.lastSequence, key, sealed])
        } else {
            try db.execute(
                sql: """
                    UPDATE profiles SET revision = :revision, updated = :updated,
                        last_sequence = :sequence, key_id = :key, sealed = :sealed
                    WHERE user_id = :user AND revision = :revision - 1
                    """,
                arguments: [
                    "revision": row.revision, "updated": row.updated.seconds,
                    "sequence": row.lastSequence, "key": key, "sealed": sealed, "user": user,
                ])
        }
        guard try db.changesCount == 1 else { return false }
        for entry in write.history {
            try db.execute(
                sql: """
                    INSERT INTO profile_history (user_id, sequence, time, key_id, sealed)
                    VALUES (?, ?, ?, ?, ?)
                    """,
                arguments: [
                    user, entry.sequence, entry.time.seconds, Int64(entry.sealed.key.rawValue),
                    Data(entry.sealed.bytes),
                ])
        }
        try db.execute(
            sql: "DELETE FROM profile_history WHERE user_id = ? AND sequence <= ?",
            arguments: [user, row.lastSequence - ProfileHistoryRow.maximumPerUser])
        for sequence in write.removing { try removeHistory(of: row.user, sequence, db) }
        try replaceDigests(of: row.user, with: write.digests, db)
        return true
    }

    private static func removeHistory(
        of user: UserID, _ sequence: Int64, _ db: Database
    ) throws {
        try db.execute(
            sql: "DELETE FROM profile_history WHERE user_id = ? AND sequence = ?",
            arguments: [user.value.data, sequence])
    }

    private static func replaceDigests(
        of user: UserID, with digests: [ProfileDigest], _ db: Database
    ) throws {
        try db.execute(
            sql: "DELETE FROM profile_digests WHERE user_id = ?", arguments: [user.value.data])
        for digest in digests {
            try db.execute(
                sql: """
                    INSERT INTO profile_digests (field, digest, user_id, key_id)
                    VALUES (?, ?, ?, ?)
                    """,
                arguments: [
                    digest.field, Data(digest.digest), user.value.data, Int64(digest.key.rawValue),
                ])
        }
    }

    package func rewriteProfiles(
        _ rewrites: [ProfileRewrite], audit: [AuditEvent], at now: UnixTime
    ) async throws(StoreError) -> Int {
        try await write(at: now, .users { _ in rewrites.map(\.old.user) }) { db in
            let done = try rewrites.count { try Self.rewrite($0, db) }
            if done > 0 { for event in audit { try Self.append(event, to: db, at: now) } }
            return done
        }
    }

    private static func rewrite(_ rewrite: ProfileRewrite, _ db: Database) throws -> Bool {
        let user = rewrite.old.user.value.data
        // Conditional: whoever changed the profile in the meantime is right.
        try db.execute(
            sql: """
                UPDATE profiles SET key_id = ?, sealed = ?
                WHERE user_id = ? AND revision = ? AND sealed = ?
                """,
            arguments: [
                Int64(rewrite.sealed.key.rawValue), Data(rewrite.sealed.bytes), user,
                rewrite.old.revision, Data(rewrite.old.sealed.bytes),
            ])
        guard try db.changesCount == 1 else { return false }
        let stored = try db.rows(
            sql: "SELECT sequence FROM profile_history WHERE user_id = ?", arguments: [user]
        ).map { try $0.integer("sequence") }
        for sequence in stored {
            guard let sealed = rewrite.history[sequence] else {
                try removeHistory(of: rewrite.old.user, sequence, db)
                continue
            }
            try db.execute(
                sql: """
                    UPDATE profile_history SET key_id = ?, sealed = ?
                    WHERE user_id = ? AND sequence = ?
                    """,
                arguments: [
                    Int64(sealed.key.rawValue), Data(sealed.bytes), user, sequence,
                ])
        }
        try replaceDigests(of: rewrite.old.user, with: rewrite.digests, db)
        return true
    }

    package func users(
        with digests: [ProfileDigest], limit: Int
    ) async throws(StoreError) -> [User] {
        try await read { db in
            var users: [User] = []
            for digest in digests {
                users += try db.rows(
                    sql: """
                        SELECT user_id FROM profile_digests
                        WHERE field = ? AND digest = ? ORDER BY user_id LIMIT ?
                        """, arguments: [digest.field, Data(digest.digest), limit]
                ).compactMap { try Self.user(UserID(try $0.identifier("user_id")), db) }
            }
            return Array(users.sorted { $0.id.text < $1.id.text }.prefix(limit))
        }
    }

    package func profileKeyUse() async throws(StoreError) -> [KeyID: Int] {
        try await read { db in
            try db.allow(Database.wholeTable)
            var use: [KeyID: Int] = [:]
            for table in ["profiles", "profile_history", "profile_digests"] {
                for row in try db.rows(
                    sql: "SELECT key_id, count(*) AS count FROM \(table) GROUP BY key_id")
                {
                    use[try row.keyID("key_id"), default: 0] += try row.number("count")
                }
            }
            return use
        }
    }
}

extension Row {
    fileprivate func sealed() throws(StoreError) -> SealedRow {
        SealedRow(key: try keyID("key_id"), bytes: try bytes("sealed"))
    }

    fileprivate func profile() throws(StoreError) -> ProfileRow {
        ProfileRow(
            user: UserID(try identifier("user_id")), revision: try integer("revision"),
            updated: try time("updated"), lastSequence: try integer("last_sequence"),
            sealed: try sealed())
    }
}
