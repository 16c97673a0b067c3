// The Bidi rule: a name is shown in one order, whatever stands around it (RFC 5893 section 2).

enum BidiRule {
    /// Whether `text` satisfies the rule. A name without any character that is written from right to
    /// left always does (RFC 8265 section 3.3.2).
    static func holds(for text: UTF8Span) -> Bool {
        guard !text.isKnownASCII else { return true }
        var all: CodePointProperties = []
        var first: CodePointProperties?
        // The last one that is no nonspacing mark.
        var last: CodePointProperties = []
        var scalars = text.makeUnicodeScalarIterator()
        while let scalar = scalars.next() {
            let direction = CodePointProperties(of: scalar).intersection(directions)
            // Classes that no part of the rule allows, such as embeddings, are none of these.
            guard !direction.isEmpty else { return false }
            all.formUnion(direction)
            if first == nil { first = direction }
            if direction != .nonspacing { last = direction }
        }
        guard !all.isDisjoint(with: [.rightToLeft, .arabicNumber]) else { return true }
        // Conditions 1 to 4. A name that begins from left to right contains nothing from right to
        // left (conditions 1 and 5), so that condition 6 is never asked.
        return first == .rightToLeft && !all.contains(.leftToRight)
            && !last.isDisjoint(with: [.rightToLeft, .europeanNumber, .arabicNumber])
            && !all.isSuperset(of: [.europeanNumber, .arabicNumber])
    }

    private static let directions: CodePointProperties = [
        .rightToLeft, .leftToRight, .europeanNumber, .arabicNumber, .nonspacing, .neutral,
    ]
}
