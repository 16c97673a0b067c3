// Usernames: one canonical spelling, as bytes, for everything that a person may type for it.

/// A username in its canonical form (RFC 8265 section 3.3, UsernameCaseMapped).
///
/// Two spellings name the same user exactly when their canonical bytes are equal, here and in the
/// store; `String` is not compared, since its `==` is canonical equivalence.
///
/// What is accepted is narrower than the PRECIS IdentifierClass (RFC 8264 section 4.2): of what is
/// allowed in some contexts only, no more than the Arabic digits. What is accepted for *new* names is
/// narrower still, and configured: ``UsernamePolicy``.
package struct Username: Hashable, Sendable {
    /// The longest canonical form: a name travels in every token and every `x-auth-username`, where
    /// percent-encoding triples it.
    package static let maximumBytes = 64

    /// The longest spelling that is looked at. No character takes more than 3.5 times as many bytes
    /// spelt out as in canonical form (a fullwidth `u` with two combining marks, 7 bytes, is the 2
    /// bytes of U+01D8), so that nothing longer fits `maximumBytes`.
    package static let maximumInputBytes = maximumBytes * 7 / 2

    /// How often the mappings are applied before a name that still changes is given up: once, and
    /// three more times (RFC 8264 section 7).
    private static let maximumRounds = 4

    /// The canonical form in UTF-8, 1 to `maximumBytes` bytes.
    package let utf8: [UInt8]

    package var text: String { String(decoding: utf8, as: UTF8.self) }

    /// Canonicalises what a person or a program wrote.
    package init(_ text: String) throws(UsernameRefusal) {
        try self.init(utf8: text.utf8.span)
    }

    /// Canonicalises what a person or a program wrote, in UTF-8.
    package init(utf8 spelling: Span<UInt8>) throws(UsernameRefusal) {
        guard spelling.count > 0 else { throw .empty }
        guard spelling.count <= Self.maximumInputBytes else { throw .tooLong }
        var input: [UInt8] = []
        for index in spelling.indices { input.append(spelling[index]) }
        let canonical = try Self.settled(input, under: Self.mappedOnce)
        guard canonical.count <= Self.maximumBytes else { throw .tooLong }
        try Self.inspect(canonical.span)
        utf8 = canonical
    }

    /// Takes bytes that are canonical already, because they come out of a token that we sealed or a
    /// row that we wrote; they are held to the size and to UTF-8, and not mapped again.
    package init?(canonical bytes: Span<UInt8>) {
        guard (1...Self.maximumBytes).contains(bytes.count),
            (try? UTF8Span(validating: bytes)) != nil
        else { return nil }
        var copy: [UInt8] = []
        for index in bytes.indices { copy.append(bytes[index]) }
        utf8 = copy
    }

    /// `bytes` after as many applications of `mapping` as it takes for them not to change any more.
    package static func settled(
        _ bytes: [UInt8], under mapping: ([UInt8]) throws(UsernameRefusal) -> [UInt8]
    ) throws(UsernameRefusal) -> [UInt8] {
        var current = bytes
        for _ in 0..<maximumRounds {
            let next = try mapping(current)
            if next == current { return next }
            current = next
        }
        throw .unstable
    }

    /// The rules of RFC 8265 section 3.3.3, in their order.
    private static func mappedOnce(_ bytes: [UInt8]) throws(UsernameRefusal) -> [UInt8] {
        do throws(UnicodeText.Failure) {
            let width = try UnicodeText.mapped(.width, bytes)
            let lowerCase = try UnicodeText.mapped(.lowerCase, width)
            return try UnicodeText.mapped(.nfc, lowerCase)
        } catch { throw UsernameRefusal(error) }
    }

    private static func inspect(_ canonical: Span<UInt8>) throws(UsernameRefusal) {
        guard canonical[0] != fullStop, canonical[canonical.count - 1] != fullStop else {
            throw .fullStopAtEdge
        }
        guard let text = try? UTF8Span(validating: canonical) else { throw .invalidUTF8 }
        var scalars = text.makeUnicodeScalarIterator()
        var isFirst = true
        // RFC 5892 appendices A.8 and A.9: these two kinds of digits never stand in one name.
        var hasArabicDigit = false
        var hasExtendedArabicDigit = false
        while let scalar = scalars.next() {
            if let refusal = refusal(of: scalar, isFirst: isFirst) { throw refusal }
            isFirst = false
            if (0x0660...0x0669).contains(scalar.value) { hasArabicDigit = true }
            if (0x06F0...0x06F9).contains(scalar.value) { hasExtendedArabicDigit = true }
        }
        if hasArabicDigit && hasExtendedArabicDigit { throw .mixedDigits }
        guard BidiRule.holds(for: text) else { throw .mixedDirections }
    }

    private static let fullStop = UInt8(ascii: ".")

    private static func refusal(of scalar: Unicode.Scalar, isFirst: Bool) -> UsernameRefusal? {
        // RFC 8264 section 9.11: ASCII7.
        if (0x21...0x7E).contains(scalar.value) { return nil }
        let properties = CodePointProperties(of: scalar)
        if !properties.contains(.assigned) { return .unassignedCharacter }
        if properties.contains(.control) { return .controlCharacter }
        if properties.contains(.space) { return .space }
        if properties.contains(.invisible) { return .invisibleCharacter }
        if properties.contains(.compatibility) { return .compatibilityCharacter }
        if properties.isDisjoint(with: [.letter, .mark, .digit]) { return .otherCharacter }
        if properties.contains(.conjoiningJamo) || isException(scalar) { return .otherCharacter }
        if isFirst && properties.contains(.mark) { return .leadingMark }
        return nil
    }

    /// Letters, marks and digits that RFC 8264 section 9.6 (Exceptions) disallows, or allows only in
    /// some contexts. The others that it names are refused as no letters.
    private static func isException(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x0640, 0x07FA: true  // Arabic tatweel, N'Ko lajanyalan
        case 0x302E, 0x302F: true  // Hangul tone marks
        case 0x3031...0x3035, 0x303B: true  // vertical kana repeat marks and iteration mark
        default: false
        }
    }
}

