// Scopes of writes on PostgreSQL: who waits for whom, and that races end as if there were one writer.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Testing

@testable import GatehouseStore

@Suite(.serialized, .enabled(if: PostgreSQLFixture.url != nil, "no PostgreSQL server to test with"))
struct PostgreSQLScopeTests {
    private let database: PostgreSQLTestDatabase
    private let watch: PostgreSQLConnection
    /// Two nodes' views.
    private let stores: [SQLStore]

    init() throws {
        database = try PostgreSQLTestDatabase()
        watch = try database.connect()
        stores = [try database.open(connections: 6), try database.open(connections: 6)]
    }

    private static let ada = user(1)
    private static let eve = user(2)

    private static func user(_ number: UInt64) -> UserID {
        UserID(Identifier(high: number << 40, low: number))
    }

    private static func key(_ number: UInt8) throws -> AttemptKey {
        try AttemptKey(username("name-\(number)"), key: try lookUpKey())
    }

    // MARK: Who waits

    /// Takes what the scope has, for as long as the test needs.
    private static func stay(_ db: GatehouseStore.Database) throws {
        try db.execute(sql: "SET LOCAL idle_in_transaction_session_timeout = 0")
        try db.holdScope()
    }

    /// Whether a write in `second` waits until one in `first` is done.
    private func waits(_ second: WriteScope, for first: WriteScope) async throws -> Bool {
        let (isFirstIn, isSecondIn, goOn) = (Flag(), Flag(), Flag())
        let (one, other) = (stores[0], stores[1])
        async let firstDone: Bool = one.write(at: time(noon), first) { db in
            try Self.stay(db)
            isFirstIn.raise()
            return goOn.isRaised(within: 60)
        }
        #expect(try await eventually { isFirstIn.isRaised })
        async let secondDone: Void = other.write(at: time(noon), second) { db in
            try db.holdScope()
            isSecondIn.raise()
        }
        var isWaiting = false
        _ = try await eventually(within: 30) {
            isWaiting = try watch.lockWaiters() == 1
            return isWaiting || isSecondIn.isRaised
        }
        #expect(isWaiting != isSecondIn.isRaised)
        goOn.raise()
        #expect(try await firstDone)
        try await secondDone
        #expect(isSecondIn.isRaised)
        return isWaiting
    }

    @Test func `writes of one user are one after the other, of two users side by side`()
        async throws
    {
        let (ada, eve) = (Self.ada, Self.eve)
        #expect(try await waits(.user(ada), for: .user(ada)))
        #expect(try await !waits(.user(eve), for: .user(ada)))
        #expect(try await waits(.users { _ in [eve, ada] }, for: .user(ada)))
        #expect(try await waits(.user(ada), for: .users { _ in [eve, ada] }))
        #expect(try await waits(.user(eve), for: .users(eve) { _ in [ada] }))
        #expect(try await !waits(.users { _ in [] }, for: .user(ada)))
        #expect(try await waits(.deletion(of: ada), for: .user(ada)))
    }

    @Test func `writes of all exclude every other, and single rows nobody`() async throws {
        let ada = Self.ada
        for scope in [WriteScope.rows, .user(ada), .imports, .attempts([try Self.key(1)]), .store] {
            #expect(try await waits(scope, for: .store))
            #expect(try await waits(.store, for: scope))
        }
        for scope in [WriteScope.rows, .user(ada), .imports] {
            #expect(try await !waits(scope, for: .rows))
        }
    }

