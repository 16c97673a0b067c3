// base64url without padding (RFC 4648 section 5), strict: every byte string has one spelling.

package enum Base64URL {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// Set in the value of a byte that is no digit.
    private static let invalid: UInt32 = 1 << 31

    /// What each byte gives to the 24 bits of its group, for each of the four places that it can have.
    private static let groupValues: [UInt32] = (0..<4).flatMap { place in
        var values = [UInt32](repeating: invalid, count: 256)
        for (value, digit) in alphabet.enumerated() {
            values[Int(digit)] = UInt32(value) << UInt32(18 - 6 * place)
        }
        return values
    }

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
        return unsafe groupValues.withUnsafeBufferPointer { table in
            // SAFETY: `read` stays below text.count, `written` below byteCount, both checked above, and
            // the table has 256 entries for each place in a group.
            guard let table = table.baseAddress else { return nil }
            var read = 0
            var written = 0
            while read + 4 <= text.count {
                let group =
                    unsafe table[Int(text[read])] | table[256 + Int(text[read + 1])]
                    | table[512 + Int(text[read + 2])] | table[768 + Int(text[read + 3])]
                guard group & invalid == 0 else { return nil }
                unsafe output[written] = UInt8(truncatingIfNeeded: group >> 16)
                unsafe output[written + 1] = UInt8(truncatingIfNeeded: group >> 8)
                unsafe output[written + 2] = UInt8(truncatingIfNeeded: group)
                read += 4
                written += 3
            }
            if remainder >= 2 {
                var group = unsafe table[Int(text[read])] | table[256 + Int(text[read + 1])]
                if remainder == 3 { group |= unsafe table[512 + Int(text[read + 2])] }
                // What does not fill a byte is zero.
                let rest: UInt32 = remainder == 2 ? 0xFFFF : 0xFF
                guard group & (invalid | rest) == 0 else { return nil }
                unsafe output[written] = UInt8(truncatingIfNeeded: group >> 16)
                if remainder == 3 {
                    unsafe output[written + 1] = UInt8(truncatingIfNeeded: group >> 8)
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
