// Which names are given out: the ASCII subset, or UTS 39 where letters of the world are wanted.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct UsernamePolicyTests {
    private let plain = UsernamePolicy()
    private let unicode = UsernamePolicy(allowsUnicode: true)

    @Test func `of ASCII exactly letters, digits, full stop, hyphen and underscore are given out`()
    {
        let allowed = Set("abcdefghijklmnopqrstuvwxyz0123456789._-".utf8)
        for byte in UInt8(0x21)...0x7E {
            let name = username("a" + String(UnicodeScalar(byte)) + "b")
            // Capital letters are lower case by now.
            let isAllowed = allowed.contains(name.utf8[1])
            for policy in [plain, unicode] {
                #expect(policy.refusal(of: name) == (isAllowed ? nil : .notPlain), "\(name.text)")
            }
        }
    }

    @Test func `a spelling whose canonical form is plain is plain`() {
        #expect(plain.refusal(of: username("\u{FF21}\u{FF24}\u{FF21}")) == nil)
        #expect(plain.refusal(of: username("\u{212A}elvin")) == nil)
    }

    @Test(arguments: [
        "zo\u{00EB}", "\u{0430}dmin", "\u{05D0}\u{05D1}", "\u{4E00}", "stra\u{00DF}e",
        "\u{0131}rmak",
        "\u{03C3}\u{03B1}\u{03C2}",
    ])
    func `nothing beyond ASCII is given out unless that was asked for`(_ name: String) {
        #expect(plain.refusal(of: username(name)) == .notPlain)
    }

    @Test(arguments: [
        ("zo\u{00EB}", nil),
        ("stra\u{00DF}e", nil),
        ("\u{0131}rmak", nil),
        ("\u{03C3}\u{03B1}\u{03C2}", nil),
        ("\u{043F}\u{0440}\u{0438}\u{0432}\u{0435}\u{0442}_1", nil),  // Cyrillic
        ("\u{05E9}\u{05DC}\u{05D5}\u{05DD}-1", nil),  // Hebrew
        ("\u{0633}\u{0644}\u{0627}\u{0645}\u{0661}", nil),  // Arabic
        // Highly Restrictive: Latin with Japanese, Korean or Chinese, and nothing else with Latin.
        ("a\u{6F22}\u{3042}\u{30A2}", nil),
        ("a\u{6F22}\u{D55C}", nil),
        ("a\u{6F22}\u{3105}", nil),
        ("\u{6F22}\u{3042}\u{D55C}", UsernameRefusal.mixedScripts),
        ("\u{0430}dmin", .mixedScripts),  // one Cyrillic letter
        ("p\u{0430}yp\u{0430}l", .mixedScripts),
        ("a\u{03B2}", .mixedScripts),  // Greek
        ("ab\u{0432}\u{0433}", .mixedScripts),
        ("a\u{06F1}", .mixedScripts),
        ("\u{0969}1", .mixedDigits),  // Devanagari three
        ("\u{16A0}", .restrictedCharacter),  // a rune
        ("\u{AB70}", .restrictedCharacter),  // Cherokee, of limited use
        ("\u{0237}", .restrictedCharacter),  // dotless j
        ("\u{0251}", .restrictedCharacter),  // Latin alpha
        ("a\u{0327}\u{0327}", .hiddenMark),  // two cedillas
        ("\u{0130}stanbul", .hiddenMark),  // a dot above over i
    ])
    func `letters of the world are held to UTS 39`(_ name: String, refusal: UsernameRefusal?) {
        #expect(unicode.refusal(of: username(name)) == refusal)
    }

    @Test func `a name that was given before the policy is a username still`() throws {
        for name in ["a+b", "jane@example.org", "\u{0430}dmin", "it's"] {
            #expect(plain.refusal(of: try Username(name)) != nil)
        }
    }

    @Test func `reserved names are names that could be given out, each once`() throws {
        let names = try UsernamePolicy.reservedNames.map { try Username($0) }
        #expect(names.allSatisfy { plain.refusal(of: $0) == nil })
        #expect(names.map(\.text) == UsernamePolicy.reservedNames)
        #expect(Set(names.map(\.skeleton)).count == names.count)
        // RFC 2142 sections 3 to 5, and REQUIREMENTS USR-5.
        let needed: Set = [
            "info", "marketing", "sales", "support", "abuse", "noc", "security", "postmaster",
            "hostmaster", "usenet", "news", "webmaster", "www", "uucp", "ftp", "root", "admin",
            "administrator", "sa", "help", "gatehouse",
        ]
        #expect(needed.isSubset(of: UsernamePolicy.reservedNames))
    }
}
