// Notices and agreements as the store keeps them: what never changes, and what follows from it.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

struct AgreementContractTests {
    private let directory = TemporaryDirectory()
    private let now = time(noon)
    private let store: SQLStore

    init() throws {
        store = try Backend.inForce.open(directory)
    }

    private func name(_ text: String) throws -> SubjectName { try #require(SubjectName(text)) }

    private func draft(
        _ effective: Int64, document: String = "terms", text: String = "Be kind."
    ) throws -> NoticeDraft {
        try NoticeDraft(
            document: try name(document), title: "Terms", text: text,
            effective: CalendarDay(of: time(effective)), requiredFrom: nil)
    }

    @discardableResult
    private func publish(
        _ draft: NoticeDraft, at now: UnixTime = time(noon)
    ) async throws -> Notice {
        let outcome = try await store.publishNotice(
            draft, period: NoticePeriod(businessDays: 1), at: now)
        guard case .published(let notice) = outcome else {
            throw StoreError.unavailable("\(outcome)")
        }
        return notice
    }

    private func addUser(_ text: String, accepting: [NoticeID] = []) async throws -> UserID {
        let id = try UserID.random(from: .system)
        var enrolment = Enrolment()
        enrolment.agreements = accepting
        let outcome = try await store.addUser(
            username(text), id: id, passwordHash: "x", invitation: nil, enrolment: enrolment,
            audit: AuditEvent(.userCreated, by: .server, user: id), at: now)
        guard case .added = outcome else { throw StoreError.damaged("\(outcome)") }
        return id
    }

    private func isRefused(
        _ sql: String, _ arguments: StatementArguments = []
    ) async throws -> Bool { try await store.refuses(sql, arguments, at: now) }

    // MARK: Notices

    @Test func `versions are counted, and the audit trail says who published them`() async throws {
        let first = try await publish(try draft(noon))
        let second = try await publish(try draft(noon + 9 * 86_400, text: "Be kinder."))
        #expect([first, second].map(\.id.version) == [1, 2])
        #expect(try await store.notices() == [first, second])
        #expect(try await store.noticeText(second.id) == "Be kinder.")
        let refused = try await store.publishNotice(
            try draft(noon + 86_400), period: NoticePeriod(businessDays: 1), at: now)
        #expect(refused == .refused(.tooSoon(CalendarDay(of: time(noon + 2 * 86_400)))))
        #expect(try await store.notices().count == 2)
        let details = try await store.audit(after: 0, limit: 10)
            .filter { $0.event.kind == .noticePublished }.map(\.event.detail)
        #expect(details.count == 2)
        #expect(details.first??.hasPrefix("document=terms version=1 effective=\(noon)") == true)
    }

    // Promise: notice-period
    @Test func `what was published never changes, and can't be published backwards`() async throws {
        try await publish(try draft(noon))
        let coming = try await publish(try draft(noon + 9 * 86_400))
        for column in ["title = 'x'", "text = 'x'", "document = 'x'"] {
            #expect(try await isRefused("UPDATE notices SET \(column)"), "\(column)")
        }
        let hash = Data(count: 32)
        #expect(try await isRefused("UPDATE notices SET sha256 = ?", [hash]))
        for column in ["version", "published", "effective", "required_from"] {
            #expect(
                try await isRefused("UPDATE notices SET \(column) = \(noon - 86400)"), "\(column)")
        }
        // With a withdrawal, which alone is taken, nothing else changes either.
        #expect(
            try await isRefused(
                "UPDATE notices SET withdrawn = \(noon), text = 'x' WHERE version = 2"))
        #expect(try await isRefused("DELETE FROM notices"))
        func refuses(
            _ version: Int, _ published: Int64, _ effective: Int64
        ) async throws -> Bool {
            try await store.refuses(
                """
                INSERT INTO notices (document, version, title, text, sha256, published, effective)
                VALUES ('terms', ?, 't', 'x', ?, ?, ?)
                """, [version, hash, published, effective], at: now)
        }
        #expect(try await refuses(3, noon, noon - 1), "in force before people could read it")
        for version in [2, 4, 0] { #expect(try await refuses(version, noon, noon)) }
        #expect(try await refuses(3, noon - 1, noon + 1), "by a clock that is behind")
        #expect(try await refuses(3, noon, noon) == false)
        #expect(try await store.notices().first { $0.id == coming.id } == coming)
    }

