// base64url without padding (RFC 4648 section 5), decoded the long way.

package enum ReferenceBase64URL {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// The bytes whose one spelling is `text`; nil when there are none.
    package static func decode(_ text: [UInt8]) -> [UInt8]? {
        var bits: [Bool] = []
        for character in text {
            guard let value = alphabet.firstIndex(of: character) else { return nil }
            for place in (0..<6).reversed() { bits.append(value >> place & 1 == 1) }
        }
        let left = bits.count % 8
        // What is left over is less than a character, and zero.
        guard left < 6, !bits.suffix(left).contains(true) else { return nil }
        return stride(from: 0, to: bits.count - left, by: 8).map { start in
            bits[start..<(start + 8)].reduce(0) { $0 << 1 | ($1 ? 1 : 0) }
        }
    }
}
