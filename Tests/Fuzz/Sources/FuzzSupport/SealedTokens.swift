// A keyring, and one token of every kind that an input can name.

package import GatehouseCore
import Synchronization

/// What a token is worth at ``SealedTokens/now``.
package enum Worth: Equatable, Sendable {
    case good, expired, revoked, invalid
}

/// A token of ours, and what has to come of it.
package struct SealedToken: Sendable {
    /// What stands for it in an input, with braces.
    package let name: [UInt8]
    package let text: [UInt8]
    package let claims: Claims
    package let transport: TokenTransport
    /// When it travels as it was sealed for.
    package let worth: Worth
}

/// All of them. Made once a run, always the same, so that a run can be repeated.
package struct SealedTokens: Sendable {
    /// 2026-11-24T12:00:00Z.
    package static let noon: Int64 = 1_795_521_600
    package static let now = Instant(
        wall: UnixTime(clamping: noon), boot: BootTime(nanoseconds: noon * 1_000_000_000))

    package let audience: Audience
    package let snapshot: CheckSnapshot
    package let entropy: Entropy
    package let all: [SealedToken]
    /// Version and key id of what the revoked key sealed.
    private let revokedHeader: [UInt8]

    package init() {
        let entropy = Entropy.repeatable(1)
        do { try self.init(from: entropy) } catch { report("no tokens: \(error)", []) }
    }

    private init(from entropy: Entropy) throws {
        self.entropy = entropy
        guard let audience = Audience("fuzz"), let staging = Audience("staging") else {
            report("no audience", [])
        }
        self.audience = audience
        let now = Self.now.wall
        func cipher(_ ring: Keyring, _ audience: Audience) throws -> TokenCipher {
            try TokenCipher(keyring: ring, audience: audience, purposes: TokenPurpose.allCases)
        }

        // Three keys: revoked, retiring, active.
        let first = try Keyring.first(at: now, entropy: entropy)
        let second = try first.addingPendingKey(at: now, entropy: entropy)
            .activatingPendingKeys(at: now)
        let third = try second.addingPendingKey(at: now, entropy: entropy)
            .activatingPendingKeys(at: now)
        let oldest = first.active?.id
        guard let ring = try third.revoking(at: now, entropy: entropy, where: { $0.id == oldest })
        else { report("nothing to revoke", []) }
        let revokedCipher = try cipher(first, audience)
        let retiringCipher = try cipher(second, audience)
        let activeCipher = try cipher(ring.ring, audience)
        let stagingCipher = try cipher(ring.ring, staging)
        let foreignCipher = try cipher(try Keyring.first(at: now, entropy: entropy), audience)

        var all: [SealedToken] = []
        func seal(
            _ name: String, _ claims: Claims, by cipher: TokenCipher, worth: Worth,
            transport: TokenTransport = .cookie, purpose: TokenPurpose = .session
        ) throws {
            let text = try cipher.seal(
                claims.encoded().span, purpose: purpose, transport: transport, entropy: entropy)
            all.append(
                SealedToken(
                    name: Array("{\(name)}".utf8), text: text, claims: claims,
                    transport: transport, worth: worth))
        }
        try seal("good", .made(session: 1, name: "zoë"), by: activeCipher, worth: .good)
        try seal("older", .made(session: 2), by: retiringCipher, worth: .good)
        try seal(
            "weak", .made(session: 3, level: .remembered, isRemembered: true), by: activeCipher,
            worth: .good)
        try seal(
            "strong", .made(session: 4, level: .secondFactor, authenticated: Self.noon - 1000),
            by: activeCipher, worth: .good)
        // Due to be renewed, not yet due, and never past the absolute deadline.
        try seal(
            "due", .made(session: 12, issued: Self.noon - 300, idle: Self.noon + 100),
            by: activeCipher, worth: .good)
        try seal(
            "young", .made(session: 13, issued: Self.noon - 299, idle: Self.noon + 100),
            by: activeCipher, worth: .good)
        try seal(
            "ending",
            .made(
                session: 14, issued: Self.noon - 1000, idle: Self.noon + 100,
                absolute: Self.noon + 100), by: activeCipher, worth: .good)
        try seal("bearer", .made(session: 5), by: activeCipher, worth: .good, transport: .bearer)
        try seal(
            "duebearer", .made(session: 15, issued: Self.noon - 300, idle: Self.noon + 100),
            by: activeCipher, worth: .good, transport: .bearer)
        try seal("expired", .made(session: 6, idle: Self.noon), by: activeCipher, worth: .expired)
        try seal("revoked", .made(session: 66), by: activeCipher, worth: .revoked)
        try seal("deadkey", .made(session: 7), by: revokedCipher, worth: .revoked)
        try seal("foreign", .made(session: 8), by: foreignCipher, worth: .invalid)
        try seal("staging", .made(session: 9), by: stagingCipher, worth: .invalid)
        try seal("form", .made(session: 10), by: activeCipher, worth: .invalid, purpose: .form)
        try seal(
            "future", .made(session: 11, issued: Self.noon + 3600), by: activeCipher,
            worth: .invalid)
        self.all = all
        guard let oldest else { report("no revoked key", []) }
        revokedHeader = [1] + oldest.rawValue.bigEndianBytes

        var index = RevocationIndex()
        let ended = Claims.made(session: 66)
        index.apply(
            [
                FeedEntry(
                    sequence: 1, change: .session(ended.session), deadline: ended.absoluteDeadline)
            ], at: now)
        snapshot = CheckSnapshot(keyring: ring.ring, revocations: index.snapshot)
    }

    /// What `text` is worth, and what it says when it is good. Whatever was not sealed is worth
    /// nothing, and so is what was sealed for the other transport.
    package func judge(
        _ text: some Collection<UInt8>, transport: TokenTransport
    ) -> (worth: Worth, token: SealedToken?) {
        for token in all where token.text.count == text.count && token.text.elementsEqual(text) {
            // A key that is revoked is found before anything is opened.
            let travels = token.transport == transport || token.worth == .revoked
            return travels ? (token.worth, token) : (.invalid, nil)
        }
        return (namesRevokedKey(Array(text)) ? .revoked : .invalid, nil)
    }

    /// Whether something that could be a token names the key that is revoked: its secret is gone, so that
    /// what it sealed can't be told from what it didn't (decision 0009).
    private func namesRevokedKey(_ text: [UInt8]) -> Bool {
        guard (TokenFormat.minimumCharacters...TokenFormat.maximumCharacters).contains(text.count),
            let bytes = ReferenceBase64URL.decode(text)
        else { return false }
        return bytes.starts(with: revokedHeader)
    }
}

