// The device token's layout, who is in it, and the limits of preferences.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct DeviceClaimsTests {
    private typealias Person = DeviceClaims.Person

    private static func isAccepted(_ bytes: [UInt8]) -> Bool { DeviceClaims(bytes.span) != nil }

    private static func person(_ number: UInt64, flags: DeviceClaims.Flags = []) -> Person {
        Person(
            user: UserID(Identifier(high: 1, low: number)),
            device: DeviceID(Identifier(high: 2, low: number)), flags: flags)
    }

    /// Person 1 came first, `count` last.
    private static func claims(_ count: UInt64) -> DeviceClaims {
        var claims = DeviceClaims(person(1), before: nil, at: time(noon))
        for number in 1..<count {
            claims = DeviceClaims(person(number + 1), before: claims, at: time(noon))
        }
        return claims
    }

    private static let good = claims(2).encoded()

    private static func changing(_ offset: Int, to replacement: [UInt8]) -> [UInt8] {
        var bytes = good
        bytes.replaceSubrange(offset..<(offset + replacement.count), with: replacement)
        return bytes
    }

    // MARK: The layout

    @Test func `the bytes are those of the table`() {
        let claims = DeviceClaims(
            Self.person(7, flags: .remembered),
            before: DeviceClaims(
                Self.person(5, flags: .preferences), before: nil, at: time(1)), at: time(258))
        let zeros = [UInt8](repeating: 0, count: 7)
        let deadline = UInt64(258 + 180 * 86_400).bigEndianBytes
        let header: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 1, 2] + deadline + [2]
        let first = zeros + [1] + zeros + [7] + zeros + [2] + zeros + [7, 2]
        let second = zeros + [1] + zeros + [5] + zeros + [2] + zeros + [5, 1]
        #expect(claims.encoded() == header + first + second)
    }

    @Test(arguments: 1...8)
    func `what is encoded is read back, and fits a token`(_ count: Int) {
        let claims = Self.claims(UInt64(count))
        let bytes = claims.encoded()
        let read = DeviceClaims(bytes.span)
        #expect(read == claims)
        #expect(read?.people.count == count)
        let characters = Base64URL.characterCount(
            byteCount: bytes.count + TokenFormat.overheadBytes)
        #expect(characters <= TokenFormat.maximumCharacters)
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

    @Test func `another version or number of people is refused`() {
        for version in [0, 2, 255] as [UInt8] {
            #expect(!Self.isAccepted(Self.changing(0, to: [version])))
        }
        for count in [0, 1, 3, 8, 9, 255] as [UInt8] {
            #expect(!Self.isAccepted(Self.changing(17, to: [count])))
        }
        #expect(!Self.isAccepted(Array(Self.good[..<17]) + [0]), "nobody")
        var nine = Self.claims(8).encoded()
        nine[17] = 9
        let ninth = Self.person(9)
        #expect(!Self.isAccepted(nine + ninth.user.value.bytes + ninth.device.value.bytes + [0]))
    }

    @Test func `nobody and no device is there twice or is zero`() {
        let zero = [UInt8](repeating: 0, count: 16)
        for offset in [18, 34, 51, 67] {
            #expect(!Self.isAccepted(Self.changing(offset, to: zero)), "\(offset)")
        }
        #expect(!Self.isAccepted(Self.changing(51, to: Array(Self.good[18..<34]))), "one user")
        #expect(!Self.isAccepted(Self.changing(67, to: Array(Self.good[34..<50]))), "one device")
    }

    @Test func `flags that have no meaning are refused`() {
        for flags in 0...255 as ClosedRange<UInt8> {
            #expect(Self.isAccepted(Self.changing(50, to: [flags])) == (flags <= 3), "\(flags)")
        }
    }

    @Test func `a lifetime is 180 days at most, and not negative`() {
        let issued = UInt64(noon)
        for (deadline, isAccepted) in [
            (issued - 1, false), (issued, true), (issued + 180 * 86_400, true),
            (issued + 180 * 86_400 + 1, false), (.max, false), (1 << 63, false),
        ] {
            let bytes = Self.changing(9, to: deadline.bigEndianBytes)
            #expect(Self.isAccepted(bytes) == isAccepted, "\(deadline)")
        }
        let last = UInt64(UnixTime.maximumSeconds)
        #expect(Self.isAccepted(Self.changing(1, to: last.bigEndianBytes + last.bigEndianBytes)))
        let beyond = (last + 1).bigEndianBytes
        #expect(!Self.isAccepted(Self.changing(1, to: beyond + beyond)))
    }

    /// Whatever the bytes are, reading them never traps, and what is read has one spelling.
    @Test func `any bytes are refused or mean one thing`() {
        var random = SeededGenerator()
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = Self.claims(UInt64.random(in: 1...8, using: &random)).encoded()
            for _ in 0..<Int.random(in: 0...2, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] ^=
                    1 << UInt8.random(in: 0...7, using: &random)
            }
            if Int.random(in: 0...9, using: &random) == 0 {
                bytes.removeLast(Int.random(in: 0...bytes.count, using: &random))
            }
            guard let claims = DeviceClaims(bytes.span) else { continue }
            accepted += 1
            #expect(claims.encoded() == bytes, "seed \(random.seed)")
        }
        #expect(accepted > 1000, "seed \(random.seed)")
    }

    // MARK: Who is in it

    @Test func `a ninth person takes the place of the one who was away longest`() {
        let eight = Self.claims(8)
        #expect(eight.people.map(\.user.value.low) == [8, 7, 6, 5, 4, 3, 2, 1])
        let nine = DeviceClaims(Self.person(9), before: eight, at: time(noon))
        #expect(nine.people.map(\.user.value.low) == [9, 8, 7, 6, 5, 4, 3, 2])
        // Who comes again is first again, and nobody leaves for it.
        let again = DeviceClaims(Self.person(1), before: eight, at: time(noon))
        #expect(again.people.map(\.user.value.low) == [1, 8, 7, 6, 5, 4, 3, 2])
    }

    @Test func `a person's new device takes the place of the old one`() {
        let device = DeviceID(Identifier(high: 3, low: 3))
        let claims = DeviceClaims(
            Person(user: Self.person(1).user, device: device, flags: []), before: Self.claims(2),
            at: time(noon))
        #expect(claims.people.count == 2)
        #expect(claims.person(Self.person(1).user)?.device == device)
        #expect(claims.person(Self.person(2).user) == Self.person(2))
        #expect(claims.person(Self.person(3).user) == nil)
    }

    @Test func `who leaves takes nobody along, and the deadline stays`() throws {
        let claims = Self.claims(2)
        let rest = try #require(claims.removing(Self.person(2).user))
        #expect(rest.people == [Self.person(1)])
        #expect(rest.deadline == claims.deadline)
        #expect(rest.removing(Self.person(1).user) == nil)
        #expect(claims.removing(Self.person(3).user) == claims)
    }

    @Test func `one person's wish is enough for the cookie to stay`() {
        let without = DeviceClaims(Self.person(1), before: nil, at: time(noon))
        #expect(!without.isPersistent)
        for flag in [DeviceClaims.Flags.preferences, .remembered] {
            let with = DeviceClaims(Self.person(2, flags: flag), before: without, at: time(noon))
            #expect(with.isPersistent)
            #expect(DeviceClaims(Self.person(3), before: with, at: time(noon)).isPersistent)
        }
    }

    @Test func `it is good from a minute before it was issued until its deadline`() {
        let claims = Self.claims(1)
        for (seconds, isGood) in [
            (-clockSkewSeconds - 1, false), (-clockSkewSeconds, true), (0, true),
            (180 * 86_400 - 1, true), (180 * 86_400, false),
        ] as [(Int64, Bool)] {
            #expect(claims.isGood(at: time(noon + seconds)) == isGood, "\(seconds)")
        }
    }

    // MARK: Preferences

    private static func refusal(_ values: [String: String]) -> PreferenceRefusal? {
        do throws(PreferenceRefusal) { _ = try Preferences(values) } catch { return error }
        return nil
    }

    @Test func `sixteen preferences are taken, seventeen are not`() {
        func some(_ count: Int) -> [String: String] {
            Dictionary(uniqueKeysWithValues: (0..<count).map { ("key\($0)", "value") })
        }
        #expect(Self.refusal([:]) == nil)
        #expect(Self.refusal(some(16)) == nil)
        #expect(Self.refusal(some(17)) == .tooMany)
    }

    @Test(
        arguments: [
            ("a", true), ("theme", true), ("a.b-c_9", true),
            (String(repeating: "k", count: 32), true),
            (String(repeating: "k", count: 33), false), ("", false), ("Theme", false),
            ("a b", false), ("é", false), ("a\0", false), ("a\n", false), ("a/b", false),
            ("a=b", false), ("<b>", false),
        ] as [(String, Bool)])
    func `a name is short and plain`(_ key: String, _ isTaken: Bool) {
        #expect(Self.refusal([key: "v"]) == (isTaken ? nil : .key))
    }

    @Test(
        arguments: [
            ("v", true), (" ", true), ("<b>&\"'", true), ("Zoë 🦊", true),
            (String(repeating: "v", count: 256), true), (String(repeating: "é", count: 128), true),
            (String(repeating: "v", count: 257), false),
            (String(repeating: "é", count: 128) + "v", false), ("", false), ("a\0b", false),
            ("a\nb", false), ("a\r\nb", false), ("\t", false), ("\u{7F}", false), ("\u{85}", false),
            ("\u{2028}", false), ("\u{2029}", false),
        ] as [(String, Bool)])
    func `a value is a short line of text`(_ value: String, _ isTaken: Bool) {
        #expect(Self.refusal(["key": value]) == (isTaken ? nil : .value))
    }

    @Test func `preferences are listed in the order of their names' bytes`() throws {
        let preferences = try Preferences(["b": "1", "a_": "2", "a.": "3", "a": "4", "9": "5"])
        #expect(preferences.sorted.map(\.key) == ["9", "a", "a.", "a_", "b"])
        #expect(preferences.sorted.map(\.value) == ["5", "4", "3", "2", "1"])
    }

    @Test func `a use is noted by the day, and lasts for 180 of them`() {
        let midnight = noon / 86_400 * 86_400
        #expect(Device.day(of: time(midnight - 1)) == time(midnight - 86_400))
        for seconds in [0, 1, 86_399] as [Int64] {
            #expect(Device.day(of: time(midnight + seconds)) == time(midnight))
        }
        #expect(Device.oldestUse(at: time(noon)) == time(noon - 180 * 86_400))
    }
}
