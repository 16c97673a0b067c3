// How a session begins: the record for the store and the claims for its token.

/// How long sessions live, in seconds.
package struct SessionLimits: Sendable, Equatable {
    /// A session ends when nobody used it for this long (REQUIREMENTS SES-2: at most 1 h at AAL2).
    package let idleSeconds: Int64
    /// A session ends this long after it began, whatever happens (at most 24 h at AAL2).
    package let absoluteSeconds: Int64

    /// - Returns: nil unless 1 s <= idle <= absolute <= 30 days.
    package init?(idleSeconds: Int64, absoluteSeconds: Int64) {
        guard idleSeconds >= 1, idleSeconds <= absoluteSeconds,
            absoluteSeconds <= Self.maximumSeconds
        else { return nil }
        self.idleSeconds = idleSeconds
        self.absoluteSeconds = absoluteSeconds
    }

    /// 30 days: the longest that NIST SP 800-63B-4 section 2.1.3 lets a sign-in last.
    package static let maximumSeconds: Int64 = 30 * 24 * 60 * 60
}

/// When a check that may set a cookie renews a session (DESIGN section 5).
package struct RenewalRule: Sendable, Equatable {
    /// How old a token must be, in seconds: each renewal costs a browser a cookie.
    package var afterSeconds: Int64 = 300
    /// The session's idle limit, in seconds, which begins again.
    package var idleSeconds: Int64 = 3600
    package init() {}

    /// What is sealed again: the same session, and never past its absolute deadline; nil when it is not
    /// due.
    func renewed(_ claims: borrowing Claims, at now: UnixTime) -> Claims? {
        guard now >= claims.issued.advanced(bySeconds: afterSeconds) else { return nil }
        let renewed = claims.renewed(idleSeconds: idleSeconds, at: now)
        return renewed.idleDeadline > claims.idleDeadline ? renewed : nil
    }
}

extension SessionRecord {
    /// A new session with a new random id: nothing that a client sent is adopted.
    ///
    /// - Parameter floor: the latest revocation by time. A session that begins in that same second
    ///   counts as authenticated at the floor, or it would be revoked at birth.
    package init(
        for user: User, at now: UnixTime, floor: UnixTime, limits: SessionLimits,
        methods: AuthenticationMethods, level: AuthenticationLevel,
        origin: SessionOrigin = .unknown, series: SeriesID? = nil, entropy: Entropy
    ) throws(EntropyFailure) {
        self.init(
            id: SessionID(try Identifier.random(from: entropy)), user: user.id, epoch: user.epoch,
            created: now, authenticated: max(now, floor),
            idleDeadline: now.advanced(bySeconds: limits.idleSeconds),
            absoluteDeadline: now.advanced(bySeconds: limits.absoluteSeconds), methods: methods,
            level: level, isRemembered: false, revoked: nil, series: series, origin: origin)
    }

    /// The session that a remember token gives: as old as the sign-in that it came from, of the lowest
    /// level, and never past the series (REQUIREMENTS REM-1).
    package init(
        from series: RememberSeries, at now: UnixTime, limits: SessionLimits, origin: SessionOrigin,
        entropy: Entropy
    ) throws(EntropyFailure) {
        let absolute = min(now.advanced(bySeconds: limits.absoluteSeconds), series.deadline)
        self.init(
            id: SessionID(try Identifier.random(from: entropy)), user: series.user,
            epoch: series.epoch, created: now, authenticated: series.authenticated,
            idleDeadline: min(now.advanced(bySeconds: limits.idleSeconds), absolute),
            absoluteDeadline: absolute, methods: series.methods, level: .remembered,
            isRemembered: true, revoked: nil, series: series.id, origin: origin)
    }

    /// What its token says when it is sealed at `now`.
    package func claims(username: Username, at now: UnixTime) -> Claims {
        Claims(
            session: id, user: user, username: username, epoch: epoch, issued: now,
            authenticated: authenticated, idleDeadline: idleDeadline,
            absoluteDeadline: absoluteDeadline, methods: methods, level: level,
            isRemembered: isRemembered)
    }

    /// The same when only a remember token was presented: it proves no more than the sign-in of its series
    /// did then, whatever was proved in the session since.
    package func rememberedClaims(
        of series: RememberSeries, username: Username, at now: UnixTime
    ) -> Claims {
        Claims(
            session: id, user: user, username: username, epoch: epoch, issued: now,
            authenticated: series.authenticated, idleDeadline: idleDeadline,
            absoluteDeadline: absoluteDeadline, methods: series.methods, level: .remembered,
            isRemembered: true)
    }

