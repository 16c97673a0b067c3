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

    /// What retention seals of the last number that it removed.
    static func floor(_ number: UInt64) throws -> [AuditBase] {
        guard number > 0 else { return [] }
        return [
            try trailKey.base(
                AuditChainEnd.floor(number))
        ]
    }

    func verify(
        bases: [AuditBase] = [], floor: UInt64 = 0, expecting expected: AuditHead? = nil,
        keys: [KeyID: AuditKey] = [trailKey.id: trailKey], issued: UInt64? = nil,
        sealedFloor: UInt64? = nil
    ) throws -> (faults: [AuditFault], head: AuditHead) {
        var verifier = try AuditVerifier(
            keys: keys,
            extent: AuditExtent(
                floor: floor, bases: bases + (try Self.floor(sealedFloor ?? floor)),
                issued: issued),
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
        var digest = AuditVerifier.beginning
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
        // Retention removes them with what vouches for them, and none may come back.
        let link = try #require(trail.records[20].link)
        let base = try trailKey.base(
            AuditChainEnd(chain: .commands, position: 1, mac: link.mac))
        #expect(try trail.verify(bases: [base], floor: 21).faults.isEmpty)
        #expect(try !trail.verify(bases: [base], floor: 20).faults.isEmpty)
        trail.records.append(
            AuditRecord(
                sequence: 22, time: time(noon), event: AuditEvent(.signedIn, by: .server)))
        #expect(
            try trail.verify(bases: [base], floor: 21).faults.map(\.kind) == [.unchainedAltered])
    }

    @Test func `nobody says what was removed without the key`() throws {
        let trail = try Trail(entries: 20, chains: 0)
        let link = try #require(trail.records[9].link)
        let base = try trailKey.base(
            AuditChainEnd(chain: .commands, position: 10, mac: link.mac))
        #expect(try trail.verify(bases: [base], floor: 10).faults.isEmpty)
        for floor in [9, 11, 20] as [UInt64] {
            #expect(
                try trail.verify(bases: [base], floor: floor, sealedFloor: 10).faults.contains {
                    $0.kind == .baseAltered && $0.chain == .floor
                }, "\(floor)")
        }
        #expect(
            try trail.verify(bases: [base], floor: 10, sealedFloor: 0).faults.map(\.kind)
                == [.baseAltered])
    }

    @Test func `numbers that were given and are not there are missed`() throws {
        let trail = try Trail(entries: 20)
        #expect(try trail.verify(issued: 20).faults.isEmpty)
        // A whole chain, checkpoints and all; then the end; then everything.
        for (gone, first) in [(3...6, 3), (15...20, 15), (1...20, 1)]
            as [(ClosedRange<Int>, UInt64)]
        {
            var cut = trail
            cut.records.removeSubrange((gone.lowerBound - 1)..<gone.upperBound)
            let faults = try cut.verify(issued: 20).faults
            let missing = try #require(faults.first { $0.kind == .numbersMissing })
            #expect(missing.position == first)
            #expect(missing.sequence == UInt64(gone.upperBound + 1))
        }
        // More than were given: appended since that was looked up.
        #expect(try trail.verify(issued: 19).faults.isEmpty)
    }

    /// What a field looks like in everything that is hashed, written out; none here is longer than 255 bytes.
    private static func field(_ bytes: [UInt8]?) -> [UInt8] {
        bytes.map { [0, 0, 0, UInt8($0.count)] + $0 } ?? [255, 255, 255, 255]
    }

    private static func text(_ text: String) -> [UInt8] { field(Array(text.utf8)) }

    @Test func `a MAC is over every field of an entry, each with its length`() throws {
        func id(_ byte: UInt8) -> [UInt8] { [UInt8](repeating: byte, count: 16) }
        func identifier(_ byte: UInt8) -> Identifier { Identifier(id(byte).span) }
        let chain = AuditChain(identifier(1))
        let previous = [UInt8](repeating: 2, count: 32)
        let end = AuditChainEnd(
            chain: AuditChain(identifier(3)), position: 4, mac: [UInt8](repeating: 5, count: 32))
        let endBytes = id(3) + [0, 0, 0, 0, 0, 0, 0, 4] + [UInt8](repeating: 5, count: 32)
        var full = AuditRecord(
            sequence: 0x0102, time: time(0x0304),
            event: AuditEvent(
                .signedIn, by: .server, user: UserID(identifier(6)),
                session: SessionID(identifier(7)), key: KeyID(rawValue: 8),
                series: SeriesID(identifier(9)), detail: "ab"))
        full.operatorName = "c"
        full.commitment = [UInt8](repeating: 10, count: 32)
        full.ends = [end]
        let beginning =
            Array("gatehouse/v1/audit".utf8) + [0] + Self.field(previous) + Self.field(id(1))
            + Self.field([0, 0, 0, 0, 0, 0, 0, 11]) + Self.field([0, 0, 0, 0, 0, 0, 1, 2])
            + Self.field([0, 0, 0, 0, 0, 0, 3, 4])
        #expect(
            full.message(after: previous, chain: chain, position: 11, key: KeyID(rawValue: 12))
                == beginning + Self.field([0, 0, 0, 12]) + Self.text("signed_in")
                + Self.text("server") + Self.field(id(6)) + Self.field(id(7))
                + Self.field([0, 0, 0, 8]) + Self.field(id(9)) + Self.text("ab") + Self.text("c")
                + Self.field([UInt8](repeating: 10, count: 32)) + Self.field(endBytes))
        let empty = AuditRecord(
            sequence: 0x0102, time: time(0x0304), event: AuditEvent(.signedIn, by: .server))
        #expect(
            empty.message(after: previous, chain: chain, position: 11, key: nil)
                == beginning + Self.field(nil) + Self.text("signed_in") + Self.text("server")
                + (0..<7).flatMap { _ in Self.field(nil) } + Self.field([]))
        #expect(
            try trailKey.base(end).seal
                == trailKey.mac(
                    over: Array("gatehouse/v1/audit-base".utf8) + [0] + Self.field(endBytes)))
    }

    @Test func `a commitment is over the salt and every personal field`() throws {
        let salt = [UInt8](repeating: 1, count: 32)
        for (place, browser, reason) in [
            ("p", "b", "r"), (nil, "b", "r"), ("p", nil, "r"), ("p", "b", nil), (nil, nil, "pb"),
        ] as [(String?, String?, String?)] {
            let personal = AuditPersonal(
                salt: salt, origin: SessionOrigin(browser: browser, place: place), reason: reason)
            let fields = [place, browser, reason].flatMap {
                Self.field($0.map { Array($0.utf8) })
            }
            let message =
                Array("gatehouse/v1/audit-personal".utf8) + [0] + Self.field(salt) + fields
            #expect(try personal.commitment() == sha256(message.span))
        }
    }

    @Test func `a head is over its number and the ends of all chains, in the order of their ids`()
        throws
    {
        // Chains that begin in another order than that of their ids.
        let ids: [UInt64] = [5, 2, 9, 1]
        var trail = try Trail(entries: 0)
        for (index, id) in ids.enumerated() {
            try trail.add(
                AuditRecord(
                    sequence: UInt64(index + 1), time: time(noon),
                    event: AuditEvent(.signedIn, by: .server)), to: Trail.chain(id))
        }
        let ends = trail.records.compactMap(\.link).sorted { $0.chain.text < $1.chain.text }
        let message =
            Array("gatehouse/v1/audit-head".utf8) + [0] + Self.field([0, 0, 0, 0, 0, 0, 0, 4])
            + ends.flatMap {
                Self.field($0.chain.value.bytes + [0, 0, 0, 0, 0, 0, 0, 1] + $0.mac)
            }
        #expect(try trail.verify().head.digest == sha256(message.span))
    }

    @Test func `one change is told once, and what stands behind it is believed`() throws {
        var trail = try Trail(entries: 0)
        for number in 1...6 as ClosedRange<UInt64> {
            try trail.add(
                AuditRecord(
                    sequence: number, time: time(noon), event: AuditEvent(.signedIn, by: .server)),
                to: .commands)
        }
        func kinds(_ change: (inout [AuditRecord]) throws -> Void) throws -> [String] {
            var changed = trail
            try change(&changed.records)
            return try changed.verify().faults.map { "\($0.kind) \($0.position)" }
        }
        let link = try #require(trail.records[2].link)
        func relinked(_ key: KeyID, _ mac: [UInt8]) -> AuditLink {
            AuditLink(chain: link.chain, position: link.position, key: key, mac: mac)
        }
        // One bit, the last, of the stored MAC.
        let flipped = link.mac.dropLast() + [(link.mac.last ?? 0) ^ 1]
        #expect(
            try kinds { $0[2].link = relinked(link.key, Array(flipped)) } == ["altered 3"])
        let otherKey = try #require(KeyID(rawValue: link.key.rawValue ^ 1))
        #expect(try kinds { $0[2].link = relinked(otherKey, link.mac) } == ["unknownKey 3"])
        #expect(try kinds { $0[2].operatorName = "eve" } == ["altered 3"])
        #expect(try kinds { $0.remove(at: 2) } == ["missing 3"])
        // The same entry twice, and an entry put behind later ones.
        #expect(try kinds { $0.insert($0[2], at: 3) } == ["outOfOrder 3"])
        #expect(try kinds { $0.append(try $0[2].moved(to: 7)) } == ["outOfOrder 3"])
    }

    @Test func `a checkpoint holds a chain to what it was, and only one that is whole is believed`()
        throws
    {
        func entry(_ number: UInt64, _ kind: AuditEvent.Kind = .signedIn) -> AuditRecord {
            AuditRecord(
                sequence: number, time: time(noon), event: AuditEvent(kind, by: .server))
        }
        var trail = try Trail(entries: 0)
        try trail.add(entry(1), to: Trail.chain(1))
        let link = try #require(trail.records[0].link)
        var checkpoint = entry(2, .auditCheckpoint)
        checkpoint.ends = [
            AuditChainEnd(chain: link.chain, position: link.position, mac: link.mac)
        ]
        try trail.add(checkpoint, to: Trail.chain(2))
        #expect(try trail.verify().faults.isEmpty)
        // Written anew by somebody who has the key, after the checkpoint.
        var rewritten = trail
        rewritten.records[0] = entry(1, .signedOut)
        rewritten.records[0].link = try trailKey.link(
            rewritten.records[0], to: Trail.chain(1), after: nil)
        let faults = try rewritten.verify().faults
        #expect(faults.map(\.kind) == [.altered])
        #expect(faults.first?.chain == Trail.chain(1))
        var forged = trail
        forged.records[1].ends = [
            AuditChainEnd(chain: Trail.chain(3), position: 9, mac: link.mac)
        ]
        let told = try forged.verify().faults
        #expect(told.map(\.kind) == [.altered], "and nothing about chain 3")
    }

    @Test func `a seal is over all that a base says`() throws {
        let trail = try Trail(entries: 20, chains: 1)
        let link = try #require(trail.records.last { $0.link?.chain == .commands }?.link)
        let base = try trailKey.base(
            AuditChainEnd(chain: link.chain, position: link.position, mac: link.mac))
        let others = [
            AuditChainEnd(chain: Trail.chain(9), position: link.position, mac: link.mac),
            AuditChainEnd(chain: link.chain, position: link.position + 1, mac: link.mac),
            AuditChainEnd(chain: link.chain, position: link.position, mac: base.seal),
        ]
        #expect(try trail.verify(bases: [base], floor: 20).faults.isEmpty)
        for end in others {
            let moved = AuditBase(end: end, key: base.key, seal: base.seal)
            #expect(
                try trail.verify(bases: [moved], floor: 20).faults.map(\.kind) == [.baseAltered])
        }
    }

    @Test func `where nothing is left the head is that of the floor`() throws {
        let trail = try Trail(entries: 7)
        #expect(try trail.verify(floor: 7).head.sequence == 7)
        var verifier = try AuditVerifier(
            keys: [trailKey.id: trailKey],
            extent: AuditExtent(floor: 7, bases: try Trail.floor(7), issued: nil))
        try verifier.take(trail.records[6])
        #expect(verifier.faults.map(\.kind) == [.outOfOrder])
    }

    @Test func `of very many faults a thousand are named and all are counted`() throws {
        let trail = try Trail(entries: 1001)
        for count in [1000, 1001] {
            var verifier = try AuditVerifier(
                keys: [:], extent: AuditExtent(floor: 0, bases: [], issued: nil))
            for record in trail.records.prefix(count) { try verifier.take(record) }
            _ = try verifier.finish()
            #expect((verifier.faults.count, verifier.faultCount) == (1000, count))
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
