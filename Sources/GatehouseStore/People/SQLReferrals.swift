// Codes that people came by, in SQLite.

package import GatehouseCore
package import GatehousePeople

extension SQLStore {
    package func addReferral(
        _ referral: Referral, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> AddReferralOutcome {
        try await write(at: now) { db in
            guard try Self.referral(referral.code, db) == nil else { return .taken }
            let count = try db.integer(sql: "SELECT count(*) FROM referral_codes") ?? 0
            guard count < Referral.maximumCount else { return .full }
            try db.execute(
                sql: """
                    INSERT INTO referral_codes (code, label, created, until, retired)
                    VALUES (?, ?, ?, ?, NULL)
                    """,
                arguments: [
                    referral.code.text, referral.label, now.seconds, referral.until?.seconds,
                ])
            try Self.append(audit, to: db, at: now)
            return .added
        }
    }

    package func retireReferral(
        _ code: ReferralCode, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> RetireReferralOutcome {
        try await write(at: now) { db in
            guard let referral = try Self.referral(code, db) else { return .notFound }
            guard referral.retired == nil else { return .already }
            try db.execute(
                sql: "UPDATE referral_codes SET retired = ? WHERE code = ?",
                arguments: [now.seconds, code.text])
            try Self.append(audit, to: db, at: now)
            return .retired
        }
    }

    package func referral(_ code: ReferralCode) async throws(StoreError) -> Referral? {
        try await readOne { db in try Self.referral(code, db) }
    }

    package func referrals() async throws(StoreError) -> [Referral] {
        try await readOne { db in
            try db.rows(sql: "SELECT * FROM referral_codes ORDER BY code")
                .map { try Self.referral($0) }
        }
    }

    private static func referral(_ code: ReferralCode, _ db: Database) throws -> Referral? {
        try db.row(
            sql: "SELECT * FROM referral_codes WHERE code = ?", arguments: [code.text]
        ).map { try referral($0) }
    }

    private static func referral(_ row: Row) throws(StoreError) -> Referral {
        let label = try row.text("label")
        guard Referral.isLabel(label) else { throw .damaged("label") }
        return Referral(
            code: try code(row), label: label, created: try row.time("created"),
            until: try row.optionalTime("until"), retired: try row.optionalTime("retired"))
    }

    private static func code(_ row: Row) throws(StoreError) -> ReferralCode {
        guard let code = ReferralCode(Array(try row.text("code").utf8)) else {
            throw .damaged("code")
        }
        return code
    }

    // MARK: Counting

    package func countArrival(
        by code: ReferralCode, at now: UnixTime
    ) async throws(StoreError) {
        try await write(at: now, .rows) { db in
            guard try Self.referral(code, db)?.isOpen(at: now) == true else { return }
            try Self.count(arrivals: 1, registrations: 0, by: code, db, at: now)
        }
    }

    private static func count(
        arrivals: Int, registrations: Int, by code: ReferralCode, _ db: Database, at now: UnixTime
    ) throws {
        try db.count(
            sql: """
                INSERT INTO referral_counts (code, month, arrivals, registrations)
                VALUES (?, ?, ?, ?)
                ON CONFLICT (code, month) DO UPDATE SET
                    arrivals = referral_counts.arrivals + excluded.arrivals,
                    registrations = referral_counts.registrations + excluded.registrations
                """,
            arguments: [code.text, CalendarDay(of: now).month, arrivals, registrations])
    }

    package func referralCounts(since: UnixTime?) async throws(StoreError) -> [ReferralCount] {
        try await readOne { db in
            try db.rows(
                sql: """
                    SELECT code, label, month, arrivals, registrations
                    FROM referral_counts JOIN referral_codes USING (code)
                    WHERE month >= ? ORDER BY code, month
                    """,
                arguments: [CalendarDay(of: since ?? .zero).month]
            ).map { row in
                ReferralCount(
                    code: try Self.code(row), label: try row.text("label"),
                    month: try row.text("month"), arrivals: try row.integer("arrivals"),
                    registrations: try row.integer("registrations"))
            }
        }
    }

    // MARK: People

    /// Ties a new user to the code, within the transaction that adds them; not to one that was retired in the
    /// meantime.
    static func keep(
        _ claims: ReferralClaims, of user: UserID, _ db: Database, at now: UnixTime
    ) throws {
        guard claims.isGood(at: now),
            let referral = try Self.referral(claims.code, db), referral.isOpen(at: now)
        else { return }
        try db.execute(
            sql: "INSERT INTO referrals (user_id, code, time) VALUES (?, ?, ?)",
            arguments: [user.value.data, claims.code.text, claims.accepted.seconds])
        try count(arrivals: 0, registrations: 1, by: claims.code, db, at: now)
        try append(
            AuditEvent(.agreementGiven, by: .server, user: user, detail: "purpose=referral"),
            to: db, at: now)
    }

    package func referralTie(of user: UserID) async throws(StoreError) -> ReferralTie? {
        try await readOne { db in
            try db.row(
                sql: """
                    SELECT code, label, time FROM referrals JOIN referral_codes USING (code)
                    WHERE user_id = ?
                    """,
                arguments: [user.value.data]
            ).map { row in
                ReferralTie(
                    code: try Self.code(row), label: try row.text("label"),
                    accepted: try row.time("time"))
            }
        }
    }

    package func removeReferralTie(
        of user: UserID, audit: AuditEvent, at now: UnixTime
    ) async throws(StoreError) -> Bool {
        try await write(at: now, .user(user)) { db in
            try db.execute(
                sql: "DELETE FROM referrals WHERE user_id = ?", arguments: [user.value.data])
            guard try db.changesCount > 0 else { return false }
            try Self.append(audit, to: db, at: now)
            return true
        }
    }
}

extension CalendarDay {
    /// As `2026-01`.
    fileprivate var month: String { String(text.prefix(7)) }
}
