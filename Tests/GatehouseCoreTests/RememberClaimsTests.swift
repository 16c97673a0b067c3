// The remember token's layout, its limits, and the limits of being remembered.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct RememberClaimsTests {
    private static func isAccepted(_ bytes: [UInt8]) -> Bool { RememberClaims(bytes.span) != nil }

    private static func claims(
        series: Identifier = Identifier(high: 1, low: 2), generation: UInt32 = 3,
        issued: Int64 = noon, deadline: Int64 = noon + 30 * 86_400
    ) -> RememberClaims {
        RememberClaims(
            series: SeriesID(series), generation: generation, issued: time(issued),
            deadline: time(deadline))
    }

    private static let good = claims().encoded()

    private static func changing(_ offset: Int, to replacement: [UInt8]) -> [UInt8] {
        var bytes = good
        bytes.replaceSubrange(offset..<(offset + replacement.count), with: replacement)
        return bytes
    }

    @Test func `the bytes are those of the table`() {
        let series: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
        let claims = Self.claims(
            series: Identifier(series.span), generation: 0x0A0B_0C0D, issued: 0x0102,
            deadline: 0x0304)
        let zeros = [UInt8](repeating: 0, count: 6)
        #expect(
            claims.encoded()
                == [1] + series + [10, 11, 12, 13] + zeros + [1, 2] + zeros + [3, 4])
    }

    @Test(arguments: [1, 2, .max - 1, .max] as [UInt32])
    func `what is encoded is read back, and fits a token`(_ generation: UInt32) {
        let last = UnixTime.maximumSeconds
        for (issued, deadline) in [(0, 0), (noon, noon + 1), (last, last)] as [(Int64, Int64)] {
            let claims = Self.claims(generation: generation, issued: issued, deadline: deadline)
            let bytes = claims.encoded()
            #expect(RememberClaims(bytes.span) == claims)
            let characters = Base64URL.characterCount(
                byteCount: bytes.count + TokenFormat.overheadBytes)
            #expect(characters <= TokenFormat.maximumCharacters)
        }
    }

    @Test func `every shorter and every longer content is refused`() {
        #expect(Self.isAccepted(Self.good))
        for count in 0..<Self.good.count {
            #expect(!Self.isAccepted(Array(Self.good[..<count])), "\(count) bytes")
        }
        for count in 1...300 {
            #expect(!Self.isAccepted(Self.good + [UInt8](repeating: 97, count: count)))
        }
    }

    @Test func `another version is refused`() {
        for version in UInt8.min...UInt8.max {
            #expect(Self.isAccepted(Self.changing(0, to: [version])) == (version == 1))
        }
    }

    @Test func `a series of zeros and generation 0 are refused`() {
        #expect(!Self.isAccepted(Self.changing(1, to: [UInt8](repeating: 0, count: 16))))
        #expect(!Self.isAccepted(Self.changing(17, to: [0, 0, 0, 0])))
        #expect(Self.isAccepted(Self.changing(17, to: [0, 0, 0, 1])))
    }

    @Test func `a deadline before the time of issue is refused`() {
        let issued = UInt64(noon)
        #expect(Self.isAccepted(Self.changing(29, to: issued.bigEndianBytes)))
        #expect(!Self.isAccepted(Self.changing(29, to: (issued - 1).bigEndianBytes)))
    }

    @Test func `a time beyond the year 9999 is refused, the last second of it not`() {
        let last = UInt64(UnixTime.maximumSeconds)
        #expect(Self.isAccepted(Self.changing(21, to: last.bigEndianBytes + last.bigEndianBytes)))
        for beyond in [last + 1, 1 << 63, .max] {
            #expect(!Self.isAccepted(Self.changing(29, to: beyond.bigEndianBytes)), "\(beyond)")
            let issued = Self.changing(21, to: beyond.bigEndianBytes + last.bigEndianBytes)
            #expect(!Self.isAccepted(issued), "\(beyond)")
        }
    }

    /// No byte is without meaning: what differs anywhere is refused or says something else.
    @Test func `every bit counts`() {
        let original = RememberClaims(Self.good.span)
        for offset in Self.good.indices {
            for bit in 0..<8 as Range<UInt8> {
                let bytes = Self.changing(offset, to: [Self.good[offset] ^ 1 << bit])
                guard let claims = RememberClaims(bytes.span) else { continue }
                #expect(claims != original && claims.encoded() == bytes, "\(offset), bit \(bit)")
            }
        }
    }

    /// Whatever the bytes are, reading them never traps, and what is read has one spelling.
    @Test func `any bytes are refused or mean one thing`() {
        var random = SeededGenerator()
        var accepted = 0
        for round in 0..<20_000 {
            var bytes = (0..<Self.good.count).map { _ in UInt8.random(in: 0...255, using: &random) }
            if round.isMultiple(of: 2) {
                // Far enough in to be read more often than not.
                bytes.replaceSubrange(0..<1, with: [1])
                bytes.replaceSubrange(21..<37, with: Self.good[21..<37])
                bytes[Int.random(in: 21..<37, using: &random)] ^=
                    1 << UInt8.random(in: 0...7, using: &random)
            }
            if Int.random(in: 0...9, using: &random) == 0 {
                bytes.removeLast(Int.random(in: 0...bytes.count, using: &random))
            }
            guard let claims = RememberClaims(bytes.span) else { continue }
            accepted += 1
            #expect(claims.encoded() == bytes, "seed \(random.seed)")
        }
        #expect(accepted > 1000, "seed \(random.seed)")
    }

    @Test func `it is good from a minute before it was issued until its deadline`() {
        let claims = Self.claims(deadline: noon + 500)
        for (seconds, isGood) in [
            (-clockSkewSeconds - 1, false), (-clockSkewSeconds, true), (0, true), (499, true),
            (500, false),
        ] as [(Int64, Bool)] {
            #expect(claims.isGood(at: time(noon + seconds)) == isGood, "\(seconds)")
        }
    }

    @Test func `a browser is remembered for 400 days at most, and not shorter than the grace`() {
        let longest: Int64 = 400 * 86_400
        for (absolute, grace, isTaken) in [
            (longest, 60, true), (longest + 1, 60, false), (60, 60, true), (59, 60, false),
            (60, 1, true), (60, 0, false), (60, -1, false), (1, 1, true), (0, 0, false),
        ] as [(Int64, Int64, Bool)] {
            let limits = RememberLimits(absoluteSeconds: absolute, graceSeconds: grace)
            #expect((limits != nil) == isTaken, "\(absolute), \(grace)")
        }
    }
}