    @Test func `counters, links, imports and the ledger each have one writer`() async throws {
        let (ada, eve) = (Self.ada, Self.eve)
        let (one, two) = (try Self.key(1), try Self.key(2))
        #expect(try await waits(.attempts([one]), for: .attempts([two, one])))
        #expect(try await !waits(.attempts([one]), for: .attempts([two])))
        #expect(try await waits(.user(ada).and(one), for: .user(eve).and([one])))
        #expect(try await waits(.attempts([one]), for: .user(eve).and { _ in [one] }))
        #expect(try await waits(.user(ada), for: .users { _ in [ada] }.and { _ in [one] }))
        let link = try #require(LinkHash(bytes: [UInt8](repeating: 7, count: 32)))
        #expect(try await waits(.user(ada).and(link), for: .user(eve).and(link)))
        #expect(try await waits(.imports, for: .imports))
        #expect(try await waits(.deletion(of: ada), for: .deletion(of: eve)))
        #expect(try await !waits(.user(eve), for: .deletion(of: ada)))
        #expect(try await waits(.deletion(of: ada), for: .noDeletion))
        #expect(try await waits(.noDeletion, for: .deletion(of: ada)))
        #expect(try await !waits(.user(eve), for: .noDeletion))
    }

    @Test func `who waits to exclude all goes before those who come later`() async throws {
        let (isIn, goOn) = (Flag(), Flag())
        let turns = Counter()
        async let first: Bool = stores[0].write(at: time(noon), .rows) { db in
            try Self.stay(db)
            isIn.raise()
            return goOn.isRaised(within: 60)
        }
        #expect(try await eventually { isIn.isRaised })
        async let all = stores[1].write(at: time(noon)) { db in
            try db.holdScope()
            return turns.next()
        }
        #expect(try await eventually { try watch.lockWaiters() == 1 })
        async let late = stores[0].write(at: time(noon), .rows) { db in
            try db.holdScope()
            return turns.next()
        }
        #expect(try await eventually { try watch.lockWaiters() == 2 })
        goOn.raise()
        #expect(try await first)
        #expect(try await all == 1)
        #expect(try await late == 2)
    }

    // MARK: Sessions

    private func live(_ user: User) async throws -> [SessionID] {
        try await stores[0].signIns(of: user.id, at: time(noon)).map(\.session)
    }

    @Test func `nothing survives a logout that races with the remember cookie`() async throws {
        for round in 0..<25 {
            let user = try await stores[0].makeUser("user-\(round)")
            let begun = try await stores[0].makeSignIn(user, remembers: true)
            let series = try #require(begun.series)
            _ = try await race(4) { part in
                if part == round % 4 {
                    // By one cookie or by both.
                    _ = try await stores[1].logOut(
                        [begun.id], round.isMultiple(of: 2) ? [series.id] : [])
                } else {
                    _ = try await stores[part % 2].present(series.id, 1, at: noon + 1)
                }
            }
            #expect(try await live(user).isEmpty)
            #expect(try await !stores[0].isRemembered(series, at: noon + 1))
            for session in try await stores[0].sessions(of: user.id, limit: 9) {
                #expect(session.revoked != nil)
            }
        }
    }

    @Test(arguments: [SessionLimit.AtLimit.endOldest, .refuse])
    func `twenty who sign in at the limit leave as many sessions as it allows`(
        _ atLimit: SessionLimit.AtLimit
    ) async throws {
        let limit = SessionLimit(maximum: 3, atLimit: atLimit)
        for round in 0..<5 {
            let user = try await stores[0].makeUser("user-\(round)")
            let begun = try await race(20) { index in
                try await stores[index % 2].signIn(
                    user, remembers: index.isMultiple(of: 3), limit: limit)
            }
            let sessions = try await stores[0].sessions(of: user.id, limit: 100)
            #expect(sessions.count { $0.revoked == nil } == 3)
            let created = begun.filter { $0.outcome != .limitReached }
            #expect(created.count == (atLimit == .refuse ? 3 : 20))
        }
    }

    private func change(
        _ user: User, to new: String, asking: SessionID, in store: SQLStore
    ) async throws -> Begun {
        let next = User(
            id: user.id, username: user.username, state: user.state, epoch: user.epoch + 1,
            created: user.created, passwordHash: new)
        let session = try SessionRecord(
            for: next, at: time(noon), floor: .zero, limits: try store.limits(), methods: .password,
            level: .password, entropy: .system)
        let outcome = try await store.changePassword(
            PasswordChange(
                newHash: new, oldHash: user.passwordHash ?? "", session: session,
                superseding: asking, seal: try store.seal(), clearing: []), at: time(noon))
        return Begun(outcome: outcome, session: session, series: nil)
    }

