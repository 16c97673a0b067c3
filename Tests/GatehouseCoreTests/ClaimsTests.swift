// The claims' layout: each field that is out of range is refused.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct ClaimsTests {
    private static func isAccepted(_ bytes: [UInt8]) -> Bool { Claims(bytes.span) != nil }

    private static let good = Claims.sample(name: "ada").encoded()

    private static func changing(_ offset: Int, to replacement: [UInt8]) -> [UInt8] {
        var bytes = good
        bytes.replaceSubrange(offset..<(offset + replacement.count), with: replacement)
        return bytes
    }

    @Test func `what is encoded is read back`() {
        let claims = Claims.sample(
            name: "zoë", epoch: .max, issued: 1, authenticated: 0,
            idle: UnixTime.maximumSeconds, absolute: UnixTime.maximumSeconds,
            methods: [.password, .hardwareKey], level: .secondFactor, isRemembered: true)
        guard let read = Claims(claims.encoded().span) else {
            Issue.record("it is not read")
            return
        }
        #expect(read.encoded() == claims.encoded())
        #expect(read.session == claims.session)
        #expect(read.user == claims.user)
        #expect(read.username == username("zoë"))
        #expect(read.epoch == .max)
        #expect(read.absoluteDeadline == .maximum)
        #expect(read.methods == [.password, .hardwareKey])
        #expect(read.level == .secondFactor)
        #expect(read.isRemembered)
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

    // 2 without an actor is none either.
    @Test(arguments: [0, 2, 3, 255] as [UInt8])
    func `another claims version is refused`(_ version: UInt8) {
        #expect(!Self.isAccepted(Self.changing(0, to: [version])))
    }

    @Test(arguments: [1, 17])
    func `an identifier of zeros is refused`(_ offset: Int) {
        #expect(!Self.isAccepted(Self.changing(offset, to: [UInt8](repeating: 0, count: 16))))
    }

    @Test(arguments: [37, 45, 53, 61])
    func `a time beyond the year 9999 is refused, the last second of it not`(_ offset: Int) {
        let last = UInt64(UnixTime.maximumSeconds)
        var bytes = Self.changing(61, to: last.bigEndianBytes)
        bytes.replaceSubrange(offset..<(offset + 8), with: last.bigEndianBytes)
        #expect(Self.isAccepted(bytes))
        for seconds in [last + 1, 1 << 63, .max] {
            bytes.replaceSubrange(offset..<(offset + 8), with: seconds.bigEndianBytes)
            #expect(!Self.isAccepted(bytes), "\(seconds)")
        }
    }

    @Test func `an idle deadline after the absolute one is refused`() {
        let absolute = UInt64(noon + 86_400)
        #expect(Self.isAccepted(Self.changing(53, to: absolute.bigEndianBytes)))
        #expect(!Self.isAccepted(Self.changing(53, to: (absolute + 1).bigEndianBytes)))
    }

    @Test func `unknown methods, levels and flags are refused`() {
        for bit in 3..<16 {
            let methods = UInt16(1) << UInt16(bit)
            #expect(!Self.isAccepted(Self.changing(69, to: methods.bigEndianBytes)), "bit \(bit)")
        }
        for level in UInt8.min...UInt8.max {
            #expect(Self.isAccepted(Self.changing(71, to: [level])) == (1...3).contains(level))
        }
        for flags in UInt8.min...UInt8.max {
            #expect(Self.isAccepted(Self.changing(72, to: [flags])) == (flags <= 1))
        }
    }

    @Test func `a name of 1 and 64 bytes is read, of 0 and 65 not, nor one that is not UTF-8`() {
        for count in [1, 64] {
            let name = [UInt8](repeating: 97, count: count)
            #expect(Self.isAccepted(Array(Self.good[..<73]) + [UInt8(count)] + name))
        }
        for count in [0, 65] {
            let name = [UInt8](repeating: 97, count: count)
            #expect(!Self.isAccepted(Array(Self.good[..<73]) + [UInt8(count)] + name))
        }
        for name in [[0xC3], [0xFF, 0x61], [0xC0, 0x80], [0xED, 0xA0, 0x80]] as [[UInt8]] {
            #expect(!Self.isAccepted(Array(Self.good[..<73]) + [UInt8(name.count)] + name))
        }
    }
}

@Suite struct ActingClaimsTests {
    private static func isAccepted(_ bytes: [UInt8]) -> Bool { Claims(bytes.span) != nil }
    private static let plain = Claims.sample(name: "ada").encoded()

    private static func acted(by actor: String) -> [UInt8] {
        [2] + plain.dropFirst() + [UInt8(actor.utf8.count)] + Array(actor.utf8)
    }

    @Test func `claims without an actor stay as they were, byte for byte`() {
        #expect(Self.plain[0] == 1)
        #expect(Self.plain.count == 77)
        let read = Claims(Self.plain.span)
        #expect(read != nil)
        #expect(read?.actor == nil)
        #expect(read?.isActed == false)
    }

