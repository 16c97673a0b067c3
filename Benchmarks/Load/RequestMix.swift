// What the cookies of a load are like.

import ArgumentParser

enum RequestKind: String, CaseIterable {
    case valid, absent, forged, expired, revoked
}

/// One kind only, or what a site's own traffic is like.
enum RequestMix: String, CaseIterable, ExpressibleByArgument, Codable {
    case valid, absent, forged, expired, revoked, blend

    /// Percent of each kind in a blend: most visitors are signed in, some come without a cookie, some
    /// come back after lunch; forged and revoked ones are rare and must still be dear to nobody.
    private static let shares: [(RequestKind, Int)] = [
        (.valid, 90), (.absent, 5), (.expired, 3), (.forged, 1), (.revoked, 1),
    ]

    /// How many of `count` requests are of each kind; together `count`.
    func counts(of count: Int) -> [(RequestKind, Int)] {
        guard self == .blend else { return [(RequestKind(rawValue: rawValue) ?? .valid, count)] }
        let shares = Self.shares.dropFirst().map { ($0.0, count * $0.1 / 100) }
        return [(.valid, count - shares.reduce(0) { $0 + $1.1 })] + shares
    }

    /// The token with one character changed in the middle, where the ciphertext lies: it parses, names
    /// a key that exists, and costs the server a whole attempt to open it.
    static func forged(_ token: String) -> String {
        var bytes = Array(token.utf8)
        let middle = bytes.count / 2
        bytes[middle] = bytes[middle] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The same order in every run: two runs differ by nothing that was drawn.
    static func shuffled(_ questions: [Question]) -> [Question] {
        var generator = SplitMix64()
        return questions.shuffled(using: &generator)
    }
}

/// A small generator with a fixed beginning (Steele, Lea, Flood 2014).
private struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64 = 1

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
