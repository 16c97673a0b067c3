// Usernames: one canonical form for every spelling, and a reason for every refusal.

import GatehouseCore
import Testing

@Suite struct UsernameTests {
    // MARK: Spellings

    @Test(arguments: [
        ("ALICE", "alice"),
        ("\u{FF21}\u{FF2C}\u{FF29}\u{FF23}\u{FF25}", "alice"),  // fullwidth
        ("\u{FF4A}ane.doe@example.com", "jane.doe@example.com"),
        ("a\u{FF0E}b", "a.b"),  // fullwidth full stop
        ("Rene\u{0301}e", "ren\u{00E9}e"),  // NFD
        ("REN\u{00C9}E", "ren\u{00E9}e"),
        ("\u{212A}elvin", "kelvin"),  // Kelvin sign
        ("\u{212B}ngstrom", "\u{00E5}ngstrom"),  // Angstrom sign
        ("STRA\u{1E9E}E", "stra\u{00DF}e"),  // capital sharp s
        (
            "\u{03A3}\u{038A}\u{03A3}\u{03A5}\u{03A6}\u{039F}\u{03A3}",
            "\u{03C3}\u{03AF}\u{03C3}\u{03C5}\u{03C6}\u{03BF}\u{03C2}"
        ),  // ends in final sigma
        ("\u{0130}stanbul", "i\u{0307}stanbul"),  // capital dotted i
        ("J\u{030C}", "\u{01F0}"),  // composes only in lower case
        ("\u{FF76}\u{FF9E}\u{FF77}", "\u{30AC}\u{30AD}"),  // halfwidth katakana
        ("\u{1112}\u{1161}\u{11AB}", "\u{D55C}"),  // Hangul letters that make a syllable
        ("\u{13A0}", "\u{AB70}"),  // Cherokee
        ("\u{05D0}\u{05D1}", "\u{05D0}\u{05D1}"),  // Hebrew
        ("\u{0645}\u{0661}", "\u{0645}\u{0661}"),  // Arabic, with a digit
        ("\u{06A9}\u{06F1}", "\u{06A9}\u{06F1}"),  // Persian, with a digit
        ("!#$%&'()*+,-/:;<=>?@[\\]^_`{|}~", "!#$%&'()*+,-/:;<=>?@[\\]^_`{|}~"),
    ])
    func `every spelling has one canonical form`(spelling: String, canonical: String) throws {
        #expect(try Username(spelling).utf8 == Array(canonical.utf8))
        #expect(try Username(canonical).utf8 == Array(canonical.utf8))
    }

    @Test(arguments: [
        ("juliet@example.com", "juliet@example.com"),
        ("fussball", "fussball"),
        ("fu\u{00DF}ball", "fu\u{00DF}ball"),
        ("\u{03C0}", "\u{03C0}"),
        ("\u{03A3}", "\u{03C3}"),
        ("\u{03C3}", "\u{03C3}"),
        ("\u{03C2}", "\u{03C2}"),
        ("foo bar", nil), ("", nil), ("henry\u{2163}", nil), ("\u{265A}", nil),
    ])
    func `the examples of RFC 8265 section 3.5 come out as it says`(
        spelling: String, canonical: String?
    ) {
        #expect((try? Username(spelling))?.utf8 == canonical.map { Array($0.utf8) })
    }

    @Test(arguments: [
        ("\u{00DF}", "ss"),
        ("\u{03C3}\u{03B1}\u{03C3}", "\u{03C3}\u{03B1}\u{03C2}"),  // σ and ς at the end
        ("\u{0131}rmak", "irmak"),  // dotless i
        ("\u{00E9}", "e"),
        ("\u{00FC}", "ue"),
    ])
    func `letters that only look or sound alike stay apart`(left: String, right: String) throws {
        #expect(try Username(left) != Username(right))
    }

    @Test func `equality and hash are those of the canonical bytes`() throws {
        let composed = try Username("R\u{00C9}NEE")
        let decomposed = try Username("re\u{0301}nee")
        #expect(composed == decomposed)
        #expect(composed.hashValue == decomposed.hashValue)
        #expect(composed.text == "r\u{00E9}nee")
        // As strings these two are equal; as names that our store gave they are not.
        let stored = canonical(Array("re\u{0301}nee".utf8))
        #expect(stored != composed)
    }

    @Test func `what is accepted is canonical already`() {
        var random = SeededGenerator(seed: 0x6761_7465)
        var accepted = 0
        for _ in 0..<40_000 {
            let spelling = random.text(maximumScalars: 12)
            guard let name = try? Username(spelling) else { continue }
            accepted += 1
            let again = try? username(name.utf8)
            #expect(again == name, "seed \(random.seed): \(Array(spelling.unicodeScalars))")
            #expect(canonical(name.utf8) == name)
        }
        #expect(accepted > 1_000)
    }