extension Claims {
    fileprivate static func made(
        session: UInt64, name: String = "ada", level: AuthenticationLevel = .password,
        isRemembered: Bool = false, issued: Int64 = SealedTokens.noon,
        authenticated: Int64 = SealedTokens.noon, idle: Int64 = SealedTokens.noon + 7200,
        absolute: Int64 = SealedTokens.noon + 86_400
    ) -> Claims {
        guard let username = try? Username(name) else { report("no username", name.utf8) }
        return Claims(
            session: SessionID(Identifier(high: 0x5E55_1000, low: session)),
            user: UserID(Identifier(high: 0xA5E4_0000_0000_4000, low: 0x8000_0000_0000_0002)),
            username: username, epoch: 0, issued: UnixTime(clamping: issued),
            authenticated: UnixTime(clamping: authenticated),
            idleDeadline: UnixTime(clamping: idle),
            absoluteDeadline: UnixTime(clamping: absolute),
            methods: level == .secondFactor ? [.password, .oneTimeCode] : .password,
            level: level, isRemembered: isRemembered)
    }
}

extension Entropy {
    /// The same bytes in every run (splitmix64). Never for anything real.
    package static func repeatable(_ seed: UInt64) -> Entropy {
        let state = Mutex(seed)
        return Entropy { span in
            state.withLock { state in
                for index in span.indices {
                    state &+= 0x9E37_79B9_7F4A_7C15
                    var mixed = state
                    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
                    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
                    span[index] = UInt8(truncatingIfNeeded: mixed ^ mixed >> 31)
                }
            }
            return true
        }
    }
}