    @Test func `no session of the old password survives its change`() async throws {
        for round in 0..<20 {
            let user = try await makeUser("user-\(round)", password: "old")
            let asking = try await stores[0].makeSignIn(user)
            let begun = try await race(6) { part in
                if part == round % 6 {
                    return try await change(user, to: "new", asking: asking.id, in: stores[1])
                }
                return try await stores[part % 2].signIn(user, remembers: part == 1)
            }
            let changed = try #require(begun.first { $0.session.epoch == user.epoch + 1 })
            guard case .created = changed.outcome else {
                Issue.record("not changed")
                continue
            }
            #expect(try await live(user) == [changed.id])
            for series in begun.compactMap(\.series) {
                #expect(try await !stores[0].isRemembered(series, at: noon))
            }
        }
    }

    private func makeUser(
        _ name: String, password: String, invitation: LinkHash? = nil
    ) async throws -> User {
        let outcome = try await add(name, password: password, invitation: invitation, in: stores[0])
        guard case .added(let user) = outcome else { throw Unexpected("\(outcome)") }
        return user
    }

    private func add(
        _ name: String, password: String, invitation: LinkHash?, in store: SQLStore
    ) async throws -> AddUserOutcome {
        let id = try UserID.random(from: .system)
        return try await store.addUser(
            username(name), id: id, passwordHash: password, invitation: invitation,
            enrolment: Enrolment(), audit: AuditEvent(.userCreated, by: .server, user: id),
            at: time(noon))
    }

    @Test func `no session is acknowledged that an outdated ring sealed`() async throws {
        let user = try await stores[0].makeUser("ada")
        for version: UInt64 in 0..<15 {
            let created = try await race(9) { part -> SessionID? in
                if part == 4 {
                    let ring = WrappedKeyring(
                        version: version + 1, ringKey: RingKeyID(rawValue: version + 1),
                        sealed: [1], wraps: [])
                    let replaced = try await stores[1].replaceKeyring(
                        with: ring, onlyWhenLoaded: false,
                        audit: [AuditEvent(.keyAdded, by: .command)], at: time(noon))
                    guard replaced == .replaced else { throw Unexpected("\(replaced)") }
                    return nil
                }
                let record = try stores[0].record(for: user, at: noon, seconds: 3600)
                let outcome = try await stores[part % 2].create([record], keyringVersion: version)
                switch outcome {
                case .created: return record.id
                case .outdated: return nil
                default: throw Unexpected("\(outcome)")
                }
            }.compactMap(\.self)
            // The trail is in the order of commits.
            let trail = try await stores[0].audit(after: 0, limit: 10_000).map(\.event)
            let added = try #require(trail.lastIndex { $0.kind == .keyAdded })
            for session in created {
                let index = try #require(trail.firstIndex { $0.session == session })
                #expect(index < added)
            }
            #expect(trail[added...].count == 1)
        }
    }

    @Test func `two who note the same uses count each person once`() async throws {
        var sessions: [SessionID] = []
        for index in 0..<12 {
            let user = try await stores[0].makeUser("user-\(index)")
            sessions.append(try await stores[0].makeSession(of: user).id)
        }
        for round in 0..<10 {
            let used = noon + 3600 + Int64(round) * 86_400
            let orders = [sessions, sessions.reversed(), sessions.shuffled(), sessions.shuffled()]
            _ = try await race(4) { part in
                try await stores[part % 2].noteActivity(
                    orders[part].map { ($0, time(used)) }, idleSeconds: idle, at: time(used))
            }
            let day = CalendarDay(of: time(used))
            let counts = try await stores[0].activity(from: day)
            #expect(counts.days.first { $0.start == day }?.active == 12)
            for session in sessions {
                #expect(try await stores[0].session(session)?.lastUsed == time(used))
            }
        }
    }

    // MARK: Passwords, devices, links

