// base64url: RFC 4648's vectors, and one spelling only.

import GatehouseCore
import GatehouseTestSupport
import Testing

@Suite struct Base64URLTests {
    @Test(arguments: [
        ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"),
        ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy"),
    ])
    func `RFC 4648 section 10 without padding`(_ plain: String, _ text: String) {
        #expect(Base64URL.text(Array(plain.utf8)) == Array(text.utf8))
        #expect(Base64URL.bytes(Array(text.utf8)) == Array(plain.utf8))
    }

    @Test func `every byte string has its text and no other`() {
        var generator = SeededGenerator()
        for count in 0..<80 {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let text = Base64URL.text(bytes)
            #expect(text.count == Base64URL.characterCount(byteCount: count))
            #expect(Base64URL.bytes(text) == bytes, "seed \(generator.seed)")
        }
    }

    @Test(arguments: [
        "Zg==", "Zg=", "Zm8=", "+g", "/g", "Z", "Zm9vY", " Zg", "Zg ", "Zg\n", "Zg\r\n", "Z\0",
        "Zé", "Zm9v ", "Zm 9",
    ])
    func `padding, the other alphabet, white space and impossible lengths are refused`(
        _ text: String
    ) {
        #expect(Base64URL.bytes(Array(text.utf8)) == nil)
    }

    @Test func `bits left over must be zero`() {
        // Of the 64 last characters for one byte and for two, only those with zero bits decode.
        for (prefix, step) in [("Z", 16), ("Zm", 4)] {
            var accepted = 0
            for digit in Array(
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
            where Base64URL.bytes((Array(prefix.utf8) + [digit])) != nil {
                accepted += 1
            }
            #expect(accepted == 64 / step)
        }
    }

    @Test func `only the alphabet is in the alphabet`() {
        let alphabet = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        for byte in UInt8.min...UInt8.max {
            let decoded = Base64URL.bytes([byte, byte, byte, byte])
            #expect((decoded != nil) == alphabet.contains(byte), "byte \(byte)")
        }
    }
}
