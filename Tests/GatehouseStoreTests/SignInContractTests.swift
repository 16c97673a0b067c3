// What the store tells before a sign-in and does at its end, on every backend.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite struct SignInContractTests {
    private let directory = TemporaryDirectory()

    private func facts(
        _ name: String, _ browser: DeviceClaims? = nil, in store: SQLStore, at now: Int64 = noon
    ) async throws -> SignInFacts {
        try await store.signInFacts(of: username(name), browser: browser, at: time(now))
    }

    /// What the cookie of a browser says that these users have used.
    private func browser(_ people: [(User, DeviceID)]) throws -> DeviceClaims {
        try #require(
            people.reduce(nil) { earlier, person in
                DeviceClaims(
                    DeviceClaims.Person(user: person.0.id, device: person.1, flags: []),
                    before: earlier, at: time(noon))
            })
    }

    private func use(
        _ id: DeviceID, of user: User, isNew: Bool = true, isProved: Bool = true,
        preferences: [String: String]? = nil, version: UInt64 = 0, in store: SQLStore
    ) throws -> DeviceUse {
        DeviceUse(
            id: id, isNew: isNew, user: user.id, epoch: user.epoch,
            preferences: try preferences.map { try Preferences($0) },
            seal: DeviceSeal(
                key: try store.seal().key, keyringVersion: version,
                deadline: time(noon + DeviceClaims.lifetimeSeconds)), isProved: isProved)
    }

    private func makeDevice(
        of user: User, isProved: Bool = true, preferences: [String: String]? = nil,
        in store: SQLStore
    ) async throws -> DeviceID {
        let id = DeviceID(try Identifier.random(from: .system))
        let outcome = try await store.useDevice(
            use(id, of: user, isProved: isProved, preferences: preferences, in: store),
            at: time(noon))
        guard outcome == .done else { throw Unexpected("\(outcome)") }
        return id
    }

    // MARK: Before

    @Test(arguments: Backend.allCases)
    func `of the devices that a browser names the user's own is found`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let adas = try await makeDevice(of: ada, preferences: ["theme": "dark"], in: store)
        let bobs = try await makeDevice(of: bob, isProved: false, in: store)
        let both = try browser([(bob, bobs), (ada, adas)])
        let found = try await facts("ada", both, in: store)
        #expect(found.user == ada)
        let own = try found.device.get()
        #expect(own == (try await store.device(adas, of: ada.id, at: time(noon))))
        #expect(own?.preferences.values == ["theme": "dark"])
        let other = try await facts("bob", both, in: store).device.get()
        #expect(other?.id == bobs)
        #expect(other?.isProved == false)
        let nobody = try await facts("nobody", both, in: store)
        #expect(nobody.user == nil)
        for (name, browser) in [
            ("nobody", both), ("ada", try browser([(bob, bobs)])), ("ada", nil),
            ("ada", try browser([(ada, bobs)])), ("ada", try browser([(bob, adas)])),
            ("bob", try browser([(bob, adas)])),
        ] {
            #expect(try await facts(name, browser, in: store).device.get() == nil)
        }
        let late = noon + DeviceClaims.lifetimeSeconds + 86_400
        #expect(try await facts("ada", both, in: store, at: late).device.get() == nil)
    }

    @Test(arguments: Backend.allCases)
    func `a device that is damaged keeps nobody out`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let id = try await makeDevice(of: ada, preferences: ["theme": "dark"], in: store)
        try await store.write(at: time(noon)) {
            try $0.execute(sql: "UPDATE preferences SET key = 'a b'")
        }
        let found = try await facts("ada", try browser([(ada, id)]), in: store)
        #expect(found.user == ada)
        #expect(throws: StoreError.damaged("preferences")) { try found.device.get() }
    }

    @Test(arguments: Backend.allCases)
    func `they are what is asked for one by one`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let draft = try NoticeDraft(
            document: #require(SubjectName("terms")), title: "Terms", text: "Be kind.",
            effective: CalendarDay(of: time(noon)), requiredFrom: nil)
        guard
            case .published(let notice) = try await store.publishNotice(
                draft, period: NoticePeriod(businessDays: 1), at: time(noon))
        else { throw Unexpected("not published") }
        #expect(
            try await store.record(
                [AgreementEntry(accepting: notice.id)], of: ada.id, session: nil, purposes: [],
                at: time(noon)) == .recorded(1))
        _ = try await store.requestDeletion(
            DeletionRequest(
                user: bob.id, epoch: bob.epoch, passwordHash: bob.passwordHash ?? "",
                clearing: try AttemptKey(bob.username, key: try lookUpKey()),
                due: time(noon + 86_400)),
            audit: AuditEvent(.deletionRequested, by: .server, user: bob.id), at: time(noon))
        for count in 1...2 {
            let look = Look(
                user: ada.id, time: time(noon), by: try #require(OperatorName("eve")),
                permission: .brokenGlass(try #require(LookReason("an invoice is wrong"))),
                seen: .account)
            #expect(try await store.note(look, audit: .command, at: time(noon)) == .noted)
            #expect(try await facts("ada", in: store).untold == count)
        }
        let series = try #require(try await store.makeSignIn(ada, remembers: true).series?.id)
        for generation: UInt32 in [1, 2] {
            let at = noon + Int64(generation) * 2 * grace
            _ = try await store.present(series, generation, at: at)
        }
        #expect(try await store.present(series, 1, at: noon + 6 * grace)?.rule == .theft)
        _ = try await store.revokeSessions(
            authenticatedBefore: time(noon - 5),
            audit: AuditEvent(.sessionsRevokedBefore, by: .command), at: time(noon + 6 * grace))

        for user in [ada, bob] {
            let found = try await facts(user.username.text, in: store)
            #expect(found.user == (try await store.user(user.id)))
            #expect(found.authenticatedFloor == time(noon - 5))
            #expect(found.board.notices == (try await store.notices()))
            let state = try await store.agreementState(of: user.id)
            let document = notice.id.document
            #expect(found.agreements.accepted(document) == state.accepted(document))
            #expect(found.deletion == (try await store.deletion(of: user.id)))
            let untold =
                try await store.warnings(of: user.id).count
                + store.untoldLooks(of: user.id).count
            #expect(found.untold == untold)
            #expect(untold == (user == ada ? 3 : 0))
            #expect((found.agreements.accepted(document) == nil) == (user == bob))
        }
    }

    /// Counts what it is asked.
    private final class CountingEngine: DatabaseEngine {
        private let database: Database
        var texts: [String] = []
        init(_ database: Database) { self.database = database }

        var dialect: Database.Dialect { database.dialect }
        var connection: UInt64 { database.connection }
        var changesCount: Int { get throws { try database.changesCount } }
        var tail: LockedTail {
            get { database.tail }
            set { database.tail = newValue }
        }
        func allow(_ duration: Duration) {}
        func tellNodes() {}
        func prefetch(_ queries: [Query]) {}
        func flush() {}
        func execute(
            _ sql: String, _ arguments: StatementArguments
        ) throws { texts.append(sql) }
        func count(_ sql: String, _ arguments: StatementArguments) throws {
            texts.append(sql)
        }
        func forEach(
            _ sql: String, _ arguments: StatementArguments,
            _ body: (Row) throws -> Void
        ) throws { texts.append(sql) }
        func rows(
            _ sql: String, _ arguments: StatementArguments
        ) throws -> [Row] {
            texts.append(sql)
            return try database.rows(sql: sql, arguments: arguments)
        }
    }

    /// Counted, not timed (REQUIREMENTS PW-9).
    @Test(arguments: Backend.allCases)
    func `the same is asked for a name that nobody has`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        _ = try await makeDevice(of: ada, preferences: ["theme": "dark"], in: store)
        let device = try #require(try await store.devices(of: ada.id).first)
        let browser = try browser([(ada, device)])
        func asked(_ name: String) async throws -> [String] {
            let name = username(name)
            return try await store.read { db in
                let engine = CountingEngine(db)
                _ = try SQLStore.signInFacts(
                    of: name, browser: browser, Database(engine), at: time(noon))
                return engine.texts
            }
        }
        let own = try await asked("ada")
        #expect(own.count == 8)
        #expect(try await asked(bob.username.text) == own)
        #expect(try await asked("nobody") == own)
    }

    // MARK: At the end

    private func creation(
        _ user: User, _ device: DeviceUse, in store: SQLStore
    ) throws -> (SessionCreation, SessionID) {
        let session = try store.record(for: user, at: noon, seconds: 3600)
        var creation = SessionCreation(
            sessions: [session], seal: try store.seal(), passwordHash: user.passwordHash)
        creation.device = device
        return (creation, session.id)
    }

    @Test(arguments: Backend.allCases)
    func `a session begins with its browser's device, a new one or one that is there`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let ada = try await store.makeUser("ada")
        let id = DeviceID(try Identifier.random(from: .system))
        let day: Int64 = 86_400
        for isNew in [true, false] {
            let at = time(isNew ? noon : noon + day)
            let (creation, session) = try creation(
                ada, try use(id, of: ada, isNew: isNew, in: store), in: store)
            let outcome = try await store.createSessions(creation, audit: [], at: at)
            guard case .created = outcome else { throw Unexpected("\(outcome)") }
            #expect(try await store.session(session) != nil)
            let device = try await store.device(id, of: ada.id, at: at)
            #expect(device?.lastUsed == Device.day(of: at))
            #expect(device?.isProved == true)
        }
        #expect(
            try await store.keyUsage().values.map(\.lastDeadline)
                == [time(noon + DeviceClaims.lifetimeSeconds)])
    }

    @Test(arguments: Backend.allCases)
    func `where the device has ended, or was sealed by another ring, nothing begins`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let (ada, bob) = (try await store.makeUser("ada"), try await store.makeUser("bob"))
        let bobs = try await makeDevice(of: bob, in: store)
        let new = DeviceID(try Identifier.random(from: .system))
        for use in [
            try use(new, of: ada, isNew: false, in: store),
            try use(bobs, of: ada, isNew: false, in: store),
            try use(new, of: ada, version: 1, in: store),
        ] {
            let (creation, session) = try creation(ada, use, in: store)
            #expect(
                try await store.createSessions(creation, audit: [], at: time(noon)) == .outdated)
            #expect(try await store.session(session) == nil)
        }
        #expect(try await store.devices(of: ada.id) == [])
        #expect(try await store.devices(of: bob.id) == [bobs])
    }

    @Test(arguments: Backend.allCases)
    func `a try under a clock far ahead is not charged`(_ backend: Backend) async throws {
        let server = try backend.open(directory)
        let now = Int64(Date().timeIntervalSince1970)
        try await server.joinNode(
            NodeID(try Identifier.random(from: .system)), leaseSeconds: 120, at: time(now))
        _ = try await server.makeUser("ada", at: now)
        let key = try AttemptKey(username("ada"), key: try lookUpKey())
        let other = try backend.open(directory)
        let lead = SQLStore.maximumClockLeadSeconds + 120
        await #expect(throws: StoreError.clockAhead(seconds: lead)) {
            try await other.chargeAttempt(key, user: nil, at: time(now + lead))
        }
        #expect(try await server.attempts(key) == nil)
        #expect(try await server.head().latestTime == time(now))
        #expect(
            try await other.chargeAttempt(key, user: nil, at: time(now + lead - 120)) == .admitted)
        #expect(try await server.attempts(key)?.failures == 1)
        // PostgreSQL has a clock of its own, which the writer's must not be ahead of.
        let latest = backend == .sqlite ? now + lead - 120 : now
        #expect(try await server.head().latestTime == time(latest))
    }
}