    @Test func `racing tries are admitted no more often than the rule has it`() async throws {
        for number: UInt8 in 0..<5 {
            let key = try Self.key(number)
            let admitted = try await race(40) { index in
                try await stores[index % 2].chargeAttempt(key, user: nil, at: time(noon))
                    == .admitted
            }
            #expect(admitted.count { $0 } == AttemptRule.allowance)
            #expect(try await stores[0].attempts(key)?.failures == AttemptRule.allowance)
        }
    }

    @Test func `a counter that is cleared while another tries holds that try or nothing`()
        async throws
    {
        let user = try await stores[0].makeUser("ada")
        for round in 0..<30 {
            let key = try AttemptKey(username("name-\(round)"), key: try lookUpKey())
            for _ in 0..<3 {
                _ = try await stores[0].chargeAttempt(key, user: nil, at: time(noon))
            }
            _ = try await race(3) { part in
                switch (part, round % 2) {
                case (1, 0): try await stores[0].clearAttempts([key], audit: nil, at: time(noon))
                case (1, _):
                    let record = try stores[0].record(for: user, at: noon, seconds: 60)
                    _ = try await stores[0].createSessions(
                        SessionCreation(
                            sessions: [record], seal: try stores[0].seal(), clearing: key),
                        audit: [], at: time(noon))
                case (0, _):
                    _ = try await stores[1].chargeAttempt(key, user: nil, at: time(noon))
                default: break
                }
            }
            let failures = try await stores[0].attempts(key)?.failures
            #expect(failures == nil || failures == 1)
        }
    }

    @Test func `racing new devices leave as many as a user may have`() async throws {
        let user = try await stores[0].makeUser("ada")
        let count = Device.maximumPerUser + 15
        let outcomes = try await race(count) { index in
            try await useDevice(user, in: stores[index % 2])
        }
        #expect(outcomes.allSatisfy { $0 == .done })
        #expect(try await stores[0].devices(of: user.id).count == Device.maximumPerUser)
    }

    private func useDevice(_ user: User, in store: SQLStore) async throws -> DeviceOutcome {
        try await store.useDevice(
            DeviceUse(
                id: DeviceID(try Identifier.random(from: .system)), isNew: true, user: user.id,
                epoch: user.epoch, preferences: try Preferences(["theme": "dark"]),
                seal: DeviceSeal(
                    key: try store.seal().key, keyringVersion: 0, deadline: time(noon + 1000)),
                isProved: true), at: time(noon))
    }

    @Test func `of racing registrations by one invitation one is let in`() async throws {
        for round in 0..<10 {
            let hash = try #require(LinkHash(bytes: try Entropy.system.bytes(32)))
            try await stores[0].addLink(
                Link(hash: hash, purpose: .invitation, expires: time(noon + 900)),
                audit: AuditEvent(.userInvited, by: .command), at: time(noon))
            let outcomes = try await race(8) { index in
                try await add(
                    "user-\(round)-\(index)", password: "x", invitation: hash,
                    in: stores[index % 2])
            }
            #expect(outcomes.count { $0 == .notInvited } == 7)
        }
        #expect(try await stores[0].users(after: nil, limit: 100).count == 10)
    }

    // MARK: Imports

    @Test func `imports of two files with the same names in other orders share them`() async throws
    {
        let names = (0..<40).map { "name-\($0)" }
        let outcomes = try await race(2) { part -> ImportProgress in
            let order = part == 0 ? names : names.reversed()
            let users = try order.enumerated().map { index, name in
                ImportedUser(
                    line: index + 1, username: username(name), id: try UserID.random(from: .system),
                    passwordHash: nil)
            }
            let step = ImportProgress(file: [UInt8](repeating: UInt8(part), count: 32))
            let outcome = try await stores[part].importUsers(
                users, from: nil, to: step, audit: [], at: time(noon))
            guard case .imported(let progress) = outcome else { throw Unexpected("\(outcome)") }
            return progress
        }
        #expect(outcomes.allSatisfy { $0.added + $0.refused == 40 })
        #expect(outcomes.map(\.added).reduce(0, +) == 40)
        #expect(try await stores[0].users(after: nil, limit: 100).count == 40)
    }

