// The audit trail: what is changed anywhere is found, and named.

import GatehouseCore
import GatehouseTestSupport
import Testing

/// A trail as a store would hold it: several chains, checkpoints, personal fields.
private struct Trail {
    var records: [AuditRecord] = []
    private var ends: [AuditChain: AuditChainEnd] = [:]
    private var grown: Set<AuditChain> = []

    static func chain(_ number: UInt64) -> AuditChain {
        AuditChain(Identifier(high: 1, low: number))
    }

    /// - Parameter chains: writers besides the commands.
    init(entries: Int, chains: UInt64 = 3, seed: UInt64 = 1) throws {
        var generator = SeededGenerator(seed: seed)
        let entropy = Entropy.seeded(seed)
        for number in 0..<entries {
            let pick = UInt64.random(in: 0...chains, using: &generator)
            let chain = pick == 0 ? AuditChain.commands : Self.chain(pick)
            let isCheckpoint = number % 500 == 499
            let kinds: [AuditEvent.Kind] = [.signedIn, .signedOut, .keyRevoked, .userDisabled]
            var record = AuditRecord(
                sequence: UInt64(number + 1), time: time(noon + Int64(number)),
                event: AuditEvent(
                    isCheckpoint
                        ? .auditCheckpoint : kinds[number % kinds.count],
                    by: .server, user: UserID(Identifier(high: 9, low: UInt64(number % 50 + 1))),
                    session: number.isMultiple(of: 3)
                        ? SessionID(Identifier(high: 4, low: UInt64(number + 1))) : nil,
                    key: KeyID(rawValue: UInt32(number + 1)),
                    detail: number.isMultiple(of: 5) ? "detail=\(number)" : nil))
            if pick == 0 { record.operatorName = "root" }
            if number.isMultiple(of: 2) {
                let personal = AuditPersonal(
                    salt: try entropy.bytes(AuditPersonal.saltBytes),
                    origin: SessionOrigin(browser: "Firefox", place: "203.0.113.0/24"),
                    reason: nil)
                record.personal = personal
                record.commitment = try personal.commitment()
            }
            if isCheckpoint { record.ends = grown.compactMap { ends[$0] } }
            try add(record, to: chain)
            grown = isCheckpoint ? [chain] : grown.union([chain])
        }
    }

    mutating func add(_ record: AuditRecord, to chain: AuditChain) throws {
        var record = record
        let link = try trailKey.link(record, to: chain, after: ends[chain])
        record.link = link
        ends[chain] = AuditChainEnd(chain: chain, position: link.position, mac: link.mac)
        records.append(record)
    }

    func verify(
        bases: [AuditBase] = [], floor: UInt64 = 0, expecting expected: AuditHead? = nil,
        keys: [KeyID: AuditKey] = [trailKey.id: trailKey], issued: UInt64? = nil
    ) throws -> (faults: [AuditFault], head: AuditHead) {
        var verifier = try AuditVerifier(
            keys: keys, extent: AuditExtent(floor: floor, bases: bases, issued: issued),
            expected: expected)
        for record in records where record.sequence > floor { try verifier.take(record) }
        let head = try verifier.finish()
        return (verifier.faults, head)
    }
}

