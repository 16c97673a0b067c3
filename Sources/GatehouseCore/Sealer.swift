// Seals and opens tokens for the front door, which has no event loop of its own.

/// One cipher and one judge behind an actor, kept current by the same snapshots as the event loops.
package actor Sealer {
    /// Why nothing was sealed.
    package enum Failure: Error, Equatable {
        /// This node can't know: its lease has run out, it starts or stops.
        case unavailable(Unavailability)
        case sealing(SealingFailure)
    }

    /// A token, and what the store must still find true when the session is created.
    package struct Sealed: Sendable {
        package let text: String
        package let key: KeyID
        package let keyringVersion: UInt64
        package var seal: SessionSeal { SessionSeal(key: key, keyringVersion: keyringVersion) }
    }

    private let audience: Audience
    private let lease: Lease
    private let entropy: Entropy
    private let judge: Judge
    private var cipher: TokenCipher?
    private var keyringVersion: UInt64 = 0
    private var tally = KeyTally()

    package init(audience: Audience, lease: Lease, entropy: Entropy) {
        self.audience = audience
        self.lease = lease
        self.entropy = entropy
        judge = Judge(audience: audience, lease: lease)
    }

    /// Takes up a snapshot, as the event loops do; false when it could not.
    package func adopt(_ snapshot: CheckSnapshot) -> Bool {
        guard judge.adopt(snapshot) != nil else { return false }
        guard keyringVersion != snapshot.keyring.version || cipher == nil else { return true }
        cipher?.takeOpened(into: &tally)
        // Without a cipher nothing is sealed: better than a key that is out of date.
        cipher = try? TokenCipher(
            keyring: snapshot.keyring, audience: audience, purposes: TokenPurpose.allCases)
        keyringVersion = snapshot.keyring.version
        return cipher != nil
    }

    /// What keys opened here since this was last asked. What they sealed the store counts.
    package func takeTally() -> KeyTally {
        cipher?.takeOpened(into: &tally)
        tally.add(judge.takeTally())
        defer { tally = KeyTally() }
        return tally
    }

    /// The verdict on a session token, as a check would give it.
    package func verdict(
        on token: [UInt8], transport: TokenTransport, at now: Instant
    ) -> Verdict {
        judge.verdict(on: token.span, transport: transport, at: now)
    }

    /// Why this node can't answer now; nil when it can.
    package func unavailability(at now: Instant) -> Unavailability? {
        judge.unavailability(at: now)
    }

    /// What a session token says if it opens, whatever its deadlines and revocations.
    package func claims(of token: [UInt8], transport: TokenTransport) -> Claims? {
        guard let cipher,
            case .opened(let claims, _) = cipher.openSession(token.span, transport: transport)
        else { return nil }
        return claims
    }

    package func seal(
        _ session: SessionRecord, username: Username, transport: TokenTransport, at now: Instant
    ) throws(Failure) -> Sealed {
        try seal(
            session.claims(username: username, at: now.wall).encoded(), purpose: .session,
            transport: transport, at: now)
    }

    /// Seals a session's claims, with a remember token under the same key beside it.
    package func seal(
        _ claims: Claims, remember: RememberClaims?, transport: TokenTransport, at now: Instant
    ) throws(Failure) -> (session: Sealed, remember: String?) {
        let session = try seal(
            claims.encoded(), purpose: .session, transport: transport, at: now)
        let token = try remember.map { remember throws(Failure) in
            try seal(remember.encoded(), purpose: .remember, transport: .cookie, at: now).text
        }
        return (session, token)
    }

    /// Seals other content than a session's.
    ///
    /// - Parameter deadline: of what no store hears of; it is counted for the key here.
    package func seal(
        _ content: [UInt8], purpose: TokenPurpose, transport: TokenTransport, at now: Instant,
        until deadline: UnixTime? = nil
    ) throws(Failure) -> Sealed {
        if let reason = lease.unavailability(at: now) { throw .unavailable(reason) }
        guard lease.maySeal, let cipher else { throw .unavailable(.keyringUnusable) }
        guard let key = cipher.sealingKey else { throw .sealing(.noActiveKey) }
        do throws(SealingFailure) {
            let text = try cipher.seal(
                content.span, purpose: purpose, transport: transport, entropy: entropy)
            if let deadline { tally.noteSealed(by: key, until: deadline, at: now.wall) }
            return Sealed(
                text: String(decoding: text, as: UTF8.self), key: key,
                keyringVersion: keyringVersion)
        } catch { throw .sealing(error) }
    }

    /// The content of a token of `purpose`; nil when it doesn't open.
    package func open(
        _ token: [UInt8], purpose: TokenPurpose, transport: TokenTransport
    ) -> [UInt8]? {
        guard let cipher,
            case .opened(let content, _) = cipher.open(
                token.span, purpose: purpose, transport: transport,
                { span in span.indices.map { span[$0] } })
        else { return nil }
        return content
    }
}