    // MARK: Departures

    /// Rows that nobody who has gone has.
    private func leftovers(_ user: UserID) throws -> [String] {
        try PersonalTable.all.filter { $0.fate == .removed }.filter { table in
            try watch.integer(
                "SELECT count(*) FROM \(table.name) WHERE \(table.column) = ?",
                [.blob(user.value.data)]) > 0
        }.map(\.name)
    }

    @Test func `nothing of a person who goes is left by what they do meanwhile`() async throws {
        for round in 0..<20 {
            let user = try await makeUser("user-\(round)", password: "x")
            let begun = try await stores[0].makeSignIn(user, remembers: true)
            let series = try #require(begun.series)
            _ = try await race(8) { part in
                let store = stores[(part + round) % 2]
                switch (part + round) % 8 {
                case 0: try await delete(user, in: store)
                case 1: _ = try await store.signIn(user, remembers: true)
                case 2: _ = try await store.present(series.id, 1, at: noon + 1)
                case 3: _ = try await useDevice(user, in: store)
                case 4: try await store.touch(begun.id, at: noon + 86_400)
                case 5: try await requestDeletion(user, in: store)
                case 6: _ = try await agree(user, in: store)
                default: _ = try await store.renew(begun.id, at: noon + 1)
                }
            }
            #expect(try leftovers(user.id).isEmpty)
            #expect(try await stores[0].user(user.id) == nil)
        }
    }

    private func delete(_ user: User, in store: SQLStore) async throws {
        let outcome = try await store.deletePerson(
            user.id, onlyIfDue: false, lookUpKey: try lookUpKey(),
            audit: AuditEvent(.userDeleted, by: .command, user: user.id), at: time(noon))
        guard case .revoked = outcome else { throw Unexpected("\(outcome)") }
    }

    private func requestDeletion(_ user: User, in store: SQLStore) async throws {
        _ = try await store.requestDeletion(
            DeletionRequest(
                user: user.id, epoch: user.epoch, passwordHash: "x",
                clearing: try AttemptKey(user.username, key: try lookUpKey()),
                due: time(noon + 100)),
            audit: AuditEvent(.deletionRequested, by: .server, user: user.id), at: time(noon))
    }

    private func agree(_ user: User, in store: SQLStore) async throws -> RecordOutcome {
        let name = try #require(SubjectName("news"))
        let news = Purpose(name: name, title: "News", text: "News.", initial: .optIn, version: 1)
        return try await store.record(
            [AgreementEntry(.purpose(name), version: 1, isGiven: true)], of: user.id,
            session: nil, purposes: [news], at: time(noon))
    }

    @Test func `nobody who goes while the trail is read has a look afterwards`() async throws {
        let user = try await makeUser("seen", password: "x")
        let blocker = try database.connect()
        // The reader stops where it writes the number of its entry.
        try blocker.run("BEGIN; SELECT 1 FROM head FOR UPDATE")
        async let reading = stores[0].noteAuditLook(
            by: try #require(OperatorName("op")), reason: try #require(LookReason("why")),
            at: time(noon))
        #expect(try await eventually { try watch.lockWaiters() == 1 })
        async let going: Void = delete(user, in: stores[1])
        #expect(try await eventually { try watch.lockWaiters() == 2 })
        try blocker.run("COMMIT")
        _ = try await reading
        try await going
        #expect(try leftovers(user.id).isEmpty)
    }

    @Test func `two who go at once are both in the ledger`() async throws {
        var users: [User] = []
        for index in 0..<24 { users.append(try await stores[0].makeUser("user-\(index)")) }
        let all = users
        _ = try await race(24) { index in try await delete(all[index], in: stores[index % 2]) }
        let ledger = try DeletionLedger(directory: database.directory.path).contents()
        #expect(ledger.unreadable == 0)
        #expect(Set(ledger.entries.map(\.user)) == Set(users.map(\.id)))
        #expect(ledger.entries.count == 24)
    }

