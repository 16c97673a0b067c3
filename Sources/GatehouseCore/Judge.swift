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
    package func verdict(
        on token: Span<UInt8>, transport: TokenTransport,
        requirement: SessionRequirement = .none, at now: Instant
    ) -> Verdict {
        if let reason = unavailability(at: now) { return .unavailable(reason) }
        guard let cipher else { return .unavailable(.keyringUnusable) }
        let verdict = GatehouseCore.verdict(
            on: cipher.openSession(token, transport: transport), at: latestWall,
            revocations: revocations)
        guard requirement != .none, case .good(let claims) = verdict,
            let denial = requirement.denial(of: claims, at: latestWall)
        else { return verdict }
        return .denied(denial)
    }

    /// The token of a session that was judged good just now and is due to be renewed, as text; nil when
    /// it is not due, or when nothing may be sealed at the moment, which the next check tries again.
    package func renewal(of claims: Claims, by rule: RenewalRule) -> [UInt8]? {
        guard let renewed = rule.renewed(claims, at: latestWall) else { return nil }
        return try? cipher?.sealSession(renewed, transport: .cookie, entropy: .system)
    }

    /// Whether connections are to end with their next answer.
    package var isEnding: Bool { lease.isEnding }
}
