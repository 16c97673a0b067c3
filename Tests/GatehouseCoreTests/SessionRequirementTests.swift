// What a check may ask for besides a good session, and when one is renewed.

import GatehouseTestSupport
import Testing

@testable import GatehouseCore

@Suite struct SessionRequirementTests {
    private func denial(
        _ claims: Claims, fresh: Int64? = nil, level: AuthenticationLevel = .remembered,
        at now: Int64 = noon
    ) -> Denial? {
        SessionRequirement(freshSeconds: fresh, level: level).denial(of: claims, at: time(now))
    }

    @Test func `nothing asked is nothing denied`() {
        for level in AuthenticationLevel.allCases {
            let claims = Claims.sample(authenticated: 0, level: level, isRemembered: true)
            #expect(denial(claims) == nil)
            #expect(SessionRequirement.none.denial(of: claims, at: time(noon)) == nil)
        }
    }

    @Test(arguments: AuthenticationLevel.allCases, AuthenticationLevel.allCases)
    func `a level is enough for itself and below`(
        _ has: AuthenticationLevel, _ asked: AuthenticationLevel
    ) {
        #expect(
            denial(.sample(level: has), level: asked)
                == (has.rawValue >= asked.rawValue ? nil : .level))
    }

    @Test func `a proof is fresh up to its age, and not one second longer`() {
        let claims = Claims.sample(authenticated: noon)
        #expect(denial(claims, fresh: 300, at: noon + 300) == nil)
        #expect(denial(claims, fresh: 300, at: noon + 301) == .stale)
        #expect(denial(claims, fresh: 1, at: noon - 60) == nil, "ahead within the skew")
    }

    @Test func `who proved nothing is never fresh`() {
        for claims in [
            Claims.sample(level: .remembered), .sample(level: .remembered, isRemembered: true),
            .sample(level: .password, isRemembered: true),
            .sample(level: .secondFactor, isRemembered: true),
        ] { #expect(denial(claims, fresh: SessionLimits.maximumSeconds) == .stale) }
    }

    @Test func `a level that lacks is told before freshness`() {
        let claims = Claims.sample(authenticated: noon - 10)
        #expect(denial(claims, fresh: 1, level: .secondFactor) == .level)
        #expect(denial(claims, fresh: 1, level: .password) == .stale)
    }
}

@Suite struct RenewalTests {
    private let lease: Lease
    private let ring: Keyring
    private let judge: Judge

    init() throws {
        lease = Lease(maximumStalenessSeconds: 100_000)
        lease.enter(.serving)
        lease.renew(started: instant(noon).boot, storeLatest: time(noon))
        ring = try Keyring.first(at: time(noon), entropy: .system)
        judge = Judge(audience: audience(), lease: lease)
        _ = judge.adopt(CheckSnapshot(keyring: ring, revocations: .empty))
    }

    /// What a judge that has just looked at `now` seals; nil when it seals nothing.
    private func renewed(
        _ claims: Claims, at now: Int64, rule: RenewalRule = RenewalRule()
    ) throws -> Claims? {
        #expect(judge.unavailability(at: instant(now)) == nil)
        guard let text = judge.renewal(of: claims, by: rule) else { return nil }
        let cipher = try TokenCipher(keyring: ring, audience: audience(), purposes: [.session])
        guard case .opened(let claims, _) = cipher.openSession(text.span, transport: .cookie)
        else {
            Issue.record("it does not open")
            return nil
        }
        return claims
    }

    @Test func `a token is renewed from its age on, and not one second before`() throws {
        let claims = Claims.sample(issued: noon)
        #expect(try renewed(claims, at: noon + 299) == nil)
        let new = try #require(try renewed(claims, at: noon + 300))
        #expect(new.issued == time(noon + 300))
        #expect(new.idleDeadline == time(noon + 300 + 3600))
        #expect(new.session == claims.session)
        #expect(new.authenticated == claims.authenticated)
        #expect(new.absoluteDeadline == claims.absoluteDeadline)
        var rule = RenewalRule()
        rule.afterSeconds = 1
        rule.idleSeconds = 7200
        #expect(try renewed(claims, at: noon + 300, rule: rule)?.idleDeadline == time(noon + 7500))
    }