    @Test func `a notice is taken back before it takes effect, once`() async throws {
        let first = try await publish(try draft(noon))
        let second = try await publish(try draft(noon + 9 * 86_400))
        let third = try await publish(try draft(noon + 9 * 86_400))
        let unknown = NoticeID(document: first.id.document, version: 4)
        #expect(try await store.withdrawNotice(unknown, at: now) == .notFound)
        #expect(try await store.withdrawNotice(first.id, at: now) == .tooLate)
        let last = second.effective.advanced(bySeconds: -1)
        #expect(try await store.withdrawNotice(second.id, at: last) == .withdrawn(second))
        #expect(try await store.withdrawNotice(second.id, at: last) == .tooLate)
        #expect(try await store.withdrawNotice(third.id, at: third.effective) == .tooLate)
        #expect(try await store.notices().map(\.withdrawn) == [nil, last, nil])
        #expect(try await isRefused("UPDATE notices SET withdrawn = NULL"), "nor put back")
        let kinds = try await store.audit(after: 0, limit: 10).map(\.event.kind)
        #expect(kinds.filter { $0 == .noticeWithdrawn }.count == 1)
    }

    @Test
    func `a command whose clock is behind neither shortens the wait nor takes back what holds`()
        async throws
    {
        let day: Int64 = 86_400
        let first = try await publish(try draft(noon + day))
        // The store has seen a later moment: the first version is in force.
        try await store.write(at: time(noon + 80 * day)) { _ in }
        for behind in [noon, noon + 80 * day - 1] {
            let outcome = try await store.publishNotice(
                try draft(noon + 81 * day), period: NoticePeriod(businessDays: 30),
                at: time(behind))
            guard case .refused(.tooSoon) = outcome else {
                Issue.record("\(outcome)")
                continue
            }
            #expect(try await store.withdrawNotice(first.id, at: time(behind)) == .tooLate)
        }
        let second = try await publish(try draft(noon + 90 * day), at: now)
        #expect(second.published == time(noon + 80 * day))
        #expect(try await store.withdrawNotice(second.id, at: now) == .withdrawn(second))
        #expect(try await store.notices().last?.withdrawn == time(noon + 80 * day))
        // Whoever writes to the file by hand is stopped too.
        let third = try await publish(try draft(noon + 95 * day), at: now)
        let sql = "UPDATE notices SET withdrawn = \(noon + 80 * day - 1)"
        #expect(try await isRefused(sql + " WHERE version = \(third.id.version)"))
        // Not even before any version of the document is there.
        #expect(
            try await isRefused(
                """
                INSERT INTO notices (document, version, title, text, sha256, published, effective)
                VALUES ('privacy', 1, 't', 'x', ?, \(noon), \(noon))
                """, [Data(count: 32)]))
    }

    @Test func `a text that somebody else wrote is not shown`() async throws {
        let notice = try await publish(try draft(noon))
        try await store.write(at: now) { db in
            try db.withoutTriggers(on: "notices") {
                try db.execute(sql: "UPDATE notices SET text = 'Pay.'")
            }
        }
        await #expect(throws: StoreError.damaged("notices")) {
            try await store.noticeText(notice.id)
        }
    }

    // MARK: Agreements

    // Promise: choice
    @Test func `each change is a row that stays, with its audit entry`() async throws {
        let ada = try await addUser("ada")
        let letters = Purpose(
            name: try name("letters"), title: "L", text: "x", initial: .optIn, version: 2)
        func say(_ isGiven: Bool, _ seconds: Int64) async throws -> RecordOutcome {
            try await store.record(
                [AgreementEntry(.purpose(letters.name), version: 2, isGiven: isGiven)], of: ada,
                session: nil, purposes: [letters], at: time(noon + seconds))
        }
        #expect(try await say(false, -1) == .recorded(1), "nothing held, and they said no")
        #expect(try await say(false, 0) == .recorded(0), "said already")
        #expect(try await say(true, 1) == .recorded(1))
        #expect(try await say(true, 2) == .recorded(0))
        #expect(try await say(false, 3) == .recorded(1))
        let rows = try await store.agreements(of: ada, limit: 10)
        #expect(rows.map(\.entry.isGiven) == [false, true, false])
        #expect(rows.map(\.time) == [time(noon + 3), time(noon + 1), time(noon - 1)])
        #expect(try await store.agreements(of: ada, limit: 1).count == 1)
        #expect(try await store.agreementState(of: ada).holds(letters) == false)
        for sql in ["UPDATE agreements SET given = 1", "UPDATE agreements SET time = 0"] {
            #expect(try await isRefused(sql), "\(sql)")
        }
        let events = try await store.audit(after: 0, limit: 10).map(\.event)
            .filter { [.agreementGiven, .agreementWithdrawn].contains($0.kind) }
        #expect(events.map(\.kind) == [.agreementWithdrawn, .agreementGiven, .agreementWithdrawn])
        #expect(events.allSatisfy { $0.user == ada && $0.detail == "purpose=letters version=2" })
    }

    @Test func `a no stands when the version or the default changes, and changes back`()
        async throws
    {
        let letters = try name("letters")
        func purpose(_ initial: Purpose.Initial, _ version: Int) -> Purpose {
            Purpose(name: letters, title: "L", text: "x", initial: initial, version: version)
        }
        func say(_ isGiven: Bool, _ user: UserID, to purpose: Purpose) async throws {
            let entry = AgreementEntry(
                .purpose(letters), version: purpose.version, isGiven: isGiven)
            #expect(
                try await store.record(
                    [entry], of: user, session: nil, purposes: [purpose], at: now)
                    == .recorded(1))
        }
        let ada = try await addUser("ada")
        try await say(true, ada, to: purpose(.optIn, 2))
        try await say(false, ada, to: purpose(.optIn, 3))
        let bob = try await addUser("bob")
        try await say(false, bob, to: purpose(.optIn, 1))
        // A yes to what holds by default is theirs from then on.
        let eve = try await addUser("eve")
        try await say(true, eve, to: purpose(.optOut, 3))
        for (initial, version) in [(.optIn, 2), (.optIn, 3), (.optOut, 2), (.optOut, 3)]
            as [(Purpose.Initial, Int)]
        {
            let found = try await store.choosers(
                of: purpose(initial, version), after: nil, limit: 9)
            #expect(found.map(\.user) == [eve], "\(initial) \(version)")
        }
    }

    @Test func `nobody agrees to what is not there, or is no more`() async throws {
        let ada = try await addUser("ada")
        let notice = try await publish(try draft(noon + 9 * 86_400))
        func accept(_ id: NoticeID, _ user: UserID) async throws -> RecordOutcome {
            try await store.record(
                [AgreementEntry(accepting: id)], of: user, session: nil, purposes: [], at: now)
        }
        let next = NoticeID(document: notice.id.document, version: 2)
        #expect(try await accept(next, ada) == .noNotice)
        #expect(try await accept(notice.id, try UserID.random(from: .system)) == .noUser)
        #expect(try await accept(notice.id, ada) == .recorded(1))
        _ = try await store.setUser(
            ada, state: .disabled, audit: AuditEvent(.userDisabled, by: .command), at: now)
        #expect(try await accept(notice.id, ada) == .noUser)
        let bob = try await addUser("bob")
        _ = try await store.withdrawNotice(notice.id, at: now)
        #expect(try await accept(notice.id, bob) == .noNotice)
        #expect(
            try await isRefused(
                """
                INSERT INTO agreements (user_id, kind, name, version, given, time)
                SELECT id, 'document', 'terms', 2, 1, 0 FROM users
                """))
    }

    @Test func `who has said as much as is kept can still withdraw`() async throws {
        let ada = try await addUser("ada")
        let purposes = try ["a", "b"].map {
            Purpose(name: try name($0), title: "T", text: "x", initial: .optOut, version: 1)
        }
        let session = SessionID(Identifier(high: 1, low: 1))
        func say(_ purpose: Int, _ isGiven: Bool) async throws -> RecordOutcome {
            try await store.record(
                [AgreementEntry(.purpose(purposes[purpose].name), version: 1, isGiven: isGiven)],
                of: ada, session: session, purposes: purposes, at: now)
        }
        #expect(try await say(0, false) == .recorded(1))
        try await store.write(at: now) { db in
            for _ in 2..<Agreement.maximumPerUser {
                try db.execute(
                    sql: """
                        INSERT INTO agreements (user_id, kind, name, version, given, time)
                        VALUES (?, 'purpose', 'c', 1, 1, 0)
                        """, arguments: [ada.value.data])
            }
        }
        #expect(try await say(0, true) == .recorded(1), "the last one")
        #expect(try await say(0, false) == .recorded(1))
        #expect(try await say(0, true) == .full)
        #expect(try await say(1, false) == .recorded(1))
        // A sign-in is not kept waiting by it.
        let notice = try await publish(try draft(noon))
        #expect(
            try await store.record(
                [AgreementEntry(accepting: notice.id)], of: ada, session: nil, purposes: [], at: now
            )
                == .recorded(1))
    }

    @Test func `a user is added with what they accepted, or not at all`() async throws {
        let notice = try await publish(try draft(noon))
        let ada = try await addUser("ada", accepting: [notice.id])
        #expect(try await store.agreementState(of: ada).accepted(notice.id.document) == 1)
        let next = NoticeID(document: notice.id.document, version: 2)
        await #expect(throws: StoreError.self) { try await addUser("bob", accepting: [next]) }
        #expect(try await store.user(named: username("bob")) == nil)
    }

    // Promise: choice
    @Test(arguments: [Purpose.Initial.optIn, .optOut])
    func `a mailer gets those for whom the purpose holds now, and nobody else`(
        _ initial: Purpose.Initial
    ) async throws {
        let letters = Purpose(
            name: try name("letters"), title: "L", text: "x", initial: initial, version: 2)
        var users: [String: UserID] = [:]
        for (text, statements) in [
            ("silent", []), ("yes", [(2, true)]), ("no", [(2, false)]), ("older", [(1, true)]),
            ("undone", [(2, true), (2, false)]), ("back", [(2, false), (2, true)]),
            ("gone", [(2, true)]), ("off", [(2, true)]),
        ] as [(String, [(Int, Bool)])] {
            let id = try await addUser(text)
            users[text] = id
            for (version, isGiven) in statements {
                try await store.write(at: now) { db in
                    try SQLStore.insert(
                        AgreementEntry(.purpose(letters.name), version: version, isGiven: isGiven),
                        of: id, session: nil, db, at: time(noon))
                    // Of another purpose, which says nothing of this one.
                    try SQLStore.insert(
                        AgreementEntry(
                            .purpose(try #require(SubjectName("calls"))), version: 9,
                            isGiven: !isGiven), of: id, session: nil, db, at: time(noon))
                }
            }
        }
        try await store.delete(try #require(users["gone"]))
        _ = try await store.setUser(
            try #require(users["off"]), state: .disabled,
            audit: AuditEvent(.userDisabled, by: .command), at: now)
        let expected =
            initial == .optIn ? ["back", "yes"] : ["back", "older", "silent", "yes"]
        let found = try await store.choosers(of: letters, after: nil, limit: 10)
        #expect(found.map(\.username.text) == expected)
        #expect(found.map(\.user) == expected.map { users[$0] })
        // What the rule says of each of them.
        for (name, user) in users where !["gone", "off"].contains(name) {
            let state = try await store.agreementState(of: user)
            #expect(state.holds(letters) == expected.contains(name), "\(name)")
        }
        let first = try await store.choosers(of: letters, after: nil, limit: 1)
        let rest = try await store.choosers(of: letters, after: first.last?.username, limit: 10)
        #expect((first + rest).map(\.username.text) == expected)
    }
}
