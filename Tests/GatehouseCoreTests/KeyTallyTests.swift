// Counting what keys open and seal, and when a key goes.

import CAllocationCount
import GatehouseTestSupport
import Testing

@testable import GatehouseCore

@Suite struct KeyTallyTests {
    private let lease: Lease
    private let ring: Keyring

    init() throws {
        lease = Lease(maximumStalenessSeconds: 120)
        lease.enter(.serving)
        lease.renew(started: instant(noon).boot, storeLatest: time(noon))
        ring = try Keyring.first(at: time(noon), entropy: .system)
    }

    private func active(_ ring: Keyring) throws -> KeyID { try #require(ring.active?.id) }

    private func snapshot(_ ring: Keyring) -> CheckSnapshot {
        CheckSnapshot(keyring: ring, revocations: .empty)
    }

    private func token(_ ring: Keyring, _ claims: Claims = .sample()) throws -> [UInt8] {
        try TokenCipher(keyring: ring, audience: audience(), purposes: [.session])
            .sealSession(claims, transport: .cookie, entropy: .system)
    }

    private func rotated() throws -> Keyring {
        try ring.addingPendingKey(at: time(noon), entropy: .system)
            .activatingPendingKeys(at: time(noon))
    }

    // MARK: Openings

    @Test func `what opens is counted for its key until it is taken, whatever the verdict`()
        throws
    {
        let judge = Judge(audience: audience(), lease: lease)
        _ = judge.adopt(snapshot(ring))
        let good = try token(ring)
        let expired = try token(ring, .sample(idle: noon))
        for text in [good, good, expired] {
            _ = judge.verdict(on: text.span, transport: .cookie, at: instant(noon))
        }
        #expect(judge.takeTally().opened == [try active(ring): 3])
        #expect(judge.takeTally() == KeyTally())
    }

    @Test func `what does not open is not counted`() throws {
        let judge = Judge(audience: audience(), lease: lease)
        _ = judge.adopt(snapshot(ring))
        let stranger = try token(try Keyring.first(at: time(noon), entropy: .system))
        var forged = try token(ring)
        forged[60] = forged[60] == 0x41 ? 0x42 : 0x41
        for text in [stranger, forged, Array("x".utf8)] {
            _ = judge.verdict(on: text.span, transport: .cookie, at: instant(noon))
        }
        let bearer = try token(ring)
        _ = judge.verdict(on: bearer.span, transport: .bearer, at: instant(noon))
        #expect(judge.takeTally() == KeyTally())
    }

    @Test func `counts stay when the ring changes, and are told by key`() throws {
        let judge = Judge(audience: audience(), lease: lease)
        _ = judge.adopt(snapshot(ring))
        let (old, next) = (try token(ring), try rotated())
        _ = judge.verdict(on: old.span, transport: .cookie, at: instant(noon))
        _ = judge.adopt(snapshot(next))
        let new = try token(next)
        for text in [old, new, new] {
            _ = judge.verdict(on: text.span, transport: .cookie, at: instant(noon))
        }
        #expect(judge.takeTally().opened == [try active(ring): 2, try active(next): 2])
    }

    @Test func `counting allocates nothing`() throws {
        let judge = Judge(audience: audience(), lease: lease)
        _ = judge.adopt(snapshot(ring))
        let text = try token(ring)
        func check(_ count: Int) -> UInt64 {
            let before = gatehouse_allocation_count()
            for _ in 0..<count {
                _ = judge.verdict(
                    on: text.span, transport: .cookie, at: instant(noon), whenGood: { _ in })
            }
            return gatehouse_allocation_count() - before
        }
        _ = check(1)
        #expect(check(100) == 0)
        #expect(judge.takeTally().opened == [try active(ring): 101])
    }

    @Test func `the front door's openings of every purpose are counted, over changes of the ring`()
        async throws
    {
        let sealer = Sealer(audience: audience(), lease: lease, entropy: .system)
        #expect(await sealer.adopt(snapshot(ring)))
        let form = try await sealer.seal(
            [1, 2], purpose: .form, transport: .cookie, at: instant(noon))
        let text = Array(form.text.utf8)
        #expect(await sealer.open(text, purpose: .form, transport: .cookie) == [1, 2])
        #expect(await sealer.open(text, purpose: .device, transport: .cookie) == nil)
        let session = try token(ring)
        #expect(await sealer.claims(of: session, transport: .cookie) != nil)
        #expect(await sealer.adopt(snapshot(try rotated())))
        _ = await sealer.verdict(on: session, transport: .cookie, at: instant(noon))
        let tally = await sealer.takeTally()
        #expect(tally.opened == [try active(ring): 3])
        #expect(tally.sealed.isEmpty, "the store counts those")
        #expect(await sealer.takeTally() == KeyTally())
        // What no store hears of says until when it lives.
        _ = try await sealer.seal(
            [1], purpose: .form, transport: .cookie, at: instant(noon), until: time(noon + 60))
        #expect(
            await sealer.takeTally().sealed.values.map(\.lastDeadline) == [time(noon + 60)])
    }

