// What a new password must satisfy, and the reasons for which one is refused.

/// A list of passwords that nobody may choose.
package protocol PasswordList: Sendable {
    /// Whether a password is on it, as a whole. Asked off the event loops: a list may lie on a disk.
    ///
    /// - Parameters:
    ///   - typed: in NFC, 1 to `Password.maximumBytes` bytes.
    ///   - folded: the same in lower case, for lists that don't tell cases apart.
    func contains(_ typed: Span<UInt8>, folded: Span<UInt8>) throws(PasswordListUnreadable) -> Bool
}

/// A list can't say now what is on it. Whoever is choosing a password has to try again.
package struct PasswordListUnreadable: Error, Equatable {
    /// What is wrong with it; says nothing of any password.
    package let reason: String

    package init(_ reason: String) { self.reason = reason }
}

/// What a *new* password must satisfy. One that is being verified need not: it may be older than
/// the rule.
///
/// A password is compared as a whole, never for what it contains, in NFC and lower case (REQUIREMENTS
/// PW-5; NIST SP 800-63B-4 section 3.1.1.2): four words are a good password even when each is on a list.
package struct PasswordPolicy: Sendable {
    /// NIST SP 800-63B-4 section 3.1.1.2: 15 when the password is the only factor.
    package static let defaultMinimumCodePoints = 15
    /// The same section: 8 beside a second factor. No list needs anything shorter.
    package static let leastMinimumCodePoints = 8

    package let minimumCodePoints: Int
    private let words: [GuessableWord]
    private let common: (any PasswordList)?
    private let breached: (any PasswordList)?

    /// - Parameters:
    ///   - serviceNames: host names and other names of the service; see `GuessableWord.parts(of:)`.
    ///   - contextWords: what people here would think of first (OWASP ASVS 6.1.2).
    ///   - common: passwords that many people think of.
    ///   - breached: passwords that have leaked somewhere.
    package init(
        minimumCodePoints: Int = defaultMinimumCodePoints, serviceNames: [String] = [],
        contextWords: [String] = [], common: (any PasswordList)? = nil,
        breached: (any PasswordList)? = nil
    ) {
        self.minimumCodePoints = minimumCodePoints
        words =
            contextWords.compactMap { GuessableWord($0, from: .context) }
            + serviceNames.flatMap(GuessableWord.parts)
        self.common = common
        self.breached = breached
    }

    /// Why `password` may not be chosen, or nil when it may.
    ///
    /// - Parameter username: whose password it is to be; nil leaves out the comparison with it.
    package func admit(
        _ password: borrowing Password, for username: Username?
    ) throws(PasswordListUnreadable) -> PasswordRefusal? {
        guard password.codePointCount >= minimumCodePoints else {
            return .tooShort(minimumCodePoints: minimumCodePoints)
        }
        let name = username.flatMap { GuessableWord($0.text, from: .username) }
        let words = words + (name.map { [$0] } ?? [])
        return try password.folded().withSpan { folded throws(PasswordListUnreadable) in
            if let source = GuessableWord.source(of: folded, among: words) {
                return .guessable(source)
            }
            if isRepetition(folded, ofFewerThan: minimumCodePoints) { return .repetition }
            if isSequence(folded) { return .sequence }
            return try password.withSpan { typed throws(PasswordListUnreadable) in
                if try common?.contains(typed, folded: folded) == true { return .common }
                if try breached?.contains(typed, folded: folded) == true { return .breached }
                return nil
            }
        }
    }
}

/// Why a password is not accepted. Says nothing of the password itself.
package enum PasswordRefusal: Error, Hashable, Sendable {
    case empty
    case tooLong
    case invalidUTF8
    case unassignedCharacter
    /// Shorter than the policy's minimum, for a new password.
    case tooShort(minimumCodePoints: Int)
    /// Made of words that anybody would try first.
    case guessable(GuessableWord.Source)
    /// A piece that is too short, several times.
    case repetition
    /// Runs of neighbouring keys, letters or digits.
    case sequence
    /// On the bundled list.
    case common
    /// On the operator's list.
    case breached

    init(_ failure: UnicodeText.Failure) {
        switch failure {
        case .invalidUTF8: self = .invalidUTF8
        case .tooLong: self = .tooLong
        }
    }

    /// The reason in words, for the person who chose the password, and what to do instead (NIST SP
    /// 800-63B-4 section 3.1.1.2 asks for both).
    package var message: String {
        let advice = " Several words that have nothing to do with each other make a good one."
        return switch self {
        case .empty: "The password is empty."
        case .tooLong: "The password is too long: at most \(Password.maximumBytes) bytes of UTF-8."
        case .invalidUTF8: "The password is not valid UTF-8."
        case .unassignedCharacter:
            "The password contains a character that Unicode does not define."
        case .tooShort(let minimum): "The password is too short: at least \(minimum) characters."
        case .guessable(.username):
            "The password is little more than your username." + advice
        case .guessable(.service):
            "The password is little more than the name of this service." + advice
        case .guessable(.context):
            "The password is little more than a word that everybody here would guess." + advice
        case .repetition: "The password is one short piece, repeated." + advice
        case .sequence:
            "The password is a row of neighbouring keys, letters or digits." + advice
        case .common: "The password is on a list of common passwords." + advice
        case .breached:
            "The password is on a list of passwords that have leaked somewhere, from anybody."
                + advice
        }
    }
}
