// What the service does with the rule of remember-me, in memory: a model for the simulation.

import GatehouseCore
import GatehouseTestSupport

/// What a browser keeps, or a thief has copied.
struct Cookies: Equatable {
    struct Session: Equatable {
        let id: SessionID
        /// The key that sealed it.
        let key: Int
    }
    struct Remember: Equatable {
        let claims: RememberClaims
        let key: Int
    }

    var session: Session?
    var remember: Remember?
}

/// The store's transactions, one after the other, and its clock: the latest that any node has told. A
/// backup is a copy of the value.
struct RememberService {
    typealias Rule = @Sendable (RememberState, UInt32, Int64, UnixTime) -> RememberState.Outcome

    static let rule: Rule = { $0.outcome(presenting: $1, graceSeconds: $2, at: $3) }
    static let graceSeconds: Int64 = 60
    static let rememberSeconds: Int64 = 30 * 86_400
    static let idleSeconds: Int64 = 3600
    static let absoluteSeconds: Int64 = 86_400

    /// Mistakes that a service could make of a right rule.
    enum Flaw: CaseIterable {
        case sessionNotEnded, sessionsOutliveTheft, sessionsOutliveQuietEnd, rowKeptAfterTheft
        case deadlineExtended, sessionOutlivesDeadline, repetitionMakesSession, noWarning
        case useNotNoted, repetitionSetsCookie
    }

    enum Answer: Equatable {
        /// The session was live and is sealed again.
        case live(Cookies.Session)
        /// The remember cookie brought the person back; there is a new one unless it was the current one.
        case renewed(Cookies.Session, Cookies.Remember?)
        /// The sign-in page.
        case refused
    }

    struct Session {
        let series: SeriesID?
        let deadline: UnixTime
        let epoch: UInt32
        var used: UnixTime
    }

    let rule: Rule
    var flaw: Flaw?
    private(set) var clock = time(noon)
    private(set) var rows: [SeriesID: RememberSeries] = [:]
    /// Those that have not ended.
    private(set) var sessions: [SessionID: Session] = [:]
    private(set) var epoch: UInt32 = 0
    private(set) var key = 1
    private(set) var warnings = 0
    private(set) var sessionsMade = 0
    /// Of ids, which are never made again, whatever is restored.
    private var counter: UInt64 = 0

    init(rule: @escaping Rule = RememberService.rule, flaw: Flaw? = nil) {
        self.rule = rule
        self.flaw = flaw
    }

    // MARK: What browsers ask for

    /// A new session and a new series; all that the browser presented ends.
    mutating func signIn(presenting old: Cookies, at node: UnixTime) -> Cookies {
        signOut(old, at: node)
        let id = SeriesID(identifier())
        let deadline = clock.advanced(bySeconds: Self.rememberSeconds)
        let session = begin(of: id, until: deadline)
        let row = RememberSeries(
            id: id, user: UserID(Identifier(high: 1, low: 1)), epoch: epoch, authenticated: clock,
            methods: .password, deadline: deadline,
            state: RememberState(generation: 1, made: clock, wasPresented: false),
            session: session.id)
        rows[id] = row
        return Cookies(session: session, remember: seal(row, at: node))
    }

    mutating func signOut(_ cookies: Cookies, at node: UnixTime) {
        clock = max(clock, node)
        if let cookie = cookies.session, cookie.key == key {
            if let series = sessions[cookie.id]?.series { end(series) }
            sessions[cookie.id] = nil
        }
        if let cookie = cookies.remember, cookie.key == key { end(cookie.claims.series) }
    }

    /// The check endpoint: asks nobody, so it notes nothing here (`note`).
    func isLive(_ cookie: Cookies.Session, at now: UnixTime) -> Bool {
        cookie.key == key && isLive(cookie.id, at: now)
    }

    /// What the check endpoint's notes bring, some seconds later. A session that has ended by then is not
    /// back, and was presented all the same.
    mutating func note(_ session: SessionID, used: UnixTime) {
        if let old = sessions[session] { sessions[session]?.used = max(used, old.used) }
        guard flaw != .useNotNoted else { return }
        for (id, row) in rows where row.session == session { rows[id]?.state.wasPresented = true }
    }

