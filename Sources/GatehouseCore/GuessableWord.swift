// Passwords that are made by rote: of a known word, of one piece repeated, of rows of keys.

/// A word that somebody who attacks an account would try first: its username, the service's name, words
/// that the operator has listed.
///
/// A password is a *trivial derivative* of such words when it is made of nothing but
/// - the words, forwards or backwards, at least one of them once, and
/// - characters that are no letters (digits, punctuation, spaces), before, between and after,
///
/// so that for the user `ada` of `shop.example`, `ada-ada-ada-2024` and `!pohs!ada!1234!` are, and
/// `adalikesoldships` is not.
package struct GuessableWord: Sendable {
    /// Where the word comes from; of several, the last is the one that a person is told.
    package enum Source: Int, Comparable, Sendable, CaseIterable {
        case context, service, username

        package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// Shorter words are in anything, by accident; repeated to fill a password, they are a repetition.
    package static let minimumCodePoints = 3
    /// A word without letters looks like the digits around it.
    package static let minimumCodePointsWithoutLetters = 6

    let source: Source
    fileprivate let spellings: [[UInt8]]

    /// Nil for what is too short, too long for a password, or no text.
    package init?(_ text: String, from source: Source) {
        guard let password = try? Password(Array(text.utf8).span) else { return nil }
        let folded = password.folded().withSpan { span in span.indices.map { span[$0] } }
        let scalars = Array(String(decoding: folded, as: UTF8.self).unicodeScalars)
        let hasLetters = scalars.contains { !isPadding($0) }
        let minimum = hasLetters ? Self.minimumCodePoints : Self.minimumCodePointsWithoutLetters
        guard scalars.count >= minimum else { return nil }
        var reversed = String.UnicodeScalarView()
        reversed.append(contentsOf: scalars.reversed())
        self.source = source
        spellings = [folded, Array(String(reversed).utf8)]
    }

    /// The words in a name of the service, such as a host name: each label, with its hyphens and
    /// without. Dots need not be looked for: they are no letters.
    package static func parts(of name: String) -> [GuessableWord] {
        name.split(separator: ".").map(String.init).flatMap { label in
            [label, label.split(separator: "-").joined()]
        }.compactMap { GuessableWord($0, from: .service) }
    }

    /// Where the words come from that `folded` is a trivial derivative of; nil when it is none.
    static func source(of folded: Span<UInt8>, among words: [GuessableWord]) -> Source? {
        // How each place can be reached: not at all, or by words up to this source, -1 for none.
        var reached = [Int?](repeating: nil, count: folded.count + 1)
        reached[0] = -1
        func reach(_ place: Int, by source: Int) {
            reached[place] = max(reached[place] ?? source, source)
        }
        for place in folded.indices {
            guard let before = reached[place] else { continue }
            let (scalar, size) = scalar(in: folded, at: place)
            if isPadding(scalar) { reach(place + size, by: before) }
            for word in words {
                for spelling in word.spellings where has(folded, spelling, at: place) {
                    reach(place + spelling.count, by: max(before, word.source.rawValue))
                }
            }
        }
        return reached[folded.count].flatMap(Source.init)
    }

    private static func has(_ text: Span<UInt8>, _ word: [UInt8], at place: Int) -> Bool {
        guard word.count <= text.count - place else { return false }
        return word.indices.allSatisfy { text[place + $0] == word[$0] }
    }

    /// Reads one code point of valid UTF-8.
    private static func scalar(
        in text: Span<UInt8>, at place: Int
    ) -> (scalar: Unicode.Scalar, size: Int) {
        let lead = text[place]
        let size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
        var value = size == 1 ? UInt32(lead) : UInt32(lead) & (0x7F >> UInt32(size))
        for offset in 1..<max(size, 1) where place + offset < text.count {
            value = value << 6 | UInt32(text[place + offset] & 0x3F)
        }
        return (Unicode.Scalar(value) ?? "\u{FFFD}", size)
    }
}

/// Whether a character may stand around a word without hiding it: one that is no letter and no part of one.
private func isPadding(_ scalar: Unicode.Scalar) -> Bool {
    scalar.isASCII
        ? !(0x61...0x7A).contains(scalar.value | 0x20)
        : CodePointProperties(of: scalar).isDisjoint(with: [.letter, .mark])
}

/// Whether text in lower case is one piece of fewer than `minimum` code points, twice or more, the last time
/// perhaps cut off: typed once, it would be too short.
func isRepetition(_ folded: Span<UInt8>, ofFewerThan minimum: Int) -> Bool {
    guard folded.count >= 2 else { return false }
    for period in 1...(folded.count / 2)
    where (period..<folded.count).allSatisfy({ folded[$0] == folded[$0 - period] }) {
        // The shortest is enough: text in UTF-8 repeats whole code points, and longer pieces have more.
        let continuations = (0..<period).count { folded[$0] & 0xC0 == 0x80 }
        return period - continuations < minimum
    }
    return false
}

/// Whether text in lower case is nothing but runs of 3 or more neighbours, forwards or backwards: in the
/// alphabet, among the digits, along a keyboard's rows and columns (QWERTY, QWERTZ, AZERTY), or one
/// character again and again.
func isSequence(_ folded: Span<UInt8>) -> Bool {
    let minimumRun = 3
    var reached = [Bool](repeating: false, count: folded.count + 1)
    reached[0] = true
    for place in folded.indices where reached[place] {
        for line in neighbours {
            var end = place + 1
            while end < folded.count, line.follows(folded[end - 1], folded[end]) { end += 1 }
            guard end - place >= minimumRun else { continue }
            for run in (place + minimumRun)...end { reached[run] = true }
        }
    }
    return reached[folded.count]
}

/// What may follow what in a run: the next character of one of these rows, at the same distance all along.
private struct Neighbours {
    private var next = [UInt8](repeating: 0, count: 128)

    init(_ rows: [[UInt8]]) {
        for row in rows { for (this, that) in zip(row, row.dropFirst()) { next[Int(this)] = that } }
    }

    func follows(_ this: UInt8, _ that: UInt8) -> Bool {
        this < 128 && that < 128 && next[Int(this)] == that
    }
}

private let neighbours: [Neighbours] = {
    let rows: [[String]] = [
        ["abcdefghijklmnopqrstuvwxyza"], ["12345678901"],
        ["qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./"],
        ["qwertzuiop", "yxcvbnm,.-"], ["azertyuiop", "qsdfghjklm", "wxcvbn,;:!"],
        ["1qaz", "2wsx", "3edc", "4rfv", "5tgb", "6yhn", "7ujm", "8ik,", "9ol.", "0p;/"],
        ["!@#$%^&*()_+"],
    ]
    let same = Neighbours((0...127).map { [$0, $0] })
    return rows.flatMap { rows in
        let rows = rows.map { Array($0.utf8) }
        return [Neighbours(rows), Neighbours(rows.map { $0.reversed() })]
    } + [same]
}()
