// Verdicts: both sides of every time limit, the lease, and default deny.

import CAllocationCount
import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct VerdictTests {
    private static func verdict(_ claims: Claims, at now: Int64) -> String {
        denial(of: claims, at: time(now), revocations: .empty).map { name(.denied($0)) } ?? "good"
    }

    @Test func `a session ends at its idle deadline`() {
        let claims = Claims.sample(idle: noon + 10, absolute: noon + 100)
        #expect(Self.verdict(claims, at: noon + 9) == "good")
        #expect(Self.verdict(claims, at: noon + 10) == "expired")
    }

    @Test func `a session ends at its absolute deadline`() {
        let claims = Claims.sample(idle: noon + 10, absolute: noon + 10)
        #expect(Self.verdict(claims, at: noon + 9) == "good")
        #expect(Self.verdict(claims, at: noon + 10) == "expired")
    }

    @Test func `a token from the future is refused beyond the skew`() {
        let claims = Claims.sample(issued: noon + clockSkewSeconds)
        #expect(Self.verdict(claims, at: noon) == "good")
        #expect(Self.verdict(claims, at: noon - 1) == "invalid")
    }

    @Test(arguments: TokenDefect.allCases)
    func `a token with a defect is invalid, or revoked with its key`(_ defect: TokenDefect) {
        #expect(name(.denied(Denial(defect))) == (defect == .revokedKey ? "revoked" : "invalid"))
    }
}

private func name(_ verdict: Verdict) -> String {
    switch verdict {
    case .good: "good"
    case .denied(.absent): "absent"
    case .denied(.invalid): "invalid"
    case .denied(.expired): "expired"
    case .denied(.revoked): "revoked"
    case .denied(.stale): "stale"
    case .denied(.level): "level"
    case .unavailable(let reason): reason.rawValue
    }
}

@Suite struct LeaseTests {
    private static func serving(staleness: Int64 = 120) -> Lease {
        let lease = Lease(maximumStalenessSeconds: staleness)
        lease.enter(.serving)
        return lease
    }

    @Test func `a lease that was never renewed is starting`() {
        #expect(Lease(maximumStalenessSeconds: 1).unavailability(at: instant(noon)) == .starting)
        #expect(Self.serving().unavailability(at: instant(noon)) == .starting)
        #expect(Self.serving().ageSeconds(at: instant(noon).boot) == nil)
    }

    @Test func `a renewed lease is no use before serving and after stopping`() {
        let lease = Lease(maximumStalenessSeconds: 120)
        lease.renew(started: instant(noon).boot, storeLatest: time(noon))
        #expect(lease.unavailability(at: instant(noon)) == .starting)
        lease.enter(.serving)
        #expect(lease.unavailability(at: instant(noon)) == nil)
        lease.enter(.stopping)
        #expect(lease.unavailability(at: instant(noon)) == .stopping)
    }

    @Test func `a draining node answers, and ends connections`() {
        let lease = Self.serving()
        lease.renew(started: instant(noon).boot, storeLatest: time(noon))
        lease.enter(.draining)
        #expect(lease.unavailability(at: instant(noon)) == nil)
        #expect(lease.unavailability(at: instant(noon + 120)) == .leaseExpired)
        let isEnding = [Lease.Phase.starting, .serving, .draining, .stopping].map { phase in
            lease.enter(phase)
            return lease.isEnding
        }
        #expect(isEnding == [false, false, true, true])
    }

    @Test func `it holds for less than its length from the refresh's start`() {
        let lease = Self.serving()
        lease.renew(started: instant(noon).boot, storeLatest: time(noon))
        #expect(lease.unavailability(at: instant(noon + 119)) == nil)
        let justBefore = Instant(
            wall: time(noon + 119),
            boot: BootTime(nanoseconds: (noon + 120) * 1_000_000_000 - 1))
        #expect(lease.unavailability(at: justBefore) == nil)
        #expect(lease.unavailability(at: instant(noon + 120)) == .leaseExpired)
    }

    @Test func `a wall clock behind the store by more than the skew is told`() {
        let lease = Self.serving()
        lease.renew(started: instant(noon).boot, storeLatest: time(noon + clockSkewSeconds))
        #expect(lease.unavailability(at: instant(noon)) == nil)
        let behind = Instant(wall: time(noon - 1), boot: instant(noon).boot)
        #expect(lease.unavailability(at: behind) == .clockBehind)
    }
}

@Suite struct JudgeTests {
    private let lease: Lease
    private let ring: Keyring
    private let text: [UInt8]

    init() throws {
        lease = Lease(maximumStalenessSeconds: 120)
        lease.enter(.serving)
        lease.renew(started: instant(noon).boot, storeLatest: time(noon))
        ring = try Keyring.first(at: time(noon), entropy: .system)
        text = try TokenCipher(keyring: ring, audience: audience(), purposes: [.session])
            .sealSession(.sample(), transport: .cookie, entropy: .system)
    }

    private func verdict(
        _ judge: Judge, at now: Instant = instant(noon), text: [UInt8]? = nil,
        transport: TokenTransport = .cookie
    ) -> String {
        let text = text ?? self.text
        return name(judge.verdict(on: text.span, transport: transport, at: now))
    }

