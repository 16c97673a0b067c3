// Leaving: what is asked, when it is done, and that nothing stays.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

extension SQLStore {
    @discardableResult func delete(
        _ user: UserID, onlyIfDue: Bool = false, at now: Int64 = noon
    ) async throws -> RevocationOutcome {
        try await deletePerson(
            user, onlyIfDue: onlyIfDue, lookUpKey: try lookUpKey(),
            audit: AuditEvent(.userDeleted, by: .command, user: user), at: time(now))
    }

    func delete(_ user: User, onlyIfDue: Bool = false, at now: Int64 = noon) async throws
        -> RevocationOutcome
    {
        try await delete(user.id, onlyIfDue: onlyIfDue, at: now)
    }

    /// A user with a password hash that says so.
    func makeMarked(_ name: String, tag: String) async throws -> (user: User, rows: PersonalRows) {
        let id = try UserID.random(from: .system)
        var context = AuditContext()
        context.origin = SessionOrigin(
            browser: "\(PersonalRows.marker)\(tag)", place: "\(PersonalRows.marker)\(tag)/24")
        context.reason = "\(PersonalRows.marker)\(tag)"
        context.address = "\(PersonalRows.marker)\(tag)"
        let outcome = try await AuditContext.$current.withValue(context) {
            try await addUser(
                username(name), id: id, passwordHash: "\(PersonalRows.marker)\(tag)",
                audit: AuditEvent(.userCreated, by: .server, user: id), at: time(noon))
        }
        guard case .added(let user) = outcome else { throw Unexpected("\(outcome)") }
        let rows = PersonalRows(
            user: id, device: DeviceID(try Identifier.random(from: .system)), tag: tag)
        try await write(at: time(noon)) { db in
            // What registering counted is filled in like the rest.
            try db.execute(
                sql: "DELETE FROM activity WHERE user_id = ?", arguments: [id.value.data])
            try rows.fill(db)
        }
        return (user, rows)
    }
}

@Suite struct DepartureContractTests {
    private let directory = TemporaryDirectory()

    private func open() throws -> SQLStore { try Backend.inForce.open(directory) }

    private var ledgerPath: String { directory.path + "/deletions.ledger" }

    private func ledger() -> String {
        (try? String(contentsOfFile: ledgerPath, encoding: .utf8)) ?? ""
    }

    private func setMode(_ mode: Int) throws {
        try FileManager.default.setAttributes(
            [.posixPermissions: mode], ofItemAtPath: ledgerPath)
    }

    // MARK: Asking

    private func request(
        _ user: User, hash: String = "hash", due: Int64 = noon + 100, _ store: SQLStore,
        at now: Int64 = noon
    ) async throws -> DeletionRequestOutcome {
        try await store.requestDeletion(
            DeletionRequest(
                user: user.id, epoch: user.epoch, passwordHash: hash,
                clearing: try AttemptKey(user.username, key: try lookUpKey()), due: time(due)),
            audit: AuditEvent(.deletionRequested, by: .server, user: user.id), at: time(now))
    }

    private func makeUser(_ store: SQLStore, _ name: String = "ada") async throws -> User {
        let id = try UserID.random(from: .system)
        let outcome = try await store.addUser(
            username(name), id: id, passwordHash: "hash",
            audit: AuditEvent(.userCreated, by: .server, user: id), at: time(noon))
        guard case .added(let user) = outcome else { throw Unexpected("\(outcome)") }
        return user
    }

    private func cancel(_ user: User, _ store: SQLStore, at now: Int64) async throws -> Bool {
        try await store.cancelDeletion(
            of: user.id, audit: AuditEvent(.deletionCancelled, by: .server, user: user.id),
            at: time(now))
    }