extension AuditRecord {
    /// The same with one of its parts changed.
    fileprivate func altered(_ part: Int, by generator: inout SeededGenerator) -> AuditRecord {
        var sequence = sequence
        var at = time
        var event = event
        var link = link
        func flipped(_ bytes: [UInt8]) -> [UInt8] {
            var bytes = bytes
            let bit = UInt8(1) << UInt8.random(in: 0...7, using: &generator)
            bytes[Int.random(in: bytes.indices, using: &generator)] ^= bit
            return bytes
        }
        func changed(_ id: Identifier?) -> Identifier {
            id.map { Identifier(flipped($0.bytes).span) } ?? Identifier(high: 1, low: 1)
        }
        switch part {
        case 0: at = at.advanced(bySeconds: Bool.random(using: &generator) ? 1 : -1)
        case 1:
            event = AuditEvent(
                event.kind == .signedIn ? .signedOut : .signedIn, by: event.actor,
                user: event.user, session: event.session, key: event.key, series: event.series,
                detail: event.detail)
        case 2:
            event = AuditEvent(
                event.kind, by: event.actor == .server ? .command : .server, user: event.user,
                session: event.session, key: event.key, series: event.series, detail: event.detail)
        case 3:
            event = AuditEvent(
                event.kind, by: event.actor, user: UserID(changed(event.user?.value)),
                session: event.session, key: event.key, series: event.series, detail: event.detail)
        case 4:
            event = AuditEvent(
                event.kind, by: event.actor, user: event.user,
                session: event.session == nil
                    ? SessionID(Identifier(high: 1, low: 1)) : nil,
                key: event.key, series: event.series, detail: event.detail)
        case 5:
            event = AuditEvent(
                event.kind, by: event.actor, user: event.user, session: event.session,
                key: event.key.flatMap { KeyID(rawValue: $0.rawValue ^ 0x100) },
                series: event.series, detail: event.detail)
        case 6:
            event = AuditEvent(
                event.kind, by: event.actor, user: event.user, session: event.session,
                key: event.key, series: SeriesID(changed(event.series?.value)),
                detail: event.detail)
        case 7:
            event = AuditEvent(
                event.kind, by: event.actor, user: event.user, session: event.session,
                key: event.key, series: event.series, detail: (event.detail ?? "") + "x")
        case 8:
            link = link.map {
                AuditLink(
                    chain: $0.chain, position: $0.position, key: $0.key, mac: flipped($0.mac))
            }
        case 9: sequence += 1_000_000
        default: break
        }
        var copy = AuditRecord(sequence: sequence, time: at, event: event)
        copy.operatorName = part == 10 ? (operatorName ?? "") + "x" : operatorName
        copy.personal = personal
        copy.commitment = part == 11 ? commitment.map { flipped($0) } ?? sha : commitment
        copy.ends =
            part == 12
            ? ends + [AuditChainEnd(chain: .commands, position: 1, mac: sha)] : ends
        copy.link = link
        return copy
    }

    private var sha: [UInt8] { [UInt8](repeating: 1, count: 32) }
}

@Suite struct AuditTrailTests {
    private static let entries = 10_000

    @Test func `a trail that nobody touched is whole`() throws {
        let trail = try Trail(entries: 2000)
        let (faults, head) = try trail.verify()
        #expect(faults.isEmpty)
        #expect(head.sequence == 2000)
        #expect(try trail.verify(expecting: head).faults.isEmpty)
        #expect(AuditHead(text: head.text) == head)
    }

