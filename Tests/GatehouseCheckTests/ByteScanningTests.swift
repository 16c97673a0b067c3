// Searching bytes eight at a time, against searching them one by one.

import GatehouseTestSupport
import Testing

@testable import GatehouseCheck

// A span can't be an operand of #expect; these take arrays.

private func firstControl(_ bytes: [UInt8], from start: Int) -> Int {
    bytes.span.firstControl(from: start)
}

private func firstIndex(_ bytes: [UInt8], of byte: UInt8, in range: Range<Int>) -> Int? {
    bytes.span.firstIndex(of: byte, in: range)
}

private func trimmed(_ text: String) -> String {
    let bytes = Array(text.utf8)
    return String(decoding: bytes[bytes.span.trimmed(0..<bytes.count)], as: UTF8.self)
}

private func hasListElement(_ text: String) -> Bool {
    Array(text.utf8).span.hasListElement("close")
}

private func equalsIgnoringCase(_ text: String) -> Bool {
    Array(text.utf8).span.equalsIgnoringCase("a-z[0")
}

@Suite struct ByteScanningTests {
    @Test func `every byte alone is a control character or not, at every place of a word`() {
        for byte in UInt8.min ... .max {
            for place in 0..<20 {
                var bytes = [UInt8](repeating: 0x61, count: 20)
                bytes[place] = byte
                let isControl = byte < 0x20 || byte == 0x7F
                #expect(firstControl(bytes, from: 0) == (isControl ? place : 20), "\(byte)")
            }
        }
    }

    /// Bytes next to the limits, so that what is borrowed in one byte can be seen in the next.
    private static let edges: [UInt8] = [
        0, 1, 0x1E, 0x1F, 0x20, 0x21, 0x3A, 0x3B, 0x7E, 0x7F, 0x80, 0x81, 0x9F, 0xA0, 0xFE, 0xFF,
    ]

    @Test func `words find what single bytes do, at every offset and length`() {
        var generator = SeededGenerator()
        for round in 0..<300 {
            let pool = round % 3 == 0 ? Array(UInt8.min ... .max) : Self.edges
            let bytes = (0..<40).map { _ in pool.randomElement(using: &generator) ?? 0 }
            for start in 0...40 {
                let control = bytes[start...].firstIndex { $0 < 0x20 || $0 == 0x7F } ?? 40
                #expect(firstControl(bytes, from: start) == control, "seed \(generator.seed)")
            }
            let byte = pool.randomElement(using: &generator) ?? 0
            for start in 0..<18 {
                for end in start...40 {
                    #expect(
                        firstIndex(bytes, of: byte, in: start..<end)
                            == bytes[start..<end].firstIndex(of: byte), "seed \(generator.seed)")
                }
            }
        }
    }

    @Test func `nothing is found in nothing, nor behind the range`() {
        #expect(firstIndex([], of: 0, in: 0..<0) == nil)
        #expect(firstControl([], from: 0) == 0)
        let bytes = [UInt8](repeating: 0x61, count: 16) + [0x3B]
        #expect(firstIndex(bytes, of: 0x3B, in: 0..<16) == nil)
        #expect(firstIndex(bytes, of: 0x3B, in: 0..<17) == 16)
    }

    @Test func `a token's bytes are those of RFC 9110`() {
        let allowed = Set(
            "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        #expect(allowed.count == 77)
        for byte in UInt8.min ... .max {
            #expect(isTokenByte(byte) == allowed.contains(byte), "\(byte)")
        }
    }

    /// RFC 3986 section 2.3.
    @Test func `an unreserved byte is a letter, a digit or one of four signs`() {
        let unreserved = Set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~".utf8)
        for byte in UInt8.min ... .max {
            #expect(isUnreserved(byte) == unreserved.contains(byte), "\(byte)")
        }
    }

    @Test func `only spaces and tabs are trimmed`() {
        #expect(trimmed(" \t a b\t ") == "a b")
        #expect(trimmed(" \t ") == "")
        #expect(trimmed("") == "")
        #expect(trimmed("\u{B}a\u{A0}") == "\u{B}a\u{A0}")
    }

    @Test func `a list's elements are compared whole`() {
        for text in ["close", "x,CLOSE", " ,, close ,", "a,\tClose\t,b"] {
            #expect(hasListElement(text), "\(text)")
        }
        for text in ["", ",", "closed", "a close", "clos,e", "close;q=1", "\"close\""] {
            #expect(!hasListElement(text), "\(text)")
        }
    }

    @Test func `case is that of ASCII letters alone`() {
        for text in ["a-z[0", "A-Z[0", "A-z[0"] { #expect(equalsIgnoringCase(text), "\(text)") }
        // Twins of other bytes but for the bit that makes a letter small.
        for text in ["a\rz[0", "a-z{0", "a-z[\u{10}", "a-z[", "a-z[00"] {
            #expect(!equalsIgnoringCase(text), "\(text)")
        }
    }
}