    mutating func resume(_ cookies: Cookies, at node: UnixTime) -> Answer {
        clock = max(clock, node)
        if let cookie = cookies.session, isLive(cookie, at: clock) {
            note(cookie.id, used: clock)
            return .live(cookie)
        }
        guard let cookie = cookies.remember, cookie.key == key, cookie.claims.isGood(at: node),
            var row = rows[cookie.claims.series], row.epoch == epoch, clock < row.deadline
        else { return .refused }
        let presented = cookie.claims.generation
        switch rule(row.state, presented, Self.graceSeconds, clock) {
        case .advance(let next):
            replaceSession(of: &row)
            row.state = RememberState(generation: next, made: clock, wasPresented: false)
        case .repeatCurrent:
            row.state.wasPresented = row.state.wasPresented || presented == row.state.generation
            // It ended alone where a limit on a user's sessions ended it.
            if !isLive(row.session, at: clock) || flaw == .repetitionMakesSession {
                replaceSession(of: &row)
            }
        case .endQuietly:
            end(row.id, with: flaw != .sessionsOutliveQuietEnd)
            return .refused
        case .theft:
            end(row.id, with: flaw != .sessionsOutliveTheft)
            if flaw == .rowKeptAfterTheft { rows[row.id] = row }
            if flaw != .noWarning { warnings += 1 }
            return .refused
        case .ahead:
            return .refused
        }
        rows[row.id] = row
        let isNew = row.state.generation != presented || flaw == .repetitionSetsCookie
        return .renewed(
            Cookies.Session(id: row.session, key: key), isNew ? seal(row, at: node) : nil)
    }

    /// A new session takes the place of the one that was presented.
    mutating func stepUp(_ cookie: Cookies.Session, at node: UnixTime) -> Cookies.Session? {
        clock = max(clock, node)
        guard isLive(cookie, at: clock), let old = sessions[cookie.id] else { return nil }
        note(cookie.id, used: clock)
        sessions[cookie.id] = nil
        let new = begin(of: old.series, until: old.deadline)
        if let series = old.series, rows[series]?.session == cookie.id {
            rows[series]?.session = new.id
        }
        return new
    }

    // MARK: What happens to it

    /// The user has too many sessions, and this is the oldest; its series is spared.
    mutating func endForLimit(_ session: SessionID) { sessions[session] = nil }
    mutating func changePassword() { epoch += 1 }
    mutating func revokeKey() { key += 1 }

    /// Puts `backup` in this one's place. Time goes on, ids stay used, and a revoked key is not back.
    mutating func restore(_ backup: RememberService) {
        let (clock, key, counter) = (clock, key, counter)
        self = backup
        (self.clock, self.key, self.counter) = (clock, key, counter)
    }

    func isLive(_ id: SessionID, at now: UnixTime) -> Bool {
        guard let session = sessions[id] else { return false }
        return session.epoch == epoch && now < session.deadline
            && now < session.used.advanced(bySeconds: Self.idleSeconds)
    }

    private mutating func end(_ series: SeriesID, with sessionsToo: Bool = true) {
        rows[series] = nil
        guard sessionsToo else { return }
        sessions = sessions.filter { $0.value.series != series }
    }

    private mutating func replaceSession(of row: inout RememberSeries) {
        if flaw != .sessionNotEnded { sessions[row.session] = nil }
        row.session = begin(of: row.id, until: row.deadline).id
    }

    private mutating func begin(of series: SeriesID?, until limit: UnixTime) -> Cookies.Session {
        let id = SessionID(identifier())
        let end = clock.advanced(bySeconds: Self.absoluteSeconds)
        sessionsMade += 1
        sessions[id] = Session(
            series: series, deadline: flaw == .sessionOutlivesDeadline ? end : min(end, limit),
            epoch: epoch, used: clock)
        return Cookies.Session(id: id, key: key)
    }

    private func seal(_ row: RememberSeries, at node: UnixTime) -> Cookies.Remember {
        let deadline =
            flaw == .deadlineExtended
            ? clock.advanced(bySeconds: Self.rememberSeconds) : row.deadline
        let claims = RememberClaims(
            series: row.id, generation: row.state.generation, issued: min(node, deadline),
            deadline: deadline)
        return Cookies.Remember(claims: claims, key: key)
    }

    private mutating func identifier() -> Identifier {
        counter += 1
        return Identifier(high: 1, low: counter)
    }
}