    // Promise: deletion
    @Test func `a request waits, can be cancelled until it is due, and not from then on`()
        async throws
    {
        let store = try open()
        let ada = try await makeUser(store)
        let deletion = Deletion(user: ada.id, requested: time(noon), due: time(noon + 100))
        #expect(try await request(ada, store) == .requested(deletion))
        #expect(try await store.deletion(of: ada.id) == deletion)
        // Asked again, the first one stays.
        #expect(
            try await request(ada, due: noon + 900, store, at: noon + 5) == .requested(deletion))
        #expect(try await store.delete(ada, onlyIfDue: true, at: noon + 99) == .notFound)
        #expect(try await cancel(ada, store, at: noon + 99))
        #expect(try await !cancel(ada, store, at: noon + 99), "there is none")
        #expect(try await store.deletions(limit: 9) == [])
        #expect(try await store.delete(ada, onlyIfDue: true, at: noon + 900) == .notFound)

        _ = try await request(ada, store)
        #expect(try await !cancel(ada, store, at: noon + 100))
        #expect(try await store.user(ada.id) != nil)
        guard case .revoked = try await store.delete(ada, onlyIfDue: true, at: noon + 100) else {
            Issue.record("it is due")
            return
        }
        #expect(try await store.user(ada.id) == nil)
        // Of two nodes one does it.
        #expect(try await store.delete(ada, onlyIfDue: true, at: noon + 100) == .notFound)
        #expect(
            try await store.audit(after: 0, limit: 99).map(\.event.kind) == [
                .userCreated, .deletionRequested, .deletionCancelled, .deletionRequested,
                .userDeleted,
            ])
    }

    @Test func `a request needs the user as the password was verified for`() async throws {
        let store = try open()
        let ada = try await makeUser(store)
        #expect(try await request(ada, hash: "other", store) == .userChanged)
        _ = try await store.set(ada, .disabled)
        #expect(try await request(ada, store) == .userChanged, "disabled")
        _ = try await store.setUser(
            ada.id, state: .enabled, audit: AuditEvent(.userEnabled, by: .command, user: ada.id),
            at: time(noon))
        #expect(try await request(ada, store) == .userChanged, "another epoch")
        #expect(try await store.deletion(of: ada.id) == nil)
    }

    // MARK: Nothing left

    // Promise: nothing-left
    @Test func `everything about a person goes, table by table, and nothing of others`()
        async throws
    {
        let store = try open()
        let (ada, adaRows) = try await store.makeMarked("ada", tag: "xada")
        let (bob, bobRows) = try await store.makeMarked("bob", tag: "xbob")
        let others = try await store.read { db in try PersonalRows.finding("xbob", db).sorted() }
        #expect(others.contains("users.password_hash") && others.contains("audit_personal.address"))
        #expect(
            try await store.read { db in try PersonalRows.finding("xada", db).count }
                == others.count)
        guard case .revoked(_, let sessions) = try await store.delete(ada) else {
            Issue.record("she was there")
            return
        }
        #expect(sessions == 0, "the marked one's epoch is not hers")
        try await store.read { db in
            for table in PersonalTable.all {
                let counts = (try adaRows.count(table, db), try bobRows.count(table, db))
                switch table.fate {
                case .removed, .removedWith: #expect(counts == (0, 1), "\(table.name)")
                case .kept: #expect(counts.0 > 0, "\(table.name)")
                }
            }
            #expect(try PersonalRows.finding("xada", db) == [])
            #expect(try PersonalRows.finding("xbob", db).sorted() == others)
            let row = try #require(
                try db.row(
                    sql: "SELECT * FROM users WHERE id = ?", arguments: [ada.id.value.data]))
            #expect(try row.text("state") == "disabled")
            #expect(try row.optionalText("password_hash") == nil)
        }
        #expect(try await store.integrityFindings().isEmpty)
        #expect(try await store.availability(of: username("ada")) == .taken)
        #expect(try await store.user(bob.id) != nil)
    }

    @Test func `counters of tries go with every name and device`() async throws {
        let store = try open()
        let key = try lookUpKey()
        let (ada, rows) = try await store.makeMarked("ada", tag: "xada")
        _ = try await store.renameUser(
            ada.id, to: username("eve"), takingReserved: false,
            audit: AuditEvent(.userRenamed, by: .command, user: ada.id), at: time(noon))
        let counters = [
            try AttemptKey(username("ada"), key: key), try AttemptKey(username("eve"), key: key),
            try AttemptKey(device: rows.device, of: ada.id, key: key),
        ]
        let other = try AttemptKey(username("bob"), key: key)
        for counter in counters + [other] {
            _ = try await store.chargeAttempt(counter, user: ada.id, at: time(noon))
        }
        _ = try await store.deletePerson(
            ada.id, onlyIfDue: false, lookUpKey: key,
            audit: AuditEvent(.userDeleted, by: .command, user: ada.id), at: time(noon))
        for counter in counters { #expect(try await store.attempts(counter) == nil) }
        #expect(try await store.attempts(other) != nil)
    }

    /// Her rows are gone, and the feed's entry refuses what they would have.
    @Test func `tokens of a deleted person stay refused until the last would have expired`()
        async throws
    {
        let store = try open()
        let ada = try await makeUser(store)
        let session = try await store.makeSession(of: ada, seconds: 5000)
        guard case .revoked(let position, let ended) = try await store.delete(ada) else {
            Issue.record("she was there")
            return
        }
        #expect(ended == 1)
        #expect(try await store.session(session.id) == nil)
        let entry = try await store.feed(after: position - 1, limit: 1).first
        #expect(entry?.change == .user(ada.id, minimumEpoch: ada.epoch + 1))
        #expect(entry?.deadline == session.absoluteDeadline)
        // Nothing brings it back.
        try await store.noteActivity(
            [(session.id, time(noon + 60))], idleSeconds: 3600, at: time(noon + 60))
        #expect(try await store.session(session.id) == nil)
    }

    // MARK: The ledger

    @Test func `what can't be noted in the ledger isn't done`() async throws {
        let store = try open()
        let ada = try await makeUser(store)
        let before = try await store.audit(after: 0, limit: 99).count
        func refuses(_ what: String) async throws {
            await #expect(throws: StoreError.self, "\(what)") { try await store.delete(ada) }
            #expect(try await store.user(ada.id) == ada, "\(what)")
            #expect(try await store.audit(after: 0, limit: 99).count == before)
            try? FileManager.default.removeItem(atPath: ledgerPath)
        }
        try FileManager.default.createDirectory(
            atPath: ledgerPath, withIntermediateDirectories: false)
        try await refuses("no file")
        try FileManager.default.createSymbolicLink(
            atPath: ledgerPath, withDestinationPath: directory.path + "/elsewhere")
        try await refuses("a link")
        try "".write(toFile: ledgerPath, atomically: false, encoding: .utf8)
        try setMode(0o620)
        try await refuses("others may write")
        _ = try await store.delete(ada)
        #expect(try await store.user(ada.id) == nil)
    }

    @Test func `a line that is no entry hides no other, and is told of`() async throws {
        let store = try open()
        let ada = try await makeUser(store)
        let bob = try await makeUser(store, "bob")
        let eve = try await makeUser(store, "eve")
        let entry = "\(ada.id.value.hex) \(noon)"
        for bad in [
            "x\n", "\(bob.id.value.hex) 07\n", "\(bob.id.value.hex)\n", "\n", "\0\0",
            "\(bob.id.value.hex) 179", "\(bob.id.value.hex.prefix(9))", "é\r\n",
        ] {
            let text = "\(bad)\(entry)\n"
            try text.write(toFile: ledgerPath, atomically: false, encoding: .utf8)
            #expect(try await store.returnedPeople() == [ada.id], "\(bad)")
            #expect(try await store.unreadableLedgerLines() == 1, "\(bad)")
            #expect(try await store.pruneLedger(before: time(noon + 1), at: time(noon)) == 0)
            #expect(ledger() == text, "what is to be looked at stays")
        }
        try "\(entry)\r\n".write(toFile: ledgerPath, atomically: false, encoding: .utf8)
        #expect(try await store.returnedPeople() == [ada.id])
        // A later deletion begins a line of its own.
        for (user, rest) in [(bob, "not ours"), (eve, String(repeating: "a", count: 99))] {
            try rest.write(toFile: ledgerPath, atomically: false, encoding: .utf8)
            try setMode(0o600)
            _ = try await store.delete(user)
            #expect(ledger() == "\(rest)\n\(user.id.value.hex) \(noon)\n")
        }
        #expect(try await store.unreadableLedgerLines() == 1)
        try "".write(toFile: ledgerPath, atomically: false, encoding: .utf8)
        #expect(try await store.unreadableLedgerLines() == 0)
    }

    @Test func `a deletion that is tried again has one line a day, and who has one can't cancel`()
        async throws
    {
        let store = try open()
        let ada = try await makeUser(store)
        _ = try await request(ada, due: noon + 100, store)
        let line = "\(ada.id.value.hex) \(noon)\n"
        let ledger = DeletionLedger(directory: directory.path)
        for seconds in [0, 60, 86_399, 86_400] as [Int64] {
            try ledger.append(DeletionLedger.Entry(user: ada.id, time: time(noon + seconds)))
        }
        #expect(self.ledger() == line + "\(ada.id.value.hex) \(noon + 86_400)\n")
        let audit = AuditEvent(.deletionCancelled, by: .server, user: ada.id)
        #expect(try await !store.cancelDeletion(of: ada.id, audit: audit, at: time(noon + 50)))
        try FileManager.default.removeItem(atPath: ledgerPath)
        #expect(try await store.cancelDeletion(of: ada.id, audit: audit, at: time(noon + 50)))
    }

    // MARK: Clocks

    @Test func `a leap of the store's time is kept, for every server, until it is accepted`()
        async throws
    {
        var store = try open()
        _ = try await makeUser(store)
        #expect(try await store.clockLeap() == nil, "a new store's time says nothing")
        try await store.write(at: time(noon + 3600)) { _ in }
        #expect(try await store.clockLeap() == nil)
        let ahead = noon + 3600 + 15 * 86_400
        try await store.write(at: time(ahead)) { _ in }
        #expect(try await store.clockLeap() == ClockLeap(time: time(ahead)))
        try store.close()
        store = try open()
        try await store.write(at: time(noon)) { _ in }
        try await store.write(at: time(ahead + 3600)) { _ in }
        #expect(try await store.clockLeap() == ClockLeap(time: time(ahead)), "a restart")
        try await store.acceptClock(at: time(noon))
        #expect(try await store.clockLeap() == nil)
    }

    @Test func `a clock that leapt is believed after six hours, however far it was`() {
        let leap = ClockLeap(time: time(noon))
        #expect(leap.isHeld(at: time(noon)))
        #expect(leap.isHeld(at: time(noon + 6 * 3600 - 1)))
        #expect(!leap.isHeld(at: time(noon + 6 * 3600)))
        #expect(leap.isHeld(at: time(noon - 15 * 86_400)), "it was set back")
    }

    // MARK: The ledger's end

    @Test func `a line that a crash cut off is no entry, and is written over`() async throws {
        let store = try open()
        let ada = try await makeUser(store)
        let bob = try await makeUser(store, "bob")
        _ = try await store.delete(ada)
        let whole = ledger()
        let torn = "\(bob.id.value.hex) 17955"
        for length in 1...torn.utf8.count {
            try (whole + torn.prefix(length)).write(
                toFile: ledgerPath, atomically: false, encoding: .utf8)
            #expect(try await store.returnedPeople() == [])
        }
        try setMode(0o600)
        _ = try await store.delete(bob, at: noon + 1)
        #expect(ledger() == whole + "\(bob.id.value.hex) \(noon + 1)\n")
    }

    @Test func `entries that no copy is old enough to need are dropped`() async throws {
        let store = try open()
        let users = [
            try await makeUser(store, "ada"), try await makeUser(store, "bob"),
            try await makeUser(store, "eve"),
        ]
        for (index, user) in users.enumerated() {
            _ = try await store.delete(user, at: noon + Int64(index))
        }
        #expect(try await store.pruneLedger(before: time(noon), at: time(noon + 9)) == 0)
        #expect(try await store.pruneLedger(before: time(noon + 2), at: time(noon + 9)) == 2)
        #expect(ledger() == "\(users[2].id.value.hex) \(noon + 2)\n")
        #expect(try await store.pruneLedger(before: time(noon + 3), at: time(noon + 9)) == 1)
        #expect(ledger().isEmpty)
    }

    // MARK: Addresses

    // Promise: address-retention
    @Test func `addresses are cut when their time has come, and the chains stay whole`()
        async throws
    {
        let store = try open()
        func act(_ name: String, _ address: String?, at now: Int64) async throws {
            var context = AuditContext()
            context.origin = SessionOrigin(browser: "Firefox", place: "203.0.113.0/24")
            context.address = address
            _ = try await AuditContext.$current.withValue(context) {
                try await store.makeUser(name, at: now)
            }
        }
        try await act("ada", "203.0.113.7", at: noon)
        try await act("bob", "203.0.113.8", at: noon + 10)
        try await act("eve", nil, at: noon)
        func faults() async throws -> [AuditFault] {
            var verifier = try AuditVerifier(
                keys: [trailKey.id: trailKey], extent: try await store.auditExtent())
            for record in try await store.audit(after: 0, limit: 99) { try verifier.take(record) }
            _ = try verifier.finish()
            return verifier.faults
        }
        func addresses() async throws -> [String?] {
            try await store.audit(after: 0, limit: 99).map { $0.personal?.address?.text }
        }
        #expect(try await addresses() == ["203.0.113.7", "203.0.113.8", nil])
        #expect(try await faults() == [])
        #expect(try await store.earliestAddress() == time(noon))
        #expect(
            try await store.cutAddresses(before: time(noon), limit: 9, at: time(noon + 99)) == 0)
        #expect(
            try await store.cutAddresses(before: time(noon + 10), limit: 9, at: time(noon + 99))
                == 1)
        #expect(try await addresses() == [nil, "203.0.113.8", nil])
        let cut = try #require(try await store.audit(after: 0, limit: 1).first?.personal)
        #expect(cut.origin.place == "203.0.113.0/24" && cut.address?.salt == nil)
        #expect(cut.address?.hash.count == 32)
        #expect(try await faults() == [])
        // One that is put back, or another in its place, is noticed.
        let hash = try await store.read { db in
            try #require(
                try db.row(sql: "SELECT address_hash FROM audit_personal WHERE sequence = 1")
            ).bytes("address_hash")
        }
        let other = Data(repeating: 7, count: 32)
        for (address, salt, hash) in [("x", other, Data(hash)), (nil, nil, other)]
            as [(String?, Data?, Data)]
        {
            try await store.change(
                """
                UPDATE audit_personal SET address = ?, address_salt = ?, address_hash = ?
                WHERE sequence = 1
                """, arguments: [address, salt, hash])
            #expect(try await faults().map(\.kind) == [.personalAltered])
        }
        try await store.change(
            """
            UPDATE audit_personal SET address = NULL, address_salt = NULL, address_hash = ?
            WHERE sequence = 1
            """, arguments: [Data(hash)])
        #expect(try await faults() == [])
        #expect(
            try await store.cutAddresses(before: time(noon + 99), limit: 9, at: time(noon + 99))
                == 1)
        #expect(try await store.earliestAddress() == nil)
    }

    /// Earlier releases wrote the address as the place, which the entry commits to.
    @Test func `an earlier release's addresses go with what else is personal`() async throws {
        let store = try open()
        for (name, place) in [
            ("ada", "203.0.113.7"), ("bob", "203.0.113.0/24"), ("eve", "2001:db8:1:2::/64"),
            ("dan", "2001:db8:1::/48"),
        ] {
            var context = AuditContext()
            context.origin = SessionOrigin(browser: "Firefox", place: place)
            _ = try await AuditContext.$current.withValue(context) {
                try await store.makeUser(name)
            }
        }
        #expect(try await store.earliestAddress() == time(noon))
        #expect(try await store.cutAddresses(before: time(noon), limit: 9, at: time(noon)) == 0)
        #expect(try await store.cutAddresses(before: time(noon + 1), limit: 9, at: time(noon)) == 2)
        #expect(
            try await store.audit(after: 0, limit: 9).map { $0.personal?.origin.place } == [
                nil, "203.0.113.0/24", nil, "2001:db8:1::/48",
            ])
    }

    // MARK: What is held, and counts

    // Promise: export
    @Test func `what is held has every text of every row about the person`() async throws {
        let store = try open()
        let (ada, rows) = try await store.makeMarked("ada", tag: "xada")
        _ = try await store.makeMarked("bob", tag: "xbob")
        let held = try await store.held(about: ada.id)
        #expect(held.sessions.count == 1 && held.series.count == 1 && held.links.count == 1)
        #expect(held.devices.map(\.id) == [rows.device])
        #expect(held.activeDay == CalendarDay(number: 1))
        #expect(held.audit.map(\.event.user) == [ada.id])
        var texts: [String?] = []
        for session in held.sessions { texts += [session.origin.browser, session.origin.place] }
        for series in held.series { texts += [series.origin.browser, series.origin.place] }
        for warning in held.warnings { texts += [warning.browser, warning.place] }
        for device in held.devices { texts += device.preferences.values.map(\.value) }
        for personal in held.audit.map(\.personal) {
            texts += [personal?.origin.browser, personal?.reason, personal?.address?.text]
        }
        #expect(texts.count == 10 && texts.allSatisfy { $0 == "\(PersonalRows.marker)xada" })
    }

    // Promise: statistics
    @Test func `people are counted by day and week, once each, and never named`() async throws {
        let store = try open()
        let day: Int64 = 86_400
        let ada = try await store.makeUser("ada", at: noon - 7 * day)
        let bob = try await store.makeUser("bob", at: noon)
        func use(_ user: User, at now: Int64) async throws {
            let session = try await store.makeSession(of: user, at: now)
            try await store.noteActivity(
                [(session.id, time(now + 1800))], idleSeconds: 3600, at: time(now + 1800))
        }
        for _ in 0..<3 { try await use(ada, at: noon) }
        try await use(bob, at: noon)
        try await use(ada, at: noon + day)
        let counts = try await ActivityCounts.recent(9, from: store, at: time(noon + day))
        #expect(counts.days.count == 9)
        func row(_ count: ActivityCounts.Count) -> [Int64] {
            [count.active, count.new, count.returning]
        }
        #expect(
            counts.days.map(row) == [
                [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0],
                [2, 1, 1], [1, 0, 1],
            ])
        #expect(counts.weeks.map(\.start.weekText) == ["2026-W47", "2026-W48"])
        #expect(counts.weeks.map(row) == [[0, 1, 0], [2, 1, 1]])
        #expect(counts.json.contains("\"week\": \"2026-W48\""))
        #expect(!counts.json.contains(ada.id.text))
        // Whoever goes was here.
        _ = try await store.delete(ada, at: noon + day)
        #expect(try await ActivityCounts.recent(9, from: store, at: time(noon + day)) == counts)
        let today = CalendarDay(of: time(noon))
        #expect(try await store.pruneActivity(before: today.weekStart, at: time(noon)) == 2)
        #expect(try await store.activity(from: CalendarDay(number: 0)).days.count == 2)
    }
}
