// One event loop's view of keys and revocations, and the verdict it gives from them.

/// What a refresh publishes to every event loop: immutable, shared by all of them.
package struct CheckSnapshot: Sendable {
    package let keyring: Keyring
    package let revocations: RevocationSnapshot

    package init(keyring: Keyring, revocations: RevocationSnapshot) {
        self.keyring = keyring
        self.revocations = revocations
    }
}

/// Judges tokens for one event loop; not Sendable. Takes no lock, allocates nothing, and never
/// asks the store.
package final class Judge {
    private let audience: Audience
    private let lease: Lease
    private var cipher: TokenCipher?
    private var keyringVersion: UInt64?
    private var revocations = RevocationSnapshot.empty
    private var latestWall = UnixTime.zero
    private var tally = KeyTally()

    package init(audience: Audience, lease: Lease) {
        self.audience = audience
        self.lease = lease
    }

    /// Takes up a snapshot. What it replaces is returned, so that a large table is not freed on the
    /// event loop; nil when the keyring could not be made ready.
    package func adopt(_ snapshot: CheckSnapshot) -> RevocationSnapshot? {
        let previous = revocations
        revocations = snapshot.revocations
        if keyringVersion != snapshot.keyring.version {
            cipher?.takeOpened(into: &tally)
            // Without a cipher every answer is 503: better than keys that are out of date.
            cipher = try? TokenCipher(
                keyring: snapshot.keyring, audience: audience, purposes: [.session])
            keyringVersion = cipher == nil ? nil : snapshot.keyring.version
        }
        return cipher == nil ? nil : previous
    }

    /// Why this loop can't answer now; nil when it can.
    package func unavailability(at now: Instant) -> Unavailability? {
        if let reason = lease.unavailability(at: now) { return reason }
        // Stepping the clock back must not revive what this loop has already called expired.
        if now.wall > latestWall { latestWall = now.wall }
        guard latestWall <= now.wall.advanced(bySeconds: clockSkewSeconds) else {
            return .clockBehind
        }
        return cipher == nil ? .keyringUnusable : nil
    }

    /// The verdict on a session token, and on whether it is enough.
    ///
    /// - Parameter whenGood: is lent the claims of a session that is.
    package func verdict(
        on token: Span<UInt8>, transport: TokenTransport,
        requirement: SessionRequirement = .none, at now: Instant,
        whenGood: (borrowing Claims) -> Void
    ) -> CheckVerdict {
        if let reason = unavailability(at: now) { return .unavailable(reason) }
        guard let cipher else { return .unavailable(.keyringUnusable) }
        let opening: TokenOpening<CheckVerdict> = cipher.open(
            token, purpose: .session, transport: transport
        ) { content in
            guard let session = Claims.session(content) else { return nil }
            // Asked for now and looked at last: reading the claims takes as long as memory does.
            let absence = revocations.absence(session)
            guard let claims = Claims(content) else { return nil }
            let denial =
                denial(of: claims, at: latestWall, revocations: revocations, absence: absence)
                ?? requirement.denial(of: claims, at: latestWall)
            if let denial { return .denied(denial) }
            whenGood(claims)
            return .good
        }
        switch opening {
        case .opened(let verdict, _): return verdict
        case .refused(let defect, _): return .denied(Denial(defect))
        }
    }

    /// The same with the claims.
    package func verdict(
        on token: Span<UInt8>, transport: TokenTransport, at now: Instant
    ) -> Verdict {
        var good: Claims?
        let verdict = verdict(on: token, transport: transport, at: now) { good = copy $0 }
        switch verdict {
        case .good: return good.map { .good($0) } ?? .unavailable(.keyringUnusable)
        case .denied(let denial): return .denied(denial)
        case .unavailable(let reason): return .unavailable(reason)
        }
    }

    /// The token of a session that was judged good just now and is due to be renewed, as text; nil when
    /// it is not due, or when nothing may be sealed at the moment, which the next check tries again.
    ///
    /// Nor is it renewed when it came under a key that is pending here: another node seals under it already,
    /// and the older key that this one has could be destroyed before the renewed token expires.
    package func renewal(of claims: borrowing Claims, by rule: RenewalRule) -> [UInt8]? {
        guard lease.maySeal, cipher?.openedUnderPendingKey == false else { return nil }
        guard let renewed = rule.renewed(claims, at: latestWall) else { return nil }
        guard let cipher, let key = cipher.sealingKey,
            let text = try? cipher.sealSession(renewed, transport: .cookie, entropy: .system)
        else { return nil }
        tally.noteSealed(by: key, until: renewed.absoluteDeadline, at: latestWall)
        return text
    }

    /// What keys opened here, and sealed, since this was last asked.
    package func takeTally() -> KeyTally {
        cipher?.takeOpened(into: &tally)
        defer { tally = KeyTally() }
        return tally
    }

    /// Whether connections are to end with their next answer.
    package var isEnding: Bool { lease.isEnding }
}