    @Test func `a renewal ends with the session and never moves a deadline back`() throws {
        let last = Claims.sample(issued: noon, idle: noon + 400, absolute: noon + 3000)
        #expect(try renewed(last, at: noon + 399)?.idleDeadline == time(noon + 3000))
        let ended = Claims.sample(issued: noon, idle: noon + 3000, absolute: noon + 3000)
        #expect(try renewed(ended, at: noon + 2999) == nil)
        let longer = Claims.sample(issued: noon, idle: noon + 20_000)
        #expect(try renewed(longer, at: noon + 16_400) == nil)
        #expect(try renewed(longer, at: noon + 16_401)?.idleDeadline == time(noon + 20_001))
    }

    @Test func `a clock that steps back makes no token of before`() throws {
        #expect(judge.unavailability(at: instant(noon + 1000)) == nil)
        // This loop has seen noon + 1000; a minute less is within the skew.
        let new = try renewed(.sample(issued: noon), at: noon + 945)
        #expect(new?.issued == time(noon + 1000))
    }

    @Test func `without a key that seals nothing is renewed`() throws {
        let key = try #require(ring.active)
        let retiring = TokenKey(
            id: key.id, state: .retiring, created: key.created, activated: key.activated,
            ended: time(noon), secret: key.secret)
        // What an emergency leaves.
        let next = try #require(
            try ring.addingPendingKey(at: time(noon), entropy: .system).pending)
        _ = judge.adopt(
            CheckSnapshot(
                keyring: try Keyring(version: 2, keys: [retiring, next]), revocations: .empty))
        #expect(judge.unavailability(at: instant(noon + 300)) == nil)
        #expect(judge.renewal(of: .sample(), by: RenewalRule()) == nil)
    }
}

@Suite struct LastDeadlineTests {
    private func key(_ id: UInt32, _ state: KeyState, activated: Int64?) throws -> TokenKey {
        TokenKey(
            id: try #require(KeyID(rawValue: id)), state: state, created: time(noon),
            activated: activated.map { time(noon + $0) },
            ended: state == .retiring || state == .revoked ? time(noon) : nil,
            secret: state == .revoked
                ? nil : KeySecret(try Entropy.seeded(UInt64(id)).secret(32)))
    }

    /// Keys 1 to 4 became active in this order, while the clock stepped back and forth; key 5 is pending,
    /// key 6 was revoked while it was.
    private func ring() throws -> Keyring {
        try Keyring(
            version: 1,
            keys: [
                key(1, .revoked, activated: 3), key(2, .retiring, activated: 1),
                key(3, .retiring, activated: 4), key(6, .revoked, activated: nil),
                key(4, .active, activated: 2), key(5, .pending, activated: nil),
            ])
    }

    private func last(_ id: UInt32, _ deadlines: [UInt32: Int64]) throws -> Int64? {
        var usage: [KeyID: KeyUsage] = [:]
        for (id, deadline) in deadlines {
            usage[try #require(KeyID(rawValue: id))] = KeyUsage(
                sealed: 1, lastDeadline: time(noon + deadline))
        }
        return KeyringChange.lastDeadline(
            of: try #require(KeyID(rawValue: id)), in: try ring(), usage
        ).map { $0.seconds - noon }
    }

    @Test func `a key may have renewed what earlier keys sealed`() throws {
        let deadlines: [UInt32: Int64] = [1: 500, 2: 900, 3: 100, 4: 200]
        #expect(try last(1, deadlines) == 500)
        #expect(try last(2, deadlines) == 900)
        #expect(try last(3, deadlines) == 900, "those of key 2")
        #expect(try last(4, deadlines) == 900)
        #expect(try last(3, [2: 900]) == 900, "though it sealed no new session")
    }

    @Test func `later keys and keys that were never active don't count for others`() throws {
        #expect(try last(1, [2: 900, 3: 900, 4: 900, 5: 900, 6: 900]) == nil)
        #expect(try last(2, [1: 10, 2: 20, 3: 900, 4: 900, 5: 900, 6: 900]) == 20)
        #expect(try last(5, [1: 900, 4: 900]) == nil)
        #expect(try last(5, [5: 7]) == 7)
        #expect(try last(6, [4: 900]) == nil)
        #expect(try last(9, [9: 8, 1: 900]) == 8, "a key that is no longer in the ring")
    }
}