    @Test func `an actor is read back, and everything else with it`() throws {
        let support = try #require(OperatorName("support.eve"))
        let claims = Claims.sample(name: "zoë").acted(by: support)
        #expect(
            claims.encoded() == [2] + Claims.sample(name: "zoë").encoded().dropFirst()
                + [11] + Array("support.eve".utf8))
        guard let read = Claims(claims.encoded().span) else {
            Issue.record("it is not read")
            return
        }
        #expect(read.actor == support)
        #expect(read.isActed)
        #expect(read.username == username("zoë"))
        #expect(read.session == claims.session)
        #expect(read.encoded() == claims.encoded())
    }

    // Promise: permission
    @Test func `whoever acts still does when the session is renewed`() throws {
        let support = try #require(OperatorName("eve"))
        let renewed = Claims.sample().acted(by: support)
            .renewed(idleSeconds: 3600, at: time(noon + 600))
        #expect(renewed.actor == support)
        #expect(renewed.idleDeadline == time(noon + 4200))
    }

    @Test func `an actor of 1 and 32 bytes is read, of 0 and 33 not`() {
        for count in [1, 32] {
            #expect(Self.isAccepted(Self.acted(by: String(repeating: "a", count: count))))
        }
        for count in [0, 33] {
            #expect(!Self.isAccepted(Self.acted(by: String(repeating: "a", count: count))))
        }
    }

    @Test func `every shorter and every longer content is refused`() {
        let good = Self.acted(by: "eve")
        #expect(Self.isAccepted(good))
        for count in 0..<good.count { #expect(!Self.isAccepted(Array(good[..<count]))) }
        for count in 1...300 {
            #expect(!Self.isAccepted(good + [UInt8](repeating: 97, count: count)))
        }
    }

    @Test func `an actor in version 1 is refused, and one that is no operator's name`() {
        #expect(!Self.isAccepted([1] + Self.acted(by: "eve").dropFirst()))
        for byte in UInt8.min...UInt8.max {
            let isName =
                UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte
                || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte
                || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
                || [UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "@")]
                    .contains(byte)
            #expect(Self.isAccepted([2] + Self.plain.dropFirst() + [1, byte]) == isName, "\(byte)")
            let text = String(decoding: [byte], as: UTF8.self)
            #expect((OperatorName(text) != nil) == isName)
        }
    }

    @Test func `the longest token with an actor is below 512 characters`() throws {
        let name = String(repeating: "n", count: 64)
        let actor = try #require(OperatorName(String(repeating: "o", count: 32)))
        let content = Claims.sample(name: name).acted(by: actor).encoded()
        #expect(content.count == 74 + 64 + 1 + 32)
        #expect(content.count <= TokenFormat.maximumPlaintextBytes)
        #expect(
            Base64URL.characterCount(byteCount: content.count + TokenFormat.overheadBytes)
                <= TokenFormat.maximumCharacters)
    }
}

@Suite struct IdentifierTests {
    @Test func `an identifier has one text`() throws {
        let identifier = Identifier(high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98_7654_3210)
        #expect(identifier.hex == "0123456789abcdeffedcba9876543210")
        #expect(Identifier(hex: identifier.hex) == identifier)
        let read = Identifier(identifier.bytes.span)
        #expect(read == identifier)
        for text in [
            "", "0123456789ABCDEFfedcba9876543210", "0123456789abcdeffedcba987654321",
            "0123456789abcdeffedcba98765432100", "0123456789abcdeffedcba987654321g",
            "+123456789abcdeffedcba9876543210",
        ] {
            #expect(Identifier(hex: text) == nil, "\(text)")
        }
        #expect(
            UserID(identifier).text == "01234567-89ab-cdef-fedc-ba9876543210")
    }

    @Test func `a user id is a random UUID of version 4`() throws {
        let ids = try (0..<100).map { _ in try UserID.random(from: .system) }
        #expect(Set(ids).count == 100)
        for id in ids {
            let text = Array(id.text.utf8)
            #expect(text[14] == UInt8(ascii: "4"))
            #expect([UInt8]("89ab".utf8).contains(text[19]))
        }
    }

    @Test func `no identifier is made without randomness`() {
        #expect(throws: EntropyFailure.self) { try Identifier.random(from: .broken) }
        #expect(throws: EntropyFailure.self) { try UserID.random(from: .broken) }
    }

    @Test(arguments: [
        ("127.0.0.1:8444", true), ("[::1]:1", true), ("10.0.0.7:65535", false),
        ("[fe80::1]:80", false),
        ("unix:/run/gatehouse/check.sock", true), ("0.0.0.0:0", false),
    ])
    func `an address to listen on is read and written`(_ text: String, _ isLocal: Bool) throws {
        let address = try #require(ListenAddress(text))
        #expect(address.description == text)
        #expect(address.isLocal == isLocal)
    }

    @Test(arguments: [
        "", "8444", "localhost:8444", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:+1", "127.0.0.1:1 ", "127.0.0:1", "127.0.0.256:1", "127.0.0.01:1", "::1:80",
        "[::1]", "[::1%lo]:80", "unix:", "unix:relative", "unix:/a\0b", "[127.0.0.1]:80",
    ])
    func `what is no address is refused`(_ text: String) {
        #expect(ListenAddress(text) == nil)
    }

    @Test func `a socket path of 107 bytes is taken, of 108 not`() {
        let path = "/" + String(repeating: "a", count: ListenAddress.maximumPathBytes - 1)
        #expect(ListenAddress("unix:" + path) != nil)
        #expect(ListenAddress("unix:" + path + "a") == nil)
    }
}
