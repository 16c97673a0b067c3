// How people leave the SQLite store: requests, the deletion itself, and what must not stay of them.

import Foundation
package import GatehouseCore
package import GatehousePeople

extension SQLStore {
    package func requestDeletion(
        _ request: DeletionRequest, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> DeletionRequestOutcome {
        try await write(
            at: now, .user(request.user).and(request.clearing)
        ) { db in
            guard let user = try Self.user(request.user, db), user.state == .enabled,
                user.epoch == request.epoch, user.passwordHash == request.passwordHash
            else { return .userChanged }
            try Self.clearAttempts(request.clearing, db)
            if let earlier = try Self.deletion(of: user.id, db) { return .requested(earlier) }
            let deletion = Deletion(
                user: user.id, requested: now, due: max(request.due, now))
            try db.execute(
                sql: "INSERT INTO deletions (user_id, requested, due) VALUES (?, ?, ?)",
                arguments: [user.id.value.data, now.seconds, deletion.due.seconds])
            try Self.append(audit, to: db, at: now)
            return .requested(deletion)
        }
    }

    package func cancelDeletion(
        of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> Bool {
        try await write(at: now, .user(user)) { [ledger] db in
            try db.holdScope()
            // Whoever is in the ledger goes, though a clock was set back since.
            guard try !ledger.contents().entries.contains(where: { $0.user == user }) else {
                return false
            }
            try db.execute(
                sql: "DELETE FROM deletions WHERE user_id = ? AND due > ?",
                arguments: [user.value.data, now.seconds])
            guard try db.changesCount == 1 else { return false }
            try Self.append(audit, to: db, at: now)
            return true
        }
    }

    package func deletion(of user: UserID) async throws(StoreError) -> Deletion? {
        try await readOne { db in try Self.deletion(of: user, db) }
    }

    private static func deletion(of user: UserID, _ db: Database) throws -> Deletion? {
        try db.row(
            sql: "SELECT * FROM deletions WHERE user_id = ?", arguments: [user.value.data]
        )?.deletion()
    }

    package func deletions(limit: Int) async throws(StoreError) -> [Deletion] {
        try await readOne { db in
            try db.rows(
                sql: "SELECT * FROM deletions ORDER BY due, user_id LIMIT ?",
                arguments: [limit]
            ).map { try $0.deletion() }
        }
    }

    package func deletePerson(
        _ id: UserID, onlyIfDue: Bool, lookUpKey: LookUpKey, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RevocationOutcome {
        try await write(at: now, .deletion(of: id)) { [ledger] db in
            guard let user = try Self.user(id, db) else { return .notFound }
            if onlyIfDue {
                guard let deletion = try Self.deletion(of: id, db), deletion.due <= now else {
                    return .notFound
                }
            }
            return try Self.delete(
                user, lookUpKey: lookUpKey, audit: audit, ledger: ledger, db, at: now)
        }
    }

    /// Leaves of a user the reserved names and the facts of the audit trail. The ledger has it before the
    /// transaction is done: what can't be noted there isn't done.
    static func delete(
        _ user: User, lookUpKey: LookUpKey, audit: AuditEvent, ledger: DeletionLedger,
        _ db: Database, at now: UnixTime
    ) throws -> RevocationOutcome {
        let ended = try countLive(of: user, db, at: now)
        // Before the audit trail's end is locked, which every sign-in waits for: this waits for a disk.
        try ledger.append(DeletionLedger.Entry(user: user.id, time: now))
        try clearAttempts(of: user, key: lookUpKey, db)
        _ = try eraseAuditPersonal(of: user.id, db)
        try append(audit, to: db, at: now)
        // The feed's entry refuses every token until the last one would have expired, rows or not.
        let position = try raiseEpoch(of: user, db, at: now)
        // One table may refer to another; all are empty of the user in the end.
        try db.deferForeignKeys()
        for table in PersonalTable.all where table.fate == .removed {
            try db.execute(
                sql: "DELETE FROM \(table.name) WHERE \(table.column) = ?",
                arguments: [user.id.value.data])
        }
        try db.execute(
            sql: "UPDATE users SET state = 'disabled', password_hash = NULL WHERE id = ?",
            arguments: [user.id.value.data])
        try db.execute(
            sql: "UPDATE names SET state = 'deleted', since = ? WHERE user_id = ?",
            arguments: [now.seconds, user.id.value.data])
        try noteErasure(db, at: now)
        return .revoked(position: position, sessions: ended)
    }

    /// Counters of every name that the user has or had, and of every device.
    private static func clearAttempts(
        of user: User, key: LookUpKey, _ db: Database
    ) throws {
        let devices = try db.rows(
            sql: "SELECT id FROM devices WHERE user_id = ?", arguments: [user.id.value.data]
        ).map { DeviceID(try $0.identifier("id")) }
        let counters = try NameTable.names(of: user.id, db).flatMap { name in
            try AttemptKey.all(of: name.username, user: user.id, devices: devices, key: key)
        }
        try clearAttempts(counters, db)
    }

    // MARK: The ledger

    package func returnedPeople() async throws(StoreError) -> [UserID] {
        let entries = try ledger.contents().entries
        guard !entries.isEmpty else { return [] }
        return try await read { db in
            var seen: Set<UserID> = []
            return try entries.map(\.user).filter { id in
                guard seen.insert(id).inserted else { return false }
                return try Self.user(id, db) != nil
            }
        }
    }

    package func pruneLedger(
        before time: UnixTime, at now: UnixTime
    ) async throws(StoreError) -> Int {
        guard try ledger.contents().entries.contains(where: { $0.time < time }) else { return 0 }
        // Under the write lock: what another process adds meanwhile is not lost.
        return try await write(at: now) { [ledger] db in
            try db.holdScope()
            return try ledger.prune(before: time)
        }
    }

    package func unreadableLedgerLines() async throws(StoreError) -> Int {
        try ledger.contents().unreadable
    }

    package func clockLeap() async throws(StoreError) -> ClockLeap? {
        try await readOne { db in
            try db.row(sql: "SELECT time FROM clock_leaps")?.optionalTime("time")
                .map { ClockLeap(time: $0) }
        }
    }

    // MARK: The write-ahead log

    static func noteErasure(_ db: Database, at now: UnixTime) throws {
        try db.execute(
            sql: "UPDATE erasures SET count = count + 1, since = coalesce(since, ?)",
            arguments: [now.seconds])
    }

    package func unerasedSince() async throws(StoreError) -> UnixTime? {
        try await readOne { db in
            try db.row(sql: "SELECT since FROM erasures")?.optionalTime("since")
        }
    }

    package func eraseLog(at now: UnixTime) async throws(StoreError) -> Bool {
        let count = try await readOne { db in
            try db.integer(sql: "SELECT count FROM erasures WHERE since IS NOT NULL")
        }
        guard let count else { return true }
        do { guard try await driver.eraseLog() else { return false } } catch {
            throw driver.storeError(error)
        }
        try await write(at: now, .rows) { db in
            // What was erased since then has pages in the new log.
            try db.execute(
                sql: "UPDATE erasures SET since = NULL WHERE count = ?", arguments: [count])
        }
        return true
    }

    // MARK: What is held

    package func held(about user: UserID) async throws(StoreError) -> HeldRecords {
        try await read { db in
            let id = user.value.data
            func rows(_ sql: String) throws -> [Row] {
                try db.rows(sql: sql, arguments: [id])
            }
            return HeldRecords(
                sessions: try rows("SELECT * FROM sessions WHERE user_id = ? ORDER BY created, id")
                    .map { try $0.session() },
                series: try rows("SELECT * FROM series WHERE user_id = ? ORDER BY created, id")
                    .map { try $0.heldSeries() },
                devices: try rows("SELECT * FROM devices WHERE user_id = ? ORDER BY created, id")
                    .map { row in
                        let device = DeviceID(try row.identifier("id"))
                        return Device(
                            id: device, user: user, created: try row.time("created"),
                            lastUsed: try row.time("last_used"),
                            preferences: try Self.preferences(
                                db.rows(Self.preferencesQuery(device))),
                            isProved: try row.integer("proved") != 0)
                    },
                warnings: try rows("SELECT * FROM warnings WHERE user_id = ? ORDER BY id").map {
                    SignInWarning(
                        id: try $0.integer("id"), time: try $0.time("time"),
                        browser: try $0.optionalText("browser"),
                        place: try $0.optionalText("place"))
                },
                links: try rows("SELECT * FROM links WHERE user_id = ? ORDER BY expires, hash").map
                {
                    HeldRecords.RecoveryLink(
                        expires: try $0.time("expires"), used: try $0.optionalTime("used"))
                },
                audit: try rows(Self.auditRows + " WHERE user_id = ? ORDER BY sequence").map {
                    try Self.record($0)
                },
                activeDay: try rows("SELECT day FROM activity WHERE user_id = ?").first.map {
                    CalendarDay(number: try $0.integer("day"))
                })
        }
    }

    // MARK: Addresses

    package func cutAddresses(
        before time: UnixTime, limit: Int, at now: UnixTime
    ) async throws(StoreError) -> Int {
        guard try await earliestAddress().map({ $0 < time }) ?? false else { return 0 }
        return try await write(at: now, .rows) { db in
            let arguments: StatementArguments = [time.seconds, limit]
            try db.execute(
                sql: """
                    UPDATE audit_personal SET address = NULL, address_salt = NULL
                    WHERE sequence IN (\(Self.before("address IS NOT NULL", db)))
                    """, arguments: arguments)
            var cut = try db.changesCount
            // It can't be made another without breaking the entry's hash: what is personal goes as a whole.
            try db.execute(
                sql: """
                    DELETE FROM audit_personal WHERE sequence IN
                        (\(Self.before("place NOT LIKE '%/24' AND place NOT LIKE '%/48'", db)))
                    """, arguments: arguments)
            cut += try db.changesCount
            if cut > 0 { try Self.noteErasure(db, at: now) }
            return cut
        }
    }

    /// The first entries of one kind, if they are old enough; the trail's numbers are in its order of time.
    private static func before(_ condition: String, _ db: Database) -> String {
        """
        SELECT sequence FROM audit_personal JOIN audit USING (sequence)
        WHERE \(condition) AND audit.time < ? ORDER BY sequence LIMIT ?
        \(db.skippingLockedRows(of: "audit_personal"))
        """
    }

    package func earliestAddress() async throws(StoreError) -> UnixTime? {
        try await readOne { db in
            try db.row(
                sql: """
                    SELECT min(time) AS time FROM audit WHERE sequence IN (
                        (SELECT min(sequence) FROM audit_personal WHERE address IS NOT NULL),
                        (SELECT min(sequence) FROM audit_personal
                            WHERE place NOT LIKE '%/24' AND place NOT LIKE '%/48'))
                    """)?.optionalTime("time")
        }
    }
}

extension Row {
    func deletion() throws(StoreError) -> Deletion {
        Deletion(
            user: UserID(try identifier("user_id")), requested: try time("requested"),
            due: try time("due"))
    }

    func heldSeries() throws(StoreError) -> HeldRecords.Series {
        HeldRecords.Series(
            id: SeriesID(try identifier("id")), created: try time("created"),
            authenticated: try time("authenticated"),
            methods: AuthenticationMethods(rawValue: try number("methods")),
            deadline: try time("deadline"), generation: try number("generation"),
            made: try time("made"), session: SessionID(try identifier("session_id")),
            device: try optionalIdentifier("device_id").map { DeviceID($0) },
            origin: SessionOrigin(
                browser: try optionalText("browser"), place: try optionalText("place")))
    }
}
