// The contract of counters and password hashes, on every backend.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport
import Testing

@Suite struct PasswordContractTests {
    private let directory = TemporaryDirectory()
    private let lookUp: LookUpKey

    init() throws { lookUp = try lookUpKey() }

    private func key(_ name: String = "ada") throws -> AttemptKey {
        try AttemptKey(username(name), key: lookUp)
    }

    @Test(arguments: Backend.allCases)
    func `tries are charged at once, and wait when the allowance is used up`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let key = try key()
        func charge(at now: Int64) async throws -> AttemptOutcome {
            try await store.chargeAttempt(key, user: nil, at: time(now))
        }
        #expect(try await store.attempts(key) == nil)
        for _ in 0..<5 { #expect(try await charge(at: noon) == .admitted) }
        #expect(
            try await store.attempts(key) == AttemptCount(failures: 5, next: time(noon + 30)))
        #expect(try await charge(at: noon + 29) == .wait(until: time(noon + 30)))
        #expect(try await store.attempts(key)?.failures == 5, "waiting is not charged")
        #expect(try await charge(at: noon + 30) == .admitted)
        #expect(try await charge(at: noon + 89) == .wait(until: time(noon + 90)))
        #expect(
            try await store.chargeAttempt(try self.key("bob"), user: nil, at: time(noon))
                == .admitted, "every name has its own")
    }

    @Test(arguments: Backend.allCases)
    func `of two hundred tries that come at once five are admitted`(
        _ backend: Backend
    ) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let key = try key()
        let admitted = try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<200 {
                group.addTask {
                    try await stores[index % 2].chargeAttempt(key, user: nil, at: time(noon))
                        == .admitted
                }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(admitted == AttemptRule.allowance)
    }

    @Test(arguments: Backend.allCases)
    func `after a hundred failures there is no next try, and the trail says so once`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let key = try key()
        var now = noon
        for failure in 1...100 {
            #expect(
                try await store.chargeAttempt(key, user: user.id, at: time(now)) == .admitted,
                "\(failure)")
            now += AttemptRule.maximumWaitSeconds
        }
        for _ in 0..<3 {
            #expect(
                try await store.chargeAttempt(key, user: user.id, at: time(now + 864_000))
                    == .exhausted)
        }
        let events = try await store.audit(after: 0, limit: 100).map(\.event)
            .filter { $0.kind == .passwordAttemptsExhausted }
        #expect(events.map(\.user) == [user.id])
        // It is kept for ever, until it is cleared.
        _ = try await store.prune(limit: 1000, at: time(now + 400 * 86_400))
        #expect(try await store.attempts(key)?.failures == 100)
        try await store.clearAttempts(
            [key], audit: AuditEvent(.passwordAttemptsReset, by: .command, user: user.id),
            at: time(now + 400 * 86_400))
        #expect(try await store.attempts(key) == nil)
        #expect(
            try await store.audit(after: 0, limit: 100).last?.event.kind
                == .passwordAttemptsReset)
    }

    @Test(arguments: Backend.allCases)
    func `a try that was not made is given back, and never more than there was`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let key = try key()
        for _ in 0..<5 { _ = try await store.chargeAttempt(key, user: nil, at: time(noon)) }
        try await store.refundAttempt(key, at: time(noon + 1))
        #expect(
            try await store.attempts(key) == AttemptCount(failures: 4, next: time(noon + 1)))
        #expect(
            try await store.chargeAttempt(key, user: nil, at: time(noon + 1)) == .admitted)
        for _ in 0..<9 { try await store.refundAttempt(key, at: time(noon + 2)) }
        #expect(try await store.attempts(key) == nil, "nothing stays of what was never tried")
        try await store.refundAttempt(try self.key("nobody"), at: time(noon))
        #expect(try await store.attempts(try self.key("nobody")) == nil)
    }

    @Test(arguments: Backend.allCases)
    func `a clock that is set back makes nobody wait longer than an hour`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let key = try key()
        for _ in 0..<5 { _ = try await store.chargeAttempt(key, user: nil, at: time(noon)) }
        #expect(
            try await store.chargeAttempt(key, user: nil, at: time(noon - 864_000))
                == .wait(until: time(noon - 864_000 + 3600)))
    }

    @Test(arguments: Backend.allCases)
    func `a counter of nobody goes after a day, a device's after half a year`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let nobody = try key("nobody")
        let device = try AttemptKey(
            device: DeviceID(Identifier.random(from: .system)), of: user.id, key: lookUp)
        _ = try await store.chargeAttempt(nobody, user: nil, at: time(noon))
        _ = try await store.chargeAttempt(device, user: user.id, at: time(noon))
        func prune(at now: Int64) async throws {
            _ = try await store.prune(limit: 10, at: time(now + clockSkewSeconds))
        }
        try await prune(at: noon + AttemptRule.strangerSeconds)
        #expect(try await store.attempts(nobody) != nil)
        try await prune(at: noon + AttemptRule.strangerSeconds + 1)
        #expect(try await store.attempts(nobody) == nil)
        try await prune(at: noon + AttemptRule.deviceSeconds)
        #expect(try await store.attempts(device) != nil)
        try await prune(at: noon + AttemptRule.deviceSeconds + 1)
        #expect(try await store.attempts(device) == nil)
    }

    @Test(arguments: Backend.allCases)
    func `a session that begins clears the counter, one that does not leaves it`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let key = try key()
        _ = try await store.chargeAttempt(key, user: user.id, at: time(noon))
        func begin(hash: String?) async throws -> CreateSessionsOutcome {
            try await store.createSessions(
                SessionCreation(
                    sessions: [try store.record(for: user, at: noon, seconds: 60)],
                    seal: SessionSeal(key: try #require(KeyID(rawValue: 7)), keyringVersion: 0),
                    passwordHash: hash, clearing: key), audit: [], at: time(noon))
        }
        #expect(try await begin(hash: "another") == .userChanged)
        #expect(try await store.attempts(key)?.failures == 1)
        guard case .created = try await begin(hash: nil) else { throw Unexpected("no session") }
        #expect(try await store.attempts(key) == nil)
    }

    @Test(arguments: Backend.allCases)
    func `a new password by link clears the counter of its user`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let keys = [try key("ada"), try key("bob")]
        for key in keys { _ = try await store.chargeAttempt(key, user: nil, at: time(noon)) }
        let link = try #require(LinkHash(secret: [1, 2, 3]))
        try await store.addLink(
            Link(hash: link, purpose: .recovery(user.id), expires: time(noon + 60)),
            audit: AuditEvent(.userRecoveryIssued, by: .command), at: time(noon))
        let outcome = try await store.setPassword(
            "hash", with: link, lookUpKey: lookUp, audit: .passwordRecovered, at: time(noon))
        guard case .set = outcome else { throw Unexpected("\(outcome)") }
        #expect(try await store.attempts(keys[0]) == nil)
        #expect(try await store.attempts(keys[1]) != nil)
    }

    // MARK: Hashes

    @Test(arguments: Backend.allCases)
    func `hashes are read in pages, and replaced only if they are what was read`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        var users: [UserID] = []
        for name in ["a", "b", "c"] {
            let id = try UserID.random(from: .system)
            _ = try await store.addUser(
                username(name), id: id, passwordHash: "old-\(name)",
                audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
            users.append(id)
        }
        _ = try await store.makeUser("without")
        let first = try await store.passwordHashes(after: nil, limit: 2)
        let rest = try await store.passwordHashes(after: first.last?.user, limit: 2)
        let all = first + rest
        #expect(first.count == 2 && rest.count == 1)
        #expect(Set(all.map(\.user)) == Set(users))
        #expect(try await store.passwordHashes(after: all.last?.user, limit: 2).isEmpty)

        let stale = StoredPasswordHash(user: all[1].user, text: "what was read before")
        let audit = [AuditEvent(.pepperLayered, by: .command)]
        #expect(
            try await store.replacePasswordHashes(
                [(all[0], "new"), (stale, "new")], audit: audit, at: time(noon)) == 1)
        let after = try await store.passwordHashes(after: nil, limit: 9)
        #expect(after.map(\.text) == ["new", all[1].text, all[2].text])
        #expect(
            try await store.replacePasswordHashes([(stale, "new")], audit: audit, at: time(noon))
                == 0)
        let events = try await store.audit(after: 0, limit: 99).filter {
            $0.event.kind == .pepperLayered
        }
        #expect(events.count == 1, "nothing changed, nothing told")
    }
}