    @Test func `a mapping that settles in the fourth round is followed, a later one is not`() throws
    {
        func countdown(_ bytes: [UInt8]) -> [UInt8] { [bytes[0] == 0 ? 0 : bytes[0] - 1] }
        #expect(try Username.settled([3], under: countdown) == [0])
        #expect(throws: UsernameRefusal.unstable) {
            try Username.settled([4], under: countdown)
        }
    }

    // MARK: Limits

    @Test func `64 bytes of canonical form are accepted and 65 are not`() throws {
        #expect(Username.maximumBytes == 64)
        #expect(try Username(String(repeating: "a", count: 64)).utf8.count == 64)
        expectRefusal(.tooLong, of: String(repeating: "a", count: 65))
        let han = String(repeating: "\u{4E00}", count: 21)
        #expect(try Username(han + "a").utf8.count == 64)
        expectRefusal(.tooLong, of: han + "\u{00E9}")
    }

    @Test func `the limit holds for a name that grows in lower case`() throws {
        // U+023A has two bytes, its lower case U+2C65 three.
        #expect(try Username(String(repeating: "\u{023A}", count: 21)).utf8.count == 63)
        expectRefusal(.tooLong, of: String(repeating: "\u{023A}", count: 22))
    }

    @Test func `the longest spelling of 64 bytes has 224, and 225 are not looked at`() throws {
        #expect(Username.maximumInputBytes == 224)
        let longest = String(repeating: "\u{FF55}\u{0308}\u{0301}", count: 32)
        #expect(longest.utf8.count == 224)
        #expect(try Username(longest).text == String(repeating: "\u{01D8}", count: 32))
        // Not valid UTF-8 either, which is not found out.
        expectRefusal(.tooLong, of: [UInt8](repeating: 0xFF, count: 225))
        expectRefusal(.invalidUTF8, of: [UInt8](repeating: 0xFF, count: 224))
    }

    @Test func `very long names are refused before they are normalised`() {
        expectRefusal(.tooLong, of: String(repeating: "a", count: 100_000))
        let marks = [UInt8](repeating: 0xCC, count: 2_000_000).enumerated().map {
            $0.offset.isMultiple(of: 2) ? $0.element : 0x80 + UInt8($0.offset % 0x3F)
        }
        expectRefusal(.tooLong, of: marks)
    }

    // MARK: Refusals

    @Test(arguments: [
        ("", UsernameRefusal.empty),
        ("two words", .space),
        ("a\u{3000}b", .space),  // ideographic space, which is wide
        ("a\u{00A0}b", .space),
        ("a\u{2028}b", .space),
        (" alice", .space),
        ("alice\u{0000}", .controlCharacter),
        ("alice\r\n", .controlCharacter),
        ("a\u{007F}", .controlCharacter),
        ("a\u{0085}", .controlCharacter),
        ("a\u{200D}b", .invisibleCharacter),  // zero-width joiner
        ("a\u{200B}b", .invisibleCharacter),
        ("a\u{202E}b", .invisibleCharacter),  // right-to-left override
        ("\u{FEFF}alice", .invisibleCharacter),  // byte order mark
        ("a\u{00AD}b", .invisibleCharacter),  // soft hyphen
        ("a\u{FE0F}", .invisibleCharacter),  // variation selector
        ("a\u{3164}", .invisibleCharacter),  // Hangul filler, a form of another filler
        ("a\u{115F}", .invisibleCharacter),  // Hangul filler
        ("a\u{0378}", .unassignedCharacter),
        ("a\u{FFFE}", .unassignedCharacter),
        ("\u{FB01}nger", .compatibilityCharacter),  // ligature fi
        ("\u{1D41A}lice", .compatibilityCharacter),  // mathematical bold a
        ("a\u{00B2}", .compatibilityCharacter),
        ("\u{017F}am", .compatibilityCharacter),  // long s
        ("a\u{05D0}", .mixedDirections),
        ("\u{05D0}a", .mixedDirections),
        ("a\u{0661}", .mixedDirections),  // Arabic-Indic digit
        ("\u{0645}\u{0661}\u{06F1}", .mixedDigits),  // Arabic-Indic digits of both kinds
        ("\u{0645}\u{0640}", .otherCharacter),  // tatweel
        ("\u{07D0}\u{07FA}", .otherCharacter),  // N'Ko lajanyalan
        ("\u{05D0}\u{05F3}", .otherCharacter),  // Hebrew geresh
        ("\u{0915}\u{094D}\u{200D}", .invisibleCharacter),  // a joiner where RFC 5892 allows it
        ("\u{0627}\u{200C}\u{0628}", .invisibleCharacter),  // and a non-joiner
        ("\u{0375}\u{03B1}", .otherCharacter),  // Greek keraia
        ("l\u{00B7}l", .otherCharacter),  // Catalan middle dot
        ("\u{3033}", .otherCharacter),  // vertical kana repeat mark
        ("\u{AC00}\u{302E}", .otherCharacter),  // Hangul tone mark
        ("\u{1112}", .otherCharacter),  // a Hangul letter alone
        ("a\u{2603}", .otherCharacter),  // snowman
        ("a\u{1F600}", .otherCharacter),
        ("a\u{20AC}", .otherCharacter),  // euro sign
        ("a\u{20DD}", .otherCharacter),  // enclosing circle
        ("a\u{E000}", .otherCharacter),  // private use
        ("a\u{00B7}b", .otherCharacter),  // middle dot
        ("a\u{30FB}", .otherCharacter),  // katakana middle dot
        ("\u{0301}a", .leadingMark),
        ("\u{FF9E}a", .leadingMark),  // halfwidth voiced mark
        (".alice", .fullStopAtEdge),
        ("alice.", .fullStopAtEdge),
        ("..", .fullStopAtEdge),
        ("a\u{FF0E}", .fullStopAtEdge),
    ])
    func `each refusal has its reason`(name: String, refusal: UsernameRefusal) {
        expectRefusal(refusal, of: name)
    }

    @Test(
        arguments: [
            [0xC0, 0x80],  // overlong NUL
            [0xC1, 0xA1],  // overlong "a"
            [0xE0, 0x80, 0xAF],  // overlong "/"
            [0xF0, 0x80, 0x80, 0xAF],
            [0xED, 0xA0, 0x80],  // lone surrogates
            [0xED, 0xBF, 0xBF],
            [0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80],  // a surrogate pair
            [0x61, 0x80],  // a continuation byte alone
            [0xE4, 0xB8],  // truncated
            [0xF4, 0x90, 0x80, 0x80],  // U+110000
            [0xF5, 0x80, 0x80, 0x80],
            [0x61, 0xFF],
        ] as [[UInt8]])
    func `what is not well-formed UTF-8 is refused`(bytes: [UInt8]) {
        expectRefusal(.invalidUTF8, of: bytes)
        #expect(canonical(bytes) == nil)
    }

    @Test func `of ASCII exactly the printing characters are accepted`() {
        for byte in UInt8(0)..<0x80 {
            // Between letters, where a full stop is accepted.
            let name = try? username([0x61, byte, 0x62])
            #expect((name != nil) == (0x21...0x7E).contains(byte), "0x\(String(byte, radix: 16))")
        }
    }

    @Test func `every refusal says something of its own`() {
        #expect(
            Set(UsernameRefusal.allCases.map(\.message)).count == UsernameRefusal.allCases.count)
    }

    // MARK: Bytes of our own

    @Test func `canonical bytes are taken as they are, within the limits`() {
        #expect(canonical([0x61])?.utf8 == [0x61])
        #expect(canonical(Array("ALICE".utf8))?.text == "ALICE")
        let longest = [UInt8](repeating: 0x61, count: 64)
        #expect(canonical(longest)?.utf8 == longest)
        #expect(canonical((longest + [0x61])) == nil)
        #expect(canonical([UInt8]()) == nil)
    }
}

