// The store without a server around it: what a node asks of it, timed alone.

import Foundation
import GatehouseCore
import GatehouseStore
import Glibc

/// A node's part of the store, in this process. It never joins: nobody waits for it.
final class StoreClient: Sendable {
    private let store: SQLStore
    private let ring: Keyring
    private let key: KeyID
    private let lookUp: LookUpKey

    /// - Parameter connections: to PostgreSQL, at most.
    init(of server: GatehouseServer, at url: String?, connections: Int) throws {
        var address = StoreAddress.sqlite(directory: server.dataDirectory)
        if let url {
            address = try StoreAddress(url)
            if case .postgresql(var database) = address {
                database.connections = connections
                address = .postgresql(database)
            }
        }
        let store = try SQLStore(
            at: address, createIfMissing: false, directory: server.dataDirectory)
        guard let wrapped = try blocking({ try await store.keyring() }),
            let text = FileManager.default.contents(atPath: server.dataDirectory + "/root.key")
        else { throw BenchmarkFailure("the store has no keyring") }
        ring = try RootKey(text: Array(text).span).unwrap(wrapped)
        guard let audit = try ring.auditKeys(), let active = ring.active,
            let lookUp = ring.lookUpKey
        else { throw BenchmarkFailure("the keyring has not all keys") }
        store.signTrail(
            as: AuditChain(try Identifier.random(from: .system)), with: audit, for: AuditContext())
        self.store = store
        self.lookUp = lookUp
        key = active.id
    }

    func close() throws { try store.close() }

    private static func now() -> UnixTime { UnixTime(clamping: Int64(time(nil))) }

    private func user(_ name: String) async throws -> User {
        guard let user = try await store.user(named: try Username(name)) else {
            throw BenchmarkFailure("there is no user \(name)")
        }
        return user
    }

    // MARK: What is timed

    /// The user, the charge and the session of a sign-in. The server reads the user with all that it tells and
    /// with the revocation by time; here these two are read by themselves, and nothing is told.
    func signIn(_ name: String) async throws {
        let user = try await user(name)
        try await charge(user.username, of: user.id)
        try await begin(user)
    }

    /// A try of a password, as it is counted before it is hashed: of a name that nobody has, so that
    /// none has to wait.
    func charge() async throws {
        try await charge(try Username("made-up-\(UInt64.random(in: 0 ... .max))"), of: nil)
    }

    private func charge(_ username: Username, of user: UserID?) async throws {
        let outcome = try await store.chargeAttempt(
            try AttemptKey(username, key: lookUp), user: user, at: Self.now())
        guard case .admitted = outcome else {
            throw BenchmarkFailure("a try was not admitted")
        }
    }

    /// The session of a sign-in.
    func begin(_ name: String) async throws { try await begin(user(name)) }

    private func begin(_ user: User) async throws {
        guard
            let limits = SessionLimits(
                idleSeconds: Crowd.sessionLifetimeSeconds,
                absoluteSeconds: Crowd.sessionLifetimeSeconds)
        else { preconditionFailure("a day is within the limits") }
        let now = Self.now()
        let session = try SessionRecord(
            for: user, at: now, floor: try await store.authenticatedFloor(), limits: limits,
            methods: .password, level: .password,
            origin: SessionOrigin(browser: "Firefox on Linux", place: "203.0.113.0/24"),
            entropy: .system)
        var creation = SessionCreation(
            sessions: [session], seal: SessionSeal(key: key, keyringVersion: ring.version),
            passwordHash: user.passwordHash,
            clearing: try AttemptKey(user.username, key: lookUp))
        creation.limit = SessionLimit(maximum: Self.atOnce, atLimit: .endOldest)
        let outcome = try await store.createSessions(
            creation,
            audit: [AuditEvent(.signedIn, by: .server, user: user.id, session: session.id)],
            at: now)
        guard case .created = outcome else {
            throw BenchmarkFailure("a sign-in was not stored: \(outcome)")
        }
    }

    /// The default of `session.max_per_user`.
    private static let atOnce = 20

    func list(_ name: String) async throws {
        guard try await !store.sessions(of: user(name).id, limit: 1000).isEmpty else {
            throw BenchmarkFailure("\(name) has no session")
        }
    }

    /// Users of one page, from a name on.
    func page(after name: String, limit: Int) async throws {
        guard try await !store.users(after: try Username(name), limit: limit).isEmpty else {
            throw BenchmarkFailure("nobody comes after \(name)")
        }
    }

    func revokeAll(of name: String) async throws {
        let user = try await user(name)
        let outcome = try await store.revokeSessions(
            of: user.id, audit: AuditEvent(.sessionsRevokedForUser, by: .command, user: user.id),
            at: Self.now())
        guard case .revoked = outcome else { throw BenchmarkFailure("nobody's sessions ended") }
    }

    func revoke(before seconds: Int64) async throws {
        let position = try await store.revokeSessions(
            authenticatedBefore: UnixTime(clamping: seconds),
            audit: AuditEvent(.sessionsRevokedBefore, by: .command), at: Self.now())
        guard position > 0 else { throw BenchmarkFailure("nobody is told of a revocation") }
    }

    /// The uses of `ids` as a node writes them, each later than the last by more than what is told of.
    func noteUses(of ids: [SessionID], turn: Int) async throws {
        let now = Self.now()
        let used = now.advanced(bySeconds: Int64(turn + 1) * (Self.useStepSeconds + 1))
        try await store.noteActivity(
            ids.map { ($0, used) }, idleSeconds: Crowd.sessionLifetimeSeconds, at: now)
    }

    private static let useStepSeconds = ActivityNotes.stepSeconds(
        idleSeconds: Crowd.sessionLifetimeSeconds)

    /// One session of each of these users.
    func sessions(of names: [String]) async throws -> [SessionID] {
        var ids: [SessionID] = []
        for name in names {
            ids += try await store.sessions(of: user(name).id, limit: 1).map(\.id)
        }
        return ids
    }

    // MARK: How often

    /// How often `body` is done in a second by so many at once.
    func perSecond(
        clients: Int, seconds: Double,
        _ body: @escaping @Sendable (StoreClient, _ client: Int, _ turn: Int) async throws -> Void
    ) throws -> Double {
        let start = monotonicNanoseconds()
        let end = start + UInt64(seconds * 1e9)
        let done = try blocking {
            try await withThrowingTaskGroup(of: Int.self) { group in
                for client in 0..<clients {
                    group.addTask {
                        var done = 0
                        while monotonicNanoseconds() < end {
                            try await body(self, client, done)
                            done += 1
                        }
                        return done
                    }
                }
                return try await group.reduce(0, +)
            }
        }
        return Double(done) / (Double(monotonicNanoseconds() - start) / 1e9)
    }
}
