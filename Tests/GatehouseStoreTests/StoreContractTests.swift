// The contract of `Store`, run on every backend.

import Foundation
import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

struct Unexpected: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

extension Store {
    func feed(after position: UInt64, limit: Int) async throws -> [FeedEntry] {
        try await feed(after: position, limit: limit, neededAt: nil)
    }

    func makeUser(_ name: String, at now: Int64 = noon) async throws -> User {
        let id = try UserID.random(from: .system)
        let outcome = try await addUser(
            username(name), id: id, passwordHash: nil,
            audit: AuditEvent(.userCreated, by: .command, user: id), at: time(now))
        guard case .added(let user) = outcome else { throw Unexpected("\(outcome)") }
        return user
    }

    func record(for user: User, at now: Int64, seconds: Int64) throws -> SessionRecord {
        guard let limits = SessionLimits(idleSeconds: seconds, absoluteSeconds: seconds) else {
            throw Unexpected("limits")
        }
        return try SessionRecord(
            for: user, at: time(now), floor: .zero, limits: limits, methods: .password,
            level: .password, entropy: .system)
    }

    func create(
        _ records: [SessionRecord], keyringVersion: UInt64 = 0, at now: Int64 = noon
    ) async throws -> CreateSessionsOutcome {
        guard let key = KeyID(rawValue: 7) else { throw Unexpected("key") }
        return try await createSessions(
            SessionCreation(
                sessions: records, seal: SessionSeal(key: key, keyringVersion: keyringVersion)),
            audit: records.map {
                AuditEvent(.sessionCreated, by: .command, user: $0.user, session: $0.id)
            }, at: time(now))
    }

    func makeSession(
        of user: User, at now: Int64 = noon, seconds: Int64 = 3600
    ) async throws -> SessionRecord {
        let record = try record(for: user, at: now, seconds: seconds)
        let outcome = try await create([record], at: now)
        guard case .created = outcome else { throw Unexpected("\(outcome)") }
        return record
    }

    func revoke(_ session: SessionRecord, at now: Int64 = noon) async throws -> RevocationOutcome {
        try await revokeSession(
            session.id, audit: AuditEvent(.sessionRevoked, by: .command, session: session.id),
            at: time(now))
    }

    func set(
        _ user: User, _ state: User.State, at now: Int64 = noon
    ) async throws -> SetStateOutcome {
        try await setUser(
            user.id, state: state, audit: AuditEvent(.userDisabled, by: .command, user: user.id),
            at: time(now))
    }
}

@Suite struct StoreContractTests {
    private let directory = TemporaryDirectory()

    @Test func `the contract runs on the database that the environment names`() throws {
        let isNamed = ProcessInfo.processInfo.environment["GATEHOUSE_TEST_POSTGRESQL"] != nil
        for backend in Backend.allCases {
            #expect(try backend.open(directory).driver is PostgreSQLDriver == isNamed)
        }
    }

    // MARK: Users

    @Test(arguments: Backend.allCases)
    func `a user is found by name and listed in the order of bytes`(_ backend: Backend) async throws
    {
        let store = try backend.open(directory)
        for name in ["bob", "zoë", "ada", "a-b", "9", "éva"] { _ = try await store.makeUser(name) }
        let found = try #require(try await store.user(named: username("ada")))
        #expect(found.username == username("ada"))
        #expect(found.state == .enabled)
        #expect(found.epoch == 0)
        #expect(found.created == time(noon))
        #expect(try await store.user(found.id) == found)
        #expect(try await store.user(named: username("nobody")) == nil)
        #expect(try await store.user(UserID.random(from: .system)) == nil)
        let all = try await store.users(after: nil, limit: 100)
        #expect(all.map(\.username.text) == ["9", "a-b", "ada", "bob", "zoë", "éva"])
        let page = try await store.users(after: username("a-b"), limit: 2)
        #expect(page.map(\.username.text) == ["ada", "bob"])
    }

    @Test(arguments: Backend.allCases)
    func `a name in other case, width or normal form is the same name`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        _ = try await store.makeUser("zoë")
        for spelling in ["ZOË", "zoe\u{308}", "ｚｏë", "Zoë"] {
            let id = try UserID.random(from: .system)
            let outcome = try await store.addUser(
                username(spelling), id: id, passwordHash: nil,
                audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
            #expect(outcome == .nameTaken, "\(spelling)")
        }
        #expect(try await store.users(after: nil, limit: 10).count == 1)
        #expect(try await store.audit(after: 0, limit: 10).count == 1, "a refusal leaves no trace")
    }