private func username(_ utf8: [UInt8]) throws(UsernameRefusal) -> Username {
    try Username(utf8: utf8.span)
}

private func canonical(_ utf8: [UInt8]) -> Username? { Username(canonical: utf8.span) }

private func expectRefusal(
    _ refusal: UsernameRefusal, of name: String, sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(throws: refusal, sourceLocation: sourceLocation) { try Username(name) }
}

private func expectRefusal(
    _ refusal: UsernameRefusal, of bytes: [UInt8],
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(throws: refusal, sourceLocation: sourceLocation) { try username(bytes) }
}

/// Repeatable text that favours what the mappings change (xorshift64*).
private struct SeededGenerator: RandomNumberGenerator {
    let seed: UInt64
    private var state: UInt64

    init(seed: UInt64) {
        self.seed = seed
        state = seed
    }

    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }

    mutating func text(maximumScalars: Int) -> String {
        var text = String.UnicodeScalarView()
        for _ in 0..<Int.random(in: 1...maximumScalars, using: &self) {
            let range: ClosedRange<UInt32> =
                switch Int.random(in: 0..<10, using: &self) {
                case 0...2: 0x41...0x7A
                case 3: 0xC0...0x24F
                case 4: 0x300...0x345
                case 5: 0x370...0x3FF
                case 6: 0x1E00...0x1FFF
                case 7: 0xFF01...0xFF9F
                case 8: 0x5D0...0x6FF
                default: 0x1100...0x11FF
                }
            if let scalar = Unicode.Scalar(UInt32.random(in: range, using: &self)) {
                text.append(scalar)
            }
        }
        return String(text)
    }
}
