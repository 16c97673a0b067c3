// Codes, their labels, and the layout of what a referral token says.

import GatehouseCore
import GatehouseTestSupport
import Testing

@testable import GatehousePeople

struct ReferralTests {
    private static let lifetime = ReferralClaims.lifetimeSeconds

    private static func code(_ text: String) throws -> ReferralCode {
        try #require(ReferralCode(Array(text.utf8)))
    }

    private static func referral(
        _ text: String = "ab", until: Int64? = nil, retired: Int64? = nil
    ) throws -> Referral {
        Referral(
            code: try code(text), label: "Spring fair", created: time(noon),
            until: until.map { time($0) }, retired: retired.map { time($0) })
    }

    @Test(arguments: [
        "a", "Z9", "spring-26", "a.b_c", "...", ".a", "forget", String(repeating: "x", count: 64),
    ])
    func `a code is letters, digits and three signs`(_ text: String) {
        #expect(ReferralCode(Array(text.utf8))?.text == text)
    }

    @Test(arguments: [
        "", ".", "..", "a b", "a/b", "a%41", "ä", "a\n", "a\u{0}", "a\u{301}", "a?b", "a#b",
        String(repeating: "x", count: 65),
    ])
    func `nothing else is a code`(_ text: String) {
        #expect(ReferralCode(Array(text.utf8)) == nil)
    }

    @Test func `bytes that are no UTF-8 are no code`() {
        #expect(ReferralCode([0xFF]) == nil)
        #expect(ReferralCode([0x61, 0xC3]) == nil)
    }

    @Test func `a label is one line that shows something`() {
        for label in ["A", "Spring fair 2026", "ümläut", String(repeating: "a", count: 120)] {
            #expect(Referral.isLabel(label), "\(label)")
        }
        for label in ["", " ", "\u{2003}", "a\nb", "a\r\nb", "a\u{0}", "a\u{2028}b", "a\u{85}b"]
            + [String(repeating: "a", count: 121)]
        {
            #expect(!Referral.isLabel(label), "\(label)")
        }
    }

    @Test func `a code is open until it ends or is retired`() throws {
        #expect(try Self.referral().isOpen(at: .maximum))
        let ending = try Self.referral(until: noon + 10)
        #expect(ending.isOpen(at: time(noon + 9)))
        #expect(!ending.isOpen(at: time(noon + 10)))
        #expect(try !Self.referral(retired: noon).isOpen(at: time(noon)))
    }

    @Test func `the bytes are those of the table`() throws {
        let claims = try #require(ReferralClaims(Self.referral("ab"), at: time(258)))
        let zeros = [UInt8](repeating: 0, count: 6)
        let deadline = UInt64(258 + 30 * 86_400).bigEndianBytes
        #expect(claims.encoded() == [1] + zeros + [1, 2] + deadline + [2, 0x61, 0x62])
    }

    @Test(arguments: [1, 64])
    func `what is encoded is read back, and fits a token`(_ count: Int) throws {
        let referral = try Self.referral(String(repeating: "x", count: count))
        let claims = try #require(ReferralClaims(referral, at: time(noon)))
        let bytes = claims.encoded()
        #expect(ReferralClaims(bytes.span) == claims)
        let characters = Base64URL.characterCount(
            byteCount: bytes.count + TokenFormat.overheadBytes)
        #expect(characters <= TokenFormat.maximumCharacters)
    }

    @Test func `a token ends after 30 days, or with its code`() throws {
        let long = try #require(ReferralClaims(Self.referral(), at: time(noon)))
        #expect(long.deadline == time(noon + 30 * 86_400))
        let ending = try Self.referral(until: noon + 100)
        let short = try #require(ReferralClaims(ending, at: time(noon)))
        #expect(short.deadline == time(noon + 100))
        #expect(ReferralClaims(ending, at: time(noon + 100)) == nil)
        #expect(try ReferralClaims(Self.referral(retired: noon), at: time(noon)) == nil)
    }

    @Test func `it is good from its time to its deadline, with the clocks' skew`() throws {
        let claims = try #require(ReferralClaims(Self.referral(), at: time(noon)))
        #expect(claims.isGood(at: time(noon - clockSkewSeconds)))
        #expect(!claims.isGood(at: time(noon - clockSkewSeconds - 1)))
        #expect(claims.isGood(at: time(noon + Self.lifetime - 1)))
        #expect(!claims.isGood(at: time(noon + Self.lifetime)))
    }

    @Test func `whatever differs from the layout is refused`() throws {
        let good = try #require(ReferralClaims(Self.referral("ab"), at: time(noon))).encoded()
        func isAccepted(_ bytes: [UInt8]) -> Bool { ReferralClaims(bytes.span) != nil }
        func changing(_ offset: Int, to replacement: [UInt8]) -> [UInt8] {
            var bytes = good
            bytes.replaceSubrange(offset..<(offset + replacement.count), with: replacement)
            return bytes
        }
        #expect(isAccepted(good))
        for count in 0..<good.count { #expect(!isAccepted(Array(good.prefix(count)))) }
        #expect(!isAccepted(good + [0x61]))
        #expect(!isAccepted(changing(0, to: [2])))
        #expect(!isAccepted(changing(17, to: [1])), "bytes behind the code")
        #expect(!isAccepted(changing(17, to: [0])), "no code")
        #expect(!isAccepted(changing(18, to: Array("a/".utf8))), "no code's byte")
        #expect(!isAccepted(changing(18, to: Array("..".utf8))))
        let end = UInt64(noon + Self.lifetime)
        #expect(isAccepted(changing(9, to: (end - 1).bigEndianBytes)))
        #expect(!isAccepted(changing(9, to: (end + 1).bigEndianBytes)), "longer than 30 days")
        #expect(isAccepted(changing(9, to: UInt64(noon).bigEndianBytes)))
        #expect(!isAccepted(changing(9, to: UInt64(noon - 1).bigEndianBytes)), "ends before")
        #expect(!isAccepted(changing(1, to: [0xFF])), "no time that can be written")
    }
}
