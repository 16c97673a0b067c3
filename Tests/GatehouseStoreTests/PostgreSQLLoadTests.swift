// All that a store does, by many at once: nobody waits for another in a circle.

import Foundation
import GatehouseCore
import GatehousePeople
import GatehouseTestSupport
import Synchronization
import Testing

@testable import GatehouseStore

@Suite(.serialized, .enabled(if: PostgreSQLFixture.url != nil, "no PostgreSQL server to test with"))
struct PostgreSQLLoadTests {
    private static let writers = 8
    private static let people = 5
    private static let seconds =
        ProcessInfo.processInfo.environment["GATEHOUSE_TEST_SCALE"] == nil ? 4.0 : 20

    private let database: PostgreSQLTestDatabase

    init() throws { database = try PostgreSQLTestDatabase() }

    @Test func `all that is written goes on beside all else without a deadlock`() async throws {
        let stores = try (0..<3).map { _ in try database.open() }
        let load = Load(users: try await people(in: stores[0]))
        let seed = UInt64.random(in: 0 ... .max)
        let end = ContinuousClock.now + .seconds(Self.seconds)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<Self.writers {
                group.addTask {
                    var generator = SeededGenerator(seed: seed &+ UInt64(writer))
                    let node = NodeID(try Identifier.random(from: .system))
                    repeat {
                        for work in Load.Work.allCases.shuffled(using: &generator) {
                            do {
                                try await load.perform(
                                    work, in: stores[writer % stores.count], as: node, &generator)
                            } catch {
                                Issue.record("\(work), seed \(seed): \(error)")
                            }
                        }
                    } while ContinuousClock.now < end
                }
            }
            try await group.waitForAll()
        }
        let done = load.done.withLock(\.self)
        for work in Load.Work.allCases { #expect((done[work] ?? 0) >= Self.writers, "\(work)") }
        #expect(try await stores[0].integrityFindings() == [])
        for store in stores { try store.close() }
        // Sessions report what they counted when they end.
        let watch = try database.connect()
        #expect(
            try await eventually {
                try watch.integer(
                    """
                    SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'gatehouse'
                    """) == 0
            })
        #expect(try deadlocks(watch) == 0)
        // And they do count.
        try await meet()
        #expect(try await eventually { try deadlocks(watch) == 1 })
    }

    private func deadlocks(_ watch: PostgreSQLConnection) throws -> Int64 {
        try watch.integer(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    }

    /// Two that wait for each other.
    private func meet() async throws {
        let (one, other) = (try database.connect(), try database.connect())
        defer {
            one.close()
            other.close()
        }
        for connection in [one, other] {
            try connection.run("SET deadlock_timeout = 50; BEGIN")
        }
        try one.run("UPDATE skeletons SET version = version")
        try other.run("UPDATE erasures SET since = since")
        let first = onThread { try one.run("UPDATE erasures SET since = since") }
        let second = onThread { try other.run("UPDATE skeletons SET version = version") }
        let results = [await first.result, await second.result]
        #expect(results.contains { if case .failure = $0 { true } else { false } })
        try? one.run("ROLLBACK")
        try? other.run("ROLLBACK")
    }

    private func people(in store: SQLStore) async throws -> [UserID] {
        var users: [UserID] = []
        for index in 0..<Self.people { users.append(try await store.makeUser("user-\(index)").id) }
        return users
    }
}

/// What nodes and commands do, about a few people at once.
private final class Load: Sendable {
    enum Work: CaseIterable {
        case signIn, stepUp, logOut, logOutElsewhere, present, use, renew, tryPassword, clear
        case changePassword, recover, device, forgetDevices, disable, enable, comeAndGo, rename
        case importUsers, invite, agree, departure, look, tally, beat, upkeep, reserve, revokeAll
    }

    let users: [UserID]
    let done = Mutex<[Work: Int]>([:])
    /// The last sign-ins, which any of the writers may go on with.
    private let begun = Mutex<[Begun]>([])
    private let number = Counter()

    init(users: [UserID]) { self.users = users }

    private func someone(
        _ store: SQLStore, _ generator: inout SeededGenerator
    ) async throws -> User {
        let id = users[Int.random(in: 0..<users.count, using: &generator)]
        guard let user = try await store.user(id) else { throw Unexpected("nobody") }
        return user
    }

    private func sessions(_ count: Int, _ generator: inout SeededGenerator) -> [Begun] {
        Array(begun.withLock(\.self).shuffled(using: &generator).prefix(count))
    }

    private func keys() throws -> [AttemptKey] {
        try users.indices.map { try AttemptKey(username("user-\($0)"), key: lookUpKey) }
    }

    private let lookUpKey: LookUpKey = {
        do { return try GatehouseTestSupport.lookUpKey() } catch { preconditionFailure("\(error)") }
    }()