    @Test func `nobody who goes is lost from the ledger while it is shortened`() async throws {
        let ledger = DeletionLedger(directory: database.directory.path)
        let old = try UserID.random(from: .system)
        try ledger.append(DeletionLedger.Entry(user: old, time: time(noon - 1000)))
        let store = stores[1]
        let (isIn, goOn) = (Flag(), Flag())
        async let held: Bool = stores[0].write(at: time(noon), .rows) { db in
            try Self.stay(db)
            isIn.raise()
            return goOn.isRaised(within: 60)
        }
        #expect(try await eventually { isIn.isRaised })
        async let pruned = store.pruneLedger(before: time(noon - 1), at: time(noon))
        #expect(try await eventually { try watch.lockWaiters() == 1 })
        #expect(try ledger.contents().entries.count == 1, "it waits for those who write")
        goOn.raise()
        #expect(try await held)
        #expect(try await pruned == 1)
        #expect(try ledger.contents().entries.isEmpty)
    }

    // MARK: Upkeep

    @Test func `a node that is heard of again is not removed`() async throws {
        let node = NodeID(try Identifier.random(from: .system))
        try await stores[0].joinNode(node, leaseSeconds: 60, at: time(noon))
        let other = try database.connect()
        let later = noon + 3600
        try other.run("BEGIN; UPDATE nodes SET heartbeat = \(later)")
        async let removed = stores[1].prune(limit: 100, at: time(later))
        #expect(try await eventually { try watch.lockWaiters() == 1 })
        try other.run("COMMIT")
        #expect(try await removed == 0)
        #expect(try await stores[0].liveNodes(at: time(later)).map(\.id) == [node])
        // And one that isn't is.
        _ = try await stores[1].prune(limit: 100, at: time(later + 3600))
        #expect(try watch.integer("SELECT count(*) FROM nodes") == 0)
    }

    @Test func `a counter that is tried again while it expires stays`() async throws {
        let (used, unused) = (try Self.key(1), try Self.key(2))
        for key in [used, unused] {
            _ = try await stores[0].chargeAttempt(key, user: nil, at: time(noon))
        }
        let later = noon + AttemptRule.strangerSeconds + 3600
        let other = try database.connect()
        _ = try other.run("BEGIN")
        _ = try other.query(
            PostgreSQLStatement("UPDATE attempts SET failures = 2, expires = ? WHERE key = ?"),
            [.integer(later + 3600), .blob(Data(used.bytes))])
        // It waits for nobody.
        #expect(try await stores[1].prune(limit: 100, at: time(later)) == 1)
        try other.run("COMMIT")
        #expect(try await stores[1].prune(limit: 100, at: time(later)) == 0)
        #expect(try await stores[0].attempts(used)?.failures == 2)
        #expect(try await stores[0].attempts(unused) == nil)
    }

    @Test func `a checkpoint names what was written before it, by whomever`() async throws {
        let chain = AuditChain(try Identifier.random(from: .system))
        stores[1].signTrail(as: chain, with: AuditKeys(trailKey), for: AuditContext())
        try await stores[0].note(AuditEvent(.userCreated, by: .command), at: time(noon))
        let holder = try database.connect()
        try holder.run("BEGIN; SELECT 1 FROM head FOR UPDATE")
        let (one, other) = (stores[0], stores[1])
        async let note: Void = other.note(AuditEvent(.userCreated, by: .command), at: time(noon))
        #expect(try await eventually { try watch.lockWaiters() == 1 })
        async let checkpoint: Void = one.checkpointAudit(at: time(noon))
        #expect(try await eventually { try watch.lockWaiters() == 2 })
        try holder.run("COMMIT")
        _ = try await (note, checkpoint)
        let trail = try await stores[0].audit(after: 0, limit: 9)
        #expect(trail.map(\.event.kind) == [.userCreated, .userCreated, .auditCheckpoint])
        #expect(Set(trail.last?.ends.map(\.chain) ?? []) == [.commands, chain])
    }
}