    // MARK: Seals

    @Test func `a renewal is counted for the key that sealed it, until its absolute deadline`()
        throws
    {
        let judge = Judge(audience: audience(), lease: lease)
        _ = judge.adopt(snapshot(ring))
        let claims = Claims.sample(issued: noon - 600, idle: noon + 100, absolute: noon + 7300)
        var rule = RenewalRule()
        rule.idleSeconds = 3600
        let text = try token(ring, claims)
        _ = judge.verdict(on: text.span, transport: .cookie, at: instant(noon))
        #expect(judge.renewal(of: claims, by: rule) != nil)
        #expect(judge.renewal(of: claims, by: rule) != nil)
        #expect(judge.renewal(of: .sample(issued: noon), by: rule) == nil, "it is not due")
        var tally = judge.takeTally()
        let key = try active(ring)
        let span = KeyTally.Span(key: key, until: time(noon + 7300), at: time(noon))
        #expect(span.end == time(noon + 3 * 3600))
        #expect(
            tally.sealed
                == [span: KeyTally.Seals(count: 2, lastDeadline: time(noon + 7300))])
        var other = KeyTally()
        other.noteSealed(by: key, until: time(noon + 7301), at: time(noon))
        other.noteOpened(5, by: key)
        tally.add(other)
        #expect(
            tally.sealed
                == [span: KeyTally.Seals(count: 3, lastDeadline: time(noon + 7301))])
        #expect(tally.opened == [key: 6])
    }

    @Test func `deadlines are counted by the hour for two days, then by the day, never early`() {
        let now = time(noon)
        func end(_ seconds: Int64) -> Int64 {
            KeyTally.spanEnd(of: time(noon + seconds), at: now).seconds - noon
        }
        #expect(end(0) == 0)
        #expect(end(1) == 3600)
        #expect(end(3600) == 3600)
        #expect(end(48 * 3600) == 48 * 3600)
        #expect(end(48 * 3600 + 1) == 60 * 3600, "midnight after")
        for seconds in stride(from: Int64(0), through: DeviceClaims.lifetimeSeconds, by: 1117) {
            #expect(end(seconds) >= seconds && end(seconds) < seconds + 86_400)
        }
        #expect(KeyTally.spanEnd(of: .maximum, at: now) == .maximum)
    }

    @Test func `what a key sealed within the longest life of a token stands in few spans`() {
        let ends = stride(from: Int64(0), through: DeviceClaims.lifetimeSeconds, by: 600).map {
            KeyTally.spanEnd(of: time(noon + $0), at: time(noon))
        }
        #expect(Set(ends).count < 240)
    }

    // MARK: The end of a key

    @Test func `a key says when it is destroyed, and is then`() throws {
        let next = try rotated()
        let old = try #require(next.key(try active(ring)))
        let last = time(noon + 1000)
        #expect(
            next.active?.keptUntil(leaseSeconds: 120, lastDeadline: last) == nil,
            "not before its rotation")
        let end = try #require(old.keptUntil(leaseSeconds: 120, lastDeadline: last))
        #expect(end == time(noon + 1000 + 120 + clockSkewSeconds))
        func destroyed(at now: UnixTime) throws -> [KeyID]? {
            try next.destroyingExpiredKeys(
                at: now, leaseSeconds: 120, lastDeadline: { _ in last })?.destroyed
        }
        #expect(try destroyed(at: end) == nil)
        #expect(try destroyed(at: end.advanced(bySeconds: 1)) == [old.id])
    }

    // MARK: Data keys

    @Test func `of data keys only the former ones can be destroyed`() throws {
        let pending = try ring.addingDataKey(.lookUp, at: time(noon), entropy: .system)
        let (pepper, first) = (ring.dataKeys[0].id, ring.dataKeys[1].id)
        let second = try #require(pending.pendingDataKeys.first?.id)
        #expect(pending.formerDataKeys(.lookUp).isEmpty)
        #expect(pending.newestDataKey(.lookUp)?.id == first)
        let next = try pending.activatingPendingKeys(at: time(noon + 1))
        #expect(next.formerDataKeys(.lookUp).map(\.id) == [first])
        #expect(next.formerDataKeys(.pepper).isEmpty)
        #expect(next.newestDataKey(.lookUp)?.id == second)
        for (ring, id) in [(pending, first), (pending, second), (next, second), (next, pepper)] {
            #expect(throws: KeyringDefect.dataKeyInUse) { try ring.destroyingDataKeys([id]) }
        }
        let less = try next.destroyingDataKeys([first])
        #expect(less.dataKeys.map(\.id) == next.dataKeys.map(\.id).filter { $0 != first })
        #expect(less.version == next.version + 1)
        #expect(less.keys.map(\.id) == next.keys.map(\.id))
    }
}
