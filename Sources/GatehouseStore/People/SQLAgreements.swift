// Notices and agreements in SQLite.

import Foundation
package import GatehouseCore
package import GatehousePeople

extension SQLStore {
    // MARK: Notices

    package func publishNotice(
        _ draft: NoticeDraft, period: NoticePeriod, at now: UnixTime
    ) async throws(StoreError) -> PublishOutcome {
        try await write(at: now) { db in
            let all = try Self.notices(db)
            // By the store's clock: a command whose clock is behind doesn't shorten the wait.
            let now = try Self.latestTime(db, now)
            let notice: Notice
            do throws(PublishRefusal) {
                notice = try draft.notice(among: all, period: period, at: now)
            } catch { return .refused(error) }
            try db.execute(
                sql: """
                    INSERT INTO notices (document, version, title, text, sha256, published,
                        effective, required_from)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    notice.id.document.text, notice.id.version, notice.title, draft.text,
                    Data(notice.digest), notice.published.seconds, notice.effective.seconds,
                    notice.requiredFrom?.seconds,
                ])
            try Self.append(
                AuditEvent(
                    .noticePublished, by: .command,
                    detail: notice.id.evidence + " effective=\(notice.effective.seconds)"),
                to: db, at: now)
            return .published(notice)
        }
    }

    package func withdrawNotice(
        _ id: NoticeID, at now: UnixTime
    ) async throws(StoreError) -> WithdrawNoticeOutcome {
        try await write(at: now) { db in
            guard let notice = try Self.notice(id, db) else { return .notFound }
            // By the store's clock, or what is in force could be taken back.
            let now = try Self.latestTime(db, now)
            guard notice.withdrawn == nil, now < notice.effective else { return .tooLate }
            try db.execute(
                sql: "UPDATE notices SET withdrawn = ? WHERE document = ? AND version = ?",
                arguments: [
                    max(now, notice.published).seconds, id.document.text, id.version,
                ])
            try Self.append(
                AuditEvent(.noticeWithdrawn, by: .command, detail: id.evidence), to: db, at: now)
            return .withdrawn(notice)
        }
    }

    package func notices() async throws(StoreError) -> [Notice] {
        try await readOne { try Self.notices($0) }
    }

    private static let noticeColumns = """
        SELECT document, version, title, sha256, published, effective, required_from, withdrawn
        FROM notices
        """

    private static func notices(_ db: Database) throws -> [Notice] {
        try db.rows(noticesQuery).map { try $0.notice() }
    }

    static let noticesQuery = Query(noticeColumns + " ORDER BY document, version")

    private static func notice(_ id: NoticeID, _ db: Database) throws -> Notice? {
        try db.row(
            sql: noticeColumns + " WHERE document = ? AND version = ?",
            arguments: [id.document.text, id.version]
        ).map { try $0.notice() }
    }

    package func noticeText(_ id: NoticeID) async throws(StoreError) -> String? {
        try await readOne { db in
            let row = try db.row(
                sql: "SELECT text, sha256 FROM notices WHERE document = ? AND version = ?",
                arguments: [id.document.text, id.version])
            guard let row else { return nil }
            let text = try row.text("text")
            // Whoever wrote to the file has people read what nobody published.
            guard try sha256(Array(text.utf8).span) == row.bytes("sha256") else {
                throw StoreError.damaged("notices")
            }
            return text
        }
    }

    // MARK: Agreements

    package func agreements(
        of user: UserID, limit: Int
    ) async throws(StoreError) -> [Agreement] {
        try await readOne { db in
            try db.rows(
                sql: "SELECT * FROM agreements WHERE user_id = ? ORDER BY sequence DESC LIMIT ?",
                arguments: [user.value.data, limit]
            ).map { try $0.agreement() }
        }
    }

    package func agreementState(
        of user: UserID
    ) async throws(StoreError) -> AgreementState {
        try await readOne { try Self.agreementState(of: user, $0) }
    }

    private static func agreementState(
        of user: UserID, _ db: Database
    ) throws -> AgreementState {
        let rows = try db.rows(
            sql: """
                SELECT * FROM agreements WHERE sequence IN
                    (SELECT max(sequence) FROM agreements WHERE user_id = ? GROUP BY kind, name)
                """,
            arguments: [user.value.data])
        return AgreementState(try rows.map { try $0.agreement() })
    }

    package func record(
        _ entries: [AgreementEntry], of user: UserID, session: SessionID?, purposes: [Purpose],
        at now: UnixTime
    ) async throws(StoreError) -> RecordOutcome {
        try await write(at: now, .user(user)) { db in
            guard try Self.user(user, db)?.state == .enabled else { return .noUser }
            var state = try Self.agreementState(of: user, db)
            var changes: [AgreementEntry] = []
            for entry in entries where state.isChanged(by: entry, purposes: purposes) {
                guard try Self.isPublished(entry, db) else { return .noNotice }
                state.note(Agreement(entry, at: now))
                changes.append(entry)
            }
            // What a sign-in asks for is always taken: it needs the password, and ends.
            if session != nil, changes.contains(where: \.isGiven) {
                let count = try db.integer(
                    sql: "SELECT count(*) FROM agreements WHERE user_id = ?",
                    arguments: [user.value.data])
                guard Int(count ?? 0) + changes.count <= Agreement.maximumPerUser else {
                    return .full
                }
            }
            for entry in changes {
                try Self.insert(entry, of: user, session: session, db, at: now)
            }
            return .recorded(changes.count)
        }
    }

    /// Whether a document that is accepted is there; it may be withdrawn while people read it.
    private static func isPublished(_ entry: AgreementEntry, _ db: Database) throws -> Bool {
        guard case .document(let name) = entry.subject, entry.isGiven else { return true }
        let notice = try notice(NoticeID(document: name, version: entry.version), db)
        return notice.map { $0.withdrawn == nil } ?? false
    }

    static func insert(
        _ entry: AgreementEntry, of user: UserID, session: SessionID?, _ db: Database,
        at now: UnixTime
    ) throws {
        let subject = entry.subject
        try db.execute(
            sql: """
                INSERT INTO agreements (user_id, kind, name, version, given, time)
                VALUES (?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                user.value.data, subject.kind.rawValue, subject.name.text, entry.version,
                entry.isGiven, now.seconds,
            ])
        try append(
            AuditEvent(
                entry.isGiven ? .agreementGiven : .agreementWithdrawn, by: .server, user: user,
                session: session,
                detail: "\(subject.kind.rawValue)=\(subject.name.text) version=\(entry.version)"),
            to: db, at: now)
    }

    package func choosers(
        of purpose: Purpose, after name: Username?, limit: Int
    ) async throws(StoreError) -> [Chooser] {
        try await readOne { db in
            try db.rows(
                sql: """
                    SELECT users.id, names.canonical FROM names
                    JOIN users ON users.id = names.user_id AND users.state = 'enabled'
                    LEFT JOIN agreements AS said ON said.sequence =
                        (SELECT max(sequence) FROM agreements
                            WHERE user_id = users.id AND kind = 'purpose' AND name = :purpose)
                    WHERE names.state = 'live' AND names.canonical > :after
                        AND CASE WHEN said.sequence IS NULL THEN :isOptOut = 1
                            ELSE said.given = 1 AND (:isOptOut = 1 OR said.version >= :version)
                            END
                    ORDER BY names.canonical LIMIT :limit
                    """,
                arguments: [
                    "purpose": purpose.name.text, "after": name?.text ?? "",
                    "isOptOut": purpose.initial == .optOut, "version": purpose.version,
                    "limit": limit,
                ]
            ).map { row in
                Chooser(
                    user: UserID(try row.identifier("id")),
                    username: try row.username("canonical"))
            }
        }
    }
}

extension NoticeID {
    fileprivate var evidence: String { "document=\(document.text) version=\(version)" }
}

extension Row {
    private func subject(_ column: String) throws(StoreError) -> SubjectName {
        guard let name = SubjectName(try text(column)) else { throw .damaged(column) }
        return name
    }

    func notice() throws(StoreError) -> Notice {
        Notice(
            id: NoticeID(document: try subject("document"), version: try number("version")),
            title: try text("title"), digest: try bytes("sha256"),
            published: try time("published"), effective: try time("effective"),
            requiredFrom: try optionalTime("required_from"),
            withdrawn: try optionalTime("withdrawn"))
    }

    func agreement() throws(StoreError) -> Agreement {
        guard let kind = AgreementSubject.Kind(rawValue: try text("kind")) else {
            throw .damaged("kind")
        }
        return Agreement(
            AgreementEntry(
                AgreementSubject(kind, try subject("name")), version: try number("version"),
                isGiven: try integer("given") == 1), at: try time("time"))
    }
}