    func perform(
        _ work: Work, in store: SQLStore, as node: NodeID, _ generator: inout SeededGenerator
    ) async throws {
        let now = noon + Int64.random(in: 0..<200, using: &generator)
        switch work {
        case .signIn, .stepUp, .logOut, .logOutElsewhere, .present, .use, .renew:
            try await performSession(work, in: store, at: now, &generator)
        case .tryPassword, .clear, .changePassword, .recover, .device, .forgetDevices:
            try await performPassword(work, in: store, at: now, &generator)
        case .disable, .enable, .comeAndGo, .rename, .importUsers, .invite, .agree, .departure,
            .look:
            try await performPerson(work, in: store, at: now, &generator)
        case .tally, .beat, .upkeep, .reserve, .revokeAll:
            try await performUpkeep(work, in: store, as: node, at: now, &generator)
        }
        done.withLock { $0[work, default: 0] += 1 }
    }

    private func performSession(
        _ work: Work, in store: SQLStore, at now: Int64, _ generator: inout SeededGenerator
    ) async throws {
        let some = sessions(6, &generator)
        switch work {
        case .signIn, .stepUp:
            let user = try await someone(store, &generator)
            let superseding =
                work == .stepUp ? some.first { $0.session.user == user.id }?.id : nil
            let ending = some.filter { $0.session.user != user.id }.prefix(1).map(\.id)
            let begun = try await store.signIn(
                user, at: now, remembers: work == .signIn && Bool.random(using: &generator),
                ending: PresentedIDs(sessions: Array(ending)), superseding: superseding,
                limit: SessionLimit(maximum: 4, atLimit: .endOldest))
            guard case .created = begun.outcome else { return }
            self.begun.withLock { all in
                all.append(begun)
                if all.count > 40 { all.removeFirst() }
            }
        case .logOut:
            let pair = some.prefix(2)
            _ = try await store.logOut(pair.map(\.id), pair.compactMap { $0.series?.id }, at: now)
        case .logOutElsewhere:
            guard let kept = some.first else { return }
            _ = try await store.endSignIns(
                of: kept.session.user, except: kept.id, at: time(now))
        case .present:
            guard let series = some.lazy.compactMap(\.series).first else { return }
            // The first generation, which in time is taken for stolen.
            _ = try await store.present(
                series.id, 1, at: now, limit: SessionLimit(maximum: 4, atLimit: .endOldest))
        case .use:
            try await store.noteActivity(
                some.map { ($0.id, time(now)) }, idleSeconds: idle, at: time(now))
        default:
            guard let session = some.first else { return }
            _ = try await store.renew(session.id, at: now)
        }
    }

    private func performPassword(
        _ work: Work, in store: SQLStore, at now: Int64, _ generator: inout SeededGenerator
    ) async throws {
        let user = try await someone(store, &generator)
        let key = try AttemptKey(user.username, key: lookUpKey)
        switch work {
        case .tryPassword:
            let outcome = try await store.chargeAttempt(key, user: user.id, at: time(now))
            if outcome == .admitted, Bool.random(using: &generator) {
                try await store.refundAttempt(key, at: time(now))
            }
        case .clear:
            try await store.clearAttempts(
                try keys().shuffled(using: &generator),
                audit: AuditEvent(.passwordAttemptsReset, by: .command), at: time(now))
        case .changePassword:
            guard let asking = sessions(40, &generator).first(where: { $0.session.user == user.id })
            else { return }
            let next = User(
                id: user.id, username: user.username, state: .enabled, epoch: user.epoch + 1,
                created: user.created, passwordHash: "new")
            let session = try SessionRecord(
                for: next, at: time(now), floor: .zero, limits: try store.limits(),
                methods: .password, level: .password, entropy: .system)
            _ = try await store.changePassword(
                PasswordChange(
                    newHash: "new", oldHash: user.passwordHash ?? "", session: session,
                    superseding: asking.id, seal: try store.seal(), clearing: try keys()),
                at: time(now))
        case .recover:
            guard let hash = LinkHash(bytes: try Entropy.system.bytes(32)) else { return }
            try await store.addLink(
                Link(hash: hash, purpose: .recovery(user.id), expires: time(noon + 9000)),
                audit: AuditEvent(.userRecoveryIssued, by: .command), at: time(now))
            _ = try await store.setPassword(
                "set", with: hash, lookUpKey: lookUpKey, audit: .passwordRecovered, at: time(now))
        case .device:
            _ = try await store.useDevice(
                DeviceUse(
                    id: DeviceID(try Identifier.random(from: .system)), isNew: true, user: user.id,
                    epoch: user.epoch, preferences: try Preferences(["theme": "dark"]),
                    seal: DeviceSeal(
                        key: try store.seal().key, keyringVersion: 0, deadline: time(now + 1000)),
                    isProved: Bool.random(using: &generator)), at: time(now))
        default:
            for device in try await store.devices(of: user.id).prefix(2) {
                _ = try await store.endDevice(
                    device, of: user.id, seal: nil,
                    audit: AuditEvent(.deviceForgotten, by: .server), at: time(now))
            }
        }
    }

