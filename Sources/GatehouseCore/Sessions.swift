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
        methods: AuthenticationMethods, level: AuthenticationLevel, entropy: Entropy
    ) throws(EntropyFailure) {
        self.init(
            id: SessionID(try Identifier.random(from: entropy)), user: user.id, epoch: user.epoch,
            created: now, authenticated: max(now, floor),
            idleDeadline: now.advanced(bySeconds: limits.idleSeconds),
            absoluteDeadline: now.advanced(bySeconds: limits.absoluteSeconds), methods: methods,
            level: level, isRemembered: false, revoked: nil)
    }

    /// What its token says when it is sealed at `now`.
    package func claims(username: Username, at now: UnixTime) -> Claims {
        Claims(
            session: id, user: user, username: username, epoch: epoch, issued: now,
            authenticated: authenticated, idleDeadline: idleDeadline,
            absoluteDeadline: absoluteDeadline, methods: methods, level: level,
            isRemembered: isRemembered)
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
