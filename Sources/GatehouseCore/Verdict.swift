// What a check concludes, and the one place that concludes it.

/// The outcome of a check. Every decision starts at a denial and becomes `good` only after every
/// test has passed (REQUIREMENTS CHK-1).
package enum Verdict: Sendable {
    /// The token is good, and says this.
    case good(Claims)
    case denied(Denial)
    /// This node can't know.
    case unavailable(Unavailability)
}

/// The same without the claims, which are lent while it is found: a check doesn't carry them about.
package enum CheckVerdict: Sendable, Equatable {
    case good
    case denied(Denial)
    case unavailable(Unavailability)
}

/// Why a token is no good, as far as callers are told.
package enum Denial: Sendable, Equatable {
    /// There is none.
    case absent
    /// It doesn't open; why is for metrics and `gatehouse explain`.
    case invalid(InvalidReason)
    /// An idle or absolute deadline has passed.
    case expired
    /// The session, its user's older sessions, all older sessions, or the key were revoked.
    case revoked
    /// Good, but the user proved who they are too long ago for what was asked.
    case stale
    /// Good, but of a lower level than was asked.
    case level
}

/// What a session must be besides good (DESIGN section 5, step-up).
package struct SessionRequirement: Sendable, Equatable {
    /// How long ago the user may have proved who they are, in seconds; nil for any time.
    package var freshSeconds: Int64?
    package var level = AuthenticationLevel.remembered

    package static let none = SessionRequirement()

    package init(
        freshSeconds: Int64? = nil, level: AuthenticationLevel = .remembered
    ) {
        self.freshSeconds = freshSeconds
        self.level = level
    }

    /// Why a good session is not enough; nil when it is.
    package func denial(of claims: borrowing Claims, at now: UnixTime) -> Denial? {
        guard claims.level.rawValue >= level.rawValue else { return .level }
        guard let freshSeconds else { return nil }
        // Nobody proved anything in a session that was remembered or issued.
        guard !claims.isRemembered, claims.level != .remembered,
            now.seconds - claims.authenticated.seconds <= freshSeconds
        else { return .stale }
        return nil
    }
}

package enum InvalidReason: Sendable, Equatable {
    /// Two cookies of our name: which is the real one can't be known (REQUIREMENTS CK-7).
    case ambiguous
    case token(TokenDefect)
    /// Issued further in the future than clocks may differ.
    case issuedInFuture
}

/// Why a node can't answer.
package enum Unavailability: String, CaseIterable, Sendable {
    /// Not everything is loaded yet.
    case starting
    /// On its way out.
    case stopping
    /// The last complete refresh from the store started too long ago.
    case leaseExpired = "lease_expired"
    /// The wall clock is further behind the store's latest time than clocks may differ.
    case clockBehind = "clock_behind"
    /// The keyring could not be made ready.
    case keyringUnusable = "keyring_unusable"
}

/// The rule for an opened token: deadlines, then revocations. Nil when it is good.
///
/// - Parameter absence: what the revocations said of the session ahead of time, or zero.
package func denial(
    of claims: borrowing Claims, at now: UnixTime, revocations: borrowing RevocationSnapshot,
    absence: UInt64 = 0
) -> Denial? {
    guard claims.issued <= now.advanced(bySeconds: clockSkewSeconds) else {
        return .invalid(.issuedInFuture)
    }
    guard now < claims.idleDeadline, now < claims.absoluteDeadline else { return .expired }
    return revocations.revoke(claims, absence: absence) ? .revoked : nil
}

extension Denial {
    /// What a token's defect means for its bearer.
    package init(_ defect: TokenDefect) {
        self = defect == .revokedKey ? .revoked : .invalid(.token(defect))
    }
}
