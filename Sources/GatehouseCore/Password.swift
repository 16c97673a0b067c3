// Passwords as they are hashed: NFC, in UTF-8, whole, in memory that is wiped.

/// A password that someone typed, normalised and ready to be hashed.
///
/// Any text is a password: spaces, NUL and line ends are kept, nothing is trimmed, folded or cut off
/// (REQUIREMENTS PW-3, PW-4). Only NFC is applied, so that one text is one password whatever
/// keyboard or system composed its accents.
package struct Password: ~Copyable, Sendable {
    /// The longest password, as given and in NFC. Sixteen times what NIST SP 800-63B-4 asks to
    /// accept, and small enough that normalising it costs nothing beside hashing it.
    package static let maximumBytes = 1024

    private let bytes: SecretBytes

    /// Its length as NIST SP 800-63B-4 section 3.1.1.2 counts it: code points, after normalising.
    package let codePointCount: Int

    /// Normalises `utf8`, whose wiping stays the caller's duty.
    package init(_ utf8: Span<UInt8>) throws(PasswordRefusal) {
        guard utf8.count > 0 else { throw .empty }
        // Before normalising, which is where an attacker's megabytes would cost time.
        guard utf8.count <= Self.maximumBytes else { throw .tooLong }

        var count = 0
        let normalised = try SecretBytes(count: Self.maximumBytes) { span throws(PasswordRefusal) in
            do throws(UnicodeText.Failure) {
                count = try UnicodeText.map(.nfc, utf8, into: &span)
            } catch { throw PasswordRefusal(error) }
        }
        codePointCount = try normalised.withSpan { span throws(PasswordRefusal) in
            try Self.assignedCodePointCount(of: span.extracting(0..<count))
        }
        bytes = normalised.withSpan { SecretBytes(copying: $0.extracting(0..<count)) }
    }

    /// Lends the bytes that are hashed to `body`, which must not keep a copy.
    package borrowing func withSpan<Result: ~Copyable, E: Error>(
        _ body: (Span<UInt8>) throws(E) -> Result
    ) throws(E) -> Result {
        try bytes.withSpan(body)
    }

    /// How many code points there are; all must be assigned, since a later Unicode may normalise the
    /// others differently, and the password would then no longer match its hash.
    private static func assignedCodePointCount(
        of utf8: Span<UInt8>
    ) throws(PasswordRefusal) -> Int {
        guard let text = try? UTF8Span(validating: utf8) else { throw .invalidUTF8 }
        var scalars = text.makeUnicodeScalarIterator()
        var count = 0
        while let scalar = scalars.next() {
            guard CodePointProperties(of: scalar).contains(.assigned) else {
                throw .unassignedCharacter
            }
            count += 1
        }
        return count
    }
}

/// What a *new* password must satisfy. One that is being verified need not: it may be older than
/// the rule.
package struct PasswordPolicy: Sendable {
    /// NIST SP 800-63B-4 section 3.1.1.2: 15 when the password is the only factor.
    package static let defaultMinimumCodePoints = 15

    package let minimumCodePoints: Int

    package init(minimumCodePoints: Int = defaultMinimumCodePoints) {
        self.minimumCodePoints = minimumCodePoints
    }

    /// Why `password` may not be chosen, or nil when it may.
    package func admit(_ password: borrowing Password) -> PasswordRefusal? {
        guard password.codePointCount >= minimumCodePoints else {
            return .tooShort(minimumCodePoints: minimumCodePoints)
        }
        return nil
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

    fileprivate init(_ failure: UnicodeText.Failure) {
        switch failure {
        case .invalidUTF8: self = .invalidUTF8
        case .tooLong: self = .tooLong
        }
    }

    /// The reason in words, for the person who chose the password.
    package var message: String {
        switch self {
        case .empty: "The password is empty."
        case .tooLong: "The password is too long: at most \(Password.maximumBytes) bytes of UTF-8."
        case .invalidUTF8: "The password is not valid UTF-8."
        case .unassignedCharacter:
            "The password contains a character that Unicode does not define."
        case .tooShort(let minimum): "The password is too short: at least \(minimum) characters."
        }
    }
}