    /// Ten thousand entries; one is altered, removed, inserted, moved or exchanged, anywhere. Each time
    /// the first fault that is told is the place.
    @Test func `every change anywhere is named`() throws {
        let trail = try Trail(entries: Self.entries)
        let (_, head) = try trail.verify()
        var generator = SeededGenerator()
        // Where a change is, hardly anything before it needs looking at again; the rest is checked whole.
        for round in 0..<39 {
            var changed = trail
            let place = Int.random(in: 0..<Self.entries, using: &generator)
            let original = changed.records[place]
            let link = try #require(original.link)
            let part = round % 13
            changed.records[place] = original.altered(part, by: &generator)
            changed.records.sort { $0.sequence < $1.sequence }
            let faults = try changed.verify(expecting: head).faults
            let first = try #require(
                faults.first, "part \(part) of \(place), seed \(generator.seed)")
            if part == 9 {
                // Put at the end: it is missing where it was, unless it was its chain's last.
                #expect(
                    faults.contains { $0.chain == link.chain && $0.position == link.position },
                    "\(first)")
            } else {
                #expect(first.sequence == original.sequence, "part \(part), \(first)")
                #expect(first.chain == link.chain && first.position == link.position)
                #expect(faults.count <= 2, "\(faults)")
            }
        }
        for _ in 0..<10 {
            var changed = trail
            let place = Int.random(in: 0..<Self.entries, using: &generator)
            let link = try #require(changed.records.remove(at: place).link)
            let faults = try changed.verify(expecting: head).faults
            #expect(
                faults.contains {
                    ($0.kind == .missing || $0.kind == .cutOff || $0.kind == .headDiffers)
                        && ($0.position == link.position && $0.chain == link.chain
                            || $0.kind == .headDiffers)
                }, "\(place), seed \(generator.seed)")
        }
        for _ in 0..<10 {
            // Two entries exchanged, each at the other's number.
            var changed = trail
            let one = Int.random(in: 0..<(Self.entries - 1), using: &generator)
            let other = Int.random(in: (one + 1)..<Self.entries, using: &generator)
            changed.records[one] = try trail.records[other].moved(
                to: trail.records[one].sequence)
            changed.records[other] = try trail.records[one].moved(
                to: trail.records[other].sequence)
            let first = try #require(try changed.verify(expecting: head).faults.first)
            #expect(first.sequence.map { $0 <= UInt64(other + 1) } ?? true, "\(first)")
            let link = try #require(trail.records[other].link)
            #expect(first.chain == link.chain || first.kind == .missing, "\(one) \(other)")
        }
    }

    @Test func `an entry that others wrote is named`() throws {
        var trail = try Trail(entries: 600)
        let keyOfOthers = try #require(
            try Keyring.first(at: time(noon), entropy: .system).auditKeys()?.current)
        var forged = AuditRecord(
            sequence: 601, time: time(noon), event: AuditEvent(.signedIn, by: .server))
        forged.link = try keyOfOthers.link(forged, to: Trail.chain(77), after: nil)
        trail.records.append(forged)
        #expect(try trail.verify().faults.map(\.kind) == [.unknownKey])
        // With our key's id the MAC gives it away.
        forged.link = AuditLink(
            chain: Trail.chain(77), position: 1, key: trailKey.id, mac: forged.link?.mac ?? [])
        trail.records[600] = forged
        let faults = try trail.verify().faults
        #expect(faults.map(\.kind) == [.altered])
        #expect(faults.first?.sequence == 601)
    }

    @Test func `a cut-off end is found by the head that was kept`() throws {
        let trail = try Trail(entries: 1100)
        let (_, head) = try trail.verify()
        var cut = trail
        cut.records.removeLast(20)
        // Behind the last checkpoint nothing in the trail itself tells.
        #expect(try cut.verify().faults.isEmpty)
        let faults = try cut.verify(expecting: head).faults
        #expect(faults.map(\.kind) == [.cutOff])
        #expect(faults.first?.position == 1081)
        // And of another trail it is no head.
        let other = try Trail(entries: 1100, seed: 2)
        #expect(try other.verify(expecting: head).faults.map(\.kind) == [.headDiffers])
        // A trail that has grown since still has it.
        var grown = trail
        try grown.add(
            AuditRecord(
                sequence: 1101, time: time(noon), event: AuditEvent(.signedIn, by: .server)),
            to: Trail.chain(9))
        #expect(try grown.verify(expecting: head).faults.isEmpty)
    }

    @Test func `a checkpoint misses a whole chain, and a chain's end`() throws {
        let trail = try Trail(entries: 1000)
        for number in [1, 2] as [UInt64] {
            var without = trail
            let chain = Trail.chain(number)
            if number == 1 {
                without.records.removeAll { $0.link?.chain == chain }
            } else {
                let last = without.records.lastIndex {
                    $0.link?.chain == chain && $0.sequence < 999
                }
                without.records.removeAll {
                    $0.link?.chain == chain && $0.sequence > UInt64(last ?? 0)
                }
            }
            let faults = try without.verify().faults
            #expect(
                faults.contains {
                    $0.chain == chain && ($0.kind == .cutOff || $0.kind == .missing)
                }, "\(number): \(faults)")
        }
    }

    @Test func `what is personal can be erased and not altered`() throws {
        var trail = try Trail(entries: 100)
        let (_, head) = try trail.verify()
        trail.records[10].personal = nil
        #expect(try trail.verify(expecting: head).faults.isEmpty)
        let personal = try #require(trail.records[20].personal)
        trail.records[20].personal = AuditPersonal(
            salt: personal.salt, origin: SessionOrigin(browser: "Firefox", place: "elsewhere"),
            reason: nil)
        let faults = try trail.verify().faults
        #expect(faults.map(\.kind) == [.personalAltered])
        #expect(faults.first?.sequence == 21)
        // One added where there was none.
        trail.records[20].personal = personal
        trail.records[21].personal = personal
        #expect(try trail.verify().faults.map(\.kind) == [.personalAltered])
    }

    @Test func `retention vouches for what it removed, and nobody else can`() throws {
        let trail = try Trail(entries: 1000)
        let (_, head) = try trail.verify()
        var ends: [AuditChain: AuditChainEnd] = [:]
        for record in trail.records.prefix(300) {
            let link = try #require(record.link)
            ends[link.chain] = AuditChainEnd(
                chain: link.chain, position: link.position, mac: link.mac)
        }
        let zeros = AuditVerifier.emptyDigest
        ends[.floor] = AuditChainEnd(chain: .floor, position: 300, mac: zeros)
        let bases = try ends.values.map { try trailKey.base($0) }
        #expect(try trail.verify(bases: bases, floor: 300, expecting: head).faults.isEmpty)
        // Removed, and nobody says so.
        #expect(try !trail.verify(floor: 300).faults.isEmpty)
        // More is gone than was vouched for.
        #expect(try !trail.verify(bases: bases, floor: 350).faults.isEmpty)
        // Vouched for by somebody else.
        let forged = bases.map { AuditBase(end: $0.end, key: $0.key, seal: $0.end.mac) }
        #expect(
            try trail.verify(bases: forged, floor: 300).faults.contains {
                $0.kind == .baseAltered
            })
        // A head from before can't be compared any more, and that is no "whole".
        var early = trail
        early.records.removeLast(800)
        let (_, old) = try early.verify()
        #expect(
            try trail.verify(bases: bases, floor: 300, expecting: old).faults.map(\.kind)
                == [.headDiffers])
    }

    @Test func `entries of earlier releases are vouched for once`() throws {
        var old: [AuditRecord] = []
        var digest = AuditVerifier.emptyDigest
        for number in 1...20 as ClosedRange<UInt64> {
            let record = AuditRecord(
                sequence: number, time: time(noon), event: AuditEvent(.signedIn, by: .server))
            digest = try AuditVerifier.digest(digest, record)
            old.append(record)
        }
        var trail = try Trail(entries: 0)
        try trail.add(
            AuditRecord(
                sequence: 21, time: time(noon),
                event: AuditEvent(
                    .auditBegan, by: .server,
                    detail: AuditVerifier.vouching(count: 20, digest: digest))),
            to: .commands)
        trail.records = old + trail.records
        #expect(try trail.verify().faults.isEmpty)
        for change in 0..<4 {
            var changed = trail
            switch change {
            case 0: changed.records.remove(at: 7)
            case 1:
                changed.records[7] = AuditRecord(
                    sequence: 8, time: time(noon + 1), event: AuditEvent(.signedIn, by: .server))
            case 2: changed.records.removeLast()
            default:
                changed.records.append(
                    AuditRecord(
                        sequence: 22, time: time(noon), event: AuditEvent(.signedIn, by: .server)))
            }
            #expect(try !changed.verify().faults.isEmpty, "\(change)")
        }
    }

    @Test func `a head has one spelling`() throws {
        let text = try Trail(entries: 3).verify().head.text
        #expect(AuditHead(text: text) != nil)
        for bad in [
            "", text.dropLast(1) + "", text + "0", text.uppercased(), " " + text,
            text.replacing(":3:", with: ":03:"), text.replacing(":3:", with: ":-3:"),
            text.replacing(":3:", with: ":"),
        ] { #expect(AuditHead(text: bad) == nil, "\(bad)") }
    }
}

extension AuditRecord {
    /// As it is, at another number.
    fileprivate func moved(to number: UInt64) throws -> AuditRecord {
        var copy = AuditRecord(sequence: number, time: time, event: event)
        copy.operatorName = operatorName
        copy.personal = personal
        copy.commitment = commitment
        copy.ends = ends
        copy.link = link
        return copy
    }
}