    /// What an operator sees of it.
    package enum Status: String, Sendable { case live, expired, revoked }

    package func status(
        at now: UnixTime, userEpoch: UInt32, floor: UnixTime
    ) -> Status {
        if revoked != nil || epoch < userEpoch || authenticated < floor { return .revoked }
        return now < idleDeadline && now < absoluteDeadline ? .live : .expired
    }
}

/// Where a session was begun, as coarse as it is useful to its owner.
package struct SessionOrigin: Sendable, Equatable {
    /// "Firefox on Linux".
    package let browser: String?
    /// A network: "203.0.113.0/24".
    package let place: String?

    package static let unknown = SessionOrigin(browser: nil, place: nil)
    /// Bytes of each.
    package static let maximumBytes = 64

    /// What is longer, or empty, is not known.
    package init(browser: String?, place: String?) {
        func fitting(_ text: String?) -> String? {
            text.flatMap { (1...Self.maximumBytes).contains($0.utf8.count) ? $0 : nil }
        }
        self.browser = fitting(browser)
        self.place = fitting(place)
    }
}

/// How many sign-ins a user may have at once (REQUIREMENTS SES-9).
package struct SessionLimit: Sendable, Equatable {
    package enum AtLimit: String, Sendable, CaseIterable {
        /// The oldest ends. Its series does not: the browser comes back when it is used again.
        case endOldest = "end_oldest"
        case refuse
    }

    /// The most that can be configured, and that are listed.
    package static let highest = 1000

    package let maximum: Int
    package let atLimit: AtLimit

    package init(maximum: Int, atLimit: AtLimit) {
        precondition((1...Self.highest).contains(maximum))
        self.maximum = maximum
        self.atLimit = atLimit
    }
}

/// What the cookies and tokens of one request name, whosever they are.
package struct PresentedIDs: Sendable, Equatable {
    package var sessions: [SessionID]
    package var series: [SeriesID]

    package init(sessions: [SessionID] = [], series: [SeriesID] = []) {
        self.sessions = sessions
        self.series = series
    }

    package var isEmpty: Bool { sessions.isEmpty && series.isEmpty }
}

/// The key that sealed tokens, and the version of the ring it was taken from.
package struct SessionSeal: Sendable, Equatable {
    package let key: KeyID
    package let keyringVersion: UInt64
    package init(key: KeyID, keyringVersion: UInt64) {
        self.key = key
        self.keyringVersion = keyringVersion
    }
}

/// A live session that is sealed again under the same id.
package struct SessionRenewal: Sendable {
    package let session: SessionID
    /// As its token says, which may be later than the store knows.
    package let idleDeadline: UnixTime
    package let idleSeconds: Int64
    package let seal: SessionSeal

    package init(
        session: SessionID, idleDeadline: UnixTime, idleSeconds: Int64, seal: SessionSeal
    ) {
        self.session = session
        self.idleDeadline = idleDeadline
        self.idleSeconds = idleSeconds
        self.seal = seal
    }
}

package enum RenewSessionOutcome: Sendable, Equatable {
    case renewed
    /// Revoked, past a limit, or of an earlier epoch; or there is none.
    case ended
    /// The ring has changed since the token was sealed; seal again.
    case outdated
}

/// One place where a user is signed in.
package struct SignIn: Sendable, Equatable {
    /// Its session, or the last one of a series that has none now.
    package let session: SessionID
    package let isRemembered: Bool
    package let created: UnixTime
    package let lastUsed: UnixTime
    package let origin: SessionOrigin

    package init(
        session: SessionID, isRemembered: Bool, created: UnixTime, lastUsed: UnixTime,
        origin: SessionOrigin
    ) {
        self.session = session
        self.isRemembered = isRemembered
        self.created = created
        self.lastUsed = lastUsed
        self.origin = origin
    }
}

/// A password that its user changes.
package struct PasswordChange: Sendable {
    package let newHash: String
    /// The one that was verified.
    package let oldHash: String
    /// Of the user's next epoch.
    package let session: SessionRecord
    /// The live session that asked.
    package let superseding: SessionID
    package let seal: SessionSeal
    package let clearing: [AttemptKey]

    package init(
        newHash: String, oldHash: String, session: SessionRecord, superseding: SessionID,
        seal: SessionSeal, clearing: [AttemptKey]
    ) {
        self.newHash = newHash
        self.oldHash = oldHash
        self.session = session
        self.superseding = superseding
        self.seal = seal
        self.clearing = clearing
    }
}
