// When a key is old enough, whatever the wall clock does, and who waits for whom.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct RotationRuleTests {
    private let ring: Keyring

    init() throws { ring = try Keyring.first(at: time(noon), entropy: .system) }

    /// The wall clock says `wall`, and the process has run for `boot` seconds.
    private static func at(_ wall: Int64, boot: Int64) -> Instant {
        Instant(wall: time(wall), boot: BootTime(nanoseconds: boot * 1_000_000_000))
    }

    private static func boot(_ seconds: Int64) -> BootTime {
        BootTime(nanoseconds: seconds * 1_000_000_000)
    }

    @Test func `a key is replaced when it is as old as it may get, and not a second before`() {
        var rule = RotationRule(everySeconds: 300)
        rule.watch(ring, at: Self.at(noon, boot: 1000))
        #expect(rule.ageSeconds(at: Self.boot(1299)) == 299)
        #expect(!rule.isDue(in: ring, at: Self.boot(1299)))
        #expect(rule.isDue(in: ring, at: Self.boot(1300)))
    }

    @Test func `a process that starts late counts what has passed`() {
        var rule = RotationRule(everySeconds: 300)
        rule.watch(ring, at: Self.at(noon + 200, boot: 5))
        #expect(!rule.isDue(in: ring, at: Self.boot(104)))
        #expect(rule.isDue(in: ring, at: Self.boot(105)))
    }

    @Test(arguments: [-86_400, -1, 1, 299, 300, 86_400 * 400] as [Int64])
    func `a clock that steps, once or again and again, changes no age`(_ step: Int64) {
        var rule = RotationRule(everySeconds: 300)
        rule.watch(ring, at: Self.at(noon, boot: 0))
        for second in 1..<300 as Range<Int64> {
            // There and back every second.
            rule.watch(ring, at: Self.at(noon + second + (second % 2) * step, boot: second))
            #expect(!rule.isDue(in: ring, at: Self.boot(second)))
        }
        #expect(rule.isDue(in: ring, at: Self.boot(300)))
    }

    @Test func `a key that was activated by a clock ahead is new, not of the future`() {
        var rule = RotationRule(everySeconds: 300)
        rule.watch(ring, at: Self.at(noon - 5000, boot: 0))
        #expect(rule.ageSeconds(at: Self.boot(0)) == 0)
        #expect(!rule.isDue(in: ring, at: Self.boot(299)))
        #expect(rule.isDue(in: ring, at: Self.boot(300)))
    }

    @Test func `the next key's age begins anew`() throws {
        var rule = RotationRule(everySeconds: 300)
        rule.watch(ring, at: Self.at(noon, boot: 0))
        let pending = try ring.addingPendingKey(at: time(noon + 300), entropy: .system)
        rule.watch(pending, at: Self.at(noon + 300, boot: 300))
        #expect(!rule.isDue(in: pending, at: Self.boot(300)), "one is under way")
        let next = try pending.activatingPendingKeys(at: time(noon + 301))
        rule.watch(next, at: Self.at(noon + 301, boot: 301))
        #expect(rule.ageSeconds(at: Self.boot(301)) == 0)
        #expect(!rule.isDue(in: next, at: Self.boot(600)))
        #expect(rule.isDue(in: next, at: Self.boot(601)))
    }

    @Test func `a key that is not watched yet is not due, however old the one before it was`()
        throws
    {
        var rule = RotationRule(everySeconds: 300)
        rule.watch(ring, at: Self.at(noon, boot: 0))
        let next = try ring.addingPendingKey(at: time(noon + 300), entropy: .system)
            .activatingPendingKeys(at: time(noon + 301))
        #expect(rule.isDue(in: ring, at: Self.boot(301)))
        #expect(!rule.isDue(in: next, at: Self.boot(301)))
    }

    @Test func `a key is added at once where a revocation found no randomness for one`() throws {
        let (revoked, _) = try #require(
            try ring.revoking(at: time(noon), entropy: .broken) { _ in true })
        var rule = RotationRule(everySeconds: 300)
        rule.watch(revoked, at: Self.at(noon, boot: 0))
        #expect(rule.ageSeconds(at: Self.boot(0)) == nil)
        #expect(rule.isDue(in: revoked, at: Self.boot(0)))
    }

    @Test func `rotation that is off is never due`() {
        var rule = RotationRule(everySeconds: nil)
        rule.watch(ring, at: Self.at(noon, boot: 0))
        #expect(rule.ageSeconds(at: Self.boot(10)) == 10)
        #expect(!rule.isDue(in: ring, at: Self.boot(1 << 32)))
    }
}

@Suite struct BarrierTests {
    private static func node(
        _ number: UInt64, started: Int64 = noon, heartbeat: Int64 = noon, version: UInt64 = 1,
        rotates: Bool = true
    ) -> NodeRecord {
        NodeRecord(
            id: NodeID(Identifier(high: 0, low: number)), started: time(started),
            heartbeat: time(heartbeat), leaseSeconds: 120, position: 0, keyringVersion: version,
            rotates: rotates)
    }

    @Test func `one that does not rotate does not lead`() {
        let (first, second) = (Self.node(1, rotates: false), Self.node(2, started: noon + 1))
        #expect(Barrier.leader(of: [first, second]) == second.id)
        #expect(Barrier.leader(of: [first]) == nil)
    }

    @Test func `a silent node is given up after its lease and the beat under way`() {
        let node = Self.node(1)
        #expect(Barrier.live([node], at: time(noon + 125)) == [node])
        #expect(Barrier.live([node], at: time(noon + 126)).isEmpty)
        #expect(Barrier.live([node], at: time(noon - 86_400)) == [node], "a clock that went back")
    }

    @Test func `those are waited for that have an older ring, not those that are ahead`() {
        let nodes = [
            Self.node(1, version: 4), Self.node(2, version: 5), Self.node(3, version: 6),
            Self.node(4, version: 0),
        ]
        #expect(Barrier.waiting(for: 5, among: nodes) == [nodes[0].id, nodes[3].id])
    }

    @Test func `the node that joined first leads, of two the one with the lower id`() {
        #expect(Barrier.leader(of: []) == nil)
        let nodes = [
            Self.node(3, started: noon + 1), Self.node(9, started: noon),
            Self.node(4, started: noon),
            Self.node(1, started: noon + 2),
        ]
        for _ in 0..<10 { #expect(Barrier.leader(of: nodes.shuffled()) == nodes[2].id) }
    }

    @Test func `a ring is replaced by the next, when all have it, and by the one that may`() {
        let (first, second) = (Self.node(1, version: 5), Self.node(2, version: 4))
        func verdict(
            _ version: UInt64, loaded: Bool = false, leader: NodeRecord? = nil,
            nodes: [NodeRecord]? = nil
        ) -> KeyringReplacement {
            Barrier.verdict(
                replacing: 5, with: version, live: nodes ?? [first, second],
                onlyWhenLoaded: loaded, onlyAsLeader: leader?.id)
        }
        #expect(verdict(6) == .replaced)
        #expect(verdict(5) == .versionConflict(current: 5))
        #expect(verdict(7) == .versionConflict(current: 5))
        #expect(verdict(6, loaded: true) == .waitingForNodes([second.id]))
        #expect(verdict(6, loaded: true, nodes: [first]) == .replaced)
        #expect(verdict(6, leader: first) == .replaced)
        #expect(verdict(6, leader: second) == .notLeader)
        #expect(verdict(6, leader: second, nodes: []) == .notLeader)
    }
}