    private func add(
        _ name: String, _ store: SQLStore, invitation: LinkHash? = nil, at now: Int64
    ) async throws -> User? {
        let id = try UserID.random(from: .system)
        let outcome = try await store.addUser(
            username(name), id: id, passwordHash: "x", invitation: invitation,
            enrolment: Enrolment(), audit: AuditEvent(.userCreated, by: .server, user: id),
            at: time(now))
        guard case .added(let user) = outcome else { return nil }
        return user
    }

    private func performPerson(
        _ work: Work, in store: SQLStore, at now: Int64, _ generator: inout SeededGenerator
    ) async throws {
        let user = try await someone(store, &generator)
        let name = "other-\(number.next())"
        switch work {
        case .disable, .enable:
            _ = try await store.set(user, work == .disable ? .disabled : .enabled, at: now)
        case .comeAndGo:
            guard let guest = try await add(name, store, at: now) else { return }
            _ = try await store.makeSignIn(guest, at: now, remembers: true)
            _ = try await store.deletePerson(
                guest.id, onlyIfDue: false, lookUpKey: lookUpKey,
                audit: AuditEvent(.userDeleted, by: .command), at: time(now))
        case .rename:
            guard let guest = try await add(name, store, at: now) else { return }
            _ = try await store.renameUser(
                guest.id, to: username("shared-\(Int.random(in: 0..<20, using: &generator))"),
                takingReserved: true, audit: AuditEvent(.userRenamed, by: .command), at: time(now))
        case .importUsers:
            let users = try (0..<20).shuffled(using: &generator).map {
                ImportedUser(
                    line: $0 + 1, username: username("shared-\($0)"),
                    id: try UserID.random(from: .system), passwordHash: nil)
            }
            _ = try await store.importUsers(
                users, from: nil, to: ImportProgress(file: try Entropy.system.bytes(32)), audit: [],
                at: time(now))
        case .invite:
            guard let hash = LinkHash(bytes: try Entropy.system.bytes(32)) else { return }
            try await store.addLink(
                Link(hash: hash, purpose: .invitation, expires: time(noon + 9000)),
                audit: AuditEvent(.userInvited, by: .command), at: time(now))
            async let one = add(name + "-a", store, invitation: hash, at: now)
            async let two = add(name + "-b", store, invitation: hash, at: now)
            let added = try await [one, two].compactMap(\.self)
            guard added.count == 1 else { throw Unexpected("\(added.count) were let in") }
        case .agree:
            guard let news = SubjectName("news") else { return }
            let purpose = Purpose(
                name: news, title: "News", text: "News.", initial: .optIn, version: 1)
            _ = try await store.record(
                [
                    AgreementEntry(
                        .purpose(news), version: 1, isGiven: Bool.random(using: &generator))
                ], of: user.id, session: nil, purposes: [purpose], at: time(now))
        case .departure:
            _ = try await store.requestDeletion(
                DeletionRequest(
                    user: user.id, epoch: user.epoch, passwordHash: user.passwordHash ?? "",
                    clearing: try AttemptKey(user.username, key: lookUpKey), due: time(noon + 9000)),
                audit: AuditEvent(.deletionRequested, by: .server), at: time(now))
            _ = try await store.cancelDeletion(
                of: user.id, audit: AuditEvent(.deletionCancelled, by: .server), at: time(now))
        default:
            guard let name = OperatorName("op"), let reason = LookReason("asked") else { return }
            try await store.noteFound(
                users.shuffled(using: &generator), by: name, reason: reason, field: "email",
                at: time(now))
            _ = try await store.eraseAuditPersonal(of: user.id, at: time(now))
        }
    }

    private func performUpkeep(
        _ work: Work, in store: SQLStore, as node: NodeID, at now: Int64,
        _ generator: inout SeededGenerator
    ) async throws {
        switch work {
        case .tally:
            var tally = KeyTally()
            for id: UInt32 in 1...9 {
                guard let key = KeyID(rawValue: id) else { return }
                tally.noteOpened(3, by: key)
                tally.noteSealed(by: key, until: time(now + 3600 * Int64(id)), at: time(now))
            }
            try await store.noteKeyTally(tally, by: node, at: time(now))
        case .beat:
            if try await !store.beat(node, position: 1, keyringVersion: 0, at: time(now)) {
                try await store.joinNode(
                    node, leaseSeconds: 60, rootKey: nil, rotates: true, at: time(now))
            }
        case .upkeep:
            // By a clock that is ahead, so that what the others use has expired.
            let later = time(now + Int64.random(in: 0..<2000, using: &generator))
            _ = try await store.prune(limit: 20, at: later)
            _ = try await store.expireAttempts(
                upTo: later, by: later, limit: 20, at: time(now))
            _ = try await store.cutAddresses(before: later, limit: 20, at: time(now))
            try await store.checkpointAudit(at: time(now))
        case .reserve:
            _ = try await store.reserveNames(
                [username("shared-\(Int.random(in: 0..<20, using: &generator))")], at: time(now))
        default:
            _ = try await store.revokeSessions(
                authenticatedBefore: time(noon - 1),
                audit: AuditEvent(.sessionsRevokedBefore, by: .command), at: time(now))
        }
    }
}