    @Test(arguments: Backend.allCases)
    func `of sixty-four racing registrations one wins`(_ backend: Backend) async throws {
        // Two views, as two processes have.
        let stores = [try backend.open(directory), try backend.open(directory)]
        let spellings = ["racer", "RACER", "Racer", "ｒａｃｅｒ", "ＲＡＣＥＲ", "rAcEr"]
        let outcomes = try await withThrowingTaskGroup(of: AddUserOutcome.self) { group in
            for index in 0..<64 {
                group.addTask {
                    let id = try UserID.random(from: .system)
                    return try await stores[index % 2].addUser(
                        username(spellings[index % spellings.count]), id: id, passwordHash: nil,
                        audit: AuditEvent(.userCreated, by: .command, user: id), at: time(noon))
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.count == 64)
        #expect(outcomes.count { $0 == .nameTaken } == 63)
        #expect(try await stores[0].users(after: nil, limit: 100).count == 1)
    }

    @Test(arguments: Backend.allCases)
    func `disabling raises the epoch and tells the feed, enabling revives nothing`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        _ = try await store.makeSession(of: user, seconds: 3600)
        guard case .changed(let disabled, let position) = try await store.set(user, .disabled)
        else {
            Issue.record("not changed")
            return
        }
        #expect(disabled.state == .disabled)
        #expect(disabled.epoch == 1)
        let feed = try await store.feed(after: 0, limit: 10)
        #expect(feed.map(\.change) == [.user(user.id, minimumEpoch: 1)])
        #expect(feed.map(\.deadline) == [time(noon + 3600)], "until the last session would end")
        #expect(feed.map(\.sequence) == [position])
        #expect(try await store.set(user, .disabled) == .unchanged(disabled))
        guard case .changed(let enabled, _) = try await store.set(user, .enabled) else {
            Issue.record("not changed")
            return
        }
        #expect(enabled.epoch == 1)
        #expect(try await store.feed(after: position, limit: 10).isEmpty)
        let stranger = try UserID.random(from: .system)
        let outcome = try await store.setUser(
            stranger, state: .disabled, audit: AuditEvent(.userDisabled, by: .command),
            at: time(noon))
        #expect(outcome == .notFound)
    }

    // MARK: Import

    private static let file = [UInt8](repeating: 7, count: 32)
    private static let begun = AuditEvent(.usersImported, by: .command)

    private func imported(_ names: String...) throws -> [ImportedUser] {
        try names.enumerated().map { index, name in
            ImportedUser(
                line: index + 1, username: username(name), id: try UserID.random(from: .system),
                passwordHash: index == 0 ? nil : "hash of \(name)")
        }
    }

    /// The progress past `lines` lines of ten bytes.
    private func progress(lines: Int) -> ImportProgress {
        var progress = ImportProgress(file: Self.file)
        progress.lines = lines
        progress.position = lines * 10
        progress.digest = [UInt8](repeating: UInt8(lines), count: 32)
        return progress
    }

    @Test(arguments: Backend.allCases)
    func `users are imported with their hashes, an event each, and the progress`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        #expect(try await store.importProgress(of: Self.file) == nil)
        let users = try imported("ada", "bob")
        var expected = progress(lines: 2)
        let outcome = try await store.importUsers(
            users, from: nil, to: expected, audit: [Self.begun], at: time(noon))
        expected.added = 2
        #expect(outcome == .imported(expected))
        let other = try backend.open(directory)
        #expect(try await other.importProgress(of: Self.file) == expected)
        #expect(try await other.importProgress(of: [UInt8](repeating: 8, count: 32)) == nil)
        let found = try await other.users(after: nil, limit: 10)
        #expect(found.map(\.username.text) == ["ada", "bob"])
        #expect(found.map(\.id) == users.map(\.id))
        #expect(found.map(\.passwordHash) == [nil, "hash of bob"])
        #expect(
            try await other.audit(after: 0, limit: 10).map(\.event)
                == [Self.begun]
                + users.map { AuditEvent(.userCreated, by: .command, user: $0.id) })
    }

    @Test(arguments: Backend.allCases)
    func `an imported name that is taken is a refused line, and the others are added`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        _ = try await store.makeUser("bob")
        let users = try imported("ada", "bob", "eve", "ADA")
        var step = progress(lines: 4)
        // What the reader refused already.
        step.refused = 1
        step.unreported = [RefusedLine(line: 3, reason: "words")]
        let outcome = try await store.importUsers(
            users, from: nil, to: step, audit: [], at: time(noon))
        step.added = 2
        step.refused = 3
        step.unreported = [
            RefusedLine(line: 2, reason: "The username is taken."),
            RefusedLine(line: 3, reason: "words"),
            RefusedLine(line: 4, reason: "The username is taken."),
        ]
        #expect(outcome == .imported(step))
        #expect(try await store.importProgress(of: Self.file) == step)
        #expect(
            try await store.users(after: nil, limit: 10).map(\.username.text)
                == ["ada", "bob", "eve"])
        let audited = try await store.audit(after: 0, limit: 10).compactMap(\.event.user)
        #expect(audited.count == 3 && audited[1...] == [users[0].id, users[2].id])
    }

    @Test(arguments: Backend.allCases)
    func `a step that does not follow what is stored changes nothing`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let first = progress(lines: 1)
        _ = try await store.importUsers([], from: nil, to: first, audit: [], at: time(noon))
        for old in [nil, progress(lines: 2)] {
            let outcome = try await store.importUsers(
                try imported("ada"), from: old, to: progress(lines: 3), audit: [Self.begun],
                at: time(noon))
            #expect(outcome == .overtaken)
        }
        #expect(try await store.users(after: nil, limit: 10).isEmpty)
        #expect(try await store.audit(after: 0, limit: 10).isEmpty)
        #expect(try await store.importProgress(of: Self.file) == first)
        // Back to the beginning, when that is what is asked.
        let again = ImportProgress(file: Self.file)
        let outcome = try await store.importUsers(
            [], from: first, to: again, audit: [], at: time(noon))
        #expect(outcome == .imported(again))
    }

    @Test(arguments: Backend.allCases)
    func `of racing imports of one file one adds the users`(_ backend: Backend) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let step = progress(lines: 2)
        let outcomes = try await withThrowingTaskGroup(of: ImportOutcome.self) { group in
            for index in 0..<16 {
                let users = try imported("ada", "bob")
                group.addTask {
                    try await stores[index % 2].importUsers(
                        users, from: nil, to: step, audit: [], at: time(noon))
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.count { $0 == .overtaken } == 15)
        #expect(try await stores[0].users(after: nil, limit: 10).count == 2)
        #expect(try await stores[0].importProgress(of: Self.file)?.added == 2)
    }

    // MARK: Sessions

    @Test(arguments: Backend.allCases)
    func `a session is stored as it was made`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let session = try await store.makeSession(of: user)
        #expect(try await store.session(session.id) == session)
        #expect(try await store.sessions(of: user.id, limit: 10) == [session])
        let usage = try await store.keyUsage()
        #expect(
            usage == [
                try #require(KeyID(rawValue: 7)): KeyUsage(
                    sealed: 1, lastDeadline: time(noon + 3600))
            ])
    }

    @Test(arguments: Backend.allCases)
    func `no session begins for a user who is gone, disabled or of another epoch`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let record = try store.record(for: user, at: noon, seconds: 60)
        _ = try await store.set(user, .disabled)
        #expect(try await store.create([record]) == .userChanged)
        _ = try await store.set(user, .enabled)
        #expect(try await store.create([record]) == .userChanged, "its epoch is an old one")
        let stranger = User(
            id: try UserID.random(from: .system), username: username("eve"), state: .enabled,
            epoch: 0, created: time(noon), passwordHash: nil)
        let other = try store.record(for: stranger, at: noon, seconds: 60)
        #expect(try await store.create([other]) == .userChanged)
        #expect(try await store.sessions(of: user.id, limit: 10).isEmpty)
        #expect(try await store.keyUsage().isEmpty)
    }

    @Test(arguments: Backend.allCases)
    func `no session begins under another ring, or before a revocation by time`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let record = try store.record(for: user, at: noon, seconds: 60)
        #expect(try await store.create([record], keyringVersion: 1) == .outdated)
        _ = try await store.revokeSessions(
            authenticatedBefore: time(noon + 1),
            audit: AuditEvent(.sessionsRevokedBefore, by: .command), at: time(noon))
        #expect(try await store.authenticatedFloor() == time(noon + 1))
        #expect(try await store.create([record]) == .outdated)
        #expect(try await store.session(record.id) == nil)
        let floor = try await store.authenticatedFloor()
        let limits = try #require(SessionLimits(idleSeconds: 60, absoluteSeconds: 60))
        let next = try SessionRecord(
            for: user, at: time(noon), floor: floor, limits: limits, methods: [],
            level: .remembered,
            entropy: .system)
        #expect(next.authenticated == time(noon + 1))
        #expect(try await store.create([next]) == .created(position: 1))
    }

    @Test(arguments: Backend.allCases)
    func `a use moves the idle deadline forward, in steps, and never past the absolute one`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let limits = try #require(SessionLimits(idleSeconds: 3600, absoluteSeconds: 10_000))
        let session = try SessionRecord(
            for: user, at: time(noon), floor: .zero, limits: limits, methods: .password,
            level: .password, entropy: .system)
        _ = try await store.create([session])
        /// The idle deadline in seconds from noon after a use at `used`.
        func deadline(afterUseAt used: Int64) async throws -> Int64? {
            try await store.noteActivity(
                [(session.id, time(noon + used))], idleSeconds: 3600, at: time(noon + used + 5))
            return try await store.session(session.id).map { $0.idleDeadline.seconds - noon }
        }
        #expect(try await deadline(afterUseAt: 60) == 3600, "it hardly moves")
        #expect(try await deadline(afterUseAt: 61) == 3661)
        #expect(try await deadline(afterUseAt: 121) == 3661)
        #expect(try await deadline(afterUseAt: 122) == 3722)
        #expect(try await deadline(afterUseAt: 10) == 3722, "an older use moves nothing back")
        #expect(try await deadline(afterUseAt: 6390) == 9990)
        #expect(try await deadline(afterUseAt: 6401) == 9990)
        #expect(try await deadline(afterUseAt: 9000) == 10_000)
        #expect(try await deadline(afterUseAt: 9500) == 10_000)
        let stored = try #require(try await store.session(session.id))
        #expect(stored.absoluteDeadline == time(noon + 10_000))
        #expect(stored.authenticated == session.authenticated)
        #expect(stored.revoked == nil)
        #expect(try await store.feed(after: 0, limit: 10).isEmpty, "nobody needs to know")
    }

    @Test(arguments: Backend.allCases)
    func `a short idle limit moves in finer steps`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        for (idle, step) in [(100, 5), (10, 0), (1200, 60), (1199, 59)] as [(Int64, Int64)] {
            let limits = try #require(SessionLimits(idleSeconds: idle, absoluteSeconds: 10_000))
            let session = try SessionRecord(
                for: user, at: time(noon), floor: .zero, limits: limits, methods: .password,
                level: .password, entropy: .system)
            _ = try await store.create([session])
            for used in [step, step + 1] {
                try await store.noteActivity(
                    [(session.id, time(noon + used))], idleSeconds: idle, at: time(noon + used))
                #expect(
                    try await store.session(session.id)?.idleDeadline
                        == time(noon + idle + (used > step ? used : 0)), "idle \(idle)")
            }
        }
    }

    @Test(arguments: Backend.allCases)
    func `a late use revives no session that has ended, and the others are noted`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let limits = try #require(SessionLimits(idleSeconds: 3600, absoluteSeconds: 10_000))
        var sessions: [SessionRecord] = []
        for _ in 0..<3 {
            sessions.append(
                try SessionRecord(
                    for: user, at: time(noon), floor: .zero, limits: limits, methods: .password,
                    level: .password, entropy: .system))
        }
        _ = try await store.create(sessions)
        _ = try await store.revoke(sessions[1], at: noon + 100)
        let unknown = SessionID(try Identifier.random(from: .system))
        try await store.noteActivity(
            [
                (unknown, time(noon + 200)), (sessions[1].id, time(noon + 200)),
                (sessions[2].id, time(noon + 300)),
            ], idleSeconds: 3600, at: time(noon + 400))
        #expect(try await store.session(unknown) == nil)
        let revoked = try #require(try await store.session(sessions[1].id))
        #expect(revoked.revoked == time(noon + 100))
        #expect(revoked.idleDeadline == time(noon + 3600))
        #expect(try await store.session(sessions[2].id)?.idleDeadline == time(noon + 3900))
        #expect(try await store.session(sessions[0].id)?.idleDeadline == time(noon + 3600))
        // Nothing to note is no trouble.
        try await store.noteActivity([], idleSeconds: 3600, at: time(noon + 400))
    }

    @Test(arguments: Backend.allCases)
    func `a session is revoked once and for good`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let session = try await store.makeSession(of: user)
        guard case .revoked(let position, 1) = try await store.revoke(session) else {
            Issue.record("not revoked")
            return
        }
        #expect(try await store.session(session.id)?.revoked == time(noon))
        #expect(
            try await store.revoke(session, at: noon + 5)
                == .revoked(position: position, sessions: 0))
        #expect(try await store.session(session.id)?.revoked == time(noon))
        #expect(
            try await store.feed(after: 0, limit: 10) == [
                FeedEntry(
                    sequence: position, change: .session(session.id), deadline: time(noon + 3600))
            ])
        let unknown = SessionID(try Identifier.random(from: .system))
        let outcome = try await store.revokeSession(
            unknown, audit: AuditEvent(.sessionRevoked, by: .command), at: time(noon))
        #expect(outcome == .notFound)
    }

    @Test(arguments: Backend.allCases)
    func `revoking a user's sessions counts those that lived`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let other = try await store.makeUser("bob")
        _ = try await store.makeSession(of: other)
        let first = try await store.makeSession(of: user)
        _ = try await store.makeSession(of: user)
        _ = try await store.makeSession(of: user, at: noon - 100, seconds: 100)
        _ = try await store.revoke(first)
        let audit = AuditEvent(.sessionsRevokedForUser, by: .command, user: user.id)
        guard
            case .revoked(_, let ended) = try await store.revokeSessions(
                of: user.id, audit: audit, at: time(noon))
        else {
            Issue.record("not revoked")
            return
        }
        #expect(ended == 1, "one was revoked, one has expired, one is another's")
        #expect(try await store.user(named: user.username)?.epoch == 1)
        #expect(try await store.user(named: other.username)?.epoch == 0)
    }

    @Test(arguments: Backend.allCases)
    func `revoking by time tells the feed until no such session can live any more`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        _ = try await store.makeSession(of: user, at: noon, seconds: 500)
        _ = try await store.makeSession(of: user, at: noon + 10, seconds: 9000)
        let position = try await store.revokeSessions(
            authenticatedBefore: time(noon + 10),
            audit: AuditEvent(.sessionsRevokedBefore, by: .command), at: time(noon + 11))
        #expect(position == 1)
        #expect(
            try await store.feed(after: 0, limit: 10) == [
                FeedEntry(
                    sequence: 1, change: .authenticatedBefore(time(noon + 10)),
                    deadline: time(noon + 11 + SessionLimits.maximumSeconds))
            ])
    }

    // MARK: The feed

    @Test(arguments: Backend.allCases)
    func `the feed is numbered without gaps and read in pages`(_ backend: Backend) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let user = try await stores[0].makeUser("ada")
        var sessions: [SessionRecord] = []
        for _ in 0..<20 { sessions.append(try await stores[0].makeSession(of: user)) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, session) in sessions.enumerated() {
                group.addTask { _ = try await stores[index % 2].revoke(session) }
            }
            try await group.waitForAll()
        }
        let all = try await stores[1].feed(after: 0, limit: 100)
        #expect(all.map(\.sequence) == Array(1...20))
        #expect(Set(all.map(\.change)) == Set(sessions.map { .session($0.id) }))
        #expect(try await stores[0].feed(after: 5, limit: 3).map(\.sequence) == [6, 7, 8])
        #expect(try await stores[0].head().sequence == 20)
    }

    @Test(arguments: Backend.allCases)
    func `the store's latest time never goes back`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        _ = try await store.makeUser("ada", at: noon + 100)
        _ = try await store.makeUser("bob", at: noon)
        #expect(try await store.head().latestTime == time(noon + 100))
        try await store.acceptClock(at: time(noon + 50))
        #expect(try await store.head().latestTime == time(noon + 50), "but for one way back")
        #expect(
            try await store.audit(after: 2, limit: 9).map(\.event)
                == [AuditEvent(.clockAccepted, by: .command)])
    }

    // MARK: The keyring and the nodes

    private static let root = RootKey.Identifier64(rawValue: .max - 1)
    private static let otherRoot = RootKey.Identifier64(rawValue: 1)

    private static func wrapped(
        _ version: UInt64, under roots: [RootKey.Identifier64] = [root]
    ) -> WrappedKeyring {
        WrappedKeyring(
            version: version, ringKey: RingKeyID(rawValue: .max - version),
            sealed: [UInt8(truncatingIfNeeded: version)],
            wraps: roots.map { WrappedKeyring.Wrap(rootKey: $0, sealed: [7, UInt8(version)]) })
    }

    @Test(arguments: Backend.allCases)
    func `the ring is replaced only by the next version`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        #expect(try await store.keyring() == nil)
        func replace(_ version: UInt64) async throws -> KeyringReplacement {
            try await store.replaceKeyring(
                with: Self.wrapped(version), onlyWhenLoaded: false,
                audit: [AuditEvent(.keyAdded, by: .command)], at: time(noon))
        }
        #expect(try await replace(2) == .versionConflict(current: 0))
        #expect(try await replace(1) == .replaced)
        #expect(try await replace(1) == .versionConflict(current: 1))
        #expect(try await replace(3) == .versionConflict(current: 1))
        #expect(try await replace(2) == .replaced)
        #expect(try await store.keyring() == Self.wrapped(2))
        #expect(try await store.head().keyringVersion == 2)
        #expect(try await store.audit(after: 0, limit: 10).count == 2, "only what happened")
    }

    @Test(arguments: Backend.allCases)
    func `of racing writers of one version one wins`(_ backend: Backend) async throws {
        let stores = [try backend.open(directory), try backend.open(directory)]
        let outcomes = try await withThrowingTaskGroup(of: KeyringReplacement.self) { group in
            for index in 0..<16 {
                group.addTask {
                    try await stores[index % 2].replaceKeyring(
                        with: Self.wrapped(1), onlyWhenLoaded: false, audit: [], at: time(noon))
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.count { $0 == .replaced } == 1)
    }

    @Test(arguments: Backend.allCases)
    func `the wraps change with the ring, and only then`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        func replace(_ version: UInt64, _ roots: [RootKey.Identifier64]) async throws
            -> KeyringReplacement
        {
            try await store.replaceKeyring(
                with: Self.wrapped(version, under: roots), onlyWhenLoaded: false, audit: [],
                at: time(noon))
        }
        #expect(try await replace(1, [Self.root]) == .replaced)
        #expect(try await replace(2, [Self.otherRoot, Self.root]) == .replaced)
        let both = Self.wrapped(2, under: [Self.otherRoot, Self.root])
        #expect(try await store.keyring() == both)
        for version: UInt64 in [1, 2, 4] {
            #expect(
                try await replace(version, [Self.otherRoot]) == .versionConflict(current: 2))
        }
        #expect(try await store.keyring() == both)
        #expect(try await replace(3, [Self.otherRoot]) == .replaced)
        #expect(try await store.keyring() == Self.wrapped(3, under: [Self.otherRoot]))
    }

    /// Whoever joins later reads the ring after the change, and does not begin.
    @Test(arguments: Backend.allCases)
    func `a wrap stays while a live node may run with its root key`(_ backend: Backend) async throws
    {
        let store = try backend.open(directory)
        let nodes = try (0..<3).map { _ in NodeID(try Identifier.random(from: .system)) }
        func replace(_ version: UInt64, _ roots: [RootKey.Identifier64], at now: Int64 = noon)
            async throws -> KeyringReplacement
        {
            try await store.replaceKeyring(
                with: Self.wrapped(version, under: roots), onlyWhenLoaded: false,
                audit: [AuditEvent(.rootKeyRemoved, by: .command)], at: time(now))
        }
        let both = [Self.otherRoot, Self.root]
        #expect(try await replace(1, both) == .replaced)
        // One with each root key, and one of a release that did not say.
        for (node, root) in zip(nodes, [Self.root, Self.otherRoot, nil]) {
            try await store.joinNode(node, leaseSeconds: 120, rootKey: root, at: time(noon))
        }
        func waiting(_ nodes: [NodeID]) -> KeyringReplacement {
            .waitingForNodes(nodes.sorted { $0.text < $1.text })
        }
        #expect(try await replace(2, [Self.root]) == waiting([nodes[1], nodes[2]]))
        #expect(try await replace(2, [Self.otherRoot]) == waiting([nodes[0], nodes[2]]))
        #expect(try await store.keyring() == Self.wrapped(1, under: both))
        #expect(try await replace(2, both) == .replaced, "nothing is removed")
        try await store.leaveNode(nodes[2], at: time(noon))
        #expect(try await replace(3, [Self.root]) == waiting([nodes[1]]))
        #expect(
            try await store.beat(nodes[0], position: 0, keyringVersion: 2, at: time(noon + 100)))
        // The other is given up: it can say yes to nothing.
        let silent = noon + 125 + backend.clockMargin
        #expect(try await replace(3, [Self.root], at: silent) == waiting([nodes[1]]))
        #expect(try await replace(3, [Self.root], at: silent + 1) == .replaced)
        #expect(try await store.audit(after: 0, limit: 9).count == 3, "only what happened")
    }

    @Test(arguments: Backend.allCases)
    func `an activation waits for every live node, and not for one that is given up`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let nodes = try (0..<2).map { _ in NodeID(try Identifier.random(from: .system)) }
        func replace(_ version: UInt64, at now: Int64) async throws -> KeyringReplacement {
            try await store.replaceKeyring(
                with: Self.wrapped(version), onlyWhenLoaded: true, audit: [], at: time(now))
        }
        #expect(try await replace(1, at: noon) == .replaced)
        for node in nodes { try await store.joinNode(node, leaseSeconds: 120, at: time(noon)) }
        guard case .waitingForNodes(let waiting) = try await replace(2, at: noon) else {
            Issue.record("it does not wait")
            return
        }
        #expect(Set(waiting) == Set(nodes))
        #expect(
            try await store.beat(nodes[0], position: 0, keyringVersion: 1, at: time(noon + 100)))
        let silent = noon + 125 + backend.clockMargin
        #expect(try await replace(2, at: silent) == .waitingForNodes([nodes[1]]))
        // 120 s of lease and 5 s for the beat under way: then it can say yes to nothing.
        #expect(try await replace(2, at: silent + 1) == .replaced)
    }

    @Test(arguments: Backend.allCases)
    func `a ring that only the leader replaces is replaced by the live node that joined first`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let nodes = try (0..<2).map { _ in NodeID(try Identifier.random(from: .system)) }
        func replace(
            _ version: UInt64, as node: Int, at now: Int64
        ) async throws -> KeyringReplacement {
            try await store.replaceKeyring(
                with: Self.wrapped(version), onlyWhenLoaded: false, onlyAsLeader: nodes[node],
                audit: [AuditEvent(.keyAdded, by: .server)], at: time(now))
        }
        #expect(try await replace(1, as: 0, at: noon) == .notLeader, "nobody has joined")
        try await store.joinNode(nodes[0], leaseSeconds: 120, at: time(noon))
        try await store.joinNode(nodes[1], leaseSeconds: 120, at: time(noon + 1))
        #expect(try await replace(1, as: 1, at: noon + 1) == .notLeader)
        #expect(try await store.audit(after: 0, limit: 10).isEmpty)
        #expect(try await replace(1, as: 0, at: noon + 1) == .replaced)
        // Both sides of when a silent leader is given up.
        _ = try await store.beat(nodes[1], position: 0, keyringVersion: 1, at: time(noon + 100))
        let silent = noon + 125 + backend.clockMargin
        #expect(try await replace(2, as: 1, at: silent) == .notLeader)
        #expect(try await replace(2, as: 1, at: silent + 1) == .replaced)
        try await store.leaveNode(nodes[0], at: time(silent + 1))
        #expect(try await replace(3, as: 1, at: silent + 1) == .replaced)
    }

    @Test(arguments: Backend.allCases)
    func `a node that leaves or is removed is no longer live, and its beat says so`(
        _ backend: Backend
    ) async throws {
        let store = try backend.open(directory)
        let node = NodeID(try Identifier.random(from: .system))
        #expect(try await !store.beat(node, position: 0, keyringVersion: 0, at: time(noon)))
        try await store.joinNode(
            node, leaseSeconds: 120, rootKey: Self.root, at: time(noon))
        #expect(try await store.beat(node, position: 3, keyringVersion: 2, at: time(noon + 1)))
        let live = try await store.liveNodes(at: time(noon + 1))
        #expect(
            live == [
                NodeRecord(
                    id: node, started: time(noon), heartbeat: time(noon + 1), leaseSeconds: 120,
                    position: 3, keyringVersion: 2, rootKey: Self.root)
            ])
        _ = try await store.prune(limit: 10, at: time(noon + 126))
        #expect(try await store.beat(node, position: 3, keyringVersion: 2, at: time(noon + 126)))
        _ = try await store.prune(limit: 10, at: time(noon + 300 + backend.clockMargin))
        #expect(try await !store.beat(node, position: 3, keyringVersion: 2, at: time(noon + 300)))
        try await store.joinNode(node, leaseSeconds: 120, at: time(noon + 300))
        try await store.leaveNode(node, at: time(noon + 300))
        #expect(try await store.liveNodes(at: time(noon + 300)).isEmpty)
    }

    // MARK: The audit trail and upkeep

    @Test(arguments: Backend.allCases)
    func `what happened is in the trail, in order, by ids`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        let session = try await store.makeSession(of: user)
        _ = try await store.revoke(session, at: noon + 1)
        let trail = try await store.audit(after: 0, limit: 10)
        #expect(
            trail.map(\.event) == [
                AuditEvent(.userCreated, by: .command, user: user.id),
                AuditEvent(.sessionCreated, by: .command, user: user.id, session: session.id),
                AuditEvent(.sessionRevoked, by: .command, user: user.id, session: session.id),
            ])
        #expect(trail.map(\.time) == [time(noon), time(noon), time(noon + 1)])
        #expect(try await store.audit(after: trail[0].sequence, limit: 1) == [trail[1]])
    }

    @Test(arguments: Backend.allCases)
    func `only what has expired is removed, in bounded steps`(_ backend: Backend) async throws {
        let store = try backend.open(directory)
        let user = try await store.makeUser("ada")
        var sessions: [SessionRecord] = []
        for _ in 0..<5 {
            let session = try await store.makeSession(of: user, seconds: 100)
            sessions.append(session)
            _ = try await store.revoke(session)
        }
        let lasting = try await store.makeSession(of: user, seconds: 1000)
        let end = noon + 100 + clockSkewSeconds
        #expect(try await store.prune(limit: 100, at: time(end)) == 0)
        switch backend {
        case .sqlite:
            #expect(try await store.prune(limit: 3, at: time(end + 1)) == 6, "three of each")
            #expect(try await store.prune(limit: 100, at: time(end + 1)) == 4)
            #expect(try await store.sessions(of: user.id, limit: 10) == [lasting])
        case .postgresql:
            let week = PostgreSQLPartitions.bucketSeconds
            let bucket = (noon / week + 1) * week + clockSkewSeconds
            #expect(try await store.prune(limit: 3, at: time(bucket - 1)) == 0)
            #expect(try await store.sessions(of: user.id, limit: 10).count == 6)
            _ = try await store.prune(limit: 3, at: time(bucket))
            #expect(try await store.sessions(of: user.id, limit: 10).isEmpty)
        }
        #expect(try await store.feed(after: 0, limit: 10).isEmpty)
        #expect(try await store.head().sequence == 5, "the feed's numbers go on")
    }

    @Test(arguments: Backend.allCases)
    func `what was written is there when the store is opened again`(_ backend: Backend) async throws
    {
        var store: (any Store)? = try backend.open(directory)
        let user = try #require(try await store?.makeUser("ada"))
        let session = try #require(try await store?.makeSession(of: user))
        store = nil
        let again = try backend.open(directory)
        #expect(try await again.user(named: user.username) == user)
        #expect(try await again.session(session.id) == session)
        #expect(try await again.integrityFindings().isEmpty)
    }
}
