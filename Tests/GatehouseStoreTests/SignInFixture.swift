// Sign-ins as the front door makes and uses them, for the store's contract tests.

import GatehouseCore
import GatehouseStore
import GatehouseTestSupport

let idle: Int64 = 3600
let absolute: Int64 = 86_400
let rememberedSeconds: Int64 = 30 * 86_400
let grace: Int64 = 60

struct Begun {
    let outcome: CreateSessionsOutcome
    let session: SessionRecord
    let series: RememberSeries?
    var id: SessionID { session.id }
}

/// Does `body` `count` times at once.
func race<Value: Sendable>(
    _ count: Int, _ body: @escaping @Sendable (Int) async throws -> Value
) async throws -> [Value] {
    try await withThrowingTaskGroup(of: Value.self) { group in
        for index in 0..<count { group.addTask { try await body(index) } }
        return try await group.reduce(into: []) { $0.append($1) }
    }
}

extension Store {
    func seal(key: UInt32 = 7, version: UInt64 = 0) throws -> SessionSeal {
        guard let key = KeyID(rawValue: key) else { throw Unexpected("key") }
        return SessionSeal(key: key, keyringVersion: version)
    }

    func limits() throws -> SessionLimits {
        guard let limits = SessionLimits(idleSeconds: idle, absoluteSeconds: absolute) else {
            throw Unexpected("limits")
        }
        return limits
    }

    /// What `Accounts.begin` does.
    func signIn(
        _ user: User, at now: Int64 = noon, remembers: Bool = false,
        ending: PresentedIDs = PresentedIDs(), superseding: SessionID? = nil,
        limit: SessionLimit? = nil, methods: AuthenticationMethods = .password, key: UInt32 = 7
    ) async throws -> Begun {
        let seriesID = remembers ? SeriesID(try Identifier.random(from: .system)) : nil
        let session = try SessionRecord(
            for: user, at: time(now), floor: try await authenticatedFloor(), limits: limits(),
            methods: methods, level: .password,
            origin: SessionOrigin(browser: "Firefox on Linux", place: "203.0.113.0/24"),
            series: seriesID, entropy: .system)
        let series = seriesID.map { id in
            RememberSeries(
                id: id, user: user.id, epoch: user.epoch, authenticated: session.authenticated,
                methods: methods, deadline: time(now + rememberedSeconds),
                state: RememberState(generation: 1, made: time(now), wasPresented: false),
                session: session.id)
        }
        var creation = SessionCreation(
            sessions: [session], seal: try seal(key: key), passwordHash: user.passwordHash,
            ending: ending)
        creation.series = series
        creation.superseding = superseding
        creation.limit = limit
        let outcome = try await createSessions(creation, audit: [], at: time(now))
        return Begun(outcome: outcome, session: session, series: series)
    }

    func makeSignIn(
        _ user: User, at now: Int64 = noon, remembers: Bool = false, key: UInt32 = 7
    ) async throws -> Begun {
        let begun = try await signIn(user, at: now, remembers: remembers, key: key)
        guard case .created = begun.outcome else { throw Unexpected("\(begun.outcome)") }
        return begun
    }

    func renew(
        _ session: SessionID, at now: Int64, known: Int64 = 0, key: UInt32 = 7
    ) async throws -> RenewSessionOutcome {
        try await renewSession(
            SessionRenewal(
                session: session, idleDeadline: time(known), idleSeconds: idle,
                seal: try seal(key: key)), at: time(now))
    }

    func touch(_ session: SessionID, at used: Int64) async throws {
        try await noteActivity([(session, time(used))], idleSeconds: idle, at: time(used))
    }

    func logOut(
        _ sessions: [SessionID], _ series: [SeriesID] = [], at now: Int64 = noon
    ) async throws -> Int {
        let outcome = try await revokeSessions(
            PresentedIDs(sessions: sessions, series: series), audit: .signedOut, at: time(now))
        guard case .revoked(_, let ended) = outcome else { throw Unexpected("\(outcome)") }
        return ended
    }

    func isRevoked(_ session: SessionID) async throws -> Bool {
        try await self.session(session)?.revoked != nil
    }

    func isRemembered(_ series: RememberSeries?, at now: Int64) async throws -> Bool {
        guard let series else { throw Unexpected("no series") }
        return try await remembered(series.id, at: time(now)) != nil
    }

    /// What `Accounts.present` does: the pure rule, and the store's compare-and-set until it holds. Nil
    /// when the series brings nobody back; else the rule that was applied and the session handed out.
    func present(
        _ series: SeriesID, _ generation: UInt32, at now: Int64, limit: SessionLimit? = nil,
        key: UInt32 = 7, origin: SessionOrigin = .unknown
    ) async throws -> (rule: RememberState.Outcome, session: SessionID?)? {
        while let view = try await remembered(series, at: time(now)) {
            let rule = view.series.state.outcome(
                presenting: generation, graceSeconds: grace, at: view.time)
            let (action, session) = try action(rule, view, at: now, limit: limit, key: key)
            let outcome = try await presentSeries(
                RememberPresentation(
                    expected: view, presented: generation, action: action, origin: origin),
                at: time(now))
            switch outcome {
            case .changed: continue
            case .done: return (rule, session)
            case .outdated, .limitReached: return nil
            }
        }
        return nil
    }

    func action(
        _ rule: RememberState.Outcome, _ view: RememberView, at now: Int64,
        limit: SessionLimit? = nil, key: UInt32 = 7
    ) throws -> (RememberPresentation.Action, SessionID?) {
        var generation = view.series.state.generation
        switch rule {
        case .endQuietly: return (.endQuietly, nil)
        case .theft: return (.theft, nil)
        case .ahead: return (.ahead, nil)
        case .advance(let next): generation = next
        case .repeatCurrent:
            if let session = view.session {
                return (.repeatCurrent(try seal(key: key)), session.id)
            }
        }
        let session = try SessionRecord(
            from: view.series, at: time(now), limits: try limits(), origin: .unknown,
            entropy: .system)
        return (.advance(generation: generation, session, try seal(key: key), limit), session.id)
    }
}

extension Store {
    /// A node of which no test asks what root key it has.
    func joinNode(
        _ id: NodeID, leaseSeconds: Int64, rootKey: RootKey.Identifier64? = nil, at now: UnixTime
    ) async throws(StoreError) {
        try await joinNode(
            id, leaseSeconds: leaseSeconds, rootKey: rootKey, rotates: true, at: now)
    }
}