/// Why a username is not accepted.
package enum UsernameRefusal: Error, Hashable, CaseIterable, Sendable {
    case empty
    case tooLong
    case invalidUTF8
    case space
    case controlCharacter
    /// Joiners, direction marks, variation selectors, fillers.
    case invisibleCharacter
    case unassignedCharacter
    /// A presentation form of other characters, such as a ligature or a mathematical letter.
    case compatibilityCharacter
    /// Against the Bidi rule (RFC 5893 section 2): it could be shown in another order.
    case mixedDirections
    /// Neither a letter, a mark or a digit, nor ASCII.
    case otherCharacter
    case leadingMark
    /// Would read as a relative path, or lose its end in a sentence.
    case fullStopAtEdge
    /// The mappings never settle (RFC 8264 section 7).
    case unstable
    /// Digits of several systems (RFC 5892 appendices A.8 and A.9, UTS 39 section 5.3).
    case mixedDigits

    // What only new names are held to (``UsernamePolicy``).

    /// Outside the ASCII subset.
    case notPlain
    /// Identifier_Status is not Allowed (UTS 39 section 3.1).
    case restrictedCharacter
    /// Less than Highly Restrictive (UTS 39 section 5.2).
    case mixedScripts
    /// A mark that another one hides (UTS 39 section 5.4).
    case hiddenMark

    fileprivate init(_ failure: UnicodeText.Failure) {
        switch failure {
        case .invalidUTF8: self = .invalidUTF8
        case .tooLong: self = .tooLong
        }
    }

    /// The reason in words, for the person who chose the name.
    package var message: String {
        switch self {
        case .empty: "The username is empty."
        case .tooLong: "The username is too long: at most \(Username.maximumBytes) bytes of UTF-8."
        case .invalidUTF8: "The username is not valid UTF-8."
        case .space: "The username contains a space."
        case .controlCharacter: "The username contains a control character."
        case .invisibleCharacter: "The username contains an invisible character."
        case .unassignedCharacter: "The username contains a character that Unicode does not define."
        case .compatibilityCharacter:
            "The username contains a special form of another character; write the plain one."
        case .mixedDirections:
            "A username that is written from right to left must begin with a letter, end with a "
                + "letter or digits of one kind, and contain nothing from left to right."
        case .otherCharacter:
            "The username contains a sign that is neither a letter nor a digit."
        case .leadingMark: "The username starts with a combining mark."
        case .fullStopAtEdge: "The username starts or ends with a full stop."
        case .unstable: "The username has no stable spelling."
        case .mixedDigits: "The username mixes digits of several kinds."
        case .notPlain:
            "The username may contain the letters a to z, digits, full stops, hyphens and "
                + "underscores only."
        case .restrictedCharacter:
            "The username contains a character that is not in common use in names."
        case .mixedScripts: "The username mixes letters of several alphabets."
        case .hiddenMark: "The username contains a mark that can't be seen."
        }
    }
}
