// base64url without padding (RFC 4648 section 5), strict: every byte string has one spelling.

package enum Base64URL {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// The value of each byte as a base64url digit; 0xFF where it is none.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 0xFF, count: 256)
        for (value, digit) in alphabet.enumerated() { values[Int(digit)] = UInt8(value) }
        return values
    }()

    /// The number of characters that `byteCount` bytes take.
    package static func characterCount(byteCount: Int) -> Int { (byteCount * 4 + 2) / 3 }

    /// The text of `bytes`.
    package static func encode(_ bytes: Span<UInt8>) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity(characterCount(byteCount: bytes.count))
        var accumulator: UInt32 = 0
        var bits: UInt32 = 0
        for index in bytes.indices {
            accumulator = accumulator << 8 | UInt32(bytes[index])
            bits += 8
            while bits >= 6 {
                bits -= 6
                text.append(alphabet[Int(accumulator >> bits & 0x3F)])
            }
        }
        if bits > 0 { text.append(alphabet[Int(accumulator << (6 - bits) & 0x3F)]) }
        return text
    }

    /// Decodes `text` to `output` and gives the number of bytes written.
    ///
    /// Refuses (nil) every byte outside the alphabet, padding and white space among them, a length
    /// that no byte string has, bits left over that are not zero (REQUIREMENTS CK-11), and text that
    /// decodes to more than `output` holds. Allocates nothing.
    package static func decode(
        _ text: UnsafeBufferPointer<UInt8>, into output: UnsafeMutableBufferPointer<UInt8>
    ) -> Int? {
        let remainder = text.count % 4
        guard remainder != 1 else { return nil }
        let byteCount = text.count / 4 * 3 + (remainder == 0 ? 0 : remainder - 1)
        guard byteCount <= output.count else { return nil }
        return unsafe values.withUnsafeBufferPointer { values in
            // SAFETY: `read` stays below text.count, `written` below byteCount, both checked above,
            // and the table has an entry for every byte.
            var read = 0
            var written = 0
            while read + 4 <= text.count {
                let first = unsafe values[Int(text[read])]
                let second = unsafe values[Int(text[read + 1])]
                let third = unsafe values[Int(text[read + 2])]
                let fourth = unsafe values[Int(text[read + 3])]
                guard (first | second | third | fourth) & 0xC0 == 0 else { return nil }
                unsafe output[written] = first << 2 | second >> 4
                unsafe output[written + 1] = second << 4 | third >> 2
                unsafe output[written + 2] = third << 6 | fourth
                read += 4
                written += 3
            }
            if remainder >= 2 {
                let first = unsafe values[Int(text[read])]
                let second = unsafe values[Int(text[read + 1])]
                guard (first | second) & 0xC0 == 0 else { return nil }
                unsafe output[written] = first << 2 | second >> 4
                if remainder == 2 {
                    guard second & 0x0F == 0 else { return nil }
                } else {
                    let third = unsafe values[Int(text[read + 2])]
                    guard third & 0xC0 == 0, third & 0x03 == 0 else { return nil }
                    unsafe output[written + 1] = second << 4 | third >> 2
                }
            }
            return byteCount
        }
    }

    /// Decodes `text` to an array; nil where ``decode(_:into:)`` refuses.
    package static func decode(_ text: Span<UInt8>) -> [UInt8]? {
        var output = [UInt8](repeating: 0, count: text.count * 3 / 4)
        let count = unsafe text.withUnsafeBufferPointer { input in
            unsafe output.withUnsafeMutableBufferPointer { out in
                unsafe decode(input, into: out)
            }
        }
        guard let count else { return nil }
        output.removeLast(output.count - count)
        return output
    }
}
