// Passwords: taken whole, normalised once, bounded before that.

import GatehouseCore
import Testing

@Suite struct PasswordTests {
    // MARK: Normalisation

    @Test func `composed and decomposed spellings are one password`() throws {
        let composed = "caf\u{00E9} au lait, \u{D55C}\u{AE00}"
        let decomposed = "cafe\u{0301} au lait, \u{1112}\u{1161}\u{11AB}\u{1100}\u{1173}\u{11AF}"
        #expect(Array(composed.utf8) != Array(decomposed.utf8))
        #expect(try hashedBytes(of: decomposed) == Array(composed.utf8))
        #expect(try hashedBytes(of: composed) == Array(composed.utf8))
    }

    @Test(arguments: [
        "Upper and lower", "  spaces at both ends  ", "   ", "\u{0000}", "nul\u{0000}inside",
        "line\r\nend\n", "\u{FEFF}with a byte order mark", "a\u{00A0}\u{3000}b",
        "\u{FF50}\u{FF41}\u{FB01}",  // fullwidth and ligature: NFC is not NFKC
        "\u{200D}\u{202E}", "\u{E000}", "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}",
        "\u{0301}mark first",
    ])
    func `nothing but NFC is applied`(text: String) throws {
        #expect(try hashedBytes(of: text) == Array(text.utf8))
    }

    @Test(arguments: [
        ("a", 1),
        ("\r\n", 2),
        ("e\u{0301}", 1),
        ("x\u{0301}", 2),
        ("\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}", 5),
        ("\u{1F1E9}\u{1F1EA}", 2),
        ("\u{0000}\u{0000}", 2),
        ("\u{D55C}", 1),
    ])
    func `length is counted in code points after normalising`(text: String, count: Int) throws {
        let bytes = Array(text.utf8)
        let password = try Password(bytes.span)
        let codePointCount = password.codePointCount
        #expect(codePointCount == count)
    }

    // MARK: Limits

    @Test func `1024 bytes are accepted and 1025 are not`() throws {
        #expect(Password.maximumBytes == 1024)
        let longest = String(repeating: "p", count: 1024)
        #expect(try hashedBytes(of: longest) == Array(longest.utf8))
        #expect(refusal(of: longest + "p") == .tooLong)
    }

    @Test func `1024 bytes after normalising are accepted and 1026 are not`() throws {
        // U+0344 has two bytes and becomes U+0308 U+0301, which have four.
        let growing = String(repeating: "\u{0344}", count: 256)
        #expect(growing.utf8.count == 512)
        #expect(try hashedBytes(of: growing).count == 1024)
        #expect(refusal(of: growing + "pp") == .tooLong)
    }

    @Test func `1024 bytes that shrink are accepted, and 1025 that would are not`() throws {
        let shrinking = String(repeating: "e\u{0301}", count: 341) + "p"
        #expect(shrinking.utf8.count == 1024)
        #expect(try hashedBytes(of: shrinking).count == 683)
        #expect(refusal(of: shrinking + "p") == .tooLong)
    }

    @Test func `a megabyte is refused before it is normalised`() {
        let letters = [UInt8](repeating: 0x70, count: 1 << 20)
        // Combining marks in an order that normalisation would have to sort.
        var marks: [UInt8] = []
        for index in 0..<1_000_000 {
            marks += index.isMultiple(of: 2) ? [0xCC, 0x81] : [0xCC, 0xA3]
        }
        #expect(refusal(of: letters) == .tooLong)
        #expect(refusal(of: marks) == .tooLong)
        // Not valid UTF-8 either, which nobody looks at.
        #expect(refusal(of: [UInt8](repeating: 0xFF, count: 1025)) == .tooLong)
        #expect(refusal(of: [UInt8](repeating: 0xFF, count: 1024)) == .invalidUTF8)
    }

    @Test func `as many combining marks as fit are put in order`() throws {
        let mixed = "a" + String(repeating: "\u{0315}\u{0323}", count: 255)
        let sorted =
            "\u{1EA1}" + String(repeating: "\u{0323}", count: 254)
            + String(repeating: "\u{0315}", count: 255)
        #expect(try hashedBytes(of: mixed) == Array(sorted.utf8))
    }

    // MARK: Refusals

    @Test func `the empty password is refused`() {
        #expect(refusal(of: "") == .empty)
    }

    @Test(
        arguments: [
            [0x70, 0xC0, 0x80],  // overlong NUL
            [0x70, 0xE0, 0x80, 0xAF],  // overlong "/"
            [0x70, 0xED, 0xA0, 0x80],  // lone surrogates
            [0x70, 0xED, 0xBF, 0xBF],
            [0x70, 0x80],
            [0x70, 0xE4, 0xB8],
            [0x70, 0xF4, 0x90, 0x80, 0x80],
            [0xFF, 0xFE, 0x70, 0x00],  // UTF-16 with a byte order mark
        ] as [[UInt8]])
    func `what is not well-formed UTF-8 is refused`(bytes: [UInt8]) {
        #expect(refusal(of: bytes) == .invalidUTF8)
    }

    @Test(arguments: ["pass\u{0378}word", "\u{FFFF}", "\u{10FFFE}", "a\u{E0080}"])
    func `unassigned code points are refused`(text: String) {
        #expect(refusal(of: text) == .unassignedCharacter)
    }
}

private func hashedBytes(of text: String) throws -> [UInt8] {
    let password = try Password(Array(text.utf8).span)
    return password.withSpan { span in span.indices.map { span[$0] } }
}

private func refusal(of text: String) -> PasswordRefusal? { refusal(of: Array(text.utf8)) }

private func refusal(of bytes: [UInt8]) -> PasswordRefusal? {
    do throws(PasswordRefusal) {
        _ = try Password(bytes.span)
        return nil
    } catch { return error }
}