    private func judge(_ entries: [FeedEntry] = []) -> Judge {
        let judge = Judge(audience: audience(), lease: lease)
        var index = RevocationIndex()
        index.apply(entries, at: time(noon))
        _ = judge.adopt(CheckSnapshot(keyring: ring, revocations: index.snapshot))
        return judge
    }

    @Test func `before its first snapshot a judge can't know`() {
        #expect(verdict(Judge(audience: audience(), lease: lease)) == "keyring_unusable")
    }

    @Test func `a good token is good, as a cookie only`() {
        #expect(verdict(judge()) == "good")
        #expect(verdict(judge(), transport: .bearer) == "invalid")
    }

    @Test func `a node without a lease says neither yes nor no`() {
        let late = instant(noon + 120)
        #expect(verdict(judge(), at: late) == "lease_expired")
        #expect(verdict(judge(), at: late, text: [65]) == "lease_expired")
        lease.enter(.stopping)
        #expect(verdict(judge()) == "stopping")
    }

    @Test func `a revoked session is revoked from the next snapshot on`() {
        let judge = judge()
        #expect(verdict(judge) == "good")
        var index = RevocationIndex()
        index.apply(
            [
                FeedEntry(
                    sequence: 1, change: .session(Claims.sample().session),
                    deadline: time(noon + 86_400))
            ], at: time(noon))
        _ = judge.adopt(CheckSnapshot(keyring: ring, revocations: index.snapshot))
        #expect(verdict(judge) == "revoked")
    }

    @Test func `a new ring takes the place of the old one`() throws {
        let judge = judge()
        let active = try #require(ring.active?.id)
        let (next, _) = try #require(
            try ring.revoking(at: time(noon), entropy: .system) { $0.id == active })
        _ = judge.adopt(CheckSnapshot(keyring: next, revocations: .empty))
        #expect(verdict(judge) == "revoked")
    }

    @Test func `stepping the clock back revives nothing`() {
        let judge = judge()
        lease.renew(started: instant(noon + 3600).boot, storeLatest: time(noon))
        // The session's idle deadline is noon + 3600.
        #expect(verdict(judge, at: instant(noon + 3600)) == "expired")
        func steppedBack(_ seconds: Int64) -> Instant {
            Instant(wall: time(noon + 3600 - seconds), boot: instant(noon + 3601).boot)
        }
        #expect(verdict(judge, at: steppedBack(1)) == "expired")
        #expect(verdict(judge, at: steppedBack(clockSkewSeconds)) == "expired")
        #expect(verdict(judge, at: steppedBack(clockSkewSeconds + 1)) == "clock_behind")
    }

    /// The wall clock of checks is a few milliseconds late: they may see a second that has ended.
    @Test func `a token of this second is good to a clock that is a second behind`() throws {
        let text = try TokenCipher(keyring: ring, audience: audience(), purposes: [.session])
            .sealSession(
                .sample(issued: noon + 1, authenticated: noon + 1), transport: .cookie,
                entropy: .system)
        #expect(verdict(judge(), text: text) == "good")
        let fresh = judge().verdict(
            on: text.span, transport: .cookie, requirement: SessionRequirement(freshSeconds: 1),
            at: instant(noon)
        ) { _ in }
        #expect(fresh == .good)
    }

    @Test func `what was asked is judged after all else`() throws {
        let cipher = try TokenCipher(keyring: ring, audience: audience(), purposes: [.session])
        func verdict(_ claims: Claims, _ requirement: SessionRequirement) throws -> String {
            let text = try cipher.sealSession(claims, transport: .cookie, entropy: .system)
            var lent = false
            let verdict = judge([
                FeedEntry(
                    sequence: 1, change: .session(Claims.sample(session: 99).session),
                    deadline: time(noon + 86_400))
            ]).verdict(
                on: text.span, transport: .cookie, requirement: requirement, at: instant(noon)
            ) { _ in lent = true }
            #expect(lent == (verdict == .good))
            switch verdict {
            case .good: return "good"
            case .denied(let denial): return name(.denied(denial))
            case .unavailable(let reason): return reason.rawValue
            }
        }
        let strict = SessionRequirement(freshSeconds: 60, level: .secondFactor)
        #expect(try verdict(.sample(), strict) == "level")
        #expect(try verdict(.sample(session: 99), strict) == "revoked")
        #expect(try verdict(.sample(idle: noon), strict) == "expired")
        let old = Claims.sample(authenticated: noon - 61)
        #expect(try verdict(old, SessionRequirement(freshSeconds: 60)) == "stale")
        #expect(try verdict(old, SessionRequirement(freshSeconds: 61)) == "good")
    }

    @Test func `judging allocates nothing`() {
        let judge = judge([
            FeedEntry(
                sequence: 1, change: .session(Claims.sample(session: 99).session),
                deadline: time(noon + 86_400)),
            FeedEntry(
                sequence: 2, change: .user(Claims.sample(user: 99).user, minimumEpoch: 4),
                deadline: time(noon + 86_400)),
        ])
        let now = instant(noon)
        func allocations() -> UInt64 {
            let before = gatehouse_allocation_count()
            for _ in 0..<100 {
                guard case .good = judge.verdict(on: text.span, transport: .cookie, at: now) else {
                    return .max
                }
            }
            return gatehouse_allocation_count() - before
        }
        _ = allocations()
        #expect(allocations() == 0)
    }
}
